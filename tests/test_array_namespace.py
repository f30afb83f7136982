"""The generated modules on a stand-in for CuPy: arrays that refuse to meet NumPy arrays.

CuPy raises when a host array meets a device array, or when NumPy is handed one.  The stand-in does the
same, so a forgotten ``np.`` in the code fails here without an accelerator.
"""

from __future__ import annotations

import math
import sys
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import special

from tests.built import module_of, uncertified
from workbench import Erf, Model, ReLU, Tanh, anisotropic_gaussians, isotropic_gaussians, truncated_relu
from workbench.codegen import generate, load


def unwrap(value: Any) -> Any:
    """What a stand-in holds; a host array is refused, host scalars pass, as in CuPy."""
    if isinstance(value, DeviceArray):
        return value.held
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: a host array met a device array")
    if isinstance(value, list | tuple):
        return type(value)(unwrap(v) for v in value)
    return value


def lifted(function: Any) -> Any:
    """A NumPy function on stand-ins."""

    def call(*args: Any, **kwargs: Any) -> Any:
        arrays = [unwrap(a) for a in args]
        return wrap(function(*arrays, **{k: unwrap(v) for k, v in kwargs.items()}))

    return call


def wrap(value: Any) -> Any:
    """Results live on the device, scalars as arrays of dimension 0."""
    return DeviceArray(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


class DeviceArray:
    """An array of the stand-in."""

    __array_priority__ = 1000.0

    def __init__(self, held: Any) -> None:
        self.held = held

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use .get()")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return wrap(getattr(ufunc, method)(*(unwrap(x) for x in inputs), **kwargs))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.held.shape)

    def reshape(self, *shape: Any) -> Any:
        return wrap(self.held.reshape(*shape))

    def __getitem__(self, key: Any) -> Any:
        return wrap(self.held[unwrap(key)])


def as_device_array(value: Any, dtype: Any = None) -> DeviceArray:
    """What CuPy's asarray does: a device array stays one, anything else is copied over."""
    held = value.held if isinstance(value, DeviceArray) else value
    return DeviceArray(np.asarray(held, dtype=dtype))


def _operator(name: str) -> Any:
    def call(self: DeviceArray, *others: Any) -> Any:
        return wrap(getattr(self.held, name)(*(unwrap(x) for x in others)))

    return call


_BINARY = ("add", "sub", "mul", "truediv", "pow", "matmul", "and", "or")
for _name in (*_BINARY, *(f"r{b}" for b in _BINARY), "neg", "abs", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(DeviceArray, f"__{_name}__", _operator(f"__{_name}__"))
DeviceArray.__module__ = "cupy"


class _Namespace(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lifted(getattr(np, name))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module in the place of cupy, and one of its special functions."""
    cupy = _Namespace("cupy")
    # asarray is the one door from the host to the device, asnumpy the one back
    vars(cupy).update(asarray=as_device_array, asnumpy=lambda v: v.held)
    cupyx, scipy = ModuleType("cupyx"), ModuleType("cupyx.scipy")
    functions = ModuleType("cupyx.scipy.special")
    vars(functions).update({name: lifted(getattr(special, name)) for name in ("ndtr", "erf", "betainc")})
    vars(scipy).update(special=functions)
    vars(cupyx).update(scipy=scipy)
    for name, module in (
        ("cupy", cupy),
        ("cupyx", cupyx),
        ("cupyx.scipy", scipy),
        ("cupyx.scipy.special", functions),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return cupy


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
