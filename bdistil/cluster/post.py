"""How checkpoints travel from workers over the board to the driver; nobody waits for them."""

from __future__ import annotations

from typing import Any

import ray

from bdistil.runs.checkpoint import Checkpoint
from bdistil.runs.trial import Place


class Outbox:
    """Sends a cohort's checkpoints, none before the last one has arrived.

    Args:
        board: the actor.
        place: of the cohort.
    """

    def __init__(self, board: Any, place: Place) -> None:
        self.board = board
        self.place = place
        self.sending: Any = None

    def __call__(self, checkpoint: Checkpoint) -> None:
        """Send one; on a network that is slower than training, leave it out."""
        if self.sending is not None and not ray.wait([self.sending], timeout=0)[0]:
            return
        self.sending = self.board.post.remote(self.place, checkpoint)


class Inbox:
    """Asks the board for checkpoints.

    Args:
        board: the actor.
    """

    def __init__(self, board: Any) -> None:
        self.board = board
        self.asked = board.next_posted.remote()

    def take(self) -> tuple[Place, Checkpoint] | None:
        """The next one, if it is here already.

        Raises:
            RayError: if the board is lost.
        """
        if not ray.wait([self.asked], timeout=0)[0]:
            return None
        place, checkpoint = ray.get(self.asked)
        self.asked = self.board.next_posted.remote()
        return place, checkpoint
