"""The Fokker-Planck solver against exact laws, an independent solution, and its own invariants."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import special, stats
from scipy.integrate import solve_ivp

from solvers import fokker_planck_schemes as schemes
from solvers.generated import isotropic_truncated_relu
from workbench.errors import BadInput, NumericalFailure
from workbench.measure import Array, Measure, feature_moments, grad_Psi, wasserstein1
from workbench.problem import Problem, StepSchedule, log_spaced_times
from workbench.trajectory import Trajectory

pytest.importorskip("dolfinx_solver", reason="the Fokker-Planck solver needs DOLFINx")

from solvers import fokker_planck
from solvers.fokker_planck import FokkerPlanckConfig, bernoulli, solve

FIXED_STEPS = math.inf  # as step_tolerance: the step is dt_max


def hand_made_module(name: str, potential: Any, q: Any, q_prime: Any) -> Any:
    """A module with d = inf features q(tau+ r), q(tau- r) and V = potential (q(tau- r) - q(tau+ r))/2."""

    def taus(p: Any) -> Array:
        return np.array([p.get("tau_plus", 0.0), p.get("tau_minus", 0.0)])

    signs = potential * np.array([-0.5, 0.5])
    return SimpleNamespace(
        NAME=name,
        COORDINATES=("r",),
        PARAMETERS=("d", "tau_plus", "tau_minus"),
        check_parameters=lambda p: None,
        weights=lambda p: np.array([0.5, 0.5]),
        features=lambda x, p: q(x * taus(p)),
        V=lambda x, p: q(x * taus(p)) @ signs,
        grad_features=lambda x, p: (taus(p) * q_prime(x * taus(p)))[..., None],
        grad_V=lambda x, p: (taus(p) * q_prime(x * taus(p))) @ signs[:, None],
    )


def relu_mean(s: Array, knot: float) -> Array:
    """E (s G - knot)_+."""
    s = np.maximum(s, 1e-12)
    return s * stats.norm.pdf(knot / s) - knot * stats.norm.sf(knot / s)


def relu_mean_slope(s: Array, knot: float) -> Array:
    return stats.norm.pdf(knot / np.maximum(s, 1e-12))


FREE = hand_made_module("free", 0.0, np.zeros_like, np.zeros_like)
TRUNCATED_RELU = hand_made_module(
    "truncated_relu",
    1.0,
    lambda s: -2.5 + 10 * relu_mean(s, 0.5) - 10 * relu_mean(s, 1.5),
    lambda s: 10 * relu_mean_slope(s, 0.5) - 10 * relu_mean_slope(s, 1.5),
)
STD = {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}
VARIANCE = {"d": 40, "tau_plus": math.sqrt(1.8), "tau_minus": math.sqrt(0.2)}


def noisy_relu(**changes: Any) -> Problem:
    problem = Problem(TRUNCATED_RELU, STD, snapshots=(1.0,), lam=0.1, beta=20.0)
    return replace(problem, **changes)


def clock(problem: Problem, t: float) -> float:
    return float(problem.schedule.clock(np.asarray(t)))


def gaussian_scale(problem: Problem, t: float) -> float:
    """s(t), with w ~ N(0, s^2 I) under U = V = 0.

    d_tau rho = 2 lam div(w rho) + (2/beta) Laplace rho, so d s^2/d tau = -4 lam s^2 + 4/beta.
    """
    start, rest = problem.initial.kappa**2 / problem.d, 1 / (problem.beta * problem.lam)
    return math.sqrt(rest + (start - rest) * math.exp(-4 * problem.lam * clock(problem, t)))


def cell_masses(trajectory: Trajectory, snapshot: int) -> Array:
    """Masses on all cells of the final domain."""
    weights = trajectory.data["weights"].values[snapshot]
    return np.pad(weights, (0, trajectory.data.sizes["edge"] - 1 - len(weights)))


def distances(trajectory: Trajectory, problem: Problem, snapshot: int) -> tuple[float, float]:
    """L1 and W1 distance of cell masses from those of s chi_n."""
    edges = trajectory.data["edges"].values
    s = gaussian_scale(problem, problem.snapshots[snapshot])
    error = cell_masses(trajectory, snapshot) - np.diff(stats.chi.cdf(edges / s, problem.d))
    return float(np.abs(error).sum()), float(edges[1] * np.abs(np.cumsum(error)).sum())


def order(widths: Any, errors: Any) -> float:
    return float(np.polyfit(np.log(widths), np.log(errors), 1)[0])


def check_invariants(trajectory: Trajectory) -> None:
    assert trajectory.complete
    assert trajectory.data["mass_error"].values.max() <= 1e-12
    assert trajectory.data["min_density"].values.min() >= 0
    for i in range(len(trajectory.times)):
        assert abs(cell_masses(trajectory, i).sum() - 1) <= 1e-12
        assert cell_masses(trajectory, i).min() >= 0
    if "free_energy" in trajectory.data:
        assert (np.diff(trajectory.data["free_energy"].values) <= 1e-12).all()


# ---- exact laws


@pytest.mark.parametrize(("n", "beta", "lam", "r_max"), [(3, 4.0, 0.5, 3.6), (40, 80.0, 0.25, 1.6)])
def test_ornstein_uhlenbeck_law_has_order_two(n: int, beta: float, lam: float, r_max: float) -> None:
    problem = Problem(FREE, {"d": n}, snapshots=(0.05, 0.4), lam=lam, beta=beta)
    cells = np.array([100, 200, 400])
    errors = []
    for count in cells:
        # dt of order width^2, so that the first order in time shows as second order in width
        config = FokkerPlanckConfig(int(count), r_max, step_tolerance=FIXED_STEPS, dt_max=100 / count**2)
        trajectory = solve(problem, config)
        check_invariants(trajectory)
        errors.append([distances(trajectory, problem, i)[0] for i in range(2)])
    for i, t in enumerate(problem.snapshots):
        assert abs(order(1 / cells, np.array(errors)[:, i]) - 2) <= 0.15
        # the truncation terms in space and time are a few times (width/sd)^2, sd of r about s/sqrt(2)
        s = gaussian_scale(problem, t)
        assert errors[-1][i] <= 5 * (r_max / cells[-1] / s) ** 2
    # F of a Gaussian in closed form: differential entropy, and the log-area of the sphere that F drops
    entropy = 0.5 * n * math.log(2 * math.pi * math.e * s**2)
    area = math.log(2) + 0.5 * n * math.log(math.pi) - special.gammaln(n / 2)
    exact = 0.5 + 0.5 * lam * n * s**2 + (area - entropy) / beta
    # F is smooth in rho, so its error is of the order of the L1 error, 2e-3 at most
    assert abs(trajectory.data["free_energy"].values[-1] - exact) <= 2e-4


def test_implicit_euler_has_order_one_in_dt_and_one_half_in_tolerance() -> None:
    problem = Problem(FREE, {"d": 3}, snapshots=(0.4,), lam=0.5, beta=4.0)
    base = FokkerPlanckConfig(200, 5.0, step_tolerance=FIXED_STEPS)

    def masses(**changes: Any) -> Array:
        return cell_masses(solve(problem, replace(base, **changes)), 0)

    steps = 0.02 * 0.5 ** np.arange(4)
    runs = [masses(dt_max=dt) for dt in steps]
    gaps = [np.abs(a - b).sum() for a, b in pairwise(runs)]
    assert abs(order(steps[:-1], gaps) - 1) <= 0.15
    limit = 2 * runs[-1] - runs[-2]  # extrapolated: its error is far below those measured next
    tolerances = 10.0 ** -np.arange(3, 7)
    errors = [np.abs(masses(step_tolerance=tol) - limit).sum() for tol in tolerances]
    assert abs(order(tolerances, errors) - 0.5) <= 0.15
    assert errors[-1] <= math.sqrt(tolerances[-1])


def test_ornstein_uhlenbeck_rests_at_the_gibbs_law() -> None:
    problem = Problem(FREE, {"d": 40}, snapshots=(100.0,), lam=0.25, beta=80.0)
    errors = []
    for cells in (100, 200, 400):
        trajectory = solve(problem, FokkerPlanckConfig(cells, 3.2, step_tolerance=1e-4))
        check_invariants(trajectory)
        errors.append(distances(trajectory, problem, 0)[0])
        # the fluxes vanish on the Gibbs density at the centres, so that is the discrete limit:
        # what is left has decayed by e^(-4 lam t) = 1e-43, less for implicit Euler at long steps
        r = trajectory.data["points"].values[0, :, 0]
        gibbs = np.exp(39 * np.log(r) - 10 * r**2)
        assert np.abs(cell_masses(trajectory, 0) - gibbs / gibbs.sum()).sum() <= 1e-9
    assert abs(order([4, 2, 1], errors) - 2) <= 0.15
    assert errors[-1] <= (3.2 / 400 / math.sqrt(1 / 20)) ** 2  # (width/s)^2: midpoint values for averages


@pytest.mark.parametrize("n", [3, 40])
def test_transport_by_the_ridge_has_order_two(n: int) -> None:
    r_max = 3.6 if n == 3 else 1.6
    problem = Problem(FREE, {"d": n}, snapshots=(0.5,), lam=0.5)  # r -> r exp(-2 lam t)
    cells = np.array([200, 400, 800])
    errors = []
    for count in cells:
        trajectory = solve(problem, FokkerPlanckConfig(int(count), r_max))
        check_invariants(trajectory)
        errors.append(distances(trajectory, problem, 0))
    width_over_s = r_max / cells[-1] / gaussian_scale(problem, 0.5)
    l1, w1 = np.array(errors).T
    assert abs(order(1 / cells, l1) - 2) <= 0.15
    assert abs(order(1 / cells, w1) - 2) <= 0.15
    assert l1[-1] <= 2 * width_over_s**2  # the dispersion of van Leer's slopes, and the clipped extremum
    assert w1[-1] <= width_over_s**2 * gaussian_scale(problem, 0.5)


# ---- the truncated ReLU


def characteristics(problem: Problem, atoms: int = 400) -> list[Measure]:
    """Equal-mass atoms at the chi quantiles, carried along dr/dt = -2 d_r psi at rtol 1e-9."""
    module, p = problem.module, problem.parameters

    def velocity(t: float, r: Array) -> Array:
        x = np.maximum(r, 0.0)[:, None]
        return -2 * grad_Psi(module, x, feature_moments(module, Measure.uniform(x), p), p)[:, 0]

    start = problem.initial.radial_quantiles((np.arange(atoms) + 0.5) / atoms, problem.d)
    run = solve_ivp(
        velocity, (0, problem.t_end), start, rtol=1e-9, atol=1e-12, t_eval=problem.snapshots, max_step=0.1
    )
    assert run.success
    return [Measure.uniform(np.maximum(r, 0.0)[:, None]) for r in run.y.T]


@pytest.mark.parametrize("parameters", [STD, VARIANCE], ids=["std", "variance"])
@pytest.mark.parametrize("module", [TRUNCATED_RELU, isotropic_truncated_relu], ids=["d=inf", "d=40"])
def test_truncated_relu_follows_the_characteristics(module: Any, parameters: dict[str, float]) -> None:
    problem = Problem(module, parameters, snapshots=(0.01, 0.1, 1.0))
    trajectory = solve(problem)
    check_invariants(trajectory)
    for i, atoms in enumerate(characteristics(problem)):
        # masses at the centres of cells of 4.8e-3 cost a quarter of that, 400 atoms less than 1e-3
        assert wasserstein1(trajectory.measure(i), atoms) <= 2.5e-3


def test_noisy_truncated_relu_loses_free_energy_and_reaches_its_gibbs_law() -> None:
    problem = noisy_relu(snapshots=(0.1, 1.0, 60.0), records=log_spaced_times(1e-3, 60.0))
    trajectory = solve(problem, FokkerPlanckConfig(600, 5.0, step_tolerance=1e-4))
    check_invariants(trajectory)
    fall = -np.diff(trajectory.data["free_energy"].values)
    assert fall[0] > 0 and fall.sum() > 1
    edges = trajectory.data["edges"].values
    cells = schemes.uniform_cells(problem, len(edges) - 1, edges[1])
    moments = feature_moments(problem.module, trajectory.measure(2), STD)
    g = schemes.gibbs_exponent(problem, cells, moments)
    gibbs = np.exp(g.min() - g)
    # the ridge alone would leave e^(-4 lam t) = 4e-11; the wells of psi make it slower: seen is 2e-8
    assert np.abs(cell_masses(trajectory, 2) - gibbs / gibbs.sum()).sum() <= 1e-6


# ---- domain and times


def test_a_grown_domain_gives_what_a_large_one_gives() -> None:
    for problem, dt in (
        (Problem(FREE, {"d": 3}, snapshots=(0.05, 1.0), lam=0.1, beta=4.0), 5e-3),
        (Problem(TRUNCATED_RELU, VARIANCE, snapshots=(0.01, 1.0)), 2e-4),
    ):
        # equal steps, so that the domain alone can make a difference
        small = FokkerPlanckConfig(320, 3.5 if problem.d == 3 else 1.6, step_tolerance=FIXED_STEPS, dt_max=dt)
        assert small.r_max is not None
        grown = solve(problem, small)
        large = solve(problem, replace(small, cells=1600, r_max=5 * small.r_max))
        check_invariants(grown)
        assert 321 < grown.data.sizes["edge"] < large.data.sizes["edge"] == 1601
        assert grown.data.attrs["steps"] == large.data.attrs["steps"]
        for i in range(2):
            a, b = cell_masses(grown, i), cell_masses(large, i)
            # up to edge_mass = 1e-12 may touch the wall per step, of at most 1e4 steps
            assert np.abs(np.pad(a, (0, len(b) - len(a))) - b).sum() <= 1e-10


def test_every_snapshot_is_the_solution_at_its_own_time() -> None:
    snapshots = (0.0123, 0.1, 0.1 + 1e-7, 1 / 3)
    problem = Problem(
        FREE,
        {"d": 40},
        snapshots,
        records=(0.05, 0.1, 0.2),
        lam=0.5,
        schedule=StepSchedule(0.25),
    )
    seen: list[float] = []
    trajectory = solve(problem, FokkerPlanckConfig(800, 1.6), progress=seen.append)
    assert tuple(trajectory.times) == snapshots
    assert tuple(trajectory.data["record_time"].values) == problem.all_times()
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 7
    means = [trajectory.measure(i).mean() for i in range(4)]
    exact = (
        problem.initial.kappa
        / math.sqrt(40)
        * stats.chi.mean(40)
        * np.exp([-clock(problem, t) for t in snapshots])
    )
    # a missed landing is of the order of a step, 1e-3; the mean itself is kept to order (width/sd)^2 dt
    assert np.abs(means / exact - 1).max() <= 1e-5
    assert abs((means[2] / means[1] - 1) / (exact[2] / exact[1] - 1) - 1) <= 1e-3


def test_trajectory_survives_a_file(tmp_path: Path) -> None:
    trajectory = solve(noisy_relu(snapshots=(0.01,)), FokkerPlanckConfig(100))
    trajectory.save(tmp_path / "run.nc")
    attrs = Trajectory.load(tmp_path / "run.nc").data.attrs
    assert (attrs["method"], attrs["model"]) == ("fokker-planck", "truncated_relu")
    assert json.loads(attrs["parameters"]) == STD and json.loads(attrs["config"])["cells"] == 100
    assert "dolfinx" in json.loads(attrs["versions"])


# ---- pieces


def test_bernoulli_is_accurate_and_balanced() -> None:
    z = np.concatenate([[0.0], *([s * np.geomspace(1e-300, 700, 400) for s in (1, -1)])])
    z = np.concatenate([z, [1.0, -1.0, 1e-8, -1e-8, 1e4, -1e4]])
    numpy = SimpleNamespace(exp=np.exp, sinh=np.sinh, conditional=np.where)
    with np.errstate(all="ignore"):  # of the branches not taken
        value, mirrored = bernoulli(numpy, z), bernoulli(numpy, -z)
    with mpmath.workdps(330):
        exact = np.array([float(mpmath.mpf(x) / mpmath.expm1(mpmath.mpf(x))) if x else 1.0 for x in z])
    # e^(-z/2) multiplies the rounding of its argument by at most |z|/2 <= 1/2; a handful of operations
    tiny = np.finfo(float).tiny
    np.testing.assert_allclose(value, exact, rtol=2e-15, atol=tiny)
    # B(-z) - B(z) = z
    np.testing.assert_allclose(mirrored - value, z, rtol=4e-15, atol=4e-15)


def test_face_values_are_positive_and_average_to_rho() -> None:
    rho = np.exp(np.random.default_rng(1).normal(scale=30, size=4000))
    rho[::7] = 0.0
    left, right = schemes.face_values(rho)
    assert left.min() >= 0 and right.min() >= 0
    np.testing.assert_allclose(0.5 * (left + right), rho, rtol=1e-15)
    line = np.arange(20.0)
    np.testing.assert_allclose(schemes.face_values(line)[1][1:-1], line[1:-1] + 0.5, rtol=1e-15)


# ---- failures


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": 7}, "cells = 7"),
        ({"cells": 0}, "cells = 0"),
        ({"r_max": 0.5}, "r_max = 0.5"),
        ({"r_max": math.nan}, "r_max = nan"),
        ({"r_max": math.inf}, "r_max = inf"),
        ({"r_max": -1.0}, "r_max = -1.0"),
        ({"cfl": 0.6}, "cfl = 0.6"),
        ({"cfl": math.nan}, "cfl = nan"),
        ({"step_tolerance": 0.0}, "step_tolerance = 0.0"),
        ({"dt_max": -1.0}, "dt_max = -1.0"),
        ({"dt_max": math.nan}, "dt_max = nan"),
        ({"max_steps": 0}, "max_steps = 0"),
        ({"edge_mass": 1.0}, "edge_mass = 1.0"),
        ({"max_cells": 600}, "max_cells = 600"),
    ],
)
def test_a_bad_config_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        solve(Problem(FREE, {"d": 40}, (1.0,)), FokkerPlanckConfig(**changes))


def test_a_bad_problem_is_refused() -> None:
    with pytest.raises(BadInput, match="d = inf"):
        solve(Problem(FREE, {"d": math.inf}, (1.0,)))
    plane: Any = SimpleNamespace(**{**vars(FREE), "COORDINATES": ("r1", "r2")})
    with pytest.raises(BadInput, match="'r1', 'r2'"):
        solve(Problem(plane, {"d": 40}, (1.0,)))


def test_without_dolfinx_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dolfinx", None)
    with pytest.raises(BadInput, match="pip install dolfinx-solver-real"):
        solve(Problem(FREE, {"d": 40}, (1.0,)))


def test_a_full_domain_ends_the_run_and_keeps_what_was_computed() -> None:
    problem = Problem(FREE, {"d": 3}, snapshots=(1e-3, 10.0), lam=0.1, beta=4.0)
    with pytest.raises(NumericalFailure, match=r"at t = 0\.\d+: .* max_cells = 110 ") as failure:
        solve(problem, FokkerPlanckConfig(100, 4.0, max_cells=110))
    partial = failure.value.partial
    assert partial is not None and not partial.complete
    assert tuple(partial.times) == (1e-3,)
    assert abs(cell_masses(partial, 0).sum() - 1) <= 1e-12


def test_too_many_steps_end_the_run() -> None:
    with pytest.raises(NumericalFailure, match="max_steps = 5") as failure:
        solve(Problem(FREE, {"d": 40}, (1.0,), lam=0.5), FokkerPlanckConfig(100, max_steps=5))
    assert failure.value.partial is not None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda rho: rho * (1 + 3e-12), "mass is off by 3.0e-12"),
        (lambda rho: np.where(np.arange(len(rho)) == 0, -1e-300, rho), "density fell to -1.0e-300"),
    ],
)
def test_lost_mass_or_positivity_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, broken: Any, message: str
) -> None:
    def step(*arguments: Any) -> schemes.State:
        state = schemes.transport_step(*arguments)
        return replace(state, rho=broken(state.rho))

    monkeypatch.setattr(fokker_planck, "transport_step", step)
    with pytest.raises(NumericalFailure, match=message):
        solve(Problem(FREE, {"d": 40}, (1.0,), lam=0.5), FokkerPlanckConfig(100))


def test_a_rising_free_energy_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = schemes.free_energy
    monkeypatch.setattr(schemes, "free_energy", lambda *arguments: -sound(*arguments))
    with pytest.raises(NumericalFailure, match="without the free energy falling"):
        solve(noisy_relu(), FokkerPlanckConfig(100))


def test_a_module_that_is_not_finite_is_named() -> None:
    broken: Any = SimpleNamespace(**{**vars(FREE), "grad_V": lambda x, p: np.where(x == 0, np.nan, 0.0)})
    with pytest.raises(NumericalFailure, match=r"grad_V of the module is not finite at r = 0\.0"):
        solve(Problem(broken, {"d": 40}, (1.0,)), FokkerPlanckConfig(100))


def test_no_option_file_in_the_working_directory_matters(tmp_path: Path) -> None:
    (tmp_path / "dolfinx_jit_options.json").write_text('{"cffi_extra_compile_args": ["-fno-such-flag"]}')
    (tmp_path / "ffcx_options.json").write_text('{"language": "no such language"}')
    script = (
        "import tests.test_fokker_planck as t\n"
        "t.solve(t.noisy_relu(snapshots=(1e-4,)), t.FokkerPlanckConfig(50))\n"
    )
    root = Path(__file__).parents[1]
    # an empty cache, so that the forms are compiled under the eyes of these files
    environment = {**os.environ, "PYTHONPATH": str(root), "XDG_CACHE_HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
