"""What the tests of all figures share: a figure at smoke scale, made once, and its pinned numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from paper.figures import FIGURES
from paper.pipeline import load, make
from workbench.trajectory import Trajectory


@dataclass(frozen=True)
class Smoke:
    """A figure at smoke scale: its folder, its metrics and its runs."""

    convention: str
    folder: Path
    metrics: Mapping[str, Any]
    runs: Mapping[str, Trajectory]


def built(name: str, convention: str, folder: Path) -> Smoke:
    """Make the figure ``name`` in ``folder``; its files are checked here, for all figures alike."""
    figure = FIGURES[name]
    fractions: list[float] = []
    metrics = make(figure, folder / name, figure.setting("smoke", convention), fractions.append).metrics
    assert fractions == sorted(fractions) and abs(fractions[-1] - 1) < 1e-12
    assert (folder / name / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (folder / name / "figure.svg").read_text()[-20:]
    runs = load(folder / name / "data.nc")
    assert set(runs) == set(figure.simulation.jobs(figure.setting("smoke", convention)))
    assert all(run.complete for run in runs.values())
    alt = figure.drawing.alt(metrics)
    assert "nan" not in alt and "inf " not in alt.replace("inf R", "") and len(alt) > 60
    return Smoke(convention, folder / name, metrics, runs)


def redrawn(smoke: Smoke, name: str, folder: Path) -> None:
    """Stored data alone give the same picture, byte for byte."""
    drawn = FIGURES[name].drawing.draw(smoke.runs, smoke.metrics, folder)
    for file in drawn:
        if file != "figure.png":
            assert (folder / file).read_bytes() == (smoke.folder / file).read_bytes()


def failing(metrics: Mapping[str, Any]) -> list[str]:
    """The claims that do not hold."""
    return [f"{check['claim']}: {check['value']}" for check in metrics["checks"] if not check["holds"]]


EXACT = (1e-9, 0.0)  # ten digits are pinned
# (relative, absolute) of a number; nan: not compared
type Tolerances = Mapping[str, tuple[float, float]]

ELSEWHERE = ("parameters", "checks", "wall_time", "versions", "figure", "scale", "convention", "seed")
SPEED = "sgd_steps_per_second"


def leaves(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """All numbers "a/b/0" of the metrics, but for what other tests know and for times."""
    found: dict[str, Any] = {}

    def visit(path: str, value: Any) -> None:
        parts: Any = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, part in parts:
            here = f"{path}/{name}" if path else str(name)
            if isinstance(part, Mapping | list):
                visit(here, part)
            else:
                found[here] = part

    visit("", {name: part for name, part in metrics.items() if name not in {*ELSEWHERE, SPEED}})
    return found


def pinned(name: str, convention: str) -> Path:
    """The file of the pinned numbers of a figure."""
    return Path(__file__).parent / "pinned" / f"{name}-{convention}.json"


def differences(smoke: Smoke, tolerances: Tolerances) -> list[str]:
    """Numbers that are not those pinned, to the tolerance of the first pattern that fits, and numbers of which one is left."""
    found = leaves(smoke.metrics)
    expected = json.loads(pinned(smoke.metrics["figure"], smoke.convention).read_text())
    missed = []
    for path in sorted({*found, *expected}):
        relative, absolute = next((t for pattern, t in tolerances.items() if fnmatch(path, pattern)), EXACT)
        value, right = found.get(path, "nothing"), expected.get(path, "nothing")
        if math.isnan(absolute):
            continue
        numbers = type(value) is type(right) is float
        if not (abs(value - right) <= relative * abs(right) + absolute if numbers else value == right):
            missed.append(f"{path}: {value} instead of {right}")
    return missed
