"""Measure what one changed default does: `python choose_defaults.py` adds rows to defaults.csv and skips those there.

Each row is one training on the bundled 3s, 7s and 9s with one setting changed and the rest at its default, scored by
2,000 drawn digits against the bundled test digits. Notebook 05 prints the table. Takes about an hour on two cores.
"""

import csv
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROWS = Path(__file__).with_name("defaults.csv")
EPOCHS, SEEDS = 45, (0, 1, 2)
VARIANTS = {
    "the defaults": {},
    "learning_rate 2e-4": {"learning_rate": 2e-4},
    "latent_noise 0": {"latent_noise": 0.0},
    "binarisation sign": {"binarisation": "sign"},
    "binarisation bernoulli": {"binarisation": "bernoulli"},
    "warm_up 10": {"warm_up": 10},
    "refresh 5": {"refresh": 5},
    "refit_evaluations 300": {"refit_evaluations": 300},
    "uniform prior": {"prior": "uniform"},
}


def measure(variant: str, seed: int) -> dict:
    """Train once and return the row."""
    import torch

    import qaan_helpers as qh

    torch.set_num_threads(1)
    digits = qh.load_mnist((3, 7, 9), source="sample")
    real = qh.load_mnist((3, 7, 9), split="test", source="sample").images
    settings = dict(VARIANTS[variant])
    if settings.pop("prior", "qcbm") == "uniform":
        prior = qh.UniformPrior(8, seed=seed)
    else:
        prior = qh.QCBMPrior(8, refit_evaluations=settings.pop("refit_evaluations", None), seed=seed)
    gan = qh.QAAN(prior, device="cpu", seed=seed, **settings)
    for _ in qh.train(gan, digits, epochs=EPOCHS):
        pass
    drawn = gan.sample(2000)
    shares = qh.class_coverage(drawn)
    fitted = [report for report in gan.history if report.prior_cost == report.prior_cost]
    prior_seconds, seconds = (sum(getattr(r, name) for r in gan.history) for name in ("prior_seconds", "seconds"))
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "variant": variant,
        "seed": seed,
        "frechet_distance": round(qh.frechet_distance(drawn, real), 3),
        "inception_score": round(qh.inception_score(drawn), 4),
        "rarest_digit": round(min(shares[digit] for digit in (3, 7, 9)), 4),
        "bits_entropy": round(sum(r.bits_entropy for r in fitted) / len(fitted), 4),
        "bits_correlation": round(sum(r.bits_correlation for r in fitted) / len(fitted), 4),
        "above_perfect": round(sum(r.prior_cost - r.bits_entropy for r in fitted) / len(fitted), 4),
        "prior_share_of_time": round(prior_seconds / seconds, 3),
        "version": qh.__version__,
        "revision": revision.stdout.strip(),
    }


def main() -> None:
    """Run what is missing, two trainings at a time, and write each row as soon as it is there."""
    done = set()
    if ROWS.exists():
        with ROWS.open() as file:
            done = {(row["variant"], int(row["seed"])) for row in csv.DictReader(file)}
    missing = [(variant, seed) for seed in SEEDS for variant in VARIANTS if (variant, seed) not in done]
    with ProcessPoolExecutor(2) as pool:
        for row in pool.map(measure, *zip(*missing, strict=True)) if missing else ():
            new = not ROWS.exists()
            with ROWS.open("a", newline="") as file:
                writer = csv.DictWriter(file, row, lineterminator="\n")
                if new:
                    writer.writeheader()
                writer.writerow(row)
            print(row, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
