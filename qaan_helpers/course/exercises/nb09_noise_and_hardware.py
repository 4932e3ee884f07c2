"""Checks of notebook 9's exercises: noise and hardware."""

from math import inf

from .grading import NUMBER, PAIR, WORD, Hint, between, equals, grade, needs_keys, one_of


def check_five_times_worse(answer: object) -> bool:
    """Check exercise 1 of notebook 9: an ion trap with five times the two-qubit errors.

    Args:
        answer: A dictionary. "faulty" is the fraction of shots with at least one fault in a two-qubit gate, "kl" the KL
            divergence to the exact distribution in nats, and "ahead" the closer one: "ion trap" or "chip".

    Returns:
        Whether the answer is right.
    """
    hints = [
        needs_keys({"faulty": NUMBER, "kl": NUMBER, "ahead": WORD}),
        between(0, 1, "A fraction lies between 0 and 1. A shot with two faults is one faulty shot.", "faulty"),
        between(0.68, inf, "How many RXX gates are there, and what becomes of 5/4 at five times the error?", "faulty"),
        between(-inf, 0.78, "On an ion trap no gate is added. How many two-qubit gates are there?", "faulty"),
        between(0.12, 0.3, "Is it in nats, from 50,000 shots, with the trap's other errors as well?", "kl"),
        one_of(("ion trap", "chip"), "ahead"),
        equals("chip", "Compare your KL with that of all noise of the chip in the table of sources.", "ahead"),
    ]
    return grade(answer, hints, "Full connectivity helps, but it does not make up for five times the error rate.")


def check_near_the_end(answer: object) -> bool:
    """Check exercise 2 of notebook 9: three optimizers that start close to a minimum.

    Args:
        answer: A dictionary. "cobyla", "spsa" and "small spsa" are the KL divergences in nats at the end, "lowest" is
            one of these three names.

    Returns:
        Whether the answer is right.
    """
    names = ("cobyla", "spsa", "small spsa")
    setting = "Is it scored with exact probabilities? Did it start at the fitted angles, disturbed by 0.1 radians?"
    hints = [
        needs_keys({**dict.fromkeys(names, NUMBER), "lowest": WORD}),
        Hint(lambda a: min(a[name] for name in names) <= 2, "These are costs. Subtract the entropy of the rows."),
        between(0.05, 1.5, setting, *names),
        one_of(names, "lowest"),
        Hint(lambda a: a[a["lowest"]] == min(a[name] for name in names), "Which of your own numbers is lowest?"),
    ]
    praise = "In our runs SPSA with small steps ended lowest: its usual step is too long close to the minimum."
    return grade(answer, hints, praise)


def check_readout_undone(answer: object) -> bool:
    """Check exercise 3 of notebook 9: correction of readout errors.

    Args:
        answer: A dictionary. "readout" and "all" are the KL divergences (before, after) to the exact distribution in
            nats, with readout errors only and with all noise. "left" is what causes the rest of all noise: "readout" or
            "gates".

    Returns:
        Whether the answer is right.
    """
    readout, everything = ("readout",), ("all",)
    order = "Corrected, it is further off. Check the tensor product: which qubit is the lowest bit of the index?"
    matrices = "Is each circuit on the qubits where ours ends? A column is the true bit, a row what is read."
    rest = "For readout alone about half is left, due to the number of shots. Which errors does the other pair have?"
    hints = [
        needs_keys({"readout": PAIR, "all": PAIR, "left": WORD}),
        Hint(lambda kl: 0.005 < kl[0] < 0.04, "Before: gate errors and thermal relaxation must be off.", readout),
        Hint(
            lambda kl: 0.13 < kl[0] < 0.4, "Before: is it the trained circuit, with all the chip's noise?", everything
        ),
        Hint(lambda kl: kl[1] <= kl[0], order, readout),
        Hint(lambda kl: 0 < kl[1] < 0.7 * kl[0], f"After: {matrices}", readout),
        Hint(
            lambda kl: 0.55 < kl[1] / kl[0] < 1,
            "After: are the matrices those of all noise, and is KL relative to the exact distribution?",
            everything,
        ),
        one_of(("readout", "gates"), "left"),
        equals("gates", rest, "left"),
    ]
    return grade(answer, hints, "Errors of the measured bits can be corrected, but not errors of the amplitudes.")
