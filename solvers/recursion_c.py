"""The recursion of SGD in C, compiled for this machine from the activation; and whole blocks without noise."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from scipy.linalg import cython_blas

from solvers import c_expressions
from solvers.c_expressions import c_functions
from solvers.compiled import load
from solvers.sgd_schedule import LEAST_SCALE, Steps

FLAGS: tuple[str, ...] = ("-fopenmp-simd", *c_expressions.FLAGS)
if platform.machine() in ("x86_64", "AMD64"):
    FLAGS += ("-mprefer-vector-width=512",)  # where there are such registers; a quarter less time


class CompiledRecursion:
    """``solvers.recursion.Recursion`` in C; Untranslatable or NoCompiler where it cannot be had."""

    name = "c"
    xp: Any = np

    def __init__(self, module: ModuleType, real: Any) -> None:
        self._real = np.dtype(real)
        body = Path(__file__).with_name("recursion.c").read_text("utf-8")
        source = with_activation(body, c_functions(module), self._real)
        self._c = load(source, FLAGS, number(self._real))
        self._gemm = self._c.ffi.cast("void *", _gemm(self._real))

    def run(self, Z: Any, G: Any, y: Any, steps: Steps, a: Any, noise: Any) -> Any:
        """See the head of ``solvers.recursion``."""
        replicas, count, units = Z.shape
        errors, scratch = np.empty_like(y), np.empty((2, units), self._real)
        at, null = self._c.pointer, self._c.ffi.NULL
        gain, shrink = at(steps.gain.astype(self._real)), at(np.ascontiguousarray(steps.shrink))
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

    def train(
        self, W: Any, a: Any, scale: float, x: Any, y: Any, steps: Steps, ends: Sequence[int]
    ) -> tuple[Any, float]:
        """Blocks of steps without noise, products included, in one call that holds no lock of Python.

        The weights are ``scale`` W, W (R, N, D), and a (R, N) or None; both are overwritten.  x (R, n, D),
        y (R, n); block b takes the samples ends[b - 1] ... ends[b] - 1.  Returns e (R, n) and the new scale.
        """
        replicas, units, width = W.shape
        most = int(np.diff(ends, prepend=0).max())
        errors = np.empty(y.shape, self._real)
        scratch = np.empty(most * (most + units) + 2 * units, self._real)
        at = self._c.pointer
        gain, shrink = at(steps.gain.astype(self._real)), at(np.ascontiguousarray(steps.shrink))
        sizes = (len(ends), at(np.array(ends, np.int32)), most, units, width)
        new = scale
        for r in range(replicas):
            own_a = self._c.ffi.NULL if a is None else at(a[r])
            arrays = (at(W[r]), at(x[r]), at(y[r]), gain, shrink, own_a, at(errors[r]), at(scratch))
            new = self._c.lib.train(self._gemm, *sizes, scale, LEAST_SCALE, *arrays)
        return errors, float(new)


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
    elementary = "REAL(" not in functions.removeprefix(c_expressions.PREAMBLE)
    single = "#define REAL_FLOAT\n" if np.dtype(real) == np.float32 and elementary else ""
    return body.replace(marked, single + functions + number(real))
