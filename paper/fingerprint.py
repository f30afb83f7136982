"""Content hashes: of what a stage of a figure is made from, its code included.

Code counts as it runs: comments, docstrings and layout change no hash.  Of this project, everything that a
module imports, at any depth, counts; of other packages, their versions.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
FOLDERS = ("workbench", "solvers", "derivations", "paper")
NUMERICAL = ("numpy", "scipy", "dolfinx-solver-real")  # packages that decide the numbers of a run
DRAWING = ("matplotlib", "numpy")  # and those that decide a picture


def digest(value: Any) -> str:
    """The hash of plain data: numbers, texts, lists, mappings, and arrays as lists."""
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """The hash of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    """Name -> version, None where a package is not installed."""
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def code(module: str) -> str:
    """The hash of a module of this project with all that it imports from this project."""
    return digest({path.relative_to(ROOT).as_posix(): _as_it_runs(path) for path in sorted(sources(module))})


def sources(module: str) -> set[Path]:
    """The files of ``module`` and of everything that it imports from this project, at any depth."""
    found: set[Path] = set()
    waiting = _files(module)
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            if path.suffix == ".py":
                waiting |= _leads_to(path)
    return found


def _files(module: str) -> set[Path]:
    """The file of a dotted name, and of the packages around it; none where it is not of this project."""
    parts = module.split(".")
    if parts[0] not in FOLDERS:
        return set()
    place = ROOT.joinpath(*parts)
    own = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    around = [ROOT.joinpath(*parts[:end], "__init__.py") for end in range(1, len(parts))]
    return {*own, *(path for path in around if path.is_file())}


@cache
def _leads_to(path: Path) -> set[Path]:
    """Files that ``path`` imports, anywhere but for type checkers, and its twins in C, as ``recursion.c``."""
    found = {twin for suffix in (".c", ".cu") if (twin := path.with_suffix(suffix)).is_file()}

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.update(_files(alias.name))
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:  # a name in a module, or a module in a package
                found.update(_files(str(node.module)) | _files(f"{node.module}.{alias.name}"))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return found


@cache
def _as_it_runs(path: Path) -> str:
    """The text of a file, of Python without comments, docstrings and layout."""
    text = path.read_text("utf-8")
    if path.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # texts that stand alone do nothing
            node.body = [  # type: ignore[attr-defined]
                part
                for part in body
                if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ]
    return ast.dump(tree)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{value!r} has no content hash")
