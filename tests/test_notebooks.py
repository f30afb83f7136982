"""The scripts in cells open as notebooks, and come back as the text that they were."""

import ast
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path
    for pattern in ("derivations/*.py", "paper/*_simulate.py", "paper/*_draw.py", "paper/tutorial.py")
    for path in ROOT.glob(pattern)
    if path.name != "__init__.py"
)


def lines(text):
    return [line.rstrip() for line in text.rstrip().splitlines()]


def notebook_of(text):
    return jupytext.reads(text, fmt="py:percent")


def complaints(text):
    """What keeps a script from being a notebook as it should be."""
    found = []
    if not text.startswith("# %% [markdown]\n"):
        found.append("there is text before the first cell, or the first cell is code")
    cells = notebook_of(text).cells
    title, _, rest = cells[0].source.partition("\n")
    if not title.strip() or (rest and not rest.startswith("\n")):
        found.append(f"the first cell does not begin with a line by itself: {title!r}")
    for number, cell in enumerate(cells):
        if cell.cell_type == "code":
            try:
                ast.parse(cell.source)
            except SyntaxError as error:
                found.append(f"cell {number} does not compile: {error}")
    if not any(cell.cell_type == "code" for cell in cells):
        found.append("there is no code")
    # by way of the file that a notebook is
    file = jupytext.writes(notebook_of(text), fmt="ipynb")
    back = jupytext.writes(jupytext.reads(file, fmt="ipynb"), fmt="py:percent")
    _, _, back = back.partition("# %% [markdown]")  # jupytext may put a header before it
    if lines(f"# %% [markdown]{back}") != lines(text):
        found.append("the text changes on the way to a notebook and back")
    return found


def test_there_are_scripts_of_every_kind():
    names = {path.stem for path in SCRIPTS}
    assert {"limit", "isotropic_truncated_relu", "distribution_simulate", "noisy_draw", "tutorial"} <= names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_opens_as_a_notebook(path):
    assert complaints(path.read_text("utf-8")) == []


GOOD = "# %% [markdown]\n# A title\n#\n# And prose.\n\n# %%\nx = 1\n\n# %%\nif x:\n    print(x)\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD, None),
        (f"import math\n\n{GOOD}", "before the first cell"),
        (GOOD.replace(" [markdown]", "", 1), "the first cell is code"),
        (GOOD.replace("# A title\n#\n", "# A statement.\n"), "a line by itself"),
        (GOOD.replace("    print(x)", "# %%\n    print(x)"), "does not compile"),
        (GOOD.partition("# %%\n")[0], "no code"),
        (GOOD.replace("# %%\nx", "#%%\nx"), "changes on the way"),
        (
            GOOD.replace("# And prose.\n", "# And prose.\n\ny = 2  # which is shown as prose\n"),
            "changes on the way",
        ),
    ],
)
def test_what_is_no_notebook_is_seen(text, complaint):
    found = complaints(text)
    assert found == [] if complaint is None else any(complaint in line for line in found), found
