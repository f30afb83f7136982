"""The mean-field limit of noisy, ridge-regularised SGD, derived: update -> equation -> free energy -> Gibbs law.

One unit moves by theta <- (1 - 2 lam s) theta + 2 s (y - yhat) grad sigma + sqrt(c s/beta) g with s = eps xi(t),
t = k eps, and a noise constant c left open.  ``derive_limit`` is the table of contents; the published values of c
are the rows of ``noise_conventions``.  Everything is dimensionless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import sympy as sp

from workbench import render
from workbench.free_energy import (
    CONSISTENT,
    Point,
    beta,
    c,
    diffusion,
    equation_steps,
    exact,
    free_energy_steps,
    generator,
    gibbs_temperature,
    lam,
    noise_steps,
    potential,
    space,
    stationary_moment,
    t,
    theta,
    vanishes,
    xi,
)
from workbench.orbits import Coordinate, orbit_steps
from workbench.steps import Step, in_turn

eps, s = sp.symbols("epsilon s", positive=True)
PUBLISHED = (CONSISTENT, sp.Integer(2), sp.Integer(1))  # noise constants found in print


# ---- the update


def _normals(x: Point) -> Point:
    return sp.symbols(f"g1:{len(x) + 1}", real=True)


def _gradients(x: Point) -> Point:
    """G_i = (y - yhat) d_i sigma, one sample."""
    return sp.symbols(f"G1:{len(x) + 1}", real=True)


def covariance(i: int, j: int) -> sp.Symbol:
    """C_ij = Cov(G_i, G_j) over the data, the sampling noise of the gradient; i, j from 0."""
    return sp.Symbol(f"C{min(i, j) + 1}{max(i, j) + 1}", real=True)


def jump(x: Point) -> tuple[sp.Expr, ...]:
    """theta_{k+1} - theta_k = s (2 G - 2 lam theta) + sqrt(c s/beta) g at s = eps xi."""
    noise = sp.sqrt(c * eps * xi / beta)
    pairs = zip(x, _gradients(x), _normals(x), strict=True)
    return tuple(eps * xi * (2 * G - 2 * lam * q) + noise * g for q, G, g in pairs)


def normal_moment(order: int) -> sp.Expr:
    """E g^order, from the moment generating function exp(u^2/2)."""
    u = sp.Symbol("u", real=True)
    return sp.diff(sp.exp(u**2 / 2), u, order).subs(u, 0)


def _gradient_moment(powers: tuple[int, ...], x: Point) -> sp.Expr:
    """E prod G_i^powers: mean -d_i Psi, covariance C_ij, a symbol of its own from order three on."""
    mean = [-sp.diff(sp.Function("Psi")(*x, t), q) for q in x]
    indices = [i for i, power in enumerate(powers) for _ in range(power)]
    if len(indices) <= 1:
        return mean[indices[0]] if indices else sp.S.One
    if len(indices) == 2:
        i, j = indices
        return mean[i] * mean[j] + covariance(i, j)
    return sp.Symbol("M" + "".join(str(i + 1) for i in indices), real=True)


def expectation(expression: sp.Expr, x: Point) -> sp.Expr:
    """E over the data and over the injected noise, which is independent of them; polynomial in G and g."""
    total = sp.S.Zero
    for powers, coefficient in sp.Poly(expression, *_gradients(x), *_normals(x)).terms():
        data, normals = powers[: len(x)], powers[len(x) :]
        moment = sp.prod(normal_moment(power) for power in normals)
        total += coefficient * _gradient_moment(data, x) * moment
    return sp.expand(total)


# ---- the expansion


def first_variation_sample(y: sp.Expr, here: sp.Expr, there: sp.Expr) -> sp.Expr:
    """-y sigma(x; theta) + sigma(x; theta) sigma(x; theta'): its mean over (x, y) and theta' ~ rho is Psi."""
    return -y * here + here * there


def check_drift(dimension: int) -> None:
    """E 2 (y - yhat) grad sigma = -2 grad Psi from the definitions of V, U and yhat, and it is -N grad R_N.

    Inside E over (x, y) and, for yhat = int sigma drho, over an independent theta' ~ rho: V is the mean
    of -y sigma, U of sigma sigma', and both sides are one expectation.
    """
    z, y = sp.symbols("x y", real=True)
    unit = space(dimension)
    prime = sp.symbols(f"theta_prime1:{dimension + 1}", real=True)
    here, there = sp.Function("sigma")(z, *unit), sp.Function("sigma")(z, *prime)
    Psi = first_variation_sample(y, here, there)
    for q in unit:
        vanishes(2 * (y - there) * sp.diff(here, q) + 2 * sp.diff(Psi, q), "drift from V and U")
    N = 3
    network = sp.symbols(f"theta_1:{N + 1}", real=True)
    units = [sp.Function("sigma")(z, w) for w in network]
    risk = (y - sum(units) / N) ** 2
    vanishes(
        risk - y**2 + 2 * y * sum(units) / N - sum(u * v for u in units for v in units) / N**2,
        "risk of the network through V and U",
    )
    step = 2 * (y - sum(units) / N) * sp.diff(units[0], network[0])
    vanishes(step + N * sp.diff(risk, network[0]), "the update follows -N grad R_N")


def expansion(order: int) -> sp.Expr:
    """Coefficient of eps^(order/2) in E f(theta_{k+1}) - f(theta_k), one dimension, by differentiation."""
    h = sp.Symbol("h", positive=True)  # sqrt(eps)
    (J,) = jump((theta,))
    f = sp.Function("f")
    shifted = f(theta + J.subs(eps, h**2)) - f(theta)
    coefficient = sp.diff(shifted, h, order).subs(h, 0).doit() / sp.factorial(order)
    return expectation(coefficient, (theta,))


def check_expansion() -> None:
    """Orders 0, 1, 3 in sqrt(eps) vanish, order 2 is L f, and C enters at order 4 (eps^2) as 2 xi^2 C f''."""
    x = (theta,)
    f = sp.Function("f")(theta)
    for order in (0, 1, 3):
        vanishes(expansion(order), f"Kramers-Moyal expansion, order eps^({order}/2)")
    vanishes(expansion(2) - generator(f, potential(x), x), "Kramers-Moyal expansion, order eps")
    sampling = covariance(0, 0)
    vanishes(sp.diff(expansion(2), sampling), "sampling noise at order eps")
    vanishes(
        sp.diff(expansion(4), sampling) - 2 * xi**2 * sp.diff(f, theta, 2), "sampling noise at order eps^2"
    )


def jump_moment(indices: tuple[int, ...], x: Point) -> sp.Expr:
    """E prod J_i of the jump over one step, exact in eps; indices from 0."""
    J = jump(x)
    return expectation(sp.expand(sp.prod(J[i] for i in indices)), x)


def check_jump_moments(dimension: int) -> None:
    """E J/eps and E J J/eps give the generator as eps -> 0; third and fourth moments are o(eps)."""
    x = space(dimension)
    axes = range(dimension)

    def leading(*indices: int) -> sp.Expr:
        return sp.expand(jump_moment(indices, x) / eps).subs(eps, 0)

    f = sp.Function("f")(*x)
    first = sum(leading(i) * sp.diff(f, x[i]) for i in axes)
    second = sum(leading(i, j) * sp.diff(f, x[i], x[j]) for i in axes for j in axes) / 2
    claim = f"generator from the jump moments in R^{dimension}"
    vanishes(first + second - generator(f, potential(x), x), claim)
    for i in axes:
        for j in axes:
            sampling = sp.diff(jump_moment((i, j), x), covariance(i, j))
            vanishes(sampling - 4 * eps**2 * xi**2, "sampling noise in the second jump moment")
            vanishes(leading(i, i, j), "third jump moment")
            vanishes(leading(i, i, j, j), "fourth jump moment")


def discrete_variance() -> sp.Expr:
    """The variance that one update of step size s leaves unchanged when U = V = 0, for s < 1/lam.

    theta is then an autoregression, so this is exact: c/(4 beta lam (1 - lam s)).
    """
    x, variance = (theta,), sp.Symbol("v", positive=True)
    (J,), (G,), (g,) = jump(x), _gradients(x), _normals(x)
    square = sp.Poly(sp.expand((theta + J.subs({eps: s / xi, G: 0})) ** 2), theta, g)
    moments = (1, 0, variance)
    after = sum(a * moments[power] * normal_moment(normals) for (power, normals), a in square.terms())
    (solution,) = sp.solve(after - variance, variance)
    return stationary_moment(0, 0) / sp.factor(stationary_moment(0, 0) / solution)


# ---- the conventions


@dataclass(frozen=True)
class NoiseConvention:
    """What noise sqrt(c s/beta) g in the update leads to.

    Attributes
    ----------
    constant
        c.
    update_variance
        c s/beta, variance of the injected noise in one step of size s.
    diffusion
        coefficient of the Laplacian in the equation.
    gibbs_temperature
        k of the stationary law exp(-k Psi_lam), the inverse temperature that results.
    stationary_variance
        of one coordinate when U = V = 0.
    consistent
        whether diffusion is 2 xi/beta and the stationary law exp(-beta Psi_lam).
    """

    constant: sp.Expr
    update_variance: sp.Expr
    diffusion: sp.Expr
    gibbs_temperature: sp.Expr
    stationary_variance: sp.Expr
    consistent: bool


def noise_conventions(constants: tuple[sp.Expr, ...] = PUBLISHED) -> tuple[NoiseConvention, ...]:
    """The derived quantities at each noise constant; the published ones are 4, 2 and 1."""
    (J,), (g,) = jump((theta,)), _normals((theta,))
    noise = (sp.diff(J, g) ** 2).subs(eps, s / xi)
    general = (noise, diffusion(), gibbs_temperature(), stationary_moment(0, 0))
    rows = []
    for constant in constants:
        injected, spread, inverse, variance = (value.subs(c, constant) for value in general)
        consistent = (spread, inverse) == (2 * xi / beta, beta)
        rows.append(NoiseConvention(constant, injected, spread, inverse, variance, consistent))
    return tuple(rows)


HEAD = ("noise in the update", "diffusion", "Gibbs law", "variance, U = V = 0", "consistent")


def _cells(row: NoiseConvention, printed: Callable[[sp.Expr], str], root: str, exponential: str) -> list[str]:
    return [
        root % printed(row.update_variance),
        printed(row.diffusion),
        exponential % printed(row.gibbs_temperature),
        printed(row.stationary_variance),
        "yes" if row.consistent else "no",
    ]


def _line(expression: sp.Expr) -> str:
    """One line of text with Greek letters."""
    greek = {xi: sp.Symbol("ξ"), beta: sp.Symbol("β"), lam: sp.Symbol("λ")}
    return str(sp.sstr(expression.subs(greek))).replace("*", " ")


def conventions_text(rows: tuple[NoiseConvention, ...]) -> str:
    """The table as aligned text."""
    table = [list(HEAD), *(_cells(row, _line, "sqrt(%s) g", "exp(-%s Ψ_λ)") for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEAD))]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table
    ]
    return "\n".join(lines) + "\n"


def conventions_latex(rows: tuple[NoiseConvention, ...]) -> str:
    """The table as a LaTeX tabular."""

    def printed(expression: sp.Expr) -> str:
        return str(sp.latex(expression.subs(xi, sp.Symbol("xi"))))

    lines = [
        r"\begin{center}\small",
        r"\begin{tabular}{lllll}",
        " & ".join(HEAD).replace("U = V = 0", "$U = V = 0$"),
    ]
    lines[-1] += r" \\ \hline"
    for row in rows:
        *formulas, verdict = _cells(row, printed, r"\sqrt{%s}\, g", r"\exp\left(-%s \Psi_\lambda\right)")
        lines.append(" & ".join([*(f"${cell}$" for cell in formulas), verdict]) + r" \\")
    return "\n".join([*lines, r"\end{tabular}", r"\end{center}"]) + "\n"


def conventions_html(rows: tuple[NoiseConvention, ...]) -> str:
    """The table as HTML."""
    head = "".join(f"<th>{cell}</th>" for cell in HEAD)
    body = [_cells(row, _line, "√(%s) g", "exp(-%s Ψ_λ)") for row in rows]
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in body]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>\n"


# ---- the derivation


def _expansion_steps() -> tuple[Step, ...]:
    """From the update to the generator."""
    for dimension in (1, 2):
        check_drift(dimension)
        check_jump_moments(dimension)
    check_expansion()
    x = (theta,)
    E, f, sigma = sp.Function("E"), sp.Function("f"), sp.Function("sigma")
    y, yhat, G, g, z = sp.symbols("y yhat G g x")
    after = sp.Symbol("theta_+")
    Psi, rest = sp.Function("Psi")(theta, t), sp.Function("r")
    slope = sp.Derivative(sigma(z, theta), theta)
    J = sp.symbols("J_i J_j")
    i, j = sp.symbols("i j", integer=True)
    noise = 2 * xi**2 * sp.Symbol("C") * sp.Derivative(f(theta), (theta, 2))
    change = E(f(after)) - f(theta)
    (step,) = (q.subs(dict(zip((*_gradients(x), *_normals(x)), (G, g), strict=True))) for q in jump(x))
    step = sp.expand(step.subs(eps, s / xi))
    # one root, which the symbols declared positive would split
    loose = {symbol: sp.Symbol(symbol.name) for symbol in (c, s, beta)}
    root = sp.sqrt((sp.diff(step, g) ** 2).subs(loose))
    return (
        Step(
            "Update of one unit",
            r"one sample a step, ridge $\lambda$, injected noise; G is (y - yhat) times the gradient of $\sigma$",
            sp.Eq(after, theta + step.subs(g, 0) + root * g, evaluate=False),
            note=r"The step size is $s$ = eps xi at time $t = k$ eps; $g \sim N(0, I)$; the noise constant c is left open.",
        ),
        Step(
            "Drift",
            r"mean over the data; $V = -E y \sigma$, $U = E \sigma \sigma'$, $\Psi = V + \int U d\rho$",
            sp.Eq(E((y - yhat) * slope), -sp.Derivative(Psi, theta), evaluate=False),
            (exact("mean of 2 (y - yhat) grad sigma, R^1, R^2", "definitions of V, U and yhat, symbols"),),
            note=(
                r"For $N$ units it is $-N$ times the gradient of $R_N$, so the clock holds no 1/N.  There $\rho$ is the "
                r"empirical law of the $N$ units; that it tends to a fixed law as $N \to \infty$ is taken from [MMN18]."
            ),
        ),
        Step(
            "Kramers-Moyal expansion",
            "Taylor expansion in the square root of eps, Gaussian moments of g",
            sp.Eq(change, eps * expansion(2) + sp.O(eps**2), evaluate=False),
            (exact("orders 0 to 3 in sqrt(eps)", "derivatives of f(theta + J) at eps = 0, symbols"),),
            note="f is smooth with bounded derivatives and G has enough moments.  The half-integer orders vanish.",
        ),
        Step(
            "Sampling noise of the gradient",
            "the same expansion, one order further; C is the variance of G, and r(theta) holds no C",
            sp.Eq(
                change,
                eps * sp.Symbol("Lf") + eps**2 * (noise + rest(theta)) + sp.O(eps**3),
                evaluate=False,
            ),
            (exact("C enters at order eps^2 first", "coefficients of C at orders eps, eps^2"),),
            note=r"Over the $t$/eps steps up to time $t$ it adds up to order eps, and vanishes in the limit.",
        ),
        Step(
            "Jump moments",
            r"expectation of products of the jump J in $R^D$; the first is the drift, the third and fourth are o(eps)",
            sp.Eq(
                sp.Limit(E(J[0] * J[1]) / eps, eps, 0),
                2 * diffusion() * sp.KroneckerDelta(i, j),
                evaluate=False,
            ),
            (exact("moments one to four, R^1, R^2", "generator on a generic f, symbols"),),
        ),
        Step(
            "Generator",
            r"time scale $t = k$ eps: the change per step divided by eps",
            sp.Eq(
                sp.Limit(change / eps, eps, 0),
                generator(f(theta), potential(x), x),
                evaluate=False,
            ),
        ),
    )


def _discrete_steps() -> tuple[Step, ...]:
    """The solvable case at a finite step."""
    limit = sp.limit(discrete_variance(), s, 0)
    vanishes(limit - stationary_moment(0, 0), "stationary variance of the update as s goes to zero")
    return (
        Step(
            "The same at a finite step",
            "variance that the update itself leaves unchanged: an autoregression",
            sp.Eq(sp.Function("v")(s), discrete_variance(), evaluate=False),
            (exact("its limit as the step goes to zero", "stationary covariance, symbols"),),
            note=r"For a step $s < 1/\lambda$.",
        ),
    )


def _coordinate_steps() -> tuple[Step, ...]:
    """The equation in flat and radial coordinates."""
    a, b = sp.symbols("a b", real=True)
    r, r1, r2 = sp.symbols("r r1 r2", positive=True)
    n, n1, n2 = sp.symbols("n n1 n2", integer=True, positive=True)
    four = (Coordinate(a), Coordinate(b), Coordinate(r1, n1), Coordinate(r2, n2))
    return orbit_steps(four, shown=(Coordinate(a), Coordinate(r, n)))


PARTS = tuple(
    cache(part)  # derived once a process
    for part in (
        _expansion_steps,
        equation_steps,
        free_energy_steps,
        noise_steps,
        _discrete_steps,
        _coordinate_steps,
    )
)


def derive_limit(progress: Callable[[float], None] | None = None) -> tuple[Step, ...]:
    """The steps from the update to the reduced equation, every identity checked in symbols.

    Order: update and expansion, equation, free energy and Gibbs law [JKO98, MMN18], noise constant, orbit coordinates.
    ``progress`` is told the fraction done.

    Raises
    ------
    CertificateFailure
        when an identity leaves a remainder.
    """
    return in_turn(PARTS, progress)


# ---- renderings

TITLE = "The mean-field limit of noisy SGD"


def text() -> str:
    """The derivation and the table of conventions as plain text."""
    table = conventions_text(noise_conventions())
    return f"{render.text(TITLE, derive_limit())}\nNoise conventions\n\n{table}"


def latex() -> str:
    """The derivation and the table of conventions as a LaTeX fragment for amsmath."""
    table = conventions_latex(noise_conventions())
    return render.latex(TITLE, derive_limit()) + table


def html() -> str:
    """The derivation and the table of conventions as an HTML fragment with native MathML."""
    table = conventions_html(noise_conventions())
    return render.html(TITLE, derive_limit()) + table
