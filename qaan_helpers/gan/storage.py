"""Saves on disk, complete or absent: one safetensors file per save, with a checksum and without pickle.

A save `epoch_000007.safetensors` holds the tensors of a state, and all else as JSON in its metadata. It is written
under another name, synced to disk, and then renamed: if the writing is interrupted, the previous save is intact.
"""

import errno
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from . import format_1
from .state import CheckpointError, check_finite

BUNDLED = Path(__file__).parents[1] / "data" / "trained"
FORMAT = 2
SAVE = re.compile(r"epoch_(\d{6,})\.(?:safetensors|json)")  # all other files in the folder belong to the user
UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Save:
    """One save in a folder.

    Args:
        path: Its safetensors file; for a save of format 1, its JSON file.
    """

    path: Path

    @property
    def epoch(self) -> int:
        """The number of epochs, from the file's name."""
        match = SAVE.fullmatch(self.path.name)
        return int(match[1]) if match else 0

    def read(self) -> dict[str, Any]:
        """Read and check the save.

        Returns:
            The state that was saved, with the versions of the packages under "versions".

        Raises:
            CheckpointError: If the file cannot be read, is damaged, or holds NaN or infinity.
            RuntimeError: If a newer version of the package wrote it.
        """
        return format_1.read(self.path) if self.path.suffix == ".json" else _read(self.path)


def saves(folder: str | Path) -> list[Save]:
    """List the saves of a folder, newest first.

    Args:
        folder: Folder of a run, or the file of one save.

    Returns:
        The saves, at least one.

    Raises:
        ValueError: If there is none.
    """
    folder = Path(folder)
    if folder.is_file():
        return [Save(folder)]
    found = _oldest_first(folder)[::-1]
    if not found:
        raise ValueError(f"{folder} holds no save of a run; gan.save({str(folder)!r}) writes one")
    return found


def write(folder: str | Path, epoch: int, state: Mapping[str, Any], keep: int = 2) -> None:
    """Write a state as `folder/epoch_NNNNNN.safetensors`.

    Args:
        folder: Folder of the run; it is created if needed.
        epoch: Number of epochs so far.
        state: Nested dicts of tensors, arrays, and values that JSON can hold.
        keep: How many of the newest saves up to this one stay. Later ones belong to another run and are deleted.

    Raises:
        ValueError: If a tensor holds NaN or infinity. Earlier saves stay as they are.
        OSError: If the folder cannot be written. Earlier saves stay as they are.
    """
    folder = Path(folder)
    path = folder / f"epoch_{epoch:06d}.safetensors"
    try:
        blob = _serialize({**state, "versions": versions()})
    except CheckpointError as error:
        raise ValueError(f"the state {error}, and is not saved; {folder} is unchanged") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, blob)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            error.errno,
            f"{path} could not be saved ({reason}); {folder} is unchanged. Free some space or choose another folder",
        ) from error
    _delete_others(Save(path), keep)


def bundled(name: str) -> Path:
    """Return the folder of a model that is bundled with the package, for `QAAN.load`.

    Args:
        name: Name of the model; `data/trained/README.md` describes them.

    Returns:
        The folder.

    Raises:
        ValueError: If there is no model of this name.
    """
    if name not in bundled_names():
        raise ValueError(
            f"name must be one of the bundled models, {', '.join(map(repr, bundled_names()))}; got {name!r}"
        )
    return BUNDLED / name


def bundled_names() -> list[str]:
    """Return the names of the bundled models in alphabetical order."""
    return sorted(path.name for path in BUNDLED.iterdir() if path.is_dir())


def versions() -> dict[str, str]:
    """Return the versions of Python and of those loaded packages on which a run's numbers depend."""
    names = ("qaan_helpers", "torch", "numpy", "scipy", "sklearn", "qiskit", "qiskit_aer")
    loaded = {name: sys.modules[name].__version__ for name in names if name in sys.modules}
    return {"python": platform.python_version(), **loaded}


def pack(state: Mapping[str, Any], path: str = "") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Split a nested state into its tensors and the rest.

    Args:
        state: Nested dicts of tensors, arrays and other values.
        path: Prefix of the tensors' names.

    Returns:
        The tensors on the CPU by their path, with "/" between its parts, and the state without them.
    """
    tensors: dict[str, torch.Tensor] = {}
    rest: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, np.ndarray):
            value = torch.from_numpy(value)
        if isinstance(value, torch.Tensor):
            tensors[f"{path}{key}"] = value.detach().cpu().contiguous()
        elif isinstance(value, Mapping):
            inner, rest[str(key)] = pack(value, f"{path}{key}/")
            tensors |= inner
        else:
            rest[str(key)] = value
    return tensors, rest


def unpack(tensors: Mapping[str, torch.Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    """Undo `pack`. Arrays come back as tensors and keys as strings.

    Args:
        tensors: The tensors by their path.
        rest: The state without them; it is changed.

    Returns:
        The nested state.

    Raises:
        CheckpointError: If a path leads through something that is not a dict.
    """
    for path, tensor in tensors.items():
        *parts, name = path.split("/")
        node = rest
        for part in parts:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise CheckpointError(f"has a tensor at {path}, where its description has {node!r}")
        node[name] = tensor
    return rest


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name, sync it to disk, and rename it in one step.

    Args:
        path: The file. What an interrupted call left under the other name is overwritten by the next.
        content: Its content.

    Raises:
        OSError: If the file cannot be written.
    """
    temporary = path.with_name(UNFINISHED)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _serialize(state: Mapping[str, Any]) -> bytes:
    """A state as a safetensors file, whose metadata hold the format, a checksum, and all that is no tensor."""
    tensors, rest = pack(state)
    check_finite(tensors)
    description = json.dumps(rest, default=lambda number: number.item())  # NumPy's numbers too
    header, data = _split(save(tensors))
    digest = _checksum(header, data, description)
    return save(tensors, {"format": str(FORMAT), "sha256": digest, "description": description})


def _read(path: Path) -> dict[str, Any]:
    try:
        blob = path.read_bytes()
        header, data = _split(blob)
        metadata = header.pop("__metadata__")
        version, expected, description = (str(metadata[name]) for name in ("format", "sha256", "description"))
        checksum = _checksum(header, data, description)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"cannot be read ({error!r})") from error
    if version.isdecimal() and len(version) < 10 and int(version) > FORMAT:
        raise RuntimeError(
            f"{path} has format {version}, and this version reads formats up to {FORMAT}. Update qaan_helpers, or load "
            "an older save by its file name"
        )
    if version != str(FORMAT):
        raise CheckpointError(f"has format {version!r}, which qaan_helpers never wrote")
    if checksum != expected:
        raise CheckpointError("was altered after it was saved: its checksum differs")
    try:
        tensors, rest = load(blob), json.loads(description)
        check_finite(tensors)
    except CheckpointError:
        raise
    except Exception as error:  # safetensors' own exception, and whatever else crafted bytes cause
        raise CheckpointError(f"holds no valid state ({error!r})") from error
    if not isinstance(rest, dict):
        raise CheckpointError(f"describes no state, but {rest!r}")
    return unpack(tensors, rest)


def _split(blob: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file and the bytes of its tensors."""
    end = 8 + int.from_bytes(blob[:8], "little")
    return json.loads(blob[8:end]), blob[end:]


def _checksum(header: Mapping[str, Any], data: bytes, description: str) -> str:
    digest = hashlib.sha256(data)
    digest.update(json.dumps(header, sort_keys=True).encode())
    digest.update(description.encode())
    return digest.hexdigest()


def _oldest_first(folder: Path) -> list[Save]:
    found = [Save(path) for path in folder.glob("epoch_*") if SAVE.fullmatch(path.name)]
    return sorted(found, key=lambda each: (each.epoch, each.path.suffix))  # .json, format 1, before .safetensors


def _delete_others(newest: Save, keep: int) -> None:
    """Delete all but the newest `keep` saves up to `newest`, and tensors of format 1 without their JSON file.

    Of another run's later saves, the latest is deleted last: until then, that one is loaded.
    """
    folder = newest.path.parent
    others = _oldest_first(folder)
    others.remove(newest)
    earlier = [other for other in others if other.epoch < newest.epoch]
    stay = [*earlier, newest][-keep:]
    for other in others:
        if other not in stay:
            other.path.unlink()
    format_1.delete_orphans(folder)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure, where the system supports it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
