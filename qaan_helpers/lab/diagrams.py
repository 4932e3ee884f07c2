"""Diagrams of what the series builds: the two networks, the objectives, and the states of single qubits."""

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


_NODES = {  # of an objective: place and text
    "real": (0, 0, "real\nimages"),
    "bits": (1, 0, "bits"),
    "prior": (2, 0.42, "prior"),
    "generator": (3, 0, "generator"),
    "generated": (4, 0.42, "generated\nimages"),
    "rebuilt": (4, -0.42, "reconstruc-\ntions"),
    "game": (5, 0.42, "real or\ngenerated?"),
    "error": (5, -0.42, "squared\nerror"),
}
_FROM_PRIOR = [("bits", "prior", "fit"), ("prior", "generator", "sample"), ("generator", "generated", "")]
_REBUILD = [("real", "bits", "encoder"), ("bits", "generator", ""), ("generator", "rebuilt", "")]
_OBJECTIVES = {  # arrows with their labels
    "associative": [("real", "bits", "hidden\nlayer"), *_FROM_PRIOR, ("generated", "game", "")],
    "tied": [*_REBUILD, *_FROM_PRIOR, ("generated", "game", ""), ("rebuilt", "error", "")],
    "reconstruction": [*_REBUILD, *_FROM_PRIOR, ("rebuilt", "game", ""), ("rebuilt", "error", "")],
}


def objectives() -> Figure:
    """Draw the flow of data of the three objectives, one below the other.

    Returns:
        The figure. Solid arrows belong to the training of the networks, and dashed ones to sampling after it.
    """
    figure = Figure(figsize=(9.5, 5.4))
    axes = figure.subplots(3, 1)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.93, hspace=0.12)
    for axis, (name, arrows) in zip(axes, _OBJECTIVES.items(), strict=True):
        axis.set(xlim=(-1.55, 5.35), ylim=(-0.75, 0.75))
        axis.set_axis_off()
        axis.text(-1.5, 0, f'"{name}"', va="center", weight="bold", size=11)
        for start, end, label in arrows:
            later = name == "reconstruction" and "prior" in (start, end) or "generated" in (start, end)
            _connect(axis, _NODES[start], _NODES[end], label, later and name == "reconstruction")
        used = {node for start, end, _ in arrows for node in (start, end)}
        for node in used:
            x, y, text = _NODES[node]
            color = COLORS[0] if node in ("bits", "prior", "generator") else "0.45"
            axis.add_patch(FancyBboxPatch((x - 0.27, y - 0.2), 0.54, 0.4, "round,pad=0.03", fc=color, ec="none"))
            axis.text(x, y, text, ha="center", va="center", color="white", size=9)
    figure.suptitle("Only an encoder ties the images to the bits from which they are generated", fontsize=11)
    return figure


_LOOP = {  # place, text and color of each box
    "real": (0, 1, "real\nimages", "0.45"),
    "generated": (0, 0, "generated\nimages", "0.45"),
    "discriminator": (3, 1, "discriminator", COLORS[0]),
    "game": (4.3, 1, "real or\ngenerated?", "0.45"),
    "generator": (1, 0, "generator", COLORS[0]),
    "circuit": (2, 0, "circuit", COLORS[1]),
    "bits": (3, 0, "bits", "0.45"),
}
_LOOP_ARROWS = [  # start and end, label with its place, whether once per epoch
    ((0.33, 1), (2.67, 1), "batches", (1.5, 1.04), False),
    ((0.3, 0.2), (2.7, 0.84), "batches", (1.35, 0.55), False),
    ((3.33, 1), (3.97, 1), "logit", (3.65, 1.04), False),
    ((3, 0.77), (3, 0.23), "hidden layer,\nreal images only", (3.06, 0.44), True),
    ((2.67, 0), (2.33, 0), "fit", (2.5, 0.04), True),
    ((1.67, 0), (1.33, 0), "codes", (1.5, 0.04), False),
    ((0.67, 0), (0.33, 0), "", (0.5, 0.04), False),
]


def associative_loop() -> Figure:
    """Draw what each part of the associative loop sends to which other part, and what trains it.

    Returns:
        The figure. Solid arrows belong to every training step, and dashed ones to the fit once per epoch.
    """
    figure = Figure(figsize=(9, 3.3))
    axis = figure.add_axes((0, 0, 1, 0.92))
    axis.set(xlim=(-0.4, 4.75), ylim=(-0.62, 1.3))
    axis.set_axis_off()
    for start, end, label, (x, y), is_fit in _LOOP_ARROWS:
        arrow = {"arrowstyle": "-|>", "color": "0.35", "linestyle": "--" if is_fit else "-", "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", end, start, arrowprops=arrow)
        side = "left" if start[0] == end[0] else "center"
        axis.text(x, y, label, ha=side, va="bottom", size=9, color="0.25")
    for x, y, text, color in _LOOP.values():
        axis.add_patch(FancyBboxPatch((x - 0.28, y - 0.17), 0.56, 0.34, "round,pad=0.03", fc=color, ec="none"))
        axis.text(x, y, text, ha="center", va="center", color="white", size=9)
    key = "Blue: trained on the adversarial losses in every step.  Orange, dashed: fitted to bits once per epoch."
    axis.text(2.15, -0.5, key, ha="center", size=9, color="0.25")
    figure.suptitle(
        "The circuit receives bits, and the generator receives codes: no image is paired with a code", size=11
    )
    return figure


def _connect(
    axis: Any, start: tuple[float, float, str], end: tuple[float, float, str], label: str, later: bool
) -> None:
    (x0, y0, _), (x1, y1, _) = start, end
    arrow = {"arrowstyle": "-|>", "color": "0.35", "linestyle": "--" if later else "-", "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (x1 - 0.31, y1), (x0 + 0.31, y0), arrowprops=arrow, zorder=0)
    aside = 0.05 * (y0 != y1) * (1 if y0 > y1 else -1)  # of a slanted arrow
    side = {0: "center", 1: "left", -1: "right"}[int(np.sign(y0 - y1))]
    axis.text((x0 + x1) / 2 + aside, (y0 + y1) / 2 + 0.05, label, ha=side, va="bottom", size=8.5, color="0.25")


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
