"""The Gibbs fixed point against quadrature, and its relaxation against closed forms and the nonlinear scheme."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.linalg import eigvals, expm
from scipy.optimize import root
from scipy.special import gammaln

import solvers.generated.anisotropic_truncated_relu as anisotropic
import solvers.generated.isotropic_nonmonotone as nonmonotone
import solvers.generated.isotropic_relu as affine
import solvers.generated.isotropic_truncated_relu as truncated
from solvers.cells import Cells, free_energy
from solvers.stability import relaxation
from solvers.stationary import StationaryConfig, _newton_step, dual_maximum, gibbs_law, solve
from workbench import BadInput, NumericalFailure, Problem, Trajectory
from workbench.measure import Psi, risk

Array = np.ndarray[Any, np.dtype[np.float64]]

VARIANCE = {"tau_plus": math.sqrt(1.8), "tau_minus": math.sqrt(0.2)}
STD = {"tau_plus": 1.8, "tau_minus": 0.2}


def bare_module(
    coordinates: tuple[str, ...] = ("r",), V: Callable[[Array], Array] = lambda x: 0.0 * x[..., 0]
) -> ModuleType:
    """A module with U = 0: its Gibbs law is exp(-beta V_lam) mu."""
    module = ModuleType("bare")
    vars(module).update(
        NAME="bare",
        COORDINATES=coordinates,
        check_parameters=lambda p: None,
        V=lambda x, p: V(x),
        features=lambda x, p: 0.0 * x[..., :1],
        weights=lambda p: np.zeros(1),
    )
    return module


def make(module: ModuleType, d: float, lam: float, beta: float, **more: Any) -> Problem:
    """A problem in the variance convention unless ``more`` says otherwise."""
    p = {"d": d, **more.pop("tau", VARIANCE), **more.pop("parameters", {})}
    return Problem(module, p, (1.0,), lam=lam, beta=beta, **more)


def fixed_point(moments_of: Callable[[Array], Array], size: int) -> Array:
    """z = m(z), by a root finder that knows nothing of the dual; accepted for its residual alone."""
    solution = root(lambda z: moments_of(z) - z, np.zeros(size), tol=1e-13)
    assert np.abs(solution.fun).max() < 1e-10, solution.message
    return np.asarray(solution.x)


# ---- the concave problem in K moments


@pytest.mark.parametrize("beta", [1e-2, 30.0, 1e5])
def test_the_dual_its_gradient_its_hessian_and_the_gap(beta: float) -> None:
    problem = make(truncated, 40, 0.02, beta)
    cells = Cells(("r",), (np.linspace(0.5, 5.0, 61),), (40.0,))
    rng = np.random.default_rng(1)
    law = gibbs_law(problem, cells)
    law = law.at(0.3 * rng.standard_normal(len(law.y)))
    assert law.masses.sum() == pytest.approx(1.0, abs=1e-12)
    # the identity holds exactly; F and D are of size logZ/beta, and lose the digits of that
    F = free_energy(problem, law.table, cells.log_reference, law.masses)
    assert F - law.dual == pytest.approx(law.gap, rel=1e-9, abs=1e-12 * abs(F))
    # the gap of the law as it is, without the multipliers that it came from, is that of the dual at z = m
    own = law.at(law.masses @ law.features)
    assert law.gibbs_gap == pytest.approx(F - own.dual, rel=1e-9, abs=1e-12 * abs(F))
    # and close to the fixed point, where it is worked out another way: beta Var(phi) is some 25 beta
    near = law.at(dual_maximum(law, 1e-14, 100).y + 0.1 / (1 + 25 * beta) ** 2)
    F = free_energy(problem, near.table, cells.log_reference, near.masses)
    own = near.at(near.masses @ near.features)
    assert near.gibbs_gap == pytest.approx(F - own.dual, rel=1e-6, abs=1e-11 * abs(F))
    assert beta != 30.0 or near.gibbs_gap > 1e-11  # a number to compare, not rounding
    direction = rng.standard_normal(len(law.y))
    # differences over eps: eps^2 beta^2 sd^3 of truncation, 1e-16 |D|/eps of rounding
    eps = 1e-5 / (1 + math.sqrt(beta))
    ahead, behind = law.at(law.y + eps * direction), law.at(law.y - eps * direction)
    assert (ahead.dual - behind.dual) / (2 * eps) == pytest.approx(law.residual @ direction, rel=1e-4)
    step = _newton_step(law)
    ahead, behind = law.at(law.y + eps * step), law.at(law.y - eps * step)
    assert (ahead.residual - behind.residual) / (2 * eps) == pytest.approx(-law.residual, rel=1e-5, abs=1e-5)


GRID = [
    (module, d, tau, beta, domain)
    for module in (truncated, nonmonotone)
    for d in (7, 40, 320)
    for tau in (VARIANCE, STD)
    for beta in (1e-2, 1.0, 10.0, 200.0, 1e3, 1e4, 1e5)
    for domain in ({"lam": 1e-2}, {"lam": 0.0, "r_max": 6.0})
]
# corners, and laws of two and three bumps whose widths are a thousandth of their distance
CORNERS = [
    (truncated, 7, STD, 1e5, {"lam": 1e-2}),
    (truncated, 40, STD, 1e-2, {"lam": 1e-2}),
    (truncated, 40, VARIANCE, 1e5, {"lam": 0.0, "r_max": 6.0}),
    (nonmonotone, 320, STD, 1e5, {"lam": 1e-2}),
    (nonmonotone, 320, VARIANCE, 200.0, {"lam": 0.0, "r_max": 6.0}),
]


def reaches_the_gap(module: ModuleType, d: int, tau: dict[str, float], beta: float, domain: Any) -> None:
    """From a cold start to a law that is its own Gibbs law, to rounding."""
    problem = make(module, d, domain["lam"], beta, tau=tau)
    trajectory = solve(problem, StationaryConfig(rates=0, r_max=domain.get("r_max")))
    gap = trajectory.data["gap"].values[0]
    assert 0 <= gap <= 1e-14
    # (1/beta) KL is the gap at z = m: beta Var(phi) times the other at most
    assert 0 <= trajectory.data["gibbs_gap"].values[0] <= max(1e-14, 100 * beta * gap)
    cells = cells_of(trajectory, problem)
    p = problem.parameters
    x, masses = cells.centres, trajectory.data["weights"].values[0]
    psi = Psi(module, x, trajectory.data["moments"].values, p) + 0.5 * problem.lam * x[:, 0] ** 2
    exponent = cells.log_reference - beta * psi
    own = np.exp(exponent - exponent.max())
    # total variation <= sqrt(KL/2)
    tolerance = math.sqrt(beta * max(1e-14, 100 * beta * gap))
    assert np.abs(own / own.sum() - masses).sum() <= max(1e-9, tolerance)
    # all of the law is there: either an end is a wall or next to nothing is left at it
    for end, wall in ((0, 0.0), (-1, domain.get("r_max", math.inf))):
        assert cells.edges[0][end] == wall or masses[end] < 1e-12


def cells_of(trajectory: Trajectory, problem: Problem) -> Cells:
    """The cells of a result."""
    names = tuple(problem.module.COORDINATES)
    edges = tuple(np.asarray(trajectory.data[f"edges_{name}"].values) for name in names)
    return Cells(names, edges, problem.orbit_dimensions())


@pytest.mark.parametrize(("module", "d", "tau", "beta", "domain"), CORNERS)
def test_the_gap_is_reached_from_a_cold_start(
    module: ModuleType, d: int, tau: dict[str, float], beta: float, domain: Any
) -> None:
    reaches_the_gap(module, d, tau, beta, domain)


@pytest.mark.slow
@pytest.mark.parametrize(("module", "d", "tau", "beta", "domain"), GRID)
def test_the_gap_is_reached_everywhere(
    module: ModuleType, d: int, tau: dict[str, float], beta: float, domain: Any
) -> None:
    reaches_the_gap(module, d, tau, beta, domain)


def test_a_law_of_one_unit_potential_needs_no_iteration() -> None:
    """U = 0: the fixed point is exp(-beta V_lam) itself, found in one step on each set of cells."""
    trajectory = solve(make(bare_module(), 40, 0.5, 2.0), StationaryConfig(rates=0))
    assert trajectory.data["gap"].values[0] == 0.0


# ---- the same law by other means


def line_reference(problem: Problem, lower: float, upper: float) -> dict[str, float]:
    """Fixed point, risk and free energy of a law in r, by composite quadrature and a root finder."""
    module, p, beta = problem.module, problem.parameters, problem.beta
    w = module.weights(p)
    (n,) = problem.orbit_dimensions()
    panels, (t, weights) = np.linspace(lower, upper, 81), np.polynomial.legendre.leggauss(20)
    r = (panels[:-1, None] + np.diff(panels)[:, None] * (t + 1) / 2).ravel()
    dr = (np.diff(panels)[:, None] * weights / 2).ravel()
    x = r[:, None]
    V, phi = module.V(x, p), module.features(x, p)

    def law(z: Array) -> tuple[Array, float]:
        """Weights of the nodes and log Z."""
        exponent = (n - 1) * np.log(r) - beta * (V + phi @ (w * z) + problem.lam * r**2 / 2)
        weights = dr * np.exp(exponent - exponent.max())
        return weights / weights.sum(), math.log(weights.sum()) + exponent.max()

    z = fixed_point(lambda z: law(z)[0] @ phi, len(w))
    rho, log_z = law(z)

    def density(s: float) -> float:
        psi = module.V(np.array([s]), p) + module.features(np.array([s]), p) @ (w * z)
        return math.exp((n - 1) * math.log(s) - beta * (float(psi) + problem.lam * s**2 / 2) - log_z)

    # adaptively, and node by node: the composite rule has missed nothing
    mass, _ = quad(density, lower, upper, epsrel=1e-9, limit=200, points=[float(rho @ r)])
    assert mass == pytest.approx(1.0, abs=1e-8)
    m = rho @ phi
    R = float(1.0 + 2.0 * rho @ V + w @ m**2)
    # the entropy of exp(-beta psi_lam)/Z is -log Z - beta int psi_lam
    ridge = float(problem.lam * rho @ r**2 / 2)
    F = 0.5 * R + ridge - (log_z + beta * (float(rho @ V + w @ m**2) + ridge)) / beta
    return {"risk": R, "mean": float(rho @ r), "free_energy": F}


LINES = {
    # the reference of the figures: variance convention, d = 40
    "ridge": (make(truncated, 40, 1e-2, 200.0), None, (0.05, 9.0)),
    "wall": (make(truncated, 40, 0.0, 50.0), 4.0, (0.05, 4.0)),
    "half-line": (make(nonmonotone, math.inf, 0.05, 30.0, radial_entropy=False), None, (0.0, 14.0)),
}


@pytest.mark.parametrize("name", LINES)
def test_against_quadrature_and_a_root_finder(name: str) -> None:
    problem, r_max, (lower, upper) = LINES[name]
    exact = line_reference(problem, lower, upper)
    errors = []
    for count in (200, 400, 800):
        trajectory = solve(problem, StationaryConfig((count,), r_max=r_max, rates=0))
        found = {
            "risk": trajectory.data["risk"].values[0],
            "mean": trajectory.measure(0).mean(),
            "free_energy": trajectory.data["free_energy"].values[0],
        }
        errors.append([found[key] - exact[key] for key in exact])
        # Richardson's estimate of the error itself, off by what is not of order 2
        estimate = trajectory.data["risk_error"].values[0]
        assert abs(errors[-1][0]) == pytest.approx(estimate, rel=0.1)
    orders = np.log2(np.abs(np.array(errors[:-1]) / np.array(errors[1:])))
    assert np.abs(orders - 2).max() < 0.15
    # cells of a hundredth of the width of the law: (1/100)^2/12 of numbers of size one
    assert np.abs(errors[-1]).max() < 2e-5
    # what lies outside the cells
    edges = trajectory.data["edges_r"].values
    assert edges[0] <= lower + 1.0 and edges[-1] <= upper


def test_the_cells_hold_the_law() -> None:
    """The tails of the continuous law beyond the cells, by quadrature of its own potential."""
    problem, _, (_, upper) = LINES["ridge"]
    trajectory = solve(problem, StationaryConfig(rates=0))
    edges, m = trajectory.data["edges_r"].values, trajectory.data["moments"].values

    def density(r: float) -> float:
        psi = float(Psi(truncated, np.array([r]), m, problem.parameters)) + problem.lam * r**2 / 2
        return math.exp(39 * math.log(r) - 200 * (psi + 0.9))

    inside, left, right = (
        quad(density, *ends, epsrel=1e-10)[0]
        for ends in ((edges[0], edges[-1]), (1e-3, edges[0]), (edges[-1], 2 * upper))
    )
    assert left < 1e-12 * inside and right < 1e-12 * inside
    # and they are not wider than the law by much
    assert trajectory.measure(0).quantiles(np.array([1e-9]))[0] < edges[0] + 0.2 * (edges[-1] - edges[0])


def test_a_well_beyond_the_first_cells_is_found() -> None:
    """V has a well at r = 300, ten times as far as the ridge alone would let the law go."""
    problem = make(bare_module(V=lambda x: -20.0 * np.exp(-8.0 * np.log(x[..., 0] / 300) ** 2)), 2, 1e-4, 1e3)
    trajectory = solve(problem, StationaryConfig(rates=0))
    r = np.linspace(250, 350, 100_001)
    lowest = r[np.argmin(-20.0 * np.exp(-8.0 * np.log(r / 300) ** 2) + 0.5e-4 * r**2)]
    # a peak of width (beta V'')^(-1/2) = 0.5, whose mean and mode differ by less
    assert trajectory.measure(0).mean() == pytest.approx(lowest, abs=0.1)


def test_the_box_grows_where_the_scan_tells_nothing() -> None:
    """V takes off all but a hundredth of the ridge, and far out more than all: the law is ten times as wide."""
    stiffness = 2.0

    def V(x: Array) -> Array:
        square = x[..., 0] ** 2
        return np.asarray(
            -0.495 * stiffness * np.minimum(square, 1e6) - stiffness * np.maximum(square - 1e6, 0)
        )

    problem = Problem(bare_module(("a",), V), {"d": 3, "s0": 1}, (1.0,), lam=stiffness, beta=0.5)
    rho = solve(problem, StationaryConfig(rates=0)).measure(0)
    # cells of a twentieth of the width of the law
    assert rho.expectation(rho.points[:, 0] ** 2) == pytest.approx(100.0, rel=1e-3)
    # seven standard deviations hold all but 1e-12 on each side
    assert rho.points[0, 0] < -70 and rho.points[-1, 0] > 70


def test_a_box_that_does_not_hold_the_law_is_refused() -> None:
    """As above, but ten thousand times as wide as the ridge alone would have it: further than the box grows."""

    def V(x: Array) -> Array:
        square = x[..., 0] ** 2
        return np.asarray(-(0.5 - 1e-9) * np.minimum(square, 1e12) - np.maximum(square - 1e12, 0))

    problem = Problem(bare_module(("a",), V), {"d": 3, "s0": 1}, (1.0,), lam=1.0, beta=0.5)
    with pytest.raises(
        NumericalFailure, match=r"outermost cell, at a = .* holds .* of the law.*give bounds"
    ) as info:
        solve(problem, StationaryConfig(rates=0))
    assert info.value.partial is not None and not info.value.partial.complete
    given = solve(problem, StationaryConfig(bounds=(-1e3, 1e3), rates=0))
    # all but uniform on the box
    assert given.measure(0).expectation(given.measure(0).points[:, 0] ** 2) == pytest.approx(
        1e6 / 3, rel=1e-2
    )


def test_the_layout_balances_the_errors_and_settles() -> None:
    """Two bumps at d = 320, a gap of 7 between them: the places of 200 cells decide on the error."""
    problem = make(truncated, 320, 1e-2, 200.0)
    trajectory = solve(problem, StationaryConfig((200,), rates=0))
    # 1e-4; ten times that for cells that follow rho^(1/3), or that are not spaced smoothly
    assert trajectory.data["risk_error"].values[0] < 4e-4
    # and where cells are few, layouts do not take turns for ever
    passes: list[float] = []
    problem = make(anisotropic, 40, 1e-2, 200.0, parameters={"s0": 20, "tolerance": 1e-6})
    solve(problem, StationaryConfig((24,), rates=0), passes.append)
    assert len(passes) < 13


def test_a_narrow_law_is_resolved() -> None:
    """At beta = 1e7 the law is a thousandth as wide as the cells that find it."""
    trajectory = solve(make(truncated, 40, 0.1, 1e7), StationaryConfig(rates=0))
    assert np.sum(trajectory.measure(0).weights > 1e-3) > 50


def test_several_bumps_are_each_resolved() -> None:
    """A law of bumps of width 1e-2 at r = 0.1 and r = 5: halving the cells changes little."""
    problem = make(truncated, 40, 1e-2, 1e4, tau=STD)
    fine, coarse = (solve(problem, StationaryConfig((n,), rates=0)) for n in (1600, 200))
    near, far = (fine.measure(0).points[:, 0] < 1, fine.measure(0).points[:, 0] > 3)
    weights = fine.measure(0).weights
    assert weights[near].sum() > 0.1 and weights[far].sum() > 0.1
    assert weights[near].sum() + weights[far].sum() == pytest.approx(1.0, abs=1e-6)
    difference = fine.risk_at([math.inf])[0] - coarse.risk_at([math.inf])[0]
    assert abs(difference) < 2e-5


# ---- several coordinates


def gaussian_free_energy(dimensions: list[float], full: int, lam: float, beta: float) -> float:
    """1/2 - (1/beta) log of prod int r^(n-1) exp(-beta lam r^2/2) dr, ``full`` more factors over the whole line."""
    stiffness = beta * lam
    logs = [gammaln(n / 2) - math.log(2) + n / 2 * math.log(2 / stiffness) for n in dimensions]
    return 0.5 - (sum(logs) + full / 2 * math.log(2 * math.pi / stiffness)) / beta


@pytest.mark.parametrize(
    ("coordinates", "parameters", "dimensions", "full", "cells"),
    [
        (("r1", "r2"), {"d": 13, "s0": 3}, [3.0, 10.0], 0, (64, 48)),
        (("a", "b", "r"), {"d": 5}, [5.0], 2, (24, 32, 40)),
    ],
)
def test_without_potential_the_law_is_gaussian(
    coordinates: tuple[str, ...], parameters: Any, dimensions: list[float], full: int, cells: Any
) -> None:
    lam, beta = 0.3, 4.0
    problem = Problem(bare_module(coordinates), parameters, (1.0,), lam=lam, beta=beta)
    trajectory = solve(problem, StationaryConfig(cells, rates=0))
    rho = trajectory.measure(0)
    for i, name in enumerate(coordinates):
        n = dimensions[i] if not full else (1.0 if name != "r" else dimensions[0])
        # h^2/(12 sigma^2) with some ten cells to a standard deviation
        assert rho.expectation(rho.points[:, i] ** 2) == pytest.approx(n / (beta * lam), rel=0.02)
    exact = gaussian_free_energy(dimensions, full, lam, beta)
    assert trajectory.data["free_energy"].values[0] == pytest.approx(exact, abs=2e-3)


def tensor_reference(
    problem: Problem, bounds: tuple[float, ...], nodes: tuple[int, ...]
) -> tuple[float, Array]:
    """Risk and mean of the fixed point in a box, by Gauss's rule in every coordinate and a root finder."""
    module, p = problem.module, problem.parameters
    axes, logs = [], []
    for n, lower, upper, count in zip(
        problem.orbit_dimensions(), bounds[::2], bounds[1::2], nodes, strict=True
    ):
        t, weights = np.polynomial.legendre.leggauss(count)
        x = lower + (upper - lower) * (t + 1) / 2
        axes.append(x)
        logs.append(np.log(weights) + ((n - 1) * np.log(x) if n != 1 else 0.0))
    x = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=-1)
    log_mu = sum(a.ravel() for a in np.meshgrid(*logs, indexing="ij"))
    w, V, phi = module.weights(p), module.V(x, p), module.features(x, p)

    def law(z: Array) -> Array:
        exponent = log_mu - problem.beta * (V + phi @ (w * z) + problem.lam / 2 * (x**2).sum(axis=1))
        weights = np.exp(exponent - exponent.max())
        return np.asarray(weights / weights.sum())

    rho = law(fixed_point(lambda z: law(z) @ phi, len(w)))
    return float(1 + 2 * rho @ V + w @ (rho @ phi) ** 2), rho @ x


BOXES = {
    "r1, r2": (
        make(anisotropic, 40, 1e-2, 200.0, parameters={"s0": 20, "tolerance": 1e-3}),
        (0.1, 9.0, 1e-3, 9.0),
        (160, 160),
        (48, 96),
    ),
    "a, b, r": (
        make(affine, 40, 1.0, 10.0, parameters={"tolerance": 1e-4}),
        (-2.6, 2.6, -2.6, 2.6, 0.7, 3.6),
        (32, 32, 32),
        (20, 40),
    ),
}


@pytest.mark.parametrize("name", BOXES)
def test_several_coordinates_against_another_quadrature(name: str) -> None:
    problem, bounds, nodes, counts = BOXES[name]
    R, mean = tensor_reference(problem, bounds, nodes)
    errors = []
    for count in counts:
        trajectory = solve(problem, StationaryConfig((count,), rates=0))
        assert trajectory.data["gap"].values[0] <= 1e-14
        rho = trajectory.measure(0)
        errors.append(np.array([trajectory.data["risk"].values[0] - R, *(rho.weights @ rho.points - mean)]))
    # the finer cells are a fifth of the width of the law or less: errors of (1/5)^2/12
    assert np.abs(errors[1]).max() < 5e-3
    assert np.linalg.norm(errors[1]) == pytest.approx(np.linalg.norm(errors[0]) / 4, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1e-2, 1.0, 200.0, 1e5])
@pytest.mark.parametrize(
    ("module", "lam", "parameters", "bounds", "cells"),
    [
        (anisotropic, 1e-2, {"s0": 20, "tolerance": 1e-6}, None, 96),
        (anisotropic, 0.0, {"s0": 20, "tolerance": 1e-6}, (0.0, 6.0, 0.0, 6.0), 96),
        # trained output weights leave a direction in which nothing but noise bounds the law: a box holds it
        (affine, 0.1, {}, (-4.0, 4.0, -4.0, 4.0, 0.0, 6.0), 24),
    ],
)
def test_the_gap_is_reached_in_several_coordinates(
    module: ModuleType, lam: float, parameters: Any, bounds: Any, cells: int, beta: float
) -> None:
    problem = make(module, 40, lam, beta, parameters=parameters)
    trajectory = solve(problem, StationaryConfig((cells,), bounds=bounds, rates=0))
    assert trajectory.data["gap"].values[0] <= 1e-14


# ---- relaxation


@pytest.mark.parametrize(
    ("coordinates", "n", "spectrum"),
    [
        # theory of the Ornstein-Uhlenbeck process in the clock tau: 2 lam a degree, even degrees in a norm
        (("r",), 1, [4, 8, 12]),
        (("r",), 2, [4, 8, 12]),
        (("r",), 40, [4, 8, 12]),
        (("a", "r"), 3, [2, 4, 4, 6, 6]),
    ],
)
def test_ornstein_uhlenbeck_rates(coordinates: tuple[str, ...], n: int, spectrum: list[int]) -> None:
    lam, beta = 0.35, 3.0
    problem = Problem(bare_module(coordinates), {"d": n}, (1.0,), lam=lam, beta=beta)
    exact = lam * np.array(spectrum)
    counts = (100, 200) if len(coordinates) == 1 else (24, 48)
    errors = []
    for count in counts:
        trajectory = solve(problem, StationaryConfig((count,), rates=len(spectrum)))
        errors.append(trajectory.data["relaxation_rates"].values / exact - 1)
    orders = np.log2(np.abs(errors[0] / errors[1]))
    assert np.abs(orders - 2).max() < 0.15
    # the slowest: (n + 1) h^2/sigma^2 over 12 at most, with h = sigma/20 and sigma/7
    assert abs(errors[1][0]) < (2e-3 if len(coordinates) == 1 else 0.02)


def small_law(d: int = 7, beta: float = 20.0) -> Any:
    """A law with interaction on few cells, from dual_maximum on given cells."""
    problem = make(truncated, d, 0.05, beta, parameters={"tolerance": 1e-2})
    cells = Cells(("r",), (np.linspace(0.0, 5.0, 25) ** 1.2,), (float(d),))
    return problem, dual_maximum(gibbs_law(problem, cells), 1e-14, 50)


def scheme(problem: Problem, law: Any, masses: Array) -> Array:
    """d masses/dtau of the nonlinear Scharfetter-Gummel scheme in r, in terms of densities; slow and plain."""
    (ends,) = law.cells.edges
    r, h = (ends[1:] + ends[:-1]) / 2, np.diff(ends)
    w, beta = law.table.weights(None), problem.beta
    phi = law.table.features(None, None)
    psi = law.table.V(None, None) + problem.lam * r**2 / 2 + phi @ (w * (masses @ phi))
    # the mean of r^(n-1) over each cell, by quadrature
    t, weights = np.polynomial.legendre.leggauss(30)
    n = problem.orbit_dimensions()[0]
    area = ((r[:, None] + h[:, None] / 2 * t) ** (n - 1)) @ weights / 2
    g, rho = beta * psi - np.log(area), masses / h
    rate = np.zeros_like(masses)
    for i in range(len(r) - 1):
        dg = g[i + 1] - g[i]
        flux = 2 / beta / (r[i + 1] - r[i]) * dg * (rho[i] / math.expm1(dg) + rho[i + 1] / math.expm1(-dg))
        rate[i] -= flux
        rate[i + 1] += flux
    return rate


def jacobian(problem: Problem, law: Any) -> Array:
    """Derivative of ``scheme`` at the fixed point, by central differences."""
    columns = []
    for i in range(law.cells.count):
        shift = np.zeros(law.cells.count)
        shift[i] = 1e-6
        ahead, behind = (scheme(problem, law, law.masses + s * shift) for s in (1, -1))
        columns.append((ahead - behind) / 2e-6)
    return np.stack(columns, axis=1)


def relax(law: Any, count: int, **more: Any) -> Any:
    return relaxation(law.cells, law.beta, law.psi, law.masses, law.features, count, **more)


def test_rates_are_those_of_the_linearised_scheme() -> None:
    problem, law = small_law()
    assert np.abs(scheme(problem, law, law.masses)).max() < 1e-9
    J = jacobian(problem, law)
    found = relax(law, law.cells.count - 2)
    spectrum = np.sort(-eigvals(J).real)
    assert np.abs(eigvals(J).imag).max() < 1e-6 * spectrum[-1]
    assert np.all(found.rates > 0)
    # differences of a smooth function over 1e-6: 1e-9 of the largest rate
    assert abs(spectrum[0]) < 1e-8 * spectrum[-1]
    assert found.rates == pytest.approx(spectrum[1:-1], rel=1e-6, abs=1e-8 * spectrum[-1])
    for rate, mode in zip(found.rates[:4], found.modes[:4], strict=True):
        assert abs(mode.sum()) < 1e-9 and np.abs(mode).sum() == pytest.approx(1.0)
        assert J @ mode == pytest.approx(-rate * mode, abs=1e-7 * spectrum[-1])
        # the exponential of the whole operator
        assert expm(J / rate) @ mode == pytest.approx(math.exp(-1) * mode, abs=1e-5)


def test_interaction_changes_the_rates() -> None:
    """The rank-K part matters here, so that the test above has seen it."""
    _, law = small_law()
    alone = relaxation(law.cells, law.beta, law.psi, law.masses, 0.0 * law.features, 2)
    assert relax(law, 2).rates[0] > 1.2 * alone.rates[0]


def test_a_perturbation_decays_at_the_slowest_rate() -> None:
    problem, law = small_law()
    found = relax(law, 2)
    start = law.masses * (1 + 1e-3 * np.cos(np.arange(law.cells.count)))
    start /= start.sum()
    times = np.array([8.0, 10.0]) / found.rates[0]
    run = solve_ivp(
        lambda t, m: scheme(problem, law, m),
        (0, times[-1]),
        start,
        method="LSODA",
        t_eval=times,
        rtol=1e-10,
        atol=1e-13,
    )
    distance = np.abs(run.y.T - law.masses).sum(axis=1)
    observed = math.log(distance[0] / distance[1]) / (times[1] - times[0])
    # the second mode, at 1.6 times the rate, has died down by exp(-5); rtol leaves 1e-13 of 1e-7
    assert observed == pytest.approx(found.rates[0], rel=0.01)


@pytest.mark.parametrize("module", [truncated, anisotropic])
def test_the_sparse_method_agrees_with_the_dense_one(module: ModuleType) -> None:
    parameters: dict[str, Any] = {"tolerance": 1e-3}
    edges = tuple(np.linspace(0.2 + i, 6.0, 22 + i) for i in range(len(module.COORDINATES)))
    if module is anisotropic:
        parameters["s0"] = 15
    problem = make(module, 40, 1e-2, 100.0, parameters=parameters)
    cells = Cells(module.COORDINATES, edges, problem.orbit_dimensions())
    law = dual_maximum(gibbs_law(problem, cells), 1e-14, 50)
    dense, sparse = relax(law, 5), relax(law, 5, dense=0)
    # a shift of 1e-8 of the largest rate costs eight digits of the inverse, none of the quotients
    assert sparse.rates == pytest.approx(dense.rates, rel=1e-7)
    for one, other in zip(dense.modes, sparse.modes, strict=True):
        assert min(np.abs(one - other).sum(), np.abs(one + other).sum()) < 1e-4


def test_empty_cells_do_not_hold_on_to_mass() -> None:
    """Between the bumps neither the drift of Psi nor that of the areas is resolved by 200 cells.

    Were they not taken together, empty cells would exchange nothing and look like slow modes.
    """
    problem = make(truncated, 320, 1e-2, 200.0)
    coarse, fine = (
        solve(problem, StationaryConfig((n,))).data["relaxation_rates"].values for n in (200, 800)
    )
    # the exchange between the bumps takes for ever; the next is the relaxation within one
    assert coarse[0] < 1e-8 and fine[0] < 1e-8
    assert coarse[1] == pytest.approx(fine[1], rel=0.1) and fine[1] > 0.02


# ---- what comes back, and what does not


def test_what_is_stored(tmp_path: Path) -> None:
    problem = make(truncated, 40, 1e-2, 200.0)
    made = solve(problem, StationaryConfig((100,)))
    made.save(tmp_path / "gibbs.nc")
    trajectory = Trajectory.load(tmp_path / "gibbs.nc")
    assert trajectory.complete and trajectory.times.tolist() == [math.inf]
    assert trajectory.data.attrs["method"] == "stationary"
    assert trajectory.data.attrs["beta"] == 200.0 and trajectory.data.attrs["lam"] == 1e-2
    rho = trajectory.measure(0)
    assert rho.weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert trajectory.risk_at([math.inf])[0] == pytest.approx(
        risk(truncated, rho, problem.parameters), rel=1e-12, abs=0
    )
    # a stationary state belongs to no finite time
    with pytest.raises(KeyError, match="t = 1"):
        trajectory.risk_at([1.0])
    rates = trajectory.data["relaxation_rates"].values
    assert rates.shape == (4,) and np.all(np.diff(rates) > 0) and rates[0] > 0
    assert trajectory.data["relaxation_modes"].shape == (4, 100)
    assert "relaxation_rates" not in solve(problem, StationaryConfig((100,), rates=0)).data


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    solve(make(truncated, 40, 1e-2, 20.0), StationaryConfig((50,)), seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_too_few_iterations_keep_what_was_reached() -> None:
    with pytest.raises(
        NumericalFailure, match=r"duality gap is .* after 2 Newton steps.*max_iterations"
    ) as info:
        solve(make(truncated, 40, 1e-2, 200.0), StationaryConfig(max_iterations=2))
    partial = info.value.partial
    assert partial is not None and not partial.complete
    assert partial.data["gap"].values[0] > 1e-10
    assert partial.measure(0).weights.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("beta", "lam"), [(200.0, 0.0), (1e5, 0.0), (1e-2, 0.0)])
def test_without_ridge_there_is_no_law_on_a_half_line(beta: float, lam: float) -> None:
    """Also where the well of Psi seems to hold everything: the area grows for ever."""
    with pytest.raises(BadInput, match=r"lam = 0: .*r = inf.*lam > 0.*r_max"):
        solve(make(truncated, 40, lam, beta))
    with pytest.raises(BadInput, match="r = inf"):
        solve(make(truncated, math.inf, lam, beta, radial_entropy=False))


def test_a_potential_that_grows_needs_no_ridge() -> None:
    """exp(-beta r) r^(n-1): the mean of a Gamma law is n/beta."""
    trajectory = solve(make(bare_module(V=lambda x: x[..., 0]), 3, 0.0, 5.0), StationaryConfig(rates=0))
    assert trajectory.measure(0).mean() == pytest.approx(3 / 5, rel=1e-3)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cells": 400}, "cells = 400"),
        ({"cells": (4,)}, "cells = 4"),
        ({"cells": (2.5,)}, r"cells = 2\.5"),
        ({"r_max": -1.0}, r"r_max = -1\.0"),
        ({"r_max": math.inf}, "r_max = inf"),
        ({"r_max": 3.0, "bounds": (0.0, 1.0)}, "only one"),
        ({"bounds": [0.0, 1.0]}, r"bounds = \[0\.0, 1\.0\]"),
        ({"bounds": (0.0, math.nan)}, "bounds = nan"),
        ({"gap": 0.0}, r"gap = 0\.0"),
        ({"gap": math.inf}, "gap = inf"),
        ({"max_iterations": 0}, "max_iterations = 0"),
        ({"rates": -1}, "rates = -1"),
    ],
)
def test_bad_configuration_names_the_value(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        StationaryConfig(**fields)


@pytest.mark.parametrize(
    ("coordinates", "beta", "config", "named"),
    [
        (("r",), math.inf, {}, "beta = inf"),
        (("a", "b", "r1", "r2"), 1.0, {}, "a, b, r1, r2"),
        (("r",), 1.0, {"bounds": (1.0,)}, r"bounds = \(1\.0,\)"),
        (("r",), 1.0, {"bounds": (2.0, 1.0)}, r"2\.0, 1\.0"),
        (("r",), 1.0, {"cells": (50, 50)}, r"cells = \(50, 50\)"),
        (("a", "b", "r"), 1.0, {"cells": (500,)}, r"cells = \(500,\).*cells=\(464,\)"),
        (("a", "b", "r"), 1.0, {"cells": (41,)}, r"cells=\(40,\), or rates=0"),
    ],
)
def test_bad_input_names_the_value(
    coordinates: tuple[str, ...], beta: float, config: dict[str, Any], named: str
) -> None:
    problem = Problem(bare_module(coordinates), {"d": 6, "s0": 3}, (1.0,), lam=1.0, beta=beta)
    with pytest.raises(BadInput, match=named):
        solve(problem, StationaryConfig(**config))
