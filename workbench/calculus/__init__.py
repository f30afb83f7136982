"""A certified calculus of Gaussian expectations: E f(m + s G), Hermite coefficients, E f(Z_1) g(Z_2).

Formulas where there are closed forms, series or quadratures of stated tolerance where there are none,
and for each an exact derivative in every parameter and a certificate against its defining integral.
"""

from workbench.calculus.expectation import Expectation
from workbench.calculus.interface import derivative, expect, expect_hermite, expect_pair
from workbench.calculus.rules import Rule

__all__ = ["Expectation", "Rule", "derivative", "expect", "expect_hermite", "expect_pair"]
