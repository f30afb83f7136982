"""The population risk of a real network, against double loops, quadrature and Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from solvers import network as network_module
from solvers.generated import (
    anisotropic_relu,
    anisotropic_truncated_relu,
    isotropic_nonmonotone,
    isotropic_relu,
    isotropic_truncated_relu,
)
from solvers.network import Network, population_risk
from tests.built import uncertified
from workbench import (
    BadInput,
    Model,
    NumericalFailure,
    Polynomial,
    ReLU,
    anisotropic_gaussians,
    isotropic_gaussians,
    truncated_relu,
)
from workbench.codegen import generate, load

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


@cache
def built(model: Model) -> ModuleType:
    """The module of a model that is not among the committed ones."""
    return load(generate(uncertified(model)), model.name)


# data, unit and means of a model -> its module, and what p holds besides d and the standard deviations
MODULES: dict[str, tuple[Callable[[], ModuleType], dict[str, Any]]] = {
    "oracle": (lambda: MODULE, {}),
    "isotropic": (lambda: isotropic_truncated_relu, {}),
    "nonmonotone": (lambda: isotropic_nonmonotone, {}),
    "isotropic affine": (lambda: isotropic_relu, {}),
    "anisotropic": (lambda: anisotropic_truncated_relu, {"s0": 2}),
    "anisotropic affine": (lambda: anisotropic_relu, {"s0": 2}),
    "opposite": (lambda: built(isotropic_gaussians(truncated_relu(), means="opposite")), {"mu": 0.7}),
    "all": (lambda: built(anisotropic_gaussians(ReLU(), "affine", "opposite")), {"s0": 2, "mu": 0.7}),
}
# Coefficients of polynomials whose risk is matrix algebra.
CURVED, STRAIGHT = [0.3, -0.8, 0.5], [0.3, -0.8, 0.0]
POLYNOMIALS: dict[str, tuple[Model, list[float], dict[str, Any]]] = {
    "quadratic, opposite": (
        isotropic_gaussians(Polynomial(CURVED), means="opposite", name="quadratic"),
        CURVED,
        {"mu": 0.7},
    ),
    "quadratic, all": (
        anisotropic_gaussians(Polynomial(CURVED), "affine", "opposite", name="quadratic"),
        CURVED,
        {"s0": 2, "mu": 0.7},
    ),
    "line": (anisotropic_gaussians(Polynomial(STRAIGHT), name="line"), STRAIGHT, {"s0": 2}),
}


def case(name: str, d: int) -> tuple[ModuleType, Network, dict[str, Any]]:
    """A module, twelve special units for it with output weights of both signs, and its numbers."""
    make, others = MODULES[name]
    module, rng = make(), np.random.default_rng(21)
    a, b = rng.standard_normal(12), rng.standard_normal(12)
    network = Network(special_weights(d), a, b) if "a" in module.COORDINATES else Network(special_weights(d))
    return module, network, {**parameters(d), **others}


def classes(p: Mapping[str, Any]) -> Any:
    """(y, mean (d,), std (d,)) of the two classes, as the paper has them."""
    for y, tau in ((1.0, p["tau_plus"]), (-1.0, p["tau_minus"])):
        mean, std = np.zeros(p["d"]), np.ones(p["d"])
        mean[0] = y * p.get("mu", 0.0)
        std[: p.get("s0", p["d"])] = tau
        yield y, mean, std


def outputs_and_offsets(network: Network) -> tuple[Array, Array]:
    """a and b, also of plain units."""
    count = len(network.W)
    a = np.ones(count) if network.a is None else network.a
    return a, np.zeros(count) if network.b is None else network.b


def naive(module: ModuleType, network: Network, p: Mapping[str, Any]) -> tuple[float, float]:
    """R_N pair by pair through the pair kernel, V of the reduced units, and (mean_i ||sigma_i||)^2."""
    (a, b), count = outputs_and_offsets(network), len(network.W)
    total, squares = 0.0, np.zeros(count)
    for _, mean, std in classes(p):
        u = [std * w for w in network.W]
        s = [math.sqrt(sum(float(c) ** 2 for c in v)) for v in u]
        at = [b[i] + sum(mean * w) for i, w in enumerate(network.W)]
        pairs = [(i, j) for i in range(count) for j in range(count)]
        rho = [float(u[i] @ u[j]) / (s[i] * s[j]) if s[i] * s[j] > 0 else 0.0 for i, j in pairs]
        rho = [1.0 if i == j else max(-1.0, min(1.0, c)) for c, (i, j) in zip(rho, pairs, strict=True)]
        columns = [(s[i], s[j], c, at[i], at[j]) for c, (i, j) in zip(rho, pairs, strict=True)]
        kernel = module.pair_kernel(*np.array(columns).T).reshape(count, count)
        total += 0.5 * float(a @ kernel @ a)
        squares += 0.5 * a**2 * np.diag(kernel)
    V = module.V(network.reduced(module, p), p)
    return 1.0 + 2.0 * float(np.mean(V)) + total / count**2, float(np.mean(np.sqrt(squares))) ** 2


def sample(p: Mapping[str, Any], count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """``count`` samples x (count, d), y (count,)."""
    plus = rng.random(count) < 0.5
    (_, mean, std), (_, mean2, std2) = classes(p)
    x = rng.standard_normal((count, p["d"]))
    return np.where(plus[:, None], mean + std * x, mean2 + std2 * x), np.where(plus, 1.0, -1.0)


def monte_carlo(
    module: ModuleType, network: Network, p: Mapping[str, Any], samples: int, seed: int
) -> tuple[float, float]:
    """E (y - yhat)^2 by plain sampling of the network itself, and its standard error."""
    rng = np.random.default_rng(seed)
    a, b = outputs_and_offsets(network)
    squares = []
    for _ in range(samples // 100_000):
        x, y = sample(p, 100_000, rng)
        squares.append((y - (a * module.sigma(x @ network.W.T + b)).mean(axis=1)) ** 2)
    flat = np.concatenate(squares)
    return float(flat.mean()), float(flat.std() / math.sqrt(len(flat)))


def risk_of_quadratics(network: Network, p: Mapping[str, Any], coefficients: list[float]) -> float:
    """R_N for sigma(t) = c0 + c1 t + c2 t^2: yhat = c + v.x + x.A x has mean and variance in closed form."""
    (a, b), (c0, c1, c2) = outputs_and_offsets(network), coefficients
    c = float(np.mean(a * (c0 + c1 * b + c2 * b**2)))
    v = (a * (c1 + 2 * c2 * b)) @ network.W / len(a)
    A = c2 * (network.W.T * a) @ network.W / len(a)
    total = 0.0
    for y, mean, std in classes(p):
        S = np.diag(std**2)
        gradient = v + 2 * A @ mean
        bias = y - (c + v @ mean + mean @ A @ mean + np.trace(A @ S))
        total += 0.5 * (bias**2 + 2 * np.trace(A @ S @ A @ S) + gradient @ S @ gradient)
    return float(total)


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
    monkeypatch.setattr(network_module, "BLOCK_ENTRIES", block)
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
        monkeypatch.setattr(network_module, "SERIES_TOLERANCE", tolerance)
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


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("d", [3, 40])
def test_matches_monte_carlo_of_the_network(name: str, d: int) -> None:
    module, network, p = case(name, d)
    mean, error = monte_carlo(module, network, p, 800_000, seed=11)
    assert error < 0.01 * mean
    assert abs(population_risk(module, network, p) - mean) < 4 * error


@pytest.mark.parametrize("name", [name for name in MODULES if name != "oracle"])
@pytest.mark.parametrize("d", [3, 40])
@pytest.mark.parametrize("block", [1, 30, 65_536])
def test_every_model_matches_the_double_loop(
    name: str, d: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_module, "BLOCK_ENTRIES", block)
    module, network, p = case(name, d)
    value, size = naive(module, network, p)
    assert population_risk(module, network, p) == pytest.approx(value, abs=1e-10 * size)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "oracle"])
def test_series_and_closed_form_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, network, p = case(name, 40)
    values = []
    for cut in (0.01, 0.2, 0.9, 0.97):
        monkeypatch.setattr(network_module, "COSINE_CUT", cut)
        values.append(population_risk(module, network, p))
    _, size = naive(module, network, p)
    assert max(values) - min(values) < 2e-10 * size
    assert len(set(values)) > 1


@pytest.mark.parametrize("name", ["anisotropic", "all"])
def test_every_model_stops_within_its_tolerance(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, network, p = case(name, 40)
    exact, size = naive(module, network, p)
    errors = []
    for tolerance in (1e-2, 1e-4, 1e-6):
        monkeypatch.setattr(network_module, "SERIES_TOLERANCE", tolerance)
        errors.append(abs(population_risk(module, network, p) - exact))
        assert errors[-1] <= tolerance * size
    assert errors[0] > errors[2] > 0


@pytest.mark.parametrize("name", ["quadratic, opposite", "quadratic, all", "line"])
@pytest.mark.parametrize(("units", "d"), [(7, 3), (300, 40)])
def test_polynomial_units_match_matrix_algebra(name: str, units: int, d: int) -> None:
    model, coefficients, others = POLYNOMIALS[name]
    rng = np.random.default_rng(4)
    W, p = rng.standard_normal((units, d)) / math.sqrt(d), {**parameters(d), **others}
    W[1] = W[0]
    network = Network(W, *rng.standard_normal((2, units))) if model.affine else Network(W)
    exact = risk_of_quadratics(network, p, coefficients)
    # The series ends by itself: what is left is rounding.
    assert population_risk(built(model), network, p) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("name", ["isotropic affine", "anisotropic", "opposite", "all"])
def test_rotations_within_a_block_and_copies_of_all_units_change_nothing(name: str) -> None:
    module, network, p = case(name, 40)
    free = slice(1 if "mu" in p else 0, p.get("s0", 40))
    rotation = np.eye(40)
    for block in (free, slice(p.get("s0", 40), 40)):
        size = block.stop - block.start
        rotation[block, block] = np.linalg.qr(np.random.default_rng(5).standard_normal((size, size)))[0]
    value, (_, size) = population_risk(module, network, p), naive(module, network, p)
    a, b = (None if x is None else np.tile(x, 3) for x in (network.a, network.b))
    turned = Network(network.W @ rotation, network.a, network.b)
    assert population_risk(module, turned, p) == pytest.approx(value, abs=1e-10 * size)
    copies = Network(np.tile(network.W, (3, 1)), a, b)
    assert population_risk(module, copies, p) == pytest.approx(value, abs=1e-10 * size)


@pytest.mark.parametrize("name", ["isotropic affine", "anisotropic affine", "all"])
def test_the_risk_is_a_square_in_the_output_weights_and_relu_is_homogeneous(name: str) -> None:
    module, network, p = case(name, 40)
    assert network.a is not None and network.b is not None
    at = {t: population_risk(module, Network(network.W, t * network.a, network.b), p) for t in (-1, 0, 1, 2)}
    assert at[0] == 1.0  # no output: E y^2
    assert at[2] - 3 * at[1] + 3 * at[0] - at[-1] == pytest.approx(0.0, abs=1e-9 * at[2])
    c = np.geomspace(0.1, 10.0, 12)
    scaled = Network(network.W * c[:, None], network.a / c, network.b * c)
    assert population_risk(module, scaled, p) == pytest.approx(at[1], rel=1e-9)


def test_models_agree_where_they_describe_the_same_data() -> None:
    _, network, p = case("all", 40)
    alike = {**p, "tau_plus": 1.0, "tau_minus": 1.0, "mu": 0.0}
    centred, isotropic = (
        {k: v for k, v in alike.items() if k not in left} for left in (("mu",), ("mu", "s0"))
    )
    values = [
        population_risk(MODULES["all"][0](), network, alike),
        population_risk(anisotropic_relu, network, centred),
        population_risk(isotropic_relu, network, isotropic),
    ]
    assert values[0] == pytest.approx(values[2], rel=1e-9)
    assert values[1] == pytest.approx(values[2], rel=1e-9)


@pytest.mark.parametrize(("name", "views"), [("opposite", 1), ("isotropic affine", 1), ("all", 2)])
def test_classes_with_common_directions_share_their_cosines(
    name: str, views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    inner = network_module._off_diagonal_sum

    def counted(*arguments: Any) -> float:
        calls.append(1)
        return inner(*arguments)

    monkeypatch.setattr(network_module, "_off_diagonal_sum", counted)
    population_risk(*case(name, 40))
    assert len(calls) == views


@pytest.mark.parametrize("name", ["isotropic", "isotropic affine", "anisotropic affine", "opposite", "all"])
def test_reduced_coordinates_and_outputs_are_those_of_the_definition(name: str) -> None:
    module, network, p = case(name, 7)
    (a, b), s0 = outputs_and_offsets(network), p.get("s0", 7)
    expected = {
        "a": a,
        "b": b,
        "m": network.W[:, 0],
        "r": np.sqrt((network.W[:, 1 if "mu" in p else 0 :] ** 2).sum(axis=1)),
        "r1": np.sqrt((network.W[:, 1 if "mu" in p else 0 : s0] ** 2).sum(axis=1)),
        "r2": np.sqrt((network.W[:, s0:] ** 2).sum(axis=1)),
    }
    points = network.reduced(module, p)
    np.testing.assert_allclose(
        points, np.stack([expected[c] for c in module.COORDINATES], axis=1), rtol=1e-14
    )
    x, y = sample(p, 200_000, np.random.default_rng(6))
    yhat = network.outputs(module, x)
    by_hand = [
        sum(a[i] * float(module.sigma(w @ z + b[i])) for i, w in enumerate(network.W)) / 12 for z in x[:5]
    ]
    np.testing.assert_allclose(yhat[:5], by_hand, rtol=1e-12)
    # The reduced units see of the data what the units do.
    assert abs(float(np.mean(module.V(points, p))) + np.mean(y * yhat)) < 4 * np.std(y * yhat) / math.sqrt(
        len(y)
    )


def test_units_that_are_almost_never_active() -> None:
    """Their mean squares are down at 1e-305, where the closed form is rounding of either sign."""
    W = 24.0 * np.eye(3)[np.arange(400) % 3]
    s, b = np.full(400, 24.0), 24.0 * np.linspace(-38.0, -37.0, 400)
    assert isotropic_relu.pair_kernel(s, s, np.ones(400), b, b).min() < 0
    p = {"d": 3, "tau_plus": 1.0, "tau_minus": 0.5}
    assert population_risk(isotropic_relu, Network(W, np.ones(400), b), p) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", ["quadratic, opposite", "quadratic, all"])
def test_a_series_that_ends_is_not_summed_beyond_its_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, coefficients, others = POLYNOMIALS[name]
    module = built(model)
    whole, W = module.a, np.random.default_rng(2).standard_normal((30, 5))

    def cut(order: int, *at: Array) -> Array:
        a = np.array(whole(order, *at))
        a[:, 5:] = math.nan
        return a

    monkeypatch.setattr(module, "a", cut)
    network = Network(W, np.ones(30), np.ones(30)) if model.affine else Network(W)
    p = {**parameters(5), **others}
    exact = risk_of_quadratics(network, p, coefficients)
    assert population_risk(module, network, p) == pytest.approx(exact, rel=1e-12)


def test_units_of_one_direction_and_of_nearly_one_are_told_apart() -> None:
    """Long units are steps, whose products fall by the angle: 1.6e-6 at cosines 8e-14 below 1."""
    p = parameters(2)
    turned, same = (Network(1e8 * np.array([[1.0, 0.0], [1.0, angle]])) for angle in (4e-7, 0.0))
    value, size = naive(isotropic_truncated_relu, turned, p)
    assert population_risk(isotropic_truncated_relu, turned, p) == pytest.approx(value, abs=1e-9 * size)
    assert abs(value - population_risk(isotropic_truncated_relu, same, p)) > 1e-8 * size


def test_vanishing_units_only() -> None:
    # yhat = sigma(0) = -2.5 for every x, so R = E (y + 2.5)^2 = 1 + 6.25.
    assert population_risk(MODULE, np.zeros((4, 5)), parameters(5)) == pytest.approx(7.25, rel=1e-12)


def test_bad_input_names_the_mend() -> None:
    p = parameters(3)
    with pytest.raises(BadInput, match=r"shape \(4, 2\) with d = 3"):
        population_risk(MODULE, np.zeros((4, 2)), p)
    with pytest.raises(BadInput, match=r"d = inf.*d finite"):
        population_risk(MODULE, np.zeros((4, 2)), {**p, "d": math.inf})
    with pytest.raises(BadInput, match=r"shape \(0, 3\)"):
        population_risk(MODULE, np.zeros((0, 3)), p)
    W = np.zeros((4, 3))
    W[2, 1] = math.nan
    with pytest.raises(BadInput, match="unit 2"):
        population_risk(MODULE, W, p)


def test_units_that_do_not_fit_the_model_are_refused() -> None:
    W, one, p = np.ones((4, 3)), np.ones(4), parameters(3)
    nan = np.array([0.0, 0.0, math.nan, 0.0])
    for make, message in (
        (lambda: Network(W, np.ones(3), one), r"a of shape \(3,\).*\(4,\)"),
        (lambda: Network(W, one, np.ones((4, 1))), r"b of shape \(4, 1\).*\(4,\)"),
        (lambda: Network(one), r"weights of shape \(4,\).*\(N, d\)"),
        (lambda: Network(W, nan, one), "a of unit 2 are not finite: give"),
        (lambda: Network(W, one, nan), "b of unit 2 are not finite: give"),
        (lambda: population_risk(isotropic_relu, W, p), "a is None.*isotropic_relu.*give a"),
        (lambda: population_risk(isotropic_relu, Network(W, one), p), "b is None.*give b"),
        (lambda: population_risk(MODULE, Network(W, one), p), r"a is an array of shape \(4,\).*leave out a"),
        (lambda: Network(W, None, one).outputs(MODULE, W), r"b is an array of shape \(4,\).*leave out b"),
        (lambda: Network(W).reduced(isotropic_relu, p), "a is None"),
        (lambda: Network(W).reduced(MODULE, parameters(4)), r"shape \(4, 3\) with d = 4"),
        (lambda: Network(W).outputs(MODULE, np.ones((5, 4))), r"x of shape \(5, 4\) with d = 3: give"),
        (lambda: Network(W).outputs(MODULE, np.ones(3)), r"x of shape \(3,\) with d = 3"),
    ):
        with pytest.raises(BadInput, match=message):
            make()


def test_modules_without_what_is_needed_are_refused_by_name() -> None:
    W, p = np.ones((4, 3)), parameters(3)
    blocks: Any = ((2, 1.8, 0.0), (1, 1.0, 0.0))
    for coordinates, law, message in (
        (("r1", "r2"), [blocks, blocks], r"oracle_truncated_relu has no pair_kernel.*\('r1', 'r2'\)"),
        (("r",), [blocks, blocks], r"\('r',\).*blocks of \[\(2, 1\)\]: give a model"),
        (("m", "r"), [blocks, blocks], r"\('m', 'r'\).*blocks of \[\(2, 1\)\]: give a model"),
        (("r1", "r2"), [blocks, blocks[::-1]], r"blocks of \[\(1, 2\), \(2, 1\)\]: give a model"),
    ):
        module = make_module()
        held = tuple((y, 0.5, each) for y, each in zip((1.0, -1.0), law, strict=True))
        vars(module).update(data_law=lambda p, held=held: held, COORDINATES=coordinates)
        with pytest.raises(BadInput, match=message):
            population_risk(module, W, p)


def test_an_overflow_is_a_numerical_failure() -> None:
    W = np.zeros((4, 3))
    W[2] = 1e200
    with pytest.raises(NumericalFailure, match="unit 2 has a norm"):
        population_risk(MODULE, W, parameters(3))
    with pytest.raises(NumericalFailure, match="unit 2 has a norm"):
        Network(W).reduced(MODULE, parameters(3))
    module, _, p = case("all", 3)
    W[2], b = [1e150, 0.0, 0.0], np.full(4, 1e308)
    with pytest.raises(NumericalFailure, match="unit 2 has an offset"):
        population_risk(module, Network(W, np.ones(4), b), {**p, "mu": 1e160})
    with pytest.raises(NumericalFailure, match=r"the population risk is (inf|nan) at norms up to 1.73"):
        population_risk(module, Network(np.ones((4, 3)), np.full(4, 1e200), np.ones(4)), p)


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
