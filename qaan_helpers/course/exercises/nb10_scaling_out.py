"""Checks of notebook 10's exercises: many runs, and more qubits."""

from typing import Any

from .grading import NUMBER, Hint, a_whole_number, equals, grade, is_near, near, needs_keys, not_near


def check_laptop_qubits(qubits: object) -> bool:
    """Check exercise 1 of notebook 10: how many qubits fit into 16 GiB.

    Args:
        qubits: The number of qubits if a simulator needs three times the memory of the amplitudes.

    Returns:
        Whether the answer is right.
    """
    hints = [
        a_whole_number("A whole number of qubits is needed."),
        not_near(30, "That is what the amplitudes alone would allow. What else does the simulator need?"),
        Hint(lambda n: n not in (31, 32, 33, 34), "How many bytes does a complex number of double precision take?"),
        equals(28, "How many amplitudes are there, how many bytes does each take, and what does 16 GiB leave?"),
    ]
    return grade(qubits, hints, "A machine with twice the memory holds one more qubit.")


def check_new_arm(answer: object) -> bool:
    """Check exercise 2 of notebook 10: a new arm in a plan that has been run.

    Args:
        answer: How many runs the new arm takes, and what `run_plan` returned: (number, results).

    Returns:
        Whether the answer is right.
    """
    unsaved = "No result has an RBM. Was the new plan saved before run_plan read it?"
    hints = [
        Hint(lambda a: len(a) == 2, "Two things are needed: a number, and the list that run_plan returned."),
        Hint(lambda results: "rbm" in _kinds(results), unsaved, (1,)),
        Hint(
            lambda results: len(_kinds(results)) >= 3, "The arms that were there before belong to the plan, too.", (1,)
        ),
        Hint(lambda a: a[0] != len(a[1]), "That is how many results there are. How many of them were there before?"),
        Hint(
            lambda a: a[0] == len({result["run"]["seed"] for result in a[1]}),
            "Look at the line that run_plan prints first, or count the files before and after.",
        ),
    ]
    return grade(answer, hints, "A run is identified by its own settings, so a new arm repeats no other runs.")


def _kinds(results: list[dict[str, Any]]) -> set[str]:
    return {result["run"]["prior"]["kind"] for result in results}


def check_speedup(answer: object) -> bool:
    """Check exercise 3 of notebook 10: the speed-up of 10 runs of 60 s, with a start-up time of 12 s.

    Args:
        answer: A dictionary: "4 workers" and "6 workers" are speed-ups, and "as fast as 9" is the smallest number of
            workers that need the same time as 9.

    Returns:
        Whether the answer is right.
    """
    one, four, six = (12 + rounds * 60 for rounds in (10, 3, 2))
    rounds = "Runs are not divided: {} workers do 10 runs in whole rounds."
    hints = [
        needs_keys({"4 workers": NUMBER, "6 workers": NUMBER, "as fast as 9": NUMBER}),
        Hint(lambda s: not is_near(s, 600 / 180, 0.01), "Does one worker need no start-up time?", ("4 workers",)),
        Hint(lambda s: not is_near(s, 612 / 162, 0.01), rounds.format("four"), ("4 workers",)),
        near(one / four, 0.02, "How long does one worker need for everything, and how long do four?", "4 workers"),
        near(one / six, 0.02, "How many rounds do six workers need?", "6 workers"),
        a_whole_number("A whole number is needed.", "as fast as 9"),
        equals(5, "Nine workers need two rounds. Who else does?", "as fast as 9"),
    ]
    return grade(answer, hints, "A further worker helps only if it saves a round.")
