# %% [markdown]
# Isotropic Gaussians with the hyperbolic tangent
#
# Statement. y = +1 or -1 with probability 1/2 each and x | y ~ N(0, tau_y^2 I_d). A two-layer network
# yhat(x) = (1/N) sum_i tanh(<w_i, x>) is trained by one-pass SGD on the square loss.
#
# Assumption. w_i ~ N(0, kappa^2/d I_d) at the start. The law of the data and of w are invariant under
# O(d), so the distributional dynamics stays invariant and closes on r = |w|.

# %%
"""Derive the isotropic model with the hyperbolic tangent and write its module."""

from workbench import Tanh, derive, isotropic_gaussians
from workbench.codegen import write_module

MODEL = isotropic_gaussians(Tanh())

# %% [markdown]
# No Gaussian expectation of tanh is closed, except for those that parity makes 0. The kernel is
# Mehler's series in the correlation with coefficients a_k, and each alpha_k is an integral that the
# generated module takes by a quadrature whose panels shrink around the bend of tanh: certified to
# 1e-12 like the closed forms, from s = 1e-6, a line, to s = 1e3, a step.
#
# Finding. As for every odd activation without offsets, V = 0 and, averaged over rotations, U = 0.

# %%
if __name__ == "__main__":
    derivation = derive(MODEL)
    print(derivation.text())
    print(f"certified and wrote {write_module(derivation)}")
