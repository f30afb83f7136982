"""Closed forms of the calculus against quadratures of the defining integrals, written from f alone."""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from scipy import special

from tests.calculus_oracle import Integrand, line_quadrature, pair_quadrature
from workbench import PiecewiseLinear
from workbench.calculus import Expectation, expect, expect_hermite, expect_pair
from workbench.special import gauss_cdf

z = sp.Symbol("z")
m, s, k = sp.symbols("m s k")
m1, m2, K11, K12, K22 = sp.symbols("m1 m2 K11 K12 K22")
SYMBOLIC = ((m1, m2), ((K11, K12), (K12, K22)))

relu = sp.Max(z, 0)
gelu = z * gauss_cdf(z)
FIVE = ([-1.3, -0.4, 0, 0.7, 2.1], [0.3, -1, 0.25, 2, 1.5], -0.6, 0.35)


def five(t: Any) -> Any:
    t = np.asarray(t, dtype=float)
    inner = np.interp(t, FIVE[0], FIVE[1])
    return inner - 0.6 * np.minimum(t + 1.3, 0) + 0.35 * np.maximum(t - 2.1, 0)


# name -> (what the calculus is given, what the oracle is given: values, kinks, scale of the smooth parts)
FUNCTIONS: dict[str, tuple[Any, Integrand]] = {
    "relu": (relu, Integrand(lambda t: np.maximum(t, 0), (0,))),
    "leaky": (sp.Max(z / 10, z), Integrand(lambda t: np.where(t > 0, t, t / 10), (0,))),
    "hard_tanh": (sp.Max(-1, sp.Min(1, z)), Integrand(lambda t: np.clip(t, -1, 1), (-1, 1))),
    "absolute": (sp.Abs(z - 1), Integrand(lambda t: np.abs(t - 1), (1,))),
    "five": (PiecewiseLinear(*FIVE), Integrand(five, tuple(FIVE[0]))),
    "step": (sp.Heaviside(z - 0.5), Integrand(lambda t: (t > 0.5) * 1.0, (0.5,))),
    "sign": (sp.sign(z), Integrand(np.sign, (0,))),
    "relu2": (relu**2, Integrand(lambda t: np.maximum(t, 0) ** 2, (0,))),
    "jumps": (
        sp.Piecewise((z**2, z < -1), (3, z < 2), (1 - z, True)),
        Integrand(lambda t: np.where(t < -1, t**2, np.where(t < 2, 3.0, 1 - t)), (-1, 2)),
    ),
    "erf": (sp.erf(z), Integrand(special.erf, (), 0.5)),
    "erf_shift": (sp.erf(3 * z - 2), Integrand(lambda t: special.erf(3 * t - 2), (), 0.2, 2 / 3)),
    "Phi": (gauss_cdf(z), Integrand(special.ndtr, (), 0.5)),
    "gelu": (gelu, Integrand(lambda t: t * special.ndtr(t), (), 0.5)),
    "cubic_Phi": (z**3 * gauss_cdf(1 - z), Integrand(lambda t: t**3 * special.ndtr(1 - t), (), 0.5)),
    "bump": (
        sp.exp(-((2 * z - 1) ** 2) / 2) * z,
        Integrand(lambda t: np.exp(-((2 * t - 1) ** 2) / 2) * t, (), 0.3),
    ),
    "degree7": (z**7 - 2 * z**4 + z, Integrand(lambda t: t**7 - 2 * t**4 + t, ())),
    "sin": (sp.sin(2 * z), Integrand(lambda t: np.sin(2 * t), ())),
    "wave": ((z**2 - 1) * sp.cos(z + 1), Integrand(lambda t: (t * t - 1) * np.cos(t + 1), ())),
    "erfc": (sp.erfc(2 * z - 1), Integrand(lambda t: special.erfc(2 * t - 1), (), 0.3, 0.5)),
    "beats": (
        sp.sin(z) * sp.cos(3 * z + 1) + 2 * sp.sin(3 * z) * sp.cos(z + 1),
        Integrand(lambda t: np.sin(t) * np.cos(3 * t + 1) + 2 * np.sin(3 * t) * np.cos(t + 1), ()),
    ),
    "half_wave": (
        sp.Heaviside(z - 0.5) * sp.sin(2 * z + 1) * z,
        Integrand(lambda t: (t > 0.5) * np.sin(2 * t + 1) * t, (0.5,)),
    ),
    "exp": (sp.exp(-z) * z**2, Integrand(lambda t: np.exp(-t) * t * t, ())),
    "cosh": (sp.cosh(z / 2), Integrand(lambda t: np.cosh(t / 2), ())),
    "elu": (
        sp.Piecewise((z, z > 0), (sp.exp(z) - 1, True)),
        Integrand(lambda t: np.where(t > 0, t, np.expm1(np.minimum(t, 0))), (0,), 0.5),
    ),
    "gelu_sine": (gelu + sp.sin(2 * z), Integrand(lambda t: t * special.ndtr(t) + np.sin(2 * t), (), 0.5)),
    "relu_erf": (relu * sp.erf(z), Integrand(lambda t: np.maximum(t, 0) * special.erf(t), (0,), 0.5)),
    "erf_squared": (sp.erf(z) ** 2, Integrand(lambda t: special.erf(t) ** 2, (), 0.5)),
}
# at scale 1e3 these overflow, oscillate, or cancel to 1e-24 of their summands in the float64 oracle
EXPONENTIAL = ("exp", "cosh", "wave", "sin", "half_wave", "beats", "gelu_sine", "degree7")
SCALES = [10.0**e for e in range(-6, 4)]
CORRELATIONS = [0.0, 0.3, -0.3, 0.9, -0.9, 1 - 1e-6, -(1 - 1e-6)]


@functools.cache
def mean(name: str) -> Expectation:
    return expect(FUNCTIONS[name][0], z, m, s)


@functools.cache
def pair(name: str, name2: str) -> Expectation:
    return expect_pair(FUNCTIONS[name][0], FUNCTIONS[name2][0], z, *SYMBOLIC)


def close(value: Any, truth: float, tolerance: float = 1e-10) -> bool:
    return bool(abs(value - truth) <= tolerance * max(1.0, abs(truth)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_mean_on_all_scales(name: str) -> None:
    assert mean(name).kind == "closed form"
    for scale, shift in itertools.product(SCALES, (0.0, 0.3, -1.7, 40.0)):
        if name in EXPONENTIAL and scale > 5:
            continue
        truth = line_quadrature(FUNCTIONS[name][1], shift, scale)
        assert close(mean(name).evaluate({m: shift, s: scale}), truth), (scale, shift)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_certificate_of_the_mean(name: str) -> None:
    grid = [{m: 0.3, s: x} for x in SCALES if x <= (3 if name in EXPONENTIAL else 1e3)]
    certificate = mean(name).certify(grid)
    assert certificate.deviation <= 1e-12 and certificate.points == len(grid)


def test_certificate_sees_a_jump_at_a_place_that_is_no_float() -> None:
    knot = sp.Rational(1, 10)
    formula = expect(sp.Heaviside(z - knot), z, knot + m, s)
    assert formula.certify([{m: 0, s: 1e-6}]).deviation <= 1e-15


def test_erf_squared_in_one_variable_is_a_pair_on_the_diagonal() -> None:
    v = sp.Rational(7, 5)
    on_diagonal = expect_pair(sp.erf(z), sp.erf(z), z, (0, 0), ((v, v), (v, v)))
    alone = expect(sp.erf(z) ** 2, z, 0, sp.sqrt(v))
    assert close(alone.evaluate(), on_diagonal.evaluate(), 1e-15)
    assert close(alone.evaluate(), 2 / math.pi * math.asin(2.8 / 3.8), 1e-15)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_hermite_coefficients(name: str) -> None:
    f, integrand = FUNCTIONS[name]
    symbolic = expect_hermite(f, z, k, m, s)
    for order, (shift, scale) in itertools.product((0, 1, 2, 5, 11), ((0.3, 1.1), (-0.4, 0.02))):
        truth = line_quadrature(integrand, shift, scale, order)
        if order <= 5:
            assert close(expect_hermite(f, z, order, m, s).evaluate({m: shift, s: scale}), truth, 1e-12)
        if order >= symbolic.k_from:
            assert close(symbolic.evaluate({m: shift, s: scale, k: order}), truth, 1e-12), order


CLOSED_PAIRS = [
    *((name, name) for name in FUNCTIONS if name not in ("relu_erf", "erf_squared", "half_wave", "erfc")),
    *(("relu", "erf"), ("five", "gelu"), ("Phi", "step"), ("gelu", "relu2"), ("exp", "elu"), ("exp", "erf")),
    *(("bump", "gelu"), ("degree7", "jumps"), ("wave", "exp"), ("cosh", "hard_tanh"), ("sin", "bump")),
    *(("degree7", "relu_erf"), ("five", "absolute"), ("cubic_Phi", "sign"), ("sin", "degree7")),
    *(
        ("sin", "relu"),
        ("wave", "erf_shift"),
        ("half_wave", "exp"),
        ("half_wave", "bump"),
        ("cubic_Phi", "wave"),
    ),
]


@pytest.mark.parametrize(("name", "name2"), CLOSED_PAIRS)
def test_pair_on_scales_correlations_and_means(name: str, name2: str) -> None:
    formula = pair(name, name2)
    assert formula.kind == "closed form"
    scales = [(1e-6, 1e-3), (0.1, 2.0), (1.3, 0.8), (1e3, 50.0), (1e3, 1e3)]
    for (s1, s2), rho, shifts in itertools.product(scales, CORRELATIONS, ((0.0, 0.0), (0.4, -1.1))):
        if s2 > 2 and {name, name2} & {*EXPONENTIAL}:
            continue
        if shifts[0] and abs(rho) == 0.3:
            continue
        # deep tails against e^(s^2/2), or thousands of operations, all in mpmath: a sample of the points
        if name2 in ("elu", "cubic_Phi") and (s2 == 2 or shifts[0] or abs(rho) == 0.3):
            continue
        law = (*shifts, s1 * s1, rho * s1 * s2, s2 * s2)
        truth = pair_quadrature(FUNCTIONS[name][1], FUNCTIONS[name2][1], law)
        value = formula.evaluate(dict(zip((m1, m2, K11, K12, K22), law, strict=True)))
        assert close(value, truth), law


@pytest.mark.parametrize("names", [("relu", "relu"), ("hard_tanh", "gelu"), ("bump", "elu")])
def test_certificate_of_pairs(names: tuple[str, str]) -> None:
    points = [(0.3, -0.4, 1.2, 0.9, -0.3), (0.0, 0.1, 0.5, 1e6, 1 - 1e-6)]
    points = points[1:] if names[1] == "relu" else points[:1]
    grid = [{m1: a, m2: b, K11: v, K12: r * math.sqrt(v * w), K22: w} for a, b, v, w, r in points]
    assert pair(*names).certify(grid).deviation <= 1e-12


def table(x: float, y: float, w: float) -> dict[str, tuple[Any, float]]:
    """The table of theory section 2 at K11 = x, K22 = y, K12 = w."""
    total, root = x + y, math.sqrt(x * y)
    angle = math.acos(w / root)
    sine, cosine = math.sin(angle), math.cos(angle)
    det = math.sqrt((1 + x) * (1 + y) - w * w)
    wave = math.exp(-total / 2)
    return {
        "erf": (sp.erf(z), 2 / math.pi * math.asin(2 * w / math.sqrt((1 + 2 * x) * (1 + 2 * y)))),
        "Phi": (gauss_cdf(z), 0.25 + math.asin(w / math.sqrt((1 + x) * (1 + y))) / (2 * math.pi)),
        "relu": (relu, root / (2 * math.pi) * (sine + (math.pi - angle) * cosine)),
        "step": (sp.Heaviside(z), (math.pi - angle) / (2 * math.pi)),
        "sign": (sp.sign(z), 1 - 2 * angle / math.pi),
        "relu2": (
            relu**2,
            x * y / (2 * math.pi) * (3 * sine * cosine + (math.pi - angle) * (1 + 2 * cosine**2)),
        ),
        "sin": (sp.sin(z), wave * math.sinh(w)),
        "cos": (sp.cos(z), wave * math.cosh(w)),
        "exp": (sp.exp(z / 3), math.exp((total / 2 + w) / 9)),
        "gelu": (
            gelu,
            w / 4
            + ((w * w + x * y * det**2) / ((1 + x) * (1 + y) * det) + w * math.atan(w / det)) / (2 * math.pi),
        ),
        "cubic": (z**3 - z, 6 * w**3 + 9 * w * x * y - 3 * w * (x + y) + w),
    }


@pytest.mark.parametrize("name", table(1, 1, 0))
@pytest.mark.parametrize("means", [(m1, m2), (0, 0)])
def test_table_of_pairs(name: str, means: tuple[Any, Any]) -> None:
    formula = expect_pair(*(table(1, 1, 0)[name][0],) * 2, z, means, SYMBOLIC[1])
    for x, y, rho in [(1.2, 0.7, 0.4), (0.3, 2.5, -0.95), (1.0, 1.0, 0.0), (1e-3, 4.0, 0.999)]:
        w = rho * math.sqrt(x * y)
        values = {K11: x, K12: w, K22: y} | ({m1: 0.0, m2: 0.0} if means != (0, 0) else {})
        assert close(formula.evaluate(values), table(x, y, w)[name][1], 1e-12)


def test_textbook_forms() -> None:
    zero = expect_pair(sp.erf(z), sp.erf(z), z, (0, 0), SYMBOLIC[1]).expression
    assert zero == 2 * sp.asin(2 * K12 / (sp.sqrt(2 * K11 + 1) * sp.sqrt(2 * K22 + 1))) / sp.pi
    assert str(expect(relu, z, m, s).expression) == "m*gauss_cdf(m/s) + s*gauss_pdf(m/s)"
    assert expect_pair(relu, relu, z, (0, 0), SYMBOLIC[1]).diff(K12).expression == (
        sp.asin(K12 / (sp.sqrt(K11) * sp.sqrt(K22))) / (2 * sp.pi) + sp.Rational(1, 4)
    )


def finite_difference(formula: Expectation, values: dict[Any, Any], x: sp.Symbol) -> Any:
    """Central difference of sixth order at 60 digits."""
    with mp.workdps(60):
        point = {key: mp.mpf(v) for key, v in values.items()}
        step = point[x] / 10**8 if point[x] else mp.mpf(10) ** -8
        weights = {1: mp.mpf(3) / 4, 2: -mp.mpf(3) / 20, 3: mp.mpf(1) / 60}
        total = sum(
            w * (formula.mp(point | {x: point[x] + j * step}) - formula.mp(point | {x: point[x] - j * step}))
            for j, w in weights.items()
        )
        return total / step


@pytest.mark.parametrize(
    "name", ["five", "jumps", "gelu", "relu2", "bump", "elu", "gelu_sine", "degree7", "relu_erf", "half_wave"]
)
def test_derivatives_of_the_mean(name: str) -> None:
    for scale in (1e-2, 1.3, 1e3) if name not in EXPONENTIAL else (1e-2, 1.3):
        values = {m: 0.3, s: scale}
        for x in (m, s):
            slope = mean(name).diff(x)
            assert close(slope.evaluate(values), finite_difference(mean(name), values, x))
            for y in (m, s):
                truth = finite_difference(slope, values, y)
                assert close(slope.diff(y).evaluate(values), truth), (scale, x, y)


@pytest.mark.parametrize(
    "names",
    [("relu", "relu"), ("step", "jumps"), ("five", "gelu"), ("relu2", "erf"), ("exp", "elu"), ("wave", "bump"),
     ("degree7", "hard_tanh"), ("sign", "sign"), ("sin", "jumps"), ("half_wave", "bump")],
)  # fmt: skip
def test_derivatives_of_a_pair(names: tuple[str, str]) -> None:
    formula = pair(*names)
    for rho, scale in ((1 - 1e-6, 0.5), (-0.6, 1.0))[1 if names[0] == "half_wave" else 0 :]:
        values = {m1: 0.3, m2: -0.2, K11: 1.1, K12: rho * math.sqrt(1.1) * scale, K22: scale**2}
        for x in values:
            truth = finite_difference(formula, values, x)
            assert close(formula.diff(x).evaluate(values), truth), (x, rho)
    twice = formula.diff(K12).diff(m1)
    assert close(twice.evaluate(values), finite_difference(formula.diff(K12), values, m1))


def test_derivative_through_a_parameter_of_the_model() -> None:
    tau, r = sp.symbols("tau r")
    formula = expect(FUNCTIONS["five"][0], z, r / 3, sp.sqrt(tau**2 * r**2 + 1))
    values = {tau: 1.8, r: 0.7}
    for x in (tau, r):
        assert close(formula.diff(x).evaluate(values), finite_difference(formula, values, x), 1e-12)


@pytest.mark.parametrize("names", [("step", "relu")])
def test_certificate_of_a_derivative_differentiates_the_density(names: tuple[str, str]) -> None:
    values = {m1: 0.3, m2: -0.2, K11: 1.1, K12: 0.4, K22: 0.9}
    assert pair(*names).diff(K12).certify([values]).deviation <= 1e-12
    assert mean(names[0]).diff(s).diff(m).certify([{m: 0.3, s: x} for x in SCALES]).deviation <= 1e-12


@pytest.mark.parametrize("name", ["relu", "five", "relu2", "step"])
def test_singular_covariance_is_the_expectation_of_the_product(name: str) -> None:
    integrand = FUNCTIONS[name][1]
    square = Integrand(lambda t: integrand(t) ** 2, integrand.kinks)
    values = {m1: 0.2, m2: 0.2, K11: 1.69, K12: 1.69, K22: 1.69}
    assert close(pair(name, name).evaluate(values), line_quadrature(square, 0.2, 1.3), 1e-12)


def test_rules_are_named_in_order_with_their_formulas() -> None:
    names = [rule.name for rule in pair("gelu", "relu").rules]
    assert names == [
        *(
            "canonical form",
            "smoothed step",
            "Stein",
            "truncated moments",
            "Gaussian moments",
            "bivariate orthant",
        ),
    ]
    assert [rule.name for rule in pair("relu", "relu").diff(K12).rules][-1] == "Price"
    assert all("=" in rule.formula or "exact" in rule.formula for rule in pair("gelu", "relu").rules)


def test_beyond_the_range_of_floats_the_value_is_an_mpf() -> None:
    value = expect(sp.exp(z), z, 0, s).evaluate({s: 1e3})
    assert mp.almosteq(value, mp.exp(mp.mpf(500000)))


@pytest.mark.parametrize(
    ("limit", "derive"),
    [
        (0.1, lambda: expect(gelu + sp.sin(3 * z), z, m, s)),
        (0.5, lambda: expect_pair(PiecewiseLinear(*FIVE), gelu + z**3, z, *SYMBOLIC)),
        (0.5, lambda: expect_pair(z**7 + z, PiecewiseLinear(*FIVE), z, *SYMBOLIC)),
    ],
)
def test_derivations_are_quick(limit: float, derive: Callable[[], Expectation]) -> None:
    elapsed = []
    for _ in range(3):
        start = time.process_time()
        derive()
        elapsed.append(time.process_time() - start)
    assert elapsed[0] < 3 * limit and min(elapsed) < limit  # the first call also fills SymPy's caches
