"""Run many trainings next to each other: a TOML plan of arms and seeds, distributed by Dask over cores or machines.

`python -m qaan_helpers sweep plan.toml --out results/` runs a plan such as this one:

    source = "full"             # or "sample", the bundled digits; QAAN_DATA names the folder of the full set
    seeds = [0, 1, 2, 3]        # each arm runs once with each seed
    steps = 2400                # of each network, rounded up to whole epochs; or epochs = 9
    score_at = [1200, 2400]     # in the same unit; only at the end by default
    digits = [3, 7, 9]          # this line and those below show the defaults
    batch_size = 64
    n_images = 2000             # generated for each score
    device = "cpu"              # or "cuda", or "auto"
    objective = "associative"   # or "tied", or "reconstruction"

    [settings]                  # settings of every QAAN, by name
    learning_rate = 5e-4

    [arms.uniform]
    prior = { kind = "uniform", latent_dim = 8 }

    [arms."circuit without entanglement"]
    prior = { kind = "qcbm", n_qubits = 8, entanglement = "none" }
    settings = { refresh = 2 }  # settings of this arm, which override those of all arms
    objective = "associative"   # of this arm

    [priors.product]            # priors to compare on the trained networks of every run; none by default
    kind = "product"
    latent_dim = 8

After a run's last epoch, each of the `priors` is fitted to the same bits of `fit_samples` training images, and the same
networks generate images from its samples. Their rows have its name in the column "prior".

Every finished run is saved at once, as a JSON file and as one row per score in `table.csv`. The same command again
runs what is missing: interrupted, failed or damaged runs, and those that changed in the plan. A run is identified by
its settings, not by the version of this package: use a new folder for a new version.
"""

import contextlib
import csv
import hashlib
import io
import json
import math
import re
import shutil
import subprocess
import time
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, Field, model_validator
from scipy.special import entr

from ..bits import entropy, from_index, total_correlation
from ..checks import check_integer
from ..gan import storage
from ..gan.health import TrainingWarning
from ..gan.model import QAAN, derive_seed
from ..gan.settings import OBJECTIVES, Objective, check_settings
from ..gan.state import preserved
from ..gan.training import train
from ..mnist import Digits, Source, Split, load_mnist
from ..priors import (
    MAX_ENUMERATED_BITS,
    GaussianPrior,
    PersistentPrior,
    Prior,
    circuit_prior,
    distribution,
    learned_prior,
    make_prior,
)
from ..quantum.losses import kl_divergence, kl_sampling_bias
from ..validation import validated
from . import cluster, metrics

Run = dict[str, Any]  # arm, seed, prior, settings, and what all runs of the plan share, as JSON can hold it
Result = dict[str, Any]  # a run with its scores and provenance, as JSON can hold it

REAL_FEATURES: dict[Any, tuple[torch.Tensor, torch.Tensor]] = {}
LEARNED = ("p", "components_", "intercept_hidden_", "intercept_visible_", "angles")  # parameters in priors' states


def _different(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise ValueError("must hold each value only once")
    return values


Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_different)]
Counts = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), AfterValidator(_different)]
Wanted = Annotated[list[Annotated[int, Field(ge=0, le=9)]], Field(min_length=1), AfterValidator(_different)]


class _Arm(BaseModel, strict=True, extra="forbid"):
    objective: Objective | None = Field(None, description=f"one of {', '.join(map(repr, OBJECTIVES))}")
    prior: dict[str, Any] = Field(description="a table such as { kind = 'uniform', latent_dim = 8 }")
    settings: dict[str, Any] = Field({}, description="a table of settings, such as { refresh = 2 }")


class _Plan(BaseModel, strict=True, extra="forbid"):
    objective: Objective = Field("associative", description=f"one of {', '.join(map(repr, OBJECTIVES))}")
    digits: Wanted = Field([3, 7, 9], description="a non-empty list of integers in 0–9, such as [3, 7, 9]")
    batch_size: int = Field(64, ge=1, description="an integer ≥ 1")
    n_images: int = Field(2000, ge=2, description="an integer ≥ 2")
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="'auto', 'cpu' or 'cuda'")
    source: Literal["sample", "full"] = Field(description="'sample' or 'full', so that all runs have the same images")
    epochs: int | None = Field(None, ge=1, description="an integer ≥ 1")
    steps: int | None = Field(None, ge=1, description="an integer ≥ 1")
    score_at: Counts | None = Field(None, description="a non-empty list of integers ≥ 1, such as [1200, 2400]")
    seeds: Seeds = Field(description="a non-empty list of integers ≥ 0, such as [0, 1]")
    settings: dict[str, Any] = Field({}, description="a table of settings, such as { learning_rate = 5e-4 }")
    priors: dict[str, Any] = Field({}, description="a table of priors: [priors.NAME] with a kind = …")
    arms: dict[str, Any] = Field(min_length=1, description="one table or more: [arms.NAME] with a prior = { kind = … }")

    @model_validator(mode="after")
    def _check_length(self) -> "_Plan":
        if (self.epochs is None) == (self.steps is None):
            got = "neither" if self.steps is None else "both"
            raise ValueError(f"the plan must have epochs or steps, one of the two, as the length of a run; got {got}")
        length, unit = (self.epochs, "epochs") if self.epochs else (self.steps or 0, "steps")
        self.score_at = self.score_at or [length]
        if max(self.score_at) > length:
            raise ValueError(f"score_at must not exceed a run's {length} {unit}; got {self.score_at}")
        return self


def read_plan(path: str | Path) -> dict[str, Run]:
    """Read and check a plan before anything runs.

    Args:
        path: The TOML file.

    Returns:
        The runs, seed by seed, by the names of their results.

    Raises:
        ValueError: If the file is not TOML, or a name or a value in it is not allowed.
        OSError: If the file cannot be read.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    try:
        plan = validated(_Plan, content)
        arms = {name: _check_arm(name, table, plan) for name, table in plan.arms.items()}
        _check_compared(plan.priors, arms)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    shared = plan.model_dump(exclude={"seeds", "settings", "arms", "objective"}, exclude_none=True)
    if not plan.priors:  # older runs have none
        shared.pop("priors")
    runs = [{"arm": name, "seed": seed, **arms[name], **shared} for seed in plan.seeds for name in arms]
    return {_name(run): run for run in runs}


def run_one(run: Run, images: tuple[Digits, Digits] | None = None, checkpoints: "Checkpoints | None" = None) -> Result:
    """Train and score one run of a plan, on one thread of this process.

    Args:
        run: A run as `read_plan` returns it.
        images: The training and the test images; loaded if None.
        checkpoints: Where and how often to save the training. If there is a checkpoint of this run, it continues there.

    Returns:
        The run with "data", "versions", "revision", "n_parameters", "warnings" and "scores", as JSON can hold it.
    """
    torch.set_num_threads(1)
    digits, test = images or _load(run)
    batch_size = min(run["batch_size"], len(digits))
    steps_per_epoch = len(digits) // batch_size
    unit, per_epoch = ("epochs", 1) if "epochs" in run else ("steps", steps_per_epoch)
    score_at = {math.ceil(at / per_epoch) for at in run["score_at"]}
    epochs = math.ceil(run[unit] / per_epoch)
    gan, progress = (checkpoints and checkpoints.read(run)) or (_new(run), _Progress())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", TrainingWarning)
        for report in train(gan, digits, epochs - gan.epoch, batch_size) if gan.epoch < epochs else ():
            circuit = circuit_prior(gan.prior)
            if circuit and circuit.last_fit and not math.isnan(report.prior_cost):
                progress.n_circuits += circuit.last_fit.n_circuits
            if report.epoch in score_at:
                at = {"epoch": report.epoch, "steps": report.epoch * steps_per_epoch, "n_circuits": progress.n_circuits}
                progress.scores.append(at | _costs(gan) | _scores(gan, digits, test, run))
            progress.warnings += [str(w.message) for w in caught if issubclass(w.category, TrainingWarning)]
            caught.clear()
            if checkpoints:
                checkpoints.write(run, gan, progress)
    scores = progress.scores
    scores += [scores[-1] | changed for changed in _compare_priors(gan, digits, test, run)]
    return {
        "run": run,
        "data": repr(digits),
        "versions": storage.versions(),
        "revision": revision(),
        "n_parameters": _n_parameters(gan.prior),
        "warnings": list(dict.fromkeys(progress.warnings)),
        "scores": scores,
    }


def _new(run: Run) -> QAAN:
    """The model of a run before its first epoch."""
    prior = make_prior({**run["prior"], "seed": run["seed"]})
    return QAAN(prior, run["device"], run["seed"], run.get("objective", "associative"), **run["settings"])


@dataclass
class _Progress:
    """What a result needs from the epochs so far, besides the model."""

    scores: list[dict[str, Any]] = field(default_factory=list)
    n_circuits: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoints:
    """Where runs save their training, and how often.

    Args:
        folder: A folder that all workers can write, with one folder per run inside.
        every: Number of epochs between two checkpoints.
    """

    folder: Path
    every: int

    def write(self, run: Run, gan: QAAN, progress: _Progress) -> None:
        """Save a run if a checkpoint is due. The one before stays until this one is complete.

        Args:
            run: The run.
            gan: Its model after an epoch.
            progress: Its scores so far.
        """
        if gan.epoch % self.every:
            return
        folder = self.folder / _name(run)
        gan.save(folder)
        content = json.dumps({"epoch": gan.epoch, **vars(progress)})
        storage.write_atomically(folder / "progress.json", content.encode())

    def read(self, run: Run) -> tuple[QAAN, _Progress] | None:
        """Load the last complete checkpoint of a run.

        Args:
            run: The run.

        Returns:
            The model and the scores so far; None if there is no intact checkpoint.
        """
        folder = self.folder / _name(run)
        try:
            progress = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
            gan = QAAN.load(folder / f"epoch_{progress.pop('epoch'):06d}.safetensors", run["device"])
            return gan, _Progress(**progress)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError):
            return None

    def delete(self, run: Run) -> None:
        """Delete the checkpoints of a finished run.

        Args:
            run: The run.
        """
        shutil.rmtree(self.folder / _name(run), ignore_errors=True)


def run_plan(
    plan: str | Path,
    out: str | Path,
    scheduler: Any = None,
    workers: int | None = None,
    checkpoint_every: int | None = None,
    tls: cluster.Tls | None = None,
) -> list[Result]:
    """Run what is missing of a plan and save each result when it is finished.

    If the process of a worker ends, another worker repeats its run, from the last checkpoint if there is one. On a
    cluster of your own, runs go on if this process ends, and the next call collects them.

    Args:
        plan: The TOML file.
        out: Folder of the results.
        scheduler: Address of a Dask cluster, such as "tcp://10.0.0.1:8786", or a Dask cluster or client object, such as
            dask-jobqueue's `SLURMCluster`. Its workers need this package, and its security is up to you. If None, a
            cluster is started on this machine. Its processes communicate over 127.0.0.1 only, encrypted, so nobody else
            on this machine can join.
        workers: Number of processes of the cluster on this machine, with one thread each; one per core if None.
        checkpoint_every: Number of epochs between two checkpoints of a run, in `out`/checkpoints, which all workers
            must be able to write; no checkpoints if None.
        tls: Files for a remote scheduler with TLS.

    Returns:
        All results, in the order of the plan.

    Raises:
        ValueError: If the plan, `workers` or `checkpoint_every` is not allowed.
        RuntimeError: If dask.distributed is missing, the cluster cannot be used, or runs failed, after all others are
            done.
    """
    runs, out = read_plan(plan), Path(out)
    if workers is not None:
        check_integer("workers", workers)
    checkpoints = None
    if checkpoint_every is not None:
        every = check_integer("checkpoint_every", checkpoint_every)
        checkpoints = Checkpoints(out.resolve() / "checkpoints", every)
    paths = {name: out / f"{name}.json" for name in runs}
    results = {name: saved for name in runs if (saved := _read(paths[name], runs[name]))}
    missing = {name: run for name, run in runs.items() if name not in results}
    print(f"{len(runs)} runs, {len(results)} of them done already.")
    out.mkdir(parents=True, exist_ok=True)
    failed: dict[str, Exception] = {}
    try:
        for name, result in _distribute(missing, scheduler, workers, len(runs), checkpoints, tls) if missing else ():
            if isinstance(result, Exception):
                failed[name] = result
                continue
            content = json.dumps({"sha256": _checksum(result), **result}, indent=1)
            storage.write_atomically(paths[name], content.encode())
            results[name] = result
            _write_table(out / "table.csv", runs, results)
            if checkpoints:
                checkpoints.delete(runs[name])
    except cluster.ClusterError as problem:
        raise cluster.ClusterError(
            f"{problem}; {len(results)} of {len(runs)} runs are saved in {out}. Run the same command again for the rest"
        ) from problem
    _write_table(out / "table.csv", runs, results)
    if failed:
        name, error = next(iter(failed.items()))
        raise RuntimeError(
            f"{len(failed)} of {len(runs)} runs failed, {name} with {error!r}; the others are saved in {out}. Run the "
            "same command to try again"
        ) from error
    return [results[name] for name in runs]


def _distribute(
    runs: dict[str, Run],
    scheduler: Any,
    workers: int | None,
    total: int,
    checkpoints: Checkpoints | None = None,
    tls: cluster.Tls | None = None,
) -> Iterator[tuple[str, Result | Exception]]:
    """Run all `runs` on a cluster; yield each name with its result or exception when it ends.

    The images are sent once, compressed, and the workers pass them on to each other.
    """
    gpus = any(run["device"] == "cuda" for run in runs.values())
    with cluster.connected(scheduler, workers, tls, gpus) as client:
        images = {}
        for run in runs.values():
            data = tuple(run["digits"]), run["source"]
            if data not in images:
                packed = [_pack(digits) for digits in _load(run)]
                images[data] = client.submit(_unpack_all, packed)
        expected = cluster.versions()
        of_client = revision() if scheduler is not None else None  # workers here have the same files
        jobs = {
            name: (run, images[tuple(run["digits"]), run["source"]], checkpoints, expected, of_client)
            for name, run in runs.items()
        }
        yield from cluster.distribute(client, jobs, _run_on_worker, total, gpus, keep=scheduler is not None)


def _run_on_worker(
    run: Run,
    images: tuple[Digits, Digits],
    checkpoints: Checkpoints | None,
    versions: dict[str, str],
    expected_revision: str | None,
) -> Result:
    """A run on a worker, after a comparison of its software with the client's."""
    cluster.check_versions(versions)
    here = revision()
    if here and expected_revision and here.split("-")[0] != expected_revision.split("-")[0]:
        raise cluster.ClusterError(f"a worker has revision {here} of qaan_helpers, the client has {expected_revision}")
    return run_one(run, images, checkpoints)


def _pack(digits: Digits) -> tuple[bytes, str]:
    """Images and labels, compressed as bytes, and their source."""
    file = io.BytesIO()
    pixels = (digits.images * 255).round().to(torch.uint8)
    np.savez_compressed(file, images=pixels.numpy(), labels=digits.labels.numpy())
    return file.getvalue(), digits.source


def _unpack_all(packed: list[tuple[bytes, str]]) -> tuple[Digits, ...]:
    return tuple(_unpack(*part) for part in packed)


def _unpack(content: bytes, source: str) -> Digits:
    arrays = np.load(io.BytesIO(content), allow_pickle=False)
    return Digits(torch.from_numpy(arrays["images"]).float() / 255, torch.from_numpy(arrays["labels"]), source)


@cache
def revision() -> str | None:
    """Return the git revision of this package's checkout.

    Returns:
        The short hash, with "-dirty" appended if files have changed since; None outside a checkout.
    """
    root, git = Path(__file__).resolve().parents[2], shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty"]
    output = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 (git from the path, a fixed command)
    return output.stdout.strip() or None


def _check_arm(name: str, table: object, plan: _Plan) -> Run:
    """Construct an arm's prior and settings once, and return their descriptions."""
    path = _table("arms", name)
    arm = validated(_Arm, table, path)
    objective = arm.objective or plan.objective
    check_settings(objective, plan.settings, "settings")
    check_settings(objective, arm.settings, f"{path}.settings")
    _make_described(arm.prior, f"{path}.prior")
    run: Run = {"prior": arm.prior, "settings": plan.settings | arm.settings}
    return run if objective == "associative" else {"objective": objective, **run}  # older runs have no objective


def _check_compared(priors: dict[str, Any], arms: dict[str, Run]) -> None:
    """Construct the priors that are compared once, and compare their widths with those of all arms."""
    widths = {name: make_prior(run["prior"]).latent_dim for name, run in arms.items()}
    for name, config in priors.items():
        path = _table("priors", name)
        n = _make_described(config, path).latent_dim
        if others := [arm for arm, width in widths.items() if width != n]:
            got = f"{n}, and arm {others[0]!r} has {widths[others[0]]}"
            raise ValueError(f"{path} must have as many bits as every arm; got {got}")


def _table(table: str, name: str) -> str:
    """The path of a table in a plan, with quotes where TOML needs them."""
    return f"{table}.{name}" if re.fullmatch("[A-Za-z0-9_-]+", name) else f'{table}."{name}"'


def _make_described(config: Any, path: str) -> Prior:
    """Construct a plan's prior, or say what is wrong with its description."""
    if isinstance(config, dict) and "seed" in config:
        raise ValueError(f"{path}.seed is not a known name; leave it out, the seeds of the plan are used")
    try:
        return make_prior(config)
    except (ValueError, TypeError, KeyError) as error:
        missing = " is missing" if isinstance(error, KeyError) else ""
        raise ValueError(f"{path}: {error}{missing}") from error


def _name(run: Run) -> str:
    """The name of a run's result: arm and seed for people, and a hash of all settings to tell runs apart."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', run['arm']).strip('-')}.seed{run['seed']}.{_checksum(run)[:8]}"


def _load(run: Run) -> tuple[Digits, Digits]:
    """The training and the test images of a run."""
    wanted, source = tuple(run["digits"]), run["source"]
    return _digits(wanted, "train", source), _digits(wanted, "test", source)


@cache
def _digits(digits: tuple[int, ...], split: Split, source: Source) -> Digits:
    with contextlib.redirect_stdout(io.StringIO()):  # the result says which images were loaded
        return load_mnist(digits, split, source)


def _n_parameters(prior: Prior) -> int:
    learned = learned_prior(prior)
    state = learned.state_dict() if isinstance(learned, PersistentPrior) else {}
    return sum(np.size(state[name]) for name in LEARNED if name in state)


def _costs(gan: QAAN) -> dict[str, float | None]:
    """The result of the last epoch's fit in nats, and the seconds of all epochs so far."""
    last = gan.history[-1]
    fit = {name: getattr(last, name) for name in ("prior_cost", "bits_entropy", "bits_correlation")}
    seconds = {name: sum(getattr(report, name) for report in gan.history) for name in ("seconds", "prior_seconds")}
    return {name: None if math.isnan(value) else value for name, value in fit.items()} | seconds  # JSON has no NaN


def _scores(gan: QAAN, digits: Digits, test: Digits, run: Run) -> dict[str, Any]:
    """Scores of images, of the prior and of the networks. The run continues as if it had not been scored."""
    with preserved(gan):
        images = gan.sample(run["n_images"])
        of_prior = _prior_scores(gan, test, run["seed"])
    recalled = metrics.features(gan.recall(test.images))
    recognized = metrics.digit_classifier().head(recalled).argmax(1) == test.labels  # as in recall_accuracy
    return {
        **_image_scores(images, test, run),
        "nearest_distance": metrics.nearest_distance(images, digits.images).mean().item(),
        "recall_accuracy": recognized.float().mean().item(),
        "reconstruction_distance": metrics.frechet_of_features(recalled, _real_features(test, run)[0]),
        **of_prior,
    }


def _image_scores(images: torch.Tensor, test: Digits, run: Run) -> dict[str, float | None]:
    """Scores of generated images, from one pass through each of the two networks that extract features."""
    real, also_real = _real_features(test, run)
    features = metrics.features(images)
    logits = metrics.digit_classifier().head(features)
    fractions = torch.bincount(logits.argmax(1), minlength=10) / len(logits)
    coverage = dict(enumerate(fractions.tolist()))
    wanted = [coverage[digit] for digit in run["digits"]]
    precision, recall = None, None
    if len(images) >= metrics.NEIGHBORS + 2:
        precision, recall = metrics.precision_recall_of_features(features, real[: len(features)])
    return {
        "inception_score": metrics.inception_of_logits(logits),
        "frechet_distance": metrics.frechet_of_features(features, real),
        "kernel_distance": metrics.kernel_distance_of_features(features, real),
        "second_frechet_distance": metrics.frechet_of_features(
            metrics.features(images, metrics.small_extractor()), also_real
        ),
        "precision": precision,
        "recall": recall,
        "class_balance": metrics.balance_of_coverage(coverage, run["digits"]) if len(wanted) > 1 else None,
        "wanted_fraction": sum(wanted),
        "rarest_digit": min(wanted),
        "distinct_images": metrics.distinct_images(images),
    }


def _real_features(test: Digits, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """The test images' features, (M, 64), in both networks; computed once per process."""
    key = tuple(run["digits"]), run["source"]
    if key not in REAL_FEATURES:
        images = test.images
        REAL_FEATURES[key] = metrics.features(images), metrics.features(images, metrics.small_extractor())
    return REAL_FEATURES[key]


def _compare_priors(gan: QAAN, digits: Digits, test: Digits, run: Run) -> Iterator[dict[str, Any]]:
    """Fit each of the run's compared priors to the same bits, and score the same networks' images of its samples."""
    priors = run.get("priors", {})
    if not priors:
        return
    rng = np.random.default_rng(derive_seed(run["seed"], "compared priors"))
    chosen = torch.from_numpy(rng.permutation(len(digits))[: gan.settings.fit_samples])
    bits = gan.bits(digits.images[chosen], seed=run["seed"])
    of_bits = {"bits_entropy": entropy(bits), "bits_correlation": total_correlation(bits)}
    for name, config in priors.items():
        prior = make_prior({**config, "seed": run["seed"]})
        started = time.perf_counter()
        cost = prior.fit(bits)
        seconds = time.perf_counter() - started
        other = gan.with_prior(prior)
        yield {
            "prior": name,
            "prior_cost": None if math.isnan(cost) else cost,
            **of_bits,
            "prior_seconds": seconds,
            "n_parameters": _n_parameters(prior),
            **_image_scores(other.sample(run["n_images"]), test, run),
            "nearest_distance": None,  # it is about the networks
            **_prior_scores(other, test, run["seed"]),
        }


def _prior_scores(gan: QAAN, test: Digits, seed: int) -> dict[str, float | None]:
    """In nats: the KL divergence from the bits of test digits to the prior, and the prior's own entropies.

    The bits are those of the current networks, which may have been trained further since the prior's last fit.
    """
    names = "held_out_kl", "held_out_kl_bias", "prior_entropy", "prior_correlation"
    n_bits = gan.prior.latent_dim
    if n_bits > MAX_ENUMERATED_BITS or isinstance(gan.active_prior, GaussianPrior):
        return dict.fromkeys(names)
    bits, p = gan.bits(test.images, seed=seed), distribution(gan.active_prior)
    means = (p @ from_index(np.arange(len(p)), n_bits)).clip(0, 1)  # rounding can exceed 1 if a bit is always set
    independent = entr([means, 1 - means]).sum()  # entropy of the product distribution with the same means
    of_prior = entr(p).sum()
    values = kl_divergence(bits, p), kl_sampling_bias(p, len(bits)), of_prior, independent - of_prior
    return dict(zip(names, map(float, values), strict=True))


def _read(path: Path, run: Run) -> Result | None:
    """The saved result of a run; None if there is none, or with a warning if it is damaged."""
    try:
        result: Result = json.loads(path.read_text(encoding="utf-8"))
        if result.pop("sha256") == _checksum(result) and result["run"] == run:
            return result
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        pass
    warnings.warn(f"{path} is damaged; its run is repeated", stacklevel=3)
    return None


def _checksum(content: Run | Result) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_table(path: Path, runs: dict[str, Run], results: dict[str, Result]) -> None:
    """Write one row for each score of each result, in the order of the plan."""
    rows = []
    for name in runs:
        if name in results:
            result, run = results[name], results[name]["run"]
            rest = {key: result[key] for key in ("n_parameters", "data", "revision")}
            rest |= {"warnings": len(result["warnings"]), "result": name}
            long = {"versions": json.dumps(result["versions"]), "configuration": json.dumps(run)}
            for scores in result["scores"]:  # rows of compared priors would repeat the longest cells
                more = {} if scores.get("prior") else long
                rows.append({"arm": run["arm"], "seed": run["seed"], **(rest | scores), **more})
    text = io.StringIO()
    if rows:
        columns = dict.fromkeys(name for row in rows for name in row)  # results of older versions have fewer
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    storage.write_atomically(path, text.getvalue().encode())
