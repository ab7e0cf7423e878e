"""Photographs on disk as one array on disk: decoded and resized once, then memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bdistil.data.array_files import cache_folder, mapped, new_array
from bdistil.errors import DataError
from bdistil.optional import require

EVERY = 10_000
"""Images between two messages."""


def cached_images(files: Sequence[Path], side: int, folder: Path, part: str) -> NDArray[np.uint8]:
    """Square colour images, memory-mapped; decoded first if the cache does not hold them yet.

    An image is resized so that its shorter side is `side`, then the centre is cut out.

    Args:
        files: image files that Pillow reads, in the order of the rows.
        side: height and width of the result.
        folder: the data set's folder; the cache goes to `.bdistil` in it, or to BDISTIL_CACHE.
        part: of the data set, for the cache's name and messages.

    Returns:
        uint8 (N, 3, side, side), backed by a file; slices stay on disk.

    Raises:
        DataError: if an image is damaged or the cache cannot be written.
        MissingDependencyError: if Pillow, which comes with torchvision, is not installed.
    """
    path = cache_folder(folder) / f"{part}-{side}-{_fingerprint(files, folder)}.npy"
    if not path.exists():
        _write(path, files, side, part)
    return mapped(path)


def _fingerprint(files: Sequence[Path], folder: Path) -> str:
    """Changes with the files and their order."""
    names = "\n".join(str(file.relative_to(folder)) for file in files)
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def _write(path: Path, files: Sequence[Path], side: int, part: str) -> None:
    with new_array(path, np.uint8, (len(files), 3, side, side)) as images:
        for row, file in enumerate(files):
            images[row] = _decoded(file, side)
            if (row + 1) % EVERY == 0:
                print(f"{part}: {row + 1:,} of {len(files):,} images decoded", flush=True)


def _decoded(file: Path, side: int) -> NDArray[np.uint8]:
    image_module = require("PIL.Image", "vision")
    operations = require("PIL.ImageOps", "vision")
    try:
        with image_module.open(file) as image:
            square = operations.fit(
                image.convert("RGB"), (side, side), method=image_module.Resampling.BILINEAR
            )
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError):
        raise DataError(f"{file} is no readable image; unpack the data again.") from None
    return np.asarray(square).transpose(2, 0, 1)
