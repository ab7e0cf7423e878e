"""Import of packages that edge devices do without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from threading import RLock
from typing import Any

from bdistil.errors import MissingDependencyError

_importing = RLock()  # two threads that import parts of one package see it half imported


def require(module: str, extra: str) -> Any:
    """Import a module that belongs to one of bdistil's extras; in any thread.

    Raises:
        MissingDependencyError: if it is not installed, or cannot be imported; the message names the
            extra, which is empty for what bdistil always brings.
    """
    with _importing:
        try:
            return import_module(module)
        except ModuleNotFoundError:
            raise MissingDependencyError(_advice(module, extra)) from None
        except ImportError as error:
            raise MissingDependencyError(_unfit(module, error, extra)) from None


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Within the body, our own modules are imported that stand on what an extra brings.

    Raises:
        MissingDependencyError: if that is not installed; the message names the extra.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("bdistil"):
            raise
        raise MissingDependencyError(_advice(error.name, extra)) from None


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
    return f"{_package(module)} is not installed; install it with: pip install {_wanted(extra)}."


def _unfit(module: str, error: ImportError, extra: str) -> str:
    reason = " ".join(str(error).split())
    return (
        f"{_package(module)} is there but cannot be imported ({reason}); install versions that fit "
        f"each other with: pip install --upgrade {_wanted(extra)}."
    )


def _package(module: str) -> str:
    return module.partition(".")[0]


def _wanted(extra: str) -> str:
    return f"'bdistil[{extra}]'" if extra else "bdistil"
