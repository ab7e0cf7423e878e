"""DSA-19: daily and sports activities, worn by eight people, split by person."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bdistil.data.assemble import from_splits
from bdistil.data.dataset import Dataset, Split
from bdistil.datasets.catalogue import register_dataset
from bdistil.datasets.local_files import LocalFiles
from bdistil.errors import DataError

STEPS, SENSORS = 125, 45
PEOPLE = range(1, 9)
ACTIVITIES = (
    *("sitting", "standing", "lying on back", "lying on right side", "ascending stairs"),
    *("descending stairs", "standing in an elevator", "moving around in an elevator"),
    *(
        "walking in a parking lot",
        "walking on a flat treadmill",
        "walking on an inclined treadmill",
    ),
    *("running on a treadmill", "exercising on a stepper", "exercising on a cross trainer"),
    *("cycling, horizontal", "cycling, vertical", "rowing", "jumping", "playing basketball"),
)
Person = Annotated[int, Field(ge=PEOPLE[0], le=PEOPLE[-1])]

DSA = LocalFiles(
    "DSA-19",
    folder="daily-and-sports-activities",
    landmark="a01/p1/s01.txt",
    download="Daily and Sports Activities from https://archive.ics.uci.edu/dataset/256 and move "
    "the folders of its data/",
    elsewhere=("daily-and-sports-activities/data", "data"),
)


@register_dataset(
    "dsa19",
    domain="sequence",
    input_shape=(STEPS, SENSORS),
    classes=19,
    examples=9_120,
    published_test=True,
    source="UCI: 19 activities of 8 people, 5 seconds of 45 sensors at 25 Hz",
    advice=DSA.advice,
)
def dsa19(
    seed: int,
    validation: float,
    test: float,
    root: Path | None = None,
    test_people: tuple[Person, ...] = (7, 8),
) -> Dataset:
    """What is the person doing? Nobody stands in two splits.

    Two of eight people as test give the papers' 6,840 and 2,280 segments.

    Args:
        seed: decides who is validation.
        validation: share of the other people, rounded, at least one person.
        test: not used.
        root: folder of local data; `daily-and-sports-activities` is looked for there.
        test_people: numbers of the people whose segments are the test split.
    """
    folder = DSA.required(root)
    others = [person for person in PEOPLE if person not in test_people]
    if not test_people or len(others) < 2:
        raise DataError(
            f"data.options.test_people is {list(test_people)}; name one to six of the eight people."
        )
    count = min(max(round(validation * len(others)), 1), len(others) - 1)
    chosen = np.random.default_rng(seed).permutation(others)
    return from_splits(
        "dsa19",
        "sequence",
        train=_segments(folder, sorted(chosen[count:])),
        validation=_segments(folder, sorted(chosen[:count])),
        test=_segments(folder, sorted(set(test_people))),
        class_names=ACTIVITIES,
    )


def _segments(folder: Path, people: list[Any]) -> Split:
    files = [
        (code, file)
        for code in range(len(ACTIVITIES))
        for person in people
        for file in _files(folder / f"a{code + 1:02d}" / f"p{person}")
    ]
    x = np.stack([_read(file) for _, file in files])
    return Split(x, np.array([code for code, _ in files], np.int64))


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("s*.txt"))
    if not files:
        raise DataError(f"{folder} has no segments s01.txt, s02.txt, ...; unpack the data again.")
    return files


def _read(file: Path) -> NDArray[np.float32]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty file
            values = np.loadtxt(file, np.float32, delimiter=",", ndmin=2)
    except (OSError, ValueError):
        raise DataError(f"{file} is no table of numbers; unpack the data again.") from None
    if values.shape != (STEPS, SENSORS) or not np.isfinite(values).all():
        raise DataError(
            f"{file} holds {values.shape} values, not {(STEPS, SENSORS)} finite numbers; unpack "
            "the data again."
        )
    return values
