"""One step of a derivation, and what the scripts of steps share.

Prose is written with LaTeX between dollar signs; ``render`` sets it as text, LaTeX or HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp

from workbench.certificates import Certificate
from workbench.notation import s


@dataclass(frozen=True)
class Step:
    """One step: what is claimed, by which rule, and what certifies it."""

    title: str
    rule: str
    formula: sp.Basic
    certificates: tuple[Certificate, ...] = ()
    note: str = ""


def in_closed_form(expr: sp.Expr, closed: Mapping[Any, sp.Expr]) -> sp.Expr:
    """``expr`` with the model's functions of s replaced by their closed forms."""
    for function, form in closed.items():
        expr = expr.replace(function, lambda argument, form=form: form.subs(s, argument))
    return expr
