"""A Problem: one generated module and the numbers that turn it into something to solve.

The same Problem goes to every solver.  All quantities are dimensionless; conventions follow
[MMN18] with the noise convention in which the Gibbs law is exp(-beta Psi_lam)/Z.
"""

from __future__ import annotations

import linecache
import math
import numbers
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.checks import real_number
from workbench.errors import BadInput
from workbench.initial import GaussianInitialLaw, InitialLaw, is_radial

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StepSchedule:
    """The schedule xi(t) = t^(-exponent) of the step s_k = epsilon xi(k epsilon), and its clock.

    xi multiplies the whole right-hand side of the distributional dynamics, so the change of clock
    tau(t) = int_0^t xi = t^(1 - exponent)/(1 - exponent) removes it exactly.
    """

    exponent: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= real_number("xi_exponent", self.exponent) < 1:
            raise BadInput(
                f"xi_exponent = {self.exponent}: xi(t) = t^(-xi_exponent) is integrable at 0 only for 0 <= xi_exponent < 1"
            )

    def xi(self, t: Array) -> Array:
        """xi(t), same shape as ``t``; t > 0 unless the exponent is 0."""
        return np.asarray(t, dtype=float) ** (-self.exponent)

    def clock(self, t: Array) -> Array:
        """tau(t) = int_0^t xi(s) ds, same shape as ``t``."""
        return np.asarray(t, dtype=float) ** (1 - self.exponent) / (1 - self.exponent)

    def time(self, tau: float) -> float:
        """The time t at which the clock shows ``tau``, the inverse of ``clock``."""
        return float(((1 - self.exponent) * tau) ** (1 / (1 - self.exponent)))


def log_spaced_times(first: float, last: float, per_decade: int = 8) -> tuple[float, ...]:
    """Times from ``first`` to ``last``, evenly spaced in log t, both ends included."""
    if not 0 < first < last < math.inf:
        raise BadInput(f"log-spaced times from {first} to {last}: give finite times 0 < first < last")
    decades = math.log10(last) - math.log10(first)
    count = max(2, math.ceil(per_decade * decades) + 1)
    return tuple(float(t) for t in np.geomspace(first, last, count))


@dataclass(frozen=True)
class Problem:
    """A reduced mean-field problem, ready for any solver.

    Parameters
    ----------
    module
        a generated module (``solvers.generated.NAME``) or what ``workbench.build`` returns.
    parameters
        the numbers p of the module, e.g. ``{"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}``;
        ``d`` may be ``math.inf``.
    snapshots
        increasing times t > 0 at which the measure is stored; the last one ends the run.
    records
        further times at which only the risk is stored (the snapshots are always among them).
    initial
        the law of a unit at t = 0.
    lam, beta
        ridge lam >= 0 and inverse temperature 0 < beta <= inf (inf: no noise).
    schedule
        the step schedule xi(t).
    radial_entropy
        whether the norm of n weights carries the entropy of its orbit, the drift (n - 1)/r of noise in
        R^n; without it a norm diffuses like a coordinate on a half-line (a model problem, not SGD).

    Raises
    ------
    BadInput
        naming the offending value and the mend.
    """

    module: ModuleType
    parameters: Mapping[str, Any]
    snapshots: tuple[float, ...]
    records: tuple[float, ...] = ()
    initial: InitialLaw = field(default_factory=GaussianInitialLaw)
    lam: float = 0.0
    beta: float = math.inf
    schedule: StepSchedule = field(default_factory=StepSchedule)
    radial_entropy: bool = True

    def __post_init__(self) -> None:
        try:
            self.module.check_parameters(self.parameters)
            self.module.weights(self.parameters)  # raises where a requested tolerance is out of reach
        except ValueError as error:
            raise BadInput(str(error)) from error
        for name, times in (("snapshots", self.snapshots), ("records", self.records)):
            if not isinstance(times, tuple | list):
                raise BadInput(f"{name} = {times!r}: give a tuple of times, e.g. (1.0, 10.0)")
            for t in times:
                if isinstance(t, bool) or not isinstance(t, numbers.Real):
                    raise BadInput(f"{name} = {tuple(times)!r}: {t!r} is not a time")
            if any(not math.isfinite(t) or t <= 0 for t in times) or any(a >= b for a, b in pairwise(times)):
                raise BadInput(f"{name} = {tuple(times)}: give finite, increasing times t > 0")
        if not self.snapshots:
            raise BadInput("snapshots = (): give at least one time at which to store the measure")
        if self.records and self.records[-1] > self.snapshots[-1]:
            raise BadInput(
                f"records reach t = {self.records[-1]} beyond the last snapshot t = {self.snapshots[-1]}: drop the later ones"
            )
        if not (math.isfinite(real_number("lam", self.lam)) and self.lam >= 0):
            raise BadInput(f"lam = {self.lam}: the ridge must be finite and lam >= 0")
        if not real_number("beta", self.beta) > 0:
            raise BadInput(f"beta = {self.beta}: the inverse temperature must be beta > 0 (inf for no noise)")
        if not isinstance(self.initial, InitialLaw):
            raise BadInput(
                f"initial = {self.initial!r}: give a GaussianInitialLaw or an InitialDensity of the units at t = 0"
            )
        if not isinstance(self.radial_entropy, bool):
            raise BadInput(f"radial_entropy = {self.radial_entropy!r}: give True or False")
        if math.isfinite(self.beta) and any(math.isinf(n) for n in self.orbit_dimensions()):
            raise BadInput(
                "d = inf with finite beta: the entropy term (d - 1)/beta log r diverges; "
                "give a finite d, beta=inf or radial_entropy=False"
            )

    @property
    def d(self) -> float:
        """Dimension of the data, possibly ``math.inf``."""
        return self.parameters["d"]

    @property
    def t_end(self) -> float:
        """Time at which the run ends."""
        return self.snapshots[-1]

    @property
    def gaussian_initial(self) -> GaussianInitialLaw:
        """The initial law of solvers that draw units or quantiles; BadInput for one that has neither."""
        if not isinstance(self.initial, GaussianInitialLaw):
            raise BadInput(
                f"initial = {self.initial!r}: units are drawn from a GaussianInitialLaw only; "
                "give one, or use the method fokker-planck"
            )
        return self.initial

    def __getstate__(self) -> dict[str, Any]:
        """For another process: the module by its name, or by its text where it was never a file."""
        state, module = dict(self.__dict__), self.module
        if sys.modules.get(module.__name__) is module:
            state["module"] = (module.__name__, None)
        else:
            text = "".join(linecache.getlines(str(getattr(module, "__file__", ""))))
            if not text:
                raise BadInput(
                    f"the module of {module.__name__} has no text: write it to a file to send it to other processes"
                )
            state["module"] = (module.__name__, text)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        name, text = state["module"]
        module = import_module(name) if text is None else import_module("workbench.codegen").load(text, name)
        self.__dict__.update(state, module=module)

    def weight_dimensions(self) -> tuple[float, ...]:
        """For every coordinate the number of weights behind it: n for the norm of a block of n, else 1."""
        module, p = self.module, self.parameters
        radii = sum(map(is_radial, module.COORDINATES))
        if hasattr(module, "dimensions"):
            norms = iter(module.dimensions(p))
        else:  # written by hand: one block, or the two of an anisotropic class
            norms = iter((self.d,) if radii == 1 else (p["s0"], self.d - p["s0"]))
        return tuple(float(next(norms)) if is_radial(c) else 1.0 for c in module.COORDINATES)

    def orbit_dimensions(self) -> tuple[float, ...]:
        """For every coordinate the n of its radial entropy (n - 1)/beta log r; 1 where there is none."""
        sizes = self.weight_dimensions()
        return sizes if self.radial_entropy else (1.0,) * len(sizes)

    def all_times(self) -> tuple[float, ...]:
        """Every time at which the risk is recorded: records and snapshots, merged and sorted."""
        return tuple(sorted({*self.records, *self.snapshots}))
