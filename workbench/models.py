"""Models: a data law and a unit, as a theorist writes them down."""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from typing import Any

import sympy as sp

from workbench import notation
from workbench.activations import PiecewiseLinear
from workbench.errors import BadInput
from workbench.smooth import Activation, check_trainable

DATA = ("isotropic", "anisotropic")
UNITS = ("plain", "affine")
MEANS = ("centred", "opposite")


@dataclass(frozen=True)
class Block:
    """A block of the data, on whose rotations O(dimension) the law is invariant.

    ``radius`` is the norm of w in the block, ``plus`` and ``minus`` the standard deviations of x in it
    given y = +1 and y = -1; ``dimension`` is in the symbols of ``workbench.notation``.
    """

    radius: sp.Symbol
    dimension: sp.Expr
    plus: sp.Expr
    minus: sp.Expr


@dataclass(frozen=True)
class Model:
    """Two Gaussian classes and a two-layer network with units of one kind  [MMN18].

    y = +1 or -1 with probability 1/2 each, yhat = (1/N) sum_i sigma_*(x; theta_i).

    Attributes
    ----------
    name
        of the generated module.
    activation
        sigma: a ``PiecewiseLinear`` or an ``Activation``.
    data
        "isotropic": x | y has the covariance tau_y^2 I_d; "anisotropic": tau_y^2 on a block of s0
        coordinates and 1 on the other d - s0.
    unit
        "plain": sigma(<w, x>), theta = w; "affine": a sigma(<w, x> + b), theta = (a, b, w).
    means
        "centred": E[x | y] = 0; "opposite": E[x | y] = y mu, mu a vector of the block with tau_y.

    tau_plus, tau_minus, |mu| and the dimensions stay symbols; d = inf is a value like any other.

    Raises
    ------
    BadInput
        for a name that is no Python identifier, an unknown kind, an activation without a gradient or a
        second moment.
    """

    name: str
    activation: PiecewiseLinear | Activation
    data: str = "isotropic"
    unit: str = "plain"
    means: str = "centred"

    def __post_init__(self) -> None:
        if not isinstance(self.activation, PiecewiseLinear | Activation):
            raise BadInput(
                f"activation = {self.activation!r}: give an activation, e.g. ReLU(), Erf(), "
                "PiecewiseLinear([0.5, 1.5], [-2.5, 7.5]) or Activation.from_expr(tanh(t)**2, t)"
            )
        if not isinstance(self.name, str) or not self.name.isidentifier() or keyword.iskeyword(self.name):
            raise BadInput(
                f"name = {self.name!r} cannot name a Python module: use letters, digits and underscores"
            )
        for field, value, known in (
            ("data", self.data, DATA),
            ("unit", self.unit, UNITS),
            ("means", self.means, MEANS),
        ):
            if value not in known:
                raise BadInput(f"{field} = {value!r}: choose from {', '.join(map(repr, known))}")
        check_trainable(self.activation)

    @property
    def affine(self) -> bool:
        """Whether an output weight a and an offset b are trained."""
        return self.unit == "affine"

    @property
    def shifted(self) -> bool:
        """Whether the classes have means +mu and -mu."""
        return self.means == "opposite"

    @property
    def has_offset(self) -> bool:
        """Whether <w, x> + b has a mean within a class."""
        return self.affine or self.shifted

    @property
    def sphere_has_offset(self) -> bool:
        """Whether g_n(c, b) is needed with b != 0: the sphere of one block sees the other one as an offset."""
        return self.has_offset or len(self.blocks) > 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks that enter through their radius; the direction of mu is not part of them."""
        taken = 1 if self.shifted else 0
        tau = notation.tau_plus, notation.tau_minus
        if self.data == "isotropic":
            return (Block(notation.r, notation.d - taken, *tau),)
        r1, r2 = sp.symbols("r_1 r_2", positive=True)
        return (
            Block(r1, notation.s0 - taken, *tau),
            Block(r2, notation.d - notation.s0, sp.S.One, sp.S.One),
        )

    @property
    def symbols(self) -> tuple[sp.Symbol, ...]:
        """The orbit coordinates: trained output weight and offset, projection on mu, radii."""
        flat = (notation.a, notation.b) if self.affine else ()
        return (*flat, *((notation.m,) if self.shifted else ()), *(block.radius for block in self.blocks))

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Their names in code."""
        return tuple(x.name.replace("_", "") for x in self.symbols)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the numbers p of the generated module."""
        anisotropic = ("s0",) if self.data == "anisotropic" else ()
        return ("d", *anisotropic, *(("mu",) if self.shifted else ()), "tau_plus", "tau_minus")

    def scale(self, sign: int) -> sp.Expr:
        """Standard deviation of <w, x> + b given y = ``sign``."""
        stds = [(block.plus if sign > 0 else block.minus) * block.radius for block in self.blocks]
        if self.shifted:
            stds.insert(0, (notation.tau_plus if sign > 0 else notation.tau_minus) * notation.m)
        return stds[0] if len(stds) == 1 else sp.sqrt(sp.Add(*(x**2 for x in stds)))

    def mean(self, sign: int) -> sp.Expr:
        """Mean of <w, x> + b given y = ``sign``."""
        shift = sign * notation.mu * notation.m if self.shifted else sp.S.Zero
        return shift + (notation.b if self.affine else 0)


def isotropic_gaussians(
    activation: PiecewiseLinear | Activation,
    unit: str = "plain",
    means: str = "centred",
    name: str | None = None,
) -> Model:
    """Two isotropic Gaussian classes, x | y ~ N(mean, tau_y^2 I_d).

    Parameters
    ----------
    activation
        continuous, with E sigma(s G)^2 finite for every s.
    unit
        "plain": sigma(<w, x>); "affine": a sigma(<w, x> + b) with a and b trained.
    means
        "centred", or "opposite": y mu.
    name
        of the generated module; ``isotropic_`` + the activation's name when not given.
    """
    return Model(name or f"isotropic_{_name_of(activation)}", activation, "isotropic", unit, means)


def anisotropic_gaussians(
    activation: PiecewiseLinear | Activation,
    unit: str = "plain",
    means: str = "centred",
    name: str | None = None,
) -> Model:
    """Two Gaussian classes that differ on s0 coordinates: covariance diag(tau_y^2 I_s0, I_(d - s0)).

    Parameters as for ``isotropic_gaussians``; with means "opposite", mu lies in the block of the s0.
    """
    return Model(name or f"anisotropic_{_name_of(activation)}", activation, "anisotropic", unit, means)


def _name_of(activation: Any) -> str:
    return getattr(activation, "name", "")
