"""The associative adversarial network: two networks, their optimizers, and the prior between them."""

import copy
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..bits import binarize
from ..checks import check_integer
from ..mnist import check_images
from ..priors import PersistentPrior, Prior, UniformPrior, check_persistent, make_prior
from ..validation import validated
from . import storage
from .networks import Discriminator, Generator
from .state import CheckpointError, preserved

if TYPE_CHECKING:
    from ..quantum.execution import Execution

MAX_IMAGES = 10**6  # per call of sample: three GB
CHUNK = 250  # images that pass a network together outside training; more take memory and no less time


@dataclass(frozen=True)
class Report:
    """One epoch of training. Losses and outputs are means over its steps.

    Attributes:
        epoch: Number of the epoch, from 1.
        d_loss: Loss of the discriminator in nats.
        g_loss: Loss of the generator in nats.
        d_real: Mean discriminator output D(x) for real images, a probability.
        d_fake: Mean discriminator output D(G(z)) for generated images, a probability.
        prior_cost: Negative log-likelihood of the bits under the prior when it was fitted, in nats; NaN if no fit.
        bits_entropy: Entropy of the bits, the negative log-likelihood under their empirical distribution, in nats.
        bits_correlation: Total correlation of the bits in nats: what the best product prior costs above the entropy.
        seconds: Duration of the epoch.
        prior_seconds: Duration of the fit within it.
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


class Settings(BaseModel):
    """How a QAAN trains. Notebook 05 shows how the defaults were chosen.

    A unit of the hidden layer sums 2,352 inputs. If all weights move at the full learning rate, it soon saturates at
    −1 or +1, so this layer learns at `hidden_lr_factor` times the rate. Rates in inverse proportion to the number of
    inputs (Yang et al., arXiv:2203.03466, Table 3) would be a quarter of the previous layer's. At half, the images are
    as good and the bits stay more correlated.

    Args:
        learning_rate: Learning rate of both Adam optimizers (β₁ = 0.5).
        hidden_lr_factor: Learning rate of the discriminator's hidden layer, as a fraction of `learning_rate`.
        label_smoothing: Real images have the target 1 − label_smoothing.
        warm_up: Number of epochs with a uniform prior at the start.
        refresh: The prior is fitted every `refresh` epochs.
        binarization: How activations become bits, as in `binarize`.
        fit_samples: Maximum number of images whose bits the prior is fitted to.
        fit_to: "real" images, or "both": every second image is a generated one.
        latent_noise: Standard deviation of the Gaussian noise added to the ±1 latents.
        ema_decay: Decay of the exponential moving average (EMA) of the generator's weights, which generates the
            images (Yazıcı et al., arXiv:1806.04498). 0 uses the last weights.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    learning_rate: float = Field(5e-4, gt=0, lt=1, description="a number between 0 and 1")
    hidden_lr_factor: float = Field(0.5, gt=0, le=1, description="a number in (0, 1]")
    label_smoothing: float = Field(0.1, ge=0, lt=0.5, description="a number in [0, 0.5)")
    warm_up: int = Field(1, ge=0, description="an integer ≥ 0")
    refresh: int = Field(1, ge=1, description="an integer ≥ 1")
    binarization: Literal["median", "sign", "bernoulli"] = Field(
        "median", description="one of 'median', 'sign', 'bernoulli'"
    )
    fit_samples: int = Field(2000, ge=1, description="an integer ≥ 1")
    fit_to: Literal["real", "both"] = Field("real", description="one of 'real', 'both'")
    latent_noise: float = Field(0.3, ge=0, le=100, description="a number in [0, 100]")  # latents are ±1; more overflows
    ema_decay: float = Field(0.98, ge=0, lt=1, description="a number in [0, 1)")


class SettingsOptions(TypedDict, total=False):
    """The fields of `Settings` as keyword arguments, for type checkers and editors."""

    learning_rate: float
    hidden_lr_factor: float
    label_smoothing: float
    warm_up: int
    refresh: int
    binarization: Literal["median", "sign", "bernoulli"]
    fit_samples: int
    fit_to: Literal["real", "both"]
    latent_noise: float
    ema_decay: float


class QAAN:
    """An associative adversarial network: generator, discriminator, their Adam optimizers, and the prior.

    Source: Rudolph et al., arXiv:2012.03924; Arici and Celikyilmaz, arXiv:1611.06953.

    Args:
        prior: Anything with latent_dim, fit(bits) and sample(n).
        device: "auto" (CUDA if available), "cpu" or "cuda".
        seed: Seed of everything except the prior, which has its own.
        **settings: Fields of `Settings`, by name.

    Attributes:
        prior: The prior that is fitted.
        prior_fitted: Whether the prior has been fitted in this training.
        settings: The settings.
        device: The torch device of the networks.
        generator: The generator, as its last step left it.
        ema: Exponential moving average of the generator, which generates the images.
        discriminator: The discriminator.
        g_optimizer: Adam optimizer of the generator.
        d_optimizer: Adam optimizer of the discriminator.
        history: One `Report` per epoch.
        trained_on: Description of the last training data; None before training.

    Raises:
        ValueError: If an argument or a setting is not allowed.
    """

    def __init__(self, prior: Prior, device: str = "auto", seed: int = 0, **settings: Unpack[SettingsOptions]) -> None:
        if not isinstance(prior, Prior):
            raise ValueError(f"prior must have latent_dim, fit(bits) and sample(n), like QCBMPrior(8); got {prior!r}")
        self.prior = prior
        self.seed = check_integer("seed", seed, 0)
        self.settings = validated(Settings, settings)
        self.device = choose_device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "weights"))
            placement: dict[str, Any] = {"device": self.device, "memory_format": torch.channels_last}  # 20% faster
            self.generator = Generator(prior.latent_dim).to(**placement)
            self.discriminator = Discriminator(prior.latent_dim).to(**placement)
        average = get_ema_multi_avg_fn(self.settings.ema_decay)
        self.ema = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)
        adam = partial(torch.optim.Adam, lr=self.settings.learning_rate, betas=(0.5, 0.999))
        self.g_optimizer = adam(self.generator.parameters())
        hidden_rate = self.settings.learning_rate * self.settings.hidden_lr_factor
        groups: list[dict[str, Any]] = [
            {"params": self.discriminator.convolutions.parameters()},
            {"params": self.discriminator.hidden.parameters(), "lr": hidden_rate},
            {"params": self.discriminator.output.parameters()},
        ]
        self.d_optimizer = adam(groups)
        self.history: list[Report] = []
        self.prior_fitted = False
        self.trained_on: dict[str, Any] | None = None
        self._uniform = UniformPrior(prior.latent_dim, derive_seed(self.seed, "warm-up"))
        self._noise = torch.Generator().manual_seed(derive_seed(self.seed, "noise"))

    @property
    def epoch(self) -> int:
        """Number of epochs trained so far."""
        return len(self.history)

    @property
    def digits(self) -> tuple[int, ...] | None:
        """The digits of the last training data; None before training."""
        return None if self.trained_on is None else tuple(self.trained_on["labels"])

    @property
    def active_prior(self) -> Prior:
        """The prior that generates latent codes: a uniform one during the warm-up, then the fitted one."""
        return self.prior if self.prior_fitted else self._uniform

    def latents(self, bits: np.ndarray, noise: torch.Generator | None = None) -> torch.Tensor:
        """Turn bits into latents: −1 for 0, +1 for 1, plus Gaussian noise.

        Args:
            bits: Latent codes, shape (N, latent_dim).
            noise: Generator of the noise; no noise if None.

        Returns:
            Latents of shape (N, latent_dim), float32, on the device.
        """
        signs = torch.from_numpy(np.asarray(bits)).float() * 2 - 1
        if self.settings.latent_noise and noise is not None:
            signs += self.settings.latent_noise * torch.randn(signs.shape, generator=noise)
        return signs.to(self.device)

    @torch.no_grad()
    def generate(self, latents: torch.Tensor) -> torch.Tensor:
        """Generate images with the EMA of the generator.

        Args:
            latents: Latents of shape (N, latent_dim).

        Returns:
            Images of shape (N, 1, 28, 28) in [0, 1], on the CPU.
        """
        self.ema.eval()
        return torch.cat([self.ema(part.to(self.device)).cpu() for part in latents.split(CHUNK)])

    def sample(self, n_samples: int = 64) -> torch.Tensor:
        """Sample latent codes from the active prior and generate their images.

        Args:
            n_samples: Number of images.

        Returns:
            Images of shape (n_samples, 1, 28, 28) in [0, 1], on the CPU.

        Raises:
            ValueError: If n_samples is not an integer in 1–1,000,000.
        """
        n_samples = check_integer("n_samples", n_samples, maximum=MAX_IMAGES)
        return self.generate(self.latents(self.active_prior.sample(n_samples), self._noise))

    def peek(self, n_samples: int = 64) -> torch.Tensor:
        """Generate images like `sample`, and restore all random streams afterwards.

        A prior without state_dict() and load_state_dict() cannot be restored.

        Args:
            n_samples: Number of images.

        Returns:
            Images of shape (n_samples, 1, 28, 28) in [0, 1], on the CPU.
        """
        with preserved(self):
            return self.sample(n_samples)

    @torch.no_grad()
    def bits(self, images: torch.Tensor, seed: int | None = None) -> np.ndarray:
        """Binarize the discriminator's hidden layer.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].
            seed: Seed of the "bernoulli" binarization.

        Returns:
            Bits of shape (N, latent_dim), uint8.

        Raises:
            ValueError: If the images have another shape.
        """
        self.discriminator.eval()
        parts = check_images(images, 1).to(self.device).split(CHUNK)
        features = torch.cat([self.discriminator.features(part) for part in parts])
        return binarize(features, self.settings.binarization, seed)

    def step(self, images: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Take one Adam step of the discriminator and one of the generator.

        Args:
            images: Real images, shape (B, 1, 28, 28) in [0, 1].
            latents: Latents of the generated images, shape (B, latent_dim).

        Returns:
            The values of d_loss, g_loss, d_real and d_fake, shape (4,).
        """
        discriminator, real_target = self.discriminator, 1 - self.settings.label_smoothing
        fakes = self.generator(latents)

        real_logits, fake_logits = discriminator(images), discriminator(fakes.detach())
        d_loss = _cross_entropy(real_logits, real_target) + _cross_entropy(fake_logits, 0.0)
        self.d_optimizer.zero_grad()
        d_loss.backward()
        self.d_optimizer.step()

        discriminator.requires_grad_(False)  # the generator's step needs no gradients of D's weights
        try:
            g_loss = _cross_entropy(discriminator(fakes), 1.0)
            self.g_optimizer.zero_grad()
            g_loss.backward()
            self.g_optimizer.step()
            self.ema.update_parameters(self.generator)
        finally:  # also after an interrupt, or D could not learn when training continues
            discriminator.requires_grad_(True)
        return torch.stack([d_loss, g_loss, real_logits.sigmoid().mean(), fake_logits.sigmoid().mean()]).detach()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes, and the settings.

        Tensors and arrays share memory with the QAAN, as in PyTorch: use `copy.deepcopy` to keep a snapshot.

        Returns:
            A nested dict with the keys "seed", "settings", "prior" ("config" and "state", None for a prior
            without them), "prior_fitted", "generator", "ema", "discriminator", "g_optimizer", "d_optimizer",
            "random", "history" and "trained_on". All leaves are tensors, arrays, or values that JSON can hold.
        """
        return {
            "seed": self.seed,
            "settings": self.settings.model_dump(),
            "prior": self._prior_state(),
            "prior_fitted": self.prior_fitted,
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "random": {"noise": self._noise.get_state(), "warm_up": self._uniform.state_dict()},
            "history": [asdict(report) for report in self.history],
            "trained_on": self.trained_on,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; the QAAN keeps copies.

        A state without "ema" uses the generator's weights in its place, and one without optimizers leaves theirs
        empty, as in models that were saved for sampling only.

        Args:
            state: The state of a QAAN whose prior has the same kind and width.

        Raises:
            ValueError: If the state belongs to another prior, or a value is not allowed.
            RuntimeError: If weights are missing or have other shapes, as in PyTorch.
            KeyError: If an entry is missing.
        """
        settings = validated(Settings, state["settings"], "settings")
        history = [_report(entry) for entry in state["history"]]
        trained_on = _check_trained_on(state["trained_on"])
        seed = check_integer("seed", state["seed"], 0)
        self._load_prior(state["prior"])
        self._load_networks(state)
        self.ema.multi_avg_fn = get_ema_multi_avg_fn(settings.ema_decay)
        self._noise.set_state(torch.as_tensor(state["random"]["noise"]))
        self._uniform.load_state_dict(state["random"]["warm_up"])
        self.settings, self.seed, self.trained_on = settings, seed, trained_on
        self.prior_fitted = bool(state["prior_fitted"])
        self.history[:] = history

    def _prior_state(self) -> dict[str, Any]:
        if not isinstance(self.prior, PersistentPrior):
            return {"config": None, "state": None}
        try:
            state = self.prior.state_dict()
        except Exception:
            if self.prior_fitted:
                raise
            state = None  # a user's prior may have no state before its first fit
        return {"config": self.prior.config(), "state": state}

    def _load_prior(self, saved: Mapping[str, Any]) -> None:
        if saved["state"] is None:
            return
        if not isinstance(self.prior, PersistentPrior):
            raise ValueError(f"{type(self.prior).__name__} has no load_state_dict, and the state holds one of a prior")
        kind, own = saved["config"]["kind"], self.prior.config()["kind"]
        if kind != own:
            raise ValueError(f"the state belongs to a prior of kind {kind!r}; this QAAN has one of kind {own!r}")
        self.prior.load_state_dict(_as_arrays(saved["state"]))

    def _load_networks(self, state: Mapping[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        as_average = {f"module.{name}": value for name, value in state["generator"].items()}
        self.ema.load_state_dict(state.get("ema") or {"n_averaged": torch.tensor(1), **as_average})
        self.discriminator.load_state_dict(state["discriminator"])
        for network in (self.generator, self.ema, self.discriminator):
            for name, tensor in network.state_dict().items():
                if name.endswith("running_var") and (tensor < 0).any():
                    raise ValueError(f"{name} holds a negative variance")
        for name, optimizer in (("g_optimizer", self.g_optimizer), ("d_optimizer", self.d_optimizer)):
            _load_adam(name, optimizer, state.get(name) or {})

    def save(self, folder: str | Path, keep: int = 2, for_training: bool = True) -> None:
        """Write one file into a folder, with everything that is needed to resume training bit for bit.

        Saves of later epochs in the same folder belong to another run and are deleted.

        Args:
            folder: Folder of the run; it is created if needed.
            keep: How many of the newest saves stay.
            for_training: If False, the EMA replaces the generator's weights and the optimizers are left out. Such a
                file has a quarter of the size and is meant for sampling.

        Raises:
            ValueError: If the prior lacks config(), state_dict() and load_state_dict(), or a tensor is not finite.
            OSError: If the folder cannot be written. Earlier saves stay as they are.
        """
        check_persistent(self.prior)
        state = self.state_dict()
        if not for_training:
            state["generator"] = self.ema.module.state_dict()
            for name in ("ema", "g_optimizer", "d_optimizer"):
                del state[name]
        storage.write(folder, self.epoch, state, check_integer("keep", keep))

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto", execution: "Execution | None" = None) -> "QAAN":
        """Load the newest intact save of a folder. Damaged newer ones are skipped with a warning.

        Args:
            folder: Folder of a run, or the file of one save.
            device: "auto", "cpu" or "cuda".
            execution: Where the circuit runs from now on; as before if None.

        Returns:
            The QAAN, ready to sample and to train.

        Raises:
            ValueError: If there is no save, or an argument is not allowed.
            RuntimeError: If no save is intact, or the newest one was written by a newer version.
        """
        place = choose_device(device).type
        damage: CheckpointError | None = None
        saves = storage.saves(folder)
        for save in saves:
            try:
                gan = cls.from_state_dict(save.read(), place, execution)
            except CheckpointError as error:
                damage = damage or CheckpointError(f"{save.path} {error}")
            except ValueError as error:  # the caller can correct this, and an older save would not help
                raise ValueError(f"{save.path}: {error}") from error
            else:
                if damage:
                    warnings.warn(f"{damage}; loaded {save.path.name}, the newest intact save", stacklevel=2)
                return gan
        older = "no older save is intact" if len(saves) > 1 else "there is no older save"
        raise CheckpointError(f"{damage}; {older}. Restore a backup, or train again in another folder")

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Any], device: str = "auto", execution: "Execution | None" = None
    ) -> "QAAN":
        """Construct a QAAN, with its prior, from a state.

        Args:
            state: What `state_dict` returned for a QAAN whose prior is of a kind in `PRIORS`.
            device: "auto", "cpu" or "cuda".
            execution: Where the circuit runs from now on; as before if None.

        Returns:
            The QAAN.

        Raises:
            ValueError: If the kind of prior is unknown or its execution cannot be restored.
            CheckpointError: If the state does not fit a QAAN of this version.
        """
        try:
            prior = make_prior(state["prior"]["config"], execution)
        except (KeyError, TypeError, AttributeError) as error:
            raise _misfit(state, error) from error
        try:
            width = len(state["discriminator"]["hidden.0.bias"])
            if width != prior.latent_dim:  # before networks of the prior's width are made
                raise ValueError(f"the prior has {prior.latent_dim} bits and the networks have {width}")
            gan = cls(prior, device, state["seed"], **state["settings"])
            gan.load_state_dict(state)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
            raise _misfit(state, error) from error
        return gan


def choose_device(device: str) -> torch.device:
    """Return the torch device of a name.

    Args:
        device: "auto" (CUDA if available), "cpu" or "cuda".

    Returns:
        The device.

    Raises:
        ValueError: If the name is unknown or there is no CUDA device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda'; got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but PyTorch finds no CUDA device; use device='auto' or 'cpu'")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def derive_seed(seed: int, consumer: str, epoch: int = 0) -> int:
    """Derive a seed for one consumer in one epoch, so that no two share random numbers and an epoch can be repeated.

    Args:
        seed: The QAAN's seed.
        consumer: Name of the consumer, such as "batches".
        epoch: The epoch.

    Returns:
        A seed of 63 bits.
    """
    words = np.random.SeedSequence([seed, epoch, *consumer.encode()]).generate_state(1, np.uint64)
    return int(words[0] >> 1)


def _cross_entropy(logits: torch.Tensor, target: float) -> torch.Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _load_adam(name: str, optimizer: torch.optim.Adam, saved: Mapping[str, Any]) -> None:
    """Load Adam's moments and groups, after a check of their shapes, which PyTorch does not do."""
    moments = {int(index): entry for index, entry in saved.get("state", {}).items()}  # JSON has no integer keys
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    expected = {
        index: {"step": torch.Size(), "exp_avg": weight.shape, "exp_avg_sq": weight.shape}
        for index, weight in enumerate(weights)
    }
    shapes = {index: {key: tensor.shape for key, tensor in entry.items()} for index, entry in moments.items()}
    if shapes and shapes != expected:  # there are none before the first step
        raise ValueError(f"the moments of {name} have other shapes than its weights")
    groups = saved.get("param_groups") or optimizer.state_dict()["param_groups"]
    groups = [{**group, "betas": tuple(group["betas"])} for group in groups]  # JSON has no tuples
    optimizer.load_state_dict(copy.deepcopy({"state": moments, "param_groups": groups}))


def _report(entry: Mapping[str, Any]) -> Report:
    report = Report(**entry)
    if not all(isinstance(value, int | float) for value in vars(report).values()):
        raise TypeError(f"a report must hold numbers; got {entry!r}")
    return report


def _check_trained_on(data: Any) -> dict[str, Any] | None:
    """What a state says about its training data, or TypeError if it is malformed."""
    if data is None:
        return None
    numbers = isinstance(data["batch_size"], int) and all(isinstance(label, int) for label in data["labels"])
    if not numbers or not isinstance(data["digits"], str):
        raise TypeError(f"trained_on must hold digits, batch_size and labels; got {data!r}")
    return dict(data)


def _as_arrays(state: Any) -> Any:
    """A prior's state with arrays in place of tensors, copied."""
    if isinstance(state, Mapping):
        return {name: _as_arrays(value) for name, value in state.items()}
    return state.numpy().copy() if isinstance(state, torch.Tensor) else copy.deepcopy(state)


def _misfit(state: Mapping[str, Any], error: Exception) -> CheckpointError:
    versions = state.get("versions")
    return CheckpointError(f"fits no QAAN of this version (it was written with {versions}): {error!r}")
