"""A block of B steps of one-sample SGD as matrix products: the same algorithm, reordered.

Units are rows of W, the offset of an affine unit being one more weight of a sample that ends in 1.  The steps

    W_{k+1} = shrink_k W_k + c_k x_k^T + spread_k g_k,     c_k = gain_k (y_k - yhat_k) a sigma'(z_k),   z_k = W_k x_k,

with shrink = 1 - 2 lam s, gain = 2 s, spread = sqrt(4 s/beta), unroll to

    z_k = P_k W_0 x_k + sum_{j<k} M_kj (x_j . x_k) c_j + n_k,          P_k = prod_{l<k} shrink_l,
    W_B = P_B W_0 + sum_j M_Bj c_j x_j^T + S,                          M_kj = prod_{j<l<k} shrink_l.

Two products with the samples X, their Gram matrix, and a recursion on vectors of N numbers remain.  Of the
noise g only S = sum_j M_Bj spread_j g_j and n_k = sum_{j<k} M_kj spread_j g_j x_k matter.  Given X they are
jointly Gaussian, independent from unit to unit:

    S ~ N(0, v I),   n_k = (e_k/v) S x_k + b_k,   Cov(b_k, b_l) = (E_kl - e_k e_l/v)(x_k . x_l)   independent of S,
    E_kl = sum_{j < min(k, l)} M_kj M_lj spread_j^2,   e_k = E_kB,   v = E_BB:

N(d + B) normals a block in place of N d B, equal in law to the plain loop.  Everything is dimensionless.
Arrays have a leading axis for replicas, which advance together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.recursion import Recursion
from solvers.recursion_c import CompiledRecursion
from solvers.sgd_schedule import LEAST_SCALE, Steps
from workbench.measure import Array


@dataclass
class Units:
    """Weights ``scale`` W, W (R, N, D), D = d or, with offsets in the last column, d + 1; output weights a (R, N) or None.

    Ridge acts on the scale: in float32 a factor such as 1 - 1e-9 would leave the weights as they are.  For the
    same reason a is float64.
    """

    W: Any
    a: Any = None
    scale: float = 1.0

    def copy(self) -> Units:
        """The same numbers elsewhere."""
        return Units(self.W.copy(), None if self.a is None else self.a.copy(), self.scale)


@dataclass(frozen=True)
class Noise:
    """Standard normals of a block: for S (R, N, D), for the bridges b (R, B, N), for a (R, B, N) or None."""

    end: Any
    bridge: Any
    outputs: Any


def advance(units: Units, x: Any, y: Any, steps: Steps, noise: Noise | None, recursion: Recursion) -> Any:
    """All steps of a block on samples x (R, B, D), y (R, B); overwrites ``units``.

    Returns the squared errors (y - yhat)^2, each before its own update, (R, B).
    """
    if noise is None and isinstance(recursion, CompiledRecursion):
        errors, units.scale = recursion.train(units.W, units.a, units.scale, x, y, steps, [y.shape[1]])
        return errors**2
    xp, real = recursion.xp, units.W.dtype
    gram = xp.matmul(x, x.swapaxes(1, 2))
    Z = xp.matmul(x, units.W.swapaxes(1, 2))
    decay = steps.decay()
    product = np.cumprod(steps.shrink)
    before = units.scale * np.concatenate([[1.0], product[:-1]])
    if (before != 1.0).any():
        Z *= _column(before, xp, real)
    end: Any = None
    if noise is not None:
        end, along = _noise(noise, x, gram, decay * steps.spread, xp)
        Z += along
    if steps.ridge:
        gram *= xp.asarray(decay[:-1], real)
    outputs = (
        None if noise is None or noise.outputs is None else noise.outputs * _column(steps.spread, xp, real)
    )
    errors = recursion.run(Z, gram, y, steps, units.a, outputs)
    if steps.ridge:
        Z *= _column(decay[-1], xp, real)
    change = xp.matmul(Z.swapaxes(1, 2), x)
    if end is not None:
        change += end
    scale = float(units.scale * product[-1])
    if not scale >= LEAST_SCALE:
        units.W *= scale
        scale = 1.0
    units.W += change if scale == 1.0 else change * (1.0 / scale)
    units.scale = scale
    return errors**2


def _column(values: Array, xp: Any, real: Any) -> Any:
    return xp.asarray(values, real)[:, None]


def _noise(noise: Noise, x: Any, gram: Any, scaled: Array, xp: Any) -> tuple[Any, Any]:
    """S (R, N, D) and n (R, B, N) for ``scaled`` (B + 1, B), M_kj spread_j."""
    real = x.dtype
    E = scaled @ scaled.T
    e, v = E[:-1, -1], E[-1, -1]
    S = noise.end * np.sqrt(v).astype(real)
    n = xp.matmul(x, S.swapaxes(1, 2)) * _column(e / v, xp, real)
    if len(e) > 1:  # n_0 = 0
        bridge = xp.asarray((E[:-1, :-1] - np.outer(e, e) / v)[1:, 1:]) * gram[:, 1:, 1:].astype(float)
        root = xp.linalg.cholesky(bridge).astype(real)
        n[:, 1:] += xp.matmul(root, noise.bridge[:, 1:])
    return S, n
