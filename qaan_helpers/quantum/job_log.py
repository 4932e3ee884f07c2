"""A log of the jobs that were submitted, so that a fit that crashed does not pay for its finished jobs again."""

import hashlib
import json
import os
import warnings
from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit


class JobLog:
    """The IDs of submitted jobs in a file, one JSON object per line.

    Each line has the job's ID, the time of its submission, its shots and the digest of its request. `add` writes it to
    disk before it returns. A later process finds the job of an equal request with `find`.

    Args:
        path: The file. It is created if it is missing.

    Raises:
        ValueError: If the file cannot be read and written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._unused: defaultdict[str, deque[str]] = defaultdict(deque)
        try:
            self.path.touch()
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            with self.path.open("a"):  # a log that is read-only is reported before any job is paid for
                pass
        except OSError as error:
            raise ValueError(f"job_log must be a file that can be read and written; got {path!r}: {error}") from None
        for request, job_id in self._entries(lines):
            self._unused[request].append(job_id)

    def add(self, request: str, job_id: str, shots: int) -> None:
        """Write down a job that was just submitted.

        A log that cannot be written, on a full disk for example, is reported as a warning: the job runs all the same.

        Args:
            request: The digest of its request; see `digest_request`.
            job_id: The job's ID.
            shots: The number of measurements per circuit.
        """
        submitted = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"job_id": job_id, "submitted": submitted, "shots": shots, "request": request})
        try:
            with self.path.open("a+b") as file:
                file.write(_line_end(file) + line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            warnings.warn(f"job {job_id} runs, but {self.path} does not list it: {error}", stacklevel=2)

    def find(self, request: str) -> str | None:
        """Return the ID of the oldest unused job with this request.

        Args:
            request: The digest of the request.

        Returns:
            The ID; None if no such job was logged before this object was created, or all of them are used.
        """
        jobs = self._unused.get(request)
        return jobs[0] if jobs else None

    def mark_used(self, request: str) -> None:
        """Mark the job that `find` returned as used: each job gives its shots once.

        Args:
            request: The digest of the request.
        """
        self._unused[request].popleft()

    def _entries(self, lines: list[str]) -> Iterator[tuple[str, str]]:
        """Yield the request and the ID of each line, and warn of lines that a crash has cut off."""
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                yield str(entry["request"]), str(entry["job_id"])
            except (ValueError, KeyError, TypeError):
                warnings.warn(f"line {number} of {self.path} is damaged and was skipped: {line[:60]!r}", stacklevel=4)


def digest_circuit(circuit: QuantumCircuit) -> str:
    """Return a digest of what a circuit does, which is the same in every process.

    QPY files are not: they contain the circuit's automatic name and random identities of its parameters. Gate angles
    enter as numbers, evaluated at fixed values of the parameters.

    Args:
        circuit: The circuit. Parameters count in the order of `circuit.parameters`.

    Returns:
        A SHA-256, 64 hexadecimal digits.
    """
    bound = circuit.assign_parameters(np.sqrt(np.arange(2, circuit.num_parameters + 2)))
    place = {bit: index for bits in (bound.qubits, bound.clbits) for index, bit in enumerate(bits)}
    steps = [
        [
            step.operation.name,
            [place[bit] for bit in (*step.qubits, *step.clbits)],
            [_as_text(parameter) for parameter in step.operation.params],
        ]
        for step in bound.data
    ]
    return _sha256(circuit.num_qubits, circuit.num_clbits, steps)


def digest_request(circuit: str, values: np.ndarray, shots: int, device: str) -> str:
    """Return a digest of a request to a sampler, which is the same in every process.

    Args:
        circuit: The circuit's digest.
        values: The values of the parameters, shape (B, P), in radians.
        shots: The number of measurements per circuit.
        device: The name of the device or of the sampler.

    Returns:
        A SHA-256, 64 hexadecimal digits.
    """
    rows = np.ascontiguousarray(values, dtype="<f8")
    return _sha256(circuit, list(rows.shape), rows.tobytes().hex(), shots, device)


def _as_text(parameter: Any) -> str:
    """Return a gate's parameter as text, without the last digits, which depend on the order of additions."""
    if isinstance(parameter, np.ndarray):
        return repr(np.round(parameter, 9).tolist())
    try:
        return f"{float(parameter):.9g}"
    except (TypeError, ValueError):
        return str(parameter)


def _sha256(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _line_end(file: Any) -> bytes:
    """Return the line end that a file open for appending lacks if a crash cut off its last line."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return b""
    file.seek(size - 1)
    return b"" if file.read(1) == b"\n" else b"\n"
