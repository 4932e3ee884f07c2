"""Tests, and the notebooks run beside them, see the bundled digits only, and leave the cores to each other."""

import os
import tempfile

import pytest

_NO_MNIST = tempfile.TemporaryDirectory(prefix="qaan-no-mnist-")  # goes when the interpreter does
os.environ["QAAN_DATA"] = _NO_MNIST.name
# Notebooks run two at a time, with a thread for every core: a thread that waits must not keep a core from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# nbval reads a cell's messages after its end, and ZeroMQ drops what a slow machine's bars would queue meanwhile.
os.environ.setdefault("TQDM_MININTERVAL", "5")


def pytest_collection_modifyitems(items):
    """A busy machine may take longer than nbval's 5 s from a cell's end to its last message."""
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = 60


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """These networks are too small to share; where something else runs too, threads that wait for each other crawl."""
    import torch

    torch.set_num_threads(1)
