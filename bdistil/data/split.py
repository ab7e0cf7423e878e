"""Seeded split of examples into training, validation and test, by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError

Indices = NDArray[np.int64]


class SplitIndices(NamedTuple):
    """Row numbers of the three splits, int64 and ascending; disjoint, together all rows."""

    train: Indices
    validation: Indices
    test: Indices


def split_indices(
    y: NDArray[Any],
    class_names: Sequence[str] | None,
    *,
    validation: float,
    test: float,
    seed: int,
) -> SplitIndices:
    """Split stratified by class where there are classes, plainly where there are none.

    Every class stands in every split, in proportion as far as whole rows allow.

    Args:
        y: class indices, int64 (N,), or targets or labels of length N.
        class_names: the classes in index order; None for regression. Names of labels (`y` of shape
            (N, L)) are no classes.
        validation: share of all rows; 0 leaves the split empty.
        test: share of all rows, likewise; both shares add up to less than 1.
        seed: equal seeds give equal splits.

    Raises:
        DataError: if the rows, or those of one class, are fewer than the splits.
    """
    class_names = class_names if y.ndim == 1 else None
    codes = np.zeros(len(y), np.int64) if class_names is None else y
    counts = np.bincount(codes, minlength=1 if class_names is None else len(class_names))
    wanted = {"training": 1.0, "validation": validation, "test": test}
    _check_enough(counts, class_names, [name for name, share in wanted.items() if share])
    tests = _quota(counts, test, most=counts - 1 - (validation > 0))
    validations = _quota(counts, validation, most=counts - tests - 1)
    rank = _rank_within_class(codes, counts, seed)
    in_test = rank < tests[codes]
    in_validation = ~in_test & (rank < (tests + validations)[codes])
    return SplitIndices(
        train=np.flatnonzero(~in_test & ~in_validation),
        validation=np.flatnonzero(in_validation),
        test=np.flatnonzero(in_test),
    )


def stratified_order(y: NDArray[np.int64], classes: int, seed: int) -> Indices:
    """A random order of the rows in which every stretch has the classes in proportion, int64 (N,).

    Args:
        y: class indices, int64 (N,).
        classes: their number.
        seed: equal seeds give equal orders.
    """
    counts = np.bincount(y, minlength=classes)
    place = (_rank_within_class(y, counts, seed) + 0.5) / counts[y]
    shuffled = np.random.default_rng(seed).permutation(len(y))  # where places are equal
    order: Indices = shuffled[np.argsort(place[shuffled], kind="stable")]
    return order


def evenly_spread(rows: int, most: int) -> Indices:
    """At most so many of some rows, spread over all."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))


def _check_enough(
    counts: Indices,
    class_names: Sequence[str] | None,
    splits: Sequence[str],
) -> None:
    rarest = int(counts.argmin())
    if counts[rarest] >= len(splits):
        return
    found = f"{counts[rarest]} example{'' if counts[rarest] == 1 else 's'}"
    need = f"{', '.join(splits[:-1])} and {splits[-1]} need at least one each"
    if class_names is None:
        raise DataError(f"the data hold {found}, but {need}; add more.")
    others = int((counts < len(splits)).sum()) - 1
    more = f" (and {others} more class{'es' if others > 1 else ''} too few)" if others else ""
    remedy = "add examples of it, or drop or merge the class"
    if all(name.lstrip("-").isdecimal() for name in class_names):
        remedy += "; or, if these are numbers of something, set data.task=regression"
    raise DataError(f"class {class_names[rarest]!r} has {found}{more}, but {need}; {remedy}.")


def _quota(counts: Indices, share: float, most: Indices) -> Indices:
    """Rows to take of each class: at least one, and in total the share of all rows; 0 for 0."""
    if not share:
        return np.zeros_like(counts)
    exact = counts * share
    quota = np.maximum(np.floor(exact).astype(np.int64), 1)
    short = round(share * int(counts.sum())) - int(quota.sum())
    if short > 0:
        by_remainder = np.argsort(np.floor(exact) - exact, kind="stable")
        quota[by_remainder[:short]] += 1
    capped: Indices = np.minimum(quota, most)
    return capped


def _rank_within_class(codes: Indices, counts: Indices, seed: int) -> Indices:
    """Each row's place in a random order of its class, from 0."""
    shuffled = np.random.default_rng(seed).permutation(len(codes))
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(codes), np.int64)
    rank[by_class] = np.arange(len(codes)) - np.repeat(starts, counts)
    return rank
