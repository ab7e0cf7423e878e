"""The journal: one line of JSON for each accepted round, the only record of a search's progress."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bdistil.core.student import StudentConfig
from bdistil.errors import CheckpointError
from bdistil.runs.trial import TrialRequest, TrialResult
from bdistil.spec.mistakes import first_fault
from bdistil.store.durable import append_line, read_file, write_atomic


class GameFigures(BaseModel):
    """The game after a round.

    Attributes:
        step: η.
        assumed_gap: the G = max|f - g| that η is made for, in logits.
        certificate: a bound on max|F_t - g| over the training split, in logits.
    """

    model_config = ConfigDict(frozen=True)

    step: float
    assumed_gap: float
    certificate: float


class RoundRecord(BaseModel):
    """An accepted round.

    Attributes:
        round: t, counted from 1.
        student: configuration of the accepted student.
        file: its weights, relative to the run directory.
        sha256: of that file.
        margin_sha256: of the margin after the round: the hash of the hexadecimal hashes of its
            shards, each float32 in row order.
        result: figures of the winning trial.
        trials: every finished trial of the round.
        stopped: trials that lost by still running when it closed.
        seconds: wall time of the round, from when the command that closed it opened it.
        received_bytes: for each node but the driver's, by the start of its id in Ray, what it was
            sent in the round: students, margins where it has no copy of its own, and once the
            training split. Trials and objects below Ray's inline limit (100 kB) are not in it.
        game: the game after the round; None in runs of older versions.
        cut: trials that `search.pruner` ended at a milestone.
    """

    model_config = ConfigDict(frozen=True)

    round: int
    student: StudentConfig
    file: str
    sha256: str
    margin_sha256: str
    result: TrialResult
    trials: tuple[TrialResult, ...]
    seconds: float
    received_bytes: dict[str, int] = {}
    stopped: tuple[TrialRequest, ...] = ()
    game: GameFigures | None = None
    cut: tuple[TrialResult, ...] = ()

    @property
    def compared(self) -> list[TrialResult]:
        """Every trial with a loss, finished or cut, in the order of their numbers."""
        return sorted([*self.trials, *self.cut], key=lambda trial: trial.request.number)

    @property
    def cut_after(self) -> dict[int, int]:
        """How many trials were cut, by the epochs that they had trained; fewest epochs first."""
        return dict(sorted(Counter(trial.epochs for trial in self.cut).items()))

    def told_cuts(self) -> str:
        """The same in words; empty if none was cut."""
        counts = [f"{count} after {epochs}" for epochs, count in self.cut_after.items()]
        unit = "epoch" if [*self.cut_after] == [1] else "epochs"
        return f"{len(self.cut)} cut: {', '.join(counts)} {unit}" if counts else ""


End = Literal["goal", "cost", "saturated", "rounds"]


class EndRecord(BaseModel):
    """Why a search is over; the journal's last line, if there is a goal or rounds are left.

    Attributes:
        end: ``goal`` is reached, the next stage would ``cost`` more than allowed, or the search is
            ``saturated``: no candidate of any class helps; or its ``rounds`` were too few for the
            goal.
        reason: in words.
        trials: every finished trial of the round that ended without a student.
        cut: its trials that `search.pruner` ended at a milestone.
    """

    model_config = ConfigDict(frozen=True)

    end: End
    reason: str
    trials: tuple[TrialResult, ...] = ()
    cut: tuple[TrialResult, ...] = ()


class Journal:
    """Append-only file of :class:`RoundRecord`, at the end maybe an :class:`EndRecord`.

    A half-written last line does not count.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[RoundRecord]:
        """All whole records, first round first.

        Raises:
            CheckpointError: if a line but the last is damaged or a round is missing.
        """
        records = []
        for number, line in enumerate(self._rounds(), start=1):
            try:
                records.append(check_record(RoundRecord.model_validate_json(line)))
            except ValueError as error:
                raise CheckpointError(
                    f"{self.path} line {number} is damaged ({first_fault(error)}); restore the "
                    f"file from a copy, or cut it before that line to go on from round {number}."
                ) from None
            if records[-1].round != number:
                raise CheckpointError(
                    f"{self.path} line {number} is of round {records[-1].round}, not {number}; "
                    f"cut the file before that line to go on from round {number}."
                )
        return records

    def end(self) -> EndRecord | None:
        """Why the search is over before its last round; None if it is not."""
        lines = self._whole_lines()
        return EndRecord.model_validate_json(lines[-1]) if lines and is_end(lines[-1]) else None

    def count(self) -> int:
        """How many rounds there are, without a look into them."""
        return len(self._rounds())

    def is_over(self, most_rounds: int) -> bool:
        """Whether a search of so many rounds has nothing more to play."""
        return self.end() is not None or self.count() >= most_rounds

    def append(self, record: RoundRecord | EndRecord) -> None:
        """Add a record and flush it to disk."""
        append_line(self.path, record.model_dump_json().encode())

    def repair(self) -> None:
        """Cut off a half-written last line, so that the next record starts on its own."""
        if self.path.exists() and not read_file(self.path).endswith(b"\n"):
            write_atomic(self.path, b"".join(line + b"\n" for line in self._whole_lines()))

    def _rounds(self) -> list[bytes]:
        lines = self._whole_lines()
        return lines[:-1] if lines and is_end(lines[-1]) else lines

    def _whole_lines(self) -> list[bytes]:
        if not self.path.exists():
            return []
        try:
            return read_file(self.path).split(b"\n")[:-1]
        except OSError as error:
            raise CheckpointError(
                f"{self.path} cannot be read ({error.strerror}); restore the file from a copy, or "
                "choose another --out."
            ) from None


def check_record(record: RoundRecord) -> RoundRecord:
    """The record, if it is such as a search writes.

    Raises:
        ValueError: if its student lies elsewhere, nothing says how it was trained, or a figure is
            none.
    """
    path = PurePosixPath(record.file)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"file {record.file!r} is outside of the run directory")
    if not record.result.request.params:
        raise ValueError("the winner has no params")
    for result in (record.result, *record.compared):
        result.check_figures()
    return record


def is_end(line: bytes) -> bool:
    """Whether a line of the journal is an :class:`EndRecord`."""
    try:
        EndRecord.model_validate_json(line)
    except ValidationError:
        return False
    return True
