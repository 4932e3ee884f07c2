"""The tests that notebook 11 names as guards: each exists, and fails when its fault is in the package."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from break_it import FAULTS

import qaan_helpers as qh
from qaan_helpers.course.exercises import nb11_break_it

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "unit"
NOTEBOOK = HERE.parents[1] / "notebooks" / "11_break_it.ipynb"


@pytest.fixture(scope="module")
def code():
    """The notebook's code, cell by cell."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_names_the_tests_that_are_tried_here(code):
    calls = [node for cell in code for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Call)]
    shown = [[ast.literal_eval(a) for a in call.args] for call in calls if ast.unparse(call.func).endswith("show_test")]
    assert [f"{file}::{test}" for file, test, *_ in shown] == [test for _, test in FAULTS.values()]


def test_the_table_of_the_notebook_has_the_faults_that_are_tried_here(code):
    assert re.findall(r'^results\["(.+)"\] =', "\n".join(code), re.MULTILINE) == list(FAULTS)


def test_a_test_is_shown_with_its_decorators_and_helpers():
    shown = nb11_break_it.show_test("test_priors.py", "test_samples_are_bits_in_random_order", "some_bits").data
    assert re.search(
        r"```python\ndef some_bits.*\n\n@every_kind\ndef test_samples_are_bits_in_random_order", shown, re.DOTALL
    )
    assert shown.endswith("< 0.2\n```")


def test_without_the_tests_their_place_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(nb11_break_it, "_TESTS", tmp_path)
    assert "`test_x` in `tests/unit/test_y.py`" in nb11_break_it.show_test("test_y.py", "test_x").data


def test_one_line_switches_each_fault_on(code):
    lines = [line for cell in code for line in cell.splitlines() if re.search(r"# switch\b", line)]
    assert len(lines) == len(FAULTS) == 7


def test_unknown_runs_have_those_faults():
    assert set(nb11_break_it.FAULTS) - {"none"} == set(FAULTS) - {"fast discriminator"}


@pytest.fixture(scope="module")
def with_faults():
    """The results of all those tests, each run with its fault in the package: one line for each case of each test."""
    tests = [str(TESTS / test) for _, test in FAULTS.values()]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "break_it", "-p", "no:cacheprovider", "-rA", "-q", "--tb=line", *tests],
        env={**os.environ, "COLUMNS": "400", "PYTHONPATH": path},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=600,
    )
    return run.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_a_guard_fails_where_its_fault_is(fault, with_faults):
    """The test must fail by its assertion, not by an error on the way."""
    reasons = re.findall(rf"^(?:FAILED|ERROR) .*{re.escape(FAULTS[fault][1])}\S*.* - (.*)", with_faults, re.MULTILINE)
    assert reasons, with_faults
    assert all(re.match("assert |AssertionError|Failed: DID NOT RAISE", reason) for reason in reasons), reasons


# The runs of its second exercise


@pytest.fixture(scope="module")
def healthy():
    """A small model, a fit to its bits, the bits, and their images."""
    sample = qh.load_mnist((3, 7), source="sample")
    images = sample.images[::40]
    gan = qh.QAAN(qh.QCBMPrior(4, layers=1), device="cpu", seed=0)
    bits = gan.bits(images)
    bits[:, 0] = 1  # so that the distribution is not symmetric under reversed bits
    return gan, qh.QCBM(gan.prior.qcbm.circuit).fit(bits, max_evaluations=60), bits, images


def detected(run, images):
    """The faults that measurements of a run show."""
    codes, p = run.sample(4000), run.probabilities()
    index, counts = qh.to_index(codes), [np.bincount(qh.to_index(run.sample(300)), minlength=16) for _ in (0, 1)]
    as_is, reversed_ = (
        0.5 * abs(np.bincount(qh.to_index(c), minlength=16) / 4000 - p).sum() for c in (codes, codes[:, ::-1])
    )
    shows = {
        "reversed bits": as_is > 2 * reversed_,
        "frozen seed": (counts[0] == counts[1]).all() and len(set(index)) > 1,
        "too few evaluations": len(run.costs) < 4 + 2,
        "most frequent outcome": len(set(index)) == 1,
        "weights instead of activations": np.array_equal(run.bits(images), run.bits(1 - images)),
        "sorted shots": (np.diff(index) == 0).mean() > 0.9 and len(set(index)) > 1,
    }
    return [fault for fault, is_shown in shows.items() if is_shown]


@pytest.mark.parametrize("fault", nb11_break_it.FAULTS)
def test_a_run_has_its_fault_and_no_other(fault, healthy):
    gan, fit, bits, images = healthy
    run = nb11_break_it.FaultyRun(fault, gan, fit, bits)
    assert detected(run, images) == ([] if fault == "none" else [fault])


def test_four_runs_one_of_them_healthy(healthy):
    gan, fit, bits, _ = healthy
    assert list(nb11_break_it.unknown_runs(gan, fit, bits)) == list("ABCD")
    assert "none" in nb11_break_it._faults().values()


def test_a_run_without_a_circuit_is_refused(healthy):
    _, fit, bits, _ = healthy
    gan = qh.QAAN(qh.UniformPrior(4), device="cpu", seed=0)
    with pytest.raises(ValueError, match="gan must have a circuit as its prior, as QCBMPrior has; got UniformPrior"):
        nb11_break_it.unknown_runs(gan, fit, bits)
