"""Real handwritten digits as tensors: the bundled sample, or full MNIST through torchvision."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .checks import check_integer

SAMPLE = Path(__file__).parent / "data" / "mnist_sample.npz"
SAMPLE_SHA256 = "a17142405397421019e246f6cb9af20ecd89ed146311f57a4bac4e425c72f05b"
RAW_SHA256 = {  # the four files of MNIST as they lie unpacked below root/MNIST/raw
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 28, 28) float32 in [0, 1] with their labels (N,) int64, and where they come from."""

    images: torch.Tensor
    labels: torch.Tensor
    source: str = "your own"

    def __post_init__(self):
        for name in ("images", "labels"):
            if not isinstance(getattr(self, name), torch.Tensor):
                kind = type(getattr(self, name)).__name__
                raise ValueError(f"{name} is of type {kind}; a torch tensor is needed: torch.as_tensor({name})")
        if self.images.ndim != 4 or self.images.shape[1:] != (1, 28, 28) or len(self.images) == 0:
            raise ValueError(f"images have shape {tuple(self.images.shape)}; (N, 1, 28, 28) with N ≥ 1 is needed")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"{len(self.images)} images need as many labels, not {tuple(self.labels.shape)}")
        if self.images.dtype != torch.float32 or not (self.images.min() >= 0 and self.images.max() <= 1):
            raise ValueError("images must be float32 with brightness in [0, 1]; divide bytes by 255 first")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Digits({len(self):,} images of {_listed(self.labels.unique().tolist())}, from {self.source})"

    def to(self, device: str | torch.device) -> "Digits":
        """The same digits with their tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def batches(
        self, batch_size: int, seed: int | None = None, drop_last: bool = False
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Go once through all digits in random order, `batch_size` at a time.

        Yields (images (B, 1, 28, 28), labels (B,)); the last batch is smaller unless `drop_last`.
        The same `seed` gives the same order; None gives a new one every time.
        Raises ValueError for a batch size below 1.
        """
        batch_size = check_integer("batch_size", batch_size)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(self))).to(self.images.device)
        end = len(self) - len(self) % batch_size if drop_last else len(self)
        step = min(batch_size, len(self))  # split takes no number that an int64 does not hold
        chosen = order[:end].split(step) if end else ()  # split would give an empty batch for no image
        return ((self.images[i], self.labels[i]) for i in chosen)


def load_mnist(
    digits: int | tuple[int, ...] = (3, 7, 9),
    split: str = "train",
    source: str = "auto",
    root: str | Path | None = None,
) -> Digits:
    """Load real MNIST digits as tensors, and say which set they come from.

    digits: which of 0–9 to keep. split: "train" or "test".
    source: "sample" is the bundled set (600 of each digit to train, 100 to test); "full" is all of MNIST,
    downloaded once into `root`; "auto" takes the full set where it is on disk, else the sample.
    root: a torchvision MNIST root; by default the environment variable QAAN_DATA, else ~/.cache/qaan_helpers.

    Raises ValueError for unknown digits, split or source, RuntimeError for a damaged or unreachable data set.
    Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
    """
    digits = _check_digits(digits)
    _check_choice("split", split, ("train", "test"))
    _check_choice("source", source, ("auto", "sample", "full"))
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


def _check_digits(digits) -> tuple[int, ...]:
    wanted, unknown = set(), []
    for digit in digits if isinstance(digits, Iterable) else (digits,):
        known = isinstance(digit, int | np.integer) and not isinstance(digit, bool) and 0 <= digit <= 9
        wanted.add(int(digit)) if known else unknown.append(digit)
        if len(unknown) == 10:  # enough to tell, and range(10**12) has more than can be held
            break
    if unknown:
        raise ValueError(f"digits has {unknown!r}; MNIST has the whole numbers 0–9, for example digits=(3, 7, 9)")
    if not wanted:
        raise ValueError("digits is empty; name at least one of 0–9, for example digits=(3, 7, 9)")
    return tuple(sorted(wanted))


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, allowed))}")


def _listed(digits) -> str:
    return ", ".join(str(d) for d in digits)


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
    """Hold every file of the full set against its known checksum, so that half a file is never taken for a whole."""
    for name, expected in RAW_SHA256.items():
        path = root / "MNIST" / "raw" / name
        fault = "is missing" if not path.is_file() else "is damaged" if _sha256(path) != expected else None
        if fault:
            raise RuntimeError(
                f"{path} {fault} (half a download, or altered later); delete the folder {path.parent} and call "
                'load_mnist(source="full") to fetch it again, or use source="sample", which needs no download'
            )


def _read_full(root: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The files as they were checked: torchvision's own reader would unpickle MNIST/processed where that exists."""
    _check_full(root)
    part = root / "MNIST" / "raw" / {"train": "train", "test": "t10k"}[split]
    images = np.fromfile(f"{part}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.fromfile(f"{part}-labels-idx1-ubyte", np.uint8, offset=8)
    return torch.from_numpy(images), torch.from_numpy(labels)


def _download(root: Path) -> None:
    """Fetch MNIST beside its place, check it, and only then move it there: what lies in `root` is always whole."""
    from torchvision.datasets import MNIST

    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".mnist-download-", dir=root) as temporary:
            MNIST(temporary, train=True, download=True)
            _check_full(Path(temporary))
            for archive in (Path(temporary) / "MNIST" / "raw").glob("*.gz"):
                archive.unlink()
            (root / "MNIST").mkdir(exist_ok=True)  # it may be left from a set whose folder raw was deleted
            shutil.move(Path(temporary) / "MNIST" / "raw", root / "MNIST" / "raw")
    except Exception as error:  # whatever went wrong on the way, the reader's two ways out are the same
        raise RuntimeError(
            f"MNIST could not be downloaded into {root}: {error}. Try again later, put the four files into "
            f'{root / "MNIST" / "raw"} by hand, or use source="sample", which needs no download'
        ) from error
