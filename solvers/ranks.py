"""Processes started together by ``mpiexec``, and work spread over them; the home of mpi4py.

One run of the Fokker-Planck solver uses all ranks for its cells; a sweep gives every rank runs of its own.
Without MPI there is one rank, this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def world() -> Any:
    """The communicator of all ranks; one of this process alone where mpi4py is missing."""
    try:
        from mpi4py import MPI
    except ImportError:
        return _Alone()
    return MPI.COMM_WORLD


def alone() -> Any:
    """A communicator of this process only, for runs of a sweep."""
    try:
        from mpi4py import MPI
    except ImportError:
        return _Alone()
    return MPI.COMM_SELF


class _Alone:
    """What is used of a communicator, for a single process."""

    rank, size = 0, 1

    def bcast(self, value: Any, root: int = 0) -> Any:
        """``value`` itself."""
        return value


def on_first_rank[Result](action: Callable[[], Result], comm: Any = None) -> Result | None:
    """Run ``action`` on the first rank (of all, or of ``comm``).

    What it raises is raised on all of them, or the others would wait for ever.

    Returns its result on the first rank, None on the others.
    """
    comm = world() if comm is None else comm
    result, failure = None, None
    if comm.rank == 0:
        try:
            result = action()
        except Exception as error:
            failure = error
    failure = comm.bcast(failure, root=0)
    if failure is not None:
        raise failure
    return result


def spread[Task, Result](
    function: Callable[[Task], Result], tasks: Iterable[Task], comm: Any = None
) -> Iterator[Result]:
    """The results of ``function`` over ``tasks``, in their order, on the first rank; nothing on the others.

    The first rank hands tasks to the others as they become free, through ``mpi4py.futures``; alone, it does
    them itself.  ``function`` and tasks must be picklable, and ``function`` must not use ``world()``.
    """
    comm = world() if comm is None else comm
    if comm.size == 1:
        yield from map(function, tasks)
        return
    from mpi4py.futures import MPICommExecutor

    executor: Any
    with MPICommExecutor(comm, root=0) as executor:
        if executor is not None:  # the first rank
            yield from executor.map(function, tasks)
