"""The Fokker-Planck equation on cells as a Markov process, distributed by DOLFINx; the only home of DOLFINx.

    d_tau rho = 2 div(rho grad psi) + (2/beta) [ Lap rho - sum_i d_i((n_i - 1)/x_i rho) ]

For a potential psi held fixed, mass jumps between neighbouring cells L and R, a distance D apart, at rates

    k(L -> R) = kappa (2/beta)/(D h_L) a_L B(dg),    k(R -> L) = kappa (2/beta)/(D h_R) a_R B(-dg),

with h the width of a cell, dg = beta (psi_R - psi_L), B(z) = z/(e^z - 1), and a the area x^(n-1) at the facet
over its mean in the cell.  kappa = 1 is the flux of Scharfetter and Gummel: it is exact where the drift is
constant, but falls to first order where the drift dominates (beta h |d psi| > 2).  Here

    kappa = rho_c X/(out - back),    out = a_L B(dg) rho_L,    back = a_R B(-dg) rho_R,    X = log(out/back),

with rho_c the facet value of a limited linear reconstruction from the side that gives.  The flux is then
(2/beta) rho_c X/D, X/beta being the difference of psi + log(rho/reference)/beta: of second order at every noise.  As kappa >= 0
is one number for both ways, the process stays conservative, keeps masses >= 0, and is in detailed balance
with the Gibbs law of psi.  Everything is dimensionless.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from solvers.cells import Cells
from solvers.propagator import Propagator
from workbench.errors import BadInput
from workbench.measure import Array

NEGLIGIBLE = 1e-14  # mass that need not be moved at its own pace
EMPTY = 1e-290  # a rate of mass that counts as none: its reciprocal is still finite
MOST_KAPPA = 2.0  # rho_c may be twice the donor's density: then the reconstruction is >= 0 on its far side


def fenics(comm: Any = None) -> SimpleNamespace:
    """DOLFINx and UFL, with compiler options that no file in home or the working directory can change."""
    try:
        from mpi4py import MPI  # must come before dolfinx

        import petsc4py

        # DOLFINx would start PETSc, which is not used here, on all ranks at once, with options from home
        # and a handler that turns a closed pipe into an abort
        petsc4py.init(["", "-no_signal_handler", "-skip_petscrc"], comm=MPI.COMM_SELF)
        import dolfinx.jit
        import ffcx.options
        import ufl
        from dolfinx import fem, la, mesh
    except ImportError as error:
        raise BadInput(
            f"{error}: the Fokker-Planck solver needs DOLFINx: pip install dolfinx-solver-real"
        ) from error

    def form(expression: Any) -> Any:
        return fem.form(
            expression,
            form_compiler_options={k: v[1] for k, v in ffcx.options.FFCX_DEFAULT_OPTIONS.items()},
            jit_options={k: v[0] for k, v in dolfinx.jit.DOLFINX_DEFAULT_JIT_OPTIONS.items()},
        )

    return SimpleNamespace(
        fem=fem,
        la=la,
        mesh=mesh,
        ufl=ufl,
        form=form,
        MPI=MPI,
        comm=MPI.COMM_WORLD if comm is None else comm,
        version=dolfinx.__version__,
    )


@dataclass(frozen=True)
class Facets:
    """The facets normal to one axis beside a cell of this rank; arrays (facets,), "left" being the lower cell.

    left, right: places of both cells.  area_left, area_right: the area x^(n-1) over its mean in the cell.
    hop_left, hop_right: 2/(distance of the centres) over the width of the cell.  reach_left, reach_right:
    from the centre to the facet.  The other four are places in the data of the matrix: of the rates
    left -> right and right -> left, and of the diagonal; one past the end for a cell of another rank.
    """

    left: Any
    right: Any
    area_left: Array
    area_right: Array
    hop_left: Array
    hop_right: Array
    reach_left: Array
    reach_right: Array
    into_right: Any
    into_left: Any
    at_left: Any
    at_right: Any


class FiniteVolumes:
    """``cells`` spread over the ranks of ``comm``; arrays of its methods hold the cells of this rank only.

    ``owned`` (local,) tells the number, in C order, of each cell of this rank.
    """

    def __init__(self, cells: Cells, beta: float, comm: Any = None) -> None:
        fx = fenics(comm)
        self.cells, self.beta, self.comm, self.fx = cells, beta, fx.comm, fx
        self.mesh = tensor_mesh(fx, cells)
        self.space = fx.fem.functionspace(self.mesh, ("DG", 0))
        index_map = self.space.dofmap.index_map
        self._local = index_map.size_local
        number = _cell_numbers(cells, self.space.tabulate_dof_coordinates())
        self.owned = number[: self._local]
        self._order = np.concatenate(self.comm.allgather(self.owned))
        self._volumes = cells.volumes[number]
        self._psi, self._rho = fx.la.vector(index_map), fx.la.vector(index_map)
        self._slopes = [fx.la.vector(index_map) for _ in cells.shape]
        # the matrix couples a cell with those beside it, like any form of the jumps
        u, v = fx.ufl.TrialFunction(self.space), fx.ufl.TestFunction(self.space)
        self._matrix = fx.fem.create_matrix(fx.form(fx.ufl.jump(u) * fx.ufl.jump(v) * fx.ufl.dS))
        self._neighbours = _neighbours(cells, number, self._local)
        self._facets = [
            _facets(cells, number, self._local, axis, pairs, self._matrix)
            for axis, pairs in enumerate(self._neighbours)
        ]
        own = np.arange(self._local)
        self._diagonal = _positions(self._matrix, own, own, self._local)
        self._propagator = Propagator(
            self._matrix, self._diagonal, lambda: fx.la.vector(index_map), self._local, self.sum
        )

    def sum(self, value: Any) -> Any:
        """The sum over ranks."""
        return value if self.comm.size == 1 else self.comm.allreduce(value)

    def largest(self, value: float) -> float:
        """The largest over ranks."""
        return float(self.comm.allreduce(value, op=self.fx.MPI.MAX))

    def gather(self, values: Array) -> Array:
        """One value for every cell, in C order, on every rank."""
        everything = np.empty(self.cells.count)
        everything[self._order] = np.concatenate(self.comm.allgather(values))
        return everything

    def assemble(self, psi: Array, masses: Array) -> float:
        """Assemble the generator A of d masses/dtau = A masses, for this potential and with kappa of these
        masses; returns the fastest rate at which a cell is left.

        Cells that hold next to nothing are slowed down to the fastest of the others, by a smaller kappa:
        next to r = 0 the radial drift (n - 1)/r would else ask for many times the stages, for no mass.
        """
        potential = self._everywhere(self._psi, psi)
        rho = self._everywhere(self._rho, masses) / self._volumes
        rates = []
        leaving = np.zeros(len(rho))
        for axis, facets in enumerate(self._facets):
            slope = self._everywhere(self._slopes[axis], self._limited_slope(axis, rho))
            rightwards, leftwards = facet_rates(self.beta, facets, potential, rho, slope)
            rates.append((rightwards, leftwards))
            # a cell is the left one of at most one facet of an axis, so no place comes twice
            leaving[facets.left] += rightwards
            leaving[facets.right] += leftwards
        leaving = leaving[: self._local]
        held = masses > NEGLIGIBLE / self.cells.count
        fastest = self.largest(float(leaving.max(initial=0.0, where=held)))
        slowed = (
            np.minimum(1.0, fastest / np.maximum(leaving, EMPTY)) if fastest > 0 else np.ones_like(leaving)
        )
        slowing = self._everywhere(self._psi, slowed)
        data = np.zeros(len(self._matrix.data) + 1)
        for facets, (rightwards, leftwards) in zip(self._facets, rates, strict=True):
            factor = np.minimum(slowing[facets.left], slowing[facets.right])
            rightwards, leftwards = factor * rightwards, factor * leftwards
            data[facets.into_right], data[facets.into_left] = rightwards, leftwards
            data[facets.at_left] -= rightwards
            data[facets.at_right] -= leftwards
        self._matrix.data[:] = data[:-1]
        return fastest

    def outflow(self, masses: Array) -> float:
        """The mass that changes cells in unit time under the assembled generator."""
        return float(self.sum(-(self._matrix.data[self._diagonal] @ masses)))

    def _everywhere(self, vector: Any, values: Array) -> Array:
        """Values of the cells of this rank and of the neighbours that it sees."""
        vector.array[: self._local] = values
        vector.scatter_forward()
        everything: Array = vector.array
        return everything

    def _limited_slope(self, axis: int, rho: Array) -> Array:
        """d_i rho by van Leer's monotonised central difference; 0 at an extremum and at the boundary."""
        left, right, gap_left, gap_right = self._neighbours[axis]
        here = rho[: self._local]
        a, b = (here - rho[left]) / gap_left, (rho[right] - here) / gap_right
        central = (a * gap_right + b * gap_left) / (gap_left + gap_right)
        bound = 2.0 * np.minimum(np.abs(a), np.abs(b))
        return np.where(a * b > 0, np.clip(central, -bound, bound), 0.0)

    def advance(self, masses: Array, dt: float, fastest: float) -> Array:
        """masses after ``dt`` of the assembled process, >= 0; the matrix is used up."""
        return self._propagator.advance(masses, dt, fastest)


def bernoulli(z: Array) -> Array:
    """B(z) = z/(e^z - 1) for z >= 0, to rounding; at 700 it has fallen to 1e-301."""
    z = np.clip(z, 1e-300, 700.0)
    return np.asarray(z / np.expm1(z))


def facet_rates(beta: float, facets: Facets, psi: Array, rho: Array, slope: Array) -> tuple[Array, Array]:
    """k(L -> R) and k(R -> L) of the head of this file, for the potential, density and slope of all cells."""
    dpsi = psi[facets.right] - psi[facets.left]
    rho_left, rho_right = rho[facets.left], rho[facets.right]
    climb = np.abs(dpsi)
    # B over beta, which has a limit without noise; B(-z) = B(z) + z is a sum of positive numbers
    up = np.zeros_like(climb) if math.isinf(beta) else bernoulli(beta * climb) / beta
    down = up + climb
    uphill = dpsi > 0
    out, back = facets.area_left * np.where(uphill, up, down), facets.area_right * np.where(uphill, down, up)
    outflow, inflow = out * rho_left, back * rho_right
    larger = np.maximum(np.maximum(outflow, inflow), EMPTY)
    if math.isinf(beta):
        descent = climb
    else:  # X/(1 - e^(-X)) = B(X) + X, over beta
        # in logarithms: the smaller of the flows may be below the smallest float64
        log_left = np.log(np.maximum(facets.area_left * rho_left, EMPTY))
        log_right = np.log(np.maximum(facets.area_right * rho_right, EMPTY))
        X = np.abs(log_left - log_right - beta * dpsi)
        descent = (bernoulli(X) + X) / beta
    face = np.where(
        outflow > inflow,
        rho_left + slope[facets.left] * facets.reach_left,
        rho_right + slope[facets.right] * facets.reach_right,
    )
    # where the area throttles a strong drift towards r = 0, rates may rise to what they are without it
    most = MOST_KAPPA * np.maximum(1.0, down / np.maximum(np.maximum(out, back), EMPTY))
    kappa = np.where(larger > EMPTY, np.clip(face * descent / larger, 0.0, most), 1.0)
    return kappa * out * facets.hop_left, kappa * back * facets.hop_right


def tensor_mesh(fx: SimpleNamespace, cells: Cells) -> Any:
    """Intervals, quadrilaterals or hexahedra with the given edges."""
    shape, corners = cells.shape, [np.zeros(len(cells.shape)), np.array(cells.shape, dtype=float)]
    if len(shape) == 1:
        mesh = fx.mesh.create_interval(fx.comm, shape[0], [0.0, float(shape[0])])
    elif len(shape) == 2:
        mesh = fx.mesh.create_rectangle(fx.comm, corners, shape, fx.mesh.CellType.quadrilateral)
    else:
        mesh = fx.mesh.create_box(fx.comm, corners, shape, fx.mesh.CellType.hexahedron)
    x = mesh.geometry.x
    for axis, ends in enumerate(cells.edges):
        x[:, axis] = ends[np.rint(x[:, axis]).astype(int)]
    return mesh


def _cell_numbers(cells: Cells, centres: Array) -> Any:
    """The number in C order of the cells around these points."""
    index = [np.searchsorted(ends, centres[:, axis]) - 1 for axis, ends in enumerate(cells.edges)]
    return np.ravel_multi_index(index, cells.shape)


def _neighbours(cells: Cells, number: Any, local: int) -> list[tuple[Any, Any, Array, Array]]:
    """For every axis and cell of this rank: the places of both neighbours, and the distances to them.

    At the boundary a cell is its own neighbour, at a nominal distance.
    """
    place = np.full(cells.count, -1)
    place[number] = np.arange(len(number))
    index = np.unravel_index(number[:local], cells.shape)
    result = []
    for axis, count in enumerate(cells.shape):
        sides, gaps = [], []
        for shift in (-1, 1):
            beside = list(index)
            beside[axis] = np.clip(index[axis] + shift, 0, count - 1)
            other = np.ravel_multi_index(beside, cells.shape)
            sides.append(place[other])
            gap = np.abs(cells.centres[other, axis] - cells.centres[number[:local], axis])
            gaps.append(np.where(gap > 0, gap, 1.0))
        result.append((*sides, *gaps))
    return result


def _facets(cells: Cells, number: Any, local: int, axis: int, beside: Any, matrix: Any) -> Facets:
    """The facets normal to ``axis``; ``beside`` are the neighbours of the cells of this rank."""
    own = np.arange(local)
    left, right = beside[0], beside[1]
    lower = np.concatenate([own[right != own], left[left >= local]])
    upper = np.concatenate([right[right != own], own[left >= local]])
    index = np.unravel_index(number[lower], cells.shape)[axis]
    edges, n = cells.edges[axis], cells.dimensions[axis]
    centres, widths, at = (edges[1:] + edges[:-1]) / 2, np.diff(edges), edges[index + 1]
    log_area = np.zeros_like(at) if n == 1 else (n - 1) * np.log(at)
    log_mean = cells.log_areas[number, axis]
    pace = 2.0 / (centres[index + 1] - centres[index])
    return Facets(
        left=lower,
        right=upper,
        area_left=np.exp(log_area - log_mean[lower]),
        area_right=np.exp(log_area - log_mean[upper]),
        hop_left=pace / widths[index],
        hop_right=pace / widths[index + 1],
        reach_left=at - centres[index],
        reach_right=at - centres[index + 1],
        into_right=_positions(matrix, upper, lower, local),
        into_left=_positions(matrix, lower, upper, local),
        at_left=_positions(matrix, lower, lower, local),
        at_right=_positions(matrix, upper, upper, local),
    )


def _positions(matrix: Any, rows: Any, columns: Any, local: int) -> Any:
    """Where these entries stand in the data of a CSR matrix; one past the end for rows of other ranks."""
    width = int(matrix.indices.max(initial=0)) + 1
    starts = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
    keys = starts * width + matrix.indices
    order = np.argsort(keys)
    found = order[np.minimum(np.searchsorted(keys, rows * width + columns, sorter=order), len(keys) - 1)]
    return np.where(rows < local, found, len(keys))


class VTXFile:
    """A density over time for ParaView, one value a cell; written by all ranks together."""

    def __init__(self, path: str) -> None:
        self._path, self._parts = path, 0
        self._space: Any = None
        self._density: Any = None
        self._writer: Any = None

    def write(self, volumes: FiniteVolumes, masses: Array, t: float) -> None:
        """Append the density; a domain that has grown continues in a file of its own."""
        fx = volumes.fx
        if self._space is not volumes.space:
            self.close()
            self._space, self._density = volumes.space, fx.fem.Function(volumes.space, name="rho")
            from dolfinx.io import VTXWriter

            stem = self._path.removesuffix(".bp")
            path = self._path if self._parts == 0 else f"{stem}-{self._parts + 1}.bp"
            self._parts += 1
            self._writer = VTXWriter(volumes.comm, path, [self._density])
        own = masses / volumes.cells.volumes[volumes.owned]
        self._density.x.array[: len(own)] = own
        self._density.x.scatter_forward()
        self._writer.write(t)

    def close(self) -> None:
        """Finish the current file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
