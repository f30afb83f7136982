"""The distribution figure at smoke scale: its files, its numbers, and SGD against the limit."""

import math

import numpy as np
import pytest

from paper import presets
from solvers import particles, sgd
from solvers.generated import isotropic_truncated_relu
from tests.smoke import built, differences, failing, redrawn
from workbench.measure import wasserstein1
from workbench.problem import Problem

# Risk of 400 equal-mass atoms at t = 4 and 10, obtained independently of this project, to 0.2 %.
REFERENCE = {"std": (0.8594, 0.1753), "variance": (0.04541, 0.04532)}


@pytest.fixture(scope="module", params=["std", pytest.param("variance", marks=pytest.mark.slow)])
def smoke(request, tmp_path_factory):
    """The figure at smoke scale."""
    return built("distribution", request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def figure(smoke):
    """(convention, folder, metrics)."""
    return smoke.convention, smoke.folder, smoke.metrics


def test_every_parameter_has_a_value_and_a_provenance(figure):
    _, _, metrics = figure
    assert metrics["parameters"]["d"] == {"value": 40, "provenance": "deck"}
    assert metrics["parameters"]["kappa"]["provenance"] == "quoted"
    # 1e-6 is quoted; the smoke scale takes a larger step, which is our choice
    assert metrics["parameters"]["epsilon"]["provenance"].startswith("ours")
    assert presets.DISTRIBUTION["epsilon"].provenance_at("paper") == "quoted"


def test_conventions_set_the_scales(figure):
    convention, _, metrics = figure
    power = 1 if convention == "std" else 2
    assert metrics["tau_plus"] ** power == pytest.approx(1.8, rel=1e-14)
    assert metrics["tau_minus"] ** power == pytest.approx(0.2, rel=1e-14)


def test_risks_of_the_limit(figure):
    convention, _, metrics = figure
    for snapshot, expected in zip(metrics["snapshots"][1:], REFERENCE[convention], strict=True):
        assert snapshot["risk"]["particles"] == pytest.approx(expected, rel=2e-3)
        # 400 cells of width 0.004 smear the fronts of the std case: 2 % of its risk at t = 4 and 10
        assert snapshot["risk"]["fokker_planck"] == pytest.approx(expected, rel=3e-2)


def test_sgd_follows_the_limit(figure):
    convention, _, metrics = figure
    # N^(-1/2) = 0.035 and (d epsilon)^(1/2) = 0.063 bound SGD's deviation up to a factor that grows with
    # t; measured: 0.063 (std, t = 4).  Initially only the 800 draws matter: 0.8 0.11 N^(-1/2) = 0.003.
    bounds = (0.008, 0.12, 0.12) if convention == "std" else (0.008, 0.03, 0.03)
    for snapshot, bound in zip(metrics["snapshots"], bounds, strict=True):
        assert 0 < snapshot["wasserstein1"]["sgd_particles"] < bound
        assert snapshot["wasserstein1"]["fokker_planck_particles"] < 0.05


def test_the_two_risks_of_the_network_are_both_told(figure):
    _, _, metrics = figure
    for snapshot in metrics["snapshots"]:
        gap = snapshot["risk"]["sgd_network"] - snapshot["risk"]["sgd_orbit_averaged"]
        # about (int U(theta, theta) drho - int int U)/N <= sup sigma^2/N = 56/800
        assert 0 < gap < 0.07


def test_guarantees_of_the_density(figure):
    _, _, metrics = figure
    assert metrics["mass_error"] <= 1e-12 and metrics["min_density"] >= 0


def test_stored_data_alone_redraw_the_same_picture(smoke, tmp_path):
    redrawn(smoke, "distribution", tmp_path)


def test_every_check_holds_but_the_band(smoke):
    # at epsilon = 1e-4, ten times that of the desk scale, the bias of finite steps may leave the band
    assert [claim for claim in failing(smoke.metrics) if "finite-N band" not in claim] == []
    assert smoke.metrics["band"]["networks"] == 5


# DD: to 1e-5 (atoms) and 1e-3 (cells, with steps of local error 1e-3), on another machine.  SGD: float32 rounds
# differently there, and under std some unit of 800 may fall to the other side of the threshold: 4/800 = 0.005 of a mean.
UNITS = {"std": 5e-3, "variance": 2e-4}


def test_numbers_are_those_pinned(smoke):
    unit = UNITS[smoke.convention]
    tolerances = {
        "*/particles": (0.0, 1e-5),
        "*/fokker_planck": (0.0, 1e-3),
        "*/fokker_planck_particles": (0.0, 2e-3),
        "snapshots/0/*/sgd*": (0.0, 1e-4),
        "*/risk/sgd_*": (0.0, unit),
        "*/mean_r/sgd": (0.0, 3 * unit),
        "*/wasserstein1/*": (0.0, 3 * unit),
        "*/sampling_wasserstein1": (1e-3, 0.0),
        "band/multiple": (0.05, 0.0),  # of records that differ by little more than their spread, on the tail
        "band/inside": (0.0, 0.1),
        "band/outside_at/*": (0.0, math.nan),  # as many as ``inside`` says
        "mass_error": (0.0, 1e-12),
    }
    assert differences(smoke, tolerances) == []


def fitted_slope(epsilon, seeds):
    """Slope of log W_1(SGD, DD) against log N, N = 100 ... 3200, variance convention, t = 1."""
    tau_plus, tau_minus = presets.tau(0.8, "variance")
    parameters = {"d": 40, "tau_plus": tau_plus, "tau_minus": tau_minus}
    problem = Problem(isotropic_truncated_relu, parameters, snapshots=(1.0,))
    limit = particles.solve(problem, particles.ParticlesConfig(atoms=6400)).measure(0)
    sizes = np.array([100, 200, 400, 800, 1600, 3200])
    distances = [
        np.mean(
            [
                wasserstein1(
                    sgd.solve(problem, sgd.SGDConfig(epsilon, int(n), seed, network_risk=False)).measure(0),
                    limit,
                )
                for seed in range(seeds)
            ]
        )
        for n in sizes
    ]
    print(f"epsilon {epsilon}: W1 {dict(zip(sizes.tolist(), np.round(distances, 5), strict=True))}")
    return float(np.polyfit(np.log(sizes), np.log(distances), 1)[0])


def test_sgd_approaches_the_limit_like_one_over_root_n():
    # epsilon = 2e-5: the second term (d epsilon)^(1/2) of the bound stays below N^(-1/2) up to N = 1250
    assert fitted_slope(2e-5, seeds=4) == pytest.approx(-0.5, abs=0.15)


@pytest.mark.slow
def test_sgd_approaches_the_limit_like_one_over_root_n_at_small_steps():
    assert fitted_slope(1e-5, seeds=6) == pytest.approx(-0.5, abs=0.15)
