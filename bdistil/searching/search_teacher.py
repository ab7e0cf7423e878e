"""The teacher of a search: taken over, trained or asked, and what is said of it."""

from __future__ import annotations

import math

from bdistil.data.dataset import Dataset
from bdistil.errors import SpecError
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.backend import Backend
from bdistil.searching.progress import Reporter
from bdistil.searching.views import told_copies, view_makers
from bdistil.spec import Spec
from bdistil.spec.views import ViewSpec
from bdistil.store.durable import write_atomic
from bdistil.teachers.column_teacher import answers_are_given
from bdistil.teachers.obtain import game_logits, obtain_teacher
from bdistil.teachers.teacher_store import Logits
from bdistil.teachers.trained import TrainedSource
from bdistil.teachers.yardsticks import has_yardstick, warn_if_trees_are_better

SHOWN = 5e-5  # of a metric, half of its last digit


def take_over(source: RunDirectory, run: RunDirectory) -> None:
    """Copy a run's teacher; the card last, as it says that the rest is there.

    Raises:
        SpecError: if that run has other data, another teacher or another seed.
    """
    theirs, ours = source.spec(), run.spec()
    for field in ("data", "teacher", "seed"):
        if getattr(theirs, field) != getattr(ours, field):
            raise SpecError(f"{source.place} has another {field}; give a teacher of the same.")
    store = source.teacher
    copies = [store.view_file(copy) for copy in range(store.card().views)]
    for file in (*copies, store.logits_file, store.weights_file, store.card_file):
        if file.exists():
            write_atomic(run.teacher.path / file.name, file.read_bytes())


def obtain_logits(
    run: RunDirectory, spec: Spec, dataset: Dataset, backend: Backend, reporter: Reporter
) -> Logits:
    """The logits to distil; the teacher is trained or asked if they are not stored yet."""

    last = math.nan

    def trained(epoch: int, epochs: int, metric: float) -> None:
        nonlocal last
        run.check_there()
        reporter.teacher(epoch, epochs, metric)
        last = metric

    def answered(done: int, examples: int) -> None:
        run.check_there()
        reporter.teacher_answers(done, examples)

    def folded(done: int, folds: int) -> None:
        run.check_there()
        run.keep()
        reporter.message(f"Cross-fitting: {done} of {folds} teachers fitted.")
        if done == folds:
            reporter.message(teacher_message(spec, dataset))

    if not run.teacher.exists and not spec.teacher.crossfit:
        reporter.message(teacher_message(spec, dataset))
    views = view_makers(spec, dataset)
    with run.while_there():
        logits = obtain_teacher(
            run.teacher, dataset, spec, trained, answered, folded, backend, views
        )
        run.keep()
    kept = run.teacher.card().validation_metric
    if abs(kept - last) > SHOWN:
        reporter.message(f"teacher: an earlier epoch is kept, with {kept:.4f} on validation")
    return game_logits(logits)


def teacher_message(spec: Spec, dataset: Dataset) -> str:
    """What obtaining the teacher means, for people."""
    if answers_are_given(dataset, spec):
        return "Taking the teacher's answers from the data ..."
    views, copies = spec.data.views, ""
    if isinstance(views, ViewSpec):
        copies = f", then asking it about {told_copies(views)} of each"
    if not spec.teacher.is_foreign:
        return f"Training the teacher on {len(dataset.train)} examples{copies} ..."
    examples = sum(map(len, (dataset.train, dataset.validation, dataset.test)))
    copies = copies.replace("each", "each training example")
    return f"Asking the teacher {spec.teacher.model} about {examples} examples{copies} ..."


def say_if_another_teacher_is_better(run: RunDirectory, dataset: Dataset, logits: Logits) -> None:
    """Tell whoever left the choice of a teacher of a table to us, before rounds are played."""
    if run.teacher.card().source == TrainedSource.kind and has_yardstick(dataset):
        warn_if_trees_are_better(dataset, logits)
