"""The user's own network: code that builds it and a file with its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bdistil.core.cost import count_flops, flops, parameters
from bdistil.core.placement import training_device
from bdistil.core.tensors import as_tensor
from bdistil.data.dataset import Dataset, Split
from bdistil.errors import FOREIGN, TeacherError
from bdistil.spec import Spec
from bdistil.teachers.answers import Examinee, torch_answer
from bdistil.teachers.source import AnswerProgress, EpochProgress, Rows, Teacher, refuse_rows
from bdistil.teachers.teacher_files import load_weights


@dataclass(frozen=True)
class NetworkSource:
    """A network that `teacher.model` built and whose weights `teacher.weights` holds."""

    kind: ClassVar[str] = "network"
    can_refit: ClassVar[bool] = False

    dataset: Dataset
    spec: Spec
    network: nn.Module

    def check(self) -> None:
        """Load the weights and ask about two examples.

        Raises:
            TeacherError: if the weights are missing or do not fit, or its answers do not.
        """
        self._examinee(self._loaded()).check(self.dataset)

    def known_flops(self) -> int | None:
        """Counted on the network, whatever its weights."""
        return counted_flops(self.network, self.dataset.input_shape)

    def untrained_network(self) -> nn.Module:
        """The network, whatever its weights."""
        return on_standardised(self.network, self.dataset, self.spec.teacher.reads)

    def obtain(self, rows: Rows | None = None, progress: EpochProgress | None = None) -> Teacher:
        """The network with its weights, on this machine's GPU if workers use GPUs.

        Raises:
            TeacherError: as :meth:`check`.
        """
        settings, dataset = self.spec.teacher, self.dataset
        refuse_rows(settings.model, rows)
        network = self._loaded()
        cost = counted_flops(network, dataset.input_shape)
        device = training_device(self.spec.workers.gpus if torch.cuda.is_available() else 0)

        def logits(split: Split, answered: AnswerProgress | None) -> NDArray[np.float32]:
            try:
                examinee = self._examinee(network.to(device))
                return examinee.logits(dataset, split, answered)
            finally:
                network.cpu()

        wrapped = on_standardised(network, dataset, settings.reads)
        return Teacher(logits, cost, parameters(network), wrapped)

    def _loaded(self) -> nn.Module:
        settings = self.spec.teacher
        if settings.weights is None:
            raise TeacherError(
                f"teacher.model is {settings.model!r}, a network that has learnt nothing yet; give "
                f"its weights as teacher.weights=FILE.safetensors."
            )
        load_weights(self.network, settings.weights)
        return self.network.eval()

    def _examinee(self, network: nn.Module) -> Examinee:
        settings = self.spec.teacher
        answer = torch_answer(network)
        return Examinee(
            settings.model, answer, settings.batch_size, settings.reads, settings.outputs
        )


class OnStandardised(nn.Module):
    """A network of raw features that takes standardised ones."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of the network, (B, L)."""
        outputs: Tensor = self.network(x * self.scale + self.shift)
        return outputs


def on_standardised(network: nn.Module, dataset: Dataset, reads: str) -> nn.Module:
    """The network as a function of standardised features."""
    if reads == "standardised":
        return network
    rule = dataset.standardisation
    return OnStandardised(network, as_tensor(rule.shift), as_tensor(rule.scale))


def counted_flops(network: nn.Module, input_shape: tuple[int, ...]) -> int | None:
    """FLOPs of one example; on the CPU for code that the meta device cannot run, None if at all.

    The CPU's fused kernels hide the products of recurrent layers.
    """
    try:
        return flops(network, input_shape)
    except FOREIGN:
        pass
    try:
        return count_flops(lambda: network(torch.zeros(1, *input_shape)))
    except FOREIGN:
        return None
