"""Where a search's trials run: the one protocol of this process, a Ray cluster and a simulation.

In this order: ``check``, ``open``, maybe ``fit_folds`` and ``fit_teacher``, ``start``; then, round
after round, ``open_round``, any number of ``submit``, ``recall``, ``wait`` and ``candidate``,
``close_round`` and ``play``; last, whatever happened, ``close``. All calls come from one thread;
:class:`~bdistil.searching.loop.SearchLoop` makes them. A backend of one's own is an object with
these methods, handed to :func:`bdistil.search`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bdistil.core.examples import Measure
from bdistil.core.game import Rules
from bdistil.core.student import Student
from bdistil.runs.journal import GameFigures
from bdistil.runs.trial import Cohort, TrialResult
from bdistil.searching.checkpointing import Checkpoints, NoCheckpoints
from bdistil.searching.cost_limits import NO_LIMITS, CostLimits
from bdistil.searching.problem import Part, Problem
from bdistil.spec import Spec
from bdistil.teachers.obtain import TeacherFitter

SECONDS_BETWEEN_LOOKS = 0.25
"""How long :meth:`Backend.wait` may keep its caller from looking at clock and display."""

ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Work:
    """What trials of a search are about.

    Attributes:
        spec: the resolved search.
        problem: what is known of the data, with the validation split.
        train: the training split's shards in row order, each read once.
        rules: constants of the game.
        measure: the loss by which candidates are compared.
        folder: the run directory.
        limits: what all students together may cost.
        checkpoints: where trials that are interrupted go on.
    """

    spec: Spec
    problem: Problem
    train: Iterator[Part]
    rules: Rules
    measure: Measure
    folder: Path
    limits: CostLimits = NO_LIMITS
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)


@dataclass(frozen=True)
class Played:
    """What became of the margin with an accepted student.

    Attributes:
        margin_sha256: see :class:`~bdistil.runs.journal.RoundRecord`.
        received_bytes: likewise, since this was last told.
        game: likewise; None where no game is played.
    """

    margin_sha256: str
    received_bytes: dict[str, int] = field(default_factory=dict)
    game: GameFigures | None = None


class TrialBackend(Protocol):
    """Runs the trials of a search, round after round.

    Attributes:
        idle: cohorts that would be run at once if they were submitted now.
    """

    @property
    def idle(self) -> int:
        """See the class."""

    def start(self, work: Work) -> None:
        """Take in the search; no round is open yet."""

    def open_round(self, number: int) -> None:
        """Begin a round; all students accepted before it have been played."""

    def submit(self, cohort: Cohort) -> None:
        """Run trials of the open round, now or as soon as a worker is free."""

    def recall(self, results: Sequence[TrialResult]) -> None:
        """Let a cohort count that an earlier start has run, where others are compared with it."""

    def wait(self, until: float | None, should_stop: ShouldStop) -> list[TrialResult]:
        """The results that came in next; none if there was nothing for a while.

        Args:
            until: of :meth:`now`: return by then.
            should_stop: asked before each batch by trials that run in the calling thread, which
                cannot come back before they end; true if they are in vain.
        """

    def candidate(self, number: int) -> bytes:
        """The safetensors of a trial of the open round that has finished."""

    def close_round(self) -> None:
        """End the open round and all of its trials."""

    def play(self, student: Student, weights: bytes) -> Played:
        """Take an accepted student into the margin; also on resuming.

        Args:
            student: as the ledger keeps it.
            weights: the same as safetensors.
        """

    def now(self) -> float:
        """Seconds, monotonic; virtual ones in a simulation."""


class Backend(TrialBackend, TeacherFitter, Protocol):
    """Trains teachers and runs trials."""

    def check(self, spec: Spec) -> None:
        """Refuse a spec that cannot be run here, before anything is written.

        Raises:
            BdistilError: naming the field and the remedy.
        """

    def open(self, spec: Spec) -> None:
        """Get hold of the workers; before a teacher is trained.

        Raises:
            ClusterError: if they cannot be had.
        """

    def close(self) -> None:
        """Let go of all workers; harmless at any moment, more than once too."""


@contextmanager
def opened(backend: Backend, spec: Spec) -> Iterator[None]:
    """A backend's workers for the body."""
    try:
        backend.open(spec)
        yield
    finally:
        backend.close()
