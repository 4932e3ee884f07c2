"""Fit one circuit with several optimizers and budgets: `python optimizers.py` adds the missing rows to optimizers.csv.

The bits are those of notebook 04, of all 2,100 bundled digits 3, 7 and 9. Each circuit is fitted to one half of the
rows and scored on the other half, from ten starts. Every optimizer runs separately for every budget, because SPSA's
step sizes depend on it. It takes about fifteen minutes on two cores; the fits run one at a time, so that their
durations compare.
"""

import csv
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import torch
from rows import append

import qaan_helpers as qh
from qaan_helpers.quantum.execution import Exact

ROWS = Path(__file__).with_name("optimizers.csv")
STARTS = range(10)


class ShiftOnly:
    """Exact probabilities without reverse mode: gradients come from the parameter-shift rule, as on hardware."""

    shots = None
    prepare = Exact().prepare


BUDGETS = {  # evaluations of the cost
    "COBYLA": (200, 500, 1500, 3000),
    "SPSA": (200, 500, 1500, 6000),
    "Adam, parameter shift": (1, 3, 8, 34, 150),
    "Adam, reverse mode": (20, 60, 200, 600, 2000),
    "COBYLA, then Adam": (233,),  # the default of QCBMPrior
}
OPTIMIZERS = {
    "COBYLA": qh.Cobyla(),
    "SPSA": qh.Spsa(),
    "Adam, parameter shift": qh.Adam(),
    "Adam, reverse mode": qh.Adam(),
    "COBYLA, then Adam": qh.Cobyla(gradient_steps=45),
}
PLAN = [
    *((2, name, budget, start) for name, budgets in BUDGETS.items() for budget in budgets for start in STARTS),
    *product((4, 6), ("Adam, reverse mode",), (200, 600, 2000), STARTS),
]


def window_bits() -> tuple[np.ndarray, np.ndarray]:
    """Return the bits of notebook 04, split into rows to fit and held-out rows, shape (1050, 8) each."""
    parts = [qh.load_mnist((3, 7, 9), split=split, source="sample").images for split in ("train", "test")]
    images = torch.cat(parts)[torch.randperm(2100, generator=torch.Generator().manual_seed(0))]
    windows = [images[:, 0, top : top + 4, 8:13].mean((1, 2)) for top in range(6, 22, 2)]
    ink = torch.stack(windows, dim=1).numpy()
    bits = (ink > np.median(ink[:1050], axis=0)).astype(np.uint8)
    return bits[:1050], bits[1050:]


def measure(bits: np.ndarray, held_out: np.ndarray, layers: int, name: str, budget: int, start: int) -> dict:
    """Fit once and return the row."""
    execution = ShiftOnly() if name == "Adam, parameter shift" else qh.Exact()
    qcbm = qh.QCBM(qh.qcbm_ansatz(8, layers), execution, seed=start)
    result = qcbm.fit(bits, OPTIMIZERS[name], budget)
    p = qcbm.probabilities()
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "layers": layers,
        "optimizer": name,
        "budget": budget,
        "start": start,
        "evaluations": result.n_evaluations,
        "circuits": result.n_circuits,
        "seconds": round(result.seconds, 3),
        "kl_fitted": round(result.best_cost - qh.entropy(bits), 4),
        "kl_held_out": round(qh.kl_divergence(held_out, p), 4),
        "kl_uniform": round(qh.kl_divergence(held_out, np.full(256, 1 / 256)), 4),
        "sampling_bias": round(qh.kl_sampling_bias(p, len(held_out)), 4),
        "version": qh.__version__,
        "revision": revision.stdout.strip(),
    }


def main() -> None:
    """Run what is missing, and write each row as soon as it is there."""
    torch.set_num_threads(1)
    done = set()
    if ROWS.exists():
        with ROWS.open() as file:
            done = {(int(r["layers"]), r["optimizer"], int(r["budget"]), int(r["start"])) for r in csv.DictReader(file)}
    bits, held_out = window_bits()
    for plan in [plan for plan in PLAN if plan not in done]:
        append(ROWS, [measure(bits, held_out, *plan)])


if __name__ == "__main__":
    main()
