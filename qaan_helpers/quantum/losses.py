"""Losses of a Born machine: the clipped negative log-likelihood, its gradient, and the KL divergence."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import rel_entr

from ..bits import check_bits, to_index
from ..checks import check_integer


def empirical_distribution(bits: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct bit strings of the data with their frequencies.

    Args:
        bits: Bit strings, shape (N, n).

    Returns:
        Their indices, shape (S,), int64, as in `to_index`, and their frequencies, shape (S,), which sum to 1.

    Raises:
        ValueError: If the shape is not (N, n), or n is more than 63.
    """
    states, counts = np.unique(to_index(bits), return_counts=True)
    return states, counts / counts.sum()


def clipped_nll(probabilities: np.ndarray, frequencies: np.ndarray, epsilon: float = 1e-8) -> np.ndarray:
    """Return the clipped negative log-likelihood −Σ_x p̂(x) log max(ε, p_θ(x)), summed over the states in the data.

    Source: Liu and Wang, arXiv:1804.04168; clipped as in the public implementation.

    Args:
        probabilities: The model's probabilities p_θ of these states, shape (..., S).
        frequencies: The states' frequencies p̂ in the data, shape (S,).
        epsilon: The lower bound ε of probabilities.

    Returns:
        The cost in nats, shape (...).
    """
    return -(np.log(np.maximum(epsilon, probabilities)) @ frequencies)


def clipped_nll_gradient(probabilities: np.ndarray, frequencies: np.ndarray, epsilon: float = 1e-8) -> np.ndarray:
    """Return the derivative of `clipped_nll` with respect to the probabilities: −p̂/p, and 0 where p is clipped.

    Args:
        probabilities: The model's probabilities p of the states in the data, shape (S,).
        frequencies: The states' frequencies p̂ in the data, shape (S,).
        epsilon: The lower bound of probabilities.

    Returns:
        The derivative in nats, shape (S,).
    """
    above = probabilities > epsilon
    return np.where(above, -frequencies / np.where(above, probabilities, 1.0), 0.0)


def kl_divergence(bits: ArrayLike, probabilities: ArrayLike, epsilon: float = 1e-8) -> float:
    """Return the KL divergence of the empirical distribution of bit strings from a model.

    Use bits that the model was not fitted to. Compare the result with `kl_sampling_bias`, because the KL divergence of
    N samples is positive even for the distribution that they come from.

    Args:
        bits: Bit strings, shape (N, n).
        probabilities: The model's distribution, shape (2ⁿ,), index as in `to_index`.
        epsilon: The lower bound at which the probabilities are clipped.

    Returns:
        Σ_x p̂(x) log(p̂(x) / p(x)) in nats.

    Raises:
        ValueError: If the probabilities are not a distribution of n bits, or the bits do not have n columns.
    """
    p = _check_distribution(probabilities)
    states, frequencies = empirical_distribution(check_bits(bits, len(p).bit_length() - 1))
    return float(rel_entr(frequencies, np.maximum(epsilon, p[states])).sum())


def kl_sampling_bias(probabilities: ArrayLike, n_rows: int, n_draws: int = 100, seed: int | None = 0) -> float:
    """Return the mean of `kl_divergence` for samples of the model itself: the finite-sample bias.

    It is about (S − 1) / 2N for S states that occur often.

    Args:
        probabilities: The model's distribution, shape (2ⁿ,).
        n_rows: The number of bit strings N.
        n_draws: The number of simulated data sets that are averaged.
        seed: The seed of the simulated data; None for a random one.

    Returns:
        The bias in nats.

    Raises:
        ValueError: If the probabilities are not a distribution of n bits, or `n_rows` is not an integer of at least 1.
    """
    p = _check_distribution(probabilities)
    counts = np.random.default_rng(seed).multinomial(check_integer("n_rows", n_rows), p / p.sum(), n_draws)
    return float(rel_entr(counts / n_rows, p).sum(1).mean())


def _check_distribution(probabilities: ArrayLike) -> np.ndarray:
    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 1 or len(p) < 2 or len(p) & (len(p) - 1) or p.min() < 0 or not np.isclose(p.sum(), 1, atol=1e-6):
        raise ValueError(
            "probabilities must be 2ⁿ numbers of at least 0 that sum to 1, such as prior.probabilities(); got shape "
            f"{p.shape} with sum {p.sum():.6g}"
        )
    return p
