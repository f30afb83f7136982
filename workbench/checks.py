"""Checks of single values, so that each kind of slip is worded once."""

from __future__ import annotations

import math
import numbers
from typing import Any

from workbench.errors import BadInput

MOST = 10**8  # of anything that is counted: more does not fit into memory


def whole_number(name: str, value: Any, least: int, most: int = MOST) -> None:
    """Raise BadInput unless ``value`` is an integer with least <= value <= most."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not least <= int(value) <= most:
        raise BadInput(f"{name} = {value!r}: give a whole number {least} <= {name} <= {most}")


def real_number(name: str, value: Any) -> float:
    """``value`` as a float; BadInput for what is no number, or nan."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number) or isinstance(value, str):
        raise BadInput(f"{name} = {value!r} is not a number: give a real number")
    return number
