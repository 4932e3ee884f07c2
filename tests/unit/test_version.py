"""The version is written in qaan_helpers/__init__.py and nowhere else."""

import re
import tomllib
from pathlib import Path

import pytest

import qaan_helpers as qh

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_written_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", qh.__version__)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["dynamic"] == ["version"] and "version" not in project
    assert not re.search("^version:", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)


def test_a_build_reads_that_version():
    pytest.importorskip("setuptools")
    from setuptools.config.pyprojecttoml import read_configuration

    assert read_configuration(ROOT / "pyproject.toml")["project"]["version"] == qh.__version__
