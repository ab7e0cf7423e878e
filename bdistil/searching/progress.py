"""What a running search shows: a snapshot of its state, and whoever displays it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bdistil.runs.journal import RoundRecord

if TYPE_CHECKING:
    from bdistil.searching.controller import RoundController


@dataclass(frozen=True)
class Snapshot:
    """A search at one moment.

    Attributes:
        round: the open round, counted from 1.
        rounds: T.
        running: trials running now.
        done: trials of the open round that have answered.
        best_edge: the best relative edge of the open round's trials; None before the first.
        records: the accepted rounds.
        seconds: since the command started.
    """

    round: int
    rounds: int
    running: int
    done: int
    best_edge: float | None
    records: Sequence[RoundRecord]
    seconds: float

    @classmethod
    def of(
        cls, controller: RoundController, records: Sequence[RoundRecord], seconds: float
    ) -> Snapshot:
        """The state of a search that has run for `seconds`."""
        opened, rounds = controller.open, controller.spec.search.most_rounds
        edges = [result.relative_edge for result in opened.finished()]
        return cls(
            round=min(opened.number, rounds),
            rounds=rounds,
            running=len(opened.running()),
            done=len(opened.answered),
            best_edge=max(edges, default=None),
            records=records,
            seconds=seconds,
        )

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the accepted rounds; None before the first."""
        if not self.records:
            return None
        mean = sum(record.seconds for record in self.records) / len(self.records)
        return mean * (self.rounds - len(self.records))


class Reporter(Protocol):
    """Shows progress; the command line has a live table and a plain-text one."""

    def message(self, text: str) -> None:
        """A line worth keeping."""

    def teacher(self, epoch: int, epochs: int, metric: float) -> None:
        """Progress of the teacher's training."""

    def teacher_answers(self, done: int, examples: int) -> None:
        """Progress of asking the user's own teacher about one split."""

    def round_accepted(self, record: RoundRecord) -> None:
        """A round has its student."""

    def update(self, snapshot: Snapshot) -> None:
        """The search's state, several times a second."""


class Silent:
    """Shows nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def teacher(self, epoch: int, epochs: int, metric: float) -> None:
        """Nothing."""

    def teacher_answers(self, done: int, examples: int) -> None:
        """Nothing."""

    def round_accepted(self, record: RoundRecord) -> None:
        """Nothing."""

    def update(self, snapshot: Snapshot) -> None:
        """Nothing."""
