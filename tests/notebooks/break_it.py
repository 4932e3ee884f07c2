"""A pytest plugin that puts a fault of notebook 11 into the package while the test runs that should detect it.

`python -m pytest -p break_it FILE::TEST …` with this folder on the path: each test must then fail (test_break_it.py).
"""

import numpy as np
import pytest

import qaan_helpers as qh
from qaan_helpers import bits
from qaan_helpers.quantum import execution, optimizers


def reversed_bits(patch):
    right = bits.from_index
    for module in (bits, execution):
        patch.setattr(module, "from_index", lambda index, n_bits: right(index, n_bits)[:, ::-1])


def frozen_seed(patch):
    right = execution.ShotRunner.measure
    patch.setattr(execution.ShotRunner, "measure", lambda *arguments: right(*arguments[:3], np.random.default_rng(7)))


def too_few_evaluations(patch):
    patch.delattr(optimizers.Cobyla, "check_budget")  # any positive budget will do then


def most_frequent_outcome(patch):
    right = qh.QCBMPrior.sample

    def sample(prior, n_samples):
        outcomes, counts = np.unique(right(prior, n_samples), axis=0, return_counts=True)
        return np.tile(outcomes[counts.argmax()], (n_samples, 1))

    patch.setattr(qh.QCBMPrior, "sample", sample)


def fast_discriminator(patch):
    right = qh.QAAN._make_optimizers

    def make_optimizers(gan):
        right(gan)
        for group in gan.d_optimizer.param_groups:
            group["lr"] *= 20

    patch.setattr(qh.QAAN, "_make_optimizers", make_optimizers)


def weights_instead_of_activations(patch):
    patch.setattr(
        qh.QAAN, "read_bits", lambda gan, images, seed=None: qh.binarize(gan.discriminator.hidden[0].weight.T)
    )


def sorted_shots(patch):
    right = qh.QCBMPrior.sample

    def in_order(prior, n_samples):
        codes = right(prior, n_samples)
        return codes[np.argsort(qh.to_index(codes))]

    patch.setattr(qh.QCBMPrior, "sample", in_order)


# Fault, as notebook 11 names it: how to put it in, and the test that must fail then, which the notebook names.
FAULTS = {
    "reversed bits": (
        reversed_bits,
        "test_execution.py::test_x_on_one_qubit_sets_its_column_and_its_state",
    ),
    "frozen seed": (frozen_seed, "test_execution.py::test_two_calls_share_no_shots"),
    "too few evaluations": (
        too_few_evaluations,
        "test_optimizers.py::test_cobyla_refuses_a_budget_below_its_first_step",
    ),
    "most frequent outcome": (most_frequent_outcome, "test_priors.py::test_probabilities_are_those_of_the_samples"),
    "fast discriminator": (fast_discriminator, "test_training.py::test_each_weight_has_its_learning_rate"),
    "weights instead of activations": (
        weights_instead_of_activations,
        "test_training.py::test_the_prior_learns_the_bits_of_real_images_above_the_median",
    ),
    "sorted shots": (sorted_shots, "test_priors.py::test_samples_are_bits_in_random_order"),
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with pytest.MonkeyPatch.context() as patch:
        for put_in, test in FAULTS.values():
            if test == f"{item.path.name}::{item.originalname}":
                put_in(patch)
        return (yield)
