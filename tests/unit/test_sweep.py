"""Sweeps: a plan is checked before it starts, runs use worker processes, and results survive kills and damage."""

import contextlib
import csv
import io
import json
import math
import os
import shutil
import signal
import subprocess
import threading
import time
from importlib.metadata import version

import numpy as np
import psutil
import pytest
import torch
from distributed import Client, LocalCluster

import qaan_helpers as qh
from qaan_helpers.__main__ import main
from qaan_helpers.evaluation import comparison, metrics, sweep

pytestmark = pytest.mark.integration

PLAN = """
source = "sample"
seeds = [0, 3]
digits = [3, 7]
epochs = 2
score_at = [1, 2]
batch_size = 300
n_images = 60

[settings]
latent_noise = 0.1

[arms.uniform]
prior = { kind = "uniform", latent_dim = 3 }

[arms."a circuit"]
prior = { kind = "qcbm", n_qubits = 3, layers = 1, entanglement = "none", max_evaluations = 12, refit_evaluations = 10 }
settings = { warm_up = 0 }
"""


def written(folder, text=PLAN):
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def reproducible(result):
    """What a second run repeats exactly: everything except the seconds."""
    scores = [{k: v for k, v in s.items() if "seconds" not in k} for s in result["scores"]]
    return {**result, "scores": scores}


def here(runs, *_):
    """Run everything one after the other in this process, without a cluster."""
    for name, run in runs.items():
        yield name, sweep.run_one(run)


def watch_processes(since, addresses, trims):
    """Add to `addresses` where this process and its new children listen, and to `trims` their memory thresholds.

    Children that had started before `since` belong to other tests, such as Python's tracker of shared resources.
    """
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            if process == me or process.create_time() >= since:
                addresses |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
                trims |= {process.environ().get("MALLOC_TRIM_THRESHOLD_")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep on two workers here: (folder with plan and results, output, what `watch_processes` saw)."""
    folder, output, seen = tmp_path_factory.mktemp("sweep"), io.StringIO(), (set(), set())
    started = time.time()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        write = sweep.storage.write_atomically
        patch.setattr(sweep.storage, "write_atomically", lambda *a: (watch_processes(started, *seen), write(*a)))
        patch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
        assert main(["sweep", str(written(folder)), "--out", str(folder / "out"), "--workers", "2"]) == 0
    return folder, output.getvalue(), seen


@pytest.fixture
def done(swept, tmp_path):
    """A copy of that sweep's plan and results."""
    (tmp_path / "out").mkdir()
    for path in (swept[0] / "out").iterdir():
        (tmp_path / "out" / path.name).write_bytes(path.read_bytes())
    return written(tmp_path), tmp_path / "out"


def results_in(out):
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


# A sweep from end to end


def test_every_run_is_a_file_and_every_score_a_row(swept):
    results = results_in(swept[0] / "out")
    assert results.keys() == sweep.read_plan(swept[0] / "plan.toml").keys()
    assert [name.rsplit(".", 1)[0] for name in sorted(results)] == [
        *("a-circuit.seed0", "a-circuit.seed3", "uniform.seed0", "uniform.seed3")
    ]
    with (swept[0] / "out" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["seed"], row["epoch"], row["steps"]) for row in rows] == [
        (arm, seed, epoch, steps)
        for seed in "03"
        for arm in ("uniform", "a circuit")
        for epoch, steps in (("1", "4"), ("2", "8"))
    ]
    for row in rows:
        assert row["revision"] == (sweep.revision() or "")
        assert json.loads(row["versions"])["torch"] == torch.__version__
        assert json.loads(row["configuration"]) == results[row["result"]]["run"]
        scores = [s for s in results[row["result"]]["scores"] if s["epoch"] == int(row["epoch"])][0]
        assert {k: row[k] for k in scores} == {k: "" if v is None else str(v) for k, v in scores.items()}


def test_results_are_those_of_a_training_by_hand(swept):
    """The scores after the first epoch do not change the second one."""
    (result,) = [r for name, r in results_in(swept[0] / "out").items() if name.startswith("a-circuit.seed3")]
    prior = qh.QCBMPrior(3, 1, entanglement="none", max_evaluations=12, refit_evaluations=10, seed=3)
    gan = qh.QAAN(prior, device="cpu", seed=3, latent_noise=0.1, warm_up=0)
    digits, test = (qh.load_mnist((3, 7), split, "sample") for split in ("train", "test"))
    reports = list(qh.train(gan, digits, 2, 300))
    images, bits = gan.sample(60), gan.bits(test.images)
    last = result["scores"][-1]
    expected = {
        "prior_cost": reports[-1].prior_cost,
        "bits_entropy": reports[-1].bits_entropy,
        "bits_correlation": reports[-1].bits_correlation,
        "inception_score": qh.inception_score(images),
        "frechet_distance": qh.frechet_distance(images, test.images),
        "kernel_distance": qh.kernel_distance(images, test.images),
        "second_frechet_distance": qh.frechet_distance(images, test.images, metrics.small_extractor()),
        "precision": qh.precision_recall(images, test.images[:60])[0],
        "recall": qh.precision_recall(images, test.images[:60])[1],
        "class_balance": qh.class_balance(images, (3, 7)),
        "wanted_fraction": sum(qh.class_coverage(images)[d] for d in (3, 7)),
        "rarest_digit": min(qh.class_coverage(images)[d] for d in (3, 7)),
        "distinct_images": qh.distinct_images(images),
        "nearest_distance": qh.nearest_distance(images, digits.images).mean().item(),
        "held_out_kl": qh.kl_divergence(bits, prior.probabilities()),
        "held_out_kl_bias": qh.kl_sampling_bias(prior.probabilities(), 200),
        "prior_entropy": -sum(p * math.log(p) for p in prior.probabilities()),
        "prior_correlation": 0,  # without entanglement the bits of a circuit are independent
    }
    assert {name: last[name] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert result["n_parameters"] == len(prior.qcbm.angles) == 6
    assert [score["n_circuits"] for score in result["scores"]] == [12, 22]
    assert result["data"] == repr(digits)
    assert result["run"]["settings"] == {"latent_noise": 0.1, "warm_up": 0}
    assert last["seconds"] > last["prior_seconds"] > 0


def test_the_same_run_in_this_process_gives_the_same_scores(swept):
    runs = sweep.read_plan(swept[0] / "plan.toml")
    name = next(iter(runs))
    stored = results_in(swept[0] / "out")[name]
    del stored["sha256"]
    assert reproducible(sweep.run_one(runs[name]))["scores"] == reproducible(stored)["scores"]


COMPARED = """
[priors]
product = { kind = "product", latent_dim = 3 }
"another circuit" = { kind = "qcbm", n_qubits = 3, layers = 1, optimizer = "adam", max_evaluations = 5 }
latents = { kind = "gaussian", latent_dim = 3 }
"""


def test_compared_priors_are_fitted_to_the_same_bits_and_sampled_with_the_same_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "_distribute", here)
    plan = written(tmp_path, PLAN.replace("[0, 3]", "[3]") + COMPARED)
    results = sweep.run_plan(plan, tmp_path / "out")
    uniform, circuit = ([s for s in r["scores"] if "prior" in s] for r in results)
    assert [s["prior"] for s in uniform] == [s["prior"] for s in circuit] == ["product", "another circuit", "latents"]
    (last,) = [s for s in results[1]["scores"] if "prior" not in s and s["epoch"] == 2]
    for of_prior in circuit:
        for same in ("recall_accuracy", "reconstruction_distance", "seconds", "epoch"):
            assert of_prior[same] == last[same]
        assert of_prior["bits_entropy"] == circuit[0]["bits_entropy"]
        assert of_prior["frechet_distance"] != last["frechet_distance"]
    product, another, latents = circuit
    assert product["prior_cost"] == pytest.approx(product["bits_entropy"] + product["bits_correlation"], abs=1e-3)
    assert latents["prior_cost"] is None and latents["held_out_kl"] is None
    assert another["prior_seconds"] > 0 and product["nearest_distance"] is None
    assert [row["n_parameters"] for row in circuit] == [3, 9, 0]

    prior = qh.QCBMPrior(3, 1, entanglement="none", max_evaluations=12, refit_evaluations=10, seed=3)
    gan = qh.QAAN(prior, device="cpu", seed=3, latent_noise=0.1, warm_up=0)
    digits, test = (qh.load_mnist((3, 7), split, "sample") for split in ("train", "test"))
    for _ in qh.train(gan, digits, 2, 300):
        pass
    fitted = qh.ProductPrior(3, seed=3)
    fitted.fit(gan.bits(digits.images))
    assert product["held_out_kl"] == pytest.approx(qh.kl_divergence(gan.bits(test.images), fitted.probabilities()))
    images = gan.with_prior(fitted).sample(60)
    assert product["frechet_distance"] == pytest.approx(qh.frechet_distance(images, test.images), rel=1e-3)

    rows = comparison.read_rows(tmp_path / "out" / "table.csv")
    assert [row["prior"] for row in rows if row["arm"] == "uniform"] == [
        "",
        "",
        "product",
        "another circuit",
        "latents",
    ]
    assert all(bool(row["configuration"]) != bool(row["prior"]) for row in rows)
    alone = [row for row in rows if not row["prior"]]
    assert comparison.last_scores(rows, "frechet_distance") == comparison.last_scores(alone, "frechet_distance")
    assert comparison.baselines(rows) == {"a circuit": "uniform"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('{ kind = "product"', '{ kind = "rainbow"', "priors.product: prior kind must be one of .*; got 'rainbow'"),
        (
            'kind = "product", latent_dim = 3',
            'kind = "product", latent_dim = 4',
            "priors.product must have as many bits as every arm; got 4, and arm 'uniform' has 3",
        ),
        ("layers = 1, opt", "seed = 1, opt", 'priors."another circuit".seed is not a known name'),
        ('product = { kind = "product", latent_dim = 3 }', "product = 3", "priors.product: a prior must be described"),
    ],
)
def test_a_compared_prior_that_cannot_work_is_refused(tmp_path, old, new, message):
    assert old in COMPARED
    with pytest.raises(ValueError, match=message):
        sweep.read_plan(written(tmp_path, PLAN + COMPARED.replace(old, new)))


def test_workers_and_dashboard_listen_on_this_machine_only(swept):
    _, output, (addresses, _) = swept
    assert addresses == {"127.0.0.1"}
    assert "4 runs, 0 of them done already" in output
    assert "Dashboard: http://127.0.0.1:" in output


def test_workers_keep_the_memory_that_each_step_needs_again(swept):
    _, _, (_, trims) = swept
    assert trims == {None}  # Dask sets 64 kB by default


# Finished runs are not repeated


def test_a_second_sweep_repeats_no_run(done, monkeypatch, capsys):
    plan, out = done
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(sweep, "_distribute", lambda *_: pytest.fail("a run was started"))
    results = sweep.run_plan(plan, out)
    assert [(r["run"]["seed"], r["run"]["arm"]) for r in results] == [
        *((0, "uniform"), (0, "a circuit"), (3, "uniform"), (3, "a circuit"))
    ]
    assert "4 runs, 4 of them done already" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_only_what_is_new_in_the_plan_is_run(done, monkeypatch):
    plan, out = done
    plan.write_text(PLAN.replace("[0, 3]", "[0, 1, 3]"))
    started = []
    monkeypatch.setattr(sweep, "_distribute", lambda runs, *_: started.extend(runs) or here({}))
    with pytest.raises(KeyError):  # the replacement returns no result
        sweep.run_plan(plan, out)
    assert [name.split(".")[1] for name in started] == ["seed1", "seed1"]
    for change in (("epochs = 2", "epochs = 3"), ("latent_noise = 0.1", "latent_noise = 0.2"), ("300", "100")):
        assert not set(sweep.read_plan(written(plan.parent, PLAN.replace(*change)))) & set(results_in(out))


def cut(path):
    path.write_bytes(path.read_bytes()[:-400])


def alter(path):
    text = path.read_text()
    assert '"inception_score": 1.' in text
    path.write_text(text.replace('"inception_score": 1.', '"inception_score": 2.', 1))


def empty(path):
    path.write_bytes(b"")


def not_a_result(path):
    path.write_text("[1, 2]")


def of_another_run(path):
    """An intact result of another run."""
    other = next(p for p in sorted(path.parent.glob("*.json")) if p != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("damage", [cut, alter, empty, not_a_result, of_another_run])
def test_a_damaged_result_is_reported_and_repeated(done, monkeypatch, damage):
    plan, out = done
    name = next(iter(sweep.read_plan(plan)))
    path = out / f"{name}.json"
    before = json.loads(path.read_text())
    damage(path)
    started = []
    monkeypatch.setattr(sweep, "_distribute", lambda runs, *_: started.extend(runs) or here(runs))
    with pytest.warns(UserWarning, match=f"{name}.json is damaged; its run is repeated"):
        sweep.run_plan(plan, out)
    assert started == [name]
    assert reproducible(json.loads(path.read_text()))["scores"] == reproducible(before)["scores"]


def test_a_result_that_was_being_written_is_never_taken_for_complete(tmp_path, monkeypatch):
    """If the machine stops during a write, the file with the result's name is complete or missing."""
    plan, out = written(tmp_path, PLAN.replace("[0, 3]", "[0]")), tmp_path / "out"
    ready = list(here(sweep.read_plan(plan)))  # runs save checkpoints, which must not be interrupted here
    monkeypatch.setattr(sweep, "_distribute", lambda *_: iter(ready))
    for place in ("os.replace", "os.fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                sweep.run_plan(plan, out)
        assert not list(out.glob("*.json"))
    (out / sweep.storage.UNFINISHED).write_text('{"half": ')  # left behind by a kill
    assert len(sweep.run_plan(plan, out)) == 2
    assert len(results_in(out)) == 2


def test_a_stopped_sweep_keeps_what_is_finished(tmp_path, monkeypatch, capsys):
    def stopped(runs, *_):
        yield next(here(runs))
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "_distribute", stopped)
    assert main(["sweep", str(written(tmp_path)), "--out", str(tmp_path / "out")]) == 130
    assert "stopped; every finished run is saved" in capsys.readouterr().err
    assert len(results_in(tmp_path / "out")) == 1
    assert (tmp_path / "out" / "table.csv").read_text().count("\n") == 1 + 2


# On an existing cluster


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        yield cluster


@pytest.mark.slow
def test_the_run_of_a_killed_worker_is_repeated_and_nothing_is_lost(tmp_path, cluster):
    """The worker's process is killed during its second run."""
    text = PLAN.replace("epochs = 2", "epochs = 5").replace("[1, 2]", "[5]").replace("[0, 3]", "[0]")
    plan, out, ended = written(tmp_path, text), tmp_path / "out", []
    sweeping = threading.Thread(
        target=lambda: ended.append(sweep.run_plan(plan, out, cluster.scheduler_address)), daemon=True
    )
    with Client(cluster) as client:
        (pid,) = client.run(os.getpid).values()
        sweeping.start()
        deadline = time.monotonic() + 120
        while not results_in(out) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        (at_work,) = [names for names in client.processing().values()]
        finished = set(results_in(out))
        os.kill(pid, signal.SIGKILL)
        sweeping.join(180)
        assert not sweeping.is_alive()
        assert client.run(os.getpid).values() != {pid}
        assert pid not in client.run(os.getpid).values()
    assert finished and set(at_work) & set(sweep.read_plan(plan)) - finished  # it was running one of them
    runs = sweep.read_plan(plan)
    assert results_in(out).keys() == runs.keys()
    assert [r["run"] for r in ended[0]] == list(runs.values())
    killed = next(name for name in runs if name not in finished)
    assert reproducible(sweep.run_one(runs[killed]))["scores"] == reproducible(results_in(out)[killed])["scores"]


def test_failed_runs_are_named_and_tried_again_the_next_time(tmp_path, cluster, capsys, monkeypatch):
    plan, out = written(tmp_path, PLAN.replace("epochs = 2", "epochs = 1").replace("[1, 2]", "[1]")), tmp_path / "out"
    scheduler = ["--scheduler", cluster.scheduler_address]
    monkeypatch.setattr(sweep.cluster, "version", lambda name: "0.0.1" if name == "torch" else version(name))
    assert main(["sweep", str(plan), "--out", str(out), *scheduler]) == 2
    output = capsys.readouterr()
    assert "4 of 4 runs failed" in output.err and f"has torch {version('torch')} in place of 0.0.1" in output.err
    assert "the worker at tcp://127.0.0.1:" in output.err and "Install the client's versions there" in output.err
    assert "4 runs, 0 of them done already" in output.out
    assert not results_in(out)
    monkeypatch.undo()
    assert main(["sweep", str(plan), "--out", str(out), *scheduler]) == 0
    assert len(results_in(out)) == 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs workers without a GPU")
def test_a_plan_for_gpus_needs_workers_that_offer_one(tmp_path, cluster, capsys):
    plan, out = written(tmp_path, PLAN.replace("epochs = 2", 'epochs = 2\ndevice = "cuda"')), tmp_path / "out"
    assert main(["sweep", str(plan), "--out", str(out), "--scheduler", cluster.scheduler_address]) == 2
    message = capsys.readouterr().err
    assert "none of the 1 workers offers a GPU" in message and "--resources GPU=1" in message
    assert "0 of 4 runs are saved" in message


def test_one_failure_does_not_stop_the_others(tmp_path, monkeypatch):
    def one_fails(runs, *_):
        first, *others = runs
        yield first, OSError("no space left")
        yield from here({name: runs[name] for name in others})

    plan, out = written(tmp_path, PLAN.replace("[0, 3]", "[0]")), tmp_path / "out"
    monkeypatch.setattr(sweep, "_distribute", one_fails)
    with pytest.raises(
        RuntimeError, match=r"1 of 2 runs failed, uniform\.seed0.*no space left.*Run the same command to try again"
    ):
        sweep.run_plan(plan, out)
    assert [name.split(".")[0] for name in results_in(out)] == ["a-circuit"]


def test_without_dask_the_message_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    assert main(["sweep", str(written(tmp_path)), "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'qaan_helpers[sweep]'" in capsys.readouterr().err


# A run


def one_run(tmp_path, text):
    return next(iter(sweep.read_plan(written(tmp_path, text)).values()))


def test_steps_are_rounded_up_to_whole_epochs(tmp_path):
    """1,200 images in batches of 300 are 4 steps an epoch."""
    text = PLAN.replace("epochs = 2", "steps = 9").replace("[1, 2]", "[4, 5, 9]")
    result = sweep.run_one(one_run(tmp_path, text))
    assert [(score["epoch"], score["steps"]) for score in result["scores"]] == [(1, 4), (2, 8), (3, 12)]


def test_entropy_and_total_correlation_of_a_prior_are_those_computed_by_hand():
    """Two bits that are always equal have the entropy and the correlation of one bit; the third is independent."""
    prior = qh.ReplayPrior(3, seed=0)
    gan = qh.QAAN(prior, device="cpu", seed=0, warm_up=0)
    prior.fit(np.array([[0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=np.uint8))
    gan.prior_fitted = True
    scores = sweep._prior_scores(gan, qh.load_mnist((3, 7), "test", "sample"), 0)
    assert scores["prior_entropy"] == pytest.approx(2 * math.log(2))
    assert scores["prior_correlation"] == pytest.approx(math.log(2))


def test_a_run_of_one_digit_and_many_bits_has_no_balance_and_no_held_out_kl(tmp_path):
    text = PLAN.replace("[3, 7]", "[7]").replace("latent_dim = 3", "latent_dim = 17").replace("[1, 2]", "[2]")
    (scores,) = sweep.run_one(one_run(tmp_path, text))["scores"]
    assert scores["class_balance"] is scores["held_out_kl"] is scores["held_out_kl_bias"] is None
    assert scores["prior_entropy"] is scores["prior_correlation"] is None
    assert scores["prior_cost"] == pytest.approx(17 * math.log(2))


def test_objectives_of_a_plan_and_of_an_arm_reach_the_training(tmp_path):
    text = PLAN.replace(
        "[settings]\nlatent_noise = 0.1", 'objective = "tied"\n\n[settings]\nreconstruction_weight = 5.0'
    )
    text += '\n[arms.third]\nprior = { kind = "product", latent_dim = 3 }\nobjective = "reconstruction"\n'
    runs = sweep.read_plan(written(tmp_path, text.replace("warm_up = 0", "encoder_lr_factor = 1.0")))
    assert [run["objective"] for run in list(runs.values())[:3]] == ["tied", "tied", "reconstruction"]
    result = sweep.run_one(list(runs.values())[2])
    gan = qh.QAAN(qh.ProductPrior(3), "cpu", 0, "reconstruction", reconstruction_weight=5.0)
    digits, test = (qh.load_mnist((3, 7), split, source="sample") for split in ("train", "test"))
    assert len(list(qh.train(gan, digits, 2, 300))) == 2
    assert result["scores"][-1]["recall_accuracy"] == pytest.approx(qh.recall_accuracy(gan, test), abs=0.05)


def test_the_default_objective_leaves_the_names_of_older_runs_as_they_were(tmp_path):
    named = sweep.read_plan(written(tmp_path, 'objective = "associative"\n' + PLAN))
    assert named.keys() == sweep.read_plan(written(tmp_path)).keys()
    assert all("objective" not in run for run in named.values())


def test_results_of_an_older_version_with_fewer_scores_stay_in_the_table(tmp_path):
    runs = sweep.read_plan(written(tmp_path))
    rest = {"n_parameters": 0, "data": "", "revision": None, "warnings": [], "versions": {}}
    scores = [{"epoch": 1}, {"epoch": 1, "recall_accuracy": 0.5}]
    results = {
        name: {"run": run, "scores": [new], **rest} for (name, run), new in zip(runs.items(), scores, strict=False)
    }
    sweep._write_table(tmp_path / "table.csv", runs, results)
    with (tmp_path / "table.csv").open() as file:
        assert [row["recall_accuracy"] for row in csv.DictReader(file)] == ["", "0.5"]


def test_warnings_of_a_training_are_saved(tmp_path):
    text = PLAN.replace("latent_noise = 0.1", "learning_rate = 0.9").replace("[1, 2]", "[2]")
    text = text.replace("epochs = 2", "epochs = 4")
    result = sweep.run_one(one_run(tmp_path, text))
    assert any("learning_rate" in warning for warning in result["warnings"])
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    ("prior", "n_parameters"),
    [
        ("{ kind = 'product', latent_dim = 3 }", 3),
        ("{ kind = 'rbm', latent_dim = 3, hidden = 2, steps = 5, refit_steps = 5 }", 3 * 2 + 3 + 2),
        ("{ kind = 'replay', latent_dim = 3 }", 0),
        ("{ kind = 'qcbm', n_qubits = 2, layers = 1, bases = 'zt', max_evaluations = 10, refit_evaluations = 10 }", 7),
    ],
)
def test_every_prior_runs_and_its_parameters_are_counted(tmp_path, prior, n_parameters):
    text = PLAN.replace('{ kind = "uniform", latent_dim = 3 }', prior.replace("'", '"')).replace("[1, 2]", "[2]")
    assert sweep.run_one(one_run(tmp_path, text))["n_parameters"] == n_parameters


# The plan


def test_the_defaults_of_a_plan_are_those_in_the_docstring(tmp_path):
    example = sweep.__doc__.split("as this one:\n")[1].split("\nAfter a run's last epoch")[0]
    text = "\n".join(line.removeprefix("    ") for line in example.splitlines())
    runs = sweep.read_plan(written(tmp_path, text))
    assert len(runs) == 2 * 4
    short = [line for line in text.splitlines() if not line.startswith(("digits", "batch", "n_images", "device"))]
    assert sweep.read_plan(written(tmp_path, "\n".join(short))) == runs
    run = list(runs.values())[-1]
    assert run["settings"] == {"learning_rate": 5e-4, "refresh": 2}
    assert (run["arm"], run["seed"], run["score_at"]) == ("circuit without entanglement", 3, [1200, 2400])
    assert run["priors"] == {"product": {"kind": "product", "latent_dim": 8}}


SETTINGS = "learning_rate, .*latent_noise.*hidden_lr_factor"  # the allowed names that a message lists
WRONG = [
    ("source =", 'objective = "vae"\nsource =', "objective must be one of 'associative', 'tied', 'reconstruction'"),
    (
        "[arms.uniform]",
        '[arms.uniform]\nobjective = "tied"\nsettings = { binarization = "sign" }',
        "arms.uniform.settings.binarization is not a known name; choose from .*reconstruction_weight",
    ),
    ("source =", "sauce =", "sauce is not a known name; choose from objective, digits, batch_size, .*source"),
    ('source = "sample"', "", "source is missing; it must be 'sample' or 'full'"),
    ('"sample"', '"auto"', "source must be 'sample' or 'full', so that all runs have the same images; got 'auto'"),
    ("seeds = [0, 3]", "", "seeds is missing; it must be a non-empty list of integers ≥ 0"),
    ("[0, 3]", "[]", r"seeds must be a non-empty list of integers ≥ 0, such as \[0, 1\]; got \[\]"),
    ("[0, 3]", "3", "seeds must be a non-empty list .*; got 3"),
    ("[0, 3]", "[0, -1]", r"seeds must be a non-empty list of integers ≥ 0.*; got -1 at seeds\[1\]"),
    ("[0, 3]", "[0, 0.5]", r"seeds must be a non-empty list .*; got 0\.5 at seeds\[1\]"),
    ("[0, 3]", "[0, true]", r"seeds must be a non-empty list .*; got True at seeds\[1\]"),
    ("[0, 3]", "[2, 2]", r"seeds must hold each value only once; got \[2, 2\]"),
    ("[3, 7]", "[3, 12]", r"digits must be a non-empty list of integers in 0–9.*; got 12 at digits\[1\]"),
    ("[3, 7]", "[]", r"digits must be a non-empty list .*; got \[\]"),
    ("[3, 7]", '"3,7"', "digits must be a non-empty list .*; got '3,7'"),
    ("[3, 7]", "[3, 3]", r"digits must hold each value only once; got \[3, 3\]"),
    ("epochs = 2", "", "the plan must have epochs or steps, one of the two, .*; got neither"),
    ("epochs = 2", "epochs = 2\nsteps = 9", "the plan must have epochs or steps, one of the two, .*; got both"),
    ("epochs = 2", "epochs = 0", "epochs must be an integer ≥ 1; got 0"),
    ("epochs = 2", "epochs = 2.5", r"epochs must be an integer ≥ 1; got 2\.5"),
    ("epochs = 2", "steps = 0", "steps must be an integer ≥ 1; got 0"),
    ("[1, 2]", "[1, 3]", r"score_at must not exceed a run's 2 epochs; got \[1, 3\]"),
    ("[1, 2]", "[0]", r"score_at must be a non-empty list of integers ≥ 1.*; got 0 at score_at\[0\]"),
    ("[1, 2]", "[]", r"score_at must be a non-empty list .*; got \[\]"),
    ("[1, 2]", "[1, 1]", r"score_at must hold each value only once; got \[1, 1\]"),
    ("[1, 2]", "2", "score_at must be a non-empty list .*; got 2"),
    ("batch_size = 300", "batch_size = 0", "batch_size must be an integer ≥ 1; got 0"),
    ("batch_size = 300", 'batch_size = "300"', "batch_size must be an integer ≥ 1; got '300'"),
    ("n_images = 60", "n_images = 1", "n_images must be an integer ≥ 2; got 1"),
    ("n_images = 60", 'device = "tpu"', "device must be 'auto', 'cpu' or 'cuda'; got 'tpu'"),
    ("latent_noise", "latent_nose", f"settings.latent_nose is not a known name; choose from {SETTINGS}"),
    ("latent_noise = 0.1", "latent_noise = -1", r"settings.latent_noise must be a number in \[0, 100\]; got -1"),
    ("latent_noise = 0.1", 'latent_noise = "much"', "settings.latent_noise must be a number .*; got 'much'"),
    ("[settings]\nlatent_noise = 0.1", "settings = 5", "settings must be a table of settings.*; got 5"),
    ("warm_up = 0", "warmup = 0", f'arms."a circuit".settings.warmup is not a known name; choose from {SETTINGS}'),
    ("warm_up = 0", "warm_up = -2", 'arms."a circuit".settings.warm_up must be an integer ≥ 0; got -2'),
    ("settings = { warm_up = 0 }", "settings = 3", 'arms."a circuit".settings must be a table of settings.*; got 3'),
    ('kind = "uniform"', 'kind = "rainbow"', "arms.uniform.prior: prior kind must be one of .*; got 'rainbow'"),
    ('kind = "uniform"', "kind = []", r"arms.uniform.prior: prior kind must be one of .*; got \[\]"),
    ('kind = "uniform", ', "", "arms.uniform.prior: prior kind must be one of .*; got None"),
    ("latent_dim = 3", "latent_dim = 0", "arms.uniform.prior: latent_dim must be an integer in 1–10,000; got 0"),
    ("latent_dim = 3", "qubits = 3", "arms.uniform.prior: .* must be among latent_dim.*; got 'qubits'"),
    ("latent_dim = 3", "seed = 3", "arms.uniform.prior.seed is not a known name; leave it out, the seeds of the plan"),
    (
        '{ kind = "uniform", latent_dim = 3 }',
        '"uniform"',
        "arms.uniform.prior must be a table such as .*; got 'uniform'",
    ),
    ('{ kind = "uniform", latent_dim = 3 }', '{ kind = "mixed" }', "arms.uniform.prior: 'prior' is missing"),
    ("max_evaluations = 12", "max_evaluations = 2", 'arms."a circuit".prior: max_evaluations must be .*; got 2'),
    ("layers = 1", "layers = 1, execution = { sots = 3 }", "arms.\"a circuit\".prior: 'shots' is missing"),
    ("prior = {", "prier = {", "arms.uniform.prier is not a known name; choose from objective, prior, settings"),
    ('prior = { kind = "uniform", latent_dim = 3 }', "", "arms.uniform.prior is missing; it must be a table such as"),
    (
        '[arms.uniform]\nprior = { kind = "uniform", latent_dim = 3 }',
        "[arms]\nuniform = 3",
        "arms.uniform must be a table of objective, prior, settings; got 3",
    ),
    ("seeds", "seeds seeds", "is not a TOML file"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_a_plan_that_cannot_work_is_refused_before_anything_starts(tmp_path, monkeypatch, old, new, message):
    assert old in PLAN
    monkeypatch.setattr(sweep, "_distribute", lambda *_: pytest.fail("a run was started"))
    path = written(tmp_path, PLAN.replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as refused:
        sweep.run_plan(path, tmp_path / "out")
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arms", ["arms = {}", "arms = 3"])
def test_a_plan_without_arms_is_refused(tmp_path, arms):
    with pytest.raises(ValueError, match=r"arms must be one table or more: \[arms.NAME\] with a prior"):
        sweep.read_plan(written(tmp_path, f'{arms}\nsource = "sample"\nseeds = [0]\nepochs = 1'))


def test_a_missing_plan_and_zero_workers_are_refused(tmp_path, capsys):
    assert main(["sweep", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "none.toml" in capsys.readouterr().err
    assert main(["sweep", str(written(tmp_path)), "--out", str(tmp_path / "out"), "--workers", "0"]) == 2
    assert "workers must be an integer ≥ 1; got 0" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_revision_is_that_of_the_packages_own_checkout(tmp_path, monkeypatch):
    """Not that of a repository that contains an environment with the package."""
    git = [shutil.which("git"), "-C", str(tmp_path), "-c", "user.name=N", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    (tmp_path / "lib").mkdir()
    for root, length in ((tmp_path, 7), (tmp_path / "lib", 0)):
        sweep.revision.cache_clear()
        monkeypatch.setattr(sweep, "__file__", str(root / "qaan_helpers" / "evaluation" / "sweep.py"))
        assert len(sweep.revision() or "") == length
    sweep.revision.cache_clear()
