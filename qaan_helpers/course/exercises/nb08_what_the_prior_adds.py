"""Checks of notebook 8's exercises: what the prior adds to the generated digits."""

from math import inf

import numpy as np
from scipy.stats import permutation_test

from .grading import Hint, a_number, between, grade, is_near, is_number, near, not_near, shape

REACH = 0.01  # of the interval that exercise 4 asks for, to either side
_EQUIVALENCE = (1.0466, 1.3328)  # the ends of exercise 3's interval, from the stored results


def check_one_of_seven(chance: object) -> bool:
    """Check exercise 1 of notebook 8: seven independent 95% intervals.

    Args:
        chance: The probability that at least one of them does not contain its true value.

    Returns:
        Whether the answer is right.
    """
    hints = [
        a_number(),
        between(-inf, 1, "A probability lies between 0 and 1."),
        not_near(0.05, "That is the probability for one interval. There are seven of them."),
        not_near(0.35, "Seven times 0.05 counts a case twice if two intervals miss."),
        not_near(1 - 0.05**7, "That is the probability that not all of them miss."),
        not_near(0.95**7, "That is the probability that none of them misses."),
        near(1 - 0.95**7, 5e-3, "How likely is it that all seven contain their true values? And what is left?"),
    ]
    return grade(chance, hints, "In nearly one of three such tables, at least one interval misses by chance alone.")


def check_second_network(answer: object) -> bool:
    """Check exercise 2 of notebook 8: the comparisons in the features of the second network.

    Args:
        answer: A table with a row per seed and a column per prior, and a dictionary {"prior / baseline": whether the
            corrected p value is below 0.05} with all pairs: (table, dictionary).

    Returns:
        Whether the answer is right.
    """
    hints = [
        Hint(
            lambda a: len(a) == 2 and isinstance(a[1], dict),
            "Two things are needed: the table of scores, and a dictionary with True or False for each pair.",
        ),
        Hint(
            lambda table: hasattr(table, "columns") and len(table) >= 5,
            "The table has one row per seed and one column per prior, as `scores` returns it.",
            (0,),
        ),
        Hint(
            lambda table: np.asarray(table, dtype=float).mean() < 5,
            "These are the distances in the first network's features. Which column has those of the second?",
            (0,),
        ),
        Hint(lambda pairs: len(pairs) == 7, "The plan names seven pairs of priors.", (1,)),
        Hint(
            lambda a: all(set(pair.split(" / ")) <= set(a[0]) for pair in a[1]),
            'Write each pair as in the tables, "prior / baseline".',
        ),
        Hint(
            lambda a: all(bool(counts) == _counts(a[0], pair, len(a[1])) for pair, counts in a[1].items()),
            "Some pair is wrong. Is each p value multiplied by the number of pairs, and then compared with 0.05?",
        ),
    ]
    return grade(answer, hints, "A finding should not depend on the network whose features are compared.")


def _counts(table: dict[str, np.ndarray], pair: str, comparisons: int) -> bool:
    prior, baseline = pair.split(" / ")
    differences = np.log(np.asarray(table[prior]) / np.asarray(table[baseline]))
    test = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    return bool(comparisons * test.pvalue < 0.05)


def check_equivalence(answer: object) -> bool:
    """Check exercise 3 of notebook 8: the equivalence of the circuit and the uniform prior in the associative loop.

    Args:
        answer: The ends of the interval of the FID ratio, and whether the two priors are equivalent within a factor of
            1.25: (lower end, upper end, True or False).

    Returns:
        Whether the answer is right.
    """
    forms = "Three things are needed: the lower end, the upper end, and True or False."
    low, high = _EQUIVALENCE
    hints = [
        Hint(lambda a: len(a) == 3 and a[2] in (True, False) and is_number(a[0]) and is_number(a[1]), forms),
        Hint(lambda a: a[0] < a[1], "The lower end comes first."),
        Hint(lambda a: a[0] > 0, "These are ends for the logarithm. The margin is a factor."),
        Hint(
            lambda a: not is_near(a[0], 1 / high, 5e-3),
            "This is the ratio of the uniform prior to the circuit. Swap them.",
        ),
        Hint(
            lambda a: not is_near(a[0], 1.021, 5e-3),
            "An interval of 95% corresponds to two one-sided tests at 2.5%.",
        ),
        Hint(
            lambda a: not is_near(a[0], 0.96, 6e-3),
            "Dunnett's interval accounts for seven comparisons. Here there is one, and no correction is needed.",
        ),
        Hint(
            lambda a: is_near(a[0], low, 6e-3) and is_near(a[1], high, 6e-3),
            "Which test was used for H4, and at which level? Here the pair is the circuit and the uniform prior.",
        ),
        Hint(lambda a: not a[2], "Does the whole interval lie within the margin?"),
    ]
    return grade(answer, hints, "The tests show neither a difference nor equivalence: the question stays open.")


def check_seeds_needed(answer: object) -> bool:
    """Check exercise 4 of notebook 8: the number of seeds for a given precision.

    Args:
        answer: The log ratios of one pair, shape (seeds,), and the number of seeds with which a 95% interval of their
            mean extends 0.01 to either side: (log ratios, seeds).

    Returns:
        Whether the answer is right.
    """
    hints = [
        Hint(
            lambda a: len(a) == 2 and len(shape(a[0])) == 1,
            "The log ratios by seed are needed, and a number of seeds.",
        ),
        Hint(lambda ratios: len(ratios) >= 5, "These are fewer log ratios than there are seeds.", (0,)),
        Hint(lambda seeds: int(seeds) == seeds, "The number of seeds is a whole number.", (1,)),
        Hint(
            lambda a: abs(a[1] - _needed_seeds(a[0]) / 4) > 1,
            "An interval extends to both sides of the mean: 0.01 is half of its width here.",
        ),
        Hint(
            lambda a: abs(a[1] - _needed_seeds(a[0])) <= 0.05 * _needed_seeds(a[0]) + 1.5,
            "The interval extends 1.96 · s / √n to either side. Set that to 0.01, and solve for n.",
        ),
    ]
    return grade(answer, hints, "An interval of half the width takes four times the seeds.")


def _needed_seeds(ratios: list[float]) -> float:
    return float(1.96 * np.std(ratios, ddof=1) / REACH) ** 2
