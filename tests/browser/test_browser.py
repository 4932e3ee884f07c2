"""Notebook 00 in a real JupyterLab and a real browser: all cells run, and the panels move by mouse and by keyboard.

It needs playwright (`pip install playwright`) and a Chromium on the path, and is skipped without them.
"""

import contextlib
import io
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
NOTEBOOK = "00_play.ipynb"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BITS, CIRCUIT, MORPH, MODEL = range(4)  # the panels, from top to bottom
PATIENCE = 120_000  # milliseconds, for a machine with other work to do

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the browser's tests need playwright: pip install playwright", exc_type=ImportError
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the browser's tests need chromium on the path")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where a JupyterLab with a copy of the notebook answers, with settings of its own."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, folder)
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
            yield f"http://127.0.0.1:{port}/lab/tree/{NOTEBOOK}?token={key}"
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


@pytest.fixture(scope="module")
def complaints():
    """What the page's console calls an error."""
    return []


def wait_for_kernel(page):
    """Return once the notebook's kernel answers: JupyterLab asks which one to take where cells are run before."""
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        sessions = page.evaluate("fetch('/api/sessions').then(answer => answer.json())")
        if any(session["kernel"]["execution_state"] == "idle" for session in sessions):
            return page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
        page.wait_for_timeout(200)
    pytest.fail("the notebook's kernel did not start")


@pytest.fixture(scope="module")
def unrun():
    """The pictures, as the addresses of their data, that stand in the notebook before any cell is run."""
    return []


@pytest.fixture(scope="module")
def page(address, complaints, unrun):
    """The notebook after Run > Run All Cells."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.locator(".jp-Notebook .jp-Cell").last.wait_for(state="attached")
        wait_for_kernel(page)
        pictures = page.locator(".jp-OutputArea-output img")
        unrun += [picture.get_attribute("src") for picture in pictures.all()]
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.locator(".jp-OutputArea .widget-image").nth(MODEL).wait_for(state="attached")
        page.wait_for_function(  # the last cell's number is there again
            "() => /\\d/.test([...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].at(-1).textContent)"
        )
        yield page
        browser.close()


@pytest.fixture(params=[1600, 800], ids=["wide", "narrow"])
def window(page, request):
    """The page in a wide and in a narrow window."""
    page.set_viewport_size({"width": request.param, "height": 1000})
    return page


class Panel:
    """One panel of the page, and its picture's pixels."""

    def __init__(self, page, number):
        self.page = page
        self.picture = page.locator(".jp-OutputArea .widget-image").nth(number)
        self.box = page.locator(".jp-OutputArea-output").filter(has=page.locator(".widget-image")).nth(number)

    def pixels(self):
        with Image.open(io.BytesIO(self.picture.screenshot())) as drawn:
            return np.asarray(drawn.convert("L"))

    def moves(self, act):
        """Whether the picture's pixels change when `act` is done."""
        before, source = self.pixels(), self.picture.get_attribute("src")
        act()
        self.page.wait_for_function(
            "([picture, source]) => picture.src !== source && picture.complete",
            arg=[self.picture.element_handle(), source],
        )
        after = self.pixels()
        return before.shape != after.shape or (before != after).any()


def test_a_fresh_copy_shows_the_panels_pictures_before_any_cell_is_run(page, unrun):
    notebook = json.loads((ROOT / "notebooks" / NOTEBOOK).read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ()) if "data" in output]
    stored = [output["data"]["image/png"] for output in outputs if "image/png" in output["data"]]
    assert [source.split(",")[1].strip() for source in unrun] == ["".join(png).strip() for png in stored]


def test_all_cells_ran_without_an_error(page):
    assert page.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0
    assert page.locator(".jp-OutputArea .widget-image").count() == 4


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


@pytest.mark.parametrize(("number", "key"), [(CIRCUIT, "ArrowLeft"), (MORPH, "ArrowRight")], ids=["knob", "t"])
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
        window.wait_for_function(
            "([picture, source]) => picture.src !== source", arg=[panel.picture.element_handle(), source]
        )
        assert panel.box.locator("select").first.evaluate("element => element.selectedIndex") != now


def test_pictures_and_controls_fit_into_the_window(window):
    for number in range(4):
        panel = Panel(window, number)
        edge = panel.box.bounding_box()["x"] + panel.box.bounding_box()["width"]
        for part in [panel.picture, *panel.box.locator("button, .widget-slider, select").all()]:
            if part.is_visible():
                place = part.bounding_box()
                assert place["x"] + place["width"] <= edge + 1


def test_the_console_shows_no_error(page, complaints):
    assert not complaints
