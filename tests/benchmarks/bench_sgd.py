"""Steps of SGD a second: one by one in NumPy, in blocks, and in a fused loop compiled by numba.

Every method trains the same network on the same samples, drawn before, in float32 with one thread; the times
of all are taken in turns.  The share is that of 4 N d operations a step, which every method needs, in the
machine's pace of matrix products, measured in the same turns.  Below are whole runs, samples and records included,
on one core; then two replicas, by one worker on one core and by two workers on two.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.linalg.blas import sgemv, sger
from threadpoolctl import threadpool_limits

from solvers import sgd
from solvers.backends import choose
from solvers.blocked import Units, advance
from solvers.generated import isotropic_truncated_relu as module
from solvers.recursion_c import CompiledRecursion
from solvers.samples import chunk_of_samples
from solvers.sgd_schedule import Steps
from workbench.problem import Problem, log_spaced_times

SIZES = ((40, 800), (320, 800), (320, 3200))
EPSILON = 1e-6
P = {"tau_plus": 1.8, "tau_minus": 0.2}
TURNS = 5
Method = Callable[[Any, Any, Any, int], None]  # (W, x, y, steps)


def numpy_loop(W: Any, x: Any, y: Any, steps: int) -> None:
    """One step after the other in float32, as one would write it in NumPy."""
    gain = np.float32(2 * EPSILON)
    for k in range(steps):
        z = W @ x[k]
        push = gain * (y[k] - module.sigma(z).astype(np.float32).mean())
        W += np.outer(push * module.sigma_prime(z).astype(np.float32), x[k])


def blas_loop(W: Any, x: Any, y: Any, steps: int) -> None:
    """The same with the rank-one update in place, by SciPy's BLAS."""
    by_columns, gain = np.asfortranarray(W), np.float32(2 * EPSILON)
    for k in range(steps):
        z = sgemv(1.0, by_columns, x[k])
        push = gain * (y[k] - module.sigma(z).astype(np.float32).mean())
        sger(push, module.sigma_prime(z).astype(np.float32), x[k], a=by_columns, overwrite_a=1)
    W[...] = by_columns


def blocked(backend: str) -> Method:
    """The blocks of ``solvers.blocked``."""
    recursion = choose(backend, module, np.float32)
    block = Steps.of(np.full(64, EPSILON), 0.0, math.inf)

    def run(W: Any, x: Any, y: Any, steps: int) -> None:
        if isinstance(recursion, CompiledRecursion):
            every = Steps.of(np.full(steps, EPSILON), 0.0, math.inf)
            recursion.train(W[None], None, 1.0, x[None], y[None], every, range(64, steps + 1, 64))
            return
        units = Units(W[None])
        for first in range(0, steps, 64):
            part = slice(first, first + 64)
            advance(units, x[None, part], y[None, part], block, None, recursion)

    return run


def fused() -> Method | None:
    """The whole step in one loop, as one would write it with numba; None without it."""
    try:
        import numba
    except ModuleNotFoundError:
        return None

    @numba.njit(fastmath=True, nogil=True)
    def train(W: Any, x: Any, y: Any, steps: int, s: Any) -> None:
        units, d = W.shape
        slope = np.empty(units, W.dtype)
        for k in range(steps):
            mean = W.dtype.type(0)
            for i in range(units):
                z = W.dtype.type(0)
                for c in range(d):
                    z += W[i, c] * x[k, c]
                if z < 0.5:
                    mean += -2.5
                    slope[i] = 0.0
                elif z < 1.5:
                    mean += 10.0 * z - 7.5
                    slope[i] = 10.0
                else:
                    mean += 7.5
                    slope[i] = 0.0
            push = 2 * s * (y[k] - mean / units)
            for i in range(units):
                g = push * slope[i]
                if g != 0:
                    for c in range(d):
                        W[i, c] += g * x[k, c]

    return lambda W, x, y, steps: train(W, x, y, steps, np.float32(EPSILON))


def peak() -> float:
    """Operations a second of a large float32 matrix product."""
    a = np.ones((1024, 1024), np.float32)
    start = time.perf_counter()
    a @ a
    return 2 * 1024**3 / (time.perf_counter() - start)


def paces(d: int, units: int, methods: dict[str, Method]) -> tuple[dict[str, float], float]:
    """The best pace of every method, steps a second, and that of matrix products."""
    x, y = chunk_of_samples(module.data_law({"d": d, **P}), 0, 0, 0)
    W = (0.8 / math.sqrt(d) * np.random.default_rng(0).standard_normal((units, d))).astype(np.float32)
    best, operations = dict.fromkeys(methods, 0.0), 0.0
    counts = {name: 128 if name.endswith("loop") else 1024 for name in methods}
    results = {}
    for turn in range(TURNS + 1):
        for name, method in methods.items():
            own = W.copy()
            start = time.perf_counter()
            method(own, x, y, counts[name])
            if turn > 0:  # the first compiles
                best[name] = max(best[name], counts[name] / (time.perf_counter() - start))
            results[name] = own
        operations = max(operations, peak())
    for name, own in results.items():  # the same algorithm
        if counts[name] == 1024:
            assert np.abs(own - results["blocked C"]).max() <= 1e-5, name
    return best, operations


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Threads begun inside run on so many cores, where the system can be told."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def whole_run(d: int, units: int, steps: int, precision: str = "float32") -> float:
    """Seconds for a run with records as in a figure."""
    end = steps * EPSILON
    records = log_spaced_times(EPSILON, end, per_decade=8)[:-1]
    problem = Problem(module, {"d": d, **P}, (end / 10, end), records=records)
    config = sgd.SGDConfig(epsilon=EPSILON, units=units, precision=precision)
    with cores(1):
        return float(sgd.solve(problem, config).data.attrs["wall_time"])


def ensemble(d: int, steps: int, workers: int, allowed: int) -> float:
    """Seconds for two replicas without further records, so many at once, on so many cores."""
    problem = Problem(module, {"d": d, **P}, (steps * EPSILON,))
    config = sgd.SGDConfig(epsilon=EPSILON, replicas=2, workers=workers)
    with cores(allowed):
        return float(sgd.solve(problem, config).data.attrs["wall_time"])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paper", action="store_true", help="whole runs of ten million steps, not a tenth")
    arguments = parser.parse_args()
    methods: dict[str, Method] = {
        "NumPy loop": numpy_loop,
        "BLAS loop": blas_loop,
        "blocked NumPy": blocked("numpy"),
        "blocked C": blocked("c"),
    }
    numba = fused()
    if numba is not None:
        methods["numba"] = numba
    with threadpool_limits(limits=1, user_api="blas"):
        rows = [["d", "N", *methods, "C / NumPy", "C / BLAS", "C / numba", "C share"]]
        for d, units in SIZES:
            best, operations = paces(d, units, methods)
            fast = best["blocked C"]
            rows.append(
                [
                    str(d),
                    str(units),
                    *(f"{pace:,.0f}/s" for pace in best.values()),
                    f"{fast / best['NumPy loop']:.1f}",
                    f"{fast / best['BLAS loop']:.1f}",
                    f"{fast / best['numba']:.1f}" if "numba" in best else "not installed",
                    f"{4 * units * d * fast / operations:.0%} of {operations / 1e9:.0f} G/s",
                ]
            )
        print(aligned(rows), end="\n\n", flush=True)
    steps = 10_000_000 if arguments.paper else 1_000_000
    rows = [["whole run", "d", "N", "steps", "seconds", "steps/s"]]
    for name, d, units, precision in (
        ("distribution", 40, 800, "float32"),
        ("failure", 320, 800, "float32"),
        ("distribution, float64", 40, 800, "float64"),
    ):
        seconds = whole_run(d, units, steps, precision=precision)
        rows.append([name, str(d), str(units), f"{steps:,}", f"{seconds:.1f}", f"{steps / seconds:,.0f}"])
    print(aligned(rows), end="\n\n", flush=True)
    # one worker draws samples ahead in a second thread, so it uses a second core, too
    rows = [
        ["d", "one worker, one core", "one worker, two cores", "two workers, two cores", "speed", "speed"]
    ]
    for d in (40, 320):
        runs = [[ensemble(d, steps // 5, *how) for how in ((1, 1), (1, 2), (2, 2))] for _ in range(3)]
        least = [min(column) for column in zip(*runs, strict=True)]
        ratios = [f"{least[0] / least[2]:.2f}x", f"{least[1] / least[2]:.2f}x"]
        rows.append([str(d), *(f"{seconds:.2f} s" for seconds in least), *ratios])
    print(aligned(rows))


if __name__ == "__main__":
    main()
