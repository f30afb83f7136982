"""Checkpoints: what comes back, what is refused, and kills at any moment."""

from __future__ import annotations

import errno
import math
import os
import stat
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_lock import closed_folder, start
from workbench import checkpoint
from workbench.checkpoint import Checkpoint
from workbench.errors import BadInput

IDENTITY: dict[str, Any] = {
    "model": "m",
    "config": {"dt": 0.1, "times": [1, 2.5]},
    "versions": {"numpy": "2.5"},
}
ARRAYS: dict[str, np.ndarray] = {
    "payload": np.array([0x7FF8DEADBEEF0001, 0xFFF0000000000001, 1 << 63], np.uint64).view(np.float64),
    "float32": np.array([0.1, -0.0, np.inf], np.float32),
    "int64": np.array([[-(2**63), 2**63 - 1]]),
    "big endian": np.arange(6, dtype=">f8").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "file": np.empty((0, 3), np.complex64),
    "0-d": np.array(7, ">i2"),
    "bytes": np.array([b"a\0b", b"\n"]),
    "text": np.array(["ρ"], "<U3"),
    "greek field": np.zeros(2, [("ρ", "<f4"), ("b", ">i8", (2,))]),
    "long header": np.zeros(1, [(f"field number {i}", "<f8") for i in range(500)]),
}
STATE: dict[str, Any] = {
    "floats": [0.1, 5e-324, 1.7976931348623157e308, -0.0, math.inf, -math.inf, math.nan],
    "int": 2**127 - 1,
    "nested": {"text": "ρ\n\ud800", "none": None, "flag": True, "list": [[], {}]},
}
WRITER = """
import sys
from pathlib import Path
import numpy as np
from workbench.checkpoint import Checkpoint
point = Checkpoint(Path(sys.argv[1]), {"run": 1})
found = point.load()
i = found[1]["counter"] if found else 0
while True:
    i += 1
    point.save({"x": np.arange(100_000.0) + i, "y": np.full(i % 7, i)}, {"counter": i})
    print(i, flush=True)
"""


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoint:
    point = Checkpoint(tmp_path / "run", IDENTITY)
    point.save({"x": np.arange(3.0), "y": np.ones(1, np.float32)}, {"step": 1})
    return point


def refusal(point: Checkpoint) -> str:
    with pytest.raises(BadInput) as refused:
        point.load()
    assert str(point.path) in str(refused.value)
    return str(refused.value)


def loaded(point: Checkpoint) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    found = point.load()
    assert found is not None
    return found


def test_everything_comes_back(tmp_path: Path) -> None:
    point = Checkpoint(tmp_path / "run", IDENTITY)
    assert point.load() is None
    (tmp_path / "run.part").write_bytes(bytes(10**6))  # of a killed writer
    strided = np.arange(20.0).reshape(4, 5)[::-2, 1::2]
    point.save({**ARRAYS, "strided": strided}, STATE)
    arrays, state = loaded(Checkpoint(point.path, IDENTITY))
    assert list(arrays) == [*ARRAYS, "strided"] and np.array_equal(arrays["strided"], strided)
    for name, array in ARRAYS.items():
        found = arrays[name]
        assert found.dtype == array.dtype and found.dtype.byteorder == array.dtype.byteorder, name
        assert found.shape == array.shape and found.tobytes() == array.tobytes(), name
        assert found.flags.fnc == array.flags.fnc, name  # Fortran order alone
        assert found.flags.writeable, name
    assert repr(state) == repr(STATE)


def test_ten_megabytes_take_no_seconds(saved: Checkpoint) -> None:
    start = time.process_time()  # other work on the machine, and its disk, are not judged
    saved.save({"x": np.arange(1_250_000.0)}, {})
    assert time.process_time() - start < 0.2


@pytest.mark.parametrize("array", [np.array([{}]), np.ma.masked_invalid([np.nan])])
def test_what_would_not_come_back_is_not_saved(saved: Checkpoint, array: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Object arrays cannot|x is of MaskedArray: give"):
        saved.save({"x": array}, {})
    assert loaded(saved)[1] == {"step": 1}


def test_every_damage_is_found(saved: Checkpoint) -> None:
    content = saved.path.read_bytes()
    for i in range(len(content) + 1):
        head, tail = content[:i], content[i + 1 :]
        changed = (
            [head + bytes([content[i] ^ flip]) + tail for flip in (1, 128, 255)] if head != content else []
        )
        for spoilt in [*changed, *([head, head + tail] if changed else []), head + b"\0" + content[i:]]:
            saved.path.write_bytes(spoilt)
            said = refusal(saved)
            assert "is damaged" in said and said.endswith("remove it to start from the beginning")
            assert ("checksum" in said) == spoilt.startswith(checkpoint.KIND)
    saved.path.write_bytes(content)
    assert loaded(saved)[1] == {"step": 1}


def test_files_of_other_kinds_and_formats(saved: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(saved.path.with_name("other.npz"), x=np.arange(3))
    assert "is no checkpoint" in refusal(Checkpoint(saved.path.with_name("other.npz"), IDENTITY))
    os.mkfifo(saved.path.with_name("pipe"))  # reading would wait
    assert "no regular file: name another" in refusal(Checkpoint(saved.path.with_name("pipe"), IDENTITY))
    monkeypatch.setattr(checkpoint, "VERSION", 12)
    saved.save({}, {})
    monkeypatch.undo()
    assert "has format 12, not 1: use the version that wrote it, or remove it" in refusal(saved)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "n"}, '(model = "m" there, "n" here): ask for that run, or remove it'),
        ({"config": {"dt": 0.1, "times": [1, 2.0]}}, "(config.times.1 = 2.5 there, 2.0 here)"),
        ({"config": {"dt": 0.1, "times": {"0": 1, "1": 2.5}}}, "config.times.0 = 1 there, absent here"),
        ({"seed": []}, "(seed = absent there, [] here)"),
        ({f"f{i}": i for i in range(9)}, "; f3 = absent there, 3 here; and 5 more)"),
        ({"model": "n" * 1000}, 'there, "' + "n" * 79 + " here"),
    ],
)
def test_another_run_is_named(saved: Checkpoint, change: dict[str, Any], named: str) -> None:
    said = refusal(Checkpoint(saved.path, {**IDENTITY, **change}))
    assert "is of another run (" in said and named in said and "versions" not in said


def test_the_identity_is_what_it_was_as_json(tmp_path: Path) -> None:
    identity: dict[str, Any] = {"times": (1, 2), "bound": math.nan, "inner": {}}
    point = Checkpoint(tmp_path / "run", identity)
    identity["inner"]["late"] = 1
    point.save({}, {})
    loaded(Checkpoint(point.path, {"inner": {}, "bound": math.nan, "times": [1, 2]}))


def test_places_without_permission() -> None:
    def fill(folder: Path) -> None:
        Checkpoint(folder / "run", {}).save({}, {})
        (folder / "run").chmod(0)
        (folder / "sub").mkdir()

    with closed_folder(fill) as folder:
        run = Checkpoint(folder / "run", {})
        assert "cannot be read (Permission denied): make it readable, or remove it" in refusal(run)
        assert "is no regular file" in refusal(Checkpoint(folder / "sub", {}))
        with pytest.raises(BadInput, match=rf"{run.path} cannot be written \(Perm.*: make room, or choose"):
            run.save({}, {})
        with pytest.raises(BadInput, match=rf"{run.path} cannot be removed \(Permission denied\)"):
            run.remove()


def test_a_save_is_on_disk_before_and_after_it_is_seen(
    saved: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, replace, code, told = os.fsync, os.replace, 0, []

    def watched_fsync(handle: int) -> None:
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        told.append("folder" if folder else os.fstat(handle).st_size)
        if code and folder == (code != errno.EIO):
            raise OSError(code, os.strerror(code))
        fsync(handle)

    def watched_replace(old: Path, new: Path) -> None:
        told.append(f"after {loaded(saved)[1]['step']}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    saved.save({}, {"step": 2})
    assert told == [saved.path.stat().st_size, "after 1", "folder"]
    code = errno.EIO
    with pytest.raises(BadInput, match="Input/output error"):
        saved.save({}, {"step": 3})
    assert loaded(saved)[1] == {"step": 2} and os.listdir(saved.path.parent) == ["run"]
    code = errno.EINVAL  # a network drive
    saved.save({}, {"step": 4})
    code = errno.ENOSPC
    with pytest.raises(BadInput, match="No space left"):
        saved.save({}, {"step": 5})


def test_kills_at_any_moment(tmp_path: Path) -> None:
    point, counter = Checkpoint(tmp_path / "run", {"run": 1}), 0
    for delay in np.random.default_rng(5).uniform(0, 0.05, 20):
        with start(WRITER, point.path) as writer:
            assert writer.stdout
            reported = [writer.stdout.readline()]
            time.sleep(delay)
            writer.kill()
            reported += writer.stdout.readlines()
        arrays, state = loaded(point)
        last, counter = int(reported[-1]), state["counter"]
        assert counter in (last, last + 1)
        assert np.array_equal(arrays["x"], np.arange(100_000.0) + counter)
        assert np.array_equal(arrays["y"], np.full(counter % 7, counter))
        assert set(os.listdir(tmp_path)) <= {"run", "run.part"}
    assert counter > 20
    (tmp_path / "run.part").touch()
    point.remove()
    point.remove()
    assert os.listdir(tmp_path) == [] and point.load() is None
    Checkpoint(tmp_path / "absent" / "run", {}).remove()
