"""Functionals of a measure against plain double sums and closed forms."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest
from scipy.stats import norm

import solvers.generated.isotropic_nonmonotone as module
from tests import oracles
from workbench import Measure, risk, wasserstein1
from workbench.measure import Psi, feature_moments, grad_Psi, self_interaction

P = {"d": 40, "tau_plus": 1.5, "tau_minus": 0.5}


@pytest.fixture
def rho() -> Measure:
    """Seven points of unequal weight, one of them at 0."""
    rng = np.random.default_rng(3)
    points = np.concatenate([[0.0], rng.uniform(0.1, 4, 6)])[:, None]
    weights = rng.dirichlet(np.ones(7))
    return Measure(points, weights)


def test_moments_of_a_measure(rho: Measure) -> None:
    assert rho.mean() == pytest.approx(sum(w * x for w, x in zip(rho.weights, rho.points[:, 0], strict=True)))
    values = np.arange(14.0).reshape(7, 2)
    assert rho.expectation(values) == pytest.approx(
        sum(w * v for w, v in zip(rho.weights, values, strict=True))
    )
    assert Measure.uniform(rho.points).weights == pytest.approx(np.full(7, 1 / 7), rel=1e-15, abs=0)


@pytest.mark.parametrize("d", [3, 40, math.inf])
def test_risk_is_the_double_sum(rho: Measure, d: float) -> None:
    p = {**P, "d": d}
    total = 1.0
    for x, w in zip(rho.points, rho.weights, strict=True):
        total += 2 * w * float(module.V(x, p))
        for x2, w2 in zip(rho.points, rho.weights, strict=True):
            total += w * w2 * float(module.U_exact(x, x2, p))
    # U of the default error, at d = 3 what 1024 nodes give: 7e-9 of 7.5^2
    assert risk(module, rho, p) == pytest.approx(total, abs=1e-9 if d == 40 else 4e-7)


def test_risk_of_sampled_data_and_directions() -> None:
    """E (y - yhat)^2 of a population of two kinds of units, with directions drawn afresh."""
    sigma, r = oracles.ACTIVATIONS["nonmonotone"][1], (0.4, 2.0)
    p = {"d": 5, "tau_plus": 1.5, "tau_minus": 0.5}
    total, error = 1.0, 0.0
    for i in range(2):
        for j in range(2):
            V, U = oracles.network_samples(sigma, 5, (1.5, 0.5), r[i], r[j], 400_000, seed=4 * i + j)
            drawn = (2 * V + U) / 4
            total += drawn.mean()
            error += drawn.var() / len(drawn)
    value = risk(module, Measure.uniform(np.array(r)[:, None]), p)
    assert abs(value - total) < 4 * math.sqrt(error)


@pytest.mark.parametrize(("name", "blocks"), [("isotropic_relu", 1), ("anisotropic_relu", 2)])
def test_self_interaction_is_the_mean_square_of_a_unit(name: str, blocks: int) -> None:
    """K = E (a relu(z + b))^2 = a^2 ((s^2 + b^2) N(b/s) + b s n(b/s)) for z ~ N(0, s^2), N and n the standard normal."""
    rng = np.random.default_rng(5)
    points = np.hstack([rng.normal(0.5, 1, (7, 2)), rng.uniform(0.1, 3, (7, blocks))])
    rho = Measure(points, rng.dirichlet(np.ones(7)))
    total = 0.0
    for (a, b, *radii), weight in zip(points, rho.weights, strict=True):
        for tau in (1.5, 0.5):
            s = math.hypot(tau * radii[0], *radii[1:])
            total += weight / 2 * a**2 * ((s**2 + b**2) * norm.cdf(b / s) + b * s * norm.pdf(b / s))
    p = {**P, "s0": 15} if blocks == 2 else P
    found = self_interaction(import_module(f"solvers.generated.{name}"), rho, p)
    assert found == pytest.approx(total, rel=1e-12)  # float64, cosine 1 is treated apart


def test_self_interaction_against_samples(rho: Measure) -> None:
    sigma = oracles.ACTIVATIONS["nonmonotone"][1]
    total, error = 0.0, 0.0
    rng = np.random.default_rng(0)
    for (r,), weight in zip(rho.points, rho.weights, strict=True):
        for tau in (P["tau_plus"], P["tau_minus"]):
            drawn = sigma(tau * r * rng.standard_normal(400_000)) ** 2
            total += weight / 2 * drawn.mean()
            error += (weight / 2) ** 2 * drawn.var() / len(drawn)
    assert abs(self_interaction(module, rho, P) - total) < 4 * math.sqrt(error)


def test_psi_is_half_the_variation_of_the_risk(rho: Measure) -> None:
    """Mass epsilon moved to x changes R by 2 epsilon (Psi(x) - int Psi drho) + O(epsilon^2)."""
    moments, x = feature_moments(module, rho, P), np.array([1.3])
    mean = rho.expectation(Psi(module, rho.points, moments, P))
    slopes = []
    for epsilon in (1e-4, -1e-4):
        moved = Measure(np.vstack([rho.points, x]), np.append(rho.weights * (1 - epsilon), epsilon))
        slopes.append((risk(module, moved, P) - risk(module, rho, P)) / epsilon)
    # R is quadratic in rho: the central difference is exact up to rounding of 1e-16 * 10 / 1e-4
    assert np.mean(slopes) == pytest.approx(2 * float(Psi(module, x, moments, P) - mean), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("d", [7, 40, math.inf])
def test_gradient_of_psi(rho: Measure, d: float) -> None:
    p = {**P, "d": d}
    moments, x, h = feature_moments(module, rho, p), np.linspace(0.2, 3, 9)[:, None], 1e-3
    differences = sum(
        c * Psi(module, x + n * h, moments, p)
        for n, c in ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))
    )
    exact = grad_Psi(module, x, moments, p)
    assert exact.shape == (9, 1)
    # h^4/30 times a fifth derivative of some 1e3 at r = 0.2, and rounding 1e-15/h
    assert differences / h == pytest.approx(exact[:, 0], abs=1e-7)


def test_quantiles_of_unequal_weights() -> None:
    rho = Measure(np.array([[3.0], [1.0], [2.0]]), np.array([0.25, 0.5, 0.25]))
    levels = np.array([0.01, 0.5, 0.500001, 0.75, 0.76, 1.0])
    assert np.array_equal(rho.quantiles(levels), [1, 1, 2, 2, 3, 3])


@pytest.mark.parametrize("n", [3, 10, 400, 1000])
def test_quantiles_of_equal_weights(n: int) -> None:
    """F jumps to k/n at the k-th point, so the level k/n has the k-th point."""
    rho = Measure.uniform(np.arange(1.0, n + 1)[:, None])
    k = np.arange(1, n + 1)
    assert np.array_equal(rho.quantiles(k / n), k)
    assert np.array_equal(rho.quantiles((k - 0.5) / n), k)


def test_wasserstein_distance_of_a_shift_and_of_two_points(rho: Measure) -> None:
    shifted = Measure(rho.points + 0.37, rho.weights)
    assert wasserstein1(rho, shifted) == pytest.approx(0.37, rel=1e-12, abs=0)
    assert wasserstein1(rho, rho) == 0
    # 0.3 of the mass moves by 2
    one, other = (Measure(np.array([[0.0], [2.0]]), np.array(w)) for w in ([0.8, 0.2], [0.5, 0.5]))
    assert wasserstein1(one, other) == pytest.approx(0.6, rel=1e-12, abs=0)
    # int |F - G| of uniform on [0, 1] against uniform on [0, 2], by midpoints
    mid = (np.arange(2000) + 0.5) / 2000
    assert wasserstein1(Measure.uniform(mid[:, None]), Measure.uniform(2 * mid[:, None])) == pytest.approx(
        0.5
    )
