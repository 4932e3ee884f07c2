"""Named tensors and a JSON description on disk, whole or not at all: safetensors, checksums, no pickle."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load, save

FORMAT = 1


def write(folder: str | Path, name: str, tensors: dict[str, torch.Tensor], description: dict, keep: int = 2) -> None:
    """Save as `folder/name.safetensors` and `folder/name.json`; the newest `keep` pairs stay, by name.

    The JSON is renamed into place last and holds the tensors' checksum: where it is, the pair is whole.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    blob = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    text = json.dumps({"format": FORMAT, "sha256": hashlib.sha256(blob).hexdigest(), **description}, indent=1)
    _replace(folder / f"{name}.safetensors", blob)
    _replace(folder / f"{name}.json", text.encode())
    for old in sorted(folder.glob("epoch_*.json"))[:-keep]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def read(folder: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Load the newest pair in `folder`.

    Raises ValueError where there is none, RuntimeError where it is damaged or of a newer format.
    """
    found = sorted(Path(folder).glob("epoch_*.json"))
    if not found:
        raise ValueError(f"{folder} holds no checkpoint; gan.save({str(folder)!r}) writes one")
    newest = found[-1]
    try:
        description = json.loads(newest.read_text())
        blob = newest.with_suffix(".safetensors").read_bytes()
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{newest} or its tensors cannot be read ({error}); {_way_out(found)}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise RuntimeError(f"{newest} is not of format {FORMAT}: foreign, or written by a newer qaan_helpers")
    if hashlib.sha256(blob).hexdigest() != description.get("sha256"):
        raise RuntimeError(f"{newest.with_suffix('.safetensors')} is not what was saved; {_way_out(found)}")
    return load(blob), description


def _way_out(found):
    return f"delete both files to load {found[-2].stem}" if len(found) > 1 else "there is no older one beside it"


def _replace(path, content):
    """Write beside `path`, make sure that it is on disk, then put it in place in one step."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
