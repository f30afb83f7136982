# %% [markdown]
# The distribution figure, drawn from stored data alone: without solving anything.

# %%
"""The distribution figure: the histogram of |w_i| under the density of DD, and the risk against the step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from paper import ensemble, style
from workbench.trajectory import Trajectory

COLLAPSED = 0.3  # units below this radius are on no side of the threshold of the activation


def draw(trajectories: Mapping[str, Trajectory], metrics: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Draw from stored data alone, into ``folder``; the names of the files."""
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11, 6.2))
        count = len(metrics["snapshots"])
        grid = figure.add_gridspec(2, count, height_ratios=[1.1, 1])
        for i, snapshot in enumerate(metrics["snapshots"]):
            axes = figure.add_subplot(grid[0, i])
            _histogram(axes, trajectories, i)
            axes.set_title(f"step {snapshot['step']:,}   (t = {snapshot['t']:g})")
            axes.set_xlabel("radius $r = |w|$")
            if i == 0:
                axes.set_ylabel("density of $r$")
                axes.legend(loc="upper left")
        bottom = grid[1, :].subgridspec(1, 2, width_ratios=[1.7, 1])
        _risk(figure.add_subplot(bottom[0, 0]), trajectories, metrics)
        _deviation(figure.add_subplot(bottom[0, 1]), trajectories, metrics)
        values = {name: entry["value"] for name, entry in metrics["parameters"].items()}
        figure.suptitle(
            f"SGD against distributional dynamics: truncated ReLU, d = {values['d']}, N = {values['units']}, "
            f"$\\Delta$ = {values['delta']:g} ({metrics['convention']}: $\\tau_+$ = {metrics['tau_plus']:.4g}, "
            f"$\\tau_-$ = {metrics['tau_minus']:.4g}), $\\varepsilon$ = {values['epsilon']:g}",
            fontsize=10.5,
        )
        return style.save(figure, folder)


def _histogram(axes: Any, trajectories: Mapping[str, Trajectory], snapshot: int) -> None:
    units = trajectories["sgd"].measure(snapshot)
    radii = units.points[:, 0]
    bins = np.linspace(radii.min(), radii.max(), 41)
    heights, _, _ = axes.hist(
        radii, bins=bins, weights=units.weights / (bins[1] - bins[0]), label="SGD", **style.HISTOGRAM
    )
    cells = trajectories["fokker_planck"].measure(snapshot)
    edges = trajectories["fokker_planck"].data["edges_r"].values
    r, density = cells.points[:, 0], cells.weights / (edges[1] - edges[0])
    axes.plot(r, density, label="DD (Fokker-Planck)", **style.DENSITY)
    # mass that collapses towards r = 0 is a peak without a scale: it may leave the axes, its mass is told
    collapsed = {
        name: float(measure.weights[measure.points[:, 0] < COLLAPSED].sum())
        for name, measure in (("SGD", units), ("DD", cells))
    }
    body = density[r > COLLAPSED]
    axes.set(
        xlim=(0, 1.1 * radii.max()), ylim=(0, 1.15 * max(heights[bins[1:] > COLLAPSED].max(), body.max()))
    )
    if max(collapsed.values()) > 0.01:
        words = "\n".join(f"{name} {mass:.3f}" for name, mass in collapsed.items())
        axes.annotate(
            f"mass at r < {COLLAPSED:g}\n{words}",
            (0.06, 0.97),
            xycoords="axes fraction",
            va="top",
            fontsize=9,
        )


def _risk(axes: Any, trajectories: Mapping[str, Trajectory], metrics: Mapping[str, Any]) -> None:
    epsilon = metrics["parameters"]["epsilon"]["value"]

    def curve(name: str, variable: str = "risk") -> tuple[Any, Any]:
        data = trajectories[name].data
        return data["record_time"].values / epsilon, data[variable].values

    axes.plot(*curve("sgd", "network_risk"), label="SGD, population risk of the network", **style.NETWORK)
    axes.plot(*curve("sgd"), label="SGD, orbit-averaged risk", **style.ORBIT)
    axes.plot(*curve("fokker_planck"), label="DD (Fokker-Planck)", **style.DENSITY)
    axes.plot(*curve("particles"), label="DD (particles)", **style.PARTICLES)
    for snapshot in metrics["snapshots"]:
        axes.axvline(snapshot["step"], color="#8d96a3", linewidth=0.8, linestyle=":")
    steps, _ = curve("sgd")
    axes.set(xscale="log", xlim=(0.8 * steps[0], 1.25 * steps[-1]), xlabel="SGD step", ylabel="risk $R$")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower left")


def _deviation(axes: Any, trajectories: Mapping[str, Trajectory], metrics: Mapping[str, Any]) -> None:
    """What SGD differs from DD by, in the band that an ensemble of networks gives."""
    limit, sgd = trajectories["particles"].data["risk"].values, trajectories["sgd"].data
    band = ensemble.band(limit, ensemble.gathered("ensemble", trajectories))
    steps = sgd["record_time"].values / metrics["parameters"]["epsilon"]["value"]
    axes.fill_between(
        steps, band.lower - limit, band.upper - limit, label="band of DD for N units", **style.BAND
    )
    axes.axhline(0.0, **style.DENSITY)
    axes.plot(steps, sgd["risk"].values - limit, label="SGD - DD, orbit-averaged risk", **style.ORBIT)
    top = 1.9 * band.multiple * band.spread.max()
    axes.set(xscale="log", xlim=(0.8 * steps[0], 1.25 * steps[-1]), ylim=(-top, top), xlabel="SGD step")
    axes.legend(loc="upper right")


def alt(metrics: Mapping[str, Any]) -> str:
    """The finding, for those who do not see the picture."""
    last, band = metrics["snapshots"][-1], metrics["band"]
    return (
        f"Histograms of the norms of the units of SGD and the density of distributional dynamics at "
        f"{len(metrics['snapshots'])} times: at the last, W1 between them is {last['wasserstein1']['sgd_particles']:.2g}. "
        f"The risk goes to {last['risk']['sgd_orbit_averaged']:.3g} for SGD and {last['risk']['particles']:.3g} for DD; that of "
        f"SGD lies in the band of DD for N units at {band['inside']:.0%} of the records."
    )


# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("distribution")
