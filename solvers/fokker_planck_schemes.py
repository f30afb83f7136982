"""Schemes for the radial Fokker-Planck equation: what one time step does, in NumPy.

The facet fluxes themselves are finite-element forms and live in ``solvers.fokker_planck``; here they
arrive as callables.  Everything is dimensionless; arrays over cells are sorted by increasing r, and
rho is the density of r = |w| with respect to dr, one average per cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.linalg import solve_banded
from scipy.special import xlogy

from workbench.errors import BadInput, NumericalFailure
from workbench.measure import Array, Measure, Psi, feature_moments, grad_Psi, risk
from workbench.problem import Problem

POSITIVITY_CFL = 0.5  # Perthame & Shu 1996: two face values share a cell average in equal parts
FIXED_POINT_TOLERANCE = 1e-11  # on the moments; times the change of rho in a step it is below rounding
FIXED_POINT_ITERATIONS = 20
INITIAL_TAIL = 1e-9  # initial mass that may lie beyond r_max before normalisation
SOLVER_ROUNDING = 1e-9  # relative mass a solve may lose, about 1e-16 dt/(beta width^2); it is scaled back
REJECTIONS = 40  # each at least halves the step: 1e-12 of the first try
FREE_ENERGY_ROUNDING = 1e-12  # a sum over 1e3 cells of O(1) terms, with a margin of about 1e3

UpwindInflow = Callable[[Array, Array, Array], Array]
DiffusionMatrix = Callable[[Array], Array]


@dataclass(frozen=True)
class Cells:
    """Uniform cells of [0, edges[-1]]: edges (n+1,), centres (n,), and the module tabulated at both."""

    edges: Array
    centres: Array
    width: float
    at_centres: Any
    at_edges: Any


@dataclass(frozen=True)
class State:
    """One instant: rho (n,), its last time derivative slope (n,), the last step and the next to try,
    and for beta < inf the lowest free energy so far."""

    rho: Array
    slope: Array
    dt_last: float
    dt_next: float
    lowest: float = math.inf


def tabulated(module: Any, x: Array, p: Any) -> Any:
    """``module`` with V, features and their gradients evaluated once at ``x`` (n, 1).

    The result follows the module protocol but ignores its argument x, so that the functionals of
    ``workbench.measure`` apply unchanged and cost one matrix product.
    """
    names = ("V", "features", "grad_V", "grad_features")
    tables = {name: np.asarray(getattr(module, name)(x, p), dtype=float) for name in names}
    for name, table in tables.items():
        if not np.isfinite(table).all():
            row = np.argwhere(~np.isfinite(table))[0][0]
            raise NumericalFailure(f"{name} of the module is not finite at r = {x[row, 0]}: regenerate it")
    w = np.asarray(module.weights(p), dtype=float)
    constant = {name: (lambda x, p, table=table: table) for name, table in tables.items()}
    return SimpleNamespace(weights=lambda p: w, **constant)


def uniform_cells(problem: Problem, count: int, width: float) -> Cells:
    """``count`` cells of the given width, starting at r = 0."""
    edges = np.asarray(width * np.arange(count + 1), dtype=np.float64)
    centres = np.asarray(width * (np.arange(count) + 0.5), dtype=np.float64)
    module, p = problem.module, problem.parameters
    return Cells(
        edges, centres, width, tabulated(module, centres[:, None], p), tabulated(module, edges[:, None], p)
    )


def initial_state(problem: Problem, cells: Cells) -> State:
    """The exact cell averages of the initial law, normalised to mass one."""
    masses = np.maximum(np.diff(problem.initial.radial_cdf(cells.edges, problem.d)), 0.0)
    rho = masses / (masses.sum() * cells.width)
    return State(rho, np.zeros_like(rho), dt_last=0.0, dt_next=math.inf)


def first_mesh(problem: Problem, count: int, r_max: float | None) -> Cells:
    """``count`` cells of [0, r_max] that hold the initial law; BadInput if they cannot, or it is no density."""
    coordinates = tuple(problem.module.COORDINATES)
    if coordinates != ("r",):
        raise BadInput(
            f"COORDINATES = {coordinates}: this solver takes models reduced to r, e.g. isotropic_truncated_relu"
        )
    if math.isinf(problem.d):
        raise BadInput(f"d = {problem.d}: the initial law is a point, not a density; use particles")
    radius = float(problem.initial.radial_quantiles(np.array([1 - 1e-12]), problem.d)[0])
    r_max = 4.0 * radius if r_max is None else r_max
    if not 1.0 - float(problem.initial.radial_cdf(np.array([r_max]), problem.d)[0]) <= INITIAL_TAIL:
        raise BadInput(f"r_max = {r_max} does not hold the initial law: give r_max >= {radius:.3g} or None")
    if r_max / count < 1e-9:
        raise BadInput(f"r_max = {r_max} in {count} cells is too fine a mesh: give a larger r_max or kappa")
    return uniform_cells(problem, count, r_max / count)


def lengthened(problem: Problem, cells: Cells, state: State, max_cells: int) -> tuple[Cells, State]:
    """The same state with a quarter more cells, empty and of the same width; nothing is interpolated."""
    count = len(cells.centres)
    more = min(count // 4, max_cells - count)
    if more <= 0:
        raise NumericalFailure(
            f"mass reached r = {cells.edges[-1]:.4g} and max_cells = {max_cells} is used up; "
            "raise max_cells or r_max"
        )
    longer = uniform_cells(problem, count + more, cells.width)
    pad = (0, more)
    return longer, replace(state, rho=np.pad(state.rho, pad), slope=np.pad(state.slope, pad))


def as_measure(cells: Cells, rho: Array) -> Measure:
    """The cell masses width rho, placed at the cell centres."""
    return Measure(cells.centres[:, None], cells.width * rho)


def edge_velocity(problem: Problem, cells: Cells, rho: Array) -> Array:
    """-2 d_r psi_lam at the edges, shape (n+1,): the drift of the distributional dynamics [MMN18]."""
    p = problem.parameters
    moments = feature_moments(cells.at_centres, as_measure(cells, rho), p)
    slope = grad_Psi(cells.at_edges, cells.edges[:, None], moments, p)[:, 0]
    return -2.0 * (slope + problem.lam * cells.edges)


def mean_peclet(problem: Problem, cells: Cells, rho: Array) -> float:
    """int beta width |d_r psi_lam|/2 drho: drift against diffusion on the scale of one cell."""
    speed = np.abs(edge_velocity(problem, cells, rho))
    mean_speed = as_measure(cells, rho).expectation(0.5 * (speed[1:] + speed[:-1]))
    return float(0.25 * problem.beta * cells.width * mean_speed)


def gibbs_exponent(problem: Problem, cells: Cells, moments: Array) -> Array:
    """beta psi_lam - (n - 1) log r at the centres, shape (n,): minus the log of the Gibbs density of r."""
    r = cells.centres
    psi = Psi(cells.at_centres, r[:, None], moments, problem.parameters)
    return problem.beta * (psi + 0.5 * problem.lam * r**2) - (problem.d - 1) * np.log(r)


def free_energy(problem: Problem, cells: Cells, rho: Array) -> float:
    """F = R/2 + (lam/2) int r^2 drho + (1/beta) int rho log(rho / r^(n-1)) dr  [MMN18].

    The constant E y^2/2 is kept (it is part of R); the log-area of the unit sphere, a constant over
    beta, is dropped.
    """
    mu, r = as_measure(cells, rho), cells.centres
    ridge = 0.5 * problem.lam * mu.expectation(r**2)
    entropy = cells.width * (xlogy(rho, rho) - (problem.d - 1) * rho * np.log(r)).sum()
    return float(0.5 * risk(cells.at_centres, mu, problem.parameters) + ridge + entropy / problem.beta)


def fit_step(dt: float, remaining: float) -> float:
    """The step to take: ``remaining`` itself when within reach, half of it when nearly, else ``dt``."""
    if dt >= remaining:
        return remaining
    return 0.5 * remaining if 2 * dt > remaining else dt


def face_values(rho: Array) -> tuple[Array, Array]:
    """van Leer's limited linear reconstruction: values at the left and the right end of every cell.

    slope = 2ab/(a + b) where the one-sided differences a, b agree in sign, else 0.  Both values lie
    between those of the neighbouring cells, so they are >= 0 with rho, and their mean is rho.
    """
    a, b = np.diff(rho[:-1]), np.diff(rho[1:])
    product, total = a * b, a + b
    half = np.zeros_like(rho)
    np.divide(product, total, out=half[1:-1], where=product > 0)
    half = np.clip(half, -rho, rho)  # |half| < rho already, but only up to rounding
    return rho - half, rho + half


def transport_step(
    problem: Problem,
    cells: Cells,
    inflow: UpwindInflow,
    longest: float,
    cfl: float,
    state: State,
    remaining: float,
) -> State:
    """One step of Heun's strong-stability-preserving method at beta = inf; order 2 in time and space.

    Each stage is a forward Euler step dt max|c| <= width/2 of a conservative upwind scheme whose
    face values are >= 0 and average to rho, so it keeps rho >= 0 (the argument of Perthame & Shu
    1996: the outflow of a cell is at most dt/width max|c| times the sum of its two face values, which
    is twice its average); the method is a convex combination of such steps.  The speeds of the second stage are checked after the
    fact and the step is shortened when they break the bound.
    """
    rho = state.rho

    def stage(values: Array, velocity: Array) -> Array:
        left, right = face_values(values)
        return inflow(velocity, left, right) / cells.width

    first = edge_velocity(problem, cells, rho)
    speed = np.abs(first[1:-1]).max()
    dt = fit_step(min(longest, cfl * cells.width / speed if speed > 0 else math.inf), remaining)
    slope = stage(rho, first)
    while True:
        euler = rho + dt * slope
        second = edge_velocity(problem, cells, euler)
        courant = dt * np.abs(second[1:-1]).max() / cells.width
        if courant <= POSITIVITY_CFL:
            break
        if not math.isfinite(courant):
            raise NumericalFailure("the drift is not finite")
        dt *= 0.9 * POSITIVITY_CFL / courant
    new = 0.5 * (rho + (euler + dt * stage(euler, second)))
    return State(new, state.slope, dt, dt)


def implicit_solution(
    problem: Problem, cells: Cells, matrix: DiffusionMatrix, rho: Array, dt: float, guess: Array
) -> Array | None:
    """rho_new = rho - dt/width A(rho_new) rho_new, the K moments in A found by Anderson's iteration.

    For given moments I + dt/width A is an M-matrix whose columns sum to one, so rho_new >= 0 has the
    mass of rho, up to the rounding of the solve, which is scaled away.  Returns None when that
    rounding is not small or the moments have not settled.
    """

    def moments_of(values: Array) -> Array:
        return feature_moments(cells.at_centres, as_measure(cells, values), problem.parameters)

    tried, found = [moments_of(guess)], []
    for _ in range(FIXED_POINT_ITERATIONS):
        bands = (dt / cells.width) * matrix(gibbs_exponent(problem, cells, tried[-1]))
        bands[1] += 1.0
        new = solve_banded((1, 1), bands, rho, check_finite=False)
        lost = 1.0 / (cells.width * new.sum()) - 1.0
        if not (abs(lost) <= SOLVER_ROUNDING and new.min() >= 0):
            return None
        new *= 1.0 + lost
        found.append(moments_of(new))
        residuals = np.subtract(found, tried)[-6:]
        if np.abs(residuals[-1]).max(initial=0.0) <= FIXED_POINT_TOLERANCE * (
            1 + np.abs(found[-1]).max(initial=0.0)
        ):
            return new
        mixing = np.linalg.lstsq(np.diff(residuals, axis=0).T, residuals[-1], rcond=None)[0]
        tried.append(found[-1] - mixing @ np.diff(found[-6:], axis=0))
    return None


def diffusion_step(
    problem: Problem,
    cells: Cells,
    matrix: DiffusionMatrix,
    longest: float,
    tolerance: float,
    state: State,
    remaining: float,
) -> State:
    """One step of implicit Euler with Scharfetter-Gummel fluxes; order 1 in time, 2 in space.

    The drift is taken at the new time.  As F is convex along mixtures and J vanishes with the
    discrete gradient of beta psi_lam - (n-1) log r + log rho, F falls at every step whatever dt
    [MMN18; JKO98]; this is checked, and a step that fails is repeated with half of it.  The local
    error is dt/(dt + dt_last) |rho_new - rho - dt slope|_1, and kept below ``tolerance``.  In space
    the order falls to 1 where the cell Peclet number beta width |d_r psi_lam|/2 exceeds 1.
    """
    rho, width = state.rho, cells.width
    proposed = min(longest, state.dt_next)
    if state.dt_last == 0:  # no slope to extrapolate yet: the first step may move a mass of ``tolerance``
        moments = feature_moments(cells.at_centres, as_measure(cells, rho), problem.parameters)
        outflow = matrix(gibbs_exponent(problem, cells, moments))[1] @ rho
        proposed = min(longest, 0.5 * tolerance / outflow)
    dt = fit_step(proposed, remaining)
    # against the lowest value, not the last: else many small rises would pass
    lowest = min(state.lowest, free_energy(problem, cells, rho))
    bound = lowest + FREE_ENERGY_ROUNDING * (1 + abs(lowest))
    for _ in range(REJECTIONS):
        predicted = rho + dt * state.slope
        new = implicit_solution(problem, cells, matrix, rho, dt, predicted)
        if new is None or not free_energy(problem, cells, new) <= bound:
            dt, proposed = 0.5 * dt, 0.0
            continue
        error = dt / (dt + state.dt_last) * width * np.abs(new - predicted).sum()
        factor = min(2.0, max(0.2, 0.9 * math.sqrt(tolerance / error))) if error > 0 else 2.0
        if error > tolerance:
            dt, proposed = min(factor, 0.5) * dt, 0.0
            continue
        # a step cut short to land on a time is no reason to forget the longer one
        following = max(factor * dt, proposed if factor > 1 else 0.0)
        return State(new, (new - rho) / dt, dt, following, lowest)
    raise NumericalFailure(
        f"the time step fell to {dt:.1e} without the free energy falling, the drift settling and the "
        "local error meeting the tolerance; use more cells or a larger step_tolerance"
    )
