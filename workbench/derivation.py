"""Model -> Derivation: the mean-field potentials and the reduced equation, step by step.

Input: a ``Model``.  Output: an immutable ``Derivation``, every step with its rule and, where it states a
number, a certificate.  ``derive`` is the table of contents: the steps are in ``potential_steps``,
``kernel_steps`` and ``equation_steps``, the rules in ``gaussian`` and ``orbits``, the oracles in
``certificates``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import sympy as sp

from workbench import render
from workbench.certificates import Certificate
from workbench.equation_steps import equation_steps, functional_steps
from workbench.kernel_steps import orbit_steps, pair_steps
from workbench.models import Model
from workbench.notation import r, tau_minus, tau_plus
from workbench.potential_steps import activation_steps, coefficient_steps, definitions, projection_steps
from workbench.special import q
from workbench.steps import Step


@dataclass(frozen=True)
class Derivation:
    """A derived and certified model.

    Attributes
    ----------
    model, steps
        the input, and the steps in reading order.
    definitions
        closed forms by name: q, q_prime, a_one, a, a_prime, g, g_prime, pair (in s, c, k, d, s2, rho).
    V, grad_V
        in r, tau_plus, tau_minus, through q and q_prime.
    """

    model: Model
    steps: tuple[Step, ...]
    definitions: Mapping[str, sp.Expr]
    V: sp.Expr
    grad_V: sp.Expr

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


@cache
def derive(model: Model) -> Derivation:
    """Derive V, the features and weights of U, Psi, the risk and the reduced equation of ``model``.

    Raises
    ------
    CertificateFailure
        when a formula disagrees with the quadrature of its defining integral, or an identity between
        symbols leaves a remainder.
    """
    closed = definitions(model)
    V = -q(tau_plus * r) / 2 + q(tau_minus * r) / 2
    grad_V = sp.diff(V, r)
    steps = (
        *activation_steps(model),
        *projection_steps(model, closed, V, grad_V),
        *coefficient_steps(model, closed),
        *pair_steps(model, closed),
        *orbit_steps(model, closed),
        *functional_steps(),
        *equation_steps(),
    )
    return Derivation(model, steps, MappingProxyType(closed), V, grad_V)
