"""One step of a derivation.

Prose is written with LaTeX between dollar signs; ``render`` sets it as text, LaTeX or HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import sympy as sp

from workbench.certificates import Certificate


@dataclass(frozen=True)
class Step:
    """One step: what is claimed, by which rule, and what certifies it."""

    title: str
    rule: str
    formula: sp.Basic
    certificates: tuple[Certificate, ...] = ()
    note: str = ""


def in_turn[T](
    parts: Sequence[Callable[[], Iterable[T]]], progress: Callable[[float], None] | None = None
) -> tuple[T, ...]:
    """What the parts give, one after the other; ``progress`` is told the fraction of them that is done."""
    found: list[T] = []
    for number, part in enumerate(parts, 1):
        found += part()
        if progress is not None:
            progress(number / len(parts))
    return tuple(found)
