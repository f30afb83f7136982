"""Ensembles of networks: the jobs that train them, and the band of DD at finite N that they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paper.jobs import Job
from paper.setting import Check
from solvers.sgd import SGDConfig
from workbench.measure import Array
from workbench.problem import Problem
from workbench.trajectory import Trajectory

AT_ONCE = 4  # networks of one job: small enough to share the ensemble out evenly
SHARE = 0.95  # of the records, at which a network has to be inside


def jobs(name: str, problem: Problem, config: SGDConfig, count: int) -> dict[str, Job]:
    """Jobs NAME_1, NAME_5, ... that train ``count`` networks, replicas 1 to ``count``, as ``config`` trains its own.

    Of their risks only the orbit-averaged one is recorded.
    """
    config = replace(config, held_out=0, network_risk=False)
    firsts = range(config.replica + 1, config.replica + 1 + count, AT_ONCE)
    end = config.replica + 1 + count
    return {
        f"{name}_{first}": Job(
            "sgd", problem, replace(config, replica=first, replicas=min(AT_ONCE, end - first))
        )
        for first in firsts
    }


def gathered(name: str, runs: Mapping[str, Trajectory]) -> Array:
    """The recorded orbit-averaged risk of every network of the jobs NAME_..., shape (networks, records)."""
    parts = []
    for key, run in runs.items():
        if key.startswith(f"{name}_") and key.removeprefix(f"{name}_").isdigit():
            several = run.data.get("replica_risk")
            parts.append(run.data["risk"].values[None] if several is None else several.values)
    return np.concatenate(parts)


@dataclass(frozen=True)
class Band:
    """Where the records of a network of N units should lie if DD is their law: limit +- multiple spread.

    limit, spread: (records,), DD and the standard deviation over networks; multiple: see ``band``.
    """

    limit: Array
    spread: Array
    multiple: float

    @property
    def lower(self) -> Array:
        """The lower end, (records,)."""
        return self.limit - self.multiple * self.spread

    @property
    def upper(self) -> Array:
        """The upper end, (records,)."""
        return self.limit + self.multiple * self.spread

    def inside(self, values: Array) -> NDArray[np.bool_]:
        """Which of the records of one network lie in the band, (records,)."""
        return (values >= self.lower) & (values <= self.upper)


def band(limit: Array, networks: Array) -> Band:
    """The band around DD, ``limit`` (records,), that ``networks`` (networks, records) give.

    The spread comes from the networks, the centre from DD: a bias of SGD leaves the band.  The multiple is the least
    with which every network would be in such a band around the mean of the others at 95 % of the records.  One more
    network of mean DD is outside with probability 0.03 to 0.05 for 4 to 20 networks; one that is two spreads off at all
    records, 0.34 (4 networks) to 0.6 (10 and more): 2000 simulations, 49 records of correlation 0.9 with the one before.
    """
    count = len(networks)
    needed = []
    for m in range(count):
        others = np.delete(networks, m, axis=0)
        away = np.abs(networks[m] - others.mean(axis=0)) / others.std(axis=0, ddof=1)
        # the least multiple with which at least that share of the records is inside
        needed.append(np.quantile(away, SHARE, method="higher"))
    return Band(limit, networks.std(axis=0, ddof=1), float(max(needed)))


def inside_check(what: str, share: float, count: int, note: str = "") -> Check:
    """The check that SGD is inside the band at 95 % of the records; ``note`` ends its reason."""
    return Check(
        f"SGD lies inside the finite-N band of DD ({what})",
        share,
        SHARE,
        None,
        f"the band is as wide as makes each of {count} independent networks lie in it, around the mean of the others, "
        f"at {SHARE:.0%} of the records{note}",
    )
