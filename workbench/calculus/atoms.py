"""Canonical form of an integrand: a finite sum of atoms whose Gaussian expectations have rules.

    atom(t) = Re[ coefficient e^(i nu t) ] (t - c)^n e^(omega t - gamma t^2/2) 1{+-(t - c) > 0} prod_j Phi(alpha_j t + beta_j)

with or without the step.  Truncated powers (hence ReLU, sign, |t|, hard tanh, ReLU^2), erf, GELU, exp,
sin, cosh and Gaussian bumps are all of this form.  What is not is kept as a ``Leftover`` on an interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import mpmath as mp
import sympy as sp

from workbench.calculus.special import mp_number
from workbench.special import gauss_cdf


@dataclass(frozen=True)
class Gate:
    """Phi(alpha t + beta): the step 1{alpha t + beta + W > 0} averaged over W ~ N(0, 1)."""

    alpha: sp.Expr
    beta: sp.Expr


@dataclass(frozen=True)
class Shape:
    """An atom without its coefficient; ``step`` is +1 for 1{t > c}, -1 for 1{t < c}, 0 for neither."""

    power: int = 0
    centre: sp.Expr = sp.S.Zero
    rate: sp.Expr = sp.S.Zero
    curvature: sp.Expr = sp.S.Zero
    frequency: sp.Expr = sp.S.Zero
    step: int = 0
    gates: tuple[Gate, ...] = ()

    @property
    def gated(self) -> int:
        """Number of factors that are not analytic."""
        return abs(self.step) + len(self.gates)

    @property
    def polynomial(self) -> bool:
        """Whether it is a power of t."""
        return not self.gated and self.rate == self.curvature == self.frequency == 0

    def key(self) -> tuple[Any, ...]:
        """Deterministic order of the atoms in a sum."""
        gates = tuple((str(g.alpha), str(g.beta)) for g in self.gates)
        return (
            self.step,
            len(gates),
            gates,
            str(self.rate),
            str(self.curvature),
            str(self.frequency),
            float(self.centre),
            self.power,
        )


Sum = dict[Shape, sp.Expr]


@dataclass(frozen=True)
class Leftover:
    """An expression without closed forms, on the interval (low, high) and 0 outside."""

    expression: sp.Expr
    low: sp.Expr = -sp.oo
    high: sp.Expr = sp.oo

    @property
    def ends(self) -> tuple[sp.Expr, ...]:
        """The finite ends."""
        return tuple(e for e in (self.low, self.high) if e.is_finite)


@dataclass(frozen=True)
class Function:
    """atoms + leftovers + sum of weight delta(t - knot); the deltas arise as derivatives of steps only."""

    t: sp.Symbol
    atoms: tuple[tuple[Shape, sp.Expr], ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    deltas: tuple[tuple[sp.Expr, sp.Expr], ...] = ()

    @property
    def vanishes(self) -> bool:
        return not (self.atoms or self.leftovers or self.deltas)

    def pieces(self) -> list[Leftover]:
        """The same function as expressions on intervals, one per interval; the deltas are left out."""
        rows: dict[tuple[sp.Expr, sp.Expr], sp.Expr] = {}
        parts = [Leftover(atom_expression(s, c, self.t), *support(s)) for s, c in self.atoms]
        for part in (*parts, *self.leftovers):
            where = part.low, part.high
            rows[where] = rows.get(where, sp.S.Zero) + part.expression
        return [Leftover(e, low, high) for (low, high), e in rows.items()]

    def knots(self) -> list[sp.Expr]:
        """Where the function or a derivative of it jumps."""
        steps = {s.centre for s, _ in self.atoms if s.step}
        return sorted(steps | {e for part in self.leftovers for e in part.ends}, key=float)

    def derivative(self) -> Function:
        """f', jumps included: the step at a knot c gives delta(t - c).

        Raises
        ------
        SecondDelta
            where f itself holds a delta: its derivative is not needed by any rule.
        """
        if self.deltas:
            raise SecondDelta
        total: Sum = {}
        deltas: dict[sp.Expr, sp.Expr] = {}
        for shape, c in self.atoms:
            for new, factor in _atom_derivative(shape):
                add(total, new, c * factor)
            if shape.step and shape.power == 0:
                jump = shape.step * atom_expression(shape, c, self.t).xreplace({self.t: shape.centre})
                deltas[shape.centre] = deltas.get(shape.centre, sp.S.Zero) + jump
        leftovers = []
        for part in self.leftovers:
            leftovers.append(replace(part, expression=sp.diff(part.expression, self.t)))
            for end, sign in ((part.low, 1), (part.high, -1)):
                if end.is_finite:
                    jump = sign * part.expression.xreplace({self.t: end})
                    deltas[end] = deltas.get(end, sp.S.Zero) + jump
        kept = tuple(
            (c, w) for c, w in sorted(deltas.items(), key=lambda x: float(x[0])) if not negligible(w)
        )
        return Function(self.t, ordered(total), tuple(p for p in leftovers if p.expression != 0), kept)


class SecondDelta(ArithmeticError):
    """Internal: the derivative of a delta was asked for."""


def negligible(weight: sp.Expr) -> bool:
    """Whether an exact constant is 0, by value where SymPy does not see it."""
    with mp.workdps(30):
        return bool(weight == 0 or abs(mp_number(weight)) < 1e-25)


def atom_expression(shape: Shape, coefficient: sp.Expr, t: sp.Symbol) -> sp.Expr:
    """The atom as a SymPy expression, without its step."""
    wave = coefficient
    if shape.frequency != 0:
        re, im = coefficient.as_real_imag()
        wave = re * sp.cos(shape.frequency * t) - im * sp.sin(shape.frequency * t)
    growth = sp.exp(shape.rate * t - shape.curvature * t**2 / 2)
    gates = sp.Mul(*(gauss_cdf(g.alpha * t + g.beta) for g in shape.gates))
    return wave * (t - shape.centre) ** shape.power * growth * gates


def add(total: Sum, shape: Shape, coefficient: sp.Expr) -> None:
    """total += coefficient * shape; a complex coefficient belongs to e^(i nu t), nu >= 0."""
    if shape.frequency.is_negative:
        # Re[c e^(-i nu t)] = Re[conj(c) e^(i nu t)]
        shape, coefficient = replace(shape, frequency=-shape.frequency), sp.conjugate(coefficient)
    if shape.frequency == 0:
        coefficient = sp.re(coefficient)
    # exact constants only, no parameter in sight: expanding them decides what cancels
    total[shape] = sp.expand(total.get(shape, sp.S.Zero) + coefficient)
    if total[shape] == 0:
        del total[shape]


def ordered(total: Sum) -> tuple[tuple[Shape, sp.Expr], ...]:
    """The atoms in an order that does not depend on hashes."""
    return tuple(sorted(total.items(), key=lambda item: item[0].key()))


def product(left: Sum, right: Sum) -> Sum:
    """Product of two sums of atoms without steps."""
    total: Sum = {}
    for a, c in left.items():
        for b, d in right.items():
            merged = Shape(
                power=a.power + b.power,
                rate=a.rate + b.rate,
                curvature=a.curvature + b.curvature,
                gates=tuple(sorted((*a.gates, *b.gates), key=lambda g: (str(g.alpha), str(g.beta)))),
            )
            if a.frequency == 0 or b.frequency == 0:
                add(total, replace(merged, frequency=a.frequency + b.frequency), c * d)
            else:
                # Re(u) Re(v) = Re(u v)/2 + Re(u conj(v))/2
                add(total, replace(merged, frequency=a.frequency + b.frequency), c * d / 2)
                add(total, replace(merged, frequency=a.frequency - b.frequency), c * sp.conjugate(d) / 2)
    return total


def support(shape: Shape) -> tuple[sp.Expr, sp.Expr]:
    """The interval outside which an atom is 0."""
    return (shape.centre if shape.step > 0 else -sp.oo), (shape.centre if shape.step < 0 else sp.oo)


def stepped(total: Mapping[Shape, sp.Expr], knot: sp.Expr, side: int = 1) -> Sum:
    """1{side (t - knot) > 0} times a sum of atoms without steps, in powers of t - knot."""
    result: Sum = {}
    for shape, c in total.items():
        for j in range(shape.power + 1):
            moved = replace(shape, power=j, centre=knot, step=side)
            add(result, moved, c * sp.binomial(shape.power, j) * knot ** (shape.power - j))
    return result


def _atom_derivative(shape: Shape) -> list[tuple[Shape, sp.Expr]]:
    """d/dt of an atom away from its step: (shape, factor) pairs."""
    n, c = shape.power, shape.centre
    rows = []
    if n:
        rows.append((replace(shape, power=n - 1), sp.Integer(n)))
    slope = shape.rate + sp.I * shape.frequency - shape.curvature * c
    if slope != 0:
        rows.append((shape, slope))
    if shape.curvature != 0:
        rows.append((replace(shape, power=n + 1), -shape.curvature))
    for i, g in enumerate(shape.gates):
        bump = replace(
            shape,
            rate=shape.rate - g.alpha * g.beta,
            curvature=shape.curvature + g.alpha**2,
            gates=shape.gates[:i] + shape.gates[i + 1 :],
        )
        rows.append((bump, g.alpha * sp.exp(-(g.beta**2) / 2) / sp.sqrt(2 * sp.pi)))
    return rows
