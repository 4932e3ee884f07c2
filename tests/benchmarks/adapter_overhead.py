"""What `Primitive` adds to a sampler called by hand: `python tests/benchmarks/adapter_overhead.py --out figures.json`.

One row of angles of a circuit of eight qubits in two layers, 2,000 shots: the adapter's frequencies at the states that
occur in some bits, against the counts of all states by hand. Both run in turns, each first in every other round, so
that a busy machine slows both. Printed are the medians in milliseconds, the median of the rounds' ratios, and what the
adapter adds. The devices are ideal: noise takes many times as long, and would hide the adapter. Takes a minute.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
from qiskit.primitives import BackendSamplerV2, StatevectorSampler
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer.primitives import SamplerV2
from qiskit_ibm_runtime import Sampler as RuntimeSampler

import qaan_helpers as qh
from qaan_helpers.quantum.losses import empirical_distribution

QUBITS, LAYERS, SHOTS = 8, 2, 2000
TARGET = 1.10  # the ratio that the adapter is to keep


def ideal():
    """A device without noise whose qubits are all wired to each other."""
    return GenericBackendV2(QUBITS, noise_info=False, seed=0)


SAMPLERS = {
    "Aer's SamplerV2": SamplerV2,
    "StatevectorSampler": lambda: StatevectorSampler(seed=np.random.default_rng(0)),
    "BackendSamplerV2": lambda: BackendSamplerV2(backend=ideal()),
    "IBM's Sampler, local mode": lambda: RuntimeSampler(mode=ideal()),
}


def both_ways(sampler):
    """Two functions of one row of angles (P,), through the adapter and by hand, that run the very same circuit."""
    circuit = qh.qcbm_ansatz(QUBITS, LAYERS)
    runner = qh.Primitive(sampler, SHOTS).prepare(circuit, list(circuit.parameters))
    draw = np.random.default_rng(0)
    states, _ = empirical_distribution(draw.random((1000, QUBITS)) < np.linspace(0.1, 0.6, QUBITS))

    def adapter(row):
        return runner.probabilities(row[None], draw, states)

    def by_hand(row):
        return sampler.run([(runner.circuit, row)], shots=SHOTS).result()[0].data.meas.get_int_counts()

    return adapter, by_hand, circuit.num_parameters


def measure(sampler, rounds):
    """Seconds of each round, the adapter's and by hand: (rounds, 2)."""
    adapter, by_hand, n_angles = both_ways(sampler)
    rows = np.random.default_rng(1).normal(0, 0.2, (rounds + 3, n_angles))
    seconds = np.empty((len(rows), 2))
    for turn, row in enumerate(rows):
        for way, call in ((0, adapter), (1, by_hand))[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            call(row)
            seconds[turn, way] = time.perf_counter() - started
    return seconds[3:]  # the first rounds load and warm up


def main():
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=150, help="calls each way (150)")
    parser.add_argument("--out", type=Path, help="a JSON file to write the figures to")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # of fake devices without qubit properties, and of names to come

    print(f"{QUBITS} qubits, {LAYERS} layers, {SHOTS:,} shots, {chosen.rounds} calls each way")
    print(f"{'':28}{'adapter':>10}{'by hand':>10}{'ratio':>8}{'adds':>9}")
    figures = {}
    for name, make in SAMPLERS.items():
        seconds = measure(make(), chosen.rounds)
        adapter, by_hand = 1000 * np.median(seconds, axis=0)
        ratio = statistics.median(seconds[:, 0] / seconds[:, 1])
        figures[name] = {"adapter_ms": adapter, "by_hand_ms": by_hand, "ratio": ratio, "target": TARGET}
        over = "" if ratio <= TARGET else f"   over {TARGET:.2f}"
        print(f"{name:28}{adapter:7.2f} ms{by_hand:7.2f} ms{ratio:8.3f}{adapter - by_hand:6.2f} ms{over}", flush=True)
    if chosen.out:
        packages = {name: version(name) for name in ("qiskit", "qiskit-aer", "qiskit-ibm-runtime", "numpy")}
        setting = {"qubits": QUBITS, "layers": LAYERS, "shots": SHOTS, "rounds": chosen.rounds}
        told = {"setting": setting, "packages": packages, "python": sys.version.split()[0], "samplers": figures}
        chosen.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
