"""Named functions of the calculus: float64 bodies and derivative rules against independent mpmath values."""

from __future__ import annotations

import itertools
import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from workbench.calculus import numerics, special

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
        value = float(getattr(numerics, name)(*point))
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
        assert abs(float(numerics.bvn_survival(h, k, rho)) - truth) < 1e-15
    orders = range(6)
    values = [float(numerics.hermite_function(j, 0.7)) for j in orders]
    he = [1, 0.7, 0.7**2 - 1, 0.7**3 - 3 * 0.7, 0.7**4 - 6 * 0.7**2 + 3, 0.7**5 - 10 * 0.7**3 + 15 * 0.7]
    phi = math.exp(-0.245) / math.sqrt(2 * math.pi)
    assert np.allclose(
        values, [phi * x / math.sqrt(math.factorial(j)) for j, x in enumerate(he)], rtol=1e-14, atol=0
    )
