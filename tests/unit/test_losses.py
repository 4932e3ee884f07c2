"""The clipped negative log-likelihood against cases by hand and against the loop over rows."""

import math

import numpy as np
import pytest

import qaan_helpers as qh
from qaan_helpers.quantum.losses import clipped_nll, clipped_nll_gradient, empirical_distribution

BITS = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.uint8)  # state 1 three times, state 2 once


def test_the_empirical_distribution_names_each_state_once_with_its_frequency():
    states, frequencies = empirical_distribution(BITS)
    assert states.tolist() == [1, 2]
    assert frequencies.tolist() == [0.75, 0.25]


def test_a_case_by_hand():
    states, frequencies = empirical_distribution(BITS)
    model = np.array([0.1, 0.5, 0.25, 0.15])
    assert clipped_nll(model[states], frequencies) == pytest.approx(0.75 * math.log(2) + 0.25 * math.log(4))


def test_a_state_that_occurs_k_times_counts_k_times():
    """Against the loop over rows, which the public implementation ran over rows and counts at once: k² times."""
    rng = np.random.default_rng(1)
    bits = (rng.random((200, 3)) < (0.2, 0.5, 0.9)).astype(np.uint8)
    model = rng.dirichlet(np.ones(8))
    by_row = -np.mean([math.log(model[row[0] + 2 * row[1] + 4 * row[2]]) for row in bits])
    states, frequencies = empirical_distribution(bits)
    assert clipped_nll(model[states], frequencies) == pytest.approx(by_row)


@pytest.mark.parametrize("epsilon", (1e-8, 1e-3))
def test_probabilities_are_clipped_from_below_only(epsilon):
    cost = clipped_nll(np.array([0.0, epsilon / 2, 1.0]), np.array([0.5, 0.25, 0.25]), epsilon)
    assert cost == pytest.approx(-0.75 * math.log(epsilon))


def test_clips_at_1e_8_by_default():
    assert clipped_nll(np.zeros(1), np.ones(1)) == pytest.approx(8 * math.log(10))


def test_rows_of_probabilities_give_a_cost_each():
    frequencies = np.array([0.75, 0.25])
    rows = np.array([[0.5, 0.25], [0.1, 0.9], [0.0, 1.0]])
    costs = clipped_nll(rows, frequencies)
    assert costs.shape == (3,)
    np.testing.assert_allclose(costs, [clipped_nll(row, frequencies) for row in rows])


def test_gradient_against_finite_differences():
    frequencies = np.array([0.5, 0.2, 0.3])
    model, step = np.array([0.3, 0.05, 0.6]), 1e-6
    numerical = [
        (clipped_nll(model + step * axis, frequencies) - clipped_nll(model - step * axis, frequencies)) / (2 * step)
        for axis in np.eye(3)
    ]
    np.testing.assert_allclose(clipped_nll_gradient(model, frequencies), numerical, rtol=1e-6)


def test_gradient_is_zero_where_the_probability_is_clipped():
    gradient = clipped_nll_gradient(np.array([0.0, 1e-3, 0.5]), np.array([0.5, 0.25, 0.25]), epsilon=1e-2)
    assert gradient.tolist() == [0.0, 0.0, -0.5]


# How far a model is from bits that it has not seen


def model(seed=0, n_states=16):
    return np.random.default_rng(seed).dirichlet(np.ones(n_states))


def sampled(p, n_rows, seed=0):
    n_bits = len(p).bit_length() - 1
    return qh.from_index(np.random.default_rng(seed).choice(len(p), n_rows, p=p), n_bits)


def test_kl_divergence_is_the_formula():
    """Half the bits in state 1, half in state 2, of a model that gives them ½ and ¼."""
    bits = np.array([[1, 0], [0, 1]] * 5)
    assert qh.kl_divergence(bits, [0.25, 0.5, 0.25, 0]) == pytest.approx(0.5 * np.log(2))
    assert qh.kl_divergence(bits, [0, 0.5, 0.5, 0]) == 0


def test_kl_divergence_is_what_a_fit_costs_above_the_entropy():
    p, bits = model(), sampled(model(1), 300)
    states, frequencies = empirical_distribution(bits)
    assert qh.kl_divergence(bits, p) == pytest.approx(clipped_nll(p[states], frequencies) - qh.entropy(bits))


def test_kl_divergence_clips_what_the_model_rules_out():
    bits = np.array([[1, 1]])
    assert qh.kl_divergence(bits, [1, 0, 0, 0]) == pytest.approx(-np.log(1e-8))
    assert qh.kl_divergence(bits, [1, 0, 0, 0], epsilon=1e-3) == pytest.approx(-np.log(1e-3))


@pytest.mark.parametrize("n_rows", [100, 1000])
def test_the_sampling_bias_is_what_fresh_bits_of_the_model_itself_give(n_rows):
    p = model()
    fresh = np.mean([qh.kl_divergence(sampled(p, n_rows, seed), p) for seed in range(200)])
    assert qh.kl_sampling_bias(p, n_rows) == pytest.approx(fresh, rel=0.15)
    assert qh.kl_sampling_bias(p, n_rows) == pytest.approx(15 / (2 * n_rows), rel=0.2)
    assert qh.kl_divergence(sampled(model(1), n_rows), p) > 5 * qh.kl_sampling_bias(p, n_rows)


def test_the_sampling_bias_repeats_and_is_zero_for_a_model_of_one_state():
    assert (
        qh.kl_sampling_bias(model(), 50) == qh.kl_sampling_bias(model(), 50) != qh.kl_sampling_bias(model(), 50, seed=1)
    )
    assert qh.kl_sampling_bias([0, 1, 0, 0], 50) == 0


@pytest.mark.parametrize("p", [[0.5, 0.25, 0.25], [0.5, 0.4], [1.5, -0.5], [1.0], np.eye(2)])
def test_what_is_no_distribution_is_refused(p):
    with pytest.raises(ValueError, match="probabilities must be .* sum to 1, such as prior.probabilities.*got shape"):
        qh.kl_divergence(np.array([[1]]), p)
    with pytest.raises(ValueError, match="probabilities must be .* sum to 1"):
        qh.kl_sampling_bias(p, 10)


def test_bits_of_another_width_and_no_rows_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        qh.kl_divergence(np.zeros((5, 3)), model())
    with pytest.raises(ValueError, match="n_rows must be an integer ≥ 1; got 0"):
        qh.kl_sampling_bias(model(), 0)
