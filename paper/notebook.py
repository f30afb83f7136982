"""What the scripts of the figures do when they are run by themselves, or cell by cell in a notebook."""

from __future__ import annotations

import sys
from pathlib import Path

from paper.figures import FIGURES
from paper.pipeline import make


def make_and_show(name: str, scale: str = "smoke", convention: str = "std", seed: int = 0) -> None:
    """Bring figures/SCALE/NAME up to date, tell its checks, and show the picture where there is a notebook."""
    figure = FIGURES[name]
    folder = Path("figures") / scale / name
    made = make(figure, folder, figure.setting(scale, convention, seed))
    for note in made.notes:
        print(note)
    print(f"{folder}: done now: {', '.join(made.done) or 'nothing, it is up to date'}")
    for check in made.metrics["checks"]:
        print("holds" if check["holds"] else "FAILS", f"{check['claim']}: {check['value']:.4g}")
    if "ipykernel" in sys.modules:
        display = sys.modules["IPython.display"]
        display.display(display.SVG(filename=str(folder / "figure.svg")))
