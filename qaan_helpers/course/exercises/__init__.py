"""Checks of the notebooks' exercises: each says whether an answer is right, or what to look at again, never the answer.

A notebook has a stub, `my_answer = ...`, and calls `check_…(my_answer)` below it. Full solutions, which the tests run,
are in notebooks/solutions/.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...bits import binarize, from_index, mutual_information, sample_bits, to_index
from ...evaluation import comparison
from ...quantum.ansatz import qcbm_ansatz
from ...quantum.execution import Exact
from ...quantum.qcbm import QCBM

OPEN = "Not answered yet: put your answer in place of the three dots."


def judge(answer: Any, hints: Iterable[tuple[Callable[[Any], bool], str]], praise: str) -> bool:
    """Print the first of `hints`, pairs (is this wrong with the answer?, what to look at), that applies, else `praise`.

    An answer that a question cannot even be asked of is told its kind and that hint; of a function that a hint before
    has taken for one, where it stopped. Returns whether it is right.
    """
    if answer is ...:
        print(OPEN)
        return False
    for asked, (is_wrong, hint) in enumerate(hints):
        try:
            wrong = bool(is_wrong(answer))
        except Exception as error:  # whatever a learner hands over, the notebook goes on
            kind = f"This is of type {type(answer).__name__}."
            stopped = f"Calling your function, or using what it returns, ends in {type(error).__name__}: {error}."
            wrong, hint = True, f"{stopped if asked and callable(answer) else kind} {hint}"
        if wrong:
            print(f"Not yet. {hint}")
            return False
    print(f"Right. {praise}")
    return True


def _shape(answer):
    return np.asarray(answer, dtype=float).shape


def _far(value, right, tolerance=1e-3):
    """Whether a number, or a tensor of one, is none, or further off than the tolerance."""
    return not abs(float(value) - right) <= tolerance


def _lacks(answer, *keys):
    return not isinstance(answer, dict) or set(answer) != set(keys)


_FUNCTION = "Hand over the function itself: its name, without brackets."


# 0 · Play first


def check_one_flip(codes) -> bool:
    """Exercise 1 of notebook 0: two codes of the first model, as texts, one flip apart, that draw different digits."""
    hints = [
        (
            lambda c: _played(c).shape != (2, 8) or not np.isin(_played(c), (0, 1)).all(),
            "Two texts of eight bits are needed, as the panel shows them: bit 0 first.",
        ),
        (
            lambda c: np.ptp(_played(c), axis=0).sum() != 1,
            "Compare the two, bit by bit: in how many places do they differ?",
        ),
        (lambda c: len(set(_seen(c)[0])) == 1, "The classifier takes both for one digit. Which flips change more?"),
        (lambda c: min(_seen(c)[1]) < 0.7, "One of the two is no clear digit. Begin with a code whose digit is."),
    ]
    return judge(codes, hints, "One switch, another digit. The same switch elsewhere may only change the slant.")


def _played(codes):
    """Codes as texts, with spaces or without, as bits (N, n)."""
    return np.array([[int(bit) for bit in code.replace(" ", "")] for code in codes])


def _seen(codes):
    """The digits that notebook 0's first model draws for codes as texts, and how sure the classifier is of them."""
    from ...evaluation.metrics import classify

    gan = _first_model()
    digits, sure = classify(gan.generate(gan.latents(_played(codes))))
    return digits.tolist(), sure.tolist()


def _first_model():
    from ...gan.storage import bundled, bundled_names
    from ...gan.training import QAAN

    return QAAN.load(bundled(bundled_names()[0]), device="cpu")


def check_half_turns(word) -> bool:
    """Exercise 2 of notebook 0: one angle, turned by half a turn forwards, and by half a turn backwards."""
    words = ("the same", "different")
    hints = [
        (lambda w: w not in words, f"Answer with one of: {', '.join(words)}."),
        (
            lambda w: w == "different",
            "Try it on several angles. How far apart do the two settings lie, on a circle?",
        ),
    ]
    return judge(word, hints, "They lie a whole turn apart, and no measurement tells whole turns. Notebook 3 says why.")


def check_favourites(answer) -> bool:
    """Exercise 3 of notebook 0: different codes among 1,000 and the share of 3s, by circuit and by coins."""
    keys = ("codes", "threes", "favours")
    p = _first_model().prior.probabilities()
    codes = [float((1 - (1 - q) ** 1000).sum()) for q in (p, np.full(len(p), 1 / len(p)))]
    hints = [
        (
            lambda a: _lacks(a, *keys) or _shape(a["codes"]) != (2,) or _shape(a["threes"]) != (2,),
            f"A dictionary with the keys {', '.join(map(repr, keys))} is needed; the first two hold two numbers each.",
        ),
        (
            lambda a: any(_far(found, right, 9) for found, right in zip(a["codes"], codes, strict=True)),
            "For 'codes', how many of 1,000 drawn rows are different? Those of the circuit first, then those of coins.",
        ),
        (
            lambda a: any(_far(share, 1 / 3, 0.1) for share in a["threes"]),
            "For 'threes', the share that class_coverage gives for the digit 3: a number between 0 and 1.",
        ),
        (lambda a: a["favours"] not in ("codes", "digits"), "For 'favours', answer 'codes' or 'digits'."),
        (lambda a: a["favours"] != "codes", "Which pair of numbers is further apart than chance would have it?"),
    ]
    return judge(answer, hints, "Some codes come up much oftener, and yet no digit does: each is drawn for many codes.")


# 1 · Real digits as tensors


def check_sevens(word) -> bool:
    """Exercise 1 of notebook 1: coins for 7s against 7s, beside coins for three digits against three digits."""
    words = ("smaller", "equal", "larger")
    hints = [
        (lambda w: w not in words, f"Answer with one of the words {', '.join(words)}."),
        (
            lambda w: w != "smaller",
            "Each coin of the mixture is a compromise between three digits. Which compromises do coins for one digit "
            "not have to make? And what can neither of them draw?",
        ),
    ]
    return judge(word, hints, "One digit needs fewer compromises. The strokes are missing all the same.")


def check_correlation(function) -> bool:
    """Exercise 2 of notebook 1: a function of two arrays (N,) that returns their correlation."""
    a, b = np.random.default_rng(0).normal(size=(2, 500))
    b += 0.5 * a
    right = float(np.corrcoef(a, b)[0, 1])
    hints = [
        (lambda f: not callable(f), _FUNCTION),
        (lambda f: _far(f(a + 5, b), f(a, b)), "Ink on average must not matter: take each one's mean away first."),
        (lambda f: _far(f(2 * a, b), f(a, b)), "Twice the brightness must not matter: divide by both spreads."),
        (
            lambda f: _far(f(a, a), 1),
            "What should come out for a pixel and itself? Mean and spreads must divide by the same number, too.",
        ),
        (lambda f: _far(f(a, -a), -1), "Where one rises as the other falls, the correlation is −1: mind the sign."),
        (
            lambda f: _far(f(a, b), right),
            "For two arrays that have something in common it is not the mean product yet.",
        ),
    ]
    return judge(function, hints, "Two pixels, one number, whatever their mean and contrast.")


def check_scattered(answer) -> bool:
    """Exercise 3 of notebook 1: the total correlation of eight pixels side by side and of scattered ones, and why."""
    reasons = ("neighbours share a stroke", "far pixels share a stroke", "most pixels hold no ink")
    keys = ("side by side", "scattered", "why")
    hints = [
        (lambda a: _lacks(a, *keys), f"A dictionary with the keys {', '.join(map(repr, keys))} is needed."),
        (
            lambda a: not 1 < a["side by side"] < 2.5,
            "The eight pixels side by side are measured in the notebook; is yours a total correlation of bits (N, 8)?",
        ),
        (lambda a: not a["scattered"] >= 0, "A total correlation is never negative: is it entropies less entropy?"),
        (
            lambda a: not a["scattered"] < a["side by side"],
            "Are yours well scattered? Draw rows from 5 to 22 and columns from 6 to 21, some other eight perhaps.",
        ),
        (lambda a: a["why"] not in reasons, f"For 'why', take one of: {'; '.join(reasons)}."),
        (lambda a: a["why"] != reasons[0], "What do pixels that lie close together have in common in a real digit?"),
    ]
    return judge(answer, hints, "A stroke covers neighbours together. Far apart, the digit alone connects pixels.")


# 2 · A generator and its critic


def check_repeats(number) -> bool:
    """Exercise 1 of notebook 2: how many different codes 256 draws from 256 equally likely ones show, on average."""
    right = 256 * (1 - (1 - 1 / 256) ** 256)
    hints = [
        (lambda n: isinstance(n, bool) or float(n) != float(n), "A number is asked for."),
        (
            lambda n: n > 240,
            "That many would need nearly no code to come twice in 256 draws, a quarter of those counted above.",
        ),
        (
            lambda n: _far(n, right, 12),
            "Follow one code. How likely is it that no draw shows it, and how many codes share its fate on average?",
        ),
    ]
    return judge(number, hints, f"About {right:.0f}: the share 1/e of all codes is missed, though each is as likely.")


def check_d_loss(function) -> bool:
    """Exercise 2 of notebook 2: d_loss(on_real, on_drawn, smoothing), logits (N, 1) in, the mean surprise out."""
    import torch

    half, sure = torch.zeros(4, 1), torch.full((4, 1), 30.0)
    some = torch.tensor([[-1.0], [0.5], [2.0], [0.1]])
    right = _d_loss(some, some + 1, 0.2)
    hints = [
        (lambda f: not callable(f), _FUNCTION),
        (lambda f: _far(f(sure, -sure, 0.0), 0), "A D that is sure of itself and right is not surprised at all."),
        (lambda f: _far(f(half, half, 0.0), 2 * math.log(2)), "D saying one half has two surprises of log 2 to pay."),
        (lambda f: _far(f(some, half, 0.0), _d_loss(some, half, 0.0)), "A mean over the images is asked for."),
        (lambda f: _far(f(half - 30, -sure, 0.0), 30), "How large is the surprise where D calls a real image drawn?"),
        (
            lambda f: _far(f(some, some + 1, 0.2), right),
            "With smoothing s real images are called 1 − s; drawn ones are still called 0.",
        ),
    ]
    return judge(function, hints, "That is the first of the two losses, from the logits, as in `QAAN.step`.")


def _d_loss(on_real, on_drawn, smoothing):
    from torch.nn.functional import logsigmoid

    real = (1 - smoothing) * logsigmoid(on_real) + smoothing * logsigmoid(-on_real)
    return float(-(real.mean() + logsigmoid(-on_drawn).mean()))


def check_smoothing(answer) -> bool:
    """Exercise 3 of notebook 2: the lower landmark without smoothing, and the middle of D's verdicts both ways."""
    keys = ("landmark", "with", "without")
    hints = [
        (lambda a: _lacks(a, *keys), f"A dictionary with the keys {', '.join(map(repr, keys))} is needed."),
        (
            lambda a: _far(a["landmark"], 0, 0.01),
            "Without smoothing, what does an all-seeing D say of a real digit, and how surprised is it to be right?",
        ),
        (
            lambda a: not (0.3 < a["with"] < 0.6 and 0.3 < a["without"] < 0.6),
            "The middle lies halfway between D(x) and D(G(z)), averaged over the epochs: both are probabilities.",
        ),
        (
            lambda a: not a["with"] < a["without"],
            "Take the same seed and the same epochs for both. What would a confused D say, with and without smoothing?",
        ),
    ]
    return judge(
        answer, hints, "Without smoothing a confused D says one half, with it a little less: all verdicts move."
    )


# 3 · A circuit as a probability distribution


def check_rxx_pi(probabilities) -> bool:
    """Exercise 1 of notebook 3: the four probabilities, in the order of the index, after RXX(π) on |00⟩."""
    hints = [
        (np.iscomplexobj, "These are amplitudes. The probability of a state is the square of its amplitude's size."),
        (lambda p: _shape(p) != (4,), "Two qubits have four states: a list of four numbers is needed."),
        (lambda p: abs(sum(p) - 1) > 1e-6, "Probabilities add up to 1."),
        (lambda p: p[0] > 0.01, "RXX(θ) leaves |00⟩ with probability cos²(θ/2). What is that at θ = π?"),
        (lambda p: p[3] < 0.99, "What does X ⊗ X do to each of the two bits of |00⟩?"),
    ]
    return judge(probabilities, hints, "At θ = π the gate is XX itself, but for a phase that no measurement sees.")


def check_secret_of_three(circuit) -> bool:
    """Exercise 2 of notebook 3: a circuit of three qubits whose pairs know nothing of each other and all three do."""
    hints = [
        (lambda c: c.num_qubits != 3, "A QuantumCircuit of three qubits is needed."),
        (lambda c: c.num_clbits > 0 or len(c.parameters) > 0, "Leave out measurements, and give each angle a number."),
        (
            lambda c: max(_known(_born(c), pair) for pair in ((0, 1), (0, 2), (1, 2))) > 1e-6,
            "Some pair of bits knows of each other. A gate on two qubits ties two; what if one of them is tied again?",
        ),
        (
            lambda c: _known(_born(c), (0, 1, 2)) < np.log(2) - 1e-6,
            "No pair knows of each other, but all three together know less than log 2. By which gate and angle, "
            "and from which state, did the pair at the start get its log 2?",
        ),
    ]
    return judge(circuit, hints, "Any two bits are fair coins, and the third is then fixed: only parity ties them.")


def check_reach(reaches) -> bool:
    """Exercise 3 of notebook 3: how far apart bits can be tied after one and after two layers of RXX on a line."""
    count = "small is not zero, and rounding leaves about 1e-16 nats. Which distances show more than 1e-12?"
    hints = [
        (lambda r: _shape(r) != (2,), "Two whole numbers are needed: for one layer, and for two."),
        (lambda r: r[1] <= r[0], "After two layers: the second one passes on what the first has spread."),
        (lambda r: r[0] != 2, f"After one layer: {count}"),
        (lambda r: r[1] != 4, f"After two layers: {count}"),
    ]
    return judge(reaches, hints, "Each layer lets both ends reach one qubit further: a light cone.")


def check_fourfold_shots(measured) -> bool:
    """Exercise 4 of notebook 3: what four times the shots do to KL, to total variation and to the error of a share."""
    hints = [
        (
            lambda m: set(m) != {"kl", "variation", "error"} or _shape([m["kl"], m["variation"]]) != (2,),
            'A dictionary with "kl", "variation" (numbers) and "error" (a word) is needed.',
        ),
        (lambda m: not 0 < m["kl"] < 1, "More shots bring KL down: divide what 400 shots gave by what 100 gave."),
        (lambda m: not 0.19 < m["kl"] < 0.33, "KL: is it the mean of 200 throws, each to the exact distribution?"),
        (
            lambda m: not 0 < m["variation"] < 1,
            "More shots bring the variation down, too: which did you divide by which?",
        ),
        (lambda m: not 0.42 < m["variation"] < 0.6, "Total variation: half the sum of the sizes of all differences."),
        (lambda m: m["error"] not in ("halves", "quarters"), 'For "error" the words are "halves" and "quarters".'),
        (
            lambda m: m["error"] != "halves",
            "Total variation adds up the errors of shares; KL grows with their squares.",
        ),
    ]
    return judge(measured, hints, "Errors shrink with the root of the shots: one digit more costs 100 times as many.")


def _born(circuit):
    """The exact distribution (2ⁿ,) of a circuit without parameters."""
    return Exact().prepare(circuit, []).probabilities(np.zeros((1, 0)))[0]


def _known(p, some):
    """The total correlation in nats of `some` of the bits of a distribution (2ⁿ,); of two it is mutual information."""
    columns = from_index(np.arange(len(p)), len(p).bit_length() - 1)[:, list(some)]
    joint = np.bincount(columns @ (1 << np.arange(len(some))), weights=p)
    single = [np.bincount(column, weights=p) for column in columns.T]
    return sum(map(_entropy, single)) - _entropy(joint)


def _entropy(p):
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


# 4 · Teaching the circuit with COBYLA


def check_no_entanglement(gap) -> bool:
    """Exercise 1 of notebook 4: how far above perfect, in nats, the best circuit without RXX ends on its bits."""
    hints = [
        (lambda g: _shape(g) != (), "One number is needed, in nats."),
        (lambda g: g > 3, "That is the size of a cost. How far does it lie above a perfect model's?"),
        (
            lambda g: g < 0.01,
            "A perfect fit takes bits that know of each other. Can they, without a gate on two qubits?",
        ),
        (
            lambda g: not 1.095 < g < 1.16,
            "Without RXX the circuit is a row of separate coins. Which of the marks at the beginning is their best?",
        ),
    ]
    return judge(
        gap, hints, "It is the data's total correlation: no row of coins gets below it, and Born coins are coins."
    )


def check_slopes(slopes) -> bool:
    """Exercise 2 of notebook 4: a function of (model, state) that gives the slopes (P,) of a state's probability."""
    model = QCBM(qcbm_ansatz(3, layers=2), seed=1)
    start, n_angles = model.angles.copy(), len(model.angles)
    nudges = 1e-5 * np.eye(n_angles)
    moved = [[model.probabilities(start + sign * nudge)[5] for nudge in nudges] for sign in (1, -1)]
    truth = np.subtract(*moved) / 2e-5

    def given(function):
        return np.asarray(function(model, 5), dtype=float)

    def moves(function):
        given(function)
        changed = not np.allclose(model.angles, start, atol=1e-9)  # there and back again is no change
        model.angles = start.copy()
        return changed

    hints = [
        (lambda f: not callable(f), "A function is needed: its name, without calling it."),
        (lambda f: given(f).shape != (n_angles,), "It takes (model, state) and returns one slope for each angle."),
        (moves, "It leaves model.angles changed. `model.probabilities(angles)` takes angles of your own: a copy."),
        (lambda f: np.allclose(given(f), 2 * truth, atol=1e-6), "Each is twice the slope. Look at the rule again."),
        (lambda f: np.allclose(given(f), -truth, atol=1e-6), "Each has the wrong sign. Which shift comes first?"),
        (
            lambda f: not np.allclose(given(f), truth, atol=1e-6),
            "Small nudges of single angles say otherwise. Is one angle shifted at a time, by a quarter turn each way?",
        ),
    ]
    return judge(slopes, hints, "Small nudges agree, and your shifts are large: hardware could see them.")


def check_trust_radius(ends) -> bool:
    """Exercise 3 of notebook 4: where COBYLA ends, in nats above perfect, by its first step; which simplex is wild."""
    hints = [
        (
            lambda e: set(e) != {"2.0", "0.05", "wild"} or _shape([e["2.0"], e["0.05"]]) != (2,),
            'A dictionary with "2.0", "0.05" (numbers) and "wild" (a word) is needed.',
        ),
        (lambda e: min(e["2.0"], e["0.05"]) > 3, "These are costs. Take the entropy of the rows off them."),
        (lambda e: not 0.1 < e["0.05"] < 0.7, "0.05: is it 1,500 evaluations, exact, from the warm start with seed 0?"),
        (lambda e: not 0.2 < e["2.0"] < 1.05, "2.0: is it 1,500 evaluations, exact, from the warm start with seed 0?"),
        (lambda e: e["wild"] not in ("2.0", "0.05"), 'For "wild" the words are "2.0" and "0.05", as texts.'),
        (lambda e: e["wild"] != "2.0", "Compare the first cost with the largest of the first 89, for each of the two."),
    ]
    return judge(
        ends, hints, "A plane through points 2 radians apart says little of a cost that goes round in circles."
    )


def check_plateau(factors) -> bool:
    """Exercise 4 of notebook 4: the factor a qubit of a slope's variance for each entanglement, and what decides."""
    names = ("full", "linear", "none")
    hints = [
        (
            lambda f: set(f) != {*names, "decides"} or _shape([f[name] for name in names]) != (3,),
            'A dictionary with "full", "linear", "none" (numbers) and "decides" (a word) is needed.',
        ),
        (lambda f: min(f[name] for name in names) < 0, "A factor is above 0: np.exp of the slope of the logarithms."),
        (lambda f: f["full"] < 0.45, "full: that is the factor of two qubits, or of one probability."),
        (
            lambda f: f["full"] > 0.8,
            "full: are the angles drawn from the whole circle, anew for each number of qubits?",
        ),
        (lambda f: not 0.8 < f["linear"] < 1.25, "linear: do circuit and points both have this entanglement?"),
        (lambda f: not 0.8 < f["none"] < 1.25, "none: do circuit and points both have this entanglement?"),
        (lambda f: f["decides"] not in ("size", "reach"), 'For "decides" the words are "size" and "reach".'),
        (
            lambda f: f["decides"] != "reach",
            "All three circuits grow alike. Which one has the plateau, and what sets it apart?",
        ),
    ]
    return judge(
        factors, hints, "A bit that depends on few qubits has no plateau, and cannot know of many bits either."
    )


# 5 · The associative loop


def check_most_shared(answer) -> bool:
    """Exercise 1 of notebook 5: the most nats that eight median-cut bits can share, and how many codes occur then."""
    fair, most = 8 * math.log(2), 7 * math.log(2)
    hints = [
        (lambda a: _shape(a) != (2,), "Two numbers are needed: nats, and how many different codes occur."),
        (
            lambda a: not 0 <= a[0] <= fair + 1e-3,
            "The entropies of the single bits add up to 8 log 2 nats, and an entropy is never negative.",
        ),
        (
            lambda a: _far(a[0], most, 0.01),
            "Let one bit give away all others. Which rows are left, and what is their entropy?",
        ),
        (lambda a: a[1] != 2, "The nats are right. How many rows does it take that each bit is 1 half of the time?"),
    ]
    return judge(answer, hints, "One bit tells all others, and that one is still a fair coin: its log 2 is left.")


def check_learned_share(function) -> bool:
    """Exercise 2 of notebook 5: of what there is to learn beyond a product, the share that the prior learned."""
    from ...gan.training import Report

    def share(f, cost, entropy=3.0, correlation=2.0):
        return f(Report(1, 1.0, 1.0, 0.6, 0.4, cost, entropy, correlation, 1.0, 0.5))

    hints = [
        (lambda f: not callable(f), _FUNCTION),
        (lambda f: _far(share(f, 3.0), 1), "Try the report of a perfect model: your function does not give 1."),
        (lambda f: _far(share(f, 5.0), 0), "Try the report of the best product: your function does not give 0."),
        (
            lambda f: _far(share(f, 4.0), 0.5) or _far(share(f, 4.5), 0.25),
            "Half of the way from product to perfect is a share of one half, a quarter of it one quarter.",
        ),
        (
            lambda f: _far(share(f, 4.25, 3.5, 1.0), 0.25),
            "It must hold for every epoch: what differs from one to the next?",
        ),
        (lambda f: not share(f, 6.0) < 0, "A prior that is worse than a product has a share below 0: cut nothing off."),
    ]
    return judge(function, hints, "Costs of different epochs do not compare, as the bits change; these shares do.")


def check_swapped_codes(answer) -> bool:
    """Exercise 3 of notebook 5: Fréchet distances with the circuit's codes and with shuffled ones, and what follows."""
    keys, words = ("circuit", "shuffled", "better"), ("circuit", "shuffled", "neither")
    hints = [
        (lambda a: _lacks(a, *keys), f"A dictionary with the keys {', '.join(map(repr, keys))} is needed."),
        (
            lambda a: min(len(a["circuit"]), len(a["shuffled"])) < 2,
            "One draw tells nothing of chance: hand over lists with the distances of at least two draws each.",
        ),
        (
            lambda a: not all(5 < d < 100 for d in [*a["circuit"], *a["shuffled"]]),
            "These are not distances of this model's digits to as many real ones; draw 300 images or more each time, "
            "with noise on the latents.",
        ),
        (lambda a: a["better"] not in words, f"For 'better', take one of: {', '.join(words)}."),
        (
            lambda a: a["better"] != _better(a),
            "Compare the worst draw of one kind with the best of the other. Do they overlap? Small distances are good.",
        ),
    ]
    praise = "That is what your numbers say."
    if isinstance(answer, dict) and answer.get("better") == "circuit":
        praise += " It is this generator that misses its codes; others may learn without them."
    return judge(answer, hints, praise)


def _better(answer):
    circuit, shuffled = answer["circuit"], answer["shuffled"]
    if max(circuit) < min(shuffled):
        return "circuit"
    return "shuffled" if max(shuffled) < min(circuit) else "neither"


# 6 · One circuit, two bases


def check_other_turn(p) -> bool:
    """Exercise 1 of notebook 6: p(1) of four states of one qubit after RY(π/2)."""
    if isinstance(p, dict):
        p = {str(state).replace("-", "−"): value for state, value in p.items()}  # a hyphen for a minus sign
    hints = [
        (lambda p: set(p) != set(_TURNED), f"A dictionary with the keys {', '.join(_TURNED)} is needed."),
        (lambda p: _shape(list(p.values())) != (4,), "Each state has one number, p(1)."),
        (lambda p: not all(0 <= value <= 1 for value in p.values()), "A probability lies between 0 and 1."),
        (
            lambda p: any(_far(p[state], right) for state, right in _TURNED.items()),
            "At least one is off. Apply the matrix to both amplitudes of the state; the lower of the new ones belongs "
            "to 1. Square the size of the whole complex number.",
        ),
    ]
    return judge(p, hints, "As it is, after RX and after RY: three bases tell any two states of a qubit apart.")


_TURNED = {"|+⟩": 1.0, "|+i⟩": 0.5, "|−⟩": 0.0, "|−i⟩": 0.5}


def check_better_cut(cut) -> bool:
    """Exercise 2 of notebook 6: (probabilities (65536,), eight columns, nats that their half knows of the other)."""

    def across(p, columns):
        bits = np.asarray(p, float).reshape([2] * 16).transpose(range(15, -1, -1))  # axis k is bit k
        rest = [column for column in range(16) if column not in columns]
        joint = bits.transpose([*columns, *rest]).reshape(256, 256)
        independent = np.outer(joint.sum(1), joint.sum(0))
        return float(np.sum(joint * np.log(np.where(joint > 0, joint / np.maximum(independent, 1e-300), 1))))

    def ordinary(cut):
        rng = np.random.default_rng(6)
        return np.quantile([across(cut[0], list(rng.permutation(16)[:8])) for _ in range(100)], 0.05)

    hints = [
        (lambda c: len(c) != 3 or _shape(c[0]) != (65536,), "First the RBM's 65,536 probabilities, then the others."),
        (lambda c: abs(np.sum(c[0]) - 1) > 1e-6 or min(c[0]) < 0, "The probabilities do not sum to 1."),
        (
            lambda c: len(c[1]) != 8 or len(set(c[1])) != 8 or not set(c[1]) <= set(range(16)),
            "The half has eight different columns out of 0 to 15.",
        ),
        (
            lambda c: _far(c[2], across(c[0], list(c[1]))) and not _far(c[2], across(c[0], [15 - k for k in c[1]])),
            "These are the nats of mirrored columns. Which bit has the last axis of the reshaped array?",
        ),
        (
            lambda c: _far(c[2], across(c[0], list(c[1]))),
            "Is this the sum of both halves' entropies less the entropy of all 16 bits, in nats?",
        ),
        (
            lambda c: c[2] > ordinary(c) + 1e-3,
            "More than one in twenty random cuts does as well. Did you keep the best of 200?",
        ),
    ]
    return judge(cut, hints, "Less is lost, and never nothing: the units learn one picture together.")


def check_turn_starts(starts) -> bool:
    """Exercise 3 of notebook 6: three held-out costs in nats from each start of the turns, and which is lower."""
    names = ("near 0", "π/2")

    def lower(starts):
        gains = np.subtract(starts["near 0"], starts["π/2"])
        return "π/2" if (gains > 0).all() else "near 0" if (gains < 0).all() else "neither"

    hints = [
        (lambda s: _lacks(s, *names, "lower"), 'A dictionary with "near 0", "π/2" (lists) and "lower" is needed.'),
        (lambda s: any(_shape(s[name]) != (3,) for name in names), "Each start has three costs, one for each seed."),
        (
            lambda s: max(map(max, (s[name] for name in names))) > 16 * math.log(2),
            "Fair coins cost less than your dearest. Is it the cost of the held-out rows, under all 16 bits?",
        ),
        (
            lambda s: min(map(min, (s[name] for name in names))) < 4,
            "That is below what a perfect model costs. Are these the costs of the held-out rows, both halves together?",
        ),
        (
            lambda s: any(len(set(s[name])) == 1 for name in names),
            "Three seeds gave one cost. Did each circuit get a seed of its own?",
        ),
        (lambda s: s["lower"] not in (*names, "neither"), 'For "lower" the words are "near 0", "π/2" and "neither".'),
        (lambda s: s["lower"] != lower(s), "Compare your own costs seed by seed. What holds for all three?"),
    ]
    return judge(starts, hints, "Three seeds are few: it would take more to say by how much.")


# 7 · What the prior adds


def check_one_of_eight(chance) -> bool:
    """Exercise 1 of notebook 7: the chance that one of eight independent 95 % intervals misses its truth."""
    hints = [
        (lambda c: _shape(c) != (), "One number is needed."),
        (lambda c: c > 1, "A chance lies between 0 and 1."),
        (lambda c: not _far(c, 0.05), "That is the chance of one interval. There are eight of them."),
        (lambda c: not _far(c, 0.4), "Eight times a twentieth counts it twice when two of them miss."),
        (lambda c: not _far(c, 1 - 0.05**8), "That is the chance that not all of them miss."),
        (lambda c: not _far(c, 0.95**8), "That is the chance that none of them misses."),
        (lambda c: _far(c, 1 - 0.95**8, 5e-3), "How likely is it that all eight hold? And what is left?"),
    ]
    return judge(chance, hints, "One table in three like this one would hold something that shines by luck alone.")


def check_other_score(answer) -> bool:
    """Exercise 2 of notebook 7: (rows, {arm: verdict by the last four epochs' kernel distance}) of the ladder."""

    def right(rows):
        coins = comparison.baselines(rows)
        verdicts = {}
        for pair in coins.items():
            differences = comparison.paired_differences(rows, "kernel_distance", *pair, points=4)
            verdicts[pair[0]] = comparison.verdict(*comparison.interval(differences, comparisons=len(coins)))
        return verdicts

    hints = [
        (lambda a: len(a) != 2 or not isinstance(a[1], dict), "The rows are needed, and a dictionary of verdicts."),
        (lambda a: not isinstance(a[0], list) or not right(a[0]), "First the rows, as `read_rows` gives them."),
        (lambda a: set(a[1]) != set(right(a[0])), "A verdict for each arm that is compared, and for no baseline."),
        (lambda a: not set(a[1].values()) <= {"better", "worse", "tie"}, 'The words are "better", "worse" and "tie".'),
        (
            lambda a: a[1] != right(a[0]),
            "Some verdict differs. Is each paired with the baseline of as many bits, and each interval wide enough for "
            "all comparisons?",
        ),
    ]
    return judge(answer, hints, "The one difference that the Fréchet distance told, this score does not confirm.")


def check_seeds_needed(answer) -> bool:
    """Exercise 3 of notebook 7: (differences (seeds,), the seeds that make their mean sure to within 0.25)."""

    def needed(differences):
        return (1.96 * np.std(differences, ddof=1) / 0.25) ** 2

    hints = [
        (lambda a: len(a) != 2 or len(_shape(a[0])) != 1, "The differences by seed are needed, and a number of seeds."),
        (lambda a: len(a[0]) < 5, "These are fewer differences than there are seeds."),
        (lambda a: int(a[1]) != a[1], "Seeds come whole."),
        (
            lambda a: abs(a[1] - needed(a[0]) / 4) <= 1,
            "An interval reaches out to both sides: 0.25 is half of its width here.",
        ),
        (
            lambda a: abs(a[1] - needed(a[0])) > 0.05 * needed(a[0]) + 1.5,
            "An interval of a mean reaches 1.96 · spread / √n to either side. Set that to 0.25, and solve for n.",
        ),
    ]
    return judge(answer, hints, "Twice as sure costs four times the seeds.")


# 8 · Noise and hardware


def check_five_times_worse(trap) -> bool:
    """Exercise 1 of notebook 8: shots that met a fault, KL, and who is ahead, with five times the trap's errors."""
    hints = [
        (
            lambda t: set(t) != {"faulty", "kl", "ahead"} or _shape([t["faulty"], t["kl"]]) != (2,),
            'A dictionary with "faulty", "kl" (numbers) and "ahead" (a word) is needed.',
        ),
        (
            lambda t: not 0 <= t["faulty"] <= 1,
            "A share lies between 0 and 1: faults add up, but a shot is spoilt only once.",
        ),
        (
            lambda t: t["faulty"] < 0.68,
            "faulty: how many RXX are there, and what becomes of 5/4 when the error is 5 times?",
        ),
        (
            lambda t: t["faulty"] > 0.78,
            "faulty: on a trap no gate is added. How many two-qubit gates has the circuit there?",
        ),
        (
            lambda t: not 0.12 < t["kl"] < 0.3,
            "kl: is it in nats, from 50,000 shots, with the trap's other errors as well?",
        ),
        (lambda t: t["ahead"] not in ("ion trap", "chip"), 'For "ahead" the words are "ion trap" and "chip".'),
        (lambda t: t["ahead"] != "chip", "Compare your KL with that of all the chip's noise in the table of sources."),
    ]
    return judge(trap, hints, "Wiring is worth a good deal, but not any error rate.")


def check_near_the_end(ends) -> bool:
    """Exercise 2 of notebook 8: where three optimizers end, in nats above perfect, from angles fitted nearly."""
    names = ("cobyla", "spsa", "small spsa")
    hints = [
        (
            lambda e: set(e) != {*names, "lowest"} or _shape([e[name] for name in names]) != (3,),
            'A dictionary with "cobyla", "spsa", "small spsa" (numbers) and "lowest" (a name) is needed.',
        ),
        (lambda e: min(e[name] for name in names) > 2, "These are costs. Take the entropy of the rows off them."),
        (
            lambda e: not all(0.05 < e[name] < 1.5 for name in names),
            "Is each scored exactly, and did each start at the fitted angles, disturbed by 0.1 radians?",
        ),
        (lambda e: e["lowest"] not in names, 'For "lowest" the names are "cobyla", "spsa" and "small spsa".'),
        (lambda e: e[e["lowest"]] > min(e[name] for name in names), "Which of your own three numbers is lowest?"),
    ]
    message = "In our runs the small steps ended lowest: a step that is right for a long way is too long near the end."
    return judge(ends, hints, message)


def check_readout_undone(corrected) -> bool:
    """Exercise 3 of notebook 8: KL before and after undoing readout errors, alone and in all noise; what is left."""
    hints = [
        (
            lambda c: set(c) != {"readout", "all", "left"} or _shape([c["readout"], c["all"]]) != (2, 2),
            'A dictionary with "readout", "all" (pairs of numbers) and "left" (a word) is needed.',
        ),
        (
            lambda c: not 0.005 < c["readout"][0] < 0.04,
            "readout, before: gate errors and thermal relaxation must be off.",
        ),
        (lambda c: not 0.13 < c["all"][0] < 0.4, "all, before: is it the trained circuit, with all the chip's noise?"),
        (
            lambda c: c["readout"][1] > c["readout"][0],
            "Corrected, it is further off. The order of the tensor product: which qubit is the index's lowest bit?",
        ),
        (
            lambda c: not 0 < c["readout"][1] < 0.7 * c["readout"][0],
            "readout, after: are both probes on the qubits where ours ends? A column is what was, a row what is read.",
        ),
        (
            lambda c: not 0.55 < c["all"][1] / c["all"][0] < 1,
            "all, after: are the matrices those of all noise, and is KL taken to the exact distribution?",
        ),
        (lambda c: c["left"] not in ("readout", "gates"), 'For "left" the words are "readout" and "gates".'),
        (
            lambda c: c["left"] != "gates",
            "For readout alone about half is left, and that is counting. Which source is on in the other pair?",
        ),
    ]
    return judge(corrected, hints, "What happened to bits can be undone, what happened to amplitudes cannot.")


# 9 · Scaling out


def check_laptop_qubits(qubits) -> bool:
    """Exercise 1 of notebook 9: the qubits that fit into 16 GiB at three times the amplitudes' memory."""
    hints = [
        (lambda q: isinstance(q, bool) or int(q) != q, "A whole number of qubits is needed."),
        (lambda q: q == 30, "That is what the amplitudes alone would allow. What does the simulator need besides?"),
        (lambda q: q in (31, 32, 33, 34), "How many bytes has a complex number of double precision?"),
        (
            lambda q: q != 28,
            "How many amplitudes are there, what does each take, and what does 16 GiB leave?",
        ),
    ]
    return judge(qubits, hints, "And a machine of twice the memory holds one qubit more.")


def check_new_arm(arm) -> bool:
    """Exercise 2 of notebook 9: how many runs a new arm costs, and the results of the plan with it."""

    def kinds(results):
        return {result["run"]["prior"]["kind"] for result in results}

    def seeds(results):
        return {result["run"]["seed"] for result in results}

    hints = [
        (lambda r: len(r) != 2, "Two things are needed: a number, and the list that run_plan returned."),
        (lambda r: "rbm" not in kinds(r[1]), "No result has an RBM. Was the new plan saved before run_plan read it?"),
        (lambda r: len(kinds(r[1])) < 3, "The arms that were there before belong to the plan still."),
        (lambda r: r[0] == len(r[1]), "That is how many results there are. How many of them were there before?"),
        (
            lambda r: r[0] != len(seeds(r[1])),
            "Look at the line that run_plan prints first, or count the files before and after.",
        ),
    ]
    return judge(arm, hints, "A run is known by its own settings; what other arms there are changes nothing for it.")


def check_interrupted(counts) -> bool:
    """Exercise 3 of notebook 9: runs in all, results kept after an interrupt, and runs found done by the next call."""
    names = ("all", "kept", "found")
    hints = [
        (lambda c: _lacks(c, *names), 'A dictionary with the keys "all", "kept" and "found" is needed.'),
        (lambda c: any(int(c[name]) != c[name] for name in names), "Each of the three is a whole number."),
        (lambda c: c["kept"] == 0, "Nothing was kept: the interrupt came before the first run was done. Wait for one."),
        (lambda c: c["kept"] >= c["all"], "All runs were done before the interrupt. Press ■ earlier, or add seeds."),
        (lambda c: c["found"] != c["kept"], "What was kept is what should be found. Is it the same folder, and plan?"),
    ]
    return judge(counts, hints, "What is done stays done, whatever stops the rest.")


# 10 · Break it

FAULTS = (
    *("reversed bits", "frozen seed", "COBYLA under budget", "collapsed prior"),
    *("weights for activations", "sorted shots", "none"),
)


def check_blind_qubit(qubit) -> bool:
    """Exercise 1 of notebook 10: the one qubit of seven with which a test of reversed bits notices nothing."""
    hints = [
        (lambda q: _shape(q) != () or float(q) != int(q), "One whole number is needed: a qubit's."),
        (lambda q: not 0 <= q < 7, "Seven qubits, counted from 0, have other numbers."),
        (
            lambda q: q != 3,
            "With this one the test works. To which column does each of the seven go when a code is read backwards?",
        ),
    ]
    return judge(qubit, hints, "It stays where it is when all others change places. Turn a qubit that does not.")


class Patient:
    """A run with one fault of notebook 10, or none: `bits(images)`, `costs`, `probabilities()` and `sample(n)`."""

    def __init__(self, fault, gan, fit, bits):
        self._fault, self._gan, self._rng = fault, gan, np.random.default_rng(1)
        self._model = QCBM(gan.prior.qcbm.circuit, seed=2)
        if fault == "weights for activations":
            self.costs = self._model.fit(self.bits(None), max_evaluations=300).costs
        elif fault == "COBYLA under budget":
            self.costs = _cut_short(self._model, bits, 5)
        else:
            self._model.angles, self.costs = fit.angles, fit.costs

    def bits(self, images) -> np.ndarray:
        """What the circuit is fitted to, of images (N, 1, 28, 28): bits (N, n) uint8."""
        if self._fault == "weights for activations":
            return binarize(self._gan.discriminator.hidden[0].weight.T, "bernoulli", seed=3)
        return self._gan.bits(images)

    def probabilities(self) -> np.ndarray:
        """The circuit's exact distribution (2ⁿ,)."""
        return self._model.probabilities()

    def sample(self, n_samples: int) -> np.ndarray:
        """Codes (n_samples, n) uint8."""
        if self._fault == "frozen seed":
            return self._rng.permutation(sample_bits(self.probabilities(), n_samples, np.random.default_rng(4)))
        codes = self._model.sample(n_samples)
        if self._fault == "reversed bits":
            return codes[:, ::-1].copy()
        if self._fault == "sorted shots":
            return codes[np.argsort(to_index(codes))]
        return np.tile(_commonest(codes), (n_samples, 1)) if self._fault == "collapsed prior" else codes


class _EnoughError(Exception):
    pass


def _cut_short(model, bits, n_evaluations):
    """The costs of a fit that ends after so many evaluations, however few; the model keeps the best of its angles."""
    costs = []

    def count(_, cost):
        costs.append(cost)
        if len(costs) == n_evaluations:
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        model.fit(bits, callback=count)
    return np.array(costs)


def _commonest(codes):
    seen, counts = np.unique(codes, axis=0, return_counts=True)
    return seen[counts.argmax()]


def _ill():
    """The fault of each patient of exercise 2 of notebook 10."""
    return dict(zip("ABCD", np.random.default_rng(53).permutation(FAULTS).tolist(), strict=False))


def patients(gan, fit, bits) -> dict[str, Patient]:
    """Four patients, A to D, from a healthy QAAN with a circuit, its bits (N, n), and a fit (FitResult) to them."""
    return {name: Patient(fault, gan, fit, bits) for name, fault in _ill().items()}


def check_diagnoses(found) -> bool:
    """Exercise 2 of notebook 10: the fault of each of four patients."""
    wrong = [name for name, fault in _ill().items() if not isinstance(found, dict) or found.get(name) != fault]
    hints = [
        (lambda f: _lacks(f, *"ABCD"), "A dictionary with the keys 'A', 'B', 'C' and 'D' is needed."),
        (lambda f: not set(f.values()) <= set(FAULTS), f"The faults are: {', '.join(FAULTS)}."),
        (
            lambda f: bool(wrong),
            f"Look at {' and '.join(wrong)} again, with every question: do other images change the bits? Are there "
            "more costs than angles? How many codes are there, do neighbours agree, do counts differ from call to "
            "call, and are they the circuit's?",
        ),
    ]
    return judge(found, hints, "Each by its number, and without a look at the code.")


def check_repair(function) -> bool:
    """Exercise 3 of notebook 10: sorted halves (N, 2n) become shots in random order, halves that share nothing."""
    rng = np.random.default_rng(5)
    halves = [from_index(np.sort(rng.choice(16, 2000, p=p)), 4) for p in rng.dirichlet(np.ones(16), 2)]
    given = np.hstack(halves)
    function_of = _Once(function, given)

    def counts(bits, half):
        return np.bincount(to_index(np.asarray(bits)[:, 4 * half : 4 * half + 4]), minlength=16)

    def differ(bits):
        return any((counts(bits, half) != counts(given, half)).any() for half in (0, 1))

    def grouped(bits):
        index = [to_index(bits[:, :4]), to_index(bits[:, 4:])]
        return max((rows[1:] == rows[:-1]).mean() for rows in index) > 0.5

    hints = [
        (lambda f: not callable(f), _FUNCTION),
        (lambda f: function_of().shape != given.shape, "Bits of the same shape are needed: as many rows and columns."),
        (
            lambda f: differ(function_of()),
            "A basis has other codes than before. The bits of a shot belong together: in each half, move whole rows.",
        ),
        (lambda f: grouped(function_of()), "Neighbours still agree in one of the halves: it is in order yet."),
        (
            lambda f: mutual_information(function_of())[:4, 4:].sum() > 0.1,
            "Both halves are in random order, and each still tells of the other. Were they given the same order?",
        ),
        (
            lambda f: np.array_equal(function_of(), function_of(again=True)),
            "Two calls give the same order: that is a fault of this notebook, too.",
        ),
    ]
    return judge(function, hints, "The same shots, in an order that says nothing.")


class _Once:
    """A learner's function of bits, called with a copy of them, and again only where that is asked for."""

    def __init__(self, function, bits):
        self._function, self._bits, self._told = function, bits, None

    def __call__(self, again=False):
        if again:
            return np.asarray(self._function(self._bits.copy()))
        if self._told is None:
            self._told = np.asarray(self._function(self._bits.copy()))
        return self._told


def check_collapse(answer) -> bool:
    """Exercise 4 of notebook 10: cost and entropies of a circuit fitted to one row, and which of them cannot be."""
    names = ("cost", "circuit", "codes")
    hints = [
        (
            lambda a: _lacks(a, *names, "impossible") or _shape([a[name] for name in names]) != (3,),
            'A dictionary with "cost", "circuit", "codes" (numbers) and "impossible" (a name) is needed.',
        ),
        (
            lambda a: not 0 <= a["cost"] < 3,
            "cost: is it what the fit to one row reports as its best, after 1,000 evaluations?",
        ),
        (lambda a: not 0 <= a["circuit"] < 4, "circuit: the sum of −p log p over all states, of the fitted circuit."),
        (lambda a: abs(a["codes"] - a["circuit"]) > 0.3, "codes: samples of the same circuit are as rich as it is."),
        (lambda a: a["impossible"] not in names, "For 'impossible', take one of: cost, circuit, codes."),
        (
            lambda a: a["impossible"] != "cost",
            "A circuit may well have so little entropy, if it has learned badly. Below what can no model get that is "
            "asked for all the bits?",
        ),
    ]
    return judge(
        answer, hints, "A perfect model costs the bits' entropy; what costs less has not been asked for all of them."
    )
