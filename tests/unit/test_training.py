"""The associative loop: what reaches the prior, what reaches the generator, what a step does, and when."""

import copy
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import qaan_helpers as qh
from qaan_helpers.lab import plots

BATCH = 8
pytestmark = [
    pytest.mark.filterwarnings("ignore:epoch .*, collapsed prior"),  # the Recorder samples one code only
    pytest.mark.integration,
]


@pytest.fixture(scope="module")
def digits(some_digits):
    return some_digits((3, 7), [*range(12), *range(-12, 0)])


class Recorder:
    """A prior with the protocol's three members and no more: it notes what it is given and draws one code only."""

    def __init__(self, code=(1, 0, 1), cost=1.5):
        self.latent_dim, self.code, self.cost = len(code), code, cost
        self.fitted, self.drawn = [], []

    def fit(self, bits):
        self.fitted.append(bits.copy())
        return self.cost

    def sample(self, n_samples):
        self.drawn.append(n_samples)
        return np.tile(np.array(self.code, dtype=np.uint8), (n_samples, 1))


def make(prior=None, seed=0, **settings):
    return qh.QAAN(prior or Recorder(), device="cpu", seed=seed, **settings)


def run(gan, digits, epochs=2, batch_size=BATCH):
    return list(qh.train(gan, digits, epochs, batch_size))


def weights(*modules):
    return [tensor.clone() for module in modules for tensor in module.state_dict().values()]


def equal(ones, others):
    return len(ones) == len(others) and all(torch.equal(a, b) for a, b in zip(ones, others, strict=True))


def without_times(report):
    return [v for k, v in vars(report).items() if k not in ("seconds", "prior_seconds") and v == v]


def latents_seen(gan):
    """A list that fills with every batch of latents that the generator is given in training."""
    seen = []
    gan.generator.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].clone()) if module.training else None
    )
    return seen


# The loop


def test_train_is_an_iterator_of_reports(digits):
    gan = make(latent_noise=0.3)
    reports = qh.train(gan, digits, 2, BATCH)
    assert iter(reports) is reports
    assert gan.epoch == 0  # nothing happens before the first is asked for
    first = next(reports)
    assert isinstance(first, qh.Report)
    assert gan.epoch == 1
    assert len(list(reports)) == 1
    assert gan.history[0] is first


def test_epochs_says_how_many_more(digits):
    gan = make()
    assert [r.epoch for r in run(gan, digits, 2)] == [1, 2]
    assert [r.epoch for r in run(gan, digits, 3)] == [3, 4, 5]
    assert [r.epoch for r in gan.history] == [1, 2, 3, 4, 5]
    assert gan.epoch == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be .*; got 0"),
        ({"epochs": -1}, "epochs must be .*; got -1"),
        ({"epochs": 1.5}, r"epochs must be .*; got 1\.5"),
        ({"batch_size": 0}, "batch_size must be .*; got 0"),
        ({"batch_size": 2.5}, r"batch_size must be .*; got 2\.5"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(digits, arguments, message):
    with pytest.raises(ValueError, match=message):
        qh.train(make(), digits, **arguments)


def test_a_run_that_goes_on_with_other_data_says_so(digits):
    gan, few = make(), qh.Digits(digits.images[:16], digits.labels[:16])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(gan, digits, 1)
        run(gan, digits, 1)
        with pytest.warns(
            UserWarning,
            match=r"was trained on .*24 images of 3, 7, from your own.*of 8 so far, and from now on .*16 images",
        ):
            run(gan, few, 1)
        run(gan, few, 1)
        with pytest.warns(UserWarning, match="in batches of 8 so far, and from now on .*in batches of 4"):
            run(gan, few, 1, batch_size=4)


def test_images_without_labels_are_refused_at_the_call(digits):
    with pytest.raises(ValueError, match="digits must be Digits, from load_mnist.*; got Tensor"):
        qh.train(make(), digits.images)


def test_break_leaves_a_gan_that_draws_and_goes_on_as_if_uninterrupted(digits):
    stopped, whole = make(qh.ProductPrior(3)), make(qh.ProductPrior(3))
    for _ in qh.train(stopped, digits, 10, BATCH):
        break
    assert stopped.epoch == 1
    run(stopped, digits, 2)
    run(whole, digits, 3)
    assert equal(weights(stopped.generator, stopped.discriminator), weights(whole.generator, whole.discriminator))
    assert stopped.sample(5).shape == (5, 1, 28, 28)


def test_a_stop_in_the_middle_of_a_step_does_not_keep_the_discriminator_from_learning(digits):
    gan = make()
    calls = []

    def stop_at_the_generators_step(*_):
        calls.append(1)
        if len(calls) == 3:  # real images, drawn images, then the generator's step
            raise KeyboardInterrupt

    hook = gan.discriminator.register_forward_pre_hook(stop_at_the_generators_step)
    with pytest.raises(KeyboardInterrupt):
        run(gan, digits)
    hook.remove()
    assert all(p.requires_grad for p in gan.discriminator.parameters())
    before = weights(gan.discriminator)
    assert [r.epoch for r in run(gan, digits, 1)] == [1]
    assert not equal(before, weights(gan.discriminator))


def test_an_epoch_is_as_many_steps_as_whole_batches_each_with_other_images(digits, monkeypatch):
    gan = make()
    batches, step = [], gan.step
    monkeypatch.setattr(gan, "step", lambda *given: (batches.append(given[0]), step(*given))[1])
    run(gan, digits, epochs=2, batch_size=10)
    assert [len(images) for images in batches] == [10, 10, 10, 10]  # 24 images: 4 are left out
    first, second = torch.cat(batches[:2]).flatten(1), torch.cat(batches[2:]).flatten(1)
    assert len(first.unique(dim=0)) == 20
    assert not torch.equal(first, second)
    known = {image.numpy().tobytes() for image in digits.images}
    assert {image.numpy().tobytes() for image in first} < known


def test_a_report_holds_the_means_over_the_steps(digits, monkeypatch):
    gan = make()
    told, step = [], gan.step

    def note(*given):
        told.append(step(*given))
        return told[-1]

    monkeypatch.setattr(gan, "step", note)
    (report,) = run(gan, digits, 1)
    assert len(told) == 3
    means = torch.stack(told).mean(0).tolist()
    assert [report.d_loss, report.g_loss, report.d_real, report.d_fake] == pytest.approx(means)
    assert 0 < report.d_real < 1 and 0 < report.d_fake < 1
    assert report.d_loss > 0 and report.g_loss > 0
    assert 0 <= report.prior_seconds <= report.seconds


def test_fewer_images_than_a_batch(digits):
    few = qh.Digits(digits.images[:5], digits.labels[:5])
    gan = make(qh.ProductPrior(3), warm_up=0)
    assert len(run(gan, few, 2, batch_size=64)) == 2
    assert all(math.isfinite(value) for value in without_times(gan.history[-1]))


def test_one_image(digits):
    one = qh.Digits(digits.images[:1], digits.labels[:1])
    gan = make(qh.ProductPrior(3), warm_up=0)
    run(gan, one, 2)
    assert all(math.isfinite(value) for value in without_times(gan.history[-1]))
    assert gan.sample(2).isfinite().all()


# When the prior is fitted, and to what


def test_warm_up_draws_uniform_codes_and_the_prior_draws_afterwards(digits):
    prior = Recorder(code=(1, 0, 1))
    gan = make(prior, warm_up=2, latent_noise=0)
    seen = latents_seen(gan)
    reports = qh.train(gan, digits, 3, BATCH)
    next(reports), next(reports)
    assert prior.drawn == [] and prior.fitted == []
    assert set(torch.cat(seen).unique().tolist()) == {-1.0, 1.0}
    assert len(torch.cat(seen).unique(dim=0)) > 4  # of 8 codes, 48 draws
    seen.clear()
    next(reports)
    assert sum(prior.drawn) == 24
    assert torch.equal(torch.cat(seen), torch.tensor([[1.0, -1.0, 1.0]]).repeat(24, 1))


def test_all_images_drawn_are_equal_where_the_prior_draws_one_code(digits):
    gan = make(warm_up=0, latent_noise=0)
    run(gan, digits, 1)
    images = gan.sample(6)
    assert torch.allclose(images, images[:1].expand_as(images), atol=1e-6)
    expected = gan.generate(torch.tensor([[1.0, -1.0, 1.0]]))
    assert torch.allclose(images[:1], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("warm_up", "refresh", "fitted_in"),
    [(0, 1, [1, 2, 3, 4, 5]), (1, 1, [2, 3, 4, 5]), (1, 2, [2, 4]), (2, 2, [3, 5]), (0, 4, [1, 5]), (9, 1, [])],
)
def test_warm_up_and_refresh_say_when_the_prior_is_fitted(digits, warm_up, refresh, fitted_in):
    prior = Recorder()
    gan = make(prior, warm_up=warm_up, refresh=refresh)
    reports = run(gan, digits, 5)
    assert [r.epoch for r in reports if not math.isnan(r.prior_cost)] == fitted_in
    assert [r.epoch for r in reports if not math.isnan(r.bits_entropy)] == fitted_in
    assert len(prior.fitted) == len(fitted_in)
    assert len(prior.drawn) == (5 - warm_up if warm_up < 5 else 0)  # the prior stays in use between fits


def test_the_prior_learns_the_bits_of_real_images_above_the_median(digits):
    """By hand: the hidden layer's activations of every real image, each unit cut at its own median."""
    expected = []

    class Checked(Recorder):
        def fit(self, bits):
            with torch.no_grad():
                activations = copy.deepcopy(gan.discriminator).eval().features(digits.images).numpy()
            expected.append((activations > np.median(activations, axis=0)).astype(np.uint8))
            return super().fit(bits)

    prior = Checked(code=(1, 0, 1, 1, 0))
    gan = make(prior, warm_up=1)
    run(gan, digits, 4)
    assert len(prior.fitted) == 3
    for bits, by_hand in zip(prior.fitted, expected, strict=True):
        assert bits.dtype == np.uint8
        assert np.array_equal(np.sort(qh.to_index(bits)), np.sort(qh.to_index(by_hand)))  # in an order of its own
        assert (bits.sum(0) == 12).all()
    assert not np.array_equal(np.sort(qh.to_index(expected[0])), np.sort(qh.to_index(expected[2])))


def test_binarisation_is_the_readers_choice(digits):
    gan = make(binarization="sign")
    with torch.no_grad():
        by_hand = gan.discriminator.eval().features(digits.images).numpy() > 0
    assert np.array_equal(gan.bits(digits.images), by_hand)
    drawn = make(binarization="bernoulli").bits(digits.images.repeat(40, 1, 1, 1), seed=1)
    assert abs(drawn.mean() - 0.5) < 0.1  # an untrained layer's activations lie near 0
    assert len(np.unique(qh.to_index(drawn[::24]))) > 1  # one image gives several codes


def test_at_most_fit_samples_images_each_once_and_others_each_time(digits, monkeypatch):
    gan = make(warm_up=0, fit_samples=10)
    given, bits = [], gan.read_bits
    monkeypatch.setattr(gan, "read_bits", lambda images, seed: (given.append(images), bits(images, seed))[1])
    run(gan, digits, 2)
    known = {image.numpy().tobytes() for image in digits.images}
    chosen = [{image.numpy().tobytes() for image in images} for images in given]
    assert [len(images) for images in given] == [10, 10]
    assert [len(images) for images in chosen] == [10, 10]
    assert chosen[0] < known and chosen[0] != chosen[1]


def test_fitted_to_both_every_second_image_is_the_generators(digits, monkeypatch):
    gan = make(warm_up=0, fit_to="both", fit_samples=11)
    given, drawn, bits, sample = [], [], gan.read_bits, gan.sample
    monkeypatch.setattr(gan, "read_bits", lambda images, seed: (given.append(images), bits(images, seed))[1])
    monkeypatch.setattr(gan, "sample", lambda n: (drawn.append(sample(n)), drawn[-1])[1])
    known = {image.numpy().tobytes() for image in digits.images}
    run(gan, digits, 2)
    for images, fakes in zip(given, drawn, strict=True):
        assert len(images) == 11 and torch.equal(images[::2], fakes)
        assert {image.numpy().tobytes() for image in images[1::2]} < known
    assert {image.numpy().tobytes() for image in digits.images} == known  # the reader's own digits stay


def test_a_report_holds_what_the_fit_told_and_what_the_bits_allow(digits):
    prior = Recorder(cost=1.25)
    gan = make(prior, warm_up=0)
    (report,) = run(gan, digits, 1)
    assert report.prior_cost == 1.25
    assert report.bits_entropy == pytest.approx(qh.entropy(prior.fitted[0]))
    assert report.bits_correlation == pytest.approx(qh.total_correlation(prior.fitted[0]))


def test_a_prior_may_tell_no_cost(digits):
    (report,) = run(make(Recorder(cost=None), warm_up=0), digits, 1)
    assert math.isnan(report.prior_cost)
    assert math.isfinite(report.bits_entropy)


def test_the_circuit_prior_is_fitted_in_the_loop(digits):
    prior = qh.QCBMPrior(3, layers=1, max_evaluations=30, refit_evaluations=12)
    gan = make(prior, warm_up=1)
    reports = qh.train(gan, digits, 3, BATCH)
    next(reports)
    assert prior.last_fit is None
    second = next(reports)
    assert prior.last_fit.n_evaluations == 30
    assert second.prior_cost == prior.last_fit.best_cost >= second.bits_entropy - 1e-9
    next(reports)
    assert prior.last_fit.n_evaluations == 12


# Latents and samples


def test_noise_spreads_the_latents_in_training_and_in_samples(digits):
    gan = make(warm_up=0, latent_noise=0.25, ema_decay=0)
    seen = latents_seen(gan)
    run(gan, digits, 20)
    residue = torch.cat(seen) - torch.tensor([1.0, -1.0, 1.0])
    assert residue.std().item() == pytest.approx(0.25, rel=0.1)
    assert abs(residue.mean().item()) < 0.03
    assert len(residue.unique(dim=0)) == len(residue)  # no epoch repeats another's noise
    spread = gan.sample(6).flatten(1).std(0).max()
    assert spread > 1e-3


@pytest.mark.parametrize(("noise", "most", "least"), [(0.0, 8, 5), (0.3, 64, 64)])
def test_without_noise_n_bits_draw_at_most_two_to_the_n_images(digits, noise, most, least):
    gan = make(qh.UniformPrior(3), latent_noise=noise)
    run(gan, digits, 4)
    images = gan.sample(64).flatten(1)
    groups = len((images * 1000).round().unique(dim=0))
    assert least <= groups <= most


def test_samples_are_images_and_two_calls_differ():
    gan = make(qh.UniformPrior(4))
    first, second = gan.sample(5), gan.sample(5)
    assert first.shape == (5, 1, 28, 28)
    assert first.dtype == torch.float32
    assert first.min() >= 0
    assert first.max() <= 1
    assert not torch.equal(first, second)
    assert not first.requires_grad


def test_a_drawn_image_does_not_depend_on_its_neighbours():
    gan = make(qh.UniformPrior(4))
    latents = gan.latents(gan.prior.sample(6))
    assert torch.allclose(
        gan.generate(latents)[:2], gan.generate(latents[:2]), atol=1e-6
    )  # batch norm in evaluation mode


def test_bits_of_an_image_do_not_depend_on_its_neighbours(digits):
    gan = make(binarization="sign")
    run(gan, digits, 1)
    assert np.array_equal(gan.bits(digits.images)[:3], gan.bits(digits.images[:3]))


def test_samples_may_be_drawn_between_epochs(digits):
    gan = make(qh.UniformPrior(3))
    for _ in qh.train(gan, digits, 3, BATCH):
        gan.sample(4)
        assert gan.bits(digits.images).shape == (24, 3)
    assert gan.epoch == 3
    assert all(p.requires_grad for p in gan.discriminator.parameters())


def test_training_normalises_by_batch_even_after_samples_were_drawn(digits):
    gan = make(qh.UniformPrior(3))
    modes, drawing = [], []
    gan.generator.register_forward_hook(lambda module, *_: modes.append(module.training))
    gan.ema.module.register_forward_hook(lambda module, *_: drawing.append(module.training))
    for _ in qh.train(gan, digits, 2, BATCH):
        gan.sample(4)
    assert modes == [True] * 3 * 2
    assert drawing == [False] * 2 * 2  # `health` draws once an epoch, too


def test_digits_are_drawn_by_a_running_average_of_the_generator(digits):
    gan, plain = make(ema_decay=0.75), make(ema_decay=0)
    latents = gan.latents(gan.active_prior.sample(BATCH))
    expected = None
    for _ in range(3):
        gan.step(digits.images[:BATCH], latents)
        plain.step(digits.images[:BATCH], latents)
        now = {
            name: tensor.clone() for name, tensor in gan.generator.state_dict().items() if tensor.is_floating_point()
        }
        expected = {name: 0.75 * expected[name] + 0.25 * now[name] for name in now} if expected else now
    average = gan.ema.module.state_dict()
    assert all(torch.allclose(average[name], tensor, atol=1e-6) for name, tensor in expected.items())
    assert not torch.allclose(average["layers.0.weight"], gan.generator.layers[0].weight, atol=1e-6)
    gan.generator.load_state_dict(average)
    assert torch.allclose(gan.generate(latents), gan.generator.eval()(latents), atol=1e-6)
    assert torch.equal(plain.generate(latents), plain.generator.eval()(latents))


@pytest.mark.parametrize("shape", [(4, 28, 28), (4, 3, 28, 28), (4, 1, 32, 32)])
def test_bits_of_wrong_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"images must have shape \(N, 1, 28, 28\).*; got "):
        make().bits(torch.zeros(shape))


def test_images_and_latents_that_are_no_tensors_are_refused(digits):
    gan = make()
    for call in (gan.bits, gan.discriminator.features, plots.digit_grid, qh.inception_score):
        with pytest.raises(ValueError, match=r"images must be a torch tensor; got ndarray.*torch\.as_tensor\(images\)"):
            call(digits.images.numpy())
    with pytest.raises(ValueError, match="latents must be a torch tensor; got list"):
        gan.generator([[1.0, -1.0, 1.0]])
    with pytest.raises(ValueError, match="N ≥ 1"):
        gan.bits(digits.images[:0])


def test_what_is_no_qaan_is_not_trained(digits):
    with pytest.raises(ValueError, match=r"gan must be a QAAN, from QAAN\(prior\).*; got UniformPrior"):
        qh.train(qh.UniformPrior(3), digits)


@pytest.mark.parametrize("n_samples", [0, -1])
@pytest.mark.parametrize("prior", [qh.UniformPrior, qh.QCBMPrior])
def test_no_samples_are_refused(prior, n_samples):
    gan = make(prior(3), warm_up=0)
    gan.prior_fitted = True
    with pytest.raises(ValueError, match=f"n_samples must be an integer .*; got {n_samples}"):
        gan.sample(n_samples)


# One step


def step_by_hand(gan, images, latents, smoothing):
    """The losses and gradients of a step, written anew; `gan` takes the step of its discriminator only."""
    loss = torch.nn.BCEWithLogitsLoss()
    D, G, n = gan.discriminator, gan.generator, len(images)
    fakes = G(latents)
    real_logits, fake_logits = D(images), D(fakes.detach())
    d_loss = loss(real_logits, torch.full((n, 1), 1 - smoothing)) + loss(fake_logits, torch.zeros(n, 1))
    d_gradients = torch.autograd.grad(d_loss, list(D.parameters()))
    for parameter, gradient in zip(D.parameters(), d_gradients, strict=True):
        parameter.grad = gradient
    gan.d_optimizer.step()
    g_loss = loss(D(fakes), torch.ones(n, 1))
    g_gradients = torch.autograd.grad(g_loss, list(G.parameters()))
    told = [d_loss, g_loss, real_logits.sigmoid().mean(), fake_logits.sigmoid().mean()]
    return [value.item() for value in told], d_gradients, g_gradients


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_a_step_is_the_one_written_by_hand(digits, smoothing):
    gan, twin = make(label_smoothing=smoothing), make(label_smoothing=smoothing)
    latents = torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(0))
    for images in (digits.images[:BATCH], digits.images[BATCH : 2 * BATCH]):
        told = gan.step(images, latents)
        expected, d_gradients, g_gradients = step_by_hand(twin, images, latents, smoothing)
        assert told.tolist() == pytest.approx(expected, rel=1e-4)
        # the generator's step has left no trace in the discriminator's gradients
        for parameter, gradient in zip(gan.discriminator.parameters(), d_gradients, strict=True):
            assert torch.allclose(parameter.grad, gradient, rtol=1e-3, atol=1e-6)
        for parameter, gradient in zip(gan.generator.parameters(), g_gradients, strict=True):
            assert torch.allclose(parameter.grad, gradient, rtol=1e-3, atol=1e-6)
        twin.generator.load_state_dict(gan.generator.state_dict())
        twin.discriminator.load_state_dict(gan.discriminator.state_dict())


def test_a_step_moves_every_weight_of_both_networks(digits):
    gan = make()
    modules = (gan.generator, gan.discriminator)
    before = [p.detach().clone() for module in modules for p in module.parameters()]
    gan.step(digits.images[:BATCH], gan.latents(gan.active_prior.sample(BATCH)))
    after = [p for module in modules for p in module.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_each_weight_has_its_learning_rate(digits):
    gan = make(learning_rate=3e-4, hidden_lr_factor=0.5)
    for optimizer, network in ((gan.g_optimizer, gan.generator), (gan.d_optimizer, gan.discriminator)):
        assert isinstance(optimizer, torch.optim.Adam)
        assert all(group["betas"] == (0.5, 0.999) for group in optimizer.param_groups)
        rates = {weight: group["lr"] for group in optimizer.param_groups for weight in group["params"]}
        slow = {"hidden.0.weight", "hidden.0.bias"}
        assert list(rates) == list(network.parameters())  # in this order, by which a save names their means
        assert {name for name, weight in network.named_parameters() if rates[weight] != 3e-4} <= slow
    assert {rates[weight] for weight in gan.discriminator.hidden.parameters()} == {1.5e-4}


# Seeds


def test_same_seed_same_run_whatever_else_draws_random_numbers(digits):
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        np.random.seed(noise)
        gan = make(qh.QCBMPrior(3, 1, execution=qh.Shots(50), max_evaluations=15, refit_evaluations=12), warm_up=1)
        run(gan, digits, 3)
        runs.append((weights(gan.generator, gan.discriminator), gan.sample(4), gan.history))
    (ones, images, history), (others, other_images, other_history) = runs
    assert equal(ones, others)
    assert torch.equal(images, other_images)
    assert [without_times(r) for r in history] == [without_times(r) for r in other_history]


RUN = """
import hashlib, json, sys
import torch
torch.set_num_threads(int(sys.argv[1]))
import qaan_helpers as qh
from qaan_helpers.lab import plots
from qaan_helpers.gan import storage

sample = qh.load_mnist((3, 7), source="sample")
digits = qh.Digits(sample.images[::4], sample.labels[::4])
gan = qh.QAAN(qh.QCBMPrior(4, 1, max_evaluations=40, refit_evaluations=30), device="cpu", seed=2)
reports = [[r.d_loss, r.g_loss, r.d_real, r.d_fake] for r in qh.train(gan, digits, 3, 32)]
images = gan.sample(16)

bits = qh.from_index([3, 5, 5, 6, 9, 9, 9, 14, 30, 30], 5)
fits = {}
for optimizer, evaluations in (("cobyla", 150), ("adam", 10), ("spsa", 80)):
    for execution in (qh.Exact(), qh.Shots(200)):
        qcbm = qh.QCBM(qh.qcbm_ansatz(5, 1), execution, seed=1)
        result = qcbm.fit(bits, optimizer, evaluations)
        drawn = sorted(qcbm.sample(300).tolist())
        fits[f"{optimizer}, {execution}"] = [result.best_cost, result.angles.tolist(), drawn]
tensors, rest = storage.pack(gan.state_dict())
rest.pop("history")  # the seconds differ
texts = [tensor.numpy().tobytes() for tensor in tensors.values()] + [json.dumps(rest).encode()]
state = hashlib.sha256(b"".join(texts)).hexdigest()
print(json.dumps({"reports": reports, "state": state, "images": images.flatten().tolist(), "fits": fits}))
"""


@pytest.mark.slow
def test_same_seed_same_numbers_in_any_process_and_nearly_so_on_more_threads():
    """What training.py's docstring promises: fit, training and samples, three processes side by side."""
    told = []
    for threads, hash_seed in ((1, 1), (1, 2), (2, 3)):
        setting = {"OMP_NUM_THREADS": str(threads), "PYTHONHASHSEED": str(hash_seed)}
        paths = {"PYTHONPATH": str(Path(qh.__file__).parents[1])}
        command = [sys.executable, "-c", RUN, str(threads)]
        told.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | setting | paths))
    one, again, threaded = (json.loads(process.communicate()[0].splitlines()[-1]) for process in told)
    assert one == again
    assert len(one["fits"]) == 6
    for name, (cost, angles, drawn) in one["fits"].items():
        other_cost, other_angles, other_drawn = threaded["fits"][name]
        assert other_cost == pytest.approx(cost, abs=1e-6)
        assert other_angles == pytest.approx(angles, abs=1e-6)
        assert other_drawn == drawn
    assert threaded["reports"][0] == pytest.approx(one["reports"][0], abs=1e-4)  # of nine steps


def test_other_seed_other_run(digits):
    ones, others = make(qh.UniformPrior(3), seed=0), make(qh.UniformPrior(3), seed=1)
    assert not equal(weights(ones.generator), weights(others.generator))
    assert not equal(weights(ones.discriminator), weights(others.discriminator))
    others.generator.load_state_dict(ones.generator.state_dict())
    others.discriminator.load_state_dict(ones.discriminator.state_dict())
    first, second = latents_seen(ones), latents_seen(others)
    run(ones, digits, 1)
    run(others, digits, 1)
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert not equal(weights(ones.generator), weights(others.generator))


def test_no_two_epochs_see_the_same_latents(digits):
    gan = make(qh.UniformPrior(3), latent_noise=0)
    seen = latents_seen(gan)
    run(gan, digits, 2)
    assert not torch.equal(torch.cat(seen[:3]), torch.cat(seen[3:]))


def test_the_readers_own_random_numbers_stay_as_they_were(digits):
    torch.manual_seed(987)  # a state that no gan's own seeds would leave behind
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    gan = make(qh.ProductPrior(3))
    run(gan, digits, 2)
    gan.sample(3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"binarization": "mean"}, "binarization must be one of 'median', 'sign', 'bernoulli'; got 'mean'"),
        ({"fit_to": "fakes"}, "fit_to must be one of 'real', 'both'; got 'fakes'"),
        ({"warm_up": -1}, "warm_up must be .*; got -1"),
        ({"warm_up": 1.5}, r"warm_up must be .*; got 1\.5"),
        ({"refresh": 0}, "refresh must be .*; got 0"),
        ({"fit_samples": 0}, "fit_samples must be .*; got 0"),
        ({"latent_noise": -0.1}, r"latent_noise must be .*; got -0\.1"),
        ({"latent_noise": math.nan}, "latent_noise must be .*; got nan"),
        ({"latent_noise": math.inf}, "latent_noise must be .*; got inf"),
        ({"label_smoothing": 0.5}, "label_smoothing"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"hidden_lr_factor": 0}, "hidden_lr_factor"),
        ({"ema_decay": 1}, "ema_decay"),
        ({"ema_decay": -0.1}, "ema_decay"),
        ({"hidden_lr_factor": 1.1}, "hidden_lr_factor"),
        ({"hidden_lr_factor": math.nan}, "hidden_lr_factor"),
        ({"seed": -1}, "seed must be .*; got -1"),
        ({"seed": None}, "seed must be .*; got None"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="learning_speed is not a known name; choose from learning_rate, "):
        make(learning_speed=1)


@pytest.mark.parametrize("prior", [None, 8, qh.UniformPrior, "qcbm"])
def test_what_is_no_prior_is_refused(prior):
    with pytest.raises(ValueError, match=r"prior must have latent_dim, fit\(bits\) and sample\(n\).*; got "):
        qh.QAAN(prior)


def test_unknown_devices_and_missing_cuda_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device is 'cuda'.*'auto'"):
        qh.QAAN(Recorder(), device="cuda")
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu' or 'cuda'; got 'tpu'"):
        qh.QAAN(Recorder(), device="tpu")
    assert qh.QAAN(Recorder(), device="auto").device == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_training_on_cuda_goes_on_on_the_cpu(digits, tmp_path):
    gan = qh.QAAN(qh.QCBMPrior(3, 1, max_evaluations=12, refit_evaluations=12))
    assert gan.device.type == "cuda"
    run(gan, digits, 2)
    gan.save(tmp_path)
    there = qh.QAAN.load(tmp_path, device="cpu")
    assert torch.allclose(there.sample(4), gan.sample(4), atol=1e-4)
    run(there, digits, 1)
    assert there.epoch == 3


def test_a_prior_without_state_trains_but_cannot_be_saved(digits, tmp_path):
    gan = make()
    run(gan, digits, 1)
    with pytest.raises(ValueError, match=r"Recorder cannot be saved.*config\(\), state_dict\(\), load_state_dict\(\)"):
        gan.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()
