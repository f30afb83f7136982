"""The back ends of SGD, by name."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from solvers.c_expressions import Untranslatable
from solvers.compiled import NoCompiler
from solvers.recursion import ArrayRecursion, Recursion
from solvers.recursion_c import CompiledRecursion
from solvers.recursion_cuda import CudaRecursion, cupy_with_a_gpu
from workbench.errors import BadInput

BACKENDS = ("auto", "c", "numpy", "cupy")


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
