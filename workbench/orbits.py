"""Orbit coordinates of an invariant law: generator, reduced equation with its Jacobians, effective potential.

A unit is split into flat coordinates (a trained output weight or offset) and blocks that enter through
their radius.  Everything is dimensionless, at the consistent noise constant.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import sympy as sp

from workbench.errors import BadInput
from workbench.free_energy import (
    CONSISTENT,
    Point,
    beta,
    density,
    diffusion,
    exact,
    generator,
    ridged,
    right_hand_side,
    t,
    vanishes,
    variation,
)
from workbench.steps import Step


@dataclass(frozen=True)
class Coordinate:
    """One orbit coordinate: flat (dimension None), or the radius |w| of a block w in R^dimension.

    Raises
    ------
    BadInput
        for what is no symbol, a radius not declared positive, or a dimension that is no positive integer.
    """

    symbol: sp.Symbol
    dimension: sp.Expr | int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.symbol, sp.Symbol):
            raise BadInput(f"coordinate {self.symbol!r} must be a SymPy Symbol")
        if self.dimension is None:
            return
        if not self.symbol.is_positive:
            raise BadInput(
                f"radius {self.symbol} must be declared positive: Symbol({self.symbol.name!r}, positive=True)"
            )
        n = sp.sympify(self.dimension)
        if n.is_positive is False or n.is_integer is not True:  # of d - s0 only the integer is known
            raise BadInput(f"dimension {n} of the block of {self.symbol} must be a positive integer")
        object.__setattr__(self, "dimension", n)

    @property
    def jacobian_power(self) -> sp.Expr:
        """n - 1 of the Jacobian r^(n-1); 0 on a flat coordinate."""
        return sp.S.Zero if self.dimension is None else sp.sympify(self.dimension) - 1

    @property
    def entropy_slope(self) -> sp.Expr:
        """d/dr log r^(n-1) = (n-1)/r; 0 on a flat coordinate."""
        return self.jacobian_power / self.symbol


Coordinates = tuple[Coordinate, ...]


def _symbols(coordinates: Coordinates) -> Point:
    symbols = tuple(q.symbol for q in coordinates)
    if not symbols:
        raise BadInput("no coordinates given: pass at least one Coordinate")
    twice = [name for name, count in Counter(q.name for q in symbols).items() if count > 1]
    taken = [q.name for q in symbols if q.name in ("t", "beta", "lambda", "c", "xi")]
    if twice or taken:
        raise BadInput(
            f"coordinates {twice + taken} appear twice or have a name of the equation: rename them"
        )
    return symbols


def reduced_generator(f: sp.Expr, psi_lam: sp.Expr, coordinates: Coordinates) -> sp.Expr:
    """Generator of the orbit coordinates: that of flat ones plus (2 xi/beta) sum of (n-1)/r d_r f."""
    spread = sum(q.entropy_slope * sp.diff(f, q.symbol) for q in coordinates)
    return generator(f, psi_lam, _symbols(coordinates), CONSISTENT) + diffusion(CONSISTENT) * spread


def reduced_right_hand_side(rhobar: sp.Expr, psi_lam: sp.Expr, coordinates: Coordinates) -> sp.Expr:
    """2 xi sum d(rhobar d psi_lam) + (2 xi/beta) sum [ dd rhobar - d((n-1)/r rhobar) ], left standing."""
    curved = [q for q in coordinates if q.entropy_slope != 0]
    drift = sum(diffusion(CONSISTENT) * sp.Derivative(q.entropy_slope * rhobar, q.symbol) for q in curved)
    return right_hand_side(rhobar, psi_lam, _symbols(coordinates), CONSISTENT) - drift


def reduced_equation(coordinates: Coordinates) -> sp.Eq:
    """d_t rhobar of the density with respect to the product of the coordinates, in a generic psi.

    rhobar = rho(coordinates, t) is the density of (a, b, r1, ...) with respect to da db dr1 ..., the
    Jacobian r^(n-1) included; psi = psi(coordinates) is frozen at time t.

    Raises
    ------
    BadInput
        for no coordinate, a repeated one, or one with the name of a parameter.
    """
    x = _symbols(coordinates)
    rhobar, psi_lam = density(x), ridged(sp.Function("psi")(*x), x)
    return sp.Eq(
        sp.Derivative(rhobar, t), reduced_right_hand_side(rhobar, psi_lam, coordinates), evaluate=False
    )


def effective_potential(psi_lam: sp.Expr, coordinates: Coordinates) -> sp.Expr:
    """psi_lam - sum of ((n-1)/beta) log r: exp(-beta of it) is stationary for a frozen psi."""
    return psi_lam - sum(q.jacobian_power / beta * sp.log(q.symbol) for q in coordinates)


def check_adjoint(coordinates: Coordinates) -> None:
    """Adjoint and Gibbs law of the reduced equation, for dimensions that may be symbols."""
    x = _symbols(coordinates)
    rhobar, f, psi_lam = density(x), sp.Function("f")(*x), ridged(sp.Function("psi")(*x), x)
    derived = variation(rhobar * reduced_generator(f, psi_lam, coordinates), f, x)
    claim = "reduced equation as adjoint of the reduced generator"
    vanishes(reduced_right_hand_side(rhobar, psi_lam, coordinates) - derived, claim)
    gibbs = sp.exp(-beta * effective_potential(psi_lam, coordinates))
    change = reduced_right_hand_side(gibbs, psi_lam, coordinates).doit()
    vanishes(change / gibbs, "Gibbs law of the orbit coordinates")


def check_cartesian(coordinates: Coordinates, smallest: int = 2) -> str:
    """Compare generator and equation with Cartesian derivatives of generic functions of the orbits.

    The radial blocks get dimensions ``smallest``, ``smallest`` + 1, ... whatever their own.  The equation
    is compared through rhobar = rho prod r^(n-1), the Jacobian up to a constant.  Returns the name of the space.
    """
    x = _symbols(coordinates)
    blocks: dict[sp.Symbol, Point] = {}
    small: list[Coordinate] = []
    for q in coordinates:
        dimension = None if q.dimension is None else smallest + len(blocks)
        small.append(Coordinate(q.symbol, dimension))
        if dimension is not None:
            blocks[q.symbol] = tuple(sp.Dummy(f"{q.symbol}{i}", real=True) for i in range(dimension))
    squares = {r: sum(w**2 for w in block) for r, block in blocks.items()}
    cartesian = tuple(w for q in x for w in blocks.get(q, (q,)))
    radii = {r: sp.sqrt(square) for r, square in squares.items()}

    def landed(expression: sp.Expr) -> sp.Expr:
        """On the orbits: |w|^2 = r^2, first where it stands, then to remove the last coordinate of w."""
        expression = expression.subs({square: r**2 for r, square in squares.items()})
        expression = sp.expand(expression.doit())
        return expression.subs({w[-1] ** 2: r**2 - squares[r] + w[-1] ** 2 for r, w in blocks.items()})

    f, psi, p = (sp.Function(name)(*x) for name in ("f", "psi", "p"))
    Psi_lam, psi_lam = ridged(psi.subs(radii), cartesian), ridged(psi, x)
    flat = [f"{len(small) - len(blocks)} flat"] if len(small) > len(blocks) else []
    where = " x ".join([f"R^{len(block)}" for block in blocks.values()] + flat)
    full = generator(f.subs(radii), Psi_lam, cartesian, CONSISTENT)
    reduced = reduced_generator(f, psi_lam, tuple(small))
    vanishes(landed(full) - reduced, f"generator of the orbit coordinates against {where}")
    jacobian = sp.prod(q.symbol**q.jacobian_power for q in small)
    full = right_hand_side(p.subs(radii), Psi_lam, cartesian, CONSISTENT).doit()
    reduced = reduced_right_hand_side(jacobian * p, psi_lam, tuple(small))
    vanishes(jacobian * landed(full) - reduced, f"equation of the orbit coordinates against {where}")
    return where


def orbit_steps(coordinates: Coordinates, shown: Coordinates | None = None) -> tuple[Step, ...]:
    """Generator, equation and effective potential in the given coordinates, at the consistent noise.

    ``shown`` are fewer coordinates for the formulas to be printed in; the checks take ``coordinates``.
    """
    check_adjoint(coordinates)
    radii = sum(q.dimension is not None for q in coordinates)
    # two dimensions settle (n-1)/r, affine in n: those of two blocks, or of one block in turn
    spaces = [check_cartesian(coordinates, smallest) for smallest in ((2,) if radii > 1 else (2, 3))]
    shown = coordinates if shown is None else shown
    x = _symbols(shown)
    rhobar, f, psi_lam = density(x), sp.Function("f")(*x), sp.Function("psi_lambda")(*x)
    against = "Cartesian derivatives of generic functions, symbols"
    return (
        Step(
            "Generator of the orbit coordinates",
            r"Laplacian of a function of flat coordinates and radii; $|w|$ of a block of dimension $n$ drifts by $(n-1)/r$",
            sp.Eq(sp.Symbol("Lf"), sp.expand(reduced_generator(f, psi_lam, shown)), evaluate=False),
            tuple(exact(f"generator, {where}", against) for where in spaces),
        ),
        Step(
            "Equation of the orbit coordinates",
            r"adjoint of the generator; $\rho$ is a density in the coordinates, the Jacobians $r^{n-1}$ included",
            sp.Eq(sp.Derivative(rhobar, t), reduced_right_hand_side(rhobar, psi_lam, shown), evaluate=False),
            (
                exact("adjoint of the reduced generator", "f rhs - rho L f is a divergence, symbols"),
                *(exact(f"Jacobians, {where}", against) for where in spaces),
            ),
            note="No flux through $r = 0$.",
        ),
        Step(
            "Effective potential of the orbit coordinates",
            r"entropy of the orbits: $e^{-\beta W}$ is stationary for a frozen $\psi$",
            sp.Eq(sp.Symbol("W"), effective_potential(psi_lam, shown), evaluate=False),
            (exact("Gibbs law of the orbit coordinates", "right-hand side vanishes, symbols"),),
        ),
    )
