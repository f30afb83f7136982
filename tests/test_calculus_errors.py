"""Bad input of the calculus: each message names the condition violated and the offending value."""

from __future__ import annotations

import pytest
import sympy as sp

from workbench.calculus import derivative, expect, expect_hermite, expect_pair
from workbench.errors import BadInput, CertificateFailure

z, m, w = sp.symbols("z m w")
s = sp.Symbol("s")
relu = sp.Max(z, 0)
IDENTITY = ((1, 0), (0, 1))


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (sp.exp(z**2), r"grows like exp\(z\*\*2\), so its expectation exists only for VARIANCE < 1/2; here VARIANCE = 1"),
        (sp.exp(z**2 / 2), r"grows like exp\(z\*\*2/2\), so its expectation exists only for VARIANCE < 1;"),
        (sp.exp(z**2) * sp.tanh(z), r"grows too fast.*exists only for VARIANCE < 1/2"),
        (sp.exp(z**4), r"grows too fast: exp\(z\*\*4\) exceeds every exp\(a z\*\*2\)"),
        (sp.exp(sp.exp(z)), "grows too fast"),
        (w * z, "holds the symbols w besides z"),
        (sp.gamma(z**2 + 1), "unknown function gamma"),
        (sp.Function("sigma")(z), "unknown function sigma"),
        (sp.tan(z), "unknown function tan"),
        (sp.DiracDelta(z), "Dirac delta"),
        (sp.Derivative(sp.sign(z), z), "Dirac delta"),
        (1 / z, r"singular or complex on the line: z changes sign"),
        (sp.log(z), "singular or complex on the line"),
        (sp.sqrt(z), "singular or complex on the line"),
        (sp.exp(sp.I * z), "is not real"),
        (sp.Piecewise((z, z > 0)), "undefined"),
        (sp.Max(sp.tanh(z), z / 2), "cannot locate the kinks"),
        (sp.oo * z, "not finite"),
        ("not an expression ((", "not an expression"),
    ],
)  # fmt: skip
def test_integrands_without_meaning(f, message):
    for ask in (
        lambda: expect(f, z),
        lambda: expect_hermite(f, z, 2),
        lambda: expect_pair(f, relu, z, (0, 0), IDENTITY),
        lambda: expect_pair(relu, f, z, (0, 0), IDENTITY),
    ):
        with pytest.raises(BadInput, match=message.replace("VARIANCE", r"(scale\*\*2|K11|K22)")):
            ask()


def test_growth_is_decided_or_refused():
    with pytest.raises(BadInput, match=r"only for s\*\*2 < 2, which the symbol s does not decide"):
        expect(sp.exp(z**2 / 4), z, 0, s)
    assert expect(sp.exp(z**2 / 4), z, 0, 1).evaluate() == pytest.approx(2**0.5, rel=1e-15)
    bounded = sp.Symbol("b", positive=True)
    assert expect(sp.exp(z**2 / 4), z, 0, 1 / sp.sqrt(1 + bounded**2)).kind == "closed form"
    with pytest.raises(BadInput, match=r"\(1 - 2/3 K11\)\(1 - 2/3 K22\) > 4/9 K12"):
        expect_pair(sp.exp(z**2 / 3), sp.exp(z**2 / 3), z, (0, 0), ((1, 0.999), (0.999, 1)))


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (((1, 0.2), (0.3, 1)), "not symmetric: K12 = 1/5 but K21 = 3/10"),
        (((1, m), (s, 1)), "not symmetric: K12 = m but K21 = s"),
        (((1, 2), (2, 1)), r"not positive semidefinite: K12 = 2.0 exceeds sqrt\(K11 K22\) = 1.0"),
        (((-1, 0), (0, 1)), r"variances -1.0, 1.0: both must be > 0"),
        (((1, 0, 0), (0, 1, 0)), "has 3 entries"),
        (((1, z), (z, 1)), "other than z"),
    ],
)
def test_covariances(covariance, message):
    with pytest.raises(BadInput, match=message):
        expect_pair(relu, relu, z, (0, 0), covariance)


def test_scales_and_values():
    for scale in (0, -1, sp.Integer(-2), sp.Symbol("n", negative=True)):
        with pytest.raises(BadInput, match=r"scale = .* is not > 0"):
            expect(relu, z, 0, scale)
    with pytest.raises(BadInput, match="not finite"):
        expect(relu, z, float("nan"), 1)
    formula = expect(relu, z, m, s)
    with pytest.raises(BadInput, match=r"scale = -1.0 is not > 0"):
        formula.evaluate({m: 0, s: -1})
    with pytest.raises(BadInput, match="no value for s"):
        formula.evaluate({m: 0})
    with pytest.raises(BadInput, match="w is no parameter"):
        formula.evaluate({m: 0, s: 1, w: 2})
    with pytest.raises(BadInput, match="w is not a parameter of this expectation: its parameters are m, s"):
        formula.diff(w)
    with pytest.raises(BadInput, match="tolerance = 0"):
        expect(sp.tanh(z), z, tolerance=0)
    K = sp.symbols("K11 K12 K22")
    pair = expect_pair(relu, relu, z, (0, 0), ((K[0], K[1]), (K[1], K[2])))
    with pytest.raises(BadInput, match=r"not positive semidefinite: K12 = -1\.5"):
        pair.evaluate(dict(zip(K, (1.0, -1.5, 1.0), strict=True)))


def test_orders():
    for k in (-1, 1.5, sp.Rational(1, 2)):
        with pytest.raises(BadInput, match=r"is not an integer >= 0"):
            expect_hermite(relu, z, k)
    order = sp.Symbol("k")
    formula = expect_hermite(relu, z, order)
    assert formula.k_from == 2
    with pytest.raises(BadInput, match="k = 1: this formula holds for integers k >= 2"):
        formula.evaluate({order: 1})


def test_derivative_exists_as_a_function_or_is_refused():
    assert derivative(relu**2, z).subs(z, 3) == 6
    assert derivative(sp.Abs(z), z).subs(z, -2) == -1
    for f, knot in (
        (sp.sign(z), "0"),
        (sp.Heaviside(z - 2), "2"),
        (sp.Piecewise((sp.tanh(z), z > 1), (0, True)), "1"),
    ):
        with pytest.raises(BadInput, match=f"jumps at z = {knot}: its derivative does not exist"):
            derivative(f, z)
    # the expectation of a jump is smooth all the same
    assert expect(sp.sign(z), z, m, 1).diff(m).evaluate({m: 0}) == pytest.approx(0.7978845608028654)


def test_a_wrong_formula_fails_its_certificate():
    formula = expect(relu, z, m, s)
    object.__setattr__(formula.value, "closed", formula.value.closed + sp.Rational(1, 10**9))
    with pytest.raises(CertificateFailure, match=r"differ by 1.0e-09"):
        formula.certify([{m: 0.1, s: 1.0}])
