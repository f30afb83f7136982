"""Certificates: what a formula is worth is how far it is from its defining integral.

An oracle is an mpmath quadrature of the defining integral, with the activation evaluated directly;
it shares no formula with the derivation.  Deviations are relative to max(1, |oracle|).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mpmath as mp

from workbench.errors import CertificateFailure
from workbench.quadrature import integrate, nodes, panels
from workbench.special import mp_sphere_density

if TYPE_CHECKING:
    from workbench.activations import PiecewiseLinear
    from workbench.smooth import Activation

DIGITS = 22  # working precision of derived values and oracles; certificates ask for 12
SCALE_GRID = tuple(mp.mpf(10) ** e for e in range(-6, 4))  # r from 1e-6 to 1e3
REACH = 11  # a normal leaves 4e-28 outside
PHASE = 30  # of a wave over one standard deviation, up to which an oracle resolves it
GROWTH = 20  # of the exponent over one standard deviation, up to which float64 holds the values


@dataclass(frozen=True)
class Certificate:
    """The largest deviation of ``claim`` from ``oracle`` over ``points`` evaluations."""

    claim: str
    oracle: str
    deviation: float
    tolerance: float
    points: int

    def line(self) -> str:
        """One line of a certificate table."""
        return f"{self.claim:<44} {self.deviation:8.1e}  <= {self.tolerance:.0e}  {self.points:4d} points  {self.oracle}"


def certify(
    claim: str,
    oracle_name: str,
    derived: Callable[..., Any],
    oracle: Callable[..., Any],
    grid: Iterable[tuple[Any, ...]],
    tolerance: float = 1e-12,
) -> Certificate:
    """Compare ``derived`` with ``oracle`` on every point of ``grid``; both may give sequences of numbers.

    Raises
    ------
    CertificateFailure
        at the first point where they differ by more than ``tolerance`` (a NaN differs from everything).
    """
    worst, count = 0.0, 0
    with mp.workdps(DIGITS):
        for point in grid:
            exact, claimed = _several(oracle(*point)), _several(derived(*point))
            if len(exact) != len(claimed):
                raise CertificateFailure(
                    f"{claim}: {len(claimed)} derived values for {len(exact)} by {oracle_name}"
                )
            for derived_value, value in zip(claimed, exact, strict=True):
                deviation = float(abs(mp.mpmathify(derived_value) - value) / max(1, abs(value)))
                if not deviation <= tolerance:
                    where = ", ".join(mp.nstr(mp.mpmathify(x), 6) for x in point)
                    raise CertificateFailure(
                        f"{claim}: derived value and {oracle_name} differ by {deviation:.1e} > {tolerance:.0e} at ({where})"
                    )
                worst, count = max(worst, deviation), count + 1
    if count == 0:
        raise CertificateFailure(f"{claim}: no point to compare with {oracle_name}; give a grid")
    return Certificate(claim, oracle_name, worst, tolerance, count)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def density(z: Any) -> Any:
    """Standard normal density."""
    return mp.exp(-z * z / 2) * _over_root_two_pi(mp.mp.prec)


@lru_cache(maxsize=8)
def _over_root_two_pi(precision: int) -> Any:
    with mp.workprec(precision):
        return 1 / mp.sqrt(2 * mp.pi)


class Oracle:
    """The defining integrals of one activation, by quadrature at mpmath's working precision."""

    def __init__(self, sigma: PiecewiseLinear | Activation) -> None:
        self.sigma = sigma

    @property
    def power(self) -> int:
        """The power p with which sigma grows: sigma(z) = O(|z|^p); 0 where it is bounded."""
        return _power(self.sigma)

    def limit(self) -> Any:
        """The scale up to which a wave or an exponential leaves something to compare; mostly infinite."""
        phase = PHASE / mp.mpf(self.sigma.wave) if self.sigma.wave else mp.inf
        return min(phase, GROWTH / mp.mpf(self.sigma.rate) if self.sigma.rate else mp.inf)

    def scales(self) -> list[Any]:
        """The grid of scales up to the limit."""
        return [s for s in SCALE_GRID if s <= self.limit()]

    def cuts(self, s: Any, b: Any) -> list[Any]:
        """Where t = b + s x has a kink of sigma or changes its pace, as values of x."""
        found = [(t - b) / s for t in _exact_kinks(self.sigma, mp.mp.prec)] if s else []
        for place, width in self.sigma.bends:
            middle, step = (mp.mpf(place) - b) / s, mp.mpf(width) / s
            found.append(middle)
            while step < 2 * REACH:
                found += [middle - step, middle + step]
                step *= 3
        return found

    def has_slope_on_sphere(self, n: int, c: Any, b: Any) -> bool:
        """Whether E sigma'(b + c S) is defined: for n = 1, S = +-1, sigma must have no kink at b +- c."""
        return n > 1 or not {b - c, b + c} & set(_exact_kinks(self.sigma, mp.mp.prec))

    def width(self, s: Any, usual: Any) -> Any:
        """Panels no wider than ``usual``, and than a period of sigma."""
        return min(mp.mpf(usual), 12 / (self.sigma.wave * s)) if self.sigma.wave and s else mp.mpf(usual)

    def gaussian(self, s: Any, b: Any, slope: bool, weight: Callable[[Any], Any]) -> Any:
        """E[sigma(b + s G) weight(G)], with sigma' in place of sigma where ``slope``."""
        # where parity makes an average of a steep function vanish, s^p has to cancel to 1e-12
        with mp.extradps(_steepness(self.power)):
            return +mp.fsum(w * f * weight(z) for z, w, f in _line_of(self.sigma, +s, +b, slope, mp.mp.prec))

    def sphere(self, n: int, c: Any, b: Any, slope: bool = False, times_S: bool = False) -> Any:
        """E sigma(b + c S), S the first coordinate of a uniform unit vector; with S sigma' or sigma' alike.

        S = sin(angle): the density becomes cos^(n-2), smooth at the poles for every n >= 2.
        """
        f = self.sigma.mp_slope if slope else self.sigma.mp_value
        if n == 1:
            both = [(S * f(b + c * S) if times_S else f(b + c * S)) for S in (mp.mpf(-1), mp.mpf(1))]
            return mp.fsum(both) / 2
        cuts = [mp.asin(x) for x in self.cuts(c, b) if abs(x) < 1]
        # cos^(n-2) is below 1e-20 beyond
        half = mp.acos(mp.mpf(10) ** (mp.mpf(-20) / (n - 2))) if n > 2 else mp.pi / 2
        norm = mp_sphere_density(n, mp.mpf(0))
        width = self.width(c, mp.mpf(2) / mp.sqrt(n) + mp.mpf("0.3"))

        def integrand(u: Any) -> Any:
            cosine, S = mp.cos_sin(u)
            value = f(b + c * S) * cosine ** (n - 2)
            return S * value if times_S else value

        return norm * integrate(integrand, panels(cuts, -half, half, width))

    def pair(self, s: Any, s2: Any, rho: Any, b: Any, b2: Any) -> Any:
        """E sigma(b + s X) sigma(b2 + s2 Y), correlation rho, by a nested quadrature over X and the rest of Y."""
        # a normal leaves 2e-17 outside 8.5; a steep function is brought down further out
        reach = mp.sqrt(mp.mpf("8.5") ** 2 + 2 * mp.log(10) * _steepness(self.power))
        root = mp.sqrt((1 - rho) * (1 + rho))
        value = self.sigma.mp_value
        cuts2 = self.cuts(s2, b2)

        def inner(x: Any) -> Any:
            edges = panels([(t - rho * x) / root for t in cuts2], -reach, reach, self.width(s2 * root, 6))
            centre, slope = b2 + s2 * rho * x, s2 * root
            return integrate(lambda y: value(centre + slope * y) * density(y), edges)

        # the inner integral bends within a few root/rho of x = t/rho: panels of that width there, at a kink
        kinks2 = [(t - b2) / s2 for t in _exact_kinks(self.sigma, mp.mp.prec)]
        bends = [(t + i * root) / rho for t in kinks2 for i in (-6, -2, 2, 6)] if rho else []
        bends += [t / rho for t in cuts2] if rho else []
        edges = panels(self.cuts(s, b) + bends, -reach, reach, self.width(max(s, s2), 5))
        return integrate(lambda x: value(b + s * x) * density(x) * inner(x), edges)

    def orbit(self, n: int, c: Any, c2: Any, b: Any, b2: Any) -> Any:
        """E[sigma(b + c <e, x>) sigma(b2 + c2 <e', x>)], x ~ N(0, I_n), e and e' independent uniform unit vectors.

        Given R = |x| the two factors are independent: a nested quadrature over R ~ chi_n and the directions.
        """
        spread = mp.sqrt(n)
        low, high = max(mp.mpf(0), spread - 6), spread + mp.mpf("8.5")  # outside: below 1e-15 for every n
        log_norm = (mp.mpf(n) / 2 - 1) * mp.log(2) + mp.loggamma(mp.mpf(n) / 2)

        def integrand(radius: Any) -> Any:
            weight = mp.exp((n - 1) * mp.log(radius) - radius * radius / 2 - log_norm)
            first = self.sphere(n, c * radius, b)
            return weight * first * (first if (c, b) == (c2, b2) else self.sphere(n, c2 * radius, b2))

        kinks = [
            abs(t - at) / scale
            for t in _exact_kinks(self.sigma, mp.mp.prec)
            for scale, at in ((c, b), (c2, b2))
        ]
        return integrate(integrand, panels(kinks, low, high, mp.mpf(3)))


@lru_cache(maxsize=16)
def _exact_kinks(sigma: Any, precision: int) -> tuple[Any, ...]:
    with mp.workprec(precision):
        return tuple(
            mp.mpf(t.p) / t.q if t.is_Rational else mp.mpmathify(t.evalf(mp.mp.dps + 5)) for t in sigma.kinks
        )


@lru_cache(maxsize=64)
def _power(sigma: Any) -> int:
    if sigma.rate:
        return 0  # an exponential has limits of its own
    with mp.workdps(15):
        far = mp.mpf(10) ** 9
        slopes = [mp.log((1 + abs(sigma.mp_value(far * x))) / (1 + abs(sigma.mp_value(x)))) for x in (-1, 1)]
        return max(0, round(float(max(slopes) / mp.log(far))))


def _steepness(power: int) -> int:
    """Digits by which z^power h_k(z) at z = 10^4 exceeds a line: what a cancellation may cost at scale 10^3."""
    return 5 * max(0, power - 1)


@lru_cache(maxsize=512)
def _line_of(sigma: Any, s: Any, b: Any, slope: bool, precision: int) -> tuple[tuple[Any, Any, Any], ...]:
    """Nodes, weights and values of sigma or sigma' under the Gaussian: shared by all weights of one (s, b)."""
    oracle = Oracle(sigma)
    # the density has to bring a steep function down, too
    reach = mp.sqrt(REACH**2 + 2 * mp.log(10) * _steepness(oracle.power)) + sigma.rate * s
    f = sigma.mp_slope if slope else sigma.mp_value
    edges = panels(oracle.cuts(s, b), -reach, reach, oracle.width(s, 4 if oracle.power < 2 else 2))
    return tuple((z, w * density(z), f(b + s * z)) for z, w in nodes(edges))


@lru_cache(maxsize=64)
def normalised_hermite(order: int) -> Callable[[Any], Any]:
    """h_k = He_k/sqrt(k!) as a function at mpmath's working precision, by its three-term recurrence."""

    known: dict[tuple[Any, int], Any] = {}  # sigma, sigma' and G sigma' are integrated on the same nodes

    def value(z: Any) -> Any:
        key = (z, mp.mp.prec)
        if key not in known:
            below, here = mp.mpf(0), mp.mpf(1)
            for j in range(order):
                below, here = here, z * here - j * below
            known[key] = here / mp.sqrt(mp.factorial(order))
        return known[key]

    return value
