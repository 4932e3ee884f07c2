"""The lab, docs/lab/index.html, in a browser: the same numbers as in Python, and what a visitor can do.

It needs playwright and a Chromium on the path (`make test-tools`), and is skipped without them.
"""

import functools
import http.server
import math
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import qaan_helpers as qh
from qaan_helpers.bits import from_index
from qaan_helpers.evaluation.metrics import classify
from qaan_helpers.quantum.losses import clipped_nll

DOCS = Path(__file__).parents[2] / "docs"
MODELS = ("reconstruction_379", "reconstruction_ten")
PATIENCE = 60_000  # milliseconds, for a machine with other work to do
SHAPES = [(n, kind, 1 + (n + i) % 3) for n in range(1, 13) for i, kind in enumerate(("full", "linear", "none"))]
STROKES = {  # digits as a hand draws them, in the unit of the drawing area
    3: [[(70, 60), (130, 40), (180, 75), (160, 115), (110, 130), (165, 145), (185, 195), (140, 235), (75, 220)]],
    7: [[(70, 60), (200, 60), (165, 120), (135, 180), (120, 240)]],
    9: [[(185, 95), (160, 55), (115, 60), (95, 100), (120, 135), (165, 130), (185, 95), (180, 160), (160, 240)]],
}


class Handler(http.server.SimpleHTTPRequestHandler):
    """The files of a folder, without a log; `replaced` maps paths to answers (status, bytes)."""

    replaced = {}

    def do_GET(self):
        status, content = self.replaced.get(self.path, (None, b""))
        if status is None:
            return super().do_GET()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    """The address of the lab, in the folder of the site's sources."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(DOCS)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/lab/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def opened(browser, address):
    """Opens the lab in a page; all its complaints and requests are checked at the end."""
    pages, complaints, requests = [], [], []

    def open_page(view="", width=1280, wait=True, **options):
        page = browser.new_page(viewport={"width": width, "height": 900}, **options)
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.complaints = complaints
        pages.append(page)
        page.goto(address + view)
        if wait:
            page.locator(".ql-tile").first.wait_for()
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not complaints
    assert requests and all(url.startswith((address, "data:")) for url in requests)


@pytest.fixture(scope="module")
def script(browser, address):
    """Runs JavaScript with `lab`, the module, and `argument`, a JSON value; returns its result."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address + "lab.css")  # a page of the same origin, without a lab of its own

    def run(body, argument=None):
        return page.evaluate(f"async (argument) => {{ const lab = await import('{address}lab.js'); {body} }}", argument)

    yield run
    page.close()


@pytest.fixture(scope="module", params=MODELS)
def trained(request):
    """A model of the lab in Python, with real test digits."""
    gan = qh.QAAN.load(qh.bundled(request.param), device="cpu")
    return SimpleNamespace(name=request.param, gan=gan, digits=qh.load_mnist(gan.digits, "test", source="sample"))


OPEN = """
const answer = await fetch(`/lab/models/${argument.name}.bin`);
const model = new lab.Model(await answer.arrayBuffer());
"""


def tiles(page):
    """The bits that the page shows, as text."""
    pressed = page.locator(".ql-tile").evaluate_all("all => all.map(tile => tile.getAttribute('aria-pressed'))")
    return "".join("1" if state == "true" else "0" for state in pressed)


def pixels(page, selector):
    """The opacity of a canvas's pixels."""
    read = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((_, i) => i % 4 == 3))"
    return np.array(page.locator(selector).first.evaluate(read))


def described(page, selector):
    """The text alternative of an element."""
    return page.locator(selector).first.get_attribute("aria-label")


def draw(page, strokes):
    """Draw on the pad with the mouse."""
    pad = page.locator(".ql-pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    for stroke in strokes:
        places = [(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=4)
        page.mouse.up()


def wait_until(page, condition, what):
    """Wait for a condition in Python."""
    end = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < end, what
        page.wait_for_timeout(50)


def fitted(page, text=""):
    """The text about the fit, if it contains this one."""
    return page.locator(".ql-chart + .ql-caption", has_text=text)


def settle(page):
    """Wait until the next frames are drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


# --- the same numbers as in Python ---


def test_probabilities_equal_those_of_aer(script):
    rng = np.random.default_rng(0)
    cases, expected = [], []
    for n, entanglement, layers in SHAPES:
        qcbm = qh.QCBM(qh.qcbm_ansatz(n, layers, entanglement, warm_start=layers != 3))
        qcbm.angles = rng.uniform(-np.pi, np.pi, len(qcbm.angles))
        cases.append([n, layers, entanglement, layers != 3, qcbm.angles.tolist()])
        expected.append(qcbm.probabilities())
    found = script(
        "return argument.map(([n, layers, kind, warm, angles]) => "
        "Array.from(new lab.Circuit(n, layers, kind, warm).probabilities(angles)))",
        cases,
    )
    error = max(np.abs(np.array(p) - q).max() for p, q in zip(found, expected, strict=True))
    print(f"probabilities: largest difference {error:.1e}")
    assert error < 1e-9


def test_cost_and_gradient_equal_those_of_python(script):
    rng = np.random.default_rng(1)
    cases, expected = [], []
    for n, entanglement, layers in [(1, "full", 2), (3, "linear", 2), (8, "full", 2), (8, "none", 1), (12, "full", 2)]:
        qcbm = qh.QCBM(qh.qcbm_ansatz(n, layers, entanglement))
        qcbm.angles = rng.uniform(-np.pi, np.pi, len(qcbm.angles))
        codes = from_index(rng.integers(0, max(2, 2**n // 3), 300), n)
        frequencies = np.bincount(qh.to_index(codes), minlength=2**n) / 300
        cases.append([n, layers, entanglement, qcbm.angles.tolist(), frequencies.tolist()])
        expected.append(qcbm.cost_and_gradient(codes))
    found = script(
        "return argument.map(([n, layers, kind, angles, frequencies]) => { "
        "const { cost, gradient } = new lab.Circuit(n, layers, kind).costAndGradient(angles, frequencies); "
        "return [cost, Array.from(gradient)]; })",
        cases,
    )
    pairs = list(zip(found, expected, strict=True))
    cost_error = max(abs(a[0] - b[0]) for a, b in pairs)
    gradient_error = max(np.abs(np.array(a[1]) - b[1]).max() for a, b in pairs)
    print(f"cost: largest difference {cost_error:.1e}; gradient: {gradient_error:.1e}")
    assert max(cost_error, gradient_error) < 1e-7


class Recorded:
    """A cost function for Python's optimizers that records where it was evaluated."""

    def __init__(self, qcbm, codes):
        self.qcbm, self.codes, self.points = qcbm, codes, []

    def cost(self, angles):
        self.points.append(angles.tolist())
        counts = np.bincount(qh.to_index(self.codes), minlength=2**self.qcbm.n_qubits)
        return float(clipped_nll(self.qcbm.probabilities(angles), counts / counts.sum()))

    def cost_and_gradient(self, angles):
        self.points.append(angles.tolist())
        self.qcbm.angles = angles
        return self.qcbm.cost_and_gradient(self.codes)


@pytest.mark.parametrize("name", ["adam", "spsa"])
def test_optimizers_evaluate_the_same_points_as_in_python(script, name):
    budget, qcbm = 21, qh.QCBM(qh.qcbm_ansatz(4, 2))
    start, codes = qcbm.angles.copy(), from_index(np.random.default_rng(2).integers(0, 5, 200), 4)
    objective = Recorded(qcbm, codes)
    optimizer = qh.Adam() if name == "adam" else qh.Spsa()
    optimizer.minimize(objective, start, budget, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    directions = np.concatenate([rng.choice((-1.0, 1.0), size=len(start)) for _ in range(budget // 2)])
    counts = np.bincount(qh.to_index(codes), minlength=16) / len(codes)
    found = script(
        """
        const uniforms = argument.directions.map((sign) => (sign + 1) / 2).values();
        const circuit = new lab.Circuit(4, 2), points = [];
        const fit = new lab.Fit(circuit, argument.counts, Float64Array.from(argument.start),
          { optimizer: argument.name, budget: argument.budget, random: () => uniforms.next().value });
        const record = fit.record;
        fit.record = (angles, cost) => (points.push(Array.from(angles)), record.call(fit, angles, cost));
        while (!fit.done) fit.advance();
        return points;
        """,
        {"name": name, "budget": budget, "start": start.tolist(), "counts": counts.tolist(),
         "directions": directions.tolist()},
    )  # fmt: skip
    assert np.abs(np.array(found) - np.array(objective.points)).max() < 1e-7


def test_networks_equal_those_of_pytorch(script, trained):
    rng, n = np.random.default_rng(4), trained.gan.prior.latent_dim
    codes = np.unique(rng.integers(0, 2**n, 60))
    images = trained.digits.images[rng.permutation(len(trained.digits))[:150]]
    found = script(
        OPEN + "return { images: argument.codes.map((code) => Array.from(model.decode(code))),"
        " encoded: argument.digits.map((image) => model.encode(image)).map(({ logits, bits }) =>"
        " [Array.from(logits), Array.from(bits)]) }",
        {"name": trained.name, "codes": codes.tolist(), "digits": images.flatten(1).tolist()},
    )
    expected = trained.gan.decode(from_index(codes, n)).flatten(1).numpy()
    image_error = np.abs(np.array(found["images"]) - expected).max()
    logits = (trained.gan.activations(images) - trained.gan.thresholds).numpy()
    bits, sure = trained.gan.encode(images), np.abs(logits) > 1e-4
    logit_error = np.abs(np.array([entry[0] for entry in found["encoded"]]) - logits).max()
    print(f"{trained.name}: images {image_error:.1e}, logits {logit_error:.1e}, {sure.mean():.2%} of the bits compared")
    assert image_error < 1e-5
    assert sure.mean() > 0.99 and (np.array([entry[1] for entry in found["encoded"]]) == bits)[sure].all()


def test_the_circuit_of_a_file_samples_with_the_trained_probabilities(script, trained):
    found = script(
        OPEN
        + """
        const p = model.circuit().probabilities(model.arrays.angles.values), random = lab.uniformGenerator(5);
        const shots = Float64Array.from({ length: 10000 }, random);
        const counts = new Array(p.length).fill(0);
        for (const index of lab.sampleIndices(p, shots)) counts[index] += 1 / 10000;
        return { p: Array.from(p), counts, sorted: Array.from(lab.frequenciesOfShots(p, shots.sort())) };
        """,
        {"name": trained.name},
    )
    p = trained.gan.prior.probabilities()
    assert np.abs(np.array(found["p"]) - p).max() < 1e-9
    assert np.abs(np.array(found["counts"]) - found["sorted"]).max() < 1e-9
    assert np.abs(np.array(found["counts"]) - p).max() < 5 * math.sqrt(p.max() / 10000)


def test_a_drawing_becomes_an_image_of_mnist_s_kind(script):
    drawn = {digit: np.array(script("return Array.from(lab.drawLikeMnist(argument))", strokes)).reshape(28, 28)
             for digit, strokes in STROKES.items()}  # fmt: skip
    real = qh.load_mnist((3, 7, 9), "test", source="sample").images[:, 0].numpy()
    ink = np.quantile(real.sum((1, 2)), [0.05, 0.95])
    for digit, image in drawn.items():
        rows, columns = np.nonzero(image)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 in (20, 21, 22), digit
        center = [(image.sum(axis) * np.arange(28)).sum() / image.sum() for axis in (0, 1)]
        assert np.abs(np.array(center) - 13.5).max() < 0.2, digit
        assert ink[0] < image.sum() < ink[1], digit
    gan = qh.QAAN.load(qh.bundled("reconstruction_379"), device="cpu")
    images = torch.tensor(np.stack(list(drawn.values())), dtype=torch.float32)[:, None]
    assert classify(gan.recall(images))[0].tolist() == list(drawn)
    assert script("return lab.drawLikeMnist([])") is None
    assert max(script("return Array.from(lab.drawLikeMnist([[[5, 5]]]))")) > 0.5  # a single dot


@pytest.mark.parametrize("name", MODELS)
def test_committed_files_equal_a_fresh_export(name):
    from export_lab import FOLDER, export

    from qaan_helpers.lab.export import read_model

    (stored, stored_arrays), (fresh, fresh_arrays) = map(
        read_model, ((FOLDER / f"{name}.bin").read_bytes(), export(name))
    )
    assert stored == fresh and stored_arrays.keys() == fresh_arrays.keys()
    for key, array in fresh_arrays.items():
        assert stored_arrays[key].shape == array.shape and stored_arrays[key].dtype == array.dtype, key
        if array.dtype.kind == "f":
            assert np.allclose(stored_arrays[key], array, rtol=1e-5, atol=1e-6), key
        else:  # a unit close to its threshold may round to the other bit on another processor
            assert np.abs(stored_arrays[key].astype(int) - array).sum() <= 4, key


# --- what a visitor can do ---


def test_drawing_changes_the_bits_and_the_recall(opened):
    page = opened()
    page.get_by_role("button", name="Clear").click()
    page.get_by_text("Draw a digit first").wait_for()
    before, recalled = tiles(page), pixels(page, ".ql-large")
    draw(page, STROKES[7])
    page.get_by_text("Your drawing").wait_for()
    wait_until(page, lambda: tiles(page) != before, "the bits did not change")
    assert (pixels(page, ".ql-large") != recalled).any()
    page.wait_for_function("text => document.querySelector('[role=status]').textContent.includes(text)", arg="drawing")


def test_test_digits_and_bits_follow_the_keyboard(opened):
    page = opened()
    shown = pixels(page, ".ql-seen")
    page.get_by_role("button", name="Show a test digit").focus()
    page.keyboard.press("Enter")
    page.get_by_text("A test digit: 7").wait_for()
    settle(page)
    assert (pixels(page, ".ql-seen") != shown).any()
    before = tiles(page)
    page.locator(".ql-tile").nth(2).focus()
    page.keyboard.press("Space")
    settle(page)
    assert [a != b for a, b in zip(before, tiles(page), strict=True)] == [q == 2 for q in range(8)]
    status = page.locator("[role=status]")
    wait_until(page, lambda: "Bit 2 is now" in status.text_content(), "the change was not announced")


def test_a_flip_s_small_image_is_what_the_flip_gives(opened):
    page = opened()
    for q in (0, 5):
        promised = pixels(page, f".ql-tile:nth-child({q + 1}) canvas")
        page.locator(".ql-tile").nth(q).click()
        settle(page)
        assert (pixels(page, ".ql-large") == promised).all()


def test_gates_follow_the_keyboard_and_a_slider_changes_the_probabilities(opened):
    page = opened()
    page.get_by_role("radio", name="RZ on qubit 0").focus()
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    slider = page.get_by_role("slider", name="Angle of RXX on qubits 1 and 2")
    before = described(page, ".ql-heat")
    slider.fill("1.5")
    settle(page)
    assert slider.get_attribute("aria-valuetext") == "1.50 rad" and described(page, ".ql-heat") != before
    page.get_by_role("button", name="Next gate").click()
    page.get_by_role("slider", name="Angle of RXX on qubits 1 and 3").wait_for()
    page.get_by_role("button", name="zero").click()
    settle(page)
    assert "equally likely" in described(page, ".ql-heat")
    page.get_by_role("button", name="trained").click()
    settle(page)
    assert described(page, ".ql-heat") == before


def test_shots_show_frequencies_next_to_the_probabilities(opened):
    page = opened()
    assert page.locator(".ql-heat").nth(1).is_hidden()
    page.get_by_role("radio", name="1,000", exact=True).first.check(force=True)
    page.get_by_text("estimated from 1,000 shots").wait_for()
    assert page.locator(".ql-heat").nth(1).is_visible()


def test_the_fit_lowers_the_cost_and_can_be_paused_and_reset(opened):
    page = opened()
    start, lowest = page.get_by_role("button", name="Start"), 4.561
    page.get_by_role("radio", name="100", exact=True).last.check(force=True)
    start.click()
    page.get_by_role("button", name="Pause").wait_for()
    fitted(page, "100 of 100 evaluations").wait_for()
    adam = float(re.search(r"Best cost: ([\d.]+)", fitted(page).text_content())[1])
    assert lowest < adam < 5.1
    page.get_by_role("radio", name="SPSA").check(force=True)
    page.get_by_role("radio", name="1,000", exact=True).last.check(force=True)
    start.click()
    page.wait_for_timeout(300)
    page.get_by_role("button", name="Pause").click()
    paused = fitted(page).text_content()
    page.wait_for_timeout(300)
    assert fitted(page).text_content() == paused
    page.get_by_role("button", name="Continue").click()
    fitted(page, "999 of 1,000 evaluations").wait_for()  # of an even number, one is left
    assert lowest < float(re.search(r"Best cost: ([\d.]+)", fitted(page).text_content())[1]) < math.log(256)
    page.get_by_role("button", name="Reset").click()
    fitted(page, "Press “Start”").wait_for()


def test_the_fit_ends_with_reduced_motion_too(opened):
    page = opened(reduced_motion="reduce")
    page.get_by_role("radio", name="100", exact=True).last.check(force=True)
    page.get_by_role("button", name="Start").click()
    fitted(page, "100 of 100 evaluations").wait_for()


def test_adam_does_not_move_from_zero_and_the_page_says_so(opened):
    page = opened()
    page.get_by_role("radio", name="zero", exact=True).check(force=True)
    page.get_by_role("radio", name="100", exact=True).last.check(force=True)
    page.get_by_role("button", name="Start").click()
    fitted(page, "every derivative is 0").wait_for()


def test_each_switch_breaks_what_it_says(opened):
    page = opened()
    about, samples = page.locator(".ql-distribution > .ql-caption"), ".ql-distribution .ql-samples"
    before, codes, images = about.text_content(), described(page, samples), pixels(page, samples)
    page.get_by_role("switch", name="Reverse the bit order").check()
    settle(page)
    reverse = [code[::-1] for code in re.findall(r"[01]{4} [01]{4}", codes)]
    assert re.findall(r"[01]{4} [01]{4}", described(page, samples)) == reverse
    assert about.text_content() == before and (pixels(page, samples) != images).any()
    page.get_by_role("switch", name="Reverse the bit order").uncheck()
    page.get_by_role("switch", name="Remove the entangling gates").check()
    settle(page)
    assert about.text_content() != before
    page.get_by_role("button", name="Start").click()
    fitted(page, "300 of 300 evaluations").wait_for()
    assert (
        float(re.search(r"([\d.]+) above", fitted(page).text_content())[1]) > 0.3
    )  # the total correlation of the codes
    page.get_by_role("switch", name="Stop the fit early").check()
    page.get_by_role("button", name="Start").click()
    fitted(page, "20 of 20 evaluations").wait_for()


def everything(page):
    """What the page shows, in words and pixels."""
    settle(page)
    texts = page.locator("canvas[aria-label], input[type=range], .ql-caption").evaluate_all(
        "all => all.map(it => it.getAttribute('aria-label') ?? it.getAttribute('aria-valuetext') ?? it.textContent)"
    )
    checked = page.locator("input").evaluate_all("all => all.map(input => input.checked)")
    return tiles(page), texts, checked, pixels(page, ".ql-seen").tolist(), pixels(page, ".ql-samples").tolist()


@pytest.mark.parametrize("model", ["8 bits", "12 bits"])
def test_the_address_restores_the_view(opened, address, model):
    page = opened()
    page.get_by_role("radio", name=re.compile(model)).check(force=True)
    page.locator(".ql-tile").nth(11 if model == "12 bits" else 7).wait_for()
    page.get_by_role("button", name="Clear").click()
    draw(page, STROKES[3])
    page.locator(".ql-tile").nth(4).click()
    page.get_by_role("button", name="random").click()
    page.get_by_role("slider", name="All angles").fill("0.7")
    page.get_by_role("slider", name="Angle of RZ on qubit 0").fill("-0.8")
    page.get_by_role("radio", name="100", exact=True).first.check(force=True)
    page.get_by_role("button", name="Sample other codes").click()
    page.get_by_role("switch", name="Reverse the bit order").check()
    page.wait_for_timeout(600)  # the address follows with a delay
    assert len(page.url) < 4000
    shown = everything(page)
    again = everything(opened(page.url.removeprefix(address)))
    assert again == shown


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("#nonsense", "no version"),
        ("#v=2&m=379", "no version"),
        ("#v=1&m=other", "unknown model"),
        ("#v=1&m=379&b=10x10110", "bits"),
        ("#v=1&m=379&b=101", "8 bits"),
        ("#v=1&m=379&d=t99", "test digit"),
        ("#v=1&m=379&d=pAAAA", "drawing"),
        ("#v=1&m=379&d=p%%%", "unexpected"),
        ("#v=1&m=379&a=AAA", ""),
        ("#v=1&m=379&a=AAAAAAAA", "88 angles"),
        ("#v=1&m=379&o=900_1", "gate"),
        ("#v=1&m=379&o=x", "angles"),
        ("#v=1&m=379&k=9999", "k is not allowed"),
        ("#v=1&m=379&n=7", "shots"),
        ("#v=1&m=379&x=constructor", "switch"),
    ],
)
def test_an_address_that_cannot_be_read_gives_a_message_and_the_default_view(opened, view, said):
    page = opened(view)
    notice = page.get_by_role("alert")
    notice.wait_for()
    assert "could not be read" in notice.text_content() and said in notice.text_content()
    assert "A test digit: 3" in page.locator(".ql-seen-row").text_content()


@pytest.mark.parametrize(
    ("status", "change", "said"),
    [
        (404, lambda data: b"", "answered 404"),
        (200, lambda data: b"", "too short"),
        (200, lambda data: data[: len(data) // 2], "incomplete"),
        (200, lambda data: b"\xff" * 4 + data[4:], "header is too long"),
        (200, lambda data: data[:4] + b"x" + data[5:], "damaged"),
        (200, lambda data: data.replace(b'"format":1', b'"format":2'), "format"),
        (200, lambda data: data.replace(b'"layers":2', b'"layers":3'), "angles must have shape"),
        (200, lambda data: data[:2500] + b"\xff" * 64 + data[2564:], "not finite"),
    ],
)
def test_a_model_that_does_not_load_gives_a_message_and_a_second_try(opened, monkeypatch, status, change, said):
    data = (DOCS / "lab" / "models" / "reconstruction_379.bin").read_bytes()
    monkeypatch.setattr(Handler, "replaced", {"/lab/models/reconstruction_379.bin": (status, change(data))})
    page = opened(wait=False)
    notice = page.get_by_role("alert")
    notice.wait_for()
    assert said in notice.text_content()
    monkeypatch.setattr(Handler, "replaced", {})
    page.get_by_role("button", name="Try again").click()
    page.locator(".ql-tile").first.wait_for()
    assert notice.is_hidden()
    page.complaints[:] = [text for text in page.complaints if "status of 404" not in text]


def test_without_scripts_or_with_a_broken_one_there_is_a_message(opened, monkeypatch):
    page = opened(wait=False, java_script_enabled=False)
    assert "needs JavaScript" in page.locator("noscript").inner_text()
    monkeypatch.setattr(Handler, "replaced", {"/lab/lab.js": (404, b"")})
    page = opened(wait=False)
    page.get_by_text("could not be started").wait_for()
    assert "too old" in page.locator("script[nomodule]").text_content()
    page.complaints[:] = [text for text in page.complaints if "status of 404" not in text]


@pytest.mark.parametrize("key", ["379", "ten"])
def test_a_narrow_page_does_not_scroll_sideways_and_every_control_has_a_name(opened, key):
    page = opened(f"#v=1&m={key}", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    unnamed = page.evaluate(
        """() => Array.from(document.querySelectorAll("button, input, a, canvas[role=img]")).filter((it) =>
        !(it.getAttribute("aria-label") || it.textContent.trim() || it.closest("label")?.textContent.trim()))
        .map((it) => it.outerHTML)"""
    )
    assert not unnamed
    small = page.locator("button:not(.ql-gate):visible, .ql-choice span:visible").evaluate_all(
        "all => all.filter(it => it.getBoundingClientRect().height < 40).map(it => it.outerHTML)"
    )
    assert not small


def test_the_widget_mounts_twice_and_removes_itself(script):
    found = script(
        """
        const answer = await fetch("/lab/models/reconstruction_379.bin");
        const content = { binary: new DataView(await answer.arrayBuffer()), label: "mine" };
        const model = { get: (name) => content[name], on() {}, off() {} };
        const places = [1, 2].map(() => document.body.appendChild(document.createElement("div")));
        const before = location.href, clean = places.map((el) => lab.default.render({ model, el }));
        await new Promise((done) => setTimeout(done, 500));
        places[0].querySelector(".ql-tile").click();
        await new Promise((done) => setTimeout(done, 500));
        const pressed = places.map((el) => el.querySelector(".ql-tile").getAttribute("aria-pressed"));
        const links = document.querySelectorAll("a").length, same = location.href === before;
        const names = new Set(Array.from(document.querySelectorAll("input[type=radio]"), (input) => input.name));
        const third = places[1].appendChild(document.createElement("div"));
        const own = lab.mount(third, { model: model.get("binary").buffer });
        await new Promise((done) => setTimeout(done, 100));
        const root = own.root, had = root.childNodes.length;
        own.destroy();
        const cleared = had > 0 && root.childNodes.length === 0 && !root.className;
        root.remove();
        clean.forEach((remove) => remove());
        return { pressed, links, same, cleared, names: names.size, left: places.map((el) => el.childNodes.length) };
        """
    )
    assert found["pressed"][0] != found["pressed"][1]
    assert found["cleared"] and found["same"] and found["links"] == 0 and found["left"] == [0, 0]
    assert found["names"] == 2 * 5  # layers, shots, optimizer, start and evaluations of each


def test_the_page_is_fast(opened):
    started = time.perf_counter()
    page = opened()
    first = time.perf_counter() - started
    page.wait_for_timeout(2500)  # images of likely codes are generated in advance
    rate = page.evaluate(
        """async () => {
        const slider = document.querySelector("input[type=range]"), start = performance.now();
        let frames = 0;
        while (performance.now() - start < 1500) {
          slider.value = 0.3 + 0.7 * Math.abs(Math.sin(frames++ / 20));
          slider.dispatchEvent(new Event("input"));
          await new Promise(requestAnimationFrame);
        }
        return (1000 * frames) / (performance.now() - start);
        }"""
    )
    print(f"first interaction after {first:.2f} s; {rate:.0f} updates per second of a slider at 8 qubits")
    assert first < 3 and rate > 10
