# %% [markdown]
# Noisy SGD, the Fokker-Planck equation and the Gibbs law
#
# Model.  The isotropic two-class Gaussians and truncated ReLUs of the distribution figure, trained by SGD with
# ridge lam and injected noise at inverse temperature beta: each step adds sqrt(4 s/beta) g to every unit.  The law
# of the units follows d_t rho = 2 xi div(rho grad Psi_lam) + (2 xi/beta) Laplacian rho, the gradient flow of the
# free energy F; its only state at rest is the Gibbs law exp(-beta Psi_lam)/Z [MMN18, JKO98].
#
# Question.  Do noisy SGD, a cloud of Langevin particles and the density agree on the way, does F fall at every
# step, and is the Gibbs law reached?

# %%
"""The data of the noisy figure: noisy SGD, Langevin particles, Fokker-Planck and the Gibbs law on one Problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from paper.distances import AHEAD, sampling_distance, spread
from paper.jobs import Job
from paper.setting import Check, Setting
from solvers import stationary
from solvers.cells import Cells, free_energy
from solvers.fokker_planck import FokkerPlanckConfig
from solvers.langevin import LangevinConfig
from solvers.stationary import StationaryConfig
from workbench.measure import wasserstein1
from workbench.problem import GaussianInitialLaw, Problem, StepSchedule, log_spaced_times
from workbench.trajectory import Trajectory

FIRST_RECORD = 1e-2  # before it hardly a unit has moved
GIBBS_REACHED = 2e-3  # L1 distance of the last density to the Gibbs law
CLOUDS = ("sgd", "langevin")  # N draws each, with a sampling error
DUALITY_GAP = 1e-14  # of the Gibbs law on the cells of the density: rounding of F


# %%
def problem_of(setting: Setting) -> Problem:
    """The Problem of the figure."""
    snapshots = setting["snapshots"]
    return Problem(
        setting.module,
        setting.data(setting["delta"]),
        snapshots,
        # one SGD step is the earliest time that SGD can record
        records=log_spaced_times(max(FIRST_RECORD, setting["epsilon"]), snapshots[-1], per_decade=12)[:-1],
        initial=GaussianInitialLaw(setting["kappa"]),
        lam=setting["lam"],
        beta=setting["beta"],
        schedule=StepSchedule(setting["xi_exponent"]),
    )


def jobs(setting: Setting) -> dict[str, Job]:
    """SGD, Langevin particles, Fokker-Planck and the Gibbs law."""
    problem = problem_of(setting)
    langevin = LangevinConfig(particles=setting["particles"], dt=setting["dt"], seed=setting.seed)
    return {
        "sgd": Job("sgd", problem, setting.sgd),
        "langevin": Job("langevin", problem, langevin),
        "fokker_planck": Job("fokker_planck", problem, FokkerPlanckConfig(cells=(setting["cells"],))),
        "stationary": Job("stationary", problem, StationaryConfig(cells=(setting["cells"],))),
    }


# %%
def metrics(setting: Setting, runs: Mapping[str, Trajectory]) -> dict[str, Any]:
    """Risks and distances at the snapshots, the Gibbs law and how near it the density ends; and the checks."""
    problem = problem_of(setting)
    epsilon = setting["epsilon"]
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
    numbers = {
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
        "largest_rise_of_free_energy": float(np.max(np.diff(density["step_free_energy"].values))),
        "mass_error": float(np.max(density["mass_error"].values)),
        "min_density": float(np.min(density["min_density"].values)),
        "sgd_steps_per_second": float(runs["sgd"].data.attrs["steps_per_second"]),
    }
    return {**numbers, "checks": checks(setting, numbers)}


def checks(setting: Setting, numbers: Mapping[str, Any]) -> list[Check]:
    """What the figure has to show."""
    last = numbers["snapshots"][-1]
    found, expected = last["wasserstein1"], last["sampling_wasserstein1"]
    several = "three times the mean distance of as many independent draws: a distance varies by 40 %"
    return [
        Check(
            "largest rise of the free energy in a step",
            numbers["largest_rise_of_free_energy"],
            None,
            1e-13,
            "the free energy falls at every step, to rounding",
        ),
        Check(
            "L1 distance of the last density to the Gibbs law on the same cells",
            numbers["final_l1_to_gibbs"],
            None,
            GIBBS_REACHED,
            "the last snapshot was chosen for this: the slowest mode has decayed by then",
        ),
        Check(
            "W1 between SGD and the density at the last snapshot",
            found["sgd_fokker_planck"],
            None,
            3 * expected["sgd"] + AHEAD * setting["d"] * setting["epsilon"],
            f"{several}; and {AHEAD:g} d epsilon for the bias of finite steps",
        ),
        Check(
            "W1 between Langevin particles and the density at the last snapshot",
            found["langevin_fokker_planck"],
            None,
            3 * expected["langevin"] + setting["dt"] ** 2,
            f"{several}; and dt^2 for its order 2",
        ),
        Check("error of the mass of the density", numbers["mass_error"], None, 1e-12, "rounding"),
        Check("smallest density", numbers["min_density"], 0.0, None, "the scheme keeps densities >= 0"),
    ]


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


# %% [markdown]
# In a notebook: save first.  This runs the scripts as they were last saved, at the smoke scale, in seconds, into
# `figures/smoke`; `workbench reproduce noisy` does the other scales.

# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("noisy")
