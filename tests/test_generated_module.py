"""The generated modules, committed and unseen, against quadratures and samples of the defining integrals."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests import oracles
from tests.built import COMMITTED, module_of
from tests.oracles import ACTIVATIONS, Sigma

ROOT = Path(__file__).parents[1]
NAMES = [*COMMITTED, "five", "relu"]
DIMENSIONS: list[float] = [2, 3, 5, 7, 40, 1000, math.inf]
TAUS = (1.3, 0.7)
RADII = np.geomspace(1e-6, 1e3, 28)

# asked for: 1e-10 relative to max(1, |value|).  Both sides are sums of some 1000 rounded terms, and what
# was measured is below 1e-14; 1e-12 leaves room for another libm and still sees the eleventh digit.
TOLERANCE = 1e-12


def parameters(d: Any, taus: tuple[float, float] = TAUS, **more: float) -> dict[str, Any]:
    """The mapping p."""
    return {"d": d, "tau_plus": taus[0], "tau_minus": taus[1], **more}


def deviation(value: Any, exact: Any) -> float:
    """Largest deviation relative to max(1, |exact|); a NaN counts as infinite."""
    assert np.shape(value) == np.shape(exact)
    return float(np.max(np.nan_to_num(np.abs(value - exact) / np.maximum(1.0, np.abs(exact)), nan=math.inf)))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(name: str) -> ModuleType:
    return module_of(name)


@pytest.fixture
def sigma(name: str) -> Sigma:
    return ACTIVATIONS[name][1]


# ---- values against oracles


def test_activation_and_slope(module: ModuleType, sigma: Sigma) -> None:
    z = np.linspace(-4.03, 4.01, 137)  # misses every knot
    assert deviation(module.sigma(z), sigma(z)) < 1e-14
    assert deviation(module.sigma_prime(z), sigma.slope(z)) < 1e-14


@pytest.mark.parametrize("taus", [TAUS, (1.8, 0.2)])
def test_potential_and_its_gradient(module: ModuleType, sigma: Sigma, taus: tuple[float, float]) -> None:
    p, x = parameters(40, taus), RADII[:, None]
    assert deviation(module.V(x, p), np.array([oracles.V(sigma, r, *taus) for r in RADII])) < TOLERANCE
    slopes = [
        [
            sign * 0.5 * tau * oracles.a_prime(sigma, 0, tau * r)
            for sign, tau in zip((-1, 1), taus, strict=True)
        ]
        for r in RADII
    ]
    assert deviation(module.grad_V(x, p), np.sum(slopes, axis=1)[:, None]) < TOLERANCE


@pytest.mark.parametrize("d", DIMENSIONS)
def test_features_and_their_gradients(module: ModuleType, sigma: Sigma, d: float) -> None:
    p, x = parameters(d), RADII[::3, None]
    form = module.kernel_form(p)
    K = len(form.weights)
    assert form.index.shape == (K, 1)
    assert form.dimensions == (d,)
    features, gradients = module.features(x, p), module.grad_features(x, p)
    assert features.shape == (len(x), 2 * K)
    assert gradients.shape == (len(x), 2 * K, 1)
    chosen = np.unique(np.linspace(0, K - 1, 9).astype(int))
    for i, tau in enumerate(TAUS):
        for n in chosen:
            index, column = form.index[n, 0], i * K + n
            if form.route == "hermite":
                value = [oracles.a(sigma, int(index), tau * r) for r in x[:, 0]]
                slope = [tau * oracles.a_prime(sigma, int(index), tau * r) for r in x[:, 0]]
            else:
                scale = tau * index * x[:, 0]
                value = list(oracles.g(sigma, int(d), scale))
                slope = list(tau * index * oracles.g_prime(sigma, int(d), scale))
            assert deviation(features[:, column], np.array(value)) < TOLERANCE, (tau, index)
            assert deviation(gradients[:, column, 0], np.array(slope)) < TOLERANCE, (tau, index)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_weights_are_a_probability_on_the_right_moments(module: ModuleType, d: float) -> None:
    p = parameters(d)
    w, form = module.weights(p), module.kernel_form(p)
    assert np.all(w >= 0)
    assert np.array_equal(w, np.tile(0.5 * form.weights, 2))
    if form.route == "hermite":
        moments = [oracles.moment(int(k), int(d)) for k in form.index[:, 0]] if math.isfinite(d) else [1.0]
        # logarithms of gamma functions of size 3000 lose 3 digits
        assert form.weights == pytest.approx(moments, rel=1e-12, abs=0)
    else:
        # a quadrature of the chi_d law, no worse for 1 and R^2 than what is stated for U
        room = 1e-12 + 2 * form.error
        assert form.weights.sum() == pytest.approx(1, rel=room, abs=0)
        assert form.weights @ form.index[:, 0] ** 2 == pytest.approx(d, rel=room, abs=0)


PAIRS = np.array([(1e-3, 0.7), (1.0, 2.0), (5.0, 5.0), (900.0, 0.3)])


def size(sigma: Sigma, r: float, r2: float) -> float:
    """The yardstick of the stated error: sqrt(U(r, r) U(r2, r2)) at angle 0, and 1 at least."""
    squares = [0.5 * sum(oracles.square_norm(sigma, tau * x) for tau in TAUS) for x in (r, r2)]
    return max(1.0, math.sqrt(squares[0] * squares[1]))


# 1 s each: every dimension is met once with the truncated ReLU, two with each other activation
MET = [("truncated_relu", d) for d in (2, 3, 5, 7, 40, 1000)]
MET += [("nonmonotone", 2), ("nonmonotone", 7), ("five", 3), ("five", 40), ("relu", 2), ("relu", 7)]


@pytest.mark.parametrize(("name", "d"), MET, indirect=["name"])
def test_interaction_against_the_quadrature_over_the_radius(module: ModuleType, sigma: Sigma, d: int) -> None:
    p, x, x2 = parameters(d), PAIRS[:, :1], PAIRS[:, 1:]
    exact = np.array(
        [0.5 * sum(oracles.orbit_by_radius(sigma, d, t * r, t * r2) for t in TAUS) for r, r2 in PAIRS]
    )
    sizes = np.array([size(sigma, r, r2) for r, r2 in PAIRS])
    assert np.max(np.abs(module.U_exact(x, x2, p) - exact) / sizes) < 1e-12
    rounding = 1e-12
    assert np.max(np.abs(module.U(x, x2, p) - exact) / sizes) <= module.kernel_form(p).error + rounding


@pytest.mark.parametrize(("n", "d", "s", "s2"), [("nonmonotone", 40, 1.3, 2.6), ("five", 3, 9.0, 0.4)])
def test_angle_average_of_the_pair_expectation(n: str, d: int, s: float, s2: float) -> None:
    """Three integrals over data and angle: nothing of |x|, Hermite or Owen is in the oracle."""
    p = parameters(d, (s, s))
    value = module_of(n).U_exact(np.array([1.0]), np.array([s2 / s]), p)
    assert value == pytest.approx(oracles.orbit_by_angle(ACTIVATIONS[n][1], d, s, s2), rel=1e-12, abs=0)


@pytest.mark.parametrize("d", [2, 3, 40])
def test_angle_average_of_U_pair_is_U_exact(module: ModuleType, d: int) -> None:
    u, w = oracles.rule(oracles.panels(-math.pi / 2, math.pi / 2, 0.05))
    p, r, r2 = parameters(d), np.array([1.1]), np.array([[0.3], [1.1], [4.0]])
    density = w * np.cos(u) ** (d - 2) / oracles.sphere_total(d)
    values = module.U_pair(r, r2[:, None], np.sin(u)[:, None], p)
    assert values.shape == (3, len(u))
    # 0.05-wide panels; at equal scales U_pair bends at the ends, where the last panels see it
    assert values @ density == pytest.approx(module.U_exact(r, r2, p), rel=1e-11, abs=0)


PAIR_POINTS = [
    (0.4, 1.7, 0.6),
    (2.5, 1.1, -0.9),
    (0.9, 0.9, 0.97),
    (30.0, 0.05, 0.3),
    (1.2, 0.8, 0.0),
    (0.7, 0.7, 1.0),
    (0.6, 1.4, 1.0),
    (2.0, 0.1, -1.0),
    (0.01, 0.02, 0.5),
]


def test_pair_kernel_in_float64(module: ModuleType, sigma: Sigma) -> None:
    for s, s2, rho in PAIR_POINTS:
        value = module.pair_kernel(np.array([s]), np.array([s2]), np.array([rho]))
        # its own promise: rounding of about 1e-16 s s2, times the sum of |c_j c_k| <= 400
        assert float(value[0]) == pytest.approx(oracles.pair(sigma, s, s2, rho), rel=1e-12, abs=1e-12)


def test_bivariate_normal_probability_at_zero_thresholds() -> None:
    h = np.array([0.0, 0.5, -0.5, 0.0, 0.0, -0.0, 0.5])
    k = np.array([0.5, 0.0, 0.0, -0.5, 0.0, 0.5, -0.0])
    rho = 0.0
    half, tail = 0.5, 0.3085375387259869  # P(X > 0), P(X > 1/2)
    exact = np.array(
        [half * tail, half * tail, half * (1 - tail), half * (1 - tail), 0.25, half * tail, half * tail]
    )
    for n in COMMITTED:
        # a sum of four terms of size 1/2
        assert module_of(n).bvn_survival(h, k, rho) == pytest.approx(exact, abs=1e-15)


@pytest.mark.parametrize("d", [3, 7, 40])
def test_monte_carlo_of_the_network(module: ModuleType, sigma: Sigma, d: int) -> None:
    r, r2, taus, samples = 1.1, 0.6, (1.8, 0.2), 200_000 if d == 40 else 1_000_000
    first, second = oracles.network_samples(sigma, d, taus, r, r2, samples, seed=d)
    p = parameters(d, taus)
    for drawn, value in (
        (first, module.V(np.array([r]), p)),
        (second, module.U(np.array([r]), np.array([r2]), p)),
    ):
        error = drawn.std() / math.sqrt(samples)
        assert error < 0.01 * drawn.std()
        assert abs(drawn.mean() - value) < 4 * error


# r, r', tau+, tau-, d and the values of V and U, by direct quadrature (four rows), quoted to 1e-9.
# The U of the rows d = 7 and d = 5 were first published as 0.2281137108953548 and 1.6174447604835762.
# Both are wrong, by 9e-8 and 4e-6: the average over the angle of the pair expectation (three integrals)
# and the average over |x| (two integrals) agree with each other to 1e-15 on the numbers below.
REFERENCE = [
    ("truncated_relu", 40, 1.8, 0.2, 0.8, 1.3, -1.2398561809778261, 3.102718555379407),
    ("truncated_relu", 40, 1.8, 0.2, 4.0, 0.07, -1.62355759574214, -0.8114216929076348),
    ("truncated_relu", 7, 1.3, 0.7, 1.0, 2.0, -0.6640438682298283, 0.2281136184603960),
    ("truncated_relu", math.inf, 1.8, 0.2, 0.8, 1.3, -1.2398561809778261, 3.0821585504216253),
    ("nonmonotone", 320, 1.5, 0.5, 0.1, 0.4, 0.05971945735958695, 6.50758040490671),
    ("nonmonotone", 5, 1.5, 0.5, 2.1, 1.1, -1.0841553735771214, 1.617449141108101),
]


@pytest.mark.parametrize(("n", "d", "plus", "minus", "r", "r2", "v", "u"), REFERENCE)
def test_reference_values(
    n: str, d: float, plus: float, minus: float, r: float, r2: float, v: float, u: float
) -> None:
    module, p = module_of(n), parameters(d, (plus, minus))
    x, x2 = np.array([r]), np.array([r2])
    # the default error of U is 1e-10 of its size, at most 7.5^2 here; the table itself is good to 1e-9
    assert module.V(x, p) == pytest.approx(v, abs=1e-9)
    assert module.U(x, x2, p) == pytest.approx(u, abs=1e-8)
    assert module.U_exact(x, x2, p) == pytest.approx(u, abs=1e-9)


def test_the_oracles_own_reference_values() -> None:
    """The two corrected rows, by the oracle that averages over the angle."""
    for n, d, plus, minus, r, r2, _, u in (REFERENCE[2],):
        sigma = ACTIVATIONS[n][1]
        average = 0.5 * sum(oracles.orbit_by_angle(sigma, int(d), t * r, t * r2) for t in (plus, minus))
        assert average == pytest.approx(u, abs=1e-14)
    for n, d, plus, minus, r, r2, _, u in (REFERENCE[2], REFERENCE[5]):
        sigma = ACTIVATIONS[n][1]
        average = 0.5 * sum(oracles.orbit_by_radius(sigma, int(d), t * r, t * r2) for t in (plus, minus))
        assert average == pytest.approx(u, abs=1e-14)


def test_low_dimension_and_long_weights() -> None:
    """d = 3, r = r' = 5, where the Hermite series of 80 terms is off by 2e-3."""
    module, x, p = module_of("truncated_relu"), np.array([5.0]), parameters(3)
    exact = 0.5 * sum(
        oracles.orbit_by_radius(ACTIVATIONS["truncated_relu"][1], 3, 5 * tau, 5 * tau) for tau in TAUS
    )
    assert module.U(x, x, p) == pytest.approx(exact, abs=1e-6)


# ---- derivatives, symmetry, limits


@pytest.mark.parametrize("d", [2, 7, 40, math.inf])
def test_gradients_by_central_differences(module: ModuleType, d: float) -> None:
    p, x = parameters(d), np.array([0.11, 0.43, 0.97, 1.8, 6.3])[:, None]
    steps, stencil = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([1.0, -8.0, 8.0, -1.0]) / 12
    if module.kernel_form(p).route == "chi":
        p["tolerance"] = 1e-3  # few nodes; each feature has a half-integer power, so away from kinks only
    # fourth order: h^4 f''''' / 30 with h = 1e-3 and derivatives up to 1e4, rounding 1e-16/h
    h = 1e-3 * x
    moved = [x + n * h for n in steps]
    for f, gradient in ((module.V, module.grad_V), (module.features, module.grad_features)):
        values = np.stack([f(y, p) for y in moved], axis=-1) @ stencil
        exact = gradient(x, p)[..., 0]
        error = np.abs(values / (h if values.ndim > 1 else h[:, 0]) - exact) / np.maximum(1, np.abs(exact))
        if f is module.V or module.kernel_form(p).route == "hermite":
            assert np.max(error) < 1e-6
        else:
            assert np.median(error) < 1e-6
            assert np.mean(error > 1e-4) < 0.02


@pytest.mark.parametrize("d", DIMENSIONS)
def test_even_extension(module: ModuleType, d: float) -> None:
    p, x = parameters(d), np.array([0.0, 1e-5, 0.3, 2.0, 50.0])[:, None]
    assert np.array_equal(module.V(-x, p), module.V(x, p))
    assert np.array_equal(module.features(-x, p), module.features(x, p))
    assert np.array_equal(module.grad_V(-x[1:], p), -module.grad_V(x[1:], p))
    assert np.array_equal(module.grad_features(-x[1:], p), -module.grad_features(x[1:], p))
    assert np.array_equal(module.U(-x, x, p), module.U(x, x, p))


@pytest.mark.parametrize("d", DIMENSIONS)
def test_limit_at_zero_is_the_one_from_the_right(module: ModuleType, sigma: Sigma, d: float) -> None:
    p = parameters(d)
    zero, near = np.zeros((1, 1)), np.full((1, 1), 1e-13)
    # sigma is Lipschitz with constant 11.5, so 1e-13 away nothing moves by more than 1e-11 R
    assert deviation(module.V(zero, p), np.zeros(1)) < 1e-15
    assert deviation(module.grad_V(zero, p), module.grad_V(near, p)) < 1e-12
    assert deviation(module.features(zero, p), module.features(near, p)) < 1e-10
    assert deviation(module.grad_features(zero, p), module.grad_features(near, p)) < 1e-10
    # a unit of norm 0 answers sigma(0) to everything; a rule over R holds mass 1 to its stated error
    at_zero = float(sigma(np.array(0.0))) ** 2
    assert module.U(zero[0], zero[0], p) == pytest.approx(at_zero, rel=1e-12, abs=1e-290)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("r", [1e-300, 1e-12, 1e8, 1e150])
def test_extreme_norms(module: ModuleType, sigma: Sigma, d: float, r: float) -> None:
    p, x = parameters(d), np.array([r])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        V, grad_V = module.V(x, p), module.grad_V(x, p)
        features, gradients = module.features(x, p), module.grad_features(x, p)
        U = module.U(x, x, p)
    # far out sigma(z) is a line on each side, near 0 as well; what is left is of order 1/r (of order r)
    left, right = (sigma.left, sigma.right) if r > 1 else (sigma.slope(np.array(t)) for t in (-1e-9, 1e-9))
    bend = float(right - left) / math.sqrt(2 * math.pi)
    assert pytest.approx(-0.5 * bend * (TAUS[0] - TAUS[1]) * r, rel=1e-7, abs=1e-7) == V
    assert grad_V[0] == pytest.approx(-0.5 * bend * (TAUS[0] - TAUS[1]), rel=1e-7, abs=1e-7)
    assert np.all(np.isfinite(features)) and np.all(np.isfinite(gradients)) and np.isfinite(U)
    ends = np.array([float(sigma(np.array(side * (1e-12 if r < 1 else 1e3)))) for side in (-1, 1)])
    if r < 1:
        assert pytest.approx(sigma(np.array(0.0)) ** 2, abs=1e-9) == U
    elif sigma.left == sigma.right == 0:
        # a step between two constants: its mean over the directions of w is their mean, for every x
        assert pytest.approx(ends.mean() ** 2, abs=1e-6) == U
    else:
        assert pytest.approx(_homogeneous(sigma, d) * r * r, rel=1e-7) == U


def _homogeneous(sigma: Sigma, d: float) -> float:
    """U/r^2 for t -> left t (t < 0), right t (t > 0): the even part is slope |t|, E |S| |S'| R^2."""
    even = 0.5 * (sigma.right - sigma.left)
    absolute = (
        oracles.sphere_average(np.abs, Sigma((0.0,), (0.0,)), int(d), np.ones(1))[0] if d < 1e9 else 0.0
    )
    # given |x| = R the directions are independent: E |<e, x>| = R E|S|, and E R^2 = d
    mean = d * absolute**2 if d < 1e9 else 2 / math.pi
    return float(0.5 * (TAUS[0] ** 2 + TAUS[1] ** 2) * even**2 * mean)


@pytest.mark.parametrize("r", [1e300, 1.7e308])
def test_the_largest_floats(r: float) -> None:
    """Every finite x is in the domain, also where tau r overflows."""
    for n in COMMITTED:
        module = module_of(n)
        for d in (5, 40):
            p, x = parameters(d), np.array([r])
            with np.errstate(over="ignore"):
                values = [module.V(x, p), module.features(x, p), module.grad_V(x, p), module.U(x, x, p)]
            assert all(np.all(np.isfinite(v)) for v in values)
            assert values[0] == pytest.approx(0, abs=1e-12)


# ---- the kernel as a kernel


@pytest.mark.parametrize("d", DIMENSIONS)
def test_symmetric_and_positive_semidefinite(module: ModuleType, d: float) -> None:
    p, x = parameters(d), np.geomspace(0.05, 30, 25)[:, None]
    gram = module.U(x[:, None], x[None], p)
    assert gram.shape == (25, 25)
    # the same products, summed in blocks that the place in the array decides
    assert np.max(np.abs(gram - gram.T)) <= 1e-13 * np.max(np.abs(gram))
    # a Gram matrix up to rounding of its largest eigenvalue
    eigenvalues = np.linalg.eigvalsh(gram)
    assert eigenvalues[0] > -1e-13 * eigenvalues[-1]


def radius_average(module: ModuleType, d: int, c: Any, c2: Any) -> Any:
    """E[g(c R) g(c2 R)], R ~ chi_d: an oracle that is fast, and independent of the routes and of U_exact.

    Gauss-Legendre on the panels between the kinks R = |t|/c, |t|/c2.  On each panel R is a cubic with
    double ends, which turns the half-integer powers of g into integer ones: spectral accuracy for every d.
    """
    low, high = math.sqrt(stats.chi2.ppf(1e-17, d)), math.sqrt(stats.chi2.isf(1e-17, d + 2))
    # the median of the law splits the range, so that no panel is much wider than the density
    breaks = [np.full(c.shape, end) for end in (low, math.sqrt(d), high)]
    breaks += [np.clip(abs(t) / scale, low, high) for t in module.KNOTS for scale in (c, c2)]
    edges = np.sort(np.stack(breaks, axis=-1), axis=-1)
    x, w = np.polynomial.legendre.leggauss(48)
    u = 0.5 * (1 + x)
    width = np.diff(edges, axis=-1)[..., None]
    radius = edges[..., :-1, None] + width * u * u * (3 - 2 * u)
    weight = width * 3 * u * (1 - u) * w * stats.chi.pdf(radius, d)
    means = [module.g(d, scale[..., None, None] * radius)[0] for scale in (c, c2)]
    return np.sum(weight * means[0] * means[1], axis=(-2, -1))


@pytest.mark.parametrize("d", [2, 3, 7, 8, 24, 40])
def test_U_exact_agrees_with_the_average_over_the_radius(module: ModuleType, d: int) -> None:
    """The angle average of the pair kernel, over all scales, on the diagonal and close to it."""
    rng = np.random.default_rng(d)
    r = 10 ** rng.uniform(-2, 3, 12)[:, None]
    r2 = r * 10 ** np.repeat([0.0, 1e-3, 0.3, -1.0], 3)[:, None]
    p, one = parameters(d, (1.0, 1.0)), np.ones(1)
    sizes = np.maximum(1.0, np.sqrt(module.U_pair(r, r, one, p) * module.U_pair(r2, r2, one, p)))
    error = np.abs(module.U_exact(r, r2, p) - radius_average(module, d, r, r2)[:, 0])
    assert np.max(error / sizes) < 1e-12


@pytest.mark.parametrize(
    ("d", "tolerance"),
    [(2, 1e-2), (2, 1e-4), (3, 1e-6), (7, 1e-6), (12, 1e-6), (40, 1e-2)],
)
def test_tolerance_and_stated_error_hold_everywhere(module: ModuleType, d: int, tolerance: float) -> None:
    """Random pairs over all scales and close pairs, against the average over R (itself certain to 1e-12)."""
    p = parameters(d, (1.0, 1.0), tolerance=tolerance)
    form = module.kernel_form(p)
    assert form.error <= tolerance
    rng = np.random.default_rng(d)
    r = 10 ** rng.uniform(-2, 3, 500)
    r2 = np.where(rng.random(500) < 0.6, r * 10 ** rng.normal(0, 0.3, 500), 10 ** rng.uniform(-2, 3, 500))
    r2[:200] = r[:200]
    r, r2 = r[:, None], r2[:, None]
    exact = radius_average(module, d, r, r2)[:, 0]
    one = np.ones(1)
    sizes = np.maximum(1.0, np.sqrt(module.U_pair(r, r, one, p) * module.U_pair(r2, r2, one, p)))
    error = np.max(np.abs(module.U(r, r2, p) - exact) / sizes)
    rounding = 1e-12
    assert error <= tolerance + rounding
    assert error <= form.error + rounding


def test_a_looser_tolerance_needs_fewer_features(module: ModuleType) -> None:
    for d in (3, 7, 40):
        counts = [len(module.weights(parameters(d, tolerance=t))) for t in (1e-8, 1e-5, 1e-2)]
        assert counts[0] >= counts[1] >= counts[2]
    assert len(module_of("truncated_relu").weights(parameters(40, tolerance=1e-2))) < 10


def test_unreachable_tolerance_says_what_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("truncated_relu")
    monkeypatch.setattr(module, "MOST_FEATURES", 300)  # 8192 take 4 s
    message = r"tolerance = 1e-13 is out of reach at d = 2: .* ask for tolerance = "
    with pytest.raises(ValueError, match=message) as info:
        module.weights(parameters(2, tolerance=1e-13))
    advised = float(str(info.value).split("ask for tolerance = ")[1].split()[0])
    module.weights(parameters(2, tolerance=advised))  # the mend mends


def test_a_vanishing_activation_near_zero_is_no_excuse() -> None:
    """sigma = 0 up to 1/2: at small scales the yardstick of the error underflows, never to NaN."""
    from tests.built import uncertified
    from workbench import PiecewiseLinear, isotropic_gaussians
    from workbench.codegen import generate, load

    text = generate(uncertified(isotropic_gaussians(PiecewiseLinear([0.5, 1.5], [0, 1], name="quiet"))))
    module = load(text, "quiet")
    for d in (7, 1000):
        assert module.measured_error(module.chi_form((d,), 16), module.chi_form((d,), 64)) > 0
        assert 0 < module.kernel_form(parameters(d)).error <= 1e-10


# ---- shapes and protocol


@pytest.mark.parametrize("d", [3, 40, math.inf])
@pytest.mark.parametrize("shape", [(1,), (5, 1), (4, 3, 1), (0, 1)])
def test_shapes(module: ModuleType, d: float, shape: tuple[int, ...]) -> None:
    p = parameters(d)
    x = np.linspace(0.1, 3, math.prod(shape)).reshape(shape)
    K = len(module.weights(p))
    assert np.shape(module.V(x, p)) == shape[:-1]
    assert np.shape(module.grad_V(x, p)) == shape
    assert np.shape(module.features(x, p)) == (*shape[:-1], K)
    assert np.shape(module.grad_features(x, p)) == (*shape[:-1], K, 1)
    assert np.shape(module.U(x, x, p)) == shape[:-1]
    assert np.shape(module.U_exact(x, x, p)) == shape[:-1]
    for table in (module.a, module.alpha):
        for order in (0, 1, 5):
            assert np.shape(table(order, x[..., 0])) == (*shape[:-1], order + 1)
    if math.isfinite(d):
        assert [np.shape(value) for value in module.g(d, x[..., 0])] == [shape[:-1]] * 3


def test_U_broadcasts(module: ModuleType) -> None:
    p, x = parameters(40), np.linspace(0.1, 3, 5)[:, None]
    assert module.U(x[:, None], x[None], p).shape == (5, 5)
    assert module.U_exact(x[:, None], x[None], p).shape == (5, 5)
    assert module.U(x, x[0], p).shape == (5,)
    # the same sums in another order
    assert module.U(x[:, None], x[None], p)[3, 1] == pytest.approx(module.U(x[3], x[1], p), rel=1e-13, abs=0)


def test_all_hermite_coefficients(module: ModuleType, sigma: Sigma) -> None:
    s = np.array([0.05, 0.8, 3.0])
    exact = np.array([[oracles.a(sigma, k, x) for k in range(8)] for x in s])
    assert deviation(module.a(7, s), exact) < TOLERANCE
    for order in (0, 1, 2):
        assert np.array_equal(module.a(order, s), module.a(7, s)[:, : order + 1])
        assert np.array_equal(module.alpha(order, s), module.alpha(7, s)[:, : order + 1])
    # da_k/ds = sqrt(k+1) alpha_(k+1) + sqrt(k) alpha_(k-1)
    k = np.arange(8)
    slopes = np.array([[oracles.a_prime(sigma, int(i), x) for i in k] for x in s])
    alpha = module.alpha(8, s)
    assert (
        deviation(np.sqrt(k + 1) * alpha[:, 1:] + np.sqrt(k) * alpha[:, np.maximum(k - 1, 0)], slopes)
        < TOLERANCE
    )


def test_dimension_as_a_float_or_a_numpy_number(module: ModuleType) -> None:
    x = np.array([[0.4], [2.0]])
    for d in (40.0, np.int64(40), np.float64(40.0)):
        module.check_parameters(parameters(d))
        assert np.array_equal(module.U(x, x, parameters(d)), module.U(x, x, parameters(40)))


def test_integer_input(module: ModuleType) -> None:
    p, x = parameters(40), np.array([[0], [1], [3]])
    for f in (module.V, module.grad_V, module.features, module.grad_features):
        assert np.array_equal(f(x, p), f(x.astype(float), p))


def test_what_a_module_says_of_itself(module: ModuleType, name: str) -> None:
    assert f"isotropic_{name}" == module.NAME
    assert module.COORDINATES == ("r",)
    assert module.PARAMETERS == ("d", "tau_plus", "tau_minus")
    assert set(module.SOURCE) == {"script", "sympy", "workbench", "sha256"}
    assert module.SOURCE["script"] == f"derivations/isotropic_{name}.py"
    law = module.data_law(parameters(40))
    assert law == ((1.0, 0.5, ((40, 1.3, 0.0),)), (-1.0, 0.5, ((40, 0.7, 0.0),)))


GOOD = parameters(40)


@pytest.mark.parametrize(
    ("p", "named"),
    [
        ({**GOOD, "temperature": 1}, "unknown parameter 'temperature'.*tau_plus"),
        ({"d": 40, "tau_plus": 1.0}, "'tau_minus'.*missing"),
        ({}, "'d'.*missing"),
        ({**GOOD, "tau_plus": 0.0}, r"tau_plus = 0\.0"),
        ({**GOOD, "tau_minus": -0.2}, r"tau_minus = -0\.2"),
        ({**GOOD, "tau_minus": math.nan}, "tau_minus = nan"),
        ({**GOOD, "tau_plus": math.inf}, "tau_plus = inf"),
        ({**GOOD, "d": 1}, "d = 1 "),
        ({**GOOD, "d": 0}, "d = 0 "),
        ({**GOOD, "d": -math.inf}, "d = -inf "),
        ({**GOOD, "d": 2.5}, r"d = 2\.5 "),
        ({**GOOD, "d": math.nan}, "d = nan "),
        ({**GOOD, "d": "abc"}, "d = '?abc"),
        ({**GOOD, "d": None}, "d = None"),
        ({**GOOD, "tau_plus": "wide"}, "tau_plus = '?wide"),
        ({**GOOD, "tau_plus": None}, "tau_plus = None"),
        ({**GOOD, "tolerance": 0.0}, r"tolerance = 0\.0"),
        ({**GOOD, "tolerance": 1.0}, r"tolerance = 1\.0"),
        ({**GOOD, "tolerance": math.nan}, "tolerance = nan"),
        ({**GOOD, "tolerance": "fine"}, "tolerance = '?fine"),
    ],
)
def test_bad_parameters_name_the_value(p: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        module_of("truncated_relu").check_parameters(p)


# ---- standing alone


@pytest.mark.parametrize("n", COMMITTED)
def test_imports_of_the_text(n: str) -> None:
    tree = ast.parse((ROOT / f"solvers/generated/isotropic_{n}.py").read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    top = {module.partition(".")[0] for module in imported}
    assert top == {"__future__", "math", "functools", "typing", "numpy", "scipy", "cupy", "cupyx"}


def test_runs_by_itself(tmp_path: Path) -> None:
    """Copied elsewhere and run by path, with the repository out of reach."""
    text = (ROOT / "solvers/generated/isotropic_truncated_relu.py").read_text("utf-8")
    (tmp_path / "alone.py").write_text(text, encoding="utf-8")
    script = (
        "import sys, numpy as np\n"
        f"sys.path = [p for p in sys.path if p not in ('', {str(ROOT)!r})]\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import alone\n"
        'p = {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}\n'
        "print(repr(float(alone.U(np.array([0.8]), np.array([1.3]), p))))\n"
        "loaded = {m.partition('.')[0] for m in sys.modules}\n"
        "assert not loaded & {'sympy', 'mpmath', 'workbench', 'solvers'}\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(3.102718555379407, abs=1e-8)


# ---- far scales, dimensions and slopes


@pytest.mark.parametrize("rho", [0.0, 0.3, -0.8, 0.95, 0.9999, 1.0, -1.0])
def test_pair_quadrature_agrees_with_the_closed_form(module: ModuleType, rho: float) -> None:
    rng = np.random.default_rng(3)
    s, s2 = 10 ** rng.uniform(-3, 1, (2, 300))
    one = np.full(300, rho)
    closed = module.pair_closed_form(s, s2, one, 0.0, 0.0)
    integral = module.pair_quadrature(module.sigma, module.KNOTS, module.SLOPE_CHANGES, s, s2, one, 0.0, 0.0)
    # 16 nodes a panel reach rounding, which for the closed form is 1e-16 s s2 times 400 for the slopes
    assert np.max(np.abs(integral - closed) / np.maximum(1, s * s2)) < 2e-11


def test_pairs_of_huge_units_keep_their_digits() -> None:
    """At s -> oo the truncated ReLU is a step from -2.5 to 7.5: the limits by orthant probabilities."""
    module, huge = module_of("truncated_relu"), np.array([1e8, 1e160])
    for rho in (1.0, 0.5, 0.0, -1.0):
        both = 0.25 + math.asin(rho) / (2 * math.pi)
        step = (7.5**2 + 2.5**2) * both - 2 * 7.5 * 2.5 * (0.5 - both)
        # the ramp takes a share 1e-8 of either variable
        assert module.pair_kernel(huge, huge, np.full(2, rho)) == pytest.approx([step] * 2, abs=2e-6)


def test_a_steep_ramp_has_the_second_moment_of_a_step() -> None:
    from tests.built import uncertified
    from workbench import PiecewiseLinear, isotropic_gaussians
    from workbench.codegen import generate, load

    steep = PiecewiseLinear([1, 1.0001], [0, 1], name="steep")
    module = load(generate(uncertified(isotropic_gaussians(steep))), "steep")
    for s in (0.5, 10.0, 1e3):
        value = float(module.pair_kernel(np.array(s), np.array(s), np.array(1.0)))
        # the ramp of width 1e-4 moves at most that share of the density
        assert value == pytest.approx(stats.norm.sf(1 / s), abs=1e-4 * stats.norm.pdf(1 / s) / s)


@pytest.mark.parametrize("d", [10**6, 10**9, 10**12])
def test_large_dimensions_tend_to_the_infinite_one(d: int) -> None:
    """U_d - U_inf = m_2(d) a_2 a_2 + O(1/d^2), m_2 = 1/d."""
    module, x = module_of("truncated_relu"), np.array([1.0])
    p = {"tau_plus": 1.8, "tau_minus": 0.2}
    limit = module.U(x, x, {**p, "d": math.inf})
    second = 0.5 * sum(float(module.a(2, np.array(t))[2]) ** 2 for t in (1.8, 0.2)) / d
    for U in (module.U, module.U_exact):
        assert float(U(x, x, {**p, "d": d}) - limit) == pytest.approx(second, rel=1e-3, abs=3e-12)


def test_dimensions_beyond_float64_are_refused() -> None:
    with pytest.raises(ValueError, match=r"beyond 1e\+12.*inf"):
        module_of("truncated_relu").check_parameters({"d": 1e18, "tau_plus": 1.0, "tau_minus": 1.0})


@pytest.mark.parametrize(
    ("values", "slope"), [((2,), 0), ((0,), 0), ((2,), 1)], ids=["constant", "zero", "line"]
)
def test_activations_without_a_bend(values: tuple[float, ...], slope: float) -> None:
    """sigma = v + slope (t - 1): U = (v - slope)^2, orbit averages leave nothing else; V = 0."""
    from tests.built import uncertified
    from workbench import PiecewiseLinear, isotropic_gaussians
    from workbench.codegen import generate, load

    flat = PiecewiseLinear([1], values, slope, slope, name="flat")
    module = load(generate(uncertified(isotropic_gaussians(flat))), "flat")
    x = np.array([[0.0], [0.5], [30.0]])
    for d in (2, 3, 40, math.inf):
        p = {"d": d, "tau_plus": 1.8, "tau_minus": 0.2}
        exact = (values[0] - slope) ** 2
        assert module.U(x, x, p) == pytest.approx([exact] * 3, abs=1e-12)
        assert module.V(x, p) == pytest.approx([0] * 3, abs=1e-14)
        assert module.grad_features(x, p).shape == (3, len(module.weights(p)), 1)
        assert not module.grad_V(x, p).any()


def test_points_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 2\)"):
        module_of("truncated_relu").V(np.ones((4, 2)), parameters(40))
