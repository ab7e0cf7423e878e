"""Temporary folders that are removed also if their process was killed: by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from types import TracebackType

IN_USE = ".in-use"
"""Locked by the process that uses the folder; the lock ends with it, whatever ends it."""
OLD_SECONDS = 24 * 3600
"""Since the last change, from which on nobody uses a folder without a lock."""


class ScratchFolder:
    """A temporary folder, removed when it is closed, forgotten or, after a kill, needed anew.

    Args:
        kind: what it is for; folders of the same kind whose process is gone are removed.

    Attributes:
        path: of the folder.

    Raises:
        OSError: if the place for temporary files cannot be written.
    """

    def __init__(self, kind: str) -> None:
        prefix = f"bdistil-{kind}-"
        for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            remove_if_left(left)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self.lock = lock_folder(self.path)
        self._finish = weakref.finalize(self, _remove, self.path, self.lock, os.getpid())

    def close(self) -> None:
        """Remove the folder."""
        self._finish()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _remove(path: Path, lock: int, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork, whose parent goes on
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def lock_folder(folder: Path) -> int:
    """Say that this process uses a folder, for as long as the descriptor is open."""
    lock = os.open(folder / f"{IN_USE}.new", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / f"{IN_USE}.new").rename(folder / IN_USE)  # nobody finds it unlocked
    return lock


def remove_if_left(folder: Path) -> None:
    """Remove a folder that no process uses; whatever is in the way of that, it stays.

    One without a lock is of a process that was killed before it had one or while it removed the
    folder, or of an older version; such a folder goes once it is old.
    """
    with contextlib.suppress(OSError):
        state = folder.lstat()
        old = time.time() - state.st_mtime > OLD_SECONDS and state.st_uid == os.getuid()
        if old and not (folder / IN_USE).exists():
            shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError), (folder / IN_USE).open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
