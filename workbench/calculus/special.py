"""Named functions of the calculus, beside those of ``workbench.special``.

Each keeps its name from the derivation to the numbers, has an exact derivative rule and a value at any
mpmath precision; ``workbench.calculus.numerics`` holds the float64 body under the same name.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mpmath as mp
import sympy as sp

from workbench.special import (
    NAMED as BASIC,
)
from workbench.special import (
    NamedFunction,
    gauss_cdf,
    gauss_pdf,
    hermite_function,
)


class deviation(NamedFunction):
    """x/sqrt(v), a distance x in standard deviations of a variance v >= 0; its limits at v = 0: 0 or +-oo.

    A conditional variance vanishes at correlation +-1, where rounding may even leave it below 0.
    """

    nargs = 2
    latex_name, text_name = r"\mathrm{dev}", "dev"

    @classmethod
    def eval(cls, x: sp.Expr, v: sp.Expr) -> sp.Expr | None:
        if x.is_zero:
            return sp.S.Zero
        return -cls(-x, v) if x.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, v = self.args
        return 1 / sp.sqrt(v) if argindex == 1 else -x / (2 * v ** sp.Rational(3, 2))

    @staticmethod
    def mp_value(x: Any, v: Any) -> Any:
        if x == 0:
            return mp.mpf(0)
        return x / mp.sqrt(v) if v > 0 else mp.sign(x) * mp.inf


class gauss_spread(NamedFunction):
    """sqrt(v) phi(x/sqrt(v)): v times the density of N(0, v) at x; 0 at v = 0.

    E (x + sqrt(v) G)_+ = x Phi(x/sqrt(v)) + gauss_spread(x, v).
    """

    nargs = 2
    latex_name, text_name = r"\mathrm{spread}", "spread"

    @classmethod
    def eval(cls, x: sp.Expr, v: sp.Expr) -> sp.Expr | None:
        return cls(-x, v) if x.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, v = self.args
        z = deviation(x, v)
        if argindex == 1:
            return -z * gauss_pdf(z)
        return (1 + z * z) * gauss_pdf(z) / (2 * sp.sqrt(v))

    @staticmethod
    def mp_value(x: Any, v: Any) -> Any:
        return mp.sqrt(v) * mp.npdf(x / mp.sqrt(v)) if v > 0 else mp.mpf(0)


class bvn_density(NamedFunction):
    """phi_2(h, k; rho), density of two standard normals of correlation rho, |rho| < 1."""

    nargs = 3
    latex_name, text_name = r"\varphi_2", "φ₂"

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        h, k, rho = self.args
        rest = (1 - rho) * (1 + rho)
        if argindex == 1:
            return (rho * k - h) / rest * self
        if argindex == 2:
            return (rho * h - k) / rest * self
        return (rho / rest + (h - rho * k) * (k - rho * h) / rest**2) * self

    @staticmethod
    def mp_value(h: Any, k: Any, rho: Any) -> Any:
        rest = (1 - rho) * (1 + rho)
        return mp.exp(-((h - rho * k) ** 2) / (2 * rest)) * mp.npdf(k) / mp.sqrt(2 * mp.pi * rest)


class bvn_survival(NamedFunction):
    """P(X > h, Y > k) for two standard normals of correlation rho.

    Derivatives: -phi(h) Phi((rho h - k)/sqrt(1 - rho^2)) in h, likewise in k, and phi_2(h, k; rho) in
    rho (Plackett 1954).
    """

    nargs = 3
    latex_name, text_name = r"\bar\Phi_2", "Φ̄₂"

    @classmethod
    def eval(cls, h: sp.Expr, k: sp.Expr, rho: sp.Expr) -> sp.Expr | None:
        if h.is_zero and k.is_zero:
            return sp.Rational(1, 4) + sp.asin(rho) / (2 * sp.pi)
        if rho.is_zero:
            return gauss_cdf(-h) * gauss_cdf(-k)
        return None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        h, k, rho = self.args
        if argindex == 3:
            return bvn_density(h, k, rho)
        x, y = (h, k) if argindex == 1 else (k, h)
        return -gauss_pdf(x) * gauss_cdf(deviation(rho * x - y, (1 - rho) * (1 + rho)))

    @staticmethod
    def mp_value(h: Any, k: Any, rho: Any) -> Any:
        rho = max(mp.mpf(-1), min(mp.mpf(1), rho))
        if abs(rho) == 1:
            # Y = +-X: an interval of X
            low, high = (max(h, k), mp.inf) if rho > 0 else (h, -k)
            if low >= high:
                return mp.mpf(0)
            return mp.erfc(low / mp.sqrt(2)) / 2 - (0 if mp.isinf(high) else mp.erfc(high / mp.sqrt(2)) / 2)
        if h == 0 and k == 0:
            return mp.mpf(1) / 4 + mp.asin(rho) / (2 * mp.pi)
        # Owen (1956), table (3.1) with the arguments -h, -k of the distribution function
        x, y, root = -h, -k, mp.sqrt((1 - rho) * (1 + rho))
        value = (gauss_cdf.mp_value(x) + gauss_cdf.mp_value(y)) / 2
        value -= _owens_t_slope(x, y - rho * x, root) + _owens_t_slope(y, x - rho * y, root)
        if x * y < 0 or (x * y == 0 and x + y < 0):
            value -= mp.mpf(1) / 2
        return value


class bvn_tail(bvn_survival):
    """P(X > h, Y > k) again, under a name that asks for relative accuracy.

    A tilt multiplies it by factors like e^(omega^2 s^2/2), so that tails of 1e-200000 count.
    """

    text_name = "Φ̄₂"

    @staticmethod
    def mp_value(h: Any, k: Any, rho: Any) -> Any:
        value = bvn_survival.mp_value(h, k, rho)
        if value >= mp.mpf(2) ** (-mp.mp.prec // 4) or abs(rho) >= 1:
            return value
        return _small_orthant(h, k, rho, mp.sqrt((1 - rho) * (1 + rho)))


def _small_orthant(h: Any, k: Any, rho: Any, root: Any) -> Any:
    """int_h^oo phi(x) Phi((rho x - k)/root) dx: a positive, log-concave integrand, by panels around its mode."""

    def log_slope(x: Any) -> Any:
        u = (rho * x - k) / root
        return -x + rho / root * mp.npdf(u) / gauss_cdf.mp_value(u)

    low, high = h, max(h, mp.mpf(0), (rho * k if rho * k > 0 else mp.mpf(0))) + abs(k) / root + 1
    if log_slope(low) > 0:
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if log_slope(middle) > 0 else (low, middle)
    mode = low
    # no narrower than its steepest descent, no wider than the Gaussian
    width = 1 / (1 + abs(log_slope(mode)) + abs(rho) / root)
    ladder = [width * mp.mpf(2) ** (j / mp.mpf(2)) for j in range(-2, 60)]
    offsets = [x for x in ladder if x < 12 + mp.sqrt(mp.mp.prec)]
    edges = [*(mode - x for x in reversed(offsets) if mode - x > h), mode, *(mode + x for x in offsets)]
    rule = mp.calculus.quadrature.GaussLegendre(mp.mp).calc_nodes(4 if mp.mp.prec < 140 else 5, mp.mp.prec)
    total = mp.mpf(0)
    for a, b in pairwise([h, *edges] if mode > h else edges):
        half, middle = (b - a) / 2, (a + b) / 2
        points = ((middle + half * x, w) for x, w in rule)
        total += half * mp.fsum(w * mp.npdf(x) * gauss_cdf.mp_value((rho * x - k) / root) for x, w in points)
    return total


def _owens_t_slope(x: Any, numerator: Any, root: Any) -> Any:
    """T(x, numerator/(x root)), with its limit +-1/4 at x = 0."""
    if x == 0:
        return mp.sign(numerator) / 4
    return mp_owens_t(x, numerator / (x * root))


def mp_owens_t(h: Any, a: Any) -> Any:
    """Owen's T(h, a) = (1/2 pi) int_0^a exp(-h^2 (1 + x^2)/2)/(1 + x^2) dx at mpmath's precision."""
    h, sign, a = abs(mp.mpf(h)), mp.sign(a), abs(mp.mpf(a))
    if a > 1:
        # Owen (1956), (2.3): the other half of the plane, so that the series below converges
        first, second = mp.erfc(h / mp.sqrt(2)) / 2, mp.erfc(a * h / mp.sqrt(2)) / 2
        return sign * ((first + second) / 2 - first * second - mp_owens_t(a * h, 1 / a))
    return sign * _owens_t_series(h, a)


def _owens_t_series(h: Any, a: Any) -> Any:
    """Owen's series: the powers of a weighted by Poisson tails, which cut it off after h^2/2 terms."""
    half = h * h / 2
    target = mp.mpf(2) ** (-mp.mp.prec - 10)
    if mp.exp(-half) < target:
        return mp.mpf(0)
    with mp.extraprec(20):
        term = mp.exp(-half)
        tail, power, total, j = 1 - term, a, mp.mpf(0), 0
        while abs(tail * power) > target:
            total += (-1) ** j * tail * power / (2 * j + 1)
            j += 1
            term *= half / j
            tail -= term
            power *= a * a
        return (mp.atan(a) - total) / (2 * mp.pi)


def _mp_scaled_cdf(x: Any, y: Any) -> Any:
    """e^(-y^2/2) Phi(x + i y)."""
    return mp.exp(-y * y / 2) * mp.erfc(-mp.mpc(x, y) / mp.sqrt(2)) / 2


class wave_cdf_re(NamedFunction):
    """Re[e^(-y^2/2) Phi(x + i y)]: Phi of a complex argument, the price of a wave against a step."""

    nargs = 2
    latex_name, text_name = r"\mathrm{Re}\,\tilde\Phi", "ReΦ̃"

    @classmethod
    def eval(cls, x: sp.Expr, y: sp.Expr) -> sp.Expr | None:
        return gauss_cdf(x) if y.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, y = self.args
        if argindex == 1:
            return gauss_pdf(x) * sp.cos(x * y)
        return gauss_pdf(x) * sp.sin(x * y) - y * self

    @staticmethod
    def mp_value(x: Any, y: Any) -> Any:
        return mp.re(_mp_scaled_cdf(x, y))


class wave_cdf_im(NamedFunction):
    """Im[e^(-y^2/2) Phi(x + i y)]."""

    nargs = 2
    latex_name, text_name = r"\mathrm{Im}\,\tilde\Phi", "ImΦ̃"

    @classmethod
    def eval(cls, x: sp.Expr, y: sp.Expr) -> sp.Expr | None:
        return sp.S.Zero if y.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, y = self.args
        if argindex == 1:
            return -gauss_pdf(x) * sp.sin(x * y)
        return gauss_pdf(x) * sp.cos(x * y) - y * self

    @staticmethod
    def mp_value(x: Any, y: Any) -> Any:
        return mp.im(_mp_scaled_cdf(x, y))


NAMED = (deviation, gauss_spread, bvn_density, bvn_survival, bvn_tail, wave_cdf_re, wave_cdf_im)
MP_MODULES = [{f.__name__: f.mp_value for f in (*BASIC, *NAMED)}, "mpmath"]


def mp_number(constant: sp.Expr) -> Any:
    """Value of an expression without symbols, named functions included, at mpmath's precision."""
    return sp.lambdify((), constant, modules=MP_MODULES)()


def cdf(x: sp.Expr) -> sp.Expr:
    """Phi(x), 1/2 at 0."""
    return sp.S.Half if x.is_zero else gauss_cdf(x)


def pdf(x: sp.Expr) -> sp.Expr:
    """phi(x), its value at 0 spelled out."""
    return 1 / sp.sqrt(2 * sp.pi) if x.is_zero else gauss_pdf(x)


def hermite(k: sp.Expr, x: sp.Expr) -> sp.Expr:
    """phi(x) h_k(x); phi itself at k = 0."""
    return pdf(x) if k.is_zero else hermite_function(k, x)
