"""Distribute the runs of a sweep over a Dask cluster: here, on machines of your own, or behind a queue such as Slurm.

What a failure costs:

- A worker ends: Dask gives its run to another worker, which continues from the run's last checkpoint.
- The client ends: on a cluster of your own, its runs go on, and the next client collects them.
- The scheduler ends: the results that have been saved stay, and the next sweep does the rest.
"""

import logging
import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..progress import tqdm

if TYPE_CHECKING:
    from distributed import Client, Future

# By default, Dask's workers return freed memory from 64 kB on. Each training step needs it again, which takes 1.5 times
# as long.
KEEP_MEMORY = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
SENT_ONCE = {"distributed.admin.large-graph-warning-threshold": "1GB"}  # the packed images, once for all runs
INSTALL = "a sweep needs dask.distributed, which is not installed; install it with: pip install 'qaan_helpers[sweep]'"
PACKAGES = ("qaan_helpers", "torch", "numpy", "scipy", "scikit-learn", "qiskit", "qiskit-aer")
LOST = "the connection to the scheduler has ended"
GPU = "GPU"  # the resource of workers with a GPU, as `dask worker --resources GPU=1` declares it


@dataclass(frozen=True)
class Tls:
    """The files with which a client proves to a remote scheduler who it is, as Dask expects them.

    Args:
        ca: Certificate of the authority that signed the scheduler's and the workers' certificates.
        cert: Certificate of the client.
        key: Private key of the client.
    """

    ca: Path
    cert: Path
    key: Path


class ClusterError(RuntimeError):
    """A cluster cannot be reached, or its workers cannot do the work."""


@contextmanager
def connected(scheduler: Any, workers: int | None, tls: Tls | None, gpus: bool) -> Iterator["Client"]:
    """Connect to a cluster, or start one on this machine.

    Args:
        scheduler: Address of a scheduler; a Dask cluster or client object, as of dask-jobqueue; None for this machine.
        workers: Number of processes on this machine.
        tls: Files for a scheduler with TLS; None for Dask's own configuration.
        gpus: Whether the runs need GPUs; each process on this machine then declares one.

    Yields:
        The client.

    Raises:
        RuntimeError: If dask.distributed is missing.
        ClusterError: If no scheduler answers, or it expects a certificate and there is none.
    """
    try:
        import dask
        from distributed import Client
        from distributed.security import Security
    except ImportError as error:
        raise RuntimeError(INSTALL) from error
    with dask.config.set(KEEP_MEMORY | SENT_ONCE):
        if isinstance(scheduler, Client):  # it belongs to the caller
            yield scheduler
            return
        security = None
        if tls:
            files = {"tls_ca_file": str(tls.ca), "tls_client_cert": str(tls.cert), "tls_client_key": str(tls.key)}
            security = Security(**files, require_encryption=True)
        elif str(scheduler).startswith("tls://") and not Security().get_tls_config_for_role("client").get("cert"):
            raise ClusterError(
                f"the scheduler at {scheduler} expects a certificate. Pass the files of TLS (tls=Tls(ca, cert, key), "
                "or --tls-ca, --tls-cert and --tls-key), or name them in Dask's configuration"
            )
        try:
            client = Client(scheduler, security=security) if scheduler is not None else Client(**_local(workers, gpus))
        except (OSError, TimeoutError) as error:
            raise ClusterError(
                f"no scheduler answers at {scheduler} ({error}). Start one with `dask scheduler`, and compare address, "
                "port and TLS files"
            ) from error
        with client:
            yield client


def _local(workers: int | None, gpus: bool) -> dict[str, Any]:
    """The options of a cluster on this machine, which nobody else can join."""
    # No memory limit: restarting a run that needs more memory does not help.
    local = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": None, "security": True, "protocol": "tls"}
    local |= {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    local |= {"silence_logs": logging.ERROR}  # no warning for each worker that takes its time to end
    return local | ({"resources": {GPU: 1}} if gpus else {})


def distribute(
    client: "Client", jobs: dict[str, tuple[Any, ...]], function: Callable[..., Any], total: int, gpus: bool, keep: bool
) -> Iterator[tuple[str, Any]]:
    """Run jobs on a cluster; yield each name with its result or exception when it ends.

    Args:
        client: The client.
        jobs: Arguments of the function by the names of the jobs.
        function: What runs on the workers.
        total: Number of all jobs for the progress bar, with those that were done before.
        gpus: Whether each job needs a GPU.
        keep: Whether jobs go on if this client ends, and a later one finds them by their names.

    Yields:
        A job's name, and its result or its exception.

    Raises:
        ClusterError: If the workers offer no GPU and one is needed, or the scheduler ends.
    """
    from distributed import as_completed
    from distributed.comm.core import CommClosedError

    print(f"Dashboard: {client.dashboard_link}")
    _check_gpus(client, gpus)
    try:
        futures = _submitted(client, jobs, function, gpus, keep)
        names = {future.key: name for name, future in futures.items()}
        with tqdm(total=total, initial=total - len(jobs), unit="run") as bar:
            for future in as_completed(list(futures.values())):
                if future.status in ("cancelled", "lost"):
                    raise ClusterError(LOST)
                yield names[future.key], future.result() if future.status == "finished" else future.exception()
                if keep:
                    client.unpublish_dataset(names[future.key])
                bar.update()
    except (CommClosedError, CancelledError) as error:
        raise ClusterError(LOST) from error


def _submitted(
    client: "Client", jobs: dict[str, tuple[Any, ...]], function: Callable[..., Any], gpus: bool, keep: bool
) -> "dict[str, Future]":
    """The futures of all jobs: those that an earlier client left on the cluster, and new ones."""
    known = set(client.list_datasets()) & set(jobs) if keep else set()
    if known:
        print(f"{len(known)} of them are on the cluster already, from a client that has ended.")
    options = {"resources": {GPU: 1}} if gpus else {}
    futures = {}
    for name, arguments in jobs.items():
        if name in known:
            futures[name] = client.get_dataset(name)
            continue
        futures[name] = client.submit(function, *arguments, key=name, **options)
        if keep:
            client.publish_dataset(futures[name], name=name)
    return futures


def _check_gpus(client: "Client", gpus: bool) -> None:
    workers = client.scheduler_info()["workers"].values()
    if gpus and workers and not any(worker["resources"].get(GPU) for worker in workers):
        raise ClusterError(
            f"the plan's device is 'cuda', and none of the {len(workers)} workers offers a GPU. Start those that have "
            f"one with: dask worker ADDRESS --nthreads 1 --resources {GPU}=1"
        )


def versions() -> dict[str, str]:
    """Return the installed versions on which the numbers of a run depend.

    Returns:
        Versions by the names of the packages, and that of Python.
    """
    return {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def check_versions(expected: Mapping[str, str]) -> None:
    """Compare this process's packages with the client's.

    Args:
        expected: What `versions` returned to the client.

    Raises:
        ClusterError: If a version differs; its message names the worker.
    """
    from distributed import get_worker

    here = versions()
    differing = [
        f"{name} {here[name]} in place of {wanted}" for name, wanted in expected.items() if here[name] != wanted
    ]
    if differing:
        raise ClusterError(
            f"the worker at {get_worker().address} has {', '.join(differing)}. Install the client's versions there, "
            "and start it again"
        )
