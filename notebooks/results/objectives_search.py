"""How were the defaults of the objectives "tied" and "reconstruction" found? `python objectives_search.py` adds the
missing rows of TRIALS to objectives_search.csv.

Each row is one training. The network that encodes the images is one of

- "own": convolutions of its own and a linear layer, the choice of the package;
- "trunk": a linear layer on the discriminator's convolutions, which the reconstruction also trains;
- "trunk, stopped": the same, but the reconstruction trains only the linear layer.

The weight of the reconstruction rises from 0 to `weight` in `ramp` steps. With "tied", `one_batch` tells whether
reconstructions and samples of the prior pass the generator in one batch. All images of a trial come from the training
and test sets of `source`; the full set is searched in the folder that QAAN_DATA names. Seeds from 100 on are used here
only. One trial takes half a minute to five minutes on one core.
"""

import csv
import json
import time
from pathlib import Path

import numpy as np
import qaan_helpers as qh
import torch
from qaan_helpers.evaluation.metrics import classify
from rows import append
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

ROWS = Path(__file__).with_name("objectives_search.csv")
START = {  # what the search started from
    **{"objective": "reconstruction", "encoder": "own", "weight": 20, "ramp": 0, "rate_e": 1e-3, "rate_g": 5e-4},
    **{"rate_d": 2e-4, "hidden_factor": 1.0, "units": 32, "bits": 8, "digits": "379", "source": "full", "epochs": 6},
    **{"batch_size": 64, "one_batch": False, "seed": 100},
}
TRIALS = json.loads(Path(__file__).with_name("objectives_search.json").read_text())  # what differs from START


class Head(nn.Sequential):
    """One linear unit per bit, centered by batch normalization."""

    def __init__(self, n_bits: int) -> None:
        super().__init__(nn.Linear(2352, n_bits), nn.BatchNorm1d(n_bits, affine=False))
        nn.init.normal_(self[0].weight, 0, 0.02)


class Networks:
    """The networks of a trial, their optimizers, and one step of each."""

    def __init__(self, trial: dict) -> None:
        self.trial, n_bits, units = trial, trial["bits"], trial["units"]
        self.G, self.D = qh.Generator(n_bits), qh.Discriminator(units)
        self.own = trial["encoder"] == "own"
        self.convolutions = qh.Discriminator(n_bits).convolutions if self.own else self.D.convolutions
        self.head = Head(n_bits)
        encoder = [*self.head.parameters(), *(self.convolutions.parameters() if self.own else ())]
        self.ema = AveragedModel(self.G, multi_avg_fn=get_ema_multi_avg_fn(0.98), use_buffers=True)
        hidden = {"params": self.D.hidden.parameters(), "lr": trial["rate_d"] * trial["hidden_factor"]}
        rest = {"params": [*self.D.convolutions.parameters(), *self.D.output.parameters()]}
        self.d_optimizer = torch.optim.Adam([rest, hidden], lr=trial["rate_d"], betas=(0.5, 0.999))
        self.optimizers = [
            torch.optim.Adam(self.G.parameters(), lr=trial["rate_g"], betas=(0.5, 0.999)),
            torch.optim.Adam(encoder, lr=trial["rate_e"]),
        ]
        self.steps = 0

    def units(self, images: torch.Tensor) -> torch.Tensor:
        """The units whose signs are the bits."""
        features = self.convolutions(2 * images - 1)
        return self.head(features.detach() if self.trial["encoder"] == "trunk, stopped" else features)

    def images(self, images: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstructions, and the images that the discriminator compares with real ones."""
        p = torch.sigmoid(2 * self.units(images))
        signs = 2 * (torch.bernoulli(p.detach()) + p - p.detach()) - 1
        noisy = signs + 0.2 * torch.randn_like(signs)
        if self.trial["objective"] == "tied" and self.trial["one_batch"]:
            both = self.G(torch.cat([noisy, codes + 0.2 * torch.randn_like(codes)]))
            return both[: len(images)], both[len(images) :]
        reconstructions = self.G(noisy)
        if self.trial["objective"] == "reconstruction":
            return reconstructions, reconstructions
        return reconstructions, self.G(codes + 0.2 * torch.randn_like(codes))

    def step(self, images: torch.Tensor, codes: torch.Tensor) -> tuple[float, float]:
        """One step of the discriminator and of the others; the discriminator's mean outputs."""
        self.steps += 1
        reconstructions, fakes = self.images(images, codes)
        real_logits, fake_logits = self.D(images), self.D(fakes.detach())
        loss = _loss(real_logits, 0.9) + _loss(fake_logits, 0.0)
        self.d_optimizer.zero_grad()
        loss.backward()
        self.d_optimizer.step()
        if not self.own:  # the convolutions have changed
            reconstructions, fakes = self.images(images, codes)
        ramp = min(1.0, self.steps / self.trial["ramp"]) if self.trial["ramp"] else 1.0
        self.D.requires_grad_(False)
        adversarial = _loss(self.D(fakes), 1.0)
        self.D.requires_grad_(True)
        loss = adversarial + ramp * self.trial["weight"] * mse_loss(reconstructions, images)
        optimizers = [*self.optimizers, self.d_optimizer] if self.trial["encoder"] == "trunk" else self.optimizers
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        self.ema.update_parameters(self.G)
        return real_logits.sigmoid().mean().item(), fake_logits.sigmoid().mean().item()

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> np.ndarray:
        """The codes of images."""
        for network in (self.convolutions, self.head):
            network.eval()
        codes = torch.cat([self.units(part) > 0 for part in images.split(500)])
        for network in (self.convolutions, self.head):
            network.train()
        return codes.numpy().astype(np.uint8)

    @torch.no_grad()
    def decode(self, codes: np.ndarray) -> torch.Tensor:
        """The images of codes."""
        self.ema.eval()
        return torch.cat([self.ema(part) for part in (2 * torch.from_numpy(codes).float() - 1).split(500)])


def measure(trial: dict) -> dict:
    """Train once, and score the result with 2,000 images of each kind."""
    started = time.perf_counter()
    digits = [int(digit) for digit in trial["digits"]]
    train, test = (qh.load_mnist(digits, split, source=trial["source"]) for split in ("train", "test"))
    torch.manual_seed(trial["seed"])
    networks = Networks(trial)
    prior = qh.QCBMPrior(trial["bits"], seed=trial["seed"])
    uniform = active = qh.UniformPrior(trial["bits"], seed=trial["seed"] + 7)
    rng, size, d_outputs = np.random.default_rng(trial["seed"]), trial["batch_size"], []
    for epoch in range(trial["epochs"]):
        if trial["objective"] == "tied" and epoch:
            prior.fit(networks.encode(train.images[torch.from_numpy(rng.permutation(len(train))[:2000])]))
            active = prior
        steps = len(train) // size
        codes = 2 * torch.from_numpy(active.sample(steps * size)).float() - 1
        batches = train.batches(size, int(rng.integers(2**31)), drop_last=True)
        outputs = [networks.step(images, part) for (images, _), part in zip(batches, codes.split(size), strict=True)]
        d_outputs.append([round(float(mean), 3) for mean in np.mean(outputs, axis=0)])
    seconds = round(time.perf_counter() - started)
    real, labels = test.images[:2000], test.labels[:2000]
    held_out, recalled = networks.encode(real), networks.decode(networks.encode(real))
    codes = networks.encode(train.images[torch.from_numpy(rng.permutation(len(train))[:2000])])
    stale = networks.decode(active.sample(2000)) if trial["objective"] == "tied" else None
    prior.fit(codes)
    generated = {"circuit": networks.decode(prior.sample(2000)), "uniform": networks.decode(uniform.sample(2000))}
    return {
        "seconds": seconds,
        "recall_accuracy": round((classify(recalled)[0] == labels).float().mean().item(), 4),
        "fid_reconstructions": round(qh.frechet_distance(recalled, real), 1),
        "fid_in_training": None if stale is None else round(qh.frechet_distance(stale, real), 1),
        **{f"fid_{name}": round(qh.frechet_distance(images, real), 1) for name, images in generated.items()},
        "held_out_kl": round(qh.kl_divergence(held_out, prior.probabilities()), 3),
        "code_entropy": round(qh.entropy(codes), 3),
        "code_correlation": round(qh.total_correlation(codes), 3),
        "d_outputs": json.dumps(d_outputs),
    }


def _loss(logits: torch.Tensor, target: float) -> torch.Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def main() -> None:
    """Run what is missing, and write each row as soon as its trial ends."""
    torch.set_num_threads(1)
    done = []
    if ROWS.exists():
        with ROWS.open() as file:
            done = [{name: row[name] for name in START} for row in csv.DictReader(file)]
    for changes in TRIALS:
        trial = START | changes
        if {name: str(value) for name, value in trial.items()} in done:
            continue
        append(ROWS, [trial | measure(trial)])


if __name__ == "__main__":
    main()
