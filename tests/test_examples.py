"""The examples in the help, the README and the tutorial are commands that work."""

import re
import shlex
from pathlib import Path

import click
import pytest

from workbench import cli, derivation, kramers_moyal
from workbench.runs import Run

ROOT = Path(__file__).parents[1]
COMMANDS = {"": cli.commands, **cli.commands.commands}


def help_of(name):
    context = click.Context(cli.commands, info_name="workbench")
    if name:
        context = click.Context(COMMANDS[name], parent=context, info_name=name)
    return context.get_help()


def examples_of(name):
    """The commands after the line Examples, which end the help."""
    _, found, block = help_of(name).partition("\n  Examples\n")
    lines = block.splitlines()
    assert found and lines and all(line.startswith("    ") for line in lines), help_of(name)
    return [line.strip() for line in lines]


def words_of(example):
    """The arguments of `workbench`: without what starts processes, and without redirections."""
    words = shlex.split(re.split(r" >+ ", example)[0])
    if words[0] == "mpiexec":
        assert words[1] == "-n" and words[2].isdigit()
        words = words[3:]
    assert words[0] == "workbench", example
    return words[1:]


README = re.findall(
    r"^ {4}((?:mpiexec -n \d+ )?workbench [^…\n]*)$", (ROOT / "README.md").read_text("utf-8"), flags=re.M
)
EXAMPLES = sorted({example for name in COMMANDS for example in examples_of(name)} | set(README))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_examples_of_its_command(name):
    examples = examples_of(name)
    assert len(examples) >= 2
    if name:
        assert all(words_of(example)[0] == name for example in examples)
    else:  # one at least of most commands
        assert len({words_of(example)[0] for example in examples}) >= len(COMMANDS) - 3


def test_the_readme_has_examples():
    assert len(README) >= 5


class Reached(Exception):
    """The work of a command would begin: all that it was told was understood."""


def reached(*_args, **_options):
    raise Reached


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_understood(example, tmp_path, monkeypatch, capsys):
    from paper import pipeline
    from paper.report import build

    # commands run up to where their work begins, those without work to their end
    monkeypatch.setattr(Run, "solve", reached)
    monkeypatch.setattr(cli, "attempt", reached)
    monkeypatch.setattr(derivation, "derive", reached)
    monkeypatch.setattr(kramers_moyal, "derive_limit", reached)
    monkeypatch.setattr(pipeline, "make", reached)
    monkeypatch.setattr(build, "check", reached)  # first it looks for figures
    monkeypatch.chdir(tmp_path)
    words = words_of(example)
    if words[0] in ("models", "figures", "completion"):
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        assert end.value.code == 0 and capsys.readouterr().out.strip()
    else:
        with pytest.raises(Reached):
            cli.main(words)


@pytest.mark.parametrize(
    "rotten",
    [
        "workbench sovle isotropic_truncated_relu --method particles --out a.nc",
        "workbench solve isotropic_truncated_relu --method particle --out a.nc",
        "workbench solve isotropic_truncated_relu --method particles --set kapa=1 --out a.nc",
    ],
)
def test_an_example_that_rots_would_be_seen(rotten, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "solve", reached)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(words_of(rotten))
    assert end.value.code == 2
