"""What real digits score, for notebook 8: `QAAN_DATA=ROOT python references.py` writes references.csv from MNIST."""

import csv
import json
from pathlib import Path

import qaan_helpers as qh
from qaan_helpers.evaluation import sweep
from qaan_helpers.gan import storage

rows = []
for digits in ((3, 7, 9), tuple(range(10))):
    test = qh.load_mnist(digits, "test", "full").images
    train = qh.load_mnist(digits, "train", "full")
    fresh, _ = next(iter(train.batches(3000, seed=0)))
    rows.append(
        {
            "digits": ", ".join(map(str, digits)) if len(digits) < 10 else "all ten",
            "n_images": len(fresh),
            "inception_score": round(qh.inception_score(test), 4),
            "frechet_distance": round(qh.frechet_distance(fresh, test), 4),
            "kernel_distance": round(qh.kernel_distance(fresh, test), 4),
            "class_balance": round(qh.class_balance(test, digits), 4),
            "distinct_images": round(qh.distinct_images(test), 4),
            "nearest_distance": round(qh.nearest_distance(test[:3000], train.images).mean().item(), 4),
            "revision": sweep.revision(),
            "versions": json.dumps(storage.versions()),
        }
    )
with Path(__file__).with_name("references.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
