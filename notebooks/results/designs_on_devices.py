"""Compare two circuits on three backends: `python designs_on_devices.py` adds missing rows to designs_on_devices.csv.

Both designs have about as many angles: RXX on all pairs in two layers, or on a line in four. Each is fitted to the same
bits with Adam on exact probabilities, from ten starts and to the two targets of fit_under_shots.py. The fitted circuit
is then measured with 50,000 shots without noise, with an ion trap's noise, and on a simulated FakeTorino. Notebook 09
shows the results. The script takes about five minutes on one core that does nothing else.
"""

import csv
import subprocess
from functools import cache
from itertools import product
from pathlib import Path

from fit_under_shots import TARGETS, target_bits
from rows import append
from scipy.stats import entropy as kl

import qaan_helpers as qh

ROWS = Path(__file__).with_name("designs_on_devices.csv")
SHOTS = 50_000
DESIGNS = {
    "all pairs, 2 layers": qh.qcbm_ansatz(8, layers=2),
    "line, 4 layers": qh.qcbm_ansatz(8, layers=4, entanglement="linear"),
}
BACKENDS = ("shots", "ion_trap", "FakeTorino")


@cache
def backend(name: str) -> qh.Shots:
    """Return a backend, which is prepared once."""
    return qh.named_execution(name, SHOTS)


def measure(design: str, target: str, seed: int) -> list[dict]:
    """Fit once, measure on every backend, and return the rows."""
    bits, circuit = target_bits(target), DESIGNS[design]
    fitted = qh.QCBM(circuit, seed=seed)
    fitted.fit(bits, qh.Adam(), 80)
    exact = fitted.probabilities()
    fit_kl = qh.kl_divergence(bits, exact)
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    rows = []
    for name in BACKENDS:
        model = qh.QCBM(circuit, backend(name), seed=seed)
        p = model.probabilities(fitted.angles)
        rows.append(
            {
                "target": target,
                "design": design,
                "seed": seed,
                "backend": name,
                "fit_kl": round(fit_kl, 4),  # of the exact distribution to the target
                "kl": round(qh.kl_divergence(bits, p, 1 / SHOTS), 4),
                "noise_kl": round(float(kl(p, exact / exact.sum())), 4),  # of the backend to the exact distribution
                "version": qh.__version__,
                "revision": revision.stdout.strip(),
            }
        )
    return rows


def main() -> None:
    """Run what is missing, and write the rows of each fit as soon as they are there."""
    done = set()
    if ROWS.exists():
        with ROWS.open() as file:
            done = {(r["design"], r["target"], int(r["seed"])) for r in csv.DictReader(file)}
    for seed, target, design in product(range(10), TARGETS, DESIGNS):
        if (design, target, seed) in done:
            continue
        append(ROWS, measure(design, target, seed))


if __name__ == "__main__":
    main()
