"""The Born machine: its distribution in each basis, its samples, and what a fit counts, keeps and learns."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorSampler
from qiskit.primitives.containers import BitArray, DataBin
from qiskit.quantum_info import Statevector
from qiskit_aer.noise import NoiseModel

import qaan_helpers as qh
from qaan_helpers.checks import ExecutionError
from qaan_helpers.quantum import execution
from qaan_helpers.quantum.optimizers import Optimizer
from qaan_helpers.quantum.qcbm import Duration, ResourceEstimate

LN2 = math.log(2)
OPTIMIZERS = pytest.mark.parametrize("optimizer", ("cobyla", "adam", "spsa"))
BASES = pytest.mark.parametrize("bases", ("z", "zo", "zt"))
# Four of sixteen states, bound to each other: a product of Bernoullis stays as far above the entropy as TOGETHER says.
BOUND = np.repeat([[0, 0, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 0, 1]], [7, 6, 4, 3], axis=0).astype(np.uint8)
TOGETHER = 1.38  # nats


def small(bases="z", n_qubits=2, layers=1, seed=0, how=None):
    return qh.QCBM(qh.qcbm_ansatz(n_qubits, layers), how, seed, bases)


def some_bits(qcbm, n=40):
    """Random bits with an uneven distribution."""
    rng = np.random.default_rng(8)
    return (rng.random((n, qcbm.n_bits)) < np.linspace(0.2, 0.9, qcbm.n_bits)).astype(np.uint8)


def cost_by_rows(qcbm, bits, angles, epsilon=1e-8):
    """The definition: the mean over the rows of −log max(ε, p), summed over the bases."""
    cost = 0.0
    for basis, half in enumerate(np.hsplit(bits, len(qcbm.bases))):
        p = qcbm.probabilities(angles, basis)
        cost -= np.mean([math.log(max(epsilon, p[int("".join(map(str, row[::-1])), 2)])) for row in half])
    return cost


class Scripted(Optimizer):
    """An optimizer of a test: it does what `script(objective, angles, budget)` does."""

    name = "scripted"

    def __init__(self, script):
        self.max_evaluations, self._script = 10**6, script

    def minimize(self, objective, angles, max_evaluations, rng):
        self._script(objective, angles, max_evaluations)


class Counting:
    """Exact, but it records what is asked of it: (runner, rows of angles) for each call."""

    shots = None

    def __init__(self):
        self.calls = []

    def prepare(self, circuit, parameters):
        return CountingRunner(qh.Exact().prepare(circuit, parameters), self.calls)


class CountingRunner:
    def __init__(self, runner, calls):
        self.runner, self.calls = runner, calls

    def probabilities(self, angles, rng, states=None):
        self.calls.append((self, np.array(angles)))
        return self.runner.probabilities(angles, rng, states)


# --- distribution and samples ---


@BASES
def test_probabilities_in_each_basis_against_statevector(bases):
    circuit = qh.qcbm_ansatz(3, 2)
    qcbm = qh.QCBM(circuit, bases=bases)
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, circuit.num_parameters + 3 * (bases == "zt"))
    bound = circuit.assign_parameters(angles[: circuit.num_parameters])
    np.testing.assert_allclose(qcbm.probabilities(angles), Statevector(bound).probabilities(), atol=1e-12)
    if bases == "z":
        return
    for qubit, turn in enumerate([np.pi / 2] * 3 if bases == "zo" else angles[-3:]):
        bound.rx(turn, qubit)
    np.testing.assert_allclose(qcbm.probabilities(angles, 1), Statevector(bound).probabilities(), atol=1e-12)


@pytest.mark.parametrize("bases", ("zo", "zt"))
@pytest.mark.parametrize("how", (qh.Exact(), qh.Shots(1000)))
def test_a_bell_pair_agrees_in_the_first_basis_and_differs_in_the_second(bases, how):
    """(|00⟩ + |11⟩)/√2 becomes (|01⟩ + |10⟩)/√2 when both qubits are turned by RX(π/2)."""
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("θ"), 0)
    circuit.cx(0, 1)
    qcbm = qh.QCBM(circuit, how, bases=bases)
    qcbm.angles = np.full(len(qcbm.angles), np.pi / 2)
    np.testing.assert_allclose(qcbm.probabilities(), [0.5, 0, 0, 0.5], atol=0.1)
    np.testing.assert_allclose(qcbm.probabilities(basis=1), [0, 0.5, 0.5, 0], atol=0.1)
    bits = qcbm.sample(1000)
    assert (bits[:, 0] == bits[:, 1]).all() and (bits[:, 2] != bits[:, 3]).all()
    assert qh.mutual_information(bits)[0, 2] < 0.02  # the halves are other shots, paired at random
    assert qh.entropy(bits) == pytest.approx(2 * LN2, abs=0.02)


def test_x_on_qubit_0_of_three_is_index_1_and_column_0():
    circuit = QuantumCircuit(3)
    circuit.rx(Parameter("θ"), 0)
    qcbm = qh.QCBM(circuit, bases="zt")
    qcbm.angles = [np.pi, 0, 0, np.pi]  # and φ turns qubit 2 in the second basis
    np.testing.assert_allclose(qcbm.probabilities(), np.eye(8)[1], atol=1e-12)
    np.testing.assert_allclose(qcbm.probabilities(basis=1), np.eye(8)[5], atol=1e-12)
    np.testing.assert_array_equal(qcbm.sample(4), [[1, 0, 0, 1, 0, 1]] * 4)


@pytest.mark.parametrize(("bases", "angles", "bits"), [("z", 88, 8), ("zo", 88, 16), ("zt", 96, 16)])
def test_sizes(bases, angles, bits):
    qcbm = qh.QCBM(qh.qcbm_ansatz(8, 2), bases=bases)
    assert qcbm.angles.shape == (angles,) and qcbm.n_bits == bits
    sample = qcbm.sample(5)
    assert sample.shape == (5, bits) and sample.dtype == np.uint8
    assert qcbm.probabilities().shape == (256,)


def test_starts_near_uniform_but_not_on_it():
    p = qh.QCBM(qh.qcbm_ansatz(4, 2)).probabilities()
    assert 0.001 < abs(p - 1 / 16).max() < 1 / 16


def test_warm_start_and_angles_of_zero_sample_uniformly():
    qcbm = qh.QCBM(qh.qcbm_ansatz(3, 2))
    qcbm.angles = np.zeros(18)
    np.testing.assert_allclose(qcbm.probabilities(), 1 / 8)
    assert qh.entropy(qcbm.sample(4000)) == pytest.approx(3 * LN2, abs=0.01)


@pytest.mark.parametrize("bases", ("z", "zt"))
@pytest.mark.parametrize("how", (qh.Exact(), qh.Shots(300)))
def test_same_seed_same_everything(how, bases):
    def story(seed):
        qcbm = small(bases, seed=seed, how=how)
        start = qcbm.angles
        result = qcbm.fit(some_bits(qcbm), max_evaluations=10)
        return start, result.costs, result.angles, qcbm.sample(50)

    for first, again, other in zip(story(5), story(5), story(6), strict=True):
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


@pytest.mark.parametrize("how", (qh.Exact(), qh.Shots(300)))
def test_two_calls_share_no_shots(how):
    qcbm = small(n_qubits=4, how=how)
    counts = [np.bincount(qh.to_index(qcbm.sample(2000)), minlength=16) for _ in range(2)]
    assert (counts[0] != counts[1]).any()
    if how.shots:
        assert (qcbm.probabilities() != qcbm.probabilities()).any()


def test_halves_of_two_bases_are_not_paired_in_sorted_order():
    """Both bases of the uniform warm start are uniform: sorted alike, their halves would agree bit for bit."""
    for how in (qh.Exact(), qh.Shots(300)):
        qcbm = small("zo", n_qubits=3, how=how)
        qcbm.angles = np.zeros(9)
        assert qh.total_correlation(qcbm.sample(4000)) < 0.02


# --- what a fit counts ---


@BASES
@pytest.mark.parametrize(
    ("optimizer", "budget"),
    [("cobyla", 12), ("cobyla", 25), ("adam", 1), ("adam", 4), ("spsa", 1), ("spsa", 6), ("spsa", 7)],
)
def test_evaluations_and_circuits_are_those_that_happened(optimizer, budget, bases):
    how = Counting()
    qcbm = small(bases, how=how)
    budget += 2 * (bases == "zt")
    result = qcbm.fit(some_bits(qcbm), optimizer, budget)
    budget -= optimizer == "spsa" and budget % 2 == 0  # two for each step and one for the final iterate
    assert result.n_evaluations == len(result.costs) == budget
    assert len(how.calls) == budget * len(bases)
    circuits = sum(len(angles) for _, angles in how.calls)
    assert result.n_circuits == circuits
    used = {"z": [5], "zo": [5, 5], "zt": [5, 7]}[bases]  # angles of each circuit
    assert circuits == budget * sum(2 * n + 1 if optimizer == "adam" else 1 for n in used)
    assert result.seconds > 0


@pytest.mark.parametrize(("given", "expected"), [(None, 30), (12, 12), (50, 50)])
def test_an_explicit_budget_wins_over_the_optimizers_own(given, expected):
    qcbm, budgets = small(), []
    optimizer = Scripted(lambda objective, angles, budget: budgets.append(budget) or objective.cost(angles))
    optimizer.max_evaluations = 30
    qcbm.fit(some_bits(qcbm), optimizer, given)
    assert budgets == [expected]


@pytest.mark.parametrize(("optimizer", "budget"), [(qh.Adam(max_evaluations=4), 4), (qh.Spsa(max_evaluations=9), 9)])
def test_an_optimizers_own_budget_is_used(optimizer, budget):
    qcbm = small()
    assert qcbm.fit(some_bits(qcbm), optimizer).n_evaluations == budget
    assert qcbm.fit(some_bits(qcbm), optimizer, 3).n_evaluations == 3


def test_an_optimizer_that_ignores_its_budget_is_stopped():
    def greedy(objective, angles, budget):
        while True:
            objective.cost(angles)

    qcbm = small()
    assert qcbm.fit(some_bits(qcbm), Scripted(greedy), max_evaluations=17).n_evaluations == 17


@OPTIMIZERS
def test_costs_are_those_of_the_points_in_order(optimizer):
    how = Counting()
    qcbm = small("zo", how=how)
    bits = some_bits(qcbm)
    result = qcbm.fit(bits, optimizer, 12)
    points = [angles[0] for _, angles in how.calls[::2]]
    exact = small("zo")
    np.testing.assert_allclose(result.costs, [cost_by_rows(exact, bits, point) for point in points])


@pytest.mark.parametrize(
    ("optimizer", "option"), [(qh.Cobyla, "trust_radius"), (qh.Adam, "learning_rate"), (qh.Spsa, "step")]
)
def test_options_reach_the_optimizer(optimizer, option):
    ends = []
    for size in (0.02, 0.3):
        qcbm = small()
        start = qcbm.angles
        qcbm.fit(some_bits(qcbm), optimizer(**{option: size}), 12)
        ends.append(abs(qcbm.angles - start).max())
    assert ends[0] < ends[1]


def test_a_description_stands_for_an_optimizer():
    by_name, by_object, by_dict = small(), small(), small()
    bits = some_bits(by_name)
    costs = by_object.fit(bits, qh.Spsa(step=0.2), 9).costs
    np.testing.assert_array_equal(by_dict.fit(bits, {"name": "spsa", "step": 0.2}, 9).costs, costs)
    assert (by_name.fit(bits, "spsa", 9).costs != costs).any()


def test_epsilon_clips_the_cost():
    circuit = qh.qcbm_ansatz(2, 1, "none", warm_start=False)
    for epsilon in (1e-8, 1e-3):
        qcbm = qh.QCBM(circuit)
        qcbm.angles = np.zeros(4)  # all zeros for certain, so that ones are impossible
        costs = qcbm.fit(np.ones((3, 2)), "spsa", 1, epsilon=epsilon).costs
        assert costs[0] == pytest.approx(-math.log(epsilon))


# --- what a fit keeps ---


def test_the_best_point_is_kept_not_the_last():
    """The optimizer here is a random walk, whose best point is neither the first nor the last."""

    def walk(objective, angles, budget):
        for step in np.random.default_rng(4).normal(0, 1, (12, len(angles))):
            objective.cost(angles + step)

    qcbm = small(n_qubits=3)
    bits = some_bits(qcbm)
    result = qcbm.fit(bits, Scripted(walk), 20)
    assert 0 < np.argmin(result.costs) < 11
    assert result.best_cost == min(result.costs)
    assert cost_by_rows(qcbm, bits, result.angles) == pytest.approx(result.best_cost, rel=1e-12)
    np.testing.assert_array_equal(qcbm.angles, result.angles)


def test_a_later_change_of_the_model_does_not_change_the_result():
    qcbm = small()
    result = qcbm.fit(some_bits(qcbm), max_evaluations=15)
    copy = result.angles.copy()
    qcbm.angles += 1
    np.testing.assert_array_equal(result.angles, copy)


@OPTIMIZERS
def test_the_next_fit_starts_where_the_last_ended(optimizer):
    how = Counting()
    qcbm = small(how=how)
    bits = some_bits(qcbm)
    end = qcbm.fit(bits, "adam", 3).angles
    how.calls.clear()
    qcbm.fit(bits, optimizer, 12)
    first, second = how.calls[0][1][0], how.calls[1][1][0]
    start = (first + second) / 2 if optimizer == "spsa" else first
    np.testing.assert_allclose(start, end, atol=1e-12)


@OPTIMIZERS
def test_the_callback_is_called_after_each_evaluation(optimizer):
    qcbm, heard = small(), []
    result = qcbm.fit(some_bits(qcbm), optimizer, 13, callback=lambda *call: heard.append(call))
    assert heard == list(enumerate(result.costs, start=1))


@OPTIMIZERS
def test_an_interrupt_leaves_the_best_angles_so_far(optimizer):
    qcbm, costs = small(n_qubits=3), []
    bits = some_bits(qcbm)

    def stop(evaluation, cost):
        costs.append(cost)
        if evaluation == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qcbm.fit(bits, optimizer, 100, callback=stop)
    assert len(costs) == 15
    assert cost_by_rows(qcbm, bits, qcbm.angles) == pytest.approx(min(costs), rel=1e-12)
    assert min(costs) < costs[0]


def test_the_bar_counts_evaluations_and_shows_the_best(capsys):
    qcbm = small()
    result = qcbm.fit(some_bits(qcbm), max_evaluations=15, progress=True)
    shown = capsys.readouterr().err
    assert "15/15" in shown and f"best {result.best_cost:.3f} nats" in shown


def test_the_bar_of_a_fit_that_converges_early_is_full(capsys):
    qcbm = small(n_qubits=1)
    n = qcbm.fit(some_bits(qcbm), max_evaluations=500, progress=True).n_evaluations
    assert n < 500
    assert f"100%|██████████| {n}/{n}" in capsys.readouterr().err


def test_no_bar_unless_asked(capsys):
    qcbm = small()
    qcbm.fit(some_bits(qcbm), max_evaluations=15)
    assert capsys.readouterr() == ("", "")


# --- gradient ---


@BASES
def test_the_parameter_shift_gradient_against_finite_differences(bases):
    evaluated = []
    once = Scripted(lambda objective, angles, _: evaluated.append((angles, *objective.cost_and_gradient(angles))))
    qcbm = qh.QCBM(qh.qcbm_ansatz(3, 2), bases=bases)
    qcbm.angles = np.random.default_rng(2).uniform(-np.pi, np.pi, len(qcbm.angles))
    bits = some_bits(qcbm)
    qcbm.fit(bits, once)
    angles, cost, gradient = evaluated[0]
    assert cost == pytest.approx(cost_by_rows(qcbm, bits, angles))
    step = 1e-5
    numerical = [
        (cost_by_rows(qcbm, bits, angles + step * axis) - cost_by_rows(qcbm, bits, angles - step * axis)) / (2 * step)
        for axis in np.eye(len(angles))
    ]
    np.testing.assert_allclose(gradient, numerical, atol=1e-6)
    assert abs(gradient).max() > 0.1


# --- what a fit learns ---


@pytest.mark.parametrize(
    ("optimizer", "budget", "above"), [("cobyla", 400, 0.15), ("adam", 80, 0.05), ("spsa", 600, 1.1)]
)
def test_learns_bits_that_are_bound_to_each_other(optimizer, budget, above):
    assert qh.total_correlation(BOUND) == pytest.approx(TOGETHER, abs=0.01)
    qcbm = qh.QCBM(qh.qcbm_ansatz(4, 2))
    result = qcbm.fit(BOUND, optimizer, budget)
    assert result.costs[0] == pytest.approx(4 * LN2, abs=0.2)
    assert 0 <= result.best_cost - qh.entropy(BOUND) < above < TOGETHER
    fractions = [(qcbm.sample(2000) == state).all(1).mean() for state in np.unique(BOUND, axis=0)]
    assert sum(fractions) > {"cobyla": 0.8, "adam": 0.9, "spsa": 0.3}[optimizer]  # 0.25 at the start


def test_trained_turns_start_near_the_y_basis():
    model = qh.QCBM(qh.qcbm_ansatz(4), bases="zt")
    n = qh.qcbm_ansatz(4).num_parameters
    assert abs(model.angles[:n].mean()) < 0.2
    assert np.allclose(model.angles[n:], np.pi / 2, atol=0.8)
    assert np.allclose(model.angles[:n], qh.QCBM(qh.qcbm_ansatz(4), bases="zo").angles)


@pytest.mark.parametrize("bases", ("zo", "zt"))
def test_learns_two_bases_at_once(bases):
    """Each half has its own target. The public implementation compared 2n-bit targets with n-bit counts: no slope."""
    qcbm = qh.QCBM(qh.qcbm_ansatz(2, 2), bases=bases)
    result = qcbm.fit(np.array([[0, 0, 0, 1], [1, 1, 1, 0]]), "adam", 60)  # a Bell pair in both bases
    assert result.costs[0] > 3.5 * LN2
    assert result.best_cost < 2 * LN2 + 0.1
    sample = qcbm.sample(400)
    assert (sample[:, 0] == sample[:, 1]).mean() > 0.9 and (sample[:, 2] != sample[:, 3]).mean() > 0.9


def test_correlations_between_the_halves_are_lost():
    """The KL divergence that remains is the mutual information of the halves."""
    bits = np.repeat([[0, 0, 0, 1], [1, 1, 1, 0]], 50, axis=0)
    qcbm = qh.QCBM(qh.qcbm_ansatz(2, 2), bases="zo")
    cost = qcbm.fit(bits, "adam", 100).best_cost
    assert cost - qh.entropy(bits) == pytest.approx(qh.mutual_information(bits)[0, 2], abs=0.05)
    assert qh.mutual_information(qcbm.sample(4000))[0, 2] < 0.01


def test_the_first_columns_are_the_first_circuits():
    """RX(π/2) on both qubits of a Bell pair makes them differ: bits the other way round cost more."""
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("θ"), 0)
    circuit.cx(0, 1)
    qcbm = qh.QCBM(circuit, bases="zo")
    qcbm.angles = [np.pi / 2]
    bits = np.array([[0, 0, 0, 1], [1, 1, 1, 0]])
    assert qcbm.fit(bits, "adam", 1).best_cost == pytest.approx(2 * LN2)
    assert qcbm.fit(np.roll(bits, 2, 1), "adam", 1).best_cost > 10


@OPTIMIZERS
def test_fits_on_shots_with_noise(optimizer):
    noise = NoiseModel()
    noise.add_all_qubit_readout_error([[0.97, 0.03], [0.05, 0.95]])
    qcbm = qh.QCBM(qh.qcbm_ansatz(2, 2), qh.Shots(500, noise_model=noise))
    bits = np.array([[1, 0]] * 9 + [[0, 1]])
    result = qcbm.fit(bits, optimizer, {"cobyla": 60, "adam": 25, "spsa": 400}[optimizer])
    again = np.mean([cost_by_rows(qcbm, bits, result.angles) for _ in range(5)])  # not by luck in its shots
    assert again < result.costs[0] - 0.3
    assert result.best_cost == pytest.approx(again, abs=0.3)


# --- a device that fails in the middle ---


class Device:
    """A SamplerV2 that notes every job, (rows of angles, shots), and fails at those numbered in `fails`, from 1 on."""

    def __init__(self, *fails):
        self.fails, self.jobs = fails, []
        self._sampler = StatevectorSampler(seed=np.random.default_rng(3))

    def run(self, pubs, shots):
        ((_, angles),) = pubs
        self.jobs.append((np.array(angles), shots))
        if len(self.jobs) in self.fails:
            raise RuntimeError("out for calibration")
        return self.answer(pubs, shots)

    def answer(self, pubs, shots):
        return self._sampler.run(pubs, shots=shots)


def device_error(done, budget):
    return pytest.raises(
        ExecutionError,
        match=f"in try 1 of 1, with RuntimeError: out for calibration. {done} of {budget} evaluations were done; "
        "their best angles are kept, and the next fit starts from them",
    )


class Oracle(Device):
    """A device with uniform outcomes, but "state 1" in the jobs `good`, so that the best point is known."""

    def __init__(self, good, *fails):
        super().__init__(*fails)
        self._good, self._rng = good, np.random.default_rng(0)

    def answer(self, pubs, shots):
        outcomes = self._rng.integers(4, size=(len(self.jobs[-1][0]), shots, 1), dtype=np.uint8)
        meas = BitArray(np.ones_like(outcomes) if len(self.jobs) in self._good else outcomes, 2)
        return SimpleNamespace(result=lambda: [SimpleNamespace(data=DataBin(meas=meas, shape=meas.shape))])


@OPTIMIZERS
@pytest.mark.parametrize(("bases", "good", "fails"), [("z", (4,), 10), ("zo", (7, 8), 20)])
def test_a_fit_on_a_device_that_fails_keeps_its_best_and_goes_on_from_there(optimizer, bases, good, fails):
    """Evaluation 4 is the best and evaluation 10 fails, in two bases in its second half."""
    device, costs = Oracle(good, fails), []
    qcbm = small(bases, how=qh.Primitive(device, 200, retries=0))
    bits = np.array([[1, 0] * len(bases)] * 3)  # state 1
    with device_error(9, 40) as caught:
        qcbm.fit(bits, optimizer, 40, callback=lambda _, cost: costs.append(cost))
    assert isinstance(caught.value.__cause__, ExecutionError) and len(device.jobs) == fails
    assert len(costs) == 9 and np.argmin(costs) == 3 and costs[3] == 0
    best = device.jobs[good[0] - 1][0][0]
    np.testing.assert_array_equal(qcbm.angles, best)

    again = qcbm.fit(bits, optimizer, 21)
    assert again.n_evaluations == 21 and (qcbm.angles == again.angles).all()
    first, second = (device.jobs[fails + i * len(bases)][0][0] for i in range(2))
    np.testing.assert_allclose((first + second) / 2 if optimizer == "spsa" else first, best, atol=1e-12)


@OPTIMIZERS
def test_a_fit_whose_first_job_fails_leaves_the_angles_alone(optimizer):
    qcbm = small(how=qh.Primitive(Device(1), 200, retries=0))
    start = qcbm.angles.copy()
    with device_error(0, 31):
        qcbm.fit(some_bits(qcbm), optimizer, 31)
    np.testing.assert_array_equal(qcbm.angles, start)
    assert qcbm.fit(some_bits(qcbm), optimizer, 31).n_evaluations == 31


@OPTIMIZERS
def test_jobs_that_are_sent_again_change_nothing_in_the_count(optimizer, monkeypatch):
    monkeypatch.setattr(execution, "RETRY_WAIT", 0.0)
    device = Device(3, 4, 9)
    qcbm = small(how=qh.Primitive(device, 200))
    result = qcbm.fit(some_bits(qcbm), optimizer, 13)
    assert result.n_evaluations == 13 and len(device.jobs) == 16
    assert result.n_circuits == qcbm.estimate_resources(optimizer, 13).circuits


@OPTIMIZERS
def test_a_fit_whose_session_expires_keeps_its_best_angles_and_goes_on_in_a_new_one(optimizer):
    class Session(Device):
        """A session that is closed after 12 jobs, in which evaluation 4 was best."""

        def __init__(self):
            super().__init__()
            self.mode = self

        def status(self):
            return "Closed" if len(self.jobs) > 12 else "In progress, accepting new jobs"

        def run(self, pubs, shots):
            if len(self.jobs) == 12:
                self.jobs.append(None)
                raise RuntimeError("no such session")
            return super().run(pubs, shots)

    session, costs = Session(), []
    qcbm = small(how=qh.Primitive(session, 200))
    with pytest.raises(ExecutionError, match="session or batch that is closed .*12 of 40 .* best angles are kept"):
        qcbm.fit(some_bits(qcbm), optimizer, 40, callback=lambda _, cost: costs.append(cost))
    assert len(session.jobs) == 13  # once, without retries
    np.testing.assert_array_equal(qcbm.angles, session.jobs[np.argmin(costs)][0][0])
    later = small(how=qh.Primitive(Device(), 200))
    later.angles = qcbm.angles
    assert later.fit(some_bits(later), optimizer, 31).n_evaluations == 31


def test_a_prior_on_a_device_that_fails_stays_where_its_fit_was():
    """A first fit that failed is a first fit again, with its budget; a refit that failed is a refit again."""
    device = Device(10, 62)
    prior = qh.QCBMPrior(2, 1, execution=qh.Primitive(device, 100, retries=0), max_evaluations=40, refit_evaluations=20)
    bits = some_bits(prior.qcbm)
    with device_error(9, 40):
        prior.fit(bits)
    assert prior.last_fit is None
    prior.fit(bits)
    assert prior.last_fit.n_evaluations == 40
    first = prior.last_fit
    with device_error(11, 20):
        prior.fit(bits)
    assert prior.last_fit is first
    assert prior.fit(bits) == prior.last_fit.best_cost and prior.last_fit.n_evaluations == 20
    assert prior.sample(7).shape == (7, 2)


@pytest.mark.parametrize(
    ("fails", "what"), [(5, "first fit"), (10, "first sample"), (13, "refit"), (20, "second sample")]
)
def test_training_on_a_device_that_fails_keeps_whole_epochs_and_can_be_taken_up(fails, what):
    """Nine evaluations and one sample per epoch are ten jobs."""
    digits = qh.load_mnist((3, 7), source="sample")
    digits = qh.Digits(digits.images[:24], digits.labels[:24])
    device = Device(fails)
    prior = qh.QCBMPrior(
        2, 1, execution=qh.Primitive(device, 100, retries=0), optimizer="spsa", max_evaluations=9, refit_evaluations=9
    )
    gan = qh.QAAN(prior, device="cpu", warm_up=0)
    whole = []
    with pytest.raises(ExecutionError, match="out for calibration"):
        for report in qh.train(gan, digits, 3, batch_size=8):
            whole.append(report)
    assert len(whole) == ("second" in what or what == "refit")
    assert gan.history == whole and gan.epoch == len(whole)
    assert gan.sample(4).shape == (4, 1, 28, 28)  # what there is can be used

    for report in qh.train(gan, digits, 2, batch_size=8):
        whole.append(report)
        assert np.isfinite([report.d_loss, report.g_loss, report.prior_cost]).all()
    assert [report.epoch for report in gan.history] == list(range(1, len(whole) + 1))
    assert gan.history == whole


# --- one seed for all shots of a fit ---


def stay(objective, angles, budget):
    """Evaluate the starting point until the budget is spent."""
    for _ in range(budget):
        objective.cost(angles)


@pytest.mark.parametrize("bases", ("z", "zo"))
def test_common_random_numbers_make_the_cost_a_fixed_function(bases):
    qcbm = small(bases, n_qubits=3, how=qh.Shots(300))
    bits = some_bits(qcbm)
    common = [qcbm.fit(bits, Scripted(stay), 6, common_random_numbers=True).costs for _ in range(2)]
    for costs in common:
        assert len(costs) == 6 and len(set(costs)) == 1
    assert common[0][0] != common[1][0]  # each fit has its own
    assert len(set(qcbm.fit(bits, Scripted(stay), 6).costs)) > 3


def test_common_random_numbers_hold_for_the_gradient_too():
    evaluated = []
    thrice = Scripted(lambda objective, angles, _: evaluated.extend(objective.cost_and_gradient(angles) for _ in "123"))
    qcbm = small(how=qh.Shots(300))
    qcbm.fit(some_bits(qcbm), thrice, 3, common_random_numbers=True)
    assert len({cost for cost, _ in evaluated}) == 1
    assert len({tuple(gradient) for _, gradient in evaluated}) == 1 and evaluated[0][1].any()


def test_common_random_numbers_leave_spsa_its_directions():
    class Recorded:
        def __init__(self, objective):
            self.objective = objective

        def cost(self, angles):
            points.append(angles)
            return self.objective.cost(angles)

    class RecordingSpsa(qh.Spsa):
        def minimize(self, objective, *rest):
            super().minimize(Recorded(objective), *rest)

    points, walks = [], []
    for _ in range(2):
        qcbm = small(n_qubits=3, how=qh.Shots(300))
        result = qcbm.fit(some_bits(qcbm), RecordingSpsa(), 31, common_random_numbers=True)
        walks.append(result.costs)
    np.testing.assert_array_equal(*walks)  # the seed still determines everything
    assert result.best_cost < result.costs[0]
    directions = np.sign(np.subtract(points[0:30:2], points[1:31:2]))
    assert len(np.unique(directions, axis=0)) > 12  # of fifteen steps in nine angles


def test_samples_after_a_fit_with_common_random_numbers_are_fresh():
    with_fit, without = (small(n_qubits=4, how=qh.Shots(300)) for _ in range(2))
    for _ in range(2):
        with_fit.fit(some_bits(with_fit), Scripted(stay), 5, common_random_numbers=True)
    np.testing.assert_array_equal(with_fit.angles, without.angles)
    counts = [np.bincount(qh.to_index(qcbm.sample(500)), minlength=16) for qcbm in (with_fit, with_fit, without)]
    assert (counts[0] != counts[1]).any() and (counts[0] != counts[2]).any()


@pytest.mark.parametrize("how", [qh.Exact(), qh.Primitive(StatevectorSampler(seed=np.random.default_rng(0)), 100)])
def test_refuses_common_shots_where_the_seeds_are_not_ours(how):
    heard, qcbm = [], small(how=how)
    with pytest.raises(ValueError, match=f"common_random_numbers needs Shots, .*; execution is {how}"):
        qcbm.fit(some_bits(qcbm), common_random_numbers=True, callback=lambda *call: heard.append(call))
    assert not heard


# --- the resource estimate ---


@OPTIMIZERS
@pytest.mark.parametrize("bases", ("z", "zo"))
@pytest.mark.parametrize("budget", (12, 13))
def test_the_resource_estimate_is_what_the_device_is_asked_for(optimizer, bases, budget):
    device = Device()
    qcbm = small(bases, how=qh.Primitive(device, 50))
    estimate = qcbm.estimate_resources(optimizer, budget)
    assert not device.jobs  # it is known before anything runs
    assert estimate.jobs == budget * len(bases)
    if optimizer == "spsa" and budget == 12:  # SPSA leaves one evaluation of an even budget unused
        estimate = qcbm.estimate_resources(optimizer, 11)
    result = qcbm.fit(some_bits(qcbm), optimizer, budget)
    rows = [len(angles) for angles, _ in device.jobs]
    assert (estimate.jobs, estimate.circuits) == (len(rows), sum(rows))
    assert estimate.shots == sum(len(angles) * shots for angles, shots in device.jobs)
    assert result.n_circuits == estimate.circuits


@pytest.mark.parametrize(("optimizer", "jobs", "rows"), [("cobyla", 1500, 1), ("adam", 300, 11), ("spsa", 3000, 1)])
def test_the_resource_estimate_with_default_budgets(optimizer, jobs, rows):
    estimate = small(how=qh.Shots(200)).estimate_resources(optimizer)
    assert estimate == ResourceEstimate(jobs, jobs * rows, jobs * rows * 200)
    assert small().estimate_resources(optimizer) == ResourceEstimate(jobs, jobs, 0)  # reverse mode: one circuit
    assert small().estimate_resources() == small().estimate_resources("cobyla", 1500)


def test_the_resource_estimate_takes_an_optimizer_with_its_own_budget():
    qcbm = small(how=qh.Shots(10))
    assert qcbm.estimate_resources(qh.Adam(max_evaluations=20)) == ResourceEstimate(20, 220, 2200)
    assert qcbm.estimate_resources(qh.Adam(max_evaluations=20), 5) == ResourceEstimate(5, 55, 550)


def test_cobyla_may_converge_before_its_resource_estimate_is_used_up():
    qcbm = small()
    result = qcbm.fit(some_bits(qcbm))
    assert 7 < result.n_circuits < qcbm.estimate_resources().circuits == 1500


def test_the_resource_estimate_reads_well():
    assert str(ResourceEstimate(1500, 1500, 3_000_000)) == "1,500 sequential jobs, 1,500 circuits, 3,000,000 shots"


def test_the_durations_in_each_mode_as_computed_by_hand():
    durations = ResourceEstimate(jobs=10, circuits=30, shots=6000).durations(
        queue_seconds=600, seconds_per_job=2, seconds_per_shot=0.001
    )
    assert durations == {
        "job": Duration(wall_clock=10 * 600 + 20 + 6, billed=6),
        "batch": Duration(wall_clock=600 + 20 + 6, billed=6),
        "session": Duration(wall_clock=600 + 20 + 6, billed=26),
    }


@pytest.mark.parametrize("name", ("queue_seconds", "seconds_per_job", "seconds_per_shot"))
@pytest.mark.parametrize("value", (-1, float("inf"), float("nan"), "soon", True, None))
def test_durations_need_numbers_of_seconds(name, value):
    given = {"queue_seconds": 0, "seconds_per_job": 0, "seconds_per_shot": 0} | {name: value}
    durations = ResourceEstimate(1, 1, 1).durations
    refuses(f"{name} must be a finite number of seconds ≥ 0; got {value!r}", durations, **given)


def test_the_resource_estimate_refuses_what_a_fit_refuses():
    refuses("one of 'cobyla', 'adam', 'spsa'.*; got 'sgd'", small().estimate_resources, "sgd")
    refuses("max_evaluations must be an integer ≥ 1; got 0", small().estimate_resources, "spsa", 0)
    refuses("max_evaluations must be at least 7 for COBYLA .*got 6", small().estimate_resources, "cobyla", 6)


# --- angles and state ---


def test_angles_are_copied_at_assignment():
    qcbm, angles = small(), np.arange(5.0)
    qcbm.angles = angles
    angles[0] = 7
    np.testing.assert_array_equal(qcbm.angles, np.arange(5.0))
    qcbm.angles = [0, 1, 0, 1, 0]
    assert qcbm.angles.dtype == np.float64


@pytest.mark.parametrize("how", (qh.Exact(), qh.Shots(300)))
def test_a_restored_state_continues_alike(how):
    qcbm, other = small("zt", how=how), small("zt", seed=5, how=how)
    bits = some_bits(qcbm)
    qcbm.fit(bits, "spsa", 9)
    state = json.loads(json.dumps({**qcbm.state_dict(), "angles": qcbm.angles.tolist()}))
    assert (other.sample(50) != small("zt", how=how).sample(50)).any()
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.angles, qcbm.angles)
    np.testing.assert_array_equal(other.sample(50), qcbm.sample(50))
    np.testing.assert_array_equal(other.fit(bits, "spsa", 9).costs, qcbm.fit(bits, "spsa", 9).costs)


def test_a_state_is_a_snapshot():
    qcbm = small()
    state = qcbm.state_dict()
    start, sample = qcbm.angles.copy(), qcbm.sample(50)
    qcbm.angles[:] = 0
    qcbm.load_state_dict(state)
    np.testing.assert_array_equal(qcbm.angles, start)
    np.testing.assert_array_equal(qcbm.sample(50), sample)


RNG = np.random.default_rng(0).bit_generator.state


@pytest.mark.parametrize(
    "wrong",
    [
        {"angles": np.zeros(4)},
        {"angles": np.full(5, math.nan)},
        {"rng": None},
        {"rng": {}},
        {"rng": RNG | {"bit_generator": "MT19937"}},
        {"rng": RNG | {"state": {"state": -1, "inc": 1}}},
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(wrong):
    qcbm, untouched = small(), small()
    refuses("^(angles|rng) must be", qcbm.load_state_dict, {"angles": np.ones(5), "rng": RNG} | wrong)
    np.testing.assert_array_equal(qcbm.angles, untouched.angles)
    np.testing.assert_array_equal(qcbm.sample(50), untouched.sample(50))


# --- bad input ---


def refuses(message, call, *args, **options):
    with pytest.raises(ValueError, match=message):
        call(*args, **options)


def test_refuses_a_circuit_that_is_measured_or_has_nothing_to_learn():
    measured = qh.qcbm_ansatz(2)
    measured.measure_all()
    for circuit in (measured, QuantumCircuit(2)):
        given = f"{circuit.num_parameters} parameters and {circuit.num_clbits} classical bits"
        refuses(
            f"at least one parameter and no measurements.*qcbm_ansatz.*got QuantumCircuit with {given}",
            qh.QCBM,
            circuit,
        )
    for other in (None, "circuit", 8):
        refuses(f"circuit must be a QuantumCircuit.*got {type(other).__name__}$", qh.QCBM, other)


@pytest.mark.parametrize(("bases", "basis", "last"), [("z", 1, 0), ("zt", 2, 1), ("zo", -1, 1)])
def test_a_basis_that_it_is_not_measured_in_is_refused(bases, basis, last):
    qcbm = qh.QCBM(qh.qcbm_ansatz(2, 1), bases=bases)
    refuses(f"basis must be an integer in 0–{last}; got {basis}", qcbm.probabilities, None, basis)


@pytest.mark.parametrize("bases", ("x", "oz", "", "zz"))
def test_refuses_unknown_bases_and_names_the_known(bases):
    refuses(f"bases must be one of 'z', 'zo', 'zt'; got '{bases}'", qh.QCBM, qh.qcbm_ansatz(2), bases=bases)


def test_refuses_more_qubits_than_the_memory_holds(monkeypatch):
    monkeypatch.setattr(execution, "available_memory", lambda: 2 * 10**9)
    refuses("30 qubits need .* at most 25 qubits fit here. Use fewer", qh.QCBM, qh.qcbm_ansatz(30, 1, "none"))


def test_refuses_an_unknown_optimizer_and_names_the_known():
    refuses("one of 'cobyla', 'adam', 'spsa'.*; got 'sgd'", small().fit, BOUND[:, :2], "sgd")


@pytest.mark.parametrize(("bases", "width", "needed"), [("z", 1, 2), ("z", 4, 2), ("zo", 2, 4), ("zt", 3, 4)])
def test_refuses_bits_of_the_wrong_width(bases, width, needed):
    message = rf"bits must have shape \(N, {needed}\) with N ≥ 1.*; got shape \(6, {width}\)"
    refuses(message, small(bases).fit, np.zeros((6, width)))


def test_refuses_no_bits_and_what_is_no_bit():
    refuses("N ≥ 1", small().fit, np.zeros((0, 2)))
    refuses("bits must be 0 or 1; got 2", small().fit, np.array([[0, 1], [1, 2]]))
    refuses("bits must be 0 or 1; got -1.0", small().fit, np.array([[-1.0, 1.0]]))


@pytest.mark.parametrize("budget", (1, 5, 6))
def test_cobyla_refuses_a_budget_under_n_plus_2_before_any_evaluation(budget):
    how = Counting()
    qcbm = small(how=how)
    start = qcbm.angles.copy()
    message = f"max_evaluations must be at least 7 for COBYLA with 5 angles; got {budget}. .*simplex.*spsa"
    refuses(message, qcbm.fit, some_bits(qcbm), max_evaluations=budget)
    assert not how.calls
    np.testing.assert_array_equal(qcbm.angles, start)
    assert qcbm.fit(some_bits(qcbm), max_evaluations=7).n_evaluations == 7


@OPTIMIZERS
@pytest.mark.parametrize("budget", (0, -10))
def test_refuses_a_budget_below_one(budget, optimizer):
    message = f"max_evaluations must be an integer ≥ 1; got {budget}"
    refuses(message, small().fit, BOUND[:, :2], optimizer, budget)


@pytest.mark.parametrize("epsilon", (0, -1e-8, 1, math.nan))
def test_refuses_an_epsilon_that_is_no_probability(epsilon):
    refuses(f"epsilon must be between 0 and 1.*; got {epsilon}", small().fit, BOUND[:, :2], epsilon=epsilon)


@pytest.mark.parametrize("n_samples", (0, -3))
def test_refuses_to_draw_fewer_than_one_sample(n_samples):
    refuses(f"n_samples must be an integer in 1–.*; got {n_samples}", small().sample, n_samples)


@pytest.mark.parametrize(
    ("angles", "given"),
    [(np.zeros(3), r"shape \(3,\)"), (np.zeros((1, 5)), r"shape \(1, 5\)"), ([0, 0, 0, 0, math.nan], "nan")],
)
def test_refuses_angles_that_do_not_fit(angles, given):
    message = f"^angles must be 5 finite numbers in radians; got {given}$"
    qcbm = small()
    start = qcbm.angles.copy()
    refuses(message, qcbm.probabilities, angles)
    refuses(message, setattr, qcbm, "angles", angles)
    np.testing.assert_array_equal(qcbm.angles, start)


def test_refuses_angles_that_were_spoiled_in_place():
    qcbm = small()
    qcbm.angles[2] = math.inf
    for call, *arguments in ((qcbm.probabilities,), (qcbm.sample, 10), (qcbm.fit, some_bits(qcbm))):
        refuses("angles must be 5 finite numbers in radians; got inf", call, *arguments)
