"""A setting of a figure: its preset at one scale, convention and seed; and the checks that its numbers pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from paper.presets import Parameter, tau
from solvers.sgd import SGDConfig


@dataclass(frozen=True)
class Setting:
    """``setting["d"]`` is the value of the parameter d of ``preset`` at this scale and convention."""

    preset: Mapping[str, Parameter]
    scale: str
    convention: str
    seed: int = 0

    def __getitem__(self, name: str) -> Any:
        return self.preset[name].at(self.scale, self.convention)

    @property
    def module(self) -> ModuleType:
        """The generated module of the model."""
        return import_module(f"solvers.generated.{self['model']}")

    @property
    def sgd(self) -> SGDConfig:
        """SGD with the step and the number of units of the preset."""
        return SGDConfig(epsilon=self["epsilon"], units=self["units"], seed=self.seed)

    def data(self, delta: float) -> dict[str, Any]:
        """Parameters of the data law at ``delta``: d (and s0 where the preset has one), tau_plus, tau_minus."""
        tau_plus, tau_minus = tau(delta, self.convention)
        blocks = {name: self[name] for name in ("d", "s0") if name in self.preset}
        return {**blocks, "tau_plus": tau_plus, "tau_minus": tau_minus}

    def table(self) -> dict[str, Any]:
        """Every parameter with its value here and where the value comes from."""
        return {
            name: {"value": self[name], "provenance": parameter.provenance_at(self.scale)}
            for name, parameter in self.preset.items()
        }


def at_whole_steps(times: Iterable[float], epsilon: float) -> tuple[float, ...]:
    """The times after a whole number of steps that are nearest to ``times``, each once."""
    return tuple(k * epsilon for k in sorted({max(1, round(t / epsilon)) for t in times}))


@dataclass(frozen=True)
class Check:
    """What a figure has to show: ``claim``, the ``value`` measured, the interval it has to lie in, and why that one."""

    claim: str
    value: float
    at_least: float | None
    at_most: float | None
    reason: str

    @property
    def holds(self) -> bool:
        """Whether the value lies in the interval; nan lies nowhere."""
        low = self.at_least is None or self.value >= self.at_least
        high = self.at_most is None or self.value <= self.at_most
        return low and high and self.value == self.value

    def entry(self) -> dict[str, Any]:
        """As it stands in metrics.json."""
        return {
            "claim": self.claim,
            "value": self.value,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "reason": self.reason,
            "holds": self.holds,
        }
