"""Comparisons of arms: rows are read as written, differences are paired, and intervals have the coverage they claim."""

import json
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from qaan_helpers.evaluation import comparison

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
HEAD = "arm,seed,epoch,steps,frechet_distance,held_out_kl,configuration\n"
TABLE = HEAD + (
    'uniform,1,5,100,30.5,,"{""a"": 1}"\nuniform,1,9,200,10.5,,x\ncircuit,2,9,200,8.0,0.25,x\n'
    "uniform,2,9,200,12.0,,x\ncircuit,1,9,200,11.0,0.5,x\n"
)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8")
    return comparison.read_rows(path)


def test_rows_are_read_as_numbers_texts_and_none(rows):
    assert rows[0] == {
        "arm": "uniform",
        "seed": 1.0,
        "epoch": 5.0,
        "steps": 100.0,
        "frechet_distance": 30.5,
        "held_out_kl": None,
        "configuration": '{"a": 1}',
    }


def test_the_last_score_of_each_run_counts(rows):
    assert comparison.last_scores(rows, "frechet_distance") == {
        "uniform": {1: 10.5, 2: 12.0},
        "circuit": {2: 8.0, 1: 11.0},
    }
    assert list(comparison.last_scores(rows, "frechet_distance")) == ["uniform", "circuit"]


def test_a_score_can_be_the_mean_of_a_runs_last_points(rows):
    assert comparison.last_scores(rows, "frechet_distance", points=2)["uniform"] == {1: 20.5, 2: 12.0}
    assert comparison.last_scores(rows, "held_out_kl", points=2)["uniform"] == {1: None, 2: None}
    differences = comparison.paired_differences(rows, "frechet_distance", "circuit", "uniform", points=2)
    assert differences.tolist() == [-9.5, -4.0]
    with pytest.raises(ValueError, match="points must be an integer ≥ 1; got 0"):
        comparison.last_scores(rows, "frechet_distance", points=0)


def test_differences_are_paired_by_seed(rows):
    assert comparison.paired_differences(rows, "frechet_distance", "circuit", "uniform").tolist() == [0.5, -4.0]


def test_arms_that_cannot_be_paired_are_refused(rows):
    with pytest.raises(ValueError, match="arm must be one of 'uniform', 'circuit'; got 'RBM'"):
        comparison.paired_differences(rows, "frechet_distance", "RBM", "uniform")
    with pytest.raises(ValueError, match=r"the same seeds; 'circuit' has \[1, 2\] and 'uniform' has \[1\]"):
        comparison.paired_differences(rows[:1] + rows[2:3] + rows[4:], "frechet_distance", "circuit", "uniform")
    with pytest.raises(ValueError, match="arm 'uniform' has runs without a held_out_kl; choose another score"):
        comparison.paired_differences(rows, "held_out_kl", "circuit", "uniform")


@pytest.mark.parametrize(("n", "comparisons"), [(8, 1), (8, 8), (5, 3)])
def test_an_interval_has_about_the_coverage_it_claims(n, comparisons):
    rng = np.random.default_rng(n)
    claimed, runs = 0.05 / comparisons, 400
    missed = 0
    for values in rng.normal(3.0, 2.0, (runs, n)):
        low, high = comparison.interval(values, comparisons)
        missed += not low <= 3.0 <= high
    assert missed / runs < 2 * claimed + 0.01  # the percentile bootstrap misses four times as often and more
    assert missed / runs > 0.02 or comparisons > 1


def test_an_interval_follows_its_values():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 7.0])
    low, high = comparison.interval(values)
    assert low < values.mean() < high
    assert comparison.interval(values) == (low, high)
    assert np.allclose(comparison.interval(10 * values - 3), (10 * low - 3, 10 * high - 3))
    wider = comparison.interval(values, comparisons=8)
    assert wider[0] < low and wider[1] > high
    assert comparison.interval(np.full(6, 2.5)) == (2.5, 2.5)


def test_the_interval_of_a_stored_comparison_is_the_exact_one():
    """An estimate from 20,000 random resamples, as of revision 572da74, gives −0.063 and "tie"."""
    rows = comparison.read_rows(RESULTS / "ladder_379.csv")
    differences = comparison.paired_differences(rows, "frechet_distance", "circuit", "uniform", points=4)
    low, high = comparison.interval(differences, comparisons=8)
    assert (round(low, 3), round(high, 3)) == (0.025, 3.154)
    assert comparison.verdict(low, high) == "worse"


@pytest.mark.parametrize("values", [[0.3, -1.2, 2.5, 0.1, 4.0], [1.0, 1.0, 2.0, 2.0, 5.0]])
@pytest.mark.parametrize("comparisons", [1, 3])
def test_an_interval_of_five_values_agrees_with_all_resamples_in_all_orders(values, comparisons):
    values, tail = np.array(values), 0.025 / comparisons
    resamples = np.array(list(product(values, repeat=5)))
    errors = resamples.std(axis=1, ddof=1) / np.sqrt(5)
    spread = errors > 0
    t = (resamples.mean(axis=1) - values.mean())[spread] / errors[spread]
    low, high = np.quantile(t, [tail, 1 - tail], method="inverted_cdf")
    error = values.std(ddof=1) / np.sqrt(5)
    expected = values.mean() - high * error, values.mean() - low * error
    assert comparison.interval(values, comparisons) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [5, 8, 10])
def test_up_to_ten_values_no_seed_is_involved(n):
    values = np.random.default_rng(n).normal(size=n)
    state = np.random.get_state()[1].copy()
    assert comparison.interval(values, seed=1) == comparison.interval(values, seed=2)
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize("n", [12, 20])
@pytest.mark.parametrize("comparisons", [1, 8])
def test_beyond_ten_values_two_seeds_agree_to_two_decimals(n, comparisons):
    values = np.random.default_rng(n).normal(size=n)
    started = time.perf_counter()
    first = comparison.interval(values, comparisons, seed=1)
    assert time.perf_counter() - started < 10  # about 1 s on a free core
    second = comparison.interval(values, comparisons, seed=2)
    assert first != second
    assert np.abs(np.subtract(first, second)).max() < 0.005


def test_enumerated_and_sampled_resamples_give_the_same_interval(monkeypatch):
    values = np.random.default_rng(0).normal(size=10)
    exact = comparison.interval(values)
    monkeypatch.setattr(comparison, "MAX_ENUMERATED", 9)
    assert comparison.interval(values) == pytest.approx(exact, abs=0.005)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0, 4.0], [[1.0] * 6], [1.0, 2.0, 3.0, 4.0, np.nan]])
def test_too_few_values_are_refused(values):
    with pytest.raises(ValueError, match="5 or more finite numbers"):
        comparison.interval(values)


def test_students_interval_is_scipys():
    values = np.random.default_rng(0).normal(3.0, 2.0, 5)
    for comparisons, level in ((1, 0.95), (3, 0.9)):
        error = values.std(ddof=1) / np.sqrt(5)
        expected = scipy.stats.t.interval(1 - (1 - level) / comparisons, 4, values.mean(), error)
        assert np.allclose(comparison.student_interval(values, comparisons, level), expected)
    with pytest.raises(ValueError, match="2 or more finite numbers"):
        comparison.student_interval(values[:1])


def test_other_arguments_are_checked():
    with pytest.raises(ValueError, match="comparisons must be an integer ≥ 1; got 0"):
        comparison.interval(np.arange(6), 0)
    with pytest.raises(ValueError, match="level must be between 0 and 1, ends excluded; got 1"):
        comparison.interval(np.arange(6), level=1)


def test_verdicts():
    assert [comparison.verdict(*ends) for ends in ((-2, -1), (-1, 1), (1, 2), (0, 1))] == [
        "better",
        "tie",
        "worse",
        "tie",
    ]


def arms_with(**priors):
    return [{"arm": arm, "configuration": json.dumps({"prior": config})} for arm, config in priors.items()]


def test_a_baseline_is_the_uniform_prior_with_the_same_number_of_bits():
    narrow, wide = {"kind": "uniform", "latent_dim": 4}, {"kind": "uniform", "latent_dim": 8}
    circuit = {"kind": "qcbm", "n_qubits": 4}
    arms = {"four": narrow, "eight": wide, "z": circuit, "zo": circuit | {"bases": "zo"}}
    assert comparison.baselines(arms_with(**arms)) == {"z": "four", "zo": "eight"}
    assert comparison.baselines(arms_with(eight=wide, z=circuit)) == {}
    with pytest.raises(ValueError, match="different numbers of bits; got 'four', 'noisy'"):
        comparison.baselines(arms_with(four=narrow, noisy=narrow, z=circuit))
