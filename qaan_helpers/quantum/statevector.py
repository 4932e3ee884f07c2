"""A differentiable state-vector simulator in PyTorch: probabilities of a circuit, and their reverse-mode derivatives.

Every supported gate is, up to a global phase, a product of Pauli rotations exp(−iαP/2). Rotations about Z strings are
diagonal, and rotations about X strings are diagonal after a Hadamard gate on every qubit involved. The compiler
therefore turns a circuit into few levels. A level applies Hadamard gates to some qubits, and then multiplies all
amplitudes by phases. Phases and their derivatives for all angles of a level come from one Walsh–Hadamard transform.

The derivatives use the adjoint method: the backward pass undoes the circuit level by level, so that no intermediate
state is stored. Source: Jones and Gacon, arXiv:2009.02823.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from .execution import check_memory
from .gradients import UnsupportedGateError, linear_angle

if TYPE_CHECKING:
    import torch

# The gates, each as Pauli rotations in order: (Pauli matrix of each qubit, factor of the gate's angle, constant angle).
_HALF = math.pi / 2
_ROTATIONS: dict[str, list[tuple[str, float, float]]] = {
    "id": [],
    "barrier": [],
    "x": [("X", 0, math.pi)],
    "y": [("Y", 0, math.pi)],
    "z": [("Z", 0, math.pi)],
    "s": [("Z", 0, _HALF)],
    "sdg": [("Z", 0, -_HALF)],
    "t": [("Z", 0, _HALF / 2)],
    "tdg": [("Z", 0, -_HALF / 2)],
    "sx": [("X", 0, _HALF)],
    "rx": [("X", 1, 0)],
    "ry": [("Y", 1, 0)],
    "rz": [("Z", 1, 0)],
    "p": [("Z", 1, 0)],
    "rxx": [("XX", 1, 0)],
    "ryy": [("YY", 1, 0)],
    "rzz": [("ZZ", 1, 0)],
    "cx": [("ZI", 0, _HALF), ("IX", 0, _HALF), ("ZX", 0, -_HALF)],
    "cz": [("ZI", 0, _HALF), ("IZ", 0, _HALF), ("ZZ", 0, -_HALF)],
    "swap": [("XX", 0, _HALF), ("YY", 0, _HALF), ("ZZ", 0, _HALF)],
}
SUPPORTED_GATES = ("h", *(name for name in _ROTATIONS if name != "barrier"))
_PARALLEL_QUBITS = 14  # from here on, operations on a state are long enough for several threads
_MAX_DIGIT = 5  # bits per factor of a Walsh–Hadamard transform: matrices of at most 32 × 32


@dataclass
class _Level:
    """Hadamard gates on the qubits of a bit mask, then rotations about strings of Z: [(mask, gate angle)]."""

    hadamards: int = 0
    rotations: list[tuple[int, int]] = field(default_factory=list)


class _Compiler:
    """Schedules a circuit's rotations into as few levels as its gates allow, each gate as early as possible.

    A qubit in the Hadamard frame is stored with one more Hadamard gate than it has in the circuit. A Hadamard gate in
    the circuit therefore only changes the frame.
    """

    def __init__(self, n_qubits: int) -> None:
        self.levels: list[_Level] = []
        self._in_frame = [False] * n_qubits
        self._here = [0] * n_qubits  # the first level for a rotation of the qubit in its present frame
        self._next = [0] * n_qubits  # the first level that may change its frame

    def hadamard(self, qubit: int) -> None:
        self._in_frame[qubit] = not self._in_frame[qubit]

    def rotate(self, paulis: dict[int, str], angle: int) -> None:
        """Add a rotation about a string of X and Z by the gate angle of this number."""
        wrong = [qubit for qubit, pauli in paulis.items() if self._in_frame[qubit] != (pauli == "X")]
        depth = max((self._next if qubit in wrong else self._here)[qubit] for qubit in paulis)
        self._change_frames(wrong, depth)
        self.levels[depth].rotations.append((sum(1 << qubit for qubit in paulis), angle))
        for qubit in paulis:
            self._here[qubit], self._next[qubit] = depth, depth + 1

    def finish(self) -> list[_Level]:
        """Leave the Hadamard frame on every qubit, and return the levels that change the probabilities."""
        wrong = [qubit for qubit, inside in enumerate(self._in_frame) if inside]
        if wrong:
            self._change_frames(wrong, max(self._next[qubit] for qubit in wrong))
        if self.levels:  # on the initial |0…0⟩, rotations about Z only change the global phase
            first = self.levels[0]
            first.rotations = [(mask, angle) for mask, angle in first.rotations if mask & first.hadamards]
        return [level for level in self.levels if level.hadamards or level.rotations]

    def _change_frames(self, qubits: list[int], depth: int) -> None:
        while len(self.levels) <= depth:
            self.levels.append(_Level())
        for qubit in qubits:
            self.levels[depth].hadamards ^= 1 << qubit
            self._in_frame[qubit] = not self._in_frame[qubit]


class StatevectorCircuit:
    """A circuit whose Born probabilities PyTorch can differentiate with respect to the circuit's parameters.

    Supported are H, X, Y, Z, S, T, SX, RX, RY, RZ, P, CX, CZ, SWAP, RXX, RYY and RZZ. Several gates may share a
    parameter, and angles may be linear expressions in parameters. All numbers have double precision.

    Source: Jones and Gacon, arXiv:2009.02823.

    Args:
        circuit: The circuit, without measurements.
        parameters: The parameters that the columns of angles belong to, in order; those of the circuit if None.
        device: The PyTorch device, such as "cpu" or "cuda".

    Raises:
        UnsupportedGateError: If a gate is not supported, or an angle is not linear in the parameters.
        ValueError: If the circuit has measurements or unlisted parameters, or its states do not fit into memory.
    """

    def __init__(self, circuit: QuantumCircuit, parameters: list[Parameter] | None = None, device: str = "cpu") -> None:
        import torch

        if circuit.num_clbits:
            raise ValueError(
                "circuit must have no measurements, because they have no gradient; got "
                f"{circuit.num_clbits} classical bits. Use circuit.remove_final_measurements(inplace=False)"
            )
        self.n_qubits, self.device = circuit.num_qubits, torch.device(device)
        self.parameters = list(circuit.parameters) if parameters is None else list(parameters)
        if unlisted := [parameter.name for parameter in circuit.parameters if parameter not in set(self.parameters)]:
            raise ValueError(f"parameters must include every parameter of the circuit; missing: {', '.join(unlisted)}")
        column = {parameter: number for number, parameter in enumerate(self.parameters)}
        constants: list[float] = []
        entries: list[tuple[int, int, float]] = []  # (gate angle, column, coefficient)
        compiler = _Compiler(self.n_qubits)
        for instruction in circuit.data:
            gate, qubits = instruction.operation, [circuit.find_bit(qubit).index for qubit in instruction.qubits]
            if gate.name == "h":
                compiler.hadamard(qubits[0])
                continue
            if gate.name not in _ROTATIONS:
                raise UnsupportedGateError(
                    f"the state-vector simulator supports {', '.join(SUPPORTED_GATES)}; got a gate {gate.name!r}. "
                    "Decompose it, for example with circuit.decompose()"
                )
            slopes, constant = linear_angle(gate.params[0], gate.name) if gate.params else ({}, 0.0)
            for paulis, factor, fixed in _ROTATIONS[gate.name]:
                string = {qubit: pauli for qubit, pauli in zip(qubits, paulis, strict=True) if pauli != "I"}
                entries += [(len(constants), column[p], factor * slope) for p, slope in slopes.items()]
                self._add(compiler, string, factor * constant + fixed, constants)
        self._levels = compiler.finish()
        check_memory(circuit.num_qubits, 64 + 56 * len(self._levels))
        self._store(constants, entries)

    @staticmethod
    def _add(compiler: _Compiler, paulis: dict[int, str], angle: float, constants: list[float]) -> None:
        """Add a rotation. Y is turned into X by an S gate before and after it."""
        about_y = [qubit for qubit, pauli in paulis.items() if pauli == "Y"]
        number = len(constants)
        constants.append(angle)
        turns = [-_HALF] * len(about_y) + [_HALF] * len(about_y)
        constants += turns
        for i, qubit in enumerate(about_y):
            compiler.rotate({qubit: "Z"}, number + 1 + i)
        compiler.rotate({qubit: "X" if pauli == "Y" else pauli for qubit, pauli in paulis.items()}, number)
        for i, qubit in enumerate(about_y):
            compiler.rotate({qubit: "Z"}, number + 1 + len(about_y) + i)

    def _store(self, constants: list[float], entries: list[tuple[int, int, float]]) -> None:
        """Store which gate angle belongs to which position of which level, as tensors."""
        import torch

        def tensor(values: Any, dtype: torch.dtype = torch.int64) -> torch.Tensor:
            return torch.tensor(values, dtype=dtype, device=self.device)

        placed = [
            (number, (level << self.n_qubits) + mask)
            for level, part in enumerate(self._levels)
            for mask, number in part.rotations
        ]
        self._numbers = tensor([number for number, _ in placed])
        self._positions = tensor([position for _, position in placed])
        self._constants = tensor(constants, torch.float64)
        self._entry_angles = tensor([angle for angle, _, _ in entries])
        self._entry_columns = tensor([column for _, column, _ in entries])
        self._entry_slopes = tensor([slope for *_, slope in entries], torch.float64)
        self._signs = _hadamard_factors(self.n_qubits, (1 << self.n_qubits) - 1, 0, 1.0, self.device)
        self._factors = [
            _hadamard_factors(self.n_qubits, level.hadamards, 1, math.sqrt(0.5), self.device) for level in self._levels
        ]

    def probabilities(self, angles: torch.Tensor) -> torch.Tensor:
        """Return the Born probabilities, which PyTorch can differentiate with respect to the angles.

        Args:
            angles: Angles, shape (P,) or (B, P), in radians.

        Returns:
            Probabilities, shape (2ⁿ,) or (B, 2ⁿ), float64, with index Σ_q bit_q · 2^q.

        Raises:
            ValueError: If the shape does not fit, or an angle is not a finite number.
        """
        import torch

        angles = torch.as_tensor(angles, dtype=torch.float64, device=self.device)
        if angles.ndim not in (1, 2) or angles.shape[-1] != len(self.parameters) or not angles.isfinite().all():
            raise ValueError(
                f"angles must be {len(self.parameters)} finite numbers in radians, or rows of them; got shape "
                f"{tuple(angles.shape)}{'' if angles.isfinite().all() else ' with a number that is not finite'}"
            )
        rows = _born_rule().apply(angles.reshape(-1, angles.shape[-1]), self)
        return rows.reshape(*angles.shape[:-1], -1)

    def run(self, angles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the final states and the phases of all levels, without a graph for autograd.

        Args:
            angles: Angles, shape (B, P), float64, in radians.

        Returns:
            Amplitudes, shape (B, 2ⁿ), complex128, and phase factors, shape (levels, B, 2ⁿ), complex128.
        """
        import torch

        with self._threads():
            rows, size = len(angles), 1 << self.n_qubits
            gate_angles = self._constants.repeat(rows, 1)
            gate_angles.index_add_(1, self._entry_angles, angles[:, self._entry_columns] * self._entry_slopes)
            spectrum = angles.new_zeros(rows, len(self._levels) * size)
            spectrum.index_add_(1, self._positions, gate_angles[:, self._numbers])
            spectrum = spectrum.reshape(rows, -1, size).transpose(0, 1)
            half_angles = _transform(spectrum, self._signs) * -0.5
            phases = torch.polar(torch.ones_like(half_angles), half_angles)
            state = torch.zeros(rows, size, dtype=torch.complex128, device=self.device)
            state[:, 0] = 1
            for level, phase, factors in zip(self._levels, phases, self._factors, strict=True):
                if level.hadamards:
                    state = _hadamards(state, factors)
                if level.rotations:
                    state = state * phase
            return state, phases

    def pull_back(self, state: torch.Tensor, phases: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the derivatives of Σ_x weights(x) · p(x) with respect to the angles.

        Args:
            state: The final amplitudes that `run` returned, shape (B, 2ⁿ).
            phases: The phase factors that `run` returned, shape (levels, B, 2ⁿ).
            weights: The weights, shape (B, 2ⁿ).

        Returns:
            Derivatives, shape (B, P).
        """
        import torch

        with self._threads():
            both = torch.stack([state, state * weights])  # the state and its adjoint, undone together
            moments = torch.zeros(phases.shape, dtype=torch.float64, device=self.device)
            for number in reversed(range(len(self._levels))):
                level = self._levels[number]
                if level.rotations:
                    moments[number] = (both[1].conj() * both[0]).imag
                    both = both * phases[number].conj()
                if level.hadamards and number:
                    both = _hadamards(both, self._factors[number])
            spectrum = _transform(moments, self._signs).transpose(0, 1).reshape(len(state), -1)
            by_gate = torch.zeros(len(state), len(self._constants), dtype=torch.float64, device=self.device)
            by_gate[:, self._numbers] = spectrum[:, self._positions]
            gradient = torch.zeros(len(state), len(self.parameters), dtype=torch.float64, device=self.device)
            return gradient.index_add_(1, self._entry_columns, by_gate[:, self._entry_angles] * self._entry_slopes)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Use one thread for small states, whose operations are so short that a second thread only waits."""
        import torch

        threads = torch.get_num_threads()
        if threads == 1 or self.n_qubits >= _PARALLEL_QUBITS:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _hadamard_factors(n_qubits: int, mask: int, lowest: int, scale: float, device: Any) -> list[torch.Tensor]:
    """Return Hadamard gates on the qubits of a mask as a Kronecker product of small matrices, the highest bits first.

    Args:
        n_qubits: The number of qubits.
        mask: The qubits with a Hadamard gate, as a bit mask.
        lowest: The number of lower bits without a gate: 1 for the real and imaginary parts of amplitudes.
        scale: The factor of each gate: 1/√2 for a unitary transform.
        device: The device of the matrices.
    """
    import torch

    n_bits = n_qubits + lowest
    n_factors = -(-n_bits // _MAX_DIGIT)
    sizes = [n_bits // n_factors + (i < n_bits % n_factors) for i in range(n_factors)]
    hadamard = scale * np.array([[1.0, 1.0], [1.0, -1.0]])
    factors, bit = [], n_bits
    for size in sizes:
        matrix: np.ndarray = np.eye(1)
        for _ in range(size):
            bit -= 1
            matrix = np.kron(matrix, hadamard if mask << lowest >> bit & 1 else np.eye(2))
        factors.append(torch.as_tensor(matrix, device=device))
    return factors


def _transform(vectors: torch.Tensor, factors: list[torch.Tensor]) -> torch.Tensor:
    """Multiply vectors (..., N) by a Kronecker product of symmetric matrices, the highest bits first.

    Each product moves the bits that it transforms to the end, so the last one restores the order.
    """
    rows, n_rows = vectors, vectors.numel() // vectors.shape[-1]
    for matrix in factors:
        size = len(matrix)
        if n_rows == 1:  # a product of two matrices has half the overhead of a batch of products
            rows = rows.reshape(size, -1).T @ matrix
        else:
            rows = rows.reshape(n_rows, size, -1).transpose(1, 2) @ matrix
    return rows.reshape(vectors.shape)


def _hadamards(states: torch.Tensor, factors: list[torch.Tensor]) -> torch.Tensor:
    """Apply Hadamard gates to states (..., 2ⁿ)."""
    import torch

    parts = torch.view_as_real(states)
    return torch.view_as_complex(_transform(parts.reshape(*states.shape[:-1], -1), factors).reshape(parts.shape))


@cache
def _born_rule() -> Any:
    """Return the function of PyTorch's autograd that maps angles to probabilities."""
    import torch

    class BornRule(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, angles: torch.Tensor, circuit: StatevectorCircuit) -> torch.Tensor:
            state, phases = circuit.run(angles)
            context.save_for_backward(state, phases)
            context.circuit = circuit
            return state.real.square() + state.imag.square()

        @staticmethod
        def backward(context: Any, weights: torch.Tensor) -> tuple[torch.Tensor, None]:
            return context.circuit.pull_back(*context.saved_tensors, weights), None

    return BornRule
