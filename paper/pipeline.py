"""What making a figure means: jobs -> data.nc -> metrics.json -> figure.svg, each stage done once.

A stage is skipped where a content hash of all that goes into it, its code included, is the one in
``build.json`` and its files are still what it wrote: a change of colour draws again and solves nothing.  A
stage that was interrupted goes on with what is there.  Files that are not what was written, and results of
another setting, are never drawn: they are made again, or refused by name.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from paper.fingerprint import DRAWING, code, digest, digest_of_file, versions
from paper.jobs import Job, Progress, do
from paper.presets import Parameter
from paper.setting import Setting
from workbench import __version__
from workbench.errors import BadInput
from workbench.files import part_of, replace_file
from workbench.trajectory import Trajectory

FORMAT = 1

type Runs = Mapping[str, Trajectory]


class Simulation(Protocol):
    """A script NAME_simulate: what has to be solved, and what is said about it, with the list "checks" of ``Check``."""

    __name__: str

    def jobs(self, setting: Setting, /) -> Mapping[str, Job]: ...
    def metrics(self, setting: Setting, runs: Runs, /) -> dict[str, Any]: ...


class Drawing(Protocol):
    """A script NAME_draw: writes files and names them; and the finding in a sentence or two, for alt texts."""

    __name__: str

    def draw(self, runs: Runs, metrics: Mapping[str, Any], folder: Path, /) -> tuple[str, ...]: ...
    def alt(self, metrics: Mapping[str, Any], /) -> str: ...


@dataclass(frozen=True)
class Figure:
    """A figure: its preset, and its two scripts."""

    name: str
    title: str
    preset: Mapping[str, Parameter]
    simulation: Simulation
    drawing: Drawing

    def setting(self, scale: str, convention: str, seed: int = 0) -> Setting:
        """The preset of this figure at one scale, convention and seed."""
        return Setting(self.preset, scale, convention, seed)


@dataclass
class Build:
    """build.json: what the files of a folder were made from.

    jobs: name -> key of those in data.nc; runs: the same of those under ``runs``, done but not yet in it; files:
    name -> content hash; metrics, drawing: the keys of these two stages; drawn: the files of the drawing.
    """

    figure: str
    scale: str
    convention: str
    seed: int
    jobs: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    metrics: str = ""
    drawing: str = ""
    drawn: list[str] = field(default_factory=list)
    format: int = FORMAT

    @classmethod
    def load(cls, folder: Path) -> Build | None:
        """The build of a folder; None where there is none that can be read."""
        try:
            build = cls(**json.loads((folder / "build.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return build if build.format == FORMAT else None

    def save(self, folder: Path) -> None:
        """Write build.json, atomically."""
        write(folder / "build.json", asdict(self))

    def intact(self, folder: Path, name: str) -> bool:
        """Whether the file is there and what was written."""
        path = folder / name
        return path.is_file() and self.files.get(name) == digest_of_file(path)

    def wrote(self, folder: Path, *names: str) -> None:
        """Take down the hashes of files, and save."""
        self.files |= {name: digest_of_file(folder / name) for name in names}
        self.save(folder)


@dataclass(frozen=True)
class Made:
    """The metrics of a figure, the stages that were done now, and what there is to say about files found."""

    metrics: dict[str, Any]
    done: tuple[str, ...]
    notes: tuple[str, ...]


def make(
    figure: Figure,
    folder: Path,
    setting: Setting,
    progress: Progress = lambda fraction: None,
    pool: Executor | None = None,
    overwrite: bool = False,
) -> Made:
    """Bring ``folder`` up to date: figure.svg, figure.png, data.nc, metrics.json and build.json.

    Raises
    ------
    BadInput
        where the folder holds results of another setting or files of somebody else, unless ``overwrite``.
    NumericalFailure
        of a job; the results of the others are kept and used the next time.
    """
    build = begin(figure, folder, setting, overwrite)
    _finish(folder, build)
    notes = [
        f"{folder / name} is not what was written there (content hash): made again"
        for name in build.files
        if (folder / name).exists() and not build.intact(folder, name)
    ]
    done: list[str] = []
    jobs = figure.simulation.jobs(setting)
    keys = {name: job.key() for name, job in jobs.items()}
    if build.jobs != keys or not build.intact(folder, "data.nc"):
        done += _solve(figure, folder, jobs, keys, build, progress, pool)
    runs: Runs | None = None
    key = metrics_key(figure, setting, keys)
    if build.metrics != key or not build.intact(folder, "metrics.json"):
        runs = load(folder / "data.nc")
        numbers = {**header(figure, setting, runs), **figure.simulation.metrics(setting, runs)}
        numbers["checks"] = [check.entry() for check in numbers["checks"]]
        write(folder / "metrics.json", numbers)
        build.metrics = key
        build.wrote(folder, "metrics.json")
        done.append("metrics")
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    key = drawing_key(figure, build)
    if build.drawing != key or not all(build.intact(folder, name) for name in build.drawn):
        drawn = figure.drawing.draw(runs or load(folder / "data.nc"), metrics, folder)
        build.drawing, build.drawn = key, list(drawn)
        build.wrote(folder, *drawn)
        done.append("drawing")
    progress(1.0)
    return Made(metrics, tuple(done), tuple(notes))


def read_code(figure: Figure, setting: Setting) -> None:
    """Take the hashes of all code now, when it is loaded: what is edited while it runs is not what ran."""
    for job in figure.simulation.jobs(setting).values():
        job.key()
    for script in (figure.simulation, figure.drawing):
        code(script.__name__)


def found(figure: Figure, folder: Path, setting: Setting, overwrite: bool) -> Build | None:
    """The build of this setting in the folder, if there is one; BadInput where the folder holds something else."""
    build = Build.load(folder) if folder.is_dir() else None
    fresh = identity(Build(figure.name, setting.scale, setting.convention, setting.seed))
    if build is not None and identity(build) == fresh:
        return build
    if overwrite or not folder.exists() or (folder.is_dir() and _is_empty(folder)):
        return None
    if build is None:
        raise BadInput(
            f"{folder} exists and was not made by this command: choose another folder, or add --overwrite"
        )
    raise BadInput(
        f"{folder} holds the figure {build.figure} at scale {build.scale}, convention {build.convention}, "
        f"seed {build.seed}: choose another folder, or add --overwrite"
    )


def _is_empty(folder: Path) -> bool:
    """But for a file that was being written when its writer was killed."""
    return all(path.name == part_of(folder / "build.json").name for path in folder.iterdir())


def begin(figure: Figure, folder: Path, setting: Setting, overwrite: bool) -> Build:
    """The build to go on with, a new one in a folder made for it if need be; BadInput as ``found``."""
    build = found(figure, folder, setting, overwrite)
    if build is None:
        build = Build(figure.name, setting.scale, setting.convention, setting.seed)
        shutil.rmtree(folder / "runs", ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        build.save(folder)
    return build


def identity(build: Build) -> tuple[str, str, str, int]:
    """What a folder is for."""
    return build.figure, build.scale, build.convention, build.seed


def _solve(
    figure: Figure,
    folder: Path,
    jobs: Mapping[str, Job],
    keys: Mapping[str, str],
    build: Build,
    progress: Progress,
    pool: Executor | None,
) -> list[str]:
    """Do the jobs whose results are not there, and write data.nc; the names of those done."""
    kept = load(folder / "data.nc") if build.intact(folder, "data.nc") else {}
    kept = {name: run for name, run in kept.items() if build.jobs.get(name) == keys.get(name)}
    build.runs = {
        name: key
        for name, key in build.runs.items()
        if key == keys.get(name) and build.intact(folder, f"runs/{name}.nc")
    }
    missing = {name: job for name, job in jobs.items() if name not in {*kept, *build.runs}}

    def done(name: str) -> None:
        build.runs[name] = keys[name]
        build.wrote(folder, f"runs/{name}.nc")

    if missing:
        do(missing, folder / "runs", progress, pool, done)
    results = {
        name: Trajectory.load(folder / "runs" / f"{name}.nc") if name in build.runs else kept[name]
        for name in jobs
    }
    # first beside its place: whenever this is cut off, build.json has the hash of a file that is there
    new = part_of(folder / "data.nc")
    replace_file(new, packed(results))
    build.jobs, build.runs = dict(keys), {}
    build.files = {name: value for name, value in build.files.items() if not name.startswith("runs/")}
    build.files["data.nc"] = digest_of_file(new)
    build.save(folder)
    _finish(folder, build)
    shutil.rmtree(folder / "runs", ignore_errors=True)
    return list(missing)


def _finish(folder: Path, build: Build) -> None:
    """Put data.nc in its place, where this was cut off."""
    new = part_of(folder / "data.nc")
    if new.is_file() and digest_of_file(new) == build.files.get("data.nc"):
        os.replace(new, folder / "data.nc")


def state(figure: Figure, folder: Path) -> str:
    """How a folder stands: "missing", "unfinished", "foreign" (a file is not what was written), "stale", "current"."""
    build = Build.load(folder)
    if build is None or build.figure != figure.name:
        return "foreign" if folder.exists() and not _is_empty(folder) else "missing"
    files = ("data.nc", "metrics.json", *build.drawn)
    if not build.drawn or not all((folder / name).is_file() and name in build.files for name in files):
        return "unfinished"
    if not all(build.intact(folder, name) for name in files):
        return "foreign"
    setting = figure.setting(build.scale, build.convention, build.seed)
    keys = {name: job.key() for name, job in figure.simulation.jobs(setting).items()}
    metrics = metrics_key(figure, setting, keys)
    stages = (build.jobs == keys, build.metrics == metrics, build.drawing == drawing_key(figure, build))
    return "current" if all(stages) else "stale"


def metrics_key(figure: Figure, setting: Setting, keys: Mapping[str, str]) -> str:
    """The hash of what the metrics are made from."""
    header = [code("paper.pipeline"), platform.python_version(), __version__, versions(DRAWING)]
    return digest([keys, setting.table(), code(figure.simulation.__name__), header])


def drawing_key(figure: Figure, build: Build) -> str:
    """The hash of what a drawing is made from."""
    files = [build.files["data.nc"], build.files["metrics.json"]]
    return digest([files, code(figure.drawing.__name__), versions(DRAWING)])


def header(figure: Figure, setting: Setting, runs: Runs) -> dict[str, Any]:
    """What the metrics of every figure start with."""
    attrs = {name: run.data.attrs for name, run in runs.items()}
    return {
        "figure": figure.name,
        "scale": setting.scale,
        "convention": setting.convention,
        "seed": setting.seed,
        "parameters": setting.table(),
        "wall_time": {name: float(attr["wall_time"]) for name, attr in attrs.items()},
        "versions": {
            "python": platform.python_version(),
            "workbench": __version__,
            **versions(DRAWING),
            **{
                name: value for attr in attrs.values() for name, value in json.loads(attr["versions"]).items()
            },
        },
    }


def packed(runs: Runs) -> memoryview:
    """All runs as one netCDF file, a group each."""
    tree = xr.DataTree.from_dict({name: run.data for name, run in runs.items()})
    content: memoryview = tree.to_netcdf(engine="h5netcdf")
    return content


def load(path: Path) -> dict[str, Trajectory]:
    """The runs of a file that ``store`` wrote."""
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        return {name: Trajectory(node.to_dataset().load()) for name, node in tree.children.items()}


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Plain data as JSON, atomically."""
    replace_file(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
