"""The Makefile: its targets exist, and they set the environment up first."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import setup_env

ROOT = Path(__file__).resolve().parents[2]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed here")


def call_make(*arguments, folder=ROOT) -> str:
    """What make prints, without what a make that started the tests left in the environment."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")}
    command = [MAKE, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_alone_lists_targets_that_exist():
    targets = [line.split()[1] for line in call_make().splitlines()]
    assert {"lab", "quick", "test", "check", "lint", "notebooks", "clean"} <= set(targets)
    for target in targets:
        call_make("-n", target)  # fails where the target or what it needs is missing
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(targets) == set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())


@pytest.mark.parametrize("target", ["lab", "quick", "test", "check", "lint", "notebooks"])
def test_make_sets_up_where_needed_and_only_there(target, tmp_path):
    for name in ("Makefile", *setup_env.INPUTS):
        shutil.copy(ROOT / name, tmp_path)
    assert "setup_env.py .venv" in call_make("-n", target, folder=tmp_path)
    ready = tmp_path / ".venv" / ".ready"
    ready.parent.mkdir()
    ready.touch()
    assert "setup_env.py .venv" not in call_make("-n", target, folder=tmp_path)
    for name in setup_env.INPUTS:
        os.utime(tmp_path / name, (2**32, 2**32))
        assert "setup_env.py .venv" in call_make("-n", target, folder=tmp_path), name
        os.utime(tmp_path / name, (0, 0))
