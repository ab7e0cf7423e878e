"""Progressive ensemble distillation, found by a distributed search.

``bdistil.search(spec)`` runs a search and returns its run directory (needs the extra ``search``);
``bdistil.Ensemble.from_pretrained(directory)`` loads what it found (needs the extra ``torch``);
``bdistil.Predictor(directory)`` runs its export with numpy and onnxruntime alone, with deadlines,
early exit and budgets; ``bdistil.read_examples`` reads photographs and recordings for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdistil.errors import BdistilError
from bdistil.optional import needing, require_search
from bdistil.version import __version__

if TYPE_CHECKING:
    from bdistil.export.ensemble import Ensemble
    from bdistil.export.predict import read_examples
    from bdistil.runtime.exits import ExitPolicy
    from bdistil.runtime.predictor import Predictor
    from bdistil.searching.backend import Backend
    from bdistil.searching.result import SearchResult
    from bdistil.sklearn import BDistilClassifier, BDistilRegressor
    from bdistil.spec import Spec, load_spec

__all__ = [
    "BDistilClassifier",
    "BDistilRegressor",
    "BdistilError",
    "Ensemble",
    "ExitPolicy",
    "Predictor",
    "SearchResult",
    "Spec",
    "__version__",
    "load_spec",
    "read_examples",
    "search",
]

_HOMES = {  # and the extras that they need
    "BDistilClassifier": ("bdistil.sklearn", "search"),
    "BDistilRegressor": ("bdistil.sklearn", "search"),
    "Ensemble": ("bdistil.export.ensemble", "torch"),
    "ExitPolicy": ("bdistil.runtime.exits", ""),
    "Predictor": ("bdistil.runtime.predictor", ""),
    "SearchResult": ("bdistil.searching.result", "search"),
    "Spec": ("bdistil.spec", "torch"),
    "load_spec": ("bdistil.spec", "torch"),
    "read_examples": ("bdistil.export.predict", ""),
}


def search(
    spec: Spec | Path | str | Mapping[str, Any],
    out: Path | str | None = None,
    *,
    overrides: Sequence[str] = (),
    address: str | None = None,
    verbose: bool = False,
    backend: Backend | None = None,
) -> SearchResult:
    """Search for a progressive ensemble, or resume the search that `out` holds.

    Args:
        spec: a YAML file of a search space, or the same as a mapping.
        out: the run directory, a path or a URI such as ``s3://bucket/run``; ``runs/<name>`` if
            left out.
        overrides: such as ``"search.rounds=4"``.
        address: of a Ray cluster; None starts Ray on this machine (or follows RAY_ADDRESS).
        verbose: let Ray and Tune print their own messages.
        backend: runs the trials, instead of this process or Ray.

    Returns:
        The run: ``.ensemble``, ``.evaluation`` and ``.directory``.

    Raises:
        BdistilError: for bad input, before anything is written, or for a search that cannot go on.

    Example:
        >>> import bdistil
        >>> result = bdistil.search({"data": {"name": "digits"}, "search": {"rounds": 3}})
        >>> answers = result.ensemble.predict(images)  # doctest: +SKIP
    """
    require_search()
    from bdistil.cluster.launch import launch_search
    from bdistil.searching.run import run_search
    from bdistil.spec import Spec, load_spec

    source = spec.model_dump(mode="json") if isinstance(spec, Spec) else spec
    resolved = load_spec(source, overrides)
    place = out if out is not None else Path("runs") / resolved.name
    if backend is not None:
        return run_search(resolved, place, backend)
    return launch_search(resolved, place, address=address, verbose=verbose)


def __getattr__(name: str) -> Any:
    """Load on first use: a device that runs ONNX graphs has neither torch nor pydantic."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, extra = _HOMES[name]
    with needing(extra):
        return getattr(import_module(home), name)


def __dir__() -> list[str]:
    """With the names that are loaded on first use."""
    return sorted({*globals(), *__all__})
