"""Which row goes into which split: as the user says, and what is missing is cut from training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.data.cuts import Cut, Shares, cut_by_chance, cut_by_group, cut_by_order
from bdistil.data.labels import Labels
from bdistil.data.split import SplitIndices
from bdistil.errors import DataError
from bdistil.files.parts import SPLITS, TEST, TRAIN, VALIDATION, Parts, parts_in
from bdistil.files.wording import some
from bdistil.runtime.values import as_text, check_present
from bdistil.spec import DataSpec


@dataclass(frozen=True)
class Known:
    """What decides on the splits beside labels and chance.

    Attributes:
        parts: the split that the user gave each row, (N,); training may be left to be cut.
        groups: any values (N,); rows of one value stay in one split.
        order: numbers or times (N,), the larger the later.
        same: numbers (N,), equal for rows with equal features.
    """

    parts: Parts | None = None
    groups: NDArray[Any] | None = None
    order: NDArray[Any] | None = None
    same: NDArray[np.uint64] | None = None


def known_of(values: Any, spec: DataSpec, parts: Parts | None) -> Known:
    """What columns say of the splits.

    Args:
        values: columns by name.
        spec: that names them.
        parts: what files say of each row's split.

    Raises:
        DataError: if files and a column say it, or values are missing or make no sense.
    """
    if spec.split is not None:
        if parts is not None:
            raise DataError(
                "files say which split they are, so data.split is one word too many; leave it out."
            )
        parts = parts_in(values[spec.split], f"data.split, column {spec.split!r},")
    groups = order = None
    if spec.group is not None:
        groups = np.asarray(values[spec.group], object)
        check_present(groups, f"data.group, column {spec.group!r},", "correct or drop these rows")
    if spec.order is not None:
        order = _sortable(values[spec.order], f"data.order, column {spec.order!r},")
    return Known(parts, groups, order)


def _sortable(values: Any, what: str) -> NDArray[Any]:
    """Numbers, or times in UTC; text is read as ISO 8601 writes them."""
    check_present(values, what, "correct or drop these rows")
    if getattr(values.dtype, "tz", None) is not None:
        values = values.dt.tz_convert(None)
    array = np.asarray(values)
    if array.dtype.kind in "biufM":
        return array
    try:
        return array.astype("datetime64[us]")
    except (TypeError, ValueError):
        raise DataError(
            f"{what} holds {as_text(array[0])!r} and the like, whose order is not plain; write "
            "numbers, or times like 2026-01-31."
        ) from None


class Division(NamedTuple):
    """The rows of each split, how they came about, and what else is to be said of them."""

    rows: SplitIndices
    how: str
    notes: tuple[str, ...]


def divide(labels: Labels, known: Known, spec: DataSpec, seed: int) -> Division:
    """Keep the splits that the user gave and cut those that are missing from training.

    Args:
        labels: of all rows.
        known: of all rows.
        spec: with the shares of validation and test among the rows that are cut.
        seed: of what is left to chance.

    Raises:
        DataError: if rows, groups or times are too few, or training lacks a class.
    """
    parts = np.zeros(len(labels.y), np.int8) if known.parts is None else known.parts.copy()
    given = [part for part in (VALIDATION, TEST) if (parts == part).any()]
    shares = {VALIDATION: spec.validation, TEST: spec.test}
    shares = {part: share for part, share in shares.items() if part not in given}
    how = [f"{_listed(given)} as given"] if given else []
    if shares:
        free = np.flatnonzero(parts == TRAIN)
        parts[free], means = _cut(labels, known, free, shares, seed)
        how.append(f"{_listed(shares)} from training, {means}" if given else means)
    rows = SplitIndices(*(np.flatnonzero(parts == part) for part in range(len(SPLITS))))
    _check_trained(labels, rows.train)
    notes = [*_classes_without_rows(labels, rows), *_torn_groups(known, parts)]
    return Division(rows, "; ".join(how), (*notes, *_repeats(known, rows)))


def _cut(labels: Labels, known: Known, free: NDArray[np.int64], shares: Shares, seed: int) -> Cut:
    if not len(free):
        raise DataError("no row is for training; give some whose split is train.")
    if known.order is not None:
        return cut_by_order(known.order[free], shares)
    y, names = labels.y[free], labels.class_names if labels.y.ndim == 1 else None
    if known.groups is not None:
        codes = np.zeros(len(y), np.int64) if names is None else y
        return cut_by_group(codes, known.groups[free], shares, seed)
    same = None if known.same is None else known.same[free]
    return cut_by_chance(y, names, shares, seed, same)


def _check_trained(labels: Labels, train: NDArray[np.int64]) -> None:
    names = _absent(labels, train)
    if names:
        several = len(names) > 1
        raise DataError(
            f"class{'es' if several else ''} {some(names)} {'have' if several else 'has'} no "
            "training example; add some, or drop the rows of other splits."
        )


def _classes_without_rows(labels: Labels, rows: SplitIndices) -> list[str]:
    absent = ((name, _absent(labels, own)) for name, own in zip(SPLITS, rows, strict=True))
    return [f"{name} has no example of {some(missing)}" for name, missing in absent if missing]


def _absent(labels: Labels, rows: NDArray[np.int64]) -> list[str]:
    """The classes that no row has."""
    if labels.class_names is None or labels.y.ndim > 1:
        return []
    counts = np.bincount(labels.y[rows], minlength=len(labels.class_names))
    return [name for name, count in zip(labels.class_names, counts, strict=True) if not count]


def _torn_groups(known: Known, parts: Parts) -> list[str]:
    """Groups that the user's own splits, or times, tear apart."""
    given = known.parts is not None
    if known.groups is None or not (given or known.order is not None):
        return []
    homes: dict[str, set[int]] = {}
    for value, part in zip(known.groups, parts.tolist(), strict=True):
        homes.setdefault(as_text(value), set()).add(part)
    torn = [name for name, own in homes.items() if len(own) > 1]
    why = "as given" if given else "since data.order goes before data.group"
    return [f"groups in more than one split, {why}: {some(torn)}"] if torn else []


def _repeats(known: Known, rows: SplitIndices) -> list[str]:
    if known.same is None:
        return []
    repeated = len(known.same) - len(np.unique(known.same))
    if not repeated:
        return []
    trained = known.same[rows.train]
    twins = [int(np.isin(known.same[own], trained).sum()) for own in rows[1:]]
    across = ", ".join(f"{n:,} in {name}" for n, name in zip(twins, SPLITS[1:], strict=True) if n)
    return [
        f"{repeated:,} row{'s repeat' if repeated > 1 else ' repeats'} the features of an earlier "
        f"one; with a twin in training: {across or 'none'}"
    ]


def _listed(parts: Any) -> str:
    return " and ".join(SPLITS[part] for part in sorted(parts))
