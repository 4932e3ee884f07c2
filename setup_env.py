"""Make the environment of the notebooks: `python3 setup_env.py [VENV]`, .venv by default. Standard library only."""

import hashlib
import http.client
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent
INPUTS = ("requirements.txt", "pyproject.toml", "setup_env.py")
STAMP = ".ready"  # the Makefile waits for this file too
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 5
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def check_python(version: tuple = sys.version_info[:3]) -> None:
    """Stop with a kind word on a Python that the packages no longer support."""
    if version < (3, 11):
        found = ".".join(map(str, version))
        sys.exit(f"Python 3.11 or newer is needed and this is {found}; try `make lab PYTHON=python3.13`.")


def run(command: list) -> None:
    """Run `command`, and raise CalledProcessError where it fails."""
    subprocess.run(command, check=True)


def venv_python(venv: Path, system: str = os.name) -> Path:
    """Where the environment's own Python lies, on Windows or elsewhere."""
    return venv / "Scripts" / "python.exe" if system == "nt" else venv / "bin" / "python"


def pip_install(venv: Path, *arguments: str) -> None:
    """Let the environment's pip install what `arguments` name."""
    run([str(venv_python(venv)), "-m", "pip", "--disable-pip-version-check", "install", *arguments])


def fingerprint() -> str:
    """A hash of the files that decide what is installed, and of the Python that it is installed for."""
    digest = hashlib.sha256(sys.version.encode())
    for name in INPUTS:
        digest.update(hashlib.sha256((ROOT / name).read_bytes()).digest())
    return digest.hexdigest()


def make_venv(venv: Path) -> None:
    """Make the environment, afresh where another Python made it; leave folders that are not ours alone."""
    config = venv / "pyvenv.cfg"
    if not config.is_file():
        if venv.exists() and not (venv.is_dir() and not any(venv.iterdir())):
            sys.exit(f"{venv} exists and is no virtual environment; name another folder.")
        return run([sys.executable, "-m", "venv", str(venv)])
    ours = (venv / STAMP).is_file()
    same = re.search(rf"^version\w* *= *{re.escape(platform.python_version())}\b", config.read_text(), re.MULTILINE)
    if not same and not ours:
        sys.exit(f"{venv} was made with another Python than {platform.python_version()}; delete it and run this again.")
    run([sys.executable, "-m", "venv", *([] if same else ["--clear"]), str(venv)])


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver is loaded or nvidia-smi (all that WSL shows) finds a GPU."""
    if NVIDIA_DRIVER.exists():
        return True
    tool = shutil.which("nvidia-smi")
    try:
        return tool is not None and subprocess.run([tool, "-L"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def answers(index: str) -> bool:
    """Whether `index` lists torch within PROBE_SECONDS, all told."""
    answered = threading.Event()

    def ask():
        try:
            with urllib.request.urlopen(f"{index.rstrip('/')}/torch/", timeout=PROBE_SECONDS):
                answered.set()
        except (OSError, ValueError, http.client.HTTPException):
            pass  # refused, cut off, no such page or no such address: all mean PyPI

    # urlopen's time limit is for each read; a slow look-up or a dripping server would outlast it, so wait from outside.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    return answered.is_set()


def choose_index() -> tuple:
    """Where torch comes from, as an index's address or "" for PyPI, and the reason in words."""
    # PyPI's Linux wheels bring gigabytes of CUDA; those for macOS and Windows are small already.
    if platform.system() != "Linux":
        return "", "only Linux needs another index for small wheels"
    if has_nvidia_gpu():
        return "", "there is an NVIDIA GPU"
    index = os.environ.get("QAAN_TORCH_INDEX", CPU_INDEX)
    if answers(index):
        return index, "no NVIDIA GPU here, so wheels without CUDA will do"
    return "", f"no NVIDIA GPU here, but {urlsplit(index).hostname or 'the CPU index'} is out of reach"


def torch_requirements() -> list:
    """The lines for torch and torchvision in requirements.txt, without their comments."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if re.match(r"torch(vision)?\b", line)]


def install_torch(venv: Path) -> None:
    """Install torch and torchvision, and say in one line where from."""
    index, reason = choose_index()
    print(f"torch comes from {urlsplit(index).hostname if index else 'PyPI'}: {reason}.", flush=True)
    # With the lowest versions, so that an older wheel on the user's own index or find-links is passed over.
    wanted = torch_requirements()
    if index:
        try:
            return pip_install(venv, "--index-url", index, *wanted)
        except subprocess.CalledProcessError:
            print("That failed, so torch comes from PyPI after all.", flush=True)
    pip_install(venv, *wanted)


def set_up(venv: Path) -> None:
    """Make the environment and install all of it, or nothing where it is up to date."""
    stamp = venv / STAMP
    now = fingerprint()
    if stamp.is_file() and stamp.read_text() == now:
        return stamp.touch()  # newer than the files, so that make sees it too
    make_venv(venv)
    stamp.unlink(missing_ok=True)  # an interrupted set-up must not pass for a finished one
    install_torch(venv)
    pip_install(venv, "-r", str(ROOT / "requirements.txt"), "-e", str(ROOT))
    stamp.write_text(now)


if __name__ == "__main__":
    check_python()
    try:
        set_up(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv"))
    except subprocess.CalledProcessError as error:
        sys.exit(f"The set-up stopped at `{' '.join(error.cmd)}`; its own words stand above. Running it again goes on.")
