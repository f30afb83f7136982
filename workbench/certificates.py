"""Certificates: what a formula is worth is how far it is from its defining integral.

An oracle is an mpmath quadrature of the defining integral, with the activation looked up piece by piece;
it shares no formula with the derivation.  Deviations are relative to max(1, |oracle|).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mpmath as mp

from workbench.activations import PiecewiseLinear
from workbench.errors import CertificateFailure
from workbench.quadrature import integrate, panels
from workbench.special import mp_sphere_density

DIGITS = 22  # working precision of derived values and oracles; certificates ask for 12
SCALE_GRID = tuple(mp.mpf(10) ** e for e in range(-6, 4))  # r from 1e-6 to 1e3


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
    """Compare ``derived`` with ``oracle`` on every point of ``grid``.

    Raises
    ------
    CertificateFailure
        at the first point where they differ by more than ``tolerance`` (a NaN differs from everything).
    """
    worst, count = 0.0, 0
    with mp.workdps(DIGITS):
        for point in grid:
            exact = oracle(*point)
            deviation = float(abs(mp.mpmathify(derived(*point)) - exact) / max(1, abs(exact)))
            if not deviation <= tolerance:
                where = ", ".join(mp.nstr(mp.mpmathify(x), 6) for x in point)
                raise CertificateFailure(
                    f"{claim}: derived value and {oracle_name} differ by {deviation:.1e} > {tolerance:.0e} at ({where})"
                )
            worst, count = max(worst, deviation), count + 1
    if count == 0:
        raise CertificateFailure(f"{claim}: no point to compare with {oracle_name}; give a grid")
    return Certificate(claim, oracle_name, worst, tolerance, count)


def _density(z: Any) -> Any:
    """Standard normal density."""
    return mp.exp(-z * z / 2) / _root_two_pi(mp.mp.prec)


@lru_cache(maxsize=8)
def _root_two_pi(precision: int) -> Any:
    with mp.workprec(precision):
        return mp.sqrt(2 * mp.pi)


def _knots(sigma: PiecewiseLinear) -> list[Any]:
    return [mp.mpf(t.p) / t.q for t in sigma.knots]


def gaussian_integral(sigma: PiecewiseLinear, s: Any, weight: Callable[[Any], Any]) -> Any:
    """E[sigma(s G) weight(G)] by quadrature."""
    edges = panels([t / s for t in _knots(sigma)], mp.mpf(-11), mp.mpf(11), mp.mpf(4))
    return integrate(lambda z: sigma.mp_value(s * z) * weight(z) * _density(z), edges)


def gaussian_slope_integral(sigma: PiecewiseLinear, s: Any, weight: Callable[[Any], Any]) -> Any:
    """d/ds E[sigma(s G) weight(G)] = E[G sigma'(s G) weight(G)] by quadrature, sigma' from the pieces."""
    edges = panels([t / s for t in _knots(sigma)], mp.mpf(-11), mp.mpf(11), mp.mpf(4))
    return integrate(lambda z: z * sigma.mp_slope(s * z) * weight(z) * _density(z), edges)


def sphere_integral(sigma: PiecewiseLinear, d: int, c: Any) -> Any:
    """E sigma(c S), S the first coordinate of a uniform unit vector, by quadrature."""
    return _sphere_average(sigma, d, c, sigma.mp_value)


def sphere_slope_integral(sigma: PiecewiseLinear, d: int, c: Any) -> Any:
    """d/dc E sigma(c S) = E[S sigma'(c S)] by quadrature, sigma' from the pieces."""
    return _sphere_average(sigma, d, c, lambda z: z / c * sigma.mp_slope(z))


def _sphere_average(sigma: PiecewiseLinear, d: int, c: Any, value: Callable[[Any], Any]) -> Any:
    """E value(c S), value with kinks or jumps at the knots of sigma.

    S = sin(angle): the density becomes cos^(d-2), smooth at the poles for every d.
    """
    knots = [mp.asin(t / c) for t in _knots(sigma) if abs(t) < c]
    half = mp.pi / 2
    norm = mp_sphere_density(d, mp.mpf(0))
    edges = panels(knots, -half, half, mp.mpf(2) / mp.sqrt(d) + mp.mpf("0.3"))
    return integrate(lambda u: value(c * mp.sin(u)) * norm * mp.cos(u) ** (d - 2), edges)


def pair_integral(sigma: PiecewiseLinear, s: Any, s2: Any, rho: Any) -> Any:
    """E sigma(s X) sigma(s2 Y), correlation rho, by a nested quadrature over X and the rest of Y."""
    reach = mp.mpf("8.5")  # a normal leaves 2e-17 outside
    root = mp.sqrt(1 - rho * rho)
    knots = _knots(sigma)

    def inner(x: Any) -> Any:
        kinks = [(t / s2 - rho * x) / root for t in knots]
        edges = panels(kinks, -reach, reach, mp.mpf(6))
        return integrate(lambda y: sigma.mp_value(s2 * (rho * x + root * y)) * _density(y), edges)

    # the inner integral bends within a few root/rho of x = t/(s2 rho): panels of that width there
    bends = [t / s2 / rho + i * root / rho for t in knots for i in (-6, -2, 0, 2, 6)] if rho else []
    edges = panels([t / s for t in knots] + bends, -reach, reach, mp.mpf(5))
    return integrate(lambda x: sigma.mp_value(s * x) * _density(x) * inner(x), edges)


def orbit_integral(sigma: PiecewiseLinear, d: int, c: Any, c2: Any) -> Any:
    """E[sigma(c <e, x>) sigma(c2 <e', x>)], x ~ N(0, I_d), e and e' independent uniform unit vectors.

    Given R = |x| the two factors are independent: a nested quadrature over R ~ chi_d and the directions.
    """
    spread = mp.sqrt(d)
    low, high = max(mp.mpf(0), spread - 7), spread + 9  # outside: below 1e-16 for every d
    log_norm = (mp.mpf(d) / 2 - 1) * mp.log(2) + mp.loggamma(mp.mpf(d) / 2)

    def integrand(radius: Any) -> Any:
        if radius == 0:
            return mp.mpf(0)
        density = mp.exp((d - 1) * mp.log(radius) - radius * radius / 2 - log_norm)
        first = sphere_integral(sigma, d, c * radius)
        return density * first * (first if c == c2 else sphere_integral(sigma, d, c2 * radius))

    kinks = [abs(t) / scale for t in _knots(sigma) for scale in (c, c2)]
    return integrate(integrand, panels(kinks, low, high, mp.mpf(3)))
