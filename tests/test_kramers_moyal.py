"""The derived limit against simulations and quadratures that know nothing of it, and against wrong formulas."""

from __future__ import annotations

import html.parser
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp

from workbench import BadInput, CertificateFailure, free_energy, kramers_moyal, orbits
from workbench.free_energy import beta, c, lam, t, theta, weight, xi
from workbench.kramers_moyal import derive_limit, eps, noise_conventions, s
from workbench.orbits import Coordinate, reduced_equation

A, B = sp.symbols("a b", real=True)
R1, R2 = sp.symbols("r1 r2", positive=True)
N1, N2 = sp.symbols("n1 n2", integer=True, positive=True)
FOUR = (Coordinate(A), Coordinate(B), Coordinate(R1, N1), Coordinate(R2, N2))


# ---- the steps and their renderings


def test_every_step_has_a_rule_a_formula_and_exact_certificates() -> None:
    steps = derive_limit()
    titles = [step.title for step in steps]
    assert len(titles) == len(set(titles)) >= 18
    for step in steps:
        assert step.rule and isinstance(step.formula, sp.Eq)
        assert all(q.deviation == q.tolerance == 0 and q.points > 0 for q in step.certificates)
    assert sum(len(step.certificates) for step in steps) >= 16


def test_text_holds_every_title_and_the_table() -> None:
    text = kramers_moyal.text()
    for number, step in enumerate(derive_limit(), 1):
        assert f"\n{number}. {step.title}\n   by " in text
    # theory.md, section 1: noise, diffusion, law, and 1/(beta_eff lam) for U = V = 0
    table = [re.split(r"\s{2,}", line) for line in text.splitlines()[-4:]]
    assert table == [
        ["noise in the update", "diffusion", "Gibbs law", "variance, U = V = 0", "consistent"],
        ["sqrt(4 s/β) g", "2 ξ/β", "exp(-β Ψ_λ)", "1/(β λ)", "yes"],
        ["sqrt(2 s/β) g", "ξ/β", "exp(-2 β Ψ_λ)", "1/(2 β λ)", "no"],
        ["sqrt(s/β) g", "ξ/(2 β)", "exp(-4 β Ψ_λ)", "1/(4 β λ)", "no"],
    ]


def test_latex_is_balanced_and_holds_every_title_and_the_table() -> None:
    latex = kramers_moyal.latex()
    assert latex.isascii()
    for step in derive_limit():
        assert rf"\paragraph{{{step.title}}}" in latex
    plain = latex.replace(r"\{", "").replace(r"\}", "")
    assert plain.count("{") == plain.count("}")
    begun, ended = (sorted(re.findall(rf"\\{word}\{{(.*?)\}}", latex)) for word in ("begin", "end"))
    assert begun == ended and begun.count("tabular") == 2
    assert (
        r"$\sqrt{\frac{4 s}{\beta}}\, g$ & $\frac{2 \xi}{\beta}$ & $\exp\left(-\beta \Psi_\lambda\right)$"
        in latex
    )


def test_html_holds_every_title_and_the_table() -> None:
    found: dict[str, int] = {}

    class Counter(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            found[tag] = found.get(tag, 0) + 1

    fragment = kramers_moyal.html()
    Counter().feed(fragment)
    steps = derive_limit()
    assert found["h1"] == 1 and found["h2"] == found["math"] == len(steps)
    assert all(f"<h2>{step.title}</h2>" in fragment for step in steps)
    # header and three rows of the table of conventions, after header and rows of the certificates
    assert found["tr"] == 4 + 1 + sum(len(step.certificates) for step in steps)


# ---- the conventions


def test_one_convention_is_consistent() -> None:
    assert [(int(row.constant), row.consistent) for row in noise_conventions()] == [
        (4, True),
        (2, False),
        (1, False),
    ]
    assert kramers_moyal.noise_conventions((sp.Integer(3),))[0].gibbs_temperature == sp.Rational(4, 3) * beta


@pytest.mark.parametrize("row", noise_conventions(), ids=lambda row: f"c = {row.constant}")
def test_simulated_stationary_variance(row: kramers_moyal.NoiseConvention) -> None:
    """The update with U = V = 0, run to stationarity, against 1/(k lam (1 - lam s))."""
    ridge, inverse, step, units = 0.8, 2.5, 0.125, 200_000
    values = {lam: ridge, beta: inverse, s: step, c: row.constant}
    rng = np.random.default_rng(int(row.constant))
    spread = math.sqrt(float(row.update_variance.subs(values)))
    unit = np.zeros(units)
    for _ in range(60):  # (1 - 2 lam s)^(2 * 60) = 1e-12: the start is forgotten
        unit = (1 - 2 * ridge * step) * unit + spread * rng.standard_normal(units)
    expected = 1 / (float(row.gibbs_temperature.subs(values)) * ridge * (1 - ridge * step))
    # four standard errors of the variance of Gaussian draws
    assert np.mean(unit**2) == pytest.approx(expected, rel=4 * math.sqrt(2 / units))
    assert float(kramers_moyal.discrete_variance().subs(values)) == pytest.approx(expected, rel=1e-14)
    assert float(row.stationary_variance.subs(values)) == pytest.approx(
        expected * (1 - ridge * step), rel=1e-14
    )


# ---- moments of the jump of a unit in a network


def test_moments_of_a_standard_normal() -> None:
    assert [kramers_moyal.normal_moment(k) for k in range(7)] == [1, 0, 1, 0, 3, 0, 15]


def test_simulated_jump_moments() -> None:
    """One update of a unit a tanh(w x) in a network of four, against Psi from quadratures of V and U.

    y = +1 or -1, x | y ~ N(0, 1.8^2) or N(0, 0.5^2).  Means and second moments of the jump, exact in eps.
    """
    ridge, inverse, size, now, constant, draws = 0.3, 2.0, 0.2, 0.75, 2, 1_000_000
    scales = {1.0: 1.8, -1.0: 0.5}
    units = np.array([[1.2, 0.7], [-0.4, 1.5], [0.9, -0.6], [0.3, 2.0]])

    def sigma(unit: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.asarray(unit[0] * np.tanh(unit[1] * x))

    # quadrature over the data; nodes of the polynomials orthogonal to exp(-x^2/2)
    nodes, masses = np.polynomial.hermite_e.hermegauss(160)
    x_data = np.concatenate([scale * nodes for scale in scales.values()])
    y_data = np.repeat(list(scales), len(nodes))
    mass = np.tile(masses, 2) / masses.sum() / 2

    def Psi(unit: np.ndarray) -> float:
        here = sigma(unit, x_data)
        V = -np.sum(mass * y_data * here)
        return V + np.mean([np.sum(mass * here * sigma(other, x_data)) for other in units])

    delta = 1e-5
    slope = np.array([(Psi(units[0] + e) - Psi(units[0] - e)) / (2 * delta) for e in delta * np.eye(2)])

    def gradient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        error = y - np.mean([sigma(unit, x) for unit in units], axis=0)
        a, w = units[0]
        return error * np.array([np.tanh(w * x), a * x / np.cosh(w * x) ** 2])

    G = gradient(x_data, y_data)
    spread = np.einsum("q,iq,jq->ij", mass, G, G) - np.outer(slope, slope)

    rng = np.random.default_rng(3)
    y = rng.choice([1.0, -1.0], draws)
    x = np.where(y > 0, scales[1.0], scales[-1.0]) * rng.standard_normal(draws)
    step = size * now
    kick = math.sqrt(constant * step / inverse) * rng.standard_normal((2, draws))
    jumps = -2 * ridge * step * units[0][:, None] + 2 * step * gradient(x, y) + kick

    point = free_energy.space(2)
    Psi_symbol = sp.Function("Psi")(*point, t)
    put: dict[sp.Expr, Any] = {sp.diff(Psi_symbol, q): slope[i] for i, q in enumerate(point)}
    put |= {kramers_moyal.covariance(i, j): spread[i, j] for i in (0, 1) for j in (0, 1)}
    put |= dict(zip(point, units[0], strict=True)) | {
        lam: ridge,
        beta: inverse,
        c: constant,
        eps: size,
        xi: now,
    }
    for indices in ((0,), (1,), (0, 0), (0, 1), (1, 1)):
        products = np.prod(jumps[list(indices)], axis=0)
        derived = float(kramers_moyal.jump_moment(indices, point).subs(put))
        assert abs(products.mean() - derived) < 4 * products.std() / math.sqrt(draws), indices


# ---- dissipation along a numerically integrated equation


def dissipated(constant: float, entropy: float) -> tuple[float, float]:
    """dF/dt by differences of F along a numerical solution, and -2 xi int rho |d(Psi_lam + b log rho)|^2.

    V = cos 2 theta / 2, U = exp(-(theta - theta')^2/2), positive definite; log rho on a grid of step 0.02.
    """
    x = np.linspace(-6, 6, 601)
    dx, ridge, inverse = x[1] - x[0], 0.4, 2.0
    gap = x[:, None] - x
    U = np.exp(-(gap**2) / 2)
    dU, ddU = -gap * U, (gap**2 - 1) * U

    def schedule(time: float) -> float:
        return 0.6 / (1 + time)

    def slope(log_rho: np.ndarray) -> np.ndarray:
        return -np.sin(2 * x) + ridge * x + dx * (dU @ np.exp(log_rho))

    def change(time: float, log_rho: np.ndarray) -> np.ndarray:
        """d_t log rho: the equation divided by rho."""
        rho = np.exp(log_rho)
        pull, up = slope(log_rho), np.gradient(log_rho, dx, edge_order=2)
        bend = -2 * np.cos(2 * x) + ridge + dx * (ddU @ rho)
        diffusion = constant * schedule(time) / (2 * inverse)
        curvature = np.gradient(up, dx, edge_order=2)
        return 2 * schedule(time) * (bend + up * pull) + diffusion * (curvature + up**2)

    def F(log_rho: np.ndarray) -> float:
        rho = np.exp(log_rho)
        local = np.cos(2 * x) / 2 + ridge * x**2 / 2 + entropy * log_rho + dx * (U @ rho) / 2
        return float(dx * np.sum(local * rho))

    log_rho = np.log(np.exp(-((x - 1) ** 2)) + np.exp(-((x + 0.5) ** 2) / 1.2))
    log_rho -= np.log(dx * np.sum(np.exp(log_rho)))
    dt, values, rates = 5e-5, [], []
    for k in range(21):  # classical Runge-Kutta
        rho, time = np.exp(log_rho), k * dt
        force = slope(log_rho) + entropy * np.gradient(log_rho, dx, edge_order=2)
        values.append(F(log_rho))
        rates.append(-2 * schedule(time) * float(dx * np.sum(rho * force**2)))
        k1 = change(time, log_rho)
        k2 = change(time + dt / 2, log_rho + dt / 2 * k1)
        k3 = change(time + dt / 2, log_rho + dt / 2 * k2)
        k4 = change(time + dt, log_rho + dt * k3)
        log_rho = log_rho + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return (values[-1] - values[0]) / (20 * dt), float(np.mean(rates[:-1]) + np.mean(rates[1:])) / 2


@pytest.mark.parametrize("constant", [4, 2, 1])
def test_free_energy_falls_at_the_derived_rate(constant: int) -> None:
    entropy = float(free_energy.entropy_weight().subs({c: constant, beta: 2}))
    found, expected = dissipated(constant, entropy)
    # second-order differences of log rho: dx^2/6 = 7e-5 times third derivatives of order one
    assert found == pytest.approx(expected, rel=3e-4)
    assert found < -0.1
    if constant != 4:
        found, expected = dissipated(constant, 1 / 2)  # beta' = beta
        assert abs(found / expected - 1) > 0.1


# ---- orbit coordinates


def test_one_radius_is_the_equation_of_the_radius() -> None:
    """2 xi d(rho d psi_lam) + (2 xi/beta) (d^2 rho - d((n-1)/r rho)), written out."""
    r = sp.Symbol("r", positive=True)
    n = sp.Symbol("n", integer=True, positive=True)
    rho, psi = sp.Function("rho")(r, t), sp.Function("psi")(r)
    derived = reduced_equation((Coordinate(r, n),))
    drift = rho * sp.diff(psi + lam * r**2 / 2, r) - (n - 1) / (beta * r) * rho
    written = 2 * xi * sp.diff(drift, r) + 2 * xi / beta * sp.diff(rho, r, 2)
    assert derived.lhs == sp.Derivative(rho, t)
    assert sp.expand(derived.rhs.doit() - written) == 0


def test_reduced_generator_against_differences_in_cartesian_coordinates() -> None:
    """R x R x R^2 x R^5, a function and a potential of the orbit, second differences of step 1e-3."""
    coordinates = (Coordinate(A), Coordinate(B), Coordinate(R1, 2), Coordinate(R2, 5))
    f = sp.sin(A + B * R1) * sp.exp(-R2 / 2) + R1**3 * R2
    psi = sp.cos(A * R1) + B * R2**2 + R1 * R2
    symbols = (A, B, R1, R2)
    psi_lam = free_energy.ridged(psi, symbols)
    derived = orbits.reduced_generator(f, psi_lam, coordinates).subs({lam: 0.3, beta: 2.5, xi: 0.75})
    f_value, psi_value = (sp.lambdify(symbols, q.subs(lam, 0.3)) for q in (f, psi))
    w = np.array([0.4, -0.7, 0.8, -0.5, 0.3, 0.9, -0.2, 0.6, 0.1])

    def orbit(unit: np.ndarray) -> tuple[float, ...]:
        return unit[0], unit[1], math.hypot(*unit[2:4]), math.hypot(*unit[4:])

    step, total = 1e-3, 0.0
    for e in step * np.eye(9):
        up, at, down = (f_value(*orbit(unit)) for unit in (w + e, w, w - e))
        psi_up, psi_down = (psi_value(*orbit(unit)) + 0.15 * unit @ unit for unit in (w + e, w - e))
        total += -(psi_up - psi_down) * (up - down) / (4 * step**2) + (up - 2 * at + down) / step**2 / 2.5
    exact = float(derived.subs(dict(zip(symbols, orbit(w), strict=True))))
    # h^2/12 times fourth derivatives of order ten, and rounding 1e-16/h^2
    assert 1.5 * total == pytest.approx(exact, abs=2e-5)


def test_reduced_equation_keeps_the_gaussian_of_the_full_space() -> None:
    """psi = 0: the block w ~ N(0, v I), v' = 4 xi (1/beta - lam v), and a flat N(0, v) beside it."""
    v = sp.Function("v")(t)
    law = sp.exp(-(A**2 + R1**2) / (2 * v)) * R1**2 / v**2  # R^1 x R^3: v^(-1/2) v^(-3/2)
    coordinates = (Coordinate(A), Coordinate(R1, 3))
    psi_lam = free_energy.ridged(sp.S.Zero, (A, R1))
    right = orbits.reduced_right_hand_side(law, psi_lam, coordinates).doit()
    change = sp.diff(law, t).subs(sp.diff(v, t), 4 * xi * (1 / beta - lam * v))
    assert sp.expand((change - right) / law) == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Coordinate(sp.Symbol("r", real=True), 3), r"r must be declared positive"),
        (lambda: Coordinate(R1, 0), r"dimension 0 of the block of r1"),
        (lambda: Coordinate(R1, sp.Rational(5, 2)), r"dimension 5/2"),
        (lambda: Coordinate(R1, sp.Symbol("n")), r"dimension n of the block of r1"),
        (lambda: Coordinate("r"), r"'r' must be a SymPy Symbol"),
        (lambda: reduced_equation(()), r"no coordinates"),
        (lambda: reduced_equation((Coordinate(A), Coordinate(A))), r"\['a'\] appear twice"),
        (lambda: reduced_equation((Coordinate(t),)), r"\['t'\]"),
    ],
)
def test_bad_coordinates(make: Callable[[], object], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        make()


# ---- the checks see a wrong formula

EXPANSION = kramers_moyal.check_expansion
MOMENTS = lambda: kramers_moyal.check_jump_moments(2)  # noqa: E731
ADJOINT = lambda: free_energy.check_adjoint(2)  # noqa: E731
ORBIT_ADJOINT = lambda: orbits.check_adjoint(FOUR)  # noqa: E731
CARTESIAN = lambda: orbits.check_cartesian(FOUR, 2)  # noqa: E731

jump, generator, flux = kramers_moyal.jump, free_energy.generator, free_energy.flux
right_hand_side, densities = free_energy.right_hand_side, free_energy.free_energy_densities
clock = free_energy.clock
orbit_generator, orbit_side, orbit_potential = (
    orbits.reduced_generator,
    orbits.reduced_right_hand_side,
    orbits.effective_potential,
)


def scaled_noise(x: Any) -> Any:
    return tuple(q.subs(c, c / 2) for q in jump(x))


def without_clock(x: Any) -> Any:
    """Each step divided by N = 3, as if the update had the gradient of R_N itself."""
    return tuple(q.subs(eps, eps / 3) for q in jump(x))


def loud_gradient(x: Any) -> Any:
    """A gradient whose sampling noise is scaled like the injected one."""
    loud = {G: G / sp.sqrt(eps * xi) for G in kramers_moyal._gradients(x)}
    return tuple(sp.expand(q.subs(loud)) for q in jump(x))


def half_transport(f: sp.Expr, Psi_lam: sp.Expr, x: Any, constant: sp.Expr = c) -> sp.Expr:
    return generator(f, Psi_lam / 2, x, constant)


def double_spread(constant: sp.Expr = c) -> sp.Expr:
    return constant * xi / beta


def ridge_off_schedule(rho: sp.Expr, Psi_lam: sp.Expr, x: Any, constant: sp.Expr = c) -> sp.Expr:
    return right_hand_side(rho, Psi_lam, x, constant) + sum(lam * sp.Derivative(q * rho, q) for q in x)


def asymmetric() -> sp.Expr:
    return sp.Function("K")(theta, free_energy.other)


WRONG: list[tuple[Any, str, Any, Callable[[], Any], str]] = [
    (kramers_moyal, "jump", scaled_noise, EXPANSION, "order eps:"),
    (kramers_moyal, "jump", scaled_noise, MOMENTS, "jump moments in R"),
    (kramers_moyal, "jump", without_clock, EXPANSION, "order eps:"),
    (kramers_moyal, "jump", loud_gradient, EXPANSION, r"order eps\^\(1/2\)"),
    (kramers_moyal, "jump", loud_gradient, MOMENTS, "jump moments in R"),
    (kramers_moyal, "normal_moment", lambda order: sp.Integer(order + 1) % 4, EXPANSION, "order eps"),
    (
        kramers_moyal,
        "first_variation_sample",
        lambda y, here, there: y * here + here * there,
        lambda: kramers_moyal.check_drift(2),
        "drift from V and U",
    ),
    (free_energy, "diffusion", double_spread, EXPANSION, "order eps:"),
    (kramers_moyal, "generator", half_transport, MOMENTS, "jump moments in R"),
    (free_energy, "generator", half_transport, ADJOINT, "adjoint of the generator"),
    (free_energy, "right_hand_side", ridge_off_schedule, ADJOINT, "adjoint of the generator"),
    (free_energy, "right_hand_side", ridge_off_schedule, free_energy.check_clock, "the old time is left"),
    (free_energy, "clock", lambda: 2 * clock(), free_energy.check_clock, "change of clock: left"),
    (
        free_energy,
        "flux",
        lambda rho, Psi_lam, x: flux(rho, Psi_lam / 2, x),
        ADJOINT,
        "adjoint of the generator",
    ),
    (
        free_energy,
        "free_energy_densities",
        lambda rho, U: densities(rho, 2 * U),
        free_energy.check_first_variation,
        "interaction of a symmetric U",
    ),
    (
        free_energy,
        "free_energy_densities",
        lambda rho, U: (densities(rho, U)[0] + rho**2, densities(rho, U)[1]),
        free_energy.check_first_variation,
        "local part",
    ),
    (free_energy, "symmetric_kernel", asymmetric, free_energy.check_first_variation, "symmetric U"),
    (
        free_energy,
        "free_energy_densities",
        lambda rho, U: (densities(rho, U)[0].subs(weight, -weight), densities(rho, U)[1]),
        free_energy.check_convexity,
        "convexity of F, entropy",
    ),
    (
        free_energy,
        "free_energy_densities",
        lambda rho, U: densities(rho, 2 * U),
        free_energy.check_convexity,
        "convexity of F, interaction",
    ),
    (free_energy, "CONSISTENT", sp.Integer(2), free_energy.consistent_constant, "constant of the workbench"),
    (free_energy, "gibbs_temperature", lambda: 2 * beta / c, free_energy.consistent_constant, "Gibbs law"),
    (
        free_energy,
        "gibbs_temperature",
        lambda: 2 * beta / c,
        free_energy.noise_steps,
        "against the Gibbs law",
    ),
    (free_energy, "gibbs_temperature", lambda: beta, free_energy.free_energy_steps, "Gibbs law"),
    (
        free_energy,
        "entropy_weight",
        lambda: 1 / beta,
        free_energy.free_energy_steps,
        "dissipation identity in R",
    ),
    (
        kramers_moyal,
        "discrete_variance",
        lambda: c / (2 * beta * lam),
        kramers_moyal._discrete_steps,
        "s goes to zero",
    ),
    (
        orbits,
        "reduced_generator",
        lambda f, psi_lam, q: orbit_generator(f, psi_lam, q) + 2 * xi / beta / R2 * sp.diff(f, R2),
        CARTESIAN,
        r"generator of the orbit coordinates against R\^2 x R\^3 x 2 flat",
    ),
    (
        orbits,
        "reduced_right_hand_side",
        lambda rho, psi_lam, q: orbit_side(rho, psi_lam, q) + 2 * xi / beta * sp.Derivative(rho / R1, R1),
        CARTESIAN,
        "equation of the orbit coordinates against",
    ),
    (
        orbits,
        "reduced_right_hand_side",
        lambda rho, psi_lam, q: orbit_side(rho, psi_lam, q) + 2 * xi / beta * sp.Derivative(rho / R1, R1),
        ORBIT_ADJOINT,
        "adjoint of the reduced generator",
    ),
    (
        orbits,
        "effective_potential",
        lambda psi_lam, q: orbit_potential(psi_lam, q) - sp.log(R2) / beta,
        ORBIT_ADJOINT,
        "Gibbs law of the orbit",
    ),
    (Coordinate, "jacobian_power", property(lambda q: q.dimension or 0), CARTESIAN, "generator of the orbit"),
]


@pytest.mark.parametrize(
    ("home", "name", "wrong", "check", "words"), WRONG, ids=[f"{i}-{row[1]}" for i, row in enumerate(WRONG)]
)
def test_a_wrong_formula_is_caught(
    monkeypatch: pytest.MonkeyPatch, home: Any, name: str, wrong: Any, check: Callable[[], Any], words: str
) -> None:
    monkeypatch.setattr(home, name, wrong)
    with pytest.raises(CertificateFailure, match=words):
        check()


@pytest.mark.parametrize("constant", [4, 2, 1])
def test_beta_in_the_free_energy_and_the_law_fits_one_constant(
    monkeypatch: pytest.MonkeyPatch, constant: int
) -> None:
    """F with entropy 1/beta, and exp(-beta Psi_lam), against the equation of noise sqrt(constant s/beta) g."""
    monkeypatch.setattr(free_energy, "diffusion", lambda *_: constant * xi / (2 * beta))
    matched = sp.Rational(constant, 4) / beta
    free_energy.check_dissipation(2, matched)
    free_energy.check_gibbs(2, 1 / matched)
    if constant != 4:
        with pytest.raises(CertificateFailure, match=r"dissipation identity in R\^1, entropy weight 1/beta"):
            free_energy.check_dissipation(1, 1 / beta)
        with pytest.raises(CertificateFailure, match="flux of the Gibbs law"):
            free_energy.check_gibbs(1, beta)


def test_variation_tells_divergences_from_other_densities() -> None:
    x = free_energy.space(2)
    rho, f = free_energy.density(x), sp.Function("f")(*x)
    field = (rho**2 * sp.diff(f, x[1]), sp.log(rho) * f * sp.diff(rho, x[0], x[1]))
    inside = free_energy.divergence(field, x)
    assert free_energy.variation(inside, rho, x) == free_energy.variation(inside, f, x) == 0
    # by hand: the variation of |grad rho|^2/2 is -Laplacian rho; of rho it is 1, a constant
    energy = sum(sp.diff(rho, q) ** 2 for q in x) / 2
    laplacian = sum(sp.diff(rho, q, 2) for q in x)
    assert sp.expand(free_energy.variation(energy, rho, x) + laplacian) == 0
    assert free_energy.variation(inside + rho, rho, x) == 1
