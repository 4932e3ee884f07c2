"""Mutated files: each loads as what it was or is refused by name, soon, in little memory, and nothing else is touched.

A child process with a limit on its memory reads them all. A case is made from its kind and its number alone, so that
`python tests/robustness/test_fuzz.py KIND NUMBER` plays it again.
"""

import contextlib
import gzip
import hashlib
import io
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

KINDS = {  # and how many cases of each
    "idx": 2500,  # the full set on disk
    "sample": 1500,  # the bundled sample
    "gz": 800,  # archives that a mirror hands out
    "saved": 3000,  # a folder of two saves; the checksums stay as they were
    "description": 1800,  # a save's description, with a checksum that is right again
    "tensors": 1800,  # a save's tensors, with a checksum that is right again
    "circuit": 300,  # the description of a run with a circuit, with a checksum that is right again
}
if not os.environ.get("QAAN_FULL"):  # `make check` tries all of them
    KINDS = {kind: count // 6 for kind, count in KINDS.items()}
SECONDS = 10  # that a case may take
HEADROOM = 2**29  # bytes that the child may take beyond what its imports took
GROWTH = 400 * 2**20  # bytes by which its peak may grow
HUGE = 3 * 2**28  # the size of a file that is nearly all hole


# How files are mutated: bytes, and JSON

NUMBERS = (0, -1, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64, 10**18, 10**400, -(10**18), 0.5, -0.0, 1e308)
WORDS = ("", "x", "\0", "\ud800", "../../x", "1" * 5000)
ODD = (*NUMBERS, *WORDS, math.nan, math.inf, -math.inf, None, True, False, [], {})
CRAFTED = (b"", b"\0", b"{}", b"[]", b"null", b"\xff\xfe\x00", b"\x80\x04N.", b"1" * 9999)
DEEP = (b"[" * 200_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900)
TYPES = {"F64": 8, "I64": 8, "U64": 8, "C64": 8, "I32": 4, "F16": 2, "BF16": 2, "BOOL": 1, "U8": 1, "F8_E4M3": 1}
TYPES |= {"F8_E5M2": 1, "F8_E8M0": 1, "X": 1, "": 1}  # of tensors, and their bytes


def mutate(content, rng, others):
    """Some bytes like `content`, in one of a dozen ways; `others` are files that it may be swapped with."""
    how = rng.choice(list(BYTES))
    return how, BYTES[how](content, rng, others)


def flip_bits(content, rng, _):
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(content, rng, _):
    at, length = rng.randrange(len(content)), rng.choice((1, 4, 8, 100))
    return content[:at] + rng.choice((b"\0", b"\xff", b"9"))[:1] * length + content[at + length :]


def insert(content, rng, _):
    at = rng.choice((0, len(content), rng.randrange(len(content))))
    return content[:at] + rng.randbytes(rng.choice((1, 3, 8, 1000))) + content[at:]


def cut_out(content, rng, _):
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:start] + content[end:]


def repeat(content, rng, _):
    start, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:end] + content[start:end] + content[end:]


def replace_word(content, rng, _):
    """A number of two, four or eight bytes near the start, where sizes are."""
    size, order = rng.choice((2, 4, 8)), rng.choice(("big", "little"))
    at = rng.randrange(min(32, len(content)))
    top = 2 ** (8 * size)
    word = rng.choice((0, 1, top // 2, top // 2 - 1, top - 1, rng.randrange(top)))
    return content[:at] + word.to_bytes(size, order) + content[at + size :]


def replace_digits(content, rng, _):
    """A number that stands in the text, if there is one."""
    places = list(re.finditer(rb"\d+(\.\d+)?(e-?\d+)?", content[:20_000]))
    if not places:
        return content + b"1"
    place, depth = rng.choice(places), rng.randrange(900, 1000)  # what some readers of JSON take and some do not
    value = b"[" * depth + b"]" * depth if rng.random() < 0.1 else json.dumps(rng.choice(ODD)).encode()
    return content[: place.start()] + value + content[place.end() :]


BYTES = {
    "flip bits": flip_bits,
    "flip bits once more": flip_bits,
    "truncate": lambda content, rng, _: content[: rng.randrange(len(content))],
    "overwrite": overwrite,
    "insert": insert,
    "cut out": cut_out,
    "repeat": repeat,
    "replace a word": replace_word,
    "replace digits": replace_digits,
    "swap files": lambda _, rng, others: rng.choice(others),
    "crafted": lambda _, rng, __: rng.choice((*CRAFTED, *DEEP)),
    "noise": lambda content, rng, _: rng.randbytes(len(content)),
    "compress": lambda content, *_: gzip.compress(content),
    "bomb": lambda *_: BOMB,
}
BOMB = gzip.compress(gzip.compress(bytes(2**28)))  # unpacks to an archive of a quarter of a GiB of zeros


def nested(rng):
    """A deep list or object."""
    value = rng.choice(ODD)
    for _ in range(rng.choice((3, 100, 300))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def places(value, path=()):
    """The paths to all values inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutate_json(description, rng):
    """A copy with one to three values replaced, deleted, doubled or renamed."""
    changed, done = json.loads(json.dumps(description)), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        *outer, last = path = rng.choice(list(places(changed)) or [("prior",)])
        home = changed
        for key in outer:
            home = home[key]
        how = rng.choice(("odd", "odd", "odd", "nested", "delete", "double", "rename"))
        value = {"odd": rng.choice(ODD), "nested": nested(rng)}.get(how, home[last])
        if how == "delete":
            del home[last]
        elif isinstance(home, dict):
            home[{"double": f"{last}2", "rename": rng.choice(("kind", "color", "\0"))}.get(how, last)] = value
        else:
            home[last:last] = [value] * rng.choice((1, 1, 30))
        done.append((how, path))
    return str(done), changed


HEADER = ("dtype", "shape", "offsets", "numbers", "rename", "delete", "json", "bytes", "metadata", "length")


def mutate_tensors(blob, rng):
    """The bytes of a safetensors file with another header, other types or other numbers."""
    length = int.from_bytes(blob[:8], "little")
    header, data = json.loads(blob[8 : 8 + length]), bytearray(blob[8 + length :])
    names = [key for key in header if key != "__metadata__"]
    few = [key for key in names if key.startswith(("prior", "random"))]  # which the networks outnumber
    name = rng.choice(names if rng.random() < 0.7 else few)
    entry = header[name]
    start, end = entry["data_offsets"]
    how = rng.choice(HEADER)
    if how == "dtype":
        entry["dtype"] = rng.choice(list(TYPES))
        if rng.random() < 0.7:  # and a shape that fits it
            entry["shape"] = [(end - start) // TYPES[entry["dtype"]]]
    elif how == "shape":
        shape = entry["shape"]
        entry["shape"] = rng.choice(([], [0], [10**18, 0], [-1], [2**63], [1] * 70, [math.prod(shape)], shape[::-1]))
    elif how == "offsets":
        wrong = ([0, 0], [end, start], [0, 10**18], [-1, 4], [start, end + 4], [0], "x", [start, start])
        entry["data_offsets"] = rng.choice(wrong)
    elif how == "numbers":
        size = end - start
        data[start:end] = rng.choice((b"\xff" * size, bytes(size), b"\x7f" * size, b"\x01" * size, rng.randbytes(size)))
    elif how == "rename":
        header[
            rng.choice(
                (name + "x", "", "prior/state/p/x", "g_optimizer/state/9/step", "g_optimizer/x/y", "g_optimizer/1")
            )
        ] = header.pop(name)
    elif how == "delete":
        del header[name]
    elif how == "json":
        header = mutate_json(header, rng)[1]
    elif how == "metadata":
        header["__metadata__"] = rng.choice(ODD)
    if how == "bytes":
        return "bytes", mutate(blob, rng, [b"{}"])[1]
    text = json.dumps(header).encode()
    size = rng.choice(NUMBERS[:9]) % 2**64 if how == "length" else len(text)
    return f"{how} of {name}", size.to_bytes(8, "little") + text + bytes(data)


def signed(blob, description):
    """A save with a correct checksum, where its header can still be read."""
    end = 8 + int.from_bytes(blob[:8], "little")
    try:
        header = json.loads(blob[8:end])
        metadata = {"format": "2", "description": description}
        rest = {name: entry for name, entry in header.items() if name != "__metadata__"}
        digest = hashlib.sha256(blob[end:] + json.dumps(rest, sort_keys=True).encode() + description.encode())
        metadata["sha256"] = digest.hexdigest()
        text = json.dumps({"__metadata__": metadata, **rest}).encode()
    except (ValueError, AttributeError, RecursionError, TypeError):
        return blob
    return len(text).to_bytes(8, "little") + text + blob[end:]


# The child: what it reads, and what it must not do


class Fault(BaseException):
    """What no code under test may catch: too long, or a deed that it must not do."""


class Guard:
    """Raises Fault for what is written outside `inside`, for programs that are started and for pickles' classes."""

    WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    PATHS = {
        "os.mkdir": 1,
        "os.remove": 1,
        "os.rmdir": 1,
        "os.truncate": 1,
        "os.rename": 2,
        "os.link": 2,
        "os.symlink": 2,
    }
    NEVER = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.chmod")

    def __init__(self):
        self.watching, self.inside, self.seen = False, None, None
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if not self.watching:
            return
        if event in self.NEVER:
            self.refuse(event, arguments)
        written = arguments[: self.PATHS.get(event, 0)]
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & self.WRITES:
            written = arguments[:1]
        for path in written:
            if not isinstance(path, int) and os.fspath(path) != os.devnull:
                place = os.path.realpath(os.path.join(self.folder_of(event, arguments), os.fsdecode(path)))
                if self.inside is None or not f"{place}{os.sep}".startswith(f"{self.inside}{os.sep}"):
                    self.refuse(event, place)

    def folder_of(self, event, arguments):
        """The folder that a path is relative to: a few calls name one by its descriptor, as shutil.rmtree does."""
        descriptor = arguments[-1] if event in ("os.mkdir", "os.remove", "os.rmdir") else -1
        return os.getcwd() if descriptor == -1 else os.readlink(f"/proc/self/fd/{descriptor}")

    def refuse(self, event, what):
        self.seen = f"{event}: {what!r}"
        raise Fault(self.seen)

    @contextlib.contextmanager
    def only_in(self, folder=None):
        """Within: writing is allowed in `folder` or nowhere, and time is short."""
        self.watching, self.inside, self.seen = True, folder and os.path.realpath(folder), None
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.watching = False


def too_long(*_):
    raise Fault(f"took more than {SECONDS} s")


def told(error, *names):
    """Nothing where an error is one of ours and names a file; else what is wrong with it."""
    kinds = (ValueError, RuntimeError)
    if isinstance(error, kinds) and any(str(name) in str(error) for name in names):
        return None
    return f"{type(error).__name__}: {str(error)[:300]}"


def idx(array):
    """An array of bytes in MNIST's own file format."""
    import numpy as np

    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


class Bench:
    """The files to mutate, whole, in folders of one scratch folder; networks and sets are tiny."""

    def __init__(self, scratch):
        import numpy as np
        import torch

        import qaan_helpers as qh
        from qaan_helpers import mnist
        from qaan_helpers.gan import networks

        torch.set_num_threads(1)
        networks.WIDTHS = (1, 1)
        self.scratch, self.qh, self.guard = scratch, qh, Guard()
        rng = np.random.default_rng(0)
        self._make_mnist(mnist, rng)
        images = torch.from_numpy(rng.random((8, 1, 28, 28), dtype=np.float32))
        digits = qh.Digits(images, torch.arange(8) % 2)
        circuit = qh.QCBMPrior(2, 1, "z", "linear", max_evaluations=8, refit_evaluations=8)
        self.runs = {"saved": qh.ProductPrior(3), "circuit": circuit}
        for name, prior in self.runs.items():
            gan = qh.QAAN(prior, "cpu", objective="tied" if name == "circuit" else "associative")
            for _ in qh.train(gan, digits, 2, 4):
                gan.save(self.scratch / name)
        self.whole = {path: path.read_bytes() for path in sorted(self.scratch.rglob("*")) if path.is_file()}
        # Of either run: a whole file of the other one in this place is a save as good as any.
        self.prints = [self.print_of(path) for path in self.whole if path.suffix == ".safetensors"]

    def _make_mnist(self, mnist, rng):
        import numpy as np
        from torchvision.datasets import MNIST, utils

        raw, mirror = self.scratch / "root" / "MNIST" / "raw", self.scratch / "mirror"
        raw.mkdir(parents=True)
        mirror.mkdir()
        (raw.parent / "processed").mkdir()
        for name in ("training.pt", "test.pt"):  # torchvision took these for the digits once; nobody checks them
            (raw.parent / "processed" / name).write_bytes(b"\x80\x04N.")
        arrays = {}
        for part, size in (("train", 6), ("t10k", 4)):
            arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
            arrays[f"{part}-labels-idx1-ubyte"] = np.arange(size, dtype=np.uint8)
        for name, array in arrays.items():
            (raw / name).write_bytes(idx(array))
            (mirror / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        mnist.RAW_SHA256 = {name: hashlib.sha256(idx(array)).hexdigest() for name, array in arrays.items()}
        utils._urlretrieve = lambda url, path, **_: shutil.copyfile(mirror / url.rsplit("/", 1)[1], path)
        MNIST.mirrors = [f"{mirror.as_uri()}/"]
        MNIST.resources = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in sorted(mirror.iterdir())]
        mnist.SAMPLE = self.scratch / "mnist_sample.npz"
        images, labels = arrays["train-images-idx3-ubyte"], arrays["train-labels-idx1-ubyte"]
        np.savez_compressed(mnist.SAMPLE, train_images=images, train_labels=labels)
        mnist.SAMPLE_SHA256 = hashlib.sha256(mnist.SAMPLE.read_bytes()).hexdigest()
        self.mirror, self.raw = mirror, raw
        self.first = images

    def play(self, kind, number):
        """One case: how the file was mutated, and what was wrong, or None."""
        rng = random.Random(f"{kind} {number}")
        try:
            return getattr(self, f"play_{kind}")(rng, kind)
        finally:
            for folder in ("saved", "circuit"):
                for path in (self.scratch / folder).iterdir():
                    if path not in self.whole:
                        path.unlink()

    def spoil(self, path, rng, how=None, content=None):
        """Put a mutant in a file's place; returns how it was made and whether it is another file than before."""
        if content is None:
            others = [self.whole[other] for other in self.whole if other.suffix == path.suffix and other != path]
            how, content = mutate(self.whole[path], rng, others or [b"\x1f\x8b\x08"])
        path.write_bytes(content)
        if rng.random() < 0.002:
            how = f"{how}, and a hole"
            os.truncate(path, HUGE)
        return how, path.read_bytes() != self.whole[path] if path.stat().st_size < HUGE else True

    def restore(self, path):
        path.write_bytes(self.whole[path])

    def play_idx(self, rng, _):
        path = rng.choice(sorted(self.raw.iterdir()))
        return self._load(path, rng, path, source="full", root=self.scratch / "root")

    def play_sample(self, rng, _):
        path = self.scratch / "mnist_sample.npz"
        return self._load(path, rng, path, source="sample")

    def play_gz(self, rng, _):
        root = self.scratch / "new"
        shutil.rmtree(root, ignore_errors=True)
        how, fault = self._load(rng.choice(sorted(self.mirror.iterdir())), rng, root, root, source="full", root=root)
        left = [str(path) for path in root.rglob("*")] if root.is_dir() else []
        if fault is None and left and not (root / "MNIST" / "raw").is_dir():
            fault = f"left {left}"
        return how, fault

    def _load(self, path, rng, named, writes=None, **options):
        """Load the digits with a mutant in the place of `path`: where it differs it must be refused, else load."""
        how, changed = self.spoil(path, rng)
        try:
            with self.guard.only_in(writes):
                digits = self.qh.load_mnist(range(10), "train", **options)
            right = (digits.images[:, 0].mul(255).round().byte().numpy() == self.first).all()
            return how, "a changed file was loaded" if changed else None if right else "other digits came"
        except Exception as error:
            return how, told(error, named) if changed else f"refused though whole: {error!r}"
        finally:
            self.restore(path)

    def play_saved(self, rng, _):
        """Two saves, one file of them mutated; what loads must be a state that was saved."""
        path = rng.choice([path for path in self.whole if path.parent.name == "saved"])
        how, _ = self.spoil(path, rng)
        asked = rng.choice((path.parent, path.parent, path.parent / "epoch_000002.safetensors"))
        try:
            with self.guard.only_in():
                found = self.print_of(asked)
            return how, None if found in self.prints else "what loaded was never saved"
        except Exception as error:
            return how, told(error, path.parent / "epoch_00000")
        finally:
            self.restore(path)

    def play_description(self, rng, kind):
        """Another description under a right checksum."""
        path, blob, description = self.last_of("circuit" if kind == "circuit" else "saved")
        how, changed = mutate_json(description, rng)
        return how, self.try_forged(path, blob, changed)

    play_circuit = play_description

    def play_tensors(self, rng, _):
        """Other tensors under a right checksum."""
        path, blob, description = self.last_of("saved" if rng.random() < 0.97 else "circuit")
        how, changed = mutate_tensors(blob, rng)
        return how, self.try_forged(path, changed, description)

    def last_of(self, run):
        """The newest save of a run: its path, its bytes and its description."""
        path = max(self.scratch.joinpath(run).glob("*.safetensors"))
        blob = self.whole[path]
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        return path, blob, json.loads(header["__metadata__"]["description"])

    def try_forged(self, path, blob, description):
        """Load what a stranger saved, whose checksum is right: it works, or is refused by the file's name."""
        path.write_bytes(signed(blob, json.dumps(description)))
        try:
            with self.guard.only_in():
                gan = self.qh.QAAN.load(path, "cpu")
                return self.unusable(gan)
        except Exception as error:
            return told(error, path)
        finally:
            self.restore(path)

    def unusable(self, gan):
        """Why a QAAN that was loaded is of no use, or None: it must draw images, and its history must be numbers."""
        images = gan.sample(2)
        if images.shape != (2, 1, 28, 28):
            return f"it drew {images.shape}"
        figures = [figure for report in gan.history for figure in vars(report).values()]
        if not all(isinstance(figure, int | float) for figure in figures):
            return f"its history holds {[f for f in figures if not isinstance(f, int | float)]!r}"
        return None

    def print_of(self, asked):
        """A checksum of all that a QAAN consists of."""
        from qaan_helpers.gan import storage

        gan = self.qh.QAAN.load(asked, "cpu")
        tensors, rest = storage.pack(gan.state_dict())
        numbers = b"".join(tensor.numpy().tobytes() for _, tensor in sorted(tensors.items()))
        return hashlib.sha256(numbers + json.dumps(rest, sort_keys=True).encode()).hexdigest()


def limit_memory():
    """Let this process take HEADROOM more than it has."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, used + HEADROOM))


def listing(folder):
    return sorted(str(path) for path in folder.rglob("*"))


def run(scratch, chosen):
    """Play the chosen (kind, number)s; returns what happened as JSON can say it."""
    from qaan_helpers.course.opening import peak_memory

    os.chdir(scratch / "elsewhere")
    bench, failures, seconds = Bench(scratch), [], {}
    signal.signal(signal.SIGALRM, too_long)
    limit_memory()
    before, peak = listing(scratch), peak_memory()
    for kind, number in chosen:
        started = time.perf_counter()
        (scratch / "now").write_text(f"{kind} {number}")
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                how, fault = bench.play(kind, number)
        except (Exception, Fault) as error:
            how, fault = "?", f"{type(error).__name__}: {error}"
        fault = bench.guard.seen or fault
        if fault:
            failures.append({"replay": f"{kind} {number}", "how": how[:200], "fault": fault[:400]})
        seconds[kind] = seconds.get(kind, 0) + time.perf_counter() - started
    shutil.rmtree(scratch / "new", ignore_errors=True)
    (scratch / "now").unlink(missing_ok=True)
    strange = sorted(set(listing(scratch)) ^ set(before))
    return {"failures": failures, "seconds": seconds, "strange": strange, "grew": peak_memory() - peak}


def main(chosen):
    """In the child: play the cases in a scratch folder, with home, temporary files and data inside it."""
    with tempfile.TemporaryDirectory(prefix="qaan-fuzz-") as scratch:
        scratch = Path(scratch).resolve()
        for name in ("home", "tmp", "elsewhere"):
            (scratch / name).mkdir()
        os.environ.update(HOME=str(scratch / "home"), TMPDIR=str(scratch / "tmp"), QAAN_DATA=str(scratch / "none"))
        tempfile.tempdir = None
        warnings.simplefilter("ignore")
        return run(scratch, chosen)


def all_cases():
    return [(kind, number) for kind, count in KINDS.items() for number in range(count)]


@pytest.fixture(scope="module")
def outcome():
    """What the child said after all cases."""
    pytest.importorskip("resource")
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, check=False)
    assert done.returncode == 0, f"the child ended with {done.returncode}: {done.stderr[-3000:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_load_or_are_refused_by_name(outcome, kind):
    failures = [failure for failure in outcome["failures"] if failure["replay"].split()[0] == kind]
    assert not failures, f"{len(failures)}: {json.dumps(failures[:10], indent=1)}"


def test_every_kind_was_tried(outcome):
    assert sum(KINDS.values()) >= (10_000 if os.environ.get("QAAN_FULL") else 1_900)
    assert outcome["seconds"].keys() == KINDS.keys()


def test_memory_stays_small(outcome):
    assert outcome["grew"] < GROWTH


def test_nothing_is_left_outside_the_folders(outcome):
    assert outcome["strange"] == []


if __name__ == "__main__":
    given = sys.argv[1:]
    some = [(given[0], int(number)) for number in given[1:]] or [case for case in all_cases() if case[0] in given]
    print(json.dumps(main(some or all_cases()), indent=1 if given else None))
