"""Notebooks 00, 03 and 05 in a real JupyterLab and a browser: all cells run, panels and the live view move, and stop.

It needs playwright and a Chromium on the path (`make test-tools`), and is skipped without them.
"""

import base64
import contextlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PLAY, GATES, LOOP = "00_play.ipynb", "03_qcbm_circuit.ipynb", "05_associative_training.ipynb"
BITS, CIRCUIT, MORPH, MODEL = range(4)  # the panels, from top to bottom
PATIENCE = 120_000  # milliseconds, for a machine with other work to do
WIDTHS = {"wide": 1600, "narrow": 800}
BADGES = {"mybinder.org", "colab.research.google.com"}  # all that a page may ask of the network
EMPTY = "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a notebook by its name, in a JupyterLab with copies of the notebooks and settings of its own."""
    folder = tmp_path_factory.mktemp("lab")
    for name in (PLAY, GATES, LOOP):
        shutil.copy(ROOT / "notebooks" / name, folder)
    shutil.copytree(ROOT / "notebooks" / "results", folder / "results")
    settings = {
        "config/labconfig/page_config.json": {
            "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}  # asks the network for news
        },
        "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    }
    for name, content in settings.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(json.dumps(content))
    own = {
        "JUPYTER_CONFIG_DIR": folder / "config",
        "JUPYTER_DATA_DIR": folder / "data",
        "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
        "PYTHONPATH": ROOT,
    }
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    key = secrets.token_hex(16)
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={key}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={folder}"]
    environment = os.environ | {name: str(value) for name, value in own.items()}
    with (folder / "log").open("w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as lab:
        try:
            wait_for(port, lab, folder / "log")
            # Each in a workspace of its own, or the second page would open the first one's notebook too.
            yield lambda name: f"http://127.0.0.1:{port}/lab/workspaces/{name[:2]}/tree/{name}?token={key}"
        finally:
            lab.terminate()  # it ends its kernels
            with contextlib.suppress(subprocess.TimeoutExpired):
                lab.wait(20)
            lab.kill()


def wait_for(port, lab, log):
    """Return once something listens on the port."""
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end and lab.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@contextlib.contextmanager
def opened(browser, address):
    """A page with a notebook whose kernel is there; `page.complaints` is what its console calls errors."""
    page = browser.new_page(viewport={"width": WIDTHS["wide"], "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.complaints, page.asked = [], set()

    def elsewhere(route):
        page.asked.add(urlsplit(route.request.url).hostname)
        route.fulfill(content_type="image/svg+xml", body=EMPTY)

    page.route(lambda url: not url.startswith(("http://127.0.0.1:", "data:", "blob:")), elsewhere)
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(address)
    page.locator(".jp-Notebook .jp-Cell").last.wait_for(state="attached")
    wait_for_kernel(page)
    yield page
    page.close()


def wait_for_kernel(page):
    """Return once the notebook's kernel answers: JupyterLab asks which one to take where cells are run before."""
    name = urlsplit(page.url).path.split("/")[-1]
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        sessions = page.evaluate("fetch('/api/sessions').then(answer => answer.json())")
        if any(it["path"] == name and it["kernel"]["execution_state"] == "idle" for it in sessions):
            return page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
        page.wait_for_timeout(200)
    pytest.fail("the notebook's kernel did not start")


def run_all(page):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def wait_for_the_last_cell(page):
    """Return once the last cell has its number again."""
    page.wait_for_function(
        "() => /\\d/.test([...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].at(-1).textContent)"
    )


@pytest.fixture(scope="module")
def unrun():
    """The pictures, as the addresses of their data, that stand in the notebook before any cell is run."""
    return []


@pytest.fixture(scope="module")
def page(browser, address, unrun):
    """Notebook 00 after Run > Run All Cells."""
    with opened(browser, address(PLAY)) as page:
        pictures = page.locator(".jp-OutputArea-output img")
        unrun += [picture.get_attribute("src") for picture in pictures.all()]
        run_all(page)
        page.locator(".jp-OutputArea .widget-image").nth(MODEL).wait_for(state="attached")
        wait_for_the_last_cell(page)
        yield page


@pytest.fixture(params=WIDTHS.values(), ids=WIDTHS)
def window(page, request):
    """The page in a wide and in a narrow window."""
    page.set_viewport_size({"width": request.param, "height": 1000})
    return page


def decoded(png):
    """A picture's pixels in grey."""
    with Image.open(io.BytesIO(png)) as drawn:
        return np.asarray(drawn.convert("L"))


def pixels(picture):
    """A picture of the page in grey, as it is on the screen."""
    return decoded(picture.screenshot())


def wait_for_another(page, picture, source):
    """Return once a picture is another than the one whose data is `source`."""
    page.wait_for_function(
        "([picture, source]) => picture.src !== source && picture.complete", arg=[picture.element_handle(), source]
    )


def differ(before, after):
    return before.shape != after.shape or (before != after).any()


class Panel:
    """One panel of the page, and its picture's pixels."""

    def __init__(self, page, number):
        self.page = page
        self.picture = page.locator(".jp-OutputArea .widget-image").nth(number)
        self.box = page.locator(".jp-OutputArea-output").filter(has=page.locator(".widget-image")).nth(number)

    def moves(self, act):
        """Whether the picture's pixels change when `act` is done."""
        before, source = pixels(self.picture), self.picture.get_attribute("src")
        act()
        wait_for_another(self.page, self.picture, source)
        return differ(before, pixels(self.picture))


def test_a_fresh_copy_shows_the_panels_pictures_before_any_cell_is_run(page, unrun):
    notebook = json.loads((ROOT / "notebooks" / PLAY).read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ()) if "data" in output]
    stored = [output["data"]["image/png"] for output in outputs if "image/png" in output["data"]]
    assert [source.split(",")[1].strip() for source in unrun] == ["".join(png).strip() for png in stored]


def test_all_cells_ran_without_an_error(page):
    assert page.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0
    assert page.locator(".jp-OutputArea .widget-image").count() == 4


def test_the_lab_of_a_notebook_recalls_and_flips(window):
    lab = window.locator(".jp-OutputArea .qaan-lab")
    lab.locator(".ql-tile").nth(7).wait_for()
    assert lab.locator(".ql-tile").count() == 8
    recalled = lab.locator(".ql-large").first
    before = pixels(recalled)
    lab.locator(".ql-tile").nth(2).click()
    window.wait_for_timeout(500)
    assert differ(before, pixels(recalled))
    width = lab.bounding_box()
    assert width["x"] + width["width"] <= window.locator(".jp-WindowedPanel-outer").first.bounding_box()["x"] + 1440


def test_a_switch_moves_by_mouse(window):
    panel = Panel(window, BITS)
    switch = panel.box.locator(".widget-toggle-button").nth(2)
    told = switch.inner_text()
    assert panel.moves(switch.click)
    assert {told, switch.inner_text()} == {"bit 2 = 0", "bit 2 = 1"}


def test_a_switch_is_reached_and_moved_by_keyboard(window):
    panel = Panel(window, BITS)
    panel.box.locator("select").focus()
    window.keyboard.press("Tab")
    first = panel.box.locator(".widget-toggle-button").first
    assert first.evaluate("element => element === document.activeElement")
    told = first.inner_text()
    assert panel.moves(lambda: window.keyboard.press("Space"))
    assert {told, first.inner_text()} == {"bit 0 = 0", "bit 0 = 1"}


@pytest.mark.parametrize(
    ("number", "key"),
    [(CIRCUIT, "ArrowLeft"), (MORPH, "ArrowRight")],
    ids=["knob", "t"],
)
def test_a_slider_moves_by_keyboard(window, number, key):
    panel = Panel(window, number)
    handle = panel.box.locator(".noUi-handle").first
    value = panel.box.locator(".widget-readout").first.inner_text()
    handle.focus()
    assert panel.moves(lambda: window.keyboard.press(key))
    assert panel.box.locator(".widget-readout").first.inner_text() != value


def test_a_slider_moves_by_mouse(window):
    panel = Panel(window, CIRCUIT)
    track = panel.box.locator(".noUi-target").first
    share = 0.3 if window.viewport_size["width"] > 1000 else 0.6
    size = track.bounding_box()
    assert panel.moves(lambda: track.click(position={"x": share * size["width"], "y": size["height"] / 2}))
    assert float(panel.box.locator(".widget-readout").first.inner_text()) == pytest.approx(share, abs=0.1)


def test_another_model_moves_every_panel(window):
    panels = [Panel(window, number) for number in range(4)]
    before = [panel.picture.get_attribute("src") for panel in panels]
    choice = panels[MODEL].box.locator("select").first
    now = choice.evaluate("element => element.selectedIndex")
    assert panels[MODEL].moves(lambda: choice.select_option(index=1 - min(now, 1)))
    for panel, source in zip(panels, before, strict=True):
        wait_for_another(window, panel.picture, source)
        assert panel.box.locator("select").first.evaluate("element => element.selectedIndex") != now


def test_pictures_and_controls_fit_into_the_window(window):
    for number in range(4):
        panel = Panel(window, number)
        edge = panel.box.bounding_box()["x"] + panel.box.bounding_box()["width"]
        for part in [panel.picture, *panel.box.locator("button, .widget-slider, select").all()]:
            if part.is_visible():
                place = part.bounding_box()
                assert place["x"] + place["width"] <= edge + 1


# Each control has a name to be told by and is reached by Tab.
NAMELESS = """boxes => boxes
    .filter(box => box.offsetParent)
    .filter(box => ![...box.querySelectorAll('button, select, input, .noUi-handle')].every(part => part.tabIndex >= 0)
        || !(box.querySelector('label')?.textContent || box.textContent).trim())
    .map(box => box.outerHTML)"""
CONTROLS = ".widget-button, .widget-toggle-button, .widget-dropdown, .widget-slider, .widget-text, .widget-checkbox"


def nameless(page):
    """Controls without a label or out of the keyboard's reach; none should be."""
    controls = page.locator(", ".join(f".jp-OutputArea {kind}" for kind in CONTROLS.split(", ")))
    assert controls.count()
    return controls.evaluate_all(NAMELESS)


def test_every_control_is_named_and_reached_by_tab(page):
    assert not nameless(page)


def test_the_console_shows_no_error(page):
    assert not page.complaints
    assert page.asked <= BADGES


# Notebook 03, whose sliders turn the gates of two qubits


@pytest.fixture(scope="module")
def gates(browser, address):
    """Notebook 03 after Run > Run All Cells."""
    with opened(browser, address(GATES)) as page:
        run_all(page)
        page.locator(".jp-OutputArea .widget-image").wait_for(state="attached")
        wait_for_the_last_cell(page)
        yield page


def test_sliders_turn_the_gates(gates):
    panel = Panel(gates, 0)
    _, rz, rxx, rx_again = panel.box.locator(".noUi-handle").all()
    rz.focus()
    for _ in range(3):
        gates.keyboard.press("PageUp")  # a phase, which no bar shows before another gate turns it into one
    for gate in (rxx, rx_again):
        gate.focus()
        assert panel.moves(lambda: gates.keyboard.press("PageUp"))
    assert float(panel.box.locator(".widget-readout").nth(1).inner_text()) > 0.2
    assert "[0.25 0.25 0.25 0.25]" not in panel.box.inner_text()


def test_the_gates_leave_no_error(gates):
    assert gates.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0
    assert not nameless(gates)
    assert not gates.complaints
    assert gates.asked <= BADGES


# Notebook 05, whose training is watched for some epochs and then stopped by its button


@pytest.fixture(scope="module")
def loop(browser, address):
    """Notebook 05 after Run All Cells and a press of its button, with what was seen on the way."""
    with opened(browser, address(LOOP)) as page:
        run_all(page)
        cell = page.locator(".jp-CodeCell").filter(has_text="live.View(")
        button = cell.get_by_role("button", name="Stop after this epoch")
        button.wait_for()
        picture = cell.locator(".jp-OutputArea-output img")
        cell.get_by_text(re.compile(r"^2 of 50 epochs")).wait_for()
        seen = SimpleNamespace(page=page, cell=cell, picture=picture, nameless=nameless(page))
        before = data(picture)
        cell.get_by_text(re.compile(r"evaluations, best")).wait_for()
        end = time.monotonic() + PATIENCE / 1000
        while (after := data(picture)) == before and time.monotonic() < end:  # a redraw is another element
            page.wait_for_timeout(200)
        seen.redrawn = differ(*map(decoded, (before, after)))
        button.focus()
        page.keyboard.press("Space")
        wait_for_the_last_cell(page)
        yield seen


def data(picture):
    """The PNG that an output's picture holds."""
    return base64.b64decode(picture.get_attribute("src").split(",")[1])


def test_the_live_view_is_redrawn_and_its_button_ends_the_training(loop):
    assert loop.redrawn
    assert not loop.nameless
    told = loop.cell.locator(".jp-OutputArea").inner_text()
    assert re.search(r"^\d+ of 50 epochs in \d+ s, stopped by the button", told, re.MULTILINE)
    assert loop.cell.get_by_role("button", name="Stop").count() == 0


def test_all_cells_ran_without_an_error_after_the_stop(loop):
    assert loop.page.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0
    cell = loop.page.locator(".jp-CodeCell").filter(has_text="Most generated digits are readable")
    digits = cell.locator(".jp-OutputArea-output img")
    assert pixels(digits).std() > 10  # there is something on it


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_every_picture_fits_into_the_window(loop, width):
    loop.page.set_viewport_size({"width": width, "height": 1000})
    pictures = loop.page.locator(".jp-OutputArea-output img").all()
    assert len(pictures) > 6
    edge = loop.page.locator(".jp-WindowedPanel-outer").first.bounding_box()
    for picture in pictures:
        place = picture.bounding_box()
        assert place["x"] + place["width"] <= edge["x"] + edge["width"] + 1


def test_the_console_of_the_loop_shows_no_error(loop):
    assert not loop.page.complaints
    assert loop.page.asked <= BADGES
