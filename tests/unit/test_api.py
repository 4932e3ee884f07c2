"""The API as tools see it: docstrings that document every parameter, names and types that a type checker knows."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path

import docstring_parser
import pytest

import qaan_helpers as qh

pytestmark = pytest.mark.integration

PACKAGE = Path(qh.__file__).parent
MODULES = ["qaan_helpers", *(m.name for m in pkgutil.walk_packages([str(PACKAGE)], "qaan_helpers."))]
FAST_PATH = PACKAGE / "quantum" / "aer_fast_path.py"  # calls Aer's private functions, and says so


def own(module):
    """The public functions and classes that a module defines itself."""
    for name, thing in vars(module).items():
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__:
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield name, thing
            elif inspect.isfunction(getattr(thing, "__wrapped__", None)):  # behind functools.cache
                yield name, thing.__wrapped__


def callables(module):
    """(name, callable, its docstring, the parameters to document) for all public callables of a module."""
    for name, thing in own(module):
        if inspect.isfunction(thing):
            yield name, thing, inspect.getdoc(thing)
            continue
        yield name, thing, inspect.getdoc(thing)
        for member, raw in vars(thing).items():
            function = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
            if not member.startswith("_") and inspect.isfunction(function):
                yield f"{name}.{member}", function, inspect.getdoc(getattr(thing, member))


def parameters(thing):
    """The names of a callable's parameters, without self and cls."""
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return []
    return [name for name in signature.parameters if name not in ("self", "cls")]


def undocumented(module):
    """What is missing in the docstrings of a module, one line each."""
    for name, thing, text in callables(module):
        if not text:
            yield f"{name} has no docstring"
            continue
        documented = {
            p.arg_name.lstrip("*") for p in docstring_parser.parse(text, docstring_parser.DocstringStyle.GOOGLE).params
        }
        wanted = set() if inspect.isclass(thing) and issubclass(thing, BaseException) else set(parameters(thing))
        if missing := wanted - documented - {"args", "kwargs"}:
            yield f"{name} does not document {', '.join(sorted(missing))}"


@pytest.mark.parametrize("name", MODULES)
def test_every_public_callable_documents_every_parameter(name):
    if name == "qaan_helpers.__main__":
        pytest.skip("the command line documents itself with --help")
    assert not list(undocumented(importlib.import_module(name)))


def test_an_undocumented_parameter_is_reported(tmp_path, monkeypatch):
    (tmp_path / "sloppy.py").write_text(
        'def add(a, b):\n    """Add two numbers.\n\n    Args:\n        a: The first.\n    """\n\n\n'
        "class Box:\n    def open(self):\n        pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(undocumented(importlib.import_module("sloppy"))) == [
        "add does not document b",
        "Box has no docstring",
        "Box.open has no docstring",
    ]


def private_access(source):
    """Underscored attributes of other objects than self and cls that a source touches."""
    for node in ast.walk(ast.parse(source)):
        private = isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__")
        if private and ast.unparse(node.value) not in ("self", "cls", "super()"):
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_touches_another_objects_underscored_attributes(path):
    if path != FAST_PATH:
        assert not list(private_access(path.read_text(encoding="utf-8")))


def test_private_access_is_reported():
    assert list(private_access("self._a; cls._b; super()._c; x.__doc__; y.z._d")) == ["line 1: y.z._d"]


# What a type checker, an editor and a documentation tool find without importing anything

TYPING = Path(__file__).parent / "typing"


@pytest.fixture(scope="module")
def complaints():
    """What mypy says about the two users' scripts: (file, line, message)."""
    scripts = [str(TYPING / name) for name in ("correct_user.py", "wrong_user.py")]
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--no-error-summary", *scripts]
    run = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent, check=False)
    lines = [line.split(":", 2) for line in run.stdout.splitlines() if ": error: " in line]
    assert run.returncode in (0, 1) and lines, run.stdout + run.stderr
    return [(Path(path).name, int(line), message) for path, line, message in lines]


def test_a_users_script_without_mistakes_passes(complaints):
    assert [complaint for complaint in complaints if complaint[0] != "wrong_user.py"] == []


def test_each_of_a_users_mistakes_is_reported_on_its_line(complaints):
    lines = (TYPING / "wrong_user.py").read_text().splitlines()
    expected = [number for number, line in enumerate(lines, 1) if "# wrong" in line or "# missing" in line]
    assert len(expected) == 3
    assert sorted({line for _, line, _ in complaints}) == expected
    messages = " ".join(message for *_, message in complaints)
    for mistake in ('argument "n_qubit"', 'expected "int | None"', 'has no attribute "QCBMPriors"'):
        assert mistake in messages


def test_an_editor_completes_public_names_without_running_them():
    jedi = pytest.importorskip("jedi")
    offered = {c.name for c in jedi.Script("import qaan_helpers as qh\nqh.").complete()}
    assert set(qh.__all__) <= offered
    (signature,) = jedi.Script("import qaan_helpers as qh\nqh.qcbm_ansatz(").get_signatures()
    assert [p.name for p in signature.params] == ["n_qubits", "layers", "entanglement", "warm_start"]


def test_the_marker_for_type_checkers_is_there():
    assert (PACKAGE / "py.typed").exists()


def test_settings_and_their_keywords_agree():
    from qaan_helpers.gan.settings import EncoderSettings, Settings, SettingsOptions

    fields = {
        name: field.annotation for kind in (Settings, EncoderSettings) for name, field in kind.model_fields.items()
    }
    assert typing.get_type_hints(SettingsOptions) == fields
