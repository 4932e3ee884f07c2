"""Export of a model for the lab in the browser: one file with the networks, the circuit and some digits.

A file starts with the length of its header (uint32), followed by the header (JSON, padded with spaces) and the arrays.
All numbers are little-endian, and every array starts at a multiple of 4 bytes. The module `page/lab.js` reads it.
"""

import json
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ..bits import to_index
from ..checks import check_integer
from ..gan.model import QAAN
from ..gan.networks import Discriminator, Encoder, Generator
from ..mnist import Digits
from ..priors import SMALLEST_PROBABILITY, Prior, QCBMPrior, ScrambledPrior, SignedPermutationPrior, learned_prior

FORMAT = 1
MAX_BITS = 12  # the browser simulates the circuit and stores the image of every code
MAX_BYTES = 600_000
MAX_COUNT = 2**16 - 1


def model_bytes(gan: QAAN, digits: Digits, test_digits: Digits, name: str, n_examples: int = 20) -> bytes:
    """Export a trained QAAN with a circuit prior as one binary file for the lab in the browser.

    Batch normalization is folded into the layers before it. The generator is the one that `QAAN.generate` uses.

    Args:
        gan: A trained QAAN. Its prior is a `QCBMPrior` in the Z basis, alone or in a `MixedPrior`.
        digits: The training digits, at most 65,535. The lab fits the circuit to their codes.
        test_digits: The digits from which the examples are taken, the same number of each label if possible.
        name: The name of the model.
        n_examples: The number of examples.

    Returns:
        The file, at most 600 kB.

    Raises:
        ValueError: If the prior is not such a circuit, the model has more than 12 bits or no thresholds, there are too
            many digits, or the file would be too large.
    """
    prior = _circuit(gan.prior)
    if gan.thresholds is None:
        raise ValueError("gan has no thresholds to encode images with; train it for one epoch first")
    if len(digits) > MAX_COUNT:
        raise ValueError(f"digits must be at most {MAX_COUNT:,} images; got {len(digits):,}. Use source='sample'")
    examples = _examples(test_digits, check_integer("n_examples", n_examples))
    pixels = (test_digits.images[examples, 0] * 255).round().to(torch.uint8).numpy()
    counts = np.bincount(to_index(gan.encode(digits.images)), minlength=2**prior.latent_dim)
    circuit, generator = prior.qcbm.circuit, cast(Generator, gan.ema.module)
    arrays = {
        **_encoder_arrays(gan.discriminator if gan.encoder is None else gan.encoder),
        **_generator_arrays(generator),
        "thresholds": gan.thresholds.numpy().astype("<f4"),  #        (n,)
        "angles": prior.qcbm.angles.astype("<f8"),  #                 (P,), in radians
        "examples": pixels,  #                                        (E, 28, 28)
        "labels": test_digits.labels[examples].numpy().astype("u1"),  # (E,)
        "code_counts": counts.astype("<u2"),  #                       (2ⁿ,), index Σ_q bit_q · 2^q
    }
    header = {
        "format": FORMAT,
        "name": name,
        "objective": gan.objective,
        "digits": list(gan.digits or ()),
        "n_bits": prior.latent_dim,
        "n_qubits": circuit.num_qubits,
        "layers": prior.layers,
        "entanglement": prior.entanglement,
        "warm_start": circuit.data[0].operation.name == "h",
        "epsilon": SMALLEST_PROBABILITY,
        "activation": "tanh" if gan.encoder is None else "linear",  # of the units that become bits
    }
    data = _pack(header, arrays)
    if len(data) > MAX_BYTES:
        raise ValueError(f"the file must have at most {MAX_BYTES:,} bytes; got {len(data):,}. Use fewer examples")
    return data


def read_model(data: bytes) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Read a file that `model_bytes` wrote.

    Args:
        data: The file.

    Returns:
        The header without the list of arrays, and the arrays by name.

    Raises:
        ValueError: If the file has another format.
    """
    start = 4 + int.from_bytes(data[:4], "little")
    header = json.loads(data[4:start])
    if header.get("format") != FORMAT:
        raise ValueError(f"the file must have format {FORMAT}; got {header.get('format')!r}")
    arrays = {}
    for entry in header.pop("arrays"):
        count = int(np.prod(entry["shape"], dtype=int))
        values = np.frombuffer(data, f"<{entry['dtype']}", count, start + entry["offset"])
        arrays[entry["name"]] = values.reshape(entry["shape"])
    return header, arrays


def _circuit(prior: Prior) -> QCBMPrior:
    learned = learned_prior(prior)
    permuted = isinstance(prior, ScrambledPrior | SignedPermutationPrior)
    if permuted or not isinstance(learned, QCBMPrior) or learned.qcbm.bases != "z":
        bases = f" with bases={learned.qcbm.bases!r}" if isinstance(learned, QCBMPrior) else ""
        raise ValueError(
            "gan must have a circuit prior that is measured in the Z basis, such as QCBMPrior(8); got "
            f"{type(prior).__name__}{bases}"
        )
    if learned.latent_dim > MAX_BITS:
        raise ValueError(f"gan must have at most {MAX_BITS} bits for the browser; got {learned.latent_dim}")
    return learned


def _examples(digits: Digits, n_examples: int) -> list[int]:
    """Choose positions of digits: the first image of each label, then the second of each, and so on."""
    labels = digits.labels.numpy()
    rank = np.array([(labels[:i] == label).sum() for i, label in enumerate(labels)])
    return np.lexsort((labels, rank))[:n_examples].tolist()


def _encoder_arrays(network: Discriminator | Encoder) -> dict[str, np.ndarray]:
    """Fold the layers that turn an image, scaled to −1…1, into the units that become bits."""
    convolutions: Any = network.convolutions
    hidden: Any = network.hidden
    second, shift = _folded(_double(convolutions[2].weight), convolutions[3], axis=0)
    linear, norm = hidden[0], hidden[1]
    if isinstance(norm, nn.BatchNorm1d):
        weight, bias = _folded(_double(linear.weight), norm, axis=0)
        weight, bias = 2 * weight, 2 * bias  # the factor of the encoder's logits
    else:
        weight, bias = _double(linear.weight), _double(linear.bias)
    arrays = {
        "encoder.conv1": _double(convolutions[0].weight),  # (24, 1, 5, 5)
        "encoder.conv2": second,  #                          (48, 24, 5, 5)
        "encoder.conv2_bias": shift,  #                      (48,)
        "encoder.linear": weight,  #                         (n, 2352)
        "encoder.linear_bias": bias,  #                      (n,)
    }
    return {key: value.astype("<f4") for key, value in arrays.items()}


def _generator_arrays(network: Generator) -> dict[str, np.ndarray]:
    """Fold the generator's layers."""
    layers: Any = network.layers  # typed as modules whose attributes are unknown
    linear, _, norm1, _, conv1, norm2, _, conv2, _ = layers
    pixels = linear.weight.shape[0] // norm1.num_features
    scale, shift = _scale_and_shift(norm1)
    conv, conv_bias = _folded(_double(conv1.weight), norm2, axis=1)
    arrays = {
        "generator.linear": _double(linear.weight) * np.repeat(scale, pixels)[:, None],  # (2352, n)
        "generator.linear_bias": np.repeat(shift, pixels),  #                              (2352,)
        "generator.conv1": conv,  #                                                        (48, 24, 5, 5)
        "generator.conv1_bias": conv_bias,  #                                              (24,)
        "generator.conv2": _double(conv2.weight),  #                                       (24, 1, 5, 5)
    }
    return {key: value.astype("<f4") for key, value in arrays.items()}


def _folded(weight: np.ndarray, norm: Any, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Fold batch normalization into the weights before it, whose output channels are on this axis."""
    scale, shift = _scale_and_shift(norm)
    shape = [1] * weight.ndim
    shape[axis] = -1
    return weight * scale.reshape(shape), shift


def _scale_and_shift(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return what batch normalization in evaluation mode does to each channel: x ↦ scale · x + shift."""
    scale = 1 / np.sqrt(_double(norm.running_var) + norm.eps)
    shift = -_double(norm.running_mean) * scale
    if norm.affine:
        weight = _double(norm.weight)
        return scale * weight, shift * weight + _double(norm.bias)
    return scale, shift


def _double(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _pack(header: dict[str, object], arrays: dict[str, np.ndarray]) -> bytes:
    entries, offset = [], 0
    for name, array in arrays.items():
        dtype = array.dtype.str.lstrip("<|")
        entries.append({"name": name, "dtype": dtype, "shape": list(array.shape), "offset": offset})
        offset += array.nbytes + -array.nbytes % 4
    text = json.dumps({**header, "arrays": entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    return b"".join([len(text).to_bytes(4, "little"), text, *_padded(arrays)])


def _padded(arrays: dict[str, np.ndarray]) -> Iterator[bytes]:
    for array in arrays.values():
        yield array.tobytes() + bytes(-array.nbytes % 4)
