"""Priors over latent bits: uniform, product, Boltzmann machine, Born machine, and controls, behind one protocol.

A prior can be used with any network that takes bits as latent codes. The circuit Born machine needs Qiskit, which is
imported when the first `QCBMPrior` is made.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from scipy.special import logsumexp

from .bits import check_bits, entropy, from_index, to_index
from .checks import MAX_BITS, MAX_SAMPLED_BITS, check_integer

if TYPE_CHECKING:
    from .quantum.execution import Execution
    from .quantum.optimizers import Optimizer
    from .quantum.qcbm import QCBM, FitResult

MAX_ENUMERATED_BITS = 16  # of which all 2ⁿ states are enumerated
RBM_CHAINS = 100  # Gibbs chains and rows per step; with 20, the cost diverges as the weights grow
RBM_LEARNING_RATE = 1.0  # of the first step; it decreases linearly to 0, or the cost fluctuates by a nat and more
RBM_ARRAYS = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")  # scikit-learn's names
SMALLEST_PROBABILITY = 1e-8  # of a code that a prior never generates, as in a circuit's cost
RBM_SWEEPS = 100  # Gibbs sweeps from uniform bits to samples; 30 suffice for the bits of ten digits in 16 units


@runtime_checkable
class Prior(Protocol):
    """A distribution over bit strings that can be fitted and sampled. Training needs these three members only.

    To be compared on held-out bits, a prior also has `probabilities()`: shape (2ⁿ,), index = Σ_q bit_q · 2^q.
    """

    @property
    def latent_dim(self) -> int:
        """Number n of bits per sample."""

    def fit(self, bits: np.ndarray) -> float:
        """Fit the prior to bits.

        Args:
            bits: Observed bits, shape (N, latent_dim), uint8.

        Returns:
            The negative log-likelihood of the bits in nats per row.
        """

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample latent codes.

        Args:
            n_samples: Number of codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8, with the rows in random order.
        """


@runtime_checkable
class PersistentPrior(Prior, Protocol):
    """A prior that can be saved and resumed. Its state must be available at any time, also before the first fit."""

    def config(self) -> dict[str, Any]:
        """Return what constructs this prior again, as values that JSON can hold; "kind" names its class in `PRIORS`."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change: arrays, and values that JSON can hold."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.
        """


@runtime_checkable
class CircuitPrior(Prior, Protocol):
    """A prior whose samples are measurements of a circuit.

    Attributes:
        qcbm: The circuit Born machine.
        last_fit: Result of the last fit; None before the first.
        on_evaluation: Called as on_evaluation(evaluation, cost) during fits; None for no callback.
        budget: Number of cost evaluations of the next fit, or of the current one.
    """

    qcbm: "QCBM"
    last_fit: "FitResult | None"
    on_evaluation: Callable[[int, float], None] | None

    @property
    def budget(self) -> int:
        """Number of cost evaluations of the next fit, or of the current one."""


def learned_prior(prior: Prior) -> Prior:
    """Return the prior that is fitted: the prior itself, or the one inside a wrapper such as `MixedPrior`.

    Args:
        prior: Any prior.
    """
    return prior.prior if isinstance(prior, _Wrapper) else prior


def circuit_prior(prior: Prior) -> CircuitPrior | None:
    """Return the fitted prior if it is a circuit, else None.

    Args:
        prior: Any prior; wrappers are looked through.
    """
    learned = learned_prior(prior)
    return learned if isinstance(learned, CircuitPrior) else None


class _SeededPrior:
    """A prior with a fixed number of bits and a random stream of its own."""

    kind: str

    def __init__(self, latent_dim: int = 8, seed: int | None = 0) -> None:
        self.latent_dim = check_integer("latent_dim", latent_dim, maximum=MAX_BITS)
        self._rng = np.random.default_rng(np.random.SeedSequence(seed))

    def config(self) -> dict[str, Any]:
        """Return what constructs this prior again."""
        return {"kind": self.kind, "latent_dim": self.latent_dim}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.

        Raises:
            ValueError: If the state belongs to another prior.
        """
        self._rng.bit_generator.state = state["rng"]

    def _check_count(self, n_samples: int) -> int:
        return check_integer("n_samples", n_samples, maximum=MAX_SAMPLED_BITS // self.latent_dim)

    def _uniform_bits(self, n_samples: int) -> np.ndarray:
        return self._rng.integers(0, 2, (n_samples, self.latent_dim), dtype=np.uint8)


class UniformPrior(_SeededPrior):
    """The uniform prior: every bit string is equally likely, and nothing is learned.

    Args:
        latent_dim: Number n of bits.
        seed: Seed of the samples; None for a random one.

    Raises:
        ValueError: If latent_dim is not an integer in 1–10,000.
    """

    kind = "uniform"

    def fit(self, bits: np.ndarray) -> float:
        """Learn nothing and return the negative log-likelihood, n log 2 nats.

        Args:
            bits: Observed bits, shape (N, latent_dim).

        Returns:
            n log 2.

        Raises:
            ValueError: If the bits have another width or other values than 0 and 1.
        """
        check_bits(bits, self.latent_dim)
        return self.latent_dim * math.log(2)

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample independent unbiased bits.

        Args:
            n_samples: Number of latent codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8.
        """
        return self._uniform_bits(self._check_count(n_samples))

    def probabilities(self) -> np.ndarray:
        """Return the distribution, shape (2ⁿ,): 2⁻ⁿ everywhere.

        Raises:
            ValueError: If n is above 16.
        """
        _check_enumerable(self.latent_dim)
        return np.full(2**self.latent_dim, 0.5**self.latent_dim)


class ProductPrior(_SeededPrior):
    """A product of independent Bernoulli distributions: all that a prior without correlations can learn.

    Args:
        latent_dim: Number n of bits.
        seed: Seed of the samples; None for a random one.

    Raises:
        ValueError: If latent_dim is not an integer in 1–10,000.
    """

    kind = "product"

    def __init__(self, latent_dim: int = 8, seed: int | None = 0) -> None:
        super().__init__(latent_dim, seed)
        self.p = np.full(self.latent_dim, 0.5)

    def fit(self, bits: np.ndarray) -> float:
        """Set each bit's probability to its mean, with Laplace smoothing.

        Args:
            bits: Observed bits, shape (N, latent_dim).

        Returns:
            The negative log-likelihood of the bits in nats per row.

        Raises:
            ValueError: If the bits have another width or other values than 0 and 1.
        """
        bits = check_bits(bits, self.latent_dim)
        self.p = (bits.sum(0) + 1) / (len(bits) + 2)
        mean = bits.mean(0)
        return float(-(mean * np.log(self.p) + (1 - mean) * np.log1p(-self.p)).sum())

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample independent biased bits.

        Args:
            n_samples: Number of latent codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8.
        """
        shape = self._check_count(n_samples), self.latent_dim
        return (self._rng.random(shape) < self.p).astype(np.uint8)

    def probabilities(self) -> np.ndarray:
        """Return the distribution, shape (2ⁿ,).

        Raises:
            ValueError: If n is above 16.
        """
        return np.where(_states(self.latent_dim), self.p, 1 - self.p).prod(1)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change."""
        return {**super().state_dict(), "p": self.p}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.

        Raises:
            ValueError: If the state does not hold one probability per bit.
        """
        p = np.array(state["p"], dtype=float)
        if p.shape != (self.latent_dim,) or not ((p >= 0) & (p <= 1)).all():
            raise ValueError(f"p must be {self.latent_dim} probabilities; got {p}")
        super().load_state_dict(state)
        self.p = p


class RBMPrior(_SeededPrior):
    """A restricted Boltzmann machine (scikit-learn's), the classical counterpart of a Born machine.

    Hidden units make the bits dependent. The machine starts close to the uniform distribution, and every later fit
    continues from the previous weights.

    Source: Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", 2008.

    Args:
        latent_dim: Number n of bits.
        hidden: Number of hidden units; n if None. 8 bits and 8 units have 80 parameters, where the circuit has 88.
        steps: Gradient steps of the first fit.
        refit_steps: Gradient steps of every later fit.
        seed: Seed of the initial weights and of all sampling; None for a random one.

    Raises:
        ValueError: If a number is not a positive integer or latent_dim is above 10,000.
    """

    kind = "rbm"

    def __init__(
        self,
        latent_dim: int = 8,
        hidden: int | None = None,
        steps: int = 3000,
        refit_steps: int = 1000,
        seed: int | None = 0,
    ) -> None:
        from sklearn.neural_network import BernoulliRBM

        super().__init__(latent_dim, seed)
        self.hidden = check_integer("hidden", self.latent_dim if hidden is None else hidden)
        self.steps, self.refit_steps = check_integer("steps", steps), check_integer("refit_steps", refit_steps)
        self._fitted = False
        self._rbm = BernoulliRBM(self.hidden, batch_size=RBM_CHAINS)
        self._rbm.random_state_ = np.random.RandomState(self._rng.bit_generator)  # one stream for all randomness
        self._rbm.components_ = self._rng.normal(0, 0.01, (self.hidden, self.latent_dim))
        self._rbm.intercept_hidden_ = np.zeros(self.hidden)
        self._rbm.intercept_visible_ = np.zeros(self.latent_dim)
        self._rbm.h_samples_ = np.zeros((RBM_CHAINS, self.hidden))

    def fit(self, bits: np.ndarray) -> float:
        """Train by persistent contrastive divergence.

        Args:
            bits: Observed bits, shape (N, latent_dim).

        Returns:
            The negative log-likelihood in nats per row, exact up to 16 bits. For more bits it is the negative
            pseudo-log-likelihood (Besag, 1975), often too low, which is not comparable with other priors' values.

        Raises:
            ValueError: If the bits have another width or other values than 0 and 1.
        """
        rows = check_bits(bits, self.latent_dim).astype(float)
        steps = self.refit_steps if self._fitted else self.steps
        for step in range(steps):
            self._rbm.learning_rate = RBM_LEARNING_RATE * (1 - step / steps)
            self._rbm.partial_fit(rows[self._rng.integers(len(rows), size=RBM_CHAINS)])
        self._fitted = True
        return self._cost(rows)

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample latent codes, each the end of a Gibbs chain of its own that starts from uniform bits.

        Args:
            n_samples: Number of latent codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8.
        """
        rows = self._rng.integers(0, 2, (self._check_count(n_samples), self.latent_dim))
        for _ in range(RBM_SWEEPS):
            rows = self._rbm.gibbs(rows)
        return rows.astype(np.uint8)

    def probabilities(self) -> np.ndarray:
        """Return the exact distribution, shape (2ⁿ,), with the hidden units summed out.

        Raises:
            ValueError: If n is above 16.
        """
        log_p = -self._free_energy(_states(self.latent_dim))
        return np.exp(log_p - logsumexp(log_p))

    def _cost(self, rows: np.ndarray) -> float:
        """The negative log-likelihood per row, or the pseudo-likelihood's if there are too many states."""
        energy = self._free_energy(rows)
        if self.latent_dim <= MAX_ENUMERATED_BITS:
            return float(energy.mean() + logsumexp(-self._free_energy(_states(self.latent_dim))))
        others = (self._free_energy(np.abs(rows - flip)) for flip in np.eye(self.latent_dim))
        return float(sum(np.logaddexp(0, energy - other).mean() for other in others))

    def _free_energy(self, rows: np.ndarray) -> np.ndarray:
        """F(v) = −log Σ_h exp(−E(v, h)) of rows (N, n): shape (N,)."""
        rbm = self._rbm
        inputs = rows @ rbm.components_.T + rbm.intercept_hidden_
        return -(rows @ rbm.intercept_visible_) - np.logaddexp(0, inputs).sum(1)

    def config(self) -> dict[str, Any]:
        """Return what constructs this prior again."""
        return {**super().config(), "hidden": self.hidden, "steps": self.steps, "refit_steps": self.refit_steps}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change."""
        learned = {name: getattr(self._rbm, name) for name in RBM_ARRAYS}
        return {**super().state_dict(), **learned, "fitted": self._fitted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.

        Raises:
            ValueError: If an array has another shape than this machine's.
        """
        arrays = {name: np.array(state[name]) for name in RBM_ARRAYS}
        for name, array in arrays.items():
            if array.shape != getattr(self._rbm, name).shape:
                raise ValueError(f"{name} must have shape {getattr(self._rbm, name).shape}; got {array.shape}")
        super().load_state_dict(state)
        for name, array in arrays.items():
            setattr(self._rbm, name, array)
        self._fitted = bool(state["fitted"])


class ReplayPrior(_SeededPrior):
    """The empirical distribution of the last fit: sampling repeats observed rows. Uniform before the first fit.

    It never generates a code that was not observed, and it is not necessarily the best prior for the images.

    Args:
        latent_dim: Number n of bits.
        seed: Seed of the samples; None for a random one.

    Raises:
        ValueError: If latent_dim is not an integer in 1–10,000.
    """

    kind = "replay"

    def __init__(self, latent_dim: int = 8, seed: int | None = 0) -> None:
        super().__init__(latent_dim, seed)
        self.bits = np.empty((0, self.latent_dim), np.uint8)

    def fit(self, bits: np.ndarray) -> float:
        """Store a copy of the bits.

        Args:
            bits: Observed bits, shape (N, latent_dim).

        Returns:
            Their entropy in nats, which is their negative log-likelihood under the empirical distribution.

        Raises:
            ValueError: If the bits have another width or other values than 0 and 1.
        """
        self.bits = check_bits(bits, self.latent_dim).copy()
        return entropy(self.bits)

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample stored rows with replacement.

        Args:
            n_samples: Number of latent codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8.
        """
        n_samples = self._check_count(n_samples)
        if not len(self.bits):
            return self._uniform_bits(n_samples)
        return self.bits[self._rng.integers(len(self.bits), size=n_samples)]

    def probabilities(self) -> np.ndarray:
        """Return the empirical distribution, shape (2ⁿ,), which is 0 for most states.

        Raises:
            ValueError: If n is above 16.
        """
        states = _states(self.latent_dim)
        rows = self.bits if len(self.bits) else states
        return np.bincount(to_index(rows), minlength=len(states)) / len(rows)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change."""
        return {**super().state_dict(), "bits": self.bits}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.

        Raises:
            ValueError: If the rows have another width or other values than 0 and 1.
        """
        bits = np.array(state["bits"])
        if bits.shape != (0, self.latent_dim):
            bits = check_bits(bits, self.latent_dim)
        super().load_state_dict(state)
        self.bits = bits


class SubsetPrior(_SeededPrior):
    """The uniform distribution over K random codes: a control that has low entropy and learns nothing.

    Args:
        latent_dim: Number n of bits, at most 16.
        n_codes: Number K of codes, at most 2ⁿ. The entropy is log K.
        seed: Seed of the codes and of the samples; None for a random one.

    Attributes:
        codes: The codes, shape (K, n), uint8.

    Raises:
        ValueError: If latent_dim or n_codes is not an integer in its range.
    """

    kind = "subset"

    def __init__(self, latent_dim: int = 8, n_codes: int = 16, seed: int | None = 0) -> None:
        super().__init__(latent_dim, seed)
        _check_enumerable(self.latent_dim)
        check_integer("n_codes", n_codes, maximum=2**self.latent_dim)
        self.codes = from_index(self._rng.permutation(2**self.latent_dim)[:n_codes], self.latent_dim)

    def fit(self, bits: np.ndarray) -> float:
        """Learn nothing and return the negative log-likelihood.

        Args:
            bits: Observed bits, shape (N, latent_dim).

        Returns:
            The negative log-likelihood of the bits in nats per row. The probability of other codes than the K counts as
            10⁻⁸.

        Raises:
            ValueError: If the bits have another width or other values than 0 and 1.
        """
        index = to_index(check_bits(bits, self.latent_dim))
        return float(-np.log(self.probabilities().clip(SMALLEST_PROBABILITY))[index].mean())

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample the K codes with replacement.

        Args:
            n_samples: Number of latent codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8.
        """
        return self.codes[self._rng.integers(len(self.codes), size=self._check_count(n_samples))]

    def probabilities(self) -> np.ndarray:
        """Return the distribution, shape (2ⁿ,): 1/K for each of the codes, 0 elsewhere."""
        return np.bincount(to_index(self.codes), minlength=2**self.latent_dim) / len(self.codes)

    def config(self) -> dict[str, Any]:
        """Return what constructs this prior again."""
        return {**super().config(), "n_codes": len(self.codes)}

    def state_dict(self) -> dict[str, Any]:
        """Return the random stream and the codes."""
        return {**super().state_dict(), "codes": self.codes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.

        Raises:
            ValueError: If the codes have another shape or other values than 0 and 1, or a code occurs twice.
        """
        codes = check_bits(state["codes"], self.latent_dim)
        if codes.shape != self.codes.shape or len(np.unique(codes, axis=0)) < len(codes):
            raise ValueError(f"codes must be {len(self.codes)} different ones; got shape {codes.shape}")
        super().load_state_dict(state)
        self.codes = codes


class GaussianPrior(_SeededPrior):
    """Standard normal latents, the usual prior of a GAN: a baseline without bits, which learns nothing.

    A QAAN maps bits to ±1 by z = 2b − 1, so the samples are (z + 1) / 2 with standard normal z, and not bits. There is
    no `probabilities()`. Set `latent_noise=0`, or the QAAN's noise is added to z.

    Source: Radford et al., arXiv:1511.06434, with a uniform distribution of 100 numbers.

    Args:
        latent_dim: Number n of latents.
        seed: Seed of the samples; None for a random one.

    Raises:
        ValueError: If latent_dim is not an integer in 1–10,000.
    """

    kind = "gaussian"

    def __init__(self, latent_dim: int = 100, seed: int | None = 0) -> None:
        super().__init__(latent_dim, seed)

    def fit(self, bits: np.ndarray) -> float:
        """Learn nothing.

        Args:
            bits: Observed bits, shape (N, latent_dim).

        Returns:
            NaN, because the latents are no bits.

        Raises:
            ValueError: If the bits have another width or other values than 0 and 1.
        """
        check_bits(bits, self.latent_dim)
        return math.nan

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample latents.

        Args:
            n_samples: Number of latents.

        Returns:
            (z + 1) / 2 for standard normal z, shape (n_samples, latent_dim), float32.
        """
        shape = self._check_count(n_samples), self.latent_dim
        return (self._rng.standard_normal(shape, dtype=np.float32) + 1) / 2


class QCBMPrior:
    """A quantum circuit Born machine as a prior. Its first fit starts close to the uniform distribution.

    Every later fit starts from the angles of the previous one.

    Source: Rudolph et al., arXiv:2012.03924.

    Args:
        n_qubits: Number n of qubits.
        layers: Layers of the ansatz, as in `qcbm_ansatz`.
        bases: Measurement bases, as in `QCBM`: "z", "zo" or "zt". Two bases give 2n bits.
        entanglement: "full", "linear" or "none", as in `qcbm_ansatz`.
        execution: Where the circuit runs; `Exact()` if None.
        optimizer: "cobyla", "adam", "spsa", or an optimizer with options, such as `Cobyla(trust_radius=0.3)`. If None,
            COBYLA, with 45 steps of Adam after it on `Exact()`.
        max_evaluations: Cost evaluations of the first fit; the optimizer's default if None.
        refit_evaluations: Cost evaluations of every later fit; the optimizer's default for refits if None.
        seed: Seed of the initial angles and of all sampling; None for a random one.

    Attributes:
        qcbm: The circuit Born machine.
        last_fit: Result of the last fit; None before the first.
        on_evaluation: Called as on_evaluation(evaluation, cost) by every fit, so that fits within a training can be
            watched; None for no callback. It can be set at any time.

    Raises:
        ValueError: If an argument is not allowed, or a budget too small for COBYLA to take a step.
    """

    def __init__(
        self,
        n_qubits: int = 8,
        layers: int = 2,
        bases: str = "z",
        entanglement: str = "full",
        execution: "Execution | None" = None,
        optimizer: "str | Mapping[str, object] | Optimizer | None" = None,
        max_evaluations: int | None = None,
        refit_evaluations: int | None = None,
        seed: int | None = 0,
    ) -> None:
        from .quantum.ansatz import qcbm_ansatz
        from .quantum.execution import Exact
        from .quantum.optimizers import Cobyla, as_optimizer
        from .quantum.qcbm import QCBM

        self.qcbm = QCBM(qcbm_ansatz(n_qubits, layers, entanglement), execution, seed, bases)
        self.layers, self.entanglement = layers, entanglement
        n_angles = len(self.qcbm.angles)
        if optimizer is None:
            exact = isinstance(self.qcbm.execution, Exact)  # elsewhere a gradient takes many circuits
            optimizer = Cobyla(max_evaluations=n_angles + 145, gradient_steps=45) if exact else "cobyla"
        self.optimizer = as_optimizer(optimizer)
        self._refit_optimizer = self.optimizer.for_refit(n_angles)
        self.max_evaluations = self.optimizer.check_budget(n_angles, max_evaluations)
        self.refit_evaluations = self._refit_optimizer.check_budget(n_angles, refit_evaluations, "refit_evaluations")
        self.last_fit: FitResult | None = None
        self.on_evaluation: Callable[[int, float], None] | None = None
        self._fitted = False

    @property
    def latent_dim(self) -> int:
        """Number of bits per sample: n in one basis, 2n in two."""
        return self.qcbm.n_bits

    @property
    def budget(self) -> int:
        """Number of cost evaluations of the next fit, or of the current one."""
        return self.refit_evaluations if self._fitted else self.max_evaluations

    def fit(
        self, bits: np.ndarray, callback: Callable[[int, float], None] | None = None, progress: bool = False
    ) -> float:
        """Fit the circuit to bits and keep the details in `last_fit`.

        Args:
            bits: Observed bits, shape (N, latent_dim).
            callback: Called as callback(evaluation, cost); `on_evaluation` if None.
            progress: Whether to show a progress bar.

        Returns:
            The best cost in nats.

        Raises:
            ValueError: If the bits have another width or other values than 0 and 1.
            ExecutionError: If the circuit cannot be run. The best angles so far are kept.
        """
        self.last_fit = self.qcbm.fit(
            bits,
            self._refit_optimizer if self._fitted else self.optimizer,
            self.budget,
            callback=callback or self.on_evaluation,
            progress=progress,
        )
        self._fitted = True
        return self.last_fit.best_cost

    def sample(self, n_samples: int) -> np.ndarray:
        """Measure the circuit.

        Args:
            n_samples: Number of latent codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8, in random order.
        """
        return self.qcbm.sample(n_samples)

    def probabilities(self) -> np.ndarray:
        """Return the distribution: shape (2ⁿ,), or (4ⁿ,) in two bases, whose measurements are independent.

        Raises:
            ValueError: If two bases give more than 16 bits.
        """
        if self.qcbm.bases == "z":
            return self.qcbm.probabilities()
        _check_enumerable(self.latent_dim)
        return np.outer(self.qcbm.probabilities(basis=1), self.qcbm.probabilities()).ravel()

    def config(self) -> dict[str, Any]:
        """Return what constructs this prior again; the execution only if it is Exact or plain Shots."""
        from .quantum.execution import Exact, Shots

        execution = self.qcbm.execution
        plain = isinstance(execution, Exact) or (execution.shots is not None and execution == Shots(execution.shots))
        return {
            "kind": "qcbm",
            "n_qubits": self.qcbm.n_qubits,
            "layers": self.layers,
            "bases": self.qcbm.bases,
            "entanglement": self.entanglement,
            "optimizer": self.optimizer.config(),
            "max_evaluations": self.max_evaluations,
            "refit_evaluations": self.refit_evaluations,
            "execution": {"shots": execution.shots} if plain else str(execution),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change."""
        return {**self.qcbm.state_dict(), "fitted": self._fitted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.

        Raises:
            ValueError: If the number of angles differs or an angle is not finite.
        """
        self.qcbm.load_state_dict(state)
        self._fitted = bool(state["fitted"])


class _Wrapper:
    """A prior around a learned one, which has the same bits and fits and other samples."""

    kind: str

    def __init__(self, prior: Prior) -> None:
        if not isinstance(prior, Prior) or isinstance(prior, _Wrapper | GaussianPrior):
            raise ValueError(f"prior must be one that is fitted itself, such as QCBMPrior(8); got {prior!r}")
        self.prior = prior

    @property
    def latent_dim(self) -> int:
        """Number of bits per sample, that of the learned prior."""
        return self.prior.latent_dim

    def fit(self, bits: np.ndarray) -> float:
        """Fit the learned prior.

        Args:
            bits: Observed bits, shape (N, latent_dim).

        Returns:
            The negative log-likelihood in nats per row, under the learned prior alone.
        """
        return self.prior.fit(bits)

    def config(self) -> dict[str, Any]:
        """Return what constructs this prior again."""
        return {"kind": self.kind, "prior": check_persistent(self.prior).config()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change."""
        return {"prior": check_persistent(self.prior).state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.
        """
        check_persistent(self.prior).load_state_dict(state["prior"])


class MixedPrior(_Wrapper):
    """A mixture of a learned prior and the uniform one, so that every code is generated now and then.

    Args:
        prior: The learned prior.
        uniform_fraction: Fraction of uniform codes, in [0, 1].
        seed: Seed of the mixture; None for a random one.

    Raises:
        ValueError: If `prior` is not a learned prior or the fraction is outside [0, 1].
    """

    kind = "mixed"

    def __init__(self, prior: Prior, uniform_fraction: float = 0.5, seed: int | None = 0) -> None:
        super().__init__(prior)
        if not isinstance(uniform_fraction, float | Real) or not 0 <= uniform_fraction <= 1:
            raise ValueError(f"uniform_fraction must be a number in [0, 1]; got {uniform_fraction!r}")
        self.uniform_fraction = float(uniform_fraction)
        self._rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample latent codes, each from one of the two priors.

        Args:
            n_samples: Number of latent codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8.
        """
        codes = self.prior.sample(n_samples)
        uniform = self._rng.integers(0, 2, codes.shape, dtype=np.uint8)
        return np.where(self._rng.random((len(codes), 1)) < self.uniform_fraction, uniform, codes)

    def probabilities(self) -> np.ndarray:
        """Return the mixture's distribution, shape (2ⁿ,)."""
        p = distribution(self.prior)
        return (1 - self.uniform_fraction) * p + self.uniform_fraction / len(p)

    def config(self) -> dict[str, Any]:
        """Return what constructs this prior again."""
        return {**super().config(), "uniform_fraction": self.uniform_fraction}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change."""
        return {**super().state_dict(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.
        """
        super().load_state_dict(state)
        self._rng.bit_generator.state = state["rng"]


class ScrambledPrior(_Wrapper):
    """A learned prior whose codes are exchanged by one random permutation of all 2ⁿ codes, which keeps the entropy.

    It is a control. If its images are as good as the learned prior's, what the prior has learned does not help them.
    The total correlation is not lower in general: the permutation makes single bits nearly balanced.

    Args:
        prior: The learned prior, with at most 16 bits.
        seed: Seed of the permutation; None for a random one.

    Raises:
        ValueError: If `prior` is not a learned prior or has more than 16 bits.
    """

    kind = "scrambled"

    def __init__(self, prior: Prior, seed: int | None = 0) -> None:
        super().__init__(prior)
        _check_enumerable(prior.latent_dim)
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        self.labels = rng.permutation(2**prior.latent_dim)  # (2ⁿ,): the new index of each code

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample latent codes of the learned prior and relabel them.

        Args:
            n_samples: Number of latent codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8.
        """
        return from_index(self.labels[to_index(self.prior.sample(n_samples))], self.latent_dim)

    def probabilities(self) -> np.ndarray:
        """Return the learned prior's distribution, shape (2ⁿ,), relabeled."""
        p = np.empty(len(self.labels))
        p[self.labels] = distribution(self.prior)
        return p

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change, and the permutation."""
        return {**super().state_dict(), "labels": self.labels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.

        Raises:
            ValueError: If the labels are not a permutation of all 2ⁿ codes.
        """
        labels = np.array(state["labels"])
        if labels.shape != self.labels.shape or (np.sort(labels) != np.arange(len(labels))).any():
            raise ValueError(f"labels must be a permutation of the integers from 0 to {len(self.labels) - 1}")
        super().load_state_dict(state)
        self.labels = labels


class SignedPermutationPrior(_Wrapper):
    """A learned prior whose bits are reordered and flipped in one random way, which keeps all Hamming distances.

    It is a control. A generator that never learned which code belongs to which image treats all signed permutations of
    the bits alike. If the images of this prior are worse, the images depend on what the single bits mean.

    Args:
        prior: The learned prior.
        seed: Seed of the order and the flips; None for a random one.

    Attributes:
        order: Column `order[i]` of the learned prior's samples becomes column i, shape (n,).
        flips: The bits that are flipped after that, 0 or 1, shape (n,), uint8.

    Raises:
        ValueError: If `prior` is not a learned prior.
    """

    kind = "signed_permutation"

    def __init__(self, prior: Prior, seed: int | None = 0) -> None:
        super().__init__(prior)
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        self.order = rng.permutation(prior.latent_dim)
        self.flips = rng.integers(0, 2, prior.latent_dim, dtype=np.uint8)

    def sample(self, n_samples: int) -> np.ndarray:
        """Sample latent codes of the learned prior, reorder their bits and flip some.

        Args:
            n_samples: Number of latent codes.

        Returns:
            Bits of shape (n_samples, latent_dim), uint8.
        """
        return self.prior.sample(n_samples)[:, self.order] ^ self.flips

    def probabilities(self) -> np.ndarray:
        """Return the distribution, shape (2ⁿ,): p(b) is the learned prior's probability of the code that becomes b.

        Raises:
            ValueError: If n is above 16.
        """
        states = _states(self.latent_dim)
        p = np.empty(len(states))
        p[to_index(states[:, self.order] ^ self.flips)] = distribution(self.prior)
        return p

    def state_dict(self) -> dict[str, Any]:
        """Return everything that fitting and sampling change, and the signed permutation."""
        return {**super().state_dict(), "order": self.order, "flips": self.flips}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Args:
            state: The state of a prior with the same `config`.

        Raises:
            ValueError: If the order is not a permutation of the bits, or the flips are not one bit each.
        """
        order, flips = np.array(state["order"]), np.array(state["flips"])
        if order.shape != self.order.shape or (np.sort(order) != np.arange(len(order))).any():
            raise ValueError(f"order must be a permutation of the integers from 0 to {self.latent_dim - 1}")
        flips = check_bits(flips.reshape(1, -1), self.latent_dim)[0]
        super().load_state_dict(state)
        self.order, self.flips = order, flips


PRIORS: dict[str, type] = {
    "uniform": UniformPrior,
    "product": ProductPrior,
    "rbm": RBMPrior,
    "qcbm": QCBMPrior,
    "replay": ReplayPrior,
    "mixed": MixedPrior,
    "scrambled": ScrambledPrior,
    "signed_permutation": SignedPermutationPrior,
    "subset": SubsetPrior,
    "gaussian": GaussianPrior,
}


def make_prior(config: Mapping[str, Any], execution: "Execution | None" = None) -> Prior:
    """Construct the prior that `config()` described.

    Args:
        config: The description, with the kind of prior under "kind". A "seed" in it is the new prior's.
        execution: Where a circuit runs; if None, as described, and exactly if that is not described either.

    Returns:
        The prior.

    Raises:
        ValueError: If the kind is unknown, a value is not allowed, or the description cannot hold the execution.
        TypeError: If the description is no table, or an argument is unknown or missing.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"a prior must be described by a table such as {{'kind': 'uniform'}}; got {config!r}")
    settings = dict(config)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str) or kind not in PRIORS:
        raise ValueError(
            f"prior kind must be one of {', '.join(map(repr, PRIORS))}; got {kind!r}. "
            "Register a class of your own in qaan_helpers.priors.PRIORS under its kind"
        )
    allowed = inspect.signature(PRIORS[kind]).parameters
    if unknown := [name for name in settings if name not in allowed]:
        raise TypeError(f"arguments of prior kind {kind!r} must be among {', '.join(allowed)}; got {unknown[0]!r}")
    if issubclass(PRIORS[kind], _Wrapper):
        settings["prior"] = make_prior({"seed": settings.get("seed", 0), **settings["prior"]}, execution)
    if kind == "qcbm":
        settings["execution"] = execution or _described_execution(settings.get("execution"))
    return PRIORS[kind](**settings)


def _described_execution(description: object) -> "Execution":
    """The execution that `QCBMPrior.config` described."""
    from .quantum.execution import Exact, Shots

    if description is None:
        return Exact()
    if not isinstance(description, dict):
        raise ValueError(
            f"the circuit ran with {description}, which a file cannot describe; pass execution=… (or --execution)"
        )
    return Exact() if description["shots"] is None else Shots(description["shots"])


def check_persistent(prior: Prior) -> PersistentPrior:
    """Check that a prior can be saved.

    Args:
        prior: Any prior.

    Returns:
        The prior.

    Raises:
        ValueError: If it lacks one of the methods of `PersistentPrior`.
    """
    if not isinstance(prior, PersistentPrior):
        raise ValueError(f"{type(prior).__name__} cannot be saved: it lacks config(), state_dict(), load_state_dict()")
    return prior


def distribution(prior: Any) -> np.ndarray:
    """Return the distribution of a prior over all latent codes.

    Args:
        prior: A prior with `probabilities()`, as all priors of bits in `PRIORS` have.

    Returns:
        Probabilities, shape (2ⁿ,).
    """
    return prior.probabilities()


def _check_enumerable(n_bits: int) -> None:
    if n_bits > MAX_ENUMERATED_BITS:
        raise ValueError(
            f"probabilities can be listed for at most {MAX_ENUMERATED_BITS} bits; got {n_bits}. Use sample(n) instead"
        )


def _states(n_bits: int) -> np.ndarray:
    """All states of n bits, (2ⁿ, n) uint8, in the order of their index."""
    _check_enumerable(n_bits)
    return from_index(np.arange(2**n_bits), n_bits)
