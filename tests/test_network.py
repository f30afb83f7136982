"""The population risk of a real network, against double loops, quadrature and Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from solvers import network
from solvers.generated import isotropic_nonmonotone, isotropic_truncated_relu
from solvers.network import population_risk
from workbench.errors import BadInput, NumericalFailure

Array = NDArray[np.float64]

# Truncated ReLU: -2.5 up to 0.5, 7.5 from 1.5 on, i.e. -2.5 + 10 (t - 0.5)_+ - 10 (t - 1.5)_+.
KNOTS = np.array([0.5, 1.5])
SLOPE_JUMPS = np.array([10.0, -10.0])
LEFT_VALUE = -2.5
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(24)
# h_k(g) phi(g) decays like exp(-g^2/4): 4e-19 at 13, whatever the order.
PANELS = np.linspace(-13.0, 13.0, 105)


def sigma(z: Array) -> Array:
    """The truncated ReLU of the paper."""
    return np.interp(z, KNOTS, [-2.5, 7.5])


def _quadrature(breaks: Array) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights times phi, both (M, nodes), on panels split at ``breaks`` (M, m)."""
    edges = np.concatenate([np.broadcast_to(PANELS, (len(breaks), len(PANELS))), breaks], axis=1)
    edges = np.sort(np.clip(edges, -13.0, 13.0), axis=1)
    half = 0.5 * np.diff(edges, axis=1)[..., None]
    g = (edges[:, :-1, None] + half + half * NODES).reshape(len(breaks), -1)
    w = (half * NODE_WEIGHTS).reshape(len(breaks), -1)
    return g, w * np.exp(-0.5 * g**2) / math.sqrt(2 * math.pi)


def _far(x: Array) -> Array:
    """``x`` with what a vanishing denominator left replaced by a point beyond every panel."""
    return np.where(np.isfinite(x), x, 99.0)


def hermite(s: Array, order: int) -> Array:
    """a_k(s) = E sigma(sG) h_k(G), k = 0..order, by quadrature split at the knots; (N,) -> (N, order + 1)."""
    with np.errstate(divide="ignore"):
        g, w = _quadrature(_far(KNOTS / np.asarray(s, dtype=float)[:, None]))
    weighted = w * sigma(s[:, None] * g)
    previous, current = np.zeros_like(g), np.ones_like(g)
    a = np.empty((len(s), order + 1))
    for k in range(order + 1):
        a[:, k] = np.sum(weighted * current, axis=1)
        previous, current = current, (g * current - math.sqrt(k) * previous) / math.sqrt(k + 1)
    return a


def pair(s: Array, s2: Array, cosine: Array) -> Array:
    """E sigma(s X) sigma(s2 X2) at correlation ``cosine``, all (M,): quadrature in X, closed form in X2."""
    sine = np.sqrt(1.0 - cosine**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        kinks = _far(KNOTS / (s2 * cosine)[:, None])
        widths = _far((sine / np.abs(cosine))[:, None] * np.array([0.0, -8, -3, -1, 1, 3, 8]))
        smooth = (kinks[:, :, None] + widths[:, None, :]).reshape(len(s), -1)
        x, w = _quadrature(np.concatenate([_far(KNOTS / s[:, None]), smooth], axis=1))
    mean = (s2 * cosine)[:, None] * x
    spread = np.maximum(s2 * sine, 1e-100)[:, None]
    inner = np.full_like(x, LEFT_VALUE)
    for t, c in zip(KNOTS, SLOPE_JUMPS, strict=True):
        A = np.clip((mean - t) / spread, -40.0, 1e200)
        density = np.exp(-0.5 * np.minimum(A, 40.0) ** 2) / math.sqrt(2 * math.pi)
        inner += c * (spread * density + (mean - t) * ndtr(A))
    return np.sum(w * sigma(s[:, None] * x) * inner, axis=1)


def make_module() -> ModuleType:
    """Isotropic truncated-ReLU model by brute-force quadrature, as an oracle for the derived module."""

    def data_law(p: Mapping[str, Any]) -> Any:
        return (
            (1.0, 0.5, ((p["d"], p["tau_plus"], 0.0),)),
            (-1.0, 0.5, ((p["d"], p["tau_minus"], 0.0),)),
        )

    def a(order: int, s: Array) -> Array:
        return hermite(s, order)

    def U_pair(x: Array, x2: Array, cosines: Array, p: Mapping[str, Any]) -> Array:
        """Points (M, 1) and cosines (M, 1), one for the only block."""
        assert np.ndim(x) == np.ndim(x2) == np.ndim(cosines) == 2
        r, r2, cosine = (np.asarray(v)[:, 0] for v in (x, x2, cosines))
        plus = pair(p["tau_plus"] * r, p["tau_plus"] * r2, cosine)
        return 0.5 * plus + 0.5 * pair(p["tau_minus"] * r, p["tau_minus"] * r2, cosine)

    def V(x: Array, p: Mapping[str, Any]) -> Array:
        r = x[:, 0]
        return 0.5 * (hermite(p["tau_minus"] * r, 0) - hermite(p["tau_plus"] * r, 0))[:, 0]

    module = ModuleType("oracle_truncated_relu")
    names = {"NAME": "oracle_truncated_relu", "COORDINATES": ("r",), "data_law": data_law}
    vars(module).update(names, a=a, U_pair=U_pair, V=V, sigma=sigma)
    return module


MODULE = make_module()


def parameters(d: int) -> dict[str, Any]:
    """The std convention at Delta = 0.8."""
    return {"d": d, "tau_plus": 1.8, "tau_minus": 0.2}


def special_weights(d: int) -> Array:
    """Twelve units: random, nearly parallel, parallel, antiparallel, vanishing and long ones."""
    rng = np.random.default_rng(7)
    W = rng.standard_normal((12, d)) * (1.5 / math.sqrt(d))
    W[1] = W[0] + 1e-6 * W[1]
    W[2] = 1.7 * W[0]
    W[3] = -W[0]
    W[4] = -0.6 * W[0] + 1e-3 * W[4]
    W[5] = 0.0
    W[6] = 0.0
    W[7] *= 20.0
    # Cosine just below and just above the cut with unit 8, whatever the dimension.
    for row, cosine in ((9, 0.899), (10, 0.901)):
        across = W[row] - (W[row] @ W[8]) / (W[8] @ W[8]) * W[8]
        across *= np.linalg.norm(W[8]) / np.linalg.norm(across)
        W[row] = cosine * W[8] + math.sqrt(1 - cosine**2) * across
    return W


def double_loop(W: Array, p: Mapping[str, Any]) -> float:
    """R_N unit by unit and pair by pair: every pair by quadrature, no series, no Gram matrix."""
    r = [math.sqrt(sum(float(c) ** 2 for c in w)) for w in W]
    first, second, cosines = [], [], []
    for i, w in enumerate(W):
        for j, w2 in enumerate(W):
            cosine = float(w @ w2) / (r[i] * r[j]) if r[i] * r[j] > 0 else 0.0
            first.append(r[i])
            second.append(r[j])
            cosines.append(1.0 if i == j else max(-1.0, min(1.0, cosine)))
    U = MODULE.U_pair(*(np.array(v)[:, None] for v in (first, second, cosines)), p)
    V = MODULE.V(np.array(r)[:, None], p)
    return 1.0 + 2.0 * float(sum(V)) / len(W) + float(sum(U)) / len(W) ** 2


def monte_carlo(
    module: ModuleType, W: Array, p: Mapping[str, Any], samples: int, seed: int
) -> tuple[float, float]:
    """E (y - yhat)^2 by plain sampling of the network itself, and its standard error."""
    rng = np.random.default_rng(seed)
    squares = []
    for _ in range(samples // 100_000):
        y = np.where(rng.random(100_000) < 0.5, 1.0, -1.0)
        std = np.where(y > 0, p["tau_plus"], p["tau_minus"])
        x = std[:, None] * rng.standard_normal((100_000, W.shape[1]))
        squares.append((y - module.sigma(x @ W.T).mean(axis=1)) ** 2)
    flat = np.concatenate(squares)
    return float(flat.mean()), float(flat.std() / math.sqrt(len(flat)))


@pytest.mark.parametrize("s", [0.02, 0.8, 5.0])
def test_the_oracle_itself_agrees_with_mehler(s: float) -> None:
    # The two oracle routes are independent of each other; both panels are good to rounding.
    s1, s2, c = np.array([s]), np.array([1.3]), np.array([-0.6])
    k = np.arange(81)
    series = float(np.sum(c[0] ** k * hermite(s1, 80)[0] * hermite(s2, 80)[0]))
    # ||sigma||^2 <= 7.5^2 and 0.6^81 = 1e-18: only rounding of sums of size 7.5^2 is left.
    assert float(pair(s1, s2, c)[0]) == pytest.approx(series, abs=1e-12)


@pytest.mark.parametrize("module", [MODULE, isotropic_truncated_relu], ids=lambda module: module.NAME)
@pytest.mark.parametrize("d", [3, 40])
@pytest.mark.parametrize("block", [1, 30, 65_536])
def test_matches_the_double_loop(
    module: ModuleType, d: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "BLOCK_ENTRIES", block)
    W, p = special_weights(d), parameters(d)
    # The stated tolerance is 1e-10 of (mean ||sigma||)^2 <= 7.5^2.
    assert population_risk(module, W, p) == pytest.approx(double_loop(W, p), abs=1e-10 * 7.5**2)


def test_the_series_stops_within_its_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    W, p = special_weights(40), parameters(40)
    x = np.linalg.norm(W, axis=1, keepdims=True)
    norms = np.sqrt(MODULE.U_pair(x, x, np.ones_like(x), p))
    exact = double_loop(W, p)
    errors = []
    for tolerance in (1e-2, 1e-4, 1e-6):
        monkeypatch.setattr(network, "SERIES_TOLERANCE", tolerance)
        errors.append(abs(population_risk(MODULE, W, p) - exact))
        assert errors[-1] <= tolerance * float(np.mean(norms)) ** 2
    # Cutting must really happen, or the bound above is never put to the test.
    assert errors[0] > errors[1] > errors[2] > 0


def test_random_units_in_high_dimension_need_few_orders() -> None:
    """At d = 320 the cosines are about 0.06: coefficients from order 24 on are not looked at."""
    short = make_module()

    def cut(order: int, s: Array) -> Array:
        a = hermite(s, order)
        a[:, 24:] = math.nan
        return a

    vars(short).update(a=cut)
    W = np.random.default_rng(1).standard_normal((60, 320)) / math.sqrt(320)
    assert population_risk(short, W, parameters(320)) == population_risk(MODULE, W, parameters(320))


@pytest.mark.parametrize("d", [1, 2])
def test_low_dimensions_are_all_near_pairs(d: int) -> None:
    W = np.random.default_rng(3).standard_normal((9, d))
    p = parameters(d)
    assert population_risk(MODULE, W, p) == pytest.approx(double_loop(W, p), abs=1e-10 * 7.5**2)


@pytest.mark.parametrize(
    "module", [MODULE, isotropic_truncated_relu, isotropic_nonmonotone], ids=lambda module: module.NAME
)
@pytest.mark.parametrize("d", [3, 40])
def test_matches_monte_carlo_of_the_network(module: ModuleType, d: int) -> None:
    W, p = special_weights(d), parameters(d)
    mean, error = monte_carlo(module, W, p, 800_000, seed=11)
    assert error < 0.01 * mean
    assert abs(population_risk(module, W, p) - mean) < 4 * error


def test_vanishing_units_only() -> None:
    # yhat = sigma(0) = -2.5 for every x, so R = E (y + 2.5)^2 = 1 + 6.25.
    assert population_risk(MODULE, np.zeros((4, 5)), parameters(5)) == pytest.approx(7.25, rel=1e-12)


def test_bad_input_names_the_mend() -> None:
    p = parameters(3)
    with pytest.raises(BadInput, match=r"shape \(4, 2\) with d = 3"):
        population_risk(MODULE, np.zeros((4, 2)), p)
    with pytest.raises(BadInput, match=r"d = inf"):
        population_risk(MODULE, np.zeros((4, 2)), {**p, "d": math.inf})
    with pytest.raises(BadInput, match=r"shape \(0, 3\)"):
        population_risk(MODULE, np.zeros((0, 3)), p)
    W = np.zeros((4, 3))
    W[2, 1] = math.nan
    with pytest.raises(BadInput, match="unit 2"):
        population_risk(MODULE, W, p)


def test_other_structures_are_refused() -> None:
    two_blocks = make_module()

    def data_law(p: Mapping[str, Any]) -> Any:
        return (
            (1.0, 0.5, ((2, 1.8, 0.0), (1, 1.0, 0.0))),
            (-1.0, 0.5, ((2, 0.2, 0.0), (1, 1.0, 0.0))),
        )

    vars(two_blocks).update(data_law=data_law, COORDINATES=("r1", "r2"))
    with pytest.raises(BadInput, match=r"\('r1', 'r2'\).*isotropic"):
        population_risk(two_blocks, np.zeros((4, 3)), parameters(3))


def test_an_overflowing_norm_is_a_numerical_failure() -> None:
    W = np.zeros((4, 3))
    W[2] = 1e200
    with pytest.raises(NumericalFailure, match="unit 2"):
        population_risk(MODULE, W, parameters(3))


def test_risk_of_huge_nearly_parallel_units_is_that_of_monte_carlo() -> None:
    """Weights as a far too large step leaves them: norms of 1e8 about one direction, cosines above 0.9."""
    from solvers.generated import isotropic_truncated_relu as module

    rng = np.random.default_rng(8)
    p = {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}
    W = 1e8 * (rng.standard_normal(40) / 6 + 0.02 * rng.standard_normal((30, 40)))
    x = rng.standard_normal((200_000, 40)) * np.repeat([1.8, 0.2], 100_000)[:, None]
    squares = (np.repeat([1.0, -1.0], 100_000) - module.sigma(x @ W.T).mean(axis=1)) ** 2
    deviation = population_risk(module, W, p) - squares.mean()
    assert abs(deviation) < 4 * squares.std() / np.sqrt(len(squares))
