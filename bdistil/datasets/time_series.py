"""Multivariate series of the UEA archive in its text format .ts: JapaneseVowels, BasicMotions."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.data.assemble import assemble_published
from bdistil.data.dataset import Dataset, Split
from bdistil.datasets.catalogue import register_dataset
from bdistil.datasets.local_files import LocalFiles
from bdistil.errors import DataError
from bdistil.files.file_readers import errors_naming
from bdistil.files.series_files import Series, read_ts


def _local(problem: str) -> LocalFiles:
    """The files under the root, or in the wheel of aeon, which is looked at but not imported."""
    aeon = find_spec("aeon")
    folders = list(aeon.submodule_search_locations or ()) if aeon else []
    return LocalFiles(
        problem,
        folder=problem,
        landmark=f"{problem}_TRAIN.ts",
        download=f"{problem}.zip from https://timeseriesclassification.com and unpack it",
        install="pip install 'bdistil[sequence]', since the package aeon carries it",
        elsewhere=[Path(folder, "datasets", "data", problem) for folder in folders],
    )


def _advice(problem: str) -> str | None:
    return _local(problem).advice()


@register_dataset(
    "japanese_vowels",
    domain="sequence",
    input_shape=(29, 12),
    classes=9,
    examples=640,
    published_test=True,
    source="UEA archive: 9 speakers of two vowels, 7 to 29 frames of 12 coefficients",
    advice=partial(_advice, "JapaneseVowels"),
)
def japanese_vowels(seed: int, validation: float, test: float, root: Path | None = None) -> Dataset:
    """Who speaks? Shorter utterances get zeros in front, so that their end comes last.

    Args:
        seed: of the validation split.
        validation: share of the published training examples.
        test: not used, the published split is kept.
        root: folder of local data.
    """
    return _load("japanese_vowels", "JapaneseVowels", 29, seed, validation, root, padding=0.0)


@register_dataset(
    "basic_motions",
    domain="sequence",
    input_shape=(100, 6),
    classes=4,
    examples=80,
    published_test=True,
    source="UEA archive: accelerometer and gyroscope of a smart watch",
    advice=partial(_advice, "BasicMotions"),
)
def basic_motions(seed: int, validation: float, test: float, root: Path | None = None) -> Dataset:
    """Standing, running, walking or badminton: 10 seconds at 10 Hz.

    Args:
        seed: of the validation split.
        validation: share of the published training examples.
        test: not used, the published split is kept.
        root: folder of local data.
    """
    return _load("basic_motions", "BasicMotions", 100, seed, validation, root)


def padded(series: list[Series], steps: int) -> NDArray[np.float32]:
    """Series (N, steps, channels), float32, with zeros in front of shorter ones.

    Raises:
        DataError: if a series is longer, or the numbers of channels differ.
    """
    channels = {one.shape[1] for one in series}
    longest = max(map(len, series))
    if longest > steps or len(channels) > 1:
        raise DataError(
            f"the series have up to {longest} steps and {sorted(channels)} channels, but at most "
            f"{steps} steps and one number of channels are expected; download the file again."
        )
    x = np.zeros((len(series), steps, channels.pop()), np.float32)
    for row, one in zip(x, series, strict=True):
        row[steps - len(one) :] = one
    if not np.isfinite(x).all():
        raise DataError("there are missing values; download the file again.")
    return x


class _Part(NamedTuple):
    split: Split
    class_names: tuple[str, ...]


def _part(path: Path, steps: int) -> _Part:
    with errors_naming(path):
        archive = read_ts(path)
        names = archive.class_names
        if names is None or None in archive.labels:
            raise DataError("there are no classes; download the file again.")
        y = np.array([names.index(str(label)) for label in archive.labels], np.int64)
        return _Part(Split(padded(archive.series, steps), y), names)


def _load(
    name: str,
    problem: str,
    steps: int,
    seed: int,
    validation: float,
    root: Path | None,
    padding: float | None = None,
) -> Dataset:
    folder = _local(problem).required(root)
    train, test = (_part(folder / f"{problem}_{part}.ts", steps) for part in ("TRAIN", "TEST"))
    return assemble_published(
        name,
        "sequence",
        train.split,
        test.split,
        class_names=train.class_names,
        validation=validation,
        seed=seed,
        padding=padding,
    )
