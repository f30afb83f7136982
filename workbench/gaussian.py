"""Expectations of a piecewise-linear activation under Gaussian and spherical laws, in closed form.

Every continuous piecewise-linear activation is a line plus hinges,

    sigma(t) = alpha + beta t + sum_j c_j (t - t_j)_+,

so each expectation is one rule for the hinge, applied term by term; an offset b shifts the knots to
T_j = t_j - b.  With A = T/s:

    E (s G - T)_+             = s phi(A) - T Phi(-A)
    E 1{s G > T} h_k(G)       = phi(A) h_{k-1}(A) / sqrt(k),   k >= 1   (Stein's identity)
    E (c S - T)_+             = c M_n(T/c) - T P(S > T/c),     S uniform on the sphere of R^n, one coordinate

The part of phi, phi h_k, M_n at A = 0 is split off ("difference at 0"): its coefficient sum_j c_j is
exact, 0 for a bounded activation, and what is left loses no digits as s grows.
"""

from __future__ import annotations

import sympy as sp

from workbench.activations import PiecewiseLinear
from workbench.special import (
    gauss_cdf,
    gauss_cdf_delta,
    gauss_pdf_delta,
    hermite_function,
    hermite_function_delta,
    hinge_pair,
    q,
    sphere_moment,
    sphere_moment_delta,
    sphere_tail,
)


def hinge_form(sigma: PiecewiseLinear, t: sp.Expr) -> sp.Expr:
    """alpha + beta t + sum_j c_j (t - t_j)_+ as an expression."""
    return (
        sigma.offset + sigma.left_slope * t + sp.Add(*(c * sp.Max(t - knot, 0) for c, knot in sigma.hinges))
    )


def total_slope_change(sigma: PiecewiseLinear) -> sp.Rational:
    """sum_j c_j = right slope - left slope."""
    return sp.Add(*(c for c, _ in sigma.hinges))


def gaussian_mean(sigma: PiecewiseLinear, s: sp.Expr, b: sp.Expr) -> sp.Expr:
    """q(s, b) = E sigma(b + s G)."""
    hinges = (c * (s * gauss_pdf_delta((t - b) / s) - t * gauss_cdf((b - t) / s)) for c, t in sigma.hinges)
    # b times the mean slope: where a bounded sigma is saturated the c_j cancel exactly, however large b is
    slope = sigma.left_slope + sp.Add(*(c * gauss_cdf((b - t) / s) for c, t in sigma.hinges))
    return sigma.offset + b * slope + sp.Add(*hinges) + total_slope_change(sigma) * s / sp.sqrt(2 * sp.pi)


def slope_mean(sigma: PiecewiseLinear, s: sp.Expr, b: sp.Expr) -> sp.Expr:
    """alpha_0(s, b) = E sigma'(b + s G)."""
    halves = sigma.left_slope + total_slope_change(sigma) / 2
    return halves - sp.Add(*(c * gauss_cdf_delta((t - b) / s) for c, t in sigma.hinges))


def slope_coefficient(sigma: PiecewiseLinear, k: sp.Expr, s: sp.Expr, b: sp.Expr) -> sp.Expr:
    """alpha_k(s, b) = E[sigma'(b + s G) h_k(G)] for k >= 1."""
    total = sp.Add(*(c * hermite_function_delta(k - 1, (t - b) / s) for c, t in sigma.hinges))
    return (total + total_slope_change(sigma) * hermite_function(k - 1, sp.S.Zero)) / sp.sqrt(k)


def sphere_mean(sigma: PiecewiseLinear, n: sp.Expr, c: sp.Expr, b: sp.Expr) -> sp.Expr:
    """g_n(c, b) = E sigma(b + c S), S the first coordinate of a uniform unit vector of R^n."""
    hinges = (
        change * (c * sphere_moment_delta(n, (t - b) / c) - t * sphere_tail(n, (t - b) / c))
        for change, t in sigma.hinges
    )
    rest = b * sphere_offset_slope(sigma, n, c, b)
    return sigma.offset + rest + sp.Add(*hinges) + total_slope_change(sigma) * c * sphere_moment(n, sp.S.Zero)


def sphere_scale_slope(sigma: PiecewiseLinear, n: sp.Expr, c: sp.Expr, b: sp.Expr) -> sp.Expr:
    """dg_n/dc = E[S sigma'(b + c S)]."""
    hinges = (slope * sphere_moment_delta(n, (t - b) / c) for slope, t in sigma.hinges)
    return sp.Add(*hinges) + total_slope_change(sigma) * sphere_moment(n, sp.S.Zero)


def sphere_offset_slope(sigma: PiecewiseLinear, n: sp.Expr, c: sp.Expr, b: sp.Expr) -> sp.Expr:
    """dg_n/db = E sigma'(b + c S)."""
    return sigma.left_slope + sp.Add(*(slope * sphere_tail(n, (t - b) / c) for slope, t in sigma.hinges))


def gaussian_pair(
    sigma: PiecewiseLinear, s: sp.Expr, s2: sp.Expr, rho: sp.Expr, b: sp.Expr, b2: sp.Expr
) -> sp.Expr:
    """E sigma(b + s X) sigma(b' + s' Y) for standard normals X, Y of correlation rho."""
    # sigma(b + s X) = level + beta s X + hinges: the line's value at b, and its slope
    beta = sigma.left_slope
    level, level2 = sigma.offset + beta * b, sigma.offset + beta * b2
    mean, mean2 = (q(*args) for args in (((s,), (s2,)) if b == b2 == 0 else ((s, b), (s2, b2))))
    lines = level * mean2 + level2 * mean - level * level2 + beta**2 * rho * s * s2
    mixed = sp.Add(*(c * (gauss_cdf((b - t) / s) + gauss_cdf((b2 - t) / s2)) for c, t in sigma.hinges))
    pairs = (
        c * c2 * hinge_pair(t - b, s, t2 - b2, s2, rho) for c, t in sigma.hinges for c2, t2 in sigma.hinges
    )
    return lines + beta * rho * s * s2 * mixed + sp.Add(*pairs)
