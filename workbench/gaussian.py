"""Expectations of a piecewise-linear activation under Gaussian and spherical laws, in closed form.

Every continuous piecewise-linear activation is a line plus hinges,

    sigma(t) = alpha + beta t + sum_j c_j (t - t_j)_+,

so each expectation is one rule for the hinge, applied term by term.  With A = t/s:

    E (s G - t)_+          = s phi(A) - t Phi(-A)
    E (s G - t)_+ h_1(G)   = s Phi(-A)
    E (s G - t)_+ h_k(G)   = s phi(A) h_{k-2}(A) / sqrt(k (k-1)),   k >= 2   (Stein's identity, twice)
    E (c S - t)_+          = c M_d(t/c) - t P(S > t/c),             S uniform on the sphere, one coordinate

The part of phi, phi h_k, M_d at A = 0 is split off ("difference at 0"): its coefficient sum_j c_j is
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


def gaussian_mean(sigma: PiecewiseLinear, s: sp.Expr) -> sp.Expr:
    """q(s) = E sigma(s G)."""
    hinges = (c * (s * gauss_pdf_delta(t / s) - t * gauss_cdf(-t / s)) for c, t in sigma.hinges)
    return sigma.offset + sp.Add(*hinges) + total_slope_change(sigma) * s / sp.sqrt(2 * sp.pi)


def hermite_one(sigma: PiecewiseLinear, s: sp.Expr) -> sp.Expr:
    """a_1(s) = E[sigma(s G) G]."""
    halves = sigma.left_slope + total_slope_change(sigma) / 2
    return s * (halves - sp.Add(*(c * gauss_cdf_delta(t / s) for c, t in sigma.hinges)))


def hermite_general(sigma: PiecewiseLinear, k: sp.Expr, s: sp.Expr) -> sp.Expr:
    """a_k(s) = E[sigma(s G) h_k(G)] for k >= 2."""
    # s stays inside the sum: differentiated there, its inverse square from (t/s)' cancels at once
    total = sp.Add(*(c * s * hermite_function_delta(k - 2, t / s) for c, t in sigma.hinges))
    total += total_slope_change(sigma) * s * hermite_function(k - 2, sp.Integer(0))
    return total / sp.sqrt(k * (k - 1))


def sphere_mean(sigma: PiecewiseLinear, d: sp.Expr, c: sp.Expr) -> sp.Expr:
    """g_d(c) = E sigma(c S), S the first coordinate of a uniform unit vector of R^d."""
    hinges = (
        slope * (c * sphere_moment_delta(d, t / c) - t * sphere_tail(d, t / c)) for slope, t in sigma.hinges
    )
    return sigma.offset + sp.Add(*hinges) + total_slope_change(sigma) * c * sphere_moment(d, sp.Integer(0))


def gaussian_pair(sigma: PiecewiseLinear, s: sp.Expr, s2: sp.Expr, rho: sp.Expr) -> sp.Expr:
    """E sigma(s X) sigma(s2 Y) for standard normals X, Y of correlation rho."""
    alpha, beta = sigma.offset, sigma.left_slope
    lines = alpha * q(s) + alpha * q(s2) - alpha**2 + beta**2 * rho * s * s2
    mixed = sp.Add(*(c * (gauss_cdf(-t / s) + gauss_cdf(-t / s2)) for c, t in sigma.hinges))
    pairs = (c * c2 * hinge_pair(t, s, t2, s2, rho) for c, t in sigma.hinges for c2, t2 in sigma.hinges)
    return lines + beta * rho * s * s2 * mixed + sp.Add(*pairs)
