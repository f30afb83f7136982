# %% [markdown]
# Tutorial: from an activation to its phase diagram
#
# The setting is that of [MMN18].  y = +1 or -1 with probability 1/2 each, x | y ~ N(0, tau_y^2 I_d), and a network
# yhat(x) = (1/N) sum_i sigma(<w_i, x>) is trained by one-pass SGD on the square loss.  For many units and small steps
# the law of the units follows the distributional dynamics, DD for short, and closes on r = |w|.  Here tau_+ = 1 + Delta
# and tau_- = 1 - Delta; everything is dimensionless.
#
# What follows takes one activation that is not in the paper from its values at a few knots to two phase diagrams:
# where a single delta is the best measure of all, and from which initial laws DD gets there.  It runs as a script
# (`python -m paper.tutorial`) and opens as a notebook, by way of jupytext; to try an activation of your own, change
# the next cell.

# %%
"""The tutorial: one activation, from its definition to its phase diagrams."""

import inspect
import io
import math
import sys
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from paper import style
from solvers import landscape, particles, sgd
from workbench import (
    BadInput,
    GaussianInitialLaw,
    PiecewiseLinear,
    Problem,
    build,
    derive,
    isotropic_gaussians,
    log_spaced_times,
    render,
)

knots, values = [0, 1, 2], [-2, -3, 5]  # linear between, constant outside
model = isotropic_gaussians(PiecewiseLinear(knots, values, name="notch"))


def show(picture: Figure) -> None:
    """Show a figure below its cell, where there is a notebook."""
    if "ipykernel" in sys.modules:
        svg = io.StringIO()
        picture.savefig(svg, format="svg")
        display = sys.modules["IPython.display"]
        display.display(display.SVG(svg.getvalue()))


# %% [markdown]
# ## The derivation
#
# `derive` follows the activation to q(s) = E sigma(sG), to V, to the kernel U averaged over rotations as a finite sum,
# and to the reduced equation.  Two of its steps are printed here, `derivation.text()` prints them all.  Below a step
# are its certificates: the largest deviation of the formula from a quadrature of its defining integral, at high
# precision, that was found on a grid of points, and the tolerance.  A certificate that fails raises.

# %%
derivation = derive(model)
chosen = [step for step in derivation.steps if step.title in ("Gaussian mean of the activation", "Potential")]
print(render.text(derivation.title, chosen))
worst = max(c.deviation / c.tolerance for c in derivation.certificates if c.tolerance > 0)
print(f"{len(derivation.steps)} steps, {len(derivation.certificates)} certificates,", end=" ")
print(f"of which the worst uses {worst:.1g} of its tolerance")

# %% [markdown]
# ## The generated module
#
# `build` prints the derivation as array code, certifies the code as well, and loads it.  A module has V, the features
# phi_k and weights w_k of U = sum_k w_k phi_k phi_k, and their gradients; x is an array (..., 1) with r in the last
# axis, p a mapping with the numbers.  p["tolerance"] is the error of U that is allowed, and decides how many features
# there are.
#
# The last lines compare V and U with their definitions: samples (y, x) and directions of w and w' are drawn, and
# nothing of the derivation is used.

# %%
module = build(model)
print(inspect.getsource(module.V))


def parameters(delta: float, d: float = 40) -> dict[str, Any]:
    """The numbers p of the module."""
    return {"d": d, "tau_plus": 1 + delta, "tau_minus": 1 - delta, "tolerance": 1e-5}


p, r, r2 = parameters(0.6), np.array([3.0]), np.array([1.5])
print(f"U has {len(module.weights(p))} features, error {module.kernel_form(p).error:.1g}")

rng, count = np.random.default_rng(0), 100_000
y = rng.choice([1.0, -1.0], count)
x = (1 + 0.6 * y)[:, None] * rng.standard_normal((count, 40))
outputs = []
for norm in (3.0, 1.5):
    w = rng.standard_normal((count, 40))
    z = norm * np.sum(w * x, axis=1) / np.linalg.norm(w, axis=1)
    outputs.append(np.interp(z, knots, values))
comparison = {}
for name, exact, sampled in (
    ("V(3)", module.V(r, p), -y * outputs[0]),
    ("U(3, 1.5)", module.U(r, r2, p), np.prod(outputs, axis=0)),
):
    mean, error = np.mean(sampled), np.std(sampled) / math.sqrt(count)
    comparison[name] = (float(exact), mean, error)
    print(f"{name} = {exact:.4f}; Monte Carlo {mean:.4f} +- {error:.4f} (standard error)", end=", ")
    print(f"off by {(mean - exact) / error:+.1f} of them")

# %% [markdown]
# ## One problem, two solvers
#
# A `Problem` is a module with numbers: parameters, times, and the initial law w ~ N(0, kappa^2/d I_d).  The same one
# goes to every solver.  `particles` follows DD along its characteristics, from quantiles of the initial law; `sgd`
# trains the network itself, at steps of size epsilon, t = k epsilon after k of them.
#
# Two risks of the network are recorded: that of the measure of its norms, which is what DD predicts, and that of the
# network with the angles that its units have.  The second is larger by O(1/N), as the angles of finitely many units
# do not average out.

# %%
N, epsilon, snapshots = 400, 1e-4, (0.1, 0.5, 3.0)
problem = Problem(
    module,
    parameters(0.6),
    snapshots,
    records=log_spaced_times(1e-2, 3.0),
    initial=GaussianInitialLaw(kappa=0.8),
)
dynamics = particles.solve(problem)
trained = sgd.solve(problem, sgd.SGDConfig(epsilon, N, seed=1, backend="numpy"))

print("t      R of DD    SGD, norms    SGD, network")
for t in snapshots:
    risks = [dynamics.risk_at([t]), trained.risk_at([t]), trained.risk_at([t], "network_risk")]
    print("{:<6g} {:<10.4f} {:<13.4f} {:.4f}".format(t, *(float(risk[0]) for risk in risks)))
expected = N**-0.5 + (problem.d * epsilon) ** 0.5
print(f"to be expected: deviations of the order of N^(-1/2) + (d epsilon)^(1/2) = {expected:.0%}")

# %%
with rc_context(style.RC):
    figure = Figure(figsize=(9, 3.4))
    left, right = figure.subplots(1, 2)
    times = dynamics.data["record_time"]
    left.plot(times, dynamics.data["risk"], label="DD, particles", **style.PARTICLES)
    left.plot(times, trained.data["risk"], label="SGD, norms alone", **style.ORBIT)
    left.plot(times, trained.data["network_risk"], label="SGD, network", **style.NETWORK)
    left.set(xscale="log", xlabel="time $t$", ylabel="risk $R$")
    left.legend()
    levels, apart = np.linspace(0.005, 0.995, 100), []
    for i, t in enumerate(snapshots):
        limit, units = dynamics.measure(i).quantiles(levels), trained.measure(i).quantiles(levels)
        right.plot(limit, levels, label=None if i else "DD", **style.PARTICLES)
        right.plot(units, levels, label=None if i else "SGD", color="#111111", lw=1)
        right.text(limit.mean(), 1.03, f"t = {t:g}", ha="center")
        apart.append(float(np.mean(np.abs(units - limit))))
    right.set(xlabel="norm $r$", ylabel="share of units below $r$", xlim=(0, 4), ylim=(0, 1.12))
    right.legend(loc="center left")
first, last = (float(dynamics.data["risk"][i]) for i in (0, -1))
off = np.max(np.abs(np.subtract(trained.risk_at(snapshots), dynamics.risk_at(snapshots))))
alt = (
    f"The risk of DD goes from {first:.2g} to {last:.2g}; that of the norms of SGD is within {off:.1g} of it at the "
    f"snapshots, where the norms are at most {max(apart):.1g} apart on average."
)
show(figure)

# %% [markdown]
# ## The landscape
#
# The risk R(rho) is convex in rho, and any rho comes with a bound: R(rho) - inf R <= 2 (int Psi drho - min Psi).
# `convex_infimum` minimises over all measures, `single_delta` over deltas only; each returns that gap.  An atom at
# r = inf is the limit point of mass that escapes.

# %%
optima = {}
for delta in (0.6, 0.8):
    best = landscape.single_delta(module, parameters(delta))
    free = landscape.convex_infimum(module, parameters(delta))
    optima[delta] = (best, free)
    atoms = ", ".join(
        f"{w:.0%} at r = {r:.3f}" for w, (r,) in zip(free.rho.weights, free.rho.points, strict=True)
    )
    print(f"Delta = {delta}")
    print(f"  best single delta  R = {best.risk:.4f}, at most {best.gap:.0e} above inf R: r = {best.r:.3f}")
    print(f"  best measure       R = {free.risk:.4f}, at most {free.gap:.0e} above inf R: {atoms}")

# %% [markdown]
# ## Two phase diagrams
#
# First, where is a single delta the best measure?  Its gap is rounding where it is.  The longest stretch of Delta on
# which that holds is looked for on a grid, and `delta_threshold` follows the best delta from both ends of it to where
# it stops to be optimal.  A stretch may begin at Delta = 0 or reach to Delta = 1, without a threshold there.
#
# Second, where does DD end?  Near r = 0 the notch lowers the output of a unit that grows, and more so for the wide
# class, which should get +1: V grows with r.  Units that come to r = 0 stay as long as Psi grows with r; they are
# called dead here.  At d = inf the initial law is a delta at r = kappa and stays one, so DD is the gradient flow of
# R(delta_r), and a local maximum of that function separates the two fates.  At d = 40 the initial norms have a spread,
# and DD is run over a grid.  With another activation r = 0 need not hold units, and they leave it again.


# %%
grid = [i / 20 for i in range(1, 20)]


def stretch(gaps: list[float]) -> list[float]:
    """The longest run of neighbours in the grid at which a single delta is optimal."""
    runs: list[list[float]] = [[]]
    for delta, gap in zip(grid, gaps, strict=True):
        runs = [*runs[:-1], [*runs[-1], delta]] if gap < 1e-8 else [*runs, []]
    return max(runs, key=len)


def edge(d: float, low: float, high: float) -> float:
    """The threshold in Delta between low and high; nan where there is none."""
    try:
        return landscape.delta_threshold(
            module, lambda delta: parameters(delta, d), low=low, high=high, steps=2
        ).delta
    except BadInput:
        return math.nan


edges, spans = {}, {}
for d in (8, 9, 12, 20, 40, math.inf):
    gaps = [landscape.single_delta(module, parameters(delta, d)).gap for delta in grid]
    run, edges[d] = stretch(gaps), (math.nan, math.nan)
    if run:
        edges[d] = edge(d, max(run[0] - 0.05, 0.003), run[0]), edge(d, run[-1], min(run[-1] + 0.05, 0.99))
        spans[d] = tuple(end if math.isnan(x) else x for x, end in zip(edges[d], (0.0, 1.0), strict=True))
    print(f"d = {d:<3}  thresholds {edges[d][0]:.4f}, {edges[d][1]:.4f}  smallest gap: {min(gaps):.0e}")

# %%
deltas, kappas, radii = np.linspace(0.1, 0.9, 6), np.geomspace(0.15, 0.8, 7), np.geomspace(1e-3, 2.0, 2000)
fates, ridge = np.empty((len(deltas), len(kappas))), []
print(f"kappa = {'  '.join(f'{kappa:.2f}' for kappa in kappas)}: share of dead units at d = 40")
for i, delta in enumerate(deltas):
    at_infinity, points = parameters(delta, math.inf), radii[:, None]
    risks = 1 + 2 * module.V(points, at_infinity) + module.U(points, points, at_infinity)
    top = int(np.argmax(risks))
    ridge.append(float(radii[top]) if 0 < top < len(radii) - 1 else math.nan)
    for j, kappa in enumerate(kappas):
        law = GaussianInitialLaw(kappa=float(kappa))
        start = Problem(module, parameters(delta) | {"tolerance": 1e-4}, (3.0,), initial=law)
        end = particles.solve(start, particles.ParticlesConfig(25, rtol=1e-4, atol=1e-6)).measure(0)
        fates[i, j] = end.weights @ (end.points[:, 0] < 0.05)
    shares = "  ".join(f"{share:4.2f}" for share in fates[i])
    print(f"        {shares}  Delta = {delta:.2f}; at d = inf dead up to kappa = {ridge[-1]:.3f}")

# %%
with rc_context(style.RC):
    figure = Figure(figsize=(9, 3.8))
    left, right = figure.subplots(1, 2)
    wedge = np.reshape([(1 / d, *span) for d, span in spans.items()], (-1, 3))  # empty where there is none
    heights, lower, upper = wedge.T
    left.fill_betweenx(heights, lower, upper, label="single delta optimal", **style.HISTOGRAM)
    left.plot(lower, heights, "o-", upper, heights, "o-", color="#111111", markersize=4)
    left.set(xlim=(0, 1), ylim=(-0.004, 1 / 7.5), xlabel=r"$\Delta$", ylabel="dimension $d$")
    left.set_yticks([1 / d for d in edges], [str(d).replace("inf", r"$\infty$") for d in edges])
    left.legend(loc="upper right")
    places = np.meshgrid(deltas, kappas, indexing="ij")
    look = {"cmap": "Greys", "edgecolors": "#111111", "s": 60, "zorder": 3}
    dots = right.scatter(*places, c=fates, vmin=0, vmax=1, label="DD, $d = 40$", **look)
    right.plot(deltas, ridge, color="#111111", label=r"maximum of $R(\delta_r)$, $d = \infty$")
    if not math.isnan(edges[40][1]):
        right.axvline(edges[40][1], label="upper threshold, $d = 40$", **style.REFERENCE)
    right.set(yscale="log", ylim=(0.13, 1.8), xlabel=r"$\Delta$", ylabel=r"initial scale $\kappa$")
    ticks = [0.2, 0.4, 0.8]
    right.set_yticks(ticks, list(map(str, ticks)))
    right.minorticks_off()
    right.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")
    figure.colorbar(dots, ax=right, label="share of dead units")
ends = f"moves from r = {ridge[0]:.2g} at Delta = {deltas[0]:.1f} to r = {ridge[-1]:.2g} at Delta = {deltas[-1]:.1f}"
told = [f"{lower:.2f} to {upper:.2f} at d = {d}" for d, (lower, upper) in spans.items()]
alt = (
    f"Left, the Delta at which a single delta is optimal: {', '.join(told) or 'none'}. Right, all units end dead from "
    f"{np.sum(fates > 0.99)} of {fates.size} initial laws, none from {np.sum(fates == 0)}; the maximum of R(delta_r) "
    f"{'is missing at some Delta' if np.isnan(ridge).any() else ends}."
).replace("inf", "∞")
show(figure)

# %% [markdown]
# ## Where to go next
#
# Any formula is an activation, `Activation.from_expr(tanh(t)**2, t)` with a symbol t of SymPy, as long as SGD has a
# limit for it.  `unit="affine"` trains output weights and offsets as well, and `anisotropic_gaussians` has two norms.
# `solvers.fokker_planck` solves for the density, with noise too, and `solvers.stationary` for its Gibbs law.
#
# `workbench.generate` writes a module to keep as text.  With a script like those in `derivations/` it becomes a model
# of the command line, where `workbench sweep` runs grids like the one above, and `workbench reproduce all` makes the
# figures of the paper.
