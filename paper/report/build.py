"""The folder of the report: made beside its place or in it, then put there, or nothing of it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from paper.figures import FIGURES
from paper.pipeline import Figure
from paper.report import pages
from paper.report.collect import Stand, places, stands
from paper.report.model import ModelPart, model
from paper.report.tutorial import run
from workbench.errors import BadInput
from workbench.runs import make_writable_folder, model_names

FORMAT = 1
INDEX = "report.json"  # what tells the folder of a report from others, with the names of its files
TUTORIAL = Path(__file__).parents[1] / "tutorial.py"
STATIC = ("style.css", "pages.css", "script.js", "animation.js", "icon.svg")

type Progress = Callable[[float], None]


def write(
    figures: Path,
    out: Path,
    overwrite: bool = False,
    progress: Progress = lambda fraction: None,
    index: Mapping[str, Figure] = FIGURES,
    tutorial: Path | None = None,
) -> dict[str, Any]:
    """Write the report of the folder ``figures`` to the folder ``out``; what it says of them, in short.

    Files in ``out`` that are no part of a report stay, and where anything fails, the report before.

    Raises
    ------
    BadInput
        for a folder that is not there or holds no figure, for an ``out`` that is a file, holds something else, unless
        ``overwrite``, or holds a file of another origin under a name of the report.
    CertificateFailure
        of a model of a figure.
    """
    earlier = check(figures, out, overwrite, index)
    found = stands(index, figures)
    script = tutorial or TUTORIAL
    target = out.resolve()  # a link to a folder stays one
    _refuse(out, target, _names(found, script), earlier)  # before the work, and again when it is done
    place = (
        target if target.is_dir() else target.parent
    )  # files can be moved within a mounted folder, not into it
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".part", dir=place))
    try:
        made = work / "new"
        made.mkdir()
        summary = _fill(made, found, progress, script)
        if target.exists():
            _merge(made, target, earlier, work / "old", out)
        else:
            os.rename(made, target)
    except Stranded:
        raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
    progress(1.0)
    return summary


class Stranded(OSError):
    """Files of the report before could not be put back."""


def _fill(folder: Path, found: Mapping[str, list[Stand]], progress: Progress, script: Path) -> dict[str, Any]:
    """All files of the report."""
    shown = [stand for row in found.values() for stand in row if stand.shown]
    # an earlier preset may name a model that is gone
    names = {name for row in found.values() for name in pages.model_of(row)} & set(model_names())
    models: dict[str, ModelPart] = {}
    for name in sorted(names):
        models[name] = model(name)
        progress(0.6 * len(models) / len(names))
    lesson = run(script, lambda fraction: progress(0.6 + 0.3 * fraction)) if script.is_file() else None
    templates = pages.environment()
    _text(folder / "index.html", pages.index(templates, found, lesson))
    for name in found:
        _text(folder / f"{name}.html", pages.figure(templates, found, name, models, lesson))
    if lesson is not None:
        _text(folder / f"{lesson.name}.html", pages.script(templates, lesson, list(found)))
    for name in STATIC:
        shutil.copyfile(pages.HERE / name, folder / name)
    for stand in shown:
        (folder / stand.part).mkdir(parents=True)
        for name, content in stand.content.items():
            (folder / stand.part / name).write_bytes(content)
    summary = {
        "figures": {name: {stand.convention: _short(stand) for stand in row} for name, row in found.items()},
        "tutorial": lesson is not None and not lesson.failure,
        **({"tutorial_failure": lesson.failure} if lesson is not None and lesson.failure else {}),
    }
    _index(folder / INDEX, {**summary, "files": [*_files(folder), INDEX]})
    return summary


def _names(found: Mapping[str, list[Stand]], script: Path) -> set[str]:
    """The files that the report will have."""
    names = {"index.html", INDEX, *STATIC, *(f"{name}.html" for name in found)}
    if script.is_file():
        names.add(f"{script.stem}.html")
    return names | {
        f"{stand.part}/{name}"
        for row in found.values()
        for stand in row
        if stand.shown
        for name in stand.content
    }


def _short(stand: Stand) -> dict[str, Any]:
    """How a figure stands, as plain data."""
    short: dict[str, Any] = {"state": stand.state}
    if stand.flaw:
        short["flaw"] = stand.flaw
    if stand.shown and stand.build is not None:
        checks = stand.metrics["checks"]
        short |= {
            "scale": stand.build.scale,
            "seed": stand.build.seed,
            "checks": len(checks),
            "failing": [check["claim"] for check in checks if not check["holds"]],
        }
    return short


def check(
    figures: Path, out: Path, overwrite: bool = False, index: Mapping[str, Figure] = FIGURES
) -> frozenset[str]:
    """Make sure of both folders before any work; the files in ``out`` that are of an earlier report."""
    if not figures.is_dir():
        raise BadInput(
            f"--figures {figures}: there is no such folder: name one that `workbench reproduce` wrote, or `make figures`"
        )
    if not any(places(index, figures).values()):
        raise BadInput(
            f"--figures {figures} holds no figure, as std/{next(iter(index))}: "
            "name a folder that `workbench reproduce` wrote, or `make figures`"
        )
    make_writable_folder(out.resolve().parent)
    if not out.exists():
        return frozenset()
    if not out.is_dir():
        raise BadInput(f"--out {out} is a file: name a folder")
    earlier = _earlier(out)
    if earlier is None and any(out.iterdir()) and not overwrite:
        raise BadInput(f"--out {out} holds files and is no report: choose another folder, or add --overwrite")
    return earlier or frozenset()


def _earlier(out: Path) -> frozenset[str] | None:
    """The files of the report in a folder; None where there is none."""
    try:
        content = json.loads((out / INDEX).read_text("utf-8"))
        names = frozenset(content["files"])
        if content["format"] != FORMAT or not all(isinstance(name, str) for name in names):
            return None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    # names that somebody wrote there lead nowhere else
    return frozenset(
        name for name in names if not (path := PurePosixPath(name)).is_absolute() and ".." not in path.parts
    )


def _refuse(out: Path, target: Path, names: Iterable[str], earlier: frozenset[str]) -> None:
    """BadInput where something that is of no report stands in the way of a file."""
    found = set()
    for name in names:
        path = target / name
        for folder in path.parents:
            if folder == target:
                break
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                found.add(folder.relative_to(target).as_posix())
        if os.path.lexists(path) and (name not in earlier or (path.is_dir() and not path.is_symlink())):
            found.add(name)
    if found:
        few = sorted(found)[:3]
        others = f" and {len(found) - len(few)} more" if len(found) > len(few) else ""
        raise BadInput(
            f"--out {out} holds {', '.join(few)}{others}, of no earlier report: move them, or choose another folder"
        )


def _merge(made: Path, target: Path, earlier: frozenset[str], old: Path, out: Path) -> None:
    """Put the files of the report in the place of those of the one before; all of them, or none."""
    names = [name for name in _files(made) if name != INDEX]
    _refuse(out, target, [*names, INDEX], earlier)
    gone = [name for name in sorted(earlier - {INDEX}) if _is_file_in(target, name)]
    moves: list[tuple[Path, Path]] = []

    def move(source: Path, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        moves.append((source, to))  # first: an interruption may come between the two
        os.rename(source, to)

    old.mkdir()
    if (target / INDEX).exists():
        shutil.copy2(target / INDEX, old / INDEX)
    try:
        # killed half-way, the folder is still known as that of a report, whose files are these
        _index(made.parent / INDEX, {"files": sorted({*earlier, *names, INDEX})})
        os.replace(made.parent / INDEX, target / INDEX)
        for name in gone:
            move(target / name, old / name)
        for name in names:
            move(made / name, target / name)
        os.replace(made / INDEX, target / INDEX)
    except BaseException as error:
        try:
            for source, to in reversed(moves):
                if os.path.lexists(to) and not os.path.lexists(source):
                    source.parent.mkdir(parents=True, exist_ok=True)
                    os.rename(to, source)
            if (old / INDEX).exists():
                os.replace(old / INDEX, target / INDEX)
            else:
                (target / INDEX).unlink(missing_ok=True)
        except BaseException as another:
            raise Stranded(
                getattr(another, "errno", None),
                f"the files of the report before could not be put back ({another or type(another).__name__}): "
                "they are in this folder",
                str(old),
            ) from error
        _prune(target, names)
        raise
    _prune(target, gone)


def _prune(folder: Path, names: Iterable[str]) -> None:
    """Remove folders around these files that are empty now."""
    around = {path for name in names for path in PurePosixPath(name).parents if path.name}
    for path in sorted(around, key=lambda path: -len(path.parts)):
        with suppress(OSError):
            (folder / path).rmdir()


def _is_file_in(folder: Path, name: str) -> bool:
    """Whether there is this file, or a link in its place, with no link on the way to it."""
    path = folder / name
    around = [parent for parent in path.parents if parent != folder and parent.is_relative_to(folder)]
    return not any(parent.is_symlink() for parent in around) and (path.is_file() or path.is_symlink())


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _index(path: Path, content: Mapping[str, Any]) -> None:
    _text(path, json.dumps({"format": FORMAT, **content}, indent=2) + "\n")


def _text(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", newline="\n")
