"""Presets of the figures: every parameter with its value at each scale and where the value comes from.

Provenance: ``deck`` read off the authors' slides [Mei18]; ``quoted`` commonly quoted for the paper
[MMN18], not confirmed from its text; ``open: ours`` not published, chosen here to fit what the figure shows; ``ours``
chosen here (numerical resolution, cheaper scales).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCALES = ("smoke", "desk", "paper")
CONVENTIONS = ("std", "variance")
PROVENANCES = ("deck", "quoted", "open: ours", "ours")


@dataclass(frozen=True)
class Parameter:
    """One value, or one for each scale, for each convention or for both, with its provenance."""

    value: Any
    provenance: str

    def at(self, scale: str, convention: str = CONVENTIONS[0]) -> Any:
        """The value at ``scale`` under ``convention``."""
        value = self.value
        while isinstance(value, Mapping):
            value = value[scale if scale in value else convention]
        return value

    def provenance_at(self, scale: str) -> str:
        """The provenance at ``scale``: a value that is not the published one is ours."""
        changed = any(
            self.at(scale, convention) != self.at("paper", convention) for convention in CONVENTIONS
        )
        if self.provenance.endswith("ours"):
            return self.provenance
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
    "networks": Parameter({"smoke": 5, "desk": 16, "paper": 20}, "ours"),
    "records_per_decade": Parameter({"smoke": 4, "desk": 12, "paper": 12}, "ours"),
}

# Noisy SGD against the Fokker-Planck equation, and both against the Gibbs law.  That units are isotropic and
# trained with ridge and noise is quoted for the paper; every value is open.  At this ridge the
# density is within 1e-3 of the Gibbs law (in L1) at the last snapshot, which std reaches four times later.
# SGD runs ahead of the limit by some 120 epsilon in r while the risk falls fastest.
NOISY: Mapping[str, Parameter] = {
    "model": Parameter("isotropic_truncated_relu", "open: ours"),
    "d": Parameter(40, "open: ours"),
    "delta": Parameter(0.8, "open: ours"),
    "kappa": Parameter(0.8, "open: ours"),
    "lam": Parameter(0.2, "open: ours"),
    "beta": Parameter(200.0, "open: ours"),
    "xi_exponent": Parameter(0.0, "open: ours"),
    "snapshots": Parameter({"std": (0.02, 0.3, 3.0, 25.0), "variance": (0.02, 0.1, 0.5, 6.0)}, "open: ours"),
    "units": Parameter({"smoke": 200, "desk": 800, "paper": 800}, "open: ours"),
    "epsilon": Parameter(
        {
            "smoke": {"std": 2.5e-4, "variance": 1e-4},
            "desk": {"std": 1e-4, "variance": 2.5e-5},
            "paper": {"std": 1.25e-5, "variance": 5e-6},
        },
        "open: ours",
    ),
    "particles": Parameter({"smoke": 2_000, "desk": 20_000, "paper": 100_000}, "ours"),
    "dt": Parameter({"smoke": 0.02, "desk": 0.02, "paper": 0.01}, "ours"),
    "cells": Parameter({"smoke": 400, "desk": 800, "paper": 1600}, "ours"),
}

# Risk and mean norm from two initial laws, of which one fails.  The run ends when kappa = 0.4 has reached its
# plateau; epsilon is then that of 10^7 steps, small enough for the collapsed units: SGD leaves them at r = 18 d epsilon.
FAILURE: Mapping[str, Parameter] = {
    "model": Parameter("isotropic_nonmonotone", "deck"),
    "d": Parameter(320, "deck"),
    "delta": Parameter(0.5, "deck"),
    "units": Parameter({"smoke": 200, "desk": 800, "paper": 800}, "deck"),
    "kappas": Parameter((0.1, 0.4), "deck"),
    "xi_exponent": Parameter(0.0, "open: ours"),
    "epsilon": Parameter({"smoke": 4e-6, "desk": 4e-6, "paper": 4e-7}, "open: ours"),
    "t_end": Parameter({"smoke": 0.2, "desk": 4.0, "paper": 4.0}, "open: ours"),
    "atoms": Parameter({"smoke": 100, "desk": 400, "paper": 400}, "ours"),
}

# The optimal risk against Delta.  The dimension is that of the distribution figure.  Near Delta = 0 the noise of SGD is
# large and the dynamics fast, near 1 the other way round: from "slow_from" on, steps are larger and runs longer.
LANDSCAPE: Mapping[str, Parameter] = {
    "model": Parameter("isotropic_truncated_relu", "open: ours"),
    "d": Parameter(40, "open: ours"),
    "deltas": Parameter(
        {
            "smoke": (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95),
            "desk": tuple(i / 20 for i in range(1, 20)),
            "paper": tuple(i / 40 for i in range(2, 39)),
        },
        "ours",
    ),
    "sgd_deltas": Parameter(
        {
            "smoke": (0.2, 0.5, 0.8),
            "desk": tuple(i / 10 for i in range(1, 10)),
            "paper": tuple(i / 20 for i in range(1, 20)),
        },
        "open: ours",
    ),
    "units": Parameter({"smoke": 200, "desk": 800, "paper": 800}, "quoted"),
    "kappa": Parameter(0.8, "open: ours"),
    "slow_from": Parameter({"std": 0.45, "variance": 0.75}, "open: ours"),
    "epsilon": Parameter({"smoke": 2e-4, "desk": 5e-5, "paper": 2.5e-5}, "open: ours"),
    "t_end": Parameter({"smoke": 20.0, "desk": 100.0, "paper": 150.0}, "open: ours"),
    "epsilon_slow": Parameter({"smoke": 2e-4, "desk": 2e-4, "paper": 1e-4}, "open: ours"),
    "t_end_slow": Parameter({"smoke": 20.0, "desk": 600.0, "paper": 1200.0}, "open: ours"),
}

# The norms of the weights over time.  At this Delta, under std, the units part: some collapse, some grow.
ANIMATION: Mapping[str, Parameter] = {
    "model": Parameter("isotropic_truncated_relu", "open: ours"),
    "d": Parameter(80, "deck"),
    "units": Parameter(200, "deck"),
    "delta": Parameter(0.8, "open: ours"),
    "kappa": Parameter(0.8, "open: ours"),
    "epsilon": Parameter({"smoke": 1e-4, "desk": 1e-5, "paper": 1e-6}, "open: ours"),
    "t_end": Parameter(10.0, "open: ours"),
    "frames": Parameter({"smoke": 24, "desk": 96, "paper": 96}, "ours"),
    "cells": Parameter({"smoke": 400, "desk": 1200, "paper": 2400}, "ours"),
}

# Risk and means of (a, b, r1) of affine ReLU units, two blocks.  epsilon and the initial law fit the published axes:
# quoted, epsilon = 2e-4, a = b = 1 and kappa = 0.8 start r1 below them.  The networks of the band take larger steps.
RELU: Mapping[str, Parameter] = {
    "model": Parameter("anisotropic_relu", "deck"),
    "d": Parameter(320, "deck"),
    "s0": Parameter(60, "deck"),
    "deltas": Parameter((0.2, 0.4, 0.6), "deck"),
    "units": Parameter({"smoke": 200, "desk": 800, "paper": 800}, "deck"),
    "xi_exponent": Parameter(0.25, "quoted"),
    "kappa": Parameter(2.0, "open: ours"),
    "a_mean": Parameter(1.5, "open: ours"),
    "a_std": Parameter(1.0, "open: ours"),
    "b_mean": Parameter(0.0, "open: ours"),
    "b_std": Parameter(0.5, "open: ours"),
    "epsilon": Parameter({"smoke": 2e-5, "desk": 4e-6, "paper": 1e-7}, "open: ours"),
    "t_end": Parameter(1.0, "open: ours"),
    "networks": Parameter({"smoke": 4, "desk": 10, "paper": 10}, "ours"),
    "epsilon_networks": Parameter({"smoke": 2e-5, "desk": 4e-6, "paper": 1e-6}, "ours"),
    "atoms": Parameter({"smoke": (8, 4, 3, 3), "desk": (16, 5, 3, 3), "paper": (24, 5, 3, 3)}, "ours"),
    "tolerance": Parameter(1e-4, "ours"),
}

# Deviation of SGD from DD against N, epsilon and d.  Until t_end the noise of SGD, sqrt(epsilon), is larger than the bias
# of its steps, epsilon d, over the range of epsilon taken here.
SCALING: Mapping[str, Parameter] = {
    "model": Parameter("isotropic_truncated_relu", "ours"),
    "d": Parameter(40, "ours"),
    "delta": Parameter(0.8, "ours"),
    "kappa": Parameter(0.8, "ours"),
    "t_end": Parameter(0.1, "ours"),
    "networks": Parameter({"smoke": 8, "desk": 32, "paper": 128}, "ours"),
    "sizes": Parameter(
        {
            "smoke": (50, 100, 200, 400),
            "desk": (100, 200, 400, 800, 1600),
            "paper": (100, 200, 400, 800, 1600, 3200),
        },
        "ours",
    ),
    "epsilon": Parameter(1e-6, "ours"),
    "steps": Parameter(
        {
            "smoke": (4e-6, 8e-6, 1.6e-5),
            "desk": (1e-6, 2e-6, 4e-6, 8e-6, 1.6e-5),
            "paper": (1e-6, 2e-6, 4e-6, 8e-6, 1.6e-5),
        },
        "ours",
    ),
    "reference_step": Parameter({"smoke": 1e-6, "desk": 2.5e-7, "paper": 1.25e-7}, "ours"),
    "units": Parameter(200, "ours"),
    "dimensions": Parameter(
        {"smoke": (20, 80), "desk": (20, 40, 80, 160), "paper": (20, 40, 80, 160, 320)}, "ours"
    ),
    "dimension_step": Parameter(1.6e-5, "ours"),
    "drawn_sizes": Parameter((25, 50, 100, 200, 400), "ours"),
    "draws": Parameter({"smoke": 16, "desk": 64, "paper": 256}, "ours"),
}
