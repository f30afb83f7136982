"""The Fokker-Planck equation of the distributional dynamics, in one to three reduced coordinates.

    d_tau rho = 2 div(rho grad psi_lam) + (2/beta) [ Lap rho - sum_i d_i((n_i - 1)/x_i rho) ]
    psi_lam   = Psi(x; rho) + (lam/2)|x|^2

for the density rho of a unit with respect to dx, in the clock tau = int xi dt, without flux through the
boundary; n_i weights stand behind a norm x_i = r, and n_i = 1 elsewhere [MMN18].  Here are the run and what
is guaranteed of it; ``solvers.fokker_planck_step`` has the step, ``solvers.finite_volumes`` the fluxes.
Everything is dimensionless.

Under ``mpiexec -n P`` every rank calls ``solve`` alike, holds a part of the cells and returns the whole result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from solvers.cells import FEWEST_CELLS, Cells, first_cells, initial_masses, risk_of
from solvers.finite_volumes import VTXFile
from solvers.fokker_planck_step import Stepper
from workbench.checks import whole_number
from workbench.errors import BadInput, NumericalFailure
from workbench.initial import is_radial
from workbench.measure import Array, Measure
from workbench.problem import Problem
from workbench.trajectory import Trajectory

MASS_TOLERANCE = 1e-12  # of one step: a rounding of 1e-16 in each of up to 1e4 products
MOST_COORDINATES = 3


@dataclass(frozen=True)
class FokkerPlanckConfig:
    """Numbers of the scheme; BadInput when one has no meaning.

    cells
        cells of each coordinate at the start, or one number for all of them.
    r_max, bounds, grading
        the domain at the start and how it is cut, as in ``solvers.cells.first_cells``; grading g in [0, 1)
        makes the first cell of a norm (1 - g) times as wide as the mean one.
    fixed_domain, edge_mass, max_cells
        unless the domain is fixed, it grows by a quarter at every side (r = 0 excepted) whose outermost
        cells (a sixty-fourth, at least two) would hold more than ``edge_mass``, up to ``max_cells``.
    step_tolerance
        local L1 error of a step by linear extrapolation; the error of the run is of this order.
    dt_max, max_steps
        longest step in the clock tau, and the number of steps after which the run is given up.
    vtx
        a folder ``NAME.bp`` for ParaView, with the density at every snapshot.
    """

    cells: tuple[int, ...] | int = (1200,)
    r_max: float | None = None
    bounds: tuple[float, ...] | None = None
    grading: float = 0.0
    fixed_domain: bool = False
    edge_mass: float = 1e-12
    max_cells: int = 4_000_000
    step_tolerance: float = 1e-3
    dt_max: float = math.inf
    max_steps: int = 2_000_000
    vtx: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.cells, tuple):
            object.__setattr__(self, "cells", (self.cells,))
        for count in self.counts:
            whole_number("cells", count, FEWEST_CELLS)
        whole_number("max_cells", self.max_cells, FEWEST_CELLS)
        if self.r_max is not None and not (math.isfinite(self.r_max) and self.r_max > 0):
            raise BadInput(f"r_max = {self.r_max}: give a finite r_max > 0, or None to have it chosen")
        if self.r_max is not None and self.bounds is not None:
            raise BadInput(f"r_max = {self.r_max} and bounds = {self.bounds}: give one of the two")
        if not 0 <= self.grading < 1:
            raise BadInput(f"grading = {self.grading}: give 0 <= grading < 1, e.g. grading=0.5")
        if not 0 < self.edge_mass <= 1e-6:
            raise BadInput(f"edge_mass = {self.edge_mass}: give 0 < edge_mass <= 1e-6, e.g. edge_mass=1e-12")
        for name in ("step_tolerance", "dt_max", "max_steps"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} = {getattr(self, name)}: give {name} > 0")
        if self.vtx is not None and not self.vtx.endswith(".bp"):
            raise BadInput(f"vtx = {self.vtx!r}: name a folder that ends in .bp, e.g. vtx=density.bp")

    @property
    def counts(self) -> tuple[int, ...]:
        """``cells`` as a tuple."""
        return self.cells if isinstance(self.cells, tuple) else (self.cells,)


def solve(
    problem: Problem,
    config: FokkerPlanckConfig = FokkerPlanckConfig(),
    progress: Callable[[float], None] | None = None,
    comm: Any = None,
) -> Trajectory:
    """Solve the equation for ``problem`` on the ranks of ``comm``, all of them by default.

    ``progress`` receives t/t_end as the run goes.  Order 2 in the width of the cells and in dt at every
    noise, beta = inf included, in L1 and for smooth rho.  At every step rho >= 0, the mass is kept to 1e-12
    (what rounding takes is then put back in proportion) and the free energy does not rise; a run that
    cannot keep that fails.

    Returns
    -------
    Trajectory
        points are cell centres, weights cell masses.  Further variables: ``edges_r`` etc. of the final
        domain; (record,): ``free_energy`` as in ``solvers.cells.free_energy_of``, ``mass_error`` and
        ``min_density``, the worst since the last record; (step,): ``step_time`` and, after each step,
        ``step_mass_error``, ``step_min_density``, ``step_free_energy``, ``step_error`` (the estimated local
        error), ``step_edge_mass`` (held by the outermost cells of the fullest side) and
        ``step_edge_flux`` (the rate at which mass enters them: what a wall in their place would stop).

    Raises
    ------
    BadInput
        more than three coordinates, an initial law without density (d = inf, or a_std = 0), a domain that
        does not hold it, no DOLFINx.
    NumericalFailure
        mass or positivity lost, no acceptable step, a domain too small, too many steps; ``partial`` holds
        the run up to there.
    """
    start = time.perf_counter()
    if len(problem.module.COORDINATES) > MOST_COORDINATES:
        raise BadInput(
            f"coordinates {', '.join(problem.module.COORDINATES)}: densities are solved for in at most "
            f"{MOST_COORDINATES}; use the method sgd"
        )
    cells = first_cells(problem, config.counts, config.grading, config.r_max, config.bounds)
    if cells.count > config.max_cells:
        raise BadInput(
            f"cells = {cells.count} in all, more than max_cells = {config.max_cells}: raise max_cells"
        )
    run = _Run(problem, config, cells, comm)
    set_up = time.perf_counter() - start
    times = problem.all_times()
    clock = [float(tau) for tau in problem.schedule.clock(np.asarray(times))]

    def trajectory(complete: bool) -> Trajectory:
        return run.trajectory(complete, set_up, time.perf_counter() - start)

    try:
        for t, landing in zip(times, clock, strict=True):
            while run.tau < landing:
                run.advance(landing)
                if run.steps >= config.max_steps and run.tau < clock[-1]:
                    raise NumericalFailure(f"max_steps = {config.max_steps} is used up; raise it")
                if progress is not None and run.steps % 16 == 0:
                    progress(problem.schedule.time(run.tau) / problem.t_end)
            run.record(t)
            if progress is not None:
                progress(t / problem.t_end)
    except NumericalFailure as failure:
        raise NumericalFailure(
            f"Fokker-Planck run stopped after step {run.steps}, "
            f"at t = {problem.schedule.time(run.tau):.6g}: {failure}",
            partial=trajectory(complete=False),
        ) from failure
    finally:
        run.close()
    return trajectory(complete=True)


def density(trajectory: Trajectory, snapshot: int) -> xr.DataArray:
    """rho at one snapshot with respect to dx, on the grid of cell centres, labelled by the coordinates."""
    names = [str(name) for name in trajectory.data["coordinate"].values]
    rho = Measure(
        trajectory.data["points"].values[snapshot], np.asarray(trajectory.data["weights"].values[snapshot])
    )
    axes, volumes = [], np.ones(1)
    for axis, name in enumerate(names):
        edges = trajectory.data[f"edges_{name}"].values
        centres = np.unique(rho.points[:, axis])  # the domain may have been smaller then
        index = np.searchsorted(edges, centres) - 1
        axes.append(centres)
        volumes = np.multiply.outer(volumes, (edges[index + 1] - edges[index]))
    # cells are in C order, and what pads a smaller domain comes last
    shape = tuple(len(axis) for axis in axes)
    values = rho.weights[: volumes.size].reshape(shape) / volumes.reshape(shape)
    return xr.DataArray(values, coords=dict(zip(names, axes, strict=True)), dims=names, name="rho")


class _Run:
    """The state of a run, what was recorded of it, and the guarantees."""

    def __init__(self, problem: Problem, config: FokkerPlanckConfig, cells: Cells, comm: Any) -> None:
        self.problem, self.config, self.cells, self.comm = problem, config, cells, comm
        masses = initial_masses(problem, cells)
        self.stepper = self._stepper()
        self.state = self.stepper.begin(masses)
        self.tau, self.steps = 0.0, 0
        self.snapshots: list[tuple[float, Measure]] = []
        self.records: dict[str, list[float]] = {
            name: [] for name in ("time", "risk", "free_energy", "mass_error", "min_density")
        }
        self.log: dict[str, list[float]] = {
            name: []
            for name in (
                "time",
                "mass_error",
                "min_density",
                "free_energy",
                "error",
                "edge_mass",
                "edge_flux",
            )
        }
        self._recorded = 0
        self._edge_masses = self._held_at_edges(self.state.masses)
        self._vtx = None if config.vtx is None else VTXFile(config.vtx)

    def _stepper(self) -> Stepper:
        config = self.config
        return Stepper(self.problem, self.cells, self.comm, config.step_tolerance, config.dt_max)

    def advance(self, landing: float) -> None:
        """One step towards ``landing``, on a larger domain if need be; NumericalFailure where it breaks a guarantee."""
        new = self.stepper.step(self.state, landing - self.tau)
        edges = self._held_at_edges(new.masses)
        full = [side for side, held in edges.items() if held > self.config.edge_mass]
        if full and not self.config.fixed_domain:
            self._grow(full)
            return
        self.tau = landing if new.dt_last == landing - self.tau else self.tau + new.dt_last
        self.state, self.steps = new, self.steps + 1
        volumes = self.stepper.volumes
        mass_error = max(new.lost, abs(float(new.sums[-1]) - 1.0))
        own = self.cells.volumes[volumes.owned]
        lowest = -volumes.largest(float(-(new.masses / own).min(initial=math.inf)))
        flux = max((edges[side] - self._edge_masses[side] for side in edges), default=0.0) / new.dt_last
        self._edge_masses = edges
        for series, value in zip(
            self.log.values(),
            (
                self.problem.schedule.time(self.tau),
                mass_error,
                lowest,
                self.stepper.free_energy(new.sums),
                new.error,
                max(edges.values(), default=0.0),
                flux,
            ),
            strict=True,
        ):
            series.append(value)
        if not mass_error <= MASS_TOLERANCE:
            raise NumericalFailure(f"the mass is off by {mass_error:.1e}; use fewer cells")
        if not lowest >= 0:
            raise NumericalFailure(f"the density fell to {lowest:.1e}; use fewer cells")

    def record(self, t: float) -> None:
        """Store the risk and, at a snapshot, the measure."""
        since = slice(self._recorded, None)
        self._recorded = self.steps
        values = (
            t,
            risk_of(self.stepper.weights, self.state.sums),
            self.stepper.free_energy(self.state.sums),
            max(self.log["mass_error"][since], default=0.0),
            min(self.log["min_density"][since], default=math.inf),
        )
        for series, value in zip(self.records.values(), values, strict=True):
            series.append(value)
        if t in self.problem.snapshots:
            masses = self.stepper.volumes.gather(self.state.masses)
            self.snapshots.append((t, Measure(self.cells.centres, masses)))
            if self._vtx is not None:
                self._vtx.write(self.stepper.volumes, self.state.masses, t)

    def close(self) -> None:
        """Finish the files."""
        if self._vtx is not None:
            self._vtx.close()

    def _held_at_edges(self, masses: Array) -> dict[tuple[int, int], float]:
        """Mass of the outermost cells at every (axis, side) through which a domain can be too small."""
        index = np.unravel_index(self.stepper.volumes.owned, self.cells.shape)
        held, sides = [], []
        for axis, (name, count) in enumerate(zip(self.cells.coordinates, self.cells.shape, strict=True)):
            guard = max(2, count // 64)
            if not (is_radial(name) and self.cells.edges[axis][0] == 0):
                sides.append((axis, 0))
                held.append(masses[index[axis] < guard].sum())
            sides.append((axis, 1))
            held.append(masses[index[axis] >= count - guard].sum())
        return dict(zip(sides, map(float, self.stepper.volumes.sum(np.array(held))), strict=True))

    def _grow(self, full: list[tuple[int, int]]) -> None:
        """A quarter more cells, empty, at each full side; nothing is interpolated."""
        old, volumes = self.cells, self.stepper.volumes
        edges, pad = list(old.edges), [[0, 0] for _ in old.shape]
        for axis, side in full:
            ends, more = edges[axis], max(1, old.shape[axis] // 4)
            width = ends[-1] - ends[-2] if side else ends[1] - ends[0]
            beyond = width * np.arange(1, more + 1)
            if side:
                edges[axis] = np.concatenate([ends, ends[-1] + beyond])
            else:
                below = ends[0] - beyond[::-1]
                if is_radial(old.coordinates[axis]):
                    below = below[below > 0.5 * width]  # no sliver at 0
                    if not len(below):
                        below = np.zeros(1)
                edges[axis] = np.concatenate([below, ends])
            pad[axis][side] = len(edges[axis]) - len(ends)
        wider = replace(old, edges=tuple(edges))
        if wider.count > self.config.max_cells:
            names = ", ".join(old.coordinates[axis] for axis, _ in full)
            reached = ", ".join(f"{old.edges[axis][-side]:.4g}" for axis, side in full)
            raise NumericalFailure(
                f"mass reached {names} = {reached}, the end of the domain, and max_cells = "
                f"{self.config.max_cells} is used up; raise max_cells, r_max or bounds"
            )
        both = [
            np.pad(volumes.gather(a).reshape(old.shape), pad) for a in (self.state.masses, self.state.slope)
        ]
        self.cells = wider
        self.stepper = self._stepper()
        self.state = self.stepper.resume(both[0].ravel(), both[1].ravel(), self.state)
        self._edge_masses = self._held_at_edges(self.state.masses)

    def trajectory(self, complete: bool, set_up: float, wall_time: float) -> Trajectory:
        """Everything recorded so far."""
        problem = self.problem
        edges = {
            f"edges_{name}": ((f"edge_{name}",), ends)
            for name, ends in zip(self.cells.coordinates, self.cells.edges, strict=True)
        }
        return Trajectory.assemble(
            times=[instant for instant, _ in self.snapshots],
            measures=[rho for _, rho in self.snapshots],
            coordinates=problem.module.COORDINATES,
            record_times=self.records["time"],
            record_risk=self.records["risk"],
            extra={
                **edges,
                **{name: (("record",), self.records[name]) for name in list(self.records)[2:]},
                **{f"step_{name}": (("step",), series) for name, series in self.log.items()},
            },
            attrs={
                "method": "fokker-planck",
                "model": problem.module.NAME,
                "parameters": {name: np.asarray(v).tolist() for name, v in problem.parameters.items()},
                "beta": problem.beta,
                "lam": problem.lam,
                "xi_exponent": problem.schedule.exponent,
                "radial_entropy": int(problem.radial_entropy),
                "initial": problem.initial.describe(),
                "config": asdict(self.config),
                "ranks": self.stepper.volumes.comm.size,
                "steps": self.steps,
                "set_up_time": set_up,
                "wall_time": wall_time,
                "versions": {"numpy": np.__version__, "dolfinx": self.stepper.volumes.fx.version},
            },
            complete=complete,
        )
