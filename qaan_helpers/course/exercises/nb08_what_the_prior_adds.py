"""Checks of notebook 8's exercises: what the prior adds to the generated digits."""

from math import inf

import numpy as np

from ...evaluation import comparison
from .grading import Hint, a_number, between, grade, near, not_near, shape

WORDS = ("better", "worse", "tie")


def check_one_of_eight(chance: object) -> bool:
    """Check exercise 1 of notebook 8: eight independent 95% intervals.

    Args:
        chance: The probability that at least one of them does not contain its true value.

    Returns:
        Whether the answer is right.
    """
    hints = [
        a_number(),
        between(-inf, 1, "A probability lies between 0 and 1."),
        not_near(0.05, "That is the probability for one interval. There are eight of them."),
        not_near(0.4, "Eight times one twentieth counts a case twice if two intervals miss."),
        not_near(1 - 0.05**8, "That is the probability that not all of them miss."),
        not_near(0.95**8, "That is the probability that none of them misses."),
        near(1 - 0.95**8, 5e-3, "How likely is it that all eight contain their true values? And what is left?"),
    ]
    return grade(chance, hints, "In one of three such tables, at least one interval misses by chance alone.")


def check_other_score(answer: object) -> bool:
    """Check exercise 2 of notebook 8: all comparisons of arms by the kernel distance.

    Args:
        answer: The rows of the sweep, and a dictionary {arm: "better", "worse" or "tie"} of all arms that have a
            baseline: (rows, dictionary).

    Returns:
        Whether the answer is right.
    """
    hints = [
        Hint(
            lambda a: len(a) == 2 and isinstance(a[1], dict),
            "Two things are needed: the rows, and a dictionary with one word for each arm.",
        ),
        Hint(lambda rows: isinstance(rows, list) and rows, "First the rows, as `read_rows` gives them.", (0,)),
        Hint(
            lambda a: set(a[1]) == set(comparison.baselines(a[0])),
            "Give one word for each arm that is compared, and none for a baseline.",
        ),
        Hint(lambda words: set(words.values()) <= set(WORDS), 'The words are "better", "worse" and "tie".', (1,)),
        Hint(
            lambda a: a[1] == _conclusions(a[0]),
            "Some word differs. Is each arm paired with the baseline of the same number of bits? Is each interval wide "
            "enough for all comparisons?",
        ),
    ]
    return grade(answer, hints, "This score confirms none of the differences that the Fréchet distance shows.")


def _conclusions(rows: list[comparison.Row]) -> dict[str, str]:
    baselines = comparison.baselines(rows)
    conclusions = {}
    for arm, baseline in baselines.items():
        differences = comparison.paired_differences(rows, "kernel_distance", arm, baseline, points=4)
        conclusions[arm] = comparison.verdict(*comparison.interval(differences, comparisons=len(baselines)))
    return conclusions


def check_seeds_needed(answer: object) -> bool:
    """Check exercise 3 of notebook 8: the number of seeds for a given precision.

    Args:
        answer: The paired differences of one arm, shape (seeds,), and the number of seeds with which a 95% interval of
            their mean extends 0.25 to either side: (differences, seeds).

    Returns:
        Whether the answer is right.
    """
    hints = [
        Hint(
            lambda a: len(a) == 2 and len(shape(a[0])) == 1,
            "The differences by seed are needed, and a number of seeds.",
        ),
        Hint(lambda differences: len(differences) >= 5, "These are fewer differences than there are seeds.", (0,)),
        Hint(lambda seeds: int(seeds) == seeds, "The number of seeds is a whole number.", (1,)),
        Hint(
            lambda a: abs(a[1] - _needed_seeds(a[0]) / 4) > 1,
            "An interval extends to both sides of the mean: 0.25 is half of its width here.",
        ),
        Hint(
            lambda a: abs(a[1] - _needed_seeds(a[0])) <= 0.05 * _needed_seeds(a[0]) + 1.5,
            "The interval extends 1.96 · s / √n to either side. Set that to 0.25, and solve for n.",
        ),
    ]
    return grade(answer, hints, "An interval of half the width takes four times the seeds.")


def _needed_seeds(differences: list[float]) -> float:
    return float(1.96 * np.std(differences, ddof=1) / 0.25) ** 2
