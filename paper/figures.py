"""The index of figures."""

from __future__ import annotations

from collections.abc import Mapping

from paper import (
    animation_draw,
    animation_simulate,
    distribution_draw,
    distribution_simulate,
    failure_draw,
    failure_simulate,
    landscape_draw,
    landscape_simulate,
    noisy_draw,
    noisy_simulate,
    presets,
    relu_draw,
    relu_simulate,
    scaling_draw,
    scaling_simulate,
)
from paper.pipeline import Figure
from paper.presets import CONVENTIONS, SCALES

__all__ = ["CONVENTIONS", "FIGURES", "SCALES", "Figure"]

FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            "distribution",
            "radial histogram of SGD against the density of distributional dynamics, and the risk",
            presets.DISTRIBUTION,
            distribution_simulate,
            distribution_draw,
        ),
        Figure(
            "landscape",
            "the optimal risk against Delta: over all measures, over single deltas, and what SGD reaches",
            presets.LANDSCAPE,
            landscape_simulate,
            landscape_draw,
        ),
        Figure(
            "relu",
            "risk and means of output weights, offsets and norms of ReLU units, at three Delta",
            presets.RELU,
            relu_simulate,
            relu_draw,
        ),
        Figure(
            "failure",
            "risk and mean norm from two initial laws, of which one fails",
            presets.FAILURE,
            failure_simulate,
            failure_draw,
        ),
        Figure(
            "animation",
            "the norms of the weights over time, SGD against distributional dynamics",
            presets.ANIMATION,
            animation_simulate,
            animation_draw,
        ),
        Figure(
            "noisy",
            "noisy SGD against the Fokker-Planck equation, and the approach to the Gibbs law",
            presets.NOISY,
            noisy_simulate,
            noisy_draw,
        ),
        Figure(
            "scaling",
            "deviation of SGD from distributional dynamics against N, epsilon and d, with fitted slopes",
            presets.SCALING,
            scaling_simulate,
            scaling_draw,
        ),
    )
}
