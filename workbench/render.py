"""Steps of a derivation as plain text, LaTeX, or HTML with MathML: the same steps in the same order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter
from sympy.printing.pretty.pretty import PrettyPrinter
from sympy.printing.pretty.pretty_symbology import greek_unicode, pretty_use_unicode
from sympy.printing.pretty.stringpict import prettyForm

from workbench.certificates import Certificate
from workbench.mathml import display
from workbench.notation import GLYPHS, corr
from workbench.prose import SIGNS, decimal, prose, signs
from workbench.steps import Step


def certificates(steps: Sequence[Step]) -> tuple[Certificate, ...]:
    """All certificates, in reading order."""
    return tuple(certificate for step in steps for certificate in step.certificates)


def text(title: str, steps: Sequence[Step]) -> str:
    """Plain text: numbered steps with pretty-printed formulas, then the certificate table."""
    lines = [title, ""]
    for number, step in enumerate(steps, 1):
        lines += [f"{number}. {step.title}", f"   by {plain(step.rule)}", ""]
        for formula in _single(step.formula):
            lines += ["   " + row for row in _pretty(formula).splitlines()]
        if step.note:
            lines += ["", f"   {plain(step.note)}"]
        lines.append("")
    lines += ["Certificates: largest deviation relative to max(1, |value|)", ""]
    lines += ["   " + certificate.line() for certificate in certificates(steps)]
    return "\n".join(lines) + "\n"


class _Text(PrettyPrinter):
    """Unicode text with indices that Unicode has no small letters for behind a line, as in φ_κ."""

    def _print_Symbol(self, e: sp.Symbol, bold_name: bool = False) -> prettyForm:
        base, _, index = e.name.partition("_")
        if e in GLYPHS:
            return prettyForm(GLYPHS[e], binding=prettyForm.ATOM)
        if index in GREEK_INDICES:
            name = f"{greek_unicode.get(base, base)}_{greek_unicode[index]}"
            return prettyForm(name, binding=prettyForm.ATOM)
        return super()._print_Symbol(e, bold_name)

    def _print_Indexed(self, expr: sp.Indexed) -> prettyForm:
        indices = ",".join(greek_unicode.get(str(i), str(i)) for i in expr.indices)
        return prettyForm(f"{expr.base}_{indices}", binding=prettyForm.ATOM)


GREEK_INDICES = ("kappa", "lambda")  # whose letters SymPy would spell out


def _pretty(formula: sp.Basic) -> str:
    unicode = pretty_use_unicode(True)
    try:
        return str(_Text({"wrap_line": False, "use_unicode": True}).doprint(formula))
    finally:
        pretty_use_unicode(unicode)


def latex(title: str, steps: Sequence[Step]) -> str:
    """A LaTeX fragment for amsmath: one paragraph and one displayed equation a step, then a table."""
    lines = [rf"\section*{{{_tex(title)}}}"]
    for step in steps:
        lines += [rf"\paragraph{{{_tex(step.title)}}} By {_tex_prose(step.rule)}."]
        lines.append(_display(step.formula))
        if step.note:
            lines.append(_tex_prose(step.note))
    lines += [r"\begin{center}\small", r"\begin{tabular}{p{0.36\linewidth}p{0.38\linewidth}rr}"]
    lines.append(r"claim & oracle & deviation & tolerance \\")
    lines += [
        rf"{_tex(c.claim)} & {_tex(c.oracle)} & {c.deviation:.1e} & {c.tolerance:.0e} \\"
        for c in certificates(steps)
    ]
    lines += [r"\end{tabular}", r"\end{center}"]
    return "\n".join(lines) + "\n"


class _Latex(LatexPrinter):
    """LaTeX that brackets a differentiated product: without, only its first factor seems meant."""

    def __init__(self) -> None:
        super().__init__({"symbol_names": {corr: r"\varrho"}})

    def _print_Derivative(self, expr: sp.Derivative) -> str:
        code = str(super()._print_Derivative(expr))
        if not expr.expr.is_Mul:
            return code
        body = self._print(expr.expr)
        return code.removesuffix(body) + rf"\left({body}\right)"


def _single(formula: sp.Basic) -> list[Any]:
    """An equation of tuples as one equation an entry; anything else alone."""
    if not isinstance(formula, sp.Eq):
        return [formula]
    left, right = formula.lhs, formula.rhs
    if not (isinstance(left, sp.Tuple) and isinstance(right, sp.Tuple) and len(left) == len(right)):
        return [formula]
    return [sp.Eq(x, y, evaluate=False) for x, y in zip(left, right, strict=True)]


LINE_SIGNS = 90  # signs, LaTeX commands not counted, that fit on a line of a page


def _display(formula: sp.Basic) -> str:
    """A displayed equation; tuples take one line an entry, long sums are broken."""
    printer = _Latex()
    equations = _single(formula)
    if len(equations) > 1:
        return _aligned(printer, [(one.lhs, one.rhs) for one in equations])
    code = printer.doprint(formula)
    if _signs(code) <= LINE_SIGNS or not (isinstance(formula, sp.Eq) and formula.rhs.is_Add):
        return "\n".join((r"\begin{equation*}", code, r"\end{equation*}"))
    return _aligned(printer, [(formula.lhs, formula.rhs)])


def _aligned(printer: _Latex, equations: list[tuple[sp.Basic, sp.Basic]]) -> str:
    """Equations below each other, their sums broken into lines."""
    rows = []
    for left, right in equations:
        lines = [""]
        for term in right.as_ordered_terms() if isinstance(right, sp.Add) else [right]:
            code = printer.doprint(term)
            if lines[-1] and _signs(lines[-1] + code) > LINE_SIGNS - _signs(printer.doprint(left)):
                lines.append("")
            first = len(lines) == 1 and not lines[-1]
            lines[-1] += (" " if lines[-1] else "") + (code if first or code.startswith("-") else f"+ {code}")
        rows.append(f"{printer.doprint(left)} &= " + " \\\\\n&\\quad ".join(lines))
    return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"


def _signs(code: str) -> int:
    """About how many signs wide LaTeX code is set; a fraction is as wide as its wider part."""
    plainer = re.sub(r"\\frac\{[^{}]*\}", "", code)
    return len(re.sub(r"\\(left|right|,|[A-Za-z]+)|[{}^_\\ ]", "", plainer)) + code.count(r"\operatorname")


def html(title: str, steps: Sequence[Step], folded: bool = False) -> str:
    """An HTML fragment: one section a step with native MathML, then the certificate table.

    ``folded``: a numbered list of steps to open instead, each with its certificates, without heading and table.
    """
    if folded:
        return f'<ol class="steps">\n{"".join(map(_folded, steps))}</ol>\n'
    parts = [f"<h1>{escape(title)}</h1>"]
    for step in steps:
        parts.append(f"<section><h2>{escape(step.title)}</h2>{_body(step)}</section>")
    parts.append(certificate_table(certificates(steps)))
    return "\n".join(parts) + "\n"


def _body(step: Step) -> str:
    """Rule, formulas and note of a step."""
    parts = [f"<p>By {prose(step.rule)}.</p>"]
    parts += [f'<div class="formula">{display(formula)}</div>' for formula in _single(step.formula)]
    parts += [f"<p>{prose(step.note)}</p>"] if step.note else []
    return "\n".join(parts) + "\n"


def _folded(step: Step) -> str:
    """One step, closed."""
    table = f'<div class="wide">{certificate_table(step.certificates)}</div>' if step.certificates else ""
    return f"<li><details><summary>{escape(step.title)}</summary>{_body(step)}{table}</details></li>\n"


def certificate_table(certificates: Sequence[Certificate]) -> str:
    """Claim, oracle, deviation and tolerance of each certificate, each row named by its claim."""
    rows = "".join(
        f'<tr><th scope="row">{signs(c.claim)}</th><td>{signs(c.oracle)}</td>'
        f"<td>{decimal(c.deviation, 2)}</td><td>{decimal(c.tolerance, 1)}</td></tr>"
        for c in certificates
    )
    head = "".join(f'<th scope="col">{word}</th>' for word in ("claim", "oracle", "deviation", "tolerance"))
    caption = "<caption>Certificates: largest deviation relative to max(1, |value|)</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def plain(words: str) -> str:
    """Prose with LaTeX between dollar signs, as plain text with Unicode signs."""

    def span(match: re.Match[str]) -> str:
        signs = re.sub(r"\\mathrm\{(\w+)\}", r"\1", match[1])
        signs = re.sub(r"\\([A-Za-z]+)", lambda m: SIGNS[m[1]], signs)
        signs = signs.replace("⟨ ", "⟨").replace(" ⟩", "⟩")
        signs = signs.replace(r"\|", "‖")
        return re.sub(r"\{([^{}]*)\}", lambda m: m[1] if len(m[1]) == 1 else f"({m[1]})", signs)

    return re.sub(r"\$([^$]*)\$", span, words)


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
