"""Durable writes: a file is there whole or not at all, also after a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bdistil.errors import CheckpointError
from bdistil.store.scratch import IN_USE, lock_folder, remove_if_left

PARTIAL = ".partial"  # ends the names of files that are still being written
MOST_NAME = 50  # characters, at most 4 bytes each, of a file's name in that of its temporary one


def is_special(path: Path) -> bool:
    """Whether a pipe or a device stands there, which may be waited for without end."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_regular(path: Path) -> None:
    """Refuse what would block whoever opens it.

    Raises:
        OSError: if a pipe or a device stands there.
    """
    if is_special(path):
        raise OSError(errno.EINVAL, "it is a pipe or a device, no file", str(path))


def read_file(path: Path) -> bytes:
    """The content of a file.

    Raises:
        OSError: if it cannot be read, or is none.
    """
    check_regular(path)
    return path.read_bytes()


def check_local(path: Path) -> None:
    """Refuse a URI, of which a path makes a folder ``s3:`` here.

    Raises:
        CheckpointError: if `path` was one.
    """
    first = path.parts[0] if path.parts else ""
    if len(first) > 2 and first.endswith(":") and not Path(first).exists():
        raise CheckpointError(
            f"{first}//{'/'.join(path.parts[1:])} is a URI, where only runs can be kept; give a "
            "folder of this machine, and copy it there."
        )


def check_place(path: Path, *, folder: bool = False) -> None:
    """Refuse a place where nothing can be written, before long work for it begins.

    Args:
        path: of the file to be.
        folder: whether a folder will be there instead.

    Raises:
        CheckpointError: if it is none.
    """
    check_local(path)
    with disk_errors(path):
        check_regular(path)
        if path.exists() and path.is_dir() != folder:
            kind = FileExistsError if folder else IsADirectoryError
            raise kind(errno.EISDIR, "it is a folder", str(path))
        above = next(place for place in (path, *path.absolute().parents) if place.exists())
        if above.is_file() and above != path:
            raise NotADirectoryError
        there = above if above.is_dir() else above.parent
        if not os.access(there, os.W_OK):
            raise OSError(errno.EACCES, f"{there} is not writable")


def write_atomic(path: Path, content: bytes, root: Path | None = None) -> None:
    """Write `content` under a temporary name, flush it to disk and rename it to `path`.

    Args:
        path: the file.
        content: of it.
        root: a folder above it that is not made anew if it is gone; folders below it are.

    Raises:
        CheckpointError: if the disk is full or not writable; `path` is then untouched.
    """
    with replacing(path, root) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path, root: Path | None = None) -> Iterator[Path]:
    """A temporary file for the body to write; flushed to disk and renamed to `path` after it.

    Args:
        path: the file.
        root: see :func:`write_atomic`.

    Raises:
        CheckpointError: if the disk is full or not writable, or a pipe or a device stands there;
            `path` is then untouched.
    """
    check_local(path)
    with disk_errors(path):
        check_regular(path)  # as /dev/null, which the new file would replace
        if root is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif path.parent != root:
            path.parent.mkdir(exist_ok=True)
        temporary = _new_file_beside(path)
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def _new_file_beside(path: Path) -> Path:
    """An empty file for whoever the umask lets read it, unlike those of tempfile."""
    name = f".{path.name[:MOST_NAME]}.{secrets.token_hex(8)}{PARTIAL}"
    temporary = path.with_name(name)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


@contextlib.contextmanager
def replacing_files(
    folder: Path, last: str, clear: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """A temporary folder for the body to fill; after it, its files take their places in `folder`.

    They do so one by one, `last` as the last one: a reader that finds it with what it says of the
    others has them all. Other files of `folder` stay.

    Args:
        folder: where the files will be; made if it is not there.
        last: the file that takes its place after all others.
        clear: removes what does not belong beside them; called when only the moving can still fail.

    Raises:
        CheckpointError: if the disk is full or not writable. Then, and if the body fails, `folder`
            is as it was.
    """
    check_local(folder)
    with disk_errors(folder):
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f".export.*{PARTIAL}"):
            remove_if_left(left)
        temporary = Path(tempfile.mkdtemp(PARTIAL, ".export.", folder))
        lock = lock_folder(temporary)
    try:
        yield temporary
        with disk_errors(folder):
            _move_files(temporary, folder, last, clear)
    except CheckpointError as error:  # a reader knows the place, not the folder aside
        raise CheckpointError(str(error).replace(str(temporary), str(folder))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)
        if is_new:
            with contextlib.suppress(OSError):  # not empty, as it should be
                folder.rmdir()


def _move_files(source: Path, target: Path, last: str, clear: Callable[[], None]) -> None:
    files = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    files.remove(Path(IN_USE))
    for name in files:
        sync(source / name)
        check_place(target / name)
    folders = {(target / name).parent for name in files}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    clear()
    for folder in folders:  # again, as it may have removed what it emptied
        folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: name == Path(last)):
        (source / name).replace(target / name)
    for folder in folders:
        sync(folder)


def sweep(folder: Path) -> None:
    """Remove what writers left that died half-way; for a folder that nobody else writes to."""
    for left in list(folder.rglob(f".*{PARTIAL}")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def append_line(path: Path, line: bytes) -> None:
    """Append one line and flush it to disk; on an error the file is cut back to what it was.

    Raises:
        CheckpointError: if the disk is full or not writable.
    """
    with disk_errors(path):
        is_new = not path.exists()
        with path.open("ab", buffering=0) as file:  # a buffer would be flushed again on closing
            size = file.tell()
            try:
                rest = line + b"\n"
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, size)
                raise
        if is_new:
            sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's content durable, or the names in a directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the body into one sentence that names the file."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{path} cannot be written, since a file stands where a folder belongs; choose another "
            f"place."
        ) from error
    except OSError as error:
        room = space_if_full(error)
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror}; {room}choose another place."
        ) from error


def space_if_full(error: OSError) -> str:
    """``free space or`` for a full disk or quota, with a blank; empty for other errors."""
    return "free space or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
