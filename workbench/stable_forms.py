"""Stable forms of smooth expressions: functions that overflow when they are written with exponentials.

log(1 + e^x), 1/(1 + e^-x), tanh and sech become named functions that know their derivatives: spelled out,
they and above all their derivatives overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import sympy as sp

from workbench.calculus.special import MP_MODULES
from workbench.special import NamedFunction, gauss_cdf

LINE = sp.Symbol("t", real=True)


class logistic(NamedFunction):
    """1/(1 + e^-x); its derivative is logistic(x) logistic(-x), exact in both tails."""

    nargs = 1
    mp_value = staticmethod(lambda x: 1 / (1 + mp.exp(-x)))
    latex_name, text_name = r"\operatorname{logistic}", "logistic"

    def slope(self) -> sp.Expr:
        x = self.args[0]
        return logistic(x) * logistic(-x)


class softplus(NamedFunction):
    """log(1 + e^x)."""

    nargs = 1
    latex_name, text_name = r"\operatorname{softplus}", "softplus"

    def slope(self) -> sp.Expr:
        return logistic(self.args[0])

    @staticmethod
    def mp_value(x: Any) -> Any:
        return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


class stable_sech(NamedFunction):
    """1/cosh(x), which does not overflow."""

    nargs = 1
    mp_value = staticmethod(mp.sech)
    latex_name, text_name = r"\operatorname{sech}", "sech"
    parity = +1

    def slope(self) -> sp.Expr:
        x = self.args[0]
        return -stable_sech(x) * stable_tanh(x)


class stable_tanh(NamedFunction):
    """tanh(x) with the derivative sech(x)^2: 1 - tanh^2 cancels in the tails."""

    nargs = 1
    mp_value = staticmethod(mp.tanh)
    latex_name, text_name = r"\tanh", "tanh"
    parity, vanishes_at_zero = -1, True

    def slope(self) -> sp.Expr:
        return stable_sech(self.args[0]) ** 2


class log_cosh(NamedFunction):
    """log cosh(x), of slope tanh(x)."""

    nargs = 1
    mp_value = staticmethod(lambda x: mp.log(mp.cosh(x)))
    latex_name, text_name = r"\log\cosh", "log cosh"
    parity = +1

    def slope(self) -> sp.Expr:
        return stable_tanh(self.args[0])


PLAIN: dict[Any, Callable[[sp.Expr], sp.Expr]] = {
    logistic: lambda x: 1 / (1 + sp.exp(-x)),
    softplus: lambda x: sp.log(1 + sp.exp(x)),
    stable_sech: sp.sech,
    stable_tanh: sp.tanh,
    log_cosh: lambda x: sp.log(sp.cosh(x)),
}
MODULES = [{f.__name__: f.mp_value for f in PLAIN}, *MP_MODULES]


def stable(e: sp.Expr) -> sp.Expr:
    """A smooth expression in LINE with the named functions in place of exponentials that overflow."""
    if not e.has(LINE) or not e.args:
        return e
    args = [stable(x) for x in e.args]
    if e.is_Mul or e.is_Add:
        return _stable_product(args) if e.is_Mul else _stable_sum(args)
    rules = {sp.tanh: stable_tanh, sp.sech: stable_sech, sp.log: _stable_log, sp.Pow: _stable_power}
    return rules.get(e.func, e.func)(*args)


def plain(e: sp.Expr) -> sp.Expr:
    """The named functions of the stable form written out again in functions of SymPy."""
    return e.replace(lambda x: type(x) in PLAIN, lambda x: PLAIN[type(x)](*x.args))


def _stable_log(x: sp.Expr) -> sp.Expr:
    """log(a + b e^u) = log a + softplus(u + log(b/a)), likewise for a sum of two exponentials."""
    if isinstance(x, sp.cosh):
        return log_cosh(x.args[0])
    terms = _two_exponentials(x)
    if terms is None:
        return sp.log(x)
    (u, a), (v, b) = terms
    return u + sp.log(a) + softplus(v - u + sp.log(b / a))


def _stable_power(base: sp.Expr, power: sp.Expr) -> sp.Expr:
    """(a + b e^u)^-n = a^-n logistic(-u - log(b/a))^n and cosh^-n = sech^n."""
    if power.is_negative and isinstance(base, sp.cosh):
        return stable_sech(base.args[0]) ** (-power)
    terms = _two_exponentials(base) if power.is_negative else None
    if terms is None or terms[0][0] != 0:
        return base**power
    (_, a), (v, b) = terms
    return a**power * logistic(-v - sp.log(b / a)) ** (-power)


def _two_exponentials(x: sp.Expr) -> tuple[tuple[sp.Expr, sp.Expr], tuple[sp.Expr, sp.Expr]] | None:
    """((u, a), (v, b)) with x = a e^u + b e^v, a, b > 0; u = 0 where there is a constant."""
    if not x.is_Add or len(x.args) != 2:
        return None
    found = []
    for term in sorted(x.args, key=sp.default_sort_key):
        c, rest = term.as_independent(LINE, as_Add=False)
        if not c.is_positive or not (rest == 1 or isinstance(rest, sp.exp)):
            return None
        found.append((sp.S.Zero if rest == 1 else rest.args[0], c))
    found.sort(key=lambda pair: pair[0] != 0)
    return found[0], found[1]


def _stable_product(factors: list[sp.Expr]) -> sp.Expr:
    """e^x logistic(-x) = logistic(x) and sinh sech = tanh."""
    product = sp.Mul(*factors)
    powers = product.as_powers_dict()
    for base in sorted(powers, key=sp.default_sort_key):
        n = powers[base]
        if isinstance(base, logistic):
            x = base.args[0]
            grown = [f for f in product.args if isinstance(f, sp.exp)]
            m = sp.cancel(-grown[0].args[0] / x) if grown else sp.S.Zero
            if m.is_Integer and n.is_Integer and 1 <= m <= n:
                return _stable_product([product / (base**m * grown[0]), logistic(-x) ** m])
        if isinstance(base, stable_sech) and n.is_positive:
            rise = sp.sinh(base.args[0])
            if powers.get(rise, sp.S.Zero).is_positive:
                return _stable_product([product / (base * rise), stable_tanh(base.args[0])])
    return product


def _stable_sum(terms: list[sp.Expr]) -> sp.Expr:
    """c + c erf(u) = 2 c Phi(sqrt(2) u), exact where erf is near -1."""
    total = sp.Add(*terms)
    constant, rest = total.as_independent(LINE, as_Add=True)
    if constant == 0:
        return total
    for term in sp.Add.make_args(rest):
        c, gate = term.as_independent(LINE, as_Add=False)
        if isinstance(gate, sp.erf) and c in (constant, -constant):
            u = c / constant * sp.sqrt(2) * gate.args[0]
            return total - constant - term + 2 * constant * gauss_cdf(u)
    return total
