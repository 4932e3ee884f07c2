"""The associative loop: generator against discriminator, and each epoch a prior fitted to the discriminator's bits.

An epoch counts whole or not at all. Whatever ends one half-way, an interrupt or an error, puts the QAAN back to where
the last one ended, so that it can be saved, and goes on bit for bit as if nothing had been.

Same seed, same data, same machine, same versions and number of threads: the same numbers to the last bit, on the CPU.
Another number of threads adds in another order: a circuit's fit stays within 1e-6 nats, and the first ten steps' losses
within 1e-4, from where networks drift apart as two seeds do. Nothing of the kind is promised between kinds of CPU,
versions of PyTorch, Qiskit or SciPy, on a GPU (not even from run to run), or for a sampler with its own random numbers.
"""

import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..bits import BINARIZATIONS, binarize, entropy, total_correlation
from ..checks import ExecutionError, check_integer
from ..mnist import Digits
from ..priors import Prior, UniformPrior, make_prior
from . import health, storage
from .networks import Discriminator, Generator, check_images

MAX_IMAGES = 10**6  # in one draw: three GB
FIT_TO = ("real", "both")
AT_ONCE = 250  # images that pass a network together outside training: more take memory and no less time


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

    learning_rate: of both Adams, with β₁ = 0.5; hidden_lr_factor: the share of it at which D's hidden layer learns. A unit
    there sums 2,352 inputs, each of whose weights moves by the rate, and soon sticks at −1 or +1 where all move alike.
    Rates that go with one over the number of inputs (Yang et al., arXiv:2203.03466, Table 3) would be a quarter of that
    of the layer before; at half of it the digits are as good, and the bits keep more in common.
    label_smoothing: real images are called 1 − this.
    warm_up: epochs with a uniform prior first; refresh: fit the prior anew every so many epochs.
    binarization: of `bits.binarize`. fit_samples: images whose bits the prior is fitted to, at most; fit_to: "real"
    ones, or "both", every second one the generator's.
    latent_noise: standard deviation of the Gaussian added to the ±1 latents.
    ema_decay: digits are drawn by a running average of the generator's weights, of which each step keeps this share;
    0 draws by the last weights, which swing about (Yazıcı et al., arXiv:1806.04498).
    """

    learning_rate: float = 5e-4
    hidden_lr_factor: float = 0.5
    label_smoothing: float = 0.1
    warm_up: int = 1
    refresh: int = 1
    binarization: str = "median"
    fit_samples: int = 2000
    fit_to: str = "real"
    latent_noise: float = 0.3
    ema_decay: float = 0.98

    def __post_init__(self):
        if self.binarization not in BINARIZATIONS:
            raise ValueError(f"binarization is {self.binarization!r}; choose one of {BINARIZATIONS}")
        if self.fit_to not in FIT_TO:
            raise ValueError(f"fit_to is {self.fit_to!r}; choose one of {FIT_TO}")
        for name, least in (("warm_up", 0), ("refresh", 1), ("fit_samples", 1)):
            check_integer(name, getattr(self, name), least)
        if not 0 <= self.latent_noise <= 100:  # codes are ±1; what is far more overflows in the networks
            raise ValueError(f"latent_noise is {self.latent_noise!r}; it must lie in [0, 100]")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing is {self.label_smoothing!r}; it must lie in [0, 0.5)")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate!r}; it must lie between 0 and 1")
        if not 0 < self.hidden_lr_factor <= 1:
            raise ValueError(f"hidden_lr_factor is {self.hidden_lr_factor!r}; it must lie in (0, 1]")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay!r}; it must lie in [0, 1)")


class QAAN:
    """An associative adversarial network: generator, discriminator, their Adams, and the prior between them.

    prior: anything with latent_dim, fit(bits) and sample(n). device: "auto" (CUDA where there is one), "cpu", "cuda".
    seed: of everything but the prior, which has its own. settings: of `Settings`, by name.
    Source: Rudolph et al., arXiv:2012.03924; Arici & Celikyilmaz, arXiv:1611.06953.
    """

    def __init__(self, prior: Prior, device: str = "auto", seed: int = 0, **settings):
        if not isinstance(prior, Prior):
            raise ValueError(f"prior is {prior!r}; it needs latent_dim, fit(bits) and sample(n): QCBMPrior(8), say")
        self.prior, self.seed = prior, check_integer("seed", seed, 0)
        if unknown := [name for name in settings if name not in Settings.__dataclass_fields__]:
            raise ValueError(f"{unknown[0]!r} is no setting; there are {', '.join(Settings.__dataclass_fields__)}")
        self.settings = Settings(**settings)
        self.device = _choose_device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed(seed, "weights"))
            quick = {"device": self.device, "memory_format": torch.channels_last}  # a fifth less time on the CPU
            self.generator = Generator(prior.latent_dim).to(**quick)
            self.discriminator = Discriminator(prior.latent_dim).to(**quick)
        newest = get_ema_multi_avg_fn(self.settings.ema_decay)
        self.ema = AveragedModel(self.generator, multi_avg_fn=newest, use_buffers=True)
        adam = {"lr": self.settings.learning_rate, "betas": (0.5, 0.999)}
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), **adam)
        judge = self.discriminator
        slow = {"params": judge.hidden.parameters(), "lr": self.settings.learning_rate * self.settings.hidden_lr_factor}
        groups = [{"params": judge.convolutions.parameters()}, slow, {"params": judge.output.parameters()}]
        self.d_optimizer = torch.optim.Adam(groups, **adam)
        self.history: list[Report] = []
        self._prior_fitted = False
        self._trained_on: dict | None = None
        self._uniform = UniformPrior(prior.latent_dim, _seed(seed, "warm-up"))
        self._noise = torch.Generator().manual_seed(_seed(seed, "noise"))

    @property
    def epoch(self) -> int:
        """How many epochs it has been trained."""
        return len(self.history)

    @property
    def digits(self) -> tuple[int, ...] | None:
        """The digits that it was trained on last; None before, and where a save does not tell."""
        labels = (self._trained_on or {}).get("labels")
        return None if labels is None else tuple(labels)

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
    def generate(self, latents: torch.Tensor) -> torch.Tensor:
        """Images (N, 1, 28, 28) on the CPU from latents (N, latent_dim), by the generator's average."""
        self.ema.eval()
        return torch.cat([self.average(part.to(self.device)).cpu() for part in latents.split(AT_ONCE)])

    def sample(self, n_samples: int = 64) -> torch.Tensor:
        """Draw codes from the prior and images (n_samples, 1, 28, 28) in [0, 1] from the codes."""
        n_samples = check_integer("n_samples", n_samples, most=MAX_IMAGES)
        return self.generate(self.latents(self.active_prior.sample(n_samples), self._noise))

    def peek(self, n_samples: int = 64) -> torch.Tensor:
        """Like `sample`, but all random numbers are put back: who only looks, changes nothing of what comes later.

        A prior without state() and load_state_dict() cannot be put back; a device is asked as by `sample`.
        """
        streams, prior = _copies(self._streams()), _prior_now(self)
        try:
            return self.sample(n_samples)
        finally:
            self._load_streams(streams)
            if prior is not None:
                _load_state(self.prior, prior, "prior")

    @torch.no_grad()
    def bits(self, images: torch.Tensor, seed: int | None = None) -> np.ndarray:
        """What the discriminator's hidden layer says of images (N, 1, 28, 28), as bits (N, latent_dim) uint8."""
        self.discriminator.eval()
        parts = check_images(images, 1).to(self.device).split(AT_ONCE)
        features = torch.cat([self.discriminator.features(part) for part in parts])
        return binarize(features, self.settings.binarization, seed)

    def step(self, images: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """One Adam step of the discriminator and one of the generator: (d_loss, g_loss, d_real, d_fake)."""
        discriminate, real_target = self.discriminator, 1 - self.settings.label_smoothing
        fakes = self.generator(latents)

        real_logits, fake_logits = discriminate(images), discriminate(fakes.detach())
        d_loss = _bce(real_logits, real_target) + _bce(fake_logits, 0.0)
        self.d_optimizer.zero_grad()
        d_loss.backward()
        self.d_optimizer.step()

        discriminate.requires_grad_(False)  # the generator's step needs no gradients of D's weights
        try:
            g_loss = _bce(discriminate(fakes), 1.0)
            self.g_optimizer.zero_grad()
            g_loss.backward()
            self.g_optimizer.step()
            self.ema.update_parameters(self.generator)
        finally:  # also when interrupted: D must be able to learn when training goes on
            discriminate.requires_grad_(True)
        means = real_logits.sigmoid().mean(), fake_logits.sigmoid().mean()
        return torch.stack([d_loss, g_loss, *means]).detach()

    def save(self, folder: str | Path, keep: int = 2, for_training: bool = True) -> None:
        """Write all that is needed to go on training bit for bit into `folder`: safetensors and JSON.

        The last `keep` saves stay. Saves of later epochs that lie there are of another run and are replaced.
        for_training=False keeps the generator's average in place of both and leaves the Adams' running means out: a
        quarter of the size, for a model to draw with.
        Raises ValueError for a prior without config(), state() and load_state_dict() or for weights that are NaN, OSError
        where the folder cannot be written; what was saved before then stays as it is.
        """
        if not all(hasattr(self.prior, name) for name in ("config", "state", "load_state_dict")):
            raise ValueError(
                f"{type(self.prior).__name__} cannot be saved: it lacks config(), state(), load_state_dict()"
            )
        description = {
            "seed": self.seed,
            "settings": asdict(self.settings),
            "prior": self.prior.config(),
            "trained_on": self._trained_on,
            "versions": storage.versions(),
            "history": [asdict(report) for report in self.history],
        }
        tensors = self._networks() | self._streams() | _named("prior", _arrays(self.prior))
        if not for_training:
            tensors = {
                name: t for name, t in tensors.items() if not name.startswith(("g_adam.", "d_adam.", "average."))
            }
            tensors |= _named("generator", self.ema.module.state_dict())
        storage.write(folder, f"epoch_{self.epoch:06d}", tensors, description, check_integer("keep", keep))

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto", execution=None) -> "QAAN":
        """Take up what `save` wrote in `folder`; `execution` runs its circuit elsewhere than it ran before.

        A newest save that is damaged is passed over with a warning. `folder` may also name one save's JSON file.
        Raises ValueError where there is no save, RuntimeError where none is whole or one is of a newer format.
        """
        place = _choose_device(device).type
        return storage.read(folder, lambda tensors, description: cls._made(tensors, description, place, execution))

    @classmethod
    def _made(cls, tensors, description, device, execution):
        """A QAAN of what was read, or CheckpointError where names, shapes or settings are not those of a QAAN."""
        try:
            prior = make_prior({**description["prior"]}, execution)  # its ValueErrors are the reader's to mend
        except _MISFITS as error:
            raise _misfit(description, error) from error
        try:
            bits = len(tensors["discriminator.hidden.0.bias"])
            if bits != prior.latent_dim:  # before networks of a size that only the JSON tells are made
                raise RuntimeError(f"the prior has {prior.latent_dim} bits and the networks have {bits}")
            settings = {"hidden_lr_factor": 1.0, "ema_decay": 0.0} | description[
                "settings"
            ]  # as in saves from before these
            gan = cls(prior, device, description["seed"], **settings)
            gan.history = [Report(**report) for report in description["history"]]
            if not all(isinstance(figure, int | float) for report in gan.history for figure in asdict(report).values()):
                raise TypeError("its history holds what is no number")
            gan._trained_on = _check_trained_on(description.get("trained_on"))
            gan._prior_fitted = gan.epoch > gan.settings.warm_up
            gan._load_networks(tensors)
            gan._load_streams(tensors)
            _load_state(prior, tensors, "prior")
        except (*_MISFITS, ValueError) as error:
            raise _misfit(description, error) from error
        return gan

    def _networks(self):
        """What the steps of an epoch change: weights, their average, and both Adams' running means."""
        tensors = _named("generator", self.generator.state_dict())
        tensors |= _named("average", self.ema.state_dict())
        tensors |= _named("discriminator", self.discriminator.state_dict())
        for name, optimizer in (("g_adam", self.g_optimizer), ("d_adam", self.d_optimizer)):
            for index, entries in optimizer.state_dict()["state"].items():
                tensors |= _named(f"{name}.{index}", entries)
        return tensors

    def _load_networks(self, tensors):
        self.generator.load_state_dict(_part(tensors, "generator"))
        alone = {"n_averaged": torch.tensor(1), **_named("module", self.generator.state_dict())}
        self.ema.load_state_dict(_part(tensors, "average") or alone)
        self.discriminator.load_state_dict(_part(tensors, "discriminator"))
        _check_spreads(self.generator)
        _check_spreads(self.ema)
        _check_spreads(self.discriminator)
        for name, optimizer in (("g_adam", self.g_optimizer), ("d_adam", self.d_optimizer)):
            entries = {}
            for key, tensor in _part(tensors, name).items():
                index, entry = key.split(".")
                entries.setdefault(int(index), {})[entry] = tensor
            _check_adam(name, entries, optimizer)
            optimizer.load_state_dict(optimizer.state_dict() | {"state": entries})

    def _streams(self):
        """The state of the random numbers that are the QAAN's own."""
        return {"noise": self._noise.get_state(), **_named("uniform", _arrays(self._uniform))}

    def _load_streams(self, tensors):
        self._noise.set_state(tensors["noise"])
        _load_state(self._uniform, tensors, "uniform")


ON_COLLAPSE = ("warn", "stop")


def train(
    gan: QAAN, digits: Digits, epochs: int = 20, batch_size: int = 64, on_collapse: str = "warn"
) -> Iterator[Report]:
    """Train `epochs` epochs more and yield a Report after each: a loop over it is the training, `break` stops it.

    Each epoch past the warm-up, the prior is fitted to the bits of real images and its samples are the generator's
    latents. What `health` finds wrong is told as a TrainingWarning, once until it clears, and training goes on; with
    on_collapse="stop" it ends after that epoch's report, whole and fit to be saved. Steps of an epoch that ends in NaN
    or infinity are undone, and only they. An epoch that is broken off is undone altogether, but for a prior without
    state(), and what a fit had learned when its device failed (ExecutionError).
    Raises ValueError before any work for fewer than one epoch, a batch size below 1 or another on_collapse.
    """
    if not isinstance(gan, QAAN):
        raise ValueError(f"gan is a {type(gan).__name__}; QAAN(prior) makes one, QAAN.load(folder) takes one up again")
    if not isinstance(digits, Digits):
        raise ValueError(f"digits is a {type(digits).__name__}; load_mnist() or Digits(images, labels) makes Digits")
    check_integer("epochs", epochs, 1)
    check_integer("batch_size", batch_size, 1)
    if on_collapse not in ON_COLLAPSE:
        raise ValueError(f"on_collapse is {on_collapse!r}; choose one of {', '.join(map(repr, ON_COLLAPSE))}")
    return _epochs(gan, digits.to(gan.device), epochs, min(batch_size, len(digits)), on_collapse)


_NOTHING_FITTED = {"prior_cost": math.nan, "bits_entropy": math.nan, "bits_correlation": math.nan}


def _epochs(gan, digits, epochs, batch_size, on_collapse):
    _note_data(gan, digits, batch_size)
    real_spread = health.image_variance(digits.images[:: len(digits) // 500 + 1])
    told = {}
    for _ in range(epochs):
        before = _Before.of(gan)
        try:
            found = _epoch(gan, digits, batch_size, before, real_spread)
        except BaseException as error:
            before.put_back(gan, with_prior=not isinstance(error, ExecutionError))
            raise
        for name in [name for name in found if name not in told]:
            end = ". Training stops here, as on_collapse='stop' asks" if on_collapse == "stop" else ""
            warnings.warn(f"epoch {gan.epoch}, {name}: {found[name]}{end}", health.TrainingWarning, stacklevel=2)
        told = found
        yield gan.history[-1]
        if found and on_collapse == "stop":
            return


def _note_data(gan, digits, batch_size):
    """Keep what the epochs learn from, and say where that is no longer what it was: it is then another run."""
    labels = digits.labels.unique().tolist()
    earlier, gan._trained_on = gan._trained_on, {"digits": repr(digits), "batch_size": batch_size, "labels": labels}
    was, now = (data and f"{data['digits']} in batches of {data['batch_size']}" for data in (earlier, gan._trained_on))
    if gan.epoch and was and was != now:
        warnings.warn(f"so far this was trained on {was}, from now on {now}", health.TrainingWarning, stacklevel=3)


@dataclass(frozen=True)
class _Before:
    """Copies of all that an epoch changes, so that half an epoch can be undone."""

    networks: dict[str, torch.Tensor]
    streams: dict[str, torch.Tensor]
    prior: dict[str, torch.Tensor] | None
    prior_fitted: bool
    epochs: int
    learning: bool

    @classmethod
    def of(cls, gan):
        """What there is now."""
        networks, streams = _copies(gan._networks()), _copies(gan._streams())
        grad = torch.is_grad_enabled()
        return cls(networks, streams, _prior_now(gan), gan._prior_fitted, gan.epoch, grad)

    def put_back(self, gan, with_prior):
        """Undo what there is of an epoch; another interrupt meanwhile only makes this begin again."""
        try:
            torch.set_grad_enabled(self.learning)  # an interrupt at the edge of a torch.no_grad() leaves it switched
            del gan.history[self.epochs :]
            gan._prior_fitted = self.prior_fitted
            gan._load_networks(self.networks)
            gan._load_streams(self.streams)
            gan.discriminator.requires_grad_(True)  # a step that is stopped while it switches them leaves some off
            if with_prior and self.prior is not None:
                _load_state(gan.prior, self.prior, "prior")
        except KeyboardInterrupt:
            self.put_back(gan, with_prior)


def _epoch(gan, digits, batch_size, before, real_spread):
    """Train one epoch, put its Report into the history, and return what is wrong with it."""
    started = time.perf_counter()
    learned = _fit_prior(gan, digits) if _is_due(gan) else _NOTHING_FITTED
    prior_seconds = time.perf_counter() - started
    (d_loss, g_loss, d_real, d_fake), codes, latents = _play_epoch(gan, digits, batch_size)
    report = Report(
        epoch=gan.epoch + 1,
        **{"d_loss": d_loss, "g_loss": g_loss, "d_real": d_real, "d_fake": d_fake},
        **learned,
        seconds=time.perf_counter() - started,
        prior_seconds=prior_seconds,
    )
    history, steps = [*gan.history, report], (gan.epoch + 1) * (len(digits) // batch_size)
    if all(map(math.isfinite, (d_loss, g_loss))) and all(t.isfinite().all() for t in gan._networks().values()):
        drawn = gan.generate(latents[: 2 * health.ENOUGH])
        found = health.diagnose(history, gan.settings, steps, codes, drawn, real_spread)
    else:
        gan._load_networks(before.networks)
        found = health.diagnose_divergence(report, gan.settings)
    gan.history.append(report)
    return found


def _is_due(gan):
    since = gan.epoch - gan.settings.warm_up
    return since >= 0 and since % gan.settings.refresh == 0


def _fit_prior(gan, digits):
    """Fit the prior to the bits of up to `fit_samples` images."""
    rng = np.random.default_rng(_seed(gan.seed, "fit", gan.epoch))
    chosen = rng.permutation(len(digits))[: gan.settings.fit_samples]
    images = digits.images[torch.from_numpy(chosen)]
    if gan.settings.fit_to == "both":
        images[::2] = gan.sample(len(images[::2])).to(images.device)
    bits = gan.bits(images, seed=int(rng.integers(2**31)))
    cost = gan.prior.fit(bits)
    gan._prior_fitted = True
    return {
        "prior_cost": math.nan if cost is None else float(cost),
        "bits_entropy": entropy(bits),
        "bits_correlation": total_correlation(bits),
    }


def _play_epoch(gan, digits, batch_size):
    """All steps of one epoch; returns the means of what `QAAN.step` reports, and the codes and latents drawn for it."""
    gan.generator.train()
    gan.discriminator.train()
    steps = len(digits) // batch_size
    noise = torch.Generator().manual_seed(_seed(gan.seed, "latents", gan.epoch))
    codes = np.asarray(gan.active_prior.sample(steps * batch_size))
    latents = gan.latents(codes, noise)
    batches = digits.batches(batch_size, _seed(gan.seed, "batches", gan.epoch), drop_last=True)
    told = [gan.step(images, part) for (images, _), part in zip(batches, latents.split(batch_size), strict=True)]
    return torch.stack(told).mean(0).tolist(), codes, latents


_MISFITS = (ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError)


def _misfit(description, error):
    """What to raise where a save holds other names, shapes or settings than a QAAN of this version."""
    wrote = description.get("versions")
    return storage.CheckpointError(f"fits no QAAN of this version (it was written with {wrote}): {error!r}")


def _check_trained_on(data):
    """What the JSON says of the digits that were learned, or TypeError where it is no such thing."""
    if data is not None:
        whole = isinstance(data["batch_size"], int) and all(isinstance(label, int) for label in data["labels"])
        if not whole or not isinstance(data["digits"], str):
            raise TypeError("what it was trained on is no digits")
    return data


def _named(name, entries):
    return {f"{name}.{key}": value for key, value in entries.items()}


def _part(tensors, name):
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def _copies(tensors):
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _arrays(prior):
    """A prior's state as tensors that share its memory."""
    return {name: torch.from_numpy(value) for name, value in prior.state_dict().items()}


def _prior_now(gan):
    """A copy of the prior's state; None where it has no state, or none before its first fit: it is then not undone."""
    try:
        return _copies(_named("prior", _arrays(gan.prior))) if hasattr(gan.prior, "load_state_dict") else None
    except Exception:
        return None


def _load_state(prior, tensors, name):
    """Give a prior back the state that `tensors` hold under `name`."""
    prior.load_state_dict({key: tensor.numpy() for key, tensor in _part(tensors, name).items()})


def _check_spreads(network):
    """Raise RuntimeError where batch norm holds a variance below 0: it would draw NaN, or take images for others."""
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var") and (tensor < 0).any():
            raise RuntimeError(f"{name} holds a variance below 0")


def _check_adam(name, entries, optimizer):
    """Raise RuntimeError unless Adam's running means have the shapes of its weights: Adam itself would not look."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    shapes = [{"step": (), "exp_avg": weight.shape, "exp_avg_sq": weight.shape} for weight in weights]
    found = {index: {key: tensor.shape for key, tensor in entry.items()} for index, entry in entries.items()}
    if found and found != dict(enumerate(shapes)):  # there are none before the first step
        raise RuntimeError(f"{name}'s running means have other shapes than its weights")


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
