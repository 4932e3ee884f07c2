"""Diagrams: shapes and layers of the networks, and positions on the Bloch sphere."""

import numpy as np
import pytest

import qaan_helpers as qh
from qaan_helpers.lab import diagrams, plots


def texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts if text.get_text()]


@pytest.mark.parametrize("n", [3, 8])
def test_both_networks_are_drawn_with_the_same_shapes_and_their_layers(n):
    figure = diagrams.mirrored_networks(qh.Discriminator(n), qh.Generator(n))
    shown = texts(figure)
    for shape in ("1 × 28 × 28", "24 × 14 × 14", "48 × 7 × 7", "2352", str(n)):
        assert shown.count(shape) == 2, shape
    assert shown.count("1") == 1  # the logit
    assert "Conv 5 × 5, stride 2\nBatchNorm\nLeakyReLU, slope 0.2" in shown
    assert "ConvTranspose 5 × 5, stride 2\nSigmoid" in shown
    assert len(plots.picture(figure, "Two networks.").data) < 120_000


def test_matching_shapes_are_at_the_same_height():
    axis = diagrams.mirrored_networks(qh.Discriminator(8), qh.Generator(8)).axes[0]
    for shape in ("1 × 28 × 28", "24 × 14 × 14", "48 × 7 × 7", "2352", "8"):
        heights = {text.get_position()[1] for text in axis.texts if text.get_text() == shape}
        assert len(heights) == 1, shape


STATES = {
    "|0⟩": ([1, 0], (0, 0, 1)),
    "|1⟩": ([0, 1], (0, 0, -1)),
    "|+⟩": (np.array([1, 1]) / np.sqrt(2), (1, 0, 0)),
    "|i⟩": (np.array([1, 1j]) / np.sqrt(2), (0, 1, 0)),
    "with a global phase": (np.exp(0.7j) * np.array([1, 1j]) / np.sqrt(2), (0, 1, 0)),
}


def test_states_are_at_their_place_on_the_bloch_sphere(monkeypatch):
    from qiskit.visualization.bloch import Bloch

    vectors = []
    add = Bloch.add_vectors
    monkeypatch.setattr(Bloch, "add_vectors", lambda self, vector: (vectors.append(vector), add(self, vector)))
    figure = diagrams.bloch_spheres({name: state for name, (state, _) in STATES.items()}, "Five states")
    assert np.allclose(vectors, [vector for _, vector in STATES.values()])
    assert [axis.get_title() for axis in figure.axes] == list(STATES)
    turned = [np.array([np.cos(angle / 2), np.sin(angle / 2)]) for angle in np.linspace(0, np.pi / 2, 5)]
    with_path = diagrams.bloch_spheres({"|+⟩": turned[-1], "|0⟩": [1, 0]}, "A path", {"|+⟩": turned})
    (path,) = [line for line in with_path.axes[0].lines if line.get_color() == plots.COLORS[1]]
    assert np.allclose(np.transpose(path.get_data_3d())[[0, -1]], [(0, 0, 1), (0, -1, 0)])  # to the x axis
    assert not any(line.get_color() == plots.COLORS[1] for line in with_path.axes[1].lines)
    four = diagrams.bloch_spheres({name: state for name, (state, _) in list(STATES.items())[:4]}, "Four states")
    assert len(plots.picture(four, "Four states.").data) < 120_000


def test_the_objectives_are_drawn_with_what_each_compares():
    figure = diagrams.objectives()
    named = dict(zip(("associative", "tied", "reconstruction"), figure.axes, strict=True))
    shown = {name: {text.get_text() for text in axis.texts} for name, axis in named.items()}
    assert all(f'"{name}"' in texts for name, texts in shown.items())
    assert "hidden\nlayer" in shown["associative"] and "squared\nerror" not in shown["associative"]
    dashed = {
        name: [text.arrow_patch.get_linestyle() for text in axis.texts if getattr(text, "arrow_patch", None)].count(
            "--"
        )
        for name, axis in named.items()
    }
    assert dashed == {"associative": 0, "tied": 0, "reconstruction": 3}


def test_the_loop_is_drawn_with_what_each_part_receives():
    (axis,) = diagrams.associative_loop().axes
    arrows = [text.arrow_patch.get_linestyle() for text in axis.texts if getattr(text, "arrow_patch", None)]
    assert (arrows.count("-"), arrows.count("--")) == (5, 2)  # each step, and once per epoch
    boxes = {
        "discriminator",
        "generator",
        "circuit",
        "bits",
        "real\nimages",
        "generated\nimages",
        "real or\ngenerated?",
    }
    assert boxes <= {text.get_text() for text in axis.texts}
