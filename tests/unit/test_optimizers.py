"""The three optimizers on a bowl in plain numpy: what they evaluate, how often, and that they go down."""

import numpy as np
import pytest

from qaan_helpers.quantum import optimizers

TARGET = np.array([0.5, -1.0, 0.25, 0.0])


class Bowl:
    """|angles − TARGET|², which remembers where it was asked."""

    def __init__(self):
        self.points = []

    def __call__(self, angles):
        self.points.append(np.array(angles))
        return float(((angles - TARGET) ** 2).sum())

    def with_gradient(self, angles):
        return self(angles), 2 * (angles - TARGET)

    @property
    def costs(self):
        return [((point - TARGET) ** 2).sum() for point in self.points]


def test_cobyla_finds_the_minimum():
    bowl = Bowl()
    optimizers.cobyla(bowl, np.zeros(4), 200)
    np.testing.assert_allclose(bowl.points[np.argmin(bowl.costs)], TARGET, atol=1e-3)


def test_cobyla_evaluates_the_start_then_lays_a_simplex_of_the_trust_radius():
    bowl = Bowl()
    optimizers.cobyla(bowl, np.zeros(4), 6, trust_radius=0.3)
    assert len(bowl.points) == 6
    np.testing.assert_array_equal(bowl.points[0], np.zeros(4))
    for axis, point in enumerate(bowl.points[1:5]):
        moved = np.abs(point - bowl.points[0]) > 0
        assert moved[axis] and not moved[axis + 1 :].any()
        assert abs(point[axis]) == pytest.approx(0.3)


@pytest.mark.parametrize("budget", (6, 9, 20))
def test_cobyla_never_exceeds_its_budget(budget):
    bowl = Bowl()
    optimizers.cobyla(bowl, np.zeros(4), budget)
    assert len(bowl.points) == budget


@pytest.mark.parametrize("budget", (1, 5))
def test_cobyla_refuses_a_budget_that_lays_the_simplex_and_never_moves(budget):
    bowl = Bowl()
    with pytest.raises(ValueError, match=f"max_evaluations is {budget}, but COBYLA needs 6 for 4 angles.*'spsa'"):
        optimizers.cobyla(bowl, np.zeros(4), budget)
    assert not bowl.points


def test_adam_steps_by_the_learning_rate_against_the_gradient():
    bowl = Bowl()
    optimizers.adam(bowl.with_gradient, np.zeros(4), 2, learning_rate=0.05)
    np.testing.assert_array_equal(bowl.points[0], np.zeros(4))
    np.testing.assert_allclose(bowl.points[1], 0.05 * np.sign(TARGET), atol=1e-8)


def test_adam_finds_the_minimum_with_one_evaluation_a_step():
    bowl = Bowl()
    optimizers.adam(bowl.with_gradient, np.zeros(4), 300)
    assert len(bowl.points) == 300
    np.testing.assert_allclose(bowl.points[-1], TARGET, atol=1e-2)


def test_spsa_comes_near_the_minimum_though_the_cost_is_noisy():
    bowl, noise = Bowl(), np.random.default_rng(0)
    optimizers.spsa(lambda angles: bowl(angles) + noise.normal(0, 0.01), np.zeros(4), 600, np.random.default_rng(1))
    assert min(bowl.costs) < 0.1 * ((TARGET) ** 2).sum()
    assert np.mean(bowl.costs[-20:]) < 0.2 * ((TARGET) ** 2).sum()


@pytest.mark.parametrize("n_angles", (4, 40))
def test_spsa_moves_all_angles_at_once_with_two_evaluations_a_step(n_angles):
    points = []
    optimizers.spsa(
        lambda angles: points.append(angles) or float(angles @ angles), np.ones(n_angles), 8, np.random.default_rng(0)
    )
    first, second = points[:2]
    assert (first != second).all()
    np.testing.assert_allclose(np.abs(first - second), np.abs(first - second)[0])


def test_spsa_draws_its_directions_from_the_generator():
    walks = []
    for seed in (1, 1, 2):
        bowl = Bowl()
        optimizers.spsa(bowl, np.zeros(4), 20, np.random.default_rng(seed))
        walks.append(np.array(bowl.points))
    np.testing.assert_array_equal(walks[0], walks[1])
    assert (walks[0] != walks[2]).any()


@pytest.mark.parametrize("method", (optimizers.cobyla, optimizers.adam, optimizers.spsa))
def test_the_start_is_not_written_to(method):
    start, bowl = np.zeros(4), Bowl()
    cost = bowl.with_gradient if method is optimizers.adam else bowl
    method(cost, start, 20, *([np.random.default_rng(0)] if method is optimizers.spsa else []))
    np.testing.assert_array_equal(start, np.zeros(4))
    assert (bowl.points[-1] != 0).any()


@pytest.mark.parametrize("trust_radius", [0, -1.0, np.inf, np.nan])
def test_cobyla_refuses_a_trust_radius_that_is_no_step(trust_radius):
    with pytest.raises(ValueError, match="trust_radius is .*radians above 0"):
        optimizers.cobyla(lambda angles: 0.0, np.zeros(3), 50, trust_radius)
