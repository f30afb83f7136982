"""Jobs: the runs behind a figure, one solver on one Problem each, done side by side and each kept when done."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from queue import Empty
from typing import Any

from paper.fingerprint import NUMERICAL, code, digest, versions
from workbench.errors import NumericalFailure
from workbench.problem import Problem
from workbench.trajectory import Trajectory

LOOK = 0.25  # seconds between two looks at how far the other processes are
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
    news, stop = context.Queue(), context.Event()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(news, stop)) as pool:
        pool.news = news  # type: ignore[attr-defined]
        try:
            yield pool
        except BaseException:
            stop.set()  # jobs under way end at their next sign of life
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

    failures: list[str] = []
    if pool is None:
        for name, job in jobs.items():
            failure = _do(name, job, folder, partial(tell, name))
            _note(name, failure, failures, done)
            if failures:
                break
    else:
        waiting: dict[Future[str | None], str] = {
            pool.submit(_do_and_tell, name, job, folder): name for name, job in jobs.items()
        }
        while waiting:
            ready, _ = wait(waiting, LOOK, FIRST_COMPLETED)
            with suppress(Empty):
                while True:
                    tell(*pool.news.get_nowait())  # type: ignore[attr-defined]
            for future in ready:
                name = waiting.pop(future)
                if future.cancelled():
                    continue
                try:
                    _note(name, future.result(), failures, done)
                except BrokenProcessPool as error:
                    raise NumericalFailure(
                        f"{name}: its process was killed, perhaps for want of memory: give fewer --workers; "
                        f"what the others had is kept in {folder}"
                    ) from error
                tell(name, 1.0)
            if failures:
                for future in waiting:
                    future.cancel()
    if failures:
        raise NumericalFailure(failures[0])


def _note(name: str, failure: str | None, failures: list[str], done: Callable[[str], None]) -> None:
    if failure is None:
        done(name)
    else:
        failures.append(failure)


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
    for left in folder.glob(f"{name}-*.checkpoint"):
        shutil.rmtree(left)
    unfinished.unlink(missing_ok=True)
    return None


_channel: tuple[Any, Any]  # in a process of the pool: where it tells how far it is, and whether to stop


def _begin(news: Any, stop: Any) -> None:
    global _channel
    _channel = news, stop


def _do_and_tell(name: str, job: Job, folder: Path) -> str | None:
    news, stop = _channel

    def tell(fraction: float) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        news.put((name, fraction))

    return _do(name, job, folder, tell)
