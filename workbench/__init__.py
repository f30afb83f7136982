"""The mean-field workbench: two-layer networks, their mean-field limit derived, coded and solved.

Names are loaded on first use, so that solvers can import the data types without SymPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names, for type checkers
    from workbench.activations import PiecewiseLinear as PiecewiseLinear
    from workbench.activations import ReLU as ReLU
    from workbench.activations import nonmonotone as nonmonotone
    from workbench.activations import truncated_relu as truncated_relu
    from workbench.codegen import build as build
    from workbench.codegen import generate as generate
    from workbench.derivation import Derivation as Derivation
    from workbench.derivation import derive as derive
    from workbench.errors import BadInput as BadInput
    from workbench.errors import CertificateFailure as CertificateFailure
    from workbench.errors import NumericalFailure as NumericalFailure
    from workbench.measure import Measure as Measure
    from workbench.measure import risk as risk
    from workbench.measure import wasserstein1 as wasserstein1
    from workbench.models import Model as Model
    from workbench.models import isotropic_gaussians as isotropic_gaussians
    from workbench.problem import GaussianInitialLaw as GaussianInitialLaw
    from workbench.problem import Problem as Problem
    from workbench.problem import StepSchedule as StepSchedule
    from workbench.problem import log_spaced_times as log_spaced_times
    from workbench.trajectory import Trajectory as Trajectory

__version__ = "0.1.0"

_HOME = {
    "PiecewiseLinear": "activations",
    "ReLU": "activations",
    "truncated_relu": "activations",
    "nonmonotone": "activations",
    "Model": "models",
    "isotropic_gaussians": "models",
    "Derivation": "derivation",
    "derive": "derivation",
    "generate": "codegen",
    "build": "codegen",
    "BadInput": "errors",
    "CertificateFailure": "errors",
    "NumericalFailure": "errors",
    "Measure": "measure",
    "risk": "measure",
    "wasserstein1": "measure",
    "GaussianInitialLaw": "problem",
    "Problem": "problem",
    "StepSchedule": "problem",
    "log_spaced_times": "problem",
    "Trajectory": "trajectory",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"workbench.{_HOME[name]}"), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
