"""Devices: the noise of an ion trap, resource counts of circuits, IBM's service, and a name for every execution."""

import difflib
import os
from numbers import Real
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Gate
from qiskit.providers import BackendV2, QiskitBackendNotFoundError
from qiskit_aer.noise import NoiseModel, depolarizing_error

from ..checks import ExecutionError, check_choice, check_integer
from .execution import LOCAL_HINT, Exact, Primitive, Shots, missing_package
from .ionq import ionq

# Medians of direct randomized benchmarking on IonQ Forte, arXiv:2308.05071. They are process infidelities: the paper's
# published data are (1 − p)(d² − 1)/d² for a decay pᵐ. The average gate infidelity is d/(d + 1) times that.
FORTE_ONE_QUBIT_ERROR = 2.0e-4 * 2 / 3
FORTE_TWO_QUBIT_ERROR = 46.4e-4 * 4 / 5
FORTE_READOUT_ERROR = 0.5e-2  # state preparation and measurement (SPAM) error: ionq.com/quantum-systems/forte, 2026

NO_GATES = ("barrier", "delay", "measure", "reset", "save_")  # save_…: Aer's instructions that save results


def ion_trap_noise(
    one_qubit_error: float = FORTE_ONE_QUBIT_ERROR,
    two_qubit_error: float = FORTE_TWO_QUBIT_ERROR,
    readout_error: float = FORTE_READOUT_ERROR,
) -> NoiseModel:
    """Build a noise model of an ion trap for Aer: depolarizing gates and readout errors.

    Each RX and RXX (Mølmer–Sørensen) gate depolarizes its qubits with probability λ = r d/(d − 1), where r is the
    average gate infidelity and d is 2 or 4. RZ is a change of frame in software and has no noise. All qubits are
    coupled. An error of 0 turns a source of noise off, and the model's `label` says which sources are on.

    Source of the defaults: Chen et al., arXiv:2308.05071 (gates) and IonQ's page on Forte (readout). The paper warns
    that such component models predict better results than the machine produces.

    Args:
        one_qubit_error: The average gate infidelity of RX, from 0 to 1/2.
        two_qubit_error: The average gate infidelity of RXX, from 0 to 3/4.
        readout_error: The probability that a bit is flipped at readout, from 0 to 1/2.

    Returns:
        The noise model.

    Raises:
        ValueError: If an error is not in its range.
    """
    _check_error("one_qubit_error", one_qubit_error, 1 / 2)
    _check_error("two_qubit_error", two_qubit_error, 3 / 4)
    _check_error("readout_error", readout_error, 1 / 2)
    noise = NoiseModel(basis_gates=["rx", "rz", "rxx"])  # no RY: it is an RX between two RZ, with the noise of RX
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


def _check_error(name: str, value: float, maximum: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= maximum:
        raise ValueError(f"{name} must be a number from 0, which turns this noise off, to {maximum:g}; got {value!r}")


def circuit_costs(circuit: QuantumCircuit) -> dict[str, int]:
    """Count the gates of a circuit and its depth.

    Barriers and measurements do not count. After transpilation (`runner.circuit`) the two-qubit gates include the
    SWAP gates of routing.

    Args:
        circuit: A circuit of gates on one and two qubits.

    Returns:
        "gates", "two_qubit_gates", "depth" (layers of gates) and "two_qubit_depth".

    Raises:
        ValueError: If the circuit has instructions that must be decomposed before their gates can be counted.
    """
    for step in circuit.data:
        countable = len(step.qubits) <= 2 if _is_gate(step) else step.operation.name.startswith(NO_GATES)
        if not countable:
            raise ValueError(
                f"circuit must consist of gates on one and two qubits; got {step.operation.name!r} on "
                f"{len(step.qubits)} qubits. Use circuit.decompose() or transpile the circuit first"
            )
    return {
        "gates": sum(map(_is_gate, circuit.data)),
        "two_qubit_gates": sum(map(_is_two_qubit_gate, circuit.data)),
        "depth": circuit.depth(_is_gate),
        "two_qubit_depth": circuit.depth(_is_two_qubit_gate),
    }


def _is_gate(step: CircuitInstruction) -> bool:
    return isinstance(step.operation, Gate)


def _is_two_qubit_gate(step: CircuitInstruction) -> bool:
    return _is_gate(step) and len(step.qubits) == 2


def ibm(
    name: str | None = None,
    shots: int = 2000,
    *,
    min_qubits: int = 8,
    mode: str = "job",
    options: dict[str, Any] | None = None,
    **arguments: Any,
) -> Primitive:
    """Measure circuits on a device of IBM.

    The service needs a key: QISKIT_IBM_TOKEN in the environment (and QISKIT_IBM_INSTANCE, if there are several), or an
    account saved with `QiskitRuntimeService.save_account`.

    A fit submits one job after the other. In mode "job" each of them waits in the device's queue. In a session only the
    first one waits, and the device is reserved, and paid for, until the session is closed:

        with ibm(mode="session") as execution:
            ...

    Args:
        name: The device's name; None for the least busy one.
        shots: The number of measurements per circuit.
        min_qubits: The number of qubits that the least busy device must have.
        mode: "job", "session" or "batch": IBM's execution mode. IBM's Open Plan has no sessions.
        options: The sampler's options, such as {"dynamical_decoupling": {"enable": True}} or
            {"twirling": {"enable_gates": True}}.
        **arguments: Further arguments of `Primitive`, such as `job_log`.

    Returns:
        The execution.

    Raises:
        ValueError: If the account has no device of this name, or an argument is not allowed.
        ExecutionError: If there is no key, the service cannot be reached or refuses the key or the session, or
            qiskit-ibm-runtime is not installed.
    """
    check_integer("shots", shots)
    check_integer("min_qubits", min_qubits)
    check_choice("mode", mode, ("job", "session", "batch"))
    try:
        from qiskit_ibm_runtime import Batch, Sampler, Session
    except ImportError:
        raise missing_package("qiskit-ibm-runtime") from None
    backend = _ibm_backend(name, min_qubits)
    try:
        place = backend if mode == "job" else {"session": Session, "batch": Batch}[mode](backend=backend)
    except Exception as error:
        raise ExecutionError(
            f"IBM opened no {mode} ({_without_key(error)}). Its Open Plan has no sessions: use mode='job' or "
            f"mode='batch'. {LOCAL_HINT}"
        ) from None
    try:
        # The Sampler's deprecation warning is not silenced: it announces when its successor takes this name.
        return Primitive(Sampler(mode=place, options=options), shots, **arguments)
    except BaseException:
        if place is not backend:
            place.close()  # an open session costs
        raise


def _ibm_backend(name: str | None, min_qubits: int) -> BackendV2:
    """Return a device of IBM: the one with this name, or the least busy one."""
    from qiskit_ibm_runtime import QiskitRuntimeService
    from qiskit_ibm_runtime.accounts import AccountNotFoundError

    try:
        service = QiskitRuntimeService()
        return service.backend(name) if name else service.least_busy(min_num_qubits=min_qubits)
    except AccountNotFoundError:
        raise ExecutionError(
            "IBM's devices need a key: set QISKIT_IBM_TOKEN, or call QiskitRuntimeService.save_account(token=…). "
            f"{LOCAL_HINT}"
        ) from None
    except QiskitBackendNotFoundError:
        if name:
            raise ValueError(
                f"name must be a device of IBM that your key can use, or None for the least busy one; got {name!r}"
            ) from None
        raise ExecutionError(
            f"IBM has no device in operation with {min_qubits} qubits or more for your key. {LOCAL_HINT}"
        ) from None
    except Exception as error:  # the client does not reliably distinguish a wrong key, instance or network
        raise ExecutionError(
            f"IBM's service did not work ({_without_key(error)}). Check QISKIT_IBM_TOKEN, QISKIT_IBM_INSTANCE and the "
            f"network. {LOCAL_HINT}"
        ) from None


def _without_key(error: Exception) -> str:
    """Return an error's type and message, without the key that it may contain."""
    token = os.environ.get("QISKIT_IBM_TOKEN") or "no token"
    return f"{type(error).__name__}: {error}".replace(token, "…")


def named_execution(name: str, shots: int = 2000) -> Exact | Shots | Primitive:
    """Make the execution with a given name.

    Args:
        name: "exact"; "shots"; "ion_trap" for shots with `ion_trap_noise()`; "FakeTorino" or another fake device of
            qiskit-ibm-runtime, simulated by Aer; "ibm" or "ibm:NAME"; "ionq" or "ionq:NAME".
        shots: The number of measurements per circuit; not used by "exact".

    Returns:
        The execution.

    Raises:
        ValueError: If the name is unknown.
        ExecutionError: If a service does not work; see `ibm` and `ionq`.
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
    hint = f". Did you mean {close}?" if close else ""
    raise ValueError(
        "execution must be 'exact', 'shots', 'ion_trap', 'ibm', 'ibm:NAME', 'ionq', 'ionq:NAME' or a fake device of "
        f"qiskit-ibm-runtime, such as 'FakeTorino'; got {name!r}{hint}"
    )


def _fake_devices() -> dict[str, type[BackendV2]]:
    """Return the fake devices of qiskit-ibm-runtime by name; none if it is not installed."""
    try:
        from qiskit_ibm_runtime import fake_provider
    except ImportError:
        return {}
    return {
        name: kind
        for name, kind in vars(fake_provider).items()
        if name.startswith("Fake") and isinstance(kind, type) and issubclass(kind, BackendV2)
    }
