"""From V and U to the equation: moments, first variation, risk, and the reduced dynamics of the radius."""

from __future__ import annotations

import sympy as sp

from workbench import reduction
from workbench.certificates import Certificate
from workbench.notation import d, r
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
    reduction.check_radial_laplacian()
    reduction.check_reduced_equation()
    reduction.check_gibbs_law()
    exact = lambda claim, oracle: Certificate(claim, oracle, 0.0, 0.0, 1)  # noqa: E731
    f = sp.Function("f")(reduction.r)
    equation = reduction.reduced_right_hand_side().subs(reduction.n, d)
    return (
        Step(
            "Generator of the radius",
            r"Laplacian of $f(|w|)$; $\psi(r) = \Psi(r; \rho_t)$, ridge $\lambda r^2/2$",
            sp.Eq(sp.Symbol("Lf"), reduction.generator(f).subs(reduction.n, d), evaluate=False),
            (exact("Laplacian of f(|w|), n = 2, 3, 5", "Cartesian derivatives of |w|^m, symbols"),),
        ),
        Step(
            "Reduced distributional dynamics",
            r"adjoint of the generator; $\rho$ is a density with respect to $dr$, no flux at $r = 0$",
            sp.Eq(sp.Derivative(reduction.rho, reduction.t), equation, evaluate=False),
            (exact("adjoint of the generator", "f rhs - rho L f is a derivative, symbols"),),
            note=r"Noise $\sqrt{4 s_k/\beta} g$ in the update of step size $s_k$; $\beta = \infty$ leaves the transport [MMN18].",
        ),
        Step(
            "Effective potential",
            r"entropy of the orbit: $e^{-\beta W}$ is stationary for a frozen $\psi$",
            sp.Eq(sp.Symbol("W"), reduction.effective_potential().subs(reduction.n, d), evaluate=False),
            (exact("Gibbs law of the radius", "right-hand side vanishes, symbols"),),
        ),
    )
