# %% [markdown]
# ReLU: units with trained output weights and offsets
#
# Model.  y = +1 or -1 with probability 1/2 each; x given y has variance tau_y^2 on s0 coordinates and 1 on the others.
# The network is yhat(x) = (1/N) sum_i a_i max(<w_i, x> + b_i, 0), trained by one-pass SGD with steps epsilon
# xi(k epsilon), xi(t) a power of t, without ridge or noise [MMN18].
#
# Question.  Distributional dynamics closes on four numbers a unit, (a, b, r1, r2).  Do the risk and the means of a, b and
# r1 follow it, at several distances Delta of the classes?
#
# Runs.  For each Delta: one network; an ensemble of networks with other seeds, and where epsilon is small with larger
# steps, for the band in which the risk of N units should lie; DD along its characteristics, from Gauss quadrature of the
# initial law.

# %%
"""The data of the relu figure: SGD, an ensemble of it, and particles in four coordinates, at three Delta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from paper import ensemble
from paper.jobs import Job
from paper.setting import Check, Setting, at_whole_steps
from solvers.particles import ParticlesConfig
from workbench.problem import GaussianInitialLaw, Problem, StepSchedule, log_spaced_times
from workbench.trajectory import Trajectory

PER_DECADE = 5  # snapshots
SHOWN = ("a", "b", "r1")  # coordinates whose means are drawn


# %%
def problem_of(setting: Setting, delta: float) -> Problem:
    """The Problem at one Delta; every record is a snapshot, as means are known at snapshots only."""
    step, end = setting["epsilon_networks"], setting["t_end"]
    law = {name: setting[name] for name in ("kappa", "a_mean", "a_std", "b_mean", "b_std")}
    return Problem(
        setting.module,
        {**setting.data(delta), "tolerance": setting["tolerance"]},
        at_whole_steps(log_spaced_times(step, end, PER_DECADE), step),
        initial=GaussianInitialLaw(**law),
        schedule=StepSchedule(setting["xi_exponent"]),
    )


def jobs(setting: Setting) -> dict[str, Job]:
    """For each Delta SGD, an ensemble of it, and particles."""
    found: dict[str, Job] = {}
    for delta in setting["deltas"]:
        problem = problem_of(setting, delta)
        sgd = setting.sgd
        # of an ensemble the records are enough: its snapshots would be most of the data
        recorded = replace(problem, snapshots=problem.snapshots[-1:], records=problem.snapshots[:-1])
        larger = replace(sgd, epsilon=setting["epsilon_networks"])
        found[f"sgd_{delta:g}"] = Job("sgd", problem, sgd)
        found |= ensemble.jobs(f"ensemble_{delta:g}", recorded, larger, setting["networks"])
        found[f"particles_{delta:g}"] = Job("particles", problem, ParticlesConfig(atoms=setting["atoms"]))
    return found


# %% [markdown]
# What is said about the figure: where each run ends, how far SGD is from DD, and whether it is in the band.


# %%
def metrics(setting: Setting, runs: Mapping[str, Trajectory]) -> dict[str, Any]:
    """Ends, largest distances and the band at each Delta, and the checks."""
    entries = [at_delta(runs, delta) for delta in setting["deltas"]]
    return {"runs": entries, "checks": checks(setting, entries)}


def at_delta(runs: Mapping[str, Trajectory], delta: float) -> dict[str, Any]:
    """The numbers of one Delta."""
    sgd, dd = runs[f"sgd_{delta:g}"], runs[f"particles_{delta:g}"]
    band = ensemble.band(dd.data["risk"].values, ensemble.gathered(f"ensemble_{delta:g}", runs))
    inside = band.inside(sgd.data["risk"].values)
    means = {name: (means_of(sgd, name), means_of(dd, name)) for name in SHOWN}
    return {
        "delta": delta,
        "risk": {
            "dd": float(dd.data["risk"].values[-1]),
            "sgd_orbit_averaged": float(sgd.data["risk"].values[-1]),
            "sgd_network": float(sgd.data["network_risk"].values[-1]),
        },
        "means_at_the_end": {name: {"sgd": pair[0][-1], "dd": pair[1][-1]} for name, pair in means.items()},
        "largest_distance_of_means": {
            name: max(abs(u - v) for u, v in zip(*pair, strict=True)) for name, pair in means.items()
        },
        "band": {
            "multiple": band.multiple,
            "inside": float(inside.mean()),
            "outside_at": [float(t) for t in sgd.data["record_time"].values[~inside]],
        },
    }


def means_of(run: Trajectory, coordinate: str) -> list[float]:
    """The mean of one coordinate at every snapshot."""
    axis = run.data["coordinate"].values.tolist().index(coordinate)
    return [run.measure(i).mean(axis) for i in range(len(run.times))]


def checks(setting: Setting, entries: list[dict[str, Any]]) -> list[Check]:
    """What the figure has to show."""
    sampling, step = 5 * setting["units"] ** -0.5, setting["epsilon_networks"]
    spread = {
        "a": setting["a_std"],
        "b": setting["b_std"],
        "r1": setting["kappa"] / (2 * setting["d"]) ** 0.5,
    }
    smaller = "" if step == setting["epsilon"] else f"; these take steps of {step:g}, which widens it"
    found = [
        ensemble.inside_check(
            f"orbit-averaged risk, Delta = {entry['delta']:g}",
            entry["band"]["inside"],
            setting["networks"],
            smaller,
        )
        for entry in entries
    ]
    found += [
        Check(
            f"largest distance of the mean of {name} between SGD and DD, over Delta and time",
            max(entry["largest_distance_of_means"][name] for entry in entries),
            None,
            sampling * spread[name],
            "five standard errors of a mean of N draws of the initial law; of r1 the deviation is kappa/sqrt(2 d)",
        )
        for name in SHOWN
    ]
    falls = [entry["risk"]["dd"] for entry in entries]
    found.append(
        Check(
            "DD: the risk at the end is the lower, the farther the classes: least difference",
            min(a - b for a, b in pairwise(falls)),
            0.0,
            None,
            "classes that differ more are told apart better",
        )
    )
    return found


# %% [markdown]
# In a notebook: save first.  This runs the scripts as they were last saved, at the smoke scale, in seconds, into
# `figures/smoke`; `workbench reproduce relu` does the other scales.

# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("relu")
