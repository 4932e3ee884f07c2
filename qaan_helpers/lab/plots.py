"""Pictures with one message each: digits, distributions, what a fit did, how a training went.

Every function returns a matplotlib Figure; `show(figure, alt)` puts it into a notebook with its text for those who
cannot see it. Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines differ in dashes too, and
bars in hatches, for those who see or print them in grey.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..bits import to_index
from ..gan.networks import check_images

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.", (0, (3, 1, 1, 1, 1, 1)), (0, (5, 5)), (0, (10, 2)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "|||")
CELL = (34, 42)  # pixels of a digit with its label beneath: width and height
INCH = 1 / 40  # a pixel of a digit in such a cell, in inches


def show(figure: Figure, alt: str, stamp: object = "") -> None:
    """Display a figure in a notebook as a PNG whose alternative text is `alt`: what it shows, in a sentence.

    stamp: where its circuits ran, an execution or a text, small below the figure's right end.
    """
    from IPython.display import display

    figure.text(1, 0, str(stamp), ha="right", va="top", size=8, color="0.35")
    display(picture(figure, alt))


def picture(figure: Figure, alt: str, tight: bool = True):
    """The PNG that `show` displays, as an IPython Image with its alternative text `alt` and its width in pixels."""
    from IPython.display import Image

    png = to_png(figure, tight)
    return Image(png, alt=alt, width=png_width(png))


def to_png(figure: Figure, tight: bool = True) -> bytes:
    """The figure as a PNG, cut to what is drawn; tight=False keeps its whole size, and takes half the time."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100, bbox_inches="tight" if tight else None)
    return png.getvalue()


def png_width(png: bytes) -> int:
    """The width of a PNG in pixels, as its header has it."""
    return int.from_bytes(png[16:20], "big")


def new_figure(title: str, width: float = 8, height: float = 3.2, columns: int = 1):
    """A titled Figure and its axes (one Axes, or an array of `columns`), without the top and right frame lines."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns)
    for axis in np.atleast_1d(axes):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    figure.get_layout_engine().set(h_pad=0.07)  # inches, so that titles of figure and panels keep apart
    return figure, axes


def digit_grid(images: torch.Tensor, title: str = "", columns: int = 16, grays: int = 256) -> Figure:
    """Images (N, 1, 28, 28) in [0, 1] in rows of `columns`, ink on paper; with few `grays` the file is a third."""
    columns = min(columns, len(check_images(images, 1)))
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(0.55 * columns, 0.55 * rows + 0.35 * bool(title)), layout="constrained")
    _draw_sheet(figure.subplots(), images, columns, grays)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_sheet(axis, images, columns, grays=256):
    sheet = np.zeros((math.ceil(len(images) / columns) * 30, columns * 30))
    for i, image in enumerate(images.detach().cpu().numpy()):
        top, left = 30 * (i // columns) + 1, 30 * (i % columns) + 1
        sheet[top : top + 28, left : left + 28] = image[0]
    sheet = sheet if grays == 256 else np.round(sheet * (grays - 1)) / (grays - 1)
    axis.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axis.set_axis_off()


def code_label(bits: np.ndarray) -> str:
    """The bits (n,) of one code as text, bit 0 on the left, in groups of four and at most two groups a line."""
    text = "".join(str(int(bit)) for bit in bits)
    groups = [text[start : start + 4] for start in range(0, len(text), 4)]
    return "\n".join(" ".join(groups[start : start + 2]) for start in range(0, len(groups), 2))


def labeled_digits(
    images: torch.Tensor, labels: Sequence[str], title: str = "", columns: int = 9, framed: Sequence[int] = ()
) -> Figure:
    """Images (N, 1, 28, 28) in rows of `columns`, each with its label beneath; those that `framed` numbers are."""
    columns = min(columns, len(images))
    width, height = _cells(len(images), columns)
    head = 0.35 * bool(title)
    figure = Figure(figsize=(width, height + head))
    _draw_labelled(_place(figure, 0, 0, width, height), images, labels, columns, framed)
    figure.suptitle(title, fontsize=11, y=1 - 0.1 / (height + head), va="top")
    return figure


def digit_and_others(
    image: torch.Tensor,
    label: str,
    others: torch.Tensor,
    labels: Sequence[str],
    title: str,
    columns: int = 4,
    framed: Sequence[int] = (),
) -> Figure:
    """One image (1, 28, 28) large, and beside it `others` (N, 1, 28, 28), small, each with its label beneath."""
    columns = min(columns, len(others))
    width, height = _cells(len(others), columns)
    big = max(height, 1.6)
    figure = Figure(figsize=(big + 0.3 + width, big + 0.35))
    axis = _place(figure, 0, 0, big, big)
    axis.imshow(image[0].detach().cpu().numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axis.set(xlim=(-3.5, 30.5), ylim=(33.5, -0.5))
    axis.text(13.5, 28.5, label, ha="center", va="top", size=10, family="monospace")
    axis.set_axis_off()
    _draw_labelled(_place(figure, big + 0.3, (big - height) / 2, width, height), others, labels, columns, framed)
    figure.suptitle(title, fontsize=11, y=1 - 0.1 / (big + 0.35), va="top")
    return figure


def distributions_and_digits(
    named: dict[str, tuple[np.ndarray, np.ndarray, torch.Tensor]], title: str, top: float = 0, columns: int = 8
) -> Figure:
    """For each name a distribution over codes, codes drawn from it, and beneath it the digits of these codes.

    named: name to (probabilities (2ⁿ,), codes (N, n), images (N, 1, 28, 28)). A ring marks each code that was drawn.
    top: what the scale of probabilities reaches at least, so that pictures can be compared.
    """
    codes = next(iter(named.values()))[1]
    columns = min(columns, len(codes))
    width, height = _cells(len(codes), columns)
    top = max(top, *(p.max() for p, _, _ in named.values()))
    left, gap, bars, under, head = 0.75, 0.3, 1.9, 0.55, 0.85
    size = (left + (width + gap) * len(named), height + under + bars + head)
    figure = Figure(figsize=size)
    for i, (name, (p, drawn, images)) in enumerate(named.items()):
        x = left + i * (width + gap)
        axis = _place(figure, x, height + under, width, bars)
        _draw_distribution(axis, p, to_index(drawn), 1.1 * top)
        figure.text((x + width / 2) / size[0], 1 - 0.72 / size[1], name, ha="center", size=10)  # faster than a title
        if i == 0:
            axis.set_ylabel("probability")
        else:
            axis.tick_params(labelleft=False)
        _draw_labelled(_place(figure, x, 0, width, height), images, [code_label(code) for code in drawn], columns)
    anchor = {"loc": "upper center", "bbox_to_anchor": (0.5, 1 - 0.25 / size[1])}
    figure.legend(handles=figure.axes[0].get_legend_handles_labels()[0], frameon=False, fontsize=9, ncols=3, **anchor)
    figure.suptitle(title, fontsize=11, y=1 - 0.08 / size[1], va="top")
    return figure


def _cells(n, columns):
    """Width and height in inches of `n` labelled digits in rows of `columns`."""
    return columns * CELL[0] * INCH, math.ceil(n / columns) * CELL[1] * INCH


def _place(figure, left, bottom, width, height):
    """Axes at a place given in inches: nothing is left to lay out, which saves half the time of a picture."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _draw_labelled(axis, images, labels, columns, framed=()):
    width, height = CELL
    rows = math.ceil(len(images) / columns)
    sheet = np.zeros((rows * height, columns * width))
    for i, (image, label) in enumerate(zip(images.detach().cpu().numpy(), labels, strict=True)):
        top, left = height * (i // columns) + 2, width * (i % columns) + 3
        sheet[top : top + 28, left : left + 28] = image[0]
        weight = "bold" if i in framed else "normal"
        axis.text(left + 13.5, top + 30, label, ha="center", va="top", size=7, family="monospace", weight=weight)
        if i in framed:
            axis.add_patch(Rectangle((left - 1.5, top - 1.5), 30, 30, fill=False, linewidth=1.5))
    axis.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axis.set_axis_off()


def _draw_distribution(axis, p, drawn, top):
    edges, heights = np.arange(len(p) + 1) - 0.5, np.append(p, p[-1])  # not stairs(), which takes 2 s for 65,536 codes
    axis.fill_between(edges, heights, step="post", color=COLORS[0], linewidth=0, label="chance of each code")
    axis.axhline(1 / len(p), color="black", linewidth=0.8, linestyle=DASHES[2], label="if all were alike")
    ring = {"markerfacecolor": "white", "markeredgecolor": "black", "markersize": 5}
    axis.plot(drawn, p[drawn], "o", **ring, clip_on=False, label="drawn below")
    axis.set(xlim=(-0.5, len(p) - 0.5), ylim=(0, top), xlabel="code, read as a number")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def distributions(named: dict[str, np.ndarray], title: str) -> Figure:
    """Distributions over the same 2ⁿ states as bars side by side; states are labelled with qubit 0 on the left."""
    figure, axis = new_figure(title)
    size = len(next(iter(named.values())))
    n_bits = size.bit_length() - 1
    width = 0.8 / len(named)
    for i, (name, p) in enumerate(named.items()):
        place = np.arange(size) + (i - (len(named) - 1) / 2) * width
        axis.bar(place, p, width, label=name, color=COLORS[i], hatch=HATCHES[i], edgecolor="white")
    if size <= 32:
        states = ["".join(str(state >> q & 1) for q in range(n_bits)) for state in range(size)]
        axis.set_xticks(range(size), states, rotation=0 if size <= 16 else 90, family="monospace")
    axis.set(xlabel="state, qubit 0 on the left", ylabel="probability")
    # Above the axes: inside, wherever it stands, it may lie on bars.
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), borderaxespad=0, ncols=4)
    return figure


def cost_curves(
    named: dict[str, np.ndarray],
    title: str,
    floor: float | None = None,
    shaded: int = 0,
    xlabel: str = "evaluation of the cost",
) -> Figure:
    """Cost per evaluation, dots for what was tried and a line for the best so far; `floor` is a perfect model's cost.

    shaded: how many evaluations at the start to shade (COBYLA's first simplex).
    """
    figure, axis = new_figure(title)
    for i, (name, costs) in enumerate(named.items()):
        tried = np.arange(1, len(costs) + 1)
        axis.plot(tried, costs, ".", markersize=1.5, color=COLORS[i], alpha=0.25)
        axis.plot(tried, np.minimum.accumulate(costs), linestyle=DASHES[i], color=COLORS[i], label=name)
    if shaded:
        axis.axvspan(0, shaded, color="0.9", label=f"first simplex: {shaded} evaluations")
    if floor is not None:
        axis.axhline(floor, color="black", linewidth=0.8, linestyle=(0, (1, 4)), label="a perfect model")
    axis.set(xlabel=xlabel, ylabel="cost (nats)")
    axis.legend(frameon=False)
    return figure


def pair_tables(named: dict[str, np.ndarray], title: str, label: str, cut: int | None = None) -> Figure:
    """Tables (n, n) of pairs of bits as heat maps on one scale, the diagonal left out; white lines before bit `cut`."""
    figure, axes = new_figure(title, width=3.2 * len(named) + 0.6, columns=len(named))
    hidden = {name: np.where(np.eye(len(table)), np.nan, table) for name, table in named.items()}
    top = max(np.nanmax(np.abs(table)) for table in hidden.values())
    bottom = -top if min(np.nanmin(table) for table in hidden.values()) < -1e-9 else 0  # correlations have a sign
    for axis, (name, table) in zip(np.atleast_1d(axes), hidden.items(), strict=True):
        drawn = axis.imshow(table, cmap="cividis", vmin=bottom, vmax=top)
        ticks = range(0, len(table), 1 if len(table) < 12 else 2)
        axis.set(title=name, xlabel="bit", ylabel="bit", xticks=ticks, yticks=ticks)
        for line in (axis.axhline, axis.axvline) if cut is not None else ():
            line(cut - 0.5, color="white", linewidth=1)
        axis.title.set_fontsize(10)
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.85)
    return figure


def loss_curves(history: Sequence, title: str = "Losses and verdicts by epoch") -> Figure:
    """Both losses, and what the discriminator thinks of real and of drawn images, from a sequence of Reports."""
    figure, axes = new_figure(title, width=9, columns=2)
    _draw_game(axes, history)
    return figure


def _draw_game(axes, history):
    left, right = axes
    epochs = [report.epoch for report in history]
    for i, (name, label) in enumerate((("d_loss", "discriminator"), ("g_loss", "generator"))):
        left.plot(epochs, [getattr(r, name) for r in history], linestyle=DASHES[i], color=COLORS[i], label=label)
    for i, (name, label) in enumerate((("d_real", "real, D(x)"), ("d_fake", "drawn, D(G(z))"))):
        right.plot(epochs, [getattr(r, name) for r in history], linestyle=DASHES[i], color=COLORS[i], label=label)
    right.axhline(0.5, color="0.6", linewidth=0.8)
    left.set(xlabel="epoch", ylabel="loss (nats)")
    right.set(xlabel="epoch", ylabel="probability of being real", ylim=(0, 1))
    left.legend(frameon=False)
    right.legend(frameon=False)


def prior_curves(history: Sequence, n_bits: int, title: str = "What the bits cost each prior, by epoch") -> Figure:
    """The fitted prior's cost between that of a uniform, a product and a perfect model, from a sequence of Reports."""
    figure, axis = new_figure(title)
    _draw_prior(axis, history, n_bits)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _draw_prior(axis, history, n_bits):
    fitted = [report for report in history if not math.isnan(report.prior_cost)]
    lines = {
        "uniform": [n_bits * math.log(2)] * len(fitted),
        "best product of Bernoullis": [r.bits_entropy + r.bits_correlation for r in fitted],
        "the prior that was fitted": [r.prior_cost for r in fitted],
        "a perfect model": [r.bits_entropy for r in fitted],
    }
    for i, (name, costs) in enumerate(lines.items()):
        axis.plot([r.epoch for r in fitted], costs, linestyle=DASHES[i], color=COLORS[i], label=name)
    axis.set(xlabel="epoch", ylabel="cost of the bits (nats)")


def training_panel(
    history: Sequence, images: torch.Tensor, title: str, told_of_images: str, n_bits: int | None = None
) -> Figure:
    """A training at one glance, from a sequence of Reports: the game, and drawn images (N, 1, 28, 28) in [0, 1].

    The images stand below the curves in rows of sixteen, under the line `told_of_images`. With n_bits, the cost of the
    bits is shown too, as soon as a prior was fitted to them. Places are fixed and not found by a layout, which takes
    longer than the drawing: this is drawn again and again.
    """
    with_prior = n_bits is not None and any(not math.isnan(report.prior_cost) for report in history)
    columns = 3 if with_prior else 2
    rows = math.ceil(len(images) / 16)
    height = 3.2 + 0.6 * rows
    figure = Figure(figsize=(9.6, height))
    figure.suptitle(title, fontsize=11, y=1 - 0.1 / height, va="top")
    bottom, top = (0.6 * rows + 0.75) / height, 1 - 0.4 / height
    place = {"left": 0.06, "right": 0.99, "bottom": bottom, "top": top, "wspace": 0.28}
    axes = figure.subplots(1, columns, gridspec_kw=place)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    _draw_game(axes[:2], history)
    if with_prior:
        _draw_prior(axes[2], history, n_bits)
        bottom, most = axes[2].get_ylim()
        axes[2].set_ylim(bottom, most + 0.3 * (most - bottom))  # room for the names above the lines
        names = ("uniform", "best product", "fitted prior", "perfect model")
        narrow = {"handlelength": 1.4, "columnspacing": 0.8, "handletextpad": 0.4, "borderaxespad": 0}
        axes[2].legend(axes[2].lines, names, frameon=False, fontsize="small", ncols=2, loc="upper center", **narrow)
    for axis in axes:
        axis.set_xlim(history[0].epoch - 0.5, history[-1].epoch + 0.5)
        axis.xaxis.get_major_locator().set_params(integer=True)
        for line in axis.lines:
            line.set_marker("." if len(line.get_xdata()) == 1 else "")
    sheet = figure.add_axes((0, 0, 1, 0.6 * rows / height))
    _draw_sheet(sheet, images, 16)
    sheet.set_title(told_of_images, fontsize=10)
    return figure


def save_gif(grids: Sequence[torch.Tensor], path: str | Path, columns: int = 8, milliseconds: int = 200) -> Path:
    """Write an animated GIF, one frame for each batch of images (N, 1, 28, 28); the last one stays two seconds."""
    from PIL import Image
    from torchvision.utils import make_grid

    frames = []
    for images in grids:
        sheet = make_grid(1 - images, nrow=columns, padding=2, pad_value=1)[0]
        frame = Image.fromarray(((sheet * 15).round() * 17).byte().numpy())  # 16 grays make a third of the file
        frames.append(frame.resize((2 * frame.width, 2 * frame.height), Image.Resampling.NEAREST))
    times = [milliseconds] * (len(frames) - 1) + [2000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0)
    return Path(path)
