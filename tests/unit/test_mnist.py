"""Real digits: the bundled sample, the full set on disk, and a download that fails."""

import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

import qaan_helpers as qh
from qaan_helpers import mnist

SIZES = {"train": 30, "t10k": 20}


def idx(array):
    """An array of bytes in MNIST's own file format."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


@pytest.fixture
def tiny_set(monkeypatch):
    """Four tiny files that are accepted as the full set: name → content."""
    rng = np.random.default_rng(0)
    files = {}
    for part, size in SIZES.items():
        files[f"{part}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (size, 28, 28), dtype=np.uint8))
        files[f"{part}-labels-idx1-ubyte"] = idx((np.arange(size) % 10).astype(np.uint8))
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(mnist, "RAW_SHA256", checksums)
    return files


@pytest.fixture
def on_disk(tiny_set, tmp_path):
    """A root that contains the tiny set."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in tiny_set.items():
        (raw / name).write_bytes(content)
    return tmp_path


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serve `server.files`; `server.fault` damages the labels of the training images."""

    def do_GET(self):
        name = self.path.strip("/")
        body = self.server.files[name]
        fault = self.server.fault if name.startswith("train-labels") else None
        self.send_response(503 if fault == "down" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = {"cut": body[: len(body) // 2], "garbage": b"x" * len(body), "down": b""}
        self.wfile.write(sent.get(fault, body))

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tiny_set, monkeypatch):
    """A server on this machine that replaces MNIST's."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.files = {f"{name}.gz": gzip.compress(content) for name, content in tiny_set.items()}
        server.fault = None
        resources = [(name, hashlib.md5(packed).hexdigest()) for name, packed in server.files.items()]
        monkeypatch.setattr(MNIST, "resources", resources)
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


# --- the sample ---


def test_the_bundled_file_is_the_one_made_from_mnist():
    assert hashlib.sha256(mnist.SAMPLE.read_bytes()).hexdigest() == mnist.SAMPLE_SHA256


@pytest.mark.parametrize(("split", "each"), [("train", 600), ("test", 100)])
def test_the_sample_has_the_same_number_of_each_digit(split, each):
    digits = qh.load_mnist(range(10), split, "sample")
    assert digits.labels.bincount().tolist() == [each] * 10
    assert digits.source == "the bundled sample"


@pytest.mark.parametrize(
    ("split", "labels", "brightness"),
    [("train", [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], 27_525), ("test", [7, 2, 1, 0, 4, 1, 4, 9, 5, 9], 18_454)],
)
def test_the_sample_starts_like_mnist(split, labels, brightness):
    """The first ten labels of MNIST, and the sum of the bytes of its first image."""
    digits = qh.load_mnist(range(10), split, "sample")
    assert digits.labels[:10].tolist() == labels
    assert round(digits.images[0].double().sum().item() * 255) == brightness


def test_train_and_test_share_no_image():
    train, test = (qh.load_mnist(3, split, "sample").images for split in ("train", "test"))
    seen = {image.numpy().tobytes() for image in torch.cat([train, test])}
    assert len(seen) == 600 + 100


def test_images_are_tensors_of_brightness():
    digits = qh.load_mnist((3, 7, 9), source="sample")
    assert digits.images.shape == (1800, 1, 28, 28) and digits.images.dtype == torch.float32
    assert digits.images.min() == 0 and digits.images.max() == 1
    assert digits.labels.shape == (1800,) and digits.labels.dtype == torch.int64
    assert len(digits) == 1800
    assert repr(digits) == "Digits(1,800 images of 3, 7, 9, from the bundled sample)"


@pytest.mark.parametrize("digits", (4, (4,), [4, 4], np.array([4]), np.int64(4)))
def test_one_digit(digits):
    assert qh.load_mnist(digits, source="sample").labels.unique().tolist() == [4]


def test_digits_keep_the_labels_they_have_among_all_ten():
    every, some = qh.load_mnist(range(10), source="sample"), qh.load_mnist((9, 3), source="sample")
    chosen = (every.labels == 3) | (every.labels == 9)
    assert torch.equal(some.labels, every.labels[chosen])
    assert torch.equal(some.images, every.images[chosen])


def test_a_damaged_sample_is_refused(monkeypatch, tmp_path):
    broken = tmp_path / "mnist_sample.npz"
    broken.write_bytes(mnist.SAMPLE.read_bytes()[:-1])
    monkeypatch.setattr(mnist, "SAMPLE", broken)
    with pytest.raises(RuntimeError, match="mnist_sample.npz is missing or damaged; reinstall"):
        qh.load_mnist(source="sample")


# --- which set, from where ---


def test_auto_loads_the_sample_and_says_so_if_nothing_is_on_disk(tmp_path, capsys):
    assert qh.load_mnist(3, root=tmp_path).source == "the bundled sample"
    assert capsys.readouterr().out == "MNIST train: 600 real images of 3, from the bundled sample.\n"


def test_auto_loads_the_full_set_and_says_so_if_it_is_on_disk(on_disk, capsys):
    digits = qh.load_mnist((1, 2), root=on_disk)
    assert digits.source == "full MNIST"
    assert digits.labels.tolist() == [1, 2, 1, 2, 1, 2]
    assert capsys.readouterr().out == "MNIST train: 6 real images of 1, 2, from full MNIST.\n"


def test_full_images_are_the_bytes_of_the_files(on_disk, tiny_set):
    digits = qh.load_mnist(range(10), "test", "full", on_disk)
    raw = np.frombuffer(tiny_set["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(20, 1, 28, 28)
    np.testing.assert_allclose(digits.images.numpy() * 255, raw, rtol=1e-6)
    assert digits.labels.tolist() == [*range(10)] * 2


def test_sample_is_loaded_even_if_the_full_set_is_on_disk(on_disk):
    assert len(qh.load_mnist(3, source="sample", root=on_disk)) == 600


def test_the_root_argument_overrides_qaan_data(on_disk, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("QAAN_DATA", str(on_disk))
    assert qh.load_mnist().source == "full MNIST"
    assert qh.load_mnist(root=tmp_path_factory.mktemp("empty")).source == "the bundled sample"


@pytest.mark.parametrize("qaan_data", (None, "~/.cache/qaan_helpers"))
def test_the_default_root_is_in_the_home_folder(on_disk, monkeypatch, qaan_data):
    home = on_disk / "home"
    (home / ".cache").mkdir(parents=True)
    (home / ".cache" / "qaan_helpers").symlink_to(on_disk)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("QAAN_DATA")
    if qaan_data:
        monkeypatch.setenv("QAAN_DATA", qaan_data)
    assert qh.load_mnist().source == "full MNIST"


# --- downloads ---


def test_a_download_returns_the_full_set_and_happens_once(mirror, tmp_path):
    digits = qh.load_mnist(range(10), source="full", root=tmp_path / "new" / "root")
    assert len(digits) == SIZES["train"] and digits.source == "full MNIST"
    mirror.fault = "down"
    assert len(qh.load_mnist(range(10), "test", "full", tmp_path / "new" / "root")) == SIZES["t10k"]


def test_a_download_leaves_the_four_files_and_nothing_else(mirror, tmp_path, tiny_set):
    qh.load_mnist(source="full", root=tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {f"MNIST/raw/{name}" for name in tiny_set}


@pytest.mark.parametrize("fault", ("cut", "garbage", "down"))
def test_a_failed_download_leaves_nothing_and_can_be_tried_again(mirror, tmp_path, fault):
    mirror.fault = fault
    with pytest.raises(RuntimeError, match='(?s)could not be downloaded.*Try again later.*source="sample"') as failed:
        qh.load_mnist(source="full", root=tmp_path)
    assert str(tmp_path) in str(failed.value)
    assert not list(tmp_path.iterdir())
    assert qh.load_mnist(root=tmp_path).source == "the bundled sample"
    mirror.fault = None
    assert qh.load_mnist(source="full", root=tmp_path).source == "full MNIST"


def test_files_of_a_mirror_are_checked(mirror, tmp_path, monkeypatch):
    """Four files that can be unpacked and have torchvision's checksums, but are not MNIST."""
    monkeypatch.setitem(mnist.RAW_SHA256, "t10k-labels-idx1-ubyte", "0" * 64)
    with pytest.raises(RuntimeError, match="t10k-labels-idx1-ubyte is damaged"):
        qh.load_mnist(source="full", root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_second_mirror_is_used_if_the_first_cuts_a_file_short(mirror, tmp_path, monkeypatch):
    good, bad = MNIST.mirrors[0], http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    bad.files, bad.fault = mirror.files, "cut"
    threading.Thread(target=bad.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{bad.server_port}/", good])
    try:
        assert len(qh.load_mnist(range(10), source="full", root=tmp_path)) == SIZES["train"]
    finally:
        bad.shutdown()
        bad.server_close()


def test_a_download_that_is_interrupted_leaves_nothing(tiny_set, tmp_path, monkeypatch):
    def interrupted(root, **_):
        raw = mnist.Path(root) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / "train-images-idx3-ubyte").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.datasets.MNIST", interrupted)
    with pytest.raises(KeyboardInterrupt):
        qh.load_mnist(source="full", root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_left_by_a_killed_download_do_no_harm(mirror, tmp_path):
    half = tmp_path / ".mnist-download-killed" / "MNIST" / "raw"
    half.mkdir(parents=True)
    (half / "train-images-idx3-ubyte").write_bytes(b"half")
    assert qh.load_mnist(root=tmp_path).source == "the bundled sample"
    assert len(qh.load_mnist(range(10), source="full", root=tmp_path)) == SIZES["train"]


def test_a_root_that_cannot_be_written_is_named(mirror, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RuntimeError, match='file.*source="sample"'):
        qh.load_mnist(source="full", root=tmp_path / "file")


# --- damage on disk ---


def delete(path):
    path.unlink()


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("source", ("auto", "full"))
@pytest.mark.parametrize(
    ("damage", "fault"), [(delete, "is missing"), (halve, "is damaged"), (flip_a_bit, "is damaged")]
)
@pytest.mark.parametrize("name", mnist.RAW_SHA256)
def test_a_damaged_file_is_named_for_either_split(on_disk, name, damage, fault, source):
    damage(on_disk / "MNIST" / "raw" / name)
    with pytest.raises(RuntimeError, match=f'{name} {fault}.*Delete the folder.*raw.*source="sample"'):
        qh.load_mnist(source=source, root=on_disk)


def test_the_remedy_for_a_damaged_file_works(mirror, on_disk):
    """Delete the folder that the message names, and call again."""
    raw = on_disk / "MNIST" / "raw"
    flip_a_bit(raw / "train-images-idx3-ubyte")
    with pytest.raises(RuntimeError, match=f"Delete the folder {raw} and call"):
        qh.load_mnist(root=on_disk)
    for path in raw.iterdir():
        path.unlink()
    raw.rmdir()
    assert len(qh.load_mnist(range(10), source="full", root=on_disk)) == SIZES["train"]


# --- bad input ---


@pytest.mark.parametrize("digits", (10, -1, (3, 10), 3.5, True, "3", ("3",), None, [None]))
def test_refuses_unknown_digits(digits):
    with pytest.raises(ValueError, match="digits must be a non-empty sequence of integers in 0–9, such as .*; got"):
        qh.load_mnist(digits)


def test_names_only_the_digits_that_are_unknown():
    with pytest.raises(ValueError, match=r"digits must be .*; got \[10, 12\]$"):
        qh.load_mnist((3, 10, 12))


def test_a_huge_range_is_not_read_to_its_end():
    with pytest.raises(ValueError, match=r"digits must be .*; got \[10, 11, .*19\]$"):
        qh.load_mnist(range(10**12))


@pytest.mark.parametrize("digits", ((), [], "", range(0)))
def test_refuses_an_empty_list_of_digits(digits):
    with pytest.raises(ValueError, match="digits must be a non-empty sequence of integers in 0–9, .*; got") as refused:
        qh.load_mnist(digits)
    assert str(refused.value).endswith(f"got {digits!r}")


def test_refuses_an_unknown_split_or_source():
    with pytest.raises(ValueError, match="split must be one of 'train', 'test'; got 'validation'"):
        qh.load_mnist(split="validation")
    with pytest.raises(ValueError, match="source must be one of 'auto', 'sample', 'full'; got 'internet'"):
        qh.load_mnist(source="internet")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(4, 28, 28), torch.zeros(4), r"must have shape \(N, 1, 28, 28\) with N ≥ 1; got \(4, 28, 28\)"),
        (torch.zeros(0, 1, 28, 28), torch.zeros(0), "N ≥ 1"),
        (torch.zeros(4, 1, 28, 28), torch.zeros(3), r"labels must have shape \(4,\), one for each image; got \(3,\)"),
        (torch.full((4, 1, 28, 28), 255.0), torch.zeros(4), "got torch.float32 from 255 to 255. Divide bytes by 255"),
        (torch.full((4, 1, 28, 28), -1.0), torch.zeros(4), "brightness in"),
        (torch.full((4, 1, 28, 28), torch.nan), torch.zeros(4), "brightness in"),
        (np.zeros((4, 1, 28, 28), np.float32), torch.zeros(4), "images must be a torch tensor; got ndarray"),
        (torch.zeros(4, 1, 28, 28), [0, 1, 2, 3], "labels must be a torch tensor; got list"),
        (torch.zeros(4, 1, 28, 28, dtype=torch.uint8), torch.zeros(4), "float32"),
        (torch.zeros(4, 1, 28, 28, dtype=torch.float64), torch.zeros(4), "float32"),
    ],
)
def test_refuses_images_of_your_own_that_do_not_fit(images, labels, message):
    with pytest.raises(ValueError, match=message):
        qh.Digits(images, labels)


# --- batches ---


@pytest.fixture
def numbered():
    """Ten images, each with a tenth of its label as brightness."""
    labels = torch.arange(10)
    return qh.Digits((labels / 10)[:, None, None, None].expand(10, 1, 28, 28), labels)


def order(batches):
    return torch.cat([labels for _, labels in batches]).tolist()


def test_batches_contain_every_image_once_with_its_own_label(numbered):
    batches = list(numbered.batches(4, seed=0))
    assert [len(images) for images, _ in batches] == [4, 4, 2]
    assert sorted(order(batches)) == [*range(10)]
    for images, labels in batches:
        assert images.shape[1:] == (1, 28, 28)
        torch.testing.assert_close(images[:, 0, 5, 5], labels / 10)


def test_batches_drop_the_last_one_on_request(numbered):
    assert [len(labels) for _, labels in numbered.batches(4, seed=0, drop_last=True)] == [4, 4]
    assert [len(labels) for _, labels in numbered.batches(5, seed=0, drop_last=True)] == [5, 5]


def test_there_is_no_full_batch_if_there_are_too_few_images(numbered):
    assert list(numbered.batches(11, seed=0, drop_last=True)) == []


def test_batches_follow_the_seed(numbered):
    assert order(numbered.batches(4, seed=1)) == order(numbered.batches(4, seed=1))
    assert order(numbered.batches(4, seed=1)) == order(numbered.batches(3, seed=1))
    assert len({tuple(order(numbered.batches(4, seed=seed))) for seed in range(5)}) == 5
    assert order(numbered.batches(4, seed=1)) != [*range(10)]


def test_batches_without_a_seed_have_a_new_order(numbered):
    assert len({tuple(order(numbered.batches(4))) for _ in range(5)}) > 1


@pytest.mark.parametrize("batch_size", (0, -4))
def test_refuses_a_batch_size_below_one_at_once(numbered, batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be an integer ≥ 1; got {batch_size}"):
        numbered.batches(batch_size)


def test_digits_move_between_devices_with_labels_and_source(numbered):
    moved = numbered.to("cpu")
    assert torch.equal(moved.labels, numbered.labels) and moved.source == numbered.source
