"""Checkpoints of the open round's running trials, which outlive worker, node and driver."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.open_training import KeptTraining, OpenTrainingFiles
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import Cohort

MOST_WRITING = 0.1
"""Share of the driver's time, which writes the checkpoints of all workers."""


class KeptTrainings:
    """Keeps the last checkpoint of each running cohort in the run directory.

    Args:
        run: the run directory.
        tell: takes a message for people.
        guard: around whatever writes; a file that cannot be written only costs time.
    """

    def __init__(
        self,
        run: RunDirectory,
        tell: Callable[[str], None],
        guard: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.run = run
        self.files = OpenTrainingFiles(run)
        self.tell = tell
        self.guard = guard
        self.workers, self.writing = 1, 0.0
        self.round, self.identity = 0, ""
        self.close_round()

    def open_round(self, number: int, identity: str, workers: int) -> None:
        """Begin a round with what is kept of it; the files of others go."""
        self.close_round()
        self.round, self.identity, self.workers = number, identity, workers
        there = self.files.read()
        for each in there:
            if each.identity == identity:
                self.kept[each.number] = each
            elif each.cohort.round == number:
                self.tell(
                    f"Round {number}: the checkpoint of {each.cohort.told} is of other settings; "
                    "training starts anew."
                )
        with self.guard():
            self.files.clear(but=self.kept.values())

    def earlier(self, cohort: Cohort) -> Checkpoint | None:
        """Where a cohort goes on that is about to run, maybe once more; None at the start."""
        number = cohort.requests[0].number
        self.running[number] = time.monotonic()
        training = self.kept.get(number)
        if training is None or training.cohort.model_dump_json() != cohort.model_dump_json():
            return None
        checkpoint = self.files.checkpoint(training)
        if checkpoint is not None:
            self.tell(
                f"Round {cohort.round}: {cohort.told} {'go' if cohort.requests[1:] else 'goes'} on "
                f"after epoch {checkpoint.epochs} of {cohort.requests[0].recipe().epochs}."
            )
        return checkpoint

    def keep(self, cohort: Cohort, checkpoint: Checkpoint) -> bool:
        """Write a running cohort's checkpoint in place of the one before, if there is time."""
        number, began = cohort.requests[0].number, time.monotonic()
        if cohort.round != self.round or number not in self.running:
            return False  # it is over
        if not self.run.is_there:
            return False  # whoever must write will tell
        if began - self.running[number] < self.workers * self.writing / MOST_WRITING:
            return False
        written = False
        with self.guard():
            self.kept[number] = self.files.write(self.identity, cohort, checkpoint)
            written = True
        self.running[number] = time.monotonic()
        self.writing = self.running[number] - began
        return written

    def drop(self, cohort: Cohort) -> None:
        """A cohort has answered."""
        number = cohort.requests[0].number
        self.running.pop(number, None)
        if self.kept.pop(number, None) is not None:
            with self.guard():
                self.files.remove(number)

    def close_round(self) -> None:
        """No cohort runs any more; files stay until the next round opens."""
        self.running: dict[int, float] = {}  # when each was last written, by first numbers
        self.kept: dict[int, KeptTraining] = {}
