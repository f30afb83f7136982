"""Completion in shells: the script that a shell reads, and what the words of a command line can be.

While a word is completed neither SymPy nor DOLFINx nor the drawing library is loaded.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from workbench.runs import METHODS, generated_module, model_names
from workbench.settings import one_of, setting_names

Completer = Callable[[click.Context, click.Parameter, str], list[str]]

FORMATS = ("text", "latex", "html")


class _Bash(BashComplete):
    """Click's script, without a space after NAME=, where the value comes next."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
    )


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "fish": FishComplete, "zsh": ZshComplete}


def script(commands: click.Command, shell: str) -> str:
    """What ``shell`` has to read to complete the words of ``workbench``; BadInput for a shell not known here."""
    one_of("shell", shell, SHELLS)
    return SHELLS[shell](commands, {}, "workbench", "_WORKBENCH_COMPLETE").source()


def figure_names() -> list[str]:
    """The figures, from the names of the scripts that draw them: faster than to load these."""
    names = (info.name for info in pkgutil.iter_modules(import_module("paper").__path__))
    return [name.removesuffix("_draw") for name in names if name.endswith("_draw")]


def among(values: Callable[[], Iterable[str]]) -> Completer:
    """Complete to one of ``values()``."""

    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        return [value for value in values() if value.startswith(incomplete)]

    return complete


shells = among(lambda: SHELLS)
models = among(model_names)
derivations = among(lambda: [*model_names(), "limit"])
formats = among(lambda: FORMATS)
methods = among(lambda: METHODS)
figures = among(lambda: [*figure_names(), "all"])
scales = among(lambda: import_module("paper.presets").SCALES)
conventions = among(lambda: import_module("paper.presets").CONVENTIONS)


def settings(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """NAME= for what the model and the method before it understand and was not set before."""
    # click leaves arguments where they are when it comes to an option without a value, as it does here
    words = (context.params.get("model"), *context.args)
    module = next((generated_module(name) for name in model_names() if name in words), None)
    method, config = context.params.get("method"), None
    if method in METHODS:
        home, config_name = METHODS[method]
        config = getattr(import_module(home), config_name)
    given = [*(context.params.get("settings") or ()), *(context.params.get("grid") or ()), "resume"]
    taken = {setting.partition("=")[0] for setting in given}  # and --resume is no setting
    return [
        f"{name}="
        for name in setting_names(module, config)
        if name.startswith(incomplete) and name not in taken
    ]
