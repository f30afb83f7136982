"""Certificates of U and of the pair kernels over the whole range of norms, by mpmath: too dear for `derive`."""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from workbench import Erf, ReLU, anisotropic_gaussians, isotropic_gaussians, truncated_relu
from workbench.certificates import Oracle, certify
from workbench.evaluators import Evaluator
from workbench.special import mp_sphere_density

MODELS = {
    "isotropic_truncated_relu": isotropic_gaussians(truncated_relu()),
    "isotropic_relu": isotropic_gaussians(ReLU(), unit="affine"),
    "isotropic_erf": isotropic_gaussians(Erf()),
    "anisotropic_truncated_relu": anisotropic_gaussians(truncated_relu()),
    "anisotropic_relu": anisotropic_gaussians(ReLU(), unit="affine"),
}
ONE_BLOCK = [name for name, model in MODELS.items() if len(model.blocks) == 1]
TWO_BLOCKS = [name for name, model in MODELS.items() if len(model.blocks) == 2]
EXPONENTS = range(-6, 4)
END = 1 - mp.mpf(10) ** -6


def moment(k: int, n: int) -> Any:
    """m_k(n) = 1 3 ... (k-1) / (n (n+2) ... (n+k-2))."""
    return mp.fprod(mp.mpf(2 * i + 1) / (n + 2 * i) for i in range(k // 2))


@pytest.mark.parametrize("name", ONE_BLOCK)
@pytest.mark.parametrize(
    "i", [0, 6, 9, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2, 3, 4, 5, 7, 8))]
)
def test_series_of_U_in_one_block(name: str, i: int) -> None:
    """sum_k m_k(40) a_k(s) a_k(s'), k <= 80 (m_82 = 2e-17), against E over |x| and two free directions."""
    model = MODELS[name]
    values, oracle = Evaluator(model), Oracle(model.activation)
    s, s2 = mp.mpf(10) ** EXPONENTS[i], mp.mpf(10) ** EXPONENTS[(i + 1) % 10]
    b, b2 = (mp.mpf("0.75"), mp.mpf(-2)) if model.has_offset else (mp.mpf(0), mp.mpf(0))

    def series(s: Any, s2: Any) -> Any:
        return mp.fsum(moment(k, 40) * values.a(k, s, b) * values.a(k, s2, b2) for k in range(0, 82, 2))

    certify("u", "orbit", series, lambda s, s2: oracle.orbit(40, s, s2, b, b2), [(s, s2)], 1e-12)


@cache
def angles(n: int) -> tuple[tuple[Any, Any], ...]:
    """Cosines and weights of the angle in R^n: Gauss-Legendre in the angle."""
    x, w = np.polynomial.legendre.leggauss(60)
    with mp.workdps(22):
        rule = [
            (mp.pi / 2 * mp.mpf(float(u)), mp.pi / 2 * mp.mpf(float(v))) for u, v in zip(x, w, strict=True)
        ]
        held = [(mp.sin(u), v * mp.cos(u) ** (n - 2) * mp_sphere_density(n, mp.mpf(0))) for u, v in rule]
    return tuple((c, v) for c, v in held if v > 1e-16)


@pytest.mark.slow
@pytest.mark.parametrize("name", TWO_BLOCKS)
@pytest.mark.parametrize("i", [1, 5, 8])
def test_series_of_U_in_two_blocks(name: str, i: int) -> None:
    """The binomial sum over both blocks, n1 = n2 = 20, against the certified pair kernel averaged over both angles."""
    model = MODELS[name]
    values = Evaluator(model)
    radii = (
        [mp.mpf(10) ** EXPONENTS[(i + j) % 10] for j in (0, 1)],
        [mp.mpf(10) ** EXPONENTS[(2 * i + j) % 10] for j in (1, 0)],
    )
    (x1, x2), (y1, y2) = radii
    b, b2 = (mp.mpf("0.75"), mp.mpf(-2)) if model.has_offset else (mp.mpf(0), mp.mpf(0))
    s, s2 = mp.hypot(x1, x2), mp.hypot(y1, y2)

    def series() -> Any:
        total = mp.mpf(0)
        for k in range(0, 60, 2):
            inner = mp.fsum(
                mp.binomial(k, j) * moment(j, 20) * moment(k - j, 20)
                * (x1 * y1) ** j * (x2 * y2) ** (k - j) / (s * s2) ** k
                for j in range(0, k + 1, 2)
            )  # fmt: skip
            total += values.a(k, s, b) * values.a(k, s2, b2) * inner
        return total

    def average() -> Any:
        return mp.fsum(
            v * v2 * values.pair(s, s2, (x1 * y1 * c + x2 * y2 * c2) / (s * s2), b, b2)
            for c, v in angles(20)
            for c2, v2 in angles(20)
        )

    # the nodes and weights of the angles are float64: 1e-15 of sigma^2 <= 56 at each of the thousands
    certify("u", "angles", series, average, [()], 2e-13)


@pytest.mark.parametrize("name", ["isotropic_truncated_relu", "isotropic_erf"])
@pytest.mark.parametrize("rho", [END, -END])
@pytest.mark.parametrize(
    "i", [0, 6, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2, 3, 4, 5, 7, 8, 9))]
)
def test_pair_kernels_of_nearly_parallel_units(name: str, rho: Any, i: int) -> None:
    model = MODELS[name]
    # of about one length: only then do nearly parallel units reach their kinks together
    s = mp.mpf(10) ** EXPONENTS[i]
    s2 = mp.mpf("1.25") * s
    zero = mp.mpf(0)
    oracle = Oracle(model.activation)
    certify("pair", "nested", Evaluator(model).pair, oracle.pair, [(s, s2, rho, zero, zero)], 1e-12)
