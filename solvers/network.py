"""The exact population risk of a finite network, angles and all: no sampling, no mean-field limit.

``workbench.measure.risk`` replaces the angles between units by their average over the orbit of the
symmetry group; here they are the actual ones.  The difference is the fluctuation of a real network
around its mean-field limit.  Everything is dimensionless.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from workbench.errors import BadInput, NumericalFailure
from workbench.measure import Array

# Pairs with |cos| above COSINE_CUT go to the closed form, the others to Mehler's series: at 0.9 the
# series needs at most 220 terms, and in d = 40 random units stay below it altogether.
COSINE_CUT = 0.9
# Bound on what the truncated series leaves out of R, relative to (mean_i ||sigma||_i)^2.
SERIES_TOLERANCE = 1e-10
# The running powers of one block of rows and its cosines, 2 x 0.5 MiB, stay in a second-level cache.
BLOCK_ENTRIES = 65_536
# The tail ||sigma||^2 - sum a_k^2 is a difference: below this fraction of ||sigma||^2 it is rounding.
ROUNDING = 1e-13


@dataclass(frozen=True)
class _Series:
    """Mehler's series on N units, one leading row per order k, ready for matrix products.

    ``terms`` (orders, N, classes + 1): sqrt(P(y)) a_k(tau_y r_i) for each class y, and last the tail
    T_{k-1}(r_i) = sqrt(sum_{l >= k} sum_y P(y) a_l(tau_y r_i)^2).
    ``norm`` (N,): ||sigma||_i = T_{-1}(r_i), i.e. ||sigma||_i^2 = sum_y P(y) E sigma(tau_y r_i G)^2.
    """

    terms: Array
    norm: Array


def population_risk(module: ModuleType, W: Array, p: Mapping[str, Any]) -> float:
    """Population risk R_N = E (y - yhat(x))^2 of the two-layer network with weights ``W``.

        R_N = E y^2 + (2/N) sum_i V(r_i) + (1/N^2) sum_ij U_pair(r_i, r_j, cos_ij)   [MMN18]

    with r_i = |w_i| and cos_ij the actual cosines, taken as 0 for a vanishing unit, whose output does
    not depend on its direction.  Pairs with |cos_ij| <= ``COSINE_CUT`` are summed by Mehler's formula,

        U_pair = sum_k cos^k sum_y P(y) a_k(tau_y r_i) a_k(tau_y r_j),

    cut after an order K at which the Cauchy-Schwarz bound of the remainder, (1/N^2) sum_ij
    |cos_ij|^{K+1} T_K(r_i) T_K(r_j), is below ``SERIES_TOLERANCE`` (mean_i ||sigma||_i)^2; the other
    pairs and the diagonal use the closed form.

    Parameters
    ----------
    module
        a generated module of an isotropic model, with ``data_law``, ``a`` and ``U_pair``.
    W
        weights, shape (N, d), one unit a row.
    p
        the numbers of the module; ``p["d"]`` is finite and equals the second dimension of ``W``.

    Returns
    -------
    float
        R_N, exact up to the tolerance above and rounding.  Time O(N^2 K), memory O(N K).

    Raises
    ------
    BadInput
        for a model that is not isotropic, and for ``W`` of another shape or with non-finite entries.
    NumericalFailure
        when the norms or the risk overflow.
    """
    check_isotropic(module, p)
    law = module.data_law(p)
    W = np.asarray(W, dtype=float)
    _check_weights(W, p["d"])
    with np.errstate(over="ignore", invalid="ignore"):
        r = np.linalg.norm(W, axis=1)
        if not np.isfinite(r).all():
            raise NumericalFailure(
                f"unit {int(np.argmin(np.isfinite(r)))} has a norm beyond the range of float64: "
                "the training has diverged; use a smaller step epsilon"
            )
        unit = W / np.where(r > 0, r, 1.0)[:, None]
        series = _series(module, r, law, p)
        pairs = float(np.sum(series.norm**2)) + _off_diagonal_sum(module, r, unit, series, p)
        count = len(r)
        second_moment = sum(probability * y**2 for y, probability, _ in law)
        linear = float(np.mean(module.V(r[:, None], p)))
        value = float(second_moment + 2.0 * linear + pairs / count**2)
    if not math.isfinite(value):
        raise NumericalFailure(
            f"the population risk is {value} at norms up to {r.max():.3g}: "
            "the training has diverged; use a smaller step epsilon"
        )
    return value


def check_isotropic(module: ModuleType, p: Mapping[str, Any]) -> None:
    """Raise BadInput unless units are plain vectors and every class is N(0, std^2 I)."""
    if tuple(module.COORDINATES) != ("r",) or any(len(blocks) != 1 for _, _, blocks in module.data_law(p)):
        raise BadInput(
            f"model {module.NAME} has coordinates {tuple(module.COORDINATES)}: the population risk of a "
            "network is written for isotropic models with coordinates ('r',) only; choose one of these"
        )


def _check_weights(W: Array, d: float) -> None:
    """Raise BadInput unless ``W`` is a finite (N, d) array with N >= 1."""
    if W.ndim != 2 or len(W) < 1 or W.shape[1] != d:
        raise BadInput(f"weights of shape {W.shape} with d = {d}: give an array (N, d) with N >= 1")
    if not np.isfinite(W).all():
        row = int(np.argmin(np.isfinite(W).all(axis=1)))
        raise BadInput(f"the weights of unit {row} are not finite: give finite weights")


def _series(module: ModuleType, r: Array, law: Any, p: Mapping[str, Any]) -> _Series:
    """Hermite coefficients of every unit, and the tails that bound what a truncation leaves out."""
    # With |cos| <= COSINE_CUT the remainder after `orders` terms is at most
    # COSINE_CUT^orders ||sigma||_i ||sigma||_j, so the table always reaches the tolerance.
    orders = math.ceil(math.log(SERIES_TOLERANCE) / math.log(COSINE_CUT)) + 1
    norm_squared = module.U_pair(r[:, None], r[:, None], np.ones((len(r), 1)), p)
    terms = np.empty((orders + 1, len(r), len(law) + 1))
    for column, (_, probability, ((_, std, _),)) in enumerate(law):
        a = module.a(orders, std * r)
        terms[:, :, column] = math.sqrt(probability) * a.T
    used = np.cumsum(np.sum(terms[:-1, :, :-1] ** 2, axis=2), axis=0)
    terms[0, :, -1] = np.sqrt(norm_squared)
    terms[1:, :, -1] = np.sqrt(np.maximum(norm_squared - used, ROUNDING * norm_squared))
    return _Series(terms, np.sqrt(norm_squared))


def _off_diagonal_sum(
    module: ModuleType, r: Array, unit: Array, series: _Series, p: Mapping[str, Any]
) -> float:
    """sum over i != j of U_pair(r_i, r_j, cos_ij), by blocks of rows on and above the diagonal."""
    count = len(r)
    total = 0.0
    start = 0
    while start < count:
        stop = min(count, start + max(1, BLOCK_ENTRIES // (count - start)))
        rows, columns = slice(start, stop), slice(start, count)
        cosine = np.clip(unit[rows] @ unit[columns].T, -1.0, 1.0)
        # Each pair once: 2 strictly above the diagonal of the matrix, 0 on it and below.
        weight = 2.0 * np.triu(np.ones_like(cosine), 1)
        near = np.nonzero((np.abs(cosine) > COSINE_CUT) & (weight > 0))
        if len(near[0]) > 0:
            i, j = near
            total += 2.0 * float(
                np.sum(module.U_pair(r[start + i, None], r[start + j, None], cosine[near][:, None], p))
            )
            weight[near] = 0.0
        total += _series_sum(cosine, weight, series, rows, columns)
        start = stop
    return total


def _series_sum(cosine: Array, power: Array, series: _Series, rows: slice, columns: slice) -> float:
    """sum_ij power_ij sum_k cos_ij^k sum_y P(y) a_k(tau_y r_i) a_k(tau_y r_j) over one block.

    ``cosine``, ``power`` (rows, columns); ``power`` holds the weights of the pairs on entry and is
    overwritten by the running power cos^k.
    """
    # The block's share of the tolerance: summed over the blocks, SERIES_TOLERANCE (sum_i ||sigma||_i)^2.
    tolerance = SERIES_TOLERANCE * float(np.sum(series.norm[rows])) * float(np.sum(series.norm[columns]))
    total = 0.0
    for k, term in enumerate(series.terms):
        if k > 0:
            power *= cosine
        product = term[rows] * (power @ term[columns])
        total += float(np.sum(product[:, :-1]))
        # At even k, power = |power|, so this is the Cauchy-Schwarz bound on all orders >= k.
        if k % 2 == 0 and float(np.sum(product[:, -1])) <= tolerance:
            break
    return total
