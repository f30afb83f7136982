"""The table of pairs, row by row: typed by hand, by quadrature of the defining integral, in float64.

Every row at scales from 1e-6 to 1e3 and at correlations up to +-(1 - 1e-6); centred, unequal scales included.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from tests.calculus_oracle import Integrand, pair_quadrature
from workbench.calculus import Expectation, expect_pair
from workbench.special import gauss_cdf

z = sp.Symbol("z")
K = sp.symbols("K11 K12 K22")
relu = sp.Max(z, 0)

CLOSED: dict[str, sp.Expr] = {
    "erf": sp.erf(z),
    "Phi": gauss_cdf(z),
    "relu": relu,
    "step": sp.Heaviside(z),
    "sign": sp.sign(z),
    "relu2": relu**2,
    "sin": sp.sin(z),
    "cos": sp.cos(z),
    "exp": sp.exp(z / 2),
    "gelu": z * gauss_cdf(z),
    "polynomial": z**3 + z**2 - z,
}
SERIES: dict[str, sp.Expr] = {
    "tanh": sp.tanh(z),
    "logistic": 1 / (1 + sp.exp(-z)),
    "softplus": sp.log(1 + sp.exp(z)),
    "silu": z / (1 + sp.exp(-z)),
}
NEAR = 1 - 1e-6
CORRELATIONS = (0.5, NEAR, -0.9, -NEAR, 0.0)
SCALES = [10.0**e for e in range(-6, 4)]
# (s, s', rho): every scale with every correlation, and every scale beside a distant one
GRID = [(s, s, rho) for s in SCALES for rho in CORRELATIONS] + [
    (s, 1e-3 / s, rho) for s in SCALES for rho in CORRELATIONS
]
WAVES = ("sin", "cos")


@functools.cache
def pair(name: str) -> Expectation:
    f = (CLOSED | SERIES)[name]
    return expect_pair(f, f, z, (0, 0), ((K[0], K[1]), (K[1], K[2])))


def law(s: float, s2: float, rho: float) -> dict[sp.Symbol, float]:
    """Variances and covariance; the correlation of the rounded numbers stays within (-1, 1)."""
    return dict(zip(K, (s * s, rho * s * s2, s2 * s2), strict=True))


def deviation(value: Any, truth: Any) -> float:
    return float(abs(value - truth) / max(1, abs(truth)))


# ---- the closed forms, typed by hand


def by_hand(name: str, x: Any, w: Any, y: Any) -> Any:
    """E f(Z1) f(Z2) at K11 = x, K12 = w, K22 = y as the table prints it."""
    total, root = x + y, mp.sqrt(x * y)
    angle = mp.acos(w / root)
    sine, cosine = mp.sin(angle), mp.cos(angle)
    D = mp.sqrt((1 + x) * (1 + y) - w * w)
    forms: dict[str, Callable[[], Any]] = {
        "erf": lambda: 2 / mp.pi * mp.asin(2 * w / mp.sqrt((1 + 2 * x) * (1 + 2 * y))),
        "Phi": lambda: mp.mpf(1) / 4 + mp.asin(w / mp.sqrt((1 + x) * (1 + y))) / (2 * mp.pi),
        "relu": lambda: root / (2 * mp.pi) * (sine + (mp.pi - angle) * cosine),
        "step": lambda: (mp.pi - angle) / (2 * mp.pi),
        "sign": lambda: 1 - 2 * angle / mp.pi,
        "relu2": lambda: x * y / (2 * mp.pi) * (3 * sine * cosine + (mp.pi - angle) * (1 + 2 * cosine**2)),
        "sin": lambda: (mp.exp(-total / 2 + w) - mp.exp(-total / 2 - w)) / 2,
        "cos": lambda: (mp.exp(-total / 2 + w) + mp.exp(-total / 2 - w)) / 2,
        "exp": lambda: mp.exp((total / 2 + w) / 4),
        "gelu": lambda: (
            w / 4 + ((w * w + x * y * D * D) / ((1 + x) * (1 + y) * D) + w * mp.atan(w / D)) / (2 * mp.pi)
        ),
        # E z^3 z'^3 = 6 w^3 + 9 w x y, E z^3 z' = 3 w x, E z^2 z'^2 = x y + 2 w^2
        "polynomial": lambda: 6 * w**3 + 9 * w * x * y - 3 * w * (x + y) + w + x * y + 2 * w**2,
    }
    return forms[name]()


@pytest.mark.parametrize("name", CLOSED)
def test_the_engine_finds_the_table(name: str) -> None:
    formula = pair(name)
    assert formula.kind == "closed form" and not formula.value.parts
    for point in GRID:
        values = law(*point)
        with mp.workdps(60):
            truth = by_hand(name, *(mp.mpf(v) for v in values.values()))
            # 25 digits of the value itself, tiny ones included, down to 1e-30
            assert abs(formula.mp(values) - truth) <= mp.mpf(10) ** -25 * max(
                abs(truth), mp.mpf(10) ** -30
            ), point


@pytest.mark.parametrize("name", CLOSED)
def test_float64_against_the_table(name: str) -> None:
    for point in GRID:
        values = law(*point)
        with mp.workdps(60):
            truth = by_hand(name, *(mp.mpf(v) for v in values.values()))
        assert deviation(pair(name).evaluate(values), truth) <= 1e-10, point


# ---- quadrature of the defining integral


def certified(name: str, grid: list[tuple[float, float, float]]) -> None:
    """Certificate within 1e-12 and float64 within 1e-10, both of the mpmath quadrature."""
    certificate = pair(name).certify([law(*point) for point in grid])
    assert certificate.points == len(grid) and certificate.deviation <= 1e-12
    for point in grid:
        with mp.workdps(30):
            truth = pair(name).mp(law(*point)) if name in CLOSED else None
        if truth is not None:  # a series certifies its float64 value itself
            assert deviation(pair(name).evaluate(law(*point)), truth) <= 1e-10 - 1e-12, point


# one point a row, small and large scales and both signs of the correlation among them
SAMPLE: dict[str, list[tuple[float, float, float]]] = {
    "erf": [(1.0, 0.3, NEAR)],
    "Phi": [(1.0, 0.3, -NEAR)],
    "relu": [(1e-3, 1e3, 0.5)],
    "step": [(1e-6, 1e-4, -0.9)],
    "sign": [(1e-1, 1e-5, 0.5)],
    "relu2": [(1e3, 1e-3, 0.5)],
    "sin": [(1.0, 0.3, NEAR)],
    "cos": [(1e-2, 1.0, -NEAR)],
    "exp": [(1.0, 2.0, -NEAR)],
    "gelu": [(1.0, 0.3, NEAR)],
    "polynomial": [(1e-6, 1.0, 0.5)],
    "tanh": [(1e-2, 1.0, -0.9)],
    "logistic": [(1.0, 0.3, -NEAR)],
    "softplus": [(1e-1, 1e-4, NEAR)],
    "silu": [(1.0, 0.3, -0.9)],
}


@pytest.mark.parametrize("name", SAMPLE)
def test_certificate_of_a_row(name: str) -> None:
    if name in SERIES:
        assert pair(name).kind == "hermite series"
    certified(name, SAMPLE[name])


@pytest.mark.parametrize("rho", [0.5, -0.9, 0.94])
def test_the_tail_bound_survives_rounding(rho: float) -> None:
    """A narrow f has coefficients of 1e-9 whose squares E f^2 does not hold: they count beside a rough g."""
    logistic = Integrand(lambda t: 0.5 * (1 + np.tanh(t / 2)), (), 0.5)
    values = law(3e-3, 1e3, rho)
    truth = pair_quadrature(logistic, logistic, (0.0, 0.0, *values.values()))
    result = pair("logistic").report(values)
    assert deviation(result.value, truth) <= max(result.error, 1e-14) <= 1e-12


# E f f' at 1e2 and 1e3 is beyond the reach of the certificate's quadrature for waves (1e8 evaluations)
# and for exponentials (beyond float64): those have tests of their own
CERTIFIED_UP_TO = {"sin": 10.0, "cos": 10.0, "exp": 10.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_certificates_on_all_scales(name: str) -> None:
    equal = [(s, s, CORRELATIONS[i % 4]) for i, s in enumerate(SCALES)]
    # the wide one first: the certificate's outer panels follow the waves of f, not those of g given Z1
    wide = [10.0**e for e in (3, 2, 1, 0, -1)]
    distant = [(s, 1e-3 / s, CORRELATIONS[(i + 1) % 4]) for i, s in enumerate(wide)]
    extreme = [(1e3, 1e3, NEAR), (1.0, 1.0, 0.0)]
    top = CERTIFIED_UP_TO.get(name, 1e3)
    certified(name, [p for p in (*equal, *distant, *extreme) if max(p[:2]) <= top])


@pytest.mark.parametrize("name", WAVES)
@pytest.mark.parametrize("rho", [NEAR, -NEAR, 0.5])
def test_fast_waves_by_the_trapezoidal_rule(name: str, rho: float) -> None:
    """E f(s X) f(k X + l Y), X and Y independent: exact up to rounding at steps of 2 pi/(frequency + 18)."""
    f = {"sin": np.sin, "cos": np.cos}[name]
    for s in (1e2, 1e3) if abs(rho) == NEAR else (1e2,):
        values = law(s, s, rho)
        k11, k12, k22 = values.values()
        slope, rest = k12 / s, np.sqrt((k11 * k22 - k12 * k12) / k11)
        x, y = (np.arange(-9, 9, 2 * np.pi / (speed + 18)) for speed in (s + abs(slope), rest))
        px, py = (np.exp(-t * t / 2) / np.sqrt(2 * np.pi) * (t[1] - t[0]) for t in (x, y))
        truth = np.sum((px * f(s * x))[:, None] * py * f(slope * x[:, None] + rest * y))
        with mp.workdps(30):
            assert deviation(pair(name).mp(values), float(truth)) <= 1e-12
        assert deviation(pair(name).evaluate(values), float(truth)) <= 1e-10


@pytest.mark.parametrize("rho", [NEAR, -NEAR, 0.5])
def test_large_exponentials_by_the_trapezoidal_rule(rho: float) -> None:
    """E exp(u X + v Y), X and Y independent: a product of two integrals around X = u and Y = v."""
    for s in (1e2, 1e3):
        values = law(s, s, rho)
        with mp.workdps(30):
            x, w, y = (mp.mpf(v) for v in values.values())
            rest = mp.sqrt(y - w * w / x)
            truth = mp.mpf(1)
            for speed in (mp.sqrt(x) / 2 + w / mp.sqrt(x) / 2, rest / 2):
                nodes = [speed + j / mp.mpf(4) for j in range(-56, 57)]
                truth *= mp.fsum(mp.exp(speed * t) * mp.npdf(t) for t in nodes) / 4
            assert deviation(pair("exp").mp(values), truth) <= 1e-12
        assert deviation(pair("exp").evaluate(values), truth) <= 1e-10


def test_the_grid_holds_what_it_promises() -> None:
    assert {s for s, _, _ in GRID} == set(SCALES) and min(SCALES) == 1e-6 and max(SCALES) == 1e3
    assert {rho for _, _, rho in GRID} == set(CORRELATIONS)
    assert set(SAMPLE) == {*CLOSED, *SERIES}
    assert {rho for points in SAMPLE.values() for _, _, rho in points} >= {NEAR, -NEAR, 0.5, -0.9}
