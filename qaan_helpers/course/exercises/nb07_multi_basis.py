"""Checks of notebook 7's exercises: one circuit measured in two bases."""

from itertools import combinations
from typing import Any

import numpy as np

from .grading import NUMBER, Hint, between, grade, is_near, needs_keys, numbers, shape

N_BITS = 12
GATES = {  # at π/2
    "rx": np.array([[1, -1j], [-1j, 1]]) / np.sqrt(2),
    "ry": np.array([[1, -1], [1, 1]]) / np.sqrt(2),
}


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


def check_gates(answer: object) -> bool:
    """Check exercise 2 of notebook 7: gates that tell an entangled state from the mixture of |00⟩ and |11⟩.

    Args:
        answer: A dictionary. "gates" are two names, "rx" or "ry", for qubit 0 and qubit 1; "state" and "mixture" are
            the probabilities that both bits are equal after these gates.

    Returns:
        Whether the answer is right.
    """
    hints = [
        Hint(
            lambda a: isinstance(a, dict) and set(a) == {"gates", "state", "mixture"},
            'A dictionary with the keys "gates", "state" and "mixture" is needed.',
        ),
        Hint(
            lambda gates: len(gates) == 2 and set(gates) <= set(GATES),
            'Two names are needed, each "rx" or "ry": one gate for each qubit.',
            ("gates",),
        ),
        between(0, 1, "One probability between 0 and 1 is needed.", "state", "mixture"),
        Hint(
            lambda a: is_near(a["mixture"], _p_equal(a["gates"])[1]),
            "mixture: Average the probabilities that |00⟩ and |11⟩ give after your gates.",
        ),
        Hint(
            lambda a: is_near(a["state"], _p_equal(a["gates"])[0]),
            "state: This is not the probability after your gates. Add the complex amplitudes before you take the "
            "squared modulus, and mind the phase of |11⟩.",
        ),
        Hint(
            lambda a: not is_near(*_p_equal(a["gates"])),
            "gates: After these gates, the state and the mixture still give equal bits equally often.",
        ),
    ]
    return grade(answer, hints, "Which bases show an entangled state depends on its phase.")


def _p_equal(gates: Any) -> tuple[float, float]:
    """The probabilities of equal bits after two gates: of (|00⟩ − i|11⟩)/√2, and of the mixture of |00⟩ and |11⟩."""
    both = np.kron(GATES[gates[1]], GATES[gates[0]])
    state = abs(both @ [1, 0, 0, -1j]) ** 2 / 2
    mixture = (abs(both[:, 0]) ** 2 + abs(both[:, 3]) ** 2) / 2
    return float(state[0] + state[3]), float(mixture[0] + mixture[3])


def check_best_cut(answer: object) -> bool:
    """Check exercise 3 of notebook 7: the cut of 12 bits into halves with the lowest mutual information.

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
