"""Arrays that are too large for the memory: written once to files, then memory-mapped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike, NDArray

from bdistil.errors import DataError
from bdistil.store.durable import space_if_full

Rows = Mapping[str, NDArray[np.int64]]
FOLDER = ".bdistil"
VARIABLE = "BDISTIL_CACHE"
LARGE_BYTES = 2**30
"""Float32 features from which on they are kept on disk."""
BLOCK_BYTES = 2**25
"""Features held in memory at once while they go from one file to another."""


def cache_folder(data: Path) -> Path:
    """The folder for such files: BDISTIL_CACHE, or `.bdistil` in the folder of the data."""
    given = os.environ.get(VARIABLE)
    beside = data if data.is_dir() else data.parent
    return Path(given).expanduser() if given else beside.resolve() / FOLDER


def is_large(values: int) -> bool:
    """Whether so many float32 values are too many for the memory."""
    return 4 * values >= LARGE_BYTES


def file_state(files: Sequence[Path]) -> list[tuple[str, int, int]]:
    """What changes with the files: names, sizes and times of change; JSON-able."""
    stats = ((str(file), file.stat()) for file in files)
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def block_rows(shape: tuple[int, ...]) -> int:
    """Rows, float32 of this shape, that are held in memory at once."""
    return max(1, BLOCK_BYTES // (4 * int(np.prod(shape))))


@contextmanager
def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """An array in a file, to be filled; it stands at `path` only once it is whole.

    Raises:
        DataError: if the disk is full or not writable.
    """
    temporary = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        array = open_memmap(temporary, "w+", dtype, shape)
        with temporary.open("r+b") as file:  # or writing to a full disk could end us
            os.posix_fallocate(file.fileno(), 0, max(1, temporary.stat().st_size))
        yield array
        array.flush()
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}); {space_if_full(error)}make its folder "
            f"writable, or name another one by {VARIABLE}."
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def mapped(path: Path) -> np.memmap[Any, Any]:
    """The array of an NPY file; its rows stay on disk until they are read."""
    array: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def mapped_file(array: NDArray[Any]) -> Path | None:
    """The file of which an array is the whole content; None for any other array."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return None
    file = Path(array.filename)
    whole = array.offset + array.nbytes == file.stat().st_size
    return file if whole else None


def split_folder(cache: Path, rows: Rows, state: Any) -> Path:
    """A folder for the files of splits, another one for other rows or another state of the data."""
    digest = hashlib.sha256(json.dumps(state).encode())
    for own in rows.values():
        digest.update(own.tobytes() + b";")
    return cache / f"splits-{digest.hexdigest()[:16]}"


def split_to_files(
    folder: Path,
    shape: tuple[int, ...],
    blocks: Iterable[NDArray[Any]],
    rows: Rows,
    dtype: DTypeLike = np.float32,
) -> list[NDArray[Any]]:
    """The features of each split, mapped from a file of its own; written if they are not there.

    Args:
        folder: where the files are; it names the data and the split.
        shape: of one example.
        blocks: features of all rows, in order, (n, *shape) each; not read if the files are there.
        rows: of each split by its name, ascending.
        dtype: of the files.

    Raises:
        DataError: if the disk is full or not writable.
    """
    files = [folder / f"{name}.npy" for name in rows]
    if not all(file.exists() for file in files):
        with ExitStack() as stack:
            arrays = [
                stack.enter_context(new_array(file, dtype, (len(own), *shape)))
                for file, own in zip(files, rows.values(), strict=True)
            ]
            first = 0
            for block in blocks:
                for array, own in zip(arrays, rows.values(), strict=True):
                    start, stop = np.searchsorted(own, (first, first + len(block)))
                    array[start:stop] = block[own[start:stop] - first]
                first += len(block)
    return [mapped(file) for file in files]
