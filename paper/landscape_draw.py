# %% [markdown]
# The landscape figure, drawn from stored data alone: without solving anything.

# %%
"""The landscape figure: infimum, best single delta and SGD against Delta, and where SGD stands above the infimum."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from paper import style
from workbench.trajectory import Trajectory

CONVERGED = {"color": "#111111", "linestyle": "none", "marker": "+", "markersize": 9, "markeredgewidth": 1.6}
UNDER_WAY = CONVERGED | {"marker": "x", "markersize": 6, "color": "#6b7280", "markeredgewidth": 1.2}


def draw(_runs: Mapping[str, Trajectory], metrics: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Draw from stored data alone, into ``folder``; the names of the files."""
    values = {name: entry["value"] for name, entry in metrics["parameters"].items()}
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11, 4.6))
        risk, room = figure.subplots(1, 2)
        _risk(risk, metrics)
        _room(room, metrics)
        figure.suptitle(
            f"The optimal risk: truncated ReLU, d = {values['d']}, SGD with N = {values['units']}, "
            f"{metrics['convention']} convention",
            fontsize=10.5,
        )
        return style.save(figure, folder)


def _risk(axes: Any, metrics: Mapping[str, Any]) -> None:
    curve = metrics["landscape"]
    delta = [entry["delta"] for entry in curve]
    axes.plot(
        delta, [entry["infimum"] for entry in curve], label="infimum over all measures", **style.DENSITY
    )
    axes.plot(delta, [entry["single_delta"] for entry in curve], label="best single delta", **style.PARTICLES)
    for runs, label, marker in (
        ([run for run in metrics["sgd"] if run["converged"]], "SGD, converged", CONVERGED),
        ([run for run in metrics["sgd"] if not run["converged"]], "SGD, not converged", UNDER_WAY),
    ):
        if runs:
            axes.plot([run["delta"] for run in runs], [run["risk"] for run in runs], label=label, **marker)
    zero = metrics["threshold_zero_at_d_infinity"]
    for end, label, filling in (
        (metrics["optimal_from"], "single delta optimal from here", "#9aa1ac"),
        (metrics["threshold_optimal"], "single delta optimal up to here", "#111111"),
        ({**zero, "risk": 0.0}, "single delta reaches 0 at $d = \\infty$", "white"),
    ):
        if end is not None:
            axes.plot(end["delta"], end["risk"], "o", color="#111111", markerfacecolor=filling, label=label)
    axes.set(xlim=(0, 1), ylim=(-0.04, None), xlabel="$\\Delta$", ylabel="risk $R$")
    axes.legend(loc="upper center", frameon=True, framealpha=1.0, edgecolor="none")


def _room(axes: Any, metrics: Mapping[str, Any]) -> None:
    """Each run in units of K/N above the infimum; those that have not converged with their last slope."""
    top = 1.6  # of the axis
    axes.axhspan(0, 1, **style.BAND)
    axes.text(0.01, 1.02, "inf $R$ + $K/N$", fontsize=9, transform=axes.get_yaxis_transform())
    axes.text(0.01, 0.02, "inf $R$", fontsize=9, transform=axes.get_yaxis_transform())
    for run in metrics["sgd"]:
        share = min(run["share_of_room"], top - 0.12)
        axes.plot(run["delta"], share, **(CONVERGED if run["converged"] else UNDER_WAY))
        if not run["converged"]:
            axes.annotate(
                f"{run['last_slope']:.2g}",
                (run["delta"], share),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
            )
    axes.set(xlim=(0, 1), ylim=(-0.05, top), xlabel="$\\Delta$", ylabel="$(R - \\inf R)/(K/N)$ of SGD")
    if not all(run["converged"] for run in metrics["sgd"]):
        axes.set_title("×: not converged, with d$R$/d log $t$; at the top: above it", fontsize=9)


def alt(metrics: Mapping[str, Any]) -> str:
    """The finding, for those who do not see the picture."""
    converged = [run for run in metrics["sgd"] if run["converged"]]
    inside = sum(0 <= run["share_of_room"] <= 1 for run in converged)
    starts, stops = metrics["optimal_from"], metrics["threshold_optimal"]["delta"]
    between = f"up to Delta = {stops:.3f}" if starts is None else f"from {starts['delta']:.3f} to {stops:.3f}"
    first, last = metrics["landscape"][0], metrics["landscape"][-1]
    return (
        f"The infimum of the risk goes from {first['infimum']:.3g} at Delta = {first['delta']:g} to {last['infimum']:.3g} at "
        f"{last['delta']:g}; the best single delta is the infimum {between} and lies above it elsewhere. {len(converged)} of "
        f"{len(metrics['sgd'])} runs of SGD have converged; {inside} of these lie between inf R and inf R + K/N."
    )


# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("landscape")
