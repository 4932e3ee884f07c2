"""Write files that are not up to date, or only name them: what navigation.py and requirements.py have in common."""

from pathlib import Path


def update(files: dict[Path, str], root: Path, check: bool, remedy: str) -> int:
    """Write the files whose content differs, or with `check` only name them.

    Args:
        files: Maps each file to the text that it should have.
        root: The project's folder.
        check: Whether to write nothing.
        remedy: The command to run if a file is not up to date.

    Returns:
        The exit status: 1 if `check` names a file, else 0.
    """
    stale = {path: text for path, text in files.items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"{path.relative_to(root)}: {f'not up to date; run {remedy}' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
    return int(check and bool(stale))
