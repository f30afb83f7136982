"""Problems: what is accepted, what is refused, and the laws and clocks they hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import solvers.generated.isotropic_truncated_relu as module
from workbench import BadInput, GaussianInitialLaw, Problem, StepSchedule, log_spaced_times

P = {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}


def problem(**changes: Any) -> Problem:
    """A small valid problem with some of its fields changed."""
    return Problem(**{"module": module, "parameters": P, "snapshots": (0.1, 1.0), **changes})


def test_a_valid_problem() -> None:
    given = problem(records=(0.05, 0.1, 0.5))
    assert given.d == 40
    assert given.t_end == 1.0
    assert given.all_times() == (0.05, 0.1, 0.5, 1.0)
    assert given.beta == math.inf and given.lam == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"snapshots": ()}, r"snapshots = \(\)"),
        ({"snapshots": (1.0, 0.1)}, r"snapshots = \(1\.0, 0\.1\).*increasing"),
        ({"snapshots": (1.0, 1.0)}, r"snapshots = \(1\.0, 1\.0\)"),
        ({"snapshots": (0.0, 1.0)}, r"snapshots = \(0\.0, 1\.0\).*t > 0"),
        ({"snapshots": (-1.0,)}, r"snapshots = \(-1\.0,\)"),
        ({"snapshots": (math.nan,)}, r"snapshots = \(nan,\)"),
        ({"snapshots": (1.0, math.inf)}, r"snapshots = \(1\.0, inf\)"),
        ({"records": (0.5, 0.2)}, r"records = \(0\.5, 0\.2\)"),
        ({"records": (0.5, 2.0)}, r"records reach t = 2\.0 .* t = 1\.0"),
        ({"lam": -0.1}, r"lam = -0\.1"),
        ({"lam": math.nan}, "lam = nan"),
        ({"lam": math.inf}, "lam = inf"),
        ({"beta": 0.0}, r"beta = 0\.0"),
        ({"beta": -1.0}, r"beta = -1\.0"),
        ({"beta": math.nan}, "beta = nan"),
        ({"parameters": {**P, "d": math.inf}, "beta": 10.0}, "d = inf with finite beta"),
        ({"parameters": {**P, "d": 1}}, "d = 1 "),
        ({"parameters": {**P, "d": "many"}}, "many"),
        ({"parameters": {**P, "tau_plus": -1.0}}, r"tau_plus = -1\.0"),
        ({"parameters": {"d": 40}}, "tau_plus"),
        ({"parameters": {**P, "Delta": 0.8}}, "'Delta'"),
    ],
)
def test_bad_input_names_the_value(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput, match=named):
        problem(**changes)


@pytest.mark.parametrize("kappa", [0.0, -1.0, math.nan, math.inf])
def test_bad_scale_of_the_initial_law(kappa: float) -> None:
    with pytest.raises(BadInput, match=f"kappa = {kappa}"):
        GaussianInitialLaw(kappa)


@pytest.mark.parametrize("exponent", [-0.1, 1.0, 2.0, math.nan])
def test_bad_schedule(exponent: float) -> None:
    with pytest.raises(BadInput, match=f"xi_exponent = {exponent}"):
        StepSchedule(exponent)


@pytest.mark.parametrize("d", [2, 7, 40, 320])
def test_quantiles_invert_the_distribution_function(d: int) -> None:
    law, levels = GaussianInitialLaw(0.8), np.array([1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
    # an iteration of scipy, good to a few 1e-13
    assert law.radial_cdf(law.radial_quantiles(levels, d), d) == pytest.approx(levels, rel=1e-9, abs=0)


@pytest.mark.parametrize("d", [2, 40])
def test_radii_of_drawn_weights_have_the_law(d: int) -> None:
    law = GaussianInitialLaw(0.8)
    w = law.draw_weights(np.random.default_rng(1), 20_000, d)
    assert w.shape == (20_000, d)
    # E |w|^2 = kappa^2, with standard error kappa^2 sqrt(2/(d n)) <= 0.7 %; four of them
    assert np.mean(np.sum(w**2, axis=1)) == pytest.approx(0.64, rel=4 * math.sqrt(2 / (d * 20_000)))
    radii = np.linalg.norm(w, axis=1)
    assert stats.kstest(radii, lambda r: law.radial_cdf(r, d)).statistic < 1.63 / math.sqrt(
        20_000
    )  # 1 % level


def test_infinite_dimension_has_one_radius() -> None:
    law = GaussianInitialLaw(0.3)
    assert np.array_equal(law.radial_quantiles(np.array([0.1, 0.9]), math.inf), [0.3, 0.3])
    assert np.array_equal(law.radial_cdf(np.array([0.29, 0.3, 0.31]), math.inf), [0, 1, 1])
    # what d = 10^6 is already close to: sqrt(1/(2d)) relative spread
    assert law.radial_quantiles(np.array([0.5]), 10**6) == pytest.approx([0.3], rel=1e-5)


@pytest.mark.parametrize("exponent", [0.0, 0.25, 0.6])
def test_the_clock_is_the_integral_of_the_schedule(exponent: float) -> None:
    schedule = StepSchedule(exponent)
    for t in (1e-4, 0.3, 7.0):
        # t = u^4 takes the singularity away
        area = integrate.quad(
            lambda u: float(schedule.xi(np.array(u**4))) * 4 * u**3, 0, t**0.25, epsrel=1e-12
        )[0]
        assert float(schedule.clock(np.array(t))) == pytest.approx(area, rel=1e-9, abs=0)
        assert schedule.time(float(schedule.clock(np.array(t)))) == pytest.approx(t, rel=1e-13, abs=0)
    assert float(schedule.clock(np.array(0.0))) == 0


def test_log_spaced_times() -> None:
    times = log_spaced_times(1e-3, 10.0, per_decade=8)
    assert times[0] == 1e-3 and times[-1] == 10.0
    assert len(times) == 33
    assert np.diff(np.log(times)) == pytest.approx(np.full(32, math.log(1e4) / 32), rel=1e-12, abs=0)


@pytest.mark.parametrize(("first", "last"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (2.0, 1.0), (1.0, 1.0)])
def test_an_empty_range_of_times_is_refused(first: float, last: float) -> None:
    with pytest.raises(BadInput):  # by the range itself or by the problem that is given it
        problem(snapshots=log_spaced_times(first, last))
