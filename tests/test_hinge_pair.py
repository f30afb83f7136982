"""E[(s X - t)_+ (s2 Y - t2)_+] in float64, where two units see nearly the same or nearly opposite numbers."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from workbench.numerics import hinge_pair

GAPS = [2.0**-52, 1e-14, 1e-12, 1e-9, 1e-6, 1e-3, 0.3, 0.49, 0.51, 0.6, 0.999]
CASES = [
    (0.5, 54.0, 0.5, 54.0),
    (0.5, 54.0, 1.5, 54.0),
    (0.5, 54.0, -0.5, 54.0),
    (0.5, 1.0, 0.5, 1.0),
    (0.5, 54.0, 0.5, 53.99999),
    (0.5, 3.0, 1.5, 9.0),
    (0.5, 54.0, 0.5, 1e-2),
]


def exact(t: float, s: float, t2: float, s2: float, rho: float) -> mp.mpf:
    """An integral over X of the mean of the second factor given X, split where that sets in."""
    t, s, t2, s2, rho = map(mp.mpf, (t, s, t2, s2, rho))
    root = mp.sqrt((1 - rho) * (1 + rho))
    spread = s2 * root

    def integrand(x: mp.mpf) -> mp.mpf:
        mean = s2 * rho * x - t2
        return (mean * mp.ncdf(mean / spread) + spread * mp.npdf(mean / spread)) * (s * x - t) * mp.npdf(x)

    onset, width = t2 / (s2 * rho), root / abs(rho)
    inner = [onset + i * width for i in (-12, -4, -1, 0, 1, 4, 12)]
    return mp.quad(integrand, sorted({t / s, mp.mpf(12), *(x for x in inner if t / s < x < 12)}))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("gap", GAPS)
def test_near_equal_and_opposite_units(gap: float, sign: int) -> None:
    rho = sign * (1 - gap)
    for t, s, t2, s2 in CASES:
        with mp.workdps(40):
            wanted = exact(t, s, t2, s2, rho)
            found = float(hinge_pair(t, np.array(s), t2, np.array(s2), np.array(rho)))
            # what its docstring states, with room for some operations
            assert abs(found - wanted) <= 5e-16 * s * s2
