"""Special functions that stay named from the derivation to the generated code.

SymPy would expand them into ``exp``/``erf``/``betainc`` forms that overflow; kept by name, each has
an exact derivative rule, a high-precision value for certificates, and a safe float64 body in
``workbench.numerics`` under the same name.
"""

from __future__ import annotations

from typing import Any

import mpmath as mp
import sympy as sp
from sympy.core.function import ArgumentIndexError

from workbench.quadrature import integrate, panels

SUBSCRIPTS = str.maketrans("0123456789+-k", "₀₁₂₃₄₅₆₇₈₉₊₋ₖ", " ")


class NamedFunction(sp.Function):
    """Base of the named functions: notation for the renderers, ``mp`` value for the certificates."""

    latex_name = ""
    text_name = ""
    parity = 0  # +1 even, -1 odd in the last argument, 0 neither
    vanishes_at_zero = False

    @classmethod
    def eval(cls, *args: sp.Expr) -> sp.Expr | None:
        x = args[-1]
        if cls.vanishes_at_zero and x.is_zero:
            return sp.S.Zero
        if cls.parity and x.could_extract_minus_sign():
            return cls.parity * cls(*args[:-1], -x)
        return None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        if argindex != len(self.args):
            raise ArgumentIndexError(self, argindex)
        return self.slope()

    def slope(self) -> sp.Expr:
        """Derivative in the last argument."""
        raise ArgumentIndexError(self, len(self.args))

    @staticmethod
    def mp_value(*args: Any) -> Any:
        """High-precision value, from a definition that shares no code with the float64 body."""
        raise AssertionError("each named function defines its own value")

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        """The number to ``prec`` bits through ``mp_value``; None, unevaluated, where there is none.

        The working precision is raised until two values agree: differences cancel near their zero.
        """
        if type(self).mp_value is NamedFunction.mp_value:  # a model's function, known by name alone
            return None
        value: Any = None
        for work in (prec + 20, 2 * prec + 60, 4 * prec + 180):
            with mp.workprec(work):
                try:
                    arguments = [a._to_mpmath(work, allow_ints=False) for a in self.args]
                    if not all(isinstance(a, mp.mpf) for a in arguments):
                        return None
                    before, value = value, mp.mpmathify(self.mp_value(*arguments))
                except (ValueError, ZeroDivisionError):  # a symbol in an argument, a pole
                    return None
            if before is not None and abs(value - before) <= abs(value) * mp.ldexp(1, -prec):
                break
        with mp.workprec(prec):
            return sp.Expr._from_mpmath(+value, prec)

    def _latex(self, printer: Any, exp: Any = None) -> str:
        text = rf"{self.latex_name}\left({', '.join(printer._print(a) for a in self.args)}\right)"
        return text if exp is None else rf"\left[{text}\right]^{{{exp}}}"

    def _pretty(self, printer: Any) -> Any:
        return printer._print_Function(self, func_name=self.text_name)


class gauss_pdf(NamedFunction):
    """phi(x), the standard normal density; phi' = -x phi."""

    nargs = 1
    latex_name, text_name = r"\varphi", "φ"
    parity = +1

    def slope(self) -> sp.Expr:
        x = self.args[0]
        return -x * gauss_pdf(x)

    @staticmethod
    def mp_value(x: Any) -> Any:
        return mp.npdf(x)


class gauss_pdf_delta(NamedFunction):
    """phi(x) - phi(0); derivative -x phi."""

    nargs = 1
    latex_name, text_name = r"\Delta\varphi", "Δφ"
    parity, vanishes_at_zero = +1, True

    def slope(self) -> sp.Expr:
        x = self.args[0]
        return -x * gauss_pdf(x)

    @staticmethod
    def mp_value(x: Any) -> Any:
        return mp.expm1(-(mp.mpf(x) ** 2) / 2) / mp.sqrt(2 * mp.pi)


class gauss_cdf(NamedFunction):
    """Phi(x), the standard normal distribution function; Phi' = phi."""

    nargs = 1
    latex_name, text_name = r"\Phi", "Φ"

    def slope(self) -> sp.Expr:
        return gauss_pdf(self.args[0])

    @staticmethod
    def mp_value(x: Any) -> Any:
        return mp.erfc(-x / mp.sqrt(2)) / 2


class gauss_cdf_delta(NamedFunction):
    """Phi(x) - 1/2, odd; derivative phi."""

    nargs = 1
    latex_name, text_name = r"\Delta\Phi", "ΔΦ"
    parity, vanishes_at_zero = -1, True

    def slope(self) -> sp.Expr:
        return gauss_pdf(self.args[0])

    @staticmethod
    def mp_value(x: Any) -> Any:
        return mp.erf(x / mp.sqrt(2)) / 2


def _mp_hermite_function(k: Any, x: Any) -> Any:
    return (
        mp.npdf(x) * mp.hermite(k, x / mp.sqrt(2)) / mp.mpf(2) ** (mp.mpf(k) / 2) / mp.sqrt(mp.factorial(k))
    )


class hermite_function(NamedFunction):
    """phi(x) h_k(x), h_k = He_k/sqrt(k!); its x-derivative is -sqrt(k+1) times the next one."""

    nargs = 2
    latex_name, text_name = r"\varphi h", "φh"

    def slope(self) -> sp.Expr:
        k, x = self.args
        return -sp.sqrt(k + 1) * hermite_function(k + 1, x)

    def _latex(self, printer: Any, exp: Any = None) -> str:
        k, x = (printer._print(a) for a in self.args)
        return rf"(\varphi h_{{{k}}})\left({x}\right)"

    @staticmethod
    def mp_value(k: Any, x: Any) -> Any:
        return _mp_hermite_function(k, x)


class hermite_function_delta(NamedFunction):
    """phi(x) h_k(x) - phi(0) h_k(0); same x-derivative as ``hermite_function``."""

    nargs = 2
    latex_name, text_name = r"\Delta\varphi h", "Δφh"
    vanishes_at_zero = True

    def slope(self) -> sp.Expr:
        k, x = self.args
        return -sp.sqrt(k + 1) * hermite_function(k + 1, x)

    def _latex(self, printer: Any, exp: Any = None) -> str:
        k, x = (printer._print(a) for a in self.args)
        return rf"\Delta(\varphi h_{{{k}}})\left({x}\right)"

    @staticmethod
    def mp_value(k: Any, x: Any) -> Any:
        return _mp_hermite_function(k, x) - _mp_hermite_function(k, mp.mpf(0))


def mp_sphere_density(d: Any, s: Any) -> Any:
    """Density of the first coordinate S of a uniform unit vector of R^d."""
    return (
        mp.gamma(mp.mpf(d) / 2)
        / mp.gamma(mp.mpf(d - 1) / 2)
        / mp.sqrt(mp.pi)
        * (1 - s * s) ** (mp.mpf(d - 3) / 2)
    )


class sphere_density(NamedFunction):
    """p_d(x) = c (1 - x^2)_+^((d-3)/2), density of the first coordinate of a uniform unit vector."""

    nargs = 2
    latex_name, text_name = r"p", "p"
    parity = +1

    @staticmethod
    def mp_value(d: Any, x: Any) -> Any:
        return mp_sphere_density(d, x) if abs(x) < 1 else mp.mpf(0)


class sphere_moment(NamedFunction):
    """M_d(x) = E[S 1{S > x}]; M' = -x p_d."""

    nargs = 2
    latex_name, text_name = r"M", "M"
    parity = +1

    def slope(self) -> sp.Expr:
        d, x = self.args
        return -x * sphere_density(d, x)

    @staticmethod
    def mp_value(d: Any, x: Any) -> Any:
        if abs(x) >= 1:
            return mp.mpf(0)
        # at d = 1 the law is +-1
        return (1 - x * x) * mp_sphere_density(d, x) / (d - 1) if d > 1 else mp.mpf(1) / 2


class sphere_moment_delta(NamedFunction):
    """M_d(x) - M_d(0); derivative -x p_d."""

    nargs = 2
    latex_name, text_name = r"\Delta M", "ΔM"
    parity, vanishes_at_zero = +1, True

    def slope(self) -> sp.Expr:
        d, x = self.args
        return -x * sphere_density(d, x)

    @staticmethod
    def mp_value(d: Any, x: Any) -> Any:
        return sphere_moment.mp_value(d, x) - sphere_moment.mp_value(d, mp.mpf(0))


class sphere_tail(NamedFunction):
    """P(S > x); derivative -p_d."""

    nargs = 2
    latex_name, text_name = r"\bar P", "P"

    def slope(self) -> sp.Expr:
        d, x = self.args
        return -sphere_density(d, x)

    @staticmethod
    def mp_value(d: Any, x: Any) -> Any:
        if abs(x) >= 1:
            return mp.mpf(0 if x > 0 else 1)
        if d == 1:
            return mp.mpf(1) / 2
        upper = mp.betainc(mp.mpf(1) / 2, mp.mpf(d - 1) / 2, 0, x * x, regularized=True) / 2
        return mp.mpf(1) / 2 - mp.sign(x) * upper


class hinge_pair(NamedFunction):
    """E[(s X - t)_+ (s' Y - t')_+] for standard normals X, Y of correlation rho; arguments (t, s, t', s', rho)."""

    nargs = 5
    latex_name, text_name = r"H", "H"

    @staticmethod
    def mp_value(t: Any, s: Any, t2: Any, s2: Any, rho: Any) -> Any:
        h, k, root = t / s, t2 / s2, mp.sqrt(1 - rho * rho)
        # Phi(.) rises within some root/rho of x = k/rho; beyond 14 the density is 1e-43
        bends = [k / rho + i * root / rho for i in (-12, -6, -2, 0, 2, 6, 12)] if rho else []
        edges = panels([h, *bends], max(h, mp.mpf(-14)), mp.mpf(14), mp.mpf(3)) if h < 14 else [0, 0]
        survival = integrate(lambda x: mp.npdf(x) * gauss_cdf.mp_value((rho * x - k) / root), edges)
        return (
            s
            * s2
            * (
                (h * k + rho) * survival
                + root * mp.npdf(h) * mp.npdf((rho * h - k) / root)
                - k * mp.npdf(h) * gauss_cdf.mp_value((rho * h - k) / root)
                - h * mp.npdf(k) * gauss_cdf.mp_value((rho * k - h) / root)
            )
        )


class root_poisson(NamedFunction):
    """x^k e^(-x^2/2)/sqrt(k!) for x >= 0, the root of a Poisson probability: bounded where its factors are not."""

    nargs = 2
    latex_name, text_name = r"\varpi", "ϖ"

    @classmethod
    def eval(cls, *args: sp.Expr) -> sp.Expr | None:
        k, x = args
        return sp.exp(-(x**2) / 2) if k.is_zero else None

    def slope(self) -> sp.Expr:
        k, x = self.args
        return sp.sqrt(k) * root_poisson(k - 1, x) - x * self

    @staticmethod
    def mp_value(k: Any, x: Any) -> Any:
        if k < 0:
            return mp.mpf(0)
        return mp.mpf(x) ** k * mp.exp(-(mp.mpf(x) ** 2) / 2) / mp.sqrt(mp.factorial(k))


class ModelFunction(NamedFunction):
    """A function that a derivation defines for its model; the scale s and, where there is one, the offset b come last."""


class HermiteCoefficient(ModelFunction):
    """A function whose first argument, the order, is written as an index: a_k(s, b) is no product with a weight a."""

    nargs = (2, 3)

    def _latex(self, printer: Any, exp: Any = None) -> str:
        k, *rest = (printer._print(x) for x in self.args)
        text = rf"{self.latex_name}_{{{k}}}\left({', '.join(rest)}\right)"
        return text if exp is None else rf"{text}^{{{exp}}}"

    def _pretty(self, printer: Any) -> Any:
        order, *rest = self.args
        name = self.text_name + str(order).translate(SUBSCRIPTS)
        return printer._helper_print_function(self.func, tuple(rest), func_name=name)


class alpha(HermiteCoefficient):
    """alpha_k(s, b) = E[sigma'(b + s G) h_k(G)]."""

    latex_name, text_name = r"\alpha", "α"


class q(ModelFunction):
    """q(s, b) = E sigma(b + s G), G ~ N(0, 1)."""

    nargs = (1, 2)
    latex_name, text_name = "q", "q"

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return alpha(2 - argindex, *self.args)


class a(HermiteCoefficient):
    """a_k(s, b) = E[sigma(b + s G) h_k(G)]."""

    latex_name, text_name = "a", "a"


class g(ModelFunction):
    """g_n(c, b) = E sigma(b + c S), S the first coordinate of a uniform unit vector of R^n."""

    nargs = (2, 3)
    latex_name, text_name = "g", "g"


NAMED = (
    gauss_pdf,
    gauss_pdf_delta,
    gauss_cdf,
    gauss_cdf_delta,
    hermite_function,
    hermite_function_delta,
    sphere_density,
    sphere_moment,
    sphere_moment_delta,
    sphere_tail,
    hinge_pair,
    root_poisson,
)


def mp_function(expression: sp.Expr, *symbols: sp.Symbol) -> Any:
    """A Python function of ``symbols`` that evaluates ``expression`` at mpmath's working precision."""
    values = {f.__name__: f.mp_value for f in NAMED}
    return sp.lambdify(symbols, expression, modules=[values, "mpmath"])
