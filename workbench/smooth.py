"""Activations of any form: a formula, its kinks, its slope, and what is asked of it before it is trained.

A formula is cut at its kinks into smooth pieces, and each piece brought into a stable form.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath as mp
import sympy as sp

from workbench.activations import PiecewiseLinear, exact
from workbench.calculus.atoms import Function
from workbench.calculus.branches import Branch, branches
from workbench.calculus.growth import _check_finite, growth
from workbench.calculus.lines import _features, _linear
from workbench.calculus.parser import line_variable, parse, real_expression
from workbench.calculus.special import mp_number
from workbench.errors import BadInput
from workbench.special import gauss_cdf
from workbench.stable_forms import LINE, MODULES, plain, stable


@dataclass(frozen=True)
class Activation:
    """An activation given by a formula in LINE = Symbol("t", real=True) with exact constants.

    Made by ``Activation.from_expr(z * sp.tanh(z), z)`` for a Symbol ``z``, which checks it; ``name`` is
    used in the text of the derivation.
    """

    name: str
    formula: sp.Expr

    @classmethod
    def from_expr(cls, expr: Any, t: sp.Symbol, name: str = "custom") -> Activation | PiecewiseLinear:
        """The activation t -> expr; a ``PiecewiseLinear`` where it is one with rational knots and slopes.

        Raises
        ------
        BadInput
            where expr is no expression, holds other symbols or functions not known here, is not real or
            not finite somewhere, or has kinks that cannot be located.
        """
        formula = real_expression(expr, t).xreplace({line_variable(t): LINE})
        if any(abs(number) > 10**300 for number in formula.atoms(sp.Number)):
            raise BadInput(f"f = {formula} holds a number out of scale: give constants up to 1e300 in size")
        sigma = cls(str(name), formula)
        for part in sigma.function.leftovers:
            _check_finite(part, LINE)
        for place in _unbounded(sigma.pieces):
            raise BadInput(f"f = {sigma.formula} is not finite at {LINE} = {place}: give a finite function")
        return PiecewiseLinear.from_function(sigma.function, sigma.name) or sigma

    @cached_property
    def function(self) -> Function:
        """sigma in canonical form."""
        return parse(self.formula, LINE)

    @cached_property
    def slope_function(self) -> Function:
        """sigma' in canonical form, with a delta where sigma jumps."""
        return self.function.derivative()

    @cached_property
    def kinks(self) -> tuple[sp.Expr, ...]:
        """Where sigma or one of its derivatives jumps, in order."""
        return tuple(self.function.knots())

    @cached_property
    def bends(self) -> tuple[tuple[float, float], ...]:
        """(place, width) of the stretches where sigma is no polynomial; none for polynomials and waves."""
        found = set()
        for shape, _ in self.function.atoms:
            if shape.curvature.is_positive:
                found.add((float(shape.rate / shape.curvature), float(1 / sp.sqrt(shape.curvature))))
            found |= {(float(-g.beta / g.alpha), float(1 / abs(g.alpha))) for g in shape.gates}
            if shape.step and shape.rate != 0:
                found.add(
                    (float(shape.centre), float(1 / abs(shape.rate)))
                )  # an exponential cut off at its top
        for part in self.function.leftovers:
            linear = [_linear(node.args[0], LINE) for node in part.expression.atoms(sp.Function)]
            # an expression without linear arguments says nothing of its scale: 1/(1 + t^2)
            found |= {(place, 1 / slope) for slope, place in linear if slope} or {(0.0, 1.0)}
        return tuple(sorted(found))

    @cached_property
    def wave(self) -> float:
        """The highest frequency of sigma, 0 without sines and cosines."""
        return float(_features(self.function)[1])

    @cached_property
    def rate(self) -> float:
        """The exponential rate at which sigma grows, 0 for powers.

        Raises
        ------
        BadInput
            where sigma grows faster than every exp(a t^2).
        """
        growth(self.function)  # refuses what grows faster
        # a bump decays, and a step may cut off the side that grows
        growing = [a for a, _ in self.function.atoms if a.curvature <= 0 and a.step * a.rate >= 0]
        tails = [(p.expression, -1) for p in self.function.leftovers if p.low.is_infinite]
        tails += [(p.expression, 1) for p in self.function.leftovers if p.high.is_infinite]
        return max([0.0, *(abs(float(a.rate)) for a in growing), *(_rate(*tail) for tail in tails)])

    @cached_property
    def pieces(self) -> tuple[Branch, ...]:
        """The smooth pieces of sigma from left to right, in stable form."""
        return tuple(Branch(stable(b.expression), b.low, b.high) for b in branches(self.formula, LINE))

    @cached_property
    def slope_pieces(self) -> tuple[Branch, ...]:
        """The pieces of sigma', in stable form."""
        return tuple(Branch(_slope(b.expression), b.low, b.high) for b in self.pieces)

    def expression(self, t: sp.Expr) -> sp.Expr:
        """sigma(t), the formula as it was given."""
        return self.formula.xreplace({LINE: t})

    def slope_expression(self, t: sp.Expr) -> sp.Expr:
        """sigma'(t) away from kinks, piece by piece; at a kink, the slope to the right."""
        *inner, last = [(plain(b.expression), b.high) for b in self.slope_pieces]
        return sp.Piecewise(*((e, sp.Lt(LINE, high)) for e, high in inner), (last[0], True)).xreplace(
            {LINE: t}
        )

    @cached_property
    def mp_value(self) -> Callable[[Any], Any]:
        """sigma at mpmath's working precision; where it jumps, its value to the right."""
        return _mp_function(self.pieces)

    @cached_property
    def mp_slope(self) -> Callable[[Any], Any]:
        """sigma' in the same way; at a kink, the slope to the right."""
        return _mp_function(self.slope_pieces)


def _slope(e: sp.Expr) -> sp.Expr:
    """The derivative; a quotient as one fraction, since its terms cancel far out."""
    slope = sp.diff(e, LINE)
    denominators = any(p.exp.is_negative and p.base.has(LINE) for p in slope.atoms(sp.Pow))
    return sp.factor(slope) if denominators and not slope.has(sp.Function) else slope


def _mp_function(pieces: Sequence[Branch]) -> Callable[[Any], Any]:
    """A function on mpmath numbers, from the piece that holds the argument or begins there."""
    bodies = [sp.lambdify(LINE, b.expression, modules=MODULES) for b in pieces]
    with mp.workdps(60):
        ends = [mp.mpf(mp_number(b.high)) for b in pieces[:-1]]

    def value(t: Any) -> Any:
        # a constant piece gives a Python number
        return mp.mpmathify(bodies[bisect_right(ends, t)](mp.mpf(t)))

    return value


def _rate(expression: sp.Expr, side: int) -> float:
    """r of an expression that grows like |t|^p e^(r |t|) on one side; 0 where it does not grow."""
    body, far = sp.lambdify(LINE, expression, modules=MODULES), mp.mpf(2) ** 40

    def log(point: Any) -> Any:
        return mp.log(abs(body(side * point)) + mp.mpf(10) ** -20)

    with mp.workdps(50):
        # log|f| = c + p log T + r T at T, 2T, 4T: powers drop out of the second difference
        rate = float((log(4 * far) - 2 * log(2 * far) + log(far)) / far)
    return rate if rate > 1e-6 else 0.0


def _unbounded(pieces: Sequence[Branch]) -> list[sp.Expr]:
    """Finite ends of pieces where the expression has no finite value."""
    found = []
    for piece in pieces:
        body = sp.lambdify(LINE, piece.expression, modules=MODULES)
        for end in (piece.low, piece.high):
            if end.is_finite:
                try:
                    value = body(mp.mpf(mp_number(end)))
                except (ZeroDivisionError, ValueError):
                    value = mp.inf
                if not mp.isfinite(value):
                    found.append(end)
    return list(dict.fromkeys(found))


def check_trainable(activation: Activation | PiecewiseLinear) -> None:
    """Refuse an activation for which SGD or its limit does not exist.

    Raises
    ------
    BadInput
        where sigma jumps or its slope is infinite (SGD needs its gradient), and where it grows so fast
        that E sigma(s G)^2 is infinite at some scale s.
    """
    if isinstance(activation, PiecewiseLinear):
        return  # continuous, of linear growth
    what = f"the activation {activation.name} = {activation.formula}"
    jumps = [c for c, _ in activation.slope_function.deltas]
    if jumps:
        raise BadInput(
            f"{what} jumps at {LINE} = {', '.join(map(str, jumps))}: SGD needs its gradient;"
            " replace each jump by a steep ramp or a steep erf"
        )
    steep = _unbounded(activation.slope_pieces)
    if steep:
        raise BadInput(
            f"{what} has an infinite slope at {LINE} = {', '.join(map(str, steep))}: SGD needs its gradient;"
            " replace the function by a line near there"
        )
    try:
        square = growth(activation.function).square
    except BadInput as error:
        raise BadInput(
            f"{what} is refused: {error}; so E sigma(s G)^2 is infinite at every scale s:"
            " take one that grows at most like exp(c |t|)"
        ) from error
    if square != 0:
        # E exp(square s^2 G^2) exists for square s^2 < 1/2
        raise BadInput(
            f"{what} grows like exp({square / 2 * LINE**2}): E sigma(s G)^2 exists only for"
            f" s**2 < {1 / (2 * square)}, so no model whose units have any scale s can be derived;"
            " take one that grows at most like exp(c |t|)"
        )


def Erf() -> Activation:
    """erf(t)."""
    return Activation("erf", sp.erf(LINE))


def Tanh() -> Activation:
    """tanh(t)."""
    return Activation("tanh", sp.tanh(LINE))


def Gelu() -> Activation:
    """t Phi(t), Phi the standard normal distribution function."""
    return Activation("gelu", LINE * gauss_cdf(LINE))


def Logistic() -> Activation:
    """1/(1 + e^-t)."""
    return Activation("logistic", 1 / (1 + sp.exp(-LINE)))


def Softplus() -> Activation:
    """log(1 + e^t)."""
    return Activation("softplus", sp.log(1 + sp.exp(LINE)))


def Silu() -> Activation:
    """t/(1 + e^-t)."""
    return Activation("silu", LINE / (1 + sp.exp(-LINE)))


def Sine() -> Activation:
    """sin(t)."""
    return Activation("sine", sp.sin(LINE))


def SquaredReLU() -> Activation:
    """max(t, 0)^2."""
    return Activation("squared_relu", sp.Max(LINE, 0) ** 2)


def Polynomial(coefficients: Sequence[Any]) -> Activation:
    """sum_k coefficients[k] t^k.

    Raises
    ------
    BadInput
        for an empty list and for entries that are no finite real numbers.
    """
    try:
        numbers = [exact(c, f"coefficients[{i}]") for i, c in enumerate(coefficients)]
    except TypeError:
        raise BadInput(f"coefficients = {coefficients!r}: give a list of numbers, constant first") from None
    if not numbers:
        raise BadInput("coefficients = []: give at least one number, the constant first")
    return Activation("polynomial", sp.Add(*(c * LINE**k for k, c in enumerate(numbers))))
