"""A second head for training: it reads a student's own hidden state and nothing of earlier ones.

A dense head with the skip leans on earlier students' features, which are good already, and leaves
little gradient to the new body. The same fitting loss on a head of the student's own brings it
back. That head is dropped after training: whatever it answers, the student's own head can, since it
reads the same state among others. So the game is played with the same f_t as without.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bdistil.core.connections import Hidden
from bdistil.core.student import Student


class WithOwnHead(nn.Module):
    """A student in training and its second head, which starts at zero."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        self.own_head = nn.Linear(
            student.features, student.head.out_features, device=student.device
        )
        nn.init.zeros_(self.own_head.weight)
        nn.init.zeros_(self.own_head.bias)

    def forward(self, x: Tensor, earlier: Sequence[Hidden]) -> tuple[Tensor, Tensor]:
        """Logits a_t of the student and logits of its second head, each float (B, L)."""
        logits, hidden = self.student(x, earlier)
        own: Tensor = self.own_head(hidden.features)
        return logits, own
