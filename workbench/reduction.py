"""From the Fokker-Planck equation in R^n to the equation of the radius, derived and checked in symbols."""

from __future__ import annotations

import sympy as sp

from workbench.errors import CertificateFailure

r = sp.Symbol("r", positive=True)
t = sp.Symbol("t", positive=True)
n = sp.Symbol("n", positive=True)
lam = sp.Symbol("lambda", nonnegative=True)
beta = sp.Symbol("beta", positive=True)
xi = sp.Function("xi")(t)
psi = sp.Function("psi")(r)
rho = sp.Function("rho")(r, t)


def radial_laplacian(f: sp.Expr) -> sp.Expr:
    """Laplacian of w -> f(|w|) in R^n, as a function of r: f'' + (n-1)/r f'."""
    return sp.diff(f, r, 2) + (n - 1) / r * sp.diff(f, r)


def check_radial_laplacian() -> None:
    """Compare ``radial_laplacian`` with Cartesian second derivatives of a test function in R^2, R^3, R^5.

    The test function r^m with a free exponent m spans all radial functions.
    """
    m = sp.Symbol("m", positive=True)
    for dimension in (2, 3, 5):
        w = sp.symbols(f"w0:{dimension}", real=True)
        square = sum(x**2 for x in w)
        cartesian = sum(sp.diff(square ** (m / 2), x, 2) for x in w)
        radial = radial_laplacian(r**m).subs(n, dimension)
        difference = sp.simplify(cartesian - radial.subs(r, sp.sqrt(square)))
        if difference != 0:
            raise CertificateFailure(f"radial Laplacian in R^{dimension}: left {difference}")


def ridged_potential() -> sp.Expr:
    """psi_lam = psi + (lam/2) r^2."""
    return psi + lam * r**2 / 2


def generator(f: sp.Expr) -> sp.Expr:
    """Generator of r_t = |w_t| on a test function: 2 xi ( -psi_lam' f' + Laplacian(f)/beta )."""
    return 2 * xi * (-sp.diff(ridged_potential(), r) * sp.diff(f, r) + radial_laplacian(f) / beta)


def reduced_right_hand_side() -> sp.Expr:
    """2 xi d_r(rho d_r psi_lam) + (2 xi/beta) [ d_rr rho - d_r((n-1)/r rho) ]."""
    transport = 2 * xi * sp.Derivative(rho * sp.Derivative(ridged_potential(), r), r)
    noise = 2 * xi / beta * (sp.Derivative(rho, (r, 2)) - sp.Derivative((n - 1) / r * rho, r))
    return transport + noise


def check_reduced_equation() -> None:
    """The right-hand side is the adjoint of the generator: f (rhs) - rho (L f) is a derivative in r.

    The flux of that derivative is written out, so the identity holds term by term, for every f, rho, psi.
    """
    f = sp.Function("f")(r)
    drift = 2 * xi * (-sp.diff(ridged_potential(), r) + (n - 1) / (beta * r))
    diffusion = 2 * xi / beta
    flux = f * (diffusion * sp.diff(rho, r) - drift * rho) - diffusion * rho * sp.diff(f, r)
    difference = f * reduced_right_hand_side().doit() - rho * generator(f) - sp.diff(flux, r)
    if sp.expand(difference) != 0:
        raise CertificateFailure(f"reduced equation is not the adjoint of the generator: left {difference}")


def effective_potential() -> sp.Expr:
    """psi_lam - ((n-1)/beta) log r, whose Gibbs law exp(-beta .) is stationary for a frozen psi."""
    return ridged_potential() - (n - 1) / beta * sp.log(r)


def check_gibbs_law() -> None:
    """With psi frozen, exp(-beta effective_potential) makes the right-hand side vanish."""
    gibbs = sp.exp(-beta * effective_potential())
    value = reduced_right_hand_side().subs(rho, gibbs).doit()
    if sp.simplify(value / gibbs) != 0:
        raise CertificateFailure(f"Gibbs law is not stationary: left {sp.simplify(value / gibbs)}")
