"""Derivation -> generated module: the last and dumbest stage, printing.

Input: a certified ``Derivation``.  Output: the text of a standalone Python module with the protocol of
V, features, weights, U and their gradients.  The text depends on the derivation alone: the same bytes
for every hash seed at a given SymPy version.
"""

from __future__ import annotations

import hashlib
import inspect
import linecache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from string import Template
from types import ModuleType

import sympy as sp
from sympy.printing.pycode import PythonCodePrinter

from workbench import __version__, numerics
from workbench.derivation import Derivation, derive
from workbench.models import Model
from workbench.module_certificates import certify_module
from workbench.notation import CODE_NAMES, c, k, s
from workbench.special import NamedFunction

_NUMERICS = (
    numerics.namespace,
    numerics.on_host,
    numerics.root,
    numerics.ratio,
    numerics.gauss_pdf,
    numerics.gauss_pdf_delta,
    numerics.gauss_cdf,
    numerics.gauss_cdf_delta,
    numerics.hermite_function,
    numerics.hermite_function_delta,
    numerics.sphere_moment,
    numerics.sphere_moment_delta,
    numerics._sphere_moment_at_zero,
    numerics.stirling,
    numerics.sphere_tail,
    numerics.bvn_survival,
    numerics._bvn_survival,
    numerics.hinge_pair,
    numerics.pair_quadrature,
    numerics.mean_of_pieces,
    numerics.spherical_moment,
    numerics.chi_support,
    numerics.chi_density,
    numerics.chi_rule,
    numerics.chi_pair_average,
)


class ModulePrinter(PythonCodePrinter):
    """Prints expressions in named functions; numbers as the nearest float64, roots of integers by name."""

    def _print_Function(self, expr: sp.Function) -> str:
        assert isinstance(expr, NamedFunction), f"{expr} has no body in workbench.numerics"
        return f"{type(expr).__name__}({', '.join(self._print(a) for a in expr.args)})"

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return CODE_NAMES.get(expr.name, expr.name)

    def _print_Rational(self, expr: sp.Rational) -> str:
        return repr(float(expr))

    def _print_Float(self, expr: sp.Float) -> str:
        return repr(float(expr))

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        if expr.exp == sp.Rational(1, 2):
            return f"root(xp, {self._print(expr.base)})"
        if expr.exp == -sp.Rational(1, 2):
            return f"1/root(xp, {self._print(expr.base)})"
        return str(super()._print_Pow(expr, rational=rational))


def _print(expr: sp.Expr) -> str:
    """Code of one expression; irrational constants become float64 first."""

    def numeric(e: sp.Expr) -> sp.Expr:
        if e.is_number and not e.is_Rational and not e.has(NamedFunction):
            return sp.N(e, 17)
        if isinstance(e, sp.Mul):
            constants = [x for x in e.args if x.is_number and not x.has(NamedFunction)]
            if any(not c.is_Rational for c in constants):
                rest = [numeric(x) for x in e.args if x not in constants]
                return sp.Mul(sp.N(sp.Mul(*constants), 17), *rest)
        return e.func(*(numeric(x) for x in e.args)) if e.args else e

    return str(ModulePrinter({"fully_qualified_modules": False}).doprint(numeric(expr)))


def _scale_function(expr: sp.Expr, scale: sp.Symbol, name: str, expand_scale: bool) -> str:
    """Body of a function of one scale: the ratios t/scale first, then the expression in them."""
    calls = sorted(expr.atoms(NamedFunction), key=str)
    shifts = {call: call.args[-1] * scale for call in calls}  # the argument is t/scale, or 0
    knots = sorted({abs(t) for t in shifts.values() if t.is_Rational and t != 0})
    ratios = {knot: sp.Symbol(f"t{i}_over_{name}") for i, knot in enumerate(knots)}
    origin = sp.Symbol("origin")  # 0 as an array: a value at a constant has to live where the scale lives
    replaced = {
        # unevaluated: the symbols have no sign, and parity was already used on the numbers
        call: call.func(*call.args[:-1], sp.sign(t) * ratios[abs(t)] if t else origin, evaluate=False)
        for call, t in shifts.items()
        if t.is_Rational
    }
    lines = [f"xp, _ = namespace({name})"]
    lines += [f"{symbol} = ratio({_print(knot)}, {name})" for knot, symbol in ratios.items()]
    result = expr.xreplace(replaced)
    if origin in result.free_symbols:
        lines.append("origin = xp.zeros(())")
    axis = "[..., None]" if expand_scale else ""
    if scale in result.free_symbols:
        lines.append(f"{name} = xp.clip({name}, TINY, HUGE){axis}")
    code = _print(result)
    if expand_scale and k not in result.free_symbols:
        code += f" + xp.zeros((*xp.shape({name}), len(k)))"  # the same for every k
    elif not result.free_symbols & {scale, *ratios.values()}:
        code += f" + xp.zeros_like({name}, dtype=float){axis}"  # a constant still has the shape of the scale
    lines.append(f"return {code}")
    return "\n".join("    " + line for line in lines)


def generate(derivation: Derivation, script: str = "") -> str:
    """The text of the generated module; ``script`` is what wrote it, when there is a script."""
    defs, sigma = derivation.definitions, derivation.model.activation
    knots = [float(t) for t in sigma.knots]
    slopes = [float(x) for x in sigma.slopes]
    ends = [float(v) for v in sigma.values]
    body = {
        "name": derivation.model.name,
        "title": f"Mean-field potentials of the model `{derivation.model.name}`.",
        "origin": f"by {script} from a certified derivation; `make derive` writes it anew, do not edit."
        if script
        else "in memory by workbench.build from a certified derivation.",
        "sigma_words": _sigma_words(knots, ends, slopes),
        "knots": _tuple(knots),
        "changes": _tuple([b - a for a, b in pairwise(slopes)]),
        "TINY": repr(numerics.TINY),
        "HUGE": repr(numerics.HUGE),
        "FAR": repr(numerics.FAR),
        "sigma": _sigma_code(knots, ends, slopes),
        "sigma_prime": f'xp.asarray({slopes!r})[xp.searchsorted(xp.asarray(KNOTS), z, side="right")]',
        "q": _scale_function(defs["q"], s, "s", False),
        "q_prime": _scale_function(defs["q_prime"], s, "s", False),
        "a_one": _scale_function(defs["a_one"], s, "s", False),
        "a": _scale_function(defs["a"], s, "s", True),
        "a_prime": _scale_function(defs["a_prime"], s, "s", True),
        "g": _scale_function(defs["g"], c, "c", False),
        "g_prime": _scale_function(defs["g_prime"], c, "c", False),
        "V": _print(derivation.V),
        "grad_V": _print(derivation.grad_V),
        "pair": _print(defs["pair"]),
        "numerics": "\n\n".join(inspect.getsource(f) for f in _NUMERICS).rstrip(),
    }
    template = Template(resources.files("workbench").joinpath("templates/isotropic.txt").read_text("utf-8"))
    digest = hashlib.sha256(template.safe_substitute(body).encode()).hexdigest()
    source = {
        "script": script or "workbench.build",
        "sympy": sp.__version__,
        "workbench": __version__,
        "sha256": digest,
    }
    lines = "".join(f"    {key!r}: {value!r},\n" for key, value in source.items())
    body["source"] = "{\n" + lines.replace("'", '"') + "}"
    return template.substitute(body) + "\n"


def write_module(derivation: Derivation) -> str:
    """Certify and write ``solvers/generated/NAME.py`` of this checkout; return that relative path."""
    relative = f"solvers/generated/{derivation.model.name}.py"
    text = generate(derivation, f"derivations/{derivation.model.name}.py")
    certify_module(load(text, derivation.model.name), derivation)
    (Path(__file__).parents[1] / relative).write_text(text, encoding="utf-8")
    return relative


def build(model: Model) -> ModuleType:
    """Derive ``model``, generate its module, load it and certify it: same protocol as a generated file."""
    derivation = derive(model)
    module = load(generate(derivation), model.name)
    certify_module(module, derivation)
    return module


def load(text: str, name: str) -> ModuleType:
    """A module object from generated text; its lines show in tracebacks."""
    filename = f"<generated {name}>"
    module = ModuleType(name)
    module.__file__ = filename
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename, "exec"), module.__dict__)
    return module


def _tuple(numbers: list[float]) -> str:
    return "(" + ", ".join(map(repr, numbers)) + ("," if len(numbers) == 1 else "") + ")"


def _sigma_code(knots: list[float], values: list[float], slopes: list[float]) -> str:
    code = f"xp.interp(z, xp.asarray(KNOTS), xp.asarray({values!r}))"
    if slopes[0]:
        code += f" + {slopes[0]!r} * xp.minimum(z - {knots[0]!r}, 0.0)"
    if slopes[-1]:
        code += f" + {slopes[-1]!r} * xp.maximum(z - {knots[-1]!r}, 0.0)"
    return code


def _sigma_words(knots: list[float], values: list[float], slopes: list[float]) -> str:
    points = ", ".join(f"({t:g}, {v:g})" for t, v in zip(knots, values, strict=True))
    return f"linear between ({points}) [knot, value]; slope {slopes[0]:g} to the left, {slopes[-1]:g} to the right"
