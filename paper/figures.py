"""The index of figures, and what making one means: simulate, store, draw."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from paper import distribution_draw, distribution_simulate, noisy_draw, noisy_simulate
from paper.presets import CONVENTIONS, SCALES
from workbench.errors import NumericalFailure

__all__ = ["CONVENTIONS", "FIGURES", "SCALES", "Figure"]


@dataclass(frozen=True)
class Figure:
    """A figure: its name, a title, and the functions that simulate and draw it."""

    name: str
    title: str
    simulate: Callable[..., Any]
    draw: Callable[..., None]

    def make(
        self, folder: Path, scale: str, convention: str, seed: int, progress: Callable[[float], None]
    ) -> Mapping[str, Any]:
        """Write figure.svg, figure.png, data.nc and metrics.json into ``folder``; return the metrics."""
        finished: dict[str, Any] = {}
        try:
            simulation = self.simulate(scale, convention, seed, progress, finished)
        except NumericalFailure as failure:
            partial = {} if failure.partial is None else {"failed": failure.partial}
            store({**finished, **partial}, folder / "partial.nc")
            kept = ", ".join((*finished, *partial))
            raise NumericalFailure(f"{failure}; kept in {folder / 'partial.nc'}: {kept}") from failure
        store(simulation.trajectories, folder / "data.nc")
        _write(folder / "metrics.json", json.dumps(simulation.metrics, indent=2) + "\n")
        self.draw(simulation.trajectories, simulation.metrics, folder)
        (folder / "partial.nc").unlink(missing_ok=True)  # of an earlier run that failed
        return dict(simulation.metrics)


def store(trajectories: Mapping[str, Any], path: Path) -> None:
    """All trajectories in one netCDF file, a group each, written atomically."""
    part = path.with_name(path.name + ".part")
    tree = xr.DataTree.from_dict({name: run.data for name, run in trajectories.items()})
    tree.to_netcdf(part, engine="h5netcdf")
    os.replace(part, path)


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            "distribution",
            "radial histogram of SGD against the density of distributional dynamics, and the risk",
            distribution_simulate.simulate,
            distribution_draw.draw,
        ),
        Figure(
            "noisy",
            "noisy SGD against the Fokker-Planck equation, and the approach to the Gibbs law",
            noisy_simulate.simulate,
            noisy_draw.draw,
        ),
    )
}
