"""Named functions of the calculus: float64 bodies and derivative rules against independent mpmath values."""

from __future__ import annotations

import itertools
import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from workbench import numerics as basic
from workbench.calculus import numerics, special
from workbench.calculus.evaluation import BODIES
from workbench.special import (
    NAMED,
    ModelFunction,
    NamedFunction,
    a,
    g,
    gauss_cdf,
    gauss_pdf,
    hermite_function_delta,
    q,
    sphere_tail,
)

POINTS: dict[str, list[Any]] = {
    "deviation": list(itertools.product((-3.0, -1e-8, 0.4, 1e5), (1e-12, 0.3, 40.0))),
    "gauss_spread": list(itertools.product((-3.0, 0.0, 0.4, 1e5), (1e-12, 0.3, 40.0))),
    "bvn_density": list(itertools.product((-1.2, 0.0, 3.0), (-0.5, 0.0, 2.0), (-0.9, 0.0, 0.5, 0.999))),
    "bvn_survival": list(itertools.product((-6.0, -1.2, 0.0, 3.0), (-0.5, 0.0, 2.0), (-1 + 1e-6, -0.9, 0.0, 0.5, 1 - 1e-6))),
    "wave_cdf_re": list(itertools.product((-4.0, -0.3, 0.0, 2.0), (-30.0, 0.0, 0.7, 3.0))),
    "wave_cdf_im": list(itertools.product((-4.0, -0.3, 0.0, 2.0), (-30.0, 0.0, 0.7, 3.0))),
}  # fmt: skip


@pytest.mark.parametrize("name", POINTS)
def test_float64_bodies(name):
    for point in POINTS[name]:
        with mp.workdps(40):
            truth = getattr(special, name).mp_value(*map(mp.mpf, point))
        home = basic if name == "bvn_survival" else numerics
        value = float(getattr(home, name)(*map(np.asarray, point)))
        assert abs(value - truth) <= 2e-15 * max(1, abs(truth)), point


@pytest.mark.parametrize("name", POINTS)
def test_derivative_rules(name):
    function = getattr(special, name)
    for point in POINTS[name]:
        for i in range(len(point)):
            with mp.workdps(50):
                at = [mp.mpf(x) for x in point]
                step = mp.mpf(10) ** -17 * (abs(at[i]) or 1)
                ends = [function.mp_value(*at[:i], at[i] + d, *at[i + 1 :]) for d in (step, -step)]
                truth = (ends[0] - ends[1]) / (2 * step)
                value = special.mp_number(_slope(function, i, at))
                assert abs(value - truth) <= mp.mpf(10) ** -12 * max(1, abs(truth)), (point, i)


def _slope(function, i, at):
    places = sp.symbols(f"x:{len(at)}", real=True)
    slope = function(*places).fdiff(i + 1)
    return slope.xreplace({p: sp.Float(x, 50) for p, x in zip(places, at, strict=True)})


def test_survival_against_its_integral_and_in_relative_terms():
    with mp.workdps(30):
        for h, k, rho in [
            (0.3, -1.2, 0.7),
            (2.0, 3.0, -0.9),
            (0.0, 1.0, 0.5),
            (-1.0, 0.0, -0.3),
            (6.0, 2.0, 0.9),
        ]:
            root = mp.sqrt(1 - mp.mpf(rho) ** 2)
            edges = mp.linspace(h, h + 16, 33)
            truth = mp.quad(lambda x, k=k, r=rho, c=root: mp.npdf(x) * mp.ncdf((r * x - k) / c), edges)
            for function in (special.bvn_survival, special.bvn_tail):
                assert abs(function.mp_value(mp.mpf(h), mp.mpf(k), mp.mpf(rho)) - truth) < 1e-25
        deep = special.bvn_tail.mp_value(mp.mpf(50), mp.mpf(300), mp.mpf(0))
        assert mp.almosteq(deep, mp.erfc(50 / mp.sqrt(2)) * mp.erfc(300 / mp.sqrt(2)) / 4, 1e-20)


def test_limits():
    assert float(numerics.deviation(0.0, 0.0)) == 0.0 == special.deviation.mp_value(mp.mpf(0), mp.mpf(0))
    assert (
        float(numerics.deviation(-2.0, -1e-20))
        == -math.inf
        == special.deviation.mp_value(mp.mpf(-2), mp.mpf(0))
    )
    assert (
        float(numerics.gauss_spread(0.0, -1e-20))
        == 0.0
        == special.gauss_spread.mp_value(mp.mpf(0), mp.mpf(0))
    )
    for h, k, rho in [
        (0.3, -0.2, 1.0),
        (0.3, -0.8, -1.0),
        (0.3, 0.8, -1.0),
        (1e6, 0.0, 0.3),
        (-1e6, 0.5, -0.3),
    ]:
        truth = special.bvn_survival.mp_value(mp.mpf(h), mp.mpf(k), mp.mpf(rho))
        assert abs(float(basic.bvn_survival(np.asarray(h), np.asarray(k), np.asarray(rho))) - truth) < 1e-15
    orders = range(6)
    values = [float(BODIES["hermite_function"](j, 0.7)) for j in orders]
    he = [1, 0.7, 0.7**2 - 1, 0.7**3 - 3 * 0.7, 0.7**4 - 6 * 0.7**2 + 3, 0.7**5 - 10 * 0.7**3 + 15 * 0.7]
    phi = math.exp(-0.245) / math.sqrt(2 * math.pi)
    assert np.allclose(
        values, [phi * x / math.sqrt(math.factorial(j)) for j, x in enumerate(he)], rtol=1e-14, atol=0
    )


# ---- sympy.N


NEAR_ZERO = sp.Rational(1, 10**9)
FAMILIES: list[tuple[tuple[str, ...], list[tuple[Any, ...]]]] = [
    (("gauss_pdf", "gauss_cdf"), [(sp.sqrt(2),), (-7,), (sp.pi / 1000,), (40,)]),
    (("gauss_pdf_delta", "gauss_cdf_delta"), [(sp.sqrt(2),), (-7,), (NEAR_ZERO,)]),
    (("hermite_function", "hermite_function_delta"), [(0, sp.sqrt(2)), (5, -3), (4, NEAR_ZERO)]),
    (
        ("sphere_density", "sphere_moment", "sphere_moment_delta", "sphere_tail"),
        [(3, sp.Rational(1, 3)), (40, sp.Rational(-9, 10)), (7, NEAR_ZERO), (5, 2)],
    ),
    (("hinge_pair",), [(0.5, 1, sp.Rational(-1, 3), 2, 0.75), (0, sp.sqrt(2), 1, 1, 0)]),
    (("root_poisson",), [(0, 1), (3, sp.sqrt(2)), (60, 2)]),
    (("bvn_tail",), [(8, 9, sp.Rational(1, 3)), (-1, 0.5, -0.75)]),
]
ARGUMENTS = POINTS | {name: points for names, points in FAMILIES for name in names}


def named_functions() -> list[type[NamedFunction]]:
    return [f for f in (*NAMED, *special.NAMED) if not issubclass(f, ModelFunction)]


@pytest.mark.parametrize("function", named_functions(), ids=lambda f: f.__name__)
def test_numbers_at_the_asked_precision(function):
    for point in ARGUMENTS[function.__name__]:
        exact = [sp.nsimplify(x) if isinstance(x, float) else sp.sympify(x) for x in point]
        formula = function(*exact)
        with mp.workdps(40):
            truth = function.mp_value(*(mp.mpmathify(sp.N(x, 60)) for x in exact))
            value = sp.N(formula, 30)
            assert value.is_Float or value in (0, 1), (point, value)
            # the value at 40 digits may itself have lost some to a difference
            lost = abs(truth) * mp.mpf(10) ** -29 + mp.mpf(10) ** -38
            assert abs(mp.mpmathify(value) - truth) <= lost, point


def test_digits_lost_to_a_difference_are_made_up_for():
    for formula in (
        hermite_function_delta(4, sp.Rational(1, 10**12)),
        sphere_tail(5, 1 - sp.Rational(1, 10**10)),
    ):
        with mp.workdps(150):
            truth = formula.mp_value(*(mp.mpf(x.p) / x.q for x in formula.args))
            assert abs(mp.mpmathify(sp.N(formula, 30)) / truth - 1) < mp.mpf(10) ** -29


def test_numbers_inside_expressions_and_at_any_precision():
    x = sp.Symbol("x")
    twice: sp.Expr = 2 * gauss_cdf(x + 1)
    assert twice.subs(x, sp.sqrt(2) - 1).evalf(50) == sp.N(1 + sp.erf(1), 50)
    assert abs(twice.evalf(20, subs={x: 0}) - sp.N(1 + sp.erf(1 / sp.sqrt(2)), 20)) < 1e-19
    assert gauss_cdf(gauss_pdf(0)).evalf(30) == gauss_cdf(1 / sp.sqrt(2 * sp.pi)).evalf(30)
    # P(X > 0.3, Y > 0.3) - Phi(-0.3)^2 at correlation 1e-25: a difference that 30 digits do not see
    near = special.bvn_survival(sp.Rational(3, 10), sp.Rational(3, 10), sp.Rational(1, 10**25))
    change = sp.N(near - gauss_cdf(sp.Rational(-3, 10)) ** 2, 20)
    assert abs(change * 10**25 - gauss_pdf(sp.Rational(3, 10)).evalf(20) ** 2) < 1e-18


def test_what_has_no_number_stays_as_it_is():
    x = sp.Symbol("x")
    for formula in (
        gauss_cdf(x),
        q(sp.Rational(1, 2)),
        a(3, 2),
        g(5, 2),
        gauss_pdf(sp.I),
        special.bvn_density(0, 0, 1),
    ):
        assert formula.evalf(30) == formula
