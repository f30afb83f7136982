"""From V and U to the equation: moments, first variation, risk, and the reduced dynamics of the radius."""

from __future__ import annotations

import sympy as sp

from workbench.free_energy import ridged
from workbench.notation import d, r
from workbench.orbits import Coordinate, orbit_steps
from workbench.steps import Step


def functional_steps() -> tuple[Step, ...]:
    """Psi and the risk through the moments of the features."""
    kappa, K = sp.symbols("kappa K", integer=True, positive=True)
    w, m = sp.IndexedBase("w"), sp.IndexedBase("m")
    phi = sp.Function("phi_kappa")
    rho = sp.Symbol("rho")
    V, Psi, R = sp.Function("V"), sp.Function("Psi"), sp.Function("R")
    rho_of = sp.Function("rho")
    return (
        Step(
            "Moments",
            r"finite rank: the measure enters through $K$ numbers",
            sp.Eq(m[kappa], sp.Integral(phi(r) * rho_of(r), (r, 0, sp.oo)), evaluate=False),
        ),
        Step(
            "First variation",
            r"$\Psi = V + \int U d\rho$, half the variation of $R$ [MMN18]",
            sp.Eq(Psi(r, rho), V(r) + sp.Sum(w[kappa] * m[kappa] * phi(r), (kappa, 1, K)), evaluate=False),
        ),
        Step(
            "Risk",
            r"$R = E y^2 + 2 \int V d\rho + \int \int U d\rho d\rho$ with $E y^2 = 1$ [MMN18]",
            sp.Eq(
                R(rho),
                1
                + 2 * sp.Integral(V(r) * rho_of(r), (r, 0, sp.oo))
                + sp.Sum(w[kappa] * m[kappa] ** 2, (kappa, 1, K)),
                evaluate=False,
            ),
        ),
    )


def equation_steps() -> tuple[Step, ...]:
    """The reduced equation of the radius with ridge and noise."""
    psi, psi_lam = sp.Function("psi")(r), sp.Function("psi_lambda")(r)
    ridge = Step(
        "Ridged potential",
        r"ridge $\lambda |w|^2/2$ on every unit, $\psi(r) = \Psi(r; \rho_t)$",
        sp.Eq(psi_lam, ridged(psi, (r,)), evaluate=False),
        note=r"Noise $\sqrt{4 s_k/\beta} g$ in the update of step size $s_k$; $\beta = \infty$ leaves the transport [MMN18].",
    )
    return (ridge, *orbit_steps((Coordinate(r, d),)))
