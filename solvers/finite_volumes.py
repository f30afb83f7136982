"""The Fokker-Planck equation on cells as a Markov process, distributed by DOLFINx; the only home of DOLFINx.

    d_tau rho = 2 div(rho grad psi) + (2/beta) [ Lap rho - sum_i d_i((n_i - 1)/x_i rho) ]

For a potential psi held fixed, mass jumps between neighbouring cells L and R, a distance D apart, at rates

    k(L -> R) = kappa (2/beta)/(D h_L) a_L B(dg),    k(R -> L) = kappa (2/beta)/(D h_R) a_R B(-dg),

with h the width of a cell, dg = beta (psi_R - psi_L), B(z) = z/(e^z - 1), and a the area x^(n-1) at the facet
over its mean in the cell.  kappa = 1 is the flux of Scharfetter and Gummel: it is exact where the drift is
constant, but falls to first order where the drift dominates (beta h |d psi| > 2).  Here

    kappa = rho_c X/(out - back),    out = a_L B(dg) rho_L,    back = a_R B(-dg) rho_R,    X = log(out/back),

with rho_c the facet value of a limited linear reconstruction from the side that gives.  The flux is then
(2/beta) rho_c X/D, X/beta being the difference of psi + log(rho/reference)/beta: of second order at every noise.  As kappa > 0
is one number for both ways, the process stays conservative, keeps masses >= 0, and is in detailed balance
with the Gibbs law of psi.  kappa is kept between 1/2 and 2, but for the area: it is held fixed for a step, in which
a front may cross many cells, and where the front was steep at first no mass must pile up.  Everything is dimensionless.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from solvers.cells import Cells
from solvers.compiled import Library, NoCompiler, load
from solvers.propagator import Propagator
from workbench.errors import BadInput
from workbench.measure import Array

NEGLIGIBLE = 1e-14  # mass that need not be moved at its own pace


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


def compiled() -> Library:
    """The loops of ``finite_volumes.c``."""
    try:
        return load(Path(__file__).with_suffix(".c").read_text("utf-8"))
    except NoCompiler as error:
        raise BadInput(f"the Fokker-Planck solver is compiled on its first use: {error}") from error


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
        self._psi, self._rho, *self._slopes = (fx.la.vector(index_map) for _ in range(2 + len(cells.shape)))
        # the matrix couples a cell with those beside it, like any form of the jumps
        u, v = fx.ufl.TrialFunction(self.space), fx.ufl.TestFunction(self.space)
        self._matrix = fx.fem.create_matrix(fx.form(fx.ufl.jump(u) * fx.ufl.jump(v) * fx.ufl.dS))
        # one more than the matrix: there go the rates into rows of other ranks
        self._data = np.empty(len(self._matrix.data) + 1)
        self._masses = np.empty(self._local)
        c = self._c = compiled()
        self._cells = c.structure(
            "Cells",
            own=self._local,
            all=len(number),
            beta=beta,
            negligible=NEGLIGIBLE / cells.count,
            volumes=cells.volumes[number],
            masses=self._masses,
            psi=self._psi.array,
            rho=self._rho.array,
            log_rho=np.empty(len(number)),
            leaving=np.empty(len(number)),
        )
        self._axes = [
            c.structure("Axis", slope=slope.array, **_axis(cells, number, self._local, axis, self._matrix))
            for axis, slope in enumerate(self._slopes)
        ]
        own = np.arange(self._local)
        self._diagonal = _positions(self._matrix, own, own, self._local)
        self._propagator = Propagator(
            self._matrix, self._diagonal, lambda: fx.la.vector(index_map), self._local, self.sum, c
        )

    def sum(self, value: Any) -> Any:
        """The sum over ranks."""
        return value if self.comm.size == 1 else self.comm.allreduce(value)

    def largest(self, value: float) -> float:
        """The largest over ranks."""
        return value if self.comm.size == 1 else float(self.comm.allreduce(value, op=self.fx.MPI.MAX))

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
        lib, own = self._c.lib, slice(self._local)
        self._masses[:] = self._rho.array[own] = masses
        self._psi.array[own] = psi
        self._rho.scatter_forward()
        self._psi.scatter_forward()
        lib.begin(self._cells)
        for axis, slope in zip(self._axes, self._slopes, strict=True):
            lib.limited_slope(self._cells, axis)
            slope.scatter_forward()
            lib.rates(self._cells, axis)
        fastest = self.largest(lib.fastest_rate(self._cells))
        lib.slow_down(self._cells, fastest)
        self._psi.scatter_forward()
        self._data[:] = 0.0
        for axis in self._axes:
            lib.fill(self._cells, axis, self._c.pointer(self._data))
        self._matrix.data[:] = self._data[:-1]
        return fastest

    def outflow(self, masses: Array) -> float:
        """The mass that changes cells in unit time under the assembled generator."""
        return float(self.sum(-(self._matrix.data[self._diagonal] @ masses)))

    def advance(self, masses: Array, dt: float, fastest: float) -> Array:
        """masses after ``dt`` of the assembled process, >= 0; the matrix is used up."""
        return self._propagator.advance(masses, dt, fastest)


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


def _axis(cells: Cells, number: Any, local: int, axis: int, matrix: Any) -> dict[str, Any]:
    """The fields of ``Axis`` in ``finite_volumes.c`` that are known before any density.

    below, above (cells,): the neighbours of every cell of this rank, and gap_below, gap_above the distances
    to them; at the boundary a cell is its own neighbour, at a nominal distance.

    The rest has one entry for each facet beside a cell of this rank.  left, right: both cells.  area_left,
    area_right: the area x^(n-1) over its mean in the cell, log_ratio: the logarithm of their ratio.
    hop_left, hop_right: 2/(distance of the centres) over the width of the cell.  reach_left, reach_right:
    from the centre to the facet.  into_right, into_left, at_left, at_right: places in the data of the matrix
    of the rates left -> right and right -> left, and of the diagonal; one past the end for rows of other ranks.
    """
    place = np.full(cells.count, -1)
    place[number] = np.arange(len(number))
    own = np.arange(local)
    edges, n, where = cells.edges[axis], cells.dimensions[axis], np.unravel_index(number, cells.shape)
    centres, widths, at_cells = (edges[1:] + edges[:-1]) / 2, np.diff(edges), where[axis]
    sides, gaps = [], []
    for shift in (-1, 1):
        beside = [index[:local] for index in where]
        beside[axis] = np.clip(beside[axis] + shift, 0, cells.shape[axis] - 1)
        sides.append(place[np.ravel_multi_index(beside, cells.shape)])
        gap = np.abs(centres[beside[axis]] - centres[at_cells[:local]])
        gaps.append(np.where(gap > 0, gap, 1.0))
    below, above = sides
    left = np.concatenate([own[above != own], below[below >= local]])
    right = np.concatenate([above[above != own], own[below >= local]])
    index = at_cells[left]
    at = edges[index + 1]
    log_area = np.zeros_like(at) if n == 1 else (n - 1) * np.log(at)
    log_mean = cells.log_areas[number, axis]
    pace = 2.0 / (centres[index + 1] - centres[index])
    places = {
        "left": left,
        "right": right,
        "into_right": _positions(matrix, right, left, local),
        "into_left": _positions(matrix, left, right, local),
        "at_left": _positions(matrix, left, left, local),
        "at_right": _positions(matrix, right, right, local),
        "below": below,
        "above": above,
    }
    return {name: values.astype(np.int32) for name, values in places.items()} | {
        "facets": len(left),
        "area_left": np.exp(log_area - log_mean[left]),
        "area_right": np.exp(log_area - log_mean[right]),
        "log_ratio": log_mean[right] - log_mean[left],
        "hop_left": pace / widths[index],
        "hop_right": pace / widths[index + 1],
        "reach_left": at - centres[index],
        "reach_right": at - centres[index + 1],
        "gap_below": gaps[0],
        "gap_above": gaps[1],
        "rightwards": np.empty(len(left)),
        "leftwards": np.empty(len(left)),
    }


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
