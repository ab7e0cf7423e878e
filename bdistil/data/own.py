"""The last steps that all of the user's own sources share: split, cut, and say what was done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bdistil.data.assemble import assemble
from bdistil.data.cuts import numbered_groups
from bdistil.data.data_card import ColumnNote
from bdistil.data.dataset import Dataset, Split
from bdistil.data.describe import describe
from bdistil.data.divide import Known, divide
from bdistil.data.giveaways import giveaways
from bdistil.data.labels import Labels
from bdistil.data.split import SplitIndices
from bdistil.data.teacher_outputs import check_width
from bdistil.data.weights import weighed
from bdistil.errors import SpecError
from bdistil.files.file_readers import name_of
from bdistil.names import Domain
from bdistil.runtime.columns import TableColumns
from bdistil.spec import DataSpec
from bdistil.spec.data import COLUMN_KEYS


class Features(Protocol):
    """Features of all rows, before it is known which row is in which split."""

    @property
    def domain(self) -> Domain:
        """The kind of input."""

    @property
    def padding(self) -> float | None:
        """What stands in front of shorter sequences."""

    @property
    def form(self) -> dict[str, Any] | None:
        """What photographs or recordings became (see DataCard)."""

    def hashes(self) -> NDArray[np.uint64] | None:
        """Numbers (N,), equal for rows with equal features; None if that is not known."""

    def splits(self, rows: SplitIndices) -> Sequence[NDArray[Any]]:
        """The features of each split; what is learnt from them, from training alone."""

    def columns(self) -> TableColumns | None:
        """How columns became features (see Dataset), once there are splits."""

    def said(self) -> tuple[list[ColumnNote], list[str]]:
        """What became of each column, and what else is to be said, once there are splits."""


def assemble_own(
    spec: DataSpec,
    seed: int,
    source: str,
    features: Features,
    labels: Labels,
    known: Known,
    *,
    teacher_outputs: NDArray[np.float32] | None = None,
    weights: NDArray[np.float32] | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Split the user's rows and make a data set of them that says how it came about.

    Args:
        spec: of the data.
        seed: of the split.
        source: what was read, in words.
        features: of all rows.
        labels: of all rows.
        known: what decides on the splits, beside equal features.
        teacher_outputs: a teacher's outputs, float32 (N, L).
        weights: of the rows, float32 (N,).
        notes: what else a reader should know.

    Raises:
        DataError: if the rows cannot be split or the features are unfit.
        TeacherError: if the teacher has another number of outputs than the labels need.
    """
    assert spec.path is not None
    check_width(teacher_outputs, labels)
    division = divide(labels, replace(known, same=features.hashes()), spec, seed)
    dataset = assemble(
        name_of(spec.path),
        features.domain,
        features.splits(division.rows),
        labels.y,
        division.rows,
        class_names=labels.class_names,
        class_type=labels.class_type,
        teacher_outputs=teacher_outputs,
        columns=features.columns(),
        padding=features.padding,
        weights=weights,
        groups=None if known.groups is None else numbered_groups(known.groups)[1],
    )
    columns, said = features.said()
    notes = [
        *said,
        *notes,
        *division.notes,
        *_single_groups(dataset),
        *giveaways(dataset, spec.ignore),
    ]
    card = describe(dataset, source, division.how, columns, notes, features.form)
    return weighed(replace(dataset, card=card, form=features.form, layout=spec.layout), spec)


def _single_groups(dataset: Dataset) -> Iterator[str]:
    """What chooses and what is reported may hold for one speaker, say, and not for others."""
    if count_groups(dataset.validation) == 1:
        yield (
            "validation is a single group of data.group: what is best there need not be best for "
            "others"
        )
    if count_groups(dataset.test) == 1:
        yield (
            "test is a single group of data.group: intervals of its figures hold for this group, "
            "not for others"
        )


def count_groups(split: Split) -> int | None:
    """How many groups a split has; None if they are not known."""
    return None if split.groups is None else len(np.unique(split.groups))


FORMS = {"size": "photographs", "seconds": "recordings", "layout": "arrays and series"}
USES = {
    **FORMS,
    **dict.fromkeys(("features", "ignore", *COLUMN_KEYS), "columns"),
}
"""What the spec's keys that are not for every source are for."""


def check_unused(spec: DataSpec, key: str | None, what: str) -> None:
    """Refuse keys that say how to read what a source is not; `key` is its own, if it has one."""
    check_unset(spec, [other for other in FORMS if other != key], what)


def check_unset(spec: DataSpec, keys: Sequence[str], what: str) -> None:
    """Refuse keys of the spec that mean nothing for a source.

    Args:
        spec: of the data.
        keys: that must be at their defaults.
        what: the source is or holds, in words that go on from its path.

    Raises:
        SpecError: naming the first that is set.
    """
    for key in keys:
        if getattr(spec, key):
            raise SpecError(f"data.{key} is for {USES[key]}, but {spec.path} {what}; remove it.")
