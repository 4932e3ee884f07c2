"""How much do fits learn within training? `python fits_in_the_loop.py` adds the missing rows to fits_in_the_loop.csv.

Two kinds of fits are compared at the defaults of notebook 05: COBYLA alone, and COBYLA followed by steps of Adam, the
default. A row is an epoch of a training. The fraction that a fit captures is 1 − (prior_cost − bits_entropy) /
bits_correlation. The full data set is searched in the folder that QAAN_DATA names. It takes about ten minutes on two
cores; run nothing else meanwhile, because the rows include durations.
"""

import csv
import subprocess
from itertools import product
from pathlib import Path

from rows import append

import qaan_helpers as qh

ROWS = Path(__file__).with_name("fits_in_the_loop.csv")
FITS = {"COBYLA": "cobyla", "COBYLA, then Adam": None}
PLAN = [  # source, digits, epochs, seed, fits
    *product(("sample",), ("379",), (20,), range(3), FITS),
    *product(("full",), ("048",), (5,), range(2), FITS),
]


def measure(source: str, digits: str, epochs: int, seed: int, fits: str) -> list[dict]:
    """Train once and return a row for each epoch."""
    data = qh.load_mnist([int(digit) for digit in digits], source=source)
    gan = qh.QAAN(qh.QCBMPrior(8, optimizer=FITS[fits], seed=seed), seed=seed)
    for _ in qh.train(gan, data, epochs=epochs):
        pass
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return [
        {"source": source, "digits": digits, "fits": fits, "seed": seed, "epoch": report.epoch}
        | {name: round(getattr(report, name), 4) for name in ("prior_cost", "bits_entropy", "bits_correlation")}
        | {name: round(getattr(report, name), 3) for name in ("seconds", "prior_seconds")}
        | {"version": qh.__version__, "revision": revision}
        for report in gan.history
    ]


def main() -> None:
    """Run what is missing, and write the rows of a training as soon as it ends."""
    done = set()
    if ROWS.exists():
        with ROWS.open() as file:
            done = {(row["source"], row["digits"], int(row["seed"]), row["fits"]) for row in csv.DictReader(file)}
    for source, digits, epochs, seed, fits in PLAN:
        if (source, digits, seed, fits) in done:
            continue
        append(ROWS, measure(source, digits, epochs, seed, fits))


if __name__ == "__main__":
    main()
