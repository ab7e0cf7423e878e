"""What figures were measured with, so that others can tell why theirs differ."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version

from bdistil.version import version_and_commit

PACKAGES = ("torch", "ray", "optuna", "numpy", "scikit-learn")


def environment() -> dict[str, str]:
    """Versions of Python, of bdistil with its commit and of the packages that matter."""
    here = {"python": platform.python_version(), "machine": platform.machine()}
    return here | {"bdistil": version_and_commit()} | {name: version(name) for name in PACKAGES}


def environment_in_words(searched_with: Iterable[str]) -> str:
    """The environment as one phrase.

    Args:
        searched_with: the version and commit of each search, which may be older; empty if unknown.
    """
    here = environment()
    packages = ", ".join(f"{name} {here[name]}" for name in ("bdistil", *PACKAGES))
    others = sorted({each or "an unknown version" for each in searched_with} - {here["bdistil"]})
    older = f"; searches ran with bdistil {', '.join(others)}" if others else ""
    return f"Python {here['python']} on {here['machine']}, {packages}{older}"
