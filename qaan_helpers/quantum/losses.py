"""The cost of a Born machine: the clipped negative log-likelihood of the states that occur; and its KL divergence."""

import numpy as np
from scipy.special import rel_entr

from ..bits import check_bits, to_index
from ..checks import check_integer


def empirical_distribution(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The states that occur in `bits` (N, n): their indices (S,) int64, each once, and frequencies (S,), in sum 1."""
    states, counts = np.unique(to_index(bits), return_counts=True)
    return states, counts / counts.sum()


def clipped_nll(probabilities: np.ndarray, frequencies: np.ndarray, epsilon: float = 1e-8) -> np.ndarray:
    """Return −Σ_x p̂(x) log max(ε, p_θ(x)) in nats, summed over the states that occur.

    probabilities: (..., S), the model's at those states; frequencies: (S,), the data's. Returns (...).
    Source: Liu & Wang, arXiv:1804.04168; clipped as in the public implementation.
    """
    return -(np.log(np.maximum(epsilon, probabilities)) @ frequencies)


def clipped_nll_gradient(probabilities: np.ndarray, frequencies: np.ndarray, epsilon: float = 1e-8) -> np.ndarray:
    """The derivative of `clipped_nll` by the probabilities (S,): −p̂/p, and 0 where p is clipped. Returns (S,)."""
    kept = probabilities > epsilon
    return np.where(kept, -frequencies / np.where(kept, probabilities, 1.0), 0.0)


def kl_divergence(bits: np.ndarray, probabilities: np.ndarray, epsilon: float = 1e-8) -> float:
    """The KL divergence in nats of bits (N, n) from a model's probabilities (2ⁿ,), which are clipped at `epsilon`.

    Give it bits that the model was not fitted to, and compare with `kl_sampling_bias`: N bits never match a model by 0.
    Raises ValueError for another number of probabilities than 2ⁿ.
    """
    p = _check_distribution(probabilities)
    states, frequencies = empirical_distribution(check_bits(bits, len(p).bit_length() - 1))
    return float(rel_entr(frequencies, np.maximum(epsilon, p[states])).sum())


def kl_sampling_bias(probabilities: np.ndarray, n_rows: int, n_draws: int = 100, seed: int | None = 0) -> float:
    """What `kl_divergence` gives on average, in nats, for `n_rows` bits drawn from the probabilities (2ⁿ,) themselves.

    A model that is right scores this and no less, about (S − 1) / 2N for S states that are seen often.
    """
    p = _check_distribution(probabilities)
    counts = np.random.default_rng(seed).multinomial(check_integer("n_rows", n_rows), p / p.sum(), n_draws)
    return float(rel_entr(counts / n_rows, p).sum(1).mean())


def _check_distribution(probabilities):
    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 1 or len(p) < 2 or len(p) & (len(p) - 1) or p.min() < 0 or not np.isclose(p.sum(), 1, atol=1e-6):
        raise ValueError(
            f"probabilities of shape {p.shape} in sum {p.sum():.6g} are no distribution of n bits; 2ⁿ numbers of 0 or "
            "more in sum 1 are needed: prior.probabilities() gives them"
        )
    return p
