"""Links lead to existing files and headings, and what tools/navigation.py writes is up to date."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "navigation.py"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("[0-9]*.ipynb"))
PAGES = (
    sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "qaan_helpers").rglob("*.md"))
)
BADGES = ["--repository", "https://github.com/someone/somewhere"]
every_notebook = pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: path.stem)

spec = importlib.util.spec_from_file_location("navigation", SCRIPT)
navigation = importlib.util.module_from_spec(spec)
spec.loader.exec_module(navigation)


def prose(path):
    """The Markdown of a page or a notebook without code, which holds no links."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"(```|`).*?\1", "", text, flags=re.DOTALL)


def targets(path):
    """The targets of the links and pictures of a page or a notebook."""
    text = prose(path)
    return re.findall(r"\]\(\s*([^)\s]*)", text) + re.findall(r"""(?:href|src)=["']([^"']*)""", text)


def anchors(path):
    """The headings of a page as GitHub names them, or those of a notebook as JupyterLab does."""
    text = path.read_text(encoding="utf-8") if path.suffix == ".md" else prose(path)
    headings = re.findall(r"^#{1,6} +(.*?) *#* *$", text, re.M)
    if path.suffix == ".ipynb":
        return {heading.replace(" ", "-") for heading in headings}
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def fault(path, target):
    """What is wrong with a link; falsy for a good one."""
    place = urlsplit(target)
    if place.scheme == "data":
        return not re.fullmatch("image/png;base64,[A-Za-z0-9+/]+=*", place.path) and f"{target[:40]} is not a picture"
    if place.scheme:
        good = place.scheme == "https" and place.hostname and "." in place.hostname
        return not good and f"{target} is not an address"
    there = (path.parent / place.path).resolve() if place.path else path
    if not there.is_relative_to(ROOT) or not there.exists():
        return f"{target}: the file does not exist"
    return bool(place.fragment) and place.fragment not in anchors(there) and f"{target}: the heading does not exist"


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, *SOLUTIONS], ids=lambda path: path.stem)
def test_links_lead_to_an_existing_file_and_heading(path):
    assert not [wrong for target in targets(path) if (wrong := fault(path, target))]


def test_a_wrong_link_is_reported():
    readme = ROOT / "README.md"
    assert not fault(readme, "notebooks/00_play.ipynb#Change-the-bits-of-a-code")
    assert not fault(NOTEBOOKS[0], "../README.md#notebooks")
    for wrong in (
        "notebooks/99.ipynb",
        "../elsewhere",
        "#nowhere",
        "notebooks/00_play.ipynb#change-the-bits-of-a-code",
        "http://a.b",
        "",
    ):
        assert bool(fault(readme, wrong)) == bool(wrong), wrong
    assert {"notebooks/00_play.ipynb", "LICENSE"} <= set(targets(readme))


def test_the_readme_lists_every_notebook_in_order():
    listed = re.findall(
        r"^\| \[(\d+) · [^]]+\]\(notebooks/([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"), re.M
    )
    assert [name for _, name in listed] == [path.name for path in NOTEBOOKS]
    assert [int(number) for number, _ in listed] == [int(path.name[:2]) for path in NOTEBOOKS]


def test_navigation_is_up_to_date():
    checked = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, ""), f"run `python {SCRIPT.relative_to(ROOT)}`: {checked.stdout}"


def links(cell):
    """The texts and targets of the links to notebooks and contents in a cell."""
    return re.findall(r"(?<!!)\[([^]!]+)\]\(([^)]+)\)", cell.source)


@every_notebook
def test_a_notebook_begins_and_ends_with_links_to_its_neighbors(path):
    cells = nbformat.read(path, as_version=4).cells
    top, bottom = cells[0], cells[-1]
    family = SOLUTIONS if path in SOLUTIONS else NOTEBOOKS
    at = family.index(path)
    expected = [family[at - 1].name] if at else []
    expected += [f"../{path.name.replace('_solutions', '')}"] if family is SOLUTIONS else []
    expected += [f"{'../' if family is NOTEBOOKS else '../../'}README.md#notebooks"]
    expected += [family[at + 1].name] if at + 1 < len(family) else []
    for cell in (top, bottom):
        assert [target for _, target in links(cell)] == expected
        for text, target in links(cell):
            number = re.match(r"(?:\.\./)?(\d\d)_", target)
            assert (str(int(number[1])) in text) if number else text == "contents"
    assert "mybinder" not in bottom.source
    assert ("shut down this kernel" in bottom.source) == (path != family[-1])


@pytest.fixture
def copy(tmp_path):
    """A project of three small notebooks, one with a line of links written by hand, and one solution."""
    (tmp_path / "notebooks" / "solutions").mkdir(parents=True)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(navigation.with_address(settings, ""), encoding="utf-8")
    (tmp_path / "README.md").write_text("# Title\n\n## Notebooks\n")
    endings = (
        "See [contents](../README.md).",
        "An end.\n\n[← 0](00_a.ipynb) · [contents](../README.md)",
        "[contents](../README.md)",
    )
    for name, ending in zip(("00_a", "01_b", "10_c"), endings, strict=True):
        book = nbformat.v4.new_notebook()
        output = nbformat.v4.new_output("display_data", {"text/plain": "µ ± 1"}, metadata={"image/png": {"alt": "x"}})
        code = nbformat.v4.new_code_cell("1 + 1", outputs=[output], execution_count=1)
        new = nbformat.v4.new_markdown_cell
        book.cells = [new(f"# {int(name[:2])} · Name {name[-1]}: and more"), code, new(ending)]
        nbformat.write(book, tmp_path / "notebooks" / f"{name}.ipynb")
    shutil.copy(tmp_path / "notebooks" / "01_b.ipynb", tmp_path / "notebooks" / "solutions" / "01_b_solutions.ipynb")
    return tmp_path


def books(root):
    return {path.name: nbformat.read(path, as_version=4).cells for path in sorted(root.rglob("*.ipynb"))}


def test_a_second_run_changes_nothing_and_check_writes_nothing(copy, capsys):
    before = {path: path.read_text() for path in copy.rglob("*.*") if path.is_file()}
    assert navigation.main(["--check", *BADGES], copy) == 1
    assert {path: path.read_text() for path in before} == before
    assert capsys.readouterr().out.count("not up to date") == 6  # four notebooks, the README and pyproject.toml
    assert navigation.main(BADGES, copy) == 0
    written = {path: path.read_bytes() for path in before}
    assert navigation.main(["--check"], copy) == 0 == navigation.main([], copy)
    assert {path: path.read_bytes() for path in before} == written


def test_only_two_cells_are_added_and_a_line_of_links_written_by_hand_is_replaced(copy):
    before = books(copy)
    navigation.main([], copy)
    after = books(copy)
    assert after["00_a.ipynb"][1:-1] == before["00_a.ipynb"]  # its link is part of a sentence
    first, code, last = after["01_b.ipynb"][1:-1]
    assert [first, code] == before["01_b.ipynb"][:2] and last.source == "An end."
    assert after["10_c.ipynb"][1:-1] == before["10_c.ipynb"][:2]  # nothing was left of its last cell
    assert links(after["10_c.ipynb"][-1]) == [("← 1 · Name b", "01_b.ipynb"), ("contents", "../README.md#notebooks")]
    assert '"µ ± 1"' in (copy / "notebooks" / "00_a.ipynb").read_text(encoding="utf-8")  # as nbformat writes it


def test_a_new_notebook_changes_its_neighbors(copy):
    navigation.main([], copy)
    (copy / "notebooks" / "01_b.ipynb").rename(copy / "notebooks" / "02_b.ipynb")
    (copy / "notebooks" / "solutions" / "01_b_solutions.ipynb").unlink()
    navigation.main([], copy)
    assert "](02_b.ipynb)" in books(copy)["10_c.ipynb"][0].source


def test_badges_are_there_only_with_an_address_which_is_stored(copy):
    navigation.main([], copy)
    without = {path: path.read_text(encoding="utf-8") for path in copy.rglob("*.*") if path.is_file()}
    assert not [path for path, text in without.items() if "mybinder.org" in text or "git clone" in text]
    navigation.main(BADGES, copy)
    navigation.main(["--repository", "https://github.com/someone-else/some.where.git/"], copy)
    navigation.main([], copy)  # the address stays
    project = tomllib.loads((copy / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"] == {"Repository": "https://github.com/someone-else/some.where"}
    for name, cells in books(copy).items():
        place, top = f"notebooks/{'solutions/' * ('solutions' in name)}{name}", cells[0].source
        assert f"](https://mybinder.org/v2/gh/someone-else/some.where/main?urlpath=lab/tree/{place})" in top
        assert f"](https://colab.research.google.com/github/someone-else/some.where/blob/main/{place})" in top
        assert "git clone -q https://github.com/someone-else/some.where qaan" in top
    readme = (copy / "README.md").read_text()
    assert readme.startswith("# Title\n\n[![Open on Binder]") and readme.endswith(")\n\n## Notebooks\n")
    assert readme.count("gh/someone-else/some.where/main?urlpath=lab/tree/notebooks/00_a.ipynb") == 1
    navigation.main(["--repository", ""], copy)
    assert {path: path.read_text(encoding="utf-8") for path in without} == without


def test_an_exercise_shows_the_picture_of_its_solution_but_a_prediction_does_not(copy):
    path, solution = copy / "notebooks/01_b.ipynb", copy / "notebooks/solutions/01_b_solutions.ipynb"
    png, new = "aGVsbG8=", nbformat.v4.new_markdown_cell
    output = nbformat.v4.new_output("display_data", {"image/png": png}, metadata={"image/png": {"alt": "A curve."}})
    for file, level, outputs in ((path, "###", []), (solution, "##", [output, output])):
        book = nbformat.read(file, as_version=4)
        for heading in ("Exercise 1 · Predict: a", "Exercise 2 · Change: b", "Exercise 3 · Experiment: c"):
            shown = [] if "Experiment" in heading else outputs
            book.cells += [new(f"{level} {heading}"), nbformat.v4.new_code_cell("2", outputs=shown)]
        nbformat.write(book, file)
    for _ in range(2):  # a second run adds no second picture
        assert navigation.main([], copy) == 0
    cells = books(copy)["01_b.ipynb"]
    (at,) = (at for at, cell in enumerate(cells) if "data:image" in cell.source)
    assert "Exercise 2" in cells[at - 2].source
    assert f"![A curve.](data:image/png;base64,{png})" in cells[at].source
    assert fault(path, f"data:image/png;base64,{png}") is False and fault(path, "data:text/html,hello")


def test_an_exercise_with_a_level_shows_only_a_picture_that_is_tagged(copy):
    path, solution = copy / "notebooks/01_b.ipynb", copy / "notebooks/solutions/01_b_solutions.ipynb"
    new = nbformat.v4.new_markdown_cell
    for file, level, with_outputs in ((path, "###", False), (solution, "##", True)):
        book = nbformat.read(file, as_version=4)
        for heading, png, tags in (
            ("Exercise 1 · Check: a", "YQ==", []),
            ("Exercise 2 · Apply: b", "Yg==", ["expected"]),
            ("Exercise 3 · Explore: c", "Yw==", []),
        ):
            output = nbformat.v4.new_output("display_data", {"image/png": png}, metadata={"image/png": {"alt": "Two."}})
            outputs = [output] if with_outputs else []
            book.cells += [
                new(f"{level} {heading}"),
                nbformat.v4.new_code_cell("2", outputs=outputs, metadata={"tags": tags}),
            ]
        nbformat.write(book, file)
    assert navigation.main([], copy) == 0
    shown = [cell.source for cell in books(copy)["01_b.ipynb"] if "data:image" in cell.source]
    assert len(shown) == 1 and "base64,Yg==" in shown[0]


def test_notebook_and_readme_show_the_time_of_the_stored_run(copy):
    path, readme = copy / "notebooks" / "00_a.ipynb", copy / "README.md"
    book = nbformat.read(path, as_version=4)
    book.cells[0].source += "\n\n**Takes** about 1 s and 0.1 GB on two CPU cores."
    text = "This notebook took 85 s and 1.2 GB of memory at its peak."
    book.cells[1].outputs = [nbformat.v4.new_output("stream", text=text)]
    nbformat.write(book, path)
    readme.write_text(readme.read_text() + "\n| [0 · A](notebooks/00_a.ipynb) | 1 s | 2 s | 0.1 GB |\n")
    navigation.main([], copy)
    assert "**Takes** about 85 s and 1.2 GB on two CPU cores." in books(copy)["00_a.ipynb"][1].source
    assert "| [0 · A](notebooks/00_a.ipynb) | 1 s | 85 s | 1.2 GB |" in readme.read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        "https://gitlab.com/a/b",
        "https://github.com/a",
        "git@github.com:a/b",
        'https://github.com/a/b"',
        "https://github.com/-a/b",
    ],
)
def test_an_address_that_binder_and_colab_cannot_open_is_refused(wrong, copy, capsys):
    with pytest.raises(SystemExit):
        navigation.main(["--repository", wrong], copy)
    assert f"must be https://github.com/ACCOUNT/NAME or empty; got {wrong}" in capsys.readouterr().err
    assert "[project.urls]" not in (copy / "pyproject.toml").read_text(encoding="utf-8")
