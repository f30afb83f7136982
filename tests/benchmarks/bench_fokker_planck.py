"""The Fokker-Planck solver beside py-pde, FiPy and fplanck, on loads that all of them can take.

Every run is a fresh process with one thread.  Set-up is what comes before the first step: imports, grids,
compilation.  Time is that of the steps, the best of five runs where they are short.  Each method runs on the
mesh of the load, and again with the cheapest settings found for it with which the risk is within the target
of the fine reference, and would be with exact time steps, so that errors that cancel do not count.
"lowest" is the lowest density as a part of the highest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import fft
from scipy.integrate import solve_ivp

from tests.benchmarks import fokker_planck_peers as peers
from tests.benchmarks.fokker_planck_peers import LOADS, RIDGE, Array, Grid, Load, Run, Sample

ROOT = Path(__file__).parents[2]
ENOUGH = 2.0  # seconds of runs after which no further one is timed
Settings = dict[str, Any]


def ours(grid: Grid, step_tolerance: float) -> Run:
    """solvers.fokker_planck; with noise 2/beta and a clock t/2, since its equation is twice that of the load."""
    from solvers import fokker_planck
    from workbench.initial import InitialDensity
    from workbench.problem import Problem

    load = grid.load
    config = fokker_planck.FokkerPlanckConfig(
        cells=(grid.n,) * load.dim,
        bounds=(0.0, load.length) * load.dim,
        fixed_domain=True,
        step_tolerance=step_tolerance,
    )

    def solve(end: float) -> Sample:
        problem = Problem(
            load.module,
            load.parameters,
            snapshots=(end,),
            initial=InitialDensity(load.initial),
            lam=RIDGE,
            beta=1 / load.D,
            radial_entropy=False,
        )
        run = fokker_planck.solve(problem, config)
        masses = run.measure(-1).weights
        seconds = run.data.attrs["wall_time"] - run.data.attrs["set_up_time"]
        return Sample(seconds, float(run.risk_at([end])[0]), float(masses.min() / masses.max()))

    solve(1e-3 * load.t / 2)  # compiles
    return partial(solve, load.t / 2)


METHODS: dict[str, Callable[..., Run]] = {
    "ours": ours,
    "py-pde": peers.py_pde,
    "FiPy": peers.fipy,
    "fplanck": peers.fplanck,
}
PACKAGES = ("pde", "fipy", "fplanck")

# Settings on the mesh of the load, or why there are none; then the cheapest found that reach the target.
PLAN: dict[str, dict[str, tuple[Settings | str, Settings]]] = {
    "A": {
        "ours": ({"step_tolerance": 1e-3}, {"step_tolerance": 1e-3}),
        "py-pde": (
            {"method": "LSODA", "rtol": 1e-6, "banded": True},
            {"method": "LSODA", "rtol": 1e-6, "banded": True, "cells": 700},
        ),
        "FiPy": ({"steps": 45, "grading": 2.0}, {"steps": 45, "grading": 2.0, "cells": 720}),
        "fplanck": ({"steps": 45, "grading": 2.0}, {"steps": 45, "grading": 2.0, "cells": 1100}),
    },
    "A at low noise": {
        "ours": ({"step_tolerance": 1e-3}, {"step_tolerance": 1e-2, "cells": 240}),
        "py-pde": ({"method": "runge-kutta", "rtol": 1e-4}, {"method": "runge-kutta", "rtol": 1e-4}),
        "FiPy": ({"steps": 16, "grading": 2.0}, {"steps": 10, "grading": 2.0, "cells": 320}),
        "fplanck": ("rates of 2e10", {"steps": 16, "grading": 1.0, "cells": 6400}),
    },
    "B": {
        "ours": ({"step_tolerance": 1e-3}, {"step_tolerance": 1e-2, "cells": 44}),
        "py-pde": ({"method": "RK23", "rtol": 1e-2}, {"method": "runge-kutta", "rtol": 1e-4, "cells": 24}),
        "FiPy": ({"steps": 20, "grading": 1.5}, {"steps": 16, "grading": 1.5, "cells": 36}),
        "fplanck": ({"steps": 16, "grading": 1.7}, {"steps": 16, "grading": 1.7, "cells": 28}),
    },
}


def reference(load: Load, modes: int, rtol: float = 1e-10) -> float:
    """The risk at the end by a cosine pseudospectral method with that many modes a side.

    V, the features and the solution continue evenly through r = 0, and nothing reaches the far walls, so the
    series and the midpoint rule in the integrals converge faster than every power.
    """
    grid = Grid(load, modes)
    static, moving = grid.gradients(grid.centres)
    k = np.arange(modes) * math.pi / load.length

    def slope(f: Array, axis: int) -> Array:
        """Derivative of an even field: from cosines to sines."""
        c = np.moveaxis(fft.dct(f, axis=axis), axis, -1)
        s = np.concatenate([-(k * c)[..., 1:], 0 * c[..., :1]], axis=-1)
        return np.asarray(fft.idst(np.moveaxis(s, -1, axis), axis=axis))

    def slope_of_odd(f: Array, axis: int) -> Array:
        """Derivative of an odd field: from sines to cosines."""
        s = np.moveaxis(fft.dst(f, axis=axis), axis, -1)
        c = np.concatenate([0 * s[..., :1], s[..., :-1] * k[1:]], axis=-1)
        return np.asarray(fft.idct(np.moveaxis(c, -1, axis), axis=axis))

    def rate(_: float, flat: Array) -> Array:
        rho = flat.reshape(grid.V.shape)
        drift = static + np.tensordot(grid.weights * grid.moments(rho), moving, 1)
        flux = (drift[i] * rho + load.D * slope(rho, i) for i in range(load.dim))
        return np.ravel(sum(slope_of_odd(part, i) for i, part in enumerate(flux)))

    done = solve_ivp(
        rate, (0, load.t), grid.initial().ravel(), method="DOP853", rtol=rtol, atol=1e-16, t_eval=[load.t]
    )
    return grid.sample(done.y[:, -1].reshape(grid.V.shape), 0.0).risk


# ---- what a fresh process does; it prints one JSON object


def measure(load: Load, method: str, settings: Settings) -> None:
    """Set up, then run up to five times; the best time counts."""
    begun = time.perf_counter()
    try:
        run = METHODS[method](Grid(load, settings.pop("cells", load.cells)), **settings)
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        print(json.dumps({"error": "not installed"}))
        return
    set_up = time.perf_counter() - begun
    samples = [run()]
    while len(samples) < 5 and sum(sample.seconds for sample in samples) < ENOUGH:
        samples.append(run())
    print(json.dumps({**min(samples)._asdict(), "set_up": set_up}))


def fresh(load: Load, method: str, settings: Settings, limit: float) -> dict[str, Any]:
    """The JSON object of one measurement in its own process, or {"error": why there is none}."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(threads, "1")}
    order = json.dumps([load.name, method, settings])
    command = [sys.executable, "-m", "tests.benchmarks.bench_fokker_planck", "--measure", order]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"over {limit:g} s"}
    if done.returncode != 0:
        return {"error": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1][:60]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


# ---- the tables

HEAD = (
    "",
    "set-up",
    "time",
    "risk",
    "error",
    "lowest",
    "at equal error",
    "/ ours",
    "error",
    "set-up",
    "both / ours",
    "with",
)


def on_the_mesh(load: Load, answer: dict[str, Any]) -> tuple[str, ...]:
    """The columns of the run on the mesh of the load."""
    if "error" in answer:
        return "", answer["error"], "", "", ""
    return (
        f"{answer['set_up']:.1f} s",
        f"{answer['seconds']:.3g} s",
        f"{answer['risk']:.7f}",
        f"{answer['risk'] - load.risk:.1e}",
        f"{answer['lowest']:.0e}",
    )


def at_equal_error(load: Load, answer: dict[str, Any], base: dict[str, Any] | None) -> tuple[str, ...]:
    """The columns of the run at the target; ``base`` is our answer."""
    if "error" in answer:
        return answer["error"], "", "", "", ""
    error = answer["risk"] - load.risk
    seconds, ratio, whole = f"{answer['seconds']:.3g} s", "", ""
    if base is not None:
        ratio = f"{answer['seconds'] / base['seconds']:.2g}"
        whole = f"{(answer['seconds'] + answer['set_up']) / (base['seconds'] + base['set_up']):.2g}"
    if not abs(error) <= load.target:
        seconds, ratio, whole = f"not in {seconds}", "", ""
    return seconds, ratio, f"{error:.1e}", f"{answer['set_up']:.1f} s", whole


def described(load: Load, settings: Settings) -> str:
    """700 cells, method LSODA, rtol 1e-06, banded."""
    cells = f"{settings.get('cells', load.cells)}{'^2' if load.dim == 2 else ''} cells"
    rest = {name: value for name, value in settings.items() if name != "cells"}
    words = [name if value is True else f"{name} {value}" for name, value in rest.items()]
    return ", ".join([cells, *words]).replace("_", " ")


def table(load: Load, methods: Sequence[str], limit: float) -> list[tuple[str, ...]]:
    """One row a method."""
    rows: list[tuple[str, ...]] = [HEAD]
    base: dict[str, Any] | None = None
    for method in methods:
        first, second = PLAN[load.name][method]
        mesh: dict[str, Any] = (
            {"error": first} if isinstance(first, str) else fresh(load, method, first, limit)
        )
        again = second != first and mesh.get("error") != "not installed"
        tuned = fresh(load, method, second, limit) if again else mesh
        if method == "ours" and abs(tuned.get("risk", float("inf")) - load.risk) <= load.target:
            base = tuned
        columns = (*on_the_mesh(load, mesh), *at_equal_error(load, tuned, base))
        rows.append((method, *columns, described(load, second)))
    return rows


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns side by side."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Print one table a load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one process, set-up included")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--references", action="store_true", help="compute the fine references anew, no table"
    )
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, method, settings = json.loads(arguments.measure)
        measure(LOADS[name], method, settings)
        return
    for name in arguments.loads:
        load = LOADS[name]
        if arguments.references:
            modes = (96, 128, 160) if load.dim == 2 else (400, 600, 800)
            risks = [f"{reference(load, n):.9f} ({n})" for n in modes]
            print(f"{name}: " + ", ".join(risks), flush=True)
            continue
        mesh = f"{load.cells}{'^2' if load.dim == 2 else ''} cells"
        print(
            f"{name}: D = {load.D:g}, t = {load.t:g}, {mesh}, risk {load.risk:.7g}, target {load.target:.1e}"
        )
        print(aligned(table(load, arguments.methods, arguments.limit)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
