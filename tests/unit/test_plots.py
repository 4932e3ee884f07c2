"""Figures: the numbers in each, and that it renders, has an alternative text, and stays small."""

import base64
import functools
import io
import math
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

import qaan_helpers as qh
from qaan_helpers.lab import plots

pytestmark = pytest.mark.integration

MAX_BYTES = 120_000  # of a picture in a notebook


@functools.cache
def real_digits():
    return qh.load_mnist((3, 7, 9), "test", "sample").images


@pytest.fixture
def images():
    return real_digits()


def sampled(n=8, states=16, seed=0):
    """A distribution over latent codes, some samples, and an image for each."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(states))
    return p, qh.from_index(rng.integers(states, size=n), states.bit_length() - 1), real_digits()[:n]


def report(epoch, cost=math.nan, bits_entropy=math.nan, correlation=math.nan):
    return qh.Report(epoch, 1.0 + epoch, 2.0 + epoch, 0.6, 0.3, cost, bits_entropy, correlation, 1.0, 0.5)


HISTORY = [report(1), report(2, 4.5, 3.5, 1.25), report(3), report(4, 4.0, 3.25, 1.5)]

MAPS = {name: scale * (real_digits()[0, 0] - 0.5) for name, scale in (("weak", 0.2), ("strong", 2.0))}

SPENT = {
    name: {"circuits": [10, 100], "seconds": [0.1, 2.0], "score": [0.9 - i / 8, 0.5 - i / 9], "half_width": [0.1, 0.05]}
    for i, name in enumerate(("cobyla", "spsa", "adam", "both", "none"))
}

DECAYS = {"left": {"a": [0.1, 0.01], "b": [0.5, 0.4]}, "right": {"a": [1.0, 0.1], "b": [0.2, 0.3]}}

FIGURES = {
    "frequencies": lambda: plots.frequencies({"shots": np.eye(8)[2] / 2 + 1 / 16}, np.full(8, 1 / 8), "Shots"),
    "bars": lambda: plots.bars({"gates": 0.2, "readout": 0.1}, "Two sources", "nats", {"shots": 0.05}),
    "strips": lambda: plots.strips({"one": [1, 2], "two": [3, 4]}, "Two rows", "score", {"two": (2.5, 4.5)}),
    "digit_grid": lambda: plots.digit_grid(real_digits()[:64], "64 real digits"),
    "distributions": lambda: plots.distributions({"data": np.full(8, 1 / 8), "circuit": np.eye(8)[2]}, "Two of them"),
    "cost_curves": lambda: plots.cost_curves({"cobyla": np.linspace(3, 1, 50)}, "Costs", entropy=0.9, shaded=12),
    "by_size": lambda: plots.by_size(DECAYS, (2, 4), "Two panels", "variance"),
    "windows": lambda: plots.windows(real_digits()[0, 0], [(6, 8, 4, 5), (8, 8, 4, 5)], [0, 1], "Two windows"),
    "budget_curves": lambda: plots.budget_curves(SPENT, "Budgets", {"circuits": "circuits run"}, {"uniform": 1.1}),
    "pair_tables": lambda: plots.pair_tables({"real": np.eye(4), "generated": np.ones((4, 4))}, "Pairs", "nats"),
    "pair_tables with a sign": lambda: plots.pair_tables({"bits": 0.5 - np.eye(4)[::-1]}, "Pairs", "correlation"),
    "loss_curves": lambda: plots.loss_curves(HISTORY),
    "loss_curves with references": lambda: plots.loss_curves(
        HISTORY, "Losses", {"perfect D": 0.33, "undecided D": 9.0}
    ),
    "training_comparison": lambda: plots.training_comparison(
        {"healthy": HISTORY, "failed": HISTORY[:2]}, [real_digits()[:16], real_digits()[16:32]], "Two trainings"
    ),
    "snapshots": lambda: plots.snapshots({0: real_digits()[:5], "bit 0 flipped": real_digits()[5:10]}, "Two rows"),
    "pixel_values": lambda: plots.pixel_values(real_digits()[0, 0], (4, 13), (8, 20), "Pixels"),
    "pixel_maps": lambda: plots.pixel_maps(MAPS, "Maps", "correlation", framed=(11, 9)),
    "prior_curves": lambda: plots.prior_curves(HISTORY, n_bits=6),
    "training_panel": lambda: plots.training_panel(HISTORY, real_digits()[:32], "Epoch 4", "32 digits", 6),
    "labeled_digits": lambda: plots.labeled_digits(real_digits()[:18], ["0101"] * 18, "Labeled", 9, framed=[3]),
    "digit_and_others": lambda: plots.digit_and_others(real_digits()[0], "01", real_digits()[1:9], ["x"] * 8, "One"),
    "distributions_and_digits": lambda: plots.distributions_and_digits({"circuit": sampled()}, "A model"),
}
DIGITS_ONLY = ("digit_grid", "labeled_digits", "digit_and_others", "snapshots")


def png(figure):
    """The figure as a PNG; a warning (a missing glyph, a failing layout) is an error."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    return buffer.getvalue()


def lines(axis):
    """The lines of an axes by their labels, as (x, y)."""
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines}


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_renders_to_a_small_file_and_has_a_title(name):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    assert figure.get_suptitle()
    rendered = png(figure)
    assert len(rendered) <= MAX_BYTES
    assert len(set(Image.open(io.BytesIO(rendered)).convert("L").tobytes())) > 2  # not a blank sheet


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in DIGITS_ONLY])
def test_every_axis_says_what_it_measures(name):
    for axis in [axis for axis in FIGURES[name]().axes if axis.axison]:
        assert axis.get_ylabel() or name in ("strips", "bars")  # whose rows have names
        assert axis.get_xlabel() or axis.get_label() == "<colorbar>"


def test_no_figure_uses_pyplot():
    before = plt.get_fignums()
    for figure in FIGURES.values():
        figure()
    assert plt.get_fignums() == before


# In grayscale

MAX_SERIES = len(plots.COLORS)  # that a figure can distinguish
FULL = {
    "distributions": lambda: plots.distributions(
        {f"model {i}": np.roll(sampled()[0], i) for i in range(MAX_SERIES)}, "Many"
    ),
    "cost_curves": lambda: plots.cost_curves(
        {f"run {i}": np.linspace(3, i / 9, 50) for i in range(MAX_SERIES)}, "Many", 0.1
    ),
}


def looks(axis):
    """The look of each labeled series of an axes apart from its color."""
    for line in axis.lines:
        if not line.get_label().startswith("_"):
            yield (
                line.get_label(),
                (line._unscaled_dash_pattern if line.get_linestyle() != "None" else "", line.get_marker()),
            )
    for bars in axis.containers:
        yield bars.get_label(), ("bars", bars[0].get_hatch())
    for patch in axis.patches:
        if not patch.get_label().startswith("_"):
            yield patch.get_label(), ("patch", patch.get_hatch())


@pytest.mark.parametrize("figure", [*FIGURES.values(), *FULL.values()], ids=[*FIGURES, *(f"full {n}" for n in FULL)])
def test_series_differ_in_grayscale(figure):
    for axis in figure().axes:
        series = list(looks(axis))
        assert len({str(look) for _, look in series}) == len(series), [name for name, _ in series]
        for image in axis.images:
            grays = image.get_cmap()(np.linspace(0, 1, 50)) @ (0.299, 0.587, 0.114, 0)
            steps = np.diff(grays)
            assert (steps > 0).all() or (steps < 0).all()  # the lightness rises or falls monotonically


@pytest.mark.parametrize("figure", [FIGURES["distributions"], FULL["distributions"]], ids=["two", "full"])
def test_the_legend_of_distributions_covers_no_bar(figure):
    figure = figure()
    figure.draw_without_rendering()
    (axis,) = figure.axes
    names = axis.get_legend().get_window_extent()
    assert names.y0 >= axis.get_window_extent().y1  # above the axes,
    assert names.y1 <= figure._suptitle.get_window_extent().y0  # below the title,
    assert names.x0 >= 0 and names.x1 <= figure.bbox.x1  # and not cut off


# Each one


@pytest.mark.parametrize(
    ("n", "columns", "shape"), [(20, 8, (3, 8)), (5, 16, (1, 5)), (16, 4, (4, 4)), (1, 16, (1, 1))]
)
def test_digit_grid_holds_every_image_in_its_place(images, n, columns, shape):
    (axis,) = plots.digit_grid(images[:n], "digits", columns).axes
    (sheet,) = [image.get_array() for image in axis.images]
    rows, across = shape
    assert sheet.shape == (30 * rows, 30 * across)
    for i in range(n):
        top, left = 30 * (i // across) + 1, 30 * (i % across) + 1
        assert np.allclose(sheet[top : top + 28, left : left + 28], images[i, 0])
    assert sheet.sum() == pytest.approx(images[:n].sum().item(), rel=1e-4)  # and nothing else
    assert axis.images[0].get_clim() == (0, 1)
    assert axis.images[0].get_cmap()(0.0)[:3] == (1, 1, 1)  # 0 is white


def test_the_numbers_of_row_and_column_sum_to_the_index(images):
    (axis,) = plots.digit_grid(images[:7], "digits", columns=3, numbered=True).axes
    numbers = {text.get_text(): text.get_position() for text in axis.texts}
    assert list(numbers) == ["+0", "+1", "+2", "0", "3", "6"]
    assert numbers["+2"][0] == 30 * 2 + 15 and numbers["6"][1] == 30 * 2 + 15


def test_digit_grid_takes_images_that_carry_gradients(images):
    assert png(plots.digit_grid(images[:4].clone().requires_grad_()))


def test_distributions_have_a_bar_per_state_and_model():
    data, model = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])
    (axis,) = plots.distributions({"data": data, "circuit": model}, "title").axes
    bars = {container.get_label(): container for container in axis.containers}
    assert legend(axis) == ["data", "circuit"]
    for name, p in (("data", data), ("circuit", model)):
        assert [bar.get_height() for bar in bars[name]] == pytest.approx(list(p))
        assert [round(bar.get_x() + bar.get_width() / 2) for bar in bars[name]] == [0, 1, 2, 3]
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for name in bars for bar in bars[name])
    assert all(right <= left + 1e-9 for (_, right), (left, _) in zip(edges, edges[1:], strict=False))
    assert bars["data"][0].get_facecolor() != bars["circuit"][0].get_facecolor()


def test_states_are_labeled_with_qubit_0_on_the_left():
    (axis,) = plots.distributions({"data": np.full(8, 1 / 8)}, "title").axes
    labels = [text.get_text() for text in axis.get_xticklabels()]
    assert labels == ["000", "100", "010", "110", "001", "101", "011", "111"]
    assert labels == ["".join(map(str, row)) for row in qh.from_index(np.arange(8), 3)]


def test_many_states_have_no_label_each():
    (axis,) = plots.distributions({"data": np.full(64, 1 / 64)}, "title").axes
    assert len(axis.get_xticklabels()) < 20


def test_budget_curves_have_a_panel_per_budget_and_a_line_per_method():
    budgets = {"circuits": "circuits run", "seconds": "seconds"}
    figure = plots.budget_curves(SPENT, "title", budgets, {"uniform prior": 1.1})
    assert [axis.get_xlabel() for axis in figure.axes] == ["circuits run", "seconds"]
    for axis, column in zip(figure.axes, budgets, strict=True):
        lines = {line.get_label(): line for line in axis.lines}
        for (name, table), intervals in zip(SPENT.items(), axis.collections, strict=True):
            np.testing.assert_array_equal(lines[name].get_xydata(), np.column_stack([table[column], table["score"]]))
            ends = [segment[:, 1].tolist() for segment in intervals.get_segments()]
            assert ends == [
                [score - reach, score + reach] for score, reach in zip(table["score"], table["half_width"], strict=True)
            ]
        assert axis.get_xscale() == "log" and [text.get_text() for text in axis.texts] == ["uniform prior"]
    assert legend(figure.axes[-1]) == list(SPENT)


def test_budget_curves_leave_out_points_without_a_budget_and_have_a_label_of_their_own():
    table = {"a": [10, math.nan, 30], "score": [1.0, 2.0, 3.0], "half_width": [0.1] * 3}
    (axis,) = plots.budget_curves({"one": table}, "title", {"a": "shots"}, {}, "ratio").axes
    np.testing.assert_array_equal(axis.lines[0].get_xydata(), [[10, 1], [30, 3]])
    assert axis.get_ylabel() == "ratio"


def test_frequencies_have_a_panel_per_measurement_and_a_dot_per_measured_state():
    exact, shots = np.array([0.5, 0.3, 0.1, 0.1]), np.array([0.6, 0.4, 0, 0])
    figure = plots.frequencies({"shots": shots, "noise": exact}, exact, "title")
    assert [axis.get_title() for axis in figure.axes] == ["shots", "noise"]
    dots = [lines(axis)["one state"] for axis in figure.axes]
    assert dots == [([0.5, 0.3], [0.6, 0.4]), (exact.tolist(), exact.tolist())]
    for axis in figure.axes:
        assert axis.get_xlim() == axis.get_ylim() and axis.get_xscale() == axis.get_yscale() == "log"


def test_bars_show_each_value_from_the_top_and_the_references():
    (axis,) = plots.bars({"gates": 0.2, "readout": 0.1}, "title", "KL (nats)", {"2,000 shots": 0.05}).axes
    assert [bar.get_width() for bar in axis.patches] == [0.2, 0.1] and axis.yaxis_inverted()
    assert [text.get_text() for text in axis.get_yticklabels()] == ["gates", "readout"]
    assert axis.lines[0].get_xdata()[0] == 0.05 and legend(axis) == ["2,000 shots"]


def test_strips_show_each_value_the_mean_and_the_interval():
    figure = plots.strips({"a": [1, 2, 6], "b": [4, 4]}, "title", "score", {"a": (0.5, 5)})
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"]
    shown = [(line.get_xdata().tolist(), set(line.get_ydata())) for line in axis.lines]
    assert shown == [([1, 2, 6], {0}), ([0.5, 5], {0}), ([3], {0}), ([4, 4], {1}), ([4], {1})]
    assert axis.yaxis_inverted() and axis.get_xlabel() == "score"


def test_scatter_shows_every_row_with_its_name_and_the_references():
    table = pd.DataFrame({"nats": [1.0, 0.5, 1.01], "FID": [9.0, 4.0, 9.1]}, index=["uniform", "circuit", "product"])
    (axis,) = plots.scatter(table, "title", {"limit": 3.0}).axes
    points = {line.get_label(): line for line in axis.lines if not line.get_label().startswith("_")}
    assert {name: line.get_xydata().tolist() for name, line in points.items()} == {
        name: [row] for name, row in zip(table.index, table.values.tolist(), strict=True)
    }
    assert len({line.get_marker() for line in points.values()}) == 3 and legend(axis) == list(table.index)
    assert [text.get_text() for text in axis.texts] == ["limit"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("nats", "FID")


def test_cost_curves_show_every_evaluation_and_the_best_so_far():
    costs = np.array([3.0, 4.0, 2.0, 2.5, 1.0])
    (axis,) = plots.cost_curves({"cobyla": costs, "spsa": costs + 1}, "title", entropy=0.5, shaded=3).axes
    assert lines(axis)["cobyla"] == ([1, 2, 3, 4, 5], [3, 3, 2, 2, 1])
    assert lines(axis)["spsa"] == ([1, 2, 3, 4, 5], [4, 4, 3, 3, 2])
    dots = [line for line in axis.lines if line.get_marker() == "."]
    assert [list(line.get_ydata()) for line in dots] == [list(costs), list(costs + 1)]
    assert set(lines(axis)["entropy of the data"][1]) == {0.5}
    assert [patch.get_label() for patch in axis.patches] == ["first simplex: 3 evaluations"]
    assert axis.patches[0].get_extents().width > 0
    assert axis.get_ylabel() == "cost (nats)"
    assert legend(axis)[-1] == "each evaluation" and "lowest" in axis.get_legend().get_title().get_text()
    by_name = {line.get_label(): line for line in axis.lines}
    assert by_name["cobyla"].get_color() != by_name["spsa"].get_color()
    assert by_name["cobyla"].get_linestyle() != by_name["spsa"].get_linestyle()  # legible in grayscale


def test_cost_curves_without_entropy_or_shade():
    (axis,) = plots.cost_curves({"adam": np.array([2.0, 1.0])}, "title", xlabel="step").axes
    assert legend(axis) == ["adam", "each evaluation"]
    assert axis.get_xlabel() == "step"
    assert len(axis.patches) == 0


def test_cost_curves_name_their_references():
    (axis,) = plots.cost_curves({"adam": np.array([2.0, 1.0])}, "title", references={"uniform": 1.5}).axes
    assert set(lines(axis)["uniform"][1]) == {1.5} and "uniform" in legend(axis)


def test_by_size_shows_each_series_in_its_panel_on_one_vertical_axis():
    axes = plots.by_size(DECAYS, (2, 4), "title", "variance").axes
    assert [axis.get_title() for axis in axes] == list(DECAYS) and axes[0].get_ylabel() == "variance"
    for axis, series in zip(axes, DECAYS.values(), strict=True):
        assert {name: list(y) for name, (_, y) in lines(axis).items()} == series and axis.get_yscale() == "log"
    assert axes[0].get_ylim() == axes[1].get_ylim() and legend(axes[0]) == ["a", "b"]


def test_windows_are_framed_by_their_bit():
    left, right = plots.windows(real_digits()[0, 0], [(6, 8, 4, 5), (8, 8, 4, 5)], [0, 1], "title").axes
    assert [text.get_text() for axis in (left, right) for text in axis.texts] == ["bit 0 = 0", "bit 1 = 1"]
    assert left.patches[0].get_bbox().bounds == (7.5, 5.5, 5, 4)
    assert (left.patches[0].get_linestyle(), right.patches[0].get_linestyle()) == ("--", "-")


def test_pair_tables_share_one_scale_and_leave_the_diagonal_out():
    first = np.array([[9, 0.1, 0.2], [0.1, 9, 0.3], [0.2, 0.3, 9]])
    figure = plots.pair_tables({"real": first, "generated": 2 * first}, "title", "mutual information (nats)")
    left, right, bar = figure.axes
    assert [left.get_title(), right.get_title()] == ["real", "generated"]
    assert bar.get_ylabel() == "mutual information (nats)"
    for axis, table in ((left, first), (right, 2 * first)):
        shown = np.ma.filled(axis.images[0].get_array(), np.nan)
        assert np.isnan(np.diag(shown)).all()
        off = ~np.eye(3, dtype=bool)
        assert np.allclose(shown[off], table[off])
        assert axis.images[0].get_clim() == pytest.approx((0, 0.6))
        assert axis.images[0].get_cmap().name == "cividis"


def test_pair_tables_with_a_sign_share_a_diverging_scale_centered_on_0():
    named = {"bits": np.array([[1, -0.4], [-0.4, 1]]), "shuffled": np.array([[1, 0.1], [0.1, 1]])}
    for axis in plots.pair_tables(named, "title", "correlation").axes[:2]:
        assert axis.images[0].get_clim() == pytest.approx((-0.4, 0.4))
        red, _, blue = (axis.images[0].get_cmap()(np.linspace(0, 1, 101))[:, i] for i in range(3))
        assert (red[:48] < blue[:48] - 0.05).all() and (red[53:] > blue[53:] + 0.05).all()  # blue, orange
        assert abs(red[50] - blue[50]) < 0.02  # and gray at 0


def test_white_lines_show_where_a_code_is_cut():
    table = np.eye(16) + 0.5
    cut, whole = (plots.pair_tables({"real": table}, "title", "nats", cut).axes[0] for cut in (8, None))
    assert not whole.lines and [line.get_color() for line in cut.lines] == ["white", "white"]
    across, down = cut.lines
    assert set(across.get_ydata()) == set(down.get_xdata()) == {7.5}
    assert list(cut.get_xticks()) == list(cut.get_yticks()) == list(range(0, 16, 2))


def test_pair_tables_of_one_table():
    assert len(plots.pair_tables({"real": np.eye(3) + 0.5}, "title", "nats").axes) == 2  # the table and its scale


def test_loss_curves_show_both_losses_and_both_discriminator_outputs():
    left, right = plots.loss_curves(HISTORY).axes
    assert lines(left) == {
        "discriminator": ([1, 2, 3, 4], [2, 3, 4, 5]),
        "generator": ([1, 2, 3, 4], [3, 4, 5, 6]),
    }
    outputs = lines(right)
    assert outputs["real, D(x)"] == ([1, 2, 3, 4], [0.6] * 4)
    assert outputs["generated, D(G(z))"] == ([1, 2, 3, 4], [0.3] * 4)
    assert right.get_ylim() == (0, 1)


def test_reference_losses_are_dotted_lines_with_their_names_inside_the_axis():
    references = {"perfect D": 0.33, "undecided D": 9.0}
    left = plots.loss_curves(HISTORY, "Losses", references).axes[0]
    dotted = [line.get_ydata()[0] for line in left.lines if line.get_linestyle() == ":"]
    assert dotted == list(references.values())
    assert [text.get_text() for text in left.texts] == list(references)
    assert left.get_ylim()[0] == 0 and left.get_ylim()[1] > 9


def test_a_comparison_of_trainings_shows_outputs_and_images_of_each():
    figure = FIGURES["training_comparison"]()
    above, below = figure.axes[:2], figure.axes[2:]
    assert [axis.get_title() for axis in above] == ["healthy", "failed"]
    assert [len(axis.lines[0].get_xdata()) for axis in above] == [4, 2]
    sheets = [axis.images[0].get_array() for axis in below]
    assert [sheet.shape for sheet in sheets] == [(60, 240)] * 2 and not np.array_equal(*sheets)
    narrow = plots.training_comparison({"healthy": HISTORY}, [real_digits()[:4]], "One run", columns=4)
    assert narrow.axes[1].images[0].get_array().shape == (30, 120)


def test_snapshots_name_their_rows():
    axis = FIGURES["snapshots"]().axes[0]
    assert [text.get_text() for text in axis.texts] == ["epoch 0", "bit 0 flipped"]
    assert axis.images[0].get_array().shape == (60, 150)
    assert not axis.patches


def test_snapshots_frame_images():
    rows = {0: real_digits()[:5], "bit 0 flipped": real_digits()[5:10]}
    framed = {"bit 0 flipped": [False, True, False, False, True]}
    patches = plots.snapshots(rows, "Two rows", framed).axes[0].patches
    assert [patch.get_xy() for patch in patches] == [(30.5, 30.5), (120.5, 30.5)]


def test_pixel_values_are_printed_where_they_are():
    image = real_digits()[0, 0]
    axis = plots.pixel_values(image, (4, 6), (8, 11), "Pixels").axes[1]
    values = {tuple(int(x) for x in text.get_position()): text.get_text() for text in axis.texts}
    assert values == {(column, row): f"{image[row, column]:.1f}" for row in (4, 5) for column in (8, 9, 10)}


def test_pixel_maps_share_a_diverging_scale_and_frame_a_pixel():
    figure = FIGURES["pixel_maps"]()
    for axis in figure.axes[:2]:
        assert axis.images[0].get_clim() == (-1, 1)
        assert axis.images[0].get_cmap() is plots.SIGNED_MAP
        assert (axis.lines[0].get_xdata()[0], axis.lines[0].get_ydata()[0]) == (9, 11)


def test_prior_curves_show_the_fitted_epochs_between_their_bounds():
    (axis,) = plots.prior_curves(HISTORY, n_bits=6).axes
    shown = lines(axis)
    assert shown["fitted prior"] == ([2, 4], [4.5, 4.0])
    assert shown["entropy of the data"] == ([2, 4], [3.5, 3.25])
    assert shown["best product prior"] == ([2, 4], [4.75, 4.75])
    assert shown["uniform prior"][1] == pytest.approx([6 * math.log(2)] * 2)
    assert sorted(legend(axis)) == sorted(shown)


def test_prior_curves_of_a_history_without_fits_render():
    assert png(plots.prior_curves([report(1)], n_bits=6))


def cells(axis, n, columns):
    """The images of labeled cells, cut from their sheet."""
    (sheet,) = [image.get_array() for image in axis.images]
    width, height = plots.CELL
    corners = [(height * (i // columns) + 2, width * (i % columns) + 3) for i in range(n)]
    return sheet, [sheet[top : top + 28, left : left + 28] for top, left in corners]


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_few_grays_change_little_and_make_a_smaller_file(images):
    many, few = (plots.digit_grid(images[:64], "digits", grays=grays) for grays in (256, 16))
    one, other = (figure.axes[0].images[0].get_array() for figure in (many, few))
    assert len(np.unique(other)) <= 16 and np.abs(one - other).max() <= 0.5 / 15 + 1e-6
    assert len(png(few)) < 0.8 * len(png(many))


def test_code_label_reads_bit_0_first_in_groups_of_four():
    assert plots.code_label(np.array([1, 0, 0, 0])) == "1000"
    assert plots.code_label([1, 0, 0, 0, 0, 1, 1]) == "1000 011"
    assert plots.code_label(np.array([1, 0] * 5, dtype=bool)) == "1010 1010\n10"


def test_labeled_digits_are_above_their_labels_and_some_are_framed(images):
    labels = [f"digit {i}" for i in range(7)]
    (axis,) = plots.labeled_digits(images[:7], labels, "title", columns=3, framed=[4]).axes
    sheet, shown = cells(axis, 7, 3)
    assert all(np.allclose(cell, images[i, 0]) for i, cell in enumerate(shown))
    assert sheet.sum() == pytest.approx(images[:7].sum().item(), rel=1e-4)
    assert texts(axis) == labels
    assert [text.get_weight() for text in axis.texts] == ["bold" if i == 4 else "normal" for i in range(7)]
    (frame,) = axis.patches
    middle = frame.get_x() + frame.get_width() / 2, frame.get_y() + frame.get_height() / 2
    assert abs(middle[0] - axis.texts[4].get_position()[0]) < 1  # around the fifth digit,
    assert frame.get_y() + frame.get_height() < axis.texts[4].get_position()[1]  # and not through its label


def test_labeled_digits_need_a_label_each(images):
    with pytest.raises(ValueError, match="zip"):
        plots.labeled_digits(images[:3], ["a", "b"])


def test_digit_and_others_shows_the_one_large(images):
    big, small = plots.digit_and_others(images[0], "me", images[1:6], list("abcde"), "title", 4, framed=[1]).axes
    assert np.allclose(big.images[0].get_array(), images[0, 0])
    assert all(np.allclose(cell, images[1 + i, 0]) for i, cell in enumerate(cells(small, 5, 4)[1]))
    assert (texts(big), texts(small)) == (["me"], list("abcde"))
    assert len(small.patches) == 1
    across = {axis: axis.get_window_extent().width / np.ptp(axis.get_xlim()) for axis in (big, small)}
    assert across[big] > 1.4 * across[small]  # screen pixels per pixel of the digit


def test_rings_mark_the_bars_of_the_sampled_codes():
    named = {"before": sampled(6, 8, seed=1), "after": sampled(6, 8, seed=2)}
    figure = plots.distributions_and_digits(named, "title", top=0.9, columns=3)
    for (p, codes, digits), axis, below in zip(named.values(), figure.axes[::2], figure.axes[1::2], strict=True):
        (bars,) = [bars for bars in axis.collections if bars.get_label() == "probability of each code"]
        (shape,) = bars.get_paths()
        for state, height in enumerate(p):
            for x in (state - 0.45, state + 0.45):
                assert shape.contains_point((x, 0.99 * height)) and not shape.contains_point((x, 1.01 * height))
        assert not shape.contains_points([(-0.55, 1e-9), (7.55, 1e-9)]).any()
        shown = lines(axis)
        states = qh.to_index(codes)
        assert shown["sampled codes, shown below"] == (states.tolist(), p[states].tolist())
        assert set(shown["uniform distribution"][1]) == {1 / 8}
        assert axis.get_ylim() == pytest.approx((0, 0.99))
        assert texts(below) == [plots.code_label(code) for code in codes]
        assert all(np.allclose(cell, digits[i, 0]) for i, cell in enumerate(cells(below, 6, 3)[1]))
    assert {"before", "after"} <= {text.get_text() for text in figure.texts}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("probability of each code", "uniform distribution", "sampled codes, shown below")
    ]


def test_distributions_and_digits_share_a_scale_up_to_the_highest():
    low, high = (np.full(8, 1 / 8), *sampled(4, 8)[1:]), (np.eye(8)[3], *sampled(4, 8)[1:])
    figure = plots.distributions_and_digits({"low": low, "high": high}, "title", top=0.2, columns=4)
    assert [axis.get_ylim() for axis in figure.axes[::2]] == [pytest.approx((0, 1.1))] * 2


def test_a_picture_keeps_the_figures_size_or_has_its_margins_cropped(images):
    figure = plots.digit_and_others(images[0], "me", images[1:6], list("abcde"), "title")
    whole = plots.picture(figure, "A digit.", tight=False)
    with Image.open(io.BytesIO(whole.data)) as png:
        assert png.size == tuple(round(100 * inches) for inches in figure.get_size_inches())
        assert whole.width == png.width
    with Image.open(io.BytesIO(plots.picture(figure, "A digit.").data)) as cropped:
        assert cropped.width < png.width + 25


# In a notebook, and in a file


def test_show_gives_a_small_png_with_its_alternative_text(images, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", shown.append)
    alt = "Sixty-four real digits in four rows."
    plots.show(plots.digit_grid(images[:64], "real digits"), alt)
    (output,) = shown
    data, metadata = output._repr_mimebundle_()  # what a notebook stores
    picture = base64.b64decode(data["image/png"])
    assert len(picture) <= MAX_BYTES
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG"
        assert metadata["image/png"]["alt"] == alt
        assert metadata["image/png"]["width"] == image.width


def test_show_prints_the_provenance_below_the_figures_right_end(images, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", shown.append)
    plain, labeled = (plots.digit_grid(images[:16], "digits") for _ in range(2))
    plots.show(plain, "Digits.")
    plots.show(labeled, "Digits.", provenance=qh.Shots(2000))
    heights = [int.from_bytes(output.data[20:24], "big") for output in shown]
    assert heights[1] > heights[0] + 5
    assert [text.get_text() for text in labeled.texts][-1] == "2,000 shots on Aer"


def test_a_gif_has_a_frame_per_batch_and_stops_at_the_last(images, tmp_path):
    grids = [images[8 * i : 8 * i + 8] for i in range(5)]
    path = plots.save_gif(grids, tmp_path / "progress.gif", columns=4, milliseconds=120)
    assert path == tmp_path / "progress.gif"
    with Image.open(path) as gif:
        assert gif.format == "GIF"
        assert gif.n_frames == 5
        assert gif.info["loop"] == 0
        durations, frames = [], []
        for i in range(5):
            gif.seek(i)
            durations.append(gif.info["duration"])
            frames.append(np.asarray(gif.convert("L")) / 255)
    assert durations == [120, 120, 120, 120, 2000]
    for frame, grid in zip(frames, grids, strict=True):
        assert frame.shape == (2 * (2 * 30 + 2), 2 * (4 * 30 + 2))  # twice the size, two pixels between images
        first = frame[4:60:2, 4:60:2]
        assert np.abs(first - (1 - grid[0, 0].numpy())).max() < 0.04  # black on white, in 16 grays
    assert not np.array_equal(frames[0], frames[-1])
    assert len(np.unique(frames)) <= 16


def test_a_gif_takes_a_path_as_text(images, tmp_path):
    path = plots.save_gif([images[:2], images[2:4]], str(tmp_path / "two.gif"))
    with Image.open(path) as gif:
        assert gif.n_frames == 2
