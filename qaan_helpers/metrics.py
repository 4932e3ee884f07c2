"""How good images are, by a small digit classifier: Inception Score, Fréchet distance, which digits occur."""

import warnings
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

WEIGHTS = Path(__file__).parent / "data" / "digit_classifier.safetensors"


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

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # torchmetrics shuffles the images
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


def class_coverage(images: torch.Tensor) -> dict[int, float]:
    """The share of images (N, 1, 28, 28) that the classifier takes for each digit 0–9; the shares sum to 1."""
    named = torch.cat([digit_classifier()(part).argmax(1) for part in _parts(images, least=1)])
    return dict(enumerate((torch.bincount(named, minlength=10) / len(named)).tolist()))


def confidence(images: torch.Tensor) -> float:
    """The mean probability that the classifier gives the digit it sees in images (N, 1, 28, 28)."""
    return torch.cat([digit_classifier()(part).softmax(1).amax(1) for part in _parts(images, least=1)]).mean().item()


def _parts(images, least=2):
    if images.ndim != 4 or images.shape[1:] != (1, 28, 28) or len(images) < least:
        raise ValueError(f"images have shape {tuple(images.shape)}; (N, 1, 28, 28) with N ≥ {least} is needed")
    return images.detach().cpu().float().split(200)
