"""The stored rows behind notebooks 5 and 8: all runs of their plans, each once, from committed code."""

import json
import math
import re
from pathlib import Path
from statistics import fmean, median

import pytest

from qaan_helpers.evaluation import comparison, sweep

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
TABLES = [plan.with_suffix(".csv") for plan in sorted(RESULTS.glob("*.toml")) if plan.with_suffix(".csv").exists()]
every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.stem)


STUDY = {f"study_{part}" for part in ("379", "ten", "autoencoder", "16", "symmetry", "associative", "tied")}
INCOMPLETE = STUDY  # tables whose last runs have not ended


def test_the_tables_of_all_plans_are_stored():
    assert {table.stem for table in TABLES} | INCOMPLETE == STUDY | {
        *("baseline", "controls", "defaults", "ladder_379", "ladder_ten"),
        *("objectives_379", "objectives_start", "objectives_ten", "tuning"),
    }


@every_table
def test_rows_are_those_of_the_plan(table):
    runs, rows = sweep.read_plan(table.with_suffix(".toml")), comparison.read_rows(table)
    names = list(dict.fromkeys(row["result"] for row in rows))
    assert names == [name for name in runs if name in names or table.stem not in INCOMPLETE]
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
    for package in {"python", "qaan_helpers", "torch", "qiskit", "qiskit_aer"}.union(*versions):
        assert len({of_run[package] for of_run in versions if package in of_run}) == 1, package


def compared(table, points):
    """The README's rows on a table: a prior, its difference from the uniform prior, two intervals, a verdict."""
    rows = comparison.read_rows(RESULTS / table)
    baselines = comparison.baselines(rows)
    for arm, baseline in baselines.items():
        differences = comparison.paired_differences(rows, "frechet_distance", arm, baseline, points)
        low, high = comparison.interval(differences, comparisons=len(baselines))
        t_low, t_high = comparison.student_interval(differences, comparisons=len(baselines))
        mean = round(differences.mean(), 2) + 0
        numbers = f"{mean:+.2f} | {low:+.2f} to {high:+.2f} | {t_low:+.2f} to {t_high:+.2f}"
        name = {"the bits themselves": "replay"}.get(arm, arm)
        yield f"| {name} | {numbers} | {in_words(low, high)} |".replace("-", "−")


def in_words(low, high):
    verdict = comparison.verdict(low, high)
    return {"tie": "inconclusive"}.get(verdict, verdict)


README = " ".join((RESULTS.parents[1] / "README.md").read_text(encoding="utf-8").split())


def test_the_readme_shows_every_comparison():
    expected = list(compared("ladder_379.csv", points=4))
    assert len(expected) == 8 and " ".join(expected) in README


def test_the_readme_states_the_verdicts_of_both_methods():
    rows = comparison.read_rows(RESULTS / "ladder_379.csv")
    baselines = comparison.baselines(rows)
    of = comparison.paired_differences(rows, "frechet_distance", "circuit without entanglement", "uniform", points=4)
    for method, worse in (("interval", {"RBM", "circuit"}), ("student_interval", {"RBM", "the bits themselves"})):
        verdicts = {}
        for arm, baseline in baselines.items():
            differences = comparison.paired_differences(rows, "frechet_distance", arm, baseline, points=4)
            verdicts[arm] = comparison.verdict(*getattr(comparison, method)(differences, len(baselines)))
        assert {arm for arm, verdict in verdicts.items() if verdict != "tie"} == worse
        assert {verdicts[arm] for arm in worse} == {"worse"}
    assert "By the specified rule, the RBM and the circuit are worse." in README
    assert "By Student's t, the RBM and replay are worse, and the circuit is inconclusive." in README
    ends = [f"{max(method(of, len(baselines))):+.2f}" for method in (comparison.interval, comparison.student_interval)]
    assert f"it extends to {ends[0]}, whereas Student's t interval ends at {ends[1]}." in README


def test_the_readme_states_the_verdicts_for_all_ten_digits():
    rows = list(compared("ladder_ten.csv", points=2))
    assert len(rows) == 3 and all("inconclusive" in row for row in rows)
    expected = (
        "With all ten digits, sixteen bits, five seeds and four epochs, the three comparisons (RBM, zo and zt) are"
    )
    assert f"{expected} inconclusive." in README


def test_the_readme_shows_recall_and_distance_of_every_objective():
    for arm in ("associative", "tied", "reconstruction"):
        cells = [arm]
        for digits in ("379", "ten"):
            rows = [row for row in comparison.read_rows(RESULTS / f"objectives_{digits}.csv") if row["arm"] == arm]
            assert sorted(row["seed"] for row in rows) == [0, 1, 2, 3, 4]
            recall, distance = (
                median(float(row[score]) for row in rows) for score in ("recall_accuracy", "frechet_distance")
            )
            cells += [f"{recall:.0%}", f"{distance:.1f}"]
        assert f"| {' | '.join(cells)} |" in README


def test_the_readme_quotes_the_scores_of_the_uniform_prior():
    real = comparison.read_rows(RESULTS / "references.csv")[0]
    rows = {name: comparison.read_rows(RESULTS / f"{name}.csv") for name in ("ladder_379", "baseline")}

    def mean(table, score, arm="uniform"):
        return f"{fmean(comparison.last_scores(rows[table], score, 4)[arm].values()):.2f}"

    eight, sixteen = (mean("ladder_379", "frechet_distance", arm) for arm in ("uniform", "uniform, 16 bits"))
    assert f"The uniform prior reaches {eight} with 8 bits and {sixteen} with 16 bits." in README
    expected = f"For {real['n_images']:,.0f} real training digits, the distance is {real['frechet_distance']:.2f}."
    assert expected in README
    nine, thirty = (mean(table, "inception_score") for table in rows)
    expected = f"Its Inception Score is {nine} (mean of epochs 6 to 9), compared with {real['inception_score']:.2f} for"
    assert f"{expected} the test digits." in README
    expected = f"its Inception Score is {thirty} and its Fréchet distance {mean('baseline', 'frechet_distance')} (means"
    assert f"{expected} of epochs 27 to 30)." in README
    later = comparison.paired_differences(rows["baseline"], "frechet_distance", "circuit", "uniform", 4)
    low, high = comparison.student_interval(later)
    expected = f"{later.mean():+.2f} (Student's t interval {low:+.2f} to {high:+.2f}, {in_words(low, high)})"
    assert f"the circuit's difference in Fréchet distance is {expected}.".replace("-", "−") in README


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
