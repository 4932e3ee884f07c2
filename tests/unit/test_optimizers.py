"""The optimizers on a quadratic bowl: their options, the points they evaluate, and that the cost decreases."""

import json
import math

import numpy as np
import pytest

import qaan_helpers as qh
from qaan_helpers.quantum.optimizers import as_optimizer

TARGET = np.array([0.5, -1.0, 0.25, 0.0])
OPTIMIZERS = pytest.mark.parametrize("optimizer", (qh.Cobyla(), qh.Adam(), qh.Spsa()), ids=lambda each: each.name)


class Bowl:
    """|angles − TARGET|², with optional noise; it records the points evaluated."""

    def __init__(self, noise=0.0):
        self.points, self._noise, self._rng = [], noise, np.random.default_rng(0)

    def cost(self, angles):
        self.points.append(np.array(angles))
        return float(((angles - TARGET) ** 2).sum()) + self._rng.normal(0, self._noise)

    def cost_and_gradient(self, angles):
        return self.cost(angles), 2 * (angles - TARGET)

    @property
    def costs(self):
        return [((point - TARGET) ** 2).sum() for point in self.points]


def minimized(optimizer, budget, seed=0, start=None, **options):
    """The bowl after an optimizer ran on it."""
    bowl = Bowl(**options)
    optimizer.minimize(bowl, np.zeros(4) if start is None else start, budget, np.random.default_rng(seed))
    return bowl


# --- COBYLA ---


def test_cobyla_finds_the_minimum():
    bowl = minimized(qh.Cobyla(), 200)
    np.testing.assert_allclose(bowl.points[np.argmin(bowl.costs)], TARGET, atol=1e-3)


def test_cobyla_evaluates_the_start_then_lays_a_simplex_of_the_trust_radius():
    bowl = minimized(qh.Cobyla(trust_radius=0.3), 6)
    assert len(bowl.points) == 6
    np.testing.assert_array_equal(bowl.points[0], np.zeros(4))
    for axis, point in enumerate(bowl.points[1:5]):
        moved = np.abs(point - bowl.points[0]) > 0
        assert moved[axis] and not moved[axis + 1 :].any()
        assert abs(point[axis]) == pytest.approx(0.3)


@pytest.mark.parametrize("budget", (6, 9, 20))
def test_cobyla_never_exceeds_its_budget(budget):
    assert len(minimized(qh.Cobyla(), budget).points) == budget


@pytest.mark.parametrize("budget", (1, 5))
def test_cobyla_refuses_a_budget_below_its_first_step(budget):
    bowl = Bowl()
    message = f"^max_evaluations must be at least 6 for COBYLA with 4 angles; got {budget}. .*simplex.*'spsa'"
    with pytest.raises(ValueError, match=message):
        qh.Cobyla().minimize(bowl, np.zeros(4), budget, np.random.default_rng(0))
    assert not bowl.points


# --- Adam ---


def test_adam_steps_by_the_learning_rate_against_the_gradient():
    bowl = minimized(qh.Adam(learning_rate=0.05), 2)
    np.testing.assert_array_equal(bowl.points[0], np.zeros(4))
    np.testing.assert_allclose(bowl.points[1], 0.05 * np.sign(TARGET), atol=1e-8)


def test_adam_finds_the_minimum_with_one_evaluation_per_step():
    bowl = minimized(qh.Adam(), 300)
    assert len(bowl.points) == 300
    np.testing.assert_allclose(bowl.points[-1], TARGET, atol=1e-2)


# --- SPSA ---


def test_spsa_comes_near_the_minimum_of_a_noisy_cost():
    bowl = minimized(qh.Spsa(), 600, seed=1, noise=0.01)
    assert min(bowl.costs) < 0.1 * ((TARGET) ** 2).sum()
    assert np.mean(bowl.costs[-20:]) < 0.2 * ((TARGET) ** 2).sum()


@pytest.mark.parametrize("budget", (1, 2, 3, 4, 10, 11, 300))
def test_spsa_evaluates_its_final_iterate_last_and_within_the_budget(budget):
    """The iterates are computed from the recorded costs, by the formulas of the docstring."""
    bowl = minimized(qh.Spsa(), budget, seed=3)
    assert budget - 1 <= len(bowl.points) <= budget
    assert len(bowl.points) % 2 == 1
    iterate, size, rng = np.zeros(4), None, np.random.default_rng(3)
    steps = len(bowl.points) // 2
    for k in range(steps):
        plus, minus = bowl.points[2 * k : 2 * k + 2]
        np.testing.assert_allclose((plus + minus) / 2, iterate, atol=1e-12)
        direction = rng.choice((-1.0, 1.0), size=4)
        reach = 0.1 / (k + 1) ** 0.101
        np.testing.assert_allclose(plus - minus, 2 * reach * direction, atol=1e-12)
        slope = (bowl.costs[2 * k] - bowl.costs[2 * k + 1]) / (2 * reach)
        size = abs(slope) if size is None else 0.9 * size + 0.1 * abs(slope)
        iterate = iterate - 0.05 * ((1 + 0.1 * steps) / (k + 1 + 0.1 * steps)) ** 0.602 * slope / size * direction
    np.testing.assert_allclose(bowl.points[-1], iterate, atol=1e-12)


@pytest.mark.parametrize("n_angles", (4, 40))
def test_spsa_moves_all_angles_at_once_with_two_evaluations_per_step(n_angles):
    class Norm(Bowl):
        def cost(self, angles):
            self.points.append(np.array(angles))
            return float(angles @ angles)

    norm = Norm()
    qh.Spsa().minimize(norm, np.ones(n_angles), 8, np.random.default_rng(0))
    first, second = norm.points[:2]
    assert (first != second).all()
    np.testing.assert_allclose(np.abs(first - second), np.abs(first - second)[0])


def test_spsa_draws_its_directions_from_the_generator():
    first, same, other = (np.array(minimized(qh.Spsa(), 20, seed).points) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize(("option", "first_move"), [("step", 0.2), ("perturbation", 0.4)])
def test_spsas_options_set_its_step_and_its_perturbation(option, first_move):
    points = minimized(qh.Spsa(**{option: first_move}), 3).points
    move = points[-1] if option == "step" else points[0]
    np.testing.assert_allclose(np.abs(move), first_move)


# --- all of them ---


@OPTIMIZERS
def test_the_start_is_not_written_to(optimizer):
    start = np.zeros(4)
    bowl = minimized(optimizer, 20, start=start)
    np.testing.assert_array_equal(start, np.zeros(4))
    assert (bowl.points[-1] != 0).any()


def test_default_options_and_budgets():
    assert qh.Cobyla() == qh.Cobyla(trust_radius=0.5, max_evaluations=1500, gradient_steps=0)
    assert qh.Adam() == qh.Adam(learning_rate=0.1, max_evaluations=300)
    assert qh.Spsa() == qh.Spsa(step=0.05, perturbation=0.1, max_evaluations=3000)
    assert [each().n_gradients(7, 100) for each in (qh.Cobyla, qh.Adam, qh.Spsa)] == [0, 100, 0]


def test_a_refit_gets_fewer_evaluations():
    assert qh.Cobyla().for_refit(88) == qh.Cobyla(trust_radius=0.1, max_evaluations=150)
    assert qh.Cobyla(trust_radius=0.02).for_refit(8) == qh.Cobyla(trust_radius=0.02, max_evaluations=70)
    assert qh.Adam(learning_rate=0.2).for_refit(88) == qh.Adam(learning_rate=0.2, max_evaluations=30)
    assert qh.Spsa().for_refit(88) == qh.Spsa(max_evaluations=300)
    for few in (qh.Adam(max_evaluations=5), qh.Spsa(max_evaluations=5)):
        assert few.for_refit(88).max_evaluations == 1
    with_adam = qh.Cobyla(max_evaluations=233, gradient_steps=45)
    assert with_adam.for_refit(88) == qh.Cobyla(trust_radius=0.1, max_evaluations=88 + 2 + 45, gradient_steps=45)


class Halves:
    """A parabola that records at which points it was asked for its value, and at which for its gradient."""

    def __init__(self):
        self.values, self.gradients = [], []

    def cost(self, angles):
        self.values.append(np.array(angles))
        return float(((angles - 1) ** 2).sum())

    def cost_and_gradient(self, angles):
        self.gradients.append(np.array(angles))
        return float(((angles - 1) ** 2).sum()), 2 * (angles - 1)


@pytest.mark.parametrize(("budget", "steps", "gradients"), [(60, 20, 20), (60, 0, 0), (20, 60, 10), (10, 60, 0)])
def test_the_last_evaluations_of_cobyla_are_steps_of_adam_from_its_best_point(budget, steps, gradients):
    halves = Halves()
    optimizer = qh.Cobyla(gradient_steps=steps)
    optimizer.minimize(halves, np.zeros(8), budget, np.random.default_rng(0))
    assert optimizer.n_gradients(8, budget) == len(halves.gradients) == gradients
    assert len(halves.values) == budget - gradients
    if gradients:
        best = min(halves.values, key=lambda angles: ((angles - 1) ** 2).sum())
        np.testing.assert_array_equal(halves.gradients[0], best)
        assert abs(halves.gradients[1] - best).max() == pytest.approx(0.05, rel=0.01)  # the learning rate


@pytest.mark.parametrize("value", (-1, 0.5, None, True))
def test_a_number_of_gradient_steps_that_is_not_an_integer_of_at_least_0_is_refused(value):
    with pytest.raises(ValueError, match="gradient_steps must be an integer ≥ 0; got"):
        qh.Cobyla(gradient_steps=value)


@OPTIMIZERS
def test_a_budget_is_the_optimizers_own_unless_it_is_given(optimizer):
    assert optimizer.check_budget(4) == optimizer.max_evaluations
    assert optimizer.check_budget(4, 77) == 77
    with pytest.raises(ValueError, match="^refit_evaluations must be .*; got 0"):
        optimizer.check_budget(4, 0, "refit_evaluations")


@pytest.mark.parametrize(
    ("make", "option"),
    [(qh.Cobyla, "trust_radius"), (qh.Adam, "learning_rate"), (qh.Spsa, "step"), (qh.Spsa, "perturbation")],
)
@pytest.mark.parametrize("value", (0, -1.0, math.inf, math.nan, "0.1", None, True))
def test_an_option_that_is_not_a_positive_finite_number_is_refused(make, option, value):
    with pytest.raises(ValueError) as refused:
        make(**{option: value})
    assert str(refused.value) == f"{option} must be a positive finite number; got {value!r}"


@pytest.mark.parametrize("make", (qh.Cobyla, qh.Adam, qh.Spsa))
@pytest.mark.parametrize("value", (0, -3, 2.5, None, True))
def test_a_budget_that_is_not_an_integer_of_at_least_1_is_refused(make, value):
    with pytest.raises(ValueError) as refused:
        make(max_evaluations=value)
    assert str(refused.value) == f"max_evaluations must be an integer ≥ 1; got {value!r}"


# --- names and descriptions ---


@OPTIMIZERS
def test_a_name_and_a_description_stand_for_an_optimizer(optimizer):
    assert as_optimizer(optimizer) is optimizer
    assert as_optimizer(optimizer.name) == optimizer == as_optimizer({"name": optimizer.name})
    assert optimizer.config() == optimizer.name


@pytest.mark.parametrize(
    "optimizer", (qh.Cobyla(np.float32(0.25)), qh.Adam(max_evaluations=np.int64(7)), qh.Spsa(perturbation=0.2))
)
def test_a_description_survives_json(optimizer):
    config = json.loads(json.dumps(optimizer.config()))
    assert config["name"] == optimizer.name
    assert as_optimizer(config) == optimizer


@pytest.mark.parametrize(
    "unknown", ("sgd", "", "COBYLA", 5, None, {}, {"name": "sgd"}, {"step": 0.1}, ["adam"], qh.Adam)
)
def test_an_unknown_optimizer_is_refused_with_the_known_ones(unknown):
    with pytest.raises(ValueError) as refused:
        as_optimizer(unknown)
    assert str(refused.value).startswith("optimizer must be one of 'cobyla', 'adam', 'spsa'")
    assert str(refused.value).endswith(f"got {unknown!r}")


def test_unknown_and_wrong_options_in_a_description_are_refused():
    with pytest.raises(
        ValueError, match="^options of 'spsa' must be among step, perturbation, max_eval.*; got 'size'$"
    ):
        as_optimizer({"name": "spsa", "size": 3})
    with pytest.raises(ValueError, match="^step must be a positive finite number; got -1$"):
        as_optimizer({"name": "spsa", "step": -1})
