"""From V and U to the equation: moments, first variation, risk, and the reduced dynamics of the orbit."""

from __future__ import annotations

import sympy as sp

from workbench.free_energy import ridged
from workbench.models import Model
from workbench.orbits import Coordinate, orbit_steps
from workbench.steps import Step


def functional_steps() -> tuple[Step, ...]:
    """Psi and the risk through the moments of the features."""
    kappa, K = sp.symbols("kappa K", integer=True, positive=True)
    w, m = sp.IndexedBase("w"), sp.IndexedBase("m")
    theta = sp.Symbol("theta")
    phi = sp.Function("phi_kappa")
    rho = sp.Symbol("rho")
    V, Psi, R = sp.Function("V"), sp.Function("Psi"), sp.Function("R")
    rho_of = sp.Function("rho")
    return (
        Step(
            "Moments",
            r"finite rank: the measure enters through $K$ numbers",
            sp.Eq(m[kappa], sp.Integral(phi(theta) * rho_of(theta), theta), evaluate=False),
        ),
        Step(
            "First variation",
            r"$\Psi = V + \int U d\rho$, half the variation of $R$ [MMN18]",
            sp.Eq(
                Psi(theta, rho),
                V(theta) + sp.Sum(w[kappa] * m[kappa] * phi(theta), (kappa, 1, K)),
                evaluate=False,
            ),
        ),
        Step(
            "Risk",
            r"$R = E y^2 + 2 \int V d\rho + \int \int U d\rho d\rho$ with $E y^2 = 1$ [MMN18]",
            sp.Eq(
                R(rho),
                1
                + 2 * sp.Integral(V(theta) * rho_of(theta), theta)
                + sp.Sum(w[kappa] * m[kappa] ** 2, (kappa, 1, K)),
                evaluate=False,
            ),
        ),
    )


def equation_steps(model: Model) -> tuple[Step, ...]:
    """The reduced equation of the orbit coordinates with ridge and noise."""
    x = model.symbols
    psi, psi_lam = sp.Function("psi")(*x), sp.Function("psi_lambda")(*x)
    ridge = Step(
        "Ridged potential",
        r"ridge $\lambda |\theta|^2/2$ on every unit, $\psi = \Psi(\cdot; \rho_t)$",
        sp.Eq(psi_lam, ridged(psi, x), evaluate=False),
        note=r"Noise $\sqrt{4 s_k/\beta} g$ in the update of step size $s_k$; $\beta = \infty$ leaves the transport [MMN18].",
    )
    flat = tuple(Coordinate(symbol) for symbol in x[: len(x) - len(model.blocks)])
    radial = tuple(Coordinate(block.radius, block.dimension) for block in model.blocks)
    return (ridge, *orbit_steps((*flat, *radial)))
