"""A training watched as it goes: curves, drawn digits and bars that are redrawn in place, and a button that ends it.

A click must reach a kernel that is busy training. JupyterLab from 4.4 on sends it to a thread of its own in the kernel
(a subshell, which ipykernel has from 7.0 on). Elsewhere it arrives when all is over, and the toolbar's ■ is what stops.
"""

import time
from collections.abc import Iterator

from IPython.display import DisplayHandle, Pretty
from ipywidgets import HTML, Button, HBox, IntProgress, Layout, VBox

from ..evaluation import metrics
from ..gan import health
from ..gan.training import QAAN, Report
from ..mnist import Digits
from ..priors import UniformPrior
from . import plots

SHARE = 0.04  # of the time, that redrawing may take
TOLD = 0.25  # seconds between two moves of the bar that counts a fit's evaluations


class View:
    """What a training looks like while it runs: `for report in view.watch(train(gan, digits, epochs))`.

    gan, digits: those that `train` is given; epochs: how many it is to train, for the bar. n_images: drawn from the
    prior for each redraw. every: seconds from one redraw to the next at least, and longer where drawing would take more
    than SHARE of the time. Two numbers tell of the digits' variety: how many are distinct in black and white, and the
    mean squared distance of two of them over that of two real ones, near 0 where one image comes again and again.
    Looking changes nothing of what is trained. Where a notebook is stored, a line of text and the last picture stay.
    """

    def __init__(self, gan: QAAN, digits: Digits, epochs: int, n_images: int = 32, every: float = 1.0):
        self.gan, self.epochs, self.n_images, self.every = gan, epochs, n_images, every
        self._real_spread = health.image_variance(digits.images[:: len(digits) // 500 + 1])
        self.button = Button(description="Stop after this epoch", icon="stop", layout=Layout(width="12em"))
        self.button.on_click(self._press)
        self.epoch_bar, self._epoch_text = IntProgress(max=epochs), HTML()
        self.fit_bar, self._fit_text = IntProgress(), HTML()
        self.stopped, self.told = False, ""  # how it ended, in words
        self.picture: bytes | None = None  # as PNG, the last that was drawn
        self.n_drawn, self.drawing_seconds = 0, 0.0
        self._controls, self._image = DisplayHandle(), DisplayHandle()
        self._learned = getattr(gan.prior, "prior", gan.prior)  # inside a mixed prior
        self._n_bits = None if isinstance(gan.prior, UniformPrior) else gan.prior.latent_dim  # which learns nothing
        self._drawn_at = self._last_took = self._told_at = 0.0
        self._best = None

    def watch(self, reports: Iterator[Report]) -> Iterator[Report]:
        """Pass on each Report once it has been shown; end after the epoch in which the button was pressed.

        An interrupt (■ in the toolbar) goes through, and `train` undoes the epoch that it hits.
        """
        self._started, self._first = time.perf_counter(), self.gan.epoch
        ended = ", stopped by an interrupt or an error"
        self._open()
        try:
            for report in reports:
                self._show(report)
                yield report
                if self.stopped:
                    break
            ended = ", stopped by the button" if self.stopped else ""
        except GeneratorExit:
            ended = ", stopped by the loop around it"
            raise
        finally:
            self._close(ended)

    def _open(self):
        self._tell_epochs()
        rows = [HBox([self.button, self.epoch_bar, self._epoch_text])]
        if hasattr(self._learned, "on_evaluation"):
            self._learned.on_evaluation = self._evaluated
            rows.append(HBox([HTML("The circuit's fit:", layout=Layout(width="12em")), self.fit_bar, self._fit_text]))
        self._box = VBox(rows)
        self._controls.display(self._box)
        # ipykernel from 7.4 on hands a click to the thread that wrote to the button last, which is the one that trains;
        # let it go where the front end sends it. Where nobody asks for this name, it does nothing.
        self.button.comm._reply_subshell_for = lambda click, subshell: subshell

    def _show(self, report):
        """Move the epochs' bar, and draw where a redraw is due."""
        self._tell_epochs()
        pause = max(self.every, self._last_took / SHARE)
        if self.picture is None or time.perf_counter() - self._drawn_at >= pause:
            self._draw(report)

    def _draw(self, report):
        started = time.perf_counter()
        figure = self._figure()
        shown = plots.picture(figure, _alt(report, with_prior=len(figure.axes) > 3), tight=False)
        self._image.update(shown) if self.picture else self._image.display(shown)
        self.picture, self.n_drawn = shown.data, self.n_drawn + 1
        self._drawn_at = time.perf_counter()
        self._last_took = self._drawn_at - started
        self.drawing_seconds += self._last_took

    def _figure(self):
        images = self.gan.peek(self.n_images)
        n_distinct = round(metrics.distinct_images(images) * len(images))
        variety = health.image_variance(images) / self._real_spread
        told = f"{len(images)} digits from the prior's codes: {n_distinct} distinct in black and white; two of them "
        told += f"differ {variety:.0%} as much as two real ones"
        last = self.gan.history[-1]
        title = f"Epoch {last.epoch}: D(x) {last.d_real:.2f}, D(G(z)) {last.d_fake:.2f}"
        figure = plots.training_panel(self.gan.history, images, title, told, self._n_bits)
        if hasattr(self._learned, "qcbm"):  # where the codes' circuit ran
            stamp = str(self._learned.qcbm.execution)
            figure.text(0.995, 0.99, stamp, ha="right", va="top", size=8, color="0.35")
        return figure

    def _tell_epochs(self):
        self.epoch_bar.value = done = self.gan.epoch - self._first
        self._epoch_text.value = f"{done} of {self.epochs} epochs; ■ above stops at once"

    def _evaluated(self, evaluation, cost):
        """Count one evaluation of a fit."""
        if evaluation == 1:
            self.fit_bar.value, self.fit_bar.max, self._best = 0, self._learned.budget, cost
        self._best = min(self._best, cost)
        now = time.perf_counter()
        if now - self._told_at >= TOLD or evaluation == self.fit_bar.max:
            self._told_at, self.fit_bar.value = now, evaluation
            self._fit_text.value = f"{evaluation:,} of {self.fit_bar.max:,} evaluations, best {self._best:.2f} nats"

    def _press(self, _):
        """End the training after the epoch that runs; in another thread, so nothing else is touched."""
        self.stopped, self.button.disabled, self.button.description = True, True, "Stopping …"

    def _close(self, ended):
        """Draw a last time, and put a line of text in place of the widgets."""
        if hasattr(self._learned, "on_evaluation"):
            self._learned.on_evaluation = None
        done, seconds = self.gan.epoch - self._first, time.perf_counter() - self._started
        if done:
            self._draw(self.gan.history[-1])
        self.told = f"{done} of {self.epochs} epochs in {seconds:.0f} s{ended}"
        self._controls.update(Pretty(self.told))
        for widget in (self._box, *(child for row in self._box.children for child in row.children)):
            widget.close()


def _alt(report, with_prior):
    cost = ", and what the bits cost the fitted prior" if with_prior else ""
    return (
        f"Curves until epoch {report.epoch}: losses of discriminator and generator, the discriminator's verdicts on "
        f"real and on drawn digits{cost}; below them digits drawn from the prior's codes."
    )
