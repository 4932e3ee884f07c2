"""Quantum circuit associative adversarial networks (QC-AAN), in parts that a notebook can reuse one by one.

The public names are listed in `__init__.pyi`, where type checkers and editors read them. At run time they are imported
at first use, so `import qaan_helpers` loads neither PyTorch nor Qiskit.
"""

import lazy_loader

__version__ = "0.2.0"  # the only place; pyproject.toml reads it from here

_getattr, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name in __all__:
        return _getattr(name)
    import difflib

    close = difflib.get_close_matches(name, __all__)
    hint = f"did you mean {' or '.join(close)}?" if close else f"the public names are {', '.join(__all__)}"
    raise AttributeError(f"qaan_helpers has no attribute {name!r}; {hint}")
