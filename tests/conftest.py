"""What all tests and the notebooks that run next to them share.

`make check` sets QAAN_FULL and runs everything. `make test` is shorter: it skips tests marked `slow`, tries fewer
examples, and shortens training runs of notebooks where a cell's metadata says how.
"""

import json
import os
import tempfile
from datetime import datetime
from functools import cache
from pathlib import Path

import pytest

FULL = bool(os.environ.get("QAAN_FULL"))
_NO_MNIST = tempfile.TemporaryDirectory(prefix="qaan-no-mnist-")  # deleted when the interpreter ends
os.environ["QAAN_DATA"] = _NO_MNIST.name  # the bundled digits, whatever the user has downloaded
if "PYTEST_XDIST_WORKER" in os.environ:  # two processes share the cores: further threads would only wait for each other
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# nbval reads a cell's messages after it has ended, and ZeroMQ drops what a slow machine's bars queue until then.
os.environ.setdefault("TQDM_MININTERVAL", "5")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes very long; runs in `make check` only")
    config.addinivalue_line("markers", "integration: trains networks or starts processes; `make quick` skips it")


def pytest_collection_modifyitems(config, items):
    for item in items:
        if hasattr(item, "output_timeout"):  # a notebook's cell: a busy machine may take longer than nbval's 5 s
            item.output_timeout = 60
    if not FULL:
        kept, slow = [], []
        for item in items:
            (slow if item.get_closest_marker("slow") or is_slow_solution(item) else kept).append(item)
            shorten(item)
        config.hook.pytest_deselected(items=slow)
        items[:] = kept
    times = {path: -seconds(path) for path in {item.path for item in items}}
    items.sort(key=lambda item: times[item.path])  # the longest notebooks first, so that none is left at the end


def shorten(item):
    """Apply the replacements that a cell's metadata lists under "quick", such as {"EPOCHS = 40": "EPOCHS = 3"}."""
    for long, short in getattr(item, "cell", {}).get("metadata", {}).get("quick", {}).items():
        assert long in item.cell["source"], f"{item.nodeid}: {long} is not in the cell"
        item.cell["source"] = item.cell["source"].replace(long, short)


def is_slow_solution(item):
    """Tell whether a notebook with solutions took more than 15 seconds in its stored run."""
    return item.path.parent.name == "solutions" and seconds(item.path) > 15


@cache
def seconds(path: Path) -> float:
    """Return how long the stored run of a notebook took; 0 for a file with tests."""
    return sum(map(duration, json.loads(path.read_text())["cells"])) if path.suffix == ".ipynb" else 0.0


def duration(cell) -> float:
    """Return how many seconds a cell took in the stored run."""
    times = cell["metadata"].get("execution", {})
    if not {"iopub.execute_input", "shell.execute_reply"} <= times.keys():
        return 0.0
    start, end = (datetime.fromisoformat(times[key]) for key in ("iopub.execute_input", "shell.execute_reply"))
    return (end - start).total_seconds()


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Use one thread for PyTorch: the networks of the tests are small."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def some_digits():
    """A function that returns some of the bundled training images: some_digits((3, 7), slice(64)) is the first 64."""
    import qaan_helpers as qh

    def some(labels, rows):
        sample = qh.load_mnist(labels, source="sample")
        return qh.Digits(sample.images[rows], sample.labels[rows])

    return some
