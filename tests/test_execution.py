"""Every way to run a circuit against Qiskit's own state vector: bit order, randomness, one transpilation."""

from types import SimpleNamespace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import BackendSamplerV2, StatevectorSampler
from qiskit.primitives.containers import BitArray
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Statevector
from qiskit.transpiler import CouplingMap, PassManager, StagedPassManager
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error
from qiskit_aer.primitives import SamplerV2

import qaan_helpers as qh
from qaan_helpers import execution

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
        return SimpleNamespace(result=lambda: [SimpleNamespace(data=SimpleNamespace(meas=meas))])


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
pytestmark = pytest.mark.filterwarnings("ignore:Qiskit backend .* has no QubitProperties")


def prepared(how, circuit):
    """The runner of `circuit` for one of the ways above."""
    return ({"Exact": qh.Exact} | MEASURED)[how]().prepare(circuit, list(circuit.parameters))


def random_angles(circuit, rows, seed=0):
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (rows, circuit.num_parameters))


def born(circuit, angles):
    """The reference: |amplitude|² of each row of angles, from Qiskit's Statevector."""
    return np.stack([Statevector(circuit.assign_parameters(row)).probabilities() for row in angles])


def agree(frequencies, expected, shots):
    """Half the sum of |differences| in each row, against what chance exceeds once in a million (McDiarmid's bound)."""
    assert frequencies.shape == expected.shape
    np.testing.assert_allclose(frequencies.sum(1), 1)
    limit = (np.sqrt(expected.shape[1]) / 2 + np.sqrt(np.log(1e6) / 2)) / np.sqrt(shots)
    assert (abs(frequencies - expected).sum(1) / 2).max() < limit


def counts(bits):
    return np.bincount(qh.to_index(bits), minlength=1 << bits.shape[1])


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
    run = execution._aer_run
    monkeypatch.setattr(execution, "_aer_run", lambda *args, **kw: calls.append(len(args[3])) or run(*args, **kw))
    np.testing.assert_allclose(prepared("Exact", circuit).probabilities(angles), born(circuit, angles), atol=1e-12)
    assert calls == [3, 3, 1]


@EVERY_PATH
def test_only_the_states_asked_for_in_the_order_asked(how):
    """A state that is never measured has frequency 0, not its neighbour's."""
    circuit = qh.qcbm_ansatz(3, 1, warm_start=False)
    angles = np.zeros((2, circuit.num_parameters))
    angles[:, 0] = np.pi / 2  # RX on qubit 0: states 0 and 1, half and half
    found = prepared(how, circuit).probabilities(angles, np.random.default_rng(0), np.array([7, 1, 2, 0]))
    np.testing.assert_allclose(found, [[0, 0.5, 0, 0.5]] * 2, atol=0.04)
    assert found[0, 0] == pytest.approx(0, abs=1e-12)


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
def test_x_on_one_qubit_of_three_sets_its_column_and_its_power_of_two(how, qubit):
    theta = Parameter("θ")
    circuit = QuantumCircuit(3)
    circuit.rx(theta, qubit)
    runner, rng, angles = prepared(how, circuit), np.random.default_rng(0), np.array([[np.pi]])
    np.testing.assert_allclose(runner.probabilities(angles, rng), np.eye(8)[[1 << qubit]], atol=1e-12)
    np.testing.assert_array_equal(runner.sample(angles[0], 20, rng), np.eye(3)[[qubit] * 20])


# --- randomness ---


@EVERY_PATH
def test_samples_are_in_random_order(how):
    """Wald and Wolfowitz: how often a column changes from row to row. Sorted shots change hardly ever."""
    circuit = qh.qcbm_ansatz(3, 2)
    bits = prepared(how, circuit).sample(random_angles(circuit, 1)[0], 2000, np.random.default_rng(1))
    for column in bits.T.astype(int):
        ones, zeros = column.sum(), (1 - column).sum()
        runs = 1 + (column[1:] != column[:-1]).sum()
        mean = 1 + 2 * ones * zeros / len(column)
        deviation = np.sqrt((mean - 1) * (mean - 2) / (len(column) - 1))
        assert abs(runs - mean) < 5 * deviation


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


# --- what a figure is stamped with ---


@pytest.mark.parametrize(
    ("execution", "stamp"),
    [
        (qh.Exact(), "exact amplitudes on Aer"),
        (qh.Shots(2000), "2,000 shots on Aer"),
        (qh.Shots(500, noise_model=NoiseModel()), "500 shots on Aer, with noise"),
        (qh.Shots(500, backend=GenericBackendV2(2)), "500 shots on Aer, with noise"),
        (qh.Primitive(SamplerV2(), 100), "100 shots by qiskit_aer.SamplerV2"),
    ],
)
def test_says_how_it_ran(execution, stamp):
    assert str(execution) == stamp


# --- bad input ---


@pytest.mark.parametrize("shots", (0, -5, True, 2.0, "many", None))
def test_refuses_shots_that_are_no_number_of_shots(shots):
    for make in (qh.Shots, lambda shots: qh.Primitive(StatevectorSampler(), shots)):
        with pytest.raises(ValueError, match=f"shots is {shots!r}; it must be a whole number of 1 or more"):
            make(shots)


def test_refuses_a_sampler_that_is_none():
    with pytest.raises(ValueError, match="a Qiskit SamplerV2 with a run method is needed"):
        qh.Primitive("aer")


def test_refuses_two_sources_of_noise():
    with pytest.raises(ValueError, match="give the noise_model to the AerSimulator itself"):
        qh.Shots(100, noise_model=NoiseModel(), backend=AerSimulator())


@pytest.mark.parametrize("how", (qh.Exact(), qh.Shots(10)))
def test_refuses_more_qubits_than_the_memory_holds(monkeypatch, how):
    monkeypatch.setattr(execution, "available_memory", lambda: 2 * 10**9)
    circuit = qh.qcbm_ansatz(26, 1, "none")
    with pytest.raises(ValueError, match="26 qubits need about 3 GiB .* 1.86 GiB are free; at most 25 qubits fit"):
        how.prepare(circuit, list(circuit.parameters))
    execution.check_memory(25)


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


@pytest.mark.parametrize(("limit", "free"), [("3000000", 2_000_000), ("max", 5_000_000), (None, 5_000_000)])
def test_available_memory_heeds_the_container(monkeypatch, tmp_path, limit, free):
    if limit:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(execution, "Path", lambda _: tmp_path)
    monkeypatch.setattr(execution.psutil, "virtual_memory", lambda: SimpleNamespace(available=5_000_000))
    assert execution.available_memory() == free
