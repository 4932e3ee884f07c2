"""The cost of a Born machine: the clipped negative log-likelihood of the states that occur."""

import numpy as np

from .bits import to_index


def empirical(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The states that occur in `bits` (N, n): their indices (S,) int64, each once, and frequencies (S,), in sum 1."""
    states, counts = np.unique(to_index(bits), return_counts=True)
    return states, counts / counts.sum()


def clipped_nll(probabilities: np.ndarray, frequencies: np.ndarray, epsilon: float = 1e-8) -> np.ndarray:
    """Return −Σ_x p̂(x) log max(ε, p_θ(x)) in nats, summed over the states that occur.

    probabilities: (..., S), the model's at those states; frequencies: (S,), the data's. Returns (...).
    Source: Liu & Wang, arXiv:1804.04168; clipped as in Rudolph et al., arXiv:2012.03924.
    """
    return -(np.log(np.maximum(epsilon, probabilities)) @ frequencies)


def clipped_nll_gradient(probabilities: np.ndarray, frequencies: np.ndarray, epsilon: float = 1e-8) -> np.ndarray:
    """The derivative of `clipped_nll` by the probabilities (S,): −p̂/p, and 0 where p is clipped. Returns (S,)."""
    kept = probabilities > epsilon
    return np.where(kept, -frequencies / np.where(kept, probabilities, 1.0), 0.0)
