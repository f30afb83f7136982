"""Activations by formula: their code against mpmath, their structure, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from scipy import special

from workbench import BadInput, PiecewiseLinear
from workbench.activation_code import sigma_code, sigma_prime_code
from workbench.activations import AbsoluteValue, HardTanh, LeakyReLU, ReLU, nonmonotone
from workbench.calculus.parser import parse
from workbench.smooth import (
    Activation,
    Erf,
    Gelu,
    Logistic,
    Polynomial,
    Silu,
    Sine,
    Softplus,
    SquaredReLU,
    Tanh,
    check_trainable,
)
from workbench.special import gauss_cdf
from workbench.stable_forms import LINE

ROOT = Path(__file__).parents[1]
z = sp.Symbol("z")
SEPTIC = [0.3, -1, 0, 2.5, 0.1, 0, -0.7, 0.01]
FIVE = [(-1.7, 0.4), (-0.3, -1.1), (0.2, 2.3), (0.9, -0.6), (2.4, 1.5)]  # (knot, change of slope)


def cdf(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def hinges(x: Any) -> Any:
    return sum(mp.mpf(repr(c)) * max(x - mp.mpf(repr(t)), mp.mpf(0)) for t, c in FIVE)


def septic(x: Any) -> Any:
    return sum(mp.mpf(repr(c)) * x**k for k, c in enumerate(SEPTIC))


# name -> (activation, sigma typed anew in mpmath, whether its value at 1e300 is a float64)
CASES: dict[str, tuple[Any, Any, bool]] = {
    "erf": (Erf(), mp.erf, True),
    "tanh": (Tanh(), mp.tanh, True),
    "gelu": (Gelu(), lambda x: x * cdf(x), True),
    "logistic": (Logistic(), lambda x: 1 / (1 + mp.exp(-x)), True),
    "softplus": (Softplus(), lambda x: max(x, 0) + mp.log1p(mp.exp(-abs(x))), True),
    "silu": (Silu(), lambda x: x / (1 + mp.exp(-x)), True),
    "sine": (Sine(), mp.sin, True),
    "squared_relu": (SquaredReLU(), lambda x: max(x, 0) ** 2, False),
    "septic": (Polynomial(SEPTIC), septic, False),
    "gelu and sine": (
        Activation.from_expr(z * (1 + sp.erf(z / sp.sqrt(2))) / 2 + 0.3 * sp.sin(2 * z), z),
        lambda x: x * cdf(x) + mp.mpf("0.3") * mp.sin(2 * x),
        True,
    ),
    "tanh squared": (Activation.from_expr(sp.tanh(z) ** 2, z), lambda x: mp.tanh(x) ** 2, True),
    "elu": (
        Activation.from_expr(sp.Piecewise((sp.exp(z) - 1, z < 0), (z, True)), z),
        lambda x: mp.expm1(x) if x < 0 else x,
        True,
    ),
    "five hinges": (Activation.from_expr(sum(c * sp.Max(z - t, 0) for t, c in FIVE), z), hinges, True),
    "five hinges and tanh": (
        Activation.from_expr(sum(c * sp.Max(z - t, 0) for t, c in FIVE) + sp.tanh(z), z),
        lambda x: hinges(x) + mp.tanh(x),
        True,
    ),
    "steep softplus": (
        Activation.from_expr(sp.log(1 + sp.exp(3 * z - 1)), z),
        lambda x: max(3 * x - 1, 0) + mp.log1p(mp.exp(-abs(3 * x - 1))),
        True,
    ),
    "bump": (Activation.from_expr(sp.exp(-(z**2) / 2), z), lambda x: mp.exp(-x * x / 2), True),
    "swelling bump": (
        Activation.from_expr(z**7 * sp.exp(-(z**2) / 2), z),
        lambda x: x**7 * mp.exp(-x * x / 2),
        True,
    ),
    "bump and sine": (
        Activation.from_expr(sp.exp(-(z**2)) - 1 + sp.sin(z), z),
        lambda x: mp.expm1(-x * x) + mp.sin(x),
        True,
    ),
    "mish": (
        Activation.from_expr(z * sp.tanh(sp.log(1 + sp.exp(z))), z),
        lambda x: x * mp.tanh(max(x, 0) + mp.log1p(mp.exp(-abs(x)))),
        True,
    ),
    "tanh by exponentials": (
        Activation.from_expr((sp.exp(z) - sp.exp(-z)) / (sp.exp(z) + sp.exp(-z)), z),
        mp.tanh,
        True,
    ),
    "softsign": (Activation.from_expr(z / (1 + sp.Abs(z)), z), lambda x: x / (1 + abs(x)), True),
    "lorentz": (Activation.from_expr(z / (1 + z**2), z), lambda x: x / (1 + x * x), True),
    "log": (Activation.from_expr(sp.log(1 + z**2), z), lambda x: mp.log1p(x * x), True),
    "log cosh": (
        Activation.from_expr(sp.log(sp.cosh(z)), z),
        lambda x: abs(x) + mp.log1p(mp.exp(-2 * abs(x))) - mp.log(2),
        True,
    ),
    "erf of a cube": (Activation.from_expr(sp.erf(z**3), z), lambda x: mp.erf(x**3), True),
    "powers of two": (Activation.from_expr(1 / (1 + 2 ** (-z)), z), lambda x: 1 / (1 + 2 ** (-x)), True),
    "steep tanh": (Activation.from_expr(sp.tanh(30 * z + 2), z), lambda x: mp.tanh(30 * x + 2), True),
    "irrational knot": (
        Activation.from_expr(sp.Max(z, sp.sqrt(2)), z),
        lambda x: max(x, mp.sqrt(2)),
        True,
    ),
    "hard tanh": (HardTanh(), lambda x: max(min(x, 1), -1), True),
    "leaky": (LeakyReLU(0.1), lambda x: x if x > 0 else x / 10, True),
    "modulus": (AbsoluteValue(), abs, True),
}
GRID = [sign * 10.0 ** (k / 4) for k in range(-24, 13) for sign in (-1, 1)]


def run(code: str, activation: Any, points: Any) -> Any:
    scope = {"xp": np, "sp": special, "z": np.asarray(points, dtype=float)}
    if isinstance(activation, PiecewiseLinear):
        scope["KNOTS"] = tuple(map(float, activation.knots))
    return eval(code, scope)


def close(got: Any, wanted: Any) -> None:
    """To a few roundings, of the value or of 1: a sum of terms of size 1 may cancel."""
    np.testing.assert_allclose([float(g) for g in got], [float(w) for w in wanted], rtol=4e-14, atol=4e-16)


def slope_of(sigma: Any, x: float) -> Any:
    with mp.workdps(60):
        return mp.diff(sigma, mp.mpf(x), h=mp.mpf(10) ** -25)


@pytest.mark.parametrize("name", CASES)
def test_code_of_sigma(name: str) -> None:
    activation, sigma, bounded = CASES[name]
    points = [*GRID, 0.0, *((-1e300, 1e300, -1e160, 1e160) if bounded else ())]
    with mp.workdps(60):
        wanted = [sigma(mp.mpf(x)) for x in points]
    close(run(sigma_code(activation), activation, points), wanted)
    close([activation.mp_value(mp.mpf(x)) for x in points], wanted)


@pytest.mark.parametrize("name", CASES)
def test_code_of_the_slope(name: str) -> None:
    activation, sigma, _ = CASES[name]
    points = [x for x in GRID if all(abs(x - k) > 1e-7 for k in activation.kinks)]
    wanted = [slope_of(sigma, x) for x in points]
    # slopes of the waves and powers meet condition numbers of up to 1e3
    got = run(sigma_prime_code(activation), activation, points)
    np.testing.assert_allclose(got, [float(w) for w in wanted], rtol=1e-13, atol=1e-15)
    close([activation.mp_slope(mp.mpf(x)) for x in points], wanted)
    t = sp.Symbol("x", real=True)
    body = sp.lambdify(
        t, activation.slope_expression(t), modules=[{"gauss_cdf": cdf, "gauss_pdf": mp.npdf}, "mpmath"]
    )
    with mp.workdps(40):
        close([body(mp.mpf(x)) for x in points[::5]], wanted[::5])


@pytest.mark.parametrize("name", [n for n, (_, _, bounded) in CASES.items() if bounded])
def test_the_slope_far_out(name: str) -> None:
    activation, sigma, _ = CASES[name]
    far = np.array([-1e300, 1e300, -1e160, 1e160])
    got = run(sigma_prime_code(activation), activation, far)
    if "sine" in name:
        assert (np.abs(got) <= 2).all()
        return
    # the function is a line there, or falls like a power: a secant is its slope to 1e-14
    with mp.workdps(1000):
        wanted = [(sigma(x * (1 + h)) - sigma(x * (1 - h))) / (2 * h * x) for x, h in [
            (mp.mpf(x), mp.mpf(10) ** -15) for x in far
        ]]  # fmt: skip
    close(got, wanted)


def test_a_kink_takes_the_slope_to_the_right() -> None:
    elu = Activation.from_expr(sp.Piecewise((2 * (sp.exp(z) - 1), z < 0), (z, True)), z)
    for activation, slope in ((elu, 1), (ReLU(), 1), (AbsoluteValue(), 1), (HardTanh(), 1)):
        place = activation.kinks[0]
        assert run(sigma_prime_code(activation), activation, [float(place)]) == [slope]
        assert activation.slope_expression(LINE).subs(LINE, place) == slope
    assert elu.mp_slope(mp.mpf(0)) == 1


def test_tails_are_relatively_accurate() -> None:
    # sigma' of the logistic function, tanh and erf fall below 1e-16 and keep their digits
    for activation, sigma in ((Logistic(), CASES["logistic"][1]), (Tanh(), mp.tanh), (Erf(), mp.erf)):
        for x in (-20.0, -5.0, 5.0, 20.0):
            with mp.workdps(400):
                wanted = mp.diff(sigma, mp.mpf(x), h=mp.mpf(10) ** -60)
            assert run(sigma_prime_code(activation), activation, [x])[0] == pytest.approx(
                float(wanted), rel=1e-13, abs=0
            )


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("gelu", [-30.0, -5.0]),
        ("gelu and sine", [-1e-9]),
        ("elu", [-1e-9, -1e-3]),
        ("log", [1e-9, 1e200]),
        ("lorentz", [-1e200, 1e-200, 1e120]),
        ("softsign", [1e-200]),
        ("bump", [-30.0, 30.0]),
    ],
)
def test_small_values_are_relatively_accurate(name: str, places: list[float]) -> None:
    activation, sigma, _ = CASES[name]
    got = run(sigma_code(activation), activation, places)
    with mp.workdps(450):
        wanted = [float(sigma(mp.mpf(x))) for x in places]
    # exp(-450) has a condition number of 450
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=0)


def test_gelu_by_erf_has_the_same_code() -> None:
    by_erf = Activation.from_expr(z * (1 + sp.erf(z / sp.sqrt(2))) / 2, z)
    assert sigma_code(by_erf) == sigma_code(Gelu())
    assert sigma_prime_code(by_erf) == sigma_prime_code(Gelu())


def test_the_slope_of_a_quotient_does_not_cancel() -> None:
    softsign, far = CASES["softsign"][0], [1e12, -1e140]
    np.testing.assert_allclose(
        run(sigma_prime_code(softsign), softsign, far), [(1 + 1e12) ** -2, 1e-280], rtol=1e-14, atol=0
    )


def test_code_keeps_the_shape() -> None:
    for activation in (Polynomial([2]), Polynomial([1, 3]), Tanh(), SquaredReLU(), Gelu()):
        for code in (sigma_code(activation), sigma_prime_code(activation)):
            assert run(code, activation, np.ones((2, 3, 1))).shape == (2, 3, 1)
            assert run(code, activation, np.ones((2, 3, 1))).dtype == float


# ---- structure


def test_piecewise_linear_formulas_become_piecewise_linear() -> None:
    clipped = Activation.from_expr(sp.Min(sp.Max(z, -1), 1), z, "hard_tanh")
    assert clipped == HardTanh()
    assert Activation.from_expr(sp.Abs(z), z, "absolute_value") == AbsoluteValue()
    assert Activation.from_expr(sp.Max(z, 0) + 0.1 * sp.Min(z, 0), z, "leaky_relu") == LeakyReLU(0.1)
    assert Activation.from_expr(nonmonotone(), z, "nonmonotone") == nonmonotone()
    five = CASES["five hinges"][0]
    assert isinstance(five, PiecewiseLinear)
    assert [(float(t), float(c)) for c, t in five.hinges] == FIVE


@pytest.mark.parametrize(
    "formula",
    [
        *(z, 2 * z + 1, sp.Max(z, sp.sqrt(2)), sp.sqrt(2) * sp.Abs(z), sp.sign(z), sp.Max(z, 0) ** 2),
        sp.Max(z, 0) - sp.Max(z - sp.Rational(1, 10**8), 0),
    ],
)
def test_what_is_no_piecewise_linear_stays_a_formula(formula: sp.Expr) -> None:
    assert isinstance(Activation.from_expr(formula, z), Activation)


def test_the_variable_is_renamed_and_constants_are_exact() -> None:
    activation = Activation.from_expr(0.1 * sp.sin(z) + sp.Abs(z), z, "mine")
    assert isinstance(activation, Activation)
    assert activation.formula == sp.sin(LINE) / 10 + sp.Abs(LINE)
    assert activation.expression(z) == sp.sin(z) / 10 + sp.Abs(LINE).xreplace({LINE: z})
    again = Activation.from_expr(0.1 * sp.sin(LINE) + sp.Abs(LINE), LINE, "mine")
    assert activation == again and hash(activation) == hash(again)
    assert activation != Activation.from_expr(0.1 * sp.sin(z) + sp.Abs(z), z, "other")


@pytest.mark.parametrize(
    ("formula", "kinks", "bends", "wave", "rate"),
    [
        (sp.sin(3 * z), (), (), 3, 0),
        (sp.erf(2 * z - 3), (), ((1.5, 8**-0.5),), 0, 0),
        (sp.tanh(2 * z - 3), (), ((1.5, 0.5),), 0, 0),
        (z**3 - z, (), (), 0, 0),
        (1 / (1 + z**2), (), ((0, 1),), 0, 0),
        (sp.log(1 + sp.exp(z)) + z**2, (), ((0, 1),), 0, 0),
        (sp.exp(2 * z), (), (), 0, 2),
        (sp.Piecewise((sp.exp(z), z < 0), (1 + z, True)), (0,), ((0, 1),), 0, 0),
        (sp.Max(z, 0) ** 3 + sp.Abs(z - sp.sqrt(2)), (0, sp.sqrt(2)), (), 0, 0),
        (sp.exp(-2 * (z - 1) ** 2), (), ((1, 0.5),), 0, 0),
        (z * gauss_cdf(4 * z) + sp.cos(z), (), ((0, 0.25),), 1, 0),
        (sp.tanh(z) * sp.cosh(z) ** 2, (), ((0, 1),), 0, 2),
    ],
)
def test_structure(formula: Any, kinks: Any, bends: Any, wave: float, rate: float) -> None:
    activation = Activation.from_expr(formula, z)
    assert activation.kinks == kinks
    assert (
        activation.bends == pytest.approx(np.array(bends).reshape(-1, 2)) if bends else not activation.bends
    )
    assert activation.wave == pytest.approx(wave, rel=1e-15, abs=0) or activation.wave >= wave > 0
    assert activation.rate == pytest.approx(rate, rel=1e-6, abs=0)


def test_both_classes_have_the_same_protocol() -> None:
    for activation in (Erf(), SquaredReLU(), nonmonotone()):
        assert activation.function == parse(activation.expression(LINE), LINE)
        assert activation.slope_function == activation.function.derivative()
        assert parse(activation.slope_expression(LINE), LINE).atoms == activation.slope_function.atoms
    sigma = nonmonotone()
    assert (sigma.kinks, sigma.bends, sigma.wave, sigma.rate) == (sigma.knots, (), 0.0, 0.0)


def test_names() -> None:
    made = [Erf(), Tanh(), Gelu(), Logistic(), Softplus(), Silu(), Sine(), SquaredReLU(), Polynomial([1])]
    assert " ".join(x.name for x in made) == (
        "erf tanh gelu logistic softplus silu sine squared_relu polynomial"
    )
    assert [x.name for x in (LeakyReLU(0.2), HardTanh(), AbsoluteValue())] == [
        "leaky_relu",
        "hard_tanh",
        "absolute_value",
    ]


# ---- the text


PRINT = """
from tests.test_smooth import CASES
from workbench.activation_code import sigma_code, sigma_prime_code
for activation, _, _ in CASES.values():
    print(sigma_code(activation), sigma_prime_code(activation), getattr(activation, "bends", ""), sep="\\n")
"""


def printed(seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        cwd=ROOT,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_text_for_every_hash_seed() -> None:
    first = printed("0")
    assert first.count("\n") == 3 * len(CASES)
    assert printed("12345") == first == printed("7")


def test_common_activations_are_printed_as_one_would_write_them() -> None:
    assert sigma_code(Softplus()) == "xp.logaddexp(0.0, z)"
    assert sigma_prime_code(Softplus()) == "sp.expit(z)"
    assert sigma_code(Gelu()) == "z * sp.ndtr(z)"
    assert sigma_code(Silu()) == "z * sp.expit(z)"
    assert sigma_code(Tanh()) == "xp.tanh(z)"
    assert sigma_code(Activation.from_expr(sp.sinh(z) / sp.cosh(z), z)) == "xp.tanh(z)"
    assert sigma_code(Activation.from_expr(sp.exp(z) / (1 + sp.exp(z)), z)) == "sp.expit(z)"
    assert sigma_code(Polynomial([1, 0, 2, 0.1])) == "(0.1 * z + 2.0) * z * z + 1.0"
    assert sigma_code(SquaredReLU()) == "xp.where(z < 0.0, 0.0, xp.maximum(z, 0.0)**2)"
    relu = 'xp.asarray([0.0, 1.0])[xp.searchsorted(xp.asarray(KNOTS), z, side="right")]'
    assert sigma_prime_code(ReLU()) == relu


# ---- what is refused


@pytest.mark.parametrize(
    ("formula", "named"),
    [
        (z * sp.Symbol("a"), r"a\*t|a.*substitute numbers"),
        (sp.gamma(z), r"gamma.*known are"),
        (sp.I * z, r"I.*not real"),
        (1 / z, r"1/t.*singular"),
        (sp.sqrt(z), r"sqrt\(t\).*complex"),
        (sp.log(sp.Abs(z)), r"log\(Abs\(t\)\).*t = 0"),
        (sp.DiracDelta(z), r"DiracDelta\(.\).*Dirac delta"),
        ("z ***", r"z \*\*\*.*not an expression"),
        (z > 0, r"z > 0.*not an expression"),
        (None, r"None.*not an expression"),
        (z * 10**301, r"10000.*out of scale"),
        (sp.Abs(sp.exp(z) - z - 2), r"exp\(t\).*breakpoints"),
    ],
)
def test_no_activation(formula: Any, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        Activation.from_expr(formula, z)


def test_no_variable() -> None:
    with pytest.raises(BadInput, match=r"'z' is not a Symbol"):
        Activation.from_expr(z, "z")


@pytest.mark.parametrize(
    ("coefficients", "named"),
    [
        ([], r"\[\]"),
        (3, r"3: give a list"),
        ([1, np.nan], r"coefficients\[1\] = nan"),
        (["1"], r"\[0\] = '1'"),
    ],
)
def test_no_polynomial(coefficients: Any, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        Polynomial(coefficients)


@pytest.mark.parametrize(
    ("formula", "named"),
    [
        (sp.sign(z), r"sign\(t\) jumps at t = 0: SGD needs its gradient"),
        (sp.Heaviside(z - 1) + sp.tanh(z) * sp.sign(z + sp.sqrt(2)), r"jumps at t = -sqrt\(2\), 1"),
        (sp.sqrt(sp.Abs(z)), r"infinite slope at t = 0"),
        (sp.exp(z**2), r"exp\(t\*\*2\).*s\*\*2 < 1/4"),
        (sp.exp(z**2 / 8), r"exp\(t\*\*2/8\).*s\*\*2 < 2,"),
        (sp.tanh(z) + sp.exp(z**2 / 8) / (2 + z**2), r"grows like exp\(t\*\*2/8\).*s\*\*2 < 2,"),
        (sp.exp(z**4), r"exp\(t\*\*4\).*every exp"),
    ],
)
def test_not_trainable(formula: sp.Expr, named: str) -> None:
    activation = Activation.from_expr(formula, z, "mine")
    with pytest.raises(BadInput, match=named) as error:
        check_trainable(activation)
    assert "mine" in str(error.value)


def test_the_bound_on_the_scale_is_sharp() -> None:
    # exp(t^2/8): E sigma(s G)^2 = (1 - s^2/2)^(-1/2)
    for s2 in (1.0, 1.9):
        inside = mp.quad(lambda x: mp.exp(2 * s2 * x * x / 8) * mp.npdf(x), [-mp.inf, 0, mp.inf])  # noqa: B023
        assert float(inside) == pytest.approx((1 - s2 / 2) ** -0.5, rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_trainable(name: str) -> None:
    check_trainable(CASES[name][0])
    check_trainable(Activation.from_expr(sp.exp(3 * z), z))
