"""Integrands without closed forms: quadrature and Mehler's series reach the tolerance they state."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from scipy import special

from tests.calculus_oracle import Integrand, line_quadrature, pair_quadrature
from workbench.calculus import expect, expect_hermite, expect_pair
from workbench.errors import NumericalFailure

z = sp.Symbol("z")
m, s, k = sp.symbols("m s k")
m1, m2, K11, K12, K22 = sp.symbols("m1 m2 K11 K12 K22")
SYMBOLIC = ((m1, m2), ((K11, K12), (K12, K22)))


def logistic(t):
    return 0.5 * (1 + np.tanh(t / 2))


SMOOTH = {
    "tanh": (sp.tanh(z), Integrand(np.tanh, (), 0.5)),
    "tanh_squared": (sp.tanh(z) ** 2, Integrand(lambda t: np.tanh(t) ** 2, (), 0.5)),
    "logistic": (1 / (1 + sp.exp(-z)), Integrand(logistic, (), 0.5)),
    "softplus": (sp.log(1 + sp.exp(z)), Integrand(lambda t: np.logaddexp(0, t), (), 0.5)),
    "silu": (z / (1 + sp.exp(-z)), Integrand(lambda t: t * logistic(t), (), 0.5)),
    "softsign": (z / (1 + sp.Abs(z)), Integrand(lambda t: t / (1 + np.abs(t)), (0,), 0.5)),
    "tanh_halfline": (
        sp.Piecewise((sp.tanh(z - 1), z > 0), (z, True)),
        Integrand(lambda t: np.where(t > 0, np.tanh(t - 1), t), (0,), 0.5, 1.0),
    ),
    "steep": (sp.tanh(25 * z - 40), Integrand(lambda t: np.tanh(25 * t - 40), (), 0.02, 1.6)),
    "cubic_plus_tanh": (z**3 + sp.tanh(z) + sp.Max(z, 0), Integrand(lambda t: t**3 + np.tanh(t) + np.maximum(t, 0), (0,), 0.5)),
}  # fmt: skip
SCALES = [10.0**e for e in range(-6, 4)]


def close(value, truth, tolerance=1e-10):
    return bool(abs(value - truth) <= tolerance * max(1.0, abs(truth)))


@pytest.mark.parametrize("name", SMOOTH)
def test_mean_by_quadrature(name):
    formula = expect(SMOOTH[name][0], z, m, s)
    assert formula.kind == "quadrature" and formula.expression is None and formula.tolerance == 1e-12
    for scale, shift in itertools.product(SCALES, (0.0, 0.4, -2.3)):
        if name == "cubic_plus_tanh" and scale > 20:  # z**3 cancels to 1e-7 in the float64 oracle
            continue
        value = formula.evaluate({m: shift, s: scale})
        assert close(value, line_quadrature(SMOOTH[name][1], shift, scale), 2e-12), (scale, shift)


@pytest.mark.parametrize("name", SMOOTH)
def test_certificate(name):
    formula = expect(SMOOTH[name][0], z, m, s)
    assert formula.certify([{m: 0.4, s: x} for x in SCALES], tolerance=2e-12).points == 10
    for x in (m, s):
        assert formula.diff(x).certify([{m: 0.4, s: 0.7}], tolerance=2e-12).points == 1


@pytest.mark.parametrize("name", SMOOTH)
def test_hermite_coefficient_with_symbolic_order(name):
    formula = expect_hermite(SMOOTH[name][0], z, k, m, s)
    for order in (0, 1, 2, 7, 20):
        if order >= formula.k_from:
            truth = line_quadrature(SMOOTH[name][1], 0.2, 1.4, order)
            assert close(formula.evaluate({m: 0.2, s: 1.4, k: order}), truth, 2e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_pairs_by_series_and_by_quadrature(name):
    formula = expect_pair(SMOOTH[name][0], SMOOTH["silu"][0], z, *SYMBOLIC)
    assert formula.kind == "hermite series"
    used = set()
    for (s1, s2), rho in itertools.product(
        [(1.1, 0.6), (1e-6, 3.0), (1e3, 1e3)], [0.0, 0.3, -0.9, 1 - 1e-6, 1e-6 - 1]
    ):
        law = (0.2, -0.5, s1 * s1, rho * s1 * s2, s2 * s2)
        result = formula.report(dict(zip((m1, m2, K11, K12, K22), law, strict=True)))
        truth = pair_quadrature(SMOOTH[name][1], SMOOTH["silu"][1], law)
        assert close(result.value, truth, 1e-11), law
        assert result.error <= 1e-11 * max(1.0, abs(truth))
        used.add(result.kind)
    assert used == {"hermite series", "quadrature"} or name in ("cubic_plus_tanh", "tanh_halfline")


def test_the_tail_bound_of_the_series_is_a_bound():
    formula = expect_pair(sp.tanh(2 * z), sp.tanh(2 * z), z, (0, 0), ((1, 0.7), (0.7, 1)), tolerance=1e-5)
    truth = pair_quadrature(*(Integrand(lambda t: np.tanh(2 * t), (), 0.3),) * 2, (0, 0, 1, 0.7, 1))
    result = formula.report()
    assert result.kind == formula.kind == "hermite series"
    # a bound, and not an idle one: Cauchy-Schwarz loses a small factor only for f = g
    assert abs(result.value - truth) <= result.error + 1e-14 <= 1e-5
    assert result.error < 30 * abs(result.value - truth)


def test_kind_is_decided_where_the_covariance_is_a_number():
    near = expect_pair(sp.tanh(z), sp.Max(z, 0), z, (0, 0), ((1, 0.999999), (0.999999, 1)))
    assert near.kind == "quadrature" and near.rules[-1].name == "quadrature"
    assert expect_pair(sp.tanh(z), sp.Max(z, 0), z, (0, 0), ((1, 0.2), (0.2, 1))).kind == "hermite series"


def test_wave_against_two_gates_has_no_closed_form_and_says_so():
    formula = expect_pair(sp.sin(2 * z), sp.Max(z, 0) * sp.erf(z), z, *SYMBOLIC)
    assert formula.kind == "hermite series" and formula.expression is None
    law = (0.2, -0.3, 1.2, 0.5, 0.8)
    partner = Integrand(lambda t: np.maximum(t, 0) * special.erf(t), (0,), 0.5)
    truth = pair_quadrature(Integrand(lambda t: np.sin(2 * t), ()), partner, law)
    assert close(formula.evaluate(dict(zip((m1, m2, K11, K12, K22), law, strict=True))), truth, 2e-12)


@pytest.mark.parametrize("partner", [sp.Max(z, 0), sp.tanh(z), sp.sign(z - 1)])
def test_derivatives_of_a_pair_without_closed_form(partner):
    formula = expect_pair(SMOOTH["tanh_halfline"][0], partner, z, *SYMBOLIC)
    values = {m1: 0.2, m2: -0.3, K11: 1.2, K12: 0.5, K22: 0.8}
    for x in values:
        ends = (formula.evaluate(values | {x: values[x] + d}) for d in (2e-3, -2e-3, 1e-3, -1e-3))
        outer, outer2, inner, inner2 = ends
        truth = (8 * (inner - inner2) - (outer - outer2)) / 12e-3
        assert close(formula.diff(x).evaluate(values), truth, 1e-9), x
    value = formula.diff(K22).diff(K12).evaluate(values)
    ends = (formula.diff(K22).evaluate(values | {K12: 0.5 + d}) for d in (1e-3, -1e-3))
    assert close(value, (next(ends) - next(ends)) / 2e-3, 1e-5)


def test_certificate_of_a_series():
    formula = expect_pair(sp.tanh(z), sp.Max(z, 0), z, *SYMBOLIC)
    grid = [{m1: 0.2, m2: -0.3, K11: 1.2, K12: 0.5, K22: 0.8}]
    assert 0 < formula.certify(grid).deviation <= 1e-12


def test_precision_beyond_float64():
    with mp.workdps(40):
        value = expect(sp.tanh(z) ** 2, z, 0, 1).mp()
        truth = mp.quad(lambda x: mp.tanh(x) ** 2 * mp.npdf(x), mp.linspace(-14, 14, 57))
        assert abs(value - truth) < mp.mpf(10) ** -37


def test_values_beyond_the_float_range_are_refused_not_returned():
    with pytest.raises(NumericalFailure, match="range of float64"):
        expect(sp.exp(z) * sp.tanh(z), z, 0, s).evaluate({s: 1e3})


def test_growing_leftover_below_the_limit():
    value = expect(sp.exp(z**2 / 8) * sp.tanh(z) ** 2, z, 0, 1).evaluate()
    truth = line_quadrature(Integrand(lambda t: np.exp(t * t / 8) * np.tanh(t) ** 2, (), 0.5), 0, 1)
    assert close(value, truth, 1e-12)
    # E exp(z^2/8) = 1/sqrt(1 - s^2/4), a closed form
    assert math.isclose(expect(sp.exp(z**2 / 8), z, 0, 1).evaluate(), 1 / math.sqrt(0.75), rel_tol=1e-15)
