"""Priors over latent bits behind one protocol: uniform, product, Boltzmann machine, Born machine, perfect memory."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Protocol, runtime_checkable

import numpy as np
from scipy.special import logsumexp

from .bits import check_bits, entropy, from_index, to_index
from .checks import MAX_BITS, MAX_SAMPLED_BITS, check_integer
from .quantum.ansatz import qcbm_ansatz
from .quantum.execution import Exact, Shots
from .quantum.optimizers import check_cobyla_budget
from .quantum.qcbm import OPTIMIZERS, QCBM, FitResult

REFIT_TRUST_RADIUS = 0.1  # radians: COBYLA's first step where the angles are nearly right already
MAX_ENUMERATED_BITS = 16  # bits, of which all 2ⁿ states are listed
RBM_CHAINS = 100  # that learn side by side, and bits a step: 20 of them wander off as the weights grow
RBM_RATE = 1.0  # of the first step; it falls to 0 in a line, without which the cost swings by a nat and more
RBM_ARRAYS = ("components_", "intercept_hidden_", "intercept_visible_", "h_samples_")  # scikit-learn's names
RBM_SWEEPS = 100  # from coins to samples; 30 suffice for the bits of ten digits in 16 units


@runtime_checkable
class Prior(Protocol):
    """Anything that learns bits and draws them: three members are all that training asks for.

    To be saved and resumed, a prior also has `config()` (JSON), `state()` and `load_state_dict(state)` (names to arrays).
    To be compared with held-out bits, `probabilities()`: (2ⁿ,), index = Σ_q bit_q · 2^q, for up to 16 bits.
    """

    latent_dim: int

    def fit(self, bits: np.ndarray) -> float:
        """Learn from bits (N, latent_dim) uint8; return the cost of the bits, −mean log p, in nats."""

    def sample(self, n_samples: int) -> np.ndarray:
        """Draw bits (n_samples, latent_dim) uint8, rows in random order."""


class UniformPrior:
    """Every code equally likely: what a DCGAN does that learns no prior."""

    def __init__(self, latent_dim: int = 8, seed: int | None = 0):
        self.latent_dim = check_integer("latent_dim", latent_dim, most=MAX_BITS)
        self._rng = np.random.default_rng(np.random.SeedSequence(seed))

    def fit(self, bits: np.ndarray) -> float:
        """Learn nothing; return what the bits (N, latent_dim) cost under the uniform distribution, n log 2 nats."""
        check_bits(bits, self.latent_dim)
        return self.latent_dim * math.log(2)

    def sample(self, n_samples: int) -> np.ndarray:
        """Toss `n_samples` × latent_dim coins: bits uint8."""
        n_samples = check_integer("n_samples", n_samples, most=MAX_SAMPLED_BITS // self.latent_dim)
        return self._rng.integers(0, 2, (n_samples, self.latent_dim), dtype=np.uint8)

    def probabilities(self) -> np.ndarray:
        """The same for each of the (2ⁿ,) states."""
        return np.full(len(_states(self.latent_dim)), 0.5**self.latent_dim)

    def config(self) -> dict:
        """What makes this prior again."""
        return {"kind": "uniform", "latent_dim": self.latent_dim}

    def state_dict(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays."""
        return {"rng": _rng_state(self._rng)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        _set_rng_state(self._rng, state["rng"])


class ProductPrior:
    """Each bit on its own, 1 with the probability seen in the data: all that a prior without correlations can learn."""

    def __init__(self, latent_dim: int = 8, seed: int | None = 0):
        self.latent_dim = check_integer("latent_dim", latent_dim, most=MAX_BITS)
        self.p = np.full(latent_dim, 0.5)
        self._rng = np.random.default_rng(np.random.SeedSequence(seed))

    def fit(self, bits: np.ndarray) -> float:
        """Learn each column's share of ones, with one of each value added (Laplace); return the cost in nats."""
        bits = check_bits(bits, self.latent_dim)
        self.p = (bits.sum(0) + 1) / (len(bits) + 2)
        mean = bits.mean(0)
        return float(-(mean * np.log(self.p) + (1 - mean) * np.log1p(-self.p)).sum())

    def sample(self, n_samples: int) -> np.ndarray:
        """Toss `n_samples` × latent_dim biased coins: bits uint8."""
        n_samples = check_integer("n_samples", n_samples, most=MAX_SAMPLED_BITS // self.latent_dim)
        return (self._rng.random((n_samples, self.latent_dim)) < self.p).astype(np.uint8)

    def probabilities(self) -> np.ndarray:
        """The product of the bits' probabilities, (2ⁿ,)."""
        return np.where(_states(self.latent_dim), self.p, 1 - self.p).prod(1)

    def config(self) -> dict:
        """What makes this prior again."""
        return {"kind": "product", "latent_dim": self.latent_dim}

    def state_dict(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays."""
        return {"p": self.p, "rng": _rng_state(self._rng)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        p = np.array(state["p"], dtype=float)
        if p.shape != (self.latent_dim,) or not ((p >= 0) & (p <= 1)).all():
            raise ValueError(f"p must be {self.latent_dim} probabilities, not {p}")
        self.p = p
        _set_rng_state(self._rng, state["rng"])


class RBMPrior:
    """A restricted Boltzmann machine, scikit-learn's: the classical match of a Born machine.

    Bits know of each other through hidden units. It starts at the uniform, nearly, and later fits go on where the last
    ended. hidden: units, as many as bits unless told: 80 parameters for 8 bits, where the circuit has 88.
    steps: of gradient ascent in the first fit; refit_steps: in every later one.
    Source: Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient", 2008.
    """

    def __init__(
        self,
        latent_dim: int = 8,
        hidden: int | None = None,
        steps: int = 3000,
        refit_steps: int = 1000,
        seed: int | None = 0,
    ):
        from sklearn.neural_network import BernoulliRBM

        self.latent_dim = check_integer("latent_dim", latent_dim, most=MAX_BITS)
        self.hidden = check_integer("hidden", self.latent_dim if hidden is None else hidden)
        self.steps, self.refit_steps = check_integer("steps", steps), check_integer("refit_steps", refit_steps)
        self._rng = np.random.default_rng(np.random.SeedSequence(seed))
        self._fitted = False
        self._rbm = BernoulliRBM(self.hidden, batch_size=RBM_CHAINS)
        self._rbm.random_state_ = np.random.RandomState(self._rng.bit_generator)  # all draws from the one stream
        self._rbm.components_ = self._rng.normal(0, 0.01, (self.hidden, self.latent_dim))
        self._rbm.intercept_hidden_ = np.zeros(self.hidden)
        self._rbm.intercept_visible_ = np.zeros(self.latent_dim)
        self._rbm.h_samples_ = np.zeros((RBM_CHAINS, self.hidden))

    def fit(self, bits: np.ndarray) -> float:
        """Learn bits (N, latent_dim) by persistent contrastive divergence; return their cost in nats.

        The cost is exact up to 16 bits. For more it is that of the pseudo-likelihood (Besag, 1975), where each bit is
        foretold from all others: an estimate, often too low, and not to be compared with other priors' costs.
        """
        bits = check_bits(bits, self.latent_dim)
        rows, steps = bits.astype(float), self.refit_steps if self._fitted else self.steps
        for step in range(steps):
            self._rbm.learning_rate = RBM_RATE * (1 - step / steps)
            self._rbm.partial_fit(rows[self._rng.integers(len(rows), size=RBM_CHAINS)])
        self._fitted = True
        return self._cost(rows)

    def sample(self, n_samples: int) -> np.ndarray:
        """Draw bits (n_samples, latent_dim) uint8: each row the end of a Gibbs chain of its own, begun with coins."""
        n_samples = check_integer("n_samples", n_samples, most=MAX_SAMPLED_BITS // self.latent_dim)
        rows = self._rng.integers(0, 2, (n_samples, self.latent_dim))
        for _ in range(RBM_SWEEPS):
            rows = self._rbm.gibbs(rows)
        return rows.astype(np.uint8)

    def probabilities(self) -> np.ndarray:
        """The model's distribution (2ⁿ,), exact: hidden units are summed over by formula, the states are listed."""
        log_p = -self._free_energy(_states(self.latent_dim))
        return np.exp(log_p - logsumexp(log_p))

    def _cost(self, rows):
        """−mean log p of rows (N, n) in nats, or of the pseudo-likelihood where there are too many states to list."""
        energy = self._free_energy(rows)
        if self.latent_dim <= MAX_ENUMERATED_BITS:
            return float(energy.mean() + logsumexp(-self._free_energy(_states(self.latent_dim))))
        others = (self._free_energy(np.abs(rows - flip)) for flip in np.eye(self.latent_dim))
        return float(sum(np.logaddexp(0, energy - other).mean() for other in others))

    def _free_energy(self, rows):
        """F(v) = −log Σ_h exp(−E(v, h)) of rows (N, n): (N,)."""
        rbm = self._rbm
        inputs = rows @ rbm.components_.T + rbm.intercept_hidden_
        return -(rows @ rbm.intercept_visible_) - np.logaddexp(0, inputs).sum(1)

    def config(self) -> dict:
        """What makes this prior again."""
        names = ("latent_dim", "hidden", "steps", "refit_steps")
        return {"kind": "rbm", **{name: getattr(self, name) for name in names}}

    def state_dict(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays."""
        learned = {name: getattr(self._rbm, name) for name in RBM_ARRAYS}
        return {**learned, "fitted": np.array([self._fitted], dtype=np.uint8), "rng": _rng_state(self._rng)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        for name in RBM_ARRAYS:
            setattr(self._rbm, name, np.array(state[name]))
        self._fitted = bool(state["fitted"][0])
        _set_rng_state(self._rng, state["rng"])


class ReplayPrior:
    """A perfect memory: it draws rows of the bits that it was given last, as close to those as a prior can be.

    It makes up no code that it has not seen, and is not the best that a prior can do for the images. Before its first
    fit it is uniform.
    """

    def __init__(self, latent_dim: int = 8, seed: int | None = 0):
        self.latent_dim = check_integer("latent_dim", latent_dim, most=MAX_BITS)
        self.bits = np.empty((0, self.latent_dim), np.uint8)
        self._rng = np.random.default_rng(np.random.SeedSequence(seed))

    def fit(self, bits: np.ndarray) -> float:
        """Keep a copy of bits (N, latent_dim); return their entropy in nats, which is what they cost."""
        self.bits = check_bits(bits, self.latent_dim).copy()
        return entropy(self.bits)

    def sample(self, n_samples: int) -> np.ndarray:
        """Draw `n_samples` rows of the bits kept, uint8, with replacement."""
        n_samples = check_integer("n_samples", n_samples, most=MAX_SAMPLED_BITS // self.latent_dim)
        if not len(self.bits):
            return self._rng.integers(0, 2, (n_samples, self.latent_dim), dtype=np.uint8)
        return self.bits[self._rng.integers(len(self.bits), size=n_samples)]

    def probabilities(self) -> np.ndarray:
        """The frequencies (2ⁿ,) in the bits kept; 0 for most states."""
        kept = self.bits if len(self.bits) else _states(self.latent_dim)
        return np.bincount(to_index(kept), minlength=len(_states(self.latent_dim))) / len(kept)

    def config(self) -> dict:
        """What makes this prior again."""
        return {"kind": "replay", "latent_dim": self.latent_dim}

    def state_dict(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays."""
        return {"bits": self.bits, "rng": _rng_state(self._rng)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        self.bits = np.array(state["bits"])
        _set_rng_state(self._rng, state["rng"])


class QCBMPrior:
    """A quantum circuit Born machine as prior: the first fit starts at the uniform, later ones where the last ended.

    n_qubits, layers, entanglement: of `qcbm_ansatz`; bases, execution: of `QCBM`; latent_dim is n, or 2n in two bases.
    optimizer, max_evaluations: of the first fit; refit_evaluations: of every later one.
    on_evaluation: None, or what each fit calls as on_evaluation(evaluation, cost), so that fits inside a training can
    be watched; set it at any time.
    Raises ValueError for arguments that cannot work, COBYLA budgets that cannot move among them.
    Source: Rudolph et al., arXiv:2012.03924.
    """

    def __init__(
        self,
        n_qubits: int = 8,
        layers: int = 2,
        bases: str = "z",
        entanglement: str = "full",
        execution=None,
        optimizer: str = "cobyla",
        max_evaluations: int | None = None,
        refit_evaluations: int | None = None,
        seed: int | None = 0,
    ):
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is {optimizer!r}; choose one of {', '.join(map(repr, OPTIMIZERS))}")
        self.qcbm = QCBM(qcbm_ansatz(n_qubits, layers, entanglement), execution, seed, bases)
        self.layers, self.entanglement, self.optimizer = layers, entanglement, optimizer
        usual = OPTIMIZERS[optimizer]
        few = len(self.qcbm.angles) + 62 if optimizer == "cobyla" else usual // 10  # a simplex and sixty moves
        self.max_evaluations = usual if max_evaluations is None else max_evaluations
        self.refit_evaluations = few if refit_evaluations is None else refit_evaluations
        for name in ("max_evaluations", "refit_evaluations"):
            budget = check_integer(name, getattr(self, name))
            if optimizer == "cobyla":
                check_cobyla_budget(len(self.qcbm.angles), budget, name)
        self.last_fit: FitResult | None = None
        self.on_evaluation: Callable[[int, float], None] | None = None
        self._fitted = False

    @property
    def latent_dim(self) -> int:
        """Bits a sample: n qubits in one basis, 2n in two."""
        return self.qcbm.n_bits

    @property
    def budget(self) -> int:
        """Evaluations of the cost that the next fit gets, or the one that runs."""
        return self.refit_evaluations if self._fitted else self.max_evaluations

    def fit(self, bits: np.ndarray, **options) -> float:
        """Fit the circuit to bits (N, latent_dim); return its cost in nats, and keep the whole story in `last_fit`."""
        if self._fitted and self.optimizer == "cobyla":
            options = {"trust_radius": REFIT_TRUST_RADIUS} | options
        options = {"callback": self.on_evaluation} | options
        self.last_fit = self.qcbm.fit(bits, self.optimizer, self.budget, **options)
        self._fitted = True
        return self.last_fit.best_cost

    def sample(self, n_samples: int) -> np.ndarray:
        """Measure the circuit: bits (n_samples, latent_dim) uint8."""
        return self.qcbm.sample(n_samples)

    def probabilities(self) -> np.ndarray:
        """The model's distribution, (2ⁿ,); in two bases (4ⁿ,), the product of the two, whose shots are independent."""
        if self.qcbm.bases == "z":
            return self.qcbm.probabilities()
        _check_listed(self.latent_dim)
        return np.outer(self.qcbm.probabilities(basis=1), self.qcbm.probabilities()).ravel()

    def config(self) -> dict:
        """What makes this prior again; the execution is named only where it is Exact or plain Shots."""
        execution = self.qcbm.execution
        plain = isinstance(execution, Exact) or execution == Shots(execution.shots)
        return {
            "kind": "qcbm",
            "n_qubits": self.qcbm.n_qubits,
            "layers": self.layers,
            "bases": self.qcbm.bases,
            "entanglement": self.entanglement,
            "optimizer": self.optimizer,
            "max_evaluations": self.max_evaluations,
            "refit_evaluations": self.refit_evaluations,
            "execution": {"shots": execution.shots} if plain else str(execution),
        }

    def state_dict(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays."""
        return {
            "angles": self.qcbm.angles,
            "fitted": np.array([self._fitted], dtype=np.uint8),
            "rng": _rng_state(self.qcbm._rng),
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        self.qcbm.angles = self.qcbm._check_angles(state["angles"])
        self._fitted = bool(state["fitted"][0])
        _set_rng_state(self.qcbm._rng, state["rng"])


class _Around:
    """What stands around a learned prior: its bits and its fits are that one's, its codes are not."""

    def __init__(self, prior: Prior):
        if not isinstance(prior, Prior) or isinstance(prior, _Around):
            raise ValueError(f"prior is {prior!r}; it must be one that learns on its own, such as QCBMPrior(8)")
        self.prior = prior

    @property
    def latent_dim(self) -> int:
        """Bits a sample, as many as the learned prior has."""
        return self.prior.latent_dim

    @property
    def last_fit(self) -> FitResult | None:
        """The learned prior's last fit, where it keeps one."""
        return getattr(self.prior, "last_fit", None)

    def fit(self, bits: np.ndarray) -> float:
        """Let the learned prior learn bits (N, latent_dim); return their cost in nats under that prior alone."""
        return self.prior.fit(bits)


class MixedPrior(_Around):
    """A learned prior of which a share of the codes is drawn uniformly instead, so that none is ever unheard of.

    prior: what learns. uniform_fraction: of the codes, in [0, 1]. Raises ValueError for anything else.
    """

    def __init__(self, prior: Prior, uniform_fraction: float = 0.5, seed: int | None = 0):
        super().__init__(prior)
        if not isinstance(uniform_fraction, Real) or not 0 <= uniform_fraction <= 1:
            raise ValueError(f"uniform_fraction is {uniform_fraction!r}; it must lie in [0, 1]")
        self.uniform_fraction = float(uniform_fraction)
        self._rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])

    def sample(self, n_samples: int) -> np.ndarray:
        """Draw bits (n_samples, latent_dim) uint8, each row from one of the two."""
        codes = self.prior.sample(n_samples)
        uniform = self._rng.integers(0, 2, codes.shape, dtype=np.uint8)
        return np.where(self._rng.random((len(codes), 1)) < self.uniform_fraction, uniform, codes)

    def probabilities(self) -> np.ndarray:
        """The mixture's distribution (2ⁿ,)."""
        p = self.prior.probabilities()
        return (1 - self.uniform_fraction) * p + self.uniform_fraction / len(p)

    def config(self) -> dict:
        """What makes this prior again."""
        return {"kind": "mixed", "prior": self.prior.config(), "uniform_fraction": self.uniform_fraction}

    def state_dict(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays."""
        return {**self.prior.state_dict(), "mixing_rng": _rng_state(self._rng)}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        self.prior.load_state_dict(state)
        _set_rng_state(self._rng, state["mixing_rng"])


class ScrambledPrior(_Around):
    """A learned prior whose codes are relabelled at random, once: as wide and as often moved, but knowing nothing.

    A control: where it draws digits as good as the learned prior's, what that has learned is of no use to them.
    prior: what learns. Raises ValueError for anything else, and for more than 16 bits.
    """

    def __init__(self, prior: Prior, seed: int | None = 0):
        super().__init__(prior)
        _check_listed(prior.latent_dim)
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        self.labels = rng.permutation(2**prior.latent_dim)  # (2ⁿ,): the index of each code's new code

    def sample(self, n_samples: int) -> np.ndarray:
        """Draw bits (n_samples, latent_dim) uint8, each row under its new label."""
        return from_index(self.labels[to_index(self.prior.sample(n_samples))], self.latent_dim)

    def probabilities(self) -> np.ndarray:
        """The learned prior's distribution (2ⁿ,), relabelled."""
        p = np.empty(len(self.labels))
        p[self.labels] = self.prior.probabilities()
        return p

    def config(self) -> dict:
        """What makes this prior again."""
        return {"kind": "scrambled", "prior": self.prior.config()}

    def state_dict(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays; the labels, too, which a new prior would draw anew."""
        return {**self.prior.state_dict(), "labels": self.labels}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        labels = np.array(state["labels"])
        if labels.shape != self.labels.shape or (np.sort(labels) != np.arange(len(labels))).any():
            raise ValueError(f"labels must be the numbers from 0 to {len(self.labels) - 1}, each once")
        self.prior.load_state_dict(state)
        self.labels = labels


def make_prior(config: dict, execution=None) -> Prior:
    """Make the prior that `config()` described, on `execution` where one is given.

    A circuit runs exactly where neither says how. A `seed` in `config` is the new prior's.
    Raises ValueError for an unknown kind, or an execution (noise, a device) that a file cannot hold.
    """
    settings = dict(config)
    kind = settings.pop("kind", None)
    if kind not in PRIORS:
        raise ValueError(
            f"prior kind is {kind!r}; this version knows {', '.join(map(repr, PRIORS))}. "
            "A class of your own: put it into qaan_helpers.priors.PRIORS under its kind"
        )
    if kind in ("mixed", "scrambled"):
        settings["prior"] = make_prior({"seed": settings.get("seed", 0), **settings["prior"]}, execution)
    if kind == "qcbm":
        named = settings.pop("execution", {"shots": None})
        if execution is None and not isinstance(named, dict):
            raise ValueError(
                f"the circuit ran with {named}, which a file cannot hold; pass execution=… (or --execution) to load it"
            )
        settings["execution"] = execution or (Exact() if named["shots"] is None else Shots(named["shots"]))
    return PRIORS[kind](**settings)


def _check_listed(n_bits):
    if n_bits > MAX_ENUMERATED_BITS:
        raise ValueError(
            f"the probabilities of {n_bits} bits are too many to list; {MAX_ENUMERATED_BITS} bits are the most. sample(n) draws"
        )


def _states(n_bits):
    """All states of n bits, (2ⁿ, n) uint8, in the order of their index."""
    _check_listed(n_bits)
    return from_index(np.arange(2**n_bits), n_bits)


def _rng_state(rng) -> np.ndarray:
    """A PCG64 generator's whole state as six uint64."""
    state = rng.bit_generator.state
    words = [state["state"]["state"] >> 64, state["state"]["state"], state["state"]["inc"] >> 64, state["state"]["inc"]]
    return np.array([w & (2**64 - 1) for w in words] + [state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def _set_rng_state(rng, words) -> None:
    high, low, inc_high, inc_low, has, value = (int(w) for w in words)
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": has,
        "uinteger": value,
    }


PRIORS = {
    "uniform": UniformPrior,
    "product": ProductPrior,
    "rbm": RBMPrior,
    "qcbm": QCBMPrior,
    "replay": ReplayPrior,
    "mixed": MixedPrior,
    "scrambled": ScrambledPrior,
}
