"""Draw the README's pictures: `python tools/make_pictures.py`."""

from pathlib import Path

import numpy as np
import pandas as pd

from qaan_helpers.course import opening
from qaan_helpers.lab import plots

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PRIORS = {  # of the study, as the picture names them
    "uniform": "uniform",
    "circuit without entanglement": "no entanglement",
    "circuit, COBYLA": "2 layers, COBYLA",
    "circuit, 2 layers": "2 layers, Adam",
    "circuit, 6 layers": "6 layers, Adam",
    "RBM": "RBM (classical)",
}
LOOP = {
    "uniform": "uniform",
    "circuit": "circuit",
    "circuit, signed permutation": "circuit, bits reordered",
    "RBM": "RBM (classical)",
    "replay": "replay",
    "Gaussian, 100 dimensions": "Gaussian",
}


def draw_study():
    """Two panels of FIDs: the associative loop, and the objective "reconstruction"."""
    figure, (left, right) = plots.new_figure(
        "A learned prior improves the images if the bits encode the image", columns=2
    )
    parts = (NOTEBOOKS / "results" / f"study_{part}.csv" for part in ("symmetry", "associative"))
    loop = pd.concat(map(pd.read_csv, parts))
    rows = pd.read_csv(NOTEBOOKS / "results" / "study_ten.csv").dropna(subset="prior")
    panels = (
        (
            left,
            loop.pivot(index="seed", columns="arm", values="frechet_distance"),
            LOOP,
            "associative loop\n3, 7, 9; 8 bits",
        ),
        (
            right,
            rows.pivot(index="seed", columns="prior", values="frechet_distance"),
            PRIORS,
            "reconstruction\nten digits; 12 bits",
        ),
    )
    for axis, table, names, title in panels:
        for row, name in enumerate(names):
            values = table[name].dropna().to_numpy()
            axis.plot(values, np.full(len(values), row), "o", color="0.55", markerfacecolor="none", markersize=4)
            axis.plot(values.mean(), row, "D", color=plots.COLORS[0], markersize=6)
        axis.set(yticks=range(len(names)), yticklabels=list(names.values()), ylim=(len(names) - 0.5, -0.5))
        axis.set_xlabel("FID")
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", color="0.9")
    return figure


opening.road_map(*opening.STAGES).savefig(NOTEBOOKS / "loop.png", dpi=100)
draw_study().savefig(NOTEBOOKS / "study.png", dpi=100)
