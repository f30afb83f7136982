"""One writer at a time: a lock on an output, which the kernel releases if its holder is killed."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.errors import BadInput

if sys.platform != "win32":
    import fcntl

HOLDER = "process "  # how the text in a lock file starts


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep every other process and thread, and this one too, from writing ``path`` meanwhile; BadInput at once.

    The lock is on a file next to ``path``, ``path.name + ".lock"``, which is removed at the end.  What
    a killed run leaves of it locks nothing.  A forked child holds the lock, too, for as long as it
    lives; a program started by ``subprocess`` does not.  For a folder of results, give a file in it.

    Windows has no such locks: there this does nothing, and two runs can write the same output.
    """
    if sys.platform == "win32":
        yield
        return
    lock = path.absolute()  # the run may change its folder
    lock = lock.with_name(lock.name + ".lock")
    owner = os.getpid()
    try:
        handle = _locked(lock, path)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot lock {lock} ({error.strerror}): choose a folder that you may write to"
        ) from error
    try:
        yield
    finally:
        # before the lock is released, or it could be the file of the next holder;
        # and not by a forked child, whose parent goes on
        with suppress(OSError):
            if os.getpid() == owner and _is_on_disk(handle, lock):
                lock.unlink()
        os.close(handle)


def _locked(lock: Path, path: Path) -> int:
    """The handle of ``lock``, locked, with the name of this process in it."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            free = _try(handle)
            if not _is_on_disk(handle, lock):  # removed by its holder meanwhile: nobody else sees it
                os.close(handle)
                continue
            text = os.pread(handle, 500, 0).decode(errors="replace")
            if text and not text.startswith(HOLDER):
                raise BadInput(f"{path}: {lock} is no lock of a run: move it, or choose another output")
            if not free:
                raise BadInput(
                    f"{path} is being written by {text.strip() or 'another process'}: "
                    "wait until it is done, or choose another output"
                )
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{HOLDER}{os.getpid()} on {platform.node()}\n".encode(), 0)
            return handle
        except BaseException:
            os.close(handle)
            raise


def _try(handle: int) -> bool:
    """Lock without waiting; False if another one holds the lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_on_disk(handle: int, lock: Path) -> bool:
    """Whether ``lock`` still names the file behind ``handle``."""
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False
