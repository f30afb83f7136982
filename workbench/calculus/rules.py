"""The rules of the calculus by name, with the formula each one used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from workbench.calculus.atoms import Function, Shape


class Rule(NamedTuple):
    """A rule and its formula, in plain text."""

    name: str
    formula: str


LINEARITY = Rule("canonical form", "f = sum_i c_i atom_i: kinks cut, branches expanded")
MOMENTS = Rule("Gaussian moments", "E (m + s G)^n = sum_j n!/(j! (n-2j)! 2^j) m^(n-2j) s^(2j)")
TRUNCATED = Rule(
    "truncated moments", "E (Z-c)_+ = mu Phi(mu/s) + s phi(mu/s), mu = m - c; higher powers by Stein"
)
SMOOTHED = Rule("smoothed step", "Phi(a Z + b) = P(a Z + b + W > 0 | Z), W ~ N(0, 1) independent")
STEIN = Rule("Stein", "E (U - EU) F(X) = sum_j Cov(U, X_j) E dF/dX_j")
SQUARE = Rule(
    "completing the square",
    "E e^(w Z - g Z^2/2) F(Z) = e^((w m - g m^2/2 + w^2 K/2)/D)/sqrt(D) E F(Z~), D = 1 + g K, Z~ ~ N((m + w K)/D, K/D)",
)
GIRSANOV = Rule("Girsanov shift", "E e^(w Z_1) F(Z) = e^(w m_1 + w^2 K_11/2) E F(Z + w K e_1)")
WAVE = Rule(
    "wave", "sin, cos = Im, Re e^(i nu t): the same shift by i nu K; beside a step, Phi of a complex argument"
)
OWEN = Rule(
    "bivariate orthant",
    "P(X > h, Y > k) = 1/4 + asin(rho)/(2 pi) at h = k = 0, by Owen's T elsewhere [Owen 1956]",
)
MEHLER_FINITE = Rule(
    "Hermite orthogonality", "E Z_1^a Z_2^b = sum_k k! C(a,k) C(b,k) K_12^k E Z_1^(a-k) E Z_2^(b-k)"
)
HERMITE = Rule("Hermite coefficient", "a_k = s^k/sqrt(k!) d^k/dm^k E f(m + s G)")
PRICE = Rule("Price", "d/dK_12 E f(Z_1) g(Z_2) = E f'(Z_1) g'(Z_2)")
HEAT = Rule("heat equation", "d/dK_11 E f(Z_1) g(Z_2) = 1/2 E f''(Z_1) g(Z_2);  d/ds E f(m + s G) = s E f''")
MEAN = Rule("shift", "d/dm_1 E f(Z_1) g(Z_2) = E f'(Z_1) g(Z_2)")
DELTA = Rule("jump", "E delta(Z_1 - c) g(Z_2) = p_1(c) E[g(Z_2) | Z_1 = c]")
DIFFERENTIATION = Rule("differentiation", "exact derivative rules of the named functions")
QUADRATURE = Rule(
    "quadrature", "composite Gauss-Legendre on panels cut at every kink, error from halving them"
)
MEHLER = Rule(
    "Mehler series",
    "E f g = sum_k rho^k a_k b_k; what is left out is summed to k = M, beyond it |rho|^(M+1) |f|_M |g|_M,"
    " |f|_M^2 = E f^2 - sum_{k<=M} a_k^2",
)


def _of_shape(shape: Shape) -> Iterable[Rule]:
    if shape.frequency != 0:
        yield WAVE
    if shape.curvature != 0:
        yield SQUARE
    elif shape.rate != 0:
        yield GIRSANOV
    yield from (SMOOTHED,) * bool(shape.gates) + (TRUNCATED,) * bool(shape.step)
    if shape.power:
        yield STEIN if shape.gates else MOMENTS


def of_functions(*functions: Function) -> list[Rule]:
    """The rules that the atoms of these functions call for, each once, in order."""
    found = [LINEARITY]
    for f in functions:
        for shape, _ in f.atoms:
            found += _of_shape(shape)
    if len(functions) == 2:
        f, g = functions
        if any(a.gated + b.gated == 2 for a, _ in f.atoms for b, _ in g.atoms):
            found += [OWEN, STEIN]
        if any(a.power and b.power and not a.gated + b.gated for a, _ in f.atoms for b, _ in g.atoms):
            found.append(MEHLER_FINITE)
    elif any(a.gated == 2 for a, _ in functions[0].atoms):
        found.append(OWEN)
    return list(dict.fromkeys(found))
