"""Cells and the functionals of a density held on them: areas, free energy, sums, and the first cells of a run."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import stats

from solvers.cells import (
    Cells,
    first_cells,
    free_energy,
    free_energy_of,
    graded,
    initial_masses,
    log_mean_power,
    risk_of,
    tabulated,
    totals,
)
from tests.densities import STD, Quadratic, free
from workbench.errors import BadInput, NumericalFailure
from workbench.initial import GaussianInitialLaw, InitialDensity
from workbench.measure import Measure, risk
from workbench.problem import Problem

COUPLED = Quadratic(("b", "r"), (1, 3), (-0.5, 0.0), (0.2, -0.3), (1.0, 0.0), (0.7, 0.8))
START = GaussianInitialLaw(0.9, b_mean=1.0, b_std=0.5)

# ---- areas and grids


@pytest.mark.parametrize("n", [1.0, 2.0, 2.5, 3.0, 40.0, 1e6])
def test_mean_areas_hold_from_the_axis_on_and_at_any_dimension(n: float) -> None:
    ends = np.concatenate([[0.0], np.geomspace(1e-8, 1.0, 9), [1.0 + 1e-7, 2.0, 1e3]])
    with mpmath.workdps(60):
        exact = [
            float(
                mpmath.log((mpmath.mpf(b) ** n - mpmath.mpf(a) ** n) / (n * (mpmath.mpf(b) - mpmath.mpf(a))))
            )
            for a, b in pairwise(ends.tolist())
        ]
    # n log r in float64; between 1 and 1 + 1e-7 the ratio of the ends is known to 1e-9 of its distance from 1
    np.testing.assert_allclose(log_mean_power(ends, n), exact, rtol=1e-14, atol=3e-9 + 1e-15 * n)


@pytest.mark.parametrize("grading", [0.0, 0.5, 0.9])
def test_graded_cells_grow_linearly(grading: float) -> None:
    edges = graded(1.0, 3.0, 100, grading)
    widths = np.diff(edges)
    assert edges[0] == 1.0 and edges[-1] == 3.0 and len(edges) == 101
    np.testing.assert_allclose(np.diff(widths), 2 * 0.02 * grading / 100, atol=1e-14)
    # (1 - g) and (1 + g) of the mean, but for half the growth of a cell
    assert widths[0] == pytest.approx(0.02 * (1 - grading + grading / 100), rel=1e-12)
    assert widths[-1] == pytest.approx(0.02 * (1 + grading - grading / 100), rel=1e-12)


def test_cells_in_c_order() -> None:
    cells = Cells(("b", "r"), (np.array([-1.0, 0.0, 2.0]), np.array([0.0, 1.0, 3.0, 4.0])), (1.0, 3.0))
    assert cells.shape == (2, 3) and cells.count == 6
    assert cells.centres.tolist() == [[b, r] for b in (-0.5, 1.0) for r in (0.5, 2.0, 3.5)]
    assert cells.volumes.tolist() == [1, 2, 1, 2, 4, 2]
    shells = np.diff(np.array([0.0, 1.0, 3.0, 4.0]) ** 3) / 3
    np.testing.assert_allclose(np.exp(cells.log_reference), np.outer([1, 2], shells).ravel(), rtol=1e-14)


# ---- functionals


def gaussian_free_energy(problem: Problem) -> float:
    """F of the initial law of ``COUPLED`` in closed form, up to the area of the sphere that F drops."""
    law = problem.initial
    assert isinstance(law, GaussianInitialLaw)
    mean, s, t, n = law.b_mean, law.b_std, law.kappa / math.sqrt(problem.d), 3
    b2, r2 = mean**2 + s**2, n * t**2
    risk = 1 + 2 * (-0.5 * mean + 0.1 * b2 - 0.15 * r2) + mean**2 + (0.7 * b2 + 0.8 * r2) ** 2
    # differential entropies; the radius carries log r^2 as its reference and no area of the sphere, 4 pi
    entropy = (
        -0.5 * math.log(2 * math.pi * math.e) * (n + 1)
        - math.log(s)
        - n * math.log(t)
        + math.log(4 * math.pi)
    )
    return 0.5 * risk + 0.5 * problem.lam * (b2 + r2) + entropy / problem.beta


def test_the_free_energy_of_a_gaussian_has_order_two() -> None:
    problem = COUPLED.problem(snapshots=(1.0,), lam=0.3, beta=5.0, initial=START)
    errors = []
    for count in (40, 80, 160):
        cells = first_cells(problem, (count,), bounds=(-2.5, 4.5, 0.0, 4.0))
        value = free_energy(
            problem, tabulated(problem, cells.centres), cells.log_reference, initial_masses(problem, cells)
        )
        errors.append(abs(value - gaussian_free_energy(problem)))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2, abs=0.15)
    assert errors[-1] <= 1e-2


def test_totals_add_up_and_make_the_risk() -> None:
    problem = COUPLED.problem(snapshots=(1.0,), lam=0.3, beta=5.0, initial=START)
    cells = first_cells(problem, (12, 9), bounds=(-2.5, 4.5, 0.0, 4.0))
    masses = initial_masses(problem, cells)
    table = tabulated(problem, cells.centres)
    whole = totals(problem, table, cells.log_reference, masses)
    part = np.zeros_like(whole)
    for chosen in (slice(0, 20), slice(20, 21), slice(21, None), slice(0, 0)):
        piece = tabulated(problem, cells.centres[chosen])
        part += totals(problem, piece, cells.log_reference[chosen], masses[chosen])
    np.testing.assert_allclose(part, whole, rtol=1e-13)  # the same sums in another order
    weights, p = table.weights(problem.parameters), problem.parameters
    exact = risk(problem.module, Measure(cells.centres, masses), p)
    assert risk_of(weights, whole) == pytest.approx(exact, rel=1e-13)
    # and F without noise drops the entropy, even of a density that is zero somewhere
    quiet = COUPLED.problem(snapshots=(1.0,), lam=0.3, initial=START)
    ridge = 0.15 * masses @ (cells.centres**2).sum(axis=1)
    assert free_energy_of(quiet, weights, whole) == pytest.approx(exact / 2 + ridge, rel=1e-13)
    assert whole[-1] == pytest.approx(1, abs=1e-15) and len(whole) == 3 + 4
    assert math.isfinite(totals(problem, table, cells.log_reference, np.eye(108)[7])[-2])


def test_a_module_that_is_not_finite_is_named() -> None:
    module: Any = SimpleNamespace(**vars(COUPLED.module))
    module.features = lambda x, p: np.where(x[:, 1:] > 3.5, np.nan, x)
    problem = Problem(module, {"d": 3, "n": (3,)}, (1.0,), initial=START)
    with pytest.raises(
        NumericalFailure, match=r"features of the module is not finite at b = .*, r = 3\.\d+: regenerate"
    ):
        tabulated(problem, first_cells(problem, (8,), bounds=(-2.5, 4.5, 0.0, 4.0)).centres)


# ---- the first cells of a run


def test_cells_are_chosen_to_hold_the_initial_law_with_room_around() -> None:
    problem = COUPLED.problem(snapshots=(1.0,), initial=START)
    cells = first_cells(problem, (10, 20))
    (b_low, b_high), (r_low, r_high) = ((ends[0], ends[-1]) for ends in cells.edges)
    half = stats.norm.isf(1e-12) * 0.5
    assert (b_low, b_high) == (pytest.approx(1 - 3 * half), pytest.approx(1 + 3 * half))
    assert r_low == 0 and r_high == pytest.approx(4 * stats.chi.isf(1e-12, 3) * 0.9 / math.sqrt(3))
    assert cells.shape == (10, 20) and first_cells(problem, (9,)).shape == (9, 9)
    assert first_cells(problem, (9,), r_max=7.0).edges[1][-1] == 7.0


def test_cells_between_given_bounds() -> None:
    problem = COUPLED.problem(snapshots=(1.0,), initial=START)
    cells = first_cells(problem, (10,), grading=0.5, bounds=(-3.0, 5.0, 0.0, 6.0))
    assert (cells.edges[0][0], cells.edges[0][-1], cells.edges[1][-1]) == (-3.0, 5.0, 6.0)
    np.testing.assert_allclose(np.diff(cells.edges[0]), 0.8)  # only norms are graded
    assert cells.edges[1][1] == pytest.approx(0.6 * 0.55)
    given = Problem(
        free("r1", "r2").module, {"d": 5, "n": (2, 3)}, (1.0,), initial=InitialDensity(lambda x: x[:, 0])
    )
    assert [ends[-1] for ends in first_cells(given, (8,), r_max=2.5).edges] == [2.5, 2.5]
    away = first_cells(given, (8,), grading=0.5, bounds=(1.0, 2.0, 0.0, 2.0))
    np.testing.assert_allclose(np.diff(away.edges[0]), 0.125)  # nor those that start away from 0


def test_areas_count_where_there_is_noise_and_radial_entropy() -> None:
    for beta, entropy, n in ((2.0, True, 3.0), (2.0, False, 1.0), (math.inf, True, 1.0)):
        problem = COUPLED.problem(snapshots=(1.0,), initial=START, beta=beta, radial_entropy=entropy)
        assert first_cells(problem, (8,)).dimensions == (1.0, n)
    wide = Problem(
        free("r").module, {"d": math.inf, "n": (math.inf,)}, (1.0,), initial=InitialDensity(np.ones_like)
    )
    assert first_cells(wide, (8,), r_max=2.0).dimensions == (1.0,)


def test_initial_masses_are_normalised_and_exact() -> None:
    problem = COUPLED.problem(snapshots=(1.0,), initial=START)
    cells = first_cells(problem, (30,))
    masses = initial_masses(problem, cells)
    assert masses.sum() == pytest.approx(1.0, abs=1e-15)
    exact = COUPLED.masses(problem, 1e-300, cells.edges).ravel()
    np.testing.assert_allclose(masses, exact, atol=1e-12)  # 1e-12 of the tails is left out
    given = Problem(
        problem.module, problem.parameters, (1.0,), initial=InitialDensity(lambda x: np.full(len(x), 7.0))
    )
    uniform = first_cells(given, (8,), bounds=(0.0, 1.0, 0.0, 1.0))
    np.testing.assert_allclose(initial_masses(given, uniform), 1 / 64)


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ((8, 8, 8), {}, r"cells = \(8, 8, 8\): give one number, or one for each of the coordinates b, r"),
        ((8, 7), {}, r"cells = \(8, 7\): .* at least 8 cells a coordinate"),
        (
            (8,),
            {"bounds": (0.0, 1.0)},
            r"bounds = \(0\.0, 1\.0\): give a lower and an upper end for each of b, r",
        ),
        ((8,), {"bounds": (1.0, 1.0, 0.0, 1.0)}, r"bounds of b = 1\.0, 1\.0: give finite lower < upper"),
        ((8,), {"bounds": (-math.inf, 1.0, 0.0, 1.0)}, r"bounds of b = -inf, 1\.0: give finite"),
        ((8,), {"bounds": (-4.0, 6.0, 0.0, math.nan)}, r"bounds of r = 0\.0, nan: give finite"),
        ((8,), {"bounds": (-4.0, 6.0, -1.0, 5.0)}, r"bounds of r = -1\.0, 5\.0: a norm starts at 0 or above"),
        (
            (8,),
            {"bounds": (-4.0, 6.0, 0.0, 1e-9)},
            r"r from 0 to 1e-09 in 8 cells is too fine .* give fewer cells",
        ),
    ],
)
def test_cells_without_meaning_are_refused(counts: Any, settings: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        first_cells(COUPLED.problem(snapshots=(1.0,), initial=START), counts, **settings)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (
            (-4.0, 6.0, 0.0, 2.0),
            r"r from 0 to 2 \(r_max or bounds\) do not hold .* [\d.e-]+ of which .* give r_max >= 3\.99",
        ),
        ((-4.0, 6.0, 0.4, 9.0), r"r from 0\.4 to 9 .* give bounds around 8\.08e-05 \.\.\. 3\.99"),
        (
            (0.0, 6.0, 0.0, 9.0),
            r"b from 0 to 6 .* 2\.3e-02 of which lies outside: give bounds around -2\.5\d \.\.\. 4\.5",
        ),
        ((-4.0, 2.0, 0.0, 9.0), r"b from -4 to 2 .* give bounds around -2\.5"),
    ],
)
def test_a_domain_that_does_not_hold_the_initial_law_is_refused(bounds: Any, message: str) -> None:
    problem = COUPLED.problem(snapshots=(1.0,), initial=START)
    with pytest.raises(BadInput, match=message):
        initial_masses(problem, first_cells(problem, (20,), bounds=bounds))


def test_a_given_density_needs_bounds() -> None:
    problem = COUPLED.problem(snapshots=(1.0,), initial=InitialDensity(lambda x: x[:, 1]))
    for r_max in (None, 3.0):  # which says nothing of b
        with pytest.raises(BadInput, match="give the solver r_max or bounds"):
            first_cells(problem, (8,), r_max=r_max)


def test_a_point_in_d_infinite_is_refused() -> None:
    problem = Problem(free("r").module, {**STD, "d": math.inf, "n": (math.inf,)}, (1.0,))
    with pytest.raises(BadInput, match=r"d = inf: .* use particles, or an InitialDensity"):
        first_cells(problem, (8,))
