"""A model for the report: its statement, derivation, certificates and generated code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from markupsafe import Markup

from paper.report.cells import leading
from paper.report.words import markdown, python, title_and_rest
from workbench import render
from workbench.certificates import Certificate
from workbench.derivation import derive
from workbench.module_certificates import certify_module


@dataclass(frozen=True)
class ModelPart:
    """What the pages of the figures of one model share."""

    name: str
    title: str
    statement: Markup
    steps: Markup
    count: int
    certificates: tuple[Certificate, ...]
    source: Mapping[str, Any]
    code: Markup
    lines: int


def model(name: str) -> ModelPart:
    """Derive and certify a model, and its generated module; takes seconds.

    Raises
    ------
    CertificateFailure
        where a formula, or the module, is off.
    """
    script = import_module(f"derivations.{name}")
    module = import_module(f"solvers.generated.{name}")
    derivation = derive(script.MODEL)
    code = inspect.getsource(module)
    title, statement = title_and_rest(leading(inspect.getsource(script)))
    return ModelPart(
        name,
        title or derivation.title,
        markdown(statement, 4),
        Markup(render.html(derivation.title, derivation.steps, folded=True)),
        len(derivation.steps),
        (*derivation.certificates, *certify_module(module, derivation)),
        module.SOURCE,
        python(code),
        len(code.splitlines()),
    )
