"""Where a circuit runs: exact amplitudes on Aer, shots on Aer, or any SamplerV2. Circuit and angles in, bits out.

An execution says how. Its `prepare(circuit, parameters)` makes a circuit ready once and returns a runner with
`probabilities(angles, rng, states)` and `sample(angles, n_samples, rng)`; every random draw comes from that rng.
"""

import contextlib
import time
import warnings
from dataclasses import dataclass
from functools import cache, cached_property, partial
from numbers import Real
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import psutil
from qiskit import QuantumCircuit
from qiskit.circuit import Barrier, Gate, Parameter
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.library import SaveProbabilities
from qiskit_aer.noise import NoiseModel

from ..bits import from_index, sample_bits
from ..checks import ExecutionError, check_integer

CHUNK_BYTES = 2**28  # of probabilities held at once when many rows of angles run in one call
MAX_SHOTS = 10**7  # a circuit: eight bytes each, and as many again to count them
MAX_MULTINOMIAL_QUBITS = 20  # qubits: of more, probabilities of all states and counts of them take too much memory
RETRY_WAIT = 2.0  # seconds before a failed job is sent again, then twice as long


class Runner(Protocol):
    """A circuit that is ready to run, as an `Execution` prepares it.

    Attributes:
        n_qubits: The number of qubits n.
        circuit: The circuit after transpilation.
    """

    n_qubits: int
    circuit: QuantumCircuit

    def probabilities(
        self, angles: np.ndarray, rng: np.random.Generator, states: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the probabilities of bit strings, exact or estimated from shots.

        Args:
            angles: Rows of angles, shape (B, P), in radians.
            rng: The generator of the shots.
            states: The indices Σ_q bit_q · 2^q of the bit strings, shape (S,); all 2ⁿ if None.

        Returns:
            Probabilities, shape (B, S) or (B, 2ⁿ).
        """

    def sample(self, angles: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw bit strings.

        Args:
            angles: One row of angles, shape (P,), in radians.
            n_samples: The number of bit strings N.
            rng: The generator of the shots.

        Returns:
            Bits, shape (N, n), uint8, rows in random order. Column q is qubit q.
        """


@runtime_checkable
class Execution(Protocol):
    """A way to run circuits: `Exact`, `Shots`, `Primitive`, or a class of your own with the same members."""

    @property
    def shots(self) -> int | None:
        """The number of measurements per circuit; None for exact probabilities."""

    def prepare(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> Runner:
        """Transpile a circuit once, so that it can run many times.

        Args:
            circuit: The circuit, without measurements.
            parameters: The parameters that the columns of angles belong to, in order. The circuit may use fewer.

        Returns:
            The circuit, ready to run.
        """


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

    noise_model: a qiskit_aer NoiseModel; where it has a `label`, the stamp says that in place of "noise". backend: an
    AerSimulator with settings of your own, or a device (a fake one too) whose gates, wiring and noise Aer then
    imitates; with both, its gates and wiring and the model's noise.
    Raises ValueError unless shots is 1 to 10 million, or where the backend has too few qubits.
    """

    shots: int = 2000
    noise_model: Any = None
    backend: Any = None

    def __post_init__(self):
        check_integer("shots", self.shots, maximum=MAX_SHOTS)
        if not isinstance(self.noise_model, NoiseModel | None):
            raise ValueError(f"noise_model is {self.noise_model!r}; a qiskit_aer NoiseModel is one: ion_trap_noise()")
        if self.noise_model is not None and isinstance(self.backend, AerSimulator):
            raise ValueError("give the noise_model to the AerSimulator itself, or leave out one of the two")

    def prepare(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> "ShotRunner":
        """Make `circuit` ready; columns of angles follow `parameters`, which may hold more than the circuit uses."""
        _check_width(circuit, self.backend)
        if self.noise_model is None and self.backend is None and circuit.num_qubits <= MAX_MULTINOMIAL_QUBITS:
            return DrawnRunner(circuit, parameters, self.shots)
        return ShotRunner(self.simulator, self.shots, circuit, parameters)

    @cached_property
    def simulator(self) -> AerSimulator:
        """The AerSimulator behind it."""
        if isinstance(self.backend, AerSimulator):
            return self.backend
        noise = {} if self.noise_model is None else {"noise_model": self.noise_model}
        return AerSimulator(**noise) if self.backend is None else AerSimulator.from_backend(self.backend, **noise)

    def __str__(self) -> str:
        imitated = self.simulator.name.partition("_from(")[2].removesuffix(")")  # Aer's name for what it imitates
        device = f" as {imitated}" if imitated else ""
        noise = self.simulator.options.noise_model
        noisy = "" if noise is None else f", with {getattr(noise, 'label', 'noise')}"
        return f"{self.shots:,} shots on Aer{device}{noisy}"


@dataclass(frozen=True)
class Primitive:
    """Measure with any Qiskit SamplerV2: Aer's, StatevectorSampler, BackendSamplerV2, IBM Runtime's.

    pass_manager: what fits a circuit to the sampler's device; by default Qiskit's preset for `sampler.backend`, where
    the sampler has one. retries: how often a job that fails is sent again. timeout: seconds that a job may take.
    Raises ValueError for shots below 1 or above 10 million, a retries below 0, a timeout of 0, or a backend with too
    few qubits; runs raise ExecutionError where the last try failed or something else came back than was asked for.
    """

    sampler: Any
    shots: int = 2000
    pass_manager: Any = None
    retries: int = 2
    timeout: float | None = None

    def __post_init__(self):
        check_integer("shots", self.shots, maximum=MAX_SHOTS)
        check_integer("retries", self.retries, 0)
        if self.timeout is not None and not (isinstance(self.timeout, Real) and self.timeout > 0):
            raise ValueError(f"timeout is {self.timeout!r}; it must be seconds above 0, or None to wait for ever")
        if not callable(getattr(self.sampler, "run", None)):
            raise ValueError(f"sampler is {self.sampler!r}; a Qiskit SamplerV2 with a run method is needed")

    def prepare(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> "PrimitiveRunner":
        """Make `circuit` ready; columns of angles follow `parameters`, which may hold more than the circuit uses."""
        _check_width(circuit, _backend_of(self.sampler))
        return PrimitiveRunner(self, circuit, parameters)

    def __str__(self) -> str:
        kind, backend = type(self.sampler), _backend_of(self.sampler)
        device = f" on {_name(backend)}" if backend else ""
        return f"{self.shots:,} shots by {kind.__module__.split('.')[0]}.{kind.__name__}{device}"


class ExactRunner:
    """A circuit on Aer's state vector, made ready once (`circuit`); many rows of angles run in one call."""

    def __init__(self, circuit, parameters):
        check_memory(circuit.num_qubits)
        self.n_qubits = circuit.num_qubits
        self._simulator = AerSimulator(method="statevector")
        ready = circuit.copy()
        ready.save_probabilities()
        self.circuit = _preset_for(self._simulator).run(ready)
        self._used = _used_columns(circuit, parameters)
        self._assembled = _assembled(self._simulator, self.circuit, self._used)

    def probabilities(self, angles, rng=None, states=None) -> np.ndarray:
        """Born probabilities of rows of angles (B, P), at `states` (S,) or at all 2ⁿ: (B, S)."""
        rows = max(1, CHUNK_BYTES // (8 << self.n_qubits))
        chunks = [angles[start : start + rows] for start in range(0, len(angles), rows)]
        return np.stack([self._seen(p, rng, states) for chunk in chunks for p in self._run(chunk)])

    def _run(self, angles):
        """Born probabilities (2ⁿ,) of each row of angles (B, P), from one Aer call."""
        if self._assembled:
            return self._assembled.probabilities(angles)
        result = _aer_run(self._simulator, self.circuit, self._used, angles, shots=1)
        return [np.asarray(result.data(i)["probabilities"]) for i in range(len(angles))]

    def _seen(self, p, rng, states):
        """What is seen of Born probabilities p (2ⁿ,) at `states`: all there is."""
        return p if states is None else p[states]

    def sample(self, angles, n_samples, rng) -> np.ndarray:
        """Draw bits (n_samples, n) uint8 from the Born distribution of one row of angles (P,)."""
        return sample_bits(self._run(angles[None])[0], n_samples, rng)


class DrawnRunner(ExactRunner):
    """A circuit without noise: `shots` are drawn from Aer's Born probabilities, as Aer would, in half the time."""

    def __init__(self, circuit, parameters, shots):
        super().__init__(circuit, parameters)
        self.shots = shots

    def _seen(self, p, rng, states):
        """Frequencies in `shots` draws from Born probabilities p (2ⁿ,), at `states` (S,) or all."""
        frequencies = rng.multinomial(self.shots, p / p.sum()) / self.shots
        return super()._seen(frequencies, rng, states)


class MeasuredRunner:
    """What all runners that measure share: frequencies from outcomes, and bits in random order."""

    def __init__(self, circuit, shots):
        self.n_qubits = circuit.num_qubits
        self.shots = shots

    def measure(self, angles, shots, rng) -> list[np.ndarray]:
        """Outcomes (shots,) int64, index = Σ bit_q · 2^q, for each row of angles (B, P)."""
        raise NotImplementedError

    def probabilities(self, angles, rng, states=None) -> np.ndarray:
        """Frequencies in `shots` measurements of each row of angles (B, P), at `states` (S,) or all 2ⁿ: (B, S)."""
        if states is None:
            check_memory(self.n_qubits)
            states = np.arange(1 << self.n_qubits)
        order = np.argsort(states)
        rows = []
        for outcomes in self.measure(angles, self.shots, rng):
            seen, counts = np.unique(outcomes, return_counts=True)
            place = np.searchsorted(seen, states[order]).clip(max=len(seen) - 1)
            row = np.empty(len(states))
            row[order] = np.where(seen[place] == states[order], counts[place], 0) / len(outcomes)
            rows.append(row)
        return np.stack(rows)

    def sample(self, angles, n_samples, rng) -> np.ndarray:
        """Measure one row of angles (P,) `n_samples` times: bits (n_samples, n) uint8, in random order."""
        outcomes = self.measure(angles[None], n_samples, rng)[0]
        return from_index(rng.permutation(outcomes)[:n_samples], self.n_qubits)  # some samplers sort by outcome


class ShotRunner(MeasuredRunner):
    """A measured circuit on an AerSimulator, transpiled once (`circuit`); each call draws a fresh simulator seed."""

    def __init__(self, simulator, shots, circuit, parameters):
        super().__init__(circuit, shots)
        if simulator.options.method != "matrix_product_state":  # which keeps no state vector
            check_memory(circuit.num_qubits)
        self._simulator = simulator
        self.circuit = _preset_for(simulator).run(_measured(circuit))
        self._used = _used_columns(circuit, parameters)

    def measure(self, angles, shots, rng) -> list[np.ndarray]:
        """Outcomes (shots,) int64, index = Σ bit_q · 2^q, for each row of angles (B, P)."""
        seed = int(rng.integers(2**31))
        result = _aer_run(self._simulator, self.circuit, self._used, angles, shots=shots, seed_simulator=seed)
        return [self._outcomes(result.data(i)["counts"]) for i in range(len(angles))]

    def _outcomes(self, counts):
        index = np.array([int(key, 16) for key in counts])  # hexadecimal, qubit 0 the lowest bit
        return np.repeat(index, list(counts.values()))


class PrimitiveRunner(MeasuredRunner):
    """A measured circuit for a SamplerV2, fitted to its device once (`circuit`); all rows of angles go in one PUB."""

    def __init__(self, execution, circuit, parameters):
        super().__init__(circuit, execution.shots)
        self._execution, self._sampler = execution, execution.sampler
        manager = execution.pass_manager or _preset_for(_backend_of(execution.sampler))
        measured = _measured(circuit)
        self.circuit = manager.run(measured) if manager else measured
        column = {parameter: i for i, parameter in enumerate(parameters)}
        self._columns = [column[p] for p in self.circuit.parameters]
        self._last = None

    def measure(self, angles, shots, rng) -> list[np.ndarray]:
        """Outcomes (shots or more,) int64, index = Σ bit_q · 2^q, for each row of angles (B, P)."""
        result = self._ask((self.circuit, angles[:, self._columns]), shots)
        outcomes = list(self._outcomes(result[0].data, len(angles), shots))
        self._check_fresh(angles, outcomes)
        return outcomes

    def _ask(self, pub, shots):
        """Run one PUB, and again where the job fails, until `retries` are used up."""
        tries = self._execution.retries + 1
        for left in reversed(range(tries)):
            try:
                return _wait(self._sampler.run([pub], shots=shots), self._execution.timeout)
            except (ValueError, TypeError) as error:  # a wrong request stays wrong
                raise ExecutionError(f"{self._execution} refused the circuit: {error}") from error
            except Exception as error:
                if not left:
                    told = f"in try {tries} of {tries}, with {type(error).__name__}: {error}"
                    raise ExecutionError(f"{self._execution} failed {told}") from error
                time.sleep(RETRY_WAIT * 2 ** (tries - 1 - left))

    def _outcomes(self, data, rows, shots):
        """The one register's outcomes as numbers (B, shots), or ExecutionError where it is not what was asked for."""
        registers = {name: getattr(data, name) for name in data}
        sizes = {name: getattr(bits, "num_bits", "no") for name, bits in registers.items()}
        if list(sizes.values()) != [self.n_qubits]:
            raise ExecutionError(
                f"{self._execution} gave registers of {sizes} bits where one of {self.n_qubits} was measured; "
                "a pass_manager that adds or drops measurements does this"
            )
        (bits,) = registers.values()
        if bits.num_shots < shots:
            raise ExecutionError(
                f"{self._execution} gave {bits.num_shots:,} shots where {shots:,} were asked for; ask for no more than "
                "it allows a job"
            )
        if bits.size != rows:
            raise ExecutionError(f"{self._execution} gave the shots of {bits.size:,} circuits where {rows:,} were sent")
        octets = bits.array.astype(np.int64).reshape(rows, bits.num_shots, -1)  # the highest byte first
        return octets @ (np.int64(1) << 8 * np.arange(octets.shape[-1], dtype=np.int64)[::-1])

    def _check_fresh(self, angles, outcomes):
        """Warn where the same circuit gave the very same shots twice: a sampler with a fixed seed."""
        last, self._last = self._last, (np.array(angles), outcomes)  # a copy: its owner may write to it
        again = last is not None and len(last[0]) == len(angles) and np.array_equal(last[0], angles)
        if again and all(
            len(a) > 31 and len(np.unique(a)) > 1 and np.array_equal(a, b)
            for a, b in zip(outcomes, last[1], strict=True)
        ):
            warnings.warn(
                f"{self._execution} gave the same shots twice: its seed is a fixed number, so its samples repeat. "
                "Make the sampler without a seed, or with a numpy Generator where it takes one",
                stacklevel=4,
            )


def available_memory() -> int:
    """Bytes that this process may still take: what is free, or what its container grants (Binder: 2 GB)."""
    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # of older kernels
    ):
        try:
            free = min(free, int((group / limit).read_text()) - int((group / used).read_text()))
        except (OSError, ValueError):  # no such container, or one without a limit
            continue
    return free


def check_memory(n_qubits: int) -> None:
    """Raise ValueError where the 2ⁿ amplitudes of `n_qubits`, with room to work, would not fit into memory."""
    needed = 3 * 16 << min(n_qubits, 999)  # amplitudes (complex128), Aer's copy, probabilities; more is no float
    free = available_memory()
    if needed > free:
        fits = (free // 48).bit_length() - 1
        raise ValueError(
            f"{n_qubits} qubits need about {format_bytes(needed)} of memory to simulate and {format_bytes(free)} are free; "
            f"at most {fits} qubits fit here. Use fewer qubits, or a device through Primitive(sampler)"
        )


def format_bytes(n_bytes: int) -> str:
    """A number of bytes in the largest unit of which it is one or more; each unit is 1,024 of the one before."""
    power = min(max(n_bytes.bit_length() - 1, 0) // 10, 6)
    return f"{n_bytes / 2 ** (10 * power):.3g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[power]}"


def _measured(circuit):
    measured = circuit.copy()
    measured.measure_all()
    return measured


def _preset_for(backend):
    """What fits a circuit to the gates of `backend` and, where it is wired, searches for a good layout; or None."""
    if backend is None:
        return None
    level = 1 if getattr(backend, "coupling_map", None) is None else 3
    return generate_preset_pass_manager(level, backend=backend, seed_transpiler=0)


def _backend_of(sampler):
    """The device behind a sampler, or None where it has none."""
    backend = getattr(sampler, "backend", None)
    return backend() if callable(backend) else backend  # a method in IBM Runtime, a property in Qiskit


def _check_width(circuit, backend):
    """Raise ValueError where `backend` has fewer qubits than the circuit."""
    there = getattr(backend, "num_qubits", None)
    if there is not None and there < circuit.num_qubits and not isinstance(backend, AerSimulator):
        raise ValueError(
            f"{_name(backend)} has {there} qubits and the circuit has {circuit.num_qubits}; "
            f"take a larger device, or a circuit of at most {there} qubits"
        )


def _name(backend):
    name = getattr(backend, "name", None)
    return name if isinstance(name, str) else type(backend).__name__


def _wait(job, timeout):
    """The job's result; a job that takes longer than `timeout` seconds, or whose result is not had, is cancelled."""
    started = time.monotonic()
    try:
        while timeout and not job.in_final_state():
            waited = time.monotonic() - started
            if waited > timeout:
                raise TimeoutError(f"no result within {timeout:g} seconds")
            time.sleep(min(max(waited / 10, 0.001), 5.0))  # a job is noticed when a tenth of its time is lost, at most
        return job.result()
    except BaseException:  # too late, interrupted, or out of reach: it must not run on beside the next try
        with contextlib.suppress(Exception):  # whatever cancelling says, the first reason is told
            job.cancel()
        raise


def _used_columns(circuit, parameters):
    """(column of angles, parameter) for each parameter that the circuit really has."""
    present = set(circuit.parameters)
    return [(i, parameter) for i, parameter in enumerate(parameters) if parameter in present]


def _aer_run(simulator, circuit, used, angles, **options):
    """One Aer call for all rows of `angles` (B, P)."""
    binds = {parameter: angles[:, i].tolist() for i, parameter in used}
    job = simulator.run([circuit], parameter_binds=[binds], runtime_parameter_bind_enable=True, **options)
    result = job.result()
    _check_success(result.success, result.status)
    return result


def _check_success(success, status):
    if not success:
        raise RuntimeError(f"Aer could not run the circuit: {status}")


class AssembledCircuit:
    """A circuit of gates in Aer's own form, made once: `AerSimulator.run` makes it anew in each call.

    For few qubits that takes several times as long as the circuit itself. What runs it are the calls that `run` makes.
    `circuit` saves its probabilities, and each of its free angles is one of `used` as it stands, in no expression.
    """

    def __init__(self, simulator, circuit, used):
        from qiskit_aer.backends import aer_compiler, backend_utils, controller_wrappers

        column = {parameter: i for i, parameter in used}
        (self._circuit,), (places,) = aer_compiler.assemble_circuits([circuit])
        self._circuit.circ_id = 0
        self._columns = [(places[i], number, column[angle]) for i, number, angle in _free_angles(circuit)]
        options = {"shots": 1, "runtime_parameter_bind_enable": True}
        self._config = partial(aer_compiler.generate_aer_config, [circuit], simulator.options, **options)
        self._execute = partial(backend_utils.cpp_execute_circuits, controller_wrappers.aer_controller_execute())

    def probabilities(self, angles) -> list[np.ndarray]:
        """Born probabilities (2ⁿ,) of each row of angles (B, P). Raises RuntimeError where Aer cannot run it."""
        values = angles.T.tolist()
        bound = [[(place, number), values[column]] for place, number, column in self._columns]
        told = self._execute([self._circuit], None, self._config(parameterizations=[bound]))
        _check_success(told["success"], told["status"])
        return [np.asarray(row["data"]["probabilities"]) for row in told["results"]]


def _assembled(simulator, circuit, used):
    """An AssembledCircuit, or None where the circuit is none for it or this Aer does things otherwise."""
    gates = all(isinstance(part.operation, Gate | SaveProbabilities | Barrier) for part in circuit.data)
    angles = {angle for _, _, angle in _free_angles(circuit)}
    plain = angles <= {parameter for _, parameter in used}
    return AssembledCircuit(simulator, circuit, used) if gates and plain and _aer_runs_assembled() else None


def _free_angles(circuit):
    """(instruction, which of its parameters, angle) of every angle that is not a number yet."""
    for i, instruction in enumerate(circuit.data):
        for number, angle in enumerate(instruction.operation.params):
            if getattr(angle, "parameters", None):
                yield i, number, angle


@cache
def _aer_runs_assembled():
    """Whether an assembled circuit gives to the last bit what `AerSimulator.run` gives; asked once, of a small one."""
    circuit, (a, b, c) = QuantumCircuit(2), (Parameter(name) for name in "abc")
    circuit.h(0)
    circuit.rx(a, 0)
    circuit.rxx(b, 0, 1)
    circuit.rz(c, 1)
    circuit.rx(a, 1)
    circuit.save_probabilities()
    case = AerSimulator(method="statevector"), circuit, list(enumerate((a, b, c)))
    angles = np.arange(1.0, 7).reshape(2, 3)
    expected = _aer_run(*case, angles, shots=1)
    try:
        found = AssembledCircuit(*case).probabilities(angles)
    except Exception:  # whatever goes wrong inside: `run` is there
        return False
    return all(np.array_equal(p, expected.data(i)["probabilities"]) for i, p in enumerate(found))
