"""Checks of notebook 0's exercises: playing with a trained model."""

from functools import partial

import numpy as np

from ... import QAAN, bundled
from ...bits import from_index
from ...evaluation.metrics import classify
from ...priors import distribution
from .grading import PAIR, Hint, equals, grade, is_near, needs_keys, one_of


def check_one_flip(codes: object) -> bool:
    """Check exercise 1 of notebook 0: two codes that differ in one bit and give a clear 3 and a clear 7.

    Args:
        codes: Two strings of eight bits, such as "0110 0101", as the panel of the first model shows them.

    Returns:
        Whether the answer is right.
    """
    hints = [
        Hint(_are_two_codes, "Two strings of eight bits are needed, as the panel shows them, bit 0 first."),
        Hint(_differ_in_one_bit, "Compare the two codes bit by bit. In how many places do they differ?"),
        Hint(
            lambda codes: len(set(_classified(codes)[0])) == 2,
            "The classifier takes both images for the same digit. Which flips change the image more?",
        ),
        Hint(
            lambda codes: set(_classified(codes)[0]) == {3, 7},
            "The digits are different, but they are not a 3 and a 7. Which digits does the panel name?",
        ),
        Hint(
            lambda codes: min(_classified(codes)[1]) >= 0.7,
            "The classifier is unsure about one of the two images. Start from a code that gives a clear digit.",
        ),
    ]
    return grade(codes, hints, "Here one bit changes the digit. In another code it may only change the slant.")


def _as_bits(codes: list[str]) -> np.ndarray:
    """Codes as strings, with or without spaces, as bits (N, n)."""
    return np.array([[int(bit) for bit in code.replace(" ", "")] for code in codes])


def _are_two_codes(codes: list[str]) -> bool:
    bits = _as_bits(codes)
    return bits.shape == (2, 8) and bool(np.isin(bits, (0, 1)).all())


def _differ_in_one_bit(codes: list[str]) -> bool:
    return np.ptp(_as_bits(codes), axis=0).sum() == 1


def _classified(codes: list[str]) -> tuple[list[int], list[float]]:
    """The digit that the classifier sees in the image of each code, and its probability."""
    gan = _first_model()
    digits, confidence = classify(gan.generate(gan.latents(_as_bits(codes))))
    return digits.tolist(), confidence.tolist()


def _first_model() -> QAAN:
    return QAAN.load(bundled("qcbm_379"), device="cpu")


def check_rotations(answer: object) -> bool:
    """Check exercise 2 of notebook 0: one angle, rotated by π and by −π from its trained value.

    Args:
        answer: How the two distributions compare: "the same" or "different".

    Returns:
        Whether the answer is right.
    """
    hint = "Try several angles. Compare the captions at the two ends of the slider."
    praise = "The settings differ by 2π. This multiplies the state by −1, which changes no probability (notebook 3)."
    return grade(answer, [one_of(("the same", "different")), equals("the same", hint)], praise)


def check_preferences(answer: object) -> bool:
    """Check exercise 3 of notebook 0: which codes and digits the circuit prefers.

    Args:
        answer: A dictionary of pairs (circuit, uniform prior). "codes" is the number of distinct codes among 1,000
            samples; "sevens" and "nines" are the probabilities that a code gives a 7 and a 9.

    Returns:
        Whether the answer is right.
    """
    gan = _first_model()
    circuit = distribution(gan.prior)
    uniform = np.full_like(circuit, 1 / len(circuit))
    labels = classify(gan.generate(gan.latents(from_index(np.arange(len(circuit)), 8))))[0].numpy()
    distinct = [float((1 - (1 - p) ** 1000).sum()) for p in (circuit, uniform)]
    advice = "Add the probabilities of all codes whose image has this label, for the circuit and then for 1/256 each."
    hints = [
        needs_keys({"codes": PAIR, "sevens": PAIR, "nines": PAIR}),
        Hint(
            lambda counts: is_near(counts[0], distinct[0], 9) and is_near(counts[1], distinct[1], 9),
            "How many of the 1,000 samples are distinct? Give the circuit first, then the uniform prior.",
            ("codes",),
        ),
        *(
            Hint(partial(_are_near, [float(p @ (labels == digit)) for p in (circuit, uniform)]), advice, (name,))
            for name, digit in (("sevens", 7), ("nines", 9))
        ),
    ]
    praise = "The circuit makes some codes rare. It generates more 7s than the uniform prior, and fewer 9s."
    return grade(answer, hints, praise)


def _are_near(right: list[float], pair: list[float]) -> bool:
    return all(is_near(value, expected, 0.02) for value, expected in zip(pair, right, strict=True))
