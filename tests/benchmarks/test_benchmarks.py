"""Test that the benchmarks time what they say, and that the README shows their results. Nothing here is timed."""

import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import qaan_helpers as qh

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "benchmarks"))

import bench  # noqa: E402 (the scripts beside each other are no package)
import quantum  # noqa: E402
import side_by_side  # noqa: E402

FIGURES = json.loads((ROOT / "notebooks" / "results" / "bench.json").read_text(encoding="utf-8"))


def test_the_readme_shows_what_was_measured():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = bench.summary(FIGURES).split("\n\n")
    assert len(tables) == 2 and all(table in readme for table in tables)


def test_every_benchmark_has_its_figures():
    assert set(FIGURES["rows"]) == set(bench.BENCHMARKS)
    assert all(FIGURES["rows"].values()) and FIGURES["machine"]["processor"]


def test_every_way_runs_in_each_round_and_ratios_are_to_the_first():
    called = []
    ways = {"slow": lambda: (called.append("slow"), time.sleep(0.02)), "quick": lambda: called.append("quick")}
    told = side_by_side.side_by_side(ways, rounds=4)
    assert [called.count(name) for name in ways] == [4 + side_by_side.WARM_UP] * 2
    assert called[:4] == ["slow", "quick", "quick", "slow"]
    assert told["slow"]["ratio"] == 1 and told["quick"]["ratio"] > 5 and told["slow"]["ms"] > 15
    assert side_by_side.row_of(told)["ratio"] == told["quick"]["ratio"]


@pytest.mark.parametrize("shots", [None, 2000])
def test_the_naive_way_and_ours_are_the_same_cost(shots):
    point = quantum.Evaluation(3, shots)
    assert point.naive() == pytest.approx(point.ours(), abs=0.25)  # of 2,000 shots each


def test_peers_are_given_our_circuit():
    circuit = qh.qcbm_ansatz(2, quantum.LAYERS)
    listed = list(quantum.gates(2, range(circuit.num_parameters)))
    assert Counter(name for name, _, _ in listed) == circuit.count_ops()
    assert [angle for name, _, angle in listed if name != "h"] == list(range(circuit.num_parameters))
