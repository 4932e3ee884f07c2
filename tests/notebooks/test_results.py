"""The stored rows of notebooks 5, 6 and 8: all runs of their plans, each once, from committed code."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import dunnett, ttest_ind

from qaan_helpers.evaluation import comparison, sweep

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
TABLES = [plan.with_suffix(".csv") for plan in sorted(RESULTS.glob("*.toml")) if plan.with_suffix(".csv").exists()]
every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.stem)


STUDY = {f"study_{part}" for part in ("379", "ten", "autoencoder", "16", "symmetry", "associative", "tied")}


def test_the_tables_of_all_plans_are_stored():
    assert {table.stem for table in TABLES} == STUDY | {
        *("baseline", "controls", "defaults", "ladder_379", "ladder_ten"),
        *("objectives_379", "objectives_start", "objectives_ten", "tuning"),
    }


@every_table
def test_rows_are_those_of_the_plan(table):
    runs, rows = sweep.read_plan(table.with_suffix(".toml")), comparison.read_rows(table)
    names = list(dict.fromkeys(row["result"] for row in rows))
    assert names == list(runs)
    for name in names:
        run = runs[name]
        scored = [row for row in rows if row["result"] == name and not row.get("prior")]
        assert all(json.loads(row["configuration"]) == run for row in scored)
        assert {(row["arm"], row["seed"]) for row in scored} == {(run["arm"], run["seed"])}
        steps = [row["steps"] for row in scored]
        assert len(set(steps)) == len(run.get("score_at", [0])) and steps == sorted(steps)
        compared = [row for row in rows if row["result"] == name and row.get("prior")]
        assert [row["prior"] for row in compared] == list(run.get("priors", ()))
        scores = [row[score] for row in scored + compared for score in ("frechet_distance", "inception_score")]
        assert all(map(math.isfinite, scores))


@every_table
def test_rows_are_of_one_state_of_committed_code_and_of_one_environment(table):
    rows = comparison.read_rows(table)
    (revision,) = {row["revision"] for row in rows}
    assert re.fullmatch("[0-9a-f]{7,40}", revision)  # no "-dirty"
    versions = [json.loads(text) for text in {row["versions"] for row in rows} if text]  # of the packages loaded
    for package in {"python", "qaan_helpers", "torch"}.union(*versions):
        assert len({of_run[package] for of_run in versions if package in of_run}) == 1, package


README = " ".join((RESULTS.parents[1] / "README.md").read_text(encoding="utf-8").split())


def log_distances(name, by):
    """The logarithm of the Fréchet distance: one row per seed, one column per prior or arm."""
    rows = pd.read_csv(RESULTS / f"study_{name}.csv").dropna(subset=by)
    return np.log(rows.pivot(index="seed", columns=by, values="frechet_distance"))


def in_words(log_ratio, interval):
    """Three numbers as the README writes them."""
    ratio, low, high = np.exp([log_ratio, *interval])
    return f"{ratio:.2f}", f"{low:.2f} to {high:.2f}"


def test_the_readme_states_the_results_of_the_associative_loop():
    loop = log_distances("symmetry", "arm")
    others = log_distances("associative", "arm")
    compared = [loop["circuit"], *(others[arm] for arm in others)]
    test = dunnett(*compared, control=loop["uniform"], rng=np.random.default_rng(0))
    low, high = test.confidence_interval(0.95).low[0], test.confidence_interval(0.95).high[0]
    ratio, interval = in_words((loop["circuit"] - loop["uniform"]).mean(), (low, high))
    expected = f"{ratio} times that of the uniform prior (interval corrected for seven comparisons: {interval})"
    assert len(compared) == 7 and expected in README
    worse = {name for name, p in zip(["circuit", *others], test.pvalue, strict=True) if p < 0.05}
    assert worse == {"RBM", "16 codes", "Gaussian, 100 dimensions"}
    assert all(values.mean() > loop["uniform"].mean() for values in compared)
    permuted, circuit = loop["circuit, signed permutation"], loop["circuit"]
    interval = ttest_ind(permuted, circuit, equal_var=False).confidence_interval(0.9)
    ratio, interval = in_words((permuted - circuit).mean(), interval)
    assert f"the FID is {ratio} times as high (90% interval {interval})" in README


def test_the_readme_states_the_results_of_the_objective_reconstruction():
    for name, digits in (("379", "three digits"), ("ten", "all ten")):
        table = log_distances(name, "prior")
        differences = (table["circuit, 6 layers"] - table["uniform"]).to_numpy()
        ratio, interval = in_words(differences.mean(), comparison.student_interval(differences, comparisons=7))
        assert f"{ratio} with {digits} ({interval})" in README


@pytest.mark.parametrize(
    ("table", "seeds", "epochs"),  # as many epochs as `points` of the notebook, so that those are all of a run's scores
    [
        ("ladder_379", 8, {6, 7, 8, 9}),
        ("ladder_ten", 5, {3, 4}),
        ("baseline", 4, {27, 28, 29, 30}),
        ("controls", 8, {6, 7, 8, 9}),
    ],
)
def test_the_notebook_compares_as_its_plan_says(table, seeds, epochs):
    rows = comparison.read_rows(RESULTS / f"{table}.csv")
    assert {int(row["seed"]) for row in rows} == set(range(1, seeds + 1))
    assert {row["epoch"] for row in rows} == epochs
