"""The symbols of the derivations, and their names in code where those differ."""

from __future__ import annotations

import sympy as sp

r, r2 = sp.symbols("r r'", positive=True)  # |w|, |w'|
a, a2 = sp.symbols("a a'", real=True)  # output weights
b, b2 = sp.symbols("b b'", real=True)  # offsets: means of <w, x> + b
m = sp.Symbol("m", real=True)  # <w, mu>/|mu|
s, s2 = sp.symbols("s s'", positive=True)  # standard deviations of <w, x>, <w', x>
c = sp.Symbol("c", positive=True)  # scale of a spherical coordinate
tau_plus, tau_minus = sp.symbols("tau_+ tau_-", positive=True)
mu = sp.Symbol("mu", nonnegative=True)  # |mu|, the classes have means +mu and -mu
k, d, n = sp.symbols("k d n", integer=True, positive=True)
s0 = sp.Symbol("s_0", integer=True, positive=True)  # dimension of the informative block
corr = sp.Symbol("rho", real=True)  # correlation of <w, x> and <w', x>

GLYPHS = {corr: "ϱ"}  # set with a letter of its own, here as rho is the law of a unit, too
CODE_NAMES = {"tau_+": "tau_plus", "tau_-": "tau_minus", "r'": "r2", "s'": "s2", "b'": "b2"}
