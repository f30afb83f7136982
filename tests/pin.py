"""Pin the numbers of figures at smoke scale, as they are now: ``python -m tests.pin FIGURE…``, none for all."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from paper.figures import FIGURES
from paper.presets import CONVENTIONS
from tests.smoke import built, leaves, pinned


def rounded(value: Any) -> Any:
    """Ten digits are more than any tolerance asks for."""
    return float(f"{value:.10g}") if isinstance(value, float) else value


if __name__ == "__main__":
    for name in sys.argv[1:] or FIGURES:
        for convention in CONVENTIONS:
            with tempfile.TemporaryDirectory() as folder:
                numbers = leaves(built(name, convention, Path(folder)).metrics)
            path = pinned(name, convention)
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                json.dumps({key: rounded(value) for key, value in numbers.items()}, indent=1) + "\n"
            )
            print(f"pinned {len(numbers)} numbers in {path.name}")
