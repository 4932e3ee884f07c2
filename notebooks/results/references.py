"""What real digits score, for notebook 7: `QAAN_DATA=ROOT python references.py` writes references.csv from MNIST."""

import csv
from pathlib import Path

import qaan_helpers as qh
from qaan_helpers import sweep

rows = []
for digits in ((3, 7, 9), tuple(range(10))):
    test = qh.load_mnist(digits, "test", "full").images
    batches = qh.load_mnist(digits, "train", "full").batches(3000, seed=0)
    fresh, _ = next(iter(batches))
    rows.append(
        {
            "digits": ", ".join(map(str, digits)) if len(digits) < 10 else "all ten",
            "n_images": len(fresh),
            "inception_score": round(qh.inception_score(test), 4),
            "frechet_distance": round(qh.frechet_distance(fresh, test), 4),
            "revision": sweep.revision(),
        }
    )
with Path(__file__).with_name("references.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
