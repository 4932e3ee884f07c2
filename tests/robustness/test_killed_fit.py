"""A fit on a device whose process is killed: another process takes the finished jobs from the log and goes on."""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from qiskit.primitives import StatevectorSampler

import qaan_helpers as qh

pytestmark = pytest.mark.integration

BITS = np.array([[1, 0]] * 9 + [[0, 1]])
EVALUATIONS = 15


class FileService:
    """A stand-in for a service. Its jobs are files, so they outlive the process that submitted them.

    Args:
        folder: The folder of the jobs.
        pause: The seconds that a job takes.
    """

    def __init__(self, folder, pause=0.0):
        self._folder, self._pause = Path(folder), pause

    def run(self, pubs, shots):
        ((circuit, angles),) = pubs
        job_id = f"job-{len(list(self._folder.iterdir())):03d}"
        request = {"angles": angles.tolist(), "shots": shots}
        (self._folder / job_id).write_text(json.dumps(request))
        return FileJob(job_id, circuit, request, self._pause)

    def job(self, job_id, circuit):
        return FileJob(job_id, circuit, json.loads((self._folder / job_id).read_text()), 0)


class FileJob:
    def __init__(self, job_id, circuit, request, pause):
        self._job_id, self._circuit, self._request, self._pause = job_id, circuit, request, pause

    def job_id(self):
        return self._job_id

    def result(self):
        time.sleep(self._pause)
        angles = np.array(self._request["angles"])
        sampler = StatevectorSampler(seed=zlib.crc32(angles.tobytes()))  # the same shots each time it is retrieved
        return sampler.run([(self._circuit, angles)], shots=self._request["shots"]).result()

    def cancel(self):
        pass


def fit(folder, pause=0.0):
    """Fit from a fixed seed, with jobs and log in a folder, and return the result."""
    folder, circuit = Path(folder), qh.qcbm_ansatz(2, 1)
    service = FileService(folder / "jobs", pause)
    how = qh.Primitive(
        service,
        100,
        job_log=folder / "jobs.jsonl",
        retrieve=lambda job_id: service.job(job_id, circuit.measure_all(inplace=False)),
    )
    return qh.QCBM(circuit, how, seed=0).fit(BITS, "spsa", EVALUATIONS)


def start(folder, pause):
    """Start a process that fits, and return it."""
    (folder / "jobs").mkdir(parents=True)
    paths = os.pathsep.join([str(Path(qh.__file__).parents[1]), str(Path(__file__).parent)])
    code = f"import test_killed_fit; test_killed_fit.fit({str(folder)!r}, {pause})"
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths})


def n_jobs(folder):
    return len(list((folder / "jobs").iterdir()))


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def test_a_fit_that_was_killed_goes_on_where_it_was(tmp_path):
    log = tmp_path / "killed" / "jobs.jsonl"
    process = start(tmp_path / "killed", pause=0.2)
    wait_for(lambda: log.exists() and log.read_bytes().count(b"\n") >= 5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    submitted = n_jobs(tmp_path / "killed")
    assert 5 <= submitted < EVALUATIONS
    assert submitted - log.read_bytes().count(b"\n") <= 1  # at most the job that was being submitted is not listed

    result = fit(tmp_path / "killed")
    assert result.n_evaluations == EVALUATIONS
    assert n_jobs(tmp_path / "killed") <= EVALUATIONS + 1
    (tmp_path / "whole" / "jobs").mkdir(parents=True)
    np.testing.assert_array_equal(fit(tmp_path / "whole").costs, result.costs)
    assert n_jobs(tmp_path / "whole") == EVALUATIONS
