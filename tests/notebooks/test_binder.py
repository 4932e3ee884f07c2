"""binder/: what mybinder.org builds from it, according to repo2docker."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
needs_repo2docker = pytest.mark.skipif(
    find_spec("repo2docker") is None, reason="needs repo2docker: pip install -e .[tools]"
)


@pytest.fixture(scope="module")
def dockerfile():
    """The Dockerfile that repo2docker would build."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", "."]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


@needs_repo2docker
def test_binder_builds_with_python_3_11_and_nothing_else(dockerfile):
    assert "Building conda environment for python=3.11" in dockerfile
    runs = re.findall(r"^RUN .*(binder/\S+)", dockerfile, re.MULTILINE)
    parts = ["requirements.txt", "postBuild", "postBuild", "start"]  # the last two lines make theirs executable
    assert [run.strip('"') for run in runs] == [f"binder/{part}" for part in parts]
    assert re.search(r'^ENV R2D_ENTRYPOINT="?\S*binder/start"?$', dockerfile, re.MULTILINE)


@needs_repo2docker
def test_packages_are_cached_and_the_project_is_installed_after_it_was_copied(dockerfile):
    parts = ("pip install --no-cache-dir -r", "COPY --chown=0:0 src/ ", "RUN ./binder/postBuild")
    places = [dockerfile.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission")
def test_post_build_can_be_run_and_installs_the_project_only():
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!") and "--no-deps -e ." in text


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permission")
def test_what_binder_starts_has_one_thread():
    script = ROOT / "binder" / "start"
    assert os.access(script, os.X_OK)
    told = subprocess.run([script, "printenv", "OMP_NUM_THREADS"], capture_output=True, text=True, check=True)
    assert told.stdout == "1\n"
