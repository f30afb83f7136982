"""How the figures of a folder stand: which were made, from what, and whether what is there can be shown."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paper.pipeline import Build, Figure, state
from paper.presets import CONVENTIONS, SCALES
from paper.report.valid import lacking, named, readable, whole
from workbench.errors import BadInput

SHOWN = ("current", "stale")
PICTURES = {"figure.svg": "SVG", "figure.png": "PNG"}
ELSEWHERE = "FIGURES"  # the folder of the figures where its path is the machine's business

STATES = {
    "current": "up to date",
    "stale": "stale",
    "unfinished": "unfinished",
    "foreign": "foreign",
    "missing": "missing",
}
MEANINGS = {
    "current": "made by the code and the preset as they are now",
    "stale": "made by earlier code, or from an earlier preset",
    "unfinished": "files are still to be made",
    "foreign": "a file is not what was written there (content hash), so nothing of it is shown",
    "missing": "not made yet",
}


@dataclass(frozen=True)
class Stand:
    """A figure under one convention: its state, and where it may be shown, its numbers and files.

    flaw: why it is foreign, or cannot be shown; content: the files of the report, as they were when their hashes
    were looked at; out: the folder that `reproduce` is to write to; scale, seed: those to make it with.
    """

    figure: Figure
    convention: str
    state: str
    build: Build | None = None
    flaw: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    animation: Any = None
    content: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    out: str = ""
    scale: str = ""
    seed: int = 0

    @property
    def shown(self) -> bool:
        """Whether its data may be shown as a result."""
        return self.state in SHOWN and not self.flaw

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures that may be shown."""
        return [name for name in PICTURES if name in self.content]

    @property
    def part(self) -> str:
        """The folder of its files within the report."""
        return f"pictures/{self.convention}/{self.figure.name}"

    @property
    def alt(self) -> str:
        """The finding."""
        try:
            return self.figure.drawing.alt(self.metrics)
        except Exception:
            if self.state == "current":
                raise
            return f"{self.figure.title}, made by earlier code"  # whose numbers had other names

    @property
    def meaning(self) -> str:
        """The state in words, and what is wrong."""
        words = MEANINGS[self.state]
        if self.state == "foreign":
            return f"not shown: {self.flaw}"
        return f"{words}, and cannot be shown: {self.flaw}" if self.flaw else words

    @property
    def elsewhere(self) -> bool:
        """Whether the command names the folder of the figures by a word for it."""
        return self.out.partition("/")[0] == ELSEWHERE

    def command(self) -> str:
        """What makes the figure, or brings it up to date."""
        words = ["workbench", "reproduce", self.figure.name]
        if self.scale:
            words += ["--scale", self.scale]
        words += ["--convention", self.convention]
        if self.seed:
            words += ["--seed", str(self.seed)]
        words += ["--out", self.out]
        wanted = (self.figure.name, self.convention)
        if self.state == "foreign" and (
            self.build is None or (self.build.figure, self.build.convention) != wanted
        ):
            words.append("--overwrite")  # what is not what was written there is made again without
        return shlex.join(words)


def places(figures: Mapping[str, Figure], folder: Path) -> dict[str, dict[str | None, Path]]:
    """NAME -> convention -> the folder that is there, ``folder``/CONVENTION/NAME; None -> ``folder``/NAME."""
    return {
        name: {
            convention: path
            for convention, path in (
                *((convention, folder / convention / name) for convention in CONVENTIONS),
                (None, folder / name),
            )
            if path.exists()
        }
        for name in figures
    }


def stands(figures: Mapping[str, Figure], folder: Path) -> dict[str, list[Stand]]:
    """NAME -> how it stands under each convention, in ``folder``/CONVENTION/NAME, or in ``folder``/NAME.

    Where all that is there lies in the folder itself, only one convention is asked for.

    Raises
    ------
    BadInput
        where a figure lies in both places under the same convention.
    """
    there = places(figures, folder)
    builds = [build for paths in there.values() for path in paths.values() if (build := Build.load(path))]
    builds = [build for build in builds if named(build)]
    scale, seed = _usual([(build.scale, build.seed) for build in builds], ("", 0))
    flat = not any((folder / name).is_dir() for name in CONVENTIONS) and any(there.values())
    wanted: tuple[str, ...] = CONVENTIONS
    if flat:
        wanted = (_usual([build.convention for build in builds], CONVENTIONS[0]),)
    shown = _told(folder)
    found: dict[str, list[Stand]] = {}
    for name, paths in there.items():
        row = {}
        direct = paths.get(None)
        own = None
        if direct is not None:
            build = Build.load(direct)
            own = build.convention if build and build.convention in CONVENTIONS else wanted[0]
            if own in paths:
                raise BadInput(
                    f"{direct} and {paths[own]} are both the figure {name} under {own}: move one of them"
                )
        for convention in (own,) if flat and own else wanted:
            path = direct if convention == own else paths.get(convention)
            at = shown if path is not None and path == direct else _join(shown, "" if flat else convention)
            row[convention] = _stand(figures[name], path, convention, at, folder, scale, seed)
        found[name] = list(row.values())
    return found


def _stand(
    figure: Figure, folder: Path | None, convention: str, out: str, above: Path, scale: str, seed: int
) -> Stand:
    """How one folder stands; ``scale`` and ``seed`` are those that a figure which is not there would be made with."""
    if folder is None:
        return Stand(figure, convention, "missing", out=out, scale=scale, seed=seed)
    name = folder.relative_to(above).as_posix()
    build = Build.load(folder) if folder.is_dir() else None
    if build is not None and build.scale in SCALES and whole(build.seed):
        scale, seed = build.scale, build.seed

    def stand(state: str, flaw: str = "", **content: Any) -> Stand:
        return Stand(figure, convention, state, build, flaw, out=out, scale=scale, seed=seed, **content)

    flaw = _whose(figure, folder, convention, build, name)
    if flaw:
        return stand("foreign", flaw)
    found = state(figure, folder)
    if build is None or found in ("missing", "unfinished"):
        return stand(found)
    # what is shown is what was hashed, whatever becomes of the file meanwhile
    content = {file: _bytes(folder / file) for file in ("metrics.json", *build.drawn)}
    altered = [file for file, data in content.items() if _hash(data) != build.files[file]]
    if found == "foreign" and not build.intact(folder, "data.nc"):
        altered.append("data.nc")
    if altered:
        files = " and ".join(f"{name}/{file}" for file in altered)
        are = "is" if len(altered) == 1 else "are"
        return stand("foreign", f"{files} {are} not what was written there (content hash)")
    if found == "foreign":
        return stand(found, f"files of {name} changed while they were looked at")
    metrics = _json(content["metrics.json"])
    flaw = lacking(metrics)
    if flaw:
        return stand(found, f"{name}/metrics.json: {flaw}")
    film = _json(content["animation.json"]) if "animation.json" in content else None
    published = {file: content[file] for file in ("metrics.json", *PICTURES) if file in content}
    return stand(found, metrics=metrics, animation=film, content=published)


def _whose(figure: Figure, folder: Path, convention: str, build: Build | None, name: str) -> str:
    """Why the files of a folder cannot be those of the figure; empty where they can."""
    if not folder.is_dir():
        return f"{name} is no folder"
    if build is None:
        if not any(folder.iterdir()):
            return ""
        there = (folder / "build.json").exists()
        wrong = "is not what workbench reproduce writes" if there else "is missing, beside other files"
        return f"{name}/build.json {wrong}"
    if not readable(build):
        return f"{name}/build.json is not what workbench reproduce writes: remove it first"
    if build.figure != figure.name:
        return f"{name}/build.json is of the figure {build.figure}"
    if build.convention != convention:
        return f"{name}/build.json is of the convention {build.convention}"
    return ""


def _usual[T](values: list[T], default: T) -> T:
    return Counter(values).most_common(1)[0][0] if values else default


def _told(folder: Path) -> str:
    """The folder as a report may name it: as it was given, but for what only this machine has."""
    if not folder.is_absolute():
        return folder.as_posix()
    here = Path.cwd()
    return folder.relative_to(here).as_posix() if folder.is_relative_to(here) else ELSEWHERE


def _join(folder: str, name: str) -> str:
    return (Path(folder) / name).as_posix()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # gone since its state was looked at
        return b""


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(data: bytes) -> Any:
    """The content of a file; a text, which is never asked for, where it is none."""
    try:
        return json.loads(data)
    except ValueError as error:
        return str(error)
