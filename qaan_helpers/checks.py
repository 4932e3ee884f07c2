"""The one check that every module needs: a whole number that is large enough."""

from numbers import Integral

MOST_BITS = 10_000  # of a code: more than any device has, and networks with so many latents still fit into memory
MOST_DRAWN = 10**8  # bits in one draw: two GB on their way


def check_whole(name: str, value: int, least: int = 1, most: int | None = None) -> int:
    """Return the argument `name`, `value`, as an int; raise ValueError unless it is whole and `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of {least} or more")
    if most is not None and value > most:
        raise ValueError(f"{name} is {value!r}; it must be {most:,} or less")
    return int(value)
