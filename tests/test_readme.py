"""The README's Python example runs and prints the numbers that it claims."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"


def test_python_example_gives_the_numbers_in_its_comments():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.S)
    assert 8 <= len(code.strip().splitlines()) <= 12
    printed = io.StringIO()
    names: dict = {}
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README", "exec"), names)
    first, second = (
        [float(x) for x in line.strip("[]").split()] for line in printed.getvalue().strip().splitlines()
    )
    # the comment shows four decimals
    np.testing.assert_allclose(first, [1.0706, 0.1753], atol=6e-5)
    assert second[0] < 0.1 and abs(second[1] - 4) < 0.1


def test_makefile_targets_named_in_the_readme_exist():
    text = README.read_text(encoding="utf-8")
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z]+)", text))
    assert {"figures", "test"} <= named
    for target in named - {"alone"}:
        assert re.search(rf"^{target}:", makefile, flags=re.M), f"make {target}"
