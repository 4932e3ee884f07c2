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
    named = [[ast.literal_eval(a) for a in call.args] for call in calls if ast.unparse(call.func) == "guard"]
    assert {fault: f"{file}::{test}" for fault, file, test in named} == {
        fault: test for fault, (_, test) in FAULTS.items()
    }


def test_one_line_switches_each_fault_on(code):
    lines = [line for cell in code for line in cell.splitlines() if re.search(r"# switch\b", line)]
    assert len(lines) == len(FAULTS) == 7


def test_patients_have_those_faults():
    assert set(nb11_break_it.FAULTS) - {"none"} == set(FAULTS) - {"over-strong discriminator"}


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


# The patients of its second exercise


@pytest.fixture(scope="module")
def healthy():
    """A small model, a fit to its bits, the bits, and their images."""
    sample = qh.load_mnist((3, 7), source="sample")
    images = sample.images[::40]
    gan = qh.QAAN(qh.QCBMPrior(4, layers=1), device="cpu", seed=0)
    bits = gan.bits(images)
    bits[:, 0] = 1  # so that the distribution is not symmetric under reversed bits
    return gan, qh.QCBM(gan.prior.qcbm.circuit).fit(bits, max_evaluations=60), bits, images


def detected(patient, images):
    """The faults that measurements of a patient show."""
    codes, p = patient.sample(4000), patient.probabilities()
    index, counts = qh.to_index(codes), [np.bincount(qh.to_index(patient.sample(300)), minlength=16) for _ in (0, 1)]
    as_is, reversed_ = (
        0.5 * abs(np.bincount(qh.to_index(c), minlength=16) / 4000 - p).sum() for c in (codes, codes[:, ::-1])
    )
    shows = {
        "reversed bits": as_is > 2 * reversed_,
        "frozen seed": (counts[0] == counts[1]).all() and len(set(index)) > 1,
        "COBYLA under budget": len(patient.costs) < 4 + 2,
        "collapsed prior": len(set(index)) == 1,
        "weights for activations": np.array_equal(patient.bits(images), patient.bits(1 - images)),
        "sorted shots": (np.diff(index) == 0).mean() > 0.9 and len(set(index)) > 1,
    }
    return [fault for fault, is_shown in shows.items() if is_shown]


@pytest.mark.parametrize("fault", nb11_break_it.FAULTS)
def test_a_patient_has_its_fault_and_no_other(fault, healthy):
    gan, fit, bits, images = healthy
    patient = nb11_break_it.Patient(fault, gan, fit, bits)
    assert detected(patient, images) == ([] if fault == "none" else [fault])


def test_four_patients_one_of_them_healthy(healthy):
    gan, fit, bits, _ = healthy
    assert list(nb11_break_it.patients(gan, fit, bits)) == list("ABCD")
    assert "none" in nb11_break_it._faults().values()


def test_a_patient_without_a_circuit_is_refused(healthy):
    _, fit, bits, _ = healthy
    gan = qh.QAAN(qh.UniformPrior(4), device="cpu", seed=0)
    with pytest.raises(ValueError, match="gan must have a circuit as its prior, as QCBMPrior has; got UniformPrior"):
        nb11_break_it.patients(gan, fit, bits)
