"""Write the models of the lab in the browser, docs/lab/models/*.bin: `python tools/export_lab.py`."""

from pathlib import Path

import qaan_helpers as qh
from qaan_helpers.lab.export import model_bytes

MODELS = ("reconstruction_379", "reconstruction_ten")
FOLDER = Path(__file__).parents[1] / "docs" / "lab" / "models"


def export(name):
    """Return the file of a bundled model, with digits of the bundled sample."""
    gan = qh.QAAN.load(qh.bundled(name), device="cpu")
    train, test = (qh.load_mnist(gan.digits, split, source="sample") for split in ("train", "test"))
    return model_bytes(gan, train, test, name)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        data = export(name)
        (FOLDER / f"{name}.bin").write_bytes(data)
        print(f"{name}.bin: {len(data):,} bytes")
