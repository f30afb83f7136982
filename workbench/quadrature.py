"""Composite Gauss-Legendre quadrature at mpmath's working precision, for integrands with known kinks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import mpmath as mp


@lru_cache(maxsize=8)
def _gauss_legendre(degree: int, digits: int) -> tuple[tuple[Any, Any], ...]:
    """3 2^(degree - 1) Gauss-Legendre nodes and weights on [-1, 1] at the working precision."""
    with mp.workdps(digits):
        return tuple(mp.calculus.quadrature.GaussLegendre(mp.mp).calc_nodes(degree, mp.mp.prec))


def nodes(edges: list[Any], degree: int = 4) -> Iterator[tuple[Any, Any]]:
    """Nodes and weights of the composite rule: 3 2^(degree - 1) on each panel between ``edges``."""
    rule = _gauss_legendre(degree, mp.mp.dps)
    for a, b in pairwise(edges):
        half, middle = (b - a) / 2, (a + b) / 2
        yield from ((middle + half * x, half * w) for x, w in rule)


def integrate(f: Callable[[Any], Any], edges: list[Any], degree: int = 4) -> Any:
    """Composite Gauss-Legendre quadrature: ``edges`` must hold every kink of f."""
    return mp.fsum(w * f(x) for x, w in nodes(edges, degree))


def panels(points: Iterable[Any], low: Any, high: Any, width: Any) -> list[Any]:
    """Break points between low and high: the given ones, and more so that no panel is wider than width."""
    inner = sorted({low, high, *(p for p in points if low < p < high)})
    edges = [inner[0]]
    for a, b in pairwise(inner):
        pieces = max(1, int(mp.ceil((b - a) / width)))
        edges += [a + (b - a) * i / pieces for i in range(1, pieces + 1)]
    return edges
