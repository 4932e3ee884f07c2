"""Named tensors and a JSON description on disk, whole or not at all: safetensors, checksums, no pickle."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load, save

FORMAT = 1


def write(folder: str | Path, name: str, tensors: dict[str, torch.Tensor], description: dict, keep: int = 2) -> None:
    """Save as `folder/name.json` and a file of tensors beside it; the newest `keep` pairs up to `name` stay.

    The JSON is renamed into place last. It holds a checksum of the pair, which is in the tensors' name too: a save
    over one of the same name leaves that one whole until then.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    blob = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    description = json.loads(json.dumps(description, default=lambda number: number.item()))  # numpy's numbers too
    checksum = _checksum(blob, description)
    text = json.dumps({"format": FORMAT, "sha256": checksum, **description}, indent=1)
    newest = folder / f"{name}.json"
    _replace(_tensors_of(newest, checksum), blob)
    _replace(newest, text.encode())
    stay = [path.stem for path in sorted(folder.glob("epoch_*.json")) if path <= newest][-keep:]
    for old in [*folder.glob("epoch_*.json"), *folder.glob("epoch_*.safetensors")]:  # no JSON without its tensors
        stem = old.name.split(".")[0]
        replaced = stem == name and old not in (newest, _tensors_of(newest, checksum))
        if replaced or stem not in stay:
            old.unlink()


def read(folder: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Load the newest pair in `folder`.

    Raises ValueError where there is none, RuntimeError where it is damaged or of a newer format.
    """
    found = sorted(Path(folder).glob("epoch_*.json"))
    if not found:
        raise ValueError(f"{folder} holds no checkpoint; gan.save({str(folder)!r}) writes one")
    newest = found[-1]
    way_out = f"delete it to load {found[-2].stem}" if len(found) > 1 else "there is no older one beside it"
    try:
        description = json.loads(newest.read_text())
        version, checksum = description.pop("format"), description.pop("sha256", "")
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise RuntimeError(f"{newest} cannot be read ({error!r}); {way_out}") from error
    if version != FORMAT:
        raise RuntimeError(f"{newest} is of format {version!r}, not {FORMAT}: a newer qaan_helpers wrote it")
    try:
        blob = _tensors_of(newest, checksum).read_bytes()
    except OSError as error:
        raise RuntimeError(f"the tensors of {newest} cannot be read ({error}); {way_out}") from error
    if _checksum(blob, description) != checksum:
        raise RuntimeError(f"{newest} and its tensors are not what was saved; {way_out}")
    return load(blob), description


def _tensors_of(path, checksum):
    return path.with_suffix(f".{str(checksum)[:8]}.safetensors")


def _checksum(blob, description):
    return hashlib.sha256(blob + json.dumps(description, sort_keys=True).encode()).hexdigest()


def _replace(path, content):
    """Write beside `path`, make sure that it is on disk, then put it in place in one step."""
    temporary = path.with_name(".unfinished")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
