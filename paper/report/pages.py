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
from paper.report import animation, numbers
from paper.report.cells import leading
from paper.report.collect import MEANINGS, PICTURES, STATES, Stand
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
        "verdict": numbers.verdict,
        "duration": numbers.duration,
        "sentence": lambda text: text[:1].upper() + text[1:],
    }
    made.globals |= {"PICTURES": PICTURES, "STATES": STATES, "MEANINGS": MEANINGS, "CONVENTION": CONVENTION}
    return made


def index(templates: Environment, stands: Mapping[str, Sequence[Stand]], tutorial: Tutorial | None) -> str:
    """The page that all others are reached from."""
    every = [stand for row in stands.values() for stand in row]
    checks = [check for stand in every if stand.shown for check in stand.metrics["checks"]]
    return templates.get_template("index.html").render(
        rows=list(stands.values()),
        tutorial=tutorial,
        states={name: sum(stand.state == name for stand in every) for name in STATES},
        checks=checks,
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
        models=[
            models[name] for name in dict.fromkeys(model_name(p["stand"]) for p in shown) if name in models
        ],
        provenance=_provenance(),
        before=names[place - 1] if place else None,
        after=names[place + 1] if place + 1 < len(names) else None,
        tutorial=tutorial,
        navigation=names,
    )


def script(templates: Environment, tutorial: Tutorial, names: Sequence[str]) -> str:
    """The page of a script in cells."""
    return templates.get_template("tutorial.html").render(tutorial=tutorial, navigation=list(names))


def model_name(stand: Stand) -> str:
    """The model of a figure that may be shown; empty where it has none."""
    return str(stand.metrics["parameters"].get("model", {}).get("value", ""))


def _part(stand: Stand) -> dict[str, Any]:
    """What is shown of a figure under one convention."""
    metrics = stand.metrics
    flaw = animation.flaw(stand.animation) if stand.animation is not None else ""
    return {
        "stand": stand,
        "size": _size(stand.folder / "figure.svg") if "figure.svg" in stand.pictures else None,
        "failing": [check for check in metrics["checks"] if not check["holds"]],
        "film": animation.embedded(stand.animation) if stand.animation is not None and not flaw else None,
        "flaw": flaw,
        "rows": numbers.rows({key: entry for key, entry in metrics.items() if key not in HEADER}),
        "total": sum(metrics["wall_time"].values()),
    }


def _size(svg: Path) -> tuple[str, str] | None:
    """Width and height of a picture, so that its place is kept while it loads."""
    match = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg.read_text("utf-8")[:2000])
    return (f"{float(match[1]):.0f}", f"{float(match[2]):.0f}") if match else None


def _provenance() -> Markup:
    """What the words for where a value comes from mean, as the presets say it."""
    paragraphs = (presets.__doc__ or "").split("\n\n")
    return Markup().join(markdown(text) for text in paragraphs if text.startswith("Provenance"))
