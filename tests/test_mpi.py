"""The Fokker-Planck solver on several ranks: what one rank gives, in one to three coordinates, and no rank left waiting.

``python -m tests.test_mpi FILE`` under ``mpiexec`` solves the problems below and writes what the first rank has.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dolfinx_solver", reason="the Fokker-Planck solver needs DOLFINx")

from solvers.fokker_planck import FokkerPlanckConfig, solve
from tests.densities import PLANE, PLANE_START, affine_units, free, noisy_relu
from workbench.errors import BadInput, NumericalFailure
from workbench.initial import InitialDensity
from workbench.measure import Array
from workbench.problem import Problem

ROOT = Path(__file__).parents[1]
MPIEXEC = Path(sys.executable).with_name("mpiexec")


def bump(x: Array) -> Array:
    return np.asarray(np.exp(-((x - 1) ** 2).sum(axis=1)))


def not_finite() -> Any:
    """A module that fails at one end of the domain, on one rank of several."""
    module: Any = SimpleNamespace(**vars(free("r").module))
    module.V = lambda x, p: np.where(x[:, 0] > 3, np.nan, 0.0)
    return module


PROBLEMS: dict[str, tuple[Problem, FokkerPlanckConfig]] = {
    "r": (
        noisy_relu(snapshots=(0.05, 0.2), records=(0.01, 0.1)),
        FokkerPlanckConfig(101, r_max=5.0, step_tolerance=1e-2),
    ),
    "a domain that grows": (
        free("r", n=(3,)).problem(snapshots=(0.05, 1.0), lam=0.1, beta=4.0),
        FokkerPlanckConfig(60, r_max=3.5, step_tolerance=1e-2),
    ),
    "b, r": (
        PLANE.problem(snapshots=(0.05, 0.2), beta=4.0, initial=PLANE_START),
        FokkerPlanckConfig((40, 31), bounds=(-3.0, 5.0, 0.0, 5.0), grading=0.3, step_tolerance=1e-2),
    ),
    "a, b, r": (
        Problem(affine_units(), {"d": 2, "n": (2,)}, (0.05,), initial=InitialDensity(bump), beta=2.0),
        FokkerPlanckConfig(
            (9, 10, 8), bounds=(-1.0, 3.0, -1.0, 3.0, 0.0, 3.0), fixed_domain=True, step_tolerance=1e-2
        ),
    ),
}
REFUSED: dict[str, tuple[Problem, FokkerPlanckConfig]] = {
    "a law outside": (noisy_relu(), FokkerPlanckConfig(100, r_max=0.5)),
    "a density": (noisy_relu(initial=InitialDensity(lambda x: -x[:, 0])), FokkerPlanckConfig(100, r_max=2.0)),
    "a module": (Problem(not_finite(), {"d": 3, "n": (3,)}, (1.0,)), FokkerPlanckConfig(100, r_max=4.0)),
    "steps": (noisy_relu(), FokkerPlanckConfig(100, r_max=5.0, max_steps=3)),
    "a full domain": (
        noisy_relu(beta=0.1),
        FokkerPlanckConfig(100, r_max=4.0, max_cells=101, step_tolerance=0.1),
    ),
}


def main(path: str) -> None:
    """Solve everything and write it to ``path``."""
    found: dict[str, Any] = {}
    for name, (problem, config) in PROBLEMS.items():
        trajectory = solve(problem, config)
        for variable, values in trajectory.data.variables.items():
            if variable != "coordinate":
                found[f"{name}/{variable}"] = values.values
        found[f"{name}/ranks"] = trajectory.data.attrs["ranks"]
    for name, (problem, config) in REFUSED.items():
        try:
            solve(problem, config)
        except (BadInput, NumericalFailure) as error:
            found[f"{name}/error"] = f"{type(error).__name__}: {error}"
    from mpi4py import MPI

    everywhere = MPI.COMM_WORLD.allgather(found)
    for other in everywhere:
        assert other.keys() == found.keys()
        assert all(np.array_equal(other[key], found[key]) for key in found)
    if MPI.COMM_WORLD.rank == 0:
        np.savez(path, **found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


def found(folder: Path, ranks: int) -> dict[str, Array]:
    """What a run on so many ranks gave; it takes place once."""
    if not MPIEXEC.exists():
        pytest.skip("there is no mpiexec beside the interpreter")
    path = folder / f"{ranks}.npz"
    if not path.exists():
        command = [str(MPIEXEC), "-n", str(ranks), sys.executable, "-m", "tests.test_mpi", str(path)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        # a rank left waiting would wait for ever
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
    with np.load(path) as file:
        return dict(file)


MANY = pytest.mark.parametrize("ranks", [2, pytest.param(5, marks=pytest.mark.slow)])


@MANY
@pytest.mark.parametrize("name", PROBLEMS)
def test_several_ranks_give_what_one_gives(folder: Path, name: str, ranks: int) -> None:
    one, many = found(folder, 1), found(folder, ranks)
    assert one[f"{name}/ranks"] == 1 and many[f"{name}/ranks"] == ranks
    for key, values in one.items():
        if key.startswith(name + "/") and not key.endswith(("ranks", "flux", "density")):
            # sums over cells in another order: 1e-16 of numbers up to 1e2, in each of some hundred steps
            np.testing.assert_allclose(many[key], values, rtol=0, atol=1e-10, err_msg=key)
    assert np.abs(many[f"{name}/weights"] - one[f"{name}/weights"]).sum() <= 1e-10
    assert many[f"{name}/step_min_density"].min() >= 0 and many[f"{name}/step_mass_error"].max() <= 1e-12
    # F is rounded by 1e-16 of its terms
    assert np.diff(many[f"{name}/step_free_energy"]).max() <= 1e-12
    if name == "a domain that grows":
        assert len(many[f"{name}/edges_r"]) == len(one[f"{name}/edges_r"]) > 61


@MANY
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a law outside", "BadInput: the cells of r from 0 to 0.5"),
        ("a density", "BadInput: the initial density is -"),
        ("a module", "NumericalFailure: V of the module is not finite at r = 3."),
        ("steps", "NumericalFailure: Fokker-Planck run stopped after step 3"),
        ("a full domain", "NumericalFailure: Fokker-Planck run stopped after step"),
    ],
)
def test_every_rank_is_told_of_a_failure(folder: Path, ranks: int, name: str, message: str) -> None:
    assert str(found(folder, ranks)[f"{name}/error"]).startswith(message)


if __name__ == "__main__":
    main(sys.argv[1])
