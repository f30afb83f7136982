"""Slow, obvious oracles: quadratures and samples of the defining integrals, none of the project's formulas.

Everything is computed from sigma alone.  One composite Gauss-Legendre rule serves all integrals; its
panels are cut at every kink of the integrand, so what is left is smooth and the error is rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from workbench import PiecewiseLinear, ReLU, nonmonotone, truncated_relu

Array = NDArray[np.float64]

NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(24)
REACH = 14.0  # exp(-14^2/2) = 3e-43: no Gaussian mass beyond it, also times a polynomial


@dataclass(frozen=True)
class Sigma:
    """A piecewise-linear activation in float64: value and slope by looking up the piece."""

    knots: tuple[float, ...]
    values: tuple[float, ...]
    left: float = 0.0
    right: float = 0.0

    def __call__(self, t: Array) -> Array:
        """sigma(t)."""
        t = np.asarray(t, dtype=float)
        out = self.values[0] + self.left * (t - self.knots[0])
        for i, slope in enumerate(self.slopes[1:]):
            line = self.values[i] + slope * (t - self.knots[i])
            out = np.where(t > self.knots[i], line, out)
        return out

    def slope(self, t: Array) -> Array:
        """sigma'(t) away from the knots."""
        out = np.full(np.shape(t), self.left)
        for knot, slope in zip(self.knots, self.slopes[1:], strict=True):
            out = np.where(np.asarray(t) > knot, slope, out)
        return out

    @property
    def slopes(self) -> list[float]:
        """Slopes of the pieces from left to right."""
        rises = np.diff(self.values) / np.diff(self.knots)
        return [self.left, *(float(x) for x in rises), self.right]


# name -> (what the project is given, what the oracle is given), numbers typed twice on purpose.
# "five" was drawn once at random: negative knots, a knot at 0, slopes outside.
ACTIVATIONS: dict[str, tuple[PiecewiseLinear, Sigma]] = {
    "truncated_relu": (truncated_relu(), Sigma((0.5, 1.5), (-2.5, 7.5))),
    "nonmonotone": (nonmonotone(), Sigma((0.0, 0.5, 1.5), (-2.5, -4.0, 7.5))),
    "relu": (ReLU(), Sigma((0.0,), (0.0,), 0.0, 1.0)),
    "absolute": (PiecewiseLinear([0], [0], -1, 1, name="absolute"), Sigma((0.0,), (0.0,), -1.0, 1.0)),
    "leaky": (PiecewiseLinear([0], [0], 0.1, 1, name="leaky"), Sigma((0.0,), (0.0,), 0.1, 1.0)),
    "five": (
        PiecewiseLinear([-1.3, -0.4, 0, 0.7, 2.1], [0.3, -1, 0.25, 2, 1.5], -0.6, 0.35, name="five"),
        Sigma((-1.3, -0.4, 0.0, 0.7, 2.1), (0.3, -1.0, 0.25, 2.0, 1.5), -0.6, 0.35),
    ),
}


def rule(edges: Iterable[float]) -> tuple[Array, Array]:
    """Nodes and weights of the composite rule on the panels between ``edges``, both flat."""
    e = np.unique(np.asarray(list(edges), dtype=float))
    half = 0.5 * np.diff(e)[:, None]
    return (e[:-1, None] + half * (1 + NODES)).ravel(), (half * NODE_WEIGHTS).ravel()


def panels(low: float, high: float, width: float, breaks: Iterable[float] = ()) -> list[float]:
    """Edges from ``low`` to ``high``, about ``width`` apart, and the ``breaks`` between them."""
    count = max(1, math.ceil((high - low) / width))
    return [*np.linspace(low, high, count + 1), *(b for b in breaks if low < b < high)]


def gaussian(f: Callable[[Array], Array], breaks: Iterable[float] = (), width: float = 0.5) -> float:
    """E f(G), G ~ N(0, 1), f smooth between ``breaks``."""
    z, w = rule(panels(-REACH, REACH, width, breaks))
    return math.fsum(w * f(z) * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))


def hermite_polynomial(k: int, z: Array) -> Array:
    """h_k = He_k/sqrt(k!)."""
    return np.asarray(special.eval_hermitenorm(k, z) / math.sqrt(math.factorial(k)))


def a(sigma: Sigma, k: int, s: float) -> float:
    """a_k(s) = E sigma(sG) h_k(G); k = 0 is q(s)."""
    breaks = [t / s for t in sigma.knots]
    return gaussian(lambda z: sigma(s * z) * hermite_polynomial(k, z), breaks)


def a_prime(sigma: Sigma, k: int, s: float) -> float:
    """a_k'(s) = E G sigma'(sG) h_k(G); k = 0 is q'(s)."""
    breaks = [t / s for t in sigma.knots]
    return gaussian(lambda z: z * sigma.slope(s * z) * hermite_polynomial(k, z), breaks)


def square_norm(sigma: Sigma, s: float) -> float:
    """E sigma(sG)^2."""
    return gaussian(lambda z: sigma(s * z) ** 2, [t / s for t in sigma.knots])


@cache
def sphere_total(d: int) -> float:
    """int cos(u)^(d-2) du, so that the density of S needs no formula for its constant."""
    u, w = rule(panels(-math.pi / 2, math.pi / 2, 1.5 / math.sqrt(d)))
    return math.fsum(w * np.cos(u) ** (d - 2))


def sphere_average(f: Callable[[Array], Array], sigma: Sigma, d: int, c: Array) -> Array:
    """E f(S, c) for each of the scales c (n,), S the first coordinate of a uniform unit vector of R^d.

    S = sin u with density ~ cos(u)^(d-2), panels cut where cS meets a knot.
    """
    with np.errstate(divide="ignore"):
        cuts = np.arcsin(np.clip(np.asarray(sigma.knots)[:, None] / c, -1, 1))
    fixed = np.asarray(panels(-math.pi / 2, math.pi / 2, 1.5 / math.sqrt(d)))[:, None] * np.ones_like(c)
    edges = np.sort(np.concatenate([fixed, cuts]), axis=0)
    half = 0.5 * np.diff(edges, axis=0)[..., None]
    u = edges[:-1, :, None] + half * (1 + NODES)
    weight = half * NODE_WEIGHTS * np.cos(u) ** (d - 2)
    return np.asarray(np.sum(weight * f(np.sin(u)), axis=(0, 2)) / sphere_total(d))


def g(sigma: Sigma, d: int, c: Array) -> Array:
    """g_d(c) = E sigma(cS), c (n,)."""
    return sphere_average(lambda x: sigma(c[:, None] * x), sigma, d, c)


def g_prime(sigma: Sigma, d: int, c: Array) -> Array:
    """g_d'(c) = E S sigma'(cS), c (n,)."""
    return sphere_average(lambda x: x * sigma.slope(c[:, None] * x), sigma, d, c)


def moment(k: int, d: int) -> float:
    """m_k(d) = E S^k."""
    u, w = rule(panels(-math.pi / 2, math.pi / 2, 0.5 / math.sqrt(d)))
    return math.fsum(w * np.cos(u) ** (d - 2) * np.sin(u) ** k) / sphere_total(d)


def pair(sigma: Sigma, s: float, s2: float, rho: float) -> float:
    """E sigma(sX) sigma(s2 Y) at correlation rho: X outside, and for each X the rest of Y inside."""
    if abs(rho) == 1:
        breaks = [t / s for t in sigma.knots] + [rho * t / s2 for t in sigma.knots]
        return gaussian(lambda x: sigma(s * x) * sigma(rho * s2 * x), breaks)
    root = math.sqrt(1 - rho * rho)
    breaks = [t / s for t in sigma.knots]
    # the inner mean bends within a few root/rho of x = t/(s2 rho)
    breaks += [(t / s2 + i * root) / rho for t in sigma.knots for i in (-6, -2, 0, 2, 6)] if rho else []
    x, w = rule(panels(-REACH, REACH, 1.0, breaks))
    cuts = np.sort([(t / s2 - rho * x) / root for t in sigma.knots], axis=0)
    fixed = np.linspace(-REACH, REACH, 15)[:, None] * np.ones_like(x)
    edges = np.sort(np.concatenate([np.clip(cuts, -REACH, REACH), fixed]), axis=0)
    half = 0.5 * np.diff(edges, axis=0)[..., None]
    z = edges[:-1, :, None] + half * (1 + NODES)
    y = s2 * (rho * x[:, None] + root * z)
    inner = np.sum(half * NODE_WEIGHTS * sigma(y) * np.exp(-0.5 * z**2), axis=(0, 2))
    outer = w * sigma(s * x) * np.exp(-0.5 * x**2)
    return math.fsum(outer * inner) / (2 * math.pi)


def orbit_by_angle(sigma: Sigma, d: int, s: float, s2: float) -> float:
    """u_d(s, s2) = E over the angle of two directions of the pair expectation: three integrals."""
    # the pair expectation bends most where the directions are (anti)parallel
    cuts = [sign * (math.pi / 2 - x) for x in (0.3, 0.05) for sign in (-1, 1)]
    u, w = rule(panels(-math.pi / 2, math.pi / 2, 4 / math.sqrt(d), cuts))
    density = w * np.cos(u) ** (d - 2) / sphere_total(d)
    held = density > 1e-18
    values = [pair(sigma, s, s2, math.sin(x)) for x in u[held]]
    return math.fsum(density[held] * values)


def orbit_by_radius(sigma: Sigma, d: int, s: float, s2: float) -> float:
    """u_d(s, s2) = E g_d(sR) g_d(s2 R), R ~ chi_d: given R = |x| the two directions are independent.

    g_d has half-integer powers at R = |t|/s, and varies on that scale above it: the panels shrink
    geometrically towards these points from both sides.
    """
    high = math.sqrt(d) + 9.5
    kinks = sorted({abs(t) / scale for t in sigma.knots for scale in (s, s2) if abs(t) / scale < high})
    near = [k + sign * high * 4.0**-j for k in [0.0, *kinks] for j in range(25) for sign in (-1, 1)]
    radius, w = rule(panels(0.0, high, 0.7, [*kinks, *near]))
    density = w * stats.chi.pdf(radius, d)
    held = density > 1e-22
    radius, density = radius[held], density[held]
    return math.fsum(density * g(sigma, d, s * radius) * g(sigma, d, s2 * radius))


def V(sigma: Sigma, r: float, tau_plus: float, tau_minus: float) -> float:
    """V(r) = -E y sigma(<w, x>), |w| = r."""
    return -0.5 * a(sigma, 0, tau_plus * r) + 0.5 * a(sigma, 0, tau_minus * r)


def network_samples(
    sigma: Sigma, d: int, taus: tuple[float, float], r: float, r2: float, samples: int, seed: int
) -> tuple[Array, Array]:
    """Samples of -y sigma(<w, x>) and sigma(<w, x>) sigma(<w', x>): data and directions drawn plainly."""
    rng = np.random.default_rng(seed)
    first, second = [], []
    for _ in range(samples // 50_000):
        y = np.where(rng.random(50_000) < 0.5, 1.0, -1.0)
        x = np.where(y > 0, *taus)[:, None] * rng.standard_normal((50_000, d))
        w, w2 = rng.standard_normal((2, 50_000, d))
        z = r * np.einsum("ij,ij->i", w, x) / np.linalg.norm(w, axis=1)
        z2 = r2 * np.einsum("ij,ij->i", w2, x) / np.linalg.norm(w2, axis=1)
        first.append(-y * sigma(z))
        second.append(sigma(z) * sigma(z2))
    return np.concatenate(first), np.concatenate(second)


# ---- networks on Gaussian classes of any kind, for test_models


@dataclass(frozen=True)
class Curve:
    """Any activation in float64, by value, slope, and the places where one of them is not smooth."""

    value: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    knots: tuple[float, ...] = ()

    def __call__(self, t: Array) -> Array:
        """sigma(t)."""
        return np.asarray(self.value(np.asarray(t, dtype=float)))

    def slope(self, t: Array) -> Array:
        """sigma'(t) away from the knots."""
        return np.asarray(self.derivative(np.asarray(t, dtype=float)))


@dataclass(frozen=True)
class Classes:
    """x | y ~ N(y mu e_1, diag(tau_y^2 I_s0, I_(d - s0))); isotropic where s0 is None."""

    d: float
    s0: float | None
    taus: tuple[float, float]
    mu: float | None = None  # None: centred means, and no coordinate m

    def stds(self, y: int) -> tuple[float, ...]:
        """Standard deviations in the blocks, given the label."""
        tau = self.taus[0] if y > 0 else self.taus[1]
        return (tau,) if self.s0 is None else (tau, 1.0)


@dataclass(frozen=True)
class Unit:
    """a sigma(<w, x> + b), <w, e_1> = m, and the norms of the rest of w in the blocks."""

    radii: tuple[float, ...]
    a: float = 1.0
    b: float = 0.0
    m: float = 0.0


def normal_rule(sigma: Sigma | Curve, mean: float, std: float) -> tuple[Array, Array]:
    """Nodes z and weights for E f(z), z ~ N(0, 1), f made of sigma(mean + std z) and polynomials."""
    # smooth activations vary on the scale 1 about 0, and not far out
    places = [*sigma.knots, *np.linspace(-30, 30, 121)]
    z, w = rule(panels(-REACH, REACH, 0.2, [(t - mean) / std for t in places] if std > 0 else []))
    return z, w * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)


def potential_and_gradient(sigma: Sigma | Curve, law: Classes, unit: Unit) -> tuple[float, dict[str, float]]:
    """V = -E y sigma_* and its derivatives in a, b, m, r1, r2."""
    value, slopes = 0.0, dict.fromkeys(("a", "b", "m", "r1", "r2"), 0.0)
    for y in (1, -1):
        stds = law.stds(y)
        shift = y * (law.mu or 0.0)
        s = math.sqrt(
            (stds[0] * unit.m) ** 2 + sum((t * r) ** 2 for t, r in zip(stds, unit.radii, strict=True))
        )
        mean = unit.b + shift * unit.m
        z, w = normal_rule(sigma, mean, s)
        height, slope = sigma(mean + s * z), sigma.slope(mean + s * z)
        factor = -0.5 * y
        value += factor * unit.a * math.fsum(w * height)
        slopes["a"] += factor * math.fsum(w * height)
        slopes["b"] += factor * unit.a * math.fsum(w * slope)
        slopes["m"] += factor * unit.a * math.fsum(w * slope * (shift + stds[0] ** 2 * unit.m / s * z))
        for name, std, r in zip(("r1", "r2"), stds, unit.radii, strict=False):
            slopes[name] += factor * unit.a * math.fsum(w * slope * std**2 * r / s * z)
    return value, slopes


def unit_size(sigma: Sigma | Curve, law: Classes, unit: Unit) -> float:
    """The larger of the root mean squares of sigma_* in the two classes."""
    sizes = []
    for y in (1, -1):
        stds = law.stds(y)
        s = math.sqrt(
            (stds[0] * unit.m) ** 2 + sum((t * r) ** 2 for t, r in zip(stds, unit.radii, strict=True))
        )
        mean = unit.b + y * (law.mu or 0.0) * unit.m
        z, w = normal_rule(sigma, mean, s)
        sizes.append(abs(unit.a) * math.sqrt(math.fsum(w * sigma(mean + s * z) ** 2)))
    return max(sizes)


def hermite_feature(
    sigma: Sigma | Curve, j: tuple[int, ...], parts: tuple[float, ...], offset: float
) -> tuple[float, float, list[float]]:
    """E sigma(offset + s G) h_k(G) prod (part_i/s)^j_i, k = sum j; its slopes in the offset and the parts."""
    s = math.sqrt(sum(p * p for p in parts))
    share = [p / s for p in parts]
    z, w = normal_rule(sigma, offset, s)
    h = w * hermite_polynomial(sum(j), z)
    height, slope = sigma(offset + s * z), sigma.slope(offset + s * z)
    powers = math.prod(p**n for p, n in zip(share, j, strict=True))
    coefficient = math.fsum(h * height)
    by_parts = []
    for i in range(len(parts)):
        change = 0.0
        for k, (p, n) in enumerate(zip(share, j, strict=True)):
            others = math.prod(q**o for place, (q, o) in enumerate(zip(share, j, strict=True)) if place != k)
            if n:
                change += n * p ** (n - 1) * ((i == k) - p * share[i]) / s * others
        by_parts.append(math.fsum(h * z * slope) * share[i] * powers + coefficient * change)
    return coefficient * powers, math.fsum(h * slope) * powers, by_parts


def direction_rule(n: float, breaks: Iterable[float]) -> tuple[Array, Array]:
    """Nodes and weights of S, a coordinate of a uniform unit vector of R^n (n = inf: standard normal)."""
    if n == 1:
        return np.array([1.0, -1.0]), np.array([0.5, 0.5])
    if n == math.inf:
        z, w = rule(panels(-9.0, 9.0, 0.5, breaks))
        return z, w * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    inside = [math.asin(t) for t in breaks if abs(t) < 1]
    u, w = rule(panels(-math.pi / 2, math.pi / 2, 1.0 / math.sqrt(n), inside))
    return np.sin(u), w * np.cos(u) ** (n - 2) / sphere_total(int(n))


def orbit_feature(
    sigma: Sigma | Curve, dims: tuple[float, ...], scales: tuple[float, ...], offset: float
) -> tuple[float, float, list[float]]:
    """E sigma(offset + sum_i c_i S_i), its slope in the offset, and those in the c_i: nested quadrature."""
    bends = [*sigma.knots, *np.linspace(-100, 100, 201)]
    if len(dims) == 1:
        s, w = direction_rule(dims[0], [(t - offset) / scales[0] for t in bends])
        height, slope = sigma(offset + scales[0] * s), sigma.slope(offset + scales[0] * s)
        return math.fsum(w * height), math.fsum(w * slope), [math.fsum(w * s * slope)]
    c, c2 = scales
    # square roots begin where a bend meets the edge of the inner sphere: graded panels about these places
    ends = [t - offset + side * c2 for t in sigma.knots for side in (-1, 0, 1)]
    marks = [(e + sign * (c + c2) * 4.0**-i) / c for e in ends for i in range(1, 18) for sign in (-1, 1)]
    outer, weight = direction_rule(
        dims[0], [*((t - offset) / c for t in bends), *(e / c for e in ends), *marks]
    )
    rows = np.zeros((4, len(outer)))
    for n, s1 in enumerate(outer):
        at = offset + c * s1
        s2, w = direction_rule(dims[1], [(t - at) / c2 for t in bends])
        height, slope = w @ sigma(at + c2 * s2), w * sigma.slope(at + c2 * s2)
        rows[:, n] = height, slope.sum(), s1 * slope.sum(), s2 @ slope
    value, by_offset, first, second = (math.fsum(weight * row) for row in rows)
    return value, by_offset, [first, second]


def class_samples(
    sigma: Sigma | Curve, law: Classes, unit: Unit, unit2: Unit, samples: int, seed: int
) -> tuple[Array, Array]:
    """Samples of -y sigma_*(x; theta) and sigma_*(x; theta) sigma_*(x; theta'), w and w' uniform on their orbits."""
    rng = np.random.default_rng(seed)
    d = int(law.d)
    s0 = d if law.s0 is None else int(law.s0)
    first, second = [], []
    for _ in range(samples // 50_000):
        y = np.where(rng.random(50_000) < 0.5, 1.0, -1.0)
        x = rng.standard_normal((50_000, d))
        x[:, :s0] *= np.where(y > 0, *law.taus)[:, None]
        x[:, 0] += y * (law.mu or 0.0)
        outputs = []
        for u in (unit, unit2):
            w = rng.standard_normal((50_000, d))
            blocks = [w[:, 0 if law.mu is None else 1 : s0], w[:, s0:]]
            for block, r in zip(blocks, u.radii, strict=False):
                block *= r / np.linalg.norm(block, axis=1, keepdims=True)
            if law.mu is not None:
                w[:, 0] = u.m
            outputs.append(u.a * sigma(np.einsum("ij,ij->i", w, x) + u.b))
        first.append(-y * outputs[0])
        second.append(outputs[0] * outputs[1])
    return np.concatenate(first), np.concatenate(second)
