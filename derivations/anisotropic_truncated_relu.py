# %% [markdown]
# Anisotropic Gaussians with the truncated ReLU
#
# Statement. y = +1 or -1 with probability 1/2 each, and x | y ~ N(0, Sigma_y) in d dimensions: the
# variance is tau_y^2 on s0 coordinates, known to nobody, and 1 on the other d - s0. A two-layer
# network yhat(x) = (1/N) sum_i sigma(<w_i, x>) is trained by one-pass SGD on the square loss. sigma
# is the truncated ReLU of [MMN18]: -2.5 up to 0.5, 7.5 from 1.5 on, linear between.
#
# Assumption. w_i ~ N(0, kappa^2/d I_d) at the start. The law of the data and of w are invariant under
# O(s0) x O(d - s0), so the distributional dynamics stays invariant and closes on the two norms r1 =
# |P w| and r2 = |(1 - P) w|, P the projection on the s0 coordinates.

# %%
"""Derive the anisotropic model with the truncated ReLU and write its module."""

from workbench import anisotropic_gaussians, derive, truncated_relu
from workbench.codegen import write_module

MODEL = anisotropic_gaussians(truncated_relu())

# %% [markdown]
# What changes against the isotropic model. A unit sees the class y as a Gaussian of variance tau_y^2
# r1^2 + r2^2, so V is the same function q of another scale. The kernel needs the rotations of both
# blocks: the correlation of two units is a sum of two independent cosines, its k-th power a binomial
# sum, and the features are products of a_k(s) with powers of the shares of the blocks in s.
#
# Finding.  r2 adds the same variance to both classes.  At r1 = 0 they look alike and V = 0: only units
# with weight in the informative block tell the classes apart, and r2 blurs what they see.

# %%
if __name__ == "__main__":
    derivation = derive(MODEL)
    print(derivation.text())
    print(f"certified and wrote {write_module(derivation)}")
