"""What a training that goes wrong says: each finding from figures that were measured, and in a training of its own."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch

import qaan_helpers as qh
from qaan_helpers.gan import health, storage
from qaan_helpers.gan.settings import Settings
from qaan_helpers.gan.state import NETWORKS

pytestmark = pytest.mark.integration

CALM = qh.Report(1, 1.1, 1.2, 0.57, 0.33, 4.1, 4.0, 0.5, 1.0, 0.5)
RICH_CODES = np.random.default_rng(0).integers(0, 2, (200, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def digits(some_digits):
    return some_digits((3, 7, 9), slice(208))


def report(**figures):
    return dataclasses.replace(CALM, **figures)


def findings(history=(CALM,), steps=10_000, codes=RICH_CODES, drawn=None, real_spread=48.0, **settings):
    drawn = torch.rand(64, 1, 28, 28) if drawn is None else drawn
    return health.diagnose(list(history), Settings(**settings), steps, codes, drawn, real_spread)


def images_of_spread(wanted, n=64):
    noise = torch.randn(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return noise * math.sqrt(wanted / health.image_variance(noise))


def codes_of_entropy(share):
    """Codes of 8 bits, one of them with all but a `share` of the rows."""
    codes = np.zeros((1000, 8), np.uint8)
    few = int(1000 * share)
    codes[:few] = np.random.default_rng(0).integers(0, 2, (few, 8))
    return codes


def test_spread_is_half_the_mean_squared_distance_of_a_pair():
    images = torch.rand(7, 1, 28, 28)
    flat = images.flatten(1)
    pairs = [(a - b).square().sum() for i, a in enumerate(flat) for b in flat[:i]]
    assert health.image_variance(images) == pytest.approx((sum(pairs) / len(pairs) / 2).item(), rel=1e-5)
    assert health.image_variance(images[:1]) == 0


def test_nothing_is_found_where_all_is_well():
    assert findings([CALM] * 5) == {}


# A generator that draws one image


@pytest.mark.parametrize(
    ("share", "collapsed"), [(0.0, True), (0.035, True), (0.049, True), (0.051, False), (0.35, False)]
)
def test_a_generator_is_collapsed_below_a_twentieth_of_the_real_spread(share, collapsed):
    found = findings(drawn=images_of_spread(share * 48))
    assert list(found) == (["collapsed generator"] if collapsed else [])
    if collapsed:
        assert f"{share:.1%} of the real images' variance" in found["collapsed generator"]
        assert "smaller learning_rate" in found["collapsed generator"]


@pytest.mark.parametrize(
    ("rate", "ema_decay", "steps", "told"),
    [
        (5e-4, 0.98, 299, False),
        (5e-4, 0.98, 300, True),
        (2e-4, 0.98, 749, False),
        (5e-3, 0.0, 30, True),
        (5e-3, 0.98, 199, False),
        (5e-4, 0.995, 799, False),
        (5e-4, 0.995, 801, True),
    ],
)
def test_a_generator_and_its_average_are_given_time_to_learn(rate, ema_decay, steps, told):
    found = findings(steps=steps, drawn=images_of_spread(0.1), learning_rate=rate, ema_decay=ema_decay)
    assert bool(found) == told


def test_too_few_images_or_equal_real_ones_say_nothing():
    assert findings(drawn=torch.zeros(health.MIN_SAMPLES - 1, 1, 28, 28)) == {}
    assert findings(drawn=torch.zeros(64, 1, 28, 28), real_spread=0.0) == {}


# A prior that draws one code


@pytest.mark.parametrize(("share", "dead"), [(0.0, True), (0.02, True), (0.3, False), (1.0, False)])
def test_a_prior_is_dead_below_a_tenth_of_its_bits(share, dead):
    codes = codes_of_entropy(share)
    assert (qh.entropy(codes) < 0.1 * 8 * math.log(2)) == dead
    assert list(findings(codes=codes)) == (["collapsed prior"] if dead else [])


@pytest.mark.parametrize(
    ("bits_entropy", "binarization", "advice"),
    [
        (4.0, "median", "more evaluations"),
        (math.nan, "median", "more evaluations"),  # it was not fitted in this epoch
        (0.1, "sign", "binarization='median'"),
        (0.1, "median", "So do the bits of real images: start again with a smaller learning_rate"),
    ],
)
def test_advice_on_a_dead_prior_follows_from_what_it_learns(bits_entropy, binarization, advice):
    found = findings([report(bits_entropy=bits_entropy)], codes=codes_of_entropy(0), binarization=binarization)
    with pytest.raises(AssertionError, match=advice):
        raise AssertionError(found["collapsed prior"])


def test_a_prior_of_many_bits_is_measured_by_what_so_many_codes_can_show():
    wide = np.random.default_rng(0).integers(0, 2, (40, 60), dtype=np.uint8)
    assert findings(codes=wide) == {}
    assert list(findings(codes=wide[:1].repeat(40, 0))) == ["collapsed prior"]


def test_too_few_codes_say_nothing():
    assert findings(codes=np.zeros((health.MIN_SAMPLES - 1, 8), np.uint8)) == {}


# A discriminator that says nothing


@pytest.mark.parametrize(("bits_entropy", "silent"), [(0.0, True), (0.55, True), (0.56, False), (math.nan, False)])
def test_a_discriminator_is_silent_below_a_tenth_of_its_bits(bits_entropy, silent):
    found = findings([report(bits_entropy=bits_entropy)], codes=codes_of_entropy(1))
    assert list(found) == (["uninformative discriminator"] if silent else [])
    if silent:
        assert f"{bits_entropy:.2f} of 5.55 nats" in found["uninformative discriminator"]
        assert "smaller learning_rate" in found["uninformative discriminator"]


def test_a_dead_prior_on_a_silent_discriminator_is_told_once():
    assert list(findings([report(bits_entropy=0.1)], codes=codes_of_entropy(0))) == ["collapsed prior"]


# A discriminator that always wins


@pytest.mark.parametrize(
    ("d_real", "d_fake", "smoothing", "saturated"),
    [
        (0.89, 0.01, 0.1, True),
        (0.86, 0.05, 0.1, True),
        (0.64, 0.32, 0.1, False),
        (0.75, 0.11, 0.1, False),
        (0.97, 0.03, 0.0, True),
        (0.70, 0.01, 0.3, True),
        (0.60, 0.10, 0.3, False),
    ],
)
def test_a_discriminator_is_saturated_by_what_smoothing_allows(d_real, d_fake, smoothing, saturated):
    history = [report(d_real=d_real, d_fake=d_fake)] * 3
    found = findings(history, label_smoothing=smoothing)
    assert list(found) == (["saturated discriminator"] if saturated else [])
    if saturated:
        assert f"{d_fake:.2f}" in found["saturated discriminator"]
        assert "label_smoothing" in found["saturated discriminator"]


def test_it_takes_three_epochs_in_a_row():
    won, lost = report(d_real=0.9, d_fake=0.0), CALM
    assert findings([won, won]) == {}
    assert findings([won, won, lost, won, won]) == {}
    assert findings([lost, won, won, won]) != {}


def test_several_findings_are_told_side_by_side():
    history = [report(d_real=0.9, d_fake=0.0)] * 3
    found = findings(history, codes=codes_of_entropy(0), drawn=torch.zeros(64, 1, 28, 28))
    assert set(found) == {"collapsed generator", "collapsed prior", "saturated discriminator"}


# In a training


class OneCode:
    latent_dim = 8

    def fit(self, bits):
        return 1.0

    def sample(self, n_samples):
        return np.tile(np.array([1, 0, 1, 1, 0, 0, 1, 0], np.uint8), (n_samples, 1))


def make(prior=None, **settings):
    return qh.QAAN(prior or qh.ProductPrior(8), device="cpu", seed=0, **settings)


def told(gan, digits, epochs, batch_size=16, **options):
    """Reports of a training, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reports = list(qh.train(gan, digits, epochs, batch_size, **options))
    assert all(issubclass(w.category, health.TrainingWarning) and w.filename == __file__ for w in caught)
    return reports, [str(w.message) for w in caught]


def test_a_training_that_goes_well_says_nothing(digits):
    gan = make()
    reports, said = told(gan, digits, 24)
    assert said == []
    assert len(reports) * 13 * gan.settings.learning_rate > health.MIN_TRAINING  # so that the generator was judged too


def test_any_number_of_bits_and_any_array_of_codes_can_be_looked_at(digits):
    class Wide:
        latent_dim = 100

        def fit(self, bits):
            return None

        def sample(self, n_samples):
            return torch.randint(0, 2, (n_samples, 100), generator=torch.Generator().manual_seed(n_samples))

    reports, said = told(make(Wide(), warm_up=0), digits, 2)
    assert len(reports) == 2 and said == []


def test_a_learning_rate_too_high_collapses_the_generator(digits):
    reports, said = told(make(learning_rate=0.02, ema_decay=0), digits, 3, 32)
    assert len(reports) == 3
    assert sum("collapsed generator: the generator produces nearly the same image" in text for text in said) == 1


def test_a_dead_prior_is_told_once_and_again_when_it_came_back_in_between(digits):
    class ComesAndGoes(OneCode):
        fits = 0

        def fit(self, bits):
            self.fits += 1

        def sample(self, n_samples):
            return RICH_CODES[:n_samples] if self.fits == 3 else super().sample(n_samples)

    gan = make(ComesAndGoes(), warm_up=1)
    _, said = told(gan, qh.Digits(digits.images[:64], digits.labels[:64]), 6)
    assert [text.split(":")[0] for text in said] == ["epoch 2, collapsed prior", "epoch 5, collapsed prior"]


def test_stop_ends_the_training_after_the_report_in_a_state_that_can_be_saved(digits, tmp_path):
    gan, on = (make(learning_rate=0.02, ema_decay=0) for _ in range(2))
    saved = []
    with pytest.warns(health.TrainingWarning) as said:
        for report in qh.train(gan, digits, 9, 32, on_collapse="stop"):
            gan.save(tmp_path)
            saved.append(report.epoch)
    assert 1 <= len(saved) < 9 and gan.epoch == len(saved)
    stopping = [str(w.message) for w in said if "Training stops here, because on_collapse is 'stop'" in str(w.message)]
    assert any("collapsed" in text for text in stopping)
    reports, said = told(on, digits, len(saved), 32)  # told, and it goes on, to the same numbers
    assert "stops" not in said[0]
    assert torch.equal(qh.QAAN.load(tmp_path).sample(4), on.sample(4))


@pytest.mark.parametrize("on_collapse", ["halt", None, True])
def test_another_on_collapse_is_refused_at_the_call(digits, on_collapse):
    with pytest.raises(ValueError, match="on_collapse must be one of 'warn', 'stop'; got "):
        qh.train(make(), digits, on_collapse=on_collapse)


def test_looking_moves_no_stream_and_no_weight(digits, monkeypatch):
    few = qh.Digits(digits.images[:64], digits.labels[:64])
    looked, blind = make(), make()
    told(looked, few, 3)
    monkeypatch.setattr(health, "diagnose", lambda *_: {})
    monkeypatch.setattr(qh.QAAN, "generate", lambda *_: None)
    told(blind, few, 3)
    ones, others = map(tensors_of, (looked, blind))
    assert all(torch.equal(ones[name], others[name]) for name in ones)
    assert looked.prior.sample(9).tolist() == blind.prior.sample(9).tolist()
    assert looked.generator.training and looked.discriminator.training


# Training that leaves the numbers


def tensors_of(gan):
    """Networks, optimizers, random streams and prior of a QAAN, by name."""
    return storage.pack(gan.state_dict())[0]


def same_networks(one, other):
    ones, others = map(tensors_of, (one, other))
    return all(torch.equal(ones[name], others[name]) for name in ones if name.split("/")[0] in NETWORKS)


def poison(gan, at, value=math.nan, where=None):
    """Make the step number `at`, counted over all epochs, leave `value` in a weight; returns the list of steps."""
    step, calls = gan.step, []

    def poisoned(*given):
        calls.append(1)
        means = step(*given)
        if len(calls) == at:
            with torch.no_grad():
                (gan.generator.layers[0].weight if where is None else where)[0] = value
        return means

    gan.step = poisoned
    return calls


def test_nan_in_the_first_epoch_leaves_networks_as_they_were_made(digits):
    gan, fresh = make(), make()
    poison(gan, 2)
    _, said = told(gan, qh.Digits(digits.images[:64], digits.labels[:64]), 1)
    assert "epoch 1, diverged" in said[0]
    assert same_networks(gan, fresh)


@pytest.mark.parametrize("at", [5, 7, 8])  # epoch 2 has the steps 5 to 8: losses are NaN, or only the weights
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_steps_that_end_in_nan_are_undone_and_training_goes_on(digits, tmp_path, at, value):
    few = qh.Digits(digits.images[:64], digits.labels[:64])
    gan, clean = make(), make()
    told(clean, few, 1)
    calls = poison(gan, at, value)
    with pytest.warns(health.TrainingWarning, match="epoch 2, diverged.*undone.*learning_rate below 0.0005"):
        epochs = qh.train(gan, few, 3, 16)
        next(epochs), next(epochs)
    assert len(calls) == 8
    assert [r.epoch for r in gan.history] == [1, 2]
    assert same_networks(gan, clean)
    gan.save(tmp_path)
    assert qh.QAAN.load(tmp_path).epoch == 2
    assert math.isfinite(next(epochs).d_loss)
    assert not torch.equal(gan.generator.layers[0].weight, clean.generator.layers[0].weight)


def test_nan_in_adam_alone_is_noticed_too(digits):
    gan = make()
    told(gan, digits, 1)
    poison(gan, 13, where=gan.d_optimizer.state[gan.discriminator.output.weight]["exp_avg_sq"])
    _, said = told(gan, digits, 1)
    assert ["diverged" in text for text in said] == [True]
    assert all(tensor.isfinite().all() for tensor in tensors_of(gan).values())


def test_stop_after_nan_leaves_the_epoch_before(digits, tmp_path):
    gan = make()
    poison(gan, 6)
    reports, said = told(gan, qh.Digits(digits.images[:64], digits.labels[:64]), 5, on_collapse="stop")
    assert [r.epoch for r in reports] == [1, 2]
    assert "diverged" in said[0] and "Training stops here" in said[0]
    gan.save(tmp_path)
    assert qh.QAAN.load(tmp_path).sample(2).isfinite().all()
