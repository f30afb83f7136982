# %% [markdown]
# Anisotropic Gaussians with trained ReLU units
#
# Statement. y = +1 or -1 with probability 1/2 each, and x | y has the variance tau_y^2 on s0
# coordinates and 1 on the other d - s0, mean 0. A two-layer network yhat(x) = (1/N) sum_i a_i
# max(<w_i, x> + b_i, 0) is trained by one-pass SGD on the square loss, output weights and offsets
# included [MMN18].
#
# Assumption. At the start the law of (a, b, w) is invariant under O(s0) x O(d - s0) acting on w. So
# is the data, hence the distributional dynamics stays invariant and closes on the four numbers (a, b,
# r1, r2).

# %%
"""Derive the anisotropic model with affine ReLU units and write its module."""

from workbench import ReLU, anisotropic_gaussians, derive
from workbench.codegen import write_module

MODEL = anisotropic_gaussians(ReLU(), unit="affine")

# %% [markdown]
# d + 2 numbers a unit become four, whatever d.  The offset of a unit shifts the knot, the two norms enter
# through the deviation s_y = sqrt(tau_y^2 r1^2 + r2^2) and through the shares of the blocks in it.
#
# Finding.  As in one block V and U(., theta') are linear in a and homogeneous of degree one in (b, r1, r2), so
# the dynamics conserves a^2 - b^2 - r1^2 - r2^2 without ridge and noise.

# %%
if __name__ == "__main__":
    derivation = derive(MODEL)
    print(derivation.text())
    print(f"certified and wrote {write_module(derivation)}")
