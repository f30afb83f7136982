"""The stages of a figure: each done once, resumed, redone when its inputs change, and never drawn from foreign data."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paper import fingerprint, jobs, pipeline
from paper.jobs import Job
from paper.pipeline import Build, Figure, make, state
from paper.presets import Parameter
from paper.setting import Check, at_whole_steps
from solvers.backends import choose
from solvers.generated import isotropic_truncated_relu
from solvers.particles import ParticlesConfig
from solvers.sgd import SGDConfig
from workbench.errors import BadInput, NumericalFailure
from workbench.problem import Problem
from workbench.trajectory import Trajectory

PARAMETERS = {"d": 5, "tau_plus": 1.2, "tau_minus": 0.8}
PRESET = {"atoms": Parameter({"smoke": 3, "desk": 4, "paper": 4}, "ours"), "d": Parameter(5, "deck")}


def problem(**changes: Any) -> Problem:
    return replace(Problem(isotropic_truncated_relu, PARAMETERS, (0.01, 0.02)), **changes)


@dataclass
class Simulation:
    """Two runs of particles; counts what is asked of it."""

    __name__ = "paper.setting"
    changes: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    said: float = 1.0

    def jobs(self, setting: Any, /) -> dict[str, Job]:
        config = ParticlesConfig(atoms=setting["atoms"])
        return {
            "first": Job("particles", problem(), config),
            "second": Job("particles", problem(**self.changes), config),
        }

    def metrics(self, setting: Any, runs: Any, /) -> dict[str, Any]:
        self.asked.append("metrics")
        value = float(runs["second"].data["risk"].values[-1]) * self.said
        return {"risk": value, "checks": [Check("risk", value, 0.0, None, "a square")]}


@dataclass
class Drawing:
    """Writes the metrics into figure.svg."""

    __name__ = "paper.style"
    asked: list[str] = field(default_factory=list)

    def draw(self, runs: Any, metrics: Any, folder: Path, /) -> tuple[str, ...]:
        self.asked.append("draw")
        (folder / "figure.svg").write_text(f"{metrics['risk']} {len(runs)}")
        return ("figure.svg",)

    def alt(self, metrics: Any, /) -> str:
        return f"risk {metrics['risk']}"


@pytest.fixture
def figure() -> Figure:
    return Figure("tiny", "a figure", PRESET, Simulation(), Drawing())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tiny"


def made(figure: Figure, folder: Path, scale: str = "smoke", **options: Any) -> pipeline.Made:
    return make(figure, folder, figure.setting(scale, "std"), **options)


def test_everything_is_made_once(figure, folder):
    fractions: list[float] = []
    first = made(figure, folder, progress=fractions.append)
    assert first.done == ("first", "second", "metrics", "drawing") and first.notes == ()
    assert fractions == sorted(fractions) and fractions[-1] == 1
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(files) == ["build.json", "data.nc", "figure.svg", "metrics.json"]
    assert state(figure, folder) == "current"
    again = made(figure, folder)
    assert again.done == () and again.metrics == first.metrics == json.loads(files["metrics.json"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert figure.simulation.asked == ["metrics"] and figure.drawing.asked == ["draw"]


def test_data_are_what_the_solver_gave(figure, folder):
    made(figure, folder)
    from solvers import particles

    direct = particles.solve(problem(), ParticlesConfig(atoms=3)).data
    kept = pipeline.load(folder / "data.nc")["first"].data
    for name in direct.data_vars:
        np.testing.assert_array_equal(kept[name].values, direct[name].values)


def test_metrics_tell_values_provenance_versions_and_checks(figure, folder):
    metrics = made(figure, folder).metrics
    assert metrics["parameters"] == {
        "atoms": {"value": 3, "provenance": "ours"},
        "d": {"value": 5, "provenance": "deck"},
    }
    assert set(metrics["wall_time"]) == {"first", "second"}
    assert metrics["versions"]["numpy"] == np.__version__
    assert metrics["checks"][0]["holds"] is True


def test_a_changed_job_alone_is_done_again(figure, folder):
    made(figure, folder)
    figure.simulation.changes["lam"] = 0.5
    assert state(figure, folder) == "stale"
    assert made(figure, folder).done == ("second", "metrics", "drawing")


def test_a_changed_drawing_solves_nothing(figure, folder, monkeypatch):
    made(figure, folder)
    monkeypatch.setattr(
        pipeline, "code", lambda name: "changed" if name == "paper.style" else fingerprint.code(name)
    )
    assert state(figure, folder) == "stale"
    assert made(figure, folder).done == ("drawing",)


def test_changed_metrics_solve_nothing(figure, folder, monkeypatch):
    made(figure, folder)
    figure.simulation.said = 2.0
    monkeypatch.setattr(
        pipeline, "code", lambda name: "changed" if name == "paper.setting" else fingerprint.code(name)
    )
    assert made(figure, folder).done == ("metrics", "drawing")


@pytest.mark.parametrize("name", ["data.nc", "metrics.json", "figure.svg"])
def test_a_file_that_is_not_what_was_written_is_named_and_made_again(figure, folder, name):
    metrics = made(figure, folder).metrics
    right = (folder / name).read_bytes()
    (folder / name).write_bytes(right + b" ")
    assert state(figure, folder) == "foreign"
    again = made(figure, folder)
    assert len(again.notes) == 1 and str(folder / name) in again.notes[0]
    assert ("first" in again.done) == (name == "data.nc")
    untimed = {key: value for key, value in metrics.items() if key != "wall_time"}
    assert {key: value for key, value in again.metrics.items() if key != "wall_time"} == untimed
    assert state(figure, folder) == "current"
    if name != "data.nc":
        assert (folder / name).read_bytes() == right


def test_data_of_another_run_are_never_drawn(figure, folder, tmp_path):
    made(figure, folder)
    other = replace(figure, simulation=Simulation(changes={"lam": 3.0}))
    foreign = made(other, tmp_path / "other").metrics["risk"]
    shutil.copy(tmp_path / "other" / "data.nc", folder / "data.nc")
    (folder / "figure.svg").unlink()
    assert made(figure, folder).metrics["risk"] != foreign
    assert (folder / "figure.svg").read_text() != f"{foreign} 2"


@pytest.mark.parametrize("name", ["data.nc", "metrics.json", "figure.svg"])
def test_a_missing_file_is_made_again(figure, folder, name):
    made(figure, folder)
    (folder / name).unlink()
    assert state(figure, folder) == "unfinished"
    assert made(figure, folder).notes == ()
    assert state(figure, folder) == "current"


def test_another_setting_and_files_of_somebody_else_are_refused(figure, folder, tmp_path):
    made(figure, folder)
    with pytest.raises(BadInput, match=r"holds the figure tiny at scale smoke.*--overwrite"):
        made(figure, folder, scale="desk")
    assert state(figure, folder) == "current"  # nothing was lost
    assert made(figure, folder, scale="desk", overwrite=True).done[0] == "first"
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "thesis.tex").write_text("mine")
    with pytest.raises(BadInput, match=r"was not made by this command"):
        made(figure, strange)
    assert state(figure, strange) == "foreign" and state(figure, tmp_path / "nowhere") == "missing"


def fail_at(monkeypatch, lam: float) -> None:
    """Particles fail at one lam from now on."""
    from solvers import particles

    solve = particles.solve

    def failing(problem: Problem, config: Any, progress: Any) -> Trajectory:
        trajectory = solve(problem, config, progress)
        if problem.lam == lam:
            raise NumericalFailure("the step failed at t = 0.01", trajectory)
        return trajectory

    monkeypatch.setattr(particles, "solve", failing)


def test_a_failure_keeps_what_there_is_and_the_rest_is_done_later(figure, folder, monkeypatch):
    figure.simulation.changes["lam"] = 0.5
    with monkeypatch.context() as patch:
        fail_at(patch, 0.5)
        with pytest.raises(NumericalFailure, match=r"second: the step failed.*second\.partial\.nc"):
            made(figure, folder)
    assert Trajectory.load(folder / "runs" / "second.partial.nc").complete
    assert state(figure, folder) == "unfinished"
    assert made(figure, folder).done == ("second", "metrics", "drawing")
    assert not (folder / "runs").exists()


def test_a_run_of_other_code_that_was_kept_is_done_again(figure, folder, monkeypatch):
    figure.simulation.changes["lam"] = 0.5
    with monkeypatch.context() as patch:
        fail_at(patch, 0.5)
        with pytest.raises(NumericalFailure):
            made(figure, folder)
    assert (folder / "runs" / "first.nc").exists()
    monkeypatch.setattr(jobs, "code", lambda name: "changed")
    assert made(figure, folder).done == ("first", "second", "metrics", "drawing")


def test_a_run_that_was_replaced_meanwhile_is_done_again(figure, folder, monkeypatch):
    figure.simulation.changes["lam"] = 0.5
    with monkeypatch.context() as patch:
        fail_at(patch, 0.5)
        with pytest.raises(NumericalFailure):
            made(figure, folder)
    shutil.copy(folder / "runs" / "second.partial.nc", folder / "runs" / "first.nc")
    assert made(figure, folder).done == ("first", "second", "metrics", "drawing")


def test_jobs_in_other_processes_give_the_same(figure, folder, tmp_path):
    alone = made(figure, folder)
    fractions: list[float] = []
    with jobs.processes(2) as pool:
        together = made(figure, tmp_path / "two", pool=pool, progress=fractions.append)
    assert sorted(together.done) == sorted(alone.done)
    assert together.metrics["risk"] == alone.metrics["risk"]
    assert fractions[-1] == 1 and max(fractions) == 1


def test_a_failure_in_another_process_keeps_the_rest(folder):
    bad = Job("particles", problem(beta=1.0), ParticlesConfig(atoms=3))  # refused by the solver
    good = Job("particles", problem(), ParticlesConfig(atoms=3))
    folder.mkdir()
    done: list[str] = []
    with pytest.raises(BadInput, match="beta = 1"), jobs.processes(2) as pool:
        jobs.do({"good": good, "bad": bad}, folder / "runs", lambda fraction: None, pool, done.append)
    assert done in ([], ["good"])


def test_an_interruption_ends_the_jobs_under_way(folder):
    """Within seconds, of jobs that would take minutes; and what was done is kept."""
    long = Job("sgd", problem(snapshots=(100.0,)), SGDConfig(epsilon=1e-7, units=50))  # 10^9 steps
    short = Job("particles", problem(), ParticlesConfig(atoms=3))
    folder.mkdir()
    done: list[str] = []

    def interrupt(fraction: float) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), jobs.processes(2) as pool:
        jobs.do({"short": short, "long": long}, folder / "runs", interrupt, pool, done.append)
    assert done == ["short"] and (folder / "runs" / "short.nc").exists()
    end = time.monotonic() + 60
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.1)
    assert multiprocessing.active_children() == []


def test_a_numerical_failure_in_another_process_keeps_what_it_had(folder):
    """A ridge beyond all bounds: the run that diverges keeps its records, and is not taken for done."""
    bad = Job("sgd", problem(lam=1e5, snapshots=(1.0,), records=(1e-3,)), SGDConfig(epsilon=1e-3, units=4))
    good = Job("particles", problem(), ParticlesConfig(atoms=3))
    folder.mkdir()
    done: list[str] = []
    with (
        pytest.raises(NumericalFailure, match=r"bad: SGD diverged at step .*bad\.partial\.nc"),
        jobs.processes(2) as pool,
    ):
        jobs.do({"bad": bad, "good": good}, folder / "runs", lambda fraction: None, pool, done.append)
    assert not Trajectory.load(folder / "runs" / "bad.partial.nc").complete
    assert set(done) <= {"good"} and not (folder / "runs" / "bad.nc").exists()


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C, which a process that a script starts in the background, and all that it starts, do not heed."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(
    ("whom", "how", "code", "after"),
    # half a second later processes are being started, six seconds later both are at work on runs of a minute
    [
        (os.killpg, signal.SIGINT, 130, 0.5),
        pytest.param(os.killpg, signal.SIGINT, 130, 6, marks=pytest.mark.slow),
        (os.kill, signal.SIGKILL, -9, 6),
    ],
)
def test_no_process_outlives_its_command(whom, how, code, after, folder, tmp_path):
    """Ctrl-C in a terminal reaches the processes of the pool too; a command that is killed tells them nothing."""
    words = ["reproduce", "distribution", "--scale", "paper", "--workers", "2", "--out", str(folder)]
    with (tmp_path / "errors").open("w") as errors:
        command = subprocess.Popen(
            [Path(sys.executable).with_name("workbench"), *words], start_new_session=True, stderr=errors
        )
    try:
        begun = time.monotonic()
        while not (folder / "distribution" / "runs").is_dir() and time.monotonic() < begun + 60:
            time.sleep(0.1)
        time.sleep(after)
        whom(command.pid, how)
        assert command.wait(60) == code
        with pytest.raises(ProcessLookupError):
            for _ in range(600):
                os.killpg(command.pid, 0)
                time.sleep(0.1)
        assert "Traceback" not in (tmp_path / "errors").read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
        command.wait(60)


def test_a_process_that_is_killed_is_named(folder):
    folder.mkdir()

    def kill(fraction: float) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    long = Job("sgd", problem(snapshots=(10.0,)), SGDConfig(epsilon=1e-7, units=50))
    with (
        pytest.raises(NumericalFailure, match=r"a process was killed.*not done: long;"),
        jobs.processes(2) as pool,
    ):
        jobs.do({"long": long}, folder / "runs", kill, pool, lambda name: None)


def test_sgd_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    job = Job("sgd", problem(), SGDConfig(epsilon=1e-4, units=4, checkpoint_interval=0.0))
    from solvers import sgd

    configs = []
    solve = sgd.solve

    def watched(problem: Problem, config: SGDConfig, progress: Any) -> Trajectory:
        configs.append(config)
        return solve(problem, config, progress)

    monkeypatch.setattr(sgd, "solve", watched)
    checkpoint = tmp_path / "run.checkpoint"
    first = job.solve(lambda fraction: None, checkpoint)
    again = job.solve(lambda fraction: None, checkpoint)  # from its end
    assert [config.resume for config in configs] == [False, True]
    np.testing.assert_array_equal(first.data["points"], again.data["points"])


def test_what_is_cut_off_while_the_data_are_put_in_place_is_not_lost(figure, folder, monkeypatch):
    made(figure, folder)
    figure.simulation.changes["lam"] = 0.5
    put = os.replace

    def cut_off(old: Any, new: Any) -> None:
        if Path(old).name == "data.nc.part" and Path(new).name == "data.nc":
            raise KeyboardInterrupt
        put(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.os, "replace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            made(figure, folder)
    again = made(figure, folder)
    assert again.done == ("metrics", "drawing") and again.notes == ()
    assert state(figure, folder) == "current"


def test_a_folder_whose_first_file_was_cut_off_is_free(figure, folder):
    folder.mkdir()
    (folder / "build.json.part").write_text("{")
    assert state(figure, folder) == "missing"
    assert made(figure, folder).done[0] == "first"


def test_a_result_of_a_process_whose_parent_was_killed_goes_on_from_its_checkpoint(folder):
    """The checkpoint of a run goes when its result is known, not when it is there."""
    job = Job("sgd", problem(), SGDConfig(epsilon=1e-4, units=4, checkpoint_interval=0.0))
    folder.mkdir()
    assert jobs._do("run", job, folder, lambda fraction: None) is None
    assert [path.name for path in folder.glob("run-*.checkpoint")] and (folder / "run.nc").exists()
    jobs.do({"run": job}, folder, lambda fraction: None, None, lambda name: None)
    assert [path.name for path in folder.iterdir()] == ["run.nc"]


def test_versions_in_the_metrics_are_those_of_the_drawing(figure, folder, monkeypatch):
    made(figure, folder)
    other = {"matplotlib": "99.0", "numpy": np.__version__}
    known = pipeline.versions
    monkeypatch.setattr(
        pipeline, "versions", lambda names: other if names == fingerprint.DRAWING else known(names)
    )
    again = made(figure, folder)
    assert again.done == ("metrics", "drawing") and again.metrics["versions"]["matplotlib"] == "99.0"


def test_the_back_end_that_is_taken_is_in_the_key(monkeypatch):
    compiled = key()
    monkeypatch.setattr(jobs, "choose", lambda *_: choose("numpy", isotropic_truncated_relu, "float32"))
    assert key() != compiled


def test_what_was_known_of_other_jobs_is_forgotten(folder):
    folder.mkdir()
    fractions: list[float] = []
    job = Job("particles", problem(), ParticlesConfig(atoms=3))
    with jobs.processes(2) as pool:
        pool.fractions[0] = 5.0  # type: ignore[union-attr]
        jobs.do({"run": job}, folder / "runs", fractions.append, pool, lambda name: None)
    assert max(fractions) == 1


def key(**changes: Any) -> str:
    config = changes.pop("config", SGDConfig(epsilon=1e-3, units=4))
    return Job("sgd", problem(**changes), config).key()


@pytest.mark.parametrize(
    "changes",
    [
        {"lam": 0.1},
        {"beta": 10.0},
        {"snapshots": (0.01, 0.03)},
        {"records": (0.005,)},
        {"parameters": {**PARAMETERS, "tau_plus": 1.3}},
        {"parameters": {**PARAMETERS, "d": math.inf}},
        {"config": SGDConfig(epsilon=1e-3, units=5)},
        {"config": SGDConfig(epsilon=1e-3, units=4, seed=1)},
        {"config": SGDConfig(epsilon=1e-3, units=4, replica=1)},
    ],
)
def test_keys_tell_runs_apart(changes):
    assert key(**changes) != key()


def test_how_a_run_is_done_is_not_in_its_key():
    other = SGDConfig(epsilon=1e-3, units=4, workers=2, checkpoint="somewhere", resume=True)
    assert key(config=other) == key()


def test_sources_follow_imports_and_compiled_code():
    found = {path.relative_to(fingerprint.ROOT).as_posix() for path in fingerprint.sources("solvers.sgd")}
    assert {"solvers/sgd.py", "solvers/recursion.c", "solvers/blocked.py", "workbench/problem.py"} <= found
    assert not {"solvers/landscape.py", "workbench/derivation.py", "paper/style.py"} & found
    drawing = {path.name for path in fingerprint.sources("paper.distribution_draw")}
    assert "style.py" in drawing and "ensemble.py" in drawing


def test_code_counts_as_it_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    (tmp_path / "paper").mkdir()
    path = tmp_path / "paper" / "one.py"

    def of(text: str) -> str:
        path.write_text(text)
        fingerprint._leads_to.cache_clear()
        fingerprint._as_it_runs.cache_clear()
        return fingerprint.code("paper.one")

    plain = of("def f(x):\n    return x + 1\n")
    assert of('"""A file."""\n\n\ndef f(x):\n    """One more."""\n    return x + 1  # why\n') == plain
    assert of("def f(x):\n    return x + 2\n") != plain
    fingerprint._leads_to.cache_clear()
    fingerprint._as_it_runs.cache_clear()


def test_numbers_that_are_no_numbers_are_not_written(figure, folder):
    figure.simulation.said = math.nan
    with pytest.raises(ValueError, match="not JSON compliant"):
        made(figure, folder)


def test_a_build_that_cannot_be_read_is_none(folder):
    folder.mkdir()
    for text in ("", "[]", '{"figure": "tiny"}', '{"unknown": 1}'):
        (folder / "build.json").write_text(text)
        assert Build.load(folder) is None


@pytest.mark.parametrize(
    ("value", "low", "high", "holds"),
    [(1.0, 1.0, 1.0, True), (1.0, 1.1, None, False), (1.0, None, 0.9, False), (math.nan, None, None, False)],
)
def test_checks_hold_in_their_interval(value, low, high, holds):
    assert Check("claim", value, low, high, "reason").holds is holds


def test_times_at_whole_steps():
    assert at_whole_steps((1e-5, 0.011, 0.0104, 0.02), 0.01) == (0.01, 0.02)
