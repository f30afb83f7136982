"""Weighted measures over units, and every functional of them that the theory needs.

A cloud of particles, the cells of a density and the units of a network are all one thing: points
with weights.  Risk, first variation, moments and distances are written once, here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import scipy  # scipy.stats, half a second of start-up, is loaded where it is first used
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """The probability measure sum_i weights_i delta_{points_i}: points (n, D), weights (n,)."""

    points: Array
    weights: Array

    @classmethod
    def uniform(cls, points: Array) -> Measure:
        """Equal weights on ``points``, shape (n, D)."""
        return cls(points, np.full(len(points), 1.0 / len(points)))

    def expectation(self, values: Array) -> Array:
        """sum_i weights_i values_i over the first axis of ``values``, shape (n, ...)."""
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        return (self.weights @ flat).reshape(values.shape[1:])

    def mean(self, coordinate: int = 0) -> float:
        """Mean of one coordinate."""
        return float(self.weights @ self.points[:, coordinate])

    def quantiles(self, levels: Array, coordinate: int = 0) -> Array:
        """Lower quantiles of one coordinate: the least x with F(x) >= level, same shape as ``levels``."""
        order = np.argsort(self.points[:, coordinate], kind="stable")
        cumulative = np.cumsum(self.weights[order])
        index = np.searchsorted(cumulative, np.asarray(levels) * cumulative[-1] * (1 - 1e-15))
        return self.points[order[np.minimum(index, len(order) - 1)], coordinate]


def feature_moments(module: ModuleType, rho: Measure, p: Parameters) -> Array:
    """The K moments m_kappa = int phi_kappa drho through which rho enters Psi, shape (K,)."""
    return rho.expectation(module.features(rho.points, p))


def risk(module: ModuleType, rho: Measure, p: Parameters) -> float:
    """R(rho) = E y^2 + 2 int V drho + sum_kappa w_kappa m_kappa^2, with E y^2 = 1  [MMN18].

    For the units of a network this is the *orbit-averaged* risk of their reduced measure, not the
    population risk of the network itself (that is ``solvers.network.population_risk``).
    """
    m = feature_moments(module, rho, p)
    return float(1.0 + 2.0 * rho.expectation(module.V(rho.points, p)) + module.weights(p) @ m**2)


def self_interaction(module: ModuleType, rho: Measure, p: Parameters) -> float:
    """K = int U(theta, theta) drho, a unit beside itself at angle 0: networks of N units reach inf R + K/N  [MMN18]."""
    return float(rho.expectation(module.U_pair(rho.points, rho.points, np.ones(module.BLOCKS), p)))


def Psi(module: ModuleType, x: Array, moments: Array, p: Parameters) -> Array:
    """Psi(x; rho) = V(x) + sum_kappa w_kappa phi_kappa(x) m_kappa, x (..., D) -> (...)."""
    return np.asarray(module.V(x, p) + module.features(x, p) @ (module.weights(p) * moments))


def grad_Psi(module: ModuleType, x: Array, moments: Array, p: Parameters) -> Array:
    """Gradient of ``Psi`` in x, (..., D) -> (..., D)."""
    grad_features = module.grad_features(x, p)
    return np.asarray(
        module.grad_V(x, p) + np.einsum("...kd,k->...d", grad_features, module.weights(p) * moments)
    )


def wasserstein1(mu: Measure, nu: Measure, coordinate: int = 0) -> float:
    """W_1 distance between the laws of one coordinate under ``mu`` and ``nu``."""
    return float(
        scipy.stats.wasserstein_distance(
            mu.points[:, coordinate], nu.points[:, coordinate], mu.weights, nu.weights
        )
    )
