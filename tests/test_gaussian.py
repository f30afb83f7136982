"""Every closed form of the Gaussian calculus against a quadrature of its defining integral."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from tests import oracles
from tests.built import derivation_of
from tests.oracles import ACTIVATIONS
from workbench import notation
from workbench.special import mp_function, q

# log-spaced as in the certificates, off their grid
SCALES = [3e-6, 2e-3, 0.07, 0.31, 0.9, 1.7, 6.0, 41.0, 8e2]

# Closed forms are evaluated with 30 digits, the quadratures in float64: their sums of 1000 terms are
# good to some 1e-15 of the integrand's size.
TOLERANCE = 2e-13


@pytest.fixture(autouse=True)
def _thirty_digits() -> Iterator[None]:
    with mp.workdps(30):
        yield


def close(value: Any, exact: float) -> bool:
    """Within the tolerance relative to max(1, |exact|)."""
    return abs(float(value) - exact) <= TOLERANCE * max(1.0, abs(exact))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mean_and_first_hermite_coefficient(name: str) -> None:
    sigma, forms = ACTIVATIONS[name][1], derivation_of(name)
    s = notation.s
    for k, value, slope in ((0, "q", "q_prime"), (1, "a_one", None)):
        f = mp_function(forms.definitions[value], s)
        for scale in SCALES:
            assert close(f(scale), oracles.a(sigma, k, scale)), (k, scale)
            if slope:
                assert close(
                    mp_function(forms.definitions[slope], s)(scale), oracles.a_prime(sigma, k, scale)
                )


@pytest.mark.parametrize("k", [2, 3, 4, 9, 16])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hermite_coefficients_and_slopes(name: str, k: int) -> None:
    sigma, forms = ACTIVATIONS[name][1], derivation_of(name)
    symbols = notation.k, notation.s
    value, slope = (mp_function(forms.definitions[x], *symbols) for x in ("a", "a_prime"))
    for scale in SCALES:
        assert close(value(k, scale), oracles.a(sigma, k, scale)), scale
        assert close(slope(k, scale), oracles.a_prime(sigma, k, scale)), scale


@pytest.mark.parametrize("d", [2, 3, 5, 40])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mean_over_a_sphere_and_its_slope(name: str, d: int) -> None:
    sigma, forms = ACTIVATIONS[name][1], derivation_of(name)
    symbols = notation.d, notation.c
    value, slope = (mp_function(forms.definitions[x], *symbols) for x in ("g", "g_prime"))
    # 2 of the knots are hit exactly: there g is continuous, and its slope as well for d > 1
    scales = np.array([*SCALES, 0.5001, 2.2])
    for scale, exact, exact_slope in zip(
        scales, oracles.g(sigma, d, scales), oracles.g_prime(sigma, d, scales), strict=True
    ):
        assert close(value(d, scale), exact), scale
        assert close(slope(d, scale), exact_slope), scale


PAIRS = [(0.4, 1.7, 0.6), (2.5, 1.1, -0.9), (0.9, 0.9, 0.97), (30.0, 0.05, 0.3), (1.2, 0.8, 0.0)]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_pair_expectation_at_a_fixed_angle(name: str) -> None:
    sigma, forms = ACTIVATIONS[name][1], derivation_of(name)
    mean = forms.definitions["q"]
    s = notation.s
    closed = forms.definitions["pair"].replace(q, lambda x: mean.subs(s, x))
    f = mp_function(closed, s, notation.s2, notation.corr)
    for point in PAIRS:
        exact = oracles.pair(sigma, *point)
        with mp.workdps(16):  # at 30 digits the quadrature in each of 25 hinge pairs is slow
            value = f(*point)
        # hinge pairs of size s s2 <= 3 with coefficients up to 20
        assert float(value) == pytest.approx(exact, rel=1e-12, abs=1e-12), point


@pytest.mark.parametrize(("s", "s2", "rho"), PAIRS)
def test_pair_expectation_is_the_mehler_series(s: float, s2: float, rho: float) -> None:
    """The oracle checks itself: its quadrature in two variables against its quadratures in one."""
    sigma = ACTIVATIONS["five"][1]
    terms = [rho**k * oracles.a(sigma, k, s) * oracles.a(sigma, k, s2) for k in range(120)]
    size = oracles.square_norm(sigma, s) ** 0.5 * oracles.square_norm(sigma, s2) ** 0.5
    # Cauchy-Schwarz bounds the tail by |rho|^120 size, 3e-2 size at 0.97; there only the first digits
    # are compared, and the terms decay like k^-3 besides
    assert abs(sum(terms) - oracles.pair(sigma, s, s2, rho)) <= (abs(rho) ** 120 * 1e-2 + 1e-13) * size


def test_no_hinge_survives_unevaluated() -> None:
    forms = derivation_of("relu")
    assert forms.definitions["q"] == notation.s / sp.sqrt(2 * sp.pi)
