"""Formulas as native MathML."""

from __future__ import annotations

import re
from typing import Any

import sympy as sp
from sympy.printing.conventions import requires_partial
from sympy.printing.mathml import MathMLPresentationPrinter
from sympy.printing.precedence import precedence_traditional
from sympy.printing.pretty.pretty_symbology import greek_unicode

from workbench.notation import GLYPHS
from workbench.special import HermiteCoefficient, NamedFunction

LINE_SIGNS = 78  # signs that fit on a line of a page

RIGHT, LEFT = "text-align: right; padding-right: 0", "text-align: left; padding-left: 0"


def display(formula: sp.Basic) -> str:
    """A displayed formula; an equation that is too long for a line is broken between the terms of its right side."""
    printer = MathML()
    content = printer.tree(formula)
    if isinstance(formula, sp.Eq) and formula.rhs.is_Add and signs(content) > LINE_SIGNS:
        content = printer.aligned(formula)
    return f'<math display="block">{printer.written(content)}</math>'


def signs(node: Any) -> float:
    """About how many signs wide a formula is set; a fraction is as wide as its wider part."""
    if node.nodeType == node.TEXT_NODE:
        return 0 if node.data in ("&InvisibleTimes;", APPLY) else len(re.sub(r"&[^;]*;", "x", node.data))
    parts = [signs(child) for child in node.childNodes]
    if node.tagName in ("mfrac", "munderover"):
        return max(parts)
    if node.tagName in ("msub", "msup"):
        return parts[0] + 0.7 * parts[1]
    return sum(parts) + (node.tagName == "mo" and node.firstChild.data in ("+", "-", "="))


APPLY = "&#x2061;"  # the invisible sign between a function and its arguments
THIN = '<mspace width="0.17em"/>'
UPRIGHT_E = '<mi mathvariant="normal">e</mi>'
UPRIGHT_D = '<mi mathvariant="normal">d</mi>'
TALL = ("mfrac", "munderover", "msqrt", "mtable", "msubsup")  # what brackets have to grow with
NAME = re.compile(r"([A-Za-z]+?)(hat)?(prime|')?(?:_\{?([^{}]+)\}?)?")  # of a symbol


class MathML(MathMLPresentationPrinter):
    """Presentation MathML with the notation of the named functions, Greek letters and braces for cases."""

    def tree(self, formula: sp.Basic) -> Any:
        """The element of a formula."""
        return self._print(formula)

    def written(self, element: Any) -> str:
        """An element as text, with true minus signs and upright d and e."""
        text = element.toxml().encode("ascii", "xmlcharrefreplace").decode()
        text = text.replace("<mo>&dd;</mo>", THIN + UPRIGHT_D).replace("<mi>&ExponentialE;</mi>", UPRIGHT_E)
        return re.sub(r"<m([on])>-", r"<m\1>&#x2212;", text)

    def aligned(self, equation: sp.Eq) -> Any:
        """An equation with its right side, a sum, broken into lines."""
        left = self._print(equation.lhs)
        width = LINE_SIGNS - signs(left)
        rows = [[self._element("mo", "=")]]
        for number, term in enumerate(self._as_ordered_terms(equation.rhs)):
            negative = term.could_extract_minus_sign()
            shown = self._print(-term if negative else term)
            if number and sum(map(signs, rows[-1])) + signs(shown) > width:
                rows.append([self._element("mspace", width="1.5em")])
            if number or negative:
                rows[-1].append(self._element("mo", "-" if negative else "+"))
            rows[-1].append(shown)
        lines = [
            self._element(
                "mtr",
                self._element("mtd", *([] if number else [left]), style=RIGHT),
                self._element("mtd", self._element("mrow", *row), style=LEFT),
            )
            for number, row in enumerate(rows)
        ]
        return self._element("mtable", *lines, displaystyle="true")

    def _element(self, name: str, *children: Any, **attributes: str) -> Any:
        element = self.dom.createElement(name)
        for key, value in attributes.items():
            element.setAttribute(key, value)
        for child in children:
            element.appendChild(self.dom.createTextNode(child) if isinstance(child, str) else child)
        return element

    def _upright(self, letter: str) -> Any:
        return self._element("mi", letter, mathvariant="normal")

    def _brackets(self, *inner: Any) -> Any:
        # in a row of their own: only its first and last sign are set as brackets, without space around them
        row = self._element("mrow", self._element("mo", "("), *inner, self._element("mo", ")"))
        if not any(row.getElementsByTagName(name) for name in TALL):
            for bracket in (row.firstChild, row.lastChild):
                bracket.setAttribute("stretchy", "false")
        return row

    def _call(self, head: Any, arguments: tuple[Any, ...]) -> Any:
        inner: list[Any] = []
        for i, argument in enumerate(arguments):
            inner += ([self._element("mo", ",")] if i else []) + [self._print(argument)]
        return self._element("mrow", head, self._element("mo", APPLY), self._brackets(*inner))

    def _word(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """A function with a name of several letters, off what stands before it."""
        space = self._element("mspace", width="0.17em")
        return self._element("mrow", space, self._call(self._element("mi", name), arguments))

    def parenthesize(self, item: Any, level: int, strict: bool = False) -> Any:
        """In brackets if it binds less than ``level``."""
        precedence = precedence_traditional(item)
        shown = self._print(item)
        return self._brackets(shown) if precedence < level or (precedence == level and not strict) else shown

    def _print_Function(self, expr: sp.Function) -> Any:
        if not isinstance(expr, NamedFunction):
            return self._call(self._print(sp.Symbol(expr.func.__name__)), expr.args)
        letters = [
            self._upright(letter) if letter == "Δ" else self._element("mi", letter)
            for letter in expr.text_name
        ]
        name = self._element("mrow", *letters)
        if isinstance(expr, HermiteCoefficient):
            return self._call(self._element("msub", name, self._print(expr.args[0])), expr.args[1:])
        return self._call(name, expr.args)

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> Any:
        if expr in GLYPHS:
            return self._element("mi", GLYPHS[expr])
        match = NAME.fullmatch(expr.name)
        if match is None:
            return super()._print_Symbol(expr, style)
        base, hat, prime, index = match.groups()
        element = self._element("mi", greek_unicode.get(base, base))
        if hat:
            element = self._element("mover", element, self._element("mo", "^"))
        scripts = []
        if index:
            scripts.append(self._index(index))
        if prime:
            scripts.append(self._element("mo", "′"))
        tag = {(True, True): "msubsup", (True, False): "msub", (False, True): "msup"}
        return self._element(tag[bool(index), bool(prime)], element, *scripts) if scripts else element

    def _index(self, name: str) -> Any:
        parts = [greek_unicode[name]] if name in greek_unicode else re.findall(r"\d+|.", name)
        elements = [
            self._element("mn" if part.isdigit() else "mi" if part.isalpha() else "mo", part)
            for part in parts
        ]
        return elements[0] if len(elements) == 1 else self._element("mrow", *elements)

    def _print_Mul(self, expr: sp.Mul) -> Any:
        """With derivatives, integrals and exponentials behind the fraction bar, not above it in small type."""
        tall = [factor for factor in expr.args if isinstance(factor, sp.Derivative | sp.Integral | sp.exp)]
        # not evaluated: a number would be multiplied into a sum
        rest = sp.Mul._from_args([factor for factor in expr.args if factor not in tall])
        if not tall or (len(tall) > 1 and sp.fraction(rest)[1] == 1):
            return super()._print_Mul(expr)
        last = [self._print(tall[0])] if len(tall) == 1 else [self._brackets(self._print(f)) for f in tall]
        first = {1: [], -1: [self._element("mo", "-")]}.get(rest)
        if first is None:
            first = [
                self._brackets(self._print(rest)) if rest.is_Add else self._print(rest),
                self._element("mspace", width="0.17em"),
            ]
        return self._element("mrow", *first, *last)

    def _print_Derivative(self, expr: sp.Derivative) -> Any:
        def d() -> Any:
            return self._element("mi", "∂") if requires_partial(expr.expr) else self._upright("d")

        order = sum(count for _, count in expr.variable_count)
        below: list[Any] = []
        for variable, count in expr.variable_count:
            below += [d(), self._power(self._print(variable), count)]
        fraction = self._element("mfrac", self._power(d(), order), self._element("mrow", *below))
        body = self._print(expr.expr)
        # a sum or product without brackets: only its first part would seem meant
        bare = expr.expr.is_Add or (expr.expr.is_Mul and sp.fraction(expr.expr)[1] == 1)
        space = [] if bare else [self._element("mspace", width="0.17em")]
        return self._element("mrow", fraction, *space, self._brackets(body) if bare else body)

    def _power(self, base: Any, exponent: Any) -> Any:
        return base if exponent == 1 else self._element("msup", base, self._print(exponent))

    def _print_Order(self, expr: sp.Order) -> Any:
        return self._call(self._element("mi", "O"), (expr.expr,))

    def _print_Relational(self, expr: sp.Basic) -> Any:
        # the printer writes text as it is, so the sign has to be an entity
        sign = {"==": "=", "<": "&lt;", "<=": "&#x2264;", ">": "&gt;", ">=": "&#x2265;"}[expr.rel_op]
        return self._element("mrow", self._print(expr.lhs), self._element("mo", sign), self._print(expr.rhs))

    def _print_gamma(self, expr: sp.Function) -> Any:
        return self._call(self._element("mi", "Γ"), expr.args)

    def _print_log(self, expr: sp.Function) -> Any:
        return self._word("log", expr.args)

    def _print_Max(self, expr: sp.Expr) -> Any:
        return self._word("max", expr.args)

    def _print_KroneckerDelta(self, expr: sp.Function) -> Any:
        return self._element(
            "msub", self._element("mi", "δ"), self._element("mrow", *map(self._print, expr.args))
        )

    def _print_Product(self, expr: sp.Product) -> Any:
        index, low, high = expr.limits[0]
        below = self._element("mrow", self._print(index), self._element("mo", "="), self._print(low))
        sign = self._element("munderover", self._element("mo", "∏"), below, self._print(high))
        return self._element("mrow", sign, self._print(expr.function))

    def _print_Piecewise(self, expr: sp.Piecewise) -> Any:
        rows = []
        for value, condition in expr.args:
            words = self._element("mtext", "otherwise") if condition == sp.true else self._print(condition)
            rows.append(
                self._element("mtr", self._element("mtd", self._print(value)), self._element("mtd", words))
            )
        return self._element("mrow", self._element("mo", "{"), self._element("mtable", *rows))
