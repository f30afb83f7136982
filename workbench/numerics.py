"""Numeric bodies of the named special functions, copied verbatim into every generated module.

The symbolic side (``workbench.special``) keeps these functions by name; here they are made safe for
every finite argument.  All are elementwise over NumPy or CuPy arrays.  Scales s satisfy s >= 0.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import special

TINY = 1e-150  # a scale below which a Gaussian is a point mass in float64
HUGE = 1e300  # a scale at which every bounded activation has reached its limit; beyond, float64 overflows
FAR = 40.0  # standard deviations beyond which the Gaussian density is 0 in float64


def namespace(x: Any) -> tuple[Any, Any]:
    """The array module of ``x`` (NumPy or CuPy) and its special functions."""
    if type(x).__module__.partition(".")[0] == "cupy":
        import cupy
        from cupyx.scipy import special as cupy_special

        return cupy, cupy_special
    return np, special


def on_host(function: Any, *arrays: Any) -> Any:
    """Apply a NumPy-only function and return the result where the first array lives."""
    xp, _ = namespace(arrays[0])
    if xp is np:
        return function(*arrays)
    return xp.asarray(function(*(xp.asnumpy(a) for a in arrays)))


def root(xp: Any, k: Any) -> Any:
    """sqrt(k) of host integers, as an array of ``xp``."""
    return xp.asarray(np.sqrt(k))


def ratio(t: Any, s: Any) -> Any:
    """t/s, cut at +-FAR, where every function of it has reached its limit; 0/0 is 0."""
    xp, _ = namespace(s)
    return xp.clip(t / xp.maximum(s, TINY), -FAR, FAR)


def gauss_pdf(x: Any) -> Any:
    """Standard normal density."""
    xp, _ = namespace(x)
    return xp.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def gauss_pdf_delta(x: Any) -> Any:
    """gauss_pdf(x) - gauss_pdf(0), without cancellation at small x."""
    xp, _ = namespace(x)
    return xp.expm1(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def gauss_cdf(x: Any) -> Any:
    """Standard normal distribution function."""
    _, sp = namespace(x)
    return sp.ndtr(x)


def gauss_cdf_delta(x: Any) -> Any:
    """gauss_cdf(x) - 1/2, without cancellation at small x."""
    _, sp = namespace(x)
    return 0.5 * sp.erf(x / math.sqrt(2.0))


def hermite_function(k: Any, x: Any) -> Any:
    """gauss_pdf(x) h_k(x) with h_k = He_k/sqrt(k!): x (...), k (K,) integers >= 0 -> (..., K)."""
    xp, _ = namespace(x)
    table = [gauss_pdf(x), x * gauss_pdf(x)]
    for j in range(1, max(1, int(k.max()))):
        table.append((x * table[j] - math.sqrt(j) * table[j - 1]) / math.sqrt(j + 1))
    return xp.stack([table[int(j)] for j in k], axis=-1)


def hermite_function_delta(k: Any, x: Any) -> Any:
    """hermite_function(k, x) - hermite_function(k, 0), without cancellation at small x.

    The recurrence of h_k holds for the differences too, and near 0 its two terms have equal signs.
    """
    xp, _ = namespace(x)
    table = [gauss_pdf(x), x * gauss_pdf(x)]
    delta = [gauss_pdf_delta(x), table[1]]
    for j in range(1, max(1, int(k.max()))):
        table.append((x * table[j] - math.sqrt(j) * table[j - 1]) / math.sqrt(j + 1))
        delta.append((x * table[j] - math.sqrt(j) * delta[j - 1]) / math.sqrt(j + 1))
    return xp.stack([delta[int(j)] for j in k], axis=-1)


def sphere_moment(d: Any, x: Any) -> Any:
    """E[S 1{S > x}], S the first coordinate of a uniform unit vector of R^d: c_d (1 - x^2)_+^((d-1)/2)."""
    return _sphere_moment_at_zero(d) + sphere_moment_delta(d, x)


def sphere_moment_delta(d: Any, x: Any) -> Any:
    """sphere_moment(d, x) - sphere_moment(d, 0), without cancellation at small x."""
    xp, _ = namespace(x)
    inside = xp.minimum(x * x, 1.0 - 1e-16)
    delta = xp.expm1(0.5 * (d - 1) * xp.log1p(-inside))
    return _sphere_moment_at_zero(d) * xp.where(xp.abs(x) < 1, delta, -1.0)


def _sphere_moment_at_zero(d: Any) -> float:
    return math.exp(math.lgamma(d / 2) - math.lgamma((d - 1) / 2)) / (math.sqrt(math.pi) * (d - 1))


def sphere_tail(d: Any, x: Any) -> Any:
    """P(S > x), S the first coordinate of a uniform unit vector of R^d."""
    xp, sp = namespace(x)
    inside = xp.minimum(x * x, 1.0)
    return 0.5 - 0.5 * xp.sign(x) * sp.betainc(0.5, 0.5 * (d - 1), inside)


def bvn_survival(h: Any, k: Any, rho: Any) -> Any:
    """P(X > h, Y > k) for standard normals of correlation rho, through Owen's T function."""
    return on_host(_bvn_survival, h, k, rho)


def _bvn_survival(h: Any, k: Any, rho: Any) -> Any:
    # 0.0 - h, not -h: the sign of a zero would choose the wrong limit of the slopes below
    h, k, rho = np.broadcast_arrays(0.0 - h, 0.0 - k, rho)
    root = np.sqrt(np.maximum((1 - rho) * (1 + rho), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope_h = np.where((h == 0) & (k == 0), 0.0, (k - rho * h) / (h * root))
        slope_k = np.where((h == 0) & (k == 0), 0.0, (h - rho * k) / (k * root))
    # 0/0 arises at rho = +-1 with k = rho h: the limit of the slope is 0 there.
    slope_h, slope_k = np.nan_to_num(slope_h, nan=0.0), np.nan_to_num(slope_k, nan=0.0)
    lower = 0.5 * (special.ndtr(h) + special.ndtr(k))
    lower = lower - special.owens_t(h, slope_h) - special.owens_t(k, slope_k)
    lower = lower - np.where((h * k < 0) | ((h * k == 0) & (h + k < 0)), 0.5, 0.0)
    return np.where((h == 0) & (k == 0), 0.25 + np.arcsin(rho) / (2 * np.pi), lower)


def hinge_pair(t: float, s: Any, t2: float, s2: Any, rho: Any) -> Any:
    """E[(s X - t)_+ (s2 Y - t2)_+] for standard normals X, Y of correlation rho.

    Rounding error about 1e-16 s s2: exact for the scales of trained units, not for s s2 >> 1e6.
    """
    xp, _ = namespace(s)
    h, k = ratio(t, s), ratio(t2, s2)
    root = xp.sqrt(xp.maximum((1 - rho) * (1 + rho), 0.0))
    h_given_k, k_given_h = ratio(rho * k - h, root), ratio(rho * h - k, root)
    return (
        (t * t2 + rho * s * s2) * bvn_survival(h, k, rho)
        + s * s2 * root * gauss_pdf(h) * gauss_pdf(k_given_h)
        - s * t2 * gauss_pdf(h) * gauss_cdf(k_given_h)
        - s2 * t * gauss_pdf(k) * gauss_cdf(h_given_k)
    )


def spherical_moment(k: Any, d: float) -> Any:
    """m_k(d) = E[S^k] = 1 3 ... (k-1) / (d (d+2) ... (d+k-2)) for even k >= 0; k (K,) -> (K,)."""
    if math.isinf(d):
        return np.where(np.asarray(k) == 0, 1.0, 0.0)
    k = np.asarray(k, dtype=float)
    log = special.gammaln((k + 1) / 2) + special.gammaln(d / 2) - special.gammaln((d + k) / 2)
    return np.exp(log) / math.sqrt(math.pi)


def chi_support(d: int) -> tuple[float, float]:
    """An interval outside which the chi_d law holds no mass and no second moment in float64."""
    low = math.sqrt(2 * special.gammaincinv(d / 2, 1e-17))
    return low, math.sqrt(2 * special.gammainccinv((d + 2) / 2, 1e-17))


def chi_density(d: int, radius: Any) -> Any:
    """Density of chi_d."""
    log = (d - 1) * np.log(radius) - 0.5 * radius**2 - (d / 2 - 1) * math.log(2) - math.lgamma(d / 2)
    return np.exp(log)


@lru_cache(maxsize=64)
def chi_rule(d: int, nodes: int) -> tuple[Any, Any]:
    """Gauss-Legendre nodes and weights for the chi_d law on its support, (n,) and (n,)."""
    low, high = chi_support(d)
    x, w = special.roots_legendre(nodes)
    radius = low + 0.5 * (high - low) * (1 + x)
    return radius, 0.5 * (high - low) * w * chi_density(d, radius)


def chi_pair_average(g: Any, d: int, knots: Any, c: Any, c2: Any, nodes: int = 48) -> Any:
    """E[g(c R) g(c2 R)], R ~ chi_d, for g with half-integer powers of |c R - |t|| at its knots t.

    Gauss-Legendre on the panels between the kinks R = |t|/c, |t|/c2.  On each panel R is a cubic with
    double ends, which turns half-integer powers into integer ones: spectral accuracy for every d.
    """
    low, high = chi_support(d)
    c, c2 = np.broadcast_arrays(np.asarray(c, dtype=float), np.asarray(c2, dtype=float))
    # the median of the law splits the range, so that no panel is much wider than the density
    breaks = [np.full(c.shape, e) for e in (low, math.sqrt(d), high)]
    for t in np.abs(np.asarray(knots, dtype=float)):
        breaks += [np.clip(t / np.maximum(scale, TINY), low, high) for scale in (c, c2)]
    edges = np.sort(np.stack(breaks, axis=-1), axis=-1)
    x, w = special.roots_legendre(nodes)
    u = 0.5 * (1 + x)
    cubic, slope = u * u * (3 - 2 * u), 3 * u * (1 - u)
    width = np.diff(edges, axis=-1)[..., None]
    radius = edges[..., :-1, None] + width * cubic
    weight = width * slope * w * chi_density(d, radius)
    product = g(c[..., None, None] * radius) * g(c2[..., None, None] * radius)
    return np.sum(weight * product, axis=(-2, -1))
