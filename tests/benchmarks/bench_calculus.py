"""Derivations against their time goals, and the field's integrals in stock SymPy beside the calculus.

Every measurement runs in a fresh process with one thread.  Stock SymPy gets the defining integral with its
symbols declared real or positive, a pair as an iterated integral over y and then x.  A closed form that it
claims counts when it agrees at one point with the value that our certificate confirmed by mpmath quadrature.
"""

from __future__ import annotations

import argparse
import json
import os
import pkgutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import sympy as sp

import derivations
from workbench import derive, expect, expect_pair
from workbench.calculus import Expectation

ROOT = Path(__file__).parents[2]
GOAL, GOAL_OF_ALL = 5.0, 30.0  # seconds
z = sp.Symbol("z")
x, y, a, rho = sp.symbols("x y a rho", real=True)
s, t, c = sp.symbols("s t c", positive=True)  # c = sqrt(1 - rho^2)
R = sp.Rational
AT = {s: R(7, 5), t: R(3, 4), a: R(1, 3), rho: R(3, 5), c: R(4, 5)}


@dataclass(frozen=True)
class Case:
    """E f(mean + scale X), or with ``pair`` E f(scale X) f(scale Y) at correlation rho.

    ``low`` is 0 where f vanishes on the left: stock SymPy then integrates what is left of it.
    """

    name: str
    f: sp.Expr
    scale: sp.Expr = sp.S.One
    mean: sp.Expr = sp.S.Zero
    pair: bool = False
    low: sp.Expr = -sp.oo

    def stock(self) -> sp.Expr:
        """The defining integral by ``sympy.integrate``."""
        density = sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
        first = self.f.subs(z, self.mean + self.scale * x)
        if not self.pair:
            return sp.integrate(first * density, (x, self.low, sp.oo))
        conditional = sp.exp(-((y - rho * x) ** 2) / (2 * c**2)) / (c * sp.sqrt(2 * sp.pi))
        inner = sp.integrate(self.f.subs(z, self.scale * y) * conditional, (y, self.low, sp.oo))
        return sp.integrate(first * density * inner, (x, self.low, sp.oo))

    def ours(self) -> Expectation:
        """The same by the calculus, which is told f on the whole line."""
        f = self.f if self.low == -sp.oo else self.f * sp.Heaviside(z)
        if not self.pair:
            return expect(f, z, self.mean, self.scale)
        variance = self.scale**2
        return expect_pair(f, f, z, (0, 0), ((variance, rho * variance), (rho * variance, variance)))


Phi = (1 + sp.erf(z / sp.sqrt(2))) / 2
RAMP = sp.Piecewise((-R(5, 2), z < R(1, 2)), (R(15, 2), z > R(3, 2)), (10 * z - R(15, 2), True))
CASES = (
    Case("E erf(tG + a)", sp.erf(z), t, a),
    Case("E erf(tG)^2", sp.erf(z) ** 2, t),
    Case("E (X)+ (Y)+", z, pair=True, low=sp.S.Zero),
    Case("E tanh(sG)^2", sp.tanh(z) ** 2, s),
    Case("E Phi(sX) Phi(sY)", Phi, s, pair=True),
    Case("E (X)+^2 (Y)+^2", z**2, pair=True, low=sp.S.Zero),
    Case("E sin(X) sin(Y)", sp.sin(z), pair=True),
    Case("E truncated ReLU(sG)", RAMP, s),
    Case("E GELU(X) GELU(Y)", z * Phi, pair=True),
)


# ---- what a fresh process does; each prints one JSON object


def measure_derivation(name: str) -> None:
    """Seconds that ``derive`` takes, by the clock and of the processor."""
    model = import_module(f"derivations.{name}").MODEL
    start, busy = time.perf_counter(), time.process_time()
    derive(model)
    print(json.dumps({"seconds": time.perf_counter() - start, "busy": time.process_time() - busy}))


def measure_stock(index: str) -> None:
    """Seconds and result of stock SymPy."""
    start = time.perf_counter()
    result = CASES[int(index)].stock()
    print(json.dumps({"seconds": time.perf_counter() - start, "result": sp.srepr(result)}))


def measure_ours(index: str) -> None:
    """Seconds, kind, deviation from the quadrature and value of the calculus."""
    start = time.perf_counter()
    formula = CASES[int(index)].ours()
    seconds = time.perf_counter() - start
    values = {p: AT[p] for p in formula.parameters}
    deviation = formula.certify([values]).deviation
    result = {"seconds": seconds, "kind": formula.kind, "deviation": deviation}
    print(json.dumps({**result, "value": float(formula.evaluate(values))}))


MEASURES = {"derivation": measure_derivation, "stock": measure_stock, "ours": measure_ours}


def fresh(measure: str, argument: str, limit: float | None = None) -> dict[str, Any] | None:
    """The JSON object of one measurement in its own process; None when it exceeds ``limit`` seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.benchmarks.bench_calculus", "--measure", measure, argument]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


# ---- the tables


def outcome_of_stock(index: int, limit: float, truth: float) -> str:
    """closed form in x s, left unevaluated, timed out, wrong, or the error."""
    answer = fresh("stock", str(index), limit)
    if answer is None:
        return f"timed out ({limit:g} s)"
    if "error" in answer:
        return str(answer["error"])[:40]
    result, took = sp.sympify(answer["result"]), f"{answer['seconds']:.1f} s"
    if result.has(sp.Integral):
        return f"left unevaluated ({took})"
    try:
        value = complex(result.subs(AT).evalf(20))
    except TypeError:  # symbols or conditions left over
        return f"left undecided ({took})"
    if not abs(value - truth) <= 1e-10 * max(1.0, abs(truth)):
        return f"wrong: {value.real:.6g} for {truth:.6g} ({took})"
    return f"closed form in {took}"


def integrals(limit: float) -> list[tuple[str, ...]]:
    """One row an integral."""
    rows: list[tuple[str, ...]] = [("integral", "stock SymPy", "ours", "kind", "deviation")]
    for index, case in enumerate(CASES):
        answer = fresh("ours", str(index))
        if answer is None or "error" in answer:
            raise SystemExit(f"{case.name}: {answer}")
        stock = outcome_of_stock(index, limit, answer["value"])
        ours = f"{answer['seconds']:.3f} s"
        rows.append((case.name, stock, ours, answer["kind"], f"{answer['deviation']:.0e}"))
    return rows


def model_scripts() -> list[str]:
    """The scripts in derivations/ that have a model."""
    names = sorted(info.name for info in pkgutil.iter_modules(derivations.__path__))
    return [name for name in names if hasattr(import_module(f"derivations.{name}"), "MODEL")]


def derivation_times() -> list[tuple[str, ...]]:
    """One row a model, then the sum; on a busy machine the clock runs ahead of the processor."""
    rows: list[tuple[str, ...]] = [("derive with certificates", "time", "processor", "goal for the time")]
    seconds, busy = [], []
    for name in model_scripts():
        answer = fresh("derivation", name)
        if answer is None or "error" in answer:
            raise SystemExit(f"{name}: {answer}")
        seconds.append(answer["seconds"])
        busy.append(answer["busy"])
        rows.append(against_goal(name, seconds[-1], busy[-1], GOAL))
    return [*rows, against_goal("all of them", sum(seconds), sum(busy), GOAL_OF_ALL)]


def against_goal(name: str, seconds: float, busy: float, goal: float) -> tuple[str, ...]:
    """One row: the times, and whether the goal is met."""
    verdict = "met" if seconds <= goal else "missed"
    return name, f"{seconds:.2f} s", f"{busy:.2f} s", f"{goal:g} s, {verdict}"


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns side by side."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds for each integral in stock SymPy")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, name = arguments.measure
        MEASURES[what](name)
        return
    print(aligned(derivation_times()), end="\n\n", flush=True)
    print(aligned(integrals(arguments.limit)))


if __name__ == "__main__":
    main()
