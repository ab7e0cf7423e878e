"""The game on one shard of rows, and what an accepted student makes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bdistil.core.connections import Hidden
from bdistil.core.game import ASSUMED_GAP, Rules, Summary, certificate
from bdistil.core.student import Student
from bdistil.core.tensors import as_tensor
from bdistil.core.training_split import Shard, TrainingSplit, summary_of
from bdistil.core.views import Views
from bdistil.runs.journal import GameFigures
from bdistil.searching.problem import Part

HiddenArrays = tuple[NDArray[np.float32], NDArray[np.float32] | None]


@dataclass(frozen=True)
class ShardState:
    """The game on one shard of the training split, as numpy.

    Attributes:
        margin: M, float32 (n, L).
        earlier: features and memory of each accepted student on these rows.
        view_ensemble: the ensemble's answers to the rows' copies, float32 (K, n, L), if any.
        view_earlier: as `earlier`, on the copies, (K, n, ...).
    """

    margin: NDArray[np.float32]
    earlier: list[HiddenArrays]
    view_ensemble: NDArray[np.float32] | None = None
    view_earlier: list[HiddenArrays] = field(default_factory=list)

    def hidden(self) -> list[Hidden]:
        """The hidden states as tensors in the same memory."""
        return [hidden_tensors(state) for state in self.earlier]

    def views(self, before_round_one: Views | None) -> Views | None:
        """The rows' copies in this round, from what they were before round 1."""
        if before_round_one is None or self.view_ensemble is None:
            return None
        states = [hidden_tensors(state) for state in self.view_earlier]
        return replace(before_round_one, ensemble=as_tensor(self.view_ensemble), earlier=states)


@dataclass(frozen=True)
class PlayedShard:
    """What the driver learns of a shard's new margin.

    Attributes:
        sha256: of the margin, float32 in row order.
        summary: what the other shards need to know of it.
    """

    sha256: str
    summary: Summary


def play_shard(
    part: Part, state: ShardState | None, student: Student, summary: Summary, rules: Rules
) -> tuple[ShardState, PlayedShard]:
    """A shard after an accepted student, the same to the bit wherever it is computed.

    Args:
        part: the shard's rows.
        state: of the shard before the student; None before the first.
        student: the accepted one.
        summary: of the whole margin before it.
        rules: constants of the game.
    """
    split = TrainingSplit.before_round_one([part.examples()], rules)
    if state is not None:
        views = [state.views(split.shards[0].views)]
        split = split.with_margins([as_tensor(state.margin)], summary, [state.hidden()], views)
    [shard] = split.played(student).shards
    margin = shard.game.margin
    digest = hashlib.sha256(margin.numpy().data).hexdigest()
    return state_of(shard), PlayedShard(digest, summary_of(margin))


def state_of(shard: Shard) -> ShardState:
    """A shard's state as numpy."""
    margin, earlier = shard.game.margin.numpy(), list(map(hidden_arrays, shard.earlier))
    if shard.views is None or shard.views.ensemble is None:
        return ShardState(margin, earlier)
    copies = list(map(hidden_arrays, shard.views.earlier))
    return ShardState(margin, earlier, shard.views.ensemble.numpy(), copies)


def hidden_tensors(state: HiddenArrays) -> Hidden:
    """A hidden state as tensors in the same memory."""
    features, memory = state
    return Hidden(as_tensor(features), None if memory is None else as_tensor(memory))


def hidden_arrays(state: Hidden) -> HiddenArrays:
    """A hidden state as numpy."""
    return state.features.numpy(), None if state.memory is None else state.memory.numpy()


def game_figures(summary: Summary, rules: Rules, rounds: int) -> GameFigures:
    """The game after so many rounds, by the summary of its whole margin."""
    bound = certificate(summary, rules, rounds)
    return GameFigures(step=rules.step, assumed_gap=ASSUMED_GAP * rules.bound, certificate=bound)


def combined_sha256(shards: Sequence[PlayedShard]) -> str:
    """Hash of a whole margin: of the hashes of its shards, in row order."""
    return hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()
