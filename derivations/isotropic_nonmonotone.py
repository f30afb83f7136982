# %% [markdown]
# Isotropic Gaussians with the non-monotone activation
#
# Statement.  y = +1 or -1 with probability 1/2 each and x | y ~ N(0, tau_y^2 I_d).  A two-layer network
# yhat(x) = (1/N) sum_i sigma(<w_i, x>) is trained by one-pass SGD on the square loss.  sigma is -2.5 up
# to 0, falls to -4 at 0.5, rises to 7.5 at 1.5 and stays there [MMN18]: the dip before the rise is what
# makes SGD fail from a small initialisation.
#
# Assumption.  w_i ~ N(0, kappa^2/d I_d) at the start.  The law of the data and of w are invariant under
# O(d), so the distributional dynamics stays invariant and closes on r = |w|.

# %%
"""Derive the isotropic model with the non-monotone activation and write its module."""

from workbench import derive, isotropic_gaussians, nonmonotone
from workbench.codegen import write_module

MODEL = isotropic_gaussians(nonmonotone())

# %% [markdown]
# The knot at 0 gives q(s) a linear term in s at 0, so V and the features have a kink at r = 0 when they
# are extended evenly: the flow reaches r = 0 in finite time and stays there as long as Psi grows with r.

# %%
if __name__ == "__main__":
    derivation = derive(MODEL)
    print(derivation.text())
    print(f"certified and wrote {write_module(derivation)}")
