"""Locks: one writer at a time among processes and threads, and what a killed one leaves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from workbench.errors import BadInput
from workbench.lock import exclusive

fcntl = pytest.importorskip("fcntl", reason="there are no such locks here")

ROOT = Path(__file__).parents[1]
START = "import os, sys, time\nfrom pathlib import Path\nfrom workbench.lock import exclusive\nout = Path(sys.argv[1])\n"
HOLD = START + "with exclusive(out):\n    print('locked', flush=True)\n    sys.stdin.read()\n"
COUNT = """
from workbench.errors import BadInput
for _ in range(25):
    while True:
        try:
            with exclusive(out):
                count = int(out.read_text())
                time.sleep(0.0005)  # a second writer would read the same number
                out.write_text(str(count + 1))
                break
        except BadInput as refused:
            assert "is being written by " in str(refused), refused
            time.sleep(0.0005)
"""
FORK = """
with exclusive(out):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print(sorted(os.listdir(out.parent)))
"""


def start(script: str, out: Path) -> subprocess.Popen[str]:
    """A process that runs ``script`` on ``out``."""
    words = [sys.executable, "-c", script, str(out)]
    return subprocess.Popen(words, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextmanager
def closed_folder(fill: Callable[[Path], None] = lambda folder: None) -> Iterator[Path]:
    """A folder that may not be written to; within, root, to whom nothing is closed, is somebody else."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        os.chmod(folder, 0o555)
        try:
            if user == 0:
                os.seteuid(65534)
            yield Path(folder)
        finally:
            os.seteuid(user)
            os.chmod(folder, 0o755)


def refusal(out: Path) -> str:
    with pytest.raises(BadInput) as refused, exclusive(out):
        pass
    assert str(out) in str(refused.value)
    return str(refused.value)


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    before = os.dup(0)
    os.close(before)
    yield tmp_path / "run.nc"
    after = os.dup(0)
    os.close(after)
    assert after == before  # the lowest number that is free: no handle was left open


def files(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


@pytest.mark.parametrize("kill", [False, True])
def test_a_second_process_is_refused_until_the_first_has_ended(out: Path, kill: bool) -> None:
    with start(HOLD, out) as holder:
        assert holder.stdin and holder.stdout and holder.stdout.readline() == "locked\n"
        said = refusal(out)
        assert f"{out} is being written by process {holder.pid} on " in said
        assert said.endswith(": wait until it is done, or choose another output")
        with exclusive(out.with_name("other.nc")):
            assert files(out) == ["other.nc.lock", "run.nc.lock"]
        if kill:
            with out.with_name("run.nc.lock").open("a") as lock:
                lock.write("a name longer than that of the next holder")
            holder.kill()
        else:
            holder.stdin.close()
        assert holder.wait() == (-9 if kill else 0)
    assert files(out) == (["run.nc.lock"] if kill else [])
    with exclusive(out):
        text = out.with_name("run.nc.lock").read_text()
        assert re.fullmatch(rf"process {os.getpid()} on .+\n", text)  # nothing of the killed one is left
    assert files(out) == []


def test_the_same_process_is_refused_too_and_its_lock_stays(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out.parent)
    with pytest.raises(RuntimeError, match="of the run"), exclusive(Path(out.name)):
        with ThreadPoolExecutor(1) as pool:
            assert f"process {os.getpid()} on" in pool.submit(refusal, out).result()
        assert f"process {os.getpid()} on" in refusal(out)  # a refusal releases nothing
        assert files(out) == ["run.nc.lock"]
        monkeypatch.chdir("/")
        raise RuntimeError("of the run")
    assert files(out) == []  # also after an error, and in another folder


def test_eight_processes_count_exactly(out: Path) -> None:
    out.write_text("0")
    writers = [start(START + COUNT, out) for _ in range(8)]
    assert [writer.communicate(timeout=60)[0] for writer in writers] == [""] * 8
    assert [writer.returncode for writer in writers] == [0] * 8
    assert out.read_text() == "200" and files(out) == ["run.nc"]


def test_a_file_removed_between_opening_and_locking_is_no_lock(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, lock, seen = fcntl.flock, out.with_name("run.nc.lock"), []

    def late(handle: int, how: int) -> None:
        seen.append(os.fstat(handle).st_ino)
        if len(seen) == 1:  # its holder ends; somebody else is quicker to lock the file that is gone
            lock.unlink()
            raise BlockingIOError
        if len(seen) == 2:  # its holder ends; another run comes and goes
            lock.unlink()
            lock.touch()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with exclusive(out):
        assert len(seen) == 3 and lock.stat().st_ino == seen[-1]


def test_a_forked_child_does_not_remove_the_lock(out: Path) -> None:
    with start(START + FORK, out) as run:
        assert run.communicate()[0] == "['run.nc.lock']\n"
    assert files(out) == []


def test_the_lock_of_another_run_is_not_removed(out: Path) -> None:
    lock = out.with_name("run.nc.lock")
    with exclusive(out):
        lock.unlink()  # somebody's mistake
        with exclusive(out):
            text = lock.read_text()
            lock.rename(out.with_name("kept"))
            lock.write_text(text)
        assert lock.read_text() == text


def test_files_that_are_no_locks_are_left_alone(out: Path) -> None:
    lock = out.with_name("run.nc.lock")
    lock.write_text("precious")
    assert f"{lock} is no lock of a run: move it, or choose another output" in refusal(out)
    assert lock.read_text() == "precious"
    lock.unlink()
    lock.mkdir()
    assert f"cannot lock {lock} (Is a directory)" in refusal(out) and lock.is_dir()
    assert "(No such file or directory): choose a folder" in refusal(out.with_name("absent") / "run.nc")


def test_a_folder_closed_to_the_run() -> None:
    with closed_folder() as folder:
        assert "(Permission denied): choose a folder that you may write to" in refusal(folder / "run.nc")


def test_without_such_locks_nothing_is_done(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with exclusive(out), exclusive(out):
        assert files(out) == []
