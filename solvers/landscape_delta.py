"""Measures that are a single delta: the best one, whether it is best of all measures, and where that ends.

A delta at r has the risk R(delta_r) = 1 + 2 V(r) + U(r, r); the best one, at r*, is best among all measures
iff Psi(r; delta_r*) >= Psi(r*; delta_r*) for all r [MMN18].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.polynomial.polynomial import polyval
from scipy.optimize import brentq, minimize_scalar

from solvers.landscape_line import (
    TOPS,
    Line,
    at_finite_radii,
    has_limit,
    line_of,
    place,
    radius,
    slopes,
    terms,
)
from solvers.landscape_search import (
    DEGREE,
    Cells,
    first_cells,
    first_variation,
    local_minima,
    lowest,
    single_risk,
)
from workbench.checks import real_number, whole_number
from workbench.errors import BadInput
from workbench.measure import Array, Measure, risk

ENOUGH = 1e-12  # to which minima of Psi and of the risk are known
DEPTH = 1e-9  # of a local minimum of the risk that counts
NEAR = 0.05  # share of r* around it in which Psi is expanded


@dataclass(frozen=True)
class SingleDelta:
    """The best single delta: at r, with its risk, and how far from the best measure it can be.

    objective: R + lam r^2, which is what r minimises, globally; the risk where lam = 0.
    gap: 2 (Psi(r) - min Psi) >= objective - inf over all measures; 0 where the delta is the best measure.
    minima: all local minima (r, objective) of the objective over single deltas, by increasing r; a minimum
    at r = infinity is the limit.
    """

    r: float
    risk: float
    objective: float
    gap: float
    minima: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class DeltaThreshold:
    """A threshold in Delta on the branch of the best single delta: there it is at r, with this risk.

    margin: of the event, at the threshold found; its distance from 0 is the error.
    """

    delta: float
    r: float
    risk: float
    margin: float


def single_delta(
    module: ModuleType, p: Mapping[str, Any], *, lam: float = 0.0, r_max: float = math.inf
) -> SingleDelta:
    """Minimise R(delta_r) + lam r^2 = 1 + 2 V(r) + U(r, r) + lam r^2 over r in [0, r_max], globally [MMN18].

    Where activations have limits and lam = 0, r = infinity is among the candidates (``r`` may be inf);
    where they have none, r is searched up to 1e4.  U is the module's finite sum, good to
    ``kernel_form(p).error``.

    Raises
    ------
    BadInput
        as ``landscape_line.line_of`` does.
    NumericalFailure
        where the module is not finite.
    """
    line = _searched(module, p, lam, r_max)
    cells = first_cells(line)
    cells, places, values = local_minima(line, cells, single_risk, DEPTH)
    cells, z = _best(line, cells)
    B = terms(line, np.array([z]))[1][0]
    cells, minimum = lowest(line, cells, first_variation(B), ENOUGH)
    level = _psi(line, B, np.array([z]))[0]
    objective = 1 + float(_risks(line, np.array([z]))[0])
    return SingleDelta(
        r=float(radius(np.array(z))),
        risk=_risk(line, z),
        objective=objective,
        gap=max(0.0, 2 * float(level - minimum.bound)),
        minima=tuple((float(radius(a)), 1 + float(f)) for a, f in zip(places, values, strict=True)),
    )


def delta_threshold(
    module: ModuleType,
    p_of_delta: Callable[[float], Mapping[str, Any]],
    *,
    low: float = 0.05,
    high: float = 0.95,
    event: str = "optimal",
    steps: int = 18,
    lam: float = 0.0,
    r_max: float = math.inf,
) -> DeltaThreshold:
    """The first threshold in Delta above ``low``, by following the best single delta in ``steps`` steps to ``high``.

    event "optimal": the delta stops (or, if it was not, starts) being the best of all measures, where
    min_r (Psi(r) - Psi(r*) - (z - z*) Psi'(r*))/(z - z*)^2 changes sign, z the place on the compact line;
    at z* that is Psi''/2, so that a delta that splits is seen as well as one that a distant atom undercuts.
    event "zero": its risk reaches 0, at d = inf only.

    Parameters
    ----------
    p_of_delta
        Delta -> parameters of the module, e.g. ``lambda s: {"d": 40, "tau_plus": 1 + s, "tau_minus": 1 - s}``.

    Returns
    -------
    DeltaThreshold
        Delta to some 1e-10 for "optimal", to some 1e-8 for "zero": the risk has a double zero there.

    Raises
    ------
    BadInput
        when nothing happens between ``low`` and ``high``, and as ``single_delta``.
    """
    if event not in ("optimal", "zero"):
        raise BadInput(f"event = {event!r}: choose optimal or zero")
    whole_number("steps", steps, 2, 10_000)
    if not real_number("low", low) < real_number("high", high):
        raise BadInput(f"low = {low}, high = {high}: give low < high")
    deltas = np.linspace(low, high, steps + 1).tolist()

    def delta(s: float) -> tuple[Line, Cells, float]:
        line = _searched(module, p_of_delta(s), lam, r_max)
        return (line, *_best(line, first_cells(line)))

    def margin(s: float) -> float:
        return _quotient(*delta(s))

    def objective(s: float) -> float:
        line, _, z = delta(s)
        return 1 + float(_risks(line, np.array([z]))[0])

    if event == "optimal":
        before = margin(deltas[0])
        for left, right in pairwise(deltas):
            after = margin(right)
            if (before < 0) != (after < 0):
                found = float(brentq(margin, left, right, xtol=1e-13))
                break
            before = after
        else:
            state = "is not the best measure" if before < 0 else "is the best measure"
            raise BadInput(
                f"low = {low}, high = {high}: the single delta {state} at all {steps + 1} values of Delta tried; "
                "widen the interval, or give more steps"
            )
        error = margin(found)
    else:
        risks = [objective(s) for s in deltas]
        i = int(np.argmin(risks))
        bounds = deltas[max(i - 1, 0)], deltas[min(i + 1, steps)]
        found = float(minimize_scalar(objective, bounds=bounds, options={"xatol": 1e-12}).x)
        error = objective(found)
        if error > 1e-9:
            raise BadInput(
                f"low = {low}, high = {high}: the risk of a single delta does not reach 0, its least is {error:.6g} "
                f"at Delta = {found:.6g}; widen the interval, or give d = inf"
            )
    line, _, z = delta(found)
    return DeltaThreshold(found, float(radius(np.array(z))), _risk(line, z), error)


def _searched(module: ModuleType, p: Mapping[str, Any], lam: float, r_max: float) -> Line:
    """The line; without limits, up to 1e4."""
    line = line_of(module, p, lam, r_max)
    return line if r_max < math.inf or has_limit(line) else replace(line, top=TOPS[1])


def _risks(line: Line, z: Array) -> Array:
    """R(delta_r) + lam r^2 - 1 at z, (n,)."""
    V, B = terms(line, z)
    return 2 * V + np.sum(B**2, axis=-1)


def _risk(line: Line, z: float) -> float:
    """R(delta_r), without ridge."""
    return risk(line.module, at_finite_radii(Measure.uniform(radius(np.array([[z]])))), line.p)


def _psi(line: Line, moments: Array, z: Array) -> Array:
    """Psi + (lam/2) r^2 at z, (n,), for a measure of the given moments (times sqrt(w))."""
    V, B = terms(line, z)
    return V + B @ moments


def _best(line: Line, cells: Cells) -> tuple[Cells, float]:
    """z of the best single delta; of equals, an end of the line."""
    cells, minimum = lowest(line, cells, single_risk, ENOUGH)
    for end in (-2.0, line.end):
        least, here = _risks(line, np.array([end, minimum.z]))
        if least <= here + 1e-14 * (1 + abs(here)):
            return cells, end
    return cells, minimum.z


def _quotient(line: Line, cells: Cells, z: float) -> float:
    """min over the line of (Psi - Psi(z) - (. - z) Psi'(z))/(. - z)^2 for the delta at z; no slope at an end.

    Near z from the polynomial that interpolates Psi there, elsewhere from samples, the best one refined.
    """
    B = terms(line, np.array([z]))[1][0]
    cells, _ = lowest(line, cells, first_variation(B), ENOUGH)
    interior = -2 < z < line.end
    dV, dB = slopes(line, np.array([z]))
    slope = float(dV[0] + dB[0] @ B) if interior else 0.0
    level = _psi(line, B, np.array([z]))[0]

    def quotient(at: Array) -> Array:
        return (_psi(line, B, at) - level - slope * (at - z)) / (at - z) ** 2

    best = math.inf
    near = np.array([z - 1e-5, z + 1e-5])
    if interior:
        # in r, in which Psi is smooth across r = 1 as well
        r = float(radius(np.array(z)))
        width = min(NEAR * max(r, 1e-2), r, line.top - r)
        nodes = np.cos(np.pi * (np.arange(DEGREE + 1) + 0.5) / (DEGREE + 1))
        fit = chebyshev.chebfit(nodes, _psi(line, B, place(r + width * nodes)), DEGREE)
        power = np.append(chebyshev.cheb2poly(fit), np.zeros(3))[2:]  # zeros at the end were trimmed
        least = np.min(polyval(np.linspace(-1, 1, 201), power))
        best = float(least) * (max(r, 1.0) ** 2 / width) ** 2
        near = place(np.array([r - width, r + width]))
    samples = np.unique(np.concatenate([cells.nodes().ravel(), np.linspace(-2, line.end, 400)]))
    for part in (samples[samples <= near[0]], samples[samples >= near[1]]):
        if len(part) == 0:
            continue
        values = quotient(part)
        i = int(np.argmin(values))
        left, right = part[max(i - 1, 0)], part[min(i + 1, len(part) - 1)]
        best = min(best, float(values[i]))
        if left < right:
            refined = minimize_scalar(
                lambda at: float(quotient(np.array([at]))[0]), bounds=(left, right), options={"xatol": 1e-12}
            )
            best = min(best, float(refined.fun))
    return best
