# %% [markdown]
# The mean-field limit of noisy SGD
#
# Statement.  A two-layer network yhat(x) = (1/N) sum_i sigma(x; theta_i) is trained on the square loss by
# SGD with ridge lam and injected noise, one fresh sample (y, x) a step of size s = eps xi(k eps):
#
#     theta_i <- (1 - 2 lam s) theta_i + 2 s (y - yhat(x)) grad sigma(x; theta_i) + sqrt(c s/beta) g
#
# with g ~ N(0, I) drawn for each unit and each step.  At time t = k eps, as eps -> 0 and N -> oo, the law
# rho of the units follows
#
#     d_t rho = 2 xi div(rho grad Psi_lam) + (c xi/(2 beta)) Laplacian rho
#
# where Psi_lam = V + int U drho + (lam/2) |theta|^2, V = -E y sigma and U = E sigma sigma'.  The free
# energy F = R/2 + (lam/2) int |theta|^2 drho + b int rho log rho never grows along it for b = c/(4 beta),
# and the law at rest is exp(-(4 beta/c) Psi_lam)/Z [JKO98, MMN18].
#
# Assumptions.  sigma and test functions are smooth with bounded derivatives, the gradient of the loss
# has enough moments, rho decays at infinity, U is symmetric; it is positive semidefinite because it is
# E sigma sigma'.  That the empirical law of the units tends to a fixed rho as N -> oo (propagation of
# chaos) is not derived here but taken from [MMN18]; everything after it is.

# %%
"""Derive the limit of the update itself, and tabulate the noise constants found in print."""

from workbench import kramers_moyal, noise_conventions

# %% [markdown]
# First step: from the update to the generator.  A test function f changes over one step by E f(theta + J)
# - f(theta), J the jump.  Expanded in the square root of eps, the noise of the data enters at order eps^2
# only: over the t/eps steps it adds up to order eps and is gone in the limit.  The injected noise, of
# size sqrt(eps), enters at order eps and stays, as diffusion c xi/(2 beta).
#
# Second step: from the generator to the free energy.  Its adjoint is the equation above.  The schedule
# xi multiplies the whole right-hand side, so the clock tau = int xi dt removes it.  Along the equation
# dF/dt is minus an integral of squares for one entropy weight b and no other.
#
# Third step: the noise constant.  c is left open until here.  Printed sources use c = 4, 2 and 1 and
# write the same equation and the same Gibbs law beside each; `noise_conventions` derives what each
# leads to.  The case U = V = 0, an Ornstein-Uhlenbeck process, tells them apart without any theory: its
# stationary variance is that of a linear recursion, at a finite step as well.
#
# Last step: symmetry.  In coordinates of orbits, |w| of a block of dimension n gains the drift (n - 1)/r,
# that is the effective potential psi_lam - ((n - 1)/beta) log r that the models of this folder use.
#
# Each identity is checked between generic functions, in symbols: its certificate reads 0, and a
# remainder raises.

# %%
if __name__ == "__main__":
    print(kramers_moyal.text())

# %% [markdown]
# Finding.  Only c = 4 gives diffusion 2 xi/beta together with the Gibbs law exp(-beta Psi_lam), so only
# there is beta the inverse temperature of the law at rest.  The others are the same dynamics at another
# temperature: c = 2 at 2 beta, c = 1 at 4 beta.  The workbench uses c = 4 throughout.

# %%
if __name__ == "__main__":
    for row in noise_conventions():
        verdict = (
            "consistent" if row.consistent else f"the law at rest is exp(-{row.gibbs_temperature} Psi_lam)"
        )
        print(f"c = {row.constant}: {verdict}")
