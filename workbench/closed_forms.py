"""What a model needs to know of its activation, in symbols: q, alpha_k, g_n and the pair kernel.

Piecewise-linear activations take the formulas of ``workbench.gaussian``, which lose no digits as
the scale grows; every other one those of the calculus.  Where there is no closed form the entry is None, and
certificates and code take a quadrature instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import sympy as sp

from workbench import gaussian
from workbench.activations import PiecewiseLinear
from workbench.calculus.hermite import first_order
from workbench.calculus.integrals import Integral, LineIntegral, PlaneIntegral
from workbench.calculus.rules import Rule, of_functions
from workbench.models import Model
from workbench.notation import b, b2, c, corr, k, n, s, s2
from workbench.smooth import Activation

MAX_OPERATIONS = 1000
MAX_LOW_ORDERS = 24  # more separate formulas are no closed form that anybody wants to read


@dataclass(frozen=True)
class ClosedForms:
    """Formulas in s, b (0 where the model has no offset), and k, or None.

    Attributes
    ----------
    q
        q(s, b) = E sigma(b + s G).
    low, general
        alpha_k(s, b) = E[sigma'(b + s G) h_k(G)]: one formula each for k < len(low), one with k beyond.
    pair
        E sigma(b + s X) sigma(b' + s' Y), correlation rho; may hold q.
    g, g_scale, g_offset
        g_n(c, b) = E sigma(b + c S) and its derivatives in c and b.
    rules
        the rules of the calculus that were used.
    """

    q: sp.Expr | None
    low: tuple[sp.Expr, ...] | None
    general: sp.Expr | None
    pair: sp.Expr | None
    g: sp.Expr | None
    g_scale: sp.Expr | None
    g_offset: sp.Expr | None
    rules: tuple[Rule, ...]

    def alpha(self, order: sp.Expr | int) -> sp.Expr:
        """The formula for alpha at an order, a number or ``k``."""
        assert self.low is not None and self.general is not None
        if sp.sympify(order).is_Integer and order < len(self.low):
            return self.low[int(order)]
        return self.general.xreplace({k: sp.sympify(order)})


@lru_cache(maxsize=64)
def closed_forms(model: Model, in_code: bool = False) -> ClosedForms:
    """The closed forms of the activation of ``model``, by rule.

    ``in_code``: q and alpha as the module needs them, with an offset also where only the sphere of one
    block, seen from the other, has one.
    """
    sigma = model.activation
    offset, offset2 = (b, b2) if model.has_offset else (sp.S.Zero, sp.S.Zero)
    on_sphere = b if model.sphere_has_offset else sp.S.Zero
    if in_code and not model.has_offset:
        return replace(closed_forms(model), **_line_forms(sigma, on_sphere))
    if isinstance(sigma, PiecewiseLinear):
        return ClosedForms(
            **_line_forms(sigma, offset),
            pair=gaussian.gaussian_pair(sigma, s, s2, corr, offset, offset2),
            g=gaussian.sphere_mean(sigma, n, c, on_sphere),
            g_scale=gaussian.sphere_scale_slope(sigma, n, c, on_sphere),
            g_offset=gaussian.sphere_offset_slope(sigma, n, c, on_sphere),
            rules=(),
        )
    return _by_calculus(sigma, offset, offset2)


def _line_forms(sigma: PiecewiseLinear | Activation, offset: sp.Expr) -> dict[str, Any]:
    """q, low and general at an offset."""
    if isinstance(sigma, PiecewiseLinear):
        return {
            "q": gaussian.gaussian_mean(sigma, s, offset),
            "low": (gaussian.slope_mean(sigma, s, offset),),
            "general": gaussian.slope_coefficient(sigma, k, s, offset),
        }
    slope = sigma.slope_function
    general = _closed(LineIntegral(slope, offset, s, k))
    start = first_general_order(sigma)
    low = [_closed(LineIntegral(slope, offset, s, sp.Integer(order))) for order in range(start)]
    formulas = [general, *low]
    if None in formulas or start > MAX_LOW_ORDERS or any(sp.count_ops(f) > MAX_OPERATIONS for f in formulas):
        general, low = None, []
    return {
        "q": _closed(LineIntegral(sigma.function, offset, s)),
        "low": tuple(low) if general is not None else None,
        "general": general,
    }


def _by_calculus(sigma: Activation, offset: sp.Expr, offset2: sp.Expr) -> ClosedForms:
    function = sigma.function
    law = (s**2, corr * s * s2, s2**2)
    return ClosedForms(
        **_line_forms(sigma, offset),
        pair=_closed(PlaneIntegral(function, function, (offset, offset2), law)),
        g=None,
        g_scale=None,
        g_offset=None,
        rules=tuple(of_functions(function, function)),
    )


def first_general_order(sigma: Activation) -> int:
    """The order from which the formula of alpha_k with a symbolic k holds."""
    return max((first_order(shape) for shape, _ in sigma.slope_function.atoms), default=0)


def _closed(integral: Integral) -> sp.Expr | None:
    """The value of an integral where the rules reach all of it."""
    value = integral.value()
    return None if value.parts else value.closed
