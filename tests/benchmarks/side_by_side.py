"""Time several ways of doing the same thing in turns, so that a busy machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable

from tqdm.auto import tqdm

WARM_UP = 2  # rounds that load, compile and allocate, and are not counted


def side_by_side(ways: dict[str, Callable[[], object]], rounds: int, what: str = "") -> dict[str, dict]:
    """Run every way once a round, in an order that rotates from round to round.

    Returns for each way `ms`, the median of its milliseconds, and `ratio`, the median over rounds of the first way's
    time divided by its own: how many times as fast as the first it is.
    """
    seconds = {name: [] for name in ways}
    names = list(ways)
    for turn in tqdm(range(rounds + WARM_UP), desc=what, leave=False):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - started)
    base = seconds[names[0]][WARM_UP:]
    return {
        name: {
            "ms": 1000 * statistics.median(taken[WARM_UP:]),
            "ratio": statistics.median(b / own for b, own in zip(base, taken[WARM_UP:], strict=True)),
        }
        for name, taken in seconds.items()
    }


def row_of(told: dict[str, dict]) -> dict[str, float]:
    """What `side_by_side` found as a row: milliseconds of each way, and `ratio`, how many times as fast the last is."""
    return {f"{name}_ms": figures["ms"] for name, figures in told.items()} | {"ratio": list(told.values())[-1]["ratio"]}
