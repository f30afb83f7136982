# %% [markdown]
# Landscape: the optimal risk against the difference of the classes
#
# Model.  Isotropic two-class Gaussians, tau = 1 +- Delta (or tau^2), truncated ReLUs [MMN18].
#
# Question.  How low can the risk be?  Over all measures the infimum is a convex problem, solved to a certified gap.
# One single delta, all units alike up to rotation, is optimal over a range of Delta, up to a threshold and not beyond.
# A network of N units can reach inf R + K/N, K = int U(theta, theta) drho_opt [MMN18, lemma on N]: does SGD get there?
#
# A run of SGD counts as converged when an e-fold longer one would change the risk by less than a tenth of K/N, by its
# slope over the last two e-folds of time, and no descent is left: towards the optimal measure the risk falls at a rate,
# 2 int Psi d(rho - rho_opt), of a few K/N at most, while it is large on a plateau.  The other runs are drawn as such, with
# the slope.

# %%
"""The data of the landscape figure: the convex infimum, the best single delta, thresholds, and SGD."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from paper.jobs import Job
from paper.setting import Check, Setting
from solvers import landscape
from solvers.landscape import DeltaThreshold, LandscapeConfig
from workbench.measure import Measure, Parameters, Psi, feature_moments, self_interaction
from workbench.problem import GaussianInitialLaw, Problem, log_spaced_times
from workbench.trajectory import Trajectory

E_FOLDS = 2.0  # of time, over which the last slope is fitted
SETTLED = 0.1  # of K/N: the change in an e-fold of time of a run that has converged
DESCENT = 5.0  # times K/N: less than 1 in runs that end, tens on a plateau
OPTIMAL = 1e-7  # excess below which the best single delta is the infimum: ten times the gap
PAST = 1e-3  # a threshold, from where the next one is looked for


# %%
def at_speed(setting: Setting, name: str, delta: float) -> float:
    """epsilon or t_end at one Delta."""
    value: float = setting[f"{name}_slow" if delta >= setting["slow_from"] else name]
    return value


def problem_of(setting: Setting, delta: float) -> Problem:
    """The Problem at one Delta: records close together where the last slope is fitted."""
    end = at_speed(setting, "t_end", delta)
    middle = end * math.exp(-E_FOLDS)
    early = log_spaced_times(0.1, middle, per_decade=4)[:-1]
    return Problem(
        setting.module,
        setting.data(delta),
        (end,),
        records=(*early, *log_spaced_times(middle, end, per_decade=24)[:-1]),
        initial=GaussianInitialLaw(setting["kappa"]),
    )


def jobs(setting: Setting) -> dict[str, Job]:
    """The landscape at every Delta, and SGD at some."""
    trained = {
        f"sgd_{delta:g}": Job(
            "sgd",
            problem_of(setting, delta),
            replace(setting.sgd, epsilon=at_speed(setting, "epsilon", delta)),
        )
        for delta in setting["sgd_deltas"]
    }
    solved = {
        # the landscape has no time: no run's end is in what tells it apart
        f"landscape_{delta:g}": Job(
            "landscape", Problem(setting.module, setting.data(delta), (1.0,)), LandscapeConfig()
        )
        for delta in sorted({*setting["deltas"], *setting["sgd_deltas"]})
    }
    return trained | solved


# %% [markdown]
# What is said about the figure: where each run of SGD stands between the infimum and the infimum + K/N.


# %%
def metrics(setting: Setting, runs: Mapping[str, Trajectory]) -> dict[str, Any]:
    """Infimum, best single delta and SGD at every Delta, the thresholds, and the checks."""
    module = setting.module
    solved = {key: run.data for key, run in runs.items() if key.startswith("landscape_")}
    infimum = [
        {
            "delta": float(key.removeprefix("landscape_")),
            "infimum": float(data["risk"].values[0]),
            "gap": float(data["gap"].values[0]),
            "single_delta": float(data["single_delta_risk"].values[0]),
        }
        for key, data in solved.items()
    ]
    starts, stops = optimal_range(setting)
    zero = landscape.delta_threshold(
        module, lambda delta: {**setting.data(delta), "d": math.inf}, event="zero"
    )
    numbers = {
        "landscape": infimum,
        "sgd": [sgd_numbers(setting, runs, delta) for delta in setting["sgd_deltas"]],
        "optimal_from": None
        if starts is None
        else {"delta": starts.delta, "r": starts.r, "risk": starts.risk},
        "threshold_optimal": {"delta": stops.delta, "r": stops.r, "risk": stops.risk},
        "threshold_zero_at_d_infinity": {"delta": zero.delta, "r": zero.r},
    }
    return {**numbers, "checks": checks(numbers)}


def optimal_range(setting: Setting) -> tuple[DeltaThreshold | None, DeltaThreshold]:
    """Where the best single delta starts being optimal (None: it is from the least Delta on), and where it stops."""
    module, least = setting.module, min(setting["deltas"])
    first = landscape.delta_threshold(module, setting.data, low=least)
    if landscape.single_delta(module, setting.data(least)).gap < OPTIMAL:
        return None, first
    return first, landscape.delta_threshold(module, setting.data, low=first.delta + PAST)


def sgd_numbers(setting: Setting, runs: Mapping[str, Trajectory], delta: float) -> dict[str, Any]:
    """Where the run at one Delta stands: its exact risk averaged over the last e-fold, and its last slope."""
    run, solved = runs[f"sgd_{delta:g}"], runs[f"landscape_{delta:g}"]
    t, risk = run.data["record_time"].values, run.data["network_risk"].values
    held = t >= t[-1] * math.exp(-E_FOLDS) * (1 - 1e-9)
    slope, _ = np.polyfit(np.log(t[held]), risk[held], 1)
    module, p = setting.module, setting.data(delta)
    best = landscape.at_finite_radii(solved.measure(0))
    room = self_interaction(module, best, p) / setting["units"]
    lower = float(solved.data["risk"].values[0])
    descent = descent_of(module, run.measure(-1), best, p)
    # the last e-fold alone: the fluctuation of one record is of the size of K/N at some Delta
    late = float(risk[t >= t[-1] / math.e].mean())
    return {
        "delta": delta,
        "risk": late,
        "last_slope": float(slope),
        "room": room,
        "share_of_room": (late - lower) / room,
        "descent": descent,
        "converged": bool(abs(slope) < SETTLED * room and descent < DESCENT * room),
    }


def descent_of(module: ModuleType, rho: Measure, best: Measure, p: Parameters) -> float:
    """2 int Psi(.; rho) d(rho - best): at least R(rho) - R(best), by convexity."""
    moments = feature_moments(module, rho, p)
    here, there = (float(at.weights @ Psi(module, at.points, moments, p)) for at in (rho, best))
    return 2 * (here - there)


def checks(numbers: Mapping[str, Any]) -> list[Check]:
    """What the figure has to show."""
    shares = [run["share_of_room"] for run in numbers["sgd"] if run["converged"]]
    starts, stops = numbers["optimal_from"], numbers["threshold_optimal"]["delta"]
    low = 0.0 if starts is None else starts["delta"]
    excess = [(entry["delta"], entry["single_delta"] - entry["infimum"]) for entry in numbers["landscape"]]
    lemma = (
        "inf R <= R_N always; SGD that has converged is no worse than inf R + K/N, what some network reaches"
    )
    found = [
        Check(
            "runs of SGD that have converged", float(len(shares)), 1.0, None, "without one nothing is shown"
        )
    ]
    if shares:
        found += [
            Check("least (R - inf R)/(K/N) of a converged run", min(shares), 0.0, None, lemma),
            Check("largest (R - inf R)/(K/N) of a converged run", max(shares), None, 1.0, lemma),
        ]
    return [
        *found,
        Check(
            "largest optimality gap of the infimum",
            max(entry["gap"] for entry in numbers["landscape"]),
            None,
            1e-8,
            "asked of the solver",
        ),
        Check(
            "before the threshold: largest excess of the best single delta over the infimum",
            max(value for delta, value in excess if low < delta < stops),
            None,
            OPTIMAL,
            "there it is the infimum",
        ),
        Check(
            "past the threshold: least excess of the best single delta over the infimum",
            min(value for delta, value in excess if delta < low or delta > stops),
            OPTIMAL,
            None,
            "there it is not",
        ),
    ]


# %% [markdown]
# In a notebook: save first.  This runs the scripts as they were last saved, at the smoke scale, in seconds, into
# `figures/smoke`; `workbench reproduce landscape` does the other scales.

# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("landscape")
