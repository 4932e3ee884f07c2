"""The clipped negative log-likelihood against cases by hand and against the loop over rows."""

import math

import numpy as np
import pytest

from qaan_helpers.losses import clipped_nll, clipped_nll_gradient, empirical

BITS = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.uint8)  # state 1 three times, state 2 once


def test_empirical_names_each_state_once_with_its_share():
    states, frequencies = empirical(BITS)
    assert states.tolist() == [1, 2]
    assert frequencies.tolist() == [0.75, 0.25]


def test_a_case_by_hand():
    states, frequencies = empirical(BITS)
    model = np.array([0.1, 0.5, 0.25, 0.15])
    assert clipped_nll(model[states], frequencies) == pytest.approx(0.75 * math.log(2) + 0.25 * math.log(4))


def test_a_state_that_occurs_k_times_counts_k_times():
    """Against the loop over rows, which the public implementation ran over rows and counts at once: k² times."""
    rng = np.random.default_rng(1)
    bits = (rng.random((200, 3)) < (0.2, 0.5, 0.9)).astype(np.uint8)
    model = rng.dirichlet(np.ones(8))
    by_row = -np.mean([math.log(model[row[0] + 2 * row[1] + 4 * row[2]]) for row in bits])
    states, frequencies = empirical(bits)
    assert clipped_nll(model[states], frequencies) == pytest.approx(by_row)


@pytest.mark.parametrize("epsilon", (1e-8, 1e-3))
def test_probabilities_are_clipped_from_below_only(epsilon):
    cost = clipped_nll(np.array([0.0, epsilon / 2, 1.0]), np.array([0.5, 0.25, 0.25]), epsilon)
    assert cost == pytest.approx(-0.75 * math.log(epsilon))


def test_clips_at_1e_8_unless_told():
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
