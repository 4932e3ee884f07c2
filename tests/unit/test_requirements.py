"""requirements.txt, and what repeats its lines."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
REQUIREMENT_LINES = [line for line in REQUIREMENTS if line and not line.startswith("#")]


@pytest.mark.parametrize("line", REQUIREMENT_LINES, ids=lambda line: line.split(">")[0])
def test_a_requirement_has_a_lowest_version_no_highest_and_a_reason(line):
    assert re.fullmatch(r"[a-z0-9-]+>=\d+(\.\d+)+ +# \S.{5,}", line)


def test_pyproject_repeats_lines_of_requirements_txt():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line.split("#")[0].strip() for line in REQUIREMENT_LINES]
    assert len(lines) == len(set(lines))
    assert len(project["dependencies"]) == 17
    assert set(project["dependencies"]) <= set(lines)
    for extra in ("hardware", "sweep"):
        assert set(project["optional-dependencies"][extra]) <= set(lines)
    assert set(project["optional-dependencies"]["notebooks"]) <= {"qaan_helpers[hardware,sweep]", *lines}
