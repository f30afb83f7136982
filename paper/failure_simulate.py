# %% [markdown]
# Failure: one network, two initial laws
#
# Model.  The isotropic two-class Gaussians, and a non-monotone activation: constant, then falling, then rising to a
# positive constant.  One-pass SGD without ridge or noise [MMN18].
#
# Question.  Distributional dynamics says when SGD fails: units that start small feel only the falling branch of the
# activation and shrink to r = 0, where the network is the constant sigma(0) and the risk 1 + sigma(0)^2; units that start
# larger grow beyond it.  Do networks from a small and a large kappa part like that?
#
# At d = infinity angles do not matter and units that start alike stay alike: the plateau that the larger kappa reaches is
# then the best single delta.

# %%
"""The data of the failure figure: SGD and particles from two initial laws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from paper.jobs import Job
from paper.setting import Check, Setting, at_whole_steps
from solvers.landscape import LandscapeConfig
from solvers.particles import ParticlesConfig
from workbench.problem import GaussianInitialLaw, Problem, StepSchedule, log_spaced_times
from workbench.trajectory import Trajectory

COLLAPSED = (
    30  # times d epsilon: SGD leaves collapsed units at about 18 d epsilon, as measured at three epsilon
)
SLOPE = 7.5  # of the risk of a single delta against r, at r = 0: 7.25 + 7.3 r for std, less for variance


# %%
def problem_of(setting: Setting, kappa: float, d: float | None = None) -> Problem:
    """The Problem from one initial law, at dimension ``d`` where given."""
    end, first = setting["t_end"], setting["epsilon"]
    times = at_whole_steps(log_spaced_times(first, end, per_decade=6), setting["epsilon"])
    return Problem(
        setting.module,
        {**setting.data(setting["delta"]), **({} if d is None else {"d": d})},
        times,  # the mean of r is known at snapshots only
        initial=GaussianInitialLaw(kappa),
        schedule=StepSchedule(setting["xi_exponent"]),
    )


def jobs(setting: Setting) -> dict[str, Job]:
    """For each initial law SGD, particles, and particles at d = infinity; and the best single delta there."""
    found: dict[str, Job] = {}
    for kappa in setting["kappas"]:
        problem = problem_of(setting, kappa)
        found[f"sgd_{kappa:g}"] = Job("sgd", problem, setting.sgd)
        found[f"particles_{kappa:g}"] = Job("particles", problem, ParticlesConfig(atoms=setting["atoms"]))
        infinite = problem_of(setting, kappa, math.inf)
        found[f"infinite_{kappa:g}"] = Job("particles", infinite, ParticlesConfig(atoms=1))
    found["delta"] = Job("landscape", infinite, LandscapeConfig())
    return found


# %% [markdown]
# What is said about the figure: where each run ends.


# %%
def metrics(setting: Setting, runs: Mapping[str, Trajectory]) -> dict[str, Any]:
    """Risk and mean norm at the end of every run, the plateau of d = infinity, and the checks."""
    ends = {}
    for kappa in setting["kappas"]:
        sgd, dd, infinite = (runs[f"{name}_{kappa:g}"] for name in ("sgd", "particles", "infinite"))
        ends[f"{kappa:g}"] = {
            "dd": {"risk": last(dd), "mean_r": dd.measure(-1).mean()},
            "dd_at_d_infinity": {"risk": last(infinite), "mean_r": infinite.measure(-1).mean()},
            "sgd": {
                "risk_orbit_averaged": last(sgd),
                "risk_network": last(sgd, "network_risk"),
                "mean_r": sgd.measure(-1).mean(),
            },
        }
    delta = runs["delta"].data
    numbers = {
        "ends": ends,
        "best_delta_at_d_infinity": {
            "risk": float(delta["single_delta_risk"].values[0]),
            "r": float(delta["single_delta_r"].values[0]),
        },
        "constant_network_risk": 1 + float(setting.module.sigma(np.zeros(1))[0]) ** 2,
    }
    return {**numbers, "checks": checks(setting, numbers)}


def last(run: Trajectory, variable: str = "risk") -> float:
    """A recorded risk at the end."""
    return float(run.data[variable].values[-1])


def checks(setting: Setting, numbers: Mapping[str, Any]) -> list[Check]:
    """What the figure has to show."""
    small, large = (numbers["ends"][f"{kappa:g}"] for kappa in setting["kappas"])
    plateau, floor = numbers["best_delta_at_d_infinity"], COLLAPSED * setting["d"] * setting["epsilon"]
    failed = numbers["constant_network_risk"]
    noise = "units at r = 0 are kicked by d epsilon at each step and pulled back at a constant speed"
    found = [
        Check(
            "DD from the smaller law ends at the risk of the constant network",
            small["dd"]["risk"],
            failed - 1e-9,
            failed + 1e-9,
            "all atoms are at r = 0",
        ),
        Check(
            "DD from the smaller law: mean r at the end",
            small["dd"]["mean_r"],
            0.0,
            1e-9,
            "all atoms are at r = 0",
        ),
        Check("SGD from the smaller law: mean r at the end", small["sgd"]["mean_r"], 0.0, floor, noise),
        Check(
            "SGD from the smaller law: risk at the end",
            small["sgd"]["risk_orbit_averaged"],
            failed - SLOPE * floor,
            failed + SLOPE * floor,
            f"{noise}; the risk has slope at most {SLOPE} there",
        ),
    ]
    if setting["t_end"] < 4:  # not long enough for the larger law
        return found
    rounding = 1e-3  # what e^(-k t) leaves of the way at t = 4
    return [
        *found,
        Check(
            "DD from the larger law at d = infinity: distance of the risk to that of the best single delta",
            abs(large["dd_at_d_infinity"]["risk"] - plateau["risk"]),
            None,
            rounding,
            "its end, as the run is long",
        ),
        Check(
            "DD from the larger law: distance of mean r to the best single delta of d = infinity",
            abs(large["dd"]["mean_r"] - plateau["r"]),
            None,
            5e-3,
            "1/d and the end of the run",
        ),
        Check(
            "SGD from the larger law: distance of mean r to DD",
            abs(large["sgd"]["mean_r"] - large["dd"]["mean_r"]),
            None,
            setting["units"] ** -0.5,
            "N^(-1/2)",
        ),
        Check(
            "SGD from the larger law: distance of the orbit-averaged risk to DD",
            abs(large["sgd"]["risk_orbit_averaged"] - large["dd"]["risk"]),
            None,
            2e-3,
            "on the plateau the risk is stationary in r: a tenth of its height",
        ),
    ]


# %% [markdown]
# In a notebook: save first.  This runs the scripts as they were last saved, at the smoke scale, in seconds, into
# `figures/smoke`; `workbench reproduce failure` does the other scales.

# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("failure")
