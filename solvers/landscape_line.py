"""The half-line [0, infinity] of one unit, made compact, and the potentials on it.

z = r - 2 for r <= 1 and z = -1/r beyond: z in [-2, 0], r = infinity is the point z = 0, it has neighbours,
and a potential with an expansion in 1/r is smooth there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from workbench.checks import real_number
from workbench.errors import BadInput, NumericalFailure
from workbench.measure import Array, Measure

FAR = 1e150  # stands for r = infinity: a bounded activation has reached its limit, and r^2 is in range
NEARLY_FAR = 1e100  # where a bounded activation has reached its limit, too
TOPS = (1e2, 1e4, 1e6)  # of r, tried in turn where there is no limit and no r_max
PROBES = np.concatenate([[0.0], np.geomspace(1e-4, 1e9, 400)])  # r, for the size of bounded potentials


@dataclass(frozen=True)
class Line:
    """The potentials of one unit with r in [0, top], lam the ridge; top = inf includes the limit point."""

    module: ModuleType
    p: Mapping[str, Any]
    lam: float
    top: float
    roots: Array  # sqrt(w_kappa), (K,)

    @property
    def end(self) -> float:
        """The last z."""
        return float(place(np.array(self.top)))


def place(r: Array) -> Array:
    """z of r in [0, inf], same shape."""
    r = np.asarray(r, dtype=float)
    return np.where(r <= 1, r - 2, -1 / np.maximum(r, 1))


def radius(z: Array) -> Array:
    """r of z in [-2, 0], same shape; the end z = 0 is inf."""
    z = np.asarray(z, dtype=float)
    return np.where(z <= -1, z + 2, np.divide(-1.0, z, out=np.full(z.shape, np.inf), where=z < 0))


def span(z: Array) -> Array:
    """The scale on which functions vary at z: r up to 1 and 1/r beyond, but not below 1e-2 at r = 0."""
    r = radius(z)
    return np.where(r <= 1, np.maximum(r, 1e-2), 1 / np.maximum(r, 1))


def terms(line: Line, z: Array) -> tuple[Array, Array]:
    """V + (lam/2) r^2 and sqrt(w) phi at z, (n,) -> (n,), (n, K): U(r, r') = sum of products of the latter.

    Raises NumericalFailure where the module is not finite.
    """
    r = np.minimum(radius(z), FAR)
    with np.errstate(over="ignore", invalid="ignore"):
        V = line.module.V(r[:, None], line.p) + 0.5 * line.lam * r**2
        B = line.roots * line.module.features(r[:, None], line.p)
    bad = ~(np.isfinite(V) & np.all(np.isfinite(B), axis=-1))
    if np.any(bad):
        raise NumericalFailure(
            f"landscape: V or a feature of {line.module.NAME} is not finite at r = {r[bad][0]:.6g}; "
            "give a smaller r_max, or less extreme parameters"
        )
    return V, B


def slopes(line: Line, z: Array) -> tuple[Array, Array]:
    """Derivatives in z of ``terms``, (n,) -> (n,), (n, K)."""
    r = np.minimum(radius(z), FAR)
    stretch = np.maximum(r, 1.0) ** 2  # dr/dz
    with np.errstate(over="ignore"):
        dV = line.module.grad_V(r[:, None], line.p)[:, 0] + line.lam * r
        dB = line.roots * line.module.grad_features(r[:, None], line.p)[..., 0]
    return stretch * dV, stretch[:, None] * dB


def line_of(module: ModuleType, p: Mapping[str, Any], lam: float, r_max: float) -> Line:
    """The line on which a measure is sought: r in [0, r_max], or less where no atom can lie beyond.

    Without ridge and r_max, a module whose V and features have limits gets r = infinity as a point.  With a
    ridge an atom at r has (lam/2) r^2 <= Psi(0) - Psi(r) <= 2 sup|Psi|, sup|Psi| <= sup|V| + sum w sup phi^2
    for any measure.  Without limits the line ends at ``TOPS``[0], and the caller looks beyond it.

    Raises
    ------
    BadInput
        for a model with other coordinates than r, parameters the module refuses, lam or r_max out of range.
    """
    if tuple(module.COORDINATES) != ("r",):
        raise BadInput(
            f"coordinates {tuple(module.COORDINATES)} of {module.NAME}: the landscape takes models of r alone, "
            "e.g. isotropic_truncated_relu"
        )
    try:
        module.check_parameters(p)
        w = np.asarray(module.weights(p))
    except ValueError as error:
        raise BadInput(str(error)) from error
    if not 0 <= real_number("lam", lam) < math.inf:
        raise BadInput(f"lam = {lam}: the ridge must be finite and lam >= 0")
    if not real_number("r_max", r_max) >= 1e-6:
        raise BadInput(f"r_max = {r_max}: give r_max >= 1e-6, or inf for no bound")
    line = Line(module, p, float(lam), float(r_max), np.sqrt(w))
    if r_max < math.inf:
        return line
    if not has_limit(line):
        return replace(line, top=TOPS[0])
    if lam == 0:
        return line
    V, B = terms(replace(line, lam=0.0), place(PROBES))
    size = np.max(np.abs(V)) + np.max(np.sum(B**2, axis=1))
    return replace(line, top=max(1.0, 1.5 * math.sqrt(4 * size / lam)))  # 1.5: the size is that of samples


def at_finite_radii(rho: Measure) -> Measure:
    """``rho`` with r = inf replaced by 1e150, where V and the features of a bounded activation are at their limit.

    ``workbench.measure`` takes the result: its risk is that of the limit.
    """
    return Measure(np.minimum(rho.points, FAR), rho.weights)


def has_limit(line: Line) -> bool:
    """Whether V and every feature have a limit as r -> infinity (told from r = 1e100 and 1e150)."""
    r = np.array([[NEARLY_FAR], [FAR]])
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.column_stack([line.module.V(r, line.p), line.module.features(r, line.p)])
        # a limit is reached like a power of 1/r, if not faster; what grows by 50 decades shows it
        return bool(np.all(np.abs(values[1] - values[0]) <= 1e-9 * (1 + np.max(np.abs(values[0])))))
