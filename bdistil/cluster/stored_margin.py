"""The margin in Ray's object store: shards of rows, a copy on every node that has workers.

No process holds the margin. When a student is accepted, every node plays it on its own copy, shard
by shard, so a round sends a student to each node and not a margin. The copy on the driver's node is
the reference: a node that computed other bits (another kind of processor), that failed or that
has just joined reads the reference over the network until it has a copy of its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import RayError
from ray.experimental import get_object_locations
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bdistil.cluster.connect import trial_nodes
from bdistil.cluster.lost_worker import why_lost
from bdistil.core.game import Rules, Summary
from bdistil.core.student import Student
from bdistil.errors import ClusterError
from bdistil.export.checkpoint import student_from_bytes
from bdistil.runs.journal import GameFigures
from bdistil.searching.margin_shard import (
    PlayedShard,
    ShardState,
    combined_sha256,
    game_figures,
    play_shard,
)
from bdistil.searching.problem import Part
from bdistil.spec import WorkerSpec
from bdistil.spec.user_modules import UserModule

ATTEMPTS = 3  # of the driver's node to play a student
MOST_THREADS = 16  # of a node; each holds the new margin of one shard


@dataclass(frozen=True)
class Move:
    """An accepted student, and the game that it is played in.

    Attributes:
        student: its safetensors.
        summary: of the whole margin before it.
        rules: constants of the game.
    """

    student: bytes
    summary: Summary
    rules: Rules


class Player:
    """Plays students on shards; one actor on each node, which keeps nothing but the last student.

    Args:
        modules: users' own code, for student classes of theirs.
    """

    def __init__(self, modules: Sequence[UserModule] = ()) -> None:
        for module in modules:
            module.load()
        self.last: tuple[bytes, Student] | None = None
        self.decoding = threading.Lock()

    def play(
        self, part: Part, state: ShardState | None, move: Move
    ) -> tuple[ShardState, PlayedShard]:
        """A shard after a student; `state` is None before the first."""
        torch.set_num_threads(1)  # each thread of the actor has its own setting
        with self.decoding:
            student = self.decoded(part, state, move.student)
        return play_shard(part, state, student, move.summary, move.rules)

    def decoded(self, part: Part, state: ShardState | None, blob: bytes) -> Student:
        """The student, decoded once for all shards."""
        if self.last is None or self.last[0] != blob:
            sizes = [] if state is None else [each.features.shape[1] for each in state.hidden()]
            shape, outputs = part.inputs.shape[1:], part.teacher_logits.shape[1]
            student = student_from_bytes(blob, shape, outputs, sizes, "the accepted student")
            self.last = blob, student
        return self.last[1]


class StoredMargin:
    """The driver's view of the margin: references, a summary and a hash.

    Args:
        parts: the training split's shards in row order; each goes to the object store as it comes.
        rules: constants of the game.
        workers: decides which nodes get a copy.
        modules: users' own code, for student classes of theirs.
    """

    def __init__(
        self,
        parts: Iterable[Part],
        rules: Rules,
        workers: WorkerSpec,
        modules: Sequence[UserModule] = (),
    ) -> None:
        self.modules = modules
        self.rules = rules
        self.workers = workers
        self.parts: list[Any] = []
        rows, outputs = 0, 0
        for part in parts:
            self.parts.append(ray.put(part))
            rows, outputs = rows + len(part), part.teacher_logits.shape[1]
        self.summary = Summary.start(rows, outputs)
        self.sha256 = ""
        self.rounds = 0
        self.home: str = ray.get_runtime_context().get_node_id()
        self.copies: dict[str, list[Any]] = {self.home: []}
        self.players: dict[str, Any] = {}
        self.traffic = Traffic(self.home)
        self.hire()

    def shards(self, node: str) -> list[Any]:
        """References to the states that a node's workers read, in row order; none at first."""
        return self.copies.get(node, self.copies[self.home])

    def play(self, student: bytes) -> None:
        """Take in an accepted student: new copies everywhere, and the old ones are let go.

        Raises:
            ClusterError: if the driver's node cannot do it.
        """
        self.hire()
        move = ray.put(Move(student, self.summary, self.rules))
        calls = {node: self.call(node, move) for node in self.players}
        states, played = self.reference(calls.pop(self.home), move)
        copies = {self.home: states}
        for node, (own, results) in calls.items():
            copies[node] = own if self.agrees(node, results, played) else states
        self.traffic.count([*self.parts, *self.copies[self.home], move])
        self.copies = copies
        self.summary = Summary.merged([shard.summary for shard in played])
        self.sha256 = combined_sha256(played)
        self.rounds += 1

    @property
    def game(self) -> GameFigures:
        """The game after the students so far."""
        return game_figures(self.summary, self.rules, self.rounds)

    def call(self, node: str, move: Any) -> tuple[list[Any], list[Any]]:
        """Have a node play all shards: references to the states and to what is learnt of them."""
        play = self.players[node].play.options(num_returns=2)
        old = self.shards(node) or [None] * len(self.parts)
        calls = [
            play.remote(part, state, move) for part, state in zip(self.parts, old, strict=True)
        ]
        return [state for state, _ in calls], [played for _, played in calls]

    def reference(
        self, call: tuple[list[Any], list[Any]], move: Any
    ) -> tuple[list[Any], list[PlayedShard]]:
        """The result of the driver's node, whose process may be killed now and then."""
        for _ in range(ATTEMPTS):
            states, results = call
            try:
                return states, ray.get(results)
            except RayError as error:
                lost = error
                self.players[self.home] = self.player(self.home, 1)
                call = self.call(self.home, move)
        raise ClusterError(
            f"the driver's node could not update the margin ({why_lost(str(lost))}); the same "
            f"command goes on from the last accepted round."
        )

    def agrees(self, node: str, results: list[Any], reference: Sequence[PlayedShard]) -> bool:
        """Whether a node has computed the same bits; one that failed is given up for now."""
        try:
            own: list[PlayedShard] = ray.get(results)
        except RayError:
            del self.players[node]
            return False
        return combined_sha256(own) == combined_sha256(reference)

    def close(self) -> None:
        """End the players and let the copies go, in a session that may live on."""
        for player in self.players.values():
            with contextlib.suppress(RayError):
                ray.kill(player)
        self.players, self.copies, self.parts = {}, {}, []

    def hire(self) -> None:
        """A player on each node that can hold trials, and on the driver's."""
        nodes = {self.home: 1.0} | trial_nodes(self.workers)
        gone = self.players.keys() - nodes.keys()
        for node in gone:
            del self.players[node]
        for node in nodes.keys() - self.players.keys():
            self.players[node] = self.player(node, nodes[node])

    def player(self, node: str, cpus: float) -> Any:
        """A new player; it asks for no CPU, since the workers occupy them all."""
        threads = min(int(cpus), len(self.parts), MOST_THREADS)
        options = ray.remote(Player).options(
            num_cpus=0,
            max_concurrency=max(1, threads),
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        return options.remote(self.modules)


class Traffic:
    """Counts the bytes of stored objects that nodes copied from others, as Ray locates them.

    Args:
        home: the node where the objects were made.
    """

    def __init__(self, home: str) -> None:
        self.home = home
        self.seen: set[tuple[str, str]] = set()  # not the references: they keep objects alive
        self.bytes: Counter[str] = Counter()

    def count(self, references: list[Any]) -> None:
        """Add the copies that were made since these objects were last looked at."""
        for reference, place in get_object_locations(references).items():
            for node in place["node_ids"]:
                copy = (reference.hex(), node)
                if node != self.home and copy not in self.seen:
                    self.seen.add(copy)
                    self.bytes[node] += place["object_size"] or 0

    def take(self) -> dict[str, int]:
        """Bytes for each node since this was last asked."""
        counted, self.bytes = dict(self.bytes), Counter()
        return counted
