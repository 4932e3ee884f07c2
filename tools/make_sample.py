"""Make mnist_sample.npz from full MNIST: `python tools/make_sample.py ROOT` with a torchvision MNIST root."""

import sys

import numpy as np
from torchvision.datasets import MNIST

from qaan_helpers.mnist import SAMPLE

arrays = {}
for split, per_digit in (("train", 600), ("test", 100)):
    data = MNIST(sys.argv[1], train=split == "train")
    first = [np.flatnonzero(data.targets.numpy() == digit)[:per_digit] for digit in range(10)]
    chosen = np.sort(np.concatenate(first))  # the first of each digit, in the order of the original
    arrays[f"{split}_images"] = data.data.numpy()[chosen]
    arrays[f"{split}_labels"] = data.targets.numpy()[chosen].astype(np.int64)
np.savez_compressed(SAMPLE, **arrays)
