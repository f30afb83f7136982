"""Weighted atoms along the characteristics of the distributional dynamics.

Without noise the distributional dynamics moves each unit by dx/dtau = -2 grad Psi_lam(x; rho), tau the
clock of the step schedule [MMN18], so a cloud of J atoms with the initial law's quantiles is an exact
solution of the dynamics started from the cloud.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import scipy
from scipy.integrate import DOP853

from workbench.checks import whole_number
from workbench.errors import BadInput, NumericalFailure
from workbench.measure import Array, Measure, feature_moments, grad_Psi, risk
from workbench.problem import Problem
from workbench.trajectory import Trajectory


@dataclass(frozen=True)
class ParticlesConfig:
    """atoms: number J of equal-mass atoms; rtol, atol: error per step of the Runge-Kutta method."""

    atoms: int = 400
    rtol: float = 1e-8
    atol: float = 1e-10

    def __post_init__(self) -> None:
        whole_number("atoms", self.atoms, 1)
        for name in ("rtol", "atol"):
            if not 1e-13 <= getattr(self, name) < 1:
                raise BadInput(f"{name} = {getattr(self, name)}: give 1e-13 <= {name} < 1")


def quantile_atoms(problem: Problem, atoms: int) -> Measure:
    """J atoms of mass 1/J at the quantiles (i + 1/2)/J of the initial law of r."""
    levels = (np.arange(atoms) + 0.5) / atoms
    return Measure.uniform(problem.gaussian_initial.radial_quantiles(levels, problem.d)[:, None])


def solve(
    problem: Problem,
    config: ParticlesConfig = ParticlesConfig(),
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    """Solve the noiseless distributional dynamics by characteristics.

    DOP853, order 8 in smooth stretches.  r >= 0 is kept by projection: beyond r = 0 the field is frozen
    at its one-sided limit r -> 0+, so an atom that arrives with speed crosses without a jump of the
    field, is put back to 0 after the step, and stays as long as Psi_lam grows with r.

    Returns
    -------
    Trajectory
        measures with ``config.atoms`` points of equal weight at each snapshot, the risk at each record.

    Raises
    ------
    BadInput
        when the problem has noise (beta < inf) or coordinates other than r.
    NumericalFailure
        when the step size falls below what float64 resolves, with the trajectory so far.
    """
    if math.isfinite(problem.beta):
        raise BadInput(
            f"beta = {problem.beta}: atoms follow characteristics, which noise does not have; "
            "give beta=inf, or use the method fokker-planck"
        )
    if tuple(problem.module.COORDINATES) != ("r",):
        raise BadInput(
            f"coordinates {problem.module.COORDINATES}: this solver takes models reduced to r, e.g. isotropic_truncated_relu"
        )
    start = time.perf_counter()
    module, p = problem.module, problem.parameters
    rho = quantile_atoms(problem, config.atoms)

    def velocity(_tau: float, y: Array) -> Array:
        r = np.maximum(y, 0.0)[:, None]
        moments = feature_moments(module, Measure(r, rho.weights), p)
        return -2.0 * (grad_Psi(module, r, moments, p)[:, 0] + problem.lam * r[:, 0])

    snapshots: list[Measure] = []
    times: list[float] = []
    risks: list[float] = []
    steps, tau, r, first_step = 0, 0.0, rho.points[:, 0], None

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
                r,
                end,
                first_step=_within(first_step, end - tau),
                rtol=config.rtol,
                atol=config.atol,
            )
            while method.status == "running" and np.all(method.y >= 0):
                message = method.step()
                steps += 1
                if method.status == "failed" or not np.all(np.isfinite(method.y)):
                    raise NumericalFailure(
                        f"particles: the Runge-Kutta step failed at t = {problem.schedule.time(method.t):.6g} "
                        f"({message or 'non-finite positions'}); loosen rtol = {config.rtol} or end the run earlier",
                        trajectory(complete=False),
                    )
            # an atom crossed r = 0, or the time was reached: project, and start afresh from there
            tau, r = (end if method.status == "finished" else method.t), np.maximum(method.y, 0.0)
            first_step = method.h_abs
        if progress is not None:
            progress(t / problem.t_end)
        measure = Measure(r[:, None].copy(), rho.weights)
        times.append(t)
        risks.append(risk(module, measure, p))
        if t in problem.snapshots:
            snapshots.append(measure)
    return trajectory(complete=True)


def _within(step: float | None, span: float) -> float | None:
    """A first step that does not pass the end of the span."""
    return None if step is None else min(step, span)
