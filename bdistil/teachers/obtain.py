"""The teacher of a run: obtained once, of whatever kind, and kept by its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bdistil.core.views import ViewMaker
from bdistil.data.dataset import Dataset
from bdistil.errors import CheckpointError, TeacherError
from bdistil.spec import Spec, TeacherSpec
from bdistil.teachers.contract import checked, obtained
from bdistil.teachers.crossfit import (
    FoldProgress,
    Folds,
    check_folds,
    fit_one_by_one,
    out_of_fold,
)
from bdistil.teachers.select import teacher_source
from bdistil.teachers.source import AnswerProgress, EpochProgress, Teacher, TeacherSource
from bdistil.teachers.teacher_files import files_of, files_sha256
from bdistil.teachers.teacher_store import (
    OUT_OF_FOLD,
    SPLITS,
    VIEWS,
    Logits,
    TeacherCard,
    TeacherStore,
)
from bdistil.teachers.trained import check_trained_here, model_name
from bdistil.teachers.view_answers import answer_views, views_identity
from bdistil.teachers.yardsticks import metric_of, warn_if_worse_than_guessing
from bdistil.version import version_and_commit

LEAST_LOGIT = 1e-6  # below, centring's rounding errors


class TeacherFitter(Protocol):
    """Where teachers are trained: a backend, or this process."""

    def fit_folds(
        self, dataset: Dataset, spec: Spec, folds: Folds, progress: EpochProgress | None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The number and logits of each fold of `teacher.crossfit`, as they come."""

    def fit_teacher(
        self, dataset: Dataset, spec: Spec, progress: EpochProgress | None
    ) -> AbstractContextManager[Teacher]:
        """The spec's teacher, which answers until the context ends."""


class InThisProcess:
    """A :class:`TeacherFitter` without workers."""

    def fit_folds(
        self, dataset: Dataset, spec: Spec, folds: Folds, progress: EpochProgress | None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Each fold's number and logits, fitted one by one."""
        return fit_one_by_one(dataset, spec, folds, progress)

    def fit_teacher(
        self, dataset: Dataset, spec: Spec, progress: EpochProgress | None
    ) -> AbstractContextManager[Teacher]:
        """The teacher, trained or asked here."""
        return nullcontext(obtained(teacher_source(dataset, spec), dataset, progress=progress))


HERE = InThisProcess()


def obtain_teacher(
    store: TeacherStore,
    dataset: Dataset,
    spec: Spec,
    progress: EpochProgress | None = None,
    answered: AnswerProgress | None = None,
    folded: FoldProgress = lambda done, folds: None,
    fitter: TeacherFitter = HERE,
    makers: Sequence[ViewMaker] = (),
) -> Logits:
    """The teacher's logits for each split, made and stored if they are not there yet.

    They are centred for classification alone: softmax does not see a constant, sigmoids do.

    With `teacher.crossfit` also the out-of-fold ones of the training split, with `makers` also
    those of its copies.

    Args:
        store: where they are kept.
        dataset: what the teacher is asked about.
        spec: names the teacher.
        progress: of training, called with (epoch from 1, epochs, validation metric).
        answered: of asking the user's own teacher, called with (examples answered, examples).
        folded: of cross-fitting, called with (folds that are there, folds).
        fitter: trains it, and those of the folds of cross-fitting; a backend, or this process.
        makers: of copies of the training examples, in row order; none without data.views.

    Raises:
        TeacherError: if the teacher does not fit the data, or training fails.
        CheckpointError: if a stored teacher is damaged or of other data or weights.
    """
    if not store.exists:
        make_teacher(store, dataset, spec, progress, answered, folded, fitter, makers)
        return store.all_logits()
    logits = store.all_logits()
    shapes = {name: (len(getattr(dataset, name)), dataset.outputs) for name in SPLITS}
    if any(logits[name].shape != shape for name, shape in shapes.items()):
        raise _changed(store, dataset)
    check_unchanged(store, dataset)
    return logits


def make_teacher(
    store: TeacherStore,
    dataset: Dataset,
    spec: Spec,
    progress: EpochProgress | None = None,
    answered: AnswerProgress | None = None,
    folded: FoldProgress = lambda done, folds: None,
    fitter: TeacherFitter = HERE,
    makers: Sequence[ViewMaker] = (),
) -> None:
    """Obtain the spec's teacher, ask it about every example and keep what it says.

    With `teacher.crossfit` its stand-ins for the folds come first: each is kept as it comes.
    """
    files = files_sha256(spec.teacher)
    data = None if spec.data.path is None else dataset.sha256
    outside = {}
    if spec.teacher.crossfit:
        fit_folds = fitter.fit_folds
        outside[OUT_OF_FOLD] = out_of_fold(store, dataset, spec, data, progress, folded, fit_folds)
        check_says_something({"train": outside[OUT_OF_FOLD]})
    source = teacher_source(dataset, spec)
    with (
        fitter.fit_teacher(dataset, spec, progress)
        if source.can_refit
        else nullcontext(obtained(source, dataset, progress=progress))  # one's files lie here
    ) as teacher:
        logits = {name: teacher.logits(getattr(dataset, name), answered) for name in SPLITS}
        check_says_something(logits)
        card = card_of(source, teacher, dataset, spec.teacher, logits)
        card = card.model_copy(update={"files_sha256": files, "data_sha256": data})
        warn_if_worse_than_guessing(source.kind, dataset, logits)
        if makers:
            learnt = f"{source.kind} {files}"
            answer_views(store, dataset, teacher, makers, learnt, answered)
            identity = views_identity(dataset, makers, learnt)
            kept = {"views": makers[0].settings.copies, "views_identity": identity}
            card = card.model_copy(update=kept)
        network = None if teacher.network is None else teacher.network.cpu()
        store.save(card, network, logits | outside)


def card_of(
    source: TeacherSource, teacher: Teacher, dataset: Dataset, settings: TeacherSpec, logits: Logits
) -> TeacherCard:
    """What is known of a teacher, without hashes."""
    has_columns = source.kind == "columns"
    model = model_name(settings, dataset)
    return TeacherCard(
        source=source.kind,
        came_trained=not source.can_refit,
        model="columns" if has_columns else model,
        options={} if has_columns else settings.options,
        domain=dataset.domain,
        input_shape=dataset.input_shape,
        outputs=dataset.outputs,
        crossfit=settings.crossfit,
        validation_metric=metric_of(dataset, "validation", logits),
        flops=teacher.flops,
        parameters=teacher.parameters,
        seconds=teacher.seconds,
        version=version_and_commit(),
    )


def game_logits(logits: Logits) -> Logits:
    """The logits that a search works on: of the training split, the out-of-fold ones if any."""
    return (
        {name: logits[name] for name in SPLITS}
        | {"train": logits.get(OUT_OF_FOLD, logits["train"])}
        | {name: logits[name] for name in (VIEWS,) if name in logits}
    )


def check_teacher(dataset: Dataset, spec: Spec) -> None:
    """Find what is wrong with the spec's teacher before anything is written.

    Raises:
        TeacherError: if it cannot be built, its files could run code, it does not fit the data, or
            it cannot be trained anew for `teacher.crossfit`, or not as the spec says.
        SpecError: if the model or its options are unknown or do not fit the data.
        MissingDependencyError: if a library that it needs is not installed.
    """
    source = teacher_source(dataset, spec)
    checked(source)
    check_folds(source, dataset, spec)
    check_trained_here(source, spec)
    if source.kind == "columns":  # the only answers that are there without work
        teacher = source.obtain()
        check_says_something({"train": teacher.logits(dataset.train, None)})


def check_unchanged(store: TeacherStore, dataset: Dataset) -> None:
    """Refuse the user's data if it is not what the stored teacher learnt from.

    Raises:
        CheckpointError: if it has changed.
    """
    known = store.card().data_sha256
    if known is not None and dataset.sha256 != known:
        raise _changed(store, dataset)


def check_same_files(store: TeacherStore, settings: TeacherSpec) -> None:
    """Refuse other files of the user's own teacher than those whose answers are stored.

    Files that are gone do not matter, since the answers are there.

    Raises:
        CheckpointError: if they have changed.
    """
    known, now = store.card().files_sha256, files_sha256(settings)
    if known is not None and now is not None and now != known:
        names = " or ".join(str(file) for file in files_of(settings))
        raise CheckpointError(
            f"{names} has changed since its answers were stored in {store.path}; restore it, or "
            f"choose another --out."
        )


def _changed(store: TeacherStore, dataset: Dataset) -> CheckpointError:
    began, ours = store.card().version, version_and_commit()
    otherwise, version = "", ""
    if began != ours:
        otherwise = f", or bdistil {ours} reads it otherwise than {began or 'an older one'}"
        version = " or go on with that version"
    return CheckpointError(
        f"{dataset.name} has changed since the teacher in {store.path} learnt from it{otherwise}; "
        f"restore the data{version}, or search anew in another folder."
    )


def check_says_something(logits: Logits) -> None:
    """Refuse a teacher that gives all classes of all examples the same logit.

    Raises:
        TeacherError: if it does.
    """
    train = logits["train"]
    if not max(train.max(), -train.min()) > LEAST_LOGIT:
        raise TeacherError(
            "the teacher's outputs are all equal on the training split, so there is nothing to "
            "learn from it; correct teacher.columns or the model, or train it longer "
            "(teacher.epochs)."
        )
