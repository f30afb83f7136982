"""The relu figure at smoke scale: SGD with trained output weights and offsets against DD in four coordinates."""

import math
from dataclasses import replace

import numpy as np
import pytest

from paper.figures import FIGURES
from paper.relu_simulate import means_of, problem_of
from solvers import particles
from tests.smoke import built, differences, failing, redrawn

# Pinned numbers.  DD: to 1e-6, the error of its Runge-Kutta steps.  SGD: 50,000 steps in float32, which rounds differently
# on another machine: less than 1e-3 of each number.
PINNED = {
    "runs.0.risk.dd": (0.9500405, 1e-6),
    "runs.1.risk.dd": (0.8091840, 1e-6),
    "runs.2.risk.dd": (0.6383692, 1e-6),
    "runs.2.means_at_the_end.a.dd": (1.0162621, 1e-5),
    "runs.2.means_at_the_end.b.dd": (-0.4225061, 1e-5),
    "runs.2.means_at_the_end.r1.dd": (1.0748932, 1e-5),
    "runs.0.risk.sgd_orbit_averaged": (0.957710, 1e-3),
    "runs.2.risk.sgd_orbit_averaged": (0.663179, 1e-3),
    "runs.2.risk.sgd_network": (0.668393, 1e-3),
    "runs.2.means_at_the_end.a.sgd": (1.163352, 1e-3),
    "runs.2.means_at_the_end.b.sgd": (-0.572002, 1e-3),
    "runs.2.means_at_the_end.r1.sgd": (1.062277, 1e-3),
}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The figure at smoke scale, convention std: N = 200, 50,000 steps, four networks for the band."""
    return built("relu", "std", tmp_path_factory.mktemp("relu"))


def test_every_check_holds(smoke):
    assert failing(smoke.metrics) == []


def test_numbers_are_those_pinned(smoke):
    assert differences(smoke.metrics, PINNED) == []


def test_the_axes_are_the_published_ones(smoke):
    """Risk 0.5 to 2.5, mean a 0.5 to 2.5, mean b -0.5 to 1, mean r1 0.5 to 2; DD lies within them."""
    for delta in (0.2, 0.4, 0.6):
        run = smoke.runs[f"particles_{delta:g}"]
        assert run.data["risk"].values.min() > 0.5 and run.data["risk"].values.max() < 2.5
        for name, low, high in (("a", 0.5, 2.5), ("b", -0.5, 1.0), ("r1", 0.5, 2.0)):
            means = means_of(run, name)
            assert low < min(means) and max(means) < high


def test_atoms_are_enough():
    """Four times as many atoms, and a tenth of the tolerance of U, change risk and means by less than 1e-3."""
    setting = FIGURES["relu"].setting("smoke", "std")
    problem = problem_of(setting, 0.6)
    coarse = particles.solve(problem, particles.ParticlesConfig(atoms=setting["atoms"]))
    finer = replace(problem, parameters={**problem.parameters, "tolerance": setting["tolerance"] / 10})
    fine = particles.solve(finer, particles.ParticlesConfig(atoms=(12, 6, 4, 4)))
    np.testing.assert_allclose(coarse.data["risk"], fine.data["risk"], atol=1e-3)
    for name in ("a", "b", "r1"):
        np.testing.assert_allclose(means_of(coarse, name), means_of(fine, name), atol=1e-3)


def test_means_are_those_of_the_initial_law_at_the_start(smoke):
    setting = FIGURES["relu"].setting("smoke", "std")
    run = smoke.runs["particles_0.4"]
    # E chi_60 = sqrt(2) Gamma(30.5)/Gamma(30); the first snapshot is one step later, t = 2e-5
    chi = math.sqrt(2) * math.exp(math.lgamma(30.5) - math.lgamma(30.0))
    assert means_of(run, "r1")[0] == pytest.approx(setting["kappa"] / math.sqrt(320) * chi, abs=1e-3)
    assert means_of(run, "a")[0] == pytest.approx(1.5, abs=3e-3)
    assert means_of(run, "b")[0] == pytest.approx(0.0, abs=3e-3)


def test_stored_data_alone_redraw_the_same_picture(smoke, tmp_path):
    redrawn(smoke, "relu", tmp_path)
