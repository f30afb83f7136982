"""A run of SGD for some replicas that advance together: its blocks, its records, its checkpoints, how it fails."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from solvers.blocked import Noise, Units, advance
from solvers.network import Network, population_risk
from solvers.recursion import Recursion
from solvers.recursion_c import CompiledRecursion
from solvers.samples import CHUNK, Stream, chunks, draw_samples, generator
from solvers.sgd_schedule import Steps, Stop, recording_grid, step_sizes
from workbench.checkpoint import Checkpoint
from workbench.errors import NumericalFailure
from workbench.measure import Measure, risk
from workbench.problem import Problem

RISKS = ("risk", "network_risk", "online_risk", "held_out_risk")


class Run:
    """The state and the records of some replicas.

    records: risk, network_risk, online_risk, held_out_risk (stops, R), of which ``recorded`` rows are filled;
    points (snapshots, R, N, D) the reduced coordinates of the units; weights (snapshots, R, N, d) if kept.
    spent: seconds that it took before it was resumed.
    """

    def __init__(self, problem: Problem, config: Any, replicas: Sequence[int], recursion: Recursion) -> None:
        self.problem, self.config, self.replicas, self._recursion = problem, config, replicas, recursion
        self._real = np.dtype(config.precision)
        self.stops = recording_grid(problem, config.epsilon)
        self._law = problem.module.data_law(problem.parameters)
        self._affine = "a" in problem.module.COORDINATES
        self.step = self.recorded = 0
        self.units = self._drawn_units()
        count, snapshots = len(replicas), sum(stop.is_snapshot for stop in self.stops)
        self.records = {name: np.zeros((len(self.stops), count)) for name in RISKS}
        sizes = (snapshots, count, config.units)
        self.records["points"] = np.zeros((*sizes, len(problem.module.COORDINATES)))
        if config.keep_weights:
            self.records["weights"] = np.zeros((*sizes, int(problem.d)))
        # of the squared errors since the last record
        self._squares, self._since = recursion.xp.zeros(count), 0
        self.spent = 0.0
        self._begun = self._saved = clock.perf_counter()

    @property
    def total(self) -> int:
        """The number of steps."""
        return self.stops[-1].step

    def finish(self, progress: Callable[[float], None] | None, checkpoint: Checkpoint | None) -> None:
        """Take all steps that are left.

        Raises
        ------
        NumericalFailure
            at the first step after which a squared error, a weight or a risk is not finite.
        """
        if checkpoint is not None and self.config.resume:
            self._resume(checkpoint)
        if self.step == self.total:
            if progress is not None:
                progress(1.0)
            return
        replicas, chunk = self.replicas, self.step // CHUNK
        arrays = chunks(
            self._law, self.config.seed, replicas, chunk, -(-self.total // CHUNK), self._affine, self._real
        )
        with closing(arrays):  # an interruption, too, ends the thread that draws ahead
            for x, y in arrays:
                try:
                    # a run that diverges overflows; it is found in the result
                    with np.errstate(over="ignore", invalid="ignore"):
                        self._chunk(*map(self._recursion.xp.asarray, (x, y)))
                except NumericalFailure:
                    if checkpoint is not None:
                        self._save(checkpoint)
                    raise
                waited = clock.perf_counter() - self._saved >= self.config.checkpoint_interval
                if checkpoint is not None and (waited or self.step == self.total):
                    self._save(checkpoint)
                if progress is not None:
                    progress(self.step / self.total)

    def _chunk(self, x: Any, y: Any) -> None:
        """The steps of one chunk; a failure leaves the state at the last stop, or at the start of the chunk."""
        kept = self._state()
        last = min(self.step - self.step % CHUNK + CHUNK, self.total)
        steps = self._steps_of_chunk()
        try:
            while self.step < last:
                end = min(last, self.stops[self.recorded].step)
                self._squares += self._advance(x, y, steps, end)
                self._since += end - self.step
                if not self._finite(self._squares):
                    self._restore(kept)  # once more, to find the step
                    step = self._failing_step(x, y, steps, end)
                    raise self._failure(step, "the weights or the squared error")
                self.step = end
                if end == self.stops[self.recorded].step:
                    self._record(self.stops[self.recorded])
                kept = self._state()
        except NumericalFailure:
            self._restore(kept)
            raise

    def _state(self) -> tuple[int, Units, Any, int]:
        """What a run goes on from, kept aside."""
        return self.step, self.units.copy(), self._squares.copy(), self._since

    def _restore(self, kept: tuple[int, Units, Any, int]) -> None:
        self.step, units, squares, self._since = kept
        self.units, self._squares = units.copy(), squares.copy()

    def _steps_of_chunk(self) -> Steps:
        first = self.step - self.step % CHUNK
        s = step_sizes(self.problem, self.config.epsilon, first, min(CHUNK, self.total - first))
        return Steps.of(s, self.problem.lam, self.problem.beta)

    def _blocks(self, end: int) -> list[int]:
        """The ends of the blocks that lead from here, where a chunk or a stop was, to ``end`` in the same chunk."""
        return [*range(self.step + self.config.block, end, self.config.block), end]

    def _advance(self, x: Any, y: Any, steps: Steps, end: int) -> Any:
        """From here to ``end``, no further than the next stop; the sums of squared errors (R,)."""
        ends = self._blocks(end)
        if isinstance(self._recursion, CompiledRecursion) and not steps.noisy:
            part = slice(self.step % CHUNK, self.step % CHUNK + end - self.step)
            units, blocks = self.units, [k - self.step for k in ends]
            errors, units.scale = self._recursion.train(
                units.W, units.a, units.scale, x[:, part], y[:, part], steps.part(part), blocks
            )
            return (errors**2).sum(axis=1, dtype=float)
        firsts = [self.step, *ends[:-1]]
        return sum(
            self._block(x, y, steps, first, last).sum(axis=1, dtype=float)
            for first, last in zip(firsts, ends, strict=True)
        )

    def _block(self, x: Any, y: Any, steps: Steps, first: int, last: int) -> Any:
        """Steps first ... last - 1 of their chunk; the squared errors (R, last - first)."""
        part = slice(first % CHUNK, first % CHUNK + last - first)
        noise = self._noise(first, last - first) if steps.noisy else None
        try:
            return advance(self.units, x[:, part], y[:, part], steps.part(part), noise, self._recursion)
        except np.linalg.LinAlgError as error:
            raise self._failure(last, "the covariance of the noise along the samples") from error

    def _noise(self, first: int, size: int) -> Noise:
        """The normals of the block that begins with step ``first``."""
        units, real, asarray = self.config.units, self._real, self._recursion.xp.asarray
        ends, bridges, outputs = [], [], []
        for replica in self.replicas:
            rng = generator(self.config.seed, replica, Stream.NOISE, first)
            ends.append(rng.standard_normal(self.units.W.shape[1:], dtype=real.type))
            bridges.append(rng.standard_normal((size, units), dtype=real.type))
            if self._affine:
                outputs.append(rng.standard_normal((size, units), dtype=real.type))
        return Noise(
            asarray(np.stack(ends)),
            asarray(np.stack(bridges)),
            asarray(np.stack(outputs)) if self._affine else None,
        )

    def _finite(self, squares: Any) -> bool:
        arrays = [squares, self.units.W] if self.units.a is None else [squares, self.units.W, self.units.a]
        return all(bool(self._recursion.xp.isfinite(array).all()) for array in arrays)

    def _failing_step(self, x: Any, y: Any, steps: Steps, end: int) -> int:
        """From the last finite state: the number of steps up to and including the first not finite.

        With noise, whose path would be another in a shorter block, that of the first squared error, or else
        the end of the block.
        """
        first = self.step
        for last in self._blocks(end):
            start = self.units.copy()
            squares = self._block(x, y, steps, first, last)
            if not self._finite(squares):
                bad = ~np.isfinite(_on_host(squares)).all(axis=0)
                if steps.noisy:
                    return first + 1 + int(bad.argmax()) if bad.any() else last
                for count in range(1, last - first + 1):
                    self.units = start.copy()
                    if not self._finite(self._block(x, y, steps, first, first + count)):
                        return first + count
            first = last
        return end  # all squared errors are finite, their sum is not

    def _record(self, stop: Stop) -> None:
        """Fill the next row of the records; NumericalFailure for a risk that is not finite."""
        module, p, row = self.problem.module, self.problem.parameters, self.recorded
        snapshot = sum(other.is_snapshot for other in self.stops[:row])
        for r in range(len(self.replicas)):
            network = self.network(r)
            try:
                points = network.reduced(module, p)
                values = {
                    "risk": risk(module, Measure.uniform(points), p),
                    "network_risk": self._network_risk(network),
                    "online_risk": float(self._squares[r]) / self._since,
                    "held_out_risk": self._held_out_risk(r, network),
                }
                if not (math.isfinite(values["risk"]) and math.isfinite(values["online_risk"])):
                    raise NumericalFailure(f"risks {values} at step {stop.step}")
            except NumericalFailure as error:
                raise self._failure(stop.step, "the risk") from error
            for name, value in values.items():
                self.records[name][row, r] = value
            if stop.is_snapshot:
                self.records["points"][snapshot, r] = points
                if self.config.keep_weights:
                    self.records["weights"][snapshot, r] = network.W
        self.recorded += 1
        self._squares[:], self._since = 0.0, 0

    def network(self, r: int) -> Network:
        """One replica, in float64."""
        W, d = self.units.scale * _on_host(self.units.W[r]).astype(float), int(self.problem.d)
        if not self._affine:
            return Network(W, None, None)
        return Network(W[:, :d], _on_host(self.units.a[r]).astype(float), W[:, d])

    def _network_risk(self, network: Network) -> float:
        """The exact risk, or nan where it is not asked for."""
        if not self.config.network_risk:
            return math.nan
        return population_risk(self.problem.module, network, self.problem.parameters)

    def _held_out_risk(self, r: int, network: Network) -> float:
        """The mean of (y - yhat)^2 over samples that are never trained on; nan where none are asked for."""
        total, left, number = 0.0, self.config.held_out, 0
        while left > 0:
            rng = generator(self.config.seed, self.replicas[r], Stream.HELD_OUT, number)
            x, y = (array[:left] for array in draw_samples(rng, self._law, CHUNK))
            total += float(((y - network.outputs(self.problem.module, x.astype(float))) ** 2).sum())
            left, number = left - len(y), number + 1
        return total / self.config.held_out if self.config.held_out else math.nan

    def _failure(self, step: int, what: str) -> NumericalFailure:
        epsilon = self.config.epsilon
        numbers = self.replicas
        which = (
            f" of replicas {numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f" of replica {numbers[0]}"
        )
        which = "" if tuple(numbers) == (0,) else which
        return NumericalFailure(
            f"SGD{which} diverged at step {step} of {self.total} (t = {step * epsilon:.6g}): {what} became "
            f"non-finite at epsilon = {epsilon}; try a smaller one, e.g. epsilon={epsilon / 10:.3g}"
        )

    def _drawn_units(self) -> Units:
        """The initial law."""
        law, weights, outputs = self.problem.gaussian_initial, [], []
        for replica in self.replicas:
            rng = generator(self.config.seed, replica, Stream.WEIGHTS)
            W = law.draw_weights(rng, self.config.units, int(self.problem.d))
            if self._affine:
                a, b = law.draw_outputs(rng, self.config.units)
                W = np.column_stack([W, b])
                outputs.append(a)
            weights.append(W)
        asarray = self._recursion.xp.asarray
        return Units(
            asarray(np.stack(weights), self._real),
            asarray(np.stack(outputs)) if outputs else None,
        )

    # ---- checkpoints

    def _save(self, checkpoint: Checkpoint) -> None:
        arrays = {"W": _on_host(self.units.W), "squares": _on_host(self._squares), **self.records}
        if self.units.a is not None:
            arrays["a"] = _on_host(self.units.a)
        checkpoint.save(
            arrays,
            {
                "step": self.step,
                "recorded": self.recorded,
                "since": self._since,
                "scale": self.units.scale,
                "spent": self.spent + clock.perf_counter() - self._begun,
            },
        )
        self._saved = clock.perf_counter()

    def _resume(self, checkpoint: Checkpoint) -> None:
        found = checkpoint.load()
        if found is None:
            return
        arrays, state = found
        asarray = self._recursion.xp.asarray
        self.units = Units(
            asarray(arrays["W"]), asarray(arrays["a"]) if "a" in arrays else None, state["scale"]
        )
        self._squares = asarray(arrays["squares"])
        self.records = {name: arrays[name] for name in self.records}
        self.step, self.recorded, self._since = (state[name] for name in ("step", "recorded", "since"))
        self.spent = state["spent"]


def _on_host(array: Any) -> Any:
    return array if isinstance(array, np.ndarray) else array.get()


def identity(problem: Problem, config: Any, replicas: Sequence[int], backend: str) -> Mapping[str, Any]:
    """All that decides the numbers of a run: a checkpoint of another one is foreign."""
    module = problem.module
    return {
        "model": module.NAME,
        "source": dict(getattr(module, "SOURCE", {})),
        "parameters": {name: float(value) for name, value in problem.parameters.items()},
        "snapshots": list(problem.snapshots),
        "records": list(problem.records),
        "initial": repr(problem.initial),
        "lam": float(problem.lam),
        "beta": float(problem.beta),
        "xi_exponent": float(problem.schedule.exponent),
        **{
            name: getattr(config, name)
            for name in (
                "epsilon",
                "units",
                "seed",
                "block",
                "precision",
                "held_out",
                "network_risk",
                "keep_weights",
            )
        },
        "replicas": list(replicas),
        "backend": backend,
        "numpy": np.__version__,
    }
