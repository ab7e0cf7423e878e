"""A ``torch.export`` program as teacher."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MethodType
from typing import ClassVar

import torch
from torch import nn

from bdistil.core.cost import count_flops, parameters
from bdistil.data.dataset import Dataset
from bdistil.errors import TeacherError
from bdistil.spec import Spec
from bdistil.teachers.answers import Examinee, torch_answer
from bdistil.teachers.network import on_standardised
from bdistil.teachers.program_archive import load_program
from bdistil.teachers.source import EpochProgress, Rows, Teacher, refuse_rows


@dataclass(frozen=True)
class Program:
    """A program that was read.

    Attributes:
        module: maps features to outputs.
        batch: the only batch size that it takes; None if it takes any.
    """

    module: nn.Module
    batch: int | None


@dataclass
class ExportedSource:
    """A ``.pt2`` file of one network."""

    kind: ClassVar[str] = "exported"
    can_refit: ClassVar[bool] = False

    dataset: Dataset
    spec: Spec

    def check(self) -> None:
        """Read it and ask about two examples.

        Raises:
            TeacherError: if it could run other code than torch's operators, or does not fit; or if
                there are options, which a program does not take.
        """
        settings = self.spec.teacher
        if settings.options:
            raise TeacherError(
                f"teacher.options is {settings.options}, but {settings.model} is a program, which "
                f"takes none; remove teacher.options."
            )
        self._examinee.check(self.dataset)

    def known_flops(self) -> int:
        """Counted on the program."""
        batch = self._program.batch or 1
        example = torch.zeros(batch, *self.dataset.input_shape)
        return count_flops(lambda: self._program.module(example)) // batch

    def untrained_network(self) -> nn.Module | None:
        """The program, if it takes a single example."""
        if self._program.batch not in (None, 1):
            return None
        return on_standardised(self._program.module, self.dataset, self.spec.teacher.reads)

    def obtain(self, rows: Rows | None = None, progress: EpochProgress | None = None) -> Teacher:
        """The program on the CPU.

        Raises:
            TeacherError: as :meth:`check`.
        """
        settings, dataset, program = self.spec.teacher, self.dataset, self._program
        refuse_rows(settings.model, rows)
        self._examinee.check(dataset)  # counting would fail with a worse message
        return Teacher(
            lambda split, answered: self._examinee.logits(dataset, split, answered),
            self.known_flops(),
            parameters(program.module),
            self.untrained_network(),
        )

    @cached_property
    def _program(self) -> Program:
        return read_program(Path(self.spec.teacher.model))

    @cached_property
    def _examinee(self) -> Examinee:
        settings, batch = self.spec.teacher, self._program.batch
        return Examinee(
            settings.model,
            torch_answer(self._program.module),
            batch or settings.batch_size,
            settings.reads,
            settings.outputs,
            only_full=batch is not None,
        )


def read_program(path: Path) -> Program:
    """Read a ``.pt2`` file.

    Raises:
        TeacherError: if it is damaged, could run code, or does not take exactly one tensor.
    """
    program = load_program(path)
    inputs = [n for n in program.graph.nodes if n.name in program.graph_signature.user_inputs]
    shapes = [getattr(node.meta.get("val"), "shape", None) for node in inputs]
    if len(shapes) != 1 or not shapes[0]:
        raise TeacherError(
            f"{path} takes {len(shapes)} inputs; export a network of one tensor (batch, ...)."
        )
    size = shapes[0][0]
    module = program.module(check_guards=False)  # torch compiles guards as Python
    # A program has one mode, and torch refuses to set it even to the one it has.
    module.train = MethodType(lambda self, mode=True: self, module)  # type: ignore[method-assign]
    module.eval = MethodType(lambda self: self, module)  # type: ignore[method-assign]
    return Program(module, size if isinstance(size, int) else None)
