"""Priors: what each learns, what it draws, what its fits cost, and that it can be put away and taken up again."""

import copy
import json
import math
import warnings

import numpy as np
import pytest
import torch
from qiskit_aer.noise import NoiseModel, depolarizing_error

import qaan_helpers as qh
from qaan_helpers.priors import PRIORS, circuit_prior, learned_prior, make_prior


def small_qcbm(n_qubits=3, **options):
    budget = {"layers": 1, "max_evaluations": 24, "refit_evaluations": 18}
    return qh.QCBMPrior(n_qubits, **budget | options)


KINDS = {
    "uniform": lambda seed=0: qh.UniformPrior(4, seed),
    "product": lambda seed=0: qh.ProductPrior(4, seed),
    "rbm": lambda seed=0: qh.RBMPrior(4, steps=60, refit_steps=20, seed=seed),
    "replay": lambda seed=0: qh.ReplayPrior(4, seed),
    "mixed": lambda seed=0: qh.MixedPrior(small_qcbm(4, seed=seed), 0.3, seed),
    "scrambled": lambda seed=0: qh.ScrambledPrior(small_qcbm(4, seed=seed), seed),
    "signed permutation": lambda seed=0: qh.SignedPermutationPrior(small_qcbm(4, seed=seed), seed),
    "subset": lambda seed=0: qh.SubsetPrior(4, 8, seed),
    "exact": lambda seed=0: small_qcbm(4, seed=seed),
    "shots": lambda seed=0: small_qcbm(4, execution=qh.Shots(200), seed=seed),
    "zo": lambda seed=0: small_qcbm(2, bases="zo", seed=seed),
    "zt": lambda seed=0: small_qcbm(2, bases="zt", seed=seed),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def some_bits(n_rows=300, seed=0):
    """Four bits in two pairs that agree nine times in ten; the first bit of each pair is 1 with 0.7."""
    rng = np.random.default_rng(seed)
    first = rng.random((n_rows, 2)) < 0.7
    second = first ^ (rng.random((n_rows, 2)) < 0.1)
    return np.stack([first[:, 0], second[:, 0], first[:, 1], second[:, 1]], axis=1).astype(np.uint8)


def column_entropies(bits):
    p = bits.mean(0)
    return float(-(p * np.log(p) + (1 - p) * np.log(1 - p)).sum())


@every_kind
def test_satisfies_the_protocol(kind):
    prior = KINDS[kind]()
    assert isinstance(prior, qh.Prior)
    assert prior.latent_dim == 4


@every_kind
def test_samples_are_bits_in_random_order(kind):
    prior = KINDS[kind]()
    prior.fit(some_bits(60))
    bits = prior.sample(400)
    assert bits.shape == (400, 4)
    assert bits.dtype == np.uint8
    assert set(np.unique(bits)) == {0, 1}
    states = qh.to_index(bits)
    expected = 1 - (np.bincount(states) ** 2).sum() / 400**2  # how often neighbors differ in random order
    assert abs((np.diff(states) != 0).mean() - expected) < 0.12  # rows sorted by outcome differ in about 0.04
    assert abs(np.corrcoef(np.arange(400), states)[0, 1]) < 0.2


@every_kind
def test_same_seed_same_samples_and_two_calls_differ(kind):
    one, same, other = KINDS[kind](1), KINDS[kind](1), KINDS[kind](2)
    first = one.sample(100)
    assert np.array_equal(first, same.sample(100))
    assert not np.array_equal(first, one.sample(100))
    assert not np.array_equal(first, other.sample(100))


WRONG_BITS = [
    (np.zeros((5, 3), np.uint8), r"\(N, 4\).*got shape \(5, 3\)"),
    (np.zeros(4, np.uint8), r"got shape \(4,\)"),
    (np.zeros((0, 4), np.uint8), r"got shape \(0, 4\)"),
    (np.full((5, 4), 2), "0 or 1; got 2"),
    (np.full((5, 4), 0.5), r"0 or 1; got 0\.5"),
    (np.full((5, 4), -1), "0 or 1; got -1"),
]


@every_kind
def test_wrong_bits_and_numbers_of_samples_are_refused(kind):
    prior = KINDS[kind]()
    for bits, message in WRONG_BITS:
        with pytest.raises(ValueError, match=message):
            prior.fit(bits)
    for n_samples in (0, -3):
        with pytest.raises(ValueError, match=f"n_samples must be an integer .*; got {n_samples}"):
            prior.sample(n_samples)


def test_uniform_costs_log_two_a_bit_and_learns_nothing():
    prior = qh.UniformPrior(4)
    assert prior.fit(some_bits()) == pytest.approx(4 * math.log(2))
    assert np.allclose(prior.sample(8000).mean(0), 0.5, atol=0.03)


def test_product_learns_each_bits_frequency():
    bits = np.tile([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 1], [1, 1, 0, 0]], (100, 1))
    prior = qh.ProductPrior(4)
    prior.fit(bits)
    assert np.allclose(prior.p, [401 / 402, 301 / 402, 1 / 402, 101 / 402])
    assert np.allclose(prior.sample(8000).mean(0), [1, 0.75, 0, 0.25], atol=0.03)
    prior.fit(1 - bits)
    assert np.allclose(prior.sample(8000).mean(0), [0, 0.25, 1, 0.75], atol=0.03)


def test_product_costs_the_columns_entropies():
    bits = some_bits(2000)
    cost = qh.ProductPrior(4).fit(bits)
    assert cost == pytest.approx(column_entropies(bits), abs=1e-5)
    assert cost == pytest.approx(qh.entropy(bits) + qh.total_correlation(bits), abs=1e-5)


def test_product_cost_is_finite_for_a_bit_that_never_changes():
    bits = np.zeros((10, 2), np.uint8)
    prior = qh.ProductPrior(2)
    assert prior.fit(bits) == pytest.approx(-2 * math.log(11 / 12))
    assert np.isfinite(prior.sample(5)).all()


def test_product_is_uniform_before_its_first_fit():
    assert np.allclose(qh.ProductPrior(3).sample(8000).mean(0), 0.5, atol=0.03)


def test_circuit_learns_correlations_that_a_product_cannot():
    bits = some_bits()
    prior = qh.QCBMPrior(4, layers=2, max_evaluations=500)
    cost = prior.fit(bits)
    assert qh.entropy(bits) - 1e-9 <= cost < qh.ProductPrior(4).fit(bits) - 0.3
    drawn = prior.sample(4000)
    assert (drawn[:, 0] == drawn[:, 1]).mean() > 0.7  # a product of the same columns gives about 0.55
    assert (drawn[:, 2] == drawn[:, 3]).mean() > 0.7


def test_circuits_cost_is_that_of_its_samples_model():
    bits = some_bits()
    prior = small_qcbm(4)
    cost = prior.fit(bits)
    p = prior.qcbm.probabilities()[qh.to_index(bits)]
    assert cost == pytest.approx(-np.log(p).mean())


@pytest.mark.parametrize(("bases", "latent_dim"), [("z", 3), ("zo", 6), ("zt", 6)])
def test_two_bases_give_twice_the_bits(bases, latent_dim):
    prior = small_qcbm(3, bases=bases)
    assert prior.latent_dim == latent_dim
    assert prior.sample(10).shape == (10, latent_dim)


def test_first_fit_and_refits_have_their_budgets_and_refits_go_on_from_the_last_angles():
    bits = some_bits()
    prior = qh.QCBMPrior(4, layers=2, max_evaluations=60, refit_evaluations=35)
    first = prior.fit(bits)
    assert prior.last_fit.n_evaluations == 60
    second = prior.fit(bits)
    assert prior.last_fit.n_evaluations == 35
    assert prior.last_fit.costs[0] == pytest.approx(first)  # where the first fit ended, not anew
    assert second <= first
    prior.fit(bits)
    assert prior.last_fit.n_evaluations == 35


@pytest.mark.parametrize("layers", [1, 2, 8])
def test_default_budgets_can_move_every_angle(layers):
    prior = qh.QCBMPrior(8, layers)
    least = len(prior.qcbm.angles) + 2
    assert prior.refit_evaluations >= least
    assert prior.max_evaluations >= max(least, prior.refit_evaluations)


def test_optimizer_and_options_reach_the_fit():
    prior = small_qcbm(3, optimizer="adam", max_evaluations=3, refit_evaluations=1)
    seen = []
    prior.fit(some_bits()[:, :3], callback=lambda evaluation, cost: seen.append(evaluation))
    assert seen == [1, 2, 3]
    assert prior.last_fit.n_circuits == 3  # reverse mode
    shots = small_qcbm(3, optimizer="adam", max_evaluations=3, execution=qh.Shots(50), refit_evaluations=1)
    shots.fit(some_bits()[:, :3])
    assert shots.last_fit.n_circuits == 3 * (2 * 9 + 1)  # as parameter shift takes


def test_the_default_optimizer_is_cobyla_with_steps_of_adam_where_probabilities_are_exact():
    for execution in (None, qh.Exact()):
        prior = qh.QCBMPrior(3, layers=1, execution=execution)
        assert prior.optimizer == qh.Cobyla(max_evaluations=9 + 145, gradient_steps=45)
        assert (prior.max_evaluations, prior.refit_evaluations) == (9 + 145, 9 + 47)
    prior = qh.QCBMPrior(3, layers=1, execution=qh.Shots(100))
    assert prior.optimizer == qh.Cobyla() and prior.refit_evaluations == 9 + 62
    assert qh.QCBMPrior(3, optimizer="cobyla").optimizer == qh.Cobyla()


def test_the_default_fits_and_refits_learn_most_of_the_total_correlation():
    """Also when the bits change between two fits."""
    rng = np.random.default_rng(0)
    common = rng.integers(0, 2, (2000, 1))
    prior = qh.QCBMPrior(6)
    for flips in (0.15, 0.2, 0.25):
        bits = (common ^ (rng.random((2000, 6)) < flips)).astype(np.uint8)
        captured = 1 - (prior.fit(bits) - qh.entropy(bits)) / qh.total_correlation(bits)
        assert captured > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_qubits": 0}, "n_qubits must be an integer ≥ 1; got 0"),
        ({"layers": 0}, "layers must be an integer ≥ 1; got 0"),
        ({"bases": "x"}, "bases must be .*'z', 'zo', 'zt'.*; got 'x'"),
        ({"entanglement": "ring"}, "entanglement must be .*'full', 'linear', 'none'; got 'ring'"),
        ({"optimizer": "bfgs"}, "optimizer must be one of 'cobyla', 'adam', 'spsa'.*; got 'bfgs'"),
        ({"max_evaluations": 5}, "max_evaluations must be at least 11 for COBYLA with 9 angles; got 5"),
        ({"refit_evaluations": 10}, "refit_evaluations must be at least 11 for COBYLA with 9 angles; got 10"),
        ({"max_evaluations": 0}, "max_evaluations must be an integer ≥ 1; got 0"),
        ({"optimizer": "spsa", "refit_evaluations": -1}, "refit_evaluations must be an integer ≥ 1; got -1"),
        ({"optimizer": "adam", "max_evaluations": 2.5}, r"max_evaluations must be an integer ≥ 1; got 2\.5"),
    ],
)
def test_what_cannot_work_is_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        small_qcbm(**{"n_qubits": 3} | options)


@pytest.mark.parametrize("prior", [qh.UniformPrior, qh.ProductPrior, qh.RBMPrior, qh.ReplayPrior])
@pytest.mark.parametrize("latent_dim", [0, -1, 2.5, "8", True])
def test_wrong_latent_dim_is_refused(prior, latent_dim):
    with pytest.raises(ValueError, match="latent_dim must be an integer in 1–10,000; got "):
        prior(latent_dim)


# The restricted Boltzmann machine


def test_rbm_learns_correlations_that_a_product_cannot():
    bits = some_bits(2000)
    prior = qh.RBMPrior(4)
    cost = prior.fit(bits)
    assert qh.entropy(bits) < cost < qh.entropy(bits) + 0.05  # where a product costs 0.6 more
    drawn = prior.sample(4000)
    assert np.allclose(drawn.mean(0), bits.mean(0), atol=0.05)
    assert (drawn[:, 0] == drawn[:, 1]).mean() == pytest.approx(0.9, abs=0.03)
    assert (drawn[:, 0] == drawn[:, 2]).mean() == pytest.approx((bits[:, 0] == bits[:, 2]).mean(), abs=0.05)


def rbm_by_hand(prior):
    """p(v) by summing exp(−E(v, h)) over visible and hidden states, one by one."""
    rbm = prior._rbm
    n, m = prior.latent_dim, prior.hidden
    visible, hidden = (qh.from_index(np.arange(2**k), k).astype(float) for k in (n, m))
    weights = np.array(
        [
            sum(
                math.exp(h @ rbm.components_ @ v + rbm.intercept_hidden_ @ h + rbm.intercept_visible_ @ v)
                for h in hidden
            )
            for v in visible
        ]
    )
    return weights / weights.sum()


def test_rbm_cost_and_probabilities_are_exact():
    bits = some_bits(500)
    prior = qh.RBMPrior(4, hidden=3, steps=400)
    cost = prior.fit(bits)
    expected = rbm_by_hand(prior)
    assert np.allclose(prior.probabilities(), expected)
    assert abs(expected - 1 / 16).max() > 0.1  # it has learned something, so the sums are put to the test
    assert cost == pytest.approx(-np.log(expected[qh.to_index(bits)]).mean())


def test_rbm_chains_run_long_enough_to_draw_what_the_model_says():
    prior = qh.RBMPrior(4)
    prior.fit(some_bits(2000))
    drawn = np.bincount(qh.to_index(prior.sample(20_000)), minlength=16) / 20_000
    assert abs(drawn - prior.probabilities()).max() < 0.015


def test_rbm_cost_of_many_bits_is_the_pseudo_likelihoods(monkeypatch):
    bits = some_bits(400)
    monkeypatch.setattr("qaan_helpers.priors.MAX_ENUMERATED_BITS", 3)
    prior = qh.RBMPrior(4, steps=400)
    cost = prior.fit(bits)
    monkeypatch.undo()
    p = prior.probabilities()
    states = qh.to_index(bits)
    foretold = [np.log(p[states] / (p[states] + p[states ^ (1 << q)])).mean() for q in range(4)]
    assert cost == pytest.approx(-sum(foretold))


def test_rbm_takes_bits_that_are_too_many_to_list():
    prior = qh.RBMPrior(17, steps=20)
    bits = np.tile(np.arange(17) % 2, (50, 1)).astype(np.uint8)
    assert 0 < prior.fit(bits) < 17 * math.log(2)
    assert prior.sample(3).shape == (3, 17)


def test_rbm_goes_on_from_what_it_learned_with_the_steps_of_refits(monkeypatch):
    bits = some_bits(2000)
    prior = qh.RBMPrior(4, steps=3000, refit_steps=5)
    first = prior.fit(bits)
    steps = []
    step = prior._rbm.partial_fit
    monkeypatch.setattr(prior._rbm, "partial_fit", lambda rows: steps.append(len(rows)) or step(rows))
    assert prior.fit(bits) == pytest.approx(first, abs=0.1)
    assert steps == [100] * 5


def test_rbm_takes_fewer_bits_than_it_has_chains():
    prior = qh.RBMPrior(2)
    prior.fit(np.array([[0, 1], [1, 0], [0, 1], [1, 0]]))
    assert (prior.sample(1000).sum(1) == 1).mean() > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden must be an integer ≥ 1; got 0"),
        ({"steps": 0}, "steps must be an integer ≥ 1; got 0"),
        ({"refit_steps": 1.5}, "refit_steps must be .*; got 1.5"),
    ],
)
def test_rbm_refuses_what_cannot_work(options, message):
    with pytest.raises(ValueError, match=message):
        qh.RBMPrior(4, **options)


def test_rbm_leaves_numpys_global_random_numbers_alone():
    before = np.random.get_state()[1].copy()
    prior = qh.RBMPrior(4, steps=10)
    prior.fit(some_bits())
    prior.sample(10)
    assert np.array_equal(np.random.get_state()[1], before)


# The perfect memory


def test_replay_draws_rows_of_the_last_bits_as_often_as_they_occur():
    prior = qh.ReplayPrior(4)
    prior.fit(np.zeros((50, 4), np.uint8))
    bits = np.repeat([[1, 0, 0, 0], [1, 1, 0, 1]], [30, 10], axis=0)
    assert prior.fit(bits) == pytest.approx(qh.entropy(bits))
    bits[:] = 0  # the reader's array is the reader's own
    drawn = prior.sample(8000)
    assert set(qh.to_index(drawn)) == {1, 11}
    assert (qh.to_index(drawn) == 1).mean() == pytest.approx(0.75, abs=0.02)


def test_replay_is_uniform_before_its_first_fit_and_can_be_saved_then():
    prior = qh.ReplayPrior(3)
    twin = make_prior(prior.config())
    twin.load_state_dict(prior.state_dict())
    assert np.allclose(prior.sample(8000).mean(0), 0.5, atol=0.03)
    assert np.allclose(prior.probabilities(), 1 / 8)
    assert twin.sample(5).shape == (5, 3)


# The mixture with the uniform


def test_the_share_of_uniform_codes_is_as_asked():
    prior = qh.MixedPrior(qh.ReplayPrior(4), 0.25)
    bits = np.ones((50, 4), np.uint8)
    assert prior.fit(bits) == 0
    drawn = qh.to_index(prior.sample(16_000))
    expected = np.full(16, 0.25 / 16)
    expected[15] += 0.75
    assert np.allclose(np.bincount(drawn, minlength=16) / 16_000, expected, atol=0.012)
    assert np.allclose(prior.probabilities(), expected)
    uniform = drawn != 15
    assert abs(np.corrcoef(uniform[1:], uniform[:-1])[0, 1]) < 0.05  # spread over the rows, not at their end


@pytest.mark.parametrize(("share", "ones"), [(0, 1), (1, 0.5)])
def test_a_share_of_none_or_all_is_the_one_or_the_other(share, ones):
    prior = qh.MixedPrior(qh.ReplayPrior(2), share)
    prior.fit(np.ones((5, 2), np.uint8))
    assert prior.sample(4000).mean() == pytest.approx(ones, abs=0.03)


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan, "half", None])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=r"uniform_fraction must be a number in \[0, 1\]; got "):
        qh.MixedPrior(qh.UniformPrior(2), share)


@pytest.mark.parametrize("kind", [qh.MixedPrior, qh.ScrambledPrior, qh.SignedPermutationPrior])
@pytest.mark.parametrize(
    "prior",
    ["qcbm", None, qh.MixedPrior(qh.UniformPrior(2)), qh.ScrambledPrior(qh.UniformPrior(2)), qh.GaussianPrior(2)],
)
def test_only_a_prior_that_learns_on_its_own_is_mixed_or_scrambled(kind, prior):
    with pytest.raises(ValueError, match="prior must be one that is fitted itself, such as QCBMPrior"):
        kind(prior)


def test_a_mixture_tells_of_its_circuits_last_fit():
    prior = qh.MixedPrior(small_qcbm(2))
    assert circuit_prior(prior).last_fit is None
    prior.fit(some_bits()[:, :2])
    assert circuit_prior(prior) is learned_prior(prior) is prior.prior
    assert prior.prior.last_fit is not None
    assert circuit_prior(qh.MixedPrior(qh.UniformPrior(2))) is None
    assert circuit_prior(qh.ScrambledPrior(prior.prior)) is prior.prior


# The control whose codes are relabelled


def test_a_scrambled_prior_has_the_learned_priors_codes_under_other_names():
    prior, twin = qh.ScrambledPrior(qh.RBMPrior(4, seed=1), seed=1), qh.RBMPrior(4, seed=1)
    bits = some_bits()
    assert prior.fit(bits) == twin.fit(bits)
    names = qh.to_index(prior.sample(2000)), qh.to_index(twin.sample(2000))
    assert (prior.labels[names[1]] == names[0]).all()
    assert sorted(prior.labels) == list(range(16)) and (prior.labels != np.arange(16)).any()
    assert np.allclose(sorted(prior.probabilities()), sorted(twin.probabilities()))
    before = prior.labels
    prior.fit(bits)
    assert prior.labels is before  # for good
    assert (qh.ScrambledPrior(qh.RBMPrior(4), seed=2).labels != before).any()


def test_a_scrambled_prior_no_longer_knows_which_codes_are_likely():
    """All rows are one code; its probability goes elsewhere."""
    prior = qh.ScrambledPrior(qh.ReplayPrior(8), seed=0)
    prior.fit(np.ones((5, 8), np.uint8))
    assert prior.probabilities()[255] == 0 and prior.probabilities().max() == 1
    assert len(np.unique(prior.sample(50), axis=0)) == 1


def test_labels_that_are_none_are_refused():
    prior = qh.ScrambledPrior(qh.UniformPrior(2))
    for labels in ([0, 1, 2], [0, 1, 2, 2], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="labels must be a permutation of the integers from 0 to 3"):
            prior.load_state_dict({**prior.state_dict(), "labels": np.array(labels)})
    with pytest.raises(ValueError, match="at most 16 bits; got 17"):
        qh.ScrambledPrior(qh.UniformPrior(17))


# Other controls


def test_a_signed_permutation_keeps_hamming_distances_and_entropy():
    """All pairs of codes stay as far apart, and each bit of the samples is one of the learned prior's bits or its
    complement."""
    prior, same = qh.SignedPermutationPrior(qh.RBMPrior(4, seed=1), seed=1), qh.RBMPrior(4, seed=1)
    bits = some_bits()
    assert prior.fit(bits) == same.fit(bits)
    before, after = same.sample(500), prior.sample(500)
    distances = [(codes[:, None] != codes[None]).sum(2) for codes in (before, after)]
    assert np.array_equal(*distances)
    assert not np.array_equal(before, after)
    assert np.array_equal(after, before[:, prior.order] ^ prior.flips)
    assert np.allclose(sorted(prior.probabilities()), sorted(same.probabilities()))
    order, flips = prior.order, prior.flips
    prior.fit(bits)
    assert prior.order is order and prior.flips is flips
    signed = {(tuple(p.order), tuple(p.flips)) for p in (qh.SignedPermutationPrior(same, seed=s) for s in range(20))}
    assert len(signed) > 15


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"order": np.array([0, 0])}, "order must be a permutation of the integers from 0 to 1"),
        ({"order": np.array([0, 1, 2])}, "order must be a permutation"),
        ({"flips": np.array([0, 2])}, "bits must be 0 or 1; got 2"),
        ({"flips": np.array([0, 1, 1])}, r"shape \(N, 2\)"),
    ],
)
def test_a_signed_permutation_that_is_none_is_refused(part, message):
    prior = qh.SignedPermutationPrior(qh.UniformPrior(2))
    with pytest.raises(ValueError, match=message):
        prior.load_state_dict({**prior.state_dict(), **part})


def test_a_subset_has_k_codes_with_equal_probabilities_whatever_it_is_fitted_to():
    prior = qh.SubsetPrior(6, 10, seed=3)
    before = prior.probabilities()
    assert sorted(set(before)) == [0, 0.1] and (before > 0).sum() == 10
    assert qh.entropy(prior.sample(5000)) == pytest.approx(math.log(10), abs=0.01)
    assert prior.fit(prior.sample(50)) == pytest.approx(math.log(10))
    assert prior.fit(qh.from_index(np.flatnonzero(before == 0), 6)) == pytest.approx(-math.log(1e-8))
    assert np.array_equal(prior.probabilities(), before)
    assert (qh.SubsetPrior(6, 10, seed=4).probabilities() != before).any()


@pytest.mark.parametrize("n_codes", [0, 5, 1.5])
def test_a_subset_of_an_impossible_size_is_refused(n_codes):
    with pytest.raises(ValueError, match="n_codes must be an integer"):
        qh.SubsetPrior(2, n_codes)


def test_codes_of_another_subset_are_refused():
    prior = qh.SubsetPrior(3, 2)
    for codes in (np.zeros((2, 3)), np.zeros((1, 3)), np.full((2, 3), 3)):
        with pytest.raises(ValueError, match="codes must be 2 different ones|bits must be"):
            prior.load_state_dict({**prior.state_dict(), "codes": codes})


def test_the_latents_of_a_gaussian_prior_are_standard_normal():
    prior = qh.GaussianPrior(20, seed=1)
    gan = qh.QAAN(prior, device="cpu", latent_noise=0)
    samples = prior.sample(4000)
    assert samples.shape == (4000, 20) and samples.dtype == np.float32
    latents = gan.latents(samples, torch.Generator()).numpy()
    assert np.allclose(latents.mean(0), 0, atol=0.08) and np.allclose(latents.std(0), 1, atol=0.05)
    assert math.isnan(prior.fit(np.zeros((3, 20))))


def test_a_gan_with_gaussian_latents_trains_without_warnings_and_comes_back_from_disk(some_digits, tmp_path):
    digits = some_digits((3, 7), slice(None, None, 20))
    gan = qh.QAAN(qh.GaussianPrior(8), device="cpu", seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reports = list(qh.train(gan, digits, 2, 20))
    assert all(math.isnan(report.prior_cost) for report in reports)
    gan.save(tmp_path)
    assert torch.equal(qh.QAAN.load(tmp_path, "cpu").sample(5), gan.sample(5))


# Probabilities


@every_kind
def test_probabilities_are_those_of_the_samples(kind):
    prior = KINDS[kind]()
    prior.fit(some_bits(60))
    drawn = np.bincount(qh.to_index(prior.sample(20_000)), minlength=16) / 20_000
    p = prior.probabilities()
    assert p.shape == (16,)
    assert p.sum() == pytest.approx(1)
    assert abs(p - drawn).max() < (0.1 if kind == "shots" else 0.015)


def test_probabilities_in_two_bases_are_those_of_both_halves():
    """(|00⟩ + |11⟩)/√2, after RX(π/2) on both qubits (|01⟩ + |10⟩)/√2: states 0 and 3 with states 1 and 2."""
    prior = qh.QCBMPrior(2, bases="zo", optimizer="adam", max_evaluations=80)
    prior.fit(np.array([[0, 0, 0, 1], [1, 1, 1, 0]]))
    likely = [first + 4 * second for first in (0, 3) for second in (1, 2)]
    assert np.allclose(prior.probabilities()[likely], 1 / 4, atol=0.04)


@pytest.mark.parametrize(
    "prior",
    [
        lambda: qh.UniformPrior(17),
        lambda: qh.ProductPrior(17),
        lambda: qh.RBMPrior(17),
        lambda: qh.ReplayPrior(17),
        lambda: qh.QCBMPrior(9, layers=1, bases="zo"),
    ],
)
def test_probabilities_of_too_many_bits_are_refused(prior):
    with pytest.raises(ValueError, match=r"at most 16 bits; got 1[78]"):
        prior().probabilities()


@every_kind
def test_config_and_state_make_the_same_prior_again(kind):
    prior = KINDS[kind](5)
    prior.fit(some_bits(60))
    prior.sample(7)  # so that its random numbers are not at their start
    twin = make_prior(json.loads(json.dumps(prior.config())))
    twin.load_state_dict(copy.deepcopy(prior.state_dict()))
    assert type(twin) is type(prior)
    assert twin.config() == prior.config()
    assert np.array_equal(twin.sample(50), prior.sample(50))
    assert twin.fit(some_bits(60, seed=1)) == prior.fit(some_bits(60, seed=1))
    assert np.array_equal(twin.sample(50), prior.sample(50))


def test_config_holds_every_choice_of_the_circuit():
    options = {"layers": 3, "bases": "zo", "entanglement": "linear", "optimizer": "spsa"}
    prior = qh.QCBMPrior(2, **options, execution=qh.Shots(321), max_evaluations=40, refit_evaluations=30)
    twin = make_prior(prior.config())
    assert len(twin.qcbm.angles) == len(prior.qcbm.angles) == 3 * 5
    assert twin.qcbm.execution == qh.Shots(321)
    assert (twin.max_evaluations, twin.refit_evaluations) == (40, 30)
    assert (twin.layers, twin.entanglement, twin.optimizer) == (3, "linear", qh.Spsa())
    assert twin.qcbm.bases == "zo"


def test_a_prior_restored_after_its_first_fit_has_the_budget_of_refits():
    prior = small_qcbm(4)
    prior.fit(some_bits())
    twin = make_prior(prior.config())
    twin.load_state_dict(prior.state_dict())
    twin.fit(some_bits())
    assert twin.last_fit.n_evaluations == 18


def test_make_prior_refuses_unknown_kinds():
    with pytest.raises(
        ValueError, match="prior kind must be one of 'uniform', 'product', 'rbm', 'qcbm', 'replay'.*; got 'rainbow'"
    ):
        make_prior({"kind": "rainbow", "latent_dim": 4})
    with pytest.raises(ValueError, match="prior kind must be .*; got None"):
        make_prior({"latent_dim": 4})


def test_make_prior_takes_a_class_of_the_readers_own(monkeypatch):
    class Mine(qh.UniformPrior):
        pass

    monkeypatch.setitem(PRIORS, "mine", Mine)
    assert isinstance(make_prior({"kind": "mine", "latent_dim": 2}), Mine)


def test_a_noisy_execution_is_named_but_must_be_given_again():
    noise = NoiseModel()
    noise.add_all_qubit_quantum_error(depolarizing_error(0.01, 1), ["rx", "rz", "h"])
    config = small_qcbm(3, execution=qh.Shots(100, noise_model=noise)).config()
    json.dumps(config)
    with pytest.raises(ValueError, match="100 shots on Aer, with noise.*execution="):
        make_prior(config)
    assert make_prior(config, qh.Exact()).qcbm.execution == qh.Exact()


def test_a_circuit_runs_exactly_where_its_config_does_not_say_how_and_takes_a_seed():
    config = {"kind": "qcbm", "n_qubits": 3, "layers": 1}
    one, other = make_prior({**config, "seed": 1}), make_prior({**config, "seed": 2})
    assert one.qcbm.execution == qh.Exact()
    assert (one.qcbm.angles != other.qcbm.angles).any()


def test_another_execution_may_be_asked_for():
    assert make_prior(small_qcbm(3).config(), qh.Shots(10)).qcbm.execution == qh.Shots(10)


def test_a_mixtures_uniform_codes_do_not_repeat_the_learned_priors_samples():
    codes = qh.UniformPrior(8, seed=3).sample(500)
    uniform = qh.MixedPrior(qh.UniformPrior(8, seed=3), uniform_fraction=1, seed=3).sample(500)
    assert (uniform == codes).mean() == pytest.approx(0.5, abs=0.05)
