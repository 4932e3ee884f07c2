"""How good images are: Inception Score, Fréchet and kernel distance, which digits occur, what is repeated or copied."""

import math
import warnings
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from ..gan.networks import check_images

WEIGHTS = Path(__file__).parents[1] / "data" / "digit_classifier.safetensors"


class DigitClassifier(nn.Module):
    """Name the digit in images (N, 1, 28, 28): logits (N, 10), from 64 features."""

    num_features = 64  # as torchmetrics wants to know

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 5, padding=2, bias=False),  # (N, 24, 28, 28)
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),  #                            (N, 24, 14, 14)
            nn.Conv2d(24, 48, 5, padding=2, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.MaxPool2d(2),  #                            (N, 48, 7, 7)
            nn.Flatten(),
            nn.Linear(48 * 7 * 7, self.num_features),
            nn.ReLU(),  #                                  (N, 64)
        )
        self.head = nn.Linear(self.num_features, 10)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The last hidden layer (N, 64) of images (N, 1, 28, 28) in [0, 1]."""
        return self.body(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10) of images (N, 1, 28, 28) in [0, 1]."""
        return self.head(self.features(images))


@lru_cache(maxsize=1)
def digit_classifier() -> DigitClassifier:
    """The bundled classifier, trained on full MNIST by data/train_classifier.py, in evaluation mode on the CPU."""
    from safetensors.torch import load_file

    classifier = DigitClassifier()
    classifier.load_state_dict(load_file(WEIGHTS))
    return classifier.eval().requires_grad_(False)


class _Features(nn.Module):
    """The classifier as torchmetrics wants its feature extractor: images in, (N, num_features) out."""

    def __init__(self, what):
        super().__init__()
        self.what = what
        self.num_features = 10 if what == "logits" else DigitClassifier.num_features

    def forward(self, images):
        classifier = digit_classifier()
        return classifier(images) if self.what == "logits" else classifier.features(images)


def inception_score(images: torch.Tensor) -> float:
    """The Inception Score exp E[KL(p(digit|x) ‖ p(digit))] of images (N, 1, 28, 28): at best the number of digits.

    Raises ValueError for fewer than two images or a wrong shape. Source: Salimans et al., arXiv:1606.03498, with the
    bundled digit classifier in Inception's place, so that scores compare only with scores made here.
    """
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # torchmetrics shuffles the images: the same images, the same score to the last bit
        warnings.filterwarnings("ignore", "Metric `InceptionScore` will save")  # ten logits an image are not much
        warnings.filterwarnings("ignore", r"std\(\): degrees of freedom")  # of one split, which we do not report
        metric = InceptionScore(feature=_Features("logits"), normalize=False, splits=1)
        for part in _parts(images):
            metric.update(part)
        return metric.compute()[0].item()


def frechet_distance(images: torch.Tensor, reference: torch.Tensor) -> float:
    """The Fréchet distance of two sets of images (N, 1, 28, 28) in the classifier's 64 features; 0 for equal sets.

    Small sets make it larger: compare only at equal numbers. Raises ValueError for fewer than two images or a wrong
    shape. Source: Heusel et al., arXiv:1706.08500, with the bundled digit classifier in Inception's place.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    drawn, real = _parts(images), _parts(reference)  # both are checked before any work
    metric = FrechetInceptionDistance(feature=_Features("features"), normalize=True, input_img_size=(1, 28, 28))
    for part in real:
        metric.update(part, real=True)
    for part in drawn:
        metric.update(part, real=False)
    return metric.compute().item()


def kernel_distance(images: torch.Tensor, reference: torch.Tensor) -> float:
    """The kernel distance (KID) of two sets of images (N, 1, 28, 28) in the classifier's 64 features.

    Around 0, on either side of it, for two sets of one kind, whatever their size: the mean over 100 draws of up to
    1,000 images of each. Raises ValueError for fewer than two images or a wrong shape.
    Source: Bińkowski et al., arXiv:1801.01401, with the bundled digit classifier in Inception's place.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # torchmetrics draws the subsets: the same images, the same distance
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save")  # 64 numbers an image
        size = min(len(images), len(reference), 1000)
        metric = KernelInceptionDistance(feature=_Features("features"), subset_size=max(size, 1))
        for part in _parts(reference):
            metric.update(part, real=True)
        for part in _parts(images):
            metric.update(part, real=False)
        return metric.compute()[0].item()


def classify(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The digit (N,) int64 that the classifier sees in each image (N, 1, 28, 28), and how probable it finds it (N,)."""
    logits = torch.cat([digit_classifier()(part) for part in _parts(images, least=1)])
    return logits.argmax(1), logits.softmax(1).amax(1)


def class_coverage(images: torch.Tensor) -> dict[int, float]:
    """The share of images (N, 1, 28, 28) that the classifier takes for each digit 0–9; the shares sum to 1."""
    named, _ = classify(images)
    return dict(enumerate((torch.bincount(named, minlength=10) / len(named)).tolist()))


def class_balance(images: torch.Tensor, digits: Iterable[int] = (3, 7, 9)) -> float:
    """How evenly the wanted `digits` occur among images (N, 1, 28, 28): 1 for equal shares, 0 for one digit only.

    It is the entropy of their shares among themselves over that of equal shares (Pielou's evenness, 1966); images that
    the classifier takes for other digits are left out, and 0 is what remains where all are.
    Raises ValueError for a wrong shape or fewer than two digits.
    """
    wanted = sorted(set(digits))
    if len(wanted) < 2 or not set(wanted) <= set(range(10)):
        raise ValueError(f"digits is {digits!r}; a balance needs at least two of 0–9, for example (3, 7, 9)")
    coverage = class_coverage(images)
    shares = torch.tensor([coverage[digit] for digit in wanted], dtype=torch.float64)
    return (torch.special.entr(shares / shares.sum().clamp(min=1e-12)).sum() / math.log(len(wanted))).item()


def distinct_images(images: torch.Tensor) -> float:
    """The share of images (N, 1, 28, 28) that differ in black and white, brightness above ½ or not: 1/N to 1.

    Shades do not count, since with noise on the latents no two images are ever equal.
    """
    ink = torch.cat([(part > 0.5).flatten(1) for part in _parts(images, least=1)])
    return len(ink.unique(dim=0)) / len(ink)


def nearest_distance(images: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The Euclidean distance, over pixels, of each image (N, 1, 28, 28) to the nearest in `reference`: (N,) float32.

    With the training set as reference it tells of memory: copies give 0. Compare with real test images' distances.
    It goes in parts of 500 by 500 images, a few megabytes. Raises ValueError for a wrong shape.
    """
    found = []
    for part in _parts(images, least=1):
        rows, best = part.flatten(1), torch.full((len(part),), torch.inf)
        for known in _parts(reference, least=1):
            known = known.flatten(1)
            near = torch.cdist(rows, known).argmin(1)
            best = torch.minimum(best, (rows - known[near]).norm(dim=1))  # cdist itself is off by 0.01 near 0
        found.append(best)
    return torch.cat(found)


def confidence(images: torch.Tensor) -> float:
    """The mean probability that the classifier gives the digit it sees in images (N, 1, 28, 28)."""
    return classify(images)[1].mean().item()


def _parts(images, least=2):
    return check_images(images, least).detach().cpu().float().split(200)
