"""Minima of functions of one unit on the compact half-line, the global one with a bound.

A function is kept as polynomials on cells of z (see ``landscape_line``); the cells where a minimum might hide
are halved until the polynomials are known to the accuracy asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.signal import find_peaks

from solvers.landscape_line import Line, place, terms
from workbench.measure import Array

DEGREE = 8  # of the polynomial on a cell
PER_DECADE = 6  # cells in a decade of r; analytic functions of log r are then known to some 1e-8 at once
FIRST, LAST = 1e-3, 1e9  # the first cell is [0, FIRST], the last [LAST, infinity]
COARSE = 1e-3  # to which a function is known everywhere, relative to 1 + |minimum|
SAFETY = 16  # the error of a polynomial in its last two coefficients, which narrow wiggles can make small by chance
MOST_CELLS = 40_000
ROUNDING = 2e-14  # of a function relative to its terms, as it shows in the last coefficients
NARROWEST = 1e-15  # a cell that is not halved any more: z is known to 2e-16

_NODES = -np.cos(np.pi * np.arange(DEGREE + 1) / DEGREE)  # both ends are nodes, increasing
_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_NODES, DEGREE))  # values at the nodes -> coefficients
_PLACES = -np.cos(np.pi * np.arange(33) / 32)
_SAMPLES = chebyshev.chebvander(_PLACES, DEGREE)  # coefficients -> values at 33 places
# A polynomial of degree 8 leaves the range of its samples at 33 Chebyshev places by less than this share of it.
_BETWEEN = 0.5 * (1 / np.cos(np.pi * DEGREE / 64) - 1)


@dataclass(frozen=True)
class Cells:
    """``terms`` at the Chebyshev nodes of adjoining cells: low, high (L,), V (L, 9), B (L, 9, K)."""

    low: Array
    high: Array
    V: Array
    B: Array

    def nodes(self) -> Array:
        """z of the nodes, (L, 9)."""
        return _nodes(self.low, self.high)


# A function by its values at the nodes of cells, (L, 9), and the size of the terms that it is a sum of, (L, 9).
Function = Callable[[Cells], tuple[Array, Array]]


def first_variation(moments: Array) -> Function:
    """Psi + (lam/2) r^2 for a measure with these moments sqrt(w) m, (K,)."""
    return lambda cells: (cells.V + cells.B @ moments, np.abs(cells.V) + np.abs(cells.B) @ np.abs(moments))


def single_risk(cells: Cells) -> tuple[Array, Array]:
    """R(delta_r) + lam r^2 - 1, a ``Function``."""
    square = np.sum(cells.B**2, axis=-1)
    return 2 * cells.V + square, 2 * np.abs(cells.V) + square


def _nodes(low: Array, high: Array) -> Array:
    z = low[:, None] + (high - low)[:, None] * (1 + _NODES) / 2
    z[:, -1] = high  # exactly: the cells adjoin, and the last one ends at infinity
    return z


def _cells(line: Line, low: Array, high: Array) -> Cells:
    V, B = terms(line, _nodes(low, high).ravel())
    shape = (len(low), DEGREE + 1)
    return Cells(low, high, V.reshape(shape), B.reshape(*shape, -1))


def first_cells(line: Line) -> Cells:
    """Six cells in each decade of r from 1e-3 to 1e9, and what lies before and behind."""
    decades = round(np.log10(LAST / FIRST))
    r = np.geomspace(FIRST, LAST, decades * PER_DECADE + 1)
    r[np.argmin(np.abs(r - 1))] = 1.0  # where the two halves of the map meet
    edges = place(np.array([0.0, *r[r < line.top], line.top]))
    return _cells(line, edges[:-1], edges[1:])


def _halved(line: Line, cells: Cells, split: NDArray[np.bool_]) -> Cells:
    """The cells with those of ``split`` replaced by their halves, in order."""
    middle = 0.5 * (cells.low[split] + cells.high[split])
    new = _cells(
        line, np.concatenate([cells.low[split], middle]), np.concatenate([middle, cells.high[split]])
    )
    low = np.concatenate([cells.low[~split], new.low])
    order = np.argsort(low)
    return Cells(
        low[order],
        np.concatenate([cells.high[~split], new.high])[order],
        np.concatenate([cells.V[~split], new.V])[order],
        np.concatenate([cells.B[~split], new.B])[order],
    )


@dataclass(frozen=True)
class Minimum:
    """The global minimum of a function on the line.

    bound: a value below which the function nowhere falls, as far as its polynomials tell: their minimum
    less ``SAFETY`` times their last two coefficients.  z: where it is attained.  places, values: a minimum of
    every cell, (L,).
    """

    bound: float
    z: float
    places: Array
    values: Array


def lowest(line: Line, cells: Cells, function: Function, enough: float) -> tuple[Cells, Minimum]:
    """The global minimum of a function, known to ``enough``.

    Every cell is halved until its polynomial is known to ``COARSE``, lest a well be taken for an error, and
    further, to ``enough``/2, where it might reach below the minimum.  What cannot be resolved (a jump, or
    rounding errors) stays in the bound.

    Returns
    -------
    the refined cells, to start from next time, and the minimum.
    """
    while True:
        coefficients, error, floor, samples = _polynomials(function(cells))
        least, width = np.min(samples, axis=1), np.ptp(samples, axis=1)
        minima = least - _BETWEEN * width
        places = _PLACES[np.argmin(samples, axis=1)]
        ceiling = np.min(least + error)
        for i in np.flatnonzero((minima - error < ceiling) & (width > 0)):
            places[i], minima[i] = _polynomial_minimum(coefficients[i])
        best = np.min(minima + error)
        open_ = (error > enough / 2) & (minima - error < best) | (error > COARSE * (1 + abs(best)))
        open_ &= error > floor
        open_ &= cells.high - cells.low > NARROWEST
        if not np.any(open_) or len(cells.low) > MOST_CELLS:
            z = _within(cells.low, cells.high, places)
            bound = float(np.min(minima - error))
            return cells, Minimum(bound, float(z[np.argmin(minima)]), z, minima)
        cells = _halved(line, cells, open_)


def local_minima(line: Line, cells: Cells, function: Function, enough: float) -> tuple[Cells, Array, Array]:
    """z and values of all local minima deeper than ``enough``, both (n,), by increasing z; and the cells.

    Every cell is halved until its polynomial is known to ``enough``, both relative to 1 + |values|.  An end
    counts as a minimum where the function rises from it.
    """
    while True:
        coefficients, error, floor, samples = _polynomials(function(cells))
        open_ = error > np.maximum(enough * (1 + np.min(np.abs(samples), axis=1)), floor)
        open_ &= cells.high - cells.low > NARROWEST
        if not np.any(open_) or len(cells.low) > MOST_CELLS:
            break
        cells = _halved(line, cells, open_)
    padded = np.concatenate([[-np.inf], -samples.ravel(), [-np.inf]])
    depth = enough * (1 + np.abs(padded))
    peaks = find_peaks(padded, prominence=depth, plateau_size=1)[1]["left_edges"] - 1
    z, f = [], []
    for i in np.unique(peaks // len(_PLACES)):
        place, value = _polynomial_minimum(coefficients[i])
        z.append(_within(cells.low[i], cells.high[i], place))
        f.append(value)
    return cells, np.array(z), np.array(f)


def _polynomials(known: tuple[Array, Array]) -> tuple[Array, Array, Array, Array]:
    """From values and sizes: coefficients (L, 9), what they leave out, rounding (both (L,)), samples (L, 33)."""
    values, sizes = known
    coefficients = values @ _COEFFICIENTS.T
    error = SAFETY * (np.abs(coefficients[:, -1]) + np.abs(coefficients[:, -2]))
    return coefficients, error, ROUNDING * np.max(sizes, axis=1), coefficients @ _SAMPLES.T


def _within(low: Array, high: Array, place: Array | float) -> Any:
    """z of a place in [-1, 1] of a cell; the upper end exactly."""
    return np.where(np.equal(place, 1), high, low + (high - low) * (1 + np.asarray(place)) / 2)


def _polynomial_minimum(coefficients: Array) -> tuple[float, float]:
    """Place in [-1, 1] and value of the minimum of a Chebyshev series."""
    stationary = chebyshev.chebroots(chebyshev.chebder(coefficients))
    real = np.clip(np.real(stationary[np.abs(np.imag(stationary)) < 1e-6]), -1, 1)
    places = np.concatenate(
        [_PLACES, real]
    )  # samples too: the roots of a flat polynomial are rounding errors
    values = chebyshev.chebval(places, coefficients)
    i = int(np.argmin(values))
    return float(places[i]), float(values[i])
