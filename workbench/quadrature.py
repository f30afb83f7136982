"""Composite Gauss-Legendre quadrature at mpmath's working precision, for integrands with known kinks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import mpmath as mp


@lru_cache(maxsize=4)
def _gauss_legendre(digits: int) -> tuple[tuple[Any, Any], ...]:
    """24 Gauss-Legendre nodes and weights on [-1, 1] at the working precision."""
    with mp.workdps(digits):
        return tuple(mp.calculus.quadrature.GaussLegendre(mp.mp).calc_nodes(4, mp.mp.prec))


def integrate(f: Callable[[Any], Any], edges: list[Any]) -> Any:
    """Composite Gauss-Legendre quadrature, 24 nodes a panel: ``edges`` must hold every kink of f."""
    rule = _gauss_legendre(mp.mp.dps)
    total = mp.mpf(0)
    for a, b in pairwise(edges):
        half, middle = (b - a) / 2, (a + b) / 2
        total += half * mp.fsum(w * f(middle + half * x) for x, w in rule)
    return total


def panels(points: Iterable[Any], low: Any, high: Any, width: Any) -> list[Any]:
    """Break points between low and high: the given ones, and more so that no panel is wider than width."""
    inner = sorted({low, high, *(p for p in points if low < p < high)})
    edges = [inner[0]]
    for a, b in pairwise(inner):
        pieces = max(1, int(mp.ceil((b - a) / width)))
        edges += [a + (b - a) * i / pieces for i in range(1, pieces + 1)]
    return edges
