"""A Derivation as plain text, LaTeX, or HTML with MathML: the same steps in the same order."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import sympy as sp
from sympy.printing.mathml import MathMLPresentationPrinter

from workbench.special import NamedFunction

if TYPE_CHECKING:
    from workbench.derivation import Derivation


def text(derivation: Derivation) -> str:
    """Plain text: numbered steps with pretty-printed formulas, then the certificate table."""
    lines = [f"Model {derivation.model.name}", ""]
    for number, step in enumerate(derivation.steps, 1):
        lines += [f"{number}. {step.title}", f"   by {step.rule}", ""]
        lines += [
            "   " + row for row in sp.pretty(step.formula, use_unicode=True, wrap_line=False).splitlines()
        ]
        if step.note:
            lines += ["", f"   {step.note}"]
        lines.append("")
    lines += ["Certificates: largest deviation relative to max(1, |value|)", ""]
    lines += ["   " + certificate.line() for certificate in derivation.certificates]
    return "\n".join(lines) + "\n"


def latex(derivation: Derivation) -> str:
    """A LaTeX fragment for amsmath: one paragraph and one displayed equation a step, then a table."""
    lines = [rf"\section*{{Model \texttt{{{_tex(derivation.model.name)}}}}}"]
    for step in derivation.steps:
        lines += [
            rf"\paragraph{{{_tex(step.title)}}} {_tex(step.rule)}.",
            r"\begin{equation*}",
            sp.latex(step.formula),
        ]
        lines += [r"\end{equation*}"]
        if step.note:
            lines.append(_tex(step.note))
    lines += [r"\begin{tabular}{llrr}", r"claim & oracle & deviation & tolerance \\"]
    lines += [
        rf"{_tex(c.claim)} & {_tex(c.oracle)} & {c.deviation:.1e} & {c.tolerance:.0e} \\"
        for c in derivation.certificates
    ]
    lines.append(r"\end{tabular}")
    return "\n".join(lines) + "\n"


class _MathML(MathMLPresentationPrinter):
    """Presentation MathML that knows the notation of the named functions."""

    def _print_NamedFunction(self, expr: NamedFunction) -> object:
        row = self.dom.createElement("mrow")
        name = self.dom.createElement("mi")
        name.appendChild(self.dom.createTextNode(expr.text_name))
        row.appendChild(name)
        fence = self.dom.createElement("mo")
        fence.appendChild(self.dom.createTextNode("("))
        row.appendChild(fence)
        for i, argument in enumerate(expr.args):
            if i:
                comma = self.dom.createElement("mo")
                comma.appendChild(self.dom.createTextNode(","))
                row.appendChild(comma)
            row.appendChild(self._print(argument))
        fence = self.dom.createElement("mo")
        fence.appendChild(self.dom.createTextNode(")"))
        row.appendChild(fence)
        return row


def html(derivation: Derivation) -> str:
    """An HTML fragment: one section a step with native MathML, then the certificate table."""
    parts = [f"<h1>Model {escape(derivation.model.name)}</h1>"]
    for step in derivation.steps:
        formula = _MathML({"mul_symbol": "none"}).doprint(step.formula)
        parts += [f"<section><h2>{escape(step.title)}</h2><p>by {escape(step.rule)}</p>"]
        parts += [f'<math display="block">{formula}</math>']
        parts += [f"<p>{escape(step.note)}</p>" if step.note else "", "</section>"]
    rows = "".join(
        f"<tr><td>{escape(c.claim)}</td><td>{escape(c.oracle)}</td><td>{c.deviation:.1e}</td><td>{c.tolerance:.0e}</td></tr>"
        for c in derivation.certificates
    )
    head = "<tr><th>claim</th><th>oracle</th><th>deviation</th><th>tolerance</th></tr>"
    parts.append(f"<table>{head}{rows}</table>")
    return "\n".join(p for p in parts if p) + "\n"


_TEX = str.maketrans(
    {
        **{sign: "\\" + sign for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
    }
)


def _tex(words: str) -> str:
    """Plain words for LaTeX; the few mathematical signs in the rules are set as code."""
    return words.translate(_TEX)
