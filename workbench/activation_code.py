"""Activation -> Python code of sigma and sigma', safe for every finite float64 argument.

The code of a formula is printed three times, each time more cautiously, until it runs on arguments of
every size without a floating-point exception wherever the true value is a float64 number:

``plain``   as it stands in stable form;
``strict``  each factor sees its argument cut where, to the last bit, its value no longer changes: the
            square in exp(-z^2/2) then never overflows;
``loose``   the same, where it no longer changes relative to its largest value: quotients of exponentials.

Between the last two, a function that is a power or a logarithm in its tails has that written out beyond
``FAR``: z/(1 + z^2) at z = 1e200.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp
from scipy import special

from workbench.activations import PiecewiseLinear
from workbench.calculus.branches import Branch
from workbench.calculus.special import mp_number
from workbench.smooth import Activation
from workbench.special import gauss_cdf, gauss_pdf
from workbench.stable_forms import LINE, MODULES, log_cosh, logistic, softplus, stable_sech, stable_tanh

FAR = 2.0**130  # where a tail is its leading power to the last bit, unless it holds constants as large
LARGEST = 1.79e308
ATTEMPTS = (("plain", False), ("strict", False), ("strict", True), ("loose", False))
ADD, MUL, POWER, ATOM = range(4)  # precedence
CALLS = {
    sp.sin: "xp.sin",
    sp.cos: "xp.cos",
    sp.sinh: "xp.sinh",
    sp.cosh: "xp.cosh",
    sp.exp: "xp.exp",
    sp.atan: "xp.arctan",
    sp.asinh: "xp.arcsinh",
    sp.erf: "sp.erf",
    sp.erfc: "sp.erfc",
    gauss_cdf: "sp.ndtr",
    logistic: "sp.expit",
    stable_tanh: "xp.tanh",
}
# points of every size, off the places where a wave repeats
SIZES = [1.37 * 2.0 ** (j / 2) for j in range(-20, 27)] + [1.37 * 2.0**j for j in (14, 15, 16, 18, 20, 24)]
SIZES += [1.37 * 2.0**j for j in (32, 48, 64, 96, 128, 192, 256, 340, 400, 511, 513, 700, 1000, 1023)]


def sigma_code(activation: Activation | PiecewiseLinear) -> str:
    """A Python expression for sigma(z) in an array ``z``.

    In scope have to be ``xp``, the array module of z (NumPy or CuPy), ``sp``, its special functions, and
    for a ``PiecewiseLinear`` its knots as the tuple of floats ``KNOTS``.
    """
    if isinstance(activation, PiecewiseLinear):
        knots, values, slopes = (
            [float(x) for x in row] for row in (activation.knots, activation.values, activation.slopes)
        )
        code = f"xp.interp(z, xp.asarray(KNOTS), xp.asarray({values!r}))"
        if slopes[0]:
            code += f" + {slopes[0]!r} * xp.minimum(z - {knots[0]!r}, 0.0)"
        if slopes[-1]:
            code += f" + {slopes[-1]!r} * xp.maximum(z - {knots[-1]!r}, 0.0)"
        return code
    return _pieces_code(activation.pieces)


def sigma_prime_code(activation: Activation | PiecewiseLinear) -> str:
    """The same for sigma'(z); at a kink, the slope to the right."""
    if isinstance(activation, PiecewiseLinear):
        slopes = [float(x) for x in activation.slopes]
        return f'xp.asarray({slopes!r})[xp.searchsorted(xp.asarray(KNOTS), z, side="right")]'
    return _pieces_code(activation.slope_pieces)


@lru_cache(maxsize=256)
def _pieces_code(pieces: tuple[Branch, ...]) -> str:
    if len(pieces) == 1 and not pieces[0].expression.has(LINE):
        return f"xp.full_like(z, {_number(pieces[0].expression)}, dtype=float)"
    code = _branch_code(pieces[-1])
    for piece in reversed(pieces[:-1]):
        code = f"xp.where(z < {float(piece.high)!r}, {_branch_code(piece)}, {code})"
    return code


def _branch_code(piece: Branch) -> str:
    """Code of one piece, its argument cut off at the ends of the piece."""
    e, window = piece.expression, _Window(float(piece.low), float(piece.high))
    if not e.has(LINE):
        return _number(e)
    points = [x for size in (0.0, *SIZES) for x in (-size, size) if window.low <= x <= window.high]
    points += [x for x in (window.low, window.high) if np.isfinite(x)]
    wanted = _values(e, points)
    # a value beyond float64 may overflow, and at a point where there is none anything goes
    points = [x for x, v in zip(points, wanted, strict=True) if abs(v) < LARGEST]
    wanted = [v for v in wanted if abs(v) < LARGEST]
    for caution, tails in ATTEMPTS:
        code = _with_tails(e, window, caution) if tails else _Printer(caution).code(e, window)
        if _sound(code, points, wanted):
            return code
    return _Printer("strict").code(e, window)


@lru_cache(maxsize=2048)
def _body(e: sp.Expr) -> Any:
    return sp.lambdify(LINE, e, modules=MODULES)


def _values(e: sp.Expr, points: Sequence[float]) -> list[Any]:
    """Values of an expression at points, infinity where there is none."""
    body, values = _body(e), []
    for x in points:
        # z^2 + 1 - z^2 keeps its 1 only with twice the digits of the largest double, which no one needs
        with mp.workdps(50):
            try:
                value = mp.re(body(mp.mpf(x)))
            except (ZeroDivisionError, ValueError, OverflowError):
                value = mp.inf
            values.append(mp.inf if mp.isnan(value) else mp.mpf(value))
    return values


def _sound(code: str, points: Sequence[float], wanted: Sequence[Any]) -> bool:
    """Whether the code raises no floating-point exception on the points and gives about what is wanted."""
    z = np.array(points)
    try:
        with np.errstate(all="raise", under="ignore"):
            got = np.broadcast_to(eval(code, {"xp": np, "sp": special, "z": z}), z.shape)
    except (FloatingPointError, OverflowError):
        return False
    # far out the phase of a wave is lost in rounding; what is left is its size
    near = np.abs(z) < 1e4
    errors = np.array([float(abs(mp.mpf(g) - v) / max(1, abs(v))) for g, v in zip(got, wanted, strict=True)])
    return bool(np.isfinite(got).all() and (errors[near] < 1e-9).all())


@dataclass(frozen=True)
class _Window:
    """The interval to which the argument is cut."""

    low: float
    high: float

    @property
    def z(self) -> str:
        """Code of the argument."""
        if np.isfinite(self.low) and np.isfinite(self.high):
            return f"xp.clip(z, {self.low!r}, {self.high!r})"
        if np.isfinite(self.low):
            return f"xp.maximum(z, {self.low!r})"
        return f"xp.minimum(z, {self.high!r})" if np.isfinite(self.high) else "z"


class _Printer:
    """Prints a smooth expression with one degree of caution."""

    def __init__(self, caution: str) -> None:
        self.caution = caution

    def code(self, e: sp.Expr, window: _Window) -> str:
        return self._text(e, window)[0]

    def _text(self, e: sp.Expr, window: _Window) -> tuple[str, int]:
        """Code and its precedence."""
        if not e.has(LINE):
            number = _number(e)
            return number, ADD if number.startswith("-") else ATOM
        if e == LINE:
            return window.z, ATOM
        window = self._narrowed(e, window)
        if e.is_Add:
            return self._sum(e, window), ADD
        if e.is_Mul:
            return self._product(e, window), MUL
        if e.is_Pow:
            return self._power(e.base, e.exp, window)
        return self._function(e, window)

    def _inside(self, e: sp.Expr, window: _Window, level: int) -> str:
        text, own = self._text(e, window)
        return text if own >= level else f"({text})"

    def _narrowed(self, e: sp.Expr, window: _Window) -> _Window:
        if self.caution == "plain":
            return window
        low, high = window.low, window.high
        if low == -np.inf:
            low = -_settled(e, -1, self.caution)
        if high == np.inf:
            high = _settled(e, 1, self.caution)
        return _Window(low, high)

    def _sum(self, e: sp.Expr, window: _Window) -> str:
        powers: dict[int, sp.Expr] = {}
        others = []
        for term in e.as_ordered_terms():
            c, rest = term.as_independent(LINE, as_Add=False)
            base, n = rest.as_base_exp()
            if rest == 1 or (base == LINE and n.is_Integer and n > 0):
                powers[0 if rest == 1 else int(n)] = c
            else:
                others.append(term)
        parts = []
        for i, term in enumerate(others):
            c, rest = term.as_independent(LINE, as_Add=False)
            if isinstance(rest, sp.exp) and powers.get(0) == -c:
                # c e^x - c
                del powers[0]
                x = self.code(rest.args[0], self._narrowed(rest, window))
                parts.append(_times(c, f"xp.expm1({x})"))
                others[i] = sp.S.Zero
        parts += [self._inside(term, window, MUL) for term in others if term != 0]
        if powers:
            parts.append(_horner(powers, window.z))
        return "".join(_signed(part, first=i == 0) for i, part in enumerate(parts))

    def _product(self, e: sp.Expr, window: _Window) -> str:
        c, rest = e.as_independent(LINE, as_Add=False)
        above, below = [], []
        for factor in sp.Mul.make_args(rest):
            base, n = factor.as_base_exp()
            if n.is_Rational and n.is_negative and not isinstance(factor, sp.exp):
                below.append(self._inside(base**-n, window, POWER))
            else:
                above.append(self._inside(factor, window, POWER))
        above.sort(key=lambda text: (len(text), text))
        text = _times(c, " * ".join(above)) if above else _number(c)
        return " / ".join([text, *below])

    def _power(self, base: sp.Expr, n: sp.Expr, window: _Window) -> tuple[str, int]:
        if n == sp.S.Half:
            return f"xp.sqrt({self.code(base, window)})", ATOM
        if n.is_Rational and n.is_negative:
            return f"1.0 / {self._inside(base**-n, window, POWER)}", MUL
        exponent = repr(int(n)) if n.is_Integer else self._inside(n, window, ATOM)
        return f"{self._inside(base, window, ATOM)}**{exponent}", POWER

    def _function(self, e: sp.Expr, window: _Window) -> tuple[str, int]:
        x = self.code(e.args[0], window)
        y = self._inside(e.args[0], window, ATOM)
        if isinstance(e, softplus):
            return f"xp.logaddexp(0.0, {x})", ATOM
        if isinstance(e, log_cosh):
            # |x| + log(1 + e^(-2|x|)) - log 2
            return f"xp.abs({x}) + xp.log1p(xp.exp(-xp.abs({x}))**2) - {_number(sp.log(2))}", ADD
        if isinstance(e, gauss_pdf):
            return f"{_number(1 / sp.sqrt(2 * sp.pi))} * xp.exp(-0.5 * {y}**2)", MUL
        if isinstance(e, stable_sech | sp.sech):
            # 2 y/(1 + y^2), y = exp(-|x|)
            small = f"xp.exp(-xp.abs({x}))"
            return f"{small} / (0.5 + 0.5 * {small}**2)", MUL
        if isinstance(e, sp.log):
            rest = e.args[0] - 1
            if e.args[0].is_Add and sp.S.One in e.args[0].args:
                return f"xp.log1p({self.code(rest, window)})", ATOM
            return f"xp.log({x})", ATOM
        return f"{CALLS[type(e)]}({x})", ATOM


@lru_cache(maxsize=4096)
def _settled(e: sp.Expr, side: int, caution: str) -> float:
    """The size of z beyond which e keeps its value, infinity where it never does."""
    values = _values(e, [side * x for x in SIZES])
    last = values[-1]
    if not mp.isfinite(last):
        return np.inf
    if caution == "strict":
        slack = max(abs(last) * mp.mpf(2) ** -60, mp.mpf(10) ** -340)
    else:
        slack = max((abs(v) for v in values if mp.isfinite(v)), default=mp.mpf(0)) * mp.mpf(2) ** -60
    place = np.inf
    for x, v in zip(reversed(SIZES), reversed(values), strict=True):
        if abs(v - last) > slack:
            break
        place = x
    return place if place < 2.0**512 else np.inf


def _with_tails(e: sp.Expr, window: _Window, caution: str) -> str:
    """The code with the tails of e as multiples of a power or a logarithm, where they are that."""
    laws = []
    low, high = window.low, window.high
    if low == -np.inf and (law := _tail(e, -1)):
        laws.append((f"z < {-FAR!r}", law))
        low = -FAR
    if high == np.inf and (law := _tail(e, 1)):
        laws.append((f"z > {FAR!r}", law))
        high = FAR
    code = _Printer(caution).code(e, _Window(low, high))
    for where, law in laws:
        code = f"xp.where({where}, {law}, {code})"
    return code


def _tail(e: sp.Expr, side: int) -> str | None:
    """Code of e beyond FAR, c |z|^p or c + b log|z|, None where it is neither."""
    sizes = [FAR, FAR**2, FAR**4, FAR**3]
    values = _values(e, [side * x for x in sizes])
    if not all(mp.isfinite(v) for v in values):
        return None
    z = f"xp.maximum({'z' if side > 0 else '-z'}, {FAR!r})"
    with mp.workdps(50):
        logs = [mp.log(x) for x in sizes]
        if all(v != 0 for v in values):
            p = mp.log(abs(values[1] / values[0])) / (logs[1] - logs[0])
            power = sp.Rational(int(mp.nint(12 * p)), 12)
            laws = [v * mp.exp(-mp.mpf(power.p) / power.q * x) for v, x in zip(values, logs, strict=True)]
            if all(abs(c - laws[-1]) < abs(c) * mp.mpf(10) ** -16 for c in laws):
                raised = z if power == 1 else f"{z}**{int(power) if power.is_Integer else float(power)!r}"
                return _times(_rounded(laws[-1]), raised)
        slope = (values[1] - values[0]) / (logs[1] - logs[0])
        rests = [v - slope * x for v, x in zip(values, logs, strict=True)]
        if all(abs(c - rests[-1]) < mp.mpf(10) ** -16 * abs(v) for c, v in zip(rests, values, strict=True)):
            tail = _times(_rounded(slope), f"xp.log({z})")
            constant = _number(_rounded(rests[-1]))
            return tail if abs(rests[-1]) < mp.mpf(10) ** -30 else f"{tail}{_signed(constant, first=False)}"
    return None


def _rounded(x: Any) -> sp.Rational:
    """The nearest float64, exactly."""
    return sp.Rational(float(x))


def _number(constant: sp.Expr) -> str:
    """The float64 number nearest to an exact constant."""
    if constant.is_Rational:
        return repr(int(constant.p) / int(constant.q))
    with mp.workdps(40):
        return repr(float(mp_number(constant)))


def _times(c: sp.Expr, text: str) -> str:
    """Code of c times a product."""
    return text if c == 1 else f"-{text}" if c == -1 else f"{_number(c)} * {text}"


def _signed(part: str, first: bool) -> str:
    """A term of a sum with its sign."""
    if first:
        return part
    return f" - {part[1:]}" if part.startswith("-") else f" + {part}"


def _horner(powers: dict[int, sp.Expr], z: str) -> str:
    """A polynomial as c_0 + z (c_1 + z (...)): powers of one size each, infinities of one sign only."""
    first, *rest = sorted(powers, reverse=True)
    if first == 0:
        return _number(powers[0])
    text, held = _number(powers[first]), first
    if powers[first] in (1, -1):
        text, held = (z if powers[first] == 1 else f"-{z}"), first - 1
    for n in [*rest, *([] if 0 in powers else [0])]:
        for _ in range(held - n):
            text = f"{text} * {z}"
        held = n
        if n in powers:
            text = f"{text}{_signed(_number(powers[n]), first=False)}"
            if n:
                text = f"({text})"
    return text
