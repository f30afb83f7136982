"""The stationary state of noisy SGD: the Gibbs fixed point, a concave problem in K moments.

    rho_* = exp(-beta Psi_lam(.; rho_*)) mu / Z,    mu = prod x_i^(n_i - 1) dx            [MMN18]

is the one minimiser of the convex F(rho) = R/2 + (lam/2) int |x|^2 drho + (1/beta) int log(rho/mu) drho.
As Psi depends on rho through K moments only, the dual of that problem has K variables z:

    D(z)      = 1/2 - (1/2) sum w z^2 - (1/beta) log int exp(-beta psi_z) dmu
    psi_z     = V + sum_k w_k z_k phi_k + (lam/2) |x|^2,      rho_z = exp(-beta psi_z) mu / Z
    gradient  = w (m - z), m = int phi drho_z;      Hessian = -(W + beta W Cov(phi) W)
    F(rho_z) - D(z) = (1/2) sum w (m - z)^2         the duality gap, exactly

Cells carry the masses, so all of this holds for sums as it does for integrals.  Everything is dimensionless.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from scipy.interpolate import PchipInterpolator
from scipy.linalg import cho_factor, cho_solve
from scipy.special import logsumexp

from solvers.cells import FEWEST_CELLS, Cells, first_cells, free_energy, tabulated
from solvers.stability import relaxation
from workbench.checks import real_number, whole_number
from workbench.errors import BadInput, NumericalFailure
from workbench.initial import is_radial
from workbench.measure import Array, Measure, feature_moments, risk
from workbench.problem import Problem
from workbench.trajectory import Trajectory

PILOT_CELLS = {1: 512, 2: 96, 3: 48}  # of a coordinate, on which the final cells are laid out
MOST_NUMBERS = 10**8  # cells times features: 0.8 GB a table
MOST_CELLS_3D = 64_000  # whose generator is factorised for the rates: half a minute, growing with the square
TAIL = 1e-16  # of the law, left out on each side of the cells
EDGE_MASS = 1e-12  # of the law in the outermost cells, or beyond them, above which the cells are extended
PASSES = 16  # of laying out cells at most; two to five are usual
NEAR = 10.0  # a scale beyond which data of variance one saturates a unit; doubt is settled by the scan
FAR = 1e3  # of the scan, in units of what the ridge or NEAR allows
ASYMPTOTIC = 1e5  # FAR of a law without ridge, where it shows whether it can be normalised
FINEST = 1e-2  # below which the first cells are no longer spaced by logarithms


@dataclass(frozen=True)
class StationaryConfig:
    """Numbers of the method; BadInput when one has no meaning.

    cells
        cells of each coordinate, or one number for all.
    r_max, bounds
        walls: norms up to r_max, or a lower and an upper end of every coordinate in turn; ``None``: no wall.
    gap, max_iterations
        duality gap to reach, and Newton steps on one set of cells after which it is given up.
    rates
        how many of the slowest relaxation rates to compute; 0: none.
    """

    cells: tuple[int, ...] = (400,)
    r_max: float | None = None
    bounds: tuple[float, ...] | None = None
    gap: float = 1e-10
    max_iterations: int = 100
    rates: int = 4

    def __post_init__(self) -> None:
        for name in ("cells", "bounds"):
            if not isinstance(getattr(self, name), tuple | None):
                raise BadInput(f"{name} = {getattr(self, name)!r}: give a tuple of numbers, e.g. {name}=(8,)")
        for count in self.cells:
            whole_number("cells", count, FEWEST_CELLS)
        for end in self.bounds or ():
            real_number("bounds", end)
        if self.r_max is not None and not 0 < real_number("r_max", self.r_max) < math.inf:
            raise BadInput(f"r_max = {self.r_max}: give a finite r_max > 0, or None for no bound")
        if self.r_max is not None and self.bounds is not None:
            raise BadInput(f"r_max = {self.r_max} and bounds = {self.bounds}: give only one of them")
        if not 0 < real_number("gap", self.gap) < math.inf:
            raise BadInput(f"gap = {self.gap}: give a finite duality gap > 0, e.g. gap=1e-10")
        whole_number("max_iterations", self.max_iterations, 1)
        whole_number("rates", self.rates, 0, 100)


@dataclass(frozen=True)
class GibbsLaw:
    """A law exp(-beta psi_z) mu / Z on cells, in the scaled variables y = sqrt(w) z."""

    cells: Cells
    table: Any  # the module at their centres
    beta: float
    features: Array  # sqrt(w) phi (cells, K)
    y: Array  # (K,)
    psi: Array  # (cells,)
    log_masses: Array  # (cells,)
    log_partition: float
    dual: float  # D(z)
    steps: int = 0  # of Newton's method

    @cached_property
    def masses(self) -> Array:
        """The mass of each cell, shape (cells,); they sum to one."""
        return np.asarray(np.exp(self.log_masses))

    @cached_property
    def residual(self) -> Array:
        """sqrt(w) (m - z), the gradient of the dual in y, shape (K,)."""
        return np.asarray(self.masses @ self.features - self.y)

    @property
    def gap(self) -> float:
        """The duality gap F(rho_z) - D(z) = (1/2) sum w (m - z)^2."""
        return float(0.5 * self.residual @ self.residual)

    @property
    def gibbs_gap(self) -> float:
        """(1/beta) KL(rho || Gibbs(rho)) >= F(rho) - F(rho_*), the gap of rho itself [NWS22].

        Gibbs(rho) = rho exp(-u)/E exp(-u) with u = beta sum w (m - z) phi, so KL = log E exp(E u - u).
        """
        u = self.beta * (self.features @ self.residual)
        u -= self.masses @ u
        if np.abs(u).max() > 1.0:  # far from the fixed point, where exp could overflow
            return float(logsumexp(self.log_masses - u)) / self.beta
        return max(0.0, math.log1p(float(self.masses @ (np.expm1(-u) + u)))) / self.beta

    def at(self, y: Array) -> GibbsLaw:
        """The law with other multipliers, on the same cells."""
        psi = self.table.V(None, None) + self.table.ridge + self.features @ y
        exponent = self.cells.log_reference - self.beta * psi
        log_partition = float(logsumexp(exponent))
        dual = 0.5 - 0.5 * float(y @ y) - log_partition / self.beta
        log_masses = exponent - log_partition
        return replace(self, y=y, psi=psi, log_masses=log_masses, log_partition=log_partition, dual=dual)


def gibbs_law(problem: Problem, cells: Cells, like: GibbsLaw | None = None) -> GibbsLaw:
    """The law on ``cells`` with the multipliers and steps of ``like``; ``None``: zero, the law of V and the ridge."""
    table = tabulated(problem, cells.centres)
    w = table.weights(problem.parameters)
    features, zero = table.features(None, None) * np.sqrt(w), np.zeros(len(w))
    blank = GibbsLaw(cells, table, problem.beta, features, zero, zero, zero, 0.0, 0.0)
    return blank.at(zero) if like is None else replace(blank, steps=like.steps).at(like.y)


def dual_maximum(law: GibbsLaw, gap: float, max_iterations: int) -> GibbsLaw:
    """Maximise D by Newton's method with backtracking, from any start.

    Once the gap is met, steps go on for as long as each divides it by four: the last ones cost little, and
    at large beta the law needs them (its error is beta gap, not gap).  Returns the best law reached.
    """
    for _ in range(max_iterations):
        step = _newton_step(law)
        slope, rounding, fraction = float(law.residual @ step), 1e-14 * (1.0 + abs(law.dual)), 1.0
        new = law.at(law.y + step)
        while not new.dual >= law.dual + 1e-4 * fraction * slope - rounding and fraction > 1e-12:
            fraction /= 2
            new = law.at(law.y + fraction * step)
        new = replace(new, steps=law.steps + 1)
        if law.gap <= gap and not new.gap < 0.25 * law.gap:
            return new if new.gap < law.gap else replace(law, steps=new.steps)
        law = new
    return law


def _newton_step(law: GibbsLaw) -> Array:
    held = law.masses > 1e-18  # the others change no digit of the covariance
    X = law.features[held] - law.masses @ law.features
    X *= np.sqrt(law.beta * law.masses[held])[:, None]
    wide = X.shape[0] < X.shape[1]  # (I + X^T X)^-1 g = g - X^T (I + X X^T)^-1 X g
    gram = X @ X.T if wide else X.T @ X
    if not np.isfinite(gram).all():
        raise NumericalFailure("the covariance of the features overflows: give a larger lam, or bounds")
    factor, g = cho_factor(np.eye(len(gram)) + gram), law.residual
    return np.asarray(g - X.T @ cho_solve(factor, X @ g) if wide else cho_solve(factor, g))


_Ends = list[tuple[float, float]]  # of every coordinate, possibly infinite
_Maps = list[tuple[Array, Array]]  # of every coordinate: points of [0, 1] and their images, both increasing


def _checked(problem: Problem, config: StationaryConfig) -> tuple[_Ends, tuple[int, ...]]:
    """The interval of every coordinate and its number of cells; BadInput for what this method does not take."""
    names = tuple(problem.module.COORDINATES)
    if math.isinf(problem.beta):
        raise BadInput(f"beta = {problem.beta}: a Gibbs law needs noise: give beta < inf, e.g. beta=1000")
    if len(names) not in PILOT_CELLS:
        raise BadInput(f"coordinates {', '.join(names)}: densities are held in at most {max(PILOT_CELLS)}")
    top = math.inf if config.r_max is None else float(config.r_max)
    ends = [(0.0, top) if is_radial(name) else (-math.inf, math.inf) for name in names]
    # cells and bounds are checked where every solver's are; there an unbounded coordinate needs some ends
    given = config.bounds or tuple(np.clip(ends, -NEAR, NEAR).ravel().tolist())
    counts = first_cells(problem, config.cells, bounds=given).shape
    if config.bounds is not None:
        ends = list(zip(config.bounds[::2], config.bounds[1::2], strict=True))
    features, total = len(problem.module.weights(problem.parameters)), math.prod(counts)
    root = 1 / len(names)
    if total * features > MOST_NUMBERS:
        raise BadInput(
            f"cells = {config.cells}: {total} cells times {features} features are more than {MOST_NUMBERS} numbers: "
            f"give at most cells=({int((MOST_NUMBERS / features) ** root)},), or a larger tolerance of the model"
        )
    if config.rates and len(names) == 3 and total > MOST_CELLS_3D:
        raise BadInput(
            f"cells = {config.cells}: {total} cells are more than {MOST_CELLS_3D}, too many for relaxation rates: "
            f"give at most cells=({int(MOST_CELLS_3D**root + 1e-9)},), or rates=0"
        )
    return ends, counts


def _logarithmic(problem: Problem, ends: _Ends, far: float) -> Cells:
    """Cells spaced by logarithms of |x|, unbounded coordinates out to ``far`` times what the ridge allows.

    Under the ridge alone beta lam |x|^2 is chi^2 with n degrees of freedom, of which at most e^(-40) lies
    above n + 2 sqrt(40 n) + 80 [Laurent and Massart, Ann. Statist. 28(5), 2000, lemma 1].
    """
    dimensions, edges, pull = problem.orbit_dimensions(), [], problem.beta * problem.lam
    features = max(1, len(problem.module.weights(problem.parameters)))
    count = min(PILOT_CELLS[len(ends)], int((MOST_NUMBERS / features) ** (1 / len(ends))))
    for (lower, upper), n in zip(ends, dimensions, strict=True):
        top = max(NEAR, math.sqrt((n + 2 * math.sqrt(40 * n) + 80) / pull) if pull > 0 else 0.0)
        first, last = max(lower, -far * top), min(upper, far * top)
        u = np.linspace(math.asinh(first / FINEST), math.asinh(last / FINEST), count + 1)
        axis = FINEST * np.sinh(u)
        axis[0], axis[-1] = first, last
        edges.append(axis)
    return Cells(tuple(problem.module.COORDINATES), tuple(edges), dimensions)


def _cut(maps: _Maps, like: Cells, counts: tuple[int, ...]) -> Cells:
    """Cells between images of evenly spaced s under a smooth monotone x(s), so many of each coordinate."""
    edges = [
        PchipInterpolator(s, x)(np.linspace(0, 1, n + 1)) for (s, x), n in zip(maps, counts, strict=True)
    ]
    for ends, (_, x) in zip(edges, maps, strict=True):
        ends[0], ends[-1] = x[0], x[-1]
    return replace(like, edges=tuple(edges))


def _layout(law: GibbsLaw, ends: _Ends, also: Cells | None = None) -> _Maps:
    """Where to lay cells for ``law``: half of them evenly spaced, half where the law is.

    Each interval holds all but ``TAIL`` of the law on each side, and the cells ``also``.  The second half
    follows (|rho''| + rho'^2/rho)^(1/3), which balances the errors h^3 rho''/24 of the midpoint rule and gives
    each bump a part that depends on its mass, but not on its width; the second term fills in where rho'' = 0.
    """
    maps: _Maps = []
    for axis, edges in enumerate(law.cells.edges):
        p = np.exp(_log_marginal(law, axis))
        first = int(np.searchsorted(np.cumsum(p), TAIL))
        last = len(p) - int(np.searchsorted(np.cumsum(p[::-1]), TAIL))
        # one cell more: where the law is not resolved, its mass may lie anywhere in its cell
        lower, upper = float(edges[max(first - 1, 0)]), float(edges[min(last + 1, len(p))])
        lower -= edges[len(p) // 4] - edges[0] if p[0] > EDGE_MASS else 0.0
        upper += edges[-1] - edges[-len(p) // 4] if p[-1] > EDGE_MASS else 0.0
        if also is not None:
            lower, upper = min(lower, also.edges[axis][0]), max(upper, also.edges[axis][-1])
        # a sliver between the interval and a wall is not worth leaving out
        lower = ends[axis][0] if lower - ends[axis][0] < 0.02 * (upper - lower) else lower
        upper = ends[axis][1] if ends[axis][1] - upper < 0.02 * (upper - lower) else upper
        h, x = np.diff(edges), (edges[1:] + edges[:-1]) / 2
        rho = np.maximum(p / h, 1e-300)
        slope = np.pad(np.diff(rho) / np.diff(x), 1, mode="edge")
        crowd = h * np.cbrt(np.abs(np.diff(slope)) / h + np.abs(slope[1:] * slope[:-1]) / rho)
        # smoothly, or uneven cells would make differences that make uneven cells
        window = np.bartlett(2 * (len(p) // 32) + 7)
        crowd = np.convolve(np.pad(crowd, len(window) // 2, mode="edge"), window, mode="valid")
        x = np.concatenate([[lower], edges[(edges > lower) & (edges < upper)], [upper]])
        share = np.interp(x, edges, np.concatenate([[0.0], np.cumsum(crowd)]))
        share = 0.5 * (share - share[0]) / (share[-1] - share[0]) + 0.5 * (x - lower) / (upper - lower)
        maps.append((share, x))
    return maps


def _passes(problem: Problem, config: StationaryConfig, ends: _Ends) -> Iterator[tuple[GibbsLaw, _Maps]]:
    """The fixed point on pilot cells and the layout that it asks for, until that has settled.

    The fixed point on a box is that of the whole domain if and only if its Psi gives no mass to the rest; a
    scan far beyond the cells looks after every pass.  Where Psi grows like the ridge (trained output weights)
    it may see a direction in which an error of the multipliers outweighs lam; it then tells nothing, and
    the box grows until its outermost cells hold less than ``EDGE_MASS``.
    """
    free = problem.beta * problem.lam == 0 and not np.isfinite(ends).all()
    scan = gibbs_law(problem, _logarithmic(problem, ends, ASYMPTOTIC if free else FAR))
    law = scan if free else gibbs_law(problem, _logarithmic(problem, ends, 1.0))
    for number in range(PASSES):
        law = dual_maximum(law, config.gap, config.max_iterations)
        seen = scan.at(law.y)
        unheld = _unheld(seen, ends)
        if free and unheld:
            raise BadInput(
                f"lam = {problem.lam:g}: exp(-beta Psi) times the area of the orbits cannot be normalised towards {unheld}, "
                "so there is no Gibbs law: give lam > 0, or a bounded domain (r_max=... or bounds=...)"
            )
        elsewhere = not unheld and _outside(law, seen) > EDGE_MASS
        new = _layout(seen, ends, law.cells) if elsewhere else _layout(law, ends)
        yield law, new
        _check_gap(law, config)
        following = _cut(new, law.cells, law.cells.shape)
        both = list(zip(law.cells.edges, following.edges, strict=True))
        if all(np.all(np.abs(after - before) <= np.gradient(before)) for before, after in both):
            return  # no edge has moved by more than a cell
        if number > 4:  # where cells are few, layouts may take turns: meet halfway
            following = replace(following, edges=tuple((before + after) / 2 for before, after in both))
        law = gibbs_law(problem, following, law)
    # cells that keep changing carry a law, too, and risk_error tells how well; but they have to hold it
    for axis, name in enumerate(law.cells.coordinates):
        for place, end in zip((0, -1), ends[axis], strict=True):
            edge, held = law.cells.edges[axis][place], math.exp(_log_marginal(law, axis)[place])
            if edge != end and held > EDGE_MASS:
                unheld = f"the outermost cell, at {name} = {edge:.4g}, still holds {held:.1e} of the law"
                raise NumericalFailure(f"{unheld} after {PASSES} passes: give bounds or a smaller beta")


def _check_gap(law: GibbsLaw, config: StationaryConfig) -> None:
    if not law.gap <= config.gap:
        reached = f"the duality gap is {law.gap:.1e} after {config.max_iterations} Newton steps"
        raise NumericalFailure(f"{reached}, above gap = {config.gap:g}: raise max_iterations, or gap")


def _log_marginal(law: GibbsLaw, axis: int) -> Array:
    """log of the masses of the slices across one axis."""
    others = tuple(i for i in range(len(law.cells.shape)) if i != axis)
    return np.asarray(logsumexp(law.log_masses.reshape(law.cells.shape), axis=others))


def _outside(law: GibbsLaw, seen: GibbsLaw) -> float:
    """What ``seen``, of the same multipliers, holds in cells wholly outside those of ``law``, which hold one."""
    outside = np.zeros(seen.cells.shape, dtype=bool)
    for axis, (scan, ends) in enumerate(zip(seen.cells.edges, law.cells.edges, strict=True)):
        beyond = (scan[1:] <= ends[0]) | (scan[:-1] >= ends[-1])
        outside |= beyond.reshape([-1 if i == axis else 1 for i in range(outside.ndim)])
    log_mass = np.logaddexp.reduce(seen.log_masses[outside.ravel()]) + seen.log_partition - law.log_partition
    return math.exp(min(log_mass, 700.0))


def _unheld(seen: GibbsLaw, ends: _Ends) -> str:
    """Where the mass of cells of equal width in log |x| does not fall towards an infinite end; "" if it does."""
    for axis, name in enumerate(seen.cells.coordinates):
        marginal = _log_marginal(seen, axis)
        for end, (inner, outer) in zip(ends[axis], (marginal[1::-1], marginal[-2:]), strict=True):
            if math.isinf(end) and not outer < inner:
                return f"{name} = {end:g}"
    return ""


def solve(
    problem: Problem,
    config: StationaryConfig = StationaryConfig(),
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    """The Gibbs fixed point of ``problem``, certified by its duality gap, and its slowest relaxation rates.

    The initial law, the schedule and the snapshots of ``problem`` play no part: there is one fixed point.
    Order 2 in the width of the cells, which are laid out where the law is.

    Returns
    -------
    Trajectory
        one snapshot and one record, both at time ``inf``, which they are the limit of; points are cell
        centres, weights cell masses.  Further variables: ``edges_r`` etc.; ``moments`` (feature,) int phi_k
        drho; (record,): ``free_energy`` F, ``gap`` F - D(z), ``gibbs_gap`` (1/beta) KL(rho || Gibbs(rho)),
        ``risk_error``, Richardson's estimate from half the cells; ``relaxation_rates`` (mode,) ascending in
        the clock tau, and ``relaxation_modes`` (mode, point), as ``solvers.stability.relaxation`` has them.

    Raises
    ------
    BadInput
        beta = inf, more than three coordinates, cells or bounds without meaning, too many cells, or a law
        that cannot be normalised (lam = 0 on an unbounded domain).
    NumericalFailure
        the gap was not reached or the cells did not settle; ``partial`` holds the last law.
    """
    start = time.perf_counter()
    report = progress or (lambda fraction: None)
    ends, counts = _checked(problem, config)
    law: GibbsLaw | None = None
    try:
        for law, maps in _passes(problem, config, ends):  # noqa: B007
            report(0.5)
        assert law is not None
        risks = []
        for cells in (_cut(maps, law.cells, tuple(n // 2 for n in counts)), _cut(maps, law.cells, counts)):
            law = dual_maximum(gibbs_law(problem, cells, law), config.gap, config.max_iterations)
            _check_gap(law, config)
            risks.append(_risk(problem, law))
        extra: dict[str, Any] = {"risk_error": (("record",), [abs(risks[1] - risks[0]) / 3])}
        if config.rates:
            slow = relaxation(law.cells, problem.beta, law.psi, law.masses, law.features, config.rates)
            extra["relaxation_rates"] = (("mode",), slow.rates)
            extra["relaxation_modes"] = (("mode", "point"), slow.modes)
    except NumericalFailure as failure:
        partial = _assemble(problem, config, law, start) if law else None
        raise NumericalFailure(f"stationary: {failure}", partial) from failure
    report(1.0)
    return _assemble(problem, config, law, start, extra)


def _risk(problem: Problem, law: GibbsLaw) -> float:
    return risk(law.table, Measure(law.cells.centres, law.masses), problem.parameters)


def _assemble(
    problem: Problem,
    config: StationaryConfig,
    law: GibbsLaw,
    start: float,
    extra: dict[str, Any] | None = None,
) -> Trajectory:
    """The trajectory; incomplete without ``extra``."""
    cells, rho = law.cells, Measure(law.cells.centres, law.masses)
    energy = free_energy(problem, law.table, cells.log_reference, law.masses)
    certificates = {"free_energy": energy, "gap": law.gap, "gibbs_gap": law.gibbs_gap}
    return Trajectory.assemble(
        times=[math.inf],
        measures=[rho],
        coordinates=cells.coordinates,
        record_times=[math.inf],
        record_risk=[_risk(problem, law)],
        extra={
            **{
                f"edges_{name}": ((f"edge_{name}",), edges)
                for name, edges in zip(cells.coordinates, cells.edges, strict=True)
            },
            **{name: (("record",), [value]) for name, value in certificates.items()},
            "moments": (("feature",), feature_moments(law.table, rho, problem.parameters)),
            **(extra or {}),
        },
        attrs={
            "method": "stationary",
            "model": problem.module.NAME,
            "parameters": {name: np.asarray(v).tolist() for name, v in problem.parameters.items()},
            "beta": problem.beta,
            "lam": problem.lam,
            "radial_entropy": int(problem.radial_entropy),
            "config": asdict(config),
            "steps": law.steps,
            "wall_time": time.perf_counter() - start,
            "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        },
        complete=extra is not None,
    )
