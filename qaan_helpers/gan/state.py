"""Snapshots of a QAAN: everything that training or sampling changes can be put back."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch

NETWORKS = ("generator", "ema", "discriminator", "g_optimizer", "d_optimizer")  # what a training step changes


class CheckpointError(RuntimeError):
    """A save is damaged or fits no QAAN of this version. An older save may be intact."""


class Stateful(Protocol):
    """An object with a state, as in PyTorch."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state.

        Args:
            state: What `state_dict` returned.
        """


def snapshot(model: Stateful) -> dict[str, Any]:
    """Return a copy of a model's state.

    Args:
        model: A QAAN, or anything with a state.

    Returns:
        A deep copy of its `state_dict`.
    """
    return copy.deepcopy(model.state_dict())


@contextmanager
def preserved(model: Stateful) -> Iterator[None]:
    """Restore a model's state at the end of a `with` block, whatever happened in it.

    Args:
        model: A QAAN, or anything with a state.
    """
    state = snapshot(model)
    try:
        yield
    finally:
        model.load_state_dict(state)


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
