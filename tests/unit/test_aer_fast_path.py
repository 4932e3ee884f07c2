"""The fast path for exact simulation: the same numbers bit for bit, one warning where it is unavailable."""

import re
import warnings
from functools import partial

import numpy as np
import pytest
import qiskit_aer
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Statevector
from qiskit_aer.backends import aer_compiler, backend_utils

import qaan_helpers as qh
from qaan_helpers.quantum import aer_fast_path, execution

pytestmark = pytest.mark.integration

ANSATZ = ((1, "none"), (4, "linear"), (6, "full"), (10, "full"))


def prepared(circuit):
    return qh.Exact().prepare(circuit, list(circuit.parameters))


def random_angles(circuit, rows, seed=0):
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (rows, circuit.num_parameters))


def born(circuit, angles):
    """The reference: |amplitude|² of each row of angles, from Qiskit's Statevector."""
    return np.stack([Statevector(circuit.assign_parameters(row)).probabilities() for row in angles])


def of_many_gates():
    """Gates of one to three angles, fixed and free, one angle in two places, a matrix, a barrier."""
    circuit, angles = QuantumCircuit(4), [Parameter(name) for name in "abcd"]
    circuit.u(angles[0], 0.3, angles[1], 0)
    circuit.cx(0, 1)
    circuit.unitary([[0, 1], [1, 0]], [3])
    circuit.barrier()
    circuit.cp(angles[2], 1, 2)
    circuit.ry(angles[0], 3)
    circuit.rzz(angles[3], 2, 3)
    circuit.h([0, 1, 2, 3])
    return circuit


def of_an_expression():
    circuit, a = QuantumCircuit(2), Parameter("a")
    circuit.rx(2 * a + 0.1, 0)
    circuit.rxx(a, 0, 1)
    return circuit


def of_a_reset():
    circuit, a = QuantumCircuit(2), Parameter("a")
    circuit.x(1)
    circuit.reset(1)
    circuit.rx(a, 0)
    return circuit


@pytest.mark.parametrize("make", [*(partial(qh.qcbm_ansatz, n, 2, pairs) for n, pairs in ANSATZ), of_many_gates])
def test_an_assembled_circuit_gives_to_the_last_bit_what_aers_run_gives(make):
    circuit = make()
    runner = prepared(circuit)
    assert runner.assembled
    for angles in (random_angles(circuit, 1), random_angles(circuit, 7, seed=1)):
        result = execution._run_aer(runner.simulator, runner.circuit, runner.used, angles, shots=1)
        for i, p in enumerate(runner.probabilities(angles)):
            np.testing.assert_array_equal(p, result.data(i)["probabilities"])
        np.testing.assert_allclose(runner.probabilities(angles), born(circuit, angles), atol=1e-12)


def test_columns_that_a_circuit_does_not_use_do_not_keep_it_from_the_fast_path():
    circuit, others = qh.qcbm_ansatz(3, 1), [Parameter("x"), Parameter("y")]
    assert qh.Exact().prepare(circuit, [others[0], *circuit.parameters, others[1]]).assembled


def test_an_assembled_circuit_that_aer_cannot_run_says_so():
    runner = prepared(qh.qcbm_ansatz(2, 1))
    runner.assembled._execute = lambda *_: {"success": False, "status": "ERROR: no room"}
    with pytest.raises(RuntimeError, match="Aer could not run the circuit: ERROR: no room"):
        runner.probabilities(np.zeros((1, runner.circuit.num_parameters)))


@pytest.mark.parametrize("make", [of_an_expression, of_a_reset])
def test_other_instructions_and_expressions_run_through_aers_run_without_a_warning(make):
    circuit = make()
    angles = random_angles(circuit, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner = prepared(circuit)
    assert runner.assembled is None
    np.testing.assert_allclose(runner.probabilities(angles), born(circuit, angles), atol=1e-12)


# --- another Aer ---


@pytest.fixture
def another_aer():
    """The fast path is checked again in this test, and again after it."""
    aer_fast_path._fast_path_works.cache_clear()
    yield
    aer_fast_path._fast_path_works.cache_clear()


def fails(*_, **__):
    raise TypeError("another Aer takes other arguments")


def other_numbers(*args):
    output = run_by_aer(*args)
    output["results"][-1]["data"]["probabilities"][0] += 1e-9
    return output


run_by_aer = backend_utils.cpp_execute_circuits
UNAVAILABLE = [
    *((aer_compiler, name, fails) for name in ("assemble_circuits", "generate_aer_config")),
    (backend_utils, "cpp_execute_circuits", other_numbers),
]


@pytest.mark.parametrize(("module", "name", "inside"), UNAVAILABLE)
def test_with_another_aer_circuits_run_through_its_run_after_one_warning(
    another_aer, monkeypatch, module, name, inside
):
    circuit = qh.qcbm_ansatz(3, 1)
    with monkeypatch.context() as patched, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patched.setattr(module, name, inside)
        runners = [prepared(circuit) for _ in range(3)]
    angles = random_angles(circuit, 2)
    for runner in runners:
        assert runner.assembled is None
        np.testing.assert_allclose(runner.probabilities(angles), born(circuit, angles), atol=1e-12)
    (warning,) = caught
    assert warning.category is UserWarning
    message = (
        f"exact simulation is slower with qiskit-aer {qiskit_aer.__version__}.*Results are not affected.*pip install"
    )
    assert re.search(message, str(warning.message))
    assert warning.filename == __file__


def test_with_another_aer_circuits_that_cannot_use_the_fast_path_do_not_warn(another_aer, monkeypatch):
    monkeypatch.setattr(aer_compiler, "assemble_circuits", fails)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (of_an_expression, of_a_reset):
            prepared(make())
    with pytest.warns(UserWarning, match="exact simulation is slower"):
        prepared(qh.qcbm_ansatz(2, 1))
