"""Options and arguments of the command line, with what completes them."""

from __future__ import annotations

import click

from workbench import completion
from workbench.runs import METHODS

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object last on standard output."
)
model = click.argument("model", shell_complete=completion.models)
model_or_limit = click.argument("model", shell_complete=completion.derivations)
form = click.option(
    "--format",
    "form",
    default="text",
    show_default=True,
    help="text, latex or html.",
    shell_complete=completion.formats,
)
method = click.option(
    "--method", required=True, help=f"One of {', '.join(METHODS)}.", shell_complete=completion.methods
)
settings = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter, e.g. --set d=40; repeatable.",
    shell_complete=completion.settings,
)
grid = click.option(
    "--over",
    "grid",
    multiple=True,
    required=True,
    metavar="NAME=V1,V2,…",
    help="A parameter and its values; repeated, every combination is run.",
    shell_complete=completion.settings,
)
figure = click.argument("figure", nargs=-1, required=True, shell_complete=completion.figures)
scale = click.option(
    "--scale",
    default="desk",
    show_default=True,
    help="smoke (seconds), desk (minutes) or paper (published).",
    shell_complete=completion.scales,
)
convention = click.option(
    "--convention",
    default="std",
    show_default=True,
    help="std: tau = 1 +- Delta; variance: tau^2 = 1 +- Delta.",
    shell_complete=completion.conventions,
)
shell = click.argument("shell", shell_complete=completion.shells)
