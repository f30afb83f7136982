"""Jobs: the runs behind a figure, one solver on one Problem each, done side by side and each kept when done."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

from paper.fingerprint import NUMERICAL, code, digest, versions
from solvers.backends import choose
from workbench.errors import NumericalFailure
from workbench.problem import Problem
from workbench.trajectory import Trajectory

LOOK = 0.25  # seconds between two looks at how far the other processes are
SLOTS = 1024  # jobs of which that is known
HOW = ("workers", "checkpoint", "checkpoint_interval", "resume")  # of a config: how, not what is computed

type Progress = Callable[[float], None]


@dataclass(frozen=True)
class Job:
    """``solvers.METHOD.solve(problem, config)``."""

    method: str
    problem: Problem
    config: Any

    def key(self) -> str:
        """The hash of all that decides the result: numbers, code, versions."""
        problem, module = self.problem, self.problem.module
        config = {name: value for name, value in asdict(self.config).items() if name not in HOW}
        if config.get("backend") == "auto":  # rounding depends on the one taken
            config["backend"] = choose("auto", module, config["precision"]).name
        return digest(
            {
                "method": self.method,
                "module": [module.__name__, code(module.__name__), dict(module.SOURCE)],
                "parameters": dict(problem.parameters),
                "times": [problem.snapshots, problem.records],
                "initial": repr(problem.initial),
                "dynamics": [problem.lam, problem.beta, problem.schedule.exponent, problem.radial_entropy],
                "config": config,
                "code": code(f"solvers.{self.method}"),
                "versions": versions(NUMERICAL),
            }
        )

    def solve(self, progress: Progress, checkpoint: Path) -> Trajectory:
        """The result; a run of SGD goes on from ``checkpoint`` where it was interrupted."""
        config = self.config
        if self.method == "sgd":
            config = replace(config, checkpoint=str(checkpoint), resume=checkpoint.exists())
        result: Trajectory = import_module(f"solvers.{self.method}").solve(self.problem, config, progress)
        return result


@contextmanager
def processes(workers: int) -> Iterator[Executor | None]:
    """``workers`` processes for jobs; None for one, which is this one."""
    if workers == 1:
        yield None
        return
    # not forked: MPI and threads of libraries do not survive that
    context = multiprocessing.get_context("spawn")
    # without locks, which a process that is killed would leave taken
    fractions, stop = context.RawArray("d", SLOTS), context.RawValue("b", 0)
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(fractions, stop)
    ) as pool:
        pool.fractions = fractions  # type: ignore[attr-defined]
        try:
            yield pool
        except BaseException:
            stop.value = 1  # jobs under way end at their next sign of life
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def do(
    jobs: Mapping[str, Job],
    folder: Path,
    progress: Progress,
    pool: Executor | None,
    done: Callable[[str], None],
) -> None:
    """Do all jobs, the result of each in ``folder``/NAME.nc; ``done(name)`` as soon as one is there.

    Raises
    ------
    NumericalFailure
        of the first job that fails, after those that were under way; what it had is in ``folder``/NAME.partial.nc.
    """
    folder.mkdir(exist_ok=True)
    share = dict.fromkeys(jobs, 0.0)

    def tell(name: str, fraction: float) -> None:
        share[name] = fraction
        progress(sum(share.values()) / len(share))

    def end(name: str, failure: str | None) -> None:
        """Its checkpoint goes when its result is known to be there, not before: any process can be killed."""
        if failure is not None:
            failures.append(failure)
            return
        done(name)
        _forget(name, folder)
        tell(name, 1.0)

    failures: list[str] = []
    if pool is None:
        for name, job in jobs.items():
            end(name, _do(name, job, folder, partial(tell, name)))
            if failures:
                break
    else:
        _in_pool(jobs, folder, pool, tell, end, failures)
    if failures:
        raise NumericalFailure(failures[0])


def _in_pool(
    jobs: Mapping[str, Job],
    folder: Path,
    pool: Executor,
    tell: Callable[[str, float], None],
    end: Callable[[str, str | None], None],
    failures: list[str],
) -> None:
    """Do the jobs in the processes of the pool."""
    fractions = pool.fractions  # type: ignore[attr-defined]
    fractions[:] = [0.0] * SLOTS
    slots = {name: slot for slot, name in enumerate(jobs) if slot < SLOTS}
    with _uninterrupted():  # nor are the processes that start here
        waiting: dict[Future[str | None], str] = {
            pool.submit(_do_and_tell, name, job, folder, slots.get(name)): name for name, job in jobs.items()
        }
    while waiting:
        ready, _ = wait(waiting, LOOK, FIRST_COMPLETED)
        for name in waiting.values():
            if name in slots:
                tell(name, fractions[slots[name]])
        # results first: an error ends this
        for future in sorted(ready, key=lambda future: not future.cancelled() and bool(future.exception())):
            name = waiting.pop(future)
            if future.cancelled():
                continue
            try:
                end(name, future.result())
            except BrokenProcessPool as error:
                left = ", ".join(sorted({name, *waiting.values()}))
                raise NumericalFailure(
                    f"a process was killed, perhaps for want of memory: give fewer --workers; not done: {left}; "
                    f"what the others had is kept in {folder}"
                ) from error
        if failures:
            for future in waiting:
                future.cancel()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C is held back until the end; a process that starts here never sees it.

    In a terminal it reaches every process, and one that is cut off anywhere leaves locks of the pool taken.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _do(name: str, job: Job, folder: Path, progress: Progress) -> str | None:
    """Solve and save; what went wrong, if it did."""
    checkpoint = folder / f"{name}-{job.key()[:16]}.checkpoint"
    unfinished = folder / f"{name}.partial.nc"
    try:
        job.solve(progress, checkpoint).save(folder / f"{name}.nc")
    except NumericalFailure as failure:
        if failure.partial is None:
            return f"{name}: {failure}"
        failure.partial.save(unfinished)
        return f"{name}: {failure}; kept in {unfinished}"
    return None


def _forget(name: str, folder: Path) -> None:
    """Remove what was kept of a job while it was not done."""
    for left in folder.glob(f"{name}-*.checkpoint"):
        shutil.rmtree(left)
    (folder / f"{name}.partial.nc").unlink(missing_ok=True)


_shared: tuple[Any, Any]  # in a process of the pool: how far its jobs are, and whether to stop


def _begin(fractions: Any, stop: Any) -> None:
    global _shared
    _shared = fractions, stop
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed tells nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _do_and_tell(name: str, job: Job, folder: Path, slot: int | None) -> str | None:
    fractions, stop = _shared

    def tell(fraction: float) -> None:
        if stop.value:
            raise KeyboardInterrupt
        if slot is not None:
            fractions[slot] = fraction

    return _do(name, job, folder, tell)
