"""Weighted atoms along the characteristics of the distributional dynamics.

Without noise the distributional dynamics moves each unit by dx/dtau = -2 grad Psi_lam(x; rho), tau the
clock of the step schedule [MMN18], in whatever coordinates x the model is reduced to.  So a cloud of
weighted atoms is an exact solution of the dynamics started from the cloud, and what is left is to
represent the initial law: by quantiles on a line, by Gauss's rules for several coordinates.
Everything is dimensionless.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import reduce

import numpy as np
import scipy
from scipy.integrate import DOP853
from scipy.linalg import eigh_tridiagonal

from workbench.checks import MOST, whole_number
from workbench.errors import BadInput, NumericalFailure
from workbench.initial import GaussianInitialLaw, is_radial
from workbench.measure import Array, Measure, feature_moments, grad_Psi, risk
from workbench.problem import Problem
from workbench.trajectory import Trajectory

MOST_NODES = 1000  # of a Gauss rule: its cost grows like their square, and smooth flows need some ten
FAINT = 1e-16  # mass of an atom that nobody sees and that costs as much as the others


@dataclass(frozen=True)
class ParticlesConfig:
    """How many atoms there are, and how well they are followed; BadInput when a value has no meaning.

    atoms
        number J of atoms.  Where v > 1 coordinates vary under the initial law, each of them gets J^(1/v)
        nodes, rounded down; a tuple gives the nodes of each coordinate.  See ``initial_atoms``.
    rtol, atol
        error per step of the Runge-Kutta method.
    """

    atoms: tuple[int, ...] | int = 400
    rtol: float = 1e-8
    atol: float = 1e-10

    def __post_init__(self) -> None:
        if isinstance(self.atoms, tuple) and len(self.atoms) == 1:
            object.__setattr__(self, "atoms", self.atoms[0])
        for count in self.atoms if isinstance(self.atoms, tuple) else (self.atoms,):
            whole_number("atoms", count, 1)
        for name in ("rtol", "atol"):
            if not 1e-13 <= getattr(self, name) < 1:
                raise BadInput(f"{name} = {getattr(self, name)}: give 1e-13 <= {name} < 1")


def initial_atoms(problem: Problem, atoms: tuple[int, ...] | int) -> Measure:
    """The initial law as atoms: points (n, D), weights (n,).

    One coordinate: J quantiles.  Several: the product of Gauss's rules, one for each coordinate, without
    the atoms whose mass is below ``FAINT``; a coordinate without spread (a_std = 0, or a radius at d = inf)
    takes one node.  As long as the flow is smooth in the initial position the error falls exponentially in
    the nodes; where it tears the cloud apart it is of the order of the largest mass of an atom.

    Raises
    ------
    BadInput
        for a tuple of another length, rules beyond ``MOST_NODES``, blocks whose shares at d = inf are open.
    """
    names, law = tuple(problem.module.COORDINATES), problem.gaussian_initial
    given = atoms if isinstance(atoms, tuple) else (atoms,)
    if len(given) not in (1, len(names)):
        raise BadInput(
            f"atoms = {atoms}: give one number, or one for each of the coordinates {', '.join(names)}"
        )
    if len(names) == 1:
        return quantile_atoms(problem, given[0])
    sizes = problem.weight_dimensions()
    if sum(map(math.isinf, sizes)) > 1:
        raise BadInput("d = s0 = inf leaves the share of each block in the weights open: give a finite s0")
    spreads = [initial_spread(law, name, problem.d) for name in names]
    varying = sum(spread > 0 for spread in spreads)
    if len(given) == 1:
        given = (int(given[0] ** (1 / max(varying, 1)) * (1 + 1e-12)),) * len(names)
    counts = tuple(count if spread > 0 else 1 for count, spread in zip(given, spreads, strict=True))
    if max(counts) > MOST_NODES or math.prod(counts) > MOST:
        raise BadInput(
            f"atoms = {atoms} take {' x '.join(map(str, counts))} nodes for {', '.join(names)}: "
            f"give at most {MOST_NODES} nodes a coordinate, and at most {MOST} in all"
        )
    rules = [gauss_rule(law, *rest) for rest in zip(names, sizes, spreads, counts, strict=True)]
    points = np.stack(np.meshgrid(*(nodes for nodes, _ in rules), indexing="ij"), axis=-1)
    weights = reduce(np.multiply.outer, [masses for _, masses in rules]).ravel()
    held = weights >= min(FAINT, weights.max())
    return Measure(points.reshape(-1, len(names))[held], weights[held] / weights[held].sum())


def quantile_atoms(problem: Problem, atoms: int) -> Measure:
    """J atoms of mass 1/J at the quantiles (i + 1/2)/J of the initial law of r."""
    levels = (np.arange(atoms) + 0.5) / atoms
    return Measure.uniform(problem.gaussian_initial.radial_quantiles(levels, problem.d)[:, None])


def initial_spread(law: GaussianInitialLaw, name: str, d: float) -> float:
    """Standard deviation of a coordinate at t = 0, for a norm that of one of its weights; 0 at a point."""
    return {"a": law.a_std, "b": law.b_std}.get(name, law.kappa / math.sqrt(d))


def gauss_rule(
    law: GaussianInitialLaw, name: str, n: float, spread: float, count: int
) -> tuple[Array, Array]:
    """Nodes (count,) and masses (count,) of Gauss's rule for one coordinate of the initial law.

    For the norm r of n weights the rule is one in r^2, of which V and U are functions: exact for even
    polynomials in r of degree 4 count - 2, and for a Gaussian coordinate for all of degree 2 count - 1.
    Nodes are the eigenvalues of the Jacobi matrix of the orthogonal polynomials, masses the squared first
    components of its eigenvectors [Golub, Welsch, Math. Comp. 23 (1969)].
    """
    k = np.arange(count, dtype=float)
    if not is_radial(name):
        mean = {"a": law.a_mean, "b": law.b_mean, "m": 0.0}[name]
        nodes, vectors = eigh_tridiagonal(0.0 * k, np.sqrt(k[1:]))  # Hermite
        return mean + spread * nodes, vectors[0] ** 2
    if spread == 0:  # d = inf: all of kappa lies in the block of infinite dimension
        return np.array([law.kappa if math.isinf(n) else 0.0]), np.ones(1)
    # r^2/(2 spread^2) has the Gamma law of shape n/2: Laguerre
    nodes, vectors = eigh_tridiagonal(2.0 * k + n / 2, np.sqrt(k[1:] * (k[1:] + n / 2 - 1)))
    return spread * np.sqrt(2.0 * np.maximum(nodes, 0.0)), vectors[0] ** 2


@np.errstate(over="ignore", invalid="ignore")  # atoms that run away overflow; their positions tell
def solve(
    problem: Problem,
    config: ParticlesConfig = ParticlesConfig(),
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    """Solve the noiseless distributional dynamics by characteristics, in any coordinates.

    DOP853, order 8 in smooth stretches.  Norms are kept >= 0 by projection: beyond r = 0 the field is
    frozen at its one-sided limit r -> 0+, so an atom that arrives with speed crosses without a jump of the
    field, is put back to 0 after the step, and stays as long as Psi_lam grows with r.

    Returns
    -------
    Trajectory
        the ``initial_atoms``, moved and with their weights, at each snapshot, the risk at each record.

    Raises
    ------
    BadInput
        when the problem has noise (beta < inf) or an initial law that is not Gaussian, and where
        ``initial_atoms`` does.
    NumericalFailure
        when the step size falls below what float64 resolves, or a risk is no longer finite, with the
        trajectory so far.
    """
    if math.isfinite(problem.beta):
        raise BadInput(
            f"beta = {problem.beta}: atoms follow characteristics, which noise does not have; "
            "give beta=inf, or use the method fokker-planck"
        )
    start = time.perf_counter()
    module, p = problem.module, problem.parameters
    rho = initial_atoms(problem, config.atoms)
    radial = np.array([is_radial(name) for name in module.COORDINATES])

    def inside(y: Array) -> Array:
        x = y.reshape(-1, len(radial))
        return np.where(radial, np.maximum(x, 0.0), x)

    def velocity(_tau: float, y: Array) -> Array:
        x = inside(y)
        moments = feature_moments(module, Measure(x, rho.weights), p)
        return -2.0 * (grad_Psi(module, x, moments, p) + problem.lam * x).ravel()

    snapshots: list[Measure] = []
    times: list[float] = []
    risks: list[float] = []
    steps, tau, y, first_step = 0, 0.0, rho.points.ravel(), None

    def trajectory(complete: bool) -> Trajectory:
        return Trajectory.assemble(
            times=problem.snapshots[: len(snapshots)],
            measures=snapshots,
            coordinates=module.COORDINATES,
            record_times=times,
            record_risk=risks,
            attrs={
                "method": "particles",
                "model": module.NAME,
                "parameters": dict(p),
                "config": asdict(config),
                "initial": problem.initial.describe(),
                "kappa": problem.gaussian_initial.kappa,
                "lam": problem.lam,
                "xi_exponent": problem.schedule.exponent,
                "steps": steps,
                "wall_time": time.perf_counter() - start,
                "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
            },
            complete=complete,
        )

    for t in problem.all_times():
        end = float(problem.schedule.clock(np.asarray(t)))
        while tau < end:
            method = DOP853(
                velocity,
                tau,
                y,
                end,
                first_step=_within(first_step, end - tau),
                rtol=config.rtol,
                atol=config.atol,
            )
            while method.status == "running" and np.all(inside(method.y).ravel() == method.y):
                message = method.step()
                steps += 1
                if method.status == "failed" or not np.all(np.isfinite(method.y)):
                    raise NumericalFailure(
                        f"particles: the Runge-Kutta step failed at t = {problem.schedule.time(method.t):.6g} "
                        f"({message or 'non-finite positions'}); loosen rtol = {config.rtol} or end the run earlier",
                        trajectory(complete=False),
                    )
            # an atom crossed r = 0, or the time was reached: project, and start afresh from there
            tau, y = (end if method.status == "finished" else method.t), inside(method.y).ravel()
            first_step = method.h_abs
        if progress is not None:
            progress(t / problem.t_end)
        measure = Measure(y.reshape(rho.points.shape).copy(), rho.weights)
        value = risk(module, measure, p)
        if not math.isfinite(value):
            raise NumericalFailure(
                f"particles: the risk at t = {t:.6g} is {value}; end the run earlier",
                trajectory(complete=False),
            )
        times.append(t)
        risks.append(value)
        if t in problem.snapshots:
            snapshots.append(measure)
    return trajectory(complete=True)


def _within(step: float | None, span: float) -> float | None:
    """A first step that does not pass the end of the span."""
    return None if step is None else min(step, span)
