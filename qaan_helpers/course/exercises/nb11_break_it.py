"""Checks of notebook 11's exercises, the runs with hidden faults to diagnose, and a display of the project's tests."""

import ast
import functools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
import torch
from IPython.display import Markdown

from ... import QAAN
from ...bits import binarize, from_index, mutual_information, sample_bits, to_index
from ...priors import circuit_prior
from ...quantum.qcbm import QCBM, FitResult
from .grading import NUMBER, WORD, Hint, a_function, a_whole_number, between, equals, grade, needs_keys, one_of

FAULTS = (
    *("reversed bits", "frozen seed", "too few evaluations", "most frequent outcome"),
    *("weights instead of activations", "sorted shots", "none"),
)
RUNS = "ABCD"
_TESTS = Path(__file__).resolve().parents[3] / "tests" / "unit"


def show_test(file: str, name: str, *helpers: str) -> Markdown:
    """Show a test of this project.

    Args:
        file: The name of a file in tests/unit.
        name: The name of the test.
        *helpers: Names of functions and classes in the same file that the test uses; shown before it.

    Returns:
        The source with its decorators, or where to find the test if the project's folder is not here.
    """
    path = _TESTS / file
    if not path.exists():
        return Markdown(f"This test is `{name}` in `tests/unit/{file}` of the project's repository.")
    text = path.read_text(encoding="utf-8")
    sources = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            sources[node.name] = "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    shown = "\n\n".join(sources[part] for part in (*helpers, name))
    return Markdown(f"From [tests/unit/{file}](../tests/unit/{file}):\n\n```python\n{shown}\n```")


def check_blind_qubit(qubit: object) -> bool:
    """Check exercise 1 of notebook 11: the qubit with which a test cannot find reversed bits.

    Args:
        qubit: The index of one of seven qubits, counted from 0.

    Returns:
        Whether the answer is right.
    """
    hints = [
        a_whole_number("A whole number is needed: the index of a qubit."),
        between(0, 6, "Seven qubits, counted from 0, have the numbers 0 to 6."),
        equals(
            3, "With this qubit the test finds the fault. To which column does reversal move the bit of each qubit?"
        ),
    ]
    return grade(
        qubit,
        hints,
        "Its bit keeps its place in reversed order, so the test passes with the fault. Apply X to each qubit in turn.",
    )


class FaultyRun:
    """A run with one of the faults of notebook 11, or none.

    Args:
        fault: One of `FAULTS`.
        gan: A healthy QAAN whose prior is a circuit.
        fit: The result of a fit of this circuit to the bits.
        bits: Bits of real images, shape (N, n), uint8.

    Attributes:
        costs: The costs in nats of the fit of the run's circuit, shape (n_evaluations,).

    Raises:
        ValueError: If the prior of `gan` is not a circuit.
    """

    def __init__(self, fault: str, gan: QAAN, fit: FitResult, bits: np.ndarray) -> None:
        prior = circuit_prior(gan.prior)
        if prior is None:
            raise ValueError(f"gan must have a circuit as its prior, as QCBMPrior has; got {type(gan.prior).__name__}")
        self._fault, self._gan, self._rng = fault, gan, np.random.default_rng(1)
        self._model = QCBM(prior.qcbm.circuit, seed=2)
        if fault == "weights instead of activations":
            self.costs = self._model.fit(self._bits_of_weights(), max_evaluations=300).costs
        elif fault == "too few evaluations":
            self.costs = _interrupted_costs(self._model, bits, 5)
        else:
            self._model.angles, self.costs = fit.angles, fit.costs

    def bits(self, images: torch.Tensor) -> np.ndarray:
        """Return the bits to which the circuit is fitted.

        Args:
            images: Real images, shape (N, 1, 28, 28), in [0, 1].

        Returns:
            Bits, shape (N, n), uint8.
        """
        if self._fault == "weights instead of activations":
            return self._bits_of_weights()
        return self._gan.bits(images)

    def _bits_of_weights(self) -> np.ndarray:
        layer = cast(torch.nn.Linear, self._gan.discriminator.hidden[0])
        return binarize(layer.weight.T, "bernoulli", seed=3)

    def probabilities(self) -> np.ndarray:
        """Return the exact distribution of the circuit.

        Returns:
            Probabilities, shape (2ⁿ,), with index Σ_q bit_q · 2^q.
        """
        return self._model.probabilities()

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample latent codes.

        Args:
            n_samples: The number of codes N.

        Returns:
            Bits, shape (N, n), uint8.
        """
        if self._fault == "frozen seed":
            return self._rng.permutation(sample_bits(self.probabilities(), n_samples, np.random.default_rng(4)))
        codes = self._model.sample(n_samples)
        if self._fault == "reversed bits":
            return codes[:, ::-1].copy()
        if self._fault == "sorted shots":
            return codes[np.argsort(to_index(codes))]
        if self._fault == "most frequent outcome":
            outcomes, counts = np.unique(codes, axis=0, return_counts=True)
            return np.tile(outcomes[counts.argmax()], (n_samples, 1))
        return codes


class _EnoughEvaluationsError(Exception):
    """Ends a fit."""


def _interrupted_costs(model: QCBM, bits: np.ndarray, n_evaluations: int) -> np.ndarray:
    """The costs of a fit that ends after so few evaluations that `fit` would refuse them as a budget."""
    costs = []

    def record(_: int, cost: float) -> None:
        costs.append(cost)
        if len(costs) == n_evaluations:
            raise _EnoughEvaluationsError

    with suppress(_EnoughEvaluationsError):
        model.fit(bits, callback=record)
    return np.array(costs)


def _faults() -> dict[str, str]:
    """The fault of each run."""
    return dict(zip(RUNS, np.random.default_rng(53).permutation(FAULTS).tolist(), strict=False))


def unknown_runs(gan: QAAN, fit: FitResult, bits: np.ndarray) -> dict[str, FaultyRun]:
    """Make the four runs of exercise 2 of notebook 11.

    Args:
        gan: A healthy QAAN whose prior is a circuit.
        fit: The result of a fit of this circuit to the bits.
        bits: Bits of real images, shape (N, n), uint8.

    Returns:
        The runs A to D, each with one fault or none.

    Raises:
        ValueError: If the prior of `gan` is not a circuit.
    """
    return {name: FaultyRun(fault, gan, fit, bits) for name, fault in _faults().items()}


def check_diagnoses(answer: object) -> bool:
    """Check exercise 2 of notebook 11: the faults of four runs.

    Args:
        answer: A dictionary {run: fault} with the runs "A" to "D" and the faults in `FAULTS`.

    Returns:
        Whether the answer is right.
    """
    wrong = []
    if isinstance(answer, dict):
        wrong = [name for name, fault in _faults().items() if answer.get(name) != fault]
    hint = (
        f"Measure again: {' and '.join(wrong)}. Do other images change the bits? Are there more costs than angles? How "
        "many different codes occur? How often are neighboring codes equal? Do counts differ between calls? Do they "
        "agree with the probabilities?"
    )
    hints = [needs_keys(dict.fromkeys(RUNS, WORD)), one_of(FAULTS, *RUNS), Hint(lambda _: not wrong, hint)]
    return grade(answer, hints, "You found each fault by measuring, without reading the code.")


def check_repair(function: object) -> bool:
    """Check exercise 3 of notebook 11: shots in two bases, each of them sorted.

    Args:
        function: A function of bits, shape (N, 2n), the first n columns from one basis and the others from another. It
            returns the same shots of each basis in random order, shape (N, 2n), with independent halves.

    Returns:
        Whether the answer is right.
    """
    rng = np.random.default_rng(5)
    shots = np.hstack([from_index(np.sort(rng.choice(16, 2000, p=p)), 4) for p in rng.dirichlet(np.ones(16), 2)])

    @functools.cache
    def repaired(call: int) -> np.ndarray:
        return np.asarray(cast(Callable, function)(shots.copy()))

    def indices(bits: np.ndarray) -> np.ndarray:
        return np.array([to_index(half) for half in np.hsplit(bits, 2)])

    def has_the_same_codes(bits: np.ndarray) -> bool:
        return np.array_equal(np.sort(indices(bits)), indices(shots))

    def is_mixed(bits: np.ndarray) -> bool:
        return (np.diff(indices(bits)) == 0).mean(axis=1).max() <= 0.5

    other = "The shots of one basis have changed. Keep the bits of a shot together: within each half, move whole rows."
    dependent = "Both halves are in random order, but they still depend on each other. Did both get the same order?"
    hints = [
        a_function(),
        Hint(lambda _: repaired(1).shape == shots.shape, "The result needs the shape of the argument, (N, 2n)."),
        Hint(lambda _: has_the_same_codes(repaired(1)), other),
        Hint(
            lambda _: is_mixed(repaired(1)),
            "In one of the halves, neighboring rows are equal too often: it is still sorted.",
        ),
        Hint(lambda _: mutual_information(repaired(1))[:4, 4:].sum() <= 0.1, dependent),
        Hint(
            lambda _: not np.array_equal(repaired(1), repaired(2)),
            "Two calls give the same order: a fixed seed is a fault of its own.",
        ),
    ]
    return grade(function, hints, "These are the same shots, and the halves are independent now.")


def check_collapse(answer: object) -> bool:
    """Check exercise 4 of notebook 11: a circuit fitted to a single row.

    Args:
        answer: A dictionary. "cost" is the lowest cost of the fit, "circuit" the entropy of the circuit's distribution
            and "codes" that of its samples, in nats. "impossible" is the name of the one that cannot be so low after a
            fit to all the bits.

    Returns:
        Whether the answer is right.
    """
    names = ("cost", "circuit", "codes")
    bound = "A badly fitted circuit can have such a low entropy. For which of the three do the data set a lower bound?"
    hints = [
        needs_keys({**dict.fromkeys(names, NUMBER), "impossible": WORD}),
        between(0, 3, "Pass the lowest cost of the fit to one row, after 1,000 evaluations.", "cost"),
        between(0, 4, "Pass the sum of −p log p over all states, for the fitted circuit.", "circuit"),
        Hint(
            lambda a: abs(a["codes"] - a["circuit"]) <= 0.3,
            "codes: Samples have almost the entropy of the circuit.",
        ),
        one_of(names, "impossible"),
        equals("cost", bound, "impossible"),
    ]
    praise = "The cost of all bits is at least their entropy. A lower cost shows that the fit did not use all of them."
    return grade(answer, hints, praise)
