"""Benchmarks of growth: over qubits, layers and rows, with a law fitted to them; importing; memory."""

import subprocess
import sys

import numpy as np
from side_by_side import side_by_side

import qaan_helpers as qh
from qaan_helpers.quantum.losses import empirical_distribution

STEEP = 14  # qubits from which on the amplitudes take nearly all of the time


def point(n_qubits: int, layers: int = 2, rows: int = 2000):
    """A function that evaluates the exact cost at one point, readout included."""
    circuit = qh.qcbm_ansatz(n_qubits, layers)
    runner = qh.Exact().prepare(circuit, list(circuit.parameters))
    rng = np.random.default_rng(0)
    states, frequencies = empirical_distribution(rng.random((rows, n_qubits)) < np.linspace(0.2, 0.6, n_qubits))
    angles = rng.normal(0, 0.2, (1, circuit.num_parameters))
    return lambda: qh.clipped_nll(runner.probabilities(angles, None, states)[0], frequencies)


def qubits(quick: bool = False):
    """An exact evaluation over the number of qubits, and its growth where the amplitudes rule."""
    sizes = (4, 8, 12) if quick else range(4, 21, 2)
    measured = {}
    for n_qubits in sizes:
        told = side_by_side({"ours": point(n_qubits)}, 3 if quick or n_qubits > 16 else 11, f"{n_qubits} qubits")
        measured[n_qubits] = told["ours"]["ms"]
        amplitudes = 16 * 2**n_qubits / 2**20
        yield {"qubits": n_qubits, "ours_ms": measured[n_qubits], "amplitudes_MiB": amplitudes}
    large = {n: ms for n, ms in measured.items() if n >= STEEP}
    if len(large) > 2:
        slope = np.polyfit(list(large), np.log2(list(large.values())), 1)[0]
        yield {"fitted": "each qubit more multiplies the time by 2^slope", "from": STEEP, "slope": float(slope)}


def layers(quick: bool = False):
    """An exact evaluation of eight qubits over layers and over rows of data."""
    for n_layers in (1, 2) if quick else (1, 2, 4, 8):
        told = side_by_side({"ours": point(8, n_layers)}, 3 if quick else 11, "layers")
        yield {"layers": n_layers, "rows": 2000, "ours_ms": told["ours"]["ms"]}
    for rows in (200, 20_000) if quick else (200, 2000, 20_000, 200_000):
        told = side_by_side({"ours": point(8, 2, rows)}, 3 if quick else 11, "rows")
        yield {"layers": 2, "rows": rows, "ours_ms": told["ours"]["ms"]}


IMPORTS = {
    "qaan_helpers": "import qaan_helpers",
    "a circuit": "import qaan_helpers; qaan_helpers.QCBM(qaan_helpers.qcbm_ansatz(8)).probabilities()",
    "networks": "import qaan_helpers; qaan_helpers.Generator(8)",
    "everything": "import qaan_helpers as qh; qh.QAAN(qh.QCBMPrior(8)).sample(4)",
    "two epochs' training": "import qaan_helpers as qh; digits = qh.load_mnist(source='sample'); "
    "list(qh.train(qh.QAAN(qh.QCBMPrior(8)), digits, epochs=2))",
}
TOLD = """
import time; started = time.perf_counter()
{code}
seconds = time.perf_counter() - started
import pathlib, psutil, re
status = pathlib.Path("/proc/self/status")  # not getrusage, which begins with the peak of who started this process
if status.exists():
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) * 1024
else:
    peak = getattr(psutil.Process().memory_info(), "peak_wset", psutil.Process().memory_info().rss)
print(seconds, peak / 2**20)
"""


def imports(quick: bool = False):
    """Seconds until something can be used, or is done, in a fresh Python, and the most memory that it has held."""
    for name, code in IMPORTS.items():
        told = []
        for _ in range(1 if quick else 3):
            command = [sys.executable, "-c", TOLD.format(code=code)]
            printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            told.append([float(word) for word in printed.split()[-2:]])
        seconds, memory = np.median(told, axis=0).tolist()
        yield {"first": name, "seconds": seconds, "memory_MiB": memory}


BENCHMARKS = {f.__name__: f for f in (qubits, layers, imports)}
