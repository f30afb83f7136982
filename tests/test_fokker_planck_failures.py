"""How runs of the Fokker-Planck solver end badly: bad input with its mend, and failures that keep what was computed."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dolfinx_solver", reason="the Fokker-Planck solver needs DOLFINx")

from solvers import fokker_planck_step
from solvers.cells import free_energy_of
from solvers.finite_volumes import FiniteVolumes
from solvers.fokker_planck import FokkerPlanckConfig, solve
from solvers.fokker_planck_step import State, Stepper
from tests.densities import affine_units, check_invariants, free, masses_of, noisy_relu
from workbench.errors import BadInput, NumericalFailure
from workbench.initial import InitialDensity
from workbench.measure import Array
from workbench.problem import Problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": 7}, r"cells = 7: give a whole number 8 <= cells"),
        ({"cells": 0}, r"cells = 0"),
        ({"cells": 10.5}, r"cells = 10\.5"),
        (
            {"cells": (100, 100)},
            r"cells = \(100, 100\): give one number, or one for each of the coordinates r",
        ),
        ({"r_max": 0.5}, r"r from 0 to 0\.5 \(r_max or bounds\) .* give r_max >= "),
        ({"r_max": math.nan}, r"r_max = nan: give a finite r_max > 0"),
        ({"r_max": math.inf}, r"r_max = inf"),
        ({"r_max": -1.0}, r"r_max = -1\.0"),
        ({"r_max": 3.0, "bounds": (0.0, 3.0)}, r"r_max = 3\.0 and bounds = .*: give one of the two"),
        ({"bounds": (0.0,)}, r"bounds = \(0\.0,\): give a lower and an upper end"),
        ({"grading": 1.0}, r"grading = 1\.0: give 0 <= grading < 1"),
        ({"grading": math.nan}, r"grading = nan"),
        ({"step_tolerance": 0.0}, r"step_tolerance = 0\.0: give step_tolerance > 0"),
        ({"step_tolerance": math.nan}, r"step_tolerance = nan"),
        ({"dt_max": -1.0}, r"dt_max = -1\.0"),
        ({"max_steps": 0}, r"max_steps = 0"),
        ({"edge_mass": 1.0}, r"edge_mass = 1\.0: give 0 < edge_mass <= 1e-6"),
        ({"edge_mass": 0.0}, r"edge_mass = 0\.0"),
        ({"max_cells": 600}, r"cells = 1200 in all, more than max_cells = 600: raise max_cells"),
        ({"max_cells": 3}, r"max_cells = 3"),
        ({"vtx": "density.vtu"}, r"vtx = 'density\.vtu': name a folder that ends in \.bp"),
    ],
)
def test_a_bad_config_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        solve(free("r", n=(40,)).problem(snapshots=(1.0,)), FokkerPlanckConfig(**changes))


def test_a_bad_problem_is_refused() -> None:
    space = free("a", "m", "r1", "r2", n=(1, 1, 2, 2))
    with pytest.raises(BadInput, match=r"coordinates a, m, r1, r2: .* at most 3; use the method sgd"):
        solve(space.problem(snapshots=(1.0,)), FokkerPlanckConfig(8))
    with pytest.raises(BadInput, match=r"a_std = 0: .* use the method sgd"):
        solve(Problem(affine_units(), {"d": 2, "n": (2,)}, (1.0,)), FokkerPlanckConfig(8))
    with pytest.raises(BadInput, match=r"d = inf: the initial law is a point"):
        solve(Problem(free("r").module, {"d": math.inf, "n": (math.inf,)}, (1.0,)))
    with pytest.raises(BadInput, match=r"the initial density is nan at \("):
        start = InitialDensity(lambda x: np.full(len(x), np.nan))
        solve(noisy_relu(initial=start), FokkerPlanckConfig(8, r_max=1.0))


def test_d_infinite_without_noise_is_solved_from_a_density() -> None:
    start = InitialDensity(lambda x: np.exp(-((x[:, 0] - 1) ** 2) / 0.08))
    problem = Problem(free("r").module, {"d": math.inf, "n": (math.inf,)}, (0.5,), initial=start, lam=0.5)
    trajectory = solve(problem, FokkerPlanckConfig(200, r_max=3.0))
    check_invariants(problem, trajectory)
    assert trajectory.measure(0).mean() == pytest.approx(
        math.exp(-0.5), rel=1e-3
    )  # (width/sd)^2 = 6e-3, seen 1e-4


def test_without_dolfinx_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dolfinx", None)
    with pytest.raises(BadInput, match=r"needs DOLFINx: pip install dolfinx-solver-real"):
        solve(noisy_relu(), FokkerPlanckConfig(100))


def test_a_full_domain_ends_the_run_and_keeps_what_was_computed() -> None:
    problem = free("r", n=(3,)).problem(snapshots=(1e-3, 10.0), lam=0.1, beta=4.0)
    message = (
        r"after step \d+, at t = 0\.\d+: mass reached r = 4, the end .* max_cells = 110 is used up; raise"
    )
    with pytest.raises(NumericalFailure, match=message) as failure:
        solve(problem, FokkerPlanckConfig(100, r_max=4.0, max_cells=110))
    partial = failure.value.partial
    assert partial is not None and not partial.complete
    assert tuple(partial.times) == (1e-3,)
    assert abs(masses_of(partial, 0).sum() - 1) <= 1e-12
    assert partial.data.sizes["step"] == partial.data.attrs["steps"] > 3


def test_too_many_steps_end_the_run() -> None:
    with pytest.raises(
        NumericalFailure, match=r"after step 5, .* max_steps = 5 is used up; raise it"
    ) as failure:
        solve(noisy_relu(), FokkerPlanckConfig(100, max_steps=5))
    assert failure.value.partial is not None and failure.value.partial.data.attrs["steps"] == 5


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda m: m * (1 + 3e-12), r"the mass is off by 3\.0e-12"),
        (lambda m: np.where(np.arange(len(m)) == 0, -1e-300, m), r"the density fell to -\d\.\de-\d+"),
    ],
)
def test_lost_mass_or_positivity_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[Array], Array], message: str
) -> None:
    sound = Stepper.step

    def step(self: Stepper, state: State, remaining: float) -> State:
        new = sound(self, state, remaining)
        if new.dt_last < 1e-6:  # the second step or so
            return new
        masses = broken(new.masses)
        return replace(new, masses=masses, sums=self.sums(np.abs(masses)))

    monkeypatch.setattr(Stepper, "step", step)
    with pytest.raises(NumericalFailure, match=message) as failure:
        solve(noisy_relu(), FokkerPlanckConfig(100))
    assert failure.value.partial is not None and not failure.value.partial.complete


def test_mass_lost_within_a_step_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = FiniteVolumes.advance
    monkeypatch.setattr(FiniteVolumes, "advance", lambda *arguments: sound(*arguments) * (1 - 2e-12))
    with pytest.raises(NumericalFailure, match=r"the mass is off by 2\.0e-12"):
        solve(noisy_relu(), FokkerPlanckConfig(100))


def test_a_rising_free_energy_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fokker_planck_step, "free_energy_of", lambda *arguments: -free_energy_of(*arguments))
    with pytest.raises(
        NumericalFailure, match=r"the time step fell to \d\.\de-\d+ without the free energy falling"
    ):
        solve(noisy_relu(), FokkerPlanckConfig(100))


def test_a_module_that_is_not_finite_is_named() -> None:
    broken: Any = SimpleNamespace(**vars(free("r").module))
    broken.V = lambda x, p: np.where(x[:, 0] > 1, np.nan, 0.0)
    with pytest.raises(
        NumericalFailure, match=r"V of the module is not finite at r = 1\.0\d+: regenerate it"
    ):
        solve(Problem(broken, {"d": 3, "n": (3,)}, (1.0,)), FokkerPlanckConfig(100))


def test_no_option_file_in_the_working_directory_matters(tmp_path: Path) -> None:
    (tmp_path / "dolfinx_jit_options.json").write_text('{"cffi_extra_compile_args": ["-fno-such-flag"]}')
    (tmp_path / "ffcx_options.json").write_text('{"language": "no such language"}')
    script = (
        "from solvers.fokker_planck import FokkerPlanckConfig, solve\n"
        "from tests.densities import noisy_relu\n"
        "print(solve(noisy_relu(snapshots=(1e-4,)), FokkerPlanckConfig(50)).data.attrs['steps'])\n"
    )
    root = Path(__file__).parents[1]
    # an empty cache, so that the forms are compiled under the eyes of these files
    environment = {**os.environ, "PYTHONPATH": str(root), "XDG_CACHE_HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 1
