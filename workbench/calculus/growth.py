"""Whether an expectation exists: how fast an integrand grows against the Gaussian density."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mpmath as mp
import sympy as sp

from workbench.calculus.atoms import Function, Leftover
from workbench.calculus.special import MP_MODULES
from workbench.errors import BadInput

FAR = 160  # where the growth of a leftover is measured: powers and constants have faded there


@dataclass(frozen=True)
class Growth:
    """|f(t)| <= C e^(rate |t| + square t^2/2) up to powers of t."""

    rate: float
    square: sp.Expr


@lru_cache(maxsize=512)
def growth(f: Function) -> Growth:
    """The fastest growth among the terms of f.

    Raises
    ------
    BadInput
        for terms that grow faster than every e^(a t^2), that are singular or complex on the line.
    """
    rate, square = 0.0, sp.S.Zero
    for shape, _ in f.atoms:
        # a bump decays, and a step may cut off the side that grows
        if shape.curvature <= 0 and shape.step * shape.rate >= 0:
            rate = max(rate, abs(float(shape.rate)))
        square = sp.Max(square, -shape.curvature)
    for part in f.leftovers:
        _check_finite(part, f.t)
        for side in (-1, 1):
            if (part.low if side < 0 else part.high).is_finite:
                continue
            slope, bend = _leftover_growth(part.expression, f.t, side)
            rate, square = max(rate, slope), sp.Max(square, bend)
    return Growth(rate, square)


def check_exists(f: Function, variance: sp.Expr, name: str) -> None:
    """Refuse an infinite expectation: E e^(a Z^2/2) needs a Var Z < 1, and a decision that it is so.

    Raises
    ------
    BadInput
        naming the condition.
    """
    square, z = growth(f).square, f.t
    if square == 0:
        return
    decided = (1 - square * variance).is_positive
    if not decided:
        symbols = ", ".join(sorted(map(str, variance.free_symbols)))
        here = (
            f"; here {name} = {variance}"
            if decided is False
            else f", which the symbol {symbols} does not decide"
        )
        raise BadInput(
            f"f grows too fast: it grows like exp({square * z**2 / 2}), so its expectation exists only for"
            f" {name} < {1 / square}{here}"
        )


@lru_cache(maxsize=256)
def _leftover_growth(expression: sp.Expr, t: sp.Symbol, side: int) -> tuple[float, sp.Expr]:
    function = sp.lambdify(t, expression, modules=MP_MODULES)

    def log(point: int) -> Any:
        try:
            # a decaying tail is a constant here, which the second difference ignores
            return mp.log(abs(function(mp.mpf(side * point))) + mp.mpf(10) ** -20)
        except (OverflowError, ZeroDivisionError) as error:
            raise BadInput(f"f grows too fast: {expression} overflows at {t} = {side * point}") from error

    with mp.workdps(30):
        # log|f| = c + rate t + square t^2/2: the second difference over T, 2T, 3T is square T^2
        inner, outer = ((log(3 * u) - 2 * log(2 * u) + log(u)) / u**2 for u in (FAR // 4, FAR))
        if outer > 0.1 and outer > 1.5 * inner:
            raise BadInput(
                f"f grows too fast: {expression} exceeds every exp(a z**2), so no Gaussian expectation exists"
            )
        if outer > 1e-3:
            return 0.0, sp.nsimplify(round(float(outer), 4))
        return max(0.0, float((log(3 * FAR) - log(2 * FAR)) / FAR)), sp.S.Zero


def _check_finite(part: Leftover, t: sp.Symbol) -> None:
    """Denominators and logarithms without zeros, roots of nonnegative numbers: by sampling their signs."""
    low = -60 if part.low == -sp.oo else part.low
    high = 60 if part.high == sp.oo else part.high
    points = [low + (high - low) * sp.Rational(2 * i + 1, 802) for i in range(401)]
    inner = [n.base for n in part.expression.atoms(sp.Pow) if n.exp.is_negative and n.base.has(t)]
    positive = [n.base for n in part.expression.atoms(sp.Pow) if n.base.has(t) and not n.exp.is_integer]
    positive += [n.args[0] for n in part.expression.atoms(sp.log) if n.has(t)]
    for base in dict.fromkeys([*inner, *positive]):
        function = sp.lambdify(t, base, modules=MP_MODULES)
        values = [function(mp.mpf(p.p) / p.q if p.is_Rational else mp.mpf(sp.N(p, 20))) for p in points]
        signs = {0 if mp.im(v) != 0 else int(mp.sign(mp.re(v))) for v in values}
        if len(signs) > 1 or 0 in signs or (base in positive and signs != {1}):
            raise BadInput(
                f"{part.expression} is singular or complex on the line: {base} changes sign or vanishes"
            )
