"""The frames of an animation, checked and put into a page: pages opened from disk cannot fetch files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

TEXTS = ("label", "xlabel", "ylabel", "finding")


def flaw(film: Any) -> str:
    """What is wrong with the content of animation.json; empty where nothing is."""
    if not isinstance(film, Mapping):
        return "it holds no object"
    for name in (*TEXTS, "times", "bins", "sgd", "r", "density"):
        if name not in film:
            return f"{name} is missing"
        if name in TEXTS and not isinstance(film[name], str):
            return f"{name} is no text"
        if name not in TEXTS and not isinstance(film[name], list):
            return f"{name} is no list"
    frames = len(film["times"])
    if frames == 0:
        return "times is empty"
    for name, axis in (("times", 1), ("bins", 1), ("r", 1), ("sgd", 2), ("density", 2)):
        entries = film[name] if axis == 2 else [film[name]]
        if not all(_numbers(entry) for entry in entries):
            return f"{name} holds something that is no finite number"
    for name, length in (("sgd", len(film["bins"]) - 1), ("density", len(film["r"]))):
        if len(film[name]) != frames or any(len(entry) != length for entry in film[name]):
            return f"{name} has not {frames} frames of {length} numbers"
    for name in ("times", "bins", "r"):
        if any(after <= before for before, after in zip(film[name], film[name][1:], strict=False)):
            return f"{name} does not increase"
    return ""


def embedded(film: Mapping[str, Any]) -> Markup:
    """The frames as JSON that can stand in a page."""
    text = json.dumps(film, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # no end of the element inside it


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )
