"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path


def part_of(path: Path) -> Path:
    """Where the new content of ``path`` is until it is complete."""
    return path.with_name(path.name + ".part")


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` to ``path``: a reader, and whoever comes after a power failure, sees all or the file before.

    Raises
    ------
    OSError
        as where the disk is full; ``path`` is then what it was, and nothing is left beside it.
    """
    part = part_of(path)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    settle(path.parent)


def settle(folder: Path) -> None:
    """Make the names in ``folder`` outlast a power failure."""
    with suppress(FileNotFoundError, PermissionError, IsADirectoryError):  # Windows opens no folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.EINVAL):  # some network drives sync no folder
                raise
        finally:
            os.close(handle)
