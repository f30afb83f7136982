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


def root_poisson(k: Any, x: Any) -> Any:
    """x^k e^(-x^2/2)/sqrt(k!), x >= 0, in logarithms: neither factor overflows; k and x broadcast."""
    xp, sp = namespace(x)
    large = xp.clip(x, TINY, 1e150)
    log = k * xp.log(large) - 0.5 * large * large - 0.5 * sp.gammaln(k + 1.0)
    return xp.where(k == 0, xp.exp(-0.5 * large * large), xp.exp(log))


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
    """Gamma(d/2) / (sqrt(pi) (d-1) Gamma((d-1)/2)), without the cancellation of log-gammas at large d."""
    if d == 1:
        return 0.5
    x = d / 2
    log = -(x - 1) * math.log1p(-0.5 / x) + 0.5 * math.log(x) - 0.5 + stirling(x) - stirling(x - 0.5)
    return math.exp(log) / (math.sqrt(math.pi) * (d - 1))


def stirling(x: float) -> float:
    """log Gamma(x) - [ (x - 1/2) log x - x + log(2 pi)/2 ], x > 0; about 1/(12 x)."""
    if x < 20:
        return math.lgamma(x) - ((x - 0.5) * math.log(x) - x + 0.5 * math.log(2 * math.pi))
    y = 1 / x**2
    return (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x


def sphere_tail(d: Any, x: Any) -> Any:
    """P(S > x), S the first coordinate of a uniform unit vector of R^d.

    In small dimensions by parts from d - 2 to d, a few products where the incomplete beta function is dear:
    P_d(S > x) = P_(d-2)(S > x) - c_(d-2)/(d - 3) x (1 - x^2)^((d-3)/2), c_d the density at 0.
    """
    xp, sp = namespace(x)
    if d == 1:
        return xp.where(x <= -1, 1.0, xp.where(x < 1, 0.5, 0.0))
    x = xp.clip(x, -1.0, 1.0)
    inside = (1.0 - x) * (1.0 + x)
    if d > 24:
        return 0.5 - 0.5 * xp.sign(x) * sp.betainc(0.5, 0.5 * (d - 1), x * x)
    if d % 2 == 0:
        tail, term, density = xp.arccos(x) / math.pi, x * xp.sqrt(inside), 1.0 / math.pi
    else:
        tail, term, density = 0.5 - 0.5 * x, x * inside, 0.5
    for n in range(4 + d % 2, d + 1, 2):
        tail = tail - density / (n - 3) * term
        term, density = term * inside, density * (n - 2) / (n - 3)
    return tail


def miss(xp: Any, rho: Any, h: Any, k: Any) -> Any:
    """rho h - k, exact to rounding of (1 - |rho|) h where rho is near +-1 and h near +-k."""
    sign = xp.where(rho < 0, -1.0, 1.0)
    return xp.where(xp.abs(rho) > 0.5, (sign * h - k) - sign * (1 - xp.abs(rho)) * h, rho * h - k)


def bvn_survival(h: Any, k: Any, rho: Any) -> Any:
    """P(X > h, Y > k) for standard normals of correlation rho, through Owen's T function."""
    xp, _ = namespace(h)
    # beyond FAR the tail is 0 in float64, and the slopes of Owen's T stay finite
    h, k = xp.clip(h, -FAR, FAR), xp.clip(k, -FAR, FAR)
    return on_host(_bvn_survival, h, k, xp.clip(rho, -1.0, 1.0))


def _bvn_survival(h: Any, k: Any, rho: Any) -> Any:
    # 0.0 - h, not -h: the sign of a zero would choose the wrong limit of the slopes below
    h, k, rho = np.broadcast_arrays(0.0 - h, 0.0 - k, rho)
    root = np.sqrt(np.maximum((1 - rho) * (1 + rho), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope_h = np.where((h == 0) & (k == 0), 0.0, -miss(np, rho, h, k) / (h * root))
        slope_k = np.where((h == 0) & (k == 0), 0.0, -miss(np, rho, k, h) / (k * root))
    # 0/0 arises at rho = +-1 with k = rho h: the limit of the slope is 0 there.
    slope_h, slope_k = np.nan_to_num(slope_h, nan=0.0), np.nan_to_num(slope_k, nan=0.0)
    lower = 0.5 * (special.ndtr(h) + special.ndtr(k))
    lower = lower - special.owens_t(h, slope_h) - special.owens_t(k, slope_k)
    lower = lower - np.where((h * k < 0) | ((h * k == 0) & (h + k < 0)), 0.5, 0.0)
    return np.where((h == 0) & (k == 0), 0.25 + np.arcsin(rho) / (2 * np.pi), lower)


def hinge_pair(t: float, s: Any, t2: float, s2: Any, rho: Any) -> Any:
    """E[(s X - t)_+ (s2 Y - t2)_+] for standard normals X, Y of correlation rho.

    Rounding error about 1e-16 s s2; `pair_quadrature` has none of that kind.
    """
    xp, _ = namespace(s)
    h, k = ratio(t, s), ratio(t2, s2)
    root = xp.sqrt(xp.maximum((1 - rho) * (1 + rho), 0.0))
    h_given_k, k_given_h = ratio(miss(xp, rho, k, h), root), ratio(miss(xp, rho, h, k), root)
    return (
        (t * t2 + rho * s * s2) * bvn_survival(h, k, rho)
        + s * s2 * root * gauss_pdf(h) * gauss_pdf(k_given_h)
        - s * t2 * gauss_pdf(h) * gauss_cdf(k_given_h)
        - s2 * t * gauss_pdf(k) * gauss_cdf(h_given_k)
    )


def pair_quadrature(sigma: Any, knots: Any, changes: Any, s: Any, s2: Any, rho: Any, b: Any, b2: Any) -> Any:
    """E sigma(b + s X) sigma(b2 + s2 Y), correlation rho, at any scale: an integral over X of a closed form in Y.

    Given X = x, b2 + s2 Y ~ N(mu, v^2) with mu = b2 + rho s2 x.  Panels end at the kinks of
    sigma(b + s x) and are graded where mu passes a knot within some v.
    """
    arrays = np.broadcast_arrays(s, s2, rho, b, b2)
    s, s2, rho, b, b2 = (np.asarray(a, dtype=float)[..., None] for a in arrays)
    root = np.sqrt(np.maximum((1 - rho) * (1 + rho), 0.0))
    x, w = special.roots_legendre(16)
    edges = [np.broadcast_to(e, s.shape) for e in (-9.5, -6.5, -4.0, -2.0, 0.0, 2.0, 4.0, 6.5, 9.5)]
    slope = np.where(np.abs(rho) < TINY, TINY, rho)
    for t in knots:
        edges.append(ratio(t - b, s))
        edges += [ratio(t - b2, s2) / slope + i * root / slope for i in (-9, -3, -1, 0, 1, 3, 9)]
    panels = np.sort(np.clip(np.concatenate(edges, axis=-1), -9.5, 9.5), axis=-1)
    half = 0.5 * np.diff(panels, axis=-1)[..., None]
    z = panels[..., :-1, None] + half * (1 + x)
    mu, v = b2[..., None] + (rho * s2)[..., None] * z, (root * s2)[..., None]
    inner = mean_of_pieces(sigma, knots, changes, mu, np.broadcast_to(v, mu.shape))
    return np.sum(half * w * sigma(b[..., None] + s[..., None] * z) * inner * gauss_pdf(z), axis=(-2, -1))


def mean_of_pieces(sigma: Any, knots: Any, changes: Any, mu: Any, v: Any) -> Any:
    """E sigma(mu + v G) for the changes c_j of slope at the knots t_j, without a cancellation of size v.

    Narrow v:  sigma(mu) + v sum_j c_j psi(|mu - t_j|/v),  psi(z) = phi(z) - z Phi(-z).
    Wide v:    a line plus (sum_j c_j) h(mu) - sum_j c_j int_0^t_j Phi((mu - u)/v) du,  h the mean of one hinge
    at 0; the integrand is flat over the knots, and nothing is left of h where sigma is bounded.
    """
    widest = max(abs(t) for t in knots)
    narrow = v <= 4 * widest
    m, w = mu[narrow], np.maximum(v[narrow], TINY)
    value = np.empty(mu.shape)
    part = sigma(m)
    for t, c in zip(knots, changes, strict=True):
        with np.errstate(over="ignore"):
            far = np.minimum(np.abs(m - t) / w, FAR)
        part = part + c * w * (gauss_pdf(far) - far * gauss_cdf(-far))
    value[narrow] = part
    m, w = mu[~narrow], v[~narrow]
    first = np.asarray(knots[0], dtype=float)
    slope = sigma(first) - sigma(first - 1.0)
    part = sigma(first) - slope * first + slope * m
    total = sum(changes)
    if abs(total) > 1e-12 * max(abs(c) for c in changes):  # else 0, but for rounding
        part = part + total * (m * gauss_cdf(m / w) + w * gauss_pdf(m / w))
    node, weight = special.roots_legendre(6)  # over at most v/4: error 1e-19
    for t, c in zip(knots, changes, strict=True):
        u = 0.5 * t * (1 + node)
        part = part - c * 0.5 * t * (gauss_cdf((m[..., None] - u) / w[..., None]) @ weight)
    value[~narrow] = part
    return value


def spherical_moment(k: Any, d: float) -> Any:
    """m_k(d) = E[S^k] = 1 3 ... (k-1) / (d (d+2) ... (d+k-2)) for even k >= 0; k (K,) -> (K,)."""
    even = np.arange(2, int(np.max(k)) + 2, 2)
    moments = np.concatenate([[1.0], np.cumprod((even - 1) / (d + even - 2))])
    return moments[np.asarray(k) // 2]


def chi_support(d: float) -> tuple[float, float]:
    """An interval outside which the chi_d law holds no mass and no second moment in float64."""
    low = math.sqrt(2 * special.gammaincinv(d / 2, 1e-17))
    return low, math.sqrt(2 * special.gammainccinv((d + 2) / 2, 1e-17))


def chi_density(d: float, radius: Any) -> Any:
    """Density of chi_d, about its mode sqrt(d), where large terms cancel before they are rounded."""
    u = radius / math.sqrt(d) - 1
    log = (d - 1) * np.log1p(u) - d * u * (1 + 0.5 * u)
    return np.exp(log - stirling(d / 2)) / math.sqrt(math.pi)


@lru_cache(maxsize=64)
def chi_rule(d: float, nodes: int) -> tuple[Any, Any]:
    """Gauss-Legendre nodes and weights for the chi_d law on its support, (n,) and (n,)."""
    low, high = chi_support(d)
    x, w = special.roots_legendre(nodes)
    radius = low + 0.5 * (high - low) * (1 + x)
    return radius, 0.5 * (high - low) * w * chi_density(d, radius)
