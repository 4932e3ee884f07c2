"""Checks of notebook 2's exercises: a generator and a discriminator."""

from math import inf, log

import torch
from torch.nn.functional import logsigmoid

from .grading import NUMBER, Hint, a_function, a_number, between, grade, near, needs_keys, returns


def check_repeats(number: object) -> bool:
    """Check exercise 1 of notebook 2: the mean number of distinct codes in 256 samples of 256 equally likely codes.

    Args:
        number: A number.

    Returns:
        Whether the answer is right.
    """
    right = 256 * (1 - (1 - 1 / 256) ** 256)
    hint = "Follow one code. How likely is it that no sample shows it? How many codes are missing on average?"
    hints = [
        a_number(),
        between(-inf, 240, "Then almost no code would come twice in 256 samples. How likely is that?"),
        near(right, 12, hint),
    ]
    praise = f"About {right:.0f}: a fraction 1/e of the codes is missing, although all codes are equally likely."
    return grade(number, hints, praise)


def check_d_loss(function: object) -> bool:
    """Check exercise 2 of notebook 2: the discriminator's loss.

    Args:
        function: A function (logit_real, logit_fake, smoothing) of the logits of real and of generated images, each of
            shape (N, 1), and the label smoothing. It returns the sum of two mean cross-entropies in nats: a number, or
            a tensor of one element.

    Returns:
        Whether the answer is right.
    """
    half, sure = torch.zeros(4, 1), torch.full((4, 1), 10.0)
    some = torch.tensor([[-1.0], [0.5], [2.0], [0.1]])
    smoothed = (some, some + 1, 0.2)
    hints = [
        a_function(),
        returns(0, (sure, -sure, 0.0), "If D is certain and right about every image, its loss is 0."),
        returns(2 * log(2), (half, half, 0.0), "If D always outputs 1/2, its loss is the sum of two terms of log 2."),
        returns(_d_loss(some, half, 0.0), (some, half, 0.0), "Each term is a mean over the images."),
        returns(10, (-sure, -sure, 0.0), "How large is the loss if D is certain that a real image is generated?"),
        returns(_d_loss(*smoothed), smoothed, "With smoothing s the targets are 1 − s (real) and still 0 (generated)."),
    ]
    return grade(function, hints, "This is the discriminator's loss, computed from the logits as in `QAAN.step`.")


def _d_loss(logit_real: torch.Tensor, logit_fake: torch.Tensor, smoothing: float) -> float:
    real = (1 - smoothing) * logsigmoid(logit_real) + smoothing * logsigmoid(-logit_real)
    return float(-(real.mean() + logsigmoid(-logit_fake).mean()))


def check_smoothing(answer: object) -> bool:
    """Check exercise 3 of notebook 2: what label smoothing does to the discriminator.

    Args:
        answer: A dictionary of numbers. "perfect" is the loss in nats of a perfect discriminator without smoothing;
            "with" and "without" are the mean over the epochs of (D(x) + D(G(z))) / 2, with and without smoothing.

    Returns:
        Whether the answer is right.
    """
    midpoint = "Take the midpoint of the probabilities D(x) and D(G(z)), averaged over the epochs."
    hints = [
        needs_keys(dict.fromkeys(("perfect", "with", "without"), NUMBER)),
        near(0, 0.01, "Without smoothing, what does a perfect D output for real digits? Its loss?", "perfect"),
        between(0.3, 0.6, midpoint, "with", "without"),
        Hint(
            lambda a: a["with"] < a["without"],
            "Use the same seed and epochs for both. What does D output at chance level, with and without smoothing?",
        ),
    ]
    praise = "A D that cannot tell the images apart outputs 1/2 without smoothing, and slightly less with it."
    return grade(answer, hints, praise)
