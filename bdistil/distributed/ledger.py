"""The driver's side of the game: accepted students, the margin they make, and their journal."""

from __future__ import annotations

import hashlib

from bdistil.core.ensemble import ProgressiveEnsemble
from bdistil.core.game import Rules
from bdistil.core.student import Student
from bdistil.core.training_split import TrainingSplit
from bdistil.deploy.checkpoint import student_from_bytes
from bdistil.distributed.controller import Winner
from bdistil.distributed.journal import RoundRecord
from bdistil.distributed.problem import Problem
from bdistil.distributed.run_directory import RunDirectory
from bdistil.errors import CheckpointError
from bdistil.files import write_atomic


class Ledger:
    """State of a run after its accepted rounds, rebuilt from disk and extended round by round.

    A round is accepted in three steps: its student's file, its record in the journal, the margin
    in memory. A crash between them loses nothing: a file without a record is overwritten, a record
    without a margin is replayed.
    """

    def __init__(self, directory: RunDirectory, problem: Problem, rules: Rules) -> None:
        self.directory = directory
        self.problem = problem
        self.ensemble = ProgressiveEnsemble(problem.outputs)
        parts = [part.examples() for part in problem.train.shards()]
        self.split = TrainingSplit.before_round_one(parts, rules)
        self.blobs: list[bytes] = []
        self.records: list[RoundRecord] = []

    def restore(self) -> None:
        """Replay the journal.

        Raises:
            CheckpointError: if a student's file is missing or is not the one that was accepted.
        """
        self.directory.journal.repair()
        for record in self.directory.journal.read():
            blob = read_student(self.directory, record)
            self._play(self._student(blob, record.file), blob)
            self.records.append(record)

    def accept(self, winner: Winner, weights: bytes, seconds: float) -> RoundRecord:
        """Make a round's winner durable and play it; the round took `seconds`."""
        round_number = len(self.records) + 1
        file = self.directory.student_file(round_number)
        student = self._student(weights, file.name)
        write_atomic(file, weights)
        self._play(student, weights)
        record = RoundRecord(
            round=round_number,
            student=student.config,
            file=str(file.relative_to(self.directory.path)),
            sha256=hashlib.sha256(weights).hexdigest(),
            margin_sha256=self.margin_sha256(),
            result=winner.result,
            trials=winner.trials,
            seconds=seconds,
        )
        self.directory.journal.append(record)
        self.records.append(record)
        return record

    def margin_sha256(self) -> str:
        """Hash of M, so that a resumed game can be compared with the one that was left."""
        digest = hashlib.sha256()
        for shard in self.split.shards:
            digest.update(shard.game.margin.numpy().data)
        return digest.hexdigest()

    def _student(self, blob: bytes, origin: str) -> Student:
        shape, outputs = self.problem.input_shape, self.problem.outputs
        return student_from_bytes(blob, shape, outputs, self.ensemble.features, origin)

    def _play(self, student: Student, blob: bytes) -> None:
        self.split = self.split.played(student)
        self.ensemble.append(student)
        self.blobs.append(blob)


def read_student(directory: RunDirectory, record: RoundRecord) -> bytes:
    """The file of an accepted student.

    Raises:
        CheckpointError: if it is missing or was changed.
    """
    file = directory.path / record.file
    try:
        blob = file.read_bytes()
    except OSError:
        raise CheckpointError(f"{file} is missing; restore it from a copy of the run.") from None
    if hashlib.sha256(blob).hexdigest() != record.sha256:
        raise CheckpointError(f"{file} is not the student of the journal; restore it from a copy.")
    return blob
