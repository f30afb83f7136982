"""Completion in shells: what words can be, the scripts, and a real bash."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
from dataclasses import fields
from functools import partial
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


BASH = ["bash", "--noprofile", "--rcfile", ".bashrc", "-i"]
SHELLS = {  # how a shell is started, the file that it reads then, and what is in it
    "bash": (BASH, ".bashrc", "source <(workbench completion bash)"),
    # as some have it for the sake of other programs
    "bash, = in words": (
        BASH,
        ".bashrc",
        "source <(workbench completion bash)\nCOMP_WORDBREAKS=${COMP_WORDBREAKS//=}",
    ),
    "zsh": (
        ["zsh", "-d", "-i"],  # without the files of the machine
        ".zshrc",
        "autoload -Uz compinit && compinit -u\nsource <(workbench completion zsh)",
    ),
    "fish": (["fish", "-i"], ".config/fish/config.fish", "workbench completion fish | source"),
}
PROMPT = "PS1='at the prompt> '"
FISH_PROMPT = "function fish_prompt; printf 'at the prompt> '; end"


@pytest.fixture(scope="module", params=SHELLS)
def typed(request, tmp_path_factory):
    """Type keys into an interactive shell at a terminal; the words that ``workbench`` is then called with."""
    start, config, setup = SHELLS[request.param]
    if shutil.which(start[0]) is None:
        pytest.skip(f"there is no {start[0]}")
    home = tmp_path_factory.mktemp(start[0])
    command = home / "workbench"
    command.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = completion ] || [ -n "$_WORKBENCH_COMPLETE" ] && exec "{sys.executable}" -m workbench.cli "$@"\n'
        """printf 'called with: '; printf '[%s]' "$@"; echo ' end'\n""",
        "utf-8",
    )
    command.chmod(0o755)
    (home / config).parent.mkdir(parents=True, exist_ok=True)
    prompt = FISH_PROMPT if start[0] == "fish" else PROMPT
    (home / config).write_text(f"{setup}\n{prompt}\n", "utf-8")
    (home / "some_file.nc").touch()
    here, there = pty.openpty()
    shell = subprocess.Popen(
        start,
        stdin=there,
        stdout=there,
        stderr=there,
        cwd=home,
        env={
            "PATH": f"{home}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
        },
        start_new_session=True,
        preexec_fn=partial(fcntl.ioctl, there, termios.TIOCSCTTY, 0),  # a terminal of its own
    )
    os.close(there)

    def read_until(end):
        seen = ""
        while not re.search(end, seen):
            ready, _, _ = select.select([here], [], [], 60)
            assert ready, f"the shell shows nothing more: {seen!r}"
            seen += os.read(here, 65536).decode("utf-8", "replace")
        return seen

    read_until("at the prompt> ")

    def type_keys(keys):
        os.write(here, f"workbench {keys}\r".encode())
        seen = read_until(r"called with: .* end[\s\S]*at the prompt> ")
        return re.findall(r"called with: \[(.*)\] end", seen)[-1].split("][")

    yield type_keys
    shell.kill()
    shell.wait()
    os.close(here)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("reproduce dis\tnoi\t--scale=sm\t--seed 1", "reproduce distribution noisy --scale=smoke --seed 1"),
        (
            "solve --set d=40 isotropic_tr\t--method=sg\t--set tau_pl\t1.5 --set=ep\t1",
            f"solve --set d=40 {MODEL} --method=sgd --set tau_plus=1.5 --set=epsilon=1",
        ),
        (
            f"solve {MODEL} --method sg\t--out some_f\t--json",
            f"solve {MODEL} --method sgd --out some_file.nc --json",
        ),
        (f"solve {MODEL} --out=some_f\t--json", f"solve {MODEL} --out=some_file.nc --json"),
    ],
    ids=["words", "settings", "paths", "a path behind ="],
)
def test_a_shell_completes(typed, keys, words, request):
    if request.node.callspec.id == "bash, = in words-a path behind =":
        pytest.skip("bash itself then looks for a file named --out=…")
    assert typed(keys) == words.split(" ")


def test_the_help_says_what_zsh_needs_first(capsys):
    with pytest.raises(SystemExit):
        cli.main(["completion", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert SHELLS["zsh"][2].partition(" -u")[0] in words and "before" in words
