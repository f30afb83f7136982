"""The command line: ``workbench models | figures | derive | solve | reproduce``.

Exit codes: 0 done; 2 bad input (one message with the offending value and the mend); 3 a run that failed
for numerical reasons (where, and what was kept).  Progress goes to standard error, results to standard
output; with ``--json`` the last line of standard output is one JSON object.
"""

from __future__ import annotations

import json
import pkgutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from workbench import __version__
from workbench.checks import whole_number
from workbench.errors import BadInput, CertificateFailure, NumericalFailure
from workbench.settings import one_of, read_problem, read_whole_number, split_settings

METHODS = {  # method -> (module, its config)
    "particles": ("solvers.particles", "ParticlesConfig"),
    "fokker-planck": ("solvers.fokker_planck", "FokkerPlanckConfig"),
    "sgd": ("solvers.sgd", "SGDConfig"),
}

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object last on standard output."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(__version__, prog_name="workbench")
@click.pass_context
def commands(context: click.Context) -> None:
    """Mean-field theory of two-layer networks: derive, solve, compare with SGD.

    \b
    Examples
      workbench models
      workbench derive isotropic_truncated_relu --format latex
      workbench solve isotropic_truncated_relu --method particles --set d=40 --out dd.nc
      workbench reproduce distribution --scale smoke --out figures
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@commands.command()
@json_option
def models(as_json: bool) -> dict[str, Any]:
    """List the models that have a generated module."""
    listing = {}
    for name in model_names():
        module = generated_module(name)
        listing[name] = {"coordinates": list(module.COORDINATES), "parameters": list(module.PARAMETERS)}
        if not as_json:
            click.echo(
                f"{name}  ({', '.join(module.COORDINATES)})  parameters {', '.join(module.PARAMETERS)}"
            )
    return {"models": listing}


@commands.command()
@json_option
def figures(as_json: bool) -> dict[str, Any]:
    """List the figures that `reproduce` makes."""
    listing = {figure.name: figure.title for figure in _figures().FIGURES.values()}
    if not as_json:
        for name, title in listing.items():
            click.echo(f"{name}  {title}")
    return {"figures": listing}


@commands.command()
@click.argument("model")
@click.option("--format", "form", default="text", show_default=True, help="text, latex or html.")
@json_option
def derive(model: str, form: str, as_json: bool) -> dict[str, Any]:
    """Derive MODEL and print the steps with their certificates; MODEL `limit` is the mean-field limit itself."""
    one_of("model", model, [*model_names(), "limit"])
    one_of("format", form, ("text", "latex", "html"))
    from workbench import kramers_moyal, render
    from workbench.certificates import Certificate
    from workbench.derivation import derive as derive_model
    from workbench.module_certificates import certify_module

    code: tuple[Certificate, ...] = ()
    if model == "limit":  # no module is generated from it, so there is no code to certify
        steps, rendered = kramers_moyal.derive_limit(), getattr(kramers_moyal, form)()
    else:
        derivation = derive_model(import_module(f"derivations.{model}").MODEL)
        steps, rendered = derivation.steps, getattr(derivation, form)()
        code = certify_module(generated_module(model), derivation)
    if not as_json:
        click.echo(rendered, nl=False)
        for certificate in code if form == "text" else ():
            click.echo(f"   {certificate.line()}")
    certificates = [
        {
            "claim": c.claim,
            "oracle": c.oracle,
            "deviation": c.deviation,
            "tolerance": c.tolerance,
            "points": c.points,
        }
        for c in (*render.certificates(steps), *code)
    ]
    return {"model": model, "format": form, "derivation": rendered, "certificates": certificates}


@commands.command()
@click.argument("model")
@click.option("--method", required=True, help="particles, fokker-planck or sgd.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter, e.g. --set d=40; repeatable."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The netCDF file to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@json_option
def solve(
    model: str, method: str, settings: tuple[str, ...], out: Path, overwrite: bool, as_json: bool
) -> dict[str, Any]:
    """Solve MODEL by one method and write the trajectory."""
    one_of("model", model, model_names())
    one_of("method", method, METHODS)
    home, config_name = METHODS[method]
    solver = import_module(home)
    problem, config = read_problem(
        generated_module(model), split_settings(settings), getattr(solver, config_name)
    )
    if out.is_dir():
        raise BadInput(f"--out {out} is a folder: name a file, e.g. --out {out / (model + '.nc')}")
    if out.exists() and not overwrite:
        raise BadInput(f"--out {out} exists: choose another file, or add --overwrite")
    make_writable_folder(out.parent)
    make_writable_file(out)
    try:
        with progress_bar(f"{method} {model}") as progress:
            trajectory = solver.solve(problem, config, progress)
    except NumericalFailure as failure:
        # an earlier result of that name is not given up for half a run
        raise kept(failure, out.with_suffix(".partial.nc") if out.exists() else out) from failure
    trajectory.save(out)
    risks = [float(risk) for risk in trajectory.risk_at(problem.snapshots)]
    if not as_json:
        for t, risk in zip(problem.snapshots, risks, strict=True):
            click.echo(f"t = {t:<10g} risk {risk:.6g}")
        click.echo(f"wrote {out}")
    return {
        "model": model,
        "method": method,
        "out": str(out),
        "time": list(problem.snapshots),
        "risk": risks,
        "wall_time": float(trajectory.data.attrs["wall_time"]),
    }


@commands.command()
@click.argument("figure", nargs=-1, required=True)
@click.option(
    "--scale", default="desk", show_default=True, help="smoke (seconds), desk (minutes) or paper (published)."
)
@click.option(
    "--convention",
    default="std",
    show_default=True,
    help="std: tau = 1 +- Delta; variance: tau^2 = 1 +- Delta.",
)
@click.option("--seed", default="0", show_default=True, help="Seed of the SGD run.")
@click.option(
    "--out",
    default="figures",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder; FIGURE/ is made in it.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing figure folder's files.")
@json_option
def reproduce(
    figure: tuple[str, ...], scale: str, convention: str, seed: str, out: Path, overwrite: bool, as_json: bool
) -> dict[str, Any]:
    """Reproduce one or more FIGUREs: simulate, draw, and write data and metrics beside the picture."""
    paper = _figures()
    for name in figure:
        one_of("figure", name, paper.FIGURES)
    one_of("scale", scale, paper.SCALES)
    one_of("convention", convention, paper.CONVENTIONS)
    seed_number = read_whole_number("seed", seed)
    whole_number("seed", seed_number, 0, 2**63 - 1)
    for name in figure:
        folder = out / name
        if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"--out {out}: {folder} exists; choose another folder, or add --overwrite")
        make_writable_folder(folder)
    done = {}
    for name in dict.fromkeys(figure):
        with progress_bar(f"{name} ({scale}, {convention})") as progress:
            done[name] = paper.FIGURES[name].make(out / name, scale, convention, seed_number, progress)
        if not as_json:
            click.echo(f"wrote {out / name}")
    return {"scale": scale, "convention": convention, "seed": seed_number, "out": str(out), "metrics": done}


def model_names() -> list[str]:
    """Names of the models with a generated module."""
    package = import_module("solvers.generated")
    return sorted(info.name for info in pkgutil.iter_modules(package.__path__))


def generated_module(name: str) -> ModuleType:
    """The generated module of one model."""
    return import_module(f"solvers.generated.{name}")


def _figures() -> ModuleType:
    """The index of figures, loaded on demand: it brings the drawing library along."""
    return import_module("paper.figures")


def make_writable_folder(folder: Path) -> None:
    """Create ``folder`` if need be and make sure that a file can be written there, before hours of work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(
            f"--out: cannot write in {folder} ({error.strerror}): choose a folder that you may write to"
        ) from error


def make_writable_file(path: Path) -> None:
    """Make sure that a file of this name, and its part while it is written, can be there."""
    if path.exists() and not path.is_file():
        raise BadInput(f"--out {path} is no regular file: name another one")
    part = path.with_name(path.name + ".part")
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise BadInput(f"--out: cannot write {path} ({error.strerror}): choose another name") from error


def kept(failure: NumericalFailure, path: Path) -> NumericalFailure:
    """The same failure after its partial trajectory was saved, its message naming the file."""
    if failure.partial is None:
        return failure
    failure.partial.save(path)
    return NumericalFailure(
        f"{failure}; kept in {path}: {len(failure.partial.times)} snapshots", failure.partial
    )


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error; yields a function of the fraction done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=1.0)
        # below a millionth the time left is anybody's guess, and overflows
        yield lambda fraction: bar.update(task, completed=fraction if fraction > 1e-6 else 0.0)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit."""
    words = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in words
    try:
        result = commands.main(words, prog_name="workbench", standalone_mode=False)
    except click.UsageError as error:
        _end(2, error.format_message(), as_json)
    except BadInput as error:
        _end(2, str(error), as_json)
    except (NumericalFailure, CertificateFailure) as error:
        _end(3, str(error), as_json)
    except OSError as error:
        _end(
            2,
            f"{error.filename or 'a file'}: {error.strerror or error}: choose another path or free some space",
            as_json,
        )
    except MemoryError:
        _end(3, "the machine ran out of memory: ask for fewer units, atoms or cells", as_json)
    except (KeyboardInterrupt, click.Abort):
        _end(130, "interrupted", as_json)
    if as_json and isinstance(result, dict):
        click.echo(json.dumps({"ok": True, **result}))
    sys.exit(0)


def _end(code: int, message: str, as_json: bool) -> None:
    """One message on standard error (and as JSON on standard output), then the exit code."""
    message = " ".join(message.split())
    click.echo(f"workbench: {message}", err=True)
    if as_json:
        click.echo(json.dumps({"ok": False, "exit_code": code, "error": message}))
    sys.exit(code)


if __name__ == "__main__":
    main()
