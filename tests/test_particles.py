"""Characteristics: published risks, conservation laws of the flow, oracles, order, and what is refused."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import special
from scipy.integrate import solve_ivp

import solvers.generated.anisotropic_relu as anisotropic_relu
import solvers.generated.anisotropic_truncated_relu as anisotropic_truncated
import solvers.generated.isotropic_nonmonotone as nonmonotone
import solvers.generated.isotropic_relu as isotropic_relu
import solvers.generated.isotropic_truncated_relu as truncated
from solvers import sgd
from solvers.particles import MOST_NODES, ParticlesConfig, initial_atoms, quantile_atoms, solve
from tests.built import uncertified
from workbench import (
    BadInput,
    GaussianInitialLaw,
    NumericalFailure,
    Problem,
    StepSchedule,
    Trajectory,
    isotropic_gaussians,
    truncated_relu,
)
from workbench.codegen import generate, load
from workbench.initial import InitialDensity
from workbench.measure import Measure, feature_moments, grad_Psi, risk
from workbench.settings import read_problem

P = {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}
TIMES = (0.01, 0.1, 1.0, 4.0, 10.0)
# Two blocks, a and b trained, and everything but m with a spread.
BLOCKS = {"d": 30, "s0": 12, "tau_plus": 1.5, "tau_minus": 0.5, "tolerance": 1e-4}
WIDE = GaussianInitialLaw(kappa=1.2, a_mean=1.0, a_std=0.5, b_mean=0.2, b_std=0.3)


def bare_module(slope: Any = lambda x: 0.0 * x, names: tuple[str, ...] = ("r",)) -> ModuleType:
    """A module with U = 0 and grad V = ``slope``."""
    module = ModuleType("bare")
    vars(module).update(
        NAME="bare",
        COORDINATES=names,
        check_parameters=lambda p: None,
        V=lambda x, p: 0.0 * x[..., 0],
        grad_V=lambda x, p: slope(x),
        features=lambda x, p: 0.0 * x[..., :1],
        grad_features=lambda x, p: 0.0 * x[..., None, :],
        weights=lambda p: np.zeros(1),
    )
    return module


@cache
def shifted() -> ModuleType:
    """Truncated ReLU between two classes of opposite means: coordinates m, r."""
    derivation = uncertified(isotropic_gaussians(truncated_relu(), means="opposite"))
    return load(generate(derivation, "tests/test_particles.py"), "shifted")


@pytest.fixture(scope="session")
def reference() -> Trajectory:
    """The std convention at Delta = 0.8 with the published initial law."""
    records = tuple(t * (1 + sign * 1e-3) for t in (0.1, 1.0, 4.0) for sign in (-1, 1))
    problem = Problem(truncated, P, TIMES, records=records, initial=GaussianInitialLaw(0.8))
    return solve(problem, ParticlesConfig(400))


def test_risk_in_the_std_convention(reference: Trajectory) -> None:
    # the quoted values come from other atoms and steps; 0.2 % is what separates J = 400 from J = infinity
    quoted = [1.63185, 1.33898, 1.07062, 0.8594, 0.1753]
    assert reference.risk_at(TIMES) == pytest.approx(quoted, rel=2e-3)


def test_risk_in_the_variance_convention() -> None:
    p = {"d": 40, "tau_plus": math.sqrt(1.8), "tau_minus": math.sqrt(0.2)}
    trajectory = solve(Problem(truncated, p, TIMES, initial=GaussianInitialLaw(0.8)), ParticlesConfig(400))
    assert trajectory.risk_at(TIMES) == pytest.approx([2.10255, 0.93595, 0.05992, 0.04541, 0.04532], rel=2e-3)


def test_mass_splits_in_the_std_convention(reference: Trajectory) -> None:
    """At t = 10 the mass sits near r = 0 and near r = 4, hardly any between."""
    r = reference.measure(4).points[:, 0]
    assert 0.1 < np.mean(r < 1) < 0.9
    assert np.median(r[r > 1]) == pytest.approx(4, abs=0.8)
    assert np.mean((r > 1) & (r < 2)) < 0.1


@pytest.mark.parametrize(("kappa", "mean"), [(0.1, 0.0), (0.4, 2.1)])
def test_failure_from_a_small_initialisation(kappa: float, mean: float) -> None:
    p = {"d": 320, "tau_plus": 1.5, "tau_minus": 0.5}
    problem = Problem(nonmonotone, p, (10.0, 100.0), initial=GaussianInitialLaw(kappa))
    trajectory = solve(problem, ParticlesConfig(50))
    for i in range(2):
        if kappa == 0.1:
            assert np.array_equal(trajectory.measure(i).points, np.zeros((50, 1)))
        else:
            # read off at two decimals: 2.09 at t = 10, 2.12 at t = 100
            assert trajectory.measure(i).mean() == pytest.approx(mean, abs=0.03)
    if kappa == 0.1:
        # yhat = sigma(0) = -2.5: 1 + 6.25
        assert trajectory.risk_at([10.0, 100.0]) == pytest.approx([7.25, 7.25], rel=1e-12, abs=0)
    else:
        assert trajectory.risk_at([100.0])[0] == pytest.approx(0.008, abs=0.003)


def test_risk_falls(reference: Trajectory) -> None:
    recorded = reference.data["risk"].values
    assert np.all(np.diff(recorded) < 0)


@pytest.mark.parametrize(("snapshot", "t"), [(1, 0.1), (2, 1.0), (3, 4.0)])
def test_dissipation(reference: Trajectory, snapshot: int, t: float) -> None:
    """R falls at the rate 4 int |grad Psi|^2 drho: dR = 2 int grad Psi . v drho with v = -2 grad Psi."""
    rho = reference.measure(snapshot)
    moments = feature_moments(truncated, rho, P)
    rate = -4 * rho.expectation(grad_Psi(truncated, rho.points, moments, P)[:, 0] ** 2)
    low, high = reference.risk_at([t * (1 - 1e-3), t * (1 + 1e-3)])
    # a central difference over 2e-3 t: R''' (1e-3 t)^2/6, and 1e-8/(2e-3 t) of the solver
    assert (high - low) / (2e-3 * t) == pytest.approx(rate, rel=1e-3)


def test_positions_stay_finite_ordered_and_nonnegative(reference: Trajectory) -> None:
    for i in range(len(TIMES)):
        r = reference.measure(i).points[:, 0]
        assert np.all(np.isfinite(r)) and np.all(r >= 0)
        # characteristics of one field on a line do not cross
        assert np.all(np.diff(r) >= -1e-9)


def test_against_a_plain_runge_kutta_loop() -> None:
    """Classical RK4 with many small steps, the force summed over pairs of units."""
    problem = Problem(truncated, P, (0.3,), initial=GaussianInitialLaw(0.8))
    start = quantile_atoms(problem, 12)
    w = truncated.weights(P)

    def velocity(r: np.ndarray) -> np.ndarray:
        x = r[:, None]
        phi, slopes = truncated.features(x, P), truncated.grad_features(x, P)[..., 0]
        force = truncated.grad_V(x, P)[:, 0]
        for i in range(len(r)):
            for j in range(len(r)):
                force[i] += sum(w * slopes[i] * phi[j]) / len(r)
        return -2 * force

    r, steps = start.points[:, 0], 60
    h = 0.3 / steps
    for _ in range(steps):
        k1 = velocity(r)
        k2 = velocity(r + h / 2 * k1)
        k3 = velocity(r + h / 2 * k2)
        k4 = velocity(r + h * k3)
        r = r + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    solved = solve(problem, ParticlesConfig(12, rtol=1e-10, atol=1e-12)).measure(0).points[:, 0]
    # h^4 = 6e-10 times a fifth derivative; 1e-6 measured with half the steps
    assert solved == pytest.approx(r, abs=1e-5)


def test_error_follows_the_tolerance() -> None:
    problem = Problem(truncated, P, (1.0,), initial=GaussianInitialLaw(0.8))
    tolerances = (1e-4, 1e-6, 1e-8)
    exact = solve(problem, ParticlesConfig(20, rtol=1e-12, atol=1e-13))
    runs = [solve(problem, ParticlesConfig(20, rtol=rtol, atol=1e-13)) for rtol in tolerances]
    errors = [np.max(np.abs(run.measure(0).points - exact.measure(0).points)) for run in runs]
    # local errors of size rtol add up over some 20 steps and grow with the flow
    assert all(error < 100 * rtol for error, rtol in zip(errors, tolerances, strict=True))
    assert errors[0] > errors[1] > errors[2]
    # a method of order 8 needs 10^(8/8) times the steps for 8 digits more, far from few and far from many
    assert 1.5 < exact.data.attrs["steps"] / runs[0].data.attrs["steps"] < 30


@pytest.mark.parametrize("exponent", [0.25, 0.6])
def test_the_schedule_is_a_change_of_clock(exponent: float) -> None:
    schedule = StepSchedule(exponent)
    times = (0.02, 0.5, 2.0)
    clocks = tuple(float(schedule.clock(np.array(t))) for t in times)
    config = ParticlesConfig(20)
    scheduled = solve(Problem(truncated, P, times, schedule=schedule), config)
    plain = solve(Problem(truncated, P, clocks), config)
    for i in range(3):
        # the same steps to the same ends
        assert scheduled.measure(i).points == pytest.approx(plain.measure(i).points, rel=1e-12, abs=0)


def test_ridge_alone_shrinks_exponentially() -> None:
    lam = 0.7
    problem = Problem(bare_module(), {"d": 5}, (0.5, 3.0), lam=lam)
    start = quantile_atoms(problem, 9).points
    trajectory = solve(problem, ParticlesConfig(9))
    for i, t in enumerate((0.5, 3.0)):
        # rtol = 1e-8 a step, some ten steps
        assert trajectory.measure(i).points == pytest.approx(start * math.exp(-2 * lam * t), rel=1e-6)


def test_an_atom_that_reaches_zero_stays() -> None:
    """A constant pull: r = r0 - 2 t until 0."""
    problem = Problem(bare_module(lambda r: np.ones_like(r)), {"d": 3}, (0.1, 0.3, 5.0))
    start = quantile_atoms(problem, 11).points
    trajectory = solve(problem, ParticlesConfig(11))
    for i, t in enumerate((0.1, 0.3, 5.0)):
        assert trajectory.measure(i).points == pytest.approx(np.maximum(start - 2 * t, 0), abs=1e-9)


def test_initial_atoms_are_the_quantiles() -> None:
    problem = Problem(truncated, P, (1.0,), initial=GaussianInitialLaw(0.8))
    atoms = quantile_atoms(problem, 5)
    assert atoms.weights == pytest.approx([0.2] * 5)
    assert np.array_equal(initial_atoms(problem, 5).points, atoms.points)
    assert problem.gaussian_initial.radial_cdf(atoms.points[:, 0], 40) == pytest.approx(
        [0.1, 0.3, 0.5, 0.7, 0.9], rel=1e-9
    )


def test_infinite_dimension_is_one_atom_in_all_but_name() -> None:
    p = {**P, "d": math.inf}
    many, one = (solve(Problem(truncated, p, (1.0,)), ParticlesConfig(n)) for n in (7, 1))
    assert np.ptp(many.measure(0).points) < 1e-14
    assert many.measure(0).mean() == pytest.approx(one.measure(0).mean(), rel=1e-12, abs=0)


def test_what_is_stored(reference: Trajectory) -> None:
    assert reference.complete
    assert reference.data.attrs["method"] == "particles"
    assert reference.data.attrs["model"] == "isotropic_truncated_relu"
    for i, t in enumerate(TIMES):
        # the risk on record is that of the measure on record
        assert risk(truncated, reference.measure(i), P) == pytest.approx(
            reference.risk_at([t])[0], rel=1e-12, abs=0
        )


def test_progress_goes_from_nothing_to_everything() -> None:
    seen: list[float] = []
    solve(Problem(truncated, P, (0.1, 0.2), records=(0.05,)), ParticlesConfig(5), progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0


@pytest.mark.parametrize("d", [40.0, np.int64(40)])
def test_dimension_as_another_number(d: Any) -> None:
    trajectory = solve(Problem(truncated, {**P, "d": d}, (0.01,)), ParticlesConfig(400))
    assert trajectory.risk_at([0.01]) == pytest.approx([1.63185], rel=2e-3)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"atoms": 0}, "atoms = 0"),
        ({"atoms": -3}, "atoms = -3"),
        ({"atoms": 2.5}, r"atoms = 2\.5"),
        ({"atoms": True}, "atoms = True"),
        ({"atoms": math.nan}, "atoms = nan"),
        ({"atoms": math.inf}, "atoms = inf"),
        ({"atoms": "many"}, "atoms = '?many"),
        ({"atoms": (3, 0)}, "atoms = 0"),
        ({"atoms": (0,)}, "atoms = 0"),
        ({"rtol": 0.0}, r"rtol = 0\.0"),
        ({"rtol": math.nan}, "rtol = nan"),
        ({"rtol": 1.0}, r"rtol = 1\.0"),
        ({"atol": -1e-9}, "atol = -1e-09"),
    ],
)
def test_bad_configuration_names_the_value(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        ParticlesConfig(**fields)


def test_noise_is_refused() -> None:
    with pytest.raises(BadInput, match=r"beta = 10\.0.*fokker-planck"):
        solve(Problem(truncated, P, (1.0,), beta=10.0))


def test_blow_up_is_a_numerical_failure_with_what_was_reached() -> None:
    """dr/dt = r^2 from r = 1 is 1/(1 - t)."""
    problem = Problem(
        bare_module(lambda r: -0.5 * r**2), {"d": math.inf}, (0.5, 2.0), initial=GaussianInitialLaw(1.0)
    )
    with pytest.raises(NumericalFailure, match=r"t = (1|0\.99)") as info:
        solve(problem, ParticlesConfig(1))
    partial = info.value.partial
    assert partial is not None and not partial.complete
    assert partial.measure(0).mean() == pytest.approx(2.0, rel=1e-6)


def test_a_nan_in_the_field_is_never_silent() -> None:
    def slope(r: np.ndarray) -> np.ndarray:
        return np.where(r > 0.5, 1.0, math.nan)

    with pytest.raises(NumericalFailure):
        solve(Problem(bare_module(slope), {"d": math.inf}, (1.0,)), ParticlesConfig(1))


# ---- several coordinates


@pytest.mark.parametrize("law", [WIDE, GaussianInitialLaw(0.3, -1.0, 2.0, 0.5, 0.0)])
def test_initial_atoms_have_the_moments_of_the_initial_law(law: GaussianInitialLaw) -> None:
    """Gauss's rule of n nodes is exact to degree 2 n - 1 in a and b, and to degree 4 n - 2 in even powers of r."""
    problem = Problem(anisotropic_relu, BLOCKS, (1.0,), initial=law)
    atoms = initial_atoms(problem, (4, 5, 3, 2))
    a, b, r1, r2 = atoms.points.T
    assert len(a) == 4 * (5 if law.b_std else 1) * 3 * 2 and atoms.weights.sum() == pytest.approx(1)
    for values, mean, std in ((a, law.a_mean, law.a_std), (b, law.b_mean, law.b_std)):
        for power in (1, 2, 3, 7):
            assert atoms.weights @ values**power == pytest.approx(_normal_moment(mean, std, power), rel=1e-12)
    assert atoms.weights @ b**9 == pytest.approx(_normal_moment(law.b_mean, law.b_std, 9), rel=1e-12)
    for values, n, degrees in ((r1, 12, (1, 2, 3, 4, 5)), (r2, 18, (1, 2, 3))):
        for k in degrees:
            # E |w|^(2 k) = (kappa^2/d)^k n (n + 2) ... (n + 2 k - 2)
            exact = (law.kappa**2 / 30) ** k * math.prod(range(n, n + 2 * k, 2))
            assert atoms.weights @ values ** (2 * k) == pytest.approx(exact, rel=1e-12)
    # independent: mixed moments are products
    mixed = atoms.weights @ (a**3 * b**2 * r1**4 * r2**2)
    product = math.prod(float(atoms.weights @ x) for x in (a**3, b**2, r1**4, r2**2))
    assert mixed == pytest.approx(product, rel=1e-10)


def _normal_moment(mean: float, std: float, power: int) -> float:
    """E (mean + std G)^power by the binomial theorem, E G^k = 1 3 ... (k - 1)."""
    return sum(
        math.comb(power, k) * mean ** (power - k) * std**k * math.prod(range(1, k, 2))
        for k in range(0, power + 1, 2)
    )


def test_initial_atoms_in_large_and_small_blocks() -> None:
    """One weight behind r1, a hundred million behind r2."""
    p = {"d": 1e8 + 1, "s0": 1, "tau_plus": 1.2, "tau_minus": 0.8, "tolerance": 1e-2}
    atoms = initial_atoms(Problem(anisotropic_truncated, p, (1.0,)), (20, 6))
    r1, r2 = atoms.points.T
    assert np.all(atoms.points >= 0)
    assert atoms.weights @ r1**2 == pytest.approx(0.64 / p["d"], rel=1e-9)
    assert atoms.weights @ r2**2 == pytest.approx(0.64, rel=1e-7)  # of the limit, 1e-8 off
    assert atoms.weights @ (r2**2 - 0.64) ** 2 == pytest.approx(2 * 0.64**2 / p["d"], rel=1e-4)


def test_one_number_of_atoms_is_shared_out_over_what_varies() -> None:
    def count(atoms: Any, **law: float) -> int:
        problem = Problem(anisotropic_relu, BLOCKS, (1.0,), initial=GaussianInitialLaw(**law))
        return len(initial_atoms(problem, atoms).weights)

    assert count(36) == count((7, 9, 6, 6)) == 6 * 6  # a and b are fixed
    assert count(80, a_std=1.0) == count((4, 1, 4, 4), a_std=1.0) == 4**3
    assert count(81, a_std=1.0, b_std=0.1) == 3**4
    assert count(1) == 1
    assert ParticlesConfig((5,)) == ParticlesConfig(5)
    # what has less than 1e-16 of the mass is left out
    assert 300 < count((1, 1, 40, 40)) < 1600 and initial_atoms(
        Problem(anisotropic_relu, BLOCKS, (1.0,)), (1, 1, 40, 40)
    ).weights.sum() == pytest.approx(1, rel=1e-14)


def test_atoms_are_read_from_text() -> None:
    settings = {"atoms": "8,1,3,3", "d": "30", "s0": "12"}
    assert read_problem(anisotropic_relu, settings, ParticlesConfig)[1].atoms == (8, 1, 3, 3)
    assert read_problem(truncated, {"atoms": "12"}, ParticlesConfig)[1] == ParticlesConfig(12)


def test_infinite_dimension_has_points_for_radii() -> None:
    """(m, r) starts at (0, kappa); of two blocks the infinite one has all of kappa."""
    p = {"d": math.inf, "tau_plus": 1.4, "tau_minus": 0.6, "mu": 1.0}
    atoms = initial_atoms(Problem(shifted(), p, (1.0,)), 400)
    assert atoms.points.tolist() == [[0.0, 0.8]] and atoms.weights.tolist() == [1.0]
    p = {**BLOCKS, "d": math.inf}
    atoms = initial_atoms(Problem(anisotropic_relu, p, (1.0,), initial=GaussianInitialLaw(a_std=1.0)), 5)
    assert atoms.points[:, 2:].tolist() == [[0.0, 0.8]] * 5
    with pytest.raises(BadInput, match=r"d = s0 = inf .* finite s0"):
        initial_atoms(Problem(anisotropic_relu, {**p, "s0": math.inf}, (1.0,)), 5)


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("module", [isotropic_relu, anisotropic_relu])
def test_balance_of_the_layers(module: ModuleType, lam: float) -> None:
    """sigma_* = a relu(<w, x> + b) grows alike with a and with (b, w): each atom keeps a^2 - b^2 - |w|^2.

    The ridge shrinks it by e^(-4 lam tau), tau the clock of the schedule.
    """
    p = {name: BLOCKS[name] for name in (*module.PARAMETERS, "tolerance")}
    schedule, times = StepSchedule(0.25), (0.1, 1.0, 5.0)
    problem = Problem(module, p, times, initial=WIDE, lam=lam, schedule=schedule)
    trajectory = solve(problem, ParticlesConfig(81))
    signs = np.where(np.arange(len(module.COORDINATES)) == 0, 1.0, -1.0)
    start = initial_atoms(problem, 81)
    for i, t in enumerate(times):
        rho = trajectory.measure(i)
        assert np.array_equal(rho.weights, start.weights)
        assert np.abs(rho.points - start.points).max() > 0.03  # they have moved
        shrunk = start.points**2 @ signs * math.exp(-4 * lam * float(schedule.clock(np.array(t))))
        # rtol = 1e-8 a step, some fifty steps, of squares up to 10
        assert rho.points**2 @ signs == pytest.approx(shrunk, abs=2e-6)


@pytest.mark.parametrize("nodes", [(2, 2, 1, 1), (2, 1, 2), (2, 2), (2, 3)], ids=str)
def test_against_forces_by_differences(nodes: tuple[int, ...]) -> None:
    """The dynamics written out: Psi through the kernel at fixed angles, averaged by Jacobi rules, no features."""
    module = {
        (2, 2, 1, 1): anisotropic_relu,
        (2, 1, 2): isotropic_relu,
        (2, 2): anisotropic_truncated,
        (2, 3): shifted(),
    }[nodes]
    p = {name: {**BLOCKS, "mu": 0.7}[name] for name in module.PARAMETERS} | {"tolerance": 1e-4}
    law = GaussianInitialLaw(1.2, a_mean=1.0, a_std=0.5, b_mean=0.2, b_std=0.3 if len(nodes) > 3 else 0.0)
    problem, coordinates = Problem(module, p, (0.5,), initial=law, lam=0.1), len(nodes)
    start = initial_atoms(problem, nodes)
    rules = []
    for n in module.dimensions(p):
        c, w = special.roots_jacobi(8, (n - 3) / 2, (n - 3) / 2)  # a coordinate of a uniform unit vector
        rules.append((c, w / w.sum()))
    cosines = np.stack(np.meshgrid(*(c for c, _ in rules), indexing="ij"), axis=-1).reshape(-1, len(rules))
    shares = rules[0][1] if len(rules) == 1 else np.outer(rules[0][1], rules[1][1]).ravel()

    def psi(x: np.ndarray, atoms: np.ndarray) -> np.ndarray:
        angles = module.U_pair(x[:, None, None, :], atoms[:, None, :], cosines, p) @ shares
        return np.asarray(module.V(x, p) + angles @ start.weights + 0.05 * np.sum(x**2, axis=-1))

    def velocity(_t: float, y: np.ndarray) -> np.ndarray:
        x, h = y.reshape(-1, coordinates), 1e-4
        shift = h * np.eye(coordinates)
        up, down = (psi((x[:, None] + s * shift).reshape(-1, coordinates), x) for s in (1, -1))
        return -2 * (up - down) / (2 * h)

    exact = solve_ivp(velocity, (0, 0.5), start.points.ravel(), rtol=1e-6, atol=1e-8).y[:, -1]
    moved = solve(problem, ParticlesConfig(nodes)).measure(0).points
    assert np.abs(moved - start.points).max() > 0.1
    # the tolerance of the features, 1e-4, and of the differences, 1e-8
    assert moved.ravel() == pytest.approx(exact, abs=2e-4)


def test_two_blocks_of_one_kind_are_one_block() -> None:
    """Equal variances: (a, b, r1, r2) is (a, b, r) with r^2 = r1^2 + r2^2, for every s0."""
    p = {"d": 30, "tau_plus": 1.0, "tau_minus": 1.0}
    times = (0.1, 1.0)
    one = solve(Problem(isotropic_relu, p, times, initial=WIDE), ParticlesConfig((3, 3, 6)))
    two = solve(
        Problem(anisotropic_relu, {**p, "s0": 12, "tolerance": 1e-7}, times, initial=WIDE),
        ParticlesConfig((3, 3, 6, 6)),
    )
    assert one.risk_at(times)[0] > one.risk_at(times)[1] + 0.1
    # 1e-6 of the features; a and b have the same nodes
    assert two.risk_at(times) == pytest.approx(one.risk_at(times), abs=2e-6)
    for i in range(2):
        rho, rho2 = one.measure(i), two.measure(i)
        squares = rho2.points[:, 2] ** 2 + rho2.points[:, 3] ** 2
        assert rho2.weights @ squares == pytest.approx(rho.weights @ rho.points[:, 2] ** 2, abs=2e-6)
        for j in range(2):
            assert rho2.mean(j) == pytest.approx(rho.mean(j), abs=2e-6)


def test_means_that_coincide_leave_the_norm() -> None:
    """mu = 0: (m, r) is the isotropic model in the norm (m^2 + r^2)^(1/2), tau_+ unlike tau_-."""
    p = {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2, "tolerance": 1e-3}
    times = (0.1, 1.0)
    one = solve(Problem(truncated, p, times), ParticlesConfig(1600))
    two = solve(Problem(shifted(), {**p, "mu": 0.0}, times), ParticlesConfig((10, 10)))
    # 1e-3 is what the features of (m, r) may be off; 1600 quantiles are, by a hundredth of that
    assert two.risk_at(times) == pytest.approx(one.risk_at(times), abs=1e-3)
    for i in range(2):
        m, r = two.measure(i).points.T
        norm = float(two.measure(i).weights @ np.hypot(m, r))
        assert norm == pytest.approx(one.measure(i).mean(), abs=1e-3)
        assert two.measure(i).mean(0) == pytest.approx(0, abs=1e-9)  # m -> -m


def test_error_falls_exponentially_with_the_nodes() -> None:
    problem = Problem(anisotropic_relu, BLOCKS, (0.1, 1.0), initial=WIDE)

    def results(nodes: int) -> np.ndarray:
        run = solve(problem, ParticlesConfig((nodes,) * 4))
        means = [run.measure(i).mean(j) for i in range(2) for j in range(4)]
        return np.array([*run.risk_at([0.1, 1.0]), *means])

    exact = results(6)
    errors = [np.max(np.abs(results(nodes) - exact)) for nodes in (1, 2, 3, 4)]
    assert all(later < earlier / 3 for earlier, later in pairwise(errors)), errors
    assert errors[-1] < 2e-4, errors


def test_risk_of_trained_networks() -> None:
    """The mean of eight networks of 400 units, against the limit of many units and small steps."""
    p = {"d": 12, "s0": 4, "tau_plus": 1.6, "tau_minus": 0.4, "tolerance": 1e-3}
    times = (0.03, 0.3, 1.0)
    law = GaussianInitialLaw(kappa=1.5, a_mean=1.2, a_std=0.5, b_mean=0.2, b_std=0.3)
    problem = Problem(anisotropic_relu, p, times, initial=law, schedule=StepSchedule(0.25))
    limit = solve(problem, ParticlesConfig((6, 4, 4, 4)))
    networks = sgd.solve(problem, sgd.SGDConfig(1e-4, units=400, seed=1, replicas=8, held_out=0))
    for name in ("risk", "network_risk"):
        runs = networks.data[f"replica_{name}"].values
        error = runs.std(axis=0, ddof=1) / math.sqrt(8)
        # sampling, and a bias of the order of d epsilon and of 1/N
        assert np.all(np.abs(runs.mean(axis=0) - limit.risk_at(times)) < 4 * error + 0.005), name
    for i in range(3):
        for j in range(4):
            units = networks.measure(i).points[:, j]
            error = float(units.std()) / math.sqrt(len(units))
            assert limit.measure(i).mean(j) == pytest.approx(float(units.mean()), abs=4 * error + 0.005)


def test_only_norms_stop_at_zero() -> None:
    """A constant pull on all coordinates: a and m fall on, r1 and r2 stay at 0."""
    module = bare_module(lambda x: np.ones_like(x), ("a", "m", "r1", "r2"))
    problem = Problem(module, {"d": 6, "s0": 2}, (0.1, 5.0), initial=GaussianInitialLaw(a_std=0.5))
    start = initial_atoms(problem, (2, 2, 3, 3)).points
    trajectory = solve(problem, ParticlesConfig((2, 2, 3, 3)))
    for i, t in enumerate((0.1, 5.0)):
        exact = start - 2 * t
        exact[:, 2:] = np.maximum(exact[:, 2:], 0)
        assert trajectory.measure(i).points == pytest.approx(exact, abs=1e-9)


def test_what_is_stored_of_several_coordinates() -> None:
    problem = Problem(anisotropic_relu, BLOCKS, (0.01, 0.02), records=(0.005,), initial=WIDE)
    trajectory = solve(problem, ParticlesConfig((3, 2, 2, 2)))
    assert trajectory.complete and list(trajectory.data["coordinate"].values) == ["a", "b", "r1", "r2"]
    assert trajectory.data["points"].shape == (2, 24, 4) and trajectory.data["risk"].shape == (3,)
    assert isinstance(trajectory.measure(0), Measure)
    assert risk(anisotropic_relu, trajectory.measure(1), BLOCKS) == pytest.approx(
        trajectory.risk_at([0.02])[0], rel=1e-12, abs=0
    )


@pytest.mark.parametrize(
    ("atoms", "named"),
    [
        ((3, 4), r"atoms = \(3, 4\): .* a, b, r1, r2"),
        ((), r"atoms = \(\): .* a, b, r1, r2"),
        ((1, 1, 1 + MOST_NODES, 1), f"1 x 1 x {1 + MOST_NODES} x 1 nodes .* at most {MOST_NODES}"),
        ((1000, 1000, 1000, 1000), "atoms = .* at most 100000000 in all"),
    ],
)
def test_atoms_that_do_not_fit_the_coordinates(atoms: tuple[int, ...], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        solve(Problem(anisotropic_relu, BLOCKS, (1.0,), initial=WIDE), ParticlesConfig(atoms))


def test_a_pair_of_numbers_for_one_coordinate_is_refused() -> None:
    with pytest.raises(BadInput, match=r"atoms = \(3, 4\): .* coordinates r$"):
        solve(Problem(truncated, P, (1.0,)), ParticlesConfig((3, 4)))


def test_a_density_has_no_atoms() -> None:
    law = InitialDensity(lambda x: np.ones(len(x)))
    with pytest.raises(BadInput, match="GaussianInitialLaw"):
        solve(Problem(anisotropic_relu, BLOCKS, (1.0,), initial=law))


def test_blow_up_in_several_coordinates_keeps_what_was_reached() -> None:
    """da/dt = a^2 from a = 1 while r1, r2 rest."""
    module = bare_module(lambda x: np.where(np.arange(3) == 0, -0.5 * x**2, 0.0), ("a", "r1", "r2"))
    problem = Problem(module, {"d": 4, "s0": 2}, (0.5, 2.0), initial=GaussianInitialLaw(a_mean=1.0))
    with pytest.raises(NumericalFailure, match=r"t = (1|0\.99)") as info:
        solve(problem, ParticlesConfig(4))
    partial = info.value.partial
    assert partial is not None and not partial.complete and len(partial.times) == 1
    assert partial.measure(0).mean(0) == pytest.approx(2.0, rel=1e-6)


def test_a_risk_that_is_not_finite_is_never_silent() -> None:
    module = bare_module()
    vars(module)["V"] = lambda x, p: np.where(x[..., 0] < 0.5, math.inf, 0.0)
    problem = Problem(module, {"d": math.inf}, (0.1, 1.0), lam=0.5)
    with pytest.raises(NumericalFailure, match=r"risk at t = 1 is inf") as info:
        solve(problem, ParticlesConfig(1))
    assert info.value.partial is not None and info.value.partial.risk_at([0.1])[0] == 1.0
