"""Sequences as they come in, a step or some at a time, with the answers that they give so far."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bdistil.errors import DataError, SpecError
from bdistil.runtime.answer import Answer, answered
from bdistil.runtime.manifest import REMEDY, Manifest
from bdistil.runtime.runner import Runner
from bdistil.runtime.values import as_column, finite_numbers


class Steps(Protocol):
    """Sequences on their way, as a runner has them.

    A runner that can go step by step has a method ``steps(stages)`` that begins such a thing.
    """

    def push(self, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """F_1, F_2, ..., float32 (B, L), after more raw steps (B, time, inputs), at least one."""


class Stream:
    """One sequence, or several that go on together.

    Recurrent students carry their state from step to step. All others are computed anew on what
    was heard whenever there is an answer, once a :meth:`push`; steps to come are the training mean
    to them. After the last step the answers are those for the whole sequence.

    Args:
        manifest: of the ensemble.
        runner: of the ensemble.
        stages: whose answers are wanted, 1 to this; later students do not run.

    Attributes:
        heard: steps so far.
        length: steps of a whole sequence.

    Raises:
        DataError: if there is no such stage.
        SpecError: if the ensemble takes no sequences, or was exported without what streams need.
    """

    def __init__(self, manifest: Manifest, runner: Runner, stages: int) -> None:
        manifest.check_stage(stages)
        shape = manifest.input_shape
        if len(shape) != 2:
            raise SpecError(
                f"{manifest.name!r} takes examples of shape {shape}, no sequences (time, inputs); "
                "ask with stages() or predict()."
            )
        begin = getattr(runner, "steps", None)
        if begin is None:
            raise SpecError(
                "this backend does not go step by step; choose backend='onnx' or 'torch'."
            )
        self.manifest = manifest
        self.heard, self.length = 0, shape[0]
        self._steps: Steps = begin(stages)
        self._outputs = [np.zeros((0, manifest.outputs), np.float32)] * stages
        self._rows: int | None = None

    def push(self, x: Any) -> list[Answer]:
        """The answers of stage 1, 2, ... after some more steps.

        Args:
            x: raw steps, (B, time, inputs), at least one of them and the same B each time.

        Raises:
            DataError: if they do not fit, a value is missing, infinite or no number, or there are
                more steps than a sequence has.
        """
        steps = self._checked(x)
        if len(steps):  # a recurrent operator of onnxruntime ends the process for none
            self._outputs = self._steps.push(steps)
        self._rows, self.heard = len(steps), self.heard + steps.shape[1]
        return [
            answered(self.manifest, logits, stage)
            for stage, logits in enumerate(self._outputs, start=1)
        ]

    def _checked(self, x: Any) -> NDArray[np.float32]:
        x = as_column(x)
        shape, inputs = np.shape(x), self.manifest.input_shape[1]
        if len(shape) != 3 or shape[2] != inputs or shape[1] == 0:
            raise DataError(
                f"steps have shape {shape}; give (sequences, steps, {inputs}), one step at least."
            )
        if self._rows not in (None, shape[0]):
            raise DataError(
                f"there are {shape[0]} sequences now and were {self._rows} before; begin another "
                "stream for others."
            )
        if self.heard + shape[1] > self.length:
            raise DataError(
                f"a sequence has {self.length} steps, and {self.heard + shape[1]} would be heard; "
                "begin another stream for the next one."
            )
        return finite_numbers(x, "x", REMEDY)
