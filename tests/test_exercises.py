"""The exercises' checks: the right answer is praised, each wrong one gets a hint that helps and does not tell."""

import inspect
import re

import numpy as np
import pytest

from qaan_helpers import exercises

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
