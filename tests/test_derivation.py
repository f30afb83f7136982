"""Derivations: every step argued, every number certified, and a wrong formula caught."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import mpmath as mp
import pytest
import sympy as sp

from tests.built import derivation_of, uncertified
from tests.oracles import ACTIVATIONS
from workbench import (
    CertificateFailure,
    Derivation,
    PiecewiseLinear,
    derivation,
    derive,
    gaussian,
    isotropic_gaussians,
    kernel_steps,
    orbits,
    potential_steps,
)
from workbench.certificates import certify

MODEL = isotropic_gaussians(ACTIVATIONS["truncated_relu"][0])


@pytest.fixture(scope="session")
def certified() -> Derivation:
    """A derivation with all its certificates."""
    return derive(MODEL)


def test_every_step_has_a_rule_and_a_formula(certified: Derivation) -> None:
    titles = [step.title for step in certified.steps]
    assert len(titles) == len(set(titles)) > 15
    for step in certified.steps:
        assert step.title and step.rule
        assert isinstance(step.formula, sp.Eq)


def test_every_certificate_holds(certified: Derivation) -> None:
    # V, q, q', a_1, a_k, a_k', pair, m_k, series, g, sigma, and three identities of the reduction
    assert len(certified.certificates) >= 14
    for certificate in certified.certificates:
        assert certificate.points > 0
        assert 0 <= certificate.deviation <= certificate.tolerance <= 1e-12
        assert certificate.claim and certificate.oracle


@pytest.mark.parametrize(
    "claim",
    ["q(s)", "q'(s)", "V(r)", "V'(r)", "a_1", "a_k(s)", "a_k'(s)", "m_k(d)", "g_d(c)", "g_d'(c)", "pair"],
)
def test_what_the_code_prints_is_certified(certified: Derivation, claim: str) -> None:
    """Each rule and each of the final V, phi, U and gradients carries a certificate."""
    assert any(c.claim.startswith(claim) for c in certified.certificates)


def test_derivations_are_made_once_a_process(certified: Derivation) -> None:
    assert derive(isotropic_gaussians(ACTIVATIONS["truncated_relu"][0])) is certified


def test_a_derivation_is_immutable(certified: Derivation) -> None:
    with pytest.raises(TypeError):
        certified.definitions["q"] = sp.Integer(0)  # type: ignore[index]
    with pytest.raises(AttributeError):
        certified.V = sp.Integer(0)  # type: ignore[misc]


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates at three scales, as slow as they are."""
    for part in (potential_steps, kernel_steps):
        monkeypatch.setattr(part, "SCALE_GRID", part.SCALE_GRID[4::2])


def off_by(term: sp.Expr, rule: Callable[..., sp.Expr]) -> Callable[..., sp.Expr]:
    """A rule that is wrong by ``term``."""
    return lambda *args: rule(*args) + term


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("rule", "claim"),
    [
        ("hinge_form", "line plus hinges"),
        ("gaussian_mean", r"q\(s\)"),
        ("hermite_one", r"a_1\(s\)"),
        ("hermite_general", r"a_k\(s\)"),
        ("gaussian_pair", "pair kernel"),
        ("sphere_mean", r"g_d\(c\)"),
    ],
)
def test_a_wrong_formula_is_caught(monkeypatch: pytest.MonkeyPatch, rule: str, claim: str) -> None:
    # wrong in the eleventh digit; the certificates ask for twelve
    monkeypatch.setattr(gaussian, rule, off_by(sp.Rational(1, 10**11), getattr(gaussian, rule)))
    with pytest.raises(CertificateFailure, match=claim):
        derive.__wrapped__(MODEL)


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("name", "claim"), [("q_prime", r"q'\(s\)"), ("a_prime", r"a_k'\(s\)"), ("g_prime", "g_d'")]
)
def test_a_wrong_derivative_is_caught(monkeypatch: pytest.MonkeyPatch, name: str, claim: str) -> None:
    right = derivation.definitions

    def wrong(model: Any) -> dict[str, sp.Expr]:
        forms = right(model)
        return {**forms, name: forms[name] * (1 + sp.Rational(1, 10**6))}

    monkeypatch.setattr(derivation, "definitions", wrong)
    with pytest.raises(CertificateFailure, match=claim):
        derive.__wrapped__(MODEL)


def test_a_wrong_reduction_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = orbits.effective_potential
    monkeypatch.setattr(orbits, "effective_potential", lambda psi, x: right(psi, x) + sp.log(x[0].symbol))
    with pytest.raises(CertificateFailure, match="Gibbs"):
        uncertified(MODEL)


def test_certify_measures_the_largest_relative_deviation() -> None:
    points = [(mp.mpf(1),), (mp.mpf(100),), (mp.mpf(3),)]
    certificate = certify("x", "x exactly", lambda x: x + mp.mpf("5e-14"), lambda x: x, points)
    # the deviation at 1 is 5e-14; at 100 it is relative to 100
    assert certificate.deviation == pytest.approx(5e-14, rel=1e-6, abs=0)
    assert certificate.points == 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_certify_refuses_what_is_no_number(bad: float) -> None:
    with pytest.raises(CertificateFailure, match=r"claim: .*at \(2\.0\)"):
        certify("claim", "oracle", lambda x: bad, lambda x: x, [(mp.mpf(2),)])
    with pytest.raises(CertificateFailure, match="claim"):
        certify("claim", "oracle", lambda x: x, lambda x: mp.mpf(bad), [(mp.mpf(2),)])


def test_certify_names_the_point() -> None:
    with pytest.raises(CertificateFailure, match=r"differ by 1\.0e-03 > 1e-06 at \(0\.5, 2\.0\)"):
        certify("c", "o", lambda x, y: x + y + 2.5e-3, lambda x, y: x + y, [(mp.mpf("0.5"), mp.mpf(2))], 1e-6)


def test_certify_refuses_an_empty_grid() -> None:
    """A claim checked at no point is not certified."""
    with pytest.raises(CertificateFailure):
        certify("claim", "oracle", lambda x: x, lambda x: x, [])


# ---- the three renderers


@pytest.fixture(params=["truncated_relu", "nonmonotone", "relu", "five"])
def any_derivation(request: pytest.FixtureRequest) -> Derivation:
    return derivation_of(request.param)


def test_text_holds_every_step(any_derivation: Derivation) -> None:
    text = any_derivation.text()
    for number, step in enumerate(any_derivation.steps, 1):
        assert f"\n{number}. {step.title}\n   by " in text
    assert all(certificate.claim in text for certificate in any_derivation.certificates)
    assert "$" not in text and "\\" not in text  # prose is written in LaTeX, and none of it is left


def test_latex_is_balanced_and_holds_every_step(any_derivation: Derivation) -> None:
    latex = any_derivation.latex()
    plain = latex.replace(r"\{", "").replace(r"\}", "").replace("\\\\", "")
    depth = 0
    for sign in plain:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    opened = re.findall(r"\\begin\{([^}]*)\}", plain)
    assert sorted(opened) == sorted(re.findall(r"\\end\{([^}]*)\}", plain))
    displays = [name for name in opened if name in ("equation*", "align*")]
    assert len(displays) == len(any_derivation.steps)
    assert len(re.findall(r"\\left(?![a-z])", plain)) == len(re.findall(r"\\right(?![a-z])", plain))
    for step in any_derivation.steps:
        assert rf"\paragraph{{{step.title}}}" in latex
    for line in latex.splitlines():
        if line.startswith(r"\paragraph"):
            assert line.count("$") % 2 == 0
            words = re.sub(r"\$[^$]*\$", "", line)
            # outside formulas nothing is left that LaTeX would take for mathematics or refuse
            assert not re.search(r"(?<!\\)[_^&%#]", words)
            assert words.isascii()


def test_html_is_well_formed_and_holds_every_step(any_derivation: Derivation) -> None:
    fragment = any_derivation.html()

    def entity(match: re.Match[str]) -> str:
        """HTML knows more entities by name than XML does."""
        return match[0] if match[1] in ("lt", "gt", "amp", "quot") else html.unescape(match[0])

    root = ElementTree.fromstring("<html>" + re.sub(r"&(\w+);", entity, fragment) + "</html>")
    assert [h.text for h in root.iter("h2")] == [step.title for step in any_derivation.steps]
    assert len(list(root.iter("math"))) == len(any_derivation.steps)
    assert all(len(list(formula.iter())) > 3 for formula in root.iter("math"))
    rows = list(root.iter("tr"))
    assert len(rows) == len(any_derivation.certificates) + 1
    # SymPy's name for a function it does not know must not reach the reader
    assert "gauss_pdf" not in fragment and "hermite_function" not in fragment
    assert "$" not in fragment and "\\" not in fragment


def test_far_negative_knots_and_many_slopes_are_certified() -> None:
    """The oracle of a hinge pair has to find the density, wherever the knot is."""
    sigma = PiecewiseLinear([-12, 3], [1, 2], 0.5, -0.25, name="far")
    assert all(c.deviation <= c.tolerance for c in derive(isotropic_gaussians(sigma)).certificates)
