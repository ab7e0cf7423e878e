"""The teacher of a run: trained once or taken from the data, kept under ``teacher/``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from torch import nn

from bdistil.core.cost import flops, parameters
from bdistil.core.examples import metric
from bdistil.data.dataset import Dataset, Domain
from bdistil.distributed.problem import TargetScale, as_tensor, standardised
from bdistil.distributed.trial import derived_seed
from bdistil.errors import CheckpointError, TeacherError
from bdistil.files import write_atomic
from bdistil.spec import Spec, TeacherSpec
from bdistil.zoo.registry import build_teacher
from bdistil.zoo.training import logits_in_batches, train_teacher

SPLITS = ("train", "validation", "test")
LEAST_PROBABILITY = 1 / 500  # clips log p, as "Knowledge distillation as semiparametric inference"

Logits = dict[str, NDArray[np.float32]]
EpochProgress = Callable[[int, int, float], None]


class TeacherCard(BaseModel):
    """What is known of a run's teacher.

    Attributes:
        source: trained here, or columns of the user's data.
        validation_metric: accuracy, or R² for regression.
        flops: of one example; None for a teacher that is known by its outputs alone.
    """

    model_config = ConfigDict(frozen=True)

    source: Literal["trained", "columns"]
    model: str
    options: dict[str, Any]
    domain: Domain
    input_shape: tuple[int, ...]
    outputs: int
    validation_metric: float
    flops: int | None = None
    parameters: int | None = None

    def build(self) -> nn.Module:
        """The network with random weights."""
        return build_teacher(self.model, self.domain, self.input_shape, self.outputs, self.options)


class TeacherStore:
    """``teacher/`` of a run directory: card, weights and logits of all splits."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.card_file = path / "config.json"
        self.weights_file = path / "model.safetensors"
        self.logits_file = path / "logits.safetensors"

    @property
    def exists(self) -> bool:
        """Whether a whole teacher is there; the card is written last."""
        return self.card_file.exists()

    def save(self, card: TeacherCard, model: nn.Module | None, logits: Logits) -> None:
        """Write a teacher."""
        if model is not None:
            state = {k: v.contiguous() for k, v in model.state_dict().items()}
            write_atomic(self.weights_file, safetensors.torch.save(state))
        write_atomic(self.logits_file, safetensors.numpy.save(dict(logits)))
        write_atomic(self.card_file, card.model_dump_json(indent=2).encode())

    def card(self) -> TeacherCard:
        """The teacher's card."""
        with _damage_named(self.card_file):
            return TeacherCard.model_validate_json(self.card_file.read_bytes())

    def logits(self) -> Logits:
        """Centred logits of each split, float32 (N, L)."""
        with _damage_named(self.logits_file):
            loaded = safetensors.numpy.load(self.logits_file.read_bytes())
            return {split: loaded[split] for split in SPLITS}

    def network(self) -> nn.Module | None:
        """The trained network in evaluation mode; None if only outputs are known."""
        card = self.card()
        if card.source == "columns":
            return None
        with _damage_named(self.weights_file):
            network = card.build()
            network.load_state_dict(safetensors.torch.load(self.weights_file.read_bytes()))
        return network.eval()


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn reading errors of the body into one sentence that names the file."""
    try:
        yield
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError):
        raise CheckpointError(
            f"{path} is missing or damaged; delete its folder to make the teacher anew."
        ) from None


def obtain_teacher(
    store: TeacherStore, dataset: Dataset, spec: Spec, progress: EpochProgress | None = None
) -> Logits:
    """The teacher's centred logits for each split; made and stored if they are not there yet.

    Raises:
        TeacherError: if outputs in the data do not fit the classes, or training fails.
        CheckpointError: if a stored teacher is damaged or of other data.
    """
    if not store.exists:
        card, model, logits = make_teacher(dataset, spec, progress)
        store.save(card, model, logits)
    logits = store.logits()
    for name in SPLITS:
        expected = (len(getattr(dataset, name)), dataset.outputs)
        if logits[name].shape != expected:
            raise CheckpointError(
                f"{store.logits_file} holds {name} logits of shape {logits[name].shape}, the data "
                f"need {expected}; the data have changed: choose another --out."
            )
    return logits


def make_teacher(
    dataset: Dataset, spec: Spec, progress: EpochProgress | None = None
) -> tuple[TeacherCard, nn.Module | None, Logits]:
    """Train the spec's teacher, or take the outputs that came with the data."""
    if spec.teacher.columns is not None or dataset.train.teacher is not None:
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
                f"classes ({names}); give one column a class, in this order."
            )
        if dataset.task == "regression":
            logits[name] = TargetScale.of(dataset).standardise(outputs)
        else:
            logits[name] = centred(as_logits(outputs, spec.outputs))
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
    train_teacher(
        model,
        inputs["train"],
        labels["train"],
        inputs["validation"],
        labels["validation"],
        task=dataset.task,
        epochs=settings.epochs,
        lr=settings.lr,
        batch_size=settings.batch_size,
        weight_decay=settings.weight_decay,
        seed=derived_seed(spec.seed, "teacher order"),
        progress=progress,
    )
    logits = {
        name: outputs if dataset.task == "regression" else centred(outputs)
        for name, outputs in ((n, logits_in_batches(model, inputs[n]).numpy()) for n in SPLITS)
    }
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


def centred(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits with mean zero for each example, which softmax does not see."""
    result: NDArray[np.float32] = logits - logits.mean(axis=1, keepdims=True)
    return result


def metric_of(dataset: Dataset, split: str, logits: Logits) -> float:
    """Accuracy or R² of the teacher on a split."""
    truth = as_tensor(TargetScale.of(dataset).standardise(getattr(dataset, split).y))
    return metric(as_tensor(logits[split]), truth, dataset.task)
