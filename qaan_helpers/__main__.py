"""Train, sample and evaluate without a notebook: `python -m qaan_helpers train --help`."""

import argparse
import sys
from math import isnan
from pathlib import Path

from .progress import tqdm

DIGITS = (3, 7, 9)  # where neither the options nor a saved run name any


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0, or 2 with a message on stderr where the arguments or files cannot work."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; {options.saved}", file=sys.stderr)
        return 130
    return 0


def _train(options):
    from .checks import ExecutionError
    from .gan.training import QAAN, train
    from .mnist import load_mnist

    if any(options.out.glob("epoch_*.json")):
        gan = QAAN.load(options.out, options.device, _execution(options))
        if gan.digits not in (None, _wanted(options, gan)):
            learned = ",".join(map(str, gan.digits))
            raise ValueError(f"{options.out} holds a run on digits {learned}; choose another --out for other digits")
        print(f"{options.out} holds {gan.epoch} epochs of a run; it goes on with the settings that it began with.")
    else:
        gan = QAAN(_new_prior(options), options.device, options.seed)
    digits = load_mnist(_wanted(options, gan), "train", options.source, options.root)
    _warn_of_counts(gan.prior)
    whole = "the last complete epoch is saved in {}; the same command goes on from there"
    if gan.epoch:
        options.saved = whole.format(options.out)
    left = options.epochs - gan.epoch
    if gan.epoch and left < 1:
        print(f"{options.out} has {gan.epoch} epochs already; --epochs {gan.epoch + 10} would train ten more.")
        return
    epochs = train(gan, digits, left, options.batch_size, options.on_collapse)
    with tqdm(total=options.epochs, initial=gan.epoch, unit="epoch") as bar:
        try:
            for report in epochs:
                gan.save(options.out)
                options.saved = whole.format(options.out)
                fitted = "not fitted" if isnan(report.prior_cost) else f"{report.prior_cost:.2f} nats"
                bar.set_postfix_str(f"D {report.d_loss:.2f}  G {report.g_loss:.2f}  prior {fitted}")
                bar.update()
        except ExecutionError as error:  # in a fit or a draw, before the epoch's first step
            gan.save(options.out)
            raise ExecutionError(
                f"{error}. Epoch {gan.epoch} and the circuit's best angles since then are saved in {options.out}; the "
                "same command goes on from there, also with another --execution"
            ) from error
    print(f"Saved in {options.out}; draw digits with: python -m qaan_helpers sample {options.out}")


def _wanted(options, gan):
    """The digits of the options, else those of the run, else the usual ones."""
    return next(digits for digits in (options.digits, gan.digits, DIGITS) if digits is not None)


def _warn_of_counts(prior):
    """Say beforehand that COBYLA learns next to nothing where it sees counts in place of probabilities."""
    counted = getattr(getattr(getattr(prior, "qcbm", None), "execution", None), "shots", None)
    if counted and prior.optimizer == "cobyla":
        print("COBYLA learns little from counted shots (notebook 08): --optimizer spsa does.", file=sys.stderr)


def _execution(options):
    """What --execution and --shots ask for; None, which is exact or as saved, where there is neither."""
    if options.execution is None and options.shots is None:
        return None
    from .quantum.devices import named_execution

    if options.execution == "exact" and options.shots is not None:
        raise ValueError("exact probabilities take no --shots; leave it out, or choose --execution shots")
    name = "shots" if options.execution is None else options.execution
    return named_execution(name, 2000 if options.shots is None else options.shots)


def _new_prior(options):
    from .priors import PRIORS, QCBMPrior

    if options.prior != "qcbm":
        return PRIORS[options.prior](options.qubits, seed=options.seed)
    return QCBMPrior(
        options.qubits,
        options.layers,
        options.bases,
        options.entanglement,
        _execution(options),
        options.optimizer,
        options.evaluations,
        options.refit_evaluations,
        seed=options.seed,
    )


def _folder(run):
    """The folder of a run, or of a model that comes along, by its name."""
    from .gan.storage import bundled, bundled_names

    return bundled(run.name) if not run.exists() and str(run) in bundled_names() else run


def _sample(options):
    from torchvision.utils import make_grid, save_image

    from .gan.storage import BUNDLED
    from .gan.training import QAAN

    run = _folder(options.run)
    images = QAAN.load(run, execution=_execution(options)).sample(options.n)
    out = options.out or (Path() if run.resolve().parent == BUNDLED.resolve() else run) / "digits.png"
    save_image(make_grid(1 - images, nrow=16, padding=2, pad_value=1), out)
    print(f"{options.n} digits drawn into {out}")


def _evaluate(options):
    from .evaluation.metrics import class_coverage, frechet_distance, inception_score
    from .gan.training import QAAN
    from .mnist import load_mnist

    gan = QAAN.load(_folder(options.run), execution=_execution(options))
    real = load_mnist(_wanted(options, gan), "test", options.source, options.root).images
    drawn = gan.sample(options.n)
    print(f"{'':22}{'drawn':>8}{'real':>8}")
    print(f"{'Inception Score':22}{inception_score(drawn):8.3f}{inception_score(real):8.3f}")
    print(f"{'Fréchet distance':22}{frechet_distance(drawn, real):8.2f}{'—':>8}")
    shares = zip(class_coverage(drawn).items(), class_coverage(real).values(), strict=True)
    for (digit, of_drawn), of_real in shares:
        if max(of_drawn, of_real) >= 0.005:
            print(f"{f'share taken for a {digit}':22}{of_drawn:8.1%}{of_real:8.1%}")


def _sweep(options):
    from .evaluation.sweep import run_plan

    run_plan(options.plan, options.out, options.scheduler, options.workers)
    print(f"All runs are in {options.out}, their scores in {options.out / 'table.csv'}")


def _parser():
    parser = argparse.ArgumentParser(prog="python -m qaan_helpers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="train | sample | evaluate | sweep")
    defaults = argparse.ArgumentDefaultsHelpFormatter

    train = commands.add_parser(
        "train", help="train, saving after each epoch; go on where it stopped", formatter_class=defaults
    )
    train.set_defaults(command=_train, saved="nothing is saved yet")
    _data_options(train)
    train.add_argument("--out", type=Path, default=Path("run"), help="folder of the run; one that exists goes on")
    train.add_argument("--epochs", type=int, default=60, help="epochs in all")
    train.add_argument("--batch-size", type=int, default=64)
    train.add_argument("--prior", choices=("uniform", "product", "rbm", "qcbm", "replay"), default="qcbm")
    train.add_argument("--qubits", type=int, default=8, help="or bits, for the other priors")
    train.add_argument("--layers", type=int, default=2)
    train.add_argument("--bases", choices=("z", "zo", "zt"), default="z")
    train.add_argument("--entanglement", choices=("full", "linear", "none"), default="full")
    _execution_options(train)
    train.add_argument("--optimizer", choices=("cobyla", "adam", "spsa"), default="cobyla")
    train.add_argument("--evaluations", type=int, help="of the first fit; without it, the optimizer's default")
    train.add_argument("--refit-evaluations", type=int, help="of every later fit")
    train.add_argument("--on-collapse", choices=("warn", "stop"), default="warn", help="what to do when it goes wrong")
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    train.add_argument("--seed", type=int, default=0)

    sample = commands.add_parser("sample", help="draw digits from a saved run", formatter_class=defaults)
    sample.set_defaults(command=_sample, saved="nothing was changed")
    _execution_options(sample)
    sample.add_argument("run", type=Path, help="folder of the run, or a bundled model's name, such as qcbm_379")
    sample.add_argument("-n", type=int, default=64, help="how many digits")
    sample.add_argument("--out", type=Path, help="PNG file; without it, digits.png in the run's folder, or here")

    evaluate = commands.add_parser("evaluate", help="score a saved run", formatter_class=defaults)
    evaluate.set_defaults(command=_evaluate, saved="nothing was changed")
    _data_options(evaluate)
    _execution_options(evaluate)
    evaluate.add_argument("run", type=Path, help="folder of the run, or a bundled model's name")
    evaluate.add_argument("-n", type=int, default=2000, help="how many digits to draw")

    sweep = commands.add_parser(
        "sweep", help="train and score a plan of priors and seeds, on many cores or machines", formatter_class=defaults
    )
    sweep.set_defaults(command=_sweep, saved="every finished run is saved")
    sweep.add_argument("plan", type=Path, help="TOML file; python -c 'import qaan_helpers.sweep as s; help(s)' has one")
    sweep.add_argument("--out", type=Path, default=Path("results"), help="folder of the results; what it holds stays")
    sweep.add_argument("--scheduler", help="of a Dask cluster, such as tcp://10.0.0.1:8786; without it, one here")
    sweep.add_argument("--workers", type=int, help="processes of the cluster here; without it, one a core")
    return parser


def _data_options(parser):
    parser.add_argument(
        "--digits", type=_digits, help="such as 3,7,9 or 0-9; without it, the run's own, and 3,7,9 at first"
    )
    parser.add_argument("--source", choices=("auto", "sample", "full"), default="auto")
    parser.add_argument("--root", help="torchvision MNIST root; also QAAN_DATA")


def _execution_options(parser):
    names = "exact, shots, ion_trap, a fake device such as FakeTorino, ibm[:NAME] or ionq[:NAME]"
    parser.add_argument(
        "--execution", metavar="NAME", help=f"where the circuit runs: {names}; or as saved, exact at first"
    )
    parser.add_argument("--shots", type=int, help="a circuit; alone, on Aer without noise")


def _digits(text):
    """Digits from a list and ranges: '3,7,9' or '0-4,8'."""
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        return tuple(digit for part in ends for digit in range(part[0], min(part[-1], part[0] + 10) + 1))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of digits such as 3,7,9 or 0-9") from None


if __name__ == "__main__":
    sys.exit(main())
