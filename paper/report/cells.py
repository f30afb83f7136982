"""Scripts in cells: ``# %%`` before code, ``# %% [markdown]`` before prose in comments."""

from __future__ import annotations

import re
from dataclasses import dataclass

MARKER = re.compile(r"# %%(?P<rest>.*)")


@dataclass(frozen=True)
class Cell:
    """One cell: its text without the marker, prose without its "# ", and the number of lines before it."""

    markdown: bool
    text: str
    above: int


def cells(script: str) -> list[Cell]:
    """The cells in their order; what stands before the first marker is code, and cells without text are left out."""
    found: list[Cell] = []
    markdown, above, lines = False, 0, list[str]()

    def end() -> None:
        text = "\n".join(map(_bare, lines) if markdown else lines)
        if text.strip():
            found.append(
                Cell(
                    markdown,
                    text.strip("\n").rstrip() if not markdown else text.strip(),
                    above + _blank(lines),
                )
            )

    for number, line in enumerate(script.splitlines(), 1):
        marker = MARKER.match(line)
        if marker is None:
            lines.append(line)
            continue
        end()
        markdown, above, lines = marker["rest"].strip().startswith("[markdown]"), number, []
    end()
    return found


def leading(script: str) -> str:
    """The prose that a script begins with; empty where it begins with code."""
    first = cells(script)[:1]
    return first[0].text if first and first[0].markdown else ""


def _bare(line: str) -> str:
    """A line of prose without the sign of a comment."""
    return line.removeprefix("#").removeprefix(" ") if line.startswith("#") else line


def _blank(lines: list[str]) -> int:
    """The number of empty lines at the start."""
    return next((i for i, line in enumerate(lines) if line.strip()), 0)
