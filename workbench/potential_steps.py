"""From the activation to V: what a unit sees of a class, the means of sigma and sigma', their derivatives."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import sympy as sp

from workbench import gaussian, notation
from workbench.activations import PiecewiseLinear
from workbench.certificates import SCALE_GRID, Oracle, certify, normalised_hermite
from workbench.closed_forms import ClosedForms
from workbench.evaluators import Evaluator
from workbench.models import Model
from workbench.notation import b, k, s
from workbench.special import a, alpha, q
from workbench.steps import Step

ORDERS = (1, 2, 3, 8)
TAUS = {+1: sp.Rational(7, 4), -1: sp.Rational(1, 4)}  # exact in binary, so that code sees the same numbers


def offsets(model: Model, on_sphere: bool = False) -> tuple[Any, ...]:
    """The offsets of the certificates: 0 alone where the model has none (or, ``on_sphere``, where g_n has none)."""
    some = model.sphere_has_offset if on_sphere else model.has_offset
    return tuple(mp.mpf(x) for x in ((0, "0.75", -2) if some else (0,)))


def scale_arguments(model: Model) -> tuple[sp.Expr, ...]:
    """(s, b), or (s,) in a model without offsets: how its functions are written."""
    return (s, b) if model.has_offset else (s,)


def activation_steps(model: Model) -> tuple[Step, ...]:
    """The model, the activation, and its decomposition."""
    sigma = model.activation
    z = sp.Symbol("z", real=True)
    statement = Step(
        "Activation",
        "statement",
        sp.Eq(sp.Function("sigma")(z), sigma.expression(z), evaluate=False),
        note=f"{_data_in_words(model)}; {_unit_in_words(model)}.",
    )
    if not isinstance(sigma, PiecewiseLinear):
        return (statement,)
    form = gaussian.hinge_form(sigma, z)
    value = sp.lambdify(z, form, modules=["mpmath"])
    grid = [(mp.mpf(i) / 7,) for i in range(-70, 71)] + [(mp.mpf(t.p) / t.q,) for t in sigma.knots]
    certificate = certify("sigma(z) as line plus hinges", "pieces looked up", value, sigma.mp_value, grid)
    return (
        statement,
        Step(
            "Line plus hinges",
            "piecewise-linear decomposition",
            sp.Eq(sp.Function("sigma")(z), form, evaluate=False),
            (certificate,),
        ),
    )


def _data_in_words(model: Model) -> str:
    mean = r"y \mu" if model.shifted else "0"
    covariance = (
        r"\tau_y^2 I_d" if model.data == "isotropic" else r"\mathrm{diag}(\tau_y^2 I_{s_0}, I_{d - s_0})"
    )
    where = (
        r", $\mu$ among the first $s_0$ coordinates" if model.shifted and model.data == "anisotropic" else ""
    )
    return rf"Classes $y = \pm 1$ with probability 1/2 each, $x \mid y \sim N({mean}, {covariance})${where}"


def _unit_in_words(model: Model) -> str:
    unit = r"a \sigma(\langle w, x \rangle + b)" if model.affine else r"\sigma(\langle w, x \rangle)"
    return rf"units $\sigma_* = {unit}$"


def projection_steps(model: Model) -> tuple[Step, ...]:
    """What a unit sees: a Gaussian with this mean and deviation."""
    y, X = sp.Symbol("y"), sp.Symbol("X")
    name = r"\langle w, x \rangle + b" if model.affine else r"\langle w, x \rangle"
    radii = " and ".join(
        rf"${sp.latex(block.radius)}$, the norm of $w$ in the block of dimension ${sp.latex(block.dimension)}$"
        for block in model.blocks
    )
    along = r"; $m = \langle w, \mu \rangle / |\mu|$" if model.shifted else ""
    tau = sp.Symbol("tau_y", positive=True)
    scale = model.scale(+1).xreplace({notation.tau_plus: tau})
    mean = model.mean(+1).xreplace({notation.mu: y * notation.mu}) if model.shifted else model.mean(+1)
    return (
        Step(
            "Projection of the data",
            rf"rotation invariance in each block: $X = {name}$ is Gaussian given $y$",
            sp.Eq(sp.Function("N")(X), sp.Tuple(mean, scale), evaluate=False),
            note=rf"The pair is mean and standard deviation, in {radii}{along}. "
            r"Averaged over rotations, $w$ enters $V$ and $U$ through these alone.",
        ),
    )


def mean_steps(model: Model, closed: ClosedForms, values: Evaluator) -> tuple[Step, ...]:
    """q and alpha_k, the coefficients a_k, and their derivatives."""
    oracle = Oracle(model.activation)
    arguments, numeric = scale_arguments(model), offsets(model)
    points = [(scale, offset) for scale in oracle.scales() for offset in numeric]
    one = lambda z: mp.mpf(1)  # noqa: E731
    E, sigma, slope = sp.Function("E"), sp.Function("sigma"), sp.Function("sigma'")
    G = sp.Symbol("G")
    inside = (b if model.has_offset else 0) + s * G
    by = "" if closed.q is not None else "; no closed form: quadrature in the generated module"
    rules = "; ".join(rule.name for rule in closed.rules) or "hinge mean"
    mean = Step(
        "Gaussian mean of the activation",
        rf"{rules}{by}; $G \sim N(0, 1)$",
        sp.Eq(q(*arguments), E(sigma(inside)) if closed.q is None else closed.q, evaluate=False),
        (
            certify(
                f"q({_names(arguments)})",
                "E sigma(b + s G), quadrature",
                values.q,
                lambda scale, offset: oracle.gaussian(scale, offset, False, one),
                points,
            ),
        ),
        note=_delta_note(model),
    )
    first = len(closed.low or ())
    orders = (*ORDERS, first) if first > ORDERS[-1] else ORDERS  # the general formula among them
    ordered = [(mp.mpf(order), *point) for order in (0, *orders) for point in points]
    in_words = ", ".join(map(str, orders))
    h_k = sp.Function("h_k")(G)
    formula = E(slope(inside) * h_k) if closed.general is None else closed.general
    slopes = Step(
        "Hermite coefficients of the slope",
        rf"{_slope_rule(model, closed)}; $h_k = He_k/\sqrt{{k!}}$" + (rf", $k \ge {first}$" if first else ""),
        sp.Eq(alpha(k, *arguments), formula, evaluate=False),
        (
            certify(
                f"alpha_k({_names(arguments)}), k = 0, {in_words}",
                "E sigma'(b + s G) h_k(G), quadrature",
                lambda order, scale, offset: values.alpha(int(order), scale, offset),
                lambda order, scale, offset: oracle.gaussian(
                    scale, offset, True, normalised_hermite(int(order))
                ),
                ordered,
            ),
        ),
    )
    low = tuple(
        Step(
            "The first of them" if order == 0 else f"Order {order}",
            "the same rules at that order",
            sp.Eq(alpha(order, *arguments), form, evaluate=False),
        )
        for order, form in enumerate(closed.low or ())
    )
    by_stein = s * alpha(k - 1, *arguments) / sp.sqrt(k)
    coefficients = Step(
        "Hermite coefficients",
        "Stein's identity, $a_0 = q$",
        sp.Eq(a(k, *arguments), by_stein, evaluate=False),
        (
            certify(
                f"a_k({_names(arguments)}), k = {in_words}",
                "E sigma(b + s G) h_k(G), quadrature",
                lambda *point: _at_order(values, by_stein, *point),
                lambda order, scale, offset: oracle.gaussian(
                    scale, offset, False, normalised_hermite(int(order))
                ),
                ordered[len(points) :],
            ),
        ),
        note="$a_k$, with an index, is never the output weight $a$." if model.affine else "",
    )
    return (mean, slopes, *low, coefficients, *_derivative_steps(model, values, oracle, ordered, in_words))


def _at_order(values: Evaluator, formula: sp.Expr, order: Any, scale: Any, offset: Any) -> Any:
    """A formula in k, s and b as it is printed, at a point."""
    return values.number(formula.xreplace({k: sp.Integer(int(order))}), {s: scale, b: offset})


def _derivative_steps(
    model: Model, values: Evaluator, oracle: Oracle, points: list[Any], in_words: str
) -> tuple[Step, ...]:
    """d a_k/ds, and d a_k/db = alpha_k."""
    arguments = scale_arguments(model)
    by_scale = sp.sqrt(k + 1) * alpha(k + 1, *arguments) + sp.sqrt(k) * alpha(k - 1, *arguments)

    def integral(order: Any, scale: Any, offset: Any) -> Any:
        h = normalised_hermite(int(order))
        return oracle.gaussian(scale, offset, True, lambda z: z * h(z))

    note = r"And $\partial_b a_k = \alpha_k$." if model.has_offset else ""
    return (
        Step(
            "Their derivatives",
            r"$\partial_s \sigma(b + s G) = G \sigma'$, and $G h_k = \sqrt{k+1} h_{k+1} + \sqrt{k} h_{k-1}$",
            sp.Eq(sp.Derivative(a(k, *arguments), s), by_scale, evaluate=False),
            (
                certify(
                    f"da_k/ds ({_names(arguments)}), k = 0, {in_words}",
                    "E G sigma'(b + s G) h_k(G), quadrature",
                    lambda *point: _at_order(values, by_scale, *point),
                    integral,
                    points,
                ),
            ),
            note=note,
        ),
    )


def potential(model: Model) -> sp.Expr:
    """V(theta) = -E[y sigma_*] in q and the coordinates."""
    means = {sign: _q_of(model, model.scale(sign), model.mean(sign)) for sign in (+1, -1)}
    V = -means[+1] / 2 + means[-1] / 2
    return notation.a * V if model.affine else V


def _q_of(model: Model, scale: sp.Expr, mean: sp.Expr) -> sp.Expr:
    return q(scale, mean) if model.has_offset else q(scale)


def potential_steps(
    model: Model, values: Evaluator, V: sp.Expr, grad_V: tuple[sp.Expr, ...]
) -> tuple[Step, ...]:
    """V and its gradient on orbits from 1e-6 to 1e3."""
    oracle = Oracle(model.activation)
    numbers = {notation.tau_plus: TAUS[+1], notation.tau_minus: TAUS[-1], notation.mu: sp.Rational(3, 2)}
    functions = [expr.xreplace(numbers) for expr in (V, *grad_V)]
    names = model.symbols
    point = lambda *x: dict(zip(names, x, strict=True))  # noqa: E731
    grid = orbit_grid(model)
    certificates = (
        certify(
            f"V({', '.join(model.coordinates)})",
            "-E y sigma_*, quadrature",
            lambda *x: values.number(functions[0], point(*x)),
            lambda *x: class_average(model, oracle, x)[0],
            grid,
        ),
        certify(
            "its gradient",
            "-E y grad sigma_*, quadrature",
            lambda *x: [values.number(f, point(*x)) for f in functions[1:]],
            lambda *x: class_average(model, oracle, x)[1:],
            grid,
        ),
    )
    V_of = sp.Function("V")(*names)
    gradient = sp.Tuple(*(sp.Derivative(V_of, x) for x in names))
    return (
        Step(
            "Potential",
            r"$V = -E[y \sigma_*]$, average over the classes [MMN18]",
            sp.Eq(V_of, V, evaluate=False),
            certificates[:1],
        ),
        Step(
            "Its gradient",
            r"differentiation: $\partial_s q = \alpha_1$"
            + (r", $\partial_b q = \alpha_0$" if model.has_offset else ""),
            sp.Eq(
                gradient if len(names) > 1 else gradient[0],
                sp.Tuple(*grad_V) if len(names) > 1 else grad_V[0],
                evaluate=False,
            ),
            certificates[1:],
        ),
    )


def orbit_grid(model: Model) -> list[tuple[Any, ...]]:
    """Points (coordinates) of the certificates: radii log-spaced in [1e-6, 1e3], together and apart."""
    limit = Oracle(model.activation).limit() / 2  # the deviations of the classes are below 2
    radii = [radius for radius in SCALE_GRID if radius <= limit]
    flat: list[Any] = [mp.mpf("1.5"), mp.mpf("-0.75")] if model.affine else []
    grid = []
    for i, radius in enumerate(radii):
        blocks = [radius] if len(model.blocks) == 1 else [radius, radii[(3 * i + 4) % len(radii)]]
        along = [radius * (-1) ** i / 2] if model.shifted else []
        grid.append((*flat, *along, *blocks))
    return grid


def class_average(model: Model, oracle: Oracle, x: tuple[Any, ...]) -> list[Any]:
    """-E y sigma_* and its gradient in the coordinates, from sigma, sigma' and the law of the projection."""
    flat = 2 if model.affine else 0
    output, offset = (x[0], x[1]) if model.affine else (mp.mpf(1), mp.mpf(0))
    total = [mp.mpf(0)] * (len(x) + 1)
    for sign in (+1, -1):
        tau = mp.mpf(TAUS[sign].p) / TAUS[sign].q
        stds = [tau if block.plus != 1 else mp.mpf(1) for block in model.blocks]
        shifts = [mp.mpf(0)] * len(stds)
        if model.shifted:
            stds, shifts = [tau, *stds], [sign * mp.mpf(3) / 2, *shifts]
        w = x[flat:]
        scale = mp.sqrt(mp.fsum((std * r) ** 2 for std, r in zip(stds, w, strict=True)))
        mean = offset + mp.fsum(shift * r for shift, r in zip(shifts, w, strict=True))
        # <w, x> + b = mean + scale G, and moving w_i moves it by shift_i + std_i (std_i w_i/scale) G
        value = oracle.gaussian(scale, mean, False, lambda z: mp.mpf(1))
        by_mean = oracle.gaussian(scale, mean, True, lambda z: mp.mpf(1))
        by_scale = oracle.gaussian(scale, mean, True, lambda z: z)
        moves = [
            shift * by_mean + std * std * r / scale * by_scale
            for std, shift, r in zip(stds, shifts, w, strict=True)
        ]
        gradient = [value, output * by_mean] if model.affine else []
        for i, part in enumerate([output * value, *gradient, *(output * move for move in moves)]):
            total[i] -= sign * part / 2
    return total


def _names(arguments: tuple[sp.Expr, ...]) -> str:
    return ", ".join(map(str, arguments))


def _delta_note(model: Model) -> str:
    if not isinstance(model.activation, PiecewiseLinear):
        return ""
    return (
        r"Hinges by $E(s G - T)_+ = s \varphi(T/s) - T \Phi(-T/s)$, $T$ a knot"
        + (r" less $b$" if model.has_offset else "")
        + r"; $\Delta\varphi = \varphi - \varphi(0)$."
    )


def _slope_rule(model: Model, closed: ClosedForms) -> str:
    if isinstance(model.activation, PiecewiseLinear):
        return r"Stein's identity on each step of $\sigma'$; $\Delta$ is the difference to the value at 0"
    if closed.general is not None:
        return "Stein's identity, $k$ times"
    return "no closed form: quadrature in the generated module"
