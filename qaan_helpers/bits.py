"""Bits and what is said of them: the one bit order, how activations become bits, entropy and correlation."""

import numpy as np
import torch

from .checks import check_integer

BINARIZATIONS = ("median", "sign", "bernoulli")
MAX_INDEX_BITS = 63  # bits that an int64 can number


def check_bits(bits: np.ndarray | torch.Tensor, n_bits: int) -> np.ndarray:
    """Return `bits` as a uint8 array (N, n_bits), or raise a ValueError that says what is wrong with it."""
    array = np.asarray(bits)
    if array.ndim != 2 or array.shape[1] != n_bits or len(array) == 0:
        raise ValueError(f"bits have shape {array.shape}; (N, {n_bits}) with N ≥ 1 is needed: one column a bit")
    if not np.isin(array, (0, 1)).all():
        strange = array[~np.isin(array, (0, 1))].flat[0]
        raise ValueError(f"bits hold {strange}; only 0 and 1 are allowed: binarize(activations) makes them")
    return array.astype(np.uint8)


def to_index(bits: np.ndarray) -> np.ndarray:
    """Number the states of `bits` (N, n): index = Σ_q bit_q · 2^q, so column q is qubit q. Returns (N,) int64."""
    bits = _rows(bits)
    check_integer("the number of bits", bits.shape[1], 0, MAX_INDEX_BITS)
    return bits.astype(np.int64) @ (np.int64(1) << np.arange(bits.shape[1], dtype=np.int64))


def from_index(index: np.ndarray, n_bits: int) -> np.ndarray:
    """Undo `to_index`: indices (N,) become bits (N, n_bits) uint8."""
    n_bits = check_integer("n_bits", n_bits, maximum=MAX_INDEX_BITS)
    return ((np.asarray(index, dtype=np.int64)[:, None] >> np.arange(n_bits)) & 1).astype(np.uint8)


def sample_bits(probabilities: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Draw bits (n_samples, n) uint8 from a distribution (2ⁿ,), index as in `to_index`; it need not sum to 1 exactly.

    The same numbers from `rng` give the same bits until their states' probabilities move.
    """
    cumulative = np.cumsum(probabilities)
    drawn = np.searchsorted(cumulative, rng.random(n_samples) * cumulative[-1], side="right")
    return from_index(drawn, len(probabilities).bit_length() - 1)


def _rows(bits):
    bits = np.asarray(bits)
    if bits.ndim != 2:
        raise ValueError(f"bits have shape {bits.shape}; (N, n) is needed: one column a bit")
    return bits


def binarize(activations: torch.Tensor, method: str = "median", seed: int | None = None) -> np.ndarray:
    """Turn activations (N, n) in (−1, 1) into bits (N, n) uint8.

    method: "median" asks whether a unit is above its own median over the N rows, so that each bit is balanced;
    "sign" whether it is above 0; "bernoulli" draws 1 with probability (a + 1) / 2, from `seed`.
    Raises ValueError for another method, a wrong shape, or activations that are not finite.
    Source: none of the papers says how activations become bits; the median is our choice (notebook 05).
    """
    if method not in BINARIZATIONS:
        raise ValueError(f"method is {method!r}; choose one of {', '.join(map(repr, BINARIZATIONS))}")
    values = torch.as_tensor(activations).detach().cpu().numpy()
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(f"activations have shape {values.shape}; (N, n) with N ≥ 1 is needed")
    if not np.isfinite(values).all():
        raise ValueError("activations hold NaN or infinity: the network that made them has diverged")
    if method == "bernoulli":
        return (np.random.default_rng(seed).random(values.shape) < (values + 1) / 2).astype(np.uint8)
    threshold = np.median(values, axis=0) if method == "median" else 0.0
    return (values > threshold).astype(np.uint8)


def entropy(bits: np.ndarray) -> float:
    """The plug-in entropy of the rows of `bits` (N, n), in nats."""
    bits = _rows(bits)
    short = bits.shape[1] <= MAX_INDEX_BITS
    counts = np.unique(to_index(bits) if short else bits, axis=None if short else 0, return_counts=True)[1]
    p = counts / counts.sum()
    return float(-(p * np.log(p)).sum()) + 0.0  # never -0.0


def total_correlation(bits: np.ndarray) -> float:
    """What the bits (N, n) know of each other, in nats: the sum of the columns' entropies less the rows' entropy.

    It is also the KL divergence of the best product of Bernoullis from the data (Watanabe, 1960).
    """
    return sum(entropy(column[:, None]) for column in _rows(bits).T) - entropy(bits)


def mutual_information(bits: np.ndarray) -> np.ndarray:
    """The mutual information in nats of all pairs of columns of `bits` (N, n): (n, n), entropies on the diagonal."""
    bits = _rows(bits)
    n = bits.shape[1]
    single = [entropy(bits[:, [i]]) for i in range(n)]
    table = np.diag(single)
    for i in range(n):
        for j in range(i):
            table[i, j] = table[j, i] = single[i] + single[j] - entropy(bits[:, [i, j]])
    return table
