"""Every kind of model against the network itself: samples, quadratures of the defining integrals, identities.

The oracles know sigma, the law of x and the coordinates of a unit, and none of the project's formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import sympy as sp
from scipy import special

from tests import oracles
from tests.built import uncertified
from tests.oracles import ACTIVATIONS, Classes, Curve, Sigma, Unit
from workbench import (
    Activation,
    BadInput,
    Erf,
    Gelu,
    LeakyReLU,
    Model,
    PiecewiseLinear,
    Polynomial,
    ReLU,
    Sine,
    Softplus,
    SquaredReLU,
    anisotropic_gaussians,
    derive,
    isotropic_gaussians,
    truncated_relu,
)
from workbench.codegen import generate, load

z = sp.Symbol("z")
FIVE = ([-1.7, -0.6, 0.2, 0.9, 2.3], [0.8, -0.5, 1.1, -1.4, 0.6], -0.45, 0.7)
SEVENTH = (0.5, -1.0, 0.0, 0.25, 0.0, 0.0, 0.0625, -0.015625)


def _phi(t: Any) -> Any:
    return np.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)


# name -> (what the project is given, what the oracle is given), typed twice on purpose
CASES: dict[str, tuple[Any, Sigma | Curve]] = {
    "truncated_relu": ACTIVATIONS["truncated_relu"],
    "relu": ACTIVATIONS["relu"],
    "five": (PiecewiseLinear(*FIVE, name="five"), Sigma(tuple(FIVE[0]), tuple(FIVE[1]), *FIVE[2:])),
    "erf": (Erf(), Curve(special.erf, lambda t: 2 / math.sqrt(math.pi) * np.exp(-t * t))),
    "gelu_and_sine": (
        Activation.from_expr(z * (1 + sp.erf(z / sp.sqrt(2))) / 2 + sp.sin(2 * z), z, "gelu_and_sine"),
        Curve(
            lambda t: t * special.ndtr(t) + np.sin(2 * t),
            lambda t: special.ndtr(t) + t * _phi(t) + 2 * np.cos(2 * t),
        ),
    ),
    "seventh": (
        Polynomial(SEVENTH),
        Curve(
            np.polynomial.Polynomial(SEVENTH),
            np.polynomial.Polynomial([k * c for k, c in enumerate(SEVENTH)][1:]),
        ),
    ),
    "square_of_tanh": (
        Activation.from_expr(sp.tanh(z) ** 2, z, "square_of_tanh"),
        Curve(lambda t: np.tanh(t) ** 2, lambda t: 2 * np.tanh(t) / np.cosh(np.clip(t, -300, 300)) ** 2),
    ),
    "softplus": (Softplus(), Curve(lambda t: np.logaddexp(0, t), special.expit)),
    "elu": (
        Activation.from_expr(sp.Piecewise((sp.exp(z) - 1, z < 0), (z, True)), z, "elu"),
        Curve(
            lambda t: np.where(t < 0, np.expm1(np.minimum(t, 0)), t),
            lambda t: np.where(t < 0, np.exp(np.minimum(t, 0)), 1.0),
            (0.0,),
        ),
    ),
    "squared_relu": (
        SquaredReLU(),
        Curve(lambda t: np.maximum(t, 0) ** 2, lambda t: 2 * np.maximum(t, 0), (0.0,)),
    ),
    "sine": (Sine(), Curve(np.sin, np.cos)),
    "bump": (
        Activation.from_expr(sp.exp(-(z**2) / 2), z, "bump"),
        Curve(lambda t: np.exp(-0.5 * t * t), lambda t: -t * np.exp(-0.5 * t * t)),
    ),
}
NUMERIC = {
    "seventh": ("alpha",)
}  # what `build` finds that float64 does not hold, found there by certificates
COMMITTED = {
    ("truncated_relu", "isotropic", "plain"),
    ("erf", "isotropic", "plain"),
    ("relu", "isotropic", "affine"),
}
KINDS = [
    (data, unit, means)
    for data in ("isotropic", "anisotropic")
    for unit in ("plain", "affine")
    for means in ("centred", "opposite")
]


def model_of(name: str, data: str, unit: str = "plain", means: str = "centred") -> Model:
    make = isotropic_gaussians if data == "isotropic" else anisotropic_gaussians
    return make(CASES[name][0], unit=unit, means=means, name="model")


@cache
def module_of(name: str, data: str, unit: str = "plain", means: str = "centred") -> ModuleType:
    if (name, data, unit) in COMMITTED and means == "centred":
        return import_module(f"solvers.generated.{data}_{name}")
    derivation = uncertified(model_of(name, data, unit, means))
    return load(generate(derivation, numeric=NUMERIC.get(name, ())), "model")


def law_of(
    module: ModuleType, d: float, s0: float | None, taus: tuple[float, float], mu: float = 1.1
) -> Classes:
    return Classes(d, s0 if module.BLOCKS == 2 else None, taus, mu if module.SHIFTED else None)


def parameters(module: ModuleType, law: Classes, **others: Any) -> dict[str, Any]:
    values = {"d": law.d, "s0": law.s0, "mu": law.mu, "tau_plus": law.taus[0], "tau_minus": law.taus[1]}
    return {**{name: values[name] for name in module.PARAMETERS}, **others}


def point(module: ModuleType, unit: Unit) -> np.ndarray[Any, Any]:
    values = {
        "a": unit.a,
        "b": unit.b,
        "m": unit.m,
        "r": unit.radii[0],
        "r1": unit.radii[0],
        "r2": unit.radii[-1],
    }
    return np.array([values[name] for name in module.COORDINATES])


def random_unit(module: ModuleType, rng: np.random.Generator, low: float = -1.3, high: float = 0.9) -> Unit:
    """Radii 10^low..10^high, an offset and a projection on mu where the model has them."""
    radii = tuple(10 ** rng.uniform(low, high, module.BLOCKS))
    a, b = (rng.normal(), 2 * rng.normal()) if module.AFFINE else (1.0, 0.0)
    m = rng.normal() * math.hypot(*radii) if module.SHIFTED else 0.0
    return Unit(radii, float(a), float(b), float(m))


def deviation(got: Any, wanted: Any) -> float:
    wanted = np.asarray(wanted, dtype=float)
    return float(np.max(np.abs(np.asarray(got, dtype=float) - wanted) / np.maximum(1.0, np.abs(wanted))))


# ---- samples of the network


BLOCKS = [(3, 1), (3, 2), (7, 3), (40, 20)]
SAMPLED = [("isotropic", d, None) for d in (3, 7, 40)] + [("anisotropic", *ds) for ds in BLOCKS]
OPPOSITE_WITHOUT_A_BLOCK = ("opposite", 1)  # mu takes the only coordinate of a block with s0 = 1


def z_scores(
    name: str, data: str, d: int, s0: int | None, unit: str, means: str, samples: int, **others: Any
) -> tuple[float, float]:
    module = module_of(name, data, unit, means)
    law = law_of(module, d, s0, (1.8, 0.4))
    many = data == "anisotropic"
    a, b, a2, b2 = (1.3, 0.4, -0.8, -0.6) if module.AFFINE else (1.0, 0.0, 1.0, 0.0)
    theta = Unit((1.1, 0.6) if many else (1.1,), a, b, 0.7 * module.SHIFTED)
    theta2 = Unit((0.5, 1.4) if many else (0.9,), a2, b2, -0.4 * module.SHIFTED)
    first, second = oracles.class_samples(CASES[name][1], law, theta, theta2, samples, seed=d + 1)
    p, x, x2 = parameters(module, law, **others), point(module, theta), point(module, theta2)
    scores = []
    for drawn, value in ((first, module.V(x, p)), (second, module.U(x, x2, p))):
        scores.append(float((drawn.mean() - value) / (drawn.std() / math.sqrt(len(drawn)))))
    return scores[0], scores[1]


@pytest.mark.parametrize(("data", "d", "s0"), SAMPLED)
@pytest.mark.parametrize("unit", ["plain", "affine"])
def test_samples_of_the_network(data: str, d: int, s0: int | None, unit: str) -> None:
    name = "truncated_relu" if unit == "plain" else "relu"
    # two curved blocks make a dear feature: a tolerance keeps them few
    others = {"tolerance": 0.02} if s0 == 3 else {}
    assert np.max(np.abs(z_scores(name, data, d, s0, unit, "centred", 200_000, **others))) < 4


@pytest.mark.parametrize(("data", "d", "s0"), [("isotropic", 40, None), ("anisotropic", 40, 20)])
@pytest.mark.parametrize("unit", ["plain", "affine"])
def test_samples_of_classes_with_opposite_means(data: str, d: int, s0: int | None, unit: str) -> None:
    assert np.max(np.abs(z_scores("erf", data, d, s0, unit, "opposite", 200_000))) < 4


@pytest.mark.slow
@pytest.mark.parametrize(("data", "d", "s0"), SAMPLED)
@pytest.mark.parametrize("unit", ["plain", "affine"])
@pytest.mark.parametrize("means", ["centred", "opposite"])
def test_four_million_samples_of_the_network(
    data: str, d: int, s0: int | None, unit: str, means: str
) -> None:
    if (means, s0) == OPPOSITE_WITHOUT_A_BLOCK:
        module = module_of("erf", data, unit, means)
        with pytest.raises(ValueError, match="s0 = 1"):
            module.V(np.zeros(len(module.COORDINATES)), parameters(module, law_of(module, d, s0, (1.8, 0.4))))
        return
    name = "erf" if means == "opposite" else "truncated_relu" if unit == "plain" else "relu"
    scores = z_scores(name, data, d, s0, unit, means, 4_000_000)
    print(f"\nz {name} {data} d={d} s0={s0} {unit} {means}: V {scores[0]:+.2f} U {scores[1]:+.2f}")
    assert np.max(np.abs(scores)) < 4


# ---- quadratures

MET = [
    ("truncated_relu", "anisotropic", "plain", "centred"),
    ("truncated_relu", "anisotropic", "affine", "opposite"),
    ("relu", "isotropic", "affine", "centred"),
    ("relu", "anisotropic", "affine", "centred"),
    ("gelu_and_sine", "anisotropic", "affine", "centred"),
    ("seventh", "anisotropic", "plain", "opposite"),
    ("square_of_tanh", "isotropic", "affine", "opposite"),
    ("five", "anisotropic", "affine", "centred"),
    ("softplus", "anisotropic", "affine", "centred"),
    ("elu", "isotropic", "affine", "centred"),
    ("squared_relu", "isotropic", "affine", "opposite"),
    ("bump", "anisotropic", "affine", "centred"),
    ("erf", "isotropic", "plain", "centred"),
    ("erf", "anisotropic", "affine", "opposite"),
]


@pytest.mark.parametrize("met", MET, ids="-".join)
def test_potential_and_its_gradient(met: tuple[str, str, str, str]) -> None:
    module, sigma, rng = module_of(*met), CASES[met[0]][1], np.random.default_rng(41)
    for _ in range(12):
        law = law_of(module, 40, 20, tuple(10 ** rng.uniform(-0.7, 0.5, 2)), 10 ** rng.uniform(-1, 0.7))
        unit = random_unit(module, rng)
        p, x = parameters(module, law), point(module, unit)
        value, slopes = oracles.potential_and_gradient(sigma, law, unit)
        wanted = [slopes["r1" if name == "r" else name] for name in module.COORDINATES]
        assert deviation(module.V(x, p), value) < 1e-10, unit
        # a slope is a difference over the classes: rounding is relative to what is subtracted
        assert deviation(module.grad_V(x, p), wanted) < 1e-10, unit


def hermite_columns(
    module: ModuleType, sigma: Sigma | Curve, law: Classes, unit: Unit, form: Any, rows: Any
) -> Any:
    """phi and its gradient in the order of the coordinates, at chosen rows of the class +1: (rows, 1 + D)."""
    found = []
    std = law.stds(1)
    parts = tuple(t * r for t, r in zip(std, unit.radii, strict=True))
    for row in rows:
        node, index = divmod(int(row), len(form.index))
        along = (law.mu or 0.0) + std[0] * form.nodes[node]
        j = tuple(int(v) for v in np.ravel(form.index[index]))
        offset = unit.b + unit.m * along
        if form.route == "hermite":
            value, by_offset, by_parts = oracles.hermite_feature(sigma, j, parts, offset)
            by_radii = [t * v for t, v in zip(std, by_parts, strict=True)]
        else:
            lengths = np.ravel(form.index[index])
            scales = tuple(float(v * c) for v, c in zip(parts, lengths, strict=True))
            value, by_offset, by_scales = oracles.orbit_feature(sigma, form.dimensions, scales, offset)
            by_radii = [t * c * v for t, c, v in zip(std, lengths, by_scales, strict=True)]
        slopes = {"a": value, "b": unit.a * by_offset, "m": unit.a * by_offset * along}
        slopes |= {"r": unit.a * by_radii[0], "r1": unit.a * by_radii[0], "r2": unit.a * by_radii[-1]}
        found.append([unit.a * value, *(slopes[name] for name in module.COORDINATES)])
    return np.array(found)


def check_features(
    met: tuple[str, str, str, str], d: float, s0: float, route: str, count: int, **others: Any
) -> None:
    module, sigma, rng = module_of(*met), CASES[met[0]][1], np.random.default_rng(43)
    for _ in range(count):
        law = law_of(module, d, s0, tuple(10 ** rng.uniform(-0.5, 0.4, 2)))
        unit = random_unit(module, rng, -0.8, 0.6)
        p, x = parameters(module, law, **others), point(module, unit)
        form = module.kernel_form(p)
        assert form.route == route
        rows = rng.choice(len(form.index) * len(form.nodes), 3)
        got = np.column_stack([module.features(x, p)[rows], module.grad_features(x, p)[rows]])
        assert deviation(got, hermite_columns(module, sigma, law, unit, form, rows)) < 1e-10, (unit, rows)


@pytest.mark.parametrize("met", MET, ids="-".join)
def test_features_of_the_series(met: tuple[str, str, str, str]) -> None:
    # the nodes along mu have an error of their own: a tolerance keeps them few
    others = {"tolerance": 0.02} if met[3] == "opposite" else {}
    check_features(met, 40, 20, "hermite", 4, **others)


CHI = [
    ("truncated_relu", "isotropic", "plain", "centred"),
    ("relu", "isotropic", "affine", "centred"),
    ("square_of_tanh", "isotropic", "affine", "centred"),
    ("elu", "isotropic", "affine", "centred"),
]


@pytest.mark.parametrize("met", CHI, ids="-".join)
def test_features_of_the_radius(met: tuple[str, str, str, str]) -> None:
    check_features(met, 3, 1, "chi", 3, tolerance=1e-3)


CHI_BLOCKS = [
    ("truncated_relu", "anisotropic", "plain", "centred"),
    ("relu", "anisotropic", "affine", "centred"),
    ("softplus", "anisotropic", "affine", "centred"),
]


@pytest.mark.parametrize("met", CHI_BLOCKS, ids="-".join)
@pytest.mark.parametrize(("d", "s0"), [(3, 1), (math.inf, 2), pytest.param(5, 3, marks=pytest.mark.slow)])
def test_mean_over_two_blocks(met: tuple[str, str, str, str], d: float, s0: float) -> None:
    """The features of the chi route at chosen norms of x: what the generated module averages over."""
    module, sigma, rng = module_of(*met), CASES[met[0]][1], np.random.default_rng(47)
    law = law_of(module, d, s0, (1.8, 0.4))
    dims = module.dimensions(parameters(module, law))
    form = module.chi_form(dims, 5)
    for _ in range(2):
        unit = random_unit(module, rng, 0.0, 1.2)
        x = point(module, unit)
        blocks = module.data_law(parameters(module, law))[0][2]
        rows = rng.choice(len(form.index), 2)
        got = np.column_stack(
            [module.class_features(x, blocks, form)[rows], module.class_gradients(x, blocks, form)[rows]]
        )
        assert deviation(got, hermite_columns(module, sigma, law, unit, form, rows)) < 1e-10, unit


@pytest.mark.parametrize("length", [3.0, 25.0])
def test_waves_over_two_blocks(length: float) -> None:
    """E sin(b + c1 S1 + c2 S2) = sin(b) sin(c1)/c1 J_0(c2) on spheres of R^3 and R^2."""
    module = module_of("sine", "anisotropic", "affine")
    p = parameters(module, Classes(5, 3, (1.8, 0.4)))
    form = module.chi_form((3, 2), 5)
    got = module.class_features(np.array([1.0, 0.7, length, 0.5]), module.data_law(p)[0][2], form)
    c, c2 = 1.8 * length * form.index[:, 0], 0.5 * form.index[:, 1]
    assert deviation(got, math.sin(0.7) * np.sinc(c / math.pi) * special.j0(c2)) < 1e-10


@pytest.mark.parametrize("met", [*MET[:4], MET[4], MET[6], MET[13]], ids="-".join)
def test_gradients_by_central_differences(met: tuple[str, str, str, str]) -> None:
    """In every coordinate, in both classes, features all at once."""
    module, rng = module_of(*met), np.random.default_rng(53)
    law = law_of(module, 40, 20, (1.7, 0.6))
    p = parameters(module, law, tolerance=0.02 if module.SHIFTED else 1e-4)
    for _ in range(3):
        x = point(module, random_unit(module, rng, -0.4, 0.4))
        slopes, features = module.grad_V(x, p), module.grad_features(x, p)
        for i in range(len(x)):
            step = np.zeros(len(x))
            step[i] = 1e-3

            def difference(f: Callable[..., Any], step: Any = step, x: Any = x) -> Any:
                # the error of a central difference is even in the step: the order 6 of three of them
                one, two, three = ((f(x + n * step, p) - f(x - n * step, p)) for n in (1, 2, 3))
                return (45 * one - 9 * two + three) / (60 * 1e-3)

            assert deviation(slopes[i], difference(module.V)) < 1e-7, module.COORDINATES[i]
            assert deviation(features[:, i], difference(module.features)) < 1e-7, module.COORDINATES[i]


# ---- the kernel

KERNELS = [
    ("truncated_relu" if unit == "plain" else "relu", data, unit, means) for data, unit, means in KINDS
]


@pytest.mark.parametrize("met", KERNELS, ids="-".join)
def test_symmetric_and_positive_semidefinite(met: tuple[str, str, str, str]) -> None:
    module, rng = module_of(*met), np.random.default_rng(59)
    law = law_of(module, 40, 20, (1.8, 0.2))
    p = parameters(module, law, tolerance=0.02 if module.SHIFTED else 1e-6)
    x = np.stack([point(module, random_unit(module, rng, -2, 2)) for _ in range(200)])
    f, w = module.features(x, p), module.weights(p)
    assert np.all(w >= 0)
    U = (f * w) @ f.T
    some = rng.choice(200, (2, 20))
    direct, turned = (module.U(x[some[i]], x[some[1 - i]], p) for i in (0, 1))
    size = np.sqrt(np.maximum(np.diag(U), 1e-12))  # a ReLU far from its knot answers 0 to everything
    assert np.array_equal(direct, turned)
    assert np.max(np.abs(direct - U[some[0], some[1]]) / np.outer(size, size)[some[0], some[1]]) < 1e-12
    values = np.linalg.eigvalsh(0.5 * (U + U.T))
    assert values[0] >= -1e-12 * values[-1]


PLACES = [
    ("truncated_relu", "isotropic", "plain", "centred", 3, None),
    ("truncated_relu", "isotropic", "plain", "centred", 7, None),
    ("truncated_relu", "isotropic", "plain", "centred", math.inf, None),
    ("relu", "isotropic", "affine", "centred", 3, None),
    ("relu", "isotropic", "affine", "centred", 40, None),
    *(
        ("truncated_relu", "anisotropic", "plain", "centred", d, s0)
        for d, s0 in [(3, 1), (3, 2), (40, 1), (40, 39), (math.inf, 1), (math.inf, 5), (math.inf, math.inf)]
    ),
    pytest.param("truncated_relu", "anisotropic", "plain", "centred", 40, 20, marks=pytest.mark.slow),
    *(("relu", "anisotropic", "affine", "centred", d, s0) for d, s0 in [(2, 1), (320, 60), (math.inf, 1)]),
    pytest.param("relu", "anisotropic", "affine", "centred", 7, 3, marks=pytest.mark.slow),
    pytest.param("bump", "anisotropic", "plain", "centred", 3, 2, marks=pytest.mark.slow),
    ("bump", "isotropic", "plain", "opposite", 40, None),
]


@pytest.mark.parametrize(("name", "data", "unit", "means", "d", "s0"), PLACES)
def test_stated_error_of_the_kernel(name: str, data: str, unit: str, means: str, d: float, s0: float) -> None:
    """U against the pair kernel averaged over angles, radii 1e-6..1e3 and 0 in any block."""
    module, sigma, rng = module_of(name, data, unit, means), CASES[name][1], np.random.default_rng(61)
    law = law_of(module, d, s0, (1.8, 0.4))
    p = parameters(module, law, **({"tolerance": 0.02} if means == "opposite" else {}))
    error = module.kernel_form(p).error
    units = [random_unit(module, rng, -6, 3) for _ in range(5)] + [
        random_unit(module, rng, -1, 1) for _ in range(6)
    ]
    units = [
        Unit(u.radii, u.a, u.b, max(-3, min(3, u.m / math.hypot(*u.radii))) * math.hypot(*u.radii))
        for u in units
    ]
    for zeros in [(0.0,), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)]:
        if len(zeros) == module.BLOCKS:
            units.append(
                Unit(tuple(1.3 * v for v in zeros), 1.2 if module.AFFINE else 1.0, 0.3 * module.AFFINE)
            )
    x = np.stack([point(module, u) for u in units])
    size = np.array([oracles.unit_size(sigma, law, u) for u in units])
    first, second = np.triu_indices(len(units))
    f = module.features(x, p)
    got = ((f * module.weights(p)) @ f.T)[first, second]
    wanted = module.U_exact(x[first], x[second], p)
    scale = np.maximum(1.0, size[first] * size[second])
    assert np.all(np.isfinite(got)) and np.all(np.isfinite(wanted))
    assert np.max(np.abs(got - wanted) / scale) < error + 1e-9


def test_small_dimensions_and_long_weights() -> None:
    """d = 3, r = r' = 5 to six digits, where the Hermite series has two; as good as blocks allow elsewhere."""
    module = module_of("truncated_relu", "isotropic")
    p, x = {"d": 3, "tau_plus": 1.8, "tau_minus": 0.2}, np.array([5.0])
    sigma = ACTIVATIONS["truncated_relu"][1]
    wanted = 0.5 * sum(oracles.orbit_by_radius(sigma, 3, tau * 5, tau * 5) for tau in (1.8, 0.2))
    assert abs(float(module.U(x, x, p)) - wanted) < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_pair_kernel(name: str) -> None:
    """E sigma(b + s X) sigma(b' + s' Y) in four digits by a plain grid of the plane; offsets and both signs."""
    module, sigma = module_of(name, "isotropic", "affine"), CASES[name][1]
    x, w = oracles.rule(np.linspace(-9, 9, 91))
    x, w = x[np.abs(x) < 8], (w * _phi(x))[np.abs(x) < 8]
    for s, s2, rho, b, b2 in [(1.3, 0.6, 0.4, 0.5, -0.8), (0.7, 2.1, -0.7, -0.3, 0.2)]:
        inner = sigma(b2 + s2 * (rho * x[:, None] + math.sqrt(1 - rho**2) * x)) @ w
        wanted = float((w * sigma(b + s * x)) @ inner)
        got = module.pair_kernel(*(np.array([v]) for v in (s, s2, rho, b, b2)))
        assert got[0] == pytest.approx(wanted, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("data", "unit", "means"), [kind for kind in KINDS if kind[2] == "centred"])
def test_gradient_at_no_radius_is_the_limit_from_above(data: str, unit: str, means: str) -> None:
    """ReLU bends at 0: V of a unit of radius r falls with a slope."""
    module = module_of("relu", data, unit, means)
    p = parameters(module, law_of(module, 40, 20, (1.8, 0.4)))
    radii = (0.0,) if module.BLOCKS == 1 else (0.0, 0.0)
    x = point(module, Unit(radii))
    near = x.copy()
    near[module.FLAT :] = 1e-13  # where two radii are 0 the limit depends on how: here as on the diagonal
    # V = -E y sigma_* = -(s_+ - s_-)/(2 sqrt(2 pi))
    lengths = [tau**2 / math.hypot(tau, module.BLOCKS - 1) for tau in (1.8, 0.4)]
    wanted = -0.5 * (lengths[0] - lengths[1]) / math.sqrt(2 * math.pi)
    for place in (near, x):
        assert module.grad_V(place, p)[module.FLAT] == pytest.approx(wanted, abs=1e-12)


# ---- identities


@pytest.mark.parametrize(("d", "s0"), [(40, 20), (7, 3), (math.inf, math.inf)])
def test_blocks_of_one_deviation_are_one_block(d: float, s0: float) -> None:
    one, two = module_of("truncated_relu", "isotropic"), module_of("truncated_relu", "anisotropic")
    rng = np.random.default_rng(67)
    r = 10 ** rng.uniform(-1, 0.7, (6, 2, 2))
    both = np.linalg.norm(r, axis=-1, keepdims=True)
    p, q = {"d": d, "tau_plus": 1, "tau_minus": 1}, {"d": d, "s0": s0, "tau_plus": 1, "tau_minus": 1}
    assert np.max(np.abs(two.V(r, q))) < 1e-13  # nothing tells the classes apart
    q["tau_minus"], p["tau_minus"] = 0.3, 0.3
    r[..., 1] = 0.0  # the second block unused
    assert deviation(two.V(r, q), one.V(r[..., :1], p)) < 1e-12
    assert deviation(two.grad_V(r, q)[..., :1], one.grad_V(r[..., :1], p)) < 1e-12
    # at equal deviations only the norm of all of w matters, once the angle between the blocks is averaged
    q["tau_minus"] = p["tau_minus"] = 1
    if d == math.inf:
        r = 10 ** rng.uniform(-1, 0.7, (6, 2, 2))
        both = np.linalg.norm(r, axis=-1, keepdims=True)
        assert deviation(two.U(r[:, 0], r[:, 1], q), one.U(both[:, 0], both[:, 1], p)) < 1e-10


def test_the_split_of_one_block_averages_out() -> None:
    """tau = 1 in both classes: U of the isotropic model is that of two blocks averaged over r1^2/r^2."""
    one, two = module_of("bump", "isotropic"), module_of("bump", "anisotropic")
    d, s0 = 60, 24
    # r1^2/r^2 ~ Beta(s0/2, (d - s0)/2): Gauss-Jacobi is the rule of that law
    t, w = special.roots_jacobi(24, (d - s0) / 2 - 1, s0 / 2 - 1)
    w, t = w / w.sum(), 0.5 * (1 + t)
    r, r2 = 0.9, 1.6
    split = [np.stack([radius * np.sqrt(t), radius * np.sqrt(1 - t)], axis=-1) for radius in (r, r2)]
    p = {"d": d, "tau_plus": 1, "tau_minus": 1}
    U = two.U(split[0][:, None], split[1][None], {**p, "s0": s0})
    assert w @ U @ w == pytest.approx(float(one.U(np.array([r]), np.array([r2]), p)), abs=1e-9)


@pytest.mark.parametrize("data", ["isotropic", "anisotropic"])
def test_means_of_no_length_are_a_coordinate_of_the_block(data: str) -> None:
    """mu = 0: V sees |(m, r)| only; U of the centred model averages that of the other over the direction."""
    moved, centred = module_of("bump", data, "plain", "opposite"), module_of("bump", data)
    law = law_of(moved, 40, 20, (1.8, 0.4), 0.0)
    p = parameters(moved, law, tolerance=1e-5)
    rng = np.random.default_rng(71)
    x = np.stack([point(moved, random_unit(moved, rng)) for _ in range(8)])
    y = np.concatenate([np.hypot(x[:, :1], x[:, 1:2]), x[:, 2:]], axis=-1)
    q = parameters(centred, Classes(40, law.s0, law.taus))
    assert deviation(moved.V(x, p), centred.V(y, q)) < 1e-12
    slopes = centred.grad_V(y, q)
    chain = np.concatenate([slopes[:, :1] * x[:, :2] / y[:, :1], slopes[:, 1:]], axis=-1)
    assert deviation(moved.grad_V(x, p), chain) < 1e-12
    n = 40 if data == "isotropic" else 20
    t, w = special.roots_jacobi(24, (n - 3) / 2, (n - 3) / 2)  # the law of m/|(m, r)|
    w = w / w.sum()
    radii, radii2 = (0.7, 0.9)[: centred.BLOCKS], (1.2, 0.4)[: centred.BLOCKS]
    sets = [
        np.column_stack([r[0] * t, r[0] * np.sqrt(1 - t * t), *(np.full(len(t), v) for v in r[1:])])
        for r in (radii, radii2)
    ]
    U = moved.U(sets[0][:, None], sets[1][None], p)
    assert w @ U @ w == pytest.approx(float(centred.U(np.array(radii), np.array(radii2), q)), abs=2e-5)


@pytest.mark.parametrize("data", ["isotropic", "anisotropic"])
def test_an_affine_unit_with_nothing_added_is_plain(data: str) -> None:
    affine, plain = module_of("relu", data, "affine"), module_of("relu", data)
    p = parameters(plain, law_of(plain, 40, 20, (1.8, 0.4)))
    rng = np.random.default_rng(73)
    r, r2 = 10 ** rng.uniform(-2, 1, (2, 9, plain.BLOCKS))
    x, x2 = (np.concatenate([np.ones((9, 1)), np.zeros((9, 1)), v], axis=-1) for v in (r, r2))
    assert deviation(affine.V(x, p), plain.V(r, p)) < 1e-14
    assert deviation(affine.grad_V(x, p)[:, 2:], plain.grad_V(r, p)) < 1e-14
    assert deviation(affine.U(x, x2, p), plain.U(r, r2, p)) < 1e-13
    x[:, 0] = -2.5
    assert deviation(affine.U(x, x2, p), -2.5 * plain.U(r, r2, p)) < 1e-13


@pytest.mark.parametrize("data", ["isotropic", "anisotropic"])
def test_affine_relu_is_homogeneous(data: str) -> None:
    """a max(<w, x> + b, 0) is the same at (a/c, c b, c w): a V_a = b V_b + r V_r, for U as well."""
    module, rng = module_of("relu", data, "affine"), np.random.default_rng(79)
    p = parameters(module, law_of(module, 40, 20, (1.8, 0.4)), tolerance=1e-4)
    x = np.stack([point(module, random_unit(module, rng)) for _ in range(20)])
    left, right = (
        (lambda g: x[:, :1] * g[:, :1]),
        (lambda g: np.sum(x[:, 1:] * g[:, 1:], axis=-1, keepdims=True)),
    )
    slopes = module.grad_V(x, p)
    assert deviation(left(slopes), right(slopes)) < 1e-13
    gradients = module.grad_features(x, p)
    for k in range(gradients.shape[1]):
        assert deviation(left(gradients[:, k]), right(gradients[:, k])) < 1e-13
    longer = np.concatenate([x[:, :1] / 7, 7 * x[:, 1:]], axis=-1)
    assert deviation(module.V(longer, p), module.V(x, p)) < 1e-13
    assert deviation(module.features(longer, p), module.features(x, p)) < 1e-12


# ---- bad input


@pytest.mark.parametrize("make", [isotropic_gaussians, anisotropic_gaussians])
@pytest.mark.parametrize(
    ("formula", "named"),
    [
        (sp.exp(z**2), "exp"),
        (sp.exp(z**2 / 8), r"s\*\*2 < 2"),
        (sp.sign(z), "jumps at t = 0"),
        (sp.Heaviside(z), "jumps at t = 0"),
        (sp.tanh(z) + sp.Symbol("c"), "c"),
        (sp.I * z, "real"),
        (sp.sqrt(z), "singular or complex"),
        (1 / z, "singular or complex"),
        ("tanh(", "tanh"),
        (None, "None"),
    ],
)
def test_activations_without_a_limit(make: Callable[..., Model], formula: Any, named: str) -> None:
    with pytest.raises(BadInput, match=named):
        make(Activation.from_expr(formula, z))


@pytest.mark.parametrize("make", [isotropic_gaussians, anisotropic_gaussians])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"activation": ReLU}, "activation"),
        ({"activation": "relu"}, "activation = 'relu'"),
        ({"activation": None}, "activation = None"),
        ({"activation": sp.tanh(z)}, "activation"),
        ({"unit": "afine"}, "'afine'.*'plain', 'affine'"),
        ({"unit": None}, "unit = None"),
        ({"unit": 1}, "unit = 1"),
        ({"unit": ["plain"]}, "unit = "),
        ({"means": "same"}, "'same'.*'centred', 'opposite'"),
        ({"means": 0.0}, "means = 0.0"),
        ({"name": "my model"}, "'my model'"),
        ({"name": "class"}, "'class'"),
        ({"name": 3}, "name = 3"),
    ],
)
def test_models_that_are_none(make: Callable[..., Model], arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        make(**{"activation": truncated_relu(), **arguments})


def test_unknown_data() -> None:
    with pytest.raises(BadInput, match=r"'elliptic'.*'isotropic', 'anisotropic'"):
        Model("model", ReLU(), "elliptic")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"d": 0}, "d = 0"),
        ({"d": -3}, "d = -3"),
        ({"d": 1}, "d = 1"),
        ({"d": 2.5}, "d = 2.5"),
        ({"d": math.nan}, "d = nan"),
        ({"d": -math.inf}, "d = -inf"),
        ({"d": 10**400}, "d = "),
        ({"d": 1j}, "d = 1j"),
        ({"d": "forty"}, "d = 'forty'"),
        ({"d": None}, "d = None"),
        ({"d": 10**13}, "d = inf"),
        ({"s0": 0}, "s0 = 0"),
        ({"s0": 1}, "s0 = 1"),  # mu takes one coordinate of the block
        ({"s0": -1}, "s0 = -1"),
        ({"s0": 40}, "s0 < d = 40"),
        ({"s0": 41}, "s0 = 41"),
        ({"s0": math.inf}, "s0 = inf"),
        ({"s0": 2.5}, "s0 = 2.5"),
        ({"s0": math.nan}, "s0 = nan"),
        ({"mu": -0.1}, "mu = -0.1"),
        ({"mu": math.inf}, "mu = inf"),
        ({"mu": math.nan}, "mu = nan"),
        ({"tau_plus": 0}, "tau_plus = 0"),
        ({"tau_plus": -1}, "tau_plus = -1"),
        ({"tau_minus": math.inf}, "tau_minus = inf"),
        ({"tau_minus": "small"}, "tau_minus = 'small'"),
        ({"tolerance": 0}, "tolerance = 0"),
        ({"tolerance": 1e-20}, "tolerance = 1e-20"),
        ({"tolerance": math.nan}, "tolerance = nan"),
        ({"tolerance": "low"}, "tolerance = 'low'"),
        ({"tau": 1.0}, "unknown parameter 'tau'"),
    ],
)
def test_parameters_that_are_none(change: dict[str, Any], named: str) -> None:
    module = module_of("erf", "anisotropic", "plain", "opposite")
    p = {"d": 40, "s0": 20, "mu": 1.0, "tau_plus": 1.8, "tau_minus": 0.2, **change}
    with pytest.raises(ValueError, match=named):
        module.check_parameters(p)


def test_a_missing_parameter_is_named() -> None:
    module, p = module_of("erf", "anisotropic"), {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}
    with pytest.raises(ValueError, match=r"'s0'.*missing"):
        module.check_parameters(p)
    for call in (module.V, module.grad_V, module.features, module.grad_features):
        with pytest.raises(ValueError, match="s0"):
            call(np.ones(2), p)


def test_a_tolerance_written_as_text_is_read_or_refused() -> None:
    module = module_of("erf", "isotropic")
    p = {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}
    try:
        found = module.U(np.ones(1), np.ones(1), {**p, "tolerance": "1e-3"})
    except ValueError as error:
        assert "tolerance" in str(error)
    else:
        assert found == module.U(np.ones(1), np.ones(1), {**p, "tolerance": 1e-3})


@pytest.mark.parametrize(("data", "unit", "means"), KINDS)
def test_points_of_the_wrong_shape(data: str, unit: str, means: str) -> None:
    module = module_of("erf", data, unit, means)
    p = parameters(module, law_of(module, 40, 20, (1.8, 0.4)))
    D = len(module.COORDINATES)
    for shape in ((D + 1,), (4, D + 1), (3, 0), ()):
        for call in (module.V, module.grad_V, module.features, module.grad_features):
            with pytest.raises(ValueError, match=", ".join(module.COORDINATES)):
                call(np.ones(shape), p)


@pytest.mark.parametrize("thing", [ReLU(), Gelu(), "isotropic_erf", None, 3, [ReLU()]])
def test_only_models_are_derived(thing: Any) -> None:
    with pytest.raises(BadInput, match="model"):
        derive(thing)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LeakyReLU("steep"),
        lambda: LeakyReLU(None),
        lambda: LeakyReLU(1j),
        lambda: Polynomial([]),
        lambda: Polynomial(3),  # type: ignore[arg-type]
        lambda: Polynomial("12"),
        lambda: Polynomial([1j]),
        lambda: Polynomial([math.nan]),
        lambda: PiecewiseLinear(0, 1),  # type: ignore[arg-type]
        lambda: PiecewiseLinear("01", "23"),
        lambda: PiecewiseLinear([0], [1j]),
        lambda: PiecewiseLinear([1, 0], [0, 1]),
        lambda: PiecewiseLinear([], []),
        lambda: PiecewiseLinear([0, 1], [0]),
        lambda: Activation.from_expr(sp.tanh(z), "z"),
        lambda: Activation.from_expr(sp.tanh(z), None),
        lambda: Activation.from_expr(sp.tanh(z), sp.Symbol("t")),
        lambda: Activation.from_expr(sp.zoo, z),
        lambda: Activation.from_expr(sp.Matrix([z]), z),
        lambda: Activation.from_expr(lambda t: t, z),
        lambda: Activation.from_expr([z], z),
        lambda: Activation.from_expr(z > 0, z),
        lambda: Activation.from_expr(sp.gamma(z), z),
        lambda: Activation.from_expr(sp.floor(z), z),
    ],
)
def test_activations_that_are_none(make: Callable[[], Any]) -> None:
    with pytest.raises(BadInput):
        isotropic_gaussians(make())
