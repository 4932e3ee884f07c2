"""Real handwritten digits as tensors: the bundled sample, or full MNIST through torchvision."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from .checks import check_choice, check_integer

SAMPLE = Path(__file__).parent / "data" / "mnist_sample.npz"
SAMPLE_SHA256 = "a17142405397421019e246f6cb9af20ecd89ed146311f57a4bac4e425c72f05b"
RAW_SHA256 = {  # the four files of MNIST, unpacked, in root/MNIST/raw
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


Split = Literal["train", "test"]
Source = Literal["auto", "sample", "full"]


@dataclass(frozen=True)
class Digits:
    """Images of digits with their labels and their source.

    Args:
        images: Images (N, 1, 28, 28), float32 brightness in [0, 1], N ≥ 1.
        labels: Digits 0–9 (N,), int64.
        source: Where the images come from, for printed descriptions.

    Raises:
        ValueError: If the images or labels are not tensors of these shapes, or the brightness is outside [0, 1].
    """

    images: torch.Tensor
    labels: torch.Tensor
    source: str = "your own"

    def __post_init__(self) -> None:
        check_images(self.images, 1)
        check_tensor("labels", self.labels)
        if self.labels.shape != self.images.shape[:1]:
            allowed = f"({len(self.images)},), one for each image"
            raise ValueError(f"labels must have shape {allowed}; got {tuple(self.labels.shape)}")
        if self.images.dtype != torch.float32 or not (self.images.min() >= 0 and self.images.max() <= 1):
            got = f"{self.images.dtype} from {self.images.min():g} to {self.images.max():g}"
            raise ValueError(f"images must be float32 with brightness in [0, 1]; got {got}. Divide bytes by 255")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Digits({len(self):,} images of {_listed(self.labels.unique().tolist())}, from {self.source})"

    def to(self, device: str | torch.device) -> "Digits":
        """Copy the tensors to a device.

        Args:
            device: The torch device.

        Returns:
            The same digits on that device.
        """
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batches(
        self, batch_size: int, seed: int | None = None, drop_last: bool = False
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Iterate once over all digits in random order.

        Args:
            batch_size: Number B of images per batch.
            seed: Seed of the order; None for a new order every time.
            drop_last: Whether to leave out the last batch if it is smaller than the others.

        Returns:
            An iterator over batches of images (B, 1, 28, 28) and labels (B,).

        Raises:
            ValueError: If the batch size is not an integer ≥ 1.
        """
        batch_size = check_integer("batch_size", batch_size)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(self))).to(self.images.device)
        end = len(self) - len(self) % batch_size if drop_last else len(self)
        step = min(batch_size, len(self))  # split refuses numbers beyond an int64
        positions = order[:end].split(step) if end else ()  # split would return an empty batch for no images
        return ((self.images[i], self.labels[i]) for i in positions)


def load_mnist(
    digits: int | Iterable[int] = (3, 7, 9),
    split: Split = "train",
    source: Source = "auto",
    root: str | Path | None = None,
) -> Digits:
    """Load real MNIST digits as tensors, and print which set they come from.

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".

    Args:
        digits: One digit or several, in 0–9.
        split: "train" or "test".
        source: "sample" is the bundled set with 600 training and 100 test images of each digit. "full" is all of MNIST,
            downloaded once into `root`. "auto" is the full set if it is on disk, else the sample.
        root: Folder of a torchvision MNIST data set. The default is the environment variable QAAN_DATA, else
            ~/.cache/qaan_helpers.

    Returns:
        The images of these digits, in the order of the data set.

    Raises:
        ValueError: If `digits`, `split` or `source` is not allowed.
        RuntimeError: If the data set is damaged or cannot be downloaded.
    """
    digits = _check_digits(digits)
    check_choice("split", split, get_args(Split))
    check_choice("source", source, get_args(Source))
    root = Path(root or os.environ.get("QAAN_DATA") or "~/.cache/qaan_helpers").expanduser()
    on_disk = (root / "MNIST" / "raw").is_dir()
    if source == "sample" or (source == "auto" and not on_disk):
        images, labels = _read_sample(split)
        name = "the bundled sample"
    else:
        if not on_disk:
            _download(root)
        images, labels = _read_full(root, split)
        name = "full MNIST"
    keep = torch.isin(labels, torch.tensor(digits))
    loaded = Digits(images[keep][:, None].float() / 255, labels[keep].long(), name)
    print(f"MNIST {split}: {len(loaded):,} real images of {_listed(digits)}, from {name}.")
    return loaded


def check_images(images: torch.Tensor, minimum: int = 0) -> torch.Tensor:
    """Check the type and shape of images.

    Args:
        images: Images of shape (N, 1, 28, 28).
        minimum: The smallest N allowed.

    Returns:
        The images.

    Raises:
        ValueError: If they are not a tensor of this shape.
    """
    check_tensor("images", images)
    if images.ndim != 4 or images.shape[1:] != (1, 28, 28) or len(images) < minimum:
        enough = f" with N ≥ {minimum}" if minimum else ""
        raise ValueError(f"images must have shape (N, 1, 28, 28){enough}; got {tuple(images.shape)}")
    return images


def check_tensor(name: str, value: object) -> None:
    """Check that an argument is a torch tensor.

    Args:
        name: The argument's name, for the error message.
        value: The argument's value.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(value, torch.Tensor):
        raise ValueError(
            f"{name} must be a torch tensor; got {type(value).__name__}. torch.as_tensor({name}) makes one"
        )


def _check_digits(digits: object) -> tuple[int, ...]:
    wanted, unknown = set(), []
    for digit in digits if isinstance(digits, Iterable) else (digits,):
        if isinstance(digit, int | np.integer) and not isinstance(digit, bool) and 0 <= digit <= 9:
            wanted.add(int(digit))
        else:
            unknown.append(digit)
        if len(unknown) == 10:  # enough for the message: range(10**12) does not fit into memory
            break
    if unknown or not wanted:
        allowed = "a non-empty sequence of integers in 0–9, such as (3, 7, 9)"
        raise ValueError(f"digits must be {allowed}; got {unknown or digits!r}")
    return tuple(sorted(wanted))


def _listed(digits: Iterable[int]) -> str:
    return ", ".join(map(str, digits))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_sample(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    if not SAMPLE.is_file() or _sha256(SAMPLE) != SAMPLE_SHA256:
        raise RuntimeError(
            f"the bundled sample {SAMPLE} is missing or damaged; reinstall qaan_helpers or restore the file from git"
        )
    with np.load(SAMPLE, allow_pickle=False) as sample:
        return torch.from_numpy(sample[f"{split}_images"]), torch.from_numpy(sample[f"{split}_labels"])


def _check_full(root: Path) -> None:
    """Compare the checksums of all files of the full set, so that a partial file is never used."""
    for name, expected in RAW_SHA256.items():
        path = root / "MNIST" / "raw" / name
        if not path.is_file() or _sha256(path) != expected:
            fault = "damaged" if path.is_file() else "missing"
            raise RuntimeError(
                f"{path} is {fault}, because a download was incomplete or the file was changed. Delete the folder "
                f'{path.parent} and call load_mnist(source="full") to download it again, or use source="sample", which '
                "needs no download"
            )


def _read_full(root: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the checked files directly: torchvision's own reader would unpickle MNIST/processed if that exists."""
    _check_full(root)
    part = root / "MNIST" / "raw" / {"train": "train", "test": "t10k"}[split]
    images = np.fromfile(f"{part}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.fromfile(f"{part}-labels-idx1-ubyte", np.uint8, offset=8)
    return torch.from_numpy(images), torch.from_numpy(labels)


def _download(root: Path) -> None:
    """Download MNIST into a temporary folder, check it, and move it into `root`, which always has a complete set."""
    from torchvision.datasets import MNIST

    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mnist-download-", dir=root) as temporary:
            MNIST(temporary, train=True, download=True)
            _check_full(Path(temporary))
            for archive in (Path(temporary) / "MNIST" / "raw").glob("*.gz"):
                archive.unlink()
            (root / "MNIST").mkdir(exist_ok=True)  # it can exist without the folder raw
            shutil.move(Path(temporary) / "MNIST" / "raw", root / "MNIST" / "raw")
    except Exception as error:  # the remedies are the same for all errors
        raise RuntimeError(
            f"MNIST could not be downloaded into {root}: {error}. Try again later, copy the four files into "
            f'{root / "MNIST" / "raw"}, or use source="sample", which needs no download'
        ) from error
