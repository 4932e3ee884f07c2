"""Copy the packages that requirements.txt lists into pyproject.toml and binder/requirements.txt.

Run `python tools/requirements.py` after a change of requirements.txt. A section there begins with a comment such as
`# [sweep] used by ...`. [dependencies] become those of the package, and [hardware], [sweep] and [notebooks] its extras.
Binder gets every section except [development]. With `--check` the script writes nothing, and fails if a file differs.
"""

import argparse
import re
from pathlib import Path

from outdated import update

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {"hardware": (), "sweep": (), "notebooks": ("qaan_helpers[hardware,sweep]",)}  # with what each also includes
SECTIONS = ("dependencies", *EXTRAS, "jupyter", "development")
BEGIN = "# Generated from requirements.txt by tools/requirements.py; edit that file and run the script."
END = "# End of the generated part."
BINDER_NOTES = """\
# The section [development] is left out.
# PyTorch's own index has torch without gigabytes of CUDA, and pip prefers it: 2.15.0+cpu is newer than 2.15.0.
# Binder installs this file before it copies the project. A line that names a local file would end the cache.
--extra-index-url https://download.pytorch.org/whl/cpu
"""


def read_sections(text: str) -> dict[str, list[str]]:
    """Read the requirements of each section.

    Args:
        text: The content of requirements.txt.

    Returns:
        Maps the name of each section to its requirements, without comments.

    Raises:
        ValueError: If a requirement is in no section or in an unknown one.
    """
    sections: dict[str, list[str]] = {name: [] for name in SECTIONS}
    name = ""
    for line in text.splitlines():
        heading = re.match(r"# \[(.*?)\]", line)
        name = heading[1] if heading else name
        requirement = line.split("#")[0].strip()
        if requirement and name not in sections:
            raise ValueError(f"{requirement} must be in one of the sections {', '.join(SECTIONS)}; got {name!r}")
        if requirement:
            sections[name].append(requirement)
    return sections


def generated_block(sections: dict[str, list[str]]) -> str:
    """Write the generated part of pyproject.toml.

    Args:
        sections: The requirements of each section.

    Returns:
        TOML for the table [project], with the comments before and after it.
    """
    lists = {"dependencies": sections["dependencies"]}
    lists |= {f"optional-dependencies.{name}": [*also, *sections[name]] for name, also in EXTRAS.items()}
    arrays = ("\n".join((f"{key} = [", *(f'    "{item}",' for item in items), "]")) for key, items in lists.items())
    return "\n".join((BEGIN, *arrays, END))


def updated_files(root: Path) -> dict[Path, str]:
    """Bring the files that repeat requirements up to date.

    Args:
        root: The project's folder.

    Returns:
        Maps each file to its text.
    """
    sections = read_sections((root / "requirements.txt").read_text(encoding="utf-8"))
    settings = root / "pyproject.toml"
    before, rest = settings.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    packages = [item for name in SECTIONS if name != "development" for item in sections[name]]
    binder = f"{BEGIN}\n{BINDER_NOTES}" + "".join(f"{item}\n" for item in packages)
    return {
        settings: f"{before}{generated_block(sections)}{after}",
        root / "binder" / "requirements.txt": binder,
    }


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
    check = parser.parse_args(arguments).check
    return update(updated_files(root), root, check, "tools/requirements.py")


if __name__ == "__main__":
    raise SystemExit(main())
