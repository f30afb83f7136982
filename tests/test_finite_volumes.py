"""The Markov process on cells: its rates against the weak form, its balances, its exponential, its order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest

pytest.importorskip("dolfinx_solver", reason="the Fokker-Planck solver needs DOLFINx")

from solvers import finite_volumes
from solvers.cells import Cells
from solvers.finite_volumes import FiniteVolumes, compiled
from solvers.fokker_planck import FokkerPlanckConfig, solve
from tests.densities import (
    FIXED_STEPS,
    check_invariants,
    edges_of,
    free,
    generator,
    landscape,
    masses_of,
    order,
    uneven,
)
from workbench.initial import GaussianInitialLaw
from workbench.measure import Array

EPSILON = float(np.finfo(float).eps)


CELLS = {
    "b": Cells(("b",), (uneven(-1.0, 2.0, 12, 1),), (1.0,)),
    "n=3": Cells(("r",), (uneven(0.0, 2.0, 12, 2),), (3.0,)),
    "n=40": Cells(("r",), (uneven(0.0, 1.5, 30, 3),), (40.0,)),
    "b, r": Cells(("b", "r"), (uneven(-1.0, 1.0, 7, 4), uneven(0.0, 2.0, 5, 5)), (1.0, 3.0)),
    "r1, r2": Cells(("r1", "r2"), (uneven(0.0, 1.0, 6, 6), uneven(0.5, 2.0, 8, 7)), (40.0, 1.0)),
    "a, b, r": Cells(
        ("a", "b", "r"),
        (uneven(-1.0, 1.0, 4, 8), uneven(0.0, 1.0, 3, 9), uneven(0.0, 1.5, 5, 10)),
        (1.0, 1.0, 40.0),
    ),
}
EVERY = pytest.mark.parametrize("name", CELLS)


def mean_areas(cells: Cells, axis: int) -> Array:
    """The mean of x^(n-1) over the cells, by the antiderivative."""
    n, ends = cells.dimensions[axis], cells.edges[axis]
    means = np.diff(ends**n) / (n * np.diff(ends))
    return np.asarray(means[np.unravel_index(np.arange(cells.count), cells.shape)[axis]])


def facets_of(cells: Cells) -> Iterator[tuple[int, int, int]]:
    """Numbers of the lower and the upper cell, and the axis, of every facet between two cells."""
    number = np.arange(cells.count).reshape(cells.shape)
    for axis in range(len(cells.shape)):
        along = np.moveaxis(number, axis, 0)
        yield from (
            (int(a), int(b), axis) for a, b in zip(along[:-1].ravel(), along[1:].ravel(), strict=True)
        )


def widths(cells: Cells, axis: int) -> Array:
    """Widths of all cells along one axis."""
    return np.asarray(np.diff(cells.edges[axis])[np.unravel_index(np.arange(cells.count), cells.shape)[axis]])


def without_areas(cells: Cells) -> Cells:
    """As without noise, where no entropy weighs areas."""
    return replace(cells, dimensions=(1.0,) * len(cells.shape))


# ---- the rates


@EVERY
@pytest.mark.parametrize("beta", [0.5, 30.0])
def test_without_a_density_the_generator_is_the_weak_form_of_scharfetter_and_gummel(
    name: str, beta: float
) -> None:
    cells = CELLS[name]
    volumes = FiniteVolumes(cells, beta)
    psi, _ = landscape(cells, 11)
    fast, fastest = generator(volumes, psi, np.zeros(cells.count))  # nothing to weigh kappa: it is 1
    assert fastest == 0
    slow = weak_form(volumes, psi)
    # some ten operations, the exponential of up to 1e2
    np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-13 * np.abs(slow).max())


def weak_form(volumes: FiniteVolumes, psi: Array) -> Array:
    """-int [v] F dS with F the flux of Scharfetter and Gummel, rows v and columns masses, in the order of the cells."""
    fx, cells, beta = volumes.fx, volumes.cells, volumes.beta
    ufl, V = fx.ufl, volumes.space

    def constant_on_cells(values: Array) -> Any:
        u = fx.fem.Function(V)
        u.x.array[:] = values[volumes.owned]
        return u

    def B(z: Any) -> Any:
        return ufl.conditional(abs(z) < 1e-3, 1 - z / 2 + z**2 / 12 - z**4 / 720, z / (ufl.exp(z) - 1))

    u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
    x, normal, energy = (
        ufl.SpatialCoordinate(volumes.mesh),
        ufl.FacetNormal(volumes.mesh),
        constant_on_cells(psi),
    )
    inverse = fx.fem.Constant(volumes.mesh, 1 / beta)
    climb = (energy("-") - energy("+")) / inverse
    flux = 0
    for axis in range(len(cells.shape)):
        power = fx.fem.Constant(volumes.mesh, cells.dimensions[axis] - 1)
        mean, centre = constant_on_cells(mean_areas(cells, axis)), constant_on_cells(cells.centres[:, axis])
        crossed = abs(normal("+")[axis])  # 1 where the facet is normal to the axis, else 0
        distance = abs(centre("+") - centre("-")) + (1 - crossed)
        area = x[axis] ** power
        out, back = area / mean("+") * B(climb) * u("+"), area / mean("-") * B(-climb) * u("-")
        flux += crossed * 2 * inverse / distance * (out - back)
    # facets are normal to an axis, so that one point is exact
    form = -ufl.inner(flux, v("+") - v("-")) * ufl.dS(metadata={"quadrature_degree": 0})
    matrix = fx.fem.assemble_matrix(fx.form(form))
    matrix.scatter_reverse()
    dense = np.zeros((cells.count,) * 2)
    dense[np.ix_(volumes.owned, volumes.owned)] = matrix.to_dense()
    return np.asarray(dense / cells.volumes)


@EVERY
@pytest.mark.parametrize("beta", [0.5, 30.0])
def test_mass_is_kept_and_the_gibbs_law_is_in_detailed_balance_whatever_the_density(
    name: str, beta: float
) -> None:
    cells = CELLS[name]
    volumes = FiniteVolumes(cells, beta)
    psi, masses = landscape(cells, 12)
    masses[::5] = 0.0
    A, fastest = generator(volumes, psi, masses)
    assert fastest > 0
    size = np.abs(np.diag(A))
    assert (A - np.diag(np.diag(A)) >= 0).all()
    # a sum of up to seven numbers
    assert (np.abs(A.sum(axis=0)) <= 8 * EPSILON * size).all()
    log_reference = np.log(cells.volumes)
    for axis, n in enumerate(cells.dimensions):
        log_reference += np.log(mean_areas(cells, axis)) if n != 1 else 0.0
    log_gibbs = log_reference - beta * psi
    rows, columns = np.nonzero(A * (1 - np.eye(cells.count)))
    ahead = np.log(A[rows, columns]) + log_gibbs[columns]
    behind = np.log(A[columns, rows]) + log_gibbs[rows]
    # exponents of up to 1e2 and logs of powers of 40
    np.testing.assert_allclose(ahead, behind, rtol=0, atol=1e-11)


@EVERY
@pytest.mark.parametrize("beta", [0.5, 30.0, 1e9, math.inf])
def test_no_rate_is_more_than_twice_the_plain_one_or_that_of_the_drift(name: str, beta: float) -> None:
    cells = CELLS[name] if beta < math.inf else without_areas(CELLS[name])
    volumes = FiniteVolumes(cells, beta)
    psi, masses = landscape(cells, 13)
    A, fastest = generator(volumes, psi, masses)
    assert fastest == pytest.approx(-np.diag(A).min(), rel=1e-12)
    plain, _ = generator(volumes, psi, np.zeros(cells.count))
    for left, right, axis in facets_of(cells):
        climb = abs(psi[right] - psi[left])
        down = climb + (0.0 if math.isinf(beta) else float(climb / mpmath.expm1(beta * climb)))
        for source, target in ((left, right), (right, left)):
            drift = (
                2
                * down
                / (abs(cells.centres[right] - cells.centres[left])[axis] * widths(cells, axis)[source])
            )
            # rounding of some ten operations
            assert 0 <= A[target, source] <= 2 * max(plain[target, source], drift) * (1 + 1e-12)


def limited_slope(cells: Cells, axis: int, rho: Array, cell: int) -> float:
    """Van Leer's monotonised central difference in one cell; 0 at the boundary."""
    at = np.unravel_index(cell, cells.shape)
    if not 0 < at[axis] < cells.shape[axis] - 1:
        return 0.0
    low, high = (
        int(np.ravel_multi_index([k + shift * (i == axis) for i, k in enumerate(at)], cells.shape))
        for shift in (-1, 1)
    )
    x = cells.centres[:, axis]
    a, b = ((rho[j] - rho[cell]) / (x[j] - x[cell]) for j in (low, high))
    if a * b <= 0:
        return 0.0
    # the slope of the parabola through the three values
    central = (a * (x[high] - x[cell]) + b * (x[cell] - x[low])) / (x[high] - x[low])
    return math.copysign(min(abs(central), 2 * abs(a), 2 * abs(b)), a)


def slow_rates(
    cells: Cells, beta: float, psi: Array, rho: Array, facet: tuple[int, int, int]
) -> tuple[float, float, float, bool]:
    """k(L -> R), k(R -> L), the flux of the head of the module through a unit of area, and whether kappa is cut off."""
    left, right, axis = facet
    mean, n = mean_areas(cells, axis), cells.dimensions[axis]
    x, h = cells.centres[:, axis], widths(cells, axis)
    at = x[left] + h[left] / 2
    dg = beta * (psi[right] - psi[left])

    def B(z: float) -> float:
        return float(z / mpmath.expm1(z)) if z else 1.0

    out, back = at ** (n - 1) / mean[left] * B(dg), at ** (n - 1) / mean[right] * B(-dg)
    X = float(mpmath.log(out * mpmath.mpf(rho[left]) / (back * mpmath.mpf(rho[right]))))
    giver = left if X > 0 else right
    face = rho[giver] + limited_slope(cells, axis, rho, giver) * (at - x[giver])
    plain = B(-abs(dg)) / max(out, back)
    least, most = min(1.0, plain) / 2, 2 * max(1.0, plain)
    kappa = face * X / (out * rho[left] - back * rho[right])
    cut = not least <= kappa <= most
    kappa = min(max(kappa, least), most)
    D = x[right] - x[left]
    hops = [kappa * 2 / beta / (D * h[cell]) for cell in (left, right)]
    return hops[0] * out, hops[1] * back, 2 / beta * face * X / D, cut


RESOLVED = {
    "b": Cells(("b",), (uneven(-1.0, 2.0, 30, 1),), (1.0,)),
    "n=3": Cells(("r",), (uneven(0.0, 2.0, 30, 2),), (3.0,)),
    "n=40": Cells(("r",), (uneven(0.8, 1.5, 60, 3),), (40.0,)),
    "r1, r2": Cells(("r1", "r2"), (uneven(0.0, 1.5, 10, 6), uneven(0.9, 1.2, 14, 7)), (3.0, 40.0)),
    "a, b, r": Cells(
        ("a", "b", "r"),
        (uneven(-1.0, 1.0, 8, 8), uneven(0.0, 1.0, 6, 9), uneven(0.5, 1.5, 8, 10)),
        (1.0, 1.0, 3.0),
    ),
}


@pytest.mark.parametrize("beta", [2.0, 40.0])
@pytest.mark.parametrize("name", RESOLVED)
def test_the_flux_of_a_smooth_density_is_that_of_its_chemical_potential(name: str, beta: float) -> None:
    cells = RESOLVED[name]
    volumes = FiniteVolumes(cells, beta)
    psi = (cells.centres**2).sum(axis=1) * 0.4 - np.sin(cells.centres[:, 0])
    rho = np.exp(-2 * ((cells.centres - 0.9) ** 2).sum(axis=1))
    masses = rho * cells.volumes
    A, _ = generator(volumes, psi, masses)
    facets = list(facets_of(cells))
    followed = 0
    for left, right, axis in facets:
        rightwards, leftwards, flux, cut = slow_rates(cells, beta, psi, rho, (left, right, axis))
        # logs of powers of 40, and the difference of two rates in kappa
        assert A[right, left] == pytest.approx(rightwards, rel=1e-9)
        assert A[left, right] == pytest.approx(leftwards, rel=1e-9)
        if not cut:
            followed += 1
            section = cells.volumes[left] / widths(cells, axis)[left]
            here, there = A[right, left] * masses[left], A[left, right] * masses[right]
            assert here - there == pytest.approx(flux * section, abs=1e-10 * (here + there))
    assert followed >= 0.9 * len(facets)


@EVERY
@pytest.mark.parametrize("beta", [0.5, 30.0])
def test_the_rates_of_a_rough_density_are_those_of_a_slow_loop(name: str, beta: float) -> None:
    cells = CELLS[name]
    volumes = FiniteVolumes(cells, beta)
    psi, masses = landscape(cells, 14)
    A, _ = generator(volumes, psi, masses)
    for left, right, axis in facets_of(cells):
        rates = slow_rates(cells, beta, psi, masses / cells.volumes, (left, right, axis))
        assert A[right, left] == pytest.approx(rates[0], rel=1e-9)
        assert A[left, right] == pytest.approx(rates[1], rel=1e-9)


@pytest.mark.parametrize("name", ["b", "b, r"])
def test_little_noise_is_nearly_none(name: str) -> None:
    cells = without_areas(CELLS[name])
    psi, masses = landscape(cells, 15)
    none, _ = generator(FiniteVolumes(cells, math.inf), psi, masses)
    for beta in (1e4, 1e8, 1e12):
        little, _ = generator(FiniteVolumes(cells, beta), psi, masses)
        # logs of densities, up to 30, over beta times differences of psi, down to 1e-2
        np.testing.assert_allclose(little, none, rtol=3e4 / beta, atol=1e4 / beta)


@EVERY
def test_rates_do_not_depend_on_the_unit_of_mass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite_volumes, "NEGLIGIBLE", 0.0)  # which is a mass
    volumes = FiniteVolumes(CELLS[name], 3.0)
    psi, masses = landscape(CELLS[name], 18)
    A, _ = generator(volumes, psi, masses)
    for unit in (1e-140, 1e10):  # of which the square is not 0 yet
        # logs of densities, of up to 330
        np.testing.assert_allclose(generator(volumes, psi, unit * masses)[0], A, rtol=1e-10)


def test_nothing_moves_where_nothing_pulls() -> None:
    cells = CELLS["b, r"]
    volumes = FiniteVolumes(without_areas(cells), math.inf)
    _, masses = landscape(cells, 16)
    A, fastest = generator(volumes, np.ones(cells.count), masses)
    assert fastest == 0 and not A.any()
    assert np.array_equal(volumes.advance(masses[volumes.owned], 1.0, fastest), masses[volumes.owned])


def test_cells_that_hold_next_to_nothing_keep_to_the_pace_of_the_others() -> None:
    cells = CELLS["n=40"]
    volumes = FiniteVolumes(cells, 1.0)
    psi, masses = np.zeros(cells.count), np.zeros(cells.count)
    masses[20:] = 0.1
    A, fastest = generator(volumes, psi, masses)
    plain, none = generator(volumes, psi, np.zeros(cells.count))
    assert none == 0 and -np.diag(plain).min() > 1.5 * fastest
    assert -np.diag(A).min() == pytest.approx(fastest, rel=1e-14)
    assert (np.abs(A.sum(axis=0)) <= 8 * EPSILON * fastest).all()


def test_bernoulli_is_accurate() -> None:
    bernoulli = compiled().lib.bernoulli
    z = np.concatenate([[0.0, 1.0, 1e-8, 690.0], np.geomspace(1e-300, 700, 300)])
    with mpmath.workdps(330):
        exact = [float(mpmath.mpf(x) / mpmath.expm1(mpmath.mpf(x))) if x else 1.0 for x in z]
    # two operations; expm1 is good to an ulp or two
    np.testing.assert_allclose([bernoulli(x) for x in z], exact, rtol=1e-15)
    assert 0 <= bernoulli(1e9) <= 1e-300


# ---- what kappa is for, and what slowing down costs


def transported(count: int) -> float:
    """L1 error of an Ornstein-Uhlenbeck process with a cell Peclet number of 100 and more on most cells."""
    law = free("r", n=(3,))
    problem = law.problem(snapshots=(0.1,), beta=1e4, lam=2.0, initial=GaussianInitialLaw(0.8))
    settings = FokkerPlanckConfig(
        count, r_max=4.0, fixed_domain=True, step_tolerance=FIXED_STEPS, dt_max=0.4 / count
    )
    trajectory = solve(problem, settings)
    check_invariants(problem, trajectory)
    return float(np.abs(masses_of(trajectory, 0) - law.masses(problem, 0.1, edges_of(trajectory))).sum())


def test_kappa_is_what_makes_the_order_two_where_the_drift_dominates(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [200, 400, 800]
    second = [transported(count) for count in counts]
    assemble = FiniteVolumes.assemble

    def with_kappa_one(self: FiniteVolumes, psi: Array, masses: Array) -> float:
        assemble(self, psi, 0 * masses)  # nothing to weigh kappa
        return float(-self._matrix.data[self._diagonal].min())

    monkeypatch.setattr(FiniteVolumes, "assemble", with_kappa_one)
    first = [transported(count) for count in counts]
    assert abs(order(counts, second) - 2) <= 0.15 and abs(order(counts, first) - 1) <= 0.15
    assert second[-1] <= 1e-4 and first[-1] >= 5e-3  # 5.5e-5 and 8.9e-3 seen


def test_slowing_empty_cells_down_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    law = free("r", n=(40,))
    problem = law.problem(snapshots=(0.2,), beta=80.0, lam=0.25)
    settings = FokkerPlanckConfig(400, r_max=1.8, fixed_domain=True, step_tolerance=FIXED_STEPS, dt_max=0.02)
    slowed = masses_of(solve(problem, settings), 0)
    monkeypatch.setattr(finite_volumes, "NEGLIGIBLE", 0.0)
    plain = masses_of(solve(problem, settings), 0)
    # other numbers of products, each leaving out 1e-10 of what moves; 4e-12 seen
    assert 0 < np.abs(slowed - plain).sum() <= 1e-10
