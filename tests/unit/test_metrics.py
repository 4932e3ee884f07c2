"""Scores of images: cases with a known answer, and formulas implemented a second time."""

import hashlib
import math
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.linalg import sqrtm

import qaan_helpers as qh
from qaan_helpers.evaluation.metrics import WEIGHTS, classify, digit_classifier, features, small_extractor

SCORES = (qh.inception_score, qh.class_coverage, qh.confidence, qh.class_balance, qh.distinct_images)
DISTANCES = (qh.frechet_distance, qh.kernel_distance, qh.nearest_distance, qh.precision_recall)

pytestmark = pytest.mark.filterwarnings("error")  # a warning of torchmetrics would appear in the reader's notebook


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


def test_the_classifier_labels_99_of_100_real_digits_correctly(all_digits):
    digits = digit_classifier()(all_digits.images).argmax(1)
    assert (digits == all_digits.labels).float().mean() >= 0.99


def test_the_classifier_is_not_trained_or_changed_by_use(real):
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
    assert least < qh.inception_score(images) <= len(digits)  # equal fractions, so their number is the highest score


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


def test_frechet_distance_of_a_set_to_itself_is_zero(real):
    assert qh.frechet_distance(real, real) == pytest.approx(0, abs=1e-3)
    assert qh.frechet_distance(real.flip(0), real) == pytest.approx(0, abs=1e-3)


def test_frechet_distance_is_the_formula(real, noise):
    for images in (real[:150], (0.7 * real + 0.3 * noise)[:150]):
        expected = frechet_by_hand(images, real[150:])
        assert qh.frechet_distance(images, real[150:]) == pytest.approx(expected, rel=1e-2)


def test_frechet_distance_is_symmetric(real, noise):
    worse = 0.7 * real + 0.3 * noise
    assert qh.frechet_distance(worse, real) == pytest.approx(qh.frechet_distance(real, worse), rel=1e-3)


def test_frechet_distance_orders_images_by_how_good_they_are(real, noise):
    others, reference = real[:150], real[150:]
    worse = [(1 - weight) * others + weight * noise[:150] for weight in (0, 0.2, 0.4, 1)]
    distances = [qh.frechet_distance(images, reference) for images in worse]
    assert distances == sorted(distances)
    assert distances[-1] > 20 * distances[0]


def test_frechet_distance_takes_more_images_than_fit_in_one_block(real, all_digits):
    many = all_digits.images.roll(350, 0)  # 1,000 images pass the classifier in five blocks
    assert qh.frechet_distance(many, real) == pytest.approx(frechet_by_hand(many, real), rel=1e-2)


# Other features


def test_an_extractor_of_your_own_takes_the_place_of_the_classifiers_features(real, noise):
    """Four mean gray levels as features: the distance is that of the formula in four dimensions."""

    def quarters(images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)

    images, reference = (0.7 * real + 0.3 * noise)[:150], real[150:]
    a, b = (quarters(x).double().numpy() for x in (images, reference))
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert qh.frechet_distance(images, reference, quarters) == pytest.approx(expected, rel=1e-3)
    kernels = [(x @ y.T / 4 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    off = ~np.eye(150, dtype=bool)
    expected = kernels[0][off].mean() + kernels[1][off].mean() - 2 * kernels[2].mean()
    assert qh.kernel_distance(images, reference, quarters) == pytest.approx(expected, rel=1e-3)


def test_the_second_extractor_is_another_network_that_knows_digits(all_digits, real, noise):
    first, second = features(all_digits.images), features(all_digits.images, small_extractor())
    assert first.shape == second.shape == (1000, 64)
    centers = torch.stack([second[all_digits.labels == digit].mean(0) for digit in range(10)])
    assert (torch.cdist(second, centers).argmin(1) == all_digits.labels).float().mean() > 0.95
    worse = [(1 - weight) * real[:150] + weight * noise[:150] for weight in (0, 0.2, 0.4)]
    distances = [qh.frechet_distance(images, real[150:], small_extractor()) for images in worse]
    assert distances == sorted(distances) and distances[-1] > 5 * distances[0]


@pytest.mark.parametrize("wrong", [lambda images: images, lambda images: images.flatten(1)[:5]])
def test_an_extractor_without_one_row_per_image_is_refused(real, wrong):
    with pytest.raises(ValueError, match=r"extractor must return features \(N, d\), one row per image; got shape"):
        qh.frechet_distance(real, real, wrong)


# Precision and recall


def precision_by_hand(images, reference):
    """The fraction of images within the fifth-neighbor distance of a reference image, one image at a time."""
    a, b = features(images).double().numpy(), features(reference).double().numpy()
    radii = [sorted(np.linalg.norm(b - point, axis=1))[5] for point in b]  # the first is the point itself
    return np.mean([(np.linalg.norm(b - point, axis=1) < radii).any() for point in a])


def test_precision_and_recall_are_the_formula(real, noise):
    images, reference = (0.9 * real + 0.1 * noise)[:120], real[150:]
    precision, recall = qh.precision_recall(images, reference)
    assert precision == pytest.approx(precision_by_hand(images, reference))
    assert recall == pytest.approx(precision_by_hand(reference, images))
    assert 0 < precision < 1


def test_precision_falls_with_noise_and_recall_with_missing_digits(all_digits, noise, capsys):
    ones, others = (all_digits.images[mask] for mask in (all_digits.labels == 1, all_digits.labels != 1))
    precision, recall = qh.precision_recall(ones[:50], torch.cat([ones[50:], others]))
    assert precision > 0.8 and recall < 0.2
    precision, _ = qh.precision_recall(noise, others)
    assert precision < 0.01
    assert capsys.readouterr().out == ""  # the library prints


def test_precision_and_recall_need_seven_images(real):
    for images, reference in ((real[:6], real), (real, real[:6])):
        with pytest.raises(ValueError, match="N ≥ 7"):
            qh.precision_recall(images, reference)


# Kernel distance


def test_kernel_distance_of_two_halves_of_real_digits_is_about_zero(real, noise):
    one_digit = qh.kernel_distance(real[:1].repeat(9, 1, 1, 1), real)
    assert abs(qh.kernel_distance(real[:150], real[150:])) < 0.01 * one_digit
    assert qh.kernel_distance(noise, real) > 100 * one_digit


def test_kernel_distance_is_the_formula(real, noise):
    """All images are in every subset, so that the choice of subsets does not matter."""
    images, reference = (0.7 * real + 0.3 * noise)[:150], real[150:]
    a, b = (digit_classifier().features(x).double().numpy() for x in (images, reference))
    aa, bb, ab = ((x @ y.T / 64 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b)))
    off = ~np.eye(150, dtype=bool)
    expected = aa[off].mean() + bb[off].mean() - 2 * ab.mean()
    assert qh.kernel_distance(images, reference) == pytest.approx(expected, rel=1e-3)


def test_kernel_distance_takes_sets_of_any_size(real, all_digits):
    many = all_digits.images.repeat(2, 1, 1, 1)
    first = qh.kernel_distance(many, real[:40])
    torch.rand(1)  # advances the reader's random stream
    assert qh.kernel_distance(many, real[:40]) == first > 0


# Which digits


def test_coverage_of_real_digits_is_a_third_each(real):
    coverage = qh.class_coverage(real)
    assert list(coverage) == list(range(10))
    assert sum(coverage.values()) == pytest.approx(1)
    for digit, fraction in coverage.items():
        assert fraction == pytest.approx(1 / 3 if digit in (3, 7, 9) else 0, abs=0.02)


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


@pytest.mark.parametrize(("counts", "expected"), [((90, 90, 90), 1), ((80, 80, 0), math.log(2, 3)), ((90, 0, 0), 0)])
def test_balance_is_the_evenness_of_the_wanted_digits(all_digits, counts, expected):
    known = {d: all_digits.images[all_digits.labels == d] for d in (3, 7, 9)}
    sure = {d: images[digit_classifier()(images).argmax(1) == d] for d, images in known.items()}
    mixed = torch.cat([sure[d][:n] for d, n in zip((3, 7, 9), counts, strict=True)])
    assert qh.class_balance(mixed, (3, 7, 9)) == pytest.approx(expected)
    assert qh.class_balance(mixed, range(10)) == pytest.approx(expected * math.log(3) / math.log(10))


def test_balance_ignores_other_digits(all_digits, noise):
    assert qh.class_balance(all_digits.images, (3, 7, 9)) == pytest.approx(1, abs=1e-3)
    label = int(digit_classifier()(noise).argmax(1).mode().values)
    others = [d for d in range(10) if d != label][:2]
    assert qh.class_balance(noise[:1], others) == 0


@pytest.mark.parametrize("digits", [(), (3,), (3, 3), (3, 10), (-1, 3)])
def test_balance_refuses_fewer_than_two_digits(real, digits):
    with pytest.raises(ValueError, match="digits must hold at least two integers in 0–9, such as .*; got"):
        qh.class_balance(real, digits)


# What is repeated and what is copied


def test_distinct_images_of_real_digits_noise_and_one_digit(real, noise):
    assert qh.distinct_images(real) == 1
    assert qh.distinct_images(noise) == 1
    assert qh.distinct_images(real[:1].repeat(50, 1, 1, 1)) == 1 / 50
    assert (
        qh.distinct_images(torch.cat([real[:30], real[:10], (real[:10] > 0.5).float()])) == 30 / 50
    )  # shades do not count


def test_nearest_distance_of_copies_is_zero_and_of_noise_large(real, noise):
    copies = real[[5, 0, 299]]
    assert (qh.nearest_distance(copies, real) == 0).all()
    fresh, far = qh.nearest_distance(real[:150], real[150:]), qh.nearest_distance(noise[:150], real[150:])
    assert 3 < fresh.mean() < 7
    assert fresh.min() > 0
    assert far.min() > 12


def test_nearest_distance_is_the_formula_across_blocks(all_digits):
    """Images and references are split into blocks of 200; the nearest reference can be in any block."""
    reference, images = all_digits.images, (0.9 * all_digits.images.flip(0))[:520]
    by_hand = [((x - reference) ** 2).sum((1, 2, 3)).min().sqrt() for x in images]
    assert torch.allclose(qh.nearest_distance(images, reference), torch.stack(by_hand), atol=1e-4)


# What is refused, and what stays unchanged

WRONG = [(28, 28), (5, 28, 28), (5, 3, 28, 28), (5, 1, 32, 32), (0, 1, 28, 28)]


@pytest.mark.parametrize("shape", WRONG)
def test_wrong_shapes_are_refused(real, shape):
    wrong = torch.zeros(shape)
    for score in SCORES:
        with pytest.raises(ValueError, match=r"images must have shape \(N, 1, 28, 28\).*; got"):
            score(wrong)
    for distance in DISTANCES:
        for images, reference in ((wrong, real), (real, wrong)):
            with pytest.raises(ValueError, match=r"images must have shape \(N, 1, 28, 28\).*; got"):
                distance(images, reference)


def test_one_image_is_too_few_for_a_distribution(real):
    with pytest.raises(ValueError, match="N ≥ 2"):
        qh.inception_score(real[:1])
    for distance in (qh.frechet_distance, qh.kernel_distance):
        for images, reference in ((real[:1], real), (real, real[:1])):
            with pytest.raises(ValueError, match="N ≥ 2"):
                distance(images, reference)


def test_scores_change_neither_the_readers_random_stream_nor_the_images(real):
    state, images = torch.get_rng_state(), real.clone()
    for score in SCORES:
        score(images)
    for distance in DISTANCES:
        distance(images, real)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, real)


def test_scores_repeat(real):
    first = qh.inception_score(real)
    torch.rand(1)  # advances the reader's random stream
    assert qh.inception_score(real) == first
    assert qh.frechet_distance(real[:99], real) == qh.frechet_distance(real[:99], real)
    assert qh.kernel_distance(real[:99], real) == qh.kernel_distance(real[:99], real)


def test_classify_returns_digits_and_their_probabilities(all_digits):
    digits, probabilities = classify(all_digits.images[:450])
    expected = digit_classifier()(all_digits.images[:450]).softmax(1)
    assert (digits == all_digits.labels[:450]).float().mean() > 0.97
    assert digits.dtype == torch.int64 and digits.shape == probabilities.shape == (450,)
    assert torch.allclose(probabilities, expected[torch.arange(450), digits]) and (probabilities <= 1).all()
    assert probabilities.mean().item() == pytest.approx(qh.confidence(all_digits.images[:450]))
