"""Stopped at any moment: killed, interrupted, out of room. The last whole state is on disk, loads, and goes on."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import qaan_helpers as qh
from qaan_helpers.gan import storage, training
from qaan_helpers.gan.state import snapshot

DATA = ["--source", "sample", "--digits", "7"]
PRIORS = {
    "product": ["--prior", "product", "--qubits", "3"],
    "qcbm": ["--qubits", "2", "--layers", "1", "--evaluations", "30", "--refit-evaluations", "12"],
}
COMMAND_EPOCHS, COMMAND_KILLS = 4, 5  # of the command line, for either prior
EPOCHS, KILLS = 8, 8  # of a smaller training, for any of three priors
SAVE_KILLS = 10  # of two ways to save: 5 · 2 + 8 · 3 + 10 · 2 processes are killed in all

needs_fork = pytest.mark.skipif(
    sys.platform != "linux", reason="forks after large imports, which is safe on Linux only"
)


def command_line(kind, folder, epochs=COMMAND_EPOCHS):
    fixed = ["--device", "cpu", "--batch-size", "100", "--seed", "4"]
    return ["train", *DATA, *PRIORS[kind], *fixed, "--epochs", str(epochs), "--out", str(folder)]


def environment():
    """For a process of its own: this package, this file, and one thread, as in the tests around it."""
    paths = os.pathsep.join([str(Path(qh.__file__).parents[1]), str(Path(__file__).parent)])
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def digest(gan):
    """One word for the whole state: networks, Adams, streams, prior and history."""
    digest = hashlib.sha256()
    tensors, rest = storage.pack(gan.state_dict())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    for report in rest["history"]:
        del report["seconds"], report["prior_seconds"]
    digest.update(json.dumps(rest, sort_keys=True).encode())
    return digest.hexdigest()


def few_digits():
    sample = qh.load_mnist((3, 7), source="sample")
    return qh.Digits(sample.images[::100], sample.labels[::100])


def small(kind):
    options = {"max_evaluations": 12, "refit_evaluations": 10, "seed": 3}
    prior = {
        "product": lambda: qh.ProductPrior(3, seed=3),
        "qcbm": lambda: qh.QCBMPrior(2, 1, **options),
        "shots": lambda: qh.QCBMPrior(2, 1, execution=qh.Shots(50), optimizer="spsa", **options),
    }
    objective = "associative" if kind in prior else kind
    return qh.QAAN(prior.get(kind, prior["product"])(), "cpu", 5, objective, warm_up=1)


def load_whole(folder):
    """What `folder` holds, where no save had to be passed over to find it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return qh.QAAN.load(folder, device="cpu")


# Killed


def nursery():
    """Import once; then, for each order on stdin, fork a child that fills it, and send it a signal after some seconds.

    An order is JSON: [what, its arguments, seconds or null, signal]. The child's exit status comes back on stdout, and
    nothing but it: what the child says goes into the file `said` of its working folder.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored

    from qiskit.transpiler.preset_passmanagers.plugin import list_stage_plugins

    from qaan_helpers.__main__ import main

    list_stage_plugins("layout")  # imports them all
    small("product")  # imports what PyTorch's optimizers need
    work = {"main": main, "train": train_and_save, "save for ever": save_for_ever, "download": download}
    for line in sys.stdin:
        what, arguments, after, number = json.loads(line)
        child = os.fork()
        if child == 0:
            said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1), os.dup2(said, 2)
            try:
                code = work[what](arguments)
            except KeyboardInterrupt:  # before `main` had begun
                code = 130
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
        print(os.waitstatus_to_exitcode(end_of(child, after, number)), flush=True)


def end_of(child, after, number):
    """The status with which a child ended, by itself or by the signal that it gets after so many seconds."""
    deadline = time.monotonic() + (3600 if after is None else after)
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.001)
    os.kill(child, number)
    return os.waitpid(child, 0)[1]


def train_and_save(arguments):
    """Train up to so many epochs, saving each, and go on where it stopped."""
    folder, kind, epochs = arguments
    gan = qh.QAAN.load(folder, "cpu") if any(Path(folder).glob("epoch_*.safetensors")) else small(kind)
    for _ in qh.train(gan, few_digits(), epochs - gan.epoch, batch_size=4) if gan.epoch < epochs else ():
        gan.save(folder)
    return 0


def save_for_ever(arguments):
    """Save states 1, 2, 3, … and say each number once it is saved."""
    folder, rising = arguments
    for n in range(1, 1_000_000):
        tensors = {name: torch.full((20_000,), n) for name in ("one", "two")}
        storage.write(folder, n if rising else 1, tensors | {"n": n})
        os.write(1, f"{n}\n".encode())
    return 0


def download(arguments):
    """Fetch MNIST from a stand-in that writes its four files bit by bit."""
    from qaan_helpers import mnist

    sizes = {name: 16 + 20 * 784 if "images" in name else 8 + 20 for name in mnist.RAW_SHA256}  # of twenty zeros

    class Slow:
        def __init__(self, root, train, download):
            raw = Path(root) / "MNIST" / "raw"
            raw.mkdir(parents=True, exist_ok=True)
            for name, size in sizes.items():
                with (raw / name).open("wb", buffering=0) as file:
                    for _ in range(4):
                        file.write(bytes(size // 4))
                        time.sleep(0.005)

    import torchvision.datasets

    torchvision.datasets.MNIST = Slow
    mnist.RAW_SHA256 = {name: hashlib.sha256(bytes(size)).hexdigest() for name, size in sizes.items()}
    (folder,) = arguments
    if Path(folder, "MNIST", "raw").exists():
        mnist.load_mnist([0], source="auto", root=folder)  # refuses half a set
    print(mnist.load_mnist([0], source="full", root=folder).source)
    return 0


class Nursery:
    """Children to kill, from a process that has imported everything once."""

    def __init__(self, folder):
        command = [sys.executable, "-c", "import test_interruption; test_interruption.nursery()"]
        self.said = folder / "said"
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=folder
        )

    def run(self, what, arguments, after=None, number=signal.SIGKILL):
        """Let a child do something and return its exit code, which is minus the signal where it was killed."""
        self.process.stdin.write(json.dumps([what, arguments, after, int(number)]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()


def train_order(kind):
    return lambda folder, epochs=EPOCHS: ("train", [str(folder), kind, epochs])


def command_order(kind):
    return lambda folder, epochs=COMMAND_EPOCHS: ("main", command_line(kind, folder, epochs))


def digests_of(children, order, folder, epochs):
    """The states after each epoch of what is never killed: {epoch: digest}."""
    digests = {}
    for epoch in range(1, epochs + 1):
        assert children.run(*order(folder, epoch)) == 0, children.said.read_text()
        digests[epoch] = digest(load_whole(folder))
    return digests


def whole_run(children, order, folder, digests):
    """The seconds of a run in one go, which must end like the one that went on after each epoch."""
    started = time.perf_counter()
    assert children.run(*order(folder)) == 0, children.said.read_text()
    seconds = time.perf_counter() - started
    assert digest(load_whole(folder)) == digests[max(digests)]
    return seconds


def kill_at_random(children, order, folders, digests, least):
    """Fill `order(folder)` again and again, killed at random, in a new folder when one is done.

    After each kill there is no save yet, or the newest loads and is what `digests` has for its epoch. It ends when
    `least` processes were killed, and at three different epochs at least; then the last folder is brought to its end.
    """
    span = whole_run(children, order, folders / "whole", digests)
    dice, killed, run, reached = random.Random(), 0, 0, set()
    while killed < least or (len(reached) < 3 and killed < 10 * least):
        folder, after = folders / str(run), dice.uniform(0, span)
        code = children.run(*order(folder), after)
        assert code in (0, -signal.SIGKILL), children.said.read_text()
        killed += code != 0
        span *= 1.1 if code else 0.8  # the machine may be busier now than it was, or less busy
        if any(folder.glob("epoch_*.safetensors")):
            gan = load_whole(folder)
            assert digest(gan) == digests[gan.epoch], f"killed after {after} s"
            reached |= {gan.epoch} if code else set()
            run += gan.epoch == max(digests)
    assert len(reached) >= 3
    whole_run(children, order, folders / str(run), digests)
    assert len(list((folders / str(run)).iterdir())) == 2  # nothing is left of all the killed saves


@needs_fork
@pytest.mark.parametrize("kind", PRIORS)
def test_a_command_that_is_killed_at_random_moments_ends_as_if_it_never_was(children, tmp_path, kind):
    order = command_order(kind)
    digests = digests_of(children, order, tmp_path / "reference", COMMAND_EPOCHS)
    kill_at_random(children, order, tmp_path, digests, COMMAND_KILLS)


@needs_fork
@pytest.mark.parametrize("kind", ["product", "qcbm", "shots", "tied", "reconstruction"])
def test_a_training_that_is_killed_at_random_moments_ends_as_if_it_never_was(children, tmp_path, kind):
    order = train_order(kind)
    digests = digests_of(children, order, tmp_path / "reference", EPOCHS)
    kill_at_random(children, order, tmp_path, digests, KILLS)


@needs_fork
@pytest.mark.parametrize("rising", [True, False])
def test_a_save_that_is_killed_leaves_it_or_the_one_before(children, tmp_path, rising):
    dice, told = random.Random(), []
    for kill in range(SAVE_KILLS):
        folder = tmp_path / str(kill)
        assert children.run("save for ever", [str(folder), rising], dice.uniform(0.02, 0.4)) == -signal.SIGKILL
        said = children.said.read_text().split()
        last = int(said[-1]) if said else 0
        told.append(last)
        if last == 0 and not any(folder.glob("epoch_*.safetensors")):
            continue
        state = storage.saves(folder)[0].read()
        assert state["n"] in (last, last + 1)
        assert all((tensor == state["n"]).all() for tensor in storage.pack(state)[0].values())
    assert len(set(told)) > 2


@needs_fork
def test_a_download_that_is_killed_is_never_taken_for_a_whole_set(children, tmp_path):
    dice = random.Random()
    for _ in range(6):
        assert children.run("download", [str(tmp_path)], dice.uniform(0, 0.15)) in (0, -signal.SIGKILL)
    assert children.run("download", [str(tmp_path)]) == 0, children.said.read_text()
    assert "full MNIST" in children.said.read_text()


# Interrupted


@needs_fork
def test_ctrl_c_at_random_moments_ends_the_command_with_130(children, tmp_path):
    order = command_order("qcbm")
    digests = digests_of(children, order, tmp_path / "reference", COMMAND_EPOCHS)
    span = whole_run(children, order, tmp_path / "whole", digests)
    dice, codes = random.Random(), []
    for _ in range(6):
        codes.append(children.run(*order(tmp_path / "run"), dice.uniform(0, span), signal.SIGINT))
        said = children.said.read_text()
        assert codes[-1] in (0, 130), said  # 0: it was done before, or the interrupt was lost in a destructor
        assert codes[-1] == 0 or "Traceback" not in said
        if any((tmp_path / "run").glob("epoch_*.safetensors")):
            gan = load_whole(tmp_path / "run")
            assert digest(gan) == digests[gan.epoch]
    assert 130 in codes
    whole_run(children, order, tmp_path / "run", digests)


def heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs inherit that it is ignored


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_in_a_process_of_its_own(tmp_path):
    """The real thing from a shell, with nothing of the tests around it."""
    command = [sys.executable, "-m", "qaan_helpers", *command_line("product", tmp_path, 10_000)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=heed_interrupts,
    )
    while not (tmp_path / "epoch_000002.safetensors").exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.2))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the last complete epoch is saved" in said and "Traceback" not in said
    assert load_whole(tmp_path).epoch >= 2


class Interrupt:
    """Raises KeyboardInterrupt at one line of what runs inside, counted over all modules, and at a later one again.

    The later one only in what puts the state back: that is where a second, impatient Ctrl-C could do harm.
    """

    def __init__(self, first, second=None):
        self.first, self.second, self.lines, self.lines_back, self.hits = first, second, 0, 0, 0

    def __enter__(self):
        self.earlier = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.earlier)

    def trace(self, frame, event, _):
        if frame.f_code.co_filename == __file__:
            return None
        return self.count

    def count(self, frame, event, _):
        if event == "line":
            self.lines += 1
            if self.lines == self.first:
                self.hits += 1
                raise KeyboardInterrupt
            if self.second and self.hits == 1 and putting_back(frame):
                self.lines_back += 1
                if self.lines_back == self.second:
                    self.hits += 1
                    raise KeyboardInterrupt
        return self.count


def putting_back(frame):
    while frame is not None:
        if frame.f_code is training._undo.__code__:
            return frame.f_lineno > frame.f_code.co_firstlineno + 5  # inside its `try`
        frame = frame.f_back
    return False


def test_an_interrupt_while_the_state_is_copied_leaves_gradients_enabled(monkeypatch):
    gan = small("product")

    def interrupted(_):
        torch.set_grad_enabled(False)  # as at the edge of torch.no_grad()
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "snapshot", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(qh.train(gan, few_digits(), 1, batch_size=4))
    assert torch.is_grad_enabled()
    assert gan.epoch == 0


@pytest.mark.parametrize("kind", ["product", "qcbm", "shots", "tied", "reconstruction"])
@pytest.mark.parametrize("epochs", [0, 1, 2])  # in the warm-up, in the first fit, in a later one
def test_an_interrupt_at_any_line_of_an_epoch_leaves_the_end_of_the_last(tmp_path, kind, epochs):
    digits, gan = few_digits(), small(kind)
    for _ in qh.train(gan, digits, epochs, batch_size=4) if epochs else ():
        pass
    gan.save(tmp_path)
    before = digest(gan)
    whole = qh.QAAN.load(tmp_path)
    with Interrupt(first=None) as counter:
        next(qh.train(whole, digits, 1, batch_size=4))
    assert counter.lines > 1000

    dice = random.Random()
    for second in (None, None, None, None, *(dice.randrange(1, 1500) for _ in range(4))):
        first = dice.randrange(1, counter.lines)
        with contextlib.suppress(KeyboardInterrupt), Interrupt(first, second) as interrupt:
            next(qh.train(gan, digits, 1, batch_size=4))
        where = f"at line {first}, and {second} of putting back, which was hit {interrupt.hits} times"
        if gan.epoch > epochs:  # the interrupt was lost in a destructor, or came after the last line of the epoch
            assert digest(gan) == digest(whole), where
            gan = qh.QAAN.load(tmp_path)
        assert digest(gan) == before, where
        assert torch.is_grad_enabled(), where
        assert all(weight.requires_grad for weight in gan.discriminator.parameters()), where
    next(qh.train(gan, digits, 1, batch_size=4))
    assert digest(gan) == digest(whole)


def test_what_is_saved_after_an_interrupt_is_the_last_whole_epoch(tmp_path):
    digits, gan = few_digits(), small("product")
    next(qh.train(gan, digits, 1, batch_size=4))
    gan.save(tmp_path / "before")

    class Stopped(qh.ProductPrior):
        def fit(self, bits):
            super().fit(bits)
            self.sample(7)
            raise KeyboardInterrupt

    gan.prior.__class__ = Stopped
    with pytest.raises(KeyboardInterrupt):
        next(qh.train(gan, digits, 1, batch_size=4))
    gan.prior.__class__ = qh.ProductPrior
    gan.save(tmp_path / "after")
    assert digest(load_whole(tmp_path / "before")) == digest(load_whole(tmp_path / "after"))


def test_what_a_fit_learned_before_its_device_failed_is_kept():
    """It was paid for; all else is as after the last whole epoch."""
    digits, gan = few_digits(), small("product")
    next(qh.train(gan, digits, 1, batch_size=4))
    before = snapshot(gan)

    class Failing(qh.ProductPrior):
        def fit(self, bits):
            self.p = np.array([0.1, 0.2, 0.3])
            raise qh.ExecutionError("the device is away")

    gan.prior.__class__ = Failing
    with pytest.raises(qh.ExecutionError):
        next(qh.train(gan, digits, 1, batch_size=4))
    assert gan.prior.p.tolist() == [0.1, 0.2, 0.3]
    assert gan.epoch == 1 and not gan.prior_fitted
    tensors, others = (storage.pack(state)[0] for state in (before, gan.state_dict()))
    assert all(torch.equal(tensors[name], others[name]) for name in tensors if name != "prior/state/p")


def test_any_other_error_undoes_the_epoch_too():
    digits, gan = few_digits(), small("product")
    next(qh.train(gan, digits, 1, batch_size=4))
    before, step, calls = digest(gan), gan.step, []

    def breaks(images, latents):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return step(images, latents)

    gan.step = breaks
    with pytest.raises(MemoryError):
        next(qh.train(gan, digits, 1, batch_size=4))
    assert digest(gan) == before


# No room, no right to write


ON_A_SMALL_DISK = """
import os, subprocess, sys
import test_interruption as t

folder, mount = sys.argv[1:]
digits, gan = t.few_digits(), t.small("product")
epochs = t.qh.train(gan, digits, 40, batch_size=4)
next(epochs), gan.save(folder + "/run")
size = sum(path.stat().st_size for path in t.Path(folder, "run").iterdir())
kept, failed = t.digest(gan), 0
for room in range(0, 4 * size, size // 3):  # from no room at all to room for three more saves
    next(epochs)
    with open(folder + "/filler", "wb") as filler:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        filler.write(bytes(max(0, free - room)))
    try:
        gan.save(folder + "/run")
        kept = t.digest(gan)
    except OSError as error:
        failed += 1
        assert error.errno == 28 and "epoch_" in str(error) and "Free some space" in str(error), error
    assert t.digest(t.load_whole(folder + "/run")) == kept
    os.unlink(folder + "/filler")
    gan.save(folder + "/run")
    kept = t.digest(gan)
assert failed > 2, failed

subprocess.run([mount, "-o", "remount,ro", folder], check=True)
next(epochs)
try:
    gan.save(folder + "/run")
except OSError as error:
    assert error.errno == 30 and "could not be saved (Read-only file system)" in str(error), error
else:
    raise AssertionError("saved to a disk that cannot be written")
assert t.digest(t.load_whole(folder + "/run")) == kept
print("both survived")
"""


def test_a_real_disk_that_is_full_or_read_only_keeps_the_last_save(tmp_path):
    unshare, mount = (shutil.which(name) for name in ("unshare", "mount"))
    if not unshare or not mount:
        pytest.skip("no unshare or mount here to make a small disk with")
    alone = [unshare, "--user", "--map-root-user", "--mount"]  # what is mounted is seen, and gone, with the process
    if subprocess.run([*alone, mount, "-t", "tmpfs", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    mounts_and_runs = '"$1" -t tmpfs -o size=8m tmpfs "$2" && exec "$3" -c "$4" "$2" "$1"'
    shell = [shutil.which("sh"), "-c", mounts_and_runs, "sh", mount, tmp_path, sys.executable, ON_A_SMALL_DISK]
    done = subprocess.run([*alone, *shell], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert "both survived" in done.stdout
