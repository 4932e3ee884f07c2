"""The design, held: the names promised, who may import whom, what must not occur anywhere."""

import ast
import inspect
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import qaan_helpers as qh

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "qaan_helpers"
SOURCES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = sorted(name for name in SOURCES if not name.endswith("__init__"))
SCRIPTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "tools").glob("*.py"))}
NOTEBOOKS = [p for p in sorted((ROOT / "notebooks").rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# What a part of the package may reach through imports at module level, directly or through other modules.
BASE = {"bits", "checks", "progress", "validation"}
LIBRARY = BASE | {"mnist", "priors", "quantum", "gan", "evaluation"}
MAY_REACH = {
    **dict.fromkeys(BASE, BASE),
    "mnist": BASE,
    "priors": BASE,
    "quantum": BASE | {"quantum"},
    "gan": BASE | {"mnist", "priors", "gan"},
    "evaluation": LIBRARY,
    "lab": LIBRARY | {"lab"},
    "course": LIBRARY | {"lab", "course"},
    "__main__": BASE,
}
QISKIT = {"qiskit", "qiskit_aer", "qiskit_ibm_runtime", "qiskit_ionq"}
TORCH = {"torch", "torchvision", "torchmetrics"}
SHOWN = {"matplotlib", "IPython", "ipywidgets"}
MUST_NOT_LOAD = {
    **dict.fromkeys(("bits", "checks"), TORCH | QISKIT | SHOWN),
    "progress": TORCH | QISKIT,
    "mnist": QISKIT | SHOWN,
    "priors": TORCH | QISKIT | SHOWN,
    "quantum": TORCH | SHOWN | {"sklearn"},
    "gan": QISKIT | SHOWN | {"sklearn"},
    "evaluation": SHOWN,
    "__main__": TORCH | QISKIT | SHOWN,
}
REMOVED_FROM_QISKIT = {"execute", "assemble", "Aer", "BasicAer", "QuantumInstance", "opflow", "IBMQ"}
REMOVED_FROM_QISKIT |= {"bind_parameters", "c_if", "BackendSampler", "BackendEstimator"}
REMOVED_FROM_QISKIT |= {
    f"qiskit.{name}" for name in ("algorithms", "pulse", "tools", "test", "providers.aer", "extensions")
}

# Every name of the contract with its arguments, in order, and their defaults (None where there is none or any will do).
CALLS = {
    "load_mnist": {"digits": (3, 7, 9), "split": "train", "source": "auto", "root": None},
    "Generator": {"latent_dim": 8},
    "Discriminator": {"latent_dim": 8},
    "qcbm_ansatz": {"n_qubits": 8, "layers": 2, "entanglement": "full", "warm_start": True},
    "QCBM": {"circuit": None, "execution": None, "seed": 0},
    "QCBM.fit": {"bits": None, "optimizer": "cobyla", "max_evaluations": None, "epsilon": 1e-8},
    "QCBM.sample": {"n_samples": None},
    "QCBM.probabilities": {},
    "Exact": {},
    "Shots": {"shots": 2000, "noise_model": None, "backend": None},
    "Primitive": {"sampler": None, "shots": 2000, "pass_manager": None},
    "ion_trap_noise": {"one_qubit_error": None, "two_qubit_error": None, "readout_error": None},
    "circuit_costs": {"circuit": None},
    "ibm": {"name": None, "shots": 2000},
    "ionq": {"name": "ionq_simulator", "shots": 2000, "noise_model": None},
    "named_execution": {"name": None, "shots": 2000},
    "UniformPrior": {"latent_dim": 8},
    "ProductPrior": {"latent_dim": 8},
    "RBMPrior": {"latent_dim": 8},
    "ReplayPrior": {"latent_dim": 8},
    "MixedPrior": {"prior": None, "uniform_fraction": 0.5},
    "ScrambledPrior": {"prior": None},
    "SignedPermutationPrior": {"prior": None},
    "SubsetPrior": {"latent_dim": 8, "n_codes": 16},
    "GaussianPrior": {"latent_dim": 100},
    "QCBMPrior": {"n_qubits": 8, "layers": 2, "bases": "z"},
    "QAAN": {"prior": None, "device": "auto", "seed": 0},
    "QAAN.sample": {"n_samples": 64},
    "QAAN.save": {"folder": None},
    "QAAN.load": {"folder": None},
    "train": {"gan": None, "digits": None, "epochs": 20, "batch_size": 64},
    "inception_score": {"images": None},
    "frechet_distance": {"images": None, "reference": None},
    "class_coverage": {"images": None},
    "kernel_distance": {"images": None, "reference": None},
    "precision_recall": {"images": None, "reference": None},
    "class_balance": {"images": None, "digits": (3, 7, 9)},
    "distinct_images": {"images": None},
    "nearest_distance": {"images": None, "reference": None},
    "kl_divergence": {"bits": None, "probabilities": None},
    "kl_sampling_bias": {"probabilities": None, "n_rows": None},
}


def tree(source):
    return ast.walk(ast.parse(source))


def dotted(name):
    """The parts of a dotted name, and what leads to each: a, b, a.b of a.b."""
    parts = name.split(".")
    yield from parts
    yield from (".".join(parts[:end]) for end in range(2, len(parts) + 1))


def identifiers(source):
    """Every name that the code uses; words in texts and comments are none."""
    for node in tree(source):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield from dotted(node.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield from dotted(f"{node.module}.{alias.name}")


def at_module_level(node):
    """The import statements that run when a module is imported: none in functions or under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (statement for part in child.orelse for statement in at_module_level(ast.Module([part], [])))
        else:
            yield from at_module_level(child)


def imported(name, source, everywhere=False):
    """The dotted modules that module `name` imports: those of the package without its name, others in full."""
    statements = tree(source) if everywhere else at_module_level(ast.parse(source))
    package = name.split(".")[:-1]
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            above = package[: len(package) - statement.level + 1] if statement.level else []
            module = ".".join([*above, *((statement.module or "").split("."))]).strip(".")
            for alias in statement.names:
                inner = f"{module}.{alias.name}".strip(".")
                yield inner if statement.level and (inner in SOURCES or f"{inner}.__init__" in SOURCES) else module


def reached(name, seen=None):
    """All modules that importing the package's module `name` imports, transitively."""
    seen = set() if seen is None else seen
    for other in imported(name, SOURCES[name]):
        own = other.removeprefix("qaan_helpers.")
        own = own if own in SOURCES else f"{own}.__init__" if f"{own}.__init__" in SOURCES else None
        if (own or other) not in seen:
            seen.add(own or other)
            if own:
                reached(own, seen)
    return seen


def tops(modules):
    return {module.split(".")[0] for module in modules}


def foreign_imports(source):
    """What a module imports from elsewhere: {top package: names}."""
    found = {}
    for node in tree(source):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.setdefault(alias.name.split(".")[0], set()).add(alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.setdefault(node.module.split(".")[0], set()).update(alias.name for alias in node.names)
    return found


def cells(path, kind="code"):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


# The contract


@pytest.mark.parametrize("name", CALLS)
def test_the_contracts_names_take_the_contracts_arguments(name):
    thing = qh
    for part in name.split("."):
        thing = getattr(thing, part)
    given = {k: v for k, v in inspect.signature(thing).parameters.items() if k != "self"}
    expected = CALLS[name]
    assert list(given)[: len(expected)] == list(expected)
    for argument, default in expected.items():
        if default is not None:
            assert given[argument].default == default
    if name not in ("QCBM.probabilities", "Exact"):
        rest = list(given.values())[len(expected) :]
        assert all(p.default is not p.empty or p.kind == p.VAR_KEYWORD for p in rest)  # the contract's call is enough


def test_results_and_reports_have_the_contracts_fields():
    promised = {
        qh.Report: {"epoch", "d_loss", "g_loss", "d_real", "d_fake", "prior_cost", "seconds"},
        qh.FitResult: {"costs", "best_cost", "n_evaluations", "n_circuits", "seconds", "angles"},
        qh.ResourceEstimate: {"jobs", "circuits", "shots"},
        qh.Digits: {"images", "labels", "source"},
    }
    for kind, fields in promised.items():
        assert fields <= set(inspect.signature(kind).parameters)


def test_every_export_is_listed_once_and_says_what_it_is():
    others = {"ResourceEstimate", "Digits", "ExecutionError", "FitResult", "Prior", "Report"}
    assert {name.split(".")[0] for name in CALLS} | others <= set(qh.__all__)
    assert len(set(qh.__all__)) == len(qh.__all__)
    for name in qh.__all__:
        assert inspect.getdoc(getattr(qh, name)), f"{name} has no docstring"
    assert set(qh.__all__) <= set(dir(qh))


@pytest.mark.parametrize("module", SOURCES)
def test_every_module_has_a_docstring(module):
    assert ast.get_docstring(ast.parse(SOURCES[module]))


def test_a_misspelled_name_raises_an_error_with_a_suggestion():
    with pytest.raises(AttributeError, match="no attribute 'QBM'; did you mean QCBM"):
        _ = qh.QBM
    with pytest.raises(AttributeError, match="no attribute 'zzzz'; the public names are .*QCBM"):
        _ = qh.zzzz


def loaded_by(code):
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return tops(run.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    heavy = TORCH | QISKIT | SHOWN | {"scipy", "numpy", "sklearn", "distributed", "pydantic"}
    assert not heavy & loaded_by("import sys, qaan_helpers as q; q.__version__; dir(q); print(*sys.modules)")


# Import rules


@pytest.mark.parametrize("module", MODULES)
def test_a_module_reaches_only_what_its_part_may(module):
    part, found = module.split(".")[0], reached(module)
    own = tops(name for name in found if name in SOURCES) - {part}
    assert own <= MAY_REACH[part], own - MAY_REACH[part]
    assert not tops(found) & MUST_NOT_LOAD.get(part, set())


@pytest.mark.parametrize(("part", "banned"), [("quantum", TORCH), ("bits", TORCH), ("gan", QISKIT), ("priors", QISKIT)])
def test_what_the_interpreter_really_loads(part, banned):
    names = [f"qaan_helpers.{m}" for m in MODULES if m.split(".")[0] == part]
    assert not banned & loaded_by(f"import sys, {', '.join(names)}; print(*sys.modules)")


def test_only_notebooks_and_the_command_line_import_lab_and_course():
    for module in MODULES:
        part = module.split(".")[0]
        if part not in ("lab", "course", "__main__"):
            assert not {"lab", "course"} & tops(imported(module, SOURCES[module], everywhere=True)), module


def test_no_module_imports_itself_in_a_circle():
    for module in MODULES:
        assert module not in reached(module)


def test_the_transitive_search_finds_an_indirect_import(monkeypatch):
    monkeypatch.setitem(SOURCES, "quantum.new", "from ..helper import x")
    monkeypatch.setitem(
        SOURCES, "helper", "def f():\n    import scipy\nfrom torch import nn\nfrom .bits import entropy"
    )
    assert {"helper", "torch", "bits"} <= reached("quantum.new")
    assert "scipy" not in reached("quantum.new")


# What must not occur


@pytest.mark.parametrize("module", SOURCES)
def test_no_name_that_qiskit_has_removed(module):
    assert not REMOVED_FROM_QISKIT & set(identifiers(SOURCES[module]))


@pytest.mark.parametrize(
    "code",
    [
        *("from qiskit import Aer", "import qiskit.pulse", "circuit.bind_parameters(x)", "qiskit.execute(circuit)"),
        *("from qiskit.algorithms.optimizers import COBYLA", "from qiskit.providers import aer", "qc.x(0).c_if(c, 1)"),
    ],
)
def test_a_removed_name_is_found(code):
    assert REMOVED_FROM_QISKIT & set(identifiers(code))


@every_notebook
def test_no_name_that_qiskit_has_removed_in_a_notebook(path):
    for cell in cells(path):
        code = re.sub(r"^\s*[%!].*$", "pass", "".join(cell["source"]), flags=re.MULTILINE)
        assert not REMOVED_FROM_QISKIT & set(identifiers(code))


def test_no_pickle():
    for module, source in SOURCES.items():
        assert not {"pickle", "dill", "joblib", "cloudpickle"} & set(foreign_imports(source)), module
        for node in tree(source):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("torch.load", "torch.save"), module
                assert called != "np.load" or "allow_pickle=False" in ast.unparse(node), module


@pytest.mark.parametrize("name", SOURCES | SCRIPTS)
def test_functions_fit_a_screen(name):
    for node in tree((SOURCES | SCRIPTS)[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documentation = node.body[0] if ast.get_docstring(node) else None
            lines = node.end_lineno - node.lineno
            if documentation:
                lines -= documentation.end_lineno - documentation.lineno
            assert lines < 50, f"{name}.{node.name}"


def texts():
    """All text that a reader gets: path below the project's folder, and content."""
    suffixes = {".py", ".ipynb", ".md", ".toml", ".txt", ".cfg", ".yml", ".yaml", ".json", ".cff", ""}
    made_here = {"build", "dist", "runs", "__pycache__", ".ipynb_checkpoints"}  # by building and running, not by us
    tops = [p for p in ROOT.iterdir() if not p.name.startswith(".") or p.name in (".ci", ".github", ".gitignore")]
    files = [p for top in tops for p in [top, *top.rglob("*")] if p.is_file() and p.suffix in suffixes]
    read = [p for p in files if not made_here & set(p.parts) and "egg-info" not in str(p)]
    assert PACKAGE / "gan" / "training.py" in read and ROOT / "Makefile" in read
    return {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8", errors="replace") for p in read}


def found_in_texts(pattern):
    return {f"{name}: {match.group()}" for name, text in texts().items() for match in re.finditer(pattern, text)}


def test_no_text_names_a_place_on_a_developers_machine():
    places = "|".join(("home", "root", "tmp", "Users", "work"))
    assert not found_in_texts(rf"(?<![\w.:}}/-])/({places})/\w|[A-Z]:\\+Users\\")


def test_no_text_holds_a_token():
    kinds = r"gh[pousr]_\w{16,}", r"hf_\w{16,}", r"AKIA[0-9A-Z]{12,}", r"eyJ[\w-]{16,}\.", r"-----BEGIN [A-Z ]*PRIVATE"
    named = r"(?i:token|api_?key|secret|password)\W{1,4}(?=\w*\d)[\w.+/-]{20,}"
    assert not found_in_texts("|".join((*kinds, named)))


@every_notebook
def test_a_notebook_names_neither_user_nor_machine(path):
    common = {"root", "user", "runner", "jovyan", "localhost"}  # what hosts of notebooks call everybody
    names = {Path.home().name, *socket.gethostname().split(".")} - common
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    told = str([{k: v for k, v in output.get("data", output).items() if "image" not in k} for output in outputs])
    assert not [name for name in names if len(name) > 3 and re.search(rf"\b{re.escape(name)}\b", told)]


# Notebooks, as they are stored


@every_notebook
def test_a_notebook_is_stored_as_it_ran_from_top_to_bottom(path):
    ran = [cell for cell in cells(path) if "".join(cell["source"]).strip()]
    assert [cell["execution_count"] for cell in ran] == list(range(1, len(ran) + 1))
    assert any(cell["outputs"] for cell in ran)


@every_notebook
def test_a_notebook_holds_no_errors_and_no_warnings(path):
    for cell in cells(path):
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr" or "Warning" not in "".join(output["text"])


@every_notebook
def test_a_notebook_and_its_pictures_are_small(path):
    assert path.stat().st_size <= 1_000_000
    for cell in cells(path):
        for output in cell["outputs"]:
            picture = "".join(output.get("data", {}).get("image/png", ""))
            assert len(picture) * 3 // 4 <= 120_000
