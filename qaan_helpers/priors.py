"""Priors over latent bits behind one protocol: uniform, product of Bernoullis, quantum circuit Born machine."""

import math
from typing import Protocol, runtime_checkable

import numpy as np

from .ansatz import qcbm_ansatz
from .bits import check_bits
from .checks import MOST_BITS, MOST_DRAWN, check_whole
from .execution import Exact, Shots
from .optimisers import check_cobyla_budget
from .qcbm import OPTIMISERS, QCBM, FitResult

REFIT_TRUST_RADIUS = 0.1  # radians: COBYLA's first step where the angles are nearly right already


@runtime_checkable
class Prior(Protocol):
    """Anything that learns bits and draws them: three members are all that training asks for.

    To be saved and resumed, a prior also has `config()` (JSON), `state()` and `load_state(state)` (names to arrays).
    """

    latent_dim: int

    def fit(self, bits: np.ndarray) -> float:
        """Learn from bits (N, latent_dim) uint8; return the cost of the bits, −mean log p, in nats."""

    def sample(self, n_samples: int) -> np.ndarray:
        """Draw bits (n_samples, latent_dim) uint8, rows in random order."""


class UniformPrior:
    """Every code equally likely: what a DCGAN does that learns no prior."""

    def __init__(self, latent_dim: int = 8, seed: int | None = 0):
        self.latent_dim = check_whole("latent_dim", latent_dim, most=MOST_BITS)
        self._rng = np.random.default_rng(np.random.SeedSequence(seed))

    def fit(self, bits: np.ndarray) -> float:
        """Learn nothing; return what the bits (N, latent_dim) cost under the uniform distribution, n log 2 nats."""
        check_bits(bits, self.latent_dim)
        return self.latent_dim * math.log(2)

    def sample(self, n_samples: int) -> np.ndarray:
        """Toss `n_samples` × latent_dim coins: bits uint8."""
        n_samples = check_whole("n_samples", n_samples, most=MOST_DRAWN // self.latent_dim)
        return self._rng.integers(0, 2, (n_samples, self.latent_dim), dtype=np.uint8)

    def config(self) -> dict:
        """What makes this prior again."""
        return {"kind": "uniform", "latent_dim": self.latent_dim}

    def state(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays."""
        return {"rng": _rng_state(self._rng)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        _set_rng_state(self._rng, state["rng"])


class ProductPrior:
    """Each bit on its own, 1 with the probability seen in the data: all that a prior without correlations can learn."""

    def __init__(self, latent_dim: int = 8, seed: int | None = 0):
        self.latent_dim = check_whole("latent_dim", latent_dim, most=MOST_BITS)
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
        n_samples = check_whole("n_samples", n_samples, most=MOST_DRAWN // self.latent_dim)
        return (self._rng.random((n_samples, self.latent_dim)) < self.p).astype(np.uint8)

    def config(self) -> dict:
        """What makes this prior again."""
        return {"kind": "product", "latent_dim": self.latent_dim}

    def state(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays."""
        return {"p": self.p, "rng": _rng_state(self._rng)}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        p = np.array(state["p"], dtype=float)
        if p.shape != (self.latent_dim,) or not ((p >= 0) & (p <= 1)).all():
            raise ValueError(f"p must be {self.latent_dim} probabilities, not {p}")
        self.p = p
        _set_rng_state(self._rng, state["rng"])


class QCBMPrior:
    """A quantum circuit Born machine as prior: the first fit starts at the uniform, later ones where the last ended.

    n_qubits, layers, entanglement: of `qcbm_ansatz`; bases, execution: of `QCBM`; latent_dim is n, or 2n in two bases.
    optimizer, max_evaluations: of the first fit; refit_evaluations: of every later one.
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
        if optimizer not in OPTIMISERS:
            raise ValueError(f"optimizer is {optimizer!r}; choose one of {', '.join(map(repr, OPTIMISERS))}")
        self.qcbm = QCBM(qcbm_ansatz(n_qubits, layers, entanglement), execution, seed, bases)
        self.layers, self.entanglement, self.optimizer = layers, entanglement, optimizer
        usual = OPTIMISERS[optimizer]
        few = len(self.qcbm.angles) + 62 if optimizer == "cobyla" else usual // 10  # a simplex and sixty moves
        self.max_evaluations = usual if max_evaluations is None else max_evaluations
        self.refit_evaluations = few if refit_evaluations is None else refit_evaluations
        for name in ("max_evaluations", "refit_evaluations"):
            budget = check_whole(name, getattr(self, name))
            if optimizer == "cobyla":
                check_cobyla_budget(len(self.qcbm.angles), budget, name)
        self.last_fit: FitResult | None = None
        self._fitted = False

    @property
    def latent_dim(self) -> int:
        """Bits a sample: n qubits in one basis, 2n in two."""
        return self.qcbm.n_bits

    def fit(self, bits: np.ndarray, **options) -> float:
        """Fit the circuit to bits (N, latent_dim); return its cost in nats, and keep the whole story in `last_fit`."""
        budget = self.refit_evaluations if self._fitted else self.max_evaluations
        if self._fitted and self.optimizer == "cobyla":
            options = {"trust_radius": REFIT_TRUST_RADIUS} | options
        self.last_fit = self.qcbm.fit(bits, self.optimizer, budget, **options)
        self._fitted = True
        return self.last_fit.best_cost

    def sample(self, n_samples: int) -> np.ndarray:
        """Measure the circuit: bits (n_samples, latent_dim) uint8."""
        return self.qcbm.sample(n_samples)

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

    def state(self) -> dict[str, np.ndarray]:
        """What changes as it is used, as named arrays."""
        return {
            "angles": self.qcbm.angles,
            "fitted": np.array([self._fitted], dtype=np.uint8),
            "rng": _rng_state(self.qcbm._rng),
        }

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` gave."""
        self.qcbm.angles = self.qcbm._check_angles(state["angles"])
        self._fitted = bool(state["fitted"][0])
        _set_rng_state(self.qcbm._rng, state["rng"])


def make_prior(config: dict, execution=None) -> Prior:
    """Make the prior that `config()` described, on `execution` where one is given.

    Raises ValueError for an unknown kind, or an execution (noise, a device) that a file cannot hold.
    """
    settings = dict(config)
    kind = settings.pop("kind", None)
    if kind not in PRIORS:
        raise ValueError(
            f"prior kind is {kind!r}; this version knows {', '.join(map(repr, PRIORS))}. "
            "A class of your own: put it into qaan_helpers.priors.PRIORS under its kind"
        )
    if kind == "qcbm":
        named = settings.pop("execution")
        if execution is None and not isinstance(named, dict):
            raise ValueError(
                f"the circuit ran with {named}, which a file cannot hold; pass execution=… (or --execution) to load it"
            )
        settings["execution"] = execution or (Exact() if named["shots"] is None else Shots(named["shots"]))
    return PRIORS[kind](**settings)


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


PRIORS = {"uniform": UniformPrior, "product": ProductPrior, "qcbm": QCBMPrior}
