"""Averages by quadrature against slow oracles of the defining integrals, closed forms, and each other.

The oracles: mpmath numbers on uniform and narrow panels (20 digits, no formula of the code), closed forms
where there are any, and for pairs Plackett's identity.  The code promises 1e-12 max(1, norm of f); the
tolerance is 1e-13 where nothing but rounding is in the way: sums of a thousand terms lose 1e-15 to 1e-14.
"""

from __future__ import annotations

import inspect
import itertools
import math
import tracemalloc
from collections.abc import Callable, Iterable
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
import pytest
from scipy import special

from tests import test_array_namespace as stand_in
from workbench import averages, numerics
from workbench.averages import (
    angle_rule,
    gaussian_coefficients,
    pair_average,
    sphere_average,
    two_block_mean,
)

device = stand_in.device  # the fixture: a stand-in for CuPy

ROUNDING = 1e-13
SCALES = (0.0, 1e-6, 1e-3, 0.3, 1.0, 7.0, 100.0, 1e3)
OFFSETS = (0.0, 0.7, -3.0, 40.0)


class Case(NamedTuple):
    """A function in float64 and in mpmath, and what the code is told about it."""

    f: Any
    exact: Any
    kinks: tuple[float, ...] = ()
    bends: tuple[tuple[float, float], ...] = ()
    wave: float = 0.0

    @property
    def told(self) -> tuple[Any, Any, Any, float]:
        return self.f, self.kinks, self.bends, self.wave


ORIGIN = ((0.0, 1.0),)
CASES = {
    "tanh": Case(np.tanh, mp.tanh, bends=ORIGIN),
    "erf": Case(special.erf, mp.erf, bends=ORIGIN),
    "tanh squared": Case(lambda t: np.tanh(t) ** 2, lambda t: mp.tanh(t) ** 2, bends=ORIGIN),
    "logistic": Case(special.expit, lambda t: 1 / (1 + mp.exp(-t)), bends=((0.0, 2.0),)),
    "bump": Case(
        lambda t: np.exp(-0.5 * np.minimum(t * t, 1400)), lambda t: mp.exp(-t * t / 2), bends=ORIGIN
    ),
    "ramp": Case(
        lambda t: np.interp(t, [0.5, 1.5], [-2.5, 7.5]),
        lambda t: min(max(-2.5 + 10 * (t - 0.5), mp.mpf(-2.5)), mp.mpf(7.5)),
        kinks=(0.5, 1.5),
    ),
    "relu": Case(lambda t: np.maximum(t, 0.0), lambda t: max(t, mp.mpf(0)), kinks=(0.0,)),
}
SINE = Case(np.sin, mp.sin, wave=1.0)


@cache
def legendre(nodes: int = 20) -> tuple[Any, Any]:
    """Gauss-Legendre on [0, 1] in mpmath numbers: Newton's method from the float64 nodes."""
    x = [
        mp.findroot(lambda t: mp.legendre(nodes, t), mp.mpf(float(z)))
        for z in special.roots_legendre(nodes)[0]
    ]
    w = [2 * (1 - z * z) / (nodes * mp.legendre(nodes - 1, z)) ** 2 for z in x]
    return np.array([(1 + z) / 2 for z in x]), np.array([v / 2 for v in w])


def rule(edges: Iterable[Any]) -> tuple[Any, Any]:
    """Nodes and weights in mpmath numbers on the panels between the edges."""
    e = np.array(sorted({mp.mpf(x) for x in edges}))
    x, w = legendre()
    width = np.diff(e)[:, None]
    return (e[:-1, None] + width * x).ravel(), (width * w).ravel()


def marks(case: Case, scale: float, offset: float, low: float, high: float, width: float) -> list[Any]:
    """Edges `width` apart, at the kinks, and by factors of 2 from half the width of a bend outwards."""
    inside = [mp.mpf(t - offset) / scale for t in case.kinks] if scale else []
    for t, w in case.bends if scale else ():
        rungs = [w / scale / 2 * 2.0**j for j in range(200) if w / scale / 2 * 2.0**j < 30]
        inside += [mp.mpf(t - offset) / scale + sign * r for r in [0.0, *rungs] for sign in (-1, 1)]
    grid = np.linspace(low, high, math.ceil((high - low) / width) + 1)
    return [*grid, *(x for x in inside if low < x < high)]


def apply(f: Callable[[Any], Any], x: Any) -> Any:
    """f elementwise over mpmath numbers."""
    return np.array([mp.mpf(f(t)) for t in x])


def exact_coefficients(case: Case, orders: Iterable[int], s: float, b: float) -> tuple[list[float], float]:
    """E[f(b + s G) h_k(G)] for the orders, and the norm of f."""
    top = max(orders)
    reach = 13.0 if top > 2 else 10.0
    with mp.workdps(22):
        z, w = rule(marks(case, s, b, -reach, reach, 1.0 if top < 100 else 0.7))
        w = w * apply(lambda t: mp.exp(-t * t / 2), z) / mp.sqrt(2 * mp.pi)
        value = apply(case.exact, mp.mpf(b) + mp.mpf(s) * z)
        table = [w * value, z * w * value]
        sums = {k: mp.fsum(table[k]) for k in (0, 1)}
        for k in range(1, top):
            table = [table[1], (z * table[1] - mp.sqrt(k) * table[0]) / mp.sqrt(k + 1)]
            sums[k + 1] = mp.fsum(table[1])
        return [float(sums[k]) for k in orders], float(mp.sqrt(mp.fsum(w * value * value)))


def check(value: Any, exact: Any, norm: float, tolerance: float = ROUNDING) -> None:
    """|value - exact| <= tolerance max(1, norm)."""
    error = np.max(np.abs(np.asarray(value) - np.asarray(exact)))
    assert error <= tolerance * max(1.0, norm), f"error {error:.1e}"


# ---- one Gaussian


@pytest.mark.parametrize("name", CASES)
def test_gaussian_coefficients(name: str) -> None:
    orders = (0, 1, 2, 5, 12)
    # every scale, and each offset at several of them
    points = [(s, OFFSETS[(i + j) % 4]) for i, s in enumerate(SCALES) for j in (0, 1)]
    s, b = np.array(points).T
    few, many = (gaussian_coefficients(*CASES[name].told, order, s, b) for order in (2, 12))
    assert few.shape == (len(points), 3) and many.shape == (len(points), 13)
    for i, (scale, offset) in enumerate(points):
        exact, norm = exact_coefficients(CASES[name], orders, scale, offset)
        check(many[i][list(orders)], exact, norm)
        check(few[i], exact[:3], norm)


@pytest.mark.parametrize("s, b", [(1.0, 0.0), (7.0, -3.0), (1e3, 0.7)])
def test_high_orders_of_a_smooth_function(s: float, b: float) -> None:
    orders = (60, 61, 199, 200)
    exact, norm = exact_coefficients(CASES["tanh"], orders, s, b)
    check(
        gaussian_coefficients(*CASES["tanh"].told, 200, np.array(s), np.array(b))[list(orders)], exact, norm
    )


@pytest.mark.parametrize("order", [60, 200, 600])
def test_high_orders_of_a_ramp(order: int) -> None:
    # E (s G - t)_+ h_k = s phi(t/s) He_{k-2}(t/s)/sqrt(k!)
    s, b = (a.ravel() for a in np.meshgrid([1e-3, 0.3, 1.0, 7.0, 1e3], [0.0, 0.7, -3.0]))
    value = gaussian_coefficients(*CASES["ramp"].told, order, s, b)[:, order]
    for i in range(len(s)):
        with mp.workdps(40):
            hinges = []
            for t in (0.5, 1.5):
                z = (mp.mpf(t) - mp.mpf(b[i])) / mp.mpf(s[i])
                here, last = mp.npdf(z), mp.mpf(0)  # He_k phi/sqrt(k!) by its recurrence
                for k in range(order - 2):
                    here, last = (z * here - mp.sqrt(k) * last) / mp.sqrt(k + 1), here
                hinges.append(s[i] * here / mp.sqrt(order * (order - 1)))
            exact = float(10 * (hinges[0] - hinges[1]))
        check(value[i], exact, 7.5)  # |ramp| <= 7.5


def test_waves_over_a_gaussian() -> None:
    s, b = np.array([0.0, 0.3, 1.0, 3.0, 8.0, 60.0, 200.0]), np.array([0.7, -3.0, 40.0, 0.1, 2.0, 1.0, 1.0])
    k = np.arange(13)
    value = gaussian_coefficients(*SINE.told, 12, s, b)
    size = np.exp(-0.5 * s**2)[:, None] * s[:, None] ** k / np.sqrt(special.factorial(k))
    check(value, size * np.sin(b[:, None] + 0.5 * math.pi * k), 1.0)


def test_no_scale_and_large_scales_have_their_limits() -> None:
    told, b = CASES["tanh"].told, np.array([0.0, 0.7, -3.0, 1e300])
    value = gaussian_coefficients(*told, 5, np.zeros(4), b)
    check(value, np.tanh(b)[:, None] * (np.arange(6) == 0), 1.0)
    # tanh becomes a sign: E sign(G) h_k; what is left of its width is 1/s
    value = gaussian_coefficients(*told, 5, np.array(1e300), np.zeros(3))
    root = math.sqrt(2 / math.pi)
    check(value, [[0, root, 0, -root / math.sqrt(6), 0, root * 3 / math.sqrt(120)]] * 3, 1.0)
    # a bump has its width alone: E exp(-(b + s G)^2/2)
    s, b = np.array([1e3, 1e5, 1e8, 1e12]), np.array([0.7, 3e4, -2e8, 0.0])
    size = 1 / np.hypot(1, s)
    value = gaussian_coefficients(*CASES["bump"].told, 0, s, b)[:, 0]
    check(
        value / size, np.exp(-0.5 * (b * size) ** 2), 1.0, 1e-9
    )  # z next to b/s is rounded by 1e-16, not 1/s
    # a sign far from 0: P(G > -2) - P(G < -2)
    check(gaussian_coefficients(*told, 0, np.array(1e20), np.array(2e20)), math.erf(math.sqrt(2)), 1.0)


# ---- one sphere


def exact_sphere(case: Case, n: int, c: float, b: float) -> tuple[float, float, float]:
    """E f(b + c S), E[S f(b + c S)] and the norm of f, with the density normalised by its own sum."""
    if n == 1:
        up, down = (float(case.exact(mp.mpf(b) + sign * mp.mpf(c))) for sign in (1, -1))
        return (up + down) / 2, (up - down) / 2, math.hypot(up, down)
    with mp.workdps(22):
        reach = min(math.pi / 2, 11 / math.sqrt(n))
        cuts = marks(case, c, b, -1.0, 1.0, 2.0)[2:]
        grid = np.linspace(-1, 1, 15) * reach
        ends = [mp.pi / 2, -mp.pi / 2] if n <= 50 else []
        u, w = rule([*grid[1:-1], *ends, *(x for x in map(mp.asin, cuts) if abs(x) < reach)])
        w = w * apply(lambda t: mp.cos(t) ** (n - 2), u)
        total, x = mp.fsum(w), apply(mp.sin, u)
        value = apply(case.exact, mp.mpf(b) + mp.mpf(c) * x)
        sums = (mp.fsum(w * value), mp.fsum(w * x * value), mp.fsum(w * value**2))
        return float(sums[0] / total), float(sums[1] / total), math.sqrt(sums[2] / total)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40, 320, 10**6])
def test_sphere_average(n: int) -> None:
    points = [(0.0, 0.7), (1e-3, 0.7), (0.9, -0.2), (1.0, 0.5), (4.0, 3.0), (30.0, -22.0), (1e3, 0.7)]
    c, b = np.array(points).T
    c = c * math.sqrt(n)  # S is about 1/sqrt(n)
    for case in CASES.values():
        first, second = sphere_average(*case.told, n, c, b)
        for i in range(len(points)):
            mean, moment, norm = exact_sphere(case, n, c[i], b[i])
            check(first[i], mean, norm)
            check(second[i], moment, norm)


def test_places_at_the_edge_of_the_sphere() -> None:
    # u = arcsin S folds what lies just inside or beyond S = 1: both sides of the edge, at every distance
    c = np.array([3.0, 7.0, 40.0, 40.0, 150.0, 39.897, 48.706])
    b = -c * (1 + np.array([1e-7, -1e-4, 0.4, -0.4, -0.1, -0.40086, -0.51265]))
    for name, n in itertools.product(("tanh", "bump", "relu"), (2, 3)):
        first, second = sphere_average(*CASES[name].told, n, c, b)
        for i in range(len(c)):
            mean, moment, norm = exact_sphere(CASES[name], n, c[i], b[i])
            # 16 nodes leave a bump, which is not resolved by its distance alone, 5e-13
            check(first[i], mean, norm, 1e-12)
            check(second[i], moment, norm, 1e-12)


def test_waves_over_a_sphere() -> None:
    c, b = np.array([0.0, 1e-3, 1.0, 7.0, 100.0, 350.0]), np.array([0.7, -3.0, 40.0, 0.0, 1.0, 2.0])
    first, second = sphere_average(*SINE.told, 2, c, b)
    check(first, special.j0(c) * np.sin(b), 1.0)
    check(second, special.j1(c) * np.cos(b), 1.0)
    first, second = sphere_average(*SINE.told, 3, c, b)
    check(first, special.spherical_jn(0, c) * np.sin(b), 1.0)
    check(second, special.spherical_jn(1, c) * np.cos(b), 1.0)


def test_infinite_dimension_and_its_neighbour() -> None:
    told, c, b = CASES["tanh"].told, np.array([0.0, 3.0, 1e6]), np.array([0.7, -0.3, 0.1])
    first, second = sphere_average(*told, math.inf, c, b)
    check(first, np.tanh(b), 1.0)
    assert not np.any(second)
    # sqrt(n) S is Gaussian up to 1/n
    first, _ = sphere_average(*told, 10**12, c, b)
    check(first, gaussian_coefficients(*told, 0, c * 1e-6, b)[:, 0], 1.0, 1e-12)


# ---- the angle of two directions


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 20, 36, 37, 41, 42, 320, 10**6, 10**12, math.inf])
def test_angle_rule_moments(n: float) -> None:
    cosine, weight = angle_rule(n)
    assert abs(math.fsum(weight) - 1) < 1e-14  # the constant is exact, nothing was divided by the sum
    assert len(cosine) <= 512 and np.all(weight > 0)
    k = np.arange(0, 21)
    moments = [math.fsum(weight * cosine**j) for j in k]
    check(moments, (k % 2 == 0) * numerics.spherical_moment(k, n) if n < math.inf else k == 0, 1.0)


@pytest.mark.parametrize("width", [1e-1, 1e-3, 1e-5, 1e-6])
def test_angle_rule_near_parallel(width: float) -> None:
    # F = e/(e + 1 - cos phi) falls over phi ~ width, e = width^2; cos phi is rounded by 1e-16, which
    # moves F by 1e-16/e over angles that weigh `width`
    e = width**2
    for sign in (1, -1):
        for n, exact in ((2, e / math.sqrt(e * (2 + e))), (3, 0.5 * e * math.log1p(2 / e))):
            cosine, weight = angle_rule(n)
            check(math.fsum(weight * e / (e + (1 - sign * cosine))), exact, 1.0, 1e-14 + 3e-16 / width)


# ---- pairs


RHOS = (0.0, 0.3, -0.9, 1 - 1e-6, -(1 - 1e-6), 1.0, -1.0)


def test_pairs_without_offset_have_closed_forms() -> None:
    some = (0.0, 1e-3, 0.3, 7.0, 1e3)
    s, s2, rho = (a.ravel() for a in np.meshgrid(some, some, RHOS))
    # arcsine of a ratio that is rounded: 1 - ratio is 1e-6 at least where the scales are large
    ratio = 2 * s * s2 * rho / np.sqrt((1 + 2 * s**2) * (1 + 2 * s2**2))
    check(pair_average(*CASES["erf"].told, s, s2, rho, 0.0, 0.0), 2 / math.pi * np.arcsin(ratio), 1.0, 1e-12)
    angle = np.arccos(rho)
    exact = s * s2 / (2 * math.pi) * (np.sin(angle) + (math.pi - angle) * rho)
    value = pair_average(*CASES["relu"].told, s, s2, rho, 0.0, 0.0)
    scale = np.maximum(1.0, s * s2)
    check(value / scale, exact / scale, 1.0)


def plackett(h: Any, k: Any, rho: Any) -> Any:
    """P(X < h, Y < k) = Phi(h) Phi(k) + int of the density over the correlation, from 0 to rho = sin."""

    def density(angle: Any) -> Any:
        exponent = (h * h - 2 * h * k * mp.sin(angle) + k * k) / (2 * mp.cos(angle) ** 2)
        return mp.exp(-exponent)

    end = mp.asin(rho)
    near = [mp.sign(end) * (mp.pi / 2 - mp.mpf(10) ** -j) for j in (0.5, 1, 1.5, 2, 2.5, 3)]
    ends = [mp.mpf(0), *(x for x in near if abs(x) < abs(end)), end]
    return mp.ncdf(h) * mp.ncdf(k) + mp.quad(density, ends) / (2 * mp.pi)


def test_pairs_of_a_smooth_step_with_offsets() -> None:
    # E Phi(b + s X) Phi(b2 + s2 Y) is a bivariate normal probability
    points = [
        (s, s2, rho, b, b2)
        for (s, s2, b, b2), rho in itertools.product(
            [(1.0, 1.0, 0.7, -0.4), (7.0, 0.3, -3.0, 0.7), (1e3, 1e3, 0.7, -3.0), (0.3, 1e3, 0.7, 300.0)],
            RHOS,
        )
    ]
    value = pair_average(special.ndtr, (), ORIGIN, 0.0, *np.array(points).T)
    for i, (s, s2, rho, b, b2) in enumerate(points):
        with mp.workdps(30):
            one, two = mp.sqrt(1 + mp.mpf(s) ** 2), mp.sqrt(1 + mp.mpf(s2) ** 2)
            exact = plackett(b / one, b2 / two, mp.mpf(rho) * s * s2 / (one * two))
        check(value[i], float(exact), 1.0)


def exact_ramp_pair(s: Any, s2: Any, rho: Any, b: Any, b2: Any) -> Any:
    """-2.5 + 10 (t - 0.5)_+ - 10 (t - 1.5)_+ on both sides, multiplied out: means of one and of two hinges."""
    root = mp.sqrt(1 - rho * rho)

    def one(t: Any, scale: Any) -> Any:
        return scale * mp.npdf(t / scale) - t * mp.ncdf(-t / scale)

    def two(t: Any, t2: Any) -> Any:
        h, k = t / s, t2 / s2
        density = mp.exp(-(h * h - 2 * rho * h * k + k * k) / (2 * root**2)) / (2 * mp.pi * root)
        both = (h * k + rho) * plackett(-h, -k, rho) + root**2 * density
        both -= k * mp.npdf(h) * mp.ncdf((rho * h - k) / root) + h * mp.npdf(k) * mp.ncdf(
            (rho * k - h) / root
        )
        return s * s2 * both

    changes = ((mp.mpf(0.5), 10), (mp.mpf(1.5), -10))
    value = mp.mpf(6.25)
    for t, c in changes:
        value -= 2.5 * c * (one(t - b, s) + one(t - b2, s2))
        for t2, c2 in changes:
            value += c * c2 * two(t - b, t2 - b2)
    return value


def test_pairs_of_a_ramp_with_offsets() -> None:
    some = [(1.0, 1.0, 0.7, 0.0), (7.0, 0.3, -3.0, 0.7), (1e3, 1e3, 0.7, -3.0), (0.3, 1e3, 0.7, 300.0)]
    points = [(s, s2, rho, b, b2) for (s, s2, b, b2), rho in itertools.product(some, RHOS)]
    value = pair_average(*CASES["ramp"].told, *np.array(points).T)
    for i, (s, s2, rho, b, b2) in enumerate(points):
        with mp.workdps(40):
            if abs(rho) < 1:
                exact = exact_ramp_pair(*map(mp.mpf, (s, s2, rho, b, b2)))
            else:
                ends = [*marks(CASES["ramp"], s, b, -10, 10, 1.0)]
                ends += [rho * x for x in marks(CASES["ramp"], s2, b2, -10, 10, 20.0)]
                x, w = rule(ends)
                f = CASES["ramp"].exact
                exact = mp.fsum(w * apply(lambda z: mp.npdf(z) * f(b + s * z) * f(b2 + s2 * rho * z), x))  # noqa: B023
        check(value[i], float(exact), 56.25)  # |ramp| <= 7.5


@pytest.mark.parametrize("s, s2, rho", [(1.0, 7.0, 0.3), (7.0, 7.0, -0.9), (7.0, 3.0, 1 - 1e-6)])
def test_pairs_of_tanh_by_a_fine_grid(s: float, s2: float, rho: float) -> None:
    # the plain product rule over X and the rest of Y; tanh(s x) has its poles at 1.6/s
    x, w = (np.array(a, dtype=float) for a in rule(np.linspace(-9.5, 9.5, round(19 * s2) + 1)))
    w = w * np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    root = math.sqrt((1 - rho) * (1 + rho))
    value = np.tanh(-0.4 + s2 * (rho * x[:, None] + root * x)) @ w
    exact = math.fsum(w * np.tanh(0.7 + s * x) * value)
    check(pair_average(*CASES["tanh"].told, s, s2, rho, 0.7, -0.4), exact, 1.0)


def test_pairs_of_waves() -> None:
    some = (0.0, 0.3, 3.0, 20.0)
    s, s2, rho = (a.ravel() for a in np.meshgrid(some, some, RHOS))
    value = pair_average(*SINE.told, s, s2, rho, 0.7, -3.0)
    # cos of the difference and of the sum of the phases; variances without cancellation
    near, far = ((s - s2) ** 2 + 2 * s * s2 * (1 - sign * rho) for sign in (1, -1))
    exact = 0.5 * (np.exp(-near / 2) * math.cos(3.7) - np.exp(-far / 2) * math.cos(-2.3))
    check(value, exact, 1.0)


# ---- two spheres


def mean_over_sphere(f: Any, slope: Any, kinks: Any = (), bends: Any = ()) -> Any:
    """g, g_c, g_b of E f(b + c S), as a caller of `two_block_mean` makes them."""

    def mean(n: Any, c: Any, b: Any) -> Any:
        g, _ = sphere_average(f, kinks, bends, 0.0, n, c, b)
        g_b, g_c = sphere_average(slope, kinks, bends, 0.0, n, c, b)
        return g, g_c, g_b

    return mean


MEAN_TANH = mean_over_sphere(np.tanh, lambda t: 1 - np.tanh(t) ** 2, bends=ORIGIN)
MEAN_RELU = mean_over_sphere(CASES["relu"].f, lambda t: np.where(t > 0, 1.0, 0.0), kinks=(0.0,))


@pytest.mark.parametrize("n1, n2", [(1, 1), (1, 2), (2, 1), (3, 4), (20, 20), (2, 320), (320, 2)])
def test_two_blocks_of_tanh_by_a_fine_grid(n1: int, n2: int) -> None:
    def block(n: int) -> tuple[Any, Any]:
        if n == 1:
            return np.array([-1.0, 1.0]), np.array([0.5, 0.5])
        u, w = (np.array(a, dtype=float) for a in rule(np.linspace(-math.pi / 2, math.pi / 2, 101)))
        w = w * np.cos(u) ** (n - 2)
        return np.sin(u)[w > 0], w[w > 0] / math.fsum(w)

    (x, w), (y, v) = block(n1), block(n2)
    points = [
        (0.0, 0.0, 0.7),
        (0.3, 7.0, 0.7),
        (7.0, 0.3, -3.0),
        (3.0, 3.0, 0.0),
        (0.0, 2.0, 1.0),
        (90.0, 20.0, 3.0),
    ]
    c1, c2, b = np.array(points).T
    values = two_block_mean(MEAN_TANH, n1, n2, (), ORIGIN, c1, c2, b)
    for i in range(len(points)):
        f = np.tanh(b[i] + c1[i] * x[:, None] + c2[i] * y)
        slope = 1 - f**2
        exact = (w @ f @ v, (w * x) @ slope @ v, w @ slope @ (v * y), w @ slope @ v)
        check([value[i] for value in values], exact, 1.0)


def exact_relu_mean(n: int, c: Any, b: Any) -> tuple[Any, Any, Any]:
    """g, g_c, g_b of E (b + c S)_+: the tail and the moment of S; g is homogeneous of degree 1."""
    if n == 1:
        up, down = (mp.mpf(b + sign * c > 0) for sign in (1, -1))
        g_b, g_c = (up + down) / 2, (up - down) / 2
    else:
        x = max(mp.mpf(-1), min(mp.mpf(1), -b / c))
        g_b = (1 - mp.sign(x) * mp.betainc(0.5, mp.mpf(n - 1) / 2, 0, x * x, regularized=True)) / 2
        g_c = (1 - x * x) ** (mp.mpf(n - 1) / 2) / ((n - 1) * mp.beta(0.5, mp.mpf(n - 1) / 2))
    return b * g_b + c * g_c, g_c, g_b


@pytest.mark.parametrize("n1, n2", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (3, 4), (20, 20), (2, 320)])
def test_two_blocks_of_relu(n1: int, n2: int) -> None:
    points = [(3.0, 1.0, 0.7), (1.0, 0.999999, 0.5), (0.3, 7.0, -3.0)]
    c1, c2, b = np.array(points).T
    values = two_block_mean(MEAN_RELU, n1, n2, (0.0,), (), c1, c2, b)
    for i, (p, q, r) in enumerate(points):
        with mp.workdps(20):
            first, second, shift = mp.mpf(p), mp.mpf(q), mp.mpf(r)
            near = 6 / mp.sqrt(n2)
            cuts = [(-shift + sign * second) / first for sign in (-1, -near, 0, near, 1)]
            ends = [-mp.pi / 2, *sorted(mp.asin(x) for x in cuts if abs(x) < 1), mp.pi / 2]

            def average(part: Any, n1: int = n1, n2: int = n2, ends: Any = ends) -> float:
                if n1 == 1:
                    return float((part(1, n2) + part(-1, n2)) / 2)
                density = lambda u: mp.cos(u) ** (n1 - 2)  # noqa: E731
                total = mp.quad(
                    lambda u: density(u) * part(mp.sin(u), n2), ends
                )  # tanh-sinh: roots at the ends
                return float(total / mp.beta(0.5, mp.mpf(n1 - 1) / 2))

            def part(index: int, power: int, at: Any = (first, second, shift)) -> Any:
                return lambda y, n: y**power * exact_relu_mean(n, at[1], at[2] + at[0] * y)[index]

            exact = [average(part(index, power)) for index, power in ((0, 0), (2, 1), (1, 0), (2, 0))]
        check([value[i] for value in values], exact, 10.0)


def test_two_blocks_of_infinite_dimension() -> None:
    c, b = np.array([0.3, 7.0]), np.array([0.7, -3.0])
    g, g_c, g_b = MEAN_TANH(5, c, b)
    check(two_block_mean(MEAN_TANH, 5, math.inf, (), ORIGIN, c, 2.0, b), (g, g_c, 0 * g, g_b), 1.0)
    check(two_block_mean(MEAN_TANH, math.inf, 5, (), ORIGIN, 2.0, c, b), (g, 0 * g, g_c, g_b), 1.0)


# ---- the functions agree with each other, and behave as arrays do


def test_mehler() -> None:
    # E f(b + s X) f(b2 + s2 Y) = sum rho^k a_k a_k': 0.9^300 is 2e-14
    told = CASES["ramp"].told
    one, two = (
        gaussian_coefficients(*told, 300, np.array(s), np.array(b)) for s, b in ((1.0, 0.7), (3.0, -1.0))
    )
    for rho in (0.3, -0.9):
        value = pair_average(*told, 1.0, 3.0, rho, 0.7, -1.0)
        check(value, math.fsum(one * two * rho ** np.arange(301.0)), 56.25)


def test_shapes_broadcast_and_batches_are_put_back_in_order() -> None:
    told = CASES["tanh"].told
    s = np.random.default_rng(7).permutation(np.logspace(-3, 8, 3000)).reshape(3, 1000, 1)
    b = np.array([0.7, -3.0])
    value = gaussian_coefficients(*told, 2, s, b)
    assert value.shape == (3, 1000, 2, 3)
    check(value[1, 7, 1], gaussian_coefficients(*told, 2, s[1, 7, 0], -3.0), 1.0)
    first, _ = sphere_average(*told, 5, s, b)
    assert first.shape == (3, 1000, 2)
    check(first[2, 900, 0], sphere_average(*told, 5, s[2, 900, 0], 0.7)[0], 1.0)
    assert pair_average(*told, s[0, :3], 1.0, 0.5, b, 0.0).shape == (3, 2)
    assert two_block_mean(MEAN_TANH, 3, 2, (), ORIGIN, s[0, :3], 1.0, b)[3].shape == (3, 2)
    none = np.zeros((0, 2))
    assert gaussian_coefficients(*told, 2, none, 0.0).shape == (0, 2, 3)
    assert sphere_average(*told, 3, none, 0.0)[0].shape == pair_average(*told, none, 1.0, 0.5, 0.0, 0.0).shape


def test_extreme_points_are_finite() -> None:
    size = (0.0, 1e-300, 1e-150, 1.0, 1e150, 1e300, 1.7e308)
    s, b = (a.ravel() for a in np.meshgrid(size, [*size, *(-v for v in size)]))
    for name in ("tanh", "erf", "ramp", "relu"):
        told = CASES[name].told
        assert np.all(np.isfinite(gaussian_coefficients(*told, 12, s, b)))
        for n in (1, 2, 40, 10**12, math.inf):
            assert np.all(np.isfinite(sphere_average(*told, n, s, b)))
    told = CASES["ramp"].told
    for rho in (1e-300, 1.0, -1 + 1e-16):
        assert np.all(np.abs(pair_average(*told, s, 1e300, rho, b, -b)) <= 56.26)
    values = two_block_mean(MEAN_RELU, 3, 2, (0.0,), (), s, s[::-1], b)
    assert np.all(np.isfinite(values))
    assert np.all(np.abs(gaussian_coefficients(*SINE.told, 0, np.array(1e300), np.array(1e300))) <= 1)


def test_a_point_that_is_no_number_spoils_no_other() -> None:
    told, s = CASES["tanh"].told, np.array([1.0, math.nan, 3.0])
    value = gaussian_coefficients(*told, 1, s, 0.7)
    assert np.all(np.isnan(value[1])) and np.all(np.isfinite(value[[0, 2]]))
    check(value[[0, 2]], gaussian_coefficients(*told, 1, s[[0, 2]], 0.7), 1.0)
    assert np.all(np.isnan(gaussian_coefficients(*told, 1, s[1], 0.7)))


def test_memory_is_bounded() -> None:
    tracemalloc.start()
    gaussian_coefficients(*CASES["tanh"].told, 2, np.linspace(0, 9, 20000), 0.5)
    sphere_average(*SINE.told, 3, np.linspace(0, 300, 2000), 0.5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6  # an array of all nodes has 50 MB and more


def test_results_live_where_the_points_live(device: Any) -> None:
    xp, s, b = device, np.array([0.0, 0.3, 7.0]), np.array([0.7, -3.0, 0.0])

    def tanh(t: Any) -> Any:
        return numerics.namespace(t)[0].tanh(t)

    mean = mean_over_sphere(tanh, lambda t: 1.0 - tanh(t) * tanh(t), bends=ORIGIN)
    told = (tanh, (0.5,), ORIGIN, 0.0)

    def same(function: Any, *args: Any) -> None:
        on_host = function(*args)
        there = function(*(xp.asarray(a) if isinstance(a, np.ndarray) else a for a in args))
        for one, two in zip(*(v if isinstance(v, tuple) else (v,) for v in (on_host, there)), strict=True):
            assert isinstance(two, stand_in.DeviceArray)
            assert np.array_equal(one, two.held)

    same(gaussian_coefficients, *told, 5, s, b)
    for n in (1, 2, 40, math.inf):
        same(sphere_average, *told, n, s, b)
        same(two_block_mean, mean, n, 3, (), ORIGIN, s, s, b)


def test_the_bodies_stand_alone() -> None:
    # as in a generated module: their text, the text of numerics, and the imports made there
    names: dict[str, Any] = {"TINY": numerics.TINY, "HUGE": numerics.HUGE, "FAR": numerics.FAR}
    imports = "import math\nfrom functools import lru_cache\nfrom typing import Any, NamedTuple\n"
    text = imports + "import numpy as np\nfrom scipy import special\n"
    for module in (numerics, averages):
        for f in map(inspect.unwrap, filter(callable, vars(module).values())):
            if isinstance(f, FunctionType) and f.__module__ == module.__name__:
                text += inspect.getsource(f) + "\n"
    exec(compile(text, "<bodies>", "exec"), names)
    told, x = CASES["tanh"].told, np.array([0.3, 2.0])
    assert np.array_equal(
        names["gaussian_coefficients"](*told, 3, x, x), gaussian_coefficients(*told, 3, x, x)
    )
    assert np.array_equal(names["sphere_average"](*told, 50, x, x), sphere_average(*told, 50, x, x))
    assert np.array_equal(names["angle_rule"](5), angle_rule(5))
    assert np.array_equal(
        names["pair_average"](*told, x, x, x / 9, x, x), pair_average(*told, x, x, x / 9, x, x)
    )
    one, two = (f(MEAN_TANH, 3, 2, (), ORIGIN, x, x, x) for f in (names["two_block_mean"], two_block_mean))
    assert np.array_equal(one, two)
