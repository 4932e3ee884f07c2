"""Checks of notebook 3's exercises: a circuit as a probability distribution."""

from math import e, inf, log

import numpy as np
from qiskit import QuantumCircuit
from qiskit.quantum_info import Statevector, shannon_entropy

from .grading import NUMBER, WORD, Hint, between, equals, grade, needs_keys, numbers, one_of


def check_rxx_pi(probabilities: object) -> bool:
    """Check exercise 1 of notebook 3: the distribution of RXX(π)|00⟩.

    Args:
        probabilities: Four probabilities, shape (4,), in the order of the index.

    Returns:
        Whether the answer is right.
    """
    hints = [
        Hint(lambda p: not np.iscomplexobj(p), "These are amplitudes. A probability is an amplitude's |a|²."),
        numbers((4,), "Two qubits have four states: a list of four numbers is needed."),
        Hint(lambda p: abs(sum(p) - 1) <= 1e-6, "Probabilities add up to 1."),
        between(-inf, 0.01, "RXX(θ) leaves |00⟩ with probability cos²(θ/2). What is that at θ = π?", 0),
        between(0.99, inf, "What does X ⊗ X do to each of the two bits of |00⟩?", 3),
    ]
    praise = "At θ = π the gate is X ⊗ X up to a global phase, which no measurement can detect."
    return grade(probabilities, hints, praise)


def check_parity(circuit: object) -> bool:
    """Check exercise 2 of notebook 3: three dependent bits, with independent pairs.

    Args:
        circuit: A QuantumCircuit of three qubits without parameters and without measurements.

    Returns:
        Whether the answer is right.
    """
    hints = [
        Hint(lambda c: c.num_qubits == 3, "A QuantumCircuit of three qubits is needed."),
        Hint(_is_ready, "Leave out measurements, and give each angle a number."),
        Hint(
            lambda c: max(_correlation(c, pair) for pair in ([0, 1], [0, 2], [1, 2])) <= 1e-6,
            "Some pair is dependent. A two-qubit gate makes two bits dependent. What if you couple one of them again?",
        ),
        Hint(
            lambda c: _correlation(c, [0, 1, 2]) >= log(2) - 1e-6,
            "The pairs are independent, but the total correlation is less than log 2. In the notebook, which gate and "
            "angle gave a pair its log 2, and from which initial state?",
        ),
    ]
    praise = "Any two of the bits are uniform and independent, and the parity of all three is fixed."
    return grade(circuit, hints, praise)


def _is_ready(circuit: QuantumCircuit) -> bool:
    return circuit.num_clbits == 0 and circuit.num_parameters == 0


def _correlation(circuit: QuantumCircuit, qubits: list[int]) -> float:
    """The total correlation in nats of some of the bits of a circuit without parameters."""
    state = Statevector(circuit)
    single = sum(shannon_entropy(state.probabilities([qubit]), base=e) for qubit in qubits)
    return single - shannon_entropy(state.probabilities(qubits), base=e)


def check_reach(distances: object) -> bool:
    """Check exercise 3 of notebook 3: how far apart dependent bits can be on a line of qubits.

    Args:
        distances: The largest distance of two dependent bits after one and after two layers of RXX gates between
            neighbors, shape (2,).

    Returns:
        Whether the answer is right.
    """
    hint = "small is not zero, and rounding errors are about 1e-16 nats. Which distances show more than 1e-12?"
    hints = [
        numbers((2,), "Two whole numbers are needed: for one layer, and for two."),
        Hint(lambda d: d[1] > d[0], "After two layers: the second one extends the dependence that the first created."),
        equals(2, f"After one layer: {hint}", 0),
        equals(4, f"After two layers: {hint}", 1),
    ]
    return grade(distances, hints, "With each layer, the light cone of a bit grows by one qubit on each side.")


def check_fourfold_shots(answer: object) -> bool:
    """Check exercise 4 of notebook 3: the effect of four times the shots.

    Args:
        answer: A dictionary. "kl" and "variation" are the KL divergence and the total variation with 400 shots divided
            by those with 100 shots; "error" is what happens to the error of a frequency: "halves" or "quarters".

    Returns:
        Whether the answer is right.
    """
    hints = [
        needs_keys({"kl": NUMBER, "variation": NUMBER, "error": WORD}),
        between(0, 0.99, "More shots reduce KL: divide the value for 400 shots by that for 100.", "kl"),
        between(0.19, 0.33, "Is it the mean of 200 trials, each relative to the exact distribution?", "kl"),
        between(0, 0.99, "More shots reduce it, too. Which value did you divide by which?", "variation"),
        between(0.42, 0.6, "Take half the sum of the absolute values of all differences.", "variation"),
        one_of(("halves", "quarters"), "error"),
        equals("halves", "Total variation adds up errors of frequencies; KL grows with their squares.", "error"),
    ]
    return grade(answer, hints, "Errors shrink as 1/√S: one more decimal digit takes 100 times the shots.")
