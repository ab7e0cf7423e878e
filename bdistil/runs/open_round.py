"""What the trials of the open round have found, on disk until the round is in the journal.

A file of figures for each cohort, and before it one of weights for each candidate that finished.
Nothing but time hangs on them: a trial whose files are missing or damaged runs again.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from bdistil.errors import BdistilWarning, CheckpointError
from bdistil.runs.run_directory import RunDirectory
from bdistil.runs.trial import TrialResult
from bdistil.spec.mistakes import first_fault
from bdistil.store.durable import read_file

FIGURES, WEIGHTS = "cohort-{:04d}.json", "candidate-{:04d}.safetensors"  # as a URI is sent them
OURS = re.compile(r"cohort-\d+\.json|candidate-\d+\.safetensors")


def is_folder(file: Path) -> bool:
    """Whether it is none of a search's files, whatever its name."""
    return file.is_dir() and not file.is_symlink()


class KeptCohort(BaseModel):
    """Trials that one worker ran together in a round that was open then.

    Attributes:
        identity: of all that their outcome hangs on beside their requests.
        asked: trials of the round that had been handed out when these answered.
        answered: trials of the round that had answered before them.
        results: what became of each, in the order of their numbers: it finished or was cut.
        sha256: of the weights of each that finished, by its number.
    """

    model_config = ConfigDict(frozen=True)

    identity: str
    asked: int
    answered: int
    results: tuple[TrialResult, ...]
    sha256: dict[int, str]

    @property
    def numbers(self) -> list[int]:
        """Those of its trials."""
        return [result.request.number for result in self.results]

    @model_validator(mode="after")
    def check(self) -> KeptCohort:
        """Itself, if a search can have written it.

        Raises:
            ValueError: if not.
        """
        numbers, first = self.numbers, min(self.numbers, default=-1)
        if first < 0 or numbers != [*range(first, first + len(numbers))]:
            raise ValueError(f"trials {numbers} are no cohort")
        if any(result.status not in ("finished", "cut") for result in self.results):
            raise ValueError("not all of its trials finished or were cut")
        for result in self.results:
            result.check_figures()
        if not (0 <= self.answered < self.asked and numbers[-1] < self.asked):
            raise ValueError(f"{self.answered} answered and {self.asked} asked cannot be")
        if {n for n, r in zip(numbers, self.results, strict=True) if r.status == "finished"} != {
            *self.sha256
        }:
            raise ValueError("its weights are not of the trials that finished")
        return self


class OpenRoundFiles:
    """``open/`` of a run directory.

    Args:
        run: the run directory.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.path = run.open_round

    def write(self, cohort: KeptCohort, weights: Mapping[int, bytes]) -> None:
        """Make a cohort durable, here and where the run lies.

        Raises:
            CheckpointError: if the disk is full or not writable.
        """
        for number, blob in weights.items():
            self.run.write(self._weights_file(number), blob)
        self.run.write(self._figures_file(cohort), cohort.model_dump_json().encode())
        self.run.keep()

    def read(self, warn: bool = True) -> list[KeptCohort]:
        """Every cohort that is whole; of each other one a warning tells, if wanted."""
        found = []
        for file in self._files():
            if file.suffix == ".json":
                try:
                    found.append(self._read(file))
                except (OSError, ValueError) as error:
                    if warn:
                        self._tell(file, error)
        return found

    def weights(self, cohort: KeptCohort, number: int) -> bytes:
        """The safetensors of a trial that finished.

        Raises:
            CheckpointError: if they are missing or others.
        """
        file = self._weights_file(number)
        try:
            return self._read_weights(cohort, number)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.run.shown(file)} is missing or was changed while the search ran; start it "
                "again, and that candidate is trained again."
            ) from error

    def clear(self, but: Iterable[KeptCohort] = ()) -> None:
        """Delete all cohorts but some; files that no search has written stay.

        Raises:
            CheckpointError: if the disk is not writable.
        """
        kept = set()
        for cohort in but:
            kept |= {self._figures_file(cohort), *map(self._weights_file, cohort.sha256)}
        gone = [file for file in self._files() if file not in kept and not is_folder(file)]
        self.run.remove(sorted(gone, reverse=True))  # figures before the weights that they name

    def _tell(self, file: Path, error: OSError | ValueError) -> None:
        fault = error.strerror if isinstance(error, OSError) else first_fault(error)
        warnings.warn(
            f"{self.run.shown(file)} cannot be used ({fault}); its candidates are trained again.",
            BdistilWarning,
            stacklevel=3,
        )

    def _read(self, file: Path) -> KeptCohort:
        cohort = KeptCohort.model_validate_json(read_file(file))
        if file != self._figures_file(cohort):
            raise ValueError(f"it is of trial {cohort.numbers[0]}")
        for number in cohort.sha256:
            self._read_weights(cohort, number)
        return cohort

    def _read_weights(self, cohort: KeptCohort, number: int) -> bytes:
        blob = read_file(self._weights_file(number))
        if hashlib.sha256(blob).hexdigest() != cohort.sha256[number]:
            raise ValueError(f"the weights of candidate {number} are others")
        return blob

    def _files(self) -> list[Path]:
        try:
            return sorted(file for file in self.path.iterdir() if OURS.fullmatch(file.name))
        except OSError:  # mostly as there is none
            return []

    def _figures_file(self, cohort: KeptCohort) -> Path:
        return self.path / FIGURES.format(cohort.numbers[0])

    def _weights_file(self, number: int) -> Path:
        return self.path / WEIGHTS.format(number)


def kept_candidates(run: RunDirectory) -> int:
    """How many candidates of the open round a resumed search would not train again.

    While a search runs, files may go just now, so nothing is said of what is not whole.
    """
    opened = len(run.journal.read()) + 1
    cohorts = OpenRoundFiles(run).read(warn=False)
    return sum(len(each.results) for each in cohorts if each.results[0].request.round == opened)
