"""The exercises' checks: the right answer is praised, each wrong one gets a hint that helps and does not tell."""

import inspect
import re

import numpy as np
import pytest
from qiskit import QuantumCircuit

from qaan_helpers import exercises, qcbm_ansatz


def circuit(n_qubits, *gates):
    """A circuit of gates by name and qubits, each turned by a quarter turn."""
    built = QuantumCircuit(n_qubits)
    for name, *qubits in gates:
        getattr(built, name)(np.pi / 2, *qubits)
    return built


# check: (right answers, [(wrong answer, what its hint says)], what no hint may hold)
CASES = {
    "check_rxx_pi": (
        [[0, 0, 0, 1], np.array([0.0, 0, 0, 1])],
        [
            ([0, 1], "four numbers"),
            ("everything", "type str.*four numbers"),
            ([0.5, 0, 0, 0], "add up to 1"),
            ([1, 0, 0, 0], "cos²"),
            ([0, 1, 0, 0], "both bits"),
        ],
        ["[0, 0, 0, 1]", "0, 0, 0, 1"],
    ),
    "check_secret_of_three": (
        [circuit(3, ("rxx", 0, 1), ("rxx", 1, 2)), circuit(3, ("rxx", 2, 0), ("rxx", 0, 1), ("rz", 1))],
        [
            (circuit(2, ("rxx", 0, 1)), "three qubits"),
            (circuit(3, ("rxx", 0, 1), ("rxx", 1, 2)).measure_all(inplace=False), "measurements"),
            (qcbm_ansatz(3, 1), "angle a number"),
            (circuit(3, ("rxx", 0, 1)), "Some pair"),
            (circuit(3, ("rx", 0), ("rx", 1), ("rx", 2)), "less than log 2"),
        ],
        ["RXX(", "rxx", "π/2", "(1, 2)"],
    ),
    "check_reach": (
        [[2, 4], (2, 4), np.array([2, 4])],
        [
            (2, "Two whole"),
            ([2], "Two whole"),
            ([1, 4], "chain"),
            ([3, 4], "one layer: rounding"),
            ([2, 2], "passes on"),
            ([2, 3], "exponent"),
            ([2, 7], "two layers: rounding"),
        ],
        ["[2, 4]", "(2, 4)", "distance 2", "distance 4"],
    ),
    "check_fourfold_shots": (
        [
            {"kl": 0.25, "variation": 0.5, "error": "halves"},
            {"kl": np.float64(0.24), "variation": 0.5, "error": "halves"},
        ],
        [
            ({"kl": 0.25}, "dictionary"),
            ({"kl": [], "variation": 0.5, "error": "halves"}, "dictionary"),
            ({"kl": 4.0, "variation": 0.5, "error": "halves"}, "bring KL down"),
            ({"kl": 0.06, "variation": 0.5, "error": "halves"}, "200 throws"),
            ({"kl": 0.25, "variation": 2.0, "error": "halves"}, "divide by which"),
            ({"kl": 0.25, "variation": 0.25, "error": "halves"}, "half the sum"),
            ({"kl": 0.25, "variation": 0.5, "error": "a half"}, "the words"),
            ({"kl": 0.25, "variation": 0.5, "error": "quarters"}, "squares"),
        ],
        ["0.25", "0.5", "root"],
    ),
}
CHECKS = {name for name, _ in inspect.getmembers(exercises, inspect.isfunction) if name.startswith("check_")}


def test_every_check_is_tried_here():
    assert set(CASES) == CHECKS


@pytest.mark.parametrize("name", CASES)
def test_right_answers_are_praised(name, capsys):
    for answer in CASES[name][0]:
        assert getattr(exercises, name)(answer) is True
        assert capsys.readouterr().out.startswith("Right. ")


@pytest.mark.parametrize("name", CASES)
def test_wrong_answers_get_a_hint_that_does_not_tell(name, capsys):
    for answer, hint in CASES[name][1]:
        assert getattr(exercises, name)(answer) is False
        told = capsys.readouterr().out
        assert told.startswith("Not yet. ")
        assert re.search(hint, told), told
        assert not any(secret in told for secret in CASES[name][2])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("odd", [None, "what?", [], {}, object(), float("nan"), np.zeros((2, 3))])
def test_odd_answers_are_no_crash(name, odd, capsys):
    assert getattr(exercises, name)(odd) is False
    assert capsys.readouterr().out.startswith("Not yet. ")


@pytest.mark.parametrize("name", CASES)
def test_a_stub_is_told_to_be_one(name, capsys):
    assert getattr(exercises, name)(...) is False
    assert capsys.readouterr().out.strip() == exercises.OPEN
