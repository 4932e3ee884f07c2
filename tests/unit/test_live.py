"""The live view: it shows a training, changes nothing, costs little, and its button and ■ leave a usable model."""

import hashlib
import io
import math
import queue
import threading
import time
from pathlib import Path

import comm
import nbformat
import pytest
import torch
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from PIL import Image

import qaan_helpers as qh
from qaan_helpers.lab import live, plots

pytestmark = pytest.mark.integration

FIRST, LATER = 12, 10  # evaluations of a fit


def few_digits():
    sample = qh.load_mnist((3, 7), source="sample")
    return qh.Digits(sample.images[::100], sample.labels[::100])


def small(kind="qcbm"):
    prior = {
        "uniform": lambda: qh.UniformPrior(3, seed=3),
        "product": lambda: qh.ProductPrior(3, seed=3),
        "qcbm": lambda: qh.QCBMPrior(2, 1, max_evaluations=FIRST, refit_evaluations=LATER, seed=3),
        "mixed": lambda: qh.MixedPrior(small("qcbm").prior, 0.5, seed=3),
    }[kind]()
    return qh.QAAN(prior, device="cpu", seed=5, warm_up=1)


def leaves(state):
    """The values in a nested state, tensors and arrays as lists."""
    if isinstance(state, dict):
        return [leaves(value) for _, value in sorted(state.items(), key=str)]
    return state.tolist() if hasattr(state, "tolist") else state


def digest(gan):
    """A hash of everything that training changes, random streams included, without the measured seconds."""
    state = gan.state_dict() | {"history": None}
    return hashlib.sha256(repr(leaves(state)).encode()).hexdigest()


def train(gan, epochs=4):
    return qh.train(gan, few_digits(), epochs, batch_size=4)


@pytest.fixture
def at_each_epoch(monkeypatch):
    """Redraw after every epoch, at any cost."""
    monkeypatch.setattr(live, "MAX_REDRAW_FRACTION", math.inf)
    return {"every": 0.0, "n_images": 16}


# What is shown


def test_reports_pass_through_and_figure_and_progress_bar_change(at_each_epoch):
    gan = small()
    view = live.View(gan, few_digits(), 4, **at_each_epoch)
    reports, pictures, done = [], [], []
    for report in view.watch(train(gan)):
        reports.append(report)
        pictures.append(view.picture)
        done.append(view.epoch_bar.value)
    assert reports == gan.history and done == [1, 2, 3, 4] and view.epoch_bar.max == 4
    assert len(set(pictures)) == 4 and view.n_redraws == 5  # and once more at the end
    with Image.open(io.BytesIO(view.picture)) as picture:
        assert picture.width > 800
    assert len(view.picture) <= 120_000
    assert view.status.startswith("4 of 4 epochs in ") and view.status.endswith(" s")


@pytest.mark.parametrize("kind", ["qcbm", "mixed"])
def test_the_evaluations_of_each_fit_are_counted(kind, monkeypatch):
    monkeypatch.setattr(live, "FIT_BAR_SECONDS", 0)
    gan = small(kind)
    view = live.View(gan, few_digits(), 3)
    moves = []
    view.fit_bar.observe(lambda change: change.new and moves.append((view.fit_bar.max, change.new)), "value")
    for _ in view.watch(train(gan, 3)):
        pass
    assert moves == [*((FIRST, n) for n in range(1, FIRST + 1)), *((LATER, n) for n in range(1, LATER + 1))]
    learned = gan.prior if kind == "qcbm" else gan.prior.prior
    assert f"best {min(learned.last_fit.costs):.2f} nats" in view._fit_text.value
    assert learned.on_evaluation is None


@pytest.mark.parametrize("kind", ["uniform", "product"])
def test_a_prior_without_a_circuit_needs_no_second_progress_bar(kind):
    gan = small(kind)
    view = live.View(gan, few_digits(), 1)
    for _ in view.watch(train(gan, 1)):
        assert view.fit_bar not in [child for row in view._box.children for child in row.children]
        assert view.epoch_bar in view._box.children[0].children
        assert len(view._figure().axes) == 3
    list(train(gan, 1))  # now both have been fitted, but the uniform prior cannot learn
    assert len(view._figure().axes) == (3 if kind == "uniform" else 4)


def test_the_panel_shows_the_curves_the_images_and_their_caption():
    gan = small()
    for _ in train(gan):
        pass
    figure = plots.training_panel(gan.history, gan.peek(20), "A title", "A caption", 2)
    losses, outputs, cost, sheet = figure.axes
    assert list(losses.lines[1].get_ydata()) == [report.g_loss for report in gan.history]
    assert list(outputs.lines[0].get_ydata()) == [report.d_real for report in gan.history]
    assert list(cost.lines[2].get_ydata()) == [report.prior_cost for report in gan.history[1:]]
    assert sheet.images[0].get_array().shape == (60, 480) and sheet.get_title() == "A caption"
    alone = plots.training_panel(gan.history[:1], gan.peek(20), "A title", "A caption", 2)
    assert len(alone.axes) == 3  # nothing has been fitted yet
    assert {line.get_marker() for line in alone.axes[0].lines} == {"."}  # a line through one point is invisible
    for axis in (losses, outputs, cost):
        assert axis.get_xlim() == (0.5, 4.5) and axis.get_xlabel() == "epoch" and axis.get_ylabel()


def test_the_figure_says_where_the_circuit_ran_if_there_is_one():
    for gan, provenance in ((small(), ["exact amplitudes on Aer"]), (small("uniform"), [])):
        view = live.View(gan, few_digits(), 1)
        next(train(gan, 1))
        assert [text.get_text() for text in view._figure().texts[1:]] == provenance  # after the title


def test_the_caption_compares_the_images_variety_with_that_of_real_ones(monkeypatch):
    gan, digits = small("uniform"), few_digits()
    view = live.View(gan, digits, 1)
    next(train(gan, 1))
    for images, words in ((digits.images, "100% of that"), (digits.images[:1].repeat(8, 1, 1, 1), "1 distinct in")):
        monkeypatch.setattr(gan, "peek", lambda n, images=images: images)
        assert words in view._figure().axes[-1].get_title()


# That it changes nothing and costs little


@pytest.mark.parametrize("kind", ["uniform", "product", "qcbm", "mixed"])
def test_a_watched_training_is_the_unwatched_one_bit_for_bit(kind, at_each_epoch):
    watched, alone = small(kind), small(kind)
    view = live.View(watched, few_digits(), 3, **at_each_epoch)
    losses = [(report.d_loss, report.g_loss) for report in view.watch(train(watched, 3))]
    assert losses == [(report.d_loss, report.g_loss) for report in train(alone, 3)]
    assert digest(watched) == digest(alone)


def test_peek_generates_what_sample_would_and_changes_nothing():
    gan = small()
    for _ in train(gan, 2):
        pass
    before = digest(gan)
    peeked = gan.peek(8)
    assert digest(gan) == before
    assert torch.equal(gan.sample(8), peeked)
    assert digest(gan) != before


def test_a_prior_with_only_three_members_can_be_watched_too(at_each_epoch):
    class Minimal:
        latent_dim = 3

        def fit(self, bits):
            return math.nan

        def sample(self, n_samples):
            return qh.from_index(torch.arange(n_samples).numpy() % 8, 3)

    gan = qh.QAAN(Minimal(), device="cpu")
    view = live.View(gan, few_digits(), 2, **at_each_epoch)
    assert len(list(view.watch(train(gan, 2)))) == 2 and view.n_redraws == 3


def reports_for(seconds, gan):
    """Reports of a training whose epochs take almost no time."""
    next(train(gan, 1))
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        yield gan.history[-1]
        time.sleep(0.001)


def test_redrawing_takes_a_small_fraction_of_the_time(monkeypatch):
    assert live.MAX_REDRAW_FRACTION < 0.05
    monkeypatch.setattr(live, "MAX_REDRAW_FRACTION", 0.25)  # for a few redraws while we wait
    gan = small("uniform")
    view = live.View(gan, few_digits(), 1, every=0)
    redraws = []
    for _ in view.watch(reports_for(60, gan)):
        if len(redraws) < view.n_redraws:
            redraws.append((view._redrawn_at, view._last_seconds))
        if len(redraws) == 3:
            break
    assert len(redraws) == 3
    for (before, seconds), (after, next_seconds) in zip(redraws, redraws[1:], strict=False):
        assert after - next_seconds - before >= seconds / 0.25


def test_redrawing_waits_at_least_a_second():
    gan = small("uniform")
    view = live.View(gan, few_digits(), 1, every=1)
    for _ in view.watch(reports_for(0.8, gan)):
        assert view.n_redraws == 1


# Stopping


def usable(gan):
    """It generates images, and can be trained further."""
    assert gan.sample(5).shape == (5, 1, 28, 28)
    epoch = gan.epoch
    next(train(gan, 1))
    assert gan.epoch == epoch + 1


def test_the_button_ends_the_training_after_the_epoch():
    gan = small()
    view = live.View(gan, few_digits(), 50)
    for report in view.watch(train(gan, 50)):
        if report.epoch == 2:
            view.button.click()
    assert gan.epoch == 2 and view.stopped
    assert view.status.startswith("2 of 50 epochs in ") and view.status.endswith(", stopped by the button")
    usable(gan)


def test_a_click_from_another_thread_during_a_fit_lets_the_epoch_end():
    gan, alone = small(), small()
    view = live.View(gan, few_digits(), 50)
    fit = gan.prior.qcbm.fit

    def clicked(*args, **options):
        clicker = threading.Thread(target=view.button.click)
        clicker.start(), clicker.join()
        assert view.button.disabled
        return fit(*args, **options)

    gan.prior.qcbm.fit = clicked
    assert len(list(view.watch(train(gan, 50)))) == 2  # the first fit is in the second epoch
    for _ in train(alone, 2):
        pass
    assert digest(gan) == digest(alone)
    del gan.prior.qcbm.fit
    usable(gan)


def test_an_interrupt_passes_through_and_leaves_the_last_complete_epoch():
    gan = small()
    view = live.View(gan, few_digits(), 50)
    step = gan.step

    def interrupted(*args):
        if gan.epoch == 2:
            raise KeyboardInterrupt
        return step(*args)

    gan.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        for _ in view.watch(train(gan, 50)):
            pass
    del gan.step
    assert gan.epoch == 2 and gan.prior.on_evaluation is None
    assert view.status.startswith("2 of 50 epochs") and "interrupt" in view.status
    usable(gan)


def test_a_break_ends_the_view_too():
    gan = small()
    view = live.View(gan, few_digits(), 50)
    for _ in view.watch(train(gan, 50)):
        break
    assert view.status.startswith("1 of 50 epochs") and view.status.endswith("the loop around it")
    assert gan.prior.on_evaluation is None
    usable(gan)


def test_a_front_end_may_close_the_button_before_the_training_ends():
    gan = small("uniform")
    view = live.View(gan, few_digits(), 1)
    for _ in view.watch(train(gan, 1)):
        comm.get_comm_manager().comm_close(None, None, {"content": {"comm_id": view.button.comm.comm_id}})
    assert view.status.startswith("1 of 1 epochs")


def test_a_training_that_ends_early_ends_the_view(at_each_epoch):
    gan = small("uniform")
    view = live.View(gan, few_digits(), 50, **at_each_epoch)
    reports = train(gan, 50)
    first = next(reports)
    assert list(view.watch(iter([first]))) == [first]
    assert view.status.startswith("0 of 50")


# In a notebook's kernel

SOURCE = """
from test_live import few_digits, live, small, train
gan = small()
view = live.View(gan, few_digits(), EPOCHS, n_images=16)
for report in view.watch(train(gan, EPOCHS)):
    pass
"""


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=120)
    client.execute("import os, sys; sys.path[:0] = 'tests/unit', '.'; os.environ['OMP_NUM_THREADS'] = '1'")
    client.execute("import torch, test_live; torch.set_num_threads(1)", reply=True, timeout=120)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def say(client, code):
    """What a line of code prints in the kernel."""
    printed = []
    reply = client.execute_interactive(
        code, timeout=60, output_hook=lambda m: printed.append(m["content"].get("text", "")), allow_stdin=False
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(printed).strip()


def begin(client):
    """Start a training of many epochs; return the request and the button's comm once both have been displayed."""
    # stop_on_error: otherwise a kernel whose cell was interrupted may refuse the next request
    request = client.execute(SOURCE.replace("EPOCHS", "100_000"), stop_on_error=False)
    button = None
    while True:
        message = client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") != request:
            continue
        content = message["content"]
        if message["msg_type"] == "comm_open" and content["data"]["state"].get("_model_name") == "ButtonModel":
            button = content["comm_id"]
        if message["msg_type"] == "display_data" and "image/png" in content["data"]:
            return request, button


def end(client, request):
    """The reply to a request that is still running."""
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == request:
            return reply["content"]


def subshell(client):
    """Request a subshell, as JupyterLab does for the messages of widgets."""
    message = client.session.msg("create_subshell_request")
    client.control_channel.send(message)
    reply = client.get_control_msg(timeout=30)
    return reply["content"].get("subshell_id")


def test_a_click_reaches_a_kernel_that_is_busy_training(kernel):
    manager, client = kernel
    shell = subshell(client)
    if shell is None:
        pytest.skip("this ipykernel has no subshells; only ■ stops a training")
    request, button = begin(client)
    click = {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
    message = client.session.msg("comm_msg", click)
    message["header"]["subshell_id"] = shell
    client.shell_channel.send(message)
    assert end(client, request)["status"] == "ok"
    assert say(client, "print(view.stopped, 0 < gan.epoch < 100_000, gan.sample(4).shape[0])") == "True True 4"
    assert say(client, "print(view.status)").endswith("stopped by the button")


def test_the_toolbars_interrupt_leaves_a_usable_model(kernel):
    manager, client = kernel
    request, _ = begin(client)
    time.sleep(0.3)
    manager.interrupt_kernel()
    reply = end(client, request)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    say(client, "epoch = gan.epoch; from test_live import usable; usable(gan)")
    assert say(client, "print(gan.epoch - epoch, gan.prior.on_evaluation)") == "1 None"
    with pytest.raises(queue.Empty):
        client.get_shell_msg(timeout=0.1)


def test_a_stored_run_keeps_a_line_of_text_and_the_last_figure(tmp_path):
    """Without a front end it runs to its end, and no widget remains that a reader could not see."""
    setup = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    cells = [nbformat.v4.new_code_cell(text) for text in (setup, SOURCE.replace("EPOCHS", "3"))]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    text, picture = [output for output in notebook.cells[1].outputs if output.output_type == "display_data"]
    assert text.data["text/plain"].startswith("3 of 3 epochs in ") and set(text.data) == {"text/plain"}
    assert "widget" not in str(picture.data.keys())
    assert picture.metadata["image/png"]["alt"].endswith(".") and "epoch 3" in picture.metadata["image/png"]["alt"]
    assert len(str(notebook.metadata)) < 20_000
