"""The mean-field equation in R^D: its weak form and clock, the free energy it dissipates, its Gibbs law.

Everything is dimensionless.  Identities are between generic functions in one and two dimensions; a
remainder raises ``CertificateFailure``.  Integrals over all of space are compared up to divergences: a
density integrates to zero whatever its functions exactly when its ``variation`` in each of them is zero.
"""

from __future__ import annotations

import sympy as sp

from workbench.certificates import Certificate
from workbench.errors import CertificateFailure
from workbench.steps import Step

theta, other = sp.symbols("theta theta_2", real=True)
t, beta, c = sp.symbols("t beta c", positive=True)  # c: the noise constant of sqrt(c s/beta) g
lam = sp.Symbol("lambda", nonnegative=True)
weight = sp.Symbol("b", positive=True)  # of the entropy in F; 1/beta' in the literature
xi = sp.Function("xi")(t)
CONSISTENT = sp.Integer(4)  # the noise constant of the workbench

Point = tuple[sp.Symbol, ...]


def space(dimension: int) -> Point:
    """Coordinates of one unit in R^dimension."""
    return (theta,) if dimension == 1 else sp.symbols(f"theta1:{dimension + 1}", real=True)


def density(x: Point) -> sp.Expr:
    """rho(x, t), generic."""
    return sp.Function("rho")(*x, t)


def ridged(Psi: sp.Expr, x: Point) -> sp.Expr:
    """Psi_lam = Psi + (lam/2) |x|^2."""
    return Psi + lam * sum(q**2 for q in x) / 2


def potential(x: Point) -> sp.Expr:
    """Psi_lam(x, t) with a generic Psi: at each time V + int U drho is some function of x."""
    return ridged(sp.Function("Psi")(*x, t), x)


def diffusion(constant: sp.Expr = c) -> sp.Expr:
    """Diffusion coefficient c xi/(2 beta) of noise sqrt(c s/beta) g in the update."""
    return constant * xi / (2 * beta)


def generator(f: sp.Expr, Psi_lam: sp.Expr, x: Point, constant: sp.Expr = c) -> sp.Expr:
    """L f = -2 xi <grad Psi_lam, grad f> + (c xi/(2 beta)) Laplacian f."""
    transport = sum(sp.diff(Psi_lam, q) * sp.diff(f, q) for q in x)
    return -2 * xi * transport + diffusion(constant) * sum(sp.diff(f, q, 2) for q in x)


def right_hand_side(rho: sp.Expr, Psi_lam: sp.Expr, x: Point, constant: sp.Expr = c) -> sp.Expr:
    """2 xi div(rho grad Psi_lam) + (c xi/(2 beta)) Laplacian rho, derivatives left standing."""
    transport = sum(2 * xi * sp.Derivative(rho * sp.Derivative(Psi_lam, q), q) for q in x)
    return transport + sum(diffusion(constant) * sp.Derivative(rho, (q, 2)) for q in x)


def flux(rho: sp.Expr, Psi_lam: sp.Expr, x: Point) -> tuple[sp.Expr, ...]:
    """J with d_t rho = -div J: J = -2 xi rho grad Psi_lam - (c xi/(2 beta)) grad rho."""
    return tuple(-2 * xi * rho * sp.diff(Psi_lam, q) - diffusion() * sp.diff(rho, q) for q in x)


def divergence(field: tuple[sp.Expr, ...], x: Point) -> sp.Expr:
    """div of a vector field on the coordinates x."""
    return sum(sp.diff(component, q) for component, q in zip(field, x, strict=True))


def vanishes(expression: sp.Expr, claim: str) -> None:
    """Raise ``CertificateFailure`` unless the expression expands to zero."""
    left = sp.expand(expression.doit())
    if left != 0:
        raise CertificateFailure(f"{claim}: left {left}")


def exact(claim: str, oracle: str) -> Certificate:
    """Certificate of an identity between symbols."""
    return Certificate(claim, oracle, 0.0, 0.0, 1)


def variation(expression: sp.Expr, f: sp.Expr, x: Point) -> sp.Expr:
    """Euler operator in f: sum over derivatives D of f of (-1)^order D(d expression/d(D f))."""
    expression = sp.expand(expression.doit())
    jets = {f, *(jet for jet in expression.atoms(sp.Derivative) if jet.expr == f)}
    total = sp.S.Zero
    for jet in jets:
        variables = jet.variables if isinstance(jet, sp.Derivative) else ()
        assert set(variables) <= set(x)
        part = sp.diff(expression, jet)
        total += (-1) ** len(variables) * (sp.diff(part, *variables) if variables else part)
    return sp.expand(total)


# ---- the equation


def check_adjoint(dimension: int) -> None:
    """The right-hand side is the adjoint of the generator, by two routes.

    It is the variation of int rho L f in f; and f (rhs) - rho (L f) is the divergence of a flux written out.
    """
    x = space(dimension)
    rho, Psi_lam, f = density(x), potential(x), sp.Function("f")(*x)
    right, L = right_hand_side(rho, Psi_lam, x), generator(f, Psi_lam, x)
    claim = f"Fokker-Planck equation as adjoint of the generator, R^{dimension}"
    vanishes(right - variation(rho * L, f, x), claim)
    J = flux(rho, Psi_lam, x)
    field = tuple(-f * J[i] - diffusion() * rho * sp.diff(f, x[i]) for i in range(dimension))
    vanishes(f * right - rho * L - divergence(field, x), claim)


def clock() -> sp.Expr:
    """tau(t) = int_0^t xi."""
    u = sp.Symbol("u", positive=True)
    return sp.Integral(xi.subs(t, u), (u, 0, t))


def check_clock() -> None:
    """rho(theta, tau), tau = int_0^t xi, obeys an equation without xi, for a Psi that moves with rho."""
    tau, moving = sp.Symbol("tau", positive=True), clock()
    x, rho, Psi = (theta,), sp.Function("rho"), sp.Function("Psi")
    slow = sp.expand(right_hand_side(rho(theta, tau), ridged(Psi(theta, tau), x), x).doit() / xi)
    if t in slow.free_symbols:
        raise CertificateFailure(f"change of clock: the old time is left in {slow}")
    moved = sp.diff(rho(theta, moving), t)
    moved -= right_hand_side(rho(theta, moving), ridged(Psi(theta, moving), x), x)
    still = sp.Subs(sp.diff(rho(theta, tau), tau) - slow, tau, moving)
    vanishes(moved.doit() - xi * still.doit(), "change of clock")


# ---- free energy


def symmetric_kernel() -> sp.Expr:
    """U(theta, theta'), any symmetric kernel: the mean of a generic one and its mirror image."""
    K = sp.Function("K")
    return (K(theta, other) + K(other, theta)) / 2


def free_energy_densities(rho: sp.Expr, U: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Densities of F - E y^2/2 = int local dtheta + int int pair dtheta dtheta', for rho(theta)."""
    local = (sp.Function("V")(theta) + lam * theta**2 / 2) * rho + weight * rho * sp.log(rho)
    return local, U * rho * rho.subs(theta, other) / 2


def check_first_variation() -> None:
    """dF/dt = int (V + int U drho + (lam/2) theta^2 + b log rho + b) d_t rho dtheta along any rho(theta, t).

    The pair part may leave what is odd under the exchange of theta and theta': it integrates to zero.
    """
    U, rho = symmetric_kernel(), density((theta,))
    local, pair = free_energy_densities(rho, U)
    change = sp.diff(rho, t)
    claimed = sp.Function("V")(theta) + lam * theta**2 / 2 + weight * sp.log(rho) + weight
    vanishes(sp.diff(local, t) - claimed * change, "first variation of F, local part")
    odd = sp.diff(pair, t) - U * rho.subs(theta, other) * change
    mirror = odd.subs({theta: other, other: theta}, simultaneous=True)
    vanishes(odd + mirror, "first variation of F, interaction of a symmetric U")


def check_convexity() -> None:
    """d^2 F/d eta^2 along rho + eta chi is int int U chi chi' + b int chi^2/(rho + eta chi)."""
    eta = sp.Symbol("eta", real=True)
    rho, chi = density((theta,)), sp.Function("chi")(theta)
    local, pair = free_energy_densities(rho + eta * chi, sp.Function("U")(theta, other))
    vanishes(sp.diff(local, eta, 2) - weight * chi**2 / (rho + eta * chi), "convexity of F, entropy")
    squared = sp.Function("U")(theta, other) * chi * chi.subs(theta, other)
    vanishes(sp.diff(pair, eta, 2) - squared, "convexity of F, interaction")


def dissipation_defect(dimension: int, entropy_weight: sp.Expr) -> sp.Expr:
    """mu d_t rho + 2 xi rho |grad mu|^2, mu = Psi_lam + b log rho: integrates to dF/dt plus the dissipation."""
    x = space(dimension)
    rho, Psi_lam = density(x), potential(x)
    mu = Psi_lam + entropy_weight * sp.log(rho)
    square = sum(sp.diff(mu, q) ** 2 for q in x)
    return mu * right_hand_side(rho, Psi_lam, x) + 2 * xi * rho * square


def check_dissipation(dimension: int, entropy_weight: sp.Expr) -> None:
    """dF/dt = -2 xi int rho |grad (Psi_lam + b log rho)|^2 for every rho and Psi: the defect is a divergence."""
    x = space(dimension)
    defect = dissipation_defect(dimension, entropy_weight)
    for f in (density(x), sp.Function("Psi")(*x, t)):
        claim = (
            f"dissipation identity in R^{dimension}, entropy weight {entropy_weight}, variation in {f.func}"
        )
        vanishes(variation(defect, f, x), claim)


def entropy_weight() -> sp.Expr:
    """The b = 1/beta' at which F dissipates, solved from the variation of the defect in Psi: c/(4 beta)."""
    defect = variation(dissipation_defect(1, weight), sp.Function("Psi")(theta, t), (theta,))
    slope, offset = sp.diff(defect, weight), defect.subs(weight, 0)
    vanishes(defect - slope * weight - offset, "the entropy weight enters the defect linearly")
    solution = -offset / slope
    if solution.has(theta):
        raise CertificateFailure(f"no entropy weight makes F dissipate: {solution} is not a constant")
    return solution


# ---- Gibbs law


def gibbs_temperature() -> sp.Expr:
    """The k at which exp(-k Psi_lam) carries no flux: beta_eff = 4 beta/c."""
    k = sp.Symbol("k", positive=True)
    Psi_lam = potential((theta,))
    (J,) = flux(sp.exp(-k * Psi_lam), Psi_lam, (theta,))
    (solution,) = sp.solve(sp.expand(J * sp.exp(k * Psi_lam)), k)
    return solution


def check_gibbs(dimension: int, inverse: sp.Expr) -> None:
    """exp(-inverse Psi_lam) carries no flux in R^dimension."""
    x = space(dimension)
    Psi_lam = potential(x)
    for J in flux(sp.exp(-inverse * Psi_lam), Psi_lam, x):
        claim = f"flux of the Gibbs law exp(-({inverse}) Psi_lam)"
        vanishes(J * sp.exp(inverse * Psi_lam), claim)


# ---- which noise, and the solvable case that tests it


def stationary_moment(i: int, j: int) -> sp.Expr:
    """E theta_i theta_j with L(theta_i theta_j) = 0 in the mean, Psi = 0: delta_ij c/(4 beta lam)."""
    x, moment = space(2), sp.Symbol("m", real=True)
    change = generator(x[i] * x[j], ridged(sp.S.Zero, x), x)
    (solution,) = sp.solve(sp.expand(change).subs(x[i] * x[j], moment), moment)
    return solution


def consistent_constant() -> sp.Expr:
    """The c of diffusion 2 xi/beta; ``CertificateFailure`` when the Gibbs law exp(-beta Psi_lam) asks for another."""
    (of_equation,) = sp.solve(diffusion() - 2 * xi / beta, c)
    (of_law,) = sp.solve(gibbs_temperature() - beta, c)
    vanishes(of_equation - of_law, "noise constant of the equation and of the Gibbs law")
    vanishes(of_equation - CONSISTENT, "noise constant of the workbench")
    return of_equation


# ---- the steps


def equation_steps() -> tuple[Step, ...]:
    """Adjoint and clock."""
    for dimension in (1, 2):
        check_adjoint(dimension)
    check_clock()
    x, tau = (theta,), sp.Symbol("tau", positive=True)
    moved = sp.Function("rho")(theta, tau)
    right = right_hand_side(moved, ridged(sp.Function("Psi")(theta, tau), x), x)
    return (
        Step(
            "Fokker-Planck equation",
            "adjoint of the generator: integration by parts against every test function",
            sp.Eq(sp.Derivative(density(x), t), right_hand_side(density(x), potential(x), x), evaluate=False),
            (exact("adjoint of the generator, R^1, R^2", "f rhs - rho L f is a divergence, symbols"),),
            note=r"In $R^D$ the divergence and the Laplacian take the place of the derivatives.",
        ),
        Step(
            "Change of clock",
            r"chain rule with $\tau = \int_0^t$ of the schedule xi, which multiplies the whole right-hand side",
            sp.Eq(sp.Derivative(moved, tau), sp.Add(*(term / xi for term in right.args)), evaluate=False),
            (exact("no xi in the clock tau", "rho(theta, int xi) put into the equation, symbols"),),
            note=r"The sum of the $s_k$ is a Riemann sum of $\tau$.",
        ),
    )


def free_energy_steps() -> tuple[Step, ...]:
    """F, its first variation, the entropy weight that dissipates, the Gibbs law, convexity."""
    check_first_variation()
    check_convexity()
    b, inverse = entropy_weight(), gibbs_temperature()
    for dimension in (1, 2):
        check_dissipation(dimension, b)
        check_gibbs(dimension, inverse)
    vanishes(b * inverse - 1, "the stationary law of the equation is that of F")
    x = (theta,)
    rho, Psi_lam = density(x), potential(x)
    F, E, V, U = (sp.Function(name) for name in ("F", "E", "V", "U"))
    y, Z, star = sp.Symbol("y"), sp.Symbol("Z"), sp.Function("rho_*")
    whole, prime = (theta, -sp.oo, sp.oo), (other, -sp.oo, sp.oo)
    pairs = U(theta, other) * rho * rho.subs(theta, other)
    risk = E(y**2) + 2 * sp.Integral(V(theta) * rho, whole) + sp.Integral(pairs, whole, prime)
    entropy = weight * sp.Integral(rho * sp.log(rho), whole)
    slope = sp.Derivative(Psi_lam + b * sp.log(rho), theta)
    eta, chi = sp.Symbol("eta", real=True), sp.Function("chi")
    squared = sp.Integral(U(theta, other) * chi(theta) * chi(other), whole, prime)
    spread = weight * sp.Integral(chi(theta) ** 2 / (rho + eta * chi(theta)), whole)
    return (
        Step(
            "Free energy",
            "definition: half the risk, the ridge, and the entropy with a weight b still open",
            sp.Eq(F(t), risk / 2 + sp.Integral(lam * theta**2 / 2 * rho, whole) + entropy, evaluate=False),
        ),
        Step(
            "First variation",
            r"symmetry of $U$ and conservation of mass; $\Psi = V + \int U d\rho$",
            sp.Eq(
                sp.Derivative(F(t), t),
                sp.Integral((Psi_lam + weight * sp.log(rho)) * sp.Derivative(rho, t), whole),
                evaluate=False,
            ),
            (exact("dR/dt / 2 = int Psi d_t rho", "symmetric U, exchange of the pair, symbols"),),
        ),
        Step(
            "Entropy weight",
            r"the variation in $\Psi$ of dF/dt plus the dissipation vanishes for this b only",
            sp.Eq(weight, b, evaluate=False),
            (exact("entropy weight matches the noise constant", "Euler operator, solved for b"),),
        ),
        Step(
            "Dissipation identity",
            "integration by parts",
            sp.Eq(
                sp.Derivative(F(t), t),
                -2 * xi * sp.Integral(rho * slope**2, whole),
                evaluate=False,
            ),
            (exact("dissipation identity, R^1, R^2", "the difference is a divergence, symbols"),),
            note="Never positive.  With any other entropy weight the difference is no divergence.",
        ),
        Step(
            "Gibbs law",
            "the law without flux",
            sp.Eq(star(theta), sp.exp(-inverse * sp.Function("Psi_lambda")(theta)) / Z, evaluate=False),
            (exact("flux of the Gibbs law", "zero in R^1, R^2, symbols"),),
            note=r"$\Psi$ is that of $\rho_*$ itself: a fixed point.",
        ),
        Step(
            "Convexity along mixtures",
            r"second derivative along $\rho$ plus a multiple of a $\chi$ of total mass zero",
            sp.Eq(sp.Derivative(F(eta), (eta, 2)), squared + spread, evaluate=False),
            (exact("second derivative of F", "differentiation, symbols"),),
            note=(
                r"Strictly positive when $U$ is positive semidefinite, as $E \sigma \sigma'$ is: $F$ has one minimiser, "
                "and the Gibbs law is unique.  Without that property of the kernel uniqueness does not follow."
            ),
        ),
    )


def noise_steps() -> tuple[Step, ...]:
    """Which noise constant is consistent, and the case U = V = 0."""
    variance = stationary_moment(0, 0)
    vanishes(stationary_moment(0, 1), "covariance of different coordinates, U = V = 0")
    # a density exp(-k lam theta^2/2) has variance 1/(k lam)
    vanishes(variance - 1 / (gibbs_temperature() * lam), "stationary variance against the Gibbs law")
    return (
        Step(
            "The consistent noise constant",
            r"diffusion 2 xi/$\beta$, and a Gibbs law of inverse temperature $\beta$, ask for the same c",
            sp.Eq(c, consistent_constant(), evaluate=False),
            (exact("one c for the equation and the law", "both solved for c"),),
        ),
        Step(
            "Ornstein-Uhlenbeck case",
            r"moment equation of the generator, $U = V = 0$: the stationary covariance is $v I$",
            sp.Eq(sp.Symbol("v"), variance, evaluate=False),
            (exact("stationary covariance, U = V = 0", "variance of the Gibbs law, symbols"),),
            note=r"1/($\beta \lambda$) at the consistent constant.",
        ),
    )
