"""The equation of the radius against quadratures and a simulation that know nothing of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sympy as sp
from scipy import integrate, stats

from workbench.errors import BadInput
from workbench.free_energy import beta, density, lam, ridged, t, xi
from workbench.notation import b, d, r, s0
from workbench.orbits import (
    Coordinate,
    check_adjoint,
    effective_potential,
    reduced_generator,
    reduced_right_hand_side,
)

n = sp.Symbol("n", integer=True, positive=True)
RADIUS = (Coordinate(r, n),)
psi, rho = sp.Function("psi")(r), density((r,))
PSI_LAM = ridged(psi, (r,))
RIGHT_HAND_SIDE = reduced_right_hand_side(rho, PSI_LAM, RADIUS)
EFFECTIVE = effective_potential(PSI_LAM, RADIUS)
VALUES = {n: 4, lam: sp.Rational(3, 10), beta: sp.Rational(5, 2), t: 1}


def filled(expression: sp.Expr, potential: sp.Expr, density: sp.Expr | None = None) -> sp.Expr:
    """The expression with psi, rho, xi = 3/4 and the constants put in."""
    expression = expression.subs(xi, sp.Rational(3, 4)).subs(psi, potential)
    if density is not None:
        expression = expression.subs(rho, density)
    return expression.doit().subs(VALUES)


def quad(expression: sp.Expr) -> float:
    """int_0^12 of an expression in r; the densities here are below 1e-30 at 12."""
    return float(
        integrate.quad(sp.lambdify(r, expression), 1e-12, 12, epsabs=1e-13, epsrel=1e-12, limit=200)[0]
    )


POTENTIAL = sp.cos(2 * r) + r**2 / 3
DENSITY = r**3 * sp.exp(-(r**2)) * (1 + r / 2)
TESTS = [sp.exp(-(r**2) / 2), r**2, sp.sin(r) ** 2, 1 + 0 * r]


@pytest.mark.parametrize("f", TESTS)
def test_weak_form(f: sp.Expr) -> None:
    """d/dt int f rho = 2 xi int rho ( -psi_lam' f' + (f'' + (n-1)/r f')/beta ), written out by hand."""
    left = quad(sp.sympify(f) * filled(RIGHT_HAND_SIDE, POTENTIAL, DENSITY))
    drift = -(sp.diff(POTENTIAL, r) + sp.Rational(3, 10) * r) * sp.diff(f, r)
    spread = (sp.diff(f, r, 2) + 3 / r * sp.diff(f, r)) / sp.Rational(5, 2)
    right = quad(DENSITY * sp.Rational(3, 2) * (drift + spread))
    # adaptive quadrature to 1e-12
    assert left == pytest.approx(right, abs=1e-9)


@pytest.mark.parametrize("f", TESTS)
def test_generator(f: sp.Expr) -> None:
    drift = -(sp.diff(POTENTIAL, r) + sp.Rational(3, 10) * r) * sp.diff(f, r)
    spread = (sp.diff(f, r, 2) + 3 / r * sp.diff(f, r)) / sp.Rational(5, 2)
    derived = filled(reduced_generator(sp.sympify(f), PSI_LAM, RADIUS), POTENTIAL)
    for at in (0.3, 1.1, 4.0):
        exact = float((sp.Rational(3, 2) * (drift + spread)).subs(r, at))
        assert float(derived.subs(r, at)) == pytest.approx(exact, rel=1e-12, abs=1e-12)


def test_mass_is_kept() -> None:
    assert quad(filled(RIGHT_HAND_SIDE, POTENTIAL, DENSITY)) == pytest.approx(0, abs=1e-10)


def test_gibbs_law_is_the_radial_law_of_the_gibbs_density() -> None:
    """r^(n-1) exp(-beta psi_lam) dr, the law of |w| under exp(-beta psi_lam(|w|)) dw, does not move."""
    gibbs = r**3 * sp.exp(-sp.Rational(5, 2) * (POTENTIAL + sp.Rational(3, 20) * r**2))
    change = sp.lambdify(r, filled(RIGHT_HAND_SIDE, POTENTIAL, gibbs))
    weight = sp.lambdify(r, gibbs)
    for at in (0.2, 0.9, 1.7, 3.0):
        # the terms that cancel are some hundred times the density
        assert abs(change(at)) < 1e-12 * weight(at) * 1e2
    effective = filled(EFFECTIVE, POTENTIAL)
    ratio = [float((sp.exp(-sp.Rational(5, 2) * effective) / gibbs).subs(r, at)) for at in (0.2, 0.9, 1.7)]
    assert ratio == pytest.approx([ratio[0]] * 3, rel=1e-12, abs=0)


def test_ornstein_uhlenbeck_in_the_full_space() -> None:
    """psi = 0: w itself is a Gaussian of known covariance, so r has a chi law at every time.

    dw = -2 lam w dt + sqrt(4/beta) dB gives covariance v I with v' = -4 lam v + 4/beta.
    """
    v = sp.Function("v")(t)
    k = sp.Rational(4)
    density = r ** (k - 1) * sp.exp(-(r**2) / (2 * v)) / v ** (k / 2)
    change = sp.diff(density, t).subs(sp.diff(v, t), 4 / beta - 4 * lam * v)
    equation = RIGHT_HAND_SIDE.subs(xi, 1).subs(psi, 0).subs(n, k).subs(rho, density).doit()
    difference = (change - equation) / density
    for values in ({r: 0.7, v: 0.4}, {r: 2.0, v: 1.3}):
        number = difference.subs(v, values[v]).subs({r: values[r], lam: 0.3, beta: 2.5})
        assert abs(float(number)) < 1e-12


def test_law_of_simulated_weights() -> None:
    """The update of the algorithm with psi = 0, against the stationary law of the reduced equation."""
    ridge, inverse, d, s = 0.5, 2.0, 3, 0.02
    rng = np.random.default_rng(5)
    w = np.zeros((40_000, d))
    for _ in range(400):  # (1 - 2 lam s)^(2 * 400) = 1e-7: the start is forgotten
        w = (1 - 2 * ridge * s) * w + math.sqrt(4 * s / inverse) * rng.standard_normal(w.shape)
    effective = EFFECTIVE.subs(psi, 0).subs({n: d, lam: ridge, beta: inverse})
    gibbs = sp.lambdify(r, sp.exp(-inverse * effective))
    total = integrate.quad(gibbs, 0, 20)[0]
    grid = np.linspace(0.01, 8, 400)
    law = np.array([integrate.quad(gibbs, 0, x)[0] / total for x in grid])
    # a step of size s widens the variance by 1 + lam s; 40,000 draws see 1.6/sqrt(40000) at the 1 % level
    statistic = stats.kstest(np.linalg.norm(w, axis=1), lambda x: np.interp(x, grid, law)).statistic
    assert statistic < ridge * s + 1.63 / math.sqrt(40_000)


R1, R2 = sp.symbols("r_1 r_2", positive=True)


@pytest.mark.parametrize("dimension", [d, s0, d - s0, d - 1, s0 - 1, d - s0 - 1, 1, 7])
def test_dimensions_of_the_blocks_of_a_model(dimension: Any) -> None:
    """Integers whose sign SymPy cannot decide are dimensions as well."""
    coordinate = Coordinate(R2, dimension)
    assert coordinate.dimension == dimension
    assert sp.expand(coordinate.jacobian_power - dimension + 1) == 0
    assert sp.expand(R2 * coordinate.entropy_slope - dimension + 1) == 0


@pytest.mark.parametrize(
    "dimension",
    [
        *(0, -1, 2.5, sp.Rational(5, 2), sp.oo, math.inf, math.nan),
        *(-d, -s0 - 1, d / 2, d - sp.Rational(1, 2)),
        *(sp.Symbol("n"), sp.Symbol("n", real=True), sp.Symbol("n", positive=True), sp.Symbol("n") - s0),
    ],
)
def test_what_is_no_dimension_is_refused(dimension: Any) -> None:
    with pytest.raises(BadInput, match=r"dimension .* of the block of r_2 must be a positive integer"):
        Coordinate(R2, dimension)


def test_two_blocks_whose_dimensions_are_symbols() -> None:
    """The weak form for b flat and blocks of s0 and d - s0, written out by hand; and its adjoint."""
    coordinates = (Coordinate(b), Coordinate(R1, s0), Coordinate(R2, d - s0))
    check_adjoint(coordinates)
    x = (b, R1, R2)
    potential = sp.cos(b * R1) + R2**2 * b + R1 * R2
    psi_lam = ridged(potential, x)
    f = sp.sin(b) * R1**3 + sp.exp(-R2) * b**2
    derived = reduced_generator(f, psi_lam, coordinates)
    drift = -sum((sp.diff(potential, u) + lam * u) * sp.diff(f, u) for u in x)
    spread = sum(sp.diff(f, u, 2) for u in x)
    spread += (s0 - 1) / R1 * sp.diff(f, R1) + (d - s0 - 1) / R2 * sp.diff(f, R2)
    difference = derived - 2 * xi * (drift + spread / beta)
    for values in ((0.3, 0.7, 1.9, 7, 3), (-1.1, 2.3, 0.4, 40, 12)):
        at = dict(zip((b, R1, R2, d, s0), values, strict=True))
        number = difference.subs(xi, 1).subs({**at, lam: 0.3, beta: 2.5, t: 1}).doit()
        # rounding of terms of size 100
        assert abs(float(number)) < 1e-11
    gibbs = sp.exp(-beta * effective_potential(psi_lam, coordinates))
    by_hand = sp.exp(-beta * psi_lam) * R1 ** (s0 - 1) * R2 ** (d - s0 - 1)
    ratio = sp.log(gibbs / by_hand).subs({lam: 0.3, beta: 2.5})
    for values in ((0.3, 0.7, 1.9, 7, 3), (-1.1, 2.3, 0.4, 9, 4)):
        assert abs(float(ratio.subs(dict(zip((b, R1, R2, d, s0), values, strict=True))))) < 1e-12
