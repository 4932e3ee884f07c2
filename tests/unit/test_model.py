"""The state of a QAAN as PyTorch users expect it: complete, restorable, and independent once it is loaded."""

import copy

import numpy as np
import pytest
import torch

import qaan_helpers as qh
from qaan_helpers.gan import storage
from qaan_helpers.gan.state import preserved, snapshot


@pytest.fixture(scope="module")
def digits(some_digits):
    return some_digits((3, 7), slice(64))


def make(prior=None, **settings):
    return qh.QAAN(prior or qh.ProductPrior(3, seed=1), "cpu", seed=2, **{"warm_up": 0, **settings})


def circuit(**options):
    return qh.QCBMPrior(2, layers=1, max_evaluations=12, refit_evaluations=10, seed=1, **options)


def run(gan, digits, epochs):
    return [report.d_loss for report in qh.train(gan, digits, epochs, 16)]


def same(one, other):
    """Whether two states are equal, but for the seconds of the epochs."""
    (tensors, rest), (others, remainder) = map(storage.pack, (one, other))
    for state in (rest, remainder):
        state["history"] = [{k: v for k, v in r.items() if "seconds" not in k} for r in state["history"]]
    return rest == remainder and all(torch.equal(tensors[name], others[name]) for name in tensors | others)


def test_the_state_has_everything_that_training_changes(digits):
    gan = make()
    before = snapshot(gan)
    run(gan, digits, 1)
    after = gan.state_dict()
    changed = {
        name for name in after if not same({"history": [], "x": before[name]}, {"history": [], "x": after[name]})
    }
    networks = {"generator", "ema", "discriminator", "g_optimizer", "d_optimizer"}
    assert changed == networks | {"prior", "prior_fitted", "thresholds", "n_steps", "history", "trained_on"}
    assert (
        after.keys()
        == before.keys()
        == networks
        | {*("seed", "objective", "settings", "prior", "prior_fitted", "thresholds", "n_steps")}
        | {*("random", "history", "trained_on")}
    )


@pytest.mark.parametrize(
    "prior", [lambda: qh.ProductPrior(3, seed=1), circuit, lambda: qh.RBMPrior(3, steps=9, seed=1)]
)
def test_training_continues_from_a_loaded_state_as_it_would_have(digits, prior):
    gan, other = make(prior()), make(prior())
    run(gan, digits, 2)
    state = snapshot(gan)
    other.load_state_dict(state)
    assert run(gan, digits, 2) == run(other, digits, 2)
    assert same(gan.state_dict(), other.state_dict())
    assert torch.equal(gan.sample(5), other.sample(5))


def test_a_loaded_state_is_a_copy(digits):
    """Also Adam's moments, which PyTorch's own load_state_dict does not copy."""
    gan = make()
    run(gan, digits, 1)
    state = snapshot(gan)
    intact = copy.deepcopy(state)
    gan.load_state_dict(state)
    run(gan, digits, 1)
    assert same(state, intact)
    gan.load_state_dict(state)
    first = run(gan, digits, 1)
    gan.load_state_dict(state)
    assert run(gan, digits, 1) == first


def test_a_state_brings_its_settings_seed_and_history(digits):
    source = qh.QAAN(qh.ProductPrior(3), "cpu", seed=7, warm_up=0, ema_decay=0.5, latent_noise=0.1, learning_rate=1e-3)
    run(source, digits, 2)
    gan = make()
    gan.load_state_dict(source.state_dict())
    assert gan.settings == source.settings and gan.seed == 7
    assert gan.history == source.history and gan.epoch == 2
    assert gan.g_optimizer.param_groups[0]["lr"] == 1e-3
    run(gan, digits, 1), run(source, digits, 1)
    assert same(gan.state_dict(), source.state_dict())  # so the EMA's decay came too


def test_a_changed_learning_rate_is_part_of_the_state(digits, tmp_path):
    gan = make()
    run(gan, digits, 1)
    for group in gan.g_optimizer.param_groups:
        group["lr"] = 7e-4
    gan.save(tmp_path)
    loaded = qh.QAAN.load(tmp_path, "cpu")
    assert loaded.g_optimizer.param_groups[0]["lr"] == 7e-4
    assert isinstance(loaded.g_optimizer.param_groups[0]["betas"], tuple)


def test_the_state_shares_memory_and_a_snapshot_does_not(digits):
    gan = make()
    state, copied = gan.state_dict(), snapshot(gan)
    run(gan, digits, 1)
    assert torch.equal(state["generator"]["layers.0.weight"], gan.generator.layers[0].weight)
    assert not torch.equal(copied["generator"]["layers.0.weight"], gan.generator.layers[0].weight)


def test_a_qaan_can_be_made_of_a_state(digits):
    gan = make(circuit(optimizer=qh.Cobyla(trust_radius=0.3)))
    run(gan, digits, 1)
    other = qh.QAAN.from_state_dict(snapshot(gan), "cpu")
    assert other.prior.optimizer == qh.Cobyla(trust_radius=0.3)
    assert torch.equal(other.sample(4), gan.sample(4))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda s: s["prior"]["config"].update(kind="rbm"),
            ValueError,
            "prior of kind 'rbm'; this QAAN has .*'product'",
        ),
        (lambda s: s["prior"]["state"].update(p=np.ones(5)), ValueError, "p must be 3 probabilities"),
        (lambda s: s["settings"].update(refresh=0), ValueError, "settings.refresh must be an integer ≥ 1; got 0"),
        (lambda s: s["generator"].pop("layers.0.weight"), RuntimeError, "layers.0.weight"),
        (lambda s: s.pop("random"), KeyError, "random"),
        (
            lambda s: s["g_optimizer"]["state"][0].update(step=torch.ones(2)),
            ValueError,
            "g_optimizer have other shapes",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(digits, change, error, message):
    gan = make()
    run(gan, digits, 1)
    state = snapshot(gan)
    change(state)
    with pytest.raises(error, match=message):
        make().load_state_dict(state)


class Fixed:
    """A user's prior without a state."""

    latent_dim = 3

    def fit(self, bits):
        return 0.0

    def sample(self, n_samples):
        return np.ones((n_samples, 3), np.uint8)


def test_a_prior_without_a_state_is_left_out(digits):
    gan = make(Fixed())
    run(gan, digits, 1)
    state = snapshot(gan)
    assert state["prior"] == {"config": None, "state": None}
    gan.load_state_dict(state)
    with pytest.raises(ValueError, match="Fixed has no load_state_dict"):
        gan.load_state_dict(make().state_dict())


@pytest.mark.parametrize("error", [None, KeyError("x")])
def test_preserved_restores_whatever_happens(digits, error):
    gan = make()
    run(gan, digits, 1)
    before = snapshot(gan)
    try:
        with preserved(gan):
            gan.sample(3)
            run(gan, digits, 1)
            if error:
                raise error
    except KeyError:
        pass
    assert same(gan.state_dict(), before)


def test_a_batch_larger_than_the_data_is_announced(digits):
    with pytest.warns(UserWarning, match="batch_size is 1,000, and there are 64 images: each step uses all of them"):
        epochs = qh.train(make(), digits, 1, 1000)
    next(epochs)
