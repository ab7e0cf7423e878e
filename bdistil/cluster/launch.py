"""A search where its spec wants it: in this process, or on the workers of a Ray cluster."""

from __future__ import annotations

from pathlib import Path

from bdistil.optional import require
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.backend import Backend
from bdistil.searching.local import LocalBackend
from bdistil.searching.progress import Reporter
from bdistil.searching.result import SearchResult
from bdistil.searching.run import run_search, run_teacher
from bdistil.spec import Spec, WorkerSpec


def choose_backend(
    workers: WorkerSpec, address: str | None = None, verbose: bool = False
) -> Backend:
    """This process if `workers.count` is 0, else Ray; the only place that asks.

    Args:
        workers: what a search wants.
        address: of a Ray cluster; None starts Ray on this machine (or follows RAY_ADDRESS).
        verbose: let Ray and Tune speak.

    Raises:
        MissingDependencyError: if Ray is not installed.
    """
    if workers.count == 0:
        return LocalBackend()
    require("ray", "search")
    from bdistil.cluster.ray_backend import RayBackend  # seconds, which searches here do not need

    return RayBackend(address, verbose)


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
    backend = choose_backend(spec.workers, address, verbose)
    return run_search(spec, out, backend, reporter=reporter, teacher_dir=teacher_dir)


def launch_teacher(spec: Spec, out: Path, reporter: Reporter | None = None) -> RunDirectory:
    """:func:`~bdistil.searching.run.run_teacher` on the spec's backend."""
    return run_teacher(spec, out, choose_backend(spec.workers), reporter)
