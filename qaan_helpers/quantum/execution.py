"""Where a circuit runs: exactly on Aer, with shots on Aer, or on any SamplerV2.

An execution, such as `Exact()`, prepares a circuit once and returns a runner. The runner turns rows of angles into
probabilities and samples. Every random number comes from the generator passed to the runner.
"""

import contextlib
import re
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import psutil
from numpy.random import Generator
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers import BackendV2
from qiskit.result import Result
from qiskit.transpiler import PassManager, generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from ..bits import from_index, sample_bits
from ..checks import ExecutionError, check_integer
from .aer_fast_path import assemble_once, check_success
from .job_log import JobLog, digest_circuit, digest_request

CHUNK_BYTES = 2**28  # of probabilities held at once when many rows of angles run in one call
MAX_SHOTS = 10**7  # per circuit: eight bytes each, and eight more to count them
MAX_MULTINOMIAL_QUBITS = 20  # above, probabilities and counts of all 2ⁿ states take too much memory
RETRY_WAIT = 2.0  # seconds before a failed job is sent again; the wait doubles each time
ENDED = re.compile(r"\b(session|batch)\b[^.]*\b(closed|expired)\b", re.IGNORECASE)  # in an error's message
ENDED_STATES = ("Closed", "In progress, not accepting new jobs")  # of a session or batch of IBM Runtime
LOCAL_HINT = "Use 'ion_trap' or 'FakeTorino' to simulate a device on this machine"


class Runner(Protocol):
    """A circuit that is ready to run, as an `Execution` prepares it.

    Attributes:
        n_qubits: The number of qubits n.
        circuit: The circuit after transpilation.
    """

    n_qubits: int
    circuit: QuantumCircuit

    def probabilities(self, angles: np.ndarray, rng: Generator, states: np.ndarray | None = None) -> np.ndarray:
        """Return the probabilities of bit strings, exact or estimated from shots.

        Args:
            angles: Rows of angles, shape (B, P), in radians.
            rng: The generator of the shots.
            states: The indices Σ_q bit_q · 2^q of the bit strings, shape (S,); all 2ⁿ if None.

        Returns:
            Probabilities, shape (B, S) or (B, 2ⁿ).
        """

    def sample(self, angles: np.ndarray, n_samples: int, rng: Generator) -> np.ndarray:
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
    """Run circuits exactly: Born probabilities from Aer's state vector, without shots and noise."""

    shots: ClassVar[None] = None

    def prepare(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> "ExactRunner":
        """Transpile a circuit once, so that it can run many times.

        Args:
            circuit: The circuit, without measurements.
            parameters: The parameters that the columns of angles belong to, in order. The circuit may use fewer.

        Returns:
            The circuit, ready to run.

        Raises:
            ValueError: If the state vector does not fit into memory.
        """
        return ExactRunner(circuit, parameters)

    def __str__(self) -> str:
        return "exact amplitudes on Aer"


@dataclass(frozen=True)
class Shots:
    """Measure circuits on Aer, without noise by default.

    Args:
        shots: The number of measurements per circuit, at most 10 million.
        noise_model: A noise model of Aer. Its `label`, if it has one, is part of the provenance label.
        backend: An `AerSimulator` with settings of your own, or a device whose gates, coupling map and noise Aer
            simulates. With both, the noise model replaces the device's noise.

    Raises:
        ValueError: If an argument is not allowed.
    """

    shots: int = 2000
    noise_model: NoiseModel | None = None
    backend: BackendV2 | None = None

    def __post_init__(self) -> None:
        check_integer("shots", self.shots, maximum=MAX_SHOTS)
        if not isinstance(self.noise_model, NoiseModel | None):
            raise ValueError(
                f"noise_model must be a qiskit_aer NoiseModel, such as ion_trap_noise(); got {self.noise_model!r}"
            )
        if self.noise_model is not None and isinstance(self.backend, AerSimulator):
            raise ValueError(
                "noise_model must be None if backend is an AerSimulator; got both. Give the noise model to the "
                "AerSimulator instead"
            )

    def prepare(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> "MultinomialRunner | ShotRunner":
        """Transpile a circuit once, so that it can run many times.

        Args:
            circuit: The circuit, without measurements.
            parameters: The parameters that the columns of angles belong to, in order. The circuit may use fewer.

        Returns:
            The circuit, ready to run.

        Raises:
            ValueError: If the backend has too few qubits, or the state vector does not fit into memory.
        """
        _check_width(circuit, self.backend)
        if self.noise_model is None and self.backend is None and circuit.num_qubits <= MAX_MULTINOMIAL_QUBITS:
            return MultinomialRunner(circuit, parameters, self.shots)
        return ShotRunner(self.simulator, self.shots, circuit, parameters)

    @cached_property
    def simulator(self) -> AerSimulator:
        """The AerSimulator that runs the circuits."""
        if isinstance(self.backend, AerSimulator):
            return self.backend
        noise = {} if self.noise_model is None else {"noise_model": self.noise_model}
        return AerSimulator(**noise) if self.backend is None else AerSimulator.from_backend(self.backend, **noise)

    def __str__(self) -> str:
        simulated = self.simulator.name.partition("_from(")[2].removesuffix(")")  # Aer's name for a simulated device
        device = f" as {simulated}" if simulated else ""
        noise = self.simulator.options.noise_model
        noisy = "" if noise is None else f", with {getattr(noise, 'label', 'noise')}"
        return f"{self.shots:,} shots on Aer{device}{noisy}"


@dataclass(frozen=True)
class Primitive:
    """Measure circuits with any SamplerV2: Aer's, `StatevectorSampler`, `BackendSamplerV2`, or IBM Runtime's.

    Runs raise `ExecutionError` if the last try failed, if the sampler's session or batch has ended, or if the sampler
    returned something else than was requested. As a context manager, it closes the session or batch at the end:

        with Primitive(Sampler(mode=Session(backend))) as execution:
            ...

    With a job log, the ID of each job is on disk as soon as the job is submitted. After a crash, a request that is in
    the log takes the result of its job, or waits for it, instead of submitting it again. Each job is used once.
    Therefore a fit that is started again, with the same data and the same seed, repeats its finished evaluations
    from the log and goes on. Requests are compared by circuit before transpilation, angles, shots and device, not by
    the options of the sampler: use a new log for each fit.

    Args:
        sampler: The SamplerV2.
        shots: The number of measurements per circuit, at most 10 million.
        pass_manager: The pass manager that makes an ISA circuit for the sampler's device. By default Qiskit's preset
            for `sampler.backend`, if the sampler has one.
        retries: How often a failed job is sent again.
        timeout: The seconds that a job may take; None for no limit.
        job_log: A file for the IDs of the jobs, created if it is missing; None to keep none.
        retrieve: A function that returns the job of an ID. By default, the job is retrieved from the service of the
            sampler's device, which IBM's devices have.

    Raises:
        ValueError: If an argument is not allowed.
    """

    sampler: Any
    shots: int = 2000
    pass_manager: PassManager | None = None
    retries: int = 2
    timeout: float | None = None
    job_log: str | Path | None = None
    retrieve: Callable[[str], Any] | None = None

    def __post_init__(self) -> None:
        check_integer("shots", self.shots, maximum=MAX_SHOTS)
        check_integer("retries", self.retries, 0)
        if self.timeout is not None and not (isinstance(self.timeout, Real) and self.timeout > 0):
            raise ValueError(
                f"timeout must be a positive number of seconds, or None for no limit; got {self.timeout!r}"
            )
        if not callable(getattr(self.sampler, "run", None)):
            raise ValueError(f"sampler must be a Qiskit SamplerV2 with a run method; got {self.sampler!r}")
        if self.log is None:
            return
        if self.retrieve is None and getattr(_backend_of(self.sampler), "service", None) is None:
            raise ValueError(
                "retrieve must be a function that returns the job of an ID, because job_log is given and the device of "
                "the sampler has no service; got None"
            )

    @cached_property
    def log(self) -> JobLog | None:
        """The log of submitted jobs; None without `job_log`."""
        return None if self.job_log is None else JobLog(self.job_log)

    def retrieve_job(self, job_id: str) -> Any:
        """Return a job that was submitted earlier.

        Args:
            job_id: The job's ID.

        Returns:
            The job, as `sampler.run` returned it.
        """
        if self.retrieve is not None:
            return self.retrieve(job_id)
        return _backend_of(self.sampler).service.job(job_id)

    def close(self) -> None:
        """Close the session or batch of the sampler, if it has one. Jobs that were submitted still run."""
        mode: Any = getattr(self.sampler, "mode", None)
        if hasattr(mode, "close"):
            mode.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> "PrimitiveRunner":
        """Transpile a circuit once, so that it can run many times.

        Args:
            circuit: The circuit, without measurements.
            parameters: The parameters that the columns of angles belong to, in order. The circuit may use fewer.

        Returns:
            The circuit, ready to run.

        Raises:
            ValueError: If the sampler's device has too few qubits.
        """
        _check_width(circuit, _backend_of(self.sampler))
        return PrimitiveRunner(self, circuit, parameters)

    def __str__(self) -> str:
        kind, backend = type(self.sampler), _backend_of(self.sampler)
        device = "" if backend is None else f" on {_name(backend)}"
        return f"{self.shots:,} shots by {kind.__module__.split('.')[0]}.{kind.__name__}{device}"


class ExactRunner:
    """A circuit on Aer's state vector simulator.

    Args:
        circuit: The circuit, without measurements.
        parameters: The parameters that the columns of angles belong to.

    Raises:
        ValueError: If the state vector does not fit into memory.
    """

    def __init__(self, circuit: QuantumCircuit, parameters: list[Parameter]) -> None:
        check_memory(circuit.num_qubits)
        self.n_qubits = circuit.num_qubits
        self.simulator = AerSimulator(method="statevector")
        saving = circuit.copy()
        saving.save_probabilities()
        self.circuit = _preset_pass_manager(self.simulator).run(saving)
        self.used = _used_columns(circuit, parameters)
        self.assembled = assemble_once(self.simulator, self.circuit, self.used)

    def probabilities(
        self, angles: np.ndarray, rng: Generator | None = None, states: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the probabilities of bit strings. All rows of angles that fit into memory run in one call of Aer.

        Args:
            angles: Rows of angles, shape (B, P), in radians.
            rng: The generator of the shots; not used without shots.
            states: The indices of the bit strings, shape (S,); all 2ⁿ if None.

        Returns:
            Probabilities, shape (B, S) or (B, 2ⁿ).
        """
        rows = max(1, CHUNK_BYTES // (8 << self.n_qubits))
        chunks = [angles[start : start + rows] for start in range(0, len(angles), rows)]
        return np.stack([self._observed(p, rng, states) for chunk in chunks for p in self._run(chunk)])

    def _run(self, angles: np.ndarray) -> list[np.ndarray]:
        """Return the Born probabilities (2ⁿ,) of each row of angles (B, P), from one call of Aer."""
        if self.assembled:
            return self.assembled.probabilities(angles)
        result = _run_aer(self.simulator, self.circuit, self.used, angles, shots=1)
        return [np.asarray(result.data(i)["probabilities"]) for i in range(len(angles))]

    def _observed(self, p: np.ndarray, rng: Any, states: np.ndarray | None) -> np.ndarray:
        """Return what is observed of Born probabilities p (2ⁿ,): here, the probabilities themselves."""
        return p if states is None else p[states]

    def sample(self, angles: np.ndarray, n_samples: int, rng: Generator) -> np.ndarray:
        """Draw bit strings from the Born distribution.

        Args:
            angles: One row of angles, shape (P,), in radians.
            n_samples: The number of bit strings N.
            rng: The generator of the shots.

        Returns:
            Bits, shape (N, n), uint8.
        """
        return sample_bits(self._run(angles[None])[0], n_samples, rng)


class MultinomialRunner(ExactRunner):
    """A circuit without noise, whose shots are sampled from exact probabilities: twice as fast as Aer's own shots.

    Args:
        circuit: The circuit, without measurements.
        parameters: The parameters that the columns of angles belong to.
        shots: The number of measurements per circuit.

    Raises:
        ValueError: If the state vector does not fit into memory.
    """

    def __init__(self, circuit: QuantumCircuit, parameters: list[Parameter], shots: int) -> None:
        super().__init__(circuit, parameters)
        self.shots = shots

    def _observed(self, p: np.ndarray, rng: Any, states: np.ndarray | None) -> np.ndarray:
        """Return relative frequencies in `shots` draws from Born probabilities p (2ⁿ,)."""
        frequencies = rng.multinomial(self.shots, p / p.sum()) / self.shots
        return super()._observed(frequencies, rng, states)


class MeasuredRunner:
    """Base class of runners that measure: they estimate probabilities from outcomes.

    Args:
        circuit: The circuit, without measurements.
        shots: The number of measurements per circuit.
    """

    def __init__(self, circuit: QuantumCircuit, shots: int) -> None:
        self.n_qubits = circuit.num_qubits
        self.shots = shots

    def measure(self, angles: np.ndarray, shots: int, rng: Generator) -> list[np.ndarray]:
        """Measure the circuit.

        Args:
            angles: Rows of angles, shape (B, P), in radians.
            shots: The number of measurements per row.
            rng: The generator of the shots.

        Returns:
            B arrays of outcomes Σ_q bit_q · 2^q, shape (shots,) or longer, int64.
        """
        raise NotImplementedError

    def probabilities(self, angles: np.ndarray, rng: Generator, states: np.ndarray | None = None) -> np.ndarray:
        """Estimate the probabilities of bit strings: their relative frequencies in `shots` measurements.

        Args:
            angles: Rows of angles, shape (B, P), in radians.
            rng: The generator of the shots.
            states: The indices of the bit strings, shape (S,); all 2ⁿ if None.

        Returns:
            Frequencies, shape (B, S) or (B, 2ⁿ).

        Raises:
            ValueError: If all 2ⁿ numbers were requested and do not fit into memory.
        """
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

    def sample(self, angles: np.ndarray, n_samples: int, rng: Generator) -> np.ndarray:
        """Draw bit strings by measuring the circuit.

        Args:
            angles: One row of angles, shape (P,), in radians.
            n_samples: The number of bit strings N.
            rng: The generator of the shots and of the rows' order.

        Returns:
            Bits, shape (N, n), uint8, rows in random order.
        """
        outcomes = self.measure(angles[None], n_samples, rng)[0]
        return from_index(rng.permutation(outcomes)[:n_samples], self.n_qubits)  # some samplers sort by outcome


class ShotRunner(MeasuredRunner):
    """A measured circuit on an AerSimulator. Each call draws a new seed for the simulator.

    Args:
        simulator: The simulator.
        shots: The number of measurements per circuit.
        circuit: The circuit, without measurements.
        parameters: The parameters that the columns of angles belong to.

    Raises:
        ValueError: If the state vector does not fit into memory.
    """

    def __init__(
        self, simulator: AerSimulator, shots: int, circuit: QuantumCircuit, parameters: list[Parameter]
    ) -> None:
        super().__init__(circuit, shots)
        if simulator.options.method != "matrix_product_state":  # the one method in use without a state vector
            check_memory(circuit.num_qubits)
        self._simulator = simulator
        self.circuit = _preset_pass_manager(simulator).run(circuit.measure_all(inplace=False))
        self._used = _used_columns(circuit, parameters)

    def measure(self, angles: np.ndarray, shots: int, rng: Generator) -> list[np.ndarray]:
        """Measure the circuit in one call of Aer.

        Args:
            angles: Rows of angles, shape (B, P), in radians.
            shots: The number of measurements per row.
            rng: The generator of the simulator's seed.

        Returns:
            B arrays of outcomes Σ_q bit_q · 2^q, shape (shots,), int64, sorted by outcome.
        """
        seed = int(rng.integers(2**31))
        result = _run_aer(self._simulator, self.circuit, self._used, angles, shots=shots, seed_simulator=seed)
        outcomes = []
        for i in range(len(angles)):
            counts = result.data(i)["counts"]
            index = np.array([int(key, 16) for key in counts])  # hexadecimal, qubit 0 the lowest bit
            outcomes.append(np.repeat(index, list(counts.values())))
        return outcomes


class PrimitiveRunner(MeasuredRunner):
    """A measured circuit for a SamplerV2, transpiled once to an ISA circuit. All rows of angles form one PUB.

    Args:
        execution: The sampler with its options.
        circuit: The circuit, without measurements.
        parameters: The parameters that the columns of angles belong to.
    """

    def __init__(self, execution: Primitive, circuit: QuantumCircuit, parameters: list[Parameter]) -> None:
        super().__init__(circuit, execution.shots)
        self._execution = execution
        backend, manager = _backend_of(execution.sampler), execution.pass_manager
        if not manager and backend is not None:
            manager = _preset_pass_manager(backend)
        measured = circuit.measure_all(inplace=False)
        self.circuit = manager.run(measured) if manager else measured
        if execution.log is not None:
            # The circuit before transpilation: the ISA circuit changes with the device's calibration.
            columns = _used_columns(circuit, parameters)
            self._logged = [columns[parameter] for parameter in circuit.parameters]
            self._digest = digest_circuit(circuit)
            self._device = type(execution.sampler).__name__ if backend is None else _name(backend)
        columns = _used_columns(self.circuit, parameters)
        self._columns = [columns[parameter] for parameter in self.circuit.parameters]
        self._last: tuple[np.ndarray, list[np.ndarray]] | None = None

    def measure(self, angles: np.ndarray, shots: int, rng: Generator | None) -> list[np.ndarray]:
        """Measure the circuit in one job.

        Args:
            angles: Rows of angles, shape (B, P), in radians.
            shots: The number of measurements per row.
            rng: Not used: the sampler has random numbers of its own.

        Returns:
            B arrays of outcomes Σ_q bit_q · 2^q, shape (shots,) or longer, int64.

        Raises:
            ExecutionError: If the last try failed, the session or batch has ended, or the sampler returned something
                else than was requested.
        """
        pub, log = (self.circuit, angles[:, self._columns]), self._execution.log
        request = "" if log is None else self._request(angles, shots)
        result = None if log is None else self._recover(log, request)
        if result is None:
            result = self._submit(pub, shots, request)
        outcomes = list(self._outcomes(result[0].data, len(angles), shots))
        self._check_fresh(angles, outcomes)
        return outcomes

    def _request(self, angles: np.ndarray, shots: int) -> str:
        """Return the digest of a request."""
        return digest_request(self._digest, angles[:, self._logged], shots, self._device)

    def _recover(self, log: JobLog, request: str) -> Any:
        """Return the result of an earlier job with the same request; None if there is none that was successful."""
        while job_id := log.find(request):
            try:
                job = self._execution.retrieve_job(job_id)
            except Exception as error:
                raise ExecutionError(
                    f"job {job_id} of {log.path} could not be retrieved, with {type(error).__name__}: {error}. Try "
                    "again when the service can be reached, or delete the job's line to submit its request again"
                ) from error
            log.mark_used(request)
            try:
                return _wait(job, self._execution.timeout)
            except Exception as error:
                warnings.warn(
                    f"job {job_id} of {log.path} has no result, with {type(error).__name__}: {error}. Its request is "
                    "submitted again",
                    stacklevel=5,
                )
        return None

    def _submit(self, pub: tuple[QuantumCircuit, np.ndarray], shots: int, request: str) -> Any:
        """Run one PUB, and again if the job fails, until `retries` are used up."""
        tries = self._execution.retries + 1
        for attempt in range(1, tries + 1):
            try:
                return self._run_once(pub, shots, request)
            except (ValueError, TypeError) as error:  # a wrong request stays wrong
                raise ExecutionError(f"{self._execution} refused the circuit: {error}") from error
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if _mode_has_ended(self._execution.sampler, error):
                    raise ExecutionError(
                        f"{self._execution} runs in a session or batch that is closed or has expired ({reason}). "
                        "Open a new one, make a new model with it as its execution, and give it this model's angles"
                    ) from error
                if attempt == tries:
                    raise ExecutionError(
                        f"{self._execution} failed in try {tries} of {tries}, with {reason}"
                    ) from error
                time.sleep(RETRY_WAIT * 2 ** (attempt - 1))

    def _run_once(self, pub: tuple[QuantumCircuit, np.ndarray], shots: int, request: str) -> Any:
        """Submit one PUB, write down the job's ID, and return the job's result."""
        job = self._execution.sampler.run([pub], shots=shots)
        if self._execution.log is not None:
            self._execution.log.add(request, job.job_id(), shots)
        return _wait(job, self._execution.timeout)

    def _outcomes(self, data: Any, rows: int, shots: int) -> Iterable[np.ndarray]:
        """Return the one register's outcomes (B, shots), or raise ExecutionError if something else was returned."""
        registers = {name: getattr(data, name) for name in data}
        sizes = {name: getattr(bits, "num_bits", "no") for name, bits in registers.items()}
        if list(sizes.values()) != [self.n_qubits]:
            raise ExecutionError(
                f"{self._execution} returned registers of {sizes} bits; one of {self.n_qubits} bits was measured. "
                "Use a pass_manager that neither adds nor drops measurements"
            )
        (bits,) = registers.values()
        if bits.num_shots < shots:
            raise ExecutionError(
                f"{self._execution} returned {bits.num_shots:,} shots; {shots:,} were requested. Request no more than "
                "it allows per job"
            )
        if bits.size != rows:
            raise ExecutionError(f"{self._execution} returned shots of {bits.size:,} circuits; {rows:,} were sent")
        octets = bits.array.astype(np.int64).reshape(rows, bits.num_shots, -1)  # (B, shots, bytes), highest byte first
        return octets @ (np.int64(1) << 8 * np.arange(octets.shape[-1], dtype=np.int64)[::-1])

    def _check_fresh(self, angles: np.ndarray, outcomes: list[np.ndarray]) -> None:
        """Warn if the same circuit gave exactly the same shots twice: a sampler with a fixed seed."""
        last, self._last = self._last, (np.array(angles), outcomes)  # a copy: the caller may change its array
        if last is None or not np.array_equal(last[0], angles):
            return
        if all(
            len(a) > 31 and len(np.unique(a)) > 1 and np.array_equal(a, b)
            for a, b in zip(outcomes, last[1], strict=True)
        ):
            warnings.warn(
                f"{self._execution} returned the same shots twice: its seed is fixed, so its samples repeat. Create "
                "the sampler without a seed, or with a NumPy Generator if it accepts one",
                stacklevel=4,
            )


def available_memory() -> int:
    """Return the bytes that this process may still allocate.

    Returns:
        The free memory of the machine, or of the container if that has less (2 GB on Binder).
    """
    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # older kernels
    ):
        try:
            free = min(free, int((group / limit).read_text()) - int((group / used).read_text()))
        except (OSError, ValueError):  # no container, or one without a limit
            continue
    return free


def check_memory(n_qubits: int, bytes_per_state: int = 48) -> None:
    """Check that a simulation of 2ⁿ amplitudes fits into memory.

    Args:
        n_qubits: The number of qubits n.
        bytes_per_state: What each of the 2ⁿ basis states needs. By default, Aer's two complex amplitudes, and the
            probability in two copies.

    Raises:
        ValueError: If it does not fit.
    """
    needed = bytes_per_state << min(n_qubits, 999)  # above 999 no float
    free = available_memory()
    if needed > free:
        fits = (free // bytes_per_state).bit_length() - 1
        raise ValueError(
            f"{n_qubits} qubits need about {format_bytes(needed)} of memory to simulate, and {format_bytes(free)} are "
            f"free; at most {fits} qubits fit here. Use fewer qubits, or a device through Primitive(sampler)"
        )


def format_bytes(n_bytes: int) -> str:
    """Format a number of bytes in the largest binary unit that is not larger.

    Args:
        n_bytes: The number of bytes.

    Returns:
        A text such as "1.5 GiB".
    """
    power = min(max(n_bytes.bit_length() - 1, 0) // 10, 6)
    return f"{n_bytes / 2 ** (10 * power):.3g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[power]}"


def missing_package(package: str) -> ExecutionError:
    """Return the error for a service whose package is not installed.

    Args:
        package: The package's name on PyPI.
    """
    return ExecutionError(f"{package} is not installed. Run `pip install {package}`. {LOCAL_HINT}")


def _preset_pass_manager(backend: BackendV2) -> PassManager:
    """Return Qiskit's preset, which searches for a good layout if the backend has a coupling map."""
    level = 1 if getattr(backend, "coupling_map", None) is None else 3
    return generate_preset_pass_manager(level, backend=backend, seed_transpiler=0)


def _used_columns(circuit: QuantumCircuit, parameters: list[Parameter]) -> dict[Parameter, int]:
    """Return the column of angles of each parameter that the circuit uses."""
    used = set(circuit.parameters)
    return {parameter: column for column, parameter in enumerate(parameters) if parameter in used}


def _run_aer(
    simulator: AerSimulator, circuit: QuantumCircuit, used: dict[Parameter, int], angles: np.ndarray, **options: int
) -> Result:
    """Run a circuit for all rows of `angles` (B, P) in one call of Aer."""
    binds = {parameter: angles[:, column].tolist() for parameter, column in used.items()}
    job = simulator.run([circuit], parameter_binds=[binds], runtime_parameter_bind_enable=True, **options)
    result = job.result()
    check_success(result.success, result.status)
    return result


def _backend_of(sampler: Any) -> Any:
    """Return a sampler's device; None if it has none."""
    backend = getattr(sampler, "backend", None)
    return backend() if callable(backend) else backend  # a method in IBM Runtime, a property in Qiskit


def _mode_has_ended(sampler: Any, error: Exception) -> bool:
    """Return whether an error is due to a session or batch that takes no more jobs, so that no retry can help."""
    mode = getattr(sampler, "mode", None)
    if mode is None:
        return False
    if ENDED.search(str(error)):
        return True
    try:
        return mode.status() in ENDED_STATES
    except Exception:  # no answer: it may still be open
        return False


def _check_width(circuit: QuantumCircuit, backend: Any) -> None:
    """Raise ValueError if a device has fewer qubits than the circuit."""
    available = getattr(backend, "num_qubits", None)
    if available is not None and available < circuit.num_qubits and not isinstance(backend, AerSimulator):
        raise ValueError(
            f"{_name(backend)} has {available} qubits and the circuit has {circuit.num_qubits}. Use a larger device, "
            f"or a circuit of at most {available} qubits"
        )


def _name(backend: Any) -> str:
    name = getattr(backend, "name", None)
    return name if isinstance(name, str) else type(backend).__name__


def _wait(job: Any, timeout: float | None) -> Any:
    """Return the job's result. Cancel a job that takes longer than `timeout` seconds or whose result is lost."""
    started = time.monotonic()
    try:
        while timeout and not job.in_final_state():
            waited = time.monotonic() - started
            if waited > timeout:
                raise TimeoutError(f"no result within {timeout:g} seconds")
            time.sleep(min(max(waited / 10, 0.001), 5.0))  # at most a tenth of the job's time passes unnoticed
        return job.result()
    except BaseException:  # too late, interrupted, or out of reach: it must not run in parallel with the next try
        with contextlib.suppress(Exception):  # report the first error, not that of cancelling
            job.cancel()
        raise
