import re
import subprocess
import sys

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from qaan_helpers.course import opening


def test_the_environment_of_these_tests_is_complete_and_its_versions_are_printed(capsys):
    opening.check_environment("hardware", "sweep", "notebooks")
    printed = capsys.readouterr().out
    assert printed.startswith("Ready: ") and "torch 2." in printed and "qiskit-aer 0." in printed
    assert "Python 3." in printed


def test_what_is_missing_or_old_is_reported_all_at_once(monkeypatch):
    needed = ["numpy>=999", "no-such-package>=1.5", "pytest>=1", "no-such-either; python_version < '3'"]
    monkeypatch.setattr(opening, "requires", lambda _: needed)
    with pytest.raises(
        RuntimeError,
        match=r"^numpy is \d.* \(>=999 is needed\); no-such-package is missing \(>=1.5 is needed\)\. Run `pip install ",
    ) as raised:
        opening.check_environment()
    assert "either" not in str(raised.value) and "pytest" not in str(raised.value)


def test_an_extra_is_required_only_by_those_who_ask_for_it(monkeypatch, capsys):
    monkeypatch.setattr(opening, "requires", lambda _: ["no-such-package; extra == 'hardware'"])
    opening.check_environment("sweep")
    assert capsys.readouterr().out.startswith("Ready")
    with pytest.raises(RuntimeError, match="no-such-package is missing"):
        opening.check_environment("sweep", "hardware")


@pytest.mark.parametrize("metadata", [None, [], ["qaan_helpers[hardware]; extra == 'notebooks'"]])
def test_metadata_without_requirements_of_other_packages_is_enough(metadata, monkeypatch, capsys):
    monkeypatch.setattr(opening, "requires", lambda _: metadata)
    opening.check_environment("notebooks")
    assert capsys.readouterr().out.startswith("Ready")


def test_the_road_map_highlights_the_stages_of_a_notebook():
    axis = opening.road_map("bits", "latent codes").axes[0]
    boxes = [to_hex(patch.get_facecolor()) for patch in axis.patches if isinstance(patch, FancyBboxPatch)]
    labels = [text.get_text() for text in axis.texts if text.get_text() in opening.STAGES]
    assert labels == list(opening.STAGES)
    highlighted = {label for label, color in zip(labels, boxes, strict=True) if color == "#0072b2"}
    assert highlighted == {"bits", "latent codes"}


def test_a_notebook_opens_with_versions_the_road_map_and_a_running_stopwatch(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("qaan_helpers.lab.plots.display", shown.append)
    watch = opening.start("bits", "circuit", extras=["notebooks"])
    assert capsys.readouterr().out.startswith("Ready")
    assert shown[0].alt == "The loop of the series in eight stages. This notebook covers: bits, circuit."
    assert re.match(r"This notebook took \d+ s and ", str(watch))


def test_an_opening_asks_for_the_extras_of_its_notebook(monkeypatch):
    monkeypatch.setattr(opening, "requires", lambda _: ["no-such-package; extra == 'hardware'"])
    with pytest.raises(RuntimeError, match="no-such-package is missing"):
        opening.start("bits", extras=["hardware"])


def test_numbers_are_recorded_by_name(capsys):
    opening.record(distance="14.8", fraction="97%")
    assert capsys.readouterr().out == "distance: 14.8\nfraction: 97%\n"


def test_the_road_map_refuses_an_unknown_stage():
    message = f"here must be stages out of {', '.join(opening.STAGES)}; got 'codes', 'home'"
    with pytest.raises(ValueError, match=re.escape(message)):
        opening.road_map("codes", "bits", "home")


def test_a_stopwatch_prints_seconds_and_gigabytes():
    assert re.fullmatch(r"This notebook took \d+ s and \d+\.\d\d GB of memory at its peak\.", str(opening.Stopwatch()))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not record the memory of processes that ended")
def test_the_memory_of_workers_that_ended_is_measured():
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'len(b\"x\" * 10**6 * {})'], check=True);"
    outer = "from qaan_helpers.course import opening; print(opening.peak_memory(of_workers=True))"
    small, large = (
        subprocess.run([sys.executable, "-c", inner.format(size) + outer], capture_output=True, text=True, check=True)
        for size in (1, 500)
    )
    assert int(small.stdout) < 200e6 < 500e6 < int(large.stdout) < 700e6
