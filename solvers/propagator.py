"""exp(dt A) for the generator A of a Markov process on cells, by products with a sparse matrix alone.

Let T = I + A/Lambda, Lambda the fastest rate at which a cell is left, a Markov matrix, and z = dt Lambda.

*Uniformisation*: exp(dt A) = sum_k p_k T^k with Poisson's weights p_k of mean z.  All numbers are >= 0, so
masses stay >= 0 to the last bit; it takes about z products.

*Chebyshev*: exp(dt A) = sum_k c_k C_k(T), c_0 = e^(-z) I_0(z), c_k = 2 e^(-z) I_k(z), C_k Chebyshev's polynomials,
I_k Bessel's functions.  It takes some 8 sqrt(z) products, and is accurate in the norm in which A, in
detailed balance with a law pi, is symmetric: to rounding times sqrt(pi) |m/sqrt(pi)|, near equilibrium that is.
Far from it rounding shows as negative masses, and uniformisation takes over.  Everything is dimensionless.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from solvers.compiled import Library
from workbench.measure import Array

CHEBYSHEV_FROM = 150.0  # jumps, from where it takes half the products of uniformisation
NEGATIVE_MASS = 1e-14  # in all, that may be cut off: a rounding
LOST_MASS = 5e-13  # that rounding may take or give: half of what a run allows
MOST_JUMPS = 3e4  # of a cell in a step: each rounds the mass by some 1e-17, and all of them stay below 1e-12


class Propagator:
    """Advances masses by the process whose generator stands in a DOLFINx matrix, on this rank's rows.

    matrix: CSR, its diagonal entries at ``diagonal`` in its data; ``vector``: makes a distributed vector;
    ``total``: sums a number over ranks; ``c``: the functions of ``finite_volumes.c``.
    """

    def __init__(
        self,
        matrix: Any,
        diagonal: Any,
        vector: Callable[[], Any],
        local: int,
        total: Callable[[Any], Any],
        c: Library,
    ) -> None:
        self._matrix, self._diagonal, self._local, self._total, self._c = matrix, diagonal, local, total, c
        self._vectors = [vector(), vector()]
        # a matrix that sees no cell of another rank is multiplied with in C
        self._alone = len(self._vectors[0].array) == local
        self._chebyshev_from = CHEBYSHEV_FROM

    def advance(self, masses: Array, dt: float, fastest: float) -> Array:
        """exp(dt A) masses >= 0, with ``fastest`` the Lambda of the generator; the matrix is used up."""
        jumps = dt * fastest
        if jumps == 0:
            return masses
        self._matrix.data[:] /= fastest
        self._matrix.data[self._diagonal] = np.maximum(self._matrix.data[self._diagonal] + 1.0, 0.0)
        if jumps > self._chebyshev_from:
            result = self._chebyshev(masses, chebyshev_weights(jumps))
            negative = self._total(float(-result.sum(where=result < 0)))
            lost = abs(self._total(float(result.sum())) - self._total(float(masses.sum())))
            if negative <= NEGATIVE_MASS and lost <= LOST_MASS:  # both false for nan
                self._chebyshev_from = CHEBYSHEV_FROM
                return np.maximum(result, 0.0)
            self._chebyshev_from = 4.0 * jumps  # as far from equilibrium, it would fail again
        return self._uniformised(masses, poisson_weights(jumps))

    def _uniformised(self, masses: Array, weights: Array) -> Array:
        """sum_k weights_k T^k masses, by Horner's rule."""
        if self._alone:
            m, at, result = self._matrix, self._c.pointer, np.empty_like(masses)
            rows = (self._local, at(m.indptr), at(m.indices), at(m.data), at(masses))
            self._c.lib.polynomial(*rows, len(weights), at(weights), at(result), at(self._vectors[0].array))
            return result
        (old, new), views = self._vectors, [v.array[: self._local] for v in self._vectors]
        np.multiply(masses, weights[-1], out=views[0])
        for weight in weights[-2::-1]:
            np.multiply(masses, weight, out=views[1])
            self._matrix.mult(old, new)  # adds to what new holds
            old, new = new, old
            views.reverse()
        return views[0].copy()

    def _chebyshev(self, masses: Array, weights: Array) -> Array:
        """sum_k weights_k C_k(T) masses, by the recurrence C_(k+1) = 2 T C_k - C_(k-1); T is doubled on the way."""
        (old, new), views = self._vectors, [v.array[: self._local] for v in self._vectors]
        with np.errstate(over="ignore", invalid="ignore"):  # tried where it may not hold
            views[0][:] = masses
            views[1][:] = 0.0
            self._matrix.mult(old, new)
            total = weights[0] * masses + weights[1] * views[1]
            self._matrix.data[:] *= 2.0
            for weight in weights[2:]:
                np.negative(views[0], out=views[0])
                self._matrix.mult(new, old)
                total += weight * views[0]
                old, new = new, old
                views.reverse()
            self._matrix.data[:] *= 0.5
        return total


def poisson_weights(mean: float) -> Array:
    """The probabilities of 0, 1, 2, ... under Poisson's law, up to two beyond its 1 - 1e-10 quantile, scaled to sum to one."""
    k = np.arange(math.ceil(special.pdtrik(1 - 1e-10, mean)) + 3)
    weights = np.exp(special.xlogy(k, mean) - mean - special.gammaln(k + 1))
    return np.asarray(weights / weights.sum())


def chebyshev_weights(mean: float) -> Array:
    """The coefficients of e^(mean (t - 1)) in Chebyshev's polynomials, down to 1e-15, scaled to sum to one."""
    # e^(-z) I_k(z) falls like exp(-k^2/2z)
    k = np.arange(math.ceil(math.sqrt(72.0 * mean)) + 20)
    weights = 2.0 * special.ive(k, mean)
    weights[0] /= 2.0
    return np.asarray(weights / weights.sum())
