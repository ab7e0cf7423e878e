"""Checkpoints of trials that train for long: when a worker takes them, and where they come from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bdistil.core.training_state import TakeState
from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.trial import Cohort

SECONDS_BETWEEN = 60.0
"""Of training before a checkpoint; what takes less is trained again."""
MOST_TAKING = 0.01
"""Share of a worker's time; larger networks have theirs more seldom."""


class Checkpoints(Protocol):
    """The driver's side: where checkpoints outlive worker, node and driver."""

    def earlier(self, cohort: Cohort) -> Checkpoint | None:
        """Where a cohort goes on that is about to run, maybe once more; None at the start."""

    def keep(self, cohort: Cohort, checkpoint: Checkpoint) -> bool:
        """Take a running cohort's new checkpoint, in place of the one before; false if not."""


class NoCheckpoints:
    """Keeps nothing."""

    def earlier(self, cohort: Cohort) -> Checkpoint | None:
        """None."""
        return None

    def keep(self, cohort: Cohort, checkpoint: Checkpoint) -> bool:
        """Nothing."""
        return False


@dataclass(frozen=True)
class Saves:
    """The worker's side, for one cohort.

    Attributes:
        earlier: where it goes on; None at the start.
        keep: takes its checkpoints.
    """

    earlier: Checkpoint | None
    keep: Callable[[Checkpoint], object]


NOTHING_SAVED = Saves(None, lambda checkpoint: None)


class Keeper:
    """Takes a checkpoint at the end of an epoch, once enough time has gone by.

    Args:
        keep: takes the checkpoints.
    """

    def __init__(self, keep: Callable[[Checkpoint], object]) -> None:
        self.keep = keep
        self.last = time.monotonic()
        self.wait = SECONDS_BETWEEN

    def __call__(self, take: TakeState) -> None:
        """The end of an epoch."""
        began = time.monotonic()
        if began - self.last < self.wait:
            return
        self.keep(Checkpoint.of(take()))
        self.last = time.monotonic()
        self.wait = max(SECONDS_BETWEEN, (self.last - began) / MOST_TAKING)
