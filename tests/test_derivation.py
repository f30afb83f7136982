"""Derivations: every step argued, every number certified, and a wrong formula caught."""

from __future__ import annotations

import dataclasses
import html
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from xml.etree import ElementTree

import mpmath as mp
import pytest
import sympy as sp

from tests.built import uncertified
from tests.oracles import ACTIVATIONS
from workbench import (
    CertificateFailure,
    Derivation,
    Erf,
    Model,
    PiecewiseLinear,
    Polynomial,
    ReLU,
    SquaredReLU,
    Tanh,
    anisotropic_gaussians,
    certificates,
    closed_forms,
    derivation,
    derive,
    evaluators,
    gaussian,
    isotropic_gaussians,
    kernel_steps,
    orbits,
    potential_steps,
)
from workbench.certificates import certify
from workbench.derivation import _derived

RAMP = ACTIVATIONS["truncated_relu"][0]
MODEL = isotropic_gaussians(RAMP)
# one of each kind: where formulas are closed and where they are quadratures, one block and two
MODELS = {
    "plain": MODEL,
    "affine": anisotropic_gaussians(ReLU(), "affine"),
    "tanh": isotropic_gaussians(Tanh(), "affine"),
    "opposite": isotropic_gaussians(RAMP, means="opposite", name="opposite"),
}

OPENING = ["Activation", "Line plus hinges", "Projection of the data", "Gaussian mean of the activation"]
OPENING += ["Hermite coefficients of the slope", "The first of them", "Hermite coefficients"]
POTENTIALS = ["Their derivatives", "Potential", "Its gradient"]
KERNEL = ["Two units at fixed angles", "The same in closed form", "Orbit average"]
KERNEL += ["Finite-rank kernel, Hermite route", "Features", "Mean over a sphere", "Its derivatives"]
KERNEL += ["Finite-rank kernel, chi route", "Interaction kernel"]
EQUATION = ["Moments", "First variation", "Risk", "Ridged potential", "Generator of the orbit coordinates"]
EQUATION += ["Equation of the orbit coordinates", "Effective potential of the orbit coordinates"]
TITLES = [*OPENING, *POTENTIALS, *KERNEL, *EQUATION]
# what a quadrature has no formula for; tanh is no line plus hinges
NO_FORMULA = {"Line plus hinges", "The first of them", "The same in closed form", "Its derivatives"}


@cache
def certified_model(name: str) -> Derivation:
    """One of ``MODELS`` with all its certificates."""
    return derive(MODELS[name])


@pytest.fixture(params=MODELS)
def certified(request: pytest.FixtureRequest) -> Derivation:
    """A derivation with all its certificates."""
    return certified_model(request.param)


def test_every_step_has_a_rule_and_a_formula(certified: Derivation) -> None:
    titles = [step.title for step in certified.steps]
    assert len(titles) == len(set(titles)) > 15
    for step in certified.steps:
        assert step.title and step.rule
        assert isinstance(step.formula, sp.Eq)
        assert not step.formula.has(sp.nan, sp.zoo)


@pytest.mark.parametrize("name", MODELS)
def test_the_steps_come_in_order(name: str) -> None:
    left_out = NO_FORMULA if name == "tanh" else set()
    titles = [title for title in TITLES if title not in left_out]
    assert [step.title for step in certified_model(name).steps] == titles


def test_every_certificate_holds(certified: Derivation) -> None:
    # V, its gradient, q, alpha_k, a_k, a_k', pair, m_k, series, phi, and three identities of the reduction;
    # for piecewise-linear activations also g with its derivatives, and sigma
    least = 13 if certified.closed.g is None else 15
    assert len(certified.certificates) >= least
    for certificate in certified.certificates:
        assert certificate.points > 0
        assert 0 <= certificate.deviation <= certificate.tolerance <= 1e-12
        assert certificate.claim and certificate.oracle


CLAIMS = {
    "plain": ["q(s)", "alpha_k(s)", "a_k(s)", "da_k/ds (s)", "V(r)", "sum_k m_k(n) a_k a_k", "g_n, its deri"],
    "affine": [
        "q(s, b)",
        "alpha_k(s, b)",
        "a_k(s, b)",
        "da_k/ds (s, b)",
        "V(a, b, r1, r2)",
        "E (x c_1 + y c_2)^k",
    ],
    "tanh": ["q(s, b)", "alpha_k(s, b)", "a_k(s, b)", "da_k/ds (s, b)", "V(a, b, r)", "sum_k m_k(n) a_k a_k"],
    "opposite": [
        "q(s, b)",
        "alpha_k(s, b)",
        "a_k(s, b)",
        "da_k/ds (s, b)",
        "V(m, r)",
        "g_n, its derivatives",
    ],
}
EVERYWHERE = [
    "its gradient",
    "pair",
    "m_k(n)",
    "phi and its gradient",
    "generator",
    "Jacobians",
    "adjoint",
    "Gibbs",
]


@pytest.mark.parametrize(("name", "claim"), [(x, c) for x in MODELS for c in [*CLAIMS[x], *EVERYWHERE]])
def test_what_the_code_prints_is_certified(name: str, claim: str) -> None:
    """Each rule and each of the final V, phi, U and gradients carries a certificate."""
    assert any(c.claim.startswith(claim) for c in certified_model(name).certificates)


def test_derivations_are_made_once_a_process() -> None:
    certified = certified_model("plain")
    assert derive(isotropic_gaussians(ACTIVATIONS["truncated_relu"][0])) is certified


def test_a_derivation_is_immutable() -> None:
    certified = certified_model("plain")
    with pytest.raises(TypeError):
        certified.steps[0] = certified.steps[1]  # type: ignore[index]
    with pytest.raises(AttributeError):
        certified.closed.q = sp.Integer(0)  # type: ignore[misc]
    with pytest.raises(AttributeError):
        certified.V = sp.Integer(0)  # type: ignore[misc]


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Certificates at three scales, as slow as they are; and the memory of formulas kept out."""
    for part in (certificates, potential_steps):
        monkeypatch.setattr(part, "SCALE_GRID", part.SCALE_GRID[4::2])
    closed_forms.closed_forms.cache_clear()
    yield
    closed_forms.closed_forms.cache_clear()


def off_by(term: sp.Expr, rule: Callable[..., sp.Expr]) -> Callable[..., sp.Expr]:
    """A rule that is wrong by ``term``."""
    return lambda *args: rule(*args) + term


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("rule", "claim"),
    [
        ("hinge_form", "line plus hinges"),
        ("gaussian_mean", r"^q\("),
        ("slope_mean", r"^alpha_k\("),
        ("slope_coefficient", r"^alpha_k\("),
        ("gaussian_pair", "pair kernel"),
        ("sphere_mean", r"^g_n, its derivatives"),
    ],
)
@pytest.mark.parametrize("name", ["plain", "affine", "opposite"])
def test_a_wrong_formula_is_caught(monkeypatch: pytest.MonkeyPatch, name: str, rule: str, claim: str) -> None:
    # wrong in the eleventh digit; the certificates ask for twelve
    monkeypatch.setattr(gaussian, rule, off_by(sp.Rational(1, 10**11), getattr(gaussian, rule)))
    with pytest.raises(CertificateFailure, match=claim):
        _derived(MODELS[name])


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("rule", ["sphere_scale_slope", "sphere_offset_slope"])
@pytest.mark.parametrize("name", ["plain", "affine", "opposite"])
def test_a_wrong_derivative_is_caught(monkeypatch: pytest.MonkeyPatch, name: str, rule: str) -> None:
    right = getattr(gaussian, rule)
    monkeypatch.setattr(gaussian, rule, lambda *args: right(*args) * (1 + sp.Rational(1, 10**6)))
    with pytest.raises(CertificateFailure, match=r"^g_n, its derivatives"):
        _derived(MODELS[name])


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_gradient_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    right = derivation.potential_steps

    def wrong(model: Any, values: Any, V: sp.Expr, grad_V: tuple[sp.Expr, ...]) -> Any:
        return right(model, values, V, (*grad_V[:-1], grad_V[-1] * (1 + sp.Rational(1, 10**9))))

    monkeypatch.setattr(derivation, "potential_steps", wrong)
    with pytest.raises(CertificateFailure, match=r"^its gradient"):
        _derived(MODELS[name])


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_potential_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What a unit sees of the class y = -1 is wrong by 1e-9 of the scale."""
    right = Model.scale
    monkeypatch.setattr(
        Model, "scale", lambda model, sign: right(model, sign) * (1 + sp.Rational(1 - sign, 2 * 10**9))
    )
    with pytest.raises(CertificateFailure, match=r"^V\("):
        _derived(MODELS[name])


@pytest.mark.usefixtures("coarse")
def test_wrong_moments_of_two_blocks_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sp.gamma
    monkeypatch.setattr(kernel_steps.sp, "gamma", lambda x: right(x) * (1 + sp.Rational(1, 10**11)))
    with pytest.raises(CertificateFailure, match=r"^m_k\(n\)"):
        _derived(MODELS["affine"])


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("entry", "claim"),
    [("q", r"^q\("), ("low", r"^alpha_k\("), ("general", r"^alpha_k\("), ("pair", "pair kernel")],
)
def test_a_wrong_formula_of_the_calculus_is_caught(
    monkeypatch: pytest.MonkeyPatch, entry: str, claim: str
) -> None:
    model = isotropic_gaussians(SquaredReLU(), "affine")
    right = closed_forms.closed_forms(model)
    error = sp.Rational(1, 10**11)
    value = getattr(right, entry)
    wrong = tuple(e + error for e in value) if entry == "low" else value + error
    for part in (derivation, evaluators):
        monkeypatch.setattr(part, "closed_forms", lambda _: dataclasses.replace(right, **{entry: wrong}))
    with pytest.raises(CertificateFailure, match=claim):
        _derived(model)


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("rule", "claim"), [("gaussian_coefficients", r"^q\("), ("pair_average", "pair kernel")]
)
def test_a_wrong_quadrature_is_caught(monkeypatch: pytest.MonkeyPatch, rule: str, claim: str) -> None:
    """Where there is no closed form, the quadrature of the generated module is the claim."""
    monkeypatch.setattr(evaluators, rule, off_by(1e-11, getattr(evaluators, rule)))
    with pytest.raises(CertificateFailure, match=claim):
        _derived(MODELS["tanh"])


@pytest.mark.usefixtures("coarse")
def test_the_general_formula_is_certified_however_late_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slope of t^12 has twelve coefficients that are not 0: the formula for all k starts after them."""
    monkeypatch.setattr(certificates, "SCALE_GRID", (mp.mpf(1),))  # t^12 at 100 is beyond 22 digits
    model = isotropic_gaussians(Polynomial([0] * 12 + [1]))
    right = closed_forms.closed_forms(model)
    assert right.low is not None and len(right.low) > max(potential_steps.ORDERS)
    wrong = dataclasses.replace(right, general=right.general + sp.Rational(1, 10**11))
    for part in (derivation, evaluators):
        monkeypatch.setattr(part, "closed_forms", lambda _: wrong)
    with pytest.raises(CertificateFailure, match=r"^alpha_k\(.* at \(12\.0"):
        _derived(model)


@pytest.mark.usefixtures("coarse")
def test_a_pair_formula_right_at_one_offset_alone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gaussian.gaussian_pair
    for place in (-2, -1):  # the offset of the first unit, and that of the second
        monkeypatch.setattr(
            gaussian, "gaussian_pair", lambda *args, place=place: right(*args) + args[place] / 10**11
        )
        closed_forms.closed_forms.cache_clear()
        with pytest.raises(CertificateFailure, match="pair kernel"):
            _derived(MODELS["affine"])


def test_the_series_of_an_odd_activation_is_not_compared_at_zero() -> None:
    """Without offsets the orbit average of tanh vanishes, whatever the moments are."""
    moment, _ = kernel_steps._spherical_moment()
    model = MODELS["tanh"]
    with pytest.raises(CertificateFailure, match=r"^sum_k m_k\(n\)"):
        kernel_steps._series_certificate(
            model, evaluators.Evaluator(model), moment * (1 + sp.Rational(1, 10**9))
        )


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


RENDERED = {
    **{name: isotropic_gaussians(ACTIVATIONS[name][0]) for name in ("nonmonotone", "relu", "five")},
    **{name: model for name, model in MODELS.items() if name != "plain"},
    "everything": anisotropic_gaussians(Erf(), "affine", "opposite"),
    "pieces": anisotropic_gaussians(SquaredReLU()),
}


@cache
def rendered(name: str) -> Derivation:
    """One of ``RENDERED``, uncertified."""
    return uncertified(RENDERED[name])


@pytest.fixture(params=["plain", *RENDERED])
def any_derivation(request: pytest.FixtureRequest) -> Derivation:
    return certified_model("plain") if request.param == "plain" else rendered(request.param)


def formulas_of(derivation: Derivation) -> list[sp.Eq]:
    """The formulas of all steps."""
    return [step.formula for step in derivation.steps]


def test_text_holds_every_step(any_derivation: Derivation) -> None:
    text = any_derivation.text()
    for number, step in enumerate(any_derivation.steps, 1):
        assert f"\n{number}. {step.title}\n   by " in text
    assert all(certificate.claim in text for certificate in any_derivation.certificates)
    assert "$" not in text and "\\" not in text  # prose is written in LaTeX, and none of it is left
    assert not re.search(r"\bnan\b|zoo|gauss_|hermite_function|stable_|prime\b", text)


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
    assert not re.search(r"\bnan\b|zoo|prime", latex)
    # brackets that grow must close within their line of an alignment
    for line in latex.split("\\\\\n"):
        assert len(re.findall(r"\\left(?![a-z])", line)) == len(re.findall(r"\\right(?![a-z])", line))
    displays = [name for name in opened if name in ("equation*", "align*")]
    assert len(displays) == len(any_derivation.steps)
    assert len(re.findall(r"\\left(?![a-z])", plain)) == len(re.findall(r"\\right(?![a-z])", plain))
    for step in any_derivation.steps:
        assert rf"\paragraph{{{step.title}}}" in latex
    notes = re.findall(r"\\end\{(?:equation|align)\*\}\n(?!\\paragraph|\\begin)(.*)", latex)
    assert len(notes) == sum(bool(step.note) for step in any_derivation.steps)
    for line in latex.splitlines():
        if line.startswith(r"\paragraph") or line in notes:
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
    # an equation of tuples is set as one equation an entry
    entries = [len(f.lhs) if isinstance(f.lhs, sp.Tuple) else 1 for f in formulas_of(any_derivation)]
    assert [len(list(section.iter("math"))) for section in root.iter("section")] == entries
    assert all(len(list(formula.iter())) > 3 for formula in root.iter("math"))
    rows = list(root.iter("tr"))
    assert len(rows) == len(any_derivation.certificates) + 1
    # SymPy's name for a function it does not know must not reach the reader
    assert "gauss_pdf" not in fragment and "hermite_function" not in fragment
    assert not re.search(r"\bnan\b|stable_|prime\b", "".join(root.itertext()))
    assert "$" not in fragment and "\\" not in fragment


def test_far_negative_knots_and_many_slopes_are_certified() -> None:
    """The oracle of a hinge pair has to find the density, wherever the knot is."""
    sigma = PiecewiseLinear([-12, 3], [1, 2], 0.5, -0.25, name="far")
    assert all(c.deviation <= c.tolerance for c in derive(isotropic_gaussians(sigma)).certificates)
