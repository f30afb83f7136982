"""From the activation to V: its hinges, its Gaussian mean q, its Hermite coefficients, their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mpmath as mp
import sympy as sp

from workbench import gaussian
from workbench.certificates import DIGITS, SCALE_GRID, certify, gaussian_integral, gaussian_slope_integral
from workbench.models import Model
from workbench.notation import c, corr, d, k, r, s, s2, tau_minus, tau_plus
from workbench.special import a, a_prime, mp_function, q, q_prime
from workbench.steps import Step, in_closed_form


def definitions(model: Model) -> dict[str, sp.Expr]:
    """Closed forms by name: q, a_1, a_k, g_d and the pair kernel by rule, the primes by differentiation."""
    sigma = model.activation
    closed = {
        "q": gaussian.gaussian_mean(sigma, s),
        "a_one": gaussian.hermite_one(sigma, s),
        "a": gaussian.hermite_general(sigma, k, s),
        "g": gaussian.sphere_mean(sigma, d, c),
        "pair": gaussian.gaussian_pair(sigma, s, s2, corr),
    }
    closed["q_prime"] = sp.diff(closed["q"], s)
    closed["a_prime"] = sp.diff(closed["a"], s)
    closed["g_prime"] = sp.diff(closed["g"], c)
    return closed


def activation_steps(model: Model) -> tuple[Step, ...]:
    """The activation, and the same as a line plus hinges."""
    sigma = model.activation
    z = sp.Symbol("z", real=True)
    form = gaussian.hinge_form(sigma, z)
    value = sp.lambdify(z, form, modules=["mpmath"])
    grid = [(mp.mpf(i) / 7,) for i in range(-70, 71)] + [(mp.mpf(t.p) / t.q,) for t in sigma.knots]
    certificate = certify("sigma(z) as line plus hinges", "pieces looked up", value, sigma.mp_value, grid)
    return (
        Step(
            "Activation",
            "statement",
            sp.Eq(sp.Function("sigma")(z), sigma.expression(z), evaluate=False),
            note=(
                r"Classes $y = \pm 1$ with probability 1/2 each, $x \mid y \sim N(0, \tau_y^2 I_d)$; "
                r"units $\sigma(\langle w, x \rangle)$."
            ),
        ),
        Step(
            "Line plus hinges",
            "piecewise-linear decomposition",
            sp.Eq(sp.Function("sigma")(z), form, evaluate=False),
            (certificate,),
        ),
    )


def projection_steps(
    model: Model, closed: Mapping[str, sp.Expr], V: sp.Expr, grad_V: sp.Expr
) -> tuple[Step, ...]:
    """The mean of the activation, V, and their derivatives."""
    sigma = model.activation
    scales = [(scale,) for scale in SCALE_GRID]
    one = lambda z: mp.mpf(1)  # noqa: E731
    mean = certify(
        "q(s)",
        "E sigma(sG), quadrature",
        mp_function(closed["q"], s),
        lambda scale: gaussian_integral(sigma, scale, one),
        scales,
    )
    slope = certify(
        "q'(s)",
        "E G sigma'(sG), quadrature",
        mp_function(closed["q_prime"], s),
        lambda scale: gaussian_slope_integral(sigma, scale, one),
        scales,
    )
    tau = {tau_plus: sp.Rational(9, 5), tau_minus: sp.Rational(1, 5)}
    closed_q = {q: closed["q"], q_prime: closed["q_prime"]}
    potential, force = (mp_function(in_closed_form(expr, closed_q).subs(tau), r) for expr in (V, grad_V))

    def class_average(integral: Callable[..., Any], power: int) -> Callable[[Any], Any]:
        wide, narrow = mp.mpf(9) / 5, mp.mpf(1) / 5
        return lambda radius: (
            (
                narrow**power * integral(sigma, narrow * radius, one)
                - wide**power * integral(sigma, wide * radius, one)
            )
            / 2
        )

    with mp.workdps(DIGITS):
        potential_certificate = certify(
            "V(r), tau = 1.8, 0.2",
            "-E y sigma(<w, x>), quadrature",
            potential,
            class_average(gaussian_integral, 0),
            scales,
        )
        force_certificate = certify(
            "V'(r), tau = 1.8, 0.2",
            "-E y <w, x>/r sigma'(<w, x>), quadrature",
            force,
            class_average(gaussian_slope_integral, 1),
            scales,
        )
    G = sp.Symbol("G")
    return (
        Step(
            "Projection of the data",
            r"rotation invariance of the data: $\langle w, x \rangle \mid y \sim N(0, s^2)$, $s = \tau_y r$, $r = |w|$",
            sp.Eq(q(s), sp.Function("E")(sp.Function("sigma")(s * G)), evaluate=False),
            note=r"$G \sim N(0, 1)$.  Averaged over its direction, $w$ enters $V$ and $U$ through $r$ alone.",
        ),
        Step(
            "Gaussian mean of the activation",
            r"hinge mean: $E(sG - t)_+ = s \varphi(t/s) - t \Phi(-t/s)$, with $\Delta\varphi = \varphi - \varphi(0)$",
            sp.Eq(q(s), closed["q"], evaluate=False),
            (mean,),
        ),
        Step(
            "Its derivative",
            r"differentiation; $\varphi' = -x \varphi$, $\Phi' = \varphi$",
            sp.Eq(sp.Derivative(q(s), s), closed["q_prime"], evaluate=False),
            (slope,),
        ),
        Step(
            "Potential",
            "average over the classes",
            sp.Eq(sp.Function("V")(r), V, evaluate=False),
            (potential_certificate,),
        ),
        Step(
            "Its gradient",
            "differentiation",
            sp.Eq(sp.Derivative(sp.Function("V")(r), r), grad_V, evaluate=False),
            (force_certificate,),
        ),
    )


def coefficient_steps(model: Model, closed: Mapping[str, sp.Expr]) -> tuple[Step, ...]:
    """The Hermite coefficients a_k(s) and their derivatives."""
    sigma = model.activation
    orders = [(mp.mpf(order), scale) for order in (2, 3, 8) for scale in SCALE_GRID]
    value, slope = mp_function(closed["a"], k, s), mp_function(closed["a_prime"], k, s)
    coefficients = certify(
        "a_k(s), k = 2, 3, 8",
        "E sigma(sG) h_k(G), quadrature",
        lambda order, scale: value(int(order), scale),
        lambda order, scale: gaussian_integral(sigma, scale, _normalised_hermite(int(order))),
        orders,
    )
    first = certify(
        "a_1(s)",
        "E sigma(sG) G, quadrature",
        mp_function(closed["a_one"], s),
        lambda scale: gaussian_integral(sigma, scale, lambda z: z),
        [(scale,) for scale in SCALE_GRID],
    )
    slopes = certify(
        "a_k'(s), k = 2, 3, 8",
        "E G sigma'(sG) h_k(G), quadrature",
        lambda order, scale: slope(int(order), scale),
        lambda order, scale: gaussian_slope_integral(sigma, scale, _normalised_hermite(int(order))),
        orders,
    )
    return (
        Step(
            "Hermite coefficients",
            r"Stein's identity twice on each hinge; $k \ge 2$, and $a_0 = q$; $h_k = He_k/\sqrt{k!}$",
            sp.Eq(a(k, s), closed["a"], evaluate=False),
            (coefficients,),
        ),
        Step(
            "First Hermite coefficient",
            "Stein's identity",
            sp.Eq(a(1, s), closed["a_one"], evaluate=False),
            (first,),
        ),
        Step(
            "Their derivatives",
            r"differentiation; $(\varphi h_k)' = -\sqrt{k+1} \varphi h_{k+1}$",
            sp.Eq(a_prime(k, s), closed["a_prime"], evaluate=False),
            (slopes,),
        ),
    )


def _normalised_hermite(order: int) -> Callable[[Any], Any]:
    """h_k(z) = He_k(z)/sqrt(k!) at mpmath's precision."""
    norm = mp.mpf(2) ** (-mp.mpf(order) / 2) / mp.sqrt(mp.factorial(order))
    return lambda z: norm * mp.hermite(order, z / mp.sqrt(2))
