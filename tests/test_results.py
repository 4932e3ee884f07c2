"""The stored rows that notebooks 5 and 7 speak from: all runs of their plans, each once, by committed code."""

import json
import math
import re
from pathlib import Path

import pytest

from qaan_helpers import comparison, sweep

RESULTS = Path(__file__).parents[1] / "notebooks" / "results"
TABLES = [plan.with_suffix(".csv") for plan in sorted(RESULTS.glob("*.toml")) if plan.with_suffix(".csv").exists()]
every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.stem)


def test_there_are_some():
    assert {"defaults", "tuning"} <= {table.stem for table in TABLES}


@every_table
def test_rows_are_those_of_the_plan(table):
    runs, rows = sweep.read_plan(table.with_suffix(".toml")), comparison.read_rows(table)
    assert list(dict.fromkeys(row["result"] for row in rows)) == list(runs)
    for name, run in runs.items():
        scored = [row for row in rows if row["result"] == name]
        assert all(json.loads(row["configuration"]) == run for row in scored)
        assert {(row["rung"], row["seed"]) for row in scored} == {(run["rung"], run["seed"])}
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
