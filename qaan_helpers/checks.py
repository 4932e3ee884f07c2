"""The one check that every module needs: a whole number that is large enough."""

from numbers import Integral


def check_whole(name: str, value: int, least: int = 1) -> int:
    """Return the argument `name`, `value`, as an int; raise ValueError unless it is a whole number, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of {least} or more")
    return int(value)
