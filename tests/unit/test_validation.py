"""Tables of options: what pydantic refuses is reported in one line with the path, the rule and the value."""

import subprocess
import sys
from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from qaan_helpers.validation import validated, validation_message


class Options(BaseModel):
    """A model with a rule of each kind."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    steps: int = Field(ge=1, description="an integer of at least 1")
    rate: float = Field(0.5, gt=0, lt=1, description="a number between 0 and 1")
    kind: Literal["a", "b"] = "a"
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], description="a list of integers of at least 0")

    @field_validator("seeds")
    @classmethod
    def different(cls, seeds):
        if len(set(seeds)) < len(seeds):
            raise ValueError("must hold different integers")
        return seeds

    @model_validator(mode="after")
    def fitting(self):
        if self.steps == 13:
            raise ValueError("13 steps do not fit any rate")
        return self


def test_a_valid_table_becomes_an_instance_with_defaults():
    assert validated(Options, {"steps": 3, "kind": "b"}) == Options(steps=3, kind="b")


def test_numpy_numbers_count_as_python_numbers():
    options = validated(Options, {"steps": np.int64(3), "rate": np.float32(0.25)})
    assert (options.steps, options.rate) == (3, 0.25)
    assert type(options.steps) is int


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"steps": 0}, "arms.x.steps must be an integer of at least 1; got 0"),
        ({"steps": True}, "arms.x.steps must be an integer of at least 1; got True"),
        ({"steps": np.bool_(True)}, "arms.x.steps must be an integer of at least 1; got True"),
        ({"steps": 2.0}, "arms.x.steps must be an integer of at least 1; got 2.0"),
        ({"steps": "2"}, "arms.x.steps must be an integer of at least 1; got '2'"),
        ({"steps": 1, "rate": float("nan")}, "arms.x.rate must be a number between 0 and 1; got nan"),
        ({"steps": 1, "kind": "c"}, "arms.x.kind must be 'a' or 'b'; got 'c'"),
        ({"steps": 1, "seeds": 3}, "arms.x.seeds must be a list of integers of at least 0; got 3"),
        ({"steps": 1, "seeds": [1, -1]}, "arms.x.seeds must be a list of integers of at least 0; got -1 at seeds[1]"),
        ({"steps": 1, "seeds": [1, 1]}, "arms.x.seeds must hold different integers; got [1, 1]"),
        ({}, "arms.x.steps is missing; it must be an integer of at least 1"),
        ({"stops": 1}, "arms.x.stops is not a known name; choose from steps, rate, kind, seeds"),
        ({"steps": 13}, "arms.x: 13 steps do not fit any rate"),
        (5, "arms.x must be a table of steps, rate, kind, seeds; got 5"),
    ],
)
def test_a_refusal_names_path_rule_and_value(table, message):
    with pytest.raises(ValueError) as refused:
        validated(Options, table, "arms.x")
    assert str(refused.value) == message
    assert not isinstance(refused.value, ValidationError)


def test_a_table_without_a_path_is_reported_by_its_names():
    with pytest.raises(ValueError, match=r"^steps must be an integer of at least 1; got 0$"):
        validated(Options, {"steps": 0})


def test_a_message_stays_on_one_line_of_bounded_length():
    with pytest.raises(ValueError, match="steps must be an integer") as refused:
        validated(Options, {"steps": np.zeros((30, 30))})
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_pydantics_own_error_can_be_turned_into_the_same_message():
    with pytest.raises(ValidationError) as refused:
        Options(steps=0)
    assert validation_message(refused.value, Options) == "steps must be an integer of at least 1; got 0"


def test_checks_load_pydantic_at_first_use_only():
    code = "import sys, qaan_helpers.checks; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
