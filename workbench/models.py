"""Models: a data law and a unit, as a theorist writes them down."""

from __future__ import annotations

import keyword
from dataclasses import dataclass

from workbench.activations import PiecewiseLinear
from workbench.errors import BadInput


@dataclass(frozen=True)
class Model:
    """Two centred isotropic Gaussian classes and units sigma(<w, x>)  [MMN18].

    y = +1 or -1 with probability 1/2 each, x | y ~ N(0, tau_y^2 I_d), yhat = (1/N) sum_i sigma(<w_i, x>).
    tau_plus, tau_minus and d stay symbols; d = inf is a value like any other.
    """

    name: str
    activation: PiecewiseLinear

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or keyword.iskeyword(self.name):
            raise BadInput(
                f"name = {self.name!r} cannot name a Python module: use letters, digits and underscores"
            )


def isotropic_gaussians(activation: PiecewiseLinear, name: str | None = None) -> Model:
    """The isotropic two-class Gaussian model with units sigma(<w, x>).

    Parameters
    ----------
    activation
        any continuous piecewise-linear activation.
    name
        of the generated module; ``isotropic_`` + the activation's name when not given.
    """
    if not isinstance(activation, PiecewiseLinear):
        raise BadInput(
            f"activation = {activation!r}: give a PiecewiseLinear activation, e.g. ReLU() or "
            "PiecewiseLinear([0.5, 1.5], [-2.5, 7.5])"
        )
    return Model(name or f"isotropic_{activation.name}", activation)
