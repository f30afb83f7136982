"""Certificates of the generated float64 code: what runs, against the defining integrals."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import mpmath as mp
import numpy as np

from workbench.certificates import Certificate, Oracle, certify, normalised_hermite
from workbench.errors import CertificateFailure
from workbench.evaluators import Evaluator
from workbench.feature_steps import feature_integrals
from workbench.potential_steps import TAUS, class_average, offsets, orbit_grid
from workbench.steps import in_turn

if TYPE_CHECKING:
    from workbench.derivation import Derivation
    from workbench.models import Model

TOLERANCE = 1e-10  # relative to max(1, |value|)
ORDERS = (0, 1, 2, 8, 28)
SOME_FEATURES = 1e-4  # a tolerance of U at which a handful of features is left


def certify_module(
    module: ModuleType, derivation: Derivation, progress: Callable[[float], None] | None = None
) -> tuple[Certificate, ...]:
    """Compare V, the features, their gradients, the pair kernel and U of ``module`` with their integrals.

    ``progress`` is told the fraction done.

    Raises
    ------
    CertificateFailure
        where the float64 code is off by more than 1e-10 of max(1, |value|); for U, by more than the error
        that its finite rank states, relative to the sizes of the units.
    """
    model = derivation.model

    def one(check: Callable[[ModuleType, Model], Certificate]) -> Callable[[], tuple[Certificate]]:
        return lambda: (check(module, model),)

    checks = (_potential, _gradient, _mean, _coefficients, _sphere_means, _features, _pair)
    return in_turn([*map(one, checks), partial(_kernels, module, model)], progress)


def untrusted(module: ModuleType, derivation: Derivation) -> tuple[str, ...]:
    """The parts ("q", "alpha", "pair") of a module in closed forms that float64 does not hold to 1e-10."""
    failed = []
    for part, check in (("q", _mean), ("alpha", _coefficients), ("pair", _pair)):
        try:
            check(module, derivation.model)
        except CertificateFailure:
            failed.append(part)
    return tuple(failed)


def example_parameters(model: Model, d: int = 40, s0: int = 20, **others: Any) -> dict[str, Any]:
    """Parameters of the certificates, exact in binary."""
    values = {"d": d, "s0": s0, "mu": 1.5, "tau_plus": float(TAUS[+1]), "tau_minus": float(TAUS[-1])}
    return {**{name: values[name] for name in model.parameters}, **others}


def _array(*x: Any) -> Any:
    return np.array([float(v) for v in x])


def _certify(
    claim: str, oracle: str, code: Callable[..., Any], exact: Callable[..., Any], grid: Any
) -> Certificate:
    return certify(f"float64: {claim}", oracle, code, exact, grid, TOLERANCE)


def _potential(module: ModuleType, model: Model) -> Certificate:
    p, oracle = example_parameters(model), Oracle(model.activation)
    return _certify(
        f"V({', '.join(model.coordinates)})",
        "-E y sigma_*, quadrature",
        lambda *x: float(module.V(_array(*x), p)),
        lambda *x: class_average(model, oracle, x)[0],
        orbit_grid(model),
    )


def _gradient(module: ModuleType, model: Model) -> Certificate:
    p, oracle = example_parameters(model), Oracle(model.activation)
    return _certify(
        "its gradient",
        "-E y grad sigma_*, quadrature",
        lambda *x: list(map(float, module.grad_V(_array(*x), p))),
        lambda *x: class_average(model, oracle, x)[1:],
        orbit_grid(model),
    )


def _points(model: Model) -> list[tuple[Any, Any]]:
    return [
        (scale, offset)
        for scale in Oracle(model.activation).scales()
        for offset in offsets(model, on_sphere=True)
    ]


def _mean(module: ModuleType, model: Model) -> Certificate:
    oracle = Oracle(model.activation)
    return _certify(
        "q(s, b)",
        "E sigma(b + s G), quadrature",
        lambda scale, offset: float(module.q(_array(scale), float(offset))[0]),
        lambda scale, offset: oracle.gaussian(scale, offset, False, lambda z: mp.mpf(1)),
        _points(model),
    )


def _coefficients(module: ModuleType, model: Model) -> Certificate:
    oracle = Oracle(model.activation)

    def table(scale: Any, offset: Any) -> list[float]:
        return [float(v) for v in module.alpha(max(ORDERS), _array(scale), float(offset))[0, list(ORDERS)]]

    return _certify(
        "alpha_k(s, b), k = 0, 1, 2, 8, 28",
        "E sigma'(b + s G) h_k(G), quadrature",
        table,
        lambda scale, offset: [oracle.gaussian(scale, offset, True, normalised_hermite(k)) for k in ORDERS],
        _points(model),
    )


def _sphere_means(module: ModuleType, model: Model) -> Certificate:
    oracle = Oracle(model.activation)
    dimensions = (2, 3, 8, 40) if len(model.blocks) == 1 and not model.shifted else (1, 2, 7, 40)
    grid = [
        (mp.mpf(n), c, offset)
        for n in dimensions
        for c in oracle.scales()[::3]
        for offset in offsets(model, on_sphere=True)[:2]
        if oracle.has_slope_on_sphere(n, c, offset)
    ]

    def largest(c: Any, offset: Any) -> Any:
        """A steep sigma on the sphere, which parity may cancel to 0 but for rounding; 1 for lines and less."""
        ends = [
            abs(f(offset + side * c))
            for f in (model.activation.mp_value, model.activation.mp_slope)
            for side in (-1, 1)
        ]
        return max(mp.mpf(1), *ends) if oracle.power > 1 else mp.mpf(1)

    return _certify(
        "g_n(c, b), dg/dc, dg/db",
        "E sigma(b + cS), E S sigma', E sigma', quadrature",
        lambda n, c, offset: [
            float(v[0]) / largest(c, offset) for v in module.g(int(n), _array(c), _array(offset))
        ],
        lambda n, c, offset: [
            oracle.sphere(int(n), c, offset) / largest(c, offset),
            oracle.sphere(int(n), c, offset, slope=True, times_S=True) / largest(c, offset),
            oracle.sphere(int(n), c, offset, slope=True) / largest(c, offset),
        ],
        grid,
    )


def _features(module: ModuleType, model: Model) -> Certificate:
    """Features of the Hermite route and their gradients, of the class y = +1."""
    oracle = Oracle(model.activation)
    p = example_parameters(model, tolerance=SOME_FEATURES)
    form, blocks = module.kernel_form(p), module.data_law(p)[0][2]
    assert form.route == "hermite"
    rows = sorted({0, len(form.index) // 2, len(form.index) - 1})
    node = len(form.nodes) // 3
    count, flat = len(model.blocks), len(model.coordinates) - len(model.blocks)

    def code(*x: Any) -> list[float]:
        picked = [node * len(form.index) + row for row in rows]
        values = module.features(_array(*x), p)[picked]
        gradients = module.grad_features(_array(*x), p)[picked]
        return [float(v) for v in np.column_stack([values, gradients]).ravel()]

    def integrals(*x: Any) -> list[Any]:
        output, offset = (x[0], x[1]) if model.affine else (mp.mpf(1), mp.mpf(0))
        along = mp.mpf(0)
        if model.shifted:
            _, std, mean = blocks[0]
            along = mp.mpf(mean) + mp.mpf(std) * mp.mpf(float(form.nodes[node]))
            offset += x[flat - 1] * along
        result = []
        for row in rows:
            j = [int(v) for v in form.index[row]]
            stds = [mp.mpf(std) for _, std, _ in blocks[-count:]]
            value, by_offset, by_radius = feature_integrals(oracle, j, offset, stds, x[flat:])
            columns = [output * by_offset * along] * model.shifted + [output * v for v in by_radius]
            if model.affine:
                columns = [value, output * by_offset, *columns]
            result += [output * value, *columns]
        return result

    return _certify(
        "phi and grad phi",
        "E sigma h_k, E sigma' h_k, E sigma' G h_k, quadrature",
        code,
        integrals,
        orbit_grid(model),
    )


def _pair(module: ModuleType, model: Model) -> Certificate:
    """The pair kernel relative to max(1, |sigma|_s |sigma|_s')."""
    values, shifts = Evaluator(model), [float(v) for v in offsets(model)]
    oracle = Oracle(model.activation)
    points = [
        (0.5, 1.75, -0.5, shifts[0], shifts[-1]),
        (2.5, 1.25, 1 - 2.0**-20, shifts[-1], shifts[0]),
        (8.0, 8.0, 0.9921875, shifts[0], shifts[0]),
    ]
    exact = values.pair if values.closed.pair is not None else oracle.pair
    points = points if values.closed.pair is not None else points[:1]

    def size(scale: Any, offset: Any) -> float:
        return (
            float(
                module.pair_kernel(_array(scale), _array(scale), _array(1.0), _array(offset), _array(offset))[
                    0
                ]
            )
            ** 0.5
        )

    def relative(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda s, s2, rho, b, b2: f(s, s2, rho, b, b2) / max(1.0, size(s, b) * size(s2, b2))

    code = lambda *x: float(module.pair_kernel(*(_array(v) for v in x))[0])  # noqa: E731
    name = (
        "the certified formula"
        if values.closed.pair is not None
        else "E sigma(X) sigma(X'), nested quadrature"
    )
    return _certify(
        "pair kernel", name, relative(code), relative(exact), [tuple(map(mp.mpf, x)) for x in points]
    )


def _kernels(module: ModuleType, model: Model) -> tuple[Certificate, ...]:
    """U of the features against the pair kernel averaged over the angles, or the one route against the other.

    With two blocks and no closed pair kernel both are dear; the features are certified, and the moments.
    """
    found = []
    blocks, flat = len(model.blocks), len(model.coordinates) - len(model.blocks)
    cheap = Evaluator(model).closed.pair is not None
    if blocks > 1 and not cheap:
        return ()
    lead = ([1.5, 0.75] if model.affine else []) + ([0.5] if model.shifted else [])
    lead2 = ([-0.5, -1.0] if model.affine else []) + ([-0.25] if model.shifted else [])
    x, x2 = [*lead, 0.75, 1.5][: flat + blocks], [*lead2, 1.25, 0.5][: flat + blocks]
    grid = [tuple(map(mp.mpf, (*x, *x2)))]
    for d, s0 in ((3, 2), (40, 20)) if cheap else ((40, 0),):
        p = example_parameters(model, d=d, s0=s0)
        form = module.kernel_form(p)

        def exact(*both: Any, p: Any = p, form: Any = form) -> float:
            first, second = _array(*both[: flat + blocks]), _array(*both[flat + blocks :])
            if cheap:
                return float(module.U_exact(first, second, p))
            chi = module.chi_form(form.dimensions, 48)._replace(
                nodes=form.nodes, node_weights=form.node_weights
            )
            values = [
                module.class_features(y, law, chi)
                for _, _, law in module.data_law(p)
                for y in (first, second)
            ]
            weights = 0.5 * np.outer(chi.node_weights, chi.weights).ravel()
            return float(sum((f * f2) @ weights for f, f2 in zip(values[::2], values[1::2], strict=True)))

        def code(*both: Any, p: Any = p) -> float:
            return float(module.U(_array(*both[: flat + blocks]), _array(*both[flat + blocks :]), p))

        # the stated error is relative to the sizes of the units
        second = [float(module.U_pair(_array(*y), _array(*y), np.ones(blocks), p)) for y in (x, x2)]
        scale = max(1.0, math.sqrt(second[0] * second[1]))
        found.append(
            certify(
                f"float64: U to its stated error, d = {d}" + (f", s0 = {s0}" if blocks > 1 else ""),
                "pair kernel averaged over the angles" if cheap else "the chi route",
                lambda *both, code=code, scale=scale: code(*both) / scale,
                lambda *both, exact=exact, scale=scale: exact(*both) / scale,
                grid,
                max(TOLERANCE, form.error),
            )
        )
    return tuple(found)
