"""The global landscape of the risk: its infimum over all measures, beside the best single delta.

The risk R(rho) = 1 + 2 int V drho + sum_kappa w_kappa m_kappa^2 is convex in rho, so a measure carries its
own certificate: R(rho) - inf R <= 2 (int Psi drho - min Psi)  [MMN18].  Past a threshold the infimum sends
mass to r = infinity and is not attained; the limit point is then an atom at ``r = inf``.
Models of one coordinate r.  Everything is dimensionless.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import scipy

from solvers.landscape_atoms import Atoms, infimum, with_weights
from solvers.landscape_delta import DeltaThreshold, SingleDelta, delta_threshold, single_delta
from solvers.landscape_line import TOPS, Line, at_finite_radii, has_limit, line_of, radius
from workbench.checks import real_number, whole_number
from workbench.errors import BadInput, NumericalFailure
from workbench.measure import Measure, risk
from workbench.problem import Problem
from workbench.trajectory import Trajectory

__all__ = [
    "ConvexInfimum",
    "DeltaThreshold",
    "LandscapeConfig",
    "SingleDelta",
    "at_finite_radii",
    "convex_infimum",
    "delta_threshold",
    "single_delta",
    "solve",
]

FINEST = 1e-12  # gap that is aimed at: rounding errors of Psi are some 1e-14
BEYOND = (10.0, 100.0, 1000.0)  # times the end of the line, where an activation without limits is looked at


@dataclass(frozen=True)
class LandscapeConfig:
    """gap: largest optimality gap that is accepted, a hundredth of it is aimed at; rounds: of exchange, at most;
    r_max: atoms are sought at r <= r_max (inf: everywhere, r = infinity included).
    """

    gap: float = 1e-8
    rounds: int = 60
    r_max: float = math.inf

    def __post_init__(self) -> None:
        if not 1e-12 <= real_number("gap", self.gap) < 1:
            raise BadInput(f"gap = {self.gap}: give 1e-12 <= gap < 1")
        whole_number("rounds", self.rounds, 1, 10_000)
        if not real_number("r_max", self.r_max) >= 1e-6:
            raise BadInput(f"r_max = {self.r_max}: give r_max >= 1e-6, or inf for no bound")


@dataclass(frozen=True)
class ConvexInfimum:
    """A measure whose objective R + lam int r^2 drho is within ``gap`` of the infimum over all measures.

    rho: points (n, 1) by increasing r, weights (n,); the last point may be r = inf, the limit point.
    risk: R(rho); objective: the same where lam = 0.  gap: 2 (int Psi drho - min Psi), Psi with (lam/2) r^2,
    and min Psi lowered by the error to which it is known.  rounds: of exchange that it took.
    """

    rho: Measure
    risk: float
    objective: float
    gap: float
    rounds: int

    @property
    def lower(self) -> float:
        """A lower bound of the infimum."""
        return self.objective - self.gap


def convex_infimum(
    module: ModuleType,
    p: Mapping[str, Any],
    config: LandscapeConfig = LandscapeConfig(),
    *,
    lam: float = 0.0,
    progress: Callable[[float], None] | None = None,
) -> ConvexInfimum:
    """Minimise R(rho) + lam int r^2 drho over probability measures on r in [0, infinity]  [MMN18].

    A convex problem, solved by exchange: exact weights on finitely many atoms, the global minimum of Psi for
    the gap, its minima as new atoms, Newton steps of places and weights together; see ``landscape_atoms``.
    The limit point r = infinity takes part where V and all features have limits and lam = 0.  Without limits
    atoms are sought up to r = 1e2, 1e4 and 1e6 in turn, until an atom 10, 100 or 1000 times as far lowers the
    objective by less than the gap; the gap is then that over r up to the one reached.

    R is that of the module's kernel, a finite sum good to ``kernel_form(p).error``.

    Raises
    ------
    BadInput
        for a model with other coordinates than r, parameters the module refuses, lam out of range.
    NumericalFailure
        when the gap is not reached, when mass escapes, or where the module is not finite; ``partial`` holds a
        Trajectory as ``solve`` makes it, in the first two cases.
    """
    start = time.perf_counter()
    found, reason = _searched(module, p, config, lam, progress)
    if reason:
        raise NumericalFailure(
            reason, _trajectory(module, p, config, lam, found, None, time.perf_counter() - start)
        )
    return found


def solve(
    problem: Problem,
    config: LandscapeConfig = LandscapeConfig(),
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    """The global landscape of a problem: the best measure and the best single delta.

    Of the problem, the module, its parameters and the ridge lam count; nothing here depends on time, the
    initial law or the schedule.

    Returns
    -------
    Trajectory
        one snapshot and one record, at time 0, which stands for no time: the measure of ``convex_infimum``,
        where r = inf is the limit point (see ``at_finite_radii``), and its risk.  Further variables (record):
        objective, gap, atoms, mass_at_infinity of that measure; single_delta_risk, single_delta_objective,
        single_delta_r, single_delta_gap of ``single_delta``.

    Raises
    ------
    BadInput
        when the problem has noise (beta < inf), and as ``convex_infimum``.
    NumericalFailure
        as ``convex_infimum``.
    """
    if math.isfinite(problem.beta):
        raise BadInput(
            f"beta = {problem.beta}: the landscape is that of the risk, without entropy; "
            "give beta=inf, or use the method stationary"
        )
    start = time.perf_counter()
    module, p, lam = problem.module, problem.parameters, problem.lam
    found, reason = _searched(module, p, config, lam, progress)
    if reason:
        raise NumericalFailure(
            reason, _trajectory(module, p, config, lam, found, None, time.perf_counter() - start)
        )
    alone = single_delta(module, p, lam=lam, r_max=config.r_max)
    if progress is not None:
        progress(1.0)
    return _trajectory(module, p, config, lam, found, alone, time.perf_counter() - start)


def _searched(
    module: ModuleType,
    p: Mapping[str, Any],
    config: LandscapeConfig,
    lam: float,
    progress: Callable[[float], None] | None,
) -> tuple[ConvexInfimum, str]:
    """The best measure found, and why it is not good enough; nothing if it is."""
    line = line_of(module, p, lam, config.r_max)
    tops = (line.top,) if config.r_max < math.inf or has_limit(line) else TOPS
    escaping: tuple[ConvexInfimum, str] | None = None
    for i, top in enumerate(tops):
        line = replace(line, top=top)

        def onwards(fraction: float, i: int = i) -> None:
            if progress is not None:
                progress((i + fraction) / len(tops))

        result = infimum(line, max(config.gap / 100, FINEST), config.rounds, onwards)
        atoms, gap = result.atoms, max(result.gap, 0.0)
        rho = Measure(radius(atoms.z)[:, None], atoms.c)
        R = risk(module, at_finite_radii(rho), p)
        objective = R if lam == 0 else R + lam * float(rho.weights @ rho.points[:, 0] ** 2)
        found = ConvexInfimum(rho, R, objective, gap, result.rounds)
        if gap > config.gap:
            return escaping or (
                found,
                f"landscape: the gap is {gap:.2e}, no smaller since round {result.rounds} of at most "
                f"{config.rounds}; ask for gap = {2 * gap:.0e}, or give more rounds",
            )
        below = _lower_beyond(line, atoms, config.gap) if len(tops) > 1 else None
        if below is None:
            return found, ""
        escaping = (
            found,
            f"landscape: an atom at r = {below:.3g} still lowers the best risk that atoms up to r = {top:g} have: "
            "mass escapes to infinity, where this activation has no limit; give r_max, or a ridge lam > 0",
        )
    assert escaping is not None
    return escaping


def _lower_beyond(line: Line, atoms: Atoms, gap: float) -> float | None:
    """A radius beyond the line where one more atom, all weights taken anew, lowers the objective by ``gap``, if any."""
    for factor in BEYOND:
        longer = replace(line, top=factor * line.top)
        more = with_weights(longer, np.append(atoms.z, longer.end), np.append(atoms.c, 0.0))
        if more.objective < atoms.objective - gap:
            return longer.top
    return None


def _trajectory(
    module: ModuleType,
    p: Mapping[str, Any],
    config: LandscapeConfig,
    lam: float,
    found: ConvexInfimum,
    alone: SingleDelta | None,
    wall_time: float,
) -> Trajectory:
    """What ``solve`` returns; without the single delta, an incomplete one."""
    r = found.rho.points[:, 0]
    record = {
        "objective": found.objective,
        "gap": found.gap,
        "atoms": len(r),
        "mass_at_infinity": float(np.sum(found.rho.weights[np.isinf(r)])),
    }
    if alone is not None:
        record |= {
            "single_delta_risk": alone.risk,
            "single_delta_objective": alone.objective,
            "single_delta_r": alone.r,
            "single_delta_gap": alone.gap,
        }
    return Trajectory.assemble(
        times=(0.0,),
        measures=(found.rho,),
        coordinates=module.COORDINATES,
        record_times=(0.0,),
        record_risk=(found.risk,),
        extra={name: (("record",), [value]) for name, value in record.items()},
        attrs={
            "method": "landscape",
            "model": module.NAME,
            "parameters": dict(p),
            "config": asdict(config),
            "lam": lam,
            "rounds": found.rounds,
            "wall_time": wall_time,
            "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        },
        complete=alone is not None,
    )
