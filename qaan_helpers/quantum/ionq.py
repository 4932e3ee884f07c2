"""IonQ's service: its simulator and its devices as a SamplerV2."""

import warnings
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2, JobV1
from qiskit.result import Result
from qiskit.transpiler import generate_preset_pass_manager

from ..checks import ExecutionError, check_integer
from .execution import LOCAL_HINT, Primitive, missing_package

POLL_SECONDS = 2.0


def ionq(name: str = "ionq_simulator", shots: int = 2000, noise_model: str | None = None, **options: Any) -> Primitive:
    """Measure circuits through IonQ's service.

    The service needs a key in the environment variable IONQ_API_KEY or IONQ_API_TOKEN. IONQ_API_URL sets another
    address of the service.

    Args:
        name: "ionq_simulator", or a device such as "qpu.forte-1".
        shots: The number of measurements per circuit.
        noise_model: The simulator's noise model, such as "forte-1"; None for no noise.
        **options: Further arguments of `Primitive`.

    Returns:
        The execution.

    Raises:
        ValueError: If the device is unknown, or a noise model is given for a device.
        ExecutionError: If there is no key, the service cannot be reached or refuses the key, or qiskit-ionq is not
            installed.
    """
    check_integer("shots", shots)
    device = name.removeprefix("ionq_")
    if noise_model is not None and device != "simulator":
        raise ValueError(
            f"noise_model must be None for {name!r}, a device with noise of its own; got {noise_model!r}. Use "
            "'ionq_simulator' to simulate noise"
        )
    try:
        from qiskit_ionq import IonQProvider
        from qiskit_ionq.exceptions import IonQTranspileLevelWarning
        from qiskit_ionq.helpers import resolve_credentials
    except ImportError:
        raise missing_package("qiskit-ionq") from None
    credentials = resolve_credentials()
    if not credentials["token"]:
        raise ExecutionError(f"IonQ's service needs a key: set IONQ_API_KEY. {LOCAL_HINT}")
    _check_access(device, **credentials)
    with warnings.catch_warnings():
        # Every backend recommends optimization level 0 or 1. The pass manager below uses level 1.
        warnings.simplefilter("ignore", IonQTranspileLevelWarning)
        backend = IonQProvider(**credentials).get_backend(device)
    if noise_model is not None:
        backend.set_options(noise_model=noise_model)
    manager = generate_preset_pass_manager(1, backend=backend, seed_transpiler=0)  # IonQ's compiler does the rest
    return Primitive(IonQSampler(backend), shots, **({"pass_manager": manager} | options))


def _check_access(device: str, token: str, url: str) -> None:
    """Raise an error if IonQ's service cannot be reached, does not know the device or refuses the key."""
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
            f"IonQ's service at {url} does not answer. Check the network and IONQ_API_URL. {LOCAL_HINT}"
        ) from None
    if 401 in codes or 403 in codes:
        raise ExecutionError(f"IonQ's service refuses the key. Check IONQ_API_KEY. {LOCAL_HINT}")
    if codes[0] == 404:
        raise ValueError(f"name must be a device of IonQ, such as 'ionq_simulator' or 'qpu.forte-1'; got {device!r}")


class IonQSampler:
    """A SamplerV2 for an IonQ backend. Each PUB is one job of one or many circuits.

    Qiskit's `BackendSamplerV2` does not work here: it reads IonQ's binary strings as hexadecimal. The ideal simulator
    returns no shots, which `BackendSamplerV2` takes for outcomes 0.

    Args:
        backend: The backend of an `IonQProvider`.
    """

    def __init__(self, backend: BackendV2) -> None:
        noise = backend.options.noise_model
        noisy = backend.name == "ionq_simulator" and noise != "ideal"
        name = f"{backend.name} with {noise}'s noise" if noisy else backend.name
        self._backend = backend
        self.backend = SimpleNamespace(name=name, num_qubits=backend.num_qubits)  # what `Primitive` uses of a device

    def run(self, pubs: Iterable[Any], *, shots: int) -> "IonQSamplerJob":
        """Send PUBs to IonQ.

        Args:
            pubs: The PUBs: circuits, each with an array of parameter values.
            shots: The number of measurements per circuit.

        Returns:
            One job for all PUBs.

        Raises:
            ValueError: If IonQ's service refuses a request.
            RuntimeError: If IonQ's service fails.
        """
        coerced = [SamplerPub.coerce(pub, shots) for pub in pubs]
        return IonQSamplerJob(coerced, [self._send(pub) for pub in coerced])

    def _send(self, pub: SamplerPub) -> JobV1:
        from qiskit_ionq.exceptions import IonQAPIError

        circuits = np.ravel(pub.parameter_values.bind_all(pub.circuit)).tolist()
        try:
            return self._backend.run(circuits if len(circuits) > 1 else circuits[0], shots=pub.shots)
        except IonQAPIError as error:  # its own text holds the whole response with all headers
            message = f"HTTP {error.status_code}: {error.message}"
            raise (ValueError if error.status_code < 500 else RuntimeError)(message) from None


class IonQSamplerJob:
    """IonQ's jobs for a list of PUBs, as one job of a SamplerV2.

    Args:
        pubs: The PUBs.
        jobs: IonQ's job for each of them.
    """

    def __init__(self, pubs: list[SamplerPub], jobs: list[JobV1]) -> None:
        self._pubs, self._jobs = pubs, jobs

    def in_final_state(self) -> bool:
        """Return whether every job is done, failed or cancelled."""
        return all(job.in_final_state() for job in self._jobs)

    def cancel(self) -> None:
        """Cancel every job that has not run."""
        for job in self._jobs:
            job.cancel()

    def result(self) -> PrimitiveResult:
        """Wait for every job; raise the error of a job that failed.

        Returns:
            One result per PUB, with the shots of its circuits.
        """
        results = [job.result(wait=POLL_SECONDS) for job in self._jobs]
        return PrimitiveResult([_pub_result(*pair) for pair in zip(self._pubs, results, strict=True)])


def _pub_result(pub: SamplerPub, result: Result) -> SamplerPubResult:
    """Turn the counts of a PUB's circuits into the shots of its one register."""
    (register,) = pub.circuit.cregs
    rows = [_expand_counts(result.data(i)["counts"], pub.shots) for i in range(pub.parameter_values.size)]
    samples = BitArray.from_samples(np.concatenate(rows).tolist(), register.size)
    bits = samples.reshape(len(rows), pub.shots).reshape(pub.shape)
    return SamplerPubResult(DataBin(**{register.name: bits}, shape=pub.shape))


def _expand_counts(counts: dict[str, int], shots: int) -> np.ndarray:
    """Return outcomes (shots,) int64 from counts of binary strings. Rounding can make the counts' sum differ."""
    expected = np.array(list(counts.values())) * shots / sum(counts.values())
    times = np.floor(expected + 1e-9).astype(int)
    times[np.argsort(times - expected)[: shots - times.sum()]] += 1  # where rounding down changed most
    return np.repeat([int(key, 2) for key in counts], times)
