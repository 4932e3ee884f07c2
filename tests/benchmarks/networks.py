"""Benchmarks of the game: a step against the plain loop, and an epoch with a circuit against one with coins."""

import re
import time
from functools import partial

import torch
from side_by_side import row_of, side_by_side
from torch.nn.functional import binary_cross_entropy_with_logits

import qaan_helpers as qh

DIGITS = (3, 7, 9)
OPERATORS = {  # what PyTorch's profiler calls their operators
    "convolutions": "convolution",
    "batch_norm": "batch_norm",
    "linear": "aten::(addmm|mm)$",
    "activations": "relu|threshold|tanh|clamp_min|aten::sigmoid",
}
QUALITY = {"frechet_distance": 40.0, "wanted_fraction": 0.95}  # digits that most people would name


def plain_gan(device: str) -> qh.QAAN:
    """Networks and Adams like ours, in PyTorch's usual order of memory."""
    gan = qh.QAAN(qh.UniformPrior(8), device)
    gan.generator.to(memory_format=torch.contiguous_format)
    gan.discriminator.to(memory_format=torch.contiguous_format)
    return gan


def plain_step(gan: qh.QAAN, images: torch.Tensor, latents: torch.Tensor) -> None:
    """A step as PyTorch's DCGAN tutorial has it: gradients of all weights each time, losses read at once."""

    def learn(logits, target):
        loss = binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
        loss.backward()
        return loss.item()

    gan.discriminator.zero_grad()
    learn(gan.discriminator(images), 0.9)
    fakes = gan.generator(latents)
    learn(gan.discriminator(fakes.detach()), 0.0)
    gan.d_optimizer.step()
    gan.generator.zero_grad()
    learn(gan.discriminator(fakes), 1.0)
    gan.g_optimizer.step()


def profiled(call, times: int = 10) -> dict[str, float]:
    """The shares of the time of `call` by kind of operator, forth and back; of all that is no layer, the rest."""
    with torch.profiler.profile() as profile:
        for _ in range(times):
            call()
    spent = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(spent.values())
    shares = {
        kind: sum(t for name, t in spent.items() if re.search(of, name)) / total for kind, of in OPERATORS.items()
    }
    return shares | {"rest": 1 - sum(shares.values())}


def step(quick: bool = False):
    """A GAN step: ours against the plain loop. ratio: how many times as fast.

    On the CPU also the shares of our time by kind of operator. most: the ratio if nothing but the networks' layers
    were left, which no loop can do without.
    """
    digits = qh.load_mnist(DIGITS, source="sample")
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        sizes = (64, 512) if quick else (16, 32, 64, 128, 256, 512) if device == "cpu" else (64, 512, 2048)
        for batch_size in sizes:
            images = digits.images.repeat(2, 1, 1, 1)[:batch_size].to(device)
            latents = torch.randn(batch_size, 8, device=device)
            plain, gan = plain_gan(device), qh.QAAN(qh.UniformPrior(8), device)
            finish = torch.cuda.synchronize if device == "cuda" else lambda: None

            def by_hand(plain=plain, images=images, latents=latents, finish=finish):
                plain_step(plain, images, latents)
                finish()

            def ours(gan=gan, images=images, latents=latents, finish=finish):
                gan.step(images, latents)
                finish()

            told = side_by_side({"plain": by_hand, "ours": ours}, 3 if quick else 6000 // batch_size + 20, "steps")
            row = {"device": device, "batch": batch_size, "threads": torch.get_num_threads()} | row_of(told)
            if device == "cpu":
                row |= (shares := profiled(ours))
                row["most"] = row["ratio"] / (1 - shares["rest"])
            yield row


def epoch(quick: bool = False):
    """An epoch at the defaults with the circuit, against the same epoch with a uniform prior. times: as long."""
    digits = qh.load_mnist(DIGITS, source="sample" if quick else "auto")
    gans = {"uniform": qh.QAAN(qh.UniformPrior(8)), "circuit": qh.QAAN(qh.QCBMPrior(8))}
    loops = {name: qh.train(gan, digits, epochs=99) for name, gan in gans.items()}
    next(loops["circuit"])  # the warm-up
    first = next(loops["circuit"])  # with the first fit, which is ten times as long as later ones
    told = side_by_side({name: partial(next, loop) for name, loop in loops.items()}, 2 if quick else 3, "epochs")
    row = {"data": f"{len(digits):,} images from {digits.source}", "device": str(gans["circuit"].device)}
    row |= row_of(told)
    later = [report.prior_seconds for report in gans["circuit"].history[2:]]
    row |= {"first_fit_ms": 1000 * first.prior_seconds, "later_fit_ms": 1000 * sum(later) / len(later)}
    yield row | {"times": 1 / row.pop("ratio")}


def quality(quick: bool = False):
    """Seconds of training from the bundled sample until the digits have a set quality, with each prior."""
    digits = qh.load_mnist(DIGITS, source="sample")
    test = qh.load_mnist(DIGITS, "test", source="sample")
    for name, prior in {"uniform": qh.UniformPrior(8), "circuit": qh.QCBMPrior(8)}.items():
        gan, seconds, started = qh.QAAN(prior), 0.0, time.perf_counter()
        for _ in qh.train(gan, digits, epochs=2 if quick else 60):
            seconds += time.perf_counter() - started
            images = gan.sample(500)
            coverage = qh.class_coverage(images)
            distance, wanted = qh.frechet_distance(images, test.images), sum(coverage[digit] for digit in DIGITS)
            if distance <= QUALITY["frechet_distance"] and wanted >= QUALITY["wanted_fraction"]:
                break
            started = time.perf_counter()
        row = {"prior": name, "seconds": seconds, "epochs": gan.epoch, "frechet": distance, "wanted": wanted}
        yield row | {"reached": distance <= QUALITY["frechet_distance"] and wanted >= QUALITY["wanted_fraction"]}


BENCHMARKS = {f.__name__: f for f in (step, epoch, quality)}
