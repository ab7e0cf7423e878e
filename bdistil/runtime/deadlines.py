"""The best answer by a deadline: which stages are begun, and in which thread.

A stage that by its latest times fits into what is left runs in the caller's thread: another one
would have to be waited for, up to milliseconds where Python is busy. Only stages of which nothing
recent is known go to a thread of their own, which is left at the deadline.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from bdistil.runtime.anytime import AnytimeRun
from bdistil.runtime.pace import Pace
from bdistil.runtime.runner import Progress, Runner

Found = tuple[NDArray[np.float32], int | NDArray[np.intp]]
"""Logits (B, L), and the stage that they are from or that each example reached."""

Telling = Callable[[NDArray[np.float32], NDArray[np.intp]], object]

STRAIGHT = 0  # of a pace: to the last stage
SLACK = 4.0  # times what was measured must be left, for all stages at once or by an old measure
MARGIN = 1.5  # likewise for a stage by a recent one, which is the least of several
ROWS = 512  # of a piece of a batch: what cannot be stopped must not take long
ROUNDS = 3  # in which telling is timed; the least counts


class Pieces:
    """A batch in pieces of some rows, which go from stage to stage in turns.

    Args:
        runner: of the ensemble.
        x: raw examples, (B, ...), at least one.
    """

    def __init__(self, runner: Runner, x: NDArray[np.float32]) -> None:
        self.runner = runner
        self.done = [runner.begin(x[start : start + ROWS]) for start in range(0, len(x), ROWS)]
        self.turns = 0

    @property
    def next(self) -> tuple[int, int]:
        """The stage that comes next, from 1, and how many rows it is for."""
        turn, place = divmod(self.turns, len(self.done))
        return turn + 1, len(self.done[place].logits)

    def advance(self) -> None:
        """One stage further with the next piece."""
        place = self.turns % len(self.done)
        self.done[place] = self.runner.advance(self.done[place])
        self.turns += 1

    def found(self) -> Found:
        """What there is of each row, also while another thread goes on."""
        done: list[Progress] = list(self.done)
        if len(done) == 1:
            return done[0].logits, done[0].stage
        stages: NDArray[np.intp] = np.repeat(
            [piece.stage for piece in done], [len(piece.logits) for piece in done]
        )
        return np.concatenate([piece.logits for piece in done]), stages


class Deadlines:
    """Keeps deadlines with what it has seen of the ensemble's pace.

    Args:
        stages: of the ensemble.
        telling: makes an answer of what was found, if that is to be done by the deadline, too.

    Attributes:
        warm: whether everything was loaded and tried.
        telling_a_row: seconds of it for one of many rows.
    """

    def __init__(self, stages: int, telling: Telling | None = None) -> None:
        self.stages = stages
        self.telling = telling
        self.telling_a_row = 0.0
        self.pace = Pace()
        self.warm = False

    def __reduce__(self) -> tuple[type[Deadlines], tuple[int, Telling | None]]:
        """A copy is for another process or runner, where everything is to be loaded again."""
        return Deadlines, (self.stages, self.telling)

    def warm_up(self, runner: Runner, x: NDArray[np.float32]) -> None:
        """Load everything and answer some examples in every way, to know the pace."""
        load: Callable[[int], None] | None = getattr(runner, "load", None)
        if load is not None:
            load(self.stages)
        for _ in range(2):  # the first time is slower
            pieces = Pieces(runner, x)
            while pieces.next[0] <= self.stages:
                self._advance(pieces)
            logits = self._straight(runner, x)
        if self.telling is not None:
            self.telling_a_row = self._time_telling(logits)
        self.warm = True

    def _time_telling(self, logits: NDArray[np.float32]) -> float:
        many, stages = np.repeat(logits[:1], ROWS, axis=0), np.full(ROWS, self.stages)
        taken = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            self.telling(many, stages)  # type: ignore[misc]
            taken.append(time.perf_counter() - begun)
        return min(taken) / ROWS

    def until(
        self, runner: Runner, x: NDArray[np.float32], end: float, *, told: bool = False
    ) -> Found:
        """The best answers finished by then, never nothing.

        Args:
            runner: of the ensemble.
            x: raw examples, (B, ...), at least one.
            end: by ``time.perf_counter()``; the first stage is waited for in any case.
            told: leave time to make an answer of them, which takes a large batch milliseconds.
        """
        if told and len(x) > ROWS:
            end -= len(x) * self.telling_a_row
        expected = self.pace.expected(STRAIGHT, len(x), math.inf)
        if expected is not None and time.perf_counter() + SLACK * expected <= end:
            return self._straight(runner, x), self.stages
        return self._stage_by_stage(Pieces(runner, x), end)

    def _straight(self, runner: Runner, x: NDArray[np.float32]) -> NDArray[np.float32]:
        begun = time.perf_counter()
        logits = runner.straight(x, self.stages)
        self.pace.note(STRAIGHT, len(x), time.perf_counter() - begun)
        return logits

    def _stage_by_stage(self, pieces: Pieces, end: float) -> Found:
        begun = time.perf_counter()
        while (fits := self._next_fits(pieces, end)) is True:
            self._advance(pieces)
        if fits is None:
            self._in_a_thread(pieces, end)
        logits, stage = pieces.found()
        if pieces.next[0] > self.stages:  # all done; straight to it takes no longer
            self.pace.note(STRAIGHT, len(logits), time.perf_counter() - begun)
        return logits, stage

    def _next_fits(self, pieces: Pieces, end: float) -> bool | None:
        """Whether what comes next will be done by the end; None if nobody knows."""
        stage, rows = pieces.next
        if stage == 1 or stage > self.stages:
            return stage == 1
        now, recent = time.perf_counter(), self.pace.expected(stage, rows)
        if recent is not None and now + MARGIN * recent <= end:
            return True
        if now + MARGIN * self.pace.at_least(stage, rows) > end:
            return False  # else a large batch may take far less than so many small ones
        old = self.pace.expected(stage, rows, math.inf)
        return True if old is not None and now + SLACK * old <= end else None

    def _advance(self, pieces: Pieces) -> None:
        (stage, rows), begun = pieces.next, time.perf_counter()
        pieces.advance()
        self.pace.note(stage, rows, time.perf_counter() - begun)

    def _in_a_thread(self, pieces: Pieces, end: float) -> None:
        """The stage at hand may take longer than there is time; then it is left alone."""
        run = AnytimeRun(self._further(pieces, end), latest=pieces)
        try:
            run.wait(end - time.perf_counter())
        finally:
            run.stop(wait=False)

    def _further(self, pieces: Pieces, end: float) -> Iterator[Pieces]:
        while self._next_fits(pieces, end) is not False:
            self._advance(pieces)
            yield pieces
