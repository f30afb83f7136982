"""Formulas as MathML and prose as HTML: signs, brackets, indices, lines."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import sympy as sp

from workbench import notation, prose, render, special
from workbench.mathml import LINE_SIGNS, display
from workbench.notation import b, k, s
from workbench.special import gauss_pdf_delta
from workbench.steps import Step

x, y, t, s0 = sp.symbols("x y t s_0")
f, g = sp.Function("f"), sp.Function("g")
INVISIBLE = str.maketrans("", "", "\u2061\u2062")


def tree(formula: sp.Basic) -> ElementTree.Element:
    markup = display(formula).replace("&InvisibleTimes;", "\u2062")
    assert not re.search(r"&(?!#|lt;|gt;|amp;)", markup), "an entity that XML does not know"
    return ElementTree.fromstring(markup)


def text(formula: sp.Basic) -> str:
    return "".join(tree(formula).itertext()).translate(INVISIBLE)


def fractions(formula: sp.Basic) -> list[tuple[str, str]]:
    found = [tuple("".join(part.itertext()) for part in e) for e in tree(formula).iter("mfrac")]
    return [(above.translate(INVISIBLE), below.translate(INVISIBLE)) for above, below in found]


def test_the_order_of_a_derivative_is_on_the_variable() -> None:
    assert fractions(sp.Derivative(f(x), (x, 2))) == [("d2", "dx2")]
    assert fractions(sp.Derivative(f(x, y), x, (y, 2))) == [("∂3", "∂x∂y2")]


def test_a_differentiated_product_or_sum_is_in_brackets() -> None:
    assert text(sp.Derivative(f(x, t) * g(x, t), x)).endswith("(f(x,t)g(x,t))")
    assert text(sp.Derivative(f(x) + x, x)).endswith("(x+f(x))")
    assert text(sp.Derivative(f(x), x)).endswith("f(x)")
    assert not text(sp.Derivative(f(x) / x, x)).endswith(")x)")  # a fraction needs none


def test_derivatives_and_integrals_stand_behind_the_fraction_bar() -> None:
    assert fractions(2 * sp.Derivative(f(x), x) / t) == [("2", "t"), ("d", "dx")]
    assert fractions(sp.Rational(1, 2) * sp.Integral(f(x), x)) == [("1", "2")]
    assert text(-sp.Derivative(f(x), x)).startswith("−d")
    # two of them are bracketed, as each would seem to act on the next
    both = text(sp.Derivative(f(x), x) * sp.Derivative(g(x), x) / t)
    assert both == "1t(ddxf(x))(ddxg(x))"
    # a number is not multiplied into a sum on the way
    assert text(2 * sp.Derivative(f(t), t) * (x + y)).startswith("2(x+y)")


def test_signs_and_names() -> None:
    assert text(x - 3) == "x−3" and "-" not in text(sp.Integer(-3))
    assert text(sp.Order(x**3)) == "O(x3)"
    assert text(sp.KroneckerDelta(*sp.symbols("i j"))) == "δij"
    assert text(sp.exp(-x) / y) == "1ye−x" and "normal" in display(sp.exp(x))
    assert text(sp.Integral(f(x), (x, 0, 1))) == "∫01f(x)dx"
    assert text(sp.log(x) * 2) == "2log(x)"


@pytest.mark.parametrize(
    "name, tag, parts",
    [
        ("tau_+", "msub", ["τ", "+"]),
        ("s'", "msup", ["s", "′"]),
        ("thetaprime", "msup", ["θ", "′"]),
        ("p'_1", "msubsup", ["p", "1", "′"]),
        ("m_{k-j}", "msub", ["m", "k−j"]),
        ("phi_kappa", "msub", ["φ", "κ"]),
        ("yhat", "mover", ["y", "^"]),
        ("s_0", "msub", ["s", "0"]),
    ],
)
def test_names_of_symbols(name: str, tag: str, parts: list[str]) -> None:
    (element,) = tree(sp.Symbol(name))
    assert element.tag == tag and ["".join(part.itertext()) for part in element] == parts


def test_coefficients_have_an_index_and_the_correlation_is_no_measure() -> None:
    """a is also the output weight, and rho also the law of a unit."""
    formula = notation.a * special.a(k, s) * special.alpha(k - 1, s, b) * notation.corr * sp.Symbol("rho")
    shown = tree(formula)
    indexed = [tuple("".join(part.itertext()) for part in e) for e in shown.iter("msub")]
    assert indexed == [("a", "k"), ("α", "k−1")]
    assert text(special.a(k, s)) == "ak(s)"
    assert sorted(e.text or "" for e in shown.iter("mi") if e.text in ("ρ", "ϱ")) == ["ρ", "ϱ"]
    step = Step("T", r"$\varrho$", sp.Eq(f(x), formula, evaluate=False))
    plain = render.text("T", [step])
    assert "aₖ(s)" in plain and "αₖ₋₁(s, b)" in plain and "ρ⋅ϱ" in plain and "by ϱ" in plain
    latex = render.latex("T", [step])
    assert r"a_{k}\left(s\right)" in latex and r"\rho" in latex and latex.count(r"\varrho") == 2
    assert "<i>ϱ</i>" in render.html("T", [step])


def test_names_with_a_greek_index_are_not_spelled_in_text() -> None:
    kappa = sp.Symbol("kappa")
    formula = sp.IndexedBase("m")[kappa] * sp.Function("phi_kappa")(x) * sp.IndexedBase("p")[k] ** 2
    plain = render.text("T", [Step("T", "rule", formula)])
    assert "m_κ" in plain and "φ_κ(x)" in plain and "p_k" in plain and "[" not in plain and "ₐ" not in plain


def test_a_difference_of_functions_keeps_an_upright_delta() -> None:
    first, second = list(tree(gauss_pdf_delta(x)).iter("mi"))[:2]
    assert (first.text, first.get("mathvariant"), second.text, second.get("mathvariant")) == (
        "Δ",
        "normal",
        "φ",
        None,
    )


def test_brackets_grow_with_their_content_only() -> None:
    def grows(formula: sp.Basic) -> set[str | None]:
        return {mo.get("stretchy") for mo in tree(formula).iter("mo") if mo.text in ("(", ")")}

    assert grows(f(x)) == {"false"} and grows(f(x / y)) == {None}


def test_a_long_sum_is_broken_into_lines_with_all_its_terms() -> None:
    terms = [sp.Symbol(f"x_{i}") * f(sp.Symbol(f"y_{i}")) for i in range(24)]
    equation = sp.Eq(f(x), sp.Add(*terms, -t), evaluate=False)
    rows = list(tree(equation).iter("mtr"))
    lines = ["".join(row.itertext()).translate(INVISIBLE) for row in rows]
    assert len(lines) >= 3 and all(len(line) < 1.2 * LINE_SIGNS for line in lines)
    assert lines[0].startswith("f(x)=") and all(line[0] in "+−" for line in lines[1:])
    assert sorted(re.findall(r"x(\d+)f", "".join(lines)), key=int) == [str(i) for i in range(24)]
    assert "−t" in "".join(lines)
    assert not list(tree(sp.Eq(f(x), x + y, evaluate=False)).iter("mtr"))


@pytest.mark.parametrize(
    "latex, html",
    [
        (
            r"$\tau_y^2 I_{s_0}$",
            "<i>τ</i><sub><i>y</i></sub><sup>2</sup> <i>I</i><sub><i>s</i><sub>0</sub></sub>",
        ),
        (r"$\langle w, x \rangle$ & more", "⟨<i>w</i>, <i>x</i>⟩ &amp; more"),
        (r"$\sqrt{k!}$ or $\sqrt{k}$", "√(<i>k</i>!) or √<i>k</i>"),
        (r"$\mathrm{diag}(x)$", "diag(<i>x</i>)"),
        (r"$\|\sigma'\| - 1 < 0$", "‖<i>σ</i>′‖ − 1 &lt; 0"),
        ("no $ formula", "no  <i>formula</i>"),
    ],
)
def test_prose_in_latex(latex: str, html: str) -> None:
    assert prose.prose(latex) == html


@pytest.mark.parametrize(
    "ascii_text, html",
    [
        ("N(0, tau_y^2 I_d)", "N(0, τ<sub>y</sub><sup>2</sup> I<sub>d</sub>)"),
        ("N^(-1/2) + (d epsilon)^(1/2)", "N<sup>−1/2</sup> + (d ε)<sup>1/2</sup>"),
        ("sum_i sigma(<w_i, x>)", "Σ<sub>i</sub> σ(⟨w<sub>i</sub>, x⟩)"),
        ("Psi_lam, 2 xi/beta, exp(-beta)", "Ψ<sub>λ</sub>, 2 ξ/β, exp(−β)"),
        ("densities >= 0, 1 +- Delta", "densities ≥ 0, 1 ± Δ"),
        ("W1 is 2e-09, a < b", "W<sub>1</sub> is 2 × 10<sup>−9</sup>, a &lt; b"),
        ("(1 - 2 lam s) theta_i, words - and words", "(1 − 2 λ s) θ<sub>i</sub>, words - and words"),
        ("network_risk, make_and_show, x.beta", "network_risk, make_and_show, x.beta"),
        ("E y sigma_*", "E y σ<sub>*</sub>"),
        ("a finite sum of delta_r, int Psi drho", "a finite sum of δ<sub>r</sub>, ∫Ψ dρ"),
        ("K = int U drho_opt", "K = ∫U dρ<sub>opt</sub>"),
        ("da_k/ds (s, b), dt^2", "da<sub>k</sub>/ds (s, b), dt<sup>2</sup>"),
        ("do_it, add_n, deck_2", "do_it, add_n, deck_2"),
        ("a < b, c > d, W 3e+4x", "a &lt; b, c &gt; d, W 3e+4x"),
    ],
)
def test_prose_in_ascii(ascii_text: str, html: str) -> None:
    assert prose.signs(ascii_text) == html


@pytest.mark.parametrize(
    "value, digits, html",
    [
        (0.0, 2, "0"),
        (2.345e-23, 2, "2.3 × 10<sup>−23</sup>"),
        (1e-12, 1, "10<sup>−12</sup>"),
        (-0.5, 3, "−0.5"),
    ],
)
def test_numbers_with_powers_of_ten(value: float, digits: int, html: str) -> None:
    assert prose.decimal(value, digits) == html


def test_folded_steps_hold_what_the_sections_hold() -> None:
    steps = (
        Step("First & best", "rule $x_1$", sp.Eq(f(x), x), note="a note"),
        Step("Second", "another", sp.Eq(sp.Tuple(x, y), sp.Tuple(y, x), evaluate=False)),
    )
    folded = ElementTree.fromstring(render.html("T", steps, folded=True))
    assert [e.text for e in folded.iter("summary")] == ["First & best", "Second"]
    assert [len(list(e.iter("math"))) for e in folded.iter("details")] == [1, 2]
    assert all(e.get("open") is None for e in folded.iter("details"))
    words = "".join(folded.itertext())
    assert "rule x1" in words and "a note" in words and "T" not in words.replace("Tuple", "")
    open_ones = ElementTree.fromstring("<html>" + render.html("T", steps) + "</html>")
    assert len(list(open_ones.iter("section"))) == 2 and not list(open_ones.iter("details"))
