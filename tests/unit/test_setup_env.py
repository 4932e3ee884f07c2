"""setup_env.py, requirements.txt, pyproject.toml and the Makefile: what is installed, from where, and how often."""

import base64
import contextlib
import functools
import hashlib
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

import setup_env

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
REQUIREMENT_LINES = [line for line in REQUIREMENTS if line and not line.startswith("#")]
MAKE = shutil.which("make")
needs_make = pytest.mark.skipif(MAKE is None, reason="make is not installed here")


@pytest.fixture(autouse=True)
def plain_linux(monkeypatch):
    """Every test sees Linux without a GPU, and addresses on this machine are asked without a proxy."""
    monkeypatch.setattr(setup_env.platform, "system", lambda: "Linux")
    monkeypatch.setattr(setup_env, "has_nvidia_gpu", lambda: False)
    monkeypatch.delenv("QAAN_TORCH_INDEX", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the files that decide what is installed, as setup_env's project."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in setup_env.INPUTS:
        shutil.copy(ROOT / name, folder)
    monkeypatch.setattr(setup_env, "ROOT", folder)
    return folder


@pytest.fixture
def commands(monkeypatch):
    """The commands that setup_env would run, none of which is; torch comes from PyPI."""
    ran = []

    def record(command):
        if "venv" in command:
            Path(command[-1]).mkdir(parents=True, exist_ok=True)
            (Path(command[-1]) / "pyvenv.cfg").write_text(f"version = {setup_env.platform.python_version()}\n")
        ran.append(command)

    monkeypatch.setattr(setup_env, "run", record)
    monkeypatch.setattr(setup_env, "choose_index", lambda: ("", "a test says so"))
    return ran


def fake_wheel(folder: Path, name: str, version: str) -> str:
    """Write the smallest wheel of `name` that pip installs, and return its file name."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{info}/RECORD,,\n"
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = record
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


@contextlib.contextmanager
def serving(folder: Path):
    """Serve `folder` on this machine; yields its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def mute_server(drip: bool):
    """Accept a connection and not finish an answer: say nothing, or a header's letter now and then.

    After 5 s it hangs up, so that a probe that waits for ever fails its test instead of hanging it.
    """
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX: " if drip else b"")
                    end = time.monotonic() + 5
                    while not stop.wait(0.1) and time.monotonic() < end:
                        connection.sendall(b"x" if drip else b"")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stop.set()
            thread.join(5)


def closed_port() -> int:
    """A port on this machine where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# --- where torch comes from ---


def test_torch_is_installed_from_an_index_that_answers(tmp_path, monkeypatch, capsys):
    for name in ("torch", "torchvision"):
        folder = tmp_path / "index" / name
        folder.mkdir(parents=True)
        wheels = [fake_wheel(folder, name, version) for version in ("0.1", "99.0")]
        (folder / "index.html").write_text("".join(f'<a href="{wheel}">{wheel}</a>' for wheel in wheels))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))
    # Should the stand-in fail, PyPI's real torch must not be fetched in its place.
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("PIP_RETRIES", "0")
    venv = tmp_path / "venv"
    setup_env.make_venv(venv)

    with serving(tmp_path / "index") as index:
        monkeypatch.setenv("QAAN_TORCH_INDEX", index)
        setup_env.install_torch(venv)

    said = capsys.readouterr().out
    assert said == "torch comes from 127.0.0.1: no NVIDIA GPU here, so wheels without CUDA will do.\n"
    versions = "import torch, torchvision; print(torch.__version__, torchvision.__version__)"
    python = setup_env.venv_python(venv)
    shown = subprocess.run([python, "-c", versions], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["99.0", "99.0"]


@pytest.mark.parametrize("drip", [False, True], ids=["silent", "dripping"])
def test_an_index_that_never_answers_costs_seconds_and_means_pypi(drip, monkeypatch, capsys):
    assert setup_env.PROBE_SECONDS <= 5
    monkeypatch.setattr(setup_env, "PROBE_SECONDS", 1)
    ran = []
    monkeypatch.setattr(setup_env, "run", ran.append)
    with mute_server(drip) as index:
        monkeypatch.setenv("QAAN_TORCH_INDEX", index)
        start = time.monotonic()
        setup_env.install_torch(Path("venv"))
        took = time.monotonic() - start
    assert took < 2.5
    assert len(ran) == 1 and "--index-url" not in ran[0]
    assert capsys.readouterr().out == "torch comes from PyPI: no NVIDIA GPU here, but 127.0.0.1 is out of reach.\n"


def test_a_closed_port_means_pypi(monkeypatch):
    monkeypatch.setenv("QAAN_TORCH_INDEX", f"http://127.0.0.1:{closed_port()}")
    assert setup_env.choose_index() == ("", "no NVIDIA GPU here, but 127.0.0.1 is out of reach")


@pytest.mark.parametrize("address", ["", "not an address", "http://"])
def test_a_wrong_address_means_pypi(address, monkeypatch):
    monkeypatch.setenv("QAAN_TORCH_INDEX", address)
    assert setup_env.choose_index()[0] == ""


def test_an_index_without_torch_means_pypi(tmp_path, monkeypatch):
    with serving(tmp_path) as index:
        monkeypatch.setenv("QAAN_TORCH_INDEX", index)
        assert setup_env.choose_index()[0] == ""


def test_pytorchs_cpu_index_is_asked_by_default(monkeypatch):
    monkeypatch.setattr(setup_env, "answers", lambda index: index == "https://download.pytorch.org/whl/cpu")
    assert setup_env.choose_index()[0] == "https://download.pytorch.org/whl/cpu"


def never_ask(index):
    pytest.fail(f"{index} was asked")


def test_with_a_gpu_torch_comes_from_pypi_unasked(monkeypatch):
    monkeypatch.setattr(setup_env, "has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(setup_env, "answers", never_ask)
    assert setup_env.choose_index() == ("", "there is an NVIDIA GPU")


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_elsewhere_than_on_linux_torch_comes_from_pypi_unasked(system, monkeypatch):
    monkeypatch.setattr(setup_env.platform, "system", lambda: system)
    monkeypatch.setattr(setup_env, "answers", never_ask)
    assert setup_env.choose_index()[0] == ""


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for nvidia-smi is a shell script")
@pytest.mark.parametrize(
    ("driver", "script", "found"),
    [(True, None, True), (False, "exit 0", True), (False, "exit 9", False), (False, None, False)],
    ids=["driver", "nvidia-smi works", "nvidia-smi fails", "neither"],
)
def test_a_gpu_is_found_by_its_driver_or_a_working_nvidia_smi(driver, script, found, tmp_path, monkeypatch):
    monkeypatch.undo()  # the real has_nvidia_gpu
    monkeypatch.setattr(setup_env, "NVIDIA_DRIVER", tmp_path if driver else tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    if script:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
    assert setup_env.has_nvidia_gpu() is found


def test_pypi_takes_over_where_pip_fails_on_the_index(monkeypatch, capsys):
    ran = []

    def fail_first(command):
        ran.append(command)
        if len(ran) == 1:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(setup_env, "run", fail_first)
    monkeypatch.setattr(setup_env, "choose_index", lambda: ("https://index.example/cpu", "why not"))
    setup_env.install_torch(Path("venv"))
    wanted = setup_env.torch_requirements()
    assert ran[0][-4:] == ["--index-url", "https://index.example/cpu", *wanted]
    assert ran[1][-3:] == ["install", *wanted]
    assert capsys.readouterr().out.splitlines() == [
        "torch comes from index.example: why not.",
        "That failed, so torch comes from PyPI after all.",
    ]


def test_torch_is_asked_for_with_its_lowest_version():
    torch, torchvision = setup_env.torch_requirements()
    assert re.fullmatch(r"torch>=[\d.]+", torch) and re.fullmatch(r"torchvision>=[\d.]+", torchvision)
    assert {torch, torchvision} <= {line.split("#")[0].strip() for line in REQUIREMENTS}


# --- the environment and its stamp ---


def test_the_first_set_up_installs_torch_and_then_all_the_rest(project, commands, tmp_path):
    venv = tmp_path / "venv"
    setup_env.set_up(venv)
    make, torch, rest = commands
    assert make == [sys.executable, "-m", "venv", str(venv)]
    pip = [str(setup_env.venv_python(venv)), "-m", "pip", "--disable-pip-version-check", "install"]
    assert torch == pip + setup_env.torch_requirements()
    assert rest == [*pip, "-r", str(project / "requirements.txt"), "-e", str(project)]
    assert (venv / ".ready").is_file()


def test_an_up_to_date_environment_installs_nothing_and_looks_new_to_make(project, commands, tmp_path):
    stamp = tmp_path / "venv" / ".ready"
    setup_env.set_up(stamp.parent)
    commands.clear()
    os.utime(stamp, (0, 0))
    setup_env.set_up(stamp.parent)
    assert commands == []
    assert stamp.stat().st_mtime > (project / "requirements.txt").stat().st_mtime


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml", "setup_env.py"])
def test_a_changed_file_installs_again(name, project, commands, tmp_path):
    setup_env.set_up(tmp_path / "venv")
    commands.clear()
    with (project / name).open("a") as file:
        file.write("# changed\n")
    setup_env.set_up(tmp_path / "venv")
    assert len(commands) == 3


def test_another_python_installs_again_in_a_fresh_environment(project, commands, tmp_path, monkeypatch):
    setup_env.set_up(tmp_path / "venv")
    commands.clear()
    monkeypatch.setattr(setup_env.sys, "version", "3.99.0 (a test)")
    monkeypatch.setattr(setup_env.platform, "python_version", lambda: "3.99.0")
    setup_env.set_up(tmp_path / "venv")
    assert commands[0][-2:] == ["--clear", str(tmp_path / "venv")]
    assert len(commands) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), subprocess.CalledProcessError(1, ["pip"])], ids=repr)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupted_set_up_is_done_again(at, error, project, commands, tmp_path, monkeypatch):
    record, calls = setup_env.run, []
    venv = tmp_path / "venv"

    def interrupted(command):
        calls.append(command)
        if len(calls) == at:
            raise error
        record(command)

    monkeypatch.setattr(setup_env, "run", interrupted)
    with pytest.raises(type(error)):
        setup_env.set_up(venv)
    assert not (venv / ".ready").exists()
    setup_env.set_up(venv)
    assert len(calls) == at + 3 and (venv / ".ready").is_file()


def test_an_interrupted_change_that_is_undone_is_not_taken_for_ready(project, commands, tmp_path, monkeypatch):
    requirements = project / "requirements.txt"
    before = requirements.read_text()
    setup_env.set_up(tmp_path / "venv")
    requirements.write_text(before + "# changed\n")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(setup_env, "pip_install", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        setup_env.set_up(tmp_path / "venv")
    requirements.write_text(before)
    commands.clear()
    setup_env.set_up(tmp_path / "venv")
    assert len(commands) == 3


def test_a_folder_that_is_no_environment_is_left_alone(commands, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(SystemExit, match="no virtual environment"):
        setup_env.set_up(tmp_path)
    assert commands == []


def test_an_environment_of_the_users_own_is_not_cleared(commands, tmp_path):
    (tmp_path / "pyvenv.cfg").write_text("version = 3.8.1\n")
    with pytest.raises(SystemExit, match="another Python"):
        setup_env.set_up(tmp_path)
    assert commands == []


def test_an_old_python_is_refused_with_its_version():
    with pytest.raises(SystemExit, match=r"3\.11 or newer .* this is 3\.10\.13"):
        setup_env.check_python((3, 10, 13))
    assert setup_env.check_python((3, 11, 0)) is None


def test_pythons_place_on_windows_and_elsewhere():
    assert setup_env.venv_python(Path("v"), "nt") == Path("v/Scripts/python.exe")
    assert setup_env.venv_python(Path("v"), "posix") == Path("v/bin/python")


# --- requirements.txt, pyproject.toml and the Makefile ---


@pytest.mark.parametrize("line", REQUIREMENT_LINES, ids=lambda line: line.split(">")[0])
def test_a_requirement_has_a_lowest_version_no_highest_and_a_reason(line):
    assert re.fullmatch(r"[a-z0-9-]+>=\d+(\.\d+)+ +# \S.{5,}", line)


def test_pyproject_repeats_lines_of_requirements_txt():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line.split("#")[0].strip() for line in REQUIREMENT_LINES]
    assert len(lines) == len(set(lines))
    assert len(project["dependencies"]) == 17
    assert set(project["dependencies"]) <= set(lines)
    for extra in ("hardware", "sweep"):
        assert set(project["optional-dependencies"][extra]) <= set(lines)
    assert set(project["optional-dependencies"]["notebooks"]) <= {"qaan_helpers[hardware,sweep]", *lines}


def call_make(*arguments, folder=ROOT) -> str:
    """What make prints; with nothing left of a make that may have started the tests."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON")}
    command = [MAKE, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@needs_make
def test_make_alone_lists_targets_that_exist():
    targets = [line.split()[1] for line in call_make().splitlines()]
    assert {"lab", "test", "lint", "notebooks", "clean"} <= set(targets)
    for target in targets:
        call_make("-n", target)  # fails where the target or what it needs is missing
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(targets) == set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())


@needs_make
@pytest.mark.parametrize("target", ["lab", "test", "lint", "notebooks"])
def test_make_sets_up_where_needed_and_only_there(target, tmp_path):
    for name in ("Makefile", *setup_env.INPUTS):
        shutil.copy(ROOT / name, tmp_path)
    assert "setup_env.py .venv" in call_make("-n", target, folder=tmp_path)
    stamp = tmp_path / ".venv" / ".ready"
    stamp.parent.mkdir()
    stamp.touch()
    assert "setup_env.py .venv" not in call_make("-n", target, folder=tmp_path)
    for name in setup_env.INPUTS:
        os.utime(tmp_path / name, (2**32, 2**32))
        assert "setup_env.py .venv" in call_make("-n", target, folder=tmp_path), name
        os.utime(tmp_path / name, (0, 0))
