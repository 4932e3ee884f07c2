"""Argument checks, limits and the exception that several modules share."""

import math
from collections.abc import Collection
from numbers import Integral, Real

MAX_BITS = 10_000  # per latent code: more than any device has, and networks of this width still fit into memory
MAX_SAMPLED_BITS = 10**8  # bits per call of sample: two GB at the peak


class ExecutionError(RuntimeError):
    """A circuit could not be run on its device. Angles fitted before the failure are kept."""


def check_integer(name: str, value: int, minimum: int = 1, maximum: int | None = None) -> int:
    """Check that an argument is an integer within its limits.

    Args:
        name: The argument's name, for the error message.
        value: The argument's value.
        minimum: The smallest value allowed.
        maximum: The largest value allowed; None for no limit.

    Returns:
        The value as an int.

    Raises:
        ValueError: If the value is not an integer or outside the limits.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < minimum or (maximum is not None and value > maximum):
        allowed = f"≥ {minimum:,}" if maximum is None else f"in {minimum:,}–{maximum:,}"
        raise ValueError(f"{name} must be an integer {allowed}; got {value!r}")
    return int(value)


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Check that an argument is one of a few words.

    Args:
        name: The argument's name, for the error message.
        value: The argument's value.
        allowed: The words.

    Raises:
        ValueError: If the value is not one of them.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")


def check_positive(name: str, value: float) -> float:
    """Check that an argument is a positive finite number.

    Args:
        name: The argument's name, for the error message.
        value: The argument's value.

    Returns:
        The value as a float.

    Raises:
        ValueError: If the value is not a number, not positive, or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive finite number; got {value!r}")
    return float(value)
