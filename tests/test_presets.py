"""Presets: every parameter that a figure states is one that its runs, or its numbers, are made with."""

from __future__ import annotations

from typing import Any

import pytest

from paper.figures import FIGURES
from paper.landscape_simulate import problem_of
from paper.pipeline import Figure
from paper.presets import CONVENTIONS, PROVENANCES, SCALES, Parameter, tau
from paper.setting import Setting

# Parameters of the numbers, not of the runs: what is drawn from the optimal measure.
OF_THE_NUMBERS = {("scaling", "drawn_sizes"), ("scaling", "draws")}
STATED = [(figure, name) for figure in FIGURES for name in FIGURES[figure].preset]


def other(value: Any) -> Any:
    """Another value of the same kind, near it."""
    match value:
        case str():
            return "isotropic_relu" if value.startswith("isotropic") else "anisotropic_truncated_relu"
        case int():
            return value + 1
        case float():
            return 1.2 * value or 0.125
    return value[:-1]


def keys(figure: Figure, preset: Any) -> dict[str, str]:
    """What tells the runs of the figure apart, at desk scale."""
    jobs = figure.simulation.jobs(Setting(preset, "desk", "std"))
    return {name: job.key() for name, job in jobs.items()}


@pytest.mark.parametrize(("name", "parameter"), STATED)
def test_every_parameter_decides_some_run(name, parameter):
    figure = FIGURES[name]
    value = figure.preset[parameter].at("desk", "std")
    # four axes of atoms: all are needed
    changed = (17, 5, 3, 3) if (name, parameter) == ("relu", "atoms") else other(value)
    preset = {**figure.preset, parameter: Parameter(changed, "ours")}
    assert (keys(figure, preset) == keys(figure, figure.preset)) == ((name, parameter) in OF_THE_NUMBERS)


def test_landscape_where_the_dynamics_is_slow():
    """Larger steps and longer runs from ``slow_from`` on."""
    setting = FIGURES["landscape"].setting("desk", "std")
    jobs = FIGURES["landscape"].simulation.jobs(setting)
    for delta, end in ((0.4, "t_end"), (0.5, "t_end_slow")):
        step = "epsilon" + end.removeprefix("t_end")
        assert jobs[f"sgd_{delta}"].config.epsilon == setting[step]
        assert problem_of(setting, delta).t_end == setting[end]
    assert setting["epsilon_slow"] > setting["epsilon"] and setting["t_end_slow"] > setting["t_end"]


@pytest.mark.parametrize(("name", "parameter"), STATED)
def test_every_value_tells_where_it_comes_from(name, parameter):
    stated = FIGURES[name].preset[parameter]
    for scale in SCALES:
        provenance = stated.provenance_at(scale)
        assert provenance in PROVENANCES or provenance == f"ours ({stated.provenance} at the paper scale)"
    assert stated.provenance_at("paper") == stated.provenance


def test_classes_by_standard_deviation_or_by_variance():
    assert CONVENTIONS == ("std", "variance")
    assert tau(0.8, "std") == pytest.approx((1.8, 0.2), abs=1e-15)
    assert [deviation**2 for deviation in tau(0.8, "variance")] == pytest.approx([1.8, 0.2], abs=1e-15)
