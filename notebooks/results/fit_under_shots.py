"""Fit one circuit from shots: `python fit_under_shots.py` adds the missing rows to fit_under_shots.csv.

Every fit may spend the same number of shots, on many noisy evaluations of the cost or on few precise ones (COBYLA may
converge earlier). It is scored by the exact distribution at the angles that it returned. There are ten starts, and two
targets: bits of the bundled sample in the discriminators of two bundled models. In one, no code is more frequent than
2% ("flat"); in the other, two codes hold a fifth of the images ("peaked"). Notebook 09 shows the results. The script
takes about ten minutes on one core that does nothing else.
"""

import csv
import subprocess
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from rows import append

import qaan_helpers as qh

ROWS = Path(__file__).with_name("fit_under_shots.csv")
TOTAL_SHOTS = 2_000_000
TARGETS = {"flat": "qcbm_379", "peaked": "qcbm_379_sample"}  # bundled models
ONE_SHOT = {"epsilon": "one shot"}  # clips probabilities at the frequency of one shot
WAYS = {  # optimizer, and options of QCBM.fit
    "COBYLA": (qh.Cobyla(), {}),
    "COBYLA, common seed, clipped at one shot": (qh.Cobyla(), ONE_SHOT | {"common_random_numbers": True}),
    "SPSA": (qh.Spsa(), {}),
    "SPSA, clipped at one shot": (qh.Spsa(), ONE_SHOT),
}
PLAN = [  # target, shots, way, seed
    (target, shots, way, seed) for seed, target, shots, way in product(range(10), TARGETS, (500, 2000, 8000), WAYS)
]


@cache
def target_bits(target: str) -> np.ndarray:
    """Return the bits (1800, 8) of a bundled model's discriminator for the bundled images."""
    gan = qh.QAAN.load(qh.bundled(TARGETS[target]), device="cpu")
    return gan.bits(qh.load_mnist((3, 7, 9), source="sample").images)


def measure(target: str, shots: int, way: str, seed: int) -> dict:
    """Fit once and return the row."""
    bits = target_bits(target)
    optimizer, options = WAYS[way]
    options = {key: 1 / shots if value == "one shot" else value for key, value in options.items()}
    qcbm = qh.QCBM(qh.qcbm_ansatz(8), qh.Shots(shots), seed)
    result = qcbm.fit(bits, optimizer, TOTAL_SHOTS // shots, **options)
    exact = qh.QCBM(qh.qcbm_ansatz(8)).probabilities(result.angles)
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "target": target,
        "shots": shots,
        "way": way,
        "seed": seed,
        "evaluations": result.n_evaluations,
        "kl": round(qh.kl_divergence(bits, exact), 4),
        "product_kl": round(qh.total_correlation(bits), 4),
        "seconds": round(result.seconds, 1),
        "version": qh.__version__,
        "revision": revision.stdout.strip(),
    }


def main() -> None:
    """Run what is missing, and write each row as soon as it is there."""
    done = set()
    if ROWS.exists():
        with ROWS.open() as file:
            done = {(r["target"], int(r["shots"]), r["way"], int(r["seed"])) for r in csv.DictReader(file)}
    for fit in PLAN:
        if fit in done:
            continue
        append(ROWS, [measure(*fit)])


if __name__ == "__main__":
    main()
