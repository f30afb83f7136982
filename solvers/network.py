"""The exact population risk of a finite network, angles and all: no sampling, no mean-field limit.

``workbench.measure.risk`` replaces the angles between units by their average over the orbit of the
symmetry group; here they are the actual ones.  The difference is the fluctuation of a real network
around its mean-field limit.  Everything is dimensionless.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import BadInput, NumericalFailure
from workbench.measure import Array

Indices = NDArray[np.intp]

# Pairs with |cos| above COSINE_CUT go to the closed form, the others to Mehler's series: at 0.9 the
# series needs at most 220 terms, and in d = 40 random units stay below it altogether.
COSINE_CUT = 0.9
# Two computed directions that are one and the same have a cosine this close to 1, up to d = 5000.
SAME_DIRECTION = 4e-15
# Bound on what the truncated series leaves out of R, relative to (mean_i ||sigma_i||)^2.
SERIES_TOLERANCE = 1e-10
# The running powers of one block of rows and its cosines, 2 x 0.5 MiB, stay in a second-level cache.
BLOCK_ENTRIES = 65_536


@dataclass(frozen=True)
class Network:
    """N units a_i sigma(<w_i, x> + b_i), or plain ones sigma(<w_i, x>), with yhat = (1/N) sum_i  [MMN18].

    Attributes
    ----------
    W
        weights w_i, shape (N, d), N >= 1.
    a, b
        output weights and offsets, shape (N,) each; None for plain units, a = 1 and b = 0.

    Raises
    ------
    BadInput
        for arrays of other shapes or with entries that are not finite.
    """

    W: Array
    a: Array | None = None
    b: Array | None = None

    def __post_init__(self) -> None:
        for name, what in (("W", "weights"), ("a", "output weights a"), ("b", "offsets b")):
            if name != "W" and getattr(self, name) is None:
                continue
            value = np.asarray(getattr(self, name), dtype=float)
            object.__setattr__(self, name, value)
            if value.ndim != (2 if name == "W" else 1) or not len(value) == len(self.W) > 0:
                wanted = "(N, d) with N >= 1" if name == "W" else f"({len(self.W)},), one number a unit"
                raise BadInput(f"{what} of shape {value.shape}: give an array {wanted}")
            finite = np.isfinite(value.reshape(len(value), -1)).all(axis=1)
            if not finite.all():
                raise BadInput(
                    f"the {what} of unit {int(np.argmin(finite))} are not finite: give finite numbers"
                )

    def reduced(self, module: ModuleType, p: Mapping[str, Any]) -> Array:
        """The units in the reduced coordinates of a module, (N, D) in the order of its COORDINATES.

        a and b as they are; r, or r1 and r2, the norms |w| in the consecutive blocks of coordinates of
        the data law; m = <w, mu>/|mu|, with its sign, the first coordinate of w where mu points  [MMN18].

        Raises
        ------
        BadInput
            where the network does not fit the model.
        NumericalFailure
            when a norm overflows.
        """
        sizes = _block_sizes(module, module.data_law(p), self)
        parts = np.split(self.W, np.cumsum(sizes)[:-1], axis=1)
        names = module.COORDINATES[-len(sizes) :]
        seen = [part[:, 0] if name == "m" else _norms(part) for name, part in zip(names, parts, strict=True)]
        return np.stack([x for x in (self.a, self.b) if x is not None] + seen, axis=1)

    def outputs(self, module: ModuleType, x: Array) -> Array:
        """yhat(x) = (1/N) sum_i a_i sigma(<w_i, x> + b_i), x (M, d) -> (M,)  [MMN18]; memory O(M N).

        Raises
        ------
        BadInput
            for units of another kind than those of the module, and for ``x`` of another shape.
        """
        _check_kind(module, self)
        x = np.asarray(x, dtype=float)
        if x.ndim != 2 or x.shape[1] != self.W.shape[1]:
            raise BadInput(f"x of shape {x.shape} with d = {self.W.shape[1]}: give an array (M, d)")
        z = x @ self.W.T
        units = module.sigma(z if self.b is None else z + self.b)
        return np.asarray(units.mean(axis=1) if self.a is None else units @ self.a / len(self.a))


@dataclass(frozen=True)
class _View:
    """What N units see of classes in which each unit has one and the same direction.

    ``classes``: of each y, P(y) and the arguments (s,) or (s, b), (N,) each, that the module takes: in it
    unit i is a_i sigma(b_i + s_i G).  ``output`` (N,): a_i.  ``length`` (N,), ``unit`` (N, d): norms and
    directions of the w_i with coordinates scaled as the data, up to a factor; at length 0 the latter is 0.
    """

    classes: Sequence[tuple[float, float, tuple[Array, ...]]]
    output: Array
    length: Array
    unit: Array


@dataclass(frozen=True)
class _Series:
    """Mehler's series on N units, one leading row per order k, ready for matrix products.

    ``terms`` (orders, N, classes + 1): sqrt(P(y)) a_i a_k(s_i^y, b_i^y) for each class y of a view, and
    last the tail T_{k-1,i} = sqrt(sum_{l >= k} sum_y P(y) [a_i a_l(s_i^y, b_i^y)]^2).
    ``norm`` (N,): ||sigma_i|| = T_{-1,i}, i.e. ||sigma_i||^2 = sum_y P(y) E [a_i sigma(b_i^y + s_i^y G)]^2.
    """

    terms: Array
    norm: Array


def population_risk(module: ModuleType, network: Network | Array, p: Mapping[str, Any]) -> float:
    """Population risk R_N = E (y - yhat(x))^2 of a two-layer network.

        R_N = E y^2 - (2/N) sum_i E[y sigma_i(x)] + (1/N^2) sum_ij E[sigma_i(x) sigma_j(x)]

    with sigma_i(x) = a_i sigma(<w_i, x> + b_i)  [MMN18].  In class y, x ~ N(mean_y, diag(std_y^2)), this is
    a_i sigma(b_i^y + s_i^y G) with b_i^y = b_i + <mean_y, w_i>, s_i^y = |u_i^y|, u_i^y = std_y w_i
    coordinate by coordinate, and G standard normal.  The G of two units have the correlation c_ij^y =
    cos(u_i^y, u_j^y), taken as 0 for a vanishing unit, whose output is constant.  Pairs with |c_ij^y| <=
    ``COSINE_CUT`` are summed by Mehler's formula,

        E[sigma_i sigma_j] = sum_y P(y) a_i a_j sum_k (c_ij^y)^k a_k(s_i^y, b_i^y) a_k(s_j^y, b_j^y),

    cut after an order K at which the Cauchy-Schwarz bound of the remainder, (1/N^2) sum_ij
    |c_ij|^{K+1} T_{K,i} T_{K,j}, is below ``SERIES_TOLERANCE`` (mean_i ||sigma_i||)^2; the other pairs
    and the diagonal use the closed form.

    Parameters
    ----------
    module
        a generated module, with ``data_law``, ``a`` and ``pair_kernel``; ``U_pair`` does instead of the
        last where the coordinates are ('r',).
    network
        the units; an array (N, d) stands for plain ones.
    p
        the numbers of the module; its dimension d is finite and that of the weights.

    Returns
    -------
    float
        R_N, exact up to the tolerance above and rounding.  Time O(N^2 K), memory O(N K).

    Raises
    ------
    BadInput
        for units and weights that do not fit the model, and for a module without what is asked above.
    NumericalFailure
        when the norms or the risk overflow.
    """
    network = network if isinstance(network, Network) else Network(network)
    law = module.data_law(p)
    _block_sizes(module, law, network)
    if not hasattr(module, "pair_kernel") and tuple(module.COORDINATES) != ("r",):
        raise BadInput(
            f"module {module.NAME} has no pair_kernel: the risk of a network with the coordinates "
            f"{tuple(module.COORDINATES)} needs it; generate the module anew"
        )
    value = sum(probability * y**2 for y, probability, _ in law)
    with np.errstate(over="ignore", invalid="ignore"):
        for view in _views(network, law):
            series = _series(module, view, p)
            for column, (y, probability, _) in enumerate(view.classes):
                value -= 2.0 * y * math.sqrt(probability) * float(np.mean(series.terms[0, :, column]))
            pairs = float(np.sum(series.norm**2)) + _off_diagonal_sum(module, view, series, p)
            value += pairs / len(network.W) ** 2
    if not math.isfinite(value):
        raise NumericalFailure(
            f"the population risk is {value} at norms up to {_norms(network.W).max():.3g}: "
            "the training has diverged; use a smaller step epsilon"
        )
    return float(value)


def _check_kind(module: ModuleType, network: Network) -> None:
    """Raise BadInput unless a and b are given for affine units and left out for plain ones."""
    affine = tuple(module.COORDINATES[:2]) == ("a", "b")
    for name, value in (("a", network.a), ("b", network.b)):
        if affine != (value is not None):
            held = "None" if value is None else f"an array of shape {value.shape}"
            units, mend = ("a sigma(<w, x> + b)", "give") if affine else ("sigma(<w, x>)", "leave out")
            raise BadInput(f"{name} is {held}, but the units of {module.NAME} are {units}: {mend} {name}")


def _block_sizes(module: ModuleType, law: Any, network: Network) -> tuple[int, ...]:
    """Numbers of coordinates of the blocks of the data, one for each of m, r, r1, r2 among the COORDINATES.

    Raises BadInput where model, data law and network do not go together.
    """
    _check_kind(module, network)
    names = tuple(module.COORDINATES)[0 if network.a is None else 2 :]
    shapes = {tuple(count for count, _, _ in blocks) for _, _, blocks in law}
    sizes = next(iter(shapes))
    one_each = len(shapes) == 1 and len(sizes) == len(names) > 0
    if not one_each or any(name == "m" and size != 1 for name, size in zip(names, sizes, strict=True)):
        raise BadInput(
            f"model {module.NAME} has coordinates {tuple(module.COORDINATES)} and data in blocks of "
            f"{sorted(shapes)}: give a model with a norm, or m and one coordinate, for each block of the data"
        )
    d, shape = sum(sizes), network.W.shape
    if shape[1] != d:
        raise BadInput(f"weights of shape {shape} with d = {d}: give an array (N, d) with N >= 1, d finite")
    return tuple(int(size) for size in sizes)


def _norms(w: Array) -> Array:
    """Norms of the rows, (N, n) -> (N,); raises NumericalFailure where one overflows."""
    with np.errstate(over="ignore"):
        return _in_range(np.linalg.norm(w, axis=1), "a norm")


def _in_range(values: Array, what: str) -> Array:
    """The values (N,), one a unit; raises NumericalFailure unless all are finite."""
    if not np.isfinite(values).all():
        raise NumericalFailure(
            f"unit {int(np.argmin(np.isfinite(values)))} has {what} beyond the range of float64: "
            "the training has diverged; use a smaller step epsilon"
        )
    return values


def _views(network: Network, law: Any) -> Iterator[_View]:
    """The classes, sorted by the directions that the units have in them."""
    shared: dict[tuple[float, ...], list[Any]] = {}
    for y, probability, blocks in law:
        largest = max(std for _, std, _ in blocks)
        relative = tuple(std / largest for _, std, _ in blocks)
        shared.setdefault(relative, []).append((y, probability, largest, blocks))
    for relative, members in shared.items():
        sizes = [int(count) for count, _, _ in members[0][3]]
        u = network.W * np.repeat(relative, sizes)
        length = _norms(u)
        classes = []
        for y, probability, largest, blocks in members:
            mean = np.repeat([mean for _, _, mean in blocks], sizes)
            at: tuple[Array, ...] = (largest * length,)
            # Where offsets are 0 for good, a module need not take any.
            if network.b is not None or mean.any():
                b = network.W @ mean + (0.0 if network.b is None else network.b)
                at += (_in_range(b, "an offset"),)
            classes.append((y, probability, at))
        output = np.ones(len(length)) if network.a is None else network.a
        yield _View(classes, output, length, u / np.where(length > 0, length, 1.0)[:, None])


def _series(module: ModuleType, view: _View, p: Mapping[str, Any]) -> _Series:
    """Hermite coefficients of every unit, and the tails that bound what a truncation leaves out."""
    # With |cos| <= COSINE_CUT the remainder after `orders` terms is at most
    # COSINE_CUT^orders ||sigma_i|| ||sigma_j||, so the table always reaches the tolerance.
    orders = math.ceil(math.log(SERIES_TOLERANCE) / math.log(COSINE_CUT)) + 1
    count = len(view.output)
    terms = np.empty((orders + 1, count, len(view.classes) + 1))
    for column, (_, probability, at) in enumerate(view.classes):
        terms[:, :, column] = math.sqrt(probability) * view.output * module.a(orders, *at).T
    every = np.arange(count)
    used = np.cumsum(np.sum(terms[:-1, :, :-1] ** 2, axis=2), axis=0)
    # Rounding has either sign: in the closed form of units that are almost never active, and in the tails.
    norm_squared = np.maximum(_closed_form(module, view, every, every, np.ones(count), p), 0.0)
    terms[0, :, -1] = np.sqrt(norm_squared)
    terms[1:, :, -1] = np.sqrt(np.maximum(norm_squared - used, 0.0))
    return _Series(terms, np.sqrt(norm_squared))


def _closed_form(
    module: ModuleType, view: _View, i: Indices, j: Indices, cosine: Array, p: Mapping[str, Any]
) -> Array:
    """sum_y P(y) E[sigma_i sigma_j] over the classes of the view for pairs (i, j) at ``cosine``: (pairs,)."""
    if not hasattr(module, "pair_kernel"):  # written by hand, isotropic and plain: all classes in one view
        r = view.length[:, None]
        return np.asarray(module.U_pair(r[i], r[j], cosine[:, None], p))
    total = np.zeros(len(cosine))
    for _, probability, (s, *b) in view.classes:
        offsets = [x[k] for x in b for k in (i, j)]
        total += probability * module.pair_kernel(s[i], s[j], cosine, *offsets)
    return view.output[i] * view.output[j] * total


def _off_diagonal_sum(module: ModuleType, view: _View, series: _Series, p: Mapping[str, Any]) -> float:
    """sum over i != j of sum_y P(y) E[sigma_i sigma_j], by blocks of rows on and above the diagonal."""
    count = len(view.unit)
    total = 0.0
    start = 0
    while start < count:
        stop = min(count, start + max(1, BLOCK_ENTRIES // (count - start)))
        rows, columns = slice(start, stop), slice(start, count)
        cosine = np.clip(view.unit[rows] @ view.unit[columns].T, -1.0, 1.0)
        # Each pair once: 2 strictly above the diagonal of the matrix, 0 on it and below.
        weight = 2.0 * np.triu(np.ones_like(cosine), 1)
        near = np.nonzero((np.abs(cosine) > COSINE_CUT) & (weight > 0))
        if len(near[0]) > 0:
            i, j = near
            # The closed form is in the angle, where rounding of a cosine near 1 is 1e-8.
            aligned = np.abs(cosine[near]) > 1 - SAME_DIRECTION
            cosine[near] = np.where(aligned, np.sign(cosine[near]), cosine[near])
            total += 2.0 * float(np.sum(_closed_form(module, view, start + i, start + j, cosine[near], p)))
            weight[near] = 0.0
        total += _series_sum(cosine, weight, series, rows, columns)
        start = stop
    return total


def _series_sum(cosine: Array, power: Array, series: _Series, rows: slice, columns: slice) -> float:
    """sum_ij power_ij sum_k cos_ij^k sum_y P(y) a_i a_j a_k(s_i^y, b_i^y) a_k(s_j^y, b_j^y) over one block.

    ``cosine``, ``power`` (rows, columns); ``power`` holds the weights of the pairs on entry and is
    overwritten by the running power cos^k.
    """
    # The block's share of the tolerance: summed over the blocks, SERIES_TOLERANCE (sum_i ||sigma_i||)^2.
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
