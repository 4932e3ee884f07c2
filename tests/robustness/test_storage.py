"""Saved runs: training goes on bit for bit, and nothing damaged or half-written is taken for whole."""

import errno
import hashlib
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
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import qaan_helpers as qh
from qaan_helpers.gan import storage
from qaan_helpers.priors import PRIORS


@pytest.fixture(scope="module")
def digits(some_digits):
    return some_digits((3, 7), slice(None, None, 60))


def circuit_prior(**options):
    return qh.QCBMPrior(3, layers=1, max_evaluations=20, refit_evaluations=14, seed=3, **options)


PRIOR_OF = {
    "uniform": lambda: qh.UniformPrior(3, seed=3),
    "product": lambda: qh.ProductPrior(3, seed=3),
    "rbm": lambda: qh.RBMPrior(3, steps=20, refit_steps=10, seed=3),
    "replay": lambda: qh.ReplayPrior(3, seed=3),
    "mixed": lambda: qh.MixedPrior(circuit_prior(), 0.5, seed=3),
    "scrambled": lambda: qh.ScrambledPrior(circuit_prior(), seed=3),
    "signed permutation": lambda: qh.SignedPermutationPrior(circuit_prior(), seed=3),
    "subset": lambda: qh.SubsetPrior(3, 4, seed=3),
    "gaussian": lambda: qh.GaussianPrior(3, seed=3),
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


def same(one, other):
    """Whether two QAANs have the same state, but for the seconds that their epochs took."""
    states = [gan.state_dict() | {"history": history(gan)} for gan in (one, other)]
    (tensors, rest), (others, remainder) = map(storage.pack, states)
    equal = tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)
    return equal and rest == remainder


def history(gan):
    return [
        {k: v for k, v in vars(report).items() if k not in ("seconds", "prior_seconds") and not math.isnan(v)}
        for report in gan.history
    ]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def epochs_in(folder):
    return sorted(int(path.stem.split("_")[1]) for path in folder.glob("epoch_*.safetensors"))


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
    assert same(whole, second)
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


def test_a_save_is_one_safetensors_file_with_the_rest_as_json(digits, tmp_path):
    trained(digits, tmp_path)
    assert names(tmp_path) == ["epoch_000001.safetensors", "epoch_000002.safetensors"]
    for path in tmp_path.iterdir():
        assert {"generator/layers.0.weight", "ema/n_averaged", "d_optimizer/state/0/exp_avg"} < load_file(path).keys()
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        assert metadata["format"] == str(storage.FORMAT) == "2"
        description = json.loads(metadata["description"])
        assert description["prior"]["config"]["kind"] == "product"
        assert description["prior"]["state"]["rng"]["bit_generator"] == "PCG64"
        assert len(description["history"]) == int(path.stem.split("_")[1])
        labels = digits.labels.unique().tolist()
        assert description["trained_on"] == {"digits": repr(digits), "batch_size": 8, "labels": labels}
        used = {"python": platform.python_version(), "qaan_helpers": qh.__version__, "torch": torch.__version__}
        assert used.items() <= description["versions"].items()
        assert {"numpy", "qiskit", "qiskit_aer"} < description["versions"].keys()


def test_the_last_two_saves_stay(digits, tmp_path):
    trained(digits, tmp_path, epochs=4)
    assert epochs_in(tmp_path) == [3, 4]
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_keep_says_how_many_stay(tmp_path, keep):
    for number in range(1, 6):
        storage.write(tmp_path, number, {"x": torch.ones(number), "n": number}, keep)
    assert epochs_in(tmp_path) == list(range(6 - keep, 6))
    state = storage.saves(tmp_path)[0].read()
    assert torch.equal(state["x"], torch.ones(5))
    assert state["n"] == 5


@pytest.mark.parametrize("keep", [1, 3])
def test_the_caller_may_say_how_many_stay(digits, tmp_path, keep):
    gan = make()
    for _ in qh.train(gan, digits, 4, batch_size=8):
        gan.save(tmp_path, keep)
    assert epochs_in(tmp_path) == list(range(5 - keep, 5))
    with pytest.raises(ValueError, match="keep must be an integer ≥ 1; got 0"):
        gan.save(tmp_path, keep=0)


def test_saves_are_ordered_by_number(tmp_path):
    for number in (999_999, 1_000_000):
        storage.write(tmp_path, number, {"n": number})
    assert [save.epoch for save in storage.saves(tmp_path)] == [1_000_000, 999_999]
    assert storage.saves(tmp_path)[0].read()["n"] == 1_000_000


def test_one_save_of_several_is_loaded_by_the_name_of_its_file(digits, tmp_path):
    trained(digits, tmp_path)
    assert qh.QAAN.load(tmp_path / "epoch_000001.safetensors").epoch == 1
    assert qh.QAAN.load(str(tmp_path / "epoch_000002.safetensors")).epoch == 2


def test_what_killed_saves_left_is_cleared_away_in_time(digits, tmp_path):
    gan = trained(digits, tmp_path)
    (tmp_path / ".unfinished").write_bytes(b"half")
    for name in ("epoch_000002.00000000", "epoch_000003.ffffffff"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"tensors whose JSON was never written")
    assert qh.QAAN.load(tmp_path).epoch == 2
    for _ in qh.train(gan, digits, 2, batch_size=8):
        gan.save(tmp_path)
    assert names(tmp_path) == ["epoch_000003.safetensors", "epoch_000004.safetensors"]


def test_a_save_over_one_of_the_same_epoch_replaces_it(digits, tmp_path):
    gan = trained(digits, tmp_path)
    gan.sample(3)  # moves the random numbers, so that the second save differs
    gan.save(tmp_path)
    assert names(tmp_path) == ["epoch_000001.safetensors", "epoch_000002.safetensors"]
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
        "epoch_best.safetensors",
        "epoch_000001.mine.safetensors",
        "epoch_000001.safetensors.bak",
    }
    for name in own:
        (tmp_path / name).write_text("{}")
    trained(digits, tmp_path, epochs=4)
    assert own < set(names(tmp_path))
    assert qh.QAAN.load(tmp_path).epoch == 4


# Damage


def newest(folder):
    return max(folder.glob("epoch_*.safetensors"))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def rewritten(path, **metadata):
    """Change the metadata of a save, and nothing else: entries of None are removed."""
    with safe_open(path, "pt") as file:
        before = file.metadata()
    entries = {name: value for name, value in (before | metadata).items() if value is not None}
    save_file(load_file(path), path, entries)


def redescribed(path, **entries):
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["description"])
    rewritten(path, description=json.dumps(description | entries))


DAMAGE = {
    "truncated": lambda path: truncate(path),
    "truncated to a byte": lambda path: path.write_bytes(b"x"),
    "emptied": lambda path: path.write_bytes(b""),
    "altered": lambda path: flip_a_bit(path),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00" * 100),
    "without metadata": lambda path: save_file(load_file(path), path),
    "without tensors": lambda path: save_file({}, path, {"format": "2"}),
    "tensors of another save": lambda path: save_file(
        load_file(path.with_name("epoch_000001.safetensors")), path, metadata_of(path)
    ),
    "a tensor renamed": lambda path: save_file(
        {f"{name}x": t for name, t in load_file(path).items()}, path, metadata_of(path)
    ),
    "seed altered": lambda path: redescribed(path, seed=6),
    "history cut": lambda path: redescribed(path, history=[]),
    "description gone": lambda path: rewritten(path, description=None),
    "checksum altered": lambda path: rewritten(path, sha256="0" * 64),
    "checksum gone": lambda path: rewritten(path, sha256=None),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


def metadata_of(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_and_the_older_save_loads_in_its_place(digits, tmp_path, damage):
    whole = trained(digits, tmp_path)
    path = newest(tmp_path)
    DAMAGE[damage](path)
    if damage != "a folder":
        with pytest.raises(RuntimeError, match=r"epoch_000002\.safetensors (cannot be read|was altered)"):
            qh.QAAN.load(path)
    with pytest.warns(
        UserWarning, match=r"epoch_000002\.safetensors .*; loaded epoch_000001\.safetensors, the newest intact"
    ):
        gan = qh.QAAN.load(tmp_path)
    assert gan.epoch == 1
    if damage == "a folder":
        path.rmdir()
    for _ in qh.train(gan, digits, 1, batch_size=8):
        gan.save(tmp_path)
    assert epochs_in(tmp_path) == [1, 2]  # the damaged one is replaced
    assert same(qh.QAAN.load(tmp_path), whole)


def test_any_flipped_byte_is_noticed(digits, tmp_path):
    """In the header, the metadata or the tensors: what loads is what was saved, or an error."""
    gan = trained(digits, tmp_path, epochs=1)
    path, rng = newest(tmp_path), np.random.default_rng(0)
    intact = path.read_bytes()
    header = 8 + int.from_bytes(intact[:8], "little")
    places = [*range(8), *rng.integers(8, header, 60), *rng.integers(header, len(intact), 20)]
    for place in places:
        content = bytearray(intact)
        content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            loaded = qh.QAAN.load(path)
        except RuntimeError:
            continue
        assert same(loaded, gan)


@pytest.mark.parametrize(("epochs", "others"), [(1, "there is no older save"), (2, "no older save is intact")])
def test_damage_of_every_save_is_an_error(digits, tmp_path, epochs, others):
    trained(digits, tmp_path, epochs=epochs)
    for path in tmp_path.glob("*.safetensors"):
        flip_a_bit(path)
    message = (
        rf"epoch_00000{epochs}\.safetensors was altered after it was saved.*; {others}.*train again in another folder"
    )
    with pytest.raises(RuntimeError, match=message):
        qh.QAAN.load(tmp_path)


def test_a_newer_format_is_refused_and_never_passed_over(digits, tmp_path):
    trained(digits, tmp_path)
    rewritten(newest(tmp_path), format=str(storage.FORMAT + 1))
    before = names(tmp_path)
    with pytest.raises(
        RuntimeError, match=rf"000002\.safetensors has format {storage.FORMAT + 1}.*Update qaan_helpers"
    ):
        qh.QAAN.load(tmp_path)
    assert names(tmp_path) == before
    assert qh.QAAN.load(tmp_path / "epoch_000001.safetensors").epoch == 1


@pytest.mark.parametrize("version", ["0", "-1", "1", "1.5", "two"])
def test_a_format_that_never_was_is_refused(digits, tmp_path, version):
    trained(digits, tmp_path, epochs=1)
    rewritten(newest(tmp_path), format=version)
    with pytest.raises(RuntimeError, match=r"epoch_000001\.safetensors has format .*never wrote"):
        qh.QAAN.load(tmp_path)


def forge(folder, change):
    """Alter the newest save and give it a correct checksum: what a stranger or another version might have written."""
    save = storage.saves(folder)[0]
    tensors, description = storage.pack(save.read())
    change(tensors, description)
    storage.write(folder, save.epoch, storage.unpack(tensors, description))


def test_a_save_to_draw_with_is_small_and_draws_the_same(digits, tmp_path):
    gan = trained(digits, tmp_path / "whole")
    gan.save(tmp_path / "small", for_training=False)
    whole, small = (sum(path.stat().st_size for path in (tmp_path / name).iterdir()) for name in ("whole", "small"))
    assert small < 0.3 * whole / 2  # of the two saves that are kept
    images = qh.QAAN.load(tmp_path / "small").sample(5)
    assert torch.equal(images, gan.sample(5))


def exchanged(name, tensor):
    return lambda tensors, description: tensors.update({name: tensor(tensors[name])})


FORGED = {
    "weights too wide": exchanged("generator/layers.0.weight", lambda t: torch.zeros(len(t), 5)),
    "weights too few": exchanged("discriminator/output.weight", lambda t: t[:, :2]),
    "weights missing": lambda tensors, _: tensors.pop("generator/layers.0.weight"),
    "weights unknown": lambda tensors, _: tensors.update({"generator/layers.99.weight": torch.zeros(1)}),
    "other bits": exchanged("discriminator/hidden.0.bias", lambda t: torch.zeros(4)),
    "bits missing": lambda tensors, _: tensors.pop("discriminator/hidden.0.bias"),
    "Adam's mean of another shape": exchanged("g_optimizer/state/0/exp_avg", lambda t: torch.zeros(3)),
    "Adam's square of another shape": exchanged("d_optimizer/state/1/exp_avg_sq", lambda t: t[:1]),
    "Adam's step of another shape": exchanged("g_optimizer/state/0/step", lambda t: torch.ones(2)),
    "Adam's mean missing": lambda tensors, _: tensors.pop("d_optimizer/state/0/exp_avg"),
    "Adam of a weight too many": lambda tensors, _: tensors.update({"g_optimizer/state/77/step": torch.ones(())}),
    "Adam without a number": lambda tensors, _: tensors.update({"g_optimizer/state/first/step": torch.ones(())}),
    "Adam without an entry": lambda tensors, _: tensors.update({"g_optimizer/state/99": torch.ones(())}),
    "noise cut": exchanged("random/noise", lambda t: t[:100]),
    "noise missing": lambda tensors, _: tensors.pop("random/noise"),
    "stream cut": lambda _, description: description["random"]["warm_up"]["rng"].pop("state"),
    "stream of another kind": lambda _, description: description["random"]["warm_up"]["rng"].update(bit_generator="MT"),
    "prior's stream missing": lambda _, description: description["prior"]["state"].pop("rng"),
    "a group of Adam too many": lambda _, description: description["d_optimizer"]["param_groups"].pop(),
    "too few angles": exchanged("prior/state/angles", lambda t: t[:-1]),
    "no prior": lambda _, description: description.pop("prior"),
    "a prior of another size": lambda _, description: description["prior"]["config"].update(n_qubits=2),
    "a prior with an unknown setting": lambda _, description: description["prior"]["config"].update(color="red"),
    "a prior that is a list": lambda _, description: description["prior"].update(config=["qcbm"]),
    "an unknown setting": lambda _, description: description["settings"].update(color="red"),
    "a setting that cannot work": lambda _, description: description["settings"].update(refresh=0),
    "a seed that cannot work": lambda _, description: description.update(seed="none"),
    "settings that are a number": lambda _, description: description.update(settings=3),
    "no seed": lambda _, description: description.pop("seed"),
    "an unknown figure in the history": lambda _, description: description["history"][0].update(color=1),
    "a history without losses": lambda _, description: description["history"][0].pop("d_loss"),
    "a history that is a number": lambda _, description: description.update(history=4),
    "a variance below 0": exchanged("generator/layers.2.running_var", lambda t: -t),
    "a variance below 0 in the discriminator": exchanged("discriminator/convolutions.3.running_var", lambda t: t - 9),
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
    with pytest.raises(
        RuntimeError, match=r"epoch_000002\.safetensors fits no QAAN of this version \(it was written with"
    ):
        qh.QAAN.load(folder / "epoch_000002.safetensors")
    with pytest.warns(UserWarning, match="loaded epoch_000001"):
        assert qh.QAAN.load(folder).epoch == 1


def test_a_tensor_within_a_number_is_refused():
    with pytest.raises(storage.CheckpointError, match="has a tensor at seed/x, where its description has 3"):
        storage.unpack({"seed/x": torch.ones(1)}, {"seed": 3})


@pytest.mark.parametrize("name", ["generator/layers.0.weight", "d_optimizer/state/0/exp_avg_sq", "prior/state/angles"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_are_neither_saved_nor_loaded(circuit_run, tmp_path, monkeypatch, name, value):
    folder = shutil.copytree(circuit_run, tmp_path / "run")
    before = names(folder)
    spoil = exchanged(name, lambda t: t.index_fill(0, torch.tensor([0]), value))
    with pytest.raises(ValueError, match=f"holds NaN or infinity in {name}.*is unchanged"):
        forge(folder, spoil)
    assert names(folder) == before
    with monkeypatch.context() as patch:
        patch.setattr(storage, "check_finite", lambda tensors: None)
        forge(folder, spoil)
    with pytest.raises(RuntimeError, match=rf"epoch_000002\.safetensors holds NaN or infinity in {name}"):
        qh.QAAN.load(folder / "epoch_000002.safetensors")
    with pytest.warns(UserWarning, match="epoch_000001"):
        assert qh.QAAN.load(folder).epoch == 1


def test_a_gan_that_is_nan_is_not_saved_over_one_that_is_not(digits, tmp_path):
    gan = trained(digits, tmp_path)
    with torch.no_grad():
        gan.generator.layers[0].weight[0] = math.nan
    with pytest.raises(ValueError, match="NaN or infinity in generator/layers.0.weight"):
        gan.save(tmp_path)
    assert epochs_in(tmp_path) == [1, 2]
    assert qh.QAAN.load(tmp_path).epoch == 2


class Trap:
    """What a pickle can do to whoever opens it."""

    def __reduce__(self):
        return Path.touch, (Path(self.folder) / "trapped",)


@pytest.mark.parametrize("where", ["all of the file", "the tensors"])
def test_a_pickle_is_never_opened(digits, tmp_path, monkeypatch, where):
    trap = Trap()
    trap.folder = str(tmp_path)
    pickled = pickle.dumps(trap)
    trained(digits, tmp_path / "run", epochs=1)
    path = newest(tmp_path / "run")
    if where == "all of the file":
        path.write_bytes(pickled)
    else:
        intact = path.read_bytes()
        end = 8 + int.from_bytes(intact[:8], "little")
        path.write_bytes(intact[:end] + pickled)
        correct = json.loads(intact[8:end])["__metadata__"]["sha256"]
        monkeypatch.setattr(storage, "_checksum", lambda *_: correct)
    with pytest.raises(RuntimeError, match="cannot be read|no valid state"):
        qh.QAAN.load(tmp_path / "run")
    assert not (tmp_path / "trapped").exists()


def test_arguments_that_cannot_work_are_no_damage(circuit_run, tmp_path):
    """They are the caller's own, so no older save is taken for them."""
    with pytest.raises(ValueError, match="device must be .*; got 'tpu'"):
        qh.QAAN.load(circuit_run, device="tpu")
    folder = shutil.copytree(circuit_run, tmp_path / "run")
    forge(folder, lambda _, description: description["prior"]["config"].update(execution="a device"))
    with pytest.raises(ValueError, match=r"epoch_000002\.safetensors: .*ran with a device.*pass execution"):
        qh.QAAN.load(folder)
    assert qh.QAAN.load(folder, execution=qh.Exact()).epoch == 2


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_a_save_is_refused(tmp_path, folder):
    with pytest.raises(ValueError, match=r"holds no save of a run; gan\.save\("):
        qh.QAAN.load(tmp_path / folder)
    assert not (tmp_path / "nowhere").exists()


# Interrupted writing


@pytest.mark.parametrize("same_epoch", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize(("call", "at"), [("fsync", 1), ("replace", 1)])
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
        assert str(tmp_path / f"epoch_00000{gan.epoch}.safetensors") in str(failed.value)
        assert "No space left on device" in str(failed.value) and "Free some space or choose" in str(failed.value)
    assert [name for name in names(tmp_path) if not name.startswith("epoch_")] == []  # no temporary files
    assert epochs_in(tmp_path) == [1]
    assert torch.equal(qh.QAAN.load(tmp_path).sample(4), at_the_save)

    gan.save(tmp_path)  # the next one succeeds and clears away what the first left
    assert len(names(tmp_path)) == len(epochs_in(tmp_path))
    assert torch.equal(qh.QAAN.load(tmp_path).sample(4), gan.sample(4))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_may_not_grow_leaves_the_previous_save(digits, tmp_path, share):
    """The system's own limit cuts the write in its midst, as a disk does that fills up."""
    resource = pytest.importorskip("resource")
    gan = trained(digits, tmp_path, epochs=1)
    run(gan, digits, 1)
    room = int(share * newest(tmp_path).stat().st_size)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        with pytest.raises(OSError, match=r"epoch_000002\.safetensors could not be saved"):
            gan.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["epoch_000001.safetensors"]
    assert qh.QAAN.load(tmp_path).epoch == 1
    gan.save(tmp_path)
    assert qh.QAAN.load(tmp_path).epoch == 2


def test_a_folder_that_cannot_be_made_is_named(digits, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"file.*epoch_000000\.safetensors could not be saved"):
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
            newest(folder).write_text("{}")
            old = qh.QAAN.load(folder / "epoch_000003.safetensors")
    with monkeypatch.context() as patch:
        camera = Camera(patch, folder, tmp_path / "copies")
        new.save(folder)
    assert len(camera.pictures) > 4
    loaded = []
    for picture in [*camera.pictures, folder]:
        if case != "damaged":
            loaded.append(qh.QAAN.load(picture))  # without a warning
        else:
            default = picture / "epoch_000003.safetensors"
            loaded.append(qh.QAAN.load(max(picture.glob("*5.safetensors"), default=default)))
    kinds = ["old" if same(one, old) else "new" if same(one, new) else "none" for one in loaded]
    assert kinds[0] == "old" and kinds[-1] == "new"
    assert kinds == sorted(kinds, reverse=True)  # old up to a moment, new from then on, nothing else ever


def test_files_and_their_names_are_on_disk_one_before_the_next(digits, tmp_path, monkeypatch):
    """The content, then its name; and only then may what was saved before go."""
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
    synced = ["sync file", "safetensors", "sync folder", "delete"]
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


# Format 1, which revision 572da74 wrote

FORMAT_1 = Path(__file__).parent / "format_1"
EXPECTED = json.loads((FORMAT_1 / "expected.json").read_text())


def few_digits():
    sample = qh.load_mnist((3, 7), source="sample")
    return qh.Digits(sample.images[:128], sample.labels[:128], "a test")


def test_a_training_of_format_1_goes_on_as_it_would_have():
    expected = EXPECTED["training_qcbm"]
    gan = qh.QAAN.load(FORMAT_1 / "training_qcbm", "cpu")
    assert gan.epoch == 3 and gan.prior_fitted and gan.digits == (3, 7)
    assert gan.settings.hidden_lr_factor == 0.5 and gan.settings.ema_decay == 0.98
    assert isinstance(gan.prior.optimizer, qh.Cobyla) and gan.prior.refit_evaluations == 12
    (report,) = qh.train(gan, few_digits(), 1, 32)
    assert report.epoch == expected["next"]["epoch"] == 4
    for name in ("d_loss", "g_loss", "prior_cost"):
        assert getattr(report, name) == pytest.approx(expected["next"][name], abs=1e-3)
    np.testing.assert_allclose(gan.prior.qcbm.angles, expected["angles"], atol=1e-2)


@pytest.mark.parametrize("name", ["rbm", "mixed_product", "scrambled_replay"])
def test_a_model_of_format_1_samples_as_it_did(name):
    gan = qh.QAAN.load(FORMAT_1 / name, "cpu")
    assert (gan.settings.hidden_lr_factor, gan.settings.ema_decay, gan.settings.binarization) == (0.4, 0.9, "sign")
    assert gan.prior.sample(8).tolist() == EXPECTED[name]["sample"]
    np.testing.assert_allclose(gan.prior.probabilities(), EXPECTED[name]["probabilities"], atol=1e-12)
    means = gan.generate(gan.latents(np.eye(2))).mean((1, 2, 3))
    np.testing.assert_allclose(means, EXPECTED[name]["image_mean"], atol=1e-5)


def test_every_bundled_model_loads():
    for name in storage.bundled_names():
        assert qh.QAAN.load(qh.bundled(name), "cpu").sample(2).shape == (2, 1, 28, 28)


def copied(tmp_path, name="training_qcbm"):
    return shutil.copytree(FORMAT_1 / name, tmp_path / name)


def sign_again(folder, change):
    """Change the JSON of a save of format 1 and give it a correct checksum."""
    (path,), (tensors,) = folder.glob("*.json"), folder.glob("*.safetensors")
    description = json.loads(path.read_text())
    del description["sha256"], description["format"]
    change(description)
    blob = tensors.read_bytes()
    digest = hashlib.sha256(blob + json.dumps(description, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"format": 1, "sha256": digest, **description}))
    tensors.rename(path.with_suffix(f".{digest[:8]}.safetensors"))


def test_a_run_of_format_1_is_resumed_in_its_folder(tmp_path):
    folder = copied(tmp_path)
    gan = qh.QAAN.load(folder, "cpu")
    digits = few_digits()
    for epoch, left in ((4, ["json", "safetensors", "safetensors"]), (5, ["safetensors", "safetensors"])):
        list(qh.train(gan, digits, 1, 32))
        gan.save(folder)
        assert sorted(name.split(".")[-1] for name in names(folder)) == left
        assert qh.QAAN.load(folder, "cpu").epoch == epoch


def test_format_1_before_the_ema_and_the_hidden_layers_rate(tmp_path):
    folder = copied(tmp_path, "rbm")

    def older(description):
        del description["settings"]["hidden_rate"], description["settings"]["averaging"]

    sign_again(folder, older)
    gan = qh.QAAN.load(folder, "cpu")
    assert (gan.settings.hidden_lr_factor, gan.settings.ema_decay) == (1, 0)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink])
def test_damage_of_format_1_is_noticed(tmp_path, suffix, damage):
    folder = copied(tmp_path, "rbm")
    (path,) = folder.glob(f"*.{suffix}")
    damage(path)
    with pytest.raises((RuntimeError, ValueError), match="cannot be read|altered|holds no save"):
        qh.QAAN.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("settings"),
        lambda d: d.update(prior=3),
        lambda d: d["prior"].update(hidden=5),
        lambda d: d["settings"].update(refresh=0),
        lambda d: d.update(history="none"),
    ],
)
def test_a_crafted_save_of_format_1_is_refused(tmp_path, change):
    folder = copied(tmp_path, "rbm")
    sign_again(folder, change)
    with pytest.raises(RuntimeError, match=r"epoch_000001\.json (holds no valid state|fits no QAAN)"):
        qh.QAAN.load(folder)
