"""CIFAR-10 and CIFAR-100 from their binary versions; the Python versions are pickles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bdistil.data.assemble import Limit, assemble_published
from bdistil.data.dataset import Dataset, Split
from bdistil.datasets.catalogue import register_dataset
from bdistil.datasets.local_files import LocalFiles
from bdistil.errors import DataError
from bdistil.files.file_readers import errors_naming

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


def _local(name: str, folder: str, landmark: str, archive: str) -> LocalFiles:
    return LocalFiles(
        name,
        folder,
        landmark,
        download=f"{archive}, the binary version (the Python version is a pickle, which is never "
        "loaded), from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it",
    )


CIFAR10 = _local("CIFAR-10", "cifar-10-batches-bin", "data_batch_1.bin", "cifar-10-binary.tar.gz")
CIFAR100 = _local("CIFAR-100", "cifar-100-binary", "train.bin", "cifar-100-binary.tar.gz")


@register_dataset(
    "cifar10",
    domain="image",
    input_shape=SHAPE,
    classes=10,
    examples=60_000,
    published_test=True,
    source="University of Toronto: colour photographs",
    advice=CIFAR10.advice,
)
def cifar10(
    seed: int,
    validation: float,
    test: float,
    root: Path | None = None,
    examples: Limit | None = None,
) -> Dataset:
    """Photographs (3, 32, 32) of animals and vehicles with values from 0 to 255.

    Args:
        seed: of the validation split.
        validation: share of the published training examples.
        test: not used, the published split is kept.
        root: folder of local data; `cifar-10-batches-bin` is looked for there.
        examples: at most so many of the published training examples; all if left out.
    """
    folder = CIFAR10.required(root)
    batches = [folder / f"data_batch_{number}.bin" for number in range(1, 6)]
    names = _class_names(folder / "batches.meta.txt")
    load = partial(read_batches, label_bytes=1, classes=len(names))
    train, published = load(batches), load([folder / "test_batch.bin"])
    return assemble_published(
        "cifar10",
        "image",
        train,
        published,
        class_names=names,
        validation=validation,
        seed=seed,
        examples=examples,
    )


@register_dataset(
    "cifar100",
    domain="image",
    input_shape=SHAPE,
    classes=100,
    examples=60_000,
    published_test=True,
    source="University of Toronto: colour photographs, fine labels",
    advice=CIFAR100.advice,
)
def cifar100(
    seed: int,
    validation: float,
    test: float,
    root: Path | None = None,
    examples: Limit | None = None,
) -> Dataset:
    """Photographs (3, 32, 32) of a hundred kinds of things with values from 0 to 255.

    Args:
        seed: of the validation split.
        validation: share of the published training examples.
        test: not used, the published split is kept.
        root: folder of local data; `cifar-100-binary` is looked for there.
        examples: at most so many of the published training examples; all if left out.
    """
    folder = CIFAR100.required(root)
    names = _class_names(folder / "fine_label_names.txt")
    load = partial(read_batches, label_bytes=2, classes=len(names))
    train, published = load([folder / "train.bin"]), load([folder / "test.bin"])
    return assemble_published(
        "cifar100",
        "image",
        train,
        published,
        class_names=names,
        validation=validation,
        seed=seed,
        examples=examples,
    )


def read_batches(paths: Sequence[Path], label_bytes: int, classes: int) -> Split:
    """Read binary batches: rows of label bytes, the last one counts, then 3072 bytes of pixels.

    Raises:
        DataError: if a file is missing, is no whole number of rows or has an unknown label.
    """
    rows = np.concatenate([_rows(path, label_bytes, classes) for path in paths])
    images = rows[:, label_bytes:].reshape(-1, *SHAPE).astype(np.float32)
    return Split(images, rows[:, label_bytes - 1].astype(np.int64))


def _rows(
    path: Path, label_bytes: int, classes: int
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    width = label_bytes + PIXELS
    with errors_naming(path):
        try:
            content = np.fromfile(path, np.uint8)
        except OSError:
            raise DataError("the file is missing or unreadable; unpack it again.") from None
        if len(content) == 0 or len(content) % width:
            raise DataError(
                f"the file has {len(content)} bytes, which is no multiple of {width}; download it "
                "again."
            )
        rows = content.reshape(-1, width)
        highest = rows[:, label_bytes - 1].max()
        if highest >= classes:
            raise DataError(f"the file has label {highest}, but there are {classes} classes.")
        return rows


def _class_names(path: Path) -> tuple[str, ...]:
    with errors_naming(path):
        try:
            names = tuple(path.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError):
            raise DataError("the file is missing or unreadable; unpack it again.") from None
        if len(names) < 2:
            raise DataError("the file names fewer than two classes; unpack it again.")
        return names
