"""A search where its spec wants it: in this process, or on the workers of a Ray cluster."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, cast

from bdistil.errors import BdistilWarning, ClusterError
from bdistil.optional import require
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.backend import Backend
from bdistil.searching.local import LocalBackend
from bdistil.searching.progress import Reporter
from bdistil.searching.result import SearchResult
from bdistil.searching.run import run_search, run_teacher
from bdistil.searching.worker_count import workers_on_cluster
from bdistil.spec import Spec, WorkerSpec


class LaterBackend:
    """Whichever backend the resolved spec asks for; chosen by ``check``, which comes first."""

    def __init__(self, address: str | None, verbose: bool) -> None:
        self.address = address
        self.verbose = verbose
        self.chosen: Backend = LocalBackend()

    def check(self, spec: Spec) -> None:
        """Choose, and refuse what cannot be run."""
        self.chosen = choose_backend(spec.workers, self.address, self.verbose)
        self.chosen.check(spec)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chosen, name)


def choose_backend(
    workers: WorkerSpec, address: str | None = None, verbose: bool = False
) -> Backend:
    """This process if `workers.count` is 0, else Ray; the only place that asks.

    A cluster that is named and not used is told by a warning.

    Args:
        workers: what a search wants; with `count` open, it is decided when the data are known,
            unless there is a cluster's address.
        address: of a Ray cluster; None starts Ray on this machine (or follows RAY_ADDRESS).
        verbose: let Ray and Tune speak.

    Raises:
        MissingDependencyError: if Ray is not installed.
        ClusterError: if the address is no text.
    """
    if not isinstance(address, str | None):
        raise ClusterError(
            f"the address of a cluster is text such as '10.0.0.1:6379', not {address!r}."
        )
    if workers.count is None and not has_cluster(address):
        return cast(Backend, LaterBackend(address, verbose))
    if workers.count == 0:
        if address:
            warnings.warn(
                f"the cluster at {address} is not used, as workers.count is 0; give workers.count "
                f"of at least 1 to search there.",
                BdistilWarning,
                stacklevel=2,
            )
        return LocalBackend()
    require("ray", "search")
    from bdistil.cluster.ray_backend import RayBackend  # seconds, which searches here do not need

    return RayBackend(address, verbose)


def has_cluster(address: str | None) -> bool:
    """Whether the user names a Ray cluster."""
    return bool(address or os.environ.get("RAY_ADDRESS"))


def with_workers(spec: Spec, address: str | None) -> Spec:
    """The spec with workers, where a cluster is named and their number is left open."""
    if not has_cluster(address):
        return spec
    return spec.model_copy(update={"workers": workers_on_cluster(spec.workers)})


def launch_search(
    spec: Spec,
    out: str | Path,
    *,
    address: str | None = None,
    verbose: bool = False,
    reporter: Reporter | None = None,
    teacher_dir: Path | None = None,
) -> SearchResult:
    """:func:`~bdistil.searching.run.run_search` on the spec's backend."""
    spec = with_workers(spec, address)
    backend = choose_backend(spec.workers, address, verbose)
    return run_search(spec, out, backend, reporter=reporter, teacher_dir=teacher_dir)


def launch_teacher(spec: Spec, out: Path, reporter: Reporter | None = None) -> RunDirectory:
    """:func:`~bdistil.searching.run.run_teacher` on the spec's backend."""
    spec = with_workers(spec, None)
    return run_teacher(spec, out, choose_backend(spec.workers), reporter)
