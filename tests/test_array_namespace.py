"""The generated modules on a stand-in for CuPy, see ``tests.device``."""

from __future__ import annotations

import math
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.built import module_of, uncertified
from tests.device import DeviceArray, device
from workbench import Erf, Model, ReLU, Tanh, anisotropic_gaussians, isotropic_gaussians, truncated_relu
from workbench.codegen import generate, load

__all__ = ["device"]  # a fixture


@pytest.mark.parametrize("d", [5, 40, math.inf])
@pytest.mark.parametrize("name", ["truncated_relu", "nonmonotone", "five", "relu"])
def test_results_live_where_the_input_lives(device: Any, name: str, d: float) -> None:
    module, p = module_of(name), {"d": d, "tau_plus": 1.3, "tau_minus": 0.7, "tolerance": 1e-6}
    host = np.array([[0.0], [0.3], [1.7], [40.0]])
    x = device.asarray(host)
    for f in ("V", "grad_V", "features", "grad_features"):
        value = getattr(module, f)(x, p)
        assert isinstance(value, DeviceArray), f
        # the same NumPy functions in the same order
        assert np.array_equal(value.held, getattr(module, f)(host, p)), f
    for f in ("U", "U_exact"):
        value = getattr(module, f)(x, x, p)
        assert isinstance(value, DeviceArray), f
        assert np.array_equal(value.held, getattr(module, f)(host, host, p)), f


GENERAL: dict[str, tuple[Model, dict[str, float]]] = {
    "affine": (isotropic_gaussians(ReLU(), unit="affine"), {}),
    "shifted": (isotropic_gaussians(truncated_relu(), means="opposite"), {"mu": 1.5}),
    "blocks": (anisotropic_gaussians(ReLU(), unit="affine"), {"s0": 2}),
    "all": (anisotropic_gaussians(truncated_relu(), unit="affine", means="opposite"), {"s0": 20, "mu": 0.5}),
    "erf": (isotropic_gaussians(Erf(), unit="affine"), {}),
    "tanh": (isotropic_gaussians(Tanh()), {}),
}


# d = 4 takes the chi route, at once for one block without a mean
@pytest.mark.parametrize(("kind", "d"), [*((kind, 40) for kind in GENERAL), ("affine", 4), ("shifted", 4)])
def test_every_kind_of_model_on_the_device(device: Any, kind: str, d: int) -> None:
    model, more = GENERAL[kind]
    module = general_module(kind)
    p = {"d": d, "tau_plus": 1.3, "tau_minus": 0.7, "tolerance": 1e-2, **more}
    host = np.array([[0.5, -0.3, 0.7, 1.1, 0.4], [1.0, 0.2, -0.4, 0.0, 2.0], [-2.0, 1.0, 0.1, 3.0, 0.0]])
    host = host[:, [0, 1, 2, 3, 4] if kind == "all" else slice(5 - len(model.coordinates), None)]
    x = device.asarray(host)
    for f in ("V", "grad_V", "features", "grad_features"):
        value = getattr(module, f)(x, p)
        assert isinstance(value, DeviceArray), f
        assert np.array_equal(value.held, getattr(module, f)(host, p)), f
    for value, same in (
        (module.U(x, x, p), module.U(host, host, p)),
        (
            module.U_pair(x, x, device.asarray(np.full(module.BLOCKS, 0.3)), p),
            module.U_pair(host, host, np.full(module.BLOCKS, 0.3), p),
        ),
    ):
        assert isinstance(value, DeviceArray)
        assert np.array_equal(value.held, same)


@cache
def general_module(kind: str) -> ModuleType:
    """The module of one of ``GENERAL``."""
    return load(generate(uncertified(GENERAL[kind][0])), kind)


@pytest.mark.parametrize("name", ["truncated_relu", "nonmonotone", "five", "relu"])
def test_activation_and_pairs_on_the_device(device: Any, name: str) -> None:
    module, z = module_of(name), np.linspace(-3, 3, 21)
    s, rho = np.array([0.3, 1.0, 2.0]), np.array([0.5, -0.9, 1.0])
    for f, arguments in (("sigma", (z,)), ("sigma_prime", (z,)), ("pair_kernel", (s, s[::-1], rho))):
        value = getattr(module, f)(*(device.asarray(v) for v in arguments))
        assert isinstance(value, DeviceArray), f
        assert np.array_equal(value.held, getattr(module, f)(*arguments)), f
    for table in (module.a, module.alpha):
        for order in (0, 6):
            value = table(order, device.asarray(s))
            assert isinstance(value, DeviceArray)
            assert np.array_equal(value.held, table(order, s))
    x, x2, cosines = s[:, None], s[::-1, None], rho[:, None]
    p = {"d": 40, "tau_plus": 1.3, "tau_minus": 0.7}
    value = module.U_pair(*map(device.asarray, (x, x2, cosines)), p)
    assert isinstance(value, DeviceArray)
    assert np.array_equal(value.held, module.U_pair(x, x2, cosines, p))


def test_the_stand_in_refuses_what_cupy_refuses(device: Any) -> None:
    x = device.asarray([1.0, 2.0])
    with pytest.raises(TypeError, match="host array"):
        x * np.ones(2)
    with pytest.raises(TypeError, match="host array"):
        np.ones(2) * x
    with pytest.raises(TypeError, match="Implicit"):
        np.asarray(x)
    with pytest.raises(TypeError, match="Implicit"):
        np.stack([x, x])
    assert isinstance(np.float64(2) * x, DeviceArray)
