"""What the tests of all figures share: a figure at smoke scale, made once, and its pinned numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
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
    made = make(figure, folder / name, figure.setting("smoke", convention), fractions.append)
    assert fractions == sorted(fractions) and abs(fractions[-1] - 1) < 1e-12
    metrics = json.loads((folder / name / "metrics.json").read_text())
    assert metrics == made.metrics
    assert (folder / name / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (folder / name / "figure.svg").read_text()[-20:]
    runs = load(folder / name / "data.nc")
    assert set(runs) == set(figure.simulation.jobs(figure.setting("smoke", convention)))
    assert set(metrics["parameters"]) == set(figure.preset) and metrics["seed"] == 0
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


def differences(metrics: Mapping[str, Any], pinned: Mapping[str, tuple[float, float]]) -> list[str]:
    """Pinned numbers "a.b.0": (value, tolerance) that the metrics miss."""
    missed = []
    for path, (value, tolerance) in pinned.items():
        found: Any = metrics
        for step in path.split("."):
            found = found[int(step)] if isinstance(found, list) else found[step]
        if not (math.isfinite(found) and abs(found - value) <= tolerance):
            missed.append(f"{path}: {found} instead of {value} +- {tolerance}")
    return missed
