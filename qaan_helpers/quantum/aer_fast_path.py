"""A fast path for exact simulation: circuits that are assembled for Aer once.

`AerSimulator.run` assembles its circuits in every call. For few qubits this takes several times as long as the
simulation. This module makes the same calls as `run`, but assembles only once. It is the one module that uses private
functions of another package. Before the first use in a process, its results are compared with those of `run`, bit for
bit. If they differ, or Aer's functions have changed, circuits run through `AerSimulator.run` instead.
"""

import warnings
from functools import cache, partial

import numpy as np
import qiskit_aer
from qiskit import QuantumCircuit
from qiskit.circuit import Barrier, Gate, Parameter
from qiskit_aer import AerSimulator
from qiskit_aer.library import SaveProbabilities

TESTED_AER = "0.18"


class AssembledCircuit:
    """A circuit of gates in Aer's internal form.

    Args:
        simulator: The simulator that runs the circuit.
        circuit: A circuit of gates that saves its probabilities. Each free angle is a plain parameter.
        used: The circuit's parameters, each with its column in the rows of angles.
    """

    def __init__(self, simulator: AerSimulator, circuit: QuantumCircuit, used: dict[Parameter, int]) -> None:
        from qiskit_aer.backends import aer_compiler, backend_utils, controller_wrappers

        (self._circuit,), (places,) = aer_compiler.assemble_circuits([circuit])
        self._circuit.circ_id = 0
        self._columns = [(places[i], number, used[angle]) for i, number, angle in _free_angles(circuit)]
        options = {"shots": 1, "runtime_parameter_bind_enable": True}
        self._config = partial(aer_compiler.generate_aer_config, [circuit], simulator.options, **options)
        self._execute = partial(backend_utils.cpp_execute_circuits, controller_wrappers.aer_controller_execute())

    def probabilities(self, angles: np.ndarray) -> list[np.ndarray]:
        """Return the Born probabilities for rows of angles.

        Args:
            angles: Rows of angles, shape (B, P), in radians.

        Returns:
            B arrays of shape (2ⁿ,).

        Raises:
            RuntimeError: If Aer cannot run the circuit.
        """
        values = angles.T.tolist()
        bound = [[(place, number), values[column]] for place, number, column in self._columns]
        output = self._execute([self._circuit], None, self._config(parameterizations=[bound]))
        check_success(output["success"], output["status"])
        return [np.asarray(row["data"]["probabilities"]) for row in output["results"]]


def assemble_once(
    simulator: AerSimulator, circuit: QuantumCircuit, used: dict[Parameter, int]
) -> AssembledCircuit | None:
    """Assemble a circuit if the fast path can run it.

    Args:
        simulator: The simulator that runs the circuit.
        circuit: A circuit that saves its probabilities.
        used: The circuit's parameters, each with its column in the rows of angles.

    Returns:
        The assembled circuit. None if the circuit has other instructions than gates, or angles in expressions, or if
        the fast path does not work with this version of Aer.
    """
    only_gates = all(isinstance(part.operation, Gate | SaveProbabilities | Barrier) for part in circuit.data)
    plain_angles = {angle for _, _, angle in _free_angles(circuit)} <= used.keys()
    if only_gates and plain_angles and _fast_path_works():
        return AssembledCircuit(simulator, circuit, used)
    return None


@cache
def _fast_path_works() -> bool:
    """Compare an assembled circuit with `AerSimulator.run`; warn if the results are not equal."""
    circuit, (a, b, c) = QuantumCircuit(2), (Parameter(name) for name in "abc")
    circuit.h(0)
    circuit.rx(a, 0)
    circuit.rxx(b, 0, 1)
    circuit.rz(c, 1)
    circuit.rx(a, 1)
    circuit.save_probabilities()
    simulator, angles = AerSimulator(method="statevector"), np.arange(1.0, 7).reshape(2, 3)
    binds = {parameter: column.tolist() for parameter, column in zip((a, b, c), angles.T, strict=True)}
    options = {"shots": 1, "runtime_parameter_bind_enable": True}
    expected = simulator.run([circuit], parameter_binds=[binds], **options).result()
    try:
        results = AssembledCircuit(simulator, circuit, {a: 0, b: 1, c: 2}).probabilities(angles)
        works = all(np.array_equal(p, expected.data(i)["probabilities"]) for i, p in enumerate(results))
    except Exception:  # private functions can fail in any way
        works = False
    if not works:
        warnings.warn(
            f"exact simulation is slower with qiskit-aer {qiskit_aer.__version__}: this version does not support the "
            "fast path for assembled circuits. Results are not affected. For full speed, install a version that does: "
            f"`pip install qiskit-aer=={TESTED_AER}.*`",
            stacklevel=5,  # the caller of Execution.prepare
        )
    return works


def check_success(success: bool, status: str) -> None:
    """Check that Aer ran its circuits.

    Args:
        success: Whether it did.
        status: Aer's message.

    Raises:
        RuntimeError: If it did not.
    """
    if not success:
        raise RuntimeError(f"Aer could not run the circuit: {status}")


def _free_angles(circuit: QuantumCircuit) -> list[tuple[int, int, Parameter]]:
    """List (index of the instruction, index among its parameters, angle) for every angle that is not a number."""
    return [
        (i, number, angle)
        for i, instruction in enumerate(circuit.data)
        for number, angle in enumerate(instruction.operation.params)
        if getattr(angle, "parameters", None)
    ]
