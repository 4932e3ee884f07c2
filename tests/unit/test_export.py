"""The file of a model for the lab in the browser: what it holds, and what cannot be exported."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu

import qaan_helpers as qh
from qaan_helpers.lab.export import MAX_BYTES, model_bytes, read_model


@pytest.fixture(scope="module")
def digits():
    return qh.load_mnist((3, 7, 9), "test", source="sample")


def untrained(digits, objective="tied", prior=None):
    """A QAAN with weights, averages and variances at random, and thresholds."""
    gan = qh.QAAN(prior or qh.QCBMPrior(6, entanglement="linear"), "cpu", objective=objective)
    rng = torch.Generator().manual_seed(0)
    for network in filter(None, (gan.ema, gan.generator, gan.discriminator, gan.encoder)):
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=rng) + 0.5)
            elif tensor.is_floating_point():
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=rng))
    gan.read_bits(digits.images)
    return gan


def run(arrays, images, bits, tanh):
    """The networks of a file: the units of images, and the images of bits."""
    weights = {name: torch.tensor(array) for name, array in arrays.items() if array.dtype == np.float32}
    hidden = leaky_relu(conv2d(2 * images - 1, weights["encoder.conv1"], stride=2, padding=2), 0.2)
    bias = weights["encoder.conv2_bias"]
    hidden = leaky_relu(conv2d(hidden, weights["encoder.conv2"], bias, stride=2, padding=2), 0.2).flatten(1)
    units = hidden @ weights["encoder.linear"].T + weights["encoder.linear_bias"]
    options = {"stride": 2, "padding": 2, "output_padding": 1}
    latents = 2 * torch.tensor(bits).float() - 1
    hidden = (latents @ weights["generator.linear"].T + weights["generator.linear_bias"]).relu().view(-1, 48, 7, 7)
    hidden = conv_transpose2d(hidden, weights["generator.conv1"], weights["generator.conv1_bias"], **options).relu()
    made = conv_transpose2d(hidden, weights["generator.conv2"], **options).sigmoid()
    return units.tanh() if tanh else units, made


@pytest.mark.parametrize("objective", ["associative", "tied", "reconstruction"])
def test_a_file_holds_the_networks_and_the_circuit_of_every_objective(digits, objective):
    gan = untrained(digits, objective)
    data = model_bytes(gan, digits, digits, "mine", 7)
    header, arrays = read_model(data)
    assert len(data) < MAX_BYTES and header["name"] == "mine" and header["objective"] == objective
    assert (header["n_qubits"], header["layers"], header["entanglement"]) == (6, 2, "linear") and header["warm_start"]
    bits = qh.from_index(np.arange(20), 6)
    units, images = run(arrays, digits.images, bits, header["activation"] == "tanh")
    assert torch.allclose(units, gan.activations(digits.images), atol=1e-4)
    assert torch.allclose(images, gan.decode(bits), atol=1e-5)
    assert (arrays["angles"] == gan.prior.qcbm.angles).all()
    assert np.allclose(arrays["thresholds"], gan.thresholds)
    assert arrays["labels"].tolist() == [3, 7, 9, 3, 7, 9, 3] and arrays["examples"].shape == (7, 28, 28)
    counts = np.bincount(qh.to_index(gan.encode(digits.images)), minlength=64)
    assert (arrays["code_counts"] == counts).all()


def test_a_circuit_in_a_mixture_is_exported(digits):
    prior = qh.MixedPrior(qh.QCBMPrior(4, layers=1))
    header, _ = read_model(model_bytes(untrained(digits, prior=prior), digits, digits, "mixed"))
    assert header["n_qubits"] == 4 and header["layers"] == 1


@pytest.mark.parametrize(
    ("prior", "complaint"),
    [
        (lambda: qh.UniformPrior(8), "Z basis.*UniformPrior"),
        (lambda: qh.QCBMPrior(4, bases="zt"), "Z basis.*bases='zt'"),
        (lambda: qh.ScrambledPrior(qh.QCBMPrior(4)), "Z basis.*ScrambledPrior"),
        (lambda: qh.QCBMPrior(13, layers=1, entanglement="linear"), "at most 12 bits.*13"),
    ],
)
def test_other_priors_are_refused(digits, prior, complaint):
    with pytest.raises(ValueError, match=complaint):
        model_bytes(qh.QAAN(prior(), "cpu"), digits, digits, "mine")


def test_missing_thresholds_and_large_files_are_refused(digits):
    with pytest.raises(ValueError, match="no thresholds"):
        model_bytes(qh.QAAN(qh.QCBMPrior(4), "cpu"), digits, digits, "mine")
    with pytest.raises(ValueError, match="at most 600,000 bytes"):
        model_bytes(untrained(digits, prior=qh.QCBMPrior(8)), digits, digits, "mine", 300)
    with pytest.raises(ValueError, match="format 1"):
        read_model(b"\x02\x00\x00\x00{}")
