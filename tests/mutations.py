"""Mutation check: put one bug at a time into a copy of the package, and see whether the tests notice.

    python tests/mutations.py            # all mutations, about half an hour
    python tests/mutations.py 3 7        # some of them, by number or by name
    python tests/mutations.py --list

Each mutation is a small bug that gives wrong results and no error. It is killed if one of its tests fails. The tests
that killed mutations must pass on the unchanged package. The exit status is 1 if a mutation survives, or if its
original text is not in the package exactly once.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
FAILED = re.compile(r"^(?:FAILED|ERROR) ([^\s:]+(?:::\w+)+)", re.MULTILINE)  # a line of pytest's summary


@dataclass(frozen=True)
class Mutation:
    """A small bug.

    Args:
        name: What is wrong in the mutated package.
        file: The file, relative to `qaan_helpers`.
        original: A text that occurs exactly once in the file.
        replacement: What replaces it.
        tests: Test files, or tests within files, relative to `tests`. One test should fail; the fastest come first.
    """

    name: str
    file: str
    original: str
    replacement: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "mean instead of median",
        "bits.py",
        "np.median(values, axis=0)",
        "np.mean(values, axis=0)",
        ("unit/test_bits.py",),
    ),
    Mutation(
        "train and test files swapped",
        "mnist.py",
        '{"train": "train", "test": "t10k"}',
        '{"train": "t10k", "test": "train"}',
        ("unit/test_mnist.py",),
    ),
    Mutation(
        "two-basis distribution transposed",
        "priors.py",
        "np.outer(self.qcbm.probabilities(basis=1), self.qcbm.probabilities())",
        "np.outer(self.qcbm.probabilities(), self.qcbm.probabilities(basis=1))",
        ("unit/test_priors.py",),
    ),
    Mutation(
        "mixture shares the learned prior's random numbers",
        "priors.py",
        "self._rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])",
        "self._rng = np.random.default_rng(np.random.SeedSequence(seed))",
        ("unit/test_priors.py",),
    ),
    Mutation("second basis rotated by -π/2", "quantum/qcbm.py", "else np.pi", "else -np.pi", ("unit/test_qcbm.py",)),
    Mutation("gradient not clipped", "quantum/losses.py", "> epsilon", "> 0", ("unit/test_losses.py",)),
    Mutation(
        "a logged job used twice",
        "quantum/execution.py",
        "            log.mark_used(request)\n",
        "",
        ("unit/test_job_log.py",),
    ),
    Mutation(
        "jobs compared without shots",
        "quantum/job_log.py",
        ".hex(), shots, device)",
        ".hex(), device)",
        ("unit/test_job_log.py",),
    ),
    Mutation("bytes of shots reversed", "quantum/execution.py", "[::-1]", "", ("unit/test_execution.py",)),
    Mutation(
        "SPSA budget off by one",
        "quantum/optimizers.py",
        "evaluations - 1",
        "evaluations",
        ("unit/test_optimizers.py",),
    ),
    Mutation("noise of RX on RZ", "quantum/devices.py", '["rx"])', '["rz"])', ("unit/test_devices.py",)),
    Mutation(
        "targets of real and generated images swapped",
        "gan/model.py",
        "_cross_entropy(real_logits, real_target) + _cross_entropy(fake_logits, 0.0)",
        "_cross_entropy(fake_logits, real_target) + _cross_entropy(real_logits, 0.0)",
        ("unit/test_training.py",),
    ),
    Mutation("EMA decay not restored", "gan/model.py", "self.ema.multi_avg_fn =", "_ =", ("unit/test_model.py",)),
    Mutation(
        "Adam's moments aliased", "gan/model.py", 'copy.deepcopy({"state"', 'dict({"state"', ("unit/test_model.py",)
    ),
    Mutation("one save too many kept", "gan/storage.py", "[-keep:]", "[-keep - 1 :]", ("robustness/test_storage.py",)),
    Mutation(
        "checksum without description", "gan/storage.py", "description.encode()", 'b""', ("robustness/test_storage.py",)
    ),
    Mutation(
        "save not synced to disk", "gan/storage.py", "os.fsync(file.fileno())", "pass", ("robustness/test_storage.py",)
    ),
    Mutation("prior fitted one epoch late", "gan/training.py", "waited < 0", "waited <= 0", ("unit/test_training.py",)),
    Mutation(
        "interrupted epoch not undone",
        "gan/training.py",
        'gan.load_state_dict({**before, "prior": prior})',
        "pass",
        ("robustness/test_interruption.py::test_any_other_error_undoes_the_epoch_too",),
    ),
    Mutation(
        "increments swapped",
        "gan/format_1.py",
        "inc_high, inc_low",
        "inc_low, inc_high",
        ("robustness/test_storage.py",),
    ),
    Mutation(
        "preserved restores nothing", "gan/state.py", "gan.load_state_dict(state)", "pass", ("unit/test_model.py",)
    ),
    Mutation(
        "discriminator sees brightness in 0 to 1",
        "gan/networks.py",
        "return self.hidden(self.convolutions(2 * check_images(images) - 1))",
        "return self.hidden(self.convolutions(check_images(images)))",
        ("unit/test_networks.py",),
    ),
    Mutation(
        "saturation by the sum of outputs",
        "gan/health.py",
        "real - r.d_fake",
        "real + r.d_fake",
        ("unit/test_health.py",),
    ),
    Mutation(
        "wrong signs in the studentized interval",
        "evaluation/comparison.py",
        "float(mean - high * error), float(mean - low * error)",
        "float(mean + low * error), float(mean + high * error)",
        ("unit/test_comparison.py",),
    ),
    Mutation(
        "runs paired by position, not by seed",
        "evaluation/comparison.py",
        "[scores[name][seed] for seed in sorted(ours)]",
        "list(scores[name].values())",
        ("unit/test_comparison.py",),
    ),
    Mutation(
        "fractions not normalized",
        "evaluation/metrics.py",
        "fractions / fractions.sum().clamp(min=1e-12)",
        "fractions",
        ("unit/test_metrics.py",),
    ),
    Mutation(
        "result of another run reused", "evaluation/sweep.py", 'and result["run"] == run', "", ("unit/test_sweep.py",)
    ),
    Mutation(
        "bits of state labels reversed",
        "lab/plots.py",
        "state >> q",
        "state >> n_bits - 1 - q",
        ("unit/test_plots.py",),
    ),
    Mutation(
        "entropy in nats called bits",
        "lab/widgets.py",
        "np.log2(p[p > 0])",
        "np.log(p[p > 0])",
        ("unit/test_widgets.py",),
    ),
    Mutation(
        "networks ignore --seed",
        "__main__.py",
        "options.device, options.seed, options.objective)",
        "options.device, objective=options.objective)",
        ("unit/test_cli.py",),
    ),
    Mutation(
        "no gradient through the bits",
        "gan/networks.py",
        " + (p - p.detach())",
        "",
        ("unit/test_objectives.py",),
    ),
    Mutation(
        "codes of images thresholded at 0",
        "gan/model.py",
        "self.activations(images).cpu() > self.thresholds",
        "self.activations(images).cpu() > 0",
        ("unit/test_objectives.py",),
    ),
    Mutation(
        "prior fitted before the epoch with every objective",
        "gan/training.py",
        'fits_last = gan.objective == "reconstruction"',
        "fits_last = False",
        ("unit/test_objectives.py",),
    ),
    Mutation(
        'prior fitted in the warm-up of "reconstruction"',
        "gan/training.py",
        "_fit_if_due(gan, digits, gan.epoch + 1)",
        "_fit_if_due(gan, digits, gan.epoch + 2)",
        ("unit/test_objectives.py",),
    ),
    Mutation(
        "weight of the reconstruction without a ramp",
        "gan/model.py",
        "total = g_loss + ramp * ",
        "total = g_loss + ",
        ("unit/test_objectives.py",),
    ),
    Mutation(
        "reconstructions and generated images swapped",
        "gan/model.py",
        "reconstructions, fakes = self.generator(torch.cat",
        "fakes, reconstructions = self.generator(torch.cat",
        ("unit/test_objectives.py",),
    ),
    Mutation(
        "no noise on the codes",
        "gan/model.py",
        "codes = signs + self.settings.latent_noise * torch.randn",
        "codes = signs + 0 * torch.randn",
        ("unit/test_objectives.py",),
    ),
    Mutation(
        "another prior is put in front, and not used",
        "gan/model.py",
        "vars(other).update(prior=prior, prior_fitted=True,",
        "vars(other).update(prior=prior, prior_fitted=False,",
        ("unit/test_objectives.py",),
    ),
    Mutation(
        "encoder learns at the generator's momentum",
        "gan/model.py",
        "torch.optim.Adam(self.encoder.parameters(), lr=encoder_rate)",
        "adam(self.encoder.parameters(), lr=encoder_rate)",
        ("unit/test_objectives.py",),
    ),
    Mutation(
        "a signed permutation without signs",
        "priors.py",
        "return self.prior.sample(n_samples)[:, self.order] ^ self.flips",
        "return self.prior.sample(n_samples)[:, self.order]",
        ("unit/test_priors.py",),
    ),
    Mutation(
        "compared priors generate with the prior of the training",
        "evaluation/sweep.py",
        "other = gan.with_prior(prior)",
        "other = gan",
        ("unit/test_sweep.py",),
    ),
    Mutation(
        "precision and recall exchanged",
        "evaluation/metrics.py",
        'return float(scores["precision"]), float(scores["recall"])',
        'return float(scores["recall"]), float(scores["precision"])',
        ("unit/test_metrics.py",),
    ),
    Mutation(
        "a resumed run forgets its scores",
        "evaluation/sweep.py",
        "return gan, _Progress(**progress)",
        "return gan, _Progress()",
        ("robustness/test_cluster.py",),
    ),
)


def select(wanted: list[str]) -> dict[int, Mutation]:
    """Return mutations by number.

    Args:
        wanted: Numbers from 1 or names; all mutations if empty.

    Raises:
        ValueError: If one is unknown, or its original text is not in the package exactly once.
    """
    numbered = dict(enumerate(MUTATIONS, 1))
    known = {str(i) for i in numbered} | {mutation.name for mutation in MUTATIONS}
    if unknown := [each for each in wanted if each not in known]:
        raise ValueError(f"{unknown[0]!r} is neither a number nor a name of a mutation; see --list")
    chosen = {i: m for i, m in numbered.items() if not wanted or {str(i), m.name} & set(wanted)}
    for mutation in chosen.values():
        count = (ROOT / "qaan_helpers" / mutation.file).read_text(encoding="utf-8").count(mutation.original)
        if count != 1:
            raise ValueError(
                f"{mutation.name}: {mutation.original!r} occurs {count} times in {mutation.file} and must occur once. "
                "The code has changed: update the mutation"
            )
    return chosen


def run_tests(copy: Path, tests: list[str]) -> str | None:
    """Run tests in a copy of the project until one fails.

    Args:
        copy: The copy.
        tests: Test files, or tests within files, relative to the copy.

    Returns:
        The test that failed, or None.

    Raises:
        RuntimeError: If pytest cannot run the tests.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, cwd=copy, env=_environment(copy), capture_output=True, text=True)
    if run.returncode not in (0, 1):
        raise RuntimeError(f"pytest exited with {run.returncode}: {run.stdout[-2000:]}{run.stderr[-2000:]}")
    failed = FAILED.search(run.stdout)
    return (failed[1] if failed else "a test without a name") if run.returncode else None


def find_killer(copy: Path, mutation: Mutation) -> str | None:
    """Apply a mutation to a copy of the project, run its tests, and undo it.

    Args:
        copy: The copy.
        mutation: The mutation.

    Returns:
        The test that failed, or None if the mutation survives.
    """
    file = copy / "qaan_helpers" / mutation.file
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutation.original, mutation.replacement), encoding="utf-8")
    try:
        return run_tests(copy, [f"tests/{test}" for test in mutation.tests])
    finally:
        file.write_text(text, encoding="utf-8")


def _environment(copy: Path) -> dict[str, str]:
    """Let Python import the package from the copy. It stores no bytecode, which could outlive a mutation."""
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def _check_import(copy: Path) -> None:
    command = [sys.executable, "-c", "import qaan_helpers; print(qaan_helpers.__file__)"]
    run = subprocess.run(command, cwd=copy.parent, env=_environment(copy), capture_output=True, text=True, check=True)
    if Path(run.stdout.strip()) != copy / "qaan_helpers" / "__init__.py":
        raise RuntimeError(f"the tests would import {run.stdout.strip()} instead of the copy in {copy}")


def main() -> int:
    """Run the chosen mutations and return the exit status."""
    parser = argparse.ArgumentParser(description="Put bugs into a copy of the package and see whether tests fail.")
    parser.add_argument("mutations", nargs="*", metavar="MUTATION", help="number or name; default: all")
    parser.add_argument("--list", action="store_true", help="list the mutations and stop")
    options = parser.parse_args()
    try:
        chosen = select(options.mutations)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if options.list:
        for i, mutation in chosen.items():
            print(f"{i:2} {mutation.name} ({mutation.file})")
        return 0
    started, killers, survivors = time.monotonic(), set(), 0
    with tempfile.TemporaryDirectory(prefix="qaan-mutations-") as folder:
        copy = Path(folder).resolve() / "project"
        shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
        _check_import(copy)
        for i, mutation in chosen.items():
            killer = find_killer(copy, mutation)
            print(f"{i:2} {mutation.name}: {killer or 'survives'}", flush=True)
            survivors += killer is None
            killers |= {killer} - {None}
        wrong = run_tests(copy, sorted(killers)) if killers else None
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations killed in {time.monotonic() - started:.0f} s")
    if wrong:
        print(f"{wrong} fails on the unchanged package too, so it kills nothing", file=sys.stderr)
    return 1 if survivors or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
