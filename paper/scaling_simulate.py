# %% [markdown]
# Scaling: how far SGD is from distributional dynamics
#
# Theory.  Until time T, the risk of SGD deviates from that of DD by at most K e^(KT) sqrt(1/N v epsilon)
# [sqrt(D v log(N/epsilon)) + z] with probability 1 - 4 exp(-z^2/2) [MMN18]: like N^(-1/2) and like sqrt(D epsilon).  And N
# units drawn from a measure rho have E R_N = R(rho) + (1/N)(int U(theta, theta) drho - int int U): inf R_N is at most
# inf R + K/N.
#
# Measure.  The deviation is sup over the records of |R - R_DD|, R the orbit-averaged risk, its root mean square over
# networks.  Against N it is that of SGD with small steps from DD.  Against epsilon and d, where N^(-1/2) would hide it, it
# is that of SGD from itself with much smaller steps epsilon_0 and the same initial units, which shares their error.  Both
# draw from one stream of samples, from its start: until t the one weighs t/epsilon of them by epsilon, the other the same
# and more, t/epsilon_0 in all, by epsilon_0.  The variance of the difference is proportional to epsilon - epsilon_0.
#
# Slopes are least squares on log-log axes; their bands are bootstrap, 2.5 % to 97.5 %, over networks.

# %%
"""The data of the scaling figure: ensembles of SGD at several N, epsilon and d, and DD."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paper.jobs import Job
from paper.setting import Check, Setting
from solvers import landscape, network
from solvers.landscape import LandscapeConfig
from solvers.particles import ParticlesConfig
from workbench.measure import Array, self_interaction
from workbench.problem import GaussianInitialLaw, Problem
from workbench.trajectory import Trajectory

RECORDS = 5  # evenly spaced until t_end; multiples of every step
RESAMPLES = 2000  # of the bootstrap
ATOMS = 1600  # of DD, whose own error is then far below every deviation


# %%
def problem_of(setting: Setting, d: int) -> Problem:
    """The Problem in dimension d."""
    times = tuple(setting["t_end"] * (k + 1) / RECORDS for k in range(RECORDS))
    return Problem(
        setting.module,
        {**setting.data(setting["delta"]), "d": d},
        times[-1:],
        records=times[:-1],
        initial=GaussianInitialLaw(setting["kappa"]),
    )


def jobs(setting: Setting) -> dict[str, Job]:
    """Ensembles of SGD at every N, every epsilon and every d, references with the smallest steps, and DD."""
    own = problem_of(setting, setting["d"])

    def ensemble(problem: Problem, epsilon: float, units: int) -> Job:
        # of the risks the orbit-averaged one is compared
        few = replace(setting.sgd, replicas=setting["networks"], held_out=0, network_risk=False)
        return Job("sgd", problem, replace(few, epsilon=epsilon, units=units))

    smallest, units = setting["reference_step"], setting["units"]
    return {
        **{f"units_{n}": ensemble(own, setting["epsilon"], n) for n in setting["sizes"]},
        **{f"step_{epsilon:g}": ensemble(own, epsilon, units) for epsilon in setting["steps"]},
        "reference": ensemble(own, smallest, units),
        **{
            f"dimension_{d}": ensemble(problem_of(setting, d), setting["dimension_step"], units)
            for d in setting["dimensions"]
        },
        **{
            f"reference_{d}": ensemble(problem_of(setting, d), 4 * smallest, units)
            for d in setting["dimensions"]
        },
        "particles": Job("particles", own, ParticlesConfig(atoms=ATOMS)),
        "landscape": Job("landscape", own, LandscapeConfig()),
    }


# %% [markdown]
# What is said about the figure: deviations, slopes with their bands, and the lemma on networks of N units.


# %%
@dataclass(frozen=True)
class Curve:
    """Deviations (networks, values of x) against x: root mean squares over networks, and their slope."""

    x: Sequence[float]
    deviations: Array

    def numbers(self) -> dict[str, Any]:
        """x, rms over networks, slope, and the band of the slope."""
        rng = np.random.default_rng(0)
        count = len(self.deviations)
        picks = rng.integers(count, size=(RESAMPLES, count))
        slopes = [slope(self.x, rms(self.deviations[pick])) for pick in picks]
        low, high = np.quantile(slopes, (0.025, 0.975))
        return {
            "x": [float(value) for value in self.x],
            "rms": rms(self.deviations).tolist(),
            "slope": slope(self.x, rms(self.deviations)),
            "band": [float(low), float(high)],
        }


def rms(deviations: Array) -> Array:
    """Root mean square over networks, the first axis."""
    return np.sqrt((deviations**2).mean(axis=0))


def slope(x: Sequence[float], y: Array) -> float:
    """The slope of log y against log x, by least squares."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def furthest(first: Array, second: Array) -> Array:
    """sup over records of |first - second|, (networks, records) -> (networks,)."""
    return np.abs(first - second).max(axis=-1)


def metrics(setting: Setting, runs: Mapping[str, Trajectory]) -> dict[str, Any]:
    """Deviations and slopes against N, epsilon and d, the lemma, and the checks."""

    def risks(name: str) -> Array:
        return np.asarray(runs[name].data["replica_risk"].values)

    limit, reference = runs["particles"].data["risk"].values, risks("reference")
    against = {
        "units": Curve(
            setting["sizes"],
            np.stack([furthest(risks(f"units_{n}"), limit) for n in setting["sizes"]], axis=1),
        ),
        "epsilon": Curve(
            [step - setting["reference_step"] for step in setting["steps"]],
            np.stack([furthest(risks(f"step_{step:g}"), reference) for step in setting["steps"]], axis=1),
        ),
        "dimension": Curve(
            setting["dimensions"],
            np.stack(
                [furthest(risks(f"dimension_{d}"), risks(f"reference_{d}")) for d in setting["dimensions"]],
                axis=1,
            ),
        ),
    }
    numbers: dict[str, Any] = {name: curve.numbers() for name, curve in against.items()}
    numbers["epsilon"]["rms_from_dd"] = [
        float(rms(furthest(risks(f"step_{step:g}"), limit))) for step in setting["steps"]
    ]
    bound = np.sqrt(np.array(setting["dimensions"]) * setting["dimension_step"])
    numbers["dimension"]["largest_over_bound"] = float((rms(against["dimension"].deviations) / bound).max())
    numbers["lemma"] = lemma(setting, runs["landscape"])
    return {**numbers, "checks": checks(numbers)}


def lemma(setting: Setting, solved: Trajectory) -> dict[str, Any]:
    """Mean exact risk of networks of N units drawn from the optimal measure, above its risk, beside its expectation."""
    problem = problem_of(setting, setting["d"])
    module, p, d = problem.module, problem.parameters, setting["d"]
    rho = landscape.at_finite_radii(solved.measure(0))
    alike = self_interaction(module, rho, p)
    level = float(solved.data["risk"].values[0])
    mixed = level - 1 - 2 * float(rho.weights @ module.V(rho.points, p))  # int int U drho drho
    rng = np.random.default_rng(setting.seed)
    means, errors = [], []
    for size in setting["drawn_sizes"]:
        excess = []
        for _ in range(setting["draws"]):
            r = rng.choice(rho.points[:, 0], size=size, p=rho.weights / rho.weights.sum())
            g = rng.standard_normal((size, d))
            W = g * (r / np.linalg.norm(g, axis=1))[:, None]
            excess.append(network.population_risk(module, W, p) - level)
        means.append(float(np.mean(excess)))
        errors.append(float(np.std(excess, ddof=1) / math.sqrt(len(excess))))
    expected = [(alike - mixed) / size for size in setting["drawn_sizes"]]
    return {
        "x": list(setting["drawn_sizes"]),
        "mean_excess": means,
        "standard_error": errors,
        "expected": expected,
        "bound": [alike / size for size in setting["drawn_sizes"]],
        "slope": slope(setting["drawn_sizes"], np.array(means)),
        "largest_z": max(
            abs(mean - value) / error for mean, value, error in zip(means, expected, errors, strict=True)
        ),
    }


def checks(numbers: Mapping[str, Any]) -> list[Check]:
    """What the figure has to show."""
    return [
        Check("slope of the deviation against N", numbers["units"]["slope"], -0.6, -0.4, "N^(-1/2) [MMN18]"),
        Check(
            "slope of the deviation against epsilon",
            numbers["epsilon"]["slope"],
            0.35,
            0.65,
            "sqrt(D epsilon) [MMN18]",
        ),
        Check(
            "largest deviation over sqrt(d epsilon), over d",
            numbers["dimension"]["largest_over_bound"],
            None,
            1.0,
            "the bound of [MMN18] with a constant of 1; the slope is between that of the noise, 0, and of the bias, 1",
        ),
        Check(
            "mean risk of N units drawn from the optimal measure: largest distance to its expectation, in standard errors",
            numbers["lemma"]["largest_z"],
            None,
            4.0,
            "an exact identity; four standard errors",
        ),
        Check(
            "slope of that mean above inf R against N",
            numbers["lemma"]["slope"],
            -1.2,
            -0.8,
            "K/N, within noise",
        ),
    ]


# %% [markdown]
# In a notebook: save first.  This runs the scripts as they were last saved, at the smoke scale, in seconds, into
# `figures/smoke`; `workbench reproduce scaling` does the other scales.

# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("scaling")
