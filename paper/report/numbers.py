"""Numbers as a reader wants them: values, intervals, sentences about checks, durations, nested tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from paper.report.words import signs
from workbench import prose

DIGITS = 4


def value(number: Any, digits: int = 6) -> Markup:
    """A number to ``digits`` digits, its power of ten as such; lists in a row, texts as code."""
    if isinstance(number, str):
        return Markup("<code>{}</code>").format(number)
    if isinstance(number, Mapping):
        return Markup("; ").join(Markup("{}: {}").format(k, value(v, digits)) for k, v in number.items())
    if isinstance(number, Sequence):
        return Markup(", ").join(value(entry, digits) for entry in number)
    if number is None or isinstance(number, bool):
        return escape({None: "none", True: "yes", False: "no"}[number])
    if isinstance(number, int):
        return escape(f"{number:,}" if abs(number) >= 10_000 else str(number))
    if not math.isfinite(number):
        return escape(str(number).replace("inf", "∞").replace("nan", "not a number"))
    return Markup(prose.decimal(number, digits))


def interval(check: Mapping[str, Any]) -> Markup:
    """Where the value of a check has to lie."""
    low, high, digits = check["at_least"], check["at_most"], _digits(check)
    if low is None and high is None:
        return Markup("any number")
    if high is None:
        return Markup("at least {}").format(value(low, digits))
    if low is None:
        return Markup("at most {}").format(value(high, digits))
    return Markup("{} to {}").format(value(low, digits), value(high, digits))


def measured(check: Mapping[str, Any]) -> Markup:
    """The value of a check."""
    return value(check["value"], _digits(check))


def _digits(check: Mapping[str, Any]) -> int:
    """To how many digits value and ends of a check are told: numbers that differ look different."""
    found = {check[name] for name in ("value", "at_least", "at_most")} - {None}
    for digits in range(DIGITS, 17):
        if len({f"{number:.{digits}g}" for number in found}) == len(found):
            return digits
    return 17


def failure(check: Mapping[str, Any]) -> Markup:
    """The sentence about a check that does not hold."""
    return Markup("Does not hold: {}: {}, not {}.").format(
        signs(check["claim"]), measured(check), interval(check)
    )


def verdict(checks: Sequence[Mapping[str, Any]]) -> str:
    """How many checks hold, in words."""
    failing = sum(not check["holds"] for check in checks)
    if failing:
        return f"{failing} of {len(checks)} checks fail"
    return {0: "no checks", 1: "the one check holds"}.get(len(checks), f"all {len(checks)} checks hold")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if round(seconds) < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class Row:
    """A line of a nested table: its name, how deep it is, and its values, none for the head of a group."""

    name: str
    depth: int
    values: tuple[Markup, ...] = ()


def rows(numbers: Mapping[str, Any], depth: int = 0) -> list[Row]:
    """Nested numbers line by line; a list of mappings with the same names is a line a name, a value an entry."""
    found: list[Row] = []
    for name, content in numbers.items():
        if isinstance(content, Mapping):
            found += [Row(name, depth), *rows(content, depth + 1)]
        elif _alike(content):
            found += [Row(f"{name} ({len(content)})", depth), *_side_by_side(content, depth + 1)]
        elif isinstance(content, Sequence) and any(isinstance(entry, Mapping) for entry in content):
            found.append(Row(name, depth))
            for number, entry in enumerate(content):
                found += rows({f"{number}": entry}, depth + 1)
        else:
            found.append(Row(name, depth, (value(content),)))
    return found


def _alike(content: Any) -> bool:
    """Whether this is a list of mappings that nest in the same way."""
    if not isinstance(content, Sequence) or not content or not all(isinstance(e, Mapping) for e in content):
        return False
    shapes = [[(row.name, row.depth, len(row.values)) for row in rows(entry)] for entry in content]
    return all(shape == shapes[0] for shape in shapes)


def _side_by_side(entries: Sequence[Mapping[str, Any]], depth: int) -> list[Row]:
    return [
        Row(first.name, first.depth, sum((row.values for row in (first, *others)), ()))
        for first, *others in zip(*(rows(entry, depth) for entry in entries), strict=True)
    ]
