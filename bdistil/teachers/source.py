"""What every kind of teacher has in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bdistil.data.dataset import Split
from bdistil.errors import TeacherError

EpochProgress = Callable[[int, int, float], None]
AnswerProgress = Callable[[int, int], None]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Teacher:
    """A teacher that is ready to answer.

    Attributes:
        logits: of a split of the data set, float32 (N, L): centred for classes, in units of the
            training split for targets; calls its second argument with (examples answered, N).
        flops: of one example; None if they cannot be counted.
        parameters: None if they cannot be counted.
        network: maps standardised features (B, ...) to outputs (B, L); None if there is none, or
            if it does not take a single example.
        seconds: that one example takes, where there is no network to be timed beside the stages.
    """

    logits: Callable[[Split, AnswerProgress | None], NDArray[np.float32]]
    flops: int | None = None
    parameters: int | None = None
    network: nn.Module | None = None
    seconds: float | None = None


class TeacherSource(Protocol):
    """Where a teacher comes from; one class for each kind.

    Attributes:
        kind: what the teacher's card calls it.
        can_refit: whether `obtain` can train it on a part of the training split.
    """

    kind: ClassVar[str]
    can_refit: ClassVar[bool]

    def check(self) -> None:
        """Find what is wrong before anything is written, without training.

        Raises:
            TeacherError: if it cannot be built or does not fit the data.
            SpecError: if a name or an option is unknown.
        """

    def known_flops(self) -> int | None:
        """What an example will cost the teacher, without training; None if it cannot be told."""

    def untrained_network(self) -> nn.Module | None:
        """A network of standardised features that takes as long as the teacher will, whatever it
        has learnt; None if there is none, or if it takes no single example.
        """

    def obtain(self, rows: Rows | None = None, progress: EpochProgress | None = None) -> Teacher:
        """The teacher, trained on these rows of the training split (None: all) if it is trained.

        Raises:
            TeacherError: as `check`, if training fails, or if it cannot be trained on a part.
        """


def network_of(source: TeacherSource) -> nn.Module | None:
    """A source's untrained network; None also of a user's own kind that does not tell."""
    tells = getattr(source, "untrained_network", None)
    return None if tells is None else tells()


def refuse_rows(model: str, rows: Rows | None) -> None:
    """Refuse to train on a part of the examples what comes trained.

    Raises:
        TeacherError: if `rows` are given.
    """
    if rows is not None:
        raise TeacherError(
            f"teacher.model is {model!r}, which comes trained, so it cannot be trained anew "
            f"without a part of the examples; choose a teacher of the zoo or a scikit-learn "
            f"estimator."
        )
