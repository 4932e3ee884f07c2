"""Checks of notebook 1's exercises: real digits as tensors."""

from math import inf

import numpy as np

from .grading import NUMBER, WORD, Hint, a_function, between, equals, grade, is_near, needs_keys, one_of, returns

REASONS = ("neighbors share a stroke", "distant pixels share a stroke", "most pixels are blank")


def check_sevens(answer: object) -> bool:
    """Check exercise 1 of notebook 1: independent pixels fitted to 7s only, compared with real 7s.

    Args:
        answer: How the Fréchet distance compares with that for three digits: "smaller", "equal" or "larger".

    Returns:
        Whether the answer is right.
    """
    hint = (
        "For three digits, the mean of each pixel is a compromise between them. What changes with one digit? "
        "And what do independent pixels never produce?"
    )
    praise = "One digit needs fewer compromises, but independent pixels still produce no strokes."
    return grade(answer, [one_of(("smaller", "equal", "larger")), equals("smaller", hint)], praise)


def check_correlation(function: object) -> bool:
    """Check exercise 2 of notebook 1: the correlation of two pixels.

    Args:
        function: A function of two arrays of shape (N,) that returns their correlation, a number.

    Returns:
        Whether the answer is right.
    """
    a, b = np.random.default_rng(0).normal(size=(2, 500))
    b += 0.5 * a
    right = float(np.corrcoef(a, b)[0, 1])
    hints = [
        a_function(),
        Hint(lambda f: is_near(f(a + 5, b), f(a, b)), "Constants must not matter: subtract each mean first."),
        Hint(lambda f: is_near(f(2 * a, b), f(a, b)), "Factors must not matter: divide by both standard deviations."),
        returns(1, (a, a), "What should a pixel and itself give? All means must divide by the same number, too."),
        returns(-1, (a, -a), "If one array rises as the other falls, the correlation is −1. Check the sign."),
        returns(right, (a, b), "For partly correlated arrays it is not yet the mean product of standardized values."),
    ]
    return grade(function, hints, "The correlation does not depend on the mean and the contrast of the two pixels.")


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
