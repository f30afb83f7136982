"""Numerical integrands and integration panels: where a function bends, and on which scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp
from scipy import special

from workbench.calculus.atoms import Function
from workbench.calculus.growth import growth
from workbench.calculus.special import MP_MODULES, mp_number
from workbench.numerics import gauss_cdf, gauss_pdf

REACH = 14.0  # standard deviations: exp(-14^2/2) = 3e-43


class _softplus(sp.Function):
    """log(1 + exp(x)), whose float64 value needs care at large x."""

    @staticmethod
    def mp_value(x: Any) -> Any:
        return mp.log1p(mp.exp(x))


FLOAT_MODULES = [
    {
        "gauss_cdf": gauss_cdf,
        "gauss_pdf": gauss_pdf,
        "erf": special.erf,
        "erfc": special.erfc,
        "_softplus": lambda x: np.logaddexp(0.0, x),
        "sech": lambda x: 1 / np.cosh(x),
    },
    "numpy",
]


@dataclass(frozen=True)
class Line:
    """A function on the line, ready for quadrature.

    ``value`` maps a float64 array to an array, ``mp_value`` an mpmath number to one; ``features`` are
    (place, width) pairs, ``knots`` exact places, ``wave`` the highest frequency.
    """

    value: Callable[[Any], Any]
    mp_value: Callable[[Any], Any]
    knots: tuple[Any, ...]
    features: tuple[tuple[float, float], ...]
    wave: float
    rate: float
    square: float

    def panel_edges(self, low: float, high: float, width: float) -> list[float]:
        """Edges on [low, high]: knots, dyadic panels around the features, none wider than ``width``."""
        if self.wave:
            width = min(width, 6.0 / self.wave)
        points = {low, high, *(float(k) for k in self.knots if low < k < high)}
        for place, size in self.features:
            reach = max(abs(low - place), abs(high - place))
            for j in range(-1, max(1, int(np.ceil(np.log2(max(2.0, reach / size))))) + 1):
                points |= {p for p in (place - size * 2.0**j, place + size * 2.0**j) if low < p < high}
            if low < place < high:
                points.add(place)
        edges = [low]
        for a, b in pairwise(sorted(points)):
            pieces = max(1, int(np.ceil((b - a) / width)))
            edges += [a + (b - a) * i / pieces for i in range(1, pieces + 1)]
        return edges


@lru_cache(maxsize=512)
def line(f: Function) -> Line:
    """The numerical form of a function; its deltas are not part of it."""
    parts = []
    for piece in f.pieces():
        expression = piece.expression
        safe = expression.replace(_is_softplus, lambda x: _softplus(_softplus_argument(x)))
        parts.append(
            (
                sp.lambdify(f.t, safe, modules=FLOAT_MODULES),
                sp.lambdify(f.t, expression, modules=MP_MODULES),
                float(piece.low),
                float(piece.high),
                _mp_end(piece.low),
                _mp_end(piece.high),
            )
        )

    def value(t: Any) -> Any:
        t = np.asarray(t, dtype=float)
        total = np.zeros_like(t)
        for fast, slow, low, high, _, _ in parts:
            inside = (t > low) & (t < high)
            with np.errstate(all="ignore"):
                here = np.broadcast_to(fast(np.where(inside, t, 0.5 * _middle(low, high))), t.shape)
            total += np.where(inside, _repaired(here, slow, t, inside), 0.0)
        return total

    def mp_value(t: Any) -> Any:
        return mp.fsum(slow(t) for _, slow, _, _, low, high in parts if low < t < high)

    speed = growth(f)
    features, wave = _features(f)
    return Line(
        value, mp_value, tuple(_mp_end(k) for k in f.knots()), features, wave, speed.rate, float(speed.square)
    )


def _middle(low: float, high: float) -> float:
    """Twice a point of the interval, where the unused branch of a ``where`` is evaluated."""
    if np.isfinite(low) and np.isfinite(high):
        return low + high
    return 2 * (low + 1 if np.isfinite(low) else high - 1 if np.isfinite(high) else 0.0)


def _mp_end(end: sp.Expr) -> Any:
    if end.is_infinite:
        return mp.inf if end > 0 else -mp.inf
    with mp.workdps(60):
        return mp.mpf(mp_number(end))


def _repaired(values: Any, slow: Callable[[Any], Any], t: Any, inside: Any) -> Any:
    """Overflows such as inf/inf recomputed with mpmath, whose exponents do not end."""
    bad = inside & ~np.isfinite(values)
    if not bad.any():
        return values
    values = np.array(values, dtype=float)
    values[bad] = [float(slow(mp.mpf(x))) for x in t[bad]]
    return values


def _is_softplus(x: sp.Basic) -> bool:
    return isinstance(x, sp.log) and _softplus_argument(x) is not None


def _softplus_argument(x: sp.Basic) -> sp.Expr | None:
    argument = x.args[0]
    if argument.is_Add and len(argument.args) == 2 and sp.S.One in argument.args:
        other = argument - 1
        if isinstance(other, sp.exp):
            return other.args[0]
    return None


def _features(f: Function) -> tuple[tuple[tuple[float, float], ...], float]:
    """Places where f bends, with widths, from the linear arguments of its functions; highest frequency."""
    found, wave = {(0.0, 1.0)}, 0.0
    for shape, _ in f.atoms:
        wave = max(wave, float(shape.frequency))
        if shape.curvature.is_positive:
            found.add((float(shape.rate / shape.curvature), float(1 / sp.sqrt(shape.curvature))))
        for g in shape.gates:
            found.add((float(-g.beta / g.alpha), float(1 / abs(g.alpha))))
    for part in f.leftovers:
        waves = 0.0
        for node in part.expression.atoms(sp.Function):
            slope, place = _linear(node.args[0], f.t)
            if slope:
                found.add((place, 1 / slope))
                if isinstance(node, sp.sin | sp.cos):
                    waves = waves + slope
        wave = max(wave, 2 * waves)
    return tuple(sorted(found)), wave


def _linear(argument: sp.Expr, t: sp.Symbol) -> tuple[float, float]:
    """(|slope|, zero) of a linear argument; slope 0 where it is not linear."""
    if not argument.is_polynomial(t) or sp.degree(argument, t) != 1:
        return 0.0, 0.0
    slope, constant = sp.Poly(argument, t).all_coeffs()
    return abs(float(slope)), float(-constant / slope)
