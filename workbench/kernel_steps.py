"""From the Hermite coefficients to U: two units at a fixed angle, then the average over directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mpmath as mp
import sympy as sp

from workbench.certificates import (
    SCALE_GRID,
    Certificate,
    certify,
    orbit_integral,
    pair_integral,
    sphere_integral,
    sphere_slope_integral,
)
from workbench.models import Model
from workbench.notation import c, corr, d, k, r, r2, s, s2, tau_minus, tau_plus
from workbench.special import a, g, mp_function, mp_sphere_density, q
from workbench.steps import Step, in_closed_form


def pair_steps(model: Model, closed: Mapping[str, sp.Expr]) -> tuple[Step, ...]:
    """Two units at a fixed angle: Mehler's series and the closed form."""
    sigma = model.activation
    pair = in_closed_form(closed["pair"], {q: closed["q"]})
    points = [
        (mp.mpf("0.4"), mp.mpf("1.7"), mp.mpf("0.6")),
        (mp.mpf("2.5"), mp.mpf("1.1"), mp.mpf("-0.9")),
        (mp.mpf("0.9"), mp.mpf("0.9"), mp.mpf("0.99")),
    ]
    certificate = certify(
        "pair kernel at a fixed angle",
        "E sigma(X) sigma(X'), nested quadrature",
        mp_function(pair, s, s2, corr),
        lambda u, v, rho: pair_integral(sigma, u, v, rho),
        # a pair costs the square of the number of knots
        points if len(sigma.knots) <= 6 else points[1:2],
    )
    X, X2 = sp.symbols("X X'")
    E, sigma_of = sp.Function("E"), sp.Function("sigma")
    product = E(sigma_of(X) * sigma_of(X2))
    return (
        Step(
            "Two units at a fixed angle",
            r"Mehler's formula; $X = \langle w, x \rangle$, $X' = \langle w', x \rangle$ of scales $s, s'$, "
            r"$\rho$ the cosine of their angle",
            sp.Eq(product, sp.Sum(corr**k * a(k, s) * a(k, s2), (k, 0, sp.oo)), evaluate=False),
        ),
        Step(
            "The same in closed form",
            r"hinge pairs through Owen's T: $E (X - t)_+ (X' - t')_+ = H(t, s, t', s', \rho)$",
            sp.Eq(product, closed["pair"], evaluate=False),
            (certificate,),
        ),
    )


def orbit_steps(model: Model, closed: Mapping[str, sp.Expr]) -> tuple[Step, ...]:
    """The average over directions, by the Hermite route and by the chi route, and U."""
    E, U, u, moment_of = (sp.Function(name) for name in ("E", "U", "u", "m_k"))
    R = sp.Symbol("R")
    moment, certificate = _spherical_moment()
    series = sp.Sum(moment_of(d) * a(k, s) * a(k, s2), (k, 0, sp.oo))
    mean, slope = _sphere_certificates(model, closed)
    return (
        Step(
            "Orbit average",
            r"$O(d)$ acts on directions: $\rho^k$ becomes $m_k(d) = E S^k$, $S$ a coordinate of a uniform unit vector",
            sp.Eq(moment_of(d), moment, evaluate=False),
            (certificate,),
            note=r"Even $k$; the odd moments vanish.  As $d \to \infty$ only $m_0 = 1$ stays: $u = q(s) q(s')$.",
        ),
        Step(
            "Finite-rank kernel, Hermite route",
            r"orbit average term by term; the tail over $k > K$ is at most "
            r"$m_{K+2}(d) \|\sigma\|_s \|\sigma\|_{s'}$, $\|\sigma\|_s^2 = E \sigma(sG)^2$",
            sp.Eq(u(s, s2), series, evaluate=False),
            (_series_certificate(model, closed, moment),),
        ),
        Step(
            "Mean over a sphere",
            r"hinge mean under the law of $S$: $E(cS - t)_+ = c M(d, t/c) - t P(S > t/c)$, $M(d, x) = E[S; S > x]$",
            sp.Eq(g(d, c), closed["g"], evaluate=False),
            (mean,),
        ),
        Step(
            "Its derivative in c",
            r"differentiation; $M' = -x p$, $p$ the density of $S$",
            sp.Eq(sp.Derivative(g(d, c), c), closed["g_prime"], evaluate=False),
            (slope,),
        ),
        Step(
            "Finite-rank kernel, chi route",
            r"given $R = |x|/\tau_y$ the two directions are independent; a quadrature over $R \sim \chi_d$",
            sp.Eq(u(s, s2), E(g(d, s * R) * g(d, s2 * R)), evaluate=False),
            note="The generated module takes the route with fewer features at the requested tolerance.",
        ),
        Step(
            "Interaction kernel",
            "average over the classes",
            sp.Eq(
                U(r, r2),
                u(tau_plus * r, tau_plus * r2) / 2 + u(tau_minus * r, tau_minus * r2) / 2,
                evaluate=False,
            ),
        ),
    )


def _spherical_moment() -> tuple[sp.Expr, Certificate]:
    """m_k(d) = E S^k for even k, in gamma functions."""
    moment = sp.gamma((k + 1) / 2) * sp.gamma(d / 2) / (sp.sqrt(sp.pi) * sp.gamma((d + k) / 2))
    value = mp_function(moment, k, d)

    def integral(order: Any, dimension: Any) -> Any:
        # S = sin(angle), with density proportional to cos^(d-2)
        norm = mp_sphere_density(int(dimension), mp.mpf(0))
        edges = [-mp.pi / 2, 0, mp.pi / 2]
        return mp.quad(lambda x: norm * mp.sin(x) ** int(order) * mp.cos(x) ** (int(dimension) - 2), edges)

    certificate = certify(
        "m_k(d), k = 2, 4, 10, d = 2, 3, 40",
        "E S^k, quadrature over the sphere",
        lambda order, dimension: value(int(order), int(dimension)),
        integral,
        [(mp.mpf(order), mp.mpf(dimension)) for order in (2, 4, 10) for dimension in (2, 3, 40)],
    )
    return moment, certificate


def _series_certificate(model: Model, closed: Mapping[str, sp.Expr], moment: sp.Expr) -> Certificate:
    """The orbit average of Mehler's series, summed to k = 60, at d = 40."""
    mean, coefficient, factor = (
        mp_function(closed["q"], s),
        mp_function(closed["a"], k, s),
        mp_function(moment, k, d),
    )

    def series(dimension: Any, u: Any, v: Any) -> Any:
        orders = range(2, 62, 2)
        return mean(u) * mean(v) + mp.fsum(
            factor(order, int(dimension)) * coefficient(order, u) * coefficient(order, v) for order in orders
        )

    return certify(
        "sum_k m_k(d) a_k a_k, d = 40, k <= 60",
        "E_R E_x over independent directions, nested quadrature",
        series,
        lambda dimension, u, v: orbit_integral(model.activation, int(dimension), u, v),
        [(mp.mpf(40), mp.mpf("1.44"), mp.mpf("2.34"))],
    )


def _sphere_certificates(model: Model, closed: Mapping[str, sp.Expr]) -> tuple[Certificate, Certificate]:
    """g_d(c) and g_d'(c) at d = 2, 3, 40."""
    grid = [(mp.mpf(dimension), scale) for dimension in (2, 3, 40) for scale in SCALE_GRID]
    value, slope = mp_function(closed["g"], d, c), mp_function(closed["g_prime"], d, c)
    return (
        certify(
            "g_d(c), d = 2, 3, 40",
            "E sigma(cS), quadrature over the sphere",
            lambda dimension, scale: value(int(dimension), scale),
            lambda dimension, scale: sphere_integral(model.activation, int(dimension), scale),
            grid,
        ),
        certify(
            "g_d'(c), d = 2, 3, 40",
            "E S sigma'(cS), quadrature over the sphere",
            lambda dimension, scale: slope(int(dimension), scale),
            lambda dimension, scale: sphere_slope_integral(model.activation, int(dimension), scale),
            grid,
        ),
    )
