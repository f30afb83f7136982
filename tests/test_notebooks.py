"""The scripts in cells open as notebooks, come back as the text that they were, and run what was saved."""

import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jupytext
import pytest

from paper import notebook

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


COMMAND = """
import sys
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--out") + 1]) / sys.argv[2]
folder.mkdir(parents=True)
(folder / "figure.svg").write_text("<svg/>")
print("first version", *sys.argv[1:])
print("a bar\\rthe bar", file=sys.stderr)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a command of its own, while another folder is the working directory."""
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (root / "workbench").mkdir(parents=True)
    (root / "workbench" / "__init__.py").touch()
    (root / "workbench" / "__main__.py").write_text(COMMAND, "utf-8")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(notebook, "ROOT", root)
    return root


@pytest.fixture
def shown(monkeypatch):
    """The pictures that a notebook shows."""
    pictures: list[str] = []
    display = SimpleNamespace(display=pictures.append, SVG=lambda filename: filename)
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return pictures


def test_a_script_runs_the_command_as_it_is_on_disk(project, capfd):
    folder = project / "figures" / "smoke"
    notebook.make_and_show("noisy")
    out, err = capfd.readouterr()
    assert out == f"first version reproduce noisy --scale smoke --out {folder}\n"
    assert "the bar" in err
    assert (folder / "noisy" / "figure.svg").is_file()
    assert list(Path().iterdir()) == []  # nothing where the script happened to be started
    command = project / "workbench" / "__main__.py"
    command.write_text(command.read_text("utf-8").replace("first", "second"), "utf-8")
    notebook.make_and_show("relu")
    assert capfd.readouterr().out.startswith("second version reproduce relu")


def test_a_notebook_shows_what_the_command_says_and_the_picture(project, shown, capsys):
    notebook.make_and_show("noisy")
    assert shown == [str(project / "figures" / "smoke" / "noisy" / "figure.svg")]
    out = capsys.readouterr().out
    assert "first version reproduce noisy" in out and "a bar\rthe bar\n" in out


@pytest.mark.parametrize("in_notebook", [False, True])
def test_a_command_that_fails_ends_the_script_with_its_code(project, capfd, request, in_notebook):
    shown = request.getfixturevalue("shown") if in_notebook else []
    (project / "workbench" / "__main__.py").write_text("import sys\nsys.exit(3)\n", "utf-8")
    with pytest.raises(SystemExit) as end:
        notebook.make_and_show("noisy")
    assert end.value.code == 3 and shown == []
    assert "Traceback" not in capfd.readouterr().err


def test_the_command_is_run_by_the_interpreter_at_hand_and_ends_with_one_line():
    words = ["reproduce", "nosuch", "--scale", "smoke"]
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("workbench: unknown figure 'nosuch'") and done.stderr.count("\n") == 1


def test_the_folder_of_the_scripts_is_no_part_of_the_project():
    assert notebook.ROOT == ROOT
    assert "/figures/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
