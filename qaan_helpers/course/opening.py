"""What every notebook opens and closes with: a check of the environment, the road map, time and memory."""

import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, requires, version

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

STAGES = ("real digits", "discriminator", "bits", "circuit", "COBYLA on Aer", "codes", "generator", "drawn digits")
_BLUE, _GREY = "#0072B2", "#e8e8e8"


def check_environment(*extras: str) -> None:
    """Say that the packages are new enough, or stop with what to type; qaan_helpers' metadata has the versions.

    extras: those of the package's extras that are needed too, such as "hardware". Raises RuntimeError with every fault.
    """
    from packaging.requirements import Requirement

    faults = []
    for requirement in map(Requirement, requires("qaan_helpers")):
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        if requirement.name == "qaan_helpers":  # an extra that is made of others
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = None
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            faults.append(f"{requirement.name} {found or 'is missing'} ({requirement.specifier} is needed)")
    if faults:
        raise RuntimeError(f"{'; '.join(faults)}. Type `pip install -r requirements.txt -e .` in the project's folder")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "qiskit", "qiskit-aer"))
    print(f"Ready: every package is there and new enough (Python {platform.python_version()}, {versions}).")


def road_map(*here: str) -> Figure:
    """The way of the data through the whole series, with the stations of this notebook in blue."""
    unknown = set(here) - set(STAGES)
    if unknown:
        raise ValueError(f"no station {unknown}; the road has {', '.join(STAGES)}")
    figure = Figure(figsize=(9.6, 1.7))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.62, 3.62), ylim=(-0.45, 1.45))
    axis.set_axis_off()
    places = [(0, 1), (1, 1), (2, 1), (3, 1), (3, 0), (2, 0), (1, 0), (0, 0)]  # there above, back below
    for station, (x, y) in zip(STAGES, places, strict=True):
        lit = station in here
        box = FancyBboxPatch(
            (x - 0.36, y - 0.2), 0.72, 0.4, boxstyle="round,pad=0.05", fc=_BLUE if lit else _GREY, ec="none"
        )
        axis.add_patch(box)
        weight = "bold" if lit else "normal"
        axis.text(x, y, station, ha="center", va="center", color="white" if lit else "0.25", weight=weight, size=11)
    at = dict(zip(STAGES, places, strict=True))
    steps = [pair for pair in zip(STAGES, STAGES[1:], strict=False) if pair != ("COBYLA on Aer", "codes")]
    for start, end in (*steps, ("circuit", "codes"), ("drawn digits", "discriminator")):
        (x0, y0), (x1, y1) = at[start], at[end]
        dx, dy = (0.3 if y1 != y0 else 0.42) * (x1 - x0), 0.26 * (y1 - y0)
        style = "<|-|>" if end == "COBYLA on Aer" else "-|>"  # the circuit is run again and again
        arrow = {"arrowstyle": style, "color": "0.35", "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", (x1 - dx, y1 - dy), (x0 + dx, y0 + dy), arrowprops=arrow)
    return figure


class Stopwatch:
    """Seconds since it was made and the process's peak memory, told when it is printed."""

    def __init__(self):
        self._started = time.perf_counter()

    def __str__(self) -> str:
        seconds = time.perf_counter() - self._started
        return f"This notebook took {seconds:.0f} s and {peak_memory() / 1e9:.2f} GB of memory at its peak."


def peak_memory(of_workers: bool = False) -> int:
    """The most memory that this process has held, or the largest of those that it started and that ended, in bytes."""
    if sys.platform == "win32":
        import psutil

        return 0 if of_workers else psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_CHILDREN if of_workers else resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
