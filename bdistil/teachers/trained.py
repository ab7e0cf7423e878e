"""A teacher of the zoo, trained here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bdistil.core.cost import flops, parameters
from bdistil.core.placement import home, size_of, training_device
from bdistil.core.seeds import derived_seed
from bdistil.core.tensors import as_tensor
from bdistil.core.views import ViewMaker
from bdistil.data.dataset import Dataset, Split
from bdistil.data.standardise import TargetScale, standardised
from bdistil.errors import BdistilWarning, TeacherError, is_ours
from bdistil.files.wording import some
from bdistil.spec import Spec, TeacherSpec
from bdistil.spec.views import ViewSpec
from bdistil.teachers.answers import on_disk
from bdistil.teachers.source import AnswerProgress, EpochProgress, Rows, Teacher, TeacherSource
from bdistil.zoo.data_parallel import ALONE, Share
from bdistil.zoo.defaults import default_teacher
from bdistil.zoo.dry_run import check_teacher_runs
from bdistil.zoo.registry import build_teacher, teacher_class
from bdistil.zoo.training import logits_in_batches, train_teacher


@dataclass(frozen=True)
class TrainedSource:
    """A network trained on the training split, chosen by the validation split.

    Attributes:
        dataset: to learn from.
        spec: of the search.
        share: of the training that is this process's.
    """

    kind: ClassVar[str] = "trained"
    can_refit: ClassVar[bool] = True

    dataset: Dataset
    spec: Spec
    share: Share = ALONE

    def check(self) -> None:
        """Build it without memory; one of the user's own is asked about two examples there.

        Raises:
            SpecError: if the model or its options are unknown or do not fit the data.
            TeacherError: if a network of the user's own fails or does not fit the data.
        """
        name, dataset = model_name(self.spec.teacher, self.dataset), self.dataset
        with torch.device("meta"):
            network = self._build()
        if not is_ours(teacher_class(name).build):
            check_teacher_runs(name, network, dataset.input_shape, dataset.outputs)

    def known_flops(self) -> int:
        """Counted on the network without memory."""
        with torch.device("meta"):
            return flops(self._build(), self.dataset.input_shape)

    def untrained_network(self) -> nn.Module:
        """With random weights."""
        return self._build()

    def obtain(self, rows: Rows | None = None, progress: EpochProgress | None = None) -> Teacher:
        """Train it.

        Raises:
            TeacherError: if the loss is no longer finite.
        """
        settings, dataset, seed = self.spec.teacher, self.dataset, self.spec.seed
        torch.manual_seed(derived_seed(seed, "teacher"))
        model = self._build()
        train = dataset.train
        if rows is not None:
            train = train.take(rows)
        fit(
            model,
            [*self._tensors(train), *self._tensors(dataset.validation)],
            self.spec.workers.gpus,
            task=dataset.task,
            epochs=settings.epochs,
            lr=settings.lr,
            batch_size=settings.batch_size,
            weight_decay=settings.weight_decay,
            seed=derived_seed(seed, "teacher order"),
            progress=progress,
            views=self._views(len(train)),
            weights=_weights(train),
            validation_weights=_weights(dataset.validation),
            validation_groups=_groups(dataset.validation),
            precision=settings.precision,
            share=self.share,
        )

        def logits(split: Split, _: AnswerProgress | None = None) -> NDArray[np.float32]:
            outputs = on_disk(len(split), dataset.outputs)
            logits_in_batches(model, self._tensors(split)[0], out=as_tensor(outputs))
            if dataset.task == "classification":
                outputs -= outputs.mean(axis=1, keepdims=True)
            return outputs

        return Teacher(logits, flops(model, dataset.input_shape), parameters(model), model)

    def _build(self) -> nn.Module:
        settings, dataset = self.spec.teacher, self.dataset
        name = model_name(settings, dataset)
        return build_teacher(
            name, dataset.domain, dataset.input_shape, dataset.outputs, settings.options
        )

    def _views(self, rows: int) -> Callable[[int, Tensor, Tensor], Tensor] | None:
        """Copies of the data's kind, other ones in each epoch, none mixed; None without views."""
        asked = self.spec.data.views
        if not isinstance(asked, ViewSpec) or asked.changes == ("mixup",):
            return None
        settings = asked.model_copy(update={"mixup": 0.0})
        seed = derived_seed(self.spec.seed, "teacher views")

        @lru_cache(maxsize=1)
        def maker(epoch: int) -> ViewMaker:
            return ViewMaker(settings, seed, epoch, rows)

        def views(epoch: int, inputs: Tensor, chosen: Tensor) -> Tensor:
            return maker(epoch).make(inputs, chosen, copy=0)

        return views

    def _tensors(self, split: Split) -> tuple[Tensor, Tensor]:
        """Standardised features and labels."""
        labels = TargetScale.of(self.dataset).standardise(split.y)
        return as_tensor(standardised(self.dataset, split)), as_tensor(labels)


def model_name(settings: TeacherSpec, dataset: Dataset) -> str:
    """The network's name, chosen by the data where the spec leaves it open."""
    auto = settings.model == "auto"
    return default_teacher(dataset.domain, dataset.is_recorded) if auto else settings.model


def check_trained_here(source: TeacherSource, spec: Spec) -> None:
    """Refuse options of this kind's training for another kind; say what has no effect on it.

    Raises:
        TeacherError: naming the option.
    """
    for name in _unusual(spec.teacher, ("workers", "precision")):
        if source.kind != TrainedSource.kind:
            raise TeacherError(
                f"teacher.{name} is {getattr(spec.teacher, name)}, which is for training teachers "
                f"of the zoo, and this teacher is another ({source.kind}); leave it out."
            )
    idle = _unusual(spec.teacher, ("epochs", "lr", "weight_decay"))
    if idle and not source.can_refit:
        warnings.warn(
            f"the teacher comes trained ({source.kind}), so {some(idle)} of `teacher` "
            f"{'has' if len(idle) == 1 else 'have'} no effect.",
            BdistilWarning,
            stacklevel=2,
        )


def _unusual(settings: TeacherSpec, names: Sequence[str]) -> list[str]:
    """Those of some settings that are not as they are by default."""
    usual = {name: TeacherSpec.model_fields[name].default for name in names}
    return [name for name in names if getattr(settings, name) != usual[name]]


def _weights(split: Split) -> Tensor | None:
    return None if split.weights is None else as_tensor(split.weights)


def _groups(split: Split) -> Tensor | None:
    return None if split.groups is None else as_tensor(split.groups)


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
    settings = {
        key: value.to(place) if isinstance(value, Tensor) else value
        for key, value in settings.items()
    }
    train_teacher(model.to(device), *(tensor.to(place) for tensor in data), **settings)
