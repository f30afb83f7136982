"""A stand-in for CuPy: arrays that refuse to meet NumPy arrays.

CuPy raises when a host array meets a device array, or when NumPy is handed one.  The stand-in does the
same, so a forgotten ``np.`` in the code fails without an accelerator.  Kernels run on the host, in OpenMP.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import special

from solvers.compiled import Library, load
from solvers.recursion_cuda import CUDA

# A kernel of threads that share memory and wait for each other at barriers.
EMULATION = """
#include <stdint.h>
static struct { int x; } blockIdx;
static _Thread_local struct { int x; } threadIdx;
#define KERNEL static void
#define SHARED static
#define BARRIER _Pragma("omp barrier")
"""
LAUNCH = """
extern int omp_get_thread_num(void);

void launch(int replicas, int steps, int units, number *Z, number *G, number *y, number *gain, double *shrink,
            double *a, number *noise, number *errors, number *value) {
    for (int r = 0; r < replicas; r++) {
        blockIdx.x = r;
#pragma omp parallel num_threads(THREADS)
        {
            threadIdx.x = omp_get_thread_num();
            recursion(steps, units, Z, G, y, gain, shrink, a, noise, errors, value);
        }
    }
}
"""


def emulated(code: str, threads: int) -> Library:
    """The kernel of the recursion, as it would be given to a GPU, on the host: ``launch(replicas, ...)``."""
    assert code.startswith(CUDA)
    number = "typedef float number;" if "typedef float number;" in code else "typedef double number;"
    return load(EMULATION + code.removeprefix(CUDA) + LAUNCH, ("-fopenmp", f"-DTHREADS={threads}"), number)


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

    @property
    def dtype(self) -> Any:
        return self.held.dtype

    @property
    def ndim(self) -> int:
        return int(self.held.ndim)

    @property
    def flags(self) -> Any:
        return self.held.flags

    def get(self) -> Any:
        """A copy on the host."""
        return self.held.copy()

    def __getitem__(self, key: Any) -> Any:
        return wrap(self.held[unwrap(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.held[unwrap(key)] = unwrap(value)

    def __float__(self) -> float:
        return float(self.held)

    def __bool__(self) -> bool:
        return bool(self.held)


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


def _in_place(name: str) -> Any:
    def call(self: DeviceArray, other: Any) -> DeviceArray:
        getattr(self.held, name)(unwrap(other))
        return self

    return call


def _method(name: str) -> Any:
    def call(self: DeviceArray, *args: Any, **kwargs: Any) -> Any:
        return wrap(getattr(self.held, name)(*args, **kwargs))

    return call


for _name in ("add", "sub", "mul"):
    setattr(DeviceArray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in ("reshape", "swapaxes", "sum", "mean", "all", "copy", "astype"):
    setattr(DeviceArray, _name, _method(_name))


class RawModule:
    """A kernel that is launched on device arrays, by ``emulated``."""

    def __init__(self, code: str) -> None:
        self._c = emulated(code, 1)  # more of them wait for each other too long here

    def get_function(self, name: str) -> Any:
        """The launch of the one kernel there is."""
        assert name == "recursion"

        def launch(grid: tuple[int], block: tuple[int], arguments: Any) -> None:
            assert block == (256,), "as many threads as recursion.cu counts on"
            steps, units, *arrays = arguments
            assert steps.dtype == units.dtype == np.int32
            pointers = []
            for array in arrays:
                if isinstance(array, DeviceArray):
                    assert array.flags.c_contiguous
                    pointers.append(self._c.pointer(array.held))
                else:
                    assert array == 0
                    pointers.append(self._c.ffi.NULL)
            self._c.lib.launch(grid[0], steps, units, *pointers)

        return launch


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
    vars(cupy).update(
        linalg=SimpleNamespace(cholesky=lifted(np.linalg.cholesky)),
        cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: 1)),
        RawModule=RawModule,
    )
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
