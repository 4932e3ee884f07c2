"""Many trainings side by side: a plan of arms and seeds in TOML, spread by dask.distributed over cores or machines.

`python -m qaan_helpers sweep plan.toml --out results/` runs a plan such as this one:

    source = "full"             # or "sample", the bundled digits; QAAN_DATA names the folder of the full set
    seeds = [0, 1, 2, 3]        # each arm is run once with each
    steps = 2400                # of each network, rounded up to whole epochs; or epochs = 9
    score_at = [1200, 2400]     # in the same unit; at the end only, unless told
    digits = [3, 7, 9]          # as this line and those below are by default
    batch_size = 64
    n_images = 2000             # drawn for a score
    device = "cpu"              # or "cuda", or "auto"

    [settings]                  # of every QAAN, by name
    learning_rate = 5e-4

    [arms.uniform]
    prior = { kind = "uniform", latent_dim = 8 }

    [arms."circuit without entanglement"]
    prior = { kind = "qcbm", n_qubits = 8, entanglement = "none" }
    settings = { refresh = 2 }  # of this arm, over those of all

Every run that is finished is one JSON file at once, and a row for each of its scores in `table.csv`. The same command
again does what is left: what was broken off, what failed, what is damaged or has changed in the plan. A run is known by
its settings, not by the version of this package: for a new version take a new folder.
"""

import contextlib
import csv
import hashlib
import inspect
import io
import json
import logging
import math
import re
import shutil
import subprocess
import tempfile
import tomllib
import warnings
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.special import entr

from ..bits import from_index
from ..checks import check_integer
from ..gan import storage
from ..gan.health import TrainingWarning
from ..gan.training import QAAN, Settings, train
from ..mnist import Digits, load_mnist
from ..priors import MAX_ENUMERATED_BITS, PRIORS, make_prior
from ..progress import tqdm
from ..quantum.losses import kl_divergence, kl_sampling_bias
from . import metrics

DEFAULTS = {"digits": [3, 7, 9], "batch_size": 64, "n_images": 2000, "device": "cpu"}
NEEDED = ("source", "seeds", "arms")
PLAN_KEYS = {*DEFAULTS, *NEEDED, "epochs", "steps", "score_at", "settings"}
# Dask has its workers give memory back by 64 kB, and each step of a training asks for it again: 1.5 times as slow.
KEEP_MEMORY = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
LEARNED = ("p", "components_", "intercept_hidden_", "intercept_visible_", "angles")  # what priors call their parameters


def read_plan(path: str | Path) -> dict[str, dict]:
    """Check the plan in the TOML file at `path` and return its runs, seed by seed, by the names of their results.

    Raises ValueError for what is no TOML, unknown names, and values that cannot work, before anything is run.
    """
    try:
        plan = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    try:
        shared = _check_shared(plan)
        arms = {name: _check_arm(name, arm, plan.get("settings", {})) for name, arm in plan["arms"].items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    runs = [{"arm": name, "seed": seed, **arms[name], **shared} for seed in plan["seeds"] for name in arms]
    return {_name(run): run for run in runs}


def run_one(run: dict) -> dict:
    """Train and score one run of a plan, on this process's one thread; returns its result as JSON can hold it."""
    torch.set_num_threads(1)
    digits, test = (_digits(tuple(run["digits"]), split, run["source"]) for split in ("train", "test"))
    batch_size = min(run["batch_size"], len(digits))
    steps_an_epoch = len(digits) // batch_size
    unit = 1 if "epochs" in run else steps_an_epoch
    score_at = {math.ceil(at / unit) for at in run["score_at"]}
    gan = QAAN(make_prior({**run["prior"], "seed": run["seed"]}), run["device"], run["seed"], **run["settings"])
    scores, n_circuits = [], 0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", TrainingWarning)
        for report in train(gan, digits, math.ceil(run.get("epochs", run.get("steps")) / unit), batch_size):
            if not math.isnan(report.prior_cost) and (fit := getattr(gan.prior, "last_fit", None)):
                n_circuits += fit.n_circuits
            if report.epoch in score_at:
                so_far = {"epoch": report.epoch, "steps": report.epoch * steps_an_epoch, "n_circuits": n_circuits}
                scores.append(so_far | _costs(gan) | _scores(gan, digits, test, run))
    return {
        "run": run,
        "data": repr(digits),
        "versions": storage.versions(),
        "revision": revision(),
        "n_parameters": sum(array.size for name, array in gan.prior.state_dict().items() if name in LEARNED),
        "warnings": [str(w.message) for w in told if issubclass(w.category, TrainingWarning)],
        "scores": scores,
    }


def run_plan(plan: str | Path, out: str | Path, scheduler: str | None = None, workers: int | None = None) -> list[dict]:
    """Run what is left of the plan (a TOML file), keep each result in the folder `out`, and return all, in its order.

    scheduler: address of a Dask cluster, such as "tcp://10.0.0.1:8786", whose workers have this package and the data;
    without one, `workers` processes of one thread each are started here, as many as cores unless told. They talk over
    127.0.0.1 only, encrypted, so that nobody else on this machine can join in. On a cluster that is your own care.
    A worker that dies is replaced and its run begun again. Raises ValueError for a plan that cannot work, RuntimeError
    where dask.distributed is missing, and where runs have failed, once all others are done.
    """
    runs, out = read_plan(plan), Path(out)
    if workers is not None:
        check_integer("workers", workers)
    paths = {name: out / f"{name}.json" for name in runs}
    results = {name: result for name in runs if (result := _read(paths[name], runs[name]))}
    left = {name: run for name, run in runs.items() if name not in results}
    print(f"{len(runs)} runs, {len(results)} of them done already.")
    out.mkdir(parents=True, exist_ok=True)
    failed = {}
    for name, result in _spread(left, scheduler, workers, len(runs)) if left else ():
        if isinstance(result, Exception):
            failed[name] = result
            continue
        storage.write_whole(paths[name], json.dumps({"sha256": _checksum(result), **result}, indent=1).encode())
        results[name] = result
        _write_table(out / "table.csv", runs, results)
    _write_table(out / "table.csv", runs, results)
    if failed:
        name, error = next(iter(failed.items()))
        raise RuntimeError(
            f"{len(failed)} of {len(runs)} runs have failed, {name} with {error!r}; the others are saved in {out}, and "
            "the same command tries again"
        ) from error
    return [results[name] for name in runs]


@cache
def revision() -> str | None:
    """The git revision of this package's checkout, with "-dirty" where files have changed since; None without one."""
    root, git = Path(__file__).resolve().parents[2], shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty"]
    told = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 (git from the path, a fixed command)
    return told.stdout.strip() or None


def _check_shared(plan):
    """What all runs share, with its defaults, checked; the seeds too."""
    _check_names("the plan", plan, PLAN_KEYS, NEEDED)
    if plan["source"] not in ("sample", "full"):
        raise ValueError(f"source is {plan['source']!r}; choose 'sample' or 'full', so that all runs see the same")
    if plan.get("device", "cpu") not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {plan['device']!r}; choose 'auto', 'cpu' or 'cuda'")
    if not isinstance(plan["arms"], dict) or not plan["arms"]:
        raise ValueError("arms is empty; [arms.NAME] with a prior = { kind = … } makes one")
    if ("epochs" in plan) == ("steps" in plan):
        raise ValueError("the plan needs epochs or steps, one of the two, to say how long a run is")
    unit = "epochs" if "epochs" in plan else "steps"
    shared = {name: plan.get(name, default) for name, default in DEFAULTS.items()}
    shared |= {"source": plan["source"], unit: plan[unit], "score_at": plan.get("score_at", [plan[unit]])}
    for name, least in (("batch_size", 1), ("n_images", 2), (unit, 1)):
        check_integer(name, shared[name], least)
    for name, values, least in (
        ("seeds", plan["seeds"], 0),
        ("digits", shared["digits"], 0),
        ("score_at", shared["score_at"], 1),
    ):
        _check_list(name, values, least)
    _digits(tuple(shared["digits"]), "test", "sample")  # complains where there is no such digit
    if max(shared["score_at"]) > shared[unit]:
        raise ValueError(f"score_at is {shared['score_at']}, but a run ends after {shared[unit]} {unit}")
    return shared


def _check_list(name, values, least):
    if not isinstance(values, list) or not values:
        raise ValueError(f"{name} is {values!r}; it must be a list of whole numbers, such as [1, 2]")
    for value in values:
        check_integer(f"one of {name}", value, least)
    if len(set(values)) < len(values):
        raise ValueError(f"{name} is {values!r}; each may be named once only")


def _check_arm(name, arm, shared_settings):
    """An arm's prior and settings, both tried out once."""
    known_settings = {field.name for field in fields(Settings)}
    _check_names("settings", shared_settings, known_settings)
    _check_names(f"arm {name!r}", arm, {"prior", "settings"}, ("prior",))
    prior, own_settings = arm["prior"], arm.get("settings", {})
    try:
        _check_names("its settings", own_settings, known_settings)
        if not isinstance(prior, dict):
            raise ValueError(f"prior is {prior!r}; it must be a table such as {{ kind = 'uniform', latent_dim = 8 }}")
        if prior.get("kind") in PRIORS:
            takes = inspect.signature(PRIORS[prior["kind"]]).parameters
            _check_names("its prior", prior, {"kind", *takes} - {"seed"})
        make_prior(prior)
        settings = {**shared_settings, **own_settings}
        Settings(**settings)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"arm {name!r} cannot work: {error}") from error
    return {"prior": prior, "settings": settings}


def _check_names(where, given, known, needed=()):
    if not isinstance(given, dict):
        raise ValueError(f"{where} is {given!r}; it must be a table of {', '.join(sorted(known))}")
    for name in given:
        if name not in known:
            raise ValueError(f"{where} has {name!r}, which is not known; it takes {', '.join(sorted(known))}")
    for name in needed:
        if name not in given:
            raise ValueError(f"{where} lacks {name!r}")


def _name(run):
    """The name of a run's result: arm and seed for people, a hash of all of its settings for the rest."""
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', run['arm']).strip('-')}.seed{run['seed']}.{digest[:8]}"


@cache
def _digits(digits: tuple, split: str, source: str) -> Digits:
    with contextlib.redirect_stdout(io.StringIO()):  # what is loaded stands in the result
        return load_mnist(digits, split, source)


def _costs(gan):
    """How the last epoch's fit went, and the seconds of all epochs so far."""
    costs = {name: getattr(gan.history[-1], name) for name in ("prior_cost", "bits_entropy", "bits_correlation")}
    costs = {name: None if math.isnan(value) else value for name, value in costs.items()}  # JSON knows no NaN
    seconds = {name: sum(getattr(report, name) for report in gan.history) for name in ("seconds", "prior_seconds")}
    return costs | seconds


def _scores(gan, digits, test, run):
    """Scores of images and of the prior; of a copy of the QAAN, so that a run goes on as if it had not been scored."""
    with tempfile.TemporaryDirectory() as folder:
        gan.save(folder)
        gan = QAAN.load(folder, run["device"])
    images = gan.sample(run["n_images"])
    coverage = metrics.class_coverage(images)
    wanted = [coverage[digit] for digit in run["digits"]]
    scores = {
        "inception_score": metrics.inception_score(images),
        "frechet_distance": metrics.frechet_distance(images, test.images),
        "kernel_distance": metrics.kernel_distance(images, test.images),
        "class_balance": metrics.class_balance(images, run["digits"]) if len(wanted) > 1 else None,
        "wanted_fraction": sum(wanted),
        "rarest_digit": min(wanted),
        "distinct_images": metrics.distinct_images(images),
        "nearest_distance": metrics.nearest_distance(images, digits.images).mean().item(),
    }
    return scores | _prior_scores(gan, test, run["seed"])


def _prior_scores(gan, test, seed):
    """In nats: how far the prior is from bits of test digits, in the discriminator as it is now; and its own entropies.

    A prior knows the bits of its last fit's discriminator; the distance holds what that has learned since, too.
    """
    names = "held_out_kl", "held_out_kl_bias", "prior_entropy", "prior_correlation"
    n_bits = gan.prior.latent_dim
    if n_bits > MAX_ENUMERATED_BITS:
        return dict.fromkeys(names)
    bits, p = gan.bits(test.images, seed=seed), gan.active_prior.probabilities()
    ones = (p @ from_index(np.arange(len(p)), n_bits)).clip(0, 1)  # rounding may go past 1 where a bit is always set
    apart = entr([ones, 1 - ones]).sum()  # of a product with the same share of ones in each bit
    together = entr(p).sum()
    found = kl_divergence(bits, p), kl_sampling_bias(p, len(bits)), together, apart - together
    return dict(zip(names, map(float, found), strict=True))


def _spread(runs, scheduler, workers, total):
    """Run all `runs` on the cluster; yields (name, result or Exception) as they end."""
    try:
        import dask
        from distributed import Client, as_completed
    except ImportError as error:
        raise RuntimeError("a sweep needs dask.distributed: pip install 'qaan_helpers[sweep]' brings it") from error
    # No memory limit: a run that needs more will not shrink by being restarted.
    here = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": None, "security": True, "protocol": "tls"}
    here |= {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    here |= {"silence_logs": logging.ERROR}  # not each worker that takes its time to end
    with dask.config.set(KEEP_MEMORY), Client(scheduler) if scheduler else Client(**here) as client:
        print(f"Dashboard: {client.dashboard_link}")
        futures = [client.submit(run_one, run, key=name) for name, run in runs.items()]
        with tqdm(total=total, initial=total - len(runs), unit="run") as bar:
            for future in as_completed(futures):
                done = future.status == "finished"
                yield future.key, future.result() if done else future.exception() or RuntimeError(future.status)
                bar.update()


def _read(path, run):
    """The result at `path`, or None where there is none that is whole and of this run."""
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result.pop("sha256") == _checksum(result) and result["run"] == run:
            return result
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        pass
    warnings.warn(f"{path} is damaged; its run is done again", stacklevel=3)
    return None


def _checksum(result):
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def _write_table(path, runs, results):
    """One row for each score of each result, in the plan's order."""
    rows = []
    for name in runs:
        if name in results:
            result, run = results[name], results[name]["run"]
            rest = {key: result[key] for key in ("n_parameters", "data", "revision")}
            rest |= {"warnings": len(result["warnings"]), "result": name}
            rest |= {"versions": json.dumps(result["versions"]), "configuration": json.dumps(run)}
            rows += [{"arm": run["arm"], "seed": run["seed"], **scores, **rest} for scores in result["scores"]]
    text = io.StringIO()
    if rows:
        table = csv.DictWriter(text, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    storage.write_whole(path, text.getvalue().encode())
