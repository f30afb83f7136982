# %% [markdown]
# Isotropic Gaussians with trained ReLU units
#
# Statement. y = +1 or -1 with probability 1/2 each and x | y ~ N(0, tau_y^2 I_d). A two-layer network
# yhat(x) = (1/N) sum_i a_i max(<w_i, x> + b_i, 0) is trained by one-pass SGD on the square loss,
# output weights and offsets included [MMN18].
#
# Assumption. At the start the law of (a, b, w) is invariant under rotations of w. So is the data,
# hence the distributional dynamics stays invariant and closes on (a, b, r), r = |w|.

# %%
"""Derive the isotropic model with affine ReLU units and write its module."""

from workbench import ReLU, derive, isotropic_gaussians
from workbench.codegen import write_module

MODEL = isotropic_gaussians(ReLU(), unit="affine")

# %% [markdown]
# An offset b moves the knot of the ReLU to -b, so every function of the scale s becomes one of (s,
# b): q(s, b) = E (b + sG)_+ = s phi(b/s) + b Phi(b/s). Its derivative in b is alpha_0, the one in s
# is alpha_1.
#
# Finding.  V and U(., theta') are linear in a and homogeneous of degree one in (b, r): a unit can trade its
# output weight for its length, and the dynamics conserves a^2 - b^2 - r^2 as long as there is neither ridge
# nor noise.

# %%
if __name__ == "__main__":
    derivation = derive(MODEL)
    print(derivation.text())
    print(f"certified and wrote {write_module(derivation)}")
