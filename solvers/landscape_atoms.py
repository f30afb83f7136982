"""The convex infimum as a few atoms: weights by an active-set method, places by Newton steps, new atoms by exchange.

An atom at z has the row (V, B) of ``landscape_line.terms``; a measure sum_i c_i delta_(z_i) has the
objective 2 c.V + |B^T c|^2 = R + lam int r^2 drho - 1.  Every function here lowers that objective, leaves it
as it is, or raises it by less than ``enough``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solvers.landscape_line import Line, slopes, span, terms
from solvers.landscape_search import first_cells, first_variation, lowest
from workbench.measure import Array

FEW = 12  # atoms, up to which it is tried to do without each
NEAR = 0.015  # of more, neighbours closer than this share of ``span`` are one cluster
PATIENCE = 6  # rounds without a smaller gap, after which there will be none


@dataclass(frozen=True)
class Atoms:
    """Atoms at increasing z (n,) with weights c > 0 that sum to 1, (n,); their rows V (n,), B (n, K)."""

    z: Array
    c: Array
    V: Array
    B: Array

    @property
    def moments(self) -> Array:
        """sqrt(w) m, (K,): Psi at a row (V, B) is V + B . moments."""
        return self.c @ self.B

    @property
    def objective(self) -> float:
        """R + lam int r^2 drho - 1."""
        return float(2 * self.c @ self.V + self.moments @ self.moments)

    @property
    def level(self) -> float:
        """int (Psi + (lam/2) r^2) drho."""
        return float(self.c @ (self.V + self.B @ self.moments))


def simplex_weights(V: Array, B: Array, start: Array) -> Array:
    """Weights c >= 0 with sum 1 that minimise 2 c.V + |B^T c|^2, from ``start`` (n,), same constraints.

    The row of lowest Psi enters the support, the minimum on the support's plane is taken where it is
    positive, else the step ends where the first weight vanishes (Wolfe 1976, min-norm point).  Exact up
    to rounding, with at most K + 1 rows in the support where V is in the span of the features.
    """
    c = start.copy()
    sizes_V, sizes_B = np.abs(V), np.abs(B)
    objective = np.inf
    for _ in range(20 * (len(V) + 10)):
        moments = c @ B
        psi = V + B @ moments
        above = psi + 1e-15 * (
            sizes_V + sizes_B @ np.abs(moments)
        )  # by rounding, which differs from row to row
        entering = int(np.argmin(above))
        lowered = float(2 * c @ V + moments @ moments)
        if above[entering] >= c @ psi or lowered >= objective:
            break
        objective = lowered
        held = c > 0
        held[entering] = True
        c = _on_support(V, B, c, held)
    return c / np.sum(c)


def _on_support(V: Array, B: Array, c: Array, held: NDArray[np.bool_]) -> Array:
    """The minimum over weights on ``held`` rows; a weight that reaches 0 leaves."""
    while True:
        rows = np.flatnonzero(held)
        n = len(rows)
        system = np.ones((n + 1, n + 1))
        system[:n, :n] = B[rows] @ B[rows].T
        system[n, n] = 0.0
        scales = np.append(1 / np.sqrt(1 + np.diag(system)[:n]), 1.0)  # rows at large r can be of any size
        right = scales * np.append(-V[rows], 1.0)
        # least squares: rows may be affinely dependent, and any solution will do then
        solution = np.linalg.lstsq(system * np.outer(scales, scales), right, rcond=1e-15)[0]
        target = (scales * solution)[:n]
        target /= np.sum(target)
        if np.all(target >= 0):
            new = np.zeros_like(c)
            new[rows] = target
            return new
        falling = target < 0
        step = np.min(c[rows][falling] / (c[rows] - target)[falling])
        new = np.zeros_like(c)
        new[rows] = np.maximum(c[rows] + step * (target - c[rows]), 0.0)
        leaving = rows[falling][np.argmin(new[rows][falling])]
        new[leaving] = 0.0
        held = held.copy()
        held[leaving] = False
        c = new


def with_weights(line: Line, z: Array, c: Array) -> Atoms:
    """The atoms z with the best weights, from the weights c; those of weight 0 are gone."""
    order = np.argsort(z)
    z, c = z[order], c[order]
    V, B = terms(line, z)
    c = simplex_weights(V, B, c)
    held = c > 0
    return Atoms(z[held], c[held], V[held], B[held])


def slid(line: Line, atoms: Atoms, enough: float, rounds: int = 30) -> Atoms:
    """The atoms moved, with their weights, to a stationary point of the objective: damped Gauss-Newton.

    Atoms at either end stay.  Quadratic convergence where the atoms are strict minima of Psi; done when a
    step lowers the objective by less than ``enough``.
    """
    for _ in range(rounds):
        z, c, n = atoms.z, atoms.c, len(atoms.z)
        dV, dB = slopes(line, z)
        free = np.flatnonzero((z > -2) & (z < line.end))
        psi, dpsi = atoms.V + atoms.B @ atoms.moments, dV + dB @ atoms.moments
        weighted = c[free, None] * dB[free]
        k = len(free)
        system = np.zeros((k + n + 1, k + n + 1))
        system[:k, :k] = weighted @ weighted.T + np.diag(c[free] * _curvature(line, atoms)[free])
        system[:k, k : k + n] = weighted @ atoms.B.T
        system[k : k + n, :k] = system[:k, k : k + n].T
        system[k : k + n, k : k + n] = atoms.B @ atoms.B.T
        system[k : k + n, -1] = system[-1, k : k + n] = 1.0
        right = -np.concatenate([c[free] * dpsi[free], psi, [0.0]])
        scales = np.concatenate([span(z[free]), np.ones(n + 1)])  # z near infinity has small units
        step = scales * np.linalg.lstsq(system * np.outer(scales, scales), right * scales, rcond=1e-15)[0]
        dz, dc = step[:k], step[k : k + n]
        length = 1.0
        if k:
            length = min(length, 0.5 / max(1e-300, float(np.max(np.abs(dz) / span(z[free])))))
        if np.any(dc < 0):
            length = min(length, float(np.min(c[dc < 0] / -dc[dc < 0])))
        moved = _shortened(line, atoms, free, dz, dc, length)
        if moved is None:
            return atoms
        done = atoms.objective - moved.objective < enough
        atoms = moved
        if done:
            break
    return atoms


def _shortened(
    line: Line, atoms: Atoms, free: NDArray[np.intp], dz: Array, dc: Array, length: float
) -> Atoms | None:
    """The first of the steps length, length/2, ... that lowers the objective; None if none does."""
    for halvings in range(10):
        t = length * 0.5**halvings
        z, c = atoms.z.copy(), np.maximum(atoms.c + t * dc, 0.0)
        z[free] = np.clip(z[free] + t * dz, -2.0, line.end)
        c /= np.sum(c)
        held = c > 1e-14
        V, B = terms(line, z[held])
        order = np.argsort(z[held])
        trial = Atoms(z[held][order], c[held][order] / np.sum(c[held]), V[order], B[order])
        if trial.objective < atoms.objective:
            return trial
    return None


def _curvature(line: Line, atoms: Atoms) -> Array:
    """|d^2 Psi/dz^2| at the atoms, (n,), by differences over a hundredth of ``span``."""
    h = 1e-2 * span(atoms.z)
    h = np.minimum(h, 0.5 * np.minimum(atoms.z + 2, line.end - atoms.z))
    h = np.where(h > 0, h, 1.0)  # at an end, where nothing moves
    values = []
    for side in (-1, 0, 1):
        V, B = terms(line, np.clip(atoms.z + side * h, -2, line.end))
        values.append(V + B @ atoms.moments)
    return np.abs(values[0] - 2 * values[1] + values[2]) / h**2


def joined(line: Line, atoms: Atoms, enough: float) -> Atoms:
    """The atoms slid, and as few and simple as they can be for less than ``enough`` of the objective.

    Up to ``FEW`` atoms, the outermost ones are tried at r = 0 and infinity, and each is tried without: the
    weights are taken anew and the others slide, so neighbours that stand for one unit become one.  Of more,
    clusters are joined all at once, if that lowers the objective.
    """
    z, c = atoms.z, atoms.c
    if len(z) > FEW:
        cluster = np.concatenate([[0], np.cumsum(np.diff(z) > NEAR * span(z[1:]))])
        mass = np.bincount(cluster, weights=c)
        trial = slid(line, with_weights(line, np.bincount(cluster, weights=c * z) / mass, mass), enough, 3)
        trial = with_weights(line, trial.z, trial.c)
        return trial if trial.objective < atoms.objective else atoms
    atoms = slid(line, atoms, enough)
    for outermost, end in ((0, -2.0), (-1, 0.0)):
        if -2 < atoms.z[outermost] < line.end and end <= line.end:
            z = atoms.z.copy()
            z[outermost] = end
            trial = slid(line, with_weights(line, z, atoms.c), enough)
            atoms = trial if trial.objective <= atoms.objective + enough else atoms
    i = 0
    while i < len(atoms.z) > 1:
        others = np.arange(len(atoms.z)) != np.argsort(atoms.c)[i]
        trial = slid(
            line, with_weights(line, atoms.z[others], atoms.c[others] / np.sum(atoms.c[others])), enough
        )
        atoms, i = (trial, 0) if trial.objective <= atoms.objective + enough else (atoms, i + 1)
    return atoms


@dataclass(frozen=True)
class Found:
    """The best atoms found, the gap of their objective, and the rounds it took."""

    atoms: Atoms
    gap: float
    rounds: int


def infimum(line: Line, gap: float, rounds: int, progress: Callable[[float], None]) -> Found:
    """Atoms whose objective is within ``gap`` of the infimum, or the best that ``rounds`` rounds give.

    The optimum over the nodes of the first cells; then, round by round, the atoms as they are and joined,
    the gap 2(int Psi drho - min Psi) of both [MMN18] from the global minimum of Psi + (lam/2) r^2, and the
    minima of Psi of the better one as new atoms.
    """
    cells = first_cells(line)
    V, B = cells.V.ravel(), cells.B.reshape(-1, cells.B.shape[-1])
    start = np.zeros(len(V))
    alone = 2 * V + np.sum(B**2, axis=1)
    start[np.argmax(alone <= np.min(alone) + gap / 100)] = 1.0  # of equals, the one of smallest r
    c = simplex_weights(V, B, start)
    atoms = with_weights(line, cells.nodes().ravel()[c > 0], c[c > 0])
    best = Found(atoms, np.inf, 0)
    for done in range(1, rounds + 1):
        reached = []
        for trial in (joined(line, atoms, gap / 100), atoms):
            cells, minimum = lowest(line, cells, first_variation(trial.moments), gap / 8)
            reached.append((2 * (trial.level - minimum.bound), trial, minimum))
            if reached[0][0] <= gap:
                break
        smallest, atoms, minimum = min(reached, key=lambda each: each[0])
        if smallest < best.gap:
            best = Found(atoms, smallest, done)
        progress(min(0.9, done / rounds))
        if best.gap <= gap or done >= best.rounds + PATIENCE:
            break
        below = _basins(minimum.values) & (minimum.values < atoms.level)
        atoms = with_weights(
            line,
            np.concatenate([atoms.z, minimum.places[below]]),
            np.concatenate([atoms.c, np.zeros(np.count_nonzero(below))]),
        )
    return best


def _basins(values: Array) -> NDArray[np.bool_]:
    """Which cells hold a minimum not above those of their neighbours."""
    padded = np.concatenate([[np.inf], values, [np.inf]])
    return (values <= padded[:-2]) & (values <= padded[2:])
