"""Model -> Derivation: the mean-field potentials and the reduced equation, step by step.

Input: a ``Model``.  Output: an immutable ``Derivation``, every step with its rule and, where it states a
number, a certificate.  ``derive`` is the table of contents: the steps are in ``potential_steps``, ``feature_steps``,
``kernel_steps`` and ``equation_steps``, the formulas in ``closed_forms`` and ``orbits``, the oracles in
``certificates``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import sympy as sp

from workbench import render
from workbench.certificates import Certificate
from workbench.closed_forms import ClosedForms, closed_forms
from workbench.equation_steps import equation_steps, functional_steps
from workbench.errors import BadInput
from workbench.evaluators import Evaluator
from workbench.kernel_steps import orbit_steps, pair_steps
from workbench.models import Model
from workbench.potential_steps import (
    activation_steps,
    mean_steps,
    potential,
    potential_steps,
    projection_steps,
)
from workbench.steps import Step, in_turn


@dataclass(frozen=True)
class Derivation:
    """A derived and certified model.

    Attributes
    ----------
    model, steps
        the input, and the steps in reading order.
    closed
        the closed forms of q, alpha_k, g_n and the pair kernel, None where there is none.
    V, grad_V
        in the coordinates and parameters, through q and alpha; grad_V has one entry a coordinate.
    """

    model: Model
    steps: tuple[Step, ...]
    closed: ClosedForms
    V: sp.Expr
    grad_V: tuple[sp.Expr, ...]

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """All certificates, in reading order."""
        return render.certificates(self.steps)

    @property
    def title(self) -> str:
        """Heading of the renderings."""
        return f"Model {self.model.name}"

    def text(self) -> str:
        """The derivation as plain text."""
        return render.text(self.title, self.steps)

    def latex(self) -> str:
        """The derivation as a LaTeX fragment (sections, displayed equations, a certificate table)."""
        return render.latex(self.title, self.steps)

    def html(self) -> str:
        """The derivation as an HTML fragment with native MathML."""
        return render.html(self.title, self.steps)


DERIVED: dict[Model, Derivation] = {}  # each model is derived once a process


def derive(model: Model, progress: Callable[[float], None] | None = None) -> Derivation:
    """Derive V, the features and weights of U, Psi, the risk and the reduced equation of ``model``.

    ``progress`` is told the fraction done, where there is something to do.

    Raises
    ------
    BadInput
        for what is no ``Model``.
    CertificateFailure
        when a formula disagrees with the quadrature of its defining integral, or an identity between
        symbols leaves a remainder.
    """
    if not isinstance(model, Model):
        raise BadInput(
            f"model = {model!r} is no Model: write one, e.g. derive(isotropic_gaussians(truncated_relu()))"
        )
    if model not in DERIVED:
        DERIVED[model] = _derived(model, progress)
    return DERIVED[model]


def _derived(model: Model, progress: Callable[[float], None] | None = None) -> Derivation:
    closed, values = closed_forms(model), Evaluator(model)
    V = potential(model)
    grad_V = tuple(sp.diff(V, x) for x in model.symbols)
    parts = (
        partial(activation_steps, model),
        partial(projection_steps, model),
        partial(mean_steps, model, closed, values),
        partial(potential_steps, model, values, V, grad_V),
        partial(pair_steps, model, closed, values),
        partial(orbit_steps, model, closed, values),
        functional_steps,
        partial(equation_steps, model),
    )
    return Derivation(model, in_turn(parts, progress), closed, V, grad_V)
