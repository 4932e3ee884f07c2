"""Time one sweep with one worker, with two, and with two that use two threads each; write speedup.csv.

Run it while nothing else runs: python notebooks/results/speedup.py
"""

import csv
import statistics
import tempfile
import time
from pathlib import Path

import dask
from distributed import Client

from qaan_helpers.evaluation import sweep

ROUNDS = 2
SETUPS = ((1, 1), (2, 1), (2, 2))  # workers, threads of each
PLAN = """
source = "sample"
digits = [3, 7, 9]
seeds = [0, 1, 2, 3]
epochs = 3
n_images = 300

[arms.circuit]
prior = { kind = "qcbm", n_qubits = 8, max_evaluations = 300 }
"""


def prepare(threads):
    """Import what a run needs, and fix the number of threads that PyTorch uses."""
    import torch

    from qaan_helpers.evaluation import sweep  # noqa: F401

    if threads > 1:
        torch.set_num_threads(threads)
        torch.set_num_threads = lambda _: None  # a run would ask for one


def measure(workers, threads):
    """The seconds until the workers are ready, those of the median run, and those of everything."""
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {f"distributed.nanny.pre-spawn-environ.{name}": threads for name in variables}
    with tempfile.TemporaryDirectory() as folder, dask.config.set(environment):
        plan = Path(folder) / "plan.toml"
        plan.write_text(PLAN)
        started = time.perf_counter()
        with Client(n_workers=workers, threads_per_worker=1, memory_limit=None, dashboard_address=None) as client:
            client.wait_for_workers(workers)
            client.run(prepare, threads)
            ready = time.perf_counter()
            results = sweep.run_plan(plan, folder, scheduler=client)
            ended = time.perf_counter()
    run = statistics.median(result["scores"][-1]["seconds"] for result in results)
    return {"start_up": ready - started, "run": run, "runs": ended - ready, "total": ended - started}


if __name__ == "__main__":  # the workers import this file, too
    rows = []
    for round_ in range(ROUNDS):
        for workers, threads in SETUPS:
            times = {name: round(seconds, 2) for name, seconds in measure(workers, threads).items()}
            rows.append({"round": round_, "workers": workers, "threads": threads, **times})
            print(rows[-1], flush=True)
    with (Path(__file__).parent / "speedup.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
