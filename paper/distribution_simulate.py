"""The data of the distribution figure: SGD, particles and Fokker-Planck on one Problem."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from paper.presets import DISTRIBUTION, Parameter, tau
from solvers import fokker_planck, particles, sgd
from workbench import __version__
from workbench.measure import wasserstein1
from workbench.problem import GaussianInitialLaw, Problem, StepSchedule, log_spaced_times
from workbench.trajectory import Trajectory

SOLVERS = ("sgd", "particles", "fokker_planck")


@dataclass(frozen=True)
class Simulation:
    """One Trajectory a solver, and the numbers said about them."""

    trajectories: Mapping[str, Trajectory]
    metrics: Mapping[str, Any]


def simulate(
    scale: str,
    convention: str,
    seed: int,
    progress: Callable[[float], None],
    finished: dict[str, Trajectory] | None = None,
    preset: Mapping[str, Parameter] = DISTRIBUTION,
) -> Simulation:
    """Run the three solvers, each into ``finished`` as it is done; ``progress`` receives the fraction done."""
    value = {name: parameter.at(scale) for name, parameter in preset.items()}
    problem = distribution_problem(value, convention)
    shares = {"particles": (0.0, 0.02), "fokker_planck": (0.02, 0.15), "sgd": (0.15, 1.0)}

    def part(name: str) -> Callable[[float], None]:
        start, end = shares[name]
        return lambda fraction: progress(start + (end - start) * fraction)

    trajectories = {} if finished is None else finished
    trajectories["particles"] = particles.solve(
        problem, particles.ParticlesConfig(atoms=value["atoms"]), part("particles")
    )
    trajectories["fokker_planck"] = fokker_planck.solve(
        problem, fokker_planck.FokkerPlanckConfig(cells=value["cells"]), part("fokker_planck")
    )
    trajectories["sgd"] = sgd.solve(
        problem, sgd.SGDConfig(epsilon=value["epsilon"], units=value["units"], seed=seed), part("sgd")
    )
    return Simulation(trajectories, metrics(problem, trajectories, scale, convention, seed, preset))


def distribution_problem(value: Mapping[str, Any], convention: str) -> Problem:
    """The Problem of the figure, from parameter values."""
    tau_plus, tau_minus = tau(value["delta"], convention)
    snapshots = value["snapshots"]
    # one SGD step is the earliest time that SGD can record
    first = max(min(snapshots), value["epsilon"])
    return Problem(
        import_module(f"solvers.generated.{value['model']}"),
        {"d": value["d"], "tau_plus": tau_plus, "tau_minus": tau_minus},
        snapshots,
        records=log_spaced_times(first, snapshots[-1], per_decade=12)[:-1],
        initial=GaussianInitialLaw(value["kappa"]),
        schedule=StepSchedule(value["xi_exponent"]),
    )


def metrics(
    problem: Problem,
    trajectories: Mapping[str, Trajectory],
    scale: str,
    convention: str,
    seed: int,
    preset: Mapping[str, Parameter],
) -> dict[str, Any]:
    """Everything that is said about the figure, as plain numbers."""
    runs, density = trajectories, trajectories["fokker_planck"].data
    epsilon = preset["epsilon"].at(scale)
    snapshots = []
    for i, t in enumerate(problem.snapshots):
        measures = {name: runs[name].measure(i) for name in SOLVERS}
        snapshots.append(
            {
                "t": t,
                "step": round(t / epsilon),
                "risk": {
                    "particles": float(runs["particles"].risk_at([t])[0]),
                    "fokker_planck": float(runs["fokker_planck"].risk_at([t])[0]),
                    "sgd_orbit_averaged": float(runs["sgd"].risk_at([t])[0]),
                    "sgd_network": float(runs["sgd"].risk_at([t], "network_risk")[0]),
                },
                "wasserstein1": {
                    "sgd_particles": wasserstein1(measures["sgd"], measures["particles"]),
                    "sgd_fokker_planck": wasserstein1(measures["sgd"], measures["fokker_planck"]),
                    "fokker_planck_particles": wasserstein1(measures["fokker_planck"], measures["particles"]),
                },
                "mean_r": {name: measures[name].mean() for name in SOLVERS},
            }
        )
    return {
        "figure": "distribution",
        "scale": scale,
        "convention": convention,
        "seed": seed,
        "parameters": {
            name: {"value": parameter.at(scale), "provenance": parameter.provenance_at(scale)}
            for name, parameter in preset.items()
        },
        "tau_plus": problem.parameters["tau_plus"],
        "tau_minus": problem.parameters["tau_minus"],
        "snapshots": snapshots,
        "mass_error": float(np.max(density["mass_error"].values)),
        "min_density": float(np.min(density["min_density"].values)),
        "wall_time": {name: float(runs[name].data.attrs["wall_time"]) for name in SOLVERS},
        "sgd_steps_per_second": float(runs["sgd"].data.attrs["steps_per_second"]),
        "versions": {
            "python": platform.python_version(),
            "workbench": __version__,
            **{name: _versions(runs[name]) for name in SOLVERS},
        },
        "module_source": dict(problem.module.SOURCE),
    }


def _versions(trajectory: Trajectory) -> Any:
    return json.loads(trajectory.data.attrs["versions"])
