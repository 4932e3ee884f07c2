"""Checks of the notebooks' exercises: each says whether an answer is right, or what to look at again, never the answer.

A notebook has a stub, `my_answer = ...`, and calls `check_…(my_answer)` below it. Full solutions, which the tests run,
are in notebooks/solutions/.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .bits import from_index
from .execution import Exact

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


def check_secret_of_three(circuit) -> bool:
    """Exercise 2 of notebook 3: a circuit of three qubits whose pairs know nothing of each other and all three do."""
    hints = [
        (lambda c: c.num_qubits != 3, "A QuantumCircuit of three qubits is needed."),
        (lambda c: c.num_clbits > 0 or len(c.parameters) > 0, "Leave out measurements, and give each angle a number."),
        (
            lambda c: max(_known(_born(c), pair) for pair in ((0, 1), (0, 2), (1, 2))) > 1e-6,
            "Some pair of bits knows of each other. A gate on two qubits ties two; what if one of them is tied again?",
        ),
        (
            lambda c: _known(_born(c), (0, 1, 2)) < np.log(2) - 1e-6,
            "No pair knows of each other, but all three together know less than log 2. By which gate and angle, "
            "and from which state, did the pair at the start get its log 2?",
        ),
    ]
    return judge(circuit, hints, "Any two bits are fair coins, and the third is then fixed: only parity ties them.")


def check_reach(reaches) -> bool:
    """Exercise 3 of notebook 3: how far apart bits can be tied after one and after two layers of RXX on a line."""
    hints = [
        (lambda r: _shape(r) != (2,), "Two whole numbers are needed: for one layer, and for two."),
        (lambda r: r[0] < 2, "After one layer: both ends of a chain of two RXX have touched the qubit in the middle."),
        (lambda r: r[0] > 2, "After one layer: rounding alone leaves about 1e-16 nats. Is yours above 1e-12?"),
        (lambda r: r[1] <= r[0], "After two layers: the second one passes on what the first has spread."),
        (lambda r: r[1] < 4, "After two layers: small is not zero; look at the exponent, down to 1e-12."),
        (lambda r: r[1] > 4, "After two layers: rounding alone leaves about 1e-16 nats. Is yours above 1e-12?"),
    ]
    return judge(reaches, hints, "Each layer lets both ends reach one qubit further: a light cone.")


def check_fourfold_shots(measured) -> bool:
    """Exercise 4 of notebook 3: what four times the shots do to KL, to total variation and to the error of a share."""
    hints = [
        (
            lambda m: set(m) != {"kl", "variation", "error"} or _shape([m["kl"], m["variation"]]) != (2,),
            'A dictionary with "kl", "variation" (numbers) and "error" (a word) is needed.',
        ),
        (lambda m: not 0 < m["kl"] < 1, "More shots bring KL down: divide what 400 shots gave by what 100 gave."),
        (lambda m: not 0.19 < m["kl"] < 0.33, "KL: is it the mean of 200 throws, each to the exact distribution?"),
        (
            lambda m: not 0 < m["variation"] < 1,
            "More shots bring the variation down, too: which did you divide by which?",
        ),
        (lambda m: not 0.42 < m["variation"] < 0.6, "Total variation: half the sum of the sizes of all differences."),
        (lambda m: m["error"] not in ("halves", "quarters"), 'For "error" the words are "halves" and "quarters".'),
        (
            lambda m: m["error"] != "halves",
            "Total variation adds up the errors of shares; KL grows with their squares.",
        ),
    ]
    return judge(measured, hints, "Errors shrink with the root of the shots: one digit more costs 100 times as many.")


def _born(circuit):
    """The exact distribution (2ⁿ,) of a circuit without parameters."""
    return Exact().prepare(circuit, []).probabilities(np.zeros((1, 0)))[0]


def _known(p, some):
    """The total correlation in nats of `some` of the bits of a distribution (2ⁿ,); of two it is mutual information."""
    columns = from_index(np.arange(len(p)), len(p).bit_length() - 1)[:, list(some)]
    joint = np.bincount(columns @ (1 << np.arange(len(some))), weights=p)
    single = [np.bincount(column, weights=p) for column in columns.T]
    return sum(map(_entropy, single)) - _entropy(joint)


def _entropy(p):
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())
