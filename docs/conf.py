"""The site: Sphinx over the notebooks' stored outputs, the docstrings, and the project's Markdown files.

Before Sphinx reads its sources, `stage` copies the notebooks and the Markdown files from the rest of the project into
this folder, with links that work on the site. Build it with `make docs`.
"""

import importlib
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT)]

import qaan_helpers  # noqa: E402

project = "Quantum Circuit Associative Adversarial Network"
author = "QC-AAN notebooks contributors"
copyright = author
release = qaan_helpers.__version__
repository = (
    tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    .get("urls", {})
    .get("Repository", "")
)

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_codeautolink",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "lab"]
templates_path = ["_templates"]
nitpicky = True
# Names of other packages: their lists of names would have to be fetched from the network.
nitpick_ignore_regex = [("py:.*", r"(?!qaan_helpers).*"), ("py:.*", r"qaan_helpers\..*\b(_\w+|\w+Runner)")]

nb_execution_mode = "off"  # the stored outputs are shown
nb_ipywidgets_js = {}  # panels are shown as their pictures
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_google_docstring, napoleon_numpy_docstring = True, False
default_role = "code"  # single backticks in docstrings

html_theme = "pydata_sphinx_theme"
html_title = "QC-AAN notebooks"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_sidebars = {page: [] for page in ("index", "glossary", "project/results", "project/package")}  # no pages below
html_theme_options: dict[str, Any] = {
    "logo": {"text": "QC-AAN notebooks"},
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navbar_center": ["navbar-nav", "lab-link"],
    "navbar_end": ["theme-switcher"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
if repository:
    html_theme_options["github_url"] = repository

# MathJax from a wheel, so that a page asks nothing of the network. Of its files, one draws every formula as SVG.
MATHJAX = Path(importlib.import_module("sphinx-mathjax-offline").__path__[0]) / "static" / "mathjax" / "tex-svg-full.js"
mathjax_path = MATHJAX.name

# What is staged, and as which page. README is split into pages of its own.
FOLDERS = ("notebooks", "notebooks/solutions", "notebooks/appendix")
PAGES = {
    "notebooks/results/study.md": "project/study.md",
    "qaan_helpers/data/README.md": "project/data.md",
    "qaan_helpers/data/trained/README.md": "project/models.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "docs/glossary.md": "glossary.md",
    "docs/clusters.md": "clusters.md",
}
SECTIONS = {
    "Install and start": "project/install.md",
    "What came out": "project/results.md",
    "Use the package": "project/package.md",
    "Performance": "project/performance.md",
}
MORE = {
    "Modules": (
        "These modules are imported by their own names, such as `from qaan_helpers.evaluation import comparison`.",
        ("evaluation.comparison", "evaluation.sweep", "lab.plots", "lab.live", "lab.widgets"),
    ),
    "Types": (
        "Types that appear in signatures and results.",
        (
            "quantum.execution.Execution",
            "quantum.execution.Runner",
            "quantum.optimizers.Objective",
            "quantum.qcbm.Duration",
            "quantum.job_log.JobLog",
            "gan.settings.SettingsOptions",
            "evaluation.cluster.Tls",
        ),
    ),
}
LINK = re.compile(r"(!?)\[((?:[^][]|\[[^]]*\])*)\]\((?!https?:|data:|mailto:)([^)\s#]*)(#[^)\s]*)?\)")
READING = re.compile(r"^- \[([^]]+)\]\((https?://[^)\s]+)\): (.+)$", re.MULTILINE)


def page_of(path: str, anchor: str) -> str | None:
    """Return the page of the site that shows a file of the project.

    Args:
        path: The file, relative to the project's folder.
        anchor: The heading in it, such as "#notebooks"; "" for none.

    Returns:
        The page's file, relative to this folder, with the anchor; None if no page shows it.
    """
    if path == "README.md":
        by_anchor = {"#" + re.sub(r"\W+", "-", name.lower()): page for name, page in SECTIONS.items()}
        return "notebooks/index.md" if anchor == "#notebooks" else by_anchor.get(anchor, "index.md")
    if path in PAGES:
        return PAGES[path] + anchor
    if path.endswith((".ipynb", ".png")) and str(PurePosixPath(path).parent) in FOLDERS:
        return path + anchor.lower()  # JupyterLab keeps the capitals of headings, MyST does not
    return None


def with_links(text: str, path: str, page: str) -> str:
    """Rewrite the relative links of a Markdown text for its page on the site.

    Args:
        text: The text.
        path: The file that it is from, relative to the project's folder.
        page: The file that it goes to, relative to this folder.

    Returns:
        The text. A link to a file without a page goes to the repository, or is removed if its address is not set.
    """

    def rewritten(match: re.Match[str]) -> str:
        image, label, target, anchor = match[1], match[2], match[3], match[4] or ""
        file = normpath(str(PurePosixPath(path).parent / target)) if target else path
        if other := page_of(file, anchor):
            return f"{image}[{label}]({relpath(other, str(PurePosixPath(page).parent))})"
        if not (ROOT / file).exists():
            raise ValueError(f"{path} links to {target}, which does not exist")
        return f"[{label}]({repository}/blob/main/{file})" if repository else label

    parts = re.split(r"(?s)(```.*?```)", text)  # in code, brackets are no links
    return "".join(part if part.startswith("```") else LINK.sub(rewritten, part) for part in parts)


def site_notebook(path: Path) -> str:
    """Prepare a notebook for the site.

    Args:
        path: The notebook.

    Returns:
        Its JSON, without navigation and checks, with folded solutions and a button to download the original.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    name, cells = path.relative_to(ROOT).as_posix(), list[dict[str, Any]]()
    original = relpath(path, DOCS / PurePosixPath(name).parent)
    download = f"{{download}}`Download this notebook <{original}>`"
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags", [])
        source = "".join(cell["source"])
        if "claim" in tags or ("navigation" in tags and not cell["id"].startswith("navigation-expected")):
            continue
        if cell["cell_type"] == "markdown":
            source = with_links(source, name, name)
            if not cells:
                heading, _, rest = source.partition("\n")
                source = f"{heading}\n\n{download}\n{rest}"
            cell["source"] = source
        for output in cell.get("outputs", ()):
            if text := output.get("data", {}).get("text/markdown"):
                output["data"]["text/markdown"] = with_links("".join(text), name, name)
        cells.append(cell)
    notebook["cells"] = folded_solutions(cells) if path.parent.name == "solutions" else cells
    notebook["metadata"].pop("widgets", None)
    return json.dumps(notebook, ensure_ascii=False)


def folded_solutions(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fold what follows the heading of each exercise.

    Args:
        cells: The cells of a notebook with solutions.

    Returns:
        The cells, with the HTML that folds them.
    """

    def markdown(source: str) -> dict[str, Any]:
        return {"cell_type": "markdown", "id": f"fold-{len(folded)}", "metadata": {}, "source": source}

    folded, is_open = list[dict[str, Any]](), False
    for cell in cells:
        if cell["cell_type"] != "markdown":
            folded.append(cell)
            continue
        for part in re.split(r"^(?=#+ )", "".join(cell["source"]), flags=re.MULTILINE):
            if not part.startswith("#"):
                folded.append(markdown(part))
                continue
            if is_open:
                folded.append(markdown("</details>"))
            is_open = bool(re.match(r"#+ Exercise", part))
            heading, _, rest = part.strip().partition("\n\n")
            folded.append(markdown(heading))
            folded += [markdown('<details class="solution"><summary>Solution</summary>')] if is_open else []
            folded.append(markdown(rest))
    return [*folded, markdown("</details>")] if is_open else folded


def bibliography(notebooks: list[Path]) -> str:
    """Collect the further readings of all notebooks.

    Args:
        notebooks: The notebooks, in order.

    Returns:
        A Markdown page: each reading once, in alphabetical order, with the notebooks that recommend it.
    """
    readings: dict[str, tuple[str, list[str]]] = {}
    for path in notebooks:
        text = "\n\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
        for title, address, _ in READING.findall(text):
            _, where = readings.setdefault(address, (title, []))
            link = f"[{int(path.name[:2])}](../notebooks/{path.name})"
            where += [] if link in where else [link]
    lines = [
        f"- [{title}]({address}) (notebook{'s' * (len(where) > 1)} {', '.join(where)})"
        for address, (title, where) in sorted(readings.items(), key=lambda item: item[1][0].lower())
    ]
    return "# Bibliography\n\nThe works that the notebooks recommend under *Further reading*.\n\n" + "\n".join(lines)


def api() -> str:
    """List the public names, module by module, as `__init__.pyi` does.

    Returns:
        A Markdown page with a table for each module.
    """
    stub = (ROOT / "qaan_helpers" / "__init__.pyi").read_text(encoding="utf-8")
    names: dict[str, list[str]] = {}
    for module, name in re.findall(r"^from \.([\w.]+) import (\w+) as \2$", stub, re.MULTILINE):
        names.setdefault(module, []).append(f"qaan_helpers.{name}")
    tables = []
    for module, members in names.items():
        purpose = (importlib.import_module(f"qaan_helpers.{module}").__doc__ or "").split("\n\n")[0]
        tables.append((module, purpose.replace("\n", " "), members))
    for heading, (purpose, more) in MORE.items():
        tables.append((heading, purpose, [f"qaan_helpers.{name}" for name in more]))
    text = ["# API reference\n", "The public names of `qaan_helpers`. Each is imported from the package itself:\n"]
    text += ["```python\nimport qaan_helpers as qh\n\nqcbm = qh.QCBM(qh.qcbm_ansatz(n_qubits=8))\n```\n"]
    for module, purpose, members in tables:
        listed = "\n".join(f"   ~{member}" for member in members)
        text.append(f"## {module}\n\n{purpose}\n")
        text.append(f"```{{eval-rst}}\n.. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n{listed}\n```\n")
    return "\n".join(text)


def stage() -> None:
    """Write the pages that come from the rest of the project."""
    for folder in ("notebooks", "project", "api"):
        shutil.rmtree(DOCS / folder, ignore_errors=True)
    pages: dict[str, str] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("*.ipynb")):
            pages[path.relative_to(ROOT).as_posix()] = site_notebook(path)
    for source, page in PAGES.items():
        if not source.startswith("docs/"):
            pages[page] = with_links((ROOT / source).read_text(encoding="utf-8"), source, page)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+)\n\n((?:(?!^## ).*\n)*)", readme, re.MULTILINE))
    for heading, page in SECTIONS.items():
        pages[page] = f"# {heading}\n\n" + with_links(sections[heading], "README.md", page)
    listed = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    contents = "\n".join(path.stem for path in listed)
    solutions = "\n".join(f"solutions/{path.stem}_solutions" for path in listed)
    table = with_links(sections["Notebooks"], "README.md", "notebooks/index.md")
    pages["notebooks/index.md"] = (
        f"# Notebooks\n\n{table}\n"
        f"```{{toctree}}\n:hidden:\n\n{contents}\n```\n\n"
        f"```{{toctree}}\n:hidden:\n:caption: Solutions\n\n{solutions}\n```\n\n"
        "```{toctree}\n:hidden:\n:caption: Appendix\n\nappendix/first_comparison\n```\n"
    )
    pages["project/bibliography.md"] = bibliography(listed)
    pages["api/index.md"] = api()
    for page, text in pages.items():
        (DOCS / page).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / page).write_text(text, encoding="utf-8")
    for picture in (ROOT / "notebooks").glob("*.png"):
        shutil.copy(picture, DOCS / "notebooks")


def rewrite_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Rewrite the links of the pages that are kept in this folder."""
    if f"docs/{docname}.md" in PAGES:
        source[0] = with_links(source[0], f"docs/{docname}.md", f"{docname}.md")


def copy_files(app: Sphinx, error: Exception | None) -> None:
    """Add what Sphinx does not build: the lab and MathJax."""
    if error is None and app.builder.name == "html":
        shutil.copytree(DOCS / "lab", app.outdir / "lab", dirs_exist_ok=True)
        shutil.copy(MATHJAX, app.outdir / "_static")


def setup(app: Sphinx) -> None:
    """Connect the steps above with Sphinx."""
    stage()
    app.connect("source-read", rewrite_links)
    app.connect("build-finished", copy_files)
