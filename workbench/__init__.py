"""The mean-field workbench: two-layer networks, their mean-field limit derived, coded and solved.

Names are loaded on first use, so that solvers can import the data types without SymPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names, for type checkers
    from workbench.activations import AbsoluteValue as AbsoluteValue
    from workbench.activations import HardTanh as HardTanh
    from workbench.activations import LeakyReLU as LeakyReLU
    from workbench.activations import PiecewiseLinear as PiecewiseLinear
    from workbench.activations import ReLU as ReLU
    from workbench.activations import nonmonotone as nonmonotone
    from workbench.activations import truncated_relu as truncated_relu
    from workbench.calculus import derivative as derivative
    from workbench.calculus import expect as expect
    from workbench.calculus import expect_hermite as expect_hermite
    from workbench.calculus import expect_pair as expect_pair
    from workbench.codegen import build as build
    from workbench.codegen import generate as generate
    from workbench.derivation import Derivation as Derivation
    from workbench.derivation import derive as derive
    from workbench.errors import BadInput as BadInput
    from workbench.errors import CertificateFailure as CertificateFailure
    from workbench.errors import NumericalFailure as NumericalFailure
    from workbench.initial import GaussianInitialLaw as GaussianInitialLaw
    from workbench.initial import InitialDensity as InitialDensity
    from workbench.kramers_moyal import derive_limit as derive_limit
    from workbench.kramers_moyal import noise_conventions as noise_conventions
    from workbench.measure import Measure as Measure
    from workbench.measure import risk as risk
    from workbench.measure import wasserstein1 as wasserstein1
    from workbench.models import Model as Model
    from workbench.models import anisotropic_gaussians as anisotropic_gaussians
    from workbench.models import isotropic_gaussians as isotropic_gaussians
    from workbench.problem import Problem as Problem
    from workbench.problem import StepSchedule as StepSchedule
    from workbench.problem import log_spaced_times as log_spaced_times
    from workbench.smooth import Activation as Activation
    from workbench.smooth import Erf as Erf
    from workbench.smooth import Gelu as Gelu
    from workbench.smooth import Logistic as Logistic
    from workbench.smooth import Polynomial as Polynomial
    from workbench.smooth import Silu as Silu
    from workbench.smooth import Sine as Sine
    from workbench.smooth import Softplus as Softplus
    from workbench.smooth import SquaredReLU as SquaredReLU
    from workbench.smooth import Tanh as Tanh
    from workbench.trajectory import Trajectory as Trajectory

__version__ = "0.1.0"

_HOME = {
    "PiecewiseLinear": "activations",
    "ReLU": "activations",
    "LeakyReLU": "activations",
    "HardTanh": "activations",
    "AbsoluteValue": "activations",
    "truncated_relu": "activations",
    "nonmonotone": "activations",
    "derivative": "calculus",
    "expect": "calculus",
    "expect_hermite": "calculus",
    "expect_pair": "calculus",
    "derive_limit": "kramers_moyal",
    "noise_conventions": "kramers_moyal",
    "Model": "models",
    "isotropic_gaussians": "models",
    "anisotropic_gaussians": "models",
    "Activation": "smooth",
    "Erf": "smooth",
    "Gelu": "smooth",
    "Logistic": "smooth",
    "Polynomial": "smooth",
    "Silu": "smooth",
    "Sine": "smooth",
    "Softplus": "smooth",
    "SquaredReLU": "smooth",
    "Tanh": "smooth",
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
    "GaussianInitialLaw": "initial",
    "InitialDensity": "initial",
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
