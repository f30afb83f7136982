"""Closed Gaussian expectations of products of atoms: four rules, applied in this order.

Gaussian tilt      e^(omega Z - gamma Z^2/2) F = C E~F: completing the square changes mean and covariance
smoothed step      Phi(alpha Z + beta) = P(alpha Z + beta + W > 0): one more Gaussian variable and a step
Stein's identity   E (U - EU) F = sum_j Cov(U, X_j) E dF/dX_j lowers the powers; the derivative of a step
                   fixes its variable at 0, which leaves a conditional Gaussian law
orthant            P(Y > 0) = Phi, P(Y_1 > 0, Y_2 > 0) = bvn_survival

Means may be complex (``Complex``) beside at most one step: this is how waves are treated, and Phi of a
complex argument is then the value of the orthant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import comb, factorial
from typing import Any

import sympy as sp

from workbench.calculus.atoms import Shape
from workbench.calculus.special import (
    bvn_survival,
    bvn_tail,
    cdf,
    deviation,
    gauss_spread,
    pdf,
    wave_cdf_im,
    wave_cdf_re,
)


@dataclass(frozen=True)
class Complex:
    """re + i im with symbolic parts, kept apart so that no ``re(...)`` of a parameter ever appears."""

    re: sp.Expr
    im: sp.Expr

    def __add__(self, other: Any) -> Complex:
        b = as_complex(other)
        return Complex(self.re + b.re, self.im + b.im)

    def __mul__(self, other: Any) -> Complex:
        b = as_complex(other)
        return Complex(self.re * b.re - self.im * b.im, self.re * b.im + self.im * b.re)

    def __neg__(self) -> Complex:
        return Complex(-self.re, -self.im)

    def __sub__(self, other: Any) -> Complex:
        return self + (-other)

    def __rsub__(self, other: Any) -> Complex:
        return (-self) + other

    def __truediv__(self, other: sp.Expr) -> Complex:
        return Complex(self.re / other, self.im / other)

    __radd__, __rmul__ = __add__, __mul__


def as_complex(x: Any) -> Complex:
    """x as a ``Complex``; SymPy constants are split into their parts."""
    if isinstance(x, Complex):
        return x
    if isinstance(x, sp.Expr) and x.has(sp.I):
        return Complex(*x.as_real_imag())
    return Complex(sp.sympify(x), sp.S.Zero)


def exponential(x: Any) -> Any:
    """e^x of an expression or a ``Complex``."""
    if isinstance(x, Complex):
        return Complex(sp.exp(x.re) * sp.cos(x.im), sp.exp(x.re) * sp.sin(x.im))
    return sp.exp(x)


def power(x: Any, n: int) -> Any:
    """x^n of an expression or a ``Complex``."""
    if not isinstance(x, Complex):
        return x**n
    result = Complex(sp.S.One, sp.S.Zero)
    for _ in range(n):
        result = result * x
    return result


@dataclass(frozen=True)
class Normal:
    """Mean and covariance of a Gaussian vector.

    ``regular`` promises variances > 0 along the gates; ``tilted`` remembers that a huge factor waits outside.
    """

    mean: tuple[Any, ...]
    cov: tuple[tuple[sp.Expr, ...], ...]
    regular: bool = True
    tilted: bool = False

    def given_zero(self, y: int) -> Normal:
        """The law conditional on variable y = 0."""
        n, v = len(self.mean), self.cov[y][y]
        slope = [self.cov[i][y] / v for i in range(n)]
        mean = tuple(sp.S.Zero if i == y else self.mean[i] - slope[i] * self.mean[y] for i in range(n))
        cov = tuple(
            tuple(sp.S.Zero if y in (i, j) else self.cov[i][j] - slope[i] * self.cov[j][y] for j in range(n))
            for i in range(n)
        )
        return Normal(mean, cov, regular=False, tilted=self.tilted)


def tilt(law: Normal, i: int, rate: Any, curvature: sp.Expr) -> tuple[Any, Normal]:
    """(C, law~) with E e^(rate Z_i - curvature Z_i^2/2) F(Z) = C E~ F(Z), by completing the square."""
    if rate == 0 and curvature == 0:
        return sp.S.One, law
    m, k = law.mean[i], law.cov[i][i]
    widen = 1 + curvature * k
    push = rate - curvature * m
    exponent = (rate * m - curvature * m * m / 2 + rate * rate * k / 2) / widen
    n = len(law.mean)
    mean = tuple(law.mean[j] + law.cov[i][j] * push / widen for j in range(n))
    cov = tuple(
        tuple(
            law.cov[a][b] / widen
            if i in (a, b)
            else law.cov[a][b] - curvature * law.cov[a][i] * law.cov[b][i] / widen
            for b in range(n)
        )
        for a in range(n)
    )
    return exponential(exponent) / sp.sqrt(widen), Normal(mean, cov, law.regular, tilted=True)


def rate_of(shape: Shape) -> Any:
    """omega + i nu."""
    return shape.rate if shape.frequency == 0 else Complex(shape.rate, shape.frequency)


def expectation(shapes: tuple[Shape, ...], law: Normal) -> Any:
    """E prod_i shape_i(Z_i) under the law of (Z_1, ...), a ``Complex`` when a wave is among them.

    At most two steps and Phi in all, and one beside a wave: the caller has seen to that.
    """
    weight: Any = sp.S.One
    for i, shape in enumerate(shapes):
        factor, law = tilt(law, i, rate_of(shape), shape.curvature)
        weight = weight * factor
    # variables: U_i = +-(Z_i - c_i), then one Y = alpha Z_i + beta + W per Phi
    rows = [(i, sp.Integer(s.step or 1), -s.centre * (s.step or 1), 0) for i, s in enumerate(shapes)]
    rows += [(i, g.alpha, g.beta, 1) for i, s in enumerate(shapes) for g in s.gates]
    gates = tuple(i for i, s in enumerate(shapes) if s.step) + tuple(range(len(shapes), len(rows)))
    mean = tuple(a * law.mean[i] + b for i, a, b, _ in rows)
    cov = tuple(
        tuple(a * a2 * law.cov[i][i2] + (noise if r == r2 else 0) for r2, (i2, a2, _, _) in enumerate(rows))
        for r, (i, a, _, noise) in enumerate(rows)
    )
    sign = sp.Mul(*(sp.Integer(s.step) ** s.power for s in shapes if s.step))
    powers = tuple(s.power for s in shapes) + (0,) * (len(rows) - len(shapes))
    return weight * moment(powers, gates, Normal(mean, cov, law.regular, law.tilted)) * sign


@lru_cache(maxsize=4096)
def moment(powers: tuple[int, ...], gates: tuple[int, ...], law: Normal) -> Any:
    """E prod_i X_i^(powers_i) prod_{y in gates} 1{X_y > 0}."""
    if not gates:
        return _analytic_moment(powers, law)
    i = next((i for i, n in enumerate(powers) if n), None)
    if i is None:
        return _orthant(gates, law)
    lower = _lowered(powers, i)
    total = law.mean[i] * moment(lower, gates, law)
    for j, n in enumerate(lower):
        if n and law.cov[i][j] != 0:
            total += law.cov[i][j] * n * moment(_lowered(lower, j), gates, law)
    for y in gates:
        if lower[y] == 0 and law.cov[i][y] != 0:
            rest = tuple(g for g in gates if g != y)
            total += _boundary(i, y, law) * moment(lower, rest, law.given_zero(y))
    return total


def _lowered(powers: tuple[int, ...], i: int) -> tuple[int, ...]:
    return (*powers[:i], powers[i] - 1, *powers[i + 1 :])


def _boundary(i: int, y: int, law: Normal) -> Any:
    """Cov(X_i, X_y) times the density of X_y at 0."""
    m, v = law.mean[y], law.cov[y][y]
    if isinstance(m, Complex):
        return exponential(-(m * m) / (2 * v)) * (law.cov[i][y] / sp.sqrt(2 * sp.pi * v))
    if i == y:
        return gauss_spread(m, v) if not law.regular else sp.sqrt(v) * pdf(m / sp.sqrt(v))
    return law.cov[i][y] / sp.sqrt(v) * pdf(m / sp.sqrt(v))


def _orthant(gates: tuple[int, ...], law: Normal) -> Any:
    y = gates[0]
    m, v = law.mean[y], law.cov[y][y]
    if isinstance(m, Complex):
        re, im = m.re / sp.sqrt(v), m.im / sp.sqrt(v)
        return Complex(wave_cdf_re(re, im), wave_cdf_im(re, im)) * sp.exp(im**2 / 2)
    if len(gates) == 1:
        return cdf(m / sp.sqrt(v)) if law.regular else cdf(deviation(m, v))
    y2 = gates[1]
    m2, v2 = law.mean[y2], law.cov[y2][y2]
    survival = bvn_tail if law.tilted else bvn_survival
    return survival(-m / sp.sqrt(v), -m2 / sp.sqrt(v2), law.cov[y][y2] / sp.sqrt(v * v2))


def _analytic_moment(powers: tuple[int, ...], law: Normal) -> Any:
    """E X_i^a X_j^b = sum_k k! C(a,k) C(b,k) K_ij^k mu_{a-k}(X_i) mu_{b-k}(X_j)  (finite Mehler sum)."""
    used = [i for i, n in enumerate(powers) if n]
    if not used:
        return sp.S.One
    i, a = used[0], powers[used[0]]
    if len(used) == 1:
        return _one_moment(a, law.mean[i], law.cov[i][i])
    assert len(used) == 2, "atoms depend on at most two variables"
    j, b = used[1], powers[used[1]]
    total: Any = sp.S.Zero
    for k in range(min(a, b) + 1):
        weight = comb(a, k) * comb(b, k) * factorial(k) * law.cov[i][j] ** k
        left = _one_moment(a - k, law.mean[i], law.cov[i][i])
        total = total + weight * left * _one_moment(b - k, law.mean[j], law.cov[j][j])
    return total


def _one_moment(n: int, m: Any, v: sp.Expr) -> Any:
    """E (m + sqrt(v) G)^n."""
    total: Any = sp.S.Zero
    for j in range(n // 2 + 1):
        weight = factorial(n) // (factorial(j) * factorial(n - 2 * j) * 2**j)
        total = total + weight * power(m, n - 2 * j) * v**j
    return total


def real_expectation(pairs: tuple[tuple[Shape, sp.Expr], ...], law: Normal) -> sp.Expr:
    """E prod_i Re[c_i shape_i(Z_i)] for one or two (shape, coefficient) pairs."""
    shapes = tuple(s for s, _ in pairs)
    waves = [i for i, s in enumerate(shapes) if s.frequency != 0]
    if len(waves) < 2:
        value = expectation(shapes, law)
        weight = sp.Mul(*(c for _, c in pairs))
        return (as_complex(weight) * value).re if waves else weight * value
    (s, c), (s2, c2) = pairs
    same = expectation((s, s2), law) * as_complex(sp.expand(c * c2))
    mirrored = replace(s2, frequency=-s2.frequency)
    opposite = expectation((s, mirrored), law) * as_complex(sp.expand(c * sp.conjugate(c2)))
    return (same.re + opposite.re) / 2
