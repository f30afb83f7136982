"""The rules of the design that no single module can keep by itself."""

from __future__ import annotations

import ast
import builtins
import keyword
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("workbench", "derivations", "solvers", "paper")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
GENERATED = ROOT / "solvers" / "generated"


def imports(path: Path, module_level: bool = False) -> set[str]:
    """Dotted names of what a file imports, all of it or at module level only (``if TYPE_CHECKING`` aside)."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module))
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        if module_level:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                return
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return found


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=label)
def test_arrows_only_go_right(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    everything, at_once = tops(imports(path)), tops(imports(path, module_level=True))
    if folder == "workbench":
        # the command line loads solvers and figures lazily
        assert not at_once & {"solvers", "paper", "derivations"}
        if path.name != "cli.py":
            assert not everything & {"solvers", "paper"}
        assert not everything & {"matplotlib", "rich"} or path.name == "cli.py"
        assert "click" not in everything or path.name in ("cli.py", "completion.py", "options.py")
    if folder == "derivations":
        assert everything <= {"workbench", "__future__"}
    if folder == "solvers":
        assert "sympy" not in everything and "mpmath" not in everything
        assert not everything & {"paper", "derivations", "matplotlib"}
        symbolic = {
            "activations",
            "activation_code",
            "smooth",
            "calculus",
            "models",
            "gaussian",
            "closed_forms",
            "evaluators",
            "quadrature",
            "special",
            "derivation",
            "steps",
            "potential_steps",
            "feature_steps",
            "kernel_steps",
            "stable_forms",
            "equation_steps",
            "orbits",
            "free_energy",
            "kramers_moyal",
            "codegen",
            "code_printer",
            "module_certificates",
            "render",
            "certificates",
            "notation",
        }
        assert not imports(path) & {f"workbench.{name}" for name in symbolic}


def test_dolfinx_lives_in_one_file() -> None:
    homes = [label(p) for p in FILES if tops(imports(p)) & {"dolfinx", "petsc4py", "ufl", "basix"}]
    assert homes == ["solvers/finite_volumes.py"]
    # which has to load MPI first
    mpi = [label(p) for p in FILES if "mpi4py" in tops(imports(p))]
    assert sorted(mpi) == ["solvers/finite_volumes.py", "solvers/ranks.py"]


@pytest.mark.parametrize(
    "module",
    [
        "solvers.particles",
        "solvers.sgd",
        "solvers.network",
        "solvers.langevin",
        "solvers.stationary",
        "solvers.landscape",
        "workbench.problem",
        "workbench.trajectory",
    ],
)
def test_solvers_run_without_sympy(module: str) -> None:
    script = (
        f"import sys, {module}\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'sympy', 'mpmath', 'dolfinx', 'matplotlib'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_public_names_load_and_are_complete() -> None:
    import workbench

    for name in workbench.__all__:
        assert getattr(workbench, name) is not None
        assert name in dir(workbench)
    declared = ast.parse((ROOT / "workbench/__init__.py").read_text("utf-8"))
    typed = {
        alias.asname
        for node in ast.walk(declared)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert typed == set(workbench.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        workbench.no_such_name  # noqa: B018


@pytest.mark.parametrize("path", FILES, ids=label)
def test_every_file_says_what_it_is(path: Path) -> None:
    text = path.read_text("utf-8")
    docstring = ast.get_docstring(ast.parse(text))
    assert (docstring and docstring.strip()[-1] in ".!?:`") or path.parent == GENERATED


@pytest.mark.parametrize("path", FILES, ids=label)
def test_every_public_function_and_class_says_what_it_is(path: Path) -> None:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{label(path)}: {node.name}"


@pytest.mark.parametrize("path", FILES, ids=label)
def test_files_are_short(path: Path) -> None:
    if path.parent != GENERATED:
        assert len(path.read_text("utf-8").splitlines()) <= 450


# ---- names in prose


def modules() -> Iterator[object]:
    """Every module of the project that can be loaded without a display or DOLFINx; the tutorial would run."""
    for path in FILES:
        if path == ROOT / "paper" / "tutorial.py":
            continue
        yield import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


@pytest.fixture(scope="session")
def known() -> set[str]:
    """Names that exist: modules, their attributes and those of their classes, arguments, tests' settings."""
    names = {*dir(builtins), *dir(math), *keyword.kwlist}
    for module in modules():
        names.add(module.__name__.rpartition(".")[2])  # type: ignore[attr-defined]
        for name, value in vars(module).items():
            names.add(name)
            if isinstance(value, type):
                names |= {*dir(value), *getattr(value, "__dataclass_fields__", {})}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                names.add(node.value)
    return names


PROSE = [*sorted((ROOT / "derivations").glob("*.py")), ROOT / "README.md"]


@pytest.mark.parametrize("path", [p for p in PROSE if p.exists()], ids=label)
def test_code_names_in_prose_exist(path: Path, known: set[str]) -> None:
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        text = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for quoted in re.findall(r"`([^`]+)`", text):
        if re.fullmatch(r"[A-Za-z_][\w.]*(\(.*\))?", quoted) and not quoted.endswith((".json", ".cff")):
            for part in quoted.partition("(")[0].split("."):
                assert part in known or (ROOT / quoted).exists() or part == "make", (
                    f"`{quoted}` in {label(path)}"
                )
        elif re.fullmatch(r"make \w+", quoted):
            assert re.search(rf"^{quoted[5:]}:", makefile, re.MULTILINE), f"`{quoted}` in {label(path)}"
        elif "/" in quoted and " " not in quoted and not quoted.startswith((".", "figures")):
            nested = (ROOT / "solvers" / quoted).exists()  # `generated/` is named below solvers/
            assert (ROOT / quoted).exists() or nested, f"`{quoted}` in {label(path)}"


def test_a_name_that_does_not_exist_would_be_seen(known: set[str]) -> None:
    assert "feature_moments" in known
    assert "feature_moment_of_nothing" not in known
