"""Quantum circuit associative adversarial networks, in parts that a notebook can reuse one by one.

Names are imported at first use, so `import qaan_helpers` costs next to nothing.
"""

from importlib import import_module

_HOME = {
    "mnist": ("Digits", "load_mnist"),
    "bits": ("binarise", "entropy", "from_index", "mutual_information", "to_index", "total_correlation"),
    "dcgan": ("Discriminator", "Generator"),
    "ansatz": ("qcbm_ansatz",),
    "losses": ("clipped_nll", "empirical", "kl_divergence", "kl_floor"),
    "execution": ("Exact", "ExecutionError", "Primitive", "Shots"),
    "devices": ("circuit_costs", "ibm", "ion_trap_noise", "ionq", "named_execution"),
    "qcbm": ("QCBM", "Bill", "FitResult"),
    "priors": (
        *("MixedPrior", "Prior", "ProductPrior", "QCBMPrior", "RBMPrior", "ReplayPrior"),
        *("ScrambledPrior", "UniformPrior"),
    ),
    "checkpoints": ("bundled",),
    "training": ("QAAN", "Report", "train"),
    "metrics": (
        *("class_balance", "class_coverage", "confidence", "distinct_images"),
        *("frechet_distance", "inception_score", "kernel_distance", "nearest_distance"),
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_MODULES = (
    *_HOME,
    *("comparison", "exercises", "health", "live", "notebook", "optimisers", "plots", "progress", "sweep", "widgets"),
)
__all__ = sorted(_MODULE_OF)
__version__ = "0.1.0"


def __getattr__(name: str):
    if name in _MODULE_OF:
        return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"qaan_helpers has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]
