"""The check of whole numbers that every module calls."""

import numpy as np
import pytest

from qaan_helpers.checks import check_integer


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(2)])
def test_whole_numbers_pass_as_int(value):
    checked = check_integer("layers", value)
    assert checked == value
    assert type(checked) is int


@pytest.mark.parametrize("value", [0, -1, 2.0, "3", None, True, np.float64(4), float("nan")])
def test_anything_else_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"^layers is .*whole number of 1 or more"):
        check_integer("layers", value)


def test_the_least_can_be_another():
    assert check_integer("epoch", 0, 0) == 0
    with pytest.raises(ValueError, match="whole number of 5 or more"):
        check_integer("epoch", 4, 5)


def test_there_can_be_a_most():
    assert check_integer("shots", 10, most=10) == 10
    with pytest.raises(ValueError, match="shots is 11; it must be 10 or less"):
        check_integer("shots", 11, most=10)
