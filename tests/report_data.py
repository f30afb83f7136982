"""Small figures for the tests of the report: two that are made in seconds, one in each other state, and a tutorial."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from paper.figures import FIGURES
from paper.pipeline import Build, Figure, make, write
from paper.presets import Parameter
from paper.report import build

NUMBERS: dict[str, dict[str, Any]] = {
    "noisy": {
        "units": 10,
        "particles": 50,
        "cells": 40,
        "epsilon": 1e-3,
        "snapshots": (0.02, 0.05),
        "dt": 0.02,
    },
    "animation": {"units": 20, "cells": 60, "epsilon": 1e-3, "t_end": 0.5, "frames": 8, "d": 8},
}
TUTORIAL = """# %% [markdown]
# # A first look
#
# The norm of w ~ N(0, kappa^2/d I_d), and `code` & <tags>.

# %%
from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

x = np.linspace(0, 2, 9)
print("mean <r>:", x.mean())

# %% [markdown]
# ## A picture

# %%
figure = Figure(figsize=(4, 2))
axes = figure.add_subplot()
axes.plot(x, x**2, label="square")
axes.set(xlabel="x", ylabel="y")
alt = "A parabola"

# %%
figure = Figure(figsize=(4, 2))
axes = figure.add_subplot()
axes.plot(x, x, label="line")
axes.set(xlabel="x", ylabel="y", title="straight")

# %%
if __name__ == "__main__":
    shown: NotEvaluated = figure is not None
    print("main", shown)
"""


def figures() -> dict[str, Figure]:
    """The index of figures, with two of them cheap."""
    cheap = {
        name: replace(
            FIGURES[name],
            preset={
                **FIGURES[name].preset,
                **{key: Parameter(value, "ours") for key, value in numbers.items()},
            },
        )
        for name, numbers in NUMBERS.items()
    }
    return {**FIGURES, **cheap}


def make_figures(folder: Path) -> None:
    """A folder of figures: noisy and animation made, noisy stale under variance, the others in other states."""
    index = figures()
    for name in NUMBERS:
        make(index[name], folder / "std" / name, index[name].setting("smoke", "std", 3))
    stale = folder / "variance" / "noisy"
    shutil.copytree(folder / "std" / "noisy", stale)
    numbers = json.loads((stale / "metrics.json").read_text("utf-8"))
    write(stale / "metrics.json", {**numbers, "convention": "variance"})
    rewrite(stale, convention="variance", metrics="of earlier code")
    as_written = Build.load(stale)
    assert as_written is not None
    as_written.wrote(stale, "metrics.json")
    # failure: files of another figure, altered; landscape: begun; distribution: nothing
    foreign = folder / "std" / "failure"
    shutil.copytree(folder / "std" / "noisy", foreign)
    rewrite(foreign, figure="failure")
    altered = json.loads((foreign / "metrics.json").read_text("utf-8"))
    write(foreign / "metrics.json", {**altered, "tau_plus": 123.456})
    begun = folder / "variance" / "landscape"
    begun.mkdir()
    Build("landscape", "smoke", "variance", 0).save(begun)


def rewrite(folder: Path, **changes: Any) -> None:
    """Change what build.json says."""
    content = json.loads((folder / "build.json").read_text("utf-8"))
    write(folder / "build.json", {**content, **changes})


def make_report(folder: Path) -> Path:
    """Figures, tutorial and report in ``folder``; the report."""
    make_figures(folder / "figures")
    script = folder / "tutorial.py"
    script.write_text(TUTORIAL, encoding="utf-8")
    build.write(folder / "figures", folder / "report", index=figures(), tutorial=script)
    return folder / "report"
