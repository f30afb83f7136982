# %% [markdown]
# The scaling figure, drawn from stored data alone: without solving anything.

# %%
"""The scaling figure: the deviation of SGD from DD against N, epsilon and d, and the lemma on N units."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from paper import style
from workbench.trajectory import Trajectory

MEASURED = style.NETWORK | {"markersize": 5}
FITTED = style.DENSITY
THEORY = style.PARTICLES


def draw(_runs: Mapping[str, Trajectory], metrics: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Draw from stored data alone, into ``folder``; the names of the files."""
    values = {name: entry["value"] for name, entry in metrics["parameters"].items()}
    with matplotlib.rc_context(style.RC):
        figure = Figure(figsize=(11, 7))
        (units, step), (dimension, lemma) = figure.subplots(2, 2)
        _slope(units, metrics["units"], -0.5, "$N^{-1/2}$")
        units.set(xlabel="number of units $N$", ylabel="sup$_t$ |$R$ - $R_{DD}$|, rms over networks")
        _slope(step, metrics["epsilon"], 0.5, "$\\varepsilon^{1/2}$")
        from_dd = metrics["epsilon"]["rms_from_dd"]
        label = f"from DD, N = {values['units']}"
        step.plot(metrics["epsilon"]["x"], from_dd, label=label, **(style.ORBIT | {"markersize": 5}))
        step.set(
            xlabel="step $\\varepsilon - \\varepsilon_0$",
            ylabel="the same, from smaller steps $\\varepsilon_0$",
        )
        step.legend(loc="upper left", bbox_to_anchor=(0.0, 0.84))
        _slope(dimension, metrics["dimension"], 0.5, "$d^{1/2}$")
        dimension.set(xlabel="dimension $d$", ylabel="the same, from smaller steps")
        _lemma(lemma, metrics["lemma"])
        for axes, name in ((units, "units"), (step, "epsilon"), (dimension, "dimension"), (lemma, "lemma")):
            axes.set(xscale="log", yscale="log")
            digits = ".2g" if axes is step else "g"
            axes.set_xticks(metrics[name]["x"], [f"{value:{digits}}" for value in metrics[name]["x"]])
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
            if axes is not step:
                axes.legend(loc="best")
        figure.suptitle(
            f"Deviation of SGD from DD: truncated ReLU, d = {values['d']}, $\\Delta$ = {values['delta']:g} "
            f"({metrics['convention']}), until t = {values['t_end']:g}, {values['networks']} networks",
            fontsize=10.5,
        )
        return style.save(figure, folder)


def _slope(axes: Any, numbers: Mapping[str, Any], expected: float, label: str) -> None:
    """Measured deviations, the fit with the band of its slope, and the slope of the bound."""
    x, y = np.array(numbers["x"]), np.array(numbers["rms"])
    centre, level = np.exp(np.log(x).mean()), np.exp(np.log(y).mean())
    low, high = numbers["band"]
    axes.fill_between(x, level * (x / centre) ** low, level * (x / centre) ** high, **style.BAND)
    fit = f"slope {numbers['slope']:.2f} [{low:.2f}, {high:.2f}]"
    axes.plot(x, level * (x / centre) ** numbers["slope"], label=fit, **FITTED)
    axes.plot(x, 0.7 * level * (x / centre) ** expected, label=label, **THEORY)
    axes.plot(x, y, label="SGD", **MEASURED)


def _lemma(axes: Any, numbers: Mapping[str, Any]) -> None:
    """N units drawn from the optimal measure: the mean of their risk above the infimum."""
    x = numbers["x"]
    axes.plot(x, numbers["bound"], label="$K/N$", **THEORY)
    axes.plot(x, numbers["expected"], label="$(K - \\int\\int U)/N$", **FITTED)
    axes.errorbar(
        x,
        numbers["mean_excess"],
        numbers["standard_error"],
        label="networks drawn from $\\rho_{opt}$",
        **MEASURED,
    )
    axes.set(xlabel="number of units $N$", ylabel="mean $R_N$ - $\\inf R$")


def alt(metrics: Mapping[str, Any]) -> str:
    """The finding, for those who do not see the picture."""

    def words(name: str) -> str:
        low, high = metrics[name]["band"]
        return f"{metrics[name]['slope']:.2f} (band {low:.2f} to {high:.2f})"

    return (
        f"On log-log axes the deviation of SGD from DD has slope {words('units')} against N, {words('epsilon')} against "
        f"epsilon - epsilon_0 and {words('dimension')} against d, where the bound has -0.5, 0.5 and 0.5. The mean risk of N "
        f"units drawn from the optimal measure lies above the infimum with slope {metrics['lemma']['slope']:.2f} against N."
    )


# %%
if __name__ == "__main__":
    from paper.notebook import make_and_show

    make_and_show("scaling")
