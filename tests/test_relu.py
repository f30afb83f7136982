"""The relu figure at smoke scale: SGD with trained output weights and offsets against DD in four coordinates."""

import math
from dataclasses import replace

import numpy as np
import pytest

from paper.figures import FIGURES
from paper.relu_simulate import means_of, problem_of
from solvers import particles
from tests.smoke import built, differences, failing, redrawn

# DD: to 1e-5, ten times the error of its Runge-Kutta steps.  SGD: 50,000 steps in float32, which rounds differently on
# another machine: less than 1e-3 of each number.
TOLERANCES = {
    "runs/*/risk/dd": (0.0, 1e-6),
    "runs/*/dd": (0.0, 1e-5),
    "runs/*/risk/sgd*": (0.0, 1e-3),
    "runs/*/sgd": (0.0, 1e-3),
    "runs/*/largest_distance_of_means/*": (0.0, 1e-3),
    "runs/*/band/multiple": (0.05, 0.0),  # of differences of four networks, some of them small
    "runs/*/band/inside": (0.0, 0.1),
    "runs/*/band/outside_at/*": (0.0, math.nan),  # as many as ``inside`` says
}


@pytest.fixture(scope="module", params=["std", pytest.param("variance", marks=pytest.mark.slow)])
def smoke(request, tmp_path_factory):
    """The figure at smoke scale: N = 200, 50,000 steps, four networks for the band."""
    return built("relu", request.param, tmp_path_factory.mktemp(request.param))


def test_every_check_holds(smoke):
    assert failing(smoke.metrics) == []


def test_numbers_are_those_pinned(smoke):
    assert differences(smoke, TOLERANCES) == []


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
