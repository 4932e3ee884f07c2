"""Snapshots of a QAAN: everything that training or sampling changes can be put back."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .model import QAAN

NETWORKS = (  # what a training step changes; the last two exist only with an encoder
    *("generator", "ema", "discriminator", "g_optimizer", "d_optimizer"),
    *("encoder", "e_optimizer"),
)


class CheckpointError(RuntimeError):
    """A save is damaged or fits no QAAN of this version. An older save may be intact."""


def snapshot(gan: "QAAN") -> dict[str, Any]:
    """Return a copy of a model's state.

    Args:
        gan: The model.

    Returns:
        A deep copy of its `state_dict`.
    """
    return copy.deepcopy(gan.state_dict())


@contextmanager
def preserved(gan: "QAAN") -> Iterator[None]:
    """Restore a model's state at the end of a `with` block, whatever happened in it.

    Args:
        gan: The model.
    """
    state = snapshot(gan)
    try:
        yield
    finally:
        gan.load_state_dict(state)


def is_finite(state: Any) -> bool:
    """Return whether every tensor of a nested state is free of NaN and infinity.

    Args:
        state: A tensor, or nested dicts with tensors among their values.
    """
    if isinstance(state, Mapping):
        return all(is_finite(value) for value in state.values())
    return not isinstance(state, torch.Tensor) or bool(state.isfinite().all())


def check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    """Check that tensors hold neither NaN nor infinity.

    Args:
        tensors: The tensors by name.

    Raises:
        CheckpointError: If one does, with its name.
    """
    broken = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    if broken:
        others = f" and {len(broken) - 1} other tensors" if len(broken) > 1 else ""
        raise CheckpointError(f"holds NaN or infinity in {broken[0]}{others}")
