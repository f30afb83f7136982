"""The loads of the Fokker-Planck benchmark, and how py-pde, FiPy and fplanck solve them.

Each load is  d_t rho = div(rho grad Psi_lam) + D Laplace rho  without flux through the walls of a box, and

    Psi_lam = V + sum_k w_k phi_k M_k + (RIDGE/2) |x|^2,    M_k = int phi_k rho
    R       = 1 + 2 int V rho + sum_k w_k M_k^2

with the kernel of rank two that the truncated ReLU has at d = inf; x = r, or (r1, r2) where both blocks are
infinite.  None of the peers knows a drift that follows moments of the density, so each gets it in the way in
which it takes a drift best; FiPy and fplanck, whose drift stands still during a step, get it in the middle of
the step, so that all are of second order in time.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import constants

from solvers.generated import anisotropic_truncated_relu, isotropic_truncated_relu

Array = NDArray[np.float64]
RIDGE = 0.01


@dataclass(frozen=True)
class Load:
    """Diffusion D until time t in the box [0, length]^dim, cut into cells^dim.

    risk, target: the fine reference, and the error of the risk at which methods are compared.
    """

    name: str
    dim: int
    D: float
    t: float
    length: float
    cells: int
    risk: float
    target: float

    @property
    def module(self) -> Any:
        """The generated module with V and the features."""
        return isotropic_truncated_relu if self.dim == 1 else anisotropic_truncated_relu

    @property
    def parameters(self) -> dict[str, float]:
        """Its numbers."""
        dimensions = {"d": math.inf} if self.dim == 1 else {"d": math.inf, "s0": math.inf}
        return {**dimensions, "tau_plus": 1.8, "tau_minus": 0.2}

    def initial(self, x: Array) -> Array:
        """The density at t = 0 up to its constant, (..., dim) -> (...)."""
        return np.asarray(np.exp(-np.sum((x - 1) ** 2, axis=-1) / 0.08))


# The risks are those of ``bench_fokker_planck.reference`` at 800, 1600 and 160 modes; finite volumes of orders two and four with
# implicit steps, up to 12800 cells and extrapolated, give the first two to the same digits.
LOADS = {
    load.name: load
    for load in (
        Load("A", 1, 0.05, 20.0, 12.0, 400, 0.1119151, 1e-5),
        Load("A at low noise", 1, 1e-3, 5.0, 12.0, 400, 0.9082490, 1e-3),
        Load("B", 2, 0.05, 5.0, 6.0, 100, 0.003670479, 0.01 * 0.003670479),
    )
}


@dataclass(frozen=True)
class Grid:
    """A load on n cells a side; arrays over cells have axis 0 for r or r1, axis 1 for r2."""

    load: Load
    n: int

    @property
    def width(self) -> float:
        """Width of a cell."""
        return self.load.length / self.n

    @property
    def volume(self) -> float:
        """Volume of a cell."""
        return self.width**self.load.dim

    @cached_property
    def centres(self) -> Array:
        """Centres of the cells, (*cells, dim)."""
        axis = (np.arange(self.n) + 0.5) * self.width
        return np.stack(np.meshgrid(*[axis] * self.load.dim, indexing="ij"), axis=-1)

    @cached_property
    def V(self) -> Array:
        """V at the centres, (*cells,)."""
        return np.asarray(self.load.module.V(self.centres, self.load.parameters))

    @cached_property
    def features(self) -> Array:
        """phi_k at the centres, (K, *cells)."""
        phi = self.load.module.features(self.centres, self.load.parameters)
        return np.ascontiguousarray(np.moveaxis(phi, -1, 0))

    @cached_property
    def weights(self) -> Array:
        """w_k, (K,)."""
        return np.asarray(self.load.module.weights(self.load.parameters))

    def gradients(self, x: Array) -> tuple[Array, Array]:
        """Gradients at x (..., dim) of V plus ridge, (dim, ...), and of the features, (K, dim, ...)."""
        module, p = self.load.module, self.load.parameters
        static = np.moveaxis(module.grad_V(x, p) + RIDGE * x, -1, 0)
        moving = np.moveaxis(module.grad_features(x, p), (-2, -1), (0, 1))
        return np.ascontiguousarray(static), np.ascontiguousarray(moving)

    def initial(self) -> Array:
        """Masses of the cells at t = 0, (*cells,), with sum 1."""
        density = self.load.initial(self.centres)
        return np.asarray(density / density.sum())

    def moments(self, masses: Array) -> Array:
        """M_k, (K,)."""
        return np.asarray(self.features.reshape(len(self.weights), -1) @ masses.ravel())

    def sample(self, masses: Array, seconds: float) -> Sample:
        """What is reported of a run that ended with these masses."""
        risk = 1 + 2 * np.sum(self.V * masses) + self.weights @ self.moments(masses) ** 2
        return Sample(seconds, float(risk), float(masses.min() / masses.max()))


class Sample(NamedTuple):
    """One timed run: wall time of the steps, risk at the end, lowest density as a part of the highest."""

    seconds: float
    risk: float
    lowest: float


Run = Callable[[], Sample]  # what a method makes of a grid and its settings; all else is set-up


class Moments:
    """Moments of the past steps, and from the last three of them those a little ahead.

    Only the drift is extrapolated: that costs no further solve, and its error is of third order in the step.
    """

    def __init__(self) -> None:
        self.past: list[tuple[float, Array]] = []

    def ahead(self, t: float) -> Array:
        """The polynomial through the last three, at t: (K,)."""
        self.past = self.past[-3:]
        total = np.zeros_like(self.past[-1][1])
        for i, (node, value) in enumerate(self.past):
            others = [other for j, (other, _) in enumerate(self.past) if j != i]
            total += value * math.prod((t - other) / (node - other) for other in others)
        return total


def graded_times(load: Load, steps: int, grading: float) -> Array:
    """Ends of the steps, (steps + 1,): short ones first, where the density moves fast."""
    return np.asarray(load.t * (np.arange(steps + 1) / steps) ** grading)


def py_pde(grid: Grid, method: str, rtol: float, banded: bool = False) -> Run:
    """py-pde: its compiled operators in an equation of our own, by one of scipy's integrators or "runge-kutta".

    The divergence of rho grad Psi with the normal component 0 at the walls loses no mass.  ``banded`` tells
    LSODA that only neighbours matter: the moments make the Jacobian full, but Newton's method does without
    that part.  "runge-kutta", explicit and adaptive, is compiled as a whole, with six copies of the right-hand
    side: a longer set-up, and no time lost between steps.
    """
    import pde

    pde.config["backend.numba.multithreading"] = "never"
    load, (static, moving) = grid.load, grid.gradients(grid.centres)
    coupling = grid.weights * grid.volume
    D, phi, grad, across = load.D, grid.features, moving, {"normal_value": 0}

    class MeanField(pde.PDEBase):
        """d_t rho = div(rho grad Psi) + D Laplace rho."""

        explicit_time_dependence = False

        def evolution_rate(self, state: Any, t: float = 0) -> Any:
            drift = static + np.tensordot(coupling * grid.moments(state.data), grad, 1)
            flux = pde.VectorField(state.grid, drift * state.data)
            return flux.divergence(bc=across) + D * state.laplace(bc={"derivative": 0})

        def make_evolution_rate(self, state: Any, backend: Any) -> Any:
            make = state.grid.make_operator
            laplace = make("laplace", bc={"derivative": 0}, backend=backend, dtype=state.dtype)
            divergence = make("divergence", bc=across, backend=backend, dtype=state.dtype)
            phi0, phi1 = coupling[0] * phi[0], coupling[1] * phi[1]
            grad0, grad1 = grad[0].copy(), grad[1].copy()

            def rate(rho: Any, t: float = 0.0) -> Any:
                drift = static + (phi0 * rho).sum() * grad0 + (phi1 * rho).sum() * grad1
                return divergence(drift * rho) + D * laplace(rho)

            return rate

    box = pde.CartesianGrid([[0, load.length]] * load.dim, grid.n)
    start = pde.ScalarField(box, grid.initial() / grid.volume)
    if method == "runge-kutta":
        solver = pde.RungeKuttaSolver(MeanField(), backend="numba", adaptive=True, tolerance=rtol)
    else:
        bands = {"lband": 1, "uband": 1} if banded else {}
        accuracy = {"rtol": rtol, "atol": rtol / 100}
        solver = pde.ScipySolver(MeanField(), backend="numba", method=method, **accuracy, **bands)
    step = solver.make_stepper(start)
    step(start.copy(), 0, 1e-3)  # compiles

    def run() -> Sample:
        state = start.copy()
        begun = time.perf_counter()
        step(state, 0, load.t)
        return grid.sample(state.data * grid.volume, time.perf_counter() - begun)

    return run


def fipy(grid: Grid, steps: int, grading: float) -> Run:
    """FiPy: Crank-Nicolson of its implicit terms and the same terms at the old time, drift on the faces.

    Central convection: with the upwind-like terms only backward Euler remains, whose error in time asks for
    hundreds of times as many steps.  Direct solves in one dimension, BiCGStab in two.
    """
    os.environ["FIPY_SOLVERS"] = "scipy"
    import fipy as fp
    from fipy.solvers.scipy import LinearBicgstabSolver, LinearLUSolver

    load, flat = grid.load, grid.load.dim == 1
    size = {"nx": grid.n, "Lx": load.length}
    mesh = fp.Grid1D(**size) if flat else fp.Grid2D(**size, ny=grid.n, Ly=load.length)
    rho = fp.CellVariable(mesh=mesh, hasOld=True)
    drift = fp.FaceVariable(mesh=mesh, rank=1)
    inner = ~np.asarray(mesh.exteriorFaces)  # convection through a wall is not ruled out by default
    static, moving = (inner * part for part in grid.gradients(np.asarray(mesh.faceCenters).T))
    old = rho.old
    before = (old.faceGrad * (load.D / 2) + drift * old.arithmeticFaceValue / 2).divergence
    after = fp.DiffusionTerm(load.D / 2) + fp.CentralDifferenceConvectionTerm(drift / 2)
    equation = fp.TransientTerm() == after + before
    solver = LinearLUSolver(tolerance=1e-9) if flat else LinearBicgstabSolver(tolerance=1e-9)

    def masses() -> Array:  # FiPy counts along the first axis first
        return np.reshape(rho.value * grid.volume, (grid.n,) * load.dim, order="F")

    def step(dt: float, moments: Array) -> None:
        drift.setValue(static + np.tensordot(grid.weights * moments, moving, 1))
        equation.sweep(var=rho, dt=dt, solver=solver)

    def run() -> Sample:
        rho.setValue(grid.initial().ravel(order="F") / grid.volume)
        history = Moments()
        begun = time.perf_counter()
        times = graded_times(load, steps, grading)
        for t, dt in zip(times, np.diff(times), strict=False):
            rho.updateOld()
            history.past.append((t, grid.moments(masses())))
            ahead = history.ahead(t + dt / 2)
            step(dt, ahead)
            if t == 0:  # there is nothing yet to extrapolate
                step(dt, (ahead + grid.moments(masses())) / 2)
        return grid.sample(masses(), time.perf_counter() - begun)

    return run


def fplanck(grid: Grid, steps: int, grading: float) -> Run:
    """fplanck: its master equation, rebuilt for every step and propagated by its matrix exponential.

    Its rates exp(-h Psi'/2D) D/h^2 ask for h |Psi'| of the order of D.
    """
    from fplanck.solver import FokkerPlanck

    load = grid.load
    static = grid.V + RIDGE / 2 * np.sum(grid.centres**2, axis=-1)
    extent = np.full(load.dim, load.length * (1 - 1e-9))  # it rounds extent/resolution up

    def propagate(masses: Array, moments: Array, dt: float) -> Array:
        potential = static + np.tensordot(grid.weights * moments, grid.features, 1)
        equation = FokkerPlanck(
            temperature=load.D / constants.k,
            drag=1.0,
            extent=extent,
            resolution=np.full(load.dim, grid.width),
            potential=lambda *_: potential,
        )
        return np.asarray(equation.propagate(lambda *_: masses, dt, normalize=False))

    def run() -> Sample:
        masses, history = grid.initial(), Moments()
        begun = time.perf_counter()
        times = graded_times(load, steps, grading)
        for t, dt in zip(times, np.diff(times), strict=False):
            history.past.append((t, grid.moments(masses)))
            ahead = history.ahead(t + dt / 2)
            if t == 0:
                ahead = grid.moments(propagate(masses, ahead, dt / 2))
            masses = propagate(masses, ahead, dt)
        return grid.sample(masses, time.perf_counter() - begun)

    return run
