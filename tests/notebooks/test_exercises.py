"""The checks of exercises: they praise right answers, and answer wrong ones with a hint that gives nothing away."""

import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from qiskit import QuantumCircuit
from torch.nn.functional import binary_cross_entropy_with_logits

import qaan_helpers as qh
from qaan_helpers import qcbm_ansatz
from qaan_helpers.course import exercises
from qaan_helpers.course.exercises import grading, nb05_associative_training, nb11_break_it
from qaan_helpers.evaluation.metrics import classify
from qaan_helpers.lab.widgets import one_line


def circuit(n_qubits, *gates):
    """A circuit of gates by name and qubits, each with the angle π/2."""
    built = QuantumCircuit(n_qubits)
    for name, *qubits in gates:
        getattr(built, name)(np.pi / 2, *qubits)
    return built


def gradients(half=0.5, shift=np.pi / 2, moves=False):
    """A function of (model, rows) for exercise 2 of notebook 4, right by default."""

    def of_cost(model, rows):
        if moves:
            model.angles[0] += 1.0
        states, frequencies = qh.empirical_distribution(rows)
        steps = shift * np.eye(len(model.angles))
        there, back = ([model.probabilities(model.angles + way * step)[states] for step in steps] for way in (1, -1))
        return -half * np.subtract(there, back) @ (frequencies / model.probabilities()[states])

    return of_cost


def there_and_back(model, rows):
    """The gradient again, from the model's own angles, moved and moved back to within rounding errors."""
    states, frequencies = qh.empirical_distribution(rows)
    weights = frequencies / model.probabilities()[states]
    derivatives = []
    for i in range(len(model.angles)):
        model.angles[i] += np.pi / 2
        forth = model.probabilities()[states]
        model.angles[i] -= np.pi
        derivatives.append(-weights @ (forth - model.probabilities()[states]) / 2)
        model.angles[i] += np.pi / 2
    return np.array(derivatives)


def d_loss(on_real, on_generated, smoothing):
    logits = torch.cat([on_real, on_generated])
    targets = torch.cat([torch.full_like(on_real, 1 - smoothing), torch.zeros_like(on_generated)])
    return 2 * binary_cross_entropy_with_logits(logits, targets)


def learned_fraction(report):
    return 1 - (report.prior_cost - report.bits_entropy) / report.bits_correlation


def leading_eigenvector(table):
    """Principal components, which explain the diagonal, too."""
    values, vectors = np.linalg.eigh(table)
    return vectors[:, -1] * np.sqrt(values[-1])


def from_three_correlations(table):
    """Loadings that are right only if one factor explains everything."""
    first = np.sqrt(abs(table[0, 1] * table[0, 2] / table[1, 2]))
    return np.append(first, table[0, 1:] / first)


SCATTERED = {"adjacent": 1.7, "scattered": 0.6, "why": "neighbors share a stroke"}
SMOOTHING = {"perfect": 0.0, "with": 0.46, "without": 0.48}
SWAPPED = {"circuit": [22.8, 21.1, 22.1, 21.9], "shuffled": [29.5, 29.9, 28.8, 30.4], "better": "circuit"}

COLLAPSE = {"cost": 0.7, "circuit": 0.8, "codes": 0.79, "impossible": "cost"}


def repaired(bits, seed=None):
    """The halves' rows in random order, each half in one of its own."""
    rng = np.random.default_rng(seed)
    return np.hstack([rng.permutation(half) for half in np.hsplit(np.asarray(bits), 2)])


THIRD = {"|+⟩": 1.0, "|+i⟩": 0.5, "|−⟩": 0.0, "|−i⟩": 0.5}
TWO_GATES = {"gates": ["rx", "ry"], "state": 1.0, "mixture": 0.5}


def recalled(gan, images):
    bits = (gan.activations(images).cpu() > gan.thresholds).numpy().astype(np.uint8)
    return gan.generate(gan.latents(bits))


def halves():
    """What the fourth check of notebook 6 expects, computed by hand."""
    gan, test = qh.QAAN.load(qh.bundled("reconstruction_379"), "cpu"), qh.load_mnist((3, 7, 9), "test", source="sample")
    half = torch.where(torch.arange(28)[:, None] < 14, test.images, torch.zeros(()))
    right = [
        (classify(images)[0] == test.labels).float().mean().item()
        for images in (recalled(gan, test.images), recalled(gan, half), half)
    ]
    return {"whole": right[0], "half": right[1], "memory helps": "yes" if right[1] > right[2] else "no"}


UNCHANGED = dict.fromkeys(("entropy", "total correlation", "distances"), True)
UNCHANGED |= dict.fromkeys(("mean of bit 0", "held-out KL"), False)


def paired_bits():
    """The distribution of 12 uniform bits in which 0 and 6 are equal, and four more pairs (1 and 2, 3 and 4, ...)."""
    bits = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
    same = [(0, 6), (1, 2), (3, 4), (7, 8), (9, 10)]  # 5 and 11 are free
    p = np.prod([bits[:, a] == bits[:, b] for a, b in same], axis=0).astype(float)
    return p / p.sum()


def cut(*columns, nats, p=None):
    """An answer to exercise 3 of notebook 7."""
    return {"probabilities": PAIRED if p is None else p, "columns": list(columns), "nats": nats}


def swept(*kinds):
    """What run_plan returns, as far as the check reads it: two seeds on each arm."""
    return [{"run": {"prior": {"kind": kind}, "seed": seed}} for seed in (0, 1) for kind in kinds]


def distances():
    """Scores of twelve seeds: b is twice a on all of them, and c is higher on ten (p = 0.04, uncorrected)."""
    a = np.linspace(0.5, 0.8, 12)
    steps = np.where(np.arange(12) < 10, 0.02, -0.025) * np.linspace(0.9, 1.1, 12)
    return pd.DataFrame({"a": a, "b": 2 * a, "c": a * np.exp(steps)})


def one_flips():
    """Pairs of codes of the first model, one flip apart: a clear 3 and 7, the same digit, an unclear one, a 9."""
    gan = qh.QAAN.load(qh.bundled("qcbm_379"), device="cpu")
    codes = qh.from_index(np.arange(256), 8)
    digit, sure = (values.numpy() for values in classify(gan.generate(gan.latents(codes))))
    pairs = np.array([(i, i ^ 1 << bit) for i in range(256) for bit in range(8)])
    differ, least = digit[pairs[:, 0]] != digit[pairs[:, 1]], sure[pairs].min(axis=1)
    wanted = (np.sort(digit[pairs], axis=1) == (3, 7)).all(axis=1)
    clear, same = np.where(wanted, least, 0), np.where(differ, 0, least)
    unclear, other = np.where(wanted, -least, -1), np.where(differ & ~wanted, least, 0)
    return [[one_line(codes[i]) for i in pairs[order.argmax()]] for order in (clear, same, unclear, other)]


FIDS = distances()
SIGNIFICANT = {f"{x} / {y}": "b" in (x, y) for x in "abc" for y in "abc" if x != y} | {"a / a": False}
HALVES = halves()
PAIRED = paired_bits()
ONE_FLIP, SAME_DIGIT, UNCLEAR, OTHER_DIGITS = one_flips()
PREFERENCES = {"codes": [242, 251], "sevens": [0.334, 0.301], "nines": [0.356, 0.395]}
# check: (right answers, [(wrong answer, what its hint says)], what no hint may contain)
CASES = {
    "check_one_flip": (
        [ONE_FLIP, [code.replace(" ", "") for code in ONE_FLIP]],
        [
            (["0110 0101"], "Two strings"),
            (["0110 010", "0110 011"], "Two strings"),
            (["0110 0102", "0110 0101"], "Two strings"),
            ([ONE_FLIP[0], ONE_FLIP[0]], "In how many places"),
            (["0000 0000", "1100 0000"], "In how many places"),
            (SAME_DIGIT, "for the same digit"),
            (UNCLEAR, "unsure about one"),
            (OTHER_DIGITS, "not a 3 and a 7"),
        ],
        [*ONE_FLIP],
    ),
    "check_rotations": (
        ["the same"],
        [("equal", "one of"), ("different", "the two ends")],
        ["2π"],
    ),
    "check_preferences": (
        [PREFERENCES, PREFERENCES | {"codes": (238, 250.0)}],
        [
            (231, "dictionary"),
            (PREFERENCES | {"codes": 242}, "two numbers"),
            (PREFERENCES | {"codes": [251, 242]}, "circuit first"),
            (PREFERENCES | {"sevens": [334, 301]}, "Add the probabilities"),
            (PREFERENCES | {"nines": [0.395, 0.356]}, "nines: Add the probabilities"),
        ],
        ["242", "251", "0.33", "0.39"],
    ),
    "check_sevens": (
        ["zero"],
        [("none", "one of"), ("positive", "in common"), ("negative", "in common")],
        ["is zero", "zero."],
    ),
    "check_opposite_pixels": (
        [{"sevens": (21, 15), "threes": [23, 13]}],
        [
            ((21, 15), "dictionary"),
            ({"sevens": 607, "threes": 657}, "two numbers"),
            ({"sevens": (15, 21), "threes": (13, 23)}, "sevens: .*row first"),
            ({"sevens": (21, 15), "threes": (20, 17)}, "threes: .*this digit only"),
        ],
        ["21", "15", "23", "13"],
    ),
    "check_scattered": (
        [SCATTERED, SCATTERED | {"scattered": 0.1}],
        [
            (0.6, "A dictionary"),
            ({"scattered": 0.6}, "dictionary"),
            (SCATTERED | {"adjacent": 7.0}, "adjacent: The notebook measures"),
            (SCATTERED | {"scattered": -1}, "never negative"),
            (SCATTERED | {"scattered": 1.9}, "well scattered"),
            (SCATTERED | {"why": "because"}, "one of"),
            (SCATTERED | {"why": "most pixels are blank"}, "close together"),
        ],
        ["1.7", "smaller"],
    ),
    "check_repeats": (
        [162, 160.0, np.float64(165)],
        [
            (256, "come twice in 256"),
            (251, "come twice in 256"),
            (128, "Follow one code"),
            ("many", "type str"),
            (float("nan"), "number"),
        ],
        ["162", "1/e", "63", "255"],
    ),
    "check_d_loss": (
        [d_loss, lambda *a: d_loss(*a).item()],
        [
            (0.69, "function itself"),
            (lambda r, d, s: torch.softplus(r), "Calling your function.*AttributeError: .*softplus.*its loss is 0"),
            (lambda r, d, s: d_loss(d, r, s), "its loss is 0"),
            (lambda r, d, s: d_loss(r, d, s) / 2, "two terms"),
            (lambda r, d, s: 4 * d_loss(r, d, s), "two terms"),
            (lambda r, d, s: d_loss(r[:1], d[:1], s), "mean over"),
            (lambda r, d, s: d_loss(r, d, s).clamp(max=5), "real image is generated"),
            (lambda r, d, s: d_loss(r, d, 0.0), "1 − s"),
        ],
        ["binary_cross_entropy", "logsigmoid", "log D"],
    ),
    "check_smoothing": (
        [SMOOTHING],
        [
            ({"with": 0.4}, "dictionary"),
            (SMOOTHING | {"perfect": 0.33}, "perfect: .*perfect D"),
            (SMOOTHING | {"with": 1.1}, "with: .*midpoint"),
            (SMOOTHING | {"with": 0.49}, "same seed"),
        ],
        ["is higher", "one half", " 0."],
    ),
    "check_rxx_pi": (
        [[0, 0, 0, 1], np.array([0.0, 0, 0, 1])],
        [
            ([0, 1], "four numbers"),
            ("everything", "type str.*four numbers"),
            ([0, 0, 0, -1j], "amplitudes"),
            ([0.5, 0, 0, 0], "add up to 1"),
            ([1, 0, 0, 0], "cos²"),
            ([0, 1, 0, 0], "X ⊗ X"),
        ],
        ["[0, 0, 0, 1]", "0, 0, 0, 1", "both bits", "11"],
    ),
    "check_parity": (
        [circuit(3, ("rxx", 0, 1), ("rxx", 1, 2)), circuit(3, ("rxx", 2, 0), ("rxx", 0, 1), ("rz", 1))],
        [
            (circuit(2, ("rxx", 0, 1)), "three qubits"),
            (circuit(3, ("rxx", 0, 1), ("rxx", 1, 2)).measure_all(inplace=False), "measurements"),
            (qcbm_ansatz(3, 1), "angle a number"),
            (circuit(3, ("rxx", 0, 1)), "Some pair"),
            (circuit(3, ("rx", 0), ("rx", 1), ("rx", 2)), "less than log 2"),
        ],
        ["RXX(", "rxx", "π/2", "(1, 2)"],
    ),
    "check_reach": (
        [[2, 4], (2, 4), np.array([2, 4])],
        [
            (2, "Two whole"),
            ([2], "Two whole"),
            ([1, 4], "one layer: small"),
            ([3, 4], "one layer: small"),
            ([2, 2], "extends"),
            ([2, 3], "two layers: small"),
            ([2, 7], "two layers: small"),
        ],
        ["[2, 4]", "(2, 4)", "distance 2", "distance 4", "two RXX"],
    ),
    "check_fourfold_shots": (
        [
            {"kl": 0.25, "variation": 0.5, "error": "halves"},
            {"kl": np.float64(0.24), "variation": 0.5, "error": "halves"},
        ],
        [
            ({"kl": 0.25}, "dictionary"),
            ({"kl": [], "variation": 0.5, "error": "halves"}, "dictionary"),
            ({"kl": 4.0, "variation": 0.5, "error": "halves"}, "reduce KL"),
            ({"kl": 0.06, "variation": 0.5, "error": "halves"}, "200 trials"),
            ({"kl": 0.25, "variation": 2.0, "error": "halves"}, "divide by which"),
            ({"kl": 0.25, "variation": 0.25, "error": "halves"}, "half the sum"),
            ({"kl": 0.25, "variation": 0.5, "error": "a half"}, "error: Answer with one of"),
            ({"kl": 0.25, "variation": 0.5, "error": "quarters"}, "squares"),
        ],
        ["0.25", "0.5", "root"],
    ),
    "check_one_pair": (
        [0.827, np.float64(0.83), 0.82],
        [
            ([1.1, 1.2], "One number"),
            (5.255, "size of a cost"),
            (0.0, "than one pair"),
            (1.117, "product of single bits"),
            (0.29, "what remains"),
            (0.7, "entropies"),
        ],
        ["0.8", "mutual information", "minus the"],
    ),
    "check_gradient": (
        [gradients(), there_and_back],
        [
            ([0.0] * 18, "function itself"),
            (lambda model, rows: 0.1, "one derivative for each angle"),
            (lambda model: model, "Calling your function.*TypeError.*takes .model, rows"),
            (gradients(moves=True), "changes model.angles"),
            (gradients(half=1), "twice"),
            (gradients(half=-0.5), "wrong sign"),
            (gradients(shift=0.1), "Reverse mode"),
        ],
        ["π/2", "0.5", "/ 2", "half"],
    ),
    "check_trust_radius": (
        [{"2.0": 0.49, "0.05": 0.23, "higher": "2.0"}, {"2.0": 0.6, "0.05": np.float64(0.35), "higher": "2.0"}],
        [
            ({2.0: 0.49, 0.05: 0.23}, "dictionary"),
            ({"2.0": 0.49, "0.05": [], "higher": "2.0"}, "dictionary"),
            ({"2.0": 4.9, "0.05": 4.7, "higher": "2.0"}, "entropy"),
            ({"2.0": 0.49, "0.05": 1.1, "higher": "2.0"}, "^Not yet. 0.05: Did you"),
            ({"2.0": 0.1, "0.05": 0.23, "higher": "2.0"}, "^Not yet. 2.0: Did you"),
            ({"2.0": 0.49, "0.05": 0.23, "higher": 2.0}, "one of"),
            ({"2.0": 0.49, "0.05": 0.23, "higher": "0.05"}, "largest of the first"),
        ],
        ["the larger radius", "periodic"],
    ),
    "check_line": (
        [{"qubits": 3, "b": 1.0}, {"qubits": 3.0, "b": np.float64(0.95)}],
        [
            ({"qubits": 3}, "dictionary"),
            ({"qubits": 1, "b": 1.0}, "connects qubit 0"),
            ({"qubits": 8, "b": 1.0}, "one qubit further"),
            ({"qubits": 2, "b": 1.0}, "first one counts"),
            ({"qubits": 3, "b": -0.03}, "logarithms"),
            ({"qubits": 3, "b": 0.6}, "Do the circuit"),
        ],
        ["three", "few qubits"],
    ),
    "check_most_shared": (
        [(7 * np.log(2), 2), [4.852, 2.0]],
        [
            (4.85, "Two numbers"),
            ((-0.1, 2), "never negative"),
            ((7, 2), "add up to 8 log 2"),
            ((8 * np.log(2), 1), "smallest joint entropy"),
            ((0.64, 200), "the entropy of one bit"),
            ((7 * np.log(2), 1), "half of the time"),
            ((7 * np.log(2), 256), "half of the time"),
        ],
        ["4.8", "7 log", "two codes"],
    ),
    "check_learned_fraction": (
        [learned_fraction],
        [
            (0.7, "function itself"),
            (lambda r: r.prior_cost - r.bits_entropy, "not give 1"),
            (lambda r: r.bits_entropy / r.prior_cost, "not give 0"),
            (lambda r: learned_fraction(r) ** 2, "halfway"),
            (lambda r: (5 - r.prior_cost) / 2, "every epoch"),
            (lambda r: max(0, learned_fraction(r)), "negative value"),
        ],
        ["prior_cost", "bits_", "/ "],
    ),
    "check_one_factor": (
        [nb05_associative_training._loadings, lambda table: -nb05_associative_training._loadings(table)],
        [
            (0.7, "function itself"),
            (lambda table: table[1:, 0], "five loadings"),
            (leading_eigenvector, "leave out the diagonal"),
            (lambda table: nb05_associative_training._loadings(abs(table)), "both signs"),
            (from_three_correlations, "smaller error"),
        ],
        ["eig", "least_squares"],
    ),
    "check_swapped_codes": (
        [SWAPPED, {"circuit": [22, 26, 23, 24], "shuffled": [25, 29, 27, 28], "better": "neither"}],
        [
            ([22, 29], "dictionary"),
            (SWAPPED | {"circuit": [22.8, 21.1, 22.1]}, "circuit: .*at least four"),
            (SWAPPED | {"shuffled": [2950, 2990, 2880, 3040]}, "shuffled: .*real ones"),
            (SWAPPED | {"better": "both"}, "one of"),
            (SWAPPED | {"better": "neither"}, "overlap"),
            (SWAPPED | {"circuit": [29.6, 29.7, 29.8, 29.6]}, "overlap"),
        ],
        ["21", "22."],
    ),
    "check_third_basis": (
        [THIRD, {state.replace("−", "-"): p for state, p in THIRD.items()}],
        [
            ({"|+⟩": 1.0}, "the keys"),
            (THIRD | {"|+⟩": 1.2}, "between 0 and 1"),
            (THIRD | {"|+⟩": 0.0, "|−⟩": 1.0}, "of the bit 0"),
            (THIRD | {"|+i⟩": 1.0, "|−i⟩": 0.0}, "matrix of RY"),
            (THIRD | {"|+⟩": 0.5, "|−⟩": 0.5}, "At least one is wrong"),
        ],
        ["0.5", "half", "|+⟩ is"],
    ),
    "check_gates": (
        [TWO_GATES, TWO_GATES | {"gates": ("ry", "rx")}],
        [
            (["rx", "ry"], "dictionary"),
            (TWO_GATES | {"gates": ["rx"]}, "Two names"),
            (TWO_GATES | {"gates": ["rx", "rz"]}, "Two names"),
            (TWO_GATES | {"state": 1.5}, "between 0 and 1"),
            (TWO_GATES | {"mixture": 0.25}, "Average"),
            (TWO_GATES | {"state": 0.5}, "amplitudes"),
            (TWO_GATES | {"gates": ["rx", "rx"], "state": 0.5}, "equally often"),
        ],
        ["0.5", "1.0", "different gates", "ry on"],
    ),
    "check_best_cut": (
        [cut(0, 6, 1, 2, 3, 4, nats=0.0), cut(5, 7, 8, 9, 10, 11, nats=0), cut(0, 6, 1, 2, 7, 8, nats=0.0)],
        [
            ((PAIRED, [0, 1, 2, 3, 4, 5], 0.7), "dictionary"),
            (cut(0, 1, 2, 3, 4, 5, nats=0.7, p=PAIRED[:64]), "4,096"),
            (cut(0, 1, 2, 3, 4, 5, nats=0.7, p=2 * PAIRED), "sum to 1"),
            (cut(0, 1, 2, 3, 4, 4, nats=0.7), "six different"),
            (cut(0, 1, 2, 3, 4, 5, nats=[0.7, 0.7]), "One number"),
            (cut(0, 1, 2, 3, 4, 7, nats=np.log(2)), "mirrored"),
            (cut(0, 1, 2, 3, 4, 5, nats=1.0), "entropies"),
            (cut(0, 1, 2, 3, 4, 5, nats=np.log(2)), "Another cut"),
        ],
        ["pairs", "0.0"],
    ),
    "check_one_of_seven": (
        [0.3017, 1 - 0.95**7],
        [(30, "between 0 and 1"), (0.05, "one interval"), (0.35, "twice"), (0.95**7, "none"), (0.2, "what is left")],
        ["0.30", "0.31"],
    ),
    "check_second_network": (
        [(FIDS, SIGNIFICANT)],
        [
            (SIGNIFICANT, "Two things"),
            ((3, {}), "one row per seed"),
            ((10 * FIDS, SIGNIFICANT), "column"),
            ((FIDS, {"b / a": True}), "seven pairs"),
            ((FIDS, {pair.replace("a", "z"): True for pair in SIGNIFICANT}), "as in the tables"),
            ((FIDS, SIGNIFICANT | {"c / a": True}), "multiplied"),
            ((FIDS, SIGNIFICANT | {"b / a": False}), "multiplied"),
        ],
        ["c is"],
    ),
    "check_equivalence": (
        [(1.0466, 1.3328, False), (1.05, 1.33, np.bool_(False))],
        [
            (False, "Three things"),
            ((1.05, 1.33, "no"), "Three things"),
            ((1.33, 1.05, False), "first"),
            ((-0.1, 0.29, False), "logarithm"),
            ((0.7503, 0.9555, False), "Swap"),
            ((1.02, 1.37, False), "2.5%"),
            ((0.96, 1.45, False), "seven comparisons"),
            ((0.89, 1.15, True), "Which test"),
            ((1.05, 1.33, True), "whole interval"),
        ],
        ["1.05", "1.33", "is False"],
    ),
    "check_seeds_needed": (
        [([0.01, 0.02, 0.03, 0.04, 0.05], 10), ([0.01, 0.02, 0.03, 0.04, 0.05], 9.0)],
        [
            (10, "log ratios by seed"),
            (([0.1, 0.2], 31), "fewer log ratios"),
            (([0.01, 0.02, 0.03, 0.04, 0.05], 9.7), "whole"),
            (([0.1, 0.2, 0.3, 0.4, 0.5], 240), "both sides"),
            (([0.1, 0.2, 0.3, 0.4, 0.5], 10), "solve"),
        ],
        ["960", "961"],
    ),
    "check_straight_through": (
        [{"true": 1, "straight-through": 1.4}, {"true": 1.0, "straight-through": np.float64(1.4)}],
        [
            (1.4, "dictionary"),
            ({"true": 1}, "dictionary"),
            ({"true": 1.4, "straight-through": 1.4}, "b² = b"),
            ({"true": 1, "straight-through": 2}, "How often is it"),
            ({"true": 1, "straight-through": 0.7}, "mean of 2b"),
        ],
        ["1.4", "2p", "is 1."],
    ),
    "check_recall": (
        [recalled, lambda gan, images: gan.recall(images)],
        [
            (np.zeros(3), "function"),
            (lambda gan, images: gan.encode(images), "shape"),
            (lambda gan, images: images[:3], "shape"),
            (lambda gan, images: gan.sample(len(images)), "Two calls return different images"),
            (lambda gan, images: images, "not the images"),
            (lambda gan, images: gan.decode(1 - gan.encode(images)), "not the images"),
            (lambda gan, images: gan.generate(gan.activations(images)), "not the images"),
        ],
        ["thresholds).", "astype"],
    ),
    "check_signed_permutation": (
        [UNCHANGED, {name: np.bool_(value) for name, value in UNCHANGED.items()}],
        [
            ({"entropy": True}, "keys"),
            (UNCHANGED | {"entropy": "yes"}, "True or False"),
            (UNCHANGED | {"entropy": False}, "as a set"),
            (UNCHANGED | {"total correlation": False}, "single bits' entropies"),
            (UNCHANGED | {"mean of bit 0": True}, "Flip bit 0"),
            (UNCHANGED | {"held-out KL": True}, "held-out images stay"),
            (UNCHANGED | {"distances": False}, "in how many do their images"),
        ],
        ["True,", "False,"],
    ),
    "check_half_images": (
        [HALVES],
        [
            (0.9, "dictionary"),
            (HALVES | {"whole": 0.1}, "whole: Use all test images"),
            (HALVES | {"half": HALVES["whole"]}, "Which rows are hidden"),
            (HALVES | {"memory helps": "maybe"}, "one of"),
            (HALVES | {"memory helps": "yes" if HALVES["memory helps"] == "no" else "no"}, "themselves, too"),
        ],
        ["0.9", "0.7", "0.6"],
    ),
    "check_five_times_worse": (
        [{"faulty": 0.7314, "kl": 0.273, "closer": "chip"}],
        [
            (0.73, "dictionary"),
            ({"faulty": 1.3, "kl": 0.27, "closer": "chip"}, "fraction lies"),
            ({"faulty": 0.23, "kl": 0.27, "closer": "chip"}, "5/4"),
            ({"faulty": 0.99, "kl": 0.27, "closer": "chip"}, "no gate is added"),
            ({"faulty": 0.73, "kl": 0.037, "closer": "chip"}, "other errors"),
            ({"faulty": 0.73, "kl": 0.27, "closer": "trap"}, "one of"),
            ({"faulty": 0.73, "kl": 0.27, "closer": "ion trap"}, "all its noise"),
        ],
        ["0.73", "0.27", "56"],
    ),
    "check_near_the_end": (
        [
            {"cobyla": 0.3, "spsa": 0.39, "small spsa": 0.22, "lowest": "small spsa"},
            {"cobyla": 0.2, "spsa": 0.39, "small spsa": 0.22, "lowest": "cobyla"},
        ],
        [
            ({"cobyla": 0.3}, "dictionary"),
            ({"cobyla": 5.3, "spsa": 5.4, "small spsa": 5.2, "lowest": "small spsa"}, "entropy"),
            ({"cobyla": 1.7, "spsa": 0.39, "small spsa": 0.22, "lowest": "small spsa"}, "perturbed"),
            ({"cobyla": 0.3, "spsa": 0.39, "small spsa": 0.22, "lowest": "adam"}, "one of"),
            ({"cobyla": 0.3, "spsa": 0.39, "small spsa": 0.22, "lowest": "cobyla"}, "your own"),
        ],
        ["0.22", "too long"],
    ),
    "check_execution_modes": (
        [{"job hours": 251.04, "session minutes": 72.5, "ratio": 5}],
        [
            (251, "dictionary"),
            ({"job hours": 903_750, "session minutes": 72.5, "ratio": 5}, "seconds to hours"),
            ({"job hours": 1.2, "session minutes": 72.5, "ratio": 5}, "waits in the queue"),
            ({"job hours": 251.04, "session minutes": 4350, "ratio": 5}, "seconds to minutes"),
            ({"job hours": 251.04, "session minutes": 62.5, "ratio": 5}, "first job waits"),
            ({"job hours": 251.04, "session minutes": 12.5, "ratio": 5}, "only the first"),
            ({"job hours": 251.04, "session minutes": 72.5, "ratio": 0.2}, "inverse"),
            ({"job hours": 251.04, "session minutes": 72.5, "ratio": 1}, "billed"),
        ],
        ["251", "72.5", "4350"],
    ),
    "check_laptop_qubits": (
        [28],
        [(28.4, "whole"), (30, "What else"), (32, "bytes"), (29, "16 GiB leave"), (12, "16 GiB leave")],
        ["28", "twenty", "3 ·", "2ⁿ"],
    ),
    "check_new_arm": (
        [(2, swept("uniform", "circuit", "rbm"))],
        [
            (2, "Two things"),
            ((2, swept("uniform", "circuit")), "RBM"),
            ((2, swept("uniform", "rbm")), "before belong"),
            ((6, swept("uniform", "circuit", "rbm")), "how many results"),
            ((1, swept("uniform", "circuit", "rbm")), "prints first"),
        ],
        ["as many as", "seeds"],
    ),
    "check_speedup": (
        [{"4 workers": 612 / 192, "6 workers": 612 / 132, "as fast as 9": 5}],
        [
            ({"4 workers": 3}, "the keys"),
            ({"4 workers": 3.33, "6 workers": 4.64, "as fast as 9": 5}, "start-up"),
            ({"4 workers": 612 / 162, "6 workers": 4.64, "as fast as 9": 5}, "whole rounds"),
            ({"4 workers": 4, "6 workers": 4.64, "as fast as 9": 5}, "for everything"),
            ({"4 workers": 3.19, "6 workers": 5, "as fast as 9": 5}, "rounds do six"),
            ({"4 workers": 3.19, "6 workers": 4.64, "as fast as 9": 5.5}, "whole number"),
            ({"4 workers": 3.19, "6 workers": 4.64, "as fast as 9": 10}, "two rounds"),
        ],
        ["3.19", "4.64"],
    ),
    "check_blind_qubit": (
        [3, np.int64(3), 3.0],
        [([3], "A whole"), (2.5, "A whole"), (7, "counted from 0"), (0, "which column"), ("middle", "type str")],
        [" 3", "middle", "half"],
    ),
    "check_diagnoses": (
        [nb11_break_it._faults()],
        [
            ({"A": "none"}, "dictionary"),
            (dict.fromkeys("ABCD", "bad luck"), "A: Answer with one of"),
            (nb11_break_it._faults() | {"B": "most frequent outcome"}, "^Not yet. Measure again: B[.]"),
            (dict.fromkeys("ABCD", "sorted shots"), "A and B and C and D"),
        ],
        [],
    ),
    "check_repair": (
        [repaired, lambda bits: repaired(bits).astype(float)],
        [
            (0.7, "function itself"),
            (lambda bits: bits[:, :4], "the shape"),
            (lambda bits: np.random.default_rng().permuted(bits, axis=0), "whole rows"),
            (lambda bits: 1 - bits, "have changed"),
            (lambda bits: bits, "still sorted"),
            (lambda bits: np.hstack([repaired(bits)[:, :4], bits[:, 4:]]), "still sorted"),
            (lambda bits: np.random.default_rng().permutation(bits), "same order"),
            (lambda bits: repaired(bits, seed=0), "Two calls"),
        ],
        ["permut", "shuffle", "hstack"],
    ),
    "check_collapse": (
        [COLLAPSE, COLLAPSE | {"cost": np.float64(1.4), "circuit": 2.7, "codes": 2.6}],
        [
            ({"cost": 0.7}, "dictionary"),
            (COLLAPSE | {"codes": []}, "dictionary"),
            (COLLAPSE | {"cost": 5.2}, "one row"),
            (COLLAPSE | {"circuit": 5.3}, "log p"),
            (COLLAPSE | {"codes": 0.0}, "entropy of the circuit"),
            (COLLAPSE | {"impossible": "all"}, "one of"),
            (COLLAPSE | {"impossible": "codes"}, "lower bound"),
        ],
        ["is 'cost'", "entropy of the bits"],
    ),
}
MODULES = [
    importlib.import_module(f"{exercises.__name__}.{module.name}")
    for module in pkgutil.iter_modules(exercises.__path__)
    if module.name.startswith("nb")
]
CHECKS = {
    name: check
    for module in MODULES
    for name, check in inspect.getmembers(module, inspect.isfunction)
    if name.startswith("check_")
}
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_every_check_is_tried_here():
    assert set(CASES) == set(CHECKS)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_a_notebook_calls_the_checks_of_its_own_module(module):
    cells = json.loads((NOTEBOOKS / f"{module.__name__.split('.nb')[-1]}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    called = re.findall(r"exercises\.(check_\w+)\(", code)
    assert called == [name for name in vars(module) if name.startswith("check_")]


@pytest.mark.parametrize("name", CASES)
def test_right_answers_are_praised(name, capsys):
    for answer in CASES[name][0]:
        assert CHECKS[name](answer) is True
        assert capsys.readouterr().out.startswith("Right. ")


@pytest.mark.parametrize("name", CASES)
def test_wrong_answers_get_a_hint_that_does_not_give_the_answer_away(name, capsys):
    for answer, hint in CASES[name][1]:
        assert CHECKS[name](answer) is False
        printed = capsys.readouterr().out
        assert printed.startswith("Not yet. ")
        assert re.search(hint, printed), printed
        assert not any(secret in printed for secret in CASES[name][2])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("odd", [None, "what?", [], {}, object(), float("nan"), np.zeros((2, 3))])
def test_odd_answers_are_no_crash(name, odd, capsys):
    assert CHECKS[name](odd) is False
    assert capsys.readouterr().out.startswith("Not yet. ")


@pytest.mark.parametrize("name", CASES)
def test_a_stub_is_reported_as_not_answered(name, capsys):
    assert CHECKS[name](...) is False
    assert capsys.readouterr().out.strip() == grading.OPEN


NUMBERS_AND_WORD = grading.needs_keys({"x": grading.NUMBER, "pair": grading.PAIR, "why": grading.WORD})


@pytest.mark.parametrize(
    ("hint", "accepted", "refused"),
    [
        (
            NUMBERS_AND_WORD,
            [{"x": 1, "pair": (1, 2.0), "why": "so"}],
            [{"x": 1}, {"x": [1], "pair": (1, 2), "why": ""}],
        ),
        (grading.a_function(), [abs], [1]),
        (grading.a_number(), [1, 0.5, np.float64(2), np.array(3)], [True, float("nan"), [1]]),
        (grading.a_whole_number("", "n"), [{"n": 2.0}], [{"n": 2.5}, {"n": True}, {"n": [2]}]),
        (grading.numbers((2,), ""), [(1, 2), np.zeros(2)], [1, [1, 2, 3]]),
        (grading.one_of(("a", "b"), 0, 1), ["ab", ["b", "b"]], ["ac", "ca"]),
        (grading.equals(2, "", 1), [(0, 2), (5, 2.0)], [(2, 0)]),
        (grading.near(1.0, 0.1, ""), [1, 1.09, torch.tensor([0.95])], [1.2, float("nan")]),
        (grading.not_near(1.0, ""), [0.9, 1.1], [1, 1.0005]),
        (grading.between(0, 1, ""), [0, 0.5, 1], [-0.1, 1.1, float("nan")]),
        (grading.between(0, 1, "", "a", "b"), [{"a": 0, "b": 1}], [{"a": 2, "b": 1}, {"a": 1, "b": 2}]),
        (grading.returns(3, (1, 2), ""), [lambda a, b: a + b], [lambda a, b: a - b]),
    ],
)
def test_a_hint_applies_to_what_it_refuses(hint, accepted, refused):
    for answer in accepted:
        assert hint.problem(answer) is None
    for answer in refused:
        assert hint.problem(answer) is not None


def test_a_hint_names_the_key_that_it_is_about_but_no_index():
    answer = {"a": 0, "b": 5}
    assert grading.between(0, 1, "Look again.", "a", "b").problem(answer) == "b: Look again."
    assert grading.between(0, 1, "Look again.", 0, 1).problem([0, 5]) == "Look again."


def test_a_missing_key_names_all_keys_and_their_forms():
    expected = 'A dictionary with the keys "x" (a number), "pair" (two numbers) and "why" (a word) is needed.'
    assert NUMBERS_AND_WORD.problem({}) == expected
