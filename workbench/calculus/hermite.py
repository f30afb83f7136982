"""Hermite coefficients a_k = E[f(m + s G) h_k(G)], h_k = He_k/sqrt(k!), atom by atom.

All follow from a_k = s^k/sqrt(k!) d^k/dm^k E f(m + s G), Stein's identity used k times:

    (t - c)_+^p          p! s^p (phi h_{k-p-1})(A) / sqrt(k (k-1) ... (k-p)),  A = (c - m)/s, k > p
    Phi(alpha t + beta)  (-1)^(k-1) (alpha s/v)^k (phi h_{k-1})(B) / sqrt(k),   v^2 = 1 + alpha^2 s^2, k >= 1
    e^(omega t)          (omega s)^k / sqrt(k!) E e^(omega Z)
    e^(-(alpha t + beta)^2/2)   sqrt(2 pi)/v (-alpha s/v)^k (phi h_k)(B),       B = (alpha m + beta)/v

and a_k[t f] = m a_k[f] + s (sqrt(k+1) a_{k+1}[f] + sqrt(k) a_{k-1}[f]) takes care of powers of t.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy as sp

from workbench.calculus.atoms import Shape
from workbench.calculus.moments import (
    Complex,
    Normal,
    as_complex,
    expectation,
    exponential,
    real_expectation,
)
from workbench.calculus.special import cdf, hermite
from workbench.special import root_poisson

MAX_POLYNOMIAL_ORDER = 24  # beyond it the explicit polynomial He_k is no sensible formula


def first_order(shape: Shape) -> int:
    """The smallest k from which the formula with a symbolic k holds."""
    if shape.polynomial or shape.step or shape.gates:
        return shape.power + 1
    return shape.power


def coefficient(shape: Shape, weight: sp.Expr, k: sp.Expr, m: sp.Expr, s: sp.Expr) -> sp.Expr | None:
    """a_k of Re[weight * shape], or None where only a number k has a closed form."""
    if shape.frequency != 0:
        value = None if shape.gated else _analytic(shape, k, m, s)
        if value is not None:
            return (as_complex(weight) * value).re
    else:
        value = _symbolic(shape, k, m, s)
        if value is not None:
            return weight * value
    if not k.is_Integer or k > MAX_POLYNOMIAL_ORDER:
        return None
    # He_k as a polynomial of G, which is jointly Gaussian with Z = m + s G
    law = Normal((m, sp.S.Zero), ((s**2, s), (s, sp.S.One)))
    powers = sp.Poly(sp.hermite_prob(k, sp.Symbol("x")), sp.Symbol("x")).terms()
    terms = (c * real_expectation(((shape, weight), (Shape(power=n), sp.S.One)), law) for (n,), c in powers)
    return sp.Add(*terms) / sp.sqrt(sp.factorial(k))


def _symbolic(shape: Shape, k: sp.Expr, m: sp.Expr, s: sp.Expr) -> Any:
    if shape.polynomial:
        return _power(shape.power, k, m, s)
    if shape.step and not shape.gates and shape.rate == shape.curvature == 0:
        return _truncated_power(shape, k, m, s)
    if not shape.gated:
        return _analytic(shape, k, m, s)
    if not shape.step and len(shape.gates) == 1 and shape.rate == shape.curvature == 0:
        return _raised(shape.power, k, m, s, lambda j: _smoothed_step(shape, j, m, s))
    return None


def _power(n: int, k: sp.Expr, m: sp.Expr, s: sp.Expr) -> sp.Expr:
    if not k.is_Integer or k > n:
        return sp.S.Zero
    rest = expectation((Shape(power=n - int(k)),), Normal((m,), ((s**2,),)))
    return s**k * sp.ff(n, k) / sp.sqrt(sp.factorial(k)) * rest


def _truncated_power(shape: Shape, k: sp.Expr, m: sp.Expr, s: sp.Expr) -> sp.Expr:
    p, side = shape.power, shape.step
    mirror = side ** (k + p)
    if k.is_Integer and k <= p:
        lower = expectation((replace(shape, power=p - int(k)),), Normal((m,), ((s**2,),)))
        # the expectation of (t - c)^(p-k) 1{...} has its own sign side^(p-k)
        return s**k * sp.ff(p, k) / sp.sqrt(sp.factorial(k)) * lower
    roots = sp.Mul(*(k - j for j in range(p + 1)))
    distance = side * (shape.centre - m) / s
    return mirror * sp.factorial(p) * s**p * hermite(k - p - 1, distance) / sp.sqrt(roots)


def _smoothed_step(shape: Shape, k: sp.Expr, m: sp.Expr, s: sp.Expr) -> sp.Expr:
    (gate,) = shape.gates
    v = sp.sqrt(1 + gate.alpha**2 * s**2)
    centre = (gate.alpha * m + gate.beta) / v
    if k.is_zero:
        return cdf(centre)
    return -((-gate.alpha * s / v) ** k) * hermite(k - 1, centre) / sp.sqrt(k)


def _analytic(shape: Shape, k: sp.Expr, m: sp.Expr, s: sp.Expr) -> Any:
    """Waves, exponentials and bumps times a power."""
    if shape.curvature == 0:
        return _raised(shape.power, k, m, s, lambda j: _exponential(shape, j, m, s))
    if shape.curvature.is_positive and shape.frequency == 0:
        return _raised(shape.power, k, m, s, lambda j: _bump(shape, j, m, s))
    return None


def _exponential(shape: Shape, k: sp.Expr, m: sp.Expr, s: sp.Expr) -> Any:
    rate, wave = shape.rate, shape.frequency
    if wave == 0:
        return (rate * s) ** k / sp.sqrt(sp.factorial(k)) * sp.exp(rate * m + rate**2 * s**2 / 2)
    # (omega + i nu)^k = modulus^k e^(i k angle); modulus^k alone overflows where its product does not
    modulus, angle = sp.sqrt(rate**2 + wave**2), (sp.pi / 2 if rate == 0 else sp.atan2(wave, rate))
    real = rate * m + rate**2 * s**2
    turn = wave * m + rate * wave * s**2 + k * angle
    return exponential(Complex(real, turn)) * root_poisson(k, modulus * s)


def _bump(shape: Shape, k: sp.Expr, m: sp.Expr, s: sp.Expr) -> sp.Expr:
    alpha, v = sp.sqrt(shape.curvature), sp.sqrt(1 + shape.curvature * s**2)
    centre = (alpha * m - shape.rate / alpha) / v
    height = sp.exp(shape.rate**2 / (2 * shape.curvature)) * sp.sqrt(2 * sp.pi) / v
    return height * (-alpha * s / v) ** k * hermite(k, centre)


def _raised(n: int, k: sp.Expr, m: sp.Expr, s: sp.Expr, base: Any) -> Any:
    """a_k[t^n f] from a_j[f] = base(j) by the three-term relation, n times."""
    weights: dict[sp.Expr, sp.Expr] = {k: sp.S.One}
    for _ in range(n):
        raised: dict[sp.Expr, sp.Expr] = {}
        for j, w in weights.items():
            for order, factor in ((j, m), (j + 1, s * sp.sqrt(j + 1)), (j - 1, s * sp.sqrt(j))):
                if factor != 0:
                    raised[order] = raised.get(order, sp.S.Zero) + w * factor
        weights = raised
    total: Any = sp.S.Zero
    for j, w in weights.items():
        if w != 0:
            total = total + base(j) * w
    return total
