"""Checks of notebook 9's exercises: noise and hardware."""

from math import inf

from .grading import NUMBER, WORD, Hint, between, equals, grade, near, needs_keys, one_of


def check_five_times_worse(answer: object) -> bool:
    """Check exercise 1 of notebook 9: an ion trap with five times the two-qubit errors.

    Args:
        answer: A dictionary. "faulty" is the fraction of shots with at least one error in a two-qubit gate, "kl" the KL
            divergence from the exact distribution in nats, and "closer" is "ion trap" or "chip".

    Returns:
        Whether the answer is right.
    """
    hints = [
        needs_keys({"faulty": NUMBER, "kl": NUMBER, "closer": WORD}),
        between(0, 1, "A fraction lies between 0 and 1. A shot with two errors is one faulty shot.", "faulty"),
        between(0.68, inf, "How many RXX gates are there, and what becomes of 5/4 at five times the error?", "faulty"),
        between(-inf, 0.78, "On an ion trap no gate is added. How many two-qubit gates are there?", "faulty"),
        between(0.12, 0.3, "Is it in nats, from 50,000 shots, with the trap's other errors as well?", "kl"),
        one_of(("ion trap", "chip"), "closer"),
        equals("chip", "Compare your KL divergence with that of the chip with all its noise.", "closer"),
    ]
    return grade(answer, hints, "Full connectivity helps, but it does not make up for five times the error rate.")


def check_execution_modes(answer: object) -> bool:
    """Check exercise 2 of notebook 9: the time of a fit in job, batch and session mode.

    Args:
        answer: A dictionary. "job hours" is the wall-clock time in job mode in hours, "session minutes" that in a
            session in minutes, and "ratio" the billed time of the session divided by that of the batch.

    Returns:
        Whether the answer is right.
    """
    hints = [
        needs_keys({"job hours": NUMBER, "session minutes": NUMBER, "ratio": NUMBER}),
        Hint(lambda value: abs(value - 903_750) > 1, "Convert seconds to hours.", ("job hours",)),
        near(903_750 / 3600, 0.1, "Every job waits in the queue. How many jobs are there?", "job hours"),
        Hint(lambda value: abs(value - 4350) > 1, "Convert seconds to minutes.", ("session minutes",)),
        Hint(lambda value: abs(value - 62.5) > 0.1, "The first job waits in the queue, too.", ("session minutes",)),
        near(4350 / 60, 0.1, "In a session only the first job waits. Add the jobs and the shots.", "session minutes"),
        Hint(lambda value: abs(value - 0.2) > 0.01, "This is the inverse: divide the session's time.", ("ratio",)),
        near(5, 0.05, "Compare `billed`, not `wall_clock`, of the two modes.", "ratio"),
    ]
    return grade(answer, hints, "A session avoids the queue, but the time between its jobs is billed, too.")


def check_near_the_end(answer: object) -> bool:
    """Check exercise 3 of notebook 9: three optimizers that start close to a minimum.

    Args:
        answer: A dictionary. "cobyla", "spsa" and "small spsa" are the KL divergences in nats at the end, "lowest" is
            one of these three names.

    Returns:
        Whether the answer is right.
    """
    names = ("cobyla", "spsa", "small spsa")
    setting = "Is it scored with exact probabilities? Did it start at the fitted angles, perturbed by 0.1 radians?"
    hints = [
        needs_keys({**dict.fromkeys(names, NUMBER), "lowest": WORD}),
        Hint(lambda a: min(a[name] for name in names) <= 2, "These are costs. Subtract the entropy of the bits."),
        between(0.05, 1.5, setting, *names),
        one_of(names, "lowest"),
        Hint(lambda a: a[a["lowest"]] == min(a[name] for name in names), "Which of your own numbers is lowest?"),
    ]
    praise = "In our run, SPSA with small steps ended lowest: its usual step is too long close to the minimum."
    return grade(answer, hints, praise)
