"""Grade an answer: try hints in order and print the first one that applies, or praise.

A check lists its hints from the form of an answer to its value. No hint gives the answer away.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

OPEN = "Not answered yet: replace the three dots with your answer."


@dataclass(frozen=True)
class Hint:
    """A requirement of an answer, and what to look at again if the answer does not meet it.

    Args:
        accepts: Whether an answer meets the requirement. It may raise an exception for an answer of another type.
        message: What to look at again.
        parts: Keys or indices of an answer. If there are any, `accepts` gets each of these parts in turn.
    """

    accepts: Callable[[Any], object]
    message: str
    parts: tuple[str | int, ...] = ()

    def problem(self, answer: Any) -> str | None:
        """Find out whether the hint applies to an answer.

        Args:
            answer: The answer, of any type.

        Returns:
            What to look at again, after the name of the part; None if the requirement is met.
        """
        if not self.parts:
            return None if self.accepts(answer) else self.message
        for part in self.parts:
            if not self.accepts(answer[part]):
                return f"{part}: {self.message}" if isinstance(part, str) else self.message
        return None


def grade(answer: object, hints: Sequence[Hint], praise: str) -> bool:
    """Print the first hint that applies to an answer, or praise.

    A learner's answer can be of any type. If it raises an exception, the message says so. After the first hint, a
    callable answer is taken to be the function that was asked for.

    Args:
        answer: The answer, or `...` if the exercise is still open.
        hints: Requirements in the order in which they are tried.
        praise: What to print after "Right." if all requirements are met.

    Returns:
        Whether the answer is right.
    """
    if answer is ...:
        print(OPEN)
        return False
    for position, hint in enumerate(hints):
        try:
            message = hint.problem(answer)
        except Exception as error:  # of any kind: the notebook has to go on
            reason = f"This is of type {type(answer).__name__}."
            if position > 0 and callable(answer):
                reason = f"Calling your function or using its result raised {type(error).__name__}: {error}."
            message = f"{reason} {hint.message}"
        if message:
            print(f"Not yet. {message}")
            return False
    print(f"Right. {praise}")
    return True


# Predicates


def shape(value: Any) -> tuple[int, ...]:
    """Return the shape of numbers.

    Args:
        value: A number, or an array or nested sequence of numbers.

    Returns:
        The shape; () for a single number.

    Raises:
        ValueError: If `value` holds something that is not a number.
        TypeError: The same for some types.
    """
    return np.asarray(value, dtype=float).shape


def is_number(value: Any) -> bool:
    """Tell whether a value is a single number, and not a truth value.

    Args:
        value: A number, or an array or nested sequence of numbers.

    Returns:
        Whether its shape is ().

    Raises:
        ValueError: If `value` holds something that is not a number.
        TypeError: The same for some types.
    """
    return shape(value) == () and not isinstance(value, bool)


def is_near(value: Any, right: float, tolerance: float = 1e-3) -> bool:
    """Compare a number with the right one.

    Args:
        value: A number, or a tensor of one element.
        right: The right number.
        tolerance: The largest absolute difference that counts as near.

    Returns:
        Whether the two numbers are near each other; False for NaN.
    """
    return abs(float(value) - right) <= tolerance


# Hints about the form of an answer


@dataclass(frozen=True)
class Form:
    """What the value under a key has to look like.

    Args:
        name: The form in words, for the hint.
        shape: The shape of its numbers, or None if any value will do.
    """

    name: str
    shape: tuple[int, ...] | None


NUMBER, PAIR = Form("a number", ()), Form("two numbers", (2,))
WORD, LIST = Form("a word", None), Form("a list", None)


def needs_keys(forms: Mapping[str, Form]) -> Hint:
    """Require a dictionary with certain keys.

    Args:
        forms: The form of the value under each key.

    Returns:
        The hint, which names all keys and their forms.
    """

    def accepts(answer: Any) -> bool:
        if not isinstance(answer, dict) or set(answer) != set(forms):
            return False
        return all(form.shape is None or shape(answer[key]) == form.shape for key, form in forms.items())

    *first, last = (f'"{key}" ({form.name})' for key, form in forms.items())
    return Hint(accepts, f"A dictionary with the keys {', '.join(first)} and {last} is needed.")


def a_function() -> Hint:
    """Require a function.

    Returns:
        The hint.
    """
    return Hint(callable, "Pass the function itself: its name, without parentheses.")


def a_number(message: str = "One number is needed.") -> Hint:
    """Require one number.

    Args:
        message: What to look at again.

    Returns:
        The hint, which also applies to NaN and to truth values.
    """
    return Hint(lambda value: is_number(value) and not np.isnan(float(value)), message)


def a_whole_number(message: str, *parts: str | int) -> Hint:
    """Require one whole number.

    Args:
        message: What to look at again.
        *parts: Keys or indices of the numbers in the answer; none for the answer itself.

    Returns:
        The hint.
    """
    return Hint(lambda value: is_number(value) and int(value) == value, message, parts)


def numbers(wanted: tuple[int, ...], message: str, *parts: str | int) -> Hint:
    """Require numbers of a certain shape.

    Args:
        wanted: The shape.
        message: What to look at again.
        *parts: Keys or indices of the numbers in the answer; none for the answer itself.

    Returns:
        The hint.
    """
    return Hint(lambda value: shape(value) == wanted, message, parts)


def one_of(words: Collection[str], *parts: str | int) -> Hint:
    """Require one of several words.

    Args:
        words: The words to choose from.
        *parts: Keys or indices of the words in the answer; none for the answer itself.

    Returns:
        The hint, which lists the words.
    """
    listed = ", ".join(f'"{word}"' for word in words)
    return Hint(lambda value: value in words, f"Answer with one of {listed}.", parts)


# Hints about the value of an answer


def equals(right: str | int, message: str, *parts: str | int) -> Hint:
    """Require the right word or whole number.

    Args:
        right: The right value.
        message: What to look at again.
        *parts: Keys or indices of the values in the answer; none for the answer itself.

    Returns:
        The hint.
    """
    return Hint(lambda value: value == right, message, parts)


def near(right: float, tolerance: float, message: str, *parts: str | int) -> Hint:
    """Require a number near the right one.

    Args:
        right: The right number.
        tolerance: The largest absolute difference that is accepted.
        message: What to look at again.
        *parts: Keys or indices of the numbers in the answer; none for the answer itself.

    Returns:
        The hint.
    """
    return Hint(lambda value: is_near(value, right, tolerance), message, parts)


def not_near(wrong: float, message: str) -> Hint:
    """Refuse the number that a common mistake gives.

    Args:
        wrong: The result of the mistake.
        message: What to look at again.

    Returns:
        The hint.
    """
    return Hint(lambda value: not is_near(value, wrong), message)


def between(low: float, high: float, message: str, *parts: str | int) -> Hint:
    """Require a number in an interval, bounds included.

    Args:
        low: The smallest number that is accepted; may be -inf.
        high: The largest number that is accepted; may be inf.
        message: What to look at again.
        *parts: Keys or indices of the numbers in the answer; none for the answer itself.

    Returns:
        The hint.
    """
    return Hint(lambda value: low <= value <= high, message, parts)


def returns(right: float, arguments: tuple[object, ...], message: str) -> Hint:
    """Require a function that returns the right number.

    Args:
        right: The right number, to within 1e-3.
        arguments: What the function is called with.
        message: What to look at again.

    Returns:
        The hint.
    """
    return Hint(lambda function: is_near(function(*arguments), right), message)
