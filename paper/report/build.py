"""The folder of the report: made beside its place, then put there in one move."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paper.figures import FIGURES
from paper.pipeline import Figure
from paper.report import pages
from paper.report.collect import Stand, stands
from paper.report.model import ModelPart, model
from paper.report.tutorial import run
from workbench.errors import BadInput
from workbench.runs import make_writable_folder, model_names

FORMAT = 1
INDEX = "report.json"  # what tells the folder of a report from others
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

    Files in ``out`` that are no part of a report stay.

    Raises
    ------
    BadInput
        for a folder that is not there, or an ``out`` that is a file, or holds something else, unless ``overwrite``;
        for a tutorial with a cell that raises.
    CertificateFailure
        of a model of a figure.
    """
    earlier = check(figures, out, overwrite)
    found = stands(index, figures)
    target = out.resolve()  # a link to a folder stays one
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent))
    try:
        made.chmod(0o777 & ~_umask())  # not for the owner alone
        summary = _fill(made, found, progress, tutorial or TUTORIAL)
        _put(made, target, earlier)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    progress(1.0)
    return summary


def _fill(folder: Path, found: Mapping[str, list[Stand]], progress: Progress, script: Path) -> dict[str, Any]:
    """All files of the report."""
    shown = [stand for row in found.values() for stand in row if stand.shown]
    # an earlier preset may name a model that is gone
    names = {pages.model_name(stand) for stand in shown} & set(model_names())
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
        part = folder / stand.part
        part.mkdir(parents=True)
        for name in ("metrics.json", *stand.pictures):
            shutil.copyfile(stand.folder / name, part / name)
    summary = {
        "figures": {name: {stand.convention: _short(stand) for stand in row} for name, row in found.items()},
        "tutorial": lesson is not None,
    }
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    content = {"format": FORMAT, **summary, "files": [*files, INDEX]}
    _text(folder / INDEX, json.dumps(content, indent=2) + "\n")
    return summary


def _short(stand: Stand) -> dict[str, Any]:
    """How a figure stands, as plain data."""
    short: dict[str, Any] = {"state": stand.state}
    if stand.shown and stand.build is not None:
        checks = stand.metrics["checks"]
        short |= {
            "scale": stand.build.scale,
            "seed": stand.build.seed,
            "checks": len(checks),
            "failing": [check["claim"] for check in checks if not check["holds"]],
        }
    return short


def check(figures: Path, out: Path, overwrite: bool = False) -> set[str]:
    """Make sure of both folders before any work; what an earlier report left in ``out``, as names in it."""
    if not figures.is_dir():
        raise BadInput(
            f"--figures {figures}: there is no such folder: name one that `workbench reproduce` wrote, or `make figures`"
        )
    make_writable_folder(out.resolve().parent)
    if not out.exists():
        return set()
    if not out.is_dir():
        raise BadInput(f"--out {out} is a file: name a folder")
    try:
        content = json.loads((out / INDEX).read_text("utf-8"))
        if content["format"] == FORMAT:
            return {name.partition("/")[0] for name in content["files"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    if any(out.iterdir()) and not overwrite:
        raise BadInput(f"--out {out} holds files and is no report: choose another folder, or add --overwrite")
    return set()


def _put(made: Path, target: Path, earlier: set[str]) -> None:
    """Put the folder in its place, with the files that are no part of a report."""
    if not target.exists():
        os.rename(made, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent))
    os.rename(target, old)
    try:
        os.rename(made, target)
    except OSError:
        os.rename(old, target)
        raise
    for path in old.iterdir():
        if path.name not in earlier and not (target / path.name).exists():
            os.rename(path, target / path.name)
    shutil.rmtree(old)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _text(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8", newline="\n")
