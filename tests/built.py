"""Modules and derivations for the tests, made once a process.

The certificates cost seconds a model, so where a test has an oracle of its own they are passed over;
``test_derivation`` runs them.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest.mock import patch

from tests.oracles import ACTIVATIONS
from workbench import Derivation, Model, feature_steps, isotropic_gaussians, kernel_steps, potential_steps
from workbench.certificates import Certificate
from workbench.codegen import generate, load
from workbench.derivation import _derived

COMMITTED = ("truncated_relu", "nonmonotone")


def _passed_over(claim: str, oracle_name: str, *_: Any, **__: Any) -> Certificate:
    return Certificate(claim, oracle_name, 0.0, 1.0, 0)


def uncertified(model: Model) -> Derivation:
    """The derivation of ``model`` without the cost of its numerical certificates."""
    with (
        patch.object(potential_steps, "certify", _passed_over),
        patch.object(kernel_steps, "certify", _passed_over),
        patch.object(feature_steps, "certify", _passed_over),
    ):
        return _derived(model)  # past the cache, which keeps certified derivations


@cache
def derivation_of(name: str) -> Derivation:
    """The derivation for one of ``ACTIVATIONS``, uncertified."""
    return uncertified(isotropic_gaussians(ACTIVATIONS[name][0]))


def text_of(name: str) -> str:
    """The text that the script of the model would write."""
    return generate(derivation_of(name), f"derivations/isotropic_{name}.py")


@cache
def module_of(name: str) -> ModuleType:
    """The committed module where there is one, a freshly generated one otherwise."""
    if name in COMMITTED:
        return import_module(f"solvers.generated.isotropic_{name}")
    return load(text_of(name), f"isotropic_{name}")
