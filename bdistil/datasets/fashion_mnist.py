"""FashionMNIST from the idx files that its publishers ship, packed or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bdistil.data.assemble import Limit, assemble_published
from bdistil.data.dataset import Dataset, Split
from bdistil.datasets.catalogue import register_dataset
from bdistil.datasets.local_files import LocalFiles
from bdistil.errors import DataError
from bdistil.files.file_readers import errors_naming

CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
UNSIGNED_BYTES = 8
"""The type code of idx files with values from 0 to 255."""


def _local(packed: bool) -> LocalFiles:
    return LocalFiles(
        "FashionMNIST",
        folder="FashionMNIST/raw",
        landmark="train-images-idx3-ubyte" + (".gz" if packed else ""),
        download="the four .gz files of https://github.com/zalandoresearch/fashion-mnist",
        install="apt-get install dataset-fashion-mnist",
        elsewhere=("fashion-mnist", "/usr/share/datasets/fashion-mnist"),
    )


def _advice() -> str | None:
    return None if _local(packed=False).find() else _local(packed=True).advice()


@register_dataset(
    "fashion_mnist",
    domain="image",
    input_shape=(1, 28, 28),
    classes=10,
    examples=70_000,
    published_test=True,
    source="Zalando: grey photographs of clothes",
    advice=_advice,
)
def fashion_mnist(
    seed: int,
    validation: float,
    test: float,
    root: Path | None = None,
    examples: Limit | None = None,
) -> Dataset:
    """Clothes as grey images (1, 28, 28) with values from 0 to 255.

    Args:
        seed: of the validation split.
        validation: share of the published training examples.
        test: not used, the published split is kept.
        root: folder of local data; `FashionMNIST/raw`, as torchvision lays it, is looked for there.
        examples: at most so many of the published training examples; all if left out.
    """
    folder = _local(packed=False).find(root) or _local(packed=True).required(root)
    train, published = (_split(folder, part) for part in ("train", "t10k"))
    return assemble_published(
        "fashion_mnist",
        "image",
        train,
        published,
        class_names=CLASSES,
        validation=validation,
        seed=seed,
        examples=examples,
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of bytes, packed if its name ends with .gz.

    Raises:
        DataError: if it is missing, damaged or of another type.
    """
    with errors_naming(path):
        try:
            content = (
                gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            )
        except (OSError, EOFError, zlib.error):
            raise DataError("the file cannot be read; download it again.") from None
        start = 4 + 4 * content[3] if len(content) > 3 else 4
        if len(content) < start or content[:3] != bytes([0, 0, UNSIGNED_BYTES]):
            raise DataError("the file is no idx file of bytes; download it again.")
        shape = np.frombuffer(content[4:start], ">u4").tolist()
        if len(content) - start != math.prod(shape):
            raise DataError(f"the file is no array of shape {shape}; download it again.")
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _split(folder: Path, part: str) -> Split:
    images = _read(folder, f"{part}-images-idx3-ubyte", (28, 28))
    labels = _read(folder, f"{part}-labels-idx1-ubyte", ())
    if len(images) != len(labels) or labels.max() >= len(CLASSES):
        raise DataError(
            f"{folder}: the {len(images)} images and {len(labels)} labels of {part} do not belong "
            "together; download them again."
        )
    return Split(images[:, None].astype(np.float32), labels.astype(np.int64))


def _read(folder: Path, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    path = folder / name
    path = path if path.exists() else folder / f"{name}.gz"
    array = read_idx(path)
    if array.shape[1:] != shape or not len(array):
        raise DataError(f"{path} holds an array of shape {array.shape}; download it again.")
    return array
