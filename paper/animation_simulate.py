# %% [markdown]
# Animation: the norms of the weights over time
#
# Model.  Isotropic two-class Gaussians and N truncated ReLUs, trained by one-pass SGD [MMN18].
#
# Question.  Does the histogram of the norms |w_i| of one small network move as the density of distributional dynamics does,
# at every time and not only at the end?  Frames are spaced evenly in the square root of time, as the start is fast.

# %%
"""The data of the animation: one network and the density, at every frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from paper.distances import AHEAD, sampling_distance, spread
from paper.jobs import Job
from paper.setting import Check, Setting, at_whole_steps
from solvers.fokker_planck import FokkerPlanckConfig
from workbench.measure import wasserstein1
from workbench.problem import GaussianInitialLaw, Problem
from workbench.trajectory import Trajectory

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


# %%
def problem_of(setting: Setting) -> Problem:
    """The Problem of the figure: a snapshot for each frame."""
    frames, end = setting["frames"], setting["t_end"]
    times = end * (np.arange(1, frames + 1) / frames) ** 2
    return Problem(
        setting.module,
        setting.data(setting["delta"]),
        at_whole_steps(times.tolist(), setting["epsilon"]),
        initial=GaussianInitialLaw(setting["kappa"]),
    )


def jobs(setting: Setting) -> dict[str, Job]:
    """SGD and Fokker-Planck."""
    problem = problem_of(setting)
    return {
        "sgd": Job("sgd", problem, setting.sgd),
        "fokker_planck": Job("fokker_planck", problem, FokkerPlanckConfig(cells=setting["cells"])),
    }


# %% [markdown]
# What is said about the figure: the distance between the two laws at every frame.


# %%
def metrics(setting: Setting, runs: Mapping[str, Trajectory]) -> dict[str, Any]:
    """Quantiles and distances at every frame, and the checks."""
    sgd, density = runs["sgd"], runs["fokker_planck"]
    frames = []
    for i, t in enumerate(density.times):
        units, cells = sgd.measure(i), spread(density.measure(i))
        frames.append(
            {
                "t": float(t),
                "wasserstein1": wasserstein1(units, cells),
                "sampling_wasserstein1": sampling_distance(cells, setting["units"]),
                "quantiles_sgd": units.quantiles(np.array(LEVELS)).tolist(),
                "quantiles_dd": cells.quantiles(np.array(LEVELS)).tolist(),
            }
        )
    problem = problem_of(setting)
    numbers = {
        "tau_plus": problem.parameters["tau_plus"],
        "tau_minus": problem.parameters["tau_minus"],
        "levels": list(LEVELS),
        "frames": frames,
        "mass_error": float(np.max(density.data["mass_error"].values)),
        "min_density": float(np.min(density.data["min_density"].values)),
    }
    return {**numbers, "checks": checks(setting, numbers)}


def checks(setting: Setting, numbers: Mapping[str, Any]) -> list[Check]:
    """What the figure has to show."""
    beyond = [frame["wasserstein1"] - 3 * frame["sampling_wasserstein1"] for frame in numbers["frames"]]
    return [
        Check(
            "W1 between SGD and DD less three times the mean of it for independent draws, the largest of all frames",
            max(beyond),
            None,
            AHEAD * setting["d"] * setting["epsilon"],
            f"a distance of draws varies by 40 %; and {AHEAD:g} d epsilon for the bias of finite steps",
        ),
        Check("error of the mass of the density", numbers["mass_error"], None, 1e-12, "rounding"),
        Check("smallest density", numbers["min_density"], 0.0, None, "the scheme keeps densities >= 0"),
    ]


# %% [markdown]
# In a notebook: save first.  This runs the scripts as they were last saved, at the smoke scale, in seconds, into
# `figures/smoke`; `workbench reproduce animation` does the other scales.

# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("animation")
