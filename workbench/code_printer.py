"""Printing: from expressions in named functions to lines of Python, and which bodies these lines need."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from types import FunctionType

import sympy as sp
from sympy.printing.pycode import PythonCodePrinter

from workbench import averages, numerics
from workbench.calculus import numerics as calculus_numerics
from workbench.notation import CODE_NAMES, b, c, k, s, s2
from workbench.special import NamedFunction

# Elementary functions by their names in the array module.
_ARRAY_NAMES = {
    "exp": "exp",
    "log": "log",
    "sin": "sin",
    "cos": "cos",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "Abs": "abs",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
}
# Two names of one function to the certificates, one body.
_BODY_NAMES = {"bvn_tail": "bvn_survival"}
_ORDERS = sp.Symbol("orders")  # k on the device, a row of integers


class ModulePrinter(PythonCodePrinter):
    """Prints expressions in named functions; numbers as the nearest float64, roots of orders on the host."""

    def _print_Function(self, expr: sp.Function) -> str:
        name = _BODY_NAMES.get(type(expr).__name__, type(expr).__name__)
        arguments = ", ".join(self._print(a) for a in expr.args)
        if name in _ARRAY_NAMES:
            return f"xp.{_ARRAY_NAMES[name]}({arguments})"
        assert isinstance(expr, NamedFunction), f"{expr} has no body"
        if name in ("hermite_function", "hermite_function_delta") and expr.args[0].is_Integer:
            return f"{name}(np.array([{expr.args[0]}]), {self._print(expr.args[1])})[..., 0]"
        return f"{name}({', '.join(map(self._argument, expr.args))})"

    def _argument(self, x: sp.Expr) -> str:
        """t/s in a named function as the safe ratio: at scale 0 the function has reached its limit."""
        for scale in (s, s2):
            if x.has(scale) and not (x * scale).has(scale):
                return f"ratio({self._print(x * scale)}, {self._print(scale)})"
        return str(self._print(x))

    _print_exp = _print_log = _print_sin = _print_cos = _print_asin = _print_acos = _print_atan = (
        _print_Function
    )
    _print_Abs = _print_sinh = _print_cosh = _print_tanh = _print_Function

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return CODE_NAMES.get(expr.name, expr.name)

    def _print_Rational(self, expr: sp.Rational) -> str:
        return repr(float(expr))

    def _print_Float(self, expr: sp.Float) -> str:
        return repr(float(expr))

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        root = "root(xp, {})" if expr.base.free_symbols == {k} else "xp.sqrt({})"
        if expr.exp == sp.Rational(1, 2):
            return root.format(self._print(expr.base))
        if expr.exp == -sp.Rational(1, 2):
            return f"1/{root.format(self._print(expr.base))}"
        return str(super()._print_Pow(expr, rational=rational))


def code(expr: sp.Expr) -> str:
    """Code of one expression; irrational constants become float64 first."""

    def numeric(e: sp.Expr) -> sp.Expr:
        if e.is_number and not e.is_Rational and not e.has(NamedFunction):
            return sp.N(e, 17)
        if isinstance(e, sp.Mul):
            constants = [x for x in e.args if x.is_number and not x.has(NamedFunction)]
            if any(not x.is_Rational for x in constants):
                rest = [numeric(x) for x in e.args if x not in constants]
                return sp.Mul(sp.N(sp.Mul(*constants), 17), *rest)
        return e.func(*(numeric(x) for x in e.args)) if e.args else e

    return str(ModulePrinter({"fully_qualified_modules": False}).doprint(numeric(expr)))


class ScaleFunction:
    """Lines of a function of (scale, b): the safe ratios (t - b)/scale first, then expressions in them."""

    def __init__(self, scale: sp.Symbol) -> None:
        self.scale, self.lines = scale, []  # type: ignore[var-annotated]
        self.ratios: dict[sp.Expr, sp.Symbol] = {}

    def ratio(self, numerator: sp.Expr) -> sp.Expr:
        """The named ratio numerator/scale, up to a sign that is pulled out."""
        sign = (
            -1 if (-numerator in self.ratios or (numerator not in self.ratios and _turned(numerator))) else 1
        )
        if sign * numerator not in self.ratios:
            name = sp.Symbol(f"t{len(self.ratios)}_over_{self.scale.name}")
            self.ratios[sign * numerator] = name
            self.lines.append(f"{name} = ratio({code(sign * numerator)}, {self.scale.name})")
        return sign * self.ratios[sign * numerator]

    def safe(self, expr: sp.Expr) -> sp.Expr:
        """``expr`` with the ratios in its named functions made safe at scale 0 and infinity."""
        calls = sorted(expr.atoms(NamedFunction), key=sp.default_sort_key)
        replaced = {}
        for call in calls:
            x = call.args[-1]
            numerator = x * self.scale
            if x.has(self.scale) and not numerator.has(self.scale):
                # unevaluated: the symbols have no sign, and parity was already used
                replaced[call] = call.func(*call.args[:-1], self.ratio(numerator), evaluate=False)
            elif x.is_number:
                # a value at a constant has to live where the scale lives
                replaced[call] = call.func(
                    *call.args[:-1], x * sp.Symbol("origin") if x else sp.Symbol("origin"), evaluate=False
                )
        return expr.xreplace(replaced)

    def body(self, expr: sp.Expr) -> str:
        """Body of the function with value ``expr``."""
        result = self.safe(expr)
        self._origin(result)
        if self.scale in result.free_symbols:
            self.lines.append(f"{self.scale} = xp.clip({self.scale}, TINY, HUGE)")
        return self.finished(code(result), result)

    def _origin(self, *results: sp.Expr) -> None:
        if any(sp.Symbol("origin") in result.free_symbols for result in results):
            self.lines.append("origin = xp.zeros(())")

    def finished(self, text: str, result: sp.Expr) -> str:
        """The lines, indented, that end in returning ``text``."""
        if not result.free_symbols & {self.scale, *self.ratios.values()}:
            text += (
                f" + xp.zeros({_shape(self.scale, result)})"  # a constant still has the shape of the scale
            )
        return _indented([f"xp, _ = namespace({self.scale})", *self.lines, f"return {text}"])

    def table(self, low: tuple[sp.Expr, ...], general: sp.Expr) -> str:
        """Body of the function with orders: one expression each below len(low), ``general`` in k from there."""
        name = self.scale.name
        low, general = tuple(map(self.safe, low)), self.safe(general)
        self._origin(*low, general)
        self.lines.append(f"shape = (xp.zeros_like({name}, dtype=float) + b).shape")
        if self.scale in sp.Tuple(*low, general).free_symbols:
            self.lines.append(f"{name} = xp.clip({name}, TINY, HUGE)")
        if low:
            first = [f"xp.broadcast_to(xp.asarray({code(e)}), shape)" for e in low]
            self.lines.append(f"low = xp.stack([{', '.join(first)}], axis=-1)")
            self.lines.append(f"if order < {len(low)}:")
            self.lines.append("    return low[..., : order + 1]")
        self.lines.append(f"k = np.arange({len(low)}, order + 1)")
        # rows over k: the last axis of what depends on k; everything else gets one more axis
        rows = sorted((x for x in general.atoms(NamedFunction) if x.args[0].has(k)), key=sp.default_sort_key)
        named = {}
        for i, call in enumerate(rows):
            named[call] = sp.Symbol(f"row{i}")
            order, x = call.args
            if type(call).__name__ == "root_poisson":
                arguments = f"xp.asarray({code(order)}), xp.asarray({code(x)})[..., None]"
            else:
                arguments = f"{code(order)}, xp.asarray({code(x)})"
            self.lines.append(f"row{i} = {type(call).__name__}({arguments})")
        general = general.xreplace(named)
        columns = {s: f"{name}", b: "b", **{x: x.name for x in self.ratios.values()}}
        for symbol, text in columns.items():
            if symbol in general.free_symbols:
                self.lines.append(f"{text} = xp.asarray({text})[..., None]")
        general = general.xreplace({k: _ORDERS}) if not _only_roots(general) else general
        if _ORDERS in general.free_symbols:
            self.lines.append("orders = xp.asarray(k)")
        self.lines.append(f"high = xp.broadcast_to(xp.asarray({code(general)}), (*shape, len(k)))")
        joined = "xp.concatenate([low, high], axis=-1)" if low else "high"
        return _indented([f"xp, _ = namespace({name})", *self.lines, f"return {joined}"])


def _only_roots(expr: sp.Expr) -> bool:
    """Whether k occurs only below square roots, which are taken on the host."""
    half = sp.Rational(1, 2)
    return not expr.replace(
        lambda e: e.is_Pow and e.exp in (half, -half) and e.base.free_symbols == {k}, lambda e: sp.S.One
    ).has(k)


def _turned(numerator: sp.Expr) -> bool:
    """Whether a numerator is better named by its negative: knots are written t - b, constants > 0."""
    if numerator.is_number:
        return bool(numerator < 0)
    return bool(numerator.coeff(b) > 0) and numerator != b


def _shape(scale: sp.Symbol, result: sp.Expr) -> str:
    return f"xp.shape({scale} + b)" if b in result.free_symbols else f"xp.shape({scale})"


def _indented(lines: list[str]) -> str:
    return "\n".join("    " + line for line in lines)


def scale_function(expr: sp.Expr) -> str:
    """Body of a function of s and b."""
    return ScaleFunction(s).body(expr)


def sphere_function(*exprs: sp.Expr) -> str:
    """Body of a function of (n, c, b) with several values."""
    function = ScaleFunction(c)
    results = [function.safe(e) for e in exprs]
    function._origin(*results)
    lines = [f"xp, _ = namespace({c})", *function.lines, "zero = xp.zeros(xp.shape(c + b))"]
    if any(c in e.free_symbols for e in results):
        lines.append("c = xp.clip(c, TINY, HUGE)")
    values = ", ".join(f"{code(e)} + zero" for e in results)
    return _indented([*lines, f"return {values}"])


def bodies(text: str) -> str:
    """Source of the numeric bodies that ``text`` calls, and of those that they call, in a fixed order."""
    library = _library()
    defined = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    wanted, fresh = set(), _names(text) & library.keys() - defined
    while fresh:
        wanted |= fresh
        fresh = set().union(*(_names(inspect.getsource(library[name])) for name in fresh))
        fresh = fresh & library.keys() - wanted - defined
    return "\n\n".join(inspect.getsource(library[name]) for name in library if name in wanted).rstrip()


@cache
def _library() -> dict[str, FunctionType]:
    """The numeric bodies by name, in reading order."""
    found: dict[str, FunctionType] = {}
    for module in (numerics, calculus_numerics, averages):
        for name, function in vars(module).items():
            function = inspect.unwrap(function) if callable(function) else function
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                assert name not in found, f"two bodies named {name}"
                found[name] = function
    return found


def _names(text: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
