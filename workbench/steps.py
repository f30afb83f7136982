"""The steps of the derivation of the isotropic model, in reading order, each with rule and certificates.

Prose is written with LaTeX between dollar signs; ``render`` sets it as text, LaTeX or HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import sympy as sp

from workbench import gaussian, reduction
from workbench.certificates import (
    DIGITS,
    SCALE_GRID,
    Certificate,
    certify,
    gaussian_integral,
    gaussian_slope_integral,
    orbit_integral,
    pair_integral,
    sphere_integral,
    sphere_slope_integral,
)
from workbench.models import Model
from workbench.notation import c, corr, d, k, r, r2, s, s2, tau_minus, tau_plus
from workbench.special import a, a_prime, g, mp_function, mp_sphere_density, q, q_prime


@dataclass(frozen=True)
class Step:
    """One step: what is claimed, by which rule, and what certifies it."""

    title: str
    rule: str
    formula: sp.Basic
    certificates: tuple[Certificate, ...] = ()
    note: str = ""


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
    potential, force = (mp_function(_in_closed_form(expr, closed_q).subs(tau), r) for expr in (V, grad_V))

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


def _in_closed_form(expr: sp.Expr, closed: Mapping[Any, sp.Expr]) -> sp.Expr:
    """``expr`` with the model's functions of s replaced by their closed forms."""
    for function, form in closed.items():
        expr = expr.replace(function, lambda argument, form=form: form.subs(s, argument))
    return expr


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


def pair_steps(model: Model, closed: Mapping[str, sp.Expr]) -> tuple[Step, ...]:
    """Two units at a fixed angle: Mehler's series and the closed form."""
    sigma = model.activation
    pair = _in_closed_form(closed["pair"], {q: closed["q"]})
    certificate = certify(
        "pair kernel at a fixed angle",
        "E sigma(X) sigma(X'), nested quadrature",
        mp_function(pair, s, s2, corr),
        lambda u, v, rho: pair_integral(sigma, u, v, rho),
        [
            (mp.mpf("0.4"), mp.mpf("1.7"), mp.mpf("0.6")),
            (mp.mpf("2.5"), mp.mpf("1.1"), mp.mpf("-0.9")),
            (mp.mpf("0.9"), mp.mpf("0.9"), mp.mpf("0.99")),
        ],
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


def functional_steps() -> tuple[Step, ...]:
    """Psi and the risk through the moments of the features."""
    kappa, K = sp.symbols("kappa K", integer=True, positive=True)
    w, m = sp.IndexedBase("w"), sp.IndexedBase("m")
    phi = sp.Function("phi_kappa")
    rho = sp.Symbol("rho")
    V, Psi, R = sp.Function("V"), sp.Function("Psi"), sp.Function("R")
    rho_of = sp.Function("rho")
    return (
        Step(
            "Moments",
            r"finite rank: the measure enters through $K$ numbers",
            sp.Eq(m[kappa], sp.Integral(phi(r) * rho_of(r), (r, 0, sp.oo)), evaluate=False),
        ),
        Step(
            "First variation",
            r"$\Psi = V + \int U d\rho$, half the variation of $R$ [MMN18]",
            sp.Eq(Psi(r, rho), V(r) + sp.Sum(w[kappa] * m[kappa] * phi(r), (kappa, 1, K)), evaluate=False),
        ),
        Step(
            "Risk",
            r"$R = E y^2 + 2 \int V d\rho + \int \int U d\rho d\rho$ with $E y^2 = 1$ [MMN18]",
            sp.Eq(
                R(rho),
                1
                + 2 * sp.Integral(V(r) * rho_of(r), (r, 0, sp.oo))
                + sp.Sum(w[kappa] * m[kappa] ** 2, (kappa, 1, K)),
                evaluate=False,
            ),
        ),
    )


def equation_steps() -> tuple[Step, ...]:
    """The reduced equation of the radius with ridge and noise."""
    reduction.check_radial_laplacian()
    reduction.check_reduced_equation()
    reduction.check_gibbs_law()
    exact = lambda claim, oracle: Certificate(claim, oracle, 0.0, 0.0, 1)  # noqa: E731
    f = sp.Function("f")(reduction.r)
    equation = reduction.reduced_right_hand_side().subs(reduction.n, d)
    return (
        Step(
            "Generator of the radius",
            r"Laplacian of $f(|w|)$; $\psi(r) = \Psi(r; \rho_t)$, ridge $\lambda r^2/2$",
            sp.Eq(sp.Symbol("Lf"), reduction.generator(f).subs(reduction.n, d), evaluate=False),
            (exact("Laplacian of f(|w|), n = 2, 3, 5", "Cartesian derivatives of |w|^m, symbols"),),
        ),
        Step(
            "Reduced distributional dynamics",
            r"adjoint of the generator; $\rho$ is a density with respect to $dr$, no flux at $r = 0$",
            sp.Eq(sp.Derivative(reduction.rho, reduction.t), equation, evaluate=False),
            (exact("adjoint of the generator", "f rhs - rho L f is a derivative, symbols"),),
            note=r"Noise $\sqrt{4 s_k/\beta} g$ in the update of step size $s_k$; $\beta = \infty$ leaves the transport [MMN18].",
        ),
        Step(
            "Effective potential",
            r"entropy of the orbit: $e^{-\beta W}$ is stationary for a frozen $\psi$",
            sp.Eq(sp.Symbol("W"), reduction.effective_potential().subs(reduction.n, d), evaluate=False),
            (exact("Gibbs law of the radius", "right-hand side vanishes, symbols"),),
        ),
    )
