"""What it costs, how it grows, how far from the machine's limit: `make bench`, or `python tests/benchmarks/bench.py`.

Each benchmark times our way and its baselines in turns in one run and prints medians and ratios; nothing here passes or
fails. Named benchmarks only: `bench.py evaluation gradient`. --out keeps all rows as JSON. Takes about ten minutes.
"""

import argparse
import json
import os
import platform
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import growth
import levers
import networks
import quantum

BENCHMARKS = {**quantum.BENCHMARKS, **networks.BENCHMARKS, **growth.BENCHMARKS, **levers.BENCHMARKS}
SHOTS = {"exact": "exact probabilities", 2000: "2,000 shots drawn from them"}
PACKAGES = ("torch", "qiskit", "qiskit-aer", "scipy", "numpy", "qulacs", "pennylane-lightning")


def machine() -> dict:
    """What the figures were measured on: processor, cores, versions, device, and the revision of the code."""
    import torch

    from qaan_helpers.evaluation import sweep

    told = {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    told |= {name: installed(name) for name in PACKAGES}
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return told | {"cuda": cuda, "revision": sweep.revision()}


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def installed(package: str) -> str | None:
    """Its version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def summary(figures: dict) -> str:
    """Summarize the figures in two Markdown tables, as the README has them."""
    return f"{_simulators(figures['rows'])}\n\n{_operations(figures['rows'])}"


def _simulators(rows: dict) -> str:
    """Compare simulators, a row per operation and number of qubits, in milliseconds."""
    table = [("milliseconds", "this package", "Aer", "PennyLane Lightning", "Qulacs"), ("---",) * 5]
    for row in rows["peers"]:
        times = [_number(row[f"{name}_ms"]) for name in ("ours", "bare", "pennylane_lightning", "qulacs")]
        table.append((f"probabilities, {row['qubits']} qubits", *times))
    for row in rows["gradient"]:
        ours, lightning, qulacs = (_number(row[f"{name}_ms"]) for name in ("ours", "pennylane_lightning", "qulacs"))
        shift = f"{_number(row['shift_ms'])} (parameter shift)" if "shift_ms" in row else "–"
        operation = f"cost and gradient, {row['qubits']} qubits, {row['angles']} angles"
        table.append((operation, ours, shift, lightning, qulacs))
    return _markdown(table)


def _operations(rows: dict) -> str:
    """List the other operations, each with its reference."""
    points = {row["shots"]: row for row in rows["evaluation"] if row["qubits"] == 10}
    step = next(row for row in rows["step"] if row["device"] == "cpu" and row["batch"] == 64)
    (epoch,), law = rows["epoch"], rows["qubits"][-1]
    table = [
        ("operation", "time", "reference, and its factor"),
        ("---", "---", "---"),
        *(_point(points[shots], f"cost at one point, 10 qubits, {how}") for shots, how in SHOTS.items()),
        ("training step of both networks, batch size 64", _ms(step["ours_ms"]), f"plain loop: {step['ratio']:.2f}"),
        (
            f"epoch with a fitted circuit, {epoch['data']}",
            f"{epoch['circuit_ms'] / 1000:.1f} s",
            f"epoch with a uniform prior, which needs no fit: {epoch['uniform_ms'] / epoch['circuit_ms']:.2f}",
        ),
        ("first fit with COBYLA and Adam", _ms(epoch["first_fit_ms"]), ""),
        ("later fit with COBYLA and Adam", _ms(epoch["later_fit_ms"]), ""),
        (
            f"time for one more qubit, from {law['from']} on (fit to four sizes)",
            f"× {2 ** law['slope']:.1f}",
            "",
        ),
    ]
    return _markdown(table)


def _markdown(table: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def _point(row: dict, name: str) -> tuple[str, str, str]:
    bare, naive = row["bare_ms"] / row["ours_ms"], row["ratio"]
    reference = f"Aer's `run`: {bare:.1f}; `run` plus building and transpiling the circuit: {naive:.0f}"
    return name, _ms(row["ours_ms"]), reference


def _ms(milliseconds: float) -> str:
    return f"{_number(milliseconds)} ms"


def _number(milliseconds: float) -> str:
    return f"{milliseconds:.1f}" if milliseconds < 10 else f"{milliseconds:.0f}"


def main() -> None:
    """Run what was asked for, print it, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)} (all)")
    parser.add_argument("--out", type=Path, help="a JSON file to write the rows to")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it runs")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    warnings.simplefilter("ignore")  # of short trainings, and of names to come in the peers
    figures = {"machine": machine(), "rows": {}}
    print(", ".join(f"{name} {value}" for name, value in figures["machine"].items() if value))
    for name in chosen.names or BENCHMARKS:
        print(f"\n{name}: {BENCHMARKS[name].__doc__.splitlines()[0]}", flush=True)
        figures["rows"][name] = []
        for row in BENCHMARKS[name](quick=chosen.quick):
            figures["rows"][name].append(row)
            print("  " + "  ".join(f"{key} {shown(value)}" for key, value in row.items()), flush=True)
        if chosen.out:
            chosen.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def shown(value) -> str:
    """A figure with three digits."""
    return f"{value:,.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
