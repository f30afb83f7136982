"""Averages of any activation: over Gaussians, spheres, pairs, by quadrature; copied into generated modules.

Every rule is composite Gauss-Legendre with its own panels for each point.  The panels end where the
integrand has a kink and shrink geometrically ("ladder") towards the places where it bends; panels that
a point does not need have no width.  What is left on a panel is smooth on its own scale, so that 16
nodes reach rounding.  Panels are made on the host; nodes, values and sums live where the points live.

f        elementwise function of an array;  kinks  places where f or a derivative of it jumps
bends    pairs (place, width): near the place an analytic f varies on the scale of the width (1 for tanh)
wave     the highest frequency of f (0.0 if none): sin(3 t) has 3.0.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

from workbench.numerics import HUGE, TINY, _sphere_moment_at_zero, gauss_pdf, namespace


def on_points(*arrays: Any) -> tuple[Any, Any, Any]:
    """The module where the arrays live, their common shape (...), and flat float64 copies on the host."""
    xp = next((xp for xp, _ in map(namespace, arrays) if xp is not np), np)
    held = [a if namespace(a)[0] is np else xp.asnumpy(a) for a in arrays]
    held = list(np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in held)))
    return xp, held[0].shape, [np.clip(a.ravel(), -HUGE, HUGE) for a in held]


def in_batches(xp: Any, rule: Any, nodes: Any, *points: Any) -> Any:
    """rule(*points) (P,) -> (P, ...), a part of the points at a time: those with most nodes come first.

    Points of one batch have about as many nodes, and an array of all their nodes has about 1 MB.
    """
    nodes = np.nan_to_num(nodes, nan=16.0)  # a point that is no number stays one, and spoils no other
    order = np.argsort(-nodes, kind="stable")
    parts: list[Any] = []
    start = 0
    while start < order.size or not parts:
        most = nodes[order[start]] if order.size else 1.0
        batch = order[start : start + max(1, int(2**17 / most))]
        parts.append(rule(*(a[batch] for a in points)))
        start += max(1, batch.size)
    return xp.concatenate(parts)[xp.asarray(np.argsort(order))]


def panel_width(rate: Any) -> Any:
    """Width of the panels on which 16 nodes resolve a Gaussian and oscillations of up to `rate` per unit.

    16 nodes resolve a phase of 6 to each side of the middle to rounding.  Beyond a rate of 1e4 (300
    thousand nodes) nothing more is resolved: the result is finite, and that is all that can be said of it.
    """
    return np.minimum(2.0, 12.0 / (1.0 + np.minimum(rate, 1e4)))


def common_width(rate: Any) -> float:
    """The panel width that serves all points of a batch: (P,) -> ()."""
    return float(panel_width(np.fmax.reduce(rate, initial=0.0)))


def panel_count(length: float, width: Any, kinks: Any, bends: Any, scale: Any) -> Any:
    """About as many panels as `panels` and `cuts` make for each point."""
    ladders = sum(4.0 + np.minimum(1.3 * np.log2(1.0 + scale / w), 70.0) for _, w in bends)
    return length / width + len(kinks) + ladders


def ladder(place: Any, width: Any, coarse: float) -> Any:
    """place and place +- width {1, 3, 9, ...} up to about `coarse`: (P,), (P,) -> (P, m).

    On [r, 3 r] a pole at the place leaves 16 nodes an error of 4^-32.  What is narrower than
    1e-16 coarse cannot be seen in float64.
    """
    width = np.clip(width, 1e-16 * coarse, coarse)
    steps = math.ceil(math.log(coarse / np.fmin.reduce(width, initial=coarse)) / math.log(3.0)) + 1
    rungs = width[:, None] * 3.0 ** np.arange(steps)
    place = place[:, None]
    return np.concatenate([place, place - rungs, place + rungs], axis=-1)


def cuts(kinks: Any, bends: Any, scale: Any, offset: Any, coarse: float) -> Any:
    """The z where offset + scale z meets a kink, and ladders about those where it bends: (P,) -> (P, m)."""
    scale = np.maximum(scale, TINY)
    marks = [np.empty((len(scale), 0))]
    with np.errstate(over="ignore"):
        marks += [((t - offset) / scale)[:, None] for t in kinks]
        marks += [ladder((t - offset) / scale, w / scale, coarse) for t, w in bends]
    return np.concatenate(marks, axis=-1)


def panels(marks: Any, reach: float, coarse: float) -> Any:
    """Ends of panels on [-reach, reach], none wider than `coarse`, cut at the marks: (P, m) -> (P, m')."""
    grid = np.linspace(-reach, reach, math.ceil(2.0 * reach / coarse) + 1)
    grid = np.broadcast_to(grid, (len(marks), len(grid)))
    return np.sort(np.concatenate([grid, np.clip(marks, -reach, reach)], axis=-1), axis=-1)


def panel_rule(xp: Any, edges: Any) -> tuple[Any, Any]:
    """Gauss-Legendre with 16 nodes on each panel: nodes and weights (P, 16 (m - 1)) from the ends (P, m)."""
    x, w = special.roots_legendre(16)
    ends = xp.asarray(edges)
    width = (ends[:, 1:] - ends[:, :-1])[..., None]
    z = ends[:, :-1, None] + width * xp.asarray(0.5 * (1 + x))
    shape = (len(edges), (edges.shape[-1] - 1) * 16)
    return z.reshape(shape), (width * xp.asarray(0.5 * w)).reshape(shape)


def gaussian_coefficients(f: Any, kinks: Any, bends: Any, wave: float, order: int, s: Any, b: Any) -> Any:
    """E[f(b + s G) h_k(G)], h_k = He_k/sqrt(k!), G ~ N(0, 1), k = 0..order: s >= 0, b (...) -> (..., order + 1).

    Error below 1e-12 max(1, |f|), |f|^2 = E f(b + s G)^2, for order <= 600 and f that grows at most like
    a power.  Beyond wave s = 10 the cost grows in proportion to wave s, up to 1e4 (see `panel_width`).
    """
    xp, shape, (s, b) = on_points(s, b)
    # h_k(z) exp(-z^2/2) is at most exp(-z^2/4) for every k, and far less for k <= 2
    reach = 9.5 if order <= 2 else 13.0
    rate = wave * s + math.sqrt(order)

    def rule(s: Any, b: Any, rate: Any) -> Any:
        coarse = common_width(rate)
        z, w = panel_rule(xp, panels(cuts(kinks, bends, s, b, coarse), reach, coarse))
        last, here = 0.0, w * gauss_pdf(z) * f(xp.asarray(b)[:, None] + xp.asarray(s)[:, None] * z)
        sums = [xp.sum(here, axis=-1)]
        for k in range(order):
            last, here = here, (z * here - math.sqrt(k) * last) / math.sqrt(k + 1)
            sums.append(xp.sum(here, axis=-1))
        return xp.stack(sums, axis=-1)

    nodes = 16 * panel_count(2 * reach, panel_width(rate), kinks, bends, s)
    return in_batches(xp, rule, nodes, s, b, rate).reshape((*shape, order + 1))


def sphere_constant(n: float) -> float:
    """Gamma(n/2)/(sqrt(pi) Gamma((n-1)/2)), the density of S at 0, for integers n >= 2, to rounding."""
    if n >= 42:  # here the series behind it has its full accuracy
        return (n - 1) * _sphere_moment_at_zero(n)
    value = 0.5 if n % 2 else 1.0 / math.pi
    for m in range(2 + int(n) % 2, int(n), 2):
        value *= m / (m - 1)
    return value


def sphere_density(n: float, u: Any) -> Any:
    """Density of u = arcsin S, S the first coordinate of a uniform unit vector of R^n, n >= 2: ~ cos(u)^(n-2)."""
    xp, _ = namespace(u)
    square = xp.minimum(xp.sin(u) ** 2, 1.0 - 1e-16)  # log1p keeps what the power n of cos(u) would lose
    return sphere_constant(n) * xp.exp(0.5 * (n - 2) * xp.log1p(-square))


def sphere_rule(xp: Any, n: float, marks: Any, coarse: float) -> tuple[Any, Any]:
    """Nodes S and weights (P, m') for averages over S, with panels in u = arcsin S that end at the marks S."""
    if n == 1 or n == math.inf:
        values, weight = ([1.0, -1.0], 0.5) if n == 1 else ([0.0], 1.0)
        s = xp.asarray(np.tile(values, (len(marks), 1)))
        return s, weight + xp.zeros_like(s)
    reach = min(0.5 * math.pi, 9.5 / math.sqrt(n))  # the density falls like exp(-n u^2/2)
    edges = panels(np.arcsin(np.clip(marks, -1.0, 1.0)), reach, coarse)
    u, w = panel_rule(xp, edges)
    return xp.sin(u), w * sphere_density(n, u)


def sphere_average(f: Any, kinks: Any, bends: Any, wave: float, n: float, c: Any, b: Any) -> tuple[Any, Any]:
    """E f(b + c S) and E[S f(b + c S)], S the first coordinate of a uniform unit vector of R^n: (...) each.

    n an integer >= 1 (n = 1: S = +-1) or math.inf (S = 0); c >= 0, b (...).  Error below 1e-12 max(1, |f|),
    |f|^2 = E f(b + c S)^2; cost grows with wave c/sqrt(n).
    """
    xp, shape, (c, b) = on_points(c, b)
    unit = 1.0 / math.sqrt(n) if n < math.inf else 1.0  # S is about this large
    rate = wave * c * unit

    def rule(c: Any, b: Any, rate: Any) -> Any:
        coarse = unit * common_width(rate)
        z, w = sphere_rule(xp, n, cuts(kinks, bends, c, b, coarse), coarse)
        value = w * f(xp.asarray(b)[:, None] + xp.asarray(c)[:, None] * z)
        return xp.stack([xp.sum(value, axis=-1), xp.sum(z * value, axis=-1)], axis=-1)

    nodes = 16 * panel_count(19.0, panel_width(rate), kinks, bends, c * unit)
    both = in_batches(xp, rule, nodes, c, b, rate).reshape((*shape, 2))
    return both[..., 0], both[..., 1]


@lru_cache(maxsize=64)
def angle_rule(n: float) -> tuple[Any, Any]:
    """Rule for E F(cos phi), phi the angle of two independent uniform directions of R^n: cosines, weights (K,).

    n = 1: phi is 0 or pi; n = inf: pi/2.  For F smooth in phi on the scale min(phi, pi - phi) + 1e-8; cosines
    in float64 tell apart no angles below 1e-8, and err by 1e-16/phi in phi above.
    """
    if n == 1 or n == math.inf:
        return (np.array([1.0, -1.0]), np.array([0.5, 0.5])) if n == 1 else (np.zeros(1), np.ones(1))
    if n <= 36:
        ends = np.concatenate([[0.0], 0.25 * math.pi * 4.0 ** np.arange(-14, 1), [0.5 * math.pi]])
        phi, w = panel_rule(np, ends[None, :])
        cosine, w = np.cos(phi), w * sphere_constant(n) * np.sin(phi) ** (n - 2)
    else:  # nothing is left near 0 and pi
        ends = np.linspace(0.0, min(0.5 * math.pi, 9.5 / math.sqrt(n)), 5)
        u, w = panel_rule(np, ends[None, :])
        cosine, w = np.sin(u), w * sphere_density(n, u)
    held = w > 1e-18  # the others are below rounding together
    return np.concatenate([cosine[held], -cosine[held]]), np.concatenate([w[held], w[held]])


def pair_average(
    f: Any, kinks: Any, bends: Any, wave: float, s: Any, s2: Any, rho: Any, b: Any, b2: Any
) -> Any:
    """E f(b + s X) f(b2 + s2 Y), X and Y standard normals of correlation rho: all (...), on the host.

    Outer panels over X; given X = x, the mean over Y is that of f(b2 + s2 (rho x + root G)), root^2 =
    1 - rho^2.  As a function of x it bends where f does, at x = (t - b2)/(s2 rho), over the width
    (root^2 + (w/s2)^2)^(1/2)/rho.  Error below 1e-12 max(1, |f|_X |f|_Y), the norms as in `gaussian_coefficients`.
    """
    _, shape, points = on_points(s, s2, rho, b, b2)
    rate = wave * (points[0] + points[1] * np.abs(points[2]))
    both = [*((t, 0.0) for t in kinks), *bends]

    def rule(s: Any, s2: Any, rho: Any, b: Any, b2: Any, rate: Any) -> Any:
        coarse = common_width(rate)
        root = np.sqrt(np.maximum((1 - rho) * (1 + rho), 0.0))
        slope, scale = np.where(np.abs(rho) < TINY, TINY, rho), np.maximum(s2, TINY)
        marks = [cuts(kinks, bends, s, b, coarse)]
        with np.errstate(over="ignore"):
            for t, w in both:
                spread = np.hypot(root, w / scale) / np.abs(slope)
                marks.append(ladder((t - b2) / scale / slope, spread, coarse))
        x, w = panel_rule(np, panels(np.concatenate(marks, axis=-1), 9.5, coarse))
        shift, scale = b2[:, None] + (s2 * rho)[:, None] * x, (s2 * root)[:, None]
        inner = gaussian_coefficients(f, kinks, bends, wave, 0, scale, shift)[..., 0]
        return np.sum(w * gauss_pdf(x) * f(b[:, None] + s[:, None] * x) * inner, axis=-1)

    count = panel_count(19.0, panel_width(rate), kinks, bends, points[0])
    count = count + sum(4.0 + np.zeros_like(rate) for _ in both)
    return in_batches(np, rule, 16 * count, *points, rate).reshape(shape)


def two_block_mean(
    mean: Any, n1: float, n2: float, kinks: Any, bends: Any, c1: Any, c2: Any, b: Any, wave: float = 0.0
) -> tuple[Any, Any, Any, Any]:
    """G = E sigma(b + c1 S1 + c2 S2) and its derivatives in c1, c2, b: (...) each.

    S1, S2 independent first coordinates of uniform unit vectors of R^n1, R^n2 (integers >= 1 or inf);
    mean(n, c, b) -> (g, g_c, g_b), g = E sigma(b + c S) elementwise.  Over S1 by quadrature:
        G = E g(n2, c2, b + c1 S1),   G_1 = E S1 g_b,   G_2 = E g_c,   G_b = E g_b.
    g has half-integer powers of |t - b| - c2 at the kinks t, and bends over c2/sqrt(n2) near t.
    """
    if n2 == 1 and n1 != 1:  # a sum has to be the outer one: on the inside it has kinks of its own
        value, second, first, slope = two_block_mean(mean, n2, n1, kinks, bends, c2, c1, b, wave)
        return value, first, second, slope
    xp, shape, (c1, c2, b) = on_points(c1, c2, b)
    unit = 1.0 / math.sqrt(n1) if n1 < math.inf else 1.0
    rate = wave * c1 * unit

    def rule(c1: Any, c2: Any, b: Any, rate: Any) -> Any:
        coarse = unit * common_width(rate)
        marks = block_marks(kinks, bends, n2, c1, c2, b, coarse)
        z, w = sphere_rule(xp, n1, marks, coarse)
        shift = xp.asarray(b)[:, None] + xp.asarray(c1)[:, None] * z
        g, g_c, g_b = mean(n2, xp.asarray(c2)[:, None] + xp.zeros_like(z), shift)
        return xp.stack([xp.sum(w * v, axis=-1) for v in (g, z * g_b, g_c, g_b)], axis=-1)

    nodes = 16 * (panel_count(19.0, panel_width(rate), (), bends, c1 * unit) + 70 * len(kinks))
    four = in_batches(xp, rule, nodes, c1, c2, b, rate).reshape((*shape, 4))
    return four[..., 0], four[..., 1], four[..., 2], four[..., 3]


def block_marks(kinks: Any, bends: Any, n2: float, c1: Any, c2: Any, b: Any, coarse: float) -> Any:
    """The S where the mean over the second block bends at b + c1 S: near t for n2 > 40, else near t +- c2.

    At the ends t +- c2 of a kink powers (n2 - 1)/2 begin: whole ones for odd n2, which ask for a cut and no
    more; for even n2 panels shrink to where such a power has no weight left.
    """
    scale = np.maximum(c1, TINY)
    marks = [np.empty((len(scale), 0))]
    with np.errstate(over="ignore"):
        for t, w in [*((t, 0.0) for t in kinks), *bends]:
            if w or n2 > 40:
                marks.append(ladder((t - b) / scale, np.hypot(w, c2 / math.sqrt(n2)) / scale, coarse))
            for end in ((t - b - c2) / scale, (t - b + c2) / scale) if n2 <= 40 else ():
                if w or n2 % 2 == 0:
                    near = w / scale if w else np.full_like(scale, 10 ** (-24.0 / (n2 + 1)) * coarse)
                    marks.append(ladder(end, near, coarse))
                else:
                    marks.append(end[:, None])
    return np.concatenate(marks, axis=-1)
