"""Checks of notebook 1's exercises: real digits as tensors."""

from functools import partial
from math import inf

from .grading import NUMBER, PAIR, WORD, Hint, between, equals, grade, needs_keys, one_of

REASONS = ("neighbors share a stroke", "distant pixels share a stroke", "most pixels are blank")


def check_sevens(answer: object) -> bool:
    """Check exercise 1 of notebook 1: the correlation of two pixels in samples of a product model of 7s.

    Args:
        answer: Its sign: "positive", "negative" or "zero".

    Returns:
        Whether the answer is right.
    """
    hint = (
        "With one product model per digit, which random choice do all pixels of an image have in common? "
        "Is this still random if there are only 7s?"
    )
    praise = "The pixels of one product model are independent. Only the choice of the digit made them dependent."
    return grade(answer, [one_of(("positive", "negative", "zero")), equals("zero", hint)], praise)


def check_opposite_pixels(answer: object) -> bool:
    """Check exercise 2 of notebook 1: the pixel with the most negative correlation with the one in row 20, column 12.

    Args:
        answer: A dictionary of pairs (row, column). "sevens" is the pixel for 7s only, "threes" that for 3s only.

    Returns:
        Whether the answer is right.
    """
    right = {"sevens": (21, 15), "threes": (23, 13)}  # in the bundled sample
    hint = "Use the gray images of this digit only, and the smallest value of the map. Give the row first."
    hints = [
        needs_keys({"sevens": PAIR, "threes": PAIR}),
        *(Hint(partial(_are_equal, pixel), hint, (name,)) for name, pixel in right.items()),
    ]
    return grade(answer, hints, "A stroke that passes through one pixel seldom passes a few pixels farther on, too.")


def _are_equal(right: tuple[int, int], pair: tuple[int, int]) -> bool:
    return tuple(map(int, pair)) == right


def check_scattered(answer: object) -> bool:
    """Check exercise 3 of notebook 1: the total correlation of eight neighboring and of eight scattered pixels.

    Args:
        answer: A dictionary. "adjacent" and "scattered" are total correlations in nats, "why" is one of `REASONS`.

    Returns:
        Whether the answer is right.
    """
    hints = [
        needs_keys({"adjacent": NUMBER, "scattered": NUMBER, "why": WORD}),
        between(1, 2.5, "The notebook measures this for bits (N, 8), in nats. Do you?", "adjacent"),
        between(0, inf, "Is it the single entropies minus the joint one? It is never negative.", "scattered"),
        Hint(
            lambda a: a["scattered"] < a["adjacent"],
            "Are yours well scattered? Choose eight different pixels in rows 5 to 22 and columns 6 to 21.",
        ),
        one_of(REASONS, "why"),
        equals(REASONS[0], "What do pixels that are close together have in common in a real digit?", "why"),
    ]
    praise = "One stroke covers neighboring pixels. Distant pixels depend on each other more weakly."
    return grade(answer, hints, praise)
