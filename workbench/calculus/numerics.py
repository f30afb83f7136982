"""Float64 bodies of the named functions of ``workbench.calculus.special``, safe for every finite argument.

Elementwise over NumPy arrays; the remaining ones are those of ``workbench.numerics``, by import.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from workbench.numerics import gauss_pdf, on_host


def deviation(x: Any, v: Any) -> Any:
    """x/sqrt(v); at v <= 0 its limits 0 (x = 0) or +-inf."""
    x, v = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(v, dtype=float))
    positive = v > 0
    # x = 0 against v = 0: no deviation at all
    at_zero = np.where(x == 0, 0.0, np.copysign(np.inf, x))
    with np.errstate(over="ignore"):
        return np.where(positive, x / np.sqrt(np.where(positive, v, 1.0)), at_zero)


def gauss_spread(x: Any, v: Any) -> Any:
    """sqrt(v) gauss_pdf(x/sqrt(v)); 0 at v <= 0."""
    v = np.maximum(np.asarray(v, dtype=float), 0.0)
    with np.errstate(over="ignore"):
        return np.sqrt(v) * gauss_pdf(deviation(x, v))


def bvn_density(h: Any, k: Any, rho: Any) -> Any:
    """Density of two standard normals of correlation rho, |rho| < 1."""
    rest = (1.0 - rho) * (1.0 + rho)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return gauss_pdf(deviation(h - rho * k, rest)) * gauss_pdf(k) / np.sqrt(rest)


def _scaled_cdf(x: Any, y: Any) -> Any:
    """e^(-y^2/2) Phi(x + i y) through the Faddeeva function, which is bounded on the upper half plane."""
    below = np.where(x > 0, -1.0, 1.0)
    x, y = x * below, y * below
    tail = 0.5 * np.exp(-0.5 * x * x - 1j * x * y) * special.wofz((y - 1j * x) / math.sqrt(2.0))
    return np.where(below < 0, np.exp(-0.5 * y * y) - tail, tail)


def wave_cdf_re(x: Any, y: Any) -> Any:
    """Re[e^(-y^2/2) Phi(x + i y)]."""
    return on_host(_scaled_cdf, x, y).real


def wave_cdf_im(x: Any, y: Any) -> Any:
    """Im[e^(-y^2/2) Phi(x + i y)]."""
    return on_host(_scaled_cdf, x, y).imag
