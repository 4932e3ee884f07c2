"""Health checks of a training: problems in one epoch, each with advice, from its numbers and images.

The limits lie between the values of healthy runs (three priors, 1 to 10 digits, 200 to 6,000 images, learning rates
2e-4 and 5e-4) and those of runs that were broken on purpose (learning rates 5e-3 to 0.9, one network frozen, a prior of
one or two codes, bits by sign). A generator that is merely poor, or that omits a digit, is not detected here: the
scores in `evaluation.metrics` are for that.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..bits import entropy
from .settings import AnySettings, EncoderSettings, Settings

if TYPE_CHECKING:
    from .model import Report

MIN_SAMPLES = 32  # images or codes; with fewer, nothing is diagnosed
MIN_TRAINING = 0.15  # learning_rate × steps, before which every generator's images are alike: 300 steps at 5e-4
EMA_WINDOWS = 4  # multiples of 1 / (1 − ema_decay) steps, before which the EMA still holds initial weights
COLLAPSED = 0.05  # of the real images' variance; healthy runs have 0.35 and more by then, broken ones 0.035 and less
LOW_ENTROPY = 0.1  # of the entropy of n bits; healthy runs have 0.29 and more, broken ones 0.04 and less
SATURATED = 0.75  # of the possible D(x) − D(G(z)); healthy runs have 0.36 and less, broken ones 0.78 and more
EPOCHS = 3  # consecutive epochs with a saturated discriminator; after one or two it can still lose its lead


class TrainingWarning(UserWarning):
    """A training has gone wrong, or is not what it seems. The message says what to do."""


def image_variance(images: torch.Tensor) -> float:
    """Return the variance of images: half the mean squared distance of a pair.

    Args:
        images: Images of shape (N, 1, 28, 28).

    Returns:
        The sum of the pixels' variances; 0 for fewer than two images.
    """
    return images.flatten(1).var(0).sum().item() if len(images) > 1 else 0.0


def diagnose(
    history: "Sequence[Report]",
    settings: AnySettings,
    steps: int,
    codes: np.ndarray,
    images: torch.Tensor,
    real_variance: float,
) -> dict[str, str]:
    """Look for problems in the last epoch.

    Args:
        history: The reports of all epochs so far.
        settings: The settings of the training.
        steps: Steps of each network so far.
        codes: Latent codes of the epoch, shape (N, n): bits, or floating-point latents.
        images: Images generated from some of them, shape (M, 1, 28, 28).
        real_variance: The `image_variance` of real images.

    Returns:
        Each problem's name, with what is wrong and what to do; empty if there is none.
    """
    problems = {
        "collapsed generator": _collapsed(settings, steps, images, real_variance),
        "collapsed prior": _collapsed_prior(history[-1], settings, codes),
        "saturated discriminator": _saturated(history[-EPOCHS:], settings),
    }
    if isinstance(settings, EncoderSettings) and settings.learning_rate * steps < MIN_TRAINING:
        problems["collapsed prior"] = None  # the running means that center the encoder's units are still initial ones
    elif not problems["collapsed prior"]:  # which covers this case
        name = "encoder" if isinstance(settings, EncoderSettings) else "discriminator"
        problems[f"uninformative {name}"] = _uninformative(history[-1], settings, codes)
    return {name: problem for name, problem in problems.items() if problem}


def diagnose_divergence(report: "Report", settings: AnySettings) -> dict[str, str]:
    """Describe an epoch that ended with NaN or infinity in a loss or a weight.

    Args:
        report: The epoch's report.
        settings: The settings of the training.

    Returns:
        The problem's name, with what is wrong and what to do.
    """
    return {
        "diverged": f"a loss or a weight became NaN or infinite (discriminator loss {report.d_loss}, generator loss "
        f"{report.g_loss}). The epoch's training steps were undone. Start again with a learning_rate below "
        f"{settings.learning_rate:g}"
    }


def _collapsed(settings: AnySettings, steps: int, images: torch.Tensor, real_variance: float) -> str | None:
    trained = settings.learning_rate * steps >= MIN_TRAINING and steps * (1 - settings.ema_decay) >= EMA_WINDOWS
    variance = image_variance(images)
    if not trained or len(images) < MIN_SAMPLES or not variance < COLLAPSED * real_variance:
        return None
    return (
        f"the generator produces nearly the same image every time ({variance / real_variance:.1%} of the real images' "
        "variance). It rarely recovers: start again with a smaller learning_rate or batch_size, or load an older save"
    )


def _collapsed_prior(report: "Report", settings: AnySettings, codes: np.ndarray) -> str | None:
    if np.issubdtype(codes.dtype, np.floating):  # latents without bits
        return None
    maximum, measured = _max_entropy(codes), entropy(codes)
    if len(codes) < MIN_SAMPLES or measured >= LOW_ENTROPY * maximum:
        return None
    problem = f"the prior generates almost a single code ({measured:.2f} of {maximum:.2f} nats of entropy). "
    if not report.bits_entropy < LOW_ENTROPY * maximum:
        return f"{problem}The bits that it is fitted to vary more: allow more evaluations, or use another optimizer"
    if isinstance(settings, Settings) and settings.binarization != "median":
        return f"{problem}So do the bits of real images: binarization='median' balances each bit"
    return f"{problem}So do the bits of real images: start again with a smaller learning_rate"


def _max_entropy(codes: np.ndarray) -> float:
    """The entropy in nats that n bits, or this number of codes, can have at most."""
    return min(codes.shape[1] * math.log(2), math.log(len(codes)))


def _uninformative(report: "Report", settings: AnySettings, codes: np.ndarray) -> str | None:
    maximum = _max_entropy(codes)
    if not report.bits_entropy < LOW_ENTROPY * maximum:  # also if NaN, when nothing was fitted
        return None
    layer = "the encoder's code" if isinstance(settings, EncoderSettings) else "the discriminator's hidden layer"
    return (
        f"{layer} is nearly the same for every real image ({report.bits_entropy:.2f} of "
        f"{maximum:.2f} nats of entropy). It rarely recovers: start again with a smaller learning_rate or another seed"
    )


def _saturated(reports: "Sequence[Report]", settings: AnySettings) -> str | None:
    possible = 1 - settings.label_smoothing
    if len(reports) < EPOCHS or not all(r.d_real - r.d_fake > SATURATED * possible for r in reports):
        return None
    return (
        f"for {EPOCHS} epochs the discriminator has separated real from generated images almost perfectly (D(x) "
        f"{reports[-1].d_real:.2f}, D(G(z)) {reports[-1].d_fake:.2f}): the generator does not keep up. "
        "Start again with a smaller learning_rate or more label_smoothing"
    )
