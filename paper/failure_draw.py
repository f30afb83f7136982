# %% [markdown]
# The failure figure, drawn from stored data alone: without solving anything.

# %%
"""The failure figure: risk and mean norm of the units against the step, from two initial laws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from paper import style
from workbench.trajectory import Trajectory

MARKERS = ("o", "s")  # of the initial laws, in their order
DASHES = ("-", "--")


def draw(runs: Mapping[str, Trajectory], metrics: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Draw from stored data alone, into ``folder``; the names of the files."""
    values = {name: entry["value"] for name, entry in metrics["parameters"].items()}
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11, 4.4))
        risk, radius = figure.subplots(1, 2)
        for kappa, marker, dashes in zip(values["kappas"], MARKERS, DASHES, strict=True):
            unit = style.NETWORK | {"marker": marker, "markerfacecolor": "none", "markersize": 4.5}
            line = style.DENSITY | {"linestyle": dashes}
            sgd, dd = runs[f"sgd_{kappa:g}"], runs[f"particles_{kappa:g}"]
            steps = sgd.times / values["epsilon"]
            risk.plot(steps, sgd.data["network_risk"].values, label=f"SGD, $\\kappa$ = {kappa:g}", **unit)
            risk.plot(
                dd.times / values["epsilon"],
                dd.data["risk"].values,
                label=f"DD, $\\kappa$ = {kappa:g}",
                **line,
            )
            radius.plot(steps, _means(sgd), label=f"SGD, $\\kappa$ = {kappa:g}", **unit)
            radius.plot(dd.times / values["epsilon"], _means(dd), label=f"DD, $\\kappa$ = {kappa:g}", **line)
        best = metrics["best_delta_at_d_infinity"]
        risk.axhline(metrics["constant_network_risk"], label="constant network", **style.REFERENCE)
        radius.axhline(best["r"], label="best single delta, $d = \\infty$", **style.REFERENCE)
        risk.set(xscale="log", xlabel="SGD step", ylabel="risk $R$", ylim=(0, 9))
        radius.set(xscale="log", xlabel="SGD step", ylabel="mean of $r = |w|$", ylim=(-0.05, 2.5))
        risk.legend(loc="lower left")
        radius.legend(loc="center left", bbox_to_anchor=(0.0, 0.62))
        figure.suptitle(
            f"Two initial laws: non-monotone activation, d = {values['d']}, N = {values['units']}, "
            f"$\\Delta$ = {values['delta']:g} ({metrics['convention']}), $\\varepsilon$ = {values['epsilon']:g}",
            fontsize=10.5,
        )
        return style.save(figure, folder)


def _means(run: Trajectory) -> Any:
    """The mean of r at every snapshot."""
    return np.array([run.measure(i).mean() for i in range(len(run.times))])


def alt(metrics: Mapping[str, Any]) -> str:
    """The finding, for those who do not see the picture."""
    (small, first), (large, second) = metrics["ends"].items()
    return (
        f"From kappa = {small} the mean of r goes to {first['sgd']['mean_r']:.2g} for SGD and {first['dd']['mean_r']:.2g} for "
        f"DD, the risk to {first['sgd']['risk_network']:.3g} and {first['dd']['risk']:.3g}, where that of the constant network "
        f"is {metrics['constant_network_risk']:.3g}. From kappa = {large} the mean of r goes to "
        f"{second['sgd']['mean_r']:.3g} and {second['dd']['mean_r']:.3g}, the risk to {second['sgd']['risk_network']:.2g} and "
        f"{second['dd']['risk']:.2g}; at d = infinity DD ends at {second['dd_at_d_infinity']['risk']:.2g}."
    )


# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("failure")
