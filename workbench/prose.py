"""Prose with formulas, in LaTeX between dollar signs or in ASCII, as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

# Greek letters and signs of the prose, as characters.
SIGNS = {
    "alpha": "α",
    "cdot": "·",
    "max": "max ",
    "mu": "μ",
    "phi": "φ",
    "sum": "Σ",
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
    "varrho": "ϱ",
    "sigma": "σ",
    "sim": "~",
    "sqrt": "√",
    "tau": "τ",
    "theta": "θ",
    "nabla": "∇",
    "partial": "∂",
    "varepsilon": "ε",
    "xi": "ξ",
    "to": "→",
    "varphi": "φ",
}


def prose(words: str) -> str:
    """Prose with LaTeX between dollar signs, as HTML with italic letters, subscripts and superscripts."""
    parts = words.split("$")
    return "".join(_formula(part) if i % 2 else escape(part) for i, part in enumerate(parts))


def _formula(latex: str) -> str:
    html = _until(iter(re.findall(r"\\(?:[A-Za-z]+|.)|\s+|.", latex)), "")
    html = html.replace("</i><i>", "").replace("∫ ", "∫")
    return html.replace("⟨ ", "⟨").replace(" ⟩", "⟩")


def _until(tokens: Iterator[str], end: str) -> str:
    """The HTML of the tokens up to ``end``."""
    parts: list[str] = []
    for token in tokens:
        if token == end:
            break
        if token in ("_", "^"):
            tag = "sub" if token == "_" else "sup"
            parts.append(f"<{tag}>{_one(tokens)}</{tag}>")
        elif token == r"\mathrm":
            parts.append(re.sub("</?i>", "", _one(tokens)))
        elif token == r"\sqrt":
            inner = _one(tokens)
            single = len(re.sub("<[^>]*>", "", inner)) == 1
            parts.append(f"√{inner}" if single else f"√({inner})")
        else:
            parts.append(_sign(token))
    return "".join(parts)


def _one(tokens: Iterator[str]) -> str:
    """The HTML of a group in braces, or of one token."""
    token = next(tokens)
    return _until(tokens, "}") if token == "{" else _sign(token)


def _sign(token: str) -> str:
    if token == r"\|":
        return "‖"
    if token.startswith("\\"):
        sign = SIGNS[token[1:]]
        return f"<i>{sign}</i>" if sign.isalpha() and sign.islower() else sign
    if token.isascii() and token.isalpha():
        return f"<i>{token}</i>"
    return {"-": "−", "'": "′"}.get(token) or escape(token)


# ---- formulas in ASCII

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
    "oo": "∞",
    "yhat": "ŷ",
    "grad": "∇",
}
INDEXED = {"sum": "Σ", "delta": "δ"}  # words but for their index
OPERATORS = {"+-": "±", "->": "→", "<-": "←", ">=": "≥", "<=": "≤"}
WORD = re.compile(rf"(?<![\w.])({'|'.join(GREEK)}|(?:{'|'.join(INDEXED)})(?=_))(?=$|[^A-Za-z0-9])")
# a letter, number, bracket or differential with a short index or power: w_i, sigma_*, 10^-6, N^(-1/2), tau_y^2, dt^2
SCRIPT = re.compile(
    r"(?P<base>(?<![A-Za-z_])(?:[A-Za-z0-9α-ωΑ-Ωŷ∫]|d[α-ω]|d[a-z](?=\^|_[a-z](?![A-Za-z])))|(?<=\d)\d|[)\]]|(?<=</sub>))"
    r"(?P<sign>[_^])(?P<script>\([^()]*\)|[+-]?\d+|[A-Za-zα-ω]{1,3}|[+*±-])(?![A-Za-z0-9])"
)


def signs(text: str) -> str:
    """Prose with formulas in ASCII, as tau_y^2 or N^(-1/2), with Greek letters, indices and powers, as HTML."""
    text = re.sub(r"<(?=\S)([^<>=]*,[^<>=]*)>", r"⟨\1⟩", text)
    for ascii_sign, sign in OPERATORS.items():
        text = text.replace(ascii_sign, sign)
    text = re.sub(r"\bint (?=[A-Z])", "∫", text)
    text = WORD.sub(lambda match: {**GREEK, **INDEXED}[match[1]], text)
    text = re.sub(r"((?<=[\d)\]*])|(?<=\b[A-Za-zα-ωΑ-Ω])) - (?=[\w(])", " − ", text)  # no dash between words
    text = re.sub(r"(?:^|(?<=[\s(]))-(?=[\w(])", "−", text)
    html = escape(text, quote=False)
    html = re.sub(r"\b([WL])([12])\b", r"\1<sub>\2</sub>", html)  # distances
    html = re.sub(r"\b\d+(\.\d+)?e[+-]\d+\b", lambda match: decimal(float(match[0]), 6), html)
    for _ in range(2):  # an index, then a power on it
        html = SCRIPT.sub(_script, html)
    return html


def _script(match: re.Match[str]) -> str:
    tag = "sub" if match["sign"] == "_" else "sup"
    words = match["script"].removeprefix("(").removesuffix(")")
    words = GREEK.get(words, words)
    return f"{match['base']}<{tag}>{words.replace('-', '−')}</{tag}>"


def decimal(value: float, digits: int) -> str:
    """A number to ``digits`` digits, its power of ten as such, as HTML."""
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    if not exponent:
        return mantissa.replace("-", "−")
    power = f"10<sup>{int(exponent)}</sup>"
    return (power if mantissa == "1" else f"{mantissa} × {power}").replace("-", "−")
