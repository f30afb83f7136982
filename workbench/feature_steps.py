"""The features of the Hermite route and their gradients: what the generated module evaluates most."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import sympy as sp

from workbench import notation
from workbench.certificates import Certificate, Oracle, certify, normalised_hermite
from workbench.evaluators import Evaluator
from workbench.models import Model
from workbench.notation import k
from workbench.potential_steps import TAUS, offsets, scale_arguments
from workbench.special import a
from workbench.steps import Step


def feature_step(model: Model, values: Evaluator) -> Step:
    """The features of the Hermite route, and their gradients."""
    arguments = scale_arguments(model)
    phi, j = sp.Function("phi"), sp.IndexedBase("j")
    i = sp.Symbol("i", integer=True)
    share = sp.IndexedBase("p")
    output = notation.a if model.affine else sp.S.One
    blocks = len(model.blocks)
    shares = sp.S.One if blocks == 1 and not model.shifted else sp.Product(share[i] ** j[i], (i, 1, blocks))
    return Step(
        "Features",
        r"$k = \sum_i j_i$, $j_i$ even; "
        r"$\partial_{\tau_i r_i} \phi = a [\sqrt{k+1} \alpha_{k+1} p_i p^j + (j_i/\sqrt{k}) \alpha_{k-1} p^{j - e_i}]$"
        if blocks > 1
        else r"one block: $p = 1$, $j = k$",
        sp.Eq(phi(*model.symbols), output * a(k, *arguments) * shares, evaluate=False),
        _feature_certificates(model, values),
        note=r"The terms of the gradient that grow like $1/s$ cancel." if blocks > 1 else "",
    )


def _feature_certificates(model: Model, values: Evaluator) -> tuple[Certificate, ...]:
    """phi and its gradient in the radii of class +1 against quadrature, on orbits from 1e-6 to 1e3."""
    oracle = Oracle(model.activation)
    tau = mp.mpf(TAUS[+1].p) / TAUS[+1].q
    indices = [(2,), (8,)] if len(model.blocks) == 1 else [(2, 0), (2, 4), (0, 6)]
    stds = [tau] if len(model.blocks) == 1 else [tau, mp.mpf(1)]
    scales = [scale for scale in oracle.scales() if scale <= oracle.limit() / 2]
    grid = []
    for place, radius in enumerate(scales):
        radii = [radius] if len(stds) == 1 else [radius, scales[(3 * place + 4) % len(scales)]]
        grid += [
            (*map(mp.mpf, index), offsets(model)[place % len(offsets(model))], *radii) for index in indices
        ]

    def split(point: tuple[Any, ...]) -> tuple[list[int], Any, tuple[Any, ...]]:
        return [int(x) for x in point[: len(stds)]], point[len(stds)], point[len(stds) + 1 :]

    def derived(*point: Any) -> list[Any]:
        j, offset, radii = split(point)
        _, scale, shares = _projected(stds, radii)
        order = sum(j)
        slopes = []
        for i, std in enumerate(stds):
            lowered = [max(power - (place == i), 0) for place, power in enumerate(j)]
            above = (
                mp.sqrt(order + 1) * values.alpha(order + 1, scale, offset) * shares[i] * _monomial(shares, j)
            )
            below = (
                j[i] / mp.sqrt(order) * values.alpha(order - 1, scale, offset) * _monomial(shares, lowered)
            )
            slopes.append(std * (above + below))
        return [values.a(order, scale, offset) * _monomial(shares, j), *slopes]

    def quadrature(*point: Any) -> list[Any]:
        j, offset, radii = split(point)
        value, _, by_radius = feature_integrals(oracle, j, offset, stds, radii)
        return [value, *by_radius]

    return (
        certify(
            "phi and its gradient in the radii",
            "E sigma h_k, E sigma' G h_k, quadrature",
            derived,
            quadrature,
            grid,
        ),
    )


def _projected(stds: list[Any], radii: tuple[Any, ...]) -> tuple[list[Any], Any, list[Any]]:
    """Lengths tau_i r_i, their root sum of squares s, and the shares."""
    lengths = [std * r for std, r in zip(stds, radii, strict=True)]
    scale = mp.sqrt(mp.fsum(x * x for x in lengths))
    return lengths, scale, [x / scale for x in lengths]


def _monomial(shares: list[Any], j: list[int]) -> Any:
    return mp.fprod(p**power for p, power in zip(shares, j, strict=True))


def feature_integrals(
    oracle: Oracle, j: list[int], offset: Any, stds: list[Any], radii: tuple[Any, ...]
) -> tuple[Any, Any, list[Any]]:
    """a_k prod share^j of the Hermite route, its derivative in b and those in the radii, by quadrature."""
    _, scale, shares = _projected(stds, radii)
    h = normalised_hermite(sum(j))
    value = oracle.gaussian(scale, offset, False, h)
    by_scale = oracle.gaussian(scale, offset, True, lambda z: z * h(z))
    by_offset = oracle.gaussian(scale, offset, True, h)
    by_radius = []
    for i, std in enumerate(stds):
        # d share_l/d length_i = (delta_il - share_l share_i)/scale, term by term
        change = mp.mpf(0)
        for place, power in enumerate(j):
            if power:
                others = [p - (q == place) for q, p in enumerate(j)]
                inner = ((place == i) - shares[place] * shares[i]) / scale
                change += power * inner * _monomial(shares, others)
        by_radius.append(std * (by_scale * shares[i] * _monomial(shares, j) + value * change))
    return value * _monomial(shares, j), by_offset * _monomial(shares, j), by_radius
