# %% [markdown]
# The animation, drawn from stored data alone: a picture that holds still, and the frames for the report.

# %%
"""The animation figure: four frames and the quantiles over time; ``animation.json`` has all frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from paper import style
from workbench.files import replace_file
from workbench.trajectory import Trajectory

BARS = 48
POINTS = 240  # of the density in a frame


def draw(runs: Mapping[str, Trajectory], metrics: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Draw from stored data alone, into ``folder``; the names of the files."""
    values = {name: entry["value"] for name, entry in metrics["parameters"].items()}
    film = frames(runs, metrics)
    count = len(film["times"])
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11, 6.2))
        grid = figure.add_gridspec(2, 4, height_ratios=[1, 1.1])
        for column, i in enumerate(round(share * (count - 1)) for share in (0.15, 0.45, 0.7, 1.0)):
            axes = figure.add_subplot(grid[0, column])
            edges = np.array(film["bins"])
            axes.bar(edges[:-1], film["sgd"][i], np.diff(edges), align="edge", label="SGD", **style.HISTOGRAM)
            axes.plot(film["r"], film["density"][i], label="DD", **style.DENSITY)
            axes.set(xlim=(0, edges[-1]), xlabel="radius $r = |w|$", title=f"t = {film['times'][i]:.2g}")
            bars, peak = max(film["sgd"][i]), max(film["density"][i])
            axes.set_ylim(0, 1.1 * (peak if bars < peak < 2 * bars else bars))  # collapsed units are a spike
            if column == 0:
                axes.set_ylabel("density of $r$")
                axes.legend(loc="upper right")
        _quantiles(figure.add_subplot(grid[1, :]), metrics)
        figure.suptitle(
            f"The norms of the weights over time: truncated ReLU, d = {values['d']}, N = {values['units']}, "
            f"$\\Delta$ = {values['delta']:g} ({metrics['convention']}), $\\varepsilon$ = {values['epsilon']:g}",
            fontsize=10.5,
        )
        drawn = style.save(figure, folder)
    replace_file(folder / "animation.json", (json.dumps(film) + "\n").encode())
    return *drawn, "animation.json"


def frames(runs: Mapping[str, Trajectory], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Bars of SGD and the density of DD, (frames, ...), as plain lists, to four digits."""
    sgd, dd = runs["sgd"], runs["fokker_planck"]
    count = len(sgd.times)
    top = 1.05 * max(float(sgd.measure(i).points.max()) for i in range(count))
    bins = np.linspace(0, top, BARS + 1)
    edges = np.linspace(0, top, POINTS + 1)
    r = (edges[1:] + edges[:-1]) / 2
    bars, lines = [], []
    for i in range(count):
        units, cells = sgd.measure(i), dd.measure(i)
        heights, _ = np.histogram(units.points[:, 0], bins, weights=units.weights)
        bars.append(_digits(heights / (bins[1] - bins[0])))
        # the mass between two points, not the density at them: a peak can be narrower
        walls = dd.data["edges_r"].values
        masses, _ = np.histogram(cells.points[:, 0], walls, weights=cells.weights)
        below = np.interp(edges, walls, np.concatenate([[0.0], np.cumsum(masses)]))
        lines.append(_digits(np.diff(below) / np.diff(edges)))
    return {
        "times": [float(t) for t in sgd.times],
        "label": "time t",
        "bins": _digits(bins),
        "sgd": bars,
        "r": _digits(r),
        "density": lines,
        "xlabel": "radius r = |w|",
        "ylabel": "density of r",
        "finding": alt(metrics),
    }


def _digits(values: Any) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _quantiles(axes: Any, metrics: Mapping[str, Any]) -> None:
    t = np.array([frame["t"] for frame in metrics["frames"]])
    sgd = np.array([frame["quantiles_sgd"] for frame in metrics["frames"]])
    dd = np.array([frame["quantiles_dd"] for frame in metrics["frames"]])
    every = max(1, len(t) // 24)
    levels = ", ".join(f"{100 * level:g}" for level in metrics["levels"])
    axes.plot(t, dd, label=[f"DD, quantiles {levels} %", *[None] * (len(dd[0]) - 1)], **style.DENSITY)
    axes.plot(t[::every], sgd[::every], label=["SGD", *[None] * (len(sgd[0]) - 1)], **style.NETWORK)
    axes.set(xlabel="time $t$", ylabel="quantiles of $r$", xlim=(0, 1.01 * t[-1]))
    axes.set_ylim(bottom=0)
    axes.legend(loc="best")


def alt(metrics: Mapping[str, Any]) -> str:
    """The finding, for those who do not see the picture."""
    last = metrics["frames"][-1]
    return (
        f"The norms of {metrics['parameters']['units']['value']} units of SGD and the density of distributional dynamics, "
        f"frame by frame: at the last, the quantiles {metrics['levels'][0]:.0%} and {metrics['levels'][-1]:.0%} are "
        f"{last['quantiles_sgd'][0]:.2g} and {last['quantiles_sgd'][-1]:.2g} for SGD, {last['quantiles_dd'][0]:.2g} and "
        f"{last['quantiles_dd'][-1]:.2g} for DD; W1 between the two is at most "
        f"{max(frame['wasserstein1'] for frame in metrics['frames']):.2g} at any frame."
    )


# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("animation")
