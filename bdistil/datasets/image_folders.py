"""Tiny-ImageNet and ImageNet: photographs in one folder a class, too many for the memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from bdistil.data.assemble import from_splits
from bdistil.data.dataset import Dataset, Split
from bdistil.data.labels import class_indices, encode_labels
from bdistil.data.split import stratified_order
from bdistil.datasets.catalogue import register_dataset
from bdistil.datasets.local_files import LocalFiles
from bdistil.errors import DataError
from bdistil.files.array_files import cache_folder
from bdistil.files.class_folders import Listing, list_class_folders
from bdistil.files.encoded import Files, decoded
from bdistil.files.file_readers import errors_naming
from bdistil.files.photographs import PHOTOGRAPHS, PhotographForm

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
    train = _listed(folder / "train")
    published = _annotated(folder / "val", set(train.classes))
    return _load("tiny_imagenet", folder, 64, train, published, validation)


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
    train, published = (_listed(folder / part) for part in ("train", "val"))
    return _load("imagenet", folder, side, train, published, validation)


def _listed(folder: Path) -> Listing:
    with errors_naming(folder):
        return list_class_folders(folder, PHOTOGRAPHS.suffixes, PHOTOGRAPHS.noun)


def _load(
    name: str, folder: Path, side: int, train: Listing, test: Listing, validation: float
) -> Dataset:
    """Splits that stay on disk: rows lie in a stratified order, so that a slice is a split.

    The order is the same for every seed, since another one would be another file of many GB.
    """
    labels = encode_labels(np.array(train.classes), "classification", f"{folder / 'train'}")
    y, names = labels.y, labels.class_names
    assert names is not None
    order = stratified_order(y, len(names), seed=0)
    y = y[order]
    cut = min(max(round(validation * len(y)), len(names)), len(y) - len(names))
    x, published = (
        decoded(
            Files(files, folder),
            PHOTOGRAPHS,
            PhotographForm.of(side, side, 3),
            cache_folder(folder),
        )
        for files in ([train.files[row] for row in order], test.files)
    )
    return from_splits(
        name,
        "image",
        train=Split(x[cut:], y[cut:]),
        validation=Split(x[:cut], y[:cut]),
        test=Split(published, class_indices(test.classes, names)),
        class_names=names,
    )


def _annotated(path: Path, names: set[str]) -> Listing:
    """Tiny-ImageNet's validation images lie in one folder, with a list of their classes."""
    annotations = path / "val_annotations.txt"
    with errors_naming(annotations):
        try:
            lines = annotations.read_text(encoding="utf-8").splitlines()
            pairs = [line.split("\t")[:2] for line in lines if line.strip()]
            files, classes = zip(*pairs, strict=True)
        except (OSError, ValueError):
            raise DataError("the file is damaged; unpack it again.") from None
        if unknown := set(classes) - names:
            raise DataError(f"the file names an unknown class, {min(unknown)!r}; unpack it again.")
    images = [path / "images" / file for file in files]
    return Listing(images, list(classes), [None] * len(images), None, [])
