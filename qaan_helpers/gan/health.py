"""Is a training still alive? Findings about one epoch, each with advice: pure functions of its numbers and images.

The limits stand between what was measured on runs that went well (three priors, 1 to 10 digits, 200 to 6,000 images,
learning rates 2e-4 and 5e-4) and on runs broken on purpose (learning rates 5e-3 to 0.9, one network held still, a prior
of one or two codes, bits by sign). A generator that is only poor, or that leaves out a digit, is not noticed here: that
is what the scores in `metrics` are for.
"""

import math

import numpy as np
import torch

from ..bits import entropy

ENOUGH = 32  # images or codes: of fewer, nothing is said
SETTLED = 0.15  # learning_rate × steps, until which every generator draws alike: 300 steps at 5e-4
WINDOWS = 4  # of 1 / (1 − ema_decay) steps, until which the average still holds such weights
COLLAPSED = 0.05  # of the real images' spread; well 0.35 and more by then, broken 0.035 and less
ONE_CODE = 0.1  # of the entropy of n bits; well 0.29 and more, broken 0.04 and less
SATURATED = 0.75  # D(x) − D(G(z)) over what label smoothing allows; well 0.36 and less, broken 0.78 and more
EPOCHS = 3  # that the discriminator must win in a row, since one who wins for an epoch or two may lose its lead again


class TrainingWarning(UserWarning):
    """A training has gone wrong, or is not what it seems; the text says what to do about it."""


def spread(images: torch.Tensor) -> float:
    """How far images (N, 1, 28, 28) differ: half the mean squared distance of a pair, 0 for fewer than two."""
    return images.flatten(1).var(0).sum().item() if len(images) > 1 else 0.0


def findings(
    history: list, settings, steps: int, codes: np.ndarray, drawn: torch.Tensor, real_spread: float
) -> dict[str, str]:
    """What has gone wrong by the last epoch of `history`, as {name: what, and what to do}; empty where nothing has.

    history: Reports; settings: the run's `Settings`; steps: of each network so far; codes: (N, n) uint8 that the prior
    drew for the epoch; drawn: images (M, 1, 28, 28) from some of them; real_spread: `spread` of real images.
    """
    found = {
        "collapsed generator": _collapsed(settings, steps, drawn, real_spread),
        "dead prior": _dead(history[-1], settings, codes),
        "saturated discriminator": _saturated(history[-EPOCHS:], settings),
    }
    if not found["dead prior"]:  # which says so itself
        found["silent discriminator"] = _silent(history[-1], codes)
    return {name: told for name, told in found.items() if told}


def diverged(report, settings) -> dict[str, str]:
    """The finding about an epoch that left NaN or infinity in a loss or a weight."""
    return {
        "diverged": f"a loss or a weight became NaN or infinite (D's loss {report.d_loss}, G's {report.g_loss}); the "
        "epoch's steps are undone, so that the networks are those of the epoch before. Begin anew with a smaller "
        f"learning_rate than {settings.learning_rate:g}"
    }


def _collapsed(settings, steps, drawn, real_spread):
    settled = settings.learning_rate * steps >= SETTLED and steps * (1 - settings.ema_decay) >= WINDOWS
    if not settled or len(drawn) < ENOUGH or not spread(drawn) < COLLAPSED * real_spread:
        return None
    return (
        f"the generator draws nearly the same image each time ({spread(drawn) / real_spread:.1%} of the real ones' "
        "spread). It seldom comes back: begin anew with a smaller learning_rate or batch_size, or load an older save"
    )


def _dead(report, settings, codes):
    most, has = _most(codes), entropy(codes)
    if len(codes) < ENOUGH or has >= ONE_CODE * most:
        return None
    told = f"the prior draws nearly one code only ({has:.2f} nats of {most:.2f}), so the digits are alike too. "
    if not report.bits_entropy < ONE_CODE * most:
        return f"{told}The bits that it learns are richer: give its fit more evaluations, or another optimizer"
    if settings.binarization != "median":
        return f"{told}So are the bits of real images: binarization='median' cuts each unit where it splits them in two"
    return f"{told}So are the bits of real images: D's hidden layer is dead; begin anew with a smaller learning_rate"


def _most(codes):
    """Nats that n bits can hold, or that so many codes can show."""
    return min(codes.shape[1] * math.log(2), math.log(len(codes)))


def _silent(report, codes):
    most = _most(codes)
    if not report.bits_entropy < ONE_CODE * most:  # or NaN, where no bits were read
        return None
    return (
        f"the discriminator's hidden layer says nearly the same of every real image ({report.bits_entropy:.2f} nats of "
        f"{most:.2f}), so the generator has nothing to learn from it. It seldom comes back: begin anew with a smaller "
        "learning_rate or another seed"
    )


def _saturated(reports, settings):
    allowed = 1 - settings.label_smoothing
    if len(reports) < EPOCHS or not all(r.d_real - r.d_fake > SATURATED * allowed for r in reports):
        return None
    return (
        f"for {EPOCHS} epochs the discriminator has told real from drawn almost without fail (D(x) "
        f"{reports[-1].d_real:.2f}, D(G(z)) {reports[-1].d_fake:.2f}), and such a judge teaches the generator little. "
        "Begin anew with a smaller learning_rate, or with more label_smoothing"
    )
