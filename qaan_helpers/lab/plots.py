"""Figures with one message each: digits, distributions, fits and trainings.

Every function returns a matplotlib Figure; `show(figure, alt)` displays it in a notebook with its alternative text.
The colors are the colorblind-safe palette of Okabe and Ito. Lines also differ in dashes and bars in hatches, so that
figures are legible in grayscale.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ..bits import to_index
from ..gan.model import Report
from ..mnist import check_images

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.", (0, (3, 1, 1, 1, 1, 1)), (0, (5, 5)), (0, (10, 2)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "|||")
# Diverging: blue below 0, gray at 0, orange above. Lightness rises from end to end, so the sign survives in grayscale.
SIGNED_MAP = LinearSegmentedColormap.from_list("signed", ("#001f4d", "#1f62ab", "#7c7c7c", "#e8a33d", "#ffe3a0"))
CELL = (34, 42)  # pixels: width and height of a digit with the label below it
INCH = 1 / 40  # inches per pixel of such a cell


def show(figure: Figure, alt: str, provenance: object = "") -> None:
    """Display a figure in a notebook as a PNG with an alternative text.

    Args:
        figure: The figure.
        alt: A sentence that says what the figure shows, for screen readers.
        provenance: Where the circuits ran, an execution or a text; printed small below the figure's right end.
    """
    figure.text(1, 0, str(provenance), ha="right", va="top", size=8, color="0.35")
    display(picture(figure, alt))


def picture(figure: Figure, alt: str, tight: bool = True) -> Image:
    """Render a figure at 100 dots per inch as the IPython image that `show` displays.

    Args:
        figure: The figure.
        alt: The alternative text.
        tight: Whether to crop the margins. Without cropping, rendering takes half the time.

    Returns:
        A PNG with its alternative text and its width in pixels.
    """
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100, bbox_inches="tight" if tight else None)
    return Image(png.getvalue(), alt=alt, width=int.from_bytes(png.getvalue()[16:20], "big"))


def new_figure(title: str, width: float = 8, height: float = 3.2, columns: int = 1) -> tuple[Figure, Any]:
    """Create a figure with a title, and axes without top and right spines.

    Args:
        title: The figure's title.
        width: The width in inches.
        height: The height in inches.
        columns: How many axes to place side by side.

    Returns:
        The figure, and its Axes or, for more than one column, an array (columns,) of Axes.
    """
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", h_pad=0.07)  # inches, to separate the titles of figure and axes
    axes = figure.subplots(1, columns)
    for axis in np.atleast_1d(axes):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    return figure, axes


def digit_grid(
    images: torch.Tensor, title: str = "", columns: int = 16, grays: int = 256, numbered: bool = False
) -> Figure:
    """Show images in rows, black on white.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1], N ≥ 1.
        title: The figure's title.
        columns: Images per row.
        grays: How many shades of gray to use. With 16, the file takes a third of the space.
        numbered: Whether to write a number next to each row and above each column. The index of an image is the sum
            of both.

    Returns:
        The figure.

    Raises:
        ValueError: If images do not have that shape.
    """
    columns = min(columns, len(check_images(images, 1)))
    rows = math.ceil(len(images) / columns)
    head = 0.35 if title else 0
    figure = Figure(figsize=(0.55 * columns, 0.55 * rows + head), layout="constrained")
    axis = figure.subplots()
    _draw_sheet(axis, images, columns, grays)
    for column in range(columns if numbered else 0):
        axis.text(30 * column + 15, -4, f"+{column}", ha="center", va="bottom", size=8)
    for row in range(rows if numbered else 0):
        axis.text(-4, 30 * row + 15, str(columns * row), ha="right", va="center", size=8)
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_sheet(axis: Axes, images: torch.Tensor, columns: int, grays: int = 256) -> None:
    sheet = np.zeros((math.ceil(len(images) / columns) * 30, columns * 30))
    for i, image in enumerate(images.detach().cpu().numpy()):
        top, left = 30 * (i // columns) + 1, 30 * (i % columns) + 1
        sheet[top : top + 28, left : left + 28] = image[0]
    if grays < 256:
        sheet = np.round(sheet * (grays - 1)) / (grays - 1)
    _draw_ink(axis, sheet)


def _draw_ink(axis: Axes, pixels: np.ndarray) -> None:
    """Show pixels (height, width) in [0, 1], 1 in black, without a frame."""
    axis.imshow(pixels, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axis.set_axis_off()


def snapshots(
    rows: Mapping[Any, torch.Tensor], title: str, framed: Mapping[Any, Sequence[bool] | torch.Tensor] | None = None
) -> Figure:
    """Show rows of images with a name to the left of each.

    Args:
        rows: Maps a row's name, or the number of an epoch, to its images (N, 1, 28, 28) in [0, 1], the same N for all
            rows.
        title: The figure's title.
        framed: Maps a row's name to N truth values: which of its images to frame. Rows may be missing.

    Returns:
        The figure.
    """
    columns = len(next(iter(rows.values())))
    figure = digit_grid(torch.cat(list(rows.values())), title, columns)
    figure.set_figwidth(figure.get_figwidth() + 1.1)
    for i, name in enumerate(rows):
        text = f"epoch {name}" if isinstance(name, int) else name
        figure.axes[0].text(-4, 30 * i + 15, text, ha="right", va="center", size=9)
        for column, is_framed in enumerate((framed or {}).get(name, ())):
            if is_framed:
                frame = Rectangle((30 * column + 0.5, 30 * i + 0.5), 28, 28, fill=False, color=COLORS[1], linewidth=1.5)
                figure.axes[0].add_patch(frame)
    return figure


def pixel_values(image: torch.Tensor, rows: tuple[int, int], columns: tuple[int, int], title: str) -> Figure:
    """Show an image and, next to it, the values of some of its pixels.

    Args:
        image: The image (28, 28) in [0, 1].
        rows: The first row to show and the one after the last.
        columns: The first column to show and the one after the last.
        title: The figure's title.

    Returns:
        The figure.
    """
    figure, (left, right) = new_figure(title, width=9, height=3.4, columns=2)
    (top, bottom), (first, last) = rows, columns
    pixels = image.numpy()
    left.imshow(pixels, cmap="gray_r", vmin=0, vmax=1)
    frame = Rectangle((first - 0.5, top - 0.5), last - first, bottom - top, fill=False, color=COLORS[1], linewidth=2)
    left.add_patch(frame)
    extent = (first - 0.5, last - 0.5, bottom - 0.5, top - 0.5)
    right.imshow(pixels[top:bottom, first:last], cmap="gray_r", vmin=0, vmax=1, extent=extent)
    for row in range(top, bottom):
        for column in range(first, last):
            value = pixels[row, column]
            color = "white" if value > 0.5 else "black"
            right.text(column, row, f"{value:.1f}", ha="center", va="center", size=7, color=color)
    for axis in (left, right):
        axis.set(xlabel="column (pixels)", ylabel="row (pixels)")
    return figure


def windows(
    image: torch.Tensor, boxes: Sequence[tuple[int, int, int, int]], bits: Sequence[int] | np.ndarray, title: str
) -> Figure:
    """Show an image twice with rectangular windows, each with its bit. Overlapping neighbors are in different panels.

    Args:
        image: The image (28, 28) in [0, 1].
        boxes: The top row, left column, height and width of each window in pixels.
        bits: The bit of each window. The frame is solid for 1 and dashed for 0.
        title: The figure's title.

    Returns:
        The figure, with the windows of even numbers on the left and those of odd numbers on the right.
    """
    figure, axes = new_figure(title, width=6.6, height=3.4, columns=2)
    for axis in axes:
        _draw_ink(axis, image.numpy())
    for q, ((top, left, height, width), bit) in enumerate(zip(boxes, bits, strict=True)):
        frame = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=COLORS[bit], linewidth=1.5)
        frame.set_linestyle("-" if bit else "--")
        axes[q % 2].add_patch(frame)
        axes[q % 2].text(left - 1.5, top + height / 2 - 0.5, f"bit {q} = {bit}", ha="right", va="center", size=9)
    return figure


def pixel_maps(maps: Mapping[str, torch.Tensor], title: str, label: str, framed: tuple[int, int]) -> Figure:
    """Show signed maps of the pixels, such as correlations with one pixel, on a diverging scale from −1 to 1.

    Args:
        maps: Maps a name to values (28, 28) in [−1, 1].
        title: The figure's title.
        label: The quantity, for the color bar.
        framed: Row and column of the pixel to frame.

    Returns:
        The figure.
    """
    figure, axes = new_figure(title, width=3.1 * len(maps), height=3.2, columns=len(maps))
    for axis, (name, values) in zip(np.atleast_1d(axes), maps.items(), strict=True):
        heat_map = axis.imshow(np.asarray(values), cmap=SIGNED_MAP, vmin=-1, vmax=1)
        axis.plot(framed[1], framed[0], "s", markerfacecolor="none", markeredgecolor="black", markersize=7)
        axis.set(xlabel="column (pixels)", ylabel="row (pixels)")
        axis.set_title(name, fontsize=10)
    figure.colorbar(heat_map, ax=axes, label=label, shrink=0.85)
    return figure


def code_label(bits: Sequence[int] | np.ndarray) -> str:
    """Write a latent code as text: bit 0 on the left, in groups of four bits and two groups per line.

    Args:
        bits: The code (n,).

    Returns:
        The label, such as "1001 1010".
    """
    text = "".join(str(int(bit)) for bit in bits)
    groups = [text[start : start + 4] for start in range(0, len(text), 4)]
    return "\n".join(" ".join(groups[start : start + 2]) for start in range(0, len(groups), 2))


def labeled_digits(
    images: torch.Tensor, labels: Sequence[str], title: str = "", columns: int = 9, framed: Sequence[int] = ()
) -> Figure:
    """Show images in rows, each with its label below.

    Args:
        images: Images (N, 1, 28, 28) in [0, 1].
        labels: N labels.
        title: The figure's title.
        columns: Images per row.
        framed: Indices of the images to frame.

    Returns:
        The figure.

    Raises:
        ValueError: If there is not one label per image.
    """
    columns = min(columns, len(images))
    width, height = _cells(len(images), columns)
    head = 0.35 if title else 0
    figure = Figure(figsize=(width, height + head))
    _draw_labeled(_place(figure, 0, 0, width, height), images, labels, columns, framed)
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
    """Show one large image and, to its right, small images, each with its label below.

    Args:
        image: The large image (1, 28, 28) in [0, 1].
        label: Its label.
        others: The small images (N, 1, 28, 28) in [0, 1].
        labels: N labels.
        title: The figure's title.
        columns: Small images per row.
        framed: Indices of the small images to frame.

    Returns:
        The figure.

    Raises:
        ValueError: If there is not one label per small image.
    """
    columns = min(columns, len(others))
    width, height = _cells(len(others), columns)
    big = max(height, 1.6)
    figure = Figure(figsize=(big + 0.3 + width, big + 0.35))
    axis = _place(figure, 0, 0, big, big)
    _draw_ink(axis, image[0].detach().cpu().numpy())
    axis.set(xlim=(-3.5, 30.5), ylim=(33.5, -0.5))
    axis.text(13.5, 28.5, label, ha="center", va="top", size=10, family="monospace")
    _draw_labeled(_place(figure, big + 0.3, (big - height) / 2, width, height), others, labels, columns, framed)
    figure.suptitle(title, fontsize=11, y=1 - 0.1 / (big + 0.35), va="top")
    return figure


def distributions_and_digits(
    named: dict[str, tuple[np.ndarray, np.ndarray, torch.Tensor]], title: str, top: float = 0, columns: int = 8
) -> Figure:
    """Show distributions over latent codes side by side, each above the images of codes sampled from it.

    A ring marks the probability of each sampled code.

    Args:
        named: Maps a name to probabilities (2ⁿ,), codes (N, n) and their images (N, 1, 28, 28).
        title: The figure's title.
        top: A lower bound for the upper end of the probability axis, to make figures comparable.
        columns: Images per row.

    Returns:
        The figure.
    """
    first_codes = next(iter(named.values()))[1]
    columns = min(columns, len(first_codes))
    width, height = _cells(len(first_codes), columns)
    top = max(top, *(p.max() for p, _, _ in named.values()))
    left, gap, bars, under, head = 0.75, 0.3, 1.9, 0.55, 0.85
    size = (left + (width + gap) * len(named), height + under + bars + head)
    figure = Figure(figsize=size)
    for i, (name, (p, codes, images)) in enumerate(named.items()):
        x = left + i * (width + gap)
        axis = _place(figure, x, height + under, width, bars)
        _draw_distribution(axis, p, to_index(codes), 1.1 * top)
        figure.text((x + width / 2) / size[0], 1 - 0.72 / size[1], name, ha="center", size=10)  # faster than a title
        axis.set_ylabel("probability" if i == 0 else "")
        axis.tick_params(labelleft=i == 0)
        labels = [code_label(code) for code in codes]
        _draw_labeled(_place(figure, x, 0, width, height), images, labels, columns, framed=())
    look: dict[str, Any] = {"frameon": False, "fontsize": 9, "ncols": 3, "bbox_to_anchor": (0.5, 1 - 0.25 / size[1])}
    figure.legend(handles=figure.axes[0].get_legend_handles_labels()[0], loc="upper center", **look)
    figure.suptitle(title, fontsize=11, y=1 - 0.08 / size[1], va="top")
    return figure


def _cells(n: int, columns: int) -> tuple[float, float]:
    """Width and height in inches of `n` labeled digits in rows of `columns`."""
    return columns * CELL[0] * INCH, math.ceil(n / columns) * CELL[1] * INCH


def _place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a position in inches: without a layout to compute, a figure takes half the time."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _draw_labeled(axis: Axes, images: torch.Tensor, labels: Sequence[str], columns: int, framed: Sequence[int]) -> None:
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
    _draw_ink(axis, sheet)


def _draw_distribution(axis: Axes, p: np.ndarray, sampled: np.ndarray, top: float) -> None:
    edges, heights = np.arange(len(p) + 1) - 0.5, np.append(p, p[-1])  # not stairs(), which takes 2 s for 65,536 codes
    axis.fill_between(edges, heights, step="post", color=COLORS[0], linewidth=0, label="probability of each code")
    axis.axhline(1 / len(p), color="black", linewidth=0.8, linestyle=":", label="uniform distribution")
    ring: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": "black", "markersize": 5}
    axis.plot(sampled, p[sampled], "o", **ring, clip_on=False, label="sampled codes, shown below")
    axis.set(xlim=(-0.5, len(p) - 0.5), ylim=(0, top), xlabel="index of the latent code")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def distributions(named: dict[str, np.ndarray], title: str) -> Figure:
    """Compare distributions over the same states as bars side by side.

    Args:
        named: Maps a name to probabilities (2ⁿ,). States are labeled with qubit 0 on the left.
        title: The figure's title.

    Returns:
        The figure.
    """
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
    # Above the axes: at any place inside, the legend could cover bars.
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), borderaxespad=0, ncols=4)
    return figure


def frequencies(measured: Mapping[str, np.ndarray], exact: np.ndarray, title: str) -> Figure:
    """Compare measured frequencies with exact probabilities: one panel per measurement, one dot per state.

    Args:
        measured: Maps a name to frequencies (2ⁿ,). States that were never measured have no dot.
        exact: The exact probabilities, shape (2ⁿ,).
        title: The figure's title.

    Returns:
        The figure.
    """
    figure, axes = new_figure(title, width=9, height=3.4, columns=len(measured))
    low = min(p[p > 0].min() for p in (exact, *measured.values())) / 1.5
    high = max(p.max() for p in (exact, *measured.values())) * 1.5
    for axis, color, (name, p) in zip(np.atleast_1d(axes), COLORS, measured.items(), strict=False):
        axis.loglog((low, high), (low, high), color="0.6", linewidth=0.8, label="equal")
        axis.loglog(exact[p > 0], p[p > 0], ".", markersize=4, alpha=0.6, color=color, label="one state")
        axis.set(xlabel="exact probability", ylabel="measured frequency", xlim=(low, high), ylim=(low, high))
        axis.set_title(name, fontsize=10)
    np.atleast_1d(axes)[0].legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def bars(values: Mapping[str, float], title: str, label: str, references: Mapping[str, float]) -> Figure:
    """Show one horizontal bar per name, from the top.

    Args:
        values: Maps the name of a bar to its value.
        title: The figure's title.
        label: What the values are, with their unit.
        references: Maps a name to a value, shown as a vertical line.

    Returns:
        The figure.
    """
    figure, axis = new_figure(title, height=1.1 + 0.3 * len(values))
    axis.barh(list(values), list(values.values()), height=0.65, color=COLORS[0])
    for i, (name, value) in enumerate(references.items(), 1):
        axis.axvline(value, color="black", linestyle=DASHES[i], linewidth=1, label=name)
    axis.set(xlabel=label)
    axis.invert_yaxis()
    if references:
        axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), borderaxespad=0, ncols=2, fontsize=9)
    return figure


def cost_curves(
    named: dict[str, np.ndarray],
    title: str,
    entropy: float | None = None,
    shaded: int = 0,
    xlabel: str = "evaluation of the cost",
    references: Mapping[str, float] | None = None,
) -> Figure:
    """Show the cost by evaluation: a dot for each evaluation and a line for the lowest cost so far.

    Args:
        named: Maps a name to the costs (evaluations,) of a fit in nats.
        title: The figure's title.
        entropy: The entropy of the data in nats, the lowest possible cost; shown as a line.
        shaded: How many evaluations at the start to shade (COBYLA's first simplex).
        xlabel: The label of the horizontal axis.
        references: Maps a name to a cost in nats, shown as a thin dashed line.

    Returns:
        The figure.
    """
    figure, axis = new_figure(title)
    for i, (name, costs) in enumerate(named.items()):
        evaluations = np.arange(1, len(costs) + 1)
        axis.plot(evaluations, costs, ".", markersize=2, color=COLORS[i], alpha=0.35)
        axis.plot(evaluations, np.minimum.accumulate(costs), linestyle=DASHES[i], color=COLORS[i], label=name)
    if shaded:
        axis.axvspan(0, shaded, color="0.9", label=f"first simplex: {shaded} evaluations")
    if entropy is not None:
        axis.axhline(entropy, color="black", linewidth=0.8, linestyle=(0, (1, 4)), label="entropy of the data")
    for i, (name, value) in enumerate((references or {}).items()):
        axis.axhline(value, color="0.4", linewidth=1, linestyle=DASHES[-1 - i], label=name)
    axis.set(xlabel=xlabel, ylabel="cost (nats)")
    dot = Line2D([], [], linestyle="", marker=".", color="0.4", label="each evaluation")
    handles = axis.get_legend_handles_labels()[0]
    look: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False, "fontsize": 9}
    axis.legend(handles=[*handles, dot], title="line: lowest cost so far", title_fontsize=9, **look)
    return figure


def budget_curves(
    named: Mapping[str, Any],
    title: str,
    budgets: Mapping[str, str],
    references: Mapping[str, float],
    label: str = "KL divergence from held-out bits (nats)",
) -> Figure:
    """Show a score of several methods against what they spend: points with intervals, joined by lines.

    Args:
        named: Maps a method to its columns, such as a DataFrame: "score" and "half_width" of its interval, and
            the columns of `budgets`, each of shape (budgets,). Points with a budget of NaN are left out.
        title: The figure's title.
        budgets: Maps a column with a budget to the label of its axis. There is one panel for each.
        references: Maps a name to a value of the score, shown as a dotted line.
        label: What the score is, with its unit.

    Returns:
        The figure.
    """
    figure, axes = new_figure(title, width=10, height=3.8, columns=len(budgets))
    for axis, (column, xlabel) in zip(np.atleast_1d(axes), budgets.items(), strict=True):
        for i, (name, table) in enumerate(named.items()):
            spent, score, reach = (np.asarray(table[key]) for key in (column, "score", "half_width"))
            look = {"linestyle": DASHES[i], "marker": "os^Dv*X"[i], "markersize": 5, "color": COLORS[i]}
            known = ~np.isnan(spent)
            axis.plot(spent[known], score[known], label=name, **look)
            axis.vlines(spent, score - reach, score + reach, color=COLORS[i], linewidth=1.5)
        for name, value in references.items():
            axis.axhline(value, color="0.4", linewidth=1, linestyle=":")
            axis.annotate(name, (0.99, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=9)
        axis.set(xlabel=xlabel, xscale="log", ylim=(0, None))
        ticks = np.unique(np.concatenate([np.asarray(table[column], dtype=float) for table in named.values()]))
        ticks = ticks[~np.isnan(ticks)]
        if len(ticks) <= 3:  # within a decade or two, powers of ten say too little
            axis.set_xticks(ticks, [f"{tick:,g}" for tick in ticks])
            axis.minorticks_off()
    first, last = np.atleast_1d(axes)[[0, -1]]
    first.set_ylabel(label)
    last.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return figure


def by_size(
    panels: Mapping[str, Mapping[str, Sequence[float]]], sizes: Sequence[int], title: str, label: str
) -> Figure:
    """Show how quantities change with the number of qubits, on a logarithmic axis.

    Args:
        panels: Maps the name of a panel to its series: each maps a name to one positive value per size.
        sizes: The numbers of qubits.
        title: The figure's title.
        label: What the values are, with their unit.

    Returns:
        The figure, with one panel next to the other on a common vertical axis.
    """
    figure, axes = new_figure(title, width=max(6.5, 5 * len(panels)), height=3.6, columns=len(panels))
    for axis, (name, series) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for i, (what, values) in enumerate(series.items()):
            axis.semilogy(sizes, values, color=COLORS[i], linestyle=DASHES[i], marker="os^Dv*X"[i], label=what)
        axis.set(xlabel="qubits", ylabel=label, xticks=sizes)
        axis.set_title(name, fontsize=10)
    limits = [axis.get_ylim() for axis in np.atleast_1d(axes)]
    for axis in np.atleast_1d(axes):
        axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    np.atleast_1d(axes)[0].legend(frameon=False, fontsize=9)
    return figure


def scatter(table: Any, title: str, references: Mapping[str, float]) -> Figure:
    """Show one point per row of a table, each with a marker of its own.

    Args:
        table: A DataFrame whose index holds the names of the points, at most ten. Its first column is the x value, the
            second the y value.
        title: The figure's title.
        references: Maps a name to a y value, shown as a dotted line.

    Returns:
        The figure.
    """
    figure, axis = new_figure(title, height=3.8)
    x, y = (np.asarray(table[column], dtype=float) for column in table.columns[:2])
    for i, name in enumerate(table.index):
        look = {"marker": "os^Dv*XPph"[i], "color": COLORS[i % len(COLORS)], "markersize": 8, "linestyle": ""}
        axis.plot(x[i], y[i], label=name, **look)
    for name, value in references.items():
        axis.axhline(value, color="0.4", linewidth=1, linestyle=":", zorder=0)
        axis.annotate(name, (0.99, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=9)
    axis.set(xlabel=table.columns[0], ylabel=table.columns[1])
    axis.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def strips(
    values: Mapping[str, Any], title: str, label: str, ends: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """Show one row of points per name: a ring for each value, and a filled dot for their mean.

    Args:
        values: Maps the name of a row, from the top, to its values, such as one score per seed.
        title: The figure's title.
        label: What the values are, with their unit.
        ends: Maps names to the lower and upper end of an interval, shown as a line through the row.

    Returns:
        The figure.
    """
    figure, axis = new_figure(title, height=0.9 + 0.32 * len(values))
    for row, (name, numbers) in enumerate(values.items()):
        numbers = np.asarray(numbers, dtype=float)
        axis.plot(numbers, np.full(len(numbers), row), "o", color="0.55", markerfacecolor="none", markersize=5)
        if ends and name in ends:
            axis.plot(ends[name], [row, row], "-", color=COLORS[0], linewidth=2)
        axis.plot(numbers.mean(), row, "D", color=COLORS[0], markersize=6)
    axis.set(xlabel=label, yticks=range(len(values)), yticklabels=list(values), ylim=(len(values) - 0.5, -0.5))
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    return figure


def pair_tables(named: dict[str, np.ndarray], title: str, label: str, cut: int | None = None) -> Figure:
    """Show tables of pairs of bits as heat maps on a common scale, without their diagonals.

    Tables with negative entries, such as correlations, get a diverging color map centered on 0. Others get a sequential
    one.

    Args:
        named: Maps a name to a table (n, n).
        title: The figure's title.
        label: The quantity and its unit, for the color bar.
        cut: Index of the bit before which to draw white lines, to mark two halves of a code.

    Returns:
        The figure.
    """
    figure, axes = new_figure(title, width=3.2 * len(named) + 0.6, columns=len(named))
    off_diagonal = {name: np.where(np.eye(len(table)), np.nan, table) for name, table in named.items()}
    top = max(np.nanmax(np.abs(table)) for table in off_diagonal.values())
    signed = min(np.nanmin(table) for table in off_diagonal.values()) < -1e-9
    colors = {"cmap": SIGNED_MAP, "vmin": -top} if signed else {"cmap": "cividis", "vmin": 0}
    for axis, (name, table) in zip(np.atleast_1d(axes), off_diagonal.items(), strict=True):
        heat_map = axis.imshow(table, vmax=top, **colors)
        ticks = range(0, len(table), 1 if len(table) < 12 else 2)
        axis.set(xlabel="bit", ylabel="bit", xticks=ticks, yticks=ticks)
        axis.set_title(name, fontsize=10)
        if cut is not None:
            axis.axhline(cut - 0.5, color="white", linewidth=1)
            axis.axvline(cut - 0.5, color="white", linewidth=1)
    figure.colorbar(heat_map, ax=axes, label=label, shrink=0.85)
    return figure


def loss_curves(
    history: Sequence[Report],
    title: str = "Losses and discriminator outputs by epoch",
    references: Mapping[str, float] | None = None,
) -> Figure:
    """Show both losses, and the discriminator's mean outputs for real and for generated images.

    Args:
        history: The reports of a training, one per epoch.
        title: The figure's title.
        references: Maps a name to a loss of the discriminator in nats, shown as a dotted line.

    Returns:
        The figure, with two panels.
    """
    figure, axes = new_figure(title, width=9, columns=2)
    _draw_game(axes, history)
    for name, loss in (references or {}).items():
        axes[0].axhline(loss, color="0.4", linewidth=1, linestyle=":")
        axes[0].annotate(name, (0.99, loss), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=9)
    if references:
        axes[0].set_ylim(0, 1.15 * max(axes[0].get_ylim()[1], *references.values()))
    return figure


def training_comparison(
    histories: Mapping[str, Sequence[Report]], images: Sequence[torch.Tensor], title: str, columns: int = 8
) -> Figure:
    """Compare trainings: the discriminator's mean outputs by epoch, and below them generated images.

    Args:
        histories: Maps a training's name to its reports, one per epoch.
        images: For each training, images (N, 1, 28, 28) in [0, 1].
        title: The figure's title.
        columns: Images per row.

    Returns:
        The figure, with one column per training.
    """
    figure = Figure(figsize=(3.3 * len(histories), 3.9), layout="constrained")
    above, below = figure.subplots(2, len(histories), height_ratios=(2, 1), squeeze=False)
    for i, (name, history) in enumerate(histories.items()):
        _draw_outputs(above[i], history)
        above[i].spines[["top", "right"]].set_visible(False)
        above[i].set_title(name, fontsize=10)
        _draw_sheet(below[i], images[i], columns)
    above[0].legend(frameon=False, fontsize="small")
    figure.suptitle(title, fontsize=11)
    return figure


def _draw_game(axes: Sequence[Axes], history: Sequence[Report]) -> None:
    left, right = axes
    _draw_lines(left, history, {"discriminator": [r.d_loss for r in history], "generator": [r.g_loss for r in history]})
    _draw_outputs(right, history)
    for axis in axes:
        axis.legend(frameon=False)
    left.set_ylabel("loss (nats)")


def _draw_outputs(axis: Axes, history: Sequence[Report]) -> None:
    outputs = {"real, D(x)": [r.d_real for r in history], "generated, D(G(z))": [r.d_fake for r in history]}
    _draw_lines(axis, history, outputs)
    axis.set(ylabel="discriminator output", ylim=(0, 1))


def _draw_lines(axis: Axes, history: Sequence[Report], named: dict[str, list[float]]) -> None:
    for i, (name, values) in enumerate(named.items()):
        axis.plot([report.epoch for report in history], values, linestyle=DASHES[i], color=COLORS[i], label=name)
    axis.set_xlabel("epoch")


def prior_curves(
    history: Sequence[Report], n_bits: int, title: str = "Negative log-likelihood of the bits by epoch"
) -> Figure:
    """Compare the fitted prior with the uniform prior, the best product prior and the entropy of the data.

    Args:
        history: The reports of a training, one per epoch; epochs without a fit are left out.
        n_bits: How many bits the prior has.
        title: The figure's title.

    Returns:
        The figure.
    """
    figure, axis = new_figure(title)
    _draw_prior(axis, history, n_bits)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _draw_prior(axis: Axes, history: Sequence[Report], n_bits: int) -> None:
    fitted = [report for report in history if not math.isnan(report.prior_cost)]
    named = {
        "uniform prior": [n_bits * math.log(2)] * len(fitted),
        "best product prior": [r.bits_entropy + r.bits_correlation for r in fitted],
        "fitted prior": [r.prior_cost for r in fitted],
        "entropy of the data": [r.bits_entropy for r in fitted],
    }
    _draw_lines(axis, fitted, named)
    axis.set_ylabel("negative log-likelihood (nats)")


def training_panel(
    history: Sequence[Report], images: torch.Tensor, title: str, caption: str, n_bits: int | None = None
) -> Figure:
    """Show a training so far: the curves of `loss_curves` and generated images below them.

    The positions are fixed, because computing a layout takes longer than rendering, and a live view renders this figure
    again and again.

    Args:
        history: The reports of a training, one per epoch.
        images: Generated images (N, 1, 28, 28) in [0, 1], shown in rows of sixteen.
        title: The figure's title.
        caption: A line of text above the images.
        n_bits: How many bits the prior has, to show the curves of `prior_curves` too once the prior has been fitted.

    Returns:
        The figure.
    """
    with_prior = n_bits is not None and any(not math.isnan(report.prior_cost) for report in history)
    rows = math.ceil(len(images) / 16)
    height = 3.2 + 0.6 * rows
    figure = Figure(figsize=(9.6, height))
    figure.suptitle(title, fontsize=11, y=1 - 0.1 / height, va="top")
    bottom, top = (0.6 * rows + 0.75) / height, 1 - 0.4 / height
    place = {"left": 0.06, "right": 0.99, "bottom": bottom, "top": top, "wspace": 0.28}
    axes = figure.subplots(1, 3 if with_prior else 2, gridspec_kw=place)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    _draw_game(axes[:2], history)
    if n_bits is not None and with_prior:
        _draw_prior(axes[2], history, n_bits)
        low, high = axes[2].get_ylim()
        axes[2].set_ylim(low, high + 0.3 * (high - low))  # room for the legend above the lines
        narrow = {"handlelength": 1.4, "columnspacing": 0.8, "handletextpad": 0.4, "borderaxespad": 0}
        names = ("uniform", "best product", "fitted", "entropy of data")
        axes[2].legend(axes[2].lines, names, frameon=False, fontsize="small", ncols=2, loc="upper center", **narrow)
    for axis in axes:
        axis.set_xlim(history[0].epoch - 0.5, history[-1].epoch + 0.5)
        axis.xaxis.get_major_locator().set_params(integer=True)
        for line in axis.lines:
            line.set_marker("." if len(line.get_xdata()) == 1 else "")
    sheet = figure.add_axes((0, 0, 1, 0.6 * rows / height))
    _draw_sheet(sheet, images, 16)
    sheet.set_title(caption, fontsize=10)
    return figure


def save_gif(grids: Sequence[torch.Tensor], path: str | Path, columns: int = 8, milliseconds: int = 200) -> Path:
    """Write an animated GIF with one frame per batch of images; the last frame stays for two seconds.

    Args:
        grids: Batches of images (N, 1, 28, 28) in [0, 1].
        path: The file to write.
        columns: Images per row.
        milliseconds: How long each other frame stays.

    Returns:
        The path of the file.
    """
    from torchvision.utils import make_grid

    frames = []
    for images in grids:
        sheet = make_grid(1 - images, nrow=columns, padding=2, pad_value=1)[0]
        frame = PIL.Image.fromarray(((sheet * 15).round() * 17).byte().numpy())  # 16 grays: a third of the file
        frames.append(frame.resize((2 * frame.width, 2 * frame.height), PIL.Image.Resampling.NEAREST))
    times = [milliseconds] * (len(frames) - 1) + [2000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0)
    return Path(path)
