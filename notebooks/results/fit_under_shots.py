"""Fit one circuit to counts: `python fit_under_shots.py` adds the missing rows to fit_under_shots.csv.

Every row may spend the same number of shots, on many noisy evaluations of the cost or on few precise ones (COBYLA may
stop earlier). It is scored by the exact distribution at the angles that the fit returned. The bits come from a
discriminator after eight epochs on the bundled digits 3, 7 and 9 whose hidden layer learns at the full rate, because
such bits have a larger total correlation. Notebook 09 shows the results. It takes about twenty minutes on two cores.
"""

import csv
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path

import qaan_helpers as qh
from qaan_helpers.quantum.losses import clipped_nll, empirical_distribution

ROWS = Path(__file__).with_name("fit_under_shots.csv")
TOTAL_SHOTS = 2_000_000
COMMON = {"common_random_numbers": True}
ONE_SHOT = {"epsilon": "one shot"}  # clips probabilities at the frequency of one shot
WAYS = {  # optimizer, and options of QCBM.fit
    "COBYLA": (qh.Cobyla(), {}),
    "COBYLA, common shots": (qh.Cobyla(), COMMON),
    "COBYLA, common shots, floor": (qh.Cobyla(), COMMON | ONE_SHOT),
    "SPSA": (qh.Spsa(), {}),
    "SPSA, common shots": (qh.Spsa(), COMMON),
    "SPSA, floor": (qh.Spsa(), ONE_SHOT),
}
RADII = {
    f"{way}, radius {radius}": (qh.Cobyla(trust_radius=radius), WAYS[way][1])
    for way, radius in product(("COBYLA", "COBYLA, common shots"), (0.2, 1.0))
}
PLAN = [  # seed, execution, shots, way
    *product(range(5), ("shots",), (500, 1000, 2000, 4000, 8000), WAYS),
    *product(range(5), ("shots",), (2000,), RADII),
]


@cache
def learned_bits():
    """Bits (1800, 8) of a discriminator that was trained for eight epochs."""
    import torch

    torch.set_num_threads(1)
    digits = qh.load_mnist((3, 7, 9), source="sample")
    gan = qh.QAAN(qh.UniformPrior(8), device="cpu", hidden_lr_factor=1.0)
    for _ in qh.train(gan, digits, epochs=8):
        pass
    return gan.bits(digits.images)


def measure(seed: int, execution: str, shots: int, way: str) -> dict:
    """Fit once and return the row."""
    bits = learned_bits()
    optimizer, options = (WAYS | RADII)[way]
    options = {key: 1 / shots if value == "one shot" else value for key, value in options.items()}
    qcbm = qh.QCBM(qh.qcbm_ansatz(8), qh.named_execution(execution, shots), seed)
    result = qcbm.fit(bits, optimizer, TOTAL_SHOTS // shots, **options)
    states, frequencies = empirical_distribution(bits)
    exact = qh.QCBM(qh.qcbm_ansatz(8)).probabilities(result.angles)
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "execution": execution,
        "shots": shots,
        "way": way,
        "seed": seed,
        "evaluations": result.n_evaluations,
        "kl": round(float(clipped_nll(exact[states], frequencies)) - qh.entropy(bits), 4),
        "correlation": round(qh.total_correlation(bits), 4),
        "seconds": round(result.seconds, 1),
        "version": qh.__version__,
        "revision": revision.stdout.strip(),
    }


def main() -> None:
    """Run what is missing, two fits at a time, and write each row as soon as it is there."""
    done = set()
    if ROWS.exists():
        with ROWS.open() as file:
            done = {(int(r["seed"]), r["execution"], int(r["shots"]), r["way"]) for r in csv.DictReader(file)}
    missing = [row for row in PLAN if row not in done]
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
