"""The exponential of a generator: against dense linear algebra, at steps from below rounding to 1e5 jumps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy import linalg, stats

pytest.importorskip("dolfinx_solver", reason="the Fokker-Planck solver needs DOLFINx")

from solvers.cells import Cells
from solvers.finite_volumes import FiniteVolumes
from solvers.propagator import CHEBYSHEV_FROM, Propagator, chebyshev_weights, poisson_weights
from tests.densities import generator, landscape, uneven
from workbench.measure import Array

CELLS = {
    "n=40": Cells(("r",), (uneven(0.0, 1.5, 30, 3),), (40.0,)),
    "b, r": Cells(("b", "r"), (uneven(-1.0, 1.0, 7, 4), uneven(0.0, 2.0, 5, 5)), (1.0, 3.0)),
    "a, b, r": Cells(("a", "b", "r"), tuple(uneven(0.0, 1.0, n, n) for n in (4, 3, 5)), (1.0, 1.0, 40.0)),
}
BETA = 3.0


def gibbs(cells: Cells, psi: Array) -> Array:
    """The law with which the process is in detailed balance."""
    law = np.exp(cells.log_reference - BETA * psi)
    return np.asarray(law / law.sum())


def exponential(A: Array, law: Array, dt: float, masses: Array) -> Array:
    """exp(dt A) masses by the eigenvectors of A, symmetric in the norm of ``law``."""
    root = np.sqrt(law)
    rates, vectors = np.linalg.eigh(A * root / root[:, None])
    return np.asarray(root * (vectors @ (np.exp(dt * rates) * (vectors.T @ (masses / root)))))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("jumps", [1e-14, 1e-9, 1e-3, 0.7, 20.0, 21.0, 22.0, 140.0])
@pytest.mark.parametrize("alone", [True, False], ids=["C", "DOLFINx"])
def test_uniformisation_is_the_exponential(name: str, jumps: float, alone: bool) -> None:
    cells = CELLS[name]
    volumes = FiniteVolumes(cells, BETA)
    assert volumes._propagator._alone
    volumes._propagator._alone = alone  # False as on many ranks
    psi, masses = landscape(cells, 17)
    A, fastest = generator(volumes, psi, masses)
    dt = jumps / fastest
    after = volumes.gather(volumes.advance(masses[volumes.owned], dt, fastest))
    # 1e-10 of the weights is left out, of mass that would have moved
    assert np.abs(after - linalg.expm(dt * A) @ masses).sum() <= 2e-10 * min(1.0, jumps) + 1e-14
    assert after.min() >= 0
    assert after.sum() == pytest.approx(1.0, abs=1e-14)


def test_a_step_too_short_for_float64_still_moves_what_it_moves() -> None:
    volumes = FiniteVolumes(Cells(("b",), (np.linspace(0.0, 1.0, 9),), (1.0,)), BETA)
    A, fastest = generator(volumes, np.zeros(8), np.eye(8)[3])
    after = volumes.gather(volumes.advance(np.eye(8)[3][volumes.owned], 1e-20 / fastest, fastest))
    np.testing.assert_allclose(after[[2, 4]], 1e-20 / fastest * A[[2, 4], 3], rtol=1e-12)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("jumps", [200.0, 1e3, 1e4])
def test_long_steps_near_equilibrium_take_few_products(
    name: str, jumps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = CELLS[name]
    volumes = FiniteVolumes(cells, BETA)
    psi, _ = landscape(cells, 18)
    psi *= 0.1
    law = gibbs(cells, psi)
    masses = law * (1 + 0.5 * np.cos(np.arange(cells.count)))
    masses /= masses.sum()
    A, fastest = generator(volumes, psi, masses)
    monkeypatch.setattr(Propagator, "_uniformised", None)  # not needed here
    after = volumes.gather(volumes.advance(masses[volumes.owned], jumps / fastest, fastest))
    # rounding of the recurrence in the norm of the law, within a factor of two of which the masses are;
    # and the rates that the exponential is made of are good to a rounding of the fastest
    error = np.abs(after - exponential(A, law, jumps / fastest, masses)).sum()
    assert error <= 1e-12 + 2e-16 * jumps
    assert after.min() >= 0
    assert after.sum() == pytest.approx(1.0, abs=5e-13)  # 1e-17 a jump


@pytest.mark.parametrize(("pull", "start"), [(300.0, 29), (3.0, 0)])
def test_far_from_equilibrium_uniformisation_takes_over(pull: float, start: int) -> None:
    """Where Chebyshev's sum has masses below zero, and where its mass is not that of before."""
    cells, jumps = CELLS["n=40"], 1000.0
    volumes = FiniteVolumes(cells, BETA)
    psi, masses = pull * cells.centres[:, 0] ** 2, np.eye(30)[start]
    A, fastest = generator(volumes, psi, masses)
    after = volumes.gather(volumes.advance(masses[volumes.owned], jumps / fastest, fastest))
    assert after.min() >= 0 and after.sum() == pytest.approx(1.0, abs=1e-13)
    assert np.abs(after - linalg.expm(jumps / fastest * A) @ masses).sum() <= 2e-10  # what is left out
    # it is not tried again at once, but is after a step near equilibrium
    assert volumes._propagator._chebyshev_from == pytest.approx(4 * jumps)
    law = gibbs(cells, psi)
    A, fastest = generator(volumes, psi, law)
    volumes.advance(law[volumes.owned], 5 * jumps / fastest, fastest)
    assert volumes._propagator._chebyshev_from == CHEBYSHEV_FROM


@pytest.mark.parametrize(
    "rounding",
    [[-3e-14, 3e-14], [1e-12, 0.0], [-1e-12, 0.0], [math.nan, 0.0]],
    ids=["negative", "gained", "lost", "nan"],
)
def test_a_sum_that_rounding_has_spoilt_is_not_taken(
    rounding: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = FiniteVolumes(Cells(("b",), (np.linspace(0.0, 1.0, 9),), (1.0,)), BETA)
    masses = np.array([0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0])
    A, fastest = generator(volumes, np.zeros(8), masses)
    spoilt = masses + np.array([*rounding, 0, 0, 0, 0, 0, 0])
    monkeypatch.setattr(Propagator, "_chebyshev", lambda *_: spoilt)
    after = volumes.gather(volumes.advance(masses[volumes.owned], 500 / fastest, fastest))
    assert (
        np.abs(after - linalg.expm(500 / fastest * A) @ masses).sum() <= 2e-10
    )  # what uniformisation leaves out


@pytest.mark.parametrize("mean", [1e-300, 1e-14, 1e-6, 0.3, 1.0, 12.7, 1e3, 1e5])
def test_poisson_weights(mean: float) -> None:
    weights = poisson_weights(mean)
    k = np.arange(len(weights))
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    # scaled up by what is left out, 1e-10; exponents of up to 1e6
    np.testing.assert_allclose(weights, stats.poisson.pmf(k, mean), rtol=2e-9, atol=1e-300)
    assert stats.poisson.sf(k[-1], mean) <= 1e-10
    assert len(weights) <= mean + 7 * math.sqrt(mean) + 20
    if mean < 1e-3:  # what moves at all, to first order
        assert weights[1] == pytest.approx(mean, rel=2 * mean + 1e-12, abs=0)


@pytest.mark.parametrize("mean", [150.0, 1e3, 3e4])
def test_chebyshev_weights(mean: float) -> None:
    weights = chebyshev_weights(mean)
    t = np.concatenate([np.linspace(-1, 1, 41), 1 - np.geomspace(1e-9, 1, 41)])
    # what is left out is below 1e-15; and t is rounded by 1e-16
    np.testing.assert_allclose(
        chebyshev.chebval(t, weights), np.exp(mean * (t - 1)), rtol=0, atol=1e-13 + 3e-17 * mean
    )
    assert len(weights) <= 9 * math.sqrt(mean) + 20
