"""The bit order, binarization of activations, and entropies of bits."""

import math

import numpy as np
import pytest
import torch

import qaan_helpers as qh
from qaan_helpers.bits import check_bits, sample_bits

LN2 = math.log(2)
EVERY_CODE = qh.from_index(np.arange(16), 4)
PAIRS = np.array([[0, 0], [1, 1]] * 4, dtype=np.uint8)  # two fair bits that always agree
PARITY = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=np.uint8)  # pairwise independent, yet bound


# --- order ---


def test_column_q_is_worth_two_to_the_q():
    assert qh.to_index(np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0]])).tolist() == [1, 4, 3]
    assert qh.from_index(np.array([1, 4, 3]), 3).tolist() == [[1, 0, 0], [0, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize("n_bits", (1, 5, 12, 40))
def test_index_and_bits_round_trip(n_bits):
    bits = np.random.default_rng(n_bits).integers(0, 2, (50, n_bits), dtype=np.uint8)
    index = qh.to_index(bits)
    assert index.dtype == np.int64
    back = qh.from_index(index, n_bits)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, bits)


# --- activations become bits ---


def test_median_splits_every_unit_in_halves():
    activations = torch.tanh(torch.randn(100, 6, generator=torch.manual_seed(0)) * 0.1 + torch.linspace(-2, 2, 6))
    bits = qh.binarize(activations)
    assert bits.shape == (100, 6) and bits.dtype == np.uint8
    assert bits.mean(0).tolist() == [0.5] * 6


def test_median_is_that_of_each_unit_and_the_larger_half_becomes_one():
    activations = torch.tensor([[-0.9, 0.5], [-0.8, 0.7], [-0.7, 0.6], [-0.6, 0.8]])
    assert qh.binarize(activations, "median").tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_sign_asks_whether_a_unit_is_above_zero():
    activations = torch.tensor([[-0.9, 0.5], [0.1, 0.7], [-0.01, 0.0]])
    assert qh.binarize(activations, "sign").tolist() == [[0, 1], [1, 1], [0, 0]]


def test_bernoulli_draws_one_with_probability_half_of_a_plus_one():
    activations = torch.tensor([-1.0, -0.6, 0.0, 0.8, 1.0]).repeat(20_000, 1)
    bits = qh.binarize(activations, "bernoulli", seed=3)
    np.testing.assert_allclose(bits.mean(0), [0, 0.2, 0.5, 0.9, 1], atol=0.015)  # four standard deviations
    assert bits[:, 0].sum() == 0 and bits[:, 4].all()


def test_bernoulli_draws_are_independent_and_follow_the_seed():
    activations = torch.zeros(5_000, 3)
    bits = qh.binarize(activations, "bernoulli", seed=3)
    assert qh.total_correlation(bits) < 0.005
    np.testing.assert_array_equal(bits, qh.binarize(activations, "bernoulli", seed=3))
    assert (bits != qh.binarize(activations, "bernoulli", seed=4)).any()


def test_takes_activations_that_carry_a_gradient():
    assert qh.binarize(torch.tensor([[0.5], [-0.5]], requires_grad=True)).tolist() == [[1], [0]]


@pytest.mark.parametrize("method", ("median", "sign", "bernoulli"))
def test_arrays_and_tensors_give_the_same_bits(method):
    tensor = torch.tanh(torch.randn(50, 4, generator=torch.manual_seed(1)))
    bits = qh.binarize(tensor, method, seed=3)
    for same in (tensor.numpy(), tensor.double().numpy(), tensor.requires_grad_()):
        np.testing.assert_array_equal(qh.binarize(same, method, seed=3), bits)


def test_refuses_an_unknown_method_and_names_the_known():
    with pytest.raises(ValueError, match="method must be one of 'median', 'sign', 'bernoulli'; got 'mean'"):
        qh.binarize(torch.zeros(4, 2), "mean")


@pytest.mark.parametrize("shape", [(4,), (0, 3), (2, 3, 4)])
def test_refuses_activations_of_the_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"\(N, n\) with N ≥ 1"):
        qh.binarize(torch.zeros(shape))


@pytest.mark.parametrize("method", ("median", "sign", "bernoulli"))
@pytest.mark.parametrize("value", (math.nan, math.inf))
def test_refuses_activations_of_a_network_that_diverged(value, method):
    with pytest.raises(ValueError, match="NaN or infinity"):
        qh.binarize(torch.tensor([[0.1, value], [0.2, 0.3]]), method)


# --- bits that come from outside ---


@pytest.mark.parametrize("given", (EVERY_CODE.astype(bool), EVERY_CODE.astype(float), torch.tensor(EVERY_CODE)))
def test_zeros_and_ones_of_any_kind_become_uint8(given):
    bits = check_bits(given, 4)
    assert bits.dtype == np.uint8
    np.testing.assert_array_equal(bits, EVERY_CODE)


@pytest.mark.parametrize("shape", [(5, 3), (5, 5), (4,), (0, 4), (2, 3, 4)])
def test_refuses_bits_of_the_wrong_width(shape):
    with pytest.raises(ValueError, match=r"bits must have shape \(N, 4\) with N ≥ 1") as refused:
        check_bits(np.zeros(shape), 4)
    assert str(shape) in str(refused.value)


@pytest.mark.parametrize("strange", (2, -1, 0.5, math.nan))
def test_refuses_what_is_neither_zero_nor_one(strange):
    bits = np.zeros((3, 2))
    bits[1, 1] = strange
    with pytest.raises(ValueError, match=f"bits must be 0 or 1; got {strange}.*binarize"):
        check_bits(bits, 2)


# --- entropies ---


def test_entropy_of_known_distributions():
    assert qh.entropy(EVERY_CODE) == pytest.approx(4 * LN2)
    assert qh.entropy(np.ones((7, 3), dtype=np.uint8)) == 0
    assert qh.entropy(np.array([[1, 0]] * 3 + [[0, 1]])) == pytest.approx(2 * LN2 - 0.75 * math.log(3))


@pytest.mark.parametrize(
    ("bits", "nats"),
    [(EVERY_CODE, 0), (PAIRS, LN2), (np.hstack([PAIRS, PAIRS]), 3 * LN2), (PARITY, LN2), (np.ones((5, 4), int), 0)],
)
def test_total_correlation_of_known_bits(bits, nats):
    assert qh.total_correlation(bits) == pytest.approx(nats, abs=1e-12)


def test_total_correlation_is_the_distance_of_the_best_product():
    """Watanabe's other formula: the KL divergence of the product distribution with the columns' means."""
    bits = np.random.default_rng(0).integers(0, 2, (40, 3))
    bits[:, 2] |= bits[:, 0]
    states, counts = np.unique(bits, axis=0, return_counts=True)
    data, ones = counts / counts.sum(), bits.mean(0)
    product = np.where(states, ones, 1 - ones).prod(1)
    assert qh.total_correlation(bits) == pytest.approx((data * np.log(data / product)).sum())


def test_mutual_information_of_pairs_with_entropies_on_the_diagonal():
    bits = np.hstack([PAIRS, np.array([[0], [0], [1], [1]] * 2), np.ones((8, 1), int)])
    wanted = LN2 * np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(qh.mutual_information(bits), wanted, atol=1e-12)


def test_parity_hides_from_pairs():
    np.testing.assert_allclose(qh.mutual_information(PARITY), LN2 * np.eye(3), atol=1e-12)


# --- drawing from a distribution ---


def test_draws_are_as_frequent_as_their_probabilities_in_our_bit_order():
    p = np.array([0.1, 0.6, 0.0, 0.3])
    codes = sample_bits(p, 20_000, np.random.default_rng(0))
    assert codes.shape == (20_000, 2) and codes.dtype == np.uint8
    assert np.bincount(qh.to_index(codes), minlength=4) / 20_000 == pytest.approx(p, abs=0.015)


def test_draws_are_the_rngs_and_change_only_where_probability_moves():
    p, moved = np.full(8, 1 / 8), np.full(8, 1 / 8)
    moved[6:] = 0.1, 0.15
    first, again, after = (sample_bits(q, 500, np.random.default_rng(3)) for q in (p, p, moved))
    assert np.array_equal(first, again)
    changed = np.unique(qh.to_index(first[(first != after).any(1)]))
    assert changed.tolist() == [6]
    assert not np.array_equal(first, sample_bits(p, 500, np.random.default_rng(4)))


def test_a_distribution_that_sums_to_not_quite_one_never_draws_beyond_its_states():
    class Highest:
        def random(self, n):
            return np.full(n, 1 - 1e-16)

    assert qh.to_index(sample_bits(np.full(4, 0.2499999), 3, Highest())).tolist() == [3, 3, 3]


def test_a_state_of_probability_zero_is_never_sampled():
    """Not even where the random number is exactly 0."""

    class Lowest:
        def random(self, n):
            return np.zeros(n)

    p = np.array([0.0, 0.5, 0.5, 0.0])
    assert qh.to_index(sample_bits(p, 3, Lowest())).tolist() == [1, 1, 1]
