"""Runs of the command line: sweeps, several processes, settings that are lists, files for other programs."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from solvers import ranks
from tests.test_cli import message, run
from workbench.errors import BadInput
from workbench.runs import combinations
from workbench.settings import read_problem
from workbench.trajectory import Trajectory

fokker_planck = pytest.importorskip("solvers.fokker_planck", reason="the Fokker-Planck solver needs DOLFINx")

MODEL = "isotropic_truncated_relu"
QUICK = ["--method", "fokker-planck", "--set", "cells=64", "--set", "t_end=0.01", "--set", "beta=200"]
MPIEXEC = Path(sys.executable).with_name("mpiexec")


def test_a_sweep_runs_every_combination_and_writes_an_index(capsys, tmp_path):
    out = tmp_path / "sweep"
    words = ["sweep", MODEL, *QUICK, "--over", "kappa=0.5,0.8", "--over", "lam=0,0.1", "--out", out]
    code, printed, _ = run(capsys, *words, "--json")
    index = json.loads((out / "sweep.json").read_text())
    assert code == 0 and json.loads(printed.splitlines()[-1])["runs"] == index
    chosen = [(e["settings"]["kappa"], e["settings"]["lam"]) for e in index]
    assert chosen == [("0.5", "0"), ("0.5", "0.1"), ("0.8", "0"), ("0.8", "0.1")]
    # each file is the run that `solve` makes of the same settings, to the last bit
    alone = tmp_path / "alone.nc"
    code, _, _ = run(capsys, "solve", MODEL, *QUICK, "--set", "kappa=0.8", "--set", "lam=0.1", "--out", alone)
    assert code == 0
    expected, found = Trajectory.load(alone), Trajectory.load(Path(index[3]["out"]))
    assert (found.data["weights"].values == expected.data["weights"].values).all()
    assert index[3]["risk"] == [float(r) for r in expected.risk_at(expected.times)]
    assert index[3]["risk"] != index[2]["risk"]


def test_a_failed_run_of_a_sweep_is_marked_and_the_others_go_on(capsys, tmp_path):
    out = tmp_path / "sweep"
    code, _, err = run(capsys, "sweep", MODEL, *QUICK, "--over", "max_steps=3,100000", "--out", out, "--json")
    index = json.loads((out / "sweep.json").read_text())
    assert code == 3 and "1 of 2 runs failed" in message(err) and "max_steps = 3" in message(err)
    assert "max_steps = 3" in index[0]["error"] and "risk" in index[1]
    assert Trajectory.load(out / "0000.nc").complete is False and Trajectory.load(out / "0001.nc").complete


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--over", "kappa=0.5,-1"], "kappa = -1"),
        (["--over", "kappa=0.5,"], "--over kappa=0.5,"),
        (["--over", "cells=64,32"], "cells is given by --set and by --over"),
        (["--over", "kapa=1"], "kapa"),
        ([], "--over"),
    ],
)
def test_a_slip_in_a_sweep_is_named_before_any_run(capsys, tmp_path, words, named):
    code, _, err = run(capsys, "sweep", MODEL, *QUICK, *words, "--out", tmp_path / "s")
    assert code == 2 and named in message(err) and not (tmp_path / "s").exists()


def test_a_sweep_does_not_replace_results_unasked(capsys, tmp_path):
    (tmp_path / "precious").write_text("x")
    words = ["sweep", MODEL, *QUICK, "--over", "kappa=0.8", "--out", tmp_path]
    code, _, err = run(capsys, *words)
    assert code == 2 and "--overwrite" in message(err) and not (tmp_path / "0000.nc").exists()
    assert run(capsys, *words, "--overwrite")[0] == 0
    assert (tmp_path / "precious").exists()


def test_combinations_are_text_and_numbered():
    runs = combinations("m", "sgd", {"d": "3"}, {"N": "1,2", "eps": "0.1"}, Path("out"))
    assert [dict(r.settings) for r in runs] == [
        {"d": "3", "N": "1", "eps": "0.1"},
        {"d": "3", "N": "2", "eps": "0.1"},
    ]
    assert [r.out for r in runs] == [Path("out/0000.nc"), Path("out/0001.nc")]


def test_what_the_first_rank_raises_is_raised():
    def fail():
        raise BadInput("no")

    with pytest.raises(BadInput, match="no"):
        ranks.on_first_rank(fail)
    assert ranks.on_first_rank(lambda: 3) == 3
    assert list(ranks.spread(abs, [-1, 2])) == [1, 2]


def test_lists_and_text_are_settings():
    from solvers.generated import anisotropic_truncated_relu

    _, config = read_problem(
        anisotropic_truncated_relu,
        {"cells": "20,30", "bounds": "0,3,0,4", "grading": "0.5", "vtx": "rho.bp", "fixed_domain": "yes"},
        fokker_planck.FokkerPlanckConfig,
    )
    assert (config.cells, config.bounds, config.vtx) == ((20, 30), (0.0, 3.0, 0.0, 4.0), "rho.bp")
    assert config.fixed_domain is True and config.grading == 0.5


def test_initial_law_of_output_weights_and_offsets_is_a_setting():
    from solvers.generated import isotropic_relu

    settings = {"a_mean": "2", "a_std": "0.5", "b_mean": "-1", "b_std": "0.25", "kappa": "0.3"}
    problem, _ = read_problem(isotropic_relu, settings, fokker_planck.FokkerPlanckConfig)
    law = problem.gaussian_initial
    assert (law.kappa, law.a_mean, law.a_std, law.b_mean, law.b_std) == (0.3, 2.0, 0.5, -1.0, 0.25)
    support = law.support(("a", "b", "r"), (1, 1, 40), 40, 1e-3)
    assert support[0] == pytest.approx(stats.norm(2, 0.5).ppf([1e-3, 1 - 1e-3]), rel=1e-12)
    assert support[1] == pytest.approx(stats.norm(-1, 0.25).ppf([1e-3, 1 - 1e-3]), rel=1e-12)


def test_the_density_is_a_labelled_grid(capsys, tmp_path):
    out = tmp_path / "plane.nc"
    words = ["--method", "fokker-planck", "--set", "cells=24,32", "--set", "tolerance=1e-3"]
    words += ["--set", "snapshots=0.001,0.01", "--set", "beta=50", "--set", "grading=0.5"]
    code, _, _ = run(capsys, "solve", "anisotropic_truncated_relu", *words, "--out", out)
    assert code == 0
    trajectory = Trajectory.load(out)
    rho = fokker_planck.density(trajectory, 1)
    assert rho.dims == ("r1", "r2") and rho.shape == (24, 32)
    widths = [np.diff(trajectory.data[f"edges_{name}"].values) for name in rho.dims]
    masses = rho.values * np.multiply.outer(*widths)
    measure = trajectory.measure(1)
    assert masses.sum() == pytest.approx(1.0, abs=1e-12)
    mean = (masses.sum(axis=1) * rho["r1"].values).sum(), (masses.sum(axis=0) * rho["r2"].values).sum()
    assert mean == pytest.approx([measure.mean(0), measure.mean(1)], rel=1e-12)


def test_files_for_paraview_are_written(capsys, tmp_path):
    folder = tmp_path / "density.bp"
    code, _, _ = run(capsys, "solve", MODEL, *QUICK, "--set", f"vtx={folder}", "--out", tmp_path / "a.nc")
    assert code == 0
    schema = b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())
    assert b"UnstructuredGrid" in schema and b"rho" in schema
    code, _, err = run(capsys, "solve", MODEL, *QUICK, "--set", "vtx=density", "--out", tmp_path / "b.nc")
    assert code == 2 and "vtx = 'density'" in message(err)


def ranked(ranks: int, *words: object) -> subprocess.CompletedProcess[str]:
    if not MPIEXEC.exists():
        pytest.skip("no mpiexec beside the interpreter")
    command = [MPIEXEC, "-n", ranks, sys.executable, "-m", "workbench.cli", *words]
    root = Path(__file__).parents[1]
    return subprocess.run(list(map(str, command)), cwd=root, capture_output=True, text=True, timeout=120)


def test_the_same_command_on_two_ranks(tmp_path):
    for count in (1, 2):
        done = ranked(count, "solve", MODEL, *QUICK, "--out", tmp_path / f"{count}.nc", "--json")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1 and json.loads(done.stdout)["ok"]
    one, two = (Trajectory.load(tmp_path / f"{count}.nc") for count in (1, 2))
    assert (one.data.attrs["ranks"], two.data.attrs["ranks"]) == (1, 2)
    # sums over cells are taken in another order: a rounding of 1e-16 for each of some hundred steps
    assert np.abs(one.data["weights"].values - two.data["weights"].values).sum() <= 1e-10
    assert one.risk_at(one.times) == pytest.approx(two.risk_at(two.times), abs=1e-10)


def test_a_sweep_on_two_ranks_is_the_sweep_on_one(tmp_path):
    words = ["sweep", MODEL, *QUICK, "--over", "kappa=0.5,0.8"]
    for count in (1, 2):
        done = ranked(count, *words, "--out", tmp_path / str(count))
        assert done.returncode == 0, done.stderr
    for name in ("0000.nc", "0001.nc"):
        one, two = (Trajectory.load(tmp_path / str(count) / name) for count in (1, 2))
        assert (one.data["weights"].values == two.data["weights"].values).all()


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["solve", MODEL, *QUICK, "--set", "r_max=0.5"], 2, "r_max"),
        (["solve", MODEL, *QUICK, "--set", "max_steps=3"], 3, "max_steps = 3"),
        (["solve", MODEL, "--method", "particles"], 2, "without mpiexec"),
        (["solve", MODEL, "--method", "fokker-planck", "--set", "beta=-1"], 2, "beta = -1"),
    ],
)
def test_failures_on_two_ranks_are_told_once(tmp_path, words, code, named):
    done = ranked(2, *words, "--out", tmp_path / "run.nc")
    assert done.returncode == code, done.stderr
    assert named in message(done.stderr) and done.stdout == ""


@pytest.mark.parametrize(
    ("method", "settings", "time"),
    [
        ("stationary", ["lam=0.01", "beta=200"], None),
        ("landscape", ["d=40"], 0.0),
        ("langevin", ["beta=200"], 0.1),
    ],
)
def test_every_method_is_a_command(capsys, tmp_path, method, settings, time):
    words = ["solve", MODEL, "--method", method, *(w for s in settings for w in ("--set", s))]
    words += ["--set", "t_end=0.1"] if method == "langevin" else []
    code, out, _ = run(capsys, *words, "--out", tmp_path / "run.nc", "--json")
    answer = json.loads(out.splitlines()[-1], parse_constant=pytest.fail)  # Infinity is not JSON
    assert code == 0 and answer["time"][-1] == time and math.isfinite(answer["risk"][-1])
    stored = Trajectory.load(tmp_path / "run.nc")
    assert stored.data.attrs["method"] == method and answer["risk"][-1] == stored.data["risk"].values[-1]


def test_no_gibbs_law_without_a_ridge(capsys, tmp_path):
    words = ["solve", MODEL, "--method", "stationary", "--set", "beta=200", "--out", tmp_path / "run.nc"]
    code, _, err = run(capsys, *words)
    assert code == 2 and "lam = 0" in message(err) and "lam > 0" in message(err)
