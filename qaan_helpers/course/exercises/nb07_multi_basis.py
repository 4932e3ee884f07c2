"""Checks of notebook 7's exercises: one circuit measured in two bases."""

from itertools import combinations
from math import log
from typing import Any

import numpy as np

from .grading import LIST, NUMBER, WORD, Hint, between, grade, is_near, needs_keys, numbers, one_of, shape

N_BITS = 12
BASIS_STARTS = ("near 0", "near π/2")


def check_third_basis(answer: object) -> bool:
    """Check exercise 1 of notebook 7: four states of one qubit after RY(π/2).

    Args:
        answer: A dictionary {state: p(1)} with the states "|+⟩", "|+i⟩", "|−⟩" and "|−i⟩".

    Returns:
        Whether the answer is right.
    """
    if isinstance(answer, dict):
        answer = {str(state).replace("-", "−"): p for state, p in answer.items()}  # a hyphen will do as a minus sign
    right = {"|+⟩": 1.0, "|+i⟩": 0.5, "|−⟩": 0.0, "|−i⟩": 0.5}
    hints = [
        needs_keys(dict.fromkeys(right, NUMBER)),
        between(0, 1, "A probability lies between 0 and 1.", *right),
        Hint(
            lambda a: not all(is_near(a[state], 1 - p) for state, p in right.items()),
            "These are the probabilities of the bit 0. The amplitude of 1 is the lower entry of the new state.",
        ),
        Hint(
            lambda a: not is_near(a["|+i⟩"], 0.0) and not is_near(a["|+i⟩"], 1.0),
            "These states were distinguished by RX. Use the matrix of RY, and add the complex amplitudes before you "
            "take the squared modulus.",
        ),
        Hint(
            lambda a: all(is_near(a[state], p) for state, p in right.items()),
            "At least one is wrong. Multiply the state by the matrix, and take the squared modulus of the lower entry.",
        ),
    ]
    praise = "A direct measurement, one after RX and one after RY read z, y and x: together they determine the state."
    return grade(answer, hints, praise)


def check_best_cut(answer: object) -> bool:
    """Check exercise 2 of notebook 7: the cut of 12 bits into halves with the lowest mutual information.

    Args:
        answer: A dictionary. "probabilities" is the RBM's distribution, shape (4096,), "columns" the six columns of one
            half, and "nats" the mutual information of the halves.

    Returns:
        Whether the answer is right.
    """
    keys = ("probabilities", "columns", "nats")
    hints = [
        Hint(
            lambda a: isinstance(a, dict) and set(a) == set(keys),
            'A dictionary with the keys "probabilities", "columns" and "nats" is needed.',
        ),
        Hint(
            lambda p: shape(p) == (2**N_BITS,) and abs(np.sum(p) - 1) <= 1e-6 and np.min(p) >= 0,
            "The RBM's distribution is needed: 4,096 probabilities that sum to 1.",
            ("probabilities",),
        ),
        Hint(_are_half_of_the_columns, "One half has six different columns out of 0 to 11.", ("columns",)),
        numbers((), "One number is needed.", "nats"),
        Hint(
            lambda a: is_near(a["nats"], _nats(a)) or not is_near(a["nats"], _nats(a, mirrored=True)),
            "nats: This is the value for the mirrored columns. Which bit is on the last axis of the reshaped array?",
        ),
        Hint(
            lambda a: is_near(a["nats"], _nats(a)),
            "nats: This is not the value for your columns. Add the entropies of both halves, and subtract that of all "
            "12 bits, in nats.",
        ),
        Hint(
            lambda a: _nats(a) <= _lowest(a["probabilities"]) + 1e-6,
            "columns: Another cut has a lower mutual information. Did you compare all cuts?",
        ),
    ]
    praise = "A better cut loses less. Compare with the columns as they are: how much is left to lose?"
    return grade(answer, hints, praise)


def _are_half_of_the_columns(columns: Any) -> bool:
    chosen = [int(column) for column in columns]
    return len(chosen) == len(set(chosen)) == N_BITS // 2 and set(chosen) <= set(range(N_BITS))


def _nats(answer: dict[str, Any], mirrored: bool = False) -> float:
    columns = [int(column) for column in answer["columns"]]
    if mirrored:
        columns = [N_BITS - 1 - column for column in columns]
    return _mutual_information(answer["probabilities"], columns)


def _mutual_information(p: np.ndarray, columns: list[int]) -> float:
    """The mutual information in nats of some bits of a distribution (4096,) with the other bits."""
    bits = np.asarray(p, float).reshape([2] * N_BITS).transpose(range(N_BITS - 1, -1, -1))  # axis q is bit q
    others = [column for column in range(N_BITS) if column not in columns]
    joint = bits.transpose([*columns, *others]).reshape(2 ** len(columns), -1)
    product = np.outer(joint.sum(1), joint.sum(0))
    return float(np.sum(joint * np.log(np.where(joint > 0, joint / np.maximum(product, 1e-300), 1))))


def _lowest(p: np.ndarray) -> float:
    """The lowest mutual information of all cuts. Each is listed once: its first half contains bit 0."""
    rest = combinations(range(1, N_BITS), N_BITS // 2 - 1)
    return min(_mutual_information(p, [0, *columns]) for columns in rest)


def check_starts(answer: object) -> bool:
    """Check exercise 3 of notebook 7: where the trained angles of the second basis should start.

    Args:
        answer: A dictionary. "near 0" and "near π/2" are the costs of the test codes in nats, for three seeds each;
            "lower" is the start that is lower for all of them: "near 0", "near π/2" or "neither".

    Returns:
        Whether the answer is right.
    """
    uniform = "A uniform prior costs less than your largest value. Are these the test codes, with all 12 bits?"
    lowest = "No model can cost so little. Are these the test codes, and the sum over both halves?"
    hints = [
        needs_keys({**dict.fromkeys(BASIS_STARTS, LIST), "lower": WORD}),
        numbers((3,), "Three costs are needed, one for each seed.", *BASIS_STARTS),
        Hint(lambda costs: max(costs) <= N_BITS * log(2), uniform, BASIS_STARTS),
        Hint(lambda costs: min(costs) >= 6, lowest, BASIS_STARTS),
        Hint(
            lambda costs: len(set(costs)) > 1,
            "Three seeds gave one cost. Does each circuit get its own seed?",
            BASIS_STARTS,
        ),
        one_of((*BASIS_STARTS, "neither"), "lower"),
        Hint(lambda a: a["lower"] == _lower(a), "lower: Compare your costs seed by seed. Do all three agree?"),
    ]
    return grade(answer, hints, "Three seeds are few: an estimate of the difference needs more.")


def _lower(answer: dict[str, list[float]]) -> str:
    differences = np.subtract(*(answer[start] for start in BASIS_STARTS))
    if (differences > 0).all():
        return BASIS_STARTS[1]
    return BASIS_STARTS[0] if (differences < 0).all() else "neither"
