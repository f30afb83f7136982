"""One style for all figures: legible in greyscale, the same curve looks the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure

RC: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "mean-field-workbench",
    "figure.constrained_layout.use": True,
}

# A role keeps its colour, dash and order of lightness in every figure.
HISTOGRAM: dict[str, Any] = {"color": "#c9ced6", "edgecolor": "#aab1bc", "linewidth": 0.4}
DENSITY: dict[str, Any] = {"color": "#b3261e", "linestyle": "-"}
BAND: dict[str, Any] = {"color": "#b3261e", "alpha": 0.18, "linewidth": 0}
PARTICLES: dict[str, Any] = {"color": "#1f4e9c", "linestyle": "--"}
REFERENCE: dict[str, Any] = {"color": "#111111", "linestyle": ":", "linewidth": 1.2}
NETWORK: dict[str, Any] = {"color": "#111111", "linestyle": "none", "marker": "o", "markersize": 3}
ORBIT: dict[str, Any] = {"color": "#111111", "linestyle": "none", "marker": "x", "markersize": 3.5}


def save(figure: Figure, folder: Path) -> tuple[str, ...]:
    """Write figure.svg and figure.png, named in the result; no date is stored: the same data give the same bytes."""
    figure.savefig(folder / "figure.svg", metadata={"Date": None})
    figure.savefig(folder / "figure.png", dpi=160)
    return "figure.svg", "figure.png"
