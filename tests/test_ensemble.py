"""The band of DD at finite N that an ensemble of networks gives."""

import math

import numpy as np
import pytest

from paper import ensemble
from paper.distribution_simulate import problem_of
from paper.figures import FIGURES
from solvers.sgd import SGDConfig
from workbench.measure import Measure
from workbench.trajectory import Trajectory


def risks(rng, networks, records=49, correlation=0.9):
    """Risks around 0 of spread 1, each correlated with the one before, (networks, records)."""
    noise = rng.standard_normal((networks, records))
    found = noise.copy()
    for i in range(1, records):
        found[:, i] = correlation * found[:, i - 1] + math.sqrt(1 - correlation**2) * noise[:, i]
    return found


def test_each_network_is_in_the_band_around_the_mean_of_the_others():
    """And with a smaller multiple one of them is not: the definition, written out."""
    networks, limit = risks(np.random.default_rng(0), 7), np.linspace(2, 1, 49)
    band = ensemble.band(limit, limit + networks)

    def all_inside(multiple):
        for m in range(7):
            others = np.array([networks[k] for k in range(7) if k != m])
            centre, spread = others.mean(axis=0), others.std(axis=0, ddof=1)
            if np.mean(np.abs(networks[m] - centre) <= multiple * spread) < ensemble.SHARE:
                return False
        return True

    assert all_inside(band.multiple * (1 + 1e-9)) and not all_inside(band.multiple * (1 - 1e-9))
    np.testing.assert_allclose(band.spread, networks.std(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose((band.lower + band.upper) / 2, limit, rtol=1e-12)
    np.testing.assert_allclose(band.upper - band.lower, 2 * band.multiple * band.spread, rtol=1e-12)


@pytest.mark.parametrize("count", [4, 10, 16])
def test_who_is_in_the_band(count):
    """One more network of mean DD nearly always; one that is two or four spreads off more and more rarely."""
    rng, limit = np.random.default_rng(count), np.zeros(49)
    outside = []
    for _ in range(400):
        band, one = ensemble.band(limit, risks(rng, count)), risks(rng, 1)[0]
        outside.append([band.inside(one + bias).mean() < ensemble.SHARE for bias in (0.0, 2.0, 4.0)])
    alike, biased, far = np.mean(outside, axis=0)
    # shares of 400: +- 0.025; of 2000, for 4 to 20 networks: 0.03 to 0.05, 0.34 to 0.63, 0.77 to 0.99
    assert 0.0 < alike < 0.1
    assert 0.2 < biased < 0.75 and far > biased + 0.15


def test_networks_are_those_of_the_seed_shared_out_evenly():
    problem = problem_of(FIGURES["distribution"].setting("smoke", "std"))
    jobs = ensemble.jobs("band", problem, SGDConfig(epsilon=1e-4, units=5, seed=3), 10)
    assert list(jobs) == ["band_1", "band_5", "band_9"]
    replicas = [n for job in jobs.values() for n in job.config.numbers]
    assert replicas == list(range(1, 11))  # replica 0 is the network that is compared
    assert {job.config.seed for job in jobs.values()} == {3}


def test_networks_are_gathered_from_jobs_of_one_and_of_several():
    def run(values):
        several = {} if values.shape[0] == 1 else {"replica_risk": (("replica", "record"), values)}
        return Trajectory.assemble(
            times=[1.0],
            measures=[Measure(np.array([[1.0]]), np.array([1.0]))],
            coordinates=["r"],
            record_times=[0.5, 1.0],
            record_risk=values.mean(axis=0).tolist(),
            extra=several,
            attrs={},
        )

    first, last = np.arange(6.0).reshape(3, 2), np.array([[7.0, 8.0]])
    runs = {"band_1": run(first), "band_4": run(last), "band_a": run(last), "other_1": run(last)}
    np.testing.assert_array_equal(ensemble.gathered("band", runs), np.concatenate([first, last]))
