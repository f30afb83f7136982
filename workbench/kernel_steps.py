"""From the Hermite coefficients to U: two units at fixed angles, then the average over rotations."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import sympy as sp

from workbench import notation
from workbench.activations import PiecewiseLinear
from workbench.certificates import Certificate, Oracle, certify
from workbench.closed_forms import ClosedForms
from workbench.evaluators import Evaluator
from workbench.feature_steps import feature_step
from workbench.models import Model
from workbench.notation import b, b2, c, corr, k, n, s, s2
from workbench.potential_steps import offsets, scale_arguments
from workbench.special import a, g, mp_function, mp_sphere_density
from workbench.steps import Step

R, S = sp.symbols("R S")
E = sp.Function("E")
moment_of = sp.Function("m_k")


def pair_steps(model: Model, closed: ClosedForms, values: Evaluator) -> tuple[Step, ...]:
    """Two units at fixed angles: the correlation they see, Mehler's series and the closed form."""
    X, X2 = sp.symbols("X X'")
    sigma = sp.Function("sigma")
    product = E(sigma(X) * sigma(X2))
    first, second = scale_arguments(model), (s2, b2) if model.has_offset else (s2,)
    by = (
        r"hinge pairs through Owen's T: $H(t, s, t', s', \varrho) = E (s X - t)_+ (s' Y - t')_+$"
        if isinstance(model.activation, PiecewiseLinear)
        else "; ".join(rule.name for rule in closed.rules)
    )
    mehler = Step(
        "Two units at fixed angles",
        rf"Mehler's formula; $X, X'$ Gaussian with deviations $s, s'$ and the correlation $\varrho = {_correlation(model)}$",
        sp.Eq(product, sp.Sum(corr**k * a(k, *first) * a(k, *second), (k, 0, sp.oo)), evaluate=False),
        (_pair_certificate(model, values),) if closed.pair is None else (),
        note=r"$c_i$ is the cosine of the angle of $w$ and $w'$ in block $i$, $p_i$ the share $\tau_i r_i/s$ of the block."
        + (
            ""
            if closed.pair is not None
            else " No closed form: the module takes a nested quadrature at a fixed angle."
        ),
    )
    if closed.pair is None:
        return (mehler,)
    closed_form = Step(
        "The same in closed form",
        by,
        sp.Eq(product, closed.pair, evaluate=False),
        (_pair_certificate(model, values),),
    )
    return mehler, closed_form


def _correlation(model: Model) -> str:
    terms = [r"p_i p_i' c_i"] if len(model.blocks) == 1 else [r"\sum_i p_i p_i' c_i"]
    if len(model.blocks) == 1 and not model.shifted:
        return "c"
    return " + ".join([r"p_m p_m'"] * model.shifted + terms)


def _two_offsets(model: Model) -> tuple[Any, Any]:
    """Of two units; not 0 where there is a choice, where a formula may be right by accident."""
    first, second = offsets(model)[1:] if model.has_offset else 2 * offsets(model)
    return first, second


def _pair_certificate(model: Model, values: Evaluator) -> Certificate:
    """The pair kernel against a nested quadrature at a wide angle; the tests go over all scales and angles."""
    oracle = Oracle(model.activation)
    shift, shift2 = _two_offsets(model)
    second = mp.mpf("1.7" if isinstance(model.activation, PiecewiseLinear) else "0.6")  # bends cost nodes
    point = (mp.mpf("0.4"), second, mp.mpf("-0.6"), shift, shift2)
    return certify(
        "pair kernel at fixed angles",
        "E sigma(X) sigma(X'), nested quadrature",
        values.pair,
        oracle.pair,
        [point],
    )


def orbit_steps(model: Model, closed: ClosedForms, values: Evaluator) -> tuple[Step, ...]:
    """The average over rotations by the Hermite route and by the chi route; the features and U."""
    moment, certificate = _spherical_moment()
    return (
        Step(
            "Orbit average",
            r"a block of dimension $n$ is rotated by $O(n)$: $c^k$ becomes $m_k(n) = E S^k$, "
            r"$S$ a coordinate of a uniform unit vector",
            sp.Eq(moment_of(n), moment, evaluate=False),
            (certificate,),
            note=r"Even $k$; the odd moments vanish.  As $n \to \infty$ only $m_0 = 1$ stays.",
        ),
        _series_step(model, values, moment),
        feature_step(model, values),
        *_sphere_steps(model, closed),
        _chi_step(model),
        _kernel_step(model),
    )


def _series_step(model: Model, values: Evaluator, moment: sp.Expr) -> Step:
    first, second = scale_arguments(model), (s2, b2) if model.has_offset else (s2,)
    u, m = sp.Function("u"), moment_of
    if len(model.blocks) == 1:
        series = sp.Sum(m(n) * a(k, *first) * a(k, *second), (k, 0, sp.oo))
        certificates = (_series_certificate(model, values, moment),)
        left_out = r"$m_{K+2}(n) \|\sigma\| \|\sigma'\|$"
    else:
        j = sp.Symbol("j", integer=True, nonnegative=True)
        p1, p2, q1, q2, n1, n2 = sp.symbols("p_1 p_2 p'_1 p'_2 n_1 n_2", positive=True)
        m_j, m_rest = sp.Function("m_j"), sp.Function("m_{k-j}")
        inner = sp.binomial(k, j) * m_j(n1) * m_rest(n2) * (p1 * q1) ** j * (p2 * q2) ** (k - j)
        series = sp.Sum(a(k, *first) * a(k, *second) * sp.Sum(inner, (j, 0, k)), (k, 0, sp.oo))
        certificates = (_binomial_certificate(moment),)
        left_out = r"$\max m_j(n_1) m_{k-j}(n_2) \|\sigma\| \|\sigma'\|$ over the terms left out"
    given = r" given the data's coordinate along $\mu$" if model.shifted else ""
    return Step(
        "Finite-rank kernel, Hermite route",
        rf"orbit average term by term{given}; the rest is at most {left_out}, $\|\sigma\|^2 = E \sigma(b + s G)^2$",
        sp.Eq(u(*first, *second), series, evaluate=False),
        certificates,
    )


def _spherical_moment() -> tuple[sp.Expr, Certificate]:
    """m_k(n) = E S^k for even k, in gamma functions."""
    moment = sp.gamma((k + 1) / 2) * sp.gamma(n / 2) / (sp.sqrt(sp.pi) * sp.gamma((n + k) / 2))
    value = mp_function(moment, k, n)

    def integral(order: Any, dimension: Any) -> Any:
        if dimension == 1:
            return mp.mpf(1)
        # S = sin(angle), with density proportional to cos^(n-2)
        norm = mp_sphere_density(int(dimension), mp.mpf(0))
        edges = [-mp.pi / 2, 0, mp.pi / 2]
        return mp.quad(lambda x: norm * mp.sin(x) ** int(order) * mp.cos(x) ** (int(dimension) - 2), edges)

    certificate = certify(
        "m_k(n), k = 2, 4, 10, n = 1, 2, 3, 40",
        "E S^k, quadrature over the sphere",
        lambda order, dimension: value(int(order), int(dimension)),
        integral,
        [(mp.mpf(order), mp.mpf(dimension)) for order in (2, 4, 10) for dimension in (1, 2, 3, 40)],
    )
    return moment, certificate


def _series_certificate(model: Model, values: Evaluator, moment: sp.Expr) -> Certificate:
    """The orbit average of Mehler's series, summed to k = 60, at n = 40."""
    oracle = Oracle(model.activation)
    factor = mp_function(moment, k, n)
    shift, shift2 = _two_offsets(model)
    # an erf costs ten times a hinge: two units of one scale share their integrals
    second = mp.mpf("2.34" if isinstance(model.activation, PiecewiseLinear) else "1.44")
    point = (mp.mpf(40), mp.mpf("1.44"), second, shift, shift2)

    def series(dimension: Any, u: Any, v: Any, at: Any, at2: Any) -> Any:
        return mp.fsum(
            factor(order, int(dimension)) * values.a(order, u, at) * values.a(order, v, at2)
            for order in range(0, 62, 2)
        )

    return certify(
        "sum_k m_k(n) a_k a_k, n = 40, k <= 60",
        "E_R E_x over independent directions, nested quadrature",
        series,
        lambda dimension, u, v, at, at2: oracle.orbit(int(dimension), u, v, at, at2),
        [point],
    )


def _binomial_certificate(moment: sp.Expr) -> Certificate:
    """E (x c_1 + y c_2)^k for independent cosines c_i of two blocks."""
    factor = mp_function(moment, k, n)

    def formula(order: Any, n1: Any, n2: Any, x: Any, y: Any) -> Any:
        powers = range(0, int(order) + 1, 2)
        return mp.fsum(
            mp.binomial(order, i)
            * factor(i, int(n1))
            * factor(int(order) - i, int(n2))
            * x**i
            * y ** (order - i)
            for i in powers
        )

    def integral(order: Any, n1: Any, n2: Any, x: Any, y: Any) -> Any:
        def average(dimension: Any, f: Any) -> Any:
            norm = mp_sphere_density(int(dimension), mp.mpf(0))
            density = lambda u: norm * mp.cos(u) ** (int(dimension) - 2)  # noqa: E731
            return mp.quad(lambda u: density(u) * f(mp.sin(u)), [-mp.pi / 2, mp.pi / 2], maxdegree=4)

        return average(n1, lambda c1: average(n2, lambda c2: (x * c1 + y * c2) ** int(order)))

    return certify(
        "E (x c_1 + y c_2)^k, k = 6",
        "quadrature over both spheres",
        formula,
        integral,
        [(mp.mpf(order), mp.mpf(3), mp.mpf(5), mp.mpf("0.6"), mp.mpf("-0.3")) for order in (6,)],
    )


def _sphere_steps(model: Model, closed: ClosedForms) -> tuple[Step, ...]:
    """The mean over a sphere, where it has a closed form."""
    arguments = (c, b) if model.sphere_has_offset else (c,)
    if closed.g is None:
        sigma = sp.Function("sigma")
        inside = (b if model.sphere_has_offset else 0) + c * S
        return (
            Step(
                "Mean over a sphere",
                r"$S$ a coordinate of a uniform unit vector of $R^n$; quadrature in the generated module",
                sp.Eq(g(n, *arguments), E(sigma(inside)), evaluate=False),
            ),
        )
    assert closed.g_scale is not None and closed.g_offset is not None
    oracle = Oracle(model.activation)
    grid = [
        (mp.mpf(dimension), scale, offset)
        for dimension in (1, 2, 3, 40)
        for scale in oracle.scales()[::2]
        for offset in offsets(model, on_sphere=True)
        if oracle.has_slope_on_sphere(dimension, scale, offset)
    ]
    functions = [mp_function(e, n, c, b) for e in (closed.g, closed.g_scale, closed.g_offset)]
    certificate = certify(
        "g_n, its derivatives, n = 1, 2, 3, 40",
        "E sigma(b + cS), E S sigma', E sigma', quadrature over the sphere",
        lambda dimension, scale, offset: [f(int(dimension), scale, offset) for f in functions],
        lambda dimension, scale, offset: [
            oracle.sphere(int(dimension), scale, offset),
            oracle.sphere(int(dimension), scale, offset, slope=True, times_S=True),
            oracle.sphere(int(dimension), scale, offset, slope=True),
        ],
        grid,
    )
    pair = sp.Tuple(closed.g_scale, closed.g_offset) if model.sphere_has_offset else closed.g_scale
    names = [sp.Derivative(g(n, *arguments), x) for x in arguments]
    return (
        Step(
            "Mean over a sphere",
            r"hinge mean under the law of $S$: $E(cS - T)_+ = c M(n, T/c) - T P(S > T/c)$, $M(n, x) = E[S; S > x]$",
            sp.Eq(g(n, *arguments), closed.g, evaluate=False),
            (certificate,),
        ),
        Step(
            "Its derivatives",
            r"differentiation; $M' = -x p$, $p$ the density of $S$",
            sp.Eq(sp.Tuple(*names) if model.sphere_has_offset else names[0], pair, evaluate=False),
        ),
    )


def _chi_step(model: Model) -> Step:
    u = sp.Function("u")
    R1, R2, p1, p2 = sp.symbols("R_1 R_2 r_1 r_2", positive=True)
    given = r"; all given the data's coordinate along $\mu$" if model.shifted else ""
    if len(model.blocks) == 1:
        offsets_of = (b, b2) if model.has_offset else (None, None)
        left, right = (
            g(n, x * R, *((at,) if at is not None else ())) for x, at in zip((s, s2), offsets_of, strict=True)
        )
        return Step(
            "Finite-rank kernel, chi route",
            rf"given $R = |x|/\tau_y$ the two directions are independent; a quadrature over $R \sim \chi_n${given}",
            sp.Eq(u(s, s2), E(left * right), evaluate=False),
            note="The generated module takes the route with fewer features at the requested tolerance.",
        )
    G = sp.Function("G")
    tau = sp.Symbol("tau_y", positive=True)
    rest = (b,) if model.has_offset else ()
    rest2 = (b2,) if model.has_offset else ()
    q1, q2 = sp.symbols("r'_1 r'_2", positive=True)
    return Step(
        "Finite-rank kernel, chi route",
        r"given the norms $R_i \sim \chi_{n_i}$ of the blocks of $x$ the directions are independent; "
        rf"$G(c_1, c_2) = E \sigma(b + c_1 S_1 + c_2 S_2)$, a quadrature over $S_1$ of the mean over a sphere{given}",
        sp.Eq(
            u(p1, p2, q1, q2),
            E(G(tau * p1 * R1, p2 * R2, *rest) * G(tau * q1 * R1, q2 * R2, *rest2)),
            evaluate=False,
        ),
        note="The generated module takes this route where the series does not reach the requested tolerance.",
    )


def _kernel_step(model: Model) -> Step:
    U, u_plus, u_minus = sp.Function("U"), sp.Function("u_+"), sp.Function("u_-")
    theta, theta2 = sp.symbols("theta thetaprime")
    output = notation.a * notation.a2 if model.affine else sp.S.One
    return Step(
        "Interaction kernel",
        "average over the classes",
        sp.Eq(
            U(theta, theta2),
            output * (u_plus(theta, theta2) / 2 + u_minus(theta, theta2) / 2),
            evaluate=False,
        ),
        note=rf"$\theta = ({', '.join(sp.latex(x) for x in model.symbols)})$; "
        r"$u_\pm$ is the kernel above with the deviations of the class.",
    )
