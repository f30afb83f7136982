"""Distances between units, atoms and the cells of a density, and how large they are for draws of one law."""

from __future__ import annotations

import math

import numpy as np

from workbench.measure import Measure

SHARES = 8  # of the mass of a cell
AHEAD = 6.0  # times d epsilon: SGD runs ahead of DD by half of that in r while the risk falls fastest, as measured


def spread(rho: Measure) -> Measure:
    """The masses of cells with centres r, shared out evenly over ``SHARES`` points of each cell.

    As atoms at the centres they would be a quarter of a cell away, in W_1, from the law they stand for.
    """
    r = rho.points[:, 0]
    offsets = (np.arange(SHARES) + 0.5) / SHARES - 0.5
    points = r[:, None] + np.gradient(r)[:, None] * offsets
    return Measure(points.reshape(-1, 1), np.repeat(rho.weights / SHARES, SHARES))


def sampling_distance(rho: Measure, draws: int) -> float:
    """About E W_1(rho_N, rho) for N independent draws of r: int sqrt(2 F (1 - F)/(pi N)) dr.

    F is the distribution function of rho, whose atoms lie in increasing order; F_N(r) is nearly Gaussian
    with variance F (1 - F)/N.
    """
    F = np.clip(np.cumsum(rho.weights)[:-1], 0.0, 1.0)
    return math.sqrt(2 / (math.pi * draws)) * float(np.sqrt(F * (1 - F)) @ np.diff(rho.points[:, 0]))
