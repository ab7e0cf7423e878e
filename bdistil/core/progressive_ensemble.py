"""The progressive ensemble: students that are evaluated one after another."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from bdistil.core.connections import Hidden
from bdistil.core.gathering import Gathered, GatheredHidden
from bdistil.core.placement import Device, copied
from bdistil.core.student import Student, advance

ROWS = 1024  # evaluated at once; fixed, so that margins are repeatable to the bit


class ProgressiveEnsemble(nn.Module):
    """F_t = (1/t) Σ_{s≤t} f_s, one student after another, with cached hidden states.

    Args:
        students: accepted students, first to last.
        outputs: L.
    """

    def __init__(self, outputs: int, students: Iterable[Student] = ()) -> None:
        super().__init__()
        self.outputs = outputs
        self.students = nn.ModuleList(students)

    def __len__(self) -> int:
        return len(self.students)

    def __iter__(self) -> Iterator[Student]:
        return iter(self.students)  # type: ignore[arg-type]

    @property
    def features(self) -> tuple[int, ...]:
        """Size of each student's hidden state."""
        return tuple(student.features for student in self)

    def append(self, student: Student) -> None:
        """Add the student of the next stage."""
        self.students.append(student)

    def stages(self, x: Tensor) -> Iterator[Tensor]:
        """Cumulative logits F_1, F_2, ..., each float (B, L), for inputs (B, ...).

        Lazy: a stage costs nothing until it is asked for, and no student runs twice.
        """
        for logits, _ in self.steps(x):
            yield logits

    def steps(self, x: Tensor) -> Iterator[tuple[Tensor, Hidden]]:
        """As :meth:`stages`, each with the hidden state of the stage's student."""
        logits = x.new_zeros(x.shape[0], self.outputs)
        earlier: list[Hidden] = []
        for stage, student in enumerate(self, start=1):
            logits, hidden = step(student, x, earlier, logits, stage)
            earlier.append(hidden)
            yield logits, hidden

    def forward(self, x: Tensor, stages: int | None = None) -> Tensor:
        """F_t after `stages` students (all, if left out), float (B, L)."""
        logits = x.new_zeros(x.shape[0], self.outputs)
        for logits in itertools.islice(self.stages(x), stages):  # noqa: B007
            pass
        return logits


def step(
    student: Student, x: Tensor, earlier: list[Hidden], previous: Tensor, stage: int
) -> tuple[Tensor, Hidden]:
    """F_t and the new hidden state, from F_{t-1} and the earlier hidden states."""
    logits, hidden = student(x, earlier)
    return advance(previous, logits, stage, student.config.skip), hidden


@torch.no_grad()
def hidden_states(
    student: Student, x: Tensor, earlier: list[Hidden], batch_size: int = ROWS
) -> tuple[Tensor, Hidden]:
    """Logits a_t and hidden state of one student on all rows of `x`, batch by batch.

    Fixed batches make the result, and so the margin, repeatable to the bit.
    """
    all_logits, all_hidden = Gathered(len(x)), GatheredHidden(len(x))
    for rows in chunks(len(x), batch_size):
        states = [move(take(state, rows), student.device) for state in earlier]
        logits, hidden = student(copied(x[rows], student.device), states)
        all_logits.add(logits.to(x.device))
        all_hidden.add(move(hidden, x.device))
    return all_logits.tensor, all_hidden.hidden


def chunks(rows: int, size: int = ROWS) -> Iterator[slice]:
    """So many rows in the pieces that are evaluated at once."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def take(state: Hidden, rows: slice | Tensor) -> Hidden:
    """Some rows of a hidden state."""
    memory = None if state.memory is None else state.memory[rows]
    return Hidden(state.features[rows], memory)


def move(state: Hidden, device: Device) -> Hidden:
    """A hidden state on another device."""
    memory = None if state.memory is None else copied(state.memory, device)
    return Hidden(copied(state.features, device), memory)
