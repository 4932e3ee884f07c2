"""Checks of notebook 4's exercises: fitting the circuit with COBYLA."""

from collections.abc import Callable
from math import inf

import numpy as np

from ...quantum.ansatz import qcbm_ansatz
from ...quantum.qcbm import QCBM
from .grading import NUMBER, WORD, Hint, a_function, a_number, between, equals, grade, needs_keys, one_of


def check_one_pair(gap: object) -> bool:
    """Check exercise 1 of notebook 4: the lowest divergence that a circuit with RXX gates on one pair can reach.

    Args:
        gap: The smallest KL divergence of the fitted rows, in nats, if only bits 6 and 7 may depend on each other.

    Returns:
        Whether the answer is right.
    """
    hints = [
        a_number("One number is needed, in nats."),
        between(-inf, 3, "This is the size of a cost. Equation (2) turns a cost into a divergence."),
        between(0.01, inf, "A perfect fit needs more dependent bits than one pair."),
        between(-inf, 1.09, "This is the best product of single bits. What can the pair add to it?"),
        between(0.4, inf, "Is this what the pair can describe? The divergence is what remains."),
        between(0.81, 0.845, "Which parts does the best such model have, and what are their entropies?"),
    ]
    praise = "It is the total correlation minus the mutual information of the pair, for circuits and classical models."
    return grade(gap, hints, praise)


def check_gradient(function: object) -> bool:
    """Check exercise 2 of notebook 4: the gradient of the cost by the parameter-shift rule.

    Args:
        function: A function of (model, rows), a QCBM and bits of shape (N, n). It returns the derivatives of the cost
            with respect to each of the model's angles, shape (P,), and leaves the model unchanged.

    Returns:
        Whether the answer is right.
    """
    model, rows = QCBM(qcbm_ansatz(3, layers=2), seed=1), np.array([[0, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 1]])
    start = model.angles.copy()
    expected = model.cost_and_gradient(rows)[1]

    def gradient_of(function: Callable) -> np.ndarray:
        return np.asarray(function(model, rows), dtype=float)

    def keeps_angles(function: Callable) -> bool:
        gradient_of(function)
        unchanged = np.allclose(model.angles, start, atol=1e-9)  # moving there and back leaves rounding errors
        model.angles = start
        return unchanged

    def gives(function: Callable, factor: int) -> bool:
        return np.allclose(gradient_of(function), factor * expected, atol=1e-6)

    hints = [
        a_function(),
        Hint(
            lambda f: gradient_of(f).shape == start.shape,
            "The function takes (model, rows) and returns an array with one derivative for each angle.",
        ),
        Hint(
            keeps_angles,
            "Your function changes model.angles. Pass shifted copies to `model.probabilities(angles)` instead.",
        ),
        Hint(lambda f: not gives(f, 2), "Each value is twice the derivative. Look at equation (7) again."),
        Hint(lambda f: not gives(f, -1), "Each value has the wrong sign. Look at both equations again."),
        Hint(
            lambda f: gives(f, 1),
            "Reverse mode disagrees. Do you shift one angle at a time, use every bit string of the rows in (6), and "
            "divide by its probability at the angles that are not shifted?",
        ),
    ]
    return grade(function, hints, "Reverse mode agrees. Your function needs only probabilities, which can be measured.")


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
    praise = "Over 2 radians, the probability of a frequent bit string can fall close to 0, which costs much."
    return grade(answer, hints, praise)


def check_line(answer: object) -> bool:
    """Check exercise 4 of notebook 4: a bit that depends on few qubits.

    Args:
        answer: A dictionary for two layers of RXX on a line. "qubits" is the number of qubits on which bit 0 can
            depend; "b" is the base of equation (8) for the mean of bit 0, over the whole circle.

    Returns:
        Whether the answer is right.
    """
    hints = [
        needs_keys({"qubits": NUMBER, "b": NUMBER}),
        between(2, inf, "The RXX gate of the last layer connects qubit 0 with another one.", "qubits"),
        between(-inf, 3, "On a line, each layer reaches one qubit further.", "qubits"),
        equals(3, "There are two layers, and the first one counts, too.", "qubits"),
        between(0, inf, "A base is positive. Fit a line to the logarithms of the variances.", "b"),
        between(0.8, 1.25, "Do the circuit and its angles both have RXX on a line? Compare with your prediction.", "b"),
    ]
    praise = "A bit that depends on few qubits has no plateau, but it cannot depend on many other bits either."
    return grade(answer, hints, praise)
