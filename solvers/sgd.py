"""One-pass SGD of the actual two-layer network in R^d, one fresh sample a step  [MMN18].

The network is the thing the mean-field limit is a limit of.  Steps are taken in blocks, as matrix products
that do exactly what the steps would do one by one (``solvers.blocked``).  Here are the configuration and an
ensemble of independent replicas over threads and ranks; ``solvers.sgd_run`` has the run of one of them.
Everything is dimensionless.
"""

from __future__ import annotations

import math
import re
import time as clock
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from solvers.backends import BACKENDS, choose
from solvers.ranks import on_first_rank, spread, world
from solvers.recursion import Recursion
from solvers.samples import CHUNK
from solvers.sgd_result import Outcome, assemble
from solvers.sgd_run import Run, identity
from solvers.sgd_schedule import recording_grid
from workbench.checkpoint import Checkpoint
from workbench.checks import real_number, whole_number
from workbench.errors import BadInput, NumericalFailure
from workbench.lock import exclusive
from workbench.problem import Problem
from workbench.trajectory import Trajectory

CHECKPOINTS = "replica-"  # and its number: the name of a checkpoint


@dataclass(frozen=True)
class SGDConfig:
    """How to run SGD.

    Parameters
    ----------
    epsilon
        step scale, epsilon > 0; the time after k steps is t = k epsilon.
    units
        number N >= 1 of units.
    seed
        0 <= seed < 2^63; with the number of the replica it decides initial weights, data and noise.
    replica, replicas
        the first replica and their number: ``replicas=20`` runs replicas 0 to 19, ``replica=7`` the eighth.
    workers
        replicas that are trained at once, in threads.
    block
        steps that are taken together, 1 <= block <= 1024; matters to rounding and speed.  Which injected noise
        is drawn depends on it, and on the record times, where blocks end; its law does not.
    backend
        ``c`` (compiled for this machine), ``numpy``, ``cupy`` (on a GPU, all replicas at once), or ``auto``:
        c, or numpy where nothing can be compiled.
    precision
        ``float32`` or ``float64``, of weights and products; samples are float32 numbers in both, risks are
        evaluated in float64.
    held_out
        samples, never trained on, for ``held_out_risk``; 0: none.
    network_risk
        evaluate ``network_risk``, O(N^2) at each record; without it that is nan.
    keep_weights
        store the weights themselves at every snapshot, not only their reduced coordinates.
    checkpoint, checkpoint_interval, resume
        a folder for checkpoints (None: none), the seconds between two, and whether to go on from those that
        are there.

    Raises
    ------
    BadInput
        naming the offending value and the mend.
    """

    epsilon: float = 1e-5
    units: int = 800
    seed: int = 0
    replica: int = 0
    replicas: int = 1
    workers: int = 1
    block: int = 64
    backend: str = "auto"
    precision: str = "float32"
    held_out: int = 1024
    network_risk: bool = True
    keep_weights: bool = False
    checkpoint: str | None = None
    checkpoint_interval: float = 60.0
    resume: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(real_number("epsilon", self.epsilon)) and self.epsilon > 0):
            raise BadInput(f"epsilon = {self.epsilon} is not a step: give a finite epsilon > 0, e.g. 1e-5")
        whole_number("units", self.units, 1)
        whole_number("seed", self.seed, 0, 2**63 - 1)
        whole_number("replica", self.replica, 0, 2**31 - 1)
        whole_number("replicas", self.replicas, 1, 10**6)
        whole_number("workers", self.workers, 1, 1024)
        whole_number("block", self.block, 1, CHUNK)
        whole_number("held_out", self.held_out, 0)
        for name, known in (("backend", BACKENDS), ("precision", ("float32", "float64"))):
            if getattr(self, name) not in known:
                raise BadInput(f"{name} = {getattr(self, name)!r}: choose from {', '.join(known)}")
        for name in ("network_risk", "keep_weights", "resume"):
            if not isinstance(getattr(self, name), bool):
                raise BadInput(f"{name} = {getattr(self, name)!r}: give True or False")
        if not (self.checkpoint is None or isinstance(self.checkpoint, str)):
            raise BadInput(f"checkpoint = {self.checkpoint!r}: give the name of a folder, or None")
        if not real_number("checkpoint_interval", self.checkpoint_interval) >= 0:
            raise BadInput(f"checkpoint_interval = {self.checkpoint_interval}: give seconds >= 0, e.g. 60")
        if self.resume and self.checkpoint is None:
            raise BadInput("resume = True: name the folder of checkpoints, checkpoint=…")

    @property
    def numbers(self) -> range:
        """The numbers of the replicas."""
        return range(self.replica, self.replica + self.replicas)


@threadpool_limits.wrap(
    limits=1, user_api="blas"
)  # the products are too small to share out: threads cost tenfold
def solve(
    problem: Problem,
    config: SGDConfig = SGDConfig(),
    progress: Callable[[float], None] | None = None,
    comm: Any = None,
) -> Trajectory:
    """Train the network by one-pass SGD and record it.

    From units drawn independently from ``problem.initial``, step k = 0, 1, ... takes one fresh sample (x, y) and

        w_i <- (1 - 2 lam s_k) w_i + 2 s_k (y - yhat) a_i sigma'(z_i) x + sqrt(4 s_k / beta) g_ik,
        z_i = <w_i, x> + b_i,   yhat = (1/N) sum_i a_i sigma(z_i),   s_k = epsilon xi((k + 1) epsilon),   g_ik ~ N(0, I)

    (no 1/N in the step: this sets the mean-field clock t = k epsilon) [MMN18].  Affine units train a_i and
    b_i alike; plain ones have a = 1, b = 0.  The empirical law of the units follows the distributional
    dynamics up to O(sqrt(1/N) + sqrt(d epsilon)).  With the same samples the result is that of the plain loop
    to rounding; noise is equal to it in law.

    Parameters
    ----------
    problem
        a Problem with finite d; its module has ``sigma``, ``sigma_prime`` and ``data_law``.
    config
        step, size, seed, replicas, and how to run them.
    progress
        called with the fraction of the steps done.
    comm
        the ranks to spread replicas over, by default all that ``mpiexec`` started; all get the result.

    Returns
    -------
    Trajectory
        the measure of the units in reduced coordinates, of all replicas together, points (R N, D) of weight
        1/(R N), replica by replica, at each snapshot, and at each record time ``risk`` (orbit-averaged, of
        the units of one network), ``network_risk`` (exact, of the network), ``online_risk`` (mean of
        (y - yhat)^2 over the samples since the last record, each before its own update) and
        ``held_out_risk``: their means over replicas.  ``step (snapshot)`` and ``record_step (record)`` hold
        the steps, ``weights_full (snapshot, unit, dim)`` the weights if kept.  t = 0 is not recorded.

        With replicas > 1 also, for each NAME of the risks, ``replica_NAME (replica, record)`` and
        ``NAME_quantile (level, record)``, and for each coordinate C the density of the units
        ``histogram_C (snapshot, bin)`` with ``histogram_C_quantile (level, snapshot, bin)`` over replicas, on
        ``histogram_C_edge (snapshot, bin_edge)``.

    Raises
    ------
    BadInput
        for d = inf, a recording grid finer than the steps, a back end that cannot be had, checkpoints of
        another run.
    NumericalFailure
        at the first step after which a squared error, a weight or a risk is not finite, with the
        records made before it as ``partial``.  Other replicas are finished first; on a GPU, where they
        advance together, they stop with it.
    """
    if not (math.isfinite(problem.d) and problem.d == int(problem.d)):
        raise BadInput(f"d = {problem.d}: a real network needs a finite d; give an integer d >= 1")
    if max(config.units, CHUNK) * problem.d > 1e9:
        raise BadInput(
            f"units = {config.units} at d = {problem.d} need more than 8 GB: give fewer units or a smaller d"
        )
    if problem.t_end / config.epsilon > 1e12:
        raise BadInput(
            f"epsilon = {config.epsilon} takes {problem.t_end / config.epsilon:.0e} steps: give a larger epsilon"
        )
    stops = recording_grid(problem, config.epsilon)
    recursion = choose(config.backend, problem.module, config.precision)
    # on a GPU replicas advance together
    groups = [(number,) for number in config.numbers] if recursion.xp is np else [tuple(config.numbers)]
    comm = world() if comm is None else comm
    if config.resume:  # what is of no use is told before anything is trained
        for group in groups:
            kept_state = _checkpoint(problem, config, group, recursion.name)
            if kept_state is not None:
                kept_state.load()
    started = clock.perf_counter()
    folder = None if config.checkpoint is None else Path(config.checkpoint)
    with ExitStack() as stack:
        if folder is not None:
            on_first_rank(partial(_make_folder, folder, config.resume, stack), comm)
        here = partial(_in_threads, problem, config, groups, recursion, progress)
        if comm.size == 1:
            outcomes = here()
        elif len(groups) == 1:  # nothing to spread
            outcomes = comm.bcast(on_first_rank(here, comm))
        else:
            outcomes = comm.bcast(list(spread(partial(_anywhere, problem, config), groups, comm)))
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    for failure in failures:
        if not isinstance(failure, NumericalFailure):
            raise failure
    taken = sum(outcome.steps * len(group) for outcome, group in zip(outcomes, groups, strict=True))
    before = sum(outcome.spent for outcome in outcomes) / min(config.workers * comm.size, len(outcomes))
    wall_time = before + clock.perf_counter() - started
    attrs = {
        "backend": recursion.name,
        "wall_time": wall_time,
        "steps_per_second": taken / max(wall_time, 1e-9),
    }
    result = assemble(problem, config, stops, outcomes, attrs)
    if failures:
        kept = "" if folder is None else f"; the last finite state is kept in {folder}"
        raise NumericalFailure(f"{failures[0]}{kept}", result)
    return result


def _make_folder(folder: Path, resume: bool, stack: ExitStack) -> None:
    """Make the folder of checkpoints and lock it; what an earlier run left there is continued or refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"checkpoint = {folder} ({error.strerror}): name a folder that can be written to"
        ) from error
    stack.enter_context(exclusive(folder))
    if not resume and any(folder.glob(f"{CHECKPOINTS}*")):
        raise BadInput(
            f"checkpoint = {folder} holds what an interrupted run left: go on with it (--resume, or "
            "resume=True), or remove it"
        )


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run of which the result is safe, and nothing else."""
    for path in folder.glob(f"{CHECKPOINTS}*"):
        if re.fullmatch(rf"{CHECKPOINTS}\d+(\.part)?", path.name):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()


def _in_threads(
    problem: Problem,
    config: SGDConfig,
    groups: Sequence[Sequence[int]],
    recursion: Recursion,
    progress: Callable[[float], None] | None,
) -> list[Outcome]:
    """All groups, ``config.workers`` at a time."""
    done, stop = [0.0] * len(groups), Event()

    def run(number: int) -> Outcome:
        def own(fraction: float) -> None:
            if stop.is_set():
                raise KeyboardInterrupt  # of another thread
            done[number] = fraction
            if progress is not None:
                progress(sum(done) / len(done))

        return _outcome(problem, config, groups[number], recursion, own)

    if config.workers == 1:
        return [run(number) for number in range(len(groups))]
    with ThreadPoolExecutor(config.workers) as pool:
        waiting = [pool.submit(run, number) for number in range(len(groups))]
        try:
            ended, _ = wait(waiting, return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()  # raises what stopped it
            return [future.result() for future in waiting]
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _checkpoint(
    problem: Problem, config: SGDConfig, replicas: Sequence[int], backend: str
) -> Checkpoint | None:
    """Where the state of some replicas is kept."""
    if config.checkpoint is None:
        return None
    path = Path(config.checkpoint) / f"{CHECKPOINTS}{replicas[0]}"
    return Checkpoint(path, identity(problem, config, replicas, backend))


def _outcome(
    problem: Problem,
    config: SGDConfig,
    replicas: Sequence[int],
    recursion: Recursion,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Train some replicas together."""
    run, failure = Run(problem, config, replicas, recursion), None
    try:
        run.finish(progress, _checkpoint(problem, config, replicas, recursion.name))
    except NumericalFailure as error:
        failure = error
    return Outcome(run.records, run.recorded, run.step, run.spent, failure)


def _anywhere(problem: Problem, config: SGDConfig, replicas: Sequence[int]) -> Outcome:
    """The same in another process, where an error must not stay or the other ranks would wait for ever."""
    try:
        recursion = choose(config.backend, problem.module, config.precision)
        return _outcome(problem, config, replicas, recursion)
    except Exception as error:
        return Outcome({}, 0, 0, 0.0, error)
