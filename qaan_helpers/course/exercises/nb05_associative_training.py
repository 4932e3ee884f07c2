"""Checks of notebook 5's exercises: associative training."""

from math import log

from ... import Report
from .grading import LIST, WORD, Hint, a_function, between, equals, grade, near, needs_keys, numbers, one_of, returns


def check_most_shared(answer: object) -> bool:
    """Check exercise 1 of notebook 5: the largest total correlation of eight bits cut at their medians.

    Args:
        answer: The total correlation in nats, and the number of different codes that occur then: (nats, codes).

    Returns:
        Whether the answer is right.
    """
    bound = "The entropies of the single bits add up to 8 log 2 nats, and an entropy is never negative."
    hints = [
        numbers((2,), "Two numbers are needed: the nats, and how many different codes occur."),
        between(0, 8 * log(2) + 1e-3, bound, 0),
        near(7 * log(2), 0.01, "Let one bit determine all others. Which rows are left, and what is their entropy?", 0),
        equals(2, "The nats are right. How many rows does it take if each bit is 1 half of the time?", 1),
    ]
    return grade(answer, hints, "One bit determines all others, and only its own entropy of log 2 is left.")


def check_learned_share(function: object) -> bool:
    """Check exercise 2 of notebook 5: how much of the possible improvement over a product the prior has learned.

    Args:
        function: A function of a Report that returns a fraction: 0 for the best product distribution, 1 for the
            empirical distribution.

    Returns:
        Whether the answer is right.
    """
    halfway = "Half of the way from the product to the perfect model is one half, a quarter of it one quarter."
    other_epoch = _report(4.25, entropy=3.5, correlation=1.0)
    hints = [
        a_function(),
        returns(1, (_report(3.0),), "For the report of a perfect model, your function does not give 1."),
        returns(0, (_report(5.0),), "For the report of the best product distribution, your function does not give 0."),
        returns(0.5, (_report(4.0),), halfway),
        returns(0.25, (_report(4.5),), halfway),
        returns(0.25, (other_epoch,), "It must hold for every epoch. What differs from one epoch to the next?"),
        Hint(
            lambda f: f(_report(6.0)) < 0,
            "A prior that is worse than the product has a negative value: do not clip it.",
        ),
    ]
    praise = "Costs of different epochs are not comparable, because the bits change. These fractions are."
    return grade(function, hints, praise)


def _report(cost: float, entropy: float = 3.0, correlation: float = 2.0) -> Report:
    return Report(1, 1.0, 1.0, 0.6, 0.4, cost, entropy, correlation, 1.0, 0.5)


def check_swapped_codes(answer: object) -> bool:
    """Check exercise 3 of notebook 5: whether the generator needs the circuit's codes.

    Args:
        answer: A dictionary. "circuit" and "shuffled" are lists of Fréchet distances with the circuit's codes and with
            shuffled columns; "better" is what follows: "circuit", "shuffled" or "neither".

    Returns:
        Whether the answer is right.
    """
    kinds = ("circuit", "shuffled")
    hints = [
        needs_keys({**dict.fromkeys(kinds, LIST), "better": WORD}),
        Hint(lambda d: len(d) >= 2, "One distance does not show how much chance matters. Give at least two.", kinds),
        Hint(
            lambda distances: all(5 < distance < 100 for distance in distances),
            "These are not distances of this model's digits to the same number of real ones. Take 300 images or more, "
            "with noise on the latents.",
            kinds,
        ),
        one_of((*kinds, "neither"), "better"),
        Hint(
            lambda a: a["better"] == _better(a["circuit"], a["shuffled"]),
            "Compare the largest distance of one kind with the smallest of the other. Do they overlap?",
        ),
    ]
    praise = "Your distances support this."
    if isinstance(answer, dict) and answer.get("better") == "circuit":
        praise += " This generator was trained with these codes; another one may learn without them."
    return grade(answer, hints, praise)


def _better(circuit: list[float], shuffled: list[float]) -> str:
    if max(circuit) < min(shuffled):
        return "circuit"
    return "shuffled" if max(shuffled) < min(circuit) else "neither"
