"""Activations: exact numbers, evaluation piece by piece, and what is refused."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from tests.oracles import ACTIVATIONS
from workbench import BadInput, PiecewiseLinear, ReLU
from workbench.gaussian import hinge_form

GRID = [-1e6, -3.3, -1.3, -0.7, -0.4, 0.0, 0.2, 0.5, 0.7, 1.0, 1.5, 2.1, 5.0, 1e6]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_evaluation_agrees_with_the_look_up(name: str) -> None:
    activation, sigma = ACTIVATIONS[name]
    z = sp.Symbol("z", real=True)
    pieces, hinges = activation.expression(z), hinge_form(activation, z)
    for t in GRID:
        exact = float(sigma(np.array(t)))
        # rational arithmetic on one side, float64 on the other: a few rounding errors of 1e6
        for value in (activation.mp_value(mp.mpf(t)), pieces.subs(z, t), hinges.subs(z, t)):
            assert float(value) == pytest.approx(exact, rel=1e-14, abs=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_left_of_between_and_right_of_the_knots(name: str) -> None:
    activation, sigma = ACTIVATIONS[name]
    # one rounding of a quotient
    assert [float(x) for x in activation.slopes] == pytest.approx(sigma.slopes, rel=1e-15, abs=0)
    for t in (-7.1, -0.9, -0.1, 0.3, 0.6, 1.2, 2.0, 9.0):
        assert float(activation.mp_slope(mp.mpf(t))) == pytest.approx(
            float(sigma.slope(np.array(t))), rel=1e-15
        )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hinges_carry_the_whole_change_of_slope(name: str) -> None:
    activation, _ = ACTIVATIONS[name]
    assert sum(c for c, _ in activation.hinges) == activation.right_slope - activation.left_slope
    assert all(c != 0 for c, _ in activation.hinges)


def test_a_knot_without_a_bend_is_no_hinge() -> None:
    straight = PiecewiseLinear([0, 1, 2], [0, 1, 2], left_slope=1, right_slope=3)
    assert straight.hinges == ((2, 2),)


def test_relu_is_relu() -> None:
    assert ReLU().hinges == ((1, 0),)
    assert ReLU().offset == 0
    assert [ReLU().mp_value(t) for t in (-2, 0, 3)] == [0, 0, 3]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (0.1, Fraction(1, 10)),
        (1e-30, Fraction(1, 10**30)),
        (-2.5, Fraction(-5, 2)),
        (3, Fraction(3)),
        (Fraction(1, 3), Fraction(1, 3)),
        (sp.Rational(2, 7), Fraction(2, 7)),
        (np.float64(0.1), Fraction(1, 10)),
        (np.float32(0.5), Fraction(1, 2)),
        (np.int64(-4), Fraction(-4)),
        (sp.Float("0.1"), Fraction(1, 10)),
    ],
)
def test_numbers_are_held_as_the_rational_that_is_written(given: Any, meant: Fraction) -> None:
    activation = PiecewiseLinear([given], [given], left_slope=given, right_slope=given)
    rational = sp.Rational(meant.numerator, meant.denominator)
    assert activation.knots == activation.values == (rational,)
    assert activation.left_slope == activation.right_slope == rational


def test_equal_activations_are_equal_and_hash_alike() -> None:
    first = PiecewiseLinear([0.5, 1.5], [-2.5, 7.5])
    second = PiecewiseLinear(list(np.array([0.5, 1.5])), (Fraction(-5, 2), Fraction(15, 2)), right_slope=0.0)
    assert first == second
    assert hash(first) == hash(second)
    assert first != PiecewiseLinear([0.5, 1.5], [-2.5, 7.5], right_slope=1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (dict(knots=[1, 0.5], values=[0, 1]), r"\[1, 0\.5\].*increasing"),
        (dict(knots=[0.5, 0.5], values=[0, 1]), r"\[0\.5, 0\.5\].*repeats"),
        (dict(knots=[0, 1], values=[1]), r"2 knots but 1 values.*\[0, 1\].*\[1\]"),
        (dict(knots=[], values=[]), r"knots = \[\]"),
        (dict(knots=[math.nan], values=[0]), r"knots\[0\] = nan"),
        (dict(knots=[0], values=[math.inf]), r"values\[0\] = inf"),
        (dict(knots=[0, math.inf], values=[0, 1]), r"knots\[1\] = inf"),
        (dict(knots=[0], values=[0], right_slope=-math.inf), r"right_slope = -inf"),
        (dict(knots=[0], values=[0], left_slope=math.nan), r"left_slope = nan"),
        (dict(knots=["0.5"], values=[0]), r"knots\[0\] = '0\.5'"),
        (dict(knots=[0], values=[None]), r"values\[0\] = None"),
        (dict(knots=[True], values=[0]), r"knots\[0\] = True"),
        (dict(knots=[0], values=[np.bool_(True)]), r"values\[0\] = .*True"),
        (dict(knots=[0], values=[1 + 2j]), r"values\[0\] = \(1\+2j\)"),
        (dict(knots=[0], values=[sp.Symbol("x")]), r"values\[0\] = x"),
        (dict(knots=[sp.nan], values=[0]), r"knots\[0\] = nan"),
        (dict(knots=[sp.oo], values=[0]), r"knots\[0\] = oo"),
    ],
)
def test_bad_input_names_the_value(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        PiecewiseLinear(**arguments)
