"""One-sample SGD written step by step: what the blocked algorithm has to reproduce."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.measure import Array


def loop(
    module: Any,
    W: Array,
    a: Array | None,
    x: Array,
    y: Array,
    s: Array,
    lam: float = 0.0,
    noise: Array | None = None,
    output_noise: Array | None = None,
) -> Array:
    """Train W (N, D) and a (N,), overwritten, on samples x (K, D), y (K,) with steps s (K,).

    noise (K, N, D) and output_noise (K, N) are added as they are.  An offset is the weight of a last
    coordinate 1 of x.  Returns y - yhat (K,), each before its own update.
    """
    errors = np.empty(len(y), W.dtype)
    for k in range(len(y)):
        z = W @ x[k]
        value, slope = module.sigma(z), module.sigma_prime(z)
        e = errors[k] = y[k] - np.mean(value if a is None else a * value)
        W *= 1 - 2 * lam * s[k]
        W += np.outer(2 * s[k] * e * (slope if a is None else a * slope), x[k])
        if a is not None:
            a *= 1 - 2 * lam * s[k]
            a += 2 * s[k] * e * value
        if noise is not None:
            W += noise[k]
            if a is not None and output_noise is not None:
                a += output_noise[k]
    return errors
