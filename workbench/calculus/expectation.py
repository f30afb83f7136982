"""The result of the calculus: an expectation with its derivation, numbers, derivatives and certificate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp
import sympy as sp

from workbench.calculus import rules as R
from workbench.calculus.evaluation import evaluate, exact_number, mp_evaluate
from workbench.calculus.integrals import Integral, LineIntegral, PlaneIntegral, Value
from workbench.calculus.lines import line
from workbench.calculus.oracle import defining_integral
from workbench.calculus.quadrature import Numeric, line_integral, plane_integral
from workbench.calculus.rules import Rule
from workbench.calculus.special import MP_MODULES
from workbench.certificates import Certificate
from workbench.certificates import certify as compare
from workbench.errors import BadInput


@dataclass(frozen=True)
class Expectation:
    """A Gaussian expectation.  Everything is dimensionless.

    Attributes
    ----------
    expression
        closed SymPy expression in named functions, or None where there is none.
    kind
        "closed form", "hermite series" or "quadrature".  A series in symbolic parameters becomes a
        quadrature at those values where its tail bound misses the tolerance; ``report`` says which was used.
    rules
        the rules applied, in order, each with its formula.
    tolerance
        None for closed forms; otherwise the error, relative to max(1, |value|), that evaluation guarantees.
    k_from
        for a Hermite coefficient with symbolic k: the smallest k the formula holds for.
    """

    expression: sp.Expr | None
    kind: str
    rules: tuple[Rule, ...]
    tolerance: float | None
    k_from: int = 0
    value: Value = field(repr=False, default=Value(sp.S.Zero))
    integral: Integral = field(repr=False, default=None)  # type: ignore[assignment]
    integrands: tuple[sp.Expr, ...] = field(repr=False, default=())
    wrt: tuple[sp.Symbol, ...] = field(repr=False, default=())

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The symbols it depends on, sorted by name."""
        i = self.integral
        expressions = (i.m, i.s, i.k) if isinstance(i, LineIntegral) else (*i.m, *i.cov)
        free = set().union(*(sp.sympify(e).free_symbols for e in expressions))
        return tuple(sorted(free, key=str))

    def evaluate(self, values: Mapping[sp.Symbol, Any] | None = None) -> Any:
        """The number at ``values``, within 1e-10 of max(1, |value|): float, or mpf beyond the float range.

        Raises
        ------
        BadInput
            for missing or unknown parameters, a scale or covariance out of range.
        NumericalFailure
            where a quadrature does not reach the tolerance.
        """
        return self.report(values).value

    def report(self, values: Mapping[sp.Symbol, Any] | None = None) -> Numeric:
        """The number with its error, the kind of evaluation used and the number of terms of a series."""
        values = self._checked(values)
        closed = evaluate(self.value.closed, values)
        total, error, kind, terms = closed, 0.0, "closed form", 0
        for c, integral in self.value.parts:
            weight = evaluate(c, values)
            if weight == 0:
                continue
            part = _number(integral, values, (self.tolerance or 1e-12) / max(1.0, abs(weight)))
            total, error = total + weight * part.value, error + abs(weight) * part.error
            kind = part.kind if kind in ("closed form", part.kind) else "quadrature"
            terms = max(terms, part.terms)
        return Numeric(total, error, kind, terms)

    def mp(self, values: Mapping[sp.Symbol, Any] | None = None) -> Any:
        """The number at mpmath's working precision; parts without closed form to at most 37 digits."""
        values = self._checked(values)
        total = mp_evaluate(self.value.closed, values, mp.mp.dps)
        for c, integral in self.value.parts:
            weight = mp_evaluate(c, values, mp.mp.dps)
            exact = {s: exact_number(v) for s, v in values.items()}
            parts = (integral.f,) if isinstance(integral, LineIntegral) else (integral.f, integral.g)
            total += weight * defining_integral(integral, tuple(line(f).mp_value for f in parts), (), exact)
        return +total

    def diff(self, symbol: sp.Symbol) -> Expectation:
        """The exact derivative in a parameter.

        Raises
        ------
        BadInput
            where ``symbol`` is no parameter.
        """
        if symbol not in self.parameters:
            names = ", ".join(map(str, self.parameters)) or "none"
            raise BadInput(f"{symbol} is not a parameter of this expectation: its parameters are {names}")
        i = self.integral
        symbolic_order = isinstance(i, LineIntegral) and not sp.sympify(i.k).is_Integer
        if self.wrt or (symbolic_order and not self.value.parts):
            value, used = self.value.diff(symbol), [R.DIFFERENTIATION]
        else:
            value, used = i.diff(symbol), _derivative_rules(i, symbol)
        return make(
            value,
            self.integral,
            self.integrands,
            (*self.rules, *used),
            self.tolerance or 1e-12,
            self.k_from,
            (*self.wrt, symbol),
        )

    def certify(
        self, grid: Iterable[Mapping[sp.Symbol, Any]], tolerance: float = 1e-12, claim: str = ""
    ) -> Certificate:
        """Compare with an mpmath quadrature of the defining integral on every point of ``grid``.

        Raises
        ------
        CertificateFailure
            at the first point where they differ by more than ``tolerance``.
        """
        symbols = self.parameters
        points = [tuple(self._checked(values)[s] for s in symbols) for values in grid]
        t = self.integral.f.t
        functions = tuple(sp.lambdify(t, f, modules=MP_MODULES) for f in self.integrands)

        def derived(*point: Any) -> Any:
            # without a closed form the float64 evaluation is the claim: at mpmath's precision there is
            # nothing but the oracle's own quadrature
            values = dict(zip(symbols, point, strict=True))
            return self.evaluate(values) if self.value.parts else self.mp(values)

        def oracle(*point: Any) -> Any:
            # the density of a derivative cancels: at scale 1e-6 it takes 1e12 from 1e12
            with mp.workdps(mp.mp.dps + 14 * len(self.wrt)):
                exact = {s: exact_number(v) for s, v in zip(symbols, point, strict=True)}
                return defining_integral(self.integral, functions, self.wrt, exact)

        name = "E f(Z)" if len(self.integrands) == 1 else "E f(Z1) g(Z2)"
        if self.wrt:
            name = "d/d" + " d/d".join(map(str, self.wrt)) + " " + name
        return compare(
            claim or name, "quadrature of the defining integral", derived, oracle, points, tolerance
        )

    def _checked(self, values: Mapping[sp.Symbol, Any] | None) -> dict[sp.Symbol, Any]:
        values = dict(values or {})
        missing = [str(s) for s in self.parameters if s not in values]
        if missing:
            raise BadInput(
                f"no value for {', '.join(missing)}: give one for each of {list(map(str, self.parameters))}"
            )
        unknown = [str(s) for s in values if s not in self.parameters]
        if unknown:
            raise BadInput(
                f"{', '.join(unknown)} is no parameter: they are {list(map(str, self.parameters))}"
            )
        i = self.integral
        if isinstance(i, LineIntegral):
            k = sp.sympify(i.k)
            if k in values and not (values[k] == int(values[k]) and values[k] >= self.k_from):
                raise BadInput(f"{k} = {values[k]}: this formula holds for integers {k} >= {self.k_from}")
            scale = evaluate(i.s, {s: v for s, v in values.items() if s in i.s.free_symbols})
            if not scale > 0:
                raise BadInput(f"scale = {scale} is not > 0")
        else:
            k11, k12, k22 = (
                mp_evaluate(e, {s: v for s, v in values.items() if s in e.free_symbols}, 30) for e in i.cov
            )
            check_covariance(k11, k12, k22)
        return values


def check_covariance(k11: Any, k12: Any, k22: Any) -> None:
    """Refuse numbers that are no covariance.

    Raises
    ------
    BadInput
        for a variance <= 0 or K_12^2 > K_11 K_22 beyond rounding.
    """
    if not (k11 > 0 and k22 > 0):
        raise BadInput(f"covariance has the variances {_short(k11)}, {_short(k22)}: both must be > 0")
    # float entries of a singular covariance miss det = 0 by their rounding
    if k12 * k12 > k11 * k22 * (1 + mp.mpf(10) ** -14):
        raise BadInput(
            f"covariance is not positive semidefinite: K12 = {_short(k12)} exceeds sqrt(K11 K22) ="
            f" {_short(mp.sqrt(k11 * k22))} in size"
        )


def _short(x: Any) -> str:
    return str(mp.nstr(mp.mpmathify(x), 8))


def make(
    value: Value,
    integral: Integral,
    integrands: tuple[sp.Expr, ...],
    used: tuple[Rule, ...],
    tolerance: float,
    k_from: int = 0,
    wrt: tuple[sp.Symbol, ...] = (),
) -> Expectation:
    """The expectation of a value, its kind decided."""
    if not value.parts:
        return Expectation(value.closed, "closed form", used, None, k_from, value, integral, integrands, wrt)
    planes = [i for _, i in value.parts if isinstance(i, PlaneIntegral)]
    kind, rule = ("hermite series", R.MEHLER) if planes else ("quadrature", R.QUADRATURE)
    result = Expectation(None, kind, (*used, rule), tolerance, k_from, value, integral, integrands, wrt)
    if planes and not result.parameters:
        kind = result.report().kind
        if kind == "quadrature":
            return Expectation(
                None, kind, (*used, R.QUADRATURE), tolerance, k_from, value, integral, integrands, wrt
            )
    return result


def _number(integral: Integral, values: Mapping[sp.Symbol, Any], tolerance: float) -> Numeric:
    """An integral without closed form, in float64."""

    def at(e: Any) -> float:
        return float(evaluate(e, values))

    tolerance = max(tolerance, 1e-13)  # rounding alone reaches 1e-14 of the largest summand
    if isinstance(integral, LineIntegral):
        m, s, k = at(integral.m), at(integral.s), round(at(sp.sympify(integral.k)))
        if k < 0:
            return Numeric(0.0, 0.0, "quadrature")
        if s == 0:
            return Numeric(float(line(integral.f).value(m)) if k == 0 else 0.0, 0.0, "quadrature")
        return line_integral(line(integral.f), m, s, k, tolerance)
    m1, m2, k11, k12, k22 = (at(e) for e in (*integral.m, *integral.cov))
    return plane_integral(line(integral.f), line(integral.g), (m1, m2, k11, k12, k22), tolerance)


def _derivative_rules(integral: Integral, symbol: sp.Symbol) -> list[Rule]:
    used = []
    if isinstance(integral, LineIntegral):
        used += [R.MEAN] if integral.m.has(symbol) else []
        used += [R.HEAT] if integral.s.has(symbol) else []
        jumps = integral.f.derivative().deltas
    else:
        k11, k12, k22 = integral.cov
        used += [R.PRICE] if k12.has(symbol) else []
        used += [R.HEAT] if k11.has(symbol) or k22.has(symbol) else []
        used += [R.MEAN] if any(m.has(symbol) for m in integral.m) else []
        jumps = integral.f.derivative().deltas + integral.g.derivative().deltas
    return used + ([R.DELTA] if jumps else [])
