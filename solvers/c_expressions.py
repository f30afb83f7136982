"""sigma and sigma' of a module as C: their Python source, one C statement for each of its operations.

Known are formulas in elementwise NumPy and SciPy, tables looked up by ``searchsorted``, local names, constants
of the module or of a closure, and calls of other Python functions.  The text is C11 and CUDA C++, its ``real``
a double, or a float where ``REAL_FLOAT`` is defined; then every quantity beyond 3.4e38 is infinite, those
within a formula as well.  It branches nowhere: with ``FLAGS``, loops over piecewise-linear functions vectorise.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import functools
import inspect
import math
import operator
from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from scipy import special

FLAGS = ("-fno-trapping-math",)  # the values stay; GCC may compute what a condition then drops
PREAMBLE = """\
#ifdef __CUDACC_RTC__
#define INFINITY __int_as_float(0x7f800000)
#else
#include <math.h>
#endif
#ifndef INLINE
#ifdef __CUDACC__
#define INLINE static inline __device__
#else
#define INLINE static inline
#endif
#endif
#ifdef REAL_FLOAT
typedef float real;
#define REAL(function) function##f
#define BEYOND_FLOAT(number) INFINITY
#else
typedef double real;
#define REAL(function) function
#define BEYOND_FLOAT(number) number
#endif
"""
LARGEST_FLOAT = 2.0**128 - 2.0**103  # from here on, a double is infinite as a float
LARGEST_POWER = 12  # by products, which lose half a rounding each; pow is slow, and no loop of it vectorises
OPERATIONS: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    **{ast.Add: ("+", operator.add), ast.Sub: ("-", operator.sub), ast.Mult: ("*", operator.mul)},
    **{ast.Div: ("/", operator.truediv), ast.Pow: ("**", operator.pow)},
    **{ast.Lt: ("<", operator.lt), ast.LtE: ("<=", operator.le)},
    **{ast.Gt: (">", operator.gt), ast.GtE: (">=", operator.ge)},
}
SAME = ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "cbrt", "fabs")
TURNED = ("sin", "cos", "tan", "sinh", "cosh", "tanh")  # and their inverses
# nan stays nan; from 0.5 erfc(-x/sqrt 2) and exp(-|x - y|) no digit is lost in the tails
FORMULAS: dict[Any, str] = {
    **{getattr(np, name): f"REAL({name})({{}})" for name in (*SAME, *TURNED)},
    **{getattr(np, f"a{name}"): f"REAL(a{name})({{}})" for name in TURNED},
    abs: "REAL(fabs)({})",
    np.abs: "REAL(fabs)({})",
    special.erf: "REAL(erf)({})",
    special.erfc: "REAL(erfc)({})",
    special.expm1: "REAL(expm1)({})",
    special.log1p: "REAL(log1p)({})",
    special.expit: "(real)1.0 / ((real)1.0 + REAL(exp)(-{}))",
    special.ndtr: f"(real)0.5 * REAL(erfc)((real){-math.sqrt(0.5)!r} * {{}})",
    np.sign: "{0} < (real)0.0 ? (real)-1.0 : {0} > (real)0.0 ? (real)1.0 : {0}",
    np.maximum: "(({0} < {1}) | ({1} != {1})) ? {1} : {0}",
    np.minimum: "(({0} > {1}) | ({1} != {1})) ? {1} : {0}",
    np.logaddexp: "({0} > {1} ? {0} : {1}) + REAL(log1p)({0} == {1} ? 1 : REAL(exp)(-REAL(fabs)({0} - {1})))",
}


class Untranslatable(Exception):
    """The Python holds something that has no translation here; the message shows it."""


def c_functions(module: ModuleType) -> str:
    """C text that defines ``INLINE real sigma(real z)`` and ``INLINE real sigma_prime(real z)``.

    It holds to ``INLINE`` and ``REAL_FLOAT`` where they are defined before it.  ``REAL(exp)``, that is exp or
    expf, is there for what comes after it.

    Raises
    ------
    Untranslatable
        showing the piece of Python that has no translation here.
    """
    text = PREAMBLE
    for name in ("sigma", "sigma_prime"):
        c = _Statements()
        try:
            result = _text(c.call(getattr(module, name, None), [_Name("z")], {}))
        except (TypeError, ValueError, RecursionError) as error:
            raise Untranslatable(f"{name}: {error}") from error
        # with the brace on its own line, ``declarations`` of solvers.compiled leaves out the head
        text += "\n".join([f"INLINE real {name}(real z)", "{", *c.lines, f"    return {result};", "}", ""])
    return text


@dataclass(frozen=True)
class _Name:
    """A variable in C: a number of type real or, as a truth, an int that is 0 or 1."""

    text: str
    truth: bool = False


class _Statements:
    """C statements, each the name of one operation's result; what occurs twice is named once.

    What depends on z is a ``_Name`` here; numbers, tables, modules and functions are themselves.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[str, _Name] = {}

    def let(self, text: str, truth: bool = False) -> _Name:
        if text not in self._names:
            name = self._names[text] = _Name(f"v{len(self._names)}", truth)
            self.lines.append(f"    const {'int' if truth else 'real'} {name.text} = {text};")
        return self._names[text]

    def call(self, f: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        """What a Python function returns."""
        if not isinstance(f, FunctionType):
            raise TypeError(f"{f!r} is no plain function")
        if f.__name__ == "namespace":  # the array module of its argument
            return f(np.zeros(1))
        bound = inspect.signature(f, follow_wrapped=False).bind(*arguments, **named)
        bound.apply_defaults()
        closure = dict(inspect.getclosurevars(f).nonlocals)
        scope = ChainMap(bound.arguments, closure, f.__globals__, vars(builtins))
        definition = _definition(f)
        body = [ast.Return(definition.body)] if isinstance(definition, ast.Lambda) else definition.body
        for statement in body:
            match statement:
                case ast.Expr(ast.Constant()):
                    pass  # the docstring
                case ast.Assign([ast.Name(name)], value):
                    scope[name] = self.value(value, scope)
                case ast.Assign([ast.Tuple([ast.Name(name), ast.Name(other)])], value):
                    scope[name], scope[other] = self.value(value, scope)
                case ast.Return(ast.expr() as value):
                    return self.value(value, scope)
                case _:
                    raise Untranslatable(ast.unparse(statement))
        raise TypeError(f"{f.__name__} returns nothing")

    def value(self, node: ast.expr, scope: ChainMap[str, Any]) -> Any:
        try:
            value = self._value(node, scope)
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise Untranslatable(f"{ast.unparse(node)}: {error}") from error
        value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        return tuple(value) if isinstance(value, list) else value

    def _value(self, node: ast.expr, scope: ChainMap[str, Any]) -> Any:
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(name):
                return scope[name]
            case ast.Attribute(of, name) if isinstance(module := self.value(of, scope), ModuleType):
                return getattr(module, name)
            case ast.Tuple(entries) | ast.List(entries):
                return _table(tuple(self.value(entry, scope) for entry in entries))
            case ast.Subscript(table, place):
                return self.value(place, scope)(self.value(table, scope))
            case ast.UnaryOp(ast.USub(), of):
                x = self.value(of, scope)
                return -x if isinstance(x, Real) else self.let(f"-{_text(x)}")
            case ast.BinOp(a, sign, b) | ast.Compare(a, [sign], [b]):
                return self._operation(self.value(a, scope), *OPERATIONS[type(sign)], self.value(b, scope))
            case ast.Call(f, arguments, named):
                pairs = {str(keyword.arg): self.value(keyword.value, scope) for keyword in named}
                return self._called(self.value(f, scope), [self.value(a, scope) for a in arguments], pairs)
        raise TypeError("not known here")

    def _operation(self, a: Any, sign: str, of_numbers: Callable[[Any, Any], Any], b: Any) -> Any:
        if isinstance(a, Real) and isinstance(b, Real):
            return of_numbers(a, b)
        if all(isinstance(x, _Name) and x.truth for x in (a, b)):
            raise TypeError("operation of truths")  # True + True is True in NumPy
        if sign == "**":
            return self.power(a, b)
        return self.let(f"{_text(a)} {sign} {_text(b)}", truth=sign[0] in "<>")

    def power(self, a: Any, n: Any) -> Any:
        if isinstance(n, _Name) or abs(n) > LARGEST_POWER or n not in (0.5, int(n)):
            return self.let(f"REAL(pow)({_text(a)}, {_text(n)})")
        if n == 0.5:
            return self.let(f"REAL(sqrt)({_text(a)})")
        if n <= 0:
            return self.let(f"(real)1.0 / {_text(self.power(a, -n))}") if n else 1.0
        if n == 1:
            return a
        half = _text(self.power(a, n // 2))
        square = self.let(f"{half} * {half}")
        return self.let(f"{square.text} * {_text(a)}") if n % 2 else square

    def _called(self, f: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        elementary = f in FORMULAS or getattr(f, "__module__", "") == "math"
        if elementary and all(isinstance(x, Real) for x in arguments):
            with np.errstate(all="ignore"):
                return f(*arguments, **named)
        if f in METHODS:
            return METHODS[f](self, *arguments, **named)
        if f not in FORMULAS:
            return self.call(f, arguments, named)
        if len(arguments) != getattr(f, "nin", 1) or named:
            raise TypeError("not with these arguments")
        return self.let(FORMULAS[f].format(*map(_text, arguments)))

    def clip(self, a: Any, a_min: Any, a_max: Any) -> Any:
        return self._called(np.minimum, [self._called(np.maximum, [a, a_min], {}), a_max], {})

    def where(self, condition: Any, x: Any, y: Any) -> _Name:
        if not (isinstance(condition, _Name) and condition.truth):
            raise TypeError("a condition that is no comparison")
        return self.let(f"{condition.text} ? {_text(x)} : {_text(y)}")

    def asarray(self, a: Any, dtype: Any = float) -> Any:
        if dtype is not float:
            raise TypeError(f"dtype = {dtype!r}")
        return a

    array = asarray

    def full_like(self, a: Any, fill_value: Any, dtype: Any = float) -> Any:
        return self.asarray(fill_value, dtype)

    def interp(self, x: Any, xp: Any, fp: Any) -> Any:
        knots, values = _table(xp), _table(fp)
        if len(knots) == len(values) == 1:
            return values[0]
        if any(left >= right for left, right in pairwise(knots)):
            raise ValueError("the knots do not rise")
        z = _text(x)
        result = f"{z} >= {_text(knots[-1])} ? {_text(values[-1])} : {z}"  # z where it is nan
        pieces = zip(pairwise(knots), pairwise(values), strict=True)
        for (left, right), (low, high) in reversed([*pieces]):
            slope = (high - low) / (right - left)
            line = self.let(f"{_text(slope)} * ({z} - {_text(left)}) + {_text(low)}")
            result = f"{z} < {_text(right)} ? {line.text} : {self.let(result).text}"
        return self.let(f"{z} <= {_text(knots[0])} ? {_text(values[0])} : {self.let(result).text}")

    def searchsorted(self, a: Any, v: Any, side: str = "left") -> Callable[[Any], _Name]:
        """The place is a function, of the table that is looked up there."""
        knots, sign = [*map(_text, _table(a))], {"left": "<=", "right": "<"}[side]
        if list(a) != sorted(a):
            raise ValueError("the table is not sorted")

        def entry(table: Any) -> _Name:
            *entries, last = map(_text, _table(table))
            for knot, below in reversed([*zip(knots, entries, strict=True)]):
                last = self.let(f"{_text(v)} {sign} {knot} ? {below} : {last}").text
            return _Name(last)

        return entry


METHODS: dict[Any, Callable[..., Any]] = {
    getattr(np, name): getattr(_Statements, name)
    for name in ("power", "clip", "where", "asarray", "array", "full_like", "interp", "searchsorted")
}


def _text(x: Any) -> str:
    """C text of a number, fit to stand within any operation."""
    if isinstance(x, _Name):
        return x.text
    if not isinstance(x, Real) or math.isnan(x):
        raise TypeError(f"{x!r} is no number")
    size = abs(float(x))
    text = f"(real){size!r}" if size < LARGEST_FLOAT else f"BEYOND_FLOAT({size!r})"
    text = "INFINITY" if math.isinf(size) else text
    return f"(-{text})" if math.copysign(1.0, x) < 0 else text


def _table(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple) or not value or not all(isinstance(x, Real) for x in value):
        raise TypeError(f"{value!r} is no table of numbers")
    return value


@functools.lru_cache(maxsize=16)
def _parsed(source: str, flags: int) -> tuple[ast.Module, list[CodeType]]:
    """The syntax of a text, and every piece of code in it."""
    made = [compile(source, "", "exec", flags, dont_inherit=True)]
    for outer in made:
        made.extend(constant for constant in outer.co_consts if isinstance(constant, CodeType))
    return ast.parse(source), made


def _definition(f: FunctionType) -> ast.FunctionDef | ast.Lambda:
    """The source of f; none where a later module of its name has taken the lines."""
    code = f.__code__
    try:
        source = "".join(inspect.findsource(f)[0])
        # a text that is executed takes over what its caller imports from __future__
        flags = code.co_flags & __future__.annotations.compiler_flag
        tree, made = _parsed(source, flags)
    except (OSError, SyntaxError) as error:
        raise TypeError(f"{f.__name__} without source: {error}") from error
    for node in ast.walk(tree) if code in made else ():
        match node:
            case ast.FunctionDef(name) if (name, node.lineno) == (code.co_name, code.co_firstlineno):
                return node
            case ast.Lambda(body=x):  # a line may hold several
                if (x.lineno, x.end_lineno, x.col_offset, x.end_col_offset) in code.co_positions():
                    return node
    raise TypeError(f"{f.__name__} without source")
