"""Argument checks, limits and the exception that several layers share."""

from numbers import Integral

MAX_BITS = 10_000  # of a code: more than any device has, and networks with so many latents still fit into memory
MAX_SAMPLED_BITS = 10**8  # bits in one draw: two GB on their way


class ExecutionError(RuntimeError):
    """A circuit could not be run where it was sent; angles fitted before the failure are kept."""


def check_integer(name: str, value: int, least: int = 1, most: int | None = None) -> int:
    """Return the argument `name`, `value`, as an int; raise ValueError unless it is whole and `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of {least} or more")
    if most is not None and value > most:
        raise ValueError(f"{name} is {value!r}; it must be {most:,} or less")
    return int(value)
