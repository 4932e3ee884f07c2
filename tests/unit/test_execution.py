"""Every way to run a circuit against Qiskit's own state vector: bit order, randomness, one transpilation, failures."""

import contextlib
import warnings
from functools import cache
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import BackendSamplerV2, StatevectorSampler
from qiskit.primitives.containers import BitArray, DataBin
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Statevector
from qiskit.transpiler import CouplingMap, PassManager, StagedPassManager, generate_preset_pass_manager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import SamplerV2
from qiskit_ibm_runtime import Batch, IBMRuntimeError, Session
from qiskit_ibm_runtime import Sampler as RuntimeSampler  # SamplerV2's lasting name
from qiskit_ibm_runtime.fake_provider import FakeJakartaV2, FakeManilaV2

import qaan_helpers as qh
from qaan_helpers.checks import ExecutionError
from qaan_helpers.quantum import execution

SHOTS = 4000
EVERY_SIZE = pytest.mark.parametrize("n_qubits", range(1, 7))
EVERY_ENTANGLEMENT = pytest.mark.parametrize("entanglement", ("full", "linear", "none"))


def line():
    """An ideal device of six qubits on a line, without RX or RXX: circuits are translated and routed."""
    return GenericBackendV2(6, ["sx", "rz", "cx"], coupling_map=CouplingMap.from_line(6), noise_info=False, seed=0)


class SortedSampler:
    """A SamplerV2 that hands its shots over sorted by outcome, as some devices' services do."""

    def __init__(self):
        self._sampler = StatevectorSampler(seed=np.random.default_rng(5))

    def run(self, pubs, shots):
        result = self._sampler.run(pubs, shots=shots).result()
        rows = result[0].data.meas.to_bool_array(order="big")
        order = np.lexsort(np.moveaxis(rows, -1, 0)[::-1], axis=-1)
        meas = BitArray.from_bool_array(np.take_along_axis(rows, order[..., None], axis=-2), order="big")
        return SimpleNamespace(result=lambda: [SimpleNamespace(data=DataBin(meas=meas, shape=meas.shape))])


def statevector_sampler():
    return StatevectorSampler(seed=np.random.default_rng(7))  # a generator moves on; an integer would not


MEASURED = {
    "Shots": lambda: qh.Shots(SHOTS),
    "Shots on a device": lambda: qh.Shots(SHOTS, backend=line()),
    "Shots on your simulator": lambda: qh.Shots(SHOTS, backend=AerSimulator(method="matrix_product_state")),
    "StatevectorSampler": lambda: qh.Primitive(statevector_sampler(), SHOTS),
    "SamplerV2 of Aer": lambda: qh.Primitive(SamplerV2(), SHOTS),
    "BackendSamplerV2": lambda: qh.Primitive(BackendSamplerV2(backend=line()), SHOTS),
    "a sampler that sorts": lambda: qh.Primitive(SortedSampler(), SHOTS),
}
EVERY_PATH = pytest.mark.parametrize("how", ["Exact", *MEASURED])
EVERY_MEASURED_PATH = pytest.mark.parametrize("how", MEASURED)
pytestmark = [
    pytest.mark.filterwarnings("ignore:Qiskit backend .* has no QubitProperties"),
    pytest.mark.filterwarnings("ignore:The SamplerV2 class is deprecated"),  # its name stays, the class behind changes
    pytest.mark.filterwarnings("ignore:Options .* have no effect in local testing mode"),
]


def prepared(how, circuit):
    """The runner of `circuit` for one of the ways above."""
    return ({"Exact": qh.Exact} | MEASURED)[how]().prepare(circuit, list(circuit.parameters))


def random_angles(circuit, rows, seed=0):
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (rows, circuit.num_parameters))


def born(circuit, angles):
    """The reference: |amplitude|² of each row of angles, from Qiskit's Statevector."""
    return np.stack([Statevector(circuit.assign_parameters(row)).probabilities() for row in angles])


def apart(frequencies, expected):
    """Half the sum of |differences| in each row: (B,)."""
    return abs(frequencies - expected).sum(1) / 2


def agree(frequencies, expected, shots, noise=0.0):
    """No row is further apart than noise and what chance exceeds once in a million (McDiarmid's bound)."""
    assert frequencies.shape == expected.shape
    np.testing.assert_allclose(frequencies.sum(1), 1)
    limit = (np.sqrt(expected.shape[1]) / 2 + np.sqrt(np.log(1e6) / 2)) / np.sqrt(shots)
    assert apart(frequencies, expected).max() < limit + noise


def counts(bits):
    return np.bincount(qh.to_index(bits), minlength=1 << bits.shape[1])


def in_random_order(bits):
    """Wald and Wolfowitz: how often a column changes from row to row. Sorted shots change hardly ever."""
    for column in bits.T.astype(int):
        ones, zeros = column.sum(), (1 - column).sum()
        runs = 1 + (column[1:] != column[:-1]).sum()
        mean = 1 + 2 * ones * zeros / len(column)
        deviation = np.sqrt((mean - 1) * (mean - 2) / (len(column) - 1))
        if abs(runs - mean) >= 5 * deviation:
            return False
    return True


# --- Born probabilities of random angles ---


@EVERY_ENTANGLEMENT
@EVERY_SIZE
def test_exact_probabilities_one_by_one_and_batched(n_qubits, entanglement):
    circuit = qh.qcbm_ansatz(n_qubits, 2, entanglement)
    angles = random_angles(circuit, 5)
    expected, runner = born(circuit, angles), prepared("Exact", circuit)
    np.testing.assert_allclose(runner.probabilities(angles), expected, atol=1e-12)
    for row, p in zip(angles, expected, strict=True):
        np.testing.assert_allclose(runner.probabilities(row[None])[0], p, atol=1e-12)


@EVERY_ENTANGLEMENT
@EVERY_SIZE
def test_shots_one_by_one_and_batched(n_qubits, entanglement):
    circuit = qh.qcbm_ansatz(n_qubits, 2, entanglement)
    angles = random_angles(circuit, 3)
    expected, runner = born(circuit, angles), prepared("Shots", circuit)
    rng = np.random.default_rng(n_qubits)
    agree(runner.probabilities(angles, rng), expected, SHOTS)
    agree(runner.probabilities(angles[:1], rng), expected[:1], SHOTS)


@EVERY_MEASURED_PATH
@pytest.mark.parametrize(("n_qubits", "entanglement"), [(1, "none"), (2, "linear"), (5, "full")])
def test_other_measured_paths(how, n_qubits, entanglement):
    circuit = qh.qcbm_ansatz(n_qubits, 2, entanglement)
    angles = random_angles(circuit, 3, seed=1)
    agree(prepared(how, circuit).probabilities(angles, np.random.default_rng(2)), born(circuit, angles), SHOTS)


@EVERY_PATH
def test_samples_follow_the_born_distribution(how):
    circuit = qh.qcbm_ansatz(4, 2)
    angles = random_angles(circuit, 1, seed=2)
    bits = prepared(how, circuit).sample(angles[0], 3000, np.random.default_rng(2))
    assert bits.shape == (3000, 4) and bits.dtype == np.uint8
    agree(counts(bits)[None] / 3000, born(circuit, angles), 3000)


def test_many_rows_run_in_chunks_that_fit_into_memory(monkeypatch):
    monkeypatch.setattr(execution, "CHUNK_BYTES", 3 * 8 * 2**3)  # three rows of three qubits
    circuit = qh.qcbm_ansatz(3, 1)
    angles = random_angles(circuit, 7)
    calls = []
    run = execution.ExactRunner._run
    monkeypatch.setattr(execution.ExactRunner, "_run", lambda *args: calls.append(len(args[1])) or run(*args))
    np.testing.assert_allclose(prepared("Exact", circuit).probabilities(angles), born(circuit, angles), atol=1e-12)
    assert calls == [3, 3, 1]


def test_columns_that_a_circuit_does_not_use_are_passed_over():
    circuit, others = qh.qcbm_ansatz(3, 1), [Parameter("x"), Parameter("y")]
    angles = random_angles(circuit, 2)
    runner = qh.Exact().prepare(circuit, [others[0], *circuit.parameters, others[1]])
    probabilities = runner.probabilities(np.hstack([np.full((2, 1), 9.0), angles, np.full((2, 1), 7.0)]))
    np.testing.assert_allclose(probabilities, born(circuit, angles), atol=1e-12)


def test_a_free_phase_of_the_whole_changes_nothing():
    circuit, a = QuantumCircuit(1, global_phase=Parameter("b")), Parameter("a")
    circuit.rx(a, 0)
    angles = random_angles(circuit, 3)
    np.testing.assert_allclose(prepared("Exact", circuit).probabilities(angles), born(circuit, angles), atol=1e-12)


@EVERY_PATH
def test_only_the_states_asked_for_in_the_order_asked(how):
    """A state that is never measured has frequency 0, not its neighbour's."""
    circuit = qh.qcbm_ansatz(3, 1, warm_start=False)
    angles = np.zeros((2, circuit.num_parameters))
    angles[:, 0] = np.pi / 2  # RX on qubit 0: states 0 and 1, half and half
    probabilities = prepared(how, circuit).probabilities(angles, np.random.default_rng(0), np.array([7, 1, 2, 0]))
    np.testing.assert_allclose(probabilities, [[0, 0.5, 0, 0.5]] * 2, atol=0.04)
    assert probabilities[0, 0] == pytest.approx(0, abs=1e-12)


@EVERY_PATH
def test_columns_of_angles_follow_the_parameters_given(how):
    """The list may be in another order than the circuit's own, and hold parameters that it does not use."""
    a, b, unused = Parameter("a"), Parameter("b"), Parameter("unused")
    circuit = QuantumCircuit(2)
    circuit.rx(a, 0)
    circuit.rx(b, 1)
    runner = ({"Exact": qh.Exact} | MEASURED)[how]().prepare(circuit, [b, unused, a])
    probabilities = runner.probabilities(np.array([[np.pi, 1.0, 0.0]]), np.random.default_rng(0))
    np.testing.assert_allclose(probabilities, [[0, 0, 1, 0]], atol=1e-12)  # b turns qubit 1: index 2


# --- bit order ---


@EVERY_PATH
@pytest.mark.parametrize("qubit", range(3))
def test_x_on_one_qubit_sets_its_column_and_its_state(how, qubit):
    theta = Parameter("θ")
    circuit = QuantumCircuit(3)
    circuit.rx(theta, qubit)
    runner, rng, angles = prepared(how, circuit), np.random.default_rng(0), np.array([[np.pi]])
    np.testing.assert_allclose(runner.probabilities(angles, rng), np.eye(8)[[1 << qubit]], atol=1e-12)
    np.testing.assert_array_equal(runner.sample(angles[0], 20, rng), np.eye(3)[[qubit] * 20])


# --- randomness ---


@EVERY_PATH
def test_samples_are_in_random_order(how):
    circuit = qh.qcbm_ansatz(3, 2)
    bits = prepared(how, circuit).sample(random_angles(circuit, 1)[0], 2000, np.random.default_rng(1))
    assert in_random_order(bits)


@EVERY_PATH
def test_two_calls_share_no_shots(how):
    """Counts, not rows, are compared: shuffling the same shots would not help."""
    circuit = qh.qcbm_ansatz(4, 2)
    runner, rng, angles = prepared(how, circuit), np.random.default_rng(3), random_angles(circuit, 1)
    assert (counts(runner.sample(angles[0], SHOTS, rng)) != counts(runner.sample(angles[0], SHOTS, rng))).any()
    if how != "Exact":
        assert (runner.probabilities(angles, rng) != runner.probabilities(angles, rng)).any()


@EVERY_MEASURED_PATH
def test_rows_of_one_batch_share_no_shots(how):
    circuit = qh.qcbm_ansatz(4, 2)
    angles = np.repeat(random_angles(circuit, 1), 4, axis=0)
    rows = prepared(how, circuit).probabilities(angles, np.random.default_rng(3))
    assert len(np.unique(rows, axis=0)) == 4


@pytest.mark.parametrize("how", ["Exact", "Shots", "Shots on a device", "Shots on your simulator"])
def test_same_seed_same_samples(how):
    circuit = qh.qcbm_ansatz(4, 2)
    angles = random_angles(circuit, 3)

    def draw(seed):
        runner, rng = prepared(how, circuit), np.random.default_rng(seed)
        return runner.probabilities(angles, rng), runner.sample(angles[0], 500, rng)

    for first, again in zip(draw(4), draw(4), strict=True):
        np.testing.assert_array_equal(first, again)
    assert (draw(4)[1] != draw(5)[1]).any()


# --- noise ---


def test_readout_noise_reaches_the_probabilities():
    noise = NoiseModel()
    noise.add_all_qubit_readout_error([[0.9, 0.1], [0.2, 0.8]])
    confusion = np.array([[0.9, 0.2], [0.1, 0.8]])
    circuit = qh.qcbm_ansatz(2, 2)
    angles = random_angles(circuit, 3)
    runner = qh.Shots(SHOTS, noise_model=noise).prepare(circuit, list(circuit.parameters))
    expected = born(circuit, angles) @ np.kron(confusion, confusion).T
    agree(runner.probabilities(angles, np.random.default_rng(0)), expected, SHOTS)


def test_gate_noise_reaches_every_row_with_its_own_angle():
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.3, 1), ["rx"])
    circuit, angles = qh.qcbm_ansatz(1, 1, warm_start=False), np.array([[0.3, 0.0], [2.5, 0.0]])
    runner = qh.Shots(SHOTS, noise_model=noise).prepare(circuit, list(circuit.parameters))
    expected = 0.7 * born(circuit, angles) + 0.3 / 2
    agree(runner.probabilities(angles, np.random.default_rng(0)), expected, SHOTS)


def test_a_device_brings_its_own_noise():
    circuit, device = qh.qcbm_ansatz(2, 1, warm_start=False), GenericBackendV2(2, seed=1)
    noisy = qh.Shots(SHOTS, backend=device).prepare(circuit, list(circuit.parameters))
    frequencies = noisy.probabilities(np.zeros((1, circuit.num_parameters)), np.random.default_rng(0))[0]
    assert 0 < frequencies[1:].sum() < 0.2  # an ideal one would say 0 every time


# --- one transpilation ---


@EVERY_PATH
def test_the_circuit_is_transpiled_once_however_often_it_runs(how, monkeypatch):
    calls = []
    for manager in (PassManager, StagedPassManager):
        run = manager.run
        spy = lambda self, *args, _run=run, **kw: calls.append(args) or _run(self, *args, **kw)  # noqa: E731
        monkeypatch.setattr(manager, "run", spy)
    circuit = qh.qcbm_ansatz(3, 1)
    runner, rng = prepared(how, circuit), np.random.default_rng(0)
    at_first = len(calls)
    assert at_first or how in ("StatevectorSampler", "SamplerV2 of Aer", "a sampler that sorts")  # these run anything
    for row in random_angles(circuit, 5):
        runner.probabilities(row[None], rng)
        runner.sample(row, 10, rng)
    assert len(calls) == at_first


def test_a_pass_manager_of_your_own_makes_the_circuit_ready_once():
    ran, given = [], []

    class Manager:
        def run(self, circuit):
            ran.append(circuit)
            return circuit.copy(name="made ready")

    class Sampler(SortedSampler):
        def run(self, pubs, shots):
            given.append((pubs[0][0].name, shots))
            return super().run(pubs, shots)

    circuit = qh.qcbm_ansatz(2, 1)
    runner = qh.Primitive(Sampler(), 10, pass_manager=Manager()).prepare(circuit, list(circuit.parameters))
    for _ in range(3):
        runner.probabilities(random_angles(circuit, 2), np.random.default_rng(0))
    runner.sample(random_angles(circuit, 1)[0], 25, np.random.default_rng(0))
    assert len(ran) == 1 and ran[0].num_clbits == 2
    assert given == [("made ready", 10)] * 3 + [("made ready", 25)]


@pytest.mark.parametrize("as_method", (True, False))
def test_the_circuit_is_fitted_to_the_device_of_the_sampler(as_method):
    """`backend` is a property of Qiskit's samplers and a method of IBM Runtime's."""
    given = []

    class Sampler(SortedSampler):
        def run(self, pubs, shots):
            given.append(pubs[0][0])
            return super().run(pubs, shots)

    sampler, device = Sampler(), line()
    sampler.backend = (lambda: device) if as_method else device
    circuit = qh.qcbm_ansatz(4, 1)
    angles = random_angles(circuit, 2)
    runner = qh.Primitive(sampler, SHOTS).prepare(circuit, list(circuit.parameters))
    agree(runner.probabilities(angles, np.random.default_rng(0)), born(circuit, angles), SHOTS)
    assert given[0].num_qubits == 6
    assert set(given[0].count_ops()) <= {"sx", "rz", "cx", "measure", "barrier"}


# --- provenance labels ---


@pytest.mark.parametrize(
    ("execution", "label"),
    [
        (qh.Exact(), "exact amplitudes on Aer"),
        (qh.Shots(2000), "2,000 shots on Aer"),
        (qh.Shots(500, noise_model=NoiseModel()), "500 shots on Aer, with noise"),
        (qh.Shots(500, noise_model=qh.ion_trap_noise()), "500 shots on Aer, with an ion trap's noise"),
        (
            qh.Shots(9, backend=AerSimulator(noise_model=qh.ion_trap_noise(readout_error=0))),
            "9 shots on Aer, with an ion trap's noise in gates on one qubit and gates on two",
        ),
        (qh.Shots(500, backend=AerSimulator()), "500 shots on Aer"),
        (qh.Shots(500, backend=GenericBackendV2(2)), "500 shots on Aer as generic_backend_2q, with noise"),
        (qh.Shots(500, backend=line()), "500 shots on Aer as generic_backend_6q"),
        (qh.Shots(500, backend=FakeManilaV2()), "500 shots on Aer as fake_manila, with noise"),
        (qh.Shots(9, backend=AerSimulator.from_backend(FakeManilaV2())), "9 shots on Aer as fake_manila, with noise"),
        (qh.Primitive(SamplerV2(), 100), "100 shots by qiskit_aer.SamplerV2"),
        (qh.Primitive(StatevectorSampler()), "2,000 shots by qiskit.StatevectorSampler"),
        (
            qh.Primitive(BackendSamplerV2(backend=FakeManilaV2())),
            "2,000 shots by qiskit.BackendSamplerV2 on fake_manila",
        ),
    ],
)
def test_says_how_it_ran(execution, label):
    assert str(execution) == label


# --- bad input ---


@pytest.mark.parametrize("shots", (0, -5, True, 2.0, "many", None))
def test_refuses_shots_that_are_not_a_positive_integer(shots):
    for make in (qh.Shots, lambda shots: qh.Primitive(StatevectorSampler(), shots)):
        with pytest.raises(ValueError, match=f"shots must be an integer in 1–10,000,000; got {shots!r}"):
            make(shots)


def test_refuses_what_is_not_a_sampler():
    with pytest.raises(ValueError, match="sampler must be a Qiskit SamplerV2 with a run method; got 'aer'"):
        qh.Primitive("aer")


def test_refuses_noise_that_is_not_a_noise_model():
    with pytest.raises(ValueError, match="noise_model must be a qiskit_aer NoiseModel.*; got <function ion_trap_noise"):
        qh.Shots(100, noise_model=qh.ion_trap_noise)


def test_refuses_two_sources_of_noise():
    with pytest.raises(ValueError, match="noise_model must be None if backend is an AerSimulator; got both"):
        qh.Shots(100, noise_model=NoiseModel(), backend=AerSimulator())


@pytest.mark.parametrize("how", (qh.Exact(), qh.Shots(10)))
def test_refuses_more_qubits_than_the_memory_holds(monkeypatch, how):
    monkeypatch.setattr(execution, "available_memory", lambda: 2 * 10**9)
    circuit = qh.qcbm_ansatz(26, 1, "none")
    with pytest.raises(
        ValueError, match="26 qubits need about 3 GiB .* 1.86 GiB are free; at most 25 qubits fit here. Use fewer"
    ):
        how.prepare(circuit, list(circuit.parameters))
    execution.check_memory(25)


def test_a_matrix_product_state_may_have_more_qubits_than_the_memory_holds():
    circuit, theta = QuantumCircuit(40), Parameter("θ")
    circuit.rx(theta, 30)
    circuit.cx(30, 31)
    how = qh.Shots(10, backend=AerSimulator(method="matrix_product_state"))
    runner = how.prepare(circuit, [theta])
    bits = runner.sample(np.array([np.pi]), 10, np.random.default_rng(0))
    assert bits.shape == (10, 40) and np.flatnonzero(bits.any(0)).tolist() == [30, 31] and bits[:, 30:32].all()
    with pytest.raises(ValueError, match="40 qubits need"):
        runner.probabilities(np.array([[np.pi]]), np.random.default_rng(0))


def test_a_device_may_have_more_qubits_than_the_memory_holds(monkeypatch):
    """Bits come back one by one; only a table of all 2ⁿ probabilities would be too large."""
    monkeypatch.setattr(execution, "available_memory", lambda: 10_000)
    circuit = qh.qcbm_ansatz(9, 1, "none")
    angles = random_angles(circuit, 1)
    runner = prepared("StatevectorSampler", circuit)
    assert runner.sample(angles[0], 10, np.random.default_rng(0)).shape == (10, 9)
    assert runner.probabilities(angles, np.random.default_rng(0), np.arange(4)).shape == (1, 4)
    with pytest.raises(ValueError, match="9 qubits need .* at most 7 qubits fit"):
        runner.probabilities(angles, np.random.default_rng(0))


@pytest.mark.parametrize(
    "names", [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")]
)
@pytest.mark.parametrize(("limit", "free"), [("3000000", 2_000_000), ("max", 5_000_000), (None, 5_000_000)])
def test_available_memory_heeds_the_container(monkeypatch, tmp_path, names, limit, free):
    if limit:
        (tmp_path / "memory").mkdir()
        for name, content in zip(names, (limit, "1000000"), strict=True):
            (tmp_path / name).write_text(f"{content}\n")
    monkeypatch.setattr(execution, "Path", lambda _: tmp_path)
    monkeypatch.setattr(execution.psutil, "virtual_memory", lambda: SimpleNamespace(available=5_000_000))
    assert execution.available_memory() == free


# --- every sampler that needs no network: its bits, its rows, its randomness, its device ---


SAMPLERS = {
    "SamplerV2 of Aer": SamplerV2,
    "StatevectorSampler": statevector_sampler,
    "BackendSamplerV2": lambda: BackendSamplerV2(
        backend=GenericBackendV2(5, coupling_map=CouplingMap.from_line(5), seed=0)
    ),
    "BackendSamplerV2 on a fake device": lambda: BackendSamplerV2(backend=FakeManilaV2()),
    "IBM's, local": lambda: RuntimeSampler(mode=FakeJakartaV2()),
}
with contextlib.suppress(ImportError):  # what IBM's Sampler is to become; not there yet in 0.47
    from qiskit_ibm_runtime.executor_sampler import Sampler as ExecutorSampler

    SAMPLERS["IBM's next, local"] = lambda: ExecutorSampler(mode=FakeManilaV2())
SHARES = np.array([[0.9, 0.1, 0.5, 0.2], [0.1, 0.9, 0.2, 0.5], [0.5, 0.2, 0.9, 0.1]])  # of ones, before the CX
NOISE = 0.2  # what the readout and gates of these devices may move


@cache
def lopsided():
    """A circuit of four qubits and rows of its angles: no two qubits and no two rows look alike."""
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(Parameter(f"θ{qubit}"), qubit)
    circuit.cx(0, 3)
    return circuit, 2 * np.arcsin(np.sqrt(SHARES))


@pytest.fixture(scope="module", params=SAMPLERS)
def tried(request):
    """One of the samplers with the lopsided circuit prepared, and a list of the circuits that it is sent."""
    sampler, sent = SAMPLERS[request.param](), []
    run = sampler.run
    sampler.run = lambda pubs, **options: sent.append(pubs[0][0]) or run(pubs, **options)
    circuit, _ = lopsided()
    runner = qh.Primitive(sampler, SHOTS).prepare(circuit, list(circuit.parameters))
    return SimpleNamespace(runner=runner, sent=sent, device=execution._backend_of(sampler))


def test_the_lopsided_circuit_tells_bit_orders_and_rows_apart():
    expected = born(*lopsided())
    turned_round = expected.reshape(3, 2, 2, 2, 2).transpose(0, 4, 3, 2, 1).reshape(3, 16)
    room = NOISE + 0.2
    assert apart(expected, turned_round).min() > room
    assert apart(expected, np.roll(expected, 1, axis=0)).min() > room


def test_every_sampler_gives_the_right_bits_in_the_right_rows(tried):
    circuit, angles = lopsided()
    expected, rng = born(circuit, angles), np.random.default_rng(0)
    agree(tried.runner.probabilities(angles, rng), expected, SHOTS, NOISE)
    few = np.array([9, 2, 0])  # states in any order
    np.testing.assert_allclose(tried.runner.probabilities(angles, rng, few), expected[:, few], atol=0.15)
    bits = tried.runner.sample(angles[1], SHOTS, rng)
    assert bits.shape == (SHOTS, 4) and bits.dtype == np.uint8
    agree(counts(bits)[None] / SHOTS, expected[1:2], SHOTS, NOISE)


def test_every_sampler_gives_fresh_shots_in_random_order(tried):
    angles, rng = lopsided()[1], np.random.default_rng(0)
    same = np.repeat(angles[2:], 3, axis=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "(?s).* returned the same shots twice")
        first, again = (tried.runner.probabilities(same, rng) for _ in range(2))
        bits = tried.runner.sample(angles[2], SHOTS, rng)
        more = tried.runner.sample(angles[2], SHOTS, rng)
    assert len(np.unique(np.vstack([first, again]), axis=0)) == 6
    assert (counts(bits) != counts(more)).any()
    assert in_random_order(bits)


def test_every_sampler_is_sent_one_and_the_same_circuit_of_its_device(tried, monkeypatch):
    monkeypatch.setattr(StagedPassManager, "run", lambda *_, **__: pytest.fail("transpiled again"))
    angles, rng = lopsided()[1], np.random.default_rng(0)
    tried.sent.clear()
    tried.runner.probabilities(angles, rng)
    tried.runner.sample(angles[0], 10, rng)
    assert len(tried.sent) == 2 and all(circuit is tried.runner.circuit for circuit in tried.sent)
    if tried.device is None:  # these run any gate
        assert tried.runner.circuit.count_ops() == {"ry": 4, "measure": 4, "cx": 1, "barrier": 1}
        return
    assert tried.runner.circuit.num_qubits == tried.device.num_qubits
    for step in tried.runner.circuit:
        wires = tuple(tried.runner.circuit.find_bit(qubit).index for qubit in step.qubits)
        assert step.name == "barrier" or tried.device.target.instruction_supported(step.name, wires), (step.name, wires)


def test_every_sampler_keeps_within_a_time_that_is_long_enough():
    """Their own jobs, not stand-ins, are asked whether they are done."""
    circuit, angles = lopsided()
    for name in ("StatevectorSampler", "IBM's, local"):
        runner = qh.Primitive(SAMPLERS[name](), 100, retries=0, timeout=60).prepare(circuit, list(circuit.parameters))
        assert [len(row) for row in runner.measure(angles, 100, None)] == [100] * 3


def ideal_line(n_qubits):
    return GenericBackendV2(
        n_qubits, ["sx", "rz", "cx"], coupling_map=CouplingMap.from_line(n_qubits), noise_info=False, seed=0
    )


WIDE = {
    "Shots": lambda n: qh.Shots(20, backend=AerSimulator()),
    "SamplerV2 of Aer": lambda n: qh.Primitive(SamplerV2(), 20),
    "StatevectorSampler": lambda n: qh.Primitive(statevector_sampler(), 20),
    "BackendSamplerV2": lambda n: qh.Primitive(BackendSamplerV2(backend=ideal_line(n)), 20),
    "IBM's, local": lambda n: qh.Primitive(RuntimeSampler(mode=ideal_line(n)), 20),
    "a sampler that sorts": lambda n: qh.Primitive(SortedSampler(), 20),
}


@pytest.mark.parametrize(
    ("n_qubits", "how"),
    [
        *product((8, 10), WIDE),
        *product((17,), ("Shots", "SamplerV2 of Aer", "IBM's, local")),
    ],  # the rest are slow there
)
def test_outcomes_of_one_two_and_three_octets(n_qubits, how):
    circuit = QuantumCircuit(n_qubits)
    for qubit in range(n_qubits):
        circuit.rx(Parameter(f"θ{qubit:02}"), qubit)
    ones = np.zeros((3, n_qubits))
    ones[0, [0, 3, n_qubits - 1]] = ones[1, 1] = ones[2, [2, n_qubits - 2]] = 1
    runner = WIDE[how](n_qubits).prepare(circuit, list(circuit.parameters))
    outcomes = np.stack(runner.measure(np.pi * ones, 20, np.random.default_rng(0)))
    np.testing.assert_array_equal(
        outcomes, [[1 + 8 + (1 << n_qubits - 1)] * 20, [2] * 20, [4 + (1 << n_qubits - 2)] * 20]
    )
    bits = runner.sample(np.pi * ones[0], 20, np.random.default_rng(0))
    np.testing.assert_array_equal(bits, np.tile(ones[0], (20, 1)))


def test_sixteen_qubits_where_aer_fuses_gates():
    circuit = qh.qcbm_ansatz(16, 1, "linear")
    angles = np.random.default_rng(3).normal(0, 1, (2, circuit.num_parameters))
    probabilities = qh.Exact().prepare(circuit, list(circuit.parameters)).probabilities(angles)
    expected = [Statevector(circuit.assign_parameters(row)).probabilities() for row in angles]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-8, atol=1e-14)


# --- shots sampled from exact probabilities ---


def test_multinomial_shots_scatter_as_aers_own():
    circuit = qh.qcbm_ansatz(3, 1)
    angles, parameters = np.random.default_rng(1).normal(0, 1, (1, circuit.num_parameters)), list(circuit.parameters)
    p = qh.Exact().prepare(circuit, parameters).probabilities(angles)[0]
    for shots in (qh.Shots(400), qh.Shots(400, backend=AerSimulator())):
        runner, rng = shots.prepare(circuit, parameters), np.random.default_rng(2)
        counts = 400 * np.vstack([runner.probabilities(angles, rng) for _ in range(300)])
        assert np.allclose(counts, counts.round()) and (counts.sum(1).round() == 400).all()
        assert np.allclose(counts.mean(0), 400 * p, atol=5 * np.sqrt(400 * p / 300).max())
        scatter = np.cov(counts.T) / 400  # of a multinomial: p on the diagonal, less p pᵀ
        assert np.allclose(scatter, np.diag(p) - np.outer(p, p), atol=0.05)


@pytest.mark.parametrize(
    ("execution", "n_qubits", "runner"),
    [
        (qh.Shots(10), 2, "MultinomialRunner"),
        (qh.Shots(10), 20, "MultinomialRunner"),
        (qh.Shots(10), 21, "ShotRunner"),
        (qh.Shots(10, noise_model=qh.ion_trap_noise()), 2, "ShotRunner"),
        (qh.Shots(10, backend=AerSimulator()), 2, "ShotRunner"),
    ],
)
def test_aer_measures_where_there_is_noise_or_too_much_to_list(execution, n_qubits, runner):
    circuit = qh.qcbm_ansatz(n_qubits, 1, "none")
    assert type(execution.prepare(circuit, list(circuit.parameters))).__name__ == runner


# --- circuits that are sent ---


@pytest.mark.parametrize(
    "how",
    [
        lambda device: qh.Shots(100, backend=device),
        lambda device: qh.Primitive(BackendSamplerV2(backend=device), 100),
        lambda device: qh.Primitive(RuntimeSampler(mode=device), 100),
    ],
)
def test_a_line_of_qubits_costs_more_two_qubit_gates_than_the_circuit_names(how):
    circuit = qh.qcbm_ansatz(5, 1)
    sent = how(ideal_line(5)).prepare(circuit, list(circuit.parameters)).circuit
    pairs = {tuple(sorted(sent.find_bit(q).index for q in step.qubits)) for step in sent if step.name == "cx"}
    assert pairs <= {(i, i + 1) for i in range(4)}
    translated = 2 * circuit.num_nonlocal_gates()  # two CX an RXX, were every pair wired
    assert circuit.num_nonlocal_gates() == 10 and sent.count_ops()["cx"] > translated
    assert set(sent.count_ops()) == {"sx", "rz", "cx", "measure", "barrier"}
    plain = generate_preset_pass_manager(1, backend=ideal_line(5), seed_transpiler=0).run(circuit)
    assert sent.count_ops()["cx"] < plain.count_ops()["cx"]  # a better place for each qubit was looked for
    assert how(ideal_line(5)).prepare(circuit, list(circuit.parameters)).circuit == sent  # the layout is reproducible


def test_circuits_where_everything_is_wired_have_no_more_two_qubit_gates():
    circuit = qh.qcbm_ansatz(5, 1)
    for how in (qh.Exact(), qh.Shots(100), qh.Primitive(SamplerV2(), 100)):
        sent = how.prepare(circuit, list(circuit.parameters)).circuit
        assert sent.num_nonlocal_gates() == circuit.num_nonlocal_gates() == 10


def test_a_noise_model_beside_a_device_takes_the_place_of_its_noise():
    circuit, noise = qh.qcbm_ansatz(2, 1, warm_start=False), NoiseModel()
    noise.add_all_qubit_readout_error([[0, 1], [1, 0]])  # every bit is read the other way round
    runner = qh.Shots(500, noise_model=noise, backend=GenericBackendV2(2, seed=1)).prepare(
        circuit, list(circuit.parameters)
    )
    frequencies = runner.probabilities(np.zeros((1, circuit.num_parameters)), np.random.default_rng(0))
    np.testing.assert_array_equal(frequencies, [[0, 0, 0, 1]])


# --- jobs that fail, hang or are given up, on a clock that no one waits for ---


class Clock:
    """What `execution` uses of `time`: sleeping takes no time here, and is noted."""

    def __init__(self):
        self.now, self.slept, self.alarm = 100.0, [], None

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        if self.alarm is not None and self.now + seconds > self.alarm:
            raise KeyboardInterrupt
        self.now += seconds
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(execution, "time", clock)
    return clock


class Job:
    """A job that takes `seconds` of the clock, and then raises or gives `outcome`."""

    def __init__(self, clock, outcome, seconds=0.0):
        self.clock, self.outcome, self.done_at = clock, outcome, clock.now + seconds
        self.asked, self.cancelled = 0, 0

    def in_final_state(self):
        self.asked += 1
        return self.clock.now >= self.done_at

    def result(self):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def cancel(self):
        self.cancelled += 1


class Scripted:
    """A sampler whose jobs go as the script says, and well from then on.

    A script holds exceptions (the job's result raises them), seconds (it takes so long), or "refuse" with an exception
    (`run` itself raises it).
    """

    def __init__(self, clock, *script, job=Job):
        self.clock, self.script, self.kind = clock, list(script), job
        self.jobs, self.sent = [], []
        self._sampler = statevector_sampler()

    def run(self, pubs, shots):
        self.sent.append((pubs, shots))
        step = self.script.pop(0) if self.script else 0.0
        if isinstance(step, tuple):
            raise step[1]
        good = self._sampler.run(pubs, shots=shots).result() if isinstance(step, float) else step
        self.jobs.append(self.kind(self.clock, good, step if isinstance(step, float) else 0.0))
        return self.jobs[-1]


def on(sampler, shots=SHOTS, **options):
    """A runner of the lopsided circuit on a stand-in."""
    circuit, _ = lopsided()
    return qh.Primitive(sampler, shots, **options).prepare(circuit, list(circuit.parameters))


LOST = RuntimeError("the device went to lunch")


@pytest.mark.parametrize("step", [LOST, ("refuse", LOST)], ids=["in its result", "as it is sent"])
@pytest.mark.parametrize("failures", (1, 2))
def test_a_job_that_fails_is_sent_again_after_growing_waits(clock, failures, step):
    sampler = Scripted(clock, *[step] * failures)
    circuit, angles = lopsided()
    probabilities = on(sampler).probabilities(angles, np.random.default_rng(0))
    agree(probabilities, born(circuit, angles), SHOTS)
    assert clock.slept == [execution.RETRY_WAIT, 2 * execution.RETRY_WAIT][:failures]
    assert len(sampler.sent) == failures + 1
    for pubs, shots in sampler.sent:  # the same rows, all of them, as often
        assert shots == SHOTS and pubs[0][0] is sampler.sent[0][0][0][0]
        np.testing.assert_array_equal(pubs[0][1], angles)


@pytest.mark.parametrize(("options", "tries"), [({}, 3), ({"retries": 0}, 1), ({"retries": 4}, 5)])
@pytest.mark.parametrize("step", [LOST, ("refuse", LOST)], ids=["in its result", "as it is sent"])
def test_a_job_that_always_fails_says_how_often_and_why(clock, options, tries, step):
    sampler = Scripted(clock, *[step] * 9)
    message = f"4,000 shots by .*Scripted failed in try {tries} of {tries}, with RuntimeError: the device went to lunch"
    with pytest.raises(ExecutionError, match=message) as caught:
        on(sampler, **options).sample(lopsided()[1][0], SHOTS, np.random.default_rng(0))
    assert caught.value.__cause__ is LOST
    assert len(sampler.sent) == tries
    assert clock.slept == [execution.RETRY_WAIT * 2**k for k in range(tries - 1)]  # none after the last


@pytest.mark.parametrize("error", [ValueError("no such gate: rxx"), TypeError("no such gate: rxx")])
@pytest.mark.parametrize("where", ["result", "run"])
def test_a_wrong_request_is_not_sent_again(clock, error, where):
    sampler = Scripted(clock, error if where == "result" else ("refuse", error))
    with pytest.raises(
        ExecutionError, match="4,000 shots by .*Scripted refused the circuit: no such gate: rxx"
    ) as caught:
        on(sampler).probabilities(lopsided()[1], np.random.default_rng(0))
    assert caught.value.__cause__ is error
    assert len(sampler.sent) == 1 and not clock.slept


def test_a_job_that_hangs_is_cancelled_and_sent_again(clock):
    sampler = Scripted(clock, 1e9)
    circuit, angles = lopsided()
    agree(on(sampler, timeout=30).probabilities(angles, None), born(circuit, angles), SHOTS)
    assert [job.cancelled for job in sampler.jobs] == [1, 0]
    assert 30 < clock.now - 100 - execution.RETRY_WAIT <= 33.1


def test_jobs_that_all_hang_are_all_cancelled(clock):
    sampler = Scripted(clock, *[1e9] * 9)
    with pytest.raises(ExecutionError, match="try 2 of 2, with TimeoutError: no result within 0.5 seconds"):
        on(sampler, retries=1, timeout=0.5).probabilities(lopsided()[1], None)
    assert [job.cancelled for job in sampler.jobs] == [1, 1]


def test_a_job_that_takes_its_time_is_left_to_it(clock):
    for timeout, asked in ((None, False), (60, True)):
        sampler = Scripted(clock, 50.0)
        on(sampler, timeout=timeout).probabilities(lopsided()[1], None)
        (job,) = sampler.jobs
        assert not job.cancelled and (job.asked > 0) == asked


@pytest.mark.parametrize("seconds", (0.02, 4.0, 40.0, 400.0))
def test_a_job_that_is_done_is_soon_noticed_though_it_is_not_asked_without_end(clock, seconds):
    sampler = Scripted(clock, seconds)
    on(sampler, timeout=3600).probabilities(lopsided()[1], None)
    assert seconds <= clock.now - 100 <= 1.1 * seconds + 0.001
    assert sampler.jobs[0].asked < 200


def test_a_job_whose_result_is_out_of_reach_is_cancelled_before_the_next_is_sent(clock):
    """A connection that is lost leaves the job behind it running: it would be paid for in addition to the second."""
    sampler = Scripted(clock, ConnectionError("lost"))
    on(sampler).probabilities(lopsided()[1], None)
    assert [job.cancelled for job in sampler.jobs] == [1, 0]


def test_what_cancelling_says_does_not_hide_why(clock):
    class Stubborn(Job):
        def cancel(self):
            raise RuntimeError("jobs here cannot be cancelled")

    with pytest.raises(ExecutionError, match="TimeoutError: no result within 3 seconds"):
        on(Scripted(clock, 1e9, job=Stubborn), retries=0, timeout=3).probabilities(lopsided()[1], None)


def test_ctrl_c_cancels_the_job_and_ends_the_tries(clock):
    waiting, polling = Scripted(clock, KeyboardInterrupt()), Scripted(clock, 1e9)
    with pytest.raises(KeyboardInterrupt):
        on(waiting).probabilities(lopsided()[1], None)
    clock.alarm = clock.now + 10
    with pytest.raises(KeyboardInterrupt):
        on(polling, timeout=60).probabilities(lopsided()[1], None)
    for sampler in (waiting, polling):
        assert [job.cancelled for job in sampler.jobs] == [1]


@pytest.mark.parametrize("retries", (-1, 1.5, True, None, "two"))
def test_refuses_retries_that_are_not_an_integer_of_at_least_0(retries):
    with pytest.raises(ValueError, match=f"retries must be an integer ≥ 0; got {retries!r}"):
        qh.Primitive(StatevectorSampler(), retries=retries)


@pytest.mark.parametrize("timeout", (0, -3, float("nan"), "soon", [5]))
def test_refuses_a_timeout_that_is_not_a_positive_number(timeout):
    with pytest.raises(ValueError, match="timeout must be a positive number of seconds, or None for no limit; got "):
        qh.Primitive(StatevectorSampler(), timeout=timeout)


# --- sessions and batches ---


KINDS = pytest.mark.parametrize("kind", [Session, Batch])


@KINDS
def test_a_session_or_batch_runs_circuits_and_is_closed_at_the_end(kind):
    circuit, angles = lopsided()
    mode = kind(backend=FakeManilaV2())
    with qh.Primitive(RuntimeSampler(mode=mode), SHOTS) as how:
        runner = how.prepare(circuit, list(circuit.parameters))
        agree(runner.probabilities(angles, None), born(circuit, angles), SHOTS, NOISE)
    with pytest.raises(IBMRuntimeError, match="The session is closed"):
        mode._run("sampler", {})


@KINDS
def test_a_closed_session_or_batch_is_not_tried_again_and_says_what_to_do(kind, clock):
    circuit, angles = lopsided()
    with qh.Primitive(RuntimeSampler(mode=kind(backend=FakeManilaV2())), 100) as how:
        runner = how.prepare(circuit, list(circuit.parameters))
    with pytest.raises(
        ExecutionError,
        match="SamplerV2 on fake_manila runs in a session or batch that is closed or has expired .*IBMRuntimeError: "
        "'The session is closed.'.*Open a new one, make a new model .* give it this model's angles",
    ) as caught:
        runner.probabilities(angles, None)
    assert isinstance(caught.value.__cause__, IBMRuntimeError)
    assert not clock.slept


def test_the_session_is_closed_after_an_error_too_and_the_error_is_raised():
    mode = SimpleNamespace(closed=0)
    mode.close = lambda: setattr(mode, "closed", mode.closed + 1)
    sampler = statevector_sampler()
    sampler.mode = mode
    with pytest.raises(ZeroDivisionError), qh.Primitive(sampler):
        1 / 0  # noqa: B018
    assert mode.closed == 1


@pytest.mark.parametrize("mode", [None, "job"])
def test_a_sampler_without_session_has_nothing_to_close(mode):
    sampler = statevector_sampler()
    sampler.mode = mode
    with qh.Primitive(sampler) as how:
        pass
    how.close()


class Expiring(Scripted):
    """A sampler in a session that reports this status; a status that is an exception is raised."""

    def __init__(self, clock, status, *script):
        super().__init__(clock, *script)
        self.mode = self
        self._status = status

    def status(self):
        if isinstance(self._status, Exception):
            raise self._status
        return self._status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (LOST, "Closed"),
        (LOST, "In progress, not accepting new jobs"),
        (RuntimeError("400: Session has been closed."), "Pending"),
        (RuntimeError("the batch with this ID expired at noon"), None),
    ],
)
@pytest.mark.parametrize("refused", (True, False))
def test_a_session_that_expires_is_recognized_by_its_status_or_by_the_error(clock, error, status, refused):
    sampler = Expiring(clock, status, *[("refuse", error) if refused else error] * 9)
    with pytest.raises(ExecutionError, match="Expiring runs in a session or batch that is closed or has expired"):
        on(sampler).probabilities(lopsided()[1], None)
    assert len(sampler.sent) == 1 and not clock.slept


@pytest.mark.parametrize("status", ["Pending", "In progress, accepting new jobs", None, ConnectionError("no answer")])
def test_a_job_that_fails_in_an_open_session_is_sent_again(clock, status):
    sampler = Expiring(clock, status, LOST)
    circuit, angles = lopsided()
    agree(on(sampler).probabilities(angles, None), born(circuit, angles), SHOTS)
    assert len(sampler.sent) == 2


def test_a_slow_job_in_a_session_is_waited_for(clock):
    sampler = Expiring(clock, "In progress, accepting new jobs", 50.0)
    on(sampler, timeout=60).probabilities(lopsided()[1], None)
    assert len(sampler.sent) == 1


# --- answers that are not what was asked for ---


class Changing:
    """A good sampler whose registers are changed on the way: {name: BitArray} becomes another."""

    def __init__(self, change, more_shots=0):
        self._sampler, self._change, self._more = statevector_sampler(), change, more_shots

    def run(self, pubs, shots):
        meas = self._sampler.run(pubs, shots=shots + self._more).result()[0].data.meas
        data = DataBin(**self._change(meas))
        return SimpleNamespace(result=lambda: [SimpleNamespace(data=data)])


def test_the_register_may_have_any_name():
    circuit, angles = lopsided()
    runner = on(Changing(lambda meas: {"c0": meas}))
    agree(runner.probabilities(angles, None), born(circuit, angles), SHOTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda meas: {"meas": meas, "more": meas},
            "registers of {'meas': 4, 'more': 4} bits; one of 4 bits was measured",
        ),
        (
            lambda meas: {"meas": meas.slice_bits([0, 1, 2])},
            "registers of {'meas': 3} bits; one of 4 bits was measured",
        ),
        (
            lambda meas: {"c": BitArray.concatenate_bits([meas, meas])},
            "registers of {'c': 8} bits; one of 4 bits was measured",
        ),
        (lambda meas: {}, "registers of {} bits; one of 4 bits was measured"),
        (
            lambda meas: {"meas": np.zeros((3, SHOTS, 4))},
            "registers of {'meas': 'no'} bits; one of 4 bits was measured",
        ),
        (
            lambda meas: {"meas": meas.slice_shots(range(100))},
            "100 shots; 4,000 were requested. Request no more",
        ),
        (lambda meas: {"meas": meas[:1]}, "shots of 1 circuits; 3 were sent"),
        (lambda meas: {"meas": meas.reshape(1, 3 * SHOTS)}, "shots of 1 circuits; 3 were sent"),
    ],
    ids=["two registers", "too narrow", "too wide", "none", "no bits", "few shots", "few rows", "all rows in one"],
)
def test_anything_else_than_what_was_asked_for_is_an_error_and_not_sent_again(change, message, clock):
    with pytest.raises(ExecutionError) as caught:
        on(Changing(change)).probabilities(lopsided()[1], None)
    assert message in str(caught.value) and "Changing returned" in str(caught.value)
    assert not clock.slept


def test_a_pass_manager_that_measures_a_second_time_is_named_as_what_does_this():
    class Twice:
        def run(self, circuit):
            again = circuit.copy()
            again.measure_all()
            return again

    with pytest.raises(
        ExecutionError, match="'meas': 4, 'meas0?1?': 4.*a pass_manager that neither adds nor drops measurements"
    ):
        on(statevector_sampler(), pass_manager=Twice()).probabilities(lopsided()[1], None)


def test_more_shots_than_requested_are_all_counted_but_not_all_sampled():
    circuit, angles = lopsided()
    runner = on(Changing(lambda meas: {"meas": meas}, more_shots=96), 4)
    agree(runner.probabilities(angles, None), born(circuit, angles), 100)
    assert len(np.unique(100 * runner.probabilities(angles, None))) > 5  # hundredths, not quarters
    bits = runner.sample(angles[0], 30, np.random.default_rng(0))
    assert bits.shape == (30, 4)
    spread = on(SortedMore()).sample(np.full(4, np.pi / 2), 500, np.random.default_rng(0))
    assert abs(spread[:, :3].mean(0) - 0.5).max() < 0.15  # not the first 500 of what is sorted


class SortedMore(SortedSampler):
    def run(self, pubs, shots):
        return super().run(pubs, 4 * shots)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        (lambda: qh.Shots(100, backend=FakeManilaV2()), "fake_manila has 5 qubits and the circuit has 6"),
        (lambda: qh.Shots(100, backend=GenericBackendV2(3)), "generic_backend_3q has 3 qubits and the circuit has 6"),
        (lambda: qh.Primitive(BackendSamplerV2(backend=FakeManilaV2())), "fake_manila has 5 qubits and .* has 6"),
        (lambda: qh.Primitive(RuntimeSampler(mode=FakeManilaV2())), "fake_manila has 5 qubits and .* has 6"),
    ],
)
def test_refuses_a_device_with_too_few_qubits_before_any_work(how, named, monkeypatch):
    execution_, circuit = how(), qh.qcbm_ansatz(6, 1)
    work = ((execution, "_preset_pass_manager"), (execution, "check_memory"), (QuantumCircuit, "measure_all"))
    for place, name in work:
        monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("worked before it looked"))
    with pytest.raises(ValueError, match=f"{named}.*. Use a larger device, or a circuit of at most [35] qubits"):
        execution_.prepare(circuit, list(circuit.parameters))


def test_a_device_with_just_enough_qubits_is_enough():
    circuit = qh.qcbm_ansatz(5, 1)
    for how in (qh.Shots(10, backend=FakeManilaV2()), qh.Primitive(RuntimeSampler(mode=FakeManilaV2()), 10)):
        assert how.prepare(circuit, list(circuit.parameters)).circuit.num_qubits == 5


# --- samplers with a fixed seed ---


def repeats(caught):
    return [str(w.message) for w in caught if "the same shots twice" in str(w.message)]


def repeated(sampler, angles, times, n=200):
    """The warnings about repeated shots when the lopsided circuit is sampled a number of times."""
    runner = on(sampler)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(times):
            runner.sample(angles, n, np.random.default_rng())
    return repeats(caught)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SamplerV2(seed=1),
        lambda: StatevectorSampler(seed=1),
        lambda: BackendSamplerV2(backend=ideal_line(4), options={"seed_simulator": 1}),
        lambda: RuntimeSampler(mode=ideal_line(4), options={"simulator": {"seed_simulator": 1}}),
    ],
    ids=["Aer", "StatevectorSampler", "BackendSamplerV2", "IBM's, local"],
)
def test_a_sampler_with_a_fixed_seed_is_reported_each_time_it_repeats_itself(make):
    angles = lopsided()[1][2]
    assert repeated(make(), angles, 1) == []
    messages = repeated(make(), angles, 4)
    assert len(messages) == 3
    assert "its seed is fixed" in messages[0] and "a NumPy Generator" in messages[0]


def test_frequencies_of_a_fixed_seed_are_reported_too_where_they_were_asked_for():
    runner, angles = on(SamplerV2(seed=1)), lopsided()[1].copy()
    runner.probabilities(angles, None)
    with pytest.warns(UserWarning, match="4,000 shots by qiskit_aer.SamplerV2 returned the same shots twice") as caught:
        runner.probabilities(angles.copy(), None)
    assert [w.filename for w in caught] == [__file__]


def test_other_angles_in_between_are_no_repetition_even_where_written_over():
    """COBYLA and `qcbm.angles += …` write to the array that they passed."""
    runner, angles = on(Changing(lambda meas: {"meas": RANDOM})), np.array(lopsided()[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            runner.probabilities(angles, None)
            angles += 0.1


RANDOM = BitArray(np.random.default_rng(0).integers(16, size=(3, SHOTS, 1), dtype=np.uint8), 4)


@pytest.mark.parametrize("make", [statevector_sampler, SamplerV2])
def test_a_sampler_with_fresh_shots_is_not_reported(make):
    assert repeated(make(), lopsided()[1][2], 4) == []


def test_a_circuit_with_one_outcome_or_few_shots_is_no_repetition():
    certain = np.array([np.pi, 0, np.pi, 0])
    assert repeated(SamplerV2(seed=1), certain, 3) == []
    assert repeated(SamplerV2(seed=1), lopsided()[1][2], 3, n=31) == []
    assert len(repeated(SamplerV2(seed=1), lopsided()[1][2], 3, n=32)) == 2
