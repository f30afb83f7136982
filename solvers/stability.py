"""Linear stability of the Gibbs fixed point: how fast small perturbations relax.

With pi the masses of the fixed point, a perturbation delta of them, of mass zero, obeys

    d delta/dtau = -2 C H delta,    H = (1/beta) diag(1/pi) + Phi diag(w) Phi^T        [MMN18; JKO98]

with H the second variation of the free energy F and C the symmetric conductances of -div(pi grad .).  A
facet conducts beta pi_L k(L -> R)/2 = beta pi_R k(R -> L)/2, with the rates of Scharfetter and Gummel

    k(L -> R) = (2/beta)/(|x_L - x_R| h_L) B(g_R - g_L),    B(z) = z/(e^z - 1),

h the width of a cell and g = beta psi - sum_i log <x_i^(n_i - 1)>, <> the mean over the cell, the exponent of
the density exp(-g) of pi with respect to dx.  For w = 0 this is their generator.  (A facet's own area times
B(beta (psi_R - psi_L)) is of order 2 as well, with three times the error at n = 40; and where the drifts of
psi and of the areas cancel and neither is resolved, it conducts nothing, so that empty cells look stable.)

In v = delta/sqrt(pi) the operator is -T (I + beta M M^T), T = G^T G, M = diag(sqrt(pi)) Phi sqrt(W): a
product of two symmetric matrices >= 0, so all eigenvalues are real.  G maps cells to facets with entries
-sqrt(k(L -> R)) and sqrt(k(R -> L)), which hold where pi itself underflows.  Everything is dimensionless.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh, splu

from solvers.cells import Cells
from workbench.errors import NumericalFailure
from workbench.measure import Array

DENSE = 2000  # cells, up to which all entries of the operator are held
ROUNDING = 1e-14  # of a rate, in units of the fastest jump
SHIFT = 1e-11  # of the sparse method, in units of the fastest jump: far below the slow rates, above rounding


@dataclass(frozen=True)
class Relaxation:
    """The slowest ``rates`` (k,), ascending, and their ``modes`` (k, cells), masses with sum |delta| = 1."""

    rates: Array
    modes: Array


def relaxation(
    cells: Cells, beta: float, psi: Array, masses: Array, features: Array, count: int, dense: int = DENSE
) -> Relaxation:
    """The ``count`` slowest modes delta(tau) = exp(-rate tau) delta(0) of mass zero about a Gibbs law.

    ``psi`` (cells,) is Psi_lam of the law with ``masses`` (cells,), ``features`` (cells, K) are sqrt(w) phi.
    Order 2 in the width of the cells.  Up to ``dense`` cells by a dense eigenproblem, beyond by Lanczos'
    method on the inverse of a sparse matrix.  As F is strictly convex all rates are positive; 0.0 stands for
    one that rounding does not tell from 0, such as the exchange between two wells at large beta.  They are
    those of perturbations within the cells: a well of Psi that holds none of the law, and that the cells
    leave out, would add an exponentially slow one.

    Raises
    ------
    NumericalFailure
        when Lanczos' method does not converge.
    """
    count = min(count, cells.count - 2)
    jumps = facet_jumps(cells, beta, psi)
    root = np.sqrt(masses)
    M = root[:, None] * features
    slowest = _slowest_dense if cells.count <= dense else _slowest_sparse
    u = slowest(jumps, root, M, beta, count)
    # T u = rate N u with N = (I + beta M M^T)^-1, and v = N u
    v = u - M @ cho_solve(_capacitance(M, beta), M.T @ u)
    rates = (np.asarray(jumps @ u) ** 2).sum(axis=0) / (u * v).sum(axis=0)
    rates[rates < ROUNDING * np.square(jumps.data).max()] = 0.0
    order = np.argsort(rates, kind="stable")
    modes = (root[:, None] * v).T[order]
    return Relaxation(rates[order], modes / np.abs(modes).sum(axis=1, keepdims=True))


def facet_jumps(cells: Cells, beta: float, psi: Array) -> sp.csr_array:
    """G (facets, cells) of the head of this file: G^T G is the generator for fixed ``psi``, symmetrised."""
    number = np.arange(cells.count).reshape(cells.shape)
    g = beta * psi - cells.log_areas.sum(axis=1)
    parts = []
    for axis, ends in enumerate(cells.edges):
        left = np.take(number, np.arange(cells.shape[axis] - 1), axis).ravel()
        right = np.take(number, np.arange(1, cells.shape[axis]), axis).ravel()
        index = np.unravel_index(left, cells.shape)[axis]
        widths, distance = np.diff(ends), cells.centres[right, axis] - cells.centres[left, axis]
        rightwards = (2.0 / beta) / (distance * widths[index]) * bernoulli(g[right] - g[left])
        leftwards = (2.0 / beta) / (distance * widths[index + 1]) * bernoulli(g[left] - g[right])
        row = np.arange(len(left))
        entries = np.concatenate([-np.sqrt(rightwards), np.sqrt(leftwards)])
        places = (np.concatenate([row, row]), np.concatenate([left, right]))
        parts.append(sp.csr_array((entries, places), shape=(len(row), cells.count)))
    return sp.vstack(parts, format="csr")


def bernoulli(z: Array) -> Array:
    """B(z) = z/(e^z - 1) for every z, to rounding: no exponential of a positive number is taken."""
    size = np.maximum(np.abs(z), 1e-300)
    return np.asarray(size / -np.expm1(-size) * np.exp(-np.maximum(z, 0.0)))


def _slowest_dense(jumps: sp.csr_array, root: Array, M: Array, beta: float, count: int) -> Array:
    T = (jumps.T @ jumps).toarray()
    inverse_N = np.eye(len(root)) + beta * (M @ M.T)
    # (N root)(N root)^T lifts the mode of constant mass above all others and changes no other
    steady = np.linalg.solve(inverse_N, root)
    T += (4.0 * T.diagonal().max() / (root @ steady)) * np.outer(steady, steady) / (root @ steady)
    _, v = eigh(T, inverse_N, type=2, subset_by_index=[0, count - 1])
    return np.asarray(inverse_N @ v)


def _slowest_sparse(jumps: sp.csr_array, root: Array, M: Array, beta: float, count: int) -> Array:
    """Lanczos' method on T^-1 N, for T u = rate N u among u with root . N u = 0; T is sparse, N of rank K.

    T + s I stands in for T, which is singular: s changes rates by s/rate, and vectors of such errors make
    Rayleigh quotients of their squares.
    """
    T, cells, capacitance = (jumps.T @ jumps).tocsc(), len(root), _capacitance(M, beta)
    shifted = T + SHIFT * T.diagonal().max() * sp.eye_array(cells, format="csc")
    factors = splu(shifted, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})

    def N(u: Array) -> Array:
        return np.asarray(u - M @ cho_solve(capacitance, M.T @ u))

    steady = N(root)
    steady /= root @ steady

    def inverse(b: Array) -> Array:
        x = factors.solve(b)
        return np.asarray(x - root * (steady @ x))  # the steady state is no perturbation

    shape = (cells, cells)
    start = inverse(np.cos(np.arange(cells)) * root)  # any vector will do, as long as it is always the same
    try:
        _, u = eigsh(
            T,
            k=count,
            M=LinearOperator(shape, matvec=N, dtype=float),
            sigma=0.0,
            OPinv=LinearOperator(shape, matvec=inverse, dtype=float),
            v0=start,
        )
    except ArpackError as error:
        raise NumericalFailure(
            f"the slowest modes did not converge ({error}): give fewer cells or rates=0"
        ) from error
    return np.asarray(u)


def _capacitance(M: Array, beta: float) -> tuple[Array, bool]:
    """Cholesky factor of I/beta + M^T M, (K, K): N = (I + beta M M^T)^-1 = I - M (I/beta + M^T M)^-1 M^T."""
    factor, lower = cho_factor(np.eye(M.shape[1]) / beta + M.T @ M)
    return np.asarray(factor), bool(lower)
