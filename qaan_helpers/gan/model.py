"""The associative adversarial network: two networks, their optimizers, and the prior between them."""

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..bits import binarize, check_bits
from ..checks import check_integer
from ..mnist import check_images
from ..priors import PersistentPrior, Prior, UniformPrior, check_persistent, make_prior
from . import storage
from .networks import Discriminator, Encoder, Generator
from .settings import EncoderSettings, Settings, SettingsOptions, check_settings
from .state import CheckpointError, preserved

if TYPE_CHECKING:
    from ..quantum.execution import Execution

MAX_IMAGES = 10**6  # per call of sample: three GB
DISCRIMINATOR_UNITS = 32  # of the hidden layer, if an encoder provides the bits in its place
CHUNK = 250  # images that pass a network together outside training; more take memory and no less time


@dataclass(frozen=True)
class Report:
    """One epoch of training. Losses and outputs are means over its steps.

    Attributes:
        epoch: Number of the epoch, from 1.
        d_loss: Loss of the discriminator in nats.
        g_loss: Loss of the generator in nats.
        d_real: Mean discriminator output D(x) for real images, a probability.
        d_fake: Mean discriminator output for generated images, a probability: D(G(z)), or that for reconstructions if
            the objective is "reconstruction".
        prior_cost: Negative log-likelihood of the bits under the prior when it was fitted, in nats; NaN if no fit.
        bits_entropy: Entropy of the bits, the negative log-likelihood under their empirical distribution, in nats.
        bits_correlation: Total correlation of the bits in nats: what the best product prior costs above the entropy.
        seconds: Duration of the epoch.
        prior_seconds: Duration of the fit within it.
        reconstruction_loss: Mean squared error per pixel of the reconstructions; NaN if the objective has none.
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
    reconstruction_loss: float = math.nan


class QAAN:
    """An associative adversarial network: generator, discriminator, their Adam optimizers, and the prior.

    The objective says what the bits are and which images the discriminator compares with real ones:

    - "associative", the loop of Rudolph et al.: the bits are the discriminator's binarized hidden layer, and the
      generated images come from samples of the prior. No loss connects an image's bits with the generator.
    - "tied": the bits are an encoder's code of the image, from which the generator also learns to reconstruct the
      image. The generated images come from samples of the prior.
    - "reconstruction": as "tied", but the discriminator sees reconstructions only. The prior plays no part in the
      training of the networks; it is fitted to the codes at the end of each epoch (as in VQGAN, arXiv:2012.09841).

    Source: Rudolph et al., arXiv:2012.03924; Arici and Celikyilmaz, arXiv:1611.06953.

    Args:
        prior: Anything with latent_dim, fit(bits) and sample(n).
        device: "auto" (CUDA if available), "cpu" or "cuda".
        seed: Seed of everything except the prior, which has its own.
        objective: "associative", "tied" or "reconstruction".
        **settings: Fields of `Settings`, by name, or of `EncoderSettings` for the other two objectives.

    Attributes:
        prior: The prior that is fitted.
        prior_fitted: Whether the prior has been fitted in this training.
        objective: The objective.
        settings: The settings.
        device: The torch device of the networks.
        generator: The generator, as its last step left it.
        ema: Exponential moving average of the generator, which generates the images.
        discriminator: The discriminator.
        encoder: The encoder; None if the objective is "associative".
        g_optimizer: Adam optimizer of the generator.
        d_optimizer: Adam optimizer of the discriminator.
        e_optimizer: Adam optimizer of the encoder; None without one.
        thresholds: Values above which the units' bits are 1 in `encode`, shape (latent_dim,); None before training.
        n_steps: Number of training steps so far.
        history: One `Report` per epoch.
        trained_on: Description of the last training data; None before training.

    Raises:
        ValueError: If an argument or a setting is not allowed.
    """

    def __init__(
        self,
        prior: Prior,
        device: str = "auto",
        seed: int = 0,
        objective: str = "associative",
        **settings: Unpack[SettingsOptions],
    ) -> None:
        self.prior = _check_prior(prior)
        self.seed = check_integer("seed", seed, 0)
        self.settings = check_settings(objective, settings)
        self.objective = objective
        self.device = choose_device(device)
        self._make_networks()
        self._make_optimizers()
        self.history: list[Report] = []
        self.prior_fitted = False
        self.trained_on: dict[str, Any] | None = None
        self.thresholds: torch.Tensor | None = None
        self.n_steps = 0
        self._uniform = UniformPrior(prior.latent_dim, derive_seed(self.seed, "warm-up"))
        self._noise = torch.Generator().manual_seed(derive_seed(self.seed, "noise"))

    def _make_networks(self) -> None:
        n, encodes = self.prior.latent_dim, isinstance(self.settings, EncoderSettings)
        placement: dict[str, Any] = {"device": self.device, "memory_format": torch.channels_last}  # 20% faster
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "weights"))
            self.generator = Generator(n).to(**placement)
            self.discriminator = Discriminator(DISCRIMINATOR_UNITS if encodes else n).to(**placement)
            self.encoder = Encoder(n).to(**placement) if encodes else None
        average = get_ema_multi_avg_fn(self.settings.ema_decay)
        self.ema = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)

    def _make_optimizers(self) -> None:
        rate = self.settings.learning_rate
        adam = partial(torch.optim.Adam, betas=(0.5, 0.999))
        self.g_optimizer = adam(self.generator.parameters(), lr=rate)
        self.e_optimizer: torch.optim.Adam | None = None
        if self.encoder is not None and isinstance(self.settings, EncoderSettings):
            self.d_optimizer = adam(self.discriminator.parameters(), lr=rate * self.settings.discriminator_lr_factor)
            encoder_rate = rate * self.settings.encoder_lr_factor
            self.e_optimizer = torch.optim.Adam(self.encoder.parameters(), lr=encoder_rate)
        elif isinstance(self.settings, Settings):
            groups: list[dict[str, Any]] = [
                {"params": self.discriminator.convolutions.parameters()},
                {"params": self.discriminator.hidden.parameters(), "lr": rate * self.settings.hidden_lr_factor},
                {"params": self.discriminator.output.parameters()},
            ]
            self.d_optimizer = adam(groups, lr=rate)

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
    def activations(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the units that become bits: the discriminator's hidden layer, or the encoder's logits.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].

        Returns:
            Activations of shape (N, latent_dim), on the device.

        Raises:
            ValueError: If the images have another shape or N is 0.
        """
        network = self.discriminator if self.encoder is None else self.encoder
        units = self.discriminator.features if self.encoder is None else self.encoder
        network.eval()
        return torch.cat([units(part) for part in check_images(images, 1).to(self.device).split(CHUNK)])

    def bits(self, images: torch.Tensor, seed: int | None = None) -> np.ndarray:
        """Binarize the activations, as for a fit of the prior.

        With "median", a bit depends on the other images, too; `encode` uses fixed thresholds.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].
            seed: Seed of the "bernoulli" binarization.

        Returns:
            Bits of shape (N, latent_dim), uint8.

        Raises:
            ValueError: If the images have another shape or N is 0.
        """
        return binarize(self.activations(images), self._binarization, seed)

    @property
    def _binarization(self) -> str:
        return self.settings.binarization if isinstance(self.settings, Settings) else "sign"

    def read_bits(self, images: torch.Tensor, seed: int | None = None) -> np.ndarray:
        """Binarize the activations as `bits` does, and keep the thresholds for `encode`.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].
            seed: Seed of the "bernoulli" binarization.

        Returns:
            Bits of shape (N, latent_dim), uint8.

        Raises:
            ValueError: If the images have another shape or N is 0.
        """
        activations = self.activations(images)
        bits = binarize(activations, self._binarization, seed)
        self.thresholds = torch.zeros(self.prior.latent_dim)
        if self._binarization == "median":
            self.thresholds = torch.from_numpy(np.median(activations.cpu(), axis=0))
        return bits

    def encode(self, images: torch.Tensor) -> np.ndarray:
        """Encode images as bits, each image by itself, with the thresholds of the last fit.

        The thresholds are the medians of the units if the binarization is "median", else 0.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].

        Returns:
            Bits of shape (N, latent_dim), uint8.

        Raises:
            ValueError: If the images have another shape or N is 0, or the QAAN has no thresholds yet.
        """
        if self.thresholds is None:
            raise ValueError(
                "there are no thresholds to encode images with; train first. Models saved by version 0.1 have none "
                "until they are trained for another epoch"
            )
        return (self.activations(images).cpu() > self.thresholds).numpy().astype(np.uint8)

    def decode(self, bits: np.ndarray) -> torch.Tensor:
        """Generate the images of latent codes, without noise.

        Args:
            bits: Latent codes of shape (N, latent_dim).

        Returns:
            Images of shape (N, 1, 28, 28) in [0, 1], on the CPU.

        Raises:
            ValueError: If the bits have another width or other values than 0 and 1.
        """
        return self.generate(self.latents(check_bits(bits, self.prior.latent_dim)))

    def recall(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images as bits, and decode the bits.

        Args:
            images: Images of shape (N, 1, 28, 28) in [0, 1].

        Returns:
            Images of shape (N, 1, 28, 28) in [0, 1], on the CPU.

        Raises:
            ValueError: If the images have another shape or N is 0, or the QAAN has no thresholds yet.
        """
        return self.decode(self.encode(images))

    def with_prior(self, prior: Prior) -> "QAAN":
        """Put another fitted prior in front of the same networks, to sample from it.

        The networks and their optimizers are shared: training one of the two QAANs changes both.

        Args:
            prior: A prior of the same width.

        Returns:
            A QAAN with this prior as its active prior.

        Raises:
            ValueError: If it is not a prior, or has another width.
        """
        if _check_prior(prior).latent_dim != self.prior.latent_dim:
            raise ValueError(
                f"prior must have {self.prior.latent_dim} bits, like the networks; {type(prior).__name__} has "
                f"{prior.latent_dim}"
            )
        other = copy.copy(self)
        own = {"_noise": self._noise.clone_state(), "_uniform": copy.deepcopy(self._uniform)}
        vars(other).update(prior=prior, prior_fitted=True, history=[*self.history], **own)
        return other

    def step(
        self, images: torch.Tensor, latents: torch.Tensor | None = None, noise: torch.Generator | None = None
    ) -> torch.Tensor:
        """Take one Adam step of the discriminator, and one of the generator and the encoder.

        Args:
            images: Real images, shape (B, 1, 28, 28) in [0, 1].
            latents: Latents of the generated images, shape (B, latent_dim). If None, which needs an encoder, the
                reconstructions are the generated images.
            noise: Generator of the encoder's random bits and of the noise on their latents; PyTorch's own if None.

        Returns:
            The values of d_loss, g_loss, d_real, d_fake and, with an encoder, reconstruction_loss; shape (4,) or (5,).
        """
        discriminator, real_target = self.discriminator, 1 - self.settings.label_smoothing
        reconstructions, fakes = self._generate_both(images, latents, noise)

        real_logits, fake_logits = discriminator(images), discriminator(fakes.detach())
        d_loss = _cross_entropy(real_logits, real_target) + _cross_entropy(fake_logits, 0.0)
        self.d_optimizer.zero_grad()
        d_loss.backward()
        self.d_optimizer.step()

        discriminator.requires_grad_(False)  # the generator's step needs no gradients of D's weights
        try:
            g_loss = _cross_entropy(discriminator(fakes), 1.0)
            total, errors, optimizers = g_loss, [], [self.g_optimizer]
            if reconstructions is not None and isinstance(self.settings, EncoderSettings) and self.e_optimizer:
                errors.append(mse_loss(reconstructions, images))
                ramp = min(1.0, (self.n_steps + 1) / self.settings.reconstruction_ramp)
                total = g_loss + ramp * self.settings.reconstruction_weight * errors[0]
                optimizers.append(self.e_optimizer)
            for optimizer in optimizers:
                optimizer.zero_grad()
            total.backward()
            for optimizer in optimizers:
                optimizer.step()
            self.ema.update_parameters(self.generator)
            self.n_steps += 1
        finally:  # also after an interrupt, or D could not learn when training continues
            discriminator.requires_grad_(True)
        outputs = real_logits.sigmoid().mean(), fake_logits.sigmoid().mean()
        return torch.stack([d_loss, g_loss, *outputs, *errors]).detach()

    def _generate_both(
        self, images: torch.Tensor, latents: torch.Tensor | None, noise: torch.Generator | None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Generate reconstructions of images, None without an encoder, and the images of latents.

        Both pass through the generator in one batch. In two, batch normalization would use the statistics of each in
        training, and a mixture of both afterwards.
        """
        if self.encoder is None:
            if latents is None:
                raise ValueError("latents must be given, because the objective 'associative' has no reconstructions")
            return None, self.generator(latents)
        signs = 2 * self.encoder.sample(images, noise) - 1
        codes = signs + self.settings.latent_noise * torch.randn(signs.shape, generator=noise).to(self.device)
        if latents is None:
            reconstructions: torch.Tensor = self.generator(codes)
            return reconstructions, reconstructions
        reconstructions, fakes = self.generator(torch.cat([codes, latents])).tensor_split([len(codes)])
        return reconstructions, fakes

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes, and the settings.

        Tensors and arrays share memory with the QAAN, as in PyTorch: use `copy.deepcopy` to keep a snapshot.

        Returns:
            A nested dict with the keys "seed", "objective", "settings", "prior" ("config" and "state", None for a
            prior without them), "prior_fitted", "thresholds", "n_steps", "generator", "ema", "discriminator",
            "g_optimizer", "d_optimizer", "random", "history" and "trained_on"; with an encoder also "encoder" and
            "e_optimizer". All leaves are tensors, arrays, or values that JSON can hold.
        """
        state = {
            "seed": self.seed,
            "objective": self.objective,
            "settings": self.settings.model_dump(),
            "prior": self._prior_state(),
            "prior_fitted": self.prior_fitted,
            "thresholds": self.thresholds,
            "n_steps": self.n_steps,
            "generator": self.generator.state_dict(),
            "ema": self.ema.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "random": {"noise": self._noise.get_state(), "warm_up": self._uniform.state_dict()},
            "history": [asdict(report) for report in self.history],
            "trained_on": self.trained_on,
        }
        if self.encoder is not None and self.e_optimizer is not None:
            state |= {"encoder": self.encoder.state_dict(), "e_optimizer": self.e_optimizer.state_dict()}
        return state

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
        objective = state.get("objective", "associative")  # what all models of earlier versions have
        if objective != self.objective:
            raise ValueError(f"the state belongs to the objective {objective!r}; this QAAN has {self.objective!r}")
        settings = check_settings(objective, state["settings"], "settings")
        thresholds = _check_thresholds(state.get("thresholds"), self.prior.latent_dim)
        history = [_report(entry) for entry in state["history"]]
        trained_on = _check_trained_on(state["trained_on"])
        seed = check_integer("seed", state["seed"], 0)
        n_steps = check_integer("n_steps", state.get("n_steps", 0), 0)  # earlier versions did not need it
        self._load_prior(state["prior"])
        self._load_networks(state)
        self.ema.multi_avg_fn = get_ema_multi_avg_fn(settings.ema_decay)
        self._noise.set_state(torch.as_tensor(state["random"]["noise"]))
        self._uniform.load_state_dict(state["random"]["warm_up"])
        self.settings, self.seed, self.trained_on, self.thresholds = settings, seed, trained_on, thresholds
        self.n_steps = n_steps
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
        networks = [self.generator, self.ema, self.discriminator]
        optimizers = {"g_optimizer": self.g_optimizer, "d_optimizer": self.d_optimizer}
        if self.encoder is not None and self.e_optimizer is not None:
            self.encoder.load_state_dict(state["encoder"])
            networks.append(self.encoder)
            optimizers["e_optimizer"] = self.e_optimizer
        for network in networks:
            for name, tensor in network.state_dict().items():
                if name.endswith("running_var") and (tensor < 0).any():
                    raise ValueError(f"{name} holds a negative variance")
        for name, optimizer in optimizers.items():
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
            for name in ("ema", "g_optimizer", "d_optimizer", "e_optimizer"):
                state.pop(name, None)
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
            width = state["generator"]["layers.0.weight"].shape[1]
            if width != prior.latent_dim:  # before networks of the prior's width are made
                raise ValueError(f"the prior has {prior.latent_dim} bits and the networks have {width}")
            gan = cls(prior, device, state["seed"], state.get("objective", "associative"), **state["settings"])
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


def _check_prior(prior: Prior) -> Prior:
    if not isinstance(prior, Prior):
        raise ValueError(f"prior must have latent_dim, fit(bits) and sample(n), like QCBMPrior(8); got {prior!r}")
    return prior


def _check_thresholds(thresholds: Any, n_bits: int) -> torch.Tensor | None:
    """What a state holds as thresholds, copied, or ValueError if it is malformed."""
    if thresholds is None:
        return None
    if not isinstance(thresholds, torch.Tensor) or thresholds.shape != (n_bits,):
        raise ValueError(f"thresholds must be {n_bits} numbers; got {thresholds!r}")
    return thresholds.detach().clone()


def _as_arrays(state: Any) -> Any:
    """A prior's state with arrays in place of tensors, copied."""
    if isinstance(state, Mapping):
        return {name: _as_arrays(value) for name, value in state.items()}
    return state.numpy().copy() if isinstance(state, torch.Tensor) else copy.deepcopy(state)


def _misfit(state: Mapping[str, Any], error: Exception) -> CheckpointError:
    versions = state.get("versions")
    return CheckpointError(f"fits no QAAN of this version (it was written with {versions}): {error!r}")
