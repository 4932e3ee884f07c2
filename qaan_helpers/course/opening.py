"""The opening and the end of every notebook: required packages, the road map of the series, time and memory."""

import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

STAGES = (
    *("real digits", "discriminator", "bits", "circuit", "COBYLA on Aer"),
    *("latent codes", "generator", "generated digits"),
)
_PLACES = ((0, 1), (1, 1), (2, 1), (3, 1), (3, 0), (2, 0), (1, 0), (0, 0))  # of the stages: right above, left below
_STEPS = {  # what happens between two stages
    ("real digits", "discriminator"): "each step",
    ("discriminator", "bits"): "binarize\nhidden layer",
    ("bits", "circuit"): "fit once\nper epoch",
    ("circuit", "COBYLA on Aer"): "angles,\ncost",
    ("circuit", "latent codes"): "measure",
    ("latent codes", "generator"): "each step",
    ("generator", "generated digits"): "",
    ("generated digits", "discriminator"): "real or\ngenerated?",
}
_BLUE, _GRAY = "#0072B2", "#e8e8e8"


def start(*here: str, extras: Sequence[str] = ()) -> "Stopwatch":
    """Open a notebook: check the installed packages, and show which part of the series the notebook covers.

    Args:
        *here: The stages that the notebook covers, from `STAGES`.
        extras: Extras of `qaan_helpers` whose packages are required, too, such as "hardware".

    Returns:
        A stopwatch that has started. Print it at the end of the notebook.

    Raises:
        RuntimeError: If a package is missing or too old.
        ValueError: If a stage is not in `STAGES`.
    """
    watch = Stopwatch()
    from ..lab import plots

    check_environment(*extras)
    alt = f"The loop of the series in eight stages. This notebook covers: {', '.join(here)}."
    plots.show(road_map(*here), alt)
    return watch


def record(**values: str) -> None:
    """Print the numbers that the text of a notebook quotes.

    A test compares them with the text: a Markdown cell lists the names of its numbers in its metadata.

    Args:
        **values: The numbers by name, formatted as in the text.
    """
    for name, value in values.items():
        print(f"{name}: {value}")


def check_environment(*extras: str) -> None:
    """Print the versions of the main packages, or report every required package that is missing or too old.

    The required versions are those in the metadata of `qaan_helpers`.

    Args:
        *extras: Extras of `qaan_helpers` whose packages are required, too, such as "hardware".

    Raises:
        RuntimeError: If a package is missing or too old.
    """
    from packaging.requirements import Requirement

    problems = []
    for requirement in map(Requirement, requires("qaan_helpers") or ()):
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        if requirement.name == "qaan_helpers":  # an extra that consists of other extras
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            problems.append(f"{requirement.name} is missing ({requirement.specifier} is needed)")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            problems.append(f"{requirement.name} is {installed} ({requirement.specifier} is needed)")
    if problems:
        raise RuntimeError(f"{'; '.join(problems)}. Run `pip install -r requirements.txt -e .` in the project's folder")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "qiskit", "qiskit-aer"))
    print(f"Ready: every package is there and new enough (Python {platform.python_version()}, {versions}).")


def road_map(*here: str) -> Figure:
    """Draw the flow of data through the series and highlight the stages of one notebook.

    Args:
        *here: The stages to highlight, from `STAGES`.

    Returns:
        The figure.

    Raises:
        ValueError: If a stage is not in `STAGES`.
    """
    unknown = [stage for stage in here if stage not in STAGES]
    if unknown:
        raise ValueError(f"here must be stages out of {', '.join(STAGES)}; got {', '.join(map(repr, unknown))}")
    figure = Figure(figsize=(9.6, 2.3))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.45, 3.45), ylim=(-0.42, 1.42))
    axis.set_axis_off()
    place = dict(zip(STAGES, _PLACES, strict=True))
    for stage, (x, y) in place.items():
        box, text, weight = (_BLUE, "white", "bold") if stage in here else (_GRAY, "0.25", "normal")
        axis.add_patch(FancyBboxPatch((x - 0.26, y - 0.15), 0.52, 0.3, boxstyle="round,pad=0.05", fc=box, ec="none"))
        axis.text(x, y, stage, ha="center", va="center", color=text, weight=weight, size=10)
    if 0 < len(here) < len(STAGES):
        axis.text(-0.36, -0.36, "Blue: what this notebook covers", size=8, color="0.35")
    for (start, end), label in _STEPS.items():
        (x0, y0), (x1, y1) = place[start], place[end]
        dx, dy = (0.2 if y1 != y0 else 0.33) * (x1 - x0), 0.22 * (y1 - y0)
        style = "<|-|>" if end == "COBYLA on Aer" else "-|>"  # the circuit is run again and again
        arrow = {"arrowstyle": style, "color": "0.35", "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", (x1 - dx, y1 - dy), (x0 + dx, y0 + dy), arrowprops=arrow)
        middle, height = (x0 + x1) / 2, (y0 + y1) / 2
        if y0 == y1:
            axis.text(middle, height + 0.06, label, ha="center", va="bottom", size=8, color="0.35")
        else:
            axis.text(middle + 0.1, height - 0.06, label, ha="left", va="center", size=8, color="0.35")
    return figure


class Stopwatch:
    """Measure the seconds since its creation and the peak memory of the process; `print` it to see both."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def __str__(self) -> str:
        seconds = time.perf_counter() - self._started
        return f"This notebook took {seconds:.0f} s and {peak_memory() / 1e9:.2f} GB of memory at its peak."


def peak_memory(of_workers: bool = False) -> int:
    """Measure the largest amount of memory that a process has held.

    Args:
        of_workers: Whether to measure the child processes that have ended, and take the largest, instead of this
            process. Windows does not record that.

    Returns:
        The peak memory in bytes; 0 for child processes on Windows.
    """
    if sys.platform == "win32":
        import psutil

        return 0 if of_workers else psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_CHILDREN if of_workers else resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
