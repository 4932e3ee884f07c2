"""Set up the environment of the notebooks: `python3 setup_env.py [FOLDER]`, in `.venv` by default.

Only the standard library is used, and the file parses on Python 3.6, so that an old Python gets a message.
"""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
INPUTS = ("requirements.txt", "pyproject.toml", "setup_env.py")  # the Makefile's rule for .venv/.ready names them too
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
PROBE = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1])"
PROBE_SECONDS = 5


def run(*command: str) -> None:
    """Run a command.

    Args:
        *command: The program and its arguments.

    Raises:
        subprocess.CalledProcessError: If the command fails.
    """
    subprocess.run(command, check=True)


def succeeds(*command: str) -> bool:
    """Run a command without showing its output.

    Args:
        *command: The program and its arguments.

    Returns:
        Whether it ended without an error within `PROBE_SECONDS`.
    """
    try:
        return subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def choose_index() -> "tuple[str, str]":
    """Choose where PyTorch comes from. On Linux, PyPI's wheels bring gigabytes of CUDA libraries.

    Returns:
        The address of an index of CPU wheels, or "" for PyPI, and the reason.
    """
    if platform.system() != "Linux":
        return "", "its wheels for this system are small"
    if NVIDIA_DRIVER.exists() or succeeds("nvidia-smi", "-L"):  # WSL has only nvidia-smi
        return "", "this machine has an NVIDIA GPU"
    index = os.environ.get("QAAN_TORCH_INDEX", CPU_INDEX).rstrip("/")
    # A process of its own: urlopen's time limit applies to each read, so a slow server could exceed it.
    if succeeds(sys.executable, "-c", PROBE, f"{index}/torch/"):
        return index, "this machine has no NVIDIA GPU"
    return "", f"the index of CPU wheels did not answer within {PROBE_SECONDS} seconds"


def install(python: Path) -> None:
    """Install PyTorch from the chosen index, then all other requirements and this package.

    Args:
        python: The environment's Python.

    Raises:
        subprocess.CalledProcessError: If an installation from PyPI fails.
    """
    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "install")
    index, reason = choose_index()
    print(f"PyTorch comes from {'the index of CPU wheels' if index else 'PyPI'}: {reason}.", flush=True)
    if index:
        # With the lowest versions: pip may be configured to look at older wheels elsewhere, too.
        requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
        try:
            run(*pip, "--index-url", index, *re.findall(r"^torch(?:vision)?>=\S+", requirements, re.MULTILINE))
        except subprocess.CalledProcessError:
            print("PyTorch comes from PyPI after all: the installation of CPU wheels failed.", flush=True)
    run(*pip, "-r", str(ROOT / "requirements.txt"), "-e", str(ROOT))


def check_folder(folder: Path) -> None:
    """Exit if the folder holds anything but a virtual environment of this Python.

    Args:
        folder: Where the environment is, or will be.
    """
    config = folder / "pyvenv.cfg"
    version = "{}.{}".format(*sys.version_info)
    if not config.is_file():
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            sys.exit(f"{folder} exists and is not a virtual environment. Name another folder.")
    elif not re.search(rf"^version\w* *= *{re.escape(version)}\b", config.read_text(encoding="utf-8"), re.MULTILINE):
        sys.exit(f"{folder} is an environment of another Python than {version}. Delete it and run this again.")


def set_up(folder: Path) -> None:
    """Create the environment and install everything in it, unless it is up to date.

    Args:
        folder: The environment's folder.
    """
    ready = folder / ".ready"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    newest = max((ROOT / name).stat().st_mtime for name in INPUTS)
    if ready.is_file() and ready.stat().st_mtime >= newest and python.exists():
        return
    check_folder(folder)
    if ready.exists():
        ready.unlink()  # an interrupted set-up must not look like a finished one
    run(sys.executable, "-m", "venv", str(folder))
    install(python)
    ready.touch()


def main() -> None:
    """Set up the environment in the folder that the command line names."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this is what tells users of an old Python)
        sys.exit(
            f"Python 3.11 or newer is required; this is Python {platform.python_version()}. "
            "Name a newer one, such as `make lab PYTHON=python3.13` or `python3.13 setup_env.py`."
        )
    try:
        set_up(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv"))
    except subprocess.CalledProcessError as error:
        sys.exit(f"The set-up failed at `{' '.join(error.cmd)}`; see its messages above. Run it again to continue.")


if __name__ == "__main__":
    main()
