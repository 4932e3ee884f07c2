"""Named tensors and a JSON description on disk, whole or not at all: safetensors, checksums, no pickle.

A save is two files: `epoch_000007.<checksum>.safetensors`, and `epoch_000007.json`, whose renaming into place is the
moment from which the save exists. Whatever stops a save before that, the one before it is still there.
"""

import errno
import hashlib
import json
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

BUNDLED = Path(__file__).parents[1] / "data" / "trained"
FORMAT = 1
OURS = re.compile(r"(epoch_\d{6,})(\.[0-9a-f]{8}\.safetensors|\.json)")  # all else in the folder is the reader's own
UNFINISHED = ".unfinished"


class CheckpointError(RuntimeError):
    """A save that is not what was written, or that nothing can be made of; the one before it may be whole."""


def write(folder: str | Path, name: str, tensors: dict[str, torch.Tensor], description: dict, keep: int = 2) -> None:
    """Save as `folder/name.json` and a file of tensors beside it; the newest `keep` pairs up to `name` stay.

    name: "epoch_" and the number in six digits. The JSON is renamed into place last. It holds a checksum of the pair,
    which is in the tensors' name too: a save over one of the same name leaves that one whole until then.
    Raises ValueError for tensors with NaN or infinity, OSError where the folder cannot be written; in both cases what
    was saved before stays as it is.
    """
    folder, newest = Path(folder), Path(folder) / f"{name}.json"
    if broken := _not_finite(tensors):
        raise ValueError(f"{_some(broken)} hold NaN or infinity, which is not saved; {folder} is as it was")
    blob = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    description = json.loads(json.dumps(description, default=lambda number: number.item()))  # numpy's numbers too
    checksum = _checksum(blob, description)
    text = json.dumps({"format": FORMAT, "sha256": checksum, **description}, indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(_tensors_of(newest, checksum), blob)
        write_whole(newest, text.encode())
    except OSError as error:
        told = f"{newest} could not be saved ({error.strerror or error}); {folder} holds what it held before"
        raise OSError(error.errno, f"{told}. Make room or choose another folder, and save again") from error
    _clear_away(folder, newest, _tensors_of(newest, checksum), keep)


def read(folder: str | Path, make: Callable[[dict, dict], Any] = lambda *pair: pair) -> Any:
    """Return what `make(tensors, description)` makes of the newest save in `folder`, or of the one JSON file it names.

    Where the newest is damaged, or `make` raises CheckpointError, the one before it is taken and a warning says so.
    Raises ValueError where there is no save, and with the file's name where `make` does; CheckpointError where no save is
    whole; RuntimeError where one is newer than this package, which going on from an older one would overwrite.
    """
    saves = [Path(folder)] if Path(folder).is_file() else _saves(Path(folder))
    if not saves:
        raise ValueError(f"{folder} holds no checkpoint; gan.save({str(folder)!r}) writes one")
    fault = None
    for path in reversed(saves):
        try:
            made = make(*_read_one(path))
        except CheckpointError as error:
            fault = fault or CheckpointError(f"{path} {error}")
            continue
        except ValueError as error:  # the caller's to mend: no older save would do better
            raise ValueError(f"{path}: {error}") from error
        if fault:
            warnings.warn(f"{fault}; {path.stem}, the newest that is whole, is loaded in its place", stacklevel=3)
        return made
    others = "nor is any older one beside it whole" if len(saves) > 1 else "there is no older one beside it"
    raise CheckpointError(f"{fault}; {others}. Restore a copy of yours, or train anew in another folder") from fault


def bundled(name: str) -> Path:
    """The folder of a model that comes with the package, for `QAAN.load`; `data/trained/README.md` describes them.

    Raises ValueError for a name that is none of theirs.
    """
    if name not in bundled_names():
        raise ValueError(f"name is {name!r}; the models that come along are {', '.join(map(repr, bundled_names()))}")
    return BUNDLED / name


def bundled_names() -> list[str]:
    """The names of the models that come with the package, in alphabetical order."""
    return sorted(path.name for path in BUNDLED.iterdir() if path.is_dir())


def versions() -> dict[str, str]:
    """Python's version and those of the loaded packages that a run's numbers depend on."""
    names = ("qaan_helpers", "torch", "numpy", "scipy", "sklearn", "qiskit", "qiskit_aer")
    loaded = {name: sys.modules[name].__version__ for name in names if name in sys.modules}
    return {"python": platform.python_version(), **loaded}


def _read_one(path):
    """Tensors and description of the save whose JSON is at `path`."""
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version, checksum = description.pop("format"), description.pop("sha256")
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"cannot be read ({error!r})") from error
    if isinstance(version, int) and version > FORMAT:
        raise RuntimeError(
            f"{path} is of format {version}, and this version reads {FORMAT}: a newer qaan_helpers wrote it. Bring the "
            "package up to date, or load an older save by the name of its JSON file"
        )
    if version != FORMAT:
        raise CheckpointError(f"is of format {version!r}, which qaan_helpers never wrote")
    try:
        blob = _tensors_of(path, checksum).read_bytes()
    except (OSError, ValueError, MemoryError) as error:
        raise CheckpointError(f"has no tensors that can be read ({error!r})") from error
    if _checksum(blob, description) != checksum:
        raise CheckpointError("and its tensors are not what was saved")
    try:
        tensors = load(blob)
        broken = _not_finite(tensors)
    except Exception as error:  # safetensors' own kind, and whatever else a stranger's bytes call forth
        raise CheckpointError(f"has tensors that are no safetensors ({error!r})") from error
    if broken:
        raise CheckpointError(f"holds NaN or infinity in {_some(broken)}")
    return tensors, description


def _saves(folder):
    """The JSON files of all saves in `folder`, oldest first."""
    found = [path for path in folder.glob("epoch_*.json") if OURS.fullmatch(path.name)]
    return sorted(found, key=_number)


def _number(path):
    return int(path.name.split(".")[0].removeprefix("epoch_"))


def _tensors_of(path, checksum):
    return path.with_suffix(f".{str(checksum)[:8]}.safetensors")


def _checksum(blob, description):
    digest = hashlib.sha256(blob)  # one after the other, for together they would need the memory twice
    digest.update(json.dumps(description, sort_keys=True).encode())
    return digest.hexdigest()


def _not_finite(tensors):
    return [name for name, tensor in tensors.items() if not tensor.isfinite().all()]


def _some(names):
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more tensors"


def write_whole(path: Path, content: bytes) -> None:
    """Write beside `path`, make sure that it is on disk, then put it in place in one step and make sure of that.

    What a killed save left under the name of the unfinished is overwritten by the next.
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


def _sync_folder(folder):
    """Make the names in `folder` outlive a power cut, where the system has a way: Windows and some shares have none."""
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


def _clear_away(folder, newest, its_tensors, keep):
    """Remove all but the newest `keep` saves up to `newest`, and tensors that a stopped save left without JSON.

    Later saves are another run's: of their JSONs the latest goes last, and until then that one is what loads.
    """
    saves = _saves(folder)
    stay = [path for path in saves if _number(path) <= _number(newest)][-keep:]
    for path in saves:
        if path not in stay:
            path.unlink()
    stems = {path.stem for path in stay if path != newest}
    for path in folder.glob("epoch_*.safetensors"):
        if OURS.fullmatch(path.name) and path != its_tensors and path.name.split(".")[0] not in stems:
            path.unlink()
