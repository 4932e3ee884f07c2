"""The guards that notebook 10 names: each is a test that is there, and that fails once its fault is in the package."""

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
from qaan_helpers.course import exercises

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "unit"
NOTEBOOK = HERE.parents[1] / "notebooks" / "10_break_it.ipynb"


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
    assert set(exercises.FAULTS) - {"none"} == set(FAULTS) - {"over-strong discriminator"}


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
    """By what it asserts, and not by an error that the fault as it is put in here makes on the way."""
    told = re.findall(rf"^(?:FAILED|ERROR) .*{re.escape(FAULTS[fault][1])}\S*.* - (.*)", with_faults, re.MULTILINE)
    assert told, with_faults
    assert all(re.match("assert |AssertionError|Failed: DID NOT RAISE", why) for why in told), told


# The patients of its second exercise


@pytest.fixture(scope="module")
def ward():
    """A small model, a fit to its bits, and the images that they are of."""
    sample = qh.load_mnist((3, 7), source="sample")
    images = sample.images[::40]
    gan = qh.QAAN(qh.QCBMPrior(4, layers=1), device="cpu", seed=0)
    bits = gan.bits(images)
    bits[:, 0] = 1  # so that its codes are not their own mirror image
    return gan, qh.QCBM(gan.prior.qcbm.circuit).fit(bits, max_evaluations=60), bits, images


def numbers(patient, images):
    """What tells each fault: 1 where it is, 0 where it is not."""
    codes, p = patient.sample(4000), patient.probabilities()
    index, counts = qh.to_index(codes), [np.bincount(qh.to_index(patient.sample(300)), minlength=16) for _ in (0, 1)]
    there, back = (
        0.5 * abs(np.bincount(qh.to_index(c), minlength=16) / 4000 - p).sum() for c in (codes, codes[:, ::-1])
    )
    told = {
        "reversed bits": there > 2 * back,
        "frozen seed": (counts[0] == counts[1]).all() and len(set(index)) > 1,
        "COBYLA under budget": len(patient.costs) < 4 + 2,
        "collapsed prior": len(set(index)) == 1,
        "weights for activations": np.array_equal(patient.bits(images), patient.bits(1 - images)),
        "sorted shots": (np.diff(index) == 0).mean() > 0.9 and len(set(index)) > 1,
    }
    return [fault for fault, there in told.items() if there]


@pytest.mark.parametrize("fault", exercises.FAULTS)
def test_a_patient_has_its_fault_and_no_other(fault, ward):
    gan, fit, bits, images = ward
    patient = exercises.Patient(fault, gan, fit, bits)
    assert numbers(patient, images) == ([] if fault == "none" else [fault])


def test_four_patients_one_of_them_well(ward):
    gan, fit, bits, _ = ward
    assert list(exercises.patients(gan, fit, bits)) == list("ABCD")
    assert "none" in exercises._ill().values()
