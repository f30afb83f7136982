"""Compiled C code: built once for a content, shown by its declarations, refused with the mend."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from solvers import compiled
from solvers.compiled import NoCompiler, cache_folder, declarations, load

SOURCE = """
#include <stdint.h>

typedef struct {
    int32_t count;
    double *x; /* summed */
    float *y;
    int64_t *z;
} Arrays;

static double twice(double x) { return 2.0 * x; }

/* The sum of x, twice. */
double total(Arrays *arrays,
             double offset) {
    double sum = offset;
    for (int32_t i = 0; i < arrays->count; i++) sum += twice(arrays->x[i]) + arrays->y[i] + arrays->z[i];
    return sum;
}

#define INLINE static inline
INLINE double thrice(double x) { return 3.0 * x; }

void fill(int32_t count, double *x) {
    for (int32_t i = 0; i < count; i++) x[i] = VALUE;
}
"""
DEFINED = ("-DVALUE=7",)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiled._loaded.cache_clear()


def test_functions_take_arrays_and_structures() -> None:
    library = load(SOURCE, DEFINED)
    made = library.structure("Arrays", count=3, x=np.arange(3.0), y=np.ones(3, np.float32), z=np.full(3, 10))
    assert library.lib.total(made, 0.5) == 0.5 + 2 * 3 + 3 + 30  # the arrays live as long as the structure
    x = np.zeros(4)
    library.lib.fill(3, library.pointer(x))
    assert x.tolist() == [7, 7, 7, 0]


@pytest.mark.parametrize(
    ("array", "error"),
    [(np.zeros((4, 4))[:, 1], ValueError), (np.zeros(3, np.float16), KeyError)],
    ids=["strided", "of a kind that C lacks"],
)
def test_arrays_without_a_plain_address_are_refused(array: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        load(SOURCE, DEFINED).pointer(array)


def test_what_is_not_static_is_declared() -> None:
    text = declarations(SOURCE)
    assert text.endswith("void fill(int32_t count, double *x);")
    assert "double total(Arrays *arrays,\n             double offset);" in text and "} Arrays;" in text
    assert "twice" not in text and "thrice" not in text


def test_types_that_a_macro_decides_are_told() -> None:
    source = "#ifdef SMALL\ntypedef float real;\n#else\ntypedef double real;\n#endif\nreal third(real x) { return x / 3; }\n"
    small = load(source, ("-DSMALL",), "typedef float real;").lib.third(1.0)
    assert small == float(np.float32(1) / np.float32(3))
    assert load(source, (), "typedef double real;").lib.third(1.0) == 1 / 3


def libraries() -> list[str]:
    return sorted(path.name for path in cache_folder().glob("*"))


def test_a_library_is_compiled_once_for_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    load(SOURCE, DEFINED)
    first = libraries()
    assert len(first) == 1 and first[0].endswith(".so")
    compiled._loaded.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "_compile", None)  # not needed again
        load(SOURCE, DEFINED)
    load(SOURCE + "/* more */", DEFINED)
    load(SOURCE, ("-DVALUE=8",))
    monkeypatch.setattr(compiled, "_target", lambda command: "another processor")
    compiled._loaded.cache_clear()
    load(SOURCE, DEFINED)
    assert len(libraries()) == 4 and set(first) < set(libraries())


def test_the_target_names_the_processor() -> None:
    assert "-march=" in compiled._target("cc") and "version" in compiled._target("cc")


def test_many_processes_may_compile_at_once() -> None:
    code = f"from solvers.compiled import load; print(load({SOURCE!r}, {DEFINED!r}).lib.total)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}

    def run(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, range(4)))
    assert [d.returncode for d in done] == [0] * 4, done
    assert len(libraries()) == 1  # and nothing half made


def test_without_a_compiler_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O9")
    with pytest.raises(NoCompiler, match=r"no C compiler \(no-such-compiler -O9\): install one"):
        load(SOURCE, DEFINED)


def test_an_error_of_the_compiler_is_passed_on() -> None:
    with pytest.raises(NoCompiler, match=r"(?s)cc failed: .*VALUE"):
        load(SOURCE)
    assert libraries() == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(NoCompiler, match="XDG_CACHE_HOME"):
        load(SOURCE, DEFINED)


def test_a_compiler_with_arguments_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/calls\nshift\nexec cc "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CC", f"{script} first")
    load(SOURCE, DEFINED)
    assert set((tmp_path / "calls").read_text().split()) == {"first"}
