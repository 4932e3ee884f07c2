"""Derivatives of a circuit's probabilities: reverse mode on exact amplitudes, the parameter-shift rule elsewhere."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.random import Generator
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression, ParameterVector

from .execution import Exact, Execution, Runner

PullBack = Callable[[np.ndarray], np.ndarray]
SHIFT_GATES = ("rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "rzx")  # generators with two eigenvalues, 1 apart


class UnsupportedGateError(ValueError):
    """A circuit has a gate or an angle whose derivative is not available."""


class GradientMethod(Protocol):
    """A way to differentiate the probabilities of one circuit.

    Attributes:
        n_circuits: The number of circuits that each call of `linearize` runs.
    """

    n_circuits: int

    def linearize(self, angles: np.ndarray, states: np.ndarray, rng: Generator) -> tuple[np.ndarray, PullBack]:
        """Return probabilities, and a function for their derivatives.

        Args:
            angles: The angles, shape (P,), in radians.
            states: The indices of the bit strings, shape (S,).
            rng: The generator of the shots.

        Returns:
            The probabilities of these states, shape (S,). And a function that maps weights w, shape (S,), to the
            derivatives of Σ_x w(x) p(x) with respect to the angles, shape (P,).
        """


def gradient_method(
    execution: Execution, circuit: QuantumCircuit, parameters: list[Parameter], runner: Runner
) -> GradientMethod:
    """Choose how to differentiate a circuit.

    Args:
        execution: Where the circuit runs.
        circuit: The circuit, without measurements.
        parameters: The parameters that the columns of angles belong to.
        runner: The circuit as `execution` prepared it.

    Returns:
        Reverse mode for `Exact()` if every gate supports it, otherwise the parameter-shift rule.

    Raises:
        UnsupportedGateError: If a gate or an angle has neither.
        ValueError: If the states do not fit into memory.
    """
    if isinstance(execution, Exact):
        try:
            return ReverseMode(circuit, parameters)
        except UnsupportedGateError:
            pass
    return ParameterShift(execution, circuit, parameters, runner)


class ReverseMode:
    """Derivatives by the adjoint method, on exact amplitudes; see `StatevectorCircuit`.

    Args:
        circuit: The circuit, without measurements.
        parameters: The parameters that the columns of angles belong to.

    Raises:
        UnsupportedGateError: If a gate or an angle is not supported.
        ValueError: If the states do not fit into memory.
    """

    n_circuits = 1

    def __init__(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> None:
        from .statevector import StatevectorCircuit  # PyTorch is loaded at first use

        self._circuit = StatevectorCircuit(circuit, parameters)

    def linearize(self, angles: np.ndarray, states: np.ndarray, rng: Generator) -> tuple[np.ndarray, PullBack]:
        """Return probabilities, and a function for their derivatives; see `GradientMethod`.

        Args:
            angles: The angles, shape (P,), in radians.
            states: The indices of the bit strings, shape (S,).
            rng: Not used: the probabilities are exact.
        """
        import torch

        final, phases = self._circuit.run(torch.as_tensor(angles[None]))
        p = (final.real.square() + final.imag.square())[0].numpy()

        def pull_back(weights: np.ndarray) -> np.ndarray:
            spread = np.zeros_like(p)
            spread[states] = weights
            return self._circuit.pull_back(final, phases, torch.from_numpy(spread[None]))[0].numpy()

        return p[states], pull_back


class ParameterShift:
    """Derivatives by the parameter-shift rule: two further circuits for every gate with a free angle.

    Each gate is shifted on its own, so several gates may share a parameter.

    Source: Schuld et al., arXiv:1811.11184.

    Args:
        execution: Where the circuit runs.
        circuit: The circuit, without measurements.
        parameters: The parameters that the columns of angles belong to.
        runner: The circuit as `execution` prepared it.

    Raises:
        UnsupportedGateError: If the rule does not hold for a gate, or an angle is not linear in the parameters.
    """

    def __init__(
        self, execution: Execution, circuit: QuantumCircuit, parameters: list[Parameter], runner: Runner
    ) -> None:
        separated, self._matrix, self._constants = separate_angles(circuit, parameters)
        if np.array_equal(self._matrix, np.eye(len(parameters))):  # every parameter is the angle of one gate
            self._runner = runner
        else:
            self._runner = execution.prepare(separated, list(separated.parameters))
        self.n_circuits = 2 * len(self._constants) + 1

    def linearize(self, angles: np.ndarray, states: np.ndarray, rng: Generator) -> tuple[np.ndarray, PullBack]:
        """Return probabilities, and a function for their derivatives; see `GradientMethod`.

        Args:
            angles: The angles, shape (P,), in radians.
            states: The indices of the bit strings, shape (S,).
            rng: The generator of the shots.
        """
        gate_angles = self._matrix @ angles + self._constants
        shifts = np.pi / 2 * np.eye(len(gate_angles))
        points = np.vstack([gate_angles, gate_angles + shifts, gate_angles - shifts])  # (2G + 1, G)
        here, plus, minus = np.split(self._runner.probabilities(points, rng, states), [1, len(gate_angles) + 1])
        return here[0], lambda weights: ((plus - minus) / 2 @ weights) @ self._matrix


def separate_angles(
    circuit: QuantumCircuit, parameters: list[Parameter]
) -> tuple[QuantumCircuit, np.ndarray, np.ndarray]:
    """Give every gate with a free angle a parameter of its own.

    Args:
        circuit: The circuit, without measurements.
        parameters: The parameters θ that the columns of angles belong to.

    Returns:
        A circuit with G parameters, in the order of the gates, and the gates' angles as a linear function of θ: a
        matrix, shape (G, P), and constants, shape (G,), in radians.

    Raises:
        UnsupportedGateError: If a gate with a free angle does not follow the parameter-shift rule, or its angle is not
            linear in θ.
    """
    column = {parameter: number for number, parameter in enumerate(parameters)}
    free = [part for part in circuit.data if any(getattr(angle, "parameters", ()) for angle in part.operation.params)]
    fresh = iter(ParameterVector("α", len(free)))
    separated = circuit.copy_empty_like()
    matrix, constants = np.zeros((len(free), len(parameters))), np.zeros(len(free))
    row = 0
    for part in circuit.data:
        gate = part.operation
        if not any(getattr(angle, "parameters", ()) for angle in gate.params):
            separated.append(gate, part.qubits)
            continue
        if gate.name not in SHIFT_GATES:
            raise UnsupportedGateError(
                f"the parameter-shift rule holds for {', '.join(SHIFT_GATES)}; got an angle in a gate {gate.name!r}. "
                "Decompose it, or fit with optimizer='cobyla' or 'spsa', which need no gradient"
            )
        slopes, constants[row] = linear_angle(gate.params[0], gate.name)
        for parameter, slope in slopes.items():
            matrix[row, column[parameter]] = slope
        separated.append(type(gate)(next(fresh)), part.qubits)
        row += 1
    return separated, matrix, constants


def linear_angle(angle: float | ParameterExpression, gate: str) -> tuple[dict[Parameter, float], float]:
    """Split a gate's angle into Σ_k c_k θ_k + c₀.

    Args:
        angle: A number, a parameter, or an expression.
        gate: The gate's name, for the error message.

    Returns:
        The coefficient c_k of each parameter, and the constant c₀ in radians.

    Raises:
        UnsupportedGateError: If the expression is not linear in its parameters.
    """
    if not isinstance(angle, ParameterExpression):
        return {}, float(angle)
    slopes = {}
    for parameter in angle.parameters:
        slope = angle.gradient(parameter)
        if isinstance(slope, ParameterExpression) and slope.parameters:
            raise UnsupportedGateError(
                f"the angle of a gate must be linear in the parameters to have a gradient; a gate {gate!r} has the "
                f"angle {angle}"
            )
        slopes[parameter] = float(slope)
    return slopes, float(angle.bind(dict.fromkeys(angle.parameters, 0.0)))
