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
import networks
import quantum

BENCHMARKS = {**quantum.BENCHMARKS, **networks.BENCHMARKS, **growth.BENCHMARKS}
PACKAGES = ("torch", "qiskit", "qiskit-aer", "scipy", "numpy", "qulacs", "pennylane-lightning")


def machine() -> dict:
    """What the figures were measured on: processor, cores, versions, device."""
    import torch

    told = {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    told |= {name: installed(name) for name in PACKAGES}
    return told | {"cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None}


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
