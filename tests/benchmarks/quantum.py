"""Benchmarks of the circuit: an evaluation of the cost and its parts, the gradient, and drawing codes."""

import importlib.util
from collections import Counter
from functools import partial

import numpy as np
from qiskit import transpile
from qiskit_aer import AerSimulator
from side_by_side import row_of, side_by_side

import qaan_helpers as qh
from qaan_helpers.quantum.losses import clipped_nll, clipped_nll_gradient, empirical_distribution

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
    """Cost and gradient at one point: reverse mode, parameter shift, and the adjoint methods of Lightning and Qulacs.

    over_probabilities: our time to that of one call for the probabilities alone. over_shift: the time of parameter
    shift, all points in one call, to ours; it is left out where it takes seconds.
    """
    for n_qubits in (4,) if quick else (8, 10, 12, 16):
        point = Evaluation(n_qubits, None)
        objective = point.qcbm._objective(point.bits, 1e-8, budget=10**9)  # the same call as in a fit
        ways = {
            "probabilities": lambda p=point: p.runner.probabilities(p.angles[None]),
            "ours": lambda p=point, o=objective: o.cost_and_gradient(p.angles),
        }
        if n_qubits <= 10:
            ways["shift"] = partial(by_parameter_shift, point)
        for package, make in {"pennylane_lightning": lightning_gradient, "qulacs": qulacs_gradient}.items():
            if importlib.util.find_spec(package):
                ways[package] = partial(make(n_qubits, point.angles), point)
        cost, slopes = ways["ours"]()
        for name in [name for name in ways if name not in ("probabilities", "ours")]:
            other_cost, other_slopes = ways[name]()
            assert np.isclose(other_cost, cost) and np.allclose(other_slopes, slopes), f"{name} has another gradient"
        times = side_by_side(ways, 3 if quick or n_qubits > 12 else 15, "gradients")
        row = {"qubits": n_qubits, "angles": len(point.angles)}
        row |= {f"{name}_ms": figures["ms"] for name, figures in times.items()}
        row["over_probabilities"] = times["probabilities"]["ratio"] / times["ours"]["ratio"]
        if "shift" in times:
            row["over_shift"] = times["ours"]["ratio"] / times["shift"]["ratio"]
        yield row


def by_parameter_shift(point: Evaluation):
    """Return cost and gradient from two further circuits per angle, all of them in one call."""
    shifts = np.pi / 2 * np.eye(len(point.angles))
    points = np.vstack([point.angles, point.angles + shifts, point.angles - shifts])
    here, plus, minus = np.split(point.runner.probabilities(points, None, point.states), [1, len(point.angles) + 1])
    weights = clipped_nll_gradient(here[0], point.frequencies)
    return clipped_nll(here[0], point.frequencies), (plus - minus) / 2 @ weights


def latents(quick: bool = False):
    """Drawing codes from a circuit of eight qubits: a batch a call, against all of an epoch at once."""
    for name, execution in {"exact": qh.Exact(), "shots": qh.Shots(SHOTS)}.items():
        prior = qh.QCBMPrior(8, execution=execution)
        for n_samples in (64, 50_000):
            told = side_by_side({"ours": lambda p=prior, n=n_samples: p.sample(n)}, 3 if quick else 15, "codes")
            yield {"execution": name, "codes": n_samples, "ours_ms": told["ours"]["ms"]}


def peers(quick: bool = False):
    """Exact probabilities at one point: ours on Aer, Aer's `run`, PennyLane's Lightning, and Qulacs."""
    for n_qubits in (4,) if quick else (8, 10, 12, 16):
        point = Evaluation(n_qubits, None)
        ways = {"ours": lambda p=point: p.runner.probabilities(p.angles[None]), "bare": point.bare}
        for package, make in {"pennylane_lightning": lightning, "qulacs": qulacs}.items():
            if importlib.util.find_spec(package):
                ways[package] = make(n_qubits, point.angles)
                assert np.allclose(ways[package](), ways["ours"]()), f"{package} has another circuit"
        times = side_by_side(ways, 3 if quick or n_qubits > 12 else 25, "peers")
        yield {"qubits": n_qubits} | {f"{name}_ms": figures["ms"] for name, figures in times.items()}


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


def lightning_gradient(n_qubits: int, angles: np.ndarray):
    """Return cost and gradient on PennyLane's lightning.qubit.

    Its adjoint method differentiates expectation values. The derivative of the cost with respect to the probabilities,
    as a diagonal observable, has the same gradient as the cost.
    """
    import pennylane as qml
    from pennylane.devices import ExecutionConfig
    from scipy.sparse import diags

    known = {"h": qml.Hadamard, "rx": qml.RX, "rz": qml.RZ, "rxx": qml.IsingXX}
    device, wires = qml.device("lightning.qubit", wires=n_qubits), range(n_qubits)
    operations = []
    for name, qubits, angle in gates(n_qubits, angles):
        places = [n_qubits - 1 - qubit for qubit in qubits]  # PennyLane's first wire is the highest bit
        operations.append(known[name](*([] if angle is None else [angle]), wires=places))
    trainable = list(range(len(angles)))
    adjoint = ExecutionConfig(gradient_method="adjoint")

    def cost_and_gradient(point: Evaluation):
        circuit = qml.tape.QuantumScript(operations, [qml.probs(wires=wires)])
        circuit = circuit.bind_new_parameters(point.angles.tolist(), trainable)
        p = np.asarray(device.execute(circuit))
        weights = np.zeros(len(p))
        weights[point.states] = clipped_nll_gradient(p[point.states], point.frequencies)
        observable = qml.SparseHamiltonian(diags(weights).tocsr(), wires=wires)
        script = qml.tape.QuantumScript(circuit.operations, [qml.expval(observable)], trainable_params=trainable)
        gradient = np.ravel(device.compute_derivatives(script, adjoint))
        return clipped_nll(p[point.states], point.frequencies), gradient

    return cost_and_gradient


def qulacs_circuit(n_qubits: int, angles: np.ndarray):
    """Return the ansatz as a parametric circuit of Qulacs, and its parameters."""
    from qulacs import ParametricQuantumCircuit

    circuit, values = ParametricQuantumCircuit(n_qubits), []
    for name, qubits, angle in gates(n_qubits, angles):
        if name == "h":
            circuit.add_H_gate(qubits[0])
            continue
        values.append(-angle)  # Qulacs rotates the other way
        if name == "rxx":
            circuit.add_parametric_multi_Pauli_rotation_gate(qubits, [1, 1], 0.0)
        else:
            getattr(circuit, f"add_parametric_{name.upper()}_gate")(qubits[0], 0.0)
    return circuit, values


def qulacs_state(circuit, values: list[float], n_qubits: int):
    """Run the circuit of Qulacs with these parameters."""
    from qulacs import QuantumState

    for place, value in enumerate(values):
        circuit.set_parameter(place, value)
    state = QuantumState(n_qubits)
    circuit.update_quantum_state(state)
    return state.get_vector()


def qulacs(n_qubits: int, angles: np.ndarray):
    """The ansatz on Qulacs, built once as a parametric circuit."""
    circuit, values = qulacs_circuit(n_qubits, angles)
    return lambda: np.abs(qulacs_state(circuit, values, n_qubits)) ** 2


def qulacs_gradient(n_qubits: int, angles: np.ndarray):
    """Return cost and gradient on Qulacs, by backpropagation of an inner product."""
    from qulacs import QuantumState

    circuit, values = qulacs_circuit(n_qubits, angles)
    adjoint = QuantumState(n_qubits)

    def cost_and_gradient(point: Evaluation):
        amplitudes = qulacs_state(circuit, values, n_qubits)
        p = np.abs(amplitudes[point.states]) ** 2
        weights = np.zeros(len(amplitudes))
        weights[point.states] = clipped_nll_gradient(p, point.frequencies)
        adjoint.load(weights * amplitudes)
        gradient = -2 * np.array(circuit.backprop_inner_product(adjoint))  # half of it comes from each amplitude
        return clipped_nll(p, point.frequencies), gradient

    return cost_and_gradient


BENCHMARKS = {f.__name__: f for f in (evaluation, cobyla, gradient, latents, peers)}
