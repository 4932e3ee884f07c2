"""Checks of notebook 4's exercises: fitting the circuit with COBYLA."""

from collections.abc import Callable
from math import inf

import numpy as np

from ...quantum.ansatz import qcbm_ansatz
from ...quantum.qcbm import QCBM
from .grading import NUMBER, WORD, Hint, a_function, a_number, between, equals, grade, needs_keys, one_of


def check_no_entanglement(gap: object) -> bool:
    """Check exercise 1 of notebook 4: the lowest cost of a circuit without RXX gates.

    Args:
        gap: Its KL divergence from the empirical distribution, in nats.

    Returns:
        Whether the answer is right.
    """
    reference = "Without RXX it is a product distribution. Which reference value of the notebook is the best of these?"
    hints = [
        a_number("One number is needed, in nats."),
        between(-inf, 3, "That has the size of a cost. How far is it above the lowest possible cost?"),
        between(0.01, inf, "A perfect fit needs dependent bits. Can bits depend on each other without a gate on two?"),
        between(1.095, 1.16, reference),
    ]
    praise = "It is the total correlation of the data: no product distribution gets below it, quantum or classical."
    return grade(gap, hints, praise)


def check_slopes(function: object) -> bool:
    """Check exercise 2 of notebook 4: the derivatives of one probability by the parameter-shift rule.

    Args:
        function: A function of (model, state), a QCBM and the index of a state. It returns the derivatives of the
            state's probability with respect to each of the model's angles, shape (P,), and leaves the model unchanged.

    Returns:
        Whether the answer is right.
    """
    state, model = 5, QCBM(qcbm_ansatz(3, layers=2), seed=1)
    start, steps = model.angles.copy(), 1e-5 * np.eye(len(model.angles))
    forward, backward = ([model.probabilities(start + sign * step)[state] for step in steps] for sign in (1, -1))
    derivatives = np.subtract(forward, backward) / 2e-5

    def slopes_of(function: Callable) -> np.ndarray:
        return np.asarray(function(model, state), dtype=float)

    def keeps_angles(function: Callable) -> bool:
        slopes_of(function)
        unchanged = np.allclose(model.angles, start, atol=1e-9)  # moving there and back leaves rounding errors
        model.angles = start
        return unchanged

    def gives(function: Callable, factor: int) -> bool:
        return np.allclose(slopes_of(function), factor * derivatives, atol=1e-6)

    hints = [
        a_function(),
        Hint(
            lambda f: slopes_of(f).shape == start.shape, "It takes (model, state) and returns one slope for each angle."
        ),
        Hint(
            keeps_angles, "It leaves model.angles changed. Give `model.probabilities(angles)` a copy of them instead."
        ),
        Hint(lambda f: not gives(f, 2), "Each is twice the slope. Look at the rule again."),
        Hint(lambda f: not gives(f, -1), "Each has the wrong sign. Which shift comes first?"),
        Hint(
            lambda f: gives(f, 1),
            "Finite differences disagree. Is one angle shifted at a time, as far as the rule says?",
        ),
    ]
    return grade(function, hints, "Finite differences agree, and your shifts are large enough to measure on hardware.")


def check_trust_radius(answer: object) -> bool:
    """Check exercise 3 of notebook 4: COBYLA's first step.

    Args:
        answer: A dictionary. "2.0" and "0.05" are the KL divergences in nats at the end of fits with this trust radius;
            "wild" is the radius, "2.0" or "0.05", whose simplex reaches costs far above the first one.

    Returns:
        Whether the answer is right.
    """
    setting = "Is it from 1,500 evaluations with exact probabilities, warm_start=True, and seed 0?"
    hints = [
        needs_keys({"2.0": NUMBER, "0.05": NUMBER, "wild": WORD}),
        Hint(lambda a: min(a["2.0"], a["0.05"]) <= 3, "These are costs. Subtract the entropy of the rows."),
        between(0.1, 0.7, setting, "0.05"),
        between(0.2, 1.05, setting, "2.0"),
        one_of(("2.0", "0.05"), "wild"),
        equals("2.0", "For each radius, compare the first cost with the largest of the first 89.", "wild"),
    ]
    return grade(
        answer, hints, "The cost is periodic in each angle: points 2 radians apart say little about its slope."
    )


def check_plateau(answer: object) -> bool:
    """Check exercise 4 of notebook 4: how the variance of a slope depends on the number of qubits.

    Args:
        answer: A dictionary. "full", "linear" and "none" are the factors by which one more qubit multiplies the
            variance, for each entanglement; "decides" is what causes the plateau: "size" or "reach".

    Returns:
        Whether the answer is right.
    """
    names = ("full", "linear", "none")
    hints = [
        needs_keys({**dict.fromkeys(names, NUMBER), "decides": WORD}),
        between(0, inf, "A factor is above 0: take np.exp of the slope of the logarithms.", *names),
        between(0.45, inf, "That is the factor for two qubits, or for one probability.", "full"),
        between(-inf, 0.8, "Are the angles uniform over the whole circle, and new for each number of qubits?", "full"),
        between(0.8, 1.25, "Do the circuit and its angles both have this entanglement?", "linear", "none"),
        one_of(("size", "reach"), "decides"),
        equals("reach", "All three have the same sizes. Which one has the plateau, and what sets it apart?", "decides"),
    ]
    praise = "A bit that depends on few qubits has no plateau, but it cannot depend on many other bits either."
    return grade(answer, hints, praise)
