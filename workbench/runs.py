"""Runs of the command line: what is solved, where the result goes, and what is kept when it fails."""

from __future__ import annotations

import itertools
import json
import math
import pkgutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from workbench.errors import BadInput, NumericalFailure
from workbench.files import part_of, replace_file
from workbench.settings import one_of, read_problem
from workbench.trajectory import Trajectory

METHODS = {  # method -> (module, its config)
    "fokker-planck": ("solvers.fokker_planck", "FokkerPlanckConfig"),
    "landscape": ("solvers.landscape", "LandscapeConfig"),
    "langevin": ("solvers.langevin", "LangevinConfig"),
    "particles": ("solvers.particles", "ParticlesConfig"),
    "sgd": ("solvers.sgd", "SGDConfig"),
    "stationary": ("solvers.stationary", "StationaryConfig"),
}
PARALLEL = ("fokker-planck", "sgd")  # methods of which one run uses all ranks

RESUMABLE = ("sgd",)  # methods with checkpoints


def model_names() -> list[str]:
    """Names of the models with a generated module."""
    package = import_module("solvers.generated")
    return sorted(info.name for info in pkgutil.iter_modules(package.__path__))


def generated_module(name: str) -> ModuleType:
    """The generated module of one model."""
    return import_module(f"solvers.generated.{name}")


@dataclass(frozen=True)
class Run:
    """One run as it was asked for: text, so that it can be sent to another process."""

    model: str
    method: str
    settings: Mapping[str, str]
    out: Path
    durable: bool = False  # with checkpoints beside ``out``, where the method has them
    resume: bool = False

    def read(self) -> tuple[Any, Any]:
        """The Problem and the solver's config; BadInput names every slip."""
        one_of("model", self.model, model_names())
        one_of("method", self.method, METHODS)
        home, config = METHODS[self.method]
        settings = dict(self.settings)
        if self.method in RESUMABLE and "resume" in settings:
            raise BadInput(
                f"resume = {settings['resume']}: it is no setting, add --resume to workbench solve"
            )
        if self.method in RESUMABLE and "checkpoint" in settings and not self.durable:
            raise BadInput(
                f"checkpoint = {settings['checkpoint']}: runs of a sweep would share it, and keep none; leave it out"
            )
        if self.durable and self.method in RESUMABLE:
            settings = {"checkpoint": f"{self.out}.checkpoint", **settings, "resume": str(self.resume)}
        elif self.resume:
            raise BadInput(
                f"--resume: --method {self.method} keeps no checkpoints, only {', '.join(RESUMABLE)} does; "
                "start it without --resume"
            )
        return read_problem(generated_module(self.model), settings, getattr(import_module(home), config))

    def forget(self) -> None:
        """Remove the checkpoints, once the result is safe."""
        if self.durable and self.method in RESUMABLE:
            import_module(METHODS[self.method][0]).remove_checkpoints(Path(self.read()[1].checkpoint))

    def steps(self) -> float | None:
        """The number of steps, of all replicas together, where that is known beforehand."""
        if self.method != "sgd":
            return None
        problem, config = self.read()
        return float(config.replicas * problem.t_end / config.epsilon)

    def solve(self, progress: Callable[[float], None] | None = None, **where: Any) -> Trajectory:
        """The trajectory; NumericalFailure after what there is of it was saved by the first rank."""
        problem, config = self.read()
        try:
            result: Trajectory = import_module(METHODS[self.method][0]).solve(
                problem, config, progress, **where
            )
        except NumericalFailure as failure:
            if failure.partial is None:
                raise
            # an earlier result of that name is not given up for half a run
            path = self.out.with_suffix(".partial.nc") if self.out.exists() else self.out
            save = partial(failure.partial.save, path)
            if where:
                save()
            else:
                import_module("solvers.ranks").on_first_rank(save)
            raise NumericalFailure(
                f"{failure}; kept in {path}: {len(failure.partial.times)} snapshots", failure.partial
            ) from failure
        return result

    def summary(self, trajectory: Trajectory) -> dict[str, Any]:
        """What is said of a finished run."""
        times = [float(t) for t in trajectory.times]
        return {
            "model": self.model,
            "method": self.method,
            "out": str(self.out),
            "time": [t if math.isfinite(t) else None for t in times],  # JSON knows no inf
            "risk": [float(risk) for risk in trajectory.risk_at(times)],
            "wall_time": float(trajectory.data.attrs["wall_time"]),
        }


def combinations(
    model: str, method: str, settings: Mapping[str, str], grid: Mapping[str, str], out: Path
) -> list[Run]:
    """One run for every combination of the values in ``grid``, a text "v1,v2" a name; files 0000.nc, 0001.nc, ..."""
    for name in grid:
        if name in settings:
            raise BadInput(f"{name} is given by --set and by --over: give it once")
    choices = [[(name, value.strip()) for value in values.split(",")] for name, values in grid.items()]
    for (name, value), *_ in (c for c in choices if any(not v for _, v in c)):
        raise BadInput(f"--over {name}={grid[name]}: a value is empty, write e.g. {name}={value or 1},2")
    return [
        Run(model, method, {**settings, **dict(chosen)}, out / f"{number:04d}.nc")
        for number, chosen in enumerate(itertools.product(*choices))
    ]


def attempt(run: Run) -> dict[str, Any]:
    """Solve on this rank alone, save, and say how it went: an entry of the index of a sweep."""
    where: dict[str, Any] = {}
    if run.method in PARALLEL:
        where = {"comm": import_module("solvers.ranks").alone()}
    entry: dict[str, Any] = {"settings": dict(run.settings), "out": str(run.out)}
    try:
        trajectory = run.solve(None, **where)
        trajectory.save(run.out)
        return {**run.summary(trajectory), **entry}
    except (NumericalFailure, BadInput) as failure:
        return {**entry, "error": str(failure)}


def write_index(path: Path, entries: list[dict[str, Any]]) -> None:
    """The index of a sweep, as JSON, written atomically."""
    replace_file(path, (json.dumps(entries, indent=2) + "\n").encode())


def make_writable_result(out: Path, overwrite: bool) -> None:
    """Make sure that the result can be written to ``out``, before hours of work."""
    if out.is_dir():
        raise BadInput(f"--out {out} is a folder: name a file, e.g. --out {out / 'run.nc'}")
    if out.exists() and not overwrite:
        raise BadInput(f"--out {out} exists: choose another file, or add --overwrite")
    make_writable_folder(out.parent)
    make_writable_file(out)


def make_writable_sweep(out: Path, overwrite: bool) -> None:
    """Make sure that results can be written into the folder ``out``, before hours of work."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not overwrite)):
        raise BadInput(f"--out {out} exists: choose another folder, or add --overwrite")
    make_writable_folder(out)


def make_writable_folder(folder: Path) -> None:
    """Create ``folder`` if need be and make sure that a file can be written there, before hours of work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(
            f"--out: cannot write in {folder} ({error.strerror}): choose a folder that you may write to"
        ) from error


def make_writable_file(path: Path) -> None:
    """Make sure that a file of this name, and its part while it is written, can be there."""
    if path.exists() and not path.is_file():
        raise BadInput(f"--out {path} is no regular file: name another one")
    part = part_of(path)
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise BadInput(f"--out: cannot write {path} ({error.strerror}): choose another name") from error
