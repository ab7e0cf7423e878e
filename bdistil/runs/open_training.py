"""Checkpoints of trials that are in training, on disk beside what others of the round have found.

A file of bytes for each, and after it one that names it by its hash; both take the places of those
before. Nothing but time hangs on them: a trial whose files are damaged starts anew.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bdistil.errors import BdistilWarning
from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.open_round import is_folder
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import Cohort
from bdistil.spec.mistakes import first_fault
from bdistil.store.durable import read_file

NAMED, CONTENT = "training-{:04d}.json", "training-{:04d}-{}.safetensors"  # as a URI is sent them
OURS = re.compile(r"training-\d+(\.json|-[0-9a-f]+\.safetensors)")
DIGITS = 16  # of the hash in a file's name


class KeptTraining(BaseModel):
    """Trials that one worker was training together.

    Attributes:
        identity: of all that their outcome hangs on beside their requests.
        cohort: the trials.
        epochs: see :class:`~bdistil.runs.checkpoint.Checkpoint`.
        sha256: of its content.
    """

    model_config = ConfigDict(frozen=True)

    identity: str
    cohort: Cohort
    epochs: int
    sha256: str

    @property
    def number(self) -> int:
        """The first of its trials."""
        return self.cohort.requests[0].number


class OpenTrainingFiles:
    """Checkpoints in ``open/`` of a run directory.

    Args:
        run: the run directory.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.path = run.open_round

    def write(self, identity: str, cohort: Cohort, checkpoint: Checkpoint) -> KeptTraining:
        """Make a checkpoint durable, here and where the run lies; then the one before it goes.

        Raises:
            CheckpointError: if the disk is full or not writable.
        """
        sha256 = hashlib.sha256(checkpoint.content).hexdigest()
        training = KeptTraining(
            identity=identity, cohort=cohort, epochs=checkpoint.epochs, sha256=sha256
        )
        named, content = self._files_of(training)
        self.run.write(content, checkpoint.content)
        self.run.write(named, training.model_dump_json().encode())
        self.run.keep()
        self._remove(set(self._files(training.number)) - {named, content})
        return training

    def read(self) -> list[KeptTraining]:
        """Every checkpoint that is named as it should be; of each other one a warning tells."""
        found = []
        for file in self._files():
            if file.suffix == ".json":
                try:
                    training = KeptTraining.model_validate_json(read_file(file))
                    if file != self._files_of(training)[0]:
                        raise ValueError(f"it is of trial {training.number}")
                    found.append(training)
                except (OSError, ValueError) as error:
                    self._tell(file, error)
        return found

    def checkpoint(self, training: KeptTraining) -> Checkpoint | None:
        """What was written; None, with a warning, if it is damaged."""
        _, file = self._files_of(training)
        try:
            content = read_file(file)
            if hashlib.sha256(content).hexdigest() != training.sha256:
                raise ValueError("its content is another")
        except (OSError, ValueError) as error:
            self._tell(file, error)
            return None
        return Checkpoint(training.epochs, content)

    def remove(self, number: int) -> None:
        """Delete what is kept of the cohort of that first number.

        Raises:
            CheckpointError: if the disk is not writable.
        """
        self._remove(self._files(number))

    def clear(self, but: Iterable[KeptTraining] = ()) -> None:
        """Delete all checkpoints but some; files that no search has written stay.

        Raises:
            CheckpointError: if the disk is not writable.
        """
        self._remove(set(self._files()).difference(*map(self._files_of, but)))

    def _remove(self, files: Iterable[Path]) -> None:
        gone = [file for file in files if not is_folder(file)]
        self.run.remove(sorted(gone, reverse=True))  # what names others before those

    def _tell(self, file: Path, error: OSError | ValueError) -> None:
        fault = error.strerror if isinstance(error, OSError) else first_fault(error)
        warnings.warn(
            f"{self.run.shown(file)} cannot be used ({fault}); training starts anew.",
            BdistilWarning,
            stacklevel=3,
        )

    def _files(self, number: int | None = None) -> list[Path]:
        start = "" if number is None else NAMED.format(number).removesuffix(".json")
        try:
            there = sorted(file for file in self.path.iterdir() if OURS.fullmatch(file.name))
        except OSError:  # mostly as there is none
            return []
        return [file for file in there if re.match(rf"{start}\D", file.name) or not start]

    def _files_of(self, training: KeptTraining) -> tuple[Path, Path]:
        content = CONTENT.format(training.number, training.sha256[:DIGITS])
        return self.path / NAMED.format(training.number), self.path / content
