"""Derivation -> generated module: the last and dumbest stage, printing.

Input: a certified ``Derivation``.  Output: the text of a standalone Python module with the protocol of
V, features, weights, U and their gradients.  The text depends on the derivation alone: the same bytes
for every hash seed at a given SymPy version.
"""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Iterable
from importlib import resources
from itertools import pairwise
from pathlib import Path
from string import Template
from types import ModuleType

import sympy as sp

from workbench import __version__, numerics
from workbench.activation_code import sigma_code, sigma_prime_code
from workbench.activations import PiecewiseLinear
from workbench.closed_forms import ClosedForms, closed_forms
from workbench.code_printer import ScaleFunction, bodies, code, scale_function, sphere_function
from workbench.derivation import Derivation, derive
from workbench.models import Model
from workbench.module_certificates import certify_module, untrusted
from workbench.notation import s

PARTS = ("q", "alpha", "pair")
CLOSED, NUMERIC = "closed form", "quadrature"


def generate(derivation: Derivation, script: str = "", numeric: tuple[str, ...] = ()) -> str:
    """The text of the generated module.

    Parameters
    ----------
    script
        what wrote it, when there is a script.
    numeric
        those of ``PARTS`` that take a quadrature although they have a closed form.
    """
    model = derivation.model
    closed = closed_forms(model, in_code=True)
    sigma = model.activation
    closed_part = {
        "q": closed.q is not None,
        "alpha": closed.general is not None,
        "pair": closed.pair is not None,
    }
    how = {part: CLOSED if closed_part[part] and part not in numeric else NUMERIC for part in PARTS}
    body = {
        "name": model.name,
        "title": f"Mean-field potentials of the model `{model.name}`.",
        "origin": f"by {script} from a certified derivation; `make derive` writes it anew, do not edit."
        if script
        else "in memory by workbench.build from a certified derivation.",
        "model_words": _model_words(model),
        "sigma_words": _sigma_words(model),
        **{f"{part}_words": words for part, words in how.items()},
        "D": str(len(model.coordinates)),
        "B": str(len(model.blocks)),
        "coordinate_words": ", ".join(f"x[..., {i}] = {name}" for i, name in enumerate(model.coordinates)),
        "example": _example(model),
        "coordinates": _tuple(map(repr, model.coordinates)),
        "parameters": _tuple(map(repr, model.parameters)),
        "affine": str(model.affine),
        "shifted": str(model.shifted),
        "blocks": str(len(model.blocks)),
        # nodes along mu converge slowly where a unit's kink is sharp: a finer series would be lost on them
        "target_error": "1e-6" if model.shifted else "1e-10",
        "default_features": "4096" if model.shifted else "1024",
        "restriction": "; it holds for |m| <= 4 radii, see KernelForm" if model.shifted else "",
        "constants": _constants(model),
        "kinks": _tuple(repr(float(t)) for t in sigma.kinks),
        "bends": _tuple(f"({float(t)!r}, {float(width)!r})" for t, width in sigma.bends),
        "wave": repr(float(sigma.wave)),
        "TINY": repr(numerics.TINY),
        "HUGE": repr(numerics.HUGE),
        "FAR": repr(numerics.FAR),
        "sigma": sigma_code(sigma),
        "sigma_prime": sigma_prime_code(sigma),
        "b_is_zero": "" if model.sphere_has_offset else "; b is 0 in this model",
        "q": _q(closed, how),
        "alpha": _alpha(closed, how),
        "g": _g(closed),
        "pair": _pair(closed, how, sigma),
        "data_law": _data_law(model),
    }
    template = Template(resources.files("workbench").joinpath("templates/gaussians.txt").read_text("utf-8"))
    draft = template.substitute(body, source="{}", numerics="")
    body["numerics"] = bodies(draft)
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


def _q(closed: ClosedForms, how: dict[str, str]) -> str:
    if how["q"] == CLOSED:
        return scale_function(closed.q)
    return "    return gaussian_coefficients(sigma, KINKS, BENDS, WAVE, 0, s, b)[..., 0]"


def _alpha(closed: ClosedForms, how: dict[str, str]) -> str:
    if how["alpha"] == CLOSED:
        assert closed.low is not None and closed.general is not None
        return ScaleFunction(s).table(closed.low, closed.general)
    return "    return gaussian_coefficients(sigma_prime, KINKS, BENDS, WAVE, order, s, b)"


def _g(closed: ClosedForms) -> str:
    if closed.g is not None:
        return sphere_function(closed.g, closed.g_scale, closed.g_offset)
    return """    value, _ = sphere_average(sigma, KINKS, BENDS, WAVE, n, c, b)
    by_offset, by_scale = sphere_average(sigma_prime, KINKS, BENDS, WAVE, n, c, b)
    return value, by_scale, by_offset"""


def _pair(closed: ClosedForms, how: dict[str, str], sigma: object) -> str:
    if how["pair"] == NUMERIC:
        return '''def pair_on_host(s: Any, s2: Any, rho: Any, b: Any, b2: Any) -> Any:
    """`pair_kernel` of NumPy arrays, by a nested quadrature."""
    return pair_average(sigma, KINKS, BENDS, WAVE, s, s2, rho, b, b2)'''
    formula = (
        f"""    xp, _ = namespace(s)
    s, s2, b, b2 = (xp.clip(x, -HUGE**0.25, HUGE**0.25) for x in (s, s2, b, b2))
    return {code(closed.pair)}"""
        if not isinstance(sigma, PiecewiseLinear)
        else f"    return {code(closed.pair)}"
    )
    if not isinstance(sigma, PiecewiseLinear):
        return f'''def pair_on_host(s: Any, s2: Any, rho: Any, b: Any, b2: Any) -> Any:
    """`pair_kernel` of NumPy arrays, in closed form."""
    s, s2, rho, b, b2 = np.broadcast_arrays(s, s2, rho, b, b2)
{formula} + np.zeros(s.shape)'''
    return f'''def pair_on_host(s: Any, s2: Any, rho: Any, b: Any, b2: Any) -> Any:
    """`pair_kernel` of NumPy arrays: in closed form, and by quadrature where that would lose ten digits."""
    s, s2, rho, b, b2 = np.broadcast_arrays(s, s2, rho, b, b2)
    steepness = max(TINY, sum(abs(c) for c in SLOPE_CHANGES) ** 2)
    # products of scales and offsets enter the closed form, and leave their rounding behind
    reach, reach2 = (np.minimum(x + np.abs(y), HUGE) for x, y in ((s, b), (s2, b2)))
    large = reach > LARGE_PAIR / steepness / np.maximum(reach2, TINY)
    value = np.empty(s.shape)
    value[~large] = pair_closed_form(*(x[~large] for x in (s, s2, rho, b, b2)))
    wide = np.flatnonzero(large)
    for part in np.array_split(wide, max(1, len(wide) // 256)):
        picked = (np.clip(x.reshape(-1)[part], -HUGE, HUGE) for x in (s, s2, rho, b, b2))
        value.reshape(-1)[part] = pair_quadrature(sigma, KNOTS, SLOPE_CHANGES, *picked)
    return value


def pair_closed_form(s: Any, s2: Any, rho: Any, b: Any, b2: Any) -> Any:
    """E sigma(b + s X) sigma(b2 + s2 Y) through hinge pairs; rounding grows like 1e-16 s s2 times slopes."""
{formula}'''


def _constants(model: Model) -> str:
    sigma = model.activation
    if not isinstance(sigma, PiecewiseLinear):
        return ""
    changes = (repr(float(right) - float(left)) for left, right in pairwise(sigma.slopes))
    return (
        f"KNOTS = {_tuple(repr(float(t)) for t in sigma.knots)}  # of the piecewise-linear sigma\n"
        f"SLOPE_CHANGES = {_tuple(changes)}  # at the knots\n"
        "LARGE_PAIR = 1e6  # of scale scale' (sum |slope changes|)^2, above which the closed form of a pair is given up"
    )


def _data_law(model: Model) -> str:
    """The lines of ``data_law`` after the parameters are read."""
    lines = []
    if model.data == "anisotropic":
        lines.append('s0 = known["s0"]')
        lines.append("rest = math.inf if d == math.inf else d - s0")
    if model.shifted:
        lines.append('mu = known["mu"]')
    informative = "s0" if model.data == "anisotropic" else "d"
    classes = []
    for sign, tau in ((1.0, "tau_plus"), (-1.0, "tau_minus")):
        blocks = [f"({informative}{' - 1' if model.shifted else ''}, {tau}, 0.0)"]
        if model.shifted:
            blocks.insert(0, f"(1, {tau}, {'' if sign > 0 else '-'}mu)")
        if model.data == "anisotropic":
            blocks.append("(rest, 1.0, 0.0)")
        classes.append(f"({sign!r}, 0.5, {_tuple(blocks)})")
    lines.append(f"return {_tuple(classes)}")
    return "\n".join("    " + line for line in lines)


def _model_words(model: Model) -> str:
    mean = "y mu" if model.shifted else "0"
    covariance = "tau_y^2 I_d" if model.data == "isotropic" else "diag(tau_y^2 I_s0, I_(d - s0))"
    unit = "a sigma(<w, x> + b)" if model.affine else "sigma(<w, x>)"
    return f"y = +1 or -1 with probability 1/2, x | y ~ N({mean}, {covariance}); units sigma_* = {unit}."


def _example(model: Model) -> str:
    values = {"d": 40, "s0": 20, "mu": 1.0, "tau_plus": 1.8, "tau_minus": 0.2}
    inside = ", ".join(f'"{name}": {values[name]}' for name in model.parameters)
    return "{" + inside + "}"


def _sigma_words(model: Model) -> str:
    sigma = model.activation
    if not isinstance(sigma, PiecewiseLinear):
        return f"{sigma.name}: {sp.sstr(sigma.formula)}"
    points = ", ".join(
        f"({float(t):g}, {float(v):g})" for t, v in zip(sigma.knots, sigma.values, strict=True)
    )
    left, right = float(sigma.left_slope), float(sigma.right_slope)
    return f"linear between ({points}) [knot, value]; slope {left:g} to the left, {right:g} to the right"


def _tuple(items: Iterable[str]) -> str:
    items = list(items)
    return "(" + ", ".join(items) + ("," if len(items) == 1 else "") + ")"


def quadrature_parts(derivation: Derivation) -> tuple[str, ...]:
    """The parts whose closed form, in float64, misses its certificate and gives way to a quadrature."""
    if isinstance(derivation.model.activation, PiecewiseLinear):
        return ()  # built to hold at every scale: a miss is an error
    return untrusted(load(generate(derivation), derivation.model.name), derivation)


def write_module(derivation: Derivation) -> str:
    """Certify and write ``solvers/generated/NAME.py`` of this checkout; return that relative path."""
    relative = f"solvers/generated/{derivation.model.name}.py"
    text = generate(derivation, f"derivations/{derivation.model.name}.py", quadrature_parts(derivation))
    certify_module(load(text, derivation.model.name), derivation)
    (Path(__file__).parents[1] / relative).write_text(text, encoding="utf-8")
    return relative


def build(model: Model) -> ModuleType:
    """Derive ``model``, generate its module, load it and certify it: same protocol as a generated file."""
    derivation = derive(model)
    module = load(generate(derivation, numeric=quadrature_parts(derivation)), model.name)
    certify_module(module, derivation)
    return module


def load(text: str, name: str) -> ModuleType:
    """A module object from generated text; its lines show in tracebacks."""
    # two modules of one name are two texts: tracebacks and other processes look them up by this
    filename = f"<generated {name} {hashlib.sha256(text.encode()).hexdigest()[:12]}>"
    module = ModuleType(name)
    module.__file__ = filename
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename, "exec"), module.__dict__)
    return module
