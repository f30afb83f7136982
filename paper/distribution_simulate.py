# %% [markdown]
# Distribution: the law of |w| against distributional dynamics
#
# Model.  y = +1 or -1 with probability 1/2 each, and x given y is N(0, tau_y^2 I_d).  A two-layer network
# yhat(x) = (1/N) sum_i sigma(<w_i, x>) of N truncated ReLUs is trained by one-pass SGD on the square
# loss, without ridge or noise; w_i ~ N(0, kappa^2/d I_d) at the start [MMN18].
#
# Question.  Is the histogram of the norms |w_i| the density that distributional dynamics predicts for r, and
# is the risk of the network the risk of that density?
#
# Runs.  One network; an ensemble of networks, alike but for their seeds, for the band in which the risk of N
# units should lie; DD along its characteristics; and DD as a density, on the cells of a Fokker-Planck solver.

# %%
"""The data of the distribution figure: SGD, particles and Fokker-Planck on one Problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from paper import ensemble
from paper.distances import AHEAD, sampling_distance
from paper.jobs import Job
from paper.setting import Check, Setting
from solvers.fokker_planck import FokkerPlanckConfig
from solvers.particles import ParticlesConfig
from workbench.measure import wasserstein1
from workbench.problem import GaussianInitialLaw, Problem, StepSchedule, log_spaced_times
from workbench.trajectory import Trajectory

SOLVERS = ("sgd", "particles", "fokker_planck")


# %% [markdown]
# One Problem goes to every solver.


# %%
def problem_of(setting: Setting) -> Problem:
    """The Problem of the figure."""
    snapshots = setting["snapshots"]
    # one SGD step is the earliest time that SGD can record
    first = max(min(snapshots), setting["epsilon"])
    return Problem(
        setting.module,
        setting.data(setting["delta"]),
        snapshots,
        records=log_spaced_times(first, snapshots[-1], per_decade=setting["records_per_decade"])[:-1],
        initial=GaussianInitialLaw(setting["kappa"]),
        schedule=StepSchedule(setting["xi_exponent"]),
    )


def jobs(setting: Setting) -> dict[str, Job]:
    """SGD, an ensemble of it, particles and Fokker-Planck."""
    problem = problem_of(setting)
    return {
        "sgd": Job("sgd", problem, setting.sgd),
        **ensemble.jobs("ensemble", problem, setting.sgd, setting["networks"]),
        "fokker_planck": Job("fokker_planck", problem, FokkerPlanckConfig(cells=setting["cells"])),
        "particles": Job("particles", problem, ParticlesConfig(atoms=setting["atoms"])),
    }


# %% [markdown]
# What is said about the figure, as plain numbers, and what it has to show.


# %%
def metrics(setting: Setting, runs: Mapping[str, Trajectory]) -> dict[str, Any]:
    """Risks and distances at the snapshots, SGD against the band, guarantees of the density; and the checks."""
    problem, density = problem_of(setting), runs["fokker_planck"].data
    snapshots = [snapshot(setting, runs, i, t) for i, t in enumerate(problem.snapshots)]
    networks = ensemble.gathered("ensemble", runs)
    band = ensemble.band(runs["particles"].data["risk"].values, networks)
    inside = band.inside(runs["sgd"].data["risk"].values)
    numbers = {
        "tau_plus": problem.parameters["tau_plus"],
        "tau_minus": problem.parameters["tau_minus"],
        "snapshots": snapshots,
        "band": {
            "networks": len(networks),
            "multiple": band.multiple,
            "inside": float(inside.mean()),
            "outside_at": [float(t) for t in runs["sgd"].data["record_time"].values[~inside]],
        },
        "mass_error": float(np.max(density["mass_error"].values)),
        "min_density": float(np.min(density["min_density"].values)),
        "sgd_steps_per_second": float(runs["sgd"].data.attrs["steps_per_second"]),
    }
    return {**numbers, "checks": checks(setting, numbers)}


def snapshot(setting: Setting, runs: Mapping[str, Trajectory], i: int, t: float) -> dict[str, Any]:
    """The numbers of snapshot ``i`` at time ``t``."""
    measures = {name: runs[name].measure(i) for name in SOLVERS}
    return {
        "t": t,
        "step": round(t / setting["epsilon"]),
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
        "sampling_wasserstein1": sampling_distance(measures["particles"], setting["units"]),
        "mean_r": {name: measures[name].mean() for name in SOLVERS},
    }


def checks(setting: Setting, numbers: Mapping[str, Any]) -> list[Check]:
    """What the figure has to show."""
    last = numbers["snapshots"][-1]
    return [
        ensemble.inside_check("orbit-averaged risk", numbers["band"]["inside"], numbers["band"]["networks"]),
        Check(
            "W1 between the norms of SGD and of DD at the last snapshot",
            last["wasserstein1"]["sgd_particles"],
            None,
            3 * last["sampling_wasserstein1"] + AHEAD * setting["d"] * setting["epsilon"],
            "three times the mean distance of as many independent draws: a distance varies by 40 %; "
            f"and {AHEAD:g} d epsilon for the bias of finite steps",
        ),
        Check(
            "W1 between the two solvers of DD at the last snapshot",
            last["wasserstein1"]["fokker_planck_particles"],
            None,
            24 / setting["cells"],
            "the density is smeared over a cell or two of width 4.8/cells, the atoms are not",
        ),
        Check("error of the mass of the density", numbers["mass_error"], None, 1e-12, "rounding"),
        Check("smallest density", numbers["min_density"], 0.0, None, "the scheme keeps densities >= 0"),
    ]


# %% [markdown]
# In a notebook: save first.  This runs the scripts as they were last saved, at the smoke scale, in seconds, into
# `figures/smoke`; `workbench reproduce distribution` does the other scales.

# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("distribution")
