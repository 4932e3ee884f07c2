"""The live view: it shows what is there, changes nothing, costs little, and its button and ■ leave a usable model."""

import hashlib
import io
import math
import queue
import threading
import time

import nbformat
import pytest
import torch
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from PIL import Image

import qaan_helpers as qh
from qaan_helpers.lab import live, plots

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


def digest(gan):
    """One word for all that training has changed, its random numbers too."""
    tensors = (
        gan._networks() | gan._streams() | {f"prior.{k}": torch.tensor(v) for k, v in gan.prior.state_dict().items()}
    )
    return hashlib.sha256(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()


def train(gan, epochs=4):
    return qh.train(gan, few_digits(), epochs, batch_size=4)


@pytest.fixture
def at_each_epoch(monkeypatch):
    """Redraw after every epoch, whatever it costs."""
    monkeypatch.setattr(live, "SHARE", math.inf)
    return {"every": 0.0, "n_images": 16}


# What is shown


def test_reports_pass_through_and_pictures_and_bars_move(at_each_epoch):
    gan = small()
    view = live.View(gan, few_digits(), 4, **at_each_epoch)
    seen, pictures, done = [], [], []
    for report in view.watch(train(gan)):
        seen.append(report)
        pictures.append(view.picture)
        done.append(view.epoch_bar.value)
    assert seen == gan.history and done == [1, 2, 3, 4] and view.epoch_bar.max == 4
    assert len(set(pictures)) == 4 and view.n_drawn == 5  # and once more at the end
    with Image.open(io.BytesIO(view.picture)) as picture:
        assert picture.width > 800
    assert len(view.picture) <= 120_000
    assert view.told.startswith("4 of 4 epochs in ") and view.told.endswith(" s")


@pytest.mark.parametrize("kind", ["qcbm", "mixed"])
def test_the_evaluations_of_each_fit_are_counted(kind, monkeypatch):
    monkeypatch.setattr(live, "TOLD", 0)
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
def test_a_prior_without_a_circuit_needs_no_second_bar(kind):
    gan = small(kind)
    view = live.View(gan, few_digits(), 1)
    for _ in view.watch(train(gan, 1)):
        assert view.fit_bar not in [child for row in view._box.children for child in row.children]
        assert view.epoch_bar in view._box.children[0].children
        assert len(view._figure().axes) == 3
    list(train(gan, 1))  # now both have been fitted, but the one has learned nothing
    assert len(view._figure().axes) == (3 if kind == "uniform" else 4)


def test_the_panel_shows_the_curves_the_images_and_what_is_said_of_them():
    gan = small()
    for _ in train(gan):
        pass
    figure = plots.training_panel(gan.history, gan.peek(20), "A title", "of the digits", 2)
    losses, verdicts, cost, sheet = figure.axes
    assert list(losses.lines[1].get_ydata()) == [report.g_loss for report in gan.history]
    assert list(verdicts.lines[0].get_ydata()) == [report.d_real for report in gan.history]
    assert list(cost.lines[2].get_ydata()) == [report.prior_cost for report in gan.history[1:]]
    assert sheet.images[0].get_array().shape == (60, 480) and sheet.get_title() == "of the digits"
    alone = plots.training_panel(gan.history[:1], gan.peek(20), "A title", "of the digits", 2)
    assert len(alone.axes) == 3  # nothing was fitted yet
    assert {line.get_marker() for line in alone.axes[0].lines} == {"."}  # a line of one point is not seen
    for axis in (losses, verdicts, cost):
        assert axis.get_xlim() == (0.5, 4.5) and axis.get_xlabel() == "epoch" and axis.get_ylabel()


def test_the_figure_says_where_the_circuit_ran_and_nothing_where_there_is_none():
    for gan, told in ((small(), ["exact amplitudes on Aer"]), (small("uniform"), [])):
        view = live.View(gan, few_digits(), 1)
        next(train(gan, 1))
        assert [text.get_text() for text in view._figure().texts[1:]] == told  # after the title


def test_how_much_the_digits_differ_is_told_beside_the_real_ones(monkeypatch):
    gan, digits = small("uniform"), few_digits()
    view = live.View(gan, digits, 1)
    next(train(gan, 1))
    for images, told in ((digits.images, "100% as much"), (digits.images[:1].repeat(8, 1, 1, 1), "1 distinct in")):
        monkeypatch.setattr(gan, "peek", lambda n, images=images: images)
        assert told in view._figure().axes[-1].get_title()


# That it changes nothing and costs little


@pytest.mark.parametrize("kind", ["uniform", "product", "qcbm", "mixed"])
def test_a_watched_training_is_the_unwatched_one_bit_for_bit(kind, at_each_epoch):
    watched, alone = small(kind), small(kind)
    view = live.View(watched, few_digits(), 3, **at_each_epoch)
    losses = [(report.d_loss, report.g_loss) for report in view.watch(train(watched, 3))]
    assert losses == [(report.d_loss, report.g_loss) for report in train(alone, 3)]
    assert digest(watched) == digest(alone)


def test_a_peek_draws_what_a_sample_would_and_leaves_no_trace():
    gan = small()
    for _ in train(gan, 2):
        pass
    before = digest(gan)
    seen = gan.peek(8)
    assert digest(gan) == before
    assert torch.equal(gan.sample(8), seen)
    assert digest(gan) != before


def test_a_prior_of_three_members_can_be_watched_too(at_each_epoch):
    class Coins:
        latent_dim = 3

        def fit(self, bits):
            return math.nan

        def sample(self, n_samples):
            return qh.from_index(torch.arange(n_samples).numpy() % 8, 3)

    gan = qh.QAAN(Coins(), device="cpu")
    view = live.View(gan, few_digits(), 2, **at_each_epoch)
    assert len(list(view.watch(train(gan, 2)))) == 2 and view.n_drawn == 3


def reports_for(seconds, gan):
    """Reports of a training whose epochs take next to no time."""
    next(train(gan, 1))
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        yield gan.history[-1]
        time.sleep(0.001)


def test_redrawing_takes_a_small_share_of_the_time(monkeypatch):
    assert live.SHARE < 0.05
    monkeypatch.setattr(live, "SHARE", 0.25)  # so that it is redrawn a few times while we wait
    gan = small("uniform")
    view = live.View(gan, few_digits(), 1, every=0)
    drawn = []
    for _ in view.watch(reports_for(5, gan)):
        if len(drawn) < view.n_drawn:
            drawn.append((view._drawn_at, view._last_took))
    assert len(drawn) >= 2
    for (before, took), (after, next_took) in zip(drawn, drawn[1:], strict=False):
        assert after - next_took - before >= took / 0.25


def test_redrawing_waits_a_second_at_least():
    gan = small("uniform")
    view = live.View(gan, few_digits(), 1, every=1)
    for _ in view.watch(reports_for(0.8, gan)):
        assert view.n_drawn == 1


# Stopping


def usable(gan):
    """It draws, and trains on."""
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
    assert view.told.startswith("2 of 50 epochs in ") and view.told.endswith(", stopped by the button")
    usable(gan)


def test_a_click_from_another_thread_in_the_midst_of_a_fit_lets_the_epoch_end():
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


def test_an_interrupt_goes_through_and_leaves_the_last_whole_epoch():
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
    assert view.told.startswith("2 of 50 epochs") and "interrupt" in view.told
    usable(gan)


def test_a_break_ends_the_view_too():
    gan = small()
    view = live.View(gan, few_digits(), 50)
    for _ in view.watch(train(gan, 50)):
        break
    assert view.told.startswith("1 of 50 epochs") and view.told.endswith("the loop around it")
    assert gan.prior.on_evaluation is None
    usable(gan)


def test_a_collapse_that_stops_the_training_ends_the_view(at_each_epoch):
    gan = small("uniform")
    view = live.View(gan, few_digits(), 50, **at_each_epoch)
    reports = train(gan, 50)
    first = next(reports)
    assert list(view.watch(iter([first]))) == [first]
    assert view.told.startswith("0 of 50")


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
    client.execute("import os, sys; sys.path[:0] = 'tests', '.'; os.environ['OMP_NUM_THREADS'] = '1'")
    client.execute("import torch, test_live; torch.set_num_threads(1)", reply=True, timeout=120)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def say(client, code):
    """What a line of code prints in the kernel."""
    told = []
    reply = client.execute_interactive(
        code, timeout=60, output_hook=lambda m: told.append(m["content"].get("text", "")), allow_stdin=False
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(told).strip()


def begin(client):
    """Start a training of very many epochs; return once it has shown its button, with the button's comm."""
    # stop_on_error: else a kernel whose cell was interrupted may refuse what is asked of it right after
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
    """The reply to a request that is still under way."""
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == request:
            return reply["content"]


def subshell(client):
    """Ask for a subshell, as JupyterLab does for widgets' messages."""
    message = client.session.msg("create_subshell_request")
    client.control_channel.send(message)
    reply = client.get_control_msg(timeout=30)
    return reply["content"].get("subshell_id")


def test_a_click_reaches_a_kernel_that_is_busy_training(kernel):
    manager, client = kernel
    shell = subshell(client)
    if shell is None:
        pytest.skip("this ipykernel has no subshells; ■ stops a training there")
    request, button = begin(client)
    click = {"comm_id": button, "data": {"method": "custom", "content": {"event": "click"}}}
    message = client.session.msg("comm_msg", click)
    message["header"]["subshell_id"] = shell
    client.shell_channel.send(message)
    assert end(client, request)["status"] == "ok"
    assert say(client, "print(view.stopped, 0 < gan.epoch < 100_000, gan.sample(4).shape[0])") == "True True 4"
    assert say(client, "print(view.told)").endswith("stopped by the button")


def test_the_toolbars_interrupt_leaves_a_model_that_draws_and_trains_on(kernel):
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


def test_a_stored_run_keeps_a_line_of_text_and_the_last_picture(tmp_path):
    """With no one to look or click it ends by itself, and no widget is left that a reader could not see."""
    setup = f"import sys; sys.path.insert(0, {str(plots.Path(__file__).parent)!r})"
    cells = [nbformat.v4.new_code_cell(text) for text in (setup, SOURCE.replace("EPOCHS", "3"))]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    text, picture = [output for output in notebook.cells[1].outputs if output.output_type == "display_data"]
    assert text.data["text/plain"].startswith("3 of 3 epochs in ") and set(text.data) == {"text/plain"}
    assert "widget" not in str(picture.data.keys())
    assert picture.metadata["image/png"]["alt"].endswith(".") and "epoch 3" in picture.metadata["image/png"]["alt"]
    assert len(str(notebook.metadata)) < 20_000
