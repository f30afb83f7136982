"""The command line: ``workbench models | figures | derive | solve | sweep | reproduce | report | completion``.

Exit codes: 0 done; 2 bad input (one message with the offending value and the mend); 3 a run that failed
for numerical reasons (where, and what was kept).  Progress goes to standard error, results to standard
output; with ``--json`` the last line of standard output is one JSON object.
"""

from __future__ import annotations

import json
import sys
import time as clock
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from workbench import __version__, completion, options
from workbench.checks import whole_number
from workbench.errors import BadInput, CertificateFailure, NumericalFailure
from workbench.examples import examples
from workbench.lock import exclusive
from workbench.runs import (
    PARALLEL,
    Run,
    attempt,
    combinations,
    generated_module,
    make_writable_folder,
    make_writable_result,
    make_writable_sweep,
    model_names,
    write_index,
)
from workbench.settings import one_of, read_whole_number, split_settings


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True, epilog=examples()
)
@click.version_option(__version__, prog_name="workbench")
@click.pass_context
def commands(context: click.Context) -> None:
    """Mean-field theory of two-layer networks: derive, solve, compare with SGD."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@commands.command(epilog=examples("models"))
@options.as_json
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


@commands.command(epilog=examples("figures"))
@options.as_json
def figures(as_json: bool) -> dict[str, Any]:
    """List the figures that `reproduce` makes."""
    listing = {figure.name: figure.title for figure in _figures().FIGURES.values()}
    if not as_json:
        for name, title in listing.items():
            click.echo(f"{name}  {title}")
    return {"figures": listing}


@commands.command(epilog=examples("derive"))
@options.model_or_limit
@options.form
@options.as_json
def derive(model: str, form: str, as_json: bool) -> dict[str, Any]:
    """Derive MODEL and print the steps with their certificates; MODEL `limit` is the mean-field limit itself."""
    one_of("model", model, [*model_names(), "limit"])
    one_of("format", form, completion.FORMATS)
    from workbench import kramers_moyal, render
    from workbench.certificates import Certificate
    from workbench.derivation import derive as derive_model
    from workbench.module_certificates import certify_module

    code: tuple[Certificate, ...] = ()
    with progress_bar(f"derive {model}") as progress:
        if model == "limit":  # no module is generated from it, so there is no code to certify
            steps, rendered = kramers_moyal.derive_limit(progress), getattr(kramers_moyal, form)()
        else:
            statement, module = import_module(f"derivations.{model}").MODEL, generated_module(model)
            derivation = derive_model(statement, lambda done: progress(0.6 * done))
            steps, rendered = derivation.steps, getattr(derivation, form)()
            code = certify_module(module, derivation, lambda done: progress(0.6 + 0.4 * done))
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


@commands.command(epilog=examples("solve"))
@options.model
@options.method
@options.settings
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The netCDF file to write.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--resume", is_flag=True, help="Go on with a run of sgd that was interrupted.")
@options.as_json
def solve(
    model: str,
    method: str,
    settings: tuple[str, ...],
    out: Path,
    overwrite: bool,
    resume: bool,
    as_json: bool,
) -> dict[str, Any]:
    """Solve MODEL by one method and write the trajectory.

    `mpiexec -n P workbench solve MODEL --method fokker-planck …` spreads the cells over P processes, and
    `--method sgd --set replicas=R` the replicas over P - 1, the first handing them out.  SGD keeps
    checkpoints in OUT.checkpoint until the result is written: after an interruption the same command with
    --resume gives the same result.
    """
    world = ranks().world()
    run = Run(model, method, split_settings(settings), out, durable=True, resume=resume)
    run.read()  # every slip is named before anything is written
    if world.size > 1 and method not in PARALLEL:
        raise BadInput(
            f"--method {method} runs in one process: start it without mpiexec, "
            "or spread several runs with workbench sweep"
        )
    ranks().on_first_rank(partial(make_writable_result, out, overwrite))
    with ExitStack() as stack:
        ranks().on_first_rank(lambda: stack.enter_context(exclusive(out)))
        with progress_bar(f"{method} {model}", world.rank == 0, run.steps()) as progress:
            trajectory = run.solve(progress)
        ranks().on_first_rank(partial(trajectory.save, out))
        ranks().on_first_rank(run.forget)
    summary = run.summary(trajectory)
    if not as_json and _speaks():
        for t, risk in zip(trajectory.times, summary["risk"], strict=True):
            click.echo(f"t = {t:<10g} risk {risk:.6g}")
        click.echo(f"wrote {out}")
    return summary


@commands.command(epilog=examples("sweep"))
@options.model
@options.method
@options.settings
@options.grid
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write into.")
@click.option("--overwrite", is_flag=True, help="Replace results in an existing folder.")
@options.as_json
def sweep(
    model: str,
    method: str,
    settings: tuple[str, ...],
    grid: tuple[str, ...],
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> dict[str, Any]:
    """Solve MODEL at every combination of parameter values, one file each, and an index sweep.json.

    `mpiexec -n P workbench sweep MODEL …` hands the runs to P - 1 processes as they become free.  A run
    that fails is marked as failed in the index and does not stop the others; the exit code is then 3.
    """
    world = ranks().world()
    runs = combinations(model, method, split_settings(settings), split_settings(grid), out)
    for run in runs:
        run.read()
    ranks().on_first_rank(partial(make_writable_sweep, out, overwrite))
    entries = []
    with ExitStack() as stack:
        ranks().on_first_rank(lambda: stack.enter_context(exclusive(out / "sweep.json")))
        with progress_bar(f"{method} {model}", visible=world.rank == 0) as progress:
            for entry in ranks().spread(attempt, runs):
                entries.append(entry)
                progress(len(entries) / len(runs))
        ranks().on_first_rank(partial(write_index, out / "sweep.json", entries))
    if not as_json and _speaks():
        for entry in entries:
            click.echo(f"{entry['settings']}  {entry.get('risk', entry.get('error'))}")
        click.echo(f"wrote {out / 'sweep.json'}")
    failed = [entry for entry in entries if "error" in entry]
    if world.bcast(len(failed)):
        first = failed[0]["error"] if failed else ""
        raise NumericalFailure(
            f"{len(failed)} of {len(runs)} runs failed, see {out / 'sweep.json'}; first: {first}"
        )
    return {"model": model, "method": method, "out": str(out), "runs": entries}


@commands.command(epilog=examples("reproduce"))
@options.figure
@options.scale
@options.convention
@click.option("--seed", default="0", show_default=True, help="Seed of all SGD runs.")
@click.option("--workers", default="1", show_default=True, help="Runs that are made at once.")
@click.option(
    "--out",
    default="figures",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder; FIGURE/ is made in it.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace what another scale, convention or seed, or somebody else, left there.",
)
@options.as_json
def reproduce(
    figure: tuple[str, ...],
    scale: str,
    convention: str,
    seed: str,
    workers: str,
    out: Path,
    overwrite: bool,
    as_json: bool,
) -> dict[str, Any]:
    """Reproduce one or more FIGUREs, or `all`: simulate, draw, and write data and metrics beside the picture.

    What is there and up to date, by content hash, is not made again; an interrupted command goes on when it is
    given once more.
    """
    paper = _figures()
    for name in figure:
        one_of("figure", name, (*paper.FIGURES, "all"))
    if "all" in figure:
        figure = tuple(paper.FIGURES)
    one_of("scale", scale, paper.SCALES)
    one_of("convention", convention, paper.CONVENTIONS)
    seed_number = read_whole_number("seed", seed)
    whole_number("seed", seed_number, 0, 2**63 - 1)
    count = read_whole_number("workers", workers)
    whole_number("workers", count, 1, 256)
    pipeline = import_module("paper.pipeline")
    chosen = {name: paper.FIGURES[name] for name in dict.fromkeys(figure)}
    settings = {name: chosen[name].setting(scale, convention, seed_number) for name in chosen}
    make_writable_folder(out)
    for name in chosen:  # every slip is named before anything is solved
        pipeline.found(chosen[name], out / name, settings[name], overwrite)
        pipeline.read_code(chosen[name], settings[name])
    done, metrics = {}, {}
    with import_module("paper.jobs").processes(count) as pool:
        for name in chosen:
            with exclusive(out / name), progress_bar(f"{name} ({scale}, {convention})") as progress:
                made = pipeline.make(chosen[name], out / name, settings[name], progress, pool, overwrite)
            done[name], metrics[name] = list(made.done), made.metrics
            for note in made.notes:
                click.echo(f"workbench: {note}", err=True)
            if not as_json:
                failing = [check["claim"] for check in made.metrics["checks"] if not check["holds"]]
                click.echo(f"{'wrote' if made.done else 'up to date:'} {out / name}")
                for claim in failing:
                    click.echo(f"  does not hold: {claim}")
    return {
        "scale": scale,
        "convention": convention,
        "seed": seed_number,
        "out": str(out),
        "done": done,
        "metrics": metrics,
    }


@commands.command(epilog=examples("report"))
@click.option(
    "--figures",
    "folder",
    default="figures",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder with std/FIGURE and variance/FIGURE, or FIGURE itself, that `reproduce` wrote.",
)
@click.option(
    "--out",
    default="report",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the report.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Write into a folder that holds something else than a report, which stays.",
)
@options.as_json
def report(folder: Path, out: Path, overwrite: bool, as_json: bool) -> dict[str, Any]:
    """Write the figures as pages that a browser reads from disk, without a network: OUT/index.html.

    With each figure: its numbers and checks, where its parameters come from, its model with the derivation, and the
    generated code.  What is stale is marked, and what is not what `reproduce` wrote is named and not shown.
    Files in OUT that are no part of a report stay; one in the place of a page is named, and nothing is written.
    """
    build = import_module("paper.report.build")
    build.check(folder, out, overwrite)
    with exclusive(out), progress_bar("report") as progress:
        summary = build.write(folder, out, overwrite, progress)
    every = [
        (f"{name} ({part})", one) for name, row in summary["figures"].items() for part, one in row.items()
    ]
    for name, one in every:
        if "flaw" in one:
            click.echo(f"workbench: {name} is {one['state']} and not shown: {one['flaw']}", err=True)
    if "tutorial_failure" in summary:
        click.echo(f"workbench: the tutorial stopped: {summary['tutorial_failure']}", err=True)
    if not as_json:
        states = [one["state"] for _, one in every]
        click.echo(f"wrote {out / 'index.html'}")
        click.echo(", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states)))
    return {"out": str(out), **summary}


@commands.command("completion", epilog=examples("completion"))
@options.shell
@options.as_json
def completion_script(shell: str, as_json: bool) -> dict[str, Any]:
    """Print what SHELL (bash, zsh or fish) reads to complete models, methods, settings and figures.

    For the shell at hand: eval "$(workbench completion bash)", for fish: workbench completion fish | source.
    For every new one, put it where the shell looks when it starts, as below; in ~/.zshrc the line
    autoload -Uz compinit && compinit has to stand before it.
    """
    script = completion.script(commands, shell)
    if not as_json:
        click.echo(script, nl=False)
    return {"shell": shell, "script": script}


def _figures() -> ModuleType:
    """The index of figures, loaded on demand: it brings the drawing library along."""
    return import_module("paper.figures")


def ranks() -> ModuleType:
    """The processes of this run; loaded on demand, as it starts MPI."""
    return import_module("solvers.ranks")


@contextmanager
def progress_bar(
    label: str, visible: bool = True, steps: float | None = None
) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error, unless another rank shows it; yields a function of the fraction done.

    With the number of ``steps`` it shows their pace.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not visible) as bar:
        task = bar.add_task(label, total=1.0, pace="")
        begun: list[float] = []  # where a resumed run began, and when

        def update(fraction: float) -> None:
            pace = ""
            if not begun:
                begun.extend((fraction, clock.monotonic()))
            elif steps is not None and clock.monotonic() > begun[1]:
                rate = steps * (fraction - begun[0]) / (clock.monotonic() - begun[1])
                pace = f"{rate:,.0f} steps/s"
            # below a millionth the time left is anybody's guess, and overflows
            bar.update(task, completed=fraction if fraction > 1e-6 else 0.0, pace=pace)

        yield update


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
            everywhere=False,
        )
    except MemoryError:
        message = "the machine ran out of memory: ask for fewer units, atoms or cells"
        _end(3, message, as_json, everywhere=False)
    except (KeyboardInterrupt, click.Abort):
        _end(130, "interrupted", as_json, everywhere=False)
    if as_json and isinstance(result, dict) and _speaks():
        click.echo(json.dumps({"ok": True, **result}))
    sys.exit(0)


def _end(code: int, message: str, as_json: bool, everywhere: bool = True) -> None:
    """One message on standard error (and as JSON on standard output), then the exit code.

    What did not happen ``everywhere`` ends the other ranks as well: they would wait for this one for ever.
    """
    if _speaks() or not everywhere:
        message = " ".join(message.split())
        click.echo(f"workbench: {message}", err=True)
        if as_json:
            click.echo(json.dumps({"ok": False, "exit_code": code, "error": message}))
    if not everywhere and "solvers.ranks" in sys.modules and ranks().world().size > 1:
        sys.stdout.flush()
        ranks().world().Abort(code)
    sys.exit(code)


def _speaks() -> bool:
    """Whether this process is the one that prints: the first rank, where there are several."""
    loaded = sys.modules.get("solvers.ranks")
    return loaded is None or loaded.world().rank == 0


if __name__ == "__main__":
    main()
