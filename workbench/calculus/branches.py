"""A function with kinks as smooth branches on intervals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise

import sympy as sp
from sympy.core.relational import Relational

from workbench.errors import BadInput

KINKED = (sp.Abs, sp.sign, sp.Heaviside, sp.Max, sp.Min, sp.Piecewise)


@dataclass(frozen=True)
class Branch:
    """A smooth expression on the interval (low, high)."""

    expression: sp.Expr
    low: sp.Expr
    high: sp.Expr


def branches(f: sp.Expr, t: sp.Symbol) -> list[Branch]:
    """The smooth branches of f from left to right; neighbours with the same expression are joined.

    Raises
    ------
    BadInput
        where the argument of a kinked function is not a polynomial with real roots SymPy can find, or a
        ``Piecewise`` leaves part of the line undefined.
    """
    joined: list[Branch] = []
    for branch in _resolve(f, t, -sp.oo, sp.oo):
        if joined and joined[-1].expression == branch.expression:
            joined[-1] = Branch(branch.expression, joined[-1].low, branch.high)
        else:
            joined.append(branch)
    return joined


def _resolve(f: sp.Expr, t: sp.Symbol, low: sp.Expr, high: sp.Expr) -> list[Branch]:
    nodes = [n for n in f.atoms(*KINKED) if n.has(t)]
    if not nodes:
        return [Branch(f, low, high)]
    # first a node whose own switching is smooth; the others may hide inside its branches
    nodes.sort(key=sp.default_sort_key)
    node = next(n for n in nodes if not any(s.has(*KINKED) for s in _switches(n)))
    roots = {r for switch in _switches(node) for r in _roots(switch, t, node)}
    inside = sorted((r for r in roots if low < r and r < high), key=float)
    result = []
    for a, b in pairwise([low, *inside, high]):
        point = _between(a, b)
        result += _resolve(f.xreplace({node: _branch_at(node, t, point)}), t, a, b)
    return result


def _switches(node: sp.Expr) -> list[sp.Expr]:
    """Expressions whose sign decides between the branches of a node."""
    if isinstance(node, sp.Piecewise):
        return [r.lhs - r.rhs for _, cond in node.args for r in cond.atoms(Relational)]
    if isinstance(node, sp.Max | sp.Min):
        return [a - b for a, b in combinations(node.args, 2)]
    return [node.args[0]]


def _roots(switch: sp.Expr, t: sp.Symbol, node: sp.Expr) -> list[sp.Expr]:
    if not switch.has(t):
        return []
    try:
        poly = sp.Poly(switch, t)
        if poly.degree() == 1:
            slope, constant = poly.all_coeffs()
            roots = [-constant / slope]
        else:
            roots = sp.real_roots(poly, multiple=False)
            roots = [r for r, _ in roots]
    except (sp.PolynomialError, NotImplementedError) as error:
        raise BadInput(
            f"cannot locate the kinks of {node}: {switch} is not a polynomial in {t} with rational coefficients;"
            " write the function as a Piecewise with its breakpoints"
        ) from error
    return [r for r in roots if r.is_real]


def _between(low: sp.Expr, high: sp.Expr) -> sp.Expr:
    """A rational point of the open interval."""
    if low == -sp.oo:
        return sp.S.Zero if high == sp.oo else sp.floor(high) - 1
    if high == sp.oo:
        return sp.floor(low) + 1
    if low.is_Rational and high.is_Rational:
        return (low + high) / 2
    return sp.Rational(str(sp.N((low + high) / 2, 30)))


def _branch_at(node: sp.Expr, t: sp.Symbol, point: sp.Expr) -> sp.Expr:
    """The branch of the node that is active at ``point``."""
    if isinstance(node, sp.Piecewise):
        for expression, cond in node.args:
            if cond.subs(t, point) == sp.true:
                return expression
        raise BadInput(f"{node} is undefined at {t} = {point}: add a last piece (expression, True)")
    if isinstance(node, sp.Max | sp.Min):
        values = [a.subs(t, point) for a in node.args]
        best = max(values) if isinstance(node, sp.Max) else min(values)
        return node.args[values.index(best)]
    positive = node.args[0].subs(t, point) > 0
    if isinstance(node, sp.Abs):
        return node.args[0] if positive else -node.args[0]
    if isinstance(node, sp.sign):
        return sp.S.One if positive else -sp.S.One
    return sp.S.One if positive else sp.S.Zero
