"""Runs of SGD that are killed, continued, locked out, and spread over replicas, threads and ranks.

``python -m tests.test_sgd_durable FOLDER RUNS`` kills runs at random moments, see ``kill_and_resume``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvers import sgd, sgd_run
from solvers.generated import isotropic_truncated_relu
from solvers.sgd import SGDConfig, solve
from solvers.sgd_result import BINS, LEVELS
from tests.test_cli import message, run
from tests.test_sgd import RELU
from workbench import ReLU, build, isotropic_gaussians
from workbench.errors import BadInput, NumericalFailure
from workbench.initial import GaussianInitialLaw
from workbench.lock import exclusive
from workbench.problem import Problem
from workbench.trajectory import Trajectory

ROOT = Path(__file__).parents[1]
MPIEXEC = Path(sys.executable).with_name("mpiexec")
needs_ranks = pytest.mark.skipif(not MPIEXEC.exists(), reason="no mpiexec beside this Python")
MODEL = "isotropic_truncated_relu"
P = {"d": 10, "tau_plus": 1.8, "tau_minus": 0.2}
# 20,000 steps, a fifth of a second; noise, so that a wrong stream shows
PROBLEM = Problem(isotropic_truncated_relu, P, (0.5, 2.0), records=(0.03, 0.4, 1.3), lam=0.01, beta=500.0)
CONFIG = SGDConfig(epsilon=1e-4, units=50, held_out=100, keep_weights=True, checkpoint_interval=0.0)


def numbers(trajectory: Trajectory) -> bytes:
    """All that a run found, to the bit."""
    return b"".join(np.ascontiguousarray(v.values).tobytes() for v in trajectory.data.variables.values())


def same(one: Trajectory, other: Trajectory) -> bool:
    return list(one.data.variables) == list(other.data.variables) and numbers(one) == numbers(other)


# ---- killed


def kill_and_resume(folder: Path, runs: int) -> None:
    """Run, kill -9 after a random while, resume, until it ends; so many runs that were killed have to end alike.

    Runs that end before they are killed do not count.
    """
    context = multiprocessing.get_context("fork")  # imports nothing again
    expected = numbers(solve(PROBLEM, CONFIG))
    rng, killed = random.Random(1), 0
    for number in range(10 * runs):
        config = replace(CONFIG, checkpoint=str(folder / f"run{number}"), resume=True)
        result = folder / f"result{number}"

        def work(config: SGDConfig = config, result: Path = result) -> None:
            result.write_bytes(numbers(solve(PROBLEM, config)))

        begun = time.perf_counter()
        solve(PROBLEM, replace(CONFIG, checkpoint=str(folder / f"whole{number}")))
        usual, died = time.perf_counter() - begun, 0  # under the load of this moment
        while not result.exists() or not result.read_bytes():
            child = context.Process(target=work)
            child.start()
            # shorter and shorter runs would never end, so from the fifth time on it is left alone
            child.join(rng.uniform(0.05, 0.9) * usual if died < 4 else None)
            if child.is_alive():
                os.kill(child.pid or 0, signal.SIGKILL)
                child.join()
                died += 1
        killed += died > 0
        assert result.read_bytes() == expected, f"run {number}, killed {died} times"
        if killed == runs:
            print(killed)
            return
    raise AssertionError(f"only {killed} of {10 * runs} runs were slow enough to be killed")


@pytest.mark.skipif(sys.platform == "win32", reason="no signal to kill with")
@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_runs_end_like_one_that_was_not(kills: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.test_sgd_durable", str(tmp_path), str(kills)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == kills


class Interrupted(Exception):
    pass


def interrupt(problem: Problem, config: SGDConfig, after: float) -> None:
    """Run up to a fraction of the steps."""

    def progress(fraction: float) -> None:
        if fraction > after:
            raise Interrupted

    with pytest.raises(Interrupted):
        solve(problem, config, progress)


@pytest.mark.parametrize("beta", [np.inf, 500.0])
@pytest.mark.parametrize("backend", ["numpy", "c"])
def test_a_resumed_run_takes_up_where_it_was(
    backend: str, beta: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = replace(PROBLEM, beta=beta)
    config = replace(CONFIG, checkpoint=str(tmp_path / "kept"), backend=backend)
    expected = solve(problem, replace(config, checkpoint=None))
    interrupt(problem, config, 0.6)
    first: list[int] = []

    def chunks(*args: Any, chunks: Any = sgd_run.chunks) -> Any:
        first.append(args[3])
        return chunks(*args)

    monkeypatch.setattr(sgd_run, "chunks", chunks)
    assert same(solve(problem, replace(config, resume=True)), expected)
    assert first == [12]  # of 20 chunks: the steps before were not taken again
    assert same(solve(problem, replace(config, resume=True)), expected)  # and of a finished run, none
    assert first == [12]


def test_checkpoints_come_at_their_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    saves = []
    monkeypatch.setattr(sgd_run.clock, "perf_counter", lambda: now[0])
    monkeypatch.setattr(sgd_run.Checkpoint, "save", lambda self, arrays, state: saves.append(state["step"]))

    def progress(fraction: float) -> None:
        now[0] += 1.0

    solve(PROBLEM, replace(CONFIG, checkpoint=str(tmp_path / "kept"), checkpoint_interval=9.5), progress)
    assert saves == [11 * 1024, 20_000]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed"),
        ({"epsilon": 2e-5}, "epsilon"),
        ({"block": 32}, "block"),
        ({"precision": "float64"}, "precision"),
        ({"backend": "numpy"}, "backend"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(changes: dict[str, Any], field: str, tmp_path: Path) -> None:
    config = replace(CONFIG, checkpoint=str(tmp_path / "kept"))
    interrupt(PROBLEM, config, 0.5)
    with pytest.raises(BadInput, match=f"(?s)replica-0.*{field}"):
        solve(PROBLEM, replace(config, resume=True, **changes))


def test_a_checkpoint_of_another_problem_is_refused(tmp_path: Path) -> None:
    config = replace(CONFIG, checkpoint=str(tmp_path / "kept"))
    interrupt(PROBLEM, config, 0.5)
    changes: dict[str, Any] = {"lam": 0.2, "beta": 7.0, "snapshots": (0.5, 2.1)}
    for name, value in changes.items():
        with pytest.raises(BadInput, match=f"(?s)replica-0.*{name}"):
            solve(replace(PROBLEM, **{name: value}), replace(config, resume=True))


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    config = replace(CONFIG, checkpoint=str(tmp_path / "kept"))
    interrupt(PROBLEM, config, 0.5)
    path = tmp_path / "kept" / "replica-0"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="replica-0"):
        solve(PROBLEM, replace(config, resume=True))


def test_what_was_interrupted_is_not_lost_unasked(tmp_path: Path) -> None:
    config = replace(CONFIG, checkpoint=str(tmp_path / "kept"))
    interrupt(PROBLEM, config, 0.5)
    with pytest.raises(BadInput, match="holds what an interrupted run left"):
        solve(PROBLEM, config)
    with pytest.raises(BadInput, match="checkpoint = "):
        solve(PROBLEM, replace(config, checkpoint=str(tmp_path / "kept" / "replica-0" / "deeper")))


@pytest.mark.parametrize("interval", [0.0, 60.0])
def test_a_run_that_diverges_keeps_its_last_finite_state(interval: float, tmp_path: Path) -> None:
    """Weights that a ridge beyond all bounds makes 1.2 times as large at every step, in its own time."""
    problem = Problem(RELU, P, (4.0,), lam=1100.0)
    config = SGDConfig(epsilon=1e-3, units=20, checkpoint=str(tmp_path / "kept"), held_out=0)
    config = replace(config, checkpoint_interval=interval, precision="float64", backend="numpy")
    with pytest.raises(NumericalFailure, match="the last finite state is kept in") as failure:
        solve(problem, config)
    step = int(str(failure.value).split("step ")[1].split(" ")[0])
    path = tmp_path / "kept" / "replica-0"
    kept = sgd_run.Checkpoint(path, sgd_run.identity(problem, config, (0,), "numpy")).load()
    assert kept is not None
    arrays, state = kept
    assert np.isfinite(arrays["W"]).all() and 1024 <= state["step"] < step <= state["step"] + 1024
    # going on from there fails at the same step
    with pytest.raises(NumericalFailure, match=f"step {step} of 4000"):
        solve(problem, replace(config, resume=True))


def test_a_risk_that_overflows_leaves_a_state_to_go_on_from(tmp_path: Path) -> None:
    """Weights of 5e153: their squared error is finite, the sum over pairs of units is not."""
    problem = Problem(RELU, P, (1e-3, 2e-3), initial=GaussianInitialLaw(5e153))
    config = SGDConfig(epsilon=1e-3, units=6, precision="float64", checkpoint=str(tmp_path / "kept"))
    for resume in (False, True):
        with pytest.raises(NumericalFailure, match=r"step 1 of 2 .*the risk became .*is kept in"):
            solve(problem, replace(config, resume=resume))
        assert (tmp_path / "kept" / "replica-0").exists()


def test_only_checkpoints_are_removed(tmp_path: Path) -> None:
    for name in ("replica-0", "replica-12", "replica-3.part", "replica-notes.txt"):
        (tmp_path / name).write_text("")
    sgd.remove_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["replica-notes.txt"]


def test_a_useless_checkpoint_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "replica-1").write_text("no checkpoint")
    seen: list[float] = []
    with pytest.raises(BadInput, match="replica-1"):
        solve(PROBLEM, replace(CONFIG, replicas=3, checkpoint=str(tmp_path), resume=True), seen.append)
    assert not seen


def test_the_time_before_an_interruption_counts(tmp_path: Path) -> None:
    """All steps take the time of both parts: a resumed run is not the faster one."""
    config = replace(CONFIG, checkpoint=str(tmp_path / "kept"))

    def interrupt(fraction: float) -> None:
        if fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(PROBLEM, config, interrupt)
    path = tmp_path / "kept" / "replica-0"
    kept = sgd_run.Checkpoint(path, sgd_run.identity(PROBLEM, config, (0,), "c")).load()
    assert kept is not None and 0 < kept[1]["spent"] < 60
    attrs = solve(PROBLEM, replace(config, resume=True)).data.attrs
    assert attrs["wall_time"] > kept[1]["spent"]
    assert attrs["steps_per_second"] == pytest.approx(attrs["steps"] / attrs["wall_time"])
    # once more, from its end: the time of all steps, to the milliseconds that reading takes
    again = solve(PROBLEM, replace(config, resume=True)).data.attrs
    assert again["wall_time"] > 0.5 * attrs["wall_time"]


def test_an_interruption_stops_all_workers() -> None:
    long = replace(PROBLEM, snapshots=(50.0,), records=())
    before = set(threading.enumerate())
    threads: list[int] = []
    seen = []

    def progress(fraction: float) -> None:
        if threading.get_ident() not in threads:
            threads.append(threading.get_ident())
        seen.append(fraction)
        if threads.index(threading.get_ident()) == 1:  # one of them; the first is stopped from outside
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(long, replace(CONFIG, replicas=4, workers=2), progress)
    assert max(seen) < 0.1
    assert set(threading.enumerate()) <= before  # those that draw samples ahead have ended too


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["solve", MODEL, "--method", "sgd", "--set", "resume=true"], "--resume"),
        (
            ["sweep", MODEL, "--method", "sgd", "--over", "seed=0,1", "--set", "checkpoint=kept"],
            "checkpoint = kept",
        ),
    ],
)
def test_settings_that_would_do_harm_are_refused(
    words: list[str], named: str, capsys: Any, tmp_path: Path
) -> None:
    code, _, err = run(capsys, *words, "--out", tmp_path / "out")
    assert code == 2 and named in message(err) and not (tmp_path / "out").exists()


def test_a_run_may_be_shorter_than_the_usual_first_record(capsys: Any, tmp_path: Path) -> None:
    words = ["--set", "epsilon=1e-4", "--set", "t_end=0.0005", "--set", "N=5", "--out", tmp_path / "r.nc"]
    assert run(capsys, "solve", MODEL, "--method", "sgd", *words)[0] == 0
    assert Trajectory.load(tmp_path / "r.nc").data["record_step"].values.tolist() == [5]


def test_two_runs_cannot_write_one_output(capsys: Any, tmp_path: Path) -> None:
    out = tmp_path / "run.nc"
    words = ["solve", MODEL, "--method", "sgd", "--set", "epsilon=1e-3", "--set", "t_end=0.01", "--out", out]
    with exclusive(out):
        code, _, err = run(capsys, *words)
    assert code == 2 and str(out) in message(err) and not out.exists()
    assert run(capsys, *words)[0] == 0


def test_two_runs_cannot_share_checkpoints(tmp_path: Path) -> None:
    config = replace(CONFIG, checkpoint=str(tmp_path / "kept"))
    with exclusive(tmp_path / "kept"), pytest.raises(BadInput, match="kept is being written by"):
        solve(PROBLEM, config)
    solve(PROBLEM, replace(config, resume=True))


def test_the_command_resumes_and_cleans_up(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run.nc"
    words = [
        "solve",
        MODEL,
        "--method",
        "sgd",
        "--set",
        "epsilon=1e-4",
        "--set",
        "t_end=1.0",
        "--set",
        "N=30",
    ]
    words += ["--set", "checkpoint_interval=0", "--out"]
    assert run(capsys, *words, tmp_path / "expected.nc")[0] == 0
    save = sgd_run.Checkpoint.save

    def save_and_stop(self: Any, arrays: Any, state: Any) -> None:
        save(self, arrays, state)
        if state["step"] > 5000:
            raise BadInput("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(sgd_run.Checkpoint, "save", save_and_stop)
        assert run(capsys, *words, out)[0] == 2
    assert not out.exists() and (tmp_path / "run.nc.checkpoint" / "replica-0").exists()
    code, _, err = run(capsys, *words, out)
    assert code == 2 and "--resume" in message(err)
    assert run(capsys, *words, out, "--resume")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected.nc", "run.nc"]
    assert same(Trajectory.load(out), Trajectory.load(tmp_path / "expected.nc"))
    # nothing to go on with: from the beginning
    assert run(capsys, *words, out, "--resume", "--overwrite")[0] == 0
    assert same(Trajectory.load(out), Trajectory.load(tmp_path / "expected.nc"))


def test_a_method_without_checkpoints_cannot_be_resumed(capsys: Any, tmp_path: Path) -> None:
    words = ["solve", MODEL, "--method", "particles", "--out", tmp_path / "p.nc", "--resume"]
    code, _, err = run(capsys, *words)
    assert code == 2 and "--resume" in message(err)


# ---- replicas


def test_replicas_are_runs_of_their_own_whoever_runs_beside() -> None:
    alone = [solve(PROBLEM, replace(CONFIG, replica=number)) for number in (3, 4, 5)]
    for workers in (1, 2, 3):
        together = solve(PROBLEM, replace(CONFIG, replica=3, replicas=3, workers=workers))
        for number, one in enumerate(alone):
            for name in sgd_run.RISKS:
                found = together.data[f"replica_{name}"].values[number]
                np.testing.assert_array_equal(found, one.data[name].values)
            units = slice(50 * number, 50 * number + 50)
            for name, axis in (("points", 1), ("weights_full", 1)):
                found = together.data[name].values.take(range(units.start, units.stop), axis)
                np.testing.assert_array_equal(found, one.data[name].values)
    assert len({numbers(one) for one in alone}) == 3


def test_means_bands_and_histograms_over_replicas() -> None:
    data = solve(PROBLEM, replace(CONFIG, replicas=7)).data
    for name in sgd_run.RISKS:
        each = data[f"replica_{name}"].values
        assert each.shape == (7, 5) and np.ptp(each, axis=0).min() > 0
        np.testing.assert_allclose(data[name].values, each.mean(axis=0), rtol=1e-14)
        np.testing.assert_array_equal(
            data[f"{name}_quantile"].values, np.quantile(each, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
        )
    assert data["level"].values.tolist() == list(LEVELS)
    assert data["points"].shape == (2, 350, 1)
    for i in range(2):
        r, edges = data["points"].values[i, :, 0].reshape(7, 50), data["histogram_r_edge"].values[i]
        assert edges[0] == r.min() and edges[-1] == r.max() and len(edges) == BINS + 1
        density = data["histogram_r"].values[i]
        assert (density * np.diff(edges)).sum() == pytest.approx(1.0, rel=1e-12)
        inside = ((r >= edges[40]) & (r < edges[41])).mean(axis=1) / (edges[41] - edges[40])
        assert density[40] == pytest.approx(inside.mean(), rel=1e-12)
        assert data["histogram_r_quantile"].values[3, i, 40] == pytest.approx(np.quantile(inside, 0.75))


def test_a_replica_that_diverges_fails_the_ensemble_after_the_others() -> None:
    problem = Problem(RELU, P, (2.0, 3000.0), initial=GaussianInitialLaw(0.5))
    config = SGDConfig(epsilon=0.5, units=20, replicas=3, held_out=0)
    with pytest.raises(NumericalFailure, match=r"SGD( of replica [12])? diverged") as failure:
        solve(problem, config)
    partial = failure.value.partial
    assert partial is not None and not partial.complete
    # what all of them have recorded; the others went on to their end
    assert partial.data.attrs["steps"] < 6000 and partial.data["points"].shape[1:] == (60, 1)


def test_an_ensemble_is_resumed_replica_by_replica(tmp_path: Path) -> None:
    config = replace(CONFIG, replicas=3, checkpoint=str(tmp_path / "kept"))
    expected = solve(PROBLEM, replace(config, checkpoint=None))
    interrupt(PROBLEM, config, 0.5)
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert same(solve(PROBLEM, replace(config, resume=True, workers=2)), expected)
    sgd.remove_checkpoints(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_progress_of_an_ensemble_is_that_of_all() -> None:
    seen: list[float] = []
    solve(PROBLEM, replace(CONFIG, replicas=4), seen.append)
    assert len(seen) == 80 and seen == sorted(seen) and seen[-1] == 1.0
    assert seen[19] == pytest.approx(0.25)


def test_a_problem_goes_to_other_processes() -> None:
    one = pickle.loads(pickle.dumps(PROBLEM))
    assert one.module is isotropic_truncated_relu and one == PROBLEM
    built = Problem(build(isotropic_gaussians(ReLU())), P, (1.0,), lam=0.5)
    sent = pickle.loads(pickle.dumps(built))
    x = np.array([[0.3], [2.0]])
    np.testing.assert_array_equal(sent.module.V(x, P), built.module.V(x, P))
    assert sent.lam == 0.5
    with pytest.raises(BadInput, match="oracle_relu has no text"):
        pickle.dumps(Problem(RELU, P, (1.0,)))


def on_ranks(count: int, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """``workbench`` on so many ranks; a minute has to do."""
    command = [MPIEXEC, "-n", str(count), Path(sys.executable).with_name("workbench"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def settings(**values: Any) -> list[str]:
    """The words of a short run."""
    values = {"epsilon": 1e-3, "t_end": 1.0, "N": 30} | values
    given = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    return ["solve", MODEL, "--method", "sgd", *given]


@needs_ranks
def test_replicas_on_ranks_are_those_of_one_process(tmp_path: Path) -> None:
    outs = []
    for count in (1, 3):
        out = tmp_path / f"{count}.nc"
        done = on_ranks(count, *settings(replicas=4), "--json", "--out", out)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout.splitlines()[-1])["risk"]) == 3
        outs.append(Trajectory.load(out))
    assert same(*outs)
    assert outs[0].data.sizes["replica"] == 4
    assert not list(tmp_path.glob("*.checkpoint"))


@needs_ranks
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"checkpoint_interval": 0}, 0),  # one replica for two ranks
        (
            {"replicas": 3, "tau_minus": 1e-25, "beta": 100},
            3,
        ),  # the samples of a class are all one in float32
    ],
    ids=["one replica", "failure"],
)
def test_no_rank_is_left_waiting(changes: dict[str, Any], code: int, tmp_path: Path) -> None:
    done = on_ranks(2, *settings(**changes), "--out", tmp_path / "out.nc")
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    if code == 0:
        assert [path.name for path in tmp_path.iterdir()] == ["out.nc"]


REFUSED = """
from solvers.generated import isotropic_truncated_relu as module
from solvers.sgd import SGDConfig, solve
from workbench.errors import BadInput
from workbench.initial import InitialDensity
from workbench.problem import Problem
problem = Problem(module, {"d": 5, "tau_plus": 1.2, "tau_minus": 0.8}, (0.1,), initial=InitialDensity(abs))
try:
    solve(problem, SGDConfig(epsilon=1e-3, units=5, replicas=3))
except BadInput as error:
    print(f"refused {error}\\n", end="")  # one write: the ranks share the stream
"""


@needs_ranks
def test_an_error_on_one_rank_is_raised_on_all() -> None:
    command = [str(MPIEXEC), "-n", "2", sys.executable, "-c", REFUSED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.count("refused initial = ") == 2, done


@needs_ranks
def test_bad_checkpoints_are_told_on_all_ranks(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "replica-1").write_text("no checkpoint")
    words = [*settings(replicas=4, checkpoint=kept), "--out", str(tmp_path / "out.nc")]
    for resume, named in ((["--resume"], "replica-1"), ([], "interrupted run")):
        done = on_ranks(3, *words, *resume)
        assert done.returncode == 2 and done.stderr.count(named) == 1, done.stderr
    assert (kept / "replica-1").read_text() == "no checkpoint"


if __name__ == "__main__":
    kill_and_resume(Path(sys.argv[1]), int(sys.argv[2]))
