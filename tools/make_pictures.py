"""Draw the picture of the training loop in the README: `python tools/make_pictures.py`."""

from pathlib import Path

from qaan_helpers.course import opening

opening.road_map(*opening.STAGES).savefig(Path(__file__).parents[1] / "notebooks" / "loop.png", dpi=100)
