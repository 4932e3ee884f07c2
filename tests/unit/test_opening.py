import subprocess
import sys

import pytest

from qaan_helpers.course import opening


def test_the_environment_of_these_tests_is_whole_and_its_versions_are_told(capsys):
    opening.check_environment("hardware", "sweep", "notebooks")
    told = capsys.readouterr().out
    assert told.startswith("Ready: ") and "torch 2." in told and "qiskit-aer 0." in told and "Python 3." in told


def test_what_is_missing_or_old_is_named_all_at_once(monkeypatch):
    needed = ["numpy>=999", "no-such-package>=1.5", "pytest>=1", "no-such-either; python_version < '3'"]
    monkeypatch.setattr(opening, "requires", lambda _: needed)
    with pytest.raises(
        RuntimeError, match="numpy .* \\(>=999 is needed\\); no-such-package is missing .*Type `pip"
    ) as raised:
        opening.check_environment()
    assert "either" not in str(raised.value) and "pytest" not in str(raised.value)


def test_an_extra_is_asked_for_only_by_those_who_need_it(monkeypatch, capsys):
    monkeypatch.setattr(opening, "requires", lambda _: ["no-such-package; extra == 'hardware'"])
    opening.check_environment("sweep")
    assert capsys.readouterr().out.startswith("Ready")
    with pytest.raises(RuntimeError, match="no-such-package is missing"):
        opening.check_environment("sweep", "hardware")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no record of the memory of processes that ended")
def test_the_memory_of_workers_that_ended_is_known():
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'len(b\"x\" * 10**6 * {})'], check=True);"
    outer = "from qaan_helpers.course import opening; print(opening.peak_memory(of_workers=True))"
    small, large = (
        subprocess.run([sys.executable, "-c", inner.format(size) + outer], capture_output=True, text=True, check=True)
        for size in (1, 500)
    )
    assert int(small.stdout) < 200e6 < 500e6 < int(large.stdout) < 700e6
