"""Characteristics: published risks, conservation laws of the flow, order, and what is refused."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import solvers.generated.isotropic_nonmonotone as nonmonotone
import solvers.generated.isotropic_truncated_relu as truncated
from solvers.particles import ParticlesConfig, quantile_atoms, solve
from workbench import BadInput, GaussianInitialLaw, NumericalFailure, Problem, StepSchedule, Trajectory
from workbench.measure import feature_moments, grad_Psi, risk

P = {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}
TIMES = (0.01, 0.1, 1.0, 4.0, 10.0)


def bare_module(slope: Any = lambda r: 0.0 * r) -> ModuleType:
    """A module with U = 0 and V' = ``slope``."""
    module = ModuleType("bare")
    vars(module).update(
        NAME="bare",
        COORDINATES=("r",),
        check_parameters=lambda p: None,
        V=lambda x, p: 0.0 * x[..., 0],
        grad_V=lambda x, p: slope(x),
        features=lambda x, p: 0.0 * x,
        grad_features=lambda x, p: 0.0 * x[..., None],
        weights=lambda p: np.zeros(1),
    )
    return module


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


def test_other_coordinates_are_refused() -> None:
    module = bare_module()
    vars(module)["COORDINATES"] = ("r1", "r2")
    with pytest.raises(BadInput, match=r"\('r1', 'r2'\)"):
        solve(Problem(module, {"d": 5}, (1.0,)))


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
