"""Checks of numbers that every module shares."""

import math
from fractions import Fraction

import numpy as np
import pytest

from qaan_helpers.checks import check_integer, check_positive


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(2)])
def test_integers_pass_as_int(value):
    checked = check_integer("layers", value)
    assert checked == value
    assert type(checked) is int


@pytest.mark.parametrize("value", [0, -1, 2.0, "3", None, True, np.float64(4), float("nan")])
def test_anything_else_is_refused_by_name_and_value(value):
    with pytest.raises(ValueError) as refused:
        check_integer("layers", value)
    assert str(refused.value) == f"layers must be an integer ≥ 1; got {value!r}"


def test_the_minimum_can_be_another():
    assert check_integer("epoch", 0, 0) == 0
    with pytest.raises(ValueError, match="^epoch must be an integer ≥ 5; got 4$"):
        check_integer("epoch", 4, 5)


def test_there_can_be_a_maximum():
    assert check_integer("shots", 1000, maximum=1000) == 1000
    for value in (1001, 0):
        with pytest.raises(ValueError, match=f"^shots must be an integer in 1–1,000; got {value}$"):
            check_integer("shots", value, maximum=1000)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.25), Fraction(1, 2)])
def test_positive_numbers_pass_as_float(value):
    checked = check_positive("step", value)
    assert checked == value
    assert type(checked) is float


@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan, True, "1", None, 1j])
def test_what_is_not_a_positive_finite_number_is_refused(value):
    with pytest.raises(ValueError) as refused:
        check_positive("step", value)
    assert str(refused.value) == f"step must be a positive finite number; got {value!r}"
