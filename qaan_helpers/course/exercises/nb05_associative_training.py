"""Checks of notebook 5's exercises: associative training."""

from math import log

import numpy as np

from ... import Report
from .grading import (
    LIST,
    WORD,
    Hint,
    a_function,
    between,
    equals,
    grade,
    near,
    needs_keys,
    numbers,
    one_of,
    returns,
    shape,
)

POSITIVE, SIGNED = (0.9, 0.7, 0.5, 0.6, 0.4), (0.9, -0.7, 0.5, 0.6, -0.4)


def check_most_shared(answer: object) -> bool:
    """Check exercise 1 of notebook 5: the largest total correlation of eight balanced bits.

    Args:
        answer: The total correlation in nats, and the number of different codes that occur then: (nats, codes).

    Returns:
        Whether the answer is right.
    """
    bound = "The entropies of the single bits add up to 8 log 2 nats, and the joint entropy is never negative."
    hints = [
        numbers((2,), "Two numbers are needed: the nats, and how many different codes occur."),
        between(0, 8 * log(2) + 1e-3, bound, 0),
        near(7 * log(2), 0.01, "What is the smallest joint entropy? It cannot be below the entropy of one bit.", 0),
        equals(2, "The nats are right. How many codes have this joint entropy, if each bit is 1 half of the time?", 1),
    ]
    return grade(answer, hints, "One bit determines all others, so the joint entropy is that of one bit.")


def check_learned_fraction(function: object) -> bool:
    """Check exercise 2 of notebook 5: how much of the gap between the best product prior and the entropy is closed.

    Args:
        function: A function of a Report that returns a fraction: 0 for the best product prior, 1 for the empirical
            distribution.

    Returns:
        Whether the answer is right.
    """
    halfway = "A cost halfway between that of the best product prior and the entropy must give 0.5."
    other_epoch = _report(4.25, entropy=3.5, correlation=1.0)
    hints = [
        a_function(),
        returns(1, (_report(3.0),), "Your function does not give 1 if the cost equals the entropy of the bits."),
        returns(0, (_report(5.0),), "Your function does not give 0 for the cost of the best product prior."),
        returns(0.5, (_report(4.0),), halfway),
        returns(0.25, (_report(4.5),), halfway),
        returns(0.25, (other_epoch,), "It must hold for every epoch. What differs from one epoch to the next?"),
        Hint(lambda f: f(_report(6.0)) < 0, "A prior worse than the best product prior has a negative value."),
    ]
    praise = "Costs of different epochs are not comparable, because the bits change. These fractions are."
    return grade(function, hints, praise)


def _report(cost: float, entropy: float = 3.0, correlation: float = 2.0) -> Report:
    return Report(1, 1.0, 1.0, 0.6, 0.4, cost, entropy, correlation, 1.0, 0.5)


def check_one_factor(function: object) -> bool:
    """Check exercise 3 of notebook 5: the best one-factor model of a table of correlations.

    Args:
        function: A function of correlations (n, n) that returns loadings (n,), whose products approximate the
            correlations outside the diagonal with the smallest sum of squared errors.

    Returns:
        Whether the answer is right.
    """
    hints = [
        a_function(),
        Hint(lambda f: shape(f(_table(POSITIVE))) == (5,), "For a table of shape (5, 5), return five loadings."),
        Hint(
            lambda f: _error(f(_table(POSITIVE)), _table(POSITIVE)) < 1e-4,
            "For a table that one factor explains exactly, the products of your loadings are not the correlations. "
            "Does your sum leave out the diagonal, which is always 1?",
        ),
        Hint(
            lambda f: _error(f(_table(SIGNED)), _table(SIGNED)) < 1e-4,
            "Your function works for positive correlations. Negative ones need loadings of both signs.",
        ),
        Hint(
            lambda f: _error(f(_disturbed()), _disturbed()) < 1.01 * _error(_loadings(_disturbed()), _disturbed()),
            "For a table that one factor explains only in part, there are loadings with a smaller error. Does your "
            "optimizer converge, also from another start?",
        ),
    ]
    praise = "Compare what it explains with what it explains of shuffled columns. Then ask what the factor means."
    return grade(function, hints, praise)


def _table(loadings: tuple[float, ...]) -> np.ndarray:
    table = np.outer(loadings, loadings)
    np.fill_diagonal(table, 1)
    return table


def _disturbed() -> np.ndarray:
    """Correlations of shape (5, 5) that one factor does not explain exactly."""
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (5, 5))
    table = _table(SIGNED) + noise + noise.T
    np.fill_diagonal(table, 1)
    return table


def _error(loadings: object, table: np.ndarray) -> float:
    values = np.asarray(loadings, dtype=float)
    return float(((np.outer(values, values) - table)[np.triu_indices(len(table), 1)] ** 2).sum())


def _loadings(table: np.ndarray) -> np.ndarray:
    """The best loadings, by least squares for one loading at a time, from each eigenvector."""
    fits = []
    others = ~np.eye(len(table), dtype=bool)
    for start in np.linalg.eigh(table)[1].T:
        values = start.copy()
        for _ in range(200):
            for i, mask in enumerate(others):
                values[i] = table[i, mask] @ values[mask] / (values[mask] @ values[mask])
        fits.append(values)
    return min(fits, key=lambda values: _error(values, table))


def check_swapped_codes(answer: object) -> bool:
    """Check exercise 4 of notebook 5: whether the generator needs the circuit's codes.

    Args:
        answer: A dictionary. "circuit" and "shuffled" are lists of at least four Fréchet distances, with the circuit's
            codes and with shuffled columns; "better" is what follows: "circuit", "shuffled" or "neither".

    Returns:
        Whether the answer is right.
    """
    kinds = ("circuit", "shuffled")
    hints = [
        needs_keys({**dict.fromkeys(kinds, LIST), "better": WORD}),
        Hint(lambda d: len(d) >= 4, "So few distances can be separate by chance. Give at least four.", kinds),
        Hint(
            lambda distances: all(5 < distance < 100 for distance in distances),
            "These are not distances between this model's digits and real ones. Use at least 300 images, and add noise "
            "to the latents.",
            kinds,
        ),
        one_of((*kinds, "neither"), "better"),
        Hint(
            lambda a: a["better"] == _better(a["circuit"], a["shuffled"]),
            "Compare the largest distance of one kind with the smallest of the other. Do they overlap?",
        ),
    ]
    praise = "Your distances support this."
    if isinstance(answer, dict) and answer.get("better") == "circuit":
        praise += " This generator was trained with these codes. It does not follow that it needed them to learn."
    return grade(answer, hints, praise)


def _better(circuit: list[float], shuffled: list[float]) -> str:
    if max(circuit) < min(shuffled):
        return "circuit"
    return "shuffled" if max(shuffled) < min(circuit) else "neither"
