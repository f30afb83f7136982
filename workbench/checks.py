"""Checks of single values, so that each kind of slip is worded once."""

from __future__ import annotations

from typing import Any

from workbench.errors import BadInput


def whole_number(name: str, value: Any, least: int) -> None:
    """Raise BadInput unless ``value`` is a whole number >= ``least``."""
    try:
        good = not isinstance(value, bool | str) and float(value).is_integer() and value >= least
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise BadInput(f"{name} = {value!r}: give a whole number {name} >= {least}")
