"""Compare the arms of a sweep: differences paired by seed, and confidence intervals of their mean."""

import csv
import json
from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import factorial, stdtrit

from ..checks import check_choice, check_integer
from ..priors import make_prior

Row = dict[str, Any]  # one row of a sweep's table: a number, None or text for each column
TEXT_COLUMNS = ("arm", "prior", "digits", "data", "revision", "result", "versions", "configuration")
MAX_ENUMERATED = 10  # values: 92,378 distinct resamples
SAMPLED_VALUES = 30_000_000  # in the resamples of more values, which takes about a second
MIN_RESAMPLES = 20_000  # however many values there are


def read_rows(path: str | Path) -> list[Row]:
    """Read the rows of a sweep's `table.csv`.

    Args:
        path: The CSV file.

    Returns:
        One dictionary per row: text columns as strings, numbers as floats, None for an empty cell.
    """
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {name: text if name in TEXT_COLUMNS else float(text) if text else None for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


def last_scores(rows: list[Row], score: str, points: int = 1) -> dict[str, dict[int, float | None]]:
    """Average the last scores of each run; a GAN's scores swing from epoch to epoch.

    Rows of a plan's compared priors, which name one in the column "prior", are left out.

    Args:
        rows: Rows as `read_rows` returns them.
        score: Column of the score, such as "frechet_distance".
        points: How many of a run's last rows to average.

    Returns:
        {arm: {seed: mean score}}, arms in the order of the rows; None if one of the last rows has no score.

    Raises:
        ValueError: If `points` is not an integer ≥ 1.
    """
    check_integer("points", points)
    rows = [row for row in rows if not row.get("prior")]
    scores: dict[str, dict[int, list]] = {row["arm"]: {} for row in rows}
    for row in sorted(rows, key=lambda row: row["steps"]):
        scores[row["arm"]].setdefault(int(row["seed"]), []).append(row[score])
    return {
        arm: {seed: None if None in values[-points:] else fmean(values[-points:]) for seed, values in by_seed.items()}
        for arm, by_seed in scores.items()
    }


def baselines(rows: list[Row]) -> dict[str, str]:
    """Match each arm to its baseline, the uniform prior with the same number of bits.

    Args:
        rows: Rows as `read_rows` returns them.

    Returns:
        {arm: baseline} for each arm that has one; uniform priors have none.

    Raises:
        ValueError: If two uniform priors have the same number of bits.
    """
    configs = {row["arm"]: json.loads(row["configuration"])["prior"] for row in rows if not row.get("prior")}
    n_bits = {arm: make_prior(config).latent_dim for arm, config in configs.items()}
    uniform = [arm for arm, config in configs.items() if config["kind"] == "uniform"]
    by_bits = {n_bits[arm]: arm for arm in uniform}
    if len(by_bits) < len(uniform):
        arms = ", ".join(map(repr, uniform))
        raise ValueError(f"uniform arms must have different numbers of bits; got {arms}: leave out rows of some")
    return {arm: by_bits[n] for arm, n in n_bits.items() if arm not in uniform and n in by_bits}


def paired_differences(rows: list[Row], score: str, arm: str, baseline: str, points: int = 1) -> np.ndarray:
    """Subtract the baseline's `last_scores` from an arm's, seed by seed.

    Args:
        rows: Rows as `read_rows` returns them.
        score: Column of the score, such as "frechet_distance".
        arm: Name of the arm.
        baseline: Name of the arm to subtract.
        points: How many of a run's last rows to average.

    Returns:
        Differences (seeds,), in ascending order of the seeds.

    Raises:
        ValueError: If an arm is missing or lacks a score, or if the two arms have different seeds.
    """
    scores = last_scores(rows, score, points)
    for name in (arm, baseline):
        check_choice("arm", name, scores)
        if None in scores[name].values():
            raise ValueError(f"arm {name!r} has runs without a {score}; choose another score")
    ours, theirs = scores[arm], scores[baseline]
    if ours.keys() != theirs.keys():
        seeds = f"{arm!r} has {sorted(ours)} and {baseline!r} has {sorted(theirs)}"
        raise ValueError(f"paired arms must have the same seeds; {seeds}")
    first, second = np.array([[scores[name][seed] for seed in sorted(ours)] for name in (arm, baseline)], dtype=float)
    return first - second


def interval(values: ArrayLike, comparisons: int = 1, level: float = 0.95, *, seed: int = 0) -> tuple[float, float]:
    """Compute a bootstrap-t confidence interval of the mean.

    Each resample x* of the N values has a studentized mean t* = (mean(x*) − mean(x)) / SE(x*), where SE is the standard
    deviation divided by √N. With the lower and upper quantiles t_lo and t_hi of t*, the interval is
    [mean(x) − t_hi SE(x), mean(x) − t_lo SE(x)]. Resamples without spread (one value N times) have no t* and are
    left out. Up to 10 values, all distinct resamples are enumerated and weighted by their multinomial probability,
    so the interval is exact. For more values, resamples are sampled; for values with a spread of about 1, seeds
    change the interval by less than 0.01.

    The percentile and BCa bootstraps are too narrow for few values. This interval is wide enough, but erratic if some
    of the values are close together, and not useful for five values: report `student_interval` next to it.

    Args:
        values: Values (N,), such as `paired_differences`.
        comparisons: How many intervals shall hold together; each tail is divided by it (Bonferroni correction).
        level: Probability that all of the intervals hold.
        seed: Seed of the resamples of more than 10 values.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there are fewer than five values, or an argument is outside its range.

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 12.5.
    """
    values, tail = _checked(values, comparisons, level, minimum=5)
    mean, error, parts = values.mean(), _standard_error(values), []
    for positions, weights in _resamples(len(values), seed):
        resamples = values[positions]
        errors = _standard_error(resamples)
        usable = errors > 1e-12 * np.abs(values).max()
        parts.append(((resamples.mean(axis=1) - mean)[usable] / errors[usable], weights[usable]))
    t, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(t):
        return float(mean), float(mean)
    exact = weights if len(values) <= MAX_ENUMERATED else None  # all weights are 1: three times as fast without them
    low, high = np.quantile(t, [tail, 1 - tail], weights=exact, method="inverted_cdf")
    return float(mean - high * error), float(mean - low * error)


@cache
def _distinct_resamples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """All distinct resamples of n values: positions (M, n), and how many of the nⁿ orderings each stands for (M,)."""
    positions = np.array(list(combinations_with_replacement(range(n), n)), dtype=np.int8)
    counts = (positions[:, :, None] == np.arange(n, dtype=np.int8)).sum(axis=1)  # (M, n): how often a value occurs
    return positions, factorial(n) / factorial(counts).prod(axis=1)


def _resamples(n: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Resamples of n values in parts that fit into memory: positions (M, n) and weights (M,)."""
    if n <= MAX_ENUMERATED:
        yield _distinct_resamples(n)
        return
    rng, size = np.random.default_rng(seed), max(1_000_000 // n, 1)
    for _ in range(max(SAMPLED_VALUES, MIN_RESAMPLES * n) // (size * n)):
        yield rng.integers(0, n, (size, n), dtype=np.int32), np.ones(size)


def _standard_error(values: np.ndarray) -> np.ndarray:
    """The standard error of the mean along the last axis."""
    return values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])


def student_interval(values: ArrayLike, comparisons: int = 1, level: float = 0.95) -> tuple[float, float]:
    """Compute Student's t confidence interval of the mean, which assumes normally distributed values.

    Args:
        values: Values (N,), such as `paired_differences`.
        comparisons: How many intervals shall hold together (Bonferroni correction), as in `interval`.
        level: Probability that all of the intervals hold.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there are fewer than two values, or an argument is outside its range.

    Source:
        Student, The probable error of a mean, Biometrika 6 (1908).
    """
    values, tail = _checked(values, comparisons, level, minimum=2)
    half = stdtrit(len(values) - 1, 1 - tail) * _standard_error(values)
    return float(values.mean() - half), float(values.mean() + half)


def _checked(values: ArrayLike, comparisons: int, level: float, minimum: int) -> tuple[np.ndarray, float]:
    """The values as an array (N,), and the probability of each tail."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < minimum or not np.isfinite(values).all():
        finite = "" if np.isfinite(values).all() else " with NaN or infinity"
        allowed = f"{minimum} or more finite numbers, shape (N,)"
        raise ValueError(f"values must be {allowed}; got shape {values.shape}{finite}")
    check_integer("comparisons", comparisons)
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, ends excluded; got {level!r}")
    return values, (1 - level) / comparisons / 2


def verdict(low: float, high: float) -> str:
    """Say what the interval of a difference shows if lower scores are better.

    Args:
        low: Lower end of the interval.
        high: Upper end of the interval.

    Returns:
        "better" if the interval is below 0, "worse" if it is above 0, "tie" if it contains 0 (inconclusive).
    """
    if high < 0:
        return "better"
    return "worse" if low > 0 else "tie"
