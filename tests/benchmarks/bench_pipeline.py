"""How long each stage of the pipeline takes: derivation, module, the three solvers, the exact risk."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from paper.distribution_simulate import problem_of
from paper.figures import FIGURES
from solvers import fokker_planck, particles, sgd
from solvers.generated import isotropic_truncated_relu as module
from solvers.network import population_risk
from workbench.activations import truncated_relu
from workbench.codegen import generate, load
from workbench.derivation import derive
from workbench.models import isotropic_gaussians
from workbench.problem import Problem


def seconds(function: Callable[[], Any], runs: int = 3) -> float:
    """Median wall time of ``runs`` runs after one that warms up."""
    function()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Print one line a stage."""
    start = time.perf_counter()
    derivation = derive(isotropic_gaussians(truncated_relu()))
    print(f"derive with certificates               {time.perf_counter() - start:9.3f} s  (once)")
    print(f"generate and load the module           {seconds(lambda: load(generate(derivation), 'm')):9.3f} s")
    for convention in ("std", "variance"):
        problem = problem_of(FIGURES["distribution"].setting("desk", convention))
        for solver in (particles, fokker_planck):
            name = solver.__name__.partition(".")[2]
            wall = seconds(partial(solver.solve, problem))
            print(f"{name + ', t <= 10, ' + convention:<38} {wall:9.3f} s")
    p = {"d": 40, "tau_plus": 1.8, "tau_minus": 0.2}
    for d in (40, 320):
        problem = Problem(module, {**p, "d": d}, snapshots=(0.05,))
        config = sgd.SGDConfig(epsilon=1e-5, units=800)
        wall = seconds(partial(sgd.solve, problem, config))
        print(f"{f'SGD loop, d = {d}, N = 800':<38} {5000 / wall:9.0f} steps/s")
    rng = np.random.default_rng(0)
    with threadpool_limits(limits=1, user_api="blas"):
        for units in (800, 3200):
            W = rng.standard_normal((units, 40)) * 0.8 / np.sqrt(40)
            wall = seconds(partial(population_risk, module, W, p))
            print(f"{f'exact risk of the network, N = {units}':<38} {wall:9.3f} s")


if __name__ == "__main__":
    main()
