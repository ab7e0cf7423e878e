"""The accepted students of a run and their journal."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import Student
from bdistil.errors import BdistilWarning, CheckpointError
from bdistil.export.checkpoint import student_from_bytes
from bdistil.runs.journal import EndRecord, RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.backend import Played
from bdistil.searching.problem import Problem
from bdistil.searching.verdict import Winner
from bdistil.store.durable import read_file


class Ledger:
    """A run's accepted rounds, read from disk and extended round by round.

    A round is accepted in two steps: its student's file, then its record in the journal. A crash
    between them loses nothing: a file without a record is overwritten. The margin is in no file;
    it is replayed from the students.
    """

    def __init__(self, directory: RunDirectory, problem: Problem) -> None:
        self.directory = directory
        self.problem = problem
        self.ensemble = ProgressiveEnsemble(problem.outputs)
        self.blobs: list[bytes] = []
        self.records: list[RoundRecord] = []

    def restore(self) -> None:
        """Read the journal and the students.

        Raises:
            CheckpointError: if a student's file is missing or is not the one that was accepted.
        """
        self.directory.journal.repair()
        for record in self.directory.journal.read():
            blob = read_student(self.directory, record)
            self._add(record, self.student(blob, record.file), blob)

    def replay(self, play: Callable[[Student, bytes], Played]) -> None:
        """Play the accepted students on a margin that knows none of them."""
        played = None
        for student, weights in zip(self.ensemble, self.blobs, strict=True):
            played = play(student, weights)
        if played is not None and played.margin_sha256 != self.records[-1].margin_sha256:
            warnings.warn(
                f"the margin rebuilt from the students is not to the bit the one after round "
                f"{len(self.records)} (another processor, or version of torch or bdistil): the "
                f"search goes on, but may choose otherwise than it would have.",
                BdistilWarning,
                stacklevel=2,
            )

    def accept(
        self, winner: Winner, student: Student, weights: bytes, played: Played, seconds: float
    ) -> RoundRecord:
        """Make a round's winner durable: its file first, then its record in the journal.

        Args:
            winner: of the round.
            student: the winner's.
            weights: the same as safetensors.
            played: what became of the margin.
            seconds: that the round took.
        """
        number = len(self.records) + 1
        file = self.directory.student_file(number)
        self.directory.write(file, weights)
        record = RoundRecord(
            round=number,
            student=student.config,
            file=str(file.relative_to(self.directory.path)),
            sha256=hashlib.sha256(weights).hexdigest(),
            result=winner.result,
            trials=winner.trials,
            stopped=winner.stopped,
            cut=winner.cut,
            seconds=seconds,
            **dataclasses.asdict(played),
        )
        with self.directory.while_there():
            self.directory.journal.append(record)
        self._add(record, student, weights)
        return record

    def close(self, ended: EndRecord) -> None:
        """Write down why no further round is played."""
        with self.directory.while_there():
            self.directory.journal.append(ended)

    def student(self, blob: bytes, origin: str) -> Student:
        """A candidate for the next stage from its safetensors; `origin` names it in errors."""
        shape, outputs = self.problem.input_shape, self.problem.outputs
        return student_from_bytes(blob, shape, outputs, self.ensemble.features, origin)

    def _add(self, record: RoundRecord, student: Student, blob: bytes) -> None:
        self.records.append(record)
        self.ensemble.append(student)
        self.blobs.append(blob)


def read_student(directory: RunDirectory, record: RoundRecord) -> bytes:
    """The file of an accepted student.

    Raises:
        CheckpointError: if it is missing or was changed.
    """
    file = directory.path / record.file
    try:
        blob = read_file(file)
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing; restore it from a copy of the run.") from None
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read ({error.strerror}); check its permissions, or restore it from "
            f"a copy of the run."
        ) from None
    if hashlib.sha256(blob).hexdigest() != record.sha256:
        raise CheckpointError(f"{file} is not the student of the journal; restore it from a copy.")
    return blob
