"""The differentiable simulator and both gradient methods, against Aer, Qiskit's state vector and finite differences."""

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator

import qaan_helpers as qh
from qaan_helpers.quantum import execution
from qaan_helpers.quantum.gradients import ParameterShift, ReverseMode, UnsupportedGateError, gradient_method

FIXED = ("h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "id")
FIXED_PAIRS = ("cx", "cz", "swap")
ROTATIONS = ("rx", "ry", "rz", "p")
PAIR_ROTATIONS = ("rxx", "ryy", "rzz")
THETA = ParameterVector("θ", 5)
SHIFTED = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1]], dtype=np.uint8)


def random_circuit(seed, n_qubits=4, gates=40):
    """All supported gates; some angles are numbers, some are shared parameters, some linear expressions."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(n_qubits)

    def angle():
        first, second = (THETA[i] for i in rng.choice(5, 2, replace=False))
        return [float(rng.normal()), first, 0.7 * first - 1.3 * second + 0.2, -first / 2][rng.integers(4)]

    for theta in THETA:  # each occurs
        circuit.ry(theta, int(rng.integers(n_qubits)))
    for _ in range(gates):
        a, b = (int(q) for q in rng.choice(n_qubits, 2, replace=False))
        kind = rng.integers(4)
        name = rng.choice((FIXED, FIXED_PAIRS, ROTATIONS, PAIR_ROTATIONS)[kind])
        getattr(circuit, name)(*([angle()] if kind > 1 else []), *((a, b) if kind % 2 else (a,)))
    return circuit


def by_qiskit(circuit, angles, parameters=THETA):
    return Statevector(circuit.assign_parameters(dict(zip(parameters, angles, strict=True)))).probabilities()


def by_aer(circuit, angles):
    bound = circuit.assign_parameters(dict(zip(THETA, angles, strict=True)))
    bound.save_probabilities()
    return AerSimulator(method="statevector").run(bound, shots=1).result().data(0)["probabilities"]


def numerical(function, angles, step=1e-5):
    """Central differences of a function of (P,), shape (P, ...)."""
    return np.array([(function(angles + step * e) - function(angles - step * e)) / (2 * step) for e in np.eye(5)])


# --- probabilities ---


@pytest.mark.parametrize("name", (*FIXED, *FIXED_PAIRS, *ROTATIONS, *PAIR_ROTATIONS))
@pytest.mark.parametrize("qubits", [(0, 1, 2), (2, 0, 1)])
def test_every_gate_alone_between_states_that_tell_all_phases(name, qubits):
    theta = Parameter("θ")
    circuit = QuantumCircuit(3)
    for qubit, turn in enumerate((0.4, 1.1, -0.7)):
        circuit.ry(turn + 0.3, qubit)
        circuit.rz(turn, qubit)
    angles = [theta] if name in ROTATIONS + PAIR_ROTATIONS else []
    getattr(circuit, name)(*angles, *qubits[: 2 if name in FIXED_PAIRS + PAIR_ROTATIONS else 1])
    for qubit in range(3):
        circuit.rx(0.9 + qubit, qubit)
    circuit.rxx(0.5, 0, 2)
    p = qh.StatevectorCircuit(circuit, [theta]).probabilities([1.234]).numpy()
    np.testing.assert_allclose(
        p, by_qiskit(circuit.assign_parameters({theta: 1.234} if angles else {}), [], []), atol=1e-12
    )


@pytest.mark.parametrize("seed", range(12))
def test_probabilities_of_random_circuits_are_those_of_aer_and_qiskit(seed):
    circuit = random_circuit(seed, n_qubits=2 + seed % 4)
    angles = np.random.default_rng(seed + 100).uniform(-4, 4, (3, 5))
    rows = qh.StatevectorCircuit(circuit, list(THETA)).probabilities(angles).numpy()
    assert rows.dtype == np.float64
    for row, point in zip(rows, angles, strict=True):
        np.testing.assert_allclose(row, by_aer(circuit, point), atol=1e-12)
        np.testing.assert_allclose(row, by_qiskit(circuit, point), atol=1e-12)


@pytest.mark.parametrize("n_qubits", (1, 2, 3, 5, 7, 8, 9, 11))
@pytest.mark.parametrize("warm_start", (True, False))
def test_the_ansatz_of_any_width_agrees_with_exact(n_qubits, warm_start):
    circuit = qh.qcbm_ansatz(n_qubits, 2, warm_start=warm_start)
    angles = np.random.default_rng(n_qubits).uniform(-np.pi, np.pi, circuit.num_parameters)
    exact = qh.QCBM(circuit).probabilities(angles)
    np.testing.assert_allclose(qh.StatevectorCircuit(circuit).probabilities(angles).numpy(), exact, atol=1e-12)


def test_the_ansatz_needs_two_levels_per_layer_and_one_more():
    """RX, RZ and RXX commute within their kinds, RXX also with the RX of the next layer; the first RX is idle."""
    for layers in (1, 2, 5):
        assert len(qh.StatevectorCircuit(qh.qcbm_ansatz(4, layers))._levels) == 2 * layers + 1


# --- derivatives ---


@pytest.mark.parametrize("seed", range(8))
def test_autograd_against_finite_differences_on_random_circuits(seed):
    circuit = random_circuit(seed, n_qubits=3)
    simulator = qh.StatevectorCircuit(circuit, list(THETA))
    angles = np.random.default_rng(seed).uniform(-3, 3, 5)
    weights = np.random.default_rng(seed + 1).normal(size=8)
    point = torch.tensor(angles, requires_grad=True)
    (simulator.probabilities(point) @ torch.tensor(weights)).backward()
    expected = numerical(lambda a: by_qiskit(circuit, a) @ weights, angles)
    np.testing.assert_allclose(point.grad.numpy(), expected, atol=1e-8)
    assert abs(expected).max() > 0.01


def test_rows_of_a_batch_have_their_own_derivatives():
    simulator = qh.StatevectorCircuit(random_circuit(3), list(THETA))
    rows = torch.tensor(np.random.default_rng(0).normal(size=(4, 5)), requires_grad=True)
    weights = torch.tensor(np.random.default_rng(1).normal(size=(4, 16)))
    (simulator.probabilities(rows) * weights).sum().backward()
    for row, weight, gradient in zip(rows.detach(), weights, rows.grad, strict=True):
        alone = row.clone().requires_grad_()
        (simulator.probabilities(alone) @ weight).backward()
        np.testing.assert_allclose(gradient, alone.grad, atol=1e-12)


@pytest.mark.parametrize("bases", ("z", "zo", "zt"))
@pytest.mark.parametrize("make", [lambda: random_circuit(5, 3), lambda: qh.qcbm_ansatz(3, 2)])
def test_reverse_mode_parameter_shift_and_finite_differences_agree(bases, make):
    """Also for shared parameters and expressions, where shifting a parameter itself would be wrong."""

    class Hidden:
        """The same probabilities from an execution that is not `Exact`."""

        shots = None

        def prepare(self, circuit, parameters):
            return qh.Exact().prepare(circuit, parameters)

    circuit = make()
    reverse, shift = (qh.QCBM(circuit, how, seed=3, bases=bases) for how in (qh.Exact(), Hidden()))
    reverse.angles = shift.angles = np.random.default_rng(2).uniform(-3, 3, len(reverse.angles))
    bits = np.random.default_rng(3).integers(0, 2, (50, reverse.n_bits), dtype=np.uint8)
    cost, gradient = reverse.cost_and_gradient(bits)
    other_cost, other_gradient = shift.cost_and_gradient(bits)
    assert cost == pytest.approx(other_cost, abs=1e-10)
    np.testing.assert_allclose(gradient, other_gradient, atol=1e-9)
    angles, step = reverse.angles.copy(), 1e-5

    def cost_at(point):
        reverse.angles = point
        return reverse.cost_and_gradient(bits)[0]

    expected = [(cost_at(angles + step * e) - cost_at(angles - step * e)) / (2 * step) for e in np.eye(len(angles))]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_the_gradient_is_zero_where_probabilities_are_clipped():
    """A single qubit at |0⟩, data of ones: the cost is −log ε, and no small turn changes that."""
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("θ"), 0)
    qcbm = qh.QCBM(circuit)
    qcbm.angles = [1e-6]
    cost, gradient = qcbm.cost_and_gradient(np.ones((3, 1)))
    assert cost == pytest.approx(-np.log(1e-8)) and gradient == 0
    cost, gradient = qcbm.cost_and_gradient(np.ones((3, 1)), epsilon=1e-15)
    assert cost < -np.log(1e-13) and gradient < -1e5


def test_cost_and_gradient_changes_nothing():
    qcbm = qh.QCBM(qh.qcbm_ansatz(3, 1))
    before = qcbm.state_dict()
    first, again = (qcbm.cost_and_gradient(SHIFTED) for _ in range(2))
    np.testing.assert_array_equal(first[1], again[1])
    assert qcbm.state_dict()["rng"] == before["rng"] and (qcbm.angles == before["angles"]).all()


def test_cost_and_gradient_with_shots_is_near_the_exact_one():
    exact, shots = (qh.QCBM(qh.qcbm_ansatz(3, 1), how) for how in (qh.Exact(), qh.Shots(200_000)))
    gradients = [qcbm.cost_and_gradient(SHIFTED)[1] for qcbm in (exact, shots)]
    np.testing.assert_allclose(*gradients, atol=0.05)
    assert (gradients[0] != gradients[1]).any()


def test_a_step_against_the_gradient_lowers_the_cost():
    qcbm = qh.QCBM(qh.qcbm_ansatz(3, 2))
    cost, gradient = qcbm.cost_and_gradient(SHIFTED)
    qcbm.angles = qcbm.angles - 1e-3 * gradient
    assert qcbm.cost_and_gradient(SHIFTED)[0] == pytest.approx(cost - 1e-3 * gradient @ gradient, rel=1e-3)


# --- which method is used ---


def methods(circuit, how):
    parameters = list(circuit.parameters)
    return gradient_method(how, circuit, parameters, how.prepare(circuit, parameters))


def test_exact_uses_reverse_mode_and_shots_the_parameter_shift_rule():
    circuit = qh.qcbm_ansatz(2, 1)
    assert isinstance(methods(circuit, qh.Exact()), ReverseMode)
    assert isinstance(methods(circuit, qh.Shots(10)), ParameterShift)
    assert methods(circuit, qh.Exact()).n_circuits == 1
    assert methods(circuit, qh.Shots(10)).n_circuits == 2 * 5 + 1


def test_other_gates_fall_back_to_parameter_shift():
    """RZX has no path in the simulator but follows the rule; so does a circuit with a fixed Toffoli gate."""
    theta = ParameterVector("θ", 2)
    circuit = QuantumCircuit(3)
    circuit.h([0, 1])
    circuit.ccx(0, 1, 2)
    circuit.rzx(theta[0] + theta[1], 0, 2)
    circuit.ry(-2 * theta[1], 1)
    assert isinstance(methods(circuit, qh.Exact()), ParameterShift)
    qcbm, step = qh.QCBM(circuit), 1e-5
    qcbm.angles = angles = np.array([0.4, 0.9])
    gradient = qcbm.cost_and_gradient(SHIFTED)[1]
    for i, e in enumerate(np.eye(2)):
        costs = []
        for sign in (1, -1):
            qcbm.angles = angles + sign * step * e
            costs.append(qcbm.cost_and_gradient(SHIFTED)[0])
        assert gradient[i] == pytest.approx((costs[0] - costs[1]) / (2 * step), abs=1e-6)


def test_a_controlled_rotation_has_no_gradient_and_the_error_names_it():
    """Its generator has three eigenvalues: the rule for two would give a wrong number."""
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.crx(Parameter("θ"), 0, 1)
    for how in (qh.Exact(), qh.Shots(10)):
        qcbm = qh.QCBM(circuit, how)
        calls = []
        with pytest.raises(UnsupportedGateError, match="got an angle in a gate 'crx'.*cobyla"):
            qcbm.cost_and_gradient(SHIFTED)
        with pytest.raises(UnsupportedGateError, match="'crx'"):
            qcbm.fit(SHIFTED, "adam", callback=lambda *call, calls=calls: calls.append(call))
        with pytest.raises(UnsupportedGateError, match="'crx'"):
            qcbm.estimate_resources("adam")
        assert not calls
        assert qcbm.fit(SHIFTED, "cobyla", 10).n_evaluations <= 10


def test_an_angle_that_is_not_linear_has_no_gradient():
    theta = Parameter("θ")
    circuit = QuantumCircuit(1)
    circuit.rx(theta * theta, 0)
    with pytest.raises(UnsupportedGateError, match="must be linear .* gate 'rx' has the angle θ"):
        qh.QCBM(circuit).cost_and_gradient([[0], [1]])


# --- bad input ---


def test_refuses_a_measured_circuit():
    circuit = qh.qcbm_ansatz(2, 1)
    circuit.measure_all()
    with pytest.raises(ValueError, match="must have no measurements.*got 2 classical bits.*remove_final"):
        qh.StatevectorCircuit(circuit)


def test_refuses_an_unsupported_gate():
    circuit = QuantumCircuit(3)
    circuit.ccx(0, 1, 2)
    with pytest.raises(UnsupportedGateError, match="supports h, .*rzz.*; got a gate 'ccx'. Decompose"):
        qh.StatevectorCircuit(circuit)
    circuit = QuantumCircuit(2)
    circuit.reset(0)
    with pytest.raises(UnsupportedGateError, match="got a gate 'reset'"):
        qh.StatevectorCircuit(circuit)


def test_refuses_a_circuit_with_parameters_that_are_not_listed():
    circuit = qh.qcbm_ansatz(2, 1)
    with pytest.raises(ValueError, match="parameters must include every parameter of the circuit.*θ.4"):
        qh.StatevectorCircuit(circuit, list(circuit.parameters)[:-1])


def test_refuses_too_many_qubits_before_any_work(monkeypatch):
    monkeypatch.setattr(execution, "available_memory", lambda: 10**6)
    with pytest.raises(ValueError, match=r"12 qubits need about 1.34 MiB of memory.*at most 11 qubits fit"):
        qh.StatevectorCircuit(qh.qcbm_ansatz(12, 2))
    qh.StatevectorCircuit(qh.qcbm_ansatz(11, 2))


@pytest.mark.parametrize("angles", [np.zeros(4), np.zeros((2, 3, 5)), np.zeros((2, 4)), 0.0])
def test_refuses_angles_of_another_shape(angles):
    with pytest.raises(ValueError, match="angles must be 5 finite numbers in radians, or rows of them; got shape"):
        qh.StatevectorCircuit(random_circuit(0), list(THETA)).probabilities(angles)


@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_refuses_angles_that_are_no_numbers(value):
    angles = np.array([0, 0, value, 0, 0])
    with pytest.raises(ValueError, match="with a number that is not finite"):
        qh.StatevectorCircuit(random_circuit(0), list(THETA)).probabilities(angles)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"bits": np.zeros((3, 2))}, "bits"), ({"epsilon": 0.0}, "epsilon"), ({"epsilon": 2.0}, "epsilon")],
)
def test_cost_and_gradient_refuses_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        qh.QCBM(qh.qcbm_ansatz(3, 1)).cost_and_gradient(**{"bits": SHIFTED} | change)
