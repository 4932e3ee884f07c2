"""A live view of a training: curves, generated digits and progress bars, redrawn in place, and a stop button.

A click on the button must reach a kernel that is busy training. JupyterLab from 4.4 on sends it to a subshell, a
separate thread in the kernel (ipykernel 7.0 or newer). Without subshells the click arrives when the training is over,
and only ■ in the toolbar stops it.
"""

import math
import time
from collections.abc import Iterator

import comm
from comm.base_comm import BaseComm
from IPython.display import DisplayHandle, Pretty
from ipywidgets import HTML, Button, HBox, IntProgress, Layout, VBox, Widget
from matplotlib.figure import Figure

from ..evaluation import metrics
from ..gan import health
from ..gan.model import QAAN, Report
from ..mnist import Digits
from ..priors import UniformPrior, circuit_prior
from . import plots

MAX_REDRAW_FRACTION = 0.04  # of the training time
FIT_BAR_SECONDS = 0.25  # between two updates of the progress bar of a fit


class View:
    """A live view of a training: `for report in view.watch(train(gan, digits, epochs))`.

    It shows two measures of the images' variety: how many are distinct in black and white, and the variance of their
    pixels relative to that of real images, near 0 for a collapsed generator. Watching does not change the results of
    the training. A stored notebook keeps one line of text and the last figure.

    Args:
        gan: The model that `train` trains.
        digits: The training data.
        epochs: How many epochs `train` runs, for the progress bar.
        n_images: How many images to generate for each redraw.
        every: Minimum seconds between two redraws; longer if drawing takes more than MAX_REDRAW_FRACTION of the time.

    Attributes:
        stopped: Whether the button has been pressed.
        status: How the training ended, in words; "" before that.
        picture: The last figure as a PNG; None before the first.
        n_redraws: How often the figure has been redrawn.
        redraw_seconds: The total time spent on drawing, in seconds.
    """

    def __init__(self, gan: QAAN, digits: Digits, epochs: int, n_images: int = 32, every: float = 1.0) -> None:
        self.gan, self.epochs, self.n_images, self.every = gan, epochs, n_images, every
        self.button = Button(description="Stop after this epoch", icon="stop", layout=Layout(width="12em"))
        self.button.on_click(self._stop)
        self.epoch_bar, self._epoch_text = IntProgress(max=epochs), HTML()
        self.fit_bar, self._fit_text = IntProgress(), HTML()
        self.stopped, self.status = False, ""
        self.picture: bytes | None = None
        self.n_redraws, self.redraw_seconds = 0, 0.0
        self._real_variance = health.image_variance(digits.images[:: len(digits) // 500 + 1])
        self._controls, self._image = DisplayHandle(), DisplayHandle()
        self._circuit = circuit_prior(gan.prior)
        self._n_bits = None if isinstance(gan.prior, UniformPrior) else gan.prior.latent_dim  # nothing is fitted
        self._redrawn_at = self._last_seconds = self._fit_bar_at = self._best = 0.0

    def watch(self, reports: Iterator[Report]) -> Iterator[Report]:
        """Show each report and pass it on; end after the epoch in which the button is pressed.

        An interrupt (■ in the toolbar) is passed on, and `train` undoes the epoch that it interrupts.

        Args:
            reports: The iterator that `train` returns.

        Yields:
            The reports, one per epoch.
        """
        self._started, self._first_epoch = time.perf_counter(), self.gan.epoch
        reason = ", stopped by an interrupt or an error"
        self._open()
        try:
            for report in reports:
                self._show(report)
                yield report
                if self.stopped:
                    break
            reason = ", stopped by the button" if self.stopped else ""
        except GeneratorExit:
            reason = ", stopped by the loop around it"
            raise
        finally:
            self._close(reason)

    def _open(self) -> None:
        self._count_epochs()
        rows = [HBox([self.button, self.epoch_bar, self._epoch_text])]
        if self._circuit is not None:
            self._circuit.on_evaluation = self._count_evaluation
            rows.append(HBox([HTML("The circuit's fit:", layout=Layout(width="12em")), self.fit_bar, self._fit_text]))
        self._box = VBox(rows)
        self._controls.display(self._box)
        _receive_in_any_thread(self.button)

    def _show(self, report: Report) -> None:
        """Move the progress bar, and redraw when it is time."""
        self._count_epochs()
        pause = max(self.every, self._last_seconds / MAX_REDRAW_FRACTION)
        if self.picture is None or time.perf_counter() - self._redrawn_at >= pause:
            self._redraw(report)

    def _redraw(self, report: Report) -> None:
        started = time.perf_counter()
        figure = self._figure()
        image = plots.picture(figure, _alt(report, with_prior=len(figure.axes) > 3), tight=False)
        if self.picture is None:
            self._image.display(image)
        else:
            self._image.update(image)
        self.picture, self.n_redraws = image.data, self.n_redraws + 1
        self._redrawn_at = time.perf_counter()
        self._last_seconds = self._redrawn_at - started
        self.redraw_seconds += self._last_seconds

    def _figure(self) -> Figure:
        images = self.gan.peek(self.n_images)
        n_distinct = round(metrics.distinct_images(images) * len(images))
        variety = health.image_variance(images) / self._real_variance
        caption = f"{len(images)} generated digits: {n_distinct} distinct in black and white; "
        caption += f"variance of the pixels {variety:.0%} of that of real digits"
        last = self.gan.history[-1]
        title = f"Epoch {last.epoch}: D(x) {last.d_real:.2f}, D(G(z)) {last.d_fake:.2f}"
        if not math.isnan(last.reconstruction_loss):
            title += f", reconstruction error {last.reconstruction_loss:.3f} per pixel"
        figure = plots.training_panel(self.gan.history, images, title, caption, self._n_bits)
        if self._circuit is not None:
            provenance = str(self._circuit.qcbm.execution)
            figure.text(0.995, 0.99, provenance, ha="right", va="top", size=8, color="0.35")
        return figure

    def _count_epochs(self) -> None:
        self.epoch_bar.value = done = self.gan.epoch - self._first_epoch
        self._epoch_text.value = f"{done} of {self.epochs} epochs; ■ in the toolbar stops at once"

    def _count_evaluation(self, evaluation: int, cost: float) -> None:
        """Count one evaluation of a fit."""
        if evaluation == 1 and self._circuit is not None:
            self.fit_bar.value, self.fit_bar.max, self._best = 0, self._circuit.budget, cost
        self._best = min(self._best, cost)
        now = time.perf_counter()
        if now - self._fit_bar_at >= FIT_BAR_SECONDS or evaluation == self.fit_bar.max:
            self._fit_bar_at, self.fit_bar.value = now, evaluation
            self._fit_text.value = f"{evaluation:,} of {self.fit_bar.max:,} evaluations, best {self._best:.2f} nats"

    def _stop(self, _: Button) -> None:
        """End the training after the current epoch. This runs in another thread, so it touches nothing else."""
        self.stopped, self.button.disabled, self.button.description = True, True, "Stopping …"

    def _close(self, reason: str) -> None:
        """Redraw a last time, and replace the widgets with a line of text."""
        if self._circuit is not None:
            self._circuit.on_evaluation = None
        done, seconds = self.gan.epoch - self._first_epoch, time.perf_counter() - self._started
        if done:
            self._redraw(self.gan.history[-1])
        self.status = f"{done} of {self.epochs} epochs in {seconds:.0f} s{reason}"
        self._controls.update(Pretty(self.status))
        for widget in (self._box, *(child for row in self._box.children for child in row.children)):
            widget.close()


def _receive_in_any_thread(widget: Widget) -> None:
    """Let the front end choose the kernel's thread that receives a widget's messages.

    From 7.4 on, ipykernel hands them to the thread that sent the widget's last message, here the one that is busy
    training. It does so for comms of its own class only, so a plain comm receives the messages and passes them on.
    """
    receiver = BaseComm(comm_id=widget.comm.comm_id, primary=False)
    receiver.on_msg(widget.comm.handle_msg)
    receiver.on_close(lambda _: widget.comm.close(deleting=True))
    comm.get_comm_manager().register_comm(receiver)


def _alt(report: Report, with_prior: bool) -> str:
    curves = "losses of discriminator and generator, discriminator outputs for real and generated digits"
    prior = ", negative log-likelihood of the bits under the fitted prior" if with_prior else ""
    return f"Curves until epoch {report.epoch}: {curves}{prior}; below them digits generated from the prior's codes."
