"""Write what notebooks and README take from other files: links, badges, run times, pictures of solutions.

Run `python tools/navigation.py` after a notebook was added, moved or executed. Links follow from the notebooks that
exist, badges from `Repository` in pyproject.toml. `--repository URL` writes that address, and an empty URL removes it
and all badges. Time and memory are those that a notebook's last cell printed. Below an exercise, the script puts the
picture of its solution that is tagged "expected", folded. With `--check` it writes nothing, and fails if a file is not
up to date.
"""

import argparse
import re
import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from outdated import update

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
TAG = "navigation"  # marks the cells that this script writes
CONTENTS = "README.md#notebooks"
SHUT_DOWN = (
    "Before you open the next notebook, shut down this kernel (menu *Kernel*). "
    "Binder's memory is too small for two kernels."
)
LEVELS = ("Check", "Apply", "Explore")  # of exercises
HEADING = re.compile(r"^#{2,3} Exercise (\d) · (\w+)", re.MULTILINE)
MEASURED = re.compile(r"This notebook took (\d+ s) and ([\d.]+ GB)")
# A notebook written by hand may end in a line of such links, which this script's line replaces.
MANUAL_LINKS = re.compile(r"\n*^(?=.*README\.md)(((previous|next): )?\[[^]]+\]\([^)]+\)( · )?)+\s*\Z", re.MULTILINE)


def github_address(url: str) -> str:
    """Check the address of a repository on GitHub.

    Args:
        url: The address, or "" for none.

    Returns:
        The address without a trailing slash or ".git", such as https://github.com/account/name.

    Raises:
        ValueError: If Binder and Colab cannot open the address.
    """
    short = url.strip().rstrip("/").removesuffix(".git")
    if short and not re.fullmatch(r"https://github\.com/[A-Za-z0-9][\w-]*/[\w.-]+", short):
        raise ValueError(f"the repository's address must be https://github.com/ACCOUNT/NAME or empty; got {url}")
    return short


def stored_address(settings: str) -> str:
    """Read the repository's address in pyproject.toml.

    Args:
        settings: The content of pyproject.toml.

    Returns:
        The address, or "" if there is none.

    Raises:
        ValueError: If Binder and Colab cannot open the address.
    """
    return github_address(tomllib.loads(settings)["project"].get("urls", {}).get("Repository", ""))


def with_address(settings: str, repository: str) -> str:
    """Replace the repository's address in pyproject.toml.

    Args:
        settings: The content of pyproject.toml.
        repository: The address, or "" for none.

    Returns:
        The new content.
    """
    settings = re.sub(r"^\[project\.urls\]\nRepository = .*\n\n", "", settings, flags=re.MULTILINE)
    table = f'[project.urls]\nRepository = "{repository}"\n\n' if repository else ""
    return settings.replace("[tool.setuptools]\n", f"{table}[tool.setuptools]\n", 1)


def badges(repository: str, path: str) -> str:
    """Write the badges that open a notebook on Binder and on Colab.

    Args:
        repository: The repository's address.
        path: The notebook's path in the repository.

    Returns:
        Two linked pictures in Markdown.
    """
    name = repository.removeprefix("https://github.com/")
    binder = f"https://mybinder.org/v2/gh/{name}/{BRANCH}?urlpath=lab/tree/{path}"
    colab = f"https://colab.research.google.com/github/{name}/blob/{BRANCH}/{path}"
    return (
        f"[![Open on Binder](https://mybinder.org/badge_logo.svg)]({binder}) "
        f"[![Open on Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})"
    )


def on_colab(repository: str, path: str) -> str:
    """Write what to run first on Colab, which opens a notebook without the files around it.

    Args:
        repository: The repository's address.
        path: The notebook's path in the repository.

    Returns:
        Folded Markdown.
    """
    return (
        "<details><summary>On Colab, run this first, in a cell of your own</summary>\n\n"
        f'```\n!git clone -q {repository} qaan && pip install -q "./qaan[notebooks]"\n'
        f"%cd qaan/{Path(path).parent.as_posix()}\n```\n\n</details>"
    )


def cells_of(path: Path) -> list[NotebookNode]:
    """Read the cells of a notebook.

    Args:
        path: The notebook.

    Returns:
        Its cells; an empty list if the file does not exist.
    """
    return nbformat.read(path, as_version=4).cells if path.exists() else []


def title(path: Path) -> str:
    """Read a notebook's main heading up to its colon.

    Args:
        path: The notebook.

    Returns:
        The heading, such as "0 · Play".
    """
    text = "\n".join(cell.source for cell in cells_of(path) if cell.cell_type == "markdown")
    return re.findall(r"^# ([^:\n]+)", text, re.MULTILINE)[0].strip()


def links(paths: list[Path], at: int) -> str:
    """Write the links to the previous notebook, to the contents and to the next; from solutions also to the notebook.

    Args:
        paths: All notebooks of the folder, in order.
        at: Index of the notebook that gets the links.

    Returns:
        A line of Markdown.
    """
    path = paths[at]
    solutions = path.parent.name == "solutions"

    def name(other: Path) -> str:
        return f"Solutions {int(other.name[:2])}" if solutions else title(other)

    parts = [f"[← {name(paths[at - 1])}]({paths[at - 1].name})"] if at else []
    if solutions:
        notebook = path.parents[1] / path.name.replace("_solutions", "")
        parts.append(f"[{title(notebook)}](../{notebook.name})")
    parts.append(f"[contents]({'../../' if solutions else '../'}{CONTENTS})")
    if at + 1 < len(paths):
        parts.append(f"[{name(paths[at + 1])} →]({paths[at + 1].name})")
    return " · ".join(parts)


def measured(path: Path) -> tuple[str, ...] | None:
    """Read the time and memory of a notebook's stored run.

    Args:
        path: The notebook.

    Returns:
        A pair such as ("85 s", "1.2 GB"), or None if its outputs do not say.
    """
    outputs = [output for cell in cells_of(path) for output in cell.get("outputs", ())]
    match = MEASURED.search("".join(output.get("text", "") for output in outputs))
    return match and match.groups()


def expected_pictures(solution: Path) -> dict[str, tuple[str, str]]:
    """Find the first picture of each exercise that may be shown before it is solved.

    That is a picture of a cell tagged "expected". In notebooks whose exercises have no levels yet, it is the first
    picture of an exercise that asks for more than a prediction.

    Args:
        solution: The notebook with the solutions, if there is one.

    Returns:
        Maps an exercise's number to a PNG as base64 and its alternative text.
    """
    number, kind, pictures = "", "", dict[str, tuple[str, str]]()
    for cell in cells_of(solution):
        for heading in HEADING.finditer(cell.source if cell.cell_type == "markdown" else ""):
            number, kind = heading[1], heading[2]
        shown = "expected" in cell.metadata.get("tags", ()) if kind in LEVELS else kind != "Predict"
        for output in cell.get("outputs", ()):
            if number and shown and "image/png" in output.get("data", ()):
                pictures.setdefault(number, (output.data["image/png"], output.metadata["image/png"]["alt"]))
    return pictures


def with_pictures(cells: list[NotebookNode], pictures: dict[str, tuple[str, str]]) -> list[NotebookNode]:
    """Add the expected picture after the first code cell of each exercise.

    Args:
        cells: A notebook's cells.
        pictures: What `expected_pictures` returns.

    Returns:
        The cells and the new ones.
    """
    number, result = "", []
    for cell in cells:
        result.append(cell)
        if cell.cell_type == "markdown":
            number = ([heading[1] for heading in HEADING.finditer(cell.source)] or [number])[-1]
        elif number in pictures:
            png, alt = pictures[number]
            text = "<details><summary>Expected figure</summary>\n\n"
            data = "".join(png.split())  # not as an attachment: JupyterLab requests its address before resolving it
            text += f"![{alt}](data:image/png;base64,{data})\n\n</details>"
            result.append(_tagged(f"expected-{number}", text))
            number = ""
    return result


def _tagged(name: str, source: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(source, id=f"{TAG}-{name}", metadata={"tags": [TAG]})


def updated_notebook(root: Path, paths: list[Path], at: int, repository: str) -> str:
    """Bring a notebook up to date: only this script's cells and the measured time and memory change.

    Args:
        root: The project's folder.
        paths: All notebooks of the notebook's folder, in order.
        at: Index of the notebook.
        repository: The repository's address, or "" for no badges.

    Returns:
        The text of the file.
    """
    path, line, has_next = paths[at], links(paths, at), at + 1 < len(paths)
    notebook = nbformat.read(path, as_version=4)
    if run := measured(path):
        opening = next(cell for cell in notebook.cells if "**Takes**" in cell.source)
        opening.source = re.sub(r"(?<=\*\*Takes\*\* about )\d+ s and [\d.]+ GB", " and ".join(run), opening.source)
    cells = [cell for cell in notebook.cells if TAG not in cell.metadata.get("tags", [])]
    last = [cell for cell in cells if cell.cell_type == "markdown"][-1]
    last.source = MANUAL_LINKS.sub("", last.source)
    cells = [cell for cell in cells if cell is not last or last.source]
    pictures = expected_pictures(path.parent / "solutions" / f"{path.stem}_solutions.ipynb")
    top = line
    if repository:
        place = path.relative_to(root).as_posix()
        top += f" · {badges(repository, place)}\n\n{on_colab(repository, place)}"
    bottom = f"{line}\n\n{SHUT_DOWN}" if has_next else line
    notebook.cells = [_tagged("top", top), *with_pictures(cells, pictures), _tagged("bottom", bottom)]
    return nbformat.writes(notebook) + "\n"


def updated_files(root: Path, new_address: str | None = None) -> dict[Path, str]:
    """Bring all notebooks, the README and the repository's address up to date.

    Args:
        root: The project's folder.
        new_address: The repository's address, "" for none, or None for the stored one.

    Returns:
        Maps each file to its text.
    """
    settings = (root / "pyproject.toml").read_text(encoding="utf-8")
    repository = stored_address(settings) if new_address is None else github_address(new_address)
    files: dict[Path, str] = {}
    for folder in ("notebooks", "notebooks/solutions"):
        paths = sorted((root / folder).glob("[0-9][0-9]_*.ipynb"))
        files |= {path: updated_notebook(root, paths, at, repository) for at, path in enumerate(paths)}
    readme = root / "README.md"
    first = next(path for path in files if path.name.startswith("00_"))
    text = re.sub(r"^\[!\[Open on .*\n\n", "", readme.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    if repository:
        title_line, rest = text.split("\n\n", 1)
        text = f"{title_line}\n\n{badges(repository, f'notebooks/{first.name}')}\n\n{rest}"
    for path in files:
        if run := measured(path):
            row = rf"(\(notebooks/{re.escape(path.name)}\) \|.*\| )\d+ s \| [\d.]+ GB \|"
            text = re.sub(row, rf"\g<1>{' | '.join(run)} |", text)
    return files | {readme: text, root / "pyproject.toml": with_address(settings, repository)}


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write the files that are not up to date, or with --check only name them.

    Args:
        arguments: The command line, by default that of the process.
        root: The project's folder.

    Returns:
        The exit status: 1 if --check names a file, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    parser.add_argument(
        "--repository", metavar="URL", help="address on GitHub for the badges; an empty one removes them"
    )
    options = parser.parse_args(arguments)
    try:
        files = updated_files(root, options.repository)
    except ValueError as error:
        parser.error(str(error))
    return update(files, root, options.check, "tools/navigation.py")


if __name__ == "__main__":
    raise SystemExit(main())
