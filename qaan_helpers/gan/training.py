"""Training: the discriminator and the generator play, and after each epoch the prior is fitted to the bits.

An epoch is atomic. If an interrupt or an error ends it early, the QAAN returns to its state after the previous epoch,
so that it can be saved and training can continue bit for bit.

The same seed, data, machine, versions and number of threads give the same numbers to the last bit on the CPU. With
another number of threads, sums are taken in another order: a fit then differs by up to 1e-6 nats and the losses of the
first ten steps by up to 1e-4; later, the networks diverge like two seeds. There is no such guarantee across kinds of
CPU or versions of PyTorch, Qiskit or SciPy, on a GPU (not even between runs), or for a sampler with its own randomness.
"""

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..bits import entropy, total_correlation
from ..checks import ExecutionError, check_choice, check_integer
from ..mnist import Digits
from . import health
from .model import QAAN, Report, derive_seed
from .settings import Settings
from .state import NETWORKS, is_finite, snapshot

NO_FIT = math.nan, math.nan, math.nan
CHECKED_CODES = 1000  # sampled for the health checks, if the training itself samples none


def train(
    gan: QAAN, digits: Digits, epochs: int = 20, batch_size: int = 64, on_collapse: str = "warn"
) -> Iterator[Report]:
    """Train for a number of epochs. The loop over the reports is the training, and `break` stops it.

    After the warm-up, each epoch starts with a fit of the prior to the bits of real images, and samples of the prior
    are the generator's latent codes. With the objective "reconstruction", which trains without a prior, the fit is at
    the end of the epoch. Problems that `health.diagnose` reports become a TrainingWarning, once until they
    disappear. If an epoch ends with NaN or infinity, its training steps are undone. An interrupted epoch is undone
    completely, except for a prior without state_dict(), and the angles fitted before an ExecutionError.

    Args:
        gan: The model.
        digits: The real images.
        epochs: Number of further epochs.
        batch_size: Images per step; at most all images are used, with a warning.
        on_collapse: "warn", or "stop" to end the training after the epoch in which a problem appears.

    Yields:
        A `Report` after each epoch.

    Raises:
        ValueError: If an argument is not allowed, before any work.
        ExecutionError: If the circuit cannot be run.
    """
    if not isinstance(gan, QAAN):
        raise ValueError(f"gan must be a QAAN, from QAAN(prior) or QAAN.load(folder); got {type(gan).__name__}")
    if not isinstance(digits, Digits):
        raise ValueError(
            f"digits must be Digits, from load_mnist() or Digits(images, labels); got {type(digits).__name__}"
        )
    check_integer("epochs", epochs)
    check_integer("batch_size", batch_size)
    check_choice("on_collapse", on_collapse, ("warn", "stop"))
    if batch_size > len(digits):
        warnings.warn(
            f"batch_size is {batch_size:,}, and there are {len(digits):,} images: each step uses all of them",
            stacklevel=2,
        )
    return _epochs(gan, digits.to(gan.device), epochs, min(batch_size, len(digits)), on_collapse)


def _epochs(gan: QAAN, digits: Digits, epochs: int, batch_size: int, on_collapse: str) -> Iterator[Report]:
    real_variance = health.image_variance(digits.images[:: len(digits) // 500 + 1])
    reported: dict[str, str] = {}
    for _ in range(epochs):
        learning, before = torch.is_grad_enabled(), None
        try:
            before = snapshot(gan)
            _note_data(gan, digits, batch_size)
            problems = _epoch(gan, digits, batch_size, before, real_variance)
        except BaseException as error:
            _undo(gan, before, learning, keep_prior=isinstance(error, ExecutionError))
            raise
        for name in [name for name in problems if name not in reported]:
            end = ". Training stops here, because on_collapse is 'stop'" if on_collapse == "stop" else ""
            warnings.warn(f"epoch {gan.epoch}, {name}: {problems[name]}{end}", health.TrainingWarning, stacklevel=2)
        reported = problems
        yield gan.history[-1]
        if problems and on_collapse == "stop":
            return


def _note_data(gan: QAAN, digits: Digits, batch_size: int) -> None:
    """Record what the epochs are trained on, and warn if it changes: the result is then another run."""
    before = gan.trained_on
    labels = digits.labels.unique().tolist()
    gan.trained_on = {"digits": repr(digits), "batch_size": batch_size, "labels": labels}
    was, now = (data and f"{data['digits']} in batches of {data['batch_size']}" for data in (before, gan.trained_on))
    if gan.epoch and was and was != now:
        warnings.warn(f"this was trained on {was} so far, and from now on {now}", health.TrainingWarning, stacklevel=3)


def _undo(gan: QAAN, before: dict[str, Any] | None, learning: bool, keep_prior: bool) -> None:
    """Return to the state before an epoch. An interrupt meanwhile only makes this start again.

    The state is None if the interrupt came while it was copied; then nothing has changed but PyTorch's gradient mode.
    """
    try:
        torch.set_grad_enabled(learning)  # an interrupt at the edge of torch.no_grad() leaves it switched
        if before is None:
            return
        prior = {"config": None, "state": None} if keep_prior else before["prior"]
        gan.load_state_dict({**before, "prior": prior})
        gan.discriminator.requires_grad_(True)  # an interrupted step can leave some parameters frozen
    except KeyboardInterrupt:
        _undo(gan, before, learning, keep_prior)


def _epoch(gan: QAAN, digits: Digits, batch_size: int, before: dict[str, Any], real_variance: float) -> dict[str, str]:
    """Train one epoch, append its Report to the history, and return the problems in it."""
    started = time.perf_counter()
    fits_last = gan.objective == "reconstruction"  # whose networks are trained without the prior
    steps = len(digits) // batch_size
    fit, prior_seconds = NO_FIT, 0.0
    parts: Sequence[torch.Tensor | None] = [None] * steps
    if not fits_last:
        fit, prior_seconds = _fit_if_due(gan, digits, gan.epoch)
        codes = np.asarray(gan.active_prior.sample(steps * batch_size))
        noise = torch.Generator().manual_seed(derive_seed(gan.seed, "latents", gan.epoch))
        latents = gan.latents(codes, noise)
        parts = latents.split(batch_size)
    d_loss, g_loss, d_real, d_fake, *errors = _play_epoch(gan, digits, batch_size, parts)
    after = gan.state_dict()
    networks = [name for name in NETWORKS if name in after]
    finite = math.isfinite(d_loss) and math.isfinite(g_loss) and all(is_finite(after[name]) for name in networks)
    if finite and fits_last:
        fit, prior_seconds = _fit_if_due(gan, digits, gan.epoch + 1)
        codes = np.asarray(gan.active_prior.sample(CHECKED_CODES))
        latents = gan.latents(codes)
    if finite and gan.thresholds is None:  # there was no fit yet
        gan.read_bits(_chosen_images(gan, digits, gan.epoch)[0])
    seconds = time.perf_counter() - started
    report = Report(gan.epoch + 1, d_loss, g_loss, d_real, d_fake, *fit, seconds, prior_seconds, *errors)
    if finite:
        images = gan.generate(latents[: 2 * health.MIN_SAMPLES])
        history = [*gan.history, report]
        problems = health.diagnose(history, gan.settings, report.epoch * steps, codes, images, real_variance)
    else:
        gan.load_state_dict({**after, **{name: before[name] for name in [*networks, "n_steps"]}})
        problems = health.diagnose_divergence(report, gan.settings)
    gan.history.append(report)
    return problems


def _fit_if_due(gan: QAAN, digits: Digits, epoch: int) -> tuple[tuple[float, float, float], float]:
    """Fit the prior if the settings ask for it before this epoch, counted from 0; return what it gave and its seconds.

    That is the cost of the bits, their entropy and their total correlation, or NaN without a fit.
    """
    started = time.perf_counter()
    waited = epoch - gan.settings.warm_up
    fit = NO_FIT if waited < 0 or waited % gan.settings.refresh else _fit_prior(gan, digits, epoch)
    return fit, time.perf_counter() - started


def _fit_prior(gan: QAAN, digits: Digits, epoch: int) -> tuple[float, float, float]:
    images, rng = _chosen_images(gan, digits, epoch)
    if isinstance(gan.settings, Settings) and gan.settings.fit_to == "both":
        images[::2] = gan.sample(len(images[::2])).to(images.device)
    bits = gan.read_bits(images, seed=int(rng.integers(2**31)))
    cost = gan.prior.fit(bits)
    gan.prior_fitted = True
    return math.nan if cost is None else float(cost), entropy(bits), total_correlation(bits)


def _chosen_images(gan: QAAN, digits: Digits, epoch: int) -> tuple[torch.Tensor, np.random.Generator]:
    """Choose up to `fit_samples` real images for a fit; return a copy, and the generator that chose them."""
    rng = np.random.default_rng(derive_seed(gan.seed, "fit", epoch))
    chosen = rng.permutation(len(digits))[: gan.settings.fit_samples]
    return digits.images[torch.from_numpy(chosen)], rng


def _play_epoch(gan: QAAN, digits: Digits, batch_size: int, latents: Sequence[torch.Tensor | None]) -> list[float]:
    """Take one step for each batch and its latents; return the means of what `QAAN.step` returns."""
    gan.generator.train()
    gan.discriminator.train()
    if gan.encoder is not None:
        gan.encoder.train()
    batches = digits.batches(batch_size, derive_seed(gan.seed, "batches", gan.epoch), drop_last=True)
    noise = torch.Generator().manual_seed(derive_seed(gan.seed, "codes", gan.epoch))
    more = () if gan.encoder is None else (noise,)  # a user's own step may take images and latents only
    results = [gan.step(images, part, *more) for (images, _), part in zip(batches, latents, strict=True)]
    means: list[float] = torch.stack(results).mean(0).tolist()
    return means
