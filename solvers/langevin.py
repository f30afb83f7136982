"""A cloud of interacting Langevin particles: the mean-field equation itself, sampled instead of solved.

Each of J units moves by the mean-field Langevin equation in the space of its weights [MMN18],

    dw_i = -2 grad Psi_lam(w_i; rho_J) dtau + sqrt(4/beta) dB_i,    rho_J = (1/J) sum_i delta_{w_i},

tau the clock of the step schedule.  As J grows, rho_J tends to the solution of the Fokker-Planck equation
at rate J^(-1/2).  Only the reduced coordinates are kept.  A Gaussian step of a block w of n weights with
drift along w moves its norm to

    r -> sqrt( (r + s g)^2 + s^2 c ),    g ~ N(0, 1),   c ~ chi^2_{n-1},

whatever the direction of w.  So the law of the norms is exactly that of full weight vectors, r -> 0
included: the drift (n - 1)/r of the radial equation is never evaluated.  Everything is dimensionless.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy

from solvers.cells import tabulated
from workbench.checks import real_number, whole_number
from workbench.errors import BadInput, NumericalFailure
from workbench.initial import GaussianInitialLaw, is_radial
from workbench.measure import Array, Measure, Psi, feature_moments, grad_Psi, risk
from workbench.problem import Problem
from workbench.trajectory import Trajectory

MOST_STEPS = 10**8
# Nodes of the table of a field in one coordinate: doubled from the fewest until its slopes agree with the
# module's to TABLE_TOLERANCE, some hundred times below the error of the cloud itself.
FEWEST_NODES, MOST_NODES, TABLE_TOLERANCE = 2048, 65536, 1e-6
WORST_PLACE = 0.5 - 0.5 / math.sqrt(3.0)  # of a cell, where the slope of Hermite's cubic is worst


@dataclass(frozen=True)
class LangevinConfig:
    """How to run the cloud; BadInput when a value has no meaning.

    particles
        number J >= 1 of particles.
    dt
        longest step in the clock tau; the steps between two records are equal.
    seed
        0 <= seed < 2^63; initial cloud and noise are two independent streams of it.
    """

    particles: int = 20_000
    dt: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        whole_number("particles", self.particles, 1)
        whole_number("seed", self.seed, 0, 2**63 - 1)
        if not 0 < real_number("dt", self.dt) < math.inf:
            raise BadInput(f"dt = {self.dt} is not a step: give a finite dt > 0, e.g. dt=0.01")


@np.errstate(over="ignore", invalid="ignore")  # a cloud that is lost overflows; its positions tell
def solve(
    problem: Problem,
    config: LangevinConfig = LangevinConfig(),
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    """Follow the cloud from independent draws of the initial law.

    Strang's splitting: half a step of noise and ridge, one of the force -2 grad Psi by Heun's method, half
    a step of noise and ridge.  Noise and ridge together are an Ornstein-Uhlenbeck process, done exactly, so
    that with V = U = 0 there is no error in dt.  Weak order 2 in dt where Psi is smooth; norms that the
    force drives beyond 0 are put back to 0.

    Returns
    -------
    Trajectory
        measures of J points of weight 1/J in the coordinates of the module at each snapshot, the risk at
        each record, and ``risk_se`` (record), its standard error 2 std(Psi)/sqrt(J) were the particles
        independent draws of the law at that time.

    Raises
    ------
    BadInput
        for beta = inf (use the method particles), d = inf, an initial law that is not Gaussian, and
        clouds or runs beyond the machine.
    NumericalFailure
        when a position or a risk is no longer finite; ``partial`` holds the run up to there.
    """
    _check(problem, config)
    start = time.perf_counter()
    initial, noise = (np.random.default_rng(s) for s in np.random.SeedSequence(config.seed).spawn(2))
    x = initial_cloud(problem, config.particles, initial)
    force, agitate = _Force(problem), _Agitation(problem, noise)

    snapshots: list[tuple[float, Measure]] = []
    records: list[tuple[float, float, float]] = []
    steps, tau, at = 0, 0.0, 0.0

    def trajectory(complete: bool) -> Trajectory:
        columns = np.array(records, dtype=float).reshape(-1, 3).T
        return Trajectory.assemble(
            times=[t for t, _ in snapshots],
            measures=[rho for _, rho in snapshots],
            coordinates=problem.module.COORDINATES,
            record_times=columns[0],
            record_risk=columns[1],
            extra={"risk_se": (("record",), columns[2])},
            attrs={
                "method": "langevin",
                "model": problem.module.NAME,
                "parameters": {name: np.asarray(v).tolist() for name, v in problem.parameters.items()},
                "initial": problem.initial.describe(),
                "lam": problem.lam,
                "beta": problem.beta,
                "xi_exponent": problem.schedule.exponent,
                "radial_entropy": problem.radial_entropy,
                "config": asdict(config),
                "seed": config.seed,
                "steps": steps,
                "wall_time": time.perf_counter() - start,
                "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
            },
            complete=complete,
        )

    try:
        for t in problem.all_times():
            landing = float(problem.schedule.clock(np.asarray(t)))
            count = max(1, math.ceil((landing - tau) / config.dt * (1 - 1e-12)))
            dt = (landing - tau) / count
            # the halves between two steps of force are one whole step of noise: the same law, half the draws
            x = agitate(x, dt / 2)
            for step in range(count):
                x = force.heun(x, dt)
                x = agitate(x, dt if step < count - 1 else dt / 2)
                steps, at = steps + 1, problem.schedule.time(tau + (step + 1) * dt)
                if progress is not None and steps % 64 == 0:
                    progress(min(at, t) / problem.t_end)
            tau = landing
            records.append((t, *force.risk(x)))
            if t in problem.snapshots:
                snapshots.append((t, Measure.uniform(x)))
            if progress is not None:
                progress(t / problem.t_end)
    except NumericalFailure as failure:
        raise NumericalFailure(
            f"langevin: the cloud was lost after step {steps}, at t = {at:.6g}: {failure}; "
            f"try a smaller step, e.g. dt={config.dt / 4:.3g}",
            trajectory(complete=False),
        ) from failure
    return trajectory(complete=True)


def initial_cloud(problem: Problem, particles: int, rng: np.random.Generator) -> Array:
    """Independent draws of the initial law in reduced coordinates, shape (particles, D)."""
    law = problem.initial
    assert isinstance(law, GaussianInitialLaw)
    scale = law.kappa / math.sqrt(problem.d)
    columns = []
    for name, n in zip(problem.module.COORDINATES, problem.weight_dimensions(), strict=True):
        if is_radial(name):
            columns.append(scale * np.sqrt(rng.chisquare(n, particles)))
        else:
            mean, std = {"a": (law.a_mean, law.a_std), "b": (law.b_mean, law.b_std), "m": (0.0, scale)}[name]
            columns.append(mean + std * rng.standard_normal(particles))
    return np.stack(columns, axis=1)


class _Agitation:
    """Noise and ridge of ``problem`` for a time h, exactly: dw = -2 lam w dtau + sqrt(4/beta) dB.

    w(h) = e^(-2 lam h) w + s g with s^2 = (1 - e^(-4 lam h))/(beta lam), and 4 h/beta at lam = 0; a norm of
    n weights moves as the head of this file says.
    """

    def __init__(self, problem: Problem, rng: np.random.Generator) -> None:
        self.lam, self.beta, self.rng = problem.lam, problem.beta, rng
        self.radial = [is_radial(name) for name in problem.module.COORDINATES]
        self.across = [n - 1.0 for n in problem.orbit_dimensions()]

    def __call__(self, x: Array, h: float) -> Array:
        """The cloud x (J, D) after a time ``h``."""
        exponent = 4.0 * self.lam * h
        variance = 4.0 * h / self.beta * (-math.expm1(-exponent) / exponent if exponent > 0 else 1.0)
        x = math.exp(-exponent / 2) * x + math.sqrt(variance) * self.rng.standard_normal(x.shape)
        for i, (radial, across) in enumerate(zip(self.radial, self.across, strict=True)):
            if radial:
                # across = 0: a norm that diffuses on the half-line is reflected at 0
                chi_squared = self.rng.chisquare(across, len(x)) if across > 0 else 0.0
                x[:, i] = np.sqrt(x[:, i] ** 2 + variance * chi_squared)
        return x


class _Force:
    """-2 grad Psi(x_i; rho_J) of the cloud on itself, by way of the K moments of the features."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.radial = np.array([is_radial(name) for name in problem.module.COORDINATES])
        self.table: _Table | None = None
        self.direct = len(problem.module.COORDINATES) > 1

    def heun(self, x: Array, h: float) -> Array:
        """The cloud x (J, D) after a step ``h`` of dx/dtau = -2 grad Psi, of order 2."""
        first = self(x)
        second = self(self._inside(x + h * first))
        return self._inside(x + 0.5 * h * (first + second))

    def __call__(self, x: Array) -> Array:
        """-2 grad Psi at the particles x (J, D), same shape."""
        table = self._covered(x)
        if table is not None:
            return -2.0 * table.gradient(x)
        module, p = self.problem.module, self.problem.parameters
        return -2.0 * grad_Psi(module, x, feature_moments(module, Measure.uniform(x), p), p)

    def risk(self, x: Array) -> tuple[float, float]:
        """R(rho_J) of the cloud x (J, D) and 2 std(Psi)/sqrt(J), as R varies by 2 int Psi d(rho_J - rho)."""
        problem, p, rho = self.problem, self.problem.parameters, Measure.uniform(x)
        table = self._covered(x)
        module: Any = tabulated(problem, x) if table is None else table.at(x)
        value = risk(module, rho, p)
        spread = float(Psi(module, x, feature_moments(module, rho, p), p).std())
        if not (math.isfinite(value) and math.isfinite(spread)):
            raise NumericalFailure(f"the risk became {value}")
        return value, 2.0 * spread / math.sqrt(len(x))

    def _inside(self, x: Array) -> Array:
        return np.where(self.radial, np.maximum(x, 0.0), x)

    def _covered(self, x: Array) -> _Table | None:
        """A table that reaches all of x, made anew where need be; None where the module itself is to be used."""
        if not np.isfinite(x).all():
            raise NumericalFailure("positions are not finite")
        if not self.direct and (self.table is None or x.max() > self.table.reach):
            self.table = _Table.resolving(self.problem, 1.5 * float(x.max()))
            self.direct = self.table is None
        return self.table


@dataclass(frozen=True)
class _Table:
    """V and the features of a model in one coordinate as Hermite's piecewise cubics on equal cells.

    The cloud is deposited on the nodes with the cubics' values and reads the field off with their slopes,
    so J particles cost O(J + nodes K) instead of J K module evaluations, and remain an exact gradient flow
    of the tabulated risk.  ``values``, ``slopes`` (nodes, 1 + K): V first.
    """

    width: float
    values: Array
    slopes: Array
    kernel_weights: Array

    @classmethod
    def resolving(cls, problem: Problem, reach: float) -> _Table | None:
        """A table of [0, reach] that holds slopes to TABLE_TOLERANCE of the largest; None if none does."""
        module, p = problem.module, problem.parameters
        w = np.asarray(module.weights(p), dtype=float)
        nodes = FEWEST_NODES
        while nodes <= MOST_NODES:
            r = np.linspace(0.0, reach, nodes + 1)
            table = cls(float(r[1]), *_sampled(module, r, p), w)
            place = r[:-1] + WORST_PLACE * r[1]
            exact = _sampled(module, place, p)[1]
            # the slope of Psi = V + sum w phi m moves by at most this, as |m| <= max |phi|
            gain = np.concatenate([[1.0], w * np.abs(table.values[:, 1:]).max(axis=0)])
            error = np.abs(table.slope(place, table.values, table.slopes) - exact) @ gain
            if error.max() <= TABLE_TOLERANCE * (np.abs(exact) @ gain).max():
                return table
            nodes *= 2
        return None

    @property
    def reach(self) -> float:
        """Where the table ends."""
        return self.width * (len(self.values) - 1)

    def gradient(self, x: Array) -> Array:
        """grad Psi(x_i; rho_J) of the cloud x (J, 1) on itself, same shape."""
        cell, s = self._locate(x[:, 0])
        size = len(self.values)

        def deposit(left: Array, right: Array) -> Array:
            return np.bincount(cell, left, size) + np.bincount(cell + 1, right, size)

        even = deposit((1 + 2 * s) * (1 - s) ** 2, s**2 * (3 - 2 * s))
        odd = self.width * deposit(s * (1 - s) ** 2, -(s**2) * (1 - s))
        moments = (even @ self.values[:, 1:] + odd @ self.slopes[:, 1:]) / len(x)
        combination = np.concatenate([[1.0], self.kernel_weights * moments])
        return self.slope(x[:, 0], self.values @ combination, self.slopes @ combination)[:, None]

    def slope(self, r: Array, values: Array, slopes: Array) -> Array:
        """Slopes at r (n,) of the cubics with these ``values`` and ``slopes`` (nodes, ...): (n, ...)."""
        cell, s = self._locate(r)
        s = s.reshape(-1, *(1,) * (values.ndim - 1))
        rise = (values[cell + 1] - values[cell]) / self.width
        return np.asarray(
            6 * s * (1 - s) * rise + (1 - s) * (1 - 3 * s) * slopes[cell] + s * (3 * s - 2) * slopes[cell + 1]
        )

    def at(self, x: Array) -> SimpleNamespace:
        """V and the features at the particles x (J, 1), read once, as a module that ignores its argument."""
        cell, s = self._locate(x[:, 0])
        s = s[:, None]
        ends = (1 + 2 * s) * (1 - s) ** 2 * self.values[cell] + s**2 * (3 - 2 * s) * self.values[cell + 1]
        bend = s * (1 - s) ** 2 * self.slopes[cell] - s**2 * (1 - s) * self.slopes[cell + 1]
        values = ends + self.width * bend
        return SimpleNamespace(
            V=lambda x, p: values[:, 0],
            features=lambda x, p: values[:, 1:],
            weights=lambda p: self.kernel_weights,
        )

    def _locate(self, r: Array) -> tuple[Any, Array]:
        cell = np.minimum((r / self.width).astype(np.intp), len(self.values) - 2)
        return cell, r / self.width - cell


def _sampled(module: Any, r: Array, p: Any) -> tuple[Array, Array]:
    """Values and slopes of V and the features at r (n,): twice (n, 1 + K)."""
    x = r[:, None]
    values = np.concatenate([module.V(x, p)[:, None], module.features(x, p)], axis=1)
    slopes = np.concatenate([module.grad_V(x, p), module.grad_features(x, p)[..., 0]], axis=1)
    if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
        raise NumericalFailure(f"the module's field is not finite between r = 0 and {r[-1]:.3g}")
    return values, slopes


def _check(problem: Problem, config: LangevinConfig) -> None:
    """Raise BadInput for what has no cloud, or one beyond the machine."""
    if math.isinf(problem.beta):
        raise BadInput(
            "beta = inf: without noise there is nothing to draw; give a finite beta, or use the method particles"
        )
    if math.isinf(problem.d):
        raise BadInput(
            f"d = {problem.d}: noise in infinitely many dimensions has no finite norm; give a finite d"
        )
    if not isinstance(problem.initial, GaussianInitialLaw):
        raise BadInput(
            f"initial = {problem.initial!r}: particles are drawn from a GaussianInitialLaw; "
            "use the method fokker-planck for a density"
        )
    numbers = config.particles * len(problem.module.weights(problem.parameters))
    if numbers * len(problem.module.COORDINATES) > 1e9:
        raise BadInput(f"particles = {config.particles} need more than 8 GB of features: give fewer")
    steps = float(problem.schedule.clock(np.asarray(problem.t_end))) / config.dt
    if steps > MOST_STEPS:
        raise BadInput(f"dt = {config.dt} takes {steps:.0e} steps: give a larger dt")
