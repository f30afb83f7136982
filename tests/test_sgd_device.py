"""SGD as a GPU would run it, on a stand-in for CuPy: no array of the host meets one of the device."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvers.backends import choose
from solvers.generated import isotropic_relu, isotropic_truncated_relu
from solvers.sgd import SGDConfig, solve
from tests.device import device
from tests.test_sgd import RELU
from workbench.errors import NumericalFailure
from workbench.initial import GaussianInitialLaw
from workbench.problem import Problem

__all__ = ["device"]  # a fixture

P = {"d": 6, "tau_plus": 1.8, "tau_minus": 0.2}
INITIAL = GaussianInitialLaw(0.8, a_std=0.3, b_std=0.2)
MODELS = {
    "plain": Problem(isotropic_truncated_relu, P, (0.3, 1.1), records=(0.01,)),
    "affine": Problem(isotropic_relu, {**P, "d": 40}, (0.3, 1.1), records=(0.01,), initial=INITIAL),
}
CONFIG = SGDConfig(epsilon=1e-3, units=30, replicas=3, held_out=100, keep_weights=True, precision="float64")


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("beta", [math.inf, 50.0])
@pytest.mark.parametrize("name", MODELS)
def test_replicas_that_advance_together_are_those_of_the_host(
    device: Any, name: str, beta: float, lam: float
) -> None:
    problem = replace(MODELS[name], beta=beta, lam=lam)
    there, here = (solve(problem, replace(CONFIG, backend=backend)) for backend in ("cupy", "numpy"))
    assert there.data.attrs["backend"] == "cuda" and there.data.sizes["replica"] == 3
    for variable in here.data.data_vars:
        # rounding of 1,100 steps
        np.testing.assert_allclose(
            there.data[variable].values, here.data[variable].values, rtol=1e-9, atol=1e-11
        )


def test_float32_is_kept(device: Any) -> None:
    config = replace(CONFIG, precision="float32", backend="cupy")
    there, here = (solve(MODELS["plain"], replace(config, backend=b)) for b in ("cupy", "c"))
    # roundings of 3e-8 in weights of size one, along 1,100 steps
    np.testing.assert_allclose(there.data["weights_full"], here.data["weights_full"], rtol=0, atol=1e-4)
    assert not np.array_equal(there.data["weights_full"], here.data["weights_full"])


def test_an_activation_without_c_is_run_by_arrays(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = MODELS["plain"].module
    monkeypatch.setattr(module, "sigma", np.vectorize(module.sigma))
    assert choose("cupy", module, np.float64).name == "cupy"
    monkeypatch.undo()


def test_checkpoints_of_all_replicas_are_resumed_together(device: Any, tmp_path: Path) -> None:
    config = replace(
        CONFIG, backend="cupy", epsilon=1e-4, checkpoint=str(tmp_path / "kept"), checkpoint_interval=0.0
    )
    expected = solve(MODELS["affine"], replace(config, checkpoint=None))

    def stop(fraction: float) -> None:
        if fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(MODELS["affine"], config, stop)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["replica-0"]
    resumed = solve(MODELS["affine"], replace(config, resume=True))
    assert resumed.data.drop_attrs().equals(expected.data.drop_attrs())


def test_a_run_that_diverges_is_found(device: Any) -> None:
    problem = Problem(RELU, P, (2000.0,))
    steps = []
    for backend in ("cupy", "numpy"):
        config = SGDConfig(epsilon=1.0, units=6, seed=1, precision="float64", backend=backend)
        with pytest.raises(NumericalFailure, match="diverged at step") as failure:
            solve(problem, config)
        steps.append(str(failure.value))
    assert steps[0] == steps[1]
