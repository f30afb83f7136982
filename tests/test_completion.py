"""Completion in shells: what words can be, the scripts, and a real bash."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from workbench import cli
from workbench.errors import BadInput
from workbench.runs import METHODS, Run, generated_module, model_names

ROOT = Path(__file__).parents[1]
MODEL = "isotropic_truncated_relu"


def completed(line):
    """What the last word of a command line, possibly empty, can be."""
    *words, incomplete = line.split(" ")
    shell = ShellComplete(cli.commands, {}, "workbench", "_WORKBENCH_COMPLETE")
    return [item.value for item in shell.get_completions(words, incomplete)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("de", ["derive"]),
        ("derive ", [*model_names(), "limit"]),
        ("derive li", ["limit"]),
        ("solve ", model_names()),
        ("sweep anisotropic_t", ["anisotropic_truncated_relu"]),
        ("derive limit --format ", ["text", "latex", "html"]),
        (f"solve {MODEL} --method ", list(METHODS)),
        (f"sweep {MODEL} --method s", ["sgd", "stationary"]),
        ("reproduce distribution a", ["animation", "all"]),
        ("reproduce all --scale ", ["smoke", "desk", "paper"]),
        ("reproduce all --convention v", ["variance"]),
        ("completion ", ["bash", "fish", "zsh"]),
        (f"solve {MODEL} --method sgd --set ep", ["epsilon="]),
        (f"solve {MODEL} --method sgd --set tau", ["tau_plus=", "tau_minus="]),
        (f"solve {MODEL} --method sgd --set tau_plus=1.5 --set tau", ["tau_minus="]),
        (f"sweep {MODEL} --method stationary --set d=40 --over be", ["beta="]),
        ("solve anisotropic_relu --method sgd --set s", ["s0=", "snapshots=", "seed="]),
        (f"solve {MODEL} --set k", ["kappa="]),
        ("solve nomodel --method magic --set k", ["kappa="]),
        (f"solve {MODEL} --method sgd --set res", []),  # --resume is a flag
    ],
)
def test_words_are_completed(line, expected):
    assert sorted(completed(line)) == sorted(expected)


def test_figures_are_completed():
    from paper.figures import FIGURES  # not above: the drawing library must not be loaded by this file

    assert sorted(completed("reproduce ")) == sorted([*FIGURES, "all"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["isotropic_erf", "anisotropic_relu"])
def test_settings_that_are_completed_are_those_that_are_read(model, method):
    names = {word.removesuffix("=") for word in completed(f"solve {model} --method {method} --set ")}
    home, config = METHODS[method]
    options = {field.name for field in fields(getattr(import_module(home), config))} - {"resume"}
    assert names >= {"kappa", "lam", "snapshots", *generated_module(model).PARAMETERS, *options}
    for name in (*names, "unheard_of"):
        try:
            Run(model, method, {name: "?"}, Path("x.nc")).read()
        except BadInput as error:  # of the value, where the name is known
            assert ("unknown parameter" in str(error)) == (name == "unheard_of"), error


def test_completion_loads_nothing_heavy():
    lines = (
        *(f"solve {MODEL} --method {method} --set " for method in METHODS),
        "derive ",
        "reproduce ",
        "reproduce all --scale ",
    )
    script = f"""
import sys
from tests.test_completion import completed
assert all(completed(line) for line in {lines})
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(sorted(loaded & {{"sympy", "mpmath", "dolfinx", "mpi4py", "matplotlib"}}))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(capsys, shell):
    with pytest.raises(SystemExit) as end:
        cli.main(["completion", shell])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert f"_WORKBENCH_COMPLETE={shell}_complete" in text and "_workbench_completion" in text
    with pytest.raises(SystemExit) as end:
        cli.main(["completion", shell, "--json"])
    assert json.loads(capsys.readouterr().out)["script"] == text


def test_an_unknown_shell_is_named(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["completion", "bsh"])
    captured = capsys.readouterr()
    assert end.value.code == 2 and captured.out == ""
    assert "unknown shell 'bsh': did you mean bash? choose from bash, fish, zsh" in captured.err


def test_bash_completes(tmp_path):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    command = tmp_path / "workbench"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m workbench.cli "$@"\n', "utf-8")
    command.chmod(0o755)
    # bash takes NAME=VALUE for three words, has compopt only while it completes, and must not add a space after NAME=
    script = """
source <(workbench completion bash)
complete -p workbench
compopt() { printf 'compopt %s %s\\n' "$@"; }
complete_last() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _workbench_completion workbench
    printf '%s\\n' "${COMPREPLY[@]}"
}
complete_last workbench reproduce dis
complete_last workbench solve isotropic_relu --method sgd --set d = 40 --set tau_
"""
    done = subprocess.run(
        [bash, "--norc", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    registered, *rest = done.stdout.splitlines()
    assert registered.endswith("-F _workbench_completion workbench")
    assert rest == ["distribution", *["compopt -o nospace"] * 2, "tau_plus=", "tau_minus="]
