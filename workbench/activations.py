"""Activations sigma: what a unit computes, exactly, with rational constants."""

from __future__ import annotations

import math
import numbers
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import mpmath as mp
import sympy as sp

from workbench.errors import BadInput

if TYPE_CHECKING:
    from workbench.calculus.atoms import Function


def exact(value: Any, name: str) -> sp.Rational:
    """``value`` as a rational: a float becomes the decimal it is written as (0.1 is 1/10)."""
    if isinstance(value, sp.Rational):
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Fraction | sp.Float):
        raise BadInput(f"{name} = {value!r} is not a real number: give an int, float or Fraction")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadInput(f"{name} = {value!r} is not finite: give finite knots, values and slopes")
    if abs(number) > 1e12:
        raise BadInput(
            f"{name} = {value!r} is out of scale: give knots, values and slopes up to 1e12 in size"
        )
    if isinstance(value, int | Fraction | numbers.Integral):
        return sp.Rational(Fraction(value).numerator, Fraction(value).denominator)
    return sp.Rational(repr(number))


@dataclass(frozen=True)
class PiecewiseLinear:
    """A continuous piecewise-linear activation.

    Parameters
    ----------
    knots, values
        strictly increasing knots t_1 < ... < t_m and sigma(t_j), m >= 1.
    left_slope, right_slope
        slopes outside the outer knots (0: constant).
    name
        used in the text of the derivation.

    Raises
    ------
    BadInput
        for unsorted knots, lists of different lengths, non-finite numbers.

    Examples
    --------
    ``PiecewiseLinear([0.5, 1.5], [-2.5, 7.5])`` is the truncated ReLU of [MMN18].
    """

    knots: tuple[sp.Rational, ...]
    values: tuple[sp.Rational, ...]
    left_slope: sp.Rational
    right_slope: sp.Rational
    name: str = "piecewise_linear"

    def __init__(
        self,
        knots: Sequence[Any],
        values: Sequence[Any],
        left_slope: Any = 0,
        right_slope: Any = 0,
        name: str = "piecewise_linear",
    ) -> None:
        try:
            knots, values = list(knots), list(values)
        except TypeError:
            raise BadInput(f"knots = {knots!r}, values = {values!r}: give two lists of numbers") from None
        if not knots:
            raise BadInput("knots = []: give at least one knot")
        if len(knots) != len(values):
            raise BadInput(
                f"{len(knots)} knots but {len(values)} values: knots = {knots}, values = {values}; give one value per knot"
            )
        points = tuple(exact(t, f"knots[{i}]") for i, t in enumerate(knots))
        for left, right in pairwise(points):
            if left >= right:
                raise BadInput(f"knots = {knots} are not strictly increasing: sort them and drop repeats")
            if right - left < 1e-6 * max(1, abs(left), abs(right)):
                raise BadInput(
                    f"knots {left} and {right} are too close to tell in float64: keep them 1e-6 apart"
                )
        for field, value in (
            ("knots", points),
            ("values", tuple(exact(v, f"values[{i}]") for i, v in enumerate(values))),
            ("left_slope", exact(left_slope, "left_slope")),
            ("right_slope", exact(right_slope, "right_slope")),
            ("name", name),
        ):
            object.__setattr__(self, field, value)

    @classmethod
    def from_function(cls, function: Function, name: str = "piecewise_linear") -> PiecewiseLinear | None:
        """The same function, None where it is none: curved, jumping, without a knot, irrational or out of scale."""
        knots = function.knots()
        for a, c in function.atoms:
            bare = a.rate == a.curvature == a.frequency == 0 and not a.gates
            jump = a.step and a.power == 0
            if not bare or jump or a.power > 1 or not (c.is_Rational and a.centre.is_Rational):
                return None
        if function.leftovers or not knots:
            return None

        def derivative(x: sp.Rational, order: int) -> sp.Rational:
            terms = ((a, c) for a, c in function.atoms if a.step * (x - a.centre) >= 0 and a.power >= order)
            return sum((c * (x - a.centre) ** (a.power - order) for a, c in terms), start=sp.S.Zero)

        left, right = (derivative(x, 1) for x in (knots[0] - 1, knots[-1] + 1))
        try:
            return cls(knots, [derivative(x, 0) for x in knots], left, right, name)
        except BadInput:
            return None  # knots too close or numbers too large: a formula has no such limits

    @property
    def slopes(self) -> tuple[sp.Rational, ...]:
        """Slopes of the m + 1 pieces, from left to right."""
        inner = tuple(
            (v2 - v1) / (t2 - t1)
            for t1, t2, v1, v2 in zip(self.knots, self.knots[1:], self.values, self.values[1:], strict=False)
        )
        return (self.left_slope, *inner, self.right_slope)

    @property
    def offset(self) -> sp.Rational:
        """The constant alpha of sigma(t) = alpha + left_slope t + sum_j c_j (t - t_j)_+."""
        return self.values[0] - self.left_slope * self.knots[0]

    @property
    def hinges(self) -> tuple[tuple[sp.Rational, sp.Rational], ...]:
        """The pairs (c_j, t_j) of the same form; knots without a change of slope are dropped."""
        changes = (b - a for a, b in zip(self.slopes, self.slopes[1:], strict=False))
        return tuple((c, t) for c, t in zip(changes, self.knots, strict=True) if c != 0)

    @property
    def kinks(self) -> tuple[sp.Rational, ...]:
        """Where sigma' jumps, by another name: what every activation calls these places."""
        return self.knots

    @property
    def bends(self) -> tuple[tuple[float, float], ...]:
        """(place, width) of stretches where sigma is curved: none."""
        return ()

    @property
    def wave(self) -> float:
        """The highest frequency of sigma."""
        return 0.0

    @property
    def rate(self) -> float:
        """The exponential rate at which sigma grows."""
        return 0.0

    @property
    def function(self) -> Function:
        """sigma in the canonical form of the calculus."""
        from workbench.calculus.parser import parse  # it imports this module

        return parse(self, sp.Symbol("t", real=True))

    @property
    def slope_function(self) -> Function:
        """sigma' in the same form."""
        return self.function.derivative()

    def expression(self, t: sp.Expr) -> sp.Expr:
        """sigma(t) piece by piece, from knots and values."""
        lines = [self.values[0] + self.left_slope * (t - self.knots[0])]
        lines += [
            v + slope * (t - knot)
            for v, slope, knot in zip(self.values, self.slopes[1:], self.knots, strict=True)
        ]
        pieces = [(line, t < knot) for line, knot in zip(lines, self.knots, strict=False)]
        return sp.Piecewise(*pieces, (lines[-1], True))

    def slope_expression(self, t: sp.Expr) -> sp.Expr:
        """sigma'(t) piece by piece; at a knot, the slope to the right."""
        pieces = [(slope, t < knot) for slope, knot in zip(self.slopes, self.knots, strict=False)]
        return sp.Piecewise(*pieces, (self.slopes[-1], True))

    def mp_value(self, t: Any) -> Any:
        """sigma(t) at mpmath's working precision, by direct look-up (shares no code with ``hinges``)."""
        knots, values, slopes = _mp_pieces(self, mp.mp.prec)
        j = bisect_left(knots, t)
        i = max(j - 1, 0)
        return values[i] + slopes[j] * (t - knots[i])

    def mp_slope(self, t: Any) -> Any:
        """sigma'(t) in the same way; at a knot, the slope to the left."""
        knots, _, slopes = _mp_pieces(self, mp.mp.prec)
        return slopes[bisect_left(knots, t)]


@lru_cache(maxsize=64)
def _mp_pieces(sigma: PiecewiseLinear, precision: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Knots, values and slopes as mpmath numbers of ``precision`` bits."""
    with mp.workprec(precision):
        knots, values, slopes = (
            [mp.mpf(x.p) / x.q for x in row] for row in (sigma.knots, sigma.values, sigma.slopes)
        )
    return knots, values, slopes


def ReLU() -> PiecewiseLinear:
    """max(t, 0)."""
    return PiecewiseLinear([0], [0], left_slope=0, right_slope=1, name="relu")


def LeakyReLU(slope: Any) -> PiecewiseLinear:
    """t for t >= 0, slope t for t < 0."""
    return PiecewiseLinear([0], [0], left_slope=exact(slope, "slope"), right_slope=1, name="leaky_relu")


def HardTanh() -> PiecewiseLinear:
    """t cut off at -1 and 1."""
    return PiecewiseLinear([-1, 1], [-1, 1], name="hard_tanh")


def AbsoluteValue() -> PiecewiseLinear:
    """|t|."""
    return PiecewiseLinear([0], [0], left_slope=-1, right_slope=1, name="absolute_value")


def truncated_relu() -> PiecewiseLinear:
    """-2.5 for t <= 0.5, 7.5 for t >= 1.5, linear between  [MMN18]."""
    return PiecewiseLinear([0.5, 1.5], [-2.5, 7.5], name="truncated_relu")


def nonmonotone() -> PiecewiseLinear:
    """-2.5 for t <= 0, -4 at t = 0.5, 7.5 for t >= 1.5, linear between  [MMN18]."""
    return PiecewiseLinear([0, 0.5, 1.5], [-2.5, -4, 7.5], name="nonmonotone")
