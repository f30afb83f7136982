"""One time step of the Fokker-Planck solver: a Markov process whose potential is that of the step's middle.

Let m be the K moments of rho and P the Markov matrix that the cells' process makes over a step dt when its
potential is psi = V + sum_k w_k phi_k m*_k + ridge.  If m* is the mean of the moments before and after,

    F(P rho) - F(rho) = (1/beta) [ H(P rho | pi) - H(rho | pi) ] <= 0,      pi = exp(-beta psi) mu / Z,

because F is quadratic in the moments but for its entropy, and no Markov process that keeps pi can raise the
relative entropy H to it.  So the free energy falls at every step, whatever dt and whatever the mesh; without
noise F falls because mass only moves down psi.  The step is of order 2, as a midpoint rule.  Everything is
dimensionless; arrays hold the cells of one rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from solvers.cells import Cells, free_energy_of, tabulated, totals
from solvers.finite_volumes import FiniteVolumes
from solvers.propagator import MOST_JUMPS
from workbench.errors import NumericalFailure
from workbench.measure import Array
from workbench.problem import Problem

PASSES = 30  # of the iteration for the moments of the middle
SETTLED = 0.02  # of a step's change of moments: then the drift is of second order, and F still falls
CONVERGED = 1e-9  # of it: iterating on cannot help
AT_REST = 1e-11  # of the moments: what rounding moves them by in a long step near equilibrium
STANDSTILL = 1e-10  # jumps of a cell: shorter steps do nothing that could be wrong
REJECTIONS = 40  # each at least halves the step: 1e-12 of the first try
FREE_ENERGY_ROUNDING = 1e-13  # of a sum of 1e3 to 1e5 terms, relative to their size
FIRST_MOVE = 0.1  # of the tolerance: what the first step, of first order, may move


@dataclass(frozen=True)
class State:
    """One instant: masses (local,), their sums over all cells, their last rate of change, the last step and
    the next to try, the lowest free energy so far, and of the last step the local error and the mass lost to rounding."""

    masses: Array
    sums: Array
    slope: Array
    dt_last: float
    dt_next: float
    lowest: float
    error: float = 0.0
    lost: float = 0.0


class Stepper:
    """Steps of ``problem`` on ``cells``, spread over the ranks of ``comm``."""

    def __init__(self, problem: Problem, cells: Cells, comm: Any, tolerance: float, longest: float) -> None:
        self.problem, self.cells, self.tolerance, self.longest = problem, cells, tolerance, longest
        self.volumes = FiniteVolumes(cells, problem.beta, comm)
        owned = self.volumes.owned
        self.table = self._tabulated(cells.centres[owned])
        self.weights = self.table.weights(problem.parameters)
        self._features = self.table.features(self.table.points, problem.parameters)
        self._fixed = self.table.V(self.table.points, problem.parameters) + self.table.ridge
        self._log_reference = cells.log_reference[owned]
        self._fastest = math.inf

    def _tabulated(self, points: Array) -> Any:
        """``solvers.cells.tabulated``; where it fails on one rank it fails on all, or the others would wait."""
        table, failure = None, None
        try:
            table = tabulated(self.problem, points)
        except NumericalFailure as error:
            failure = error
        for first in filter(None, self.volumes.comm.allgather(failure)):
            raise first
        return table

    def sums(self, masses: Array) -> Array:
        """``solvers.cells.totals`` over the cells of all ranks."""
        return np.asarray(
            self.volumes.sum(totals(self.problem, self.table, self._log_reference, masses)), dtype=float
        )

    def free_energy(self, sums: Array) -> float:
        """F from ``sums``."""
        return free_energy_of(self.problem, self.weights, sums)

    def begin(self, masses: Array) -> State:
        """The state of rest with these masses, given for all cells."""
        own = masses[self.volumes.owned]
        sums = self.sums(own)
        return State(own, sums, np.zeros_like(own), 0.0, math.inf, self.free_energy(sums))

    def resume(self, masses: Array, slope: Array, state: State) -> State:
        """``state`` with its masses and their rate of change laid out on other cells, given for all of them."""
        own = self.volumes.owned
        return replace(state, masses=masses[own], slope=slope[own], sums=self.sums(masses[own]))

    def step(self, state: State, remaining: float) -> State:
        """The next state, at most ``remaining`` later.

        The local error is measured as the L1 distance from the linear extrapolation of the last step, which
        is of order dt^2 where the step's own error is of order dt^3, and is kept below the tolerance: the
        error of a run is then of the order of the tolerance.

        Raises
        ------
        NumericalFailure
            when no step is short enough for the drift to settle, F to fall and the error to be met.
        """
        proposed = min(self.longest, state.dt_next)
        if state.dt_last == 0:  # nothing to extrapolate yet: move next to nothing
            self.volumes.assemble(self._potential(state.sums), state.masses)
            outflow = self.volumes.outflow(state.masses)
            proposed = min(self.longest, FIRST_MOVE * self.tolerance / outflow if outflow > 0 else math.inf)
        dt = fit_step(proposed, remaining)
        # against the lowest value, not the last: else many small rises would pass
        size = 1.0 + float(np.abs(state.sums[-4:]).max() + self.weights @ state.sums[:-4] ** 2)
        bound = state.lowest + FREE_ENERGY_ROUNDING * size
        for _ in range(REJECTIONS):
            predicted = np.maximum(state.masses + dt * state.slope, 0.0)
            new = self._midpoint(state, predicted, dt, bound)
            if new is None:
                if dt * self._fastest < STANDSTILL:
                    break
                dt, proposed = 0.5 * dt, 0.0
                continue
            masses, sums, lost = new
            error = float(self.volumes.sum(np.abs(masses - predicted).sum())) * dt / (dt + state.dt_last)
            if state.dt_last == 0:
                error = 0.0
            factor = min(2.0, max(0.2, 0.9 * math.sqrt(self.tolerance / error))) if error > 0 else 2.0
            if error > self.tolerance:
                dt, proposed = min(factor, 0.7) * dt, 0.0
                continue
            # a step cut short to land on a time is no reason to forget the longer one
            following = max(factor * dt, proposed if factor > 1 else 0.0)
            lowest = min(state.lowest, self.free_energy(sums))
            return State(masses, sums, (masses - state.masses) / dt, dt, following, lowest, error, lost)
        raise NumericalFailure(
            f"the time step fell to {dt:.1e} without the free energy falling, the drift settling and the "
            "local error meeting the tolerance; use more cells or a larger step_tolerance"
        )

    def _potential(self, sums: Array) -> Array:
        """psi + ridge at the centres for given moments."""
        return np.asarray(self._fixed + self._features @ (self.weights * sums[:-4]))

    def _midpoint(
        self, state: State, predicted: Array, dt: float, bound: float
    ) -> tuple[Array, Array, float] | None:
        """Masses, sums and the mass lost after ``dt``, or None where the moments of the middle do not settle or F rises."""
        end = self.sums(predicted)
        middle, rho = 0.5 * (state.sums + end), 0.5 * (state.masses + predicted)
        for done in range(PASSES):
            self._fastest = fastest = self.volumes.assemble(self._potential(middle), rho)
            if dt * fastest > MOST_JUMPS:
                return None
            masses = self.volumes.advance(state.masses, dt, fastest)
            # some hundred products round the mass by 1e-14; over thousands of steps that would add up
            mass = float(self.volumes.sum(masses.sum()))
            masses = masses / mass if mass > 0 else masses
            sums = self.sums(masses)
            mean = 0.5 * (state.sums + sums)
            # moments matter as much as the potential that they make: |m|_U^2 = sum w m^2
            gap = math.sqrt(self.weights @ (mean - middle)[:-4] ** 2)
            moved = math.sqrt(self.weights @ (mean - state.sums)[:-4] ** 2)
            rounding = AT_REST * math.sqrt(self.weights @ mean[:-4] ** 2)
            if not math.isfinite(gap):
                return None
            # the fluxes of the first pass are extrapolated: alone it would be explicit, and unstable without noise
            if done and gap <= SETTLED * moved + rounding and self.free_energy(sums) <= bound:
                return masses, sums, abs(mass - 1.0)
            if done and (gap <= CONVERGED * moved or moved == 0):
                return (masses, sums, abs(mass - 1.0)) if self.free_energy(sums) <= bound else None
            middle, rho = mean, 0.5 * (state.masses + masses)
        return None


def fit_step(dt: float, remaining: float) -> float:
    """The step to take: ``remaining`` itself when within reach, half of it when nearly, else ``dt``."""
    if dt >= remaining:
        return remaining
    return 0.5 * remaining if 2 * dt > remaining else dt
