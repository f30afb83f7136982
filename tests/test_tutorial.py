"""The tutorial, run cell by cell as a notebook would: its numbers against independent ones, its pictures, its names."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import math
import re
import sys
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.optimize import minimize_scalar, nnls

import workbench
from paper.report import tutorial as report_tutorial
from solvers import particles
from workbench import GaussianInitialLaw, Problem, cli

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "paper" / "tutorial.py"


@dataclass(frozen=True)
class Tutorial:
    """What a run has left: names, output cell by cell, figures in order with their words, files in its folder."""

    names: dict[str, Any]
    outputs: list[str]
    figures: list[Figure]
    alts: list[str]
    files: list[Path]

    def __getattr__(self, name):
        return self.names[name]


def cells():
    return jupytext.reads(SCRIPT.read_text("utf-8"), fmt="py:percent").cells


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tutorial")
    names: dict[str, Any] = {"__name__": "__main__"}
    outputs, figures, alts = [], [], []
    with contextlib.chdir(folder):
        for cell in cells():
            if cell.cell_type == "code":
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile(cell.source, str(SCRIPT), "exec"), names)
                outputs.append(printed.getvalue())
                figure = names.get("figure")
                if figure is not None and figure not in figures:
                    figures.append(figure)
                    alts.append(names["alt"])
    return Tutorial(names, outputs, figures, alts, list(folder.rglob("*")))


def test_it_leaves_no_files(tutorial):
    assert tutorial.files == []


def test_it_is_short():
    assert 10 <= len(cells()) <= 16
    assert all(len(cell.source.splitlines()) <= 40 for cell in cells())


# ---- the potentials


def sigma(z):
    return np.interp(z, [0, 1, 2], [-2, -3, 5])


def q(s):
    """E sigma(s G) by quadrature, between the knots."""
    ends = [-12, 0, 1 / s, 2 / s, max(12, 3 / s)]

    def integrand(g):
        return math.exp(-g * g / 2) / math.sqrt(2 * math.pi) * sigma(s * g)

    return sum(quad(integrand, a, b, epsabs=1e-13)[0] for a, b in pairwise(ends))


def test_V_is_that_of_the_definition_and_monte_carlo_agrees(tutorial):
    exact, mean, error = tutorial.comparison["V(3)"]
    assert exact == pytest.approx(q(0.4 * 3) / 2 - q(1.6 * 3) / 2, abs=1e-11)
    # with 100,000 samples of numbers between -3 and 5
    assert 0.002 < error < 4 / math.sqrt(100_000) and abs(mean - exact) < 4 * error


def test_U_agrees_with_monte_carlo(tutorial):
    exact, mean, error = tutorial.comparison["U(3, 1.5)"]
    assert error < 0.03 and abs(mean - exact) < 4 * error
    # the limit of independent angles is near, and 1/d away
    limit = np.mean([q(tau * 3) * q(tau * 1.5) for tau in (1.6, 0.4)])
    assert 1e-3 < abs(exact - limit) < 25 / 40


def test_the_derivation_prints_q_and_V_with_their_certificates(tutorial):
    text = tutorial.outputs[1]
    assert "q(s) = 9⋅s⋅Δφ" in text and "V(r) = -" in text
    assert re.search(r"q\(s\) .*<= 1e-12 .*quadrature", text)
    assert all(c.deviation <= c.tolerance for c in tutorial.derivation.certificates)
    assert tutorial.worst <= 1 and f"worst uses {tutorial.worst:.1g} of its tolerance" in text


# ---- the dynamics


def test_sgd_is_as_near_to_the_limit_as_is_said(tutorial):
    assert tutorial.expected == pytest.approx(1 / 20 + math.sqrt(40 * 1e-4))
    rows = tutorial.outputs[3].splitlines()[1:4]
    for t, row in zip(tutorial.snapshots, rows, strict=True):
        (limit,), (norms,) = tutorial.dynamics.risk_at([t]), tutorial.trained.risk_at([t])
        (network,) = tutorial.trained.risk_at([t], "network_risk")
        assert [float(word) for word in row.split()] == pytest.approx([t, limit, norms, network], abs=5e-5)
        assert norms == pytest.approx(limit, rel=tutorial.expected)
        # at most max sigma^2 = 25 in place of U(theta, theta)
        assert 0 < network - norms < 25 / tutorial.N


def test_the_risk_falls_from_that_of_the_initial_law(tutorial):
    risk = tutorial.dynamics.data["risk"].values
    assert np.all(np.diff(risk) < 0) and risk[0] > 3 and risk[-1] < 0.16


# ---- the landscape: a grid of radii, on which V and U are matrices


def grid_of(module, p):
    r = np.concatenate([[0.0], np.geomspace(1e-2, 1e4, 3000)])
    return r, module.V(r[:, None], p), module.features(r[:, None], p) * np.sqrt(module.weights(p))


def gap_on_grid(module, p):
    """2 (Psi(r*) - min Psi), r* the best single delta, found from the best of the grid, min Psi that on the grid."""
    r, V, phi = grid_of(module, p)

    def risk(radius):
        x = np.array([radius])
        return float(2 * module.V(x, p) + module.weights(p) @ module.features(x, p) ** 2)

    i = int(np.argmin(2 * V + np.sum(phi**2, axis=1)))
    best = minimize_scalar(risk, bounds=(r[i - 1], r[i + 1]), options={"xatol": 1e-10}).x
    moments = module.weights(p) * module.features(np.array([best]), p)
    level = float(module.V(np.array([best]), p) + moments @ module.features(np.array([best]), p))
    return 2 * (level - float(np.min(V + module.features(r[:, None], p) @ moments)))


def test_the_best_measure_is_that_of_nonnegative_least_squares(tutorial):
    for delta, (best, free) in tutorial.optima.items():
        p = tutorial.parameters(delta)
        _, V, phi = grid_of(tutorial.module, p)
        # |sum_i c_i phi_i|^2 + 2 sum_i c_i V_i with sum c = 1: V is a combination of features, which the penalty joins
        target = np.linalg.lstsq(phi, V, rcond=None)[0]
        assert np.max(np.abs(phi @ target - V)) < 1e-6  # both are made of q(tau r)
        c, _ = nnls(np.vstack([phi.T, 1e4 * np.ones(len(V))]), np.append(-target, 1e4))
        c /= c.sum()
        risk = 1 + 2 * V @ c + np.sum((c @ phi) ** 2)
        assert risk == pytest.approx(free.risk, abs=2e-5)
        assert free.risk <= best.risk + 1e-12 and best.risk - best.gap <= free.risk + 1e-9
    assert tutorial.optima[0.6][0].gap < 1e-9 < 1e-2 < tutorial.optima[0.8][0].gap


@pytest.mark.parametrize("d", [9, 12, 40, math.inf])
def test_the_thresholds_are_where_the_gap_on_a_grid_opens(tutorial, d):
    lower, upper = tutorial.edges[d]
    lower = 0.0 if math.isnan(lower) else lower
    for delta in (lower - 0.02, lower + 0.02, upper - 0.02, upper + 0.02, *np.linspace(0.05, 0.85, 9)):
        if delta > 0 and min(abs(delta - lower), abs(delta - upper)) > 0.01:
            optimal = gap_on_grid(tutorial.module, tutorial.parameters(delta, d)) < 1e-6
            assert optimal == (lower < delta < upper), (delta, lower, upper)


def test_at_small_dimension_there_is_no_threshold(tutorial):
    assert all(map(math.isnan, tutorial.edges[8])) and math.isnan(tutorial.edges[math.inf][0])
    for delta in np.linspace(0.05, 0.85, 9):
        assert gap_on_grid(tutorial.module, tutorial.parameters(delta, 8)) > 2e-3


# ---- the two fates


def test_the_fates_part_at_the_maximum_of_the_risk(tutorial):
    for i, ridge in enumerate(tutorial.ridge):
        shares = tutorial.fates[i]
        assert np.all(np.diff(shares) <= 0)
        assert np.all(shares[tutorial.kappas < 0.7 * ridge] > 1 - 1e-12)
        assert np.all(shares[tutorial.kappas > 1.4 * ridge] == 0)
        # the initial norms have the relative spread 1/sqrt(2 d) = 0.11
        half = float(np.interp(-0.5, -shares, np.log(tutorial.kappas)))
        assert abs(half - math.log(ridge)) < 0.11


def test_at_infinite_dimension_the_fates_part_there(tutorial):
    for delta, ridge in zip(tutorial.deltas[::5], tutorial.ridge[::5], strict=True):
        ends = []
        for kappa in (0.98 * ridge, 1.02 * ridge):
            problem = Problem(
                tutorial.module,
                tutorial.parameters(delta, math.inf),
                (20.0,),
                initial=GaussianInitialLaw(kappa=kappa),
            )
            ends.append(particles.solve(problem, particles.ParticlesConfig(1)))
        assert ends[0].measure(0).points[0, 0] == 0 and ends[0].risk_at([20.0])[0] == pytest.approx(5)
        assert ends[1].measure(0).points[0, 0] > 2 and ends[1].risk_at([20.0])[0] < 1


# ---- pictures and prose


def test_the_figures_say_what_they_show(tutorial):
    assert len(tutorial.figures) == 2
    for figure in tutorial.figures:
        panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
        assert len(panels) == 2
        for axes in panels:
            assert axes.get_xlabel() and axes.get_ylabel() and axes.get_legend() is not None
        figure.savefig(io.BytesIO(), format="png", dpi=50)  # filterwarnings makes an error of a missing glyph
    left, right = tutorial.figures[1].axes[:2]
    heights = {round(1 / d, 6) for d in tutorial.edges if not math.isnan(tutorial.edges[d][1])}
    assert {round(float(y), 6) for y in left.lines[0].get_ydata()} == heights
    np.testing.assert_array_equal(right.collections[0].get_array(), tutorial.fates.ravel())


def test_alternative_texts_are_made_of_the_results(tutorial):
    first, second = tutorial.alts
    risk, t = tutorial.dynamics.data["risk"].values, tutorial.snapshots
    off = np.max(np.abs(tutorial.trained.risk_at(t) - tutorial.dynamics.risk_at(t)))
    assert f"goes from {risk[0]:.2g} to {risk[-1]:.2g}; " in first and f"within {off:.1g} of it" in first
    apart = [
        np.mean(np.abs(np.subtract(*(run.measure(i).quantiles(tutorial.levels) for run in both))))
        for both in [(tutorial.dynamics, tutorial.trained)]
        for i in range(3)
    ]
    assert f"at most {max(apart):.1g} apart" in first
    for d in (9, 40):
        lower, upper = tutorial.edges[d]
        assert f"{lower:.2f} to {upper:.2f} at d = {d}" in second
    assert f"0.00 to {tutorial.edges[math.inf][1]:.2f} at d = ∞" in second and "d = 8" not in second
    assert f"from {np.sum(tutorial.fates > 0.99)} of 42 initial laws" in second
    assert f"to r = {tutorial.ridge[-1]:.2g} at Delta = 0.9." in second


OWN = "knots, values = [0, 1, 2], [-2, -3, 5]"
GRID = "np.linspace(0.1, 0.9, 6), np.geomspace(0.15, 0.8, 7)"


@pytest.mark.slow
def test_it_runs_with_an_activation_of_which_a_single_delta_is_always_optimal(tmp_path):
    script = SCRIPT.read_text("utf-8")
    assert OWN in script and GRID in script
    script = script.replace(OWN, "knots, values = [0, 1], [-1, 1]").replace(GRID, GRID.replace("6)", "2)"))
    (tmp_path / "own.py").write_text(script.replace("0.8, 7)", "0.8, 2)"), "utf-8")
    lesson = report_tutorial.run(tmp_path / "own.py")
    assert lesson.failure == "" and lesson.parts[-1].prose is not None
    first, second = (str(part.picture) for part in lesson.parts if part.picture)
    told = ", ".join(f"0.00 to 1.00 at d = {d}" for d in (8, 9, 12, 20, 40, "∞"))
    assert f"a single delta is optimal: {told}. Right, all units end dead from 0 of 4" in second
    assert "maximum of R(delta_r) is missing at some Delta." in second and "goes from 0.88" in first


def test_it_draws_where_a_single_delta_is_nowhere_optimal(tutorial):
    assert tutorial.stretch([1.0] * len(tutorial.grid)) == []
    (cell,) = [cell.source for cell in cells() if "fill_betweenx" in cell.source]
    names = {**tutorial.names, "spans": {}, "edges": {d: (math.nan, math.nan) for d in tutorial.edges}}
    exec(compile(cell, str(SCRIPT), "exec"), names)
    names["figure"].savefig(io.BytesIO(), format="svg")
    assert "a single delta is optimal: none. Right" in names["alt"]


def test_the_longest_stretch_is_found(tutorial):
    gaps = np.ones(len(tutorial.grid))
    gaps[[0, 1, 4, 5, 6, 9]] = 1e-13
    assert tutorial.stretch(list(gaps)) == tutorial.grid[4:7]


def test_figures_are_shown_in_a_notebook(tutorial, monkeypatch):
    shown: list[str] = []
    display: Any = ModuleType("IPython.display")
    display.SVG, display.display = str, shown.append
    tutorial.show(tutorial.figures[0])
    assert shown == []
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    tutorial.show(tutorial.figures[0])
    assert len(shown) == 1 and "<svg" in shown[0]


def exists(quoted, names):
    """Whether what stands between back-ticks is there: a command, a folder, an argument, or a name."""
    if quoted.startswith("python -m "):
        return importlib.util.find_spec(quoted.removeprefix("python -m ")) is not None
    if quoted.startswith("workbench "):
        return quoted.split()[1] in cli.commands.commands
    if quoted.endswith("/"):
        return (ROOT / quoted).is_dir()
    if argument := re.fullmatch(r'(\w+)="(\w+)"', quoted):
        workbench.isotropic_gaussians(workbench.ReLU(), **{argument[1]: argument[2]})
        return argument[1] in inspect.signature(workbench.isotropic_gaussians).parameters
    head, *rest = re.sub(r"\(.*\)", "", quoted).split(".")
    if head in ("workbench", "solvers"):
        with contextlib.suppress(ImportError):
            return import_module(".".join([head, *rest])) is not None
    for place in (names, vars(names["landscape"]), {"workbench": workbench}):
        if head in place:
            return all(hasattr(place[head], name) for name in rest)
    return head in workbench.__all__ and all(hasattr(getattr(workbench, head), name) for name in rest)


def test_names_in_the_prose_exist(tutorial):
    prose = "\n".join(cell.source for cell in cells() if cell.cell_type == "markdown")
    quoted = set(re.findall(r"`([^`]+)`", prose))
    assert len(quoted) >= 12
    assert [words for words in quoted if not exists(words, tutorial.names)] == []
    for wrong in (
        "derivation.txt()",
        "single_delte",
        "solvers.fokker_plank",
        "workbench swep",
        "derivation/",
    ):
        assert not exists(wrong, tutorial.names)


def test_numbers_in_the_prose_are_those_of_the_code():
    """A number is printed, not typed; what is left in the prose defines the setting."""
    prose = "\n".join(cell.source for cell in cells() if cell.cell_type == "markdown")
    prose = re.sub(r"`[^`]*`|\[MMN18\]|w_i|\^2", "", prose)
    assert set(re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)", prose)) <= {
        "0",
        "1",
        "-1",
        "+1",
        "2",
        "-2",
        "40",
    }
