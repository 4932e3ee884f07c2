"""Saved runs: training goes on bit for bit, and nothing damaged or half-written is taken for whole."""

import json
import math
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import qaan_helpers as qh
from qaan_helpers import checkpoints
from qaan_helpers.priors import PRIORS


@pytest.fixture(scope="module")
def digits():
    sample = qh.load_mnist((3, 7), source="sample")
    return qh.Digits(sample.images[::60], sample.labels[::60])


def circuit_prior(**options):
    return qh.QCBMPrior(3, layers=1, max_evaluations=20, refit_evaluations=14, seed=3, **options)


PRIOR_OF = {
    "uniform": lambda: qh.UniformPrior(3, seed=3),
    "product": lambda: qh.ProductPrior(3, seed=3),
    "exact": circuit_prior,
    "shots": lambda: circuit_prior(execution=qh.Shots(100)),
    "zt": lambda: circuit_prior(bases="zt", optimizer="spsa"),
}


def make(kind="product", **settings):
    return qh.QAAN(PRIOR_OF[kind](), device="cpu", seed=5, **settings)


def run(gan, digits, epochs):
    for _ in qh.train(gan, digits, epochs, batch_size=8):
        gan.sample(3)  # so that every random stream is in use
    return gan


def trained(digits, folder, epochs=2, **settings):
    gan = make(**settings)
    for _ in qh.train(gan, digits, epochs, batch_size=8):
        gan.save(folder)
    return gan


def saved_tensors(gan, folder):
    gan.save(folder)
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def history(gan):
    return [
        {k: v for k, v in vars(report).items() if k not in ("seconds", "prior_seconds") and not math.isnan(v)}
        for report in gan.history
    ]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def epochs_in(folder):
    return sorted(int(path.stem.split("_")[1]) for path in folder.glob("*.json"))


# Training goes on


@pytest.mark.parametrize("stopped_after", [0, 1, 3])  # before any work, in the warm-up, after it
@pytest.mark.parametrize("kind", PRIOR_OF)
def test_a_run_goes_on_bit_for_bit(digits, tmp_path, kind, stopped_after):
    settings = {"warm_up": 2, "learning_rate": 3e-4, "label_smoothing": 0.2, "latent_noise": 0.1, "fit_samples": 15}
    whole = run(make(kind, **settings), digits, 4)
    first = make(kind, **settings)
    if stopped_after:
        run(first, digits, stopped_after)
    first.save(tmp_path / "stopped")
    second = qh.QAAN.load(tmp_path / "stopped", device="cpu")
    assert second.epoch == stopped_after
    run(second, digits, 4 - stopped_after)

    assert second.settings == whole.settings
    assert history(second) == history(whole)
    ones, others = saved_tensors(whole, tmp_path / "one"), saved_tensors(second, tmp_path / "other")
    assert ones.keys() == others.keys()
    assert [name for name in ones if not torch.equal(ones[name], others[name])] == []
    assert torch.equal(whole.sample(8), second.sample(8))
    assert np.array_equal(whole.bits(digits.images), second.bits(digits.images))


def test_a_run_that_is_saved_is_the_same_as_one_that_is_not(digits, tmp_path):
    saved, plain = make("exact"), make("exact")
    for _ in qh.train(saved, digits, 2, batch_size=8):
        saved.save(tmp_path)
    list(qh.train(plain, digits, 2, batch_size=8))
    assert history(saved) == history(plain)
    assert torch.equal(saved.sample(8), plain.sample(8))


@pytest.mark.parametrize("epochs", [0, 1, 2, 3])
def test_what_was_loaded_draws_what_was_saved(digits, tmp_path, epochs):
    gan = make(warm_up=2)  # so that it draws uniform codes until its third epoch
    for _ in qh.train(gan, digits, epochs, batch_size=8) if epochs else ():
        pass
    gan.save(tmp_path)
    loaded = qh.QAAN.load(tmp_path)
    assert type(loaded.active_prior) is (qh.ProductPrior if epochs == 3 else qh.UniformPrior)
    assert torch.equal(loaded.sample(20), gan.sample(20))


def test_what_was_loaded_is_a_copy(digits, tmp_path):
    gan = trained(digits, tmp_path)
    one, other = qh.QAAN.load(tmp_path), qh.QAAN.load(tmp_path)
    run(one, digits, 1)
    assert other.epoch == gan.epoch == 2
    assert torch.equal(other.sample(4), gan.sample(4))


def test_another_execution_may_take_over(digits, tmp_path):
    make("exact").save(tmp_path)
    gan = qh.QAAN.load(tmp_path, execution=qh.Shots(64))
    assert gan.prior.qcbm.execution == qh.Shots(64)


def test_a_prior_of_the_readers_own_can_be_saved_and_loaded(digits, tmp_path, monkeypatch):
    class Constant:
        latent_dim = 3

        def fit(self, bits):
            self.mean = bits.mean(0)

        def sample(self, n_samples):
            return np.ones((n_samples, 3), np.uint8)

        def config(self):
            return {"kind": "constant"}

        def state(self):
            return {"mean": self.mean}

        def load_state(self, state):
            self.mean = state["mean"]

    gan = qh.QAAN(Constant(), warm_up=0)
    run(gan, digits, 1).save(tmp_path)
    with pytest.raises(ValueError, match="'constant'.*PRIORS"):
        qh.QAAN.load(tmp_path)
    monkeypatch.setitem(PRIORS, "constant", Constant)
    assert np.array_equal(qh.QAAN.load(tmp_path).prior.mean, gan.prior.mean)


def test_numpys_numbers_can_be_saved(tmp_path):
    prior = qh.QCBMPrior(3, 1, execution=qh.Shots(np.int64(50)), max_evaluations=np.int64(20))
    gan = qh.QAAN(prior, seed=np.int64(4), warm_up=np.int64(2), latent_noise=np.float32(0.25))
    gan.save(tmp_path)
    again = qh.QAAN.load(tmp_path)
    assert again.settings == gan.settings
    assert again.seed == 4


# What lies in the folder


def test_only_json_and_safetensors_are_written(digits, tmp_path):
    trained(digits, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    for path in tmp_path.glob("*.safetensors"):
        assert load_file(path)
    for path in tmp_path.glob("*.json"):
        description = json.loads(path.read_text())
        assert description["format"] == checkpoints.FORMAT
        assert description["prior"]["kind"] == "product"
        assert len(description["history"]) == int(path.stem.split("_")[1])


def test_the_last_two_saves_stay(digits, tmp_path):
    trained(digits, tmp_path, epochs=4)
    assert epochs_in(tmp_path) == [3, 4]
    assert len(names(tmp_path)) == 4


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_keep_says_how_many_stay(tmp_path, keep):
    for number in range(1, 6):
        checkpoints.write(tmp_path, f"epoch_{number:06d}", {"x": torch.ones(number)}, {"n": number}, keep)
    assert epochs_in(tmp_path) == list(range(6 - keep, 6))
    assert len(list(tmp_path.glob("*.safetensors"))) == keep
    tensors, description = checkpoints.read(tmp_path)
    assert torch.equal(tensors["x"], torch.ones(5))
    assert description == {"n": 5}


def test_a_save_over_one_of_the_same_epoch_replaces_it(digits, tmp_path):
    gan = trained(digits, tmp_path)
    gan.sample(3)  # moves the random numbers, so that the second save differs
    gan.save(tmp_path)
    assert epochs_in(tmp_path) == [1, 2]
    assert len(names(tmp_path)) == 4
    assert torch.equal(qh.QAAN.load(tmp_path).sample(4), gan.sample(4))


def test_what_was_saved_last_is_loaded_even_where_a_longer_run_lay(digits, tmp_path):
    trained(digits, tmp_path, epochs=4)
    new = trained(digits, tmp_path, epochs=1, learning_rate=1e-3)
    loaded = qh.QAAN.load(tmp_path)
    assert loaded.epoch == 1
    assert loaded.settings == new.settings
    assert epochs_in(tmp_path) == [1]


def test_the_readers_own_files_are_left_alone(digits, tmp_path):
    (tmp_path / "epoch_000001.png").write_text("a picture")
    (tmp_path / "notes.json").write_text("{}")
    trained(digits, tmp_path, epochs=4)
    assert {"epoch_000001.png", "notes.json"} < set(names(tmp_path))
    assert qh.QAAN.load(tmp_path).epoch == 4


# Damage


def newest(folder, suffix):
    return max(folder.glob(f"*{suffix}"))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def edit(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def without(path, entry):
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != entry}))


DAMAGE = {
    "tensors truncated": lambda folder: truncate(newest(folder, ".safetensors")),
    "tensors emptied": lambda folder: newest(folder, ".safetensors").write_bytes(b""),
    "tensors altered": lambda folder: flip_a_bit(newest(folder, ".safetensors")),
    "tensors exchanged": lambda folder: shutil.copy(min(folder.glob("*.safetensors")), newest(folder, ".safetensors")),
    "tensors gone": lambda folder: newest(folder, ".safetensors").unlink(),
    "JSON truncated": lambda folder: truncate(newest(folder, ".json")),
    "JSON emptied": lambda folder: newest(folder, ".json").write_text(""),
    "JSON of bytes": lambda folder: newest(folder, ".json").write_bytes(b"\xff\xfe\x00"),
    "JSON a list": lambda folder: newest(folder, ".json").write_text("[1, 2]"),
    "JSON a number": lambda folder: newest(folder, ".json").write_text("1"),
    "JSON empty": lambda folder: newest(folder, ".json").write_text("{}"),
    "seed altered": lambda folder: edit(newest(folder, ".json"), seed=6),
    "history cut": lambda folder: edit(newest(folder, ".json"), history=[]),
    "prior gone": lambda folder: without(newest(folder, ".json"), "prior"),
    "checksum altered": lambda folder: edit(newest(folder, ".json"), sha256="0" * 64),
    "checksum gone": lambda folder: without(newest(folder, ".json"), "sha256"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_the_older_save_is_a_way_out(digits, tmp_path, damage):
    trained(digits, tmp_path)
    DAMAGE[damage](tmp_path)
    with pytest.raises(RuntimeError, match=r"epoch_000002\.json.*delete it to load epoch_000001"):
        qh.QAAN.load(tmp_path)
    newest(tmp_path, ".json").unlink()
    assert qh.QAAN.load(tmp_path).epoch == 1


def test_damage_of_the_only_save_says_that_there_is_no_other(digits, tmp_path):
    trained(digits, tmp_path, epochs=1)
    flip_a_bit(newest(tmp_path, ".safetensors"))
    with pytest.raises(RuntimeError, match="no older one"):
        qh.QAAN.load(tmp_path)


def test_a_newer_format_is_refused(digits, tmp_path):
    trained(digits, tmp_path, epochs=1)
    edit(newest(tmp_path, ".json"), format=checkpoints.FORMAT + 1)
    with pytest.raises(RuntimeError, match=rf"format {checkpoints.FORMAT + 1}.*newer qaan_helpers"):
        qh.QAAN.load(tmp_path)


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_a_save_is_refused(tmp_path, folder):
    with pytest.raises(ValueError, match=r"holds no checkpoint; gan\.save\("):
        qh.QAAN.load(tmp_path / folder)
    assert not (tmp_path / "nowhere").exists()


# Interrupted writing


@pytest.mark.parametrize("same_epoch", [False, True])
@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("call", "at"), [("fsync", 1), ("fsync", 2), ("replace", 1), ("replace", 2)])
def test_an_interrupted_save_leaves_the_previous_one(digits, tmp_path, monkeypatch, call, at, error, same_epoch):
    gan = trained(digits, tmp_path, epochs=1)
    at_the_save = qh.QAAN.load(tmp_path).sample(4)
    if same_epoch:
        gan.sample(3)
    else:
        run(gan, digits, 1)

    real, calls = getattr(os, call), []

    def fail(*arguments):
        calls.append(1)
        if len(calls) == at:
            raise error
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            gan.save(tmp_path)
    assert [name for name in names(tmp_path) if not name.startswith("epoch_")] == []  # no temporary files
    assert epochs_in(tmp_path) == [1]
    assert torch.equal(qh.QAAN.load(tmp_path).sample(4), at_the_save)

    gan.save(tmp_path)  # the next one succeeds and clears away what the first left
    assert len(names(tmp_path)) == 2 * len(epochs_in(tmp_path))
    assert torch.equal(qh.QAAN.load(tmp_path).sample(4), gan.sample(4))


def test_tensors_are_in_place_and_on_disk_before_the_json(digits, tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("fsync"), fsync(file))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(str(b).rsplit(".")[-1]), replace(a, b))[1])
    make().save(tmp_path)
    assert done == ["fsync", "safetensors", "fsync", "json"]
