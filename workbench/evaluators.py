"""Numbers from the functions that a derivation defines: by formula, or by quadrature where there is none."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp
from scipy import special

from workbench.activation_code import sigma_code, sigma_prime_code
from workbench.averages import gaussian_coefficients, pair_average
from workbench.calculus.special import MP_MODULES
from workbench.closed_forms import closed_forms
from workbench.models import Model
from workbench.notation import b, b2, corr, k, s, s2
from workbench.special import q

SPARE_DIGITS = (
    30  # for the cancellations of a closed form: what is certified is the formula, not its rounding
)


class Evaluator:
    """q, alpha_k, a_k and the pair kernel of a model, at mpmath's precision where the formula is closed.

    Where it is not, the float64 quadrature of the generated module is what is evaluated: it is the claim.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.closed = closed_forms(model)

    def q(self, scale: Any, offset: Any) -> Any:
        """q(s, b)."""
        if self.closed.q is not None:
            with mp.extradps(SPARE_DIGITS):
                return +self._mp_q(scale, offset)
        return float(self._table(False, 0, scale, offset)[0])

    def alpha(self, order: int, scale: Any, offset: Any) -> Any:
        """alpha_k(s, b)."""
        if self.closed.general is not None:
            with mp.extradps(SPARE_DIGITS):
                return +self._mp_alpha(int(order))(scale, offset)
        return float(self._table(True, int(order), scale, offset)[int(order)])

    def a(self, order: int, scale: Any, offset: Any) -> Any:
        """a_k(s, b), by Stein's identity from alpha."""
        if order == 0:
            return self.q(scale, offset)
        return scale * self.alpha(order - 1, scale, offset) / mp.sqrt(order)

    def pair(self, scale: Any, scale2: Any, rho: Any, offset: Any, offset2: Any) -> Any:
        """E sigma(b + s X) sigma(b' + s' Y)."""
        if self.closed.pair is not None:
            with mp.extradps(SPARE_DIGITS):
                return +self._mp_pair(scale, scale2, rho, offset, offset2)
        arguments = (np.array(float(x)) for x in (scale, scale2, rho, offset, offset2))
        return float(pair_average(*self._hints(False), *arguments))

    def number(self, expression: sp.Expr, values: dict[sp.Symbol, Any]) -> Any:
        """An expression in q and alpha (and symbols) at ``values``."""
        symbols = tuple(values)
        own = {
            "q": lambda scale, offset=0: self.q(scale, mp.mpf(offset)),
            "alpha": lambda order, scale, offset=0: self.alpha(int(order), scale, mp.mpf(offset)),
            "a": lambda order, scale, offset=0: self.a(int(order), scale, mp.mpf(offset)),
        }
        function = sp.lambdify(symbols, expression, modules=[own, *MP_MODULES])
        return function(*values.values())

    @cached_property
    def _mp_q(self) -> Any:
        return sp.lambdify((s, b), self.closed.q, modules=MP_MODULES)

    def _mp_alpha(self, order: int) -> Any:
        if order < len(self.closed.low or ()):
            return self._mp_low[order]
        return lambda scale, offset: self._mp_general(order, scale, offset)

    @cached_property
    def _mp_low(self) -> list[Any]:
        return [sp.lambdify((s, b), e, modules=MP_MODULES) for e in self.closed.low or ()]

    @cached_property
    def _mp_general(self) -> Any:
        return sp.lambdify((k, s, b), self.closed.general, modules=MP_MODULES)

    @cached_property
    def _mp_pair(self) -> Any:
        assert self.closed.pair is not None
        mean = self.closed.q
        spelled = self.closed.pair
        if mean is not None:
            spelled = spelled.replace(q, lambda *args: mean.xreplace(dict(zip((s, b), args, strict=False))))
        return sp.lambdify((s, s2, corr, b, b2), spelled, modules=MP_MODULES)

    def _table(self, slope: bool, order: int, scale: Any, offset: Any) -> Any:
        return gaussian_coefficients(
            *self._hints(slope), order, np.array(float(scale)), np.array(float(offset))
        )

    def _hints(self, slope: bool) -> tuple[Any, Any, Any, float]:
        sigma = self.model.activation
        function = self._sigma_prime if slope else self._sigma
        return function, tuple(map(float, sigma.kinks)), sigma.bends, sigma.wave

    @cached_property
    def _sigma(self) -> Any:
        return _compiled(sigma_code(self.model.activation))

    @cached_property
    def _sigma_prime(self) -> Any:
        return _compiled(sigma_prime_code(self.model.activation))


def _compiled(code: str) -> Any:
    """The elementwise function of z that a line of generated code stands for."""
    return eval(f"lambda z: {code}", {"xp": np, "np": np, "sp": special})  # our own text, from a SymPy tree
