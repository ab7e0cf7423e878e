"""Tiny-ImageNet and ImageNet: photographs in one folder a class, too many for the memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bdistil.data.assemble import from_splits
from bdistil.data.dataset import Dataset, Split
from bdistil.data.file_readers import errors_naming
from bdistil.data.image_cache import cached_images
from bdistil.data.split import stratified_order
from bdistil.datasets.catalogue import register_dataset
from bdistil.datasets.local_files import LocalFiles
from bdistil.errors import DataError

Side = Annotated[int, Field(ge=8)]

TINY = LocalFiles(
    "Tiny-ImageNet",
    folder="tiny-imagenet-200",
    landmark="val/val_annotations.txt",
    download="http://cs231n.stanford.edu/tiny-imagenet-200.zip and unpack it",
)
IMAGENET = LocalFiles(
    "ImageNet",
    folder="imagenet",
    landmark="train/n01440764",
    download="ILSVRC2012 from https://image-net.org (an account is needed) and unpack it, one "
    "folder a class in both train and val,",
)


class Photographs(NamedTuple):
    """Image files and their classes, int64 (N,)."""

    files: list[Path]
    y: NDArray[np.int64]


@register_dataset(
    "tiny_imagenet",
    domain="image",
    input_shape=(3, 64, 64),
    classes=200,
    examples=110_000,
    published_test=True,
    source="Stanford CS231n: a fifth of ImageNet's classes, 64 x 64",
    advice=TINY.advice,
)
def tiny_imagenet(seed: int, validation: float, test: float, root: Path | None = None) -> Dataset:
    """Photographs (3, 64, 64); the published validation images, whose labels are known, are test.

    Args:
        seed: not used: the cut is part of the cache (see `_load`).
        validation: share of the published training examples.
        test: not used.
        root: folder of local data; `tiny-imagenet-200` is looked for there.
    """
    folder = TINY.required(root)
    names = _folders(folder / "train")
    train = _one_folder_a_class(folder / "train", names, inner="images")
    published = _annotated(folder / "val", names)
    return _load("tiny_imagenet", folder, 64, names, train, published, validation)


@register_dataset(
    "imagenet",
    domain="image",
    input_shape=(3, 64, 64),
    classes=1000,
    examples=1_331_167,
    published_test=True,
    source="ILSVRC2012: photographs, resized",
    advice=IMAGENET.advice,
)
def imagenet(
    seed: int, validation: float, test: float, root: Path | None = None, side: Side = 64
) -> Dataset:
    """Photographs (3, side, side); the published validation images are the test split.

    Args:
        seed: not used: the cut is part of the cache (see `_load`).
        validation: share of the published training examples.
        test: not used.
        root: folder of local data; `imagenet` with `train` and `val` is looked for there.
        side: height and width; 64 needs 16 GB of disk, 224 needs 200 GB.
    """
    folder = IMAGENET.required(root)
    names = _folders(folder / "train")
    train, published = (_one_folder_a_class(folder / part, names) for part in ("train", "val"))
    return _load("imagenet", folder, side, names, train, published, validation)


def _load(
    name: str,
    folder: Path,
    side: int,
    names: tuple[str, ...],
    train: Photographs,
    test: Photographs,
    validation: float,
) -> Dataset:
    """Splits that stay on disk: rows lie in a stratified order, so that a slice is a split.

    The order is the same for every seed, since another one would be another file of many GB.
    """
    order = stratified_order(train.y, len(names), seed=0)
    x = cached_images([train.files[row] for row in order], side, folder, "train")
    y = train.y[order]
    cut = min(max(round(validation * len(y)), len(names)), len(y) - len(names))
    published = Split(cached_images(test.files, side, folder, "val"), test.y)
    return from_splits(
        name,
        "image",
        train=Split(x[cut:], y[cut:]),
        validation=Split(x[:cut], y[:cut]),
        test=published,
        class_names=names,
    )


def _folders(path: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir()))
    if len(names) < 2:
        raise DataError(f"{path} has {len(names)} folders; unpack the data, one folder a class.")
    return names


def _one_folder_a_class(path: Path, names: Sequence[str], inner: str = "") -> Photographs:
    files: list[Path] = []
    codes: list[int] = []
    for code, name in enumerate(names):
        found = sorted((path / name / inner).glob("*.[jJ][pP]*[gG]"))
        if len(found) < 2:
            raise DataError(
                f"{path / name / inner} has {len(found)} JPEG files; unpack the data again."
            )
        files += found
        codes += [code] * len(found)
    return Photographs(files, np.array(codes, np.int64))


def _annotated(path: Path, names: Sequence[str]) -> Photographs:
    """Tiny-ImageNet's validation images lie in one folder, with a list of their classes."""
    annotations = path / "val_annotations.txt"
    with errors_naming(annotations):
        try:
            lines = annotations.read_text(encoding="utf-8").splitlines()
            pairs = [line.split("\t")[:2] for line in lines if line.strip()]
            codes = [names.index(wnid) for _, wnid in pairs]
        except (OSError, ValueError):
            raise DataError(
                "the file is damaged or names an unknown class; unpack it again."
            ) from None
    return Photographs([path / "images" / file for file, _ in pairs], np.array(codes, np.int64))
