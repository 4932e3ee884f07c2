"""Interactive panels of notebook 00: the lab, and a playground for trained models.

A panel connects controls with a figure of `plots`. Where widgets cannot run, the notebook shows the figure as it was
when the panel was displayed, with its alternative text.
"""

import base64
import html
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as ipw
import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure

from ..bits import from_index, sample_bits
from ..evaluation.metrics import classify
from ..gan.model import QAAN
from ..gan.storage import bundled, bundled_names
from ..mnist import Digits
from ..priors import MAX_ENUMERATED_BITS, Prior, ScrambledPrior, UniformPrior, circuit_prior, distribution
from ..quantum.ansatz import angle_names
from ..quantum.qcbm import QCBM
from . import plots
from .export import model_bytes

N_SAMPLES = 16  # codes that the circuit's panel samples
MAX_IMAGES = 256  # images in the model's panel
N_FRAMES = 11  # images between two codes
PAGE = Path(__file__).parent / "page"  # what runs in the browser
WIDE = {"layout": {"width": "min(100% - 4px, 30em)"}, "style": {"description_width": "6em"}}


class Playground:
    """Four panels on one model: `model`, `bits`, `circuit` and `morph`. A change in one panel is seen by the others.

    Args:
        *runs: Folders of your own runs, to choose from in addition to the bundled models.

    Raises:
        ValueError: If a folder holds no run, or a model has more than 16 bits.
    """

    def __init__(self, *runs: str | Path) -> None:
        own = {str(run): QAAN.load(run, "cpu") for run in runs}
        others = {name: QAAN.load(bundled(name), "cpu") for name in bundled_names()}
        with_circuit = {name: gan for name, gan in others.items() if _circuit(gan.prior)}
        self._gans = own | with_circuit | others  # models with a circuit first: the first one is shown at the start
        for name, gan in self._gans.items():
            if gan.prior.latent_dim > MAX_ENUMERATED_BITS:
                raise ValueError(
                    f"the playground shows models of at most {MAX_ENUMERATED_BITS} bits; "
                    f"{name} has {gan.prior.latent_dim}. Choose another run"
                )
        circuits = {name: _circuit(gan.prior) for name, gan in self._gans.items()}
        self._trained = {name: np.array(circuit.angles if circuit else []) for name, circuit in circuits.items()}
        self._clearest_codes = cache(clearest_codes)
        self.choice = ipw.Dropdown(
            options=list(self._gans), description="model", tooltip="The trained model that all panels show", **WIDE
        )
        self.code = np.zeros(0, np.uint8)  # (n,), shared by the panels of bits and of the morph
        self.model, self.bits = ModelPanel(self), BitsPanel(self)
        self.circuit, self.morph = CircuitPanel(self), MorphPanel(self)
        self.choice.observe(lambda _: self._follow(), "value")
        self._follow()

    @property
    def gan(self) -> QAAN:
        """The model that is shown."""
        return self._gans[self.choice.value]

    @property
    def qcbm(self) -> QCBM | None:
        """The circuit of the model that is shown, or None."""
        return _circuit(self.gan.prior)

    @property
    def trained_angles(self) -> np.ndarray:
        """The trained angles (P,) of the circuit in radians; P is 0 without a circuit."""
        return self._trained[self.choice.value]

    def probabilities(self) -> np.ndarray:
        """Return the prior's distribution over latent codes, (2ⁿ,)."""
        return distribution(self.gan.prior)

    def images(self, codes: np.ndarray) -> torch.Tensor:
        """Generate the images of latent codes without noise, so a code always gives the same image.

        Args:
            codes: Codes (N, n) of bits, or values between 0 and 1.

        Returns:
            Images (N, 1, 28, 28) in [0, 1].
        """
        return self.gan.generate(self.gan.latents(codes))

    def _follow(self) -> None:
        examples = self._clearest_codes(self.gan)
        self.code = next(iter(examples.values()))
        for panel in (self.circuit, self.model, self.bits, self.morph):
            with panel.at_once():
                panel.follow(examples)


class Lab(anywidget.AnyWidget):
    """The lab of the project's site in a notebook: draw a digit, flip its bits, and fit the circuit.

    Everything is computed in the browser. Where widgets cannot run, the notebook shows a real digit and its recall.

    Args:
        gan: A trained QAAN with at most 12 bits, whose prior is a circuit measured in the Z basis.
        digits: The training digits, at most 65,535. The lab fits the circuit to their codes.
        test_digits: The digits from which the lab takes its examples.
        label: What to call the model.

    Raises:
        ValueError: If the model has another prior, more bits or no thresholds, or there are too many digits.
    """

    _esm = PAGE / "lab.js"
    _css = PAGE / "lab.css"
    binary = traitlets.Bytes().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)

    def __init__(self, gan: QAAN, digits: Digits, test_digits: Digits, label: str = "model") -> None:
        super().__init__(binary=model_bytes(gan, digits, test_digits, label), label=label)
        self.still = plots.picture(*_recall(gan, test_digits), tight=False)

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the live lab, and a figure with its text for pages without widgets."""
        live: Any = super()._repr_mimebundle_(**options) or {}  # None if the front end has disabled widgets
        return _with_picture(live[0] if isinstance(live, tuple) else live, self.still)


class Panel(ipw.VBox):
    """Controls above a figure and its caption. Subclasses add controls and implement `figure`.

    Args:
        *above: Widgets above the controls.
    """

    def __init__(self, *above: ipw.Widget) -> None:
        self.picture = ipw.Image(format="png", layout={"max_width": "calc(100% - 4px)"})
        self.caption, self.controls = ipw.HTML(), ipw.VBox()
        super().__init__([*above, self.controls, self.picture, self.caption])
        self._waiting = False

    def figure(self) -> tuple[Figure, str]:
        """Draw the figure, and describe it in a sentence or two."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Redraw the figure; inside `at_once`, wait for the end of the block."""
        if not self._waiting:
            figure, text = self.figure()
            self.still = plots.picture(figure, text, tight=False)
            self.picture.value, self.picture.layout.width = self.still.data, f"{self.still.width}px"
            self.caption.value = f"<p>{html.escape(text)}</p>"

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Redraw once, at the end of the block, when several controls move."""
        before, self._waiting = self._waiting, True
        try:
            yield
        finally:
            self._waiting = before
        self.refresh()

    def watch(self, *controls: ipw.Widget) -> None:
        """Redraw whenever one of the controls moves.

        Args:
            *controls: Widgets with a value.
        """
        for control in controls:
            control.observe(lambda _: self.refresh(), "value")

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the live panel, and the current figure with its text for pages without widgets."""
        live = super()._repr_mimebundle_(**options) or {}  # None if the front end has disabled widgets
        return _with_picture(live, self.still)


class SliderPanel(Panel):
    """Your own sliders above your own figure.

    Args:
        draw: Called with the sliders' values; returns the figure and a sentence that describes it.
        sliders: Widgets with a value.
    """

    def __init__(self, draw: Callable[..., tuple[Figure, str]], sliders: Sequence[ipw.Widget]) -> None:
        super().__init__()
        self.draw, self.controls.children = draw, sliders
        self.watch(*sliders)
        self.refresh()

    def figure(self) -> tuple[Figure, str]:
        """Draw the figure at the sliders' values."""
        return self.draw(*(slider.value for slider in self.controls.children))


class PlaygroundPanel(Panel):
    """A panel on the model that a playground shows.

    Args:
        playground: The playground.
    """

    def __init__(self, playground: Playground) -> None:
        super().__init__(playground.choice)
        self.playground = playground

    def follow(self, examples: dict[int, np.ndarray]) -> None:
        """Adapt the controls to another model.

        Args:
            examples: The model's clearest code (n,) of each digit.
        """


class BitsPanel(PlaygroundPanel):
    """A switch per bit: the image of a latent code, and of each code that differs in one bit.

    Args:
        playground: The playground.
    """

    def __init__(self, playground: Playground) -> None:
        super().__init__(playground)
        self.switches: list[ipw.ToggleButton] = []
        self.random_code = ipw.Button(description="random code", tooltip="Sample a code from the model's prior")
        self.random_code.on_click(lambda _: self.choose(self.playground.gan.prior.sample(1)[0]))

    def follow(self, examples: dict[int, np.ndarray]) -> None:
        """Create a switch for each of the model's bits.

        Args:
            examples: The model's clearest code (n,) of each digit.
        """
        bits = range(self.playground.gan.prior.latent_dim)
        self.switches = [ipw.ToggleButton(tooltip=f"Flip bit {q}", layout={"width": "6em"}) for q in bits]
        for switch in self.switches:
            switch.observe(lambda _: self._read_switches(), "value")
        row = ipw.HBox(self.switches, layout={"flex_flow": "row wrap"})
        self.controls.children = [row, self.random_code]
        self.choose(self.playground.code)

    def choose(self, code: np.ndarray) -> None:
        """Set all switches to the bits of a code.

        Args:
            code: The code (n,).
        """
        with self.at_once():
            for switch, bit in zip(self.switches, code, strict=True):
                switch.value = bool(bit)
            self._read_switches()

    def _read_switches(self) -> None:
        self.playground.code = np.array([switch.value for switch in self.switches], dtype=np.uint8)
        for q, switch in enumerate(self.switches):
            switch.description = f"bit {q} = {int(switch.value)}"
        self.refresh()

    def figure(self) -> tuple[Figure, str]:
        """Draw the code's image, large, and next to it those with one bit flipped."""
        code = self.playground.code
        images = self.playground.images(with_flips(code))
        digits, confidence = classify(images)
        label, *labels = flip_labels(code, digits.tolist())
        title = f"{self.playground.choice.value}: the digit of one code, and of its {len(code)} one-bit flips"
        figure = plots.digit_and_others(images[0], label, images[1:], labels, title)
        flips = ", ".join(f"bit {q} gives {digit}" for q, digit in enumerate(digits[1:].tolist()))
        text = f"Classifier label of code {one_line(code)}: {digits[0]} ({confidence[0]:.0%} confidence)."
        return figure, f"{text} Flipping one bit: {flips}."


class CircuitPanel(PlaygroundPanel):
    """Sliders for the circuit's angles: the distribution over latent codes, sampled codes, and their images.

    Args:
        playground: The playground.
    """

    def __init__(self, playground: Playground) -> None:
        super().__init__(playground)
        self.scale = ipw.FloatSlider(
            1, min=0, max=1, step=0.05, description="all angles", tooltip="Factor on the trained angles", **WIDE
        )
        self.angle = ipw.Dropdown(description="one angle", tooltip="The angle that the next slider changes", **WIDE)
        self.rotation = ipw.FloatSlider(
            0,
            min=-np.pi,
            max=np.pi,
            step=np.pi / 60,
            description="rotate by",
            tooltip="Added to this angle (radians)",
            **WIDE,
        )
        self.resample = ipw.Button(description="resample", tooltip="Sample other codes from the same distribution")
        self.restore = ipw.Button(description="reset angles", tooltip="Set all angles to their trained values")
        self.controls.children = [self.scale, self.angle, self.rotation, ipw.HBox([self.resample, self.restore])]
        self.rotations, self.seed, self.max_probability = np.zeros(0), 0, 0.0
        self.watch(self.scale)
        self.angle.observe(lambda _: self._show_rotation(), "value")
        self.rotation.observe(lambda _: self._rotate(), "value")
        self.resample.on_click(lambda _: self._resample())
        self.restore.on_click(lambda _: self.reset())

    def follow(self, examples: dict[int, np.ndarray]) -> None:
        """List the angles of the model's circuit, if it has one.

        Args:
            examples: The model's clearest code (n,) of each digit.
        """
        circuit = self.playground.qcbm
        names = [] if circuit is None else angle_names(circuit.circuit)
        for control in (self.scale, self.angle, self.rotation, self.restore):
            control.disabled = circuit is None
        if circuit is not None:
            circuit.angles = self.playground.trained_angles
        self.max_probability = self.playground.probabilities().max()
        self.angle.options = [(name, i) for i, name in enumerate(names)]
        self.reset()
        if circuit is not None:  # RX in the first layer has no effect after the Hadamards: start at the next angle
            self.angle.value = min(circuit.n_qubits, len(names) - 1)

    def reset(self) -> None:
        """Set every angle to its trained value."""
        with self.at_once():
            self.rotations = np.zeros(len(self.playground.trained_angles))
            self.scale.value, self.rotation.value = 1, 0

    def _show_rotation(self) -> None:
        if self.angle.value is not None and len(self.rotations):
            with self.at_once():
                self.rotation.value = self.rotations[self.angle.value]

    def _rotate(self) -> None:
        if self.angle.value is not None:
            self.rotations[self.angle.value] = round(self.rotation.value, 9)  # a browser returns 0 as 4e-16
        self.refresh()

    def _resample(self) -> None:
        self.seed += 1
        self.refresh()

    def figure(self) -> tuple[Figure, str]:
        """Draw the distribution at the sliders' angles, and the images of codes sampled from it."""
        circuit, name = self.playground.qcbm, self.playground.choice.value
        if circuit is None:
            where = f"{name} has no circuit; it has {_prior_in_words(self.playground.gan.prior)}"
        else:
            circuit.angles = self.scale.value * self.playground.trained_angles + self.rotations
            where = f"{name}: {_angles_in_words(self.scale.value, self.rotations)} ({circuit.execution})"
        p = self.playground.probabilities()
        codes = sample_bits(p, N_SAMPLES, np.random.default_rng(self.seed))
        images = self.playground.images(codes)
        figure = plots.distributions_and_digits({"": (p, codes, images)}, where, self.max_probability)
        return figure, f"{where}. {distribution_in_words(p)} {_labels_in_words(images)}"


class MorphPanel(PlaygroundPanel):
    """Linear interpolation between two latent codes, and the images on the way.

    Args:
        playground: The playground.
    """

    def __init__(self, playground: Playground) -> None:
        super().__init__(playground)
        self.ends = np.zeros((2, 0), np.uint8)  # the codes (2, n) that the figure shows
        text = {"tooltip": "A code of 0s and 1s, bit 0 first; press Enter", "continuous_update": False, **WIDE}
        self.start, self.end = ipw.Text(description="from", **text), ipw.Text(description="to", **text)
        self.t = ipw.FloatSlider(0.5, min=0, max=1, step=0.02, description="t", tooltip="0: from, 1: to", **WIDE)
        self.from_bits = ipw.Button(description="from my code", tooltip="Start at the code of the panel with the bits")
        self.random_codes = ipw.Button(description="random codes", tooltip="Sample both codes from the model's prior")
        self.controls.children = [self.start, self.end, self.t, ipw.HBox([self.from_bits, self.random_codes])]
        self.watch(self.start, self.end, self.t)
        self.from_bits.on_click(lambda _: self.choose(self.playground.code, self.ends[1]))
        self.random_codes.on_click(lambda _: self.choose(*self.playground.gan.prior.sample(2)))

    def follow(self, examples: dict[int, np.ndarray]) -> None:
        """Start at the clearest code of the model's first digit, and end at that of its last digit.

        Args:
            examples: The model's clearest code (n,) of each digit.
        """
        codes = list(examples.values())
        self.choose(codes[0], codes[-1] if len(codes) > 1 else 1 - codes[0])

    def choose(self, start: np.ndarray, end: np.ndarray) -> None:
        """Set both codes.

        Args:
            start: The code (n,) at t = 0.
            end: The code (n,) at t = 1.
        """
        with self.at_once():
            self.start.value, self.end.value = one_line(start), one_line(end)

    def figure(self) -> tuple[Figure, str]:
        """Draw the image at t, large, and a filmstrip from one code to the other."""
        n, name, errors = self.playground.gan.prior.latent_dim, self.playground.choice.value, ""
        ends = [read_code(control.value, n) for control in (self.start, self.end)]
        for i, control in enumerate((self.start, self.end)):
            if ends[i] is None:
                errors += f"A code must have {n} bits, each 0 or 1; got {control.value!r}. "
                errors += f"The field “{control.description}” keeps its last code. "
                ends[i] = self.ends[i]
        self.ends = np.array(ends)
        at = np.linspace(0, 1, N_FRAMES)
        images = self.playground.images(interpolate(self.ends[0], self.ends[1], [self.t.value, *at]))
        title = f"{name}: interpolation from {one_line(self.ends[0])} to {one_line(self.ends[1])}"
        nearest = int(np.abs(at - self.t.value).argmin())
        figure = plots.digit_and_others(
            images[0], f"t = {self.t.value:.2f}", images[1:], [f"t = {t:.1f}" for t in at], title, 6, [nearest]
        )
        digits = ", ".join(map(str, classify(images)[0][1:].tolist()))
        differ = int((self.ends[0] != self.ends[1]).sum())
        return figure, f"{errors}{differ} bits differ. Classifier labels from t = 0 to t = 1: {digits}."


class ModelPanel(PlaygroundPanel):
    """The images of all latent codes of a model.

    Args:
        playground: The playground.
    """

    def figure(self) -> tuple[Figure, str]:
        """Draw the image of every code, or of 256 samples of the prior if there are more codes."""
        gan, name = self.playground.gan, self.playground.choice.value
        n = gan.prior.latent_dim
        if 2**n <= MAX_IMAGES:
            codes, which = from_index(np.arange(2**n), n), f"all {2**n} codes"
        else:
            codes, which = gan.prior.sample(MAX_IMAGES), f"{MAX_IMAGES} codes sampled from its prior"
        images = self.playground.images(codes)
        figure = plots.digit_grid(images, f"{name}: the digits of {which}", grays=16, numbered=2**n <= MAX_IMAGES)
        digits = ", ".join(map(str, gan.digits)) if gan.digits else "unknown"
        about = f"{name}: {n} bits, {_prior_in_words(gan.prior)}; {gan.epoch} epochs on the digits {digits}."
        return figure, f"{about} Shown are {which}. {_labels_in_words(images)}"


def _with_picture(live: dict[str, Any], picture: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    png, alt = base64.b64encode(picture.data).decode(), picture.alt
    data = {**live, "image/png": png, "text/plain": f"{alt} (Live in JupyterLab.)"}
    return data, {"image/png": {"alt": alt, "width": picture.width}}


def with_flips(code: np.ndarray) -> np.ndarray:
    """Return a code and, below it, for each bit the code with that bit flipped.

    Args:
        code: The code (n,).

    Returns:
        Codes (1 + n, n) uint8.
    """
    flips = np.eye(len(code), dtype=np.uint8)
    return np.vstack([code, code ^ flips]).astype(np.uint8)


def flip_labels(code: np.ndarray, digits: Sequence[int]) -> list[str]:
    """Label the images of `with_flips`: "1001 1010: 3" for the code, then "flip bit 0 gives 9" and so on.

    Args:
        code: The code (n,).
        digits: The classifier's label of each image, 1 + n numbers.

    Returns:
        1 + n labels; those of the flips have two lines.
    """
    first, *others = digits
    return [f"{plots.code_label(code)}: {first}", *(f"flip bit {q}\ngives {digit}" for q, digit in enumerate(others))]


def interpolate(start: np.ndarray, end: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """Interpolate linearly between two codes.

    Args:
        start: The code (n,) at t = 0.
        end: The code (n,) at t = 1.
        at: The values of t.

    Returns:
        Points (len(at), n), in bits from 0 to 1.
    """
    t = np.asarray(at)[:, None]
    return (1 - t) * start + t * end


def read_code(text: str, n_bits: int) -> np.ndarray | None:
    """Read a code from text; spaces are ignored.

    Args:
        text: The text, such as "1001 1010".
        n_bits: How many bits the code must have.

    Returns:
        The code (n_bits,) uint8, or None if the text is not such a code.
    """
    digits = "".join(text.split())
    if len(digits) != n_bits or not set(digits) <= {"0", "1"}:
        return None
    return np.array([int(digit) for digit in digits], dtype=np.uint8)


def one_line(code: np.ndarray) -> str:
    """Write a code as text in groups of four bits, bit 0 first.

    Args:
        code: The code (n,).

    Returns:
        The text, such as "1001 1010".
    """
    return plots.code_label(code).replace("\n", " ")


def clearest_codes(gan: QAAN) -> dict[int, np.ndarray]:
    """Find, for each digit that a model generates, the code at which the classifier is most confident.

    The measure is the confidence at a code times its mean over the codes with one bit flipped, among the first 1,024.

    Args:
        gan: The model.

    Returns:
        Maps a digit to a code (n,).
    """
    n = gan.prior.latent_dim
    codes = from_index(np.arange(min(2**n, 1024)), n)
    labels, confidence = classify(gan.generate(gan.latents(codes)))
    flipped = np.arange(len(codes))[:, None] ^ (1 << np.arange(min(n, 10)))
    clear = confidence * confidence[flipped].mean(1)
    digits = [d for d in gan.digits or range(10) if (labels == d).any()] or labels.unique().tolist()
    return {d: codes[int((clear * (labels == d)).argmax())] for d in digits}


def distribution_in_words(p: np.ndarray) -> str:
    """Describe a distribution over codes, for readers who cannot see the figure.

    Args:
        p: Probabilities (2ⁿ,).

    Returns:
        A sentence with the most likely code and the entropy in bits.
    """
    n = len(p).bit_length() - 1
    if np.allclose(p, 1 / len(p)):
        return f"All {len(p):,} codes are equally likely."
    entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
    code = one_line(from_index(np.array([p.argmax()]), n)[0])
    return (
        f"The most likely code, {code}, is {p.max() * len(p):.1f} times as likely as under a uniform prior; "
        f"the entropy is {entropy:.2f} of {n} bits."
    )


def _recall(gan: QAAN, digits: Digits) -> tuple[Figure, str]:
    code = gan.encode(digits.images[:1])[0]
    images, true = gan.decode(with_flips(code)), int(digits.labels[0])
    labels = classify(images)[0].tolist()
    names = [f"recalled\nas {labels[0]}", *flip_labels(code, labels)[1:]]
    title = f"A real {true}, and what the model recalls from its code {plots.code_label(code)}"
    figure = plots.digit_and_others(digits.images[0], f"shown: {true}", images, names, title, columns=5, framed=[0])
    text = f"A real {true} with the code {one_line(code)}, the image recalled from it, and those after one flip."
    return figure, text


def _circuit(prior: Prior) -> QCBM | None:
    """Return the circuit whose samples are the prior's codes. A ScrambledPrior relabels them, so it has none."""
    source = None if isinstance(prior, ScrambledPrior) else circuit_prior(prior)
    return None if source is None else source.qcbm


def _angles_in_words(scale: float, rotations: np.ndarray) -> str:
    words = {0.0: "all angles 0", 1.0: "angles as trained"}.get(scale, f"{scale:.2f} times the trained angles")
    rotated = np.count_nonzero(rotations)
    return f"{words}, {rotated} of them rotated" if rotated else words


def _prior_in_words(prior: Prior) -> str:
    circuit, kind = _circuit(prior), type(prior).__name__
    if circuit is not None:
        wrapper = "" if circuit_prior(prior) is prior else f" in a {kind}"
        return f"a circuit of {circuit.n_qubits} qubits with {len(circuit.angles)} angles{wrapper}"
    return "a uniform prior" if isinstance(prior, UniformPrior) else f"a prior of type {kind}"


def _labels_in_words(images: torch.Tensor) -> str:
    counts = Counter(classify(images)[0].tolist())
    return f"Classifier labels: {', '.join(f'{digit} ({count})' for digit, count in sorted(counts.items()))}."
