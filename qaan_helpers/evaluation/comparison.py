"""Arms of a sweep beside each other: differences paired by seed, and two intervals of their mean."""

import csv
import json
from pathlib import Path
from statistics import fmean

import numpy as np

from ..checks import check_integer
from ..priors import make_prior

TEXTS = ("arm", "digits", "data", "revision", "result", "versions", "configuration")  # columns that hold no number


def read_rows(path: str | Path) -> list[dict]:
    """The rows of a sweep's `table.csv`: texts as they are, numbers as floats, None where there is none."""
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {name: text if name in TEXTS else float(text) if text else None for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


def last_scores(rows: list[dict], score: str, points: int = 1) -> dict[str, dict[int, float]]:
    """The score with which each run ended: {arm: {seed: value}}, arms in the rows' order.

    It is the mean over the last `points` rows of a run, as a GAN's scores swing from epoch to epoch; None where one has
    none.
    """
    found = {}
    for row in sorted(rows, key=lambda row: row["steps"]):
        found.setdefault(row["arm"], {}).setdefault(int(row["seed"]), []).append(row[score])
    check_integer("points", points, 1)
    return {
        arm: {
            seed: None if None in values[-points:] else fmean(values[-points:]) for seed, values in found[arm].items()
        }
        for arm in dict.fromkeys(row["arm"] for row in rows)
    }


def baselines(rows: list[dict]) -> dict[str, str]:
    """For each arm that has one, its baseline: the arm with a uniform prior of as many bits, {arm: baseline}.

    Raises ValueError where two uniform priors have as many bits, so that there is no telling which.
    """
    configs = {row["arm"]: json.loads(row["configuration"])["prior"] for row in rows}
    width = {arm: make_prior(config).latent_dim for arm, config in configs.items()}
    coins = [arm for arm, config in configs.items() if config["kind"] == "uniform"]
    of_width = {width[arm]: arm for arm in coins}
    if len(of_width) < len(coins):
        raise ValueError(f"of {', '.join(map(repr, coins))} some have as many bits: keep one of them")
    return {arm: of_width[n] for arm, n in width.items() if arm not in coins and n in of_width}


def paired_differences(rows: list[dict], score: str, arm: str, baseline: str, points: int = 1) -> np.ndarray:
    """An arm's `last_scores` less the baseline's, seed by seed: (seeds,), in the order of the seeds.

    Raises ValueError where one of the two has a seed that the other lacks or no such score, or is not there at all.
    """
    scores = last_scores(rows, score, points)
    for name in (arm, baseline):
        if name not in scores:
            raise ValueError(f"there is no arm {name!r}; there are {', '.join(map(repr, scores))}")
        if None in scores[name].values():
            raise ValueError(f"{name!r} has no {score}")
    ours, theirs = scores[arm], scores[baseline]
    if ours.keys() != theirs.keys():
        raise ValueError(f"{arm!r} has the seeds {sorted(ours)} and {baseline!r} has {sorted(theirs)}: no pairs")
    return np.array([ours[seed] - theirs[seed] for seed in sorted(ours)])


def interval(values: np.ndarray, comparisons: int = 1, level: float = 0.95, draws: int = 20_000) -> tuple[float, float]:
    """A bootstrap interval of the mean of values (N,), each of `comparisons` wide enough that all hold with `level`.

    The studentised bootstrap: each draw's mean is judged by that draw's own spread. The percentile and BCa bootstraps
    are too narrow for few values; this one is wide enough, but erratic where some of them lie close together, and no
    use for five: set `student_interval` beside it. The correction is Bonferroni's.
    Raises ValueError for fewer than five values, which cannot be resampled in enough ways.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 12.5.
    """
    values, tail = _checked(values, comparisons, level, least=5)
    n = len(values)
    drawn = values[np.random.default_rng(0).integers(0, n, (draws, n))]
    errors = drawn.std(axis=1, ddof=1) / np.sqrt(n)
    usable = errors > 1e-12 * np.abs(values).max(initial=0)  # not where one value was drawn n times
    if not usable.any():
        return float(values.mean()), float(values.mean())
    low, high = np.quantile((drawn.mean(axis=1) - values.mean())[usable] / errors[usable], [tail, 1 - tail])
    error = values.std(ddof=1) / np.sqrt(n)
    return float(values.mean() - high * error), float(values.mean() - low * error)


def student_interval(values: np.ndarray, comparisons: int = 1, level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of values (N,), taken for normal, as wide as `interval` for `comparisons`.

    Raises ValueError for fewer than two values.
    Source: Student, The probable error of a mean, Biometrika 6 (1908).
    """
    from scipy.special import stdtrit

    values, tail = _checked(values, comparisons, level, least=2)
    half = stdtrit(len(values) - 1, 1 - tail) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def _checked(values, comparisons, level, least):
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < least or not np.isfinite(values).all():
        raise ValueError(f"values have shape {values.shape}; {least} or more finite numbers are needed")
    check_integer("comparisons", comparisons, 1)
    if not 0 < level < 1:
        raise ValueError(f"level is {level!r}; it must lie between 0 and 1")
    return values, (1 - level) / comparisons / 2


def verdict(low: float, high: float) -> str:
    """What an interval of a difference says where lower is better: "better", "worse", or "tie" where it holds 0."""
    return "better" if high < 0 else "worse" if low > 0 else "tie"
