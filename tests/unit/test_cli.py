"""The command line does the same as the package, without a notebook."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from qiskit.primitives import StatevectorSampler

import qaan_helpers as qh
from qaan_helpers.__main__ import main
from qaan_helpers.quantum import devices, execution

pytestmark = pytest.mark.integration

DATA = ["--source", "sample", "--digits", "7"]
TINY = [*DATA, "--qubits=3", "--layers=1", "--evaluations=40", "--refit-evaluations=40", "--batch-size=100"]


def train(out, *more):
    return main(["train", *TINY, "--device", "cpu", "--out", str(out), *more])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert train(folder, "--epochs", "2", "--seed", "4") == 0
    return folder


@pytest.fixture
def run_folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def error_of(capsys):
    """The message on stderr, which must be one line without a traceback."""
    message = capsys.readouterr().err.strip()
    assert "Traceback" not in message
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def test_train_saves_each_epoch_with_the_settings_asked_for(trained):
    gan = qh.QAAN.load(trained)
    assert [report.epoch for report in gan.history] == [1, 2]
    assert gan.seed == 4
    expected = {"kind": "qcbm", "n_qubits": 3, "layers": 1, "max_evaluations": 40, "refit_evaluations": 40}
    assert gan.prior.config() | expected == gan.prior.config()
    assert sorted(path.name.split(".")[0] for path in trained.glob("*.safetensors")) == ["epoch_000001", "epoch_000002"]


def test_a_continued_training_equals_one_without_a_stop(run_folder, tmp_path, capsys):
    assert train(run_folder, "--epochs", "3") == 0
    output = capsys.readouterr()
    assert "has 2 epochs of a run, which continues" in output.out
    assert "python -m qaan_helpers sample" in output.out
    assert "3/3" in output.err  # the progress bar
    assert train(tmp_path / "whole", "--epochs", "3", "--seed", "4") == 0
    stopped, whole = qh.QAAN.load(run_folder), qh.QAAN.load(tmp_path / "whole")
    assert stopped.epoch == 3
    assert (stopped.sample(8) == whole.sample(8)).all()


def test_train_says_that_all_epochs_are_done(run_folder, capsys):
    assert train(run_folder, "--epochs", "2") == 0
    assert "2 epochs already; --epochs 12 would" in capsys.readouterr().out
    assert qh.QAAN.load(run_folder).epoch == 2


@pytest.mark.parametrize("kind", ["uniform", "product", "rbm", "replay"])
def test_train_accepts_the_classical_priors(tmp_path, kind):
    assert train(tmp_path, "--prior", kind, "--epochs", "2") == 0
    assert {"kind": kind, "latent_dim": 3}.items() <= qh.QAAN.load(tmp_path).prior.config().items()


def test_train_applies_every_option_of_the_circuit(tmp_path):
    choices = ["--shots", "50", "--bases", "zo", "--entanglement", "linear", "--optimizer", "spsa"]
    assert train(tmp_path, *choices, "--epochs", "1") == 0
    config = qh.QAAN.load(tmp_path).prior.config()
    assert config["execution"] == {"shots": 50}
    assert [config[name] for name in ("bases", "entanglement", "optimizer")] == ["zo", "linear", "spsa"]


@pytest.mark.parametrize(("options", "epochs"), [("", 3), ("--on-collapse warn", 3), ("--on-collapse stop", 1)])
def test_train_stops_after_a_collapse_on_request(tmp_path, monkeypatch, options, epochs):
    from qaan_helpers.gan import health

    monkeypatch.setattr(health, "diagnose", lambda *seen: {"collapsed prior": "one code only"})
    with pytest.warns(health.TrainingWarning, match="epoch 1, collapsed prior: one code only"):
        assert train(tmp_path, "--epochs", "3", *options.split()) == 0
    assert qh.QAAN.load(tmp_path).epoch == epochs


def test_a_run_keeps_its_digits(run_folder, capsys):
    assert qh.QAAN.load(run_folder).digits == (7,)
    tiny = [option for option in TINY if option not in ("--digits", "7")]
    run = ["--device", "cpu", "--out", str(run_folder), "--epochs", "3"]
    assert main(["train", *TINY, *run, "--digits", "3,7"]) == 2
    assert "has a run on digits 7; choose another --out" in error_of(capsys)
    assert main(["train", *tiny, *run]) == 0
    assert main(["evaluate", "--source", "sample", str(run_folder), "-n", "20"]) == 0
    assert capsys.readouterr().out.count("images of 7, from") == 2


def test_cobyla_with_shots_is_warned_of_before_training(tmp_path, capsys):
    assert train(tmp_path / "exact", "--epochs", "1") == 0
    assert train(tmp_path / "spsa", "--epochs", "1", "--shots", "50", "--optimizer", "spsa") == 0
    assert "COBYLA" not in capsys.readouterr().err
    assert train(tmp_path / "cobyla", "--epochs", "1", "--shots", "50") == 0
    assert "COBYLA learns little from shots" in capsys.readouterr().err


def test_an_interrupt_before_the_first_epoch_claims_nothing(tmp_path, monkeypatch, capsys):
    import qaan_helpers.gan.training as training

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stopped)
    assert train(tmp_path, "--epochs", "5") == 130
    assert "stopped; nothing is saved yet" in capsys.readouterr().err


def test_train_keeps_the_epochs_before_an_interrupt(tmp_path, monkeypatch, capsys):
    import qaan_helpers.gan.training as training

    def stopped(gan, digits, epochs, *options):
        yield next(original(gan, digits, epochs, *options))
        raise KeyboardInterrupt

    original = training.train
    monkeypatch.setattr(training, "train", stopped)
    assert train(tmp_path, "--epochs", "5") == 130
    assert "last complete epoch is saved" in capsys.readouterr().err
    assert qh.QAAN.load(tmp_path).epoch == 1


def noise_free_trap(shots):
    """The execution "ion_trap" without noise."""
    return qh.Shots(shots, noise_model=qh.ion_trap_noise(0, 0, 0))


def test_train_continues_with_an_execution_that_a_file_cannot_describe(tmp_path, capsys):
    trap = ["--execution", "ion_trap", "--shots", "40", "--epochs"]
    assert train(tmp_path, *trap, "2") == 0
    loaded = qh.QAAN.load(tmp_path, execution=noise_free_trap(40))
    assert loaded.prior.config()["execution"] == "40 shots on Aer, with an ion trap's noise, all of it off"
    assert train(tmp_path, "--epochs", "3") == 2
    assert "which a file cannot describe; pass execution=… (or --execution)" in capsys.readouterr().err
    assert train(tmp_path, *trap, "3") == 0
    assert train(tmp_path, "--execution", "exact", "--epochs", "4") == 0
    assert qh.QAAN.load(tmp_path).prior.config()["execution"] == {"shots": None}


def test_sample_and_evaluate_run_the_circuit_where_the_options_say(run_folder, tmp_path, monkeypatch, capsys):
    requested, samples, sample = [], [], qh.QAAN.sample
    sheet = ["sample", str(run_folder), "--out", str(tmp_path / "digits.png")]
    noisy = devices.named_execution("ion_trap", 30)
    monkeypatch.setattr(qh.QAAN, "sample", lambda *given: samples.append(sample(*given)) or samples[-1])
    monkeypatch.setattr(devices, "named_execution", lambda *given: requested.append(given) or noisy)
    assert main(sheet) == 0
    assert not requested
    assert main([*sheet, "--execution", "ion_trap", "--shots", "30"]) == 0
    as_saved, with_noise = samples
    assert (with_noise != as_saved).any()
    assert (with_noise == sample(qh.QAAN.load(run_folder, execution=noisy), 64)).all()
    assert main(["evaluate", *DATA, str(run_folder), "-n", "10", "--execution", "FakeTorino"]) == 0
    assert main(["evaluate", *DATA, str(run_folder), "-n", "10", "--shots", "20"]) == 0
    assert requested == [("ion_trap", 30), ("FakeTorino", 2000), ("shots", 20)]


class Device:
    """A SamplerV2 that works until it is switched off, after a number of jobs."""

    def __init__(self, jobs):
        self.left, self.sampler = jobs, StatevectorSampler(seed=np.random.default_rng(5))

    def run(self, pubs, shots):
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("the device is switched off")
        return self.sampler.run(pubs, shots=shots)


def test_train_saves_its_state_when_a_device_fails_and_continues(tmp_path, monkeypatch, capsys):
    """Epochs 2 and 3 take 40 jobs for a fit and one for sampling each; the device fails during the second fit."""
    monkeypatch.setattr(execution, "RETRY_WAIT", 0.0)
    device = Device(41 + 30)
    monkeypatch.setattr(devices, "named_execution", lambda name, shots: qh.Primitive(device, shots, retries=0))
    arguments = [tmp_path, "--execution", "ibm", "--shots", "200", "--epochs", "4"]
    epoch_2 = []
    save = qh.QAAN.save
    monkeypatch.setattr(qh.QAAN, "save", lambda gan, folder: (epoch_2.append(gan.prior.qcbm.angles), save(gan, folder)))
    assert train(*arguments) == 2
    message = capsys.readouterr().err
    assert "the device is switched off" in message and "30 of 40 evaluations were done" in message
    assert f"Epoch 2 and the circuit's best angles since then are saved in {tmp_path}; the same command" in message
    saved = qh.QAAN.load(tmp_path, execution=qh.Exact())
    assert [report.epoch for report in saved.history] == [1, 2]
    assert (saved.prior.qcbm.angles == epoch_2[-1]).all()
    assert (saved.prior.qcbm.angles != epoch_2[-2]).any()  # those that epoch 2 ended with
    device.left = 10_000
    assert train(*arguments) == 0
    assert "has 2 epochs of a run" in capsys.readouterr().out
    assert [report.epoch for report in qh.QAAN.load(tmp_path, execution=qh.Exact()).history] == [1, 2, 3, 4]


def test_train_saves_the_first_fit_when_the_device_fails_during_the_sampling_after_it(tmp_path, monkeypatch, capsys):
    device = Device(40)
    monkeypatch.setattr(devices, "named_execution", lambda name, shots: qh.Primitive(device, shots, retries=0))
    arguments = [tmp_path, "--execution", "ibm", "--shots", "200", "--epochs", "2"]
    assert train(*arguments) == 2
    assert "the device is switched off" in capsys.readouterr().err
    saved = qh.QAAN.load(tmp_path, execution=qh.Exact())
    assert saved.epoch == 1
    assert saved.prior.state_dict()["fitted"] is True
    device.left = 10_000
    assert train(*arguments) == 0
    assert qh.QAAN.load(tmp_path, execution=qh.Exact()).epoch == 2


def test_sample_saves_the_images_of_the_run_as_a_png(run_folder, tmp_path, capsys):
    assert main(["sample", str(run_folder), "-n", "20"]) == 0
    assert "20 digits saved in" in capsys.readouterr().out
    images = qh.QAAN.load(run_folder).sample(20)
    with Image.open(run_folder / "digits.png") as png:
        assert png.size == (16 * 30 + 2, 2 * 30 + 2)
        sheet = np.asarray(png.convert("L")) / 255
    last = sheet[32:60, 3 * 30 + 2 : 4 * 30]  # the fourth of the second row
    assert np.abs(last - (1 - images[19, 0].numpy())).max() < 0.01  # dark ink on white
    assert main(["sample", str(run_folder), "-n", "3", "--out", str(tmp_path / "three.png")]) == 0
    with Image.open(tmp_path / "three.png") as png:
        assert png.size == (3 * 30 + 2, 30 + 2)


def test_the_images_of_a_bundled_model_are_saved_here_and_not_in_the_package(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("qcbm_379_sample", str(qh.bundled("qcbm_379_sample"))):
        assert main(["sample", name, "-n", "3"]) == 0
        assert "3 digits saved in digits.png" in capsys.readouterr().out
        (tmp_path / "digits.png").unlink()
    (tmp_path / "qcbm_379_sample").mkdir()  # a folder of that name belongs to the user
    assert main(["sample", "qcbm_379_sample"]) == 2


def test_help_and_evaluate_in_a_process_of_their_own(run_folder):
    """Outside pytest: only the answer is printed, without warnings of libraries."""
    command = [sys.executable, "-m", "qaan_helpers"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert all(name in shown.stdout for name in ("train", "sample", "evaluate"))
    digits = ["--source", "sample", "--digits", "3,7"]
    scored = subprocess.run(
        [*command, "evaluate", *digits, str(run_folder), "-n", "40"], capture_output=True, text=True, check=True
    )
    assert scored.stderr == ""
    assert ["generated", "real"] in [line.split() for line in scored.stdout.splitlines()]
    rows = {line[:22].strip(): line[22:].split() for line in scored.stdout.splitlines()}
    images, real = qh.QAAN.load(run_folder).sample(40), qh.load_mnist((3, 7), "test", "sample").images
    scores = [qh.inception_score(images), qh.inception_score(real)]
    assert scores[1] > scores[0] + 0.1
    assert [float(cell) for cell in rows["Inception Score"]] == pytest.approx(scores, abs=2e-3)
    assert float(rows["Fréchet distance"][0]) == pytest.approx(qh.frechet_distance(images, real), rel=1e-2)
    fractions = [qh.class_coverage(images)[7], qh.class_coverage(real)[7]]
    assert [float(cell.strip("%")) / 100 for cell in rows["classified as 7"]] == pytest.approx(fractions, abs=0.03)
    assert "classified as 0" not in rows or qh.class_coverage(images)[0] > 0


@pytest.mark.parametrize("command", ["train", "sample", "evaluate"])
def test_each_command_has_a_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert command in shown
    assert "(default: None)" not in shown


@pytest.mark.parametrize(
    ("text", "digits"), [("3,7,9", (3, 7, 9)), ("0-9", tuple(range(10))), ("0-2,8", (0, 1, 2, 8)), ("5", (5,))]
)
def test_digits_may_be_listed_or_given_as_a_range(text, digits):
    from qaan_helpers.__main__ import _digits

    assert _digits(text) == digits


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--digits", "11"], "digits must be a non-empty sequence of integers in 0–9, such as (3, 7, 9); got [11]"),
        (["--digits", "7-3"], "digits must be a non-empty sequence of integers in 0–9, such as (3, 7, 9); got ()"),
        (["--qubits", "0"], "n_qubits must be an integer ≥ 1; got 0"),
        (["--prior", "product", "--qubits", "0"], "latent_dim must be an integer in 1–10,000; got 0"),
        (["--layers", "0"], "layers must be an integer ≥ 1; got 0"),
        (["--shots", "-5"], "shots must be an integer in 1–10,000,000; got -5"),
        (["--execution", "ion_trap", "--shots", "0"], "shots must be an integer in 1–10,000,000; got 0"),
        (["--execution", "exact", "--shots", "9"], "--execution exact takes no --shots; leave it out"),
        (["--execution", "iontrap"], "got 'iontrap'. Did you mean 'ion_trap'?"),
        (["--execution", "FakeManilaV2", "--qubits", "6"], "fake_manila has 5 qubits and the circuit has 6"),
        (["--evaluations", "5"], "max_evaluations must be at least 11 for COBYLA with 9 angles; got 5"),
        (["--refit-evaluations", "5"], "refit_evaluations must be at least 11 for COBYLA with 9 angles; got 5"),
        (["--epochs", "0"], "epochs must be an integer ≥ 1; got 0"),
        (["--epochs", "-1"], "epochs must be an integer ≥ 1; got -1"),
        (["--batch-size", "0"], "batch_size must be an integer ≥ 1; got 0"),
    ],
)
def test_train_refuses_unusable_options_before_any_work(tmp_path, capsys, arguments, message):
    assert train(tmp_path / "run", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_error_messages_are_one_line(tmp_path, capsys):
    assert train(tmp_path / "run", "--shots", "0") == 2
    assert "shots must be an integer in 1–10,000,000; got 0" in error_of(capsys)
    assert main(["sample", str(tmp_path)]) == 2
    assert "holds no save of a run" in error_of(capsys)
    assert main(["evaluate", str(tmp_path / "nowhere"), *DATA]) == 2
    assert "holds no save of a run" in error_of(capsys)


def test_a_negative_seed_is_refused(tmp_path, capsys):
    assert train(tmp_path / "run", "--seed", "-1") == 2
    assert "non-negative" in error_of(capsys)


def test_sample_refuses_zero_digits_and_a_missing_folder(run_folder, capsys):
    assert main(["sample", str(run_folder), "-n", "0"]) == 2
    assert "n_samples must be an integer in 1–1,000,000; got 0" in error_of(capsys)
    assert main(["sample", str(run_folder), "--out", str(run_folder / "nowhere" / "digits.png")]) == 2
    assert "nowhere" in error_of(capsys)


def test_a_damaged_run_is_refused(run_folder, capsys):
    for path in run_folder.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    assert train(run_folder, "--epochs", "3") == 2
    message = error_of(capsys)
    assert "cannot be read" in message and "no older save is intact" in message


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["train", "--digits", "three"],
        ["train", "--prior", "gauss"],
        ["train", "--optimizer", "bfgs"],
        ["train", "--entanglement", "ring"],
        ["train", "--bases", "x"],
        ["train", "--device", "tpu"],
        ["train", "--source", "web"],
        ["train", "--epochs", "many"],
        ["sample"],
    ],
)
def test_arguments_that_do_not_exist_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "error:" in message and "Traceback" not in message
