"""Train, sample, evaluate and sweep without a notebook: `python -m qaan_helpers train --help`."""

import argparse
import sys
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from .progress import tqdm

if TYPE_CHECKING:
    from .gan.model import QAAN
    from .priors import Prior
    from .quantum.execution import Execution

DIGITS = (3, 7, 9)  # if neither the options nor a saved run name any


def main(arguments: list[str] | None = None) -> int:
    """Run one command of the command line.

    Args:
        arguments: The arguments; those of the process if None.

    Returns:
        The exit code: 0; 2, with a message on stderr, if the arguments or files are not usable; 130 after Ctrl-C.
    """
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


def _train(options: argparse.Namespace) -> None:
    from .checks import ExecutionError
    from .gan.model import QAAN
    from .gan.storage import SAVE
    from .gan.training import train
    from .mnist import load_mnist

    if any(SAVE.fullmatch(path.name) for path in options.out.glob("epoch_*")):
        gan = QAAN.load(options.out, options.device, _execution(options))
        if gan.digits not in (None, _wanted(options, gan)):
            learned = ",".join(map(str, gan.digits))
            raise ValueError(f"{options.out} has a run on digits {learned}; choose another --out for other digits")
        print(f"{options.out} has {gan.epoch} epochs of a run, which continues with its original settings.")
    else:
        gan = QAAN(_new_prior(options), options.device, options.seed, options.objective)
    digits = load_mnist(_wanted(options, gan), "train", options.source, options.root)
    _warn_of_shots(gan.prior)
    saved = f"the last complete epoch is saved in {options.out}; the same command continues from there"
    if gan.epoch:
        options.saved = saved
    left = options.epochs - gan.epoch
    if gan.epoch and left < 1:
        print(f"{options.out} has {gan.epoch} epochs already; --epochs {gan.epoch + 10} would train ten more.")
        return
    epochs = train(gan, digits, left, options.batch_size, options.on_collapse)
    with tqdm(total=options.epochs, initial=gan.epoch, unit="epoch") as bar:
        try:
            for report in epochs:
                gan.save(options.out)
                options.saved = saved
                fitted = "not fitted" if isnan(report.prior_cost) else f"{report.prior_cost:.2f} nats"
                bar.set_postfix_str(f"D {report.d_loss:.2f}  G {report.g_loss:.2f}  prior {fitted}")
                bar.update()
        except ExecutionError as error:  # during a fit or sampling, before the first step of the epoch
            gan.save(options.out)
            raise ExecutionError(
                f"{error}. Epoch {gan.epoch} and the circuit's best angles since then are saved in {options.out}; the "
                "same command continues from there, also with another --execution"
            ) from error
    print(f"Saved in {options.out}; generate digits with: python -m qaan_helpers sample {options.out}")


def _wanted(options: argparse.Namespace, gan: "QAAN") -> tuple[int, ...]:
    """The digits of the options, or those of the run, or the default."""
    digits = gan.digits if options.digits is None else options.digits
    return DIGITS if digits is None else digits


def _warn_of_shots(prior: "Prior") -> None:
    """Say before training that COBYLA learns little if probabilities are estimated from shots."""
    from .priors import QCBMPrior, circuit_prior

    circuit = circuit_prior(prior)
    if isinstance(circuit, QCBMPrior) and circuit.qcbm.execution.shots and circuit.optimizer.name == "cobyla":
        print("COBYLA learns little from shots (notebook 09); --optimizer spsa learns more.", file=sys.stderr)


def _execution(options: argparse.Namespace) -> "Execution | None":
    """The execution of --execution and --shots; None, which is exact or as saved, if neither is given."""
    if options.execution is None and options.shots is None:
        return None
    from .quantum.devices import named_execution

    if options.execution == "exact" and options.shots is not None:
        raise ValueError("--execution exact takes no --shots; leave it out, or choose --execution shots")
    name = "shots" if options.execution is None else options.execution
    return named_execution(name, 2000 if options.shots is None else options.shots)


def _new_prior(options: argparse.Namespace) -> "Prior":
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


def _folder(run: Path) -> Path:
    """The folder of a run, or of a bundled model by its name."""
    from .gan.storage import bundled, bundled_names

    return bundled(run.name) if not run.exists() and str(run) in bundled_names() else run


def _sample(options: argparse.Namespace) -> None:
    from torchvision.utils import make_grid, save_image

    from .gan.model import QAAN
    from .gan.storage import BUNDLED

    run = _folder(options.run)
    images = QAAN.load(run, execution=_execution(options)).sample(options.n)
    folder = Path() if run.resolve().parent == BUNDLED.resolve() else run
    out = options.out or folder / "digits.png"
    save_image(make_grid(1 - images, nrow=16, padding=2, pad_value=1), out)
    print(f"{options.n} digits saved in {out}")


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluation.metrics import class_coverage, classify, frechet_distance, inception_score, recall_accuracy
    from .gan.model import QAAN
    from .mnist import load_mnist

    gan = QAAN.load(_folder(options.run), execution=_execution(options))
    test = load_mnist(_wanted(options, gan), "test", options.source, options.root)
    real = test.images
    images = gan.sample(options.n)
    print(f"{'':22}{'generated':>10}{'real':>8}")
    print(f"{'Inception Score':22}{inception_score(images):10.3f}{inception_score(real):8.3f}")
    print(f"{'Fréchet distance':22}{frechet_distance(images, real):10.2f}{'—':>8}")
    if gan.thresholds is not None:
        recognized = (classify(real)[0] == test.labels).float().mean()
        print(f"{'labeled correctly':22}{recall_accuracy(gan, test):10.1%}{recognized:8.1%}  (recalls of real digits)")
    coverage, real_coverage = class_coverage(images), class_coverage(real)
    for digit, fraction in coverage.items():
        if max(fraction, real_coverage[digit]) >= 0.005:
            print(f"{f'classified as {digit}':22}{fraction:10.1%}{real_coverage[digit]:8.1%}")


def _sweep(options: argparse.Namespace) -> None:
    from .evaluation.cluster import Tls
    from .evaluation.sweep import run_plan

    files = options.tls_ca, options.tls_cert, options.tls_key
    if any(files) != all(files):
        raise ValueError("--tls-ca, --tls-cert and --tls-key belong together; give all three or none")
    tls = Tls(*files) if all(files) else None
    run_plan(options.plan, options.out, options.scheduler, options.workers, options.checkpoint_every, tls)
    print(f"All runs are in {options.out}, their scores in {options.out / 'table.csv'}")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows defaults, except None."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m qaan_helpers", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="train | sample | evaluate | sweep")
    _add_train(commands)
    _add_others(commands)
    return parser


def _add_train(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    train = commands.add_parser("train", help="train, save each epoch, continue a saved run", formatter_class=_Help)
    train.set_defaults(command=_train, saved="nothing is saved yet")
    _data_options(train)
    train.add_argument("--out", type=Path, default=Path("run"), help="folder of the run; an existing run is continued")
    train.add_argument("--epochs", type=int, default=60, help="total number of epochs")
    train.add_argument("--batch-size", type=int, default=64, help="images per step")
    priors = ("uniform", "product", "rbm", "qcbm", "replay")
    train.add_argument("--prior", choices=priors, default="qcbm", help="prior of the latent codes")
    train.add_argument("--qubits", type=int, default=8, help="qubits of the circuit, or bits of another prior")
    train.add_argument("--layers", type=int, default=2, help="layers of the circuit")
    train.add_argument("--bases", choices=("z", "zo", "zt"), default="z", help="measurement bases; two double the bits")
    train.add_argument("--entanglement", choices=("full", "linear", "none"), default="full", help="entangling gates")
    _execution_options(train)
    train.add_argument(
        "--optimizer",
        choices=("cobyla", "adam", "spsa"),
        help="fits the circuit; default: COBYLA, followed by Adam if probabilities are exact",
    )
    train.add_argument("--evaluations", type=int, help="of the cost in the first fit; default: the optimizer's")
    train.add_argument("--refit-evaluations", type=int, help="of the cost in later fits; default: the optimizer's")
    train.add_argument(
        "--objective",
        choices=("associative", "tied", "reconstruction"),
        default="associative",
        help="what ties bits and images; see help(qaan_helpers.QAAN)",
    )
    train.add_argument("--on-collapse", choices=("warn", "stop"), default="warn", help="if the training collapses")
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the networks run")
    train.add_argument("--seed", type=int, default=0, help="of everything random")


def _add_others(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sample = commands.add_parser("sample", help="generate digits with a saved run", formatter_class=_Help)
    sample.set_defaults(command=_sample, saved="nothing was changed")
    _execution_options(sample)
    sample.add_argument("run", type=Path, help="folder of the run, or name of a bundled model such as qcbm_379")
    sample.add_argument("-n", type=int, default=64, help="number of digits")
    sample.add_argument("--out", type=Path, help="PNG file; default: digits.png in the run's folder, or else here")

    evaluate = commands.add_parser("evaluate", help="score a saved run", formatter_class=_Help)
    evaluate.set_defaults(command=_evaluate, saved="nothing was changed")
    _data_options(evaluate)
    _execution_options(evaluate)
    evaluate.add_argument("run", type=Path, help="folder of the run, or name of a bundled model")
    evaluate.add_argument("-n", type=int, default=2000, help="number of generated digits")

    sweep = commands.add_parser("sweep", help="train and score a plan of priors and seeds", formatter_class=_Help)
    sweep.set_defaults(command=_sweep, saved="every finished run is saved")
    sweep.add_argument("plan", type=Path, help="TOML file; help(qaan_helpers.evaluation.sweep) shows an example")
    sweep.add_argument("--out", type=Path, default=Path("results"), help="folder of the results; they are kept")
    sweep.add_argument("--scheduler", help="of a Dask cluster, such as tcp://10.0.0.1:8786; default: start one here")
    sweep.add_argument("--workers", type=int, help="processes of the cluster here; default: one per core")
    every = "epochs between two checkpoints of a run, in OUT/checkpoints, which all workers must be able to write"
    sweep.add_argument("--checkpoint-every", type=int, metavar="K", help=every)
    for name, what in (("ca", "authority's certificate"), ("cert", "client's certificate"), ("key", "client's key")):
        sweep.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=f"{what} for a scheduler with TLS")


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--digits", type=_digits, help="such as 3,7,9 or 0-9; default: the run's, 3,7,9 if new")
    parser.add_argument("--source", choices=("auto", "sample", "full"), default="auto", help="the sample or full MNIST")
    parser.add_argument("--root", help="torchvision MNIST folder; default: the environment variable QAAN_DATA")


def _execution_options(parser: argparse.ArgumentParser) -> None:
    names = "exact, shots, ion_trap, a fake device such as FakeTorino, ibm[:NAME] or ionq[:NAME]"
    text = f"where the circuit runs: {names}; default: as saved, exact if new"
    parser.add_argument("--execution", metavar="NAME", help=text)
    parser.add_argument("--shots", type=int, help="shots per circuit; without --execution, on Aer without noise")


def _digits(text: str) -> tuple[int, ...]:
    """Digits from a list with ranges: '3,7,9' or '0-4,8'."""
    try:
        ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
        return tuple(digit for part in ends for digit in range(part[0], min(part[-1], part[0] + 10) + 1))
    except ValueError:
        raise argparse.ArgumentTypeError(f"digits must be a list such as 3,7,9 or 0-9; got {text!r}") from None


if __name__ == "__main__":
    sys.exit(main())
