"""Presets of the figures: every parameter with its value at each scale and where the value comes from.

Provenance: ``deck`` read off the authors' slides [Mei18]; ``quoted`` commonly quoted for the paper
[MMN18], not confirmed from its text; ``ours`` chosen here (numerical resolution, cheaper scales).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCALES = ("smoke", "desk", "paper")
CONVENTIONS = ("std", "variance")


@dataclass(frozen=True)
class Parameter:
    """One value, or one for each scale, with its provenance."""

    value: Any
    provenance: str

    def at(self, scale: str) -> Any:
        """The value at ``scale``."""
        return self.value[scale] if isinstance(self.value, Mapping) else self.value

    def provenance_at(self, scale: str) -> str:
        """The provenance at ``scale``: a value that is not the published one is ours."""
        changed = isinstance(self.value, Mapping) and self.value[scale] != self.value["paper"]
        return f"ours ({self.provenance} at the paper scale)" if changed else self.provenance


def tau(delta: float, convention: str) -> tuple[float, float]:
    """(tau_plus, tau_minus): 1 +- delta as standard deviations, or as variances  [MMM19], [Mei18]."""
    if convention == "std":
        return 1 + delta, 1 - delta
    return math.sqrt(1 + delta), math.sqrt(1 - delta)


# Radial histogram of SGD against the distributional dynamics.
DISTRIBUTION: Mapping[str, Parameter] = {
    "model": Parameter("isotropic_truncated_relu", "deck"),
    "d": Parameter(40, "deck"),
    "delta": Parameter(0.8, "deck"),
    "units": Parameter(800, "deck"),
    "kappa": Parameter(0.8, "quoted"),
    "epsilon": Parameter({"smoke": 1e-4, "desk": 1e-5, "paper": 1e-6}, "quoted"),
    "xi_exponent": Parameter(0.0, "quoted"),
    "snapshots": Parameter((1e-3, 4.0, 10.0), "quoted"),
    "atoms": Parameter(400, "ours"),
    "cells": Parameter({"smoke": 400, "desk": 1200, "paper": 2400}, "ours"),
}
