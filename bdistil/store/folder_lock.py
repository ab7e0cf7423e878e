"""A folder for one process at a time; the system frees it when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from bdistil.errors import CheckpointError
from bdistil.store.durable import disk_errors

LOCK_FILE = ".lock"


@contextlib.contextmanager
def locked_folder(folder: Path, holder: str) -> Iterator[TextIO]:
    """Keep other processes out of a folder, which is made if it is not there.

    Args:
        folder: to be locked.
        holder: what locks such folders, such as ``search``; told to those who find it locked.

    Yields:
        the lock, open.

    Raises:
        CheckpointError: if another process holds the folder, or it cannot be written.
    """
    file = folder / LOCK_FILE
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if file.exists() and not file.is_file():  # may wait
            raise CheckpointError(f"{file} is no file; remove it.")
        lock = file.open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(
                f"another {holder} is running in {folder}; wait for it or choose another --out."
            ) from None
        yield lock
