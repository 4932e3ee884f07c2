"""Checks of notebook 7's exercises: one circuit measured in two bases."""

from math import log

import numpy as np

from .grading import LIST, NUMBER, WORD, Hint, between, grade, is_near, needs_keys, numbers, one_of, shape

N_BITS = 16


def check_other_turn(answer: object) -> bool:
    """Check exercise 1 of notebook 7: four states of one qubit after RY(π/2).

    Args:
        answer: A dictionary {state: p(1)} with the states "|+⟩", "|+i⟩", "|−⟩" and "|−i⟩".

    Returns:
        Whether the answer is right.
    """
    if isinstance(answer, dict):
        answer = {str(state).replace("-", "−"): p for state, p in answer.items()}  # a hyphen will do as a minus sign
    right = {"|+⟩": 1.0, "|+i⟩": 0.5, "|−⟩": 0.0, "|−i⟩": 0.5}
    hint = (
        "Apply the matrix to both amplitudes of the state. The second of the new amplitudes belongs to 1. Take the "
        "squared magnitude of the whole complex number."
    )
    hints = [
        needs_keys(dict.fromkeys(right, NUMBER)),
        between(0, 1, "A probability lies between 0 and 1.", *right),
        Hint(lambda a: all(is_near(a[state], p) for state, p in right.items()), f"At least one is off. {hint}"),
    ]
    praise = "Measured directly, after RX and after RY: three bases distinguish any two states of a qubit."
    return grade(answer, hints, praise)


def check_better_cut(answer: object) -> bool:
    """Check exercise 2 of notebook 7: a cut of 16 bits into halves with little mutual information.

    Args:
        answer: The RBM's probabilities, shape (65536,), the eight columns of one half, and the mutual information of
            the halves in nats: (probabilities, columns, nats).

    Returns:
        Whether the answer is right.
    """
    hints = [
        Hint(
            lambda a: len(a) == 3 and shape(a[0]) == (2**N_BITS,),
            "Three things are needed: the RBM's 65,536 probabilities, eight columns, and the nats.",
        ),
        Hint(lambda p: abs(np.sum(p) - 1) <= 1e-6 and min(p) >= 0, "Probabilities are positive and sum to 1.", (0,)),
        Hint(_are_half_of_the_columns, "One half has eight different columns out of 0 to 15.", (1,)),
        Hint(
            lambda a: _is_nats_of(*a) or not _is_nats_of(a[0], [N_BITS - 1 - column for column in a[1]], a[2]),
            "These are the nats of mirrored columns. Which bit is on the last axis of the reshaped array?",
        ),
        Hint(lambda a: _is_nats_of(*a), "Is it the entropies of both halves minus that of all 16 bits, in nats?"),
        Hint(
            lambda a: a[2] <= _low_quantile(a[0]) + 1e-3,
            "More than one in twenty random cuts is as good. Did you take the best of 200?",
        ),
    ]
    praise = "A better cut loses less, but every cut loses something: the units encode one image together."
    return grade(answer, hints, praise)


def _are_half_of_the_columns(columns: list[int]) -> bool:
    return len(columns) == len(set(columns)) == N_BITS // 2 and set(columns) <= set(range(N_BITS))


def _is_nats_of(p: np.ndarray, columns: list[int], nats: float) -> bool:
    return is_near(nats, _mutual_information(p, list(columns)))


def _mutual_information(p: np.ndarray, columns: list[int]) -> float:
    """The mutual information in nats of half of the bits of a distribution (65536,) with the other half."""
    bits = np.asarray(p, float).reshape([2] * N_BITS).transpose(range(N_BITS - 1, -1, -1))  # axis q is bit q
    others = [column for column in range(N_BITS) if column not in columns]
    joint = bits.transpose([*columns, *others]).reshape(2 ** len(columns), -1)
    product = np.outer(joint.sum(1), joint.sum(0))
    return float(np.sum(joint * np.log(np.where(joint > 0, joint / np.maximum(product, 1e-300), 1))))


def _low_quantile(p: np.ndarray) -> float:
    """The 5% quantile of the mutual information over random cuts."""
    rng = np.random.default_rng(6)
    return float(np.quantile([_mutual_information(p, list(rng.permutation(N_BITS)[:8])) for _ in range(100)], 0.05))


def check_turn_starts(answer: object) -> bool:
    """Check exercise 3 of notebook 7: where the trainable angles of the second basis start.

    Args:
        answer: A dictionary. "near 0" and "π/2" are the costs of the held-out rows in nats, three seeds for each start;
            "lower" is what follows: "near 0", "π/2" or "neither".

    Returns:
        Whether the answer is right.
    """
    starts = ("near 0", "π/2")
    uniform = "A uniform prior costs less than your maximum. Are these the held-out rows, under all 16 bits?"
    lowest = "No model can cost so little. Are these the held-out rows, and both halves together?"
    hints = [
        needs_keys({**dict.fromkeys(starts, LIST), "lower": WORD}),
        numbers((3,), "Three costs are needed, one for each seed.", *starts),
        Hint(lambda costs: max(costs) <= N_BITS * log(2), uniform, starts),
        Hint(lambda costs: min(costs) >= 4, lowest, starts),
        Hint(
            lambda costs: len(set(costs)) > 1, "Three seeds gave one cost. Did each circuit get its own seed?", starts
        ),
        one_of((*starts, "neither"), "lower"),
        Hint(lambda a: a["lower"] == _lower(a), "Compare your own costs seed by seed. What holds for all three?"),
    ]
    return grade(answer, hints, "Three seeds are few: to say by how much the costs differ, you need more.")


def _lower(answer: dict[str, list[float]]) -> str:
    differences = np.subtract(answer["near 0"], answer["π/2"])
    if (differences > 0).all():
        return "π/2"
    return "near 0" if (differences < 0).all() else "neither"
