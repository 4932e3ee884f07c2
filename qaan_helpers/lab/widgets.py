"""The playground of notebook 00: panels to click and drag, over models that are trained already.

A panel only wires: what it shows is drawn by `plots`, from what the model says. Where widgets cannot run, a panel is
the picture that it showed when it was displayed, with its alternative text.
"""

import base64
import html
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

import ipywidgets as ipw
import numpy as np

from ..bits import from_index, sample_bits
from ..evaluation.metrics import classify
from ..gan.storage import bundled, bundled_names
from ..gan.training import QAAN
from ..priors import MAX_ENUMERATED_BITS, MixedPrior, Prior
from ..quantum.ansatz import angle_names
from ..quantum.qcbm import QCBM
from . import plots

DRAWN = 16  # codes that the circuit's panel draws
MAPPED = 256  # codes that the model's panel shows at most
FRAMES = 11  # of a filmstrip
WIDE = {"layout": {"width": "min(100% - 4px, 30em)"}, "style": {"description_width": "6em"}}


class Playground:
    """A model to play with: `model`, `bits`, `circuit` and `morph` are panels, and each shows what the others chose.

    runs: folders of your own runs, to be picked beside the models that come along. Raises ValueError for a folder
    without a run, or a model of more than 16 bits, whose distribution is too long to draw.
    """

    def __init__(self, *runs: str | Path):
        mine = {str(run): QAAN.load(run, "cpu") for run in runs}
        come_along = {name: QAAN.load(bundled(name), "cpu") for name in bundled_names()}
        turnable = {name: gan for name, gan in come_along.items() if circuit_of(gan.prior)}
        self._gans = mine | turnable | come_along  # those with a circuit first, as the first is shown at the start
        for name, gan in self._gans.items():
            if gan.prior.latent_dim > MAX_ENUMERATED_BITS:
                raise ValueError(
                    f"{name} has {gan.prior.latent_dim} bits; the playground shows {MAX_ENUMERATED_BITS} at most"
                )
        self._trained = {name: _angles(gan.prior) for name, gan in self._gans.items()}
        self._examples: dict[str, dict[int, np.ndarray]] = {}
        self.choice = ipw.Dropdown(
            options=list(self._gans), description="model", tooltip="Which trained model all panels show", **WIDE
        )
        self.code = np.zeros(0, np.uint8)  # (n,), shared: the panels of bits and of the morph start from it
        self.model, self.bits = ModelPanel(self), BitsPanel(self)
        self.circuit, self.morph = CircuitPanel(self), MorphPanel(self)
        self.choice.observe(lambda _: self._follow(), "value")
        self._follow()

    @property
    def gan(self) -> QAAN:
        """The model that is shown."""
        return self._gans[self.choice.value]

    @property
    def trained_angles(self) -> np.ndarray | None:
        """The angles (P,) that its circuit was trained to; None where it has no circuit."""
        return self._trained[self.choice.value]

    def images(self, codes: np.ndarray):
        """The images (N, 1, 28, 28) of codes (N, n) or latents (N, n), without noise: the same code, the same image."""
        return self.gan.generate(self.gan.latents(codes))

    def _follow(self):
        if self.choice.value not in self._examples:
            self._examples[self.choice.value] = clearest_codes(self.gan)
        examples = self._examples[self.choice.value]
        self.code = next(iter(examples.values()))
        for panel in (self.circuit, self.model, self.bits, self.morph):
            with panel.at_once():
                panel.follow(examples)


class Panel:
    """Controls above a picture and a line that says what it shows; a subclass says which, and draws the picture."""

    def __init__(self, playground: Playground | None = None):
        self.playground = playground
        self.picture = ipw.Image(format="png", layout={"max_width": "calc(100% - 4px)"})
        self.caption = ipw.HTML()
        self.controls = ipw.VBox()
        above = [playground.choice] if playground else []
        self.box = ipw.VBox([*above, self.controls, self.picture, self.caption])
        self._waiting = False

    def figure(self) -> tuple[plots.Figure, str]:
        """The picture, and what it shows in a sentence or two."""
        raise NotImplementedError

    def follow(self, examples: dict[int, np.ndarray]) -> None:
        """Fit the controls to another model; `examples` are its clearest codes, by digit."""

    def refresh(self) -> None:
        """Draw the picture anew, or once at the end where several controls move at once."""
        if not self._waiting:
            figure, text = self.figure()
            self.picture.value = plots.to_png(figure, tight=False)
            self.picture.layout.width = f"{plots.png_width(self.picture.value)}px"
            self.caption.value = f"<p>{html.escape(text)}</p>"
            self._text = text

    @contextmanager
    def at_once(self):
        """Hold the picture back until all controls have moved."""
        before, self._waiting = self._waiting, True
        try:
            yield
        finally:
            self._waiting = before
        self.refresh()

    def watch(self, *controls: ipw.Widget) -> None:
        """Draw anew whenever one of the controls moves."""
        for control in controls:
            control.observe(lambda _: self.refresh(), "value")

    def _repr_mimebundle_(self, **_):
        """The live panel; for whoever has no widgets, its picture now, and its text."""
        live = self.box._repr_mimebundle_() or {}  # nothing, where a front end has switched widgets off
        png = base64.b64encode(self.picture.value).decode()
        told = {"image/png": {"alt": self._text, "width": plots.png_width(self.picture.value)}}
        return {**live, "image/png": png, "text/plain": f"{self._text} (Live in JupyterLab.)"}, told


class SliderPanel(Panel):
    """Sliders above a picture: `draw` makes of their values a figure, and what it shows in a sentence."""

    def __init__(self, draw: Callable[..., tuple[plots.Figure, str]], sliders: Sequence[ipw.Widget]):
        super().__init__()
        self.draw, self.controls.children = draw, sliders
        self.watch(*sliders)
        self.refresh()

    def figure(self):
        """The picture at the sliders' values."""
        return self.draw(*(slider.value for slider in self.controls.children))


class BitsPanel(Panel):
    """A switch a bit: the digit of a code, and of each code that differs in one bit."""

    def __init__(self, playground):
        super().__init__(playground)
        self.switches: list[ipw.ToggleButton] = []
        self.any = ipw.Button(description="any code", tooltip="Let the model's prior draw a code")
        self.any.on_click(lambda _: self.choose(self.playground.gan.prior.sample(1)[0]))

    def follow(self, examples):
        """One switch for each of the model's bits."""
        self.switches = [self._switch(q) for q in range(self.playground.gan.prior.latent_dim)]
        row = ipw.HBox(self.switches, layout={"flex_flow": "row wrap"})
        self.controls.children = [row, self.any]
        self.choose(self.playground.code)

    def _switch(self, q):
        switch = ipw.ToggleButton(tooltip=f"Flip bit {q}", layout={"width": "6em"})
        switch.observe(lambda _: self._flipped(), "value")
        return switch

    def choose(self, code: np.ndarray) -> None:
        """Set all switches to the bits of `code` (n,)."""
        with self.at_once():
            for switch, bit in zip(self.switches, code, strict=True):
                switch.value = bool(bit)
            self._flipped()

    def _flipped(self):
        self.playground.code = np.array([switch.value for switch in self.switches], dtype=np.uint8)
        for q, switch in enumerate(self.switches):
            switch.description = f"bit {q} = {int(switch.value)}"
        self.refresh()

    def figure(self):
        """The code's digit, large, and beside it those of its neighbours."""
        code = self.playground.code
        codes = with_flips(code)
        images = self.playground.images(codes)
        label, *labels = flip_labels(code)
        title = f"{self.playground.choice.value}: a code's digit, and those one flipped bit away"
        figure = plots.digit_and_others(images[0], label, images[1:], labels, title)
        digits, sure = classify(images)
        flips = ", ".join(f"{label} a {digit}" for label, digit in zip(labels, digits[1:].tolist(), strict=True))
        text = f"Code {one_line(code)} draws what the classifier takes for a {digits[0]} ({sure[0]:.0%} sure)."
        return figure, f"{text} One flip away: {flips}."


class CircuitPanel(Panel):
    """Knobs on the circuit's angles: the distribution over codes, codes drawn from it, and their digits."""

    def __init__(self, playground):
        super().__init__(playground)
        self.knob = ipw.FloatSlider(
            1,
            min=0,
            max=1,
            step=0.05,
            description="all angles",
            tooltip="Times the trained angles: 0 is untrained",
            **WIDE,
        )
        self.angle = ipw.Dropdown(description="one angle", tooltip="Which angle the next slider turns", **WIDE)
        self.turn = ipw.FloatSlider(
            0,
            min=-3.15,
            max=3.15,
            step=0.05,
            description="turn it by",
            tooltip="In radians, on top of the rest",
            **WIDE,
        )
        self.again = ipw.Button(description="draw others", tooltip="Draw other codes from the same distribution")
        self.back = ipw.Button(description="as trained", tooltip="All angles as they were trained")
        self.controls.children = [self.knob, self.angle, self.turn, ipw.HBox([self.again, self.back])]
        self.turns, self.seed, self.highest = np.zeros(0), 0, 0.0
        self.knob.observe(lambda _: self.refresh(), "value")
        self.angle.observe(lambda _: self._picked(), "value")
        self.turn.observe(lambda _: self._turned(), "value")
        self.again.on_click(lambda _: self._draw_others())
        self.back.on_click(lambda _: self.reset())

    def follow(self, examples):
        """The angles of the model's circuit, or none."""
        circuit = circuit_of(self.playground.gan.prior)
        names = [] if circuit is None else angle_names(circuit.circuit)
        for control in (self.knob, self.angle, self.turn, self.back):
            control.disabled = circuit is None
        if circuit is not None:
            circuit.angles = self.playground.trained_angles
        self.highest = self.playground.gan.prior.probabilities().max()
        self.angle.options = [(name, i) for i, name in enumerate(names)]
        self.reset()
        if names:  # RX in the first layer is idle behind the Hadamards: start at the first angle that is not
            self.angle.value = min(circuit.n_qubits, len(names) - 1)

    def reset(self) -> None:
        """Put every angle back to where training left it."""
        with self.at_once():
            trained = self.playground.trained_angles
            self.turns = np.zeros(0 if trained is None else len(trained))
            self.knob.value, self.turn.value = 1, 0

    def _picked(self):
        if self.angle.value is not None and len(self.turns):
            with self.at_once():
                self.turn.value = self.turns[self.angle.value]

    def _turned(self):
        if self.angle.value is not None:
            self.turns[self.angle.value] = round(self.turn.value, 9)  # a browser sends a 0 back as 4e-16
        self.refresh()

    def _draw_others(self):
        self.seed += 1
        self.refresh()

    def figure(self):
        """The distribution at the angles that the knobs give, and the digits of codes drawn from it."""
        prior, trained = self.playground.gan.prior, self.playground.trained_angles
        circuit, name = circuit_of(prior), self.playground.choice.value
        if circuit is None:
            where = f"{name} has no circuit to turn; its prior is {_prior_in_words(prior)}"
        else:
            circuit.angles = self.knob.value * trained + self.turns
            where = f"{name}: {_angles_in_words(self.knob.value, self.turns)} ({circuit.execution})"
        p = prior.probabilities()
        codes = sample_bits(p, DRAWN, np.random.default_rng(self.seed))
        images = self.playground.images(codes)
        figure = plots.distributions_and_digits({"": (p, codes, images)}, where, self.highest)
        return figure, f"{where}. {distribution_in_words(p)} The digits are taken for {_counted(images)}."


class MorphPanel(Panel):
    """From one code to another in small steps: what the generator draws between two corners of its cube."""

    def __init__(self, playground):
        super().__init__(playground)
        text = {"continuous_update": False, **WIDE}
        self.start = ipw.Text(description="from", tooltip="A code of 0s and 1s, bit 0 first; Enter takes it", **text)
        self.end = ipw.Text(description="to", tooltip="A code of 0s and 1s, bit 0 first; Enter takes it", **text)
        self.t = ipw.FloatSlider(0.5, min=0, max=1, step=0.02, description="t", tooltip="0 is from, 1 is to", **WIDE)
        self.mine = ipw.Button(description="from my code", tooltip="Start from the code of the panel with the bits")
        self.pair = ipw.Button(description="any two codes", tooltip="Let the model's prior draw both codes")
        self.controls.children = [self.start, self.end, self.t, ipw.HBox([self.mine, self.pair])]
        self.watch(self.start, self.end, self.t)
        self.mine.on_click(lambda _: self.choose(self.playground.code, self.ends[1]))
        self.pair.on_click(lambda _: self.choose(*self.playground.gan.prior.sample(2)))
        self.ends = np.zeros((2, 0), np.uint8)

    def follow(self, examples):
        """From the model's clearest example of its first digit to that of its last."""
        codes = list(examples.values())
        self.choose(codes[0], codes[-1] if len(codes) > 1 else 1 - codes[0])

    def choose(self, start: np.ndarray, end: np.ndarray) -> None:
        """Set both codes (n,)."""
        with self.at_once():
            self.start.value, self.end.value = one_line(start), one_line(end)

    def figure(self):
        """The digit at t, large, and the filmstrip from one code to the other."""
        ends, wrong, n = [], "", self.playground.gan.prior.latent_dim
        for control, last in zip((self.start, self.end), self.ends, strict=True):
            code = read_code(control.value, n)
            if code is None:
                wrong = (
                    f"{control.value!r} is no code of {n} bits, each 0 or 1: {control.description} stays as it was. "
                )
                code = last
            ends.append(code)
        self.ends = np.array(ends)
        at = np.linspace(0, 1, FRAMES)
        images = self.playground.images(between(*self.ends, [self.t.value, *at]))
        title = f"{self.playground.choice.value}: from {one_line(self.ends[0])} to {one_line(self.ends[1])}"
        nearest = int(np.abs(at - self.t.value).argmin())
        figure = plots.digit_and_others(
            images[0], f"t = {self.t.value:.2f}", images[1:], [f"t = {t:.1f}" for t in at], title, 6, [nearest]
        )
        digits = ", ".join(map(str, classify(images)[0][1:].tolist()))
        differ = int((self.ends[0] != self.ends[1]).sum())
        return figure, f"{wrong}{differ} bits differ. Taken for, from t = 0 to t = 1: {digits}."


class ModelPanel(Panel):
    """All that a model can draw, code by code."""

    def figure(self):
        """Every code's digit, or 256 that the prior draws where there are more."""
        gan, name = self.playground.gan, self.playground.choice.value
        n = gan.prior.latent_dim
        every = 2**n <= MAPPED
        codes = from_index(np.arange(2**n), n) if every else gan.prior.sample(MAPPED)
        images = self.playground.images(codes)
        which = f"each of its {2**n} codes" if every else f"{MAPPED} codes that its prior drew"
        figure = plots.digit_grid(images, f"{name}: the digit of {which}", grays=16)
        trained_on = ", ".join(map(str, gan.digits or ())) or "digits that were not noted"
        about = f"{name}: {n} bits, drawn by {_prior_in_words(gan.prior)}; {gan.epoch} epochs on {trained_on}."
        return figure, f"{about} The digits of {which} are taken for {_counted(images)}."


def with_flips(code: np.ndarray) -> np.ndarray:
    """The code (n,) and below it, for each bit, the code with that one flipped: (1 + n, n) uint8."""
    flips = np.eye(len(code), dtype=np.uint8)
    return np.vstack([code, code ^ flips]).astype(np.uint8)


def flip_labels(code: np.ndarray) -> list[str]:
    """What the rows of `with_flips` are called: the code itself, and then "bit 0 → 1" and so on."""
    return [plots.code_label(code), *(f"bit {q} → {1 - bit}" for q, bit in enumerate(code))]


def between(start: np.ndarray, end: np.ndarray, at: list[float]) -> np.ndarray:
    """Points on the line from one code (n,) to another, one for each t in `at`: (len(at), n), in bits from 0 to 1."""
    t = np.asarray(at)[:, None]
    return (1 - t) * start + t * end


def read_code(text: str, n_bits: int) -> np.ndarray | None:
    """The code (n_bits,) that `text` writes, blanks or none between its bits; None where it is no such code."""
    digits = "".join(text.split())
    if len(digits) != n_bits or not set(digits) <= {"0", "1"}:
        return None
    return np.array([int(digit) for digit in digits], dtype=np.uint8)


def circuit_of(prior: Prior) -> QCBM | None:
    """The Born machine of a prior, also of one that is mixed with coins; None where no circuit draws its codes."""
    return getattr(prior.prior if isinstance(prior, MixedPrior) else prior, "qcbm", None)


def one_line(code: np.ndarray) -> str:
    """The bits (n,) of a code as text in groups of four, bit 0 first."""
    return plots.code_label(code).replace("\n", " ")


def clearest_codes(gan: QAAN) -> dict[int, np.ndarray]:
    """For each digit that the classifier sees among the model's codes, one (n,) where it is sure of it and all around.

    Sureness counts times its mean over the codes that are one flip away, as far as they are among the first 1,024.
    """
    n = gan.prior.latent_dim
    codes = from_index(np.arange(min(2**n, 1024)), n)
    digits, sure = classify(gan.generate(gan.latents(codes)))
    flipped = np.arange(len(codes))[:, None] ^ (1 << np.arange(min(n, 10)))
    clear = sure * sure[flipped].mean(1)
    wanted = [d for d in gan.digits or range(10) if (digits == d).any()] or digits.unique().tolist()
    return {d: codes[int((clear * (digits == d)).argmax())] for d in wanted}


def distribution_in_words(p: np.ndarray) -> str:
    """What a distribution over codes (2ⁿ,) looks like, for those who cannot see it."""
    n = len(p).bit_length() - 1
    if np.allclose(p, 1 / len(p)):
        return f"All {len(p):,} codes are equally likely."
    entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
    likeliest = one_line(from_index([p.argmax()], n)[0])
    return (
        f"The likeliest code, {likeliest}, has {p.max() * len(p):.1f} times its fair share; "
        f"the entropy is {entropy:.2f} of {n} bits."
    )


def _angles(prior):
    circuit = circuit_of(prior)
    return None if circuit is None else np.array(circuit.angles)


def _angles_in_words(knob, turns):
    scale = {0: "all angles 0", 1: "angles as trained"}.get(knob, f"{knob:.2f} times the trained angles")
    turned = np.count_nonzero(turns)
    return f"{scale}, {turned} of them turned" if turned else scale


def _prior_in_words(prior):
    circuit, kind = circuit_of(prior), type(prior).__name__
    if circuit is not None:
        mixed = "" if kind == "QCBMPrior" else f", within a {kind}"
        return f"a circuit of {circuit.n_qubits} qubits with {len(circuit.angles)} angles{mixed}"
    return "uniform, fair coins" if kind == "UniformPrior" else f"a {kind}"


def _counted(images):
    counts = Counter(classify(images)[0].tolist())
    return ", ".join(f"{digit} ({count})" for digit, count in sorted(counts.items()))
