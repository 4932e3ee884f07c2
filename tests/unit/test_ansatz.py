"""The circuit: which gates, in which order, with which angles."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Statevector

import qaan_helpers as qh
from qaan_helpers.quantum.ansatz import angle_names, entangled_pairs


@pytest.mark.parametrize(
    ("entanglement", "pairs"),
    [("full", [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]), ("linear", [(0, 1), (1, 2), (2, 3)]), ("none", [])],
)
def test_pairs(entanglement, pairs):
    assert entangled_pairs(4, entanglement) == pairs


@pytest.mark.parametrize(("n_qubits", "layers", "angles"), [(8, 2, 88), (10, 2, 130), (1, 1, 2), (3, 5, 45)])
def test_number_of_angles_with_full_entanglement(n_qubits, layers, angles):
    assert qh.qcbm_ansatz(n_qubits, layers).num_parameters == angles


def test_default_is_eight_qubits_two_layers_all_pairs_and_hadamards():
    assert dict(qh.qcbm_ansatz().count_ops()) == {"h": 8, "rx": 16, "rz": 16, "rxx": 56}


@pytest.mark.parametrize("warm_start", (True, False))
@pytest.mark.parametrize(("entanglement", "pairs"), [("full", 6), ("linear", 3), ("none", 0)])
def test_gate_counts(entanglement, pairs, warm_start):
    wanted = {"h": 4 * warm_start, "rx": 12, "rz": 12, "rxx": 3 * pairs}
    circuit = qh.qcbm_ansatz(4, 3, entanglement, warm_start)
    assert dict(circuit.count_ops()) == {name: count for name, count in wanted.items() if count}


def test_angles_are_in_the_order_of_the_gates():
    """Also beyond ten, where names of loose parameters would sort as text: p1, p10, p11, p2."""
    circuit = qh.qcbm_ansatz(4, 2)
    parameters = list(circuit.parameters)
    assert len(parameters) > 20
    assert [gate.params[0] for gate in circuit.data if gate.params] == parameters
    assert len({parameter.vector for parameter in parameters}) == 1


def test_the_state_is_that_of_the_gates_written_out():
    a = np.random.default_rng(0).uniform(-np.pi, np.pi, 10)
    by_hand = QuantumCircuit(2)
    by_hand.h([0, 1])
    for layer in (a[:5], a[5:]):
        by_hand.rx(layer[0], 0)
        by_hand.rx(layer[1], 1)
        by_hand.rz(layer[2], 0)
        by_hand.rz(layer[3], 1)
        by_hand.rxx(layer[4], 0, 1)
    bound = qh.qcbm_ansatz(2, 2).assign_parameters(a)
    assert Statevector(bound).equiv(Statevector(by_hand))


def test_warm_start_and_angles_of_zero_give_the_uniform_distribution():
    circuit = qh.qcbm_ansatz(3, 2)
    state = Statevector(circuit.assign_parameters(np.zeros(circuit.num_parameters)))
    np.testing.assert_allclose(state.probabilities(), 1 / 8)


def test_cold_start_and_angles_of_zero_stay_at_all_zeros():
    circuit = qh.qcbm_ansatz(3, 2, warm_start=False)
    state = Statevector(circuit.assign_parameters(np.zeros(circuit.num_parameters)))
    np.testing.assert_allclose(state.probabilities(), np.eye(8)[0], atol=1e-12)


def test_is_a_plain_unmeasured_circuit():
    circuit = qh.qcbm_ansatz(3)
    assert type(circuit) is QuantumCircuit
    assert circuit.num_clbits == 0 and circuit.num_qubits == 3


@pytest.mark.parametrize("value", (0, -1, 2.0, True, "8"))
@pytest.mark.parametrize("name", ("n_qubits", "layers"))
def test_refuses_sizes_that_are_not_whole_numbers_of_one_or_more(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer ≥ 1; got {value!r}"):
        qh.qcbm_ansatz(**{name: value})


def test_refuses_an_unknown_entanglement_and_names_the_known():
    with pytest.raises(ValueError, match="entanglement must be one of 'full', 'linear', 'none'; got 'ring'"):
        qh.qcbm_ansatz(4, entanglement="ring")


def test_angles_are_named_by_gate_and_qubits_in_their_order():
    names = angle_names(qh.qcbm_ansatz(3, layers=2, entanglement="linear"))
    assert names[:8] == [
        *("θ[0]: RX on qubit 0", "θ[1]: RX on qubit 1", "θ[2]: RX on qubit 2"),
        *("θ[3]: RZ on qubit 0", "θ[4]: RZ on qubit 1", "θ[5]: RZ on qubit 2"),
        *("θ[6]: RXX on qubits 0 and 1", "θ[7]: RXX on qubits 1 and 2"),
    ]
    assert len(names) == 16 and names[8] == "θ[8]: RX on qubit 0" and names[15] == "θ[15]: RXX on qubits 1 and 2"


def test_angle_names_follow_the_circuits_order_and_pass_over_fixed_angles():
    late, early = Parameter("b"), Parameter("a")  # the circuit sorts its parameters by name
    circuit = QuantumCircuit(2)
    circuit.rx(late, 1)
    circuit.ry(0.5, 0)
    circuit.rz(2 * early, 0)
    circuit.rz(early, 1)
    assert angle_names(circuit) == ["a: RZ on qubit 0", "b: RX on qubit 1"]
