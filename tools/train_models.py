"""Train a bundled model: `python tools/train_models.py ROOT NAME [RUNS]`; goes on where it stopped.

ROOT: a torchvision root with full MNIST. RUNS: the folder for what is saved after each epoch, to go on from.
"""

import sys
from pathlib import Path

from tqdm.auto import tqdm

import qaan_helpers as qh

BEST = {"latent_noise": 0.2, "ema_decay": 0.995}  # best on full MNIST in notebooks/results/tuning.csv
DEEP = {"layers": 4, "optimizer": {"name": "cobyla", "gradient_steps": 200}}  # the circuits of 12 qubits
MODELS = {  # digits, where from, epochs, batch size, prior, objective and settings other than the defaults
    "qcbm_379_sample": ((3, 7, 9), "sample", 50, 64, qh.QCBMPrior(8), {}),
    "qcbm_379": ((3, 7, 9), "full", 30, 32, qh.QCBMPrior(8), BEST),
    "uniform_379": ((3, 7, 9), "full", 30, 32, qh.UniformPrior(8), BEST),
    "qcbm_ten": (range(10), "full", 16, 32, qh.QCBMPrior(8, bases="zt"), BEST),
    "uniform_ten": (range(10), "full", 16, 32, qh.UniformPrior(16), BEST),
    "tied_379": ((3, 7, 9), "full", 12, 64, qh.QCBMPrior(8), {"objective": "tied"}),
    "reconstruction_379": ((3, 7, 9), "full", 12, 64, qh.QCBMPrior(8), {"objective": "reconstruction"}),
    "tied_ten": (range(10), "full", 8, 64, qh.QCBMPrior(12, **DEEP), {"objective": "tied"}),
    "reconstruction_ten": (range(10), "full", 8, 64, qh.QCBMPrior(12, **DEEP), {"objective": "reconstruction"}),
}

DATA = Path(qh.__file__).parent / "data"
root, name, runs = sys.argv[1], sys.argv[2], Path(*sys.argv[3:] or ["runs"])
digits, source, epochs, batch_size, prior, settings = MODELS[name]
images = qh.load_mnist(digits, "train", source, root)
gan = qh.QAAN.load(runs / name) if (runs / name).exists() else qh.QAAN(prior, **settings)
if left := epochs - gan.epoch:
    training = qh.train(gan, images, left, batch_size)
    for _ in tqdm(training, initial=gan.epoch, total=epochs, unit="epoch", desc=name):
        gan.save(runs / name)
gan.save(DATA / "trained" / name, keep=1, for_training=False)

for source in ("full", "sample"):
    test = qh.load_mnist(digits, "test", source, root)
    generated = gan.sample(len(test) if source == "full" else 2000)
    score, of_real = qh.inception_score(generated), qh.inception_score(test.images)
    print(f"{name}: Inception Score {score:.3f} (real test digits {of_real:.3f})")
    distance = qh.frechet_distance(generated, test.images)
    print(f"Fréchet distance {distance:.2f} of {len(generated)} to {len(test)} digits")
    if gan.thresholds is not None:
        print(f"recall accuracy {qh.recall_accuracy(gan, test):.3f}")
print(gan.history[-1])
