# %% [markdown]
# Isotropic Gaussians with the truncated ReLU
#
# Statement.  y = +1 or -1 with probability 1/2 each and x | y ~ N(0, tau_y^2 I_d).  A two-layer network
# yhat(x) = (1/N) sum_i sigma(<w_i, x>) is trained by one-pass SGD on the square loss.  sigma is -2.5 up
# to 0.5, 7.5 from 1.5 on, linear between: a bounded threshold unit [MMN18].
#
# Assumption.  w_i ~ N(0, kappa^2/d I_d) at the start.  The law of the data and of w are invariant under
# O(d), so the distributional dynamics stays invariant and closes on r = |w|.

# %%
"""Derive the isotropic model with the truncated ReLU and write its module."""

from workbench import derive, isotropic_gaussians, truncated_relu
from workbench.codegen import write_module

MODEL = isotropic_gaussians(truncated_relu())

# %% [markdown]
# `derive` follows the activation from its hinges to q(s) = E sigma(sG), to the Hermite coefficients
# a_k(s), to V and the finite-rank kernel U, and ends with the reduced Fokker-Planck equation.  Every
# number is certified against a quadrature of its defining integral; a failed certificate raises.
#
# Finding.  tau_plus r and tau_minus r see different parts of the threshold: units grow until the wide
# class is beyond it, and shrink where the narrow class still reaches it.

# %%
if __name__ == "__main__":
    derivation = derive(MODEL)
    print(derivation.text())
    print(f"certified and wrote {write_module(derivation)}")
