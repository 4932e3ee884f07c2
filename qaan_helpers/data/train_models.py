"""Train a model of trained/: `python train_models.py ROOT NAME [RUNS]`; goes on where it stopped.

ROOT: a torchvision root with full MNIST. RUNS: the folder for what is saved after each epoch, to go on from.
"""

import sys
from pathlib import Path

from tqdm.auto import tqdm

import qaan_helpers as qh

MODELS = {  # digits, where from, epochs, prior
    "qcbm_379_sample": ((3, 7, 9), "sample", 50, qh.QCBMPrior(8)),
    "qcbm_379": ((3, 7, 9), "full", 30, qh.QCBMPrior(8)),
    "uniform_379": ((3, 7, 9), "full", 30, qh.UniformPrior(8)),
    "qcbm_ten": (range(10), "full", 16, qh.QCBMPrior(8, bases="zt")),
    "uniform_ten": (range(10), "full", 16, qh.UniformPrior(16)),
}

root, name, runs = sys.argv[1], sys.argv[2], Path(*sys.argv[3:] or ["runs"])
digits, source, epochs, prior = MODELS[name]
images = qh.load_mnist(digits, "train", source, root)
gan = qh.QAAN.load(runs / name) if (runs / name).exists() else qh.QAAN(prior)
if gan.epoch < epochs:
    for _ in tqdm(qh.train(gan, images, epochs - gan.epoch), initial=gan.epoch, total=epochs, unit="epoch", desc=name):
        gan.save(runs / name)
gan.save(Path(__file__).parent / "trained" / name, keep=1, for_training=False)

test = qh.load_mnist(digits, "test", "full", root).images
drawn = gan.sample(len(test))
print(f"{name}: Inception Score {qh.inception_score(drawn):.3f} (real test digits {qh.inception_score(test):.3f}), "
      f"Fréchet distance {qh.frechet_distance(drawn, test):.2f} to {len(test)} test digits")  # fmt: skip
