"""What a search returns in Python."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from bdistil.export.ensemble import Ensemble
from bdistil.export.evaluation import Evaluation
from bdistil.runs.journal import RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.outcome import evaluation


class SearchResult:
    """A run directory, read on demand.

    Args:
        place: the run directory, a path or a URI.

    Attributes:
        directory: the folder; for a URI, a copy that lives as long as this object.
    """

    def __init__(self, place: str | Path) -> None:
        self._run = RunDirectory.existing(place)
        self.directory = self._run.path

    @property
    def rounds(self) -> list[RoundRecord]:
        """The accepted rounds."""
        return self._run.journal.read()

    @cached_property
    def ensemble(self) -> Ensemble:
        """The ensemble, for raw features."""
        return Ensemble.from_pretrained(self._run.ensemble)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The anytime curve on the test split."""
        return evaluation(self._run)
