"""Completion in shells: the script that a shell reads, and what the words of a command line can be.

While a word is completed neither SymPy nor DOLFINx nor the drawing library is loaded.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterable
from importlib import import_module

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from workbench.runs import METHODS, generated_module, model_names
from workbench.settings import one_of, setting_names

Completer = Callable[[click.Context, click.Parameter, str], list[str]]

FORMATS = ("text", "latex", "html")


class _Bash(BashComplete):
    """Click's, for NAME=VALUE: no space after NAME=, and --option=value is completed like --option value."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        *args, incomplete = _rejoined([*args, incomplete])
        return args, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        # what bash replaces is its own last word: the whole --option=value where = breaks no words there
        _, last = super().get_completion_args()
        option = re.match("--[^=]*=", last)
        return f"{item.type},{option[0] if option else ''}{item.value}"


def _rejoined(words: list[str]) -> list[str]:
    """Words as they were typed, where bash makes three of NAME=VALUE."""
    joined: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        if joined and word and "=" in (before, word):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


class _Zsh(ZshComplete):
    """Click's, for NAME=VALUE: no space after NAME=, and of --option=value only the value is replaced."""

    source_template = ZshComplete.source_template.replace(
        "    for type key descr", "    compset -P '--*='\n\n    for type key descr"
    ).replace(
        "        compadd -U -V unsorted -a completions",
        "        local -a open=(${(M)completions:#*=}) closed=(${completions:#*=})\n"
        "        compadd -V unsorted -S '' -a open\n"  # with -U, --option= would be replaced, too
        "        compadd -V unsorted -a closed",
    )


class _Fish(FishComplete):
    """Click's, with --option= in front of what is offered where it is in front of what is completed."""

    source_template = FishComplete.source_template.replace(
        '"(%(complete_func)s)"',
        "\"(string match -r -- '^(?:--[^=]*=)?' (commandline -t))(%(complete_func)s)\"",
    )


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "fish": _Fish, "zsh": _Zsh}
for _name, _shell in SHELLS.items():
    add_completion_class(_shell, _name)  # click asks its own for the words, too


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
