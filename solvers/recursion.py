"""The recursion inside a block of SGD, on vectors of N numbers, for each way to run it.

For k = 0, 1, ..., B - 1, with row k of Z holding what z_k is without the steps of this block,

    z = Z_k + sum_{j<k} G_kj c_j,    e_k = y_k - mean(a sigma(z)),    c_k = gain_k e_k a sigma'(z),
    a <- shrink_k a + gain_k e_k sigma(z) + noise_k,

and c_k takes the place of Z_k (a = 1 for plain units).  ``run(Z, G, y, steps, a, noise)`` takes Z (R, B, N),
G (R, B, B), y (R, B), a (R, N) in float64 or None, noise (R, B, N) or None, overwrites Z and a, and returns e (R, B).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

import numpy as np

from solvers.sgd_schedule import Steps


class Recursion(Protocol):
    """One way to run the recursion; ``xp`` is the array module of what it takes."""

    name: str
    xp: Any

    def run(self, Z: Any, G: Any, y: Any, steps: Steps, a: Any, noise: Any) -> Any:
        """See the head of the file."""


class ArrayRecursion:
    """In the operations of NumPy, or of CuPy where the activation cannot be put into C."""

    def __init__(self, module: ModuleType, xp: Any = np) -> None:
        self.name, self.xp, self._module = "numpy" if xp is np else "cupy", xp, module

    def run(self, Z: Any, G: Any, y: Any, steps: Steps, a: Any, noise: Any) -> Any:
        """See the head of the file."""
        xp, module = self.xp, self._module
        errors = xp.empty_like(y)
        gain, shrink = steps.gain.tolist(), steps.shrink.tolist()
        for k in range(y.shape[1]):
            z = Z[:, k]
            if k > 0:
                z = z + xp.matmul(G[:, k, None, :k], Z[:, :k])[:, 0]
            wide = z.astype(float)  # formulas may overflow in float32 where the activation does not
            value, slope = (xp.asarray(f(wide), Z.dtype) for f in (module.sigma, module.sigma_prime))
            weight = None if a is None else xp.asarray(a, Z.dtype)
            output = value if weight is None else weight * value
            errors[:, k] = y[:, k] - output.mean(axis=-1)
            push = gain[k] * errors[:, k, None]
            Z[:, k] = push * (slope if weight is None else weight * slope)
            if a is not None:
                a *= shrink[k]
                a += push * value
                if noise is not None:
                    a += noise[:, k]
        return errors
