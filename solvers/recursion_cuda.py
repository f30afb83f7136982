"""The recursion of SGD on a GPU, by CuPy: one kernel advances all replicas."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from solvers.c_expressions import c_functions
from solvers.recursion_c import with_activation
from solvers.sgd_schedule import Steps
from workbench.errors import BadInput

THREADS = 256  # as in recursion.cu
CUDA = """#define KERNEL extern "C" __global__ void
#define SHARED __shared__
#define BARRIER __syncthreads()
"""


def source(module: ModuleType, real: Any) -> str:
    """The text of the kernel for the activation of a module."""
    body = Path(__file__).with_name("recursion.cu").read_text("utf-8")
    return CUDA + with_activation(body, c_functions(module), real)


def cupy_with_a_gpu() -> Any:
    """CuPy; BadInput where it is missing or finds no GPU."""
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() < 1:
            raise RuntimeError("no GPU")
    except Exception as error:  # without a driver CuPy raises errors of its own
        raise BadInput(
            f"backend = 'cupy': {error}; install CuPy on a machine with a GPU, or use backend=auto"
        ) from error
    return cupy


class CudaRecursion:
    """``solvers.recursion.Recursion`` on the current device of ``cupy``; Untranslatable without C for the activation."""

    name = "cuda"

    def __init__(self, module: ModuleType, real: Any, cupy: Any) -> None:
        self.xp, self._real = cupy, np.dtype(real)
        self._kernel = cupy.RawModule(code=source(module, real)).get_function("recursion")

    def run(self, Z: Any, G: Any, y: Any, steps: Steps, a: Any, noise: Any) -> Any:
        """See the head of ``solvers.recursion``."""
        xp = self.xp
        replicas, count, units = Z.shape
        assert Z.flags.c_contiguous and (a is None or a.flags.c_contiguous), "a copy would be overwritten"
        G, y = xp.ascontiguousarray(G), xp.ascontiguousarray(y)
        gain, shrink = xp.asarray(steps.gain, self._real), xp.asarray(steps.shrink, np.float64)
        errors, value = xp.empty_like(y), xp.empty((replicas, units), self._real)
        null = np.intp(0)
        self._kernel(
            (replicas,),
            (THREADS,),
            (
                np.int32(count),
                np.int32(units),
                Z,
                G,
                y,
                gain,
                shrink,
                null if a is None else a,
                null if noise is None else xp.ascontiguousarray(noise),
                errors,
                value,
            ),
        )
        return errors
