"""What the scripts of the figures do when they are run by themselves, or cell by cell in a notebook."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make_and_show(name: str) -> None:
    """Run ``workbench reproduce NAME --scale smoke`` into figures/smoke; show the picture where there is a notebook.

    In a process of its own: what was last saved is what runs, whatever this one has imported or defined.

    Raises
    ------
    SystemExit
        with the code of the command, which has said why, where it fails.
    """
    folder = ROOT / "figures" / "smoke"
    words = ["reproduce", name, "--scale", "smoke", "--out", str(folder)]
    code = _run([sys.executable, "-m", "workbench", *words])
    if code:
        raise SystemExit(code)
    if _in_notebook():
        display = sys.modules["IPython.display"]
        display.display(display.SVG(filename=str(folder / name / "figure.svg")))


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def _run(command: list[str]) -> int:
    """The exit code of a command, once it has ended, also if that is by an interrupt."""
    if not _in_notebook():
        with subprocess.Popen(command, cwd=ROOT) as process:
            try:
                process.wait()
            except KeyboardInterrupt:  # of the terminal, which interrupts the command as well
                process.wait()
        return process.returncode
    # the output of a process is not that of a cell: it is handed on, and the progress bar is asked for
    environment = os.environ | {"FORCE_COLOR": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        output = io.TextIOWrapper(process.stdout, "utf-8", "replace", newline="")  # \r redraws the bar
        try:
            while sign := output.read(1):
                sys.stdout.write(sign)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            sys.stdout.write(output.read())
    return process.returncode
