"""Tests, and the notebooks run beside them, see the bundled digits only, and leave the cores to each other."""

import os
import tempfile

import pytest

_NO_MNIST = tempfile.TemporaryDirectory(prefix="qaan-no-mnist-")  # goes when the interpreter does
os.environ["QAAN_DATA"] = _NO_MNIST.name
# Notebooks run two at a time, with a thread for every core: a thread that waits must not keep a core from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """These networks are too small to share; where something else runs too, threads that wait for each other crawl."""
    import torch

    torch.set_num_threads(1)
