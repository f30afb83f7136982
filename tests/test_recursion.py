"""The recursion inside a block: compiled, and as a GPU would run it, against its definition."""

from __future__ import annotations

import math
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from solvers.backends import choose
from solvers.c_expressions import c_functions
from solvers.generated import isotropic_nonmonotone, isotropic_tanh, isotropic_truncated_relu
from solvers.recursion import ArrayRecursion
from solvers.recursion_c import CompiledRecursion, with_activation
from solvers.recursion_cuda import source
from solvers.sgd_schedule import Steps
from tests.device import emulated
from workbench.errors import BadInput
from workbench.measure import Array

MODULES = [isotropic_truncated_relu, isotropic_nonmonotone, isotropic_tanh]


class Emulated:
    """``CudaRecursion`` on the host."""

    name, xp = "emulated", np

    def __init__(self, module: ModuleType, real: Any) -> None:
        self._real = np.dtype(real)
        self._c = emulated(source(module, real), 8)

    def run(self, Z: Any, G: Any, y: Any, steps: Steps, a: Any, noise: Any) -> Any:
        """As ``CudaRecursion.run``."""
        errors, value = np.empty_like(y), np.empty_like(Z[:, 0])
        gain, shrink = steps.gain.astype(self._real), steps.shrink
        pointers = [
            self._c.ffi.NULL if array is None else self._c.pointer(array)
            for array in (Z, G, y, gain, shrink, a, noise, errors, value)
        ]
        replicas, count, units = Z.shape
        self._c.lib.launch(replicas, count, units, *pointers)
        return errors


def by_definition(
    module: ModuleType, Z: Array, G: Array, y: Array, steps: Steps, a: Array | None, noise: Array | None
) -> tuple[Array, Array, Array | None]:
    """Coefficients, errors and the new a, unit by unit."""
    replicas, count, units = Z.shape
    c, errors = np.zeros_like(Z), np.zeros_like(y)
    a = None if a is None else a.copy()
    for r in range(replicas):
        for k in range(count):
            z = [Z[r, k, i] + math.fsum(G[r, k, j] * c[r, j, i] for j in range(k)) for i in range(units)]
            value, slope = module.sigma(np.array(z)), module.sigma_prime(np.array(z))
            weight = np.ones(units) if a is None else a[r].copy()
            errors[r, k] = y[r, k] - math.fsum(weight * value) / units
            c[r, k] = steps.gain[k] * errors[r, k] * weight * slope
            if a is not None:
                a[r] = steps.shrink[k] * weight + steps.gain[k] * errors[r, k] * value
                a[r] += 0 if noise is None else noise[r, k]
    return c, errors, a


def case(count: int, units: int, affine: bool, noisy: bool) -> dict[str, Any]:
    rng = np.random.default_rng(count)
    x = rng.normal(size=(3, count, 5))
    return {
        "Z": rng.normal(size=(3, count, units)),
        "G": x @ x.swapaxes(1, 2),
        "y": rng.choice([-1.0, 1.0], (3, count)),
        "steps": Steps.of(rng.uniform(0.01, 0.1, count), 0.5, math.inf),
        "a": rng.normal(size=(3, units)) if affine else None,
        "noise": rng.normal(size=(3, count, units)) if noisy else None,
    }


@pytest.mark.parametrize("made", [ArrayRecursion, CompiledRecursion, Emulated], ids=lambda m: m.__name__)
@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.NAME)
@pytest.mark.parametrize(
    ("count", "units", "affine", "noisy"),
    [(1, 1, False, False), (8, 3, False, False), (9, 40, True, False), (23, 17, True, True)],
)
def test_every_way_does_what_is_defined(
    made: Any, module: ModuleType, count: int, units: int, affine: bool, noisy: bool
) -> None:
    given = case(count, units, affine, noisy)
    c, errors, a = by_definition(module, **given)
    for real, tolerance in (
        (np.float64, 1e-12),
        (np.float32, 2e-4),
    ):  # some hundred roundings, amplified by G
        own: Any = made(module) if made is ArrayRecursion else made(module, real)
        args: dict[str, Any] = {
            name: value.astype(float if name == "a" else real) if isinstance(value, np.ndarray) else value
            for name, value in given.items()
        }
        found = own.run(**args)
        np.testing.assert_allclose(found, errors, rtol=0, atol=tolerance * np.abs(errors).max())
        # a unit beside a kink may be on the other side of it in float32
        far = np.abs(args["Z"] - c) <= tolerance * np.abs(c).max()
        assert far.mean() >= (1.0 if real is np.float64 else 0.99)
        if a is not None:
            np.testing.assert_allclose(args["a"], a, rtol=0, atol=tolerance * float(np.abs(a).max()))


def test_formulas_are_evaluated_in_double_and_pieces_are_not() -> None:
    for module, single in ((isotropic_truncated_relu, True), (isotropic_tanh, False)):
        text = with_activation(
            "/* number, sigma and sigma_prime are put here */", c_functions(module), np.float32
        )
        assert text.startswith("#define REAL_FLOAT") == single and text.endswith("typedef float number;\n")


@pytest.mark.parametrize("made", [ArrayRecursion, CompiledRecursion, Emulated], ids=lambda m: m.__name__)
def test_activations_do_not_overflow_in_float32_where_they_are_flat(made: Any) -> None:
    """tanh' at 60 and 1e30 is 0, although exp(120) is beyond float32."""
    module = isotropic_tanh
    own: Any = made(module) if made is ArrayRecursion else made(module, np.float32)
    Z = np.array([[[60.0, -60.0, 1e30, 0.5]]], np.float32)
    one, y = np.ones((1, 1, 1), np.float32), np.array([[2.0]], np.float32)
    errors = own.run(Z, one, y, Steps.of(np.array([0.5]), 0.0, math.inf), None, None)
    error = 2 - (1 + math.tanh(0.5)) / 4
    np.testing.assert_allclose(errors, [[error]], rtol=1e-6)
    np.testing.assert_allclose(Z[0, 0], [0, 0, 0, error / math.cosh(0.5) ** 2], rtol=1e-6, atol=1e-30)


def test_auto_compiles_and_falls_back_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    module = isotropic_truncated_relu
    assert choose("auto", module, np.float32).name == "c"
    monkeypatch.setenv("CC", "no-such-compiler")
    assert choose("auto", module, np.float32).name == "numpy"
    with pytest.raises(BadInput, match=r"backend = 'c': no C compiler .*backend=numpy"):
        choose("c", module, np.float32)


def test_an_activation_that_c_lacks_falls_back_to_numpy() -> None:
    module = SimpleNamespace(NAME="odd", sigma=np.sinc, sigma_prime=np.sinc)
    assert choose("auto", module, np.float32).name == "numpy"  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="backend = 'c': sigma"):
        choose("c", module, np.float32)  # type: ignore[arg-type]


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(BadInput, match="backend = 'fortran': choose from auto, c, numpy, cupy"):
        choose("fortran", isotropic_truncated_relu, np.float32)


@pytest.mark.parametrize("devices", [None, 0, RuntimeError("driver version is insufficient")])
def test_cupy_without_a_gpu_is_refused(devices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def count() -> int:
        if isinstance(devices, Exception):
            raise devices
        return int(devices)

    cupy: Any = ModuleType("cupy")
    cupy.cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count))
    monkeypatch.setitem(sys.modules, "cupy", None if devices is None else cupy)
    with pytest.raises(BadInput, match=r"backend = 'cupy': .*a machine with a GPU, or use backend=auto"):
        choose("cupy", isotropic_truncated_relu, np.float32)


def test_no_thread_runs_ahead_of_a_barrier() -> None:
    """Thirty runs, one result: the emulation sees a barrier that is missing."""
    given, module = case(16, 37, False, False), isotropic_truncated_relu
    emulated = Emulated(module, np.float64)
    results = set()
    for _ in range(30):
        Z = given["Z"].copy()
        emulated.run(Z, given["G"], given["y"], given["steps"], None, None)
        results.add(Z.tobytes())
    assert len(results) == 1
