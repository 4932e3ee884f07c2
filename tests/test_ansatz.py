"""The circuit: which gates, in which order, with which angles."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Statevector

import qaan_helpers as qh
from qaan_helpers.ansatz import entangled_pairs


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
    with pytest.raises(ValueError, match=f"{name} is {value!r}; .*1 or more"):
        qh.qcbm_ansatz(**{name: value})


def test_refuses_an_unknown_entanglement_and_names_the_known():
    with pytest.raises(ValueError, match="'ring'; choose one of 'full', 'linear', 'none'"):
        qh.qcbm_ansatz(4, entanglement="ring")
