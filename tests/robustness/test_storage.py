"""Saved runs: training goes on bit for bit, and nothing damaged or half-written is taken for whole."""

import errno
import json
import math
import os
import pickle
import platform
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import qaan_helpers as qh
from qaan_helpers.gan import storage
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
    "rbm": lambda: qh.RBMPrior(3, steps=20, refit_steps=10, seed=3),
    "replay": lambda: qh.ReplayPrior(3, seed=3),
    "mixed": lambda: qh.MixedPrior(circuit_prior(), 0.5, seed=3),
    "scrambled": lambda: qh.ScrambledPrior(circuit_prior(), seed=3),
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
    return tensors_in(folder)


def tensors_in(folder):
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def same(ones, others):
    return ones.keys() == others.keys() and all(torch.equal(ones[name], others[name]) for name in ones)


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
    assert same(ones, others)
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

        def state_dict(self):
            return {"mean": self.mean}

        def load_state_dict(self, state):
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
        assert description["format"] == storage.FORMAT
        assert description["prior"]["kind"] == "product"
        assert len(description["history"]) == int(path.stem.split("_")[1])
        labels = digits.labels.unique().tolist()
        assert description["trained_on"] == {"digits": repr(digits), "batch_size": 8, "labels": labels}
        used = {"python": platform.python_version(), "qaan_helpers": qh.__version__, "torch": torch.__version__}
        assert used.items() <= description["versions"].items()
        assert {"numpy", "qiskit", "qiskit_aer"} < description["versions"].keys()


def test_the_last_two_saves_stay(digits, tmp_path):
    trained(digits, tmp_path, epochs=4)
    assert epochs_in(tmp_path) == [3, 4]
    assert len(names(tmp_path)) == 4


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_keep_says_how_many_stay(tmp_path, keep):
    for number in range(1, 6):
        storage.write(tmp_path, f"epoch_{number:06d}", {"x": torch.ones(number)}, {"n": number}, keep)
    assert epochs_in(tmp_path) == list(range(6 - keep, 6))
    assert len(list(tmp_path.glob("*.safetensors"))) == keep
    tensors, description = storage.read(tmp_path)
    assert torch.equal(tensors["x"], torch.ones(5))
    assert description == {"n": 5}


@pytest.mark.parametrize("keep", [1, 3])
def test_the_caller_may_say_how_many_stay(digits, tmp_path, keep):
    gan = make()
    for _ in qh.train(gan, digits, 4, batch_size=8):
        gan.save(tmp_path, keep)
    assert epochs_in(tmp_path) == list(range(5 - keep, 5))
    with pytest.raises(ValueError, match="keep is 0"):
        gan.save(tmp_path, keep=0)


def test_saves_are_ordered_by_number(tmp_path):
    for number in (999_999, 1_000_000):
        storage.write(tmp_path, f"epoch_{number:06d}", {"x": torch.ones(1)}, {"n": number})
    assert storage.read(tmp_path)[1] == {"n": 1_000_000}


def test_one_save_of_several_is_loaded_by_the_name_of_its_file(digits, tmp_path):
    trained(digits, tmp_path)
    assert qh.QAAN.load(tmp_path / "epoch_000001.json").epoch == 1
    assert qh.QAAN.load(str(tmp_path / "epoch_000002.json")).epoch == 2


def test_what_killed_saves_left_is_cleared_away_in_time(digits, tmp_path):
    gan = trained(digits, tmp_path)
    (tmp_path / ".unfinished").write_bytes(b"half")
    for name in ("epoch_000002.00000000", "epoch_000003.ffffffff"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"tensors whose JSON was never written")
    assert qh.QAAN.load(tmp_path).epoch == 2
    for _ in qh.train(gan, digits, 2, batch_size=8):
        gan.save(tmp_path)
    assert len(names(tmp_path)) == 4
    assert epochs_in(tmp_path) == [3, 4]


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
    own = {
        "epoch_000001.png",
        "notes.json",
        "epoch_best.json",
        "epoch_000001.mine.safetensors",
        "epoch_000001.json.bak",
    }
    for name in own:
        (tmp_path / name).write_text("{}")
    trained(digits, tmp_path, epochs=4)
    assert own < set(names(tmp_path))
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
def test_damage_is_told_and_the_older_save_loads_in_its_place(digits, tmp_path, damage):
    whole = trained(digits, tmp_path)
    DAMAGE[damage](tmp_path)
    with pytest.raises(RuntimeError, match=r"epoch_000002\.json (cannot|and its tensors|has no tensors)"):
        qh.QAAN.load(tmp_path / "epoch_000002.json")
    told = r"epoch_000002\.json .*; epoch_000001, the newest that is whole, is loaded in its place"
    with pytest.warns(UserWarning, match=told):
        gan = qh.QAAN.load(tmp_path)
    assert gan.epoch == 1
    for _ in qh.train(gan, digits, 1, batch_size=8):
        gan.save(tmp_path)
    assert len(names(tmp_path)) == 4  # the damaged one is replaced
    assert same(qh.QAAN.load(tmp_path)._networks(), whole._networks())


@pytest.mark.parametrize(("epochs", "others"), [(1, "there is no older one"), (2, "nor is any older one")])
def test_damage_of_every_save_is_an_error(digits, tmp_path, epochs, others):
    trained(digits, tmp_path, epochs=epochs)
    for path in tmp_path.glob("*.safetensors"):
        flip_a_bit(path)
    told = rf"epoch_00000{epochs}\.json and its tensors are not what was saved; {others}.*train anew in another folder"
    with pytest.raises(RuntimeError, match=told):
        qh.QAAN.load(tmp_path)


def test_a_newer_format_is_refused_and_never_passed_over(digits, tmp_path):
    trained(digits, tmp_path)
    edit(newest(tmp_path, ".json"), format=storage.FORMAT + 1)
    before = names(tmp_path)
    with pytest.raises(RuntimeError, match=rf"000002\.json is of format {storage.FORMAT + 1}.*newer qaan_helpers"):
        qh.QAAN.load(tmp_path)
    assert names(tmp_path) == before
    assert qh.QAAN.load(tmp_path / "epoch_000001.json").epoch == 1


@pytest.mark.parametrize("version", [0, -1, None, "1", 1.5, [1]])
def test_a_format_that_never_was_is_refused(digits, tmp_path, version):
    trained(digits, tmp_path, epochs=1)
    edit(newest(tmp_path, ".json"), format=version)
    with pytest.raises(RuntimeError, match=r"epoch_000001\.json is of format .*never wrote"):
        qh.QAAN.load(tmp_path)


def forge(folder, change):
    """Alter the newest save and give it right checksums: what a stranger or another version might have written."""
    path = newest(folder, ".json")
    tensors, description = storage.read(path)
    change(tensors, description)
    storage.write(folder, path.stem, tensors, description)


def test_a_save_to_draw_with_is_small_and_draws_the_same(digits, tmp_path):
    gan = trained(digits, tmp_path / "whole")
    gan.save(tmp_path / "small", for_training=False)
    whole, small = (sum(path.stat().st_size for path in (tmp_path / name).iterdir()) for name in ("whole", "small"))
    assert small < 0.3 * whole / 2  # of the two saves that are kept
    images = qh.QAAN.load(tmp_path / "small").sample(5)
    assert torch.equal(images, gan.sample(5))


def test_a_save_from_before_the_hidden_layers_rate_and_the_average_goes_on_as_it_was(digits, tmp_path):
    gan = trained(digits, tmp_path, epochs=1)

    def without(tensors, description):
        for name in ("hidden_lr_factor", "ema_decay"):
            description["settings"].pop(name)
        for name in [name for name in tensors if name.startswith("average.")]:
            tensors.pop(name)

    forge(tmp_path, without)
    old = qh.QAAN.load(tmp_path)
    assert (old.settings.hidden_lr_factor, old.settings.ema_decay) == (1, 0)
    latents = gan.latents(gan._uniform.sample(5))
    assert torch.equal(old.generate(latents), gan.generator.eval()(latents))


def exchanged(name, tensor):
    return lambda tensors, description: tensors.update({name: tensor(tensors[name])})


FORGED = {
    "weights too wide": exchanged("generator.layers.0.weight", lambda t: torch.zeros(len(t), 5)),
    "weights too few": exchanged("discriminator.output.weight", lambda t: t[:, :2]),
    "weights missing": lambda tensors, _: tensors.pop("generator.layers.0.weight"),
    "weights unknown": lambda tensors, _: tensors.update({"generator.layers.99.weight": torch.zeros(1)}),
    "other bits": exchanged("discriminator.hidden.0.bias", lambda t: torch.zeros(4)),
    "bits missing": lambda tensors, _: tensors.pop("discriminator.hidden.0.bias"),
    "Adam's mean of another shape": exchanged("g_adam.0.exp_avg", lambda t: torch.zeros(3)),
    "Adam's square of another shape": exchanged("d_adam.1.exp_avg_sq", lambda t: t[:1]),
    "Adam's step of another shape": exchanged("g_adam.0.step", lambda t: torch.ones(2)),
    "Adam's mean missing": lambda tensors, _: tensors.pop("d_adam.0.exp_avg"),
    "Adam of a weight too many": lambda tensors, _: tensors.update({"g_adam.77.step": torch.ones(())}),
    "Adam without a number": lambda tensors, _: tensors.update({"g_adam.first.step": torch.ones(())}),
    "Adam without an entry": lambda tensors, _: tensors.update({"g_adam.0": torch.ones(())}),
    "noise cut": exchanged("noise", lambda t: t[:100]),
    "noise missing": lambda tensors, _: tensors.pop("noise"),
    "stream cut": exchanged("uniform.rng", lambda t: t[:3]),
    "prior's stream missing": lambda tensors, _: tensors.pop("prior.rng"),
    "too few angles": exchanged("prior.angles", lambda t: t[:-1]),
    "no prior": lambda _, description: description.pop("prior"),
    "a prior of another size": lambda _, description: description["prior"].update(n_qubits=2),
    "a prior with an unknown setting": lambda _, description: description["prior"].update(colour="red"),
    "a prior that is a list": lambda _, description: description.update(prior=["qcbm"]),
    "an unknown setting": lambda _, description: description["settings"].update(colour="red"),
    "a setting that cannot work": lambda _, description: description["settings"].update(refresh=0),
    "a seed that cannot work": lambda _, description: description.update(seed="none"),
    "settings that are a number": lambda _, description: description.update(settings=3),
    "no seed": lambda _, description: description.pop("seed"),
    "an unknown figure in the history": lambda _, description: description["history"][0].update(colour=1),
    "a history without losses": lambda _, description: description["history"][0].pop("d_loss"),
    "a history that is a number": lambda _, description: description.update(history=4),
    "a variance below 0": exchanged("generator.layers.2.running_var", lambda t: -t),
    "a variance below 0 in the discriminator": exchanged("discriminator.convolutions.3.running_var", lambda t: t - 9),
    "digits that are words": lambda _, description: description["trained_on"].update(labels=["three"]),
    "digits that are a number": lambda _, description: description.update(trained_on=3),
    "batches of words": lambda _, description: description["trained_on"].update(batch_size="all"),
    "digits without a batch size": lambda _, description: description["trained_on"].pop("batch_size"),
}


@pytest.fixture(scope="module")
def circuit_run(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("circuit") / "run"
    gan = make("exact")
    for _ in qh.train(gan, digits, 2, batch_size=8):
        gan.save(folder)
    return folder


@pytest.mark.parametrize("change", FORGED)
def test_a_save_that_fits_no_qaan_is_told_and_the_older_one_loads(circuit_run, tmp_path, change):
    folder = shutil.copytree(circuit_run, tmp_path / "run")
    forge(folder, FORGED[change])
    with pytest.raises(RuntimeError, match=r"epoch_000002\.json fits no QAAN of this version \(it was written with"):
        qh.QAAN.load(folder / "epoch_000002.json")
    with pytest.warns(UserWarning, match="epoch_000001, the newest that is whole"):
        assert qh.QAAN.load(folder).epoch == 1


@pytest.mark.parametrize("name", ["generator.layers.0.weight", "d_adam.0.exp_avg_sq", "prior.angles"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_are_neither_saved_nor_loaded(circuit_run, tmp_path, monkeypatch, name, value):
    folder = shutil.copytree(circuit_run, tmp_path / "run")
    before = names(folder)
    spoil = exchanged(name, lambda t: t.index_fill(0, torch.tensor([0]), value))
    with pytest.raises(ValueError, match=f"{name} hold NaN or infinity.*is as it was"):
        forge(folder, spoil)
    assert names(folder) == before
    with monkeypatch.context() as patch:
        patch.setattr(storage, "_not_finite", lambda tensors: [])
        forge(folder, spoil)
    with pytest.raises(RuntimeError, match=rf"epoch_000002\.json holds NaN or infinity in {name}"):
        qh.QAAN.load(folder / "epoch_000002.json")
    with pytest.warns(UserWarning, match="epoch_000001"):
        assert qh.QAAN.load(folder).epoch == 1


def test_a_gan_that_is_nan_is_not_saved_over_one_that_is_not(digits, tmp_path):
    gan = trained(digits, tmp_path)
    with torch.no_grad():
        gan.generator.layers[0].weight[0] = math.nan
    with pytest.raises(ValueError, match="generator.layers.0.weight hold NaN"):
        gan.save(tmp_path)
    assert epochs_in(tmp_path) == [1, 2]
    assert qh.QAAN.load(tmp_path).epoch == 2


class Trap:
    """What a pickle can do to whoever opens it."""

    def __reduce__(self):
        return Path.touch, (Path(self.folder) / "trapped",)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_pickle_is_never_opened(digits, tmp_path, monkeypatch, suffix):
    trap = Trap()
    trap.folder = str(tmp_path)
    pickled = pickle.dumps(trap)
    trained(digits, tmp_path / "run", epochs=1)
    if suffix == ".json":
        newest(tmp_path / "run", suffix).write_bytes(pickled)
    else:
        monkeypatch.setattr(storage, "save", lambda tensors: pickled)
        make().save(tmp_path / "run")
    with pytest.raises(RuntimeError, match="cannot be read|no safetensors"):
        qh.QAAN.load(tmp_path / "run")
    assert not (tmp_path / "trapped").exists()


def test_arguments_that_cannot_work_are_no_damage(circuit_run, tmp_path):
    """They are the caller's own, so no older save is taken for them."""
    with pytest.raises(ValueError, match="device is 'tpu'"):
        qh.QAAN.load(circuit_run, device="tpu")
    folder = shutil.copytree(circuit_run, tmp_path / "run")
    forge(folder, lambda _, description: description["prior"].update(execution="a device"))
    with pytest.raises(ValueError, match=r"epoch_000002\.json: .*ran with a device.*pass execution"):
        qh.QAAN.load(folder)
    assert qh.QAAN.load(folder, execution=qh.Exact()).epoch == 2


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_a_save_is_refused(tmp_path, folder):
    with pytest.raises(ValueError, match=r"holds no checkpoint; gan\.save\("):
        qh.QAAN.load(tmp_path / folder)
    assert not (tmp_path / "nowhere").exists()


# Interrupted writing


@pytest.mark.parametrize("same_epoch", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("call", "at"), [("fsync", 1), ("fsync", 2), ("fsync", 3), ("replace", 1), ("replace", 2)])
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
        with pytest.raises(type(error)) as failed:
            gan.save(tmp_path)
    if isinstance(error, OSError):
        assert failed.value.errno == errno.ENOSPC
        assert str(tmp_path / f"epoch_00000{gan.epoch}.json") in str(failed.value)
        assert "No space left on device" in str(failed.value) and "Make room or choose" in str(failed.value)
    assert [name for name in names(tmp_path) if not name.startswith("epoch_")] == []  # no temporary files
    assert epochs_in(tmp_path) == [1]
    assert torch.equal(qh.QAAN.load(tmp_path).sample(4), at_the_save)

    gan.save(tmp_path)  # the next one succeeds and clears away what the first left
    assert len(names(tmp_path)) == 2 * len(epochs_in(tmp_path))
    assert torch.equal(qh.QAAN.load(tmp_path).sample(4), gan.sample(4))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_may_not_grow_leaves_the_previous_save(digits, tmp_path, share):
    """The system's own limit cuts the write in its midst, as a disk does that fills up."""
    resource = pytest.importorskip("resource")
    gan = trained(digits, tmp_path, epochs=1)
    run(gan, digits, 1)
    room = int(share * newest(tmp_path, ".safetensors").stat().st_size)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        with pytest.raises(OSError, match=r"epoch_000002\.json could not be saved"):
            gan.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(names(tmp_path)) == 2
    assert qh.QAAN.load(tmp_path).epoch == 1
    gan.save(tmp_path)
    assert qh.QAAN.load(tmp_path).epoch == 2


def test_a_folder_that_cannot_be_made_is_named(digits, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"file.*epoch_000000\.json could not be saved"):
        make().save(tmp_path / "file" / "run")


class Camera:
    """Copies a folder before each call that changes it: what a kill at that very moment would leave."""

    CALLS = ((os, "fsync"), (os, "replace"), (Path, "unlink"), (Path, "open"))

    def __init__(self, monkeypatch, folder, copies):
        self.pictures = []
        for home, name in self.CALLS:
            monkeypatch.setattr(home, name, self.seeing(getattr(home, name), folder, copies))

    def seeing(self, call, folder, copies):
        def seen(*arguments, **options):
            self.pictures.append(copies / str(len(self.pictures)))
            shutil.copytree(folder, self.pictures[-1])
            return call(*arguments, **options)

        return seen


@pytest.mark.parametrize("case", ["next", "same epoch", "shorter run", "damaged"])
def test_a_kill_at_any_moment_of_a_save_leaves_the_last_state_or_the_new_one(digits, tmp_path, monkeypatch, case):
    folder = tmp_path / "run"
    old = trained(digits, folder, epochs=4)
    new = make(learning_rate=1e-3)
    if case == "shorter run":
        run(new, digits, 1)
    else:
        new = qh.QAAN.load(folder)
        run(new, digits, 1)
        if case == "same epoch":
            new.history.pop()
        if case == "damaged":
            newest(folder, ".json").write_text("{}")
            old = qh.QAAN.load(folder / "epoch_000003.json")
    with monkeypatch.context() as patch:
        camera = Camera(patch, folder, tmp_path / "copies")
        new.save(folder)
    assert len(camera.pictures) > 8
    loaded = []
    for picture in [*camera.pictures, folder]:
        if case != "damaged":
            loaded.append(qh.QAAN.load(picture)._networks())  # without a warning
        else:
            loaded.append(qh.QAAN.load(max(picture.glob("*5.json"), default=picture / "epoch_000003.json"))._networks())
    kinds = ["old" if same(one, old._networks()) else "new" if same(one, new._networks()) else "none" for one in loaded]
    assert kinds[0] == "old" and kinds[-1] == "new"
    assert kinds == sorted(kinds, reverse=True)  # old up to a moment, new from then on, nothing else ever


def test_files_and_their_names_are_on_disk_one_before_the_next(digits, tmp_path, monkeypatch):
    """Tensors, their name, JSON, its name; and only then may what was saved before go."""
    trained(digits, tmp_path, epochs=2)
    done = []
    fsync, replaced, unlink = os.fsync, os.replace, Path.unlink

    def sync(descriptor):
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"
        done.append(f"sync {kind}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(str(b).rsplit(".")[-1]), replaced(a, b))[1])
    monkeypatch.setattr(
        Path, "unlink", lambda path, **o: (path.exists() and done.append("delete"), unlink(path, **o))[1]
    )
    gan = qh.QAAN.load(tmp_path)
    run(gan, digits, 1)
    gan.save(tmp_path)
    synced = ["sync file", "safetensors", "sync folder", "sync file", "json", "sync folder", "delete", "delete"]
    if not os.path.isdir("/proc/self/fd"):
        done = [step.replace("folder", "file") for step in done]
        synced = [step.replace("folder", "file") for step in synced]
    assert done == synced


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_share_that_cannot_sync_folders_is_saved_to_all_the_same(tmp_path, monkeypatch, code):
    fsync = os.fsync

    def refuse_folders(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, "no")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    make().save(tmp_path)
    assert qh.QAAN.load(tmp_path).epoch == 0
