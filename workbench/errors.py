"""The two ways a run can end badly, each with its exit code on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.trajectory import Trajectory


class BadInput(ValueError):
    """The caller asked for something that has no meaning; exit code 2.

    The message names the offending value and says how to mend it.
    """


class NumericalFailure(RuntimeError):
    """A run broke down numerically; exit code 3.

    The message names the step or time of the failure and a remedy.  ``partial`` holds what was
    computed up to there, or ``None`` when nothing was.
    """

    def __init__(self, message: str, partial: Trajectory | None = None) -> None:
        super().__init__(message)
        self.partial = partial


class CertificateFailure(ArithmeticError):
    """A derived formula disagrees with the independent evaluation of its defining integral."""
