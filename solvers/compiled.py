"""C code, compiled for the machine it runs on, kept under the hash of all that decides its content, called through cffi.

A source file shows Python every structure that it names by ``typedef struct``, and every function whose head
does not begin with ``static`` or with a macro in capitals.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import numpy as np
from numpy.typing import NDArray

FLAGS = ("-std=c11", "-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC")
C_TYPES = {
    np.dtype(np.float64): "double[]",
    np.dtype(np.float32): "float[]",
    np.dtype(np.int32): "int32_t[]",
    np.dtype(np.int64): "int64_t[]",
}
_alive: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # a structure alone keeps nothing


class NoCompiler(Exception):
    """There is no C compiler, or it failed; the message says which, and what would mend it."""


@dataclass(frozen=True)
class Library:
    """The functions of a compiled source file, ``lib.name(...)``, and cffi's view of their types, ``ffi``."""

    ffi: Any
    lib: Any

    def pointer(self, array: NDArray[Any]) -> Any:
        """The address of a contiguous array, typed as its elements; it keeps the array alive."""
        return self.ffi.from_buffer(C_TYPES[array.dtype], array)

    def structure(self, kind: str, **fields: Any) -> Any:
        """A new ``kind *`` with these fields, numbers or arrays; it keeps the arrays alive."""
        members = {
            name: self.pointer(field) if isinstance(field, np.ndarray) else field
            for name, field in fields.items()
        }
        made = self.ffi.new(f"{kind} *", members)
        _alive[made] = members
        return made


def load(source: str, flags: tuple[str, ...] = (), types: str = "") -> Library:
    """The library of this C source, compiled unless it was before; ``types`` defines further ones of its heads.

    Raises
    ------
    NoCompiler
        without a C compiler ($CC, else cc), or when it refuses the source.
    """
    return _loaded(source, (*FLAGS, *flags), types, os.environ.get("CC", "cc"))


@functools.cache
def _loaded(source: str, flags: tuple[str, ...], types: str, command: str) -> Library:
    compiler = shlex.split(command)
    if not compiler or shutil.which(compiler[0]) is None:
        raise NoCompiler(f"no C compiler ({command}): install one, or name it in the variable CC")
    key = hashlib.sha256("\0".join([source, *flags, _target(command)]).encode()).hexdigest()
    ffi = cffi.FFI()
    ffi.cdef(types + declarations(source))
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{key[:32]}.so"
        if not path.exists():
            _compile(compiler, flags, source, path)
        return Library(ffi, ffi.dlopen(str(path)))
    except OSError as error:
        raise NoCompiler(f"{error}: name a folder that can be written to in XDG_CACHE_HOME") from error


def cache_folder() -> Path:
    """Where libraries are kept: $XDG_CACHE_HOME/mean-field-workbench, by default under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mean-field-workbench"


def declarations(source: str) -> str:
    """The structures and the heads of functions that a C source shows to others."""
    structures = re.findall(r"^typedef struct \{.*?^\} \w+;", source, re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^(?!static|typedef|#|[A-Z]+ )\w[\w \*]*\([^()]*\)(?= \{)", source, re.MULTILINE)
    return "\n".join([*structures, *(f"{head};" for head in heads)])


@functools.cache
def _target(command: str) -> str:
    """What the compiler makes of -march=native here, and its version."""
    done = subprocess.run(
        [*shlex.split(command), "-march=native", "-E", "-v", "-x", "c", os.devnull],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    return done.stderr


def _compile(compiler: list[str], flags: tuple[str, ...], source: str, path: Path) -> None:
    """Compile to ``path``; several processes may do so at once, as it appears complete or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        text, binary = Path(folder) / "source.c", Path(folder) / "library.so"
        text.write_text(source, "utf-8")
        done = subprocess.run(
            [*compiler, *flags, "-o", str(binary), str(text), "-lm"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise NoCompiler(f"{shlex.join(compiler)} failed: {done.stderr.strip()}")
        os.replace(binary, path)
