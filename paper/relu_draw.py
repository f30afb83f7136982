# %% [markdown]
# The relu figure, drawn from stored data alone: without solving anything.

# %%
"""The relu figure: risk, its deviation from DD in the band, and the means of a, b and r1 against the step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from paper import ensemble, style
from paper.relu_simulate import SHOWN, means_of
from workbench.trajectory import Trajectory

# of the three Delta, in their order: told apart without colour
MARKERS = ("o", "s", "^")
SHADES = ("#e08a83", "#b3261e", "#5c0f0a")
LABELS = {"a": "mean of $a$", "b": "mean of $b$", "r1": "mean of $r_1$"}


def draw(runs: Mapping[str, Trajectory], metrics: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Draw from stored data alone, into ``folder``; the names of the files."""
    values = {name: entry["value"] for name, entry in metrics["parameters"].items()}
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11, 6.4))
        grid = figure.add_gridspec(2, 6)
        risk, deviation = figure.add_subplot(grid[0, :3]), figure.add_subplot(grid[0, 3:])
        below = [figure.add_subplot(grid[1, 2 * k : 2 * k + 2]) for k in range(3)]
        for delta, marker, shade in zip(values["deltas"], MARKERS, SHADES, strict=True):
            sgd, dd = runs[f"sgd_{delta:g}"], runs[f"particles_{delta:g}"]
            steps = dd.times / values["epsilon"]
            unit = style.NETWORK | {"marker": marker, "markerfacecolor": "none", "markersize": 4}
            line = style.DENSITY | {"color": shade}
            risk.plot(steps, dd.data["risk"].values, label=f"DD, $\\Delta$ = {delta:g}", **line)
            risk.plot(steps, sgd.data["network_risk"].values, label=f"SGD, $\\Delta$ = {delta:g}", **unit)
            _deviation(deviation, runs, delta, steps, marker, shade)
            for axes, name in zip(below, SHOWN, strict=True):
                axes.plot(steps, means_of(dd, name), **line)
                axes.plot(steps, means_of(sgd, name), **unit)
        risk.set(xscale="log", xlabel="SGD step", ylabel="risk $R$", ylim=(0.5, 2.6))
        risk.legend(loc="lower left")
        deviation.axhline(0.0, color="#111111", linewidth=0.8)
        deviation.set(xscale="log", xlabel="SGD step", ylabel="SGD - DD, orbit-averaged risk")
        deviation.legend(loc="upper right")
        for axes, name in zip(below, SHOWN, strict=True):
            axes.set(xscale="log", xlabel="SGD step", ylabel=LABELS[name])
        figure.suptitle(
            f"Affine ReLU units: d = {values['d']}, $s_0$ = {values['s0']}, N = {values['units']}, "
            f"$\\xi(t) = t^{{-{values['xi_exponent']:g}}}$, $\\varepsilon$ = {values['epsilon']:g} "
            f"({metrics['convention']})",
            fontsize=10.5,
        )
        return style.save(figure, folder)


def _deviation(
    axes: Any, runs: Mapping[str, Trajectory], delta: float, steps: Any, marker: str, shade: str
) -> None:
    """What SGD differs from DD by, and the ends of the band that an ensemble of networks gives."""
    limit = runs[f"particles_{delta:g}"].data["risk"].values
    band = ensemble.band(limit, ensemble.gathered(f"ensemble_{delta:g}", runs))
    for end, label in ((band.lower, f"band of DD, $\\Delta$ = {delta:g}"), (band.upper, None)):
        axes.plot(steps, end - limit, color=shade, linewidth=1.0, linestyle="--", label=label)
    sgd = runs[f"sgd_{delta:g}"].data["risk"].values
    axes.plot(steps, sgd - limit, **(style.NETWORK | {"marker": marker, "markersize": 3}))


def alt(metrics: Mapping[str, Any]) -> str:
    """The finding, for those who do not see the picture."""
    parts = [
        f"Delta = {entry['delta']:g}: risk {entry['risk']['sgd_network']:.3g} against {entry['risk']['dd']:.3g}, "
        f"{entry['band']['inside']:.0%} of the records in the band"
        for entry in metrics["runs"]
    ]
    return (
        "Risk and means of a, b and r1 of ReLU networks with trained output weights and offsets, and of distributional "
        f"dynamics in four coordinates. At the end, SGD against DD, {'; '.join(parts)}."
    )


# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("relu")
