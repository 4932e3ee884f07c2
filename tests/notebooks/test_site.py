"""The site is built once, in a copy of the project, and read as a browser would read it."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

import qaan_helpers as qh

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))

for package in (
    "sphinx",
    "myst_nb",
    "pydata_sphinx_theme",
    "sphinx_codeautolink",
    "sphinx_copybutton",
    "sphinx_design",
):
    pytest.importorskip(package, reason="make test-tools installs what the site is built with")


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.tags = set(), set(), set(), Counter()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids.update(values[key] for key in ("id", "name") if values.get(key))
        self.tags[f"{tag}.{values.get('class') or ''}"] += 1
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])
        if tag in ("script", "img", "iframe", "source", "video") and values.get("src"):
            self.loads.add(values["src"])
        if tag == "link" and {"stylesheet", "icon", "preload", "modulepreload"} & set(
            (values.get("rel") or "").split()
        ):
            self.loads.add(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    copy, built = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("site")
    ignored = shutil.ignore_patterns("_build", "runs", "__pycache__", ".ipynb_checkpoints")
    for path in ROOT.iterdir():  # a copy of what the build writes into, or reads; the rest is linked to
        if path.name in ("docs", "notebooks", "qaan_helpers"):
            shutil.copytree(path, copy / path.name, ignore=ignored)
        elif not path.name.startswith("."):
            (copy / path.name).symlink_to(path)
    folders = [copy / "doctrees", copy / "docs", built]
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", *folders]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=copy, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = {path.relative_to(built).as_posix(): path.read_text(encoding="utf-8") for path in built.rglob("*.html")}
    return built, copy, pages


def test_every_notebook_and_its_solutions_are_pages(site):
    pages = site[2]
    for path in NOTEBOOKS:
        solutions = Page(pages[f"notebooks/solutions/{path.stem}_solutions.html"])
        text = path.read_text(encoding="utf-8")
        assert solutions.tags["details.solution"] == len(re.findall(r'"### Exercise \d', text))
        assert Page(pages[f"notebooks/{path.stem}.html"]).tags["a.reference download internal"] == 1


def test_every_public_name_has_its_page(site):
    pages = site[2]
    names = [name for name in qh.__all__ if not isinstance(getattr(qh, name), ModuleType)]
    assert len(names) > 50 and not [name for name in names if f"api/generated/qaan_helpers.{name}.html" not in pages]


def test_links_lead_to_an_existing_page_and_anchor(site):
    built, _, pages = site
    parsed, wrong = {name: Page(text) for name, text in pages.items()}, []
    for name, page in parsed.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (built / name).parent / unquote(parts.path) if parts.path else built / name
            target = target / "index.html" if target.is_dir() else target
            there = parsed.get(Path(os.path.normpath(target)).relative_to(built).as_posix())
            missing = parts.fragment and there and unquote(parts.fragment) not in there.ids
            if not target.exists() or missing:
                wrong.append((name, link))
    assert not wrong


def test_nothing_is_loaded_from_elsewhere(site):
    built, _, pages = site
    loads = {load for text in pages.values() for load in Page(text).loads}
    styles = "".join(path.read_text(encoding="utf-8") for path in built.rglob("*.css"))
    loads |= set(re.findall(r"""(?:url\(|@import\s+)["']?(https?:[^"')]+)""", styles))
    assert loads and not [load for load in loads if re.match(r"(https?:)?//", load)]
    assert (built / "_static" / "tex-svg-full.js").exists()


def test_the_site_is_small_and_names_no_folder_of_this_machine(site):
    built, copy, pages = site
    assert sum(path.stat().st_size for path in built.rglob("*") if path.is_file()) < 30e6
    folders = {str(copy), str(ROOT), str(Path.home()), sys.prefix} - {"/", "/root"}
    assert not [(name, folder) for name, text in pages.items() for folder in folders if folder in text]


def test_the_lab_is_part_of_the_site(site):
    built, _, pages = site
    assert "lab/index.html" in pages and (built / "lab" / "lab.js").exists()
    assert "lab/index.html" in Page(pages["index.html"]).links
