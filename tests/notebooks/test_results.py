"""The stored rows that notebooks 5 and 7 speak from: all runs of their plans, each once, by committed code."""

import json
import math
import re
from pathlib import Path
from statistics import fmean

import pytest

from qaan_helpers.evaluation import comparison, sweep

RESULTS = Path(__file__).parents[2] / "notebooks" / "results"
TABLES = [plan.with_suffix(".csv") for plan in sorted(RESULTS.glob("*.toml")) if plan.with_suffix(".csv").exists()]
every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.stem)


def test_there_are_some():
    found = [table.stem for table in TABLES]
    assert found == ["baseline", "controls", "defaults", "ladder_379", "ladder_ten", "tuning"]


@every_table
def test_rows_are_those_of_the_plan(table):
    runs, rows = sweep.read_plan(table.with_suffix(".toml")), comparison.read_rows(table)
    assert list(dict.fromkeys(row["result"] for row in rows)) == list(runs)
    for name, run in runs.items():
        scored = [row for row in rows if row["result"] == name]
        assert all(json.loads(row["configuration"]) == run for row in scored)
        assert {(row["arm"], row["seed"]) for row in scored} == {(run["arm"], run["seed"])}
        steps = [row["steps"] for row in scored]
        assert len(set(steps)) == len(run.get("score_at", [0])) and steps == sorted(steps)
        assert all(math.isfinite(row[score]) for row in scored for score in ("frechet_distance", "inception_score"))


@every_table
def test_rows_are_of_one_state_of_committed_code_and_of_one_environment(table):
    rows = comparison.read_rows(table)
    (revision,) = {row["revision"] for row in rows}
    assert re.fullmatch("[0-9a-f]{7,40}", revision)  # no "-dirty"
    versions = [json.loads(text) for text in {row["versions"] for row in rows}]  # of the packages that a run has loaded
    for package in {"python", "qaan_helpers", "torch", "qiskit", "qiskit_aer"}.union(*versions):
        assert len({told[package] for told in versions if package in told}) == 1, package


def compared(table, points):
    """The README's rows on a table: a prior, how much further its digits are from real ones than coins', verdict."""
    rows = comparison.read_rows(RESULTS / table)
    coins = comparison.baselines(rows)
    for arm, baseline in coins.items():
        differences = comparison.paired_differences(rows, "frechet_distance", arm, baseline, points)
        low, high = comparison.interval(differences, comparisons=len(coins))
        least, most = comparison.student_interval(differences, comparisons=len(coins))
        told = f"{round(differences.mean(), 2) + 0:+.2f} | {low:+.2f} to {high:+.2f} | {least:+.2f} to {most:+.2f}"
        yield f"| {arm} | {told} | {comparison.verdict(low, high)} |".replace("-", "−")


def test_the_readme_tells_what_came_out():
    readme = (RESULTS.parents[1] / "README.md").read_text(encoding="utf-8")
    for table, points, count in (("ladder_379.csv", 4, 8), ("ladder_ten.csv", 2, 3)):
        told = list(compared(table, points))
        assert len(told) == count and "\n".join(told) in readme


def test_the_readme_tells_of_thirty_epochs():
    readme = " ".join((RESULTS.parents[1] / "README.md").read_text(encoding="utf-8").split())
    real = comparison.read_rows(RESULTS / "references.csv")[0]["inception_score"]
    rows = {name: comparison.read_rows(RESULTS / f"{name}.csv") for name in ("ladder_379", "baseline")}
    nine, thirty = (comparison.last_scores(of, "inception_score", 4)["uniform"].values() for of in rows.values())
    assert f"coins at {fmean(nine) / real:.3f} of the real digits' Inception Score" in readme
    assert f"on four seeds, they reach {fmean(thirty) / real:.3f}, and the circuit ties" in readme
    later = comparison.paired_differences(rows["baseline"], "frechet_distance", "circuit", "uniform", 4)
    low, high = comparison.student_interval(later)
    told = f"a difference of {later.mean():+.2f}, Student's t {low:+.2f} to {high:+.2f}".replace("-", "−")
    assert told in readme and comparison.verdict(low, high) == "tie"


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
