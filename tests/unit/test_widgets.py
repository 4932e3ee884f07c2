"""The playground: each control is moved in Python, and state, figure and text are checked."""

import base64
import io
from functools import partial
from pathlib import Path

import ipywidgets as ipw
import numpy as np
import pytest
import torch
from PIL import Image

import qaan_helpers as qh
from qaan_helpers.evaluation.metrics import classify
from qaan_helpers.gan import storage
from qaan_helpers.gan.storage import bundled_names
from qaan_helpers.lab import plots, widgets
from qaan_helpers.lab.export import model_bytes

pytestmark = pytest.mark.integration

PANELS = ("model", "bits", "circuit", "morph")


@pytest.fixture(scope="module")
def made():
    return widgets.Playground()


@pytest.fixture
def play(made):
    """The playground in its initial state."""
    made.circuit.seed = 0
    if made.choice.value == made.choice.options[0]:
        made._follow()
    else:
        made.choice.value = made.choice.options[0]
    return made


@pytest.fixture(scope="module")
def uniform():
    """The name of a bundled model without a circuit."""
    return next(n for n in bundled_names() if type(qh.QAAN.load(qh.bundled(n)).prior).__name__ == "UniformPrior")


def pictures(play, *names):
    return [getattr(play, name).picture.value for name in names or PANELS]


def every(widget):
    """A widget and all widgets in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from every(child)


def controls(play):
    kinds = (ipw.ToggleButton, ipw.Button, ipw.FloatSlider, ipw.Dropdown, ipw.Text)
    return [w for name in PANELS for w in every(getattr(play, name)) if isinstance(w, kinds)]


# The models


def test_all_bundled_models_are_there_and_one_with_a_circuit_is_first(play):
    assert sorted(play.choice.options) == bundled_names()
    assert len(play.trained_angles) and play.qcbm is not None


def test_a_model_with_a_circuit_precedes_those_without(tmp_path, monkeypatch):
    for name, prior in {"a": qh.UniformPrior(2), "b": qh.QCBMPrior(2, layers=1), "c": qh.UniformPrior(2)}.items():
        qh.QAAN(prior, "cpu").save(tmp_path / name)
    monkeypatch.setattr(storage, "BUNDLED", tmp_path)
    assert list(widgets.Playground().choice.options) == ["b", "a", "c"]


def test_every_picture_is_a_small_png_and_every_text_a_sentence(play):
    for name in PANELS:
        panel = getattr(play, name)
        with Image.open(io.BytesIO(panel.picture.value)) as image:
            assert image.format == "PNG" and panel.picture.layout.width == f"{image.width}px"
            assert image.width <= 900
        assert len(panel.picture.value) <= 120_000
        _, text = panel.figure()
        assert text.endswith(".") and panel.caption.value == f"<p>{text}</p>"


def test_another_model_changes_all_panels(play):
    before = pictures(play)
    play.choice.value = other = play.choice.options[1]
    assert not set(before) & set(pictures(play))
    assert play.gan.generator.layers[0].weight.equal(qh.QAAN.load(qh.bundled(other), "cpu").generator.layers[0].weight)
    for name in PANELS:
        assert other in getattr(play, name).figure()[0].get_suptitle()
    play.choice.value = play.choice.options[0]
    assert pictures(play, "model", "bits", "morph", "circuit") == [before[i] for i in (0, 1, 3, 2)]


def test_the_model_panel_shows_the_image_of_every_code(play):
    figure, text = play.model.figure()
    n = play.gan.prior.latent_dim
    assert n == 8 and f"{2**n} codes" in text
    sheet = figure.axes[0].images[0].get_array()
    image = play.images(qh.from_index([37], n))[0, 0].numpy()  # row 2, column 5
    assert np.abs(sheet[61:89, 151:179] - image).max() <= 0.5 / 15 + 1e-6


def test_a_playground_takes_runs_of_other_sizes_and_priors(tmp_path, made):
    priors = {
        "four bits": qh.QCBMPrior(4, layers=1),
        "two bases": qh.QCBMPrior(2, layers=1, bases="zt"),
        "mixed": qh.MixedPrior(qh.QCBMPrior(3, layers=1)),
        "scrambled": qh.ScrambledPrior(qh.QCBMPrior(3, layers=1)),  # relabels the codes of its circuit
        "machine": qh.RBMPrior(3),
        "one": qh.UniformPrior(1),
    }
    for name, prior in priors.items():
        qh.QAAN(prior, "cpu").save(tmp_path / name)
    play = widgets.Playground(*(tmp_path / name for name in priors))
    assert list(play.choice.options) == [str(tmp_path / name) for name in priors] + list(made.choice.options)
    for name, prior in priors.items():
        play.choice.value = str(tmp_path / name)
        assert len(play.bits.switches) == len(play.code) == prior.latent_dim
        play.bits.switches[-1].value = not play.bits.switches[-1].value
        play.morph.t.value, play.circuit.scale.value = 0.3, 0.5
        play.circuit.resample.click()
        circuit = play.qcbm
        assert play.circuit.scale.disabled == (name in ("scrambled", "machine", "one")) == (circuit is None)
        if circuit:
            assert circuit.angles == pytest.approx(0.5 * play.trained_angles)
            names = [label for label, _ in play.circuit.angle.options]
            assert len(names) == circuit.circuit.num_parameters and names[0] == "θ[0]: RX on qubit 0"


def test_of_too_many_codes_some_are_sampled_from_the_prior(tmp_path):
    qh.QAAN(qh.UniformPrior(9), "cpu").save(tmp_path)
    play = widgets.Playground(tmp_path)
    figure, text = play.model.figure()
    assert f"{widgets.MAX_IMAGES} codes sampled from its prior" in text
    assert figure.axes[0].images[0].get_array().shape == (480, 480)


def test_a_folder_without_a_run_and_too_many_bits_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no save"):
        widgets.Playground(tmp_path)
    qh.QAAN(qh.UniformPrior(17), "cpu").save(tmp_path)
    with pytest.raises(ValueError, match="shows models of at most 16 bits; .* has 17"):
        widgets.Playground(tmp_path)


# The switches


def test_a_switch_flips_its_bit_and_no_other(play):
    for q, switch in enumerate(play.bits.switches):
        code, latents, (picture,) = play.code, play.gan.latents(play.code[None]), pictures(play, "bits")
        switch.value = not switch.value
        moved = (play.gan.latents(play.code[None]) - latents)[0]
        assert moved.nonzero().flatten().tolist() == [q] and moved[q].abs() == 2
        assert play.code[q] == 1 - code[q] == int(switch.value)
        assert switch.description == f"bit {q} = {play.code[q]}"
        assert pictures(play, "bits") != [picture]
        assert set(play.code) <= {0, 1} and play.code.dtype == np.uint8


def test_the_figure_shows_the_code_and_each_neighbor(play):
    play.bits.choose(np.array([1, 0, 0, 1, 1, 0, 1, 0]))
    (big, small), text = play.bits.figure()[0].axes, play.bits.figure()[1]
    images = play.images(widgets.with_flips(play.code))
    assert torch.allclose(torch.as_tensor(big.images[0].get_array()), images[0, 0])
    sheet = small.images[0].get_array()
    assert np.allclose(sheet[2:30, 3:31], images[1, 0]) and np.allclose(sheet[44:72, 105:133], images[8, 0])
    labels = [t.get_text() for t in small.texts]
    digits, _ = classify(images)
    assert labels[0] == f"flip bit 0\ngives {digits[1]}" and labels[7] == f"flip bit 7\ngives {digits[8]}"
    assert f"Classifier label of code 1001 1010: {digits[0]} (" in text
    assert f"bit 7 gives {digits[8]}." in text


def test_a_random_code_is_a_sample_of_the_prior(play):
    sampled = set()
    for _ in range(3):
        play.bits.random_code.click()
        assert [s.value for s in play.bits.switches] == play.code.astype(bool).tolist()
        sampled.add(tuple(play.code))
    assert len(sampled) > 1


def test_the_initial_code_is_a_clear_one(play):
    digits, confidence = classify(play.images(play.code[None]))
    assert digits.item() in play.gan.digits and confidence.item() > 0.95


# The circuit


def test_the_first_slider_scales_all_angles_and_at_zero_all_codes_are_equally_likely(play):
    circuit, (picture,) = play.qcbm, pictures(play, "circuit")
    assert circuit.angles == pytest.approx(play.trained_angles)
    play.circuit.scale.value = 0.5
    assert circuit.angles == pytest.approx(play.trained_angles / 2)
    assert pictures(play, "circuit") != [picture]
    assert "0.50 times the trained angles (exact amplitudes on Aer)" in play.circuit.caption.value
    play.circuit.scale.value = 0
    assert np.allclose(play.gan.prior.probabilities(), 1 / 256)
    assert "all angles 0" in play.circuit.caption.value and "equally likely" in play.circuit.caption.value


def test_a_rotation_of_one_angle_is_added_and_remembered(play):
    circuit, panel = play.qcbm, play.circuit
    assert panel.angle.value == 8 and panel.angle.options[8] == ("θ[8]: RZ on qubit 0", 8)  # the first with an effect
    (picture,) = pictures(play, "circuit")
    panel.rotation.value = 1.5
    assert pictures(play, "circuit") != [picture]
    panel.angle.value = 20
    assert panel.rotation.value == 0
    panel.rotation.value = -0.5
    panel.scale.value = 0.25
    rotations = circuit.angles - 0.25 * play.trained_angles
    assert np.flatnonzero(abs(rotations) > 1e-12).tolist() == [8, 20]
    assert rotations[[8, 20]] == pytest.approx([1.5, -0.5])
    assert "2 of them rotated" in panel.caption.value
    panel.angle.value = 8
    assert panel.rotation.value == 1.5
    panel.rotation.value = 4.4e-16  # what a browser returns for a slider's 0
    assert "1 of them rotated" in panel.caption.value
    panel.restore.click()
    assert (panel.scale.value, panel.rotation.value) == (1, 0)
    assert circuit.angles == pytest.approx(play.trained_angles)
    assert pictures(play, "circuit") == [picture]


def test_an_angle_without_effect_changes_nothing(play):
    play.circuit.angle.value = 0
    before = play.gan.prior.probabilities()
    play.circuit.rotation.value = 2
    assert np.allclose(play.gan.prior.probabilities(), before)


def bars_show(axis, p):
    (shape,) = axis.collections[0].get_paths()
    just_under, just_over = (np.stack([np.arange(len(p)), factor * p], axis=1) for factor in (0.99, 1.01))
    return shape.contains_points(just_under).all() and not shape.contains_points(just_over).any()


def test_the_figure_shows_the_distribution_and_codes_sampled_from_it(play):
    play.circuit.scale.value = 0.5
    axis, digits = play.circuit.figure()[0].axes
    assert bars_show(axis, play.gan.prior.probabilities())
    codes = [widgets.read_code(text.get_text(), 8) for text in digits.texts]
    sampled = next(line for line in axis.lines if line.get_label() == "sampled codes, shown below")
    assert sampled.get_xdata().tolist() == qh.to_index(np.array(codes)).tolist() and len(codes) == widgets.N_SAMPLES
    assert np.allclose(digits.images[0].get_array()[2:30, 3:31], play.images(codes[0][None])[0, 0])


def test_other_codes_are_sampled_from_the_same_distribution(play):
    def labels():
        return [text.get_text() for text in play.circuit.figure()[0].axes[1].texts]

    first, p = labels(), play.gan.prior.probabilities()
    assert labels() == first
    play.circuit.resample.click()
    assert labels() != first and np.array_equal(play.gan.prior.probabilities(), p)


def test_a_model_without_a_circuit_says_so_and_shows_a_flat_distribution(play, uniform):
    play.circuit.scale.value = 0.5
    play.choice.value = uniform
    panel = play.circuit
    assert all(control.disabled for control in (panel.scale, panel.angle, panel.rotation, panel.restore))
    assert not panel.resample.disabled and panel.angle.options == ()
    assert (
        f"{uniform} has no circuit; it has a uniform prior." in panel.caption.value
        and "equally likely" in panel.caption.value
    )
    assert bars_show(panel.figure()[0].axes[0], np.full(256, 1 / 256))
    panel.scale.value, panel.rotation.value = 0.1, 1
    panel.restore.click()
    play.choice.value = play.choice.options[0]
    assert not panel.scale.disabled and panel.scale.value == 1
    highest = play.gan.prior.probabilities().max()  # the axis fits the trained angles, at any position of the slider
    assert panel.figure()[0].axes[0].get_ylim()[1] == pytest.approx(1.1 * highest)
    assert play.qcbm.angles == pytest.approx(play.trained_angles)


# The interpolation


def test_the_interpolation_ends_at_the_codes_and_its_middle_is_their_mean(play):
    start, end = np.array([0, 1] * 4), np.array([1, 1] * 4)
    play.morph.choose(start, end)
    for t, latents in ((0, 2 * start - 1), (1, 2 * end - 1), (0.5, (start + end) - 1)):
        (picture,) = pictures(play, "morph")
        play.morph.t.value = t
        big, strip = play.morph.figure()[0].axes
        expected = play.gan.generate(torch.as_tensor(latents[None]).float())[0, 0]
        assert np.allclose(big.images[0].get_array(), expected, atol=1e-5)
        assert pictures(play, "morph") != [picture]
        bold = [text.get_text() for text in strip.texts if text.get_weight() == "bold"]
        assert bold == [f"t = {t:.1f}"] and len(strip.texts) == widgets.N_FRAMES
    assert "4 bits differ" in play.morph.caption.value


@pytest.mark.parametrize("text", ["", "0101", "01010102", "010101011", "<b>0101</b>", "٠١٠١٠١٠١"])
def test_an_invalid_code_is_named_and_changes_nothing(play, text):
    play.morph.choose([0] * 8, [1] * 8)
    (picture,) = pictures(play, "morph")
    play.morph.end.value = text
    assert pictures(play, "morph") == [picture]
    assert "A code must have 8 bits, each 0 or 1; got" in play.morph.caption.value
    assert "The field “to” keeps its last code." in play.morph.caption.value
    assert "<b>" not in play.morph.caption.value
    play.morph.end.value = "1111 0000"
    assert play.morph.ends.tolist() == [[0] * 8, [1, 1, 1, 1, 0, 0, 0, 0]]
    assert "must have" not in play.morph.caption.value


def test_the_interpolation_starts_at_my_code_or_at_a_sample(play):
    play.bits.choose(np.array([1, 1, 1, 0, 0, 0, 1, 1]))
    end = play.morph.ends[1].copy()
    play.morph.from_bits.click()
    assert play.morph.ends.tolist() == [[1, 1, 1, 0, 0, 0, 1, 1], end.tolist()]
    play.morph.random_codes.click()
    assert [widgets.read_code(play.morph.start.value, 8).tolist(), play.morph.end.value] == [
        *(play.morph.ends[0].tolist(), widgets.one_line(play.morph.ends[1]))
    ]


# All of them


def test_moves_in_any_order_keep_state_and_figures_consistent(play):
    rng = np.random.default_rng(0)
    for _ in range(30):
        movable = [control for control in controls(play) if not control.disabled]
        control = movable[rng.integers(len(movable))]
        if isinstance(control, ipw.Button):
            control.click()
        elif isinstance(control, ipw.ToggleButton):
            control.value = not control.value
        elif isinstance(control, ipw.FloatSlider):
            control.value = rng.uniform(control.min, control.max)
        elif isinstance(control, ipw.Text):
            control.value = "".join(map(str, rng.integers(0, 2, rng.integers(7, 9))))
        else:
            control.index = int(rng.integers(len(control.options)))
    assert [switch.value for switch in play.bits.switches] == play.code.astype(bool).tolist()
    circuit, trained = play.qcbm, play.trained_angles
    if circuit:
        assert circuit.angles == pytest.approx(play.circuit.scale.value * trained + play.circuit.rotations)
    shown = pictures(play, "bits", "circuit", "morph")
    for name in ("bits", "circuit", "morph"):
        getattr(play, name).refresh()
    assert pictures(play, "bits", "circuit", "morph") == shown  # the figures were up to date


def test_several_moves_at_once_redraw_once(play, monkeypatch):
    redraws = []
    figure = play.bits.figure
    monkeypatch.setattr(play.bits, "figure", lambda: redraws.append(1) or figure())
    play.bits.choose(1 - play.code)
    assert len(redraws) == 1
    play.choice.value = play.choice.options[1]
    assert len(redraws) == 2


def test_every_control_has_a_name_and_a_tooltip_and_is_reached_by_tab(play):
    assert len(controls(play)) >= 8 + 12
    for control in controls(play):
        assert control.description and control.tooltip, control
        assert control.tabbable is not False


def test_your_own_sliders_change_your_own_figure():
    sliders = [ipw.FloatSlider(value, description=name, min=0, max=1) for name, value in (("a", 0.2), ("b", 0.7))]
    titles = []

    def draw(a, b):
        titles.append(f"{a} and {b}")
        return plots.new_figure(titles[-1])[0], f"Now {titles[-1]}."

    panel = widgets.SliderPanel(draw, sliders)
    before = panel.picture.value
    sliders[1].value = 0.4
    assert titles == ["0.2 and 0.7", "0.2 and 0.4"] and panel.picture.value != before
    data, metadata = panel._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == "Now 0.2 and 0.4." and base64.b64decode(data["image/png"])


def test_without_widgets_a_panel_is_its_figure_with_its_text(play):
    for name in PANELS:
        panel = getattr(play, name)
        data, metadata = panel._repr_mimebundle_()
        assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id
        assert base64.b64decode(data["image/png"]) == panel.picture.value
        alt = metadata["image/png"]["alt"]
        assert alt == panel.figure()[1] and alt.endswith(".")
        assert data["text/plain"] == f"{alt} (Live in JupyterLab.)"
        assert panel.picture in panel.children and play.choice in panel.children


# Functions of the panels


def test_flips_and_their_names():
    code = np.array([1, 0, 1], dtype=np.uint8)
    assert widgets.with_flips(code).tolist() == [[1, 0, 1], [0, 0, 1], [1, 1, 1], [1, 0, 0]]
    labels = ["101: 3", "flip bit 0\ngives 9", "flip bit 1\ngives 3", "flip bit 2\ngives 7"]
    assert widgets.flip_labels(code, [3, 9, 3, 7]) == labels
    assert widgets.with_flips(code.astype(bool)).dtype == np.uint8


def test_read_code_undoes_one_line():
    for code in qh.from_index(np.arange(0, 2**10, 37), 10):
        assert widgets.read_code(widgets.one_line(code), 10).tolist() == code.tolist()
    assert widgets.read_code("101", 4) is None and widgets.read_code("1012", 4) is None


def test_clearest_codes_are_one_for_each_digit_of_the_model(play):
    codes = widgets.clearest_codes(play.gan)
    assert set(codes) <= set(play.gan.digits) and len(codes) > 1
    every_code = qh.from_index(np.arange(256), 8)
    digits, confidence = classify(play.images(every_code))
    around = [confidence[qh.to_index(widgets.with_flips(code)[1:])].mean() for code in every_code]
    clear = confidence * torch.stack(around)
    for digit, code in codes.items():
        label, its_confidence = classify(play.images(code[None]))
        assert label.item() == digit and its_confidence.item() > 0.9
        assert clear[qh.to_index(code[None])[0]].item() == pytest.approx(clear[digits == digit].max().item(), abs=1e-5)


def test_distribution_in_words():
    assert widgets.distribution_in_words(np.full(8, 1 / 8)) == "All 8 codes are equally likely."
    words = widgets.distribution_in_words(np.array([0.5, 0, 0.25, 0.25]))
    assert (
        words
        == "The most likely code, 00, is 2.0 times as likely as under a uniform prior; the entropy is 1.50 of 2 bits."
    )
    assert "most likely code, 10," in widgets.distribution_in_words(np.array([0.1, 0.7, 0.1, 0.1]))


def test_the_lab_gets_the_model_and_shows_a_picture_where_widgets_cannot_run(monkeypatch):
    drawn, draw = [], plots.digit_and_others
    monkeypatch.setattr(
        plots, "digit_and_others", lambda *given, **options: drawn.append(given) or draw(*given, **options)
    )
    gan = qh.QAAN.load(qh.bundled("reconstruction_379"), device="cpu")
    train, test = (qh.load_mnist((3, 7, 9), split, source="sample") for split in ("train", "test"))
    lab = widgets.Lab(gan, train, test, label="8 bits")
    assert lab.label == "8 bits" and lab.binary == model_bytes(gan, train, test, "8 bits")
    shown, _, images, names, _ = drawn[-1]
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-5)  # a batch of another size rounds differently
    close(images[0], gan.recall(shown[None])[0])
    flipped = gan.encode(shown[None])
    flipped[0, 1] ^= 1
    close(images[2], gan.decode(flipped)[0])
    assert names[2].startswith("flip bit 1") and torch.equal(shown, test.images[0])
    data, metadata = lab._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == lab.model_id
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.size[0] >= metadata["image/png"]["width"] and data["text/plain"].startswith("A real")
    page = Path(widgets.__file__).parent / "page"
    assert lab._esm == (page / "lab.js").read_text(encoding="utf-8")
    assert lab._css == (page / "lab.css").read_text(encoding="utf-8")


def test_the_lab_refuses_a_model_that_it_cannot_simulate():
    gan = qh.QAAN.load(qh.bundled("uniform_379"), device="cpu")
    test = qh.load_mnist((3, 7, 9), "test", source="sample")
    with pytest.raises(ValueError, match="circuit"):
        widgets.Lab(gan, test, test)
