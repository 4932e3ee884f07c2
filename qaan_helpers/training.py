"""The associative loop: generator against discriminator, and each epoch a prior fitted to the discriminator's bits."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from . import checkpoints
from .bits import BINARISATIONS, binarise, entropy, total_correlation
from .checks import check_whole
from .dcgan import Discriminator, Generator
from .mnist import Digits
from .priors import Prior, UniformPrior, make_prior


@dataclass(frozen=True)
class Report:
    """One epoch: means over its steps, and how well the prior in use knew the discriminator's bits when it was fitted.

    d_loss, g_loss: in nats; d_real, d_fake: mean D(x) and D(G(z)), as probabilities; seconds: of the whole epoch,
    prior_seconds of them for the prior. prior_cost: −mean log p of the bits in nats; bits_entropy: the same for a
    perfect model; bits_correlation: what a product of Bernoullis must cost above that. NaN where nothing was fitted.
    """

    epoch: int
    d_loss: float
    g_loss: float
    d_real: float
    d_fake: float
    prior_cost: float
    bits_entropy: float
    bits_correlation: float
    seconds: float
    prior_seconds: float


@dataclass(frozen=True)
class Settings:
    """How a QAAN trains; notebook 05 shows how the defaults were chosen.

    learning_rate: of both Adams, with β₁ = 0.5. label_smoothing: real images are called 1 − this.
    warm_up: epochs with a uniform prior first; refresh: fit the prior anew every so many epochs.
    binarisation: of `bits.binarise`. fit_samples: real images whose bits the prior is fitted to, at most.
    latent_noise: standard deviation of the Gaussian added to the ±1 latents.
    """

    learning_rate: float = 5e-4
    label_smoothing: float = 0.1
    warm_up: int = 1
    refresh: int = 1
    binarisation: str = "median"
    fit_samples: int = 2000
    latent_noise: float = 0.3

    def __post_init__(self):
        if self.binarisation not in BINARISATIONS:
            raise ValueError(f"binarisation is {self.binarisation!r}; choose one of {BINARISATIONS}")
        for name, least in (("warm_up", 0), ("refresh", 1), ("fit_samples", 1)):
            check_whole(name, getattr(self, name), least)
        if not 0 <= self.latent_noise < math.inf:
            raise ValueError(f"latent_noise is {self.latent_noise!r}; it must be 0 or more, and finite")
        if not 0 <= self.label_smoothing < 0.5 or not 0 < self.learning_rate < 1:
            raise ValueError("label_smoothing must lie in [0, 0.5) and learning_rate between 0 and 1")


class QAAN:
    """An associative adversarial network: generator, discriminator, their Adams, and the prior between them.

    prior: anything with latent_dim, fit(bits) and sample(n). device: "auto" (CUDA where there is one), "cpu", "cuda".
    seed: of everything but the prior, which has its own. settings: of `Settings`, by name.
    Source: Rudolph et al., arXiv:2012.03924; Arici & Celikyilmaz, arXiv:1611.06953.
    """

    def __init__(self, prior: Prior, device: str = "auto", seed: int = 0, **settings):
        if not isinstance(prior, Prior):
            raise ValueError(f"prior is {prior!r}; it needs latent_dim, fit(bits) and sample(n): QCBMPrior(8), say")
        self.prior, self.seed = prior, check_whole("seed", seed, 0)
        self.settings = Settings(**settings)
        self.device = _choose_device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(seed, "weights"))
            self.generator = Generator(prior.latent_dim).to(self.device)
            self.discriminator = Discriminator(prior.latent_dim).to(self.device)
        adam = {"lr": self.settings.learning_rate, "betas": (0.5, 0.999)}
        self.g_optimiser = torch.optim.Adam(self.generator.parameters(), **adam)
        self.d_optimiser = torch.optim.Adam(self.discriminator.parameters(), **adam)
        self.history: list[Report] = []
        self._prior_fitted = False
        self._uniform = UniformPrior(prior.latent_dim, _seed(seed, "warm-up"))
        self._noise = torch.Generator().manual_seed(_seed(seed, "noise"))

    @property
    def epoch(self) -> int:
        """How many epochs it has been trained."""
        return len(self.history)

    @property
    def active_prior(self) -> Prior:
        """What draws the latents: a uniform prior in the warm-up, from then on the learned one."""
        return self.prior if self._prior_fitted else self._uniform

    def latents(self, bits: np.ndarray, noise: torch.Generator | None = None) -> torch.Tensor:
        """Make latents (N, latent_dim) float32 from bits: −1 for 0, +1 for 1, plus Gaussian noise from `noise`."""
        signs = torch.from_numpy(np.asarray(bits)).float() * 2 - 1
        spread = self.settings.latent_noise
        if spread and noise is not None:
            signs += spread * torch.randn(signs.shape, generator=noise)
        return signs.to(self.device)

    @torch.no_grad()
    def draw(self, latents: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, 28, 28) on the CPU from latents (N, latent_dim), the generator in evaluation mode."""
        self.generator.eval()
        return torch.cat([self.generator(part.to(self.device)).cpu() for part in latents.split(1000)])

    def sample(self, n_samples: int = 64) -> torch.Tensor:
        """Draw codes from the prior and images (n_samples, 1, 28, 28) in [0, 1] from the codes."""
        return self.draw(self.latents(self.active_prior.sample(n_samples), self._noise))

    @torch.no_grad()
    def bits(self, images: torch.Tensor, seed: int | None = None) -> np.ndarray:
        """What the discriminator's hidden layer says of images (N, 1, 28, 28), as bits (N, latent_dim) uint8."""
        self.discriminator.eval()
        parts = images.to(self.device).split(1000)
        features = torch.cat([self.discriminator.features(part) for part in parts])
        return binarise(features, self.settings.binarisation, seed)

    def step(self, images: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """One Adam step of the discriminator and one of the generator: (d_loss, g_loss, d_real, d_fake)."""
        discriminate, real_target = self.discriminator, 1 - self.settings.label_smoothing
        fakes = self.generator(latents)

        real_logits, fake_logits = discriminate(images), discriminate(fakes.detach())
        d_loss = _bce(real_logits, real_target) + _bce(fake_logits, 0.0)
        self.d_optimiser.zero_grad()
        d_loss.backward()
        self.d_optimiser.step()

        discriminate.requires_grad_(False)  # the generator's step needs no gradients of D's weights
        try:
            g_loss = _bce(discriminate(fakes), 1.0)
            self.g_optimiser.zero_grad()
            g_loss.backward()
            self.g_optimiser.step()
        finally:  # also when interrupted: D must be able to learn when training goes on
            discriminate.requires_grad_(True)
        means = real_logits.sigmoid().mean(), fake_logits.sigmoid().mean()
        return torch.stack([d_loss, g_loss, *means]).detach()

    def save(self, folder: str | Path) -> None:
        """Write all that is needed to go on training bit for bit into `folder`: safetensors and JSON.

        The last two saves stay. Saves of later epochs that lie there are of another run and are replaced.
        Raises ValueError for a prior without config(), state() and load_state().
        """
        if not all(hasattr(self.prior, name) for name in ("config", "state", "load_state")):
            raise ValueError(f"{type(self.prior).__name__} cannot be saved: it lacks config(), state(), load_state()")
        description = {
            "seed": self.seed,
            "settings": asdict(self.settings),
            "prior": self.prior.config(),
            "history": [asdict(report) for report in self.history],
        }
        checkpoints.write(folder, f"epoch_{self.epoch:06d}", self._tensors(), description)

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto", execution=None) -> "QAAN":
        """Take up what `save` wrote in `folder`; `execution` runs its circuit elsewhere than it ran before."""
        tensors, description = checkpoints.read(folder)
        gan = cls(make_prior(description["prior"], execution), device, description["seed"], **description["settings"])
        gan.history = [Report(**report) for report in description["history"]]
        gan._prior_fitted = gan.epoch > gan.settings.warm_up
        gan._load_tensors(tensors)
        return gan

    def _tensors(self):
        tensors = {"noise": self._noise.get_state()}
        for name, module in (("generator", self.generator), ("discriminator", self.discriminator)):
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in (("g_adam", self.g_optimiser), ("d_adam", self.d_optimiser)):
            for index, entries in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{key}": value for key, value in entries.items()}
        for name, prior in (("prior", self.prior), ("uniform", self._uniform)):
            tensors |= {f"{name}.{key}": torch.from_numpy(value) for key, value in prior.state().items()}
        return tensors

    def _load_tensors(self, tensors):
        def part(name):
            return {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}

        self._noise.set_state(tensors["noise"])
        self.generator.load_state_dict(part("generator"))
        self.discriminator.load_state_dict(part("discriminator"))
        for name, optimiser in (("g_adam", self.g_optimiser), ("d_adam", self.d_optimiser)):
            entries = {}
            for key, tensor in part(name).items():
                index, entry = key.split(".")
                entries.setdefault(int(index), {})[entry] = tensor
            optimiser.load_state_dict(optimiser.state_dict() | {"state": entries})
        for name, prior in (("prior", self.prior), ("uniform", self._uniform)):
            prior.load_state({key: tensor.numpy() for key, tensor in part(name).items()})


def train(gan: QAAN, digits: Digits, epochs: int = 20, batch_size: int = 64) -> Iterator[Report]:
    """Train `epochs` epochs more and yield a Report after each: a loop over it is the training, `break` stops it.

    Each epoch past the warm-up, the prior is fitted to the bits of real images and its samples are the generator's
    latents. Raises ValueError before any work for fewer than one epoch or a batch size below 1.
    """
    if not isinstance(digits, Digits):
        raise ValueError(f"digits is a {type(digits).__name__}; load_mnist() or Digits(images, labels) makes Digits")
    check_whole("epochs", epochs, 1)
    check_whole("batch_size", batch_size, 1)
    return _epochs(gan, digits.to(gan.device), epochs, min(batch_size, len(digits)))


_NOTHING_FITTED = {"prior_cost": math.nan, "bits_entropy": math.nan, "bits_correlation": math.nan}


def _epochs(gan, digits, epochs, batch_size):
    for _ in range(epochs):
        started = time.perf_counter()
        learned = _fit_prior(gan, digits) if _is_due(gan) else _NOTHING_FITTED
        prior_seconds = time.perf_counter() - started
        d_loss, g_loss, d_real, d_fake = _play_epoch(gan, digits, batch_size)
        gan.history.append(
            Report(
                epoch=gan.epoch + 1,
                **{"d_loss": d_loss, "g_loss": g_loss, "d_real": d_real, "d_fake": d_fake},
                **learned,
                seconds=time.perf_counter() - started,
                prior_seconds=prior_seconds,
            )
        )
        yield gan.history[-1]


def _is_due(gan):
    since = gan.epoch - gan.settings.warm_up
    return since >= 0 and since % gan.settings.refresh == 0


def _fit_prior(gan, digits):
    """Fit the prior to the bits of up to `fit_samples` real images."""
    rng = np.random.default_rng(_seed(gan.seed, "fit", gan.epoch))
    chosen = rng.permutation(len(digits))[: gan.settings.fit_samples]
    bits = gan.bits(digits.images[torch.from_numpy(chosen)], seed=int(rng.integers(2**31)))
    cost = gan.prior.fit(bits)
    gan._prior_fitted = True
    return {
        "prior_cost": math.nan if cost is None else float(cost),
        "bits_entropy": entropy(bits),
        "bits_correlation": total_correlation(bits),
    }


def _play_epoch(gan, digits, batch_size):
    """All steps of one epoch, on latents drawn at once; returns the means of what `QAAN.step` reports."""
    gan.generator.train()
    gan.discriminator.train()
    steps = len(digits) // batch_size
    noise = torch.Generator().manual_seed(_seed(gan.seed, "latents", gan.epoch))
    latents = gan.latents(gan.active_prior.sample(steps * batch_size), noise).split(batch_size)
    batches = digits.batches(batch_size, _seed(gan.seed, "batches", gan.epoch), drop_last=True)
    told = [gan.step(images, codes) for (images, _), codes in zip(batches, latents, strict=True)]
    return torch.stack(told).mean(0).tolist()


def _bce(logits, target):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _choose_device(device):
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {device!r}; choose 'auto', 'cpu' or 'cuda'")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but PyTorch sees no CUDA device here; device='auto' takes what there is")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def _seed(seed, consumer, epoch=0):
    """A seed for one consumer in one epoch, so that no two share random numbers and an epoch can be run again."""
    words = np.random.SeedSequence([seed, epoch, *consumer.encode()]).generate_state(1, np.uint64)
    return int(words[0] >> 1)
