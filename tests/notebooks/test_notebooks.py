"""The notebooks' form: opening, closing, headings, alternative texts, names, numbers, and times as measured."""

import ast
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
import statistics
from datetime import datetime
from pathlib import Path

import pytest

import qaan_helpers as qh
from qaan_helpers.course.exercises.grading import OPEN

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MEASURED = re.compile(r"This notebook took (\d+) s and ([\d.]+) GB")
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("[0-9]*.ipynb"))
with_solutions = pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: path.stem)


LEVELS = ("Check", "Apply", "Explore")


def cells(path, kind):
    """The cells of one kind that are written by hand, with their source as one text."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    ours = [
        cell for cell in found if cell["cell_type"] == kind and "navigation" not in cell["metadata"].get("tags", ())
    ]
    return [{**cell, "source": "".join(cell["source"])} for cell in ours]


def outputs(path):
    """Data and metadata of every output that has any."""
    found = [output for cell in cells(path, "code") for output in cell["outputs"] if "data" in output]
    return [(output["data"], output["metadata"]) for output in found]


def measured(path):
    """Seconds and GB, as the last cell of the stored run printed them."""
    seconds, memory = MEASURED.search(json.dumps(cells(path, "code")[-1]["outputs"])).groups()
    return int(seconds), float(memory)


def test_those_that_are_written_are_there():
    names = ["00_play", "01_mnist", "02_dcgan", "03_qcbm_circuit", "04_qcbm_cobyla", "05_associative_training"]
    names += [
        "06_a_prior_with_a_job",
        "07_multi_basis",
        "08_what_the_prior_adds",
        "09_noise_and_hardware",
        "10_scaling_out",
        "11_break_it",
    ]
    assert [path.stem for path in NOTEBOOKS] == names


@each
def test_opening_and_closing(path):
    texts = [cell["source"] for cell in cells(path, "markdown")]
    assert texts[0].startswith(f"# {int(path.stem[:2])} · ")
    for part in ("**You will be able to**", "**You need**", "**Takes** about"):
        assert part in texts[0]
    everything = "\n".join(texts)
    assert everything.index("## Summary") < everything.index("## Exercises")
    asked = everything.split("## Exercises")[1]
    numbers = re.findall(r"^### Exercise (\d) · ", asked, re.MULTILINE)
    assert len(numbers) >= 3 and numbers == [str(i) for i in range(1, len(numbers) + 1)]
    code = [cell["source"] for cell in cells(path, "code")]
    assert code[0].startswith("from qaan_helpers.course import opening\n\nwatch = opening.start(")
    assert everything.index("## Exercises") < everything.index("## Further reading")
    readings = re.findall(r"^- \[.+\]\(https://\S+\): \S", everything.split("## Further reading")[1], re.MULTILINE)
    assert 4 <= len(readings) <= 8
    assert code[-1] == "print(watch)"


def checks(path):
    """The calls of exercises' checks in a notebook: name, and the text that the call printed when it was stored."""
    for cell in cells(path, "code"):
        told = "".join(text for output in cell["outputs"] for text in output.get("text", []))
        for name in re.findall(r"exercises\.(check_\w+)\(", cell["source"]):
            yield name, told


@each
def test_each_exercise_is_open_in_the_notebook_and_solved_beside_it(path):
    asked = dict(checks(path))
    solution = path.parent / "solutions" / f"{path.stem}_solutions.ipynb"
    if not asked:
        assert not solution.exists()
        return
    last = "\n".join(cell["source"] for cell in cells(path, "markdown")).split("## Exercises")[1]
    levels = re.findall(r"^### Exercise \d · (\w+): ", last, re.MULTILINE)
    assert set(levels) == set(LEVELS) and levels.count("Explore") == 1  # an open-ended one, which nothing checks
    assert len(asked) == len(levels) - 1
    for exercise in re.split(r"^### Exercise ", last, flags=re.MULTILINE)[1:-1]:
        assert "<details><summary>Hint" in exercise, exercise[:60]
    assert f"](solutions/{solution.name})" in last
    assert all(told.strip() == OPEN for told in asked.values())
    solved = dict(checks(solution))
    assert list(solved) == list(asked)
    assert all(re.search("^Right[.] ", told, re.MULTILINE) for told in solved.values())


@each
def test_time_and_memory_are_those_of_the_stored_run(path):
    seconds, memory = measured(path)
    assert seconds <= (30 if path.stem == "00_play" else 210)  # on a slow machine; half of it on a fast one
    assert memory < 1.5
    told = re.search(r"\*\*Takes\*\* about (\d+) s and ([\d.]+) GB", cells(path, "markdown")[0]["source"])
    assert (int(told[1]), float(told[2])) == (seconds, memory)
    row = re.search(
        rf"\({re.escape(f'notebooks/{path.name}')}\).*\| (\d+) s \| ([\d.]+) GB \|", (ROOT / "README.md").read_text()
    )
    assert (int(row[1]), float(row[2])) == (seconds, memory)


@each
def test_no_cell_is_silent_for_long(path):
    for cell in cells(path, "code"):
        times = cell["metadata"]["execution"]
        began, ended = (datetime.fromisoformat(times[key]) for key in ("iopub.execute_input", "shell.execute_reply"))
        shown = json.dumps(cell["outputs"])
        counts = "%|" in shown or " epochs in " in shown or shown.count('"stream"') > 2  # bars, a live view, lines
        assert counts or (ended - began).total_seconds() < 10, cell["source"]


@with_solutions
def test_cells_are_short(path):
    shown = [cell["source"] for cell in cells(path, "code") if "claim" not in cell["metadata"].get("tags", ())]
    lines = [len([line for line in source.splitlines() if line.strip()]) for source in shown]
    assert max(lines) <= 25
    assert statistics.median(lines) <= 6


@with_solutions
def test_every_picture_is_small_and_has_its_alternative_text(path):
    for data, metadata in outputs(path):
        for kind in [kind for kind in data if kind.startswith("image/")]:
            assert metadata[kind]["alt"].endswith(".")
            assert len(data[kind]) * 3 / 4 <= 120_000
        for picture in re.findall(r"<img[^>]*>", "".join(data.get("text/html", ""))):
            assert re.search(r"\balt=[\"'][^\"']+[.][\"']", picture), picture[:80]
            assert len(picture) * 3 / 4 <= 120_000
    for cell in cells(path, "markdown"):
        assert "![](" not in cell["source"]


@with_solutions
def test_figures_of_circuits_say_where_those_ran(path):
    for cell in cells(path, "code"):
        if re.search(r"plots\.(cost_curves|distributions|prior_curves)\(", cell["source"]):
            shown = re.findall(r"plots\.show\(.*", cell["source"])
            assert all("provenance=" in call for call in shown), cell["source"]


@each
def test_extras_are_asked_for_where_they_are_used(path):
    code = [cell["source"] for cell in cells(path, "code")]
    call = re.search(r"extras=\[(.*)\]|$", code[0])
    asked = set(re.findall(r'"(\w+)"', call[1] or ""))
    used = {
        "hardware": "qiskit_ibm_runtime" in "".join(code),
        "sweep": "run_plan(" in "".join(code),
        "notebooks": '.draw("mpl"' in "".join(code) or "import pandas" in "".join(code),
    }
    assert asked == {extra for extra, is_used in used.items() if is_used}


@with_solutions
def test_headings_go_down_one_level_at_a_time_below_one_title(path):
    texts = [re.sub(r"```.*?```", "", cell["source"], flags=re.DOTALL) for cell in cells(path, "markdown")]
    levels = [len(marks) for text in texts for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert texts[0].startswith("# ") and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


# Names: a notebook's code uses, and its prose mentions, what the package has


def submodules():
    """The modules of the package by their own names: "plots", "sweep" and so on."""
    found = pkgutil.walk_packages(qh.__path__, "qaan_helpers.")
    variables = {"__main__", "model", "state"}  # what notebooks call their own things
    names = {m.name.rpartition(".")[2]: m.name for m in found if not m.ispkg}
    return {short: name for short, name in names.items() if short not in variables}


def home(name):
    """What a name in a notebook stands for when it is one of ours: the package or a module of it."""
    if name in ("qh", "qaan_helpers"):
        return qh
    return importlib.import_module(submodules()[name]) if name in submodules() else None


def missing(thing, names):
    """The first of dotted names that `thing` lacks, or nothing; what only its instances have is not looked for."""
    for name in names:
        if not hasattr(thing, name):
            return None if inspect.isclass(thing) else name
        thing = getattr(thing, name)


def found_in(module, name):
    """What `from module import name` imports, or None."""
    if importlib.util.find_spec(f"{module}.{name}") if hasattr(importlib.import_module(module), "__path__") else None:
        return importlib.import_module(f"{module}.{name}")
    return getattr(importlib.import_module(module), name, None)


def unknown_in_code(source):
    """Names that code takes from the package and that are not there."""
    ours = {}
    tree = ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            ours |= {a.asname or a.name: qh for a in node.names if a.name == "qaan_helpers"}
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "qaan_helpers":
            inner = {a.name: found_in(node.module, a.name) for a in node.names}
            yield from (name for name, thing in inner.items() if name.startswith("_") or thing is None)
            ours |= {a.asname or a.name: inner[a.name] for a in node.names}
    for node in ast.walk(tree):
        whole = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        first, *rest = whole.split(".")
        if re.fullmatch(r"\w+(\.\w+)+", whole) and inspect.ismodule(ours.get(first)) and missing(ours[first], rest):
            yield whole


def unknown_in_prose(text):
    """Names of ours that code between backticks mentions and that are not there."""
    for code in re.findall(r"`([^`\n]+)`", text):
        for first, rest in re.findall(r"(?<![\w./])(\w+)((?:\.[A-Za-z_]\w*)+)", code):
            if (
                home(first)
                and not rest.endswith(("py", "toml", "safetensors"))
                and missing(home(first), rest[1:].split("."))
            ):
                yield first + rest


@with_solutions
def test_every_name_of_the_package_is_one_that_it_has(path):
    code = "\n".join(cell["source"] for cell in cells(path, "code"))
    prose = "\n".join(cell["source"] for cell in cells(path, "markdown"))
    assert not [*unknown_in_code(code), *unknown_in_prose(prose)]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_every_name_of_the_package_in_a_page_is_one_that_it_has(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert not [*unknown_in_code("\n".join(blocks)), *unknown_in_prose(text)]


def test_names_that_the_package_does_not_have_are_found():
    wrong = "import qaan_helpers as q\nfrom qaan_helpers.lab import plots as p, plot\n"
    wrong += "from qaan_helpers.bits import draws, _mi\n"
    used = "q.QBM(q.QCBM, p.show, p.shows, q.QCBM.fits); x.plots.none; q.QAAN.load(1).nothing"
    assert [*unknown_in_code(wrong + used)] == ["plot", "draws", "_mi", "q.QBM", "p.shows"]
    told = "`qh.QCBM(4).fit`, `qh.QBM`, `plots.shows(1)`, `plots.show`, `my.plots.shows`, `widgets.Playground(1).bits`"
    assert [*unknown_in_prose(told)] == ["qh.QBM", "plots.shows"]


# Numbers: those in the prose are in the code, or recorded by name in the stored run

NOT_PROSE = (
    *(r"(?s)```.*?```", r"`[^`]*`", r"(?s)\$\$.*?\$\$", r"\$[^$]*\$", r"\]\([^)]*\)"),  # code, formulas, addresses
    *(r"(?m)^#.*$", r"(?m)^\d+\. ", r"\*\*Takes\*\*.*", r"\d+ · "),  # headings, lists, times (tested above), titles
    r"(?i)\b(notebooks?|exercises?|arXiv:|Fig\.) ?[\d.]+(, \d+)*( (and|to|or) \d+)?",
    r"\(\d\)",  # equations
    r"(?m)^- \[.*$",  # further reading
)
# Facts that no code states, and why they hold.
ELSEWHERE = {
    "00_play": {"1,800": "the size of the bundled sample's 3s, 7s and 9s; notebook 1", "12": "bits of two models"},
    "01_mnist": {
        "255": "the largest byte",
        "784": "28 × 28 pixels",
        "70,000": "the size of MNIST",
        "7,000": "that of the sample",
        "1.44": "1 / log 2",
    },
    "02_dcgan": {"746": "measured in notebook 1", "1,024": "in Radford et al.", "2,352": "48 × 7 × 7 inputs"},
    "02_dcgan_solutions": {"2,352": "48 × 7 × 7 inputs"},
    "03_qcbm_circuit": {"16": "bytes of a complex number", "90": "degrees", "180": "degrees"},
    "05_associative_training": {
        "2,000": "a default, tested below",
        "256": "2⁸",
        "88": "2 · (8 + 8 + 28) angles",
        "28": "pairs of 8 qubits",
        "4": "a step of the algorithm",
    },
    "05_associative_training_solutions": {"28": "pairs of 8 bits", "70": "8! / (4! 4!)"},
    "06_a_prior_with_a_job": {"2,000": "of the settings and of the plans", "50": "a default, tested below"},
    "06_a_prior_with_a_job_solutions": {"16": "2⁴", "4,096": "2¹²", "1,800": "the size of the sample"},
    "09_noise_and_hardware": {
        **{"1,800": "the size of the sample", "8,000": "shots, in the script of the fits"},
        **{"80": "steps, in the script of the designs", "92": "angles of four layers on a line"},
    },
    "08_what_the_prior_adds": {
        **{"1,500": "evaluations, in the plans", "200": "steps, in the plans", "10,000": "images, in the plans"},
        **{"3,000": "images, in the plans", "1,024": "codes", "1.25": "the margin, in the plan", "0.8": "1 / 1.25"},
        **{
            "0.98": "the power, in the plan",
            "4,096": "2¹²",
            "168": "12 · 12 + 12 + 12 parameters",
            "17": "% in an abstract",
        },
        **{"16": "qubits in an abstract", "540": "angles, in a claim", "144": "angles, in a claim"},
    },
    "10_scaling_out": {"512": "a batch size", "868": "angles at 28 qubits"},
    "11_break_it": {
        **{"130": "the public implementation's angles", "131": "points of its first simplex"},
        "12": "seeds, in the plan of notebook 8's study",
    },
}


def numbers(text):
    """Numbers above 2 in a text, as written, with their values."""
    for match in re.finditer(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?", text):
        if float(match.group().replace(",", "")) > 2:
            yield match.group(), float(match.group().replace(",", ""))


def test_numbers_are_found():
    text = "2 of 1,500, 12.5 and 1e-8; 300 runs, 97% and layer2."
    assert dict(numbers(text)) == {"1,500": 1500, "12.5": 12.5, "300": 300, "97": 97}


def recorded(path):
    """The numbers that `opening.record` printed in the stored run, by name."""
    printed = ""
    for cell in cells(path, "code"):
        if "opening.record(" in cell["source"]:
            printed += "".join("".join(output.get("text", "")) for output in cell["outputs"])
    return dict(re.findall(r"^(\w+): (.*)$", printed, re.MULTILINE))


@each
def test_the_prose_quotes_the_recorded_numbers(path):
    values, quoted = recorded(path), set()
    for cell in cells(path, "markdown"):
        for name in cell["metadata"].get("numbers", ()):
            quoted.add(name)
            assert re.search(rf"(?<![\d.]){re.escape(values[name])}(?![\d]|\.\d)", cell["source"]), (name, values[name])
    assert quoted == set(values)


def computed(path):
    """Numbers in a notebook's code, in its outputs that do not vary, and in its records."""
    texts = [cell["source"] for cell in cells(path, "code")]
    for cell in cells(path, "code"):
        if "nbval-ignore-output" not in cell["metadata"].get("tags", ()):
            for output in cell["outputs"]:
                texts += ["".join(output.get("text", "")), "".join(output.get("data", {}).get("text/plain", ""))]
    texts += recorded(path).values()
    text = re.sub(r"(?<=\d)[,_](?=\d{3})", "", "\n".join(texts))
    return {float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", text)}


def prose(path):
    """The texts of a notebook until its exercises, whose numbers are asked of the reader."""
    texts = [cell["source"] for cell in cells(path, "markdown")]
    return "\f".join(texts).split("## Exercises\n")[0].split("\f")


def unbound(path):
    """Numbers of the prose that are neither computed nor a computed fraction in percent."""
    known = computed(path)
    known |= {round(100 * value) for value in known if value < 1} | {100 * value for value in known if value < 1}
    for text in prose(path):
        for pattern in NOT_PROSE:
            text = re.sub(pattern, "", text)
        yield from (number for number, value in numbers(text) if value not in known)


@with_solutions
def test_every_number_in_the_prose_is_in_the_code_or_was_computed(path):
    assert set(unbound(path)) <= set(ELSEWHERE.get(path.stem, ()))


def test_the_default_that_the_prose_names():
    assert qh.QCBMPrior(8).optimizer == qh.Cobyla(max_evaluations=188 + 45, gradient_steps=45)
    assert qh.Settings().fit_samples == 2000
    settings = qh.EncoderSettings()
    assert (settings.reconstruction_weight, settings.reconstruction_ramp) == (50, 300)
    assert (settings.latent_noise, settings.fit_samples, settings.discriminator_lr_factor) == (0.2, 2000, 0.4)


MAX_WORDS = 2000  # of the first notebooks; later ones may have a quarter more


@each
def test_the_prose_is_short_enough(path):
    text = "\n".join(prose(path))
    for pattern in NOT_PROSE[:5]:
        text = re.sub(pattern, " ", text)
    assert len(text.split()) <= MAX_WORDS * (1.25 if path.stem >= "06" else 1)


@each
def test_assertions_are_in_collapsed_cells(path):
    for cell in cells(path, "code"):
        if re.search(r"^\s*assert ", cell["source"], re.MULTILINE):
            assert "claim" in cell["metadata"]["tags"] and cell["metadata"]["jupyter"]["source_hidden"], cell["source"]


# Colors: never the only difference between two things

SERIES = {"plot", "step", "errorbar", "semilogx", "semilogy", "loglog", "bar", "barh", "hist", "scatter", "stairs"}
APART = {"linestyle", "ls", "marker", "hatch", "fmt"}
GRAYS = {"cividis", "gray", "gray_r"}  # monotonic lightness


def code_calls(path):
    tree = ast.parse("\n".join(cell["source"] for cell in cells(path, "code")))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]


@with_solutions
def test_labelled_series_have_a_dash_a_marker_or_a_hatch_of_their_own(path):
    for call in code_calls(path):
        named = {argument.arg for argument in call.keywords}
        if call.func.attr in SERIES and "label" in named:
            formats = [ast.unparse(argument) for argument in call.args[1:] if "DASHES" in ast.unparse(argument)]
            formats += [a.value for a in call.args[1:] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            assert formats or named & APART or None in named, ast.unparse(call)  # None: **look


@with_solutions
def test_color_maps_are_readable_in_gray(path):
    maps = {argument.value.value for call in code_calls(path) for argument in call.keywords if argument.arg == "cmap"}
    assert maps <= GRAYS


# Widgets


@with_solutions
def test_every_control_that_a_notebook_makes_has_a_name(path):
    kinds = ("Slider", "Text", "Dropdown", "Button", "Checkbox", "Select", "Combobox")
    for node in ast.walk(ast.parse("\n".join(cell["source"] for cell in cells(path, "code")))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(kinds):
            assert any(argument.arg == "description" for argument in node.keywords), ast.unparse(node)


def test_panels_are_pictures_where_widgets_cannot_run():
    path = ROOT / "notebooks" / "00_play.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert "widgets" not in notebook["metadata"]  # with their state stored, such pages would show nothing
    panels = [data for data, _ in outputs(path) if "application/vnd.jupyter.widget-view+json" in data]
    assert len(panels) == 5 and all("image/png" in data for data in panels)


@each
def test_size_and_stderr(path):
    assert path.stat().st_size <= 1_000_000
    for cell in cells(path, "code"):
        assert not any(output.get("name") == "stderr" for output in cell["outputs"])
