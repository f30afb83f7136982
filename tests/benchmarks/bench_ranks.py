"""A density in (a, b, r) on one and on two ranks: ReLU units a relu(<w, x> + b), d = 40, 48^3 cells.

Each run is a fresh process group, one thread a rank.  Time is that of the steps; set-up comes before it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RANKS = (1, 2)


def measure() -> None:
    """One run on the ranks of this process group; the first prints a JSON object."""
    from solvers import fokker_planck, ranks
    from solvers.generated import isotropic_relu
    from workbench.initial import GaussianInitialLaw
    from workbench.problem import Problem

    problem = Problem(
        isotropic_relu,
        {"d": 40, "tau_plus": 1.2, "tau_minus": 0.8},
        snapshots=(0.5,),
        initial=GaussianInitialLaw(0.8, a_mean=1.0, a_std=0.2, b_mean=0.0, b_std=0.2),
        lam=0.01,
        beta=200.0,
    )
    run = fokker_planck.solve(problem, fokker_planck.FokkerPlanckConfig(cells=(48, 48, 48), r_max=1.6))
    if ranks.world().rank == 0:
        seconds = run.data.attrs["wall_time"] - run.data.attrs["set_up_time"]
        answer = {"set_up": run.data.attrs["set_up_time"], "seconds": seconds}
        print(json.dumps({**answer, "risk": float(run.risk_at([0.5])[0]), "steps": run.data.attrs["steps"]}))


def main() -> None:
    """Print one row for each number of ranks."""
    if "--measure" in sys.argv:
        measure()
        return
    mpiexec = Path(sys.executable).with_name("mpiexec")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    print(f"{'ranks':>5} {'set-up':>8} {'time':>8} {'steps':>6} {'risk':>16} {'speed':>6}")
    base = 0.0
    for count in RANKS:
        command: list[str] = [
            str(mpiexec),
            "-n",
            str(count),
            sys.executable,
            "-m",
            "tests.benchmarks.bench_ranks",
            "--measure",
        ]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout.splitlines()[-1])
        base = base or answer["seconds"]
        print(
            f"{count:>5} {answer['set_up']:7.1f}s {answer['seconds']:7.1f}s {answer['steps']:>6} "
            f"{answer['risk']:16.13f} {base / answer['seconds']:5.2f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
