"""The Trajectory of SGD: what all replicas have recorded, their means, bands and histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from solvers.sgd_run import RISKS
from solvers.sgd_schedule import Stop
from workbench.measure import Array, Measure
from workbench.problem import Problem
from workbench.trajectory import Trajectory

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)  # of quantile bands over replicas
BINS = 100  # of histograms over replicas


@dataclass(frozen=True)
class Outcome:
    """What became of some replicas.

    records as in ``Run``; recorded: how many rows are filled; steps taken; spent: seconds before the run was
    resumed; failure: why not all steps were taken.
    """

    records: Mapping[str, Array]
    recorded: int
    steps: int
    spent: float
    failure: Exception | None


def assemble(
    problem: Problem,
    config: Any,
    stops: Sequence[Stop],
    outcomes: Sequence[Outcome],
    attrs: Mapping[str, Any],
) -> Trajectory:
    """The Trajectory of what all replicas have recorded."""
    stops = stops[: min(outcome.recorded for outcome in outcomes)]
    snapshots = [stop for stop in stops if stop.is_snapshot]
    records = {
        name: np.concatenate(
            [outcome.records[name][: len(stops if name in RISKS else snapshots)] for outcome in outcomes],
            axis=1,
        )
        for name in outcomes[0].records
    }
    count = config.replicas
    points = records["points"].reshape(len(snapshots), count * config.units, len(problem.module.COORDINATES))
    extra: dict[str, tuple[tuple[str, ...], Any]] = {
        **{name: (("record",), records[name].mean(axis=1)) for name in RISKS[1:]},
        "record_step": (("record",), np.array([stop.step for stop in stops], dtype=np.int64)),
        "step": (("snapshot",), np.array([stop.step for stop in snapshots], dtype=np.int64)),
    }
    if config.keep_weights:
        W = records["weights"].reshape(len(snapshots), count * config.units, int(problem.d))
        extra["weights_full"] = (("snapshot", "unit", "dim"), W)
    if count > 1:
        extra |= _over_replicas(problem.module.COORDINATES, records)
    return Trajectory.assemble(
        times=[stop.time for stop in snapshots],
        measures=[Measure.uniform(units) for units in points],
        coordinates=problem.module.COORDINATES,
        record_times=[stop.time for stop in stops],
        record_risk=records["risk"].mean(axis=1).tolist(),
        extra=extra,
        attrs={
            "method": "sgd",
            "model": problem.module.NAME,
            "parameters": {name: float(value) for name, value in problem.parameters.items()},
            "initial": repr(problem.initial),
            "kappa": problem.gaussian_initial.kappa,
            **{name: getattr(config, name) for name in ("epsilon", "units", "seed", "replica", "replicas")},
            **{name: getattr(config, name) for name in ("block", "precision", "held_out")},
            "steps": min(outcome.steps for outcome in outcomes),
            "lam": float(problem.lam),
            "beta": float(problem.beta),
            "xi_exponent": float(problem.schedule.exponent),
            "versions": {"numpy": np.__version__},
            **attrs,
        },
        complete=all(outcome.failure is None for outcome in outcomes),
    )


def _over_replicas(
    coordinates: Sequence[str], records: Mapping[str, Array]
) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Values and quantiles of the risks over replicas, and histograms of the units with theirs."""
    extra: dict[str, tuple[tuple[str, ...], Any]] = {"level": (("level",), np.array(LEVELS))}
    for name in RISKS:
        extra[f"replica_{name}"] = (("replica", "record"), records[name].T)
        extra[f"{name}_quantile"] = (("level", "record"), np.quantile(records[name], LEVELS, axis=1))
    points = records["points"]
    snapshots, replicas = points.shape[:2]
    for axis, name in enumerate(coordinates):
        values = points[..., axis]
        edges = np.array([np.histogram_bin_edges(all_units, BINS) for all_units in values])
        density = np.zeros((snapshots, replicas, BINS))
        for i, r in np.ndindex(snapshots, replicas):
            density[i, r] = np.histogram(values[i, r], edges[i], density=True)[0]
        extra[f"histogram_{name}"] = (("snapshot", "bin"), density.mean(axis=1))
        extra[f"histogram_{name}_quantile"] = (
            ("level", "snapshot", "bin"),
            np.quantile(density, LEVELS, axis=1),
        )
        extra[f"histogram_{name}_edge"] = (("snapshot", "bin_edge"), edges.reshape(snapshots, BINS + 1))
    return extra
