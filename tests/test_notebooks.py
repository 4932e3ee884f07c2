"""The notebooks' form: opening, closing, cell length, alternative texts, links, and times as measured."""

import json
import re
from pathlib import Path

import pytest

from qaan_helpers import exercises

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MEASURED = re.compile(r"This notebook took (\d+) s and ([\d.]+) GB")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    """The cells of one kind that are written by hand, with their source as one text."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    ours = [
        cell for cell in found if cell["cell_type"] == kind and "navigation" not in cell["metadata"].get("tags", ())
    ]
    return [{**cell, "source": "".join(cell["source"])} for cell in ours]


def measured(path):
    """Seconds and GB, as the last cell of the stored run printed them."""
    seconds, memory = MEASURED.search(json.dumps(cells(path, "code")[-1]["outputs"])).groups()
    return int(seconds), float(memory)


def test_those_that_are_written_are_there():
    names = ["00_play", "01_mnist", "02_dcgan", "03_qcbm_circuit", "04_qcbm_cobyla", "05_associative_training"]
    names += ["08_noise_and_hardware"]
    assert [path.stem for path in NOTEBOOKS] == names


@each
def test_opening_and_closing(path):
    texts = [cell["source"] for cell in cells(path, "markdown")]
    assert texts[0].startswith(f"# {int(path.stem[:2])} · ")
    for part in ("**You will be able to**", "**You need**", "**Takes** about"):
        assert part in texts[0]
    everything = "\n".join(texts)
    assert everything.index("## What you have seen") < everything.index("## Exercises")
    asked = everything.split("## Exercises")[1]
    headings = re.findall(r"^### Exercise (\d) · ", asked, re.MULTILINE)
    numbers = headings or re.findall(r"^(\d)\. ", asked, re.MULTILINE)
    assert len(numbers) >= 3 and numbers == [str(i) for i in range(1, len(numbers) + 1)]
    code = [cell["source"] for cell in cells(path, "code")]
    assert "notebook.check_environment()" in code[0]
    assert "notebook.road_map(" in code[1]
    assert code[-1] == "print(watch)"


def checks(path):
    """The calls of exercises' checks in a notebook: name, and the text that the call printed when it was stored."""
    for cell in cells(path, "code"):
        told = "".join(text for output in cell["outputs"] for text in output.get("text", []))
        for name in re.findall(r"exercises\.(check_\w+)\(", cell["source"]):
            yield name, told


@each
def test_each_exercise_is_open_in_the_notebook_and_solved_beside_it(path):
    asked = dict(checks(path))
    solution = path.parent / "solutions" / f"{path.stem}_solutions.ipynb"
    if not asked:
        assert not solution.exists()
        return
    last = "\n".join(cell["source"] for cell in cells(path, "markdown")).split("## Exercises")[1]
    assert len(asked) == last.count("### Exercise ")
    assert f"](solutions/{solution.name})" in last
    assert all(told.strip() == exercises.OPEN for told in asked.values())
    solved = dict(checks(solution))
    assert list(solved) == list(asked)
    assert all(re.search("^Right[.] ", told, re.MULTILINE) for told in solved.values())


@each
def test_time_and_memory_are_those_of_the_stored_run(path):
    seconds, memory = measured(path)
    assert seconds <= 150
    assert memory <= 1.5
    told = re.search(r"\*\*Takes\*\* about (\d+) s and ([\d.]+) GB", cells(path, "markdown")[0]["source"])
    assert 0.5 <= int(told[1]) / max(seconds, 1) <= 2 or abs(int(told[1]) - seconds) <= 5
    assert abs(float(told[2]) - memory) <= 0.3
    row = re.search(
        rf"\({re.escape(f'notebooks/{path.name}')}\).*\| (\d+) s \| ([\d.]+) GB \|", (ROOT / "README.md").read_text()
    )
    assert (int(row[1]), float(row[2])) == (seconds, memory)


@each
def test_cells_are_short_and_figures_have_alternative_texts(path):
    lines = [len([line for line in cell["source"].splitlines() if line.strip()]) for cell in cells(path, "code")]
    assert max(lines) <= 25
    assert sorted(lines)[len(lines) // 2] <= 7
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                assert output["metadata"]["image/png"]["alt"].endswith(".")
                assert len(output["data"]["image/png"]) * 3 / 4 <= 120_000


def test_panels_are_pictures_where_widgets_cannot_run():
    path = ROOT / "notebooks" / "00_play.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert "widgets" not in notebook["metadata"]  # with their state stored, such pages would show nothing
    panels = [output["data"] for cell in cells(path, "code") for output in cell["outputs"] if "data" in output]
    panels = [data for data in panels if "application/vnd.jupyter.widget-view+json" in data]
    assert len(panels) == 4 and all("image/png" in data for data in panels)


@each
def test_size_and_stderr(path):
    assert path.stat().st_size <= 1_000_000
    for cell in cells(path, "code"):
        assert not any(output.get("name") == "stderr" for output in cell["outputs"])
