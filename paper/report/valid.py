"""What build.json and metrics.json have to hold for a report to read them: any file may lie in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paper.pipeline import Build
from paper.presets import CONVENTIONS, SCALES


def named(build: Build) -> bool:
    """Whether a build says what `reproduce` would be asked for."""
    return build.scale in SCALES and build.convention in CONVENTIONS and whole(build.seed)


def readable(build: Build) -> bool:
    """Whether build.json holds what the pipeline writes there."""
    tables = (build.jobs, build.runs, build.files)
    return (
        named(build)
        and isinstance(build.figure, str)
        and isinstance(build.drawn, list)
        and all(isinstance(name, str) and name == Path(name).name for name in build.drawn)
        and all(isinstance(table, dict) for table in tables)
    )


def lacking(metrics: Any) -> str:
    """What the pages need and metrics.json does not have, as that of earlier code; empty where it has all."""
    if not isinstance(metrics, dict):
        return "no object"
    for key in ("parameters", "wall_time", "versions"):
        if not isinstance(metrics.get(key), dict):
            return f"{key} is missing, or no object"
    if not isinstance(metrics.get("checks"), list):
        return "checks is missing, or no list"
    if not whole(metrics.get("seed")):
        return "seed is missing, or no number"
    if not all(
        isinstance(entry, dict) and {"value", "provenance"} <= entry.keys()
        for entry in metrics["parameters"].values()
    ):
        return "a parameter lacks its value or its provenance"
    if not all(map(number, metrics["wall_time"].values())):
        return "a wall time is no number"
    for check in metrics["checks"]:
        texts = isinstance(check, dict) and all(
            isinstance(check.get(key), str) for key in ("claim", "reason")
        )
        if not texts or not isinstance(check.get("holds"), bool):
            return "a check lacks claim, reason or holds"
        if not all(
            key in check and (check[key] is None or number(check[key]))
            for key in ("value", "at_least", "at_most")
        ):
            return "a check lacks value, at_least or at_most"
    return ""


def whole(number: Any) -> bool:
    """Whether it is a whole number, which True is not."""
    return isinstance(number, int) and not isinstance(number, bool)


def number(number: Any) -> bool:
    """Whether it is a number, which True is not."""
    return isinstance(number, int | float) and not isinstance(number, bool)
