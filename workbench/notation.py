"""The symbols of the derivations, and their names in code where those differ."""

from __future__ import annotations

import sympy as sp

r, r2 = sp.symbols("r r'", positive=True)  # |w|, |w'|
s, s2 = sp.symbols("s s'", positive=True)  # standard deviations of <w, x>, <w', x>
c = sp.Symbol("c", positive=True)  # scale of a spherical coordinate
tau_plus, tau_minus = sp.symbols("tau_+ tau_-", positive=True)
k, d = sp.symbols("k d", integer=True, positive=True)
corr = sp.Symbol("rho", real=True)  # cosine of the angle of w and w'

CODE_NAMES = {"tau_+": "tau_plus", "tau_-": "tau_minus", "r'": "r2", "s'": "s2"}
