"""Scores of generated images: quality, distance to real images, which digits occur, and what is repeated or copied.

Distances, precision and recall are computed in the features of a network, by default those of a small digit
classifier instead of the Inception network, so their values are comparable only with values from this module. For other
images than digits, pass an extractor of your own.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..mnist import Digits, check_images

if TYPE_CHECKING:
    from ..gan.model import QAAN

Extractor = Callable[[torch.Tensor], torch.Tensor]  # from images (N, 1, 28, 28) to features (N, d)

WEIGHTS = Path(__file__).parents[1] / "data" / "digit_classifier.safetensors"
SMALL_WEIGHTS = WEIGHTS.with_name("small_classifier.safetensors")
BLOCK = 200  # images that pass through a network together
NEIGHBORS = 5  # that define the neighborhood of a point in precision and recall, as in the paper of prdc


class FeatureExtractor(nn.Sequential):
    """The layers up to the features, with their number as torchmetrics reads it."""

    num_features = 64


class DigitClassifier(nn.Module):
    """Classify images of digits: two convolutions, 64 features, 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = FeatureExtractor(
            nn.Conv2d(1, 24, 5, padding=2, bias=False),  # (N, 24, 28, 28)
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),  #                            (N, 24, 14, 14)
            nn.Conv2d(24, 48, 5, padding=2, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.MaxPool2d(2),  #                            (N, 48, 7, 7)
            nn.Flatten(),
            nn.Linear(48 * 7 * 7, FeatureExtractor.num_features),
            nn.ReLU(),  #                                  (N, 64)
        )
        self.head = nn.Linear(FeatureExtractor.num_features, 10)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the last hidden layer.

        Args:
            images: Images (N, 1, 28, 28) in [0, 1].

        Returns:
            Features (N, 64).
        """
        return self.body(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the logits of the ten digits.

        Args:
            images: Images (N, 1, 28, 28) in [0, 1].

        Returns:
            Logits (N, 10).
        """
        return self.head(self.features(images))


class SmallClassifier(nn.Sequential):
    """Another classifier of digits, with 3 × 3 convolutions of stride 2 and global average pooling; 10 logits.

    Its features serve as a second opinion: a finding should not depend on the features of one network.
    """

    def __init__(self) -> None:
        body = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False),  # (N, 16, 14, 14)
            nn.BatchNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, 48, 3, stride=2, padding=1, bias=False),  # (N, 48, 7, 7)
            nn.BatchNorm2d(48),
            nn.GELU(),
            nn.Conv2d(48, 64, 3, padding=1, bias=False),  #           (N, 64, 7, 7)
            nn.BatchNorm2d(64),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),  #                                          (N, 64)
        )
        super().__init__(body, nn.Linear(64, 10))


@cache
def small_extractor() -> nn.Module:
    """Load the bundled second extractor of features.

    Returns:
        The `SmallClassifier` without its last layer, which maps images (N, 1, 28, 28) in [0, 1] to features (N, 64),
        trained on full MNIST by `tools/train_classifier.py`, in evaluation mode on the CPU.
    """
    from safetensors.torch import load_file

    classifier = SmallClassifier()
    classifier.load_state_dict(load_file(SMALL_WEIGHTS))
    return classifier.eval().requires_grad_(False)[0]


@cache
def digit_classifier() -> DigitClassifier:
    """Load the bundled classifier.

    Returns:
        The classifier, trained on full MNIST by `tools/train_classifier.py`, in evaluation mode on the CPU.
    """
    from safetensors.torch import load_file

    classifier = DigitClassifier()
    classifier.load_state_dict(load_file(WEIGHTS))
    return classifier.eval().requires_grad_(False)


def inception_score(images: torch.Tensor) -> float:
    """Compute the Inception Score exp E[KL(p(digit | x) ‖ p(digit))], the expectation over images x.

    It is high if each image is clearly one digit and all digits are equally frequent; 1 is the lowest value, and
    the number of digits is the highest.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1], N ≥ 2.

    Returns:
        The score.

    Raises:
        ValueError: If the images have another shape or are fewer than two.

    Source:
        Salimans et al., arXiv:1606.03498, with the bundled digit classifier instead of Inception.
    """
    return inception_of_logits(digit_classifier().head(features(images)))


def inception_of_logits(logits: torch.Tensor) -> float:
    """Compute the Inception Score from a classifier's logits, as `inception_score` does.

    Args:
        logits: Logits (N, 10), N ≥ 2.

    Returns:
        The score.
    """
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # torchmetrics shuffles the images: the same images, the same score to the last bit
        warnings.filterwarnings("ignore", "Metric `InceptionScore` will save")  # ten logits per image are not much
        warnings.filterwarnings("ignore", r"std\(\): degrees of freedom")  # of one split, which is not reported
        metric = InceptionScore(feature=_Unchanged(logits.shape[1]), normalize=False, splits=1)
        metric.update(logits)
        return float(metric.compute()[0])


def features(images: torch.Tensor, extractor: Extractor | None = None) -> torch.Tensor:
    """Compute the features in which images are compared.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1], N ≥ 2.
        extractor: From images (M, 1, 28, 28) to features (M, d), such as a network in evaluation mode; the bundled
            classifier's 64 features if None.

    Returns:
        Features (N, d), on the CPU.

    Raises:
        ValueError: If the images have another shape or are fewer than two, or the extractor returns another shape.
    """
    extract = digit_classifier().body if extractor is None else extractor
    with torch.no_grad():
        parts = [extract(part).detach().cpu() for part in _parts(images)]
    if parts[0].ndim != 2 or len(parts[0]) != min(len(images), BLOCK):
        raise ValueError(f"extractor must return features (N, d), one row per image; got shape {tuple(parts[0].shape)}")
    return torch.cat(parts)


class _Unchanged(nn.Identity):
    """What torchmetrics applies to features that are known already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(images: torch.Tensor, reference: torch.Tensor, extractor: Extractor | None = None) -> float:
    """Compute the Fréchet distance of two sets of images in the features of a network.

    Each set is described by the mean μ and covariance Σ of its features. The distance is
    ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½): 0 for equal sets. It is biased upward for small sets, so compare only
    distances at equal numbers of images.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1], N ≥ 2.
        reference: Images (M, 1, 28, 28) in [0, 1], M ≥ 2, usually real test images.
        extractor: As in `features`.

    Returns:
        The distance.

    Raises:
        ValueError: If images have another shape or are fewer than two.

    Source:
        Heusel et al., arXiv:1706.08500, by default with the bundled digit classifier instead of Inception.
    """
    return frechet_of_features(features(images, extractor), features(reference, extractor))


def frechet_of_features(generated: torch.Tensor, real: torch.Tensor) -> float:
    """Compute the Fréchet distance of two sets of features, as `frechet_distance` does.

    Args:
        generated: Features (N, d), N ≥ 2.
        real: Features (M, d), M ≥ 2.

    Returns:
        The distance.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    unchanged = _Unchanged(real.shape[1])
    metric = FrechetInceptionDistance(feature=unchanged, normalize=True, input_img_size=(1, 28, 28))
    return float(_compare(metric, generated, real))


def kernel_distance(images: torch.Tensor, reference: torch.Tensor, extractor: Extractor | None = None) -> float:
    """Compute the kernel distance (KID) of two sets of images in the features of a network.

    It is the squared maximum mean discrepancy with the kernel (x·y / d + 1)³ of d features, averaged over 100 random
    subsets of up to 1,000 images. The estimator is unbiased: for two sets from one distribution it scatters around 0,
    at any number of images.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1], N ≥ 2.
        reference: Images (M, 1, 28, 28) in [0, 1], M ≥ 2, usually real test images.
        extractor: As in `features`.

    Returns:
        The distance, which can be slightly negative.

    Raises:
        ValueError: If images have another shape or are fewer than two.

    Source:
        Bińkowski et al., arXiv:1801.01401, by default with the bundled digit classifier instead of Inception.
    """
    return kernel_distance_of_features(features(images, extractor), features(reference, extractor))


def kernel_distance_of_features(generated: torch.Tensor, real: torch.Tensor) -> float:
    """Compute the kernel distance of two sets of features, as `kernel_distance` does.

    Args:
        generated: Features (N, d), N ≥ 2.
        real: Features (M, d), M ≥ 2.

    Returns:
        The distance, which can be slightly negative.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(generated), len(real), 1000)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # torchmetrics samples the subsets: the same images, the same distance
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save")  # 64 numbers per image
        metric = KernelInceptionDistance(feature=_Unchanged(real.shape[1]), subset_size=size)
        return float(_compare(metric, generated, real)[0])


def _compare(metric: Any, generated: torch.Tensor, real: torch.Tensor) -> Any:
    """A torchmetrics distance between two sets of features (N, d), in blocks, as sums of float32 depend on them."""
    for part in real.split(BLOCK):
        metric.update(part, real=True)
    for part in generated.split(BLOCK):
        metric.update(part, real=False)
    return metric.compute()


def precision_recall(
    images: torch.Tensor, reference: torch.Tensor, extractor: Extractor | None = None
) -> tuple[float, float]:
    """Compute precision and recall of generated images.

    Precision is the fraction of the images that lie among the reference images; recall is the fraction of the reference
    images that lie among the images. A point lies among others if it is closer to one of them than this one's fifth
    nearest neighbor is. The time and memory grow with N²; both depend on the numbers of images.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1], N ≥ 7.
        reference: Images (M, 1, 28, 28) in [0, 1], M ≥ 7, usually as many real test images.
        extractor: As in `features`.

    Returns:
        Precision and recall, each from 0 to 1.

    Raises:
        ValueError: If images have another shape or are fewer than seven.

    Source:
        Kynkäänniemi et al., arXiv:1904.06991, as the package prdc computes it.
    """
    check_images(images, NEIGHBORS + 2)
    check_images(reference, NEIGHBORS + 2)
    return precision_recall_of_features(features(images, extractor), features(reference, extractor))


def precision_recall_of_features(generated: torch.Tensor, real: torch.Tensor) -> tuple[float, float]:
    """Compute precision and recall from features, as `precision_recall` does.

    Args:
        generated: Features (N, d), N ≥ 7.
        real: Features (M, d), M ≥ 7.

    Returns:
        Precision and recall, each from 0 to 1.
    """
    from prdc import compute_prdc

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it prints the numbers of images
        warnings.filterwarnings("ignore", "Inside a Dask worker")  # which may not start the eight processes it asks for
        scores = compute_prdc(real.numpy(), generated.numpy(), NEIGHBORS)
    return float(scores["precision"]), float(scores["recall"])


def classify(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Classify images with the bundled classifier.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1].

    Returns:
        The most probable digit of each image, (N,) int64, and its probability, (N,) float32.

    Raises:
        ValueError: If the images have another shape or N is 0.
    """
    logits = torch.cat([digit_classifier()(part) for part in _parts(images, minimum=1)])
    return logits.argmax(1), logits.softmax(1).amax(1)


def confidence(images: torch.Tensor) -> float:
    """Compute the mean probability of the most probable digit.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1].

    Returns:
        The mean over the images of the probabilities that `classify` returns.

    Raises:
        ValueError: If the images have another shape or N is 0.
    """
    return classify(images)[1].mean().item()


def class_coverage(images: torch.Tensor) -> dict[int, float]:
    """Compute the fraction of images that the classifier assigns to each digit.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1].

    Returns:
        The fractions of the digits 0–9, which sum to 1, by digit.

    Raises:
        ValueError: If the images have another shape or N is 0.
    """
    digits, _ = classify(images)
    return dict(enumerate((torch.bincount(digits, minlength=10) / len(digits)).tolist()))


def class_balance(images: torch.Tensor, digits: Iterable[int] = (3, 7, 9)) -> float:
    """Compute how evenly the wanted digits occur (Pielou's evenness, 1966).

    It is the entropy of the digits' fractions, normalized to sum to 1, divided by the logarithm of the number of
    digits. Images that the classifier assigns to other digits are left out.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1].
        digits: The wanted digits, at least two.

    Returns:
        1 for equal fractions, 0 if only one of the digits occurs or none.

    Raises:
        ValueError: If the images have another shape, N is 0, or there are fewer than two digits.
    """
    wanted = sorted(set(digits))
    if len(wanted) < 2 or not set(wanted) <= set(range(10)):
        raise ValueError(f"digits must hold at least two integers in 0–9, such as (3, 7, 9); got {digits!r}")
    return balance_of_coverage(class_coverage(images), wanted)


def balance_of_coverage(coverage: Mapping[int, float], wanted: Iterable[int]) -> float:
    """Compute how evenly the wanted digits occur, as `class_balance` does.

    Args:
        coverage: Fraction of images of each digit.
        wanted: The wanted digits, at least two different ones.

    Returns:
        1 for equal fractions, 0 if only one of the digits occurs or none.
    """
    wanted = list(wanted)
    fractions = torch.tensor([coverage[digit] for digit in wanted], dtype=torch.float64)
    entropy = torch.special.entr(fractions / fractions.sum().clamp(min=1e-12)).sum()
    return (entropy / math.log(len(wanted))).item()


def recall_accuracy(gan: "QAAN", digits: Digits) -> float:
    """Compute the fraction of images whose recall the classifier assigns to the digit that the image shows.

    The recall of an image is what the generator makes of its bits. If every image is one of k digits, guessing gives
    about 1/k. The classifier's own errors count as errors of the recall.

    Args:
        gan: A trained QAAN.
        digits: Real images with their labels, usually test images.

    Returns:
        The fraction, from 0 to 1.

    Raises:
        ValueError: If `digits` is no `Digits`, or the QAAN is not trained.
    """
    if not isinstance(digits, Digits):
        raise ValueError(f"digits must be Digits, as from load_mnist(split='test'); got {type(digits).__name__}")
    recalled, _ = classify(gan.recall(digits.images))
    return (recalled == digits.labels.cpu()).float().mean().item()


def distinct_images(images: torch.Tensor) -> float:
    """Compute the fraction of images that are distinct in black and white, with brightness above ½ as white.

    Shades are ignored, because with noise on the latents no two images are exactly equal.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1].

    Returns:
        Number of distinct images divided by N, from 1/N to 1.

    Raises:
        ValueError: If the images have another shape or N is 0.
    """
    ink = torch.cat([(part > 0.5).flatten(1) for part in _parts(images, minimum=1)])
    return len(ink.unique(dim=0)) / len(ink)


def nearest_distance(images: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Compute each image's Euclidean distance over pixels to the nearest reference image.

    With the training set as reference it shows memorization: copies have distance 0. Compare with the distances of real
    test images. The computation uses blocks of 200 by 200 images, a few megabytes.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1].
        reference: Images (M, 1, 28, 28) in [0, 1].

    Returns:
        Distances (N,), float32.

    Raises:
        ValueError: If images have another shape, or N or M is 0.
    """
    distances = []
    for part in _parts(images, minimum=1):
        rows, nearest = part.flatten(1), torch.full((len(part),), torch.inf)
        for block in _parts(reference, minimum=1):
            candidates = block.flatten(1)
            closest = candidates[torch.cdist(rows, candidates).argmin(1)]
            nearest = torch.minimum(nearest, (rows - closest).norm(dim=1))  # cdist itself is off by 0.01 near 0
        distances.append(nearest)
    return torch.cat(distances)


def _parts(images: torch.Tensor, minimum: int = 2) -> tuple[torch.Tensor, ...]:
    """The checked images in blocks on the CPU."""
    return check_images(images, minimum).detach().cpu().float().split(BLOCK)
