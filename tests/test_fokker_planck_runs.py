"""Runs of the Fokker-Planck solver: what holds at every step, domains that grow, and what is stored."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("dolfinx_solver", reason="the Fokker-Planck solver needs DOLFINx")

from solvers.cells import first_cells, free_energy, initial_masses, tabulated
from solvers.fokker_planck import FokkerPlanckConfig, density, solve
from solvers.fokker_planck_step import Stepper, fit_step
from tests.densities import (
    FIXED_STEPS,
    PLANE,
    PLANE_START,
    Quadratic,
    affine_units,
    boxes,
    check_invariants,
    edges_of,
    free,
    masses_of,
    noisy_relu,
)
from workbench.initial import GaussianInitialLaw, InitialDensity
from workbench.problem import Problem, StepSchedule
from workbench.trajectory import Trajectory

# ---- at every step

HARD: dict[str, tuple[Problem, dict[str, Any]]] = {
    "no noise": (noisy_relu(beta=math.inf, lam=0.0), {"cells": 300}),
    "little noise": (noisy_relu(beta=1e6), {"cells": 300}),
    "much noise": (noisy_relu(beta=0.05), {"cells": 100}),
    "boxes": (noisy_relu(initial=InitialDensity(boxes)), {"cells": 200, "r_max": 6.0}),
    "boxes without noise": (
        noisy_relu(initial=InitialDensity(boxes), beta=math.inf),
        {"cells": 200, "r_max": 6.0},
    ),
    "far out": (noisy_relu(initial=GaussianInitialLaw(30.0)), {"cells": 200}),
    "far out without noise": (noisy_relu(initial=GaussianInitialLaw(30.0), beta=math.inf), {"cells": 200}),
    "few cells": (noisy_relu(beta=300.0), {"cells": 8}),
    "a plane": (PLANE.problem(snapshots=(1.0,), beta=4.0, initial=PLANE_START), {"cells": (30, 20)}),
    "a plane without noise": (PLANE.problem(snapshots=(1.0,), initial=PLANE_START), {"cells": (30, 20)}),
    "boxes in a plane": (
        PLANE.problem(snapshots=(1.0,), beta=30.0, initial=InitialDensity(boxes)),
        {"cells": 24, "bounds": (-1.0, 3.0, 0.0, 3.0)},
    ),
    "boxes in space": (
        Problem(affine_units(), {"d": 2, "n": (2,)}, (1.0,), initial=InitialDensity(boxes), beta=10.0),
        {"cells": 10, "bounds": (-1.0, 3.0, -1.0, 3.0, 0.0, 3.0)},
    ),
    "space without noise": (
        Problem(affine_units(), {"d": 2, "n": (2,)}, (1.0,), initial=InitialDensity(boxes)),
        {"cells": (10, 12, 9), "bounds": (-1.0, 3.0, -1.0, 3.0, 0.0, 3.0)},
    ),
}


@pytest.mark.parametrize(
    "steps",
    [{}, {"step_tolerance": 1.0}, {"step_tolerance": FIXED_STEPS, "dt_max": 0.25}],
    ids=["adaptive", "tolerance 1", "fixed"],
)
@pytest.mark.parametrize("case", HARD)
def test_mass_positivity_and_free_energy_at_every_step(case: str, steps: dict[str, Any]) -> None:
    problem, config = HARD[case]
    trajectory = solve(problem, FokkerPlanckConfig(**config, **steps))
    check_invariants(problem, trajectory)


@pytest.mark.parametrize("beta", [4.0, math.inf])
def test_one_step_of_any_length_lowers_the_free_energy(beta: float) -> None:
    """The theorem at the head of ``solvers.fokker_planck_step``, on few cells and from far away."""
    problem = PLANE.problem(
        snapshots=(1.0,), beta=beta, initial=GaussianInitialLaw(3.0, b_mean=4.0, b_std=1.0)
    )
    cells = first_cells(problem, (9, 8))
    for dt in 10.0 ** np.arange(-6, 4):
        stepper = Stepper(problem, cells, None, FIXED_STEPS, dt)
        state = stepper.begin(initial_masses(problem, cells))
        after = stepper.step(state, 1e4)
        # the step itself, or what the moments allowed of it
        assert 0 < after.dt_last <= dt and after.masses.min() >= 0
        assert stepper.free_energy(after.sums) < stepper.free_energy(state.sums)
        assert after.dt_last >= min(dt, 1e-3)


def test_a_step_towards_rest_in_a_fixed_potential_is_exact() -> None:
    problem = free("b", "r", n=(1, 3)).problem(snapshots=(1.0,), beta=4.0, lam=0.5, initial=PLANE_START)
    cells = first_cells(problem, (12, 10))
    stepper = Stepper(problem, cells, None, FIXED_STEPS, 500.0)
    state = stepper.step(stepper.begin(initial_masses(problem, cells)), 500.0)
    gibbs = np.exp(cells.log_reference - (cells.centres**2).sum(axis=1))
    gibbs /= gibbs.sum()
    # e^(-4 lam t) is nothing, but facets between cells that hold 1e-9 may be closed during the step
    assert state.dt_last == 500.0
    assert np.abs(stepper.volumes.gather(state.masses) - gibbs).sum() <= 1e-7
    least = 0.5 - math.log(np.exp(cells.log_reference - (cells.centres**2).sum(axis=1)).sum()) / 4
    assert stepper.free_energy(state.sums) == pytest.approx(least, abs=1e-8)


def test_a_step_is_no_longer_than_rounding_allows() -> None:
    problem = noisy_relu(lam=1.0)
    cells = first_cells(problem, (200,), r_max=5.0)
    stepper = Stepper(problem, cells, None, FIXED_STEPS, math.inf)
    state = stepper.begin(initial_masses(problem, cells))
    for _ in range(4):
        state = stepper.step(state, 1e9)
        assert state.dt_last > 1 and state.lost <= 1e-12  # 1e-17 for each jump, of which 3e4 are allowed
        assert state.sums[-1] == pytest.approx(1.0, abs=1e-14)


def test_steps_land() -> None:
    assert fit_step(0.3, 1.0) == 0.3 and fit_step(0.6, 1.0) == 0.5
    assert fit_step(1.0, 1.0) == 1.0 and fit_step(math.inf, 0.7) == 0.7


# ---- domains that grow

GROWING: dict[str, tuple[Problem, dict[str, Any], tuple[float, ...], tuple[int, ...]]] = {
    # problem, small domain and its cells, the large one that holds all and its cells
    "r": (
        free("r", n=(3,)).problem(snapshots=(0.05, 1.0), lam=0.1, beta=4.0),
        {"cells": 160, "r_max": 3.5},
        (0.0, 14.0),
        (640,),
    ),
    "r, truncated ReLU": (
        noisy_relu(snapshots=(0.01, 0.2), beta=math.inf, lam=0.0),
        {"cells": 160, "r_max": 1.6},
        (0.0, 8.0),
        (800,),
    ),
    "b, downwards": (
        Quadratic(("b",), (1,), (2.0,), (0.1,), (0.3,), (0.02,)).problem(
            snapshots=(0.05, 1.0), beta=4.0, initial=GaussianInitialLaw(b_std=0.5)
        ),
        {"cells": 160, "bounds": (-4.0, 4.0)},
        (-16.0, 8.0),
        (480,),
    ),
    "r, down to the axis": (
        Problem(
            free("r").module,
            {"d": 1, "n": (1,)},
            (0.05, 1.0),
            initial=InitialDensity(lambda x: np.exp(-((x[:, 0] - 3) ** 2) * 12)),
            beta=4.0,
            lam=0.5,
            radial_entropy=False,
        ),
        {"cells": 90, "bounds": (1.5, 4.5)},
        (0.0, 8.0),
        (240,),
    ),
    "b, r": (
        Quadratic(("b", "r"), (1, 3), (1.0, 0.0), (0.1, -0.4), (0.3, 0.0), (0.02, 0.1)).problem(
            snapshots=(0.05, 0.2), beta=4.0, initial=GaussianInitialLaw(0.6, b_std=0.4)
        ),
        {"cells": (48, 24), "bounds": (-3.0, 3.0, 0.0, 3.0)},
        (-9.0, 6.0, 0.0, 9.0),
        (120, 72),
    ),
}


@pytest.mark.parametrize("case", GROWING)
def test_a_grown_domain_gives_what_a_large_one_gives(case: str) -> None:
    problem, small, bounds, counts = GROWING[case]
    # equal steps, so that the domain alone can make a difference
    fixed: dict[str, Any] = {"step_tolerance": FIXED_STEPS, "dt_max": 0.002}
    grown = solve(problem, FokkerPlanckConfig(**small, **fixed))
    large = solve(problem, FokkerPlanckConfig(counts, bounds=bounds, fixed_domain=True, **fixed))
    check_invariants(problem, grown)
    assert grown.data.attrs["steps"] == large.data.attrs["steps"]
    for i in range(2):
        gap, inside = masses_of(large, i), grown.measure(i)
        place = [np.searchsorted(ends, inside.points[:, k]) - 1 for k, ends in enumerate(edges_of(large))]
        np.subtract.at(gap, tuple(place), inside.weights)
        # up to edge_mass = 1e-12 touches a wall, again and again while it moves; in the plane neighbours in the
        # tails differ by a factor of ten, and there the limiter makes more of it: 4e-7 seen, of tails of 1e-6
        assert np.abs(gap).sum() <= (1e-5 if case == "b, r" else 1e-10)
    sizes = [len(ends) - 1 for ends in edges_of(grown)]
    assert np.prod(sizes) > grown.data.sizes["point"] - 1 and np.prod(sizes) <= large.data.sizes["point"]
    for ends, wide in zip(edges_of(grown), edges_of(large), strict=True):
        assert wide[0] <= ends[0] + 1e-9 and ends[-1] <= wide[-1] + 1e-9
        # as wide as those it started with, but for the first cell at 0, which takes what is left
        np.testing.assert_allclose(np.diff(ends)[1:], np.diff(wide)[1], rtol=1e-9)
        assert 0.5 - 1e-9 <= (ends[1] - ends[0]) / np.diff(wide)[1] <= 1.5 + 1e-9
    assert grown.data["step_edge_mass"].values.max() <= 1e-12


def test_a_fixed_domain_stays_and_tells_what_its_walls_hold() -> None:
    problem = free("r", n=(3,)).problem(snapshots=(1.0,), lam=0.1, beta=4.0)
    trajectory = solve(problem, FokkerPlanckConfig(64, r_max=3.5, fixed_domain=True))
    check_invariants(problem, trajectory)
    assert trajectory.data.sizes["edge_r"] == 65 and edges_of(trajectory)[0][-1] == 3.5
    held = trajectory.data["step_edge_mass"].values
    # two cells of 64 here, and the rate at which they fill
    assert held[-1] == pytest.approx(masses_of(trajectory, 0)[-2:].sum(), rel=1e-12)
    lengths = np.diff(trajectory.data["step_time"].values)
    np.testing.assert_allclose(
        trajectory.data["step_edge_flux"].values[1:], np.diff(held) / lengths, rtol=1e-6
    )
    assert held[-1] > 1e-6


def test_a_norm_that_starts_above_zero_grows_down_to_zero_without_a_sliver() -> None:
    start = InitialDensity(lambda x: np.exp(-((x[:, 0] - 2) ** 2) * 100))
    p = {"d": 1, "n": (1,)}
    problem = Problem(free("r").module, p, (1.0,), initial=start, beta=10.0, lam=0.5, radial_entropy=False)
    for lower in (1.0, 0.97, 1.02):  # of which some reach 0 but for a rounding
        config = FokkerPlanckConfig(20, bounds=(lower, lower + 2.0), step_tolerance=1e-2)
        trajectory = solve(problem, config)
        check_invariants(problem, trajectory)
        (edges,) = edges_of(trajectory)
        assert edges[0] == 0 and 0.05 - 1e-9 <= edges[1] <= 0.15 + 1e-9


# ---- what is stored


def test_every_snapshot_is_the_solution_at_its_own_time() -> None:
    snapshots = (0.0123, 0.1, 0.1 + 1e-7, 1 / 3)
    law = free("r", n=(40,))
    problem = law.problem(snapshots=snapshots, records=(0.05, 0.1, 0.2), lam=0.5, schedule=StepSchedule(0.25))
    seen: list[float] = []
    trajectory = solve(problem, FokkerPlanckConfig(800, r_max=1.6), progress=seen.append)
    check_invariants(problem, trajectory)
    assert tuple(trajectory.times) == snapshots
    assert tuple(trajectory.data["record_time"].values) == problem.all_times()
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 7
    means = np.array([trajectory.measure(i).mean() for i in range(4)])
    clocks = [float(problem.schedule.clock(np.asarray(t))) for t in snapshots]
    exact = 0.8 / math.sqrt(40) * stats.chi.mean(40) * np.exp(-np.array(clocks))
    # a missed landing is of the order of a step, 1e-3; the mean itself is kept to order (width/sd)^2 dt
    assert np.abs(means / exact - 1).max() <= 1e-5
    assert abs((means[2] / means[1] - 1) / (exact[2] / exact[1] - 1) - 1) <= 1e-3
    times = trajectory.data["step_time"].values
    assert (
        set(problem.all_times()) <= set(times.tolist())
        or np.abs(times[:, None] - problem.all_times()).min(axis=0).max() <= 1e-15
    )
    assert (np.diff(times) > 0).all()


def test_records_hold_the_worst_since_the_last() -> None:
    problem = noisy_relu(snapshots=(0.2,), records=(0.05, 0.1))
    data = solve(problem, FokkerPlanckConfig(100)).data
    ends = np.searchsorted(data["step_time"].values, data["record_time"].values * (1 - 1e-12)) + 1
    for k, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        assert data["mass_error"].values[k] == data["step_mass_error"].values[start:end].max()
        assert data["min_density"].values[k] == data["step_min_density"].values[start:end].min()
        assert data["free_energy"].values[k] == data["step_free_energy"].values[end - 1]
    # F of the last snapshot, from its masses
    cells, masses = first_cells(problem, (100,)), masses_of(solve(problem, FokkerPlanckConfig(100)), 0)
    table = tabulated(problem, cells.centres)
    assert data["free_energy"].values[-1] == pytest.approx(
        free_energy(problem, table, cells.log_reference, masses), abs=1e-12
    )


def test_a_trajectory_survives_a_file(tmp_path: Path) -> None:
    trajectory = solve(
        PLANE.problem(snapshots=(0.01,), beta=4.0, initial=PLANE_START), FokkerPlanckConfig((16, 12))
    )
    trajectory.save(tmp_path / "run.nc")
    loaded = Trajectory.load(tmp_path / "run.nc")
    attrs = loaded.data.attrs
    assert (attrs["method"], attrs["model"], attrs["ranks"]) == ("fokker-planck", "quadratic", 1)
    assert json.loads(attrs["config"])["cells"] == [16, 12] and json.loads(attrs["initial"])["b_std"] == 0.5
    assert "dolfinx" in json.loads(attrs["versions"]) and (attrs["beta"], attrs["radial_entropy"]) == (4.0, 1)
    for name in trajectory.data.variables:
        assert np.array_equal(loaded.data[name].values, trajectory.data[name].values)


def test_a_density_is_a_grid_of_its_coordinates() -> None:
    problem = PLANE.problem(snapshots=(1e-4, 0.3), beta=0.5, initial=PLANE_START)
    trajectory = solve(problem, FokkerPlanckConfig((24, 16), bounds=(-4.0, 6.0, 0.0, 5.0)))
    rho = [density(trajectory, i) for i in range(2)]
    assert rho[0].dims == ("b", "r") and rho[0].shape == (24, 16) and rho[1].size > 24 * 16
    for i, grid in enumerate(rho):
        h = [np.diff(grid[name].values)[0] for name in ("b", "r")]
        assert float(grid.sum()) * h[0] * h[1] == pytest.approx(1.0, abs=1e-12)
        mean = float((grid * grid["b"]).sum()) * h[0] * h[1]
        assert mean == pytest.approx(trajectory.measure(i).mean(0), rel=1e-12)


def test_a_file_for_paraview_is_continued_when_the_domain_grows(tmp_path: Path) -> None:
    problem = free("r", n=(3,)).problem(snapshots=(0.01, 1.0), lam=0.1, beta=4.0)
    trajectory = solve(problem, FokkerPlanckConfig(40, r_max=3.5, vtx=str(tmp_path / "rho.bp")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rho-2.bp", "rho.bp"]
    for i, name in enumerate(("rho.bp", "rho-2.bp")):
        held = b"".join(path.read_bytes() for path in (tmp_path / name).iterdir())
        width = np.diff(edges_of(trajectory)[0])[3]
        assert (trajectory.data["weights"].values[i, 3] / width).tobytes() in held
