"""Checks of notebook 10's exercises: many runs, and more qubits."""

from typing import Any

from .grading import NUMBER, Hint, a_whole_number, equals, grade, needs_keys, not_near


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


def check_interrupted(answer: object) -> bool:
    """Check exercise 3 of notebook 10: an interrupted sweep.

    Args:
        answer: A dictionary of whole numbers. "all" is the number of runs in the plan, "kept" that of the results after
            the interrupt, and "found" that of the runs that the next call finds done.

    Returns:
        Whether the answer is right.
    """
    names = ("all", "kept", "found")
    hints = [
        needs_keys(dict.fromkeys(names, NUMBER)),
        a_whole_number("A whole number is needed.", *names),
        Hint(lambda n: n != 0, "The interrupt came before the first run was done. Wait for one.", ("kept",)),
        Hint(lambda a: a["kept"] < a["all"], "All runs were done already. Press ■ earlier, or add seeds."),
        Hint(lambda a: a["found"] == a["kept"], "Every saved result is found. Is it the same folder, and plan?"),
    ]
    return grade(answer, hints, "Finished runs are saved, and an interrupt does not change them.")
