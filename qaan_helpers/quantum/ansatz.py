"""The circuit of the Born machine: RX and RZ on every qubit, RXX on pairs, repeated."""

from itertools import combinations

from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from ..checks import check_integer

ENTANGLEMENTS = ("full", "linear", "none")
MAX_ANGLES = 100_000  # of a circuit: 8 layers on the 156 qubits of IBM's largest, all of them joined


def entangled_pairs(n_qubits: int, entanglement: str) -> list[tuple[int, int]]:
    """The pairs of qubits that RXX joins: all of them ("full"), neighbours on a line ("linear"), or "none"."""
    if entanglement not in ENTANGLEMENTS:
        raise ValueError(f"entanglement is {entanglement!r}; choose one of {', '.join(map(repr, ENTANGLEMENTS))}")
    pairs = {
        "full": list(combinations(range(n_qubits), 2)),
        "linear": [(q, q + 1) for q in range(n_qubits - 1)],
        "none": [],
    }
    return pairs[entanglement]


def qcbm_ansatz(
    n_qubits: int = 8, layers: int = 2, entanglement: str = "full", warm_start: bool = True
) -> QuantumCircuit:
    """Build the ion-trap ansatz: `layers` times RX and RZ on each qubit and RXX on pairs of qubits.

    Every angle is an entry of one ParameterVector, in the order in which the gates act. `warm_start` puts a Hadamard
    on every qubit first, so that angles of zero give the uniform distribution. The circuit has no measurements.
    Raises ValueError for fewer than one qubit or layer, too many of them, or an unknown entanglement.
    Source: Rudolph et al., arXiv:2012.03924, Fig. 2; the Hadamards are the public implementation's.
    """
    n_qubits, layers = check_integer("n_qubits", n_qubits), check_integer("layers", layers)
    n_pairs = {"full": n_qubits * (n_qubits - 1) // 2, "linear": n_qubits - 1}.get(str(entanglement), 0)
    if layers * (2 * n_qubits + n_pairs) > MAX_ANGLES:  # before any of them is made
        raise ValueError(f"n_qubits is {n_qubits} and layers is {layers}; a circuit has {MAX_ANGLES:,} angles at most")
    pairs = entangled_pairs(n_qubits, entanglement)
    angles = ParameterVector("θ", layers * (2 * n_qubits + len(pairs)))
    next_angle = iter(angles)
    circuit = QuantumCircuit(n_qubits, name="QCBM")
    if warm_start:
        circuit.h(range(n_qubits))
    for _ in range(layers):
        for qubit in range(n_qubits):
            circuit.rx(next(next_angle), qubit)
        for qubit in range(n_qubits):
            circuit.rz(next(next_angle), qubit)
        for pair in pairs:
            circuit.rxx(next(next_angle), *pair)
    return circuit


def angle_names(circuit: QuantumCircuit) -> list[str]:
    """Say for each of the circuit's angles, in their order, where it acts: "θ[8]: RZ on qubit 0".

    An angle that several gates share is named by the first of them.
    """
    gates = {}
    for instruction in circuit.data:
        qubits = [str(circuit.find_bit(qubit).index) for qubit in instruction.qubits]
        place = f"qubit {qubits[0]}" if len(qubits) == 1 else f"qubits {' and '.join(qubits)}"
        for expression in instruction.params:
            for parameter in getattr(expression, "parameters", ()):
                gates.setdefault(parameter, f"{parameter.name}: {instruction.operation.name.upper()} on {place}")
    return [gates[parameter] for parameter in circuit.parameters]
