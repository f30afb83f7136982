"""Integrals without a closed form: quadrature and Mehler's series, in float64 and at mpmath's precision.

Composite Gauss-Legendre rules on panels cut at every kink; the stated error is the change when every
panel is halved.  Everything here is numbers; the symbolic side is ``workbench.calculus.integrals``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.calculus.lines import REACH, Line
from workbench.errors import BadInput, NumericalFailure
from workbench.numerics import gauss_pdf

GAUSS = {n: np.polynomial.legendre.leggauss(n) for n in (12, 24)}  # coarse one for nested integrals
MAX_ORDER = 400  # of the Mehler series; beyond it the nested quadrature is the better form
HALVINGS = 5
NESTED_REACH = 10.5  # exp(-10.5^2/2) = 1e-24


@dataclass(frozen=True)
class Numeric:
    """A number with the error it is known to, and how it was found."""

    value: float
    error: float
    kind: str
    terms: int = 0


def nodes(edges: Any, order: int = 24) -> tuple[Any, Any]:
    """Composite rule: nodes and weights on the panels between ``edges`` (..., B) -> (..., order (B-1))."""
    points, weights = GAUSS[order]
    edges = np.asarray(edges, dtype=float)
    half = 0.5 * np.diff(edges, axis=-1)[..., None]
    x = edges[..., :-1, None] + half * (1 + points)
    shape = (*edges.shape[:-1], -1)
    return x.reshape(shape), (half * weights).reshape(shape)


def halved(edges: Any) -> Any:
    """Every panel cut in two."""
    edges = np.asarray(edges)
    middle = 0.5 * (edges[..., :-1] + edges[..., 1:])
    return np.sort(np.concatenate([edges, middle], axis=-1), axis=-1)


def hermite_table(order: int, x: Any) -> Any:
    """h_0 ... h_order at x (n,) -> (order + 1, n)."""
    rows = [np.ones_like(x), x]
    for j in range(1, order):
        rows.append((x * rows[j] - math.sqrt(j) * rows[j - 1]) / math.sqrt(j + 1))
    return np.stack(rows[: order + 1])


def window(f: Line, m: float, s: float, standard_deviations: float = REACH) -> tuple[float, float]:
    """An interval outside which f(Z) phi holds nothing: growth moves and widens the Gaussian.

    Raises
    ------
    NumericalFailure
        where e^(rate^2 s^2/2) leaves the range of float64.
    """
    if f.rate * s > 35:
        raise NumericalFailure(
            f"E f at scale s = {s} exceeds the range of float64: f grows like exp({f.rate:.3g} z)"
        )
    narrow = 1.0 - f.square * s * s
    if narrow <= 0:
        raise BadInput(f"f grows like exp({f.square / 2} z**2): its expectation is infinite at scale {s}")
    reach = (standard_deviations * s + f.rate * s * s) / narrow + f.square * abs(m) * s * s / narrow
    return m - reach, m + reach


def line_integral(f: Line, m: float, s: float, k: int, tolerance: float) -> Numeric:
    """E f(m + s G) h_k(G).

    Raises
    ------
    NumericalFailure
        when the panels have been halved five times and the change still exceeds the tolerance.
    """
    edges = np.asarray(f.panel_edges(*window(f, m, s), 2.0 * s / math.sqrt(1 + k / 16)))
    return _refined(
        lambda n: _line_sum(f, m, s, k, _halved(edges, n)), tolerance, f"E f(m + s G) at m = {m}, s = {s}"
    )


def _halved(edges: Any, times: int) -> Any:
    for _ in range(times):
        edges = halved(edges)
    return edges


def _line_sum(f: Line, m: float, s: float, k: int, edges: Any) -> float:
    z, w = nodes(edges)
    x = (z - m) / s
    return math.fsum(w * f.value(z) * hermite_table(max(k, 1), x)[k] * gauss_pdf(x) / s)


def _refined(rule: Callable[[int], float], tolerance: float, name: str) -> Numeric:
    value = rule(0)
    for level in range(1, HALVINGS + 1):
        better = rule(level)
        if not math.isfinite(better):
            raise NumericalFailure(f"{name}: not finite in float64")
        error = abs(better - value)
        if error <= tolerance * max(1.0, abs(better)):
            return Numeric(better, error, "quadrature")
        value = better
    raise NumericalFailure(
        f"{name}: quadrature changes by {error:.1e} > {tolerance:.0e} after {HALVINGS} halvings; ask for a larger tolerance"
    )


def plane_integral(
    f: Line, g: Line, law: tuple[float, float, float, float, float], tolerance: float
) -> Numeric:
    """E f(Z_1) g(Z_2), law = (m_1, m_2, K_11, K_12, K_22): Mehler's series where its tail bound reaches
    the tolerance within ``MAX_ORDER`` terms, a nested quadrature otherwise.
    """
    series = mehler(f, g, law, tolerance)
    if series is not None:
        return series
    m1, m2, k11, _, k22 = law
    low, high = window(f, m1, math.sqrt(k11), NESTED_REACH)
    edges = with_bends(f.panel_edges(low, high, 2.0 * math.sqrt(k11)), g, law)
    return _refined(
        lambda n: _nested_sum(f, g, law, _halved(edges, n), n),
        tolerance,
        f"E f(Z1) g(Z2) at means {m1}, {m2}, variances {k11}, {k22}",
    )


def _coefficients(f: Line, m: float, s: float, order: int) -> tuple[Any, float, float]:
    """a_0 ... a_order, E f^2 and the error of both."""
    edges = np.asarray(f.panel_edges(*window(f, m, s), 0.5 * s))
    results = []
    for e in (edges, halved(edges)):
        z, w = nodes(e)
        x = (z - m) / s
        density = w * gauss_pdf(x) / s
        values = f.value(z)
        results.append((hermite_table(order, x) @ (density * values), math.fsum(density * values * values)))
    (a, square), (a2, square2) = results
    return a2, square2, float(np.max(np.abs(a2 - a))) + abs(square2 - square) / max(1.0, math.sqrt(square2))


def mehler(
    f: Line, g: Line, law: tuple[float, float, float, float, float], tolerance: float
) -> Numeric | None:
    """sum_k rho^k a_k b_k, cut at the first K whose tail bound is within the tolerance.

    |sum_{k>K}| <= sum_{K<k<=M} |rho^k a_k b_k| + |rho|^(M+1) |f|_M |g|_M with M = ``MAX_ORDER`` and
    |f|_M^2 = E f^2 - sum_{k<=M} a_k^2, a difference known to the rounding of E f^2 and no better.
    None where no K up to ``MAX_ORDER`` reaches the tolerance, or f^2 has no expectation.
    """
    m1, m2, k11, k12, k22 = law
    rho = k12 / math.sqrt(k11 * k22)
    if any(2 * x.square * k >= 1 for x, k in ((f, k11), (g, k22))) or abs(rho) > 0.95:
        return None
    # squares grow twice as fast
    a, square_f, error_f = _coefficients(_squarable(f), m1, math.sqrt(k11), MAX_ORDER)
    b, square_g, error_g = _coefficients(_squarable(g), m2, math.sqrt(k22), MAX_ORDER)
    tails = [math.sqrt(max(q - math.fsum(x * x), 1e-14 * q)) for q, x in ((square_f, a), (square_g, b))]
    orders = np.arange(MAX_ORDER + 1)
    terms = np.abs(rho) ** orders * np.sign(rho) ** orders * a * b
    later = np.append(np.cumsum(np.abs(terms[:0:-1]))[::-1], 0.0)
    bounds = later + abs(rho) ** (MAX_ORDER + 1.0) * tails[0] * tails[1]
    value = math.fsum(terms)
    quadrature = (error_f * math.sqrt(square_g) + error_g * math.sqrt(square_f)) / (1 - abs(rho))
    good = np.flatnonzero(bounds + quadrature <= tolerance * max(1.0, abs(value)))
    if not good.size:
        return None
    last = int(good[0])
    return Numeric(math.fsum(terms[: last + 1]), float(bounds[last] + quadrature), "hermite series", last)


def _squarable(f: Line) -> Line:
    return Line(f.value, f.mp_value, f.knots, f.features, f.wave, 2 * f.rate, 2 * f.square)


def _bends(g: Line, law: tuple[float, float, float, float, float]) -> list[tuple[float, float]]:
    """(place, width) in z_1 of the knots and features of g as E[g(Z_2)|z_1] shows them, smoothed."""
    m1, m2, k11, k12, k22 = law
    slope = k12 / k11
    if slope == 0:
        return []
    rest = math.sqrt(max(k22 - k12 * slope, 0.0))
    found = {*g.features, *((float(k), 0.0) for k in g.knots)}
    return [(m1 + (p - m2) / slope, math.hypot(w, rest) / abs(slope)) for p, w in sorted(found)]


def with_bends(edges: Any, g: Line, law: tuple[float, float, float, float, float]) -> Any:
    """Dyadic panels around the bends that are sharper than the Gaussian itself."""
    low, high = edges[0], edges[-1]
    extra = list(edges)
    for place, width in _bends(g, law):
        size = max(width, 1e-9 * (high - low))
        if size < math.sqrt(law[2]):
            reach = range(-1, max(2, math.ceil(math.log2((high - low) / size))))
            extra += [place, *(place + side * size * 2.0**j for j in reach for side in (-1, 1))]
    return np.unique([p for p in extra if low <= p <= high])


def _nested_sum(
    f: Line, g: Line, law: tuple[float, float, float, float, float], edges: Any, level: int
) -> float:
    m1, m2, k11, k12, k22 = law
    s1 = math.sqrt(k11)
    rest = math.sqrt(max(k22 - k12 * k12 / k11, 0.0))
    total = 0.0
    for some in np.array_split(np.arange(len(edges) - 1), max(1, len(edges) // 16)):
        if not some.size:
            continue
        z, w = nodes(edges[some[0] : some[-1] + 2], 12)
        centre = m2 + k12 / k11 * (z - m1)
        x = (z - m1) / s1
        total += math.fsum(w * gauss_pdf(x) / s1 * f.value(z) * conditional_mean(g, centre, rest, level))
    return total


def conditional_mean(g: Line, centre: Any, rest: float, level: int) -> Any:
    """E g(centre + rest G) for an array of centres (n,), every panel halved ``level`` times."""
    if rest == 0:
        return g.value(centre)
    reach = window(g, 0.0, rest, NESTED_REACH)[1] + g.square * np.max(np.abs(centre)) * rest * rest
    low, high = float(np.min(centre) - reach), float(np.max(centre) + reach)
    # edges of the function, and of the Gaussian, clipped to each centre's own window
    fixed = np.asarray(g.panel_edges(low, high, max(high - low, rest)))
    steps = np.linspace(-reach, reach, max(2, math.ceil(reach / rest)) + 1)
    edges = np.concatenate(
        [
            np.clip(fixed[None, :], (centre - reach)[:, None], (centre + reach)[:, None]),
            centre[:, None] + steps,
        ],
        axis=1,
    )
    edges.sort(axis=1)
    y, w = nodes(_halved(edges, level), 12)
    return np.sum(w * gauss_pdf((y - centre[:, None]) / rest) / rest * g.value(y), axis=1)
