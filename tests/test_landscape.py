"""The landscape: certificates checked on dense grids, a generic solver, geometry by hand, thresholds through q."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar, nnls

import solvers.generated.isotropic_nonmonotone as nonmonotone
import solvers.generated.isotropic_relu as affine
import solvers.generated.isotropic_truncated_relu as truncated
from solvers.landscape import (
    ConvexInfimum,
    LandscapeConfig,
    at_finite_radii,
    convex_infimum,
    delta_threshold,
    single_delta,
    solve,
)
from solvers.landscape_line import line_of, place, radius, slopes, terms
from solvers.landscape_search import Cells, first_cells, lowest
from tests.built import module_of
from workbench import BadInput, NumericalFailure, Problem, Trajectory
from workbench.measure import Array, Measure, Psi, feature_moments, risk

STD = 1.0  # exponents of the conventions: tau = (1 +- Delta)^exponent
VARIANCE = 0.5
DENSE = np.concatenate(
    [[0.0], np.geomspace(1e-3, 1e7, 20_000), [1e12]]
)  # r; V and phi are at their limit at 1e12


def parameters(d: float, delta: float, exponent: float = STD) -> dict[str, float]:
    return {"d": d, "tau_plus": (1 + delta) ** exponent, "tau_minus": (1 - delta) ** exponent}


@cache
def infimum_of(name: str, d: float, delta: float, exponent: float = STD) -> ConvexInfimum:
    return convex_infimum(module_of(name), parameters(d, delta, exponent))


def bare_module(V: Callable[[Array], Array], *features: Callable[[Array], Array]) -> ModuleType:
    """A module of one coordinate with the given V(r) and features of weight 1; gradients by differences."""

    def stack(r: Array) -> Array:
        return np.stack([f(r) for f in features], axis=-1)

    def slope(f: Callable[[Array], Array], r: Array) -> Array:
        h = 1e-6 * (1 + r)
        return (f(r + h) - f(np.maximum(r - h, 0.0))) / (h + np.minimum(h, r)).reshape(
            r.shape + (1,) * (f(r).ndim - r.ndim)
        )

    module = ModuleType("bare")
    vars(module).update(
        NAME="bare",
        COORDINATES=("r",),
        check_parameters=lambda p: None,
        V=lambda x, p: V(x[..., 0]),
        features=lambda x, p: stack(x[..., 0]),
        weights=lambda p: np.ones(len(features)),
        grad_V=lambda x, p: slope(V, x[..., 0])[..., None],
        grad_features=lambda x, p: slope(stack, x[..., 0])[..., None],
    )
    return module


def half_circle(a: float, b: float) -> ModuleType:
    """phi = (cos, sin)(theta), theta from 0 at r = 0 to pi at r = infinity, V = -phi.(a, b).

    R = |m - (a, b)|^2 + 1 - a^2 - b^2, and m can be any point of the upper half of the unit disc.
    """

    def theta(r: Array) -> Array:
        return 2 * np.arctan(r)

    return bare_module(
        lambda r: -a * np.cos(theta(r)) - b * np.sin(theta(r)),
        lambda r: np.cos(theta(r)),
        lambda r: np.sin(theta(r)),
    )


def excess(module: ModuleType, p: dict[str, float], rho: Measure) -> float:
    """int Psi drho - min Psi, the minimum on a dense grid."""
    rho = at_finite_radii(rho)
    moments = feature_moments(module, rho, p)
    psi = Psi(
        module, DENSE[:: 10 if p["d"] < 10 else 1, None], moments, p
    )  # few dimensions have many features
    return float(rho.expectation(Psi(module, rho.points, moments, p)) - np.min(psi))


# ---- the infimum


@pytest.mark.parametrize(
    ("delta", "r_max", "known"),
    [
        (0.2, math.inf, 0.395135),
        (0.4, math.inf, 0.072882),
        (0.5, math.inf, 0.03089),
        (0.5, 20.0, 0.03114),
    ],
)
def test_known_values(delta: float, r_max: float, known: float) -> None:
    found = convex_infimum(truncated, parameters(40, delta), LandscapeConfig(r_max=r_max))
    # known to the digits given
    assert found.risk == pytest.approx(known, abs=6e-6 if delta == 0.5 else 6e-7)
    assert found.gap <= 1e-8
    assert found.lower <= found.risk <= found.lower + 1e-8


CASES = [
    ("truncated_relu", 40, 0.2, STD),
    ("truncated_relu", 40, 0.5, STD),
    ("truncated_relu", 40, 0.8, STD),
    ("truncated_relu", 40, 0.8, VARIANCE),
    ("truncated_relu", 320, 0.5, STD),
    ("truncated_relu", 7, 0.4, STD),
    ("truncated_relu", math.inf, 0.3, STD),
    ("truncated_relu", math.inf, 0.6, STD),
    ("nonmonotone", 40, 0.5, STD),
    ("nonmonotone", 320, 0.8, VARIANCE),
    ("nonmonotone", 40, 0.05, VARIANCE),
]


@pytest.mark.parametrize(("name", "d", "delta", "exponent"), CASES)
def test_the_gap_holds_on_a_dense_grid(name: str, d: float, delta: float, exponent: float) -> None:
    """The risk is convex: Psi >= int Psi drho - gap/2 everywhere is all that optimality needs."""
    module, p = module_of(name), parameters(d, delta, exponent)
    found = infimum_of(name, d, delta, exponent)
    rho = at_finite_radii(found.rho)
    assert found.gap <= 1e-8
    assert excess(module, p, rho) <= found.gap / 2 + 1e-13  # rounding of terms of size 10
    assert found.risk == risk(module, rho, p)
    assert np.sum(rho.weights) == pytest.approx(1, abs=1e-14) and np.all(rho.weights > 0)
    assert np.all(np.diff(found.rho.points[:, 0]) > 0)
    # the stated bound is not a lax one either: Psi at the atoms is the minimum, so the grid comes near it
    assert excess(module, p, rho) >= -1e-5


@pytest.mark.parametrize(("name", "d", "delta", "exponent"), CASES)
def test_against_nonnegative_least_squares_on_a_grid(
    name: str, d: float, delta: float, exponent: float
) -> None:
    """R is a sum of squares, V being in the span of the features; scipy's nnls minimises it over 2000 radii."""
    module, p = module_of(name), parameters(d, delta, exponent)
    r = np.concatenate([[0.0], np.geomspace(2e-2, 1e4, 2000), [1e12]])
    A = np.sqrt(module.weights(p))[:, None] * module.features(r[:, None], p).T
    y = np.linalg.lstsq(A.T, -module.V(r[:, None], p), rcond=None)[0]
    heavy = 1e4  # enforces sum c = 1; what is left of it is divided out
    c = nnls(np.vstack([A, heavy * np.ones(len(r))]), np.append(y, heavy), maxiter=10_000)[0]
    on_grid = risk(module, Measure(r[:, None], c / np.sum(c)), p)
    best = infimum_of(name, d, delta, exponent)
    # radii 0.7 % apart miss a minimum of Psi by at most 0.35 %: Psi''/2 (0.0035 r)^2, a few 1e-5
    assert best.lower - 1e-11 <= on_grid <= best.risk + 1e-4


@pytest.mark.parametrize(
    ("d", "delta", "atoms"), [(40, 0.4, 1), (40, 0.5, 2), (40, 0.8, 3), (math.inf, 0.3, 1)]
)
def test_atoms_are_as_few_as_they_can_be(d: float, delta: float, atoms: int) -> None:
    """One more for each basin of Psi at its minimum: the delta, then infinity, then 0."""
    assert len(infimum_of("truncated_relu", d, delta).rho.weights) == atoms


def test_no_measure_is_better() -> None:
    rng = np.random.default_rng(3)
    for name, d, delta in (("truncated_relu", 40, 0.5), ("nonmonotone", math.inf, 0.3)):
        module, p = module_of(name), parameters(d, delta)
        best = infimum_of(name, d, delta)
        finite = at_finite_radii(best.rho)
        for _ in range(50):
            n = int(rng.integers(1, 12))
            points = np.exp(rng.normal(0.5, 1.5, (n, 1)))
            weights = rng.dirichlet(np.ones(n))
            assert risk(module, Measure(points, weights), p) >= best.lower
            # and close to it
            share = 10.0 ** rng.uniform(-6, 0)
            mixed = Measure(
                np.concatenate([finite.points, points]),
                np.concatenate([(1 - share) * finite.weights, share * weights]),
            )
            assert risk(module, mixed, p) >= best.lower - 1e-14
            moved = Measure(
                finite.points * np.exp(share * rng.normal(size=finite.points.shape)), finite.weights
            )
            assert risk(module, moved, p) >= best.lower - 1e-14


def test_the_gap_bounds_what_a_measure_is_from_the_infimum() -> None:
    """2 (int Psi drho - min Psi) for measures at random, against the infimum itself."""
    p = parameters(40, 0.5)
    best = infimum_of("truncated_relu", 40, 0.5)
    line = line_of(truncated, p, 0.0, math.inf)
    rng = np.random.default_rng(0)
    for _ in range(12):
        n = int(rng.integers(1, 6))
        rho = Measure(np.exp(rng.normal(0.5, 0.7, (n, 1))), rng.dirichlet(np.ones(n)))
        moments = feature_moments(truncated, rho, p)
        level = rho.expectation(Psi(truncated, rho.points, moments, p))

        def psi(cells: Cells, m: Array = line.roots * moments) -> tuple[Array, Array]:
            return cells.V + cells.B @ m, np.abs(cells.V)

        _, minimum = lowest(line, first_cells(line), psi, 1e-10)
        dense = np.min(Psi(truncated, DENSE[:, None], moments, p))
        # the bound is below the least value on the grid, and by no more than the grid is coarse
        assert minimum.bound <= dense + 1e-12
        assert dense - 1e-4 <= minimum.bound
        assert risk(truncated, rho, p) - best.risk <= 2 * (level - minimum.bound)


def atoms_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on atoms do not slide, so that one round leaves them at nodes of the first cells."""
    monkeypatch.setattr("solvers.landscape_atoms.joined", lambda line, atoms, enough: atoms)


@pytest.mark.parametrize(("name", "d", "delta"), [("truncated_relu", 12, 0.05), ("nonmonotone", 40, 0.95)])
def test_the_gap_of_an_unfinished_run_is_honest(
    name: str, d: float, delta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = infimum_of(name, d, delta)
    atoms_stay(monkeypatch)
    for rounds in (1, 2, 3):
        with pytest.raises(NumericalFailure, match=rf"gap is .* of at most {rounds};") as info:
            convex_infimum(module_of(name), parameters(d, delta), LandscapeConfig(gap=1e-12, rounds=rounds))
        partial = info.value.partial
        assert partial is not None and not partial.complete
        reached = float(partial.risk_at([0.0])[0])
        gap = float(partial.data["gap"][0])
        assert reached - gap <= best.risk <= reached
        # the grid cannot miss more of the minimum than the gap of the infimum itself
        assert gap == pytest.approx(
            2 * excess(module_of(name), parameters(d, delta), partial.measure(0)), rel=0.05
        )
        assert gap > 1e-8  # unfinished indeed


# ---- geometry: the moments are the points of a convex set


@pytest.mark.parametrize(
    ("target", "moments"),
    [
        ((0.0, 2.0), (0.0, 1.0)),  # outside: the nearest point of the arc, one atom at r = 1
        ((-1.2, 0.9), (-0.8, 0.6)),  # the same, one atom at r = tan(theta/2) = 3
        ((0.0, 0.3), (0.0, 0.3)),  # inside
        ((0.0, -1.0), (0.0, 0.0)),  # below: the diameter, half the mass at r = infinity
        ((0.5, -1.0), (0.5, 0.0)),  # a quarter of it
        ((-3.0, -0.5), (-1.0, 0.0)),  # nearest is the end itself: all mass at infinity
        ((3.0, -0.5), (1.0, 0.0)),  # all mass at 0
    ],
)
def test_nearest_point_of_a_half_disc(target: tuple[float, float], moments: tuple[float, float]) -> None:
    a, b = target
    module = half_circle(a, b)
    found = convex_infimum(module, {})
    nearest = (moments[0] - a) ** 2 + (moments[1] - b) ** 2
    # gap 1e-10 of a quadratic of curvature 1: moments to 1e-5
    assert found.risk == pytest.approx(nearest + 1 - a**2 - b**2, abs=1e-9)
    assert feature_moments(module, at_finite_radii(found.rho), {}) == pytest.approx(moments, abs=2e-5)
    r, c = found.rho.points[:, 0], found.rho.weights
    if moments[1] == 0:
        # theta = 0 and pi are the only places with sin theta = 0
        assert float(np.sum(c[np.isinf(r)])) == pytest.approx((1 - moments[0]) / 2, abs=1e-5)
    elif (a, b) != (0.0, 0.3):
        assert r == pytest.approx([math.tan(math.atan2(b, a) / 2)], rel=1e-5)


def test_the_limit_is_the_limit() -> None:
    """Mass at r = infinity has the risk that mass at r -> infinity tends to, like 1/r."""
    p = parameters(40, 0.5)
    best = infimum_of("truncated_relu", 40, 0.5)
    assert math.isinf(best.rho.points[-1, 0])
    assert best.rho.weights[-1] == pytest.approx(0.1535, abs=1e-4)
    risks = [
        risk(truncated, Measure(np.minimum(best.rho.points, far), best.rho.weights), p) for far in (1e5, 1e6)
    ]
    assert risks[0] > risks[1] > best.risk
    assert (risks[1] - best.risk) / (risks[0] - best.risk) == pytest.approx(0.1, rel=1e-2)


def test_fewer_radii_are_no_better() -> None:
    p = parameters(40, 0.8)
    tops = (0.1, 1.0, 1.5, 4.0, 30.0, 1e5)
    results = [convex_infimum(truncated, p, LandscapeConfig(r_max=top)) for top in tops]
    risks = [each.risk for each in results]
    assert all(after <= before + 1e-9 for before, after in pairwise(risks))
    assert risks[-1] == pytest.approx(infimum_of("truncated_relu", 40, 0.8).risk, abs=1e-6)  # 1/r_max
    for top, each in zip(tops, results, strict=True):
        assert np.max(each.rho.points) <= top * (1 + 1e-12)
    # below r = 0.1 no class sees the knot at 0.5 often: sigma = -2.5 gives 1 + 6.25
    assert risks[0] == pytest.approx(7.25, abs=0.1)


@pytest.mark.parametrize("scale", [0.01, 3.0, 200.0])
def test_the_unit_of_length_does_not_matter(scale: float) -> None:
    """<w, x> depends on tau r alone."""
    p = parameters(40, 0.5)
    scaled = {**p, "tau_plus": scale * p["tau_plus"], "tau_minus": scale * p["tau_minus"]}
    best, other = infimum_of("truncated_relu", 40, 0.5), convex_infimum(truncated, scaled)
    assert other.risk == pytest.approx(best.risk, abs=1e-9)  # the gaps
    assert other.rho.points[:, 0] * scale == pytest.approx(best.rho.points[:, 0], rel=1e-4)


# ---- ridge, and activations without limits


@pytest.mark.parametrize(("lam", "delta"), [(1e-8, 0.5), (1e-3, 0.5), (0.1, 0.8), (50.0, 0.5)])
def test_ridge(lam: float, delta: float) -> None:
    """First-order condition of R + lam int r^2 drho on a dense grid, and no atom at infinity."""
    p = parameters(40, delta)
    found = convex_infimum(truncated, p, lam=lam)
    rho = found.rho
    assert np.all(np.isfinite(rho.points))
    assert found.objective == pytest.approx(
        found.risk + lam * rho.expectation(rho.points[:, 0] ** 2), rel=1e-14
    )
    moments = feature_moments(truncated, rho, p)

    def psi(r: Array) -> Array:
        return Psi(truncated, r[:, None], moments, p) + lam / 2 * r**2

    level = rho.expectation(psi(rho.points[:, 0]))
    assert np.min(psi(DENSE)) >= level - found.gap / 2 - 1e-13
    assert found.gap <= 1e-8
    alone = single_delta(truncated, p, lam=lam)
    assert alone.objective == pytest.approx(alone.risk + lam * alone.r**2, rel=1e-14)
    assert alone.r == 0 or abs(slope_of_single_risk(truncated, p, alone.r, lam)) < 1e-12
    # a ridge raises the infimum by no more than its value at the best measure with atoms up to 20
    free = convex_infimum(truncated, p, LandscapeConfig(r_max=20.0))
    bound = free.risk + lam * free.rho.expectation(free.rho.points[:, 0] ** 2)
    assert infimum_of("truncated_relu", 40, delta).lower <= found.objective <= bound


def test_relu_depends_on_the_mean_alone() -> None:
    """At d = inf: 2 R = (1 - tau_+ M)^2 + (1 + tau_- M)^2 with M = E r/sqrt(2 pi), and Jensen for the ridge."""
    relu = module_of("relu")
    p = parameters(math.inf, 0.5)
    V, U = -(1.5 - 0.5) / (2 * math.sqrt(2 * math.pi)), (1.5**2 + 0.5**2) / (4 * math.pi)
    for lam in (0.0, 0.3):
        found = convex_infimum(relu, p, lam=lam)
        assert found.objective == pytest.approx(1 - V**2 / (U + lam), abs=1e-9)
        assert float(found.rho.expectation(found.rho.points[:, 0])) == pytest.approx(-V / (U + lam), abs=1e-4)
        alone = single_delta(relu, p, lam=lam)
        assert alone.objective == pytest.approx(1 - V**2 / (U + lam), abs=1e-12)
        assert alone.r == pytest.approx(-V / (U + lam), rel=1e-7)


def test_mass_that_escapes_where_there_is_no_limit() -> None:
    """A vanishing mass at r -> infinity keeps a share of the moments: the infimum is approached like 1/r."""
    five = module_of("five")
    p = parameters(math.inf, 0.5)
    everywhere = convex_infimum(five, p)
    tops = (500.0, 5e3, 5e4)
    risks = [convex_infimum(five, p, LandscapeConfig(r_max=top)).risk for top in tops]
    assert risks[0] > risks[1] > risks[2] > everywhere.lower
    # differences of a sequence in 1/r fall tenfold
    assert (risks[1] - risks[2]) / (risks[0] - risks[1]) == pytest.approx(0.1, rel=0.05)
    assert everywhere.risk == pytest.approx(risks[2] - (risks[1] - risks[2]) / 9, abs=1e-8)
    # the single delta has no use for it
    assert everywhere.risk < single_delta(five, p).risk - 1e-5


# ---- the single delta


def slope_of_single_risk(module: ModuleType, p: dict[str, float], r: float, lam: float = 0.0) -> float:
    """d/dr of R(delta_r) + lam r^2."""
    x = np.array([r])
    product = module.features(x, p) * module.grad_features(x, p)[..., 0]
    return float(2 * (module.grad_V(x, p)[0] + product @ module.weights(p) + lam * r))


@pytest.mark.parametrize(
    ("name", "d", "delta", "exponent"),
    [
        ("truncated_relu", 40, 0.5, STD),
        ("truncated_relu", 12, 0.8, STD),
        ("nonmonotone", 320, 0.5, STD),
        ("nonmonotone", math.inf, 0.8, VARIANCE),
    ],
)
def test_single_delta_against_a_dense_grid(name: str, d: float, delta: float, exponent: float) -> None:
    module, p = module_of(name), parameters(d, delta, exponent)
    alone = single_delta(module, p)
    r = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 5000)])

    def of(r: Array) -> Array:
        x = r[:, None]
        return 1 + 2 * module.V(x, p) + module.features(x, p) ** 2 @ module.weights(p)

    values = of(r)
    i = int(np.argmin(values))
    refined = minimize_scalar(
        lambda at: float(of(np.array([at]))[0]), bounds=(r[i - 1], r[i + 1]), options={"xatol": 1e-12}
    )
    assert alone.risk == pytest.approx(refined.fun, abs=1e-13)
    assert alone.r == pytest.approx(refined.x, rel=1e-6)  # Brent: a root of rounding
    assert abs(slope_of_single_risk(module, p, alone.r)) < 1e-12
    # local minima of the grid, flat stretches of rounding errors aside
    inner = np.flatnonzero((values[1:-1] < values[:-2] - 1e-12) & (values[1:-1] < values[2:] - 1e-12)) + 1
    expected = [*([0.0] if values[0] < values[500] - 1e-9 else []), *r[inner]]
    assert [at for at, _ in alone.minima] == pytest.approx(expected, rel=2e-3)
    for at, value in alone.minima:
        assert value == pytest.approx(float(of(np.array([at]))[0]), abs=1e-8)
    # no measure is better by more than the gap
    assert infimum_of(name, d, delta, exponent).risk >= alone.risk - alone.gap
    moments = feature_moments(module, Measure(np.array([[alone.r]]), np.ones(1)), p)
    psi = Psi(module, np.append(DENSE[::10], alone.r)[:, None], moments, p)
    assert alone.gap == pytest.approx(2 * (psi[-1] - np.min(psi)), abs=1e-5)  # the grid, as above


def test_known_single_delta() -> None:
    assert single_delta(truncated, parameters(40, 0.5)).risk == pytest.approx(0.04551, abs=6e-6)
    # the trap of the small initialisation: sigma(0) = -2.5 at r = 0
    trapped = single_delta(nonmonotone, parameters(320, 0.5))
    assert trapped.minima[0] == pytest.approx((0.0, 7.25), abs=1e-12)
    assert trapped.r == pytest.approx(2.09, abs=0.005)


def test_the_best_delta_may_be_the_limit() -> None:
    alone = single_delta(half_circle(-3.0, -0.5), {})
    assert math.isinf(alone.r)
    assert alone.risk == pytest.approx(1 + 1 + 6, abs=1e-12) or alone.risk == pytest.approx(
        1 + 1 - 6, abs=1e-12
    )
    bounded = single_delta(half_circle(-3.0, -0.5), {}, r_max=5.0)
    assert bounded.r == 5.0 and bounded.risk > alone.risk


# ---- thresholds


def threshold_through_q(module: ModuleType, exponent: float) -> float:
    """Delta with q(tau_+ r) = 1 and q(tau_- r) = -1 for one r."""

    def scale(value: float) -> float:
        return float(brentq(lambda s: float(module.q(np.array(s))) - value, 0.3, 100.0, xtol=1e-14))

    ratio = (scale(1.0) / scale(-1.0)) ** (1 / exponent)
    return (ratio - 1) / (ratio + 1)


@pytest.mark.parametrize(("event", "accuracy"), [("optimal", 1e-9), ("zero", 1e-7)])
@pytest.mark.parametrize(
    ("name", "exponent", "known"),
    [
        ("truncated_relu", STD, 0.47421895),
        ("truncated_relu", VARIANCE, 0.77430859),
        ("nonmonotone", STD, None),
        ("nonmonotone", VARIANCE, None),
    ],
)
def test_threshold_in_infinite_dimension(
    name: str, exponent: float, known: float | None, event: str, accuracy: float
) -> None:
    module = module_of(name)
    found = delta_threshold(
        module, lambda s: parameters(math.inf, s, exponent), low=0.3, high=0.9, event=event, steps=6
    )
    # the risk has a double zero: 1e-15 of rounding moves it by some 1e-8; the margin has a simple one
    assert found.delta == pytest.approx(threshold_through_q(module, exponent), abs=accuracy)
    if known is not None:
        assert found.delta == pytest.approx(known, abs=1.01e-8)  # the digits given
    assert abs(found.risk) < 1e-13
    tau_plus = parameters(math.inf, found.delta, exponent)["tau_plus"]
    assert float(module.q(np.array(tau_plus * found.r))) == pytest.approx(1, abs=1e-6)


def optimal_on_a_grid(module: ModuleType, p: dict[str, float]) -> bool:
    """Psi(r; delta_r*) >= Psi(r*; delta_r*) on a dense grid that holds r*, which is where the risk is least."""
    r = single_delta(module, p).r
    moments = feature_moments(module, Measure(np.array([[r]]), np.ones(1)), p)
    psi = Psi(module, np.append(DENSE[::5], r)[:, None], moments, p)
    return bool(np.min(psi[:-1]) >= psi[-1] - 1e-13)


@pytest.mark.parametrize(
    ("name", "low", "high", "lost"),
    [
        ("truncated_relu", 0.4, 0.5, True),
        ("truncated_relu", 0.01, 0.1, False),
        ("nonmonotone", 0.35, 0.45, True),
    ],
)
def test_threshold_in_forty_dimensions(name: str, low: float, high: float, lost: bool) -> None:
    """On one side of it the single delta is the best measure, on the other it is not."""
    module = module_of(name)
    found = delta_threshold(module, lambda s: parameters(40, s), low=low, high=high, steps=2)
    for side in (-1e-4, 1e-4):
        p = parameters(40, found.delta + side)
        best, alone = convex_infimum(module, p), single_delta(module, p)
        optimal = (side < 0) == lost
        assert optimal_on_a_grid(module, p) == optimal
        assert (alone.gap < 1e-11) == optimal
        assert (len(best.rho.weights) == 1) == optimal
        if optimal:
            assert best.risk == pytest.approx(alone.risk, abs=1e-10)
        else:
            assert best.risk < alone.risk - 1e-9
    # a distant atom undercuts: that shows on any grid, until Psi differs by rounding alone
    assert optimal_on_a_grid(module, parameters(40, found.delta - 1e-7)) == lost
    assert optimal_on_a_grid(module, parameters(40, found.delta + 1e-7)) != lost


@pytest.mark.parametrize("centre", [0.3, 1.0, 7.0])
def test_a_delta_that_splits(centre: float) -> None:
    """R = 1 - 2 t E theta^2 + E theta^4 + (E theta)^2 + (E theta^2)^2, theta(r) in (-2, 2) and 0 at the centre.

    For t < 0 the delta at theta = 0 is best, R = 1; for 0 < t < 1/2 it is the best delta still, but equal
    masses at theta^2 = t/2 have R = 1 - t^2/2.  Near t = 0 Psi = -t theta^2 + theta^4/2: only its curvature
    at the delta announces that.
    """

    def theta(r: Array) -> Array:
        return 2 * (r - centre) / (r + centre)

    module = bare_module(np.zeros_like, theta, lambda r: theta(r) ** 2)
    vars(module).update(
        V=lambda x, p: -p["t"] * theta(x[..., 0]) ** 2 + theta(x[..., 0]) ** 4 / 2,
        grad_V=lambda x, p: (-2 * p["t"] * theta(x) + 2 * theta(x) ** 3) * 4 * centre / (x + centre) ** 2,
    )
    found = delta_threshold(module, lambda s: {"t": s - 0.2}, low=0.1, high=0.3, steps=2)
    # 1e-15 of rounding over the square of a width of 0.05 r
    assert found.delta == pytest.approx(0.2, abs=1e-9)
    assert found.r == pytest.approx(centre, rel=1e-7)
    for t in (-0.1, -1e-3, 1e-3, 0.1):
        best, alone = convex_infimum(module, {"t": t}), single_delta(module, {"t": t})
        assert best.risk == pytest.approx(1 - max(t, 0.0) ** 2 / 2, abs=1e-9)
        assert alone.risk == pytest.approx(1, abs=1e-12)
        assert len(best.rho.weights) == (1 if t < 0 else 2)


# ---- the trajectory


def test_what_is_stored(tmp_path: Path) -> None:
    p = parameters(40, 0.5)
    seen: list[float] = []
    trajectory = solve(Problem(truncated, p, (1.0, 10.0)), progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0
    trajectory.save(tmp_path / "landscape.nc")
    for each in (trajectory, Trajectory.load(tmp_path / "landscape.nc")):
        assert each.complete and each.data.attrs["method"] == "landscape"
        assert each.times.tolist() == [0.0]
        rho = each.measure(0)
        assert math.isinf(rho.points[-1, 0]) and np.all(np.isfinite(rho.points[:-1]))
        record = {
            str(name): float(each.risk_at([0.0], str(name))[0]) for name in ("risk", "gap", "objective")
        }
        assert record["risk"] == risk(truncated, at_finite_radii(rho), p) == record["objective"]
        assert record["risk"] == pytest.approx(0.0308917616, abs=1e-9)
        assert 0 <= record["gap"] <= 1e-8
        assert each.risk_at([0.0], "mass_at_infinity") == [rho.weights[-1]]
        assert each.risk_at([0.0], "atoms") == [2]
        alone = single_delta(truncated, p)
        assert each.risk_at([0.0], "single_delta_risk") == [alone.risk]
        assert each.risk_at([0.0], "single_delta_objective") == [alone.objective]
        assert each.risk_at([0.0], "single_delta_r") == [alone.r]
        assert each.risk_at([0.0], "single_delta_gap") == [alone.gap]


def test_ridge_and_bound_of_the_problem_are_used() -> None:
    p = parameters(40, 0.5)
    trajectory = solve(Problem(truncated, p, (1.0,), lam=0.01), LandscapeConfig(r_max=1.5))
    expected = convex_infimum(truncated, p, LandscapeConfig(r_max=1.5), lam=0.01)
    assert trajectory.risk_at([0.0], "objective") == pytest.approx([expected.objective], rel=1e-12)
    assert np.max(trajectory.measure(0).points) == pytest.approx(1.5, rel=1e-12)  # where it binds
    alone = single_delta(truncated, p, lam=0.01, r_max=1.5)
    assert trajectory.risk_at([0.0], "single_delta_r") == [alone.r] == pytest.approx([1.5], rel=1e-12)


# ---- the search


def test_a_narrow_well_is_found() -> None:
    """A well 2 % wide beside a broad one nearly as deep; the first cells are 50 % wide, their nodes up to 9 % apart."""
    dense = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 100_000)])
    for centre in np.exp(np.random.default_rng(1).uniform(-3, 4, 20)):

        def V(r: Array, centre: float = centre) -> Array:
            return -np.exp(-(np.log1p(r) ** 2)) - 1.1 * np.exp(-((np.log(r / centre + 1e-300) / 0.02) ** 2))

        found = convex_infimum(bare_module(V, np.zeros_like), {})
        values = 1 + 2 * V(dense)
        assert (
            np.min(values) - 1e-3 <= found.risk <= np.min(values) + 1e-9
        )  # the wells are 0.007 % apart on the grid
        assert found.rho.points[0, 0] == pytest.approx(dense[np.argmin(values)], rel=1e-3)


def test_slopes_are_those_of_the_terms() -> None:
    line = line_of(truncated, parameters(40, 0.5), 0.3, 50.0)
    z = place(np.array([0.02, 0.3, 0.999, 1.001, 1.7, 12.0]))
    h = 1e-6
    (V0, B0), (V1, B1) = terms(line, z - h), terms(line, z + h)
    dV, dB = slopes(line, z)
    # h^2 times third derivatives in z, which grow like r^4, and 1e-15/h of rounding
    assert dV == pytest.approx((V1 - V0) / (2 * h), rel=1e-6, abs=1e-8)
    assert dB == pytest.approx((B1 - B0) / (2 * h), rel=1e-6, abs=1e-8)


def test_the_map_of_the_half_line() -> None:
    r = np.array([0.0, 1e-9, 0.3, 1.0, 1.7, 1e8, 1e300, math.inf])
    z = place(r)
    assert np.all(np.diff(z) > 0) and z[0] == -2 and z[-1] == 0
    assert radius(z) == pytest.approx(r, rel=1e-6)


# ---- bad input and failures


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"gap": 0.0}, r"gap = 0\.0"),
        ({"gap": 1e-13}, "gap = 1e-13"),
        ({"gap": math.nan}, "gap = nan"),
        ({"gap": 1.0}, r"gap = 1\.0"),
        ({"gap": "small"}, "gap = 'small'"),
        ({"rounds": 0}, "rounds = 0"),
        ({"rounds": 2.5}, r"rounds = 2\.5"),
        ({"r_max": 0.0}, r"r_max = 0\.0"),
        ({"r_max": -1.0}, r"r_max = -1\.0"),
        ({"r_max": math.nan}, "r_max = nan"),
    ],
)
def test_bad_configuration_names_the_value(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        LandscapeConfig(**fields)


@pytest.mark.parametrize("function", [convex_infimum, single_delta])
def test_bad_input_names_the_value(function: Callable[..., Any]) -> None:
    p = parameters(40, 0.5)
    with pytest.raises(BadInput, match=r"coordinates \('a', 'b', 'r'\).*r alone.*isotropic_truncated_relu"):
        function(affine, p)
    with pytest.raises(BadInput, match=r"lam = -1\.0"):
        function(truncated, p, lam=-1.0)
    with pytest.raises(BadInput, match="lam = inf"):
        function(truncated, p, lam=math.inf)
    with pytest.raises(BadInput, match=r"d = 1\.5"):
        function(truncated, {**p, "d": 1.5})
    with pytest.raises(BadInput, match="tau_plus"):
        function(truncated, {"d": 40})
    with pytest.raises(BadInput, match="tolerance = 2"):
        function(truncated, {**p, "tolerance": 2})


def test_bad_bounds_and_events_of_functions() -> None:
    with pytest.raises(BadInput, match=r"r_max = 0"):
        single_delta(truncated, parameters(40, 0.5), r_max=0)

    def p_of_delta(s: float) -> dict[str, float]:
        return parameters(math.inf, s)

    with pytest.raises(BadInput, match=r"low = 0\.5, high = 0\.4"):
        delta_threshold(truncated, p_of_delta, low=0.5, high=0.4)
    with pytest.raises(BadInput, match=r"event = 'none'.*optimal or zero"):
        delta_threshold(truncated, p_of_delta, event="none")
    with pytest.raises(BadInput, match="steps = 1"):
        delta_threshold(truncated, p_of_delta, steps=1)
    with pytest.raises(BadInput, match=r"low = 0\.1, high = 0\.3: .* is the best measure .* widen"):
        delta_threshold(truncated, p_of_delta, low=0.1, high=0.3, steps=2)
    with pytest.raises(BadInput, match=r"low = 0\.6, high = 0\.7: .* is not the best measure .* widen"):
        delta_threshold(truncated, p_of_delta, low=0.6, high=0.7, steps=2)
    with pytest.raises(BadInput, match=r"does not reach 0, its least is 0\.0435.*give d = inf"):
        delta_threshold(truncated, lambda s: parameters(40, s), low=0.4, high=0.6, event="zero", steps=4)


def test_noise_is_refused() -> None:
    with pytest.raises(BadInput, match=r"beta = 10\.0.*stationary"):
        solve(Problem(truncated, parameters(40, 0.5), (1.0,), beta=10.0))


def test_a_gap_out_of_reach_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms_stay(monkeypatch)
    p = parameters(12, 0.05)
    with pytest.raises(
        NumericalFailure, match=r"gap is .*e-.*, no smaller since round 1 of at most 1; ask"
    ) as info:
        solve(Problem(truncated, p, (1.0,)), LandscapeConfig(gap=1e-12, rounds=1))
    partial = info.value.partial
    assert partial is not None and not partial.complete
    rho = at_finite_radii(partial.measure(0))
    assert partial.risk_at([0.0])[0] == pytest.approx(risk(truncated, rho, p), rel=1e-14)
    assert partial.data["gap"].values[0] > 1e-12


def test_a_nan_is_never_silent() -> None:
    module = bare_module(lambda r: np.where((r > 2) & (r < 3), math.nan, -1 / (1 + r)), lambda r: 0.0 * r)
    for function in (convex_infimum, single_delta):
        with pytest.raises(NumericalFailure, match=r"not finite at r = 2\."):
            function(module, {})


# ---- everything, slowly


@pytest.mark.slow
@pytest.mark.parametrize("name", ["truncated_relu", "nonmonotone"])
@pytest.mark.parametrize("d", [2, 3, 5, 12, 40, 320, math.inf])
def test_gaps_everywhere(name: str, d: float) -> None:
    module = module_of(name)
    before = math.inf
    for delta in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95):
        p = parameters(d, delta)
        found = convex_infimum(module, p)
        assert found.gap <= 1e-8
        assert excess(module, p, found.rho) <= found.gap / 2 + 1e-12  # rounding errors of up to 2000 features
        assert found.risk < before
        before = found.risk + 1e-9
        alone = single_delta(module, p)
        assert found.lower <= alone.risk <= found.risk + alone.gap + 1e-12
