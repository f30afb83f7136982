"""Text settings ``name=value`` -> a Problem and a solver's config, with every slip named and mended."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

from workbench.errors import BadInput
from workbench.initial import GaussianInitialLaw
from workbench.problem import Problem, StepSchedule, log_spaced_times


def one_of(kind: str, name: str, known: Iterable[str]) -> str:
    """``name`` when it is known; else BadInput with the known ones and the nearest."""
    known = sorted(known)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise BadInput(f"unknown {kind} {name!r}: {hint}choose from {', '.join(known)}")


def read_number(name: str, text: str) -> float:
    """A number, ``inf`` included; never nan."""
    try:
        value = float(text)
    except ValueError:
        raise BadInput(
            f"{name} = {text!r} is not a number: write e.g. {name}=0.5 (inf is a number)"
        ) from None
    if math.isnan(value):
        raise BadInput(f"{name} = nan is not a value: give a number")
    if math.isinf(value) and "inf" not in text.lower():
        raise BadInput(f"{name} = {text} is beyond float64: write {name}=inf if that is meant")
    return value


def read_whole_number(name: str, text: str) -> int:
    """A whole number; ``1e3`` is one."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value != int(value):
        raise BadInput(f"{name} = {text!r} is not a whole number: write e.g. {name}=100")
    return int(text) if text.lstrip("+-").isdigit() else int(value)


def read_yes_or_no(name: str, text: str) -> bool:
    """true or false."""
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise BadInput(f"{name} = {text!r} is neither true nor false: write {name}=true or {name}=false")
    return values[text.lower()]


def read_numbers(name: str, text: str) -> tuple[float, ...]:
    """Numbers separated by commas."""
    return tuple(read_number(name, part) for part in text.split(","))


def read_whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    return tuple(read_whole_number(name, part) for part in text.split(","))


def read_text(name: str, text: str) -> str:
    """The text itself."""
    return text


# What every method understands, besides the parameters of the model: name -> reader.
_PROBLEM: dict[str, Callable[[str, str], Any]] = {
    "kappa": read_number,
    "a_mean": read_number,
    "a_std": read_number,
    "b_mean": read_number,
    "b_std": read_number,
    "lam": read_number,
    "beta": read_number,
    "xi_exponent": read_number,
    "t_end": read_number,
    "snapshots": read_numbers,
    "tolerance": read_number,
}
_READERS: dict[str, Callable[[str, str], Any]] = {
    "int": read_whole_number,
    "float": read_number,
    "bool": read_yes_or_no,
    "float | None": read_number,
    "str": read_text,
    "str | None": read_text,
    "tuple[int, ...]": read_whole_numbers,
    "tuple[int, ...] | int": read_whole_numbers,
    "tuple[float, ...] | None": read_numbers,
}
# The symbols of the papers, for the names that differ in code.
_ALIASES = {"N": "units", "J": "atoms", "eps": "epsilon"}
# The model of the published distribution figure, standard deviations 1 +- 0.8; a block of half the coordinates.
_DEFAULTS: Mapping[str, float] = {"d": 40, "s0": 20, "mu": 1.0, "tau_plus": 1.8, "tau_minus": 0.2}
_SNAPSHOTS = (0.01, 0.1, 1.0, 4.0, 10.0)


def split_settings(settings: Iterable[str]) -> dict[str, str]:
    """``["a=1", "b=2"]`` -> ``{"a": "1", "b": "2"}``; a name may be given once."""
    result: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise BadInput(f"setting {setting!r}: write name=value, e.g. --set d=40")
        name = _ALIASES.get(name.strip(), name.strip())
        if name in result:
            raise BadInput(f"{name} is set twice: give it once")
        result[name] = value.strip()
    return result


def setting_names(module: ModuleType | None, config: type | None) -> tuple[str, ...]:
    """What can be set: the model's parameters, those of every Problem, and the fields of the solver's config."""
    parameters = () if module is None else module.PARAMETERS
    options = () if config is None else tuple(field.name for field in fields(config))
    return (*parameters, *_PROBLEM, *options)


def read_problem(module: ModuleType, settings: Mapping[str, str], config: type) -> tuple[Problem, Any]:
    """The Problem and the config (of dataclass ``config``) that ``settings`` describe.

    Raises
    ------
    BadInput
        for an unknown name, or a value that is no number or has no meaning.
    """
    options = {field.name: field for field in fields(config)}
    for name in settings:
        one_of(f"parameter of {module.NAME}", name, setting_names(module, config))

    def value(name: str, default: Any) -> Any:
        return _PROBLEM[name](name, settings[name]) if name in settings else default

    parameters: dict[str, Any] = {
        name: read_number(name, settings[name]) if name in settings else _DEFAULTS[name]
        for name in module.PARAMETERS
    }
    if "tolerance" in settings:
        parameters["tolerance"] = value("tolerance", None)
    module_d = parameters["d"]
    parameters["d"] = int(module_d) if math.isfinite(module_d) and module_d == int(module_d) else module_d

    chosen = {
        name: _READERS[str(field.type)](name, settings[name])
        for name, field in options.items()
        if name in settings
    }
    solver_config = config(**chosen)
    end = value("t_end", None)
    if end is not None and not (math.isfinite(end) and end > 0):
        raise BadInput(f"t_end = {end}: give a finite time t_end > 0")
    if "snapshots" not in settings:
        end = end or _SNAPSHOTS[-1]
        # the usual times, from the first that a run with steps of epsilon can see
        first = getattr(solver_config, "epsilon", 0.0)
        snapshots = (*(t for t in _SNAPSHOTS if first <= t < end), end)
    elif end is None:
        snapshots = value("snapshots", None)
    else:
        raise BadInput(
            "t_end and snapshots are both set: the last snapshot ends the run, give only one of them"
        )
    problem = Problem(
        module,
        parameters,
        snapshots,
        records=log_spaced_times(min(1e-3, snapshots[0]), snapshots[-1])[:-1]
        if _increasing(snapshots) and snapshots[-1] > min(1e-3, snapshots[0])
        else (),
        initial=GaussianInitialLaw(
            **{field.name: value(field.name, field.default) for field in fields(GaussianInitialLaw)}
        ),
        lam=value("lam", 0.0),
        beta=value("beta", math.inf),
        schedule=StepSchedule(value("xi_exponent", 0.0)),
    )
    return problem, solver_config


def _increasing(values: tuple[float, ...]) -> bool:
    """Whether ``values`` are finite, positive and increasing (Problem reports it where they are not)."""
    return all(math.isfinite(v) and v > 0 for v in values) and list(values) == sorted(set(values))
