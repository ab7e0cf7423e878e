"""What the commands show: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bdistil.cli.failures import printable
from bdistil.runs.journal import RoundRecord
from bdistil.searching.progress import Reporter, Snapshot
from bdistil.words import counted

# Paths and names may hold [brackets] and :colons:, which rich would take for markup and emoji.
PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}


class PlainConsole(Console):
    """A console that shows control characters, of names out of files, instead of obeying them."""

    def render_str(self, text: str, **options: Any) -> Text:
        """A string, a cell of a table too, as it is shown."""
        return super().render_str(printable(text), **options)


console = PlainConsole(stderr=True, **PLAIN)
# Where nobody looks at a terminal, tables must not be folded to a guessed width.
output = PlainConsole(width=None if sys.stdout and sys.stdout.isatty() else 1000, **PLAIN)


class PlainReporter:
    """One line for each thing that happened."""

    def __init__(self) -> None:
        self.last_epoch_line = 0.0

    def message(self, text: str) -> None:
        """A line worth keeping."""
        console.print(text)

    def teacher(self, epoch: int, epochs: int, metric: float) -> None:
        """A line at the end, and every few seconds before."""
        if epoch == epochs or time.monotonic() - self.last_epoch_line > 10:
            self.last_epoch_line = time.monotonic()
            self.message(f"teacher: epoch {epoch}/{epochs}, validation {metric:.4f}")

    def teacher_answers(self, done: int, examples: int) -> None:
        """A line every few seconds."""
        if time.monotonic() - self.last_epoch_line > 10:
            self.last_epoch_line = time.monotonic()
            self.message(f"teacher: {done:,} of {examples:,} examples")

    def round_accepted(self, record: RoundRecord) -> None:
        """A line for each round."""
        result, student = record.result, record.student
        self.message(
            f"round {record.round}: {student.kind}-{student.width} {student.connection}, "
            f"edge {result.relative_edge:+.3f}, validation {result.metric:.4f}, "
            f"{told_trials(record)}, {record.seconds:.1f} s"
            + ("" if result.weak else f"; {advice_without_weak_learner(record)}")
        )

    def update(self, snapshot: Snapshot) -> None:
        """Nothing between rounds."""


STARTING = "Making ready for the first round ..."  # what comes after the teacher


class LiveReporter(PlainReporter):
    """A table that redraws itself."""

    def __init__(self, live: Live) -> None:
        super().__init__()
        self.live = live
        self.snapshot: Snapshot | None = None

    def message(self, text: str) -> None:
        """A line above the table."""
        self.live.console.print(text, soft_wrap=False)

    def teacher(self, epoch: int, epochs: int, metric: float) -> None:
        """A line that is overwritten; the last one stays."""
        line = f"teacher: epoch {epoch}/{epochs}, validation {metric:.4f}"
        if epoch == epochs:
            self.message(line)
            line = STARTING
        self.live.update(Text(line))

    def teacher_answers(self, done: int, examples: int) -> None:
        """A line that is overwritten."""
        line = f"teacher: {done:,} of {examples:,} examples"
        self.live.update(Text(line if done < examples else STARTING))

    def round_accepted(self, record: RoundRecord) -> None:
        """Only what the table cannot say."""
        if not record.result.weak:
            self.message(f"round {record.round}: {advice_without_weak_learner(record)}")

    def update(self, snapshot: Snapshot) -> None:
        """Redraw."""
        self.live.update(Group(rounds_table(snapshot.records), Text(open_round_line(snapshot))))


@contextmanager
def reporter() -> Iterator[Reporter]:
    """The reporter that fits where the output goes."""
    if not console.is_terminal:
        yield PlainReporter()
        return
    with Live(console=console, refresh_per_second=4) as live:
        yield LiveReporter(live)


def open_round_line(snapshot: Snapshot) -> str:
    """The state of the open round in one line."""
    if len(snapshot.records) >= snapshot.rounds:
        return f"{counted(snapshot.rounds, 'round')} in {clock(snapshot.seconds)}\n"
    edge = "none yet" if snapshot.best_edge is None else f"{snapshot.best_edge:+.3f}"
    left = snapshot.seconds_left
    remaining = "" if left is None else f", about {clock(left)} left"
    return (
        f"round {snapshot.round}/{snapshot.rounds}: {snapshot.running} running, "
        f"{snapshot.done} done, best edge {edge}; {clock(snapshot.seconds)} elapsed{remaining}"
    )


def advice_without_weak_learner(record: RoundRecord) -> str:
    """Which edges failed, by how much, and what to try."""
    result = record.result
    passed = [each for each in record.compared if each.weak]
    if passed:
        return (
            f"no weak learner itself, but its answers are clearly better than those of "
            f"{len(passed)} that {'was' if len(passed) == 1 else 'were'}"
        )
    failed = [(j, edge) for j, edge in enumerate(result.edges) if edge < 0]
    if result.edge >= 0 and result.gain > 0:
        cause = (
            f"the least edge is {result.edge:+.2g}, below search.min_edge, or the gain too small"
        )
    elif result.edge >= 0:
        cause = f"the edges hold, but validation loss did not fall (gain {result.gain:+.3f})"
    else:
        worst = ", ".join(f"{j} ({edge:+.2g})" for j, edge in sorted(failed, key=_edge)[:3])
        cause = f"negative edges of {counted(len(failed), 'label')}, worst: {worst}"
    remedies = ["a larger space.ladder", "more epochs"]
    if not record.student.skip:
        remedies.append("skip: true")
    if result.edge < 0 <= sum(result.edges):  # one bad label vetoes what holds on the whole
        remedies.append("search.normalisation=joint")
    return f"no weak learner: {cause}; kept the best. Try {' or '.join(remedies)}."


def _edge(item: tuple[int, float]) -> float:
    return item[1]


def rounds_table(records: Any) -> Table:
    """The accepted rounds."""
    table = empty_table("round", "student", "connection", "edge", "validation", "trials", "time")
    for record in records:
        result, student = record.result, record.student
        table.add_row(
            str(record.round),
            f"{student.kind}-{student.width}",
            student.connection + ("" if student.skip else ", no skip"),
            f"{result.relative_edge:+.3f}" + ("" if result.weak else " (not weak)"),
            f"{result.metric:.4f}",
            str(len(record.compared)) + (f" ({len(record.cut)} cut)" if record.cut else ""),
            f"{record.seconds:.1f} s",
        )
    return table


def told_trials(record: RoundRecord) -> str:
    """How many trials a round had, and what its pruner did."""
    cuts = record.told_cuts()
    return counted(len(record.compared), "trial") + (f" ({cuts})" if cuts else "")


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def plain_table(rows: list[tuple[str, ...]], *headers: str) -> Table:
    """A table of strings."""
    table = empty_table(*headers)
    for row in rows:
        table.add_row(*row)
    return table


def empty_table(*headers: str) -> Table:
    """A table without rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
