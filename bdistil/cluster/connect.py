"""Connecting to Ray, local or remote, quietly; and checking that trials can be placed."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping

import ray
from ray._private.state import available_resources_per_node
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError, RayError
from ray.experimental.internal_kv import _internal_kv_get

from bdistil.cluster.address import check_answers
from bdistil.cluster.last_words import last_words
from bdistil.errors import BdistilWarning, ClusterError
from bdistil.export.quiet import no_chatter
from bdistil.spec import WorkerSpec
from bdistil.words import counted

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
    """Ray for the body, with room for one trial at least.

    Raises:
        ClusterError: if there is no cluster at the address or it cannot hold one trial.
    """
    with session(address, verbose):
        check_resources(workers)
        if note := waiting(workers):
            warnings.warn(note, BdistilWarning, stacklevel=2)
        yield


@contextlib.contextmanager
def session(address: str | None, verbose: bool = False) -> Iterator[None]:
    """Ray for the body: the cluster at `address` or RAY_ADDRESS, else one on this machine.

    A Ray that this process has initialised already is used as it is, and left running.

    Raises:
        ClusterError: if there is no cluster at the address.
    """
    if ray.is_initialized():
        with _environment(verbose):
            yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    with _environment(verbose):
        connect(address, verbose)
        with last_words(address and ray.get_runtime_context().gcs_address):
            try:
                yield
            finally:
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
    if address:
        check_answers(address)
        use_token(address)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=False if address is None else None,
            log_to_driver=verbose,
            logging_level=level,
        )
    except SystemExit:  # what Ray's own handler makes of a SIGTERM while it starts
        raise KeyboardInterrupt from None
    except Exception as error:  # a plain one of Ray's if its node does not start in 30 s
        detail = " ".join(str(error).split())[:200]
        if "timed out during startup" in detail:
            raise ClusterError(
                "Ray did not start within its 30 s, as on a machine that is too busy or short of "
                "memory; try again when less runs, or search without Ray by workers.count=0."
            ) from None
        if "AF_UNIX" in detail:
            raise ClusterError(
                f"Ray cannot start, since the path of its sockets would be too long below "
                f"{tempfile.gettempdir()!r}; set TMPDIR or RAY_TMPDIR to a shorter one, as /tmp."
            ) from None
        raise ClusterError(
            f"no Ray cluster answers at {address or 'this machine'} ({detail}); check --address "
            f"and the cluster's token (RAY_AUTH_TOKEN or ~/.ray/auth_token), or unset RAY_ADDRESS "
            f"to search on this machine."
        ) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's own would end us without a word


def use_token(address: str) -> None:
    """Show a cluster the token in RAY_AUTH_TOKEN or ~/.ray/auth_token, if it asks for one.

    Ray itself sends it to an explicit address only under RAY_AUTH_MODE=token. `ray start` asks for
    it if the file exists, and any local search writes that file; a cluster that is older than the
    file does not, and would end our actors if we asked for a token in return.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    with contextlib.suppress(ImportError):
        from ray._private.authentication import authentication_token_setup as authentication

        if asks_for_token(address):
            authentication.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def asks_for_token(address: str) -> bool:
    """Whether the cluster at HOST:PORT, which answers, refuses those who show no token."""
    if not address.rpartition(":")[2].isdigit():  # such as "auto", whose meaning Ray knows
        return True
    try:
        with no_chatter():  # Ray logs the refusal that we ask about
            GcsClient(address=address).internal_kv_get(b"", None, timeout=5)
    except AuthenticationError:
        return True
    except RayError:
        return False
    return False


def check_resources(workers: WorkerSpec) -> None:
    """Make sure that some node can hold one trial.

    Raises:
        ClusterError: naming what is missing.
    """
    for shortage in shortages(workers):
        raise ClusterError(shortage)


def shortages(workers: WorkerSpec) -> list[str]:
    """What one trial needs and no node has, each in a sentence with its remedy.

    A cluster that adds nodes lacks nothing: what it can add, it does not tell.
    """
    if scales(workers):
        return []
    nodes = alive_nodes()
    found = []
    for resource, field, wanted in (
        ("CPU", "workers.cpus", workers.cpus),
        ("GPU", "workers.gpus", workers.gpus),
    ):
        most = max((node.get(resource, 0) for node in nodes), default=0)
        if wanted > most:
            found.append(
                f"{field} is {wanted:g}, but the largest node has {counted(most, resource)}; lower "
                f"it, give --address of a larger cluster, or set workers.autoscale=true if it "
                f"grows."
            )
    if not found and not any(room(node, workers) for node in nodes):
        found.append(
            f"no node has {told_resources(workers.cpus, workers.gpus)} together; lower "
            f"workers.cpus or workers.gpus."
        )
    return found


def waiting(workers: WorkerSpec) -> str:
    """What an autoscaling cluster is asked for beyond what it has now; empty if it has enough."""
    missing = workers.trials - trial_slots(workers)
    if missing <= 0 or not scales(workers):
        return ""
    return (
        f"the cluster has room for {trial_slots(workers)} of workers.count={workers.count} trials "
        f"now; its autoscaler is asked for {missing} more with "
        f"{told_resources(workers.cpus, workers.gpus)} each."
    )


def told_resources(cpus: float, gpus: float) -> str:
    """CPUs and GPUs in words."""
    return counted(cpus, "CPU") + (f" and {counted(gpus, 'GPU')}" if gpus else "")


def scales(workers: WorkerSpec) -> bool:
    """Whether the cluster adds nodes: as the spec says, else as its autoscaler does."""
    return has_autoscaler() if workers.autoscale is None else workers.autoscale


def has_autoscaler() -> bool:
    """Whether Ray's autoscaler reports node types of a cloud; its version 2 reports nothing.

    In a cluster started by hand each node is a type of its own, named after its id; a launcher for
    the user's own machines knows one type and starts all of them.
    """
    status = json.loads(_internal_kv_get("__autoscaling_status") or "{}")
    types = (status.get("autoscaler_report") or {}).get("node_type_mapping") or {}
    return any(not kind.startswith(("node_", "local.")) for kind in types.values())


def alive_nodes() -> list[dict[str, float]]:
    """The resources of each node that is there."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def free_nodes() -> list[dict[str, float]]:
    """What nobody uses of each node that is there."""
    return [*available_resources_per_node().values()]


def trial_nodes(workers: WorkerSpec) -> dict[str, float]:
    """The CPUs of each node, by its id in Ray, that can hold a trial now."""
    return {
        node["NodeID"]: node["Resources"].get("CPU", 0)
        for node in ray.nodes()
        if node["Alive"] and room(node["Resources"], workers)
    }


def trial_slots(workers: WorkerSpec) -> int:
    """How many trials the cluster can hold now, at most `workers.count`."""
    return min(sum(room(node, workers) for node in alive_nodes()), workers.trials)


def room(node: Mapping[str, float], workers: WorkerSpec) -> int:
    """How many trials fit on a node."""
    fits = [node.get("CPU", 0) / workers.cpus]
    if workers.gpus:
        fits.append(node.get("GPU", 0) / workers.gpus)
    return int(min(fits) + 1e-9)  # ten times 0.1 GPUs are one


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
