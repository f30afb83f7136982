"""What SGD does at which step, whatever the samples: step sizes, ridge, noise, and when it is recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from workbench.errors import BadInput
from workbench.measure import Array
from workbench.problem import Problem

LEAST_SCALE = 0.5  # of weights under ridge, below which it is multiplied into them


@dataclass(frozen=True)
class Steps:
    """shrink = 1 - 2 lam s, gain = 2 s and spread = sqrt(4 s/beta) of some steps, (B,), see ``solvers.blocked``.

    ``ridge``, ``noisy``: whether anything shrinks, and whether there is noise.
    """

    shrink: Array
    gain: Array
    spread: Array
    ridge: bool
    noisy: bool

    @classmethod
    def of(cls, s: Array, lam: float, beta: float) -> Steps:
        """From the step sizes s (B,)."""
        return cls(1.0 - 2.0 * lam * s, 2.0 * s, np.sqrt(4.0 * s / beta), lam > 0, math.isfinite(beta))

    def part(self, steps: slice) -> Steps:
        """Some of them."""
        shrink, gain, spread = self.shrink[steps], self.gain[steps], self.spread[steps]
        return Steps(shrink, gain, spread, self.ridge, self.noisy)

    def decay(self) -> Array:
        """M (B + 1, B): M_kj for j < k, else 0."""
        count = len(self.shrink)
        k, j = np.ogrid[: count + 1, :count]
        factor = np.where(j < k - 1, self.shrink[k - 1], 1.0)
        return np.tril(np.cumprod(factor, axis=0), -1)


@dataclass(frozen=True)
class Stop:
    """A step after which the run is recorded, and the time asked for: |time - step epsilon| <= epsilon/2."""

    step: int
    time: float
    is_snapshot: bool


def recording_grid(problem: Problem, epsilon: float) -> tuple[Stop, ...]:
    """The stops of a run, in order of their steps k = round(t / epsilon).

    Record times that fall on one step share one record, kept under a snapshot's time where there is
    one and else under the time nearest to the step; record times before the first step are left out.

    Raises
    ------
    BadInput
        for a snapshot before the end of the first step, and for two snapshots on one step.
    """
    if not problem.snapshots[0] >= epsilon * (1 - 1e-9):
        raise BadInput(
            f"snapshot t = {problem.snapshots[0]} comes before the end of the first step at epsilon = "
            f"{epsilon}: give a later snapshot or a smaller epsilon"
        )
    stops: dict[int, Stop] = {}
    for t in problem.snapshots:
        step = round(t / epsilon)
        if step in stops:
            raise BadInput(
                f"snapshots t = {stops[step].time} and t = {t} fall on one step at epsilon = {epsilon}: "
                "drop one of them or give a smaller epsilon"
            )
        stops[step] = Stop(step, t, True)
    for t in problem.records:
        step = round(t / epsilon)
        held = stops.get(step)
        if step < 1 or (held is not None and held.is_snapshot):
            continue
        if held is None or abs(t - step * epsilon) < abs(held.time - step * epsilon):
            stops[step] = Stop(step, t, False)
    return tuple(stops[step] for step in sorted(stops))


def step_sizes(problem: Problem, epsilon: float, first: int, count: int) -> Array:
    """s_k = epsilon xi((k + 1) epsilon) for k = first .. first + count - 1, shape (count,).

    Steps are numbered from 1 inside xi because xi(t) = t^(-exponent) is singular at 0.
    """
    return epsilon * problem.schedule.xi(np.arange(first + 1.0, first + count + 0.5) * epsilon)
