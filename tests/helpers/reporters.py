"""Reporters of searches for tests."""

from __future__ import annotations

from bdistil.runs.journal import RoundRecord
from bdistil.searching.progress import Silent


class Heard(Silent):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.epochs: list[int] = []

    @property
    def said(self) -> str:
        """All messages, a line each."""
        return "\n".join(self.messages)

    def message(self, text: str) -> None:
        self.messages.append(text)

    def teacher(self, epoch: int, epochs: int, metric: float) -> None:
        self.epochs.append(epoch)


class StopAfterOne(Silent):
    """Interrupts the search when a round is accepted."""

    def round_accepted(self, record: RoundRecord) -> None:
        raise KeyboardInterrupt
