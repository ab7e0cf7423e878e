"""The version, which is said here alone, and the commit of a checkout."""

from __future__ import annotations

import functools
from pathlib import Path

__version__ = "0.1.0.dev0"


@functools.cache
def version_and_commit() -> str:
    """Such as ``0.1.0 (commit 1a2b3c4d5e6f)``, ``-dirty`` if files were changed since.

    The version alone if the package was installed, or if there is no git.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():  # not that of a project with bdistil among its packages
        return __version__
    import subprocess  # which most imports of the package do without

    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        asked = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, check=False
        )
    except OSError:
        return __version__
    return f"{__version__} (commit {asked.stdout.strip()})" if asked.stdout else __version__
