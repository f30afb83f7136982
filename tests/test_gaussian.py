"""Every closed form of the Gaussian calculus against a quadrature of its defining integral."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from tests import oracles
from tests.built import derivation_of, uncertified
from tests.oracles import ACTIVATIONS, Sigma
from workbench import Derivation, isotropic_gaussians, notation
from workbench.special import alpha, mp_function, q

# log-spaced as in the certificates, off their grid
SCALES = [3e-6, 2e-3, 0.07, 0.31, 0.9, 1.7, 6.0, 41.0, 8e2]
# None is the model without an offset, whose formulas know of none; 1.5 meets a knot: T = 0
OFFSETS = [None, 0.0, 1.5, -1.75, 19.0]

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


@cache
def affine(name: str) -> Derivation:
    """The derivation of a model with offsets, uncertified."""
    return uncertified(isotropic_gaussians(ACTIVATIONS[name][0], "affine"))


def forms_of(name: str, offset: float | None) -> Derivation:
    """The derivation that holds the formulas: with an offset or, for None, without."""
    return derivation_of(name) if offset is None else affine(name)


def shifted(sigma: Sigma, offset: float | None) -> Sigma:
    """t -> sigma(b + t), by its knots."""
    return Sigma(tuple(t - (offset or 0.0) for t in sigma.knots), sigma.values, sigma.left, sigma.right)


def number(derivation: Derivation, formula: sp.Expr, *symbols: sp.Symbol) -> Callable[..., Any]:
    """A formula in q and alpha as a function of ``symbols`` and the offset."""
    closed = derivation.closed
    places = notation.s, notation.b

    def mean(*args: sp.Expr) -> sp.Expr:
        assert closed.q is not None
        return closed.q.xreplace(dict(zip(places, args, strict=False)))

    def slope(order: sp.Expr, *args: sp.Expr) -> sp.Expr:
        return closed.alpha(order).xreplace(dict(zip(places, args, strict=False)))

    formula = formula.replace(q, mean).replace(alpha, slope)
    assert not formula.has(q, alpha)
    return mp_function(formula, *symbols, notation.b)


def printed(derivation: Derivation, title: str, order: int) -> Callable[..., Any]:
    """The right-hand side of a step as it is printed, at k = ``order``."""
    (step,) = [step for step in derivation.steps if step.title == title]
    return number(derivation, step.formula.rhs.subs(notation.k, order), notation.s)


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mean_and_first_hermite_coefficient(name: str, offset: float | None) -> None:
    sigma, forms = shifted(ACTIVATIONS[name][1], offset), forms_of(name, offset)
    b, s = offset or 0.0, notation.s
    mean = number(forms, forms.closed.q, s)
    slope = printed(forms, "Their derivatives", 0)
    first = printed(forms, "Hermite coefficients", 1)
    for scale in SCALES:
        assert close(mean(scale, b), oracles.a(sigma, 0, scale)), scale
        assert close(slope(scale, b), oracles.a_prime(sigma, 0, scale)), scale
        assert close(first(scale, b), oracles.a(sigma, 1, scale)), scale


@pytest.mark.parametrize("k", [2, 3, 4, 9, 16])
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hermite_coefficients_and_slopes(name: str, offset: float | None, k: int) -> None:
    sigma, forms = shifted(ACTIVATIONS[name][1], offset), forms_of(name, offset)
    value, slope = (printed(forms, title, k) for title in ("Hermite coefficients", "Their derivatives"))
    b = offset or 0.0
    for scale in SCALES:
        assert close(value(scale, b), oracles.a(sigma, k, scale)), scale
        assert close(slope(scale, b), oracles.a_prime(sigma, k, scale)), scale


@pytest.mark.parametrize("k", [0, 1, 2, 3, 8, 15])
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hermite_coefficients_of_the_slope(name: str, offset: float | None, k: int) -> None:
    """alpha_k(s, b) = E sigma'(b + s G) h_k(G), which is also the derivative of a_k in b."""
    sigma, forms = shifted(ACTIVATIONS[name][1], offset), forms_of(name, offset)
    f = number(forms, forms.closed.alpha(k), notation.s)
    for scale in SCALES:
        breaks = [t / scale for t in sigma.knots]

        def integrand(z: oracles.Array, scale: float = scale) -> oracles.Array:
            return sigma.slope(scale * z) * oracles.hermite_polynomial(k, z)

        exact = oracles.gaussian(integrand, breaks)
        assert close(f(scale, offset or 0.0), exact), scale


@pytest.mark.parametrize("d", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mean_over_a_sphere_and_its_slopes(name: str, offset: float | None, d: int) -> None:
    sigma, closed = shifted(ACTIVATIONS[name][1], offset), forms_of(name, offset).closed
    symbols = notation.n, notation.c, notation.b
    formulas = [mp_function(e, *symbols) for e in (closed.g, closed.g_scale, closed.g_offset)]
    # 2 of the knots are hit exactly: there g is continuous, and its slope as well for d > 1
    scales = np.array([*SCALES, 0.5001, 2.2])
    if d == 1:  # S = +-1: the slopes jump where a scale hits a knot, and none does
        assert not {abs(t) for t in sigma.knots} & set(scales)
        ends = scales * np.array([[1.0], [-1.0]])
        value = np.mean(sigma(ends), axis=0)
        by_offset = np.mean(sigma.slope(ends), axis=0)
        by_scale = (sigma.slope(ends[0]) - sigma.slope(ends[1])) / 2
    else:
        value, by_scale = oracles.g(sigma, d, scales), oracles.g_prime(sigma, d, scales)
        by_offset = oracles.sphere_average(lambda x: sigma.slope(scales[:, None] * x), sigma, d, scales)
    for scale, *exact in zip(scales, value, by_scale, by_offset, strict=True):
        for f, number in zip(formulas, exact, strict=True):
            assert close(f(d, scale, offset or 0.0), number), scale


PAIRS = [(0.4, 1.7, 0.6), (2.5, 1.1, -0.9), (0.9, 0.9, 0.97), (30.0, 0.05, 0.3), (1.2, 0.8, 0.0)]
PAIR_OFFSETS = [(0.8125, 0.0), (0.5, -1.5), (-2.25, 1.75)]


def pair(sigma: Sigma, sigma2: Sigma, s: float, s2: float, rho: float) -> float:
    """E sigma(sX) sigma2(s2 Y) at correlation |rho| < 1: ``oracles.pair`` for two activations."""
    root = math.sqrt(1 - rho * rho)
    breaks = [t / s for t in sigma.knots]
    # the inner mean bends within a few root/rho of x = t/(s2 rho)
    breaks += [(t / s2 + i * root) / rho for t in sigma2.knots for i in (-6, -2, 0, 2, 6)] if rho else []

    def inner(x: float) -> float:
        cuts = [(t / s2 - rho * x) / root for t in sigma2.knots]
        return oracles.gaussian(lambda z: sigma2(s2 * (rho * x + root * z)), cuts, width=2.0)

    return oracles.gaussian(lambda x: sigma(s * x) * np.array([inner(v) for v in x]), breaks, width=1.0)


def test_the_pair_oracle_of_two_activations_agrees_with_that_of_one() -> None:
    sigma = ACTIVATIONS["five"][1]
    for point in PAIRS:
        assert pair(sigma, sigma, *point) == pytest.approx(oracles.pair(sigma, *point), rel=1e-13, abs=1e-13)


def pair_formula(derivation: Derivation) -> Callable[..., Any]:
    """The closed form of the pair kernel, its means put in."""
    symbols = notation.s, notation.s2, notation.corr
    with_offsets = number(derivation, derivation.closed.pair, *symbols, notation.b2)
    return lambda s, s2, rho, b, b2: with_offsets(s, s2, rho, b2, b)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_pair_expectation_at_a_fixed_angle(name: str) -> None:
    sigma, f = ACTIVATIONS[name][1], pair_formula(derivation_of(name))
    for point in PAIRS:
        exact = oracles.pair(sigma, *point)
        with mp.workdps(16):  # at 30 digits the quadrature in each of 25 hinge pairs is slow
            value = f(*point, 0.0, 0.0)
        # hinge pairs of size s s2 <= 3 with coefficients up to 20
        assert float(value) == pytest.approx(exact, rel=1e-12, abs=1e-12), point


@pytest.mark.parametrize(("b", "b2"), PAIR_OFFSETS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_pair_expectation_with_offsets(name: str, b: float, b2: float) -> None:
    sigma, f = ACTIVATIONS[name][1], pair_formula(affine(name))
    for point in PAIRS:
        exact = pair(shifted(sigma, b), shifted(sigma, b2), *point)
        with mp.workdps(16):
            value = f(*point, b, b2)
        # as above, with values up to sigma(30 + 2)
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
    s, b = notation.s, notation.b
    assert derivation_of("relu").closed.q == s / sp.sqrt(2 * sp.pi)
    # and with an offset one hinge does
    shifted = affine("relu").closed.q
    assert shifted is not None and shifted.free_symbols == {s, b}
