"""The three questions one can ask: a mean, a Hermite coefficient, a pair."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import mpmath as mp
import sympy as sp

from workbench.activations import exact
from workbench.calculus import rules as R
from workbench.calculus.atoms import Function
from workbench.calculus.expectation import Expectation, check_covariance, make
from workbench.calculus.growth import check_exists, growth
from workbench.calculus.hermite import first_order
from workbench.calculus.integrals import LineIntegral, PlaneIntegral
from workbench.calculus.parser import line_variable, parse, real_expression
from workbench.calculus.special import mp_number
from workbench.errors import BadInput


def expect(f: Any, z: sp.Symbol, mean: Any = 0, scale: Any = 1, tolerance: float = 1e-12) -> Expectation:
    """E f(mean + scale G), G ~ N(0, 1).

    Parameters
    ----------
    f
        SymPy expression in the Symbol ``z``, or a ``PiecewiseLinear``.
    mean, scale
        numbers or expressions in symbols; scale > 0 (symbols are taken to make it so).
    tolerance
        relative to max(1, |value|), used only where there is no closed form.

    Raises
    ------
    BadInput
        where f is no real function of z alone, its expectation does not exist (the condition is named),
        or scale <= 0.
    """
    return _expect(f, z, sp.S.Zero, mean, scale, tolerance)


def expect_hermite(
    f: Any, z: sp.Symbol, k: Any, mean: Any = 0, scale: Any = 1, tolerance: float = 1e-12
) -> Expectation:
    """a_k = E[f(mean + scale G) h_k(G)], h_k = He_k/sqrt(k!).

    ``k`` is an integer >= 0 or a Symbol; with a Symbol the formula holds for integers k >= ``k_from``
    of the result (a polynomial of degree n has a_k = 0 beyond n, and k_from = n + 1).

    Raises
    ------
    BadInput
        as ``expect``; for a number k that is no integer >= 0.
    """
    order = sp.sympify(k)
    if order.is_number and not (order.is_Integer and order >= 0):
        raise BadInput(f"k = {k} is not an integer >= 0")
    return _expect(f, z, order, mean, scale, tolerance)


def _expect(f: Any, z: sp.Symbol, k: sp.Expr, mean: Any, scale: Any, tolerance: float) -> Expectation:
    function, integrand = parse(f, z), real_expression(f, z)
    m, s = _parameter(mean, "mean", z), _parameter(scale, "scale", z)
    if s.is_positive is False or (s.is_number and not s > 0):
        raise BadInput(f"scale = {scale} is not > 0")
    _check_tolerance(tolerance)
    check_exists(function, s**2, f"{scale}**2" if s.is_Symbol else "scale**2")
    integral = LineIntegral(function, m, s, k)
    used = R.of_functions(function) + ([] if k.is_zero else [R.HERMITE])
    start = 0 if k.is_Integer else max((first_order(a) for a, _ in function.atoms), default=0)
    return make(integral.value(), integral, (integrand,), tuple(used), tolerance, start)


def expect_pair(
    f: Any,
    g: Any,
    z: sp.Symbol,
    means: Sequence[Any] = (0, 0),
    covariance: Any = ((1, 0), (0, 1)),
    tolerance: float = 1e-12,
) -> Expectation:
    """E f(Z_1) g(Z_2), Z Gaussian with the given means and covariance [[K11, K12], [K12, K22]].

    Parameters
    ----------
    f, g
        SymPy expressions in the Symbol ``z``, or ``PiecewiseLinear``.
    means, covariance
        numbers or expressions in symbols; K11, K22 > 0 and |K12| <= sqrt(K11 K22).

    Raises
    ------
    BadInput
        as ``expect``; for a covariance that is not symmetric or not positive semidefinite.
    """
    first, second = parse(f, z), parse(g, z)
    m1, m2 = (_parameter(m, f"means[{i}]", z) for i, m in enumerate(_two(means, "means")))
    k11, k12, k22 = _covariance(covariance, z)
    _check_tolerance(tolerance)
    _check_pair_exists(first, second, k11, k12, k22)
    integral = PlaneIntegral(first, second, (m1, m2), (k11, k12, k22))
    integrands = real_expression(f, z), real_expression(g, z)
    return make(integral.value(), integral, integrands, tuple(R.of_functions(first, second)), tolerance)


def derivative(f: Any, z: sp.Symbol) -> sp.Expr:
    """f' as a function of z, where it is one.

    Raises
    ------
    BadInput
        where f jumps: f' then holds a Dirac delta.  (Derivatives of its expectation exist all the same.)
    """
    t = line_variable(z)
    slope = parse(f, z).derivative()
    if slope.deltas:
        knots = ", ".join(str(c) for c, _ in slope.deltas)
        raise BadInput(
            f"f = {real_expression(f, z)} jumps at {z} = {knots}: its derivative does not exist as a function there"
        )
    total = sp.S.Zero
    for piece in slope.pieces():
        inside = sp.Heaviside(t - piece.low) if piece.low.is_finite else sp.S.One
        outside = sp.Heaviside(piece.high - t) if piece.high.is_finite else sp.S.One
        total += piece.expression * inside * outside
    return total.xreplace({t: z})


def _parameter(x: Any, name: str, z: sp.Symbol) -> sp.Expr:
    if isinstance(x, numbers.Real | Fraction | sp.Float) and not isinstance(x, sp.Rational):
        return exact(x, name)
    x = sp.sympify(x)
    if not isinstance(x, sp.Expr) or x.has(z, sp.I, sp.oo, sp.nan, sp.zoo):
        raise BadInput(f"{name} = {x} is not a real number or an expression in symbols other than {z}")
    return x.xreplace({c: exact(c, name) for c in x.atoms(sp.Float)})


def _two(pair: Any, name: str) -> tuple[Any, Any]:
    pair = tuple(pair)
    if len(pair) != 2:
        raise BadInput(f"{name} has {len(pair)} entries: give two")
    return pair


def _covariance(covariance: Any, z: sp.Symbol) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    rows = covariance.tolist() if hasattr(covariance, "tolist") else covariance
    entries = [
        [_parameter(x, f"covariance[{i}][{j}]", z) for j, x in enumerate(_two(row, f"covariance[{i}]"))]
        for i, row in enumerate(_two(rows, "covariance"))
    ]
    (k11, k12), (k21, k22) = entries
    if k12 != k21 and sp.expand(k12 - k21) != 0:
        raise BadInput(f"covariance is not symmetric: K12 = {k12} but K21 = {k21}")
    if all(x.is_number for x in (k11, k12, k22)):
        with mp.workdps(30):
            check_covariance(*(mp.mpf(mp_number(x)) for x in (k11, k12, k22)))
    for name, x in (("K11", k11), ("K22", k22)):
        if x.is_positive is False:
            raise BadInput(f"covariance is not positive semidefinite: {name} = {x} is not > 0")
    return k11, k12, k22


def _check_pair_exists(f: Function, g: Function, k11: sp.Expr, k12: sp.Expr, k22: sp.Expr) -> None:
    """det(1 - A K) > 0 for integrands growing like exp(a_i z_i^2/2), A = diag(a_1, a_2)."""
    check_exists(f, k11, "K11")
    check_exists(g, k22, "K22")
    a, b = growth(f).square, growth(g).square
    if a != 0 and b != 0 and not ((1 - a * k11) * (1 - b * k22) - a * b * k12**2).is_positive:
        raise BadInput(
            f"f g grows too fast: with exp({a / 2} z1**2) and exp({b / 2} z2**2) the expectation exists only for"
            f" (1 - {a} K11)(1 - {b} K22) > {a * b} K12**2"
        )


def _check_tolerance(tolerance: float) -> None:
    if not 0 < tolerance < 1:
        raise BadInput(f"tolerance = {tolerance} is not between 0 and 1")
