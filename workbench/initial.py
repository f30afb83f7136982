"""The law of a unit at t = 0, in the reduced coordinates.

Everything is dimensionless.  The coordinates of a law are named as in a generated module: ``r``, ``r1``,
``r2`` are norms of blocks of the weight vector, ``a`` the output weight, ``b`` the offset, ``m`` the
component of the weights along the mean of the classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import numpy as np
import scipy  # scipy.stats, half a second of start-up, is loaded where it is first used
from numpy.typing import NDArray

from workbench.checks import real_number
from workbench.errors import BadInput

Array = NDArray[np.float64]


def is_radial(coordinate: str) -> bool:
    """Whether a coordinate is a norm (r, r1, r2): it is >= 0 and carries the entropy of an orbit."""
    return coordinate.startswith("r")


@dataclass(frozen=True)
class GaussianInitialLaw:
    """Initial law w ~ N(0, kappa^2/d I_d), a ~ N(a_mean, a_std^2), b ~ N(b_mean, b_std^2), independent.

    The norm of a block of n weights is then (kappa/sqrt(d)) chi_n [MMN18]; at ``d = inf`` with one block
    the radius is the constant ``kappa``.  a and b exist in models with affine units only.
    """

    kappa: float = 0.8
    a_mean: float = 1.0
    a_std: float = 0.0
    b_mean: float = 0.0
    b_std: float = 0.0

    def __post_init__(self) -> None:
        if not 1e-150 < real_number("kappa", self.kappa) < 1e200:
            raise BadInput(
                f"kappa = {self.kappa} is not a scale: give 1e-150 < kappa < 1e200, e.g. kappa=0.8"
            )
        for name in ("a_mean", "b_mean"):
            if not math.isfinite(real_number(name, getattr(self, name))):
                raise BadInput(f"{name} = {getattr(self, name)}: give a finite mean")
        for name in ("a_std", "b_std"):
            if not 0 <= real_number(name, getattr(self, name)) < math.inf:
                raise BadInput(f"{name} = {getattr(self, name)}: give a standard deviation {name} >= 0")

    def radial_quantiles(self, levels: Array, d: float, n: float | None = None) -> Array:
        """Quantiles of the norm of ``n`` of the ``d`` weights (all by default) at ``levels`` in (0, 1)."""
        if math.isinf(d):
            return np.full(np.shape(levels), self.kappa)
        return np.asarray(scipy.stats.chi.ppf(levels, d if n is None else n) * self.kappa / math.sqrt(d))

    def radial_cdf(self, r: Array, d: float, n: float | None = None) -> Array:
        """P(norm of ``n`` of the ``d`` weights <= r), same shape as ``r``."""
        if math.isinf(d):
            return (np.asarray(r) >= self.kappa).astype(float)
        return np.asarray(
            scipy.stats.chi.cdf(np.asarray(r) * math.sqrt(d) / self.kappa, d if n is None else n)
        )

    def draw_weights(self, rng: np.random.Generator, units: int, d: int) -> Array:
        """Independent weight vectors, shape (units, d)."""
        return rng.standard_normal((units, d)) * (self.kappa / math.sqrt(d))

    def draw_outputs(self, rng: np.random.Generator, units: int) -> tuple[Array, Array]:
        """Independent output weights a and offsets b of affine units, each (units,)."""
        a = self.a_mean + self.a_std * rng.standard_normal(units)
        return a, self.b_mean + self.b_std * rng.standard_normal(units)

    def marginal(self, coordinate: str, n: float, d: float) -> Any:
        """The law of one coordinate as a frozen SciPy distribution; ``n`` counts the weights of a norm.

        Raises
        ------
        BadInput
            where that law is a point and has no density.
        """
        if math.isinf(d):
            raise BadInput(
                f"d = {d}: the initial law is a point, not a density; use particles, or an InitialDensity"
            )
        scale = self.kappa / math.sqrt(d)
        if is_radial(coordinate):
            return scipy.stats.chi(n, scale=scale)
        mean, std = {
            "a": (self.a_mean, self.a_std),
            "b": (self.b_mean, self.b_std),
            "m": (0.0, scale),
        }[coordinate]
        if std == 0:
            raise BadInput(
                f"{coordinate}_std = 0: the initial law of {coordinate} is a point, not a density; "
                f"give {coordinate}_std > 0, or use the method sgd"
            )
        return scipy.stats.norm(mean, std)

    def support(
        self, coordinates: Sequence[str], dimensions: Sequence[float], d: float, tail: float
    ) -> list[tuple[float, float]]:
        """For every coordinate an interval (from 0 for a norm) outside which at most ``tail`` lies on each side."""
        laws = [self.marginal(c, n, d) for c, n in zip(coordinates, dimensions, strict=True)]
        return [
            (0.0 if is_radial(c) else float(law.ppf(tail)), float(law.isf(tail)))
            for c, law in zip(coordinates, laws, strict=True)
        ]

    def cell_masses(
        self, coordinates: Sequence[str], dimensions: Sequence[float], d: float, edges: Sequence[Array]
    ) -> Array:
        """The mass of every tensor-product cell with these edges, shape (cells, ...); exact."""
        masses = []
        for coordinate, n, ends in zip(coordinates, dimensions, edges, strict=True):
            law = self.marginal(coordinate, n, d)
            # from the nearer tail, or the masses beyond 8 standard deviations drown in rounding
            below, above = np.diff(law.cdf(ends)), -np.diff(law.sf(ends))
            masses.append(np.maximum(np.where(ends[1:] <= law.median(), below, above), 0.0))
        return np.asarray(reduce(np.multiply.outer, masses))

    def describe(self) -> dict[str, Any]:
        """What a result stores of it."""
        return asdict(self)


@dataclass(frozen=True)
class InitialDensity:
    """Initial law with a given density, x (n, D) -> (n,), with respect to the reduced coordinates' dx.

    It need not be normalised; it must be finite and >= 0 and have mass.  Solvers that follow densities
    take it, and only inside bounds that are given to them.
    """

    density: Callable[[Array], Array]

    def support(
        self, coordinates: Sequence[str], dimensions: Sequence[float], d: float, tail: float
    ) -> list[tuple[float, float]]:
        """Not known for a given function: raises BadInput that asks for bounds."""
        raise BadInput(
            "an InitialDensity does not tell where its mass lies: give the solver r_max "
            f"or bounds, a lower and an upper end for each of {', '.join(coordinates)}"
        )

    def cell_masses(
        self, coordinates: Sequence[str], dimensions: Sequence[float], d: float, edges: Sequence[Array]
    ) -> Array:
        """The mass of every cell up to a common factor, by Gauss's rule of 3 points a direction (order 6)."""
        nodes, weights = np.polynomial.legendre.leggauss(3)
        points, factors = [], []
        for ends in edges:
            middle, half = (ends[1:] + ends[:-1]) / 2, np.diff(ends) / 2
            points.append((middle[:, None] + half[:, None] * nodes).ravel())
            factors.append((half[:, None] * weights).ravel())
        x = np.stack([axis.ravel() for axis in np.meshgrid(*points, indexing="ij")], axis=-1)
        values = np.asarray(self.density(x), dtype=float)
        if values.shape != x.shape[:1]:
            raise BadInput(
                f"the initial density maps points of shape {x.shape} to {values.shape}: return one number a point"
            )
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            raise BadInput(
                f"the initial density is {values[bad][0]} at ({', '.join(f'{c:.4g}' for c in x[bad][0])}): "
                "a density is finite and >= 0 everywhere"
            )
        mass = values.reshape([len(f) for f in factors]) * reduce(np.multiply.outer, factors)
        for axis in range(len(edges)):
            shape = (*mass.shape[:axis], -1, 3, *mass.shape[axis + 1 :])
            mass = mass.reshape(shape).sum(axis=axis + 1)
        if not mass.sum() > 0:
            raise BadInput(
                f"the initial density has no mass between {', '.join(f'{e[0]:.4g} and {e[-1]:.4g}' for e in edges)}: "
                "give other bounds, or a density that is positive there"
            )
        return np.asarray(mass)

    def describe(self) -> dict[str, Any]:
        """What a result stores of it: the name of the function."""
        return {"density": getattr(self.density, "__qualname__", type(self.density).__name__)}


InitialLaw = GaussianInitialLaw | InitialDensity
