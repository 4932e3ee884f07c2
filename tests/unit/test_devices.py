"""The ion trap's noise, gate counts by hand, and services that work, are out of reach or refuse."""

import json
import socket
import subprocess
import sys
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import qiskit_ibm_runtime
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers import QiskitBackendNotFoundError
from qiskit.quantum_info import Statevector, average_gate_fidelity, process_fidelity
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

import qaan_helpers as qh
from qaan_helpers.quantum import devices, execution, ionq

pytestmark = pytest.mark.integration

KEY = "a-key-that-nobody-may-see"
KEY_NAMES = ("QISKIT_IBM_TOKEN", "QISKIT_IBM_INSTANCE", "IONQ_API_KEY", "IONQ_API_TOKEN", "QISKIT_IONQ_API_TOKEN")


@pytest.fixture(autouse=True)
def nobody_is_signed_in(monkeypatch):
    """No key of the user's, no proxy to this machine, and no pause before a failed job is sent again."""
    for name in (*KEY_NAMES, "IONQ_API_URL", "QISKIT_IONQ_API_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(execution, "RETRY_WAIT", 0.0)


def prepared(how, circuit):
    return how.prepare(circuit, list(circuit.parameters))


def ones(how, circuit, shots=20_000):
    """How often each qubit of a circuit without parameters reads 1."""
    return prepared(how, circuit).sample(np.empty(0), shots, np.random.default_rng(0)).mean(0)


def lopsided():
    """Three qubits that all read 1 with another probability, entangled, and two angles to set."""
    circuit = QuantumCircuit(3)
    circuit.rx(Parameter("a"), 0)
    circuit.rx(Parameter("b"), 2)
    circuit.rxx(0.4, 0, 1)
    circuit.h(1)
    circuit.rz(0.3, 1)
    circuit.rxx(0.9, 1, 2)
    return circuit


ANGLES = np.array([[2.8, 0.3], [0.2, 1.9], [1.0, -0.8]])


def born(circuit, angles):
    return np.stack([Statevector(circuit.assign_parameters(row)).probabilities() for row in angles])


# --- the ion trap's noise ---


@pytest.mark.parametrize("r", (2e-4, 0.01, 0.3))
def test_an_error_is_the_average_infidelity_of_the_gate(r):
    errors = qh.ion_trap_noise(r, 2 * r)._default_quantum_errors
    assert 1 - average_gate_fidelity(errors["rx"].to_quantumchannel()) == pytest.approx(r)
    assert 1 - average_gate_fidelity(errors["rxx"].to_quantumchannel()) == pytest.approx(2 * r)


def test_the_defaults_are_fortes_published_numbers():
    """Direct randomized benchmarking states process infidelities: 2.0e-4 and 46.4e-4."""
    noise = qh.ion_trap_noise()
    errors = noise._default_quantum_errors
    assert 1 - process_fidelity(errors["rx"].to_quantumchannel()) == pytest.approx(2.0e-4)
    assert 1 - process_fidelity(errors["rxx"].to_quantumchannel()) == pytest.approx(46.4e-4)
    np.testing.assert_allclose(noise._default_readout_error.probabilities, [[0.995, 0.005], [0.005, 0.995]])


@pytest.mark.parametrize("source", ("one_qubit_error", "two_qubit_error", "readout_error"))
@pytest.mark.parametrize("at_work", ("one_qubit_error", "two_qubit_error", "readout_error", "nothing"))
def test_each_source_of_errors_acts_alone(source, at_work):
    """A flip of one qubit, a joint flip of two, and nothing: each sees its own source only."""
    off = dict.fromkeys(("one_qubit_error", "two_qubit_error", "readout_error"), 0)
    circuit = QuantumCircuit(2)
    if at_work == "one_qubit_error":
        circuit.rx(np.pi, 0)
    if at_work == "two_qubit_error":
        circuit.rxx(np.pi, 0, 1)
    if at_work == "nothing":
        circuit.rz(1.0, 0)
    ideal = {"one_qubit_error": [1, 0], "two_qubit_error": [1, 1]}.get(at_work, [0, 0])
    measured = ones(qh.Shots(noise_model=qh.ion_trap_noise(**off | {source: 0.3})), circuit, 2000)
    seen = source == at_work or source == "readout_error"
    assert (abs(measured - ideal).max() > 0.1) == seen


def test_a_two_qubit_error_leaves_what_depolarizing_leaves():
    circuit = QuantumCircuit(2)
    circuit.rxx(np.pi, 0, 1)
    noise = qh.ion_trap_noise(0, 0.3, 0)  # λ = 0.4: |11⟩ stays with 0.6 + 0.4/4
    p = prepared(qh.Shots(40_000, noise), circuit).probabilities(np.empty((1, 0)), np.random.default_rng(1))[0]
    np.testing.assert_allclose(p, [0.1, 0.1, 0.1, 0.7], atol=0.012)


@pytest.mark.parametrize("prepared_bit", (0, 1))
def test_readout_flips_bits_at_its_rate_either_way(prepared_bit):
    circuit = QuantumCircuit(4)
    if prepared_bit:
        circuit.x(range(4))
    flipped = abs(ones(qh.Shots(noise_model=qh.ion_trap_noise(0, 0, 0.1)), circuit) - prepared_bit)
    np.testing.assert_allclose(flipped, 0.1, atol=0.011)  # five standard deviations


def test_the_ansatz_stays_as_it_is_on_an_ion_trap():
    """56 interactions of any two of 8 ions; a Hadamard is one RX between changes of frame."""
    circuit = qh.qcbm_ansatz(8, 2)
    ready = prepared(qh.Shots(noise_model=qh.ion_trap_noise()), circuit).circuit
    assert dict(ready.count_ops()) == {"rxx": 56, "rx": 16 + 8, "rz": 16 + 2 * 8, "measure": 8, "barrier": 1}
    assert "rz" not in qh.ion_trap_noise().noise_instructions


def test_other_gates_become_an_ion_traps_own():
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0)
    circuit.sx(0)
    circuit.cx(0, 1)
    ready = prepared(qh.Shots(noise_model=qh.ion_trap_noise()), circuit).circuit
    assert set(ready.count_ops()) == {"rx", "rz", "rxx", "measure", "barrier"}
    assert ready.count_ops()["rxx"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"one_qubit_error": 0.51}, r"one_qubit_error must be a number from 0, .*, to 0.5; got 0.51"),
        ({"two_qubit_error": 0.76}, r"two_qubit_error must be .*, to 0.75; got 0.76"),
        ({"two_qubit_error": -1e-9}, r"two_qubit_error must be .*; got -1e-09"),
        ({"readout_error": 0.6}, r"readout_error must be .*, to 0.5; got 0.6"),
        ({"readout_error": float("nan")}, r"readout_error must be .*; got nan"),
        ({"readout_error": "0.1"}, r"readout_error must be .*; got '0.1'"),
        ({"one_qubit_error": False}, r"one_qubit_error must be .*; got False"),
    ],
)
def test_refuses_errors_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        qh.ion_trap_noise(**arguments)


# --- costs ---


def test_costs_as_counted_by_hand():
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rz(0.1, 2)
    circuit.cx(1, 2)
    circuit.swap(0, 1)
    circuit.measure_all()
    assert qh.circuit_costs(circuit) == {"gates": 5, "two_qubit_gates": 3, "depth": 4, "two_qubit_depth": 3}


def test_barriers_and_what_aer_keeps_are_no_gates():
    ready = prepared(qh.Exact(), qh.qcbm_ansatz(2, 1, warm_start=False)).circuit
    assert "save_probabilities" in ready.count_ops()
    assert qh.circuit_costs(ready) == {"gates": 5, "two_qubit_gates": 1, "depth": 3, "two_qubit_depth": 1}


def test_ones_own_gates_count_on_a_wired_device_many_times():
    """FakeTorino's qubits see two or three neighbours: a gate of ours is several of its own, and swaps come on top."""
    circuit = qh.qcbm_ansatz(8, 2)
    how = qh.named_execution("FakeTorino", 100)
    ready = prepared(how, circuit).circuit
    before, after = qh.circuit_costs(circuit), qh.circuit_costs(ready)
    assert str(how) == "100 shots on Aer as fake_torino, with noise"
    assert before["two_qubit_gates"] == 56
    assert after["two_qubit_gates"] == ready.count_ops()["cz"] > 2 * 56
    assert after["two_qubit_depth"] > 2 * before["two_qubit_depth"]


def test_refuses_to_count_what_is_not_down_to_gates():
    three, loop = QuantumCircuit(3), QuantumCircuit(2)
    three.ccx(0, 1, 2)
    with loop.for_loop(range(2)):
        loop.cx(0, 1)
    for circuit, name in ((three, "ccx"), (loop, "for_loop")):
        with pytest.raises(ValueError, match=f"gates on one and two qubits; got '{name}' on . qubits. Use .*decompose"):
            qh.circuit_costs(circuit)
    assert qh.circuit_costs(three.decompose())["two_qubit_gates"] == 6


# --- names ---


def test_names_of_what_runs_here():
    assert qh.named_execution("exact") == qh.Exact()
    assert qh.named_execution("shots", 70) == qh.Shots(70)
    trap = qh.named_execution("ion_trap", 80)
    assert trap.shots == 80
    assert trap.noise_model == qh.ion_trap_noise()
    fake = qh.named_execution("FakeManilaV2", 90)
    assert isinstance(fake, qh.Shots) and fake.shots == 90
    assert isinstance(fake.backend, FakeManilaV2)


def test_names_of_services_and_their_devices(monkeypatch):
    monkeypatch.setattr(devices, "ibm", lambda *given: ("ibm", *given))
    monkeypatch.setattr(devices, "ionq", lambda *given: ("ionq", *given))
    assert qh.named_execution("ibm", 50) == ("ibm", None, 50)
    assert qh.named_execution("ibm:ibm_torino") == ("ibm", "ibm_torino", 2000)
    assert qh.named_execution("ionq") == ("ionq", "ionq_simulator", 2000)
    assert qh.named_execution("ionq:qpu.forte-1", 50) == ("ionq", "qpu.forte-1", 50)


@pytest.mark.parametrize(
    ("name", "close"), [("Exact", "'exact'"), ("iontrap", "'ion_trap'"), ("FakeTorinoV2", "'FakeTorino'")]
)
def test_an_unknown_name_is_answered_with_the_closest(name, close):
    with pytest.raises(
        ValueError, match=f"execution must be 'exact', 'shots'.*; got '{name}'. Did you mean .*{close}.*"
    ):
        qh.named_execution(name)


@pytest.mark.parametrize("name", ("", "gpu", "FakeProviderForBackendV2", "exact:1"))
def test_a_name_like_no_other_is_answered_with_all(name):
    with pytest.raises(
        ValueError, match=rf"'ion_trap', 'ibm', 'ibm:NAME', 'ionq', 'ionq:NAME' .* 'FakeTorino'; got '{name}'"
    ):
        qh.named_execution(name)


def test_vendors_packages_are_imported_where_they_are_used():
    code = "import sys, qaan_helpers.quantum.devices as d; d.ion_trap_noise(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"qiskit_ibm_runtime", "qiskit_ionq", "requests"} & set(loaded)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("ibm", "qiskit_ibm_runtime", "qiskit-ibm-runtime"), ("ionq", "qiskit_ionq", "qiskit-ionq")],
)
def test_a_package_that_is_missing_is_named(monkeypatch, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(qh.ExecutionError, match=f"{package} is not installed. Run `pip install {package}`. .*ion_trap"):
        qh.named_execution(name)


# --- IBM ---


class IBMService:
    """A substitute for QiskitRuntimeService: one fake device, which the Sampler then runs here."""

    def backend(self, name):
        if name != "ibm_manila":
            raise QiskitBackendNotFoundError("No backend matches the criteria.")
        return FakeManilaV2()

    def least_busy(self, min_num_qubits):
        if min_num_qubits > 5:
            raise QiskitBackendNotFoundError("No backend matches the criteria.")
        return FakeManilaV2()


def test_ibm_passes_on_the_announcement_of_the_samplers_successor(monkeypatch):
    class Outdated(qiskit_ibm_runtime.Sampler):
        def __init__(self, mode, options):
            warnings.warn("this Sampler has a successor", DeprecationWarning, stacklevel=2)

    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", IBMService)
    monkeypatch.setattr(qiskit_ibm_runtime, "Sampler", Outdated)
    with pytest.warns(DeprecationWarning, match="this Sampler has a successor"):
        qh.ibm("ibm_manila")


@pytest.mark.filterwarnings("ignore:The SamplerV2 class is deprecated")
@pytest.mark.parametrize("given", ({"name": "ibm_manila"}, {"min_qubits": 4}))
def test_ibm_measures_through_its_sampler_in_the_right_order(monkeypatch, given):
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", IBMService)
    how = qh.ibm(shots=1500, timeout=300, **given)
    assert (how.shots, how.timeout) == (1500, 300)
    runner = prepared(how, lopsided())
    assert runner.circuit.num_qubits == 5
    measured = runner.probabilities(ANGLES[:2], np.random.default_rng(0))
    expected = born(lopsided(), ANGLES[:2])
    reverse = expected[:, [0, 4, 2, 6, 1, 5, 3, 7]]  # the qubits in the other order
    off, off_reverse = (abs(measured - p).sum(1) / 2 for p in (expected, reverse))
    assert off.max() < 0.25 < 0.5 < off_reverse.min()  # the fake device is noisy


@pytest.mark.filterwarnings("ignore:The SamplerV2 class is deprecated")
@pytest.mark.parametrize(
    ("mode", "kind"), [("job", None), ("session", qiskit_ibm_runtime.Session), ("batch", qiskit_ibm_runtime.Batch)]
)
def test_ibm_opens_what_its_mode_says_and_passes_on_the_samplers_options(monkeypatch, mode, kind):
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", IBMService)
    options = {"dynamical_decoupling": {"enable": True}, "twirling": {"enable_gates": True}}
    with qh.ibm("ibm_manila", 100, mode=mode, options=options, retries=0) as how:
        assert type(how.sampler.mode) is (kind or type(None))
        assert how.sampler.options.dynamical_decoupling.enable and how.sampler.options.twirling.enable_gates
        assert how.retries == 0
        runner = prepared(how, lopsided())
        with pytest.warns(UserWarning, match="Options .*dynamical_decoupling.* have no effect in local testing mode"):
            runner.sample(ANGLES[0], 10, np.random.default_rng(0))
    if kind is not None:
        with pytest.raises(qh.ExecutionError, match="closed or has expired"):
            runner.sample(ANGLES[0], 10, np.random.default_rng(0))


def test_ibm_refuses_another_mode():
    with pytest.raises(ValueError, match="mode must be one of 'job', 'session', 'batch'; got 'dedicated'"):
        qh.ibm(mode="dedicated")


def test_ibm_that_opens_no_session_says_what_to_use_and_shows_no_key(monkeypatch):
    def refuse(backend):
        raise RuntimeError(f"your plan has no sessions, {KEY}")

    monkeypatch.setenv("QISKIT_IBM_TOKEN", KEY)
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", IBMService)
    monkeypatch.setattr(qiskit_ibm_runtime, "Session", refuse)
    with pytest.raises(
        qh.ExecutionError, match="IBM opened no session .*no sessions, ….*use mode='job' or mode='batch'"
    ) as error:
        qh.ibm("ibm_manila", mode="session")
    assert KEY not in str(error.value)


@pytest.mark.filterwarnings("ignore:The SamplerV2 class is deprecated")
@pytest.mark.parametrize("wrong", ({"options": {"no_such": 1}}, {"retries": -1}, {"job_log": "jobs.jsonl"}), ids=str)
def test_ibm_leaves_no_session_open_after_an_error(monkeypatch, wrong, tmp_path):
    """An open session is paid for."""
    opened = []

    class Watched(qiskit_ibm_runtime.Session):
        def __init__(self, backend):
            super().__init__(backend=backend)
            opened.append(self)

        def close(self):
            super().close()
            opened.remove(self)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", IBMService)
    monkeypatch.setattr(qiskit_ibm_runtime, "Session", Watched)
    with pytest.raises(ValueError):
        qh.ibm("ibm_manila", mode="session", **wrong)
    assert not opened


def test_ibm_without_a_key_says_what_to_set(monkeypatch, tmp_path):
    accounts = "qiskit_ibm_runtime.accounts.management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE"
    monkeypatch.setattr(accounts, str(tmp_path / "none.json"))
    with pytest.raises(qh.ExecutionError, match="set QISKIT_IBM_TOKEN, or .*save_account.*. Use 'ion_trap'"):
        qh.ibm()


def test_ibm_out_of_reach_says_so_and_shows_no_key(monkeypatch):
    """The real client, behind a proxy that is not there: nothing leaves this machine."""
    monkeypatch.setenv("QISKIT_IBM_TOKEN", KEY)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(
        qh.ExecutionError, match="IBM's service did not work .*Check QISKIT_IBM_TOKEN.*network"
    ) as error:
        qh.ibm()
    assert KEY not in str(error.value)


def test_a_key_in_the_clients_own_error_is_hidden(monkeypatch):
    def refuse():
        raise RuntimeError(f"cannot sign in as {KEY}")

    monkeypatch.setenv("QISKIT_IBM_TOKEN", KEY)
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", refuse)
    with pytest.raises(qh.ExecutionError, match="RuntimeError: cannot sign in as …") as error:
        qh.ibm()
    assert KEY not in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__  # or a traceback would show the key


def test_ibm_refuses_an_unknown_device_and_more_qubits_than_there_are(monkeypatch):
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", IBMService)
    with pytest.raises(ValueError, match="name must be a device of IBM .*least busy one; got 'ibm_nowhere'"):
        qh.ibm("ibm_nowhere")
    with pytest.raises(
        qh.ExecutionError, match="IBM has no device in operation with 6 qubits or more for your key. .*'ion_trap'"
    ):
        qh.ibm(min_qubits=6)


@pytest.mark.parametrize("make", (qh.ibm, qh.ionq))
def test_shots_are_checked_before_anyone_is_asked(make):
    with pytest.raises(ValueError, match="shots must be an integer ≥ 1; got 0"):
        make(shots=0)


# --- IonQ ---


class IonQService(ThreadingHTTPServer):
    """A substitute for IonQ's service: takes jobs as its client sends them, and computes what they measure."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), IonQAnswers)
        self.qubits = {"simulator": 29, "qpu.forte-1": 36}
        self.jobs, self.key, self.failing, self.refusing = {}, KEY, False, False
        self.rng = np.random.default_rng(11)

    def probabilities(self, gates, job):
        """{outcome, qubit 0 its lowest bit: probability}; where there is noise, frequencies in the shots."""
        circuit = QuantumCircuit(job["input"]["qubits"])
        for gate in gates:
            name = {"xx": "rxx"}.get(gate["gate"], gate["gate"])
            getattr(circuit, name)(*([gate["rotation"]] if "rotation" in gate else []), *gate["targets"])
        p = Statevector(circuit).probabilities()
        if job.get("noise", {}).get("model") != "ideal":
            p = self.rng.multinomial(job["shots"], p / p.sum()) / job["shots"]
        return {str(outcome): x for outcome, x in enumerate(p) if x > 0}

    def answer(self, method, path, job):
        match method, *path.strip("/").split("/")[1:]:
            case "GET", "backends", name if name in self.qubits:
                return 200, {"backend": name, "status": "available", "qubits": self.qubits[name]}
            case "POST", "jobs" if self.refusing:
                return 400, {"statusCode": 400, "error": "Bad Request", "message": "too many shots"}
            case "POST", "jobs":
                name = f"job-{len(self.jobs)}"
                self.jobs[name] = job
                return 200, {"id": name, "status": "submitted"}
            case "GET", "jobs", name if self.failing:
                return 200, {"id": name, "status": "failed", "failure": {"code": "Boom", "error": "the trap is empty"}}
            case "GET", "jobs", name:
                return 200, self.status(name)
            case "GET", "jobs", name, "results", "probabilities":
                job = self.jobs[name]
                many = job["input"].get("circuits")
                if many is None:
                    return 200, self.probabilities(job["input"]["circuit"], job)
                return 200, {f"{name}-{i}": self.probabilities(each["circuit"], job) for i, each in enumerate(many)}
            case "GET", "whoami":
                return 200, {}
        return 404, {"statusCode": 404, "error": "Not Found", "message": "no such thing"}

    def status(self, name):
        job = self.jobs[name]
        many = job["input"].get("circuits")
        return {
            "id": name,
            "status": "completed",
            "type": job["type"],
            "metadata": job["metadata"],
            "stats": {"qubits": job["input"]["qubits"], "circuits": len(many or [1])},
            "execution_duration_ms": 1,
            "results": {"probabilities": {"url": f"/v0.4/jobs/{name}/results/probabilities"}},
        } | ({"child_job_ids": [f"{name}-{i}" for i in range(len(many))]} if many else {})


class IonQAnswers(BaseHTTPRequestHandler):
    def respond(self):
        job = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        code, answer = self.server.answer(self.command, self.path, job)
        if "backends" not in self.path and self.headers["Authorization"] != f"apiKey {self.server.key}":
            code, answer = 401, {"statusCode": 401, "error": "Unauthorized", "message": "Invalid key provided"}
        blob = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(blob)))
        self.end_headers()
        self.wfile.write(blob)

    do_GET = do_POST = respond

    def log_message(self, *_):
        pass


@pytest.fixture
def service(monkeypatch):
    """IonQ's service on this machine, with a key for it in the environment."""
    pytest.importorskip("qiskit_ionq")
    server = IonQService()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("IONQ_API_URL", f"http://127.0.0.1:{server.server_port}/v0.4")
    monkeypatch.setenv("IONQ_API_KEY", KEY)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def closed_port():
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize(
    "given", ({}, {"name": "simulator"}, {"noise_model": "forte-1"}, {"name": "qpu.forte-1"}), ids=str
)
def test_ionq_measures_many_circuits_in_one_job_and_in_the_right_order(service, given):
    runner = prepared(qh.ionq(shots=4000, **given), lopsided())
    rng, expected = np.random.default_rng(0), born(lopsided(), ANGLES)
    measured = runner.probabilities(ANGLES, rng)
    assert len(service.jobs) == 1
    np.testing.assert_allclose(measured.sum(1), 1)
    assert (abs(measured - expected).sum(1) / 2).max() < 0.05
    alone = runner.probabilities(ANGLES[:1], rng)
    assert len(service.jobs) == 2
    assert (abs(alone - expected[:1]).sum(1) / 2).max() < 0.05
    assert (alone != measured[:1]).any()  # fresh shots


@pytest.mark.parametrize("qubit", range(3))
def test_x_on_one_qubit_of_three_sets_its_bit_at_ionq(service, qubit):
    circuit = QuantumCircuit(3)
    circuit.x(qubit)
    assert ones(qh.ionq(), circuit, 20).tolist() == [float(q == qubit) for q in range(3)]


def test_more_than_eight_bits_of_ionqs_keep_their_order(service):
    circuit = QuantumCircuit(11)
    circuit.x([1, 10])
    assert ones(qh.ionq(), circuit, 20).tolist() == [float(q in (1, 10)) for q in range(11)]


def test_ionq_is_asked_for_the_shots_the_device_and_the_noise(service):
    circuit = lopsided()
    prepared(qh.ionq(shots=300, noise_model="forte-1"), circuit).probabilities(ANGLES[:1], np.random.default_rng(0))
    prepared(qh.ionq("ionq_qpu.forte-1", 400), circuit).sample(ANGLES[0], 70, np.random.default_rng(0))
    simulated, real = service.jobs.values()
    assert (simulated["backend"], simulated["shots"], simulated["noise"]["model"]) == ("simulator", 300, "forte-1")
    assert (real["backend"], real["shots"]) == ("qpu.forte-1", 70)
    assert "noise" not in real
    assert [gate["gate"] for gate in real["input"]["circuit"]].count("xx") == 2  # as it was, not taken apart


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({}, "2,000 shots by qaan_helpers.IonQSampler on ionq_simulator"),
        ({"noise_model": "forte-1"}, "2,000 shots by qaan_helpers.IonQSampler on ionq_simulator with forte-1's noise"),
        ({"name": "qpu.forte-1"}, "2,000 shots by qaan_helpers.IonQSampler on ionq_qpu.forte-1"),
    ],
)
def test_ionq_says_where_it_ran(service, given, label):
    assert str(qh.ionq(**given)) == label


def test_ionqs_own_warnings_pass_except_the_advice_that_is_followed(service, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        qh.ionq(shots=5)
    from qiskit_ionq import ionq_backend

    def no_answer(name):
        warnings.warn(f"no answer for {name}", stacklevel=2)
        return 29

    monkeypatch.setattr(ionq_backend, "get_n_qubits", no_answer)
    with pytest.warns(UserWarning, match="no answer for") as caught:
        qh.ionq(shots=5)
    assert "no answer for ionq_simulator" in [str(warning.message) for warning in caught]


def test_a_born_machine_is_fitted_at_ionq(service):
    qcbm = qh.QCBM(qh.qcbm_ansatz(2, 1, "none", warm_start=False), execution=qh.ionq(shots=500), seed=0)
    fitted = qcbm.fit(np.array([[1, 0]] * 20, dtype=np.uint8), max_evaluations=60)
    assert fitted.n_evaluations == len(service.jobs) <= 60
    assert qcbm.probabilities()[1] > 0.9  # qubit 0 is the lowest bit
    assert fitted.costs[0] > 1 > 0.2 > fitted.best_cost


@pytest.mark.parametrize("counts", ({"01": 3, "10": 5}, {"01": 1, "10": 2, "11": 4}, {"00": 1}))
def test_rounding_never_changes_the_number_of_outcomes(counts):
    outcomes = ionq._expand_counts(counts, 1000)
    expected = np.array(list(counts.values())) * 1000 / sum(counts.values())
    assert len(outcomes) == 1000
    assert abs(np.bincount(outcomes, minlength=4)[[int(key, 2) for key in counts]] - expected).max() < 0.5


def test_ionqs_failed_job_is_sent_again_and_then_reported(service):
    service.failing = True
    runner = prepared(qh.ionq(shots=10, retries=1), lopsided())
    with pytest.raises(qh.ExecutionError, match="failed .*2, .*Boom: the trap is empty") as error:
        runner.probabilities(ANGLES, np.random.default_rng(0))
    assert len(service.jobs) == 2
    assert KEY not in str(error.value)


def test_what_ionq_refuses_is_asked_once(service):
    runner = prepared(qh.ionq(shots=10), lopsided())
    service.refusing = True
    with pytest.raises(qh.ExecutionError, match="refused the circuit: HTTP 400: too many shots$"):
        runner.probabilities(ANGLES, np.random.default_rng(0))
    assert not service.jobs


def test_ionq_gone_in_the_middle_is_reported_after_the_last_try(service, monkeypatch):
    how = qh.ionq(shots=10, retries=1)
    runner = prepared(how, lopsided())
    monkeypatch.setattr(how.sampler._backend.client, "_url", f"http://127.0.0.1:{closed_port()}/v0.4")
    with pytest.raises(qh.ExecutionError, match="failed .*2, .*ConnectionError") as error:
        runner.probabilities(ANGLES, np.random.default_rng(0))
    assert KEY not in str(error.value)


def test_ionq_waits_no_longer_than_the_timeout_and_cancels(service, monkeypatch):
    cancelled, status = [], IonQService.status
    runner = prepared(qh.ionq(shots=10, timeout=0.2, retries=0), lopsided())
    done = time.monotonic() + 5
    waiting = {"id": "job-0", "status": "ready"}
    monkeypatch.setattr(IonQService, "status", lambda *job: status(*job) if time.monotonic() > done else waiting)
    monkeypatch.setattr(ionq.IonQSamplerJob, "cancel", lambda job: cancelled.append(job))
    with pytest.raises(qh.ExecutionError, match="no result within 0.2 seconds"):
        runner.probabilities(ANGLES, np.random.default_rng(0))
    assert len(cancelled) == 1


def test_ionq_without_a_key_says_what_to_set(service, monkeypatch):
    monkeypatch.delenv("IONQ_API_KEY")
    with pytest.raises(qh.ExecutionError, match="set IONQ_API_KEY. Use 'ion_trap' or 'FakeTorino'"):
        qh.ionq()


def test_ionqs_other_name_of_the_key_serves_too(service, monkeypatch):
    monkeypatch.delenv("IONQ_API_KEY")
    monkeypatch.setenv("IONQ_API_TOKEN", KEY)
    assert qh.ionq(shots=5).shots == 5


def test_a_wrong_key_is_reported_at_once(service):
    service.key = "another"
    with pytest.raises(qh.ExecutionError, match="IonQ's service refuses the key. Check IONQ_API_KEY") as error:
        qh.ionq()
    assert KEY not in str(error.value)


def test_ionq_out_of_reach_is_reported_at_once(service, monkeypatch):
    monkeypatch.setenv("IONQ_API_URL", f"http://127.0.0.1:{closed_port()}/v0.4")
    with pytest.raises(qh.ExecutionError, match=r"IonQ's service at http://127.0.0.1:\d+/v0.4 does not answer"):
        qh.ionq()


def test_ionq_refuses_an_unknown_device_and_a_noise_model_for_a_real_one(service):
    with pytest.raises(
        ValueError, match="name must be a device of IonQ, such as 'ionq_simulator' or 'qpu.forte-1'; got 'qpu.foo'"
    ):
        qh.ionq("qpu.foo")
    with pytest.raises(ValueError, match="noise_model must be None for 'qpu.forte-1', a device .*; got 'aria-1'"):
        qh.ionq("qpu.forte-1", noise_model="aria-1")


def test_a_circuit_too_wide_for_ionqs_device_is_refused(service):
    service.qubits["simulator"] = 2
    with pytest.raises(ValueError, match="ionq_simulator has 2 qubits and the circuit has 3"):
        prepared(qh.ionq(), lopsided())
