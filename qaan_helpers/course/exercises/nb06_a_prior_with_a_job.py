"""Checks of notebook 6's exercises: codes, recall, and the prior's part in it."""

from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from math import inf

import numpy as np
import torch

from ...evaluation.metrics import classify
from ...gan.model import QAAN
from ...gan.storage import bundled
from ...mnist import Digits, load_mnist
from .grading import NUMBER, WORD, Hint, between, equals, grade, needs_keys, one_of


def check_straight_through(answer: object) -> bool:
    """Check exercise 1 of notebook 6: the derivative of an expected loss, and its straight-through estimate.

    Args:
        answer: A dictionary of two numbers: "true" and "straight-through".

    Returns:
        Whether the answer is right.
    """
    hints = [
        needs_keys({"true": NUMBER, "straight-through": NUMBER}),
        equals(1, "The bit is 0 or 1, so b² = b. What is its expected value, as a function of p?", "true"),
        between(-inf, 1.9, "The derivative 2b is only different from 0 if b = 1. How often is it?", "straight-through"),
        between(1.399, 1.401, "Take the mean of 2b over the two values of b, with p = 0.7.", "straight-through"),
    ]
    return grade(answer, hints, "The estimate is biased: it is exact only if the loss is linear in each bit.")


def check_recall(recall: object) -> bool:
    """Check exercise 2 of notebook 6: recall, written with the parts of a QAAN.

    Args:
        recall: A function of a QAAN and images of shape (N, 1, 28, 28) that returns N images.

    Returns:
        Whether the answer is right.
    """

    def returned(function: object) -> torch.Tensor:
        return function(_model(), _test().images[:12])  # type: ignore[operator]

    hints = [
        Hint(callable, "A function of a QAAN and images is needed."),
        Hint(
            lambda f: tuple(returned(f).shape) == (12, 1, 28, 28),
            "For twelve images it must return a tensor of shape (12, 1, 28, 28).",
        ),
        Hint(
            lambda f: torch.equal(returned(f), returned(f)),
            "Two calls return different images. Where does the noise come from?",
        ),
        Hint(
            lambda f: torch.allclose(returned(f), _model().recall(_test().images[:12]), atol=1e-5),
            "These are not the images of `gan.recall`. Is each activation compared with its threshold, and are the "
            "latents −1 and +1?",
        ),
    ]
    return grade(recall, hints, "A recall is four steps: activations, bits, latents, images.")


def check_signed_permutation(answer: object) -> bool:
    """Check exercise 3 of notebook 6: what permuting and flipping bits leaves unchanged.

    Args:
        answer: A dictionary of True or False: "entropy", "total correlation", "mean of bit 0", "held-out KL" and
            "distances", for what stays the same.

    Returns:
        Whether the answer is right.
    """
    boolean = Hint(
        lambda a: all(isinstance(value, bool | np.bool_) for value in a.values()), "Each value must be True or False."
    )
    names = ("entropy", "total correlation", "mean of bit 0", "held-out KL", "distances")
    hints = [
        Hint(lambda a: set(a) == set(names), f"A dictionary with the keys {', '.join(names)} is needed."),
        boolean,
        equals(True, "Does renaming the outcomes of a distribution change its probabilities as a set?", "entropy"),
        equals(
            True,
            "It is the sum of the single bits' entropies minus the joint entropy. Which of them changes?",
            "total correlation",
        ),
        equals(False, "Flip bit 0: what was 1 becomes 0.", "mean of bit 0"),
        equals(False, "The codes of held-out images stay as they are, and the prior's change.", "held-out KL"),
        equals(True, "Two codes that differ in k bits: in how many do their images under the map differ?", "distances"),
    ]
    praise = "The associative loop sees only what stays the same, so the held-out KL cannot matter to it."
    return grade(answer, hints, praise)


def check_half_images(answer: object) -> bool:
    """Check exercise 4 of notebook 6: recall of images whose lower half is hidden.

    Args:
        answer: A dictionary. "whole" and "half" are the fractions of recalls with the right label, from whole images
            and from images whose lower 14 rows are black; "memory helps" is "yes" if the classifier labels fewer of
            the half images themselves correctly than of their recalls, else "no".

    Returns:
        Whether the answer is right.
    """
    asked = "Use all test images of the sample, and the bundled classifier."
    hints = [
        needs_keys({"whole": NUMBER, "half": NUMBER, "memory helps": WORD}),
        Hint(lambda a: abs(a["whole"] - _recalled(_test().images)) <= 0.02, f"whole: {asked}"),
        Hint(lambda a: abs(a["half"] - _recalled(_half())) <= 0.02, f"half: {asked} Which rows are hidden?"),
        one_of(("yes", "no"), "memory helps"),
        Hint(
            lambda a: (a["memory helps"] == "yes") == (_right(_half()) < _recalled(_half())),
            "memory helps: Classify the half images themselves, too, without recall.",
        ),
    ]
    return grade(answer, hints, "A memory answers with what it has stored, whether that is what you hid or not.")


@cache
def _model() -> QAAN:
    return QAAN.load(bundled("reconstruction_379"), "cpu")


@cache
def _test() -> Digits:
    with redirect_stdout(StringIO()):  # the notebook says which images were loaded
        return load_mnist((3, 7, 9), "test", "sample")


def _half() -> torch.Tensor:
    images = _test().images.clone()
    images[:, :, 14:] = 0
    return images


def _recalled(images: torch.Tensor) -> float:
    return _right(_model().recall(images))


def _right(images: torch.Tensor) -> float:
    """The fraction of images of the test digits that the classifier labels correctly."""
    return (classify(images)[0] == _test().labels).float().mean().item()
