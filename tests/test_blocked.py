"""Blocks of SGD steps against the same steps one by one, and the law of their noise."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import stats

from solvers.backends import choose
from solvers.blocked import Noise, Units, advance
from solvers.generated import isotropic_truncated_relu
from solvers.recursion import ArrayRecursion, Recursion
from solvers.recursion_c import CompiledRecursion
from solvers.sgd_schedule import Steps
from tests.sgd_loop import loop
from workbench.measure import Array

MODULE = isotropic_truncated_relu
PLAIN, AFFINE = False, True


def units_of(rng: np.random.Generator, replicas: int, count: int, d: int, affine: bool) -> Units:
    """Random units whose pre-activations meet all pieces of the activation."""
    W = rng.normal(size=(replicas, count, d + affine)) / math.sqrt(d)
    return Units(W, rng.normal(1.0, 0.5, size=(replicas, count)) if affine else None)


def samples_of(
    rng: np.random.Generator, replicas: int, steps: int, d: int, affine: bool
) -> tuple[Array, Array]:
    """Samples, ending in 1 for affine units."""
    x = rng.normal(size=(replicas, steps, d + affine))
    if affine:
        x[..., -1] = 1.0
    return x, rng.choice(np.array([-1.0, 1.0]), size=(replicas, steps))


def in_blocks(units: Units, x: Any, y: Any, s: Array, lam: float, size: int, recursion: Recursion) -> Array:
    """All steps, ``size`` at a time, without noise; the squared errors."""
    squares = []
    if isinstance(recursion, CompiledRecursion):  # all of them in one call
        ends = [*range(size, len(s), size), len(s)]
        steps = Steps.of(s, lam, math.inf)
        errors, units.scale = recursion.train(units.W, units.a, units.scale, x, y, steps, ends)
        return np.asarray(errors**2)
    for first in range(0, len(s), size):
        part = slice(first, first + size)
        steps = Steps.of(s[part], lam, math.inf)
        squares.append(advance(units, x[:, part], y[:, part], steps, None, recursion))
    return np.concatenate(squares, axis=1)


@pytest.mark.parametrize("backend", ["numpy", "c"])
@pytest.mark.parametrize("lam", [0.0, 0.4])
@pytest.mark.parametrize("affine", [PLAIN, AFFINE])
def test_ten_thousand_steps_are_those_of_the_loop(affine: bool, lam: float, backend: str) -> None:
    rng = np.random.default_rng(1)
    units, (x, y) = units_of(rng, 2, 30, 6, affine), samples_of(rng, 2, 10_000, 6, affine)
    s = 2e-3 * np.arange(1.0, 10_001) ** -0.25
    expected = units.copy()
    errors = [
        loop(MODULE, W, a, xr, yr, s, lam)
        for W, a, xr, yr in zip(
            expected.W, [None, None] if expected.a is None else expected.a, x, y, strict=True
        )
    ]
    squares = in_blocks(units, x, y, s, lam, 64, choose(backend, MODULE, np.float64))
    # what is asked; 1e-14 a step in the worst case, and the dynamics contract
    W = units.scale * units.W
    np.testing.assert_allclose(W, expected.W, rtol=0, atol=1e-10 * np.abs(expected.W).max())
    if affine:
        np.testing.assert_allclose(units.a, expected.a, rtol=1e-10)
    np.testing.assert_allclose(squares, np.square(errors), rtol=0, atol=1e-10)


@pytest.mark.parametrize("affine", [PLAIN, AFFINE])
def test_the_size_of_a_block_does_not_matter(affine: bool) -> None:
    rng = np.random.default_rng(2)
    units, (x, y) = units_of(rng, 1, 20, 5, affine), samples_of(rng, 1, 500, 5, affine)
    s = np.full(500, 3e-3)
    results = []
    for size in (1, 2, 7, 8, 9, 64, 65, 500):
        for backend in ("numpy", "c"):
            own = units.copy()
            squares = in_blocks(own, x, y, s, 0.3, size, choose(backend, MODULE, np.float64))
            results.append(
                np.concatenate(
                    [own.scale * own.W.ravel(), squares.ravel(), () if own.a is None else own.a[0]]
                )
            )
    # rounding of 500 steps
    assert np.ptp(results, axis=0).max() <= 1e-12


@pytest.mark.parametrize("shrink", [1.0, 0.5, 0.0, -0.5], ids="shrink={}".format)
def test_any_ridge_is_taken_at_its_word(shrink: float) -> None:
    """A shrink of 0 forgets the weights; one may not divide by it."""
    rng = np.random.default_rng(3)
    units, (x, y) = units_of(rng, 1, 20, 5, AFFINE), samples_of(rng, 1, 40, 5, AFFINE)
    s = np.full(40, 0.01)
    lam = (1 - shrink) / 0.02
    expected = units.copy()
    assert expected.a is not None
    loop(MODULE, expected.W[0], expected.a[0], x[0], y[0], s, lam)
    in_blocks(units, x, y, s, lam, 40, choose("c", MODULE, np.float64))
    np.testing.assert_allclose(units.scale * units.W, expected.W, rtol=0, atol=1e-13)
    np.testing.assert_allclose(units.a, expected.a, rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", ["numpy", "c"])
@pytest.mark.parametrize("decay", [1e-9, 3e-8, 1e-5])
def test_a_ridge_below_the_rounding_of_float32_still_acts(decay: float, backend: str) -> None:
    """Units that see nothing shrink by (1 - decay)^steps; float32 knows no 1 - 1e-9."""
    count, s = 20_000, 1e-5
    units = Units(np.full((1, 3, 4), 0.7, np.float32), np.full((1, 3), 0.9))
    x, y = np.zeros((1, count, 4), np.float32), np.zeros((1, count), np.float32)
    assert float(MODULE.sigma_prime(np.float64(0.0))) == 0
    beta = math.inf
    recursion = choose(backend, MODULE, np.float32)
    a_kept = units.a * MODULE.sigma(np.float64(0.0))  # its mean is the output: give it as the label
    y[:] = a_kept.mean()
    steps = Steps.of(np.full(64, s), decay / (2 * s), beta)
    for _ in range(0, count - 63, 64):
        advance(units, x[:, :64], y[:, :64], steps, None, recursion)
        y[:] = (units.a * MODULE.sigma(np.float64(0.0))).mean()  # no error, no step
    taken = (count // 64) * 64
    expected = 0.7 * (1 - decay) ** taken
    # one rounding of float32 whenever the scale goes into the weights
    assert float(units.scale * units.W[0, 0, 0]) == pytest.approx(expected, rel=2e-7)
    if decay < 1e-6:  # else the outputs move within a block, and the units learn from that
        assert units.a[0, 0] == pytest.approx(0.9 * (1 - decay) ** taken, rel=2e-5)
        assert abs(units.a[0, 0] / 0.9 - 1) > 0.9 * decay * taken


def test_float32_rounds_less_in_blocks_than_step_by_step() -> None:
    rng = np.random.default_rng(4)
    units, (x, y) = units_of(rng, 1, 100, 10, PLAIN), samples_of(rng, 1, 20_000, 10, PLAIN)
    s = np.full(20_000, 1e-5)
    exact = units.copy()
    in_blocks(exact, x, y, s, 0.0, 64, choose("numpy", MODULE, np.float64))
    x32, y32 = x.astype(np.float32), y.astype(np.float32)
    results = {}
    for size in (1, 64):
        own = Units(units.W.astype(np.float32))
        in_blocks(own, x32, y32, s, 0.0, size, choose("c", MODULE, np.float32))
        results[size] = math.sqrt(np.mean((own.W - exact.W) ** 2))
    # roundings of weights of size 0.3, 3e-8 each: 20,000 of them against 313, in a random walk
    assert results[64] <= 2e-6 and results[64] <= 0.5 * results[1]


# ---- noise


class Still(ArrayRecursion):
    """No unit ever learns: what is left is ridge and noise; keeps the pre-activations that it was given."""

    def run(self, Z: Any, G: Any, y: Any, steps: Steps, a: Any, noise: Any) -> Any:
        self.seen = Z.copy()
        self.noise = noise
        Z[:] = 0
        return np.zeros_like(y)


def noisy(
    units: Units, x: Array, s: Array, lam: float, beta: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """z along the block (R, B, N) and W after it, when nothing is learned."""
    replicas, count, _ = units.W.shape
    normals = Noise(rng.standard_normal(units.W.shape), rng.standard_normal((replicas, len(s), count)), None)
    recursion, own = Still(MODULE), units.copy()
    advance(own, x, np.ones(x.shape[:2]), Steps.of(s, lam, beta), normals, recursion)
    return recursion.seen, own.scale * own.W


def plain_noise(
    W: Array, x: Array, s: Array, lam: float, beta: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """The same, step by step."""
    z = np.empty((len(s), len(W)))
    for k in range(len(s)):
        z[k] = W @ x[k]
        W = (1 - 2 * lam * s[k]) * W + math.sqrt(4 * s[k] / beta) * rng.standard_normal(W.shape)
    return z, W


@pytest.mark.parametrize("d", [2, 9])
@pytest.mark.parametrize("lam", [0.0, 3.0])
def test_the_noise_of_a_block_has_the_covariance_of_its_steps(lam: float, d: int) -> None:
    """All of (z_1 ... z_{B-1}, W_B) jointly, from its definition, against many units drawn in blocks."""
    rng = np.random.default_rng(5)
    count, B, beta = 200_000, 6, 2.0
    x, s = rng.normal(size=(1, B, d)), 0.05 / np.arange(1.0, B + 1)
    z, W = noisy(Units(np.zeros((1, count, d))), x, s, lam, beta, rng)
    found = np.concatenate([z[0], W[0].T])  # (B + d, units)
    # linear in the g_j: one row of coefficients for each step and direction
    shrink, spread = 1 - 2 * lam * s, np.sqrt(4 * s / beta)
    rows = []
    for direction in np.eye(d):
        for j in range(B):
            row, left = np.zeros(B + d), spread[j] * direction
            for k in range(j + 1, B):
                row[k] = left @ x[0, k]
                left = shrink[k] * left
            row[B:] = left
            rows.append(row)
    exact = np.transpose(rows) @ np.array(rows)
    measured = found @ found.T / count
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert exact[0, 0] == 0 and (found[0] == 0).all()
    # five standard errors of a covariance, at most sqrt(2/count) of the scale
    assert (np.abs(measured - exact) <= 5 * math.sqrt(2 / count) * scale).all()


def test_noise_in_blocks_is_the_noise_of_the_plain_loop_in_law() -> None:
    rng = np.random.default_rng(6)
    d, B, units, lam, beta = 4, 5, 20_000, 1.0, 3.0
    x, s = rng.normal(size=(B, d)), np.linspace(0.02, 0.1, B)
    W = rng.normal(size=(units, d))
    z, after = noisy(Units(W[None]), x[None], s, lam, beta, rng)
    z_plain, after_plain = plain_noise(W, x, s, lam, beta, rng)
    ones = np.array([0.3, -1.0, 0.7, 1.0])
    for got, wanted in [*zip(z[0], z_plain, strict=True), (after[0] @ ones, after_plain @ ones)]:
        # the 0.1 % quantile of the distance of two samples
        assert stats.ks_2samp(got, wanted).statistic <= 1.95 * math.sqrt(2 / units)


def test_increments_are_normal_and_independent_from_block_to_block() -> None:
    rng = np.random.default_rng(7)
    d, B, units, beta, s = 3, 8, 5000, 2.0, 0.01
    states = [np.zeros((1, units, d))]
    for _ in range(4):
        states.append(noisy(Units(states[-1]), rng.normal(size=(1, B, d)), np.full(B, s), 0.0, beta, rng)[1])
    increments = [(b - a).ravel() / math.sqrt(4 * s * B / beta) for a, b in pairwise(states)]
    for increment in increments:
        # the 0.1 % quantile; a factor 2 in the noise would be forty times as much
        assert stats.kstest(increment, "norm").statistic < 1.95 / math.sqrt(units * d)
    correlations = np.corrcoef(increments) - np.eye(4)
    assert np.abs(correlations).max() < 4 / math.sqrt(units * d)


def test_output_weights_get_the_noise_of_their_steps() -> None:
    rng = np.random.default_rng(8)
    units, s = units_of(rng, 2, 5, 3, AFFINE), np.linspace(0.01, 0.04, 4)
    x, y = samples_of(rng, 2, 4, 3, AFFINE)
    normals = Noise(np.zeros_like(units.W), np.zeros((2, 4, 5)), rng.standard_normal((2, 4, 5)))
    recursion = Still(MODULE)
    advance(units, x, y, Steps.of(s, 0.0, 2.0), normals, recursion)
    np.testing.assert_allclose(recursion.noise, np.sqrt(2 * s)[:, None] * normals.outputs, rtol=1e-14)


@pytest.mark.parametrize("affine", [PLAIN, AFFINE])
@pytest.mark.parametrize("backend", ["numpy", "c"])
def test_noise_drives_the_steps_as_in_the_loop(backend: str, affine: bool) -> None:
    """One step a block: then the noise is that of the loop number by number."""
    rng = np.random.default_rng(9)
    units, (x, y) = units_of(rng, 1, 20, 5, affine), samples_of(rng, 1, 50, 5, affine)
    s, lam, beta = np.linspace(0.02, 0.01, 50), 0.5, 10.0
    g, h = rng.standard_normal((50, *units.W.shape[1:])), rng.standard_normal((50, 20))
    expected = units.copy()
    size = np.sqrt(4 * s / beta)
    a = None if expected.a is None else expected.a[0]
    loop(MODULE, expected.W[0], a, x[0], y[0], s, lam, size[:, None, None] * g, size[:, None] * h)
    for k in range(50):
        one = slice(k, k + 1)
        normals = Noise(g[None, k], np.zeros((1, 1, 20)), h[None, one] if affine else None)
        advance(
            units,
            x[:, one],
            y[:, one],
            Steps.of(s[one], lam, beta),
            normals,
            choose(backend, MODULE, np.float64),
        )
    np.testing.assert_allclose(units.scale * units.W, expected.W, rtol=0, atol=1e-12)
    if a is not None:
        np.testing.assert_allclose(units.a[0], a, rtol=1e-11)
