"""Expectations as a closed part plus integrals that have none, closed under differentiation.

Derivatives in the parameters use Price's theorem and the heat equation of the Gaussian density:

    d/dm_i E = E d_i,    d/dK_12 E f(Z_1) g(Z_2) = E f'(Z_1) g'(Z_2),    d/dK_11 = 1/2 d^2/dm_1^2

with the derivatives of f and g in the sense of distributions: a jump at c gives delta(t - c), whose
expectation is a density times a conditional expectation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import sympy as sp

from workbench.calculus.atoms import Function, SecondDelta, Shape
from workbench.calculus.hermite import coefficient
from workbench.calculus.moments import Normal, real_expectation
from workbench.calculus.special import bvn_density, hermite, pdf

# stand-ins for scales and variances not declared positive: sqrt(s^2) is then s
SCALE = sp.Dummy("s", positive=True)
VARIANCES = sp.Dummy("K11", positive=True), sp.Dummy("K22", positive=True)


@dataclass(frozen=True)
class LineIntegral:
    """E f(m + s G) h_k(G)."""

    f: Function
    m: sp.Expr
    s: sp.Expr
    k: sp.Expr = sp.S.Zero

    def value(self) -> Value:
        """By the rules as far as they go."""
        if self.s.is_positive is None:
            return replace(self, s=SCALE)._value().replace(SCALE, self.s)
        return self._value()

    def _value(self) -> Value:
        closed, rest = [], []
        for shape, c in self.f.atoms:
            if self.k.is_zero:
                term: sp.Expr | None = real_expectation(((shape, c),), Normal((self.m,), ((self.s**2,),)))
            else:
                term = coefficient(shape, c, self.k, self.m, self.s)
            if term is None:
                rest.append((shape, c))
            else:
                closed.append(term)
        for knot, weight in self.f.deltas:
            closed.append(weight * hermite(self.k, (knot - self.m) / self.s) / self.s)
        remainder = Function(self.f.t, tuple(rest), self.f.leftovers)
        parts = () if remainder.vanishes else ((sp.S.One, LineIntegral(remainder, self.m, self.s, self.k)),)
        return Value(sp.Add(*closed), parts)

    def diff(self, x: sp.Symbol) -> Value:
        """d/dx through m and s; d/ds E f(m + s G) h_k(G) = E f' G h_k."""
        slope, k = self.f.derivative(), self.k
        total = LineIntegral(slope, self.m, self.s, k).value().times(sp.diff(self.m, x))
        ds = sp.diff(self.s, x)
        if ds != 0:
            up = LineIntegral(slope, self.m, self.s, k + 1).value().times(ds * sp.sqrt(k + 1))
            total = total.plus(up)
            if not k.is_zero:
                down = LineIntegral(slope, self.m, self.s, k - 1).value().times(ds * sp.sqrt(k))
                total = total.plus(down)
        return total


@dataclass(frozen=True)
class PlaneIntegral:
    """E f(Z_1) g(Z_2), Z Gaussian with means (m_1, m_2) and covariance (K_11, K_12, K_22)."""

    f: Function
    g: Function
    m: tuple[sp.Expr, sp.Expr]
    cov: tuple[sp.Expr, sp.Expr, sp.Expr]

    def law(self) -> Normal:
        k11, k12, k22 = self.cov
        return Normal(self.m, ((k11, k12), (k12, k22)))

    def swapped(self) -> PlaneIntegral:
        """The same with the two variables exchanged."""
        (m1, m2), (k11, k12, k22) = self.m, self.cov
        return PlaneIntegral(self.g, self.f, (m2, m1), (k22, k12, k11))

    def value(self) -> Value:
        """By the rules as far as they go."""
        k11, k12, k22 = self.cov
        stand_ins = {v: k for k, v in zip((k11, k22), VARIANCES, strict=True) if k.is_positive is None}
        known = {k: v for v, k in stand_ins.items()}
        value = replace(self, cov=(known.get(k11, k11), k12, known.get(k22, k22)))._value()
        for stand_in, k in stand_ins.items():
            value = value.replace(stand_in, k)
        return value

    def _value(self) -> Value:
        f, g, law = self.f, self.g, self.law()
        closed = [real_expectation((a, b), law) for a in f.atoms for b in g.atoms if compatible(a[0], b[0])]
        total = Value(sp.Add(*closed))
        for first, second in _without_rule(f, g):
            total = total.plus(
                Value(sp.S.Zero, ((sp.S.One, PlaneIntegral(first, second, self.m, self.cov)),))
            )
        for knot, weight in f.deltas:
            total = total.plus(self._at_knot(knot).times(weight))
        for knot, weight in g.deltas:
            plain = Function(f.t, f.atoms, f.leftovers)
            total = total.plus(
                PlaneIntegral(plain, g, self.m, self.cov).swapped()._at_knot(knot).times(weight)
            )
        return total

    def _at_knot(self, knot: sp.Expr) -> Value:
        """E delta(Z_1 - knot) g(Z_2): the density there times the conditional expectation."""
        k11, k12, k22 = self.cov
        z = (knot - self.m[0]) / sp.sqrt(k11)
        density = pdf(z) / sp.sqrt(k11)
        mean = self.m[1] + k12 / k11 * (knot - self.m[0])
        rest = k22 - k12**2 / k11
        law = Normal((mean,), ((rest,),), regular=False)
        closed = density * sp.Add(*(real_expectation((b,), law) for b in self.g.atoms))
        for other, weight in self.g.deltas:
            z2 = (other - self.m[1]) / sp.sqrt(k22)
            closed += weight * bvn_density(z, z2, k12 / sp.sqrt(k11 * k22)) / sp.sqrt(k11 * k22)
        smooth = Function(self.g.t, (), self.g.leftovers)
        parts = () if smooth.vanishes else ((density, LineIntegral(smooth, mean, sp.sqrt(rest))),)
        return Value(closed, parts)

    def diff(self, x: sp.Symbol) -> Value:
        """d/dx through means and covariance: Price's theorem and the heat equation."""
        total = Value(sp.S.Zero)
        k11, k12, k22 = (sp.diff(c, x) for c in self.cov)
        if k12 != 0:
            total = total.plus(self._moved(1, 1).times(k12))
        for side, (dm, dk) in enumerate(zip((sp.diff(m, x) for m in self.m), (k11, k22), strict=True)):
            one = self if side == 0 else self.swapped()
            if dm != 0:
                total = total.plus(one._moved(1, 0).times(dm))
            if dk != 0:
                total = total.plus(one._moved(2, 0).times(dk / 2))
        return total

    def _moved(self, n: int, n2: int) -> Value:
        """E f^(n)(Z_1) g^(n2)(Z_2)."""
        if n == 2:
            try:
                twice = self.f.derivative().derivative()
            except SecondDelta:
                # delta' has no rule of its own: it is the derivative in the mean of what has one
                mean = sp.Dummy("m", real=True)
                once = PlaneIntegral(self.f.derivative(), self.g, (mean, self.m[1]), self.cov).value()
                return once.diff(mean).replace(mean, self.m[0])
            return PlaneIntegral(twice, self.g, self.m, self.cov).value()
        f = self.f.derivative() if n else self.f
        g = self.g.derivative() if n2 else self.g
        return PlaneIntegral(f, g, self.m, self.cov).value()


Integral = LineIntegral | PlaneIntegral


@dataclass(frozen=True)
class Value:
    """closed + sum of coefficient * integral."""

    closed: sp.Expr
    parts: tuple[tuple[sp.Expr, Integral], ...] = ()

    def plus(self, other: Value) -> Value:
        return Value(self.closed + other.closed, self.parts + other.parts)

    def times(self, factor: sp.Expr) -> Value:
        if factor == 0:
            return Value(sp.S.Zero)
        return Value(self.closed * factor, tuple((c * factor, i) for c, i in self.parts))

    def diff(self, x: sp.Symbol) -> Value:
        total = Value(sp.diff(self.closed, x))
        for c, integral in self.parts:
            total = total.plus(
                Value(sp.S.Zero, ((sp.diff(c, x), integral),)) if sp.diff(c, x) != 0 else Value(sp.S.Zero)
            )
            total = total.plus(integral.diff(x).times(c))
        return total

    def replace(self, old: sp.Symbol, new: sp.Expr) -> Value:
        """With another expression for a parameter."""
        return Value(
            self.closed.xreplace({old: new}),
            tuple((c.xreplace({old: new}), _at(i, {old: new})) for c, i in self.parts),
        )


def _at(integral: Integral, values: dict[sp.Symbol, sp.Expr]) -> Integral:
    if isinstance(integral, LineIntegral):
        return LineIntegral(
            integral.f, *(sp.sympify(x).xreplace(values) for x in (integral.m, integral.s, integral.k))
        )
    m1, m2, *cov = (sp.sympify(x).xreplace(values) for x in (*integral.m, *integral.cov))
    return PlaneIntegral(integral.f, integral.g, (m1, m2), (cov[0], cov[1], cov[2]))


def compatible(a: Shape, b: Shape) -> bool:
    """Whether a pair of atoms has a rule: at most two steps and Phi, one beside a wave."""
    return a.gated + b.gated <= (2 if a.frequency == b.frequency == 0 else 1)


def _without_rule(f: Function, g: Function) -> Iterable[tuple[Function, Function]]:
    """Pairs (part of f, part of g) that together make up what no rule covers."""
    t = f.t
    smooth_f, smooth_g = Function(t, (), f.leftovers), Function(t, (), g.leftovers)
    if f.leftovers:
        whole = Function(t, g.atoms, g.leftovers)
        if not whole.vanishes:
            yield smooth_f, whole
    if g.leftovers and f.atoms:
        yield Function(t, f.atoms), smooth_g
    # atoms grouped by the partners they lack
    groups: dict[tuple[tuple[Shape, sp.Expr], ...], list[tuple[Shape, sp.Expr]]] = {}
    for a in f.atoms:
        lacking = tuple(b for b in g.atoms if not compatible(a[0], b[0]))
        if lacking:
            groups.setdefault(lacking, []).append(a)
    for lacking, atoms in groups.items():
        yield Function(t, tuple(atoms)), Function(t, lacking)
