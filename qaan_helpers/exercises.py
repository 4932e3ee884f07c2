"""Checks of the notebooks' exercises: each says whether an answer is right, or what to look at again, never the answer.

A notebook has a stub, `my_answer = ...`, and calls `check_…(my_answer)` below it. Full solutions, which the tests run,
are in notebooks/solutions/.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

OPEN = "Not answered yet: put your answer in place of the three dots."


def judge(answer: Any, hints: Iterable[tuple[Callable[[Any], bool], str]], praise: str) -> bool:
    """Print the first of `hints`, pairs (is this wrong with the answer?, what to look at), that applies, else `praise`.

    An answer that a question cannot even be asked of is told its kind and that hint. Returns whether it is right.
    """
    if answer is ...:
        print(OPEN)
        return False
    for is_wrong, hint in hints:
        try:
            wrong = bool(is_wrong(answer))
        except Exception:  # whatever a learner hands over, the notebook goes on
            wrong, hint = True, f"This is of type {type(answer).__name__}. {hint}"
        if wrong:
            print(f"Not yet. {hint}")
            return False
    print(f"Right. {praise}")
    return True


def _shape(answer):
    return np.asarray(answer, dtype=float).shape


# 3 · A circuit as a probability distribution


def check_rxx_pi(probabilities) -> bool:
    """Exercise 1 of notebook 3: the four probabilities, in the order of the index, after RXX(π) on |00⟩."""
    hints = [
        (lambda p: _shape(p) != (4,), "Two qubits have four states: a list of four numbers is needed."),
        (lambda p: abs(sum(p) - 1) > 1e-6, "Probabilities add up to 1."),
        (lambda p: p[0] > 0.01, "RXX(θ) leaves |00⟩ with probability cos²(θ/2). What is that at θ = π?"),
        (lambda p: p[3] < 0.99, "XX flips both qubits at once. Which index has both bits set?"),
    ]
    return judge(probabilities, hints, "At θ = π the gate is XX itself, but for a phase that no measurement sees.")
