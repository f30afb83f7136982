"""The defining integrals by mpmath quadrature: what certificates compare with.

Nothing of the derivation enters but the places where panels are cut.  A derivative in a parameter is
the same integral with the derivative of the density in place of the density.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp

from workbench.calculus.integrals import Integral, LineIntegral, PlaneIntegral
from workbench.calculus.lines import Line, line
from workbench.calculus.quadrature import NESTED_REACH, window, with_bends
from workbench.calculus.special import MP_MODULES

Z1, Z2 = sp.Dummy("z1", real=True), sp.Dummy("z2", real=True)


@lru_cache(maxsize=8)
def _rule(degree: int, precision: int) -> tuple[tuple[Any, Any], ...]:
    return tuple(mp.calculus.quadrature.GaussLegendre(mp.mp).calc_nodes(degree, precision))


def composite(f: Callable[[Any], Any], edges: list[Any], degree: int = 4) -> Any:
    """Composite Gauss-Legendre quadrature with 3 2^(degree-1) nodes a panel."""
    rule = _rule(degree, mp.mp.prec)
    total = mp.mpf(0)
    for a, b in pairwise(edges):
        if b > a:
            half, middle = (b - a) / 2, (a + b) / 2
            total += half * mp.fsum(w * f(middle + half * x) for x, w in rule)
    return total


def exact_edges(f: Line, edges: Any) -> list[Any]:
    """Float edges with the exact knots put back: a jump misplaced by 1e-17 is seen at scale 1e-6."""
    knots = {float(k): k for k in f.knots}
    return [knots.get(float(e), mp.mpf(float(e))) for e in edges]


def numbers(integral: Integral, values: Mapping[sp.Symbol, Any]) -> list[Any]:
    """m, s (or m1, m2, K11, K12, K22) at mpmath's precision."""
    i = integral
    expressions = [i.m, i.s] if isinstance(i, LineIntegral) else [*i.m, *i.cov]
    symbols = tuple(sorted(values, key=str))
    function = sp.lambdify(symbols, expressions, modules=MP_MODULES)
    return [mp.mpmathify(x) for x in function(*(values[s] for s in symbols))]


def defining_integral(
    integral: Integral,
    integrands: tuple[Any, ...],
    wrt: tuple[sp.Symbol, ...],
    values: Mapping[sp.Symbol, Any],
) -> Any:
    """d/dwrt E f(m + s G) h_k(G), or of E f(Z_1) g(Z_2), at ``values``; ``integrands`` are mpmath functions."""
    if isinstance(integral, LineIntegral):
        return _line(integral, integrands[0], wrt, values)
    return _plane(integral, integrands, wrt, values)


def _weight(start: sp.Expr, log_density: sp.Expr, wrt: tuple[sp.Symbol, ...]) -> sp.Expr:
    """W with d/dwrt (start * p) = W p."""
    for x in wrt:
        start = sp.diff(start, x) + start * sp.diff(log_density, x)
    return start


def _line(integral: LineIntegral, f: Any, wrt: tuple[sp.Symbol, ...], values: Mapping[sp.Symbol, Any]) -> Any:
    k = sp.sympify(integral.k).xreplace({s: sp.Integer(int(v)) for s, v in values.items() if s == integral.k})
    g = (Z1 - integral.m) / integral.s
    start = sp.hermite_prob(k, sp.Dummy("x"))
    start = start.xreplace({next(iter(start.free_symbols)): g}) if start.free_symbols else start
    weight = _weight(start / sp.sqrt(sp.factorial(k)), -sp.log(integral.s) - g**2 / 2, wrt)
    symbols = tuple(sorted(values, key=str))
    factor = sp.lambdify((Z1, *symbols), weight, modules="mpmath")
    point = [values[s] for s in symbols]
    m, s = numbers(integral, values)
    hints = line(integral.f)
    edges = exact_edges(hints, hints.panel_edges(*window(hints, float(m), float(s)), 2.0 * float(s)))
    return composite(lambda z: f(z) * factor(z, *point) * mp.npdf((z - m) / s) / s, edges)


def _plane(
    integral: PlaneIntegral,
    integrands: tuple[Any, ...],
    wrt: tuple[sp.Symbol, ...],
    values: Mapping[sp.Symbol, Any],
) -> Any:
    k11, k12, k22 = integral.cov
    x, y = Z1 - integral.m[0], Z2 - integral.m[1]
    det = k11 * k22 - k12**2
    log_density = -sp.log(det) / 2 - (k22 * x**2 - 2 * k12 * x * y + k11 * y**2) / (2 * det)
    weight = _weight(sp.S.One, log_density, wrt)
    symbols = tuple(sorted(values, key=str))
    factor = sp.lambdify((Z1, Z2, *symbols), weight, modules="mpmath") if wrt else None
    point = [values[s] for s in symbols]
    f, g = integrands
    m1, m2, c11, c12, c22 = numbers(integral, values)
    s1, slope = mp.sqrt(c11), c12 / c11
    rest = mp.sqrt(c22 - c12 * slope)
    first, second = line(integral.f), line(integral.g)
    law = tuple(float(v) for v in (m1, m2, c11, c12, c22))

    def inner(z: Any) -> Any:
        centre = m2 + slope * (z - m1)
        near = window(second, float(centre), float(rest), NESTED_REACH)
        edges = exact_edges(second, second.panel_edges(*near, 2.0 * float(rest)))
        if factor is None:
            return composite(lambda y: g(y) * mp.npdf((y - centre) / rest) / rest, edges, 3)
        return composite(
            lambda y: g(y) * factor(z, y, *point) * mp.npdf((y - centre) / rest) / rest, edges, 3
        )

    low, high = window(first, float(m1), float(s1), NESTED_REACH)
    spread = second.rate * abs(float(c12))
    outer = with_bends(
        np.asarray(first.panel_edges(low - spread, high + spread, 2.0 * float(s1))),
        second,
        law,  # type: ignore[arg-type]
    )
    return composite(lambda z: f(z) * mp.npdf((z - m1) / s1) / s1 * inner(z), exact_edges(first, outer), 3)
