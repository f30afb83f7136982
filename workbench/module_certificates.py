"""Certificates of the generated float64 code: what runs, against the certified formulas and the integrals."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import mpmath as mp
import numpy as np

from workbench.certificates import SCALE_GRID, Certificate, certify, orbit_integral
from workbench.notation import c, corr, d, k, r, s, s2, tau_minus, tau_plus
from workbench.special import mp_function, q, q_prime
from workbench.steps import in_closed_form

if TYPE_CHECKING:
    from workbench.derivation import Derivation

TOLERANCE = 1e-10  # relative to max(1, |value|)
TAUS = (1.75, 0.25)  # exact in binary, so that both sides see the same numbers


def certify_module(module: ModuleType, derivation: Derivation) -> tuple[Certificate, ...]:
    """Compare V, the features, their gradients, the pair kernel and U of ``module`` with what was derived.

    Raises
    ------
    CertificateFailure
        where the float64 code is off by more than 1e-10 of max(1, |value|).
    """
    closed = derivation.definitions
    p = {"d": 40, "tau_plus": TAUS[0], "tau_minus": TAUS[1]}
    numbers = {tau_plus: TAUS[0], tau_minus: TAUS[1]}
    of_q = {q: closed["q"], q_prime: closed["q_prime"]}
    scales = [(scale,) for scale in SCALE_GRID]
    orders = [(mp.mpf(order), scale) for order in (2, 8, 28) for scale in SCALE_GRID]
    spheres = [(mp.mpf(dimension), scale) for dimension in (2, 3, 40) for scale in SCALE_GRID]

    def against_formula(claim: str, code: Callable[..., Any], formula: Any, grid: list[Any]) -> Certificate:
        return certify(f"float64: {claim}", "the certified formula", code, formula, grid, TOLERANCE)

    def at(function: Callable[..., Any]) -> Callable[[Any], float]:
        return lambda radius: float(np.ravel(function(np.array([[float(radius)]]), p))[0])

    def coefficient(name: str) -> Callable[[Any, Any], float]:
        return lambda order, scale: float(
            getattr(module, name)(np.array([int(order)]), np.array(float(scale)))[0]
        )

    def sphere(name: str) -> Callable[[Any, Any], float]:
        return lambda dimension, scale: float(getattr(module, name)(int(dimension), np.array(float(scale))))

    def formula(name: str, *symbols: Any) -> Callable[..., Any]:
        value = mp_function(closed[name], *symbols)
        return lambda order, scale: value(int(order), scale)

    def U_certificate(dimension: int) -> Certificate:
        # without a requested tolerance the module states the error it reached, relative to this size
        one = {"d": dimension, "tau_plus": 1.0, "tau_minus": 1.0}
        size = max(1.0, _size(module, 0.75) * _size(module, 1.25))
        return certify(
            f"float64: U(r, r'), d = {dimension}",
            "E_R E_x over independent directions, nested quadrature",
            lambda u, v: float(module.U(np.array([float(u)]), np.array([float(v)]), one)),
            lambda u, v: orbit_integral(derivation.model.activation, dimension, u, v),
            [(mp.mpf(0.75), mp.mpf(1.25))],
            max(TOLERANCE, module.kernel_form(dimension).error) * size,
        )

    pair = mp_function(in_closed_form(closed["pair"], of_q), s, s2, corr)
    pairs = [
        tuple(map(mp.mpf, point)) for point in ((0.5, 1.75, 0.5), (2.5, 1.25, -0.875), (8.0, 8.0, 0.9921875))
    ]
    return (
        against_formula(
            "V(r)", at(module.V), mp_function(in_closed_form(derivation.V, of_q).subs(numbers), r), scales
        ),
        against_formula(
            "V'(r)",
            at(module.grad_V),
            mp_function(in_closed_form(derivation.grad_V, of_q).subs(numbers), r),
            scales,
        ),
        against_formula("a_k(s), k = 2, 8, 28", coefficient("a"), formula("a", k, s), orders),
        against_formula("a_k'(s), k = 2, 8, 28", coefficient("a_prime"), formula("a_prime", k, s), orders),
        against_formula("g_d(c), d = 2, 3, 40", sphere("g"), formula("g", d, c), spheres),
        against_formula("g_d'(c), d = 2, 3, 40", sphere("g_prime"), formula("g_prime", d, c), spheres),
        against_formula(
            "pair kernel",
            lambda u, v, rho: float(module.pair_kernel(*(np.array(float(x)) for x in (u, v, rho)))),
            pair,
            pairs,
        ),
        U_certificate(3),
        U_certificate(40),
    )


def _size(module: ModuleType, scale: float) -> float:
    """|sigma|_s = sqrt(E sigma(s G)^2)."""
    value = float(module.pair_kernel(np.array(scale), np.array(scale), np.array(1.0)))
    return math.sqrt(max(value, 0.0))
