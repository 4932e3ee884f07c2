"""Saves of format 1, which versions before 0.2 wrote: a JSON file and a safetensors file next to it. Read only."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load

from .state import CheckpointError, check_finite

TENSORS = re.compile(r"(epoch_\d{6,})\.[0-9a-f]{8}\.safetensors")
SETTINGS = {"hidden_rate": "hidden_lr_factor", "averaging": "ema_decay", "binarisation": "binarization"}
BEFORE_THESE = {"hidden_lr_factor": 1.0, "ema_decay": 0.0}  # in saves from before these settings existed


def read(path: Path) -> dict[str, Any]:
    """Read a save of format 1.

    Args:
        path: Its JSON file.

    Returns:
        The state, in today's form.

    Raises:
        CheckpointError: If the save is damaged, holds NaN or infinity, or lacks an entry.
    """
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version, expected = description.pop("format"), description.pop("sha256")
        blob = path.with_suffix(f".{str(expected)[:8]}.safetensors").read_bytes()
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"cannot be read ({error!r})") from error
    if version != 1:
        raise CheckpointError(f"has format {version!r}, which qaan_helpers never wrote as JSON")
    if hashlib.sha256(blob + json.dumps(description, sort_keys=True).encode()).hexdigest() != expected:
        raise CheckpointError("or its tensors were altered after they were saved: the checksum differs")
    try:
        tensors = load(blob)
        check_finite(tensors)
        return _converted(tensors, description)
    except CheckpointError:
        raise
    except Exception as error:  # safetensors' own exception, and whatever else a crafted save causes
        raise CheckpointError(f"holds no valid state ({error!r})") from error


def delete_orphans(folder: Path) -> None:
    """Delete the tensors of format 1 whose JSON file is gone.

    Args:
        folder: Folder of a run.
    """
    for path in folder.glob("epoch_*.safetensors"):
        match = TENSORS.fullmatch(path.name)
        if match and not path.with_name(f"{match[1]}.json").exists():
            path.unlink()


def _converted(tensors: dict[str, torch.Tensor], description: dict[str, Any]) -> dict[str, Any]:
    settings = BEFORE_THESE | {SETTINGS.get(name, name): value for name, value in description["settings"].items()}
    discriminator = _part(tensors, "discriminator")
    state = {
        "seed": description["seed"],
        "settings": settings,
        "prior": {
            "config": _prior_config(description["prior"]),
            "state": _prior_state(description["prior"]["kind"], _part(tensors, "prior")),
        },
        "prior_fitted": len(description["history"]) > settings["warm_up"],
        "generator": _part(tensors, "generator"),
        "discriminator": {name.replace("verdict.", "output."): value for name, value in discriminator.items()},
        "random": {"noise": tensors["noise"], "warm_up": {"rng": _rng(tensors["uniform.rng"])}},
        "history": description["history"],
        "trained_on": description.get("trained_on"),
        "versions": description.get("versions"),
    }
    if average := _part(tensors, "average"):
        state["ema"] = average
    for old, new in (("g_adam", "g_optimizer"), ("d_adam", "d_optimizer")):
        moments: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in _part(tensors, old).items():
            index, entry = name.split(".")
            moments.setdefault(index, {})[entry] = value
        state[new] = {"state": moments}
    return state


def _part(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _prior_config(config: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {"uniform_share": "uniform_fraction"}
    return {renamed.get(name, name): value for name, value in config.items()}


def _prior_state(kind: str, arrays: dict[str, torch.Tensor]) -> dict[str, Any]:
    """A prior's arrays in today's form: nested for a wrapper, random streams as NumPy describes them."""
    state: dict[str, Any] = dict(arrays)
    for name in state.keys() & {"rng", "mixing_rng"}:
        state[name] = _rng(arrays[name])
    if "fitted" in state:
        state["fitted"] = bool(arrays["fitted"][0])
    if kind == "mixed":
        return {"rng": state.pop("mixing_rng"), "prior": state}
    if kind == "scrambled":
        return {"labels": state.pop("labels"), "prior": state}
    return state


def _rng(words: torch.Tensor) -> dict[str, Any]:
    """The state of a PCG64 generator from six uint64."""
    high, low, inc_high, inc_low, has_uint32, uinteger = (int(word) for word in words.numpy().astype(np.uint64))
    return {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
