# %% [markdown]
# The noisy figure, drawn from stored data alone: without solving anything.

# %%
"""The noisy figure: |w_i| of noisy SGD under the density and the Gibbs law, the risk, and the free energy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from paper import style
from workbench.trajectory import Trajectory

# Roles of this figure alone.
GIBBS: dict[str, Any] = {"color": "#111111", "linestyle": (0, (5, 2)), "linewidth": 1.2}
LANGEVIN: dict[str, Any] = {
    "color": style.PARTICLES["color"],
    "linestyle": "none",
    "marker": "s",
    "markersize": 6,
    "markerfacecolor": "none",
}
SLOPE: dict[str, Any] = {"color": "#111111", "linestyle": ":", "linewidth": 1.2}
ROUNDING = 1e-13  # of a difference of free energies: what is below shows the arithmetic


def draw(trajectories: Mapping[str, Trajectory], metrics: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Draw from stored data alone, into ``folder``; the names of the files."""
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11, 6.6))
        count = len(metrics["snapshots"])
        grid = figure.add_gridspec(2, 1, height_ratios=[1.0, 1.15])
        top = grid[0].subgridspec(1, count)
        first: Any = None
        for i, snapshot in enumerate(metrics["snapshots"]):
            axes = figure.add_subplot(top[0, i], sharex=first, sharey=first)
            _histogram(axes, trajectories, i)
            axes.set_title(f"t = {snapshot['t']:g}   (step {snapshot['step']:,})")
            axes.set_xlabel("radius $r = |w|$")
            if first is None:
                first = axes
                axes.set_ylabel("density of $r$")
            else:
                axes.tick_params(labelleft=False)
        first.set(xlim=_radii(trajectories), ylim=(0, 1.12 * _highest(trajectories)))
        figure.axes[-1].legend(loc="upper right" if _room_right(trajectories) else "upper left")
        bottom = grid[1].subgridspec(1, 2)
        _risk(figure.add_subplot(bottom[0, 0]), trajectories, metrics)
        _free_energy(figure.add_subplot(bottom[0, 1]), trajectories, metrics)
        values = {name: entry["value"] for name, entry in metrics["parameters"].items()}
        figure.suptitle(
            f"Noisy SGD against the Fokker-Planck equation: truncated ReLU, d = {values['d']}, "
            f"N = {values['units']}, $\\Delta$ = {values['delta']:g} ({metrics['convention']}), "
            f"$\\lambda$ = {values['lam']:g}, $\\beta$ = {values['beta']:g}, "
            f"$\\varepsilon$ = {values['epsilon']:g}",
            fontsize=10.5,
        )
        return style.save(figure, folder)


def _density(run: Trajectory, snapshot: int) -> tuple[Any, Any]:
    """Centres and densities of the cells of a run at one snapshot."""
    cells = run.measure(snapshot)
    r = cells.points[:, 0]
    return r, cells.weights / np.gradient(r)


def _histogram(axes: Any, trajectories: Mapping[str, Trajectory], snapshot: int) -> None:
    units = trajectories["sgd"].measure(snapshot)
    radii = units.points[:, 0]
    # a bar's standard error is then a fifth of its height or so
    bins = np.linspace(radii.min(), radii.max(), 1 + round(3 * len(radii) ** (1 / 3)))
    axes.hist(radii, bins=bins, weights=units.weights / (bins[1] - bins[0]), label="SGD", **style.HISTOGRAM)
    axes.plot(*_density(trajectories["fokker_planck"], snapshot), label="Fokker-Planck", **style.DENSITY)
    axes.plot(*_density(trajectories["stationary"], 0), label="Gibbs law", **GIBBS)


def _radii(trajectories: Mapping[str, Trajectory]) -> tuple[float, float]:
    """An interval that holds all but a thousandth of every law shown, with a margin."""
    laws = [trajectories["fokker_planck"].measure(i) for i in range(len(trajectories["sgd"].times))]
    ends = np.array([law.quantiles(np.array([1e-3, 1 - 1e-3])) for law in laws])
    low, high = ends.min(), ends.max()
    return max(0.0, low - 0.08 * (high - low)), high + 0.08 * (high - low)


def _highest(trajectories: Mapping[str, Trajectory]) -> float:
    """The highest density shown, with room for the fluctuations of the histogram."""
    snapshots = range(len(trajectories["sgd"].times))
    return 1.1 * max(float(_density(trajectories["fokker_planck"], i)[1].max()) for i in snapshots)


def _room_right(trajectories: Mapping[str, Trajectory]) -> bool:
    """Whether the Gibbs law leaves more room to its right than to its left."""
    low, high = _radii(trajectories)
    return trajectories["stationary"].measure(0).mean() < (low + high) / 2


def _risk(axes: Any, trajectories: Mapping[str, Trajectory], metrics: Mapping[str, Any]) -> None:
    def curve(name: str, variable: str = "risk") -> tuple[Any, Any]:
        data = trajectories[name].data
        return data["record_time"].values, data[variable].values

    t, langevin = curve("langevin")
    axes.plot(*curve("sgd", "network_risk"), label="SGD, population risk of the network", **style.NETWORK)
    axes.plot(*curve("sgd"), label="SGD, orbit-averaged risk", **style.ORBIT)
    axes.plot(*curve("fokker_planck"), label="Fokker-Planck", **style.DENSITY)
    axes.plot(t[::-4], langevin[::-4], label="Langevin particles", **LANGEVIN)
    axes.axhline(metrics["gibbs"]["risk"], label="Gibbs law", **GIBBS)
    for snapshot in metrics["snapshots"]:
        axes.axvline(snapshot["t"], color="#8d96a3", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlim=(0.85 * t[0], 1.18 * t[-1]), xlabel="time $t$", ylabel="risk $R$")
    shown = np.concatenate([curve("sgd", "network_risk")[1], curve("sgd")[1], langevin])
    margin = 0.06 * (shown.max() - shown.min())
    axes.set_ylim(max(0.0, shown.min() - 2 * margin), shown.max() + margin)
    axes.legend(loc="upper right", frameon=True, framealpha=1.0, edgecolor="none")


def _free_energy(axes: Any, trajectories: Mapping[str, Trajectory], metrics: Mapping[str, Any]) -> None:
    data = trajectories["fokker_planck"].data
    t, above = (
        data["step_time"].values,
        data["step_free_energy"].values - metrics["gibbs_free_energy_on_cells"],
    )
    shown = above > ROUNDING
    axes.plot(t[shown], above[shown], label="Fokker-Planck, after every step", **style.DENSITY)
    # in the clock tau an eigenmode decays like exp(-k tau), and F - F* is quadratic in it
    k, last = metrics["gibbs"]["relaxation_rate"], int(np.flatnonzero(shown)[-1])
    line = t[shown] >= t[last] / 4
    slope = 3 * above[last] * np.exp(-2 * k * (t[shown][line] - t[last]))
    axes.plot(t[shown][line], slope, label=f"slope $e^{{-2 k t}}$, slowest mode $k$ = {k:.3g}", **SLOPE)
    axes.set(yscale="log", xlim=(0, 1.02 * t[-1]), xlabel="time $t$")
    axes.set_ylabel("free energy $F(\\rho_t) - F(\\rho_*)$")
    axes.legend(loc="upper right")


def alt(metrics: Mapping[str, Any]) -> str:
    """The finding, for those who do not see the picture."""
    last, rise = metrics["snapshots"][-1], metrics["largest_rise_of_free_energy"]
    falls = "falls at every step" if rise <= ROUNDING else f"rises by {rise:.1g} in a step"
    return (
        f"Histograms of noisy SGD and the Fokker-Planck density at {len(metrics['snapshots'])} times: at the last, W1 between "
        f"them is {last['wasserstein1']['sgd_fokker_planck']:.2g}, and the density is {metrics['final_l1_to_gibbs']:.1g} from "
        f"the Gibbs law in L1. The free energy {falls}; it ends {metrics['final_free_energy_above_gibbs']:.1g} above that of "
        "the Gibbs law."
    )


# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("noisy")
