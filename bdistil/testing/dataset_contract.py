"""The contract of a named data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bdistil.data.dataset import Dataset, Split
from bdistil.datasets.catalogue import DatasetEntry, list_datasets, load_dataset
from bdistil.errors import SpecError
from bdistil.spec import DataSpec
from bdistil.testing.network_checks import expect

Check = Callable[[str], None]


def check_dataset(name: str) -> None:
    """Hold a data set, loaded with its default options, to the whole contract.

    Args:
        name: of a registered data set whose files are present.

    Raises:
        AssertionError: saying what is broken.
        SpecError: if there is no such data set.
    """
    for check in DATASET_CHECKS:
        check(name)


def check_listed(name: str) -> None:
    """The data set is as its registration says."""
    entry, dataset = _entry(name), _load(name)
    splits = _splits(dataset).values()
    for what, listed, found in (
        ("name", entry.name, dataset.name),
        ("domain", entry.domain, dataset.domain),
        ("task", entry.task, dataset.task),
        ("input_shape", entry.input_shape, dataset.input_shape),
        ("examples", entry.examples, sum(map(len, splits))),
        ("classes", entry.classes or dataset.train.y.shape[1], dataset.outputs),
        ("remedy", "", entry.remedy),
    ):
        expect(listed == found, f"{name}: {what} is {listed!r} as registered, {found!r} as loaded.")


def check_types(name: str) -> None:
    """Features are finite float32; labels fit the task; every class is in every split."""
    dataset = _load(name)
    for which, split in _splits(dataset).items():
        finite = split.x.dtype == np.float32 and bool(np.isfinite(split.x).all())
        expect(finite, f"{name}: features of the {which} split are no finite float32.")
        problem = _label_problem(dataset, split)
        expect(not problem, f"{name}: labels of the {which} split {problem}.")
    texts = all(type(each) is str for each in dataset.class_names or ())
    expect(texts, f"{name}: class_names are not all text: {dataset.class_names}.")


def check_split_seeds(name: str) -> None:
    """The seed decides the split, and nothing else does."""
    first, again, other = (_load(name, seed) for seed in (3, 3, 4))
    for which, split in _splits(first).items():
        same = _splits(again)[which]
        equal = np.array_equal(split.x, same.x) and np.array_equal(split.y, same.y)
        expect(equal, f"{name}: the {which} split differs between two loads of one seed.")
    moved = not np.array_equal(first.train.x, other.train.x)
    expect(moved, f"{name}: the training split is the same for two seeds.")
    fixed, published = np.array_equal(first.test.x, other.test.x), _entry(name).published_test
    expect(fixed == published, f"{name}: published_test is {published}, but the seed says not so.")


def check_shares(name: str) -> None:
    """The splits have the shares that were asked for."""
    entry, dataset = _entry(name), _load(name, validation=0.1, test=0.4)
    total, slack = entry.examples, 1
    if entry.published_test:  # the shares are of what is left, and classes are spread evenly
        total, slack = len(dataset.train) + len(dataset.validation), dataset.outputs
    else:
        _expect_share(name, "test", len(dataset.test), 0.4 * total, slack)
    _expect_share(name, "validation", len(dataset.validation), 0.1 * total, slack)


DATASET_CHECKS: tuple[Check, ...] = (check_listed, check_types, check_split_seeds, check_shares)
"""The whole contract: functions of a name."""


def _entry(name: str) -> DatasetEntry:
    for entry in list_datasets():
        if entry.name == name:
            return entry
    raise SpecError(f"{name!r} is no registered data set; import the module that registers it.")


def _load(name: str, seed: int = 0, **settings: Any) -> Dataset:
    return load_dataset(DataSpec(name=name, **settings), seed)


def _splits(dataset: Dataset) -> dict[str, Split]:
    return {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}


def _label_problem(dataset: Dataset, split: Split) -> str:
    """What is wrong with labels, in words; empty if nothing is."""
    y = split.y
    if dataset.task != "classification":
        fits = y.dtype == np.float32 and y.shape == (len(split), dataset.outputs)
        return "" if fits else f"are {y.dtype} {y.shape}, not float32 (N, {dataset.outputs})"
    if y.dtype != np.int64 or y.shape != (len(split),):
        return f"are {y.dtype} {y.shape}, not int64 (N,)"
    missing = set(range(dataset.outputs)) ^ set(y.tolist())
    return f"lack classes, or have more than {dataset.outputs}: {sorted(missing)}" * bool(missing)


def _expect_share(name: str, which: str, found: int, wanted: float, slack: int) -> None:
    close = abs(found - wanted) <= slack
    expect(close, f"{name}: the {which} split has {found} examples, not about {wanted:.0f}.")
