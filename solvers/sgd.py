"""One-pass SGD of the actual two-layer network in R^d, one fresh sample a step  [MMN18].

This is the plain step-by-step loop: the thing the mean-field limit is a limit of, and the reference
for anything faster.  Everything is dimensionless.
"""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg.blas import dgemv, dger
from threadpoolctl import threadpool_limits

from solvers.network import check_isotropic, population_risk
from workbench.checks import whole_number
from workbench.errors import BadInput, NumericalFailure
from workbench.measure import Array, Measure, risk
from workbench.problem import Problem
from workbench.trajectory import Trajectory

# Samples are drawn in chunks of this fixed size, so that sample k depends on the seed alone and not
# on when the run is recorded.
CHUNK = 1024


@dataclass(frozen=True)
class SGDConfig:
    """How to run SGD.

    Parameters
    ----------
    epsilon
        step scale, epsilon > 0; the time after k steps is t = k epsilon.
    units
        number N >= 1 of units.
    seed
        0 <= seed < 2^63; initial weights, data and noise are three independent streams of it.
    keep_weights
        store the weights themselves at every snapshot, not only their norms.

    Raises
    ------
    BadInput
        naming the offending value and the mend.
    """

    epsilon: float = 1e-5
    units: int = 800
    seed: int = 0
    keep_weights: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise BadInput(f"epsilon = {self.epsilon} is not a step: give a finite epsilon > 0, e.g. 1e-5")
        whole_number("units", self.units, 1)
        whole_number("seed", self.seed, 0, 2**63 - 1)


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


def streams(seed: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """Independent generators of the initial weights, the data and the injected noise."""
    weights, data, noise = np.random.SeedSequence(seed).spawn(3)
    return (
        np.random.Generator(np.random.Philox(weights)),
        np.random.Generator(np.random.Philox(data)),
        np.random.Generator(np.random.Philox(noise)),
    )


def draw_samples(rng: np.random.Generator, law: Sequence[Any], count: int) -> tuple[Array, Array]:
    """``count`` samples of the data law: x (count, d) and labels y (count,).

    ``law`` is ``module.data_law(p)``: classes (y, P(y), blocks), x | y ~ N(mean, std^2 I_n) on each block
    (n, std, mean) of consecutive coordinates.  The samples are consecutive in the stream of ``rng`` only for
    one fixed ``count``: draw whole chunks of ``CHUNK``.
    """
    labels = np.array([y for y, _, _ in law], dtype=float)
    cumulative = np.cumsum([probability for _, probability, _ in law])
    # searchsorted on all but the last edge: rounding of the sum can not lead beyond the last class.
    drawn = np.searchsorted(cumulative[:-1], rng.random(count), side="right")
    mean, std = (
        np.array(
            [np.concatenate([np.full(int(block[0]), block[i]) for block in blocks]) for _, _, blocks in law]
        )
        for i in (2, 1)
    )
    return mean[drawn] + std[drawn] * rng.standard_normal((count, std.shape[1])), labels[drawn]


def step_sizes(problem: Problem, epsilon: float, first: int, count: int) -> Array:
    """s_k = epsilon xi((k + 1) epsilon) for k = first .. first + count - 1, shape (count,).

    Steps are numbered from 1 inside xi because xi(t) = t^(-exponent) is singular at 0.
    """
    return epsilon * problem.schedule.xi(np.arange(first + 1.0, first + count + 0.5) * epsilon)


@threadpool_limits.wrap(
    limits=1, user_api="blas"
)  # the products are too small to share out: threads cost tenfold
def solve(
    problem: Problem,
    config: SGDConfig = SGDConfig(),
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    """Train the network by one-pass SGD and record it.

    From w_i ~ ``problem.initial`` independently, step k = 0, 1, ... takes one fresh sample (x, y) and

        w_i <- (1 - 2 lam s_k) w_i + 2 s_k (y - yhat) sigma'(<w_i, x>) x + sqrt(4 s_k / beta) g_ik
        yhat = (1/N) sum_i sigma(<w_i, x>),   s_k = epsilon xi((k + 1) epsilon),   g_ik ~ N(0, I_d)

    (no 1/N in the step: this sets the mean-field clock t = k epsilon) [MMN18], in float64, O(N d) a
    step.  The empirical law of the units follows the distributional dynamics up to
    O(sqrt(1/N) + sqrt(d epsilon)).

    Parameters
    ----------
    problem
        a Problem with finite d; its module has ``sigma``, ``sigma_prime`` and ``data_law``.
    config
        step, size and seed.
    progress
        called with the fraction of the steps done, after each chunk and each record.

    Returns
    -------
    Trajectory
        the measure of the norms r_i = |w_i|, points (N, 1) of weight 1/N, at each snapshot, and at
        each record time ``risk`` (orbit-averaged, of that measure), ``network_risk`` (exact, of the
        network) and ``online_risk`` (mean of (y - yhat)^2 over the samples since the last record, each
        before its own update).  ``step (snapshot)`` and ``record_step (record)`` hold the steps,
        ``weights_full (snapshot, unit, dim)`` the weights if kept.  t = 0 is not recorded.

    Raises
    ------
    BadInput
        for d = inf, a model that is not isotropic, and a recording grid finer than the steps.
    NumericalFailure
        at the first step after which a squared error, a weight or a risk is not finite, with the
        records made before it as ``partial``.
    """
    if not (math.isfinite(problem.d) and problem.d == int(problem.d)):
        raise BadInput(f"d = {problem.d}: a real network needs a finite d; give an integer d >= 1")
    check_isotropic(problem.module, problem.parameters)
    if max(config.units, CHUNK) * problem.d > 1e9:
        raise BadInput(
            f"units = {config.units} at d = {problem.d} need more than 8 GB: give fewer units or a smaller d"
        )
    if problem.t_end / config.epsilon > 1e12:
        raise BadInput(
            f"epsilon = {config.epsilon} takes {problem.t_end / config.epsilon:.0e} steps: give a larger epsilon"
        )
    stops = recording_grid(problem, config.epsilon)
    weights_rng, data_rng, noise_rng = streams(config.seed)
    law = problem.module.data_law(problem.parameters)
    # Fortran order, so that the BLAS updates it in place.
    W = np.asfortranarray(problem.gaussian_initial.draw_weights(weights_rng, config.units, int(problem.d)))
    total = stops[-1].step
    records: list[_Record] = []
    pending = iter(stops)
    stop = next(pending)
    online: list[Array] = []
    started = clock.perf_counter()

    def finish(steps: int, complete: bool) -> Trajectory:
        return _assemble(problem, config, records, steps, clock.perf_counter() - started, complete)

    for first in range(0, total, CHUNK):
        step, last = first, min(first + CHUNK, total)
        x, y = draw_samples(data_rng, law, CHUNK)
        s = step_sizes(problem, config.epsilon, first, last - first)
        while step < last:
            end = min(last, stop.step)
            part = slice(step - first, end - first)
            samples = x[part], y[part], s[part]
            W_before, noise_state = W.copy(order="F"), noise_rng.bit_generator.state
            squares = _advance(problem, W, *samples, noise_rng)
            if not (np.isfinite(squares).all() and np.isfinite(W).all()):
                W[...], noise_rng.bit_generator.state = W_before, noise_state
                bad = step + _steps_to_failure(problem, W, *samples, noise_rng)
                raise _failure(bad, total, config, "the weights or the squared error", finish(bad, False))
            online.append(squares)
            if end == stop.step:
                try:
                    records.append(_record(problem, W, stop, np.concatenate(online), config.keep_weights))
                except NumericalFailure as error:
                    raise _failure(end, total, config, "the risk", finish(end, False)) from error
                online = []
                stop = next(pending, stop)
            step = end
            if progress is not None:
                progress(step / total)
    return finish(total, True)


@dataclass(frozen=True)
class _Record:
    """What is kept of one stop; ``W`` (N, d) only if asked for, ``r`` (N,) always."""

    stop: Stop
    r: Array
    risk: float
    network_risk: float
    online_risk: float
    W: Array | None


def _advance(problem: Problem, W: Array, x: Array, y: Array, s: Array, noise: np.random.Generator) -> Array:
    """One step for each sample in x (count, d), y (count,) with step sizes s (count,), overwriting ``W``.

    Returns the squared errors, each before its own update, (count,).
    """
    module = problem.module
    count, units = len(y), len(W)
    ridge, noisy = problem.lam > 0, math.isfinite(problem.beta)
    g = np.empty((W.shape[1], units)).T if noisy else W  # in the Fortran order of W
    z, errors = np.empty(units), np.empty(count)
    assert W.flags.f_contiguous, "the BLAS would update a copy"
    # A run that diverges overflows; the caller finds it in the result.
    with np.errstate(over="ignore", invalid="ignore"):
        labels, gain = y.tolist(), (2.0 * s).tolist()
        shrink = (1.0 - 2.0 * problem.lam * s).tolist()
        spread = np.sqrt(4.0 * s / problem.beta).tolist()
        for k in range(count):
            z = dgemv(1.0, W, x[k], y=z, overwrite_y=1)
            error = labels[k] - np.add.reduce(module.sigma(z)) / units
            errors[k] = error
            if ridge:
                W *= shrink[k]
            dger(gain[k] * error, module.sigma_prime(z), x[k], a=W, overwrite_a=1)
            if noisy:
                noise.standard_normal(out=g.T)
                g *= spread[k]
                W += g
        return errors**2


def _steps_to_failure(
    problem: Problem, W: Array, x: Array, y: Array, s: Array, noise: np.random.Generator
) -> int:
    """Replay ``_advance`` one by one: the number of steps up to and including the first not finite."""
    for k in range(len(y)):
        one = slice(k, k + 1)
        square = _advance(problem, W, x[one], y[one], s[one], noise)
        if not (np.isfinite(square).all() and np.isfinite(W).all()):
            return k + 1
    raise AssertionError("the replay of a failed segment did not fail")


def _record(problem: Problem, W: Array, stop: Stop, squares: Array, keep: bool) -> _Record:
    """Record the network after ``stop.step`` steps; raises NumericalFailure on a risk that is not finite."""
    network = population_risk(problem.module, W, problem.parameters)
    r = np.linalg.norm(W, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        reduced = risk(problem.module, Measure.uniform(r[:, None]), problem.parameters)
        online = float(np.mean(squares))
    if not (math.isfinite(reduced) and math.isfinite(online)):
        raise NumericalFailure(f"risk {reduced} and online risk {online} at step {stop.step}")
    return _Record(stop, r, reduced, network, online, W.copy() if keep else None)


def _failure(step: int, total: int, config: SGDConfig, what: str, partial: Trajectory) -> NumericalFailure:
    """The error of a run that diverged at ``step``, counted from 1."""
    return NumericalFailure(
        f"SGD diverged at step {step} of {total} (t = {step * config.epsilon:.6g}): {what} became non-finite "
        f"at epsilon = {config.epsilon}; try a smaller one, e.g. epsilon={config.epsilon / 10:.3g}",
        partial,
    )


def _assemble(
    problem: Problem,
    config: SGDConfig,
    records: Sequence[_Record],
    steps: int,
    wall_time: float,
    complete: bool,
) -> Trajectory:
    """The Trajectory of the records made so far."""
    snapshots = [record for record in records if record.stop.is_snapshot]
    extra: dict[str, tuple[tuple[str, ...], Any]] = {
        "network_risk": (("record",), np.array([record.network_risk for record in records], dtype=float)),
        "online_risk": (("record",), np.array([record.online_risk for record in records], dtype=float)),
        "record_step": (("record",), np.array([record.stop.step for record in records], dtype=np.int64)),
        "step": (("snapshot",), np.array([record.stop.step for record in snapshots], dtype=np.int64)),
    }
    if config.keep_weights:
        W = np.array([record.W for record in snapshots], dtype=float)
        extra["weights_full"] = (
            ("snapshot", "unit", "dim"),
            W.reshape(len(snapshots), config.units, int(problem.d)),
        )
    return Trajectory.assemble(
        times=[record.stop.time for record in snapshots],
        measures=[Measure.uniform(record.r[:, None]) for record in snapshots],
        coordinates=problem.module.COORDINATES,
        record_times=[record.stop.time for record in records],
        record_risk=[record.risk for record in records],
        extra=extra,
        attrs={
            "method": "sgd",
            "model": problem.module.NAME,
            "parameters": {name: float(value) for name, value in problem.parameters.items()},
            "kappa": problem.gaussian_initial.kappa,
            "epsilon": float(config.epsilon),
            "units": int(config.units),
            "seed": int(config.seed),
            "steps": steps,
            "lam": float(problem.lam),
            "beta": float(problem.beta),
            "xi_exponent": float(problem.schedule.exponent),
            "wall_time": wall_time,
            "steps_per_second": steps / wall_time if wall_time > 0 else 0.0,
            "versions": {"numpy": np.__version__},
        },
        complete=complete,
    )
