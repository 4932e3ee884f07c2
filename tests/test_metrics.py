"""Scores of images: cases whose answer is known, and formulas written anew."""

import hashlib
import math
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.linalg import sqrtm

import qaan_helpers as qh
from qaan_helpers.metrics import WEIGHTS, digit_classifier

SCORES = (qh.inception_score, qh.class_coverage, qh.confidence)

pytestmark = pytest.mark.filterwarnings("error")  # a warning of torchmetrics would stand in the reader's notebook


@pytest.fixture(scope="module")
def all_digits():
    return qh.load_mnist(range(10), "test", "sample")


@pytest.fixture(scope="module")
def real(all_digits):
    """The 300 bundled test images of 3, 7 and 9, in random order."""
    images = all_digits.images[torch.isin(all_digits.labels, torch.tensor([3, 7, 9]))]
    return images[torch.randperm(300, generator=torch.Generator().manual_seed(0))]


@pytest.fixture(scope="module")
def noise():
    return torch.rand(300, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def test_the_classifier_names_99_of_100_real_digits(all_digits):
    named = digit_classifier()(all_digits.images).argmax(1)
    assert (named == all_digits.labels).float().mean() >= 0.99


def test_the_classifier_does_not_learn_or_change_by_use(real):
    digit_classifier().train(False)
    before = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    first = qh.confidence(real)
    qh.inception_score(real), qh.frechet_distance(real, real), qh.class_coverage(real)
    assert qh.confidence(real) == first
    assert not digit_classifier().training
    assert not any(p.requires_grad for p in digit_classifier().parameters())
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == before
    stored = load_file(WEIGHTS)
    assert all(torch.equal(stored[name], value) for name, value in digit_classifier().state_dict().items())


# Inception Score


@pytest.mark.parametrize(("digits", "least"), [((3, 7, 9), 2.7), ((0, 1), 1.8), (range(10), 7.5)])
def test_inception_score_of_real_digits_is_nearly_their_number(all_digits, digits, least):
    images = all_digits.images[torch.isin(all_digits.labels, torch.tensor(list(digits)))]
    assert least < qh.inception_score(images) <= len(digits)  # equal shares, so at best their number


def test_inception_score_of_one_image_repeated_is_one(real):
    assert qh.inception_score(real[:1].repeat(50, 1, 1, 1)) == pytest.approx(1, abs=1e-5)


def test_inception_score_of_noise_is_low(noise):
    assert qh.inception_score(noise) < 1.5


def test_inception_score_is_the_formula(all_digits):
    images = all_digits.images[::3]
    p = digit_classifier()(images).double().softmax(1).numpy()
    divergence = (p * (np.log(p) - np.log(p.mean(0)))).sum(1)
    assert qh.inception_score(images) == pytest.approx(math.exp(divergence.mean()), rel=1e-4)


# Fréchet distance


def frechet_by_hand(images, reference):
    a, b = (digit_classifier().features(x).double().numpy() for x in (images, reference))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy's, of a singular matrix: some features are 0 for all images
        root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)


def test_frechet_distance_of_a_set_to_itself_is_nought(real):
    assert qh.frechet_distance(real, real) == pytest.approx(0, abs=1e-3)
    assert qh.frechet_distance(real.flip(0), real) == pytest.approx(0, abs=1e-3)


def test_frechet_distance_is_the_formula(real, noise):
    for images in (real[:150], (0.7 * real + 0.3 * noise)[:150]):
        expected = frechet_by_hand(images, real[150:])
        assert qh.frechet_distance(images, real[150:]) == pytest.approx(expected, rel=1e-2)


def test_frechet_distance_is_the_same_from_either_side(real, noise):
    worse = 0.7 * real + 0.3 * noise
    assert qh.frechet_distance(worse, real) == pytest.approx(qh.frechet_distance(real, worse), rel=1e-3)


def test_frechet_distance_orders_images_by_how_good_they_are(real, noise):
    others, reference = real[:150], real[150:]
    worse = [(1 - share) * others + share * noise[:150] for share in (0, 0.2, 0.4, 1)]
    distances = [qh.frechet_distance(images, reference) for images in worse]
    assert distances == sorted(distances)
    assert distances[-1] > 20 * distances[0]


def test_frechet_distance_takes_more_images_than_fit_in_one_part(real, all_digits):
    many = all_digits.images.roll(350, 0)  # 1,000 images go through the classifier in two parts
    assert qh.frechet_distance(many, real) == pytest.approx(frechet_by_hand(many, real), rel=1e-2)


# Which digits


def test_coverage_of_real_digits_is_a_third_each(real):
    coverage = qh.class_coverage(real)
    assert list(coverage) == list(range(10))
    assert sum(coverage.values()) == pytest.approx(1)
    for digit, share in coverage.items():
        assert share == pytest.approx(1 / 3 if digit in (3, 7, 9) else 0, abs=0.02)


@pytest.mark.parametrize("digit", [0, 4, 9])
def test_coverage_of_one_digit_is_that_digit(all_digits, digit):
    images = all_digits.images[all_digits.labels == digit]
    assert qh.class_coverage(images)[digit] >= 0.97
    sure = images[digit_classifier()(images).argmax(1) == digit][:1].repeat(20, 1, 1, 1)
    assert qh.class_coverage(sure) == {d: float(d == digit) for d in range(10)}


def test_coverage_of_a_single_image(real):
    assert sum(qh.class_coverage(real[:1]).values()) == 1


def test_confidence_is_the_mean_of_the_highest_probability(real, noise):
    mixed = torch.cat([real, 0.5 * noise])
    expected = digit_classifier()(mixed).softmax(1).max(1).values.mean().item()
    assert qh.confidence(mixed) == pytest.approx(expected, abs=1e-5)
    assert qh.confidence(real) > 0.9


# What is refused, and what is left alone

WRONG = [(28, 28), (5, 28, 28), (5, 3, 28, 28), (5, 1, 32, 32), (0, 1, 28, 28)]


@pytest.mark.parametrize("shape", WRONG)
def test_wrong_shapes_are_refused(real, shape):
    wrong = torch.zeros(shape)
    for score in SCORES:
        with pytest.raises(ValueError, match=r"images have shape.*\(N, 1, 28, 28\)"):
            score(wrong)
    for images, reference in ((wrong, real), (real, wrong)):
        with pytest.raises(ValueError, match=r"images have shape.*\(N, 1, 28, 28\)"):
            qh.frechet_distance(images, reference)


def test_one_image_has_no_spread(real):
    with pytest.raises(ValueError, match="N ≥ 2"):
        qh.inception_score(real[:1])
    for images, reference in ((real[:1], real), (real, real[:1])):
        with pytest.raises(ValueError, match="N ≥ 2"):
            qh.frechet_distance(images, reference)


def test_scores_leave_the_readers_random_numbers_and_images_alone(real):
    state, images = torch.get_rng_state(), real.clone()
    for score in SCORES:
        score(images)
    qh.frechet_distance(images, real)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, real)


def test_scores_repeat(real):
    assert qh.inception_score(real) == pytest.approx(qh.inception_score(real), abs=1e-5)
    assert qh.frechet_distance(real[:99], real) == qh.frechet_distance(real[:99], real)
