"""The quantum circuit Born machine (QCBM): a generative model whose samples are a circuit's measured bits."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector

from ..bits import MAX_INDEX_BITS, check_bits
from ..checks import MAX_SAMPLED_BITS, ExecutionError, check_choice, check_integer
from .execution import Exact, Execution, Runner, Shots
from .gradients import GradientMethod, gradient_method
from .losses import clipped_nll, clipped_nll_gradient, empirical_distribution
from .optimizers import Optimizer, as_optimizer


@dataclass(frozen=True)
class FitResult:
    """The result of `QCBM.fit`.

    Attributes:
        costs: The cost in nats of each evaluation, in order, shape (n_evaluations,).
        best_cost: The lowest cost in nats.
        angles: The angles with the lowest cost, shape (P,), in radians.
        n_evaluations: The number of evaluations of the cost.
        n_circuits: The number of circuits that were run. A reverse-mode gradient counts as one.
        seconds: The duration of the fit in seconds.
    """

    costs: np.ndarray
    best_cost: float
    angles: np.ndarray
    n_evaluations: int
    n_circuits: int
    seconds: float


@dataclass(frozen=True)
class Duration:
    """How long a fit takes in one execution mode.

    Attributes:
        wall_clock: The seconds from the first submission to the last result.
        billed: The seconds of the device's time that count as used.
    """

    wall_clock: float
    billed: float


@dataclass(frozen=True)
class ResourceEstimate:
    """An upper bound on what a fit asks of a device.

    Attributes:
        jobs: The number of jobs. Each job waits for the one before it.
        circuits: The total number of circuits in these jobs.
        shots: The total number of shots; 0 for exact simulation.
    """

    jobs: int
    circuits: int
    shots: int

    def __str__(self) -> str:
        return f"{self.jobs:,} sequential jobs, {self.circuits:,} circuits, {self.shots:,} shots"

    def durations(
        self, *, queue_seconds: float, seconds_per_job: float, seconds_per_shot: float
    ) -> dict[str, Duration]:
        """Estimate how long these jobs take in each of IBM's execution modes.

        The arguments are assumptions of the caller. Queues change from hour to hour. In mode "job" each job waits in
        the queue. In a session or batch only the first one does, if the next job is always submitted before the
        interactive timeout. A session is billed from its first job to its end, including the time between jobs. Jobs
        and batches are billed for the time on the device only.

        Args:
            queue_seconds: How long a job waits in the queue.
            seconds_per_job: The time of a job that is not spent on shots: compilation, transfers, and the optimizer.
            seconds_per_shot: The time from one shot to the next.

        Returns:
            The durations by mode ("job", "batch" and "session").

        Raises:
            ValueError: If an argument is not a number of at least 0.
        """
        given = {"queue_seconds": queue_seconds, "seconds_per_job": seconds_per_job}
        for name, value in (given | {"seconds_per_shot": seconds_per_shot}).items():
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < np.inf:
                raise ValueError(f"{name} must be a finite number of seconds ≥ 0; got {value!r}")
        on_device = self.shots * seconds_per_shot
        busy = self.jobs * seconds_per_job + on_device
        queue_once = queue_seconds + busy
        return {
            "job": Duration(self.jobs * queue_seconds + busy, on_device),
            "batch": Duration(queue_once, on_device),
            "session": Duration(queue_once, busy),
        }


class QCBM:
    """A model of n bits: the Born distribution `|⟨x|U(θ)|0⟩|²` of a circuit with angles θ.

    With two measurement bases it models 2n bits. Then a second circuit measures the same state after RX(π/2) ("zo") or
    after RX(φ) with trainable φ ("zt") on every qubit. Its n bits are paired with those of the first circuit at
    random. The papers do not say what the second circuit is fitted to. We fit the first circuit to the first n columns
    of the bits, and the second circuit to the others. Correlations between the two halves are therefore lost, and both
    halves share the same θ.

    Source: Liu and Wang, arXiv:1804.04168; two bases: Rudolph et al., arXiv:2012.03924.

    Args:
        circuit: A circuit with at least one parameter and no measurements; see `qcbm_ansatz`.
        execution: Where the circuit runs: `Exact()` if None, `Shots(...)` or `Primitive(...)`.
        seed: The seed of the initial angles, of all shots and of random optimizers; None for a random one.
        bases: The measurement bases: "z", "zo" or "zt".

    Raises:
        ValueError: If an argument is not allowed, or the circuit does not fit into memory or onto the device.
    """

    def __init__(
        self, circuit: QuantumCircuit, execution: Execution | None = None, seed: int | None = 0, bases: str = "z"
    ) -> None:
        if not isinstance(circuit, QuantumCircuit) or not circuit.parameters or circuit.num_clbits:
            given = type(circuit).__name__
            if isinstance(circuit, QuantumCircuit):
                given += f" with {circuit.num_parameters} parameters and {circuit.num_clbits} classical bits"
            raise ValueError(
                "circuit must be a QuantumCircuit with at least one parameter and no measurements, such as "
                f"qcbm_ansatz(8); got {given}"
            )
        check_integer("circuit.num_qubits", circuit.num_qubits, maximum=MAX_INDEX_BITS)
        check_choice("bases", bases, ("z", "zo", "zt"))
        execution = Exact() if execution is None else execution
        if not isinstance(execution, Execution):
            raise ValueError(f"execution must be Exact(), Shots(2000) or Primitive(sampler); got {execution!r}")
        self.circuit, self.execution, self.bases = circuit, execution, bases
        self.n_qubits = circuit.num_qubits
        self.n_bits = self.n_qubits * len(bases)
        self._circuits, self._parameters = _in_bases(circuit, bases)
        self._runners = [self.execution.prepare(c, self._parameters) for c in self._circuits]
        self._methods: list[GradientMethod] | None = None
        self._rng = np.random.default_rng(np.random.SeedSequence(seed))
        self._n_angles = len(self._parameters)
        # Away from the saddle at 0: a spread of 0.01 learns less.
        self._angles = self._rng.normal(0, 0.2, self._n_angles)
        self._angles[circuit.num_parameters :] += np.pi / 2  # φ: at 0 both bases are equal, and few fits leave that

    @property
    def angles(self) -> np.ndarray:
        """The current angles θ, followed by φ for "zt", shape (P,), in radians.

        Assigning validates and copies the new angles.

        Raises:
            ValueError: If the assigned value is not P finite numbers.
        """
        return self._angles

    @angles.setter
    def angles(self, angles: ArrayLike) -> None:
        self._angles = self._check_angles(angles).copy()

    def probabilities(self, angles: ArrayLike | None = None, basis: int = 0) -> np.ndarray:
        """Return the model's distribution in one basis.

        Args:
            angles: The angles, shape (P,), in radians; the current ones if None.
            basis: The index of the basis, 0 or 1.

        Returns:
            Probabilities, shape (2ⁿ,), with index Σ_q bit_q · 2^q. With shots these are relative frequencies.

        Raises:
            ValueError: If the angles or the basis are not allowed, or 2ⁿ numbers do not fit into memory.
            ExecutionError: If the device fails.
        """
        checked = self._check_angles(self.angles if angles is None else angles)
        basis = check_integer("basis", basis, 0, len(self._runners) - 1)
        return self._runners[basis].probabilities(checked[None], self._rng)[0]

    def sample(self, n_samples: int) -> np.ndarray:
        """Draw bit strings from the circuit.

        Args:
            n_samples: The number of bit strings N.

        Returns:
            Bits, shape (N, n) or (N, 2n), uint8, rows in random order. Column q is qubit q.

        Raises:
            ValueError: If `n_samples` is not allowed.
            ExecutionError: If the device fails.
        """
        n_samples = check_integer("n_samples", n_samples, maximum=MAX_SAMPLED_BITS // self.n_bits)
        angles = self._check_angles(self.angles)
        return np.hstack([runner.sample(angles, n_samples, self._rng) for runner in self._runners])

    def cost_and_gradient(self, bits: ArrayLike, epsilon: float = 1e-8) -> tuple[float, np.ndarray]:
        """Return the clipped negative log-likelihood of bit strings and its gradient, at the current angles.

        On `Exact()` the gradient comes from reverse-mode differentiation, at a few times the price of the
        probabilities. Elsewhere, and for gates that `StatevectorCircuit` does not support, it comes from the
        parameter-shift rule, which runs two further circuits per gate. With two bases the cost is the sum over both
        circuits.

        Args:
            bits: The data, shape (N, n) or (N, 2n), values 0 and 1.
            epsilon: The lower bound at which probabilities are clipped, between 0 and 1.

        Returns:
            The cost in nats, and its derivatives with respect to the angles, shape (P,), in nats per radian.

        Raises:
            ValueError: If an argument is not allowed, or a gate has no gradient.
            ExecutionError: If the device fails.
        """
        objective = self._objective(bits, epsilon, budget=1)
        return objective.cost_and_gradient(self._check_angles(self.angles))

    def fit(
        self,
        bits: ArrayLike,
        optimizer: str | Mapping[str, object] | Optimizer = "cobyla",
        max_evaluations: int | None = None,
        epsilon: float = 1e-8,
        callback: Callable[[int, float], None] | None = None,
        progress: bool = False,
        common_random_numbers: bool = False,
    ) -> FitResult:
        """Fit the angles to bit strings, and set them to the best point that was evaluated.

        The cost is the clipped negative log-likelihood in nats. With two bases it is the sum over both circuits.

        Args:
            bits: The data, shape (N, n) or (N, 2n), values 0 and 1.
            optimizer: "cobyla", "adam" or "spsa", or an optimizer with options of your own: `Cobyla`, `Adam`, `Spsa`.
            max_evaluations: The number of evaluations of the cost allowed; the optimizer's own if None.
            epsilon: The lower bound at which probabilities are clipped, between 0 and 1.
            callback: Called as callback(evaluation, cost) after each evaluation, counted from 1.
            progress: Whether to show a progress bar.
            common_random_numbers: Whether every evaluation on `Shots` uses the same seed. The cost is then a
                deterministic function.

        Returns:
            The costs, the best angles, and what the fit took.

        Raises:
            ValueError: If the bits, the budget or another argument is not allowed.
            ExecutionError: If the device fails. The best angles so far are kept, and the next fit starts from them.
        """
        optimizer = as_optimizer(optimizer)
        budget = optimizer.check_budget(self._n_angles, max_evaluations)
        if common_random_numbers and not isinstance(self.execution, Shots):
            raise ValueError(
                f"common_random_numbers needs Shots, whose seeds the package sets; execution is {self.execution}"
            )
        objective = self._objective(bits, epsilon, budget, callback)
        start = self._check_angles(self.angles)
        if optimizer.n_gradients(self._n_angles, budget):
            objective.methods()  # an unsupported gate is reported before any work
        with _progress_bar(budget) if progress else nullcontext() as objective.bar:
            if common_random_numbers:
                objective.seed = int(self._rng.integers(2**63))
            try:
                with suppress(_BudgetSpent):
                    optimizer.minimize(objective, start, budget, self._rng)
            except ExecutionError as error:
                raise ExecutionError(
                    f"{error}. {len(objective.costs):,} of {budget:,} evaluations were done; their best angles are "
                    "kept, and the next fit starts from them"
                ) from error
            finally:  # also when interrupted: the best angles so far are worth keeping
                if objective.costs:
                    self.angles = objective.best_angles
            if objective.bar:
                objective.bar.finish()
        return objective.result()

    def estimate_resources(
        self, optimizer: str | Mapping[str, object] | Optimizer = "cobyla", max_evaluations: int | None = None
    ) -> ResourceEstimate:
        """Estimate what `fit` with these arguments asks of the device at most, before it runs.

        COBYLA may converge earlier, and SPSA leaves one evaluation of an even budget unused. Jobs that fail and are
        sent again are not included.

        Args:
            optimizer: As in `fit`.
            max_evaluations: As in `fit`.

        Returns:
            The largest possible numbers of jobs, circuits and shots.

        Raises:
            ValueError: If the optimizer or the budget is not allowed, or a gate has no gradient and the optimizer
                needs one.
        """
        optimizer = as_optimizer(optimizer)
        evaluations = optimizer.check_budget(self._n_angles, max_evaluations)
        jobs = circuits = evaluations * len(self._runners)
        if gradients := optimizer.n_gradients(self._n_angles, evaluations):
            circuits += gradients * sum(method.n_circuits - 1 for method in self._gradient_methods())
        return ResourceEstimate(jobs, circuits, circuits * (self.execution.shots or 0))

    def state_dict(self) -> dict[str, Any]:
        """Return what changes when the model is used.

        Returns:
            "angles", a copy of shape (P,) in radians, and "rng", the random generator's state (JSON-able).
        """
        return {"angles": self.angles.copy(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state_dict` returned.

        Args:
            state: "angles", shape (P,) in radians, and "rng", a generator's state.

        Raises:
            ValueError: If the angles or the generator's state do not fit. The model is then unchanged.
        """
        angles = self._check_angles(state["angles"])
        try:
            self._rng.bit_generator.state = state["rng"]
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(
                f"rng must be the state of NumPy's PCG64 generator, as state_dict() returns it; got {state['rng']!r}"
            ) from error
        self.angles = angles

    def _objective(
        self, bits: ArrayLike, epsilon: float, budget: int, callback: Callable[[int, float], None] | None = None
    ) -> "_Objective":
        if not 0 < epsilon < 1:
            raise ValueError(f"epsilon must be between 0 and 1, because it clips probabilities; got {epsilon}")
        halves = np.hsplit(check_bits(bits, self.n_bits), len(self.bases))
        targets = [empirical_distribution(half) for half in halves]
        return _Objective(self._runners, self._gradient_methods, targets, epsilon, self._rng, budget, callback)

    def _gradient_methods(self) -> list[GradientMethod]:
        """Return how to differentiate each circuit, prepared at the first call."""
        if self._methods is None:
            self._methods = [
                gradient_method(self.execution, circuit, self._parameters, runner)
                for circuit, runner in zip(self._circuits, self._runners, strict=True)
            ]
        return self._methods

    def _check_angles(self, angles: ArrayLike) -> np.ndarray:
        array = np.asarray(angles, dtype=float)
        if array.shape != (self._n_angles,):
            raise ValueError(f"angles must be {self._n_angles} finite numbers in radians; got shape {array.shape}")
        if not np.isfinite(array).all():
            strange = array[~np.isfinite(array)][0]
            raise ValueError(f"angles must be {self._n_angles} finite numbers in radians; got {strange}")
        return array


def _in_bases(circuit: QuantumCircuit, bases: str) -> tuple[list[QuantumCircuit], list[Parameter]]:
    """Return the circuits to measure and all their parameters, in the order of the angles."""
    circuits, parameters = [circuit], list(circuit.parameters)
    if bases != "z":
        rotated = circuit.copy()
        phi = list(ParameterVector("φ", circuit.num_qubits)) if bases == "zt" else []
        for qubit in range(circuit.num_qubits):
            rotated.rx(phi[qubit] if phi else np.pi / 2, qubit)
        circuits.append(rotated)
        parameters += phi
    return circuits, parameters


class _BudgetSpent(Exception):
    """Raised by the objective when an optimizer asks for more evaluations than its budget."""


class _Objective:
    """The cost that an optimizer minimizes. It counts every evaluation and remembers the best one."""

    def __init__(
        self,
        runners: list[Runner],
        methods: Callable[[], list[GradientMethod]],
        targets: list[tuple[np.ndarray, np.ndarray]],
        epsilon: float,
        rng: Generator,
        budget: int,
        callback: Callable[[int, float], None] | None,
    ) -> None:
        self._runners, self.methods, self._targets = runners, methods, targets
        self._epsilon, self._rng, self._budget, self._callback = epsilon, rng, budget, callback
        self.bar: Any = None
        self.seed: int | None = None
        self.costs: list[float] = []
        self.n_circuits = 0
        self.best_cost, self.best_angles = np.inf, np.empty(0)
        self._started = time.perf_counter()

    def cost(self, angles: np.ndarray) -> float:
        """Return the cost in nats at one point (P,)."""
        self._spend(len(self._runners))
        total, rng = 0.0, self._shots_rng()
        for runner, (states, frequencies) in zip(self._runners, self._targets, strict=True):
            probabilities = runner.probabilities(angles[None], rng, states)[0]
            total += float(clipped_nll(probabilities, frequencies, self._epsilon))
        return self._record(angles, total)

    def cost_and_gradient(self, angles: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the cost in nats at one point (P,), and its gradient (P,)."""
        methods = self.methods()
        self._spend(sum(method.n_circuits for method in methods))
        total, gradient, rng = 0.0, np.zeros(len(angles)), self._shots_rng()
        for method, (states, frequencies) in zip(methods, self._targets, strict=True):
            probabilities, pull_back = method.linearize(angles, states, rng)
            total += float(clipped_nll(probabilities, frequencies, self._epsilon))
            gradient += pull_back(clipped_nll_gradient(probabilities, frequencies, self._epsilon))
        return self._record(angles, total), gradient

    def _shots_rng(self) -> Generator:
        """Return the generator of an evaluation's shots: the model's, or one with the same seed each time."""
        return self._rng if self.seed is None else np.random.default_rng(self.seed)

    def _spend(self, n_circuits: int) -> None:
        if len(self.costs) >= self._budget:
            raise _BudgetSpent
        self.n_circuits += n_circuits

    def _record(self, angles: np.ndarray, cost: float) -> float:
        if not self.costs or cost < self.best_cost:
            self.best_cost, self.best_angles = cost, np.array(angles)
        self.costs.append(cost)
        if self.bar:
            self.bar.set_postfix_str(f"best {self.best_cost:.3f} nats", refresh=False)
            self.bar.update()
        if self._callback:
            self._callback(len(self.costs), cost)
        return cost

    def result(self) -> FitResult:
        """Return what happened."""
        return FitResult(
            costs=np.array(self.costs),
            best_cost=self.best_cost,
            angles=self.best_angles.copy(),
            n_evaluations=len(self.costs),
            n_circuits=self.n_circuits,
            seconds=time.perf_counter() - self._started,
        )


def _progress_bar(budget: int) -> Any:
    from ..progress import tqdm

    return tqdm(total=budget, unit="evaluation", desc="fit")
