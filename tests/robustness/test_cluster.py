"""Sweeps on a cluster of other processes: a worker, the client or the scheduler ends, and what each of them costs."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from distributed import Client

import qaan_helpers as qh
from qaan_helpers.__main__ import main
from qaan_helpers.evaluation import cluster, sweep

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]

PLAN = """
source = "sample"
seeds = [0, 1]
digits = [3, 7]
epochs = 6
batch_size = 100
n_images = 60

[arms.product]
prior = { kind = "product", latent_dim = 3 }
settings = { warm_up = 0 }
"""


def written(folder, text=PLAN):
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def results_in(out):
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


def scores(result):
    """All scores without the seconds."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in result["scores"]]


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class Machines:
    """A scheduler and its workers in processes of their own, as on a real cluster.

    `options` are further options of both, such as those of TLS.
    """

    def __init__(self, folder, *options):
        self.file, self.options = folder / "scheduler.json", options
        self.processes = []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        wait_until(self.file.exists)
        self.address = json.loads(self.file.read_text())["address"]

    def _start(self, kind, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", str(self.file)]
        command += [*self.options, *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        self.processes.append(process)
        return process

    def add_worker(self):
        """Start a worker without a nanny, which nothing starts again."""
        return self._start("worker", "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", "--no-dashboard")

    def stop(self):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture
def machines(tmp_path):
    found = Machines(tmp_path)
    yield found
    found.stop()


def sweeping(machines, plan, out, *options):
    """A client in a process of its own."""
    command = [sys.executable, "-m", "qaan_helpers", "sweep", str(plan), "--out", str(out)]
    command += ["--scheduler", machines.address, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def times_started(machines, names):
    """How often each run was given to a worker."""

    def count(dask_scheduler):
        log = [entry[:3] for entry in dask_scheduler.transition_log]
        return {name: sum(key == name and end == "processing" for key, _, end in log) for name in names}

    with Client(machines.address) as client:
        return client.run_on_scheduler(count)


def test_a_run_goes_on_from_its_checkpoint_when_its_worker_is_killed(tmp_path, machines):
    """The second worker does the epochs after the checkpoint only, and the result is that of a run without any kill."""
    plan, out = written(tmp_path, PLAN.replace("[0, 1]", "[0]").replace("epochs = 6", "epochs = 40")), tmp_path / "out"
    (name,), (run,) = zip(*sweep.read_plan(plan).items(), strict=True)
    first = machines.add_worker()
    client = sweeping(machines, plan, out, "--checkpoint-every", "2")
    progress = out / "checkpoints" / name / "progress.json"
    wait_until(lambda: progress.exists() and json.loads(progress.read_text())["epoch"] >= 4)
    first.send_signal(signal.SIGKILL)
    first.wait()
    reached = json.loads(progress.read_text())["epoch"]
    machines.add_worker()
    assert client.wait(300) == 0, client.stdout.read()
    assert 4 <= reached < 40
    (result,) = results_in(out).values()
    assert scores(result) == scores(sweep.run_one(run))
    assert not progress.parent.exists()  # a finished run needs no checkpoints


def test_a_checkpoint_is_where_training_starts_again(tmp_path, monkeypatch):
    plan = written(tmp_path, PLAN.replace("[0, 1]", "[0]") + "\n[priors.uniform]\nkind = 'uniform'\nlatent_dim = 3\n")
    (run,) = sweep.read_plan(plan).values()
    checkpoints = sweep.Checkpoints(tmp_path / "checkpoints", 2)
    whole = sweep.run_one(run)
    trained = []
    original = sweep.train

    def stopped_in_epoch_5(gan, *rest):
        for report in original(gan, *rest):
            trained.append(report.epoch)
            yield report
            if trained == [1, 2, 3, 4, 5]:
                raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "train", stopped_in_epoch_5)
    with pytest.raises(KeyboardInterrupt):
        sweep.run_one(run, checkpoints=checkpoints)
    again = sweep.run_one(run, checkpoints=checkpoints)
    assert trained == [1, 2, 3, 4, 5, 5, 6]
    assert scores(again) == scores(whole)


@pytest.mark.parametrize("damage", ["progress.json", "epoch_000004.safetensors"])
def test_a_damaged_checkpoint_means_a_new_start(tmp_path, damage):
    (run,) = sweep.read_plan(
        written(tmp_path, PLAN.replace("[0, 1]", "[0]").replace("epochs = 6", "epochs = 4"))
    ).values()
    checkpoints = sweep.Checkpoints(tmp_path, 2)
    result = sweep.run_one(run, checkpoints=checkpoints)
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert checkpoints.read(run) is not None
    (folder / damage).write_bytes(b"{")
    assert checkpoints.read(run) is None
    assert scores(sweep.run_one(run, checkpoints=checkpoints)) == scores(result)


def test_runs_go_on_without_their_client_and_the_next_one_collects_them(tmp_path, machines):
    plan, out = written(tmp_path, PLAN.replace("epochs = 6", "epochs = 15")), tmp_path / "out"
    names = list(sweep.read_plan(plan))
    machines.add_worker()
    client = sweeping(machines, plan, out)
    wait_until(lambda: sum(times_started(machines, names).values()) >= 1)
    client.send_signal(signal.SIGKILL)
    client.wait()
    assert not results_in(out)
    again = sweeping(machines, plan, out)
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert "2 of them are on the cluster already" in output
    assert results_in(out).keys() == set(names)
    assert times_started(machines, names) == dict.fromkeys(names, 1)
    with Client(machines.address) as watching:
        assert not watching.list_datasets()  # nothing is left behind


def test_when_the_scheduler_ends_what_is_finished_stays_and_the_message_says_what_to_do(tmp_path, machines):
    plan, out = written(tmp_path, PLAN.replace("epochs = 6", "epochs = 15")), tmp_path / "out"
    machines.add_worker()
    client = sweeping(machines, plan, out)
    wait_until(lambda: results_in(out))
    machines.stop()
    output, _ = client.communicate(timeout=300)
    assert client.returncode == 2, output
    assert "the connection to the scheduler has ended; 1 of 2 runs are saved in" in output
    assert "Run the same command again for the rest" in output
    finished = results_in(out)
    assert len(finished) == 1
    sweep.run_plan(plan, out, workers=1)
    assert {name: results_in(out)[name] for name in finished} == finished and len(results_in(out)) == 2


def test_an_address_where_nobody_answers_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        code = main(["sweep", str(written(tmp_path)), "--out", str(tmp_path), "--scheduler", "tcp://127.0.0.1:9"])
    assert code == 2
    message = capsys.readouterr().err
    assert "no scheduler answers at tcp://127.0.0.1:9" in message and "dask scheduler" in message


@pytest.fixture
def tls(tmp_path):
    """The files of a certificate for everybody: authority, certificate and key."""
    from distributed.security import Security

    made = Security.temporary()
    texts = {"ca": made.tls_ca_file, "cert": made.tls_scheduler_cert, "key": made.tls_scheduler_key}
    for name, text in texts.items():
        (tmp_path / f"{name}.pem").write_text(text)
    return [part for name in texts for part in (f"--tls-{name}", str(tmp_path / f"{name}.pem"))]


def test_a_client_with_the_right_certificate_is_served_by_a_scheduler_with_tls(tmp_path, tls):
    options = [{"--tls-ca": "--tls-ca-file"}.get(part, part) for part in tls]  # as Dask calls it
    machines = Machines(tmp_path, "--protocol", "tls", *options)
    try:
        assert machines.address.startswith("tls://")
        plan, out = (
            written(tmp_path, PLAN.replace("[0, 1]", "[0]").replace("epochs = 6", "epochs = 1")),
            tmp_path / "out",
        )
        stranger = sweeping(machines, plan, out)
        output, _ = stranger.communicate(timeout=300)
        assert stranger.returncode == 2 and "expects a certificate" in output and "--tls-ca" in output, output
        machines.add_worker()
        client = sweeping(machines, plan, out, *tls)
        output, _ = client.communicate(timeout=300)
        assert client.returncode == 0, output
        assert len(results_in(out)) == 1
    finally:
        machines.stop()


def test_tls_files_belong_together(tmp_path, capsys):
    assert main(["sweep", str(written(tmp_path)), "--out", str(tmp_path), "--tls-ca", "ca.pem"]) == 2
    assert "--tls-ca, --tls-cert and --tls-key belong together" in capsys.readouterr().err


@pytest.mark.parametrize("digits", [(3, 7), tuple(range(10))])
def test_images_arrive_as_they_were_sent(digits):
    sent = qh.load_mnist(digits, "train", "sample")
    arrived = sweep._unpack(*sweep._pack(sent))
    assert torch.equal(arrived.images, sent.images) and torch.equal(arrived.labels, sent.labels)
    assert repr(arrived) == repr(sent)


def test_a_cluster_object_or_a_client_can_take_the_place_of_an_address(tmp_path):
    """dask-jobqueue's clusters are such objects."""
    from distributed import LocalCluster

    plan = written(tmp_path, PLAN.replace("epochs = 6", "epochs = 1"))
    local = LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    with local, contextlib.redirect_stdout(io.StringIO()):
        first = sweep.run_plan(plan, tmp_path / "a", scheduler=local)
        with Client(local) as client:
            second = sweep.run_plan(plan, tmp_path / "b", scheduler=client)
            assert client.status == "running"  # it belongs to the caller
    assert [scores(result) for result in first] == [scores(result) for result in second]


def test_the_version_check_compares_every_package():
    assert set(cluster.versions()) == {"Python", *cluster.PACKAGES}
    cluster.check_versions(cluster.versions())


# Slurm's commands, as far as dask-jobqueue uses them: they run a job on this machine.
SLURM = {
    "sbatch": """#!/bin/sh
cp "$1" "{folder}/job.$$"
sh "$1" > /dev/null 2>&1 &
echo "Submitted batch job $!"
""",
    "scancel": """#!/bin/sh
kill "$1"
""",
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    for name, text in SLURM.items():
        (tmp_path / name).write_text(text.replace("{folder}", str(tmp_path)))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_the_recipe_for_slurm_runs_a_sweep(tmp_path, slurm):
    page = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    (tmp_path / "recipe.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    written(tmp_path, PLAN.replace("epochs = 6", "epochs = 1"))
    done = subprocess.run(
        [sys.executable, "recipe.py"], cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(results_in(tmp_path / "results")) == 2
    jobs = [path.read_text() for path in tmp_path.glob("job.*")]
    assert jobs
    for job in jobs:
        assert "#SBATCH -p cpu" in job and "#SBATCH -t 01:00:00" in job and "export OMP_NUM_THREADS=1" in job
        assert "tls://" in job and "--lifetime 52m --lifetime-stagger 3m" in job
