"""Benchmarks of the circuit: an evaluation of the cost and its parts, the gradient, and drawing codes."""

import importlib.util
from collections import Counter
from functools import partial

import numpy as np
from qiskit import transpile
from qiskit_aer import AerSimulator
from side_by_side import row_of, side_by_side

import qaan_helpers as qh
from qaan_helpers.quantum.losses import clipped_nll, empirical_distribution

LAYERS, SHOTS, ROWS = 2, 2000, 2000
EVALUATIONS = 40  # past COBYLA's first simplex, in the benchmark of a whole fit
FEW = 5  # naive evaluations beside a whole fit


def some_bits(n_bits: int) -> np.ndarray:
    """Bits (ROWS, n_bits) that know of each other: each copies its left neighbour four times in five."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (ROWS, n_bits), dtype=np.uint8)
    for q in range(1, n_bits):
        copied = rng.random(ROWS) < 0.8
        bits[copied, q] = bits[copied, q - 1]
    return bits


def naive_cost(n_qubits: int, angles: np.ndarray, rows: list[str]) -> float:
    """One evaluation as tutorials have it: build, transpile and run anew, and go through the rows one by one."""
    circuit = qh.qcbm_ansatz(n_qubits, LAYERS).assign_parameters(angles)
    circuit.measure_all()
    simulator = AerSimulator()
    counts = simulator.run(transpile(circuit, simulator), shots=SHOTS).result().get_counts()
    target = Counter(rows)
    return -sum(n / len(rows) * np.log(max(1e-8, counts.get(state, 0) / SHOTS)) for state, n in target.items())


class Parabola:
    """A cost that takes no time."""

    def cost(self, angles):
        return float(angles @ angles)


class Evaluation:
    """One point of the cost at `n_qubits`, and the parts and rivals of its evaluation, all with the same angles."""

    def __init__(self, n_qubits: int, shots: int | None):
        self.n, self.shots = n_qubits, shots
        self.bits = some_bits(n_qubits)
        self.rows = ["".join(map(str, row[::-1])) for row in self.bits.tolist()]
        self.execution = qh.Exact() if shots is None else qh.Shots(shots)
        circuit = qh.qcbm_ansatz(n_qubits, LAYERS)
        self.angles = np.random.default_rng(1).normal(0, 0.2, circuit.num_parameters)
        self.rng = np.random.default_rng(2)
        self.states, self.frequencies = empirical_distribution(self.bits)
        self.runner = self.execution.prepare(circuit, list(circuit.parameters))
        self.simulator = AerSimulator(method="statevector")
        bare = circuit.copy()
        bare.save_probabilities() if shots is None else bare.measure_all()
        self.bare_circuit = transpile(bare, self.simulator)
        self.binds = {parameter: [angle] for parameter, angle in zip(circuit.parameters, self.angles, strict=True)}
        self.found = self.readout()
        self.qcbm = qh.QCBM(circuit, self.execution, seed=0)
        self.start = self.qcbm.angles

    def naive(self):
        """The whole evaluation, as tutorials have it."""
        return naive_cost(self.n, self.angles, self.rows)

    def bare(self):
        """Aer alone: the circuit transpiled once, bound and run; what came out is not looked at."""
        options = {"shots": self.shots or 1, "runtime_parameter_bind_enable": True}
        return self.simulator.run([self.bare_circuit], parameter_binds=[self.binds], **options).result()

    def readout(self):
        """Ours up to the probabilities of the states that occur: the circuit, and reading its result."""
        return self.runner.probabilities(self.angles[None], self.rng, self.states)[0]

    def cost(self):
        """Ours from there: the clipped negative log-likelihood."""
        return clipped_nll(self.found, self.frequencies)

    def ours(self):
        """The whole evaluation, ours."""
        return clipped_nll(self.readout(), self.frequencies)

    def optimizer(self):
        """SciPy's COBYLA on a parabola in as many angles, with as many evaluations as `fit` has."""
        qh.Cobyla().minimize(Parabola(), self.angles.copy(), self.budget, self.rng)

    def fit(self):
        """A fit by COBYLA: its first simplex and some evaluations more."""
        self.qcbm.angles = self.start
        self.qcbm.fit(self.bits, max_evaluations=self.budget)

    @property
    def budget(self) -> int:
        """Evaluations of `fit`."""
        return len(self.angles) + 2 + EVALUATIONS


def cases(quick: bool):
    """(qubits, shots, rounds), fewer rounds where one takes longer."""
    for n_qubits in (4, 8) if quick else (4, 6, 8, 10, 12, 14, 16):
        for shots in (None, SHOTS):
            yield n_qubits, shots, 3 if quick or n_qubits > 12 else 15


def evaluation(quick: bool = False):
    """An evaluation of the cost against the naive pattern and bare Aer, and where its time goes.

    ratio: how many times as fast as the naive pattern. over_aer: our time to that of bare Aer. scipy: COBYLA's own
    work for it, in a fit.
    """
    for n_qubits, shots, rounds in cases(quick):
        point = Evaluation(n_qubits, shots)
        ways = {name: getattr(point, name) for name in ("naive", "bare", "readout", "cost", "ours")}
        told = side_by_side(ways, rounds, f"{n_qubits} qubits")
        row = {"qubits": n_qubits, "angles": len(point.angles), "shots": shots or "exact"} | row_of(told)
        row["scipy_ms"] = side_by_side({"scipy": point.optimizer}, 2, "SciPy")["scipy"]["ms"] / point.budget
        yield row | {"over_aer": told["bare"]["ratio"] / told["ours"]["ratio"]}


def again(call, times: int) -> None:
    """The same call, so many times."""
    for _ in range(times):
        call()


def cobyla(quick: bool = False):
    """An evaluation inside a fit by COBYLA, SciPy's own work included.

    All ways take their turns in one run: a fit, as many calls of bare Aer, SciPy on a parabola, a few naive calls.
    ratio: how many times as fast as the naive pattern with the same optimizer. over_floor: our time to that of bare Aer
    and SciPy together.
    """
    for n_qubits, shots, rounds in cases(quick):
        if n_qubits > 12:
            continue
        point = Evaluation(n_qubits, shots)
        calls = {"naive": FEW, "bare": point.budget, "optimizer": 1, "fit": 1}
        ways = {name: partial(again, getattr(point, name), times) for name, times in calls.items()}
        told = side_by_side(ways, max(2, rounds // 5), "fits")
        naive, bare = told["naive"]["ms"] / FEW, told["bare"]["ms"] / point.budget
        scipy, fit = (told[name]["ms"] / point.budget for name in ("optimizer", "fit"))
        row = {"qubits": n_qubits, "shots": shots or "exact", "fit_ms": fit, "scipy_ms": scipy, "bare_ms": bare}
        yield row | {"naive_ms": naive, "ratio": (naive + scipy) / fit, "over_floor": fit / (bare + scipy)}


def gradient(quick: bool = False):
    """A gradient by parameter shift: all points in one call, against one call a point."""
    for n_qubits in (4,) if quick else (6, 8, 10):
        point = Evaluation(n_qubits, None)
        shifts = np.pi / 2 * np.eye(len(point.angles))
        points = np.vstack([point.angles + shifts, point.angles - shifts])

        def together(rows, point=point):
            return point.runner.probabilities(rows, None, point.states)

        def one_by_one(rows, together=together):
            return np.vstack([together(row[None]) for row in rows])

        ways = {"one_by_one": partial(one_by_one, points), "ours": partial(together, points)}
        told = side_by_side(ways, 3 if quick else 7, "gradients")
        yield {"qubits": n_qubits, "angles": len(point.angles), "circuits": len(points)} | row_of(told)


def latents(quick: bool = False):
    """Drawing codes from a circuit of eight qubits: a batch a call, against all of an epoch at once."""
    for name, execution in {"exact": qh.Exact(), "shots": qh.Shots(SHOTS)}.items():
        prior = qh.QCBMPrior(8, execution=execution)
        for n_samples in (64, 50_000):
            told = side_by_side({"ours": lambda p=prior, n=n_samples: p.sample(n)}, 3 if quick else 15, "codes")
            yield {"execution": name, "codes": n_samples, "ours_ms": told["ours"]["ms"]}


def peers(quick: bool = False):
    """Exact probabilities at one point: ours on Aer, PennyLane's lightning and qulacs, where they are installed."""
    for n_qubits in (4,) if quick else (8, 10, 12):
        point = Evaluation(n_qubits, None)
        ways = {"ours": lambda p=point: p.runner.probabilities(p.angles[None])}
        for package, make in {"pennylane_lightning": lightning, "qulacs": qulacs}.items():
            if importlib.util.find_spec(package):
                ways[package] = make(n_qubits, point.angles)
                assert np.allclose(ways[package](), ways["ours"]()), f"{package} has another circuit"
        told = side_by_side(ways, 5 if quick else 25, "peers")
        yield {"qubits": n_qubits} | {f"{name}_ms": figures["ms"] for name, figures in told.items()}


def gates(n_qubits: int, angles: np.ndarray):
    """(name, qubits, angle) of each gate of our ansatz in order, for those who build it their own way."""
    circuit = qh.qcbm_ansatz(n_qubits, LAYERS)
    value = dict(zip(circuit.parameters, angles, strict=True))
    for instruction in circuit.data:
        qubits = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        angle = value[instruction.operation.params[0]] if instruction.operation.params else None
        yield instruction.operation.name, qubits, angle


def lightning(n_qubits: int, angles: np.ndarray):
    """The ansatz on PennyLane's lightning.qubit."""
    import pennylane as qml

    known = {"h": qml.Hadamard, "rx": qml.RX, "rz": qml.RZ, "rxx": qml.IsingXX}
    device = qml.device("lightning.qubit", wires=n_qubits)
    order = range(n_qubits)[::-1]  # PennyLane's first wire is the highest bit

    @qml.qnode(device)
    def born(values):
        for place, (name, qubits, angle) in enumerate(plan):
            known[name](*([] if angle is None else [values[place]]), wires=qubits)
        return qml.probs(wires=order)

    plan = list(gates(n_qubits, angles))
    values = np.array([angle or 0.0 for _, _, angle in plan])
    return lambda: born(values)


def qulacs(n_qubits: int, angles: np.ndarray):
    """The ansatz on qulacs, built once as a parametric circuit."""
    from qulacs import ParametricQuantumCircuit, QuantumState

    circuit, values = ParametricQuantumCircuit(n_qubits), []
    for name, qubits, angle in gates(n_qubits, angles):
        if name == "h":
            circuit.add_H_gate(qubits[0])
            continue
        values.append(-angle)  # qulacs turns the other way
        if name == "rxx":
            circuit.add_parametric_multi_Pauli_rotation_gate(qubits, [1, 1], 0.0)
        else:
            getattr(circuit, f"add_parametric_{name.upper()}_gate")(qubits[0], 0.0)

    def born():
        for place, value in enumerate(values):
            circuit.set_parameter(place, value)
        state = QuantumState(n_qubits)
        circuit.update_quantum_state(state)
        return np.abs(state.get_vector()) ** 2

    return born


BENCHMARKS = {f.__name__: f for f in (evaluation, cobyla, gradient, latents, peers)}
