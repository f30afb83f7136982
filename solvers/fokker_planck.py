"""The radial Fokker-Planck equation (distributional dynamics) by finite volumes in DOLFINx.

    d_tau rho = 2 d_r(rho d_r psi_lam) + (2/beta) [ d_rr rho - d_r((n - 1)/r rho) ]
    psi_lam   = Psi(r; rho) + (lam/2) r^2

for the density rho of r = |w| in [0, inf) with respect to dr, n = d, in the clock tau = int xi dt, with
no flux at either end [MMN18].  Everything is dimensionless.  Here are the run and the fluxes, forms
over interior facets; ``solvers.fokker_planck_schemes`` has the steps.  DOLFINx is imported on use only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy

from solvers.fokker_planck_schemes import (
    POSITIVITY_CFL,
    Cells,
    DiffusionMatrix,
    State,
    UpwindInflow,
    as_measure,
    diffusion_step,
    first_mesh,
    free_energy,
    initial_state,
    lengthened,
    mean_peclet,
    transport_step,
)
from workbench.checks import whole_number
from workbench.errors import BadInput, NumericalFailure
from workbench.measure import Array, Measure, risk
from workbench.problem import Problem
from workbench.trajectory import Trajectory

MASS_TOLERANCE = 1e-12  # a rounding of 1e-16 at each of 1e4 steps


@dataclass(frozen=True)
class FokkerPlanckConfig:
    """Numbers of the scheme; BadInput when one has no meaning.

    cells, r_max
        cells of [0, r_max] at the start; r_max ``None``: four times the radius that holds all but
        1e-12 of the initial law.
    max_cells, edge_mass
        the domain grows by cells of the same width, up to ``max_cells``, whenever the outermost ones
        (a sixty-fourth of ``cells``, at least four) would hold more than ``edge_mass``.
    cfl
        beta = inf: dt max|2 d_r psi_lam| / width, at most 1/2 (positivity).
    step_tolerance
        beta < inf: local L1 error of one step; the global error is of order sqrt(step_tolerance).
    dt_max, max_steps
        longest step in the clock tau, and the number of steps after which the run is given up.
    """

    cells: int = 1200
    r_max: float | None = None
    max_cells: int = 20_000
    edge_mass: float = 1e-12
    cfl: float = 0.4
    step_tolerance: float = 1e-5
    dt_max: float = math.inf
    max_steps: int = 2_000_000

    def __post_init__(self) -> None:
        whole_number("cells", self.cells, 8)
        whole_number("max_cells", self.max_cells, 8)
        if not self.max_cells >= self.cells:
            raise BadInput(f"max_cells = {self.max_cells} is below cells = {self.cells}: raise max_cells")
        if self.r_max is not None and not (math.isfinite(self.r_max) and self.r_max > 0):
            raise BadInput(f"r_max = {self.r_max}: give a finite r_max > 0, or None to have it chosen")
        if not 0 < self.cfl <= POSITIVITY_CFL:
            raise BadInput(f"cfl = {self.cfl}: positivity needs 0 < cfl <= {POSITIVITY_CFL}, e.g. cfl=0.4")
        if not 0 < self.edge_mass <= 1e-6:
            raise BadInput(f"edge_mass = {self.edge_mass}: give 0 < edge_mass <= 1e-6, e.g. edge_mass=1e-12")
        for name in ("step_tolerance", "dt_max", "max_steps"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} = {getattr(self, name)}: give {name} > 0")


def solve(
    problem: Problem,
    config: FokkerPlanckConfig = FokkerPlanckConfig(),
    progress: Callable[[float], None] | None = None,
) -> Trajectory:
    """Solve the radial equation for ``problem``; ``progress`` receives t/t_end as the run goes.

    beta = inf: limited upwind fluxes and Heun's method; order 2 in width and dt in L1 for smooth rho.
    beta < inf: Scharfetter-Gummel fluxes and implicit Euler with self-consistent drift; order 2 in the
    width (1 where the cell Peclet number exceeds 1), order 1 in dt.  At every step rho >= 0, the mass
    is 1 to 1e-12 and, for beta < inf, the free energy does not rise; otherwise the run fails.

    Returns
    -------
    Trajectory
        points are cell centres, weights cell masses.  Further variables: ``edges`` (edge,) of the
        final domain, which begins with those of earlier ones; ``mass_error`` and ``min_density``
        (record,), the worst since the last record; for beta < inf also ``free_energy`` (record,), as
        ``solvers.fokker_planck_schemes.free_energy``, and ``peclet`` (record,), the cell Peclet
        number beta width |d_r psi_lam|/2 averaged over rho: the fluxes smear when it is not below 1.

    Raises
    ------
    BadInput
        d = inf (the initial law is a point), coordinates other than r, a domain that does not hold
        the initial law, no DOLFINx.
    NumericalFailure
        mass or positivity lost, no acceptable step, too many cells or steps; ``partial`` holds the
        run up to there.
    """
    start = time.perf_counter()
    cells = first_mesh(problem, config.cells, config.r_max)
    state, step = initial_state(problem, cells), _stepper(problem, config, cells)
    guard = max(4, config.cells // 64)
    noisy = math.isfinite(problem.beta)
    times = problem.all_times()
    clock = [0.0, *(float(tau) for tau in problem.schedule.clock(np.asarray(times)))]

    snapshots: list[tuple[float, Measure]] = []
    records: dict[str, list[float]] = {name: [] for name in ("time", "risk", "mass_error", "min_density")}
    if noisy:
        records |= {"free_energy": [], "peclet": []}
    steps, tau = 0, 0.0

    def trajectory(complete: bool) -> Trajectory:
        extra = {name: (("record",), records[name]) for name in list(records)[2:]}
        return Trajectory.assemble(
            times=[instant for instant, _ in snapshots],
            measures=[rho for _, rho in snapshots],
            coordinates=problem.module.COORDINATES,
            record_times=records["time"],
            record_risk=records["risk"],
            extra={"edges": (("edge",), cells.edges), **extra},
            attrs={
                "method": "fokker-planck",
                "model": problem.module.NAME,
                "parameters": {name: np.asarray(v).tolist() for name, v in problem.parameters.items()},
                "beta": problem.beta,
                "lam": problem.lam,
                "xi_exponent": problem.schedule.exponent,
                "initial": asdict(problem.initial),
                "config": asdict(config),
                "steps": steps,
                "wall_time": time.perf_counter() - start,
                "versions": {
                    "numpy": np.__version__,
                    "scipy": scipy.__version__,
                    "dolfinx": _fenics().version,
                },
            },
            complete=complete,
        )

    try:
        for t, landing in zip(times, clock[1:], strict=True):
            mass_error, lowest = 0.0, math.inf
            while tau < landing:
                new = step(state, landing - tau)
                if cells.width * new.rho[-guard:].sum() > config.edge_mass:
                    cells, state = lengthened(problem, cells, state, config.max_cells)
                    step = _stepper(problem, config, cells)
                    continue
                tau = landing if new.dt_last == landing - tau else tau + new.dt_last
                state, steps = new, steps + 1
                mass_error = max(mass_error, abs(cells.width * float(state.rho.sum()) - 1.0))
                lowest = min(lowest, float(state.rho.min()))
                if not mass_error <= MASS_TOLERANCE:
                    raise NumericalFailure(f"the mass is off by {mass_error:.1e}; use fewer cells")
                if not lowest >= 0:
                    raise NumericalFailure(f"the density fell to {lowest:.1e}; use a smaller cfl")
                if steps >= config.max_steps and tau < clock[-1]:
                    raise NumericalFailure(f"max_steps = {config.max_steps} is used up; raise it")
                if progress is not None and steps % 64 == 0:
                    progress(problem.schedule.time(tau) / problem.t_end)
            rho = as_measure(cells, state.rho)
            values = [t, risk(cells.at_centres, rho, problem.parameters), mass_error, lowest]
            if noisy:
                values += [free_energy(problem, cells, state.rho), mean_peclet(problem, cells, state.rho)]
            for series, value in zip(records.values(), values, strict=True):
                series.append(value)
            if t in problem.snapshots:
                snapshots.append((t, rho))
            if progress is not None:
                progress(t / problem.t_end)
    except NumericalFailure as failure:
        raise NumericalFailure(
            f"Fokker-Planck run stopped after step {steps}, at t = {problem.schedule.time(tau):.6g}: {failure}",
            partial=trajectory(complete=False),
        ) from failure
    return trajectory(complete=True)


def _stepper(problem: Problem, config: FokkerPlanckConfig, cells: Cells) -> Callable[[State, float], State]:
    """The step that beta asks for, (state, remaining time) -> state, on these cells."""
    volumes = _finite_volumes(cells.edges)
    if math.isinf(problem.beta):
        return partial(transport_step, problem, cells, _upwind(volumes), config.dt_max, config.cfl)
    matrix = _scharfetter_gummel(volumes, problem.beta)
    return partial(diffusion_step, problem, cells, matrix, config.dt_max, config.step_tolerance)


def _fenics() -> SimpleNamespace:
    """DOLFINx and UFL, with compiler options that no file in home or the working directory can change."""
    try:
        from mpi4py import MPI  # must come before dolfinx

        import petsc4py

        # PETSc would otherwise turn a closed pipe into an abort, and read options from home
        petsc4py.init(["", "-no_signal_handler", "-skip_petscrc"])
        import dolfinx.jit
        import ffcx.options
        import ufl
        from dolfinx import fem, mesh
    except ImportError as error:
        raise BadInput(
            f"{error}: the Fokker-Planck solver needs DOLFINx: pip install dolfinx-solver-real"
        ) from error
    form = partial(
        fem.form,
        form_compiler_options={k: v[1] for k, v in ffcx.options.FFCX_DEFAULT_OPTIONS.items()},
        jit_options={k: v[0] for k, v in dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS.items()},
    )
    return SimpleNamespace(
        fem=fem, mesh=mesh, ufl=ufl, form=form, comm=MPI.COMM_SELF, version=dolfinx.__version__
    )


def _finite_volumes(edges: Array) -> SimpleNamespace:
    """The mesh, its space of cell averages, and the cells in order of increasing r."""
    fx = _fenics()
    mesh = fx.mesh.create_interval(fx.comm, len(edges) - 1, [0.0, float(edges[-1])])
    space = fx.fem.functionspace(mesh, ("DG", 0))
    order = np.argsort(space.tabulate_dof_coordinates()[:, 0])
    return SimpleNamespace(fx=fx, mesh=mesh, space=space, order=order)


def _upwind(volumes: SimpleNamespace) -> UpwindInflow:
    """(velocity at the edges, rho at the left and right end of every cell) -> width d_tau rho.

    The form is - int_F (c.n) rho_upwind [v] dS over interior facets only: no flux leaves the domain.
    """
    fx, mesh, order = volumes.fx, volumes.mesh, volumes.order
    velocity = fx.fem.Function(fx.fem.functionspace(mesh, ("P", 1, (mesh.geometry.dim,))))
    faces = fx.fem.Function(fx.fem.functionspace(mesh, ("DG", 1)))
    vertex_order = np.argsort(velocity.function_space.tabulate_dof_coordinates()[:, 0])
    ends = faces.function_space.dofmap.list[order]
    ends = np.take_along_axis(
        ends, np.argsort(faces.function_space.tabulate_dof_coordinates()[ends, 0]), axis=1
    )

    v, n = fx.ufl.TestFunction(volumes.space), fx.ufl.FacetNormal(mesh)
    outward = fx.ufl.dot(velocity("+"), n("+"))
    upwind = fx.ufl.conditional(outward > 0, faces("+"), faces("-"))
    form = fx.form(-outward * upwind * fx.ufl.jump(v) * fx.ufl.dS)
    result = fx.fem.create_vector(volumes.space).array

    def inflow(c: Array, left: Array, right: Array) -> Array:
        velocity.x.array[vertex_order] = c
        faces.x.array[ends[:, 0]] = left
        faces.x.array[ends[:, 1]] = right
        result[:] = 0.0
        fx.fem.assemble_vector(result, form)
        return result[order]

    return inflow


def bernoulli(ufl: Any, z: Any) -> Any:
    """B(z) = z/(e^z - 1) in UFL, accurate for every z, with B(-z) = e^z B(z) to rounding.

    For |z| <= 1 it is e^(-z/2) h/sinh(h), h = z/2, whose second factor is even; elsewhere no
    exponential of a positive number is taken.
    """
    h = ufl.conditional(abs(z) < 1e-8, 1e-8, z / 2)  # h/sinh(h) = 1 to rounding there
    near = ufl.exp(-z / 2) * h / ufl.sinh(h)
    right = z * ufl.exp(-z) / (1 - ufl.exp(-z))
    left = -z / (1 - ufl.exp(z))
    return ufl.conditional(z > 1, right, ufl.conditional(z < -1, left, near))


def _scharfetter_gummel(volumes: SimpleNamespace, beta: float) -> DiffusionMatrix:
    """g = beta psi_lam - (n-1) log r at the centres -> the three diagonals of A, width d_tau rho = - A rho.

    The flux from cell + to cell - is (2/beta)/|x_- - x_+| [ B(dg) rho_+ - B(-dg) rho_- ], with
    dg = g_- - g_+: exact where g has constant slope, and zero on rho = e^(-g).
    """
    fx, mesh, order, space, ufl = volumes.fx, volumes.mesh, volumes.order, volumes.space, volumes.fx.ufl
    g = fx.fem.Function(space)
    centre = fx.fem.Function(fx.fem.functionspace(mesh, ("DG", 0, (mesh.geometry.dim,))))
    centre.interpolate(lambda x: x[: mesh.geometry.dim])
    diffusion = fx.fem.Constant(mesh, 2.0 / beta)
    rho, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    across = centre("-") - centre("+")
    dg = g("-") - g("+")
    flux = bernoulli(ufl, dg) * rho("+") - bernoulli(ufl, -dg) * rho("-")
    form = fx.form(diffusion("+") / ufl.sqrt(ufl.dot(across, across)) * flux * ufl.jump(v) * ufl.dS)
    matrix = fx.fem.create_matrix(form)
    rank = np.argsort(order)
    columns = rank[matrix.indices]
    diagonals = 1 + np.repeat(rank, np.diff(matrix.indptr)) - columns

    def assemble(exponent: Array) -> Array:
        g.x.array[order] = exponent
        matrix.set_value(0.0)
        fx.fem.assemble_matrix(matrix, form)
        bands = np.zeros((3, len(order)))
        bands[diagonals, columns] = matrix.data
        return bands

    return assemble
