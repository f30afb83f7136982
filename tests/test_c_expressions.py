"""C text of activations: compiled, it computes what the Python does; what it does not know, it refuses."""

from __future__ import annotations

import functools
import inspect
import itertools
import linecache
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from string import Template
from types import ModuleType
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from scipy import special

from solvers import compiled
from solvers.c_expressions import FLAGS, FORMULAS, METHODS, PREAMBLE, Untranslatable, c_functions
from solvers.generated import (
    anisotropic_relu,
    isotropic_erf,
    isotropic_nonmonotone,
    isotropic_tanh,
    isotropic_truncated_relu,
)
from workbench import (
    AbsoluteValue,
    Activation,
    Erf,
    Gelu,
    HardTanh,
    LeakyReLU,
    Logistic,
    PiecewiseLinear,
    Polynomial,
    ReLU,
    Silu,
    Sine,
    Softplus,
    SquaredReLU,
    Tanh,
    nonmonotone,
    numerics,
    truncated_relu,
)
from workbench.activation_code import sigma_code, sigma_prime_code
from workbench.codegen import load

z = sp.Symbol("z")
WHICH = ("sigma", "sigma_prime")
CC = os.environ.get("CC", "cc")
rng = np.random.default_rng(7)


def zigzag(count: int) -> PiecewiseLinear:
    knots = np.sort(rng.normal(0, 2, count)).round(3) + 1e-4 * np.arange(count)
    left, right = rng.normal(size=2)
    return PiecewiseLinear(knots.tolist(), rng.normal(0, 3, count).tolist(), float(left), float(right))


LINEAR: dict[str, PiecewiseLinear] = {
    "relu": ReLU(),
    "leaky": LeakyReLU(0.1),
    "modulus": AbsoluteValue(),
    "hard tanh": HardTanh(),
    "truncated relu": truncated_relu(),
    "nonmonotone": nonmonotone(),
    **{f"{count} knots": zigzag(count) for count in (1, 2, 5, 17, 150)},
}
FORMULAE: dict[str, Any] = {
    "line": 2 * z + 1,
    "sine and line": sp.sin(z) + z / 2,
    "tanh squared": sp.tanh(z) ** 2,
    "softplus bump": sp.log(1 + sp.exp(z)) * sp.exp(-(z**2) / 2),
    "square bump": z**2 * sp.exp(-(z**2) / 2),
    "swelling bump": z**7 * sp.exp(-(z**2) / 2),
    "cosine bump": sp.cos(3 * z) * sp.exp(-(z**2)),
    "lorentz": z / (1 + z**2),
    "softsign": z / (1 + sp.Abs(z)),
    "elu": sp.Piecewise((sp.exp(z) - 1, z < 0), (z, True)),
    "pieces": sp.Piecewise((z**2, z < 0), (sp.sin(z), z < 2), (sp.sin(2), True)),
    "hinges and tanh": sp.Max(z + 1, 0) - 2 * sp.Max(z - sp.Rational(1, 3), 0) + sp.tanh(z),
    "irrational knots": sp.Max(z, z**2 - 1),
    "atan": sp.atan(z),
    "asinh": sp.asinh(z),
    "log": sp.log(1 + z**2),
    "log cosh": sp.log(sp.cosh(z)),
    "mish": z * sp.tanh(sp.log(1 + sp.exp(z))),
    "erf of a cube": sp.erf(z**3),
    "complement": sp.erfc(z),
    "powers of two": 1 / (1 + 2 ** (-z)),
    "cube root": (1 + z**2) ** sp.Rational(1, 3),
    "odd root": (1 + z**2) ** sp.Rational(-3, 2),
    "cosh": sp.cosh(z),
    "septic": z**7 - 3 * z**5 + z / 3 - 1,
    "tanh by exponentials": (sp.exp(z) - sp.exp(-z)) / (sp.exp(z) + sp.exp(-z)),
}
ACTIVATIONS: dict[str, Any] = {
    **LINEAR,
    **{f.__name__: f() for f in (Erf, Gelu, Logistic, Silu, Sine, Softplus, SquaredReLU, Tanh)},
    "polynomial": Polynomial([0.3, -1, 0, 2.5, 0.1, 0, -0.7, 0.01]),
    "constant": Polynomial([2]),
    **{name: Activation.from_expr(formula, z) for name, formula in FORMULAE.items()},
}
LARGEST_TERM = {"swelling bump": 100.0}  # of a sum that cancels, where it is more than 1
FLOAT_REACH = {"tanh by exponentials": 40.0}  # beyond, the square of e^z is infinite as a float

numbers = itertools.count()
text = resources.files("workbench").joinpath("templates/gaussians.txt").read_text("utf-8")
BODY = Template(text[text.index("def sigma(") : text.index("def q(")])
HEAD = "from __future__ import annotations\nimport math\nfrom typing import Any\nimport numpy as np\nfrom scipy import special"


def module_of(sigma: str, sigma_prime: str = "z", constants: str = "", name: str = "") -> ModuleType:
    """What codegen makes of a model, as far as the activation goes."""
    parts = HEAD, constants, inspect.getsource(numerics.namespace)
    body = BODY.substitute(sigma=sigma, sigma_prime=sigma_prime)
    return load("\n\n".join([*parts, body]), name or f"c_expressions_{next(numbers)}")


def module_with(activation: Any) -> ModuleType:
    knots = (float(x) for x in activation.knots) if isinstance(activation, PiecewiseLinear) else ()
    return module_of(sigma_code(activation), sigma_prime_code(activation), f"KNOTS = {tuple(knots)!r}")


def source_of(modules: list[ModuleType], number: str, text: Callable[[ModuleType], str] = c_functions) -> str:
    """C functions f0, f0_prime, f1, ... (int n, const number *z, number *out), each loop on a line of its own."""
    source = PREAMBLE
    for i, module in enumerate(modules):
        source += text(module).removeprefix(PREAMBLE).replace("sigma", f"inner{i}")
        for which in ("", "_prime"):
            arrays = f"const {number} *restrict z, {number} *restrict out"
            source += f"void f{i}{which}(int n, {arrays}) {{\n"
            source += f"    for (int i = 0; i < n; i++) out[i] = inner{i}{which}(z[i]);\n}}\n"
    return source


class Compiled:
    """The activations of modules in C: ``functions(name, which, z)``, in the precision of z."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self.modules = modules
        self._libraries: dict[Any, compiled.Library] = {}

    def __call__(self, name: str, which: str, points: np.ndarray) -> np.ndarray:
        if points.dtype not in self._libraries:
            number, flags = ("double", ()) if points.dtype == float else ("float", ("-DREAL_FLOAT",))
            source = source_of([*self.modules.values()], number)
            self._libraries[points.dtype] = compiled.load(source, (*FLAGS, "-Wall", "-Werror", *flags))
        library, out = self._libraries[points.dtype], np.empty_like(points)
        f = f"f{[*self.modules].index(name)}{which.removeprefix('sigma')}"
        getattr(library.lib, f)(len(points), library.pointer(points), library.pointer(out))
        return out

    def python(self, name: str, which: str, points: np.ndarray) -> np.ndarray:
        points = points.astype(float)
        with np.errstate(all="ignore"):
            return np.broadcast_to(getattr(self.modules[name], which)(points), points.shape)

    def check(self, name: str, which: str, points: np.ndarray, term: float = 1.0) -> None:
        """Equal up to roundings of the result, or of the largest term in a sum that cancels.

        Sums, products and roots are rounded alike.  What is left is 1 to 4 roundings in each function of C
        and of NumPy, 11 at most in a power, and what a product of some of them makes of these.
        """
        got, wanted = self(name, which, points), self.python(name, which, points)
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(got[~finite], wanted[~finite])
        bound = 16 * 2.0**-52 * np.maximum(term, np.abs(wanted[finite]))
        assert (np.abs(got[finite] - wanted[finite]) <= bound).all()

    def check_float(self, name: str, which: str, points: np.ndarray, term: float = 1.0) -> None:
        """Equal up to what a few roundings of the argument, and of the result as above, amount to."""
        points = points.astype(np.float32)
        got, wanted = self(name, which, points).astype(float), self.python(name, which, points)
        finite = np.abs(wanted) < 1e38
        assert (np.isnan(wanted) == np.isnan(got)).all() and np.isfinite(got[finite]).all()
        shifted = [self.python(name, which, points.astype(float) * (1 + s * 2.0**-22)) for s in (-1, 1)]
        bound = sum(np.abs(f[finite] - wanted[finite]) for f in shifted)
        bound += 2.0**-23 * np.maximum(term, np.abs(wanted[finite]))
        assert (np.abs(got[finite] - wanted[finite]) <= 4 * bound).all()


def points_around(kinks: Any, reach: float = np.inf) -> np.ndarray:
    """Dense, of every size up to the reach, at kinks and next to them, and what is no number."""
    sizes = 1.37 * 10.0 ** np.arange(-300.0, 301.0, 5.0)
    sizes = sizes[sizes < reach]
    places = np.array([float(k) for k in kinks])
    around = [places, np.nextafter(places, np.inf), np.nextafter(places, -np.inf)]
    odd = [0.0, -0.0, np.nan, *((np.inf, -np.inf) if reach == np.inf else ())]
    return np.concatenate([np.linspace(-30, 30, 6001), sizes, -sizes, *around, odd])


@pytest.fixture(scope="module")
def functions() -> Compiled:
    return Compiled({name: module_with(activation) for name, activation in ACTIVATIONS.items()})


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(functions: Compiled, name: str, which: str) -> None:
    points = points_around(ACTIVATIONS[name].kinks)
    functions.check(name, which, points, LARGEST_TERM.get(name, 1.0))
    if name in LINEAR:  # then sums and products are all there is
        np.testing.assert_array_equal(functions(name, which, points), functions.python(name, which, points))


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_in_float(functions: Compiled, name: str, which: str) -> None:
    places = np.array([float(k) for k in ACTIVATIONS[name].kinks], np.float32)
    around = [np.nextafter(places, np.float32(side)) for side in (-np.inf, np.inf)]
    points = np.concatenate([points_around((), FLOAT_REACH.get(name, 1e16)), places, *around])
    functions.check_float(name, which, points, LARGEST_TERM.get(name, 1.0))


def test_a_kink_takes_the_slope_to_the_right(functions: Compiled) -> None:
    at = np.array([np.nextafter(1.5, 0), 1.5])
    assert functions("truncated relu", "sigma_prime", at).tolist() == [10, 0]
    assert functions("truncated relu", "sigma_prime", at.astype(np.float32)).tolist() == [0, 0]
    assert functions("elu", "sigma_prime", np.array([-1e-300, 0.0, -0.0])).tolist() == [1, 1, 1]
    assert functions("pieces", "sigma_prime", np.array([-0.5, 0.0])).tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("name", "which", "low", "high", "condition"),
    [
        ("Logistic", "sigma", -700, -1, lambda x: 1),
        ("Softplus", "sigma", -700, -1, lambda x: 1),
        ("Tanh", "sigma_prime", 1, 350, lambda x: 1),
        ("Tanh", "sigma", 1e-300, 1, lambda x: 1),
        ("Erf", "sigma", 1e-300, 1, lambda x: 1),
        ("elu", "sigma", -1, -1e-300, lambda x: 1),
        # erfc(x/sqrt 2) falls like exp(-x^2/2): the rounding of its argument counts x^2 times
        ("Gelu", "sigma", -37, -1, lambda x: 1 + x**2),
        ("complement", "sigma", 1, 26, lambda x: 1 + x**2),
    ],
)
def test_tails_are_relatively_accurate(
    functions: Compiled, name: str, which: str, low: float, high: float, condition: Any
) -> None:
    points = np.concatenate(
        [np.linspace(low, high, 999), np.sign(high) * np.geomspace(abs(low), abs(high), 99)]
    )
    got, wanted = functions(name, which, points), functions.python(name, which, points)
    assert (np.abs(got - wanted) <= 8 * 2.0**-52 * condition(points) * np.abs(wanted)).all()
    single = points.astype(np.float32)
    got, wanted = functions(name, which, single), functions.python(name, which, single)
    normal = np.abs(wanted) > 1e-36
    bound = 4 * 2.0**-23 * (condition(points) + np.abs(points)) * np.abs(wanted)
    assert (np.abs(got - wanted) <= bound)[normal].all() and normal.sum() > 50


def test_the_distribution_function_is_as_good_as_its_argument_allows(functions: Compiled) -> None:
    points = -np.linspace(0.01, 37, 200)
    with mp.workdps(40):
        wanted = [mp.mpf(x) * mp.erfc(-mp.mpf(x) / mp.sqrt(2)) / 2 for x in points]
        errors = [
            float(abs(g / w - 1)) for g, w in zip(functions("Gelu", "sigma", points), wanted, strict=True)
        ]
    assert (np.array(errors) <= 2.0**-51 * (1 + points**2)).all()


@pytest.mark.parametrize("which", WHICH)
def test_committed_modules(which: str) -> None:
    modules = [
        anisotropic_relu,
        isotropic_truncated_relu,
        isotropic_nonmonotone,
        isotropic_erf,
        isotropic_tanh,
    ]
    functions = Compiled({module.NAME: module for module in modules})
    for module in modules:
        functions.check(module.NAME, which, points_around(module.KINKS))


TWO = 2
KNEES = [-1, 0.5, 2]
HEIGHTS = np.array([0.0, 1.0, -1.0])


def bell(x: Any, width: Any = 3.0) -> Any:
    x = x / width
    return np.exp(-0.5 * x * x) / math.sqrt(TWO * math.pi)


def by_hand(z: Any) -> Any:
    """Left of a knot, local names, constants of the module, defaults, truths in sums.

    More lines.
    """
    steps = np.array([0, 1.0 / 3.0, -TWO, 3])[np.searchsorted(KNEES, z)]
    bent = np.interp(bell(x=z, width=0.5), (0, 0.1, TWO / 3), HEIGHTS)
    positive = z > bell(0.25)
    return steps + bent * bell(z) - (positive + 1.5) * np.sign(z)


def raised(f: Any) -> Any:
    def inner(z: Any, width: float = 0.5) -> Any:
        return 1.0 + f(z, width)

    return functools.update_wrapper(inner, f)


SLOPE = math.nan


def made_module(SLOPE: float) -> ModuleType:
    module = ModuleType("made")
    vars(module).update(
        sigma=lambda z: SLOPE * np.maximum(z, 0.0) + np.clip(z, -bell(z), SLOPE**-0.5),
        sigma_prime=lambda z: SLOPE * (np.asarray(z) > 0),
    )
    return module


def test_modules_by_hand() -> None:
    first, second = made_module(0.3), made_module(2.0)
    third, fourth = ModuleType("third"), ModuleType("fourth")
    vars(third).update(sigma=by_hand, sigma_prime=lambda z, by=-0.25: z > by)
    vars(fourth).update(sigma=raised(bell), sigma_prime=lambda z: -TWO)  # fmt: skip
    functions = Compiled({"first": first, "second": second, "third": third, "fourth": fourth})
    for name in functions.modules:
        for which in WHICH:
            functions.check(name, which, points_around(KNEES))


POWERS = (-3, -2, -1, -0.5, 0, 0.5, 1, 2, 2.5, 3, 5, 7, 12, 13, 64)
PAIRS = ("z, 0.3", "-0.3, z", "z, 1.0 - z", "z, xp.sqrt(z)", "xp.sqrt(z), z")
LINES = [
    *(f"z**{n}" for n in POWERS),
    *("2.0**z", "z**z", "xp.power(z, 3)", "xp.power(0.1, -z)", "z - -z**2", "2 / -(z * 3 + 1) - 1"),
    *(f"xp.where(z {sign} 0.5, -z, xp.full_like(z, 3))" for sign in ("<", "<=", ">", ">=")),
    *("xp.clip(z, -1.5, 0.5)", "xp.clip(z, 2.0, 1.0)", "xp.clip(xp.sqrt(z), z, 1e-3 + z)"),
    *("xp.clip(xp.asarray(z, dtype=float), -xp.inf, 1e300)", "xp.full_like(z, -1e-300, dtype=float)"),
    *(f'xp.asarray([1, -2.5, 3])[xp.searchsorted(xp.asarray((0.5, 0.5)), z, side="{side}")]' for side in ("left", "right")),
    *(f"xp.interp(z, [{knots}], xp.asarray([{knots}]) )" for knots in ("0.5", "0.1, 0.3, 0.7")),
    "xp.interp(z, xp.asarray([-1, 0.5]), [TWO, math.exp(1)]) + xp.exp(2.0) + xp.maximum(-1.0, 3)",
    *("xp.interp(x=z, xp=[0, 1], fp=[0, 2])", "z * (z > 0) + (z < 1) / TWO - (z > 2)"),
    "abs(z)",
]  # fmt: skip


def test_operations() -> None:
    """Every function that is known, every power, and what else there is in one line."""
    lines = list(LINES)
    for f in FORMULAS:
        if f is not abs:
            home = "sp" if getattr(special, f.__name__, None) is f else "xp"
            lines += [f"{home}.{f.__name__}({arguments})" for arguments in (("z",) if f.nin == 1 else PAIRS)]
    assert all(any(f"xp.{f.__name__}(" in line for line in lines) for f in METHODS if f is not np.array)
    pairs = zip(lines[::2], [*lines[1::2], "z"], strict=False)
    modules = {sigma: module_of(sigma, sigma_prime, "TWO = 2") for sigma, sigma_prime in pairs}
    functions = Compiled(modules)
    for name in modules:
        for which in WHICH:
            functions.check(name, which, points_around([0.5, 0.1, 0.7, -1, 1, 2]))


HUGE = "xp.minimum(xp.where(z > 1e39, 1.0, 2.0) * z, 1e300) - xp.maximum(z, -3.5e38) + xp.minimum(1e-300, z + 3.4e38)"


def test_numbers_beyond_float_are_infinite() -> None:
    cut = module_of("1e200 * xp.tanh(z)", "xp.clip(z, -1e39, 1e39)")
    functions = Compiled({"cut": cut, "more": module_of(HUGE)})
    at = np.array([-np.inf, -1.0, 2.0, np.inf])
    single = at.astype(np.float32)
    assert functions("cut", "sigma_prime", at).tolist() == [-1e39, -1, 2, 1e39]
    assert functions("cut", "sigma", single).tolist() == [-np.inf, -np.inf, np.inf, np.inf]
    assert functions("cut", "sigma_prime", single).tolist() == single.tolist()
    assert functions("more", "sigma", single[1:3]).tolist() == [-1, 2]
    functions.check("more", "sigma", at)


def test_a_number_is_beyond_float_where_it_rounds_to_infinity() -> None:
    middle = 2.0**128 - 2.0**103  # of the largest float and what would be the next
    text = c_functions(module_of(f"z * {middle!r}", f"z / -{math.nextafter(middle, 0)!r}"))
    assert f"z * BEYOND_FLOAT({middle!r});" in text and f"z / (-(real){math.nextafter(middle, 0)!r});" in text


def test_small_powers_are_products() -> None:
    for n in (2.0, -2.0, 12.0, -12.0):
        assert "pow" not in c_functions(module_of(f"z**{n}"))
    for n in (13.0, -13.0, 1.5, -0.5):
        assert f"REAL(pow)(z, {'(-' * (n < 0)}(real){abs(n)!r}" in c_functions(module_of(f"z**{n}"))


def test_float_is_float_throughout() -> None:
    """No compiler here minds a cast of 1e39 to float, but that of CUDA does."""
    text = c_functions(module_of("1e200 * xp.tanh(z)", HUGE))
    command = [CC, "-E", "-P", "-DREAL_FLOAT", "-x", "c", "-"]
    seen = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    assert "tanhf(z)" in seen and " tanh(z)" not in seen
    assert "3.4e+38" in seen and not any(f"{number}" in seen for number in (1e39, 3.5e38, 1e200, 1e300))


UNKNOWN = [
    ("xp.floor(2 * z) + 1", r"xp.floor\(2 \* z\): .*floor"),
    ("z.clip(0, 1)", r"z.clip: not known here"),
    ("1 + xp.nothing(z)", r"xp.nothing: .*nothing"),
    ("nothing * z", r"nothing: .*nothing"),
    ("math.exp(z)", r"math.exp\(z\): .*exp"),
    ("xp.exp(z, z)", r"xp.exp\(z, z\): not with these arguments"),
    ("xp.exp(z, where=z > 0)", r"xp.exp\(.*not with these arguments"),
    ("xp.interp(z, [0, 1], [0, 1], left=2)", r"xp.interp\(.*left"),
    ("xp.interp(z, [0, 0], [0, 1])", r"xp.interp\(.*do not rise"),
    ("xp.interp(z, [0, 1], [0, 1, 2])", r"xp.interp\(.*"),
    ("xp.interp(z, [0], [0, 1])", r"xp.interp\(.*"),
    ("xp.interp(z, z, [1])", r"xp.interp\(.*no table"),
    ("xp.asarray([0, 1, 2])[xp.searchsorted([1, 0], z)]", r"searchsorted\(.*not sorted"),
    ("xp.asarray([0, 1])[xp.searchsorted([0, 1], z)]", r"\[xp.searchsorted\(.*"),
    ("xp.asarray([0, 1])[xp.searchsorted([0], z, side='middle')]", r"searchsorted\(.*middle"),
    ("xp.asarray([0, 1])[0] * z", r"asarray\(\[0, 1\]\)\[0\]: .*not callable"),
    ("1 + xp.searchsorted([0], z)", r"1 \+ xp.searchsorted\(.*is no number"),
    ("xp.asarray([z, 1.0])[xp.searchsorted([0], z)]", r"\[z, 1.0\]: .*no table of numbers"),
    ("xp.asarray([])[xp.searchsorted([0], z)]", r"\[\]: .*no table of numbers"),
    ("xp.where(z, 1.0, 2.0)", r"xp.where\(z, .*: a condition that is no comparison"),
    ("xp.where(True, z, 2.0)", r"xp.where\(True, .*: a condition that is no comparison"),
    ("(z > 0) + (z > 1)", r"\(z > 0\) \+ \(z > 1\): operation of truths"),
    ("-1 < z < 1", r"-1 < z < 1: not known here"),
    ("1.0 if z > 0 else 0.0", r"1.0 if z > 0 else 0.0: not known here"),
    ("z % 2", r"z % 2: .*Mod"),
    ("z == 2", r"z == 2: .*Eq"),
    ("z * math.sqrt(-1.0)", r"math.sqrt\(-1.0\): .*"),
    ("z * xp.sqrt(-1.0)", r"z \* xp.sqrt\(-1.0\): nan is no number"),
    ("z * (-1.0)**0.5", r"z \* \(-1.0\) \*\* 0.5: .*j\) is no number"),
    ("z * 1j", r"z \* 1j: 1j is no number"),
    ("z + 1 / 0", r"1 / 0: .*zero"),
    ("z * 10**400", r"z \* 10 \*\* 400: .*too large"),
    ("xp.full_like(z, 2.5, dtype=int)", r"full_like\(.*dtype"),
    ("xp.asarray(z, xp.float32)", r"asarray\(.*dtype"),
    ("helper(z)", r"y \+= 1"),
    ("helper(z, 3)", r"helper\(z, 3\): .*argument"),
    ("circle(z)", r"recursion"),
    ("empty(z)", r"empty\(z\): empty returns nothing"),
    ("silent(z)", r"^return$"),
    ("(lambda y: y)(z)", r"^lambda y: y: not known here"),
]
HELPERS = """
def helper(y):
    y += 1
    return y


def empty(y):
    "Nothing."


def silent(y):
    return


def unequal(y):
    a, b = 1, 2, 3
    return y


def circle(y):
    return other(y)


def other(y):
    return circle(y)
"""


@pytest.mark.parametrize(("line", "message"), UNKNOWN, ids=[line for line, _ in UNKNOWN])
def test_the_unknown_is_refused_and_shown(line: str, message: str) -> None:
    with pytest.raises(Untranslatable, match=message):
        c_functions(module_of("z", line, HELPERS))


@lambda f: f
def decorated(z: Any) -> Any:
    return z


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (np.tanh, "sigma: <ufunc 'tanh'> is no plain function"),
        (None, "sigma: None is no plain function"),
        (functools.partial(by_hand), "sigma: .*partial.* is no plain function"),
        (eval(compile("lambda z: z", "<nowhere>", "eval")), "sigma: <lambda> without source: "),
        (decorated, "sigma: decorated without source"),
        (lambda: 1.0, "sigma: too many positional arguments"),
        (vars(module_of("z", constants=HELPERS))["unequal"], "sigma: too many values to unpack"),
    ],
    ids=["ufunc", "nothing", "partial", "evaluated", "decorated", "no argument", "unequal"],
)
def test_functions_without_a_source_of_their_own_are_refused(sigma: Any, message: str) -> None:
    module = ModuleType("module")
    vars(module).update(sigma=sigma)
    with pytest.raises(Untranslatable, match=message):
        c_functions(module)


def test_the_source_is_that_of_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text may be replaced, and lambdas share their line."""
    first = module_of("xp.exp(z)", name="shared")
    assert "REAL(exp)(z)" in c_functions(first)
    second = module_of("xp.cos(z)", name="shared")
    assert "REAL(cos)(z)" in c_functions(second) and "REAL(exp)(z)" in c_functions(first)
    file = str(first.__file__)
    monkeypatch.setitem(linecache.cache, file, linecache.cache[str(second.__file__)])
    with pytest.raises(Untranslatable, match="sigma: sigma without source"):
        c_functions(first)
    monkeypatch.setitem(linecache.cache, file, (0, None, ["(\n"] * 99, file))
    with pytest.raises(Untranslatable, match=r"sigma: sigma without source: .*never closed"):
        c_functions(first)
    bare = "def sigma(z: int) -> int:\n    return z\n\n\ndef sigma_prime(z):\n    return 1\n"
    for alone in (False, True):  # or with what is imported from __future__ here
        module = load(bare, "bare")
        exec(compile(bare, str(module.__file__), "exec", dont_inherit=alone), vars(module))
        assert "return z;" in c_functions(module)
    module, one = ModuleType("lambdas"), 1.0
    vars(module).update(sigma=lambda z: one + z, sigma_prime=lambda z: 1.0 + z); one  # fmt: skip # noqa: B018, E702
    assert c_functions(module).count("(real)1.0 + z") == 2
    vars(module).update(sigma=lambda z: z * 1.0, sigma_prime=lambda z: z * -0.0)
    assert c_functions(module).count("z * (-(real)0.0)") == 1


def test_nothing_is_shown_to_others() -> None:
    """With a head that is declared, cffi would ask what INLINE is."""
    assert compiled.declarations(c_functions(isotropic_truncated_relu)) == ""
    text = c_functions(isotropic_truncated_relu)
    assert "INLINE real sigma(real z)\n{" in text and "INLINE real sigma_prime(real z)\n{" in text


def compiler(*options: str, source: str, language: str = "c") -> str:
    command = [CC, *options, "-x", language, "-", "-o", os.devnull]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("precision", [(), ("-DREAL_FLOAT",)], ids=["double", "float"])
def test_the_text_is_cpp_as_well(precision: tuple[str, ...]) -> None:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    modules = [module_with(Gelu()), module_with(zigzag(5)), module_of(HUGE, "xp.sign(z) * (z > 0)**0.3")]
    source = source_of(modules, "real").replace("restrict", "")
    own = "-DINLINE=static inline __attribute__((always_inline))"
    for options in (precision, (*precision, own)):
        compiler("-Wall", "-Werror", "-c", *options, source=source, language="c++")


@pytest.mark.parametrize("target", ["native", "haswell"])
@pytest.mark.parametrize("precision", [(), ("-DREAL_FLOAT",)], ids=["double", "float"])
def test_loops_over_piecewise_linear_functions_vectorise(precision: tuple[str, ...], target: str) -> None:
    about = subprocess.run([CC, "--version"], capture_output=True, text=True, check=True).stdout
    if "Free Software Foundation" not in about:
        pytest.skip("GCC says which loops it vectorises")
    if target == "haswell" and platform.machine() != "x86_64":
        pytest.skip("another machine")
    modules = [
        module_with(ACTIVATIONS[name]) for name in ("truncated relu", "relu", "nonmonotone", "17 knots")
    ]
    modules.append(module_of("xp.clip(z, -1.0, z * z)", "xp.where(z < 1.0, z**3, xp.sign(z))"))
    options = [*compiled.FLAGS[:4], *FLAGS, *precision, f"-march={target}", "-fopt-info-vec", "-c"]
    said = compiler(*options, source=source_of(modules, "real"))
    assert len(set(re.findall(r":(\d+):\d+: optimized: loop vectorized", said))) == 2 * len(modules)


def test_no_symbolic_algebra_is_loaded() -> None:
    code = "import sys, solvers.c_expressions; assert not {'sympy', 'mpmath'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
