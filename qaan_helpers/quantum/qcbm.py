"""The quantum circuit Born machine: a circuit whose measurements are the model, fitted to bits."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ParameterVector

from ..bits import MAX_INDEX_BITS, check_bits
from ..checks import MAX_SAMPLED_BITS, ExecutionError, check_integer
from . import optimizers
from .execution import Exact, Shots
from .losses import clipped_nll, clipped_nll_gradient, empirical_distribution

OPTIMIZERS = {"cobyla": 1500, "adam": 300, "spsa": 3000}  # and the evaluations each gets unless told
BASES = ("z", "zo", "zt")


@dataclass(frozen=True)
class FitResult:
    """What a fit did: the cost in nats of each evaluation, the best of them with its angles, and what it took."""

    costs: np.ndarray
    best_cost: float
    angles: np.ndarray
    n_evaluations: int
    n_circuits: int
    seconds: float


@dataclass(frozen=True)
class ResourceEstimate:
    """What a fit asks of the device at most: jobs that wait for one another, circuits in them, and shots in all."""

    jobs: int
    circuits: int
    shots: int

    def __str__(self) -> str:
        return f"{self.jobs:,} jobs one after the other, {self.circuits:,} circuits, {self.shots:,} shots"


class QCBM:
    """A model of n bits (2n in two bases): the Born distribution |⟨x|U(θ)|0⟩|² of a circuit with angles θ.

    circuit: unmeasured, with at least one parameter (see `qcbm_ansatz`). execution: where it runs.
    bases: "z" measures the circuit as it is; "zo" also after RX(π/2) on each qubit, "zt" after RX(φ) with a trained φ
    a qubit: each shot of the second circuit gives n further bits, paired with those of the first at random. No source
    says what the second half is fitted to; here the first n columns of the bits are the first circuit's, the others the
    second's. What the halves know of each other is thus lost, and the same θ must serve both.
    angles: (P,) float64, the current θ (then φ), in radians. Raises ValueError for a circuit that does not fit.
    Source: Liu & Wang, arXiv:1804.04168; bases: Rudolph et al., arXiv:2012.03924.
    """

    def __init__(self, circuit: QuantumCircuit, execution=None, seed: int | None = 0, bases: str = "z"):
        if not isinstance(circuit, QuantumCircuit) or not circuit.parameters or circuit.num_clbits:
            raise ValueError(
                f"circuit is {type(circuit).__name__}; a QuantumCircuit with at least one parameter and no "
                "measurements is needed: qcbm_ansatz(8) makes one"
            )
        check_integer("the circuit's number of qubits", circuit.num_qubits, most=MAX_INDEX_BITS)
        if bases not in BASES:
            raise ValueError(f"bases is {bases!r}; choose one of {', '.join(map(repr, BASES))}")
        self.circuit, self.bases = circuit, bases
        self.execution = execution if execution is not None else Exact()
        if not hasattr(self.execution, "prepare"):
            raise ValueError(f"execution is {execution!r}; Exact(), Shots(2000) or Primitive(sampler) is one")
        self.n_qubits = circuit.num_qubits
        self.n_bits = self.n_qubits * len(bases)
        circuits, parameters = _in_bases(circuit, bases)
        self._runners = [self.execution.prepare(c, parameters) for c in circuits]
        self._rng = np.random.default_rng(np.random.SeedSequence(seed))
        self._n_angles = len(parameters)
        self.angles = self._rng.normal(0, 0.2, self._n_angles)  # off the warm start's saddle: 0.01 learns less
        self.angles[circuit.num_parameters :] += np.pi / 2  # φ: from 0, both bases are one, and few fits leave that

    def probabilities(self, angles: np.ndarray | None = None, basis: int = 0) -> np.ndarray:
        """The model's distribution (2ⁿ,) in one basis, index = Σ_q bit_q · 2^q; frequencies where shots are drawn."""
        angles = self._check_angles(self.angles if angles is None else angles)
        if check_integer("basis", basis, 0) >= len(self._runners):
            raise ValueError(f"basis is {basis}; this circuit is measured in {len(self._runners)}, counted from 0")
        return self._runners[basis].probabilities(angles[None], self._rng)[0]

    def sample(self, n_samples: int) -> np.ndarray:
        """Measure `n_samples` times: bits (n_samples, n or 2n) uint8, column q is qubit q, rows in random order."""
        n_samples = check_integer("n_samples", n_samples, most=MAX_SAMPLED_BITS // self.n_bits)
        angles = self._check_angles(self.angles)
        return np.hstack([runner.sample(angles, n_samples, self._rng) for runner in self._runners])

    def fit(
        self,
        bits: np.ndarray,
        optimizer: str = "cobyla",
        max_evaluations: int | None = None,
        epsilon: float = 1e-8,
        callback: Callable[[int, float], None] | None = None,
        progress: bool = False,
        common_random_numbers: bool = False,
        **options,
    ) -> FitResult:
        """Move the angles so that the bits (N, n or 2n) become likely, and keep the best point that was evaluated.

        The cost is the clipped negative log-likelihood in nats; with two bases, the sum of both halves' costs.
        optimizer: "cobyla", "adam" (gradient by parameter shift; one evaluation takes 2P + 1 circuits) or "spsa".
        max_evaluations: of the cost, counted as they happen; by default 1,500, 300 and 3,000.
        callback(evaluation, cost) is called after each one; progress shows a bar. options go to the optimizer.
        common_random_numbers: every evaluation on Shots draws with one and the same seed, so that the cost is a fixed function.
        Raises ValueError for other bits than n columns of 0 and 1, or a budget or optimizer that cannot work, and
        ExecutionError where a device fails; the best angles until then are kept, and the next fit starts from them.
        """
        bits = check_bits(bits, self.n_bits)
        budget = _budget(optimizer, max_evaluations)
        if not 0 < epsilon < 1:
            raise ValueError(f"epsilon is {epsilon}; it clips probabilities, so it must lie between 0 and 1")
        if common_random_numbers and not isinstance(self.execution, Shots):
            raise ValueError(
                f"common_random_numbers needs Shots, whose seeds are ours to set, and this runs on {self.execution}"
            )
        start = self._check_angles(self.angles)
        targets = [empirical_distribution(half) for half in np.hsplit(bits, len(self.bases))]
        with _Progress(budget, progress, callback) as watch:
            objective = _Objective(self._runners, targets, epsilon, self._rng, budget, watch, common_random_numbers)
            try:
                objective.minimize(optimizer, start, options)
            except ExecutionError as error:
                raise ExecutionError(
                    f"{error}. {len(objective.costs):,} of {budget:,} evaluations were done; their best angles are "
                    "kept, and the next fit starts from them"
                ) from error
            finally:  # also when interrupted: the best angles so far are worth keeping
                if objective.costs:
                    self.angles = objective.best_angles
        return objective.result()

    def estimate_resources(self, optimizer: str = "cobyla", max_evaluations: int | None = None) -> ResourceEstimate:
        """What `fit` with these arguments asks of the device at most, so that it can be counted before it is paid.

        COBYLA may be done sooner; jobs that fail and are sent again come on top.
        """
        evaluations = _budget(optimizer, max_evaluations)
        points = 2 * self._n_angles + 1 if optimizer == "adam" else 1
        jobs = evaluations * len(self._runners)
        return ResourceEstimate(jobs, jobs * points, jobs * points * (self.execution.shots or 0))

    def _check_angles(self, angles) -> np.ndarray:
        angles = np.asarray(angles, dtype=float)
        if angles.shape != (self._n_angles,) or not np.isfinite(angles).all():
            raise ValueError(f"angles must be {self._n_angles} finite numbers, not shape {angles.shape}")
        return angles


def _in_bases(circuit, bases):
    """The circuits to measure, and all their parameters in the order of the angles."""
    circuits, parameters = [circuit], list(circuit.parameters)
    if bases != "z":
        turned = circuit.copy()
        n = circuit.num_qubits
        turn = [np.pi / 2] * n if bases == "zo" else list(ParameterVector("φ", n))
        for qubit, angle in enumerate(turn):
            turned.rx(angle, qubit)
        circuits.append(turned)
        parameters += turn if bases == "zt" else []
    return circuits, parameters


def _budget(optimizer, max_evaluations):
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer is {optimizer!r}; choose one of {', '.join(map(repr, OPTIMIZERS))}")
    return check_integer("max_evaluations", OPTIMIZERS[optimizer] if max_evaluations is None else max_evaluations)


class _BudgetSpent(Exception):
    """Raised inside an optimizer that asks for more evaluations than it was given."""


class _Objective:
    """The cost as an optimizer sees it: it counts every evaluation itself and remembers the best one."""

    def __init__(self, runners, targets, epsilon, rng, budget, watch, common_random_numbers):
        self._terms = list(zip(runners, targets, strict=True))
        self._epsilon, self._rng, self._budget, self._watch = epsilon, rng, budget, watch
        self._seed = int(rng.integers(2**63)) if common_random_numbers else None
        self.costs, self.n_circuits = [], 0
        self.best_angles = None
        self._started = time.perf_counter()

    def minimize(self, optimizer, angles, options):
        """Run the named optimizer from `angles` until it is done or the budget is spent."""
        try:
            if optimizer == "cobyla":
                optimizers.cobyla(self.cost, angles, self._budget, **options)
            elif optimizer == "adam":
                optimizers.adam(self.cost_and_gradient, angles, self._budget, **options)
            else:
                optimizers.spsa(self.cost, angles, self._budget, self._rng, **options)
        except _BudgetSpent:
            pass

    def cost(self, angles):
        """The cost in nats at one point (P,)."""
        self._spend(angles[None])
        total, rng = 0.0, self._shots_rng()
        for runner, (states, frequencies) in self._terms:
            probabilities = runner.probabilities(angles[None], rng, states)[0]
            total += clipped_nll(probabilities, frequencies, self._epsilon)
        return self._record(angles, total)

    def cost_and_gradient(self, angles):
        """The cost at one point and its gradient (P,) by parameter shift: every gate is exp(−iθP/2)."""
        shifts = np.pi / 2 * np.eye(len(angles))
        points = np.vstack([angles, angles + shifts, angles - shifts])
        self._spend(points)
        total, gradient, rng = 0.0, np.zeros(len(angles)), self._shots_rng()
        for runner, (states, frequencies) in self._terms:
            here, forth, back = np.split(runner.probabilities(points, rng, states), [1, len(angles) + 1])
            total += clipped_nll(here[0], frequencies, self._epsilon)
            gradient += (forth - back) / 2 @ clipped_nll_gradient(here[0], frequencies, self._epsilon)
        return self._record(angles, total), gradient

    def _shots_rng(self):
        """The generator that an evaluation draws its shots from: fresh numbers, or the same ones each time."""
        return self._rng if self._seed is None else np.random.default_rng(self._seed)

    def _spend(self, points):
        if len(self.costs) >= self._budget:
            raise _BudgetSpent
        self.n_circuits += len(points) * len(self._terms)

    def _record(self, angles, cost):
        cost = float(cost)
        if self.best_angles is None or cost < min(self.costs):
            self.best_angles = np.array(angles)
        self.costs.append(cost)
        self._watch(len(self.costs), cost)
        return cost

    def result(self):
        """What happened, as a FitResult."""
        return FitResult(
            costs=np.array(self.costs),
            best_cost=min(self.costs),
            angles=self.best_angles.copy(),
            n_evaluations=len(self.costs),
            n_circuits=self.n_circuits,
            seconds=time.perf_counter() - self._started,
        )


class _Progress:
    """A bar that counts evaluations, and the caller's callback; both optional."""

    def __init__(self, budget, show, callback):
        self._callback, self._bar = callback, None
        if show:
            from ..progress import tqdm

            self._bar = tqdm(total=budget, unit="evaluation", desc="fit")
        self._best = np.inf

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if self._bar:
            self._bar.finish() if error is None else self._bar.close()

    def __call__(self, evaluation, cost):
        if self._bar:
            self._best = min(self._best, cost)
            self._bar.set_postfix_str(f"best {self._best:.3f} nats", refresh=False)
            self._bar.update()
        if self._callback:
            self._callback(evaluation, cost)
