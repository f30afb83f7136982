"""The command line: exit codes, messages with the value and the mend, JSON, files kept."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from solvers import particles, sgd
from workbench import cli, derivation
from workbench.errors import NumericalFailure
from workbench.trajectory import Trajectory

MODEL = "isotropic_truncated_relu"
PARTICLES = ["solve", MODEL, "--method", "particles", "--set", "t_end=0.01", "--set", "J=20"]


def run(capsys, *words):
    """Exit code, standard output, standard error of one command."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(w) for w in words])
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


def message(err):
    """The one message: the last line of standard error (progress comes before)."""
    lines = [line for line in err.splitlines() if line.startswith("workbench: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


def test_models_and_figures_are_listed(capsys):
    code, out, _ = run(capsys, "models")
    assert code == 0 and MODEL in out and "isotropic_nonmonotone" in out
    code, out, _ = run(capsys, "figures", "--json")
    assert code == 0 and "distribution" in json.loads(out.splitlines()[-1])["figures"]


def test_no_command_prints_the_help(capsys):
    code, out, _ = run(capsys)
    assert code == 0 and "reproduce" in out


@pytest.mark.parametrize("form", ["text", "latex", "html"])
def test_derive_prints_the_derivation(capsys, form):
    code, out, _ = run(capsys, "derive", MODEL, "--format", form)
    assert code == 0 and "Hermite coefficients" in out


@pytest.mark.parametrize("model", [MODEL, "limit"])
def test_derive_shows_how_far_it_is(capsys, monkeypatch, model):
    bars: dict[str, list[float]] = {}

    @contextmanager
    def bar(label, *_):
        bars[label] = []
        yield bars[label].append

    monkeypatch.setattr(cli, "progress_bar", bar)
    monkeypatch.setattr(derivation, "DERIVED", {})  # nothing is there from other tests
    assert run(capsys, "derive", model)[0] == 0
    (done,) = bars.values()
    assert list(bars) == [f"derive {model}"]
    assert len(done) >= 5 and done == sorted(done) and done[0] > 0 and done[-1] == 1


def test_derive_json_carries_certificates(capsys):
    code, out, _ = run(capsys, "derive", MODEL, "--json")
    certificates = json.loads(out.splitlines()[-1])["certificates"]
    assert code == 0 and len(certificates) > 8
    assert all(c["deviation"] <= c["tolerance"] for c in certificates)


@pytest.mark.parametrize(
    ("form", "marks"),
    [
        ("text", ("Dissipation identity", "<= 0e+00", "sqrt(2 s/β) g")),
        ("latex", (r"\paragraph{Dissipation identity}", r"\begin{tabular}{lllll}")),
        ("html", ("<h2>Dissipation identity</h2>", "<th>consistent</th>")),
    ],
)
def test_derive_prints_the_limit(capsys, form, marks):
    code, out, _ = run(capsys, "derive", "limit", "--format", form)
    assert code == 0 and all(mark in out for mark in marks) and not out.endswith("\n\n")
    code, out, _ = run(capsys, "derive", "limit", "--format", form, "--json")
    assert len(out.splitlines()) == 1 and marks[0] in json.loads(out)["derivation"]
    certificates = json.loads(out)["certificates"]
    assert len(certificates) > 8 and all(c["deviation"] == 0 for c in certificates)


def test_the_limit_is_no_model(capsys):
    assert "limit" not in cli.model_names() and "limit" not in run(capsys, "models")[1]
    code, _, err = run(capsys, "derive", "limitt")
    assert code == 2 and "did you mean limit?" in message(err) and MODEL in message(err)
    code, _, err = run(capsys, "solve", "limit", "--method", "sgd", "--out", "unused.nc")
    assert code == 2 and "unknown model 'limit'" in message(err)


@pytest.mark.parametrize("method", ["particles", "fokker-planck", "sgd"])
def test_solve_writes_a_trajectory_and_says_its_risk(capsys, tmp_path, method):
    out_file = tmp_path / "deep" / "run.nc"
    settings = ["--set", "snapshots=0.01,0.1"] + (["--set", "epsilon=1e-4"] if method == "sgd" else [])
    code, out, _ = run(capsys, "solve", MODEL, "--method", method, *settings, "--out", out_file, "--json")
    result = json.loads(out.splitlines()[-1])
    assert code == 0 and result["ok"] and result["time"] == [0.01, 0.1]
    trajectory = Trajectory.load(out_file)
    np.testing.assert_array_equal(trajectory.risk_at([0.01, 0.1]), result["risk"])
    # the dynamics gives 1.6318 and 1.3390; N^(-1/2) = 0.035 and (d epsilon)^(1/2) = 0.06 allow SGD 5 %
    np.testing.assert_allclose(result["risk"], [1.63185, 1.33898], rtol=0.05 if method == "sgd" else 2e-3)


def test_symbols_of_the_papers_name_settings(capsys, tmp_path):
    code, _, _ = run(capsys, *PARTICLES, "--out", tmp_path / "a.nc")
    assert code == 0 and Trajectory.load(tmp_path / "a.nc").data.sizes["point"] == 20


def test_infinite_dimension_is_solved(capsys, tmp_path):
    code, _, _ = run(capsys, *PARTICLES, "--set", "d=inf", "--out", tmp_path / "a.nc")
    assert code == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["frobnicate"], ["frobnicate"]),
        (
            ["derive", "isotropic_truncated_rely"],
            ["isotropic_truncated_rely", "did you mean isotropic_truncated_relu"],
        ),
        (["derive", MODEL, "--format", "pdf"], ["pdf", "latex"]),
        (["reproduce", "distributoin"], ["distributoin", "distribution"]),
        (["reproduce", "all", "distributoin"], ["distributoin", "distribution"]),
        (["reproduce", "distribution", "--scale", "huge"], ["huge", "smoke"]),
        (["reproduce", "distribution", "--convention", "sd"], ["'sd'", "std"]),
        (["reproduce", "distribution", "--seed", "-1"], ["-1"]),
        (["reproduce", "distribution", "--seed", "1.5"], ["1.5"]),
        (["reproduce", "distribution", "--seed", "1e30"], ["seed = 1", "9223372036854775807"]),
        (["reproduce", "distribution", "--seed", "x"], ["'x'", "seed=100"]),
        (["reproduce"], ["FIGURE"]),
        (["solve", "nomodel", "--method", "sgd", "--out", "x.nc"], ["nomodel", MODEL]),
        (["solve", MODEL, "--method", "magic", "--out", "x.nc"], ["magic", "particles"]),
        (["solve", MODEL, "--out", "x.nc"], ["--method"]),
        (["solve", MODEL, "--method", "particles"], ["--out"]),
    ],
)
def test_unknown_words_end_with_2_and_the_known_ones(capsys, words, named):
    code, out, err = run(capsys, *words)
    assert code == 2 and out == ""
    assert all(name in message(err) for name in named)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("tau_plos=1", ["tau_plos", "tau_plus"]),
        ("tau_plus=0", ["tau_plus = 0", "> 0"]),
        ("tau_minus=-1", ["tau_minus = -1"]),
        ("tau_plus=inf", ["tau_plus = inf"]),
        ("tau_plus=nan", ["tau_plus = nan"]),
        ("d=1", ["d = 1", ">= 2"]),
        ("d=2.5", ["d = 2.5"]),
        ("d=-inf", ["d = -inf"]),
        ("d=forty", ["forty"]),
        ("d", ["'d'", "name=value"]),
        ("kappa=0", ["kappa = 0"]),
        ("lam=-1", ["lam = -1"]),
        ("beta=0", ["beta = 0"]),
        ("beta=10", ["beta = 10", "fokker-planck"]),
        ("snapshots=1,0.5", ["0.5"]),
        ("snapshots=1,1", ["increasing"]),
        ("snapshots=0", ["snapshots"]),
        ("t_end=-3", ["t_end = -3"]),
        ("atoms=0", ["atoms = 0"]),
        ("J=1e30", ["atoms = 1", "100000000"]),
        ("d=1e20", ["beyond 1e+12", "inf"]),
        ("d=1e400", ["1e400", "inf"]),
        ("kappa=1e-300", ["kappa = 1e-300"]),
        ("atoms=1.5", ["1.5"]),
        ("rtol=2", ["rtol = 2"]),
        ("tolerance=3", ["tolerance = 3"]),
        ("xi_exponent=1", ["xi_exponent = 1"]),
    ],
)
def test_bad_settings_end_with_2_and_the_mend(capsys, tmp_path, setting, named):
    words = ["solve", MODEL, "--method", "particles", "--set", setting, "--out", tmp_path / "x.nc"]
    code, out, err = run(capsys, *words)
    assert code == 2 and out == ""
    assert all(name in message(err) for name in named), err
    assert list(tmp_path.iterdir()) == []


def test_a_tolerance_out_of_reach_is_refused(capsys, tmp_path, monkeypatch):
    from solvers.generated import isotropic_truncated_relu

    monkeypatch.setattr(isotropic_truncated_relu, "MOST_FEATURES", 300)  # thousands of nodes take 10 s
    words = [*PARTICLES, "--set", "d=2", "--set", "tolerance=1e-13", "--out", tmp_path / "x.nc"]
    code, _, err = run(capsys, *words)
    assert code == 2 and "tolerance = 1e-13 is out of reach at d = 2" in message(err)


def test_impossible_sgd_runs_are_refused(capsys, tmp_path):
    for setting, named in (
        ("N=1e30", "units"),
        ("epsilon=1e-320", "steps"),
        ("d=1e9", "8 GB"),
        ("seed=1e30", "seed"),
    ):
        words = ["solve", MODEL, "--method", "sgd", "--set", setting, "--out", tmp_path / "x.nc"]
        code, _, err = run(capsys, *words)
        assert code == 2 and named in message(err)


@pytest.mark.parametrize("length", [251, 300])
def test_names_that_no_file_can_have_are_refused_before_any_work(capsys, tmp_path, monkeypatch, length):
    started = []
    monkeypatch.setattr(particles, "solve", lambda *_: started.append(True))
    code, _, err = run(capsys, *PARTICLES, "--out", tmp_path / ("x" * length))
    assert code == 2 and "name" in message(err) and not started


def test_a_setting_given_twice_is_refused(capsys, tmp_path):
    code, _, err = run(capsys, *PARTICLES, "--set", "atoms=3", "--out", tmp_path / "x.nc")
    assert code == 2 and "atoms is set twice" in message(err)


def test_existing_file_is_kept_without_overwrite(capsys, tmp_path):
    file = tmp_path / "a.nc"
    file.write_text("precious")
    code, _, err = run(capsys, *PARTICLES, "--out", file)
    assert code == 2 and "--overwrite" in message(err) and file.read_text() == "precious"
    code, _, _ = run(capsys, *PARTICLES, "--out", file, "--overwrite")
    assert code == 0 and Trajectory.load(file).complete


def test_unwritable_places_are_refused_before_any_work(capsys, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    for out in (tmp_path, blocker / "a.nc"):
        code, _, err = run(capsys, *PARTICLES, "--out", out)
        assert code == 2 and str(out).rsplit("/a.nc")[0] in message(err)
    code, _, err = run(capsys, "reproduce", "distribution", "--out", blocker)
    assert code == 2 and "cannot write" in message(err)


def test_existing_figure_folder_is_kept_without_overwrite(capsys, tmp_path):
    kept = tmp_path / "distribution" / "figure.svg"
    kept.parent.mkdir()
    kept.write_text("precious")
    code, _, err = run(capsys, "reproduce", "distribution", "--out", tmp_path)
    assert code == 2 and "--overwrite" in message(err) and kept.read_text() == "precious"


def test_diverging_sgd_ends_with_3_names_the_step_and_keeps_the_run(capsys, tmp_path):
    file = tmp_path / "run.nc"
    words = ["solve", MODEL, "--method", "sgd", "--set", "epsilon=1e307", "--set", "t_end=1e308"]
    code, out, err = run(capsys, *words, "--out", file, "--json")
    assert code == 3 and json.loads(out.splitlines()[-1])["exit_code"] == 3
    for part in ("step 1 of 10", "epsilon = 1e+307", "try a smaller one", str(file)):
        assert part in message(err)
    assert not Trajectory.load(file).complete


def test_a_failed_run_does_not_replace_an_earlier_result(capsys, tmp_path):
    file = tmp_path / "run.nc"
    assert run(capsys, *PARTICLES, "--out", file)[0] == 0
    words = ["solve", MODEL, "--method", "sgd", "--set", "epsilon=1e307", "--set", "t_end=1e308"]
    code, _, err = run(capsys, *words, "--out", file, "--overwrite")
    assert code == 3 and "run.partial.nc" in message(err)
    assert Trajectory.load(file).complete and not Trajectory.load(tmp_path / "run.partial.nc").complete


def test_numerical_failure_in_a_figure_keeps_what_was_computed(capsys, tmp_path, monkeypatch):
    code, _, _ = run(capsys, *PARTICLES, "--out", tmp_path / "a.nc")
    partial = Trajectory.load(tmp_path / "a.nc")

    def fail(*_):
        raise NumericalFailure("SGD diverged at step 7; try a smaller epsilon", partial)

    monkeypatch.setattr(sgd, "solve", fail)
    code, _, err = run(capsys, "reproduce", "distribution", "--scale", "smoke", "--out", tmp_path)
    kept = tmp_path / "distribution" / "runs" / "sgd.partial.nc"
    assert code == 3 and "step 7" in message(err) and str(kept) in message(err)
    assert Trajectory.load(kept).data.sizes["snapshot"] == 1


def test_unknown_figures_and_scales_are_named_with_the_mend(capsys, tmp_path):
    for words, mend in (
        (["distribucion"], "did you mean distribution?"),
        (["distribution", "--scale", "dest"], "did you mean desk?"),
        (["distribution", "--convention", "sdt"], "did you mean std?"),
        (["distribution", "--workers", "0"], "workers = 0"),
        (["distribution", "--seed", "-1"], "seed = -1"),
    ):
        code, _, err = run(capsys, "reproduce", *words, "--out", tmp_path / "figures")
        assert code == 2 and mend in message(err)
    assert not (tmp_path / "figures").exists()


def test_json_failure_is_one_object(capsys):
    code, out, _ = run(capsys, "derive", "nomodel", "--json")
    result = json.loads(out.splitlines()[-1])
    assert code == 2 and result["ok"] is False and "nomodel" in result["error"]


def test_installed_command_runs_in_its_own_process(tmp_path):
    command = [sys.executable, "-m", "workbench.cli", *PARTICLES, "--out", str(tmp_path / "a.nc"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["ok"]
    bad = subprocess.run(
        [*command, "--set", "d=1"], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1]
    )
    assert bad.returncode == 2 and "Traceback" not in bad.stderr
