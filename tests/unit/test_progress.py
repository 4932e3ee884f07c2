"""Progress bars that a notebook stores; what they count is tested where it is counted."""

import nbformat
import pytest
from nbclient import NotebookClient

SHOWN = """
from qaan_helpers.progress import tqdm
for _ in tqdm(range(3), desc="whole"):
    pass
---
bar = tqdm(total=30, desc="early")
bar.update(12)
bar.finish()
print(bar.container.children[1].bar_style)
---
try:
    for step in tqdm(range(3), desc="broken"):
        assert step < 2
except AssertionError:
    print(step)
---
for _ in tqdm(range(3), leave=False):
    pass
---
bar = None  # the last bar of all is collected
"""


@pytest.fixture(scope="module")
def stored():
    """What a notebook keeps of each cell: the texts of its outputs."""
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in SHOWN.split("---")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [[out.get("text") or out["data"]["text/plain"] for out in cell.outputs] for cell in notebook.cells]


def test_a_bar_is_stored_as_it_ended(stored):
    (whole,) = stored[0]
    assert whole.startswith("whole: 100%") and " 3/3 " in whole


def test_a_bar_that_needed_less_is_full_and_no_failure(stored):
    bar, style = stored[1]
    assert bar.startswith("early: 100%") and " 12/12 " in bar and style == "success\n"


def test_a_broken_loop_keeps_where_it_broke(stored):
    bar, step = stored[2]
    assert bar.startswith("broken:  67%") and " 2/3 " in bar and step == "2\n"


def test_a_bar_that_is_not_to_stay_leaves_nothing(stored):
    assert stored[3:] == [[""], []]
