"""Float64 quadratures of E f(m + s G) h_k(G) and E f(Z1) g(Z2), from the values of f and g alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

NODES, WEIGHTS = np.polynomial.legendre.leggauss(20)


@dataclass(frozen=True)
class Integrand:
    """A function, its kinks, and width and place of its sharpest smooth feature (None: entire and tame)."""

    value: Callable[[Any], Any]
    kinks: tuple[float, ...]
    width: float | None = None
    place: float = 0.0

    def __call__(self, t: Any) -> Any:
        return self.value(np.asarray(t, dtype=float))

    def marks(self) -> list[float]:
        """Kinks, and a ladder of points around the smooth feature."""
        if self.width is None:
            return list(self.kinks)
        ladder = [self.width * 2.0**j for j in range(16)]
        return [*self.kinks, self.place, *(self.place + x for x in ladder), *(self.place - x for x in ladder)]


def density(x: Any) -> Any:
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def composite(edges: Any) -> tuple[Any, Any]:
    """Nodes and weights between the edges (..., B)."""
    edges = np.sort(edges, axis=-1)
    half = 0.5 * np.diff(edges, axis=-1)[..., None]
    nodes = edges[..., :-1, None] + half * (1 + NODES)
    return nodes.reshape(*edges.shape[:-1], -1), (half * WEIGHTS).reshape(*edges.shape[:-1], -1)


def line_quadrature(f: Integrand, m: float, s: float, k: int = 0) -> float:
    """E f(m + s G) h_k(G); G itself is the variable, so that s = 1e-6 loses nothing."""
    marks = np.asarray([(p - m) / s for p in f.marks()])
    edges = np.concatenate([np.linspace(-14, 14, 29), np.clip(marks, -14, 14)])
    x, w = composite(edges)
    h = special.eval_hermitenorm(k, x) / math.sqrt(math.factorial(k))
    return math.fsum(w * f(m + s * x) * h * density(x))


def pair_quadrature(f: Integrand, g: Integrand, law: tuple[float, ...]) -> float:
    """E f(Z1) g(Z2), law = (m1, m2, K11, K12, K22): Z1 outside, Z2 given Z1 inside."""
    m1, m2, k11, k12, k22 = law
    s1, s2 = math.sqrt(k11), math.sqrt(k22)
    rho = k12 / (s1 * s2)
    root = math.sqrt((1 - rho) * (1 + rho))
    edges = [*np.linspace(-11, 11, 12), *((p - m1) / s1 for p in f.marks())]
    if rho:
        # given X = x the kink p of g lies root standard deviations wide around x = (p - m2)/(s2 rho)
        rungs = [0.0, *(sign * root / abs(rho) * 2.0**j for j in range(-1, 14) for sign in (-1, 1))]
        edges += [(p - m2) / (s2 * rho) + r for p in g.marks() for r in (rungs if p in g.kinks else [0.0])]
    x, w = composite(np.unique(np.clip(edges, -11, 11)))
    total = []
    for some in np.array_split(np.arange(x.size), 1 + x.size // 1500):
        centre = m2 + s2 * rho * x[some][:, None]
        marks = np.asarray(g.marks() or [0.0])[None, :]
        inner = np.clip((marks - centre) / (s2 * root), -11, 11)
        grid = np.broadcast_to(np.linspace(-11, 11, 10), (some.size, 10))
        y, v = composite(np.concatenate([inner, grid], axis=1))
        values = np.sum(v * g(centre + s2 * root * y) * density(y), axis=1)
        total.append(w[some] * f(m1 + s1 * x[some]) * density(x[some]) * values)
    return math.fsum(np.concatenate(total))
