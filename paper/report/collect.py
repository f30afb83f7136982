"""How the figures of a folder stand: which were made, from what, and whether what is there can be shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paper.pipeline import Build, Figure, state
from paper.presets import CONVENTIONS, SCALES

SHOWN = ("current", "stale")
PICTURES = {"figure.svg": "SVG", "figure.png": "PNG"}

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
    """A figure under one convention: its state, and where it may be shown, its numbers.

    part: the folder of its files within the report.
    """

    figure: Figure
    convention: str
    state: str
    folder: Path
    build: Build | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    animation: Mapping[str, Any] | None = None

    @property
    def shown(self) -> bool:
        """Whether its data may be shown as a result."""
        return self.state in SHOWN

    @property
    def pictures(self) -> list[str]:
        """Names of the pictures that may be shown."""
        return [name for name in PICTURES if self.build and name in self.build.drawn]

    @property
    def part(self) -> str:
        """The folder of its files within the report."""
        return f"pictures/{self.convention}/{self.figure.name}"

    @property
    def alt(self) -> str:
        """The finding."""
        try:
            return self.figure.drawing.alt(self.metrics)
        except (KeyError, TypeError, IndexError, ValueError):
            if self.state == "current":
                raise
            return f"{self.figure.title}, made by earlier code"  # whose numbers had other names

    def command(self) -> str:
        """What makes the figure, or brings it up to date."""
        words = ["workbench reproduce", self.figure.name]
        if self.build is not None and self.build.scale in SCALES:
            words.append(f"--scale {self.build.scale}")
        words.append(f"--convention {self.convention}")
        if self.build is not None and self.build.seed:
            words.append(f"--seed {self.build.seed}")
        words.append(f"--out figures/{self.convention}")
        if self.state == "foreign":
            words.append("--overwrite")
        return " ".join(words)


def stands(figures: Mapping[str, Figure], folder: Path) -> dict[str, list[Stand]]:
    """NAME -> how it stands under each convention, in ``folder``/CONVENTION/NAME, or in ``folder``/NAME."""
    conventions = [name for name in CONVENTIONS if (folder / name).is_dir()]
    direct = not conventions and any((folder / name).is_dir() for name in figures)
    return {
        name: [_stand(figure, folder / name, None)]
        if direct
        else [_stand(figure, folder / convention / name, convention) for convention in CONVENTIONS]
        for name, figure in figures.items()
    }


def _stand(figure: Figure, folder: Path, convention: str | None) -> Stand:
    build = Build.load(folder)
    own = convention or (build.convention if build and build.convention in CONVENTIONS else CONVENTIONS[0])
    if build is not None and not (_readable(build) and build.convention == own):
        return Stand(figure, own, "foreign", folder)
    found = state(figure, folder)
    if found not in SHOWN or build is None:
        return Stand(figure, own, found, folder, build)
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    film = None
    if "animation.json" in build.drawn:
        film = json.loads((folder / "animation.json").read_text("utf-8"))
    return Stand(figure, own, found, folder, build, metrics, film)


def _readable(build: Build) -> bool:
    """Whether build.json holds what the pipeline writes there."""
    tables = (build.jobs, build.runs, build.files)
    return (
        build.scale in SCALES
        and build.convention in CONVENTIONS
        and isinstance(build.seed, int)
        and isinstance(build.drawn, list)
        and all(isinstance(table, dict) for table in tables)
    )
