"""requirements.txt lists every package once, and tools/requirements.py copies the list to where it is repeated."""

import importlib.util
import re
import shutil
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
REQUIREMENTS = [line for line in LINES if line and not line.startswith("#")]

spec = importlib.util.spec_from_file_location("requirements", ROOT / "tools" / "requirements.py")
requirements = importlib.util.module_from_spec(spec)
spec.loader.exec_module(requirements)


@pytest.fixture
def copy(tmp_path):
    """A copy of the files that list requirements."""
    (tmp_path / "binder").mkdir()
    for name in ("requirements.txt", "pyproject.toml", "binder/requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("line", REQUIREMENTS, ids=lambda line: line.split(">")[0])
def test_a_requirement_has_a_lowest_version_no_highest_and_a_reason(line):
    assert re.fullmatch(r"[a-z0-9-]+>=\d+(\.\d+)+(; python_version < '3\.\d+')? +# \S.{5,}", line)


def test_each_package_is_required_once():
    names = [line.split(">")[0] for line in REQUIREMENTS]
    assert len(set(names)) == len(names)


def test_the_lists_in_pyproject_and_binder_are_up_to_date():
    assert requirements.main(["--check"]) == 0, "run `python tools/requirements.py`"


def test_a_changed_requirement_is_reported_and_then_copied(copy, capsys):
    text = (copy / "requirements.txt").read_text(encoding="utf-8")
    text = text.replace("scipy>=1.16 ", "scipy>=9.9 ").replace("bokeh>=3.6 ", "bokeh>=8.8 ")
    (copy / "requirements.txt").write_text(text, encoding="utf-8")
    assert requirements.main(["--check"], copy) == 1
    assert capsys.readouterr().out.count("not up to date") == 2
    assert "scipy>=9.9" not in (copy / "pyproject.toml").read_text(encoding="utf-8")
    assert requirements.main([], copy) == 0 == requirements.main(["--check"], copy)
    project = tomllib.loads((copy / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "scipy>=9.9" in project["dependencies"] and "bokeh>=8.8" in project["optional-dependencies"]["sweep"]
    assert {"scipy>=9.9", "bokeh>=8.8"} <= set((copy / "binder" / "requirements.txt").read_text().splitlines())


def test_each_section_is_copied_where_it_belongs(copy):
    sections = {name: [f"{name}>=1"] for name in requirements.SECTIONS}
    lines = [line for name, items in sections.items() for line in (f"# [{name}] used somewhere", f"{items[0]}  # why")]
    (copy / "requirements.txt").write_text("\n".join(lines))
    requirements.main([], copy)
    project = tomllib.loads((copy / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert project["dependencies"] == ["dependencies>=1"]
    assert (extras["hardware"], extras["sweep"]) == (["hardware>=1"], ["sweep>=1"])
    assert extras["notebooks"] == ["qaan_helpers[hardware,sweep]", "notebooks>=1"]
    assert {"tools", "bench"} <= set(extras)  # these are not generated
    binder = [line for line in (copy / "binder" / "requirements.txt").read_text().splitlines() if line[0] != "#"]
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert binder == [index, *(sections[name][0] for name in sections if name != "development")]


@pytest.mark.parametrize(("text", "name"), [("torch>=1", "''"), ("# [swep] many\ntorch>=1  # why", "'swep'")])
def test_a_requirement_outside_the_known_sections_is_refused(text, name):
    with pytest.raises(ValueError, match=f"^torch>=1 must be in one of the sections dependencies, .*; got {name}$"):
        requirements.read_sections(text)
