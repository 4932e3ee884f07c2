"""The models that come along: they load, draw the digits they are for, are small, and their card says what they are."""

import re

import pytest

import qaan_helpers as qh
from qaan_helpers.gan import storage

pytestmark = pytest.mark.integration

NAMES = sorted(path.name for path in storage.BUNDLED.iterdir() if path.is_dir())
CARD = (storage.BUNDLED / "README.md").read_text(encoding="utf-8")
every_model = pytest.mark.parametrize("name", NAMES)


def test_there_are_some():
    assert "qcbm_379_sample" in NAMES


@every_model
def test_a_model_draws_its_digits(name):
    gan = qh.QAAN.load(qh.bundled(name))
    images = gan.sample(1000)
    shares = qh.class_coverage(images)
    assert gan.digits == (tuple(range(10)) if name.endswith("_ten") else (3, 7, 9))
    assert sum(shares[digit] for digit in gan.digits) > 0.9
    assert min(shares[digit] for digit in gan.digits) > 0.4 / len(gan.digits)
    assert qh.confidence(images) > 0.8
    kind, objective = name.split("_")[0], "associative"
    if kind in ("tied", "reconstruction"):
        kind, objective = "qcbm", kind
    assert (gan.prior.config()["kind"], gan.objective) == (kind, objective)


@every_model
def test_a_model_is_small_and_can_be_trained_on(name):
    assert sum(path.stat().st_size for path in qh.bundled(name).iterdir()) <= 1_000_000
    gan = qh.QAAN.load(qh.bundled(name))
    digits = qh.load_mnist((3, 7, 9), source="sample")
    few = qh.Digits(digits.images[:200], digits.labels[:200])
    with pytest.warns(match="this was trained on .* so far"):
        (report,) = qh.train(gan, few, epochs=1)
    assert report.epoch == gan.epoch


@every_model
def test_the_card_has_what_was_measured(name):
    """Inception Score and Fréchet distance of its row, to 2,000 drawn digits; they vary by up to 2% a sample."""
    row = next(line for line in CARD.splitlines() if line.startswith(f"| `{name}`"))
    epochs, score, distance, *recall = (float(cell) for cell in re.findall(r"\| ([\d.]+) (?=\|)", row))
    gan = qh.QAAN.load(qh.bundled(name))
    assert gan.epoch == epochs
    images, test = gan.sample(2000), qh.load_mnist(gan.digits, "test", "sample")
    assert qh.inception_score(images) == pytest.approx(score, rel=0.02, abs=0.06)
    assert qh.frechet_distance(images, test.images) == pytest.approx(distance, rel=0.15)
    assert bool(recall) == (gan.thresholds is not None)
    if recall:
        assert qh.recall_accuracy(gan, test) == pytest.approx(recall[0], abs=0.01)


def test_names_are_those_of_the_folders_in_order():
    assert storage.bundled_names() == NAMES


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="name must be one of the bundled models, 'qcbm_379.*; got 'mine'"):
        qh.bundled("mine")
