"""setup_env.py: what is installed, from where, and how often."""

import ast
import contextlib
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

import setup_env

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
NO_GPU, GPU, SMALL = "this machine has no NVIDIA GPU", "this machine has an NVIDIA GPU", "its wheels for this system"
CPU, PYPI = "PyTorch comes from the index of CPU wheels", "PyTorch comes from PyPI"
PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"
BROKEN = subprocess.CalledProcessError(1, ["pip"])


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """The commands that setup_env would run in a copy of the project; `commands.errors` are raised one by one."""

    class Commands(list):
        errors: list = []

    def record(*command):
        ran.append(command)
        if ran.errors and (error := ran.errors.pop(0)):
            raise error
        if "venv" in command:
            python = Path(command[-1]) / PYTHON
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
            (Path(command[-1]) / "pyvenv.cfg").write_text(f"version = {setup_env.platform.python_version()}\n")

    ran = Commands()
    for name in setup_env.INPUTS:
        os.utime(shutil.copy(ROOT / name, tmp_path), (0, 0))
    monkeypatch.setattr(setup_env, "ROOT", tmp_path)
    monkeypatch.setattr(setup_env, "run", record)
    monkeypatch.setattr(setup_env, "choose_index", lambda: ("https://cpu.example", "a test says so"))
    return ran


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index in a folder. Below slow/ it sends a letter now and then, and never ends a line."""

    def do_GET(self):
        if not self.path.startswith("/slow/"):
            return super().do_GET()
        with contextlib.suppress(OSError):  # until the client leaves
            while not time.sleep(0.1):
                self.wfile.write(b"x")

    def log_message(self, *_):
        pass


@pytest.fixture
def index(tmp_path, monkeypatch):
    """The address of an index of the wheels in the folder "index", without a GPU in this Linux."""
    monkeypatch.setattr(setup_env.platform, "system", lambda: "Linux")
    monkeypatch.setattr(setup_env, "NVIDIA_DRIVER", tmp_path / "driver")
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "index" / "torch").mkdir(parents=True)
    handler = functools.partial(Index, directory=str(tmp_path / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("machine", "address", "reason"),
    [
        ("Linux", "{}", NO_GPU),
        ("nvidia-smi fails", "{}/", NO_GPU),
        *((machine, "{}", GPU) for machine in ("nvidia-smi works", "driver")),
        *((machine, "{}", SMALL) for machine in ("Darwin", "Windows")),
        *(("Linux", f"{{}}/{path}", "did not answer within") for path in ("slow", "no-such-page")),
        *(
            ("Linux", address, "did not answer within")
            for address in ("http://127.0.0.1:9", "", "not an address", "http://[")
        ),
    ],
)
def test_cpu_wheels_are_chosen_if_their_index_answers(machine, address, reason, index, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_env, "PROBE_SECONDS", 1 if "slow" in address else 5)
    monkeypatch.setenv("QAAN_TORCH_INDEX", address.format(index))
    if machine in ("Darwin", "Windows"):
        monkeypatch.setattr(setup_env.platform, "system", lambda: machine)
    elif machine == "driver":
        setup_env.NVIDIA_DRIVER.touch()
    elif machine != "Linux":
        program = tmp_path / "programs" / "nvidia-smi"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\nexit {int('fails' in machine)}\n")
        program.chmod(0o755)
    start = time.monotonic()
    chosen, why = setup_env.choose_index()
    assert time.monotonic() - start < 6
    assert reason in why and chosen == (index if reason == NO_GPU else "")


def test_pytorchs_index_is_asked_by_default_and_for_five_seconds_at_most(index, monkeypatch):
    monkeypatch.delenv("QAAN_TORCH_INDEX", raising=False)
    default = "https://download.pytorch.org/whl/cpu"
    monkeypatch.setattr(setup_env, "succeeds", lambda *command: f"{default}/torch/" in command)
    assert setup_env.choose_index() == (default, NO_GPU)
    assert setup_env.PROBE_SECONDS <= 5


def test_pip_takes_wheels_from_the_index_and_passes_over_older_ones(index, tmp_path, monkeypatch, capfd):
    for name, version in (("torch", "99.0"), ("torchvision", "99.0"), ("torch", "0.1")):
        folder, info = tmp_path / "index" / name, f"{name}-{version}.dist-info"
        folder.mkdir(exist_ok=True)
        with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("QAAN_TORCH_INDEX", index)
    monkeypatch.setattr(setup_env, "run", lambda *command: "-e" in command or subprocess.run(command, check=True))
    setup_env.set_up(tmp_path / "venv")
    output = capfd.readouterr().out
    assert f"{CPU}: {NO_GPU}.\n" in output and "Successfully installed torch-99.0 torchvision-99.0" in output


@pytest.mark.parametrize(
    ("address", "errors", "last_line"),
    [
        ("", [], f"{PYPI}: a test says so."),
        ("https://cpu.example", [], f"{CPU}: a test says so."),
        ("https://cpu.example", [None, BROKEN], f"{PYPI} after all: the installation of CPU wheels failed."),
    ],
)
def test_pytorch_comes_first(address, errors, last_line, commands, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup_env, "choose_index", lambda: (address, "a test says so"))
    commands.errors = errors
    setup_env.set_up(tmp_path / "venv")
    (*create, _), *cpu_wheels, rest = commands
    assert create == [sys.executable, "-m", "venv"]
    assert rest[1:3] == ("-m", "pip") and rest[-4:] == ("-r", str(tmp_path / "requirements.txt"), "-e", str(tmp_path))
    assert len(cpu_wheels) == bool(address)
    for command in cpu_wheels:
        assert re.search(rf" install --index-url {address} torch>=\d\S+ torchvision>=\d\S+$", " ".join(command))
    assert capsys.readouterr().out.splitlines()[-1] == last_line


@pytest.mark.parametrize("change", [None, *setup_env.INPUTS, "no Python"])
def test_a_second_call_installs_only_after_a_change(change, commands, tmp_path):
    setup_env.set_up(tmp_path / "venv")
    commands.clear()
    if change == "no Python":
        (tmp_path / "venv" / PYTHON).unlink()
    elif change:
        os.utime(tmp_path / change, (2**32, 2**32))
    setup_env.set_up(tmp_path / "venv")
    assert len(commands) == (3 if change else 0)


@pytest.mark.parametrize(("error", "step"), [(BROKEN, 0), (BROKEN, 2), *((KeyboardInterrupt(), at) for at in range(3))])
def test_an_interrupted_set_up_is_not_taken_for_finished(error, step, commands, tmp_path):
    ready = tmp_path / "venv" / ".ready"
    for changed in (0, 2**32):  # the first set-up, and one after a change that is undone later
        os.utime(tmp_path / "requirements.txt", (changed, changed))
        commands.errors = [*[None] * step, error]
        with pytest.raises(type(error)):
            setup_env.set_up(tmp_path / "venv")
        os.utime(tmp_path / "requirements.txt", (0, 0))
        commands.clear()
        assert not ready.exists()
        setup_env.set_up(tmp_path / "venv")
        assert len(commands) == 3 and ready.exists()


@pytest.mark.parametrize("name", ["folder", "folder/thesis.txt", "folder/pyvenv.cfg"])
def test_anything_but_an_environment_of_this_python_is_left_alone(name, commands, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("version = 3.1.1")
    message = "is an environment of another Python" if "pyvenv" in name else "exists and is not a virtual environment"
    with pytest.raises(SystemExit, match=message):
        setup_env.set_up(tmp_path / "folder")
    assert commands == [] and (tmp_path / name).read_text() == "version = 3.1.1"


def test_an_old_python_and_a_failed_command_are_explained(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_env.sys, "argv", ["setup_env.py", str(tmp_path / "venv")])
    commands.errors = [BROKEN]
    with pytest.raises(SystemExit, match="^The set-up failed at `pip`; .* Run it again to continue"):
        setup_env.main()
    ast.parse(Path(setup_env.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))
    monkeypatch.setattr(setup_env.sys, "version_info", (3, 10, 13))
    with pytest.raises(SystemExit, match=r"^Python 3\.11 or newer is required; this is Python .* Name a newer one"):
        setup_env.main()
