"""Add rows to a table as soon as they are measured, so that an interrupted script loses none."""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows to a CSV file, with a header if the file is new, and print them to the standard error stream."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print(row, file=sys.stderr, flush=True)
