"""The recursion inside a block of SGD, on vectors of N numbers, for each way to run it.

For k = 0, 1, ..., B - 1, with row k of Z holding what z_k is without the steps of this block,

    z = Z_k + sum_{j<k} G_kj c_j,    e_k = y_k - mean(a sigma(z)),    c_k = gain_k e_k a sigma'(z),
    a <- shrink_k a + gain_k e_k sigma(z) + noise_k,

and c_k takes the place of Z_k (a = 1 for plain units).  ``run(Z, G, y, steps, a, noise)`` takes Z (R, B, N),
G (R, B, B), y (R, B), a (R, N) or None, noise (R, B, N) or None, overwrites Z and a, and returns e (R, B).
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy.linalg import cython_blas

from solvers import c_expressions
from solvers.c_expressions import Untranslatable, c_functions
from solvers.compiled import NoCompiler, load
from workbench.errors import BadInput

if TYPE_CHECKING:
    from solvers.blocked import Steps

FLAGS: tuple[str, ...] = ("-fopenmp-simd", *c_expressions.FLAGS)
if platform.machine() in ("x86_64", "AMD64"):
    FLAGS += ("-mprefer-vector-width=512",)  # where there are such registers; a quarter less time
BACKENDS = ("auto", "c", "numpy", "cupy")


class Recursion(Protocol):
    """One way to run the recursion; ``xp`` is the array module of what it takes."""

    name: str
    xp: Any

    def run(self, Z: Any, G: Any, y: Any, steps: Steps, a: Any, noise: Any) -> Any:
        """See the head of the file."""


class ArrayRecursion:
    """In the operations of NumPy, or of CuPy where the activation cannot be put into C."""

    def __init__(self, module: ModuleType, xp: Any = np) -> None:
        self.name, self.xp, self._module = "numpy" if xp is np else "cupy", xp, module

    def run(self, Z: Any, G: Any, y: Any, steps: Steps, a: Any, noise: Any) -> Any:
        """See the head of the file."""
        xp, module = self.xp, self._module
        errors = xp.empty_like(y)
        gain, shrink = steps.gain.tolist(), steps.shrink.tolist()
        for k in range(y.shape[1]):
            z = Z[:, k]
            if k > 0:
                z = z + xp.matmul(G[:, k, None, :k], Z[:, :k])[:, 0]
            wide = z.astype(float)  # formulas may overflow in float32 where the activation does not
            value, slope = (xp.asarray(f(wide), Z.dtype) for f in (module.sigma, module.sigma_prime))
            output = value if a is None else a * value
            errors[:, k] = y[:, k] - output.mean(axis=-1)
            push = gain[k] * errors[:, k, None]
            Z[:, k] = push * (slope if a is None else a * slope)
            if a is not None:
                a *= shrink[k]
                a += push * value
                if noise is not None:
                    a += noise[:, k]
        return errors


class CompiledRecursion:
    """In C, compiled for this machine from the activation of the module."""

    name = "c"
    xp: Any = np

    def __init__(self, module: ModuleType, real: Any) -> None:
        self._real = np.dtype(real)
        body = Path(__file__).with_name("recursion.c").read_text("utf-8")
        source = with_activation(body, c_functions(module), self._real)
        self._c = load(source, FLAGS, number(self._real))
        self._gemm = self._c.ffi.cast("void *", _gemm(self._real))

    def run(self, Z: Any, G: Any, y: Any, steps: Steps, a: Any, noise: Any) -> Any:
        """See the head of the file."""
        replicas, count, units = Z.shape
        errors, scratch = np.empty_like(y), np.empty((2, units), self._real)
        at, null = self._c.pointer, self._c.ffi.NULL
        gain, shrink = at(steps.gain.astype(self._real)), at(steps.shrink.astype(self._real))
        for r in range(replicas):
            own_a, own_noise = (null if array is None else at(array[r]) for array in (a, noise))
            arrays = (
                at(Z[r]),
                at(G[r]),
                at(y[r]),
                gain,
                shrink,
                own_a,
                own_noise,
                at(errors[r]),
                at(scratch),
            )
            self._c.lib.recursion(count, units, *arrays)
        return errors

    def train(self, W: Any, a: Any, x: Any, y: Any, steps: Steps, ends: Sequence[int]) -> Any:
        """Blocks of steps without noise, products included, in one call that holds no lock of Python.

        W (R, N, D) and a (R, N) or None are overwritten; x (R, n, D), y (R, n); block b takes the samples
        ends[b - 1] ... ends[b] - 1.  Returns e (R, n).
        """
        replicas, units, width = W.shape
        most = int(np.diff(ends, prepend=0).max())
        errors = np.empty(y.shape, self._real)
        scratch = np.empty(most * (most + units) + 2 * units, self._real)
        at = self._c.pointer
        gain, shrink = at(steps.gain.astype(self._real)), at(steps.shrink.astype(self._real))
        sizes = (len(ends), at(np.array(ends, np.int32)), most, units, width)
        for r in range(replicas):
            own_a = self._c.ffi.NULL if a is None else at(a[r])
            arrays = (at(W[r]), at(x[r]), at(y[r]), gain, shrink, own_a, at(errors[r]), at(scratch))
            self._c.lib.train(self._gemm, *sizes, *arrays)
        return errors


def _gemm(real: Any) -> int:
    """The address of the matrix product in the BLAS of SciPy, which hands it out for such uses."""
    capsule = cython_blas.__pyx_capi__["sgemm" if real == np.float32 else "dgemm"]
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer(capsule, name(capsule)) or 0)


def number(real: Any) -> str:
    """The type of what a recursion in C computes with."""
    return f"typedef {'float' if np.dtype(real) == np.float32 else 'double'} number;\n"


def with_activation(body: str, functions: str, real: Any) -> str:
    """The source of a recursion, with the activation in the place that is left for it.

    Formulas with exponentials and the like are evaluated in double: they overflow in float where the
    activation does not.
    """
    marked = "/* number, sigma and sigma_prime are put here */"
    assert body.count(marked) == 1
    plain = np.dtype(real) == np.float32 and functions.count("REAL(") == 2  # of its own definition
    return body.replace(marked, ("#define REAL_FLOAT\n" if plain else "") + functions + number(real))


def choose(backend: str, module: ModuleType, real: Any) -> Recursion:
    """The recursion of this name; "auto" takes C where it can be compiled, else NumPy.

    Raises
    ------
    BadInput
        for an unknown name, and where what was asked for by name cannot be had.
    """
    if backend not in BACKENDS:
        raise BadInput(f"backend = {backend!r}: choose from {', '.join(BACKENDS)}")
    if backend == "cupy":
        from solvers.recursion_cuda import CudaRecursion, cupy_with_a_gpu

        cupy = cupy_with_a_gpu()
        try:
            return CudaRecursion(module, real, cupy)
        except Untranslatable:
            return ArrayRecursion(module, cupy)
    if backend != "numpy":
        try:
            return CompiledRecursion(module, real)
        except (NoCompiler, Untranslatable) as error:
            if backend == "c":
                raise BadInput(f"backend = 'c': {error}; or use backend=numpy") from error
    return ArrayRecursion(module)
