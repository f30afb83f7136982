"""Trajectories: padding, look-up of the risk, and the file."""

from __future__ import annotations

import json
import math
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import Measure, Trajectory


def assemble(**changes: Any) -> Trajectory:
    """Three snapshots of different sizes, five records."""
    measures = [
        Measure(np.array([[0.5], [1.5], [2.5]]), np.array([0.2, 0.3, 0.5])),
        Measure(np.array([[7.0]]), np.array([1.0])),
        Measure(np.array([[0.0], [4.0]]), np.array([0.25, 0.75])),
    ]
    arguments: dict[str, Any] = {
        "times": [0.1, 1.0, 10.0],
        "measures": measures,
        "coordinates": ["r"],
        "record_times": [0.05, 0.1, 0.5, 1.0, 10.0],
        "record_risk": [5.0, 4.0, 3.0, 2.0, 1.0],
        "extra": {"network_risk": (("record",), [5.1, 4.1, 3.1, 2.1, 1.1])},
        "attrs": {"method": "by hand", "parameters": {"d": 40, "tau_plus": 1.8}, "seed": 3, "wall_time": 0.5},
        **changes,
    }
    return Trajectory.assemble(**arguments)


def check(trajectory: Trajectory) -> None:
    """Everything that was put in comes out."""
    assert np.array_equal(trajectory.times, [0.1, 1.0, 10.0])
    assert trajectory.complete is True
    sizes = [3, 1, 2]
    for i, (size, mean) in enumerate(zip(sizes, [1.8, 7.0, 3.0], strict=True)):
        measure = trajectory.measure(i)
        assert measure.points.shape == (size, 1)
        assert measure.weights.shape == (size,)
        assert measure.weights.sum() == pytest.approx(1, rel=1e-15, abs=0)
        assert measure.mean() == pytest.approx(mean, rel=1e-15, abs=0)
    assert np.array_equal(trajectory.risk_at([10.0, 0.05]), [1.0, 5.0])
    assert np.array_equal(trajectory.risk_at([0.5], "network_risk"), [3.1])
    assert trajectory.data.attrs["method"] == "by hand"
    assert json.loads(trajectory.data.attrs["parameters"]) == {"d": 40, "tau_plus": 1.8}
    assert list(trajectory.data.coords["coordinate"].values) == ["r"]


def test_in_memory() -> None:
    check(assemble())


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "run.nc"
    assemble().save(path)
    check(Trajectory.load(path))
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]  # no .part is left
    loaded = Trajectory.load(path)
    loaded.save(path)  # the file is not held open
    check(Trajectory.load(path))


def test_padding_carries_no_weight() -> None:
    data = assemble().data
    assert np.array_equal(data["weights"].values[1], [1, 0, 0])
    # padding repeats the last point, so extrema of the stored points are those of the measure
    assert np.array_equal(data["points"].values[1, :, 0], [7, 7, 7])


def test_an_unfinished_run(tmp_path: Path) -> None:
    path = tmp_path / "partial.nc"
    empty = assemble(
        times=[],
        measures=[],
        record_times=[],
        record_risk=[],
        extra=None,
        complete=False,
        attrs={"method": "x"},
    )
    empty.save(path)
    loaded = Trajectory.load(path)
    assert loaded.complete is False
    assert len(loaded.times) == 0


@pytest.mark.parametrize("t", [0.7, 0.0, 0.1 * (1 + 1e-6), 100.0])
def test_a_time_that_was_not_recorded(t: float) -> None:
    with pytest.raises(KeyError, match=rf"t = {t}"):
        assemble().risk_at([1.0, t])


def test_a_time_recorded_up_to_rounding() -> None:
    assert assemble().risk_at([0.1 * (1 + 1e-12)]) == [4.0]


@pytest.mark.parametrize(
    "value", [True, None, np.int64(40), np.float64(1.5), math.inf, [1, 2], {"d": np.int64(40)}]
)
def test_attributes_of_every_kind_are_stored(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "attribute.nc"
    assemble(attrs={"value": value}).save(path)
    stored = Trajectory.load(path).data.attrs["value"]
    if isinstance(stored, str):
        stored = json.loads(stored)
    assert stored == value


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """As when it is full after 1000 bytes: the file before stays, and nothing lies beside it."""
    path = tmp_path / "run.nc"
    assemble().save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            assemble().save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["run.nc"]
