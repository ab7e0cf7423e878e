"""Ways to cut validation and test from rows: by chance, by a user's groups, by time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bdistil.data.split import split_indices
from bdistil.errors import DataError
from bdistil.files.parts import SPLITS, TEST, TRAIN, VALIDATION, Parts
from bdistil.files.wording import some
from bdistil.runtime.values import as_text, sorted_texts

Shares = Mapping[int, float]
"""The share of each part that is to be cut, all below 1 in sum."""

DRAWS, GROUPS_DRAWN = 200, 200_000


class Cut(NamedTuple):
    """The part of each row, and how it came about."""

    parts: Parts
    how: str


def cut_by_chance(
    y: NDArray[Any],
    class_names: Sequence[str] | None,
    shares: Shares,
    seed: int,
    same: NDArray[np.uint64] | None = None,
) -> Cut:
    """Cut at random, stratified by class where there are classes.

    Args:
        y: class indices, int64 (N,), or targets or labels of length N.
        class_names: the classes in index order, None if there are none.
        shares: of the parts to be cut.
        seed: equal seeds give equal cuts.
        same: equal numbers, (N,), for rows with equal features, which are kept in one part unless
            hardly any are different.

    Raises:
        DataError: if the rows of one class are fewer than the parts.
    """
    how = "by chance" if class_names is None else "by chance, stratified by class"
    first = group = np.arange(len(y))
    if same is not None:
        _, first, group = np.unique(same, return_index=True, return_inverse=True)
    if len(first) == len(y):
        return Cut(_random_parts(y, class_names, shares, seed), how)
    rarest = len(first)
    if class_names is not None:
        rarest = int(np.bincount(y[first], minlength=len(class_names)).min())
    if 2 * len(first) < len(y) or rarest <= len(shares):
        how += "; too few rows are different to keep repeated ones in one split"
        return Cut(_random_parts(y, class_names, shares, seed), how)
    parts = np.zeros(len(y), np.int8)
    rows = np.sort(first)
    parts[rows] = _random_parts(y[rows], class_names, shares, seed)
    return Cut(parts[first][group], f"{how}, repeated rows together")


def _random_parts(
    y: NDArray[Any], class_names: Sequence[str] | None, shares: Shares, seed: int
) -> Parts:
    validation, test = shares.get(VALIDATION, 0.0), shares.get(TEST, 0.0)
    rows = split_indices(y, class_names, validation=validation, test=test, seed=seed)
    parts = np.zeros(len(y), np.int8)
    parts[rows.validation], parts[rows.test] = VALIDATION, TEST
    return parts


def cut_by_order(order: NDArray[Any], shares: Shares) -> Cut:
    """The last rows are test, those before them validation; rows of equal time stay together.

    Raises:
        DataError: if there are too few times.
    """
    times, place = np.unique(order, return_inverse=True)
    if len(times) <= len(shares):
        raise DataError(
            f"data.order has {len(times)} different value{'s' * (len(times) > 1)} in the rows to "
            f"be split, fewer than the {len(shares) + 1} splits; choose another column."
        )
    share_from = np.cumsum(np.bincount(place)[::-1])[::-1] / len(order)
    of_time = np.zeros(len(times), np.int8)
    aim, start = sum(shares.values()), 0
    for left, part in zip(range(len(shares), 0, -1), sorted(shares), strict=True):
        start = min(max(_nearest(share_from, aim), start + 1), len(times) - left)
        of_time[start:] = part
        aim -= shares[part]
    return Cut(of_time[place], "the last rows by data.order")


def cut_by_group(codes: NDArray[np.int64], groups: NDArray[Any], shares: Shares, seed: int) -> Cut:
    """Whole groups: of many random draws the one whose classes are nearest to proportion.

    Args:
        codes: class indices (N,), all 0 if there are none.
        groups: any values (N,).
        shares: of the parts to be cut.
        seed: equal seeds give equal cuts.

    Raises:
        DataError: if the groups are fewer than the parts.
    """
    names, group = numbered_groups(groups)
    if len(names) <= len(shares):
        raise DataError(
            f"data.group has {len(names)} different value{'s' if len(names) > 1 else ''}, fewer "
            f"than the {len(shares) + 1} splits; choose another column."
        )
    counts = np.zeros((len(names), codes.max() + 1))
    np.add.at(counts, (group, codes), 1)
    random = np.random.default_rng(seed)
    draws = max(1, min(DRAWS, GROUPS_DRAWN // len(names)))
    drawn = (_draw(counts.sum(axis=1), shares, random) for _ in range(draws))
    best = min(drawn, key=lambda parts: _disproportion(counts, parts, shares))
    homes = [
        f"{some([names[place] for place in np.flatnonzero(best == part)])} in {SPLITS[part]}"
        for part in (TRAIN, *sorted(shares))
    ]
    return Cut(best[group], f"by data.group: {', '.join(homes)}")


def numbered_groups(groups: NDArray[Any]) -> tuple[list[str], NDArray[np.int64]]:
    """The names of groups, sorted, and the number of each row's (N,)."""
    texts = [as_text(value) for value in groups]
    names = sorted_texts(texts)
    number = {name: place for place, name in enumerate(names)}
    return names, np.array([number[text] for text in texts], np.int64)


def _draw(sizes: NDArray[np.float64], shares: Shares, random: np.random.Generator) -> Parts:
    """A part for each group: in random order, as many as meet the shares best, at least one."""
    order = random.permutation(len(sizes))
    filled = np.cumsum(sizes[order]) / sizes.sum()
    parts = np.zeros(len(sizes), np.int8)
    start, aim = 0, 0.0
    for left, part in zip(range(len(shares), 0, -1), sorted(shares), strict=True):
        aim += shares[part]
        stop = min(max(_nearest(filled, aim) + 1, start + 1), len(sizes) - left)
        parts[order[start:stop]] = part
        start = stop
    return parts


def _disproportion(counts: NDArray[np.float64], parts: Parts, shares: Shares) -> float:
    """How far each class's rows in each part are from their share, as a part of all rows."""
    of_class = counts.sum(axis=0)
    missed = sum(
        np.abs(counts[parts == part].sum(axis=0) - share * of_class).sum()
        for part, share in shares.items()
    )
    untrained = (counts[parts == TRAIN].sum(axis=0) == 0) & (of_class > 0)
    return float(missed / of_class.sum() + untrained.sum())


def _nearest(values: NDArray[np.float64], aim: float) -> int:
    return int(np.abs(values - aim).argmin())
