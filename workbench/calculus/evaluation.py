"""Numbers from closed expressions: float64 with a running error bound, mpmath where that is not enough.

Nothing is simplified or expanded on the way.  Each node carries a bound of its rounding error; the
derivative rules of the named functions (``fdiff``) tell how errors of arguments pass through.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any, cast

import mpmath as mp
import numpy as np
import sympy as sp

from workbench.calculus import numerics
from workbench.calculus.special import MP_MODULES
from workbench.errors import NumericalFailure
from workbench.numerics import (
    bvn_survival,
    gauss_cdf,
    gauss_cdf_delta,
    gauss_pdf,
    gauss_pdf_delta,
    hermite_function,
    root_poisson,
)

EPS = 2.0**-52
BODY_ERROR = 8 * EPS  # of every float64 body, relative or absolute, whichever is larger
GOAL = 1e-11  # error bound relative to max(1, |value|) at which float64 is trusted


def _hermite_function(k: Any, x: Any) -> Any:
    """gauss_pdf(x) h_k(x), k one integer; 0 for k < 0 (the coefficient it meets vanishes there)."""
    return hermite_function(np.array([round(k)]), np.asarray(x))[0] if k >= 0 else 0.0 * x


BODIES: dict[str, Any] = {
    "gauss_pdf": gauss_pdf,
    "gauss_pdf_delta": gauss_pdf_delta,
    "gauss_cdf": gauss_cdf,
    "gauss_cdf_delta": gauss_cdf_delta,
    "hermite_function": _hermite_function,
    "root_poisson": root_poisson,
    "deviation": numerics.deviation,
    "gauss_spread": numerics.gauss_spread,
    "bvn_density": numerics.bvn_density,
    "bvn_survival": bvn_survival,
    "bvn_tail": bvn_survival,
    "wave_cdf_re": numerics.wave_cdf_re,
    "wave_cdf_im": numerics.wave_cdf_im,
    "exp": np.exp,
    "sin": np.sin,
    "cos": np.cos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "log": np.log,
    "Abs": abs,
}


def evaluate(expression: sp.Expr, values: Mapping[sp.Symbol, Any]) -> Any:
    """The value within 1e-10 of max(1, |value|): float64 if its error bound allows, else mpmath."""
    with np.errstate(all="ignore"):
        try:
            value, error = _bounded(expression, {s: float(v) for s, v in values.items()})
        except (OverflowError, ZeroDivisionError, KeyError, ValueError):
            value, error = math.nan, math.nan
    if math.isfinite(value) and error <= GOAL * max(1.0, abs(value)):
        return value
    exact = mp_evaluate(expression, values, 16)
    return float(exact) if abs(exact) < 1e300 else exact


def mp_evaluate(expression: sp.Expr, values: Mapping[sp.Symbol, Any], digits: int) -> Any:
    """The value to ``digits`` digits of max(1, |value|): the precision is raised until two agree.

    Raises
    ------
    NumericalFailure
        where no value settles, for instance at a pole.
    """
    symbols = tuple(sorted(values, key=str))
    function = _mp_function(expression, symbols)
    previous = None
    for work in (digits + 12, 2 * digits + 30, 4 * digits + 80, 8 * digits + 200, 16 * digits + 500):
        with mp.workdps(work):
            try:
                value = mp.mpmathify(function(*(exact_number(values[s]) for s in symbols)))
            except ZeroDivisionError:
                previous = None
                continue
            if previous is not None and abs(value - previous) <= mp.mpf(10) ** -digits * max(1, abs(value)):
                return mp.re(value)
            previous = value
    raise NumericalFailure(f"the expression does not settle at {dict(values)}: it has a pole or a jump there")


def exact_number(x: Any) -> Any:
    """A parameter at mpmath's precision; floats count as the binary numbers they are."""
    if isinstance(x, sp.Basic):
        return mp.mpmathify(sp.N(x, mp.mp.dps + 5))
    return mp.mpmathify(x)


@lru_cache(maxsize=128)
def _mp_function(expression: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Any:
    return sp.lambdify(symbols, expression, modules=MP_MODULES, cse=True)


def _bounded(expression: sp.Expr, values: Mapping[sp.Symbol, float]) -> tuple[float, float]:
    """(value, error bound), walking the tree once; equal subtrees are evaluated once."""
    memo: dict[sp.Expr, tuple[float, float]] = {}

    def walk(e: sp.Expr) -> tuple[float, float]:
        if e not in memo:
            memo[e] = node(e)
        return memo[e]

    def node(e: sp.Expr) -> tuple[float, float]:
        if e.is_Symbol:
            return values[e], 0.0
        if e.is_Integer:
            return float(e), 0.0
        if e.is_number and not e.args:
            number = float(e)
            return number, EPS * abs(number)
        pairs = [walk(a) for a in e.args]
        if e.is_Add:
            total = math.fsum(v for v, _ in pairs)
            if all(not d and v.is_integer() for v, d in pairs) and abs(total) < 2**53:
                return total, 0.0
            return total, math.fsum(d for _, d in pairs) + EPS * abs(total)
        if e.is_Mul:
            v, d = pairs[0]
            for v2, d2 in pairs[1:]:
                v, d = v * v2, abs(v) * d2 + d * abs(v2) + d * d2
            return v, d + len(pairs) * EPS * abs(v)
        if e.is_Pow:
            (b, db), (p, dp) = pairs
            if dp > EPS * abs(p):
                raise ValueError("an exponent with an error of its own")
            v = math.sqrt(b) if p == 0.5 else b ** (int(p) if p == int(p) else p)
            return v, (abs(p * v / b) * db if db else 0.0) + (2 * EPS + EPS * abs(p)) * abs(v)
        return _function(e, pairs)

    return walk(expression)


def _function(e: sp.Expr, pairs: list[tuple[float, float]]) -> tuple[float, float]:
    name = type(e).__name__
    arguments = [v for v, _ in pairs]
    if name == "factorial":
        return math.factorial(round(arguments[0])), 0.0
    value = float(BODIES[name](*arguments))
    error = BODY_ERROR * (abs(value) if name == "exp" else max(abs(value), 1e-3))
    for i, (_, d) in enumerate(pairs):
        if d and not (name == "hermite_function" and i == 0):
            slope = abs(
                _bounded(
                    _slope(e.func, i + 1, len(pairs)), dict(zip(_places(len(pairs)), arguments, strict=True))
                )[0]
            )
            error += d * slope
    return value, error


@lru_cache(maxsize=8)
def _places(n: int) -> tuple[sp.Dummy, ...]:
    return tuple(sp.Dummy(f"x{i}") for i in range(n))


@lru_cache(maxsize=128)
def _slope(function: Hashable, i: int, n: int) -> sp.Expr:
    """The partial derivative of a function as an expression in ``_places(n)``."""
    x = _places(n)
    if function is sp.Abs:
        return sp.S.One
    return cast(Any, function)(*x).fdiff(i)
