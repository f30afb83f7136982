"""Laws at t = 0: marginals, masses of cells, where they lie, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from workbench.errors import BadInput
from workbench.initial import GaussianInitialLaw, InitialDensity, is_radial
from workbench.measure import Array
from workbench.problem import GaussianInitialLaw as FromProblem

LAW = GaussianInitialLaw(0.8, a_mean=1.5, a_std=0.3, b_mean=-0.5, b_std=0.7)


def test_names_of_norms() -> None:
    assert [is_radial(c) for c in ("a", "b", "m", "r", "r1", "r2")] == [False] * 3 + [True] * 3
    assert FromProblem is GaussianInitialLaw


@pytest.mark.parametrize(
    ("coordinate", "n", "density"),
    [
        ("a", 1, lambda x: np.exp(-(((x - 1.5) / 0.3) ** 2) / 2)),
        ("b", 1, lambda x: np.exp(-(((x + 0.5) / 0.7) ** 2) / 2)),
        ("m", 1, lambda x: np.exp(-(x**2) * 40 / 0.8**2 / 2)),
        ("r", 40, lambda x: x**39 * np.exp(-(x**2) * 40 / 0.8**2 / 2)),
        ("r1", 3, lambda x: x**2 * np.exp(-(x**2) * 40 / 0.8**2 / 2)),
    ],
)
def test_marginals_are_those_of_gaussian_weights(coordinate: str, n: int, density: Any) -> None:
    edges = np.linspace(0.0, 2.0, 33) if is_radial(coordinate) else np.linspace(-6.0, 6.0, 65)
    masses = LAW.cell_masses((coordinate,), (n,), 40, (edges,))
    exact = np.array([integrate.quad(density, a, b, epsabs=0)[0] for a, b in pairwise(edges)])
    # chi.cdf and norm.cdf are good to a few 1e-15, the quadrature to 1e-10
    np.testing.assert_allclose(masses, exact / exact.sum(), rtol=1e-9, atol=1e-12)
    assert masses.sum() == pytest.approx(1.0, abs=1e-9)  # 7 standard deviations and more


def test_masses_multiply_and_keep_their_far_tails() -> None:
    edges = (np.linspace(-6.0, 8.0, 141), np.linspace(0.0, 4.0, 41))
    masses = LAW.cell_masses(("b", "r"), (1, 40), 40, edges)
    assert masses.shape == (140, 40)
    b, r = stats.norm(-0.5, 0.7), stats.chi(40, scale=0.8 / math.sqrt(40))
    for i, j in ((100, 12), (139, 8), (0, 20), (60, 39)):
        low = (
            b.cdf(edges[0][i + 1]) - b.cdf(edges[0][i])
            if edges[0][i] < -0.5
            else b.sf(edges[0][i]) - b.sf(edges[0][i + 1])
        )
        high = (
            r.sf(edges[1][j]) - r.sf(edges[1][j + 1])
            if edges[1][j] > 0.8
            else r.cdf(edges[1][j + 1]) - r.cdf(edges[1][j])
        )
        # differences of neighbours that fall by half a cell and more
        assert masses[i, j] == pytest.approx(low * high, rel=1e-12, abs=0)
    assert 0 < masses[139, 20] < 1e-30  # twelve standard deviations out


def test_the_support_holds_all_but_the_tail() -> None:
    (low, high), (zero, top) = LAW.support(("b", "r"), (1, 40), 40, 1e-9)
    assert stats.norm.cdf(low, -0.5, 0.7) == pytest.approx(1e-9, rel=1e-6)
    assert stats.norm.sf(high, -0.5, 0.7) == pytest.approx(1e-9, rel=1e-6)
    assert zero == 0 and stats.chi.sf(top * math.sqrt(40) / 0.8, 40) == pytest.approx(1e-9, rel=1e-6)


def test_a_law_without_density_says_so() -> None:
    point = GaussianInitialLaw(0.8)
    for ask in (
        lambda: point.cell_masses(("a", "b", "r"), (1, 1, 3), 3, (np.arange(3.0),) * 3),
        lambda: point.support(("a", "b", "r"), (1, 1, 3), 3, 1e-9),
        lambda: point.marginal("a", 1, 3),
    ):
        with pytest.raises(BadInput, match=r"a_std = 0: .* give a_std > 0, or use the method sgd"):
            ask()
    with pytest.raises(BadInput, match=r"b_std = 0: .* give b_std > 0"):
        GaussianInitialLaw(a_std=1.0).marginal("b", 1, 3)
    with pytest.raises(BadInput, match=r"d = inf: .* use particles, or an InitialDensity"):
        LAW.marginal("r", math.inf, math.inf)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kappa": 0.0}, r"kappa = 0\.0 .* e\.g\. kappa=0\.8"),
        ({"kappa": math.inf}, "kappa = inf"),
        ({"kappa": "wide"}, "kappa = 'wide' is not a number"),
        ({"a_mean": math.inf}, "a_mean = inf: give a finite mean"),
        ({"b_mean": math.nan}, "b_mean = nan"),
        ({"a_std": -0.1}, r"a_std = -0\.1: give a standard deviation a_std >= 0"),
        ({"b_std": math.inf}, "b_std = inf: give a standard deviation"),
    ],
)
def test_bad_numbers_of_a_law(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        GaussianInitialLaw(**changes)


def test_what_is_stored_of_a_law() -> None:
    assert LAW.describe() == {"kappa": 0.8, "a_mean": 1.5, "a_std": 0.3, "b_mean": -0.5, "b_std": 0.7}

    def hump(x: Array) -> Array:
        return np.exp(-(x[:, 0] ** 2))

    assert InitialDensity(hump).describe()["density"].endswith("hump")


# ---- given densities


def test_masses_of_a_given_density_are_exact_for_polynomials_of_degree_five() -> None:
    edges = (np.array([0.0, 0.3, 1.0]), np.array([-1.0, 0.5, 2.0, 2.1]))
    masses = InitialDensity(lambda x: x[:, 0] ** 5 * (x[:, 1] + 1) ** 4).cell_masses(
        ("r", "b"), (3, 1), 3, edges
    )
    exact = np.multiply.outer(np.diff(edges[0] ** 6) / 6, np.diff((edges[1] + 1) ** 5) / 5)
    np.testing.assert_allclose(masses, exact, rtol=1e-13)  # rounding of nine terms


def test_masses_of_a_given_density_have_order_six() -> None:
    def error(count: int) -> float:
        edges = np.linspace(0.0, 2.0, count + 1)
        masses = InitialDensity(lambda x: np.exp(-x[:, 0]) * np.sin(x[:, 0])).cell_masses(
            ("r",), (1,), 1, (edges,)
        )
        return float(np.abs(masses - np.diff(-np.exp(-edges) * (np.sin(edges) + np.cos(edges)) / 2)).sum())

    assert math.log2(error(4) / error(8)) == pytest.approx(6, abs=0.15)
    assert error(8) <= 1e-8


@pytest.mark.parametrize(
    ("density", "message"),
    [
        (lambda x: -np.exp(-x[:, 0]), r"density is -0\.\d+ at \(0\.\d+, 1\.\d+\): .* finite and >= 0"),
        (lambda x: np.where(x[:, 0] > 0.5, np.nan, 1.0), r"density is nan at \(0\.\d+"),
        (lambda x: np.where(x[:, 1] > 1.5, np.inf, 1.0), r"density is inf at"),
        (lambda x: np.zeros(len(x)), r"no mass between 0 and 1, 1 and 2: give other bounds"),
        (
            lambda x: np.ones((len(x), 2)),
            r"maps points of shape \(36, 2\) to \(36, 2\): return one number a point",
        ),
        (lambda x: 1.0, r"maps points of shape \(36, 2\) to \(\)"),
    ],
)
def test_a_bad_density_is_refused(density: Any, message: str) -> None:
    edges = (np.array([0.0, 0.5, 1.0]), np.array([1.0, 1.5, 2.0]))
    with pytest.raises(BadInput, match=message):
        InitialDensity(density).cell_masses(("r", "b"), (1, 1), 1, edges)


def test_a_given_density_does_not_know_its_support() -> None:
    with pytest.raises(BadInput, match=r"give the solver r_max or bounds, .* each of b, r"):
        InitialDensity(lambda x: x[:, 0]).support(("b", "r"), (1, 3), 3, 1e-9)
