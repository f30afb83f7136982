# %% [markdown]
# Isotropic Gaussians with the error function
#
# Statement. y = +1 or -1 with probability 1/2 each and x | y ~ N(0, tau_y^2 I_d). A two-layer network
# yhat(x) = (1/N) sum_i erf(<w_i, x>) is trained by one-pass SGD on the square loss.
#
# Assumption. w_i ~ N(0, kappa^2/d I_d) at the start. The law of the data and of w are invariant under
# O(d), so the distributional dynamics stays invariant and closes on r = |w|.

# %%
"""Derive the isotropic model with the error function and write its module."""

from workbench import Erf, derive, isotropic_gaussians
from workbench.codegen import write_module

MODEL = isotropic_gaussians(Erf())

# %% [markdown]
# The error function is a smoothed step, erf(t) = 2 Phi(sqrt(2) t) - 1, so every expectation is an orthant
# probability of the projections with independent noise of variance 1/2 added: two units at a fixed angle
# give the arcsine of the correlation that is left, 2 K12/sqrt((1 + 2 K11)(1 + 2 K22)).
#
# Finding.  An odd activation without offsets is blind to these classes: q = 0 and all even a_k vanish, so V = 0
# and, averaged over rotations, U = 0.  But for ridge and noise, SGD started from an invariant law stands still
# in the limit; only the fluctuations of a finite network feel the pair kernel at fixed angles.  Trained offsets
# (unit="affine") break the parity.

# %%
if __name__ == "__main__":
    derivation = derive(MODEL)
    print(derivation.text())
    print(f"certified and wrote {write_module(derivation)}")
