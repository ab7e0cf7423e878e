"""Cross-fitting: every training example is answered by a teacher that has not seen its label.

"Knowledge distillation as semiparametric inference" (arXiv 2104.09732, ICLR 2021): an overfitted
teacher repeats the labels that it was trained on, and what it says of them teaches little. So the
training split is cut into folds, teacher b is trained without fold b and asked about fold b alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from bdistil.core.seeds import derived_seed
from bdistil.data.dataset import Dataset
from bdistil.data.repeats import row_hashes
from bdistil.errors import TeacherError
from bdistil.spec import Spec
from bdistil.teachers.answers import on_disk
from bdistil.teachers.contract import obtained
from bdistil.teachers.select import teacher_source
from bdistil.teachers.source import EpochProgress, Rows, TeacherSource
from bdistil.teachers.teacher_store import TeacherStore
from bdistil.words import counted

FoldProgress = Callable[[int, int], None]
Folds = Mapping[int, Rows]
FitFolds = Callable[
    [Dataset, Spec, Folds, EpochProgress | None], Iterator[tuple[int, NDArray[np.float32]]]
]
"""Gives each fold's number and logits as they come; a backend's ``fit_folds``."""


def check_folds(source: TeacherSource, dataset: Dataset, spec: Spec) -> None:
    """Refuse cross-fitting of a teacher that cannot be trained anew, or with too many folds.

    Raises:
        TeacherError: naming `teacher.crossfit`.
    """
    folds, examples, settings = spec.teacher.crossfit, len(dataset.train), spec.teacher
    if folds and not source.can_refit:
        name = "columns" if source.kind == "columns" else settings.model
        raise TeacherError(
            f"teacher.crossfit is {folds}, but the teacher ({name}) comes trained and cannot be "
            f"trained anew without a fold; set teacher.crossfit=0, or choose a teacher of the zoo "
            f"or a scikit-learn estimator."
        )
    if folds > examples:
        raise TeacherError(
            f"teacher.crossfit is {folds}, but there are {examples} training examples; lower it."
        )
    groups = dataset.train.groups
    if folds and groups is not None and folds > (known := len(np.unique(groups))):
        remedy = f"lower it to {known} at most" if known > 1 else "set teacher.crossfit=0"
        raise TeacherError(
            f"teacher.crossfit is {folds}, but training has {counted(known, 'group')} of "
            f"data.group, which folds keep whole; {remedy}, or leave out data.group."
        )


def out_of_fold(
    store: TeacherStore,
    dataset: Dataset,
    spec: Spec,
    data_sha256: str | None = None,
    progress: EpochProgress | None = None,
    folded: FoldProgress = lambda done, folds: None,
    fit_folds: FitFolds | None = None,
) -> NDArray[np.float32]:
    """The out-of-fold logits of the training split, float32 (N, L), in an unnamed file.

    Each fold is kept in the store as soon as it is there, and not fitted again.

    Args:
        store: where folds are kept.
        dataset: the data.
        spec: names the teacher and the number of folds.
        data_sha256: of the user's file; folds of other data are fitted anew.
        progress: of training, where it happens in this process.
        folded: called with (folds that are there, folds), first for those that were kept.
        fit_folds: fits the folds that are missing; None fits them here.

    Raises:
        TeacherError: if a training fails.
        ClusterError: if a fold was lost with several workers.
    """
    folds = folds_of(dataset, spec.teacher.crossfit, spec.seed)
    known = {b: store.fold(b, rows, data_sha256) for b, rows in folds.items()}
    missing = {b: rows for b, rows in folds.items() if known[b] is None}
    folded(len(folds) - len(missing), len(folds))
    table = on_disk(len(dataset.train), dataset.outputs)
    for b in folds.keys() - missing.keys():
        table[folds[b]] = known.pop(b)
    fit = fit_folds or fit_one_by_one
    fitted = fit(dataset, spec, missing, progress) if missing else ()
    for done, (b, logits) in enumerate(fitted, start=1):
        store.save_fold(b, folds[b], logits, data_sha256)
        table[folds[b]] = logits
        folded(len(folds) - len(missing) + done, len(folds))
    return table


def folds_of(dataset: Dataset, count: int, seed: int) -> dict[int, Rows]:
    """Rows of each fold, numbered from 1, in ascending order; classes are spread evenly.

    Groups of `data.group` stay whole, so that no teacher has heard the speaker it is asked about,
    and so do rows of equal features, unless a class or a fold would be made of hardly any others.
    """
    random, train = np.random.default_rng(derived_seed(seed, "folds")), dataset.train
    classes = train.y if dataset.task == "classification" else np.zeros(len(train), np.int64)
    if train.groups is not None:
        fold = folds_of_groups(classes, train.groups, count, random)
        return {b + 1: np.flatnonzero(fold == b) for b in range(count)}
    _, first, twins = np.unique(row_hashes(train.x), return_index=True, return_inverse=True)
    rows, different = np.bincount(classes), np.bincount(classes[first], minlength=classes.max() + 1)
    crowd = np.bincount(twins).max() > len(train) / count
    if crowd or (different < np.minimum(rows, count)).any() or 2 * len(first) < len(train):
        first = twins = np.arange(len(train))
    kept = np.sort(first)
    order = kept[random.permutation(len(kept))]
    order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(len(train), np.int64)
    fold[order] = np.arange(len(order)) % count
    return {b + 1: np.flatnonzero(fold[first][twins] == b) for b in range(count)}


def folds_of_groups(
    classes: NDArray[np.int64], groups: NDArray[np.int64], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """The fold of each row, int64 (N,), from 0: of whole groups, each class as even as may be.

    The largest groups come first, equal ones by chance. Each goes where it adds least to the folds'
    sum of squared shares of the classes, and to the smallest fold of those; so an empty fold is
    filled first.

    Args:
        classes: class indices (N,), all 0 if there are none.
        groups: any numbers (N,).
        count: of the folds, at most as many as groups.
        random: decides between groups of one size.
    """
    _, group = np.unique(groups, return_inverse=True)
    rows = np.zeros((group.max() + 1, classes.max() + 1))
    np.add.at(rows, (group, classes), 1)
    weight = 1 / np.maximum(rows.sum(axis=0), 1) ** 2
    order = random.permutation(len(rows))
    order = order[np.argsort(-rows[order].sum(axis=1), kind="stable")]
    filled, home = np.zeros((count, rows.shape[1])), np.empty(len(rows), np.int64)
    for each in order:
        best = np.lexsort((filled.sum(axis=1), filled @ (weight * rows[each])))[0]
        filled[best] += rows[each]
        home[each] = best
    return home[group]


def fit_one_by_one(
    dataset: Dataset, spec: Spec, folds: Folds, progress: EpochProgress | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Each fold's number and logits, fitted in this process."""
    for number, rows in folds.items():
        yield number, fit_fold(dataset, spec, rows, progress)


def fit_fold(
    dataset: Dataset, spec: Spec, rows: Rows, progress: EpochProgress | None = None
) -> NDArray[np.float32]:
    """Logits of some rows of the training split by a teacher trained on all others.

    Raises:
        TeacherError: if training fails.
    """
    train = dataset.train
    others = np.setdiff1d(np.arange(len(train)), rows)
    teacher = obtained(teacher_source(dataset, spec), dataset, others, progress)
    return np.array(teacher.logits(train.take(rows), None))
