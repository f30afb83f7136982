"""Random numbers of SGD: their law, and that a sample is a function of seed, replica and number alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from solvers.samples import CHUNK, Stream, chunk_of_samples, chunks, draw_samples, generator

LAW = (
    (2.0, 0.3, ((1, 1.8, 1.5), (1, 1.8, 0.0), (1, 0.5, -4.0))),
    (-1.0, 0.7, ((1, 0.2, 0.7), (1, 0.2, 0.7), (1, 3.0, 0.0))),
)


def test_samples_follow_the_law() -> None:
    n = 100_000
    x, y = draw_samples(np.random.default_rng(0), LAW, n)
    assert x.dtype == y.dtype == np.float32
    assert abs(np.mean(y == 2.0) - 0.3) < 4 * math.sqrt(0.21 / n)
    assert set(np.unique(y)) == {2.0, -1.0}
    for label, std, mean in ((2.0, [1.8, 1.8, 0.5], [1.5, 0, -4]), (-1.0, [0.2, 0.2, 3.0], [0.7, 0.7, 0])):
        part = (x[y == label].astype(float) - mean) / std
        bound = 4 / math.sqrt(len(part))
        # relative standard error sqrt(2/n) of a variance, 1/sqrt(n) of a correlation
        deviation = np.abs(part.T @ part / len(part) - np.eye(3))
        assert np.all(deviation < bound * (1 + (math.sqrt(2) - 1) * np.eye(3)))
        assert np.all(np.abs(part.mean(axis=0)) < bound)
        # 1.95/sqrt(n) is the 0.1 % quantile of the distance
        for column in part.T:
            assert stats.kstest(column, "norm").statistic < 1.95 / math.sqrt(len(part))


def test_a_chunk_is_that_of_its_number_wherever_a_run_starts_and_whoever_runs_beside() -> None:
    alone = {(r, c): chunk_of_samples(LAW, 7, r, c) for r in (3, 5) for c in range(4)}
    for first, replicas in ((0, (3, 5)), (2, (5, 3)), (1, (5,))):
        found = list(chunks(LAW, 7, replicas, first, 4, False, np.float32))
        assert len(found) == 4 - first
        for chunk, (x, y) in enumerate(found, first):
            assert x.shape == (len(replicas), CHUNK, 3) and y.shape == (len(replicas), CHUNK)
            for own_x, own_y, replica in zip(x, y, replicas, strict=True):
                np.testing.assert_array_equal(own_x, alone[replica, chunk][0])
                np.testing.assert_array_equal(own_y, alone[replica, chunk][1])
    assert list(chunks(LAW, 7, (3,), 4, 4, False, np.float32)) == []


def test_precision_and_offsets_do_not_change_the_samples() -> None:
    ((x, y),) = chunks(LAW, 7, (3,), 0, 1, False, np.float32)
    ((x64, y64),) = chunks(LAW, 7, (3,), 0, 1, True, np.float64)
    assert x64.dtype == y64.dtype == np.float64
    np.testing.assert_array_equal(x64[..., :-1], x)
    np.testing.assert_array_equal(y64, y)
    assert (x64[..., -1] == 1).all()


def test_streams_chunks_replicas_and_seeds_are_independent() -> None:
    draws = {
        (seed, replica, stream, number): generator(seed, replica, stream, number).standard_normal(2000)
        for seed in (0, 1)
        for replica in (0, 1)
        for stream in Stream
        for number in (0, 1, 2**40)
    }
    correlations = np.corrcoef(list(draws.values())) - np.eye(len(draws))
    # the largest of 1100 with standard deviation 1/sqrt(2000)
    assert np.abs(correlations).max() < 5 / math.sqrt(2000)
    again = generator(1, 1, Stream.NOISE, 1).standard_normal(2000)
    np.testing.assert_array_equal(again, draws[1, 1, Stream.NOISE, 1])


@pytest.mark.parametrize("number", [0, 1, 12345])
def test_the_numbers_of_a_seed_stay_what_they_are(number: int) -> None:
    """What a seed means, spelled out: counter and key of the generator, and how it is used."""
    key = np.random.SeedSequence(5, spawn_key=(2, 1)).generate_state(2, np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key, counter=[0, number, 0, 0]))
    label = np.where(rng.random(1024) < 0.3, 0, 1)
    g = rng.standard_normal((1024, 3), dtype=np.float32)
    x, y = chunk_of_samples(LAW, 5, 2, number)
    np.testing.assert_array_equal(y, np.array([2, -1])[label])
    std, mean = (np.array([[b[i] for b in blocks] for _, _, blocks in LAW])[label] for i in (1, 2))
    # a product and a sum in float32
    np.testing.assert_allclose(x, mean + std * g, rtol=1e-6, atol=1e-6)
