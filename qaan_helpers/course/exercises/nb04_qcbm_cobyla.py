"""Checks of notebook 4's exercises: fitting the circuit with COBYLA."""

from collections.abc import Callable
from math import inf

import numpy as np

from ...quantum.ansatz import qcbm_ansatz
from ...quantum.qcbm import QCBM
from .grading import NUMBER, WORD, Hint, a_function, a_number, between, equals, grade, needs_keys, one_of


def check_no_entanglement(gap: object) -> bool:
    """Check exercise 1 of notebook 4: the lowest divergence that a circuit without RXX gates can reach.

    Args:
        gap: The KL divergence of the empirical distribution of the fitted rows from the circuit, in nats.

    Returns:
        Whether the answer is right.
    """
    reference = "Without RXX, the circuit is a product model. How far is the best product model from the data?"
    hints = [
        a_number("One number is needed, in nats."),
        between(-inf, 3, "This is the size of a cost. Equation (2) turns a cost into a divergence."),
        between(
            0.01,
            inf,
            "A perfect fit needs dependent bits. Can a circuit create dependence without a gate on two qubits?",
        ),
        between(1.095, 1.16, reference),
    ]
    praise = "It is the total correlation of the rows. No product model, quantum or classical, has a lower divergence."
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
            lambda f: slopes_of(f).shape == start.shape,
            "The function takes (model, state) and returns an array with one derivative for each angle.",
        ),
        Hint(
            keeps_angles,
            "Your function changes model.angles. Pass shifted copies to `model.probabilities(angles)` instead.",
        ),
        Hint(lambda f: not gives(f, 2), "Each value is twice the derivative. Look at equation (7) again."),
        Hint(lambda f: not gives(f, -1), "Each value has the wrong sign. Which shift is subtracted in equation (7)?"),
        Hint(
            lambda f: gives(f, 1),
            "Finite differences disagree. Do you shift one angle at a time, by the shift of equation (7)?",
        ),
    ]
    return grade(function, hints, "Finite differences agree. Unlike them, your shifts are large enough for hardware.")


def check_trust_radius(answer: object) -> bool:
    """Check exercise 3 of notebook 4: COBYLA's initial trust radius.

    Args:
        answer: A dictionary. "2.0" and "0.05" are the KL divergences in nats at the end of fits with this trust radius;
            "higher" is the radius, "2.0" or "0.05", whose first simplex reaches the higher cost.

    Returns:
        Whether the answer is right.
    """
    setting = "Did you fit `new_model()` to `bits` with this radius and 1,500 evaluations?"
    hints = [
        needs_keys({"2.0": NUMBER, "0.05": NUMBER, "higher": WORD}),
        Hint(lambda a: min(a["2.0"], a["0.05"]) <= 3, "These are costs. Subtract the entropy of the fitted rows."),
        between(0.1, 0.7, setting, "0.05"),
        between(0.2, 1.05, setting, "2.0"),
        one_of(("2.0", "0.05"), "higher"),
        equals("2.0", "For each radius, take the largest of the first 89 costs.", "higher"),
    ]
    praise = "The cost is periodic in each angle, so points 2 radians apart say little about its slope."
    return grade(answer, hints, praise)


def check_plateau(answer: object) -> bool:
    """Check exercise 4 of notebook 4: how the variance of a derivative depends on the number of qubits.

    Args:
        answer: A dictionary. "full", "linear" and "none" are the bases b of equation (8), over the whole circle, for
            each entanglement; "decides" is what causes the plateau: "size" or "reach".

    Returns:
        Whether the answer is right.
    """
    names = ("full", "linear", "none")
    hints = [
        needs_keys({**dict.fromkeys(names, NUMBER), "decides": WORD}),
        between(0, inf, "A base is positive. Fit a line to the logarithms of the variances.", *names),
        between(0.45, inf, "That is the square of the base, or the base for another function.", "full"),
        between(-inf, 0.8, "Are the angles uniform over the whole circle, and new for each size?", "full"),
        between(0.8, 1.25, "Do the circuit and its angles both have this entanglement?", "linear", "none"),
        one_of(("size", "reach"), "decides"),
        equals("reach", "All three have the same sizes. Which one has the plateau, and what sets it apart?", "decides"),
    ]
    praise = "A bit that depends on few qubits has no plateau, but it cannot depend on many other bits either."
    return grade(answer, hints, praise)
