"""Prose with formulas, written with LaTeX between dollar signs, as HTML."""

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
