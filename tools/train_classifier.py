"""Train the bundled classifiers on full MNIST: `python tools/train_classifier.py ROOT`, a few minutes on a CPU.

`python tools/train_classifier.py ROOT small` trains the small one only.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from qaan_helpers import load_mnist
from qaan_helpers.evaluation.metrics import SMALL_WEIGHTS, WEIGHTS, DigitClassifier, SmallClassifier


def jitter(images):
    """Shift, rotate and scale each image a little, so that the classifier learns shapes and not pixels."""
    angle = (torch.rand(len(images)) - 0.5) * 0.5
    scale = 1 + (torch.rand(len(images)) - 0.5) * 0.2
    shift = (torch.rand(len(images), 2, 1) - 0.5) * 0.2
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2) * scale[:, None, None]
    grid = affine_grid(torch.cat([turn, shift], 2), images.shape, align_corners=False)
    return grid_sample(images, grid, align_corners=False)


def train_classifier(kind: type[nn.Module], seed: int, epochs: int, path: Path) -> None:
    """Train one classifier, print its accuracy on the test set after each epoch, and save it."""
    torch.manual_seed(seed)
    classifier = kind()
    optimizer = torch.optim.Adam(classifier.parameters(), 2e-3)
    steps = epochs * (len(train) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(epochs):
        classifier.train()
        for images, labels in train.batches(128, seed=epoch, drop_last=True):
            optimizer.zero_grad()
            cross_entropy(classifier(jitter(images)), labels, label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
        classifier.eval()
        with torch.no_grad():
            right = sum((classifier(x).argmax(1) == y).sum().item() for x, y in test.batches(1000))
        print(f"epoch {epoch + 1}: {right / len(test):.2%} of the test set right", flush=True)
    save_file(classifier.state_dict(), path)


train = load_mnist(range(10), "train", "full", sys.argv[1])
test = load_mnist(range(10), "test", "full", sys.argv[1])
if "small" not in sys.argv:
    train_classifier(DigitClassifier, 0, 8, WEIGHTS)
train_classifier(SmallClassifier, 1, 5, SMALL_WEIGHTS)
