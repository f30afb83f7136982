"""A script in cells, run and set: its prose, its code, and after each cell what it printed and drew.

Cells run in order in one namespace, as ``__main__``, in a folder of their own.  A matplotlib figure that a cell leaves
in the variable ``figure`` is shown below it; its alternative text is the variable ``alt``, where the cell leaves one.
A first line of prose that stands alone is a heading.  A cell that raises is the last, and what it raised is told.
"""

from __future__ import annotations

import codeop
import io
import re
import tempfile
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from paper import style
from paper.report.cells import cells
from paper.report.words import markdown, python, signs, title_and_rest


@dataclass(frozen=True)
class Part:
    """A cell as it is shown: prose, or code with its output and its picture, or what it raised."""

    prose: Markup | None = None
    code: Markup | None = None
    output: str = ""
    picture: Markup | None = None
    failure: str = ""


@dataclass(frozen=True)
class Tutorial:
    """A script that was run."""

    name: str
    title: str
    parts: tuple[Part, ...]

    @property
    def failure(self) -> str:
        """Where and with what it stopped; empty where it did not."""
        return self.parts[-1].failure if self.parts else ""


def run(path: Path, progress: Callable[[float], None] = lambda fraction: None) -> Tutorial:
    """Run the cells of a script, up to one that raises, and set them."""
    script = cells(path.read_text("utf-8"))
    title = ""
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    compiler = codeop.Compile()  # remembers imports from __future__
    parts: list[Part] = []
    shown: Figure | None = None
    place = path.resolve()
    with tempfile.TemporaryDirectory() as folder, chdir(folder), matplotlib.rc_context(style.RC):
        for number, cell in enumerate(script):
            if cell.markdown:
                heading, text = title_and_rest(cell.text)
                prose = markdown(text, 2)
                if number == 0:
                    title = heading
                elif heading:
                    prose = Markup("<h2>{}</h2>\n").format(signs(heading)) + prose
                parts.append(Part(prose=prose))
            else:
                output, failure = _run(cell.text, cell.above, place, namespace, compiler)
                figure = namespace.get("figure")
                picture = None
                if not failure and isinstance(figure, Figure) and figure is not shown:
                    shown = figure
                    try:
                        picture = drawn(
                            figure, namespace.pop("alt", None) or described(figure), f"cell-{number}"
                        )
                    except Exception as error:  # as for a label that is no formula
                        failure = f"{path.name}, the figure after line {cell.above}: {type(error).__name__}: {error}"
                parts.append(Part(None, python(cell.text), output, picture, failure))
                if failure:
                    break
            progress((number + 1) / len(script))
    return Tutorial(path.stem, title or path.stem, tuple(parts))


def _run(
    text: str, above: int, path: Path, namespace: dict[str, Any], compiler: codeop.Compile
) -> tuple[str, str]:
    """What a cell prints, and what it raises, with the line."""
    printed, failure = io.StringIO(), ""
    try:
        # empty lines above, so that a traceback names the lines of the script
        code = compiler("\n" * above + text + "\n", str(path), "exec")
        with redirect_stdout(printed):
            exec(code, namespace)
    except (Exception, SystemExit) as error:
        failure = f"{path.name}, line {_line(error, path)}: {type(error).__name__}: {error}"
    return printed.getvalue().rstrip(), failure


def _line(error: BaseException, path: Path) -> int | None:
    """The line of the script that an error comes from."""
    if isinstance(error, SyntaxError):
        return error.lineno
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def drawn(figure: Figure, alt: str, name: str) -> Markup:
    """A figure as SVG inside a page: the names in it are its own, and it tells its alternative text."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    label = f'<svg role="img" aria-label="{escape(alt)}" '
    return Markup(svg.replace("<svg ", label, 1))


def described(figure: Figure) -> str:
    """What a figure shows, from its labels."""
    words = []
    for axes in figure.axes:
        title, x, y = axes.get_title(), axes.get_xlabel(), axes.get_ylabel()
        curves = ", ".join(label for label in axes.get_legend_handles_labels()[1] if label)
        about = f"{y} against {x}" if x and y else x or y
        words.append(": ".join(part for part in (title, about, curves) if part))
    heading = figure.get_suptitle()
    return "; ".join(part for part in (heading, *words) if part).replace("$", "") or "a figure"
