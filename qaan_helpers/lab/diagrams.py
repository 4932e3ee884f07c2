"""Diagrams of what the series builds: the two networks, and the states of single qubits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import ArrayLike
from torch import nn

from ..gan.networks import Discriminator, Generator
from .plots import COLORS


def mirrored_networks(discriminator: Discriminator, generator: Generator) -> Figure:
    """Draw both networks next to each other: boxes are shapes, and arrows are the layers between them.

    Args:
        discriminator: The discriminator; its layers are drawn downwards.
        generator: A generator of the same width; its layers are drawn upwards.

    Returns:
        The figure.
    """
    n = discriminator.latent_dim
    down = _stages([*discriminator.convolutions, *discriminator.hidden, discriminator.output], (1, 28, 28))
    up = _stages(list(generator.layers), (n,))
    figure = Figure(figsize=(9, 6.4))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-1.6, 7.6), ylim=(-len(down) + 0.4, 1.3))
    axis.set_axis_off()
    _draw_stages(axis, 1, list(range(0, -len(down), -1)), down, COLORS[0])
    _draw_stages(axis, 5, list(range(-len(up) + 1, 1)), up, COLORS[1])
    for x, name, first in ((1, "discriminator", "image"), (5, "generator", "image")):
        axis.text(x, 0.72, name, ha="center", weight="bold", size=12)
        axis.text(x - 0.95, 0, first, ha="right", va="center", size=9, color="0.35")
    axis.text(0.05, -len(up) + 1, "hidden layer", ha="right", va="center", size=9, color="0.35")
    axis.text(4.05, -len(up) + 1, "latents", ha="right", va="center", size=9, color="0.35")
    axis.text(0.05, -len(down) + 1, "logit", ha="right", va="center", size=9, color="0.35")
    figure.suptitle("The generator has the discriminator's shapes in reverse order", fontsize=11)
    return figure


def _stages(layers: Sequence[nn.Module], shape: tuple[int, ...]) -> list[tuple[str, str]]:
    """Return each shape, without the batch, with a description of the layers that lead to it."""
    values = torch.zeros(2, *shape)
    stages = [("", shape)]
    with torch.no_grad():
        for layer in layers:
            values = layer.eval()(values)
            text, before = stages[-1]
            if tuple(values.shape[1:]) == before:
                stages[-1] = (f"{text}\n{_description(layer)}", before)
            else:
                stages.append((_description(layer), tuple(values.shape[1:])))
    return [(text, " × ".join(map(str, shape))) for text, shape in stages]


def _description(layer: nn.Module) -> str:
    name = type(layer).__name__.removesuffix("2d")
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return f"{name} {layer.kernel_size[0]} × {layer.kernel_size[0]}, stride {layer.stride[0]}"
    if isinstance(layer, nn.LeakyReLU):
        return f"{name}, slope {layer.negative_slope}"
    return name


def _draw_stages(axis: Any, x: float, heights: list[int], stages: list[tuple[str, str]], color: str) -> None:
    for i, (y, (text, shape)) in enumerate(zip(heights, stages, strict=True)):
        axis.add_patch(FancyBboxPatch((x - 0.75, y - 0.14), 1.5, 0.28, "round,pad=0.03", fc=color, ec="none"))
        axis.text(x, y, shape, ha="center", va="center", color="white", weight="bold")
        if i:
            step = 1 if y > heights[i - 1] else -1
            arrow = {"arrowstyle": "-|>", "color": "0.35", "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", (x, y - 0.19 * step), (x, heights[i - 1] + 0.19 * step), arrowprops=arrow)
            axis.text(x + 0.15, (y + heights[i - 1]) / 2, text, ha="left", va="center", size=8.5, linespacing=1.25)


def bloch_spheres(
    states: Mapping[str, ArrayLike], title: str, paths: Mapping[str, Sequence[ArrayLike]] | None = None
) -> Figure:
    """Show pure states of one qubit as arrows on Bloch spheres.

    Args:
        states: Maps a name to two amplitudes (2,), normalized.
        title: The figure's title.
        paths: Maps a name to the states on the way to its state, drawn as a line on the sphere. Names may be missing.

    Returns:
        The figure, with one sphere per state.
    """
    from qiskit.visualization.bloch import Bloch

    figure = Figure(figsize=(2.3 * len(states), 2.9))
    for i, (name, amplitudes) in enumerate(states.items()):
        axis = figure.add_subplot(1, len(states), i + 1, projection="3d")
        sphere = Bloch(axes=axis, font_size=12)
        sphere.add_vectors(_bloch_vector(amplitudes).tolist())
        sphere.vector_color, sphere.sphere_alpha = [COLORS[0]], 0.05
        sphere.render()
        if paths and name in paths:
            x, y, z = np.array([_bloch_vector(state) for state in paths[name]]).T
            axis.plot(y, -x, z, color=COLORS[1], linewidth=2)  # Bloch draws x toward the reader, at negative y
        axis.set_title(name, fontsize=11, y=-0.2)
    figure.suptitle(title, fontsize=11)
    return figure


def _bloch_vector(amplitudes: ArrayLike) -> np.ndarray:
    """Return the point (3,) of a state on the Bloch sphere."""
    a, b = np.asarray(amplitudes, dtype=complex)
    coherence = np.conj(a) * b
    return np.array([2 * coherence.real, 2 * coherence.imag, abs(a) ** 2 - abs(b) ** 2])
