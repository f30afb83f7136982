"""Prose and code as HTML: markdown, signs written in ASCII, highlighted Python."""

from __future__ import annotations

import re
from html import escape

from markdown_it import MarkdownIt
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

GREEK = {
    "alpha": "α",
    "beta": "β",
    "epsilon": "ε",
    "kappa": "κ",
    "lam": "λ",
    "lambda": "λ",
    "mu": "μ",
    "xi": "ξ",
    "phi": "φ",
    "psi": "ψ",
    "rho": "ρ",
    "drho": "dρ",
    "sigma": "σ",
    "tau": "τ",
    "theta": "θ",
    "Delta": "Δ",
    "Psi": "Ψ",
    "Phi": "Φ",
    "sum": "Σ",
    "int": "∫",
    "oo": "∞",
    "yhat": "ŷ",
    "grad": "∇",
}
OPERATORS = {"+-": "±", "->": "→", "<-": "←", ">=": "≥", "<=": "≤"}
WORD = re.compile(rf"(?<![\w.])({'|'.join(GREEK)})(?=$|[^A-Za-z0-9])")
# a letter, number or bracket with a short index or power: w_i, sigma_*, 10^-6, N^(-1/2), tau_y^2
SCRIPT = re.compile(
    r"(?P<base>(?<![A-Za-z_])[A-Za-z0-9α-ωΑ-Ωŷ∫]|(?<=\d)\d|[)\]]|(?<=</sub>))"
    r"(?P<sign>[_^])(?P<script>\([^()]*\)|[+-]?\d+|[A-Za-zα-ω]{1,3}|[+*±-])(?![A-Za-z0-9])"
)


def signs(text: str) -> Markup:
    """Formulas written in ASCII, as tau_y^2 or N^(-1/2), with Greek letters, indices and powers; the rest as it is."""
    text = re.sub(r"<([^<>=]*,[^<>=]*)>", r"⟨\1⟩", text)
    for ascii_sign, sign in OPERATORS.items():
        text = text.replace(ascii_sign, sign)
    text = re.sub(r"((?<=[\d)\]*])|(?<=\b[A-Za-z])) - (?=[\w(])", " − ", text)  # no dash between words
    text = re.sub(r"(?:^|(?<=[\s(]))-(?=[\w(])", "−", text)
    text = WORD.sub(lambda match: GREEK[match[1]], text)
    html = escape(text, quote=False)
    for _ in range(2):  # an index, then a power on it
        html = SCRIPT.sub(_script, html)
    return Markup(html)


def _script(match: re.Match[str]) -> str:
    tag = "sub" if match["sign"] == "_" else "sup"
    words = match["script"].removeprefix("(").removesuffix(")")
    words = GREEK.get(words, words)
    return f"{match['base']}<{tag}>{words.replace('-', '−')}</{tag}>"


def markdown(text: str, first_heading: int = 1) -> Markup:
    """Markdown (CommonMark with tables, no raw HTML) whose largest headings are of level ``first_heading``."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + first_heading - 1)}"
        for child in token.children or []:
            if child.type == "text":
                child.type, child.content = "html_inline", str(signs(child.content))
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def title_and_rest(text: str) -> tuple[str, str]:
    """The first line, where it stands alone and is no sentence, and what follows; else no title."""
    first, _, rest = text.partition("\n")
    alone = not rest.strip() or rest.startswith("\n")
    if alone and first and not first.endswith((".", ":", "?")):
        return first.lstrip("# "), rest.strip()
    return "", text


def python(code: str) -> Markup:
    """Python code, highlighted."""
    formatter: HtmlFormatter[str] = HtmlFormatter(nowrap=True)
    return Markup(f'<pre class="code"><code>{highlight(code, PythonLexer(stripnl=False), formatter).rstrip()}</code></pre>')
