"""The ansatz: a circuit of RX and RZ rotations on every qubit and RXX rotations on pairs of qubits."""

from itertools import combinations

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector

from ..checks import check_choice, check_integer

MAX_ANGLES = 100_000  # per circuit: 8 layers with full entanglement on IBM's largest device, 156 qubits


def entangled_pairs(n_qubits: int, entanglement: str) -> list[tuple[int, int]]:
    """Return the pairs of qubits that RXX gates act on.

    Args:
        n_qubits: The number of qubits.
        entanglement: "full" for all pairs, "linear" for neighbors on a line, "none" for no pairs.

    Returns:
        Pairs of qubit indices, in the order of the gates.

    Raises:
        ValueError: If the entanglement is unknown.
    """
    check_choice("entanglement", entanglement, ("full", "linear", "none"))
    if entanglement == "full":
        return list(combinations(range(n_qubits), 2))
    return [(q, q + 1) for q in range(n_qubits - 1)] if entanglement == "linear" else []


def qcbm_ansatz(
    n_qubits: int = 8, layers: int = 2, entanglement: str = "full", warm_start: bool = True
) -> QuantumCircuit:
    """Build the ansatz for ion traps: in each layer RX and RZ on every qubit, then RXX on pairs of qubits.

    Every angle is an element of one `ParameterVector`, in the order of the gates. The circuit has no measurements.

    Source: Rudolph et al., arXiv:2012.03924, Fig. 2. The initial Hadamard gates are those of the public
    implementation.

    Args:
        n_qubits: The number of qubits n.
        layers: The number of layers.
        entanglement: The pairs of qubits with RXX gates: "full" for all pairs, "linear" for neighbors on a line,
            "none" for no pairs.
        warm_start: Whether to start with a Hadamard gate on every qubit. Angles of 0 then give the uniform
            distribution.

    Returns:
        The circuit with its angles as parameters.

    Raises:
        ValueError: If a number is not an integer of at least 1, the circuit has more than 100,000 angles, or the
            entanglement is unknown.
    """
    n_qubits, layers = check_integer("n_qubits", n_qubits), check_integer("layers", layers)
    n_pairs = {"full": n_qubits * (n_qubits - 1) // 2, "linear": n_qubits - 1}.get(str(entanglement), 0)
    n_angles = layers * (2 * n_qubits + n_pairs)
    if n_angles > MAX_ANGLES:  # checked before a list of all pairs is made
        raise ValueError(
            f"a circuit has at most {MAX_ANGLES:,} angles; got n_qubits = {n_qubits} and layers = {layers}, which need "
            f"{n_angles:,}"
        )
    pairs = entangled_pairs(n_qubits, entanglement)
    next_angle = iter(ParameterVector("θ", n_angles))
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
    """Describe where each angle of a circuit acts, such as "θ[8]: RZ on qubit 0".

    An angle of several gates is named after the first of them.

    Args:
        circuit: The circuit, with gates on one or more qubits.

    Returns:
        One description for each of `circuit.parameters`, in their order.
    """
    names: dict[Parameter, str] = {}
    for instruction in circuit.data:
        qubits = [str(circuit.find_bit(qubit).index) for qubit in instruction.qubits]
        place = f"qubit {qubits[0]}" if len(qubits) == 1 else f"qubits {' and '.join(qubits)}"
        for angle in instruction.params:
            for parameter in getattr(angle, "parameters", ()):  # a number has none
                names.setdefault(parameter, f"{parameter.name}: {instruction.operation.name.upper()} on {place}")
    return [names[parameter] for parameter in circuit.parameters]
