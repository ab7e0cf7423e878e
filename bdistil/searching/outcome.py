"""From a run directory to what users want of it: the ensemble, its figures, the trials' table."""

from __future__ import annotations

import hashlib
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.tensors import as_tensor
from bdistil.core.threads import one_thread
from bdistil.data.dataset import Dataset, Split
from bdistil.data.standardise import TargetScale, standardised
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilError, BdistilWarning, CheckpointError
from bdistil.export.calibration import calibrate
from bdistil.export.checkpoint import student_from_bytes
from bdistil.export.config import EnsembleConfig
from bdistil.export.ensemble import Ensemble
from bdistil.export.evaluation import Evaluation, TeacherCosts, evaluate, streamed_flops
from bdistil.export.score_figures import ScoreFigures, fitted_temperature, score_answers
from bdistil.optional import require
from bdistil.runs.journal import RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialResult
from bdistil.runtime.calibration import Calibration
from bdistil.searching.ledger import read_student
from bdistil.searching.sup_norms import sup_norms
from bdistil.spec import Spec
from bdistil.spec.user_modules import import_modules
from bdistil.teachers.obtain import check_unchanged
from bdistil.teachers.seen import told_seen
from bdistil.teachers.select import teacher_source
from bdistil.teachers.teacher_store import OUT_OF_FOLD, Logits


def load_students(run: RunDirectory, dataset: Dataset) -> ProgressiveEnsemble:
    """The accepted students, in standardised inputs and targets.

    Raises:
        CheckpointError: if no round is accepted yet or a file is damaged.
    """
    records = accepted(run)
    ensemble = ProgressiveEnsemble(dataset.outputs)
    for record in records:
        blob, sizes = read_student(run, record), ensemble.features
        student = student_from_bytes(blob, dataset.input_shape, dataset.outputs, sizes, record.file)
        ensemble.append(student)
    return ensemble.eval()


LOOKED_AT = 1000  # images, for the largest pixel


def accepted(run: RunDirectory) -> list[RoundRecord]:
    """The accepted rounds.

    Raises:
        CheckpointError: if there is none yet.
    """
    records = run.journal.read()
    if not records:
        raise CheckpointError(f"{run.path} has no accepted round yet; resume the search first.")
    return records


def run_dataset(run: RunDirectory) -> Dataset:
    """The run's data, split as the search saw them; the user's own modules are loaded first.

    Raises:
        CheckpointError: if the user's file has changed since, or was moved.
        SpecError: if a module of the user's cannot be imported.
    """
    spec = run.spec()
    run.check_sources(spec)
    import_modules(spec.modules)
    dataset = load_dataset(spec.data, spec.seed, spec.teacher.columns)
    check_unchanged(run.teacher, dataset)
    return dataset


def contents_hash(run: RunDirectory) -> str:
    """Hash of the teacher and the accepted students.

    Raises:
        CheckpointError: if there is none yet, or a student's file is missing or another one.
    """
    records = accepted(run)
    for record in records:
        read_student(run, record)  # figures that were kept must be those of what is there
    students = [record.sha256 for record in records]
    parts = [run.teacher.card().content, *students]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def evaluate_on_test(
    run: RunDirectory, dataset: Dataset, ensemble: ProgressiveEnsemble
) -> Evaluation:
    """Every stage and the teacher on the test split; distances to it on the training split."""
    card, logits = run.teacher.card(), run.teacher.logits()
    with one_thread():
        found = evaluate(
            ensemble,
            as_tensor(standardised(dataset, dataset.test)),
            as_tensor(TargetScale.of(dataset).standardise(dataset.test.y)),
            as_tensor(logits["test"]),
            teacher_network(run, dataset),
            dataset.task,
            TeacherCosts(card.flops, card.parameters, card.seconds),
        )
        found = with_sup_norms(found, ensemble, dataset, logits)
        scores = scores_on_test(ensemble, dataset, logits)
    rows = len(dataset.validation), len(dataset.test)
    seen = told_seen(card, dataset.task, found.teacher.metric, rows)
    return found.model_copy(update={"scores": scores, "notes": () if seen is None else (seen,)})


@torch.no_grad()
def scores_on_test(ensemble: ProgressiveEnsemble, dataset: Dataset, logits: Logits) -> ScoreFigures:
    """Every measure of the task, with temperatures that were fitted on validation."""
    scale = TargetScale.of(dataset)

    def answers(split: Split) -> Iterator[NDArray[np.float32]]:
        inputs = as_tensor(standardised(dataset, split))
        return (in_units(stage.numpy()) for stage in ensemble.stages(inputs))

    def in_units(found: NDArray[np.float32]) -> NDArray[np.float32]:
        return found * scale.scale + scale.shift if dataset.task == "regression" else found

    validation, task = dataset.validation, dataset.task
    fitted = [
        fitted_temperature(each, validation.y, task)
        for each in itertools.chain([in_units(logits["validation"])], answers(validation))
    ]
    teacher, stages = in_units(logits["test"]), answers(dataset.test)
    test, names = dataset.test, dataset.class_names
    return score_answers(teacher, stages, test.y, task, fitted, names, test.groups)


def with_sup_norms(
    found: Evaluation, ensemble: ProgressiveEnsemble, dataset: Dataset, logits: Logits
) -> Evaluation:
    """An evaluation with each stage's distances to the deployed teacher and to the game's table."""
    tables = {"sup_norm": logits["train"]}
    if OUT_OF_FOLD in logits:
        tables["sup_norm_out_of_fold"] = logits[OUT_OF_FOLD]
    distances = sup_norms(ensemble, dataset, tables)
    stages = [
        stage.model_copy(update={name: values[index] for name, values in distances.items()})
        for index, stage in enumerate(found.stages)
    ]
    return found.model_copy(update={"stages": tuple(stages)})


def teacher_network(
    run: RunDirectory, dataset: Dataset, spec: Spec | None = None
) -> nn.Module | None:
    """The teacher as a network of standardised features, for its time; None if there is none.

    The user's own is built anew, since the run keeps only its answers; if it is gone, a warning
    says so.

    Args:
        run: with the teacher.
        dataset: the run's.
        spec: the run's; None reads it.
    """
    if run.teacher.card().source not in ("network", "exported"):
        return run.teacher.network()
    try:
        return teacher_source(dataset, spec or run.spec()).obtain().network
    except BdistilError as error:
        warnings.warn(f"the teacher's time is left out: {error}", BdistilWarning, stacklevel=2)
        return None


def standardised_padding(dataset: Dataset) -> Tensor | None:
    """The step that stands in front of shorter sequences, (features,), as networks see it."""
    if dataset.padding is None:
        return None
    steps = np.full((1, *dataset.input_shape), dataset.padding, np.float32)
    padding = Split(steps, np.zeros(1, np.int64))
    return as_tensor(standardised(dataset, padding))[0, 0]


def for_raw_data(
    students: ProgressiveEnsemble,
    dataset: Dataset,
    name: str,
    figures: Evaluation | None = None,
    teacher_logits: NDArray[np.float32] | None = None,
) -> Ensemble:
    """An ensemble that takes raw features and gives raw targets, calibrated on validation.

    Args:
        students: for standardised features and targets; changed in place for regression.
        dataset: whose standardisation they learnt with.
        name: of the ensemble.
        figures: of its stages, if they were measured.
        teacher_logits: on the validation split, if the teacher may be asked as the last stage.
    """
    costs = streamed_flops(students, dataset.input_shape)
    to_raw_targets(students, TargetScale.of(dataset))
    config = EnsembleConfig(
        name=name,
        domain=dataset.domain,
        task=dataset.task,
        input_shape=dataset.input_shape,
        outputs=dataset.outputs,
        students=tuple(student.config for student in students),
        class_names=dataset.class_names,
        class_type=dataset.class_type,
        columns=dataset.columns,
        form=dataset.form,
        layout=dataset.layout,
        figures=figures,
        streamed_flops=tuple(costs) if figures is None else (),
        calibration=calibrated(students, dataset, costs, teacher_logits),
        largest_pixel=largest_pixel(dataset),
    )
    rule = dataset.standardisation
    shift, scale = torch.tensor(rule.shift), torch.tensor(rule.scale)
    return Ensemble(config, students, shift, scale)


def largest_pixel(dataset: Dataset) -> float | None:
    """Of some images of training, by which those of another scale are told; None for other data."""
    images = dataset.train.x[:: max(1, len(dataset.train) // LOOKED_AT)]
    largest = float(images.max()) if dataset.domain == "image" else 0.0
    return largest if 0 < largest < math.inf else None


@torch.no_grad()
def calibrated(
    students: ProgressiveEnsemble,
    dataset: Dataset,
    costs: Sequence[float],
    teacher_logits: NDArray[np.float32] | None = None,
) -> Calibration:
    """Temperatures and early exits, from the validation split in raw targets."""
    inputs = as_tensor(standardised(dataset, dataset.validation))
    logits = (stage.numpy() for stage in students.stages(inputs))
    return calibrate(logits, dataset.validation.y, costs, dataset.task, teacher_logits)


def to_raw_targets(ensemble: ProgressiveEnsemble, targets: TargetScale) -> None:
    """Fold the standardisation of regression targets into the heads, in place.

    F_t is an average of the f_s, so each must carry the shift; with the skip, f_t holds F_{t-1}
    and only the first student needs it.
    """
    scale, shift = as_tensor(targets.scale), as_tensor(targets.shift)
    for index, student in enumerate(ensemble):
        carries = index == 0 or not student.config.skip
        student.rescale(scale, shift if carries else torch.zeros_like(shift))


def write_trials(run: RunDirectory, records: Sequence[RoundRecord]) -> None:
    """``trials.parquet``: a row for each trial of the accepted rounds that finished or was cut."""
    pyarrow = require("pyarrow", "search")
    parquet = require("pyarrow.parquet", "search")
    rows = [trial_row(record, trial) for record in records for trial in record.compared]
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    run.write(run.trials_file, sink.getvalue().to_pybytes())


def trial_row(record: RoundRecord, trial: TrialResult) -> dict[str, Any]:
    """One trial as a flat row."""
    figures = trial.model_dump(exclude={"request", "reason", "milestones"})
    request = trial.request.model_dump(exclude={"params"})
    params = {f"param_{name}": value for name, value in trial.request.params.items()}
    kept = trial.request.number == record.result.request.number
    return request | {"kept": kept} | figures | params
