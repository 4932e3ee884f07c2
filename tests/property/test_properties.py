"""Properties of every public function over its arguments: what always holds of good ones, how bad ones are refused.

Sizes that no machine has are tried in a child process whose memory is limited.
"""

import contextlib
import copy
import io
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase, assume, example, given, settings
from hypothesis import strategies as st
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import Statevector

import qaan_helpers as qh
from qaan_helpers.__main__ import main
from qaan_helpers.checks import check_integer
from qaan_helpers.gan import storage
from qaan_helpers.priors import PRIORS, make_prior
from qaan_helpers.quantum.losses import clipped_nll_gradient

SECONDS = 10  # that a refusal may take, on a busy machine
HEADROOM = 2**30  # bytes that the child may take beyond what its imports took


def examples(count):
    """Try the same examples on every run, a quarter outside `make check`; report a failure without shrinking it."""
    phases = (Phase.explicit, Phase.generate)
    tried = count if os.environ.get("QAAN_FULL") else max(count // 4, 5)
    return settings(max_examples=tried, deadline=None, derandomize=True, database=None, phases=phases)


# What good arguments are drawn from

seeds = st.integers(0, 2**64)
entanglements = st.sampled_from(("full", "linear", "none"))


@st.composite
def bit_rows(draw, most_bits=6, most_rows=30, n=None):
    """Bits (N, n) uint8."""
    n = n or draw(st.integers(1, most_bits))
    rows = draw(st.lists(st.integers(0, 2**n - 1), min_size=1, max_size=most_rows))
    return qh.from_index(np.array(rows), n)


@st.composite
def circuits(draw, most_qubits=3, most_layers=2):
    """An ansatz and angles for it."""
    n, layers = draw(st.integers(1, most_qubits)), draw(st.integers(1, most_layers))
    circuit = qh.qcbm_ansatz(n, layers, draw(entanglements), draw(st.booleans()))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return circuit, rng.uniform(-7, 7, circuit.num_parameters)


@st.composite
def images(draw, least=1, most=12):
    """Images (N, 1, 28, 28) in [0, 1], of noise or of real digits."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n = draw(st.integers(least, most))
    if draw(st.booleans()):
        return torch.from_numpy(rng.random((n, 1, 28, 28), dtype=np.float32))
    return real_images()[rng.choice(len(real_images()), n, replace=False)]


@lru_cache
def real_images():
    with contextlib.redirect_stdout(io.StringIO()):
        return qh.load_mnist(range(10), "test", "sample").images


@lru_cache
def small_qcbm(execution=None, bases="z", n=2):
    return qh.QCBM(qh.qcbm_ansatz(n, 1), execution, bases=bases)


@lru_cache
def small_gan():
    return qh.QAAN(qh.ProductPrior(3), "cpu")


# What bad arguments are drawn from

too_small = st.integers(max_value=0)
no_number = st.sampled_from(("", "x", "3", b"3", (), (1,), [2], {}, 1j)) | st.text(max_size=5)
no_whole = no_number | st.floats() | st.booleans()
unknown = st.text(max_size=6) | st.sampled_from((None, 0, 3.5, (), "Z", "FULL", "sgd", "tpu", "mean"))


def refused(call, *words):
    """The call raises one of our errors, whose message holds each of the words."""
    with pytest.raises((ValueError, TypeError, RuntimeError)) as told:
        call()
    for word in words:
        assert str(word) in str(told.value), f"{word!r} is not in {told.value}"


BITS = np.array([[0, 1, 1], [1, 0, 1]], dtype=np.uint8)
WHOLE = {  # every argument that is a whole number of 1 or more; the word before the colon is in the message
    "n_qubits: qcbm_ansatz": lambda value: qh.qcbm_ansatz(n_qubits=value),
    "layers: qcbm_ansatz": lambda value: qh.qcbm_ansatz(2, layers=value),
    "n_qubits: QCBMPrior": lambda value: qh.QCBMPrior(value),
    "layers: QCBMPrior": lambda value: qh.QCBMPrior(2, value),
    "max_evaluations: QCBMPrior": lambda value: qh.QCBMPrior(2, 1, max_evaluations=value),
    "refit_evaluations: QCBMPrior": lambda value: qh.QCBMPrior(2, 1, refit_evaluations=value),
    "latent_dim: UniformPrior": lambda value: qh.UniformPrior(value),
    "latent_dim: ProductPrior": lambda value: qh.ProductPrior(value),
    "latent_dim: Generator": lambda value: qh.Generator(value),
    "latent_dim: Discriminator": lambda value: qh.Discriminator(value),
    "n_samples: UniformPrior.sample": lambda value: qh.UniformPrior(2).sample(value),
    "n_samples: ProductPrior.sample": lambda value: qh.ProductPrior(2).sample(value),
    "n_samples: QCBM.sample": lambda value: small_qcbm().sample(value),
    "n_samples: QAAN.sample": lambda value: small_gan().sample(value),
    "max_evaluations: QCBM.fit": lambda value: small_qcbm().fit(BITS[:, :2], max_evaluations=value),
    "max_evaluations: QCBM.bill": lambda value: small_qcbm().estimate_resources(max_evaluations=value),
    "shots: Shots": lambda value: qh.Shots(value),
    "shots: Primitive": lambda value: qh.Primitive(StatevectorSampler(), value),
    "shots: named_execution": lambda value: qh.named_execution("shots", value),
    "shots: ibm": lambda value: qh.ibm(None, value),
    "min_qubits: ibm": lambda value: qh.ibm(None, min_qubits=value),
    "shots: ionq": lambda value: qh.ionq("ionq_simulator", value),
    "batch_size: Digits.batches": lambda value: few_digits().batches(value),
    "epochs: train": lambda value: qh.train(small_gan(), few_digits(), value),
    "batch_size: train": lambda value: qh.train(small_gan(), few_digits(), 1, value),
    "keep: QAAN.save": lambda value: small_gan().save("nowhere/at/all", value),
    "refresh: QAAN": lambda value: qh.QAAN(qh.UniformPrior(2), refresh=value),
    "fit_samples: QAAN": lambda value: qh.QAAN(qh.UniformPrior(2), fit_samples=value),
    "value: check_integer": lambda value: check_integer("value", value),
}
CHOICES = {  # every argument that is one of a few words
    "entanglement: qcbm_ansatz": lambda value: qh.qcbm_ansatz(2, entanglement=value),
    "entanglement: QCBMPrior": lambda value: qh.QCBMPrior(2, entanglement=value),
    "bases: QCBMPrior": lambda value: qh.QCBMPrior(2, bases=value),
    "bases: QCBM": lambda value: qh.QCBM(qh.qcbm_ansatz(2), bases=value),
    "optimizer: QCBMPrior": lambda value: qh.QCBMPrior(2, optimizer=value),
    "optimizer: QCBM.fit": lambda value: small_qcbm().fit(BITS[:, :2], value),
    "optimizer: QCBM.bill": lambda value: small_qcbm().estimate_resources(value),
    "method: binarize": lambda value: qh.binarize(torch.zeros(2, 2), value),
    "binarization: QAAN": lambda value: qh.QAAN(qh.UniformPrior(2), binarization=value),
    "fit_to: QAAN": lambda value: qh.QAAN(qh.UniformPrior(2), fit_to=value),
    "device: QAAN": lambda value: qh.QAAN(qh.UniformPrior(2), value),
    "device: QAAN.load": lambda value: qh.QAAN.load("nowhere", value),
    "split: load_mnist": lambda value: qh.load_mnist(split=value, source="sample"),
    "source: load_mnist": lambda value: qh.load_mnist(source=value),
    "on_collapse: train": lambda value: qh.train(small_gan(), few_digits(), on_collapse=value),
    "kind: make_prior": lambda value: make_prior({"kind": value}),
}
RANGES = {  # every other number: what it must lie in
    "one_qubit_error: ion_trap_noise": (lambda value: qh.ion_trap_noise(one_qubit_error=value), 0, 0.5),
    "two_qubit_error: ion_trap_noise": (lambda value: qh.ion_trap_noise(two_qubit_error=value), 0, 0.75),
    "readout_error: ion_trap_noise": (lambda value: qh.ion_trap_noise(readout_error=value), 0, 0.5),
    "epsilon: QCBM.fit": (lambda value: small_qcbm().fit(BITS[:, :2], epsilon=value), 0, 1),
    "latent_noise: QAAN": (lambda value: qh.QAAN(qh.UniformPrior(2), latent_noise=value), 0, 100),
    "label_smoothing: QAAN": (lambda value: qh.QAAN(qh.UniformPrior(2), label_smoothing=value), 0, 0.5),
    "learning_rate: QAAN": (lambda value: qh.QAAN(qh.UniformPrior(2), learning_rate=value), 0, 1),
    "timeout: Primitive": (lambda value: qh.Primitive(StatevectorSampler(), timeout=value), 0, math.inf),
}
OPTIONAL = ("max_evaluations", "refit_evaluations", "timeout")  # which may be None


@lru_cache
def few_digits():
    return qh.Digits(real_images()[:12], torch.arange(12) % 3)


@pytest.mark.parametrize("name", WHOLE)
@given(value=too_small | no_whole | st.none())
@examples(12)
def test_whole_numbers_are_checked_by_name(name, value):
    argument = name.split(":")[0]
    assume(value is not None or argument not in OPTIONAL)
    refused(lambda: WHOLE[name](value), argument, repr(value))


@pytest.mark.parametrize("name", CHOICES)
@given(value=unknown)
@examples(12)
def test_words_are_checked_by_name(name, value):
    assume(value is not None or name != "optimizer: QCBMPrior")  # there None is the default
    refused(lambda: CHOICES[name](value), name.split(":")[0], repr(value))


@pytest.mark.parametrize("name", RANGES)
@given(data=st.data())
@examples(20)
def test_numbers_out_of_range_are_refused(name, data):
    call, low, high = RANGES[name]
    outside = [st.sampled_from((math.nan, -math.inf, -1)), st.floats(max_value=low, exclude_max=True)]
    if high < math.inf:
        outside += [st.just(math.inf), st.floats(min_value=high, exclude_min=True)]
    refused(lambda: call(data.draw(st.one_of(outside))), name.split(":")[0])
    refused(lambda: call(data.draw(no_number)))


@given(seed=st.integers(max_value=-1) | st.floats() | st.text(min_size=1, max_size=4) | st.just({}))
@examples(12)
def test_seeds_below_zero_or_of_another_kind_are_refused(seed):
    for call in (qh.UniformPrior, qh.ProductPrior):
        refused(lambda call=call: call(2, seed=seed))
    refused(lambda: qh.QCBM(qh.qcbm_ansatz(1, 1), seed=seed))
    refused(lambda: qh.QAAN(qh.UniformPrior(2), seed=seed), "seed", repr(seed))
    refused(lambda: few_digits().batches(4, seed))
    refused(lambda: qh.binarize(torch.zeros(2, 2), "bernoulli", seed))


@given(digits=st.integers().filter(lambda d: not 0 <= d <= 9) | st.floats() | st.booleans() | st.none() | st.text())
@examples(30)
def test_digits_that_mnist_has_not_are_refused(digits):
    refused(lambda: qh.load_mnist(digits, source="sample"), "digits")
    refused(lambda: qh.load_mnist([3, digits], source="sample"), "digits")


@given(shape=st.lists(st.integers(0, 5), max_size=4).filter(lambda s: len(s) != 2 or s[1] != 3 or s[0] == 0))
@examples(40)
def test_bits_of_another_shape_are_refused(shape):
    bits = np.zeros(shape, dtype=np.uint8)
    for prior in (qh.UniformPrior(3), qh.ProductPrior(3), small_qcbm(n=3)):
        refused(lambda prior=prior: prior.fit(bits), tuple(shape))


@given(bits=bit_rows(n=3), value=st.sampled_from((2, -1, 255, 0.5, math.nan)), place=st.integers(0, 2))
@examples(30)
def test_bits_other_than_0_and_1_are_refused(bits, value, place):
    spoilt = bits.astype(float)
    spoilt[0, place] = value
    for prior in (qh.UniformPrior(3), qh.ProductPrior(3), small_qcbm(n=3)):
        refused(lambda prior=prior: prior.fit(spoilt), "bits", value)


@given(shape=st.lists(st.integers(0, 29), max_size=5).filter(lambda s: s[1:] != [1, 28, 28]))
@examples(15)
def test_images_of_another_shape_are_refused(shape):
    assume(math.prod(shape) < 10**6)
    wrong = torch.zeros(shape)
    judge = small_gan().discriminator
    calls = [qh.inception_score, qh.class_coverage, qh.confidence, judge, judge.features]
    calls += [lambda x: qh.frechet_distance(x, real_images()), lambda x: qh.frechet_distance(real_images(), x)]
    calls += [lambda x: qh.Digits(x, torch.zeros(len(x) if x.ndim else 0))]
    for call in calls:
        refused(lambda call=call: call(wrong), tuple(shape))


@given(shape=st.lists(st.integers(0, 4), max_size=3).filter(lambda s: len(s) != 2 or s[1] != 3))
@examples(25)
def test_latents_of_another_shape_are_refused(shape):
    refused(lambda: qh.Generator(3)(torch.zeros(shape)), tuple(shape))


@given(length=st.integers(0, 30), value=st.sampled_from((math.nan, math.inf, 0.0)))
@examples(25)
def test_angles_of_another_number_or_not_finite_are_refused(length, value):
    qcbm = small_qcbm()
    assume(length != len(qcbm.angles) or not math.isfinite(value))
    refused(lambda: qcbm.probabilities(np.full(length, value)), "angles")


@pytest.mark.parametrize("value", ["exact", 5, object(), ["shots"]])
def test_an_execution_that_is_none_is_refused(value):
    refused(lambda: qh.QCBM(qh.qcbm_ansatz(1), value), "execution", repr(value))


@given(name=st.text(max_size=12).filter(lambda s: s not in ("exact", "shots", "ion_trap")))
@example("fakeTorino")
@example("exact ")
@examples(30)
def test_unknown_names_of_executions_are_refused(name):
    assume(name.split(":")[0] not in ("ibm", "ionq"))
    refused(lambda: qh.named_execution(name), "execution", repr(name))


@given(prior=st.sampled_from((None, 3, "qcbm", object(), qh.Exact(), {})))
@examples(10)
def test_what_is_no_prior_is_refused(prior):
    refused(lambda: qh.QAAN(prior), "prior", repr(prior))


@given(budget=st.integers(1, 200), n=st.integers(1, 3), layers=st.integers(1, 2))
@examples(15)
def test_a_budget_that_cannot_move_the_angles_is_refused_and_any_other_is_taken(budget, n, layers):
    angles = qh.qcbm_ansatz(n, layers).num_parameters
    if budget >= angles + 2:
        qh.QCBMPrior(n, layers, max_evaluations=budget, refit_evaluations=budget)
        qh.Cobyla().check_budget(angles, budget)
    else:
        refused(lambda: qh.QCBMPrior(n, layers, max_evaluations=budget), "max_evaluations", budget)


# Bits


@given(bits=bit_rows(most_bits=63))
@examples(100)
def test_packing_and_unpacking_undo_each_other(bits):
    index = qh.to_index(bits)
    assert index.dtype == np.int64 and index.shape == bits.shape[:1]
    assert index.tolist() == [sum(int(bit) << q for q, bit in enumerate(row)) for row in bits]
    again = qh.from_index(index, bits.shape[1])
    assert again.dtype == np.uint8 and np.array_equal(again, bits)


@given(n=st.integers(64, 300))
@examples(10)
def test_more_bits_than_an_index_holds_are_refused(n):
    refused(lambda: qh.to_index(np.zeros((2, n), np.uint8)), n)
    refused(lambda: qh.from_index(np.zeros(2, int), n), n)


@given(shape=st.lists(st.integers(0, 3), max_size=3).filter(lambda s: len(s) != 2))
@examples(15)
def test_the_shape_of_bits_is_checked_before_they_are_counted(shape):
    for call in (qh.to_index, qh.entropy, qh.total_correlation, qh.mutual_information, qh.empirical_distribution):
        refused(lambda call=call: call(np.zeros(shape, np.uint8)), tuple(shape))


@given(n=st.integers(64, 200))
@examples(10)
def test_the_entropy_heeds_every_bit_of_long_codes(n):
    bits = np.zeros((2, n), np.uint8)
    bits[1, n - 1] = 1
    assert math.isclose(qh.entropy(bits), math.log(2))


@given(rows=st.integers(1, 60), n=st.integers(1, 5), seed=st.integers(0, 10**6))
@examples(60)
def test_the_median_splits_each_unit_in_two(rows, n, seed):
    activations = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (rows, n)))
    bits = qh.binarize(activations)
    assert bits.dtype == np.uint8 and bits.shape == (rows, n)
    assert bits.sum(0).tolist() == [rows // 2] * n
    assert np.array_equal(qh.binarize(3 * activations + 7), bits)


@given(rows=st.lists(st.lists(st.sampled_from((-0.5, 0.0, 0.5)), min_size=3, max_size=3), min_size=1, max_size=20))
@examples(60)
def test_with_ties_no_more_than_half_are_ones(rows):
    activations = torch.tensor(rows)
    assert (qh.binarize(activations).mean(0) <= 0.5).all()
    assert np.array_equal(qh.binarize(activations, "sign"), (np.array(rows) > 0).astype(np.uint8))


@given(seed=seeds, share=st.floats(-1, 1))
@examples(40)
def test_bernoulli_draws_ones_as_often_as_it_should(seed, share):
    activations = torch.full((4000, 1), share)
    bits = qh.binarize(activations, "bernoulli", seed)
    p = (share + 1) / 2
    assert abs(bits.mean() - p) <= 6 * math.sqrt(p * (1 - p) / 4000) + 1e-6
    assert np.array_equal(bits, qh.binarize(activations, "bernoulli", seed))


@given(value=st.sampled_from((math.nan, math.inf, -math.inf)), method=st.sampled_from(("median", "sign", "bernoulli")))
@examples(9)
def test_activations_that_are_not_finite_are_refused(value, method):
    refused(lambda: qh.binarize(torch.tensor([[0.1, value]]), method), "NaN or infinity")
    refused(lambda: qh.binarize(torch.zeros(0, 2), method), (0, 2))
    refused(lambda: qh.binarize(torch.zeros(3), method), (3,))


@given(bits=bit_rows(), seed=st.integers(0, 99), times=st.integers(2, 4))
@examples(80)
def test_what_is_said_of_bits_heeds_neither_order_nor_repetition(bits, seed, times):
    other = np.random.default_rng(seed).permutation(np.repeat(bits, times, axis=0))
    for measure in (qh.entropy, qh.total_correlation, qh.mutual_information):
        np.testing.assert_allclose(measure(other), measure(bits), atol=1e-9)


@given(bits=bit_rows())
@examples(80)
def test_entropies_and_correlations_lie_within_their_bounds(bits):
    rows, n = bits.shape
    single = [qh.entropy(bits[:, [q]]) for q in range(n)]
    assert -1e-9 <= qh.entropy(bits) <= min(n * math.log(2), math.log(rows)) + 1e-9
    assert qh.total_correlation(bits) >= -1e-9
    assert math.isclose(qh.total_correlation(bits), sum(single) - qh.entropy(bits), abs_tol=1e-9)
    table = qh.mutual_information(bits)
    assert np.array_equal(table, table.T) and np.allclose(np.diag(table), single)
    assert (table >= -1e-9).all() and (table <= np.minimum.outer(single, single) + 1e-9).all()


@given(n=st.integers(1, 6))
@examples(6)
def test_all_codes_once_know_nothing_of_each_other(n):
    bits = qh.from_index(np.arange(2**n), n)
    assert math.isclose(qh.entropy(bits), n * math.log(2))
    assert abs(qh.total_correlation(bits)) < 1e-9


@given(bits=bit_rows(n=3))
@examples(30)
def test_latents_are_plus_and_minus_one(bits):
    latents = small_gan().latents(bits)
    assert latents.dtype == torch.float32
    assert np.array_equal((latents.numpy() + 1) / 2, bits)


# Costs


@given(bits=bit_rows(), seed=st.integers(0, 10**6))
@examples(80)
def test_the_cost_is_the_entropy_at_least_and_reaches_it_for_the_datas_own_distribution(bits, seed):
    states, frequencies = qh.empirical_distribution(bits)
    assert math.isclose(frequencies.sum(), 1) and len(set(states.tolist())) == len(states)
    model = np.random.default_rng(seed).dirichlet(np.ones(2 ** bits.shape[1]))
    assert qh.clipped_nll(model[states], frequencies) >= qh.entropy(bits) - 1e-9
    assert math.isclose(qh.clipped_nll(frequencies, frequencies), qh.entropy(bits), abs_tol=1e-9)


@given(bits=bit_rows(), seed=st.integers(0, 10**6), times=st.integers(2, 5))
@examples(60)
def test_the_cost_heeds_neither_order_nor_repetition(bits, seed, times):
    rng = np.random.default_rng(seed)
    model = rng.dirichlet(np.ones(2 ** bits.shape[1]))
    costs = []
    for rows in (bits, rng.permutation(bits), np.repeat(bits, times, axis=0)):
        states, frequencies = qh.empirical_distribution(rows)
        costs.append(qh.clipped_nll(model[states], frequencies))
    np.testing.assert_allclose(costs, costs[0])


@given(bits=bit_rows(), epsilon=st.floats(1e-12, 0.5))
@examples(40)
def test_the_clip_bounds_the_cost(bits, epsilon):
    states, frequencies = qh.empirical_distribution(bits)
    assert qh.clipped_nll(np.zeros(len(states)), frequencies, epsilon) <= -math.log(epsilon) + 1e-9
    assert (clipped_nll_gradient(np.zeros(len(states)), frequencies, epsilon) == 0).all()


@given(bits=bit_rows(n=3), seed=st.integers(0, 10**6))
@examples(40)
def test_the_gradient_of_the_cost_is_its_slope(bits, seed):
    states, frequencies = qh.empirical_distribution(bits)
    p = np.random.default_rng(seed).uniform(0.1, 1, len(states))
    slopes = clipped_nll_gradient(p, frequencies)
    for i, step in enumerate(1e-6 * np.eye(len(p))):
        slope = (qh.clipped_nll(p + step, frequencies) - qh.clipped_nll(p - step, frequencies)) / 2e-6
        assert math.isclose(slope, slopes[i], rel_tol=1e-4)


@given(bits=bit_rows(n=3), q=st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3))
@examples(60)
def test_the_product_prior_is_the_best_of_all_models_without_correlations(bits, q):
    many = np.repeat(bits, 2000, axis=0)  # so that the one of each value added hardly counts
    cost = qh.ProductPrior(3).fit(many)
    mean, q = bits.mean(0), np.array(q)
    other = -(mean * np.log(q) + (1 - mean) * np.log(1 - q)).sum()
    best = qh.entropy(bits) + qh.total_correlation(bits)
    assert best - 1e-9 <= cost <= min(other, best) + 0.01


@given(bits=bit_rows())
@examples(20)
def test_the_uniform_prior_costs_log_two_a_bit(bits):
    n = bits.shape[1]
    assert math.isclose(qh.UniformPrior(n).fit(bits), n * math.log(2))


# Circuits


@given(n=st.integers(1, 9), layers=st.integers(1, 4), entanglement=entanglements, warm=st.booleans())
@examples(60)
def test_gates_and_angles_are_as_many_as_the_formula_says(n, layers, entanglement, warm):
    circuit = qh.qcbm_ansatz(n, layers, entanglement, warm)
    pairs = {"full": n * (n - 1) // 2, "linear": n - 1, "none": 0}[entanglement]
    assert (circuit.num_qubits, circuit.num_clbits) == (n, 0)
    assert circuit.num_parameters == layers * (2 * n + pairs)
    assert len({parameter.vector for parameter in circuit.parameters}) == 1
    costs = qh.circuit_costs(circuit)
    assert costs["gates"] == circuit.num_parameters + n * warm
    assert costs["two_qubit_gates"] == layers * pairs
    assert 0 <= costs["two_qubit_depth"] <= costs["depth"] <= costs["gates"]


@given(drawn=circuits(most_qubits=4))
@examples(20)
def test_probabilities_are_those_of_the_state_vector(drawn):
    circuit, angles = drawn
    p = qh.QCBM(circuit).probabilities(angles)
    assert p.shape == (2**circuit.num_qubits,) and (p >= -1e-12).all() and math.isclose(p.sum(), 1, abs_tol=1e-9)
    expected = Statevector(circuit.assign_parameters(angles)).probabilities()
    np.testing.assert_allclose(p, expected, atol=1e-9)


@given(drawn=circuits(most_qubits=2), bases=st.sampled_from(("zo", "zt")))
@examples(8)
def test_the_second_basis_is_a_turn_about_x(drawn, bases):
    circuit, angles = drawn
    n = circuit.num_qubits
    qcbm = qh.QCBM(circuit, bases=bases)
    turns = np.full(n, np.pi / 2) if bases == "zo" else np.arange(1, n + 1) / 3
    turned = circuit.assign_parameters(angles)
    for qubit, turn in enumerate(turns):
        turned.rx(turn, qubit)
    given_angles = angles if bases == "zo" else np.concatenate([angles, turns])
    np.testing.assert_allclose(qcbm.probabilities(given_angles, 1), Statevector(turned).probabilities(), atol=1e-9)
    assert qcbm.sample(3).shape == (3, 2 * n)


@given(n=st.integers(1, 4), layers=st.integers(1, 2), entanglement=entanglements)
@examples(8)
def test_angles_of_zero_give_the_uniform_distribution_or_the_zero_state(n, layers, entanglement):
    for warm, expected in ((True, np.full(2**n, 2.0**-n)), (False, np.eye(2**n)[0])):
        qcbm = qh.QCBM(qh.qcbm_ansatz(n, layers, entanglement, warm))
        np.testing.assert_allclose(qcbm.probabilities(np.zeros(len(qcbm.angles))), expected, atol=1e-12)


EXECUTIONS = {
    "exact": qh.Exact(),
    "shots": qh.Shots(500),
    "primitive": qh.Primitive(StatevectorSampler(), 500),
}


@pytest.mark.parametrize("execution", EXECUTIONS)
@given(drawn=circuits(), seed=seeds)
@examples(8)
def test_samples_have_the_marginals_of_the_probabilities(execution, drawn, seed):
    circuit, angles = drawn
    qcbm = qh.QCBM(circuit, EXECUTIONS[execution], seed)
    qcbm.angles = angles
    bits = qcbm.sample(3000)
    assert bits.shape == (3000, circuit.num_qubits) and bits.dtype == np.uint8 and set(np.unique(bits)) <= {0, 1}
    p = Statevector(circuit.assign_parameters(angles)).probabilities()
    ones = p @ qh.from_index(np.arange(len(p)), circuit.num_qubits)
    spread = 6 * np.sqrt(np.clip(ones * (1 - ones), 0, None) / 3000) + 3 / 3000
    assert (abs(bits.mean(0) - ones) <= spread).all()
    frequencies = qcbm.probabilities()
    assert math.isclose(frequencies.sum(), 1, abs_tol=1e-9)
    if execution != "exact":
        np.testing.assert_allclose(frequencies * 500, np.round(frequencies * 500), atol=1e-6)
        assert (abs(frequencies - p) <= 6 * np.sqrt(np.clip(p * (1 - p), 0, None) / 500) + 4 / 500).all()


# Fits


@pytest.mark.parametrize("execution", ["exact", "shots"])
@given(
    bits=bit_rows(n=4),
    optimizer=st.sampled_from(("cobyla", "adam", "spsa")),
    bases=st.sampled_from(("z", "zo")),
    budget=st.integers(1, 9) | st.integers(10, 40),
)
@examples(14)
def test_a_fit_counts_its_evaluations_and_keeps_the_best(execution, bits, optimizer, bases, budget):
    qcbm = qh.QCBM(qh.qcbm_ansatz(4 // len(bases), 1, "none"), EXECUTIONS[execution], bases=bases)
    heard, angles = [], len(qcbm.angles)
    if optimizer == "cobyla" and budget < angles + 2:
        refused(lambda: qcbm.fit(bits, optimizer, budget), "max_evaluations", budget)
        return
    result = qcbm.fit(bits, optimizer, budget, callback=lambda *told: heard.append(told))
    assert heard == list(enumerate(result.costs, 1))
    assert 1 <= result.n_evaluations == len(result.costs) <= budget
    assert result.best_cost == min(result.costs) and np.isfinite(result.costs).all()
    points = 2 * angles + 1 if optimizer == "adam" and execution == "shots" else 1  # exact: reverse mode
    assert result.n_circuits == result.n_evaluations * points * len(bases)
    bill = qcbm.estimate_resources(optimizer, budget)
    assert result.n_circuits <= bill.circuits and bill.jobs == budget * len(bases)
    assert bill.shots == bill.circuits * (qcbm.execution.shots or 0)
    assert np.array_equal(qcbm.angles, result.angles)
    if execution == "exact":
        halves = [qh.empirical_distribution(half) for half in np.hsplit(bits, len(bases))]
        p = [qcbm.probabilities(result.angles, basis)[states] for basis, (states, _) in enumerate(halves)]
        costs = [qh.clipped_nll(p[basis], frequencies) for basis, (_, frequencies) in enumerate(halves)]
        assert math.isclose(sum(costs), result.best_cost, abs_tol=1e-9)
        assert result.best_cost >= sum(qh.entropy(half) for half in np.hsplit(bits, len(bases))) - 1e-9


# Digits


@given(n=st.integers(1, 40), batch=st.integers(1, 60) | st.just(2**62), drop=st.booleans(), seed=seeds | st.none())
@examples(80)
def test_batches_hold_each_image_once_with_its_label(n, batch, drop, seed):
    labels = torch.arange(n)
    digits = qh.Digits((labels / 40)[:, None, None, None].expand(n, 1, 28, 28), labels)
    parts = list(digits.batches(batch, seed, drop))
    seen = torch.cat([part for _, part in parts]).tolist() if parts else []
    full, rest = divmod(n, batch)
    assert [len(part) for _, part in parts] == [batch] * full + [rest] * (rest > 0 and not drop)
    assert len(seen) == len(set(seen)) and set(seen) <= set(range(n))
    for pictures, part in parts:
        assert torch.equal(pictures[:, 0, 3, 3], part / 40)


@given(n=st.integers(1, 4), wrong=st.integers(0, 8), brightness=st.sampled_from((-0.1, 1.1, math.nan, math.inf)))
@examples(20)
def test_digits_that_do_not_fit_are_refused(n, wrong, brightness):
    assume(n != wrong)
    refused(lambda: qh.Digits(torch.zeros(n, 1, 28, 28), torch.zeros(wrong)), n, wrong)
    refused(lambda: qh.Digits(torch.full((n, 1, 28, 28), brightness), torch.zeros(n)), "brightness")


@given(digits=st.lists(st.integers(0, 9), min_size=1, max_size=12), split=st.sampled_from(("train", "test")))
@examples(10)
def test_the_sample_holds_the_digits_asked_for_and_no_other(digits, split):
    loaded = qh.load_mnist(digits, split, "sample")
    assert set(loaded.labels.tolist()) == set(digits)
    assert len(loaded) == len(set(digits)) * (600 if split == "train" else 100)


# Priors and whole models


def small_prior(kind, seed, bases="z"):
    if kind == "qcbm":
        return qh.QCBMPrior(2, 1, bases, max_evaluations=12, refit_evaluations=12, seed=seed)
    if kind == "mixed":
        return qh.MixedPrior(small_prior("qcbm", seed), 0.5, seed)
    if kind == "scrambled":
        return qh.ScrambledPrior(small_prior("rbm", seed), seed)
    if kind == "signed_permutation":
        return qh.SignedPermutationPrior(small_prior("rbm", seed), seed)
    if kind == "subset":
        return qh.SubsetPrior(2, 3, seed)
    return PRIORS[kind](2, seed=seed)


@pytest.mark.parametrize("kind", [kind for kind in PRIORS if kind != "gaussian"])  # whose samples are no bits
@given(seed=seeds, bits=bit_rows(n=2), draws=st.integers(1, 5), fitted=st.booleans())
@examples(10)
def test_a_prior_made_again_from_its_state_draws_the_same(kind, seed, bits, draws, fitted):
    prior = small_prior(kind, seed)
    assert isinstance(prior, qh.Prior)
    if fitted:
        assert prior.fit(bits) >= qh.entropy(bits) - 1e-9
    prior.sample(draws)
    again = make_prior(json.loads(json.dumps(prior.config())))
    again.load_state_dict(copy.deepcopy(prior.state_dict()))
    drawn = prior.sample(50)
    assert drawn.shape == (50, 2) and drawn.dtype == np.uint8 and set(np.unique(drawn)) <= {0, 1}
    assert np.array_equal(again.sample(50), drawn)
    assert again.config() == prior.config()


@given(p=st.lists(st.floats(), max_size=4).filter(lambda p: len(p) != 2 or not all(0 <= x <= 1 for x in p)))
@examples(20)
def test_a_state_that_is_no_product_prior_is_refused(p):
    prior = qh.ProductPrior(2)
    refused(lambda: prior.load_state_dict(prior.state_dict() | {"p": np.array(p)}), "p must be 2 probabilities")
    assert prior.sample(3).shape == (3, 2)


@given(
    kind=st.sampled_from(sorted(PRIORS)),
    seed=seeds,
    warm_up=st.integers(0, 3),
    noise=st.floats(0, 10),
    binarization=st.sampled_from(("median", "sign", "bernoulli")),
)
@examples(8)
def test_a_model_saved_and_loaded_is_the_same(kind, seed, warm_up, noise, binarization):
    settings_given = {"warm_up": warm_up, "latent_noise": noise, "binarization": binarization}
    gan = qh.QAAN(small_prior(kind, seed), "cpu", seed, **settings_given)
    with tempfile.TemporaryDirectory() as folder:
        gan.save(folder)
        again = qh.QAAN.load(folder, "cpu")
    assert (again.settings, again.seed, again.epoch) == (gan.settings, seed, 0)
    drawn = gan.sample(3)
    assert drawn.shape == (3, 1, 28, 28) and drawn.min() >= 0 and drawn.max() <= 1
    assert torch.equal(again.sample(3), drawn)
    assert np.array_equal(again.bits(few_digits().images, 1), gan.bits(few_digits().images, 1))


@given(epochs=st.integers(1, 3), batch=st.integers(1, 40))
@examples(6)
def test_training_yields_a_report_an_epoch(epochs, batch):
    gan = qh.QAAN(qh.ProductPrior(2), "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reports = list(qh.train(gan, few_digits(), epochs, batch))
    assert [report.epoch for report in reports] == [*range(1, epochs + 1)]
    assert reports == gan.history and gan.epoch == epochs
    assert all(0 <= r.d_real <= 1 and 0 <= r.d_fake <= 1 and r.seconds >= r.prior_seconds >= 0 for r in reports)


@given(name=st.sampled_from(("x", "weight.1")), shape=st.lists(st.integers(0, 3), max_size=3), keep=st.integers(1, 3))
@examples(15)
def test_named_tensors_come_back_from_disk(name, shape, keep):
    tensors, description = {name: torch.rand(shape)}, {"a": [1, {"b": None}], "ü": "ψ"}
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(4):
            storage.write(folder, epoch, tensors | description | {"n": epoch}, keep)
        assert len(os.listdir(folder)) == keep
        state = storage.saves(folder)[0].read()
    assert torch.equal(state.pop(name), tensors[name])
    assert state.pop("versions") and state == description | {"n": 3}


# Scores


@given(drawn=images())
@examples(15)
def test_shares_of_digits_sum_to_one(drawn):
    shares = qh.class_coverage(drawn)
    assert list(shares) == list(range(10)) and math.isclose(sum(shares.values()), 1, abs_tol=1e-6)
    assert all(0 <= share <= 1 for share in shares.values())
    assert 0.1 - 1e-6 <= qh.confidence(drawn) <= 1 + 1e-6


@given(drawn=images(least=2))
@examples(8)
def test_a_set_is_at_no_distance_from_itself(drawn):
    turned = drawn.flip(0)
    assert abs(qh.frechet_distance(drawn, turned)) < 0.05
    assert 1 - 1e-4 <= qh.inception_score(drawn) <= 10 + 1e-4


@given(one=images(least=2), other=images(least=2))
@examples(6)
def test_the_distance_of_two_sets_is_the_same_both_ways(one, other):
    forth, back = qh.frechet_distance(one, other), qh.frechet_distance(other, one)
    assert forth > -0.05 and math.isclose(forth, back, rel_tol=0.02, abs_tol=0.1)


# Networks


@given(latent_dim=st.integers(1, 20), n=st.integers(1, 5), scale=st.floats(0, 1e6))
@examples(15)
def test_networks_keep_their_shapes_and_ranges(latent_dim, n, scale):
    pictures = qh.Generator(latent_dim).eval()(scale * torch.randn(n, latent_dim))
    assert pictures.shape == (n, 1, 28, 28) and pictures.min() >= 0 and pictures.max() <= 1
    judge = qh.Discriminator(latent_dim).eval()
    assert judge(pictures).shape == (n, 1) and judge.features(pictures).shape == (n, latent_dim)
    assert judge.features(pictures).abs().max() <= 1


# The command line

OPTIONS = {  # each option of `train`, and what it cannot take
    "--epochs": st.sampled_from(("0", "-3", "x", "1.5", "")),
    "--batch-size": st.sampled_from(("0", "-1", "x", "1e3")),
    "--qubits": st.sampled_from(("0", "-2", "x", "99", "1000000000")),
    "--layers": st.sampled_from(("0", "-1", "two", "1000000000")),
    "--evaluations": st.sampled_from(("0", "5", "-7", "many")),
    "--refit-evaluations": st.sampled_from(("0", "3", "x")),
    "--shots": st.sampled_from(("0", "-5", "x", "1000000000000000000")),
    "--seed": st.sampled_from(("-1", "x", "0.5")),
    "--digits": st.sampled_from(
        ("10", "", "a", "3,,7", "-1", "9-3", "0-99999999999", "3;7", "1000000000000-2000000000000")
    ),
    "--prior": unknown.map(str),
    "--bases": unknown.map(str),
    "--entanglement": st.sampled_from(("FULL", "", "ring")),
    "--optimizer": unknown.map(str),
    "--device": unknown.map(str),
    "--source": unknown.map(str),
    "--execution": st.sampled_from(("fake", "", "exakt", "FakeNowhere")),
}


def commanded(*arguments):
    """The command's exit status and what it said on stderr."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
    return status, said.getvalue()


@pytest.mark.parametrize("option", OPTIONS)
@given(data=st.data())
@examples(10)
def test_the_command_line_refuses_a_bad_option_before_any_work(option, data):
    value = data.draw(OPTIONS[option])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        tiny = ["--source=sample", "--digits=7", "--qubits=2", "--layers=1", "--device=cpu", "--epochs=1"]
        status, said = commanded("train", f"--out={out}", *tiny, f"{option}={value}")
        assert status == 2 and "error: " in said and "Traceback" not in said
        assert not out.exists()


@given(command=st.sampled_from(("sample", "evaluate")), n=st.sampled_from(("0", "-4", "x", str(10**15))))
@examples(8)
def test_the_command_line_refuses_a_bad_number_of_images_or_no_run(command, n):
    with tempfile.TemporaryDirectory() as folder:
        status, said = commanded(command, folder)
        assert status == 2 and "holds no save of a run" in said
        small_gan().save(folder)
        status, said = commanded(command, folder, "-n", n)
        assert status == 2 and "error: " in said
        assert not list(Path(folder).glob("*.png"))


# Sizes that no machine has

BILLION = 10**9
HUGE = {  # the word before the colon is in the message
    "n_qubits: all joined": lambda: qh.qcbm_ansatz(BILLION),
    "n_qubits: on a line": lambda: qh.qcbm_ansatz(BILLION, entanglement="linear"),
    "n_qubits: none joined": lambda: qh.qcbm_ansatz(BILLION, entanglement="none"),
    "n_qubits: a googol": lambda: qh.qcbm_ansatz(10**100),
    "layers: ansatz": lambda: qh.qcbm_ansatz(2, BILLION),
    "layers: prior": lambda: qh.QCBMPrior(2, BILLION),
    "n_qubits: prior": lambda: qh.QCBMPrior(BILLION),
    "qubits: 50, exactly": lambda: qh.QCBM(qh.qcbm_ansatz(50, 1, "none")),
    "qubits: 50, with shots": lambda: qh.QCBM(qh.qcbm_ansatz(50, 1, "none"), qh.Shots()),
    "qubits: 2000": lambda: qh.QCBM(qh.qcbm_ansatz(2000, 1, "none")),
    "qubits: 50, all frequencies": lambda: frequencies_of(50),
    "latent_dim: uniform": lambda: qh.UniformPrior(BILLION),
    "latent_dim: product": lambda: qh.ProductPrior(BILLION),
    "latent_dim: generator": lambda: qh.Generator(BILLION),
    "latent_dim: discriminator": lambda: qh.Discriminator(BILLION),
    "n_samples: uniform": lambda: qh.UniformPrior(2).sample(10**15),
    "n_samples: product": lambda: qh.ProductPrior(2).sample(10**15),
    "n_samples: exact": lambda: qh.QCBM(qh.qcbm_ansatz(2, 1)).sample(10**15),
    "n_samples: shots": lambda: qh.QCBM(qh.qcbm_ansatz(2, 1), qh.Shots(10)).sample(10**15),
    "n_samples: gan": lambda: qh.QAAN(qh.UniformPrior(2), "cpu").sample(BILLION),
    "shots: Aer": lambda: qh.QCBM(qh.qcbm_ansatz(2, 1), qh.Shots(10**18)).probabilities(),
    "shots: Primitive": lambda: qh.Primitive(StatevectorSampler(), 10**18),
    "shots: named": lambda: qh.named_execution("ion_trap", 10**18),
    "bits: unpacked": lambda: qh.from_index(np.arange(3), BILLION),
    "digits: command line": lambda: commanded_or_raise("train", "--out=/nonexistent/run", "--digits=0-99999999999"),
}
FINE = {  # large numbers that cost nothing
    "evaluations": lambda: qh.QCBMPrior(2, 1, max_evaluations=10**18, refit_evaluations=10**18),
    "a bill": lambda: str(qh.QCBM(qh.qcbm_ansatz(2, 1), qh.Shots()).estimate_resources("adam", 10**18)),
    "epochs": lambda: next(qh.train(qh.QAAN(qh.UniformPrior(2), "cpu"), few_digits(), 10**18, 4)),
    "a batch": lambda: next(qh.train(qh.QAAN(qh.UniformPrior(2), "cpu"), few_digits(), 1, 10**18)),
    "batches": lambda: list(few_digits().batches(10**30)),
    "a seed": lambda: qh.QAAN(qh.UniformPrior(2, seed=10**300), "cpu", 10**300).sample(1),
    "a warm-up": lambda: qh.QAAN(qh.UniformPrior(2), "cpu", warm_up=10**18, refresh=10**18, fit_samples=10**18),
    "a fit": lambda: qh.QCBM(qh.qcbm_ansatz(1, 1)).fit(BITS[:, :1], max_evaluations=10**15),
}


def frequencies_of(n):
    """All 2ⁿ frequencies of a circuit that a sampler measures which needs no state vector."""
    return qh.QCBM(qh.qcbm_ansatz(n, 1, "none"), qh.Primitive(StatevectorSampler(), 5)).probabilities()


def commanded_or_raise(*arguments):
    status, said = commanded(*arguments)
    raise ValueError(said) if status else AssertionError("the command went through")


def tried(call):
    """What came of a call: the kind of its error, its text and the seconds that it took."""
    started, error = time.perf_counter(), None
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        call()
    except BaseException as raised:
        error = raised
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return [type(error).__name__, str(error)[:300], time.perf_counter() - started]


def in_child():
    """Try all that is huge in little memory."""
    import resource

    torch.set_num_threads(1)
    small_qcbm().sample(3), few_digits(), small_gan().sample(1)  # so that nothing is loaded from now on
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, used + HEADROOM))
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt("too long")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: tried(call) for name, call in (HUGE | FINE).items()}


@pytest.fixture(scope="module")
def huge():
    """What came of every call in HUGE and FINE."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is limited by the means of Linux")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, __file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment, check=False)
    assert done.returncode == 0, f"the child ended with {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", HUGE)
def test_sizes_that_no_machine_has_are_refused_at_once(huge, name):
    kind, told, seconds = huge[name]
    assert kind in ("ValueError", "ExecutionError"), f"{kind}: {told}"
    assert name.split(":")[0] in told
    assert seconds < SECONDS / 2


@pytest.mark.parametrize("name", FINE)
def test_large_numbers_that_cost_nothing_are_taken(huge, name):
    kind, told, seconds = huge[name]
    assert kind == "NoneType", f"{kind}: {told}"
    assert seconds < SECONDS


if __name__ == "__main__":
    print(json.dumps(in_child()))
