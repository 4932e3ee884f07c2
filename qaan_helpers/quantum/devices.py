"""Devices to run on: an ion trap's noise on Aer, IBM's and IonQ's services, and one name for each way to run."""

import difflib
import os
import warnings
from numbers import Real
from typing import NamedTuple

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import Gate
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2, QiskitBackendNotFoundError
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer.noise import NoiseModel, depolarizing_error

from ..checks import ExecutionError, check_integer
from .execution import Exact, Primitive, Shots

# Medians of direct randomised benchmarking on IonQ Forte, arXiv:2308.05071. They are process infidelities: the paper's
# published data have (1 − p)(d² − 1)/d² for a decay pᵐ. The average gate infidelity is d/(d + 1) of that.
FORTE_ONE_QUBIT_ERROR = 2.0e-4 * 2 / 3
FORTE_TWO_QUBIT_ERROR = 46.4e-4 * 4 / 5
FORTE_READOUT_ERROR = 0.5e-2  # "SPAM error", preparation and measurement together: ionq.com/quantum-systems/forte, 2026

NO_GATES = ("barrier", "delay", "measure", "reset", "save_")  # save_…: what Aer keeps
IONQ_POLL_SECONDS = 2.0
HERE = "without it, 'ion_trap' and 'FakeTorino' imitate a device on this machine"


def ion_trap_noise(
    one_qubit_error: float = FORTE_ONE_QUBIT_ERROR,
    two_qubit_error: float = FORTE_TWO_QUBIT_ERROR,
    readout_error: float = FORTE_READOUT_ERROR,
) -> NoiseModel:
    """An ion trap's noise on Aer: each native gate depolarises its qubits, and each bit is read wrongly now and then.

    one_qubit_error, two_qubit_error: average gate infidelities r of RX and of RXX (the Mølmer–Sørensen interaction),
    which is depolarising with λ = r d/(d − 1), d = 2 or 4; RZ is a change of frame in software and free of noise.
    readout_error: the probability that a bit is flipped. 0 switches a source off. Any two qubits may interact.
    Raises ValueError for numbers beyond 0 to 1/2, 3/4 and 1/2, where nothing is left of the state or the bit. Its
    `label` says which sources are on.
    Source of the defaults: Chen et al., arXiv:2308.05071, for the gates, IonQ's page on Forte for the readout. The
    paper warns that such models of components predict better results than the machine then gives.
    """
    _check_error("one_qubit_error", one_qubit_error, 1 / 2)
    _check_error("two_qubit_error", two_qubit_error, 3 / 4)
    _check_error("readout_error", readout_error, 1 / 2)
    noise = NoiseModel(basis_gates=["rx", "rz", "rxx"])  # no RY: it is an RX between two RZ, and has its noise
    noise.add_all_qubit_quantum_error(depolarizing_error(2 * one_qubit_error, 1), ["rx"])
    noise.add_all_qubit_quantum_error(depolarizing_error(4 / 3 * two_qubit_error, 2), ["rxx"])
    right, wrong = 1 - readout_error, readout_error
    noise.add_all_qubit_readout_error([[right, wrong], [wrong, right]])
    parts = {"gates on one qubit": one_qubit_error, "gates on two": two_qubit_error, "readout": readout_error}
    faulty = " and ".join(name for name, error in parts.items() if error)
    noise.label = "an ion trap's noise"
    if not all(parts.values()):
        noise.label += f" in {faulty}" if faulty else ", all of it off"
    return noise


def _check_error(name, value, most):
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= most:
        raise ValueError(f"{name} is {value!r}; it must lie between 0, which switches this noise off, and {most:g}")


def circuit_costs(circuit: QuantumCircuit) -> dict[str, int]:
    """Count what a circuit asks of a device: gates, two_qubit_gates, depth (layers of gates) and two_qubit_depth.

    Barriers and measurements are no gates. After transpilation (`runner.circuit`) routing's swaps are among the
    two-qubit gates. Raises ValueError for what is not down to gates on one and two qubits.
    """
    for step in circuit.data:
        if not (len(step.qubits) <= 2 if _is_gate(step) else step.operation.name.startswith(NO_GATES)):
            raise ValueError(
                f"{step.operation.name!r} on {len(step.qubits)} qubits stands for gates that cannot be counted yet; "
                "circuit.decompose() or a transpilation takes it apart"
            )
    return {
        "gates": sum(map(_is_gate, circuit.data)),
        "two_qubit_gates": sum(map(_is_two_qubit_gate, circuit.data)),
        "depth": circuit.depth(_is_gate),
        "two_qubit_depth": circuit.depth(_is_two_qubit_gate),
    }


def _is_gate(step):
    return isinstance(step.operation, Gate)


def _is_two_qubit_gate(step):
    return _is_gate(step) and len(step.qubits) == 2


def ibm(name: str | None = None, shots: int = 2000, *, min_qubits: int = 8, **options) -> Primitive:
    """Measure on an IBM device: the one named, or else the least busy with at least `min_qubits` qubits.

    The key is QISKIT_IBM_TOKEN in the environment (and QISKIT_IBM_INSTANCE, where there is a choice) or an account
    saved with QiskitRuntimeService.save_account. options go to Primitive; the sampler's own are in `.sampler.options`.
    Raises ValueError for a device that the account does not have, and ExecutionError where there is no key, the
    service cannot be reached or refuses, or qiskit-ibm-runtime is not installed.
    """
    check_integer("shots", shots)
    check_integer("min_qubits", min_qubits)
    try:
        from qiskit_ibm_runtime import QiskitRuntimeService, Sampler
        from qiskit_ibm_runtime.accounts import AccountNotFoundError
    except ImportError:
        raise _not_installed("qiskit-ibm-runtime") from None
    try:
        service = QiskitRuntimeService()
        backend = service.backend(name) if name else service.least_busy(min_num_qubits=min_qubits)
    except AccountNotFoundError:
        raise ExecutionError(
            f"IBM's devices need a key: set QISKIT_IBM_TOKEN, or QiskitRuntimeService.save_account(token=…); {HERE}"
        ) from None
    except QiskitBackendNotFoundError:
        if name:
            raise ValueError(f"IBM has no device {name!r} for this key; 'ibm' takes the least busy there is") from None
        raise ExecutionError(f"IBM has no device of {min_qubits} qubits at work for this key; {HERE}") from None
    except Exception as error:  # the client tells a refused key, a wrong instance and no connection apart badly
        token = os.environ.get("QISKIT_IBM_TOKEN") or "no token"
        told = f"{type(error).__name__}: {error}".replace(token, "…")
        raise ExecutionError(
            f"IBM's service did not work ({told}); check QISKIT_IBM_TOKEN, QISKIT_IBM_INSTANCE and the network; {HERE}"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # announces a successor of the same name and use
        sampler = Sampler(mode=backend)
    return Primitive(sampler, shots, **options)


def ionq(name: str = "ionq_simulator", shots: int = 2000, noise_model: str | None = None, **options) -> Primitive:
    """Measure through IonQ's service: on "ionq_simulator", or a device such as "qpu.forte-1".

    The key is IONQ_API_KEY (or IONQ_API_TOKEN) in the environment; IONQ_API_URL names another service.
    noise_model: of the simulator, "forte-1" say; without it, it is ideal. options go to Primitive.
    Raises ValueError for an unknown device or a noise_model for another than the simulator, and ExecutionError where
    there is no key, the service cannot be reached or refuses the key, or qiskit-ionq is not installed.
    """
    check_integer("shots", shots)
    device = name.removeprefix("ionq_")
    if noise_model is not None and device != "simulator":
        raise ValueError(
            f"noise_model is for the simulator, and {name!r} is a device with noise of its own; leave it out"
        )
    try:
        from qiskit_ionq import IonQProvider
        from qiskit_ionq.helpers import resolve_credentials
    except ImportError:
        raise _not_installed("qiskit-ionq") from None
    credentials = resolve_credentials()
    if not credentials["token"]:
        raise ExecutionError(f"IonQ's service needs a key: set IONQ_API_KEY; {HERE}")
    _check_ionq(device, **credentials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advises level 1, which follows, and guesses devices that nobody asked for
        backend = IonQProvider(**credentials).get_backend(device)
    if noise_model is not None:
        backend.set_options(noise_model=noise_model)
    manager = generate_preset_pass_manager(1, backend=backend, seed_transpiler=0)  # IonQ's own compiler does the rest
    return Primitive(IonQSampler(backend), shots, **({"pass_manager": manager} | options))


def _check_ionq(device, token, url):
    """Raise where IonQ's service cannot be reached, does not know the device or refuses the key."""
    from qiskit_ionq.exceptions import IonQRetriableError
    from qiskit_ionq.ionq_client import IonQClient

    client = IonQClient(token, url)
    try:
        codes = [
            client.get_with_retry(client.make_path(*path), headers=client.api_headers, timeout=10).status_code
            for path in (("backends", device), ("whoami",))
        ]
    except IonQRetriableError:
        raise ExecutionError(
            f"IonQ's service at {url} does not answer; check the network and IONQ_API_URL; {HERE}"
        ) from None
    if 401 in codes or 403 in codes:
        raise ExecutionError(f"IonQ's service refuses the key; check IONQ_API_KEY; {HERE}")
    if codes[0] == 404:
        raise ValueError(f"IonQ has no device {device!r}; 'ionq_simulator' and 'qpu.forte-1' are names of some")


class _Device(NamedTuple):
    """What Primitive asks of a sampler's device."""

    name: str
    num_qubits: int


class IonQSampler:
    """A SamplerV2 over an IonQ backend; each PUB is one job of one or many circuits.

    Qiskit's BackendSamplerV2 does not serve: it takes IonQ's binary strings for hexadecimal ones, and the ideal
    simulator, which gives none, for one that always reads 0.
    """

    def __init__(self, backend):
        noise = backend.options.noise_model
        noisy = backend.name == "ionq_simulator" and noise != "ideal"
        self._backend = backend
        self.backend = _Device(f"{backend.name} with {noise}'s noise" if noisy else backend.name, backend.num_qubits)

    def run(self, pubs, *, shots: int) -> "IonQSamplerJob":
        """Send the PUBs, `shots` measurements each; raise ValueError where IonQ's service refuses a request."""
        pubs = [SamplerPub.coerce(pub, shots) for pub in pubs]
        return IonQSamplerJob(pubs, [self._send(pub) for pub in pubs])

    def _send(self, pub):
        from qiskit_ionq.exceptions import IonQAPIError

        circuits = np.ravel(pub.parameter_values.bind_all(pub.circuit)).tolist()
        try:
            return self._backend.run(circuits if len(circuits) > 1 else circuits[0], shots=pub.shots)
        except IonQAPIError as error:  # its own text holds the whole answer with all its headers
            told = f"HTTP {error.status_code}: {error.message}"
            raise (ValueError if error.status_code < 500 else RuntimeError)(told) from None


class IonQSamplerJob:
    """IonQ's jobs for some PUBs, as one job of a SamplerV2."""

    def __init__(self, pubs, jobs):
        self._pubs, self._jobs = pubs, jobs

    def in_final_state(self) -> bool:
        """Whether all of it is done, failed or cancelled."""
        return all(job.in_final_state() for job in self._jobs)

    def cancel(self) -> None:
        """Cancel what has not run."""
        for job in self._jobs:
            job.cancel()

    def result(self) -> PrimitiveResult:
        """Wait for all of it; raise what IonQ's job raises where it failed."""
        return PrimitiveResult(
            [
                _pub_result(pub, job.result(wait=IONQ_POLL_SECONDS))
                for pub, job in zip(self._pubs, self._jobs, strict=True)
            ]
        )


def _pub_result(pub, result):
    """The counts of each circuit of a PUB as its one register's bits (…, shots, bytes), the highest byte first."""
    (register,) = pub.circuit.cregs
    rows = [_outcomes(result.data(i)["counts"], pub.shots) for i in range(pub.parameter_values.size)]
    shifts = 8 * np.arange((register.size + 7) // 8)[::-1]
    octets = (np.array(rows)[..., None] >> shifts & 255).astype(np.uint8).reshape(*pub.shape, pub.shots, -1)
    bits = BitArray(octets, register.size)
    return SamplerPubResult(DataBin(**{register.name: bits}, shape=pub.shape))


def _outcomes(counts, shots):
    """Outcomes (shots,) int64 from counts of binary strings, whose rounded sum may be some shots off."""
    share = np.array(list(counts.values())) * shots / sum(counts.values())
    times = np.floor(share + 1e-9).astype(int)
    times[np.argsort(times - share)[: shots - times.sum()]] += 1  # to those that rounding down took most from
    return np.repeat([int(key, 2) for key in counts], times)


def named_execution(name: str, shots: int = 2000) -> Exact | Shots | Primitive:
    """Make the execution called `name`, with `shots` measurements a circuit where it measures.

    "exact"; "shots"; "ion_trap" for shots with `ion_trap_noise()`; "FakeTorino" or any other fake device of IBM's, as
    Aer imitates it; "ibm" or "ibm:NAME" and "ionq" or "ionq:NAME" for the services (see `ibm` and `ionq`).
    Raises ValueError for another name, and what the services raise.
    """
    service, _, device = name.partition(":")
    if service == "ibm":
        return ibm(device or None, shots)
    if service == "ionq":
        return ionq(device or "ionq_simulator", shots)
    if name == "exact":
        return Exact()
    if name == "shots":
        return Shots(shots)
    if name == "ion_trap":
        return Shots(shots, noise_model=ion_trap_noise())
    fakes = _fake_devices()
    if name in fakes:
        return Shots(shots, backend=fakes[name]())
    known = {each.lower(): each for each in ("exact", "shots", "ion_trap", "ibm", "ionq", *fakes)}
    close = " or ".join(repr(known[each]) for each in difflib.get_close_matches(name.lower(), known))
    raise ValueError(
        f"execution is {name!r}; {f'did you mean {close}? There are' if close else 'choose one of'} 'exact', 'shots', "
        "'ion_trap', 'ibm', 'ibm:NAME', 'ionq', 'ionq:NAME' and the fake devices of qiskit-ibm-runtime: 'FakeTorino', …"
    )


def _fake_devices():
    """The fake devices of qiskit-ibm-runtime by name; none where it is not installed."""
    try:
        from qiskit_ibm_runtime import fake_provider
    except ImportError:
        return {}
    return {
        name: kind
        for name, kind in vars(fake_provider).items()
        if name.startswith("Fake") and isinstance(kind, type) and issubclass(kind, BackendV2)
    }


def _not_installed(package):
    return ExecutionError(f"{package} is not installed; `pip install {package}` adds it; {HERE}")
