"""The backends by name: entry points of the group ``bdistil.runners``, of any installed package.

Each is a function ``(folder, manifest, threads)`` that opens a saved ensemble as a
:class:`~bdistil.runtime.runner.Runner`. They are looked up when one is asked for, and only that one
is imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from bdistil.errors import MissingDependencyError, SpecError
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.onnx_runner import ONNX_FOLDER, prefix_file
from bdistil.runtime.runner import Runner

GROUP = "bdistil.runners"
AUTO = "auto"
TORCH = "torch"


def open_runner(backend: str, folder: Path, manifest: Manifest, threads: int) -> Runner:
    """Open a saved ensemble with a backend.

    Raises:
        SpecError: if no package registers a backend of this name.
        MissingDependencyError: if it cannot be imported.
    """
    from importlib.metadata import entry_points

    if backend == AUTO:
        backend = _best_backend(folder)
    found = {point.name: point for point in entry_points(group=GROUP)}
    if not isinstance(backend, str) or backend not in found:
        raise SpecError(
            f"backend {backend!r} is unknown; choose {', '.join([AUTO, *sorted(found)])}."
            if found
            else "no backend is registered; install bdistil again, with pip."
        )
    try:
        open_with = found[backend].load()
    except (ImportError, AttributeError) as error:
        raise MissingDependencyError(
            f"backend {backend!r} cannot be imported ({error}); {_remedy(backend, folder)}."
        ) from None
    runner: Runner = open_with(folder, manifest, threads)
    return runner


def _best_backend(folder: Path) -> str:
    return "onnx" if _has_graphs(folder) and find_spec("onnxruntime") else TORCH


def _has_graphs(folder: Path) -> bool:
    return (folder / ONNX_FOLDER / prefix_file(1)).exists()


def _remedy(backend: str, folder: Path) -> str:
    if backend != TORCH:
        return "install what it needs, or choose another backend"
    if _has_graphs(folder):
        return "install onnxruntime, which runs the graphs in it, or torch"
    return (
        f"write ONNX graphs into {folder} with `bdistil export --onnx`, or install it with: "
        "pip install 'bdistil[torch]'"
    )
