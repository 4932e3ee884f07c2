"""Where a circuit runs: exact amplitudes on Aer, shots on Aer, or any SamplerV2. Circuit and angles in, bits out.

An execution says how. Its `prepare(circuit, parameters)` makes a circuit ready once and returns a runner with
`probabilities(angles, rng, states)` and `sample(angles, n_samples, rng)`; every random draw comes from that rng.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator

from .bits import from_index, to_index

CHUNK_BYTES = 2**28  # of probabilities held at once when many rows of angles run in one call


@dataclass(frozen=True)
class Exact:
    """Read the Born probabilities off Aer's state vector: no shots, no noise."""

    shots = None

    def prepare(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> "ExactRunner":
        """Make `circuit` ready; columns of angles follow `parameters`, which may hold more than the circuit uses."""
        return ExactRunner(circuit, parameters)

    def __str__(self) -> str:
        return "exact amplitudes on Aer"


@dataclass(frozen=True)
class Shots:
    """Measure on Aer, `shots` times a circuit, without noise unless `noise_model` or `backend` brings some.

    noise_model: a qiskit_aer NoiseModel. backend: an AerSimulator with settings of your own, or a device (a fake one
    too) whose gates, wiring and noise Aer then imitates. Raises ValueError unless shots is 1 or more.
    """

    shots: int = 2000
    noise_model: Any = None
    backend: Any = None

    def __post_init__(self):
        check_shots(self.shots)
        if self.noise_model is not None and isinstance(self.backend, AerSimulator):
            raise ValueError("give the noise_model to the AerSimulator itself, or leave out one of the two")

    def prepare(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> "ShotRunner":
        """Make `circuit` ready; columns of angles follow `parameters`, which may hold more than the circuit uses."""
        return ShotRunner(self.simulator, self.shots, circuit, parameters)

    @cached_property
    def simulator(self) -> AerSimulator:
        """The AerSimulator behind it."""
        if isinstance(self.backend, AerSimulator):
            return self.backend
        noise = {} if self.noise_model is None else {"noise_model": self.noise_model}
        return AerSimulator(**noise) if self.backend is None else AerSimulator.from_backend(self.backend, **noise)

    def __str__(self) -> str:
        noisy = self.simulator.options.noise_model is not None
        return f"{self.shots:,} shots on Aer{', with noise' if noisy else ''}"


@dataclass(frozen=True)
class Primitive:
    """Measure with any Qiskit SamplerV2: Aer's, BackendSamplerV2, IBM Runtime's, IonQ's.

    pass_manager: what fits a circuit to the sampler's device; by default Qiskit's preset for `sampler.backend`, where
    the sampler has one. Raises ValueError unless shots is 1 or more.
    """

    sampler: Any
    shots: int = 2000
    pass_manager: Any = None

    def __post_init__(self):
        check_shots(self.shots)
        if not callable(getattr(self.sampler, "run", None)):
            raise ValueError(f"sampler is {self.sampler!r}; a Qiskit SamplerV2 with a run method is needed")

    def prepare(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> "PrimitiveRunner":
        """Make `circuit` ready; columns of angles follow `parameters`, which may hold more than the circuit uses."""
        return PrimitiveRunner(self, circuit, parameters)

    def __str__(self) -> str:
        return f"{self.shots:,} shots by {type(self.sampler).__module__.split('.')[0]}.{type(self.sampler).__name__}"


class ExactRunner:
    """A circuit on Aer's state vector, transpiled once; many rows of angles run in one call."""

    def __init__(self, circuit, parameters):
        check_memory(circuit.num_qubits)
        self.n_qubits = circuit.num_qubits
        self._simulator = AerSimulator(method="statevector", fusion_enable=False)
        ready = circuit.copy()
        ready.save_probabilities()
        self._circuit = _transpile(ready, self._simulator)
        self._used = _used_columns(circuit, parameters)

    def probabilities(self, angles, rng=None, states=None) -> np.ndarray:
        """Born probabilities of rows of angles (B, P), at `states` (S,) or at all 2ⁿ: (B, S)."""
        rows = max(1, CHUNK_BYTES // (8 << self.n_qubits))
        chunks = [angles[start : start + rows] for start in range(0, len(angles), rows)]
        return np.concatenate([self._run(chunk, states) for chunk in chunks])

    def _run(self, angles, states):
        result = _aer_run(self._simulator, self._circuit, self._used, angles, shots=1)
        found = [np.asarray(result.data(i)["probabilities"]) for i in range(len(angles))]
        return np.stack(found if states is None else [p[states] for p in found])

    def sample(self, angles, n_samples, rng) -> np.ndarray:
        """Draw bits (n_samples, n) uint8 from the Born distribution of one row of angles (P,)."""
        cumulative = np.cumsum(self.probabilities(angles[None])[0])
        drawn = np.searchsorted(cumulative, rng.random(n_samples) * cumulative[-1], side="right")
        return from_index(drawn, self.n_qubits)


class MeasuredRunner:
    """What all runners that measure share: frequencies from bits, and bits in random order."""

    def __init__(self, circuit, shots):
        self.n_qubits = circuit.num_qubits
        self.shots = shots

    def measure(self, angles, shots, rng) -> list[np.ndarray]:
        """Bits (shots, n), column q being qubit q, for each row of angles (B, P)."""
        raise NotImplementedError

    def probabilities(self, angles, rng, states=None) -> np.ndarray:
        """Frequencies in `shots` measurements of each row of angles (B, P), at `states` (S,) or all 2ⁿ: (B, S)."""
        if states is None:
            check_memory(self.n_qubits)
            states = np.arange(1 << self.n_qubits)
        order = np.argsort(states)
        rows = []
        for bits in self.measure(angles, self.shots, rng):
            seen, counts = np.unique(to_index(bits), return_counts=True)
            place = np.searchsorted(seen, states[order]).clip(max=len(seen) - 1)
            row = np.empty(len(states))
            row[order] = np.where(seen[place] == states[order], counts[place], 0) / len(bits)
            rows.append(row)
        return np.stack(rows)

    def sample(self, angles, n_samples, rng) -> np.ndarray:
        """Measure one row of angles (P,) `n_samples` times: bits (n_samples, n) uint8, in random order."""
        return rng.permutation(self.measure(angles[None], n_samples, rng)[0])  # some samplers sort by outcome


class ShotRunner(MeasuredRunner):
    """A measured circuit on an AerSimulator, transpiled once; each call draws a fresh simulator seed."""

    def __init__(self, simulator, shots, circuit, parameters):
        super().__init__(circuit, shots)
        check_memory(circuit.num_qubits)
        self._simulator = simulator
        self._circuit = _transpile(_measured(circuit), simulator)
        self._used = _used_columns(circuit, parameters)

    def measure(self, angles, shots, rng) -> list[np.ndarray]:
        """Bits (shots, n), column q being qubit q, for each row of angles (B, P)."""
        seed = int(rng.integers(2**31))
        result = _aer_run(self._simulator, self._circuit, self._used, angles, shots=shots, seed_simulator=seed)
        return [self._bits(result.data(i)["counts"]) for i in range(len(angles))]

    def _bits(self, counts):
        index = np.array([int(key, 16) for key in counts])  # hexadecimal, qubit 0 the lowest bit
        return from_index(np.repeat(index, list(counts.values())), self.n_qubits)


class PrimitiveRunner(MeasuredRunner):
    """A measured circuit for a SamplerV2, fitted to its device once; all rows of angles go in one PUB."""

    def __init__(self, execution, circuit, parameters):
        super().__init__(circuit, execution.shots)
        self._sampler = execution.sampler
        manager = execution.pass_manager or _preset_for(execution.sampler)
        measured = _measured(circuit)
        self._circuit = manager.run(measured) if manager else measured
        column = {parameter: i for i, parameter in enumerate(parameters)}
        self._columns = [column[p] for p in self._circuit.parameters]

    def measure(self, angles, shots, rng) -> list[np.ndarray]:
        """Bits (shots, n), column q being qubit q, for each row of angles (B, P)."""
        result = self._sampler.run([(self._circuit, angles[:, self._columns])], shots=shots).result()
        little_endian = result[0].data.meas.to_bool_array(order="little")  # (B, shots, n)
        return list(little_endian.astype(np.uint8))


def check_shots(shots: int) -> None:
    """Raise ValueError unless `shots` is a whole number of 1 or more."""
    if isinstance(shots, bool) or not isinstance(shots, int | np.integer) or shots < 1:
        raise ValueError(f"shots is {shots!r}; it must be a whole number of 1 or more, for example 2000")


def available_memory() -> int:
    """Bytes that this process may still take: what is free, or what its container grants (Binder: 2 GB)."""
    free = psutil.virtual_memory().available
    for limit, used in (("memory.max", "memory.current"),):
        group = Path("/sys/fs/cgroup")
        try:
            free = min(free, int((group / limit).read_text()) - int((group / used).read_text()))
        except (OSError, ValueError):  # no such container, or one without a limit
            continue
    return free


def check_memory(n_qubits: int) -> None:
    """Raise ValueError where the 2ⁿ amplitudes of `n_qubits`, with room to work, would not fit into memory."""
    needed, free = 3 * 16 << n_qubits, available_memory()  # amplitudes (complex128), Aer's copy, probabilities
    if needed > free:
        fits = (free // 48).bit_length() - 1
        raise ValueError(
            f"{n_qubits} qubits need about {needed / 2**30:.3g} GiB of memory to simulate and {free / 2**30:.3g} GiB "
            f"are free; at most {fits} qubits fit here. Use fewer qubits, or a device through Primitive(sampler)"
        )


def _measured(circuit):
    measured = circuit.copy()
    measured.measure_all()
    return measured


def _transpile(circuit, simulator):
    return generate_preset_pass_manager(1, backend=simulator, seed_transpiler=0).run(circuit)


def _preset_for(sampler):
    backend = getattr(sampler, "backend", None)
    backend = backend() if callable(backend) else backend  # a method in IBM Runtime, a property in Qiskit
    return generate_preset_pass_manager(1, backend=backend, seed_transpiler=0) if backend else None


def _used_columns(circuit, parameters):
    """(column of angles, parameter) for each parameter that the circuit really has."""
    present = set(circuit.parameters)
    return [(i, parameter) for i, parameter in enumerate(parameters) if parameter in present]


def _aer_run(simulator, circuit, used, angles, **options):
    """One Aer call for all rows of `angles` (B, P)."""
    binds = {parameter: angles[:, i].tolist() for i, parameter in used}
    job = simulator.run([circuit], parameter_binds=[binds], runtime_parameter_bind_enable=True, **options)
    result = job.result()
    if not result.success:
        raise RuntimeError(f"Aer could not run the circuit: {result.status}")
    return result
