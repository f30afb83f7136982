"""A Derivation as plain text, LaTeX, or HTML with MathML: the same steps in the same order."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy.printing.mathml import MathMLPresentationPrinter

from workbench.special import NamedFunction

if TYPE_CHECKING:
    from workbench.derivation import Derivation


def text(derivation: Derivation) -> str:
    """Plain text: numbered steps with pretty-printed formulas, then the certificate table."""
    lines = [f"Model {derivation.model.name}", ""]
    for number, step in enumerate(derivation.steps, 1):
        lines += [f"{number}. {step.title}", f"   by {plain(step.rule)}", ""]
        lines += [
            "   " + row for row in sp.pretty(step.formula, use_unicode=True, wrap_line=False).splitlines()
        ]
        if step.note:
            lines += ["", f"   {plain(step.note)}"]
        lines.append("")
    lines += ["Certificates: largest deviation relative to max(1, |value|)", ""]
    lines += ["   " + certificate.line() for certificate in derivation.certificates]
    return "\n".join(lines) + "\n"


def latex(derivation: Derivation) -> str:
    """A LaTeX fragment for amsmath: one paragraph and one displayed equation a step, then a table."""
    lines = [rf"\section*{{Model \texttt{{{_tex(derivation.model.name)}}}}}"]
    for step in derivation.steps:
        lines += [rf"\paragraph{{{_tex(step.title)}}} By {_tex_prose(step.rule)}."]
        lines.append(_display(step.formula))
        if step.note:
            lines.append(_tex_prose(step.note))
    lines += [r"\begin{center}\small", r"\begin{tabular}{p{0.36\linewidth}p{0.38\linewidth}rr}"]
    lines.append(r"claim & oracle & deviation & tolerance \\")
    lines += [
        rf"{_tex(c.claim)} & {_tex(c.oracle)} & {c.deviation:.1e} & {c.tolerance:.0e} \\"
        for c in derivation.certificates
    ]
    lines += [r"\end{tabular}", r"\end{center}"]
    return "\n".join(lines) + "\n"


def _display(formula: sp.Basic) -> str:
    """A displayed equation; a long sum is broken into lines of three terms."""
    code = sp.latex(formula)
    if len(code) > 250 and isinstance(formula, sp.Eq) and formula.rhs.is_Add:
        return str(sp.multiline_latex(formula.lhs, formula.rhs, terms_per_line=3, environment="align*"))
    return "\n".join((r"\begin{equation*}", code, r"\end{equation*}"))


def html(derivation: Derivation) -> str:
    """An HTML fragment: one section a step with native MathML, then the certificate table."""
    parts = [f"<h1>Model {escape(derivation.model.name)}</h1>"]
    for step in derivation.steps:
        formula = _MathML().doprint(step.formula)
        parts += [f"<section><h2>{escape(step.title)}</h2><p>By {escape(plain(step.rule))}.</p>"]
        parts += [f'<math display="block">{formula}</math>']
        parts += [f"<p>{escape(plain(step.note))}</p>" if step.note else "", "</section>"]
    rows = "".join(
        f"<tr><td>{escape(c.claim)}</td><td>{escape(c.oracle)}</td>"
        f"<td>{c.deviation:.1e}</td><td>{c.tolerance:.0e}</td></tr>"
        for c in derivation.certificates
    )
    head = "<tr><th>claim</th><th>oracle</th><th>deviation</th><th>tolerance</th></tr>"
    parts.append(f"<table>{head}{rows}</table>")
    return "\n".join(p for p in parts if p) + "\n"


# Greek letters and signs of the prose, as characters.
_SIGNS = {
    "beta": "β",
    "chi": "χ",
    "Delta": "Δ",
    "infty": "∞",
    "int": "∫",
    "ge": "≥",
    "lambda": "λ",
    "langle": "⟨",
    "le": "≤",
    "mid": "|",
    "Phi": "Φ",
    "pm": "±",
    "psi": "ψ",
    "Psi": "Ψ",
    "rangle": "⟩",
    "rho": "ρ",
    "sigma": "σ",
    "sim": "~",
    "sqrt": "√",
    "tau": "τ",
    "to": "→",
    "varphi": "φ",
}


def plain(prose: str) -> str:
    """Prose with LaTeX between dollar signs, as plain text with Unicode signs."""

    def span(match: re.Match[str]) -> str:
        words = re.sub(r"\\([A-Za-z]+)", lambda m: _SIGNS[m[1]], match[1])
        words = words.replace("⟨ ", "⟨").replace(" ⟩", "⟩")
        words = words.replace(r"\|", "‖")
        return re.sub(r"\{([^{}]*)\}", lambda m: m[1] if len(m[1]) == 1 else f"({m[1]})", words)

    return re.sub(r"\$([^$]*)\$", span, prose)


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
    """Plain words for LaTeX."""
    return words.translate(_TEX)


def _tex_prose(prose: str) -> str:
    """Prose for LaTeX: the spans between dollar signs are LaTeX already."""
    return "$".join(part if i % 2 else _tex(part) for i, part in enumerate(prose.split("$")))


class _MathML(MathMLPresentationPrinter):
    """Presentation MathML with the notation of the named functions, Greek letters and braces for cases."""

    def _element(self, name: str, *children: Any, **attributes: str) -> Any:
        element = self.dom.createElement(name)
        for key, value in attributes.items():
            element.setAttribute(key, value)
        for child in children:
            element.appendChild(self.dom.createTextNode(child) if isinstance(child, str) else child)
        return element

    def _call(self, head: Any, arguments: tuple[Any, ...]) -> Any:
        inner: list[Any] = []
        for i, argument in enumerate(arguments):
            inner += ([self._element("mo", ",")] if i else []) + [self._print(argument)]
        return self._element("mrow", head, self._element("mo", "("), *inner, self._element("mo", ")"))

    def _print_Function(self, expr: sp.Function) -> Any:
        if isinstance(expr, NamedFunction):
            return self._call(self._element("mi", expr.text_name), expr.args)
        return self._call(self._print(sp.Symbol(expr.func.__name__)), expr.args)

    def _print_Relational(self, expr: sp.Basic) -> Any:
        # the printer writes text as it is, so the sign has to be an entity
        sign = {"==": "=", "<": "&lt;", "<=": "&#x2264;", ">": "&gt;", ">=": "&#x2265;"}[expr.rel_op]
        return self._element("mrow", self._print(expr.lhs), self._element("mo", sign), self._print(expr.rhs))

    def _print_gamma(self, expr: sp.Function) -> Any:
        return self._call(self._element("mi", "Γ"), expr.args)

    def _print_Max(self, expr: sp.Expr) -> Any:
        return self._call(self._element("mi", "max"), expr.args)

    def _print_Piecewise(self, expr: sp.Piecewise) -> Any:
        rows = []
        for value, condition in expr.args:
            words = self._element("mtext", "otherwise") if condition == sp.true else self._print(condition)
            rows.append(
                self._element("mtr", self._element("mtd", self._print(value)), self._element("mtd", words))
            )
        return self._element("mrow", self._element("mo", "{"), self._element("mtable", *rows))
