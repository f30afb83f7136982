"""The data of the noisy figure: noisy SGD, Langevin particles, Fokker-Planck and the Gibbs law on one Problem."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from paper.distribution_simulate import Simulation
from paper.presets import NOISY, Parameter, tau
from solvers import fokker_planck, langevin, sgd, stationary
from solvers.cells import Cells, free_energy
from workbench import __version__
from workbench.measure import Measure, wasserstein1
from workbench.problem import GaussianInitialLaw, Problem, StepSchedule, log_spaced_times
from workbench.trajectory import Trajectory

FIRST_RECORD = 1e-2  # before it hardly a unit has moved
CLOUDS = ("sgd", "langevin")  # N draws each, with a sampling error
SHARES = 8  # of the mass of a cell
DUALITY_GAP = 1e-14  # of the Gibbs law on the cells of the density: rounding of F


def simulate(
    scale: str,
    convention: str,
    seed: int,
    progress: Callable[[float], None],
    finished: dict[str, Trajectory] | None = None,
    preset: Mapping[str, Parameter] = NOISY,
) -> Simulation:
    """Run the four solvers, each into ``finished`` as it is done; ``progress`` receives the fraction done."""
    value = {name: parameter.at(scale, convention) for name, parameter in preset.items()}
    problem = noisy_problem(value, convention)
    shares = {
        "stationary": (0.0, 0.02),
        "fokker_planck": (0.02, 0.07),
        "langevin": (0.07, 0.2),
        "sgd": (0.2, 1.0),
    }

    def part(name: str) -> Callable[[float], None]:
        start, end = shares[name]
        return lambda fraction: progress(start + (end - start) * fraction)

    runs = {} if finished is None else finished
    runs["stationary"] = stationary.solve(
        problem, stationary.StationaryConfig(cells=(value["cells"],)), part("stationary")
    )
    runs["fokker_planck"] = fokker_planck.solve(
        problem, fokker_planck.FokkerPlanckConfig(cells=(value["cells"],)), part("fokker_planck")
    )
    runs["langevin"] = langevin.solve(
        problem,
        langevin.LangevinConfig(particles=value["particles"], dt=value["dt"], seed=seed),
        part("langevin"),
    )
    runs["sgd"] = sgd.solve(
        problem, sgd.SGDConfig(epsilon=value["epsilon"], units=value["units"], seed=seed), part("sgd")
    )
    return Simulation(runs, metrics(problem, runs, scale, convention, seed, preset))


def noisy_problem(value: Mapping[str, Any], convention: str) -> Problem:
    """The Problem of the figure, from parameter values."""
    tau_plus, tau_minus = tau(value["delta"], convention)
    snapshots = value["snapshots"]
    return Problem(
        import_module(f"solvers.generated.{value['model']}"),
        {"d": value["d"], "tau_plus": tau_plus, "tau_minus": tau_minus},
        snapshots,
        # one SGD step is the earliest time that SGD can record
        records=log_spaced_times(max(FIRST_RECORD, value["epsilon"]), snapshots[-1], per_decade=12)[:-1],
        initial=GaussianInitialLaw(value["kappa"]),
        lam=value["lam"],
        beta=value["beta"],
        schedule=StepSchedule(value["xi_exponent"]),
    )


def metrics(
    problem: Problem,
    runs: Mapping[str, Trajectory],
    scale: str,
    convention: str,
    seed: int,
    preset: Mapping[str, Parameter],
) -> dict[str, Any]:
    """Everything that is said about the figure, as plain numbers."""
    epsilon = preset["epsilon"].at(scale, convention)
    density, gibbs = runs["fokker_planck"].data, runs["stationary"].data
    law = spread(runs["stationary"].measure(0))
    snapshots = []
    for i, t in enumerate(problem.snapshots):
        measures = {name: runs[name].measure(i) for name in CLOUDS}
        measures["fokker_planck"] = spread(runs["fokker_planck"].measure(i))
        snapshots.append(
            {
                "t": t,
                "step": round(t / epsilon),
                "risk": {
                    "fokker_planck": float(runs["fokker_planck"].risk_at([t])[0]),
                    "langevin": float(runs["langevin"].risk_at([t])[0]),
                    "langevin_se": float(runs["langevin"].risk_at([t], "risk_se")[0]),
                    "sgd_orbit_averaged": float(runs["sgd"].risk_at([t])[0]),
                    "sgd_network": float(runs["sgd"].risk_at([t], "network_risk")[0]),
                },
                "wasserstein1": {
                    "sgd_fokker_planck": wasserstein1(measures["sgd"], measures["fokker_planck"]),
                    "langevin_fokker_planck": wasserstein1(measures["langevin"], measures["fokker_planck"]),
                    "sgd_langevin": wasserstein1(measures["sgd"], measures["langevin"]),
                    **{f"{name}_gibbs": wasserstein1(rho, law) for name, rho in measures.items()},
                },
                # what as many independent draws of the density would show of themselves
                "sampling_wasserstein1": {
                    name: sampling_distance(measures["fokker_planck"], len(measures[name].weights))
                    for name in CLOUDS
                },
                "median_r": {
                    name: float(rho.quantiles(np.array([0.5]))[0]) for name, rho in measures.items()
                },
            }
        )
    return {
        "figure": "noisy",
        "scale": scale,
        "convention": convention,
        "seed": seed,
        "parameters": {
            name: {"value": parameter.at(scale, convention), "provenance": parameter.provenance_at(scale)}
            for name, parameter in preset.items()
        },
        "tau_plus": problem.parameters["tau_plus"],
        "tau_minus": problem.parameters["tau_minus"],
        "snapshots": snapshots,
        "gibbs": {
            "risk": float(gibbs["risk"].values[0]),
            "median_r": float(law.quantiles(np.array([0.5]))[0]),
            "free_energy": float(gibbs["free_energy"].values[0]),
            "duality_gap": float(gibbs["gap"].values[0]),
            "relaxation_rate": float(gibbs["relaxation_rates"].values[0]),
        },
        **equilibrium(problem, runs["fokker_planck"]),
        "largest_rise_of_free_energy": float(np.max(np.diff(density["free_energy"].values))),
        "mass_error": float(np.max(density["mass_error"].values)),
        "min_density": float(np.min(density["min_density"].values)),
        "wall_time": {name: float(run.data.attrs["wall_time"]) for name, run in runs.items()},
        "sgd_steps_per_second": float(runs["sgd"].data.attrs["steps_per_second"]),
        "versions": {
            "python": platform.python_version(),
            "workbench": __version__,
            **{name: json.loads(run.data.attrs["versions"]) for name, run in runs.items()},
        },
        "module_source": dict(problem.module.SOURCE),
    }


def equilibrium(problem: Problem, run: Trajectory) -> dict[str, float]:
    """How far the last density is from the Gibbs law on its own cells.

    ``gibbs_free_energy_on_cells`` F*, the least F that a density on these cells can have;
    ``final_free_energy_above_gibbs`` F(T) - F*; ``final_l1_to_gibbs`` sum |mass - Gibbs mass|.  On the same
    cells neither is hidden by the O(width^2) of F and of the density.
    """
    names, edges = tuple(problem.module.COORDINATES), run.data["edges_r"].values
    cells = Cells(names, (edges,), problem.orbit_dimensions())
    law = stationary.dual_maximum(stationary.gibbs_law(problem, cells), DUALITY_GAP, 100)
    least = free_energy(problem, law.table, cells.log_reference, law.masses)
    return {
        "gibbs_free_energy_on_cells": least,
        "final_free_energy_above_gibbs": float(run.data["free_energy"].values[-1]) - least,
        "final_l1_to_gibbs": float(np.abs(run.data["weights"].values[-1] - law.masses).sum()),
    }


def spread(rho: Measure) -> Measure:
    """The masses of cells with centres r, shared out evenly over ``SHARES`` points of each cell.

    As atoms at the centres they would be a quarter of a cell away, in W_1, from the law they stand for.
    """
    r = rho.points[:, 0]
    offsets = (np.arange(SHARES) + 0.5) / SHARES - 0.5
    points = r[:, None] + np.gradient(r)[:, None] * offsets
    return Measure(points.reshape(-1, 1), np.repeat(rho.weights / SHARES, SHARES))


def sampling_distance(rho: Measure, draws: int) -> float:
    """About E W_1(rho_N, rho) for N independent draws of r: int sqrt(2 F (1 - F)/(pi N)) dr.

    F is the distribution function of rho, whose atoms lie in increasing order; F_N(r) is nearly Gaussian
    with variance F (1 - F)/N.
    """
    F = np.clip(np.cumsum(rho.weights)[:-1], 0.0, 1.0)
    return math.sqrt(2 / (math.pi * draws)) * float(np.sqrt(F * (1 - F)) @ np.diff(rho.points[:, 0]))
