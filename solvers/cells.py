"""Tensor-product cells of the reduced coordinates, and the functionals of a density held on them.

A density rho is given by the mass of every cell.  A norm r of n weights carries the area r^(n-1) of its
orbit, the reference against which entropy is taken; it enters through its exact mean over each cell, so
that nothing is singular at r = 0 and nothing overflows at large n.  Arrays over cells are flat, in C order
of the coordinates.  Everything is dimensionless.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, reduce
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.special import xlogy

from workbench.errors import BadInput, NumericalFailure
from workbench.initial import is_radial
from workbench.measure import Array, Measure, feature_moments
from workbench.problem import Problem

INITIAL_TAIL = 1e-9  # initial mass that may lie outside the cells before it is normalised
FEWEST_CELLS = 8  # of a coordinate: four to each side of a peak
NARROWEST = 1e-9  # width of a cell, below which differences of the potential are rounding


@dataclass(frozen=True)
class Cells:
    """Cells between ``edges`` (one increasing array for each coordinate).

    ``dimensions`` holds the n of each coordinate's reference r^(n-1), 1 where it has none.
    """

    coordinates: tuple[str, ...]
    edges: tuple[Array, ...]
    dimensions: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of cells along every coordinate."""
        return tuple(len(ends) - 1 for ends in self.edges)

    @property
    def count(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    @cached_property
    def centres(self) -> Array:
        """Midpoints, shape (cells, D)."""
        return self._stack([(ends[1:] + ends[:-1]) / 2 for ends in self.edges])

    @cached_property
    def volumes(self) -> Array:
        """Plain volumes prod dx_i, shape (cells,)."""
        return np.asarray(reduce(np.multiply.outer, [np.diff(ends) for ends in self.edges]).ravel())

    @cached_property
    def log_areas(self) -> Array:
        """log of the mean of x_i^(n_i - 1) over each cell, shape (cells, D); 0 where n_i = 1."""
        return self._stack(
            [
                log_mean_power(ends, n) if n != 1 else np.zeros(len(ends) - 1)
                for ends, n in zip(self.edges, self.dimensions, strict=True)
            ]
        )

    @cached_property
    def log_reference(self) -> Array:
        """log of the reference measure prod x_i^(n_i - 1) dx of each cell, shape (cells,)."""
        return np.asarray(np.log(self.volumes) + self.log_areas.sum(axis=1))

    def _stack(self, axes: list[Array]) -> Array:
        return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=-1)


def log_mean_power(ends: Array, n: float) -> Array:
    """log of the mean of r^(n-1) over each interval between ``ends`` >= 0, in a form that cannot overflow."""
    left, right = ends[:-1], ends[1:]
    with np.errstate(divide="ignore"):
        smaller = np.where(left > 0, n * np.log(left / right), -np.inf)
    return np.asarray(n * np.log(right) + np.log(-np.expm1(smaller)) - np.log(n * (right - left)))


def graded(lower: float, upper: float, count: int, grading: float) -> Array:
    """``count`` + 1 edges from ``lower`` to ``upper``, finer towards ``lower``.

    x(s) = lower + (upper - lower) ((1 - g) s + g s^2), s = 0 ... 1: cells grow linearly, from (1 - g) to
    (1 + g) times their mean width; a smooth map keeps the second order of the scheme.
    """
    s = np.linspace(0.0, 1.0, count + 1)
    edges = lower + (upper - lower) * s * (1.0 - grading * (1.0 - s))
    edges[-1] = upper
    return np.asarray(edges)


def first_cells(
    problem: Problem,
    counts: tuple[int, ...],
    grading: float = 0.0,
    r_max: float | None = None,
    bounds: tuple[float, ...] | None = None,
) -> Cells:
    """Cells that hold the initial law of ``problem``.

    ``counts``: cells of every coordinate, or one number for all.  ``bounds``: lower and upper end of every
    coordinate in turn.  Without them a norm runs from 0 to ``r_max``, or to four times what holds all but
    1e-12 of the initial law, the others over three times such an interval.

    Raises
    ------
    BadInput
        for bounds without meaning, or that do not hold the initial law, or an initial law without density.
    """
    coordinates = tuple(problem.module.COORDINATES)
    if len(counts) not in (1, len(coordinates)):
        raise BadInput(
            f"cells = {counts}: give one number, or one for each of the coordinates {', '.join(coordinates)}"
        )
    if any(count < FEWEST_CELLS for count in counts):
        raise BadInput(f"cells = {counts}: a density needs at least {FEWEST_CELLS} cells a coordinate")
    counts = counts * len(coordinates) if len(counts) == 1 else counts
    intervals = _intervals(problem, coordinates, r_max, bounds)
    edges = []
    for name, count, (lower, upper) in zip(coordinates, counts, intervals, strict=True):
        if (upper - lower) / count < NARROWEST:
            raise BadInput(
                f"{name} from {lower:g} to {upper:g} in {count} cells is too fine a mesh: "
                "give fewer cells, wider bounds (a larger r_max) or a larger kappa"
            )
        edges.append(graded(lower, upper, count, grading if is_radial(name) and lower == 0 else 0.0))
    # without noise there is no entropy for the areas to weigh, and d may be infinite
    plain = (1.0,) * len(coordinates)
    return Cells(coordinates, tuple(edges), plain if math.isinf(problem.beta) else problem.orbit_dimensions())


def _intervals(
    problem: Problem, coordinates: tuple[str, ...], r_max: float | None, bounds: tuple[float, ...] | None
) -> list[tuple[float, float]]:
    if bounds is not None:
        if len(bounds) != 2 * len(coordinates):
            raise BadInput(
                f"bounds = {bounds}: give a lower and an upper end for each of {', '.join(coordinates)}"
            )
        intervals = list(zip(bounds[::2], bounds[1::2], strict=True))
        for name, (lower, upper) in zip(coordinates, intervals, strict=True):
            if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
                raise BadInput(f"bounds of {name} = {lower}, {upper}: give finite lower < upper")
            if is_radial(name) and lower < 0:
                raise BadInput(f"bounds of {name} = {lower}, {upper}: a norm starts at 0 or above")
        return intervals
    if r_max is not None and all(map(is_radial, coordinates)):
        return [(0.0, r_max)] * len(coordinates)
    # four widths of a norm and three of the others leave room for the dynamics; the domain grows if need be
    intervals = []
    support = problem.initial.support(coordinates, problem.weight_dimensions(), problem.d, 1e-12)
    for name, (lower, upper) in zip(coordinates, support, strict=True):
        if is_radial(name):
            intervals.append((0.0, 4.0 * upper if r_max is None else r_max))
        else:
            intervals.append((2.0 * lower - upper, 2.0 * upper - lower))
    return intervals


def initial_masses(problem: Problem, cells: Cells) -> Array:
    """The exact masses of the initial law, normalised, shape (cells,); BadInput where the cells do not hold it."""
    masses = problem.initial.cell_masses(
        cells.coordinates, problem.weight_dimensions(), problem.d, cells.edges
    )
    if hasattr(problem.initial, "marginal"):  # the law is known outside the cells, too
        for axis, name in enumerate(cells.coordinates):
            law = problem.initial.marginal(name, problem.weight_dimensions()[axis], problem.d)
            lower, upper = cells.edges[axis][[0, -1]]
            outside = float(law.sf(upper)) + (
                float(law.cdf(lower)) if lower > 0 or not is_radial(name) else 0.0
            )
            if not outside <= INITIAL_TAIL:
                least, most = float(law.ppf(1e-12)), float(law.isf(1e-12))
                mend = f"bounds around {least:.3g} ... {most:.3g}"
                if is_radial(name) and lower == 0:
                    mend = f"r_max >= {most:.3g}"
                raise BadInput(
                    f"the cells of {name} from {lower:g} to {upper:g} (r_max or bounds) do not hold the initial "
                    f"law, {outside:.1e} of which lies outside: give {mend}, or leave it out to have it chosen"
                )
    flat = np.asarray(masses, dtype=float).ravel()
    return np.asarray(flat / flat.sum())


def tabulated(problem: Problem, points: Array) -> Any:
    """The module with V and features evaluated once at ``points`` (n, D).

    The result follows the module protocol but ignores its argument x, so that the functionals of
    ``workbench.measure`` apply unchanged and cost one matrix product.  ``ridge`` (n,) is (lam/2)|x|^2.
    """
    module, p = problem.module, problem.parameters
    tables = {name: np.asarray(getattr(module, name)(points, p), dtype=float) for name in ("V", "features")}
    for name, table in tables.items():
        if not np.isfinite(table).all():
            row = np.argwhere(~np.isfinite(table))[0][0]
            where = ", ".join(f"{c} = {v:.6g}" for c, v in zip(module.COORDINATES, points[row], strict=True))
            raise NumericalFailure(f"{name} of the module is not finite at {where}: regenerate it")
    w = np.asarray(module.weights(p), dtype=float)
    constant = {name: (lambda x, p, table=table: table) for name, table in tables.items()}
    ridge = 0.5 * problem.lam * (points**2).sum(axis=1)
    return SimpleNamespace(weights=lambda p: w, ridge=ridge, points=points, **constant)


def totals(problem: Problem, table: Any, log_reference: Array, masses: Array) -> Array:
    """The sums over cells that risk and free energy consist of: K moments, int V, ridge, entropy, mass.

    They add up over disjoint sets of cells; shape (K + 4,).
    """
    rho = Measure(table.points, masses)
    m = feature_moments(table, rho, problem.parameters)
    entropy = float((xlogy(masses, masses) - masses * log_reference).sum())
    v = float(rho.expectation(table.V(table.points, problem.parameters)))
    return np.array([*m, v, float(masses @ table.ridge), entropy, float(masses.sum())])


def risk_of(weights: Array, sums: Array) -> float:
    """R(rho) from the ``totals`` of all cells: what ``workbench.measure.risk`` gives for one measure."""
    return float(1.0 + 2.0 * sums[-4] + weights @ sums[:-4] ** 2)


def free_energy_of(problem: Problem, weights: Array, sums: Array) -> float:
    """F = R/2 + (lam/2) int |x|^2 drho + (1/beta) int log(drho/dmu) drho, mu = prod x_i^(n_i - 1) dx  [MMN18].

    The constant E y^2/2 is kept (it is part of R); the log-areas of the unit spheres, constants over beta,
    are dropped.
    """
    entropy = 0.0 if math.isinf(problem.beta) else sums[-2] / problem.beta
    return float(0.5 * risk_of(weights, sums) + sums[-3] + entropy)


def free_energy(problem: Problem, table: Any, log_reference: Array, masses: Array) -> float:
    """``free_energy_of`` a density held on all cells."""
    return free_energy_of(
        problem, table.weights(problem.parameters), totals(problem, table, log_reference, masses)
    )
