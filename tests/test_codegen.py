"""The printed modules: the same bytes every time, fresh, and numbers to the last bit."""

from __future__ import annotations

import hashlib
import math
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

import workbench
from tests.built import COMMITTED, derivation_of, module_of, text_of, uncertified
from workbench import (
    CertificateFailure,
    PiecewiseLinear,
    anisotropic_gaussians,
    build,
    generate,
    isotropic_gaussians,
)
from workbench.code_printer import code
from workbench.codegen import load
from workbench.module_certificates import certify_module
from workbench.special import gauss_cdf, sphere_moment

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "V",
    "features",
    "weights",
    "U",
    "grad_V",
    "grad_features",
    "U_exact",
    "U_pair",
    "a",
    "alpha",
    "g",
)

GENERATE = """
import sys
from tests.built import text_of
sys.stdout.reconfigure(encoding="utf-8")
sys.stdout.write("".join(text_of(name) for name in ("truncated_relu", "nonmonotone", "five")))
"""


def committed(name: str) -> str:
    return (ROOT / f"solvers/generated/isotropic_{name}.py").read_text("utf-8")


@pytest.mark.parametrize("seed", ["0", "12345"])
def test_the_same_bytes_for_every_hash_seed(seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GENERATE],
        cwd=ROOT,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    expected = "".join(map(committed, COMMITTED)) + text_of("five")
    assert done.stdout.decode("utf-8").replace("\r\n", "\n") == expected


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_files_are_fresh(name: str) -> None:
    assert committed(name) == text_of(name)


@pytest.mark.parametrize("name", COMMITTED)
def test_source_identifies_the_text(name: str) -> None:
    module, text = module_of(name), committed(name)
    assert module.SOURCE["sympy"] == sp.__version__
    assert module.SOURCE["workbench"] == workbench.__version__
    assert (ROOT / module.SOURCE["script"]).is_file()
    without = re.sub(r"SOURCE = \{.*?\n\}", "SOURCE = $source", text, count=1, flags=re.DOTALL)
    assert hashlib.sha256(without.removesuffix("\n").encode()).hexdigest() == module.SOURCE["sha256"]


def test_no_absolute_path_in_the_text() -> None:
    for name in COMMITTED:
        assert str(ROOT) not in committed(name)
        assert "/home" not in committed(name) and "/tmp" not in committed(name)


def test_build_gives_the_protocol_of_a_file() -> None:
    model = isotropic_gaussians(PiecewiseLinear([0.5, 1.5], [-2.5, 7.5], name="truncated_relu"))
    built, file = build(model), module_of("truncated_relu")
    assert [n for n in vars(file) if n in PROTOCOL] == [n for n in vars(built) if n in PROTOCOL]
    assert len([n for n in vars(built) if n in PROTOCOL]) == len(PROTOCOL)
    assert built.SOURCE["script"] == "workbench.build"  # no script wrote it
    x, p = np.array([[0.3], [2.0]]), {"d": 7, "tau_plus": 1.8, "tau_minus": 0.2}
    assert np.array_equal(built.U(x, x, p), file.U(x, x, p))


@pytest.mark.parametrize("name", ["relu", "absolute", "leaky", "five"])
def test_every_activation_can_be_printed(name: str) -> None:
    module = load(generate(derivation_of(name)), name)
    assert all(callable(getattr(module, f)) for f in PROTOCOL)


@pytest.mark.parametrize(
    ("law", "unit", "knots"),
    [
        (isotropic_gaussians, "plain", [-1, 1]),
        pytest.param(isotropic_gaussians, "affine", [-0.25, 0.25], marks=pytest.mark.slow),
        pytest.param(anisotropic_gaussians, "plain", [-1, 1], marks=pytest.mark.slow),
        pytest.param(anisotropic_gaussians, "affine", [-1, 1], marks=pytest.mark.slow),
    ],
)
def test_knots_where_certificates_look(law: Any, unit: str, knots: list[float]) -> None:
    """A sphere of dimension 1 is two points, at which sigma may have a kink: there is no slope to certify there."""
    module = build(law(PiecewiseLinear(knots, [-1, 1], name="hard_tanh"), unit=unit))
    middle = module.g(1, np.array([knots[1]]), np.array([0.0]))[0]
    assert middle == pytest.approx([0.0], abs=1e-15)  # (sigma(1) + sigma(-1))/2


def test_a_traceback_shows_the_generated_line() -> None:
    import linecache

    module = load("def f(x):\n    return 1 / x\n", "broken")
    assert module.__file__ is not None
    assert linecache.getline(module.__file__, 2) == "    return 1 / x\n"


def test_knots_and_values_are_the_nearest_floats() -> None:
    third = Fraction(1, 3)
    sigma = PiecewiseLinear([0.1, third, 2], [third, 0.2, 0.7], name="thirds")
    module = load(generate(uncertified(isotropic_gaussians(sigma))), "thirds")
    assert module.KNOTS == (0.1, 1 / 3, 2.0)
    z = np.array([0.1, 1 / 3, 2.0])
    assert np.array_equal(module.sigma(z), [1 / 3, 0.2, 0.7])
    s = np.array([0.8])
    # q' = alpha_1; coefficients such as (1/5 - 1/3)/(1/3 - 1/10) = -4/7 are rounded once
    assert module.alpha(1, s)[:, 1] == pytest.approx(
        float(slope_of_mean(sigma).evalf(20, subs={"s": 0.8})), rel=1e-14
    )


def slope_of_mean(sigma: PiecewiseLinear) -> sp.Expr:
    """q'(s) = sum_j c_j phi(t_j/s), written out."""
    s = sp.Symbol("s")
    return sp.Add(*(c * sp.exp(-((t / s) ** 2) / 2) / sp.sqrt(2 * sp.pi) for c, t in sigma.hinges))


x, d = sp.symbols("x d", positive=True)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (x / 3, 2 / 3),
        (x * sp.Rational(-5, 7), -10 / 7),
        (x * sp.pi, 2 * math.pi),
        (x * sp.sqrt(2), 2 * math.sqrt(2)),
        (x / sp.sqrt(2 * sp.pi), 2 / math.sqrt(2 * math.pi)),
        (sp.sqrt(2) / (2 * sp.sqrt(sp.pi)) + x, 2 + 1 / math.sqrt(2 * math.pi)),
        (3 * sp.sqrt(2) * x / (2 * sp.sqrt(sp.pi)) - sp.pi, 6 / math.sqrt(2 * math.pi) - math.pi),
        (sp.E**2 * x, 2 * math.e**2),
        (gauss_cdf(x) * sp.sqrt(3), 0.9772498680518208 * math.sqrt(3)),
        (sphere_moment(d, sp.Integer(0)) * x / sp.sqrt(5), 2 * 0.25 / math.sqrt(5)),
    ],
)
def test_constants_are_printed_to_the_last_bit(expression: sp.Expr, value: float) -> None:
    from workbench import numerics

    names = {**vars(numerics), "xp": np, "x": 2.0, "d": 3}
    # three roundings of float64
    assert float(eval(code(expression), names)) == pytest.approx(value, rel=1e-15, abs=0)


def test_no_irrational_constant_is_left_in_the_text() -> None:
    for name in (*COMMITTED, "relu", "five"):
        text = generate(derivation_of(name))
        printed = text[text.index("def q(s") : text.index("# ---- the data")]
        printed = re.sub(r'""".*?"""', "", printed, flags=re.DOTALL)
        assert not re.search(r"\bpi\b|\bsqrt\(|\bexp\(|Rational", printed)


def test_what_runs_is_certified_not_only_what_was_derived() -> None:
    """A float64 body that differs from its formula stops `build`: each of the code's certificates sees its own."""
    derivation, text = derivation_of("truncated_relu"), text_of("truncated_relu")
    certificates = certify_module(load(text, "right"), derivation)
    assert len(certificates) == 9 and all(c.points > 0 for c in certificates)
    for right, wrong in (
        ("total - y * probability * q(", "total - 1.002 * y * probability * q("),
        ("slopes[..., 1, None] * std * u.share", "slopes[..., 1, None] * u.share"),
        ("scale * slopes / root(", "scale * 1.002 * slopes / root("),
        ("above = root(xp, k + 1)", "above = root(xp, k + 2)"),
        ("xp.arccos(", "xp.arcsin("),
        ("math.sqrt(j + 1))", "math.sqrt(j + 2))"),
        ("0.5 * (d - 1), x * x)", "0.5 * (d - 1), 0.99 * x * x)"),
        ("0.5 - 0.5 * x, x * inside", "0.5 - 0.501 * x, x * inside"),
        ("xp.minimum(x * x, 1.0", "xp.minimum(x * x * 0.99, 1.0"),
        ("0.0 - h, 0.0 - k, rho", "0.1 - h, 0.0 - k, rho"),
        ("(even - 1) / (d + even - 2)", "(even - 1) / (d + even - 1)"),
        ("rho = xp.sum((u.share * u2.share)", "rho = 0.99 * xp.sum((u.share * u2.share)"),
    ):
        assert right in text, right
        with pytest.raises(CertificateFailure, match="float64"):
            certify_module(load(text.replace(right, wrong), "wrong"), derivation)
