"""Checks of notebook 6's exercises: codes, recall, and the prior's part in it."""

from math import inf

import numpy as np
import torch

from ...gan.model import QAAN
from ...gan.storage import bundled
from ...mnist import load_mnist
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
    gan, images = QAAN.load(bundled("reconstruction_379"), "cpu"), load_mnist((3, 7, 9), "test", "sample").images[:12]
    expected = gan.recall(images)

    def returned(function: object) -> torch.Tensor:
        return function(gan, images)  # type: ignore[operator]

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
            lambda f: torch.allclose(returned(f), expected, atol=1e-5),
            "These are not the images of `gan.recall`. Is each activation compared with its threshold, and are the "
            "latents −1 and +1?",
        ),
    ]
    return grade(recall, hints, "A recall is four steps: activations, bits, latents, images.")


def check_relabeling(answer: object) -> bool:
    """Check exercise 3 of notebook 6: what flipping and permuting bits leaves unchanged.

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
        equals(False, "The codes of held-out images stay as they are, and the prior's are relabeled.", "held-out KL"),
        equals(True, "Two codes that differ in k bits: in how many do their images under the map differ?", "distances"),
    ]
    praise = "The associative loop sees only what relabeling leaves unchanged, so the held-out KL cannot matter to it."
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
    hints = [
        needs_keys({"whole": NUMBER, "half": NUMBER, "memory helps": WORD}),
        between(0, 1, "It is a fraction from 0 to 1.", "whole"),
        between(0, 1, "It is a fraction from 0 to 1.", "half"),
    ]
    gan, test = QAAN.load(bundled("reconstruction_379"), "cpu"), load_mnist((3, 7, 9), "test", "sample")
    half = test.images.clone()
    half[:, :, 14:] = 0
    values = {"whole": _right(gan.recall(test.images), test.labels), "half": _right(gan.recall(half), test.labels)}
    for name, value in values.items():
        hints.append(
            between(value - 0.02, value + 0.02, "Use all test images of the sample, and the bundled classifier.", name)
        )
    helps = "yes" if _right(half, test.labels) < values["half"] else "no"
    hints.append(one_of(("yes", "no"), "memory helps"))
    hints.append(equals(helps, "Classify the half images themselves, too, without recall.", "memory helps"))
    return grade(answer, hints, "A memory answers with what it has stored, whether that is what you hid or not.")


def _right(images: torch.Tensor, labels: torch.Tensor) -> float:
    from ...evaluation.metrics import classify

    return (classify(images)[0] == labels).float().mean().item()
