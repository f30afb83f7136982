"""A Checkpoint: the state of a long run on disk, from which it goes on after it was killed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import BadInput
from workbench.files import part_of, replace_file, settle

type JSON = bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None

# Every format starts with KIND and ends with a digest of the rest: a newer file is told from a damaged one.
KIND, VERSION = b"mean-field workbench checkpoint, format ", 1
DIGEST = 32  # bytes
ANEW = "remove it to start from the beginning"


class Checkpoint:
    """The last state of the run ``identity`` in the file ``path``.

    ``identity`` is what makes two runs the same run (problem, config, versions), as it is now; it is
    compared as JSON: 1 and 1.0 are two values, a tuple is a list.  Whenever a process is killed,
    ``path`` holds the previous checkpoint or the new one, as long as there is one writer at a time:
    see ``workbench.lock.exclusive``.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self._identity: dict[str, Any] = json.loads(json.dumps(dict(identity)))

    def save(self, arrays: Mapping[str, np.ndarray], state: Mapping[str, JSON]) -> None:
        """Replace the checkpoint; BadInput where that fails: the previous one stays.

        Arrays (of anything but objects) come back bit for bit with their dtype, byte order, shape and
        C or Fortran order; other layouts come back in C order.  Numbers in ``state`` come back exactly,
        inf and -0.0 too; nan without its sign and payload (arrays keep them), tuples as lists.
        """
        content = _packed(arrays, {"identity": self._identity, "state": dict(state), "arrays": list(arrays)})
        try:
            replace_file(self.path, content)
        except OSError as error:
            raise self._cannot("written", error, "make room, or choose a folder to write to") from error

    def load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and state as they were saved, None if there is no file; BadInput if it is of no use."""
        try:
            if self.path.exists() and not self.path.is_file():
                raise BadInput(f"checkpoint {self.path} is no regular file: name another one")
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._cannot("read", error, f"make it readable, or {ANEW}") from error
        if not content.startswith(KIND):
            raise BadInput(f"{self.path} is no checkpoint, or is damaged: name another file, or {ANEW}")
        if _digest(memoryview(content)[:-DIGEST]) != content[-DIGEST:]:
            raise BadInput(f"checkpoint {self.path} is damaged (its checksum is wrong): {ANEW}")
        file = io.BytesIO(content)
        version = file.readline()[len(KIND) : -1].decode()
        if version != str(VERSION):
            raise BadInput(
                f"checkpoint {self.path} has format {version}, not {VERSION}: use the version that wrote it, or {ANEW}"
            )
        header = json.loads(file.readline())
        if differences := _differences(header["identity"], self._identity):
            raise BadInput(
                f"checkpoint {self.path} is of another run ({differences}): ask for that run, or {ANEW}"
            )
        read, size = np.lib.format.read_array, len(content)  # no array's header is too long: it is our own
        arrays = {n: read(file, allow_pickle=False, max_header_size=size) for n in header["arrays"]}
        return arrays, header["state"]

    def remove(self) -> None:
        """Remove the file, and what a killed writer left of a new one; no error if there is neither."""
        try:
            self.path.unlink(missing_ok=True)
            part_of(self.path).unlink(missing_ok=True)
            settle(self.path.parent)
        except OSError as error:
            raise self._cannot("removed", error, "remove it by hand") from error

    def _cannot(self, be: str, error: OSError, mend: str) -> BadInput:
        return BadInput(f"checkpoint {self.path} cannot be {be} ({error.strerror}): {mend}")


def _packed(arrays: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> memoryview:
    """The content of a file: the line of its kind, a line of JSON, the arrays in npy format, the digest."""
    file = io.BytesIO()
    file.write(KIND + b"%d\n" % VERSION + json.dumps(header).encode() + b"\n")
    for name, array in arrays.items():
        if type(array) is not np.ndarray:  # the mask of a masked array would be lost in silence
            raise TypeError(f"{name} is of {type(array).__name__}: give a plain numpy.ndarray")
        np.lib.format.write_array(file, array, (3, 0), allow_pickle=False)  # a guessed version may warn
    file.write(_digest(file.getvalue()))
    return file.getbuffer()


def _digest(content: bytes | memoryview) -> bytes:
    return blake2b(content, digest_size=DIGEST).digest()


def _differences(there: Any, here: Any) -> str:
    """The first fields in which two identities differ, with both values; empty if none."""
    old, new = dict(_fields(there)), dict(_fields(here))
    fields = [field for field in {**old, **new} if old.get(field) != new.get(field)]
    said = [
        f"{'.'.join(map(str, field))} = {old.get(field, 'absent'):.80} there, {new.get(field, 'absent'):.80} here"
        for field in fields[:4]
    ]
    return "; ".join(said if len(fields) < 5 else [*said, f"and {len(fields) - 4} more"])


def _fields(value: Any, way: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The numbers and texts inside a JSON value, as JSON, each with the keys that lead to it."""
    inside = dict(enumerate(value)) if isinstance(value, list) else value
    if inside and isinstance(inside, dict):
        for key, item in inside.items():
            yield from _fields(item, (*way, key))
    else:
        yield way, json.dumps(value)
