"""Jobs that are written down as they are submitted: found again by their request, used once, never lost in silence."""

import json
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorSampler
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

import qaan_helpers as qh
from qaan_helpers.checks import ExecutionError
from qaan_helpers.quantum import execution
from qaan_helpers.quantum.job_log import JobLog, digest_circuit, digest_request

ANGLES = np.array([[0.3, 1.2, -0.4, 2.0, 0.9, 1.1]])


class Service:
    """A stand-in for a service: a sampler whose jobs can be retrieved by their IDs. Jobs in `failed` have no result."""

    def __init__(self):
        self.jobs, self.failed = {}, set()
        self._sampler = StatevectorSampler(seed=np.random.default_rng(4))

    def run(self, pubs, shots):
        job_id, inner = f"job-{len(self.jobs)}", self._sampler.run(pubs, shots=shots)

        def result():
            if job_id in self.failed:
                raise RuntimeError("the fridge is warm")
            return inner.result()

        self.jobs[job_id] = SimpleNamespace(job_id=lambda: job_id, result=result, cancel=lambda: None)
        return self.jobs[job_id]


@pytest.fixture
def service():
    return Service()


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(execution, "RETRY_WAIT", 0.0)


def circuit():
    return qh.qcbm_ansatz(2, 1)


NUMBER = circuit().num_parameters


def runner(service, path, **options):
    """The circuit on a service, as a process that starts now prepares it."""
    ours = circuit()
    how = qh.Primitive(service, 200, job_log=path, **{"retrieve": service.jobs.__getitem__} | options)
    return how.prepare(ours, list(ours.parameters))


def frequencies(of):
    return of.probabilities(ANGLES[:, :NUMBER], None)


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_job_is_on_disk_before_anyone_waits_for_it(service, tmp_path):
    path, seen = tmp_path / "jobs.jsonl", []
    run = service.run

    def watched(pubs, shots):
        job = run(pubs, shots)
        result = job.result
        job.result = lambda: seen.append(path.read_text()) or result()
        return job

    service.run = watched
    frequencies(runner(service, path))
    (entry,) = entries(path)
    assert seen == [path.read_text()]
    assert entry.keys() == {"job_id", "submitted", "shots", "request"}
    assert (entry["job_id"], entry["shots"]) == ("job-0", 200)
    age = datetime.now(UTC) - datetime.fromisoformat(entry["submitted"])
    assert timedelta(seconds=-1) <= age < timedelta(minutes=1)


def test_the_same_request_in_a_later_process_takes_the_job_that_there_is(service, tmp_path):
    path = tmp_path / "jobs.jsonl"
    first = frequencies(runner(service, path))
    np.testing.assert_array_equal(frequencies(runner(service, path)), first)
    assert len(service.jobs) == len(entries(path)) == 1


def test_each_job_is_used_once(service, tmp_path):
    path = tmp_path / "jobs.jsonl"
    ours = runner(service, path)
    first, second = frequencies(ours), frequencies(ours)  # in one process an equal request is a new job
    assert len(service.jobs) == 2 and (first != second).any()
    later = runner(service, path)
    np.testing.assert_array_equal(frequencies(later), first)  # in the order in which they were submitted
    np.testing.assert_array_equal(frequencies(later), second)
    assert len(service.jobs) == 2
    frequencies(later)
    assert len(service.jobs) == len(entries(path)) == 3


def test_another_request_is_another_job(service, tmp_path):
    path = tmp_path / "jobs.jsonl"
    frequencies(runner(service, path))
    later = runner(service, path)
    later.sample(ANGLES[0], 50, np.random.default_rng(0))
    later.probabilities(ANGLES + 1e-9, None)
    assert len(service.jobs) == 3


def test_the_same_request_after_a_new_calibration_takes_the_job_that_there_is(service, tmp_path):
    """Two pass managers make two ISA circuits of one circuit."""
    path, sent = tmp_path / "jobs.jsonl", []
    run = service.run
    service.run = lambda pubs, shots: sent.append(pubs[0][0]) or run(pubs, shots)
    levels = [generate_preset_pass_manager(level, FakeManilaV2(), seed_transpiler=0) for level in (0, 3)]
    first, later = (runner(service, path, pass_manager=level) for level in levels)
    assert dict(first.circuit.count_ops()) != dict(later.circuit.count_ops())
    first.probabilities(ANGLES[:, :NUMBER], None)
    runner(service, path, pass_manager=levels[1]).probabilities(ANGLES[:, :NUMBER], None)
    assert len(sent) == 1


def test_angles_in_another_order_are_another_request(service, tmp_path):
    path, ours = tmp_path / "jobs.jsonl", circuit()
    for parameters in (list(ours.parameters), list(ours.parameters)[::-1]):
        how = qh.Primitive(service, 200, job_log=path, retrieve=service.jobs.__getitem__)
        how.prepare(ours, parameters).probabilities(ANGLES[:, :NUMBER], None)
    assert len(service.jobs) == 2


def test_a_job_that_failed_is_reported_and_submitted_again(service, tmp_path):
    path = tmp_path / "jobs.jsonl"
    frequencies(runner(service, path))
    service.failed.add("job-0")
    with pytest.warns(
        UserWarning, match="job job-0 of .*jobs.jsonl has no result, with RuntimeError: the fridge.* again"
    ):
        frequencies(runner(service, path))
    assert len(service.jobs) == 2
    with pytest.warns(UserWarning, match="job-0 .* submitted again"):
        frequencies(runner(service, path))
    assert len(service.jobs) == len(entries(path)) == 2  # job-1 is the result of the later process


def test_a_service_out_of_reach_is_an_error_and_costs_no_second_job(service, tmp_path):
    path = tmp_path / "jobs.jsonl"
    first = frequencies(runner(service, path))
    down = True

    def retrieve(job_id):
        if down:
            raise ConnectionError("no route to host")
        return service.jobs[job_id]

    later = runner(service, path, retrieve=retrieve)
    with pytest.raises(ExecutionError, match="job job-0 of .*could not be retrieved, with ConnectionError: no route.*"):
        frequencies(later)
    assert len(service.jobs) == 1
    down = False
    np.testing.assert_array_equal(frequencies(later), first)


def test_jobs_are_retrieved_from_the_service_of_the_samplers_device_by_default(service, tmp_path):
    path = tmp_path / "jobs.jsonl"
    service.backend = lambda: device
    device = FakeManilaV2()
    device.service = SimpleNamespace(job=service.jobs.__getitem__)
    first = frequencies(runner(service, path, retrieve=None))
    np.testing.assert_array_equal(frequencies(runner(service, path, retrieve=None)), first)
    assert len(service.jobs) == 1


def test_jobs_of_two_bases_are_kept_apart(service, tmp_path):
    """Both circuits have the same parameters; only the last gates differ."""
    path = tmp_path / "jobs.jsonl"

    def model():
        how = qh.Primitive(service, 100, job_log=path, retrieve=service.jobs.__getitem__)
        return qh.QCBM(circuit(), how, seed=0, bases="zo")

    first = model()
    z, o = first.probabilities(basis=0), first.probabilities(basis=1)
    later = model()
    np.testing.assert_array_equal(later.probabilities(basis=1), o)
    np.testing.assert_array_equal(later.probabilities(basis=0), z)


def test_a_fit_with_the_same_seed_repeats_its_jobs_from_the_log_and_goes_on(service, tmp_path):
    path, bits = tmp_path / "jobs.jsonl", np.array([[1, 0]] * 9 + [[0, 1]])

    def fit(callback=None):
        how = qh.Primitive(service, 100, job_log=path, retrieve=service.jobs.__getitem__)
        costs = []
        note = lambda n, cost: costs.append(cost) or (callback and callback(n))  # noqa: E731
        with pytest.raises(MemoryError) if callback else warnings.catch_warnings():
            qh.QCBM(circuit(), how, seed=0).fit(bits, "spsa", 21, callback=note)
        return costs

    def crash(n):
        if n == 8:
            raise MemoryError

    before = fit(crash)
    assert len(service.jobs) == 8
    after = fit()
    assert after[:8] == before and len(after) == 21
    assert len(service.jobs) == len(entries(path)) == 21


# --- the file ---


def test_a_line_that_a_crash_cut_off_is_skipped_with_a_warning_and_the_next_one_is_whole(service, tmp_path):
    path = tmp_path / "jobs.jsonl"
    frequencies(runner(service, path))
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    with pytest.warns(UserWarning, match='line 2 of .*jobs.jsonl is damaged and was skipped: \'{"job_id": "job-0"'):
        later = runner(service, path)
    frequencies(later)
    assert len(service.jobs) == 1  # line 1 is used
    frequencies(later)
    assert json.loads(path.read_text().splitlines()[2])["job_id"] == "job-1"


@pytest.mark.parametrize("line", ["\0\0\0", "[1, 2]", '{"job_id": "x"}', "17", b"\xff\xfe"])
def test_a_line_that_is_something_else_is_skipped_with_a_warning(tmp_path, line):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(line if isinstance(line, bytes) else line.encode())
    with pytest.warns(UserWarning, match="line 1 of .* is damaged and was skipped"):
        log = JobLog(path)
    assert log.find("anything") is None


def test_a_log_that_cannot_be_written_is_refused_before_any_job(service, tmp_path):
    for path in (tmp_path / "nowhere" / "jobs.jsonl", tmp_path):
        with pytest.raises(ValueError, match="job_log must be a file that can be read and written; got "):
            qh.Primitive(service, job_log=path, retrieve=service.jobs.__getitem__)
    assert not service.jobs


def test_a_disk_that_is_full_later_is_reported_and_the_job_counts(service, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    ours = runner(service, folder / "jobs.jsonl")
    (folder / "jobs.jsonl").unlink()
    folder.rmdir()
    with pytest.warns(UserWarning, match="job job-0 runs, but .*jobs.jsonl does not list it: .*No such file"):
        assert frequencies(ours).sum() == pytest.approx(1)
    assert len(service.jobs) == 1


def test_a_sampler_without_a_service_needs_a_way_to_retrieve_jobs(service, tmp_path):
    with pytest.raises(ValueError, match="retrieve must be a function .* has no service; got None"):
        qh.Primitive(service, job_log=tmp_path / "jobs.jsonl")


def test_without_a_log_nothing_is_written(service, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = circuit()
    frequencies(qh.Primitive(service, 10).prepare(ours, list(ours.parameters)))
    assert not [*tmp_path.iterdir()]


# --- digests ---

DIGESTS = """
import numpy as np, qaan_helpers as qh
from qiskit_ibm_runtime.fake_provider import FakeManilaV2
from qaan_helpers.quantum.job_log import digest_circuit, digest_request
circuit = qh.qcbm_ansatz(3, 2)
circuit.name = "{name}"
ready = qh.Shots(10, backend=FakeManilaV2()).prepare(circuit, list(circuit.parameters)).circuit
digest = digest_circuit(circuit)
print(digest, digest_circuit(ready), digest_request(digest, np.ones((2, 15)) / 3, 10, "x"))
"""


def test_digests_are_equal_in_two_processes():
    """The circuits' names differ, as Qiskit's automatic ones do, and so do the identities of their parameters."""
    first, second = (
        subprocess.run(
            [sys.executable, "-c", DIGESTS.format(name=name)], capture_output=True, text=True, check=True
        ).stdout.split()
        for name in ("circuit-7", "circuit-19")
    )
    assert len(set(first)) == 3
    assert first == second


def changed(change):
    """A circuit of two qubits after one change."""
    made, a, b = QuantumCircuit(2), Parameter("a"), Parameter("b")
    made.rx(b if change == "parameters" else a, 0)
    made.rz(0.5 if change == "number" else 0.4, 0)
    made.rx(a if change == "parameters" else b * (2 if change == "factor" else 1), 1)
    if change == "gate":
        made.cz(0, 1)
    else:
        made.cx(*((1, 0) if change == "qubits" else (0, 1)))
    if change == "one more":
        made.x(0)
    return made


@pytest.mark.parametrize("change", ["parameters", "number", "factor", "gate", "qubits", "one more"])
def test_another_circuit_has_another_digest(change):
    assert digest_circuit(changed(change)) != digest_circuit(changed("nothing"))
    assert digest_circuit(changed(change)) == digest_circuit(changed(change))


def test_a_matrix_as_a_gate_counts_too():
    one, other = QuantumCircuit(1), QuantumCircuit(1)
    one.unitary(np.diag([1, 1j]), 0)
    other.unitary(np.diag([1, -1j]), 0)
    assert digest_circuit(one) != digest_circuit(other)


def test_another_request_has_another_digest():
    rows = np.array([[0.1, 0.2], [0.3, 0.4]])
    same = digest_request("c", rows, 10, "x")
    assert same == digest_request("c", np.asfortranarray(rows), 10, "x")
    others = [("d", rows, 10, "x"), ("c", rows + 1e-15, 10, "x"), ("c", rows.T, 10, "x"), ("c", rows, 11, "x")]
    others += [("c", rows.reshape(1, 4), 10, "x"), ("c", rows, 10, "y")]
    assert len({same, *(digest_request(*other) for other in others)}) == 7
