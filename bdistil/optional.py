"""Import of packages that edge devices do without."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from bdistil.errors import MissingDependencyError


def require(module: str, extra: str) -> Any:
    """Import a module that belongs to one of bdistil's extras.

    Raises:
        MissingDependencyError: if it is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError:
        raise MissingDependencyError(_advice(module, extra)) from None


def require_search() -> None:
    """Make sure that what opens a run directory is installed: the extra ``search``.

    Raises:
        MissingDependencyError: if it is not.
    """
    for module in ("ray", "optuna"):
        require(module, "search")


def advice_if_missing(module: str, extra: str) -> str | None:
    """How to install a module, or None if it is there; imports nothing."""
    return None if find_spec(module) else _advice(module, extra)


def _advice(module: str, extra: str) -> str:
    package = module.partition(".")[0]
    return f"{package} is not installed; install it with: pip install 'bdistil[{extra}]'."
