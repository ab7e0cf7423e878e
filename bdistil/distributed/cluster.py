"""Connecting to Ray, local or remote, quietly; and checking that trials can be placed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator

import ray

from bdistil.errors import ClusterError
from bdistil.spec import WorkerSpec

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@contextlib.contextmanager
def cluster(workers: WorkerSpec, address: str | None, verbose: bool) -> Iterator[None]:
    """Ray for the body: the cluster at `address` or RAY_ADDRESS, else one on this machine.

    A Ray that this process has initialised already is used as it is, and left running.

    Raises:
        ClusterError: if there is no cluster at the address or it cannot hold one trial.
    """
    ours = not ray.is_initialized()
    with _environment(verbose):
        if ours:
            connect(address or os.environ.get("RAY_ADDRESS"), verbose)
        try:
            check_resources(workers)
            yield
        finally:
            if ours:
                ray.shutdown()


def connect(address: str | None, verbose: bool) -> None:
    """Start Ray here, or join the cluster at `address`.

    Raises:
        ClusterError: if that fails, or `address` is a Ray Client address.
    """
    if address and address.startswith("ray://"):
        raise ClusterError(
            f"{address} is a Ray Client address, far too slow for a search; use the cluster's own "
            f"address, or run the command on it with `ray job submit`."
        )
    level = logging.INFO if verbose else logging.ERROR
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=False if address is None else None,
            log_to_driver=verbose,
            logging_level=level,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        detail = " ".join(str(error).split())[:200]
        raise ClusterError(
            f"no Ray cluster answers at {address or 'this machine'} ({detail}); check --address, "
            f"or unset RAY_ADDRESS to search on this machine."
        ) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's own would end us without a word


def check_resources(workers: WorkerSpec) -> None:
    """Make sure that some node can hold one trial.

    Raises:
        ClusterError: naming what is missing.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for resource, field, wanted in (
        ("CPU", "workers.cpus", workers.cpus),
        ("GPU", "workers.gpus", workers.gpus),
    ):
        most = max((node.get(resource, 0) for node in nodes), default=0)
        if wanted > most:
            raise ClusterError(
                f"{field} is {wanted:g}, but the largest node has {most:g} {resource}s; lower it "
                f"or give --address of a larger cluster."
            )
    if not any(
        node.get("CPU", 0) >= workers.cpus and node.get("GPU", 0) >= workers.gpus for node in nodes
    ):
        raise ClusterError(
            f"no node has {workers.cpus:g} CPUs and {workers.gpus:g} GPUs together; lower "
            f"workers.cpus or workers.gpus."
        )


def trial_slots(workers: WorkerSpec) -> int:
    """How many trials the cluster can hold now, at most `workers.count`."""
    slots = 0
    for node in ray.nodes():
        if node["Alive"]:
            resources = node["Resources"]
            fits = [resources.get("CPU", 0) // workers.cpus]
            if workers.gpus:
                fits.append(resources.get("GPU", 0) // workers.gpus)
            slots += int(min(fits))
    return min(slots, workers.count)


@contextlib.contextmanager
def _environment(verbose: bool) -> Iterator[None]:
    """Silence Ray's and Tune's own output; what the user set stays."""
    wanted = {k: v for k, v in QUIET.items() if k not in os.environ}
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune")]
    levels = [logger.level for logger in loggers]
    os.environ.update(wanted)
    if not verbose:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for key in wanted:
            os.environ.pop(key, None)
        for logger, previous in zip(loggers, levels, strict=True):
            logger.setLevel(previous)
