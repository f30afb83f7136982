"""The pages: what the templates are filled with."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from paper import presets
from paper.fingerprint import versions
from paper.pipeline import Figure
from paper.report import animation, numbers
from paper.report.cells import leading
from paper.report.collect import ELSEWHERE, MEANINGS, PICTURES, STATES, Stand
from paper.report.model import ModelPart
from paper.report.tutorial import Tutorial
from paper.report.words import markdown, signs, title_and_rest
from workbench import __version__

HERE = Path(__file__).parent
HEADER = ("figure", "scale", "convention", "seed", "parameters", "wall_time", "versions", "checks")
CONVENTION = {
    "std": signs("tau_+- = 1 +- Delta are standard deviations"),
    "variance": signs("tau_+-^2 = 1 +- Delta are variances"),
}


def environment() -> Environment:
    """The templates, with escaping, and the filters that set numbers and words."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "signs": signs,
        "value": numbers.value,
        "interval": numbers.interval,
        "failure": numbers.failure,
        "measured": numbers.measured,
        "verdict": numbers.verdict,
        "duration": numbers.duration,
        "sentence": lambda text: text[:1].upper() + text[1:],
    }
    made.globals |= {
        "PICTURES": PICTURES,
        "STATES": STATES,
        "MEANINGS": MEANINGS,
        "CONVENTION": CONVENTION,
        "ELSEWHERE": ELSEWHERE,
        "SCALES": presets.SCALES,
    }
    return made


def index(templates: Environment, stands: Mapping[str, Sequence[Stand]], tutorial: Tutorial | None) -> str:
    """The page that all others are reached from; what is stale counts as no result."""
    every = [stand for row in stands.values() for stand in row]
    current = [stand for stand in every if stand.shown and stand.state == "current"]
    checks = [check for stand in current for check in stand.metrics["checks"]]
    return templates.get_template("index.html").render(
        cards=[(row, _leading(row)) for row in stands.values()],
        tutorial=tutorial,
        states={name: sum(stand.state == name for stand in every) for name in STATES},
        checks=checks,
        elsewhere=any(stand.elsewhere and not stand.shown for stand in every),
        versions={
            "workbench": __version__,
            "python": platform.python_version(),
            **versions(("sympy", "mpmath", "numpy", "scipy", "matplotlib")),
        },
        navigation=list(stands),
    )


def figure(
    templates: Environment,
    stands: Mapping[str, Sequence[Stand]],
    name: str,
    models: Mapping[str, ModelPart],
    tutorial: Tutorial | None,
) -> str:
    """The page of one figure."""
    names = list(stands)
    place = names.index(name)
    row = stands[name]
    script = Path(str(getattr(find_spec(row[0].figure.simulation.__name__), "origin", "")))
    title, words = title_and_rest(leading(script.read_text("utf-8")) if script.is_file() else "")
    shown = [_part(stand) for stand in row if stand.shown]
    return templates.get_template("figure.html").render(
        figure=row[0].figure,
        stands=row,
        shown=shown,
        moves=any(part["film"] for part in shown),
        heading=title,
        words=markdown(words, 3),
        preset=[] if shown else _preset(row[0].figure),
        models=[models[name] for name in model_of(row) if name in models],
        provenance=_provenance(),
        before=names[place - 1] if place else None,
        after=names[place + 1] if place + 1 < len(names) else None,
        tutorial=tutorial,
        navigation=names,
    )


def script(templates: Environment, tutorial: Tutorial, names: Sequence[str]) -> str:
    """The page of a script in cells."""
    return templates.get_template("tutorial.html").render(tutorial=tutorial, navigation=list(names))


def model_of(row: Sequence[Stand]) -> list[str]:
    """The models of a figure: those of the runs that are shown, or that of its preset where none is."""
    preset = row[0].figure.preset
    tables = [stand.metrics["parameters"] for stand in row if stand.shown]
    names = [str(table.get("model", {}).get("value", "")) for table in tables]
    if not tables and "model" in preset:
        names = [str(preset["model"].at("paper"))]
    return [name for name in dict.fromkeys(names) if name]


def _leading(row: Sequence[Stand]) -> Stand | None:
    """Whose picture stands for a figure: one that is up to date, if there is."""
    shown = [stand for stand in row if stand.shown and stand.pictures]
    return min(shown, key=lambda stand: stand.state != "current", default=None)


def _preset(figure: Figure) -> list[dict[str, Any]]:
    """The parameters of a figure at every scale, where there is no run whose table could be shown."""
    return [
        {
            "name": name,
            "values": [_by_convention(parameter, scale) for scale in presets.SCALES],
            "provenance": parameter.provenance,
        }
        for name, parameter in figure.preset.items()
    ]


def _by_convention(parameter: presets.Parameter, scale: str) -> Markup:
    """A value, or one for each convention where they differ."""
    values = {name: numbers.value(parameter.at(scale, name)) for name in presets.CONVENTIONS}
    if len(set(values.values())) == 1:
        return values[presets.CONVENTIONS[0]]
    return Markup("; ").join(Markup("{}: {}").format(name, value) for name, value in values.items())


def _part(stand: Stand) -> dict[str, Any]:
    """What is shown of a figure under one convention."""
    metrics = stand.metrics
    flaw = animation.flaw(stand.animation) if stand.animation is not None else ""
    picture = stand.content.get("figure.svg")
    return {
        "stand": stand,
        "size": _size(picture) if picture is not None else None,
        "failing": [check for check in metrics["checks"] if not check["holds"]],
        "film": animation.embedded(stand.animation) if stand.animation is not None and not flaw else None,
        "flaw": flaw,
        "rows": numbers.rows({key: entry for key, entry in metrics.items() if key not in HEADER}),
        "total": sum(metrics["wall_time"].values()),
    }


def _size(svg: bytes) -> tuple[str, str] | None:
    """Width and height of a picture, so that its place is kept while it loads."""
    match = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg[:2000].decode("utf-8", "replace"))
    return (f"{float(match[1]):.0f}", f"{float(match[2]):.0f}") if match else None


def _provenance() -> Markup:
    """What the words for where a value comes from mean, as the presets say it."""
    paragraphs = (presets.__doc__ or "").split("\n\n")
    return Markup().join(markdown(text) for text in paragraphs if text.startswith("Provenance"))
