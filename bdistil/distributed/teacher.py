"""The teacher of a run: trained once, or taken from the data."""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bdistil.core.cost import flops, parameters
from bdistil.core.examples import metric
from bdistil.core.placement import home, size_of, training_device
from bdistil.data.dataset import Dataset
from bdistil.distributed.guess import best_guess
from bdistil.distributed.problem import TargetScale, as_tensor, standardised
from bdistil.distributed.teacher_store import SPLITS, Logits, TeacherCard, TeacherStore
from bdistil.distributed.trial import derived_seed
from bdistil.errors import BdistilWarning, CheckpointError, TeacherError
from bdistil.files import disk_errors
from bdistil.spec import Spec, TeacherSpec
from bdistil.zoo.registry import build_teacher
from bdistil.zoo.training import logits_in_batches, train_teacher

LEAST_LOGIT = 1e-6  # below, centring's rounding errors
LEAST_PROBABILITY = 1 / 500  # clips log p, as "Knowledge distillation as semiparametric inference"

EpochProgress = Callable[[int, int, float], None]


def obtain_teacher(
    store: TeacherStore, dataset: Dataset, spec: Spec, progress: EpochProgress | None = None
) -> Logits:
    """The teacher's logits for each split, made and stored if they are not there yet.

    They are centred for classification alone: softmax does not see a constant, sigmoids do.

    Raises:
        TeacherError: if outputs in the data do not fit the classes, or training fails.
        CheckpointError: if a stored teacher is damaged or of other data.
    """
    if not store.exists:
        card, model, logits = make_teacher(dataset, spec, progress)
        warn_if_worse_than_guessing(card, dataset)
        data_sha256 = None if spec.data.path is None else fingerprint(dataset)
        store.save(card.model_copy(update={"data_sha256": data_sha256}), model, logits)
        return store.logits()
    logits = store.logits()
    shapes = {name: (len(getattr(dataset, name)), dataset.outputs) for name in SPLITS}
    if any(logits[name].shape != shape for name, shape in shapes.items()):
        raise _changed(store, dataset)
    check_unchanged(store, dataset)
    return logits


def check_unchanged(store: TeacherStore, dataset: Dataset) -> None:
    """Refuse the user's data if it is not what the stored teacher learnt from.

    Raises:
        CheckpointError: if it has changed.
    """
    known = store.card().data_sha256
    if known is not None and fingerprint(dataset) != known:
        raise _changed(store, dataset)


def _changed(store: TeacherStore, dataset: Dataset) -> CheckpointError:
    return CheckpointError(
        f"{dataset.name} has changed since the teacher in {store.path} learnt from it; restore "
        f"the data, or choose another --out."
    )


def warn_if_worse_than_guessing(card: TeacherCard, dataset: Dataset) -> None:
    """Say so if the teacher knows less than who always gives the commonest answer."""
    guess = best_guess(dataset.validation.y, dataset.task)
    if card.validation_metric < guess:
        remedy = "the order of teacher.columns" if card.source == "columns" else "teacher.lr"
        warnings.warn(
            f"the teacher's validation metric is {card.validation_metric:.4f}, below the "
            f"{guess:.4f} of always giving the commonest answer; check {remedy}.",
            BdistilWarning,
            stacklevel=2,
        )


def check_teacher(dataset: Dataset, spec: Spec) -> None:
    """Find what is wrong with the spec's teacher before anything is written.

    Raises:
        TeacherError: if outputs in the data do not fit the classes.
        SpecError: if the model or its options are unknown or do not fit the data.
    """
    if comes_with_data(dataset, spec):
        teacher_of_columns(dataset, spec.teacher)
        return
    settings, shape = spec.teacher, dataset.input_shape
    with torch.device("meta"):
        build_teacher(settings.model, dataset.domain, shape, dataset.outputs, settings.options)


def comes_with_data(dataset: Dataset, spec: Spec) -> bool:
    """Whether the teacher is known by its outputs."""
    return spec.teacher.columns is not None or dataset.train.teacher is not None


def check_says_something(logits: Logits) -> None:
    """Refuse a teacher that gives all classes of all examples the same logit.

    Raises:
        TeacherError: if it does.
    """
    train = logits["train"]
    if not max(train.max(), -train.min()) > LEAST_LOGIT:
        raise TeacherError(
            "the teacher's outputs are all equal on the training split, so there is nothing to "
            "learn from it; correct teacher.columns, or train it longer (teacher.epochs)."
        )


def fingerprint(dataset: Dataset) -> str:
    """Hash of every example and label, by which a changed file is noticed."""
    digest = hashlib.sha256()
    for name in SPLITS:
        split = getattr(dataset, name)
        for array in (split.x, split.y, split.teacher):
            if array is not None:
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def make_teacher(
    dataset: Dataset, spec: Spec, progress: EpochProgress | None = None
) -> tuple[TeacherCard, nn.Module | None, Logits]:
    """Train the spec's teacher, or take the outputs that came with the data."""
    if comes_with_data(dataset, spec):
        return teacher_of_columns(dataset, spec.teacher)
    return trained_teacher(dataset, spec, progress)


def teacher_of_columns(dataset: Dataset, spec: TeacherSpec) -> tuple[TeacherCard, None, Logits]:
    """A teacher that is known by its outputs alone.

    Raises:
        TeacherError: if their number is not that of the classes, or probabilities are none.
    """
    logits = {}
    for name in SPLITS:
        outputs = getattr(dataset, name).teacher
        if outputs is None or outputs.shape[1] != dataset.outputs:
            found = 0 if outputs is None else outputs.shape[1]
            names = ", ".join(dataset.class_names or ())
            raise TeacherError(
                f"teacher.columns gives {found} outputs, but the data have {dataset.outputs} "
                f"classes or labels ({names}); give one column each, in this order."
            )
        if dataset.task == "regression":
            logits[name] = TargetScale.of(dataset).standardise(outputs)
        elif dataset.task == "multilabel":
            logits[name] = as_label_logits(outputs, spec.outputs)
        else:
            logits[name] = centred(as_logits(outputs, spec.outputs))
    check_says_something(logits)
    card = TeacherCard(
        source="columns",
        model="columns",
        options={},
        domain=dataset.domain,
        input_shape=dataset.input_shape,
        outputs=dataset.outputs,
        validation_metric=metric_of(dataset, "validation", logits),
    )
    return card, None, logits


def trained_teacher(
    dataset: Dataset, spec: Spec, progress: EpochProgress | None
) -> tuple[TeacherCard, nn.Module, Logits]:
    """A teacher trained on the training split, chosen by the validation split."""
    settings = spec.teacher
    torch.manual_seed(derived_seed(spec.seed, "teacher"))
    model = build_teacher(
        settings.model, dataset.domain, dataset.input_shape, dataset.outputs, settings.options
    )
    targets = TargetScale.of(dataset)
    inputs = {n: as_tensor(standardised(dataset, getattr(dataset, n))) for n in SPLITS}
    labels = {n: as_tensor(targets.standardise(getattr(dataset, n).y)) for n in SPLITS}
    fit(
        model,
        [split[name] for name in ("train", "validation") for split in (inputs, labels)],
        spec.workers.gpus,
        task=dataset.task,
        epochs=settings.epochs,
        lr=settings.lr,
        batch_size=settings.batch_size,
        weight_decay=settings.weight_decay,
        seed=derived_seed(spec.seed, "teacher order"),
        progress=progress,
    )
    logits = {name: on_disk(len(inputs[name]), dataset.outputs) for name in SPLITS}
    for name, outputs in logits.items():
        logits_in_batches(model, inputs[name], out=as_tensor(outputs))
        if dataset.task == "classification":
            outputs -= outputs.mean(axis=1, keepdims=True)
    model.cpu()
    check_says_something(logits)
    card = TeacherCard(
        source="trained",
        model=settings.model,
        options=settings.options,
        domain=dataset.domain,
        input_shape=dataset.input_shape,
        outputs=dataset.outputs,
        validation_metric=metric_of(dataset, "validation", logits),
        flops=flops(model, dataset.input_shape),
        parameters=parameters(model),
    )
    return card, model, logits


def fit(model: nn.Module, data: list[Tensor], gpus: float, **settings: Any) -> None:
    """Train a teacher on this machine's GPU if workers use GPUs and there is one; it stays there.

    Args:
        model: trained in place.
        data: inputs and labels to train on, then those to validate on.
        gpus: of a worker.
        settings: of ``train_teacher``.
    """
    device = training_device(gpus if torch.cuda.is_available() else 0)
    place = home(size_of(data), device, gpus)
    train_teacher(model.to(device), *(tensor.to(place) for tensor in data), **settings)


def on_disk(rows: int, outputs: int) -> NDArray[np.float32]:
    """A float32 array (rows, outputs) in an unnamed file: logits may exceed the free memory.

    Raises:
        CheckpointError: if the disk has no room for it.
    """
    with disk_errors(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, rows * outputs * 4)  # or writing could end us
        return np.memmap(file, np.float32, "r+", shape=(rows, outputs))


def as_logits(outputs: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Logits from logits or from probabilities.

    Raises:
        TeacherError: if probabilities are negative or a row sums to nothing.
    """
    if kind == "logits":
        return outputs
    if (outputs < 0).any() or (outputs.sum(axis=1) <= 0).any():
        raise TeacherError(
            "teacher.outputs is probabilities, but some are negative or a row sums to 0; "
            "set teacher.outputs=logits if the columns hold logits."
        )
    shares = outputs / outputs.sum(axis=1, keepdims=True)
    logarithms: NDArray[np.float32] = np.log(shares.clip(min=LEAST_PROBABILITY))
    return logarithms


def as_label_logits(outputs: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Logits of labels that hold or not, from logits or from a probability each.

    Raises:
        TeacherError: if probabilities lie outside 0 to 1.
    """
    if kind == "logits":
        return outputs
    if (outputs < 0).any() or (outputs > 1).any():
        raise TeacherError(
            "teacher.outputs is probabilities, but some lie outside 0 to 1; set "
            "teacher.outputs=logits if the columns hold logits."
        )
    shares = outputs.clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    logits: NDArray[np.float32] = np.log(shares / (1 - shares))
    return logits


def centred(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits with mean zero for each example, which softmax does not see."""
    result: NDArray[np.float32] = logits - logits.mean(axis=1, keepdims=True)
    return result


def metric_of(dataset: Dataset, split: str, logits: Logits) -> float:
    """Accuracy, micro F1 or R² of the teacher on a split."""
    truth = as_tensor(TargetScale.of(dataset).standardise(getattr(dataset, split).y))
    return metric(as_tensor(logits[split]), truth, dataset.task)
