"""Write what notebooks and README take from elsewhere: links, times, pictures. `python tools/navigation.py`

To be run when a notebook was added, renamed or run anew. Links and badges: from the files that are there and from
`Repository` in pyproject.toml. Seconds and memory: those that a notebook's last cell printed. Below an exercise that
asks for more than a prediction: the picture that its solution drew, folded away. `--check` writes nothing, and fails
where something is not up to date.
"""

import argparse
import re
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
TAG = "navigation"  # on our cells, so that the next run finds them
CONTENTS = "README.md#the-path"
SHUT_DOWN = (
    "Before the next one, shut this notebook's kernel down (menu *Kernel*): on Binder two do not fit into memory."
)
HEADING = re.compile(r"^#{2,3} Exercise (\d) · (\w+)", re.MULTILINE)
MEASURED = re.compile(r"This notebook took (\d+ s) and ([\d.]+ GB)")
# A notebook that is written by hand may end in a line of such links already; ours takes its place.
BY_HAND = re.compile(r"\n*^(?=.*README\.md)(((previous|next): )?\[[^]]+\]\([^)]+\)( · )?)+\s*\Z", re.MULTILINE)


def address(root: Path) -> str:
    """The repository's address on GitHub, without a slash at its end."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = project["urls"]["Repository"].rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://github\.com/[^/]+/[^/]+", found):
        raise ValueError(
            f"{found} in pyproject.toml is no https://github.com/ACCOUNT/NAME, which Binder and Colab open"
        )
    return found


def badges(repository: str, place: str) -> str:
    """The badges that open the notebook at `place` in the repository on Binder and on Colab."""
    name = repository.removeprefix("https://github.com/")
    binder = f"https://mybinder.org/v2/gh/{name}/{BRANCH}?urlpath=lab/tree/{place}"
    colab = f"https://colab.research.google.com/github/{name}/blob/{BRANCH}/{place}"
    return (
        f"[![Open on Binder](https://mybinder.org/badge_logo.svg)]({binder}) "
        f"[![Open on Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
    )


def on_colab(repository: str, place: str) -> str:
    """What Colab, which opens a notebook without the files around it, must run first; folded away for all others."""
    return (
        "<details><summary>On Colab, run this first, in a cell of your own</summary>\n\n"
        f'```\n!git clone -q {repository} qaan && pip install -q "./qaan[notebooks]"\n'
        f"%cd qaan/{Path(place).parent.as_posix()}\n```\n\n</details>"
    )


def title(path: Path) -> str:
    """A notebook's heading, until its colon."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.search(r"^# ([^:\n]+)", text, re.MULTILINE)[1].strip()


def links(paths: list[Path], at: int) -> str:
    """Previous, contents and next, from the notebook paths[at]; from solutions also back to their notebook."""
    path = paths[at]
    solutions = path.parent.name == "solutions"

    def name(other):
        return f"Solutions {int(other.name[:2])}" if solutions else title(other)

    parts = [f"[← {name(paths[at - 1])}]({paths[at - 1].name})"] if at else []
    if solutions:
        notebook = path.parents[1] / path.name.replace("_solutions", "")
        parts.append(f"[{title(notebook)}](../{notebook.name})")
    parts.append(f"[contents]({'../../' if solutions else '../'}{CONTENTS})")
    if at + 1 < len(paths):
        parts.append(f"[{name(paths[at + 1])} →]({paths[at + 1].name})")
    return " · ".join(parts)


def measured(path: Path) -> tuple[str, str] | None:
    """Time and memory of the notebook's stored run, such as ("85 s", "1.2 GB"); None where it has not told."""
    cells = nbformat.read(path, as_version=4).cells
    printed = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", ()))
    found = MEASURED.search(printed)
    return found and found.groups()


def expected(solution: Path) -> dict[str, tuple[str, str]]:
    """The first picture of each exercise but predictions: {its number: (PNG as base64, alternative text)}."""
    number, found = "", {}
    for cell in nbformat.read(solution, as_version=4).cells if solution.exists() else ():
        for heading in HEADING.finditer(cell.source if cell.cell_type == "markdown" else ""):
            number = "" if heading[2] == "Predict" else heading[1]
        for output in cell.get("outputs", ()):
            if number and "image/png" in output.get("data", ()):
                found.setdefault(number, (output.data["image/png"], output.metadata["image/png"]["alt"]))
    return found


def with_pictures(cells: list, pictures: dict[str, tuple[str, str]]) -> list:
    """The cells, and after the first code cell of each exercise that has a picture to expect a cell with it."""
    number, placed = "", []
    for cell in cells:
        placed.append(cell)
        if cell.cell_type == "markdown":
            number = ([heading[1] for heading in HEADING.finditer(cell.source)] or [number])[-1]
        elif number in pictures:
            png, alt = pictures[number]
            text = "<details><summary>The picture to expect; it shows what comes out</summary>\n\n"
            data = "".join(png.split())  # no attachment: JupyterLab asks for its address before it resolves it
            text += f"![{alt}](data:image/png;base64,{data})\n\n</details>"
            placed.append(nbformat.v4.new_markdown_cell(text, id=f"{TAG}-expected-{number}", metadata={"tags": [TAG]}))
            number = ""
    return placed


def navigated(path: Path, line: str, repository: str, place: str, has_next: bool) -> str:
    """The notebook's file as it should be, as text: all but our cells and the time stays as it is."""
    notebook = nbformat.read(path, as_version=4)
    if told := measured(path):
        opening = next(cell for cell in notebook.cells if "**Takes**" in cell.source)
        opening.source = re.sub(r"(?<=\*\*Takes\*\* about )\d+ s and [\d.]+ GB", " and ".join(told), opening.source)
    cells = [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", [])]
    last = [cell for cell in cells if cell.cell_type == "markdown"][-1]
    last.source = BY_HAND.sub("", last.source)
    head = f"{line} · {badges(repository, place)}\n\n{on_colab(repository, place)}"
    foot = f"{line}\n\n{SHUT_DOWN}" if has_next else line
    top, bottom = (
        nbformat.v4.new_markdown_cell(source, id=f"{TAG}-{where}", metadata={"tags": [TAG]})
        for where, source in (("top", head), ("bottom", foot))
    )
    cells = [cell for cell in cells if cell is not last or last.source]
    pictures = expected(path.parent / "solutions" / f"{path.stem}_solutions.ipynb")
    notebook.cells = [top, *with_pictures(cells, pictures), bottom]
    return nbformat.writes(notebook) + "\n"


def wanted(root: Path) -> dict[Path, str]:
    """Every file that has to do with navigation, and how it should read."""
    repository, files = address(root), {}
    for folder in ("notebooks", "notebooks/solutions"):
        paths = sorted((root / folder).glob("[0-9][0-9]_*.ipynb"))
        for at, path in enumerate(paths):
            has_next = at + 1 < len(paths)
            files[path] = navigated(path, links(paths, at), repository, f"{folder}/{path.name}", has_next)
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    first = next(path for path in files if path.name.startswith("00_"))
    line = badges(repository, f"notebooks/{first.name}")
    text = re.sub(r"^\[!\[.*$", lambda _: line, text, count=1, flags=re.MULTILINE)
    for path in files:
        if told := measured(path):
            row = rf"(\(notebooks/{re.escape(path.name)}\) \|.*\| )\d+ s \| [\d.]+ GB \|"
            text = re.sub(row, lambda found, told=told: f"{found[1]}{' | '.join(told)} |", text)
    return files | {readme: text}


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write what is not up to date, or with --check name it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something would be written")
    check = parser.parse_args(arguments).check
    stale = {path: text for path, text in wanted(root).items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"{path.relative_to(root)}: {'not up to date' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
