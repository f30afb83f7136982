"""A Trajectory: what every solver returns, and its file on disk (netCDF through xarray)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from workbench.files import replace_file
from workbench.measure import Array, Measure


@dataclass(frozen=True)
class Trajectory:
    """Snapshots of a measure and a record of its risk, in one ``xarray.Dataset``.

    Variables of ``data``
    ---------------------
    time (snapshot), points (snapshot, point, coordinate), weights (snapshot, point)
        the measure at each snapshot; padding points carry weight 0.
    record_time (record), risk (record)
        the risk R(rho_t) of the reduced measure; every snapshot time is also a record time.
    further variables
        what one solver alone knows, e.g. ``network_risk (record)`` of SGD.
    attrs
        method, model, parameters, seed, versions, wall_time, complete (1, or 0 after a failure).
    """

    data: xr.Dataset

    @classmethod
    def assemble(
        cls,
        *,
        times: Sequence[float],
        measures: Sequence[Measure],
        coordinates: Sequence[str],
        record_times: Sequence[float],
        record_risk: Sequence[float],
        extra: Mapping[str, tuple[tuple[str, ...], Any]] | None = None,
        attrs: Mapping[str, Any],
        complete: bool = True,
    ) -> Trajectory:
        """Build a Trajectory from lists; measures of different sizes are padded with weight 0."""
        size = max((len(m.weights) for m in measures), default=0)
        points = np.zeros((len(measures), size, len(coordinates)))
        weights = np.zeros((len(measures), size))
        for i, m in enumerate(measures):
            points[i, : len(m.weights)] = m.points
            points[i, len(m.weights) :] = m.points[-1:]
            weights[i, : len(m.weights)] = m.weights
        variables: dict[str, Any] = {
            "time": (("snapshot",), np.asarray(times, dtype=float)),
            "points": (("snapshot", "point", "coordinate"), points),
            "weights": (("snapshot", "point"), weights),
            "record_time": (("record",), np.asarray(record_times, dtype=float)),
            "risk": (("record",), np.asarray(record_risk, dtype=float)),
            **(extra or {}),
        }
        data = xr.Dataset(
            variables,
            coords={"coordinate": list(coordinates)},
            attrs={**{name: _storable(value) for name, value in attrs.items()}, "complete": int(complete)},
        )
        return cls(data)

    @property
    def times(self) -> Array:
        """Snapshot times, shape (snapshots,)."""
        return np.asarray(self.data["time"].values)

    @property
    def complete(self) -> bool:
        """False when the run stopped before its last snapshot."""
        return bool(self.data.attrs["complete"])

    def measure(self, snapshot: int) -> Measure:
        """The measure at one snapshot, padding removed."""
        weights = np.asarray(self.data["weights"].values[snapshot])
        held = weights > 0
        return Measure(np.asarray(self.data["points"].values[snapshot])[held], weights[held])

    def risk_at(self, times: Sequence[float] | Array, variable: str = "risk") -> Array:
        """The recorded risk at ``times``, each of which must have been recorded (to 1e-9 relative)."""
        recorded = np.asarray(self.data["record_time"].values)
        with np.errstate(invalid="ignore"):  # inf is a time, too: that of a stationary state
            gaps = [np.where(recorded == t, 0.0, np.abs(recorded - t)) for t in times]
        index = [int(np.nanargmin(gap)) for gap in gaps]
        for i, t, gap in zip(index, times, gaps, strict=True):
            if not gap[i] <= 1e-9 * min(t, sys.float_info.max):
                raise KeyError(f"no risk was recorded at t = {t}; the nearest record is t = {recorded[i]}")
        return np.asarray(self.data[variable].values)[index]

    def save(self, path: Path) -> None:
        """Write to ``path`` atomically: a reader never sees half a file; OSError where that fails."""
        # by way of memory: HDF5 crashes on a full disk
        replace_file(path, self.data.to_netcdf(engine="h5netcdf"))

    @classmethod
    def load(cls, path: Path) -> Trajectory:
        """Read a file written by ``save``."""
        with xr.open_dataset(path, engine="h5netcdf") as file:
            return cls(file.load())


def _storable(value: Any) -> Any:
    """An attribute that netCDF holds: text or a number as it is, anything else as JSON text."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int | float):
        return value
    return json.dumps(value, default=lambda array: np.asarray(array).tolist())
