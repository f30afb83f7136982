"""SGD of the real network: its step, its noise, its records, replicas, and how it fails."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from solvers.generated import anisotropic_relu, isotropic_nonmonotone, isotropic_truncated_relu
from solvers.network import Network, population_risk
from solvers.samples import Stream, chunk_of_samples, draw_samples, generator
from solvers.sgd import SGDConfig, solve
from solvers.sgd_schedule import recording_grid
from workbench.errors import BadInput, NumericalFailure
from workbench.measure import risk
from workbench.problem import GaussianInitialLaw, Problem, StepSchedule
from workbench.trajectory import Trajectory

Array = NDArray[np.float64]


def make_module(slope: float) -> ModuleType:
    """Isotropic Gaussians with sigma(t) = slope max(t, 0), in closed form: [MMN18] with homogeneous units.

    ``slope = 0`` is the Ornstein-Uhlenbeck case V = U = 0.
    """
    density = 1.0 / math.sqrt(2 * math.pi)

    def data_law(p: Mapping[str, Any]) -> Any:
        return (
            (1.0, 0.5, ((p["d"], p["tau_plus"], 0.0),)),
            (-1.0, 0.5, ((p["d"], p["tau_minus"], 0.0),)),
        )

    def hermite(order: int, s: Array) -> Array:
        """a_0 = s phi(0), a_1 = s/2, a_k = s phi(0) h_{k-2}(0) / sqrt(k (k - 1)), times the slope."""
        h = [1.0, 0.0]
        for n in range(1, order):
            h.append(-math.sqrt(n) * h[n - 1] / math.sqrt(n + 1))
        a = [density, 0.5] + [density * h[k - 2] / math.sqrt(k * (k - 1)) for k in range(2, order + 1)]
        return slope * np.asarray(s)[..., None] * np.array(a[: order + 1])

    def scale(p: Mapping[str, Any]) -> float:
        return 0.5 * slope**2 * (p["tau_plus"] ** 2 + p["tau_minus"] ** 2)

    def U_pair(x: Array, x2: Array, cosines: Array, p: Mapping[str, Any]) -> Array:
        r, r2, cosine = x[..., 0], x2[..., 0], cosines[..., 0]
        angle = np.arccos(cosine)
        return scale(p) * r * r2 / (2 * math.pi) * (np.sin(angle) + (math.pi - angle) * cosine)

    def weights(p: Mapping[str, Any]) -> Array:
        """Orbit average of the kernel above over the angle, whose density is sin^(d-2)."""
        nodes, w = np.polynomial.legendre.leggauss(200)
        angle = math.pi / 2 * (nodes + 1)
        w = w * np.sin(angle) ** (min(p["d"], 1e6) - 2)
        kernel = (np.sin(angle) + (math.pi - angle) * np.cos(angle)) / (2 * math.pi)
        return np.array([scale(p) * np.sum(w * kernel) / np.sum(w)])

    module = ModuleType("oracle_relu")
    vars(module).update(
        NAME="oracle_relu",
        COORDINATES=("r",),
        check_parameters=lambda p: None,
        sigma=lambda z: slope * np.maximum(z, 0.0),
        sigma_prime=lambda z: slope * (np.asarray(z) > 0),
        V=lambda x, p: -0.5 * slope * (p["tau_plus"] - p["tau_minus"]) * density * x[..., 0],
        features=lambda x, p: x,
        data_law=data_law,
        a=hermite,
        U_pair=U_pair,
        weights=weights,
    )
    return module


RELU = make_module(1.0)
ZERO = make_module(0.0)
MODULES = [RELU, isotropic_truncated_relu, isotropic_nonmonotone]


def make_problem(module: ModuleType = RELU, d: float = 5, **changes: Any) -> Problem:
    """Two isotropic Gaussians, std convention at Delta = 0.8."""
    p = {"d": d, "tau_plus": 1.8, "tau_minus": 0.2}
    return Problem(module=module, parameters=p, **({"snapshots": (0.05,)} | changes))


def exact(**changes: Any) -> SGDConfig:
    """float64, in blocks unless told otherwise, with the weights."""
    fixed: dict[str, Any] = {"precision": "float64", "keep_weights": True, "held_out": 0}
    return SGDConfig(**(fixed | changes))


def plain_loop(problem: Problem, config: SGDConfig, steps: int) -> tuple[Array, list[float], list[bool]]:
    """The update written unit by unit and coordinate by coordinate, on the documented random streams.

    Returns the weights, the squared errors and whether everything was finite after each step.  Noise is that
    of blocks of one step.
    """
    module, p, d = problem.module, problem.parameters, int(problem.d)
    rng = generator(config.seed, config.replica, Stream.WEIGHTS)
    W = problem.gaussian_initial.draw_weights(rng, config.units, d).tolist()
    squares, finite = [], []
    for k in range(steps):
        if k % 1024 == 0:
            x_chunk, y_chunk = chunk_of_samples(module.data_law(p), config.seed, config.replica, k // 1024)
        x, y = x_chunk[k % 1024].astype(float).tolist(), float(y_chunk[k % 1024])
        s = config.epsilon * ((k + 1) * config.epsilon) ** (-problem.schedule.exponent)
        inner = [math.fsum(w[c] * x[c] for c in range(d)) for w in W]
        error = y - math.fsum(float(module.sigma(np.float64(z))) for z in inner) / config.units
        noise = None
        if math.isfinite(problem.beta):
            noise = generator(config.seed, config.replica, Stream.NOISE, k).standard_normal((config.units, d))
        for i in range(config.units):
            slope = float(module.sigma_prime(np.float64(inner[i])))
            for c in range(d):
                W[i][c] += -2 * problem.lam * s * W[i][c] + 2 * s * error * slope * x[c]
                if noise is not None:
                    W[i][c] += math.sqrt(4 * s / problem.beta) * noise[i, c]
        squares.append(error * error)
        finite.append(math.isfinite(squares[-1]) and all(math.isfinite(v) for w in W for v in w))
        if not finite[-1]:
            break
    return np.array(W), squares, finite


def test_one_step_by_hand() -> None:
    """N = 2, d = 2, every number of the first step written out."""
    config = exact(epsilon=0.1, units=2, seed=4)
    problem = make_problem(d=2, snapshots=(0.1,), lam=0.5, schedule=StepSchedule(0.25))
    (u, v) = problem.gaussian_initial.draw_weights(generator(4, 0, Stream.WEIGHTS), 2, 2)
    x_all, y_all = chunk_of_samples(RELU.data_law(problem.parameters), 4, 0, 0)
    x, y = x_all[0].astype(float), float(y_all[0])
    zu, zv = u[0] * x[0] + u[1] * x[1], v[0] * x[0] + v[1] * x[1]
    error = y - (max(zu, 0) + max(zv, 0)) / 2
    s = 0.1 * 0.1**-0.25
    new_u = [
        (1 - s) * u[0] + 2 * s * error * (zu > 0) * x[0],
        (1 - s) * u[1] + 2 * s * error * (zu > 0) * x[1],
    ]
    new_v = [
        (1 - s) * v[0] + 2 * s * error * (zv > 0) * x[0],
        (1 - s) * v[1] + 2 * s * error * (zv > 0) * x[1],
    ]
    assert (zu > 0) or (zv > 0)  # a seed for which the step does something
    trajectory = solve(problem, config)
    np.testing.assert_allclose(trajectory.data["weights_full"].values[0], [new_u, new_v], rtol=1e-13)
    assert trajectory.data["online_risk"].values[0] == pytest.approx(error**2, rel=1e-13)


def test_one_step_of_affine_units_by_hand() -> None:
    """a, b and w of two units in two blocks of one dimension each."""
    config = exact(epsilon=0.1, units=2, seed=3)
    problem = Problem(
        anisotropic_relu,
        {"d": 2, "s0": 1, "tau_plus": 1.8, "tau_minus": 0.2},
        snapshots=(0.1,),
        lam=0.5,
        initial=GaussianInitialLaw(1.0, a_mean=1.0, a_std=0.5, b_mean=0.2, b_std=0.1),
    )
    rng = generator(3, 0, Stream.WEIGHTS)
    W = problem.gaussian_initial.draw_weights(rng, 2, 2)
    a, b = problem.gaussian_initial.draw_outputs(rng, 2)
    assert not np.allclose(a, 1.0) and not np.allclose(b, 0.2)
    x_all, y_all = chunk_of_samples(problem.module.data_law(problem.parameters), 3, 0, 0)
    x, y = x_all[0].astype(float), float(y_all[0])
    z = W @ x + b
    assert (z > 0).all()  # a seed for which both units learn
    e, s = y - (a[0] * z[0] + a[1] * z[1]) / 2, 0.1
    trajectory = solve(problem, config)
    W_new = (1 - s) * W + 2 * s * e * a[:, None] * x
    np.testing.assert_allclose(trajectory.data["weights_full"].values[0], W_new, rtol=1e-12)
    found = trajectory.measure(0).points
    np.testing.assert_allclose(found[:, 0], (1 - s) * a + 2 * s * e * z, rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], (1 - s) * b + 2 * s * e * a, rtol=1e-12)
    np.testing.assert_allclose(found[:, 2:], np.abs(W_new), rtol=1e-12)


@pytest.mark.parametrize("beta", [math.inf, 5.0])
@pytest.mark.parametrize("exponent", [0.0, 0.25])
@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.NAME)
def test_fifty_steps_match_the_plain_loop(
    module: ModuleType, lam: float, exponent: float, beta: float
) -> None:
    problem = make_problem(
        module, lam=lam, beta=beta, schedule=StepSchedule(exponent), snapshots=(0.001, 0.05)
    )
    config = exact(epsilon=1e-3, units=7, seed=3, block=64 if math.isinf(beta) else 1)
    trajectory = solve(problem, config)
    for snapshot, steps in enumerate((1, 50)):
        W, squares, _ = plain_loop(problem, config, steps)
        found = trajectory.data["weights_full"].values[snapshot]
        # Rounding of 50 updates of relative size 1e-2, absolute because entries may pass through 0.
        np.testing.assert_allclose(found, W, rtol=0, atol=1e-12 * np.abs(W).max())
        np.testing.assert_allclose(
            trajectory.measure(snapshot).points[:, 0], np.linalg.norm(W, axis=1), rtol=1e-12
        )
    assert trajectory.data["online_risk"].values[1] == pytest.approx(np.mean(squares[1:]), rel=1e-12)


def test_steps_are_counted_on_across_chunks() -> None:
    problem = make_problem(d=2, schedule=StepSchedule(0.5), snapshots=(1.1,))
    config = exact(epsilon=1e-3, units=3)
    W, _, _ = plain_loop(problem, config, 1100)
    found = solve(problem, config).data["weights_full"].values[0]
    np.testing.assert_allclose(found, W, rtol=0, atol=1e-11 * np.abs(W).max())


def test_the_exact_risk_is_left_out_where_it_is_not_asked_for() -> None:
    """And nothing else changes."""
    config = exact(epsilon=1e-3, units=6, replicas=2)
    full, without = (solve(make_problem(), replace(config, network_risk=asked)) for asked in (True, False))
    changed = {"network_risk", "replica_network_risk", "network_risk_quantile"}
    for name in changed:
        assert np.isfinite(full.data[name].values).all() and np.isnan(without.data[name].values).all()
    assert full.data.drop_vars(changed).equals(without.data.drop_vars(changed))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.NAME)
def test_the_recorded_risks_are_those_of_the_recorded_weights(module: ModuleType) -> None:
    problem = make_problem(module, snapshots=(0.01, 0.05))
    trajectory = solve(problem, exact(epsilon=1e-3, units=6))
    for i in range(2):
        W = trajectory.data["weights_full"].values[i]
        network = population_risk(module, Network(W), problem.parameters)
        reduced = risk(module, trajectory.measure(i), problem.parameters)
        assert trajectory.data["network_risk"].values[i] == network
        assert math.isnan(trajectory.data["held_out_risk"].values[i])
        assert trajectory.data["risk"].values[i] == reduced
        assert abs(network - reduced) > 1e-3  # two different numbers: the angles are not averaged


def test_sampled_risks_of_a_frozen_network_are_its_population_risk() -> None:
    # epsilon = 1e-12 moves the weights by 1e-8 in 20,000 steps.
    steps = 20_000
    problem = make_problem(d=10, snapshots=(steps * 1e-12,), initial=GaussianInitialLaw(2.0))
    config = exact(epsilon=1e-12, units=20, seed=1, held_out=steps)
    trajectory = solve(problem, config)
    # The standard error from an independent sample of the same network.
    W = trajectory.data["weights_full"].values[0]
    x, y = draw_samples(np.random.default_rng(9), RELU.data_law(problem.parameters), steps)
    squares = (y - RELU.sigma(x @ W.T).mean(axis=1)) ** 2
    error = float(squares.std() / math.sqrt(steps))
    online, held_out, network = (
        float(trajectory.data[n].values[0]) for n in ("online_risk", "held_out_risk", "network_risk")
    )
    assert error < 0.02 * network
    assert abs(online - network) < 4 * error
    assert abs(held_out - network) < 4 * error
    # of samples of their own
    values = [online, held_out, float(squares.mean())]
    assert min(abs(one - other) for one, other in combinations(values, 2)) > 1e-3 * error
    assert abs(float(squares.mean()) - network) < 4 * error


@pytest.mark.parametrize("block", [1, 7, 64])
def test_ornstein_uhlenbeck_reaches_its_stationary_covariance(block: int) -> None:
    """V = U = 0: w' = (1 - 2 lam s) w + sqrt(4 s / beta) g has the stationary variance

    (4 s / beta) / (1 - (1 - 2 lam s)^2) = 1 / (beta lam (1 - lam s)), and 1/(beta lam) as s -> 0.
    """
    lam, beta, s, units, d = 1.5, 2.0, 0.1, 2000, 20
    # 0.7^30 = 2e-5: the snapshots are independent and the initial law is forgotten.
    snapshots = tuple(30 * s * k for k in range(1, 5))
    problem = make_problem(ZERO, d=d, snapshots=snapshots, lam=lam, beta=beta)
    trajectory = solve(problem, exact(epsilon=s, units=units, seed=5, block=block))
    W = trajectory.data["weights_full"].values.reshape(-1, d)
    variance = 1 / (beta * lam * (1 - lam * s))
    assert abs(variance - 1 / (beta * lam)) > 0.05  # the discretisation is visible: 0.392 against 0.333
    error = variance / math.sqrt(len(W))  # of a covariance; sqrt(2) times that of a variance; 1e-3
    covariance = W.T @ W / len(W)
    deviation = np.abs(covariance - variance * np.eye(d))
    assert np.all(deviation < 4 * error * (1 + (math.sqrt(2) - 1) * np.eye(d)))
    assert np.all(np.abs(W.mean(axis=0)) < 4 * math.sqrt(variance / len(W)))


@pytest.mark.parametrize("block", [1, 3, 64])
def test_the_increments_are_independent_standard_normals(block: int) -> None:
    beta, epsilon, units, d = 3.0, 0.01, 4000, 5
    times = (0.01, 0.11, 0.21)  # ten steps apart
    problem = make_problem(ZERO, d=d, snapshots=times, beta=beta, schedule=StepSchedule(0.25))
    W = solve(problem, exact(epsilon=epsilon, units=units, seed=2, block=block)).data["weights_full"].values
    normals = []
    for k in (1, 2):  # the snapshots after steps 1, 11, 21
        s = epsilon * (np.arange(10 * k - 8, 10 * k + 2) * epsilon) ** -0.25
        normals.append(((W[k] - W[k - 1]) / math.sqrt(4 * s.sum() / beta)).ravel())
        # 1.95/sqrt(n) is the 0.1 % quantile of the Kolmogorov-Smirnov distance; a wrong factor 2 in the
        # noise moves the distribution function by 0.08 and more, that is by 11/sqrt(n).
        assert stats.kstest(normals[-1], "norm").statistic < 1.95 / math.sqrt(units * d)
    bound = 4 / math.sqrt(units * d)
    assert abs(np.corrcoef(normals[0], normals[1])[0, 1]) < bound
    assert abs(np.corrcoef(normals[1].reshape(units, d)[:, 0], normals[1].reshape(units, d)[:, 1])[0, 1]) < (
        4 / math.sqrt(units)
    )
    assert abs(np.corrcoef(normals[1], W[0].ravel())[0, 1]) < bound


def test_same_seed_same_run_other_seed_other_run() -> None:
    problem = make_problem(beta=10.0)
    runs = [
        solve(problem, exact(epsilon=1e-3, units=7, seed=seed)).data["weights_full"].values
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 0.1


def test_the_run_does_not_depend_on_the_recording_grid() -> None:
    # 2,500 steps: two chunk boundaries; the fine grid records around and on them.
    config = exact(epsilon=1e-4, units=7, seed=3)
    steps = (1, 2, 3, 500, 1000, 1023, 1024, 1025, 2047, 2048, 2300)
    fine = make_problem(records=tuple(k * 1e-4 for k in steps), snapshots=(0.1024, 0.25))
    coarse = make_problem(snapshots=(0.25,))
    one, other = solve(fine, config), solve(coarse, config)
    # rounding: blocks end where something is recorded
    np.testing.assert_allclose(
        one.data["weights_full"].values[-1], other.data["weights_full"].values[-1], rtol=0, atol=1e-13
    )
    recorded = one.data["record_step"].values
    assert recorded.tolist() == [*steps, 2500]
    lengths = np.diff([0, *recorded])
    mean = np.sum(lengths * one.data["online_risk"].values) / 2500
    assert other.data["online_risk"].values[0] == pytest.approx(mean, rel=1e-12)


def test_snapshots_land_on_their_steps() -> None:
    # 0.3/0.1 = 2.9999999999999996 in floating point: rounding, not truncation.
    problem = make_problem(snapshots=(0.1, 0.3, 0.7), schedule=StepSchedule(0.25))
    config = exact(epsilon=0.1, units=3)
    trajectory = solve(problem, config)
    assert trajectory.data["step"].values.tolist() == [1, 3, 7]
    assert trajectory.times.tolist() == [0.1, 0.3, 0.7]
    for snapshot, steps in enumerate((1, 3, 7)):
        W, _, _ = plain_loop(problem, config, steps)
        np.testing.assert_allclose(trajectory.data["weights_full"].values[snapshot], W, rtol=1e-11)


def test_records_on_one_step_are_merged_and_early_ones_left_out() -> None:
    problem = make_problem(records=(0.3, 0.8, 1.1, 1.4, 3.1, 3.9, 4.2, 5.0), snapshots=(4.0, 5.3))
    stops = recording_grid(problem, 1.0)
    assert [(s.step, s.time, s.is_snapshot) for s in stops] == [
        (1, 1.1, False),
        (3, 3.1, False),
        (4, 4.0, True),
        (5, 5.3, True),
    ]


def diverging(block: int = 64, **changes: Any) -> tuple[Problem, SGDConfig, int]:
    """A ReLU network with a far too large step, and the first bad step by the plain loop."""
    problem = make_problem(**({"snapshots": (2000.0,)} | changes))
    config = exact(epsilon=1.0, units=6, seed=1, block=block)
    return problem, config, len(plain_loop(problem, config, 2000)[2])


@pytest.mark.parametrize(("beta", "block"), [(math.inf, 64), (math.inf, 5), (1.0, 1)])
def test_divergence_names_the_step_and_keeps_what_came_before(
    beta: float, block: int, tmp_path: Path
) -> None:
    problem, config, bad = diverging(block, records=(1.0, 2.0, 5.0), snapshots=(10.0, 2000.0), beta=beta)
    assert 10 < bad < 1000
    with pytest.raises(NumericalFailure, match=rf"step {bad} of 2000 .*epsilon=0\.1") as failure:
        solve(problem, config)
    partial = failure.value.partial
    assert partial is not None and not partial.complete
    assert partial.data["record_step"].values.tolist() == [1, 2, 5, 10]
    assert partial.times.tolist() == [10.0]
    assert np.isfinite(partial.measure(0).points).all()
    partial.save(tmp_path / "partial.nc")
    assert Trajectory.load(tmp_path / "partial.nc").data.equals(partial.data)


def test_divergence_before_the_first_record_is_savable(tmp_path: Path) -> None:
    problem, config, bad = diverging()
    with pytest.raises(NumericalFailure, match=f"step {bad} of 2000") as failure:
        solve(problem, config)
    partial = failure.value.partial
    assert partial is not None and not partial.complete
    assert len(partial.times) == 0 and partial.data.attrs["steps"] < bad
    partial.save(tmp_path / "partial.nc")
    loaded = Trajectory.load(tmp_path / "partial.nc")
    assert not loaded.complete
    assert loaded.data["weights_full"].shape == (0, 6, 5)


@pytest.mark.parametrize("seed", range(6))
def test_the_replay_meets_the_same_noise(seed: int) -> None:
    # Noise of size 2e152 in the weights drives the run, so the step at which it breaks is up to it.
    problem = make_problem(beta=1e-304, snapshots=(20.0,))
    config = exact(epsilon=1.0, units=6, seed=seed, block=1)
    bad = len(plain_loop(problem, config, 20)[2])
    with pytest.raises(NumericalFailure, match=f"step {bad} of 20"):
        solve(problem, config)


def test_weights_that_overflow_at_a_finite_error_are_found() -> None:
    # 2 epsilon overflows, so the first update is infinite though its error is not.
    problem = make_problem(snapshots=(1e308,))
    with pytest.raises(NumericalFailure, match="step 1 of 1 "):
        solve(problem, exact(epsilon=1e308, units=6))


def test_a_risk_that_overflows_before_the_squared_error_is_found() -> None:
    # Weights of 5e153 and their squared error, 1e307, are finite; the sum over pairs of units is not.
    problem = make_problem(snapshots=(1e-3, 2e-3), initial=GaussianInitialLaw(5e153))
    with pytest.raises(NumericalFailure, match=r"step 1 of 2 .*the risk became non-finite") as failure:
        solve(problem, exact(epsilon=1e-3, units=6))
    assert failure.value.partial is not None and len(failure.value.partial.times) == 0
    W = np.full((6, 5), 5e153)
    with pytest.raises(NumericalFailure, match="population risk is inf"):
        population_risk(RELU, Network(W), problem.parameters)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": 0.0}, r"epsilon = 0\.0"),
        ({"epsilon": -1e-3}, r"epsilon = -0\.001"),
        ({"epsilon": math.nan}, "epsilon = nan"),
        ({"epsilon": math.inf}, "epsilon = inf"),
        ({"units": 0}, "units = 0"),
        ({"units": 2.5}, r"units = 2\.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**63}, "seed = 9223372036854775808"),
        ({"replica": -1}, "replica = -1"),
        ({"replicas": 0}, "replicas = 0"),
        ({"workers": 0}, "workers = 0"),
        ({"block": 0}, "block = 0"),
        ({"block": 1025}, "block = 1025"),
        ({"held_out": -1}, "held_out = -1"),
        ({"network_risk": 1}, "network_risk = 1"),
        ({"checkpoint_interval": -1.0}, r"checkpoint_interval = -1\.0"),
        ({"backend": "fortran"}, "backend = 'fortran'"),
        ({"precision": "float16"}, "precision = 'float16'"),
        ({"resume": True}, "resume = True"),
    ],
)
def test_bad_configurations(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=f"{message}.*: (give|choose from|name) "):
        SGDConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d": math.inf}, "d = inf: a real network needs a finite d"),
        ({"snapshots": (1e-4,)}, r"snapshot t = 0\.0001 comes before the end of the first step.*0\.001"),
        ({"snapshots": (7e-4, 1.0)}, r"snapshot t = 0\.0007 comes before"),
        ({"snapshots": (0.01, 0.0101)}, r"t = 0\.01 and t = 0\.0101 fall on one step at epsilon = 0\.001"),
    ],
)
def test_bad_problems(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        solve(make_problem(**changes), SGDConfig(epsilon=1e-3, units=3))


def test_attributes_progress_and_the_file(tmp_path: Path) -> None:
    seen: list[float] = []
    problem = make_problem(snapshots=(1.5,), lam=0.1, beta=8.0, schedule=StepSchedule(0.25))
    trajectory = solve(
        problem, SGDConfig(epsilon=1e-3, units=3, seed=12, backend="numpy"), progress=seen.append
    )
    assert seen == [1024 / 1500, 1.0]
    attrs = trajectory.data.attrs
    expected = {
        "method": "sgd",
        "model": "oracle_relu",
        "kappa": 0.8,
        "epsilon": 1e-3,
        "units": 3,
        "seed": 12,
        "replica": 0,
        "replicas": 1,
        "block": 64,
        "precision": "float32",
        "backend": "numpy",
        "held_out": 1024,
        "steps": 1500,
        "lam": 0.1,
        "beta": 8.0,
        "xi_exponent": 0.25,
        "complete": 1,
    }
    assert {name: attrs[name] for name in expected} == expected
    assert json.loads(attrs["parameters"]) == {"d": 5.0, "tau_plus": 1.8, "tau_minus": 0.2}
    assert json.loads(attrs["versions"]) == {"numpy": np.__version__}
    assert attrs["steps_per_second"] == pytest.approx(1500 / attrs["wall_time"])
    assert "weights_full" not in trajectory.data
    trajectory.save(tmp_path / "run.nc")
    loaded = Trajectory.load(tmp_path / "run.nc")
    assert loaded.data.equals(trajectory.data)
    assert loaded.data.attrs["seed"] == 12
