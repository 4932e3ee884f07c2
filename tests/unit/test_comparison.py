"""Arms beside each other: rows are read as written, pairs are pairs, and intervals miss as seldom as they claim."""

import json

import numpy as np
import pytest
import scipy.stats

from qaan_helpers.evaluation import comparison

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
    with pytest.raises(ValueError, match="points is 0"):
        comparison.last_scores(rows, "frechet_distance", points=0)


def test_differences_are_paired_by_seed(rows):
    assert comparison.paired_differences(rows, "frechet_distance", "circuit", "uniform").tolist() == [0.5, -4.0]


def test_what_has_no_pair_is_refused(rows):
    with pytest.raises(ValueError, match="no arm 'RBM'; there are 'uniform', 'circuit'"):
        comparison.paired_differences(rows, "frechet_distance", "RBM", "uniform")
    with pytest.raises(ValueError, match=r"'circuit' has the seeds \[1, 2\] and 'uniform' has \[1\]: no pairs"):
        comparison.paired_differences(rows[:1] + rows[2:3] + rows[4:], "frechet_distance", "circuit", "uniform")
    with pytest.raises(ValueError, match="'uniform' has no held_out_kl"):
        comparison.paired_differences(rows, "held_out_kl", "circuit", "uniform")


@pytest.mark.parametrize(("n", "comparisons"), [(8, 1), (8, 8), (5, 3)])
def test_an_interval_misses_about_as_seldom_as_it_claims(n, comparisons):
    rng = np.random.default_rng(n)
    claimed, runs = 0.05 / comparisons, 400
    missed = 0
    for values in rng.normal(3.0, 2.0, (runs, n)):
        low, high = comparison.interval(values, comparisons, draws=2000)
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
    with pytest.raises(ValueError, match="comparisons"):
        comparison.interval(np.arange(6), 0)
    with pytest.raises(ValueError, match="level is 1"):
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


def test_a_baseline_is_the_uniform_prior_of_as_many_bits():
    coins, wide = {"kind": "uniform", "latent_dim": 4}, {"kind": "uniform", "latent_dim": 8}
    circuit = {"kind": "qcbm", "n_qubits": 4}
    arms = {"four": coins, "eight": wide, "z": circuit, "zo": circuit | {"bases": "zo"}}
    assert comparison.baselines(arms_with(**arms)) == {"z": "four", "zo": "eight"}
    assert comparison.baselines(arms_with(eight=wide, z=circuit)) == {}
    with pytest.raises(ValueError, match="of 'four', 'noisy' some have as many bits"):
        comparison.baselines(arms_with(four=coins, noisy=coins, z=circuit))
