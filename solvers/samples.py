"""Random numbers of SGD: everything drawn is a function of (seed, replica, number), however the run is organised.

Philox is a counter-based generator: chunk c of a stream is what the generator gives from counter c on, under
a key made of seed, replica and stream.  So sample k is the same for every block size, back end, number of
workers, and after a restart.
"""

from __future__ import annotations

import functools
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1024  # samples that are drawn together; part of what a seed means
Samples = tuple[NDArray[np.float32], NDArray[np.float32]]


class Stream(IntEnum):
    """Independent streams of one replica."""

    WEIGHTS = 0
    DATA = 1
    NOISE = 2
    HELD_OUT = 3


@functools.lru_cache(maxsize=4096)
def _key(seed: int, replica: int, stream: Stream) -> Any:
    return np.random.SeedSequence(seed, spawn_key=(replica, int(stream))).generate_state(2, np.uint64)


def generator(seed: int, replica: int, stream: Stream, number: int = 0) -> np.random.Generator:
    """The generator of one part of a stream."""
    # a part would have to use 2^64 numbers to reach the next one
    counter = np.array([0, number, 0, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=_key(seed, replica, stream), counter=counter))


def draw_samples(rng: np.random.Generator, law: Sequence[Any], count: int) -> Samples:
    """``count`` samples of the data law: x (count, d) and labels y (count,), float32.

    ``law`` is ``module.data_law(p)``: classes (y, P(y), blocks), x | y ~ N(mean, std^2 I_n) on each block
    (n, std, mean) of consecutive coordinates.
    """
    labels = np.array([y for y, _, _ in law], dtype=np.float32)
    cumulative = np.cumsum([probability for _, probability, _ in law])
    # searchsorted on all but the last edge: rounding of the sum can not lead beyond the last class
    drawn = np.searchsorted(cumulative[:-1], rng.random(count), side="right")
    sizes = [int(n) for n, _, _ in law[0][2]]
    x = rng.standard_normal((count, sum(sizes)), dtype=np.float32)
    start = 0
    for number, size in enumerate(sizes):
        block = x[:, start : start + size]
        std, mean = (np.array([blocks[number][i] for _, _, blocks in law], np.float32) for i in (1, 2))
        block *= std[drawn, None]
        if mean.any():
            block += mean[drawn, None]
        start += size
    return x, labels[drawn]


def chunk_of_samples(law: Sequence[Any], seed: int, replica: int, chunk: int) -> Samples:
    """Samples chunk*CHUNK ... (chunk + 1)*CHUNK - 1 of a replica."""
    return draw_samples(generator(seed, replica, Stream.DATA, chunk), law, CHUNK)


def chunks(
    law: Sequence[Any], seed: int, replicas: Sequence[int], first: int, last: int, ones: bool, real: Any
) -> Generator[tuple[Any, Any], None, None]:
    """Chunks ``first`` ... ``last`` - 1 of some replicas as ``real``: x (replicas, CHUNK, D), y (replicas, CHUNK).

    With ``ones`` a sample ends in a coordinate 1 (D = d + 1), of which the offset of a unit is the weight.
    Each chunk is drawn while the one before it is in use, in another thread.
    """

    def draw(chunk: int) -> tuple[Any, Any]:
        parts = [chunk_of_samples(law, seed, replica, chunk) for replica in replicas]
        d = parts[0][0].shape[1]
        x = np.ones((len(replicas), CHUNK, d + 1 if ones else d), real)
        for own, (drawn, _) in zip(x, parts, strict=True):
            own[:, :d] = drawn
        return x, np.array([y for _, y in parts], real)

    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(draw, first) if first < last else None
        for chunk in range(first, last):
            assert coming is not None
            now = coming.result()
            coming = ahead.submit(draw, chunk + 1) if chunk + 1 < last else None
            yield now
