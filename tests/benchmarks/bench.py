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


def told(figures: dict) -> str:
    """The figures in a few lines of Markdown, as the README has them."""
    rows = figures["rows"]
    points = {row["shots"]: row for row in rows["evaluation"] if row["qubits"] == 10}
    fits = {row["shots"]: row for row in rows["cobyla"] if row["qubits"] == 10}
    gradient = next(row for row in rows["gradient"] if row["qubits"] == 8)
    small, large = (row for row in rows["step"] if row["device"] == "cpu" and row["batch"] in (64, 512))
    (epoch,), law = rows["epoch"], rows["qubits"][-1]
    seconds = {row["prior"]: row["seconds"] for row in rows["quality"]}
    lines = [
        f"{points[shots]['ours_ms']:.1f} ms for the cost of ten qubits at one point {how}, {points[shots]['ratio']:.0f}"
        f" times as fast as building, transpiling and running anew; {fits[shots]['fit_ms']:.1f} ms in a fit, with SciPy"
        for shots, how in (("exact", "exactly"), (2000, "from 2,000 shots"))
    ]
    lines += [
        f"{gradient['ours_ms']:.0f} ms for a gradient of {gradient['angles']} angles by parameter shift, "
        f"{gradient['ratio']:.0f} times as fast as point by point",
        f"{small['ours_ms']:.0f} ms for a step of both networks at batch {small['batch']}, {large['ours_ms']:.0f} ms at"
        f" {large['batch']}: {small['ratio']:.2f} and {large['ratio']:.2f} times as fast as the plain loop",
        f"{epoch['first_fit_ms'] / 1000:.0f} s for the first fit, {epoch['later_fit_ms'] / 1000:.1f} s for a later one",
        f"an epoch on {epoch['data']} takes {epoch['times']:.2f} times as long with the circuit as with coins; on the"
        f" bundled sample, where epochs are short, {seconds['circuit']:.0f} s with the circuit and"
        f" {seconds['uniform']:.0f} s with coins until digits first pass one mark (one run each)",
        f"from {law['from']} qubits on, each further one multiplies the time by {2 ** law['slope']:.1f}, and the memory"
        " by 2",
    ]
    return "\n".join(f"- {line}" for line in lines)


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
