"""From a SymPy expression to its canonical form (``workbench.calculus.atoms``).

A function with kinks is first cut at them: between two kinks it is smooth, and at a kink c it gains
1{t > c} times the difference of its two neighbours.  Each smooth branch is then a sum of products of
t, exp, sin, cos, sinh, cosh, erf, Phi with linear arguments, or a leftover.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sympy as sp

from workbench.activations import PiecewiseLinear, exact
from workbench.calculus.atoms import (
    Function,
    Gate,
    Leftover,
    Shape,
    Sum,
    add,
    atom_expression,
    ordered,
    product,
    stepped,
    support,
)
from workbench.calculus.branches import KINKED, Branch, branches
from workbench.errors import BadInput
from workbench.special import gauss_cdf, gauss_pdf

SMOOTH = (
    *(sp.exp, sp.log, sp.sin, sp.cos, sp.sinh, sp.cosh, sp.tanh, sp.sech, sp.atan, sp.asinh),
    *(sp.erf, sp.erfc, gauss_cdf, gauss_pdf),
)


def parse(f: Any, z: sp.Symbol) -> Function:
    """The canonical form of f(z).

    Raises
    ------
    BadInput
        for symbols other than z, functions that are not known here, values that are not real, kinks
        that cannot be located.
    """
    return _parse(real_expression(f, z), z)


def real_expression(f: Any, z: sp.Symbol) -> sp.Expr:
    """f as an expression of the real variable ``line_variable(z)`` with exact constants."""
    if not isinstance(z, sp.Symbol):
        raise BadInput(f"z = {z!r} is not a Symbol: name the variable of f")
    t = line_variable(z)
    if isinstance(f, PiecewiseLinear):
        return f.expression(t)
    try:
        f = sp.sympify(f)
    except sp.SympifyError as error:
        raise BadInput(f"f = {f!r} is not an expression: give a SymPy expression in {z}") from error
    if not isinstance(f, sp.Expr) or isinstance(f, sp.MatrixBase | sp.MatrixExpr):
        raise BadInput(f"f = {f!r} is not an expression: give a SymPy expression in {z}")
    f = f.xreplace({z: t}).doit()
    f = f.xreplace({x: exact(x, "a constant of f") for x in f.atoms(sp.Float)})
    stray = sorted(str(x) for x in f.free_symbols - {t})
    if stray:
        raise BadInput(
            f"f = {f} holds the symbols {', '.join(stray)} besides {z}: substitute numbers for them"
        )
    if f.has(sp.zoo, sp.nan, sp.oo, -sp.oo):
        raise BadInput(f"f = {f} is not finite")
    if f.has(sp.DiracDelta):
        raise BadInput(
            f"f = {f} holds a Dirac delta: it is the derivative of a discontinuous function, which does not exist"
            " as a function; differentiate the expectation instead"
        )
    for node in f.atoms(sp.Function, sp.Integral, sp.Derivative, sp.Sum):
        if not isinstance(node, (*SMOOTH, *KINKED)):
            known = ", ".join(x.__name__ for x in (*SMOOTH, *KINKED))
            raise BadInput(f"unknown function {node.func.__name__} in f = {f}: known are {known}")
    return f


@lru_cache(maxsize=64)
def line_variable(z: sp.Symbol) -> sp.Symbol:
    """z itself, declared real: sqrt(z**2) is |z|, exp(z) is positive."""
    return sp.Symbol(z.name, real=True)


@lru_cache(maxsize=256)
def _parse(f: sp.Expr, z: sp.Symbol) -> Function:
    t = line_variable(z)
    cut = branches(f, t)
    sums: list[Sum] = []
    leftovers: list[Leftover] = []
    for branch in cut:
        closed, rest = smooth(branch.expression, t)
        sums.append(closed)
        leftovers += [Leftover(e, branch.low, branch.high) for e in rest]
    result: Sum = {}
    for shape in dict.fromkeys(shape for total in sums for shape in total):
        weights = [total.get(shape, sp.S.Zero) for total in sums]
        if shape.rate == 0 and not shape.curvature.is_negative:
            _add_jumps(result, shape, weights, cut)
        else:
            leftovers += _add_intervals(result, shape, weights, cut, t)
    for shape in [s for s in result if s.gated > (2 if s.frequency == 0 else 1)]:
        leftovers.append(Leftover(atom_expression(shape, result.pop(shape), t), *support(shape)))
    _check_real(f, t)
    return Function(t, ordered(result), tuple(_merged(leftovers)))


def _add_jumps(result: Sum, shape: Shape, weights: list[sp.Expr], cut: list[Branch]) -> None:
    """The first weight on the whole line, and its change at every kink: bounded or polynomial atoms."""
    add(result, shape, weights[0])
    for before, after, branch in zip(weights, weights[1:], cut[1:], strict=False):
        for new, c in stepped({shape: after - before}, branch.low).items():
            add(result, new, c)


def _add_intervals(
    result: Sum, shape: Shape, weights: list[sp.Expr], cut: list[Branch], t: sp.Symbol
) -> list[Leftover]:
    """Atoms that grow: every interval gets steps on the side where the atom decays, lest huge tails cancel."""
    runs: list[tuple[sp.Expr, sp.Expr, sp.Expr]] = []
    for weight, branch in zip(weights, cut, strict=True):
        if runs and runs[-1][0] == weight:
            runs[-1] = (weight, runs[-1][1], branch.high)
        else:
            runs.append((weight, branch.low, branch.high))
    aside = []
    for weight, low, high in runs:
        if weight == 0:
            continue
        if low == -sp.oo and high == sp.oo:
            add(result, shape, weight)
        elif shape.curvature.is_negative:
            aside.append(Leftover(atom_expression(shape, weight, t), low, high))
        else:
            side = 1 if high == sp.oo or (low != -sp.oo and shape.rate.is_negative) else -1
            near, far = (low, high) if side > 0 else (high, low)
            for end, sign in ((near, 1), (far, -1)):
                if end.is_finite:
                    for new, c in stepped({shape: sign * weight}, end, side).items():
                        add(result, new, c)
    return aside


def _merged(parts: list[Leftover]) -> list[Leftover]:
    """Neighbouring intervals with the same expression joined, so that no artificial end is left."""
    merged: list[Leftover] = []
    for part in parts:
        for i, other in enumerate(merged):
            if other.expression == part.expression and other.high == part.low:
                merged[i] = Leftover(part.expression, other.low, part.high)
                break
        else:
            merged.append(part)
    return merged


def _check_real(f: sp.Expr, t: sp.Symbol) -> None:
    if f.has(sp.I):
        for point in (sp.Rational(-17, 10), sp.Rational(3, 10), sp.Rational(23, 10)):
            if abs(sp.im(sp.N(f.xreplace({t: point}), 20))) > 1e-15:
                raise BadInput(f"f = {f} is not real at {t} = {point}: give a real function")


def smooth(f: sp.Expr, t: sp.Symbol) -> tuple[Sum, list[Any]]:
    """Atoms and leftover expressions of a smooth expression."""
    total: Sum = {}
    rest: list[Any] = []
    for term in sp.Add.make_args(f):
        closed = _closed(term, t)
        if closed is None:
            wider = sp.expand_mul(term)
            if wider.is_Add and wider != term:
                closed, more = smooth(wider, t)
                rest += more
            else:
                rest.append(term)
                continue
        for shape, c in closed.items():
            add(total, shape, c)
    return total, ([sp.Add(*rest)] if rest else [])


def _closed(f: sp.Expr, t: sp.Symbol) -> Sum | None:
    """The atoms of f, or None where it has no such form."""
    if not f.has(t):
        return {Shape(): f}
    if f == t:
        return {Shape(power=1): sp.S.One}
    if f.is_Add or f.is_Mul:
        parts = [_closed(x, t) for x in f.args]
        if any(p is None for p in parts):
            return None
        total: Sum = {} if f.is_Add else {Shape(): sp.S.One}
        for part in parts:
            assert part is not None
            if f.is_Mul:
                total = product(total, part)
            else:
                for shape, c in part.items():
                    add(total, shape, c)
        return total
    if isinstance(f, sp.exp) or (f.is_Pow and not f.base.has(t)):
        return _exponential(f, t)
    if f.is_Pow:
        inner = _closed(f.base, t)
        if inner is None or not (f.exp.is_Integer and 0 < f.exp <= 64):
            return None
        total = inner
        for _ in range(int(f.exp) - 1):
            total = product(total, inner)
        return total
    return _linear_argument(f, t)


def _exponential(f: sp.Expr, t: sp.Symbol) -> Sum | None:
    exponent = f.args[0] if isinstance(f, sp.exp) else f.exp * sp.log(f.base)
    coefficients = _polynomial(exponent, t)
    if coefficients is None or len(coefficients) > 3:
        return None
    c, b, a = (*coefficients, sp.S.Zero, sp.S.Zero)[:3]
    rate, frequency = b.as_real_imag()
    if not a.is_real:
        return None
    total: Sum = {}
    if frequency == 0:
        return {Shape(rate=rate, curvature=-2 * a): sp.exp(c)}
    add(total, Shape(rate=rate, curvature=-2 * a, frequency=frequency), sp.exp(c))
    return total


def _linear_argument(f: sp.Expr, t: sp.Symbol) -> Sum | None:
    coefficients = _polynomial(f.args[0], t) if len(f.args) == 1 else None
    if coefficients is None or len(coefficients) != 2:
        return None
    b, a = coefficients
    if not (a.is_real and b.is_real):
        return None
    half, total = sp.S.Half, {}
    if isinstance(f, sp.erf | sp.erfc | gauss_cdf):
        root = sp.S.One if isinstance(f, gauss_cdf) else sp.sqrt(2)
        if isinstance(f, sp.erfc):
            a, b = -a, -b
        total = {Shape(gates=(Gate(root * a, root * b),)): sp.S.One if isinstance(f, gauss_cdf) else sp.S(2)}
        if isinstance(f, sp.erf):
            total[Shape()] = -sp.S.One
    elif isinstance(f, gauss_pdf):
        weight = sp.exp(-(b**2) / 2) / sp.sqrt(2 * sp.pi)
        total = {Shape(rate=-a * b, curvature=a**2): weight}
    elif isinstance(f, sp.sin | sp.cos):
        phase = sp.cos(b) + sp.I * sp.sin(b)
        add(total, Shape(frequency=a), phase if isinstance(f, sp.cos) else -sp.I * phase)
    elif isinstance(f, sp.sinh | sp.cosh):
        sign = 1 if isinstance(f, sp.cosh) else -1
        total = {Shape(rate=a): half * sp.exp(b), Shape(rate=-a): sign * half * sp.exp(-b)}
    else:
        return None
    return total


def _polynomial(f: sp.Expr, t: sp.Symbol) -> list[sp.Expr] | None:
    """Coefficients of a polynomial in t, constant first, or None."""
    try:
        poly = sp.Poly(f, t)
    except sp.PolynomialError:
        return None
    return list(reversed(poly.all_coeffs()))
