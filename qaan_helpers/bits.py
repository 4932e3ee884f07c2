"""Bit strings as NumPy arrays: the bit order, binarization of activations, entropy and correlation."""

import numpy as np
from numpy.typing import ArrayLike

from .checks import check_choice, check_integer

MAX_INDEX_BITS = 63  # an int64 index holds no more


def check_bits(bits: ArrayLike, n_bits: int) -> np.ndarray:
    """Check an array of bit strings.

    Args:
        bits: The array, a NumPy array or a torch tensor of any type.
        n_bits: The number n of columns that it must have.

    Returns:
        The bits, shape (N, n), uint8.

    Raises:
        ValueError: If the shape is not (N, n) with N ≥ 1, or a value is neither 0 nor 1.
    """
    array = np.asarray(bits)
    if array.ndim != 2 or array.shape[1] != n_bits or len(array) == 0:
        raise ValueError(f"bits must have shape (N, {n_bits}) with N ≥ 1, one column per bit; got shape {array.shape}")
    allowed = np.isin(array, (0, 1))
    if not allowed.all():
        raise ValueError(f"bits must be 0 or 1; got {array[~allowed].flat[0]}. Use binarize(activations) to make bits")
    return array.astype(np.uint8)


def to_index(bits: ArrayLike) -> np.ndarray:
    """Number bit strings: index = Σ_q bit_q · 2^q, so column q is qubit q.

    Args:
        bits: Bit strings, shape (N, n), at most 63 bits each.

    Returns:
        Indices, shape (N,), int64.

    Raises:
        ValueError: If the shape is not (N, n), or n is more than 63.
    """
    rows = _rows(bits)
    check_integer("the number of bits", rows.shape[1], 0, MAX_INDEX_BITS)
    return rows.astype(np.int64) @ (np.int64(1) << np.arange(rows.shape[1], dtype=np.int64))


def from_index(index: ArrayLike, n_bits: int) -> np.ndarray:
    """Turn indices back into bit strings: the inverse of `to_index`.

    Args:
        index: Indices, shape (N,).
        n_bits: The number n of bits, at most 63.

    Returns:
        Bits, shape (N, n), uint8.

    Raises:
        ValueError: If `n_bits` is not allowed.
    """
    n_bits = check_integer("n_bits", n_bits, maximum=MAX_INDEX_BITS)
    return ((np.asarray(index, dtype=np.int64)[:, None] >> np.arange(n_bits)) & 1).astype(np.uint8)


def sample_bits(probabilities: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Draw bit strings from a distribution.

    With the same random numbers, a sample changes only if the probabilities of its neighborhood change.

    Args:
        probabilities: The distribution, shape (2ⁿ,), index as in `to_index`. It is normalized here.
        n_samples: The number of bit strings N.
        rng: The generator of the random numbers.

    Returns:
        Bits, shape (N, n), uint8.
    """
    cumulative = np.cumsum(probabilities)
    index = np.searchsorted(cumulative, rng.random(n_samples) * cumulative[-1], side="right")
    return from_index(index, len(probabilities).bit_length() - 1)


def _rows(bits: ArrayLike) -> np.ndarray:
    array = np.asarray(bits)
    if array.ndim != 2:
        raise ValueError(f"bits must have shape (N, n), one column per bit; got shape {array.shape}")
    return array


def binarize(activations: ArrayLike, method: str = "median", seed: int | None = None) -> np.ndarray:
    """Turn activations into bits.

    The median is our choice; notebook 5 compares the three methods.

    Args:
        activations: Activations in (−1, 1), shape (N, n), a torch tensor on any device or a NumPy array.
        method: "median" sets a bit if the unit is above its median over the N rows, so that each bit is balanced.
            "sign" sets it if the unit is above 0. "bernoulli" sets it with probability (a + 1) / 2.
        seed: The seed for "bernoulli"; None for a random one.

    Returns:
        Bits, shape (N, n), uint8.

    Raises:
        ValueError: If the method is unknown, the shape is wrong, or activations are not finite.
    """
    check_choice("method", method, ("median", "sign", "bernoulli"))
    if hasattr(activations, "detach"):  # a torch tensor
        activations = activations.detach().cpu()
    values = np.asarray(activations)
    if values.ndim != 2 or len(values) == 0:
        raise ValueError(f"activations must have shape (N, n) with N ≥ 1; got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("activations must be finite; got NaN or infinity. The network that made them has diverged")
    if method == "bernoulli":
        return (np.random.default_rng(seed).random(values.shape) < (values + 1) / 2).astype(np.uint8)
    threshold = np.median(values, axis=0) if method == "median" else 0.0
    return (values > threshold).astype(np.uint8)


def entropy(bits: ArrayLike) -> float:
    """Return the plug-in entropy of bit strings, that of their empirical distribution.

    Args:
        bits: Bit strings, shape (N, n).

    Returns:
        The entropy in nats.

    Raises:
        ValueError: If the shape is not (N, n).
    """
    rows = _rows(bits)
    if rows.shape[1] <= MAX_INDEX_BITS:
        _, counts = np.unique(to_index(rows), return_counts=True)
    else:
        _, counts = np.unique(rows, axis=0, return_counts=True)
    p = counts / counts.sum()
    return float(-(p * np.log(p)).sum()) + 0.0  # turns -0.0 into 0.0


def total_correlation(bits: ArrayLike) -> float:
    """Return the total correlation of bit strings: Σ_q H(bit_q) − H(bits).

    It is the KL divergence of the data's distribution from the best product distribution (Watanabe, 1960).

    Args:
        bits: Bit strings, shape (N, n).

    Returns:
        The total correlation in nats; 0 for independent bits.

    Raises:
        ValueError: If the shape is not (N, n).
    """
    rows = _rows(bits)
    return sum(entropy(column[:, None]) for column in rows.T) - entropy(rows)


def mutual_information(bits: ArrayLike) -> np.ndarray:
    """Return the mutual information of all pairs of bits.

    Args:
        bits: Bit strings, shape (N, n).

    Returns:
        The mutual information in nats, shape (n, n), with the bits' entropies on the diagonal.

    Raises:
        ValueError: If the shape is not (N, n).
    """
    rows = _rows(bits)
    n = rows.shape[1]
    single = [entropy(rows[:, [i]]) for i in range(n)]
    table = np.diag(single)
    for i in range(n):
        for j in range(i):
            table[i, j] = table[j, i] = single[i] + single[j] - entropy(rows[:, [i, j]])
    return table
