"""The objectives in which an encoder provides the bits: "tied" and "reconstruction", and recall in all three."""

import math

import numpy as np
import pytest
import torch

import qaan_helpers as qh
from qaan_helpers.__main__ import main
from qaan_helpers.gan.networks import Encoder
from qaan_helpers.gan.state import CheckpointError, preserved, snapshot

ENCODERS = ("tied", "reconstruction")
ALL = ("associative", *ENCODERS)
BATCH = 16


@pytest.fixture(scope="module")
def digits(some_digits):
    return some_digits((3, 7), slice(48))


def make(objective, prior=None, seed=2, **settings):
    return qh.QAAN(prior or qh.ProductPrior(3, seed=1), "cpu", seed, objective, **{"warm_up": 0, **settings})


def run(gan, digits, epochs=1):
    return list(qh.train(gan, digits, epochs, BATCH))


class Recorder:
    """A prior that keeps the bits that it is fitted to."""

    latent_dim = 3

    def __init__(self):
        self.fitted, self.sampled = [], []

    def fit(self, bits):
        self.fitted.append(bits)
        return 1.5

    def sample(self, n_samples):
        self.sampled.append(np.random.default_rng(len(self.sampled)).integers(0, 2, (n_samples, 3), dtype=np.uint8))
        return self.sampled[-1]


# The encoder


def test_sampled_bits_have_the_gradient_of_their_probabilities(digits):
    encoder = Encoder(4)
    images, weights = digits.images[:BATCH], torch.arange(1.0, 5.0)
    noise = torch.Generator().manual_seed(0)
    bits = encoder.sample(images, noise)
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    through_bits = torch.autograd.grad((bits * weights).sum(), list(encoder.parameters()))
    through_p = torch.autograd.grad((encoder(images).sigmoid() * weights).sum(), list(encoder.parameters()))
    assert max(gradient.abs().max() for gradient in through_bits) > 1e-4
    for one, other in zip(through_bits, through_p, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def test_a_bit_is_set_as_often_as_its_probability_says(digits):
    encoder, image = Encoder(4).eval(), digits.images[:1].expand(4000, -1, -1, -1)
    with torch.no_grad():
        p = encoder(image[:1]).sigmoid()[0]
        means = encoder.sample(image, torch.Generator().manual_seed(0)).mean(0)
    assert torch.allclose(means, p, atol=5 * 0.5 / 4000**0.5)


@pytest.mark.parametrize("objective", ENCODERS)
def test_a_step_moves_every_weight_of_the_three_networks(objective, digits):
    gan = make(objective)
    networks = (gan.generator, gan.discriminator, gan.encoder)
    before = [parameter.detach().clone() for network in networks for parameter in network.parameters()]
    latents = gan.latents(gan.active_prior.sample(BATCH)) if objective == "tied" else None
    gan.step(digits.images[:BATCH], latents)
    after = [parameter for network in networks for parameter in network.parameters()]
    assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(parameter.requires_grad for parameter in after)


@pytest.mark.parametrize("objective", ENCODERS)
def test_a_step_is_the_one_written_by_hand(objective, digits):
    settings = {"latent_noise": 0.4, "reconstruction_ramp": 50}
    gan, twin = make(objective, **settings), make(objective, **settings)
    latents = torch.randn(BATCH, 3, generator=torch.Generator().manual_seed(0)) if objective == "tied" else None
    images = digits.images[:BATCH]
    results = gan.step(images, latents, torch.Generator().manual_seed(5))

    noise, loss = torch.Generator().manual_seed(5), torch.nn.BCEWithLogitsLoss()
    ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
    G, D, E = twin.generator, twin.discriminator, twin.encoder
    code = 2 * E.sample(images, noise) - 1
    code = code + 0.4 * torch.randn(BATCH, 3, generator=noise)
    everything = G(code if latents is None else torch.cat([code, latents]))  # one batch
    reconstruction, fakes = everything[:BATCH], everything[-BATCH:]
    d_loss = loss(D(images), 0.9 * ones) + loss(D(fakes.detach()), zeros)
    d_loss.backward()
    twin.d_optimizer.step()
    g_loss, error = loss(D(fakes), ones), (reconstruction - images).square().mean()
    total = g_loss + twin.settings.reconstruction_weight / 50 * error  # the first of 50 steps of the ramp
    expected = torch.autograd.grad(total, [*G.parameters(), *E.parameters()])

    assert [results[i].item() for i in (0, 1, 4)] == pytest.approx([d_loss.item(), g_loss.item(), error.item()], 1e-4)
    given = [parameter.grad for network in (gan.generator, gan.encoder) for parameter in network.parameters()]
    for one, other in zip(given, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)


def test_the_weight_of_the_reconstruction_rises_linearly_to_its_value_and_stays(digits):
    gan, plain = (make("reconstruction", reconstruction_ramp=ramp, latent_noise=0.0) for ramp in (4, 1))
    gradients = []
    for step in range(6):
        plain.load_state_dict({**gan.state_dict(), "settings": plain.settings.model_dump()})
        for each in (gan, plain):
            each.step(digits.images[:BATCH], None, torch.Generator().manual_seed(step))
        gradients.append([each.encoder.hidden[0].weight.grad.clone() for each in (gan, plain)])
        assert gan.n_steps == step + 1
    equal = [torch.allclose(one, other, rtol=1e-4, atol=1e-9) for one, other in gradients]
    assert equal == [False, False, False, True, True, True]


@pytest.mark.parametrize("objective", ENCODERS)
def test_each_network_has_its_learning_rate(objective):
    gan = make(objective, learning_rate=0.01, encoder_lr_factor=3.0, discriminator_lr_factor=0.5)
    groups = [optimizer.param_groups for optimizer in (gan.g_optimizer, gan.d_optimizer, gan.e_optimizer)]
    assert [(group["lr"], group["betas"][0]) for (group,) in groups] == [(0.01, 0.5), (0.005, 0.5), (0.03, 0.9)]


def test_without_latents_only_an_encoder_has_images_to_offer(digits):
    with pytest.raises(ValueError, match="latents must be given"):
        make("associative").step(digits.images[:BATCH])


@pytest.mark.parametrize("objective", ENCODERS)
def test_labels_have_no_influence_on_the_codes(objective, digits):
    gan, other = make(objective), make(objective)
    run(gan, digits), run(other, qh.Digits(digits.images, digits.labels.flip(0)))
    assert (gan.encode(digits.images) == other.encode(digits.images)).all()


# The memory


@pytest.mark.integration
@pytest.mark.parametrize("objective", ENCODERS)
def test_four_images_are_memorized_and_each_is_recalled(objective, digits):
    four = qh.Digits(digits.images[:4].repeat(16, 1, 1, 1), digits.labels[:4].repeat(16))
    gan = make(objective, qh.ProductPrior(4, seed=1), reconstruction_weight=100.0, reconstruction_ramp=1)
    list(qh.train(gan, four, 80, BATCH))
    codes = gan.encode(four.images[:4])
    assert len(np.unique(codes, axis=0)) == 4
    distances = torch.cdist(gan.recall(four.images[:4]).flatten(1), four.images[:4].flatten(1))
    assert distances.argmin(1).tolist() == [0, 1, 2, 3]
    assert gan.history[-1].reconstruction_loss < 0.5 * gan.history[0].reconstruction_loss
    assert (
        qh.recall_accuracy(gan, four) == (qh.evaluation.metrics.classify(four.images)[0] == four.labels).float().mean()
    )


@pytest.mark.parametrize("objective", ALL)
def test_recall_is_deterministic_and_moves_no_stream(objective, digits):
    gan = make(objective)
    run(gan, digits)
    before = snapshot(gan)
    first, second = gan.recall(digits.images), gan.recall(digits.images)
    assert torch.equal(first, second)
    assert torch.equal(first, gan.decode(gan.encode(digits.images)))
    assert torch.equal(gan.state_dict()["random"]["noise"], before["random"]["noise"])


@pytest.mark.parametrize("objective", ALL)
def test_an_image_is_encoded_without_a_look_at_the_others(objective, digits):
    gan = make(objective)
    run(gan, digits, 2)
    bits = gan.encode(digits.images)
    assert bits.dtype == np.uint8 and bits.shape == (len(digits), 3)
    assert (np.concatenate([gan.encode(image[None]) for image in digits.images]) == bits).mean() > 0.99


def test_the_associative_thresholds_are_the_medians_of_the_last_fit(digits):
    prior = Recorder()
    gan = make("associative", prior)
    reports = qh.train(gan, digits, 2, BATCH)
    next(reports)
    with preserved(gan):
        medians = gan.activations(digits.images).median(dim=0).values
    next(reports)
    ordered = gan.thresholds
    assert torch.allclose(ordered, medians, atol=0.05)
    assert prior.fitted[-1].mean(0) == pytest.approx(0.5)


def test_the_bits_of_a_fit_are_the_codes_of_its_images(digits):
    gan = make("associative")
    run(gan, digits)
    bits = gan.read_bits(digits.images)
    assert (gan.encode(digits.images) == bits).all()
    assert (bits != (gan.activations(digits.images) > 0).cpu().numpy()).any()


@pytest.mark.parametrize("objective", ALL)
def test_the_thresholds_of_a_warm_up_move_no_stream(objective, digits):
    settings = {"fit_to": "both"} if objective == "associative" else {}
    gan = make(objective, warm_up=5, **settings)
    noise = gan.state_dict()["random"]["noise"].clone()
    run(gan, digits)
    assert gan.thresholds is not None
    assert torch.equal(gan.state_dict()["random"]["noise"], noise)


def test_before_the_first_fit_images_can_be_recalled_too(digits):
    gan = make("associative", warm_up=5)
    run(gan, digits)
    assert not gan.prior_fitted
    assert gan.recall(digits.images[:2]).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("objective", ALL)
@pytest.mark.parametrize("method", ["encode", "recall"])
def test_recall_before_training_is_refused(objective, method, digits):
    with pytest.raises(ValueError, match="no thresholds.*train first"):
        getattr(make(objective), method)(digits.images)
    with pytest.raises(ValueError, match="train first"):
        qh.recall_accuracy(make(objective), digits)


@pytest.mark.parametrize("images", [torch.zeros(2, 28, 28), torch.zeros(2, 3, 28, 28), torch.zeros(0, 1, 28, 28)])
@pytest.mark.parametrize("objective", ALL)
def test_images_of_another_shape_are_refused(objective, images, digits):
    gan = make(objective)
    run(gan, digits)
    with pytest.raises(ValueError, match=r"images must have shape \(N, 1, 28, 28\) with N ≥ 1; got"):
        gan.recall(images)


def test_decode_refuses_what_is_no_code():
    gan = make("tied")
    with pytest.raises(ValueError, match=r"bits must have shape \(N, 3\)"):
        gan.decode(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="bits must be 0 or 1"):
        gan.decode(np.full((2, 3), 0.5))


def test_recall_accuracy_wants_digits():
    with pytest.raises(ValueError, match="digits must be Digits"):
        qh.recall_accuracy(make("tied"), torch.zeros(2, 1, 28, 28))


# The prior


@pytest.mark.parametrize("objective", ["associative", "tied"])
def test_the_prior_is_fitted_before_the_steps_and_sampled_for_them(objective, digits):
    prior = Recorder()
    gan = make(objective, prior, warm_up=1)
    run(gan, digits)
    assert not prior.fitted and not prior.sampled
    bits = gan.bits(digits.images)
    run(gan, digits)
    assert len(prior.fitted) == 1 and len(prior.sampled[0]) == 48 // BATCH * BATCH
    assert sorted(map(tuple, prior.fitted[0])) == sorted(map(tuple, bits))


def test_in_reconstruction_the_prior_is_fitted_to_the_codes_of_the_finished_epoch(digits):
    prior = Recorder()
    gan = make("reconstruction", prior, warm_up=1)
    for epoch in (1, 2):
        (report,) = run(gan, digits)
        assert len(prior.fitted) == epoch
        assert sorted(map(tuple, prior.fitted[-1])) == sorted(map(tuple, gan.encode(digits.images)))
        assert report.prior_cost == 1.5
        assert report.bits_entropy == pytest.approx(qh.entropy(prior.fitted[-1]))
    later = make("reconstruction", Recorder(), warm_up=2, refresh=2)
    costs = [report.prior_cost for report in run(later, digits, 5)]
    assert [math.isnan(cost) for cost in costs] == [True, False, True, False, True]


def test_in_reconstruction_the_networks_do_not_depend_on_the_prior(digits):
    one, other = make("reconstruction"), make("reconstruction", qh.UniformPrior(3, seed=9))
    run(one, digits, 2), run(other, digits, 2)
    assert torch.equal(one.recall(digits.images), other.recall(digits.images))


@pytest.mark.parametrize("objective", ALL)
def test_another_prior_gets_the_same_networks_and_leaves_the_first_as_it_was(objective, digits):
    gan = make(objective)
    run(gan, digits)
    before = snapshot(gan)
    uniform = qh.UniformPrior(3, seed=4)
    other = gan.with_prior(uniform)
    assert other.active_prior is uniform and gan.active_prior is not uniform
    assert torch.equal(other.recall(digits.images), gan.recall(digits.images))
    expected = qh.UniformPrior(3, seed=4).sample(9)
    noise = torch.Generator()
    noise.set_state(before["random"]["noise"])
    assert torch.equal(other.sample(9), gan.generate(gan.latents(expected, noise)))
    assert torch.equal(gan.state_dict()["random"]["noise"], before["random"]["noise"])
    assert len(gan.history) == len(other.history) == 1


@pytest.mark.parametrize(
    ("prior", "message"),
    [(qh.UniformPrior(4), "prior must have 3 bits.*UniformPrior has 4"), (object(), "prior must have latent_dim, fit")],
)
def test_with_prior_refuses_what_does_not_fit(prior, message):
    with pytest.raises(ValueError, match=message):
        make("tied").with_prior(prior)


# Arguments, saves, warnings


@pytest.mark.parametrize("objective", ["vae", "", None, "Tied"])
def test_an_unknown_objective_is_refused(objective):
    with pytest.raises(ValueError, match="objective must be one of 'associative', 'tied', 'reconstruction'; got"):
        make(objective)


@pytest.mark.parametrize(
    ("objective", "setting"),
    [
        ("associative", {"reconstruction_weight": 20.0}),
        ("tied", {"binarization": "median"}),
        ("reconstruction", {"hidden_lr_factor": 0.5}),
        ("reconstruction", {"reconstruction_weight": 0.0}),
        ("tied", {"encoder_lr_factor": -1.0}),
    ],
)
def test_a_setting_of_another_objective_or_value_is_refused(objective, setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} (is not a known name; choose from|must be a number)"):
        make(objective, **setting)


@pytest.mark.integration
@pytest.mark.parametrize("objective", ALL)
@pytest.mark.parametrize(
    "prior", [lambda: qh.ProductPrior(3, seed=1), lambda: qh.QCBMPrior(3, layers=1, max_evaluations=20, seed=1)]
)
def test_a_save_of_every_objective_resumes_bit_for_bit(objective, prior, digits, tmp_path):
    gan = make(objective, prior())
    run(gan, digits, 2)
    gan.save(tmp_path)
    loaded = qh.QAAN.load(tmp_path, "cpu")
    assert loaded.objective == objective and loaded.settings == gan.settings
    assert torch.equal(loaded.recall(digits.images), gan.recall(digits.images))
    one, other = run(gan, digits, 2), run(loaded, digits, 2)
    assert [(r.d_loss, r.g_loss) for r in one] == [(r.d_loss, r.g_loss) for r in other]
    assert torch.equal(gan.recall(digits.images), loaded.recall(digits.images))
    assert torch.equal(gan.sample(8), loaded.sample(8))


@pytest.mark.parametrize("objective", ENCODERS)
def test_a_save_for_sampling_only_still_recalls(objective, digits, tmp_path):
    gan = make(objective)
    run(gan, digits)
    gan.save(tmp_path, for_training=False)
    loaded = qh.QAAN.load(tmp_path, "cpu")
    assert torch.equal(loaded.recall(digits.images), gan.recall(digits.images))
    assert not loaded.e_optimizer.state
    assert loaded.n_steps == gan.n_steps == 3  # so that the weight of the reconstruction goes on where it was


def test_a_state_of_another_objective_is_refused(digits):
    gan = make("tied")
    with pytest.raises(ValueError, match="belongs to the objective 'tied'; this QAAN has 'reconstruction'"):
        make("reconstruction").load_state_dict(gan.state_dict())
    state = snapshot(gan)
    for change in ({"objective": "magic"}, {"thresholds": torch.zeros(2)}, {"thresholds": "none"}):
        with pytest.raises(CheckpointError):
            qh.QAAN.from_state_dict({**state, **change})
    del state["encoder"]
    with pytest.raises(CheckpointError):
        qh.QAAN.from_state_dict(state)


@pytest.mark.parametrize("objective", ENCODERS)
def test_an_epoch_that_ends_in_nan_is_undone_with_its_encoder(objective, digits):
    gan = make(objective)
    run(gan, digits)
    codes, step = gan.encode(digits.images), gan.step

    def poisoned(*given):
        results = step(*given)
        with torch.no_grad():
            gan.encoder.hidden[0].weight[0] = math.nan
        return results

    gan.step = poisoned
    with pytest.warns(UserWarning, match="epoch 2, diverged"):
        run(gan, digits)
    assert (gan.encode(digits.images) == codes).all()


@pytest.mark.integration
@pytest.mark.parametrize("objective", ENCODERS)
def test_a_discriminator_that_has_won_is_reported(objective, digits):
    """An adversarial game that does not start: the discriminator learns far faster than the generator."""
    gan = make(objective, discriminator_lr_factor=20.0, learning_rate=1e-4, encoder_lr_factor=0.1)
    with pytest.warns(UserWarning, match="saturated discriminator"):
        run(gan, digits, 12)


@pytest.mark.integration
def test_the_command_line_trains_and_evaluates_every_objective(tmp_path, capsys):
    options = ["--source", "sample", "--digits", "7", "--epochs", "1", "--prior", "product", "--qubits", "3"]
    for objective in ALL:
        folder = str(tmp_path / objective)
        assert main(["train", *options, "--objective", objective, "--out", folder, "--batch-size", "300"]) == 0
        assert qh.QAAN.load(folder).objective == objective
        assert main(["evaluate", folder, "--source", "sample", "-n", "20"]) == 0
        assert "labeled correctly" in capsys.readouterr().out
