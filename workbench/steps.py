"""One step of a derivation.

Prose is written with LaTeX between dollar signs; ``render`` sets it as text, LaTeX or HTML.
"""

from __future__ import annotations

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
